/* SPDX-License-Identifier: Apache-2.0 */
/* Output chunks come from two free lists, last in first out, so that a streaming conn writes to the same warm 64 KiB again and again.
 * The free lists are short: a burst to ten thousand subscribers gives its memory back. */
#include "chunk.h"

_Static_assert(CHUNK_LARGE_BYTES - sizeof(struct chunk) >= CONN_RESERVE_MAX, "a reservation fits in one chunk");

struct chunk *chunk_new(struct net *n, size_t bytes, bool small)
{
	small = small && bytes <= CHUNK_SMALL_BYTES - sizeof(struct chunk);
	struct chunk **free_list = small ? &n->free_small : &n->free_large;
	struct chunk *c = *free_list;
	if (c) {
		*free_list = c->next;
		small ? n->free_small_count-- : n->free_large_count--;
	} else {
		size_t total = small ? CHUNK_SMALL_BYTES : CHUNK_LARGE_BYTES;
		c = mem_alloc(total);
		c->cap = (uint32_t)(total - sizeof *c);
	}
	c->next = NULL;
	c->count = 0;
	return c;
}

static void chunk_free(struct net *n, struct chunk *c)
{
	bool small = chunk_bytes(c) == CHUNK_SMALL_BYTES;
	unsigned *count = small ? &n->free_small_count : &n->free_large_count;
	if (*count >= (small ? CHUNK_SMALL_KEEP : CHUNK_LARGE_KEEP)) {
		mem_free(c);
		return;
	}
	struct chunk **free_list = small ? &n->free_small : &n->free_large;
	c->next = *free_list;
	*free_list = c;
	++*count;
}

size_t chunk_free_all(struct net *n, struct chunk *head)
{
	size_t bytes = 0;
	while (head) {
		struct chunk *next = head->next;
		bytes += chunk_bytes(head);
		chunk_free(n, head);
		head = next;
	}
	return bytes;
}

void chunk_drop_spares(struct net *n)
{
	struct chunk *lists[] = { n->free_small, n->free_large };
	for (size_t i = 0; i < COUNT_OF(lists); i++) {
		while (lists[i]) {
			struct chunk *next = lists[i]->next;
			mem_free(lists[i]);
			lists[i] = next;
		}
	}
	n->free_small = n->free_large = NULL;
	n->free_small_count = n->free_large_count = 0;
}
