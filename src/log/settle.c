/* SPDX-License-Identifier: Apache-2.0 */
/* settle — the loop's half of a settle round (docs/STORAGE.md#settle): full slots become segments, so that they can be written again.
 *
 *   idle ──> ask: group by group, in slices of a turn: which entries are dead; then the state is captured
 *        ──> sync: what was captured must be durable here (S13)
 *        ──> work: round.c, on the settle worker
 *        ──> record: entries that are not applied move to the head of the journal (S12), SETTLED behind them
 *        ──> idle: when that is durable, the slots of the round *before* are free (S13)
 *
 * A round that fails for lack of space is given up, whatever it wrote is written over, and another is tried later (S16). */
#include "round.h"

enum { RETRY_MS = 500, TURNS_MAX = 4 };

static struct settle *settle_of(struct log *l) { return &l->settle; }

/* ---- which uses can be settled, and how much at once ---- */

static bool has_installed(const struct log *l)
{
	for (uint32_t i = 0; i < l->groups_count; i++)
		if (l->groups[i]->is_installed) return true;
	return false;
}

/* A round without entries still frees what the round before settled. */
static bool has_uses_to_free(const struct log *l)
{
	const struct journal *j = &l->journal;
	return j->use >= 3 && u64_min(l->settle.held_use, j->use - 2) >= j->oldest_use;
}

/* More than half of what clients may fill is in use. */
static bool is_short_of_slots(const struct log *l)
{
	const struct journal *j = &l->journal;
	if (journal_free_slots(l) <= 1) return true;
	return !journal_has_room(l, l->floating_bytes + (j->slot_count - 2) * j->slot_bytes / 2, 1);
}

/* A ring full of entries that nobody applies is not turned for ever. But it is not left in a place where a vote finds no room either: nobody
 * would turn it on. */
static bool turns_in_vain(const struct log *l)
{
	unsigned rounds = l->settle.moves_in_row, count = l->journal.slot_count;
	if (rounds < count) return false;
	return rounds >= TURNS_MAX * count || log_admit(l, LOG_ADMIT_RESERVED, 2 * (uint64_t)BLOCK_ALIGN) == OK;
}

/* Up to which use a round settles now. Slots in which little floats go at once; one in which much does goes when the ring is short of slots
 * and none waits to be freed. held_use: none. */
static uint64_t round_use(const struct log *l)
{
	uint64_t held = l->settle.held_use, full = settle_full_use(l), use = held, bytes = 0;
	if (full > held && l->settle.is_wanted && floats_fit_well(l, full)) return full;
	for (uint64_t u = held + 1; u <= full; u++) {
		bytes += journal_slot(l, u)->floating_bytes;
		if (bytes <= (u - held) * (l->journal.slot_bytes / 4) && floats_fit(l, u, 0, 0)) use = u;
	}
	if (use > held || full <= held || has_uses_to_free(l) || !is_short_of_slots(l)) return use;
	if (turns_in_vain(l)) return held;
	return floats_are_worth_moving(l, full) && floats_fit(l, held + 1, 0, 0) ? held + 1 : held;
}

static bool is_wanted_now(struct log *l)
{
	struct settle *t = settle_of(l);
	if (!t->is_wanted) return false;
	if (t->wanted_number == 0) {
		(void)journal_rotate(l);
		t->wanted_number = journal_last_number(l);
	}
	return l->journal.durable_number >= t->wanted_number;
}

static bool is_due(struct log *l)
{
	if (l->is_closing) return is_wanted_now(l) || !list_is_empty(&l->installs);
	bool is_wanted = is_wanted_now(l); /* may rotate */
	if (is_wanted || round_use(l) > l->settle.held_use || has_installed(l)) return true;
	bool frees = is_short_of_slots(l) && has_uses_to_free(l) && floats_fit(l, l->settle.held_use, 0, 0);
	return frees || rewrite_is_ready(l, NULL);
}

static uint64_t group_state_index(const struct log_group *g) { return g->ops ? g->applied_index : g->state_index; }

/* ---- begin ---- */

static void round_begin(struct log *l, uint64_t use)
{
	struct settle *t = settle_of(l);
	ASSERT(t->phase == ROUND_IDLE && !t->round);
	struct round *r = NEW(struct round);
	r->log = l;
	r->number = t->round_next;
	r->begun_ns = io_now_ns(l->io);
	r->use = use;
	list_init(&r->reqs);
	if (t->is_wanted) {
		list_splice_back(&r->reqs, &t->wanted_by);
		t->is_wanted = false;
		t->wanted_number = 0;
	}
	t->round = r;
	t->phase = ROUND_ASK;
	r->moves_bytes = floats_bytes(l, use);
	if (r->moves_bytes) t->moves_in_row++;
	diag_trace(l->diag, "log round", r->number, r->use, t->held_use);
}

/* ---- asking ---- */

static struct round_group *round_add(struct round *r, struct log_group *g)
{
	struct round_group *rg = NEW(struct round_group);
	rg->g = g;
	rg->id = g->id;
	rg->is_notified = true;
	group_place(g, &rg->place);
	if (r->count == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 16;
		r->groups = mem_realloc(r->groups, r->cap * sizeof(struct round_group *));
	}
	r->groups[r->count++] = rg;
	return rg;
}

/* The last index that settles: everything up to there does, wherever it lies. */
static uint64_t group_settle_to(const struct round *r, const struct log_group *g)
{
	uint64_t most = u64_min(group_state_index(g), g->last_index), to = g->settled_index;
	if (log_fault(g->log, FAULT_bug_s12_settle_uncommitted)) most = g->last_index;
	for (uint64_t i = most; i > g->settled_index; i--) {
		const struct log_ref *ref = refs_at(&g->refs, i);
		if (ref->use && ref->use <= r->use) {
			to = i;
			break;
		}
	}
	return to;
}

static bool refs_lie_in(const struct log_refs *refs, uint64_t from, uint64_t use)
{
	for (uint64_t i = u64_max(from, refs->first); i - refs->first < refs->count; i++) {
		const struct log_ref *ref = refs_at(refs, i);
		if (ref->use && ref->use <= use) return true;
	}
	return false;
}

static bool group_has_trim(const struct log_group *g)
{
	return g->segments.count && g->segments.rows[0].last_index < g->trim_index;
}

static bool group_is_touched(const struct round *r, const struct log_group *g, uint64_t settle_to)
{
	if (!g->is_stored || g->is_installed || group_has_trim(g) || settle_to > g->settled_index) return true;
	if (rewrite_is_ready(r->log, g)) return true;
	return refs_lie_in(&g->refs, g->settled_index + 1, r->use) || refs_lie_in(&g->stranded, 0, r->use);
}

static void float_refs(const struct round *r, struct round_group *rg, const struct log_refs *refs, uint64_t from)
{
	for (uint64_t i = u64_max(from, refs->first); i - refs->first < refs->count; i++) {
		const struct log_ref *ref = refs_at(refs, i);
		if (ref->use && ref->use <= r->use) fetch_items_push(&rg->floats, i, ref);
	}
}

void settle_meta(const struct log_group *g, struct group_meta *out)
{
	*out = (struct group_meta) {
		.generation = g->generation,
		.state_index = g->state_index,
		.state_term = g->state_term,
		.conf_index = g->conf_index,
		.contiguous_from = g->contiguous_from,
		.settled_index = g->settled_index,
		.settled_seq = g->settled_seq,
	};
	buf_append_slice(&out->conf, buf_slice(&g->conf));
	runs_copy(&out->runs, &g->runs);
	runs_truncate(&out->runs, g->settled_index + 1);
	segment_list_copy(&out->segments, &g->segments);
}

/* Segments wholly below what the owner still wants. */
static void group_trim(struct round_group *rg, const struct log_group *g)
{
	struct segment_list *all = &rg->meta.segments, kept = { 0 };
	for (uint32_t i = 0; i < all->count; i++) {
		const struct segment_info *s = &all->rows[i];
		segment_list_push(s->last_index < g->trim_index ? &rg->dropped : &kept, s);
	}
	segment_list_deinit(all);
	*all = kept;
}

/* Everything of the group has been asked: from here on the round has copies of it. */
static void group_capture(struct round *r, struct round_group *rg, uint64_t settle_to)
{
	struct log_group *g = rg->g;
	settle_meta(g, &rg->meta);
	rg->is_doubted = group_is_in_doubt(g);
	if (settle_to > g->settled_index) {
		rg->meta.settled_seq = refs_at(&g->refs, settle_to)->seq_last;
		runs_deinit(&rg->meta.runs);
		runs_copy(&rg->meta.runs, &g->runs);
		runs_truncate(&rg->meta.runs, settle_to + 1);
		rg->meta.settled_index = settle_to;
	}
	rg->meta.contiguous_from = u64_max(rg->meta.contiguous_from, rg->hole_to);
	group_trim(rg, g);
	rg->rewrite = rewrite_take(r->log, g);
	/* What the rewrite leaves out are holes too. */
	if (rg->rewrite) rg->meta.contiguous_from = u64_max(rg->meta.contiguous_from, rewrite_hole_to(rg->rewrite));
	uint64_t first = settle_to + 1;
	if (rg->meta.segments.count)
		first = rg->meta.segments.rows[0].first_index;
	else if (rg->copies.count)
		first = rg->copies.p[0].index; /* this round makes the first segment */
	runs_trim(&rg->meta.runs, first ? first - 1 : 0);
	rg->needs_dir = rg->meta.segments.count == 0;
	if (g->is_installed) {
		rg->is_installed = true;
		rg->state_bytes = g->installed_state_bytes;
		rg->state_crc = g->installed_state_crc;
		return;
	}
	float_refs(r, rg, &g->refs, settle_to + 1);
	float_refs(r, rg, &g->stranded, 0);
	if (!g->ops) return;
	if (g->ops->capture) g->ops->capture(g->owner, &rg->batch);
	rg->meta.state_index = g->applied_index;
	rg->meta.state_term = g->applied_term;
	if (g->applied_conf.n) {
		buf_clear(&rg->meta.conf);
		buf_append_slice(&rg->meta.conf, buf_slice(&g->applied_conf));
		rg->meta.conf_index = g->applied_conf_index;
	}
}

static bool entry_is_dead(const struct log_group *g, uint64_t index)
{
	const struct log_ref *ref = refs_at(&g->refs, index);
	if (ref->kind != ENTRY_COMMAND || !g->ops || !g->ops->entry_is_dead || index > g->applied_index) return false;
	struct entry_head h = {
		.kind = ref->kind,
		.group = g->id,
		.index = index,
		.term = log_term_at(g, index),
		.seq_last = ref->seq_last,
		.record_count = ref->records,
		.body_bytes = ref->body_bytes,
	};
	return g->ops->entry_is_dead(g->owner, &h, group_seq_at(g, index - 1));
}

/* True when the group is done with; false when the slice of this turn is used up. */
static bool group_ask(struct round *r, struct round_group *rg, uint64_t settle_to, uint64_t *budget)
{
	struct log_group *g = rg->g;
	for (; r->cursor_index <= settle_to; r->cursor_index++) {
		if (*budget == 0) return false;
		(*budget)--;
		const struct log_ref *ref = refs_at(&g->refs, r->cursor_index);
		if (ref->use && !entry_is_dead(g, r->cursor_index)) {
			fetch_items_push(&rg->copies, r->cursor_index, ref);
			uint32_t before = rg->erase.count;
			seq_set_ask(&rg->erase, g, group_seq_at(g, r->cursor_index - 1), ref->seq_last);
			/* S15: what is erased cannot be sent to whoever has yet to apply it. */
			if (rg->erase.count > before) rg->hole_to = r->cursor_index + 1;
			continue;
		}
		if (ref->use) r->dead_count++;
		if (!log_fault(g->log, FAULT_bug_s14_holes_forgotten)) rg->hole_to = r->cursor_index + 1;
	}
	group_capture(r, rg, settle_to);
	return true;
}

/* Goes on from where the last slice ended. True when all groups were asked. */
static bool round_ask(struct round *r)
{
	uint64_t budget = r->log->options.ask_max;
	for (;;) {
		if (!r->asking) {
			struct log_group *g = log_group_after(r->log, r->cursor_id);
			if (!g) return true;
			if (budget == 0) return false;
			budget--;
			uint64_t to = g->is_installed ? g->settled_index : group_settle_to(r, g);
			if (!group_is_touched(r, g, to)) {
				r->cursor_id = g->id;
				continue;
			}
			r->asking = round_add(r, g);
			r->asking_to = to;
			r->cursor_index = g->settled_index + 1;
		}
		uint64_t id = r->asking->id;
		if (!group_ask(r, r->asking, r->asking_to, &budget)) return false;
		r->asking = NULL;
		r->cursor_id = id;
	}
}

/* The group in whose middle the last slice ended is asked anew, or not at all. */
static void round_unask(struct round *r, const struct log_group *g)
{
	if (!r->asking || r->asking->g != g) return;
	ASSERT(r->count > 0 && r->groups[r->count - 1] == r->asking);
	round_group_free(r->groups[--r->count]);
	r->asking = NULL;
}

static struct round_group *round_find(const struct round *r, const struct log_group *g)
{
	for (uint32_t i = 0; i < r->count; i++)
		if (r->groups[i]->g == g) return r->groups[i];
	return NULL;
}

void settle_forget_group(struct log *l, struct log_group *g)
{
	struct round *r = l->settle.round;
	rewrite_forget_group(l, g);
	if (!r) return;
	if (l->settle.phase == ROUND_ASK) round_unask(r, g);
	struct round_group *rg = round_find(r, g);
	if (rg) rg->g = NULL;
}

void settle_forget_owner(struct log *l, struct log_group *g)
{
	struct round *r = l->settle.round;
	rewrite_forget_group(l, g);
	if (!r) return;
	if (l->settle.phase == ROUND_ASK) round_unask(r, g);
	struct round_group *rg = round_find(r, g);
	if (rg) rg->is_notified = false;
}

/* ---- work ---- */

static void round_done(struct io_job *job);

/* Groups that went meanwhile, or got another generation, have nothing to settle. */
static void round_prune(struct round *r)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < r->count; i++) {
		struct round_group *rg = r->groups[i];
		if (rg->g && rg->g->generation == rg->place.generation && rg->is_installed == rg->g->is_installed)
			r->groups[kept++] = rg;
		else
			round_group_free(rg);
	}
	r->count = kept;
}

static void round_take_drops(struct round *r)
{
	struct log *l = r->log;
	LIST_EACH (node, &l->settle.graves) {
		struct grave *v = CONTAINER_OF(node, struct grave, link);
		if (!v->needs_drop || l->journal.durable_number < v->after_block) continue;
		v->dropped_in = r->number;
		r->drops = mem_realloc(r->drops, (r->drops_count + 1) * sizeof *r->drops);
		r->drops[r->drops_count++] = v->group;
	}
}

static void round_work(struct log *l)
{
	struct settle *t = settle_of(l);
	struct round *r = t->round;
	round_prune(r);
	round_take_drops(r);
	r->slot_count = l->journal.slot_count;
	r->files = fetch_files(l);
	struct buf groups_dir = { 0 };
	buf_printf(&groups_dir, "%s/groups", l->options.dir);
	r->groups_dir = mem_strdup(buf_str(&groups_dir));
	buf_deinit(&groups_dir);
	r->state_ops = l->options.state;
	r->state = l->state;
	r->segment_bytes_max = l->options.segment_bytes_max;
	r->job = (struct io_job) { .run = round_run, .done = round_done };
	t->phase = ROUND_WORK;
	log_job(l, IO_LANE_SETTLE, &r->job);
}

/* ---- after the work ---- */

static void settle_retry(struct io_timer *timer)
{
	struct settle *t = CONTAINER_OF(timer, struct settle, retry);
	settle_step(CONTAINER_OF(t, struct log, settle));
}

/* A log that closes does not wait for space. */
static void settle_give_up_wants(struct log *l)
{
	struct settle *t = settle_of(l);
	install_give_up(l);
	t->is_wanted = false;
	while (!list_is_empty(&t->wanted_by)) {
		struct log_req *req = CONTAINER_OF(list_pop_front(&t->wanted_by), struct log_req, link);
		req->done(req);
	}
}

/* Nothing of it counts; another one is tried later. */
static void round_undo(struct log *l, struct round *r)
{
	struct settle *t = settle_of(l);
	diag_count(l->diag, COUNTER_log_rounds_failed);
	if (!list_is_empty(&r->reqs)) {
		list_splice_back(&t->wanted_by, &r->reqs);
		t->is_wanted = true;
		t->wanted_number = journal_last_number(l);
	}
	if (l->is_closing) settle_give_up_wants(l);
	LIST_EACH (node, &t->graves) CONTAINER_OF(node, struct grave, link)->dropped_in = 0;
	round_free(r);
	t->round = NULL;
	t->phase = ROUND_IDLE;
	io_timer_start(l->io, &t->retry, MILLIS(RETRY_MS));
}

static void round_give_up(struct log *l, struct round *r)
{
	bool is_space = r->result == ERR_NO_SPACE || r->result == ERR_FILES || r->result == ERR_NO_MEMORY;
	/* S17: after a failed sync nothing that was written may be believed; what else failed cannot be told from it. */
	if (!is_space || log_fault(l, FAULT_bug_s16_no_space_fatal)) {
		log_die(l, "settle: round %llu could not %s: %s", (unsigned long long)r->number,
			r->is_state_failure ? "commit the state" : "write segments", err_text(r->result));
		return;
	}
	diag_line(l->diag, DIAG_WARN, "log settle round %llu given up, tried again soon: %s",
		(unsigned long long)r->number, err_text(r->result));
	round_undo(l, r);
}

/* S7: entries that cannot be copied any more. The doubt is recorded first, and the next round, which leaves them out, begins when it is durable;
 * or a crash between its state and the record of the doubt would lose them silently. */
static void round_doubt(struct log *l, struct round *r)
{
	for (uint32_t i = 0; i < r->count && !l->is_dead; i++) {
		struct round_group *rg = r->groups[i];
		if (!rg->bad.from || !rg->g || rg->g->generation != rg->place.generation) continue;
		if (rg->bad.from <= rg->g->last_index) group_damaged(rg->g, rg->bad, "damaged in the journal");
	}
	if (!l->is_dead) round_undo(l, r);
}

static void group_take_meta(struct log_group *g, struct group_meta *m)
{
	g->is_stored = true;
	g->state_index = m->state_index;
	g->state_term = m->state_term;
	g->conf_index = m->conf_index;
	g->contiguous_from = u64_max(g->contiguous_from, m->contiguous_from);
	g->settled_seq = m->settled_seq;
	g->settled_index = m->settled_index;
	struct buf conf = g->conf;
	g->conf = m->conf;
	m->conf = conf;
}

/* What is settled is read from the segments from now on. */
static void group_settled(struct round *r, struct round_group *rg)
{
	struct log_group *g = rg->g;
	struct log *l = r->log;
	ASSERT(rg->meta.settled_index >= g->settled_index && rg->meta.settled_index <= g->last_index);
	for (uint64_t i = g->settled_index + 1; i <= rg->meta.settled_index; i++) {
		uint64_t bytes = ref_bytes(refs_at(&g->refs, i));
		g->refs_bytes -= bytes;
		l->refs_bytes -= bytes;
	}
	refs_drop_front(&g->refs, rg->meta.settled_index);
	group_take_meta(g, &rg->meta);
	segment_list_deinit(&g->segments);
	g->segments = rg->list;
	rg->list = (struct segment_list) { 0 };
	uint64_t first = group_first_index(g);
	runs_trim(&g->runs, first ? first - 1 : 0);
	for (uint32_t i = 0; i < rg->dropped.count; i++) settle_bury_segment(l, g, &rg->dropped.rows[i], r->number);
	if (rg->rewrite && rg->rewrite->result == OK) {
		settle_bury_segment(l, g, &rg->rewrite->segment, r->number);
		diag_count(l->diag, COUNTER_log_segments_rewritten);
	}
	if (rg->rewrite) rewrite_outcome(l, rg->rewrite);
	if (rg->rewrite && rg->rewrite->bad.from) group_damaged(g, rg->rewrite->bad, "damaged in a segment");
	g->epoch++;
	diag_add(l->diag, COUNTER_log_entries_settled, rg->settled_count);
	if (rg->bad.from) group_damaged(g, rg->bad, "damaged in the journal");
	if (rg->is_state_bad) group_lost_state(g);
	ASSERT(g->refs.first == g->settled_index + 1 && g->refs.first + g->refs.count == g->last_index + 1);
}

static struct log_ref *float_ref(struct log_group *g, uint64_t index)
{
	if (index > g->settled_index && index <= g->last_index) return refs_at(&g->refs, index);
	bool is_stranded = index >= g->stranded.first && index - g->stranded.first < g->stranded.count;
	return is_stranded ? refs_at(&g->stranded, index) : NULL;
}

/* The entry is not in the journal any more, and was not readable when its slot went. */
static void float_lost(struct log_group *g, struct log_ref *ref, uint64_t index)
{
	bool is_stranded = index > g->last_index;
	if (group_floats(g, index)) group_sink(g, ref);
	if (is_stranded) {
		g->stranded_bytes -= ref_frame_bytes(ref);
	} else {
		g->refs_bytes -= ref_bytes(ref);
		g->log->refs_bytes -= ref_bytes(ref);
	}
	ref->use = 0;
}

/* S12: what could not settle goes to the head of the journal, unless it has been truncated meanwhile. */
static void group_move(struct round *r, struct round_group *rg)
{
	struct slice in = buf_slice(&rg->moved), body;
	for (uint32_t i = 0; i < rg->floats.count && !r->log->is_dead; i++) {
		const struct fetch_item *item = &rg->floats.p[i];
		struct log_ref *ref = float_ref(rg->g, item->index);
		struct entry_head h = { 0 };
		struct slice entry = in, rest = in;
		bool is_there = entry_next(&rest, &h, &body) == OK && h.index == item->index;
		if (is_there) {
			in = rest;
			entry = slice_first(entry, entry_bytes(h.body_bytes));
		}
		if (!ref || ref->use != item->use || ref->at8 != item->at8) continue;
		if (!is_there) {
			float_lost(rg->g, ref, item->index);
			continue;
		}
		bool floats = group_floats(rg->g, item->index);
		if (floats) group_sink(rg->g, ref);
		*ref = journal_move(r->log, rg->g, &h, entry);
		if (floats) group_float(rg->g, ref);
		diag_count(r->log->diag, COUNTER_log_entries_moved);
	}
	ASSERT(in.n == 0 || r->log->is_dead);
	rg->g->epoch++;
}

static void settle_recorded(struct log_req *req);

void settle_record(struct log *l, const struct settled *s)
{
	uint8_t body[SETTLED_BYTES];
	settled_encode(s, body);
	struct entry_head h = { .kind = ENTRY_SETTLED };
	(void)journal_add(l, NULL, &h, slice_of(body, sizeof body));
	l->settle.recorded = *s;
	l->settle.is_recorded_durable = false;
}

static void round_record(struct log *l, struct round *r)
{
	struct settle *t = settle_of(l);
	for (uint32_t i = 0; i < r->count && !l->is_dead; i++) {
		struct round_group *rg = r->groups[i];
		/* S19: the results of a settle of an older generation are void. */
		if (rg->g && rg->g->generation != rg->place.generation) rg->g = NULL;
		if (!rg->g) continue;
		group_settled(r, rg);
		if (rg->is_installed) {
			rg->g->is_installed = false;
			settle_bury_state(l, rg->g, r->number);
		}
		group_move(r, rg);
	}
	if (l->is_dead) return;
	struct settled next = {
		.round = r->number,
		.sum = r->head.sum,
		.round_before = t->held_round,
		.sum_before = t->held_sum,
		.use = r->use,
		.use_before = log_fault(l, FAULT_bug_s13_free_early) ? r->use : t->held_use,
	};
	settle_record(l, &next);
	t->held_round = r->number;
	t->held_sum = r->head.sum;
	t->held_use = r->use;
	t->round_next = r->number + 1;
	t->phase = ROUND_RECORD;
	r->recorded.done = settle_recorded;
	journal_wait(l, &r->recorded);
	journal_submit(l);
}

static void round_done(struct io_job *job)
{
	struct round *r = CONTAINER_OF(job, struct round, job);
	struct log *l = r->log;
	if (!l->is_dead) {
		ASSERT(l->settle.phase == ROUND_WORK && l->settle.round == r);
		if (r->result != OK)
			round_give_up(l, r);
		else if (r->has_found_damage)
			round_doubt(l, r);
		else
			round_record(l, r);
	}
	log_job_done(l);
}

static void round_bury(struct log *l, const struct round *r)
{
	LIST_EACH_SAFE (node, &l->settle.graves) {
		struct grave *v = CONTAINER_OF(node, struct grave, link);
		if (!v->needs_drop || v->dropped_in != r->number) continue;
		v->needs_drop = false;
		if (v->needs_unlink) continue;
		list_remove(&v->link);
		mem_free(v);
	}
}

/* SETTLED is durable. */
static void settle_recorded(struct log_req *req)
{
	struct round *r = CONTAINER_OF(req, struct round, recorded);
	struct log *l = r->log;
	struct settle *t = settle_of(l);
	ASSERT(t->phase == ROUND_RECORD && t->round == r && t->recorded.round == r->number);
	t->is_recorded_durable = true;
	if (t->frees_wanted) t->frees_wanted--;
	t->has_strays = false;
	journal_free_to(l, t->recorded.use_before);
	round_bury(l, r);
	diag_count(l->diag, COUNTER_log_rounds);
	diag_add(l->diag, COUNTER_log_entries_dead, r->dead_count);
	diag_measure(l->diag, HISTOGRAM_log_round, io_now_ns(l->io) - r->begun_ns);
	t->round = NULL;
	t->phase = ROUND_IDLE;
	for (uint32_t i = 0; i < r->count; i++) {
		/* A callback may make a group go: it is looked up anew each time. */
		struct log_group *g = r->groups[i]->g ? log_group_find(l, r->groups[i]->id) : NULL;
		if (!g || g->generation != r->groups[i]->place.generation) continue;
		if (r->groups[i]->is_installed)
			install_settled(g, r->groups[i]->is_state_bad ? ERR_CORRUPT : OK);
		else if (g->ops && g->ops->settled && r->groups[i]->is_notified)
			g->ops->settled(g->owner, r->groups[i]->meta.state_index);
	}
	for (struct list *node; (node = list_pop_front(&r->reqs)) != NULL;) {
		struct log_req *waiting = CONTAINER_OF(node, struct log_req, link);
		waiting->done(waiting);
	}
	rewrite_look(l, r);
	round_free(r);
	settle_step(l);
}

/* ---- steps ---- */

static void settle_slice(struct io_timer *timer)
{
	struct settle *t = CONTAINER_OF(timer, struct settle, step);
	settle_step(CONTAINER_OF(t, struct log, settle));
}

/* Files that nobody needs any more go with the round after the one that drops them (S13). While clients are refused for want of room nothing
 * fills a slot, so nothing else would begin either (S16). */
static void want_frees(struct log *l)
{
	struct settle *t = settle_of(l);
	bool is_needed = t->has_strays || (t->frees_wanted && space_is_low(l));
	if (is_needed && !t->is_wanted && !l->is_closing) log_settle_now(l, NULL);
}

void settle_trimmed(struct log *l)
{
	struct settle *t = settle_of(l);
	t->frees_wanted = t->round ? 3 : 2; /* the one under way may not have seen it */
}

static void step_idle(struct log *l)
{
	struct settle *t = settle_of(l);
	if (!io_timer_is_armed(&t->retry)) want_frees(l);
	if (!io_timer_is_armed(&t->retry) && is_due(l)) round_begin(l, round_use(l));
}

static void step_ask(struct log *l)
{
	struct settle *t = settle_of(l);
	if (!round_ask(t->round)) {
		io_timer_start(l->io, &t->step, 0);
		return;
	}
	t->round->sync_number = log_fault(l, FAULT_bug_s13_state_ahead) ? 0 : journal_last_number(l);
	t->phase = ROUND_SYNC;
}

void settle_step(struct log *l)
{
	struct settle *t = settle_of(l);
	if (l->is_dead) return;
	if (t->phase == ROUND_IDLE) step_idle(l);
	if (t->phase == ROUND_ASK) step_ask(l);
	if (t->phase == ROUND_SYNC) {
		/* Whoever fell behind a full slot does not wait for the end of a turn. */
		if (l->journal.durable_number < t->round->sync_number)
			journal_submit(l);
		else
			round_work(l);
	}
	rewrite_step(l);
	grave_step(l);
	erase_step(l);
}

void log_settle_now(struct log *l, struct log_req *req)
{
	struct settle *t = settle_of(l);
	ASSERT(!l->is_closing);
	if (l->is_dead) return;
	t->is_wanted = true;
	if (req && req->done) list_push_back(&t->wanted_by, &req->link);
}

bool settle_is_busy(const struct log *l)
{
	const struct settle *t = &l->settle;
	return t->phase != ROUND_IDLE || t->is_wanted || t->grave_job;
}

void settle_init(struct log *l)
{
	struct settle *t = settle_of(l);
	list_init(&t->wanted_by);
	list_init(&t->graves);
	t->step.fire = settle_slice;
	t->retry.fire = settle_retry;
	t->round_next = 1;
	erase_init(l);
}

void settle_deinit(struct log *l)
{
	struct settle *t = settle_of(l);
	io_timer_stop(l->io, &t->step);
	io_timer_stop(l->io, &t->retry);
	round_free(t->round);
	t->round = NULL;
	rewrite_deinit(l);
	grave_deinit(l);
	erase_deinit(l);
}
