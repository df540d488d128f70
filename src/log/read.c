/* SPDX-License-Identifier: Apache-2.0 */
/* read — entries back by index or by stream sequence, wherever they lie: in the gathering block, in a slot, in a segment.
 *
 *   log_view: in memory, borrowed for the turn
 *   log_read: plan (what lies where, copied) ──> all in memory: done in a task
 *                                            └─> disk lane: segments, then slots, verified ──> done
 *
 * A plan may be overtaken: a round settles the entries, frees the slot, drops the segment. Then the bytes under it are not what they
 * were, the seal or the checksum says so, and the read is planned anew. Only damage that a valid plan finds is damage. */
#include "log_internal.h"

enum { SEGMENTS_MAX = 16, ITEMS_MAX = 4096 };

struct log_read {
	struct list link; /* log.reads */
	struct io_job job;
	struct io_task task;
	struct log *log;
	struct log_group *g; /* borrowed; NULL when it went */
	struct log_read_req *req;
	bool is_by_seq;
	uint64_t seq;
	uint64_t at; /* where the next part begins */
	uint32_t epoch, cuts;
	/* the plan: the worker's copies */
	struct segment_place place;
	char *dir; /* owned: the place's */
	struct segment_info segments[SEGMENTS_MAX];
	uint32_t segments_count;
	struct fetch_items items;
	struct io_file **files; /* owned array */
	uint32_t slot_count;
	uint64_t to, bytes_max;
	bool holes;
	/* its results */
	struct buf out; /* owned until it is the request's */
	uint64_t next;
	enum err result;
	struct segment_range bad;
	struct segment_info bad_index; /* of a segment whose .idx is bad; entry_count 0: none */
};

/* ---- views ---- */

enum err log_view(struct log_group *g, uint64_t index, struct slice *entry)
{
	if (index > g->last_index) return ERR_NOT_FOUND;
	if (index < group_first_index(g) || index == 0) return ERR_COMPACTED;
	if (index <= g->settled_index) return ERR_AGAIN;
	const struct log_ref *ref = refs_at(&g->refs, index);
	if (!ref->use) return ERR_COMPACTED;
	return journal_view(g->log, ref, entry) ? OK : ERR_AGAIN;
}

/* ---- planning ---- */

/* The ref of an unsettled entry, also behind a gap; NULL when there is none. */
static const struct log_ref *read_ref(const struct log_group *g, uint64_t index)
{
	if (index >= g->refs.first && index - g->refs.first < g->refs.count) return refs_at(&g->refs, index);
	bool is_stranded = index >= g->stranded.first && index - g->stranded.first < g->stranded.count;
	return is_stranded ? refs_at(&g->stranded, index) : NULL;
}

static uint64_t read_last(const struct log_group *g)
{
	return g->stranded.count ? g->stranded.first + g->stranded.count - 1 : g->last_index;
}

/* Unsettled entries from `at` on: copied if they are in memory, else planned; never both, so that they stay in order. */
static void plan_refs(struct log_read *w)
{
	const struct log_group *g = w->g;
	uint64_t i = u64_max(w->at, g->refs.first), last = u64_min(w->to, read_last(g)), planned = 0;
	for (; i <= last && w->items.count < ITEMS_MAX; i++) {
		const struct log_ref *ref = read_ref(g, i);
		if (!ref || !ref->use) {
			if (w->holes) continue;
			break;
		}
		struct slice entry;
		if (w->out.n + planned && w->out.n + planned + ref_bytes(ref) > w->bytes_max) break;
		if (journal_view(w->log, ref, &entry)) {
			if (w->items.count) break;
			buf_append_slice(&w->out, entry);
		} else {
			if (w->out.n) break;
			fetch_items_push(&w->items, i, ref);
			planned += ref_bytes(ref);
		}
	}
	w->next = i;
}

static void plan_segments(struct log_read *w)
{
	const struct segment_list *l = &w->g->segments;
	uint32_t at = w->is_by_seq ? segment_list_find_seq(l, w->seq) : segment_list_find(l, w->at);
	for (; at < l->count && w->segments_count < SEGMENTS_MAX; at++) {
		if (!w->is_by_seq && l->rows[at].first_index > w->to) break;
		w->segments[w->segments_count++] = l->rows[at];
	}
}

/* By sequence among the unsettled: they rise, so the first that reaches it is found by halving; gaps have none and are passed. */
static uint64_t plan_seq(const struct log_read *w)
{
	const struct log_refs *r = &w->g->refs;
	uint64_t low = r->first, high = r->first + r->count;
	while (low < high) {
		uint64_t mid = low + (high - low) / 2, probe = mid;
		while (probe < high && !refs_at(r, probe)->use) probe++;
		bool is_below = probe < high && refs_at(r, probe)->seq_last < w->seq;
		if (is_below)
			low = probe + 1;
		else
			high = mid;
	}
	while (low < r->first + r->count && (!refs_at(r, low)->use || refs_at(r, low)->seq_last < w->seq)) low++;
	return low;
}

static void read_reset(struct log_read *w)
{
	w->segments_count = 0;
	w->items.count = 0;
	w->bad = (struct segment_range) { 0 };
	w->result = OK;
	w->epoch = w->g->epoch;
	w->cuts = w->g->cuts;
}

/* True when a worker is needed; else the result is there. */
static bool read_plan(struct log_read *w)
{
	struct log_group *g = w->g;
	read_reset(w);
	uint64_t first = group_first_index(g);
	if (w->is_by_seq) {
		plan_segments(w);
		if (w->segments_count) return true;
		w->at = plan_seq(w);
		w->to = w->at;
		if (w->at > g->last_index) {
			w->result = ERR_NOT_FOUND;
			return false;
		}
	}
	if (w->at > read_last(g) || w->at > w->to) {
		w->result = w->out.n || w->at > w->req->from ? OK : ERR_NOT_FOUND;
		w->next = w->at;
		return false;
	}
	if (w->at < first) {
		if (!w->holes) {
			w->result = ERR_COMPACTED;
			return false;
		}
		w->at = first;
	}
	if (w->at <= g->settled_index && !w->is_by_seq) {
		plan_segments(w);
		if (w->segments_count) return true;
		/* Left out to the last: dead. */
		if (!w->holes) {
			w->result = ERR_COMPACTED;
			return false;
		}
		w->at = g->settled_index + 1;
	}
	plan_refs(w);
	if (w->items.count == 0 && w->out.n == 0 && !w->holes) w->result = ERR_COMPACTED;
	return w->items.count > 0;
}

/* ---- the worker's part ---- */

static void note_index(struct log_read *w, const struct segment_reader *r, const struct segment_info *s)
{
	if (r->index_is_bad) w->bad_index = *s;
}

static enum err run_segment(struct log_read *w, struct io *io, const struct segment_info *s)
{
	struct segment_reader r;
	enum err e = segment_open(&r, io, &w->place, s);
	/* It vanished: damage, unless the read was overtaken, which its epoch says. */
	if (e == ERR_NOT_FOUND) e = ERR_CORRUPT;
	if (e == OK && w->is_by_seq) {
		e = segment_read_seq(&r, w->seq, &w->out);
	} else if (e == OK) {
		uint64_t left = w->bytes_max > w->out.n ? w->bytes_max - w->out.n : 0;
		e = segment_read(&r, w->next, w->to, left, w->holes, &w->out, &w->next);
	}
	note_index(w, &r, s);
	w->bad = r.bad;
	segment_close(&r);
	return e;
}

static void run_segments(struct log_read *w, struct io *io)
{
	w->next = w->at;
	for (uint32_t i = 0; i < w->segments_count; i++) {
		const struct segment_info *s = &w->segments[i];
		if (!w->is_by_seq && w->next < s->first_index) {
			/* A hole between two segments. */
			if (!w->holes) return;
			w->next = s->first_index;
		}
		enum err e = run_segment(w, io, s);
		if (e == ERR_NOT_FOUND && w->is_by_seq) continue;
		w->result = e;
		if (e == ERR_CORRUPT && w->out.n) w->result = OK; /* what lies before it is given first */
		if (e != OK || w->is_by_seq) return;
		if (w->next <= s->last_index || w->next > w->to || w->out.n >= w->bytes_max) return;
	}
}

static void run_items(struct log_read *w)
{
	struct fetch f = { .files = w->files, .slot_count = w->slot_count };
	uint64_t next = w->next;
	for (uint32_t i = 0; i < w->items.count; i++) {
		struct entry_head h;
		struct slice entry;
		const struct fetch_item *item = &w->items.p[i];
		w->result = fetch_entry(&f, w->place.group, item, w->items.count - i, &h, &entry);
		if (w->result != OK) {
			w->bad = (struct segment_range) { item->index, item->index };
			next = item->index;
			break;
		}
		buf_append_slice(&w->out, entry);
	}
	if (w->result == ERR_CORRUPT && w->out.n) w->result = OK;
	w->next = next;
	buf_deinit(&f.bytes);
}

static void read_run(struct io_job *job)
{
	struct log_read *w = CONTAINER_OF(job, struct log_read, job);
	if (w->segments_count)
		run_segments(w, job->io);
	else
		run_items(w);
}

/* ---- an index file that is bad is written anew on the settle worker ---- */

struct index_job {
	struct io_job job;
	struct log *log;
	struct segment_place place;
	char *dir; /* owned */
	struct segment_info segment;
	struct segment_range bad;
	enum err result;
};

static void index_run(struct io_job *job)
{
	struct index_job *w = CONTAINER_OF(job, struct index_job, job);
	w->result = segment_index_rebuild(job->io, &w->place, &w->segment, &w->bad);
}

static void index_done(struct io_job *job)
{
	struct index_job *w = CONTAINER_OF(job, struct index_job, job);
	struct log *l = w->log;
	struct log_group *g = log_group_find(l, w->place.group);
	l->index_job = NULL;
	bool is_same = g && g->generation == w->place.generation;
	if (!l->is_dead && w->result == ERR_CORRUPT && is_same && w->bad.from)
		group_damaged(g, w->bad, "damaged in a segment");
	mem_free(w->dir);
	mem_free(w);
	log_job_done(l);
}

static void index_rebuild(struct log *l, const struct log_group *g, const struct segment_info *s)
{
	/* One at a time; the next read of another will ask again. Not while the segment still grows. */
	if (l->index_job || l->is_closing || !(s->flags & SEGMENT_SEALED)) return;
	struct index_job *w = NEW(struct index_job);
	w->job = (struct io_job) { .run = index_run, .done = index_done };
	w->log = l;
	w->dir = mem_strdup(l->options.dir);
	group_place(g, &w->place);
	w->place.dir = w->dir;
	w->segment = *s;
	l->index_job = w;
	diag_line(l->diag, DIAG_WARN, "log group=%s index of the segment at %llu is bad, it is written anew", g->label,
		(unsigned long long)s->first_index);
	log_job(l, IO_LANE_SETTLE, &w->job);
}

/* ---- life of a read ---- */

static void read_free(struct log_read *w)
{
	list_remove_if_linked(&w->link);
	mem_free(w->items.p);
	mem_free(w->files);
	mem_free(w->dir);
	buf_deinit(&w->out);
	mem_free(w);
}

static void read_finish(struct log_read *w)
{
	struct log_read_req *req = w->req;
	req->result = w->g ? w->result : ERR_CLOSED;
	if (req->result == OK) {
		req->entries = w->out;
		w->out = (struct buf) { 0 };
	}
	req->next = w->next;
	if (w->is_by_seq && req->result == OK && req->entries.n) {
		struct entry_head h;
		req->next = entry_head_decode(buf_slice(&req->entries), &h) == OK ? h.index + 1 : 0;
	}
	req->work = NULL;
	read_free(w);
}

static void read_done(struct io_job *job);

static void read_submit(struct log_read *w)
{
	struct log *l = w->log;
	w->job = (struct io_job) { .run = read_run, .done = read_done };
	if (!w->files) {
		w->files = fetch_files(l);
		w->slot_count = l->journal.slot_count;
		w->dir = mem_strdup(l->options.dir);
	}
	group_place(w->g, &w->place);
	w->place.dir = w->dir;
	diag_count(l->diag, COUNTER_log_reads);
}

/* After the worker: true when there is more to do, and it has been planned for another job. */
static bool read_again(struct log_read *w)
{
	struct log_group *g = w->g;
	if (!g) return false;
	bool is_overtaken = w->epoch != g->epoch;
	/* Of this job's segments: what is planned next may be other segments of the same name. */
	const struct segment_info bad_index = w->bad_index;
	w->bad_index = (struct segment_info) { 0 };
	if ((w->result != OK && is_overtaken) || w->cuts != g->cuts) {
		buf_clear(&w->out);
		w->at = w->is_by_seq ? 0 : w->req->from;
		w->to = w->req->to;
		w->bad = (struct segment_range) { 0 };
		return read_plan(w);
	}
	bool is_damage = w->result == ERR_CORRUPT;
	if (bad_index.entry_count && !is_overtaken && w->log->is_started) index_rebuild(w->log, g, &bad_index);
	if (is_damage) {
		if (w->bad.from == 0) w->bad = (struct segment_range) { w->next, w->next };
		group_damaged(g, w->bad, "damaged where it was read");
	}
	if (w->result != OK || w->out.n) return false;
	if (w->is_by_seq || !w->segments_count) return false;
	if (!w->holes) {
		w->result = ERR_COMPACTED;
		return false;
	}
	w->at = w->next;
	return read_plan(w);
}

/* By sequence: the segments had none that reaches it, so it is among the unsettled. */
static bool read_seq_again(struct log_read *w)
{
	if (!w->g || !w->is_by_seq || w->result != OK || w->out.n || !w->segments_count) return false;
	read_reset(w);
	w->at = plan_seq(w);
	w->to = w->at;
	w->result = w->at > w->g->last_index ? ERR_NOT_FOUND : OK;
	if (w->result == OK) plan_refs(w);
	return w->items.count > 0;
}

static void read_done(struct io_job *job)
{
	struct log_read *w = CONTAINER_OF(job, struct log_read, job);
	struct log *l = w->log;
	if (!l->is_dead) {
		if (read_again(w) || read_seq_again(w)) {
			read_submit(w);
			log_job(l, IO_LANE_DISK, &w->job);
		} else {
			struct log_read_req *req = w->req;
			read_finish(w);
			req->done(req);
		}
	}
	log_job_done(l);
}

static void read_at_once(struct io_task *t)
{
	struct log_read *w = CONTAINER_OF(t, struct log_read, task);
	struct log *l = w->log;
	struct log_read_req *req = w->req;
	read_finish(w);
	req->done(req);
	if (l->is_closing) log_turn_end(l);
}

static struct log_read *read_new(struct log_group *g, struct log_read_req *r)
{
	struct log_read *w = NEW(struct log_read);
	w->log = g->log;
	w->g = g;
	w->req = r;
	w->at = u64_max(r->from, 1);
	w->to = r->to;
	w->bytes_max = r->bytes_max;
	w->holes = r->holes;
	r->work = w;
	r->entries = (struct buf) { 0 };
	list_push_back(&g->log->reads, &w->link);
	return w;
}

static void read_start(struct log_read *w)
{
	if (read_plan(w)) {
		read_submit(w);
		log_job(w->log, IO_LANE_DISK, &w->job);
		return;
	}
	w->task.run = read_at_once;
	io_defer(w->log->io, &w->task);
}

void log_read(struct log_group *g, struct log_read_req *r)
{
	ASSERT(!g->log->is_closing && r->done);
	read_start(read_new(g, r));
}

void log_read_seq(struct log_group *g, uint64_t seq, struct log_read_req *r)
{
	ASSERT(!g->log->is_closing && r->done);
	struct log_read *w = read_new(g, r);
	w->is_by_seq = true;
	w->seq = seq;
	read_start(w);
}

enum err log_read_now(struct log_group *g, struct log_read_req *r)
{
	struct log_read *w = read_new(g, r);
	bool more = read_plan(w);
	while (more) {
		read_submit(w);
		w->job.io = g->log->io;
		read_run(&w->job);
		more = read_again(w);
	}
	read_finish(w);
	return r->result;
}

void read_cancel_group(struct log_group *g)
{
	LIST_EACH (node, &g->log->reads) {
		struct log_read *w = CONTAINER_OF(node, struct log_read, link);
		if (w->g == g) w->g = NULL;
	}
}

void read_deinit(struct log *l)
{
	while (!list_is_empty(&l->reads)) read_free(CONTAINER_OF(list_first(&l->reads), struct log_read, link));
	if (l->index_job) mem_free(l->index_job->dir);
	mem_free(l->index_job);
}
