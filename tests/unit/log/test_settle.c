/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include "log_files.h"

static void append_applied(struct fixture *f, struct owner *o, unsigned count, size_t bytes)
{
	admit(f, count * (bytes + 400));
	owner_append_now(o, count, bytes);
	owner_apply(o);
}

/* One group with several small segments: so many times ten entries have settled. */
static void begin_with_segments(struct fixture *f, struct owner *o, unsigned times)
{
	fixture_init(f);
	f->options.segment_bytes_max = 16 * 1024;
	fixture_open(f);
	owner_make(o, f, 1);
	for (unsigned i = 0; i < times; i++) append_applied(f, o, 10, 1000);
	settle(f);
}

static bool group_dir_exists(const struct fixture *f, uint64_t id)
{
	char name[40];
	(void)snprintf(name, sizeof name, "groups/%016llx", (unsigned long long)id);
	return is_there(f, name);
}

/* S12: one group that applies nothing does not hold the slots of the others. */
static void what_is_not_applied_moves_along(void **state)
{
	(void)state;
	struct fixture f;
	struct owner busy, stuck;
	struct waiter w;
	struct log_group_info info;
	fixture_begin(&f, &busy, 1);
	owner_make(&stuck, &f, 2);
	owner_append_now(&stuck, 5, 500);
	for (unsigned i = 0; i < 100; i++) append_applied(&f, &busy, 10, 1000);
	assert_true(f.diag.counter[COUNTER_log_slots_begun] > 12);
	assert_true(f.diag.counter[COUNTER_log_entries_moved] >= 10);
	log_group_info(stuck.g, &info);
	assert_int_equal(info.last_index, 5);
	assert_int_equal(info.state_index, 0);
	assert_int_equal(read_and_check(&stuck, 1, 5), 5);
	fixture_kill(&f);
	fixture_open(&f);
	owner_attach(&stuck, &f, 2);
	log_group_info(stuck.g, &info);
	assert_int_equal(info.last_index, 5);
	assert_int_equal(info.last_term, 1);
	assert_false(info.in_doubt);
	assert_int_equal(read_and_check(&stuck, 1, 5), 5);
	/* They can still be taken back. */
	log_truncate(stuck.g, 3);
	log_vote(stuck.g, 3, 1, wait_on(&w, &f));
	run(&f);
	fixture_kill(&f);
	fixture_open(&f);
	log_group_info(log_group_find(f.log, 2), &info);
	assert_int_equal(info.last_index, 2);
	assert_false(info.in_doubt);
	fixture_end(&f);
}

/* S14: what was left out is a hole, and said to be one. */
static void the_dead_are_left_out(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct log_group_info info;
	fixture_begin(&f, &o, 1);
	append_applied(&f, &o, 30, 500);
	o.dead_below = 21;
	settle(&f);
	log_group_info(o.g, &info);
	assert_int_equal(info.state_index, 30);
	assert_int_equal(info.contiguous_from, 21);
	assert_int_equal(info.first_index, 21);
	assert_int_equal(f.diag.counter[COUNTER_log_entries_dead], 20);
	assert_int_equal(read_and_check(&o, 1, 30), 10);
	struct read_waiter w = { .req = { .done = read_waiter_done, .from = 5, .to = 30, .bytes_max = 1000 }, .f = &f };
	log_read(o.g, &w.req);
	run(&f);
	assert_int_equal(w.req.result, ERR_COMPACTED);
	fixture_end(&f);
}

/* Trimmed segments go with one round and from the disk with the next (S13). */
static void trimmed_segments_go(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct log_group_info info;
	begin_with_segments(&f, &o, 6);
	assert_true(is_there(&f, FIRST_SEGMENT));
	log_trim(o.g, 40);
	settle(&f);
	log_group_info(o.g, &info);
	assert_true(info.first_index > 10 && info.first_index <= 40);
	assert_true(info.contiguous_from >= info.first_index);
	assert_true(is_there(&f, FIRST_SEGMENT));
	settle(&f);
	settle(&f);
	assert_false(is_there(&f, FIRST_SEGMENT));
	uint64_t first = info.first_index;
	assert_int_equal(read_and_check(&o, first, 60), 61 - first);
	fixture_close(&f);
	fixture_open(&f);
	log_group_info(log_group_find(f.log, 1), &info);
	assert_int_equal(info.first_index, first);
	assert_false(info.in_doubt);
	fixture_end(&f);
}

struct look {
	struct io_timer timer;
	struct fixture *f;
	const char *name;
	unsigned left;
};

static void look_again(struct io_timer *t)
{
	struct look *x = CONTAINER_OF(t, struct look, timer);
	if (!is_there(x->f, x->name) || --x->left == 0)
		io_uv_stop(x->f->io);
	else
		io_timer_start(x->f->io, t, MILLIS(10));
}

/* S16: the disk is full, everything is purged, and nobody may write anything that would fill a slot: the room comes back all the same. */
static void a_full_disk_is_given_back_what_is_purged(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	begin_with_segments(&f, &o, 6);
	assert_true(is_there(&f, FIRST_SEGMENT));
	f.log->options.space_low_bytes = UINT64_MAX / 2;
	owner_append_now(&o, 1, 100); /* the purge */
	owner_apply(&o);
	assert_true(f.log->space.is_known);
	assert_int_equal(log_admit(f.log, LOG_ADMIT_GROWS, 100), ERR_NO_SPACE);
	log_trim(o.g, 61);
	log_turn_end(f.log);
	struct look x = { .timer.fire = look_again, .f = &f, .name = FIRST_SEGMENT, .left = 3000 };
	io_timer_start(f.io, &x.timer, MILLIS(10));
	io_uv_run(f.io);
	assert_true(x.left > 0);
	uint64_t rounds = f.diag.counter[COUNTER_log_rounds];
	/* And then it is quiet: a disk that stays low is no reason to go on. */
	x.name = "";
	x.left = 60;
	io_timer_start(f.io, &x.timer, MILLIS(10));
	io_uv_run(f.io);
	assert_in_range(f.diag.counter[COUNTER_log_rounds], rounds, rounds + 1);
	assert_int_equal(read_and_check(&o, 61, 61), 1);
	fixture_end(&f);
}

/* S18: a group that went is gone for good, its files too. */
static void groups_go(void **state)
{
	(void)state;
	struct fixture f;
	struct owner a, b;
	struct waiter w;
	fixture_begin(&f, &a, 1);
	owner_make(&b, &f, 2);
	append_applied(&f, &a, 10, 500);
	append_applied(&f, &b, 10, 500);
	settle(&f);
	assert_true(group_dir_exists(&f, 1));
	log_group_gone(a.g, wait_on(&w, &f));
	assert_null(log_group_find(f.log, 1));
	run(&f);
	fixture_kill(&f);
	fixture_open(&f);
	assert_null(log_group_find(f.log, 1));
	owner_attach(&b, &f, 2);
	settle(&f);
	settle(&f);
	fixture_close(&f);
	assert_false(group_dir_exists(&f, 1));
	assert_true(group_dir_exists(&f, 2));
	fixture_open(&f);
	assert_null(log_group_find(f.log, 1));
	struct buf value = { 0 };
	assert_int_equal(state_get(log_state(f.log), 1, SLICE("sum"), &value), ERR_NOT_FOUND);
	assert_int_equal(state_get(log_state(f.log), 2, SLICE("sum"), &value), OK);
	buf_deinit(&value);
	fixture_end(&f);
}

/* A group may go, be detached or be truncated while a round is on its way. */
static void rounds_and_life_cross(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o[6];
	struct waiter w;
	fixture_init(&f);
	fixture_open(&f);
	for (unsigned i = 0; i < COUNT_OF(o); i++) {
		owner_make(&o[i], &f, i + 1);
		append_applied(&f, &o[i], 10, 400);
	}
	struct waiter settled;
	log_settle_now(f.log, wait_on(&settled, &f));
	for (unsigned step = 0; f.log->settle.phase == ROUND_IDLE && step < 100; step++) {
		log_vote(o[0].g, step + 1, 0, wait_on(&w, &f));
		run(&f);
	}
	assert_int_not_equal(f.log->settle.phase, ROUND_IDLE);
	log_group_gone(o[1].g, NULL);
	log_group_detach(o[2].g);
	struct log_group_info info;
	owner_append(&o[3], 3, 100, NULL);
	log_truncate(o[3].g, 12);
	log_group_info(o[3].g, &info);
	assert_int_equal(info.last_index, 11);
	unsigned before = f.done;
	while (f.done == before || f.log->settle.phase != ROUND_IDLE) io_uv_run(f.io);
	assert_int_equal(o[2].settled, 0); /* it was not told any more */
	assert_int_equal(o[4].settled, 10);
	fixture_kill(&f);
	fixture_open(&f);
	assert_null(log_group_find(f.log, 2));
	for (unsigned i = 0; i < COUNT_OF(o); i++) {
		if (i == 1) continue;
		owner_attach(&o[i], &f, i + 1);
		assert_int_equal(read_and_check(&o[i], 1, 10), 10);
	}
	fixture_end(&f);
}

/* A stream is deleted while the worker writes a round with its group: its files go when the round is over, and the round goes on. */
static void a_group_goes_while_its_round_is_written(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o[3];
	struct waiter settled, gone;
	char dir[128];
	struct stat st;
	fixture_init(&f);
	fixture_open(&f);
	for (unsigned i = 0; i < COUNT_OF(o); i++) {
		owner_make(&o[i], &f, i + 1);
		append_applied(&f, &o[i], 10, 400);
	}
	log_settle_now(f.log, wait_on(&settled, &f));
	log_turn_end(f.log);
	f.until_work = f.log->settle.phase != ROUND_WORK;
	if (f.until_work) run(&f);
	assert_int_equal(f.log->settle.phase, ROUND_WORK);
	log_group_gone(o[1].g, wait_on(&gone, &f));
	unsigned before = f.done;
	while ((f.done < before + 2 || f.log->settle.phase != ROUND_IDLE) && !f.has_died) io_uv_run(f.io);
	assert_false(f.has_died);
	assert_int_equal(o[0].settled, 10);
	assert_int_equal(o[2].settled, 10);
	/* The next round drops its state; by then its files are gone. */
	settle(&f);
	fixture_close(&f);
	(void)snprintf(dir, sizeof dir, "%s/groups/%016x", f.dir, 2);
	assert_int_equal(stat(dir, &st), -1);
	fixture_open(&f);
	assert_null(log_group_find(f.log, 2));
	owner_attach(&o[0], &f, 1);
	assert_int_equal(read_and_check(&o[0], 1, 10), 10);
	fixture_end(&f);
}

/* What is mostly dead is written anew. */
static void segments_are_rewritten(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	begin_with_segments(&f, &o, 10);
	struct log_group_info before, info;
	log_group_info(o.g, &before);
	o.dead_below = 90;
	uint64_t added = 0;
	for (; added < 300 && f.diag.counter[COUNTER_log_segments_rewritten] < 3; added++) {
		append_applied(&f, &o, 1, 1000);
		settle(&f);
	}
	assert_true(f.diag.counter[COUNTER_log_segments_rewritten] >= 3);
	log_group_info(o.g, &info);
	/* What came meanwhile has a sector a round; three segments of 16 KiB lost most of theirs. */
	assert_true(info.stored_bytes + 24 * 1024 < before.stored_bytes + added * 4096);
	assert_true(info.contiguous_from > 10);
	assert_int_equal(read_and_check(&o, 90, 100), 11);
	fixture_kill(&f);
	fixture_open(&f);
	owner_attach(&o, &f, 1);
	assert_int_equal(read_and_check(&o, 90, 100), 11);
	fixture_end(&f);
}

static void ref_flip(const struct fixture *f, const struct log_ref *ref)
{
	char name[32];
	(void)snprintf(name, sizeof name, "journal/%02u", (ref->use - 1) % f->options.slot_count);
	file_flip(path_in(f, name), ref_offset(ref) + ENTRY_HEAD_BYTES + 100, 0);
}

static enum err commit_and_fail(struct state *s, const struct state_change *c, unsigned count, struct state_head *head)
{
	enum err e = state_lmdb.commit(s, c, count, head);
	return e == OK ? ERR_IO : e;
}

static void fatal_stops(void *arg, const char *why)
{
	struct fixture *f = arg;
	fixture_fatal(f, why);
	io_uv_stop(f->io);
}

/* S7: an entry cannot be read when it is to settle, and the process dies between the state that goes without it and the record of the
 * round. The next start reads the entry's slot without a complaint, and must know of the doubt all the same. */
static void a_doubt_is_durable_before_the_state_is(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	struct log_group_info info;
	struct state_ops fails = state_lmdb;
	fails.commit = commit_and_fail;
	fixture_init(&f);
	f.options.fatal = fatal_stops;
	fixture_open(&f);
	owner_make(&o, &f, 1);
	append_applied(&f, &o, 10, 1000);
	const struct log_ref third = *refs_at(&o.g->refs, 3);
	ref_flip(&f, &third);
	f.log->options.state = &fails;
	log_settle_now(f.log, wait_on(&w, &f));
	run(&f);
	assert_true(f.has_died);
	assert_true(o.was_doubted);
	fixture_kill(&f);
	f.has_died = false;
	ref_flip(&f, &third);
	fixture_open(&f);
	owner_attach(&o, &f, 1);
	log_group_info(o.g, &info);
	assert_int_equal(info.state_index, 10);
	assert_true(info.in_doubt);
	assert_int_equal(info.contiguous_from, 4);
	assert_int_equal(read_and_check(&o, 1, 10), 9);
	fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_applied_moves_along),
		cmocka_unit_test(the_dead_are_left_out),
		cmocka_unit_test(trimmed_segments_go),
		cmocka_unit_test(a_full_disk_is_given_back_what_is_purged),
		cmocka_unit_test(groups_go),
		cmocka_unit_test(rounds_and_life_cross),
		cmocka_unit_test(a_group_goes_while_its_round_is_written),
		cmocka_unit_test(segments_are_rewritten),
		cmocka_unit_test(a_doubt_is_durable_before_the_state_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
