/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "log_internal.h"

static const struct block_key key = { .secret = "0123456789abcde", .use = 9 };

static struct block_head sample(void)
{
	return (struct block_head) {
		.level = 1,
		.flags = BLOCK_TABLE | BLOCK_SETTLED,
		.use = 9,
		.number = 1234,
		.offset = 8192,
		.chain = 0x1122334455667788,
		.groups_count = 3,
		.previous_count = 2,
		.body_bytes = 4096 - 64 - 40,
		.crc_body = 0xaabbccdd,
		.crc_lists = 0x99887766,
	};
}

static void a_head_comes_back_and_every_bit_counts(void **state)
{
	(void)state;
	struct block_head h = sample(), back;
	uint8_t bytes[BLOCK_HEAD_BYTES];
	block_head_encode(&key, &h, bytes);
	assert_int_equal(block_head_decode(&key, 8192, bytes, &back), OK);
	uint8_t again[BLOCK_HEAD_BYTES];
	block_head_encode(&key, &back, again);
	assert_memory_equal(bytes, again, sizeof bytes);
	assert_int_equal(block_head_use(bytes), 9);
	assert_int_equal(block_bytes(&back), 4096);
	assert_true(block_chain(&back) == ((uint64_t)h.crc_body << 32 | h.crc_head));
	for (unsigned bit = 0; bit < 8 * BLOCK_HEAD_BYTES; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(block_head_decode(&key, 8192, bytes, &back), ERR_CORRUPT);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

/* S3: a block of another store, another use or another place is none. */
static void a_head_holds_in_its_place_only(void **state)
{
	(void)state;
	struct block_head h = sample(), back;
	uint8_t bytes[BLOCK_HEAD_BYTES];
	block_head_encode(&key, &h, bytes);
	struct block_key other_use = key, other_store = key;
	other_use.use = 15;
	other_store.secret[0] ^= 1;
	assert_int_equal(block_head_decode(&key, 12288, bytes, &back), ERR_CORRUPT);
	assert_int_equal(block_head_decode(&other_use, 8192, bytes, &back), ERR_CORRUPT);
	assert_int_equal(block_head_decode(&other_store, 8192, bytes, &back), ERR_CORRUPT);
}

static void a_higher_level_is_told_apart(void **state)
{
	(void)state;
	struct block_head h = sample(), back;
	uint8_t bytes[BLOCK_HEAD_BYTES];
	h.level = 2;
	block_head_encode(&key, &h, bytes);
	assert_int_equal(block_head_decode(&key, 8192, bytes, &back), ERR_FORMAT);
}

static void sizes_are_whole_sectors(void **state)
{
	(void)state;
	struct block_head h = sample();
	h.body_bytes += 8;
	assert_int_equal(block_bytes(&h), 8192);
	h.groups_count = BLOCK_GROUPS_ALL;
	assert_int_equal(block_bytes(&h), 4096);
	h.body_bytes = UINT32_MAX;
	assert_true(block_bytes(&h) > UINT32_MAX); /* does not wrap: the reader compares it with the slot */
}

static uint8_t *entry_make(struct buf *b, uint64_t index, const char *body)
{
	struct entry_head h = { .kind = ENTRY_BARRIER, .group = 5, .index = index, .term = 1 };
	struct slice s = slice_of_str(body);
	uint8_t *p = buf_reserve(b, FRAME_HEAD_BYTES + entry_bytes(s.n));
	memset(p, 0, FRAME_HEAD_BYTES + entry_bytes(s.n));
	memcpy(p + FRAME_HEAD_BYTES + ENTRY_HEAD_BYTES, s.p, s.n);
	entry_head_encode(&h, s, p + FRAME_HEAD_BYTES);
	b->n += FRAME_HEAD_BYTES + entry_bytes(s.n);
	return p;
}

static void frames_come_back(void **state)
{
	(void)state;
	struct buf b = { 0 };
	(void)buf_reserve(&b, 4096);
	uint64_t at = 4160;
	for (unsigned i = 0; i < 5; i++) {
		uint8_t *p = entry_make(&b, i + 1, &"a body of 18 bytes"[i]);
		uint32_t n = (uint32_t)entry_bytes(18 - i);
		frame_encode(&key, at, p + FRAME_HEAD_BYTES, n, i == 3, p);
		at += FRAME_HEAD_BYTES + n;
	}
	struct slice in = buf_slice(&b);
	uint64_t offset = 4160;
	struct frame f;
	for (unsigned i = 0; i < 5; i++) {
		struct entry_head h;
		struct slice body;
		uint64_t before = offset;
		assert_int_equal(frame_next(&key, &in, &offset, &f), OK);
		assert_int_equal(f.offset, before);
		assert_int_equal(f.is_moved, i == 3);
		assert_int_equal(entry_next(&f.entry, &h, &body), OK);
		assert_int_equal(h.index, i + 1);
	}
	assert_int_equal(offset, at);
	assert_int_equal(frame_next(&key, &in, &offset, &f), ERR_EOF);
	buf_deinit(&b);
}

/* The seal covers the length, the checksums of the entry, and where it is. Cut frames are none. */
static void a_bad_frame_is_seen(void **state)
{
	(void)state;
	struct buf b = { 0 };
	uint8_t *p = entry_make(&b, 1, "body");
	uint32_t n = (uint32_t)entry_bytes(4);
	frame_encode(&key, 4160, p + FRAME_HEAD_BYTES, n, false, p);
	struct frame f;
	for (unsigned bit = 0; bit < 8 * 16; bit++) {
		b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		struct slice in = buf_slice(&b);
		uint64_t offset = 4160;
		assert_int_equal(frame_next(&key, &in, &offset, &f), ERR_CORRUPT);
		assert_int_equal(offset, 4160);
		assert_int_equal(in.n, b.n);
		b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t cut = 1; cut < b.n; cut++) {
		struct slice in = slice_of(b.p, cut);
		uint64_t offset = 4160;
		assert_int_equal(frame_next(&key, &in, &offset, &f), ERR_CORRUPT);
	}
	struct slice in = buf_slice(&b);
	uint64_t elsewhere = 4168;
	assert_int_equal(frame_next(&key, &in, &elsewhere, &f), ERR_CORRUPT);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_head_comes_back_and_every_bit_counts),
		cmocka_unit_test(a_head_holds_in_its_place_only),
		cmocka_unit_test(a_higher_level_is_told_apart),
		cmocka_unit_test(sizes_are_whole_sectors),
		cmocka_unit_test(frames_come_back),
		cmocka_unit_test(a_bad_frame_is_seen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
