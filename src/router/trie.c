/* SPDX-License-Identifier: Apache-2.0 */
/* trie — the patterns with wildcards, token by token. The edges of all nodes live in one hash map under (number of the parent, token), so
 * that a node with a hundred thousand children (_INBOX) costs no more than others, and coming and going is a look-up a token. */
#include "inside.h"

struct router_trie_node {
	struct router_trie_node *parent; /* borrowed, NULL for the root */
	struct router_trie_node *star;   /* owned: child for '*' */
	struct topic *here;              /* borrowed: the pattern that ends here */
	struct topic *rest;              /* borrowed: the pattern that ends in '>' behind here */
	uint64_t number;
	uint32_t edge_count;
	bool is_star;
	size_t key_bytes;
	uint8_t key[]; /* number of the parent, token */
};
struct router_trie {
	struct map edges;              /* key -> struct router_trie_node (owned) */
	struct router_trie_node *root; /* owned */
	uint64_t number_last;
	struct buf key; /* scratch of one look-up */
};

static struct slice node_key(const void *item)
{
	const struct router_trie_node *n = item;
	return slice_of(n->key, n->key_bytes);
}

static struct slice edge_key(struct router_trie *t, const struct router_trie_node *parent, struct slice token)
{
	uint8_t *to = buf_reserve(&t->key, sizeof parent->number + token.n);
	memcpy(to, &parent->number, sizeof parent->number);
	memcpy(to + sizeof parent->number, token.p, token.n);
	return slice_of(to, sizeof parent->number + token.n);
}

static struct router_trie_node *node_new(struct router_trie *t, struct router_trie_node *parent, struct slice key)
{
	struct router_trie_node *n = mem_zalloc(sizeof *n + key.n);
	n->parent = parent;
	n->number = ++t->number_last;
	n->key_bytes = key.n;
	if (key.n) memcpy(n->key, key.p, key.n);
	return n;
}

static struct router_trie *trie_new(const struct router *r)
{
	struct router_trie *t = NEW(struct router_trie);
	map_init(&t->edges, r->seed, node_key);
	t->root = node_new(t, NULL, SLICE_NULL);
	return t;
}

void trie_free(struct router *r)
{
	struct router_trie *t = r->trie;
	if (!t) return;
	ASSERT(t->edges.count == 0 && !t->root->star);
	map_deinit(&t->edges);
	buf_deinit(&t->key);
	mem_free(t->root);
	mem_free(t);
	r->trie = NULL;
}

static bool token_is(struct slice token, uint8_t c) { return token.n == 1 && token.p[0] == c; }

static struct router_trie_node *child_get(struct router_trie *t, struct router_trie_node *n, struct slice token)
{
	struct router_trie_node *child;
	if (token_is(token, '*')) {
		if (n->star) return n->star;
		child = n->star = node_new(t, n, SLICE_NULL);
		child->is_star = true;
		return child;
	}
	struct slice key = edge_key(t, n, token);
	child = map_get(&t->edges, key);
	if (child) return child;
	child = node_new(t, n, key);
	map_put(&t->edges, child);
	n->edge_count++;
	return child;
}

void trie_insert(struct router *r, struct topic *topic)
{
	if (!r->trie) r->trie = trie_new(r);
	struct router_trie_node *n = r->trie->root;
	struct slice token;
	for (size_t at = 0; subject_next(topic->pattern, &at, &token);) {
		if (token_is(token, '>')) {
			ASSERT(!n->rest);
			n->rest = topic;
			topic->node = n;
			return;
		}
		n = child_get(r->trie, n, token);
	}
	ASSERT(!n->here);
	n->here = topic;
	topic->node = n;
}

static bool node_is_needed(const struct router_trie_node *n)
{
	return n->here || n->rest || n->star || n->edge_count || !n->parent;
}

void trie_remove(struct router *r, struct topic *topic)
{
	struct router_trie_node *n = topic->node;
	if (n->here == topic) n->here = NULL;
	if (n->rest == topic) n->rest = NULL;
	while (!node_is_needed(n)) {
		struct router_trie_node *parent = n->parent;
		if (n->is_star) {
			parent->star = NULL;
		} else {
			map_del(&r->trie->edges, node_key(n));
			parent->edge_count--;
		}
		mem_free(n);
		n = parent;
	}
}

static void node_find(struct router *r, const struct router_trie_node *n, struct slice subject, size_t at)
{
	struct slice token;
	if (!subject_next(subject, &at, &token)) {
		if (n->here) found_add(r, n->here);
		return;
	}
	if (n->rest) found_add(r, n->rest);
	if (n->star) node_find(r, n->star, subject, at);
	if (n->edge_count == 0) return;
	const struct router_trie_node *child = map_get(&r->trie->edges, edge_key(r->trie, n, token));
	if (child) node_find(r, child, subject, at);
}

void trie_find(struct router *r, struct slice subject)
{
	if (r->trie) node_find(r, r->trie->root, subject, 0);
}
