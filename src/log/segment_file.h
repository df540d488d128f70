/* SPDX-License-Identifier: Apache-2.0 */
/* segment_file — the bytes of .seg and .idx that the files of segment share: heads, rows, and the scan of entries one after another.
 *
 *   .seg   head (64) | entry | entry | zeros to 4096 | entry … (next round) …
 *   .idx   head (64) | row (32) per entry                                     docs/STORAGE.md#segment has the rulers */
#ifndef THEBES_LOG_SEGMENT_FILE_H
#define THEBES_LOG_SEGMENT_FILE_H

#include "segment.h"

enum { SEGMENT_LEVEL = 1 };
#define SEGMENT_MAGIC ((uint32_t)0x47455354)       /* "TSEG" */
#define SEGMENT_INDEX_MAGIC ((uint32_t)0x58444954) /* "TIDX" */

/* What both heads say. The last two are of an .idx alone. */
struct segment_head {
	uint32_t magic;
	uint64_t group, generation, first_index, store;
	uint32_t row_count, row_crc;
};
void segment_head_encode(const struct segment_head *h, uint8_t out[SEGMENT_HEAD_BYTES]);
/* ERR_CORRUPT: damaged. ERR_FORMAT: of a higher level (S20). */
must_check enum err segment_head_decode(const uint8_t in[SEGMENT_HEAD_BYTES], struct segment_head *out);

struct segment_row {
	uint64_t index, seq_last, offset;
	uint32_t entry_bytes, term; /* low 32 bits of the term */
};
void segment_row_encode(const struct segment_row *r, uint8_t out[SEGMENT_ROW_BYTES]);
void segment_row_decode(const uint8_t in[SEGMENT_ROW_BYTES], struct segment_row *out);
static inline uint64_t segment_row_at(uint64_t k) { return SEGMENT_HEAD_BYTES + k * SEGMENT_ROW_BYTES; }

/* Reads exactly n bytes. A file that ends before, and a sector that the device cannot read, are damage: ERR_CORRUPT. */
must_check enum err segment_file_read(struct io_file *f, uint64_t at, void *p, size_t n);

/* Goes from entry to entry of a segment through a window of the file. */
struct segment_scan {
	struct io_file *file;            /* borrowed */
	const struct segment_info *info; /* borrowed */
	uint64_t group;
	uint64_t at;         /* offset of the next entry, or of the zeros before it */
	uint64_t index_last; /* of the entry before; the next one's is above it */
	/* Of the entry that was found last: zeros stand before it, and its index is not the next one. Either a round ended there and what was between is
	 * dead, or entries were there and are zeroes now: the rows of the .idx know, or how many entries there are. */
	bool is_unsure;
	size_t chunk;      /* how much is read at once */
	struct buf window; /* owned: bytes from window_at on */
	uint64_t window_at;
};
enum { SEGMENT_CHUNK = 256 * 1024 };
void segment_scan_init(
	struct segment_scan *s, struct io_file *f, const struct segment_info *info, uint64_t group, size_t chunk);
void segment_scan_deinit(struct segment_scan *s);
/* What damage may have taken where a scan cannot go on: the entries of the segment from there. All of them when it has the last one already and
 * more follows: then the bytes are others than those that were written (leftovers of a round that was given up, say). */
struct segment_range segment_rest(const struct segment_info *s, uint64_t from);
/* The entry at s->at, verified, borrowed until the next call; s->at is then behind it and *offset where it began. ERR_EOF behind the last.
 * ERR_CORRUPT: s->at is where the damage is; *head_is_good: its head could be read, only its body is damaged. */
must_check enum err segment_scan_next(
	struct segment_scan *s, struct entry_head *h, struct slice *entry, uint64_t *offset, bool *head_is_good);

#endif
