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

struct find_last {
	struct stream *stream;
	struct stream_req *req;
	struct stream_read read;
	struct buf filter, subject; /* subject: the one that is looked for now */
	struct slice wanted;
	uint32_t id;
	uint64_t block, found; /* block: the one that is looked through, from its start */
};

static void find_step(struct find_last *f);

static void find_end(struct find_last *f, enum err result)
{
	struct stream_req *req = f->req;
	buf_deinit(&f->filter);
	buf_deinit(&f->subject);
	mem_free(f);
	if (!req) return;
	req->result = result;
	req->done(req);
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
	if (at && f->found && seq_index_is_live(&s->machine.seqs, f->found) && is_unsure(s, at))
		subjects_last_found(&s->machine.subjects, at, f->found);
	find_step(f);
}

/* The highest block that still counts a message of the subject. */
static bool block_of(const struct stream *s, uint32_t id, uint64_t *number)
{
	const struct seq_index *ix = &s->machine.seqs;
	for (uint64_t n = ix->base + ix->count; n-- > ix->base;) {
		const struct seq_block *k = seq_index_block(ix, n);
		for (uint32_t i = 0; k && i < k->subject_count; i++) {
			if (k->subjects[i].id != id) continue;
			*number = n;
			return true;
		}
	}
	return false;
}

static struct subject_entry *next_unsure(const struct stream *s, const struct slice *filter)
{
	for (uint32_t i = 0; i < s->machine.subjects.id_next; i++) {
		struct subject_entry *e = s->machine.subjects.by_id[i];
		if (e && is_unsure(s, e) && (filter->n == 0 || subject_match(*filter, subject_name(e)))) return e;
	}
	return NULL;
}

static void find_step(struct find_last *f)
{
	struct stream *s = f->stream;
	struct slice filter = buf_slice(&f->filter);
	struct subject_entry *e = next_unsure(s, &filter);
	if (!e || !block_of(s, e->id, &f->block)) {
		find_end(f, OK);
		return;
	}
	f->id = e->id;
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
	if (filter.n == 0 || !subject_is_literal(filter)) return next_unsure(s, &filter) == NULL;
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
	for (uint32_t i = 0; limit > 0 && i < s->machine.subjects.id_next; i++) {
		struct subject_entry *e = s->machine.subjects.by_id[i];
		if (e && e->count > (uint64_t)limit) tidy_add(s, e, (uint64_t)limit);
	}
}

void tidy_run(struct stream *s)
{
	if (s->leading && !list_is_empty(&s->tidy)) tidy_next(s);
}

void tidy_reset(struct stream *s)
{
	for (struct list *node; (node = list_pop_front(&s->tidy)) != NULL;) {
		struct tidy_subject *t = CONTAINER_OF(node, struct tidy_subject, link);
		struct subject_entry *e = subjects_find(&s->machine.subjects, slice_of(t->name, t->n));
		if (e) e->tidy_keep = 0;
		mem_free(t);
	}
}
