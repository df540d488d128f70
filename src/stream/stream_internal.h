/* SPDX-License-Identifier: Apache-2.0 */
/* stream_internal — what the files of the room share: the machine, its group, the open batch, what is in flight, the head that retention
 * works on, reads. */
#ifndef THEBES_STREAM_INTERNAL_H
#define THEBES_STREAM_INTERNAL_H

#include "machine.h"

/* One batch of records on its way through the group. */
struct stream_batch {
	struct list link_by_flight, link_by_held;
	struct proposal proposal;
	struct stream *stream;
	struct buf body;
	struct list reqs; /* of stream_req, answered when the proposal is done */
	uint32_t records;
	uint64_t seq_last;          /* 0: it gives out none */
	uint64_t msgs, msg_bytes;   /* stored by it */
	uint64_t drops, drop_bytes; /* dropped by it */
	size_t charged;             /* to the stream's memory */
	bool grows;
};

/* A message at the front of the stream, as retention needs to know it. */
struct head_fact {
	uint64_t seq, bytes;
	int64_t time_ns;
	uint32_t n;
	uint8_t subject[];
};
/* The oldest messages in order, from trim_next on; refilled from the log. */
struct stream_head {
	struct head_fact **facts; /* owned ring of owned facts */
	uint32_t at, count, cap;
	bool has_more;      /* one run was not enough: goes on soon */
	bool covers_end;    /* every message up to ahead.last_seq is in it */
	uint64_t trim_next; /* messages below are gone or proposed to go */
	struct stream_read read;
	bool reading;
	struct io_timer age_timer;
};

/* Where recently applied entries are: to find a sequence without asking the disk. */
enum { RECENT_MAX = 1024 };
struct recent_entry {
	uint64_t index, seq_before, seq_last;
};

/* In-flight messages by subject, and by message id: built when first asked for, dropped when nothing is in flight. */
struct ahead_msg {
	uint64_t seq, bytes;
	uint32_t pushes_out; /* so many older ones of its subject go when it is applied */
};
struct ahead_subject {
	uint64_t pushed_out;    /* of its oldest, in flight or not, by those in flight */
	struct ahead_msg *msgs; /* owned: in flight, oldest first: msgs[at .. at + count) */
	uint32_t at, count, cap;
	uint32_t n;
	uint8_t name[];
};
struct ahead_id {
	uint64_t seq;
	uint32_t n;
	uint8_t id[];
};

struct stream {
	struct stream_options options;
	struct machine machine;
	struct erasures erasing;     /* what the log is erasing now */
	uint64_t erasures_told;      /* how many are outstanding, as the counters have it */
	struct stream_config wanted; /* what the catalogue says */
	struct ledger memory;        /* of batches, until they are applied */
	struct group *group;
	uint64_t term;
	bool leading, closing, config_proposed;
	bool is_pressed;   /* the ring was filling up when the last batch was proposed */
	bool is_short;     /* the log refused what grows: what frees goes in batches of its own */
	uint64_t refusals; /* batches that were refused: what was decided with them in mind does not hold any more */
	void (*applied)(void *arg);
	void *applied_arg;
	void (*closed)(void *arg);
	void *closed_arg;

	struct stream_batch *open; /* gathering, or NULL */
	struct list flight;        /* of batches proposed or held, and not done */
	struct list held;          /* of those in flight that the group had no room for: proposed again, in order */
	uint64_t held_bytes;
	struct io_timer held_timer;
	uint64_t ahead_last_seq, flight_msgs, flight_bytes, dropping_msgs, dropping_bytes;
	int64_t ahead_time_ns;
	struct map ahead_subjects, ahead_ids; /* of owned items */
	struct buf ahead_last_id;
	struct stream_head head;

	struct recent_entry *recent; /* owned ring, grows up to RECENT_MAX */
	uint32_t recent_at, recent_count, recent_cap;
	struct list reads;  /* of stream_read in progress */
	struct list chunks; /* of struct chunk, last used at the back */
	struct io_timer chunk_timer;
	struct stream_req config_req;
	struct list finds; /* of struct find_last */
	struct list walks; /* of struct stream_walk */
	struct list tidy;  /* of subjects that have too many messages */
	struct list syncs; /* of stream_req: they wait until the limits hold */
	struct stream_req tidy_req;
	bool tidying, tidy_many;       /* tidy_many: so many subjects are over their limit that one pass does for all */
	struct stream_read first_read; /* when the first message's time is not known */
	bool first_reading;

	struct machine_salvage *salvage; /* owned, while what damage took is given up */
	uint64_t salvage_lost;
	bool is_accepting; /* applies behind a gap */
};

/* propose.c */
struct stream_batch *stream_batch_open(struct stream *s);
/* Adds a record to the open batch (made when there is none); a full batch is proposed at once. */
must_check enum err stream_add_record(struct stream *s, struct record *r, struct stream_req *req, bool grows);
void stream_flush(struct stream *s);
void stream_held_init(struct stream *s);
/* Proposes what was held back, as far as there is room. */
void stream_held_run(struct stream *s);
/* Before a drop that counts on messages in flight: makes room for it. False when that made the log refuse some of those messages. */
must_check bool stream_room_for_drop(struct stream *s, size_t bytes);
must_check enum err stream_propose_drop(
	struct stream *s, struct slice drop, bool erases, uint64_t msgs, uint64_t bytes, struct stream_req *req);
must_check enum err stream_propose_clear(struct stream *s, struct stream_req *req);
/* A message of this leader's is applied; the batch at `index` is applied: they are no longer ahead. */
void stream_ahead_applied(struct stream *s, const struct record *r);
void stream_batch_applied(struct stream *s, uint64_t index);
int64_t stream_next_time(struct stream *s);
void stream_ahead_reset(struct stream *s);

/* tidy.c */
void tidy_msg(struct stream *s, const struct record *r); /* a message was applied: has its subject too many? */
void tidy_all(struct stream *s);                         /* the limit may have changed */
void tidy_run(struct stream *s);
void tidy_reset(struct stream *s);
bool tidy_is_done(const struct stream *s);
void finds_cancel_all(struct stream *s);

/* retain.c */
void retain_init(struct stream *s);
void retain_deinit(struct stream *s);
void retain_reset(struct stream *s);
/* A message was put into the open batch. */
void retain_proposed(struct stream *s, uint64_t seq, uint64_t bytes, int64_t time_ns, struct slice subject);
void retain_run(struct stream *s); /* enforces the limits as far as the head is known */
/* The oldest messages must go and are being read: what was published meanwhile is not proposed without the drops that belong to it. */
bool retain_waits(const struct stream *s);
bool retain_is_trimming(const struct stream *s); /* limits are about to be enforced */
bool retain_is_over(const struct stream *s);     /* the turn's end enforces them, as far as it can */
/* When the first message came, if it is at the front of the head; 0: not known. */
int64_t retain_first_time(const struct stream *s);

/* walk.c */
void walks_cancel_all(struct stream *s);

/* sweep.c */
/* Cuts every subject that has more than `limit` messages down to that, oldest first, in one pass. */
void sweep_subjects(struct stream *s, uint64_t limit, struct stream_req *req);
void syncs_run(struct stream *s); /* answers who waits, when the limits hold or nobody enforces them */

/* chunk.c: entries read from disk, kept for a while */
struct chunk;
void chunks_init(struct stream *s);
void chunks_deinit(struct stream *s);
void chunks_clear(struct stream *s);
/* Takes concatenated entries over, verifies them. ERR_CORRUPT. */
must_check enum err chunks_add(struct stream *s, struct buf *entries);
/* The chunk that holds seq, and the body of its entry; NULL. Borrowed until the loop turns, or while referenced. */
struct chunk *chunks_find(struct stream *s, uint64_t seq, struct slice *body);
/* Raft index from which to read on to reach seq soon, because a chunk ends just before it; 0 = none does. */
uint64_t chunks_continue(const struct stream *s, uint64_t seq);
void chunk_ref(struct chunk *c);
void chunk_unref(struct chunk *c);

/* salvage.c: the group's operations while an operator gives up what damage took */
void salvage_entry(struct stream *s, struct slice body);
void salvage_over(struct stream *s);
bool salvage_apply(struct stream *s, uint64_t index, struct slice body);
void salvage_accepted(struct stream *s, uint64_t index, uint64_t seq_bound, struct state_batch *batch);
void salvage_free(struct stream *s);

/* read.c */
bool filters_match(const struct slice *filters, size_t count, struct slice subject); /* 0 of them: all do */
void reads_init(struct stream *s);
void reads_deinit(struct stream *s);
void reads_note_entry(struct stream *s, uint64_t index, uint64_t seq_before, uint64_t seq_last);
/* Looks up the time of the first message when a removal left it unknown. */
void reads_first_time(struct stream *s);
void reads_cancel_all(struct stream *s, enum err why);

#endif
