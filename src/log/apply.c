/* SPDX-License-Identifier: Apache-2.0 */
/* apply — what the entries of the journal mean for the groups, while starting; and who is in doubt (S7).
 *
 * A group begins with what the state store holds of it; a table or MAKE makes it known; entries become refs, but for those that are
 * settled already. Damage that touches a group raises two questions: is there a vote that we do not know (DOUBT_VOTE), are there entries
 * that we lack or that we have and should not (DOUBT_ENTRIES)? A later vote or table answers the first. The second is answered by
 * the next thing that names index *and* term of the entry before it and finds that very entry here: by raft's log matching, everything
 * up to there is then as it was. Not so behind an entry that did not continue what was here before it (breaks_at).
 *
 * During replay last_index and last_term follow the journal, also below settled_index, where no refs are kept. An entry that should be there
 * and was not seen (yet: it may have been moved) is a ref without a use. */
#include <stdio.h>

#include "replay.h"

/* ---- doubt ---- */

static void group_doubt_quietly(struct log_group *g, unsigned why, const char *what)
{
	if (!g->doubt_why) g->doubt_why = mem_strdup(what);
	if (!g->doubt || g->doubt_from > g->last_index + 1) g->doubt_from = g->last_index + 1;
	g->doubt |= why;
	if (!(why & DOUBT_ENTRIES)) return;
	g->finds_more = true;
	g->claimed = 0;
	g->is_end_unsure = true;
	/* What was known to be committed cannot have been replaced. */
	uint64_t from = u64_min(g->commit_index, g->last_index) + 1;
	g->unsure.from = g->unsure.to ? u64_min(g->unsure.from, from) : from;
	g->unsure.to = u64_max(g->unsure.to, g->last_index);
}

static void group_clear(struct log_group *g, unsigned what)
{
	g->doubt &= ~what;
	if (what & DOUBT_ENTRIES) g->unsure = g->untold = (struct segment_range) { 0 };
	if (what & DOUBT_ENTRIES) g->finds_more = false;
	if (g->doubt) return;
	mem_free(g->doubt_why);
	g->doubt_why = NULL;
	g->doubt_from = 0;
}

void replay_doubt(struct replay *r, uint64_t id, const char *what)
{
	if (log_fault(r->log, FAULT_bug_s7_no_doubt)) return;
	if (id == 0) {
		r->store_is_touched = true;
		return;
	}
	struct log_group *g = log_group_find(r->log, id);
	/* One that is not known yet was made by what is lost, or will be known by a table. */
	if (!g) {
		g = group_new(r->log, id);
		group_insert(r->log, g);
	}
	group_doubt_quietly(g, DOUBT_VOTE | DOUBT_ENTRIES, what);
}

void replay_doubt_all(struct replay *r, const char *what)
{
	if (log_fault(r->log, FAULT_bug_s7_no_doubt)) return;
	r->store_is_touched = true;
	r->all_are_doubted = r->lacks_groups = true;
	for (uint32_t i = 0; i < r->log->groups_count; i++)
		group_doubt_quietly(r->log->groups[i], DOUBT_VOTE | DOUBT_ENTRIES, what);
}

/* A doubt that is recorded ends with its own record, not with what the replica that is in doubt writes of itself: a table says how its log
 * ends, and may itself be what is left of it. */
static void note_told(struct log_group *g, uint64_t from)
{
	from = u64_max(from, 1);
	g->told_doubt = g->told_doubt ? u64_min(g->told_doubt, from) : from;
}

/* ---- the group's log ---- */

/* Index and term of what must stand before the next thing are known here, and are these. */
static bool continues(const struct log_group *g, uint64_t before, uint32_t term)
{
	if (before == 0) return term == 0;
	uint64_t have = before == g->last_index ? g->last_term : runs_term(&g->runs, before);
	if (before == g->state_index && !have) have = g->state_term;
	return have && (uint32_t)have == term;
}

static uint64_t breaks_first(const struct log_group *g)
{
	return g->breaks_at && g->breaks_more ? u64_min(g->breaks_at, g->breaks_more) : g->breaks_at | g->breaks_more;
}

static bool is_here(const struct log_group *g, uint64_t index)
{
	return index <= g->settled_index || refs_at(&g->refs, index)->use;
}

/* Index and term of this entry are what they were: so is all before it, if the entry is here and nothing before it is broken. */
static void prove(struct log_group *g, uint64_t index)
{
	bool is_broken = breaks_first(g) && index >= breaks_first(g);
	if (is_here(g, index) && !is_broken) {
		group_clear(g, DOUBT_ENTRIES);
		/* What is settled may be damaged for all that. */
		if (g->told_doubt > g->settled_index) g->told_doubt = 0;
	} else if (g->doubt & DOUBT_ENTRIES) {
		g->claimed = index;
	}
}

static void finish_claim(struct log_group *g)
{
	if (!(g->doubt & DOUBT_ENTRIES) || !g->claimed || breaks_first(g)) return;
	for (uint64_t i = g->refs.first; i <= g->claimed; i++)
		if (!is_here(g, i)) return;
	group_clear(g, DOUBT_ENTRIES);
}

static void break_at(struct log_group *g, const struct entry_head *h)
{
	uint64_t more = h->index;
	if (!g->breaks_at || h->index < g->breaks_at) {
		more = g->breaks_at;
		g->breaks_at = h->index;
		g->breaks_term = h->prev_term;
	}
	if (more && more != g->breaks_at && (!g->breaks_more || more < g->breaks_more)) g->breaks_more = more;
}

static void cut_to(struct log_group *g, uint64_t last)
{
	if (last >= g->last_index) return;
	if (last < g->breaks_at) g->breaks_at = 0;
	if (last < g->breaks_more) g->breaks_more = 0;
	g->unsure.to = u64_min(g->unsure.to, last);
	g->untold.to = u64_min(g->untold.to, last);
	g->claimed = u64_min(g->claimed, last);
	if (last >= g->settled_index) {
		refs_truncate(&g->refs, last + 1);
		runs_truncate(&g->runs, last + 1);
		g->last_term = runs_term(&g->runs, last);
	} else {
		refs_truncate(&g->refs, g->refs.first);
		runs_truncate(&g->runs, g->settled_index + 1);
		g->last_term = runs_term(&g->runs, last);
	}
	g->last_index = last;
}

/* The log is known to have reached `last`; what was not seen of it is missing so far. */
static void reach(struct log_group *g, uint64_t last)
{
	for (uint64_t i = u64_max(g->last_index, g->settled_index) + 1; i <= last; i++) (void)refs_push(&g->refs);
	if (last > g->last_index) g->last_index = last;
}

static void apply_moved(struct log_group *g, const struct log_ref *ref, const struct entry_head *h)
{
	if (h->index <= g->settled_index) return;
	if (h->index > g->last_index) {
		reach(g, h->index);
		g->last_term = h->term;
	}
	uint64_t before = h->index - 1;
	if (before > g->settled_index && refs_at(&g->refs, before)->use && !continues(g, before, h->prev_term)) {
		group_doubt_quietly(g, DOUBT_ENTRIES, "an entry does not continue the one before it");
		break_at(g, h);
	}
	*refs_at(&g->refs, h->index) = *ref;
	runs_insert(&g->runs, h->index, h->term);
	g->seq_bound = u64_max(g->seq_bound, h->seq_last);
	if (g->breaks_at == h->index + 1 && g->breaks_term == (uint32_t)h->term) g->breaks_at = 0;
}

static void apply_entry(struct log_group *g, const struct log_ref *ref, const struct entry_head *h, bool proves)
{
	uint64_t before = h->index - 1;
	if (before > g->last_index) {
		reach(g, before);
		group_doubt_quietly(g, DOUBT_ENTRIES, "entries are missing");
		break_at(g, h);
	} else if (!continues(g, before, h->prev_term)) {
		group_doubt_quietly(g, DOUBT_ENTRIES, "an entry does not continue the one before it");
		cut_to(g, before);
		break_at(g, h);
	} else {
		if (g->doubt & DOUBT_ENTRIES && !is_here(g, before)) break_at(g, h);
		if (proves) prove(g, before);
	}
	cut_to(g, before);
	if (h->index > g->settled_index) {
		*refs_push(&g->refs) = *ref;
		runs_insert(&g->runs, h->index, h->term);
	}
	g->last_index = h->index;
	g->last_term = h->term;
	g->last_seq = h->seq_last;
	g->seq_bound = u64_max(g->seq_bound, h->seq_last);
	if (proves) g->is_end_unsure = false; /* whatever was lost before it had lower sequences */
}

/* ---- kinds ---- */

struct applied {
	struct replay *r;
	uint64_t use;
	const struct frame *frame;
	const struct entry_head *h;
	struct slice body;
	bool proves; /* not out of a damaged block */
};

static struct log_group *group_of(const struct applied *a)
{
	struct log_group *g = log_group_find(a->r->log, a->h->group);
	if (!g) {
		g = group_new(a->r->log, a->h->group);
		group_insert(a->r->log, g);
		group_doubt_quietly(g, DOUBT_VOTE | DOUBT_ENTRIES, "the record that made the group is lost");
	}
	g->is_known = true;
	return g;
}

static void apply_replicated(const struct applied *a)
{
	const struct entry_head *h = a->h;
	struct log_group *g = group_of(a);
	struct log_ref ref = {
		.seq_last = h->seq_last,
		.use = (uint32_t)a->use,
		.at8 = (uint32_t)((a->frame->offset + FRAME_HEAD_BYTES) / 8),
		.body_bytes = h->body_bytes,
		.records = (uint16_t)u64_min(h->record_count, UINT16_MAX),
		.kind = h->kind,
	};
	if (h->index == 0) return;
	/* A moved entry says what was known when it was written first; a table or a doubt may have taken that back. */
	if (!a->frame->is_moved) g->commit_index = u64_max(g->commit_index, h->commit);
	if (a->frame->is_moved)
		apply_moved(g, &ref, h);
	else
		apply_entry(g, &ref, h, a->proves);
}

static void take_vote(struct log_group *g, uint64_t term, uint64_t vote)
{
	if (term < g->term) return;
	g->term = term;
	g->vote = vote;
}

static void apply_vote(const struct applied *a)
{
	struct log_group *g = group_of(a);
	take_vote(g, a->h->term, a->h->index);
	if (a->proves) group_clear(g, DOUBT_VOTE);
}

/* The group's log ended with this entry then, wherever that is. True: it is known to be here. */
static bool ends_with(struct log_group *g, uint64_t last, uint64_t term)
{
	reach(g, last);
	cut_to(g, last);
	/* What is settled shows how it ended, not how it was then; what is not there yet shows nothing. */
	bool is_unseen = last > g->settled_index && !refs_at(&g->refs, last)->use;
	bool is_same = continues(g, last, (uint32_t)term), is_other = !is_same && !is_unseen && last > g->settled_index;
	/* Another entry stands there: it was replaced by one that is lost, and must not pass for it. */
	if (is_other) refs_at(&g->refs, last)->use = 0;
	if (is_unseen) runs_insert(&g->runs, last, term);
	if (is_unseen || is_other || last <= g->settled_index) g->last_term = term;
	return is_same;
}

static void apply_trunc(const struct applied *a)
{
	struct log_group *g = group_of(a);
	if (a->h->index == 0) return;
	uint64_t before = a->h->index - 1;
	bool is_same = ends_with(g, before, a->h->term);
	if (a->proves && is_same) prove(g, before);
}

static void apply_make(const struct applied *a)
{
	struct log *l = a->r->log;
	struct log_group *g = log_group_find(l, a->h->group);
	if (!g) {
		g = group_new(l, a->h->group);
		group_insert(l, g);
	}
	g->is_known = g->is_made = true;
	if (g->is_stored) return;
	buf_clear(&g->conf);
	buf_append_slice(&g->conf, a->body);
}

static void apply_gone(const struct applied *a)
{
	struct log *l = a->r->log;
	struct log_group *g = log_group_find(l, a->h->group);
	settle_bury(l, a->h->group, 0, 0);
	if (!g) return;
	group_remove(l, g);
	group_free(g);
}

/* S19: what the group had before is void. If the state store holds this generation already, its segments and state are there. */
static void apply_install(const struct applied *a)
{
	struct log_group *g = group_of(a);
	struct install_body b;
	if (install_body_decode(a->body, &b) != OK) {
		group_doubt_quietly(g, DOUBT_ENTRIES, "the record of an install makes no sense");
		install_body_deinit(&b);
		return;
	}
	bool survives = log_fault(a->r->log, FAULT_bug_s19_suffix_survives);
	if (b.generation > g->generation) {
		if (g->generation) settle_bury(a->r->log, g->id, g->generation, 0);
		g->generation = b.generation;
		g->is_installed = true;
		group_clear(g, DOUBT_STATE); /* it brings one */
		g->installed_state_bytes = b.state_bytes;
		g->installed_state_crc = b.state_crc;
		g->state_index = a->h->index;
		g->state_term = a->h->term;
		buf_clear(&g->conf);
		buf_append_slice(&g->conf, b.conf);
		g->conf_index = b.conf_index;
		g->contiguous_from = b.contiguous_from;
		segment_list_deinit(&g->segments);
		segment_list_copy(&g->segments, &b.segments);
		g->settled_index = a->h->index;
		g->settled_seq = b.seq_last;
		refs_drop_front(&g->refs, g->settled_index);
		if (!survives) refs_truncate(&g->refs, g->refs.first);
		runs_deinit(&g->runs);
		runs_copy(&g->runs, &b.runs);
	} else if (!survives) {
		refs_truncate(&g->refs, g->refs.first);
		runs_truncate(&g->runs, g->settled_index + 1);
	}
	install_body_deinit(&b);
	if (survives && g->last_index > a->h->index) return;
	g->last_index = a->h->index;
	g->last_term = a->h->term;
	g->last_seq = g->settled_seq;
	g->breaks_at = g->breaks_more = 0;
	g->told_doubt = 0;
	if (a->proves) group_clear(g, DOUBT_ENTRIES);
}

static void apply_settled(const struct applied *a)
{
	struct settled s;
	if (settled_decode(a->body, &s) == OK && s.round >= a->r->settled.round) a->r->settled = s;
}

static void apply_doubt_end(const struct applied *a)
{
	if (a->h->group == 0) {
		a->r->lacks_groups = a->r->lacks_recorded = false;
		return;
	}
	struct log_group *g = group_of(a);
	take_vote(g, a->h->term, a->h->index);
	if (!a->proves) return;
	/* It says what log the doubt ended with: what the damage took behind that is not missed any more. */
	ends_with(g, a->h->seq_last, a->h->commit);
	g->breaks_at = g->breaks_more = 0;
	g->told_doubt = 0;
	group_clear(g, DOUBT_VOTE | DOUBT_ENTRIES | DOUBT_RECORDED);
}

/* The start that wrote it judged what was unsure by the state that it found. What lay above that it has gone on with, and stored the state of:
 * that is no other state, and takes no entry away. */
static void settle_unsure(struct log_group *g, uint64_t commit)
{
	struct segment_range was = { g->unsure.from, u64_min(g->unsure.to, commit) };
	bool any = g->unsure.to && was.from <= was.to;
	if (any) g->untold.from = g->untold.to ? u64_min(g->untold.from, was.from) : was.from;
	if (any) g->untold.to = u64_max(g->untold.to, was.to);
	g->unsure = (struct segment_range) { 0 };
}

static void apply_doubt(const struct applied *a)
{
	if (a->h->group == 0) {
		a->r->lacks_groups = a->r->lacks_recorded = true;
		return;
	}
	struct log_group *g = group_of(a);
	char what[200];
	struct segment_range unsure = g->unsure;
	bool finds_more = g->finds_more;
	g->commit_index = u64_min(g->commit_index, a->h->commit);
	(void)snprintf(what, sizeof what, "%.*s", SLICE_FMT(slice_first(a->body, sizeof what - 1)));
	group_doubt_quietly(g, DOUBT_RECORDED | ((unsigned)a->h->term & (DOUBT_VOTE | DOUBT_ENTRIES)), what);
	g->unsure = unsure;
	g->finds_more = finds_more;
	settle_unsure(g, a->h->commit);
	g->doubt_from = u64_min(g->doubt_from, a->h->index);
	if (a->h->term & DOUBT_ENTRIES) note_told(g, a->h->index);
	g->told_to = a->h->term & DOUBT_SETTLED ? g->settled_index : 0;
	g->seq_bound = u64_max(g->seq_bound, a->h->seq_last);
	if (a->h->seq_last) g->is_end_unsure = false; /* who wrote it knew */
}

/* ---- tables ---- */

static void apply_row_log(struct log_group *g, const struct table_row *row, bool proves)
{
	bool was_lost = row->last_index > g->last_index;
	if (was_lost) {
		reach(g, row->last_index);
	} else if (row->last_index < g->last_index && !(row->flags & TABLE_IN_DOUBT)) {
		/* Of a group in doubt a table names the entries before the gap; those behind it are still there. */
		cut_to(g, row->last_index);
	}
	bool is_same =
		row->last_index == g->last_index && (was_lost || g->last_term == row->last_term || !row->last_index);
	if (is_same && row->last_index > g->settled_index) runs_insert(&g->runs, row->last_index, row->last_term);
	/* Another entry stands in the place of the last one: it was replaced by what is lost, and must not pass for it. */
	if (!is_same && row->last_index == g->last_index && row->last_index > g->settled_index)
		refs_at(&g->refs, row->last_index)->use = 0;
	if (row->last_index == g->last_index) {
		g->last_term = row->last_term;
		if (!(row->flags & TABLE_IN_DOUBT)) g->last_seq = row->seq_last;
	}
	/* What was not seen is not proven by it: it may come as moved entries, or be lost. */
	uint64_t told = g->told_doubt;
	if (is_same && proves) prove(g, row->last_index);
	g->told_doubt = told;
	if (!is_same && !(row->flags & TABLE_IN_DOUBT))
		group_doubt_quietly(g, DOUBT_ENTRIES, "its last entry is not that of the table");
}

static void apply_row(const struct applied *a, const struct table_row *row)
{
	struct log *l = a->r->log;
	struct log_group *g = log_group_find(l, row->id);
	bool was_known = g && g->is_known;
	if (!g) {
		g = group_new(l, row->id);
		group_insert(l, g);
		if (a->r->has_base)
			group_doubt_quietly(g, DOUBT_VOTE | DOUBT_ENTRIES, "the record that made the group is lost");
	}
	g->is_known = true;
	take_vote(g, row->term, row->vote);
	g->commit_index = a->proves ? row->commit : u64_max(g->commit_index, row->commit);
	bool has_all = g->is_stored || (g->is_made && row->generation <= g->generation);
	if (!g->is_stored && row->generation > g->generation) g->generation = row->generation;
	if (!has_all && row->settled_index > g->settled_index) {
		/* What was settled is not in the state store that was found: it is lost with it. If MAKE was read the state store is
		 * one round back: then all of it is still in the journal (S13). */
		group_doubt_quietly(g, DOUBT_VOTE | DOUBT_ENTRIES | DOUBT_STATE, "its state is lost");
		g->settled_index = g->last_index = row->settled_index;
		g->settled_seq = g->last_seq = row->seq_last;
		refs_deinit(&g->refs);
		g->refs.first = g->settled_index + 1;
		g->contiguous_from = g->settled_index + 1;
	}
	if (!was_known && g->last_index > row->last_index) {
		/* The state store is ahead of this table: its entries come. */
		g->last_index = row->last_index;
		g->last_term = row->last_term;
	}
	apply_row_log(g, row, a->proves);
	/* A table that does not say so comes behind the end of the doubt, even if that was not read. */
	bool has_ended = !(row->flags & TABLE_IN_DOUBT);
	if (a->proves) group_clear(g, DOUBT_VOTE | (has_ended ? DOUBT_RECORDED : 0));
	if (row->flags & TABLE_IN_DOUBT && !(g->doubt & DOUBT_RECORDED)) {
		group_doubt_quietly(g, DOUBT_RECORDED | DOUBT_VOTE | DOUBT_ENTRIES, "it was in doubt before");
		g->doubt_from = row->doubt_from;
		note_told(g, row->doubt_from);
		g->told_to = 0;
	}
	if (a->proves && has_ended) g->told_doubt = 0;
	g->seq_bound = u64_max(g->seq_bound, row->seq_last);
	if (a->proves) g->is_end_unsure = false;
}

/* Groups that were known and are not in the table went, and their GONE is lost. */
static void apply_absence(const struct applied *a, const struct table_head *t)
{
	struct log *l = a->r->log;
	uint64_t at = 0;
	for (uint32_t i = 0; i < l->groups_count;) {
		struct log_group *g = l->groups[i];
		struct table_row row = { 0 };
		while (at < t->group_count) {
			table_row_decode(a->body, at, &row);
			if (row.id >= g->id) break;
			at++;
		}
		bool is_there = at < t->group_count && row.id == g->id;
		/* The state store may know a group that is made only later in the journal. */
		if (!is_there && !g->is_known && g->is_stored) group_clear(g, DOUBT_VOTE | DOUBT_ENTRIES);
		if (is_there || (!g->is_known && g->is_stored)) {
			i++;
			continue;
		}
		settle_bury(l, g->id, 0, 0);
		group_remove(l, g);
		group_free(g);
	}
}

static void apply_table(const struct applied *a)
{
	struct table_head t;
	if (table_head_decode(a->body, &t) != OK) return;
	for (uint64_t i = 0; i < t.group_count; i++) {
		struct table_row row;
		table_row_decode(a->body, i, &row);
		if (row.id) apply_row(a, &row);
	}
	if (a->proves) apply_absence(a, &t);
	if (t.settled.round >= a->r->settled.round) a->r->settled = t.settled;
	if (!a->proves) return;
	a->r->has_base = true;
	a->r->lacks_groups = a->r->lacks_recorded = (t.flags & TABLE_LACKS_GROUPS) != 0;
}

/* ---- dispatch ---- */

typedef void apply_fn(const struct applied *a);
static apply_fn *const apply_local[ENTRY_KIND_END] = {
	[ENTRY_VOTE] = apply_vote,
	[ENTRY_TRUNC] = apply_trunc,
	[ENTRY_MAKE] = apply_make,
	[ENTRY_GONE] = apply_gone,
	[ENTRY_INSTALL] = apply_install,
	[ENTRY_SETTLED] = apply_settled,
	[ENTRY_TABLE] = apply_table,
	[ENTRY_DOUBT_END] = apply_doubt_end,
	[ENTRY_DOUBT] = apply_doubt,
};
enum { ENTRY_LOCAL_FIRST = ENTRY_VOTE };

void replay_apply(struct replay *r, uint64_t use, const struct frame *f, const struct entry_head *h, struct slice body,
	bool is_salvaged)
{
	struct applied a = { r, use, f, h, body, !is_salvaged };
	if (h->kind && h->kind < ENTRY_LOCAL_FIRST && h->group)
		apply_replicated(&a);
	else if (h->kind < ENTRY_KIND_END && apply_local[h->kind])
		apply_local[h->kind](&a);
	else if (h->group)
		group_doubt_quietly(
			group_of(&a), DOUBT_VOTE | DOUBT_ENTRIES, "a record of a kind that this binary does not know");
}

/* ---- the end ---- */

/* What the state covers was committed: an entry that may be another one than that is as good as missing. Above it stands what may be an old
 * end of the log: raft compares it with the leader's before it counts as committed. */
static void lose(struct log_group *g, struct segment_range unsure)
{
	uint64_t from = u64_max(unsure.from, g->refs.first), to = u64_min(unsure.to, g->state_index);
	for (uint64_t i = from; i <= to && i <= g->last_index; i++) refs_at(&g->refs, i)->use = 0;
}

static uint64_t finish_unsure(struct log_group *g)
{
	if (!(g->doubt & DOUBT_ENTRIES)) return UINT64_MAX;
	if (g->untold.to) lose(g, g->untold);
	if (g->unsure.to == 0) return UINT64_MAX;
	lose(g, g->unsure);
	return g->unsure.from - 1;
}

/* Entries that the state covers need not be here for the log to go on; that they are missing is damage all the same. */
static void finish_gaps(struct log_group *g)
{
	for (uint32_t i = 0; i < g->refs.count; i++) {
		uint64_t index = g->refs.first + i;
		bool is_break = index == breaks_first(g) && index > g->state_index;
		if (refs_at(&g->refs, index)->use && !is_break) continue;
		group_doubt_quietly(g, DOUBT_ENTRIES, "entries are missing");
		g->doubt_from = u64_min(g->doubt_from, index);
		if (index > g->state_index) {
			/* From here on the group's log is only readable, until it is written anew. */
			g->stranded = (struct log_refs) { .first = index };
			for (uint64_t k = index; k < g->refs.first + g->refs.count; k++)
				*refs_push(&g->stranded) = *refs_at(&g->refs, k);
			cut_to(g, index - 1);
			return;
		}
		g->damaged.from = g->damaged.from ? g->damaged.from : index;
		g->damaged.to = index;
		g->contiguous_from = index + 1;
	}
}

/* What was lost last has a bound in the journal's own size: a record takes at least its head. */
static void finish_bound(struct log_group *g, bool is_end_unsure)
{
	const struct journal *j = &g->log->journal;
	if (!(g->doubt & (DOUBT_ENTRIES | DOUBT_STATE))) return;
	g->seq_bound = u64_max(g->seq_bound, u64_max(g->last_seq, g->settled_seq));
	if (is_end_unsure) g->seq_bound += j->slot_count * j->slot_bytes / RECORD_HEAD_BYTES;
}

static void finish_told(struct log_group *g)
{
	if (!g->told_doubt || g->doubt & DOUBT_ENTRIES || log_fault(g->log, FAULT_bug_s7_doubt_forgotten)) return;
	if (!g->doubt_why) g->doubt_why = mem_strdup("it was in doubt before");
	g->doubt_from = g->doubt ? u64_min(g->doubt_from, g->told_doubt) : g->told_doubt;
	g->doubt |= DOUBT_ENTRIES;
}

static void finish_group(struct log_group *g)
{
	struct log *l = g->log;
	bool is_end_unsure = g->is_end_unsure; /* what is concluded from here on is not */
	if (!g->is_stored && !g->is_made && !g->is_installed)
		group_doubt_quietly(
			g, DOUBT_STATE | DOUBT_VOTE | DOUBT_ENTRIES, "the record that made the group is lost");
	if (g->last_index < g->settled_index) {
		/* The journal knows less than the state store: blocks are lost. */
		g->last_index = g->settled_index;
		g->last_term = runs_term(&g->runs, g->settled_index);
	}
	if (g->last_index < g->state_index) reach(g, g->state_index);
	finish_claim(g);
	uint64_t commit_sure = finish_unsure(g);
	finish_gaps(g);
	if (!g->last_term) g->last_term = runs_term(&g->runs, g->last_index);
	if (g->last_index == g->state_index && g->state_term) {
		if (!g->last_term || g->last_term < g->state_term) g->last_term = g->state_term;
		if (runs_term(&g->runs, g->last_index) != g->last_term)
			runs_insert(&g->runs, g->last_index, g->last_term);
	}
	/* What follows here brings no higher one along than what is here, or a search by sequence would go by the entries behind it. */
	g->seq_bound = u64_max(g->seq_bound, g->last_seq);
	g->last_seq = group_seq_at(g, g->last_index);
	if (log_fault(l, FAULT_bug_s8_commit_forgotten)) g->commit_index = 0;
	if (g->commit_index > g->last_index && !log_fault(l, FAULT_bug_s7_no_doubt))
		group_doubt_quietly(g, DOUBT_ENTRIES, "entries that were committed are missing");
	finish_told(g);
	if (g->finds_more) g->told_to = 0;
	finish_bound(g, is_end_unsure);
	g->commit_index = u64_max(u64_min(g->commit_index, commit_sure), g->state_index);
	g->commit_index = u64_min(g->commit_index, g->last_index);
	if (g->last_term > g->term) take_vote(g, g->last_term, 0);
	g->durable_index = g->last_index;
	ASSERT(g->refs.first == g->settled_index + 1 && g->refs.first + g->refs.count == g->last_index + 1);
}

void replay_finish(struct replay *r)
{
	struct log *l = r->log;
	for (uint32_t i = 0; i < l->groups_count;) {
		struct log_group *g = l->groups[i];
		if (!g->is_known && !g->doubt) {
			/* S18: the journal's tables do not know it, so it went; the state store still has it for a round. */
			settle_bury(l, g->id, 0, 0);
			group_remove(l, g);
			group_free(g);
			continue;
		}
		finish_group(g);
		i++;
	}
}
