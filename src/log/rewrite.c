/* SPDX-License-Identifier: Apache-2.0 */
/* rewrite — a sealed segment most of whose bytes are dead is written anew without them.
 *
 *   after a round: owner.live_permille of one segment ──> read its heads (disk lane) ──> owner.entry_is_dead, in slices of a turn
 *        ──> the next round writes the new one and names it ──> the old one goes a round later
 *
 * What must be erased has a segment planned for it too, whatever is alive in it, also the one that still grows (erase.c).
 *
 * One plan at a time. Dead stays dead, so what the owner said between two rounds holds in the state of the next. */
#include "round.h"

enum { LIVE_PERMILLE_MIN = 350, ASK_BUDGET = 1000 };

void rewrite_plan_free(struct rewrite_plan *p)
{
	if (!p) return;
	mem_free(p->rows);
	mem_free(p->dir);
	mem_free(p->erase.p);
	buf_deinit(&p->entry);
	mem_free(p);
}

static bool plan_row(void *arg, const struct entry_head *h, struct slice entry)
{
	struct rewrite_plan *p = arg;
	if (p->count == p->cap) {
		p->cap = p->cap ? p->cap + p->cap / 2 : 256;
		p->rows = mem_realloc(p->rows, p->cap * sizeof *p->rows);
	}
	struct slice body = slice_of(entry.p + ENTRY_HEAD_BYTES, h->body_bytes);
	bool is_erased = p->erases && h->kind == ENTRY_COMMAND && entry_erasable(body, p->erase.p, p->erase.count);
	p->erase_count += is_erased;
	p->rows[p->count++] = (struct rewrite_row) {
		.index = h->index,
		.seq_last = h->seq_last,
		.term = h->term,
		.body_bytes = h->body_bytes,
		.records = (uint16_t)u64_min(h->record_count, UINT16_MAX),
		.kind = h->kind,
		.is_erased = is_erased,
	};
	p->bytes += entry.n;
	return true;
}

static void plan_run(struct io_job *job)
{
	struct rewrite_plan *p = CONTAINER_OF(job, struct rewrite_plan, job);
	struct segment_reader reader;
	p->result = segment_open(&reader, job->io, &p->place, &p->segment);
	if (p->result == OK) p->result = segment_each(&reader, 0, plan_row, p);
	p->bad = reader.bad;
	segment_close(&reader);
}

static void plan_drop(struct log *l)
{
	rewrite_plan_free(l->settle.rewrite);
	l->settle.rewrite = NULL;
}

static void plan_done(struct io_job *job)
{
	struct rewrite_plan *p = CONTAINER_OF(job, struct rewrite_plan, job);
	struct log *l = p->log;
	p->is_reading = false;
	if (!l->is_dead) {
		bool has_nothing = p->erases && p->result == OK && p->erase_count == 0;
		if (p->erases && p->g && has_nothing) l->erase.is_passed = true;
		if (p->erases && p->g && p->result == ERR_CORRUPT) l->erase.is_failed = true;
		if (p->result == ERR_CORRUPT && p->g && p->bad.from)
			group_damaged(p->g, p->bad, "damaged in a segment");
		if (p->result != OK || !p->g || has_nothing) plan_drop(l);
	}
	log_job_done(l);
}

static struct rewrite_plan *plan_new(struct log *l, struct log_group *g, const struct segment_info *s)
{
	struct rewrite_plan *p = NEW(struct rewrite_plan);
	p->job = (struct io_job) { .run = plan_run, .done = plan_done };
	p->log = l;
	p->g = g;
	p->dir = mem_strdup(l->options.dir);
	group_place(g, &p->place);
	p->place.dir = p->dir;
	p->segment = *s;
	return p;
}

static void plan_begin(struct log *l, struct rewrite_plan *p)
{
	p->is_reading = true;
	l->settle.rewrite = p;
	log_job(l, IO_LANE_DISK, &p->job);
}

bool rewrite_erase(struct log *l, struct log_group *g, uint32_t at)
{
	if (l->settle.rewrite || l->is_closing || l->is_dead) return false;
	struct rewrite_plan *p = plan_new(l, g, &g->segments.rows[at]);
	p->erases = true;
	seq_set_ask(&p->erase, g, at ? g->segments.rows[at - 1].seq_last : 0, p->segment.seq_last);
	plan_begin(l, p);
	return true;
}

void rewrite_look(struct log *l, const struct round *r)
{
	if (l->settle.rewrite || l->is_closing || l->is_dead || l->erase.phase == ERASE_SEGMENTS) return;
	for (uint32_t i = 0; i < r->count; i++) {
		struct log_group *g = r->groups[i]->g ? log_group_find(l, r->groups[i]->id) : NULL;
		if (!g || !g->ops || !g->ops->live_permille || g->segments.count < 2 || g->doubt) continue;
		if (++g->rewrite_at >= g->segments.count - 1) g->rewrite_at = 0;
		const struct segment_info *s = &g->segments.rows[g->rewrite_at];
		if (!(s->flags & SEGMENT_SEALED)) continue;
		if (g->ops->live_permille(g->owner, s->first_index, s->last_index) >= LIVE_PERMILLE_MIN) continue;
		plan_begin(l, plan_new(l, g, s));
		return;
	}
}

static void plan_ask(struct rewrite_plan *p)
{
	unsigned budget = ASK_BUDGET;
	for (; p->asked < p->count && budget; p->asked++, budget--) {
		struct rewrite_row *row = &p->rows[p->asked];
		if (row->kind != ENTRY_COMMAND) continue;
		struct entry_head h = {
			.kind = row->kind,
			.group = p->g->id,
			.index = row->index,
			.term = row->term,
			.seq_last = row->seq_last,
			.record_count = row->records,
			.body_bytes = row->body_bytes,
		};
		uint64_t before = p->asked ? row[-1].seq_last : 0;
		row->is_dead = p->g->ops->entry_is_dead(p->g->owner, &h, before);
		if (!row->is_dead) continue;
		p->dead_count++;
		p->dead_bytes += entry_bytes(row->body_bytes);
	}
}

void rewrite_step(struct log *l)
{
	struct rewrite_plan *p = l->settle.rewrite;
	if (!p || p->is_reading || p->is_ready) return;
	if (!p->g || !p->g->ops || !p->g->ops->entry_is_dead) {
		plan_drop(l);
		return;
	}
	if (p->asked < p->count) plan_ask(p);
	/* The owner's estimate may have been wrong. What is to be erased does not ask what else is alive. */
	if (p->asked == p->count && p->erase_count == 0 && p->dead_bytes * 2 < p->bytes) {
		plan_drop(l);
		return;
	}
	/* The next slice; or the round, which nobody else may come to begin. */
	p->is_ready = p->asked == p->count;
	if (!io_timer_is_armed(&l->settle.step)) io_timer_start(l->io, &l->settle.step, 0);
}

bool rewrite_is_ready(const struct log *l, const struct log_group *g)
{
	const struct rewrite_plan *p = l->settle.rewrite;
	return p && p->is_ready && p->g && (!g || p->g == g);
}

struct rewrite_plan *rewrite_take(struct log *l, const struct log_group *g)
{
	struct rewrite_plan *p = l->settle.rewrite;
	if (!rewrite_is_ready(l, g)) return NULL;
	l->settle.rewrite = NULL;
	/* The segment may have been dropped since, or replaced with its generation; the last one may have grown. */
	uint32_t at = segment_list_find(&g->segments, p->segment.first_index);
	bool is_there = at < g->segments.count && g->segments.rows[at].first_index == p->segment.first_index &&
			g->segments.rows[at].rewrite == p->segment.rewrite &&
			g->segments.rows[at].bytes == p->segment.bytes && g->trim_index <= p->segment.last_index &&
			p->place.generation == g->generation;
	if (is_there) return p;
	rewrite_plan_free(p);
	return NULL;
}

uint64_t rewrite_hole_to(const struct rewrite_plan *p)
{
	for (uint32_t i = p->count; i-- > 0;)
		if (p->rows[i].is_dead || p->rows[i].is_erased) return p->rows[i].index + 1;
	return 0;
}

void rewrite_forget_group(struct log *l, const struct log_group *g)
{
	struct rewrite_plan *p = l->settle.rewrite;
	if (!p || p->g != g) return;
	p->g = NULL;
	if (!p->is_reading) plan_drop(l);
}

void rewrite_deinit(struct log *l) { plan_drop(l); }

void rewrite_outcome(struct log *l, const struct rewrite_plan *p)
{
	if (!p->erases) return;
	l->erase.is_passed = p->result == OK;
	l->erase.is_failed = p->result != OK;
	l->erase.segments_written += p->result == OK;
}

/* ---- on the settle worker ---- */

static bool plan_keep(void *arg, struct entry_head *h, struct slice *entry)
{
	struct rewrite_plan *p = arg;
	while (p->at < p->count && p->rows[p->at].index < h->index) p->at++;
	const struct rewrite_row *row = p->at < p->count ? &p->rows[p->at] : NULL;
	if (!row || row->index != h->index) return true;
	if (row->is_erased) *entry = entry_without(&p->erase, h, *entry, &p->entry);
	return !row->is_dead;
}

enum err rewrite_apply(struct io *io, struct rewrite_plan *p, struct segment_list *list)
{
	p->at = 0;
	p->result = segment_rewrite(io, &p->place, &p->segment, plan_keep, p, &p->written, &p->bad);
	if (p->result == ERR_CORRUPT) return OK; /* the old one stays, and the group hears of it */
	if (p->result != OK) return p->result;
	uint32_t at = segment_list_find(list, p->segment.first_index);
	ASSERT(at < list->count && list->rows[at].rewrite == p->segment.rewrite);
	if (p->written.entry_count) {
		list->rows[at] = p->written;
		return OK;
	}
	memmove(list->rows + at, list->rows + at + 1, (list->count - at - 1) * sizeof *list->rows);
	list->count--;
	return OK;
}
