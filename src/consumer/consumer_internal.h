/* SPDX-License-Identifier: Apache-2.0 */
/* consumer_internal — a consumer is its configuration, what is replicated (delivered, pending, floor) and what only the leader has (waiting
 * requests, deadlines). A pending message is one object for both halves: `logged` says that a record told it, `acking` that a record
 * which ends it is on its way. */
#ifndef THEBES_CONSUMER_INTERNAL_H
#define THEBES_CONSUMER_INTERNAL_H

#include "thebes/consumer.h"
#include "thebes/wire.h"

/* ---- configuration (config.c) ---- */

enum deliver_policy {
	DELIVER_ALL,
	DELIVER_LAST,
	DELIVER_NEW,
	DELIVER_BY_START_SEQ,
	DELIVER_BY_START_TIME,
	DELIVER_LAST_PER_SUBJECT
};
enum ack_policy { ACK_NONE, ACK_ALL, ACK_EXPLICIT };

struct consumer_config {
	char *name, *durable, *description, *sample_freq, *metadata; /* owned, NULL when absent */
	char **filters;                                              /* owned */
	size_t filter_count;
	bool filters_is_list; /* written as filter_subjects */
	enum deliver_policy deliver_policy;
	enum ack_policy ack_policy;
	int replay_policy; /* 0 instant, 1 original */
	uint64_t opt_start_seq;
	int64_t opt_start_time_ns; /* 0: none */
	int64_t ack_wait_ns, inactive_threshold_ns, max_expires_ns;
	int64_t max_deliver, max_waiting, max_ack_pending, max_batch, max_bytes;
	int64_t *backoff_ns; /* owned */
	size_t backoff_count;
	int num_replicas;
	bool headers_only, mem_storage;
};
enum consumer_action { ACTION_ANY, ACTION_CREATE, ACTION_UPDATE };
struct consumer_wish { /* a whole request */
	struct consumer_config config;
	char *stream_name; /* owned */
	enum consumer_action action;
};
void consumer_config_deinit(struct consumer_config *c);
void consumer_config_copy(struct consumer_config *to, const struct consumer_config *from);
/* Parses a request, or a stored configuration (as_stored: no envelope, no defaults). */
must_check bool consumer_wish_parse(struct consumer_wish *w, struct slice json, struct js_error *e);
must_check bool consumer_config_parse_stored(struct consumer_config *c, struct slice json);
/* Defaults, and everything that does not depend on other consumers. */
must_check bool consumer_config_check(struct consumer_config *c, const struct stream_config *s, struct js_error *e);
must_check bool consumer_config_can_update(
	const struct consumer_config *now, const struct consumer_config *next, struct js_error *e);
unsigned consumer_config_sampled(const struct consumer_config *c); /* sample_freq as a percentage; 0: none */
bool consumer_config_equal(const struct consumer_config *a, const struct consumer_config *b);
void consumer_config_print(struct buf *b, const struct consumer_config *c);
void json_string_append(struct buf *b, struct slice s);

/* ---- state ---- */

struct pending {
	struct list link_by_seq;      /* all of the consumer, rising */
	struct list link_by_log;      /* not logged yet, or acking: what the next record says; or acking in to_find */
	struct heap_node link_by_due; /* leader: when it is delivered again */
	struct consumer *consumer;
	uint64_t sseq, cseq;
	int64_t time_ns; /* of the last delivery */
	int64_t due_ns;  /* wall: it was asked to come then, and not before; 0: after the ordinary wait */
	uint32_t count;  /* deliveries */
	bool logged, acking, terminal_is_drop; /* drop: max_deliver is reached, the stream keeps it */
	bool changed;                          /* delivered or held back since what an applied record says */
	uint32_t bytes;
	uint16_t subject_n;
	uint8_t *subject; /* owned; only where an ack removes the message from the stream */
};

struct request {
	struct list link_by_turn; /* the consumer's waiting ones, next first */
	struct io_timer expiry, beat;
	struct consumer *consumer;
	int64_t left, bytes_left; /* bytes_left -1: no limit */
	uint64_t beat_ns;
	uint64_t arrived_ns;
	bool no_wait, got_some;
	uint32_t reply_n;
	uint8_t reply[];
};

struct consumer {
	struct consumers *all;
	struct consumer_config config;
	struct slice name;     /* into config */
	struct slice *filters; /* owned slices over config.filters */
	struct buf ack_prefix; /* `$JS.ACK.<stream>.<consumer>.`: made when first needed, its name does not change */
	uint32_t id;
	int64_t created_ns, active_ns, acked_ns; /* active, acked: the last delivery and the last ack since it leads */
	/* replicated */
	uint64_t delivered_cseq, delivered_sseq; /* as logged */
	uint64_t floor_cseq, floor_sseq;
	struct map pending; /* sseq -> struct pending (owned) */
	struct list pending_by_seq;
	uint64_t *last_seqs; /* owned: last_per_subject: deliver these first */
	size_t last_seq_count, last_seq_at;
	uint64_t last_seq_bound; /* new messages from here on */
	bool dirty, captured, is_new;
	uint32_t chunks_captured,
		chunks_stored; /* keys in the state store: of the last capture; no more than so many are there */
	/* leader */
	uint64_t live_cseq, live_sseq;
	uint64_t said_cseq; /* how far records that were proposed go */
	uint64_t acking_count, redelivered_count;
	struct list to_log;
	/* facts.c: acks that wait until it is known what they take out of the stream */
	struct list to_find, fact_answers; /* of pending; of ack_answer */
	struct stream_read fact_read;
	struct io_timer fact_timer;
	bool finding;
	struct heap due;
	struct io_timer due_timer, idle_timer;
	struct io_timer log_timer; /* runs from a delivery that no record says */
	struct list waiting;
	size_t waiting_count;
	uint64_t num_pending; /* matching messages above live_sseq */
	bool num_pending_known, reading, deleting;
	bool is_log_due; /* what is not logged goes into a record at the end of this turn */
	struct stream_read read;
	uint64_t scanned_to; /* nothing to deliver below it, though the index may say so */
	uint64_t work;       /* what it may still do in this turn */
	/* count.c: num_pending is being made exact: its block is being read; the index is being counted */
	bool counting, walking;
	struct stream_read count_read;
	struct stream_counter counter;
	uint64_t count_from, count_next, count_live; /* count_live: live_sseq when it began */
	uint64_t count_found, count_besides, count_delivered, count_removed;
	struct list count_waits;   /* of consumer_wait */
	struct list link_by_dirty; /* something to deliver or to log at the end of the turn */
	struct list link_by_id;
};

struct ack_answer { /* a double ack, or whoever waits for a record */
	struct stream_req req;
	struct consumers *all;
	uint64_t lead; /* as it was */
	uint64_t sseq; /* what was acknowledged */
	uint32_t id;   /* the consumer's */
	uint32_t reply_n;
	uint8_t reply[];
};

struct consumer_gone { /* its keys must leave the state store */
	uint32_t id, chunks;
};

struct consumers {
	struct io *io;
	struct diag *diag;
	struct stream *stream;
	struct account *account;
	struct map by_name; /* struct consumer (owned) */
	struct list by_id;
	struct list dirty;
	struct list creates; /* of struct consumer_req in progress */
	uint32_t id_next;
	uint64_t lead;              /* how often leadership began or ended */
	struct consumer_gone *gone; /* owned */
	size_t gone_count, gone_cap, gone_captured;
	struct io_timer retry_timer; /* records that were refused are proposed again */
	/* unwanted.c, interest retention: how often consumers went or came to want less, and which of that a sweep was done after (replicated) */
	uint64_t losses, swept;
	bool losses_dirty, losses_captured;
	/* leader: a sweep, or its record, is on its way; the losses that it is for */
	enum { SWEEP_NONE, SWEEP_READS, SWEEP_TELLS } sweep;
	uint64_t sweep_for;
	struct stream_req sweep_req;
	struct io_timer sweep_timer; /* what failed is tried again */
	void (*wake)(void *arg);
	void *wake_arg;
	int64_t max_consumers, max_ack_pending, max_request_batch; /* of the account; -1: no limit */
	bool leading, stopped;
};

/* set.c */
struct consumer *consumer_by_id(const struct consumers *c, uint32_t id);
bool consumer_matches(const struct consumer *k, struct slice subject);
void consumer_mark(struct consumer *k);   /* has something to do at the end of the turn */
void consumer_wake(struct consumer *k);   /* …and whoever runs turns must know */
void consumer_expire(struct consumer *k); /* inactive for too long: deleted */
/* record.c */
extern const struct stream_consumer_ops consumer_stream_ops;
void record_create(struct buf *b, uint32_t id, int64_t created_ns, uint64_t start_sseq, const struct consumer_config *c,
	const uint64_t *last_seqs, size_t last_seq_count, uint64_t bound);
void record_update(struct buf *b, uint32_t id, const struct consumer_config *c);
void record_delete(struct buf *b, uint32_t id);
void record_swept(struct buf *b, uint64_t losses);
void record_state(struct buf *b, struct consumer *k);
struct consumer *consumer_make(struct consumers *c, uint32_t id);
void consumer_free(struct consumer *k);
void consumer_set_config(struct consumer *k, struct consumer_config *taken);
struct pending *pending_find(const struct consumer *k, uint64_t sseq);
struct pending *pending_add(struct consumer *k, uint64_t sseq, uint64_t cseq, uint32_t count, int64_t time_ns);
void pending_free(struct pending *p);
void consumer_floor(struct consumer *k);
bool consumers_keep_facts(const struct consumers *c);
/* deliver.c */
void consumer_lead(struct consumer *k, bool leading);
/* Takes what it costs off *work; true when that was not enough. */
bool consumer_deliver(struct consumer *k, uint64_t *work);
void consumer_end_requests(struct consumer *k, const char *status);
void consumer_stop_reading(struct consumer *k);
void consumer_schedule(struct pending *p, uint64_t delay_ns);
uint64_t consumer_wait(const struct consumer *k, uint32_t count); /* until the delivery after that many */
void consumer_rest(struct consumer *k);                           /* restarts the clock of inactivity */
void consumer_drop_unheard(struct consumer *k); /* requests of clients that went: they count for nothing */
/* count.c */
uint64_t consumer_num_pending(struct consumer *k); /* an upper bound while it is being counted */
void consumer_pending_changed(struct consumer *k); /* count it anew when asked */
/* At the end of the turn: goes on for who waits, and takes what that costs off *work. */
void consumer_count_turn(struct consumer *k, uint64_t *work);
void consumer_count_stored(struct consumer *k, uint64_t seq, struct slice subject); /* one that matches */
void consumer_count_removed(struct consumer *k, uint64_t seq, struct slice subject);
void consumer_count_end(struct consumer *k, bool gone); /* answers who waits: as far as it is known, or that it went */
/* facts.c */
bool pending_lacks_facts(const struct pending *p);
void pending_keep_facts(struct pending *p, const struct stream_msg *m);
void consumer_find_facts(struct consumer *k);
void consumer_stop_finding(struct consumer *k);
/* unwanted.c */
void consumers_want_less(struct consumers *c); /* while applying */
void consumers_swept(struct consumers *c, struct slice body);
void consumers_sweep(struct consumers *c);
void consumers_stop_sweep(struct consumers *c);
void losses_capture(struct consumers *c, struct state_batch *batch, struct slice key, bool all);
void losses_settled(struct consumers *c);
void losses_restore(struct consumers *c, struct slice v);
/* ack.c */
void consumer_log(struct consumer *k);
bool consumer_is_behind(
	const struct consumer *k); /* something was delivered, held back or acknowledged that no record says */
void consumer_log_soon(struct consumer *k);
void consumer_end_pending(struct pending *p);

#endif
