/* SPDX-License-Identifier: Apache-2.0 */
/* Output chunks come from two free lists, last in first out, so that a streaming conn writes to the same warm 64 KiB again and again.
 * How many spare ones are kept follows the load: freeing and allocating them again and again costs page faults, 5 % of the loop at
 * 1 KiB a message; what a second has not needed goes back. */
#include "chunk.h"

_Static_assert(CHUNK_LARGE_BYTES - sizeof(struct chunk) >= CONN_RESERVE_MAX, "a reservation fits in one chunk");

#define CHUNK_TRIM_NS SECONDS(1)

static struct chunk *chunk_alloc(size_t bytes)
{
	struct chunk *c = mem_alloc(bytes);
	c->cap = (uint32_t)(bytes - sizeof *c);
	return c;
}

static struct chunk *chunk_take_small(struct net *n)
{
	struct chunk *c = n->free_small;
	if (!c) return chunk_alloc(CHUNK_SMALL_BYTES);
	n->free_small = c->next;
	n->free_small_count--;
	return c;
}

static struct chunk *chunk_take_large(struct net *n)
{
	struct chunk *c = n->free_large;
	if (!c) return chunk_alloc(CHUNK_LARGE_BYTES);
	n->free_large = c->next;
	if (--n->free_large_count < n->free_large_low) n->free_large_low = n->free_large_count;
	return c;
}

struct chunk *chunk_new(struct net *n, size_t bytes, bool small)
{
	bool fits = small && bytes <= CHUNK_SMALL_BYTES - sizeof(struct chunk);
	struct chunk *c = fits ? chunk_take_small(n) : chunk_take_large(n);
	c->next = NULL;
	c->count = 0;
	return c;
}

static void chunk_free(struct net *n, struct chunk *c)
{
	bool small = chunk_bytes(c) == CHUNK_SMALL_BYTES;
	struct chunk **free_list = small ? &n->free_small : &n->free_large;
	unsigned *count = small ? &n->free_small_count : &n->free_large_count;
	if (*count >= (small ? CHUNK_SMALL_KEEP : CHUNK_LARGE_KEEP_BUSY)) {
		mem_free(c);
		return;
	}
	c->next = *free_list;
	*free_list = c;
	++*count;
	if (!small && *count > CHUNK_LARGE_KEEP && !io_timer_is_armed(&n->trim)) {
		n->free_large_low = *count;
		io_timer_start(n->io, &n->trim, CHUNK_TRIM_NS);
	}
}

void chunk_trim(struct io_timer *t)
{
	struct net *n = CONTAINER_OF(t, struct net, trim);
	for (unsigned drop = n->free_large_low; drop > 0 && n->free_large_count > CHUNK_LARGE_KEEP; drop--) {
		struct chunk *c = n->free_large;
		n->free_large = c->next;
		n->free_large_count--;
		mem_free(c);
	}
	n->free_large_low = n->free_large_count;
	if (n->free_large_count > CHUNK_LARGE_KEEP) io_timer_start(n->io, t, CHUNK_TRIM_NS);
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
