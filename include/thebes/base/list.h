/* SPDX-License-Identifier: Apache-2.0 */
/* list — intrusive, doubly linked, circular around a head. Links are nulled on removal; inserting a linked node asserts.
 * Name a link for the list it sits on: `link_by_deadline`. */
#ifndef THEBES_BASE_LIST_H
#define THEBES_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "thebes/base/assert.h"

struct list {
	struct list *next, *prev; /* borrowed; a head points to itself, an unlinked node has NULLs */
};

static inline void list_init(struct list *head) { head->next = head->prev = head; }
static inline bool list_is_empty(const struct list *head) { return head->next == head; }
static inline bool list_is_linked(const struct list *node) { return node->next != NULL; }
static inline void list_insert_before(struct list *at, struct list *node)
{
	ASSERT(node->next == NULL && node->prev == NULL);
	node->prev = at->prev;
	node->next = at;
	at->prev->next = node;
	at->prev = node;
}
static inline void list_push_back(struct list *head, struct list *node) { list_insert_before(head, node); }
static inline void list_push_front(struct list *head, struct list *node) { list_insert_before(head->next, node); }
static inline void list_remove(struct list *node)
{
	ASSERT(node->next != NULL);
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = NULL;
}
static inline void list_remove_if_linked(struct list *node)
{
	if (list_is_linked(node)) list_remove(node);
}
static inline struct list *list_first(const struct list *head) { return list_is_empty(head) ? NULL : head->next; }
static inline struct list *list_pop_front(struct list *head)
{
	struct list *node = list_first(head);
	if (node) list_remove(node);
	return node;
}
/* Moves all of `from` to the back of `to`. */
static inline void list_splice_back(struct list *to, struct list *from)
{
	if (list_is_empty(from)) return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}
#define LIST_EACH(node, head) for (struct list *node = (head)->next; node != (head); node = node->next)
#define LIST_EACH_SAFE(node, head)                                                                                     \
	for (struct list *node = (head)->next, *node##_next = node->next; node != (head);                              \
		node = node##_next, node##_next = node->next)

#endif
