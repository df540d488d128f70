/* SPDX-License-Identifier: Apache-2.0 */
/* heap — intrusive pairing heap with a 64-bit key and a tie-breaking order of insertion, so that equal keys come out first in,
 * first out and a run is a function of its seed. No allocation. */
#ifndef THEBES_BASE_HEAP_H
#define THEBES_BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct heap_node {
	struct heap_node *child, *next, *prev; /* borrowed; prev is the parent for a first child */
	uint64_t key, order;
};
struct heap {
	struct heap_node *root; /* borrowed */
	uint64_t order_next;
	uint64_t count;
};

void heap_insert(struct heap *h, struct heap_node *n, uint64_t key); /* n must be zeroed or removed */
void heap_remove(struct heap *h, struct heap_node *n);
static inline struct heap_node *heap_min(const struct heap *h) { return h->root; }
/* True while the node is in a heap (order is never 0 inside one). */
static inline bool heap_is_linked(const struct heap_node *n) { return n->order != 0; }

#endif
