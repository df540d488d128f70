/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "thebes/diag.h"

/* 2026-11-22T06:05:30.431902Z */
#define WHEN INT64_C(1795327530431902000)

/* As captured from nats-server 2.9.10 on a pipe and on a terminal. */
static void lines_look_like_those_of_nats_server(void **state)
{
	(void)state;
	static const struct {
		struct diag_format format;
		int64_t when;
		enum diag_level level;
		const char *line, *want;
	} cases[] = {
		{ { 4711, true, false, 0 }, WHEN, DIAG_INFO, "Server is ready",
			"[4711] 2026/11/22 06:05:30.431902 [INF] Server is ready\n" },
		{ { 4711, false, false, 0 }, WHEN, DIAG_INFO, "Server is ready", "[4711] [INF] Server is ready\n" },
		{ { 1, true, false, 3600 }, WHEN, DIAG_WARN, "x", "[1] 2026/11/22 07:05:30.431902 [WRN] x\n" },
		{ { 1, true, false, -7 * 3600 }, WHEN, DIAG_ERROR, "x", "[1] 2026/11/21 23:05:30.431902 [ERR] x\n" },
		{ { 1, true, false, 0 }, 0, DIAG_FATAL, "x", "[1] 1970/01/01 00:00:00.000000 [FTL] x\n" },
		{ { 1, true, false, 0 }, -1, DIAG_DEBUG, "x", "[1] 1969/12/31 23:59:59.999999 [DBG] x\n" },
		{ { 1, true, false, 0 }, 1999, DIAG_TRACE, "", "[1] 1970/01/01 00:00:00.000001 [TRC] \n" },
		{ { 1, true, true, 0 }, WHEN, DIAG_INFO, "x",
			"[1] 2026/11/22 06:05:30.431902 [\x1b[32mINF\x1b[0m] x\n" },
		{ { 1, false, true, 0 }, WHEN, DIAG_DEBUG, "x", "[1] [\x1b[36mDBG\x1b[0m] x\n" },
		{ { 1, false, true, 0 }, WHEN, DIAG_FATAL, "x", "[1] [\x1b[31mFTL\x1b[0m] x\n" },
	};
	struct buf b = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		diag_format_nats(&b, &cases[i].format, cases[i].when, cases[i].level, slice_of_str(cases[i].line));
		CHECK_BUF(&b, cases[i].want);
	}
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(lines_look_like_those_of_nats_server) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
