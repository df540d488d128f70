/* SPDX-License-Identifier: Apache-2.0 */
/* Each guard twice: the history in which libraft 0.15 goes wrong does no harm with it, and the harm is there without it. */
#include <sys/mman.h>

#include "fixture.h"

/* A history returns true when it did harm. It runs in a child: without its guard the library may take the process with it. */
typedef bool history(const char *bug);
enum { NO_HISTORY = 42 };

static bool harms(history *h, const char *bug)
{
	bool *harm = mmap(NULL, sizeof *harm, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(harm != MAP_FAILED);
	*harm = true; /* also when it dies */
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		static const int deaths[] = { SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE };
		/* cmocka would go on with the next test, in here */
		for (size_t i = 0; i < COUNT_OF(deaths); i++) (void)signal(deaths[i], SIG_DFL);
		if (bug && !getenv("RAFT_TRACE")) (void)close(STDERR_FILENO); /* it is expected to end badly */
		*harm = h(bug);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == NO_HISTORY);
	bool result = *harm;
	(void)munmap(harm, sizeof *harm);
	return result;
}

static void guard_holds(history *h, const char *bug)
{
	assert_false(harms(h, NULL));
	assert_true(harms(h, bug));
}

static bool end(struct fixture *f, bool harm)
{
	harm |= f->oracle.violation[0] != '\0';
	for (unsigned i = 0; i < f->count; i++)
		harm |= f->node[i].up && f->node[i].diag.counter[COUNTER_raft_gave_up] > 0;
	if (getenv("RAFT_TRACE")) (void)fprintf(stderr, "%s %s\n", harm ? "harm" : "no harm", f->oracle.violation);
	fixture_close(f);
	return harm;
}

/* What a history depends on, and what its test would be worth nothing without. */
static void expect(bool holds, const char *what)
{
	if (holds) return;
	(void)dprintf(STDOUT_FILENO, "the history did not come about: %s\n", what);
	_exit(NO_HISTORY);
}
#define EXPECT(e) expect((e), #e)

static bool is_append(const struct frame *fr) { return fr->kind == FRAME_APPEND; }

static bool has_entry(const struct frame *fr, enum entry_kind kind, uint64_t term)
{
	struct frame_entry_at at = { 0 };
	struct frame_entry e;
	while (is_append(fr) && frame_entry_next(&fr->append, &at, &e))
		if ((kind == 0 || e.kind == kind) && (term == 0 || e.term == term)) return true;
	return false;
}

static const struct raft_options plain = { .sleep_beats = 1000000, .no_pre_vote = true, .chunk_bytes_max = 64 };

/* The first leader is node 1; some entries are everywhere. */
static struct replica *begin(struct fixture *f, unsigned count, unsigned voters, const char *bug, unsigned entries)
{
	fixture_open_with(f, count, voters, bug, &plain);
	fixture_run(f, 5);
	for (unsigned i = 0; i < 20 && !fixture_campaign(f, 0); i++) continue;
	EXPECT(f->node[0].chain.group->raft.state == RAFT_LEADER);
	fixture_run(f, 50);
	fixture_fill(f, &f->node[0], entries);
	EXPECT(fixture_until(f, fixture_all_applied, 2000));
	return &f->node[0];
}

/* Node 1 alone, with entries that nobody else has, until it has given up leadership. Nobody else campaigns meanwhile. */
static void propose_alone(struct fixture *f, unsigned n)
{
	fixture_isolate(f, 0, true);
	for (unsigned i = 1; i < f->count; i++) f->node[i].groups.muted = true;
	for (unsigned i = 0; i < n; i++) EXPECT(fixture_propose(f, &f->node[0], NULL) == OK);
	for (unsigned i = 0; i < 40 && f->node[0].chain.group->raft.state == RAFT_LEADER; i++) fixture_run(f, 100);
	EXPECT(f->node[0].chain.group->raft.last_stored == fixture_status(&f->node[0]).last);
	for (unsigned i = 1; i < f->count; i++) {
		struct group *g = f->node[i].chain.group;
		g->raft.election_timer_start = g->io.time(&g->io); /* not all at once */
		raft_unmute(&f->node[i].groups);
	}
}

static bool drop_answers(struct fixture *f, const struct frame *fr, unsigned from, unsigned to)
{
	(void)f;
	(void)from;
	return to == 0 && fr->kind == FRAME_APPEND_RESULT;
}

/* One entry that all have and nobody knows to be committed; then node 1 alone, with `n` more. */
static uint64_t propose_unanswered(struct fixture *f, unsigned n)
{
	uint64_t index = fixture_status(&f->node[0]).last + 1;
	f->drop = drop_answers;
	EXPECT(fixture_propose(f, &f->node[0], NULL) == OK);
	fixture_run(f, 10);
	f->drop = NULL;
	propose_alone(f, n);
	EXPECT(fixture_status(&f->node[0]).applied < index && fixture_status(&f->node[1]).last == index);
	return index;
}

/* An AppendEntries of one entry that this leader has, as a backfill sends it. */
static void append_one(
	struct fixture *f, const struct replica *leader, struct replica *to, uint64_t index, uint64_t commit)
{
	struct frame_out o = { 0 };
	frame_begin(&o, FRAME_APPEND, 1, replica_id(leader), replica_id(to));
	frame_append_begin(&o, fixture_status(leader).term, index - 1, fixture_term_at(leader, index - 1), commit);
	fixture_copy_entry(f, leader, index, &o);
	EXPECT(fixture_inject(f, to, replica_id(leader), &o) == OK);
	frame_out_deinit(&o);
	fixture_run(f, 20);
}

/* ---- G1: a new leader serves before it has applied what was acknowledged ---- */

static bool drop_heartbeats(struct fixture *f, const struct frame *fr, unsigned from, unsigned to)
{
	(void)f;
	(void)from;
	(void)to;
	return is_append(fr) && fr->append.count == 0;
}

static bool g1(const char *bug)
{
	struct fixture f;
	struct replica *l = begin(&f, 3, 3, bug, 3);
	struct asked *a;
	f.drop = drop_heartbeats; /* followers store it, but are not told that it is committed */
	EXPECT(fixture_propose(&f, l, &a) == OK);
	for (unsigned i = 0; i < 50 && !a->done; i++) fixture_run(&f, 1);
	EXPECT(a->done && a->p.result == OK);
	f.drop = NULL;
	fixture_stop(&f, 0);
	EXPECT(fixture_until(&f, fixture_is_led, 10000));
	return end(&f, false); /* the oracle compares when somebody is told to lead */
}

/* ---- G2: Figure 8 of the paper. X is stored by node 1 in its first term, counted in its second, and overwritten by node 5 ---- */

struct figure8 {
	unsigned step;
	uint64_t x, term; /* index of X; the second term of node 1 */
	bool probed[FIXTURE_NODES_MAX];
} figure8;

static bool figure8_drop(struct fixture *f, const struct frame *fr, unsigned from, unsigned to)
{
	if (figure8.step == 1) return from == 4 && is_append(fr); /* what node 5 has, it has alone */
	if (figure8.step != 2 || !is_append(fr) || from != 0) return false;
	if (figure8.term == 0 && fr->term > fixture_term_at(&f->node[0], figure8.x)) {
		figure8.term = fr->term;
		mem_disk_hold(f->node[0].disk, true); /* the first entry of the term is not on disk yet */
	}
	if (to == 1 || to == 4) return true;
	/* X reaches nodes 3 and 4, and nothing behind it. They refuse the first that is behind it, and so they get X. */
	if (!has_entry(fr, 0, figure8.term)) return false;
	bool again = figure8.probed[to];
	figure8.probed[to] = true;
	return again;
}

static bool g2(const char *bug)
{
	struct fixture f;
	begin(&f, 5, 5, bug, 2);
	propose_alone(&f, 1);
	figure8 = (struct figure8) { .step = 1, .x = fixture_status(&f.node[0]).last };
	f.drop = figure8_drop;
	EXPECT(fixture_campaign(&f, 4));
	fixture_run(&f, 10);
	EXPECT(fixture_status(&f.node[4]).last == figure8.x);
	fixture_isolate(&f, 4, true);
	fixture_isolate(&f, 0, false);
	f.cut[0][4] = f.cut[4][0] = true;
	figure8.step = 2;
	for (unsigned i = 0; i < 5 && figure8.term == 0; i++) (void)fixture_campaign(&f, 0);
	EXPECT(figure8.term != 0);
	fixture_run(&f, 400);
	EXPECT(fixture_status(&f.node[2]).last == figure8.x && fixture_status(&f.node[3]).last == figure8.x);
	bool applied = fixture_status(&f.node[0]).applied >= figure8.x;
	figure8.step = 3;
	fixture_isolate(&f, 0, true);
	fixture_isolate(&f, 4, false);
	f.cut[0][4] = f.cut[4][0] = true;
	for (unsigned i = 0; i < 5 && fixture_leader(&f) != &f.node[4]; i++) {
		(void)fixture_campaign(&f, 4);
		fixture_run(&f, 200);
	}
	EXPECT(fixture_leader(&f) == &f.node[4]);
	bool other = fixture_term_at(&f.node[4], figure8.x) != fixture_term_at(&f.node[0], figure8.x);
	mem_disk_hold(f.node[0].disk, false);
	return end(&f, applied && other);
}

/* ---- G3: an acknowledgement covers entries of a deposed leader ---- */

static bool g3(const char *bug)
{
	struct fixture f;
	begin(&f, 3, 3, bug, 3);
	uint64_t base = propose_unanswered(&f, 10);
	EXPECT(fixture_campaign(&f, 1));
	fixture_run(&f, 100);
	EXPECT(fixture_leader(&f)->index == 1);
	fixture_stop(&f, 2);
	for (unsigned i = 0; i < 12; i++) EXPECT(fixture_propose(&f, &f.node[1], NULL) == OK);
	fixture_run(&f, 20);
	f.cut[0][1] = false; /* its answers arrive; of node 2 it hears what we say */
	append_one(&f, &f.node[1], &f.node[0], base, 0);
	fixture_stop(&f, 1);
	fixture_start(&f, 2);
	fixture_isolate(&f, 0, false);
	EXPECT(fixture_until(&f, fixture_is_led, 20000));
	return end(&f, false); /* the oracle: who leads must have what was acknowledged */
}

/* ---- G4: a transferee gets a second vote ---- */

static unsigned votes_granted[8];

static bool count_votes(struct fixture *f, const struct frame *fr, unsigned from, unsigned to)
{
	(void)f;
	(void)from;
	if (fr->kind == FRAME_VOTE_RESULT && fr->vote_result.granted && !fr->vote_result.pre_vote) votes_granted[to]++;
	return fr->kind == FRAME_TIMEOUT_NOW || is_append(fr);
}

static void vote_ask(struct fixture *f, struct replica *from, struct replica *to, uint64_t term)
{
	struct frame_out o = { 0 };
	struct group_status s = fixture_status(to);
	frame_begin(&o, FRAME_VOTE, 1, replica_id(from), replica_id(to));
	frame_u64(&o, term);
	frame_u64(&o, s.last + 10);
	frame_u64(&o, term - 1);
	frame_u64(&o, 1); /* disrupt */
	EXPECT(fixture_inject(f, to, replica_id(from), &o) == OK);
	frame_out_deinit(&o);
	fixture_run(f, 20);
}

static bool g4(const char *bug)
{
	struct fixture f;
	struct replica *l = begin(&f, 3, 3, bug, 3);
	uint64_t term = fixture_status(l).term + 1;
	memset(votes_granted, 0, sizeof votes_granted);
	f.drop = count_votes;
	f.change = (struct group_change) { .kind = GROUP_TRANSFER, .member = 2, .done = f.change.done };
	struct group *g = l->chain.group;
	g->library_transfer = (struct raft_transfer) { .data = g };
	EXPECT(raft_transfer(&g->raft, &g->library_transfer, 2, NULL) == 0);
	vote_ask(&f, &f.node[2], l, term);
	EXPECT(votes_granted[2] == 1);
	vote_ask(&f, &f.node[1], l, term);
	return end(&f, votes_granted[1] + votes_granted[2] > 1);
}

/* ---- G5: a configuration that was being written while its replica became a candidate never takes effect ---- */

static bool hold_at_change(struct fixture *f, const struct frame *fr, unsigned from, unsigned to)
{
	(void)from;
	if (to == 1 && has_entry(fr, ENTRY_CHANGE, 0)) mem_disk_hold(f->node[1].disk, true);
	return false;
}

static bool g5(const char *bug)
{
	struct fixture f;
	struct replica *l = begin(&f, 3, 3, bug, 3);
	f.drop = hold_at_change;
	struct group_change c = { .kind = GROUP_REMOVE, .member = 3, .done = NULL };
	f.change = c;
	f.cut[0][2] = f.cut[2][0] = true; /* it is not committed meanwhile */
	struct group *g = l->chain.group;
	EXPECT(raft_remove(&g->raft, &g->library_change, 3, NULL) == 0);
	group_after(g);
	fixture_run(&f, 10);
	EXPECT(f.node[1].chain.group->appending == 1);
	fixture_isolate(&f, 0, true);
	f.node[1].chain.group->ahead_ms += 5000;
	fixture_run(&f, 60);
	mem_disk_hold(f.node[1].disk, false);
	fixture_run(&f, 20);
	return end(&f, fixture_status(&f.node[1]).member_count != 2);
}

/* ---- G6: no commit while proposals keep coming ---- */

static bool g6(const char *bug)
{
	struct fixture f;
	struct replica *l = begin(&f, 3, 3, bug, 3);
	uint64_t before = f.oracle.acked[0];
	f.delay_ns = MILLIS(5);
	for (unsigned ms = 0; ms < 1000; ms++) {
		EXPECT(fixture_propose(&f, l, NULL) == OK || bug);
		fixture_run(&f, 1);
	}
	return end(&f, f.oracle.acked[0] - before < 500);
}

/* ---- G7: an uncommitted configuration is stored with the state ---- */

static bool drop_changes(struct fixture *f, const struct frame *fr, unsigned from, unsigned to)
{
	(void)f;
	(void)to;
	return from == 0 && has_entry(fr, ENTRY_CHANGE, 0);
}

static bool g7(const char *bug)
{
	struct fixture f;
	struct replica *l = begin(&f, 3, 3, bug, 3);
	f.drop = drop_changes;
	EXPECT(fixture_propose(&f, l, NULL) == OK);
	struct group *g = l->chain.group;
	EXPECT(raft_remove(&g->raft, &g->library_change, 3, NULL) == 0);
	group_after(g);
	fixture_run(&f, 20); /* the command before it is committed meanwhile */
	mem_disk_settle_every(l->disk, 1);
	log_settle_now(l->log, NULL);
	(void)fixture_propose(&f, l, NULL);
	fixture_run(&f, 50);
	fixture_stop(&f, 0);
	f.drop = NULL;
	EXPECT(fixture_until(&f, fixture_is_led, 10000));
	fixture_fill(&f, fixture_leader(&f), 2);
	fixture_start(&f, 0);
	EXPECT(fixture_until(&f, fixture_all_applied, 10000));
	return end(&f, fixture_status(&f.node[0]).member_count != 3);
}

/* ---- G8: libraft takes back a configuration whose predecessor it does not have ---- */

static bool g8(const char *bug)
{
	struct fixture f;
	struct replica *l = begin(&f, 3, 3, bug, 3);
	fixture_isolate(&f, 0, true);
	struct group *g = l->chain.group;
	EXPECT(raft_remove(&g->raft, &g->library_change, 3, NULL) == 0);
	group_after(g);
	fixture_run(&f, 20);
	EXPECT(fixture_status(l).member_count == 2);
	EXPECT(fixture_campaign(&f, 1));
	fixture_run(&f, 100);
	fixture_fill(&f, &f.node[1], 3);
	fixture_isolate(&f, 0, false);
	EXPECT(fixture_until(&f, fixture_all_applied, 10000) || bug);
	return end(&f, fixture_status(l).member_count != 3);
}

/* ---- G9: entries from before the library's memory are appended at its end ---- */

static bool g9(const char *bug)
{
	struct fixture f;
	struct raft_options o = plain;
	o.recent_bytes_max = 1000;
	fixture_open_with(&f, 3, 3, bug, &o);
	struct replica *l = fixture_elect(&f), *to = &f.node[(l->index + 1) % 3];
	fixture_fill(&f, l, 60);
	EXPECT(fixture_until(&f, fixture_all_applied, 2000));
	EXPECT(to->chain.group->raft.log.offset > 10);
	f.cut[l->index][to->index] = true;
	uint64_t last = fixture_status(to).last;
	struct frame_out out = { 0 };
	frame_begin(&out, FRAME_APPEND, 1, replica_id(l), replica_id(to));
	frame_append_begin(&out, fixture_status(l).term, 0, 0, 0);
	for (uint64_t i = 1; i <= 3; i++) fixture_copy_entry(&f, l, i, &out);
	EXPECT(fixture_inject(&f, to, replica_id(l), &out) == OK);
	frame_out_deinit(&out);
	fixture_run(&f, 50);
	return end(&f, fixture_status(to).last != last);
}

/* ---- G10: what the leader has committed is taken for committed here, beyond what was compared ---- */

static bool g10(const char *bug)
{
	struct fixture f;
	begin(&f, 3, 3, bug, 3);
	uint64_t base = propose_unanswered(&f, 10);
	EXPECT(fixture_campaign(&f, 1));
	fixture_run(&f, 100);
	fixture_fill(&f, &f.node[1], 12);
	append_one(&f, &f.node[1], &f.node[0], base, base + 12);
	return end(&f, fixture_status(&f.node[0]).commit > base);
}

/* ---- G11: one index back per round trip ---- */

static bool drop_first(struct fixture *f, const struct frame *fr, unsigned from, unsigned to)
{
	(void)f;
	(void)fr;
	return from == 0 || to == 0;
}

static bool g11(const char *bug)
{
	struct fixture f;
	begin(&f, 3, 3, bug, 3);
	propose_alone(&f, 50);
	EXPECT(fixture_campaign(&f, 1));
	fixture_run(&f, 100);
	fixture_fill(&f, &f.node[1], 50);
	/* A leader begins to look at the end of its log, and goes on there while nothing arrives; a link that is known to be cut sets it back. */
	f.node[0].groups.muted = true;
	f.drop = drop_first;
	fixture_isolate(&f, 0, false);
	fixture_change(&f, &f.node[1], GROUP_TRANSFER, 3);
	EXPECT(fixture_until(&f, fixture_is_led, 1000) && fixture_leader(&f)->index == 2);
	fixture_run(&f, 100);
	f.delay_ns = MILLIS(20);
	f.drop = NULL;
	return end(&f, !fixture_until(&f, fixture_all_applied, 1000));
}

/* ---- G12: an answer that cannot be sent ends the instance ---- */

static bool g12(const char *bug)
{
	struct fixture f;
	struct replica *l = begin(&f, 3, 3, bug, 3);
	uint64_t index = propose_unanswered(&f, 0);
	append_one(&f, l, &f.node[1], index, 0); /* it has that already: the entries are freed, then the answer fails */
	fixture_isolate(&f, 0, false);
	EXPECT(fixture_until(&f, fixture_all_applied, 10000));
	return end(&f, false); /* the library frees twice */
}

/* ---- G13: who asks for pre-votes in a term that is over is never told ---- */

static bool g13(const char *bug)
{
	struct fixture f;
	struct raft_options o = { .sleep_beats = 1000000 };
	fixture_open_with(&f, 2, 2, bug, &o);
	struct replica *l = fixture_elect(&f), *v = &f.node[1 - l->index];
	fixture_fill(&f, l, 3);
	fixture_isolate(&f, 0, true);
	EXPECT(fixture_propose(&f, l, NULL) == OK); /* it has the longer log */
	fixture_run(&f, 50);
	uint64_t term = fixture_status(l).term;
	struct frame_out out = { 0 };
	frame_begin(&out, FRAME_VOTE, 1, replica_id(l), replica_id(v));
	frame_u64(&out, term + 5);
	frame_u64(&out, 0);
	frame_u64(&out, 0);
	frame_u64(&out, 1);
	EXPECT(fixture_inject(&f, v, replica_id(l), &out) == OK);
	frame_out_deinit(&out);
	fixture_run(&f, 20);
	EXPECT(fixture_status(v).term == term + 5);
	fixture_stop(&f, l->index); /* or it would learn of the term as a leader */
	fixture_start(&f, l->index);
	fixture_isolate(&f, 0, false);
	return end(&f, !fixture_until(&f, fixture_is_led, 15000));
}

/* ---- G14: a new voter that has not heard of its role refuses the vote that is needed ---- */

static bool hide_promotion(struct fixture *f, const struct frame *fr, unsigned from, unsigned to)
{
	(void)f;
	(void)from;
	return to == 2 && has_entry(fr, ENTRY_CHANGE, 0);
}

static bool g14(const char *bug)
{
	struct fixture f;
	struct replica *l = begin(&f, 3, 2, bug, 3);
	fixture_change(&f, l, GROUP_ADD, 3);
	EXPECT(f.changed && f.change.result == OK);
	EXPECT(fixture_until(&f, fixture_all_applied, 5000));
	f.drop = hide_promotion;
	fixture_change(&f, l, GROUP_PROMOTE, 3);
	EXPECT(f.changed && f.change.result == OK);
	fixture_run(&f, 200);
	fixture_stop(&f, 0);
	f.drop = NULL;
	return end(&f, !fixture_until(&f, fixture_is_led, 15000));
}

/* ---- G15: who cannot win campaigns ahead of who can ---- */

static bool hide_changes(struct fixture *f, const struct frame *fr, unsigned from, unsigned to)
{
	(void)f;
	(void)from;
	return to == 1 && is_append(fr);
}

/* Voters 1 and 2; then node 3 is promoted and node 1 removes itself, of which node 2 hears nothing. So node 2 asks nobody but node 1 for votes,
 * node 3 needs the vote of node 2, and node 1 is gone. Timers are random: here that of node 2 runs out before that of node 3 each time. */
static bool g15(const char *bug)
{
	struct fixture f;
	struct replica *l = begin(&f, 3, 2, bug, 3);
	fixture_change(&f, l, GROUP_ADD, 3);
	EXPECT(f.changed && f.change.result == OK);
	EXPECT(fixture_until(&f, fixture_all_applied, 5000));
	f.drop = hide_changes;
	fixture_change(&f, l, GROUP_PROMOTE, 3);
	EXPECT(f.changed && f.change.result == OK);
	fixture_begin_change(&f, l, GROUP_REMOVE, 1);
	fixture_run(&f, 50);
	EXPECT(fixture_status(&f.node[2]).member_count == 2 && fixture_status(&f.node[1]).member_count == 3);
	fixture_stop(&f, 0);
	f.drop = NULL;
	const struct raft *winner = &f.node[2].chain.group->raft;
	for (unsigned i = 0; i < 24 && winner->state != RAFT_LEADER; i++) {
		f.node[1 + i % 2].chain.group->ahead_ms += 2000;
		fixture_run(&f, 45);
	}
	return end(&f, !fixture_until(&f, fixture_is_led, 500));
}

/* ---- G16: a voter was sent its own demotion, and nobody else has what was acknowledged ---- */

static bool g16(const char *bug)
{
	struct fixture f;
	struct replica *l = begin(&f, 3, 3, bug, 3);
	fixture_isolate(&f, 1, true);
	fixture_fill(&f, l, 3); /* on nodes 1 and 3 */
	fixture_begin_change(&f, l, GROUP_DEMOTE, 3);
	fixture_run(&f, 50);
	EXPECT(!f.changed && fixture_status(&f.node[2]).last == fixture_status(l).last);
	EXPECT(fixture_status(&f.node[2]).applied < fixture_status(l).last);
	fixture_stop(&f, 0);
	fixture_isolate(&f, 1, false);
	return end(&f, !fixture_until(&f, fixture_is_led, 15000));
}

/* ---- slots: an entry that a voter's journal does not take waits for ever, and all behind it ---- */

static bool slots(const char *bug)
{
	struct fixture f;
	struct replica *l = begin(&f, 3, 3, bug, 3);
	struct asked *a = &f.asked[f.asked_count++], *after;
	struct buf body = { 0 };
	mem_disk_entry_max(f.node[2].disk, 400);
	fixture_fill(&f, l, 1);
	fixture_run(&f, 200); /* it has said so */
	fixture_stop(&f, 1);
	*a = (struct asked) { .f = &f, .p = f.asked[0].p };
	chain_body(&body, f.oracle.next_number, l->chain.seq + 1, 600);
	enum err e = group_propose(l->chain.group, &a->p, &body, LOG_ADMIT_GROWS);
	EXPECT(e == (bug ? OK : ERR_TOO_LARGE));
	if (e == OK)
		l->seq = l->chain.seq + 1, a->number = f.oracle.next_number++;
	else
		buf_deinit(&body);
	EXPECT(fixture_propose(&f, l, &after) == OK);
	fixture_run(&f, 5000);
	return end(&f, !after->done);
}

/* ---- S7 ---- */

static bool in_doubt_nowhere(struct fixture *f)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->node[i].up && fixture_status(&f->node[i]).in_doubt) return false;
	return true;
}

/* A follower comes back without entries that it had acknowledged in this very term. */
static bool s7_short(const char *bug)
{
	struct fixture f;
	begin(&f, 3, 3, bug, 10);
	uint64_t last = fixture_status(&f.node[1]).last;
	fixture_stop(&f, 1);
	mem_disk_damage(f.node[1].disk, 1, last - 3, UINT64_MAX, false);
	fixture_start(&f, 1);
	EXPECT(fixture_status(&f.node[1]).in_doubt && fixture_status(&f.node[1]).last == last - 4);
	return end(&f, !fixture_until(&f, in_doubt_nowhere, 15000));
}

/* A vote that was forgotten is given again. */
static bool s7_vote(const char *bug)
{
	struct fixture f;
	begin(&f, 3, 3, bug, 3);
	uint64_t term = fixture_status(&f.node[1]).term + 1;
	memset(votes_granted, 0, sizeof votes_granted);
	f.drop = count_votes;
	vote_ask(&f, &f.node[0], &f.node[1], term);
	EXPECT(votes_granted[0] == 1);
	fixture_stop(&f, 1);
	mem_disk_damage(f.node[1].disk, 1, UINT64_MAX, UINT64_MAX, true);
	fixture_start(&f, 1);
	fixture_run(&f, 50);
	vote_ask(&f, &f.node[2], &f.node[1], term);
	return end(&f, votes_granted[2] > 0);
}

/* ---- S9: the library is further than the owner ---- */

static bool s9(const char *bug)
{
	struct fixture f;
	begin(&f, 3, 3, bug, 10);
	fixture_stop(&f, 1);
	fixture_start(&f, 1);
	EXPECT(fixture_until(&f, fixture_all_applied, 5000));
	fixture_fill(&f, fixture_leader(&f), 1);
	EXPECT(fixture_until(&f, fixture_all_applied, 5000));
	return end(&f, false); /* the oracle compares histories */
}

/* ---- S14: a follower is served across a hole ---- */

static bool s14(const char *bug)
{
	struct fixture f;
	struct raft_options o = plain;
	o.recent_bytes_max = 1000;
	fixture_open_with(&f, 3, 3, bug, &o);
	for (unsigned i = 0; i < 3; i++) mem_disk_settle_every(f.node[i].disk, 2000);
	struct replica *l = fixture_elect(&f), *late = &f.node[(l->index + 1) % 3];
	fixture_fill(&f, l, 3);
	fixture_stop(&f, late->index);
	fixture_fill(&f, l, 200);
	fixture_start(&f, late->index);
	bool whole = fixture_until(&f, fixture_all_applied, 10000);
	EXPECT(bug || late->diag.counter[COUNTER_raft_installs] == 1);
	return end(&f, !whole);
}

static const struct {
	const char *bug;
	history *run;
} histories[] = {
	{ "bug_g1_no_noop", g1 },
	{ "bug_g2_old_term_commit", g2 },
	{ "bug_g3_unchecked_ack", g3 },
	{ "bug_g4_second_vote", g4 },
	{ "bug_g5_busy_candidate", g5 },
	{ "bug_g6_ungated_append", g6 },
	{ "bug_g7_uncommitted_conf", g7 },
	{ "bug_g8_no_reset", g8 },
	{ "bug_g9_no_trim", g9 },
	{ "bug_g10_commit_unclamped", g10 },
	{ "bug_g11_no_hint", g11 },
	{ "bug_g12_send_error", g12 },
	{ "bug_g13_pre_vote_term", g13 },
	{ "bug_g14_unlisted_vote", g14 },
	{ "bug_g15_no_way", g15 },
	{ "bug_g16_own_demotion", g16 },
	{ "bug_slots_untold", slots },
	{ "bug_s7_short_match", s7_short },
	{ "bug_s7_doubtful_vote", s7_vote },
	{ "bug_s9_unapplied", s9 },
	{ "bug_s14_across_hole", s14 },
};

static pid_t runner;

static void test_history(void **state)
{
	if (getpid() != runner)
		_exit(1); /* a history failed a check in its child, and cmocka went on with the next test there */
	size_t i = (size_t)(uintptr_t)*state;
	guard_holds(histories[i].run, histories[i].bug);
}

int main(void)
{
	struct CMUnitTest tests[COUNT_OF(histories)];
	runner = getpid();
	for (size_t i = 0; i < COUNT_OF(histories); i++)
		tests[i] = (struct CMUnitTest) { histories[i].bug, test_history, NULL, NULL, (void *)(uintptr_t)i };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
