/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>

static void comparing(void **state)
{
	(void)state;
	static const struct {
		const char *a, *b;
		int cmp;
		bool eq_nocase;
	} cases[] = {
		{ "", "", 0, true },
		{ "a", "", 1, false },
		{ "", "a", -1, false },
		{ "abc", "abd", -1, false },
		{ "abc", "ab", 1, false },
		{ "ABC", "abc", -1, true },
		{ "a\xff", "ab", 1, false },
		{ "PING", "ping", -1, true },
		{ "[", "{", -1, false }, /* differ in the bit of case, but are no letters */
		{ "@", "`", -1, false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct slice a = slice_of_str(cases[i].a), b = slice_of_str(cases[i].b);
		int cmp = slice_cmp(a, b);
		assert_int_equal((cmp > 0) - (cmp < 0), cases[i].cmp);
		assert_int_equal(slice_eq(a, b), cases[i].cmp == 0);
		assert_int_equal(slice_eq_nocase(a, b), cases[i].eq_nocase);
	}
	assert_int_equal(slice_cmp(SLICE_NULL, SLICE_NULL), 0);
	assert_true(slice_eq(SLICE_NULL, SLICE("")));
}

static void cutting(void **state)
{
	(void)state;
	struct slice s = SLICE("hello");
	assert_true(slice_eq_str(slice_from(s, 2), "llo"));
	assert_true(slice_eq_str(slice_from(s, 5), ""));
	assert_true(slice_eq_str(slice_from(s, 50), ""));
	assert_true(slice_eq_str(slice_first(s, 2), "he"));
	assert_true(slice_eq_str(slice_first(s, 50), "hello"));
	assert_true(slice_has_prefix(s, SLICE("hel")));
	assert_true(slice_has_prefix(s, SLICE("")));
	assert_false(slice_has_prefix(s, SLICE("hello!")));
	assert_int_equal(slice_find(s, 'l'), 2);
	assert_int_equal(slice_find(s, 'x'), -1);
	assert_int_equal(slice_find(SLICE_NULL, 'x'), -1);
}

static void numbers(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum err u64_err, i64_err;
		uint64_t u64;
		int64_t i64;
	} cases[] = {
		{ "0", OK, OK, 0, 0 },
		{ "007", OK, OK, 7, 7 },
		{ "18446744073709551615", OK, ERR_TOO_LARGE, UINT64_MAX, 0 },
		{ "18446744073709551616", ERR_TOO_LARGE, ERR_TOO_LARGE, 0, 0 },
		{ "99999999999999999999999", ERR_TOO_LARGE, ERR_TOO_LARGE, 0, 0 },
		{ "99999999999999999999999x", ERR_PARSE, ERR_PARSE, 0, 0 },
		{ "9223372036854775807", OK, OK, INT64_MAX, INT64_MAX },
		{ "9223372036854775808", OK, ERR_TOO_LARGE, (uint64_t)INT64_MAX + 1, 0 },
		{ "-9223372036854775808", ERR_PARSE, OK, 0, INT64_MIN },
		{ "-9223372036854775809", ERR_PARSE, ERR_TOO_LARGE, 0, 0 },
		{ "-1", ERR_PARSE, OK, 0, -1 },
		{ "-", ERR_PARSE, ERR_PARSE, 0, 0 },
		{ "--1", ERR_PARSE, ERR_PARSE, 0, 0 },
		{ "+1", ERR_PARSE, ERR_PARSE, 0, 0 },
		{ "", ERR_PARSE, ERR_PARSE, 0, 0 },
		{ " 1", ERR_PARSE, ERR_PARSE, 0, 0 },
		{ "1a", ERR_PARSE, ERR_PARSE, 0, 0 },
		{ "0x1", ERR_PARSE, ERR_PARSE, 0, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t u = 0;
		int64_t s = 0;
		assert_int_equal(slice_to_u64(slice_of_str(cases[i].text), &u), cases[i].u64_err);
		assert_int_equal(slice_to_i64(slice_of_str(cases[i].text), &s), cases[i].i64_err);
		assert_true(u == cases[i].u64 && s == cases[i].i64);
	}
}

static void a_buffer_grows(void **state)
{
	(void)state;
	struct buf b = { 0 };
	assert_string_equal(buf_str(&b), "");
	buf_append(&b, NULL, 0);
	buf_append_str(&b, "abc");
	buf_append_byte(&b, '-');
	buf_append_u64(&b, 0);
	buf_append_byte(&b, '-');
	buf_append_u64(&b, UINT64_MAX);
	CHECK_BUF(&b, "abc-0-18446744073709551615");
	buf_printf(&b, "%s=%d", "x", 5);
	CHECK_BUF(&b, "x=5");
	for (int n = 0; n < 300; n += 7) { /* around the end of what is reserved */
		buf_deinit(&b);
		buf_append_str(&b, "<");
		buf_printf(&b, "%*d>", n, 1);
		assert_int_equal(b.n, (n ? n : 1) + 2);
		assert_int_equal(b.p[b.n - 1], '>');
	}
	buf_deinit(&b);
	for (int i = 0; i < 10000; i++) buf_append_byte(&b, (uint8_t)i);
	buf_consume(&b, 0);
	buf_consume(&b, 9999);
	assert_int_equal(b.n, 1);
	assert_int_equal(b.p[0], (uint8_t)9999);
	buf_consume(&b, 1);
	assert_int_equal(b.n, 0);
	buf_deinit(&b);
	buf_deinit(&b);
}

static void cleaned_text_stays_on_its_line(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "" },
		{ "plain caf\xc3\xa9 \xe2\x82\xac", "plain caf\xc3\xa9 \xe2\x82\xac" },
		{ "a\r\nb\x1b[m\x7f", "a\\x0d\\x0ab\\x1b[m\\x7f" },
		{ "\xc2\x9b", "\\xc2\x9b" },
		{ "\xc2", "\xc2" },
		{ "\xc2\xa0", "\xc2\xa0" },
	};
	struct buf b = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_append_clean(&b, slice_of_str(cases[i].in));
		CHECK_BUF(&b, cases[i].out);
	}
	buf_append_clean(&b, slice_of("a\0b", 3));
	CHECK_BUF(&b, "a\\x00b");
	buf_deinit(&b);
}

static void little_endian(void **state)
{
	(void)state;
	uint8_t bytes[9];
	le16_put(bytes + 1, 0x1234);
	assert_memory_equal(bytes + 1, "\x34\x12", 2);
	assert_int_equal(le16_get(bytes + 1), 0x1234);
	le32_put(bytes + 1, 0xfedcba98);
	assert_memory_equal(bytes + 1, "\x98\xba\xdc\xfe", 4);
	assert_int_equal(le32_get(bytes + 1), 0xfedcba98);
	le64_put(bytes + 1, 0x8123456789abcdef);
	assert_memory_equal(bytes + 1, "\xef\xcd\xab\x89\x67\x45\x23\x81", 8);
	assert_true(le64_get(bytes + 1) == 0x8123456789abcdef);
	struct buf b = { 0 };
	buf_append_le32(&b, 1);
	buf_append_le64(&b, 2);
	assert_memory_equal(b.p, "\1\0\0\0\2\0\0\0\0\0\0\0", 12);
	buf_deinit(&b);
}

static void numbers_as_text(void **state)
{
	char want[32], got[U64_TEXT_MAX];
	(void)state;
	/* around every power of ten, and the ends */
	for (uint64_t power = 1;; power *= 10) {
		const uint64_t values[] = { power - 1, power, power + 1, power * 9 + power / 7 };
		for (size_t i = 0; i < COUNT_OF(values); i++) {
			size_t n = (size_t)snprintf(want, sizeof want, "%llu", (unsigned long long)values[i]);
			assert_int_equal(u64_text(got, values[i]), n);
			assert_memory_equal(got, want, n);
		}
		if (power > UINT64_MAX / 10) break;
	}
	assert_int_equal(u64_text(got, UINT64_MAX), U64_TEXT_MAX);
	assert_memory_equal(got, "18446744073709551615", U64_TEXT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_as_text),
		cmocka_unit_test(comparing),
		cmocka_unit_test(cutting),
		cmocka_unit_test(numbers),
		cmocka_unit_test(a_buffer_grows),
		cmocka_unit_test(cleaned_text_stays_on_its_line),
		cmocka_unit_test(little_endian),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
