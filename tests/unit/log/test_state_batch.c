/* SPDX-License-Identifier: Apache-2.0 */
/* Encoded changes of state: what was put in comes out, and what a peer could make up is refused. */
#include "check.h"

#include "thebes/state.h"

static void changes_come_back(void **state)
{
	(void)state;
	struct state_batch b = { 0 };
	uint8_t key[STATE_KEY_MAX];
	uint8_t *value = mem_zalloc(STATE_VALUE_MAX);
	memset(key, 'k', sizeof key);
	memset(value, 'v', STATE_VALUE_MAX);
	state_batch_put(&b, SLICE("a"), SLICE("1"));
	state_batch_del(&b, SLICE("b"));
	state_batch_put(&b, slice_of(key, sizeof key), slice_of(value, STATE_VALUE_MAX));
	state_batch_put(&b, SLICE("empty"), SLICE_NULL);
	assert_int_equal(b.count, 4);
	struct slice in = buf_slice(&b.ops), k, v;
	bool put;
	assert_int_equal(state_batch_next(&in, &put, &k, &v), OK);
	assert_true(put && slice_eq_str(k, "a") && slice_eq_str(v, "1"));
	assert_int_equal(state_batch_next(&in, &put, &k, &v), OK);
	assert_true(!put && slice_eq_str(k, "b") && v.n == 0);
	assert_int_equal(state_batch_next(&in, &put, &k, &v), OK);
	assert_true(put && k.n == STATE_KEY_MAX && slice_eq(v, slice_of(value, STATE_VALUE_MAX)));
	assert_int_equal(state_batch_next(&in, &put, &k, &v), OK);
	assert_true(put && slice_eq_str(k, "empty") && v.n == 0);
	assert_int_equal(state_batch_next(&in, &put, &k, &v), ERR_EOF);
	state_batch_deinit(&b);
	mem_free(value);
}

static void lies_are_refused(void **state)
{
	(void)state;
	static const struct {
		uint8_t op;
		uint16_t key_bytes;
		uint32_t value_bytes;
		size_t n;
	} rows[] = {
		{ 0, 1, 1, 9 },
		{ 3, 1, 1, 9 },
		{ 1, 0, 1, 8 },
		{ 1, STATE_KEY_MAX + 1, 0, 7 + STATE_KEY_MAX + 1 },
		{ 1, 1, STATE_VALUE_MAX + 1, 64 },
		{ 1, 1, UINT32_MAX, 64 },
		{ 1, 1, 2, 9 },
		{ 1, 1, 1, 8 },
		{ 1, 1, 1, 6 },
		{ 1, 1, 1, 1 },
		{ 2, 1, 1, 9 },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t p[512] = { rows[i].op };
		le16_put(p + 1, rows[i].key_bytes);
		le32_put(p + 3, rows[i].value_bytes);
		struct slice in = slice_of(p, rows[i].n), k, v;
		bool put;
		assert_int_equal(state_batch_next(&in, &put, &k, &v), ERR_CORRUPT);
		assert_ptr_equal(in.p, p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(changes_come_back), cmocka_unit_test(lies_are_refused) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
