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
/* Ends a conn for a reason of net's own. */
void conn_end(struct conn *c, enum conn_end why);
/* Memory is there again. */
void conn_feed(struct conn *c);
/* Arms the net's timer for a conn that has just become blocked or starved. */
void net_watch(struct net *n, uint64_t deadline_ns);

#endif
