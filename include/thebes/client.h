/* SPDX-License-Identifier: Apache-2.0 */
/* client — one NATS client, one session: the handshake, its subscriptions, its limits, its slow-consumer policy. It decides what an
 * operation means and leaves letters to wire, permissions to auth, matching to router, bytes to net.
 *
 *   conn ──on_data──> wire_parse ──> ops table ──> router_publish ──> sink of another client ──> its conn's output
 *
 *   HELLO ──CONNECT──> CHECKING ──verdict──> OPEN ──> CLOSED        HELLO ──any verb, when nobody needs to log in──> OPEN
 *
 * Loop thread only. A client's memory is this room's; it goes when its conn has closed. Nothing is allocated per message.
 * Contract: spec §1.1-1.7; texts of -ERR in wire_errors.def, reasons in close_reasons.def. */
#ifndef THEBES_CLIENT_H
#define THEBES_CLIENT_H

#include "thebes/auth.h"
#include "thebes/base.h"
#include "thebes/diag.h"
#include "thebes/net.h"
#include "thebes/router.h"
#include "thebes/wire.h"

enum close_reason {
#define CLOSE_REASON(name, text) CLOSE_##name,
#include "thebes/close_reasons.def"
#undef CLOSE_REASON
	CLOSE_REASON_COUNT
};
const char *close_reason_text(enum close_reason r);

/* ---- the room ---- */

/* Limits of every session (spec §3.2). Numbers that are not positive mean no limit, but for max_connections, where they mean nobody. */
struct client_options {
	int64_t max_connections, max_subscriptions, max_sub_tokens;
	uint32_t max_control_line_bytes, max_payload_bytes;
	uint64_t max_pending_bytes;
	uint64_t ping_interval_ns, auth_timeout_ns, tls_timeout_ns;
	int64_t ping_max;
	int64_t max_closed; /* ended sessions remembered for monitoring */
	bool no_stall;      /* producers are not slowed down for a slow consumer */
	bool no_headers;    /* headers are not offered and not accepted */
	bool tls_verify;    /* INFO says that a client's certificate is wanted */
	bool allow_non_tls; /* beside TLS, plain clients may come */
	bool trace_headers; /* the trace shows the headers of a message that has some, and not what follows them */
	int64_t traced_bytes_max; /* of a message, that the trace shows */
};

struct client_stats {
	uint64_t in_msgs, in_bytes, out_msgs, out_bytes; /* bytes of header and payload */
	uint64_t total_connections, slow_consumers, slow_pending, slow_deadline, stale, stalls;
};

struct client;
struct clients {
	struct net *net;               /* borrowed */
	struct auth *auth;             /* borrowed */
	struct diag *diag;             /* borrowed */
	struct io *io;                 /* borrowed */
	struct ledger *ledger;         /* borrowed: the node's; what sessions hold is charged to it */
	struct client_options options; /* changed by clients_reload alone */
	struct tls_context *tls;       /* shared (ref); NULL: no TLS */
	struct wire_info
		info;     /* what every INFO says; texts borrowed of the node; client_id and client_ip per client */
	struct list open; /* of client.link, oldest first */
	struct map by_id;
	uint64_t open_count; /* in `open` */
	uint64_t count;      /* with those that have ended but whose conn has not closed yet */
	uint64_t id_last;
	struct client_stats stats; /* its traffic is of ended sessions alone: clients_stats adds the others */
	struct list closed;        /* of client_closed.link, newest first */
	uint64_t closed_count;
	/* private */
	uint64_t now_ns;   /* of the turn */
	bool stall_wanted; /* the message being published met a consumer that cannot keep up */
	struct buf line;   /* lines being built */
	struct buf header; /* a header block being cleaned */
};
/* `info` is taken as it is: fill all but client_id, client_ip, max_payload, headers and auth_required, which this room keeps right. */
void clients_init(struct clients *s, struct net *n, struct auth *a, const struct client_options *o,
	const struct wire_info *info, struct ledger *ledger);
/* Every client must be gone (count == 0). */
void clients_deinit(struct clients *s);
/* From the next connection on; shared (takes a ref of its own). NULL: none. */
void clients_set_tls(struct clients *s, struct tls_context *t);
/* Takes a connection, sends INFO. Over max_connections: INFO, -ERR, close. */
void clients_accept(struct clients *s, struct io_stream *stream);
/* Takes new limits and, when `auth_changed`, asks auth about every session again: who is no longer welcome gets an Authorization
 * Violation, subscriptions that are no longer allowed are dropped with an -ERR. Clients are told a new max_payload. */
void clients_reload(struct clients *s, const struct client_options *o, bool auth_changed);
/* Tells every client that understands it that this server is about to go (INFO with ldm). */
void clients_announce_ldm(struct clients *s);
/* Ends the oldest session; false when there is none. */
bool clients_close_one(struct clients *s, enum close_reason why);
/* Ends all. They are gone when their conns have closed. */
void clients_close_all(struct clients *s, enum close_reason why);
struct client *clients_find(const struct clients *s, uint64_t id);
/* The figures of all sessions, ended and open. Walks the open ones. */
struct client_stats clients_stats(const struct clients *s);

/* ---- one session; others may read it, only this room changes it ---- */

enum client_state { CLIENT_HELLO, CLIENT_CHECKING, CLIENT_OPEN, CLIENT_CLOSED };

struct client {
	struct clients *room; /* borrowed */
	struct list link;     /* in clients.open */
	struct conn conn;
	struct sink sink;
	enum client_state state;
	enum close_reason reason;
	struct wire_parser parser;
	struct wire_connect connect;
	struct auth_session session;
	struct auth_login login;
	struct map subs;       /* sid -> struct client_sub (owned) */
	struct io_timer timer; /* HELLO: time to log in. After it: PING */
	uint64_t id;
	struct io_addr peer;
	int64_t start_wall_ns;
	uint64_t start_ns, last_in_ns, rtt_ns, ping_sent_ns;
	uint32_t pings_out;
	bool tls_due;   /* the handshake is not over */
	bool tls_open;  /* plain or TLS: the first byte tells */
	bool login_due; /* must log in before anything else */
	bool pong_seen; /* the first PING was answered: an INFO out of the blue cannot confuse it */
	uint64_t in_msgs, in_bytes, out_msgs, out_bytes, stalls;
};
/* Ends a session at once, with a line in the log at debug level. */
void client_close(struct client *c, enum close_reason why);

/* A subscription of a client. */
struct client_sub {
	struct sub sub;
	uint64_t delivered, max; /* max 0: no end */
	bool filtered;           /* covers denied subjects: every delivery asks auth */
	uint16_t sid_bytes;
	uint8_t sid[];
};

/* What is remembered of an ended session. */
struct client_closed {
	struct list link;
	uint64_t id;
	struct io_addr peer;
	int64_t start_wall_ns, stop_wall_ns;
	enum close_reason reason;
	uint64_t in_msgs, in_bytes, out_msgs, out_bytes, rtt_ns;
	size_t sub_count;
	const char *name, *lang, *version, *user, *account; /* into text */
	char text[];
};

#endif
