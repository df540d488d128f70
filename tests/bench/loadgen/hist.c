/* SPDX-License-Identifier: Apache-2.0 */
/* Latencies in buckets. The first HIST_SUB hold one nanosecond each; then every power of two has HIST_SUB of equal width. */
#include "load.h"

enum { SUB_BITS = 6 };
_Static_assert(HIST_SUB == 1 << SUB_BITS, "the columns of a row are the low bits");

static unsigned bucket_of(uint64_t ns)
{
	if (ns < HIST_SUB) return (unsigned)ns;
	unsigned row = 63 - (unsigned)__builtin_clzll(ns) - SUB_BITS;
	unsigned index = HIST_SUB + row * HIST_SUB + (unsigned)((ns >> row) - HIST_SUB);
	return index < 40 * HIST_SUB ? index : 40 * HIST_SUB - 1;
}

/* The middle of a bucket. */
static double value_of(unsigned index)
{
	if (index < HIST_SUB) return index;
	unsigned row = (index - HIST_SUB) / HIST_SUB, column = index % HIST_SUB;
	return ((double)(HIST_SUB + column) + 0.5) * (double)(1ull << row);
}

void hist_add(struct hist *h, uint64_t ns)
{
	h->bucket[bucket_of(ns)]++;
	h->count++;
	if (ns > h->max) h->max = ns;
}

double hist_us(const struct hist *h, double share)
{
	uint64_t rank = (uint64_t)((double)h->count * share), seen = 0;
	for (unsigned i = 0; i < 40 * HIST_SUB; i++) {
		seen += h->bucket[i];
		if (seen > rank) return value_of(i) / 1000;
	}
	return (double)h->max / 1000;
}
