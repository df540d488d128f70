/* SPDX-License-Identifier: Apache-2.0 */
/* Entries, batches and records from a hostile peer or a rotten disk. Checksums would stop nearly every input at the door, so the input is
 * taken twice: as it is, and with its checksums put right, so that the checks behind them are reached too. What is accepted must encode to
 * the same bytes again. */
#include "thebes/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void records_walk(struct slice body)
{
	struct batch_head batch;
	struct slice rest;
	if (batch_open(body, &batch, &rest) != OK) return;
	struct buf again = { 0 };
	struct record r;
	uint32_t count = 0;
	enum err e;
	batch_begin(&again);
	while ((e = record_next(&rest, &r)) == OK) {
		batch_add(&again, &r);
		count++;
	}
	batch_end(&again, batch.seq_last);
	if (e == ERR_EOF) {
		ASSERT(count == batch.record_count);
		ASSERT(slice_eq(buf_slice(&again), body));
	}
	buf_deinit(&again);
}

static void entries_walk(struct slice in)
{
	struct entry_head h;
	struct slice body;
	const uint8_t *at = in.p;
	while (entry_next(&in, &h, &body) == OK) {
		uint8_t head[ENTRY_HEAD_BYTES];
		struct entry_head same = h;
		entry_head_encode(&same, body, head);
		ASSERT(memcmp(head, at, sizeof head) == 0);
		ASSERT(in.p == at + entry_bytes(h.body_bytes));
		records_walk(body);
		at = in.p;
	}
}

/* Right checksums of records and entries where lengths allow it, up to the first that does not. */
static void checksums_mend(uint8_t *p, size_t n)
{
	for (size_t at = 0; n - at >= ENTRY_HEAD_BYTES;) {
		uint8_t *entry = p + at;
		uint64_t bytes = entry_bytes(le32_get(entry + 8));
		if (bytes > n - at) return;
		uint8_t *end = entry + ENTRY_HEAD_BYTES + le32_get(entry + 8);
		for (uint8_t *r = entry + ENTRY_HEAD_BYTES + BATCH_HEAD_BYTES;
			end > r && end - r >= RECORD_HEAD_BYTES;) {
			uint32_t length = le32_get(r + 4);
			if (length < RECORD_HEAD_BYTES || length > (size_t)(end - r)) break;
			le32_put(r, crc32c(0, r + 4, length - 4));
			r += length;
		}
		le32_put(entry + 4, crc32c(0, entry + ENTRY_HEAD_BYTES, le32_get(entry + 8)));
		le32_put(entry, crc32c(0, entry + 4, ENTRY_HEAD_BYTES - 4));
		at += bytes;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = mem_dup(data, size);
	entries_walk(slice_of(copy, size));
	records_walk(slice_of(copy, size));
	checksums_mend(copy, size);
	entries_walk(slice_of(copy, size));
	mem_free(copy);
	return 0;
}
