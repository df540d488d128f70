/* SPDX-License-Identifier: Apache-2.0 */
/* guard — what comes in, between the decoder and libraft. The bytes are well-formed here; this file knows what the replica knows.
 *
 * Each message goes through the rows of its kind: refuse what no honest peer says to this replica now, change what the library
 * would take wrongly (G8-G10), keep back what it must not see yet (G2, G6). Then guard_deliver hands it over. */
#include "group.h"

/* A peer that was away for long may be this far ahead; further is an attack or damage, and would stall the group for ever. */
static const uint64_t TERM_JUMP_MAX = 1000000;
enum { SAY_EVERY_MS = 10000 };

static void alarm(struct group *g, const struct frame *f, const char *what)
{
	uint64_t now = set_now_ms(g->set);
	diag_count(g->set->diag, COUNTER_raft_frames_alarmed);
	if (now < g->said_at_ms) return;
	g->said_at_ms = now + SAY_EVERY_MS;
	diag_line(g->set->diag, DIAG_ERROR, "raft group=%s from=%llx dropped a message that no honest peer sends: %s",
		log_group_label(g->log), (unsigned long long)f->from, what);
}

/* ---- followers ---- */

struct follower *follower_find(const struct group *g, uint64_t id)
{
	LIST_EACH (l, &g->followers) {
		struct follower *f = CONTAINER_OF(l, struct follower, link);
		if (f->id == id) return f;
	}
	return NULL;
}

struct follower *follower_get(struct group *g, uint64_t id)
{
	struct follower *f = follower_find(g, id);
	if (f || !group_server(g, id)) return f;
	f = NEW(struct follower);
	f->id = id;
	list_push_back(&g->followers, &f->link);
	return f;
}

static void follower_drop(struct follower *f)
{
	backfill_stop(f);
	refill_stop(f);
	list_remove(&f->link);
	mem_free(f);
}

void followers_reset(struct group *g)
{
	LIST_EACH_SAFE (l, &g->followers) follower_drop(CONTAINER_OF(l, struct follower, link));
}

uint64_t guard_quorum(const struct group *g)
{
	uint64_t acked[GROUP_MEMBERS_MAX];
	unsigned voters = 0, others = 0, self = 0;
	const struct raft_configuration *c = &g->raft.configuration;
	for (unsigned i = 0; i < c->n && others < COUNT_OF(acked); i++) {
		if (c->servers[i].role != RAFT_VOTER) continue;
		voters++;
		if (c->servers[i].id == g->set->options.self) {
			self = 1;
			continue;
		}
		const struct follower *f = follower_find(g, c->servers[i].id);
		unsigned at = others++;
		uint64_t match = f ? f->match : 0;
		for (; at > 0 && acked[at - 1] < match; at--) acked[at] = acked[at - 1]; /* highest first */
		acked[at] = match;
	}
	unsigned need = voters / 2 + 1 - self;
	if (need == 0) return UINT64_MAX;
	return need <= others ? acked[need - 1] : 0;
}

/* ---- into the library ---- */

void guard_deliver(struct group *g, struct raft_message *m)
{
	port_sends_complete(g, 0); /* so that nothing but the log itself refers to entries that may go now */
	g->receiving = m;
	g->recv(&g->io, m);
	g->receiving = NULL;
	group_after(g);
}

static struct raft_message message_of(const struct frame *f, unsigned short type, char address[MEMBER_ADDRESS_BYTES])
{
	member_address(f->from, address);
	return (struct raft_message) { .type = type, .server_id = f->from, .server_address = address };
}

/* ---- AppendEntries ---- */

static bool append_is_forged(struct group *g, const struct frame *f)
{
	const struct frame_append *a = &f->append;
	if (a->term < g->raft.current_term) return false; /* the library answers with its own term */
	if (a->term == g->raft.current_term && raft_state(&g->raft) == RAFT_LEADER)
		return alarm(g, f, "entries of this replica's own term"), true;
	uint64_t term = group_term_at(g, a->prev_index);
	if (a->prev_index > 0 && a->prev_index <= g->raft.commit_index && term != 0 && term != a->prev_term)
		return alarm(g, f, "what is committed here has another term there"), true;
	return false;
}

/* First entry of the message that differs from ours; 0: none. */
static uint64_t append_conflict(const struct group *g, const struct frame_append *a)
{
	if (a->prev_index >= g->last) return 0;
	struct frame_entry_at at = { 0 };
	struct frame_entry e;
	for (uint64_t index = a->prev_index + 1; index <= g->last && frame_entry_next(a, &at, &e); index++)
		if (group_term_at(g, index) != 0 && group_term_at(g, index) != e.term) return index;
	return 0;
}

/* G9: entries that are applied here are not shown again: the library would append them at the wrong place or refuse them. Any leader
 * whose term is not behind ours has everything that is committed, so the message may begin at the applied index instead. */
static void append_trim(struct group *g, struct frame_append *a)
{
	uint64_t applied = raft_last_applied(&g->raft);
	if (a->prev_index >= applied || is_off(g, FAULT_bug_g9_no_trim)) return;
	uint64_t drop = u64_min(applied - a->prev_index, a->count);
	frame_append_skip(
		a, (uint32_t)drop, applied, g->applied == applied ? g->applied_term : group_term_at(g, applied));
}

/* Cuts the log before `index`, and has the library load what is left. */
static void cut_and_reload(struct group *g, uint64_t index)
{
	instance_stop(g);
	log_truncate(g->log, index);
	g->last = index - 1;
	instance_reopen(g);
}

/* G8: the library cannot take back a configuration whose predecessor it has let go. Cut here, and load it anew. */
static bool append_resets(struct group *g, uint64_t conflict)
{
	if (is_off(g, FAULT_bug_g8_no_reset) || list_is_empty(&g->changes)) return false;
	const struct pending_change *c = CONTAINER_OF(g->changes.prev, struct pending_change, link);
	if (c->index < conflict) return false;
	diag_count(g->set->diag, COUNTER_raft_conf_resets);
	cut_and_reload(g, conflict);
	return true;
}

/* A leader that knows our slots sends no such entry. This one did not know them, or we are no voter of it. */
static void say_too_large(struct group *g, size_t bytes)
{
	uint64_t now = set_now_ms(g->set);
	if (now < g->said_at_ms) return;
	g->said_at_ms = now + SAY_EVERY_MS;
	diag_line(g->set->diag, DIAG_ERROR,
		"raft group=%s cannot follow: an entry has %zu bytes, the slots of this journal take %llu; this node "
		"needs "
		"a new store with slots (journal.slot_size) of %zu bytes or more",
		log_group_label(g->log), bytes, (unsigned long long)log_entry_bytes_max(g->set->log), 4 * bytes);
}

/* How many of the entries there is room for. The leader has admitted them by what they are; here they pass down to the second mark, lest
 * a full follower never sees what would free its space. The rest comes again. */
static uint32_t append_fits(struct group *g, const struct frame_append *a)
{
	struct frame_entry_at at = { 0 };
	struct frame_entry e;
	enum log_admission what = LOG_ADMIT_RESERVED;
	uint64_t bytes = 0;
	uint32_t fits = 0;
	while (frame_entry_next(a, &at, &e)) {
		if (e.kind == ENTRY_COMMAND) what = LOG_ADMIT_FREES;
		bytes += entry_bytes(e.body.n);
		if (e.body.n > log_entry_bytes_max(g->set->log)) {
			say_too_large(g, e.body.n);
			break;
		}
		if (log_group_admit(g->log, what, bytes) != OK) break;
		fits++;
	}
	return fits;
}

static void append_cut(struct group *g, struct frame_append *a, uint32_t count)
{
	struct frame_entry_at at = { 0 };
	struct frame_entry e;
	if (count == a->count) return;
	diag_count(g->set->diag, COUNTER_raft_appends_stripped);
	while (at.index < count) (void)frame_entry_next(a, &at, &e);
	a->count = count;
	a->heads = slice_first(a->heads, (size_t)count * FRAME_ENTRY_BYTES);
	a->bodies = slice_first(a->bodies, at.body_at);
}

static void append_to_library(const struct frame_append *a, struct raft_append_entries *out)
{
	*out = (struct raft_append_entries) { a->term, a->prev_index, a->prev_term, a->commit, NULL, a->count };
	if (a->count == 0) return;
	struct frame_entry_at at = { 0 };
	struct frame_entry e;
	uint8_t *batch = raft_malloc(a->bodies.n ? a->bodies.n : 1);
	out->entries = raft_calloc(a->count, sizeof *out->entries);
	ASSERT(batch != NULL && out->entries != NULL);
	if (a->bodies.n) memcpy(batch, a->bodies.p, a->bodies.n);
	while (frame_entry_next(a, &at, &e)) {
		struct raft_entry *to = &out->entries[at.index - 1];
		*to = (struct raft_entry) { .term = e.term, .type = (unsigned short)e.kind, .batch = batch };
		to->buf = (struct raft_buffer) { batch + (e.body.p - a->bodies.p), e.body.n };
	}
}

static void append_deliver(struct group *g, const struct frame *f)
{
	char address[MEMBER_ADDRESS_BYTES];
	struct raft_message m = message_of(f, RAFT_IO_APPEND_ENTRIES, address);
	append_to_library(&f->append, &m.append_entries);
	guard_deliver(g, &m);
}

static void on_append(struct group *g, struct frame *f)
{
	struct frame_append *a = &f->append;
	if (append_is_forged(g, f) || doubt_refuses_append(g, a)) return;
	if (a->term < g->raft.current_term) {
		frame_append_skip(a, a->count, a->prev_index, a->prev_term);
		append_deliver(g, f);
		return;
	}
	port_sends_complete(g, 0);
	append_trim(g, a);
	uint64_t conflict = append_conflict(g, a);
	if (conflict && conflict <= g->raft.commit_index) {
		alarm(g, f, "another entry in the place of one that is committed");
		return;
	}
	if (conflict && !g->appending && group_term_at(g, a->prev_index) == a->prev_term && append_resets(g, conflict))
		return;
	/* Nothing is cut while the library waits for appends: it tells a written entry from its successor only by term. And what does not
	 * fit the disk is not taken. Without entries the message is a heartbeat, and the leader comes again with them. */
	bool is_frozen = g->has_hole || (g->frozen_until_ms && set_now_ms(g->set) < g->frozen_until_ms);
	append_cut(g, a, (conflict && g->appending) || is_frozen ? 0 : append_fits(g, a));
	/* G10: the library takes min(commit, its own last) for committed; right is the last entry that was compared. */
	if (!is_off(g, FAULT_bug_g10_commit_unclamped)) a->commit = u64_min(a->commit, a->prev_index + a->count);
	append_deliver(g, f);
}

/* ---- its answer ---- */

/* True when the library shall see the (perhaps changed) answer. */
static bool ack_noted(struct group *g, struct follower *p, struct frame_append_result *a)
{
	if (a->last_index > p->match || !p->acked) {
		p->match = u64_max(p->match, a->last_index);
		p->acked = true;
		backfill_acked(p, p->match);
		port_writes_fire(
			g); /* G6: own appends up to here may be complete now, before the library hears of the ack */
		group_after(g);
		if (!g->live || !g->leads) return false;
	}
	/* G2: until an entry of this term is on disk here, an ack must not let the library count an older entry as committed. It looks at
	 * last_stored alone: show the ack just below. */
	if (is_off(g, FAULT_bug_g2_old_term_commit)) return true;
	if (g->noop_term == g->raft.current_term && g->raft.last_stored >= g->noop_index) return true;
	p->held = true;
	p->held_last = u64_max(p->held_last, a->last_index);
	if (g->raft.last_stored == 0) return false;
	a->last_index = u64_min(a->last_index, g->raft.last_stored - 1);
	return true;
}

static bool rejection_noted(struct group *g, struct follower *p, const struct frame_append_result *a)
{
	p->hint = a->last_index;
	if (a->rejected <= p->match && p->acked && !is_off(g, FAULT_bug_s7_short_match)) {
		/* S7: it has forgotten what it acknowledged in this very term. The library would wait for ever, and counts the acks. */
		diag_line(g->set->diag, DIAG_WARN,
			"raft group=%s follower=%llx came back without entries that it had acknowledged (%llu of "
			"%llu), giving up leadership",
			log_group_label(g->log), (unsigned long long)p->id, (unsigned long long)a->last_index,
			(unsigned long long)p->match);
		group_step_down(g);
		return false;
	}
	backfill_rejected(p, a->rejected);
	return true;
}

static void on_append_result(struct group *g, struct frame *f)
{
	struct frame_append_result *a = &f->append_result;
	struct follower *p = g->leads ? follower_get(g, f->from) : NULL;
	if (g->leads && a->term == g->raft.current_term) {
		if (!p) return; /* no member, or no more */
		p->wants_refill = a->refill;
		budget_heard(g->set, p->id, a->takes_bytes);
		if (a->rejected == 0 && a->last_index > g->last) {
			alarm(g, f, "an acknowledgement of entries that do not exist");
			return;
		}
		if (!(a->rejected == 0 ? ack_noted(g, p, a) : rejection_noted(g, p, a))) return;
		if (p->wants_refill) catchup_start(g, p);
	}
	char address[MEMBER_ADDRESS_BYTES];
	struct raft_message m = message_of(f, RAFT_IO_APPEND_ENTRIES_RESULT, address);
	m.append_entries_result = (struct raft_append_entries_result) { a->term, a->rejected, a->last_index };
	guard_deliver(g, &m);
}

void guard_release(struct group *g)
{
	if (!g->leads || g->noop_term != g->raft.current_term || g->raft.last_stored < g->noop_index) return;
	LIST_EACH_SAFE (l, &g->followers) {
		struct follower *p = CONTAINER_OF(l, struct follower, link);
		if (!p->held) continue;
		char address[MEMBER_ADDRESS_BYTES];
		struct frame f = { .from = p->id };
		struct raft_message m = message_of(&f, RAFT_IO_APPEND_ENTRIES_RESULT, address);
		p->held = false;
		m.append_entries_result = (struct raft_append_entries_result) { g->raft.current_term, 0, p->held_last };
		guard_deliver(g, &m);
		if (!g->live || !g->leads) return;
	}
}

/* ---- votes ---- */

/* G14: the library grants no vote while its own configuration does not name it a voter. But a voter learns of its role by an entry that
 * may reach it last, and the group may need its vote to be led at all: who votes is the candidate's affair (raft 4.1). */
static bool votes_unlisted(const struct group *g, const struct frame_vote *v, uint64_t from, bool disrupt)
{
	const struct raft_server *self = group_server(g, g->set->options.self);
	if ((self && self->role == RAFT_VOTER) || is_off(g, FAULT_bug_g14_unlisted_vote)) return false;
	if (g->raft.state != RAFT_FOLLOWER || (group_leader(g) && !disrupt)) return false;
	if (v->term < g->raft.current_term || (!v->pre_vote && g->vote != 0 && g->vote != from)) return false;
	uint64_t last_term = group_term_at(g, g->last);
	return v->last_term > last_term || (v->last_term == last_term && v->last_index >= g->last);
}

/* G15: without pre-votes (and who was meant to take over leadership goes on without) a candidate that lacks entries raises the term again
 * and again. Who has them, and is no voter in that candidate's configuration, never hears of those terms and comes one too late with its
 * own. So who is asked by a better log lets that one go first: longer than its campaigns are apart. Once for each campaign of its own, lest
 * one that cannot win either holds up one that can. */
static void gives_way(struct group *g, const struct frame_vote *v)
{
	uint64_t last_term = group_term_at(g, g->last);
	bool is_better = v->last_term > last_term || (v->last_term == last_term && v->last_index > g->last);
	if (!is_better || g->raft.state != RAFT_CANDIDATE || g->raft.candidate_state.in_pre_vote) return;
	if (v->term > g->term || g->way_term == g->term || is_off(g, FAULT_bug_g15_no_way)) return;
	g->way_term = g->term;
	g->way_until_ms = set_now_ms(g->set) + 5 * (uint64_t)g->set->options.election_ms / 2;
}

static void on_vote(struct group *g, struct frame *f)
{
	const struct frame_vote *v = &f->vote;
	if (!group_may_vote(g)) return;
	gives_way(g, v);
	/* G4: whom leadership is transferred to gets no second vote in a term. */
	bool voted_other = !v->pre_vote && v->term == g->term && g->vote != 0 && g->vote != f->from;
	if (voted_other && !is_off(g, FAULT_bug_g4_second_vote)) return;
	if (log_admit(g->set->log, LOG_ADMIT_RESERVED, 4 * KIB) != OK) return;
	char address[MEMBER_ADDRESS_BYTES];
	struct raft_message m = message_of(f, RAFT_IO_REQUEST_VOTE, address);
	uint64_t leader = group_leader(g);
	/* The library remembers a leader until it hears otherwise, and a learner for ever. Raft (4.2.3) means the least election timeout, and
	 * we may even know that the leader's link is down. */
	uint64_t silent_ms = g->io.time(&g->io) - g->raft.election_timer_start;
	bool is_silent = g->raft.state == RAFT_FOLLOWER && silent_ms >= g->set->options.election_ms;
	bool disrupt = v->disrupt || (leader && (is_silent || set_peer_is_down(g->set, leader)));
	m.request_vote = (struct raft_request_vote) {
		.term = v->term,
		.candidate_id = f->from,
		.last_log_index = v->last_index,
		.last_log_term = v->last_term,
		.disrupt_leader = disrupt,
		.pre_vote = v->pre_vote,
	};
	g->grants = v->pre_vote && votes_unlisted(g, v, f->from, disrupt);
	guard_deliver(g, &m);
	g->grants = false;
	/* The refusal has gone out; a vote follows it. */
	bool is_vote = !v->pre_vote && g->live && v->term == g->raft.current_term;
	if (is_vote && votes_unlisted(g, v, f->from, disrupt)) port_vote_grant(g, f->from);
}

static void on_vote_result(struct group *g, struct frame *f)
{
	char address[MEMBER_ADDRESS_BYTES];
	struct raft_message m = message_of(f, RAFT_IO_REQUEST_VOTE_RESULT, address);
	m.request_vote_result.term = f->vote_result.term;
	m.request_vote_result.vote_granted = f->vote_result.granted;
	m.request_vote_result.pre_vote = TO_RAFT_TRIBOOL(f->vote_result.pre_vote);
	guard_deliver(g, &m);
}

/* ---- its own demotion ---- */

static bool is_voter_in(const struct group *g, struct slice conf)
{
	struct members m;
	if (members_decode(conf, &m) != OK) return false;
	const struct raft_member *self = members_find(&m, g->set->options.self);
	return self && self->role == RAFT_VOTER;
}

/* Index of the last configuration of the log, when it takes this replica's vote and is not known to be committed; 0: it does not. */
static uint64_t own_demotion(const struct group *g)
{
	if (list_is_empty(&g->changes)) return 0;
	const struct pending_change *c = CONTAINER_OF(g->changes.prev, struct pending_change, link);
	struct list *before = c->link.prev;
	struct slice old = before == &g->changes ? buf_slice(&g->conf)
						 : buf_slice(&CONTAINER_OF(before, struct pending_change, link)->conf);
	if (c->index <= u64_max(g->committed, g->raft.commit_index)) return 0;
	if (is_voter_in(g, buf_slice(&c->conf)) || !is_voter_in(g, old)) return 0;
	return c->index;
}

/* G16: the library asks its latest configuration whether it may campaign, and its own demotion says no. But while that is not committed the
 * group may need this replica: it may be the only one that can be reached and has all that was acknowledged. So when nobody leads for
 * long, it cuts its log before the demotion and is a voter again. Why nothing is lost by that: docs/RAFT.md#g16. Ticks are counted, not time:
 * a process that was stopped has frames to read first. */
void guard_tick(struct group *g)
{
	const struct raft_options *o = &g->set->options;
	bool is_silent = g->raft.state == RAFT_FOLLOWER &&
			 g->io.time(&g->io) - g->raft.election_timer_start >= 2 * (uint64_t)o->election_ms;
	uint64_t index = is_silent ? own_demotion(g) : 0;
	if (!index || !group_may_vote(g) || g->has_hole || g->install || g->appending) {
		g->silent_ticks = 0;
		return;
	}
	if (++g->silent_ticks < o->election_ms / o->tick_ms || is_off(g, FAULT_bug_g16_own_demotion)) return;
	g->silent_ticks = 0;
	diag_count(g->set->diag, COUNTER_raft_demotions_undone);
	diag_line(g->set->diag, DIAG_INFO,
		"raft group=%s nobody leads, takes back its own demotion at %llu: it was not committed",
		log_group_label(g->log), (unsigned long long)index);
	cut_and_reload(g, index);
}

static void on_timeout_now(struct group *g, struct frame *f)
{
	if (!group_may_vote(g)) return;
	if (g->appending && !is_off(g, FAULT_bug_g5_busy_candidate)) return; /* G5 */
	if (log_admit(g->set->log, LOG_ADMIT_RESERVED, 4 * KIB) != OK) return;
	char address[MEMBER_ADDRESS_BYTES];
	struct raft_message m = message_of(f, RAFT_IO_TIMEOUT_NOW, address);
	m.timeout_now =
		(struct raft_timeout_now) { f->timeout_now.term, f->timeout_now.last_index, f->timeout_now.last_term };
	guard_deliver(g, &m);
}

static void on_sleep(struct group *g, struct frame *f) { group_slept(g, &f->sleep, f->from); }

static void on_install_answer(struct group *g, struct frame *f)
{
	struct follower *p = g->leads && f->term == g->raft.current_term ? follower_find(g, f->from) : NULL;
	if (p) refill_answer(p, &f->install_answer);
}

static void on_install(struct group *g, struct frame *f) { install_frame(g, f); }

/* ---- dispatch ---- */

static const struct {
	void (*handle)(struct group *g, struct frame *f);
	bool without_library; /* also while the instance is closed */
	bool wakes;
} handlers[FRAME_KIND_END] = {
	[FRAME_APPEND] = { on_append, false, true },
	[FRAME_APPEND_RESULT] = { on_append_result, false, true },
	[FRAME_VOTE] = { on_vote, false, true },
	[FRAME_VOTE_RESULT] = { on_vote_result, false, true },
	[FRAME_TIMEOUT_NOW] = { on_timeout_now, false, true },
	[FRAME_SLEEP] = { on_sleep, false, false },
	[FRAME_INSTALL_BEGIN] = { on_install, true, true },
	[FRAME_INSTALL_CHUNK] = { on_install, true, true },
	[FRAME_INSTALL_COMMIT] = { on_install, true, true },
	[FRAME_INSTALL_ANSWER] = { on_install_answer, false, true },
};

/* The late answer to the last heartbeat before sleep tells nothing new. */
static bool is_late_answer(const struct group *g, const struct frame *f)
{
	const struct frame_append_result *a = &f->append_result;
	return g->asleep && f->kind == FRAME_APPEND_RESULT && a->rejected == 0 && a->term == g->raft.current_term &&
	       a->last_index >= g->last;
}

void guard_frame(struct group *g, struct frame *f)
{
	if (!g->live && !handlers[f->kind].without_library) return;
	if (g->live && f->term > g->raft.current_term + TERM_JUMP_MAX) {
		alarm(g, f, "a term far from ours");
		return;
	}
	if (is_late_answer(g, f)) return;
	if (handlers[f->kind].wakes) group_wake(g);
	handlers[f->kind].handle(g, f);
}
