/* SPDX-License-Identifier: Apache-2.0 */
/* erase — secure deletes (S15): what owners want to be erased leaves the disk in one pass over everything that may hold it.
 *
 *   log_erase ──(a second)──> ENTRIES   free slots are zeroed; a round settles what the others hold, erased as it is copied
 *                        ──> SEGMENTS  every segment that holds some is planned for a rewrite, and written by a round (rewrite.c)
 *                        ──> RING      rounds until the old segments are unlinked and every slot was free once and zeroed (journal.c)
 *                        ──> owner.erased
 *
 * Nothing of this is recorded: the owner's list is part of its state, and after a crash the pass begins anew. Where in the ring an entry lay
 * is not known any more once it has settled, so all slots are zeroed, as far as they were ever written. A pass costs rounds and slots, so the next one
 * waits a multiple of the time that the last one took. */
#include "round.h"

enum { BEGIN_MS = 1000, REST_FACTOR = 4, REST_MAX_S = 30, RETRY_MS = 200, FAILED_S = 30, ROUNDS_IN_ROW = 4 };

static struct erase *erase_of(struct log *l) { return &l->erase; }

/* ---- sets of sequences ---- */

void seq_set_ask(struct seq_set *set, const struct log_group *g, uint64_t before, uint64_t last)
{
	if (!g->wants_erase && !g->is_erasing) return;
	if (!g->ops || !g->ops->erase_next || log_fault(g->log, FAULT_bug_s15_copied_whole)) return;
	for (uint64_t seq = before; seq < last;) {
		seq = g->ops->erase_next(g->owner, seq + 1, last);
		if (seq == 0) return;
		ASSERT(seq > before && seq <= last && (set->count == 0 || set->p[set->count - 1] < seq));
		if (set->count == set->cap) {
			set->cap = set->cap ? set->cap * 2 : 8;
			set->p = mem_realloc(set->p, set->cap * sizeof *set->p);
		}
		set->p[set->count++] = seq;
	}
}

/* ---- when ---- */

static uint64_t rest_ns(struct log *l)
{
	const struct erase *e = erase_of(l);
	uint64_t rest = u64_min(e->lasted_ns * REST_FACTOR, SECONDS(REST_MAX_S)), now = io_now_ns(l->io);
	uint64_t until = e->ended_ns + rest;
	return u64_max(MILLIS(BEGIN_MS), e->ended_ns && until > now ? until - now : 0);
}

void log_erase(struct log_group *g)
{
	struct log *l = g->log;
	struct erase *e = erase_of(l);
	if (g->wants_erase || l->is_closing || l->is_dead) return;
	g->wants_erase = true;
	if (e->phase == ERASE_IDLE && !io_timer_is_armed(&e->begin)) io_timer_start(l->io, &e->begin, rest_ns(l));
}

void erase_forget_owner(struct log_group *g)
{
	g->erase_owed |= g->wants_erase || g->is_erasing;
	g->wants_erase = g->is_erasing = g->erase_failed = false;
}

void erase_sweep(struct log *l)
{
	struct erase *e = erase_of(l);
	if (l->is_closing || l->is_dead) return;
	e->sweeps = true;
	if (e->phase == ERASE_IDLE && !io_timer_is_armed(&e->begin)) io_timer_start(l->io, &e->begin, rest_ns(l));
}

static void erase_begin(struct io_timer *timer)
{
	struct erase *e = CONTAINER_OF(timer, struct erase, begin);
	struct log *l = CONTAINER_OF(e, struct log, erase);
	ASSERT(e->phase == ERASE_IDLE);
	bool any = e->sweeps;
	e->sweeps = false;
	for (uint32_t i = 0; i < l->groups_count; i++) {
		struct log_group *g = l->groups[i];
		if (!g->wants_erase || !g->ops || !g->ops->erasing) continue;
		g->wants_erase = g->erase_failed = false;
		g->is_erasing = any = true;
		g->ops->erasing(g->owner);
	}
	if (!any || l->is_closing || l->is_dead) return;
	e->phase = ERASE_ENTRIES;
	e->mark_use = journal_last_use(l);
	e->begun_ns = io_now_ns(l->io);
	e->group = e->seq = e->seq_next = 0;
	e->rounds_wanted = 0;
	e->slots_zeroed = e->segments_written = 0;
	journal_suspect_all(l);
	diag_count(l->diag, COUNTER_log_erasing_begun);
	diag_trace(l->diag, "log erasing", e->mark_use, l->settle.held_use, l->journal.oldest_use);
	settle_step(l);
}

static void erase_retry(struct io_timer *timer)
{
	struct erase *e = CONTAINER_OF(timer, struct erase, retry);
	settle_step(CONTAINER_OF(e, struct log, erase));
}

static void erase_pause(struct log *l)
{
	struct erase *e = erase_of(l);
	if (!io_timer_is_armed(&e->retry)) io_timer_start(l->io, &e->retry, MILLIS(RETRY_MS));
}

static bool is_idle(const struct log *l) { return l->settle.phase == ROUND_IDLE && !l->settle.is_wanted; }

/* One more round; not one behind the other when nothing comes of them. */
static void want_round(struct log *l)
{
	struct erase *e = erase_of(l);
	if (!is_idle(l) || io_timer_is_armed(&e->retry)) return;
	if (e->oldest_use != l->journal.oldest_use) e->rounds_wanted = 0;
	e->oldest_use = l->journal.oldest_use;
	if (e->rounds_wanted++ >= ROUNDS_IN_ROW) {
		e->rounds_wanted = 0;
		erase_pause(l);
		return;
	}
	l->settle.is_wanted = true;
	if (!io_timer_is_armed(&l->settle.step)) io_timer_start(l->io, &l->settle.step, 0);
}

/* Free slots are being zeroed (zero.c), or will be when the disk has room. */
static bool waits_for_zeroes(struct log *l)
{
	if (!journal_has_free_suspects(l)) return false;
	if (!l->journal.zero.is_running) erase_pause(l);
	return true;
}

/* ---- entries that had not settled ---- */

static void step_entries(struct log *l)
{
	struct erase *e = erase_of(l);
	const struct settle *t = &l->settle;
	/* Slots that are free now are clean before the journal goes on into them, if it can wait for that. */
	if (waits_for_zeroes(l)) return;
	if (t->phase == ROUND_IDLE && t->held_use >= e->mark_use && (t->is_recorded_durable || !t->recorded.round)) {
		e->phase = ERASE_SEGMENTS;
		return;
	}
	want_round(l);
}

/* ---- segments ---- */

/* The group in whose middle the look has arrived, or the next one. */
static struct log_group *next_group(struct log *l)
{
	const struct erase *e = erase_of(l);
	struct log_group *g = e->group && e->seq < UINT64_MAX ? log_group_find(l, e->group) : NULL;
	if (!g) g = log_group_after(l, e->group);
	while (g && !g->is_erasing) g = log_group_after(l, g->id);
	return g;
}

/* What came of the segment that was looked at last. False: it is to be looked at again, a little later. */
static bool segment_outcome(struct log *l)
{
	struct erase *e = erase_of(l);
	struct log_group *g = log_group_find(l, e->group);
	uint64_t next = e->seq_next;
	e->seq_next = 0;
	if (next == 0) return true;
	if (!e->is_passed && !e->is_failed) {
		erase_pause(l);
		return false;
	}
	e->seq = next;
	if (g && e->is_failed) g->erase_failed = true;
	return true;
}

static void group_passed(struct log *l, const struct log_group *g)
{
	struct erase *e = erase_of(l);
	e->group = g->id;
	e->seq = UINT64_MAX;
}

static void step_segments(struct log *l)
{
	struct erase *e = erase_of(l);
	if (l->settle.rewrite || !is_idle(l) || io_timer_is_armed(&e->retry) || !segment_outcome(l)) return;
	for (struct log_group *g; (g = next_group(l)) != NULL;) {
		if (g->id != e->group) e->seq = 1;
		e->group = g->id;
		uint64_t seq = g->ops->erase_next(g->owner, e->seq, UINT64_MAX);
		uint32_t at = seq ? segment_list_find_seq(&g->segments, seq) : 0;
		if (seq && g->doubt) g->erase_failed = true;
		if (!seq || g->doubt || at == g->segments.count) {
			group_passed(l, g);
			continue;
		}
		e->is_passed = e->is_failed = false;
		e->seq_next = g->segments.rows[at].seq_last + 1;
		if (!rewrite_erase(l, g, at)) e->seq_next = 0;
		return;
	}
	e->phase = ERASE_RING;
}

/* ---- the ring, and what old segments are left ---- */

static bool has_segment_graves(const struct log *l)
{
	LIST_EACH (node, &l->settle.graves)
		if (CONTAINER_OF(node, struct grave, link)->kind == GRAVE_SEGMENT) return true;
	return false;
}

static void erase_end(struct log *l)
{
	struct erase *e = erase_of(l);
	uint64_t now = io_now_ns(l->io), rest;
	bool is_wanted = e->sweeps, has_failed = false;
	e->phase = ERASE_IDLE;
	e->ended_ns = now;
	e->lasted_ns = now - e->begun_ns;
	l->journal.forget_use = e->mark_use;
	diag_line(l->diag, DIAG_DEBUG, "log erased what was to be: %u slots zeroed, %u segments written anew, %llu ms",
		e->slots_zeroed, e->segments_written, (unsigned long long)(e->lasted_ns / MILLIS(1)));
	uint64_t id = 0;
	/* A callback may make a group go: they are looked up anew each time. */
	for (struct log_group *g; (g = log_group_after(l, id)) != NULL;) {
		id = g->id;
		bool was_erasing = g->is_erasing;
		g->is_erasing = false;
		if (was_erasing && g->erase_failed) {
			has_failed = g->wants_erase = true;
			diag_line(l->diag, DIAG_WARN,
				"log group=%s is damaged where something is to be erased: it is still there, tried "
				"again",
				g->label);
		}
		is_wanted |= g->wants_erase;
		if (was_erasing && !g->erase_failed) g->ops->erased(g->owner);
	}
	rest = has_failed ? SECONDS(FAILED_S) : rest_ns(l);
	if (is_wanted && !io_timer_is_armed(&e->begin)) io_timer_start(l->io, &e->begin, rest);
}

static void step_ring(struct log *l)
{
	if (waits_for_zeroes(l)) return;
	if (journal_has_suspects(l) || has_segment_graves(l))
		want_round(l);
	else if (is_idle(l) && !l->settle.grave_job)
		erase_end(l);
}

/* ---- life ---- */

void erase_step(struct log *l)
{
	struct erase *e = erase_of(l);
	if (e->phase == ERASE_IDLE || l->is_dead || l->is_closing) return;
	if (e->phase == ERASE_ENTRIES) step_entries(l);
	if (e->phase == ERASE_SEGMENTS) step_segments(l);
	if (e->phase == ERASE_RING) step_ring(l);
}

void erase_init(struct log *l)
{
	struct erase *e = erase_of(l);
	e->begin.fire = erase_begin;
	e->retry.fire = erase_retry;
}

void erase_deinit(struct log *l)
{
	struct erase *e = erase_of(l);
	io_timer_stop(l->io, &e->begin);
	io_timer_stop(l->io, &e->retry);
}
