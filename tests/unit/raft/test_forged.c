/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that are well-formed and that no honest peer sends to this replica now (raft-notes §5): refused, counted, and without effect. Each
 * of the rows kills the library, or makes it diverge, when it gets there. */
#include "fixture.h"

static const struct raft_options plain = { .sleep_beats = 1000000, .no_pre_vote = true };

struct world {
	struct fixture f;
	struct replica *leader, *follower;
	struct group_status ls, fs; /* before */
	struct frame_out out;
};

static void open(struct world *x)
{
	fixture_open_with(&x->f, 3, 3, NULL, &plain);
	x->leader = fixture_elect(&x->f);
	x->follower = &x->f.node[(x->leader->index + 1) % 3];
	fixture_fill(&x->f, x->leader, 20);
	assert_true(fixture_until(&x->f, fixture_all_applied, 2000));
	x->f.quiet_refusals = true;
	x->ls = fixture_status(x->leader);
	x->fs = fixture_status(x->follower);
}

/* Nothing has changed, nobody has given up, and the group goes on. */
static void shut(struct world *x)
{
	fixture_run(&x->f, 300);
	struct group_status ls = fixture_status(x->leader), fs = fixture_status(x->follower);
	assert_true(ls.leading && ls.term == x->ls.term);
	assert_true(fs.term == x->fs.term && fs.leader == x->fs.leader);
	assert_true(fs.last >= x->fs.last && fs.commit >= x->fs.commit);
	for (unsigned i = 0; i < 3; i++) assert_int_equal(x->f.node[i].diag.counter[COUNTER_raft_gave_up], 0);
	fixture_fill(&x->f, x->leader, 3);
	assert_true(fixture_until(&x->f, fixture_all_applied, 2000));
	assert_string_equal(x->f.oracle.violation, "");
	frame_out_deinit(&x->out);
	fixture_close(&x->f);
}

static void begin(struct world *x, enum frame_kind kind, const struct replica *from, const struct replica *to)
{
	frame_begin(&x->out, kind, 1, replica_id(from), replica_id(to));
}

static uint64_t alarms(const struct replica *r) { return r->diag.counter[COUNTER_raft_frames_alarmed]; }

static void test_entries_for_the_leader(void **state)
{
	struct world x = { 0 };
	(void)state;
	open(&x);
	begin(&x, FRAME_APPEND, x.follower, x.leader);
	frame_append_begin(&x.out, x.ls.term, x.ls.last, fixture_term_at(x.leader, x.ls.last), x.ls.last);
	assert_int_equal(fixture_inject(&x.f, x.leader, replica_id(x.follower), &x.out), OK);
	assert_int_equal(alarms(x.leader), 1);
	shut(&x);
}

static void test_another_term_before(void **state)
{
	struct world x = { 0 };
	(void)state;
	open(&x);
	begin(&x, FRAME_APPEND, x.leader, x.follower);
	frame_append_begin(&x.out, x.ls.term + 1, x.fs.commit, x.ls.term + 1, 0);
	assert_int_equal(fixture_inject(&x.f, x.follower, replica_id(x.leader), &x.out), OK);
	assert_int_equal(alarms(x.follower), 1);
	shut(&x);
}

static void test_in_place_of_committed(void **state)
{
	struct world x = { 0 };
	(void)state;
	open(&x);
	/* From the leader itself, if it were somebody else: another entry where this replica has applied one. It is skipped. */
	begin(&x, FRAME_APPEND, x.leader, x.follower);
	frame_append_begin(&x.out, x.ls.term, x.fs.commit - 2, fixture_term_at(x.leader, x.fs.commit - 2), x.fs.commit);
	frame_append_entry(&x.out, x.ls.term, ENTRY_BARRIER, SLICE_NULL);
	assert_int_equal(fixture_inject(&x.f, x.follower, replica_id(x.leader), &x.out), OK);
	shut(&x); /* the oracle compares the histories */
}

static void test_ack_of_nothing(void **state)
{
	struct world x = { 0 };
	(void)state;
	open(&x);
	begin(&x, FRAME_APPEND_RESULT, x.follower, x.leader);
	frame_u64(&x.out, x.ls.term);
	frame_u64(&x.out, 0);
	frame_u64(&x.out, x.ls.last + 1000);
	frame_u64(&x.out, 0);
	frame_u64(&x.out, 4096);
	assert_int_equal(fixture_inject(&x.f, x.leader, replica_id(x.follower), &x.out), OK);
	assert_int_equal(alarms(x.leader), 1);
	shut(&x);
}

static void test_term_from_far_away(void **state)
{
	struct world x = { 0 };
	(void)state;
	open(&x);
	begin(&x, FRAME_VOTE, x.follower, x.leader);
	frame_u64(&x.out, x.ls.term + 2000000);
	frame_u64(&x.out, x.ls.last + 1);
	frame_u64(&x.out, x.ls.term);
	frame_u64(&x.out, 1);
	assert_int_equal(fixture_inject(&x.f, x.leader, replica_id(x.follower), &x.out), OK);
	assert_int_equal(alarms(x.leader), 1);
	shut(&x);
}

static void test_in_anothers_name(void **state)
{
	struct world x = { 0 };
	(void)state;
	open(&x);
	begin(&x, FRAME_APPEND, x.leader, x.follower);
	frame_append_begin(&x.out, x.ls.term, 0, 0, 0);
	uint64_t third = 1 + 2 + 3 - replica_id(x.leader) - replica_id(x.follower);
	assert_int_equal(fixture_inject(&x.f, x.follower, third, &x.out), ERR_DENIED);
	begin(&x, FRAME_APPEND, x.leader, x.leader);
	frame_append_begin(&x.out, x.ls.term, 0, 0, 0);
	assert_int_equal(fixture_inject(&x.f, x.follower, replica_id(x.leader), &x.out), ERR_DENIED);
	assert_int_equal(x.follower->diag.counter[COUNTER_raft_frames_refused], 2);
	shut(&x);
}

/* S18: a frame never makes a group. */
static void test_unknown_group(void **state)
{
	struct world x = { 0 };
	(void)state;
	open(&x);
	frame_begin(&x.out, FRAME_APPEND, 4711, replica_id(x.leader), replica_id(x.follower));
	frame_append_begin(&x.out, 1, 0, 0, 0);
	assert_int_equal(fixture_inject(&x.f, x.follower, replica_id(x.leader), &x.out), ERR_NOT_FOUND);
	assert_null(raft_group_find(&x.follower->groups, 4711));
	shut(&x);
}

/* An install of what is here already, and pieces of one that nobody began. */
static void test_install_of_the_past(void **state)
{
	struct world x = { 0 };
	struct buf conf = { 0 };
	struct members m = { .count = 1, .at = { { 9, RAFT_VOTER } } };
	(void)state;
	open(&x);
	members_encode(&m, &conf);
	begin(&x, FRAME_INSTALL_BEGIN, x.leader, x.follower);
	const uint64_t fields[] = { x.ls.term, 77, 5, fixture_term_at(x.leader, 5), 0, 1 };
	for (size_t i = 0; i < COUNT_OF(fields); i++) frame_u64(&x.out, fields[i]);
	frame_part(&x.out, buf_slice(&conf));
	assert_int_equal(fixture_inject(&x.f, x.follower, replica_id(x.leader), &x.out), OK);
	begin(&x, FRAME_INSTALL_CHUNK, x.leader, x.follower);
	const uint64_t chunk[] = { x.ls.term, 77, 1, FRAME_CHUNK_STATE };
	for (size_t i = 0; i < COUNT_OF(chunk); i++) frame_u64(&x.out, chunk[i]);
	frame_part(&x.out, SLICE("rubbish"));
	assert_int_equal(fixture_inject(&x.f, x.follower, replica_id(x.leader), &x.out), OK);
	begin(&x, FRAME_INSTALL_COMMIT, x.leader, x.follower);
	const uint64_t commit[] = { x.ls.term, 77, 2 };
	for (size_t i = 0; i < COUNT_OF(commit); i++) frame_u64(&x.out, commit[i]);
	assert_int_equal(fixture_inject(&x.f, x.follower, replica_id(x.leader), &x.out), OK);
	assert_false(fixture_status(x.follower).installing);
	assert_int_equal(x.follower->diag.counter[COUNTER_raft_installs], 0);
	buf_deinit(&conf);
	shut(&x);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries_for_the_leader),
		cmocka_unit_test(test_another_term_before),
		cmocka_unit_test(test_in_place_of_committed),
		cmocka_unit_test(test_ack_of_nothing),
		cmocka_unit_test(test_term_from_far_away),
		cmocka_unit_test(test_in_anothers_name),
		cmocka_unit_test(test_unknown_group),
		cmocka_unit_test(test_install_of_the_past),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
