/* SPDX-License-Identifier: Apache-2.0 */
/* What a rotten disk may hold: heads, lists and frames of blocks, tables, metas and installs, heads and rows of segments, identities. The
 * first byte says which; checksums that would stop nearly every input are put right first. What is accepted is used as its caller would
 * use it (every row, every run, every segment), and what is canonical encodes to the same bytes again. */
#include "log_internal.h"
#include "segment_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void block_take(uint8_t *p, size_t n)
{
	struct block_key key = { .use = 3 };
	struct block_head h;
	uint8_t again[BLOCK_HEAD_BYTES];
	enum { OFFSET = 8192 };
	if (n < BLOCK_HEAD_BYTES) return;
	(void)block_head_use(p);
	le32_put(p, 0x4b4c4254); /* "TBLK" */
	le16_put(p + 4, LOG_FORMAT_LEVEL);
	le64_put(p + 8, key.use);
	le64_put(p + 24, OFFSET);
	le32_put(p + 60, crc32c(block_seed(&key, OFFSET), p, 60));
	if (block_head_decode(&key, OFFSET, p, &h) != OK) return;
	ASSERT(block_bytes(&h) % BLOCK_ALIGN == 0 && block_bytes(&h) >= BLOCK_HEAD_BYTES);
	if (h.body_bytes % 8) return;
	block_head_encode(&key, &h, again);
	ASSERT(memcmp(again, p, sizeof again) == 0);
}

/* Frames one after another, their seals put right where lengths allow it. */
static void frames_take(uint8_t *p, size_t n)
{
	struct block_key key = { .use = 9 };
	uint64_t offset = 4096;
	for (size_t at = 0; n - at >= FRAME_HEAD_BYTES + ENTRY_HEAD_BYTES;) {
		uint32_t word = le32_get(p + at + 4), bytes = word & ~(uint32_t)7;
		if (bytes < ENTRY_HEAD_BYTES || bytes > n - at - FRAME_HEAD_BYTES) break;
		frame_encode(&key, offset + at, p + at + FRAME_HEAD_BYTES, bytes, word & 1, p + at);
		at += (size_t)FRAME_HEAD_BYTES + bytes;
	}
	struct slice in = slice_of(p, n);
	struct frame f;
	const uint8_t *end = p;
	while (frame_next(&key, &in, &offset, &f) == OK) {
		ASSERT(f.entry.p == end + FRAME_HEAD_BYTES && f.entry.n >= ENTRY_HEAD_BYTES);
		ASSERT(in.p == f.entry.p + f.entry.n && offset == 4096 + (uint64_t)(in.p - p));
		end = in.p;
	}
}

static void table_take(uint8_t *p, size_t n)
{
	struct table_head h;
	if (table_head_decode(slice_of(p, n), &h) != OK) return;
	for (uint64_t i = 0; i < h.group_count; i++) {
		struct table_row row;
		uint8_t again[TABLE_ROW_BYTES];
		table_row_decode(slice_of(p, n), i, &row);
		table_row_encode(&row, again);
		ASSERT(memcmp(again, p + TABLE_HEAD_BYTES + i * TABLE_ROW_BYTES, sizeof again) == 0);
	}
}

static void list_check(const struct segment_list *l)
{
	for (uint32_t i = 0; i < l->count; i++) {
		ASSERT(l->rows[i].first_index <= l->rows[i].last_index);
		ASSERT(segment_list_find(l, l->rows[i].last_index) <= i);
	}
}

static void meta_take(uint8_t *p, size_t n)
{
	struct group_meta m = { 0 };
	struct buf again = { 0 };
	if (group_meta_decode(slice_of(p, n), &m) == OK) {
		list_check(&m.segments);
		for (uint32_t i = 0; i < m.runs.count; i++) ASSERT(i == 0 || m.runs.p[i].first > m.runs.p[i - 1].first);
		(void)runs_term(&m.runs, m.settled_index);
		group_meta_encode(&m, &again);
		struct group_meta same = { 0 };
		enum err e = group_meta_decode(buf_slice(&again), &same); /* reserved bytes are zero again */
		ASSERT(e == OK && same.segments.count == m.segments.count && same.settled_index == m.settled_index);
		group_meta_deinit(&same);
	}
	group_meta_deinit(&m);
	buf_deinit(&again);
}

static void install_take(uint8_t *p, size_t n)
{
	struct install_body b = { 0 };
	if (install_body_decode(slice_of(p, n), &b) == OK) {
		list_check(&b.segments);
		ASSERT(b.conf.n <= n);
	}
	install_body_deinit(&b);
}

static void settled_take(uint8_t *p, size_t n)
{
	struct settled s;
	uint8_t again[SETTLED_BYTES];
	if (settled_decode(slice_of(p, n), &s) != OK) return;
	settled_encode(&s, again); /* tables go on behind it */
	ASSERT(memcmp(again, p, sizeof again) == 0);
}

static void segment_take(uint8_t *p, size_t n)
{
	struct segment_head h;
	struct segment_info info;
	struct segment_row row;
	uint8_t again[SEGMENT_HEAD_BYTES];
	if (n < SEGMENT_HEAD_BYTES + SEGMENT_INFO_BYTES + SEGMENT_ROW_BYTES) return;
	for (size_t at = SEGMENT_HEAD_BYTES - 8; at < SEGMENT_HEAD_BYTES; at += 4) le32_put(p + at, crc32c(0, p, at));
	if (segment_head_decode(p, &h) == OK) {
		ASSERT(h.magic == SEGMENT_MAGIC || h.magic == SEGMENT_INDEX_MAGIC);
		segment_head_encode(&h, again);
	}
	if (segment_info_decode(p + SEGMENT_HEAD_BYTES, &info) == OK) {
		ASSERT(info.first_index <= info.last_index);
		segment_info_encode(&info, again);
		ASSERT(memcmp(again, p + SEGMENT_HEAD_BYTES, SEGMENT_INFO_BYTES) == 0);
	}
	segment_row_decode(p + SEGMENT_HEAD_BYTES + SEGMENT_INFO_BYTES, &row);
}

static void identity_take(uint8_t *p, size_t n)
{
	struct identity i;
	if (n < IDENTITY_BYTES) return;
	le32_put(p, 0x44494254); /* "TBID" */
	le32_put(p + 88, crc32c(0, p, 88));
	if (identity_decode(p, &i) != OK) return;
	ASSERT(i.slot_bytes % BLOCK_ALIGN == 0 && i.slot_count >= LOG_SLOTS_MIN && i.slot_count <= LOG_SLOTS_MAX);
	ASSERT(i.id.raft_id != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const takes[])(uint8_t * p, size_t n) = {
		block_take,
		frames_take,
		table_take,
		meta_take,
		install_take,
		settled_take,
		segment_take,
		identity_take,
	};
	if (size < 2) return 0;
	uint8_t *copy = mem_dup(data + 1, size - 1); /* exactly as long as it is, so that reading behind it shows */
	takes[data[0] % COUNT_OF(takes)](copy, size - 1);
	mem_free(copy);
	return 0;
}
