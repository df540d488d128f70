/* SPDX-License-Identifier: Apache-2.0 */
/* topic — a pattern and its members. A member is a slot number: subs come and go, also while a message is being handed out, and a number
 * that points nowhere is harmless. */
#include "inside.h"

struct slice topic_key(const void *item) { return ((const struct topic *)item)->pattern; }

static struct slice group_key(const void *item) { return ((const struct queue_group *)item)->name; }

struct topic *topic_get(struct router *r, struct slice pattern)
{
	struct topic *t = map_get(&r->topics, pattern);
	if (t) return t;
	t = mem_zalloc(sizeof *t + pattern.n);
	memcpy(t->text, pattern.p, pattern.n);
	t->pattern = slice_of(t->text, pattern.n);
	t->is_wildcard = subject_check(pattern) == SUBJECT_WILDCARD;
	map_init(&t->groups, r->seed, group_key);
	map_put(&r->topics, t);
	if (t->is_wildcard) trie_insert(r, t);
	return t;
}

bool topic_is_empty(const struct topic *t) { return t->plain.count == 0 && t->groups.count == 0; }

void topic_free(struct router *r, struct topic *t)
{
	ASSERT(topic_is_empty(t));
	if (t->is_wildcard) trie_remove(r, t);
	map_del(&r->topics, t->pattern);
	map_deinit(&t->groups);
	mem_free(t->plain.slots);
	mem_free(t);
}

struct queue_group *topic_group(struct topic *t, struct slice name)
{
	struct queue_group *g = map_get(&t->groups, name);
	if (g) return g;
	g = mem_zalloc(sizeof *g + name.n);
	memcpy(g->text, name.p, name.n);
	g->name = slice_of(g->text, name.n);
	map_put(&t->groups, g);
	return g;
}

void members_add(struct members *m, struct sub *s)
{
	s->at = m->count++;
	if (m->count == 1 && !m->slots) {
		m->one = s->slot;
		return;
	}
	if (m->count > m->cap) {
		uint32_t *grown = mem_alloc((size_t)m->count * 2 * sizeof *grown);
		memcpy(grown, members_slots(m), s->at * sizeof *grown);
		mem_free(m->slots);
		m->slots = grown;
		m->cap = m->count * 2;
	}
	m->slots[s->at] = s->slot;
}

/* The last one takes the place that becomes free. */
void members_remove(struct router *r, struct members *m, struct sub *s)
{
	uint32_t *slots = m->slots ? m->slots : &m->one;
	ASSERT(s->at < m->count && slots[s->at] == s->slot);
	uint32_t last = slots[--m->count];
	if (last == s->slot) return;
	slots[s->at] = last;
	r->slots[last]->at = s->at;
}

static void slots_grow(struct router *r)
{
	uint32_t cap = r->slot_cap ? r->slot_cap * 2 : 16;
	r->slots = mem_realloc(r->slots, cap * sizeof(struct sub *));
	r->slots_free = mem_realloc(r->slots_free, cap * sizeof *r->slots_free);
	r->slot_cap = cap;
}

uint32_t slot_take(struct router *r, struct sub *s)
{
	uint32_t slot;
	if (r->slot_free_count > 0) {
		slot = r->slots_free[--r->slot_free_count];
		/* The held ones stand behind the free ones: the last of them closes the gap. */
		r->slots_free[r->slot_free_count] = r->slots_free[r->slot_free_count + r->slot_held_count];
	} else {
		if (r->slot_count == r->slot_cap) slots_grow(r);
		slot = r->slot_count++;
	}
	r->slots[slot] = s;
	return slot;
}

void slot_give(struct router *r, uint32_t slot)
{
	r->slots[slot] = NULL;
	r->slots_free[r->slot_free_count + r->slot_held_count] = slot;
	/* A publish that is under way may still come to this number and must find nobody. */
	if (r->depth > 0)
		r->slot_held_count++;
	else
		r->slot_free_count++;
}
