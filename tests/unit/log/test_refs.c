/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "log_internal.h"

/* Against the plainest thing that could be right: a window [first, end) whose value at an index is the index. */
static void behaves_like_a_window(void **state)
{
	(void)state;
	struct log_refs r = { .first = 1 };
	struct prng chance;
	prng_init(&chance, 42);
	uint64_t first = 1, end = 1;
	for (unsigned op = 0; op < 20000; op++) {
		uint64_t n = prng_below(&chance, 40);
		switch (prng_below(&chance, 4)) {
		case 0:
		case 1:
			for (; n; n--, end++) refs_push(&r)->use = (uint32_t)end;
			break;
		case 2:
			if (n > end - first) n = end - first;
			refs_drop_front(&r, first + n - 1);
			first += n;
			break;
		case 3:
			if (n > end - first) n = end - first;
			refs_truncate(&r, end - n);
			end -= n;
			break;
		}
		assert_int_equal(r.first, first);
		assert_int_equal(r.count, end - first);
		for (uint64_t i = first; i < end; i += 1 + (end - first) / 7) assert_int_equal(refs_at(&r, i)->use, i);
	}
	refs_deinit(&r);
}

static void memory_stays_near_24_bytes(void **state)
{
	(void)state;
	struct log_refs r = { .first = 1 };
	for (unsigned i = 0; i < 100000; i++) (void)refs_push(&r);
	assert_true(r.cap * sizeof(struct log_ref) <= 32 * 100000);
	/* A log in a steady state: what goes in front makes room behind. */
	for (unsigned i = 0; i < 1000000; i++) {
		(void)refs_push(&r);
		refs_drop_front(&r, r.first);
	}
	assert_int_equal(r.count, 100000);
	assert_true(r.cap * sizeof(struct log_ref) <= 32 * 100000);
	refs_drop_front(&r, r.first + r.count - 1);
	assert_null(r.p); /* an idle group holds nothing */
	refs_deinit(&r);
}

static void dropping_beyond_the_end_moves_the_window(void **state)
{
	(void)state;
	struct log_refs r = { .first = 1 };
	(void)refs_push(&r);
	refs_drop_front(&r, 10);
	assert_int_equal(r.first, 11);
	assert_int_equal(r.count, 0);
	refs_drop_front(&r, 5);
	assert_int_equal(r.first, 11);
	refs_deinit(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(behaves_like_a_window),
		cmocka_unit_test(memory_stays_near_24_bytes),
		cmocka_unit_test(dropping_beyond_the_end_moves_the_window),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
