/* SPDX-License-Identifier: Apache-2.0 */
/* station_internal — a station, and one message on its way through it. */
#ifndef THEBES_STATION_INTERNAL_H
#define THEBES_STATION_INTERNAL_H

#include "thebes/station.h"
#include "thebes/wire.h"

enum { REPLY_INLINE_MAX = 96 };

/* A message from admission to its PubAck. */
struct publish {
	struct stream_req req;
	struct station *station; /* NULL: the station went, nothing is answered */
	struct list link;        /* the station's, while in flight */
	char *reply_long;        /* owned, for a reply that does not fit */
	uint16_t reply_n;
	bool duplicate;
	uint64_t duplicate_of;
	char reply[REPLY_INLINE_MAX];
};

/* An account that stores. */
struct station_account {
	struct list link;
	const struct account *account; /* borrowed of auth */
	struct station_limits limits;
	bool is_off;          /* its stations take no messages */
	uint64_t used[2];     /* bytes by enum stream_storage */
	struct ledger memory; /* of its streams: what is on its way */
};

struct station {
	struct list link_by_age, link_by_dirty;
	struct stations *stations;   /* borrowed */
	struct account *account;     /* borrowed of auth */
	struct stream *stream;       /* owned */
	struct consumers *consumers; /* owned */
	struct sink sink;
	struct sub *subs; /* owned: one per subject */
	size_t sub_count;
	struct list publishes; /* of struct publish in flight */
	struct buf key;        /* account NUL name */
	struct buf ack;        /* the beginning of its PubAcks, up to the sequence; made when first needed */
	size_t account_n;
	uint64_t group;
	struct station_account *limited; /* borrowed of stations */
	uint64_t counted;                /* bytes of it that are in the counts */
	struct stream_req finish;        /* the last records of its consumers are waited for */
	bool gone, is_closing;
};

/* admit.c: the checks in the order of spec §5.4 */
struct admission { /* what the headers asked for */
	struct slice msg_id, expected_stream, expected_last_msg_id, expected_last_subject, rollup;
	uint64_t expected_last_seq, expected_last_subject_seq;
	bool has_last_seq, has_last_subject_seq;
	struct stream_publish publish;
};
enum admit_verdict { ADMIT_PASS, ADMIT_DUPLICATE, ADMIT_REJECT };
enum admit_verdict station_admit(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *duplicate_of, struct js_error *e);
/* limits.c */
struct station_account *stations_account(struct stations *t, const struct account *account); /* made when absent */
void stations_accounts_free(struct stations *t);
void station_count(struct station *s);
/* False: *id says whose limit a message to the subject would exceed. */
bool station_has_room(const struct station *s, struct slice subject, uint64_t bytes, enum js_error_id *id);
/* puback.c */
bool station_deliver(struct sink *k, struct sub *sub, const struct msg *m);
void station_forget_publishes(struct station *s);

#endif
