/* SPDX-License-Identifier: Apache-2.0 */
/* What a leader must read the log for, because the index does not hold it: the newest message of a subject whose newest was removed, and the
 * oldest ones of a subject that has more than its limit since before the limit was set. Both work in the background, one subject at a time. */
#include "stream_internal.h"

#include "thebes/wire.h"

enum { TIDY_MSGS = 256, TIDY_BYTES = 256 * 1024 };

/* ---- the newest message of a subject ---- */

static bool is_unsure(const struct stream *s, const struct subject_entry *e)
{
	return !seq_index_is_live(&s->machine.seqs, e->last_seq);
}

enum { STEP_SUBJECTS = 16 * 1024 }; /* looked at before others have their turn */

struct find_last {
	struct list link;
	struct stream *stream;
	struct stream_req *req;
	struct stream_read read;
	struct io_timer rest;       /* others have their turn */
	struct buf filter, subject; /* subject: the one that is looked for now */
	struct slice wanted;
	uint32_t id, id_next;  /* id_next: where the search for the next one goes on */
	uint64_t block, found; /* block: the one that is looked through, from its start */
	size_t budget;
	uint64_t marks;
	bool all, missed; /* every subject was asked for; of one it was not found */
};

static void find_step(struct find_last *f);

static void find_end(struct find_last *f, enum err result)
{
	struct stream_req *req = f->req;
	list_remove(&f->link);
	io_timer_stop(f->stream->options.io, &f->rest);
	buf_deinit(&f->filter);
	buf_deinit(&f->subject);
	mem_free(f);
	if (!req) return;
	req->result = result;
	req->done(req);
}

void finds_cancel_all(struct stream *s)
{
	while (!list_is_empty(&s->finds)) find_end(CONTAINER_OF(s->finds.next, struct find_last, link), ERR_CLOSED);
}

static void find_read_done(struct stream_read *r)
{
	struct find_last *f = CONTAINER_OF(r, struct find_last, read);
	struct stream *s = f->stream;
	uint64_t end = (f->block + 1) << SEQ_BLOCK_SHIFT;
	enum err e = r->result;
	for (uint32_t i = 0; e == OK && i < r->count && r->msgs[i].seq < end; i++) f->found = r->msgs[i].seq;
	uint64_t next = e == OK ? r->next : end;
	stream_read_release(r);
	if (e != OK && e != ERR_NOT_FOUND) {
		find_end(f, e);
		return;
	}
	if (next < end) {
		f->read.from = next;
		stream_read_start(s, r);
		return;
	}
	struct subject_entry *at = subjects_by_id(&s->machine.subjects, f->id);
	if (at && !slice_eq(subject_name(at), buf_slice(&f->subject))) at = NULL; /* another one has its id now */
	if (at && f->found && seq_index_is_live(&s->machine.seqs, f->found) && is_unsure(s, at))
		subjects_last_found(&s->machine.subjects, at, f->found);
	f->missed |= at && is_unsure(s, at); /* removed while it was read: whoever asks, asks again */
	f->id = UINT32_MAX;
	find_step(f);
}

enum found { FOUND, FOUND_NONE, FOUND_NOT_YET };

/* The highest block below or at f->block that still counts a message of the subject. */
static enum found block_of(struct find_last *f)
{
	const struct seq_index *ix = &f->stream->machine.seqs;
	for (;; f->block--) {
		if (f->block < ix->base || ix->count == 0) return FOUND_NONE;
		const struct seq_block *k = f->block < ix->base + ix->count ? seq_index_block(ix, f->block) : NULL;
		if (k && f->budget < k->subject_count) return FOUND_NOT_YET;
		f->budget -= k ? k->subject_count : 0;
		for (uint32_t i = 0; k && i < k->subject_count; i++)
			if (k->subjects[i].id == f->id) return FOUND;
		if (f->block == 0) return FOUND_NONE;
	}
}

static struct subject_entry *next_unsure(const struct stream *s, struct slice filter, uint32_t *from, size_t *budget)
{
	const struct subjects *t = &s->machine.subjects;
	if (filter.n && subject_is_literal(filter)) {
		struct subject_entry *e = *from == 0 ? subjects_find(t, filter) : NULL;
		*from = t->id_next;
		return e && is_unsure(s, e) ? e : NULL;
	}
	for (; *from < t->id_next && *budget; ++*from, --*budget) {
		struct subject_entry *e = t->by_id[*from];
		if (e && is_unsure(s, e) && (filter.n == 0 || subject_match(filter, subject_name(e)))) return e;
	}
	return NULL;
}

/* The next subject that is not sure; its newest block is where f->block is. */
static enum found find_next(struct find_last *f)
{
	struct stream *s = f->stream;
	const struct seq_index *ix = &s->machine.seqs;
	if (f->id == UINT32_MAX) {
		struct subject_entry *e = next_unsure(s, buf_slice(&f->filter), &f->id_next, &f->budget);
		if (!e) return f->id_next < s->machine.subjects.id_next ? FOUND_NOT_YET : FOUND_NONE;
		f->id = e->id;
		f->id_next = e->id + 1;
		f->block = ix->base + ix->count;
	}
	return block_of(f);
}

static void find_rested(struct io_timer *t) { find_step(CONTAINER_OF(t, struct find_last, rest)); }

static void find_step(struct find_last *f)
{
	struct stream *s = f->stream;
	enum found found;
	f->budget = STEP_SUBJECTS;
	while ((found = find_next(f)) == FOUND_NONE && f->id != UINT32_MAX) f->id = UINT32_MAX;
	if (found == FOUND_NOT_YET) {
		io_timer_start(s->options.io, &f->rest, 0);
		return;
	}
	struct subject_entry *e = found == FOUND ? subjects_by_id(&s->machine.subjects, f->id) : NULL;
	if (!e) {
		if (f->all && !f->missed) s->machine.subjects.unsure_known = f->marks;
		find_end(f, OK);
		return;
	}
	f->found = 0;
	buf_clear(&f->subject);
	buf_append_slice(&f->subject, subject_name(e));
	f->wanted = buf_slice(&f->subject);
	f->read = (struct stream_read) { .done = find_read_done,
		.from = u64_max(f->block << SEQ_BLOCK_SHIFT, 1),
		.filters = &f->wanted,
		.filter_count = 1,
		.max_msgs = TIDY_MSGS,
		.max_bytes = TIDY_BYTES };
	stream_read_start(s, &f->read);
}

bool stream_knows_last(const struct stream *s, struct slice filter)
{
	uint32_t from = 0;
	size_t budget = SIZE_MAX;
	if (s->machine.subjects.unsure_known == s->machine.subjects.unsure_marks) return true;
	if (filter.n == 0 || !subject_is_literal(filter)) return next_unsure(s, filter, &from, &budget) == NULL;
	const struct subject_entry *e = subjects_find(&s->machine.subjects, filter);
	return !e || !is_unsure(s, e);
}

void stream_find_last(struct stream *s, struct slice filter, struct stream_req *req)
{
	struct find_last *f = NEW(struct find_last);
	f->stream = s;
	f->req = req;
	buf_append_slice(&f->filter, filter);
	f->read = (struct stream_read) { .done = find_read_done, .from = s->machine.seqs.last_seq + 1, .max_msgs = 1 };
	f->id = UINT32_MAX;
	f->block = UINT64_MAX >> SEQ_BLOCK_SHIFT >> 1;
	f->all = filter.n == 0;
	f->marks = s->machine.subjects.unsure_marks;
	f->rest.fire = find_rested;
	list_push_back(&s->finds, &f->link);
	stream_read_start(s, &f->read); /* of nothing: so that done never comes from inside the call */
}

/* ---- subjects over their limit ---- */

struct tidy_subject {
	struct list link;
	uint32_t n;
	uint8_t name[];
};

static void tidy_next(struct stream *s);

static void tidy_done(struct stream_req *r)
{
	struct stream *s = CONTAINER_OF(r, struct stream, tidy_req);
	s->tidying = false;
	if (s->leading) tidy_next(s);
}

static void tidy_next(struct stream *s)
{
	if (s->tidy_many && !s->tidying) {
		int64_t limit = s->machine.config.max_msgs_per_subject;
		s->tidy_many = false;
		if (limit > 0) {
			s->tidying = true;
			s->tidy_req = (struct stream_req) { .done = tidy_done };
			sweep_subjects(s, (uint64_t)limit, &s->tidy_req);
		}
	}
	while (!s->tidying && !list_is_empty(&s->tidy)) {
		struct tidy_subject *t = CONTAINER_OF(list_pop_front(&s->tidy), struct tidy_subject, link);
		struct slice name = slice_of(t->name, t->n);
		struct subject_entry *e = subjects_find(&s->machine.subjects, name);
		uint64_t keep = e ? e->tidy_keep : 0;
		if (e) e->tidy_keep = 0;
		if (e && keep && e->count > keep) {
			s->tidying = true;
			s->tidy_req = (struct stream_req) { .done = tidy_done };
			stream_purge(s, name, 0, keep, &s->tidy_req);
		}
		mem_free(t);
	}
}

static void tidy_add(struct stream *s, struct subject_entry *e, uint64_t keep)
{
	if (e->tidy_keep == 0) {
		struct tidy_subject *t = mem_zalloc(sizeof *t + e->n);
		memcpy(t->name, e->name, e->n);
		t->n = e->n;
		list_push_back(&s->tidy, &t->link);
	}
	if (e->tidy_keep == 0 || keep < e->tidy_keep) e->tidy_keep = keep;
}

void tidy_msg(struct stream *s, const struct record *r)
{
	int64_t limit = r->flags & MACHINE_ROLLUP_SUBJECT ? 1 : s->machine.config.max_msgs_per_subject;
	struct subject_entry *e = limit > 0 ? subjects_find(&s->machine.subjects, r->subject) : NULL;
	if (e && e->count > (uint64_t)limit) tidy_add(s, e, (uint64_t)limit);
}

void tidy_all(struct stream *s)
{
	int64_t limit = s->machine.config.max_msgs_per_subject;
	for (uint32_t i = 0; limit > 0 && i < s->machine.subjects.id_next && !s->tidy_many; i++) {
		struct subject_entry *e = s->machine.subjects.by_id[i];
		s->tidy_many = e && e->count > (uint64_t)limit;
	}
}

void tidy_run(struct stream *s)
{
	if (s->leading && !s->tidying && (s->tidy_many || !list_is_empty(&s->tidy))) tidy_next(s);
}

bool tidy_is_done(const struct stream *s) { return !s->tidying && !s->tidy_many && list_is_empty(&s->tidy); }

void tidy_reset(struct stream *s)
{
	s->tidy_many = false;
	for (struct list *node; (node = list_pop_front(&s->tidy)) != NULL;) {
		struct tidy_subject *t = CONTAINER_OF(node, struct tidy_subject, link);
		struct subject_entry *e = subjects_find(&s->machine.subjects, slice_of(t->name, t->n));
		if (e) e->tidy_keep = 0;
		mem_free(t);
	}
}
