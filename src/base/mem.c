/* SPDX-License-Identifier: Apache-2.0 */
/* mem — the allocator that reports and aborts, ledgers, pools, arenas.
 *
 * Happy path of payload: ledger_charge (yes) -> pool_get or mem_alloc -> … -> pool_put or mem_free ->
 * ledger_release. */
#include <assert.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "thebes/base/mem.h"

/* ---- the allocator ---- */

static _Noreturn void mem_out(size_t n)
{
	(void)fprintf(stderr, "out of memory: %zu bytes of bookkeeping refused by the allocator\n", n);
	abort();
}

void *mem_alloc(size_t n)
{
	void *p = malloc(n ? n : 1);
	if (!p) mem_out(n);
	return p;
}

void *mem_zalloc(size_t n)
{
	void *p = calloc(1, n ? n : 1);
	if (!p) mem_out(n);
	return p;
}

void *mem_realloc(void *p, size_t n)
{
	void *q = realloc(p, n ? n : 1);
	if (!q) mem_out(n);
	return q;
}

void *mem_dup(const void *p, size_t n)
{
	void *q = mem_alloc(n);
	if (n) memcpy(q, p, n);
	return q;
}

char *mem_strdup(const char *s) { return mem_dup(s, strlen(s) + 1); }

void mem_free(void *p) { free(p); }

/* ---- ledger ---- */

void ledger_init(struct ledger *l, struct ledger *parent, size_t limit_bytes)
{
	*l = (struct ledger) { .parent = parent, .limit_bytes = limit_bytes };
}

void ledger_deinit(struct ledger *l)
{
	ASSERT(l->used_bytes == 0);
	l->parent = NULL;
}

static bool ledger_has_room(const struct ledger *l, size_t n)
{
	if (n > SIZE_MAX - l->used_bytes) return false;
	return l->limit_bytes == 0 || l->used_bytes + n <= l->limit_bytes;
}

bool ledger_charge(struct ledger *l, size_t n)
{
	for (const struct ledger *at = l; at; at = at->parent)
		if (!ledger_has_room(at, n)) return false;
	ledger_force(l, n);
	return true;
}

void ledger_force(struct ledger *l, size_t n)
{
	for (; l; l = l->parent) {
		ASSERT(n <= SIZE_MAX - l->used_bytes);
		l->used_bytes += n;
		if (l->used_bytes > l->peak_bytes) l->peak_bytes = l->used_bytes;
	}
}

void ledger_release(struct ledger *l, size_t n)
{
	for (; l; l = l->parent) {
		ASSERT(n <= l->used_bytes);
		l->used_bytes -= n;
	}
}

bool ledger_is_full(const struct ledger *l)
{
	for (; l; l = l->parent)
		if (l->limit_bytes && l->used_bytes >= l->limit_bytes) return true;
	return false;
}

/* ---- pool ---- */

void pool_init(struct pool *p, size_t size, size_t keep)
{
	ASSERT(size > 0);
	*p = (struct pool) { .size = size < sizeof(void *) ? sizeof(void *) : size, .keep = keep };
}

void pool_deinit(struct pool *p)
{
	ASSERT(p->live_count == 0);
	while (p->free_head) {
		void *object = p->free_head;
		memcpy(&p->free_head, object, sizeof p->free_head);
		mem_free(object);
	}
	p->free_count = 0;
}

void *pool_get(struct pool *p)
{
	ASSERT(p->size > 0);
	p->live_count++;
	if (!p->free_head) return mem_zalloc(p->size);
	void *object = p->free_head;
	memcpy(&p->free_head, object, sizeof p->free_head);
	p->free_count--;
	return memset(object, 0, p->size);
}

void pool_put(struct pool *p, void *object)
{
	ASSERT(object != NULL);
	ASSERT(p->live_count > 0);
	p->live_count--;
	if (p->free_count >= p->keep) {
		mem_free(object);
		return;
	}
	memcpy(object, &p->free_head, sizeof p->free_head);
	p->free_head = object;
	p->free_count++;
}

/* ---- arena ---- */

enum { ARENA_ALIGN = 16, ARENA_CHUNK_BYTES_MIN = 1024, ARENA_CHUNK_BYTES_MAX = 64 * 1024 };

struct arena_chunk {
	alignas(ARENA_ALIGN) struct arena_chunk *next; /* owned */
	size_t used, cap;
};
static_assert(sizeof(struct arena_chunk) % ARENA_ALIGN == 0, "memory behind the header is aligned");

void arena_init(struct arena *a, size_t limit_bytes) { *a = (struct arena) { .limit_bytes = limit_bytes }; }

void arena_deinit(struct arena *a)
{
	while (a->head) {
		struct arena_chunk *chunk = a->head;
		a->head = chunk->next;
		mem_free(chunk);
	}
	a->used_bytes = 0;
}

/* Chunks double with what is in use, so that small arenas stay small and large ones need few calls. */
static struct arena_chunk *arena_grow(struct arena *a, size_t n)
{
	size_t cap = ARENA_CHUNK_BYTES_MIN;
	while (cap < ARENA_CHUNK_BYTES_MAX && cap < a->used_bytes) cap *= 2;
	if (cap < n) cap = n;
	struct arena_chunk *chunk = mem_alloc(sizeof *chunk + cap);
	*chunk = (struct arena_chunk) { .next = a->head, .cap = cap };
	a->head = chunk;
	return chunk;
}

void *arena_alloc(struct arena *a, size_t n)
{
	if (n > SIZE_MAX / 2) return NULL;
	n = (n + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
	if (a->limit_bytes && n > a->limit_bytes - a->used_bytes) return NULL;
	struct arena_chunk *chunk = a->head;
	if (!chunk || n > chunk->cap - chunk->used) chunk = arena_grow(a, n);
	void *p = (char *)(chunk + 1) + chunk->used;
	chunk->used += n;
	a->used_bytes += n;
	ASSERT(a->limit_bytes == 0 || a->used_bytes <= a->limit_bytes);
	return p;
}

char *arena_strndup(struct arena *a, const void *p, size_t n)
{
	if (n == SIZE_MAX) return NULL;
	char *s = arena_alloc(a, n + 1);
	if (!s) return NULL;
	if (n) memcpy(s, p, n);
	s[n] = '\0';
	return s;
}
