/* SPDX-License-Identifier: Apache-2.0 */
/* cache — what was found out about a subject is remembered: sets of four entries, a random one makes room. Happy path: one hash, one
 * comparison of the name, three counters that say nothing changed.
 *
 * When members change, what must be forgotten is told apart by the pattern: a literal one concerns its own entry; one with wildcards
 * everything that begins as it does. For that each entry carries the sum of three counters: of all patterns that begin with a wildcard, of
 * those with its own first token, of those with its own first two. They only grow, so the sum is the same only if all are. Thus a client
 * that comes and goes with _INBOX.<its own>.* disturbs nobody else. */
#include "inside.h"

#include <stdlib.h>

struct router_cache_entry {
	uint64_t hash, gen_sum;
	struct match *match; /* shared with the publishes that pin it; NULL: the entry is free */
	uint8_t *name;       /* owned, grows */
	uint16_t name_bytes, name_cap;
	uint16_t gen_token, gen_stem; /* indices into gens */
};

enum {
	GENS = 1024,
	SETS_FIRST = 16,
	NAME_BYTES_MAX = 256,      /* longer subjects are looked up each time */
	SLOTS_MAX = 1024 * 1024,   /* of all matches in the cache together */
	SLOTS_ONE_MAX = 64 * 1024, /* of a match that is remembered */
	SPARE_MAX = 32,            /* matches kept for reuse, and the slots that such a one may keep */
	SPARE_SLOTS_MAX = 1024,
};

/* ---- matches ---- */

static struct match *match_new(struct router *r)
{
	struct match *m = r->matches_free;
	if (!m) return NEW(struct match);
	r->matches_free = m->next_free;
	r->matches_free_count--;
	m->next_free = NULL;
	m->plain_count = m->slot_count = m->group_count = 0;
	return m;
}

static void match_free(struct match *m)
{
	mem_free(m->slots);
	mem_free(m->groups);
	mem_free(m);
}

/* Neither the cache nor a publish has it any more. */
static void match_drop(struct router *r, struct match *m)
{
	ASSERT(m->pins == 0 && !m->is_cached);
	if (r->matches_free_count >= SPARE_MAX || m->slot_cap > SPARE_SLOTS_MAX || m->group_cap > SPARE_SLOTS_MAX) {
		match_free(m);
		return;
	}
	m->next_free = r->matches_free;
	r->matches_free = m;
	r->matches_free_count++;
}

void match_unpin(struct router *r, struct match *m)
{
	ASSERT(m->pins > 0);
	if (--m->pins == 0 && !m->is_cached) match_drop(r, m);
}

static void match_add_slot(struct match *m, uint32_t slot)
{
	if (m->slot_count == m->slot_cap) {
		m->slot_cap = m->slot_cap ? m->slot_cap * 2 : 4;
		m->slots = mem_realloc(m->slots, m->slot_cap * sizeof *m->slots);
	}
	m->slots[m->slot_count++] = slot;
}

static struct match_group *match_add_group(struct match *m)
{
	if (m->group_count == m->group_cap) {
		m->group_cap = m->group_cap ? m->group_cap * 2 : 2;
		m->groups = mem_realloc(m->groups, m->group_cap * sizeof *m->groups);
	}
	m->groups[m->group_count] = (struct match_group) { .from = m->slot_count };
	return &m->groups[m->group_count++];
}

static void match_add_members(struct router *r, struct match *m, const struct members *from, bool remote)
{
	const uint32_t *slots = members_slots(from);
	for (uint32_t i = 0; i < from->count; i++)
		if (r->slots[slots[i]]->is_remote == remote) match_add_slot(m, slots[i]);
}

static int group_compare(const void *a, const void *b)
{
	struct queue_group *const *x = a, *const *y = b;
	return slice_cmp((*x)->name, (*y)->name);
}

/* Groups of one name over all patterns are one group (spec §1.6). */
static void match_add_groups(struct router *r, struct match *m)
{
	size_t count = 0;
	for (size_t i = 0; i < r->found_count; i++) count += r->found[i]->groups.count;
	if (count == 0) return;
	struct queue_group *few[16],
		**all = count <= COUNT_OF(few) ? few : mem_alloc(count * sizeof(struct queue_group *)), *g;
	size_t n = 0;
	for (size_t i = 0; i < r->found_count; i++)
		for (size_t at = 0; (g = map_next(&r->found[i]->groups, &at)) != NULL;) all[n++] = g;
	/* Names are unique within a topic; and the order is one of names, not of memory. */
	if (n > 1) qsort(all, n, sizeof(struct queue_group *), group_compare);
	for (size_t from = 0, to; from < n; from = to) {
		struct match_group *out = match_add_group(m);
		for (to = from; to < n && slice_eq(all[to]->name, all[from]->name); to++)
			match_add_members(r, m, &all[to]->members, false);
		out->local_count = m->slot_count - out->from;
		for (size_t i = from; i < to; i++) match_add_members(r, m, &all[i]->members, true);
		out->count = m->slot_count - out->from;
	}
	if (all != few) mem_free(all);
}

void found_add(struct router *r, struct topic *t)
{
	if (r->found_count == r->found_cap) {
		r->found_cap = r->found_cap ? r->found_cap * 2 : 16;
		r->found = mem_realloc(r->found, r->found_cap * sizeof(struct topic *));
	}
	r->found[r->found_count++] = t;
}

static bool tokens_are_whole(struct slice s)
{
	if (s.n == 0 || s.p[0] == '.' || s.p[s.n - 1] == '.') return false;
	for (const uint8_t *p = s.p, *end = s.p + s.n; (p = memchr(p, '.', (size_t)(end - p))) != NULL; p++)
		if (p[1] == '.') return false;
	return true;
}

static struct match *match_make(struct router *r, struct slice subject)
{
	struct match *m = match_new(r);
	r->found_count = 0;
	if (!tokens_are_whole(subject)) return m;
	/* A subject with wildcards in it is plain text: only the trie may say who covers it. */
	struct topic *literal = map_get(&r->topics, subject);
	if (literal && !literal->is_wildcard) found_add(r, literal);
	trie_find(r, subject);
	for (size_t i = 0; i < r->found_count; i++) {
		const struct members *plain = &r->found[i]->plain;
		const uint32_t *slots = members_slots(plain);
		for (uint32_t k = 0; k < plain->count; k++) match_add_slot(m, slots[k]);
	}
	m->plain_count = m->slot_count;
	match_add_groups(r, m);
	return m;
}

/* ---- what changed ---- */

struct slice subject_stem(struct slice s)
{
	ptrdiff_t first = slice_find(s, '.');
	if (first < 0) return s;
	ptrdiff_t second = slice_find(slice_from(s, (size_t)first + 1), '.');
	return second < 0 ? s : slice_first(s, (size_t)(first + 1 + second));
}

unsigned pattern_literal_tokens(struct slice pattern)
{
	unsigned n = 0;
	struct slice token;
	for (size_t at = 0; n < 2 && subject_next(pattern, &at, &token); n++)
		if (token.n == 1 && (token.p[0] == '*' || token.p[0] == '>')) break;
	return n;
}

static uint16_t gen_index(const struct router *r, struct slice part)
{
	return (uint16_t)(hash_bytes(part.p, part.n, r->seed) % GENS);
}

static uint16_t gen_index_token(const struct router *r, struct slice subject)
{
	ptrdiff_t dot = slice_find(subject, '.');
	return gen_index(r, dot < 0 ? subject : slice_first(subject, (size_t)dot));
}

static uint64_t gen_sum(const struct router *r, const struct router_cache_entry *e)
{
	return r->gens ? r->gen_all + r->gens[e->gen_token] + r->gens[e->gen_stem] : r->gen_all;
}

/* ---- entries ---- */

static bool entry_is(const struct router_cache_entry *e, uint64_t hash, struct slice subject)
{
	return e->hash == hash && e->match && e->name_bytes == subject.n && memcmp(e->name, subject.p, subject.n) == 0;
}

/* The entry that was asked for last, when it is asked for again: messages come in runs of one subject, and then not even the hash is
 * needed. */
static struct router_cache_entry *entry_last(const struct router *r, struct slice subject)
{
	struct router_cache_entry *e = r->cache_last;
	if (!e || !e->match || e->name_bytes != subject.n || e->gen_sum != gen_sum(r, e)) return NULL;
	return memcmp(e->name, subject.p, subject.n) == 0 ? e : NULL;
}

static struct router_cache_entry *entry_find(const struct router *r, uint64_t hash, struct slice subject)
{
	if (r->cache_sets == 0) return NULL;
	struct router_cache_entry *set = &r->cache[(hash & (r->cache_sets - 1)) * ROUTER_CACHE_WAYS];
	for (size_t i = 0; i < ROUTER_CACHE_WAYS; i++)
		if (entry_is(&set[i], hash, subject)) return &set[i];
	return NULL;
}

/* Lets go of the entry's match; its name's memory stays for the next one. */
static void entry_clear(struct router *r, struct router_cache_entry *e)
{
	struct match *m = e->match;
	if (!m) return;
	e->match = NULL;
	r->cache_slots -= m->slot_count;
	m->is_cached = false;
	if (m->pins == 0) match_drop(r, m);
}

static void cache_resize(struct router *r, size_t sets)
{
	struct router_cache_entry *old = r->cache, *grown = mem_zalloc(sets * ROUTER_CACHE_WAYS * sizeof *grown);
	/* Twice the sets: what shared one is divided between two, so that everything finds room. */
	for (size_t i = 0; i < r->cache_sets * ROUTER_CACHE_WAYS; i++) {
		if (!old[i].name) continue;
		struct router_cache_entry *to = &grown[(old[i].hash & (sets - 1)) * ROUTER_CACHE_WAYS];
		while (to->name) to++;
		*to = old[i];
	}
	mem_free(old);
	r->cache_last = NULL;
	r->cache = grown;
	r->cache_sets = sets;
	r->cache_evicted = 0;
}

/* An entry that may be used for a new subject: one without match, or a random one that loses its own. */
static struct router_cache_entry *entry_make_room(struct router *r, uint64_t hash)
{
	if (r->cache_sets == 0) cache_resize(r, SETS_FIRST);
	if (r->cache_evicted > r->cache_sets * ROUTER_CACHE_WAYS && r->cache_sets < ROUTER_CACHE_SETS_MAX)
		cache_resize(r, r->cache_sets * 2);
	struct router_cache_entry *set = &r->cache[(hash & (r->cache_sets - 1)) * ROUTER_CACHE_WAYS];
	for (size_t i = 0; i < ROUTER_CACHE_WAYS; i++)
		if (!set[i].match) return &set[i];
	struct router_cache_entry *e = &set[prng_next(&r->prng) % ROUTER_CACHE_WAYS];
	entry_clear(r, e);
	r->cache_evicted++;
	r->stats.cache_evictions++;
	return e;
}

static void entry_set(
	struct router *r, struct router_cache_entry *e, uint64_t hash, struct slice subject, struct match *m)
{
	if (e->name_cap < subject.n) {
		mem_free(e->name);
		e->name_cap = (uint16_t)round_up(subject.n, 32);
		e->name = mem_alloc(e->name_cap);
	}
	memcpy(e->name, subject.p, subject.n);
	e->name_bytes = (uint16_t)subject.n;
	e->hash = hash;
	e->gen_token = gen_index_token(r, subject);
	e->gen_stem = gen_index(r, subject_stem(subject));
	e->gen_sum = gen_sum(r, e);
	e->match = m;
	m->is_cached = true;
	r->cache_slots += m->slot_count;
}

/* The cache as a whole is bounded too: wide matches push out others. */
static void cache_fit(struct router *r, size_t slots)
{
	while (r->cache_slots + slots > SLOTS_MAX) {
		size_t at = prng_below(&r->prng, r->cache_sets * ROUTER_CACHE_WAYS);
		while (!r->cache[at].match) at = (at + 1) % (r->cache_sets * ROUTER_CACHE_WAYS);
		entry_clear(r, &r->cache[at]);
		r->stats.cache_evictions++;
	}
}

struct match *match_pin(struct router *r, struct slice subject)
{
	struct router_cache_entry *e = entry_last(r, subject);
	uint64_t hash = e ? e->hash : hash_bytes(subject.p, subject.n, r->seed);
	if (!e) e = entry_find(r, hash, subject);
	if (e && e->gen_sum == gen_sum(r, e)) {
		r->cache_last = e;
		r->stats.cache_hits++;
		e->match->pins++;
		return e->match;
	}
	r->stats.cache_misses++;
	if (e) entry_clear(r, e);
	struct match *m = match_make(r, subject);
	m->pins++;
	if (subject.n == 0 || subject.n > NAME_BYTES_MAX || m->slot_count > SLOTS_ONE_MAX) return m;
	cache_fit(r, m->slot_count);
	entry_set(r, entry_make_room(r, hash), hash, subject, m);
	return m;
}

void cache_forget(struct router *r, struct slice pattern, bool is_wildcard)
{
	if (!is_wildcard) {
		struct router_cache_entry *e = entry_find(r, hash_bytes(pattern.p, pattern.n, r->seed), pattern);
		if (e) entry_clear(r, e);
		return;
	}
	if (!r->gens) r->gens = mem_zalloc(GENS * sizeof *r->gens);
	switch (pattern_literal_tokens(pattern)) {
	case 0: r->gen_all++; break;
	case 1: r->gens[gen_index_token(r, pattern)]++; break;
	default: r->gens[gen_index(r, subject_stem(pattern))]++; break;
	}
}

void cache_free(struct router *r)
{
	for (size_t i = 0; i < r->cache_sets * ROUTER_CACHE_WAYS; i++) {
		entry_clear(r, &r->cache[i]);
		mem_free(r->cache[i].name);
	}
	ASSERT(r->cache_slots == 0);
	mem_free(r->cache);
	mem_free(r->gens);
	while (r->matches_free) {
		struct match *m = r->matches_free;
		r->matches_free = m->next_free;
		match_free(m);
	}
}
