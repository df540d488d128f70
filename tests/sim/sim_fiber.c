/* SPDX-License-Identifier: Apache-2.0 */
/* Fibers: a job's straight-line code gets a stack of its own, so that a blocking file call can let virtual time pass. Stacks are
 * recycled with their first frames, because a run starts a fiber for every job:
 *
 *   stack_main: for ever: run the fiber that was put on this stack, go back to the scheduler
 *
 * The sanitizers are told of every switch. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim/sim_impl.h"

#if defined(__has_feature)
#define FIBER_HAS(feature) __has_feature(feature)
#else
#define FIBER_HAS(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || FIBER_HAS(address_sanitizer)
#define FIBER_SANITIZED 1
#include <sanitizer/common_interface_defs.h>
#else
static void __sanitizer_start_switch_fiber(void **fake_stack, const void *bottom, size_t bytes)
{
	(void)fake_stack;
	(void)bottom;
	(void)bytes;
}
static void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *bytes)
{
	(void)fake_stack;
	(void)bottom;
	(void)bytes;
}
#endif

#if defined(__SANITIZE_THREAD__) || FIBER_HAS(thread_sanitizer)
#define FIBER_SANITIZED 1
#include <sanitizer/tsan_interface.h>
#else
static void *__tsan_get_current_fiber(void) { return NULL; }
static void *__tsan_create_fiber(unsigned flags)
{
	(void)flags;
	return NULL;
}
static void __tsan_destroy_fiber(void *fiber) { (void)fiber; }
static void __tsan_switch_to_fiber(void *fiber, unsigned flags)
{
	(void)fiber;
	(void)flags;
}
#endif

#ifndef FIBER_SANITIZED
#define FIBER_SANITIZED 0
#endif

enum { GUARD_BYTES = 4096 };

/* Leaves `from` and goes on in `to`; returns when somebody switches to `from` again. Both sanitizers follow ucontext but not
 * jumps to another stack; ucontext sets the signal mask each time, which costs more than the rest of a file call. */
static void context_switch(struct sim_context *from, struct sim_context *to, bool is_begun)
{
	__sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->bytes);
	__tsan_switch_to_fiber(to->tsan, 0);
	if (FIBER_SANITIZED) {
		ASSERT(swapcontext(&from->made, &to->made) == 0);
	} else if (_setjmp(from->left) == 0) {
		if (is_begun) _longjmp(to->left, 1);
		(void)setcontext(&to->made);
		UNREACHABLE();
	}
	__sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
}

/* makecontext passes ints only: the pointer travels as two halves. */
static void stack_main(unsigned high, unsigned low)
{
	struct sim_stack *stack = (struct sim_stack *)(((uintptr_t)high << 32) | low);
	struct sim *s = stack->s;
	__sanitizer_finish_switch_fiber(NULL, &s->scheduler.bottom, &s->scheduler.bytes);
	for (;;) {
		struct sim_fiber *f = stack->fiber;
		f->run(f);
		f->is_finished = true;
		context_switch(&stack->context, &s->scheduler, true);
	}
}

static struct sim_stack *stack_new(struct sim *s)
{
	struct sim_stack *stack = NEW(struct sim_stack);
	void *memory = mmap(NULL, GUARD_BYTES + SIM_FIBER_STACK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	ASSERT(memory != MAP_FAILED);
	ASSERT(mprotect(memory, GUARD_BYTES, PROT_NONE) == 0);
	stack->s = s;
	stack->memory = memory;
	struct sim_context *c = &stack->context;
	c->bottom = stack->memory + GUARD_BYTES;
	c->bytes = SIM_FIBER_STACK_BYTES;
	c->tsan = __tsan_create_fiber(0);
	ASSERT(getcontext(&c->made) == 0);
	c->made.uc_stack.ss_sp = stack->memory + GUARD_BYTES;
	c->made.uc_stack.ss_size = SIM_FIBER_STACK_BYTES;
	c->made.uc_link = NULL;
	const uintptr_t p = (uintptr_t)stack;
	makecontext(&c->made, (void (*)(void))(uintptr_t)stack_main, 2, (unsigned)(p >> 32), (unsigned)p);
	/* Only makecontext needs it; AddressSanitizer would wipe the stack's shadow with every switch. */
	c->made.uc_stack.ss_sp = NULL;
	c->made.uc_stack.ss_size = 0;
	return stack;
}

void sim_stacks_free(struct sim *s)
{
	struct list *node;
	while ((node = list_pop_front(&s->stacks_free)) != NULL) {
		struct sim_stack *stack = CONTAINER_OF(node, struct sim_stack, link);
		__tsan_destroy_fiber(stack->context.tsan);
		ASSERT(munmap(stack->memory, GUARD_BYTES + SIM_FIBER_STACK_BYTES) == 0);
		mem_free(stack);
	}
}

static void fiber_begin(struct sim_fiber *f)
{
	struct list *node = list_pop_front(&f->s->stacks_free);
	f->stack = node ? CONTAINER_OF(node, struct sim_stack, link) : stack_new(f->s);
	f->stack->fiber = f;
	f->is_started = true;
}

void sim_fiber_enter(struct sim_fiber *f)
{
	struct sim *s = f->s;
	ASSERT(s->fiber_current == NULL);
	ASSERT(!f->is_finished);
	if (!f->is_started) fiber_begin(f);
	struct sim_stack *stack = f->stack;
	const bool is_begun = stack->is_begun;
	stack->is_begun = true;
	s->fiber_current = f;
	s->scheduler.tsan = __tsan_get_current_fiber();
	context_switch(&s->scheduler, &stack->context, is_begun);
	s->fiber_current = NULL;
	if (!f->is_finished) return;
	f->stack = NULL;
	stack->fiber = NULL;
	list_push_front(&s->stacks_free, &stack->link);
}

void sim_fiber_leave(struct sim_fiber *f)
{
	struct sim *s = f->s;
	ASSERT(s->fiber_current == f);
	context_switch(&f->stack->context, &s->scheduler, true);
}
