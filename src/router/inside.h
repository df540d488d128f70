/* SPDX-License-Identifier: Apache-2.0 */
/* inside — what the files of the router share.
 *
 *   pattern ──map──> topic ─── plain members, queue groups of members (all as slots)
 *                      └── a topic with wildcards also hangs in the trie
 *   subject ──cache──> match: the slots of everybody who gets a copy, flat, made from the topics that cover the subject */
#ifndef THEBES_ROUTER_INSIDE_H
#define THEBES_ROUTER_INSIDE_H

#include "thebes/router.h"
#include "thebes/wire.h"

/* ---- topic.c: who subscribed to a pattern ---- */

/* Slots; most topics have one member, so that one lives inside. */
struct members {
	uint32_t *slots; /* owned, NULL while `one` is enough */
	uint32_t count, cap, one;
};
static inline const uint32_t *members_slots(const struct members *m) { return m->slots ? m->slots : &m->one; }

struct queue_group {
	struct members members;
	uint32_t local_count;
	struct slice name; /* into text */
	uint8_t text[];
};
struct topic {
	struct members plain;
	uint32_t plain_local_count;
	bool is_wildcard;
	struct map groups;             /* name -> struct queue_group (owned) */
	struct router_trie_node *node; /* borrowed: where it hangs, for wildcards */
	struct slice pattern;          /* into text */
	uint8_t text[];
};
struct slice topic_key(const void *item);
/* The topic of a valid pattern, made when it is new. */
struct topic *topic_get(struct router *r, struct slice pattern);
bool topic_is_empty(const struct topic *t);
void topic_free(struct router *r, struct topic *t);
/* The group of that name, made when it is new. */
struct queue_group *topic_group(struct topic *t, struct slice name);
/* Puts s into its members or takes it out; both keep s->at right for everybody. */
void members_add(struct members *m, struct sub *s);
void members_remove(struct router *r, struct members *m, struct sub *s);

uint32_t slot_take(struct router *r, struct sub *s);
void slot_give(struct router *r, uint32_t slot);

/* ---- trie.c: patterns with wildcards ---- */

void trie_insert(struct router *r, struct topic *t);
void trie_remove(struct router *r, struct topic *t);
/* Appends every topic that covers the subject (whose tokens are all non-empty) to r->found. */
void trie_find(struct router *r, struct slice subject);
void trie_free(struct router *r);
void found_add(struct router *r, struct topic *t);

/* ---- cache.c: who gets a copy ---- */

struct match_group {
	uint32_t from, local_count, count; /* of match.slots: local members first */
};
struct match {
	struct match *next_free;
	uint32_t pins;  /* publishes that are walking it */
	bool is_cached; /* an entry of the cache has it */
	uint32_t plain_count, slot_count, slot_cap, group_count, group_cap;
	uint32_t *slots;            /* owned: plain_count plain ones, then the groups' */
	struct match_group *groups; /* owned */
};
/* The match of a subject, pinned: give it back with match_unpin. */
struct match *match_pin(struct router *r, struct slice subject);
void match_unpin(struct router *r, struct match *m);
/* Members of this pattern changed: what was remembered about subjects that it covers is void. */
void cache_forget(struct router *r, struct slice pattern, bool is_wildcard);
void cache_free(struct router *r);

/* The beginning of a subject that tells it from most others: up to its second dot. */
struct slice subject_stem(struct slice s);
/* How many of its first two tokens are literal. */
unsigned pattern_literal_tokens(struct slice pattern);

/* ---- watch.c ---- */

/* Members of this pattern came for the first time or went for the last: looks whom that concerns. */
void watch_mark(struct router *r, struct slice pattern, bool is_wildcard);
/* Tells them. They may do anything, so this is the last thing that a function of the door does. */
void watch_tell(struct router *r);
/* Tells the links how many local members there are now. */
void interest_changed(struct router *r, const struct topic *t, const struct queue_group *g);

#endif
