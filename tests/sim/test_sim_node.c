/* SPDX-License-Identifier: Apache-2.0 */
/* Machines and processes of the twin: starting, lanes, turns, timers, deaths at any moment, and that a run is a function of its
 * seed. The software here is a small journal: a job appends records and syncs, the loop counts what was promised. */
#include <inttypes.h>
#include <stdlib.h>

#include "check.h"
#include "sim/sim.h"

/* ---- the software: an append-only file, one job in flight ---- */

enum { RECORD_BYTES = 40 };

struct journal {
	struct io *io;
	struct sim_node *node;
	struct io_file *file;
	struct io_timer timer;
	struct io_job job;
	uint64_t durable, submitted; /* records */
	uint64_t *promised;          /* borrowed: the test's memory of what was called durable */
	enum err result;             /* of the job */
	bool is_busy;
};

static enum err record_read(struct io_file *f, uint64_t index, bool *is_whole)
{
	uint8_t record[RECORD_BYTES];
	size_t got;
	const enum err e = io_file_read(f, index * RECORD_BYTES, record, sizeof record, &got);
	*is_whole = e == OK && got == sizeof record && le32_get(record + 8) == crc32c(0, record, 8) &&
		    le64_get(record) == index;
	return e;
}

static void journal_run(struct io_job *job)
{
	struct journal *j = CONTAINER_OF(job, struct journal, job);
	uint8_t record[RECORD_BYTES] = { 0 };
	le64_put(record, j->submitted);
	le32_put(record + 8, crc32c(0, record, 8));
	const struct slice v = slice_of(record, sizeof record);
	j->result = io_file_write(j->file, j->submitted * RECORD_BYTES, &v, 1);
	if (j->result == OK) j->result = io_file_sync(j->file);
}

static void journal_next(struct io_timer *t)
{
	struct journal *j = CONTAINER_OF(t, struct journal, timer);
	ASSERT(!j->is_busy);
	j->is_busy = true;
	io_job_submit(j->io, IO_LANE_JOURNAL, &j->job);
}

static void journal_done(struct io_job *job)
{
	struct journal *j = CONTAINER_OF(job, struct journal, job);
	j->is_busy = false;
	if (j->result != OK) {
		sim_node_crash(j->node, SIM_KILL); /* a failed sync is not survived */
		return;
	}
	*j->promised = ++j->submitted;
	io_timer_start(j->io, &j->timer, 100 * NS_PER_US);
}

static enum err journal_open(struct journal *j)
{
	enum err e =
		io_file_open(j->io, "journal", IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_LOCK, &j->file);
	if (e == OK) e = io_dir_sync(j->io, ".");
	if (e == OK) e = io_file_sync(j->file);
	if (e == OK) e = io_file_drop_cache(j->file);
	bool is_whole = true;
	while (e == OK && is_whole) {
		e = record_read(j->file, j->submitted, &is_whole);
		if (is_whole) j->submitted++;
	}
	return e;
}

static enum err journal_start(void *arg, struct sim_node *n, struct io *io, void **software)
{
	struct journal *j = NEW(struct journal);
	*j = (struct journal) { .io = io, .node = n, .promised = arg };
	j->timer.fire = journal_next;
	j->job.run = journal_run;
	j->job.done = journal_done;
	const enum err e = journal_open(j);
	if (e != OK) {
		io_file_close(j->file);
		mem_free(j);
		return e;
	}
	io_timer_start(io, &j->timer, 0);
	*software = j;
	return OK;
}

static void journal_teardown(void *software)
{
	struct journal *j = software;
	io_timer_stop(j->io, &j->timer); /* harmless, as a careful owner does */
	io_file_close(j->file);
	mem_free(j);
}

static const struct sim_program journal_program = { journal_start, journal_teardown };

static bool node_settled(void *arg) { return sim_node_state(arg) != SIM_BOOTING; }

/* ---- deaths ---- */

/* A journal that is killed or loses power at any moment still has all that it promised. */
static uint64_t run_journal(uint64_t seed, struct sim_tally *tally, FILE *trace)
{
	struct sim *s = sim_new(seed);
	struct sim_node *n = sim_node_new(s);
	uint64_t promised = 0;
	sim_trace(s, trace);
	sim_disk(n)->ruin_ppm = 0; /* this journal rewrites the page of its last record: it breaks rule S2 */
	sim_disk(n)->stall_ppm = 10000;
	for (unsigned life = 0; life < 8; life++) {
		const enum sim_crash how = sim_below(s, 2) ? SIM_POWER : SIM_KILL;
		if (sim_below(s, 2)) sim_disk_crash_at(n, 1 + sim_below(s, 30), SIM_SOMETIME, how);
		if (sim_below(s, 8) == 0) sim_disk_fail(n, SIM_CALL_SYNC, NULL, (unsigned)sim_below(s, 30), 1, ERR_IO);
		sim_node_boot(n, &journal_program, &promised);
		assert_true(sim_run_until(s, node_settled, n, SECONDS(10)));
		const struct journal *j = sim_node_software(n);
		if (j) assert_true(j->submitted >= promised);
		sim_run_for(s, sim_below(s, MILLIS(30)));
		sim_node_crash(n, sim_below(s, 2) ? SIM_POWER : SIM_KILL);
		sim_disk_fail_clear(n);
		sim_disk_crash_clear(n);
		sim_mix(s, &promised, sizeof promised);
	}
	if (promised > 0) sim_count(s, "test promised");
	const uint64_t hash = sim_hash(s) ^ sim_events(s);
	if (tally) sim_tally_add(tally, s);
	sim_free(s);
	return hash;
}

static void a_journal_keeps_what_it_promised(void **state)
{
	(void)state;
	struct sim_tally tally = { 0 };
	const struct sim_seeds seeds = sim_seeds(500);
	for (uint64_t seed = seeds.first; seed < seeds.end; seed++) (void)run_journal(seed, &tally, seeds.trace);
	if (!seeds.is_single) {
		assert_true(sim_tally_of(&tally, "test promised") > 400);
		assert_true(sim_tally_of(&tally, "disk crash at call") > 500);
		assert_true(sim_tally_of(&tally, "disk unsynced torn") > 200);
		assert_true(sim_tally_of(&tally, "disk sync failed") > 50);
		assert_true(sim_tally_of(&tally, "disk stall") > 100);
		assert_true(sim_tally_of(&tally, "node power loss") > 1000);
	}
	sim_tally_deinit(&tally);
}

static void the_same_seed_gives_the_same_run(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		const uint64_t hash = run_journal(seed, NULL, NULL);
		assert_true(run_journal(seed, NULL, NULL) == hash);
		assert_true(run_journal(seed + 1000, NULL, NULL) != hash);
	}
}

/* The promise is only kept because of the sync: without it the twin finds the loss within a few seeds. */
static void journal_run_unsynced(struct io_job *job)
{
	struct journal *j = CONTAINER_OF(job, struct journal, job);
	const uint8_t record[RECORD_BYTES] = { 0 };
	const struct slice v = slice_of(record, sizeof record);
	j->result = io_file_write(j->file, j->submitted * RECORD_BYTES, &v, 1);
}

static enum err unsynced_start(void *arg, struct sim_node *n, struct io *io, void **software)
{
	const enum err e = journal_start(arg, n, io, software);
	if (e == OK) ((struct journal *)*software)->job.run = journal_run_unsynced;
	return e;
}

static void a_missing_sync_is_found(void **state)
{
	(void)state;
	static const struct sim_program unsynced_program = { unsynced_start, journal_teardown };
	unsigned found = 0;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = sim_node_new(s);
		uint64_t promised = 0, size = 0;
		sim_node_boot(n, &unsynced_program, &promised);
		sim_run_for(s, MILLIS(20));
		assert_true(promised > 10);
		sim_node_crash(n, SIM_POWER);
		if (sim_disk_size(n, "journal", &size) != OK || size < promised * RECORD_BYTES) found++;
		sim_free(s);
	}
	assert_in_range(found, 5, 20);
}

/* ---- lanes ---- */

enum { JOBS = 12 };

struct lane_job {
	struct io_job job;
	struct lane_test *test;
	unsigned number, running_before, run_order, done_order;
	enum io_lane lane;
};
struct lane_test {
	unsigned running[IO_LANE_COUNT], most[IO_LANE_COUNT], started[IO_LANE_COUNT], done[IO_LANE_COUNT], total;
	struct lane_job jobs[IO_LANE_COUNT][JOBS];
};

static void lane_job_run(struct io_job *job)
{
	struct lane_job *j = CONTAINER_OF(job, struct lane_job, job);
	struct lane_test *t = j->test;
	uint64_t free_bytes, total;
	j->run_order = t->started[j->lane]++;
	t->running[j->lane]++;
	if (t->running[j->lane] > t->most[j->lane]) t->most[j->lane] = t->running[j->lane];
	for (unsigned i = 0; i < 5; i++) ASSERT(io_space(job->io, ".", &free_bytes, &total) == OK);
	t->running[j->lane]--;
}

static void lane_job_done(struct io_job *job)
{
	struct lane_job *j = CONTAINER_OF(job, struct lane_job, job);
	j->done_order = j->test->done[j->lane]++;
	j->test->total++;
}

static bool lanes_are_empty(void *arg) { return ((const struct lane_test *)arg)->total == IO_LANE_COUNT * JOBS; }

static void lanes_keep_their_width_and_order(void **state)
{
	(void)state;
	unsigned most_disk = 0, most_cpu = 0, overtaken = 0;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = sim_node_new(s);
		struct lane_test t = { 0 };
		sim_node_boot(n, NULL, NULL);
		for (unsigned i = 0; i < JOBS; i++) {
			for (unsigned lane = 0; lane < IO_LANE_COUNT; lane++) {
				struct lane_job *j = &t.jobs[lane][i];
				*j = (struct lane_job) { .test = &t, .number = i, .lane = lane };
				j->job.run = lane_job_run;
				j->job.done = lane_job_done;
				io_job_submit(sim_node_io(n), lane, &j->job);
				assert_int_equal(t.total, 0);
			}
		}
		assert_true(sim_run_until(s, lanes_are_empty, &t, SECONDS(10)));
		for (unsigned i = 0; i < JOBS; i++) {
			assert_int_equal(t.jobs[IO_LANE_JOURNAL][i].run_order, i);
			assert_int_equal(t.jobs[IO_LANE_JOURNAL][i].done_order, i);
			assert_int_equal(t.jobs[IO_LANE_SETTLE][i].run_order, i);
			assert_int_equal(t.jobs[IO_LANE_SETTLE][i].done_order, i);
			overtaken += t.jobs[IO_LANE_DISK][i].done_order != i;
		}
		assert_int_equal(t.most[IO_LANE_JOURNAL], 1);
		assert_int_equal(t.most[IO_LANE_SETTLE], 1);
		if (t.most[IO_LANE_DISK] > most_disk) most_disk = t.most[IO_LANE_DISK];
		if (t.most[IO_LANE_CPU] > most_cpu) most_cpu = t.most[IO_LANE_CPU];
		sim_free(s);
	}
	assert_int_equal(most_disk, 2);
	assert_int_equal(most_cpu, 2);
	assert_true(overtaken > 0);
}

/* ---- turns and timers ---- */

struct named_timer {
	struct io_timer timer;
	struct buf *text; /* borrowed */
	const char *name;
};
struct turn_test {
	struct io *io;
	struct named_timer a, b, c;
	struct io_task task;
	struct io_turn_hook hook, other;
	struct buf text;
	unsigned hook_defers;
};

static void named_fired(struct io_timer *timer)
{
	const struct named_timer *t = CONTAINER_OF(timer, struct named_timer, timer);
	buf_append_str(t->text, t->name);
}

static void task_run(struct io_task *task)
{
	buf_append_str(&CONTAINER_OF(task, struct turn_test, task)->text, "task ");
}

static void hook_run(struct io_turn_hook *h)
{
	struct turn_test *t = CONTAINER_OF(h, struct turn_test, hook);
	buf_append_str(&t->text, "hook ");
	if (t->hook_defers > 0) {
		t->hook_defers--;
		io_defer(t->io, &t->task);
	}
}
static void other_run(struct io_turn_hook *h)
{
	struct turn_test *t = CONTAINER_OF(h, struct turn_test, other);
	buf_append_str(&t->text, "other ");
	io_turn_hook_remove(t->io, h);
}

static void turns_end_with_tasks_and_hooks(void **state)
{
	(void)state;
	struct sim *s = sim_new(1);
	struct sim_node *n = sim_node_new(s);
	sim_node_boot(n, NULL, NULL);
	struct turn_test t = { .io = sim_node_io(n), .hook_defers = 1 };
	t.task.run = task_run;
	t.hook.turn_end = hook_run;
	t.other.turn_end = other_run;
	t.a = (struct named_timer) { .timer.fire = named_fired, .text = &t.text, .name = "a " };
	t.b = (struct named_timer) { .timer.fire = named_fired, .text = &t.text, .name = "b " };
	t.c = (struct named_timer) { .timer.fire = named_fired, .text = &t.text, .name = "c " };
	io_turn_hook_add(t.io, &t.hook);
	io_turn_hook_add(t.io, &t.other);
	io_timer_start(t.io, &t.c.timer, MILLIS(3));
	io_timer_start(t.io, &t.a.timer, MILLIS(2));
	io_timer_start(t.io, &t.b.timer, MILLIS(2));
	io_defer(t.io, &t.task);
	io_defer(t.io, &t.task);
	assert_int_equal(t.text.n, 0);
	sim_run_for(s, MILLIS(1));
	CHECK_BUF(&t.text, "task hook other task hook ");
	sim_run_for(s, MILLIS(1) - 1);
	CHECK_BUF(&t.text, "");
	sim_run_for(s, MILLIS(1) / 2);
	CHECK_BUF(&t.text, "a b hook ");
	io_timer_stop(t.io, &t.c.timer);
	io_timer_start(t.io, &t.a.timer, UINT64_MAX);
	sim_run_for(s, SECONDS(100));
	CHECK_BUF(&t.text, "hook "); /* arming made a turn, no timer fired */
	io_timer_stop(t.io, &t.a.timer);
	buf_deinit(&t.text);
	sim_free(s);
}

static void clocks_of_machines_differ_and_jump_apart(void **state)
{
	(void)state;
	struct sim *s = sim_new(1);
	struct sim_node *a = sim_node_new(s), *b = sim_node_new(s);
	sim_node_boot(a, NULL, NULL);
	sim_node_boot(b, NULL, NULL);
	assert_true(io_now_ns(sim_node_io(a)) != io_now_ns(sim_node_io(b)));
	const int64_t apart = io_wall_ns(sim_node_io(a)) - io_wall_ns(sim_node_io(b));
	assert_true(apart > -2 * (int64_t)NS_PER_S && apart < 2 * (int64_t)NS_PER_S && apart != 0);
	const uint64_t mono = io_now_ns(sim_node_io(a));
	sim_node_wall_jump(a, -(int64_t)SECONDS(3600));
	sim_run_for(s, SECONDS(10));
	assert_true(io_now_ns(sim_node_io(a)) == mono + SECONDS(10));
	assert_true(io_wall_ns(sim_node_io(a)) - io_wall_ns(sim_node_io(b)) == apart - (int64_t)SECONDS(3600));
	assert_true(io_random_u64(sim_node_io(a)) != io_random_u64(sim_node_io(b)));
	sim_free(s);
}

static void a_paused_machine_does_nothing(void **state)
{
	(void)state;
	struct sim *s = sim_new(1);
	struct sim_node *n = sim_node_new(s);
	uint64_t promised = 0;
	sim_node_boot(n, &journal_program, &promised);
	sim_run_for(s, MILLIS(20));
	const uint64_t before = promised;
	assert_true(before > 3);
	sim_node_pause(n, SECONDS(1));
	sim_run_for(s, MILLIS(990));
	assert_true(promised <= before + 1);
	sim_run_for(s, MILLIS(30));
	assert_true(promised > before + 3);
	sim_free(s);
}

/* ---- starting ---- */

static enum err refuse(void *arg, struct sim_node *n, struct io *io, void **software)
{
	(void)arg;
	(void)n;
	(void)software;
	struct io_file *f;
	const enum err e = io_file_open(io, "nowhere", IO_OPEN_READ, &f);
	return e == OK ? ERR_EXISTS : e;
}

static void a_start_that_fails_says_why(void **state)
{
	(void)state;
	static const struct sim_program program = { refuse, NULL };
	struct sim *s = sim_new(1);
	struct sim_node *n = sim_node_new(s);
	assert_int_equal(sim_node_state(n), SIM_OFF);
	sim_node_boot(n, &program, NULL);
	assert_int_equal(sim_node_state(n), SIM_BOOTING);
	assert_true(sim_run_until(s, node_settled, n, SECONDS(1)));
	assert_int_equal(sim_node_state(n), SIM_DOWN);
	assert_int_equal(sim_node_start_result(n), ERR_NOT_FOUND);
	assert_null(sim_node_io(n));
	uint64_t promised = 0;
	sim_disk_crash_at(n, 3, SIM_BEFORE, SIM_POWER);
	sim_node_boot(n, &journal_program, &promised);
	assert_true(sim_run_until(s, node_settled, n, SECONDS(1)));
	assert_int_equal(sim_node_state(n), SIM_OFF);
	assert_int_equal(sim_node_start_result(n), ERR_CRASHED);
	sim_free(s);
}

/* ---- scripted clients ---- */

struct greeter {
	struct io *io;
	struct io_listener *listener;
	struct io_stream *stream;
};

static void greeter_on_read(void *owner, const uint8_t *p, size_t n)
{
	struct greeter *g = owner;
	if (p[n - 1] == '\n') io_stream_close(g->stream);
}
static void greeter_on_end(void *owner, enum err why)
{
	struct greeter *g = owner;
	(void)why;
	io_stream_close(g->stream);
}
static void greeter_on_close(void *owner) { ((struct greeter *)owner)->stream = NULL; }

static void greeter_on_accept(void *owner, struct io_stream *stream)
{
	static const struct io_stream_ops ops = {
		.on_read = greeter_on_read, .on_end = greeter_on_end, .on_close = greeter_on_close
	};
	struct greeter *g = owner;
	const struct slice hello = SLICE("hello\r\n");
	if (g->stream) {
		io_stream_close(stream);
		return;
	}
	g->stream = stream;
	io_stream_own(stream, &ops, g);
	io_stream_read_start(stream);
	ASSERT(io_stream_write(stream, &hello, 1) != IO_BROKEN);
}

static bool client_has_ended(void *arg)
{
	const enum err e = sim_client_status(arg);
	return e != OK && e != ERR_AGAIN;
}
static bool client_has_line(void *arg)
{
	const struct slice got = sim_client_received(arg);
	return got.n > 0 && got.p[got.n - 1] == '\n';
}

static void a_scripted_client_talks(void **state)
{
	(void)state;
	static const struct io_listener_ops ops = { .on_accept = greeter_on_accept };
	struct sim *s = sim_new(1);
	struct sim_node *n = sim_node_new(s);
	sim_net(s)->split_ppm = 0; /* whether a short write pends is another test's question */
	sim_node_boot(n, NULL, NULL);
	struct greeter g = { .io = sim_node_io(n) };
	struct io_addr addr;
	assert_int_equal(io_listen(g.io, "300.0.0.1", 0, 4, &ops, &g, &g.listener), ERR_INVALID);
	assert_int_equal(io_listen(g.io, "10.0.0.9", 0, 4, &ops, &g, &g.listener), ERR_ADDR);
	assert_int_equal(io_listen(g.io, "10.0.0.1", 0, 4, &ops, &g, &g.listener), OK);
	io_listener_addr(g.listener, &addr);
	assert_true(addr.port > 0);
	struct io_listener *second;
	assert_int_equal(io_listen(g.io, "0.0.0.0", addr.port, 4, &ops, &g, &second), ERR_ADDR_IN_USE);
	struct sim_client *c = sim_client_new(s, addr.host, addr.port);
	struct sim_client *refused = sim_client_new(s, addr.host, (uint16_t)(addr.port + 1));
	struct sim_client *nowhere = sim_client_new(s, "10.9.9.9", addr.port);
	assert_int_equal(sim_client_status(c), ERR_AGAIN);
	assert_true(sim_run_until(s, client_has_line, c, SECONDS(1)));
	assert_true(slice_eq(sim_client_received(c), SLICE("hello\r\n")));
	sim_client_consume(c, 7);
	assert_int_equal(sim_client_received(c).n, 0);
	assert_true(sim_run_until(s, client_has_ended, refused, SECONDS(1)));
	assert_int_equal(sim_client_status(refused), ERR_REFUSED);
	assert_true(sim_run_until(s, client_has_ended, nowhere, SECONDS(1)));
	assert_int_equal(sim_client_status(nowhere), ERR_ADDR);
	sim_client_free(refused);
	/* The listener is busy with one: the second is accepted and closed. */
	struct sim_client *late = sim_client_new(s, addr.host, addr.port);
	assert_true(sim_run_until(s, client_has_ended, late, SECONDS(1)));
	assert_int_equal(sim_client_status(late), ERR_EOF);
	assert_int_equal(sim_client_status(c), OK);
	sim_client_send(c, SLICE("bye"));
	sim_client_send(c, SLICE("\n"));
	assert_true(sim_run_until(s, client_has_ended, c, SECONDS(1)));
	assert_int_equal(sim_client_status(c), ERR_EOF);
	sim_client_free(c);
	sim_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_journal_keeps_what_it_promised),
		cmocka_unit_test(the_same_seed_gives_the_same_run),
		cmocka_unit_test(a_missing_sync_is_found),
		cmocka_unit_test(lanes_keep_their_width_and_order),
		cmocka_unit_test(turns_end_with_tasks_and_hooks),
		cmocka_unit_test(clocks_of_machines_differ_and_jump_apart),
		cmocka_unit_test(a_paused_machine_does_nothing),
		cmocka_unit_test(a_start_that_fails_says_why),
		cmocka_unit_test(a_scripted_client_talks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
