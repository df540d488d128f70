/* SPDX-License-Identifier: Apache-2.0 */
/* segment_read — finding and reading entries of one segment.
 *
 * Happy path: binary search in the .idx (pages of it, never the whole), the row leads to an entry that says itself that it is the one;
 * from there entries are read in their order through a window, each with its checksums.
 *
 * The .idx is not believed, because its writes are not synced while the segment grows. If the entry found has the index that was asked
 * for, that is proof enough. If it lies above (a hole, or a search by sequence) the row before must join up with it, so that nothing
 * can lie between. If a row contradicts the segment, the segment is scanned from its start and the .idx is reported as bad; if the
 * rows agree with each other and the entry is unreadable, the entry is damaged. */
#include "segment_file.h"

enum err segment_file_read(struct io_file *f, uint64_t at, void *p, size_t n)
{
	size_t got = 0;
	enum err e = io_file_read(f, at, p, n, &got);
	if (e == ERR_IO) e = io_file_read(f, at, p, n, &got); /* once more: what can not be read then is damaged */
	if (e == ERR_IO) return ERR_CORRUPT;
	return e == OK && got < n ? ERR_CORRUPT : e;
}

/* ---- the scan ---- */

void segment_scan_init(
	struct segment_scan *s, struct io_file *f, const struct segment_info *info, uint64_t group, size_t chunk)
{
	*s = (struct segment_scan) {
		.file = f, .info = info, .group = group, .at = SEGMENT_HEAD_BYTES, .chunk = chunk
	};
}

void segment_scan_deinit(struct segment_scan *s) { buf_deinit(&s->window); }

struct segment_range segment_rest(const struct segment_info *s, uint64_t from)
{
	return (struct segment_range) { from <= s->last_index ? from : s->first_index, s->last_index };
}

/* n bytes at `at`, through the window; the caller has checked that they lie inside the segment. What is left of the window moves to its
 * front only when more must be read. */
static enum err scan_window(struct segment_scan *s, uint64_t at, uint64_t n, const uint8_t **p)
{
	ASSERT(at <= s->info->bytes && n <= s->info->bytes - at);
	uint64_t end = s->window_at + s->window.n;
	if (at < s->window_at || at + n > end) {
		buf_consume(&s->window, at >= s->window_at && at < end ? at - s->window_at : s->window.n);
		s->window_at = at;
		uint64_t have = s->window.n, want = u64_min(u64_max(n, s->chunk), s->info->bytes - at);
		enum err e = segment_file_read(s->file, at + have, buf_reserve(&s->window, want - have), want - have);
		/* Damage ahead is not damage here. */
		if (e == ERR_CORRUPT && n < want) {
			want = n;
			e = have < n ? segment_file_read(s->file, at + have, s->window.p + have, n - have) : OK;
		}
		if (e != OK) return e;
		s->window.n = want;
	}
	*p = s->window.p + (at - s->window_at);
	return OK;
}

static bool is_zero(const uint8_t *p, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (p[i]) return false;
	return true;
}

/* Where the next entry begins: there, or behind the zeros with which a round ended. Damage to the first eight of these does not hide what is
 * behind them: no entry has zeros behind its crcs, where its kind is. */
static enum err scan_skip_zeros(struct segment_scan *s)
{
	const uint8_t *p;
	uint64_t boundary = round_up(s->at, SEGMENT_ALIGN), left = s->info->bytes - s->at;
	if (s->at % SEGMENT_ALIGN == 0 || left < 8) return OK;
	enum err e = scan_window(s, s->at, 8, &p);
	if (e != OK) return e;
	if (le64_get(p) != 0) {
		if (boundary - s->at < 16 || boundary >= s->info->bytes) return OK;
		e = scan_window(s, s->at, 16, &p);
		if (e != OK || !is_zero(p + 8, 8)) return e;
		e = scan_window(s, s->at, boundary - s->at, &p);
		if (e != OK || !is_zero(p + 8, boundary - s->at - 8)) return e;
	} else if (boundary >= s->info->bytes) {
		return ERR_CORRUPT;
	}
	s->at = boundary;
	return OK;
}

enum err segment_scan_next(
	struct segment_scan *s, struct entry_head *h, struct slice *entry, uint64_t *offset, bool *head_is_good)
{
	*head_is_good = s->is_unsure = false;
	if (s->at >= s->info->bytes) return ERR_EOF;
	const uint64_t end_before = s->at, expected = s->index_last ? s->index_last + 1 : s->info->first_index;
	enum err e = scan_skip_zeros(s);
	if (e != OK) return e;
	const uint8_t *p;
	uint64_t left = s->info->bytes - s->at;
	if (left < ENTRY_HEAD_BYTES) return ERR_CORRUPT;
	if ((e = scan_window(s, s->at, ENTRY_HEAD_BYTES, &p)) != OK) return e;
	if (entry_head_decode(slice_of(p, ENTRY_HEAD_BYTES), h) != OK) return ERR_CORRUPT;
	uint64_t bytes = entry_bytes(h->body_bytes);
	if (h->group != s->group || h->index <= s->index_last || h->index > s->info->last_index || bytes > left)
		return ERR_CORRUPT;
	*head_is_good = true;
	if ((e = scan_window(s, s->at, bytes, &p)) != OK) return e;
	struct slice in = slice_of(p, bytes), body;
	if (entry_next(&in, h, &body) != OK) return ERR_CORRUPT;
	*offset = s->at;
	*entry = slice_of(p, bytes);
	s->is_unsure = s->at > end_before && h->index > expected;
	s->at += bytes;
	s->index_last = h->index;
	return OK;
}

/* Over a damaged entry whose head is good: that says where the next one begins. Where it does not, nothing is searched for: what a client wrote
 * may look like an entry. */
static void segment_scan_pass(struct segment_scan *s, const struct entry_head *h)
{
	s->at += entry_bytes(h->body_bytes);
	s->index_last = h->index;
}

/* ---- opening ---- */

static enum err reader_open_idx(struct segment_reader *r, struct buf *path)
{
	enum err e =
		io_file_open(r->io, segment_path(&r->place, &r->info, SEGMENT_FILE_IDX, path), IO_OPEN_READ, &r->idx);
	if (e != ERR_NOT_FOUND) return e;
	r->index_is_bad = true;
	return OK;
}

static enum err reader_check_head(struct segment_reader *r)
{
	uint8_t bytes[SEGMENT_HEAD_BYTES];
	struct segment_head h;
	enum err e = segment_file_read(r->seg, 0, bytes, sizeof bytes);
	if (e == OK) e = segment_head_decode(bytes, &h);
	if (e == ERR_CORRUPT) {
		r->head_is_bad = true;
		return OK;
	}
	if (e != OK) return e;
	bool is_ours = h.magic == SEGMENT_MAGIC && h.group == r->place.group && h.generation == r->place.generation &&
		       h.first_index == r->info.first_index && h.store == r->place.store;
	return is_ours ? OK : ERR_CORRUPT;
}

enum err segment_open(
	struct segment_reader *r, struct io *io, const struct segment_place *p, const struct segment_info *s)
{
	*r = (struct segment_reader) { .io = io, .place = *p, .info = *s };
	struct buf path = { 0 };
	enum err e = io_file_open(io, segment_path(p, s, SEGMENT_FILE_SEG, &path), IO_OPEN_READ, &r->seg);
	if (e == OK) e = reader_check_head(r);
	if (e == OK) e = reader_open_idx(r, &path);
	if (e == ERR_CORRUPT || e == ERR_NOT_FOUND) r->bad = (struct segment_range) { s->first_index, s->last_index };
	buf_deinit(&path);
	return e;
}

void segment_close(struct segment_reader *r)
{
	io_file_close(r->seg);
	io_file_close(r->idx);
	buf_deinit(&r->page);
	r->seg = r->idx = NULL;
}

/* ---- rows ---- */

enum { ROWS_PER_PAGE = 4096 / SEGMENT_ROW_BYTES };

/* Row k, through the page that holds it. ERR_NOT_FOUND: the .idx does not have it. */
static enum err reader_row(struct segment_reader *r, uint32_t k, struct segment_row *out)
{
	if (!r->idx) return ERR_NOT_FOUND;
	uint32_t page = k / ROWS_PER_PAGE, at = k % ROWS_PER_PAGE;
	if (r->page_number != page + 1) {
		size_t got = 0;
		buf_clear(&r->page);
		uint8_t *p = buf_reserve(&r->page, 4096);
		enum err e = io_file_read(r->idx, segment_row_at((uint64_t)page * ROWS_PER_PAGE), p, 4096, &got);
		if (e != OK && e != ERR_IO) return e;
		r->page.n = e == OK ? got : 0;
		r->page_number = page + 1;
	}
	if (r->page.n < ((size_t)at + 1) * SEGMENT_ROW_BYTES) return ERR_NOT_FOUND;
	segment_row_decode(r->page.p + (size_t)at * SEGMENT_ROW_BYTES, out);
	return OK;
}

/* What is searched: an index, or a stream sequence. */
struct target {
	bool by_seq;
	uint64_t value;
};
static uint64_t row_key(const struct segment_row *row, struct target t)
{
	return t.by_seq ? row->seq_last : row->index;
}

/* Position of the first row whose key is at least the target's. */
static enum err reader_search(struct segment_reader *r, struct target t, uint32_t *k)
{
	uint32_t low = 0, high = r->info.entry_count;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		struct segment_row row;
		enum err e = reader_row(r, mid, &row);
		if (e != OK) return e;
		if (row_key(&row, t) < t.value)
			low = mid + 1;
		else
			high = mid;
	}
	*k = low;
	return OK;
}

enum row_verdict {
	ROW_AGREES,
	ROW_LIES,         /* it contradicts the segment, or is no row at all */
	ROW_ENTRY_IS_BAD, /* what it leads to is unreadable */
};

static bool row_is_possible(const struct segment_reader *r, const struct segment_row *row)
{
	return row->offset >= SEGMENT_HEAD_BYTES && row->offset % 8 == 0 && row->offset < r->info.bytes &&
	       row->entry_bytes >= ENTRY_HEAD_BYTES && row->entry_bytes <= r->info.bytes - row->offset;
}

/* Holds the row against the whole entry: checksums, index, sequence, length. */
static enum err row_judge(struct segment_reader *r, const struct segment_row *row, enum row_verdict *verdict)
{
	*verdict = ROW_LIES;
	if (!row_is_possible(r, row)) return OK;
	struct buf entry = { 0 };
	enum err e = segment_file_read(r->seg, row->offset, buf_reserve(&entry, row->entry_bytes), row->entry_bytes);
	if (e == OK) {
		entry.n = row->entry_bytes;
		struct entry_head h;
		struct slice in = buf_slice(&entry), body;
		e = entry_head_decode(in, &h);
		if (e == OK) {
			bool is_same = h.group == r->place.group && h.index == row->index &&
				       h.seq_last == row->seq_last && (uint32_t)h.term == row->term &&
				       entry_bytes(h.body_bytes) == row->entry_bytes;
			*verdict = !is_same                           ? ROW_LIES
				   : entry_next(&in, &h, &body) == OK ? ROW_AGREES
								      : ROW_ENTRY_IS_BAD;
		}
	}
	if (e == ERR_CORRUPT) {
		*verdict = ROW_ENTRY_IS_BAD;
		e = OK;
	}
	buf_deinit(&entry);
	return e;
}

/* True when row b begins where row a ends, or behind the zeros of a round's end there. */
static enum err rows_join(struct segment_reader *r, const struct segment_row *a, uint64_t offset_b, bool *join)
{
	uint64_t end = a->offset + a->entry_bytes;
	*join = end == offset_b;
	if (*join || offset_b != round_up(end, SEGMENT_ALIGN) || offset_b - end < 8) return OK;
	uint8_t p[8];
	enum err e = segment_file_read(r->seg, end, p, sizeof p);
	*join = e == OK && le64_get(p) == 0;
	return e == ERR_CORRUPT ? OK : e;
}

/* Do the rows around row k leave no room for an entry that has none? ROW_LIES: they contradict each other or the segment. */
static enum err reader_prove(struct segment_reader *r, uint32_t k, const struct segment_row *row, bool *is_proven)
{
	*is_proven = false;
	if (k == 0) {
		*is_proven = row->offset == SEGMENT_HEAD_BYTES;
		return OK;
	}
	struct segment_row before;
	enum row_verdict verdict;
	enum err e = reader_row(r, k - 1, &before);
	if (e == ERR_NOT_FOUND) return OK;
	if (e == OK) e = row_judge(r, &before, &verdict);
	if (e != OK || verdict == ROW_LIES) return e;
	if (before.index >= row->index || before.seq_last > row->seq_last) return OK;
	return rows_join(r, &before, row->offset, is_proven);
}

/* The range that a damaged entry at row k may stand for: from behind the row before to before the next row that is good. */
static enum err reader_bad_range(struct segment_reader *r, uint32_t k)
{
	struct segment_row row;
	enum row_verdict verdict;
	r->bad = (struct segment_range) { r->info.first_index, r->info.last_index };
	enum err e = k ? reader_row(r, k - 1, &row) : ERR_NOT_FOUND;
	if (e == OK) r->bad.from = row.index + 1;
	for (k++; k < r->info.entry_count && (e == OK || e == ERR_NOT_FOUND); k++) {
		if ((e = reader_row(r, k, &row)) != OK) break;
		if ((e = row_judge(r, &row, &verdict)) != OK || verdict != ROW_AGREES) continue;
		r->bad.to = row.index - 1;
		break;
	}
	if (r->bad.to < r->bad.from) r->bad.to = r->bad.from;
	return e == OK || e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
}

/* ---- finding ---- */

struct found {
	uint64_t offset, index_before;
	uint32_t entry_bytes;
};

/* The scan stands behind the count-th entry, before which some may be missing: are there as many as the meta says? */
static enum err reader_count(struct segment_reader *r, struct segment_scan *s, uint32_t count)
{
	struct entry_head h;
	struct slice entry;
	uint64_t offset;
	bool head_is_good;
	enum err e;
	for (;; count++) {
		e = segment_scan_next(s, &h, &entry, &offset, &head_is_good);
		if (e == ERR_CORRUPT && head_is_good)
			segment_scan_pass(s, &h);
		else if (e != OK)
			break;
	}
	if (e != ERR_EOF) return e;
	r->is_whole = count == r->info.entry_count;
	return r->is_whole ? OK : ERR_CORRUPT;
}

/* Without the .idx: from the segment's first entry on. */
static enum err reader_find_by_scan(struct segment_reader *r, struct target t, struct found *out)
{
	struct segment_scan s;
	struct entry_head h;
	struct slice entry;
	uint64_t offset = 0, before = 0;
	uint32_t count = 0;
	bool head_is_good;
	enum err e;
	r->index_is_bad = true;
	segment_scan_init(&s, r->seg, &r->info, r->place.group, SEGMENT_CHUNK);
	for (;;) {
		e = segment_scan_next(&s, &h, &entry, &offset, &head_is_good);
		if (e != OK && (e != ERR_CORRUPT || !head_is_good)) break;
		if ((t.by_seq ? h.seq_last : h.index) >= t.value) break;
		before = h.index;
		count++;
		if (e == ERR_CORRUPT) segment_scan_pass(&s, &h);
	}
	if (e == OK) *out = (struct found) { offset, before, (uint32_t)entry.n };
	const bool is_hidden = e == OK && s.is_unsure && !r->is_whole && (t.by_seq || h.index != t.value);
	if (is_hidden) e = reader_count(r, &s, count + 1);
	if (is_hidden && e == ERR_CORRUPT) {
		r->bad = (struct segment_range) { before ? before + 1 : r->info.first_index, h.index - 1 };
		segment_scan_deinit(&s);
		return e;
	}
	/* The meta's last index and sequence reach the target: an end before it is damage too. */
	if (e == ERR_EOF) e = ERR_CORRUPT;
	if (e == ERR_CORRUPT)
		r->bad = (struct segment_range) { before + 1, head_is_good ? h.index : r->info.last_index };
	segment_scan_deinit(&s);
	return e;
}

/* Row k leads to bytes that are no entry, but agrees with the row before. Damage, unless it is a row of a round that a crash undid: then
 * the scan finds the entry elsewhere. */
static enum err reader_find_damaged(struct segment_reader *r, struct target t, uint32_t k, struct found *out)
{
	bool was_bad = r->index_is_bad;
	enum err e = reader_find_by_scan(r, t, out);
	if (e != ERR_CORRUPT) return e;
	r->index_is_bad = was_bad;
	return reader_bad_range(r, k);
}

/* The first entry whose key is at least the target's. The caller has checked that the meta has one. */
static enum err reader_find(struct segment_reader *r, struct target t, struct found *out)
{
	uint32_t k = 0;
	struct segment_row row = { 0 }, before = { 0 };
	enum row_verdict verdict = ROW_LIES;
	enum err e = reader_search(r, t, &k);
	if (e == OK && k < r->info.entry_count) e = reader_row(r, k, &row);
	if (e == OK && k < r->info.entry_count) e = row_judge(r, &row, &verdict);
	if (e != OK && e != ERR_NOT_FOUND) return e;
	if (e != OK || k == r->info.entry_count || verdict == ROW_LIES) return reader_find_by_scan(r, t, out);

	bool is_exact = !t.by_seq && row.index == t.value, is_proven = false;
	if (!is_exact || verdict == ROW_ENTRY_IS_BAD) {
		if ((e = reader_prove(r, k, &row, &is_proven)) != OK) return e;
		if (!is_proven) return reader_find_by_scan(r, t, out);
	}
	if (verdict == ROW_ENTRY_IS_BAD) return reader_find_damaged(r, t, k, out);
	e = k ? reader_row(r, k - 1, &before) : OK;
	*out = (struct found) { row.offset, k ? before.index : 0, row.entry_bytes };
	return e == ERR_NOT_FOUND ? OK : e;
}

/* ---- reading ---- */

enum err segment_read(struct segment_reader *r, uint64_t from, uint64_t to, uint64_t bytes_max, bool holes,
	struct buf *out, uint64_t *next)
{
	*next = from;
	from = u64_max(from, r->info.first_index);
	if (from > *next && holes) *next = from;
	if (from > *next || from > r->info.last_index) return OK;

	struct found at;
	struct segment_scan s;
	enum err e = reader_find(r, (struct target) { false, from }, &at);
	if (e != OK) return e;
	segment_scan_init(&s, r->seg, &r->info, r->place.group,
		from == to ? at.entry_bytes : size_min(size_max(at.entry_bytes, bytes_max), SEGMENT_CHUNK));
	s.at = at.offset;
	s.index_last = from - 1;

	uint64_t appended = 0;
	for (;;) {
		struct entry_head h;
		struct slice entry;
		uint64_t offset;
		bool head_is_good;
		e = segment_scan_next(&s, &h, &entry, &offset, &head_is_good);
		if (e == OK && s.is_unsure && holes && !r->is_whole) {
			e = reader_find(r, (struct target) { false, *next }, &at);
			if (e != OK) break; /* it has said what is bad */
		}
		if (e != OK || h.index > to || (!holes && h.index != *next)) {
			if (e == OK && holes) *next = u64_min(h.index, to + 1);
			break;
		}
		if (appended && appended + entry.n > bytes_max) break;
		buf_append_slice(out, entry);
		appended += entry.n;
		*next = h.index + 1;
	}
	if (e == ERR_CORRUPT && !s.is_unsure) r->bad = (struct segment_range) { *next, r->info.last_index };
	segment_scan_deinit(&s);
	if (e == ERR_EOF) return OK;
	if (e != ERR_CORRUPT) return e;
	return appended ? OK : ERR_CORRUPT;
}

enum err segment_read_seq(struct segment_reader *r, uint64_t seq, struct buf *out)
{
	if (seq > r->info.seq_last) return ERR_NOT_FOUND;
	struct found at;
	enum err e = reader_find(r, (struct target) { true, seq }, &at);
	if (e != OK) return e;
	struct segment_scan s;
	struct entry_head h;
	struct slice entry;
	uint64_t offset;
	bool head_is_good;
	segment_scan_init(&s, r->seg, &r->info, r->place.group, at.entry_bytes);
	s.at = at.offset;
	s.index_last = at.index_before;
	e = segment_scan_next(&s, &h, &entry, &offset, &head_is_good);
	if (e == OK) buf_append_slice(out, entry);
	if (e == ERR_CORRUPT || e == ERR_EOF) {
		e = ERR_CORRUPT;
		r->bad = (struct segment_range) { at.index_before + 1, r->info.last_index };
	}
	segment_scan_deinit(&s);
	return e;
}

enum err segment_each(struct segment_reader *r, uint64_t from, segment_each_fn *each, void *arg)
{
	struct segment_scan s;
	struct found at = { .offset = SEGMENT_HEAD_BYTES };
	enum err e = OK;
	if (from > r->info.last_index) return OK;
	if (from > r->info.first_index) e = reader_find(r, (struct target) { false, from }, &at);
	if (e != OK) return e;
	segment_scan_init(&s, r->seg, &r->info, r->place.group, SEGMENT_CHUNK);
	s.at = at.offset;
	s.index_last = at.index_before;
	struct entry_head h;
	struct slice entry;
	uint64_t offset;
	bool head_is_good;
	for (;;) {
		uint64_t expected = s.index_last ? s.index_last + 1 : r->info.first_index;
		e = segment_scan_next(&s, &h, &entry, &offset, &head_is_good);
		if (e == ERR_CORRUPT) r->bad = segment_rest(&r->info, expected);
		if (e == OK && s.is_unsure && !r->is_whole)
			e = reader_find(r, (struct target) { false, expected }, &at);
		if (e != OK || !each(arg, &h, entry)) break;
	}
	segment_scan_deinit(&s);
	return e == ERR_EOF ? OK : e;
}

/* ---- verifying all of it, for log_check ---- */

struct verify {
	struct segment_reader *r;
	segment_damage_fn *each;
	void *arg;
	struct segment_scan scan;
	uint32_t count;      /* entries met, damaged ones included where the .idx counts them */
	uint32_t rows_lying; /* rows that differ from what the segment says */
	uint32_t row_lying;  /* the first of them */
	uint32_t row_crc;
	struct entry_head last;
	bool is_damaged;
};

/* Entries [from, to] are lost; the damage begins at `offset` of the segment. */
static void verify_say(struct verify *v, uint64_t from, uint64_t to, uint64_t offset, const char *what)
{
	v->is_damaged = true;
	v->each(v->arg, &(struct segment_damage) { { from, to }, SEGMENT_FILE_SEG, offset, what });
}

static void verify_say_harmless(struct verify *v, enum segment_file file, uint64_t offset, const char *what)
{
	v->each(v->arg, &(struct segment_damage) { { 0, 0 }, file, offset, what });
}

/* Counts a row that does not say what the entry at this place is. */
static enum err verify_row(struct verify *v, const struct segment_row *want)
{
	struct segment_row row;
	uint8_t bytes[SEGMENT_ROW_BYTES];
	enum err e = reader_row(v->r, v->count, &row);
	if (e != OK && e != ERR_NOT_FOUND) return e;
	if (e == OK) {
		segment_row_encode(&row, bytes);
		v->row_crc = crc32c(v->row_crc, bytes, sizeof bytes);
	}
	bool is_same = e == OK && row.index == want->index && row.seq_last == want->seq_last &&
		       row.offset == want->offset && row.entry_bytes == want->entry_bytes && row.term == want->term;
	if (!is_same && v->rows_lying++ == 0) v->row_lying = v->count;
	return OK;
}

/* The entry at the scan's place is damaged: finds where to go on, by its own length or else by the rows. */
static enum err verify_skip(struct verify *v, const struct entry_head *h, bool head_is_good)
{
	struct segment_scan *s = &v->scan;
	struct segment_row row = { 0 };
	enum row_verdict verdict = ROW_LIES;
	enum err e;
	if (head_is_good) {
		verify_say(v, h->index, h->index, s->at, "the body of an entry is damaged");
		s->at += entry_bytes(h->body_bytes);
		s->index_last = h->index;
		v->last = *h;
		v->count++;
		return OK;
	}
	for (uint32_t k = v->count; k < v->r->info.entry_count; k++) {
		if (reader_row(v->r, k, &row) != OK) break;
		if (row.offset <= s->at || row.index <= s->index_last) continue;
		if ((e = row_judge(v->r, &row, &verdict)) != OK) return e;
		if (verdict != ROW_AGREES) continue;
		if (row.index - 1 > s->index_last)
			verify_say(v, s->index_last + 1, row.index - 1, s->at, "entries are damaged");
		else
			verify_say_harmless(v, SEGMENT_FILE_SEG, s->at, "the zeros between two rounds are damaged");
		s->at = row.offset;
		s->index_last = row.index - 1;
		v->count = k;
		return OK;
	}
	verify_say(v, s->index_last + 1, v->r->info.last_index, s->at, "entries are damaged up to the segment's end");
	s->at = v->r->info.bytes;
	return OK;
}

/* The zeros behind the entry before the scan's last one. */
static enum err verify_zeros(struct verify *v, uint64_t from, uint64_t to)
{
	uint8_t p[SEGMENT_ALIGN], any = 0;
	ASSERT(to - from <= sizeof p);
	enum err e = segment_file_read(v->r->seg, from, p, to - from);
	if (e != OK && e != ERR_CORRUPT) return e;
	for (size_t i = 0; e == OK && i < to - from; i++) any |= p[i];
	if (e != OK || any) verify_say_harmless(v, SEGMENT_FILE_SEG, from, "the zeros between two rounds are damaged");
	return OK;
}

/* Zeros, and behind them an entry whose index is not the next one: have the rows any that should be between? */
static void verify_unsure(struct verify *v, const struct entry_head *h, uint64_t at)
{
	struct segment_row row = { 0 };
	uint32_t k = v->count;
	while (k < v->r->info.entry_count && reader_row(v->r, k, &row) == OK && row.index < h->index) k++;
	if (k == v->count) return;
	verify_say(v, v->last.index ? v->last.index + 1 : v->r->info.first_index, h->index - 1, at,
		"zeros where entries were");
	v->count = k;
}

static enum err verify_entries(struct verify *v)
{
	struct entry_head h;
	struct slice entry;
	uint64_t offset = 0;
	for (;;) {
		bool head_is_good;
		uint64_t before = v->scan.at;
		enum err e = segment_scan_next(&v->scan, &h, &entry, &offset, &head_is_good);
		if (e == ERR_EOF) return OK;
		if (e == ERR_CORRUPT)
			e = verify_skip(v, &h, head_is_good);
		else if (e == OK) {
			struct segment_row want = { h.index, h.seq_last, offset, (uint32_t)entry.n, (uint32_t)h.term };
			if (offset > before) e = verify_zeros(v, before, offset);
			if (v->scan.is_unsure) verify_unsure(v, &h, before);
			if (e == OK) e = verify_row(v, &want);
			v->count++;
			v->last = h;
		}
		if (e != OK) return e;
	}
}

/* What the meta says of the whole, where no damage has made it unknowable. */
static void verify_sums(struct verify *v)
{
	const struct segment_info *i = &v->r->info;
	if (v->is_damaged) return;
	bool is_same = v->count == i->entry_count && v->last.index == i->last_index &&
		       v->last.seq_last == i->seq_last && v->last.term == i->term_last;
	if (!is_same)
		verify_say(
			v, i->first_index, i->last_index, 0, "what the meta says of the segment is not what it holds");
}

static enum err verify_index_head(struct verify *v)
{
	uint8_t bytes[SEGMENT_HEAD_BYTES];
	struct segment_head h = { 0 };
	const struct segment_info *i = &v->r->info;
	if (!(i->flags & SEGMENT_SEALED) || !v->r->idx || v->is_damaged) return OK;
	enum err e = segment_file_read(v->r->idx, 0, bytes, sizeof bytes);
	if (e == OK) e = segment_head_decode(bytes, &h);
	bool is_good = e == OK && h.magic == SEGMENT_INDEX_MAGIC && h.group == v->r->place.group &&
		       h.generation == v->r->place.generation && h.first_index == i->first_index &&
		       h.store == v->r->place.store && h.row_count == i->entry_count && h.row_crc == v->row_crc;
	if (!is_good) verify_say_harmless(v, SEGMENT_FILE_IDX, 0, "the head of the index file is damaged");
	return e == ERR_CORRUPT || e == ERR_FORMAT ? OK : e;
}

enum err segment_verify(struct segment_reader *r, segment_damage_fn *each, void *arg)
{
	struct verify v = { .r = r, .each = each, .arg = arg };
	if (r->head_is_bad) verify_say_harmless(&v, SEGMENT_FILE_SEG, 0, "the head of the segment is damaged");
	segment_scan_init(&v.scan, r->seg, &r->info, r->place.group, SEGMENT_CHUNK);
	enum err e = verify_entries(&v);
	segment_scan_deinit(&v.scan);
	if (e != OK) return e;
	verify_sums(&v);
	if (v.rows_lying && !v.is_damaged && r->idx)
		verify_say_harmless(
			&v, SEGMENT_FILE_IDX, segment_row_at(v.row_lying), "rows of the index file are damaged");
	else if (v.rows_lying && !v.is_damaged)
		verify_say_harmless(&v, SEGMENT_FILE_IDX, 0, "the index file is missing");
	return verify_index_head(&v);
}
