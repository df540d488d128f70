/* SPDX-License-Identifier: Apache-2.0 */
/* member: a replica is added, catches up, is promoted, demoted and removed; leadership moves; and what is refused, and why. */
#include "fixture.h"

static void change(struct fixture *f, enum group_change_kind kind, uint64_t member, enum err want)
{
	fixture_change(f, fixture_leader(f), kind, member);
	assert_true(f->changed);
	assert_int_equal(f->change.result, want);
}

static int role_of(struct fixture *f, uint64_t id)
{
	struct group_status s = fixture_status(fixture_leader(f));
	for (unsigned i = 0; i < s.member_count; i++)
		if (s.member[i].id == id) return (int)s.member[i].role;
	return -1;
}

static void test_life_of_a_member(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open(&f, 4, 3, NULL);
	fixture_fill(&f, fixture_elect(&f), 30);
	assert_int_equal(role_of(&f, 4), -1);
	change(&f, GROUP_ADD, 4, OK);
	assert_int_equal(role_of(&f, 4), GROUP_LEARNER);
	assert_true(fixture_until(&f, fixture_all_applied, 5000));
	assert_int_equal(f.node[3].chain.index, fixture_leader(&f)->chain.index);
	/* It does not count: with one voter away, the other two are a majority; with two, it is of no help. */
	change(&f, GROUP_PROMOTE, 4, OK);
	assert_int_equal(role_of(&f, 4), GROUP_VOTER);
	change(&f, GROUP_DEMOTE, 4, OK);
	assert_int_equal(role_of(&f, 4), GROUP_LEARNER);
	change(&f, GROUP_REMOVE, 4, OK);
	assert_int_equal(role_of(&f, 4), -1);
	fixture_fill(&f, fixture_leader(&f), 3);
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}

static void test_refusals(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open(&f, 4, 3, NULL);
	struct replica *l = fixture_elect(&f);
	uint64_t other = replica_id(l) % 3 + 1;
	change(&f, GROUP_ADD, other, ERR_EXISTS);
	change(&f, GROUP_PROMOTE, other, ERR_EXISTS);
	change(&f, GROUP_PROMOTE, 4, ERR_NOT_FOUND);
	change(&f, GROUP_REMOVE, 4, ERR_NOT_FOUND);
	change(&f, GROUP_DEMOTE, 4, ERR_NOT_FOUND);
	change(&f, GROUP_TRANSFER, 4, ERR_NOT_FOUND);
	fixture_change(&f, &f.node[other - 1], GROUP_ADD, 4);
	assert_int_equal(f.change.result, ERR_NOT_LEADER);
	fixture_close(&f);
}

/* The last voter stays; a learner that does not catch up is not promoted. */
static void test_last_voter_and_idle_learner(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open(&f, 2, 1, NULL);
	struct replica *l = fixture_elect(&f);
	change(&f, GROUP_REMOVE, replica_id(l), ERR_INVALID);
	change(&f, GROUP_DEMOTE, replica_id(l), ERR_INVALID);
	change(&f, GROUP_ADD, 2, OK);
	fixture_isolate(&f, 1, true);
	fixture_fill(&f, l, 200);
	change(&f, GROUP_PROMOTE, 2, ERR_TIMEOUT);
	assert_int_equal(role_of(&f, 2), GROUP_LEARNER);
	fixture_isolate(&f, 1, false);
	assert_true(fixture_until(&f, fixture_all_applied, 10000));
	change(&f, GROUP_PROMOTE, 2, OK);
	fixture_close(&f);
}

/* A learner whose slots take less than the group does not become a voter; what voters take bounds what is proposed and waits. */
static void test_small_slots(void **state)
{
	struct fixture f;
	struct asked *a;
	(void)state;
	fixture_open(&f, 3, 2, NULL);
	struct replica *l = fixture_elect(&f), *o = &f.node[1 - l->index];
	fixture_fill(&f, l, 3);
	change(&f, GROUP_ADD, 3, OK);
	mem_disk_entry_max(f.node[2].disk, 1000);
	fixture_fill(&f, l, 3);
	assert_true(fixture_until(&f, fixture_all_applied, 5000));
	change(&f, GROUP_PROMOTE, 3, ERR_TOO_LARGE);
	assert_int_equal(role_of(&f, 3), GROUP_LEARNER);
	/* It bounds nobody. The other voter does. */
	mem_disk_entry_max(o->disk, 1000);
	fixture_fill(&f, l, 1);
	fixture_run(&f, 200);
	mem_disk_hold(o->disk, true);
	unsigned waiting = 0;
	enum err e;
	while ((e = fixture_propose(&f, l, &a)) == OK && waiting < 100) waiting++;
	assert_int_equal(e, ERR_FULL);
	assert_in_range(waiting, 1, 10);
	mem_disk_hold(o->disk, false);
	assert_true(fixture_until(&f, fixture_all_applied, 5000));
	fixture_fill(&f, l, 3);
	assert_int_equal(l->groups.in_flight_bytes, 0);
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}

/* Two at once: the second is told so. */
static void test_one_at_a_time(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open(&f, 4, 3, NULL);
	struct replica *l = fixture_elect(&f);
	struct group_change second = { .kind = GROUP_ADD, .member = 4, .done = NULL };
	fixture_isolate(&f, (l->index + 1) % 3, true);
	fixture_isolate(&f, (l->index + 2) % 3, true);
	fixture_begin_change(&f, l, GROUP_ADD, 4);
	fixture_run(&f, 10);
	assert_false(f.changed);
	fixture_begin_second(&f, l, &second);
	fixture_run(&f, 10);
	assert_int_equal(second.result, ERR_BUSY);
	/* The first has an outcome that is not known once leadership is lost. */
	assert_true(fixture_until(&f, fixture_has_changed, 10000));
	assert_int_equal(f.change.result, ERR_UNKNOWN_OUTCOME);
	fixture_close(&f);
}

static void test_transfer(void **state)
{
	struct fixture f;
	struct asked *a;
	(void)state;
	fixture_open(&f, 3, 3, NULL);
	struct replica *l = fixture_elect(&f);
	uint64_t to = replica_id(l) % 3 + 1;
	fixture_fill(&f, l, 10);
	fixture_begin_change(&f, l, GROUP_TRANSFER, to);
	assert_int_equal(fixture_propose(&f, l, &a), ERR_NOT_LEADER); /* not while it lasts */
	assert_true(fixture_until(&f, fixture_has_changed, 5000));
	assert_int_equal(f.change.result, OK);
	assert_true(fixture_until(&f, fixture_is_led, 1000));
	assert_int_equal(replica_id(fixture_leader(&f)), to);
	fixture_fill(&f, fixture_leader(&f), 3);
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}

/* The leader removes itself: it leads until that is committed, and the others go on. */
static void test_leader_leaves(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open(&f, 3, 3, NULL);
	struct replica *l = fixture_elect(&f);
	fixture_fill(&f, l, 5);
	fixture_change(&f, l, GROUP_REMOVE, replica_id(l));
	assert_int_equal(f.change.result, OK);
	fixture_stop(&f, l->index);
	assert_true(fixture_until(&f, fixture_is_led, 10000));
	fixture_fill(&f, fixture_leader(&f), 3);
	assert_int_equal(fixture_status(fixture_leader(&f)).member_count, 2);
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}

/* ---- G16: a demotion is taken back by whom it demotes, and what must not come of it ---- */

static uint64_t demotions_undone(const struct replica *r) { return r->diag.counter[COUNTER_raft_demotions_undone]; }

/* Who knows that it is committed is a learner, and silent. */
static void test_demotion_that_is_known(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open(&f, 3, 3, NULL);
	struct replica *l = fixture_elect(&f), *d = &f.node[(l->index + 1) % 3];
	change(&f, GROUP_DEMOTE, replica_id(d), OK);
	assert_true(fixture_until(&f, fixture_all_applied, 2000));
	uint64_t last = fixture_status(d).last, term = fixture_status(d).term;
	fixture_isolate(&f, d->index, true);
	fixture_run(&f, 20000);
	assert_int_equal(demotions_undone(d), 0);
	assert_int_equal(fixture_status(d).last, last);
	assert_int_equal(fixture_status(d).term, term);
	fixture_close(&f);
}

static unsigned demoted; /* does not hear what is committed from `commit_from` on */
static uint64_t commit_from;

static bool hide_commits(struct fixture *f, const struct frame *fr, unsigned from, unsigned to)
{
	(void)f;
	(void)from;
	return to == demoted && fr->kind == FRAME_APPEND && fr->append.commit >= commit_from;
}

/* Committed by the other two, which it does not know: it takes it back in vain. Who leads again must have everything. */
static void demotion_committed_elsewhere(bool no_pre_vote)
{
	struct fixture f;
	struct raft_options o = { .sleep_beats = 1000000, .no_pre_vote = no_pre_vote };
	fixture_open_with(&f, 3, 3, NULL, &o);
	struct replica *l = fixture_elect(&f), *d = &f.node[(l->index + 1) % 3];
	fixture_fill(&f, l, 3);
	assert_true(fixture_until(&f, fixture_all_applied, 2000));
	demoted = d->index;
	commit_from = fixture_status(l).last + 1;
	f.drop = hide_commits;
	change(&f, GROUP_DEMOTE, replica_id(d), OK);
	fixture_fill(&f, l, 3);
	assert_int_equal(fixture_status(d).last, commit_from);
	assert_true(fixture_status(d).commit < commit_from);
	fixture_stop(&f, l->index);
	f.drop = NULL;
	fixture_run(&f, 12000);
	assert_int_equal(demotions_undone(d), 1);
	assert_int_equal(fixture_status(d).last, commit_from - 1);
	assert_false(fixture_is_led(&f)); /* of the voters that there are one is down, and the other refuses */
	fixture_start(&f, l->index);
	assert_true(fixture_until(&f, fixture_is_led, 15000));
	assert_true(fixture_until(&f, fixture_all_applied, 5000));
	assert_int_equal(role_of(&f, replica_id(d)), GROUP_LEARNER);
	assert_int_not_equal(fixture_leader(&f)->index, d->index);
	fixture_fill(&f, fixture_leader(&f), 3);
	assert_true(fixture_until(&f, fixture_all_applied, 5000));
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}

static void test_demotion_committed_elsewhere(void **state)
{
	(void)state;
	demotion_committed_elsewhere(false);
	demotion_committed_elsewhere(true);
}

/* The leader demotes itself, is cut off before anybody has it, and comes back: one of three voters as before, and so a majority with one other. */
static void test_leader_takes_its_own_back(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open(&f, 3, 3, NULL);
	struct replica *l = fixture_elect(&f), *o = &f.node[(l->index + 1) % 3];
	fixture_isolate(&f, o->index, true);
	fixture_fill(&f, l, 3);
	fixture_isolate(&f, l->index, true);
	fixture_begin_change(&f, l, GROUP_DEMOTE, replica_id(l));
	fixture_run(&f, 20);
	uint64_t index = fixture_status(l).last;
	fixture_stop(&f, (l->index + 2) % 3); /* for good, with all that was acknowledged */
	assert_true(fixture_until(&f, fixture_has_changed, 15000));
	assert_int_equal(f.change.result, ERR_UNKNOWN_OUTCOME);
	fixture_isolate(&f, l->index, false);
	assert_true(fixture_until(&f, fixture_is_led, 15000));
	assert_int_equal(demotions_undone(l), 1);
	assert_int_equal(fixture_leader(&f)->index, l->index);
	fixture_fill(&f, l, 3);
	assert_true(fixture_until(&f, fixture_all_applied, 5000));
	assert_int_equal(role_of(&f, replica_id(l)), GROUP_VOTER);
	assert_true(fixture_status(l).last > index);
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_demotion_that_is_known),
		cmocka_unit_test(test_demotion_committed_elsewhere),
		cmocka_unit_test(test_leader_takes_its_own_back),
		cmocka_unit_test(test_life_of_a_member),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_last_voter_and_idle_learner),
		cmocka_unit_test(test_small_slots),
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_transfer),
		cmocka_unit_test(test_leader_leaves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
