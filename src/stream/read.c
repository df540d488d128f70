/* SPDX-License-Identifier: Apache-2.0 */
/* Reading messages by sequence: the index says which sequence is alive next and may match, recent entries are looked at in memory, older
 * ones come from the log's disk in chunks. Entries are verified by the log, records here. */
#include "stream_internal.h"

#include "thebes/wire.h"

enum { COLD_BYTES = 256 * 1024, HELD_MAX = 4, ASKED_MAX = 64 };

/* How much one step may do before others have their turn: looking at subjects of blocks, about nanoseconds; entries looked through. What a
 * look at one subject costs: comparing its number with one of a literal filter, matching its name with one pattern. */
enum { STEP_WORK = 1000 * 1000, STEP_ENTRIES = 32, ID_WORK = 2, PATTERN_WORK = 60 };

_Static_assert((int)STREAM_BLOCK_SEQS == (int)SEQ_BLOCK_SEQS, "the door tells the size of a block");

/* ---- filters over subject ids ---- */

enum { LITERALS_MAX = 8 };
struct wanted {
	const struct machine *m;
	const struct slice *filters;
	size_t count;
	bool by_id; /* all filters are literal: ids[] is what they are called */
	uint32_t id_count, ids[LITERALS_MAX];
	uint64_t work; /* when it is used up everything is wanted: who reads finds out */
};

static bool has_id(const struct wanted *w, uint32_t id)
{
	for (uint32_t i = 0; i < w->id_count; i++)
		if (w->ids[i] == id) return true;
	return false;
}

static struct wanted wanted_make(const struct machine *m, const struct slice *filters, size_t count)
{
	struct wanted w = { .m = m, .filters = filters, .count = count, .work = UINT64_MAX };
	w.by_id = count > 0 && count <= LITERALS_MAX;
	for (size_t i = 0; i < count && w.by_id; i++) {
		const struct subject_entry *e = subjects_find(&m->subjects, filters[i]);
		w.by_id = subject_is_literal(filters[i]);
		if (e && !has_id(&w, e->id)) w.ids[w.id_count++] = e->id;
	}
	return w;
}

static bool wants_nothing(const struct wanted *w) { return w->by_id && w->id_count == 0; }

bool filters_match(const struct slice *filters, size_t count, struct slice subject)
{
	for (size_t i = 0; i < count; i++)
		if (subject_match(filters[i], subject)) return true;
	return count == 0;
}

static bool is_wanted(void *arg, uint32_t id)
{
	struct wanted *w = arg;
	if (w->work == 0) return true;
	w->work -= u64_min(w->work, w->count * (w->by_id ? ID_WORK : PATTERN_WORK));
	if (w->by_id) return has_id(w, id);
	const struct subject_entry *e = subjects_by_id(&w->m->subjects, id);
	return e && filters_match(w->filters, w->count, subject_name(e));
}

uint64_t stream_next_candidate(
	const struct stream *s, const struct slice *filters, size_t filter_count, uint64_t from, uint64_t *work)
{
	struct wanted w = wanted_make(&s->machine, filters, filter_count);
	w.work = *work;
	if (wants_nothing(&w)) return 0;
	uint64_t seq = seq_index_next(&s->machine.seqs, from, filter_count ? is_wanted : NULL, &w);
	*work = w.work;
	return seq;
}

/* ---- where entries are ---- */

void reads_init(struct stream *s)
{
	list_init(&s->reads);
	chunks_init(s);
}

void reads_note_entry(struct stream *s, uint64_t index, uint64_t seq_before, uint64_t seq_last)
{
	if (s->recent_count == s->recent_cap && s->recent_cap < RECENT_MAX) {
		uint32_t cap = s->recent_cap ? s->recent_cap * 2 : 16;
		struct recent_entry *grown = mem_alloc(cap * sizeof *grown);
		for (uint32_t i = 0; i < s->recent_count; i++) grown[i] = s->recent[(s->recent_at + i) % s->recent_cap];
		mem_free(s->recent);
		s->recent = grown;
		s->recent_cap = cap;
		s->recent_at = 0;
	}
	if (s->recent_count == s->recent_cap) {
		s->recent_at = (s->recent_at + 1) % s->recent_cap;
		s->recent_count--;
	}
	s->recent[(s->recent_at + s->recent_count++) % s->recent_cap] =
		(struct recent_entry) { index, seq_before, seq_last };
}

/* The recent entry that holds seq, or NULL. */
static const struct recent_entry *recent_find(const struct stream *s, uint64_t seq)
{
	uint32_t low = 0, high = s->recent_count;
	while (low < high) {
		uint32_t mid = (low + high) / 2;
		const struct recent_entry *e = &s->recent[(s->recent_at + mid) % s->recent_cap];
		if (seq > e->seq_last) {
			low = mid + 1;
		} else if (seq <= e->seq_before) {
			high = mid;
		} else {
			return e;
		}
	}
	return NULL;
}

/* ---- gathering messages out of entries ---- */

struct read_work {
	struct stream *stream;
	struct stream_read *read;
	struct log_read_req log;
	struct io_task task;
	struct io_timer rest;         /* others have their turn */
	struct chunk *held[HELD_MAX]; /* msgs point into them */
	uint32_t held_count, cap, asked;
	bool continued; /* the log reads on from a chunk, not from what is asked for */
	uint64_t asked_for, bytes;
};

static struct read_work *work_of(struct stream *s, struct stream_read *r)
{
	if (!r->work) {
		struct read_work *w = NEW(struct read_work);
		w->stream = s;
		w->read = r;
		r->work = w;
		r->msgs = NULL;
		r->count = 0;
		r->next = r->from;
	}
	return r->work;
}

static bool is_full(const struct stream_read *r, const struct read_work *w)
{
	return r->count >= r->max_msgs || (r->count && r->max_bytes && w->bytes >= r->max_bytes);
}

static void gather_msg(struct stream_read *r, struct read_work *w, const struct record *m)
{
	if (r->count == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 4;
		r->msgs = mem_realloc(r->msgs, w->cap * sizeof *r->msgs);
	}
	r->msgs[r->count++] = (struct stream_msg) { m->seq, m->time_ns, m->subject, m->headers, m->payload };
	w->bytes += m->subject.n + m->headers.n + m->payload.n;
}

/* Takes what is wanted out of one command's body. ERR_CORRUPT: the log's checksums held but the records do not. */
static enum err gather(struct stream *s, struct stream_read *r, struct slice body)
{
	struct read_work *w = r->work;
	struct batch_head head;
	struct slice records;
	struct record m;
	enum err e = batch_open(body, &head, &records);
	while (e == OK && (e = record_next(&records, &m)) == OK) {
		if (m.seq == 0 || m.seq < r->next || (m.kind != RECORD_MSG && m.kind != RECORD_SKIP)) continue;
		if (is_full(r, w)) return OK;
		r->next = m.seq + 1;
		if (m.kind == RECORD_MSG && m.time_ns >= r->from_time_ns && stream_is_live(s, m.seq) &&
			filters_match(r->filters, r->filter_count, m.subject))
			gather_msg(r, w, &m);
	}
	return e == ERR_EOF ? OK : e;
}

static void hold(struct read_work *w, struct chunk *c)
{
	for (uint32_t i = 0; i < w->held_count; i++)
		if (w->held[i] == c) return;
	w->held[w->held_count++] = c;
	chunk_ref(c);
}

static void hold_none(struct read_work *w)
{
	for (uint32_t i = 0; i < w->held_count; i++) chunk_unref(w->held[i]);
	w->held_count = 0;
}

/* The body of the entry that holds seq, if it is in memory: recent, or in a chunk that was read before. ERR_AGAIN otherwise. */
static enum err body_of(struct stream *s, struct read_work *w, uint64_t seq, struct slice *body)
{
	const struct recent_entry *at = recent_find(s, seq);
	struct slice entry;
	struct entry_head head;
	if (at && log_view(group_log(s->group), at->index, &entry) == OK)
		return entry_next(&entry, &head, body) == OK ? OK : ERR_CORRUPT;
	if (w->held_count == HELD_MAX) return ERR_AGAIN;
	struct chunk *c = chunks_find(s, seq, body);
	if (!c) return ERR_AGAIN;
	hold(w, c);
	return OK;
}

/* Goes on in memory as far as it gets: OK (full, or nothing more there), ERR_AGAIN (the rest is on disk), ERR_BUSY (it has worked for long
 * enough), ERR_CORRUPT. */
static enum err gather_hot(struct stream *s, struct stream_read *r)
{
	struct read_work *w = r->work;
	uint64_t work = STEP_WORK;
	for (unsigned entries = 0; !is_full(r, w); entries++) {
		if (entries == STEP_ENTRIES) return ERR_BUSY;
		uint64_t before = r->next, seq = stream_next_candidate(s, r->filters, r->filter_count, r->next, &work);
		if (seq == 0) {
			r->next = s->machine.seqs.last_seq + 1;
			return OK;
		}
		r->next = seq;
		if (work == 0 && seq > before) return ERR_BUSY;
		struct slice body;
		enum err e = body_of(s, w, seq, &body);
		if (e == OK) e = gather(s, r, body);
		if (e != OK) return e == ERR_AGAIN ? e : ERR_CORRUPT;
		if (r->next <= seq && !is_full(r, w))
			return ERR_CORRUPT; /* the entry does not hold what the index says */
	}
	return OK;
}

static void work_free(struct read_work *w)
{
	hold_none(w);
	buf_deinit(&w->log.entries);
	mem_free(w);
}

void stream_read_release(struct stream_read *r)
{
	struct read_work *w = r->work;
	mem_free(r->msgs);
	r->msgs = NULL;
	r->count = 0;
	if (!w) return;
	work_free(w);
	r->work = NULL;
}

enum err stream_read_now(struct stream *s, struct stream_read *r)
{
	(void)work_of(s, r);
	enum err e = gather_hot(s, r);
	if (e == ERR_BUSY) e = ERR_AGAIN;
	if (e == ERR_AGAIN && r->count) e = OK;
	if (e == OK && r->count == 0) e = ERR_NOT_FOUND;
	r->result = e;
	if (e != OK) {
		uint64_t next = r->next;
		stream_read_release(r);
		r->next = next;
	}
	return e;
}

/* ---- from disk ---- */

static void finish(struct stream_read *r, enum err result)
{
	if (result == OK && r->count == 0) result = ERR_NOT_FOUND;
	r->result = result;
	list_remove(&r->link);
	r->done(r);
}

static void ask_disk(struct read_work *w);

static void chunk_read(struct log_read_req *q)
{
	struct read_work *w = CONTAINER_OF(q, struct read_work, log);
	struct stream *s = w->stream;
	if (!s || q->result == ERR_CLOSED) { /* cancelled meanwhile: its request was answered */
		work_free(w);
		return;
	}
	enum err e = q->result == OK ? chunks_add(s, &q->entries) : q->result;
	buf_deinit(&q->entries);
	bool was_continued = w->continued;
	w->continued = false;
	if (e == ERR_CORRUPT && was_continued) { /* damaged on the way there: what is asked for may be whole */
		w->log.result = OK;
		log_read_seq(group_log(s->group), w->read->next, &w->log);
	} else if (e == OK) {
		ask_disk(w);
	} else {
		finish(w->read, e == ERR_COMPACTED ? ERR_NOT_FOUND : e);
	}
}

/* What memory has is taken first; what it has not is read behind the chunk that ends before it, or looked up by its sequence. */
static void ask_disk(struct read_work *w)
{
	struct stream *s = w->stream;
	struct stream_read *r = w->read;
	enum err e = gather_hot(s, r);
	bool more = e == ERR_AGAIN || e == ERR_BUSY;
	if (!more || r->count) {
		finish(r, more ? OK : e);
		return;
	}
	hold_none(w); /* nothing points into them yet */
	if (e == ERR_BUSY) {
		io_timer_start(s->options.io, &w->rest, 0);
		return;
	}
	w->asked = w->asked_for == r->next ? w->asked + 1 : 0;
	w->asked_for = r->next;
	if (w->asked > ASKED_MAX) { /* the disk answers and never has what the index promises */
		finish(r, ERR_CORRUPT);
		return;
	}
	w->log = (struct log_read_req) {
		.done = chunk_read, .bytes_max = COLD_BYTES, .holes = true, .to = s->machine.index
	};
	w->log.from = chunks_continue(s, r->next);
	w->continued = w->log.from && w->log.from <= w->log.to;
	if (w->continued) {
		log_read(group_log(s->group), &w->log);
	} else {
		log_read_seq(group_log(s->group), r->next, &w->log);
	}
}

static void start_task(struct io_task *t)
{
	struct read_work *w = CONTAINER_OF(t, struct read_work, task);
	if (!w->stream) { /* cancelled before it began */
		work_free(w);
		return;
	}
	ask_disk(w);
}

static void rest_over(struct io_timer *t) { ask_disk(CONTAINER_OF(t, struct read_work, rest)); }

void stream_read_start(struct stream *s, struct stream_read *r)
{
	ASSERT(r->done && r->max_msgs > 0);
	struct read_work *w = work_of(s, r);
	list_push_back(&s->reads, &r->link);
	w->task = (struct io_task) { .run = start_task };
	w->rest.fire = rest_over;
	io_defer(s->options.io, &w->task);
}

static void note_first(struct stream *s, const struct stream_read *r)
{
	if (r->count && r->msgs[0].seq == s->machine.seqs.first_seq) s->machine.first_time_ns = r->msgs[0].time_ns;
}

static void first_done(struct stream_read *r)
{
	struct stream *s = CONTAINER_OF(r, struct stream, first_read);
	s->first_reading = false;
	if (r->result == OK) note_first(s, r);
	stream_read_release(r);
}

void reads_first_time(struct stream *s)
{
	const struct seq_index *ix = &s->machine.seqs;
	if (ix->live == 0 || s->machine.first_time_ns || s->first_reading) return;
	struct stream_read *r = &s->first_read;
	*r = (struct stream_read) { .done = first_done, .from = ix->first_seq, .max_msgs = 1 };
	enum err e = stream_read_now(s, r);
	if (e == OK) {
		note_first(s, r);
		stream_read_release(r);
	} else if (e == ERR_AGAIN) {
		s->first_reading = true;
		stream_read_start(s, r);
	}
}

/* Unless it rests, the log or the task still holds the work: it is freed when that comes back. */
static void orphan(struct stream_read *r)
{
	struct read_work *w = r->work;
	bool rests = io_timer_is_armed(&w->rest);
	if (rests) io_timer_stop(w->stream->options.io, &w->rest);
	w->stream = NULL;
	r->work = NULL;
	if (rests) work_free(w);
	mem_free(r->msgs);
	r->msgs = NULL;
	r->count = 0;
}

void stream_read_cancel(struct stream_read *r)
{
	list_remove(&r->link);
	orphan(r);
}

void reads_cancel_all(struct stream *s, enum err why)
{
	for (struct list *node; (node = list_pop_front(&s->reads)) != NULL;) {
		struct stream_read *r = CONTAINER_OF(node, struct stream_read, link);
		orphan(r);
		r->result = why;
		r->done(r);
	}
}

void reads_deinit(struct stream *s)
{
	ASSERT(list_is_empty(&s->reads));
	chunks_deinit(s);
}
