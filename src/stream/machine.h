/* SPDX-License-Identifier: Apache-2.0 */
/* machine — the replicated state of a stream as pure data: a record changes it, a capture writes what changed, a restore reads it back. No io,
 * no clock, no raft: every function here gives the same result on every replica.
 *
 * Keys in the state store (after the group): 'c' configuration · 'h' header · 'b' + block number (8, big-endian) · 's' + subject id (4) ·
 * 'd' + sequence (8): a remembered message id · 'e' what is to be erased here · 'k' + …: the consumer room's. */
#ifndef THEBES_STREAM_MACHINE_H
#define THEBES_STREAM_MACHINE_H

#include "thebes/stream.h"
#include "seq_index.h"

/* ---- records (record.h: kind) ---- */

enum stream_record_kind {
	RECORD_MSG = 1, /* subject, headers, payload; its id is in its headers; flags below */
	RECORD_SKIP,    /* seq was consumed, nothing is stored (interest without a consumer) */
	RECORD_DROP, /* payload: u64 blocks below this number go whole | then per message: u64 seq | u32 bytes | u16 subject n | subject */
	RECORD_CLEAR,    /* everything up to seq goes */
	RECORD_CONFIG,   /* payload: JSON */
	RECORD_CONSUMER, /* payload: the consumer room's */
	RECORD_KIND_END
};

enum machine_msg_flags {            /* record.flags of RECORD_MSG; bits 0 and 1 are record.h's */
	MACHINE_ROLLUP_SUBJECT = 4, /* older messages of its subject go */
	MACHINE_ROLLUP_ALL = 8,     /* everything before it goes */
};
/* The id under which a message is remembered: Nats-Msg-Id, or msg-id of the Memphis SDKs; p NULL when it has none. */
struct slice machine_msg_id(struct slice headers);

enum machine_drop_flags {
	MACHINE_DROP_ERASES = 4
}; /* record.flags of RECORD_DROP: the messages that it names are to be erased (S15) */

/* ---- subjects ---- */

struct subject_kept { /* only with max_msgs_per_subject: to know what the oldest weighs */
	uint64_t seq, bytes;
};
struct subject_entry {
	struct list link_by_dirty;
	uint64_t count, first_seq_hint, last_seq; /* first: nothing of it is below */
	struct subject_kept *kept;                /* owned, oldest first: kept[kept_head ..] */
	uint32_t kept_head, kept_count, kept_cap;
	uint64_t tidy_keep; /* leader: it is queued to be cut to so many; 0: it is not */
	uint64_t born;      /* tells it from one that had its id before */
	uint32_t id, n;
	bool captured, is_stored; /* is_stored: the state store may hold it */
	uint8_t name[];           /* n bytes */
};
struct subjects {
	struct map by_name;
	struct subject_entry **by_id; /* owned; NULL where a subject is gone */
	uint32_t id_next, by_id_cap;
	uint32_t *
		free; /* owned: a heap of the ids below id_next that nobody has. The lowest is given out next, on every replica and after every
			 * start the same: which ids are in use is part of the state */
	uint32_t free_count, free_cap;
	uint64_t births;
	struct list dirty;
	uint32_t *gone; /* owned: ids gone since the last confirmed capture */
	size_t gone_count, gone_cap, gone_captured;
	/* How often a subject's newest message was removed, and up to which of these all newest ones are known again. */
	uint64_t unsure_marks, unsure_known;
};
static inline struct slice subject_name(const struct subject_entry *e) { return slice_of(e->name, e->n); }

void subjects_init(struct subjects *t, uint64_t seed);
void subjects_deinit(struct subjects *t);
struct subject_entry *subjects_find(const struct subjects *t, struct slice name);
struct subject_entry *subjects_by_id(const struct subjects *t, uint32_t id);
struct subject_entry *subjects_get(struct subjects *t, struct slice name); /* made when absent */
/* The same under this id, which nobody has: while restoring, in any order; then subjects_restored. */
struct subject_entry *subjects_restore(struct subjects *t, struct slice name, uint32_t id);
void subjects_restored(struct subjects *t);
void subjects_added(struct subjects *t, struct subject_entry *e, uint64_t seq, uint64_t bytes, bool keep);
/* `count` messages of it went; seq 0 = unknown which, all below `below` (a whole block). Frees e when none is left. */
void subjects_removed(struct subjects *t, struct subject_entry *e, uint64_t seq, uint64_t below, uint64_t count);
void subjects_clear(struct subjects *t);
/* Where the newest message of e really is, after the one that was had been removed. */
void subjects_last_found(struct subjects *t, struct subject_entry *e, uint64_t seq);
/* Is every message of it known by name? */
static inline bool subject_is_kept(const struct subject_entry *e) { return e->kept_count == e->count; }

/* ---- message ids ---- */

struct msg_id {
	struct list link_by_time; /* oldest first */
	uint64_t seq;
	int64_t time_ns;
	uint32_t n;
	enum {
		MSG_ID_NEW,
		MSG_ID_CAPTURED,
		MSG_ID_STORED
	} where;      /* CAPTURED: in a capture that waits for confirmation */
	uint8_t id[]; /* n bytes */
};
struct msg_ids {
	struct map by_id;
	struct list by_time;
	uint64_t *gone; /* owned: sequences whose key must go from the state store */
	size_t gone_count, gone_cap, gone_captured;
};
void msg_ids_init(struct msg_ids *d, uint64_t seed);
void msg_ids_deinit(struct msg_ids *d);
struct msg_id *msg_ids_find(const struct msg_ids *d, struct slice id);
void msg_ids_add(struct msg_ids *d, struct slice id, uint64_t seq, int64_t time_ns);
void msg_ids_expire(struct msg_ids *d, int64_t before_ns);

/* ---- what is to be erased from the disk of this replica (S15; erasures.c) ---- */

struct erasure { /* sequences first..last; those of them that are alive are not meant */
	uint64_t first, last;
};
/* So many are told apart; more than that are put together with their neighbours, which erases dead messages in between too. */
enum { ERASURES_MAX = 16 * 1024 };
struct erasures {
	struct erasure *p; /* owned, rising, not touching */
	uint32_t count, cap;
	uint32_t max;
};
void erasures_deinit(struct erasures *e);
void erasures_add(struct erasures *e, uint64_t first, uint64_t last);
/* Takes out what is in `gone`. */
void erasures_subtract(struct erasures *e, const struct erasures *gone);
void erasures_copy(struct erasures *to, const struct erasures *from); /* over what it held */
uint64_t erasures_total(const struct erasures *e);
/* The lowest sequence >= seq that is in it; 0: none. */
uint64_t erasures_next(const struct erasures *e, uint64_t seq);

/* ---- the state ---- */

struct machine {
	struct stream_config config;
	bool config_dirty, config_captured, config_changed;
	struct seq_index seqs;
	struct subjects subjects;
	struct msg_ids ids;
	struct erasures erasures; /* in the state store, but not in the hash: each replica is done at its own time */
	bool erasures_dirty, erasures_captured;
	struct buf last_msg_id;
	int64_t time_ns; /* of the last record: the state's own clock */
	int64_t first_time_ns, last_time_ns;
	uint64_t hash;                               /* chain over everything that was applied */
	uint64_t index;                              /* applied */
	const struct stream_consumer_ops *consumers; /* NULL until set */
	void *consumers_arg;
};
void machine_init(struct machine *m, const struct stream_config *config, uint64_t seed);
void machine_deinit(struct machine *m);
/* `to` becomes what `from` was; `from` is empty, to be deinitialised or not. */
void machine_move(struct machine *to, struct machine *from);
/* Can the record be applied, when every one of its entry before it is? *last_seq: the machine's, and from then on that of those. ERR_CORRUPT:
 * it cannot (poison, S11), so nothing of its entry may be. */
must_check enum err machine_check(const struct record *r, uint64_t *last_seq);
/* Applies one record. ERR_CORRUPT: it cannot be (poison, S11). Each accepted one goes into the hash. */
struct machine_event { /* what the leader wants to know of a record that was applied */
	enum stream_record_kind kind;
	uint64_t seq, removed;
};
must_check enum err machine_apply(struct machine *m, uint64_t index, const struct record *r, struct machine_event *ev);
bool machine_keeps(const struct machine *m);
void machine_remove(struct machine *m, uint64_t seq, struct slice subject, uint64_t bytes);
/* The lowest sequence in [from, to] that is dead and to be erased; 0: none. */
uint64_t machine_erase_next(const struct machine *m, uint64_t from, uint64_t to);
/* These are gone from the disk. */
void machine_erased(struct machine *m, const struct erasures *gone);

/* ---- what damage took is given up (group_accept) ---- */

/* The index built anew from the messages that are left. */
struct machine_salvage {
	struct seq_index seqs;
	struct subjects subjects;
};
void machine_salvage_init(struct machine_salvage *v, uint64_t seed);
void machine_salvage_deinit(struct machine_salvage *v);
/* One that is left, in order of sequence; those that are not alive are passed. */
void machine_salvage_msg(const struct machine *m, struct machine_salvage *v, const struct record *r);
/* Takes its place: what is alive in the machine and was not shown is gone. How many that were. */
uint64_t machine_salvaged(struct machine *m, struct machine_salvage *v);
/* Sequences up to this one were given out, and what they held is lost. */
void machine_skip_to(struct machine *m, uint64_t seq);

void machine_capture(struct machine *m, struct state_batch *batch, bool all);
void machine_settled(struct machine *m);
must_check enum err machine_restore(struct machine *m, struct slice key, struct slice value);
must_check enum err machine_restored(struct machine *m); /* after the last value: checks that it fits together */

/* DROP payloads. */
void drop_begin(struct buf *b, uint64_t blocks_below);
void drop_add(struct buf *b, uint64_t seq, uint64_t bytes, struct slice subject);

#endif
