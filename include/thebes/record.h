/* SPDX-License-Identifier: Apache-2.0 */
/* record — the form in which entries and records lie in the journal, in segments and on the links between nodes: the same bytes
 * everywhere, little-endian, 8-byte aligned. Pure functions; docs/STORAGE.md#entry has the rulers.
 *
 *   entry = head (64) | body | zeros to 8          what raft replicates is kind, term and body; the head is each replica's own
 *   body of a command = batch head (16) | record | record | …          one batch of one group in one turn */
#ifndef THEBES_RECORD_H
#define THEBES_RECORD_H

#include "thebes/base.h"

/* ---- entries ---- */

enum entry_kind {
	ENTRY_COMMAND = 1, /* numbers 1..3 are libraft's entry types */
	ENTRY_BARRIER = 2,
	ENTRY_CHANGE = 3,
	/* node-local, never replicated */
	ENTRY_VOTE = 16,
	ENTRY_TRUNC,
	ENTRY_MAKE,
	ENTRY_GONE,
	ENTRY_INSTALL,
	ENTRY_SETTLED,
	ENTRY_TABLE,
	ENTRY_DOUBT_END,
	ENTRY_DOUBT,
	ENTRY_KIND_END,
};

enum { ENTRY_HEAD_BYTES = 64, BATCH_HEAD_BYTES = 16, RECORD_HEAD_BYTES = 48 };
enum { BATCH_RECORDS_MAX = 256, BATCH_BYTES_MAX = 64 * 1024 };

struct entry_head {
	uint32_t head_crc, body_crc;
	uint32_t body_bytes; /* without padding */
	uint8_t kind;        /* enum entry_kind */
	uint8_t flags;       /* 0 */
	uint64_t group, index, term;
	uint64_t commit;       /* commit index known to the writer */
	uint64_t seq_last;     /* highest stream sequence up to and including this entry */
	uint32_t record_count; /* 0 for what is not a command */
	uint32_t
		prev_term; /* low half of the term of the entry before: proves that nothing is missing between them (S7) */
};
/* Bytes that an entry with this body takes, padding included. */
static inline uint64_t entry_bytes(uint64_t body_bytes) { return ENTRY_HEAD_BYTES + round_up(body_bytes, 8); }
/* Encodes the head with both crcs into ENTRY_HEAD_BYTES bytes at `out`; fills in the crcs of *h. */
void entry_head_encode(struct entry_head *h, struct slice body, uint8_t *out);
/* Decodes and checks the head alone: ERR_AGAIN when fewer than ENTRY_HEAD_BYTES bytes, ERR_CORRUPT. */
must_check enum err entry_head_decode(struct slice in, struct entry_head *out);
/* The next entry of concatenated ones: checks head and body, gives the body (borrowed), moves *in behind the padding. ERR_AGAIN: it is cut
 * off (or *in is empty: ERR_EOF). ERR_CORRUPT leaves *in where it was. */
must_check enum err entry_next(struct slice *in, struct entry_head *head, struct slice *body);

/* ---- batches and records ---- */

/* A record's kinds belong to the stream (stream.h); the log never looks at them. */
enum { RECORD_ERASED = 0x80 }; /* flag: its subject, headers and payload are zeroes of the same length (S15) */
struct record {
	uint8_t kind, flags;           /* flags: bit 0 compressed, bit 1 encrypted (reserved), bit 7 RECORD_ERASED */
	uint64_t seq;                  /* stream sequence, 0 when the record has none */
	int64_t time_ns;               /* since 1970, decided by the leader */
	struct slice subject;          /* at most 65535 bytes */
	struct slice headers, payload; /* each at most 2^32 - 1 */
};
static inline uint64_t record_bytes(const struct record *r)
{
	return round_up(RECORD_HEAD_BYTES + r->subject.n + r->headers.n + r->payload.n, 8);
}
/* Starts a batch in an empty buf, adds records to it, finishes it: then b holds the body of a command. */
void batch_begin(struct buf *b);
void batch_add(struct buf *b, const struct record *r); /* copies; computes the record's crc */
void batch_end(struct buf *b, uint64_t seq_last);
struct batch_head {
	uint32_t record_count;
	uint64_t seq_last;
};
/* Checks the batch head, and that exactly record_count whole records follow (their lengths, not their crcs). ERR_CORRUPT. */
must_check enum err batch_open(struct slice body, struct batch_head *head, struct slice *records);
/* The next record, crc checked, slices borrowed from *in, moved behind it. ERR_EOF at the end, ERR_CORRUPT. */
must_check enum err record_next(struct slice *in, struct record *out);

/* ---- erasing (S15) ---- */

/* Erases, in one whole and verified entry, the records whose sequences are among `seqs` (rising): what they held becomes zeroes, lengths stay,
 * all checksums are made anew, also those of *h. The same records erased in the same entry give the same bytes on every replica, but
 * for what its head says of the replica. True when anything was changed. */
must_check bool entry_erase(struct entry_head *h, uint8_t *entry, size_t n, const uint64_t *seqs, size_t count);
/* Would entry_erase change anything in this body of a command? */
bool entry_erasable(struct slice body, const uint64_t *seqs, size_t count);

#endif
