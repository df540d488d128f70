/* SPDX-License-Identifier: Apache-2.0 */
/* erasures — the sequences whose bytes are to leave this replica's disk (S15): few as a rule, so an array of ranges. Deleting puts them in, the
 * log takes them out when it has erased them (src/log/erase.c). */
#include "machine.h"

void erasures_deinit(struct erasures *e)
{
	mem_free(e->p);
	*e = (struct erasures) { 0 };
}

/* Position of the first range that ends at seq or behind it. */
static uint32_t position(const struct erasures *e, uint64_t seq)
{
	uint32_t low = 0, high = e->count;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (e->p[mid].last < seq)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void insert(struct erasures *e, uint32_t at, struct erasure r)
{
	if (e->count == e->cap) {
		e->cap = e->cap ? e->cap * 2 : 4;
		e->p = mem_realloc(e->p, e->cap * sizeof *e->p);
	}
	memmove(e->p + at + 1, e->p + at, (e->count - at) * sizeof *e->p);
	e->p[at] = r;
	e->count++;
}

static void take_out(struct erasures *e, uint32_t at, uint32_t n)
{
	memmove(e->p + at, e->p + at + n, (e->count - at - n) * sizeof *e->p);
	e->count -= n;
}

/* Puts the two neighbours together that have the least between them. */
static void join_closest(struct erasures *e)
{
	uint32_t best = 0;
	for (uint32_t i = 1; i + 1 < e->count; i++)
		if (e->p[i + 1].first - e->p[i].last < e->p[best + 1].first - e->p[best].last) best = i;
	e->p[best].last = e->p[best + 1].last;
	take_out(e, best + 1, 1);
}

void erasures_add(struct erasures *e, uint64_t first, uint64_t last)
{
	ASSERT(first > 0 && first <= last);
	uint32_t at = position(e, first > 1 ? first - 1 : first), n = 0;
	struct erasure r = { first, last };
	while (at + n < e->count && (last == UINT64_MAX || e->p[at + n].first <= last + 1)) {
		r.first = u64_min(r.first, e->p[at + n].first);
		r.last = u64_max(r.last, e->p[at + n].last);
		n++;
	}
	if (n) take_out(e, at, n);
	insert(e, at, r);
	if (e->count > (e->max ? e->max : ERASURES_MAX)) join_closest(e);
}

void erasures_subtract(struct erasures *e, const struct erasures *gone)
{
	for (uint32_t i = 0; i < gone->count; i++) {
		const struct erasure *g = &gone->p[i];
		for (uint32_t at; (at = position(e, g->first)) < e->count && e->p[at].first <= g->last;) {
			struct erasure r = e->p[at];
			take_out(e, at, 1);
			if (r.last > g->last) insert(e, at, (struct erasure) { g->last + 1, r.last });
			if (r.first < g->first) insert(e, at, (struct erasure) { r.first, g->first - 1 });
		}
	}
}

void erasures_copy(struct erasures *to, const struct erasures *from)
{
	mem_free(to->p);
	*to = (struct erasures) { .count = from->count, .cap = from->count, .max = from->max };
	if (from->count) to->p = mem_dup(from->p, from->count * sizeof *from->p);
}

uint64_t erasures_total(const struct erasures *e)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < e->count; i++) n += e->p[i].last - e->p[i].first + 1;
	return n;
}

uint64_t erasures_next(const struct erasures *e, uint64_t seq)
{
	uint32_t at = position(e, seq);
	return at < e->count ? u64_max(seq, e->p[at].first) : 0;
}
