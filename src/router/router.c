/* SPDX-License-Identifier: Apache-2.0 */
/* router — coming, going, and handing out. The happy path of a message: the match of its subject is found and pinned, each plain member
 * gets a copy, of each group one member does. What a receiver does meanwhile to the subscriptions shows in the slots at once and in
 * matches later: a slot that was emptied is skipped and not given to anybody else before the outermost publish has returned. */
#include "inside.h"

void router_init(struct router *r, uint64_t seed)
{
	*r = (struct router) { .seed = seed };
	prng_init(&r->prng, seed);
	map_init(&r->topics, seed, topic_key);
	list_init(&r->interest_watches);
	list_init(&r->watches_due);
}

void router_deinit(struct router *r)
{
	ASSERT(r->sub_count == 0 && r->depth == 0);
	ASSERT(r->watch_count == 0 && list_is_empty(&r->interest_watches));
	cache_free(r);
	trie_free(r);
	map_deinit(&r->topics);
	mem_free(r->found);
	mem_free(r->slots);
	mem_free(r->slots_free);
	mem_free(r->watch_buckets);
	*r = (struct router) { 0 };
}

/* ---- coming and going ---- */

static struct members *sub_members(struct sub *s) { return s->group ? &s->group->members : &s->topic->plain; }

/* Local members are what links announce: of plain subs whether there is one, of groups how many. */
static void local_changed(struct router *r, struct sub *s, bool came)
{
	uint32_t *count = s->group ? &s->group->local_count : &s->topic->plain_local_count;
	if (s->is_remote) return;
	*count = came ? *count + 1 : *count - 1;
	if (s->group || *count == (came ? 1 : 0)) interest_changed(r, s->topic, s->group);
}

enum err router_subscribe(struct router *r, struct sub *s, struct slice subject, struct slice queue)
{
	ASSERT(!s->router && s->sink);
	if (!subject_is_valid(subject)) return ERR_INVALID;
	s->router = r;
	s->topic = topic_get(r, subject);
	s->group = queue.n ? topic_group(s->topic, queue) : NULL;
	s->subject = s->topic->pattern;
	s->queue = s->group ? s->group->name : SLICE_NULL;
	s->slot = slot_take(r, s);
	members_add(sub_members(s), s);
	r->sub_count++;
	cache_forget(r, s->subject, s->topic->is_wildcard);
	local_changed(r, s, true);
	if (sub_members(s)->count == 1) watch_mark(r, s->subject, s->topic->is_wildcard);
	watch_tell(r);
	return OK;
}

static void group_free(struct topic *t, struct queue_group *g)
{
	map_del(&t->groups, g->name);
	mem_free(g->members.slots);
	mem_free(g);
}

void router_unsubscribe(struct sub *s)
{
	struct router *r = s->router;
	if (!r) return;
	struct topic *t = s->topic;
	members_remove(r, sub_members(s), s);
	slot_give(r, s->slot);
	r->sub_count--;
	cache_forget(r, s->subject, t->is_wildcard);
	local_changed(r, s, false);
	if (sub_members(s)->count == 0) watch_mark(r, t->pattern, t->is_wildcard);
	if (s->group && s->group->members.count == 0) group_free(t, s->group);
	if (topic_is_empty(t)) topic_free(r, t);
	s->router = NULL;
	s->topic = NULL;
	s->group = NULL;
	s->subject = s->queue = SLICE_NULL;
	watch_tell(r);
}

void router_weight_set(struct sub *s, uint32_t weight)
{
	ASSERT(s->is_remote);
	s->weight = weight;
}

/* ---- handing out ---- */

static bool sub_deliver(struct router *r, struct sub *s, const struct msg *m)
{
	if (!s || !s->sink->ops->deliver(s->sink, s, m)) return false;
	r->stats.out_msgs++;
	r->stats.out_bytes += m->header.n + m->payload.n;
	return true;
}

/* From a random member on until one takes it. */
static bool local_deliver(struct router *r, const uint32_t *slots, uint32_t count, const struct msg *m)
{
	if (count == 0) return false;
	uint32_t at = count == 1 ? 0 : (uint32_t)prng_below(&r->prng, count);
	for (uint32_t i = 0; i < count; i++, at = at + 1 == count ? 0 : at + 1)
		if (sub_deliver(r, r->slots[slots[at]], m)) return true;
	return false;
}

static uint32_t slot_weight(const struct router *r, uint32_t slot)
{
	const struct sub *s = r->slots[slot];
	if (!s) return 0;
	return s->weight ? s->weight : 1;
}

/* Remote members stand for as many as their weight says: the chance to be first is in proportion. */
static bool remote_deliver(struct router *r, const uint32_t *slots, uint32_t count, const struct msg *m)
{
	uint64_t total = 0;
	for (uint32_t i = 0; i < count; i++) total += slot_weight(r, slots[i]);
	if (total == 0) return false;
	uint64_t ticket = prng_below(&r->prng, total);
	uint32_t at = 0;
	for (; ticket >= slot_weight(r, slots[at]); at++) ticket -= slot_weight(r, slots[at]);
	for (uint32_t i = 0; i < count; i++, at = at + 1 == count ? 0 : at + 1)
		if (sub_deliver(r, r->slots[slots[at]], m)) return true;
	return false;
}

/* The name is asked of a member that is still there; without one nobody could take the message anyway. */
static bool group_is_wanted(const struct router *r, const uint32_t *slots, uint32_t count, const struct msg *m)
{
	const struct sub *s = NULL;
	for (uint32_t i = 0; i < count && !s; i++) s = r->slots[slots[i]];
	for (size_t i = 0; s && i < m->queue_count; i++)
		if (slice_eq(s->queue, m->queues[i])) return true;
	return false;
}

static bool group_deliver(struct router *r, const struct match *match, const struct match_group *g, const struct msg *m)
{
	const uint32_t *slots = match->slots + g->from;
	if (m->flags & MSG_FROM_PEER)
		return group_is_wanted(r, slots, g->local_count, m) && local_deliver(r, slots, g->local_count, m);
	return local_deliver(r, slots, g->local_count, m) ||
	       remote_deliver(r, slots + g->local_count, g->count - g->local_count, m);
}

static size_t match_deliver(struct router *r, const struct match *match, const struct msg *m)
{
	size_t taken = 0;
	for (uint32_t i = 0; i < match->plain_count; i++) {
		struct sub *s = r->slots[match->slots[i]];
		if (s && s->is_remote && (m->flags & MSG_FROM_PEER)) continue;
		taken += sub_deliver(r, s, m);
	}
	for (uint32_t i = 0; i < match->group_count; i++) taken += group_deliver(r, match, &match->groups[i], m);
	return taken;
}

size_t router_publish(struct router *r, const struct msg *m)
{
	if (r->depth >= ROUTER_DEPTH_MAX) {
		r->stats.loops_cut++;
		return 0;
	}
	r->stats.in_msgs++;
	r->stats.in_bytes += m->header.n + m->payload.n;
	struct match *match = match_pin(r, m->to.n ? m->to : m->subject);
	r->depth++;
	size_t taken = match_deliver(r, match, m);
	if (--r->depth == 0) {
		r->slot_free_count += r->slot_held_count;
		r->slot_held_count = 0;
	}
	match_unpin(r, match);
	return taken;
}

/* ---- questions ---- */

bool router_has_interest(struct router *r, struct slice subject, struct slice queue)
{
	struct match *match = match_pin(r, subject);
	bool found = queue.n == 0 && match->slot_count > 0;
	for (uint32_t i = 0; i < match->group_count && !found; i++)
		found = slice_eq(r->slots[match->slots[match->groups[i].from]]->queue, queue);
	match_unpin(r, match);
	return found;
}

struct sub *router_find(struct router *r, const struct sink *k, struct slice subject)
{
	struct match *match = match_pin(r, subject);
	struct sub *found = NULL;
	for (uint32_t i = 0; i < match->plain_count && !found; i++)
		if (r->slots[match->slots[i]]->sink == k) found = r->slots[match->slots[i]];
	match_unpin(r, match);
	return found;
}
