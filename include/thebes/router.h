/* SPDX-License-Identifier: Apache-2.0 */
/* router — subject -> sinks. The only place that matches wildcards when a message is published; one router per account, so that
 * accounts cannot see each other. It never learns what a client, station, link or API endpoint is, and it keeps no message.
 *
 *   publisher ── router_publish(msg) ──> [ literal cache ──miss──> topics + trie of wildcards ] ──> sink.ops->deliver, once per copy
 *
 * Loop thread only. Everything is synchronous: when router_publish returns, every receiver had its say. Nothing is allocated per
 * message once the cache is warm.
 *
 * Inside `deliver` everything is allowed: publish, subscribe, unsubscribe any sub (also the one being served, also freeing it) and so
 * closing the sink. A sub that is removed gets nothing any more, not even the message that is being delivered; a sub that is added
 * gets the next one. */
#ifndef THEBES_ROUTER_H
#define THEBES_ROUTER_H

#include "thebes/base.h"

struct account;
struct sink;
struct sub;
struct topic;
struct queue_group;
struct match;

enum msg_flags {
	MSG_FROM_PEER = 1, /* came over a link: goes to local subs only, and to the queue groups in `queues` only */
};

/* A message on its way. All of it is borrowed: until router_publish returns for the publisher, during deliver for the sink. */
struct msg {
	struct slice subject; /* what receivers are shown */
	struct slice
		to; /* what subs are matched against; empty: the same as subject (differs for JetStream deliveries) */
	struct slice reply, header, payload;
	struct slice
		tail; /* wire_op.tail of header and payload when they came that way, or empty; routers do not look at it */
	struct sink *from;          /* who published, for echo; NULL: the server itself */
	struct account *account;    /* whose router it runs through; opaque here */
	const struct slice *queues; /* MSG_FROM_PEER: one member of each of these groups */
	size_t queue_count;
	uint32_t flags; /* enum msg_flags */
};

struct sink_ops {
	/* One copy of m for s (s->sink is the sink). True: taken. False: not taken (no echo, closed, denied); a queue group then
	 * asks its next member. */
	bool (*deliver)(struct sink *k, struct sub *s, const struct msg *m);
	/* A receiver can not keep up with what this sink publishes (msg.from): it rests for some milliseconds. NULL: it has no way to. */
	void (*slow)(struct sink *k);
};
/* Embedded in whatever receives: client, link, consumer, API endpoint. */
struct sink {
	const struct sink_ops *ops;
};

/* One subscription, owned by the subscriber, zeroed before first use. Set sink (and weight, is_remote for interest that a link
 * announced), the rest is the router's. */
struct sub {
	struct sink *sink;
	uint32_t weight; /* members that stand behind a remote queue sub; 0 counts as 1 */
	bool is_remote;  /* local members of a queue group go first; never announced to links */
	/* set by router_subscribe, valid until router_unsubscribe */
	struct router *router;
	struct slice subject, queue; /* the router's own copies */
	/* private */
	struct topic *topic;
	struct queue_group *group; /* NULL for a plain sub */
	uint32_t slot, at;
};
static inline bool sub_is_active(const struct sub *s) { return s->router != NULL; }

struct router_stats {
	uint64_t in_msgs, in_bytes;   /* router_publish; bytes of header and payload */
	uint64_t out_msgs, out_bytes; /* deliver returned true */
	uint64_t cache_hits, cache_misses, cache_evictions;
	uint64_t loops_cut; /* publishes nested deeper than ROUTER_DEPTH_MAX */
};

enum {
	ROUTER_DEPTH_MAX = 16, /* publishes from inside deliver; deeper ones reach nobody */
	ROUTER_CACHE_SETS_MAX =
		1024, /* sets of ROUTER_CACHE_WAYS remembered subjects; the cache starts small and grows with use */
	ROUTER_CACHE_WAYS = 4,
};

struct router_cache_entry;
struct router_trie;
struct router {
	struct router_stats stats;
	size_t sub_count;
	/* private from here on */
	uint64_t seed;
	struct prng prng;
	struct map topics;        /* pattern -> struct topic (owned) */
	struct router_trie *trie; /* owned: topics with wildcards; NULL while there is none */
	struct topic **found;     /* owned: scratch of one look-up */
	size_t found_count, found_cap;
	struct sub **slots;   /* owned: slot -> sub, NULL when empty. A match holds slots, never subs */
	uint32_t *slots_free; /* owned: first the slots that may be given out, then those held */
	uint32_t slot_count, slot_cap, slot_free_count;
	uint32_t slot_held_count;              /* emptied while a publish runs; free when the outermost returns */
	struct router_cache_entry *cache;      /* owned: cache_sets * ROUTER_CACHE_WAYS */
	struct router_cache_entry *cache_last; /* borrowed of cache: found last; NULL after a resize */
	size_t cache_sets;
	size_t cache_evicted;       /* since the cache grew */
	size_t cache_slots;         /* held by all matches of the cache */
	uint64_t gen_all, *gens;    /* gens owned: changes to wildcard patterns, by their literal beginning (cache.c) */
	struct match *matches_free; /* owned */
	size_t matches_free_count;
	uint32_t depth;
	struct list interest_watches;
	struct list *watch_buckets; /* owned, NULL until the first watch */
	size_t watch_count;
	struct list watches_due;
	bool watches_running;
};

void router_init(struct router *r, uint64_t seed);
void router_deinit(struct router *r); /* asserts that no sub is left and no publish runs */

/* Adds s under a valid subject, which may have wildcards, and a queue (empty: plain). Both are copied. ERR_INVALID: bad subject. */
must_check enum err router_subscribe(struct router *r, struct sub *s, struct slice subject, struct slice queue);
/* Removes s; its memory is the owner's again at once. Harmless when it is not subscribed. */
void router_unsubscribe(struct sub *s);
/* Changes the weight of a remote queue sub. */
void router_weight_set(struct sub *s, uint32_t weight);

/* Hands m to every plain sub that matches and to one member of each queue group (grouped by name over all patterns that match): local
 * members from a random start, then remote ones by weight, until one takes it (spec §1.6). Returns how many took it: 0 with a
 * reply is the case for "no responders". A subject with an empty token matches nothing. */
size_t router_publish(struct router *r, const struct msg *m);

/* True when a message to `subject` would find a sub. queue given: only members of that group count. */
bool router_has_interest(struct router *r, struct slice subject, struct slice queue);
/* A plain sub of this sink that matches; NULL when it has none. For the 503 of no responders (spec §1.6). */
struct sub *router_find(struct router *r, const struct sink *k, struct slice subject);

/* ---- interest: who wants to know ---- */

/* Tells when a literal subject gains its first or loses its last listener, wildcards counted (push consumers, spec §9.4). */
struct router_watch {
	/* Runs from inside router_subscribe or router_unsubscribe when their change is complete; may do anything a deliver may, and
	 * add or remove watches. Changes that cancel out before it runs are not told. */
	void (*on_change)(struct router_watch *w, bool interested);
	/* private */
	struct list link_by_bucket, link_by_due;
	struct router *router;
	struct slice subject, queue; /* into text */
	uint8_t *text;               /* owned */
	bool interested;
};
/* w is the caller's memory, zeroed, with on_change set. queue empty: subs of any kind count; else members of that group only. Returns
 * whether there is interest now. */
bool router_watch_add(struct router *r, struct router_watch *w, struct slice literal, struct slice queue);
void router_watch_remove(struct router_watch *w); /* harmless when not added */

/* Hears of all local interest of the account: links announce it to their peers. */
struct interest_watch {
	struct list link;
	/* queue empty: count is 1 for the first plain local sub of a pattern and 0 after the last. Queue: the number of local members,
	 * on every change. The slices are borrowed for the call. May not touch the router. */
	void (*on_interest)(struct interest_watch *w, struct slice subject, struct slice queue, uint32_t count);
};
void router_interest_watch_add(struct router *r, struct interest_watch *w);
void router_interest_watch_remove(struct interest_watch *w);
/* Tells w all that is there now, as if it were new. */
void router_interest_tell(struct router *r, struct interest_watch *w);

#endif
