/* SPDX-License-Identifier: Apache-2.0 */
/* refs — where the unsettled entries of a group lie: 24 bytes each, pushed at the back by appends, dropped from the front by settling and
 * from the back by truncation. An array with a moving head: it grows by an eighth so that memory stays near 24 bytes an entry,
 * and is moved down when the head has left an eighth of it behind. */
#include "log_internal.h"

enum { REFS_CAP_MIN = 8 };

static void refs_make_room(struct log_refs *r)
{
	if (r->head > r->count / 8) {
		memmove(r->p, r->p + r->head, r->count * sizeof *r->p);
		r->head = 0;
		return;
	}
	uint32_t cap = r->cap < 4 * REFS_CAP_MIN ? r->cap + REFS_CAP_MIN : r->cap + r->cap / 8;
	ASSERT(cap > r->cap);
	r->p = mem_realloc(r->p, cap * sizeof *r->p);
	r->cap = cap;
}

struct log_ref *refs_push(struct log_refs *r)
{
	if (r->head + r->count == r->cap) refs_make_room(r);
	ASSERT(r->head + r->count < r->cap);
	struct log_ref *ref = &r->p[r->head + r->count++];
	*ref = (struct log_ref) { 0 };
	return ref;
}

static void refs_give_back(struct log_refs *r)
{
	if (r->count) return;
	uint64_t first = r->first;
	refs_deinit(r);
	r->first = first;
}

void refs_drop_front(struct log_refs *r, uint64_t to)
{
	if (to < r->first) return;
	uint64_t n = u64_min(to - r->first + 1, r->count);
	r->head += (uint32_t)n;
	r->count -= (uint32_t)n;
	r->first = to + 1;
	refs_give_back(r);
}

void refs_truncate(struct log_refs *r, uint64_t from)
{
	ASSERT(from >= r->first);
	if (from - r->first >= r->count) return;
	r->count = (uint32_t)(from - r->first);
	refs_give_back(r);
}

void refs_deinit(struct log_refs *r)
{
	mem_free(r->p);
	*r = (struct log_refs) { 0 };
}
