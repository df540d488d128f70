/* SPDX-License-Identifier: Apache-2.0 */
/* mem — two memories. Bookkeeping: mem_alloc never returns NULL (it reports and aborts). Payload: a ledger says yes or no
 * first, and "no" is ordinary back-pressure.
 *
 *   ledger (node) <── ledger (account) <── ledger (connection)      a charge climbs to the root or changes nothing */
#ifndef THEBES_BASE_MEM_H
#define THEBES_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "thebes/base/assert.h"

/* n bytes, uninitialised; mem_zalloc zeroed. Never NULL. Free with mem_free. */
void *mem_alloc(size_t n) __attribute__((malloc, returns_nonnull));
void *mem_zalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *p, size_t n) __attribute__((returns_nonnull));
void *mem_dup(const void *p, size_t n) __attribute__((returns_nonnull));
char *mem_strdup(const char *s) __attribute__((returns_nonnull));
void mem_free(void *p);

#define NEW(type) ((type *)mem_zalloc(sizeof(type)))

/* Bytes in use against a limit. Borrowed parent must outlive the child. */
struct ledger {
	struct ledger *parent; /* borrowed, NULL at the root */
	size_t used_bytes, peak_bytes;
	size_t limit_bytes; /* 0 = unlimited */
};
void ledger_init(struct ledger *l, struct ledger *parent, size_t limit_bytes);
/* Asserts that everything was released. */
void ledger_deinit(struct ledger *l);
/* Charges n bytes here and in every ancestor, or nowhere: false when one of them would pass its limit. */
must_check bool ledger_charge(struct ledger *l, size_t n);
/* Charges past the limit: for what was already read and cannot be refused. */
void ledger_force(struct ledger *l, size_t n);
void ledger_release(struct ledger *l, size_t n);
/* True when this ledger or an ancestor is at or over its limit. */
bool ledger_is_full(const struct ledger *l);

/* Objects of one size, recycled through a free list; at most `keep` free ones are held back from the allocator. */
struct pool {
	size_t size, free_count, keep, live_count;
	void *free_head; /* owned: first word of a free object links the next */
};
void pool_init(struct pool *p, size_t size, size_t keep);
void pool_deinit(struct pool *p);                                /* asserts that no object is live */
void *pool_get(struct pool *p) __attribute__((returns_nonnull)); /* zeroed */
void pool_put(struct pool *p, void *object);

/* Memory that dies together. */
struct arena_chunk;
struct arena {
	struct arena_chunk *head; /* owned */
	size_t used_bytes, limit_bytes;
};
void arena_init(struct arena *a, size_t limit_bytes /* 0 = unlimited */);
void arena_deinit(struct arena *a);
/* 16-byte aligned, uninitialised; NULL only when limit_bytes would be passed. */
void *arena_alloc(struct arena *a, size_t n);
char *arena_strndup(struct arena *a, const void *p, size_t n); /* NUL-terminated; NULL as above */

#endif
