/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

/* RFC 3720 B.4 */
static void known_vectors(void **state)
{
	(void)state;
	uint8_t zeros[32] = { 0 }, ones[32], up[32], down[32];
	memset(ones, 0xff, sizeof ones);
	for (int i = 0; i < 32; i++) {
		up[i] = (uint8_t)i;
		down[i] = (uint8_t)(31 - i);
	}
	const struct {
		const void *p;
		size_t n;
		uint32_t crc;
	} cases[] = {
		{ "", 0, 0 },
		{ "123456789", 9, 0xe3069283 },
		{ zeros, 32, 0x8a9136aa },
		{ ones, 32, 0x62a8ab43 },
		{ up, 32, 0x46dd794e },
		{ down, 32, 0x113fdb5c },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(crc32c(0, cases[i].p, cases[i].n), cases[i].crc);
		assert_int_equal(crc32c_table(0, cases[i].p, cases[i].n), cases[i].crc);
	}
}

static void the_two_agree_in_any_pieces(void **state)
{
	(void)state;
	uint8_t bytes[300];
	struct prng r;
	prng_init(&r, 1);
	for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)prng_next(&r);
	for (int round = 0; round < 2000; round++) {
		size_t from = (size_t)prng_below(&r, 40), n = (size_t)prng_below(&r, sizeof bytes - from);
		size_t cut = (size_t)prng_below(&r, n + 1);
		uint32_t seed = (uint32_t)prng_next(&r);
		uint32_t whole = crc32c_table(seed, bytes + from, n);
		assert_int_equal(crc32c(seed, bytes + from, n), whole);
		assert_int_equal(crc32c(crc32c(seed, bytes + from, cut), bytes + from + cut, n - cut), whole);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_vectors),
		cmocka_unit_test(the_two_agree_in_any_pieces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
