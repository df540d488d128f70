/* SPDX-License-Identifier: Apache-2.0 */
/* meta — what is encoded about groups as a whole: the log's value in the state store, the row in a table, the body of INSTALL; and the runs
 * of terms that two of them carry (docs/STORAGE.md#state, #table, #install). Pure functions; what is decoded comes from a disk, so every
 * count is checked against the bytes that are there before it is used. */
#include "log_internal.h"

/* ---- runs of terms ---- */

/* More elections than this within what is kept, and the oldest are forgotten: the term of an entry then comes from the entry. */
enum { RUNS_MAX = 8192 };

static void runs_push(struct term_runs *r, uint64_t first, uint64_t term)
{
	if (r->count == RUNS_MAX) {
		r->count -= RUNS_MAX / 2;
		memmove(r->p, r->p + RUNS_MAX / 2, r->count * sizeof *r->p);
	}
	if (r->count == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 2;
		r->p = mem_realloc(r->p, r->cap * sizeof *r->p);
	}
	r->p[r->count++] = (struct term_run) { first, term };
}

void runs_add(struct term_runs *r, uint64_t index, uint64_t term)
{
	if (r->count) {
		const struct term_run *last = &r->p[r->count - 1];
		ASSERT(index > last->first);
		if (term == last->term) return;
	}
	runs_push(r, index, term);
}

void runs_insert(struct term_runs *r, uint64_t index, uint64_t term)
{
	uint32_t at = r->count;
	while (at && r->p[at - 1].first > index) at--;
	if (at && r->p[at - 1].term == term) return;
	if (at && r->p[at - 1].first == index) {
		r->p[at - 1].term = term;
		return;
	}
	uint32_t count = r->count;
	runs_push(r, index, term);
	if (r->count <= count) return; /* the oldest were forgotten; what is rare may be */
	memmove(r->p + at + 1, r->p + at, (count - at) * sizeof *r->p);
	r->p[at] = (struct term_run) { index, term };
}

void runs_truncate(struct term_runs *r, uint64_t from)
{
	while (r->count && r->p[r->count - 1].first >= from) r->count--;
}

void runs_trim(struct term_runs *r, uint64_t index)
{
	uint32_t drop = 0;
	while (drop + 1 < r->count && r->p[drop + 1].first <= index) drop++;
	if (drop == 0) return;
	r->count -= drop;
	memmove(r->p, r->p + drop, r->count * sizeof *r->p);
}

uint64_t runs_term(const struct term_runs *r, uint64_t index)
{
	uint32_t low = 0, high = r->count; /* the first run that begins above index */
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (r->p[mid].first <= index)
			low = mid + 1;
		else
			high = mid;
	}
	return low ? r->p[low - 1].term : 0;
}

void runs_copy(struct term_runs *to, const struct term_runs *from)
{
	ASSERT(to->p == NULL);
	*to = (struct term_runs) { .count = from->count, .cap = from->count };
	if (from->count) to->p = mem_dup(from->p, from->count * sizeof *from->p);
}

void runs_deinit(struct term_runs *r)
{
	mem_free(r->p);
	*r = (struct term_runs) { 0 };
}

/* ---- pieces that meta and INSTALL share ---- */

enum { RUN_BYTES = 16 };

static void encode_padded(struct buf *out, struct slice s)
{
	static const uint8_t zeros[8];
	buf_append_slice(out, s);
	buf_append(out, zeros, round_up(s.n, 8) - s.n);
}

static void runs_encode(struct buf *out, const struct term_runs *r)
{
	for (uint32_t i = 0; i < r->count; i++) {
		buf_append_le64(out, r->p[i].first);
		buf_append_le64(out, r->p[i].term);
	}
}

static void segments_encode(struct buf *out, const struct segment_list *l)
{
	for (uint32_t i = 0; i < l->count; i++) {
		segment_info_encode(&l->rows[i], buf_reserve(out, SEGMENT_INFO_BYTES));
		out->n += SEGMENT_INFO_BYTES;
	}
}

static bool runs_decode(struct slice *in, uint32_t count, struct term_runs *out)
{
	if (in->n / RUN_BYTES < count) return false;
	uint64_t first = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t at = le64_get(in->p + (size_t)i * RUN_BYTES),
			 term = le64_get(in->p + (size_t)i * RUN_BYTES + 8);
		if (i && at <= first) return false;
		first = at;
		runs_push(out, at, term);
	}
	*in = slice_from(*in, (size_t)count * RUN_BYTES);
	return true;
}

static bool segments_decode(struct slice *in, uint32_t count, struct segment_list *out)
{
	if (in->n / SEGMENT_INFO_BYTES < count) return false;
	uint64_t last = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct segment_info s;
		if (segment_info_decode(in->p + (size_t)i * SEGMENT_INFO_BYTES, &s) != OK) return false;
		if (s.first_index <= last && i) return false;
		last = s.last_index;
		segment_list_push(out, &s);
	}
	*in = slice_from(*in, (size_t)count * SEGMENT_INFO_BYTES);
	return true;
}

/* ---- meta ---- */

enum { META_VERSION = 1, META_HEAD_BYTES = 72 };

void group_meta_encode(const struct group_meta *m, struct buf *out)
{
	buf_append_le32(out, META_VERSION);
	buf_append_le32(out, m->segments.count);
	buf_append_le64(out, m->generation);
	buf_append_le64(out, m->state_index);
	buf_append_le64(out, m->state_term);
	buf_append_le64(out, m->conf_index);
	buf_append_le64(out, m->contiguous_from);
	buf_append_le64(out, m->settled_index);
	buf_append_le64(out, m->settled_seq);
	buf_append_le32(out, (uint32_t)m->conf.n);
	buf_append_le32(out, m->runs.count);
	encode_padded(out, buf_slice(&m->conf));
	runs_encode(out, &m->runs);
	segments_encode(out, &m->segments);
}

enum err group_meta_decode(struct slice in, struct group_meta *out)
{
	*out = (struct group_meta) { 0 };
	if (in.n < META_HEAD_BYTES) return ERR_CORRUPT;
	const uint8_t *p = in.p;
	if (le32_get(p) != META_VERSION) return le32_get(p) > META_VERSION ? ERR_FORMAT : ERR_CORRUPT;
	uint32_t segments = le32_get(p + 4), conf_bytes = le32_get(p + 64), runs = le32_get(p + 68);
	out->generation = le64_get(p + 8);
	out->state_index = le64_get(p + 16);
	out->state_term = le64_get(p + 24);
	out->conf_index = le64_get(p + 32);
	out->contiguous_from = le64_get(p + 40);
	out->settled_index = le64_get(p + 48);
	out->settled_seq = le64_get(p + 56);
	in = slice_from(in, META_HEAD_BYTES);
	if (round_up(conf_bytes, 8) > in.n) return ERR_CORRUPT;
	buf_append(&out->conf, in.p, conf_bytes);
	in = slice_from(in, round_up(conf_bytes, 8));
	if (!runs_decode(&in, runs, &out->runs) || !segments_decode(&in, segments, &out->segments)) return ERR_CORRUPT;
	if (in.n || out->generation == 0) return ERR_CORRUPT;
	const struct segment_list *l = &out->segments;
	return l->count && l->rows[l->count - 1].last_index > out->settled_index ? ERR_CORRUPT : OK;
}

void group_meta_lose_state(struct group_meta *m)
{
	m->state_index = m->state_term = m->conf_index = 0;
	buf_clear(&m->conf);
}

void group_meta_deinit(struct group_meta *m)
{
	buf_deinit(&m->conf);
	runs_deinit(&m->runs);
	segment_list_deinit(&m->segments);
}

/* ---- table ---- */

void settled_encode(const struct settled *s, uint8_t out[SETTLED_BYTES])
{
	const uint64_t fields[] = { s->round, s->sum, s->round_before, s->sum_before, s->use, s->use_before };
	for (size_t i = 0; i < COUNT_OF(fields); i++) le64_put(out + i * 8, fields[i]);
}

enum err settled_decode(struct slice in, struct settled *out)
{
	if (in.n < SETTLED_BYTES) return ERR_CORRUPT;
	*out = (struct settled) { le64_get(in.p), le64_get(in.p + 8), le64_get(in.p + 16), le64_get(in.p + 24),
		le64_get(in.p + 32), le64_get(in.p + 40) };
	return out->use >= out->use_before ? OK : ERR_CORRUPT;
}

void table_head_encode(const struct table_head *h, uint8_t out[TABLE_HEAD_BYTES])
{
	settled_encode(&h->settled, out);
	le64_put(out + SETTLED_BYTES, h->next_block);
	le64_put(out + SETTLED_BYTES + 8, h->group_count);
	le64_put(out + SETTLED_BYTES + 16, h->flags);
}

enum err table_head_decode(struct slice body, struct table_head *out)
{
	if (body.n < TABLE_HEAD_BYTES || settled_decode(body, &out->settled) != OK) return ERR_CORRUPT;
	out->next_block = le64_get(body.p + SETTLED_BYTES);
	out->group_count = le64_get(body.p + SETTLED_BYTES + 8);
	out->flags = le64_get(body.p + SETTLED_BYTES + 16);
	uint64_t rows = body.n - TABLE_HEAD_BYTES;
	return rows % TABLE_ROW_BYTES == 0 && rows / TABLE_ROW_BYTES == out->group_count ? OK : ERR_CORRUPT;
}

_Static_assert(sizeof(struct table_row) == TABLE_ROW_BYTES, "a row is its fields in order");

void table_row_encode(const struct table_row *r, uint8_t out[TABLE_ROW_BYTES])
{
	const uint64_t fields[] = { r->id, r->generation, r->term, r->vote, r->commit, r->last_index, r->last_term,
		r->settled_index, r->conf_index, r->seq_last, r->flags, r->doubt_from };
	for (size_t i = 0; i < COUNT_OF(fields); i++) le64_put(out + i * 8, fields[i]);
}

void table_row_decode(struct slice body, uint64_t at, struct table_row *out)
{
	const uint8_t *p = body.p + TABLE_HEAD_BYTES + at * TABLE_ROW_BYTES;
	ASSERT(p + TABLE_ROW_BYTES <= body.p + body.n);
	*out = (struct table_row) { le64_get(p), le64_get(p + 8), le64_get(p + 16), le64_get(p + 24), le64_get(p + 32),
		le64_get(p + 40), le64_get(p + 48), le64_get(p + 56), le64_get(p + 64), le64_get(p + 72),
		le64_get(p + 80), le64_get(p + 88) };
}

/* ---- INSTALL ---- */

enum { INSTALL_HEAD_BYTES = 56 };

void install_body_encode(const struct install_body *b, struct buf *out)
{
	buf_append_le64(out, b->generation);
	buf_append_le64(out, b->contiguous_from);
	buf_append_le64(out, b->conf_index);
	buf_append_le64(out, b->seq_last);
	buf_append_le64(out, b->state_bytes);
	buf_append_le32(out, (uint32_t)b->conf.n);
	buf_append_le32(out, b->segments.count);
	buf_append_le32(out, b->runs.count);
	buf_append_le32(out, b->state_crc);
	encode_padded(out, b->conf);
	runs_encode(out, &b->runs);
	segments_encode(out, &b->segments);
}

enum err install_body_decode(struct slice in, struct install_body *out)
{
	*out = (struct install_body) { 0 };
	if (in.n < INSTALL_HEAD_BYTES) return ERR_CORRUPT;
	const uint8_t *p = in.p;
	out->generation = le64_get(p);
	out->contiguous_from = le64_get(p + 8);
	out->conf_index = le64_get(p + 16);
	out->seq_last = le64_get(p + 24);
	out->state_bytes = le64_get(p + 32);
	uint32_t conf_bytes = le32_get(p + 40), segments = le32_get(p + 44), runs = le32_get(p + 48);
	out->state_crc = le32_get(p + 52);
	in = slice_from(in, INSTALL_HEAD_BYTES);
	if (round_up(conf_bytes, 8) > in.n) return ERR_CORRUPT;
	out->conf = slice_of(in.p, conf_bytes);
	in = slice_from(in, round_up(conf_bytes, 8));
	if (!runs_decode(&in, runs, &out->runs) || !segments_decode(&in, segments, &out->segments)) return ERR_CORRUPT;
	return in.n || out->generation == 0 ? ERR_CORRUPT : OK;
}

void install_body_deinit(struct install_body *b)
{
	segment_list_deinit(&b->segments);
	runs_deinit(&b->runs);
}
