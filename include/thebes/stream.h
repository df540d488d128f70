/* SPDX-License-Identifier: Apache-2.0 */
/* stream — the replicated machine: entries become sequence numbers, counters and indexes. One stream = one raft group. It admits nothing
 * (station/ does), delivers nothing (consumer/ does), and knows no connection.
 *
 *   stream_propose_msg ─> [ open batch ] ──stream_turn_end──> group_propose ──committed──> stream_apply ─> done(seq) ─> watchers
 *
 * What the leader decides is in the record: sequence, time, which old messages go and what they weighed. Applying is a pure function of
 * state and record, so every replica ends with the same state_hash at the same index (design §3). Loop thread only.
 *
 * Memory: per 1,024 sequences one block (counts per subject, a bitmap once something in it was deleted), per subject one entry, per
 * message nothing. */
#ifndef THEBES_STREAM_H
#define THEBES_STREAM_H

#include "thebes/base.h"
#include "thebes/diag.h"
#include "thebes/io.h"
#include "thebes/js_error.h"
#include "thebes/raft.h"
#include "thebes/record.h"

/* ---- configuration (spec §5.3) ---- */

enum stream_retention { STREAM_LIMITS, STREAM_INTEREST, STREAM_WORKQUEUE };
enum stream_storage { STREAM_FILE, STREAM_MEMORY };
enum stream_discard { STREAM_DISCARD_OLD, STREAM_DISCARD_NEW };

struct stream_config {
	char *name, *description; /* owned, never NULL */
	char **subjects;          /* owned */
	size_t subject_count;
	enum stream_retention retention;
	enum stream_storage storage;
	enum stream_discard discard;
	int64_t max_consumers, max_msgs, max_bytes, max_msgs_per_subject, max_msg_size; /* -1 = unlimited */
	int64_t max_age_ns, duplicate_window_ns;                                        /* 0 = none */
	int num_replicas;
	bool no_ack, sealed, deny_delete, deny_purge, discard_new_per_subject, allow_rollup_hdrs, allow_direct;
	char *metadata;       /* owned: JSON object text, or NULL */
	char *placement;      /* owned: JSON object text, or NULL; kept and shown, there is one node */
	char *template_owner; /* owned, or NULL: none is made so, none may become so */
};
void stream_config_deinit(struct stream_config *c);
void stream_config_copy(struct stream_config *to, const struct stream_config *from);
/* Parses a request of STREAM.CREATE or UPDATE: types as Go's decoder wants them, defaults filled in, everything that stands alone is
 * checked (texts §9.1). Fields that this server does not implement yet and that change what is stored or who sees it (mirror, sources,
 * subject_transform, republish, compression, first_seq, …) are refused by name when set. False sets *e and leaves *c empty. */
must_check bool stream_config_parse(struct stream_config *c, struct slice json, struct js_error *e);
/* The same for what a client asks for: duplicate_window may be at most that (ns; 0: anything), and is no more where the request says nothing
 * (jetstream.limits.duplicate_window). */
must_check bool stream_config_request(
	struct stream_config *c, struct slice json, int64_t duplicate_window_max_ns, struct js_error *e);
/* Appends the JSON object as clients get it back (always-present fields first). */
void stream_config_print(struct buf *b, const struct stream_config *c);
bool stream_config_equal(const struct stream_config *a, const struct stream_config *b);
/* May `now` become `next` by an update? False sets *e. */
must_check bool stream_config_can_update(
	const struct stream_config *now, const struct stream_config *next, struct js_error *e);
bool stream_config_covers(const struct stream_config *c, struct slice literal_subject);
/* Do two streams' subjects collide (10065)? */
bool stream_config_overlaps(const struct stream_config *c, struct slice subject_pattern);

/* ---- the machine ---- */

struct stream;

struct stream_state { /* what STREAM.INFO shows; counters as of the applied index */
	uint64_t msgs, bytes, first_seq, last_seq, deleted_count, subject_count;
	int64_t first_time_ns, last_time_ns; /* first: 0 when empty */
	uint64_t consumer_count;
};

/* What a message weighs against max_bytes and in state.bytes (spec §9.2). */
uint64_t stream_msg_bytes(const struct stream_config *c, size_t subject_n, size_t header_n, size_t payload_n);

struct stream_options {
	struct io *io;
	struct diag *diag;
	struct raft_groups *groups;
	uint64_t group; /* id: the name of the stream on disk and on links */
	/* NULL: the group is there already, found at start. Else it is made, with these first voters. */
	const struct group_member *make_members;
	unsigned make_member_count;
	int64_t created_ns;
	bool keeps_config; /* what the group has applied stands, also where the catalogue says something else */
	/* Borrowed: what is proposed and not applied yet is charged to it, and refused (ERR_FULL) when it grows and there is no room; and what is
	 * kept of reads. NULL: to nobody. */
	struct ledger *memory;
	void *user; /* whose stream it is: station's */
	/* Called once the stream exists and before anything is restored or applied: the place for stream_consumers_set. May be NULL. */
	void (*attach)(void *user, struct stream *s);
};
/* Opens the stream over its group, made before (group_make) or found at start: reads its applied state (blocking: before the loop runs
 * or with nothing stored yet) and lets the group apply the rest. config is copied; it is what the catalogue says: when the group's own
 * is older, the leader proposes the newer one. */
must_check enum err stream_open(
	const struct stream_options *o, const struct stream_config *config, struct stream **out);
/* Closes: what is in flight is answered ERR_UNKNOWN_OUTCOME, reads ERR_CLOSED, then closed(arg); then stream_free. `gone`: the stream is
 * deleted for good (S18). */
void stream_close(struct stream *s, bool gone, void (*closed)(void *arg), void *arg);
void stream_free(struct stream *s);

const struct stream_config *stream_config(
	const struct stream *s); /* borrowed until the next configuration is applied */
void stream_state(const struct stream *s, struct stream_state *out);
int64_t stream_created_ns(const struct stream *s);
void *stream_user(const struct stream *s);
struct group *stream_group(const struct stream *s);
bool stream_is_leader(const struct stream *s); /* true only after the no-op of its own term is applied */
/* Nobody else has what damage took (S7), or can apply what is stuck here (S11): what is intact can be read, nothing can be proposed. The sentence that says so, with group and range;
 * NULL when it is not so. */
const char *stream_doubt(const struct stream *s);
/* Why this message can not be served, when that is because of the doubt; NULL: not because of it. seq 0: the newest, whichever that is. */
const char *stream_doubt_about(const struct stream *s, uint64_t seq);
uint64_t stream_hash(const struct stream *s); /* of the applied state */

/* The catalogue has a new configuration: the leader proposes it to the group. */
void stream_want_config(struct stream *s, const struct stream_config *c);
/* The catalogue's configuration is applied. */
bool stream_config_is_settled(const struct stream *s);
/* True once after a configuration was applied. */
bool stream_take_config_changed(struct stream *s);
/* Called when something was applied, or proposed by a timer or a read: whoever delivers or answers looks again at the end of the turn and
 * calls stream_turn_end. */
void stream_on_applied(struct stream *s, void (*applied)(void *arg), void *arg);

/* An operator accepts that what damage took is gone (group_accept): the stream goes on with what is intact. Lost sequences are absent and are
 * not given out again. What is returned at once: nothing happens then, and there is no `done`; errors as of group_accept. */
struct stream_accept {
	void (*done)(struct stream_accept *a);
	enum err result;
	uint64_t lost;     /* messages that were known to be there; of what lay in a gap nobody knows how many */
	uint64_t next_seq; /* what the next message gets */
	struct stream *stream;
	struct group_accept group;
};
must_check enum err stream_accept(struct stream *s, struct stream_accept *a);

/* ---- proposing (leader only) ---- */

/* The caller's memory from propose to done. result: OK (applied; seq and duplicate are set), ERR_NOT_LEADER, ERR_FULL, ERR_NO_SPACE,
 * ERR_UNKNOWN_OUTCOME. Never from inside the call. */
struct stream_req {
	struct list link;
	void (*done)(struct stream_req *r);
	enum err result;
	uint64_t seq; /* of the message; of a purge or delete: how many messages went */
};
struct stream_publish {
	struct slice subject, header, payload; /* copied into the batch before the call returns */
	struct slice msg_id;                   /* empty: none. Remembered for duplicate_window */
	enum { STREAM_ROLLUP_NONE, STREAM_ROLLUP_SUBJECT, STREAM_ROLLUP_ALL } rollup;
};
/* Assigns the next sequence and a time and puts the message into the open batch; *seq is what it will be. Limits with discard old are
 * enforced by records that follow it in the same batch. */
must_check enum err stream_propose_msg(
	struct stream *s, const struct stream_publish *m, struct stream_req *r, uint64_t *seq);
/* Any other record of the consumer room: opaque here, handed to stream_consumer_ops.apply. Copied. r may be NULL. */
must_check enum err stream_propose_consumer(struct stream *s, struct slice body, struct stream_req *r);
/* Deletes one message (MSG.DELETE). ERR_NOT_FOUND when it is gone already. Reads the message first when it must: asynchronous. `erase`: its
 * bytes leave the disk of every replica some seconds later (S15); r does not wait for that. */
void stream_delete_msg(struct stream *s, uint64_t seq, bool erase, struct stream_req *r);
/* Purge (ADR-10): filter empty = all; seq 0 = no bound, else up to but excluding; keep 0 = none. r->seq counts what went. */
void stream_purge(struct stream *s, struct slice filter, uint64_t seq, uint64_t keep, struct stream_req *r);
/* interest retention: removes what no consumer wants any more, after a consumer went or changed its filter. Works in the background; OK: all
 * of it is gone. */
void stream_sweep_unwanted(struct stream *s, struct stream_req *r);
must_check enum err stream_propose_config(struct stream *s, const struct stream_config *c, struct stream_req *r);

/* Before what admission decided is proposed: makes room in the open batch for the message, or for an empty consumer record (m NULL). False
 * when that made the log refuse messages that admission counted on: admit again. */
must_check bool stream_room_for_publish(struct stream *s, const struct stream_publish *m);

/* State including what is proposed and not applied yet: for admission (design §3). Dropped when leadership is lost. */
uint64_t stream_ahead_last_seq(const struct stream *s);
uint64_t stream_ahead_msgs(const struct stream *s);
uint64_t stream_ahead_bytes(const struct stream *s);
/* Last sequence of a subject, 0 = none; *count (may be NULL) = live messages of it. A pattern is asked of all subjects (count stays 0). */
uint64_t stream_ahead_subject(const struct stream *s, struct slice subject, uint64_t *count);
/* What the next message of the subject pushes out of it when it is applied (max_msgs_per_subject): returns how many, *bytes what they weigh.
 * 0 for a subject with more messages than are kept in memory one by one. */
uint64_t stream_ahead_pushed_out(const struct stream *s, struct slice subject, uint64_t *bytes);
/* Is the newest message of every subject that matches (a pattern, or empty: all) known? It is not after it was removed, until
 * stream_find_last has looked for the one before it, which is when r is done. */
bool stream_knows_last(const struct stream *s, struct slice filter);
void stream_find_last(struct stream *s, struct slice filter, struct stream_req *r);
/* Sequence under which the id was stored within the window; 0 = none. *applied false: it is still in flight. */
uint64_t stream_ahead_msg_id(const struct stream *s, struct slice id, bool *applied);
struct slice stream_ahead_last_msg_id(const struct stream *s); /* borrowed for the call */

/* More is proposed than the log takes in: publishers should slow down before they are refused (ERR_FULL). */
bool stream_is_behind(const struct stream *s);

/* Answers when everything proposed before is applied: so that what is shown next is what was acknowledged. */
void stream_sync(struct stream *s, struct stream_req *r);

/* Puts the open batch of every stream that has one into its group: at the end of the turn, before log_turn_end. */
void stream_turn_end(struct stream *s);

/* ---- reading ---- */

enum { STREAM_BLOCK_SEQS = 1024 }; /* sequences are indexed in blocks that begin at multiples of it */
/* The same counts that num_pending needs, exact, in steps: live messages with sequence >= from whose subject matches. What is stored or removed
 * between two steps is the caller's to count, where stream_count_is_past says so; after a purge it begins anew. */
struct stream_counter {
	uint64_t n, bound; /* counted so far; never fewer than there are in the end */
	/* private */
	const struct slice *filters; /* borrowed until stream_count_end: patterns, count 0 = all */
	size_t filter_count;
	bool by_subject, is_done;
	uint64_t from, next,
		births; /* next: id of a subject, or number of a block; subjects that were born by then are in the memo */
	uint8_t *memo; /* owned: per subject id 0, or 1 + whether it matches; NULL: not remembered */
	uint32_t memo_ids;
};
/* ERR_AGAIN: the block that `from` lies in must be read to be exact: it is not counted, the rest is. */
must_check enum err stream_count_begin(const struct stream *s, struct stream_counter *c, const struct slice *filters,
	size_t filter_count, uint64_t from);
/* True when all is counted. *work: as in stream_next_candidate. */
must_check bool stream_count_more(const struct stream *s, struct stream_counter *c, uint64_t *work);
/* Has it counted this message, of a matching subject, already? If it is removed, before that; if it was stored, after that. */
bool stream_count_is_past(const struct stream *s, const struct stream_counter *c, uint64_t seq, struct slice subject);
void stream_count_end(struct stream_counter *c);
/* Lowest sequence >= from that is alive and may match (its block holds a matching subject); 0 = none. *work: what looking may cost, about
 * nanoseconds, which are taken off; when it is used up (0) the answer is how far it looked: nothing below matches. */
uint64_t stream_next_candidate(
	const struct stream *s, const struct slice *filters, size_t filter_count, uint64_t from, uint64_t *work);
bool stream_is_live(const struct stream *s, uint64_t seq);
/* Walks subjects that match, in no order that means anything; false stops. What comes or goes meanwhile is seen once, or not at all. */
typedef bool stream_subject_fn(
	void *arg, struct slice subject, uint64_t count, uint64_t first_seq_hint, uint64_t last_seq);
void stream_subjects(
	const struct stream *s, const struct slice *filters, size_t filter_count, stream_subject_fn *each, void *arg);
struct stream_walk {
	const struct slice *filters; /* in: borrowed until it is done */
	size_t filter_count;
	stream_subject_fn *each;
	void *arg;
	void (*done)(struct stream_walk *w);
	enum err result; /* OK; ERR_CLOSED: the stream closes */
	/* private */
	struct list link;
	struct stream *stream;
	struct io_timer rest;
	uint32_t next;
	uint64_t births;
};
/* In as many turns as it takes. True: it is done already, and `done` does not follow. */
must_check bool stream_walk_start(struct stream *s, struct stream_walk *w);
/* Reads messages in order of sequence: those >= from that are alive and match, up to max_msgs / max_bytes, at least one. Slices in `msgs` are
 * borrowed: valid until stream_read_release, or until `done` returns if released there. */
struct stream_msg {
	uint64_t seq;
	int64_t time_ns;
	struct slice subject, header, payload;
};
struct stream_read {
	struct list link;
	void (*done)(struct stream_read *r); /* never from inside stream_read_start */
	uint64_t from;                       /* in */
	int64_t from_time_ns;                /* in: 0, or messages at or after this time only */
	const struct slice *filters;         /* in: patterns, borrowed until done; count 0 = all */
	size_t filter_count;
	uint32_t max_msgs; /* in: 1..256 */
	uint64_t max_bytes;
	enum err result;         /* OK; ERR_NOT_FOUND: none there now; ERR_CORRUPT; ERR_CLOSED */
	struct stream_msg *msgs; /* out */
	uint32_t count;
	uint64_t next; /* out: continue from here: everything below was delivered, dead or did not match */
	void *work;    /* the stream's */
};
void stream_read_start(struct stream *s, struct stream_read *r);
void stream_read_release(struct stream_read *r);
/* Forgets a read that was started: no done follows. */
void stream_read_cancel(struct stream_read *r);
/* The same at once when everything needed is in memory: ERR_AGAIN otherwise (then use stream_read_start). */
must_check enum err stream_read_now(struct stream *s, struct stream_read *r);

/* ---- consumers and watchers ---- */

/* The consumer room's part of the machine. All are called while applying, capturing or restoring, on every replica. */
struct stream_consumer_ops {
	void (*reset)(void *arg); /* forget everything: a restore follows */
	void (*apply)(void *arg, uint64_t index, int64_t time_ns, struct slice body);
	/* A message became live or dead. `subject` borrowed. */
	void (*stored)(void *arg, uint64_t seq, struct slice subject);
	void (*removed)(void *arg, uint64_t seq, struct slice subject);
	void (*purged)(void *arg, uint64_t first_seq); /* everything below first_seq went at once */
	/* interest retention: does any consumer still want it? */
	bool (*is_wanted)(void *arg, uint64_t seq, struct slice subject);
	void (*capture)(void *arg, struct state_batch *batch, bool all); /* keys begin with 'k' */
	void (*settled)(void *arg);                                      /* the last capture is durable */
	void (*restored)(void *arg, struct slice key, struct slice value);
	void (*lead)(void *arg, bool leading);
	uint64_t (*hash)(void *arg);
	uint64_t (*count)(void *arg);
};
void stream_consumers_set(struct stream *s, const struct stream_consumer_ops *ops, void *arg);
/* While applying a consumer record: the message is acknowledged by the last consumer that wanted it (workqueue, interest): removes it. The
 * weight and subject come from the record, put there by the leader with stream_facts. */
void stream_apply_remove(struct stream *s, uint64_t seq, struct slice subject, uint64_t bytes);

#endif
