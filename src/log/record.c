/* SPDX-License-Identifier: Apache-2.0 */
/* record — encodes and checks entries, batches and records (docs/STORAGE.md#entry).
 *
 * Happy path of a message: batch_begin -> batch_add … -> batch_end -> entry_head_encode in the journal's block, and on every way back
 * entry_next -> batch_open -> record_next. What is decoded comes from a disk or a peer: each length is checked against what is there
 * before it is used, in 64 bits, and padding and reserved bytes must be zero so that a flipped bit in them is seen too. */
#include "thebes/record.h"

/* Offsets in the head of an entry. */
enum {
	ENTRY_AT_HEAD_CRC = 0,
	ENTRY_AT_BODY_CRC = 4,
	ENTRY_AT_BODY_BYTES = 8,
	ENTRY_AT_KIND = 12,
	ENTRY_AT_FLAGS = 13,
	ENTRY_AT_ZERO_16 = 14,
	ENTRY_AT_GROUP = 16,
	ENTRY_AT_INDEX = 24,
	ENTRY_AT_TERM = 32,
	ENTRY_AT_COMMIT = 40,
	ENTRY_AT_SEQ_LAST = 48,
	ENTRY_AT_RECORD_COUNT = 56,
	ENTRY_AT_PREV_TERM = 60,
};
/* … of a batch … */
enum { BATCH_AT_RECORD_COUNT = 0, BATCH_AT_ZERO = 4, BATCH_AT_SEQ_LAST = 8 };
/* … and of a record. */
enum {
	RECORD_AT_CRC = 0,
	RECORD_AT_LENGTH = 4,
	RECORD_AT_KIND = 8,
	RECORD_AT_FLAGS = 9,
	RECORD_AT_SUBJECT_BYTES = 10,
	RECORD_AT_HEADERS_BYTES = 12,
	RECORD_AT_SEQ = 16,
	RECORD_AT_TIME = 24,
	RECORD_AT_PAYLOAD_BYTES = 32,
	RECORD_AT_ZERO_32 = 36,
	RECORD_AT_ZERO_64 = 40,
};

static bool is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i]) return false;
	return true;
}

/* ---- entries ---- */

void entry_head_encode(struct entry_head *h, struct slice body, uint8_t *out)
{
	ASSERT(body.n <= UINT32_MAX);
	h->body_bytes = (uint32_t)body.n;
	h->body_crc = crc32c(0, body.p, body.n);
	le32_put(out + ENTRY_AT_BODY_CRC, h->body_crc);
	le32_put(out + ENTRY_AT_BODY_BYTES, h->body_bytes);
	out[ENTRY_AT_KIND] = h->kind;
	out[ENTRY_AT_FLAGS] = h->flags;
	le16_put(out + ENTRY_AT_ZERO_16, 0);
	le64_put(out + ENTRY_AT_GROUP, h->group);
	le64_put(out + ENTRY_AT_INDEX, h->index);
	le64_put(out + ENTRY_AT_TERM, h->term);
	le64_put(out + ENTRY_AT_COMMIT, h->commit);
	le64_put(out + ENTRY_AT_SEQ_LAST, h->seq_last);
	le32_put(out + ENTRY_AT_RECORD_COUNT, h->record_count);
	le32_put(out + ENTRY_AT_PREV_TERM, h->prev_term);
	h->head_crc = crc32c(0, out + ENTRY_AT_BODY_CRC, ENTRY_HEAD_BYTES - ENTRY_AT_BODY_CRC);
	le32_put(out + ENTRY_AT_HEAD_CRC, h->head_crc);
}

enum err entry_head_decode(struct slice in, struct entry_head *out)
{
	if (in.n < ENTRY_HEAD_BYTES) return ERR_AGAIN;
	const uint8_t *p = in.p;
	*out = (struct entry_head) {
		.head_crc = le32_get(p + ENTRY_AT_HEAD_CRC),
		.body_crc = le32_get(p + ENTRY_AT_BODY_CRC),
		.body_bytes = le32_get(p + ENTRY_AT_BODY_BYTES),
		.kind = p[ENTRY_AT_KIND],
		.flags = p[ENTRY_AT_FLAGS],
		.group = le64_get(p + ENTRY_AT_GROUP),
		.index = le64_get(p + ENTRY_AT_INDEX),
		.term = le64_get(p + ENTRY_AT_TERM),
		.commit = le64_get(p + ENTRY_AT_COMMIT),
		.seq_last = le64_get(p + ENTRY_AT_SEQ_LAST),
		.record_count = le32_get(p + ENTRY_AT_RECORD_COUNT),
		.prev_term = le32_get(p + ENTRY_AT_PREV_TERM),
	};
	if (out->head_crc != crc32c(0, p + ENTRY_AT_BODY_CRC, ENTRY_HEAD_BYTES - ENTRY_AT_BODY_CRC)) return ERR_CORRUPT;
	/* The kind is not judged here: an unknown one quarantines its group (S11), which needs the head. */
	if (out->flags || le16_get(p + ENTRY_AT_ZERO_16)) return ERR_CORRUPT;
	return OK;
}

enum err entry_next(struct slice *in, struct entry_head *head, struct slice *body)
{
	if (in->n == 0) return ERR_EOF;
	enum err e = entry_head_decode(*in, head);
	if (e != OK) return e;
	uint64_t bytes = entry_bytes(head->body_bytes);
	if (bytes > in->n) return ERR_AGAIN;
	*body = slice_of(in->p + ENTRY_HEAD_BYTES, head->body_bytes);
	if (head->body_crc != crc32c(0, body->p, body->n)) return ERR_CORRUPT;
	if (!is_zero(body->p + body->n, bytes - ENTRY_HEAD_BYTES - body->n)) return ERR_CORRUPT;
	*in = slice_from(*in, bytes);
	return OK;
}

/* ---- batches ---- */

void batch_begin(struct buf *b)
{
	ASSERT(b->n == 0);
	memset(buf_reserve(b, BATCH_HEAD_BYTES), 0, BATCH_HEAD_BYTES);
	b->n = BATCH_HEAD_BYTES;
}

static uint8_t *bytes_put(uint8_t *at, struct slice s)
{
	if (s.n) memcpy(at, s.p, s.n);
	return at + s.n;
}

void batch_add(struct buf *b, const struct record *r)
{
	ASSERT(b->n >= BATCH_HEAD_BYTES);
	ASSERT(r->subject.n <= UINT16_MAX && r->headers.n <= UINT32_MAX && r->payload.n <= UINT32_MAX);
	uint64_t bytes = record_bytes(r);
	ASSERT(bytes <= UINT32_MAX);
	uint32_t count = le32_get(b->p + BATCH_AT_RECORD_COUNT) + 1;
	ASSERT(count <= BATCH_RECORDS_MAX);

	uint8_t *p = buf_reserve(b, bytes);
	le32_put(p + RECORD_AT_LENGTH, (uint32_t)bytes);
	p[RECORD_AT_KIND] = r->kind;
	p[RECORD_AT_FLAGS] = r->flags;
	le16_put(p + RECORD_AT_SUBJECT_BYTES, (uint16_t)r->subject.n);
	le32_put(p + RECORD_AT_HEADERS_BYTES, (uint32_t)r->headers.n);
	le64_put(p + RECORD_AT_SEQ, r->seq);
	le64_put(p + RECORD_AT_TIME, (uint64_t)r->time_ns);
	le32_put(p + RECORD_AT_PAYLOAD_BYTES, (uint32_t)r->payload.n);
	le32_put(p + RECORD_AT_ZERO_32, 0);
	le64_put(p + RECORD_AT_ZERO_64, 0);
	uint8_t *end = bytes_put(bytes_put(bytes_put(p + RECORD_HEAD_BYTES, r->subject), r->headers), r->payload);
	memset(end, 0, (size_t)(p + bytes - end));
	le32_put(p + RECORD_AT_CRC, crc32c(0, p + RECORD_AT_LENGTH, bytes - RECORD_AT_LENGTH));

	b->n += bytes;
	le32_put(b->p + BATCH_AT_RECORD_COUNT, count);
}

void batch_end(struct buf *b, uint64_t seq_last)
{
	ASSERT(b->n >= BATCH_HEAD_BYTES);
	le64_put(b->p + BATCH_AT_SEQ_LAST, seq_last);
}

/* ---- records ---- */

/* The length of the record at the front of `in` if its parts add up to it and it is whole, else 0. */
static uint64_t record_whole_bytes(struct slice in)
{
	if (in.n < RECORD_HEAD_BYTES) return 0;
	uint64_t bytes = le32_get(in.p + RECORD_AT_LENGTH);
	uint64_t parts = (uint64_t)RECORD_HEAD_BYTES + le16_get(in.p + RECORD_AT_SUBJECT_BYTES) +
			 le32_get(in.p + RECORD_AT_HEADERS_BYTES) + le32_get(in.p + RECORD_AT_PAYLOAD_BYTES);
	return bytes <= in.n && round_up(parts, 8) == bytes ? bytes : 0;
}

enum err batch_open(struct slice body, struct batch_head *head, struct slice *records)
{
	if (body.n < BATCH_HEAD_BYTES) return ERR_CORRUPT;
	*head = (struct batch_head) { le32_get(body.p + BATCH_AT_RECORD_COUNT), le64_get(body.p + BATCH_AT_SEQ_LAST) };
	if (le32_get(body.p + BATCH_AT_ZERO) || head->record_count > BATCH_RECORDS_MAX) return ERR_CORRUPT;
	*records = slice_from(body, BATCH_HEAD_BYTES);
	struct slice rest = *records;
	for (uint32_t i = 0; i < head->record_count; i++) {
		uint64_t bytes = record_whole_bytes(rest);
		if (bytes == 0) return ERR_CORRUPT;
		rest = slice_from(rest, bytes);
	}
	return rest.n == 0 ? OK : ERR_CORRUPT;
}

enum err record_next(struct slice *in, struct record *out)
{
	if (in->n == 0) return ERR_EOF;
	uint64_t bytes = record_whole_bytes(*in);
	if (bytes == 0) return ERR_CORRUPT;
	const uint8_t *p = in->p;
	if (le32_get(p + RECORD_AT_CRC) != crc32c(0, p + RECORD_AT_LENGTH, bytes - RECORD_AT_LENGTH))
		return ERR_CORRUPT;
	if (le32_get(p + RECORD_AT_ZERO_32) || le64_get(p + RECORD_AT_ZERO_64)) return ERR_CORRUPT;
	*out = (struct record) {
		.kind = p[RECORD_AT_KIND],
		.flags = p[RECORD_AT_FLAGS],
		.seq = le64_get(p + RECORD_AT_SEQ),
		.time_ns = (int64_t)le64_get(p + RECORD_AT_TIME),
	};
	out->subject = slice_of(p + RECORD_HEAD_BYTES, le16_get(p + RECORD_AT_SUBJECT_BYTES));
	out->headers = slice_of(out->subject.p + out->subject.n, le32_get(p + RECORD_AT_HEADERS_BYTES));
	out->payload = slice_of(out->headers.p + out->headers.n, le32_get(p + RECORD_AT_PAYLOAD_BYTES));
	const uint8_t *end = out->payload.p + out->payload.n;
	if (!is_zero(end, (size_t)(p + bytes - end))) return ERR_CORRUPT;
	*in = slice_from(*in, bytes);
	return OK;
}

/* ---- erasing (S15) ---- */

/* Is the record at the front one of those whose bytes must go, and are they there? */
static bool record_is_erasable(const uint8_t *record, const uint64_t *seqs, size_t count)
{
	uint64_t seq = le64_get(record + RECORD_AT_SEQ);
	if (seq == 0 || record[RECORD_AT_FLAGS] & RECORD_ERASED) return false;
	size_t low = 0, high = count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (seqs[mid] < seq)
			low = mid + 1;
		else
			high = mid;
	}
	return low < count && seqs[low] == seq;
}

static void record_erase(uint8_t *p, uint64_t bytes)
{
	p[RECORD_AT_FLAGS] |= RECORD_ERASED;
	memset(p + RECORD_HEAD_BYTES, 0, bytes - RECORD_HEAD_BYTES);
	le32_put(p + RECORD_AT_CRC, crc32c(0, p + RECORD_AT_LENGTH, bytes - RECORD_AT_LENGTH));
}

bool entry_erasable(struct slice body, const uint64_t *seqs, size_t count)
{
	struct batch_head head;
	struct slice in;
	if (batch_open(body, &head, &in) != OK) return false;
	for (uint64_t bytes; (bytes = record_whole_bytes(in)) != 0; in = slice_from(in, bytes))
		if (record_is_erasable(in.p, seqs, count)) return true;
	return false;
}

bool entry_erase(struct entry_head *h, uint8_t *entry, size_t n, const uint64_t *seqs, size_t count)
{
	uint8_t *body = entry + ENTRY_HEAD_BYTES;
	struct batch_head head;
	struct slice in;
	bool any = false;
	ASSERT(n == entry_bytes(h->body_bytes));
	if (h->kind != ENTRY_COMMAND || batch_open(slice_of(body, h->body_bytes), &head, &in) != OK) return false;
	for (uint64_t bytes; (bytes = record_whole_bytes(in)) != 0; in = slice_from(in, bytes)) {
		if (!record_is_erasable(in.p, seqs, count)) continue;
		record_erase(body + (in.p - body), bytes);
		any = true;
	}
	if (any) entry_head_encode(h, slice_of(body, h->body_bytes), entry);
	return any;
}
