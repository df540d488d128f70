/* SPDX-License-Identifier: Apache-2.0 */
/* map — hash map from bytes to items that the caller owns; the key lives in the item and is read through key_of.
 * Seeded (from struct io), so that a client cannot choose collisions and a run is a function of its seed: iteration order
 * depends on keys and seed alone, never on addresses. */
#ifndef THEBES_BASE_MAP_H
#define THEBES_BASE_MAP_H

#include "thebes/base/slice.h"

typedef struct slice map_key_fn(const void *item);

struct map_slot {
	uint64_t hash; /* 0 = free */
	void *item;    /* borrowed */
};
struct map {
	struct map_slot *slots; /* owned */
	size_t count, mask;     /* mask + 1 slots, 0 before the first put */
	uint64_t seed;
	map_key_fn *key_of;
};

void map_init(struct map *m, uint64_t seed, map_key_fn *key_of);
void map_deinit(struct map *m);                       /* items stay the caller's */
void *map_get(const struct map *m, struct slice key); /* NULL when absent */
/* Puts the item under its key; returns the item it replaced, or NULL. */
void *map_put(struct map *m, void *item);
void *map_del(struct map *m, struct slice key); /* returns the item, or NULL */
uint64_t map_hash(const struct map *m, struct slice key);
static inline struct slice map_key_u64(const uint64_t *id) { return slice_of(id, sizeof *id); }
/* Walk: `for (size_t i = 0; (item = map_next(m, &i)) != NULL;)`. The map may not change during the walk. */
void *map_next(const struct map *m, size_t *at);

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed); /* XXH3 */

#endif
