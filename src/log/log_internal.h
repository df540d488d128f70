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
enum { LOG_SLOTS_MIN = 4, LOG_SLOTS_MAX = 64, LOG_SLOT_BYTES_MIN = 32 * 1024 };

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
	uint64_t first,
		term; /* entries from index `first` on have this term; 0: it is not known (of holes in an install) */
};
struct term_runs {
	struct term_run *p; /* owned, rising in both */
	uint32_t count, cap;
};
void runs_add(struct term_runs *r, uint64_t index, uint64_t term); /* index is above all that were added */
/* The same for an index that may lie below others: what stands above it keeps its terms. */
void runs_insert(struct term_runs *r, uint64_t index, uint64_t term);
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
/* The entries are there and the state is not: what start finds so is in doubt. */
void group_meta_lose_state(struct group_meta *m);
static inline bool group_meta_has_lost_state(const struct group_meta *m) { return m->state_index < m->settled_index; }

/* What SETTLED says, and each table repeats (S13). */
enum { SETTLED_BYTES = 48 };
struct settled {
	uint64_t round, sum;               /* what the state store holds, or one round more or less */
	uint64_t round_before, sum_before; /* of the round before */
	uint64_t use;                      /* the round settled the uses up to this one … */
	uint64_t use_before;               /* … the round before up to this one: all above are needed */
};
void settled_encode(const struct settled *s, uint8_t out[SETTLED_BYTES]);
must_check enum err settled_decode(struct slice in, struct settled *out);

enum { TABLE_HEAD_BYTES = SETTLED_BYTES + 24, TABLE_ROW_BYTES = 96 };
enum { TABLE_LACKS_GROUPS = 1 };
struct table_head {
	struct settled settled;
	uint64_t next_block, group_count, flags;
};
struct table_row {
	uint64_t id, generation, term, vote, commit, last_index, last_term, settled_index, conf_index, seq_last, flags,
		doubt_from;
};
enum { TABLE_IN_DOUBT = 1 };
void table_head_encode(const struct table_head *h, uint8_t out[TABLE_HEAD_BYTES]);
void table_row_encode(const struct table_row *r, uint8_t out[TABLE_ROW_BYTES]);
must_check enum err table_head_decode(
	struct slice body, struct table_head *out); /* checks the length of the rows too */
void table_row_decode(struct slice body, uint64_t at, struct table_row *out);

struct install_body {
	uint64_t generation, contiguous_from, conf_index, seq_last;
	uint64_t state_bytes; /* of the file `state` beside the segments, and its crc */
	uint32_t state_crc;
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
static inline uint64_t ref_bytes(const struct log_ref *r) { return r->use ? entry_bytes(r->body_bytes) : 0; }
static inline uint64_t ref_frame_bytes(const struct log_ref *r) { return r->use ? FRAME_HEAD_BYTES + ref_bytes(r) : 0; }
struct log_ref *refs_push(struct log_refs *r); /* zeroed */
void refs_drop_front(struct log_refs *r, uint64_t to /* the last index that goes */);
void refs_truncate(struct log_refs *r, uint64_t from);
void refs_deinit(struct log_refs *r);

/* ---- groups ---- */

enum {                      /* why a group is in doubt (S7) */
	DOUBT_VOTE = 1,     /* a vote may be missing */
	DOUBT_ENTRIES = 2,  /* entries may be missing, or be stale */
	DOUBT_RECORDED = 4, /* a DOUBT record or a table says so: only DOUBT_END clears it */
	DOUBT_STATE = 8,    /* its applied state is lost */
	DOUBT_SETTLED = 16, /* in a DOUBT record alone: entries, of those only that were settled then */
};

struct log_group {
	struct log *log; /* borrowed */
	uint64_t id, generation;
	char *label;                     /* owned: log_group_label */
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

	struct log_refs refs; /* settled_index + 1 .. last_index */
	struct log_refs
		stranded;        /* behind a gap that damage left: readable until the group is appended to again (S6) */
	uint64_t stranded_bytes; /* of these, as frames: part of floating_bytes */
	struct term_runs runs;   /* of all entries that are known */
	uint64_t refs_bytes;     /* of entries in refs */
	uint64_t floating_bytes; /* of those above applied_index, as frames */

	unsigned doubt; /* DOUBT_… */
	uint64_t doubt_from;
	bool loses_end; /* the doubt is also about entries without an end that anybody knows, found before what is `damaged` */
	uint64_t
		told_to; /* of a start: as the DOUBT record says nothing behind this one is lost, for all that is known; 0: it does not */
	uint64_t seq_bound; /* no sequence above it can have been acknowledged, as far as the doubt goes */
	bool is_end_unsure; /* while starting: what was lost last may have held any sequences */
	char *doubt_why;    /* owned, NULL when not in doubt */

	struct segment_range damaged; /* settled entries that are known to be damaged or missing */

	uint64_t generation_tried;      /* the highest that ever had a directory */
	struct log_install *install;    /* borrowed, while one is under way */
	bool is_committing;             /* log_install_commit is under way: nothing may be appended */
	bool is_installed;              /* INSTALL is recorded, the state store does not hold it yet */
	uint64_t installed_state_bytes; /* of the file `state` that came with it */
	uint32_t installed_state_crc;
	bool is_known; /* while starting: the journal names it */
	bool is_made;  /* … its MAKE was read: all it had since then is in the journal */
	/* … the lowest entry that does not continue what is here before it (0: all do), the term that must stand there, and the lowest
	 * of further such entries */
	uint64_t breaks_at, breaks_more;
	uint32_t breaks_term;
	uint64_t
		claimed; /* … up to here the log is proven, if it turns out to be all here: its entries may come as moved ones */
	uint64_t
		told_doubt; /* … entries from here on are in doubt, as the journal says, and it has not said that this ended; 0: not */
	bool finds_more;             /* … entries are in doubt by what this start found, not only as it was told */
	struct segment_range unsure; /* … entries that something lost may have replaced; to 0: none */
	struct segment_range
		untold; /* … of these, what the start that recorded the doubt counted as missing, by the state it had */
	uint32_t rewrite_at; /* position of the segment that is looked at next */
	bool wants_erase;    /* S15: the owner has asked … */
	bool is_erasing;     /* … and erasing has begun since … */
	bool erase_failed;   /* … but something could not be reached */
	bool erase_owed;     /* … before its owner was detached */
	uint32_t epoch;      /* raised when what a read was planned on is no longer so: settle, install, truncate */
	uint32_t cuts;       /* raised when entries that a read may have given are void: install, truncate */
};
static inline bool group_is_in_doubt(const struct log_group *g) { return g->doubt != 0; }
void group_doubt(struct log_group *g, unsigned why, uint64_t from, const char *fmt, ...) printf_like(4, 5);
/* Records a doubt that was found now, so that the next start knows it without the damage. */
void group_record_doubt(struct log_group *g);
/* No record says so, or only that what is settled is damaged, and there is more. */
bool group_doubt_is_untold(const struct log_group *g);
/* The same of groups that nobody knows the names of. */
void group_record_lack(struct log *l);
/* A read or a copy found settled entries damaged. */
void group_damaged(struct log_group *g, struct segment_range bad, const char *what);
/* A round found that the state which came with an install is damaged. */
void group_lost_state(struct log_group *g);
void group_place(const struct log_group *g, struct segment_place *out);
/* Entries above the applied index, and stranded ones, float: they cannot settle, and must move before their slot can go (S12). How much of
 * that lies in which slot is known at any time. */
void group_float(struct log_group *g, const struct log_ref *r);
void group_sink(struct log_group *g, const struct log_ref *r);
void group_sink_all(struct log_group *g);
static inline bool group_floats(const struct log_group *g, uint64_t index)
{
	return index > u64_max(g->applied_index, g->settled_index);
}
void group_truncate(struct log_group *g, uint64_t from);
/* The last sequence of the log up to `index` that is known of entries which are here: where damage took entries, theirs are not. */
uint64_t group_seq_at(const struct log_group *g, uint64_t index);

/* ---- the journal (journal.c) ---- */

struct slot {
	struct io_file *file;    /* owned */
	uint64_t floating_bytes; /* of entries in it that float */
	uint64_t written_to;     /* nothing but zeroes lies behind it */
	bool is_suspect;         /* S15: something in it may have to be erased: zeroed once it is free */
};

/* One block: gathering, waiting, in flight or kept in memory. */
struct block {
	struct list link_by_order; /* journal.waiting */
	uint64_t number, use, offset;
	uint8_t *p; /* owned: head, frames, lists, zeros */
	uint32_t n, frames_max, list_max, cap;
	uint32_t bytes; /* on disk; 0 while gathering */
	uint32_t body_bytes, groups_count, previous_count;
	uint16_t flags;
	struct log_group **touched; /* owned; NULL where the group went, and for the store itself */
	uint64_t *touched_ids;      /* owned */
	uint32_t touched_count, touched_cap;
	bool touches_store, is_durable;
	struct list reqs; /* of log_req.link */
};

struct journal_job {
	struct io_job job;
	struct log *log;
	struct block_key key;
	struct io_file *file; /* borrowed */
	struct block *block;  /* the worker's until done */
	uint64_t chain_before, chain;
	uint64_t started_ns;
	bool is_unsynced; /* planted bug S1 */
	enum err result;
};
struct zero_job {
	struct io_job job;
	struct log *log;
	struct io_file *file;   /* borrowed */
	uint64_t use, from, to; /* of its slot's first use */
	enum err result, sync_result;
	bool is_running;
	bool is_erasing, is_last; /* S15: of a slot that is free, and `use` is the next one that it will have */
};

enum { LIST_GROUPS_MORE = 16 }; /* groups that are made while a block gathers: room in its list for so many */
struct journal {
	struct slot *slots; /* owned, slot_count */
	uint32_t slot_count;
	uint64_t slot_bytes;
	uint64_t block_bytes_target, list_groups_max, align;

	uint64_t use;        /* of the block that begins next, unless it does not fit any more */
	uint64_t next_at;    /* where that block begins; 0: it begins the use, with a table */
	uint64_t oldest_use; /* lowest one that may not be written over */
	uint64_t next_number;
	uint64_t durable_number, durable_pos; /* the last durable block, and its end (journal_pos) */
	uint64_t chain;                       /* of the last block that was written */
	uint64_t *previous_ids;               /* owned: groups of the block sealed last */
	uint32_t previous_count;              /* or BLOCK_GROUPS_ALL */

	struct block *gathering; /* or NULL */
	struct list waiting;     /* sealed, not submitted */
	struct block *flying;    /* or NULL (S1) */
	struct block *unsynced;  /* planted bug S1: written, waits for the sync of the next */
	struct journal_job job;
	struct zero_job zero;
	uint64_t zeroed_pos;  /* in the ring's first round: blocks are written into zeroes up to here */
	struct io_timer idle; /* the closing block */
	bool is_closing_last; /* the last block is a closing one */
	struct list ready;    /* of log_req.link: nothing to wait for, done in a task */
	struct io_task ready_task;

	/* recent blocks in order of position, for log_view */
	struct block **recent; /* owned array of owned blocks */
	uint32_t recent_head, recent_count, recent_cap;
	uint64_t recent_bytes;
	uint8_t *spare; /* owned: a large buffer for the next gathering block */
	uint32_t spare_cap;
	uint64_t forget_use;  /* S15: blocks of uses up to this one leave memory at the end of the turn */
	uint64_t erase_retry; /* … when zeroing may be tried again, after it found no room */
};
void journal_init(struct log *l);
void journal_deinit(struct log *l);
/* Adds a frame with an entry to the gathering block. `g` NULL: the record touches the store, not a group. What the entry says must not
 * be in the group's memory yet: the block may begin with a table, which states what was before it. */
struct log_ref journal_add(struct log *l, struct log_group *g, struct entry_head *h, struct slice body);
/* Adds an entry that lies in an older slot, bytes unchanged (S12). */
struct log_ref journal_move(struct log *l, struct log_group *g, const struct entry_head *h, struct slice entry);
/* The request is done when all that was added so far is durable. NULL and requests without `done` are let go. */
void journal_wait(struct log *l, struct log_req *req);
/* Number of the block that gathers, or of the last one when none does: durable_number reaches it when all so far is durable. */
uint64_t journal_last_number(const struct log *l);
void journal_submit(struct log *l);
/* Blocking, before the loop runs: what gathers is durable when it returns OK. */
must_check enum err journal_write_now(struct log *l);
void journal_turn_end(struct log *l);
bool journal_is_busy(const struct log *l);
/* Writes the closing block if one is due and fits: true when it is on its way. */
bool journal_close_tail(struct log *l);
/* Ends the current use: the next block begins a new one. False when it holds nothing but its table, or the reserve would be touched. */
bool journal_rotate(struct log *l);
void journal_free_to(struct log *l, uint64_t use); /* uses up to this one may be written over */
uint32_t journal_free_slots(const struct log *l);
/* May so many bytes be written with `slots_kept` slots untouched afterwards? */
bool journal_has_room(const struct log *l, uint64_t bytes, uint32_t slots_kept);
/* May they when the uses up to this one are free? */
bool journal_will_have_room(const struct log *l, uint64_t bytes, uint64_t use);
/* Do frames of so many bytes, and so many small blocks behind them, fit into what is left of the current slot, however they fall into blocks? */
bool journal_has_rest(const struct log *l, uint64_t frames_bytes, unsigned more_blocks);
uint64_t table_bytes(uint64_t groups_count);
void journal_forget_group(struct log *l, const struct log_group *g);
/* The last use in which there is anything but a table. */
uint64_t journal_last_use(const struct log *l);
/* End of what is assigned in the current use. */
uint64_t journal_end(const struct journal *j);

/* zero.c */
void zero_step(struct log *l);
/* S15: all that was ever written into the slots is to be overwritten with zeroes, slot by slot, as soon as they are free. */
void journal_suspect_all(struct log *l);
bool journal_has_suspects(const struct log *l);
bool journal_has_free_suspects(const struct log *l); /* which are being zeroed */
/* The entry's bytes if its block is in memory. */
bool journal_view(const struct log *l, const struct log_ref *r, struct slice *entry);

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
	struct round *round;           /* owned, while one is under way */
	struct settled recorded;       /* what the last SETTLED in the journal says */
	uint64_t held_round, held_sum; /* what the state store holds … */
	uint64_t held_use;             /* … and up to which use of the journal it needs none any more */
	uint64_t round_next;           /* numbers are never used twice */
	struct io_timer step;          /* the next slice of a turn */
	struct io_timer retry;         /* after a failed round (S16) */
	bool is_wanted;
	uint64_t wanted_number; /* the block that must be durable before the round that is wanted begins */
	struct list wanted_by;  /* of log_req.link: log_settle_now, done with the next round that begins */
	bool has_strays;        /* a start found segments that nothing names: a round is begun for them */
	unsigned frees_wanted;  /* so many rounds unlink what an owner trimmed: begun for that while the disk is low */
	struct grave_job *grave_job; /* owned, while it runs */
	struct list graves;          /* of struct grave.link: groups and segments that go */
	bool is_recorded_durable;
	unsigned
		moves_in_row; /* rounds that had to move a slot's entries, since anything else happened in the journal */
	struct rewrite_plan *rewrite; /* owned, or NULL */
};
void settle_init(struct log *l);
void settle_deinit(struct log *l);
/* Starts a round if one is due; goes on with one that waits. Called at the end of every turn. */
void settle_step(struct log *l);
bool settle_is_busy(const struct log *l);
/* The group goes: the round under way drops what it has of it. Its owner goes: it is asked and told nothing more. */
void settle_forget_group(struct log *l, struct log_group *g);
void settle_forget_owner(struct log *l, struct log_group *g);
/* An owner needs less than before (log_trim). */
void settle_trimmed(struct log *l);
/* Adds SETTLED to the journal. */
void settle_record(struct log *l, const struct settled *s);
/* What the state store is to hold of the group, as it is in memory. *out is zeroed; the caller's to deinit. */
void settle_meta(const struct log_group *g, struct group_meta *out);

/* ---- what must move out of the oldest slots (room.c) ---- */

uint64_t settle_full_use(const struct log *l); /* the last use that is full and durable */
/* Of entries that must move before all uses up to this one can go. */
uint64_t floats_bytes(const struct log *l, uint64_t use);
/* Do they find room behind so many other bytes, with SETTLED of two rounds and so many small blocks behind them? */
bool floats_fit(const struct log *l, uint64_t use, uint64_t before, unsigned blocks);
bool floats_fit_well(const struct log *l, uint64_t use); /* … with a slot to spare */
/* Is anything won when these uses go, beyond what has to move? */
bool floats_are_worth_moving(const struct log *l, uint64_t use);
/* Would what has to move before one slot after the other can go still find room behind so many bytes? True also when nothing is won by moving it. */
bool settle_lets_pass(const struct log *l, uint64_t bytes);
/* The same of what a round under way moves alone: for those who leave a slot free besides. */
bool settle_lets_grow(const struct log *l, uint64_t bytes);

/* ---- what goes from the disk (grave.c) ---- */

/* A group's files go when the block is durable: one generation, or (0) all, and its state with the next round. */
void settle_bury(struct log *l, uint64_t id, uint64_t generation, uint64_t after_block);
/* A segment that the meta of this round names no more goes when the round after it is recorded (S13). */
void settle_bury_segment(struct log *l, const struct log_group *g, const struct segment_info *s, uint64_t round);
/* The file `state` of an install, which this round has moved into the state store. */
void settle_bury_state(struct log *l, const struct log_group *g, uint64_t round);
void settle_forget_graves(struct log *l);
/* While starting: what lies in DIR/groups and is named by nothing is buried (stray.c). */
must_check enum err stray_bury(struct log *l);
void grave_step(struct log *l);
void grave_deinit(struct log *l);
struct grave {
	struct list link; /* settle.graves */
	uint64_t group, generation;
	uint64_t after_block, after_round;
	uint64_t dropped_in; /* the round that drops the group from the state store */
	bool needs_drop, needs_unlink, is_busy;
	enum grave_kind { GRAVE_FILES, GRAVE_SEGMENT, GRAVE_STATE } kind;
	struct segment_info segment;
};

/* ---- rewriting segments (rewrite.c) ---- */

struct round;
void rewrite_step(struct log *l);
void rewrite_deinit(struct log *l);
/* After a round: is a segment of its groups mostly dead? */
void rewrite_look(struct log *l, const struct round *r);
/* A plan is complete and waits for a round; g NULL: of any group. */
bool rewrite_is_ready(const struct log *l, const struct log_group *g);
void rewrite_forget_group(struct log *l, const struct log_group *g);

/* Begins to look at one segment for what is to be erased; *passed is set once nothing of that is in it. False: another plan is there. */
must_check bool rewrite_erase(struct log *l, struct log_group *g, uint32_t at);

/* ---- erasing (erase.c) ---- */

enum erase_phase {
	ERASE_IDLE,
	ERASE_ENTRIES, /* until a round has settled all that lay in the journal when it began: it copies nothing that is to be erased */
	ERASE_SEGMENTS, /* segment by segment: what was settled before is written anew */
	ERASE_RING,     /* until the old segments are unlinked, and every slot was free and zeroed */
};
struct erase {
	enum erase_phase phase;
	struct io_timer begin;  /* asked for: it begins then */
	struct io_timer retry;  /* while it goes on: what can go on by itself no more is tried again */
	bool sweeps;            /* asked for by nobody who is told when it is done */
	uint64_t mark_use;      /* everything to be erased in the journal lies in uses up to this one */
	uint64_t group, seq;    /* where it is among the segments */
	uint64_t seq_next;      /* where to go on when the segment that is being looked at is passed */
	bool is_passed;         /* … nothing to be erased is in it any more */
	bool is_failed;         /* … it is damaged */
	uint64_t rounds_wanted; /* since anything came of it */
	uint64_t oldest_use;    /* … at that time */
	uint64_t begun_ns, ended_ns, lasted_ns;
	uint32_t slots_zeroed, segments_written;
};
void erase_init(struct log *l);
void erase_deinit(struct log *l);
/* Goes on as far as it can; called with every step of settling. */
void erase_step(struct log *l);
void erase_forget_owner(struct log_group *g);
/* A group goes whose erasing is not done: its segments are unlinked, what is left of it in the journal is zeroed. */
void erase_sweep(struct log *l);

/* ---- entries out of the slots, on a worker (fetch.c) ---- */

struct fetch_item {
	uint64_t index;
	uint32_t use, at8, body_bytes;
};
struct fetch_items {
	struct fetch_item *p; /* owned */
	uint32_t count, cap;
};
void fetch_items_push(struct fetch_items *l, uint64_t index, const struct log_ref *ref);
struct fetch {
	struct io_file **files; /* borrowed: of all slots */
	uint32_t slot_count;
	/* private: */
	struct buf bytes; /* owned */
	uint32_t use;
	uint64_t from;
};
/* The first of the items, verified; the others are those that will be asked for next. *entry is borrowed until the next call.
 * ERR_CORRUPT: it is not there whole. */
must_check enum err fetch_entry(struct fetch *f, uint64_t group, const struct fetch_item *items, uint32_t count,
	struct entry_head *h, struct slice *entry);
struct io_file **fetch_files(const struct log *l); /* the caller's to free */

/* ---- space (space.c) ---- */

struct space {
	uint64_t free_bytes; /* as of asked_ns */
	uint64_t asked_ns, asked_number;
	bool is_known, is_asking;
	struct io_job job;
	struct log *log;
	char *dir; /* owned: the worker's copy */
	uint64_t job_free, job_total;
	enum err job_result;
};
void space_step(struct log *l);
/* Below the first mark (S16): what grows is refused. */
bool space_is_low(const struct log *l);
/* Bytes that may still be stored beyond what the journal holds already. */
uint64_t space_left(const struct log *l);

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
	struct erase erase;
	uint64_t floating_bytes, refs_bytes; /* of all groups */
	struct adopt_job *adopting;          /* owned, while identity is rewritten */
	struct index_job *index_job;         /* owned, while an .idx is written anew */
	struct list reads;                   /* of struct log_read.link: under way */
	struct list installs;                /* of struct log_install.link */
	uint32_t jobs;                       /* on workers; memory may not go before they are done */

	bool lacks_groups; /* damage may have taken groups whose names are not known */
	bool is_started;   /* the first turn has come */
	bool is_dead;      /* fatal was called (S17) */
	bool is_closing;
	void (*closed)(void *arg);
	void *closed_arg;
	struct io_task closed_task;
};

static inline struct slot *journal_slot(const struct log *l, uint64_t use)
{
	ASSERT(use > 0);
	return &l->journal.slots[(use - 1) % l->journal.slot_count];
}
/* A place in all uses of the ring, rising with time. */
static inline uint64_t journal_pos(const struct log *l, uint64_t use, uint64_t offset)
{
	return use * l->journal.slot_bytes + offset;
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

/* Opens or bears the store: everything that log_open promises. */
must_check enum err recover(struct log *l, char *why, size_t why_bytes);

/* ---- reading, installing ---- */

/* "DIR/groups/<id>/<generation>/state". */
const char *install_state_path(const struct segment_place *p, struct buf *path);
/* Reads the file `state` that came with an install, one encoded state_batch. ERR_CORRUPT when it is not what INSTALL says. Blocking. */
must_check enum err install_read_state(
	struct io *io, const struct segment_place *place, uint64_t bytes, uint32_t crc, struct buf *out);

void read_cancel_group(struct log_group *g);
void read_deinit(struct log *l);
void install_deinit(struct log *l);
void install_step(struct log *l);
/* The round that moved an install's state into the state store is recorded. ERR_CORRUPT: there was none to move, the group is in doubt. */
void install_settled(struct log_group *g, enum err e);
void install_abort_group(struct log_group *g);
/* The log closes and there is no room: nobody waits for it. Those under way are answered with ERR_CLOSED by install_step. */
void install_give_up(struct log *l);

#endif
