/* SPDX-License-Identifier: Apache-2.0 */
/* frame — what replicas of a group say to each other, as bytes. Versioned, checksummed, little-endian; pure functions.
 *
 *    0 u32 magic "TRAF"      8 u8 version, 9 u8 kind, 10 u16 zero     16 u64 group     32 u64 to (raft id)
 *    4 u32 crc over 8..      12 u32 bytes behind the head             24 u64 from      40 body
 *
 * Decoding checks everything that can be known from the bytes alone; what needs the replica's own state is guard.c. */
#ifndef THEBES_RAFT_FRAME_H
#define THEBES_RAFT_FRAME_H

#include "thebes/base.h"
#include "thebes/raft.h"

enum frame_kind {
	FRAME_APPEND = 1, /* AppendEntries */
	FRAME_APPEND_RESULT,
	FRAME_VOTE, /* RequestVote; the candidate is who sends it */
	FRAME_VOTE_RESULT,
	FRAME_TIMEOUT_NOW,
	FRAME_SLEEP,         /* leader: nothing is outstanding, let us hibernate */
	FRAME_INSTALL_BEGIN, /* S19: the refill of a replica */
	FRAME_INSTALL_CHUNK,
	FRAME_INSTALL_COMMIT,
	FRAME_INSTALL_ANSWER,
	FRAME_KIND_END,
};

enum { FRAME_HEAD_BYTES = 40, FRAME_VERSION = 1, FRAME_ENTRY_BYTES = 16 };
#define FRAME_BYTES_MAX (64 * MIB)
/* No index or term ever gets near this; above it arithmetic on them could wrap. */
#define FRAME_NUMBER_MAX ((uint64_t)1 << 62)

struct frame_append {
	uint64_t term, prev_index, prev_term, commit;
	uint32_t count;
	struct slice heads;  /* count × { u64 term, u32 body bytes, u32 kind } */
	struct slice bodies; /* concatenated */
};
struct frame_append_result {
	uint64_t term, rejected, last_index;
	bool refill; /* the replica is damaged where entries cannot heal it: send an install */
	uint64_t
		takes_bytes; /* what its journal takes of entries that are not applied, together as well as in one; > 0 */
};
struct frame_vote {
	uint64_t term, last_index, last_term;
	bool disrupt, pre_vote;
};
struct frame_vote_result {
	uint64_t term;
	bool granted, pre_vote;
};
struct frame_timeout_now {
	uint64_t term, last_index, last_term;
};
struct frame_sleep {
	uint64_t term, last_index;
};
struct frame_install_begin {
	uint64_t term, install, index, index_term, conf_index;
	uint64_t attempt; /* BEGIN is repeated when nothing is heard: which one the answer is to */
	struct slice conf;
};
enum frame_chunk { FRAME_CHUNK_ENTRIES = 1, FRAME_CHUNK_STATE };
struct frame_install_chunk {
	uint64_t term, install, seq;
	enum frame_chunk what;
	struct slice bytes;
};
struct frame_install_commit {
	uint64_t term, install, seq;
};
enum frame_answer {
	FRAME_ANSWER_NEXT = 1, /* `seq` is expected next */
	FRAME_ANSWER_DONE,     /* committed; the replica goes on from `index` */
	FRAME_ANSWER_NO,       /* not wanted, or failed; the last entry here is `index` */
};
struct frame_install_answer {
	uint64_t term, install, seq, index;
	uint64_t attempt; /* of the BEGIN that is answered; 0: a chunk is */
	enum frame_answer answer;
};

struct frame {
	enum frame_kind kind;
	uint64_t group, from, to, term;
	union {
		struct frame_append append;
		struct frame_append_result append_result;
		struct frame_vote vote;
		struct frame_vote_result vote_result;
		struct frame_timeout_now timeout_now;
		struct frame_sleep sleep;
		struct frame_install_begin install_begin;
		struct frame_install_chunk install_chunk;
		struct frame_install_commit install_commit;
		struct frame_install_answer install_answer;
	};
};

/* Decodes and checks one whole frame; slices are borrowed from `in`. ERR_CORRUPT (not a frame, cut, damaged), ERR_FORMAT (later version or
 * kind), ERR_DENIED (well-formed bytes that nobody honest sends); *why, static, says which rule was broken. */
must_check enum err frame_decode(struct slice in, struct frame *out, const char **why);

/* The next entry of an append: *at starts zeroed. False behind the last. */
struct frame_entry {
	uint64_t term;
	enum entry_kind kind;
	struct slice body;
};
struct frame_entry_at {
	uint32_t index;
	size_t body_at;
};
bool frame_entry_next(const struct frame_append *a, struct frame_entry_at *at, struct frame_entry *out);
/* Drops the first `count` entries; prev becomes (index, term). */
void frame_append_skip(struct frame_append *a, uint32_t count, uint64_t prev_index, uint64_t prev_term);

/* A frame being built: a head that grows, and borrowed parts behind it. Reused from frame to frame. */
struct frame_out {
	struct buf head;     /* owned */
	struct slice *parts; /* owned; [0] is the head, set by frame_end */
	unsigned count, cap;
};
void frame_begin(struct frame_out *o, enum frame_kind kind, uint64_t group, uint64_t from, uint64_t to);
static inline void frame_u64(struct frame_out *o, uint64_t v) { buf_append_le64(&o->head, v); }
static inline void frame_u32(struct frame_out *o, uint32_t v) { buf_append_le32(&o->head, v); }
/* Fields of an append, then each entry; bodies are borrowed until the frame was sent. */
void frame_append_begin(struct frame_out *o, uint64_t term, uint64_t prev_index, uint64_t prev_term, uint64_t commit);
void frame_append_entry(struct frame_out *o, uint64_t term, enum entry_kind kind, struct slice body);
/* Bytes at the end, borrowed until the frame was sent. */
void frame_part(struct frame_out *o, struct slice part);
/* Fills in lengths and the checksum. The frame is parts[0 .. count). */
void frame_end(struct frame_out *o);
void frame_out_deinit(struct frame_out *o);

#endif
