/* SPDX-License-Identifier: Apache-2.0 */
/* Fibers: a job's straight-line code gets a stack of its own, so that a blocking file call can let virtual time pass. Stacks are
 * recycled, because a run starts a fiber for every job. The sanitizers are told of every switch. */
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

enum { GUARD_BYTES = 4096 };

static struct sim_stack *stack_get(struct sim *s)
{
	struct list *node = list_pop_front(&s->stacks_free);
	if (node) return CONTAINER_OF(node, struct sim_stack, link);
	struct sim_stack *stack = NEW(struct sim_stack);
	void *memory = mmap(NULL, GUARD_BYTES + SIM_FIBER_STACK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	ASSERT(memory != MAP_FAILED);
	ASSERT(mprotect(memory, GUARD_BYTES, PROT_NONE) == 0);
	stack->memory = memory;
	return stack;
}

void sim_stacks_free(struct sim *s)
{
	struct list *node;
	while ((node = list_pop_front(&s->stacks_free)) != NULL) {
		struct sim_stack *stack = CONTAINER_OF(node, struct sim_stack, link);
		ASSERT(munmap(stack->memory, GUARD_BYTES + SIM_FIBER_STACK_BYTES) == 0);
		mem_free(stack);
	}
}

/* makecontext passes ints only: the pointer travels as two halves. */
static void fiber_main(unsigned high, unsigned low)
{
	struct sim_fiber *f = (struct sim_fiber *)(((uintptr_t)high << 32) | low);
	__sanitizer_finish_switch_fiber(NULL, &f->s->scheduler_stack, &f->s->scheduler_stack_bytes);
	f->run(f);
	f->is_finished = true;
	/* NULL: this stack's shadow is not kept, nobody comes back. */
	__sanitizer_start_switch_fiber(NULL, f->s->scheduler_stack, f->s->scheduler_stack_bytes);
	__tsan_switch_to_fiber(f->s->scheduler_tsan, 0);
	(void)setcontext(&f->s->scheduler);
	UNREACHABLE();
}

static void fiber_prepare(struct sim_fiber *f)
{
	f->stack = stack_get(f->s);
	f->is_started = true;
	f->tsan = __tsan_create_fiber(0);
	ASSERT(getcontext(&f->context) == 0);
	f->context.uc_stack.ss_sp = f->stack->memory + GUARD_BYTES;
	f->context.uc_stack.ss_size = SIM_FIBER_STACK_BYTES;
	f->context.uc_link = NULL;
	const uintptr_t p = (uintptr_t)f;
	makecontext(&f->context, (void (*)(void))(uintptr_t)fiber_main, 2, (unsigned)(p >> 32), (unsigned)p);
	/* Only makecontext needs it; AddressSanitizer would wipe the stack's shadow with every switch. */
	f->context.uc_stack.ss_sp = NULL;
	f->context.uc_stack.ss_size = 0;
}

void sim_fiber_enter(struct sim_fiber *f)
{
	struct sim *s = f->s;
	ASSERT(s->fiber_current == NULL);
	ASSERT(!f->is_finished);
	if (!f->is_started) fiber_prepare(f);
	s->fiber_current = f;
	__sanitizer_start_switch_fiber(&s->scheduler_fake_stack, f->stack->memory + GUARD_BYTES, SIM_FIBER_STACK_BYTES);
	s->scheduler_tsan = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(f->tsan, 0);
	ASSERT(swapcontext(&s->scheduler, &f->context) == 0);
	__sanitizer_finish_switch_fiber(s->scheduler_fake_stack, NULL, NULL);
	s->fiber_current = NULL;
	if (!f->is_finished) return;
	__tsan_destroy_fiber(f->tsan);
	list_push_back(&s->stacks_free, &f->stack->link);
	f->stack = NULL;
}

void sim_fiber_leave(struct sim_fiber *f)
{
	struct sim *s = f->s;
	ASSERT(s->fiber_current == f);
	__sanitizer_start_switch_fiber(&f->fake_stack, s->scheduler_stack, s->scheduler_stack_bytes);
	__tsan_switch_to_fiber(s->scheduler_tsan, 0);
	ASSERT(swapcontext(&f->context, &s->scheduler) == 0);
	__sanitizer_finish_switch_fiber(f->fake_stack, &s->scheduler_stack, &s->scheduler_stack_bytes);
}
