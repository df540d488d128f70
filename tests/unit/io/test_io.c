/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides of struct io share, on a table of functions that only knows the time. */
#include "check.h"
#include "thebes/io_impl.h"

struct fake {
	struct io io;
	uint64_t now_ns;
	unsigned wakes;
	struct buf text;
};

static uint64_t fake_now(struct io *io) { return CONTAINER_OF(io, struct fake, io)->now_ns; }
static void fake_wake(struct io *io) { CONTAINER_OF(io, struct fake, io)->wakes++; }
static const struct io_ops fake_ops = { .now_ns = fake_now, .wake = fake_wake };

struct thing {
	struct io_timer timer;
	struct io_task task;
	struct io_turn_hook hook;
	struct fake *f;
	const char *name;
	struct thing *other; /* what it touches when it runs */
	unsigned repeat;
};

static void timer_fired(struct io_timer *t)
{
	struct thing *x = CONTAINER_OF(t, struct thing, timer);
	buf_append_str(&x->f->text, x->name);
	assert_false(io_timer_is_armed(t));
	if (x->repeat > 0) {
		x->repeat--;
		io_timer_start(&x->f->io, t, 0);
	}
	if (x->other) io_timer_stop(&x->f->io, &x->other->timer);
}

static void task_run(struct io_task *t)
{
	struct thing *x = CONTAINER_OF(t, struct thing, task);
	buf_append_str(&x->f->text, x->name);
	if (x->repeat > 0) {
		x->repeat--;
		io_defer(&x->f->io, t);
	}
}

static void hook_run(struct io_turn_hook *h)
{
	struct thing *x = CONTAINER_OF(h, struct thing, hook);
	buf_append_str(&x->f->text, x->name);
	if (x->repeat > 0) {
		x->repeat--;
		io_defer(&x->f->io, &x->task);
	}
	if (x->other) io_turn_hook_remove(&x->f->io, &x->other->hook);
}

static void things_make(struct fake *f, struct thing *things, size_t count, const char *const *names)
{
	*f = (struct fake) { .now_ns = 1000 };
	io_init(&f->io, &fake_ops);
	for (size_t i = 0; i < count; i++) {
		things[i] = (struct thing) { .f = f, .name = names[i] };
		things[i].timer.fire = timer_fired;
		things[i].task.run = task_run;
		things[i].hook.turn_end = hook_run;
	}
}

static void timers_fire_in_order_of_deadline_then_of_arming(void **state)
{
	(void)state;
	static const char *const names[] = { "a", "b", "c", "d", "e" };
	struct fake f;
	struct thing x[COUNT_OF(names)];
	things_make(&f, x, COUNT_OF(x), names);
	io_timer_start(&f.io, &x[0].timer, 20);
	io_timer_start(&f.io, &x[1].timer, 10);
	io_timer_start(&f.io, &x[2].timer, 20);
	io_timer_start(&f.io, &x[3].timer, 0);
	io_timer_start(&f.io, &x[4].timer, 21);
	io_timer_start(&f.io, &x[0].timer, 20); /* again: now behind c */
	uint64_t next;
	assert_true(io_timer_next(&f.io, &next));
	assert_int_equal(next, 1000);
	io_timers_fire(&f.io, 1009);
	CHECK_BUF(&f.text, "d");
	f.now_ns = 1020;
	io_timers_fire(&f.io, 1020);
	CHECK_BUF(&f.text, "bca");
	assert_true(io_timer_is_armed(&x[4].timer));
	io_timer_stop(&f.io, &x[4].timer);
	io_timer_stop(&f.io, &x[4].timer);
	assert_false(io_timer_next(&f.io, &next));
	buf_deinit(&f.text);
}

static void a_timer_armed_by_a_timer_waits_for_the_next_round(void **state)
{
	(void)state;
	static const char *const names[] = { "a", "b", "c" };
	struct fake f;
	struct thing x[COUNT_OF(names)];
	things_make(&f, x, COUNT_OF(x), names);
	x[0].repeat = 2;
	x[1].other = &x[2]; /* and one that is stopped by another does not fire */
	io_timer_start(&f.io, &x[0].timer, 0);
	io_timer_start(&f.io, &x[1].timer, 0);
	io_timer_start(&f.io, &x[2].timer, 0);
	io_timers_fire(&f.io, f.now_ns);
	CHECK_BUF(&f.text, "ab");
	io_timers_fire(&f.io, f.now_ns);
	CHECK_BUF(&f.text, "a");
	io_timers_fire(&f.io, f.now_ns);
	CHECK_BUF(&f.text, "a");
	io_timers_fire(&f.io, f.now_ns);
	CHECK_BUF(&f.text, "");
	/* A delay that overflows means never. */
	io_timer_start(&f.io, &x[0].timer, UINT64_MAX - 5);
	uint64_t next;
	assert_true(io_timer_next(&f.io, &next));
	assert_true(next == UINT64_MAX);
	buf_deinit(&f.text);
}

static void a_turn_ends_with_tasks_then_hooks_until_quiet(void **state)
{
	(void)state;
	static const char *const names[] = { "a", "b", "c" };
	struct fake f;
	struct thing x[COUNT_OF(names)];
	things_make(&f, x, COUNT_OF(x), names);
	x[0].repeat = 1; /* as task: defers itself; as hook: defers its task */
	io_turn_hook_add(&f.io, &x[1].hook);
	io_turn_hook_add(&f.io, &x[2].hook);
	io_defer(&f.io, &x[1].task);
	io_defer(&f.io, &x[0].task);
	io_defer(&f.io, &x[1].task); /* linked already */
	io_turn_end(&f.io);
	CHECK_BUF(&f.text, "baabc");
	x[2].repeat = 2;
	io_turn_end(&f.io);
	CHECK_BUF(&f.text, "bcccbc"); /* its hook defers its task, which defers itself */
	buf_deinit(&f.text);
}

static void a_hook_may_remove_itself_and_the_next(void **state)
{
	(void)state;
	static const char *const names[] = { "a", "b", "c", "d" };
	struct fake f;
	struct thing x[COUNT_OF(names)];
	things_make(&f, x, COUNT_OF(x), names);
	for (size_t i = 0; i < COUNT_OF(x); i++) io_turn_hook_add(&f.io, &x[i].hook);
	x[0].other = &x[0];
	x[1].other = &x[2];
	io_turn_end(&f.io);
	CHECK_BUF(&f.text, "abd");
	io_turn_end(&f.io);
	CHECK_BUF(&f.text, "bd");
	buf_deinit(&f.text);
}

static void a_turn_is_asked_for_from_outside_only(void **state)
{
	(void)state;
	static const char *const names[] = { "a", "b" };
	struct fake f;
	struct thing x[COUNT_OF(names)];
	things_make(&f, x, COUNT_OF(x), names);
	io_timer_start(&f.io, &x[0].timer, 10);
	assert_int_equal(f.wakes, 1);
	io_timer_start(&f.io, &x[1].timer, 20); /* not the first one */
	assert_int_equal(f.wakes, 1);
	io_defer(&f.io, &x[0].task);
	assert_int_equal(f.wakes, 2);
	f.io.is_in_turn = true;
	io_defer(&f.io, &x[1].task);
	io_timer_start(&f.io, &x[1].timer, 0);
	assert_int_equal(f.wakes, 2);
}

static void a_dead_io_forgets_everything(void **state)
{
	(void)state;
	static const char *const names[] = { "a", "b" };
	struct fake f;
	struct thing x[COUNT_OF(names)];
	things_make(&f, x, COUNT_OF(x), names);
	io_timer_start(&f.io, &x[0].timer, 10);
	io_defer(&f.io, &x[0].task);
	io_turn_hook_add(&f.io, &x[0].hook);
	io_kill(&f.io);
	assert_false(io_timer_is_armed(&x[0].timer));
	io_timer_start(&f.io, &x[1].timer, 0);
	io_defer(&f.io, &x[1].task);
	io_turn_hook_add(&f.io, &x[1].hook);
	io_timers_fire(&f.io, UINT64_MAX);
	io_turn_end(&f.io);
	io_timer_stop(&f.io, &x[0].timer);
	io_turn_hook_remove(&f.io, &x[0].hook);
	assert_int_equal(f.text.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_order_of_deadline_then_of_arming),
		cmocka_unit_test(a_timer_armed_by_a_timer_waits_for_the_next_round),
		cmocka_unit_test(a_turn_ends_with_tasks_then_hooks_until_quiet),
		cmocka_unit_test(a_hook_may_remove_itself_and_the_next),
		cmocka_unit_test(a_turn_is_asked_for_from_outside_only),
		cmocka_unit_test(a_dead_io_forgets_everything),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
