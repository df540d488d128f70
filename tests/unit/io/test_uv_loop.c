/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>

#include "check.h"
#include "thebes/io_uv.h"
#include "uv_io.h"

struct ticker {
	struct io *io;
	struct io_timer timer, second;
	struct io_turn_hook hook;
	struct io_task task;
	uint64_t started_ns, fired_ns, in_turn_ns[2];
	unsigned fired, left, turns, tasks;
};

static void ticker_fired(struct io_timer *t)
{
	struct ticker *x = CONTAINER_OF(t, struct ticker, timer);
	x->fired++;
	x->fired_ns = io_now_precise_ns(x->io);
	if (--x->left > 0) io_timer_start(x->io, t, MILLIS(1));
}
static void ticker_turn_end(struct io_turn_hook *h) { CONTAINER_OF(h, struct ticker, hook)->turns++; }

static struct io *io_made(void)
{
	struct io *io;
	assert_int_equal(io_uv_new(&io), OK);
	return io;
}

static void a_timer_fires_not_before_its_time(void **state)
{
	(void)state;
	struct ticker x = { .io = io_made(), .left = 1 };
	x.timer.fire = ticker_fired;
	const uint64_t before = io_now_precise_ns(x.io);
	io_timer_start(x.io, &x.timer, MILLIS(15) + 300000);
	io_uv_run(x.io); /* returns: nothing is left */
	assert_int_equal(x.fired, 1);
	assert_true(x.fired_ns >= before + MILLIS(15) + 300000);
	assert_false(io_timer_is_armed(&x.timer));
	io_uv_free(x.io);
}

static void hooks_run_once_a_turn_and_the_loop_ends_by_itself(void **state)
{
	(void)state;
	struct ticker x = { .io = io_made(), .left = 5 };
	x.timer.fire = ticker_fired;
	x.hook.turn_end = ticker_turn_end;
	io_turn_hook_add(x.io, &x.hook);
	io_timer_start(x.io, &x.timer, 0);
	io_uv_run(x.io);
	assert_int_equal(x.fired, 5);
	assert_int_equal(x.turns, 5);
	io_turn_hook_remove(x.io, &x.hook);
	io_uv_free(x.io);
}

static void task_once(struct io_task *t)
{
	struct ticker *x = CONTAINER_OF(t, struct ticker, task);
	x->tasks++;
	io_timer_start(x->io, &x->timer, 0);
}

/* A job after the other: events that follow each other at once. */
struct chain {
	struct io *io;
	struct io_job job;
	struct io_turn_hook hook;
	unsigned left, turns;
};

static void chain_work(struct io_job *j) { (void)j; }
static void chain_turn_end(struct io_turn_hook *h) { CONTAINER_OF(h, struct chain, hook)->turns++; }
static void chain_done(struct io_job *j)
{
	struct chain *x = CONTAINER_OF(j, struct chain, job);
	if (--x->left > 0) io_job_submit(x->io, IO_LANE_CPU, j);
}

/* The window is longer than any job takes: the loop does not sleep, and turns are still made by events alone. */
static void a_loop_that_polls_has_the_same_turns(void **state)
{
	(void)state;
	struct chain x = { .io = io_made(), .left = 100 };
	x.job.run = chain_work;
	x.job.done = chain_done;
	x.hook.turn_end = chain_turn_end;
	io_uv_busy_poll(x.io, SECONDS(10));
	io_turn_hook_add(x.io, &x.hook);
	io_job_submit(x.io, IO_LANE_CPU, &x.job);
	io_uv_run(x.io);
	assert_int_equal(x.left, 0);
	assert_int_equal(x.turns, 100);
	assert_true(uv_io_of(x.io)->spin.is_on);
	assert_in_range(uv_io_of(x.io)->spin.hits, 100 - UV_SPIN_SHORTS_MIN - 1, 100 - UV_SPIN_SHORTS_MIN);
	io_turn_hook_remove(x.io, &x.hook);
	io_uv_free(x.io);
}

static void a_task_deferred_before_the_run_is_run(void **state)
{
	(void)state;
	struct ticker x = { .io = io_made(), .left = 1 };
	x.timer.fire = ticker_fired;
	x.task.run = task_once;
	io_defer(x.io, &x.task);
	io_uv_run(x.io);
	assert_int_equal(x.tasks, 1);
	assert_int_equal(x.fired, 1);
	io_uv_free(x.io);
}

static void stopper_fired(struct io_timer *t)
{
	struct ticker *x = CONTAINER_OF(t, struct ticker, timer);
	x->fired++;
	x->in_turn_ns[0] = io_now_ns(x->io);
	while (io_now_precise_ns(x->io) == x->in_turn_ns[0]) {} /* until time has visibly passed */
	x->in_turn_ns[1] = io_now_ns(x->io);
	io_timer_start(x->io, t, MILLIS(1));
	io_uv_stop(x->io);
}

static void the_turn_has_one_time_and_stop_stops(void **state)
{
	(void)state;
	struct ticker x = { .io = io_made() };
	x.timer.fire = stopper_fired;
	x.hook.turn_end = ticker_turn_end;
	io_turn_hook_add(x.io, &x.hook);
	io_timer_start(x.io, &x.timer, 0);
	io_uv_run(x.io);
	assert_int_equal(x.fired, 1);
	assert_int_equal(x.turns, 1);
	assert_true(x.in_turn_ns[0] == x.in_turn_ns[1]);
	/* It goes on where it was; a stop from outside holds for the next run. */
	io_uv_run(x.io);
	assert_int_equal(x.fired, 2);
	io_uv_stop(x.io);
	io_uv_run(x.io);
	assert_int_equal(x.fired, 2);
	io_uv_free(x.io); /* an armed timer does not hold it up */
}

static void on_signal(void *arg, int signum)
{
	struct ticker *x = arg;
	x->fired = (unsigned)signum;
	io_uv_stop(x->io);
}

static void kill_fired(struct io_timer *t)
{
	(void)t;
	assert_int_equal(raise(SIGUSR1), 0);
}

static void signals_arrive_on_the_loop(void **state)
{
	(void)state;
	struct ticker x = { .io = io_made() };
	assert_int_equal(io_uv_on_signal(x.io, SIGUSR1, on_signal, &x), OK);
	assert_int_equal(io_uv_on_signal(x.io, SIGUSR1, on_signal, &x), ERR_EXISTS);
	assert_int_equal(io_uv_on_signal(x.io, SIGKILL, on_signal, &x), ERR_INVALID);
	io_uv_run(x.io); /* a handler alone is nothing to wait for */
	x.timer.fire = kill_fired;
	x.second.fire = kill_fired;
	io_timer_start(x.io, &x.timer, 0);
	io_timer_start(x.io, &x.second, SECONDS(3600)); /* keeps the loop waiting for the signal */
	io_uv_run(x.io);
	assert_int_equal(x.fired, SIGUSR1);
	io_timer_stop(x.io, &x.second);
	io_uv_free(x.io);
}

static void chance_is_not_repeated(void **state)
{
	(void)state;
	struct io *io = io_made();
	uint8_t big[2][4096];
	uint64_t seen[200];
	io_random(io, big[0], sizeof big[0]);
	io_random(io, big[1], sizeof big[1]);
	assert_memory_not_equal(big[0], big[1], sizeof big[0]);
	for (unsigned i = 0; i < COUNT_OF(seen); i++) {
		seen[i] = io_random_u64(io);
		for (unsigned k = 0; k < i; k++) assert_true(seen[k] != seen[i]);
	}
	/* About half of the bits are set. */
	unsigned set = 0;
	for (unsigned i = 0; i < COUNT_OF(seen); i++) set += (unsigned)__builtin_popcountll(seen[i]);
	assert_in_range(set, 200 * 32 - 600, 200 * 32 + 600);
	io_uv_free(io);
}

static void clocks_go_forward(void **state)
{
	(void)state;
	struct io *io = io_made();
	const uint64_t a = io_now_ns(io), b = io_now_precise_ns(io), c = io_now_ns(io);
	assert_true(a <= b && b <= c);
	assert_true(io_wall_ns(io) > (int64_t)(1600000000 * NS_PER_S));
	io_uv_free(io);
}

static void errors_are_translated(void **state)
{
	(void)state;
	static const struct {
		int code;
		enum err want;
	} rows[] = {
		{ 0, OK },
		{ ENOENT, ERR_NOT_FOUND },
		{ UV_ENOENT, ERR_NOT_FOUND },
		{ UV_EOF, ERR_EOF },
		{ UV_ECONNRESET, ERR_RESET },
		{ EPIPE, ERR_RESET },
		{ UV_EMFILE, ERR_FILES },
		{ ENOSPC, ERR_NO_SPACE },
		{ EDQUOT, ERR_NO_SPACE },
		{ EIO, ERR_IO },
		{ EXFULL, ERR_IO }, /* what the table does not know */
		{ UV_ECONNREFUSED, ERR_REFUSED },
		{ UV_EADDRINUSE, ERR_ADDR_IN_USE },
		{ UV_ETIMEDOUT, ERR_TIMEOUT },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) assert_int_equal(uv_err(rows[i].code), rows[i].want);
}

static void names_resolve_to_numbers(void **state)
{
	(void)state;
	struct io_addr found[4];
	unsigned count;
	assert_int_equal(io_uv_resolve("127.0.0.1", 4222, found, COUNT_OF(found), &count), OK);
	assert_int_equal(count, 1);
	assert_string_equal(found[0].host, "127.0.0.1");
	assert_int_equal(found[0].port, 4222);
	assert_int_equal(io_uv_resolve("localhost", 1, found, COUNT_OF(found), &count), OK);
	assert_in_range(count, 1, COUNT_OF(found));
	assert_int_equal(io_uv_resolve("not a name", 1, found, COUNT_OF(found), &count), ERR_RESOLVE);
	assert_int_equal(count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_timer_fires_not_before_its_time),
		cmocka_unit_test(hooks_run_once_a_turn_and_the_loop_ends_by_itself),
		cmocka_unit_test(a_loop_that_polls_has_the_same_turns),
		cmocka_unit_test(a_task_deferred_before_the_run_is_run),
		cmocka_unit_test(the_turn_has_one_time_and_stop_stops),
		cmocka_unit_test(signals_arrive_on_the_loop),
		cmocka_unit_test(chance_is_not_repeated),
		cmocka_unit_test(clocks_go_forward),
		cmocka_unit_test(errors_are_translated),
		cmocka_unit_test(names_resolve_to_numbers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
