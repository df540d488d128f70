/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "thebes/base.h"

static void smoke(void **state)
{
	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c_table(0, "123456789", 9), 0xe3069283);
	struct buf b = { 0 };
	duration_print(&b, 90 * 1000000000LL);
	assert_string_equal(buf_str(&b), "1m30s");
	buf_clear(&b);
	time_print(&b, -1);
	assert_string_equal(buf_str(&b), "1969-12-31T23:59:59.999999999Z");
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(smoke) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
