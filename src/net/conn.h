/* SPDX-License-Identifier: Apache-2.0 */
/* conn — what net.c and conn.c know of each other. */
#ifndef THEBES_NET_CONN_H
#define THEBES_NET_CONN_H

#include "thebes/net.h"

enum {
	NET_SCRATCH_HEAD = 64 * 1024,   /* room in front of fresh input for what an earlier read left over */
	NET_SCRATCH_BYTES = 256 * 1024, /* fresh input of one read */
	CONN_FLUSH_BYTES = 128 * 1024,  /* waiting output that is written before the turn ends */
	CONN_IN_BYTES_MIN = 256,        /* first size of a buffer for unfinished input */
};
#define CONN_STARVED_NS SECONDS(10)

/* Writes what waits, as far as the kernel takes it. */
void conn_flush(struct conn *c);
/* For tls.c: where plain bytes may go (at most *n, in the scratch buffer or behind what is kept), and that they are there. */
uint8_t *conn_room(struct conn *c, size_t *n);
void conn_take(struct conn *c, const uint8_t *p, size_t n);
/* The first chunk of what waits; the caller's from now on, still charged. NULL: nothing waits. */
struct chunk *conn_pop_chunk(struct conn *c);
/* Has something to write that is not in its chunks: gets on the dirty list. */
void conn_touch(struct conn *c);
/* Ends a conn for a reason of net's own. */
void conn_end(struct conn *c, enum conn_end why);
/* Memory is there again. */
void conn_feed(struct conn *c);
/* Arms the net's timer for a conn that has just become blocked or starved. */
void net_watch(struct net *n, uint64_t deadline_ns);

#endif
