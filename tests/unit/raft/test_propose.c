/* SPDX-License-Identifier: Apache-2.0 */
/* propose: budgets in bytes, order of completions, what leadership that is lost leaves behind, linearizable reads; and a group of one. */
#include "fixture.h"

struct reader {
	struct group_barrier b;
	struct replica *r;
	bool done;
	uint64_t index; /* of the machine when it was done */
};

static void read_done(struct group_barrier *b)
{
	struct reader *x = CONTAINER_OF(b, struct reader, b);
	x->done = true;
	x->index = x->r->chain.index;
}

static void read_begin(struct reader *x, struct replica *r)
{
	*x = (struct reader) { .b = { .done = read_done }, .r = r };
	group_barrier(r->chain.group, &x->b);
}

/* Memory of what is on its way is bounded by bytes, per group; what is refused left nothing behind, and there is room again afterwards. */
static void test_group_budget(void **state)
{
	struct fixture f;
	struct asked *a = NULL;
	enum { BUDGET = 8 * 1024 };
	(void)state;
	fixture_open_with(&f, 3, 3, NULL, &(struct raft_options) { .sleep_beats = 1000000, .group_bytes_max = BUDGET });
	struct replica *l = fixture_elect(&f);
	for (unsigned round = 0; round < 3; round++) {
		unsigned taken = 0;
		enum err e;
		while ((e = fixture_propose(&f, l, &a)) == OK) taken++;
		assert_int_equal(e, ERR_FULL);
		assert_in_range(taken, 10, BUDGET / 100);
		assert_true(l->chain.group->in_flight_bytes <= BUDGET);
		uint64_t last = fixture_status(l).last;
		assert_true(fixture_until(&f, fixture_all_applied, 2000));
		assert_int_equal(fixture_status(l).last, last); /* the refused one was never there */
		assert_int_equal(l->chain.group->in_flight_bytes, 0);
		assert_int_equal(l->groups.in_flight_bytes, 0);
	}
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}

static void test_sizes(void **state)
{
	struct fixture f;
	struct proposal p = { 0 };
	struct buf body = { 0 };
	(void)state;
	fixture_open_with(&f, 1, 1, NULL, &(struct raft_options) { .entry_bytes_max = 1000, .group_bytes_max = 500 });
	struct replica *l = fixture_elect(&f);
	assert_int_equal(group_propose(l->chain.group, &p, &body, LOG_ADMIT_GROWS), ERR_TOO_LARGE);
	chain_body(&body, 1, 1, 1000);
	assert_int_equal(group_propose(l->chain.group, &p, &body, LOG_ADMIT_GROWS), ERR_TOO_LARGE);
	assert_true(body.n > 1000); /* still the caller's */
	buf_deinit(&body);
	fixture_fill(&f, l, 3);
	fixture_close(&f);
}

/* The log decides by what a proposal does; raft's own entries pass. */
static void test_disk_full(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open(&f, 3, 3, NULL);
	struct replica *l = fixture_elect(&f);
	mem_disk_admits(l->disk, ERR_NO_SPACE, OK, OK);
	struct asked *a;
	assert_int_equal(fixture_propose(&f, l, &a), ERR_NO_SPACE);
	struct buf body = { 0 };
	struct asked *b = &f.asked[f.asked_count++];
	*b = (struct asked) { .f = &f, .number = f.oracle.next_number++, .p = { .done = a->p.done } };
	chain_body(&body, b->number, ++l->seq, 10);
	assert_int_equal(group_propose(l->chain.group, &b->p, &body, LOG_ADMIT_FREES), OK);
	log_turn_end(l->log);
	assert_true(fixture_until(&f, fixture_all_applied, 2000));
	assert_int_equal(b->p.result, OK);
	mem_disk_admits(l->disk, OK, OK, OK);
	fixture_fill(&f, l, 2);
	fixture_close(&f);
}

/* Who loses leadership tells so, and what was in flight has an unknown outcome: some of it is applied all the same. */
static void test_leadership_lost(void **state)
{
	struct fixture f;
	struct asked *a[5];
	(void)state;
	fixture_open(&f, 3, 3, NULL);
	struct replica *l = fixture_elect(&f);
	fixture_fill(&f, l, 3);
	fixture_isolate(&f, l->index, true);
	for (unsigned i = 0; i < 5; i++) assert_int_equal(fixture_propose(&f, l, &a[i]), OK);
	fixture_run(&f, 5000);
	assert_false(l->chain.leading);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(a[i]->done);
		assert_int_equal(a[i]->p.result, ERR_UNKNOWN_OUTCOME);
	}
	struct asked *late;
	assert_int_equal(fixture_propose(&f, l, &late), ERR_NOT_LEADER);
	fixture_isolate(&f, l->index, false);
	assert_true(fixture_until(&f, fixture_all_applied, 10000));
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}

static void test_reads(void **state)
{
	struct fixture f;
	struct reader x[3], y;
	struct asked *a;
	(void)state;
	fixture_open(&f, 3, 3, NULL);
	struct replica *l = fixture_elect(&f), *other = &f.node[(l->index + 1) % 3];
	fixture_fill(&f, l, 3);
	assert_int_equal(fixture_propose(&f, l, &a), OK);
	for (unsigned i = 0; i < 3; i++) read_begin(&x[i], l);
	read_begin(&y, other);
	uint64_t last = fixture_status(l).last;
	log_turn_end(l->log);
	for (unsigned ms = 0; ms < 1000 && !x[2].done; ms++) {
		fixture_run(&f, 1);
		log_turn_end(l->log);
	}
	for (unsigned i = 0; i < 3; i++) assert_true(x[i].done && x[i].b.result == OK && x[i].index >= a->p.index);
	assert_true(y.done);
	assert_int_equal(y.b.result, ERR_NOT_LEADER);
	assert_in_range(fixture_status(l).last, last + 1, last + 2); /* one entry for all of them */
	/* A leader that is cut off must not answer. */
	fixture_isolate(&f, l->index, true);
	read_begin(&y, l);
	fixture_run(&f, 5000);
	assert_true(y.done && y.b.result == ERR_UNKNOWN_OUTCOME);
	fixture_close(&f);
}

/* One voter: the same way, without links; a restart has everything. */
static void test_alone(void **state)
{
	struct fixture f;
	struct reader x;
	(void)state;
	fixture_open(&f, 1, 1, NULL);
	struct replica *l = fixture_elect(&f);
	fixture_fill(&f, l, 50);
	uint64_t hash = l->chain.hash;
	read_begin(&x, l);
	fixture_run(&f, 10);
	assert_true(x.done && x.b.result == OK);
	assert_int_equal(f.frames, 0);
	fixture_stop(&f, 0);
	fixture_start(&f, 0);
	assert_int_equal(l->chain.hash, hash); /* before the loop runs */
	fixture_fill(&f, fixture_elect(&f), 3);
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}

/* S7: a sole voter that lost entries applies what is before the gap, and takes nothing more. */
static void test_alone_in_doubt(void **state)
{
	struct fixture f;
	struct asked *a;
	(void)state;
	fixture_open(&f, 1, 1, NULL);
	struct replica *l = fixture_elect(&f);
	fixture_fill(&f, l, 20);
	fixture_stop(&f, 0);
	mem_disk_damage(l->disk, 1, 9, 10, false);
	fixture_start(&f, 0);
	struct group_status s = fixture_status(l);
	assert_int_equal(s.state, GROUP_READ_ONLY);
	assert_true(s.in_doubt && group_is_read_only(l->chain.group));
	assert_int_equal(s.applied, 8);
	assert_non_null(strstr(group_trouble(l->chain.group), "group 1 is in doubt"));
	fixture_run(&f, 10000);
	assert_int_equal(fixture_propose(&f, l, &a), ERR_DOUBT);
	assert_int_equal(fixture_status(l).applied, 8);
	/* nothing is left that its owner could go on from: it does not know how */
	struct group_accept accept = { 0 };
	assert_int_equal(group_accept(l->chain.group, &accept), ERR_UNSUPPORTED);
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}

static void test_who_is_whole_gives_nothing_up(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open(&f, 1, 1, NULL);
	struct replica *l = fixture_elect(&f);
	fixture_fill(&f, l, 20);
	struct group_accept accept = { 0 };
	assert_int_equal(group_accept(l->chain.group, &accept), ERR_INVALID);
	fixture_close(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_group_budget),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_disk_full),
		cmocka_unit_test(test_leadership_lost),
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_alone_in_doubt),
		cmocka_unit_test(test_who_is_whole_gives_nothing_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
