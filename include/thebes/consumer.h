/* SPDX-License-Identifier: Apache-2.0 */
/* consumer — cursors over a stream: what was delivered, what is acknowledged, what comes again. All consumers of a stream live in the
 * stream's group: acks, creations and deletions are records there (RECORD_CONSUMER), so a consumer is as durable as its stream.
 *
 *   CONSUMER.MSG.NEXT ─> consumer_pull ─> [waiting requests] <─ wake ─ stream applied something
 *                                              └─> stream_read ─> router_publish(to = request's reply, reply = $JS.ACK.…)
 *   $JS.ACK.… ─> consumers_ack ─> [ack batch] ─turn end─> stream_propose_consumer ─applied─> floor moves, workqueue drops, double ack answered
 *
 * Loop thread only. The leader decides and delivers; applying is pure. Deliveries are logged with the next ack, or 100 ms
 * later: after a crash or a change of leader those of the last moment may repeat, none is skipped; an ordinary end forgets none. */
#ifndef THEBES_CONSUMER_H
#define THEBES_CONSUMER_H

#include "thebes/auth.h"
#include "thebes/base.h"
#include "thebes/diag.h"
#include "thebes/io.h"
#include "thebes/js_error.h"
#include "thebes/router.h"
#include "thebes/stream.h"

struct consumers; /* all of one stream */
struct consumer;

/* Attaches to a stream that was just opened (stream_consumers_set): restores what its state store held. wake(arg): something is to be done at
 * the end of this turn (consumers_turn_end). */
struct consumers *consumers_open(struct io *io, struct diag *diag, struct stream *s, struct account *account,
	void (*wake)(void *arg), void *wake_arg);
/* The server ends: nobody is served any more, and what was delivered and no record says is proposed. True: the stream is to be waited for
 * (stream_turn_end, stream_sync) before consumers_stop. */
bool consumers_finish(struct consumers *c);
/* Answers waiting requests (409 Consumer Deleted when the stream is gone for good, else 409 Server Shutdown). Then consumers_free once the
 * stream is closed. */
void consumers_stop(struct consumers *c, bool gone);
void consumers_free(struct consumers *c);
/* Proposes what gathered (acks, progress): at the end of the turn, before stream_turn_end. Delivers to waiting requests what came, as far as
 * *work goes: what delivering may still cost in this turn, about nanoseconds, which are taken off. True: there is more to do, so the next
 * turn must come at once; who got nothing in this one is first in it. */
bool consumers_turn_end(struct consumers *c, uint64_t *work);
/* The stream's configuration or interest changed. */
void consumers_stream_changed(struct consumers *c);

/* Requests that end in a record; the caller's memory until done, which never comes from inside the call. error.id JS_OK: `consumer` is what
 * was made (valid for the callback). result ERR_UNKNOWN_OUTCOME: answer nothing. */
struct consumer_req {
	void (*done)(struct consumer_req *r);
	enum err result;
	struct js_error error;
	struct consumer *consumer;
	bool deleted; /* of a delete: it was there */
	struct list link;
	void *work; /* the room's */
};
enum consumer_via {
	CONSUMER_VIA_EPHEMERAL,
	CONSUMER_VIA_DURABLE,
	CONSUMER_VIA_NAMED
}; /* CREATE.s, DURABLE.CREATE.s.c, CREATE.s.c[.filter] */
/* `json` is the whole request ({stream_name, config, action}); name and filter are what the subject said, empty when it said nothing.
 * Everything of spec §5.8 that concerns pull consumers is checked; push consumers are refused (10049-like text) until they exist. */
void consumers_create(struct consumers *c, enum consumer_via via, struct slice name, struct slice filter,
	struct slice json, struct consumer_req *r);
/* What the account allows besides the stream's configuration; -1: no limit. */
void consumers_limit(struct consumers *c, int64_t max_consumers, int64_t max_ack_pending, int64_t max_request_batch);
void consumers_delete(struct consumers *c, struct slice name, struct consumer_req *r);
struct consumer *consumers_find(const struct consumers *c, struct slice name); /* NULL */
uint64_t consumers_count(const struct consumers *c);
typedef bool consumer_each_fn(void *arg, struct consumer *k); /* in order of name; false stops */
void consumers_each(const struct consumers *c, consumer_each_fn *each, void *arg);
struct slice consumer_name(const struct consumer *k);
/* Can num_pending be told exactly now? If not it is being counted, and `done` comes when it is; never from inside the call. */
struct consumer_wait {
	void (*done)(struct consumer_wait *w, struct consumer *k /* NULL: it was deleted meanwhile */);
	struct list link; /* the room's */
};
bool consumer_is_counted(struct consumer *k);
void consumer_when_counted(struct consumer *k, struct consumer_wait *w);
/* Appends the ConsumerInfo object (spec §5.8). `server_name` for the cluster part of INFO answers; empty: left out. */
void consumer_info_print(struct buf *b, struct consumer *k);

/* A pull request (spec §5.10): body as published, reply where messages and statuses go. A body that cannot be read is answered 400. */
void consumer_pull(struct consumer *k, struct slice body, struct slice reply);
/* Answers a pull request with 409 and a sentence: the stream can not deliver. */
void consumer_refuse(struct consumer *k, struct slice reply, const char *why);
/* An ack: tokens after `$JS.ACK.<stream>.<consumer>.` (delivered, sseq, cseq, ts, pending), the payload, and the reply of a double ack
 * (may be empty). What makes no sense is ignored, as the peers do. False: there is no such consumer. */
bool consumers_ack(
	struct consumers *c, struct slice consumer, struct slice tokens, struct slice payload, struct slice reply);

#endif
