/* SPDX-License-Identifier: Apache-2.0 */
/* round — one settle round: what the loop hands to the worker (settle.c) and what the worker does with it (round.c). The worker's half is
 * all copies; the loop looks at it again when the job is done. */
#ifndef THEBES_LOG_ROUND_H
#define THEBES_LOG_ROUND_H

#include "log_internal.h"

/* Sequences, rising. */
struct seq_set {
	uint64_t *p; /* owned */
	uint32_t count, cap;
};
/* Adds what the owner wants to be erased in (before, last]. */
void seq_set_ask(struct seq_set *set, const struct log_group *g, uint64_t before, uint64_t last);
/* The verified entry as it is to be stored: itself, or a copy in `copy` without what is to be erased. */
struct slice entry_without(const struct seq_set *erase, struct entry_head *h, struct slice entry, struct buf *copy);

struct round_group {
	struct log_group *g; /* borrowed by the loop; NULL once the group went or was installed anew */
	bool is_notified;    /* its owner is still the one that was asked */
	uint64_t id;
	struct segment_place place;
	struct fetch_items copies; /* of entries that settle, in order of index */
	struct fetch_items floats; /* not applied: they move to the head of the journal (S12) */
	uint64_t hole_to;          /* entries below it were left out */
	bool is_installed, needs_dir;
	bool is_doubted;      /* it was in doubt when it was captured */
	bool is_state_bad;    /* found by the worker: the state that came with an install */
	uint64_t state_bytes; /* S19: of the file that came with an install */
	uint32_t state_crc;
	struct state_batch batch;     /* owned: the capture */
	struct group_meta meta;       /* owned: as it will be, but for its segments, which the worker completes */
	struct segment_list dropped;  /* owned: not in the meta any more */
	struct segment_range bad;     /* found by the worker; from 0 = none */
	struct segment_list list;     /* owned, the worker's result */
	struct buf moved;             /* owned, the worker's result: the floats, entry by entry */
	struct buf meta_bytes, state; /* owned, the worker's */
	uint64_t settled_count;
	struct rewrite_plan *rewrite; /* owned, or NULL */
	struct seq_set erase; /* owned: of the records in `copies` that are not to be copied as they are (S15) */
};

struct round {
	struct io_job job;
	struct log *log;
	uint64_t number, use, begun_ns;
	uint64_t moves_bytes; /* of entries in these uses that floated when it began: it moves no more than that */
	uint64_t sync_number; /* the block that must be durable before the worker begins */
	/* asking */
	uint64_t cursor_id, cursor_index;
	struct round_group *asking; /* borrowed: the group in whose middle the slice ended */
	uint64_t asking_to;
	uint64_t dead_count;
	struct round_group **groups; /* owned array of owned */
	uint32_t count, cap;
	/* the worker's */
	char *groups_dir;       /* owned */
	bool syncs_tree;        /* one sync for all files of the round */
	struct io_file **files; /* owned array: of the slots, borrowed */
	uint32_t slot_count;
	const struct state_ops *state_ops;
	struct state *state;
	uint64_t segment_bytes_max;
	uint64_t *drops; /* owned: groups whose state goes */
	uint32_t drops_count;
	struct state_head head;
	enum err result;
	bool is_state_failure;
	bool has_found_damage; /* of a group that was not in doubt: nothing was committed */
	/* recording */
	struct log_req recorded;
	struct list reqs; /* of log_req.link */
};
void round_run(struct io_job *job);
void round_free(struct round *r);
void round_group_free(struct round_group *rg);

/* ---- rewriting a segment without what is dead (rewrite.c) ---- */

/* Which entries of a sealed segment stay: found out between rounds, used by the next one. */
struct rewrite_row {
	uint64_t index, seq_last, term;
	uint32_t body_bytes;
	uint16_t records;
	uint8_t kind;
	bool is_dead;
	bool is_erased; /* something in it is to be erased */
};
struct rewrite_plan {
	struct io_job job;
	struct log *log;
	struct log_group *g; /* borrowed by the loop; NULL when it went or lost its owner */
	struct segment_place place;
	char *dir; /* owned: the place's */
	struct segment_info segment, written;
	struct rewrite_row *rows; /* owned */
	uint32_t count, cap;
	uint32_t asked, dead_count, at;
	uint64_t dead_bytes, bytes;
	struct segment_range bad;
	enum err result;
	bool is_reading, is_ready;
	/* S15: the plan was made to erase these, if they are there */
	bool erases;
	struct seq_set erase; /* owned */
	uint32_t erase_count; /* rows that hold some */
	struct buf entry;     /* owned: the worker's */
};
void rewrite_plan_free(struct rewrite_plan *p);
/* The plan for this group if one is complete: the round's from now on. */
struct rewrite_plan *rewrite_take(struct log *l, const struct log_group *g);
/* Entries below it are left out by the plan, or something in them is. */
uint64_t rewrite_hole_to(const struct rewrite_plan *p);
/* The round that wrote it is recorded: what is being erased hears of it. */
void rewrite_outcome(struct log *l, const struct rewrite_plan *p);
/* On the settle worker: writes the segment anew and puts it in the place of the old one in the list. */
must_check enum err rewrite_apply(struct io *io, struct rewrite_plan *p, struct segment_list *list);

#endif
