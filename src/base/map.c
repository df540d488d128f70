/* SPDX-License-Identifier: Apache-2.0 */
/* map — open addressing with linear probing, robin hood order and deletion by shifting back: no tombstones, and a miss
 * ends as soon as it meets an item that is nearer to its home than the searched one would be.
 *
 * Items stand sorted by home slot, then by hash. So the order of a walk is a function of keys, seed and table size,
 * whatever the order of the puts was (but for keys whose 64-bit hashes are equal). */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "thebes/base/map.h"
#include "thebes/base/mem.h"

enum { MAP_SLOTS_MIN = 8 };

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed) { return XXH3_64bits_withSeed(p, n, seed); }

uint64_t map_hash(const struct map *m, struct slice key)
{
	uint64_t hash = hash_bytes(key.p, key.n, m->seed);
	return hash ? hash : 1; /* 0 marks a free slot */
}

void map_init(struct map *m, uint64_t seed, map_key_fn *key_of)
{
	*m = (struct map) { .seed = seed, .key_of = key_of };
}

void map_deinit(struct map *m)
{
	mem_free(m->slots);
	*m = (struct map) { 0 };
}

/* How far the item in slot `at` stands from its home. */
static size_t map_distance(const struct map *m, size_t at) { return (at - m->slots[at].hash) & m->mask; }

/* True when an item of `hash` that came `distance` slots far stands before the one in slot `at`. */
static bool map_is_before(const struct map *m, uint64_t hash, size_t distance, size_t at)
{
	size_t other = map_distance(m, at);
	return distance != other ? distance > other : hash < m->slots[at].hash;
}

/* The slot of the key, or the one where it would go; *found says which. The table has a free slot. */
static size_t map_find(const struct map *m, struct slice key, uint64_t hash, bool *found)
{
	size_t at = hash & m->mask;
	for (size_t distance = 0;; distance++, at = (at + 1) & m->mask) {
		const struct map_slot *slot = &m->slots[at];
		*found = slot->hash == hash && slice_eq(m->key_of(slot->item), key);
		if (*found || slot->hash == 0 || map_is_before(m, hash, distance, at)) return at;
	}
}

/* Puts the slot's content at `at` and moves what stood there and behind it one slot on, up to the next free one. */
static void map_insert_at(struct map *m, size_t at, struct map_slot slot)
{
	for (;; at = (at + 1) & m->mask) {
		struct map_slot moved = m->slots[at];
		m->slots[at] = slot;
		if (moved.hash == 0) return;
		slot = moved;
	}
}

static void map_resize(struct map *m, size_t slots)
{
	struct map_slot *old = m->slots;
	size_t old_slots = old ? m->mask + 1 : 0;
	ASSERT(slots > m->count && (slots & (slots - 1)) == 0);
	m->slots = mem_zalloc(slots * sizeof *m->slots);
	m->mask = slots - 1;
	for (size_t i = 0; i < old_slots; i++) {
		if (old[i].hash == 0) continue;
		size_t at = old[i].hash & m->mask;
		for (size_t distance = 0; m->slots[at].hash && !map_is_before(m, old[i].hash, distance, at); distance++)
			at = (at + 1) & m->mask;
		map_insert_at(m, at, old[i]);
	}
	mem_free(old);
}

void *map_get(const struct map *m, struct slice key)
{
	if (m->count == 0) return NULL;
	bool found;
	size_t at = map_find(m, key, map_hash(m, key), &found);
	return found ? m->slots[at].item : NULL;
}

void *map_put(struct map *m, void *item)
{
	ASSERT(item != NULL);
	struct slice key = m->key_of(item);
	uint64_t hash = map_hash(m, key);
	/* At most 13/16 full: behind that, robin hood's short probes get long. */
	if (!m->slots || (m->count + 1) * 16 > (m->mask + 1) * 13)
		map_resize(m, m->slots ? (m->mask + 1) * 2 : MAP_SLOTS_MIN);
	bool found;
	size_t at = map_find(m, key, hash, &found);
	if (found) {
		void *replaced = m->slots[at].item;
		m->slots[at].item = item;
		return replaced;
	}
	map_insert_at(m, at, (struct map_slot) { hash, item });
	m->count++;
	return NULL;
}

void *map_del(struct map *m, struct slice key)
{
	if (m->count == 0) return NULL;
	bool found;
	size_t at = map_find(m, key, map_hash(m, key), &found);
	if (!found) return NULL;
	void *item = m->slots[at].item;
	for (;;) {
		size_t next = (at + 1) & m->mask;
		if (m->slots[next].hash == 0 || map_distance(m, next) == 0) break;
		m->slots[at] = m->slots[next];
		at = next;
	}
	m->slots[at] = (struct map_slot) { 0 };
	m->count--;
	/* What was once large gives its memory back; an eighth, so that growing and shrinking do not chase each
	 * other. */
	if (m->mask + 1 > MAP_SLOTS_MIN && m->count * 8 < m->mask + 1) map_resize(m, (m->mask + 1) / 2);
	return item;
}

void *map_next(const struct map *m, size_t *at)
{
	if (!m->slots) return NULL;
	while (*at <= m->mask) {
		const struct map_slot *slot = &m->slots[(*at)++];
		if (slot->hash) return slot->item;
	}
	return NULL;
}
