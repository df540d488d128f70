/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

static void every_code_has_a_name_and_a_text(void **state)
{
	(void)state;
	for (int e = OK; e < ERR_COUNT; e++) {
		assert_true(strlen(err_text((enum err)e)) > 0);
		assert_true(e == OK || strncmp(err_name((enum err)e), "ERR_", 4) == 0);
		for (int other = OK; other < e; other++)
			assert_string_not_equal(err_text((enum err)e), err_text((enum err)other));
	}
	assert_string_equal(err_name(OK), "OK");
	assert_string_equal(err_name(ERR_NO_SPACE), "ERR_NO_SPACE");
	assert_string_equal(err_text(ERR_NO_SPACE), "no space left on device");
}

static void ask_beyond(void *arg)
{
	(void)arg;
	(void)err_text(ERR_COUNT);
}

static void a_code_outside_the_list_is_our_bug(void **state)
{
	(void)state;
	char said[4096];
	assert_true(check_aborts(ask_beyond, NULL, said, sizeof said));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_has_a_name_and_a_text),
		cmocka_unit_test(a_code_outside_the_list_is_our_bug),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
