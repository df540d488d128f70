/* SPDX-License-Identifier: Apache-2.0 */
/* Starting: what is no store of ours is refused, and a birth that was interrupted starts over. */
#include "log_files.h"

static void what_is_not_a_store_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	file_write(path_in(&f, "readme"), "mine");
	assert_int_equal(fixture_try_open(&f), ERR_INVALID);
	assert_non_null(strstr(f.why, f.dir));
	assert_int_equal(unlink(path_in(&f, "readme")), 0);
	fixture_open(&f); /* the lock file alone is no content */
	fixture_end(&f);
}

static void an_interrupted_birth_starts_over(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	fixture_open(&f);
	uint64_t id = log_identity(f.log)->raft_id;
	assert_true(id > 0);
	fixture_close(&f);
	/* As a crash leaves it that came before the last step: the state store is made later. */
	(void)unlink(path_in(&f, "state.lmdb"));
	(void)unlink(path_in(&f, "state.lmdb-lock"));
	file_write(path_in(&f, "birth"), "");
	fixture_open(&f);
	assert_true(log_identity(f.log)->raft_id != id); /* somebody new */
	fixture_end(&f);
}

static void a_birth_mark_beside_data_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	fixture_begin(&f, &o, 1);
	fixture_close(&f);
	file_write(path_in(&f, "birth"), "");
	assert_int_equal(fixture_try_open(&f), ERR_CORRUPT);
	assert_int_equal(unlink(path_in(&f, "birth")), 0);
	fixture_open(&f);
	assert_non_null(log_group_find(f.log, 1));
	fixture_end(&f);
}

static void bad_options_are_refused(void **state)
{
	(void)state;
	static const struct {
		uint64_t slot_bytes;
		uint32_t slot_count;
		uint64_t entry_bytes;
	} cases[] = { { 65537, 6, 0 }, { 16384, 6, 0 }, { 65536, 3, 0 }, { 65536, 65, 0 }, { 65536, 6, 20000 } };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fixture f;
		fixture_init(&f);
		f.options.slot_bytes = cases[i].slot_bytes;
		f.options.slot_count = cases[i].slot_count;
		f.options.entry_bytes_max = cases[i].entry_bytes;
		assert_int_equal(fixture_try_open(&f), ERR_INVALID);
		assert_true(strlen(f.why) > 20);
		fixture_deinit(&f);
	}
}

static void one_process_at_a_time(void **state)
{
	(void)state;
	struct fixture f, second;
	fixture_init(&f);
	fixture_open(&f);
	second = f;
	second.log = NULL;
	assert_int_equal(fixture_try_open(&second), ERR_LOCKED);
	fixture_end(&f);
}

static void both_identities_bad(void **state)
{
	(void)state;
	struct fixture f;
	two_groups(&f, true);
	file_flip(path_in(&f, "identity.0"), 40, 2);
	fixture_open(&f); /* one is enough, and mends the other */
	fixture_close(&f);
	file_flip(path_in(&f, "identity.1"), 40, 2);
	fixture_open(&f);
	fixture_close(&f);
	file_flip(path_in(&f, "identity.0"), 40, 2);
	file_flip(path_in(&f, "identity.1"), 80, 2);
	assert_int_equal(fixture_try_open(&f), ERR_CORRUPT);
	assert_non_null(strstr(f.why, "identity"));
	fixture_deinit(&f);
}

/* S20: a block whose head is whole and says that a later binary wrote it. */
static void a_higher_level_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	struct identity id;
	bool repaired;
	two_groups(&f, true);
	assert_int_equal(io_uv_new(&f.io), OK);
	assert_int_equal(identity_load(f.io, f.dir, &id, &repaired), OK);
	io_uv_free(f.io);
	struct block_key key = { .use = 1 };
	memcpy(key.secret, id.secret, sizeof key.secret);
	uint8_t head[BLOCK_HEAD_BYTES];
	struct block_head h;
	FILE *file = fopen(path_in(&f, "journal/00"), "r+");
	assert_non_null(file);
	assert_int_equal(fread(head, sizeof head, 1, file), 1);
	assert_int_equal(block_head_decode(&key, 0, head, &h), OK);
	h.level = 2;
	block_head_encode(&key, &h, head);
	rewind(file);
	assert_int_equal(fwrite(head, sizeof head, 1, file), 1);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(fixture_try_open(&f), ERR_FORMAT);
	assert_non_null(strstr(f.why, "level"));
	fixture_deinit(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_a_store_is_refused),
		cmocka_unit_test(an_interrupted_birth_starts_over),
		cmocka_unit_test(a_birth_mark_beside_data_is_refused),
		cmocka_unit_test(bad_options_are_refused),
		cmocka_unit_test(one_process_at_a_time),
		cmocka_unit_test(both_identities_bad),
		cmocka_unit_test(a_higher_level_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
