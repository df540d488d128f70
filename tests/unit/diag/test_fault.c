/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "thebes/diag.h"

/* Eight askings, written as '1' for fired. */
static void a_failpoint_fires_as_ordered(void **state)
{
	(void)state;
	static const struct {
		const char *how;
		enum err e;
		const char *fires;
	} cases[] = {
		{ "off", OK, "00000000" },
		{ "once", OK, "10000000" },
		{ "always", OK, "11111111" },
		{ "every:1", OK, "11111111" },
		{ "every:3", OK, "00100100" },
		{ "every:4294967295", OK, "00000000" },
		{ "every:0", ERR_PARSE, "00000000" },
		{ "every:4294967296", ERR_PARSE, "00000000" },
		{ "every:-1", ERR_PARSE, "00000000" },
		{ "every:", ERR_PARSE, "00000000" },
		{ "sometimes", ERR_PARSE, "00000000" },
		{ "", ERR_PARSE, "00000000" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct diag d;
		diag_init(&d, DIAG_INFO, NULL, NULL);
		assert_int_equal(diag_fault_set(&d, SLICE("diag_selftest"), slice_of_str(cases[i].how)), cases[i].e);
		for (size_t at = 0; cases[i].fires[at]; at++)
			assert_int_equal(diag_fault(&d, FAULT_diag_selftest), cases[i].fires[at] == '1');
		diag_deinit(&d);
	}
}

static void a_bad_order_leaves_the_old_one(void **state)
{
	(void)state;
	struct diag d;
	diag_init(&d, DIAG_INFO, NULL, NULL);
	assert_int_equal(diag_fault_set(&d, SLICE("diag_selftest"), SLICE("always")), OK);
	assert_int_equal(diag_fault_set(&d, SLICE("diag_selftest"), SLICE("nonsense")), ERR_PARSE);
	assert_true(diag_fault(&d, FAULT_diag_selftest));
	assert_int_equal(diag_fault_set(&d, SLICE("no_such_fault"), SLICE("always")), ERR_NOT_FOUND);
	assert_int_equal(diag_fault_set(&d, SLICE("diag_selftest"), SLICE("off")), OK);
	assert_false(diag_fault(&d, FAULT_diag_selftest));
	assert_string_equal(diag_fault_name(FAULT_diag_selftest), "diag_selftest");
	diag_deinit(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failpoint_fires_as_ordered),
		cmocka_unit_test(a_bad_order_leaves_the_old_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
