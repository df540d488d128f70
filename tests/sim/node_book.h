/* SPDX-License-Identifier: Apache-2.0 */
/* node_book — what the oracle of node_sim keeps books of: every publish that a client made and what it was told about it, every stream's
 * sequences, every consumer's deliveries and acks. From that follows what the server must hold (LIVE), must not hold (GONE), and where a
 * client was left without an answer (MAYBE, until an audit looks).
 *
 *   client history ──> book_pub_… , book_purge, book_entry ──┐
 *   what the server shows ──> book_seen, book_audit ─────────┴──> book.violation: one sentence, or nothing
 *
 * Pure: no io, no server, no chance. */
#ifndef THEBES_TESTS_SIM_NODE_BOOK_H
#define THEBES_TESTS_SIM_NODE_BOOK_H

#include "thebes/base.h"

enum { BOOK_STREAMS_MAX = 6, BOOK_CONSUMERS_MAX = 2, BOOK_SUBJECTS = 5 };

/* ---- publishes ---- */

enum book_outcome {
	BOOK_OPEN,      /* on its way */
	BOOK_UNKNOWN,   /* the connection broke, or nobody answered: stored or not */
	BOOK_STORED,    /* at `seq` */
	BOOK_DUPLICATE, /* answered as a duplicate of `seq`: itself it is not stored */
	BOOK_REFUSED,   /* answered with an error: it is not stored */
	BOOK_ABSENT,    /* it was unknown; an audit did not find it */
};
struct book_pub {
	uint64_t number; /* from 1; its payload says it */
	unsigned stream, subject, generation;
	uint32_t payload_bytes, header_bytes;
	uint64_t id;              /* message id; 0: none */
	struct book_pub *same_id; /* the one before with that id, borrowed */
	bool expects_seq, expects_subject_seq, expects_id;
	bool is_misdirected; /* it expects another stream */
	bool is_erased;      /* its secure delete was answered: soon its bytes are nowhere (S15) */
	uint64_t expected;   /* a sequence, or an id */
	uint64_t sent_ns, ended_ns;
	int64_t time_ns; /* the server's, once it was seen */
	enum book_outcome outcome;
	uint64_t seq;
};

/* ---- streams ---- */

enum book_kind {
	BOOK_PLAIN,
	BOOK_MAX_MSGS,
	BOOK_MAX_BYTES,
	BOOK_DISCARD_NEW,
	BOOK_PER_SUBJECT,
	BOOK_SUBJECT_NEW, /* discard new, per subject */
	BOOK_WORKQUEUE,
	BOOK_INTEREST,
	BOOK_KINDS
};
enum book_presence { BOOK_LIVE, BOOK_MAYBE, BOOK_GONE };
struct book_slot {
	struct book_pub *pub; /* borrowed; NULL: nobody knows who */
	enum book_presence presence;
	uint64_t gone_ns; /* when its end was acknowledged */
};

struct book_entry { /* one message of one consumer */
	uint32_t deliveries, count_max;
	bool ack_sent;
	bool ack_tried;        /* the same, but not forgotten when the message turns out to be in a work queue still */
	uint64_t confirmed_ns; /* its double ack was answered; 0: not */
	uint64_t asked_ns;     /* when the pull was sent that got it last; 0: it was asked to come again */
	/* A negative ack may overtake nobody and be overtaken: by deliveries that the server made before it read it (node_ops.c). */
	uint64_t nak_mark; /* of the peer that sent it; 0: the server has read all of them */
	unsigned nak_peer;
	bool naks_unsure;     /* two were on their way at once */
	uint64_t nak_read_ns; /* the last one had been read by then */
};
enum book_acks { BOOK_ACK_EXPLICIT, BOOK_ACK_ALL, BOOK_ACK_NONE };
struct book_consumer {
	char name[16];
	enum book_acks acks;
	/* The highest that a client has heard of, and when; 0: none, or a crash may have made the server forget it. */
	uint64_t heard_sseq, heard_ns;
	int filter; /* a subject, or -1: all */
	int64_t ack_wait_ns, max_deliver;
	uint64_t max_ack_pending;
	int64_t backoff_ns[3]; /* 0: none */
	struct book_entry *at; /* owned, by sequence */
	uint64_t cap;
};

struct book_stream {
	char name[16];
	enum book_kind kind;
	uint64_t limit;          /* messages, messages per subject, or bytes */
	uint64_t window_ns;      /* of duplicates */
	unsigned generation;     /* rises when it is deleted */
	struct book_slot *slots; /* owned, by sequence from 1 */
	uint64_t cap, last;      /* highest sequence known to be given out */
	uint64_t replayed;       /* limits were applied up to here */
	uint64_t given_up;       /* damage was given up: up to here sequences are given out no more */
	uint64_t unknown_count;  /* publishes with outcome UNKNOWN */
	struct book_consumer consumer[BOOK_CONSUMERS_MAX];
	unsigned consumer_count;
};

struct book {
	struct book_stream stream[BOOK_STREAMS_MAX];
	unsigned stream_count;
	struct book_pub **pubs; /* owned array of owned, by number - 1 */
	size_t pub_count, pub_cap;
	struct book_pub **by_id; /* owned: the newest of each id */
	size_t id_cap;
	char violation[600];
};
void book_deinit(struct book *b);
/* The first one stays. */
void book_violated(struct book *b, const char *fmt, ...) printf_like(2, 3);

struct book_pub *book_pub_new(struct book *b, unsigned stream, unsigned subject, uint64_t now_ns);
/* Gives it a message id. */
void book_pub_id(struct book *b, struct book_pub *p, uint64_t id);
/* The payload is a function of the number and payload_bytes. */
void book_payload(const struct book_pub *p, struct buf *out);
void book_subject(const struct book_stream *s, unsigned stream, unsigned subject, struct buf *out);
void book_pub_acked(struct book *b, struct book_pub *p, uint64_t seq, bool duplicate, uint64_t now_ns);
void book_pub_refused(struct book *b, struct book_pub *p, uint64_t now_ns);
void book_pub_unknown(struct book *b, struct book_pub *p, uint64_t now_ns);

/* The server showed a message: it must be one that was published and not refused, and no other at that sequence. NULL after a violation. */
struct book_pub *book_seen(
	struct book *b, unsigned stream, uint64_t seq, struct slice subject, struct slice payload, int64_t time_ns);
struct book_slot *book_slot(struct book_stream *s, uint64_t seq);
struct book_entry *book_entry(struct book_consumer *k, uint64_t seq);
/* How long the server waits before the delivery after the one of that count. */
uint64_t book_wait_ns(const struct book_consumer *k, uint64_t count);
void book_ack_sent(struct book_consumer *k, uint64_t seq);
/* Somebody got it. Whether it is answered for does not matter: the server must know that it was delivered, unless book_may_forget. */
void book_heard(struct book_consumer *k, uint64_t seq, uint64_t now_ns);
void book_may_forget(struct book_stream *s, uint64_t since_ns); /* what was heard since then */
bool book_consumer_matches(const struct book_consumer *k, const struct book_pub *p);
/* What must be true of a message now; limits only after book_replay. */
enum book_presence book_presence(const struct book_stream *s, uint64_t seq);

/* Applies the limits up to the last known sequence: everything that was published must be known. */
void book_replay(struct book *b, unsigned stream);
enum book_doubt { BOOK_FOR_SURE, BOOK_PERHAPS };
/* What a purge takes (subject -1: all; seq: below; keep). Returns how many messages. PERHAPS marks them MAYBE. */
uint64_t book_purge(
	struct book_stream *s, int subject, uint64_t seq, uint64_t keep, enum book_doubt doubt, uint64_t now_ns);
bool book_delete(struct book_stream *s, uint64_t seq, enum book_doubt doubt, uint64_t now_ns);
/* The stream was deleted: what comes under its name is a new one. */
void book_stream_reset(struct book_stream *s);

/* ---- audits: nothing of the stream is on its way ---- */

struct book_info {
	uint64_t messages, bytes, first_seq, last_seq, deleted;
};
/* found: by sequence 1..info->last_seq: 'l' live (book_seen was called), 'a' absent, '?' not asked. Resolves what was MAYBE or unknown. */
void book_audit(struct book *b, unsigned stream, const struct book_info *info, const char *found, uint64_t now_ns);
/* An operator has given up what damage took: what is there now is the truth from here on. shown: what was seen while it was in doubt, by
 * sequence 1..shown_last, as `found`; a '?' was said to be damaged or lost. lost: by sequence 1..lost_last: where the bytes are gone, where the
 * server said by name that they may be; NULL: not known, then it is asked only that what could be read in doubt still can. */
enum { BOOK_BYTES_GONE = 1, BOOK_TOLD_LOST };
struct book_loss {
	const char *shown;
	uint64_t shown_last;
	const uint8_t *lost;
	uint64_t lost_last;
};
void book_recovered(
	struct book *b, unsigned stream, const struct book_info *info, const char *found, const struct book_loss *loss);
/* A consumer's numbers when it is quiet. */
struct book_consumer_info {
	uint64_t delivered_sseq, floor_sseq, ack_pending, pending;
};
void book_consumer_audit(struct book *b, unsigned stream, unsigned consumer, const struct book_consumer_info *info);
/* Everything was offered until nothing was left: has every message been delivered and acknowledged? */
void book_drained(struct book *b, unsigned stream, unsigned consumer);

#endif
