/* SPDX-License-Identifier: Apache-2.0 */
/* group — the groups of a log: made and gone (S18), appended to, truncated, voted for; what is known about each of them.
 *
 *   log_append: head made here -> frame in the gathering block -> a ref of 24 bytes -> done when the block is durable
 *
 * A record is added to the journal before it is true in memory: the table at the head of a slot states what was before it. */
#include <stdio.h>

#include "log_internal.h"

/* ---- the set ---- */

/* Position of the first group whose id is at least `id`. */
static uint32_t group_position(const struct log *l, uint64_t id)
{
	uint32_t low = 0, high = l->groups_count;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (l->groups[mid]->id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct log_group *log_group_find(struct log *l, uint64_t id)
{
	uint32_t at = group_position(l, id);
	return at < l->groups_count && l->groups[at]->id == id ? l->groups[at] : NULL;
}

struct log_group *log_group_after(struct log *l, uint64_t id)
{
	if (id == UINT64_MAX) return NULL;
	uint32_t at = group_position(l, id + 1);
	return at < l->groups_count ? l->groups[at] : NULL;
}

uint64_t log_group_id(const struct log_group *g) { return g->id; }

void log_group_set_name(struct log_group *g, struct slice name)
{
	struct buf b = { 0 };
	buf_printf(&b, "%llu", (unsigned long long)g->id);
	if (name.n) buf_printf(&b, " (%.*s)", SLICE_FMT(name));
	mem_free(g->label);
	g->label = mem_strdup(buf_str(&b));
	buf_deinit(&b);
}

const char *log_group_label(const struct log_group *g) { return g->label; }

struct log_group *group_new(struct log *l, uint64_t id)
{
	ASSERT(id > 0);
	struct log_group *g = NEW(struct log_group);
	g->log = l;
	g->id = id;
	log_group_set_name(g, SLICE_NULL);
	g->generation = 1;
	g->contiguous_from = 1;
	g->refs.first = 1;
	return g;
}

void group_free(struct log_group *g)
{
	buf_deinit(&g->applied_conf);
	buf_deinit(&g->conf);
	segment_list_deinit(&g->segments);
	refs_deinit(&g->refs);
	refs_deinit(&g->stranded);
	runs_deinit(&g->runs);
	mem_free(g->doubt_why);
	mem_free(g->label);
	mem_free(g);
}

void group_insert(struct log *l, struct log_group *g)
{
	uint32_t at = group_position(l, g->id);
	ASSERT(at == l->groups_count || l->groups[at]->id != g->id);
	if (l->groups_count == l->groups_cap) {
		l->groups_cap = l->groups_cap ? l->groups_cap * 2 : 16;
		l->groups = mem_realloc(l->groups, l->groups_cap * sizeof(struct log_group *));
	}
	memmove(l->groups + at + 1, l->groups + at, (l->groups_count - at) * sizeof(struct log_group *));
	l->groups[at] = g;
	l->groups_count++;
}

void group_remove(struct log *l, struct log_group *g)
{
	uint32_t at = group_position(l, g->id);
	ASSERT(at < l->groups_count && l->groups[at] == g);
	l->groups_count--;
	memmove(l->groups + at, l->groups + at + 1, (l->groups_count - at) * sizeof(struct log_group *));
}

void group_place(const struct log_group *g, struct segment_place *out)
{
	*out = (struct segment_place) {
		.dir = g->log->options.dir,
		.group = g->id,
		.generation = g->generation,
		.store = identity_store_low(&g->log->identity),
	};
}

/* ---- make and gone (S18) ---- */

enum err log_group_make(struct log *l, uint64_t id, struct slice conf, struct log_req *req, struct log_group **out)
{
	ASSERT(id > 0 && !l->is_closing);
	*out = NULL;
	if (log_group_find(l, id)) return ERR_EXISTS;
	if (conf.n > u64_min(LOG_GROUP_LOCAL_MAX, l->identity.slot_bytes / 8)) return ERR_TOO_LARGE;
	if (table_bytes(l->groups_count + 1) > l->identity.slot_bytes / 4) return ERR_FULL;
	enum err e = log_admit(l, LOG_ADMIT_GROWS, entry_bytes(conf.n));
	if (e != OK) return e;
	struct log_group *g = group_new(l, id);
	struct entry_head h = { .kind = ENTRY_MAKE, .group = id };
	(void)journal_add(l, g, &h, conf);
	buf_append_slice(&g->conf, conf);
	buf_append_slice(&g->applied_conf, conf);
	group_insert(l, g);
	if (l->lacks_groups) {
		group_doubt(
			g, DOUBT_VOTE | DOUBT_ENTRIES, 1, "it may have been here before damage took the record of it");
		group_record_doubt(g);
	}
	journal_wait(l, req);
	diag_trace(l->diag, "log make", id, 0, 0);
	*out = g;
	return OK;
}

bool log_lacks_groups(const struct log *l) { return l->lacks_groups; }

void group_record_lack(struct log *l)
{
	struct entry_head h = { .kind = ENTRY_DOUBT };
	(void)journal_add(l, NULL, &h, SLICE("groups may be missing"));
}

void log_groups_complete(struct log *l, struct log_req *req)
{
	ASSERT(!l->is_closing);
	if (l->is_dead) return;
	if (l->lacks_groups) {
		struct entry_head h = { .kind = ENTRY_DOUBT_END };
		(void)journal_add(l, NULL, &h, SLICE_NULL);
		diag_line(l->diag, DIAG_INFO, "log: what was lost of groups has been made anew, in doubt");
	}
	l->lacks_groups = false;
	journal_wait(l, req);
}

void log_group_gone(struct log_group *g, struct log_req *req)
{
	struct log *l = g->log;
	ASSERT(!l->is_closing);
	struct entry_head h = { .kind = ENTRY_GONE, .group = g->id };
	(void)journal_add(l, g, &h, SLICE_NULL);
	journal_wait(l, req);
	diag_trace(l->diag, "log gone", g->id, g->last_index, 0);
	install_abort_group(g);
	read_cancel_group(g);
	settle_forget_group(l, g);
	if (g->erase_owed || g->wants_erase || g->is_erasing) erase_sweep(l);
	settle_bury(l, g->id, 0, journal_last_number(l));
	journal_forget_group(l, g);
	group_sink_all(g);
	l->refs_bytes -= g->refs_bytes;
	group_remove(l, g);
	group_free(g);
}

void log_group_attach(struct log_group *g, const struct log_group_ops *ops, void *owner)
{
	ASSERT(!g->ops && ops);
	g->ops = ops;
	g->owner = owner;
}

void log_group_detach(struct log_group *g)
{
	g->ops = NULL;
	g->owner = NULL;
	settle_forget_owner(g->log, g);
	erase_forget_owner(g);
}

/* ---- writing ---- */

void group_float(struct log_group *g, const struct log_ref *r)
{
	if (!r->use) return;
	uint64_t bytes = ref_frame_bytes(r);
	g->floating_bytes += bytes;
	g->log->floating_bytes += bytes;
	journal_slot(g->log, r->use)->floating_bytes += bytes;
}

void group_sink(struct log_group *g, const struct log_ref *r)
{
	if (!r->use) return;
	uint64_t bytes = ref_frame_bytes(r);
	struct slot *slot = journal_slot(g->log, r->use);
	ASSERT(g->floating_bytes >= bytes && g->log->floating_bytes >= bytes && slot->floating_bytes >= bytes);
	g->floating_bytes -= bytes;
	g->log->floating_bytes -= bytes;
	slot->floating_bytes -= bytes;
}

static void group_drop_stranded(struct log_group *g)
{
	for (uint32_t i = 0; i < g->stranded.count; i++) group_sink(g, refs_at(&g->stranded, g->stranded.first + i));
	refs_deinit(&g->stranded);
	g->stranded_bytes = 0;
}

/* The group, or all it had, is void. */
void group_sink_all(struct log_group *g)
{
	for (uint64_t i = u64_max(g->applied_index, g->settled_index) + 1; i <= g->last_index; i++)
		group_sink(g, refs_at(&g->refs, i));
	group_drop_stranded(g);
	ASSERT(g->floating_bytes == 0 || log_fault(g->log, FAULT_bug_s12_settle_uncommitted));
}

static void append_one(struct log_group *g, const struct log_entry *e)
{
	struct log *l = g->log;
	bool is_command = e->kind == ENTRY_COMMAND;
	ASSERT(is_command || e->kind == ENTRY_BARRIER || e->kind == ENTRY_CHANGE);
	ASSERT(e->term >= g->last_term && e->term > 0);
	ASSERT(!is_command || e->body.n >= BATCH_HEAD_BYTES);
	ASSERT(e->body.n <= l->options.entry_bytes_max);
	struct entry_head h = {
		.kind = (uint8_t)e->kind,
		.group = g->id,
		.index = g->last_index + 1,
		.term = e->term,
		.commit = g->commit_index,
		.seq_last = is_command ? le64_get(e->body.p + 8) : g->last_seq,
		.record_count = is_command ? le32_get(e->body.p) : 0,
		.prev_term = (uint32_t)g->last_term,
	};
	if (g->stranded.count) group_drop_stranded(g);
	struct log_ref ref = journal_add(l, g, &h, e->body);
	*refs_push(&g->refs) = ref;
	runs_add(&g->runs, h.index, h.term);
	g->last_index = h.index;
	g->last_term = h.term;
	g->last_seq = h.seq_last;
	g->refs_bytes += ref_bytes(&ref);
	l->refs_bytes += ref_bytes(&ref);
	group_float(g, &ref);
	ASSERT(g->refs.first + g->refs.count == g->last_index + 1);
}

void log_append(struct log_group *g, struct log_req *req, const struct log_entry *entries, unsigned count)
{
	ASSERT(count > 0 && !g->log->is_closing);
	ASSERT(!g->is_committing || log_fault(g->log, FAULT_bug_s19_early_answer));
	for (unsigned i = 0; i < count && !g->log->is_dead; i++) append_one(g, &entries[i]);
	journal_wait(g->log, req);
}

uint64_t group_seq_at(const struct log_group *g, uint64_t index)
{
	for (uint64_t i = index; i > g->settled_index; i--) {
		const struct log_ref *ref = refs_at(&g->refs, i);
		if (ref->use) return ref->seq_last;
	}
	return g->settled_seq;
}

/* Forgets entries from `from` on, in memory. */
void group_truncate(struct log_group *g, uint64_t from)
{
	ASSERT(from > g->settled_index && from > g->applied_index);
	for (uint64_t i = from; i <= g->last_index; i++) {
		const struct log_ref *ref = refs_at(&g->refs, i);
		group_sink(g, ref);
		g->refs_bytes -= ref_bytes(ref);
		g->log->refs_bytes -= ref_bytes(ref);
	}
	refs_truncate(&g->refs, from);
	runs_truncate(&g->runs, from);
	g->last_index = from - 1;
	g->last_term = runs_term(&g->runs, from - 1);
	g->last_seq = group_seq_at(g, from - 1);
	g->durable_index = u64_min(g->durable_index, from - 1);
	g->epoch++;
	g->cuts++;
}

void log_truncate(struct log_group *g, uint64_t from)
{
	struct log *l = g->log;
	ASSERT(from > g->commit_index && !l->is_closing && !g->is_committing);
	if (from > g->last_index || l->is_dead) return;
	struct entry_head h = {
		.kind = ENTRY_TRUNC,
		.group = g->id,
		.index = from,
		.term = runs_term(&g->runs, from - 1),
	};
	(void)journal_add(l, g, &h, SLICE_NULL);
	diag_trace(l->diag, "log truncate", g->id, from, g->last_index);
	group_truncate(g, from);
}

void log_vote(struct log_group *g, uint64_t term, uint64_t vote, struct log_req *req)
{
	struct log *l = g->log;
	ASSERT(term >= g->term && !l->is_closing);
	if (l->is_dead) return;
	struct entry_head h = { .kind = ENTRY_VOTE, .group = g->id, .index = vote, .term = term };
	(void)journal_add(l, g, &h, SLICE_NULL);
	g->term = term;
	g->vote = vote;
	journal_wait(l, req);
}

void log_doubt_end(struct log_group *g, uint64_t term, uint64_t leader, struct log_req *req)
{
	struct log *l = g->log;
	ASSERT(term >= g->term && !l->is_closing);
	if (l->is_dead) return;
	struct entry_head h = {
		.kind = ENTRY_DOUBT_END,
		.group = g->id,
		.index = leader,
		.term = term,
		.seq_last = g->last_index,
		.commit = g->last_term,
	};
	(void)journal_add(l, g, &h, SLICE_NULL);
	group_drop_stranded(g); /* behind what this leader has, or it would be here */
	g->term = term;
	g->vote = leader;
	g->doubt = 0;
	g->doubt_from = g->seq_bound = 0;
	g->loses_end = false;
	g->told_to = 0;
	mem_free(g->doubt_why);
	g->doubt_why = NULL;
	diag_line(l->diag, DIAG_INFO, "log group=%s doubt ends with term %llu", g->label, (unsigned long long)term);
	journal_wait(l, req);
}

void log_commit(struct log_group *g, uint64_t index)
{
	ASSERT(index <= g->last_index || log_fault(g->log, FAULT_bug_s19_early_answer));
	g->commit_index = u64_max(g->commit_index, index);
}

void log_applied(struct log_group *g, uint64_t index, uint64_t term, struct slice conf, uint64_t conf_index)
{
	const bool is_here = index >= g->applied_index && index <= g->last_index;
	ASSERT(is_here || log_fault(g->log, FAULT_bug_s19_early_answer));
	if (!is_here) return;
	if (index > g->applied_index) g->log->settle.moves_in_row = 0;
	for (uint64_t i = u64_max(g->applied_index, g->settled_index) + 1; i <= index; i++)
		group_sink(g, refs_at(&g->refs, i));
	g->applied_index = index;
	g->applied_term = term;
	log_commit(g, index);
	if (!conf.p) return;
	buf_clear(&g->applied_conf);
	buf_append_slice(&g->applied_conf, conf);
	g->applied_conf_index = conf_index;
}

void log_trim(struct log_group *g, uint64_t index)
{
	ASSERT(index <= g->applied_index + 1);
	if (index <= g->trim_index) return;
	g->trim_index = index;
	settle_trimmed(g->log);
}

/* ---- what is known ---- */

uint64_t group_first_index(const struct log_group *g)
{
	return g->segments.count ? g->segments.rows[0].first_index : g->refs.first;
}

uint64_t log_term_at(const struct log_group *g, uint64_t index)
{
	if (index == 0 || index > g->last_index) return 0;
	if (index == g->state_index && g->state_term) return g->state_term;
	return runs_term(&g->runs, index);
}

/* The entries that the doubt is about: those of a gap end where the log goes on behind it; a doubt about what a damaged place may have held
 * has no end that anybody knows. */
static struct segment_range lost_range(const struct log_group *g)
{
	struct segment_range lost = g->damaged;
	if (!(g->doubt & (DOUBT_ENTRIES | DOUBT_STATE))) return (struct segment_range) { 0 };
	if (!lost.from) lost.from = g->doubt_from;
	lost.from = u64_min(lost.from, g->doubt_from);
	bool has_end = g->damaged.from && g->doubt_from >= g->damaged.from && !g->loses_end;
	if (has_end && !g->stranded.count) return lost;
	if (g->told_to && !g->loses_end && !g->stranded.count)
		return (struct segment_range) { lost.from, u64_max(lost.to, g->told_to) };
	lost.to = 0;
	for (uint32_t i = 0; i < g->stranded.count; i++) {
		uint64_t index = g->stranded.first + i;
		if (!refs_at(&g->stranded, index)->use) lost.to = index;
	}
	return lost;
}

void log_group_info(const struct log_group *g, struct log_group_info *out)
{
	uint64_t first = group_first_index(g), stored = g->refs_bytes;
	for (uint32_t i = 0; i < g->segments.count; i++) stored += g->segments.rows[i].bytes;
	*out = (struct log_group_info) {
		.term = g->term,
		.vote = g->vote,
		.state_index = g->state_index,
		.state_term = g->state_term,
		.conf = buf_slice(&g->conf),
		.conf_index = g->conf_index,
		.first_index = first,
		.contiguous_from = u64_max(g->contiguous_from, first),
		.last_index = g->last_index,
		.last_term = g->last_term,
		.durable_index = g->durable_index,
		.commit_index = g->commit_index,
		.generation = g->generation,
		.stored_bytes = stored,
		.in_doubt = group_is_in_doubt(g),
		.doubt_votes_only = g->doubt && !(g->doubt & DOUBT_ENTRIES),
		.damaged_from = g->damaged.from,
		.damaged_to = g->damaged.to,
	};
	struct segment_range lost = lost_range(g);
	out->lost_from = lost.from;
	out->lost_to = lost.to;
	out->there_last = g->stranded.count ? g->stranded.first + g->stranded.count - 1 : g->last_index;
	out->seq_bound = g->doubt ? u64_max(g->seq_bound, g->last_seq) : g->last_seq;
	out->state_lost = (g->doubt & DOUBT_STATE) != 0;
	out->segments_lost = out->state_lost && g->settled_index > 0 && g->segments.count == 0;
}

const char *log_group_doubt(const struct log_group *g) { return g->doubt ? g->doubt_why : ""; }

void group_doubt(struct log_group *g, unsigned why, uint64_t from, const char *fmt, ...)
{
	struct log *l = g->log;
	struct buf text = { 0 };
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	if (!g->doubt) {
		diag_line(l->diag, DIAG_ERROR, "log group=%s is in doubt: %s", g->label, buf_str(&text));
		diag_count(l->diag, COUNTER_log_groups_doubted);
		g->doubt_from = from;
		mem_free(g->doubt_why);
		g->doubt_why = mem_strdup(buf_str(&text));
	}
	g->doubt |= why;
	g->doubt_from = u64_min(g->doubt_from, from);
	buf_deinit(&text);
}

void group_record_doubt(struct log_group *g)
{
	struct log *l = g->log;
	ASSERT(g->doubt);
	if (log_fault(l, FAULT_bug_s7_doubt_forgotten) || l->is_dead) return;
	struct segment_range lost = lost_range(g);
	bool is_settled = !(g->doubt & DOUBT_STATE) && lost.to && lost.to <= g->settled_index;
	struct entry_head h = {
		.kind = ENTRY_DOUBT,
		.group = g->id,
		.index = g->doubt_from,
		.term = (g->doubt & (DOUBT_VOTE | DOUBT_ENTRIES)) | (is_settled ? DOUBT_SETTLED : 0u),
		.commit = g->commit_index,
		.seq_last = g->seq_bound = u64_max(g->seq_bound, g->last_seq),
	};
	(void)journal_add(l, g, &h, slice_of_str(g->doubt_why));
	g->doubt |= DOUBT_RECORDED;
}

bool group_doubt_is_untold(const struct log_group *g)
{
	return !(g->doubt & DOUBT_RECORDED) || (g->told_to && lost_range(g).to == 0);
}

void group_damaged(struct log_group *g, struct segment_range bad, const char *what)
{
	struct log *l = g->log;
	ASSERT(bad.from > 0 && bad.from <= bad.to);
	diag_count(l->diag, COUNTER_log_reads_damaged);
	bool was_in_doubt = group_is_in_doubt(g);
	struct segment_range before = lost_range(g);
	g->loses_end |= before.from && !before.to;
	g->damaged.from = g->damaged.from ? u64_min(g->damaged.from, bad.from) : bad.from;
	g->damaged.to = u64_max(g->damaged.to, bad.to);
	if (bad.to <= g->settled_index) g->contiguous_from = u64_max(g->contiguous_from, bad.to + 1);
	group_doubt(g, DOUBT_ENTRIES, bad.from, "entries %llu..%llu: %s", (unsigned long long)bad.from,
		(unsigned long long)bad.to, what);
	if (was_in_doubt) return;
	group_record_doubt(g);
	/* While opening (log_read_now) the result says so. */
	if (l->is_started && g->ops && g->ops->doubted) g->ops->doubted(g->owner);
}

void group_lost_state(struct log_group *g)
{
	bool was_in_doubt = group_is_in_doubt(g);
	group_doubt(g, DOUBT_STATE, 1, "the state that came with an install is damaged");
	if (was_in_doubt) return;
	group_record_doubt(g);
	if (g->ops && g->ops->doubted) g->ops->doubted(g->owner);
}
