/* SPDX-License-Identifier: Apache-2.0 */
/* The state store on LMDB: against a model through random rounds, through a full map. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "state_fixture.h"

static void rounds_match_the_model(void **state)
{
	struct fixture *f = *state;
	struct state *s;
	struct state_head head;
	assert_int_equal(state_lmdb.check(f->io, f->path, &head), ERR_NOT_FOUND);
	for (int open = 0; open < 6; open++) {
		assert_int_equal(state_lmdb.open(f->io, f->path, &s), OK);
		assert_true(model_equals(&f->model, s));
		rounds_run(f, s, 12, UINT32_MAX);
		struct state_head before;
		assert_int_equal(state_lmdb.head(s, &before), OK);
		state_lmdb.close(s);
		assert_int_equal(state_lmdb.check(f->io, f->path, &head), OK);
		assert_int_equal(head.round, before.round);
		assert_int_equal(head.sum, before.sum);
	}
}

static bool collect(void *arg, struct slice key, struct slice value)
{
	(void)value;
	buf_append_slice(arg, key);
	buf_append_byte(arg, ' ');
	return true;
}
static bool collect_two(void *arg, struct slice key, struct slice value)
{
	collect(arg, key, value);
	return ((struct buf *)arg)->n < 6;
}

static void walks_begin_and_end_where_asked(void **state)
{
	struct fixture *f = *state;
	struct state *s;
	assert_int_equal(state_lmdb.open(f->io, f->path, &s), OK);
	struct state_batch b = { 0 };
	static const char *const keys[] = { "a", "b", "b1", "b2", "b2x", "b3", "c" };
	for (size_t i = 0; i < COUNT_OF(keys); i++) state_batch_put(&b, slice_of_str(keys[i]), SLICE("v"));
	struct state_change changes[] = { { .group = 5, .meta = SLICE("five"), .batch = buf_slice(&b.ops) },
		{ .group = 6, .batch = buf_slice(&b.ops) } };
	struct state_head head = { .round = 1 };
	assert_int_equal(state_lmdb.commit(s, changes, 2, &head), OK);
	static const struct {
		const char *prefix, *from, *want;
	} rows[] = {
		{ "", "", "a b b1 b2 b2x b3 c " },
		{ "b", "", "b b1 b2 b2x b3 " },
		{ "b", "b2", "b2 b2x b3 " },
		{ "b2", "", "b2 b2x " },
		{ "", "b25", "b2x b3 c " },
		{ "b", "c", "" },
		{ "x", "", "" },
	};
	struct buf got = { 0 };
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(
			state_group_each(s, 5, slice_of_str(rows[i].prefix), slice_of_str(rows[i].from), collect, &got),
			OK);
		CHECK_BUF(&got, rows[i].want);
	}
	assert_int_equal(state_group_each(s, 5, SLICE_NULL, SLICE_NULL, collect_two, &got), OK);
	CHECK_BUF(&got, "a b b1 ");
	assert_int_equal(state_group_each(s, 7, SLICE_NULL, SLICE_NULL, collect, &got), OK);
	CHECK_BUF(&got, "");
	assert_int_equal(state_get(s, 5, SLICE("b2x"), &got), OK);
	CHECK_BUF(&got, "v");
	assert_int_equal(state_get(s, 5, SLICE("b2y"), &got), ERR_NOT_FOUND);
	assert_int_equal(state_get(s, 4, SLICE("a"), &got), ERR_NOT_FOUND);
	state_batch_deinit(&b);
	buf_deinit(&got);
	state_lmdb.close(s);
}

/* A commit into a full map leaves no trace, and what frees passes once the map has room: the map is never that small in production (S16). */
static void full_map_leaves_no_trace(void **state)
{
	struct fixture *f = *state;
	struct state *s;
	uint64_t sum = 0;
	assert_int_equal(state_lmdb_open_sized(f->io, f->path, 512 * KIB, &s), OK);
	unsigned full = 0, done = 0;
	for (unsigned i = 0; i < 400; i++) {
		struct model before = f->model;
		struct model_round r;
		model_round_draw(&f->model, &f->rng, 40000, &r);
		enum err e = model_commit(&r, f->model.round, s, &sum);
		model_round_deinit(&r);
		if (e == OK)
			done++;
		else {
			assert_int_equal(e, ERR_NO_SPACE);
			full++;
			f->model = before;
		}
		assert_true(model_equals(&f->model, s));
	}
	assert_true(full > 10 && done > 2);
	state_lmdb.close(s);
	struct state_head head;
	assert_int_equal(state_lmdb.check(f->io, f->path, &head), OK);
	/* With the map of production all goes on. */
	assert_int_equal(state_lmdb.open(f->io, f->path, &s), OK);
	rounds_run(f, s, 10, 40000);
	state_lmdb.close(s);
}

/* The file system is full (here: a limit on the file's length): an error, no trace, and a retry succeeds. */
static void full_disk_leaves_no_trace(void **state)
{
	struct fixture *f = *state;
	struct state *s;
	struct model_round r;
	uint64_t sum = 0;
	assert_int_equal(state_lmdb.open(f->io, f->path, &s), OK);
	rounds_run(f, s, 5, 40000);
	struct stat st;
	assert_int_equal(stat(f->path, &st), 0);
	struct rlimit old;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	struct rlimit limit = { (rlim_t)st.st_size + 8192, old.rlim_max };
	(void)signal(SIGXFSZ, SIG_IGN);
	unsigned full = 0;
	for (unsigned i = 0; i < 30; i++) {
		struct model before = f->model;
		model_round_draw(&f->model, &f->rng, 40000, &r);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
		enum err e = model_commit(&r, f->model.round, s, &sum);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		struct model after = f->model;
		if (e != OK) {
			full++;
			assert_int_equal(e, ERR_NO_SPACE);
			f->model = before;
			assert_true(model_equals(&f->model, s));
			f->model = after;
			if (full % 4 == 0)
				assert_int_equal(model_commit(&r, f->model.round, s, &sum), OK);
			else
				f->model = before;
		}
		model_round_deinit(&r);
		assert_true(model_equals(&f->model, s));
	}
	assert_true(full > 5);
	state_lmdb.close(s);
	struct state_head head;
	assert_int_equal(state_lmdb.check(f->io, f->path, &head), OK);
	assert_int_equal(head.round, f->model.round);
}

static void damaged_files_are_set_aside(void **state)
{
	struct fixture *f = *state;
	for (unsigned n = 1; n <= 3; n++) {
		struct state *s;
		char aside[128];
		assert_int_equal(state_lmdb.open(f->io, f->path, &s), OK);
		state_lmdb.close(s);
		assert_int_equal(state_lmdb.set_aside(f->io, f->path), OK);
		assert_int_equal(access(f->path, F_OK), -1);
		(void)snprintf(aside, sizeof aside, "%s.damaged-%u", f->path, n);
		assert_int_equal(access(aside, F_OK), 0);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(rounds_match_the_model),
		TEST(walks_begin_and_end_where_asked),
		TEST(full_map_leaves_no_trace),
		TEST(full_disk_leaves_no_trace),
		TEST(damaged_files_are_set_aside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
