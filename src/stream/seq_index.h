/* SPDX-License-Identifier: Apache-2.0 */
/* seq_index — which sequences are alive, in blocks of 1,024: counts per subject and bytes per block, a bitmap once something inside was
 * removed, nothing per message. Blocks whose messages are all gone are freed.
 *
 *   first_seq ....[block][block][block].... last_seq        block: live, bytes, subjects {id, count}, gone bitmap or NULL */
#ifndef THEBES_STREAM_SEQ_INDEX_H
#define THEBES_STREAM_SEQ_INDEX_H

#include "thebes/base.h"

enum { SEQ_BLOCK_SHIFT = 10, SEQ_BLOCK_SEQS = 1 << SEQ_BLOCK_SHIFT, SEQ_BLOCK_WORDS = SEQ_BLOCK_SEQS / 64 };

struct seq_block_subject {
	uint32_t id, count;
};
struct seq_block {
	struct list link_by_dirty; /* changed since the last confirmed capture */
	uint64_t number;           /* seq >> SEQ_BLOCK_SHIFT */
	uint64_t bytes;            /* of the live messages */
	uint32_t live;
	uint32_t assigned; /* sequences of the block given out so far: 1..1024 */
	uint32_t subject_count, subject_cap;
	struct seq_block_subject *subjects; /* owned, in order of first appearance */
	uint64_t *gone;                     /* owned: bitmap of sequences that are not alive, or NULL */
	bool captured;                      /* unchanged since the capture that waits for confirmation */
};
struct seq_index {
	struct seq_block **blocks; /* owned: [0] is block number `base`; NULL where all are gone */
	size_t count, cap, head;   /* blocks[head .. head + count) */
	uint64_t base;
	uint64_t first_seq,
		last_seq; /* first_seq == last_seq + 1 when nothing is alive; both 0 when nothing ever was */
	uint64_t live, bytes;
	struct list dirty;
	uint64_t *freed; /* owned: numbers of blocks freed since the last confirmed capture */
	size_t freed_count, freed_cap, freed_captured;
};

void seq_index_init(struct seq_index *ix);
void seq_index_deinit(struct seq_index *ix);
/* The next sequence (last_seq + 1, or any higher one on an empty index) holds a message. */
void seq_index_store(struct seq_index *ix, uint64_t seq, uint32_t subject, uint64_t bytes);
/* The next sequence was consumed and holds nothing. */
void seq_index_skip(struct seq_index *ix, uint64_t seq);
/* All sequences up to this one were consumed and hold nothing. */
void seq_index_skip_to(struct seq_index *ix, uint64_t seq);
bool seq_index_is_live(const struct seq_index *ix, uint64_t seq);
/* seq must be alive; bytes is what was stored. */
void seq_index_remove(struct seq_index *ix, uint64_t seq, uint32_t subject, uint64_t bytes);
/* Forgets every block below `number` whole; `each` hears what they still held. */
typedef void seq_block_each_fn(void *arg, uint32_t subject, uint32_t count);
void seq_index_drop_blocks(struct seq_index *ix, uint64_t number, seq_block_each_fn *each, void *arg);
/* Everything up to last_seq goes; first_seq becomes last_seq + 1. */
void seq_index_clear(struct seq_index *ix);
/* Lowest live sequence >= seq, 0 = none. `wanted` (NULL = all) is asked once per block subject id: blocks without a wanted one are passed. */
typedef bool seq_wanted_fn(void *arg, uint32_t subject);
uint64_t seq_index_next(const struct seq_index *ix, uint64_t seq, seq_wanted_fn *wanted, void *arg);
struct seq_block *seq_index_block(const struct seq_index *ix, uint64_t number); /* NULL when gone */
/* Live messages with a wanted subject in blocks >= number. */
uint64_t seq_index_count(const struct seq_index *ix, uint64_t number, seq_wanted_fn *wanted, void *arg);
uint64_t seq_index_gone_count(const struct seq_index *ix); /* holes between first_seq and last_seq */

/* Capture: a block as bytes, and back. */
void seq_block_encode(struct buf *b, const struct seq_block *k);
must_check enum err seq_index_decode_block(struct seq_index *ix, uint64_t number, struct slice bytes);
void seq_index_restore(
	struct seq_index *ix, uint64_t first_seq, uint64_t last_seq); /* after all blocks: sets the bounds */

#endif
