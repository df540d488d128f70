/* SPDX-License-Identifier: Apache-2.0 */
/* replay — what start reads from the journal: replay.c goes through slots and blocks, apply.c through what the blocks say of groups,
 * recover.c makes a running log of it. */
#ifndef THEBES_LOG_REPLAY_H
#define THEBES_LOG_REPLAY_H

#include "log_internal.h"

/* What is known of the slots before any of them is replayed. */
struct slot_state {
	bool is_missing;   /* the file was not there */
	bool is_short;     /* it was cut */
	uint64_t bytes;    /* that are there */
	uint64_t data_end; /* behind it nothing was ever written */
	uint64_t use;      /* whose first block is good; 0: none */
};
struct replay {
	struct log *log;
	struct slot_state *slots; /* owned, slot_count */
	struct settled settled;   /* the last SETTLED that was seen */
	uint64_t oldest, newest;  /* uses */
	bool has_base;            /* a table was read: groups that it does not name do not exist */
	bool store_is_touched;    /* damage may have hidden a SETTLED */
	bool all_are_doubted;
	bool lacks_groups;   /* a group may have been made by what is lost … */
	bool lacks_recorded; /* … and the journal says so */
	uint32_t damaged_blocks;
	uint64_t good_bytes; /* of blocks that were replayed */

	uint64_t next_number, chain; /* of the block that must come next; 0: not known */
	uint64_t end_use, end_at;    /* where the journal goes on */
	struct buf last_ids;         /* owned: groups of the last block, u64 each */
	uint32_t last_count;         /* or BLOCK_GROUPS_ALL */
	uint16_t last_flags;
	struct io_file *file; /* borrowed: of the slot whose bytes are in `window` */
	struct buf window;    /* owned */
	uint64_t window_at;
	uint64_t unreadable_pos; /* of a sector that the disk does not give; 0: none */
	enum err error;          /* of reading: ERR_CRASHED and the like end the start */
	/* Told of each damaged place, for log_check; NULL: nobody listens. */
	void (*damaged)(void *arg, uint64_t use, uint64_t from, uint64_t to);
	void *damaged_arg;
	char why[160], place[120];
};
/* Looks at the heads of all slots: newest and oldest use. ERR_FORMAT (S20), errors of io. */
must_check enum err replay_survey(struct replay *r);
/* Replays the uses that are needed into the groups of the log. */
must_check enum err replay_run(struct replay *r);
void replay_deinit(struct replay *r);

/* ---- what log_check shares with start (recover.c) ---- */

/* A group as the state store's meta has it, put into the log. False: the meta makes no sense. */
bool recover_group(struct log *l, uint64_t id, struct slice meta);
/* The meta of a group that has lost its state. False: it makes no sense. */
bool recover_lose_state(struct slice meta, struct buf *out);
/* S13: is what the state store holds a round that the journal allows? */
bool recover_state_agrees(const struct replay *r, const struct state_head *h);

/* ---- what blocks say (apply.c) ---- */

/* One entry of a frame, head checked. `is_salvaged`: out of a damaged block: it is a fact, but proves nothing of what is missing. */
void replay_apply(struct replay *r, uint64_t use, const struct frame *f, const struct entry_head *h, struct slice body,
	bool is_salvaged);
/* Damage may have taken votes or entries of this group (0: of the store itself), of all groups. */
void replay_doubt(struct replay *r, uint64_t id, const char *what);
void replay_doubt_all(struct replay *r, const char *what);
/* After the last block: gaps become doubts, numbers agree with each other. */
void replay_finish(struct replay *r);

#endif
