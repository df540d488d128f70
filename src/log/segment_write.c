/* SPDX-License-Identifier: Apache-2.0 */
/* segment_write — appending settled entries, sealing, rewriting, rebuilding an .idx.
 *
 * Happy path of a round: the first _add opens the tail of the list and goes on at the next multiple of 4096 behind its last entry; entries
 * are gathered and written in large pieces, a row each beside them; a full segment is synced, sealed, and the next one made. _sync pads
 * the last piece with zeros and makes data and names durable. What the list says is true only then.
 *
 * Damage never stops a writer, because a group that could not settle would hold its journal slots for ever: a tail that is not what the
 * list says, or that cannot be scanned while it is sealed, is closed as it is, `bad` says what it may miss, and a new segment begins. */
#include "segment_file.h"

enum { SYNC_BYTES = 1024 * 1024 }; /* a journal block waits for so much of a round at the most */

/* ---- rebuilding an .idx ---- */

struct rows_out {
	struct io_file *file;
	struct buf rows;
	uint64_t at;
	uint32_t count, crc;
};

static enum err rows_flush(struct rows_out *o)
{
	if (o->rows.n == 0) return OK;
	struct slice v = buf_slice(&o->rows);
	enum err e = io_file_write(o->file, o->at, &v, 1);
	o->at += o->rows.n;
	buf_clear(&o->rows);
	return e;
}

static enum err rows_add(struct rows_out *o, const struct segment_row *row)
{
	uint8_t *p = buf_reserve(&o->rows, SEGMENT_ROW_BYTES);
	segment_row_encode(row, p);
	o->crc = crc32c(o->crc, p, SEGMENT_ROW_BYTES);
	o->rows.n += SEGMENT_ROW_BYTES;
	o->count++;
	return o->rows.n >= SEGMENT_CHUNK ? rows_flush(o) : OK;
}

/* Scans the open segment into an open, empty .idx, and syncs that. */
static enum err index_write(struct io_file *seg, struct io_file *idx, const struct segment_place *p,
	const struct segment_info *info, struct segment_range *bad)
{
	struct rows_out o = { .file = idx, .at = segment_row_at(0) };
	struct segment_scan s;
	struct entry_head h;
	struct slice entry;
	struct segment_range missed = { 0 };
	uint64_t offset;
	bool head_is_good;
	enum err e;
	segment_scan_init(&s, seg, info, p->group, SEGMENT_CHUNK);
	for (;;) {
		uint64_t expected = s.index_last ? s.index_last + 1 : info->first_index;
		if ((e = segment_scan_next(&s, &h, &entry, &offset, &head_is_good)) != OK) break;
		if (s.is_unsure && missed.from == 0) missed.from = expected;
		if (s.is_unsure) missed.to = h.index - 1;
		struct segment_row row = { h.index, h.seq_last, offset, (uint32_t)entry.n, (uint32_t)h.term };
		if ((e = rows_add(&o, &row)) != OK) break;
	}
	if (e == ERR_CORRUPT) {
		struct segment_range rest = segment_rest(info, s.index_last ? s.index_last + 1 : info->first_index);
		missed = (struct segment_range) { missed.from ? u64_min(missed.from, rest.from) : rest.from, rest.to };
	} else if (e == ERR_EOF) {
		e = o.count == info->entry_count ? OK : ERR_CORRUPT;
		if (missed.from == 0) missed = (struct segment_range) { info->first_index, info->last_index };
	}
	if (e == ERR_CORRUPT) *bad = missed;
	if (e == OK) e = rows_flush(&o);
	segment_scan_deinit(&s);
	buf_deinit(&o.rows);
	if (e != OK) return e;

	uint8_t head[SEGMENT_HEAD_BYTES];
	struct slice v = slice_of(head, sizeof head);
	segment_head_encode(&(struct segment_head) { .magic = SEGMENT_INDEX_MAGIC,
				    .group = p->group,
				    .generation = p->generation,
				    .first_index = info->first_index,
				    .store = p->store,
				    .row_count = o.count,
				    .row_crc = o.crc },
		head);
	e = io_file_write(idx, 0, &v, 1);
	return e == OK ? io_file_sync(idx) : e;
}

/* The new .idx takes the old one's name in one step, so that readers have one or the other. The name is not synced here. */
static enum err index_replace(struct io *io, struct io_file *seg, const struct segment_place *p,
	const struct segment_info *info, struct segment_range *bad)
{
	struct buf path = { 0 }, path_new = { 0 };
	struct io_file *idx = NULL;
	(void)segment_path(p, info, SEGMENT_FILE_IDX, &path);
	buf_append_slice(&path_new, buf_slice(&path));
	buf_append_str(&path_new, ".new");
	enum err e = io_file_open(
		io, buf_str(&path_new), IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_TRUNCATE, &idx);
	if (e == OK) e = index_write(seg, idx, p, info, bad);
	io_file_close(idx);
	if (e == OK) e = io_path_rename(io, buf_str(&path_new), buf_str(&path));
	buf_deinit(&path);
	buf_deinit(&path_new);
	return e;
}

enum err segment_index_rebuild(
	struct io *io, const struct segment_place *p, const struct segment_info *s, struct segment_range *bad)
{
	struct buf path = { 0 };
	struct io_file *seg = NULL;
	*bad = (struct segment_range) { 0 };
	enum err e = io_file_open(io, segment_path(p, s, SEGMENT_FILE_SEG, &path), IO_OPEN_READ, &seg);
	if (e == OK) e = index_replace(io, seg, p, s, bad);
	io_file_close(seg);
	if (e == OK) e = io_dir_sync(io, segment_dir_path(p, &path));
	buf_deinit(&path);
	return e;
}

/* ---- the writer ---- */

void segment_writer_init(struct segment_writer *w, struct io *io, const struct segment_place *place, uint64_t bytes_max,
	const struct segment_list *from)
{
	*w = (struct segment_writer) { .io = io, .place = *place, .bytes_max = bytes_max };
	segment_list_copy(&w->list, from);
}

void segment_writer_deinit(struct segment_writer *w)
{
	io_file_close(w->seg);
	io_file_close(w->idx);
	segment_list_deinit(&w->list);
	buf_deinit(&w->out);
	buf_deinit(&w->rows);
	buf_deinit(&w->path);
	w->seg = w->idx = NULL;
}

static struct segment_info *writer_tail(struct segment_writer *w)
{
	return w->list.count ? &w->list.rows[w->list.count - 1] : NULL;
}

static void writer_bad(struct segment_writer *w, struct segment_range bad)
{
	if (w->bad.from == 0) w->bad = bad;
	w->bad.from = u64_min(w->bad.from, bad.from);
	w->bad.to = u64_max(w->bad.to, bad.to);
}

static void writer_close(struct segment_writer *w)
{
	ASSERT(w->out.n == 0 && w->rows.n == 0);
	io_file_close(w->seg);
	io_file_close(w->idx);
	w->seg = w->idx = NULL;
}

static enum err writer_open_file(struct segment_writer *w, enum segment_file kind, unsigned flags, struct io_file **out)
{
	const char *path = segment_path(&w->place, writer_tail(w), kind, &w->path);
	return io_file_open(w->io, path, IO_OPEN_READ | IO_OPEN_WRITE | flags, out);
}

/* A new segment that begins with `index`. What a failed round left under the name goes. */
static enum err writer_create(struct segment_writer *w, uint64_t index, uint32_t rewrite)
{
	ASSERT(w->seg == NULL && index > 0);
	enum err e = w->list.count == 0 ? segment_dir_make(w->io, &w->place) : OK;
	if (e != OK) return e;
	/* A row without entries until the first is added, in this call's caller. */
	segment_list_push(
		&w->list, &(struct segment_info) { .first_index = index, .last_index = index, .rewrite = rewrite });
	w->dir_is_dirty = true;
	if ((e = writer_open_file(w, SEGMENT_FILE_SEG, IO_OPEN_CREATE | IO_OPEN_TRUNCATE, &w->seg)) != OK) return e;
	if ((e = writer_open_file(w, SEGMENT_FILE_IDX, IO_OPEN_CREATE | IO_OPEN_TRUNCATE, &w->idx)) != OK) return e;
	w->seg_at = 0;
	w->rows_at = 0;
	struct segment_head h = { .magic = SEGMENT_MAGIC,
		.group = w->place.group,
		.generation = w->place.generation,
		.first_index = index,
		.store = w->place.store };
	segment_head_encode(&h, buf_reserve(&w->out, SEGMENT_HEAD_BYTES));
	w->out.n = SEGMENT_HEAD_BYTES;
	return OK;
}

/* Whether the tail's .idx ends with the row of the tail's last entry. What lies before is not believed anyway, but rows must not be
 * appended behind a gap. */
static enum err writer_index_is_whole(struct segment_writer *w, bool *is_whole)
{
	const struct segment_info *t = writer_tail(w);
	uint8_t bytes[SEGMENT_ROW_BYTES];
	struct segment_row row;
	enum err e = segment_file_read(w->idx, segment_row_at(t->entry_count - 1), bytes, sizeof bytes);
	*is_whole = false;
	if (e != OK) return e == ERR_CORRUPT ? OK : e;
	segment_row_decode(bytes, &row);
	*is_whole =
		row.index == t->last_index && row.seq_last == t->seq_last && row.offset + row.entry_bytes == t->bytes;
	return OK;
}

static enum err writer_reopen_index(struct segment_writer *w)
{
	bool is_whole = false;
	enum err e = writer_open_file(w, SEGMENT_FILE_IDX, 0, &w->idx);
	if (e == OK) e = writer_index_is_whole(w, &is_whole);
	if (e == OK && is_whole) return OK;
	if (e != OK && e != ERR_NOT_FOUND) return e;
	io_file_close(w->idx);
	w->idx = NULL;
	struct segment_range bad = { 0 };
	w->dir_is_dirty = true;
	e = index_replace(w->io, w->seg, &w->place, writer_tail(w), &bad);
	if (e == ERR_CORRUPT) writer_bad(w, bad);
	return e == OK ? writer_open_file(w, SEGMENT_FILE_IDX, 0, &w->idx) : e;
}

/* Opens the tail to go on behind it. ERR_CORRUPT: it is not what the list says. */
static enum err writer_reopen(struct segment_writer *w)
{
	const struct segment_info *t = writer_tail(w);
	uint64_t size = 0;
	enum err e = writer_open_file(w, SEGMENT_FILE_SEG, 0, &w->seg);
	if (e == OK) e = io_file_size(w->seg, &size);
	if (e == ERR_NOT_FOUND || (e == OK && size < t->bytes)) {
		writer_bad(w, (struct segment_range) { t->first_index, t->last_index });
		return ERR_CORRUPT;
	}
	if (e == OK) e = writer_reopen_index(w);
	if (e != OK) return e;
	w->seg_at = round_up(t->bytes, SEGMENT_ALIGN);
	w->rows_at = t->entry_count;
	return OK;
}

/* Writes what was gathered; all of it, or only whole sectors. */
static enum err writer_flush(struct segment_writer *w, bool all)
{
	size_t n = all ? w->out.n : w->out.n & ~(size_t)(SEGMENT_ALIGN - 1);
	struct slice out = slice_of(w->out.p, n), rows = buf_slice(&w->rows);
	enum err e = n ? io_file_write(w->seg, w->seg_at, &out, 1) : OK;
	if (e == OK && rows.n) e = io_file_write(w->idx, segment_row_at(w->rows_at), &rows, 1);
	if (e != OK) return e;
	w->seg_at += n;
	w->rows_at += (uint32_t)(rows.n / SEGMENT_ROW_BYTES);
	w->written_bytes += n + rows.n;
	w->unsynced_bytes += n;
	buf_consume(&w->out, n);
	buf_clear(&w->rows);
	/* Little by little: what a round wrote in one piece would stand in the journal's way in one piece. */
	if (w->defers_sync || w->unsynced_bytes < SYNC_BYTES) return OK;
	w->unsynced_bytes = 0;
	return io_file_sync(w->seg);
}

/* The tail's data is durable, in whole sectors; the next entry goes into the next one. */
static enum err writer_sync_tail(struct segment_writer *w)
{
	if (!w->is_dirty) return OK;
	uint64_t end = w->seg_at + w->out.n, pad = round_up(end, SEGMENT_ALIGN) - end;
	memset(buf_reserve(&w->out, pad), 0, pad);
	w->out.n += pad;
	enum err e = writer_flush(w, true);
	if (e == OK && !w->defers_sync) e = io_file_sync(w->seg);
	if (e == OK) w->is_dirty = false;
	return e;
}

/* Closes the tail for good. Its data is durable. */
static enum err writer_seal_tail(struct segment_writer *w)
{
	struct segment_info *t = writer_tail(w);
	struct segment_range bad = { 0 };
	ASSERT(!w->is_dirty && !(t->flags & SEGMENT_SEALED));
	enum err e = w->seg ? index_replace(w->io, w->seg, &w->place, t, &bad) : ERR_CORRUPT;
	if (e == ERR_CORRUPT) {
		if (bad.from) writer_bad(w, bad);
		/* The rows that were appended with the entries still lead to those that are whole. */
		e = w->idx ? io_file_sync(w->idx) : OK;
	}
	if (e != OK) return e;
	t->flags |= SEGMENT_SEALED;
	w->dir_is_dirty = true;
	writer_close(w);
	return OK;
}

/* Makes the tail one that takes the entry. */
static enum err writer_prepare(struct segment_writer *w, uint64_t index, uint64_t bytes)
{
	struct segment_info *t = writer_tail(w);
	enum err e = OK;
	if (t && !(t->flags & SEGMENT_SEALED) && !w->seg) {
		e = writer_reopen(w);
		if (e == ERR_CORRUPT) e = writer_seal_tail(w);
		if (e != OK) return e;
	}
	if (t && !(t->flags & SEGMENT_SEALED)) {
		if (w->seg_at + w->out.n + bytes <= w->bytes_max) return OK;
		e = writer_sync_tail(w);
		if (e == OK) e = writer_seal_tail(w);
	}
	return e == OK ? writer_create(w, index, 0) : e;
}

/* Notes the entry in the tail's row and gathers it. */
static enum err writer_take(struct segment_writer *w, const struct entry_head *h, struct slice entry)
{
	struct segment_info *t = writer_tail(w);
	struct segment_row row = { h->index, h->seq_last, w->seg_at + w->out.n, (uint32_t)entry.n, (uint32_t)h->term };
	segment_row_encode(&row, buf_reserve(&w->rows, SEGMENT_ROW_BYTES));
	w->rows.n += SEGMENT_ROW_BYTES;
	buf_append_slice(&w->out, entry);
	t->last_index = h->index;
	t->bytes = row.offset + entry.n;
	t->seq_last = u64_max(t->seq_last, h->seq_last);
	t->term_last = h->term;
	t->entry_count++;
	t->live_bytes += entry.n;
	w->is_dirty = true;
	return w->out.n >= SEGMENT_CHUNK ? writer_flush(w, false) : OK;
}

static void writer_check(const struct segment_writer *w, const struct entry_head *h, struct slice entry)
{
	ASSERT(h->group == w->place.group);
	ASSERT(entry.n == entry_bytes(h->body_bytes) && entry.n <= UINT32_MAX);
	ASSERT(w->list.count == 0 || h->index > w->list.rows[w->list.count - 1].last_index);
}

enum err segment_writer_add(struct segment_writer *w, const struct entry_head *h, struct slice entry)
{
	writer_check(w, h, entry);
	enum err e = writer_prepare(w, h->index, entry.n);
	return e == OK ? writer_take(w, h, entry) : e;
}

enum err segment_writer_sync(struct segment_writer *w)
{
	enum err e = writer_sync_tail(w);
	if (e == OK && w->dir_is_dirty && !w->defers_sync)
		e = io_dir_sync(w->io, segment_dir_path(&w->place, &w->path));
	if (e == OK) w->dir_is_dirty = false;
	return e;
}

enum err segment_writer_seal(struct segment_writer *w)
{
	struct segment_info *t = writer_tail(w);
	if (!t || (t->flags & SEGMENT_SEALED)) return OK;
	ASSERT(!w->is_dirty);
	enum err e = w->seg ? OK : writer_reopen(w);
	if (e == OK || e == ERR_CORRUPT) e = writer_seal_tail(w);
	return e == OK ? segment_writer_sync(w) : e;
}

/* ---- rewriting ---- */

struct rewrite {
	struct segment_writer *w;
	uint32_t number;
	segment_keep_fn *keep;
	void *arg;
	enum err result;
};

static bool rewrite_entry(void *arg, const struct entry_head *h, struct slice entry)
{
	struct rewrite *r = arg;
	struct entry_head kept = *h;
	if (!r->keep(r->arg, &kept, &entry)) return true;
	if (r->w->list.count == 0) r->result = writer_create(r->w, kept.index, r->number);
	if (r->result == OK) r->result = writer_take(r->w, &kept, entry);
	return r->result == OK;
}

enum err segment_rewrite(struct io *io, const struct segment_place *p, const struct segment_info *s,
	segment_keep_fn *keep, void *arg, struct segment_info *out, struct segment_range *bad)
{
	struct segment_reader reader;
	struct segment_writer w;
	struct rewrite r = { &w, s->rewrite + 1, keep, arg, OK };
	*out = (struct segment_info) { 0 };
	*bad = (struct segment_range) { 0 };
	segment_writer_init(&w, io, p, UINT64_MAX, &(struct segment_list) { 0 });
	enum err e = segment_open(&reader, io, p, s);
	if (e == OK) e = segment_each(&reader, 0, rewrite_entry, &r);
	if (e == OK) e = r.result;
	if (e == ERR_NOT_FOUND) e = ERR_CORRUPT; /* the state names it, and it is not there */
	if (e == ERR_CORRUPT) *bad = reader.bad;
	segment_close(&reader);
	if (e == OK) e = segment_writer_sync(&w);
	if (e == OK) e = segment_writer_seal(&w);
	if (e == OK && w.bad.from) {
		*bad = w.bad;
		e = ERR_CORRUPT;
	}
	if (w.list.count && e == OK) *out = w.list.rows[0];
	if (w.list.count && e == ERR_CORRUPT) {
		enum err gone = segment_unlink(io, p, &w.list.rows[0]);
		if (gone != OK) e = gone;
	}
	segment_writer_deinit(&w);
	return e;
}
