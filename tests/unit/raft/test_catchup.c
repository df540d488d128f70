/* SPDX-License-Identifier: Apache-2.0 */
/* backfill, refill and install: followers behind the leader's memory are served from its log, those behind its log get everything; what a
 * leader keeps in memory for them does not grow. */
#include "fixture.h"

static const struct raft_options small = {
	.sleep_beats = 1000000, .recent_bytes_max = 4000, .chunk_bytes_max = 1000, .chunk_window = 4
};

static const struct raft_options tiny = {
	.sleep_beats = 1000000, .recent_bytes_max = 4000, .chunk_bytes_max = 150, .chunk_window = 2
};

struct scene {
	struct fixture f;
	struct replica *leader, *late;
};

/* One follower misses `n` entries. `settle`: rounds leave holes where entries have died. */
static void open(struct scene *x, const struct raft_options *o, bool settle, unsigned n)
{
	fixture_open_with(&x->f, 3, 3, NULL, o);
	for (unsigned i = 0; settle && i < 3; i++) mem_disk_settle_every(x->f.node[i].disk, 2000);
	x->leader = fixture_elect(&x->f);
	x->late = &x->f.node[(x->leader->index + 1) % 3];
	fixture_fill(&x->f, x->leader, 3);
	fixture_stop(&x->f, x->late->index);
	fixture_fill(&x->f, x->leader, n);
}

static void shut(struct scene *x)
{
	assert_true(fixture_until(&x->f, fixture_all_applied, 20000));
	fixture_fill(&x->f, fixture_leader(&x->f), 3);
	assert_true(fixture_until(&x->f, fixture_all_applied, 2000));
	assert_string_equal(x->f.oracle.violation, "");
	fixture_close(&x->f);
}

static void test_backfill(void **state)
{
	struct scene x;
	(void)state;
	open(&x, &small, false, 300);
	fixture_start(&x.f, x.late->index);
	assert_true(fixture_until(&x.f, fixture_all_applied, 20000));
	assert_in_range(x.leader->diag.counter[COUNTER_raft_backfill_chunks], 10, 300);
	assert_int_equal(x.leader->diag.counter[COUNTER_raft_refills], 0);
	shut(&x);
}

/* The follower goes away again and again while it is served. */
static void test_backfill_breaks(void **state)
{
	struct scene x;
	(void)state;
	open(&x, &small, false, 300);
	fixture_start(&x.f, x.late->index);
	for (unsigned i = 0; i < 5; i++) {
		fixture_run(&x.f, 150);
		fixture_isolate(&x.f, x.late->index, true);
		fixture_run(&x.f, 300);
		fixture_isolate(&x.f, x.late->index, false);
	}
	shut(&x);
}

/* Two megabytes for a follower that is away: the leader's library keeps its budget and not more. */
static void test_memory(void **state)
{
	struct scene x;
	(void)state;
	open(&x, &small, false, 100);
	for (unsigned i = 0; i < 10; i++) {
		fixture_fill(&x.f, x.leader, 100);
		assert_in_range(x.leader->chain.group->library_bytes, 0, 4 * small.recent_bytes_max);
	}
	fixture_start(&x.f, x.late->index);
	shut(&x);
}

static void test_install(void **state)
{
	struct scene x;
	(void)state;
	open(&x, &small, true, 300);
	fixture_start(&x.f, x.late->index);
	assert_true(fixture_until(&x.f, fixture_all_applied, 20000));
	assert_int_equal(x.late->diag.counter[COUNTER_raft_installs], 1);
	assert_false(fixture_status(x.late).installing);
	/* It is an ordinary voter afterwards: the other one may go. */
	fixture_isolate(&x.f, 3 - x.leader->index - x.late->index, true);
	fixture_fill(&x.f, x.leader, 3);
	fixture_isolate(&x.f, 3 - x.leader->index - x.late->index, false);
	shut(&x);
}

/* The new state is loaded on a worker: meanwhile the owner is what it was, and can be looked at; then it is what was loaded, at once. */
static struct {
	struct chain before, *owner;
	unsigned loads, takes;
	struct sim *closes; /* not NULL: the group is closed before the loop hears of it */
} watched;

static void close_now(void *arg) { group_close(arg, false, NULL); }

static enum err watched_load(struct group_load *l)
{
	watched.before = *watched.owner;
	watched.loads++;
	if (watched.closes) sim_after(watched.closes, 0, close_now, watched.owner->group);
	return chain_ops.load(l);
}

static enum err watched_take(void *owner, struct group_load *l)
{
	assert_memory_equal(&watched.before, owner, sizeof watched.before);
	watched.takes++;
	enum err e = chain_ops.take(owner, l);
	assert_true(watched.owner->index > watched.before.index);
	return e;
}

/* The late one starts, and is given everything by an install; `ops` lives as long as it. */
static void open_watched(struct scene *x, struct group_ops *ops)
{
	open(x, &small, true, 300);
	fixture_start(&x->f, x->late->index);
	*ops = chain_ops;
	ops->load = watched_load;
	ops->take = watched_take;
	x->late->chain.group->ops = ops;
	watched.owner = &x->late->chain;
	watched.loads = watched.takes = 0;
}

static void test_install_loads_apart(void **state)
{
	struct scene x;
	struct group_ops ops;
	(void)state;
	open_watched(&x, &ops);
	assert_true(fixture_until(&x.f, fixture_all_applied, 20000));
	assert_int_equal(watched.loads, 1);
	assert_int_equal(watched.takes, 1);
	shut(&x);
}

/* The group is closed while a worker loads: what was loaded is nobody's. */
static void test_install_closed_while_loading(void **state)
{
	struct scene x;
	struct group_ops ops;
	(void)state;
	open_watched(&x, &ops);
	watched.closes = x.f.s;
	for (unsigned i = 0; i < 20000 && !watched.loads; i++) fixture_run(&x.f, 1);
	fixture_run(&x.f, 100);
	watched.closes = NULL;
	assert_int_equal(watched.loads, 1);
	assert_int_equal(watched.takes, 0);
	assert_null(raft_group_find(&x.late->groups, 1));
	x.late->chain.group = NULL;
	fixture_stop(&x.f, x.late->index); /* leaks are told by the sanitizer */
	fixture_fill(&x.f, x.leader, 3);
	assert_string_equal(x.f.oracle.violation, "");
	fixture_close(&x.f);
}

/* A restart in the middle of it: nothing of it counts, and it begins anew. */
static void test_install_interrupted(void **state)
{
	struct scene x;
	(void)state;
	open(&x, &tiny, true, 300);
	x.f.delay_ns = MILLIS(20);
	fixture_start(&x.f, x.late->index);
	unsigned interrupted = 0;
	for (unsigned i = 0; i < 20000 && interrupted < 2; i++) {
		fixture_run(&x.f, 1);
		if (!fixture_status(x.late).installing) continue;
		fixture_run(&x.f, 30);
		fixture_stop(&x.f, x.late->index);
		fixture_start(&x.f, x.late->index);
		assert_in_range(
			x.late->chain.index, 0, 4); /* what it had before, as far as it knew it to be committed */
		interrupted++;
	}
	assert_int_equal(interrupted, 2);
	shut(&x);
}

/* ---- nothing is sent again while older copies of it may arrive ---- */

static struct {
	bool lost;
	unsigned chunks;
	uint64_t install, attempt, lost_attempt, seq;
} watch;

static bool watch_refill(struct fixture *f, const struct frame *fr, unsigned from, unsigned to)
{
	(void)f;
	(void)from;
	(void)to;
	if (fr->kind == FRAME_INSTALL_BEGIN) {
		watch.install = fr->install_begin.install;
		watch.attempt = fr->install_begin.attempt;
	}
	if (fr->kind == FRAME_INSTALL_CHUNK) {
		watch.chunks++;
		watch.seq = fr->install_chunk.seq;
	}
	return watch.lost && (fr->kind == FRAME_INSTALL_BEGIN || fr->kind == FRAME_INSTALL_CHUNK);
}

static bool has_chunks(struct fixture *f)
{
	(void)f;
	return watch.chunks >= 3;
}
static bool has_begun_again(struct fixture *f)
{
	(void)f;
	return watch.attempt > watch.lost_attempt;
}

static void answer(struct scene *x, uint64_t seq, uint64_t attempt)
{
	struct frame_out o = { 0 };
	const uint64_t fields[] = { fixture_status(x->leader).term, watch.install, seq, 0, attempt, FRAME_ANSWER_NEXT };
	frame_begin(&o, FRAME_INSTALL_ANSWER, 1, replica_id(x->late), replica_id(x->leader));
	for (size_t i = 0; i < COUNT_OF(fields); i++) frame_u64(&o, fields[i]);
	assert_int_equal(fixture_inject(&x->f, x->leader, replica_id(x->late), &o), OK);
	frame_out_deinit(&o);
	fixture_run(&x->f, 20);
}

static void test_stale_answer(void **state)
{
	struct scene x;
	(void)state;
	memset(&watch, 0, sizeof watch);
	open(&x, &tiny, true, 300);
	x.f.drop = watch_refill;
	fixture_start(&x.f, x.late->index);
	assert_true(fixture_until(&x.f, has_chunks, 10000));
	watch.lost = true;
	watch.lost_attempt = watch.attempt;
	assert_true(fixture_until(&x.f, has_begun_again, 10000));
	unsigned before = watch.chunks;
	uint64_t seq = watch.seq;
	answer(&x, seq, 0); /* of a chunk; came late */
	assert_int_equal(watch.chunks, before);
	answer(&x, seq, watch.attempt - 1); /* of the BEGIN before */
	assert_int_equal(watch.chunks, before);
	answer(&x, seq, watch.attempt);
	assert_true(watch.chunks > before);
	watch.lost = false;
	shut(&x);
}

/* ---- applying ---- */

/* Entries that are applied in one go and let go from inside: the log is asked no sooner than it knows that they are applied. */
static void test_trim_while_applying(void **state)
{
	struct scene x;
	struct raft_options o = small;
	(void)state;
	o.chunk_bytes_max = 256 * KIB;
	open(&x, &o, false, 900);
	fixture_start(&x.f, x.late->index);
	shut(&x); /* mem_log asserts it */
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backfill),
		cmocka_unit_test(test_backfill_breaks),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_install),
		cmocka_unit_test(test_install_loads_apart),
		cmocka_unit_test(test_install_closed_while_loading),
		cmocka_unit_test(test_install_interrupted),
		cmocka_unit_test(test_stale_answer),
		cmocka_unit_test(test_trim_while_applying),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
