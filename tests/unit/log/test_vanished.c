/* SPDX-License-Identifier: Apache-2.0 */
/* Starting when a slot, a segment or the state store is not there any more. */
#include <sys/stat.h>

#include "log_files.h"

static void a_slot_that_vanished_doubts_all(void **state)
{
	(void)state;
	static const char *const slots[] = { "journal/00", "journal/01" };
	for (size_t i = 0; i < COUNT_OF(slots); i++) {
		struct fixture f;
		two_groups(&f, true);
		assert_int_equal(unlink(path_in(&f, slots[i])), 0);
		fixture_open(&f);
		if (i == 1) {
			/* It would have been the next one: it may have been the newest. */
			assert_true(in_doubt(&f, 1));
			assert_int_equal(last_of(&f, 1), 3);
		} else {
			assert_null(log_group_find(f.log, 1)); /* nothing is left that knows of it */
		}
		fixture_end(&f);
	}
}

static struct log_group *make_now(struct fixture *f, uint64_t id)
{
	struct waiter w;
	struct log_group *g;
	assert_int_equal(log_group_make(f->log, id, SLICE("conf"), wait_on(&w, f), &g), OK);
	run(f);
	return g;
}

/* S7, S18: a slot takes the records that made groups with it. Whoever makes them again may not believe that they are new. */
static void a_group_that_vanished_is_made_in_doubt(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w;
	two_groups(&f, true);
	assert_int_equal(unlink(path_in(&f, "journal/00")), 0);
	for (unsigned start = 0; start < 2; start++) {
		fixture_open(&f);
		assert_null(log_group_find(f.log, 1));
		assert_true(log_lacks_groups(f.log));
		fixture_close(&f);
	}
	fixture_open(&f);
	(void)make_now(&f, 1);
	assert_true(in_doubt(&f, 1));
	log_groups_complete(f.log, wait_on(&w, &f));
	run(&f);
	assert_false(log_lacks_groups(f.log));
	(void)make_now(&f, 7);
	assert_false(in_doubt(&f, 7));
	fixture_close(&f);
	fixture_open(&f);
	assert_false(log_lacks_groups(f.log));
	assert_true(in_doubt(&f, 1));
	assert_false(in_doubt(&f, 7));
	fixture_end(&f);
}

static void a_slot_that_is_not_needed_may_vanish(void **state)
{
	(void)state;
	struct fixture f;
	two_groups(&f, true);
	assert_int_equal(unlink(path_in(&f, "journal/04")), 0);
	fixture_open(&f);
	assert_false(in_doubt(&f, 1));
	fixture_close(&f);
	struct stat st;
	assert_int_equal(stat(path_in(&f, "journal/04"), &st), 0);
	assert_int_equal(st.st_size, 65536);
	fixture_deinit(&f);
}

static void settled_groups(struct fixture *f)
{
	struct owner a, b;
	fixture_begin(f, &a, 1);
	owner_make(&b, f, 2);
	owner_append_now(&a, 20, 500);
	owner_append_now(&b, 20, 500);
	owner_apply(&a);
	owner_apply(&b);
	settle(f);
	settle(f);
	fixture_kill(f);
	f->is_quiet = true;
}

static void a_segment_that_vanished_doubts_its_group(void **state)
{
	(void)state;
	struct fixture f;
	struct log_group_info info;
	settled_groups(&f);
	assert_int_equal(unlink(path_in(&f, FIRST_SEGMENT)), 0);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1));
	assert_false(in_doubt(&f, 2));
	log_group_info(log_group_find(f.log, 1), &info);
	assert_int_equal(info.damaged_from, 1);
	assert_int_equal(info.damaged_to, 20);
	assert_int_equal(info.contiguous_from, 21);
	assert_int_equal(info.state_index, 20);
	fixture_end(&f);
}

static void a_state_store_that_vanished_doubts_all(void **state)
{
	(void)state;
	struct fixture f;
	settled_groups(&f);
	assert_int_equal(unlink(path_in(&f, "state.lmdb")), 0);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1));
	assert_true(in_doubt(&f, 2));
	fixture_kill(&f);
	fixture_open(&f); /* a fresh one is there now; that it is not the old one is not forgotten */
	assert_true(in_doubt(&f, 1));
	assert_true(in_doubt(&f, 2));
	fixture_end(&f);
}

/* What the loss of the state store did is over with the doubt, also when the next start comes before the next round. */
static void a_state_store_is_lost_only_once(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	settled_groups(&f);
	fixture_open(&f);
	owner_make(&o, &f, 3);
	fixture_kill(&f);
	assert_int_equal(unlink(path_in(&f, "state.lmdb")), 0);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1) && in_doubt(&f, 2) && in_doubt(&f, 3));
	log_doubt_end(log_group_find(f.log, 3), 7, 42, wait_on(&w, &f));
	run(&f);
	fixture_kill(&f);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1) && in_doubt(&f, 2));
	assert_false(in_doubt(&f, 3));
	fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slot_that_vanished_doubts_all),
		cmocka_unit_test(a_group_that_vanished_is_made_in_doubt),
		cmocka_unit_test(a_slot_that_is_not_needed_may_vanish),
		cmocka_unit_test(a_segment_that_vanished_doubts_its_group),
		cmocka_unit_test(a_state_store_that_vanished_doubts_all),
		cmocka_unit_test(a_state_store_is_lost_only_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
