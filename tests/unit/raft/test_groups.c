/* SPDX-License-Identifier: Apache-2.0 */
/* groups and group: life and errors of the door, hibernation, fast fail-over, a muted node, poison. */
#include "fixture.h"

static const struct raft_options sleepy = { .sleep_beats = 3 };

static bool all_asleep(struct fixture *f)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->node[i].up && !fixture_status(&f->node[i]).asleep) return false;
	return true;
}

/* Idle groups send nothing at all, for as long as nothing happens, and nobody misses the leader. A proposal wakes them. */
static void test_hibernation(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open_with(&f, 3, 3, NULL, &sleepy);
	struct replica *l = fixture_elect(&f);
	fixture_fill(&f, l, 5);
	assert_true(fixture_until(&f, all_asleep, 5000));
	fixture_run(&f, 10); /* what is on its way lands */
	uint64_t frames = f.frames, term = fixture_status(l).term;
	fixture_run(&f, 3600 * 1000);
	assert_int_equal(f.frames, frames);
	assert_int_equal(fixture_status(l).term, term);
	assert_true(all_asleep(&f));
	fixture_fill(&f, l, 1);
	assert_true(fixture_until(&f, fixture_all_applied, 1000));
	assert_int_equal(fixture_status(l).term, term);
	assert_true(fixture_until(&f, all_asleep, 5000));
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}

static bool is_led_by_another(struct fixture *f)
{
	struct replica *l = fixture_leader(f);
	return l && l->up && l->chain.leading;
}

/* The link to the leader's node is lost: another one leads long before the election timeout, awake or asleep. */
static void fail_over(bool asleep)
{
	struct fixture f;
	struct raft_options o = { .sleep_beats = asleep ? 3 : 1000000, .election_ms = 3000 };
	fixture_open_with(&f, 3, 3, NULL, &o);
	struct replica *l = fixture_elect(&f);
	fixture_fill(&f, l, 5);
	if (asleep)
		assert_true(fixture_until(&f, all_asleep, 5000));
	else
		assert_true(fixture_until(&f, fixture_all_applied, 1000));
	uint64_t id = replica_id(l);
	fixture_stop(&f, l->index);
	for (unsigned i = 0; i < 3; i++)
		if (f.node[i].up) raft_peer_down(&f.node[i].groups, id);
	assert_true(fixture_until(&f, is_led_by_another, 500));
	fixture_fill(&f, fixture_leader(&f), 3);
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}
static void test_fail_over(void **state) { (void)state, fail_over(false); }
static void test_fail_over_asleep(void **state) { (void)state, fail_over(true); }

/* A false alarm: the others still hear the leader, and nobody is deposed. */
static void test_false_alarm(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open(&f, 3, 3, NULL);
	struct replica *l = fixture_elect(&f), *other = &f.node[(l->index + 1) % 3];
	fixture_fill(&f, l, 5);
	uint64_t term = fixture_status(l).term;
	raft_peer_down(&other->groups, replica_id(l));
	fixture_run(&f, 300);
	raft_peer_up(&other->groups, replica_id(l));
	fixture_run(&f, 3000);
	assert_true(l->chain.leading);
	assert_int_equal(fixture_status(l).term, term);
	fixture_close(&f);
}

/* S22: who is muted neither votes nor campaigns. */
static void test_mute(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open_with(&f, 3, 3, NULL, &(struct raft_options) { .sleep_beats = 1000000, .mute = true });
	fixture_run(&f, 10000);
	assert_null(fixture_leader(&f));
	raft_unmute(&f.node[0].groups);
	fixture_run(&f, 5000);
	assert_null(fixture_leader(&f)); /* one of three */
	raft_unmute(&f.node[1].groups);
	fixture_fill(&f, fixture_elect(&f), 3);
	fixture_close(&f);
}

static void test_door(void **state)
{
	struct fixture f;
	struct group *g = NULL;
	struct chain other = { .oracle = NULL };
	(void)state;
	fixture_open(&f, 1, 1, NULL);
	struct raft_groups *r = &f.node[0].groups;
	(void)fixture_elect(&f);
	const struct group_member good[] = { { 1, GROUP_VOTER } }, twice[] = { { 1, GROUP_VOTER }, { 1, GROUP_VOTER } },
				  none[] = { { 1, GROUP_LEARNER } }, zero[] = { { 0, GROUP_VOTER } };
	assert_int_equal(group_make(r, 1, good, 1, &chain_ops, &other, &g), ERR_EXISTS);
	assert_int_equal(group_make(r, 2, twice, 2, &chain_ops, &other, &g), ERR_INVALID);
	assert_int_equal(group_make(r, 2, none, 1, &chain_ops, &other, &g), ERR_INVALID);
	assert_int_equal(group_make(r, 2, zero, 1, &chain_ops, &other, &g), ERR_INVALID);
	assert_int_equal(group_open(r, 2, &chain_ops, &other, &g), ERR_NOT_FOUND);
	assert_int_equal(group_open(r, 1, &chain_ops, &other, &g), ERR_EXISTS);
	assert_null(raft_group_find(r, 2));
	fixture_close(&f);
}

/* S11: an entry that ended the process before, twice, stops its group on this node alone. */
static void test_poison(void **state)
{
	struct fixture f;
	(void)state;
	fixture_open(&f, 3, 3, NULL);
	struct replica *l = fixture_elect(&f), *victim = &f.node[(l->index + 1) % 3];
	fixture_fill(&f, l, 5);
	struct raft_index_of poison = { 1, fixture_status(l).last + 2 };
	fixture_stop(&f, victim->index);
	f.options.poison = &poison;
	f.options.poison_count = 1;
	fixture_start(&f, victim->index);
	f.options.poison_count = 0;
	fixture_fill(&f, fixture_elect(&f), 6);
	fixture_run(&f, 500);
	struct group_status s = fixture_status(victim);
	assert_int_equal(s.state, GROUP_QUARANTINED);
	assert_int_equal(s.stuck_at, poison.index);
	assert_int_equal(victim->chain.index, poison.index - 1);
	assert_string_not_equal(group_trouble(victim->chain.group), "");
	fixture_fill(&f, fixture_leader(&f), 3); /* the others go on */
	assert_string_equal(f.oracle.violation, "");
	fixture_close(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hibernation),
		cmocka_unit_test(test_fail_over),
		cmocka_unit_test(test_fail_over_asleep),
		cmocka_unit_test(test_false_alarm),
		cmocka_unit_test(test_mute),
		cmocka_unit_test(test_door),
		cmocka_unit_test(test_poison),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
