/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

/* FIPS 180-4 examples and the edges of the padding. */
static void known_vectors(void **state)
{
	(void)state;
	static const struct {
		const char *unit;
		size_t times;
		const char *want;
	} cases[] = {
		{ "", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
			"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
		{ "a", 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318" },
		{ "a", 56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a" },
		{ "a", 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb" },
		{ "a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf_sha256 s;
		struct buf hex = { 0 };
		uint8_t hash[32];
		conf_sha256_init(&s);
		for (size_t n = 0; n < cases[i].times; n++) conf_sha256_add(&s, slice_of_str(cases[i].unit));
		conf_sha256_end(&s, hash);
		for (size_t n = 0; n < sizeof hash; n++) buf_printf(&hex, "%02x", hash[n]);
		CHECK_BUF(&hex, cases[i].want);
		buf_deinit(&hex);
	}
}

static void a_digest_covers_included_files(void **state)
{
	(void)state;
	static const struct pair one[] = { { "b", "debug: true" }, { NULL, NULL } };
	static const struct pair two[] = { { "b", "debug: on" }, { NULL, NULL } };
	struct world w = { .text = "include b", .files = one };
	struct conf a, b;
	struct conf_report report;
	assert_int_equal(load_with(&w, NULL, &a, &report), OK);
	w.files = two;
	assert_int_equal(load_with(&w, NULL, &b, &report), OK);
	assert_int_equal(strlen(a.digest), strlen("sha256:") + 64);
	assert_true(strncmp(a.digest, "sha256:", 7) == 0);
	assert_string_not_equal(a.digest, b.digest);
	conf_deinit(&a);
	conf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_vectors),
		cmocka_unit_test(a_digest_covers_included_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
