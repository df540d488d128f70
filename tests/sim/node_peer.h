/* SPDX-License-Identifier: Apache-2.0 */
/* node_peer — a client of node_sim: speaks the NATS protocol over a simulated connection, and knows which answer belongs to which call.
 *
 *   peer_call ──PUB subject inbox──> server ──MSG inbox──> call.on(message)     once, or for every message of a pull
 *                                    connection breaks, time is up ──> call.on(NULL): nobody knows
 *
 * It sends whatever it is told to, also half of it. */
#ifndef THEBES_TESTS_SIM_NODE_PEER_H
#define THEBES_TESTS_SIM_NODE_PEER_H

#include "sim/sim.h"
#include "thebes/wire.h"

struct peer;
struct peer_call {
	struct list link;
	struct peer *peer;
	uint64_t token, sent_ns, until_ns;
	bool is_pull; /* has a subscription of its own and takes many messages */
	/* NULL: lost. One that is no pull is over afterwards and freed. */
	void (*on)(struct peer_call *c, const struct wire_op *op);
	/* whose call it is */
	void *a, *b;
	uint64_t n, m, k;
};

struct peer {
	struct sim *s;
	unsigned index;
	const char *host; /* borrowed */
	struct sim_client *c;
	bool has_greeted, is_open;
	uint64_t open_ns; /* since when it is connected */
	struct wire_parser parser;
	uint64_t next_token, first_token; /* first: of this connection */
	uint64_t heard_token;             /* the newest call that was answered */
	struct list calls;
	char error[160]; /* the last -ERR */
};
enum { PEER_PORT = 4222 };

void peer_init(struct peer *p, struct sim *s, unsigned index, const char *host);
/* Every call is lost; the connection is closed. With `half` the last bytes it had to send are cut off somewhere. */
void peer_close(struct peer *p);
void peer_connect(struct peer *p);
/* Takes what has arrived. False when the connection ended: peer_close follows. */
must_check bool peer_poll(struct peer *p);
/* Publishes with the call's own inbox as the reply. header: a whole block, or empty. `cut` (0: no): so many bytes are left out at the end, as of
 * a client that dies while it sends. */
struct peer_call *peer_call(struct peer *p, struct slice subject, struct slice header, struct slice payload,
	uint64_t timeout_ns, void (*on)(struct peer_call *c, const struct wire_op *op), size_t cut);
/* The same with a subscription of its own, until peer_call_end. */
struct peer_call *peer_pull(struct peer *p, struct slice subject, struct slice payload, uint64_t timeout_ns,
	void (*on)(struct peer_call *c, const struct wire_op *op));
void peer_call_end(struct peer_call *c);
/* A point in what the peer sends; reached when the server is known to have read everything before it. Never, when the connection broke
 * meanwhile. */
uint64_t peer_mark(const struct peer *p);
bool peer_has_reached(const struct peer *p, uint64_t mark);
/* Publishes without a reply. */
void peer_publish(struct peer *p, struct slice subject, struct slice payload);

/* ---- reading JSON answers: the first member of that name, wherever it is ---- */

bool json_number(struct slice text, const char *key, uint64_t *out); /* false when it is absent */
struct slice json_text(struct slice text, const char *key);          /* p NULL when it is absent; not unescaped */
bool base64_read(struct slice text, struct buf *out);

#endif
