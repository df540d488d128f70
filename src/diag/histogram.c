/* SPDX-License-Identifier: Apache-2.0 */
/* histogram — log-linear buckets: eight for each power of two, found with one count of leading zeros.
 *
 *   value      0 .. 7    8 .. 15   16 .. 31   32 .. 63   …   2^42 .. 2^43 - 1 (and everything above)
 *   buckets    0 .. 7    8 .. 15   16 .. 23   24 .. 31   …   320 .. 327
 *   width      1         1         2          4          …   2^39 */
#include "thebes/diag.h"

enum { SUB_BITS = 3, SUB_COUNT = 1 << SUB_BITS };

static size_t bucket_of(uint64_t value)
{
	if (value < SUB_COUNT) return (size_t)value;
	size_t exponent = 63 - (size_t)__builtin_clzll(value);
	size_t sub = (size_t)(value >> (exponent - SUB_BITS)) & (SUB_COUNT - 1);
	return size_min((exponent - SUB_BITS + 1) * SUB_COUNT + sub, HISTOGRAM_BUCKETS - 1);
}

/* The largest value of a bucket. */
static uint64_t bucket_bound(size_t bucket)
{
	if (bucket < SUB_COUNT) return bucket;
	if (bucket == HISTOGRAM_BUCKETS - 1) return UINT64_MAX;
	size_t shift = bucket / SUB_COUNT - 1, sub = bucket % SUB_COUNT;
	return ((SUB_COUNT + sub + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
	uint32_t *bucket = &h->bucket[bucket_of(value)];
	if (*bucket < UINT32_MAX) (*bucket)++;
	h->count++;
	h->sum += value;
	h->max = u64_max(h->max, value);
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
	if (h->count == 0) return 0;
	if (q < 0) q = 0;
	/* The rank of the searched value, from 1. */
	uint64_t rank = q >= 1 ? h->count : u64_max(1, u64_min(h->count, (uint64_t)(q * (double)h->count + 0.999999)));
	uint64_t seen = 0;
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= rank) return u64_min(bucket_bound(i), h->max);
	}
	return h->max; /* a bucket is saturated */
}
