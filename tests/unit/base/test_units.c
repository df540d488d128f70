/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#define US ((int64_t)NS_PER_US)
#define MS ((int64_t)NS_PER_MS)
#define S ((int64_t)NS_PER_S)

/* Vectors made with Go 1.19's time.Duration. */
static void durations_print_as_in_go(void **state)
{
	(void)state;
	static const struct {
		int64_t ns;
		const char *text;
	} cases[] = {
		{ 0, "0s" },
		{ 1, "1ns" },
		{ -1, "-1ns" },
		{ 999, "999ns" },
		{ 1000, "1\xc2\xb5s" },
		{ 1100, "1.1\xc2\xb5s" },
		{ 999999, "999.999\xc2\xb5s" },
		{ 1000000, "1ms" },
		{ 2200000, "2.2ms" },
		{ 1500001, "1.500001ms" },
		{ 3300000000, "3.3s" },
		{ 59999999999, "59.999999999s" },
		{ 60 * S, "1m0s" },
		{ 90 * S, "1m30s" },
		{ 245 * S, "4m5s" },
		{ 245 * S + MS, "4m5.001s" },
		{ 3600 * S, "1h0m0s" },
		{ 5 * 3600 * S + 6 * 60 * S + 7 * S + MS, "5h6m7.001s" },
		{ 8 * 60 * S + 1, "8m0.000000001s" },
		{ -90 * S, "-1m30s" },
		{ INT64_MAX, "2562047h47m16.854775807s" },
		{ INT64_MIN, "-2562047h47m16.854775808s" },
	};
	struct buf b = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		duration_print(&b, cases[i].ns);
		CHECK_BUF(&b, cases[i].text);
	}
	buf_deinit(&b);
}

static void durations_parse_as_in_go(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum err e;
		int64_t ns;
	} cases[] = {
		{ "0", OK, 0 },
		{ "+0", OK, 0 },
		{ "-0", OK, 0 },
		{ "5s", OK, 5 * S },
		{ "30s", OK, 30 * S },
		{ "1478s", OK, 1478 * S },
		{ "-5s", OK, -5 * S },
		{ "+5s", OK, 5 * S },
		{ "5.0s", OK, 5 * S },
		{ "5.6s", OK, 5 * S + 600 * MS },
		{ "5.s", OK, 5 * S },
		{ ".5s", OK, 500 * MS },
		{ "1.004s", OK, S + 4 * MS },
		{ "100.00100s", OK, 100 * S + MS },
		{ "10ns", OK, 10 },
		{ "11us", OK, 11 * US },
		{ "12\xc2\xb5s", OK, 12 * US },
		{ "12\xce\xbcs10ns", OK, 12 * US + 10 },
		{ "13ms", OK, 13 * MS },
		{ "15m", OK, 15 * 60 * S },
		{ "16h", OK, 16 * 3600 * S },
		{ "3h30m", OK, 3 * 3600 * S + 30 * 60 * S },
		{ "10.5s4m", OK, 4 * 60 * S + 10 * S + 500 * MS },
		{ "-2m3.4s", OK, -(2 * 60 * S + 3 * S + 400 * MS) },
		{ "39h9m14.425s", OK, 39 * 3600 * S + 9 * 60 * S + 14 * S + 425 * MS },
		{ "52763797000ns", OK, 52763797000 },
		{ "0.3333333333333333333h", OK, 20 * 60 * S },
		{ "9007199254740993ns", OK, 9007199254740993 },
		{ "9223372036854775807ns", OK, INT64_MAX },
		{ "-9223372036854775808ns", OK, INT64_MIN },
		{ "-2562047h47m16.854775808s", OK, INT64_MIN },
		{ "0.100000000000000000000h", OK, 6 * 60 * S },
		{ "0.830103483285477580700h", OK, 49 * 60 * S + 48 * S + 372539827 },
		{ "", ERR_PARSE, 0 },
		{ "3", ERR_PARSE, 0 },
		{ "-", ERR_PARSE, 0 },
		{ "+", ERR_PARSE, 0 },
		{ "s", ERR_PARSE, 0 },
		{ ".", ERR_PARSE, 0 },
		{ "-.", ERR_PARSE, 0 },
		{ ".s", ERR_PARSE, 0 },
		{ "+.s", ERR_PARSE, 0 },
		{ "1d", ERR_PARSE, 0 },
		{ "1 s", ERR_PARSE, 0 },
		{ "1h 2m", ERR_PARSE, 0 },
		{ "--1s", ERR_PARSE, 0 },
		{ "\x85\x85", ERR_PARSE, 0 },
		{ "9223372036854775808ns", ERR_TOO_LARGE, 0 },
		{ "-9223372036854775809ns", ERR_TOO_LARGE, 0 },
		{ "3000000h", ERR_TOO_LARGE, 0 },
		{ "9223372036854ms775us808ns", ERR_TOO_LARGE, 0 },
		{ "99999999999999999999999999s", ERR_TOO_LARGE, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int64_t ns = 0;
		enum err e = duration_parse(slice_of_str(cases[i].text), &ns);
		if (e != cases[i].e || ns != cases[i].ns)
			fail_msg("\"%s\": %s, %lld ns", cases[i].text, err_name(e), (long long)ns);
	}
}

static void durations_survive_print_and_parse(void **state)
{
	(void)state;
	struct prng r;
	struct buf b = { 0 };
	prng_init(&r, 5);
	for (int i = 0; i < 100000; i++) {
		int64_t ns = (int64_t)(prng_next(&r) >> prng_below(&r, 64)), back;
		if (prng_chance(&r, 1, 2)) ns = -ns;
		duration_print(&b, ns);
		assert_int_equal(duration_parse(buf_slice(&b), &back), OK);
		/* Fractions go through a double in Go, too: below 2^53 ns nothing is lost. */
		assert_true(back == ns);
		buf_clear(&b);
	}
	buf_deinit(&b);
}

static void times_print_as_in_go(void **state)
{
	(void)state;
	static const struct {
		int64_t ns;
		const char *text;
	} cases[] = {
		{ 0, "1970-01-01T00:00:00Z" },
		{ 1, "1970-01-01T00:00:00.000000001Z" },
		{ -1, "1969-12-31T23:59:59.999999999Z" },
		{ 951782400 * S, "2000-02-29T00:00:00Z" },
		{ 951868800 * S, "2000-03-01T00:00:00Z" },
		{ 1709210096 * S + 120 * MS, "2024-02-29T12:34:56.12Z" },
		{ 4107542400 * S, "2100-03-01T00:00:00Z" },
		{ 1795327530 * S + 431902 * US, "2026-11-22T06:05:30.431902Z" },
		{ INT64_MAX, "2262-04-11T23:47:16.854775807Z" },
		{ INT64_MIN, "1677-09-21T00:12:43.145224192Z" },
	};
	struct buf b = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		time_print(&b, cases[i].ns);
		int64_t back = 0;
		assert_int_equal(time_parse(buf_slice(&b), &back), OK);
		assert_true(back == cases[i].ns);
		CHECK_BUF(&b, cases[i].text);
	}
	struct prng r;
	prng_init(&r, 11);
	for (int i = 0; i < 100000; i++) {
		int64_t ns = (int64_t)prng_next(&r), back;
		time_print(&b, ns);
		assert_int_equal(time_parse(buf_slice(&b), &back), OK);
		assert_true(back == ns);
		buf_clear(&b);
	}
	buf_deinit(&b);
}

static void times_parse_with_any_offset(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum err e;
		int64_t ns;
	} cases[] = {
		{ "1970-01-01T01:00:00+01:00", OK, 0 },
		{ "1969-12-31T15:30:00-08:30", OK, 0 },
		{ "1970-01-01T00:00:00.1234567899Z", OK, 123456789 },
		{ "2262-04-11T23:47:16.854775807Z", OK, INT64_MAX },
		{ "2262-04-12T00:47:16.854775807+01:00", OK, INT64_MAX },
		{ "2262-04-11T23:47:16.854775808Z", ERR_TOO_LARGE, 0 },
		{ "1677-09-21T00:12:43.145224191Z", ERR_TOO_LARGE, 0 },
		{ "0001-01-01T00:00:00Z", ERR_TOO_LARGE, 0 },
		{ "9999-12-31T23:59:59Z", ERR_TOO_LARGE, 0 },
		{ "2023-02-29T00:00:00Z", ERR_PARSE, 0 },
		{ "2100-02-29T00:00:00Z", ERR_PARSE, 0 },
		{ "2024-13-01T00:00:00Z", ERR_PARSE, 0 },
		{ "2024-00-01T00:00:00Z", ERR_PARSE, 0 },
		{ "2024-01-00T00:00:00Z", ERR_PARSE, 0 },
		{ "2024-04-31T00:00:00Z", ERR_PARSE, 0 },
		{ "2024-01-01T24:00:00Z", ERR_PARSE, 0 },
		{ "2024-01-01T00:60:00Z", ERR_PARSE, 0 },
		{ "2024-01-01T00:00:60Z", ERR_PARSE, 0 },
		{ "2024-01-01T00:00:00.Z", ERR_PARSE, 0 },
		{ "2024-01-01T00:00:00", ERR_PARSE, 0 },
		{ "2024-01-01T00:00:00z", ERR_PARSE, 0 },
		{ "2024-01-01T00:00:00Zx", ERR_PARSE, 0 },
		{ "2024-01-01T00:00:00+0100", ERR_PARSE, 0 },
		{ "2024-01-01T00:00:00+24:00", ERR_PARSE, 0 },
		{ "2024-01-01 00:00:00Z", ERR_PARSE, 0 },
		{ "24-01-01T00:00:00Z", ERR_PARSE, 0 },
		{ "", ERR_PARSE, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int64_t ns = 0;
		enum err e = time_parse(slice_of_str(cases[i].text), &ns);
		if (e != cases[i].e || (e == OK && ns != cases[i].ns))
			fail_msg("\"%s\": %s, %lld ns", cases[i].text, err_name(e), (long long)ns);
	}
}

/* The first outputs for a state filled by splitmix64 from seed 0 (reference: the authors' C files). */
static void the_generator_is_xoshiro(void **state)
{
	(void)state;
	struct prng r;
	prng_init(&r, 0);
	assert_true(r.s[0] == 0xe220a8397b1dcdaf && r.s[1] == 0x6e789e6aa1b965f4);
	assert_true(prng_next(&r) == 0x99ec5f36cb75f2b4);
	assert_true(prng_next(&r) == 0xbf6e1f784956452a);
	r = (struct prng) { { 1, 2, 3, 4 } };
	static const uint64_t want[] = { 11520, 0, 1509978240, 1215971899390074240 };
	for (size_t i = 0; i < COUNT_OF(want); i++) assert_true(prng_next(&r) == want[i]);
}

static void chances_are_fair(void **state)
{
	(void)state;
	struct prng r;
	uint64_t hits[7] = { 0 }, wins = 0;
	prng_init(&r, 3);
	for (int i = 0; i < 70000; i++) {
		hits[prng_below(&r, 7)]++;
		wins += prng_chance(&r, 1, 4);
	}
	for (size_t i = 0; i < COUNT_OF(hits); i++) assert_in_range(hits[i], 9500, 10500);
	assert_in_range(wins, 17000, 18000);
	for (int i = 0; i < 1000; i++) {
		assert_true(prng_below(&r, 1) == 0);
		assert_true(prng_chance(&r, 1, 1));
		assert_false(prng_chance(&r, 0, 1));
		assert_true(prng_below(&r, (uint64_t)3 << 62) < (uint64_t)3 << 62);
	}
}

static void rounding(void **state)
{
	(void)state;
	assert_true(round_up(0, 8) == 0 && round_up(1, 8) == 8 && round_up(8, 8) == 8 && round_up(4097, 4096) == 8192);
	assert_true(u64_min(1, 2) == 1 && u64_max(1, 2) == 2 && size_min(1, 2) == 1 && size_max(1, 2) == 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_print_as_in_go),
		cmocka_unit_test(durations_parse_as_in_go),
		cmocka_unit_test(durations_survive_print_and_parse),
		cmocka_unit_test(times_print_as_in_go),
		cmocka_unit_test(times_parse_with_any_offset),
		cmocka_unit_test(the_generator_is_xoshiro),
		cmocka_unit_test(chances_are_fair),
		cmocka_unit_test(rounding),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
