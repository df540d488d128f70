/* SPDX-License-Identifier: Apache-2.0 */
/* station — is this message admitted, and if not, what is the publisher told. One station partition = one stream: the station subscribes the
 * stream's subjects in its account's router, checks what is published there, proposes it, and answers when it is durable.
 *
 *   router ──deliver──> station: limits ─> expected-* ─> dedup by id ──> stream_propose_msg ─ … durable, applied … ─> PubAck on the reply
 *
 * One model, two doors: a station made by a Memphis SDK or the CLI is a stream with a native name (`orders#eu$1`), a stream made through the
 * JetStream API is a station too. Checks look at the stream including what is in flight. Loop thread only. */
#ifndef THEBES_STATION_H
#define THEBES_STATION_H

#include "thebes/auth.h"
#include "thebes/base.h"
#include "thebes/consumer.h"
#include "thebes/diag.h"
#include "thebes/io.h"
#include "thebes/meta.h"
#include "thebes/stream.h"

struct station;

/* What may be stored; -1: no limit. */
struct station_limits {
	int64_t max_memory,
		max_store; /* bytes of messages: those that are there, and those that streams reserve by max_bytes */
	int64_t max_streams, max_consumers, max_ack_pending; /* consumers: of each stream */
	int64_t memory_max_stream_bytes, store_max_stream_bytes;
	bool max_bytes_required;
	int64_t max_request_batch;   /* messages of one pull; 0 or less: no limit */
	int64_t duplicate_window_ns; /* 0: no limit */
};

/* All stations of a node. By value in its owner, zeroed before stations_init. */
struct stations {
	struct io *io;              /* borrowed */
	struct diag *diag;          /* borrowed */
	struct auth *auth;          /* borrowed: accounts and their routers */
	struct raft_groups *groups; /* borrowed */
	struct ledger *memory;  /* borrowed: the node's, set before the first station is added; NULL: nobody counts */
	uint64_t self;          /* raft id: first voter of the groups that are made here */
	struct map by_name;     /* account NUL name -> struct station (owned) */
	struct list all, dirty; /* in order of making; those with an open batch, or with more to deliver */
	struct io_timer go_on;  /* more is to be delivered than one turn may take */
	struct pool publishes;
	struct list accounts;         /* of struct station_account (owned): limits and what counts against them */
	struct station_limits limits; /* of the server: max_memory and max_store alone */
	uint64_t used[2];             /* bytes by enum stream_storage */
	char *domain;                 /* owned: what answers call this system (spec §5.1); NULL: it has no name */
	/* The catalogue is in doubt: a stream's own configuration may be newer than that of its row, and stands. */
	bool config_may_be_old;
	uint64_t open_count, closing_count;
	bool closing;
	uint64_t finishing;           /* stations that are waited for before all are closed */
	struct io_timer finish_timer; /* then, or when that takes too long */
	void (*closed)(void *arg);
	void *closed_arg;
};
void stations_init(struct stations *t, struct io *io, struct diag *diag, struct auth *auth, struct raft_groups *groups,
	uint64_t self);
/* Closes every stream (not gone), those with consumers when what was delivered is logged, or a second later; then closed(arg). */
void stations_close(struct stations *t, void (*closed)(void *arg), void *arg);
void stations_deinit(struct stations *t);

/* A row of the catalogue: opens its stream (found at start, or made) and begins to take messages. The error is said in diag and the station
 * stays away: the rest goes on. */
enum err stations_add(struct stations *t, const struct meta_stream *row, bool make);
void stations_change(struct stations *t, const struct meta_stream *row);
void stations_remove(struct stations *t, const struct meta_stream *row);
/* At the end of the turn, before log_turn_end: open batches go to their groups. Delivers no more than a turn may take, and asks for the next
 * turn when there is more. */
void stations_turn_end(struct stations *t);

struct station *stations_find(const struct stations *t, struct slice account, struct slice name); /* NULL */
/* In order of name; false stops. `account` empty: all. */
typedef bool station_each_fn(void *arg, struct station *s);
void stations_each(const struct stations *t, struct slice account, station_each_fn *each, void *arg);
/* Name of a station of the account (not `except`) whose subjects collide with the pattern; NULL = none (10065). */
const char *stations_overlap(const struct stations *t, struct slice account, struct slice pattern, struct slice except);

/* May the account store? Where it may not, its stations take no messages, as if they were not there; what they have stays. */
void stations_switch(struct stations *t, const struct account *account, bool on);
/* Limits of an account, or (NULL) of the server; they hold from the next request on. */
void stations_limit(struct stations *t, const struct account *account, const struct station_limits *l);
const struct station_limits *stations_limits(struct stations *t, const struct account *account);
/* May the account have a stream with this configuration (10027, 10113, 10122, 10028, 10047)? is_new: it is not there yet. coming_…: streams
 * that are being made, and what they reserve. False sets *e. */
must_check bool stations_may_have(struct stations *t, const struct account *account, const struct stream_config *c,
	bool is_new, uint64_t coming_streams, uint64_t coming_bytes, struct js_error *e);

/* Something was proposed on its stream: it is looked at when the turn ends. */
void station_mark_dirty(struct station *s);
struct stream *station_stream(const struct station *s);
struct consumers *station_consumers(const struct station *s);
struct account *station_account(const struct station *s);
struct slice station_stream_name(const struct station *s);

/* ---- names (spec memphis §2) ---- */

enum { STATION_NAME_MAX = 128, STATION_PARTITIONS_MAX = 10000 };
/* NULL when the external name (any case) may be a station's, else the sentence to answer. */
const char *station_name_problem(struct slice external);
/* `Orders.EU` -> `orders#eu`; with a partition (from 1 on) `orders#eu$1`, 0 = none. Appends. */
void station_name_internal(struct buf *b, struct slice external, unsigned partition);
/* The other way: `orders#eu$1` -> `orders.eu`, *partition (may be NULL) 1, or 0 for a stream that has no partition number. Appends. */
void station_name_external(struct buf *b, struct slice stream_name, unsigned *partition);
/* The configuration of one partition of a station as Memphis makes it: subjects `NAME$n.>` and what --subjects binds besides. Defaults:
 * one week is not assumed: retention as given by the caller. *c is filled and owned by the caller. */
struct station_options {
	struct slice name; /* external */
	unsigned partition;
	enum { STATION_AGE, STATION_MESSAGES, STATION_BYTES, STATION_ACK_BASED } retention;
	int64_t retention_value;       /* seconds, messages, bytes; <= 0: one hour of age, as Memphis does */
	int64_t idempotency_window_ms; /* <= 0: 120000; at least 100 */
	enum stream_storage storage;
	int replicas;
	const struct slice *subjects; /* more subjects that plain NATS clients publish to */
	size_t subject_count;
};
must_check bool station_config(struct stream_config *c, const struct station_options *o, struct js_error *e);

#endif
