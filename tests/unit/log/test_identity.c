/* SPDX-License-Identifier: Apache-2.0 */
#include "log_fixture.h"

static struct identity sample(void)
{
	struct identity i = { .counter = 3, .slot_bytes = 65536, .slot_count = 6, .id.raft_id = 77 };
	memset(i.id.store_uuid, 1, 16);
	memset(i.id.cluster_uuid, 2, 16);
	memset(i.secret, 3, 16);
	return i;
}

static bool is_same(const struct identity *a, const struct identity *b)
{
	uint8_t x[IDENTITY_BYTES], y[IDENTITY_BYTES];
	identity_encode(a, x);
	identity_encode(b, y);
	return memcmp(x, y, sizeof x) == 0;
}

static void comes_back_and_every_bit_counts(void **state)
{
	(void)state;
	struct identity i = sample(), back;
	uint8_t bytes[IDENTITY_BYTES];
	identity_encode(&i, bytes);
	assert_int_equal(identity_decode(bytes, &back), OK);
	assert_true(is_same(&i, &back));
	for (unsigned bit = 0; bit < 8 * 92; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(identity_decode(bytes, &back), ERR_CORRUPT);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

/* A crc that is right does not make numbers sane. */
static void impossible_numbers_are_refused(void **state)
{
	(void)state;
	struct identity cases[4] = { sample(), sample(), sample(), sample() }, back;
	cases[0].slot_bytes = 65537;
	cases[1].slot_count = 3;
	cases[2].slot_count = 65;
	cases[3].id.raft_id = 0;
	for (size_t k = 0; k < COUNT_OF(cases); k++) {
		uint8_t bytes[IDENTITY_BYTES];
		identity_encode(&cases[k], bytes);
		assert_int_equal(identity_decode(bytes, &back), ERR_CORRUPT);
	}
}

static void a_higher_level_is_told_apart(void **state)
{
	(void)state;
	struct identity i = sample(), back;
	uint8_t bytes[IDENTITY_BYTES];
	identity_encode(&i, bytes);
	le32_put(bytes + 4, 2);
	le32_put(bytes + 88, crc32c(0, bytes, 88));
	assert_int_equal(identity_decode(bytes, &back), ERR_FORMAT);
}

static void copy_write(struct fixture *f, unsigned copy, const struct identity *i, bool is_bad)
{
	char path[100];
	uint8_t bytes[IDENTITY_BYTES];
	identity_encode(i, bytes);
	if (is_bad) bytes[20] ^= 1;
	(void)snprintf(path, sizeof path, "%s/identity.%u", f->dir, copy);
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	assert_int_equal(fwrite(bytes, sizeof bytes, 1, out), 1);
	assert_int_equal(fclose(out), 0);
}

/* Which copies are good, which is newer, what is found. */
static void the_newer_good_copy_counts(void **state)
{
	(void)state;
	static const struct {
		bool bad[2];
		uint64_t counter[2];
		enum err e;
		uint64_t found;
		bool repaired;
	} cases[] = {
		{ { false, false }, { 5, 5 }, OK, 5, false },
		{ { false, false }, { 6, 5 }, OK, 6, true }, /* a crash between the copies */
		{ { false, false }, { 5, 6 }, OK, 6, true },
		{ { true, false }, { 6, 5 }, OK, 5, true },
		{ { false, true }, { 5, 6 }, OK, 5, true },
		{ { true, true }, { 5, 5 }, ERR_CORRUPT, 0, false },
	};
	struct fixture f;
	fixture_init(&f);
	assert_int_equal(io_uv_new(&f.io), OK);
	struct identity back;
	bool repaired;
	assert_int_equal(identity_load(f.io, f.dir, &back, &repaired), ERR_NOT_FOUND);
	for (size_t k = 0; k < COUNT_OF(cases); k++) {
		struct identity i = sample();
		for (unsigned copy = 0; copy < 2; copy++) {
			i.counter = cases[k].counter[copy];
			copy_write(&f, copy, &i, cases[k].bad[copy]);
		}
		assert_int_equal(identity_load(f.io, f.dir, &back, &repaired), cases[k].e);
		if (cases[k].e != OK) continue;
		assert_int_equal(back.counter, cases[k].found);
		assert_int_equal(repaired, cases[k].repaired);
		assert_int_equal(identity_load(f.io, f.dir, &back, &repaired), OK);
		assert_false(repaired); /* it has been */
		assert_int_equal(back.counter, cases[k].found);
	}
	io_uv_free(f.io);
	fixture_deinit(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back_and_every_bit_counts),
		cmocka_unit_test(impossible_numbers_are_refused),
		cmocka_unit_test(a_higher_level_is_told_apart),
		cmocka_unit_test(the_newer_good_copy_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
