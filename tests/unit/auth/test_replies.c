/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "inside.h"

static void counted(void **state)
{
	(void)state;
	static const struct {
		int64_t max;
		unsigned uses;
	} cases[] = { { 1, 1 }, { 3, 3 }, { -1, 100 } };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct auth_replies *r = replies_new(1, cases[i].max, 1000);
		assert_false(replies_use(r, SLICE("r.1"), 10));
		replies_note(r, SLICE("r.1"), 10);
		for (unsigned k = 0; k < cases[i].uses; k++) assert_true(replies_use(r, SLICE("r.1"), 20));
		assert_int_equal(replies_use(r, SLICE("r.1"), 20), cases[i].max < 0);
		/* Asked again, answered again. */
		replies_note(r, SLICE("r.1"), 30);
		replies_note(r, SLICE("r.1"), 30);
		assert_true(replies_use(r, SLICE("r.1"), 30));
		replies_free(r);
	}
}

static void expiring(void **state)
{
	(void)state;
	struct auth_replies *r = replies_new(1, -1, 1000);
	replies_note(r, SLICE("a"), 0);
	assert_true(replies_use(r, SLICE("a"), 1000));
	assert_false(replies_use(r, SLICE("a"), 1001));
	assert_false(replies_use(r, SLICE("a"), 0));
	replies_free(r);
	r = replies_new(1, -1, -1);
	replies_note(r, SLICE("a"), 0);
	assert_true(replies_use(r, SLICE("a"), UINT64_MAX));
	replies_free(r);
}

/* However many are noted, the newest 4096 count and no more. */
static void bounded(void **state)
{
	(void)state;
	struct auth_replies *r = replies_new(1, 1, -1);
	char subject[32];
	for (int i = 0; i < 10000; i++) {
		int n = snprintf(subject, sizeof subject, "r.%d", i);
		replies_note(r, slice_of(subject, (size_t)n), 0);
	}
	unsigned usable = 0;
	for (int i = 0; i < 10000; i++) {
		int n = snprintf(subject, sizeof subject, "r.%d", i);
		bool use = replies_use(r, slice_of(subject, (size_t)n), 0);
		assert_int_equal(use, i >= 10000 - 4096);
		usable += use;
	}
	assert_int_equal(usable, 4096);
	replies_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(counted), cmocka_unit_test(expiring),
		cmocka_unit_test(bounded) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
