/* SPDX-License-Identifier: Apache-2.0 */
/* The relations are checked against their definition: over a small alphabet of tokens every subject up to a length is listed, and
 * "covers", "is part of" and "overlaps" are counted out. */
#include "check.h"
#include "thebes/wire.h"

static void validity(void **state)
{
	(void)state;
	static const struct {
		const char *subject;
		enum subject_kind kind;
		size_t tokens;
	} cases[] = {
		{ "a", SUBJECT_LITERAL, 1 },
		{ "a.b.c", SUBJECT_LITERAL, 3 },
		{ "foo*", SUBJECT_LITERAL, 1 },
		{ "a>b", SUBJECT_LITERAL, 1 },
		{ "**.>>.*a", SUBJECT_LITERAL, 3 },
		{ "$JS.API.\xc3\xa9\x01\x0b\x7f", SUBJECT_LITERAL, 3 },
		{ "*", SUBJECT_WILDCARD, 1 },
		{ ">", SUBJECT_WILDCARD, 1 },
		{ "a.*.b", SUBJECT_WILDCARD, 3 },
		{ "*.*.>", SUBJECT_WILDCARD, 3 },
		{ "", SUBJECT_BAD, 0 },
		{ ".", SUBJECT_BAD, 2 },
		{ "a.", SUBJECT_BAD, 2 },
		{ ".a", SUBJECT_BAD, 2 },
		{ "a..b", SUBJECT_BAD, 3 },
		{ ">.a", SUBJECT_BAD, 2 },
		{ "a.>.b", SUBJECT_BAD, 3 },
		{ "a b", SUBJECT_BAD, 1 },
		{ "a\tb", SUBJECT_BAD, 1 },
		{ "a\rb", SUBJECT_BAD, 1 },
		{ "a\nb", SUBJECT_BAD, 1 },
		{ "a\fb", SUBJECT_BAD, 1 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct slice s = slice_of_str(cases[i].subject);
		assert_int_equal(subject_check(s), cases[i].kind);
		assert_int_equal(subject_token_count(s), cases[i].tokens);
		size_t count = 0;
		struct slice token;
		for (size_t at = 0; subject_next(s, &at, &token);) count++;
		assert_int_equal(count, cases[i].tokens);
	}
}

static void matching(void **state)
{
	(void)state;
	static const struct {
		const char *pattern, *literal;
		bool match;
	} cases[] = {
		{ "a.b", "a.b", true },
		{ "a.b", "a.c", false },
		{ "a.b", "a", false },
		{ "a.b", "a.b.c", false },
		{ "a.*", "a.b", true },
		{ "a.*", "a.b.c", false },
		{ "a.>", "a", false },
		{ "a.>", "a.b", true },
		{ "a.>", "a.b.c", true },
		{ ">", "a", true },
		{ "*", "a.b", false },
		/* wildcards of a published subject are text */
		{ "foo.*", "foo.*", true },
		{ "foo.*", "foo.>", true },
		{ "foo.bar", "foo.*", false },
		{ "foo.>", "foo.>", true },
		/* malformed ones reach nobody */
		{ ">", "foo..bar", false },
		{ ">", ".foo", false },
		{ "foo.*", "foo.", false },
		{ "foo.>", "foo.a.", false },
		{ "*.*", ".", false },
		{ ">", "", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(
			subject_match(slice_of_str(cases[i].pattern), slice_of_str(cases[i].literal)), cases[i].match);
}

enum { ALL_MAX = 1024, TOKENS_MAX = 4 };
struct all {
	char text[ALL_MAX][2 * TOKENS_MAX];
	size_t count;
};

/* All valid subjects of up to `depth` tokens from the alphabet of one-letter tokens. */
static void all_make(struct all *out, const char *alphabet, size_t depth)
{
	out->count = 0;
	size_t letters = strlen(alphabet), total = 1;
	for (size_t n = 1; n <= depth; n++) {
		total *= letters;
		for (size_t code = 0; code < total; code++) {
			char text[2 * TOKENS_MAX] = { 0 };
			size_t c = code;
			for (size_t i = 0; i < n; i++, c /= letters) {
				text[2 * i] = alphabet[c % letters];
				if (i + 1 < n) text[2 * i + 1] = '.';
			}
			if (!subject_is_valid(slice_of_str(text))) continue;
			assert_true(out->count < ALL_MAX);
			memcpy(out->text[out->count++], text, sizeof text);
		}
	}
}

/* The definition, told by recursion over tokens rather than by a walk. */
static bool naive_match(const char *p, const char *l)
{
	if (!*p || !*l) return !*p && !*l;
	if (p[0] == '>') return true;
	if (p[0] != '*' && p[0] != l[0]) return false;
	if (!p[1] || !l[1]) return !p[1] && !l[1];
	return naive_match(p + 2, l + 2);
}

static void relations_by_counting(void **state)
{
	(void)state;
	struct all *patterns = NEW(struct all), *literals = NEW(struct all);
	all_make(patterns, "ab*>", 3);
	/* One token more and one letter more than any pattern has: a pattern can only tell them apart by its wildcards. */
	all_make(literals, "abc", 4);
	size_t subsets = 0, overlaps = 0;
	for (size_t i = 0; i < patterns->count; i++) {
		for (size_t k = 0; k < patterns->count; k++) {
			bool subset = true, overlap = false;
			for (size_t l = 0; l < literals->count; l++) {
				bool in_a = naive_match(patterns->text[i], literals->text[l]);
				bool in_b = naive_match(patterns->text[k], literals->text[l]);
				subset &= !in_a || in_b;
				overlap |= in_a && in_b;
			}
			struct slice a = slice_of_str(patterns->text[i]), b = slice_of_str(patterns->text[k]);
			assert_int_equal(subject_is_subset(a, b), subset);
			assert_int_equal(subject_overlaps(a, b), overlap);
			subsets += subset;
			overlaps += overlap;
		}
		for (size_t l = 0; l < literals->count; l++)
			assert_int_equal(
				subject_match(slice_of_str(patterns->text[i]), slice_of_str(literals->text[l])),
				naive_match(patterns->text[i], literals->text[l]));
	}
	assert_true(subsets > patterns->count && overlaps > subsets);
	mem_free(patterns);
	mem_free(literals);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(validity),
		cmocka_unit_test(matching),
		cmocka_unit_test(relations_by_counting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
