/* SPDX-License-Identifier: Apache-2.0 */
/* heap — pairing heap: insert links in O(1), remove merges the children in two passes, O(log n) amortised.
 *
 *        root                 children of a node are a list: node->child is the first, ->next the following ones;
 *       /                     ->prev is the previous one, for the first child the parent
 *   child ── next ── next */
#include <stddef.h>

#include "thebes/base/assert.h"
#include "thebes/base/heap.h"

static bool heap_is_before(const struct heap_node *a, const struct heap_node *b)
{
	return a->key != b->key ? a->key < b->key : a->order < b->order;
}

/* Links two roots (either may be NULL), the later one as first child of the earlier one. */
static struct heap_node *heap_link(struct heap_node *a, struct heap_node *b)
{
	if (!a) return b;
	if (!b) return a;
	if (heap_is_before(b, a)) {
		struct heap_node *swap = a;
		a = b;
		b = swap;
	}
	b->next = a->child;
	if (b->next) b->next->prev = b;
	b->prev = a;
	a->child = b;
	a->next = a->prev = NULL;
	return a;
}

/* Pairs the siblings from left to right, then links the pairs from right to left. Loops, because a list of siblings may
 * be as long as the heap. */
static struct heap_node *heap_merge(struct heap_node *first)
{
	struct heap_node *pairs = NULL;
	while (first) {
		struct heap_node *a = first, *b = a->next;
		first = b ? b->next : NULL;
		a->next = a->prev = NULL;
		if (b) b->next = b->prev = NULL;
		struct heap_node *pair = heap_link(a, b);
		pair->next = pairs;
		pairs = pair;
	}
	struct heap_node *root = NULL;
	while (pairs) {
		struct heap_node *next = pairs->next;
		pairs->next = NULL;
		root = heap_link(root, pairs);
		pairs = next;
	}
	return root;
}

void heap_insert(struct heap *h, struct heap_node *n, uint64_t key)
{
	ASSERT(!heap_is_linked(n));
	*n = (struct heap_node) { .key = key, .order = ++h->order_next };
	h->root = heap_link(h->root, n);
	h->count++;
}

void heap_remove(struct heap *h, struct heap_node *n)
{
	ASSERT(heap_is_linked(n));
	ASSERT(h->count > 0);
	struct heap_node *children = heap_merge(n->child);
	if (n == h->root) {
		h->root = children;
	} else {
		ASSERT(n->prev != NULL);
		if (n->prev->child == n)
			n->prev->child = n->next;
		else
			n->prev->next = n->next;
		if (n->next) n->next->prev = n->prev;
		h->root = heap_link(h->root, children);
	}
	h->count--;
	*n = (struct heap_node) { 0 };
}
