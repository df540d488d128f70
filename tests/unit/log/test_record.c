/* SPDX-License-Identifier: Apache-2.0 */
/* Entries, batches and records: what is encoded comes back, and whatever is flipped, cut or made up is refused. */
#include "check.h"

#include "thebes/record.h"

#define BYTES(literal)                                                                                                 \
	{                                                                                                              \
		(const uint8_t *)(literal), sizeof(literal) - 1                                                        \
	}

static const struct record records[] = {
	{ .kind = 1, .seq = 7, .time_ns = 1700000000123456789, .subject = BYTES("a") },
	{ .kind = 2,
		.flags = 3,
		.seq = UINT64_MAX,
		.time_ns = -1,
		.subject = BYTES("orders.new"),
		.headers = BYTES("NATS/1.0\r\nA: b\r\n\r\n"),
		.payload = BYTES("hello, world") },
	{ .kind = 255, .payload = BYTES("12345678") },
	{ 0 },
};

static void batch_of(struct buf *b, uint64_t seq_last)
{
	batch_begin(b);
	for (size_t i = 0; i < COUNT_OF(records); i++) batch_add(b, &records[i]);
	batch_end(b, seq_last);
}

/* A whole entry around the body. */
static void entry_of(struct buf *b, struct entry_head *h, struct slice body)
{
	size_t bytes = entry_bytes(body.n);
	uint8_t *p = buf_reserve(b, bytes);
	memset(p, 0, bytes);
	if (body.n) memcpy(p + ENTRY_HEAD_BYTES, body.p, body.n);
	entry_head_encode(h, body, p);
	b->n += bytes;
}

static void assert_record_equal(const struct record *a, const struct record *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->seq, b->seq);
	assert_int_equal(a->time_ns, b->time_ns);
	assert_true(slice_eq(a->subject, b->subject));
	assert_true(slice_eq(a->headers, b->headers));
	assert_true(slice_eq(a->payload, b->payload));
}

static void batch_comes_back(void **state)
{
	(void)state;
	struct buf b = { 0 };
	batch_of(&b, 99);
	struct batch_head head;
	struct slice rest;
	assert_int_equal(batch_open(buf_slice(&b), &head, &rest), OK);
	assert_int_equal(head.record_count, COUNT_OF(records));
	assert_int_equal(head.seq_last, 99);
	struct record r;
	for (size_t i = 0; i < COUNT_OF(records); i++) {
		uint64_t before = rest.n;
		assert_int_equal(record_next(&rest, &r), OK);
		assert_record_equal(&r, &records[i]);
		assert_int_equal(before - rest.n, record_bytes(&records[i]));
	}
	assert_int_equal(record_next(&rest, &r), ERR_EOF);
	buf_deinit(&b);
}

static void empty_batch_is_a_batch(void **state)
{
	(void)state;
	struct buf b = { 0 };
	batch_begin(&b);
	batch_end(&b, 5);
	assert_int_equal(b.n, BATCH_HEAD_BYTES);
	struct batch_head head;
	struct slice rest;
	assert_int_equal(batch_open(buf_slice(&b), &head, &rest), OK);
	assert_int_equal(head.record_count, 0);
	assert_int_equal(head.seq_last, 5);
	assert_int_equal(rest.n, 0);
	buf_deinit(&b);
}

static void full_batch_is_a_batch(void **state)
{
	(void)state;
	struct buf b = { 0 };
	batch_begin(&b);
	for (unsigned i = 0; i < BATCH_RECORDS_MAX; i++) batch_add(&b, &records[1]);
	batch_end(&b, 1);
	struct batch_head head;
	struct slice rest;
	assert_int_equal(batch_open(buf_slice(&b), &head, &rest), OK);
	/* One more than allowed, as a peer may claim. */
	buf_append(&b, rest.p, record_bytes(&records[1]));
	le32_put(b.p, BATCH_RECORDS_MAX + 1);
	assert_int_equal(batch_open(buf_slice(&b), &head, &rest), ERR_CORRUPT);
	buf_deinit(&b);
}

/* Whatever bit of a record is flipped, and wherever it is cut, it is not taken for a record. */
static void record_damage_is_seen(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(records); i++) {
		struct buf b = { 0 };
		batch_begin(&b);
		batch_add(&b, &records[i]);
		uint8_t *p = b.p + BATCH_HEAD_BYTES;
		size_t n = b.n - BATCH_HEAD_BYTES;
		struct record r;
		for (size_t bit = 0; bit < n * 8; bit++) {
			p[bit / 8] ^= (uint8_t)(1U << bit % 8);
			struct slice in = slice_of(p, n);
			assert_int_equal(record_next(&in, &r), ERR_CORRUPT);
			assert_ptr_equal(in.p, p);
			p[bit / 8] ^= (uint8_t)(1U << bit % 8);
		}
		for (size_t cut = 1; cut < n; cut++) {
			struct slice in = slice_of(p, cut);
			assert_int_equal(record_next(&in, &r), ERR_CORRUPT);
		}
		buf_deinit(&b);
	}
}

/* A crc that is right does not make lengths right: they come from a peer. */
static void record_lengths_are_checked(void **state)
{
	(void)state;
	static const struct {
		uint32_t at, value;
	} lies[] = { { 4, 0 }, { 4, 40 }, { 4, 48 }, { 4, 80 }, { 4, UINT32_MAX }, { 10, 0xffff }, { 12, UINT32_MAX },
		{ 32, UINT32_MAX }, { 32, 0 }, { 36, 1 }, { 40, 1 }, { 44, 1 } };
	for (size_t i = 0; i < COUNT_OF(lies); i++) {
		struct buf b = { 0 };
		batch_begin(&b);
		batch_add(&b, &records[1]);
		uint8_t *p = b.p + BATCH_HEAD_BYTES;
		size_t n = b.n - BATCH_HEAD_BYTES;
		if (lies[i].at == 10)
			le16_put(p + 10, (uint16_t)lies[i].value);
		else
			le32_put(p + lies[i].at, lies[i].value);
		le32_put(p, crc32c(0, p + 4, n - 4));
		struct slice in = slice_of(p, n);
		struct record r;
		assert_int_equal(record_next(&in, &r), ERR_CORRUPT);
		buf_deinit(&b);
	}
}

static void batch_shape_is_checked(void **state)
{
	(void)state;
	struct buf b = { 0 };
	batch_of(&b, 1);
	struct batch_head head;
	struct slice rest;
	for (size_t cut = 0; cut < b.n; cut++)
		assert_int_equal(batch_open(slice_of(b.p, cut), &head, &rest), ERR_CORRUPT);
	for (uint32_t count = 0; count < 8; count++) {
		le32_put(b.p, count);
		assert_int_equal(
			batch_open(buf_slice(&b), &head, &rest), count == COUNT_OF(records) ? OK : ERR_CORRUPT);
	}
	le32_put(b.p, COUNT_OF(records));
	le32_put(b.p + 4, 1);
	assert_int_equal(batch_open(buf_slice(&b), &head, &rest), ERR_CORRUPT);
	buf_deinit(&b);
}

static void entries_come_back(void **state)
{
	(void)state;
	struct buf body = { 0 }, b = { 0 };
	batch_of(&body, 12);
	struct entry_head in[] = {
		{ .kind = ENTRY_COMMAND,
			.group = 1,
			.index = 2,
			.term = 3,
			.commit = 4,
			.seq_last = 12,
			.record_count = 4 },
		{ .kind = ENTRY_BARRIER, .group = UINT64_MAX, .index = UINT64_MAX, .term = UINT64_MAX, .commit = 9 },
		{ .kind = ENTRY_CHANGE, .group = 1, .index = 4, .term = 3 },
		{ .kind = 200, .group = 1, .index = 5 }, /* unknown: decoded all the same (S11) */
	};
	struct slice bodies[] = { buf_slice(&body), SLICE_NULL, SLICE("12345"), SLICE("12345678") };
	for (size_t i = 0; i < COUNT_OF(in); i++) entry_of(&b, &in[i], bodies[i]);
	struct slice rest = buf_slice(&b), got;
	struct entry_head h;
	for (size_t i = 0; i < COUNT_OF(in); i++) {
		assert_int_equal(entry_next(&rest, &h, &got), OK);
		/* but for the padding in front of `group` */
		size_t group = offsetof(struct entry_head, group);
		assert_memory_equal(&h, &in[i], offsetof(struct entry_head, flags) + sizeof h.flags);
		assert_memory_equal(&h.group, &in[i].group,
			offsetof(struct entry_head, record_count) + sizeof h.record_count - group);
		assert_true(slice_eq(got, bodies[i]));
	}
	assert_int_equal(entry_next(&rest, &h, &got), ERR_EOF);
	buf_deinit(&body);
	buf_deinit(&b);
}

static void entry_damage_is_seen(void **state)
{
	(void)state;
	struct buf b = { 0 };
	struct entry_head h = { .kind = ENTRY_COMMAND, .group = 1, .index = 2, .term = 3, .commit = 4 };
	entry_of(&b, &h, SLICE("thirteen byte"));
	struct slice body;
	for (size_t bit = 0; bit < b.n * 8; bit++) {
		b.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
		struct slice in = buf_slice(&b);
		assert_int_equal(entry_next(&in, &h, &body), ERR_CORRUPT);
		assert_int_equal(in.n, b.n);
		b.p[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	for (size_t cut = 0; cut < b.n; cut++) {
		struct slice in = slice_of(b.p, cut);
		assert_int_equal(entry_next(&in, &h, &body), cut ? ERR_AGAIN : ERR_EOF);
	}
	buf_deinit(&b);
}

static void reserved_fields_are_checked(void **state)
{
	(void)state;
	static const size_t reserved[] = { 13, 14, 15 };
	for (size_t i = 0; i < COUNT_OF(reserved); i++) {
		struct buf b = { 0 };
		struct entry_head h = { .kind = ENTRY_BARRIER, .group = 1, .index = 2, .term = 3 };
		entry_of(&b, &h, SLICE_NULL);
		b.p[reserved[i]] = 1;
		le32_put(b.p, crc32c(0, b.p + 4, ENTRY_HEAD_BYTES - 4));
		assert_int_equal(entry_head_decode(buf_slice(&b), &h), ERR_CORRUPT);
		buf_deinit(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batch_comes_back),
		cmocka_unit_test(empty_batch_is_a_batch),
		cmocka_unit_test(full_batch_is_a_batch),
		cmocka_unit_test(record_damage_is_seen),
		cmocka_unit_test(record_lengths_are_checked),
		cmocka_unit_test(batch_shape_is_checked),
		cmocka_unit_test(entries_come_back),
		cmocka_unit_test(entry_damage_is_seen),
		cmocka_unit_test(reserved_fields_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
