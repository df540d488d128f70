/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "inside.h"

#define HASH_SECRET "abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"      /* of "secret", cost 4 */
#define HASH_LONG "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i" /* of 72 times x */
#define HASH_EMPTY "$2b$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq"

static void recognising(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool is_bcrypt;
	} cases[] = {
		{ "$2a$11$", true },
		{ "$2b$04$" HASH_SECRET, true },
		{ "$2x$04$x", true },
		{ "$2y$99$x", true },
		{ "$2c$11$x", false },
		{ "$2$11$xx", false },
		{ "$2a$1$xx", false },
		{ "$2a$ab$x", false },
		{ "$2a$11", false },
		{ "", false },
		{ "secret", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(auth_is_bcrypt(slice_of_str(cases[i].text)), cases[i].is_bcrypt);
}

static void plain(void **state)
{
	(void)state;
	static const struct {
		const char *given, *expected;
		bool equal;
	} cases[] = {
		{ "", "", true },
		{ "a", "a", true },
		{ "secret", "secret", true },
		{ "secret", "secreT", false },
		{ "secre", "secret", false },
		{ "secrets", "secret", false },
		{ "secretsecret", "secret", false },
		{ "", "secret", false },
		{ "secret", "", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(
			secret_equals(slice_of_str(cases[i].given), slice_of_str(cases[i].expected)), cases[i].equal);
	assert_false(secret_equals(SLICE("\0"), SLICE_NULL));
}

static void bcrypt(void **state)
{
	(void)state;
	static const char *const prefixes[] = { "$2a$04$", "$2b$04$", "$2x$04$", "$2y$04$" };
	for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
		struct buf hash = { 0 };
		buf_printf(&hash, "%s%s", prefixes[i], HASH_SECRET);
		assert_true(secret_matches_bcrypt(SLICE("secret"), buf_slice(&hash)));
		assert_false(secret_matches_bcrypt(SLICE("secreT"), buf_slice(&hash)));
		assert_false(secret_matches_bcrypt(SLICE_NULL, buf_slice(&hash)));
		assert_false(secret_matches_bcrypt(SLICE("secret\0x"), buf_slice(&hash)));
		buf_deinit(&hash);
	}
	assert_true(secret_matches_bcrypt(SLICE_NULL, SLICE(HASH_EMPTY)));
	/* bcrypt looks at 72 bytes, and what is longer must not run over anything. */
	char text[600];
	memset(text, 'x', sizeof text);
	assert_true(secret_matches_bcrypt(slice_of(text, 72), SLICE(HASH_LONG)));
	assert_true(secret_matches_bcrypt(slice_of(text, sizeof text), SLICE(HASH_LONG)));
	assert_false(secret_matches_bcrypt(slice_of(text, 71), SLICE(HASH_LONG)));
	/* Hashes that are none. */
	assert_false(secret_matches_bcrypt(SLICE("secret"), SLICE("$2b$04$short")));
	assert_false(secret_matches_bcrypt(SLICE("secret"), SLICE("$2b$99$" HASH_SECRET)));
	assert_false(secret_matches_bcrypt(
		SLICE("secret"), SLICE("$2b$04$!!cdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW")));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(recognising), cmocka_unit_test(plain),
		cmocka_unit_test(bcrypt) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
