/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

/* One scalar, printed as kind and content. What is left of the text is checked, too. */
static void words_are_judged_as_a_whole(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want, *rest;
	} cases[] = {
		/* booleans, in any case */
		{ "true", "bool 1", "" },
		{ "TRUE", "bool 1", "" },
		{ "yEs", "bool 1", "" },
		{ "On", "bool 1", "" },
		{ "false", "bool 0", "" },
		{ "No", "bool 0", "" },
		{ "OFF", "bool 0", "" },
		{ "truely", "string truely", "" },
		/* whole numbers with their suffixes */
		{ "0", "int 0", "" },
		{ "4222", "int 4222", "" },
		{ "-1", "int -1", "" },
		{ "1k", "int 1000", "" },
		{ "1K", "int 1000", "" },
		{ "1kb", "int 1024", "" },
		{ "1ki", "int 1024", "" },
		{ "1KiB", "int 1024", "" },
		{ "2m", "int 2000000", "" },
		{ "1mb", "int 1048576", "" },
		{ "1g", "int 1000000000", "" },
		{ "1GiB", "int 1073741824", "" },
		{ "1t", "int 1000000000000", "" },
		{ "1tb", "int 1099511627776", "" },
		{ "1p", "int 1000000000000000", "" },
		{ "1pb", "int 1125899906842624", "" },
		{ "1e", "int 1000000000000000000", "" },
		{ "1eb", "int 1152921504606846976", "" },
		{ "-1k", "int -1000", "" },
		{ "9223372036854775807", "int 9223372036854775807", "" },
		/* what only begins like a number is a string */
		{ "10s", "string 10s", "" },
		{ "1h30m", "string 1h30m", "" },
		{ "1kbb", "string 1kbb", "" },
		{ "10kx", "string 10kx", "" },
		{ "0x10", "string 0x10", "" },
		{ "1_000", "string 1_000", "" },
		{ "1e5", "string 1e5", "" },
		{ "+1", "string +1", "" },
		{ "-x", "string -x", "" },
		{ "-", "string -", "" },
		{ "21480239-n1", "string 21480239-n1", "" },
		{ "2006-01-02T15:04:05Z", "string 2006-01-02T15:04:05Z", "" },
		{ "1.5", "float 1.5", "" },
		{ "-0.25", "float -0.25", "" },
		{ "1.5s", "string 1.5s", "" },
		{ "1.", "string 1.", "" },
		{ ".5", "string .5", "" },
		{ "1.2.3", "string 1.2.3", "" },
		{ "127.0.0.1", "string 127.0.0.1", "" },
		{ "127.0.0.1:4222", "string 127.0.0.1:4222", "" },
		{ "127.0.0.1:-1", "string 127.0.0.1:-1", "" },
		/* where a word ends */
		{ "a b", "string a", " b" },
		{ "a,b", "string a", ",b" },
		{ "a;b", "string a", ";b" },
		{ "a]b", "string a", "]b" },
		{ "a}b", "string a", "}b" },
		{ "a'b", "string a", "b" },
		{ "a\nb", "string a", "\nb" },
		{ "a\rb", "string a", "\rb" },
		{ "12]", "int 12", "]" },
		{ "1.5}", "float 1.5", "}" },
		{ "a{[=:\"#//b", "string a{[=:\"#//b", "" },
		{ "http://u:p@h:4222/x?y=z#f", "string http://u:p@h:4222/x?y=z#f", "" },
		{ "#b", "string #b", "" },
		{ "//b", "string //b", "" },
		/* escapes */
		{ "a\\x41\\t", "string aA\t", "" },
		{ "t\\x72ue", "string true", "" }, /* an escaped word is never anything but a string */
		{ "\\x24X", "string $X", "" },
		{ "\"a\\t\\n\\r\\\"\\\\\\x41b\" c", "string a\t\n\r\"\\Ab", " c" },
		{ "\"\"", "string ", "" },
		{ "\"a\nb\"", "string a\nb", "" },
		{ "\"5\"", "string 5", "" },
		{ "\"true\"", "string true", "" },
		{ "\"it's\"", "string it's", "" },
		{ "\"$X\"", "string $X", "" },
		{ "'a\\tb\"c'", "string a\\tb\"c", "" },
		{ "'a\nb'x", "string a\nb", "x" },
		/* variables, but for the hashes that begin like one */
		{ "$X", "variable X", "" },
		{ "$TOKEN_2", "variable TOKEN_2", "" },
		{ "$2a$11$abc", "string $2a$11$abc", "" },
		{ "$2b$11$abc", "string $2b$11$abc", "" },
		{ "$2y$", "string $2y$", "" },
		{ "$2c$11$abc", "variable 2c$11$abc", "" },
		/* blocks */
		{ "(\nabc\n)", "string \nabc\n", "" },
		{ "(abc\n)\nx", "string abc\n", "\nx" },
		{ "(\n  a ( b ) \n )\n)\n", "string \n  a ( b ) \n )\n", "\n" },
		{ "(\n)x\n)", "string \n)x\n", "" },
	};
	static const char *const kinds[] = { "bool", "int", "float", "string" };
	struct buf said = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf_report report = { 0 };
		struct arena arena;
		struct conf_lex l;
		struct conf_value v;
		arena_init(&arena, 0);
		conf_lex_init(&l, "x", slice_of_str(cases[i].text), &report, &arena);
		enum conf_scalar scalar = conf_lex_scalar(&l, &v);
		if (scalar == CONF_SCALAR_ERROR) fail_msg("\"%s\": %s", cases[i].text, buf_str(&report.errors));
		buf_printf(&said, "%s ", scalar == CONF_SCALAR_VARIABLE ? "variable" : kinds[v.kind]);
		if (v.kind == CONF_KIND_BOOL)
			buf_printf(&said, "%d", v.boolean);
		else if (v.kind == CONF_KIND_INT)
			buf_printf(&said, "%lld", (long long)v.integer);
		else if (v.kind == CONF_KIND_FLOAT)
			buf_printf(&said, "%g", v.number);
		else
			buf_append_str(&said, v.text);
		CHECK_BUF(&said, cases[i].want);
		assert_true(slice_eq_str(slice_of(l.p, (size_t)(l.end - l.p)), cases[i].rest));
		arena_deinit(&arena);
	}
	buf_deinit(&said);
}

static void broken_words_say_what_was_expected(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "\"abc",
			"x:1:1: the quote that opens here is never closed, expected \" before the end of the file\n" },
		{ "'abc", "x:1:1: the quote that opens here is never closed, expected ' before the end of the file\n" },
		{ "(\nabc\n )", "x:1:1: the block that opens here is never closed, expected a line with only ) before "
				"the end of the file\n" },
		{ "(", "x:1:1: the block that opens here is never closed, expected a line with only ) before the end "
		       "of the file\n" },
		{ "\"a\nb\\q\"", "x:2:2: invalid escape, expected one of \\t \\n \\r \\\" \\\\ \\xHH, found 'q\"'\n" },
		{ "a\\q", "x:1:2: invalid escape, expected one of \\t \\n \\r \\\" \\\\ \\xHH, found 'q'\n" },
		{ "a\\", "x:1:2: invalid escape, expected one of \\t \\n \\r \\\" \\\\ \\xHH, found end of file\n" },
		{ "\"\\x4\"", "x:1:2: expected two hexadecimal digits behind \\x\n" },
		{ "\"\\x4g\"", "x:1:2: expected two hexadecimal digits behind \\x\n" },
		{ "\\x", "x:1:1: expected two hexadecimal digits behind \\x\n" },
		{ "\"a\\x00b\"", "x:1:1: a text may not contain a NUL character\n" },
		{ "9223372036854775808", "x:1:1: the number 9223372036854775808 is larger than any setting can be\n" },
		{ "10e", "x:1:1: the number 10e is larger than any setting can be\n" },
		{ "]", "x:1:1: expected a value, found ']'\n" },
		{ "\n", "x:1:1: expected a value, found end of line\n" },
		{ "", "x:1:1: expected a value, found end of file\n" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf_report report = { 0 };
		struct arena arena;
		struct conf_lex l;
		struct conf_value v;
		arena_init(&arena, 0);
		conf_lex_init(&l, "x", slice_of_str(cases[i].text), &report, &arena);
		assert_int_equal(conf_lex_scalar(&l, &v), CONF_SCALAR_ERROR);
		CHECK_BUF(&report.errors, cases[i].want);
		conf_report_deinit(&report);
		arena_deinit(&arena);
	}
}

static void places_count_every_kind_of_line_end(void **state)
{
	(void)state;
	static const char text[] = "a\nb\r\nc\rd";
	struct conf_lex l;
	conf_lex_init(&l, "x", slice_of_str(text), NULL, NULL);
	struct buf said = { 0 };
	while (!conf_lex_is_at_end(&l)) {
		struct conf_place at = conf_lex_place(&l);
		if (conf_lex_peek(&l) >= 'a') buf_printf(&said, "%c=%u:%u ", conf_lex_peek(&l), at.line, at.column);
		conf_lex_advance(&l);
	}
	CHECK_BUF(&said, "a=1:1 b=2:1 c=3:1 d=4:1 ");
	buf_deinit(&said);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_judged_as_a_whole),
		cmocka_unit_test(broken_words_say_what_was_expected),
		cmocka_unit_test(places_count_every_kind_of_line_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
