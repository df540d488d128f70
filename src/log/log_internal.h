/* SPDX-License-Identifier: Apache-2.0 */
/* log_internal — what the files of the log share. One struct log per node: a journal (ring, gathering block, block in flight), groups
 * with their unsettled entries, one settle round, reads and installs under way.
 *
 *   log.c group.c ──> journal.c ──(one block in flight)──> slots
 *        │                │ durable
 *        │                └──> settle.c ──(one round)──> segments, state store ──> SETTLED ──> slots free again
 *        └──> read.c: blocks in memory, slots, segments          recover.c, replay.c: all of it back again, at start
 *
 * All of it belongs to the loop thread; a job on a worker touches only what hangs off its own struct. */
#ifndef THEBES_LOG_INTERNAL_H
#define THEBES_LOG_INTERNAL_H

#include "segment.h"
#include "thebes/log.h"

/* Level of every format here (S20): identity, blocks, tables, segments. A higher one on disk is refused. */
enum { LOG_FORMAT_LEVEL = 1 };

/* ---- identity (identity.c; docs/STORAGE.md#identity) ---- */

enum { IDENTITY_BYTES = 96, IDENTITY_FILE_BYTES = 4096 };
struct identity {
	uint64_t counter; /* raised by each rewrite */
	uint64_t slot_bytes;
	uint32_t slot_count;
	struct log_identity id;
	uint8_t secret[16];
};
void identity_encode(const struct identity *i, uint8_t out[IDENTITY_BYTES]);
/* ERR_CORRUPT, ERR_FORMAT. */
must_check enum err identity_decode(const uint8_t in[IDENTITY_BYTES], struct identity *out);
/* Reads both copies; repairs a bad one from the good one (*repaired). ERR_NOT_FOUND: neither file is there; ERR_CORRUPT: both bad. */
must_check enum err identity_load(struct io *io, const char *dir, struct identity *out, bool *repaired);
/* Writes and syncs copy 0, then copy 1. */
must_check enum err identity_store(struct io *io, const char *dir, const struct identity *i);
uint64_t identity_store_low(const struct identity *i); /* segment_place.store */

/* ---- blocks and frames (block.c; docs/STORAGE.md#block): pure functions ---- */

enum { BLOCK_HEAD_BYTES = 64, BLOCK_ALIGN = 4096, FRAME_HEAD_BYTES = 8 };
enum { BLOCK_TABLE = 1, BLOCK_CLOSING = 2, BLOCK_SETTLED = 4 };
#define BLOCK_GROUPS_ALL UINT32_MAX

/* What seeds the crcs of one use of a slot (S3). */
struct block_key {
	uint8_t secret[16];
	uint64_t use;
	bool is_unseeded; /* planted bug S3 */
};
struct block_head {
	uint16_t level, flags;
	uint64_t use, number, offset;
	uint64_t chain; /* block_chain of the block before */
	uint32_t groups_count, previous_count, body_bytes;
	uint32_t crc_body, crc_lists, crc_head;
};
uint32_t block_seed(const struct block_key *k, uint64_t offset);
void block_head_encode(
	const struct block_key *k, struct block_head *h /* crc_head is filled in */, uint8_t out[BLOCK_HEAD_BYTES]);
/* Checks magic, crc, use and offset. ERR_CORRUPT: no head of this use is here; ERR_FORMAT: one of a higher level. */
must_check enum err block_head_decode(
	const struct block_key *k, uint64_t offset, const uint8_t in[BLOCK_HEAD_BYTES], struct block_head *out);
/* The use number that a head claims, unchecked; 0 when there is no magic. */
uint64_t block_head_use(const uint8_t in[BLOCK_HEAD_BYTES]);
static inline uint64_t block_chain(const struct block_head *h) { return (uint64_t)h->crc_body << 32 | h->crc_head; }
static inline uint32_t block_list_bytes(uint32_t count) { return count == BLOCK_GROUPS_ALL ? 0 : count * 8; }
/* Bytes on disk, in whole sectors (S2). */
uint64_t block_bytes(const struct block_head *h);

/* A frame's head at `out`, for an entry that lies behind it; `offset` is the frame's in the slot. */
void frame_encode(const struct block_key *k, uint64_t offset, const uint8_t *entry, uint32_t entry_bytes, bool is_moved,
	uint8_t *out);
struct frame {
	struct slice entry; /* borrowed; not verified yet but for its two crc words */
	uint64_t offset;    /* of the frame in the slot */
	bool is_moved;      /* S12: the entry lay in an older slot */
};
/* The frame at the head of *in, whose place in the slot is *offset; both move on. ERR_EOF, ERR_CORRUPT (bad seal or length). */
must_check enum err frame_next(const struct block_key *k, struct slice *in, uint64_t *offset, struct frame *out);

/* ---- meta, table, install: what is encoded about groups (meta.c) ---- */

struct term_run {
	uint64_t first, term; /* entries from index `first` on have this term */
};
struct term_runs {
	struct term_run *p; /* owned, rising in both */
	uint32_t count, cap;
};
void runs_add(struct term_runs *r, uint64_t index, uint64_t term); /* index is above all that were added */
void runs_truncate(struct term_runs *r, uint64_t from);
/* Forgets what says nothing about `index` and above. */
void runs_trim(struct term_runs *r, uint64_t index);
uint64_t runs_term(const struct term_runs *r, uint64_t index); /* 0 below the first */
void runs_copy(struct term_runs *to /* zeroed */, const struct term_runs *from);
void runs_deinit(struct term_runs *r);

/* The log's value of a group in the state store. */
struct group_meta {
	uint64_t generation;
	uint64_t state_index, state_term, conf_index;
	uint64_t contiguous_from, settled_index, settled_seq;
	struct buf conf;              /* owned */
	struct term_runs runs;        /* owned; up to settled_index */
	struct segment_list segments; /* owned */
};
void group_meta_encode(const struct group_meta *m, struct buf *out); /* appends */
/* *out is zeroed. ERR_CORRUPT, ERR_FORMAT. Deinit in every case. */
must_check enum err group_meta_decode(struct slice in, struct group_meta *out);
void group_meta_deinit(struct group_meta *m);

enum { TABLE_HEAD_BYTES = 40, TABLE_ROW_BYTES = 96 };
struct table_head {
	uint64_t round, sum, oldest_use, next_block, group_count;
};
struct table_row {
	uint64_t id, generation, term, vote, commit, last_index, last_term, settled_index, conf_index, seq_last, flags,
		doubt_from;
};
enum { TABLE_IN_DOUBT = 1, TABLE_INSTALLING = 2 };
void table_head_encode(const struct table_head *h, uint8_t out[TABLE_HEAD_BYTES]);
void table_row_encode(const struct table_row *r, uint8_t out[TABLE_ROW_BYTES]);
must_check enum err table_head_decode(
	struct slice body, struct table_head *out); /* checks the length of the rows too */
void table_row_decode(struct slice body, uint64_t at, struct table_row *out);

struct install_body {
	uint64_t generation, contiguous_from, conf_index, seq_last, state_bytes;
	struct slice conf;
	struct segment_list segments; /* owned */
	struct term_runs runs;        /* owned */
};
void install_body_encode(const struct install_body *b, struct buf *out);
must_check enum err install_body_decode(struct slice in, struct install_body *out); /* conf borrowed from in */
void install_body_deinit(struct install_body *b);

/* ---- unsettled entries ---- */

/* Where an entry lies in the journal: all that memory holds of it. */
struct log_ref {
	uint64_t seq_last;
	uint32_t use; /* 0: not there, a gap found while starting */
	uint32_t at8; /* offset of the entry in the slot, in units of 8 bytes */
	uint32_t body_bytes;
	uint16_t records; /* saturates */
	uint8_t kind, flags;
};
_Static_assert(sizeof(struct log_ref) == 24, "memory per unsettled entry");

/* Refs of consecutive indexes, taken from the front and the back. */
struct log_refs {
	struct log_ref *p; /* owned */
	uint32_t head, count, cap;
	uint64_t first; /* index of the first, also when empty */
};
static inline struct log_ref *refs_at(const struct log_refs *r, uint64_t index)
{
	ASSERT(index >= r->first && index - r->first < r->count);
	return &r->p[r->head + (index - r->first)];
}
static inline uint64_t ref_offset(const struct log_ref *r) { return (uint64_t)r->at8 * 8; }
static inline uint64_t ref_bytes(const struct log_ref *r) { return entry_bytes(r->body_bytes); }
struct log_ref *refs_push(struct log_refs *r); /* zeroed */
void refs_drop_front(struct log_refs *r, uint64_t to /* the last index that goes */);
void refs_truncate(struct log_refs *r, uint64_t from);
void refs_deinit(struct log_refs *r);

/* ---- groups ---- */

enum {                      /* why a group is in doubt (S7) */
	DOUBT_VOTE = 1,     /* a vote may be missing */
	DOUBT_ENTRIES = 2,  /* entries may be missing, or be stale */
	DOUBT_RECORDED = 4, /* a DOUBT record or a table says so: only DOUBT_END clears it */
};

struct log_group {
	struct log *log; /* borrowed */
	uint64_t id, generation;
	const struct log_group_ops *ops; /* borrowed, NULL while detached */
	void *owner;

	uint64_t term, vote;
	uint64_t commit_index;
	uint64_t last_index, last_term, last_seq;
	uint64_t durable_index;
	uint64_t touched_block; /* the last block that names the group */

	/* what the owner's state is at, told by log_applied */
	uint64_t applied_index, applied_term, applied_conf_index;
	struct buf applied_conf; /* owned */

	/* what the state store holds */
	bool is_stored;
	uint64_t state_index, state_term, conf_index;
	struct buf conf;                     /* owned */
	uint64_t settled_index, settled_seq; /* entries up to here are in segments or left out as dead */
	uint64_t contiguous_from;
	uint64_t trim_index;          /* entries below it may go */
	struct segment_list segments; /* owned */

	struct log_refs refs;    /* settled_index + 1 .. last_index */
	struct term_runs runs;   /* of all entries that are known */
	uint64_t refs_bytes;     /* of entries in refs */
	uint64_t floating_bytes; /* of those above applied_index */

	unsigned doubt; /* DOUBT_… */
	uint64_t doubt_from;
	char *doubt_why; /* owned, NULL when not in doubt */

	struct log_install *install;    /* borrowed, while one is under way */
	uint64_t installed_state_bytes; /* > 0 or is_installing: the state came with an install and waits for a round */
	bool is_installing;             /* INSTALL is recorded, the state store does not hold it yet */
	bool is_gone;
	uint32_t epoch;    /* raised when what a read was planned on is no longer so: settle, install, truncate */
	bool is_index_bad; /* a read found a bad .idx */
};
static inline bool group_is_in_doubt(const struct log_group *g) { return g->doubt != 0; }
void group_doubt(struct log_group *g, unsigned why, uint64_t from, const char *fmt, ...) printf_like(4, 5);
void group_place(const struct log_group *g, struct segment_place *out);

/* ---- the journal (journal.c) ---- */

struct slot {
	struct io_file *file; /* owned */
	char *path;           /* owned */
	uint64_t zeroed_to;   /* blocks are written into zeroes up to here in the slot's first use */
};

/* One block: gathering, waiting, in flight or kept in memory. */
struct block {
	struct list link_by_order; /* journal.waiting */
	uint64_t number, use, offset;
	uint8_t *p; /* owned: head, frames, lists, zeros */
	uint32_t n, frames_max, cap;
	uint32_t bytes; /* on disk; 0 while gathering */
	uint16_t flags;
	struct log_group **touched; /* owned; NULL where the group went */
	uint64_t *touched_ids;      /* owned */
	uint32_t touched_count, touched_cap;
	bool touches_all;
	struct list reqs; /* of log_req.link */
	bool is_durable;
};

struct journal_job {
	struct io_job job;
	struct log *log;
	struct block_key key;
	struct io_file *file; /* borrowed */
	struct block *block;  /* the worker's until done */
	uint64_t chain_before, chain;
	enum err result;
	bool is_synced;
	uint64_t started_ns;
};
struct zero_job {
	struct io_job job;
	struct log *log;
	struct io_file *file; /* borrowed */
	uint32_t slot;
	uint64_t use; /* whose first use it is */
	uint64_t from, to;
	enum err result;
	bool is_running;
};

struct journal {
	struct slot *slots; /* owned, slot_count */
	uint32_t slot_count;
	uint64_t slot_bytes;
	uint64_t block_bytes_target, list_groups_max;

	uint64_t use;        /* of the block that begins next, unless it does not fit any more */
	uint64_t next_at;    /* where that block begins */
	uint64_t oldest_use; /* lowest one that may not be written over */
	uint64_t next_number;
	uint64_t durable_number, durable_use, durable_to; /* end of the last durable block */
	uint64_t chain;                                   /* of the last block that was submitted */
	uint64_t *previous_ids;                           /* owned: groups of the block sealed last */
	uint32_t previous_count;                          /* or BLOCK_GROUPS_ALL */

	struct block *gathering; /* or NULL */
	struct list waiting;     /* sealed, not submitted */
	struct block *flying;    /* or NULL (S1) */
	struct journal_job job;
	struct zero_job zero;
	struct io_timer idle; /* closing block */
	bool is_closing_last; /* the last block is a closing one */

	/* recent blocks in order of position, for log_view */
	struct block **recent; /* owned array of owned blocks */
	uint32_t recent_head, recent_count, recent_cap;
	uint64_t recent_bytes;
	struct block *spare; /* owned: a large buffer for the next gathering block */
};
void journal_init(struct log *l);
void journal_deinit(struct log *l);
/* Adds a frame with an entry to the gathering block. `g` NULL: the record touches the store, not a group. */
struct log_ref journal_add(struct log *l, struct log_group *g, struct entry_head *h, struct slice body);
/* Adds an entry that lies in an older slot, bytes unchanged (S12). */
struct log_ref journal_move(struct log *l, struct log_group *g, struct slice entry);
/* Requests are done when the block that gathers now (or, when none does, the last one) is durable. */
void journal_wait(struct log *l, struct log_req *req);
/* Number that the gathering block has or will have. */
uint64_t journal_number(const struct log *l);
void journal_submit(struct log *l);
/* Ends the current use: the next block begins a new one. False when nothing was written into it, or the reserve would be touched. */
bool journal_rotate(struct log *l);
void journal_free_to(struct log *l, uint64_t use); /* uses up to this one may be written over */
/* Bytes that may still be written before a slot in use would be needed. */
uint64_t journal_room_bytes(const struct log *l);
uint32_t journal_free_slots(const struct log *l);
uint64_t table_bytes(const struct log *l);
static inline struct slot *journal_slot(const struct log *l, uint64_t use);
/* The entry's bytes if its block is in memory. */
bool journal_view(const struct log *l, const struct log_ref *r, struct slice *entry);
void journal_trim_recent(struct log *l); /* at the end of a turn: views end here */

/* ---- settling (settle.c) ---- */

enum round_phase {
	ROUND_IDLE,
	ROUND_ASK,    /* which entries are dead, captures */
	ROUND_SYNC,   /* what was captured is not durable yet */
	ROUND_WORK,   /* on the worker */
	ROUND_RECORD, /* SETTLED is on its way */
};
struct round;
struct settle {
	enum round_phase phase;
	struct round *round; /* owned, while one is under way */
	uint64_t number;     /* of the last round that the state store committed */
	uint64_t sum, number_before, sum_before;
	uint64_t settled_use;        /* the uses of the rounds up to the last are up to here … */
	uint64_t settled_use_before; /* … and up to the one before: these are free (S13) */
	struct io_timer step;        /* the next slice of a turn */
	struct io_timer retry;       /* after a failed round (S16) */
	bool is_wanted;
	struct list wanted_by; /* of log_req.link: log_settle_now, done with the next round that begins */
	struct list graves;    /* of struct grave.link: groups and segments that go */
	uint64_t rounds, rounds_failed;
};
void settle_init(struct log *l);
void settle_deinit(struct log *l);
/* Starts a round if one is due; goes on with one that waits. Called at the end of every turn. */
void settle_step(struct log *l);
bool settle_is_busy(const struct log *l);
/* A group went, or got another generation: the round under way drops what it has of it. */
void settle_forget_group(struct log *l, struct log_group *g);
/* Files that are unlinked when it is safe. generation 0: the whole group. */
void settle_bury_group(struct log *l, uint64_t id, uint64_t generation, bool drop_state, uint64_t after_block);

/* ---- space (space.c) ---- */

struct space {
	uint64_t free_bytes, total_bytes;
	uint64_t asked_ns;
	bool is_known, is_asking;
	struct io_job job;
	struct log *log;
	uint64_t job_free, job_total;
	enum err job_result;
};
void space_step(struct log *l);

/* ---- the whole ---- */

struct log {
	struct io *io;              /* borrowed */
	struct diag *diag;          /* borrowed */
	struct log_options options; /* dir is owned */
	struct io_file *lock;       /* owned */
	struct identity identity;
	struct block_key key; /* secret; use is set per call */
	struct state *state;  /* owned */

	struct log_group **groups; /* owned, in order of id */
	uint32_t groups_count, groups_cap;

	struct journal journal;
	struct settle settle;
	struct space space;
	uint64_t floating_bytes; /* of all groups */
	struct list reads;       /* of struct log_read.link: under way */
	struct list installs;    /* of struct log_install.link */
	uint32_t jobs;           /* on workers; memory may not go before they are done */

	bool is_dead; /* fatal was called (S17) */
	bool is_closing;
	bool is_closing_written;
	void (*closed)(void *arg);
	void *closed_arg;
};

static inline struct slot *journal_slot(const struct log *l, uint64_t use)
{
	ASSERT(use > 0);
	return &l->journal.slots[(use - 1) % l->journal.slot_count];
}
void log_die(struct log *l, const char *fmt, ...) printf_like(2, 3);
void log_job(struct log *l, enum io_lane lane, struct io_job *j); /* submits and counts */
void log_job_done(struct log *l);
struct log_group *group_new(struct log *l, uint64_t id);
void group_free(struct log_group *g);
void group_insert(struct log *l, struct log_group *g);
void group_remove(struct log *l, struct log_group *g);
uint64_t group_first_index(const struct log_group *g);
bool log_fault(const struct log *l, enum fault f);

/* ---- starting (recover.c, replay.c) ---- */

struct image; /* what replay found */
must_check enum err recover(struct log *l, char *why, size_t why_bytes);

/* ---- reading, installing ---- */

void read_cancel_group(struct log_group *g);
void read_step(struct log *l);
void install_step(struct log *l);
void install_settled(struct log_group *g);
void install_abort_group(struct log_group *g);

#endif
