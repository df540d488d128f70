/* SPDX-License-Identifier: Apache-2.0 */
/* members: configurations as bytes are the library's own, and are decoded with bounds. */
#include "check.h"
#include "members.h"

static void encode(struct buf *b, unsigned count)
{
	struct members m = { .count = count };
	for (unsigned i = 0; i < count; i++)
		m.at[i] = (struct raft_member) { 1000 + i, i % 3 == 0   ? RAFT_VOTER
							   : i % 3 == 1 ? RAFT_STANDBY
									: RAFT_SPARE };
	members_encode(&m, b);
}

static void test_round_trip(void **state)
{
	(void)state;
	for (unsigned count = 0; count <= GROUP_MEMBERS_MAX; count++) {
		struct buf b = { 0 };
		struct members m;
		encode(&b, count);
		assert_int_equal(members_decode(buf_slice(&b), &m), OK);
		assert_int_equal(m.count, count);
		assert_int_equal(members_voters(&m), (count + 2) / 3);
		for (unsigned i = 0; i < count; i++) assert_non_null(members_find(&m, 1000 + i));
		assert_null(members_find(&m, 7));
		buf_deinit(&b);
	}
}

/* What the library makes of them is what we say, and the other way round. */
static void test_library(void **state)
{
	struct buf b = { 0 };
	struct members m;
	struct raft_configuration c;
	(void)state;
	encode(&b, 5);
	assert_int_equal(members_decode(buf_slice(&b), &m), OK);
	raft_configuration_init(&c);
	members_to_library(&m, &c);
	assert_int_equal(c.n, 5);
	struct raft_buffer lib;
	assert_int_equal(raft_configuration_encode(&c, &lib), 0);
	assert_int_equal(lib.len, b.n);
	assert_int_equal(members_decode(slice_of(lib.base, lib.len), &m), OK);
	assert_int_equal(m.at[4].id, 1004);
	assert_int_equal(m.at[4].role, RAFT_STANDBY);
	raft_free(lib.base);
	raft_configuration_close(&c);
	buf_deinit(&b);
}

static void test_cuts_and_rot(void **state)
{
	struct buf b = { 0 };
	struct members m;
	(void)state;
	encode(&b, 3);
	for (size_t n = 1; n < b.n; n++) {
		/* In memory of exactly that size, so that reading behind it shows. */
		uint8_t *exact = mem_dup(b.p, n);
		enum err e = members_decode(slice_of(exact, n), &m);
		assert_true(e == ERR_CORRUPT || b.n - n < 8);
		mem_free(exact);
	}
	for (size_t i = 0; i < b.n; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			b.p[i] ^= (uint8_t)(1u << bit);
			if (members_decode(buf_slice(&b), &m) == OK) assert_in_range(m.count, 1, GROUP_MEMBERS_MAX);
			b.p[i] ^= (uint8_t)(1u << bit);
		}
	le64_put(b.p + 1, GROUP_MEMBERS_MAX + 1);
	assert_int_equal(members_decode(buf_slice(&b), &m), ERR_CORRUPT);
	le64_put(b.p + 1, UINT64_MAX);
	assert_int_equal(members_decode(buf_slice(&b), &m), ERR_CORRUPT);
	le64_put(b.p + 1, 0);
	assert_int_equal(members_decode(buf_slice(&b), &m), ERR_CORRUPT);
	buf_deinit(&b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_library),
		cmocka_unit_test(test_cuts_and_rot),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
