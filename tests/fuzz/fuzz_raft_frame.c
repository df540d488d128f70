/* SPDX-License-Identifier: Apache-2.0 */
/* Frames from a hostile peer: decoder and validator. The checksum would stop nearly every input at the door, so the input is taken twice: as
 * it is, and with its head put right. What is accepted holds what the library behind it believes without looking: positions that are both
 * zero or neither, terms that do not fall, entries that add up, configurations with a voter. And it encodes to the same bytes again. */
#include "frame.h"
#include "members.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void entry_check(const struct frame_entry *e)
{
	struct batch_head head;
	struct slice records;
	struct members m;
	switch (e->kind) {
	case ENTRY_COMMAND: ASSERT(batch_open(e->body, &head, &records) == OK); break;
	case ENTRY_CHANGE: ASSERT(members_decode(e->body, &m) == OK && members_voters(&m) > 0); break;
	default: ASSERT(e->kind == ENTRY_BARRIER);
	}
}

static void append_check(const struct frame *f, struct slice in)
{
	struct frame_append a = f->append;
	struct frame_out out = { 0 };
	struct frame_entry_at at = { 0 };
	struct frame_entry e;
	struct buf again = { 0 };
	uint64_t term = a.prev_term;
	ASSERT((a.prev_index == 0) == (a.prev_term == 0));
	frame_begin(&out, FRAME_APPEND, f->group, f->from, f->to);
	frame_append_begin(&out, a.term, a.prev_index, a.prev_term, a.commit);
	while (frame_entry_next(&a, &at, &e)) {
		ASSERT(e.term >= term && e.term <= a.term);
		term = e.term;
		entry_check(&e);
		frame_append_entry(&out, e.term, e.kind, e.body);
	}
	frame_end(&out);
	for (unsigned i = 0; i < out.count; i++) buf_append_slice(&again, out.parts[i]);
	ASSERT(slice_eq(buf_slice(&again), in));
	/* Every number of entries that a guard may drop or cut leaves a whole rest. */
	for (uint32_t skip = 0; skip <= f->append.count; skip++) {
		struct frame_append rest = f->append;
		uint32_t left = 0;
		at = (struct frame_entry_at) { 0 };
		frame_append_skip(&rest, skip, a.prev_index + skip, a.term);
		while (frame_entry_next(&rest, &at, &e)) left++;
		ASSERT(left == f->append.count - skip);
		if (f->append.count > 64) skip += 31;
	}
	buf_deinit(&again);
	frame_out_deinit(&out);
}

static void frame_take(struct slice in)
{
	struct frame f;
	const char *why = NULL;
	if (frame_decode(in, &f, &why) != OK) {
		ASSERT(why && why[0]);
		return;
	}
	ASSERT(f.term > 0 && f.term < FRAME_NUMBER_MAX && f.from && f.to);
	if (f.kind == FRAME_APPEND) append_check(&f, in);
	if (f.kind == FRAME_INSTALL_BEGIN) ASSERT(f.install_begin.index > 0 && f.install_begin.index_term <= f.term);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < FRAME_HEAD_BYTES) return 0;
	uint8_t *copy = mem_dup(data, size);
	frame_take(slice_of(copy, size));
	le32_put(copy, 0x46415254); /* magic */
	copy[8] = FRAME_VERSION;
	copy[9] = (uint8_t)(1 + copy[9] % (FRAME_KIND_END - 1));
	le16_put(copy + 10, 0);
	le32_put(copy + 12, (uint32_t)(size - FRAME_HEAD_BYTES));
	le32_put(copy + 4, crc32c(0, copy + 8, size - 8));
	frame_take(slice_of(copy, size));
	mem_free(copy);
	return 0;
}
