/* SPDX-License-Identifier: Apache-2.0 */
/* chunk — the pieces that waiting output is kept in. Small for a conn that answers, large for one that streams. */
#ifndef THEBES_NET_CHUNK_H
#define THEBES_NET_CHUNK_H

#include "thebes/net.h"

enum {
	CHUNK_SMALL_BYTES = 2 * 1024,  /* with its head: an idle subscriber's PING must not cost more */
	CHUNK_LARGE_BYTES = 64 * 1024, /* with its head; stays below malloc's mmap threshold */
	CHUNK_SMALL_KEEP = 256,
	CHUNK_LARGE_KEEP = 8,        /* half a MiB of spare output memory in an idle server */
	CHUNK_LARGE_KEEP_BUSY = 256, /* 16 MiB in a busy one */
};
struct chunk {
	struct chunk *next;  /* owned: the next of the same conn, or of the free list */
	uint32_t cap, count; /* bytes of data: room and used */
	uint8_t data[];
};

/* A chunk with room for n bytes: small when n fits in one and `small` is wished. Not zeroed. */
struct chunk *chunk_new(struct net *n, size_t bytes, bool small);
/* Frees a chain, returns how many bytes of memory it held. */
size_t chunk_free_all(struct net *n, struct chunk *head);
/* What a chunk costs in memory: what ledgers are charged. */
static inline size_t chunk_bytes(const struct chunk *c) { return sizeof *c + c->cap; }
/* Frees the spare large chunks that nobody needed since the last time; an io_timer's fire. */
void chunk_trim(struct io_timer *t);
void chunk_drop_spares(struct net *n);

#endif
