/* SPDX-License-Identifier: Apache-2.0 */
/* block — bytes of a block of the journal: its head, the frames in it, and the seeds of their checksums (docs/STORAGE.md#block).
 *
 * A block is head | frames | groups it touches | groups that the block before touched | zeros to a sector. The lists stand behind the
 * frames, so that the place of a frame is known the moment it is added; they have a checksum of their own, so that a block whose frames
 * are damaged can still say whom that concerns (S6, S7). Pure functions. */
#include "log_internal.h"

enum {
	HEAD_AT_MAGIC = 0,
	HEAD_AT_LEVEL = 4,
	HEAD_AT_FLAGS = 6,
	HEAD_AT_USE = 8,
	HEAD_AT_NUMBER = 16,
	HEAD_AT_OFFSET = 24,
	HEAD_AT_CHAIN = 32,
	HEAD_AT_GROUPS = 40,
	HEAD_AT_PREVIOUS = 44,
	HEAD_AT_BODY_BYTES = 48,
	HEAD_AT_CRC_BODY = 52,
	HEAD_AT_CRC_LISTS = 56,
	HEAD_AT_CRC_HEAD = 60,
};
enum { BLOCK_MAGIC = 0x4b4c4254 };         /* "TBLK" */
enum { FRAME_MOVED = 1, FRAME_FLAGS = 7 }; /* in the low bits of the length, which is a multiple of 8 */

uint32_t block_seed(const struct block_key *k, uint64_t offset)
{
	if (k->is_unseeded) return 0;
	uint8_t at[16];
	le64_put(at, k->use);
	le64_put(at + 8, offset);
	return crc32c(crc32c(0, k->secret, sizeof k->secret), at, sizeof at);
}

uint64_t block_bytes(const struct block_head *h)
{
	uint64_t lists = (uint64_t)block_list_bytes(h->groups_count) + block_list_bytes(h->previous_count);
	return round_up(BLOCK_HEAD_BYTES + (uint64_t)h->body_bytes + lists, BLOCK_ALIGN);
}

void block_head_encode(const struct block_key *k, struct block_head *h, uint8_t out[BLOCK_HEAD_BYTES])
{
	ASSERT(h->use == k->use);
	ASSERT(h->offset % 8 == 0 && h->body_bytes % 8 == 0);
	le32_put(out + HEAD_AT_MAGIC, BLOCK_MAGIC);
	le16_put(out + HEAD_AT_LEVEL, h->level);
	le16_put(out + HEAD_AT_FLAGS, h->flags);
	le64_put(out + HEAD_AT_USE, h->use);
	le64_put(out + HEAD_AT_NUMBER, h->number);
	le64_put(out + HEAD_AT_OFFSET, h->offset);
	le64_put(out + HEAD_AT_CHAIN, h->chain);
	le32_put(out + HEAD_AT_GROUPS, h->groups_count);
	le32_put(out + HEAD_AT_PREVIOUS, h->previous_count);
	le32_put(out + HEAD_AT_BODY_BYTES, h->body_bytes);
	le32_put(out + HEAD_AT_CRC_BODY, h->crc_body);
	le32_put(out + HEAD_AT_CRC_LISTS, h->crc_lists);
	h->crc_head = crc32c(block_seed(k, h->offset), out, HEAD_AT_CRC_HEAD);
	le32_put(out + HEAD_AT_CRC_HEAD, h->crc_head);
}

enum err block_head_decode(
	const struct block_key *k, uint64_t offset, const uint8_t in[BLOCK_HEAD_BYTES], struct block_head *out)
{
	if (le32_get(in + HEAD_AT_MAGIC) != BLOCK_MAGIC) return ERR_CORRUPT;
	*out = (struct block_head) {
		.level = le16_get(in + HEAD_AT_LEVEL),
		.flags = le16_get(in + HEAD_AT_FLAGS),
		.use = le64_get(in + HEAD_AT_USE),
		.number = le64_get(in + HEAD_AT_NUMBER),
		.offset = le64_get(in + HEAD_AT_OFFSET),
		.chain = le64_get(in + HEAD_AT_CHAIN),
		.groups_count = le32_get(in + HEAD_AT_GROUPS),
		.previous_count = le32_get(in + HEAD_AT_PREVIOUS),
		.body_bytes = le32_get(in + HEAD_AT_BODY_BYTES),
		.crc_body = le32_get(in + HEAD_AT_CRC_BODY),
		.crc_lists = le32_get(in + HEAD_AT_CRC_LISTS),
		.crc_head = le32_get(in + HEAD_AT_CRC_HEAD),
	};
	if (out->crc_head != crc32c(block_seed(k, offset), in, HEAD_AT_CRC_HEAD)) return ERR_CORRUPT;
	/* The seed says so already; with the planted bug S3 nothing does. */
	if (!k->is_unseeded && (out->use != k->use || out->offset != offset)) return ERR_CORRUPT;
	if (out->level > LOG_FORMAT_LEVEL) return ERR_FORMAT;
	return OK;
}

uint64_t block_head_use(const uint8_t in[BLOCK_HEAD_BYTES])
{
	return le32_get(in + HEAD_AT_MAGIC) == BLOCK_MAGIC ? le64_get(in + HEAD_AT_USE) : 0;
}

/* ---- frames ---- */

static uint32_t frame_seal(const struct block_key *k, uint64_t offset, uint32_t word, const uint8_t *entry)
{
	uint8_t sealed[12];
	le32_put(sealed, word);
	memcpy(sealed + 4, entry, 8);
	return crc32c(block_seed(k, offset), sealed, sizeof sealed);
}

void frame_encode(
	const struct block_key *k, uint64_t offset, const uint8_t *entry, uint32_t bytes, bool is_moved, uint8_t *out)
{
	ASSERT(bytes >= ENTRY_HEAD_BYTES && (bytes & FRAME_FLAGS) == 0);
	uint32_t word = bytes | (is_moved ? FRAME_MOVED : 0);
	le32_put(out, frame_seal(k, offset, word, entry));
	le32_put(out + 4, word);
}

enum err frame_next(const struct block_key *k, struct slice *in, uint64_t *offset, struct frame *out)
{
	if (in->n == 0) return ERR_EOF;
	if (in->n < FRAME_HEAD_BYTES + ENTRY_HEAD_BYTES) return ERR_CORRUPT;
	uint32_t word = le32_get(in->p + 4), bytes = word & ~(uint32_t)FRAME_FLAGS;
	if (bytes < ENTRY_HEAD_BYTES || bytes > in->n - FRAME_HEAD_BYTES) return ERR_CORRUPT;
	if ((word & FRAME_FLAGS) > FRAME_MOVED) return ERR_CORRUPT;
	if (le32_get(in->p) != frame_seal(k, *offset, word, in->p + FRAME_HEAD_BYTES)) return ERR_CORRUPT;
	*out = (struct frame) {
		.entry = slice_of(in->p + FRAME_HEAD_BYTES, bytes),
		.offset = *offset,
		.is_moved = (word & FRAME_MOVED) != 0,
	};
	*in = slice_from(*in, (size_t)FRAME_HEAD_BYTES + bytes);
	*offset += (uint64_t)FRAME_HEAD_BYTES + bytes;
	return OK;
}
