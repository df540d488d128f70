/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "check.h"
#include "thebes/diag.h"

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

static void an_empty_one_answers_zero(void **state)
{
	(void)state;
	struct histogram h = { 0 };
	assert_true(histogram_quantile(&h, 0.5) == 0);
}

static void one_value_is_every_quantile(void **state)
{
	(void)state;
	static const uint64_t values[] = { 0, 1, 7, 8, 9, 15, 16, 17, 1000, (uint64_t)1 << 42, (uint64_t)1 << 43,
		UINT64_MAX };
	static const double quantiles[] = { -1, 0, 0.5, 0.999, 1, 2 };
	for (size_t i = 0; i < COUNT_OF(values); i++) {
		struct histogram h = { 0 };
		histogram_add(&h, values[i]);
		for (size_t q = 0; q < COUNT_OF(quantiles); q++)
			assert_true(histogram_quantile(&h, quantiles[q]) == values[i]);
	}
}

static void quantiles_are_bounds_within_an_eighth(void **state)
{
	(void)state;
	enum { COUNT = 20000 };
	uint64_t *values = mem_zalloc(COUNT * sizeof *values);
	struct histogram h = { 0 };
	struct prng r;
	prng_init(&r, 4);
	for (size_t i = 0; i < COUNT; i++) {
		values[i] = prng_next(&r) >> (22 + prng_below(&r, 42)); /* all orders of magnitude below 2^42 */
		histogram_add(&h, values[i]);
	}
	qsort(values, COUNT, sizeof *values, compare);
	static const double quantiles[] = { 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1 };
	for (size_t q = 0; q < COUNT_OF(quantiles); q++) {
		size_t rank = (size_t)(quantiles[q] * COUNT + 0.999999);
		uint64_t exact = values[rank - 1], said = histogram_quantile(&h, quantiles[q]);
		assert_true(said >= exact);
		assert_true(said <= exact + exact / 8 + 1);
	}
	assert_true(h.count == COUNT && h.max == values[COUNT - 1]);
	mem_free(values);
}

static void a_full_bucket_does_not_wrap(void **state)
{
	(void)state;
	struct histogram h = { .count = UINT32_MAX };
	h.bucket[5] = UINT32_MAX;
	h.max = 5;
	histogram_add(&h, 5);
	histogram_add(&h, 6);
	assert_true(h.bucket[5] == UINT32_MAX);
	assert_true(histogram_quantile(&h, 0.5) == 5);
	assert_true(histogram_quantile(&h, 1) == 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_one_answers_zero),
		cmocka_unit_test(one_value_is_every_quantile),
		cmocka_unit_test(quantiles_are_bounds_within_an_eighth),
		cmocka_unit_test(a_full_bucket_does_not_wrap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
