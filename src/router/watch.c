/* SPDX-License-Identifier: Apache-2.0 */
/* watch — who wants to know about interest. Watches of one subject lie in buckets by the subject's first two tokens, where a change of a
 * pattern that begins with two literal tokens finds them; other patterns are compared with all. Whoever is concerned is put on a list first
 * and told from it one by one, so that he may do what he likes, also end watches that wait on the list. */
#include "inside.h"

enum { BUCKETS = 256 };

static struct list *bucket_of(const struct router *r, struct slice subject)
{
	struct slice stem = subject_stem(subject);
	return &r->watch_buckets[hash_bytes(stem.p, stem.n, r->seed) % BUCKETS];
}

bool router_watch_add(struct router *r, struct router_watch *w, struct slice literal, struct slice queue)
{
	ASSERT(!w->router && w->on_change);
	if (!r->watch_buckets) {
		r->watch_buckets = mem_alloc(BUCKETS * sizeof *r->watch_buckets);
		for (size_t i = 0; i < BUCKETS; i++) list_init(&r->watch_buckets[i]);
	}
	uint8_t *text = mem_alloc(literal.n + queue.n + 1);
	memcpy(text, literal.p, literal.n);
	if (queue.n) memcpy(text + literal.n, queue.p, queue.n);
	w->text = text;
	w->subject = slice_of(text, literal.n);
	w->queue = slice_of(text + literal.n, queue.n);
	w->router = r;
	w->interested = router_has_interest(r, w->subject, w->queue);
	list_push_back(bucket_of(r, w->subject), &w->link_by_bucket);
	r->watch_count++;
	return w->interested;
}

void router_watch_remove(struct router_watch *w)
{
	if (!w->router) return;
	list_remove(&w->link_by_bucket);
	list_remove_if_linked(&w->link_by_due);
	w->router->watch_count--;
	w->router = NULL;
	mem_free(w->text);
	w->text = NULL;
}

static void bucket_changed(struct router *r, struct list *bucket, struct slice pattern)
{
	LIST_EACH (node, bucket) {
		struct router_watch *w = CONTAINER_OF(node, struct router_watch, link_by_bucket);
		if (!list_is_linked(&w->link_by_due) && subject_match(pattern, w->subject))
			list_push_back(&r->watches_due, &w->link_by_due);
	}
}

void watch_tell(struct router *r)
{
	if (r->watches_running) return;
	r->watches_running = true;
	for (struct list *node; (node = list_pop_front(&r->watches_due)) != NULL;) {
		struct router_watch *w = CONTAINER_OF(node, struct router_watch, link_by_due);
		bool interested = router_has_interest(r, w->subject, w->queue);
		if (interested == w->interested) continue;
		w->interested = interested;
		w->on_change(w, interested);
	}
	r->watches_running = false;
}

void watch_mark(struct router *r, struct slice pattern, bool is_wildcard)
{
	if (r->watch_count == 0) return;
	if (!is_wildcard || pattern_literal_tokens(pattern) >= 2)
		bucket_changed(r, bucket_of(r, pattern), pattern);
	else
		for (size_t i = 0; i < BUCKETS; i++) bucket_changed(r, &r->watch_buckets[i], pattern);
}

/* ---- all interest ---- */

void router_interest_watch_add(struct router *r, struct interest_watch *w)
{
	list_push_back(&r->interest_watches, &w->link);
}

void router_interest_watch_remove(struct interest_watch *w) { list_remove_if_linked(&w->link); }

static uint32_t local_interest(const struct topic *t, const struct queue_group *g)
{
	return g ? g->local_count : t->plain_local_count > 0;
}

void interest_changed(struct router *r, const struct topic *t, const struct queue_group *g)
{
	LIST_EACH (node, &r->interest_watches) {
		struct interest_watch *w = CONTAINER_OF(node, struct interest_watch, link);
		w->on_interest(w, t->pattern, g ? g->name : SLICE_NULL, local_interest(t, g));
	}
}

void router_interest_tell(struct router *r, struct interest_watch *w)
{
	const struct topic *t;
	const struct queue_group *g;
	for (size_t i = 0; (t = map_next(&r->topics, &i)) != NULL;) {
		if (t->plain_local_count > 0) w->on_interest(w, t->pattern, SLICE_NULL, 1);
		for (size_t k = 0; (g = map_next(&t->groups, &k)) != NULL;)
			if (g->local_count > 0) w->on_interest(w, t->pattern, g->name, g->local_count);
	}
}
