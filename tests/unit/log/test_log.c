/* SPDX-License-Identifier: Apache-2.0 */
/* The log as its users see it: born, appended to, settled, closed and opened again. */
#include "log_fixture.h"

static void entries_survive_close_and_kill(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	struct log_group_info info;
	fixture_begin(&f, &o, 7);
	owner_append_now(&o, 10, 100);
	log_group_info(o.g, &info);
	assert_int_equal(info.last_index, 10);
	assert_int_equal(info.durable_index, 10);
	owner_apply(&o);
	log_vote(o.g, 5, 42, wait_on(&w, &f));
	run(&f);
	fixture_kill(&f);

	fixture_open(&f);
	owner_attach(&o, &f, 7);
	log_group_info(o.g, &info);
	assert_int_equal(info.last_index, 10);
	assert_int_equal(info.last_term, 1);
	assert_int_equal(info.term, 5);
	assert_int_equal(info.vote, 42);
	assert_true(slice_eq_str(info.conf, "conf"));
	assert_false(info.in_doubt);
	assert_int_equal(read_and_check(&o, 1, 10), 10);
	owner_append_now(&o, 1, 100);
	fixture_close(&f);

	fixture_open(&f);
	owner_attach(&o, &f, 7);
	assert_int_equal(read_and_check(&o, 1, 11), 11);
	assert_null(log_group_find(f.log, 6));
	assert_ptr_equal(log_group_after(f.log, 0), o.g);
	assert_null(log_group_after(f.log, 7));
	fixture_end(&f);
}

/* Slots are written over many times; what is dead is left out, what lives is read from segments. */
static void slots_settle_and_wrap(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct log_group_info info;
	fixture_begin(&f, &o, 7);
	for (unsigned round = 0; round < 200; round++) {
		admit(&f, 20 * 1200);
		owner_append_now(&o, 20, 1000);
		owner_apply(&o);
	}
	log_group_info(o.g, &info);
	assert_int_equal(info.last_index, 4000);
	assert_true(f.diag.counter[COUNTER_log_slots_begun] > 50);
	assert_true(o.settled > 3000);
	assert_int_equal(read_and_check(&o, 1, 4000), 4000);
	fixture_kill(&f);

	fixture_open(&f);
	owner_attach(&o, &f, 7);
	log_group_info(o.g, &info);
	assert_int_equal(info.last_index, 4000);
	assert_int_equal(info.contiguous_from, 1);
	assert_false(info.in_doubt);
	uint64_t sum = 0;
	for (uint64_t i = 1; i <= 4000; i++) sum += body_value(7, i);
	owner_apply(&o);
	assert_int_equal(o.sum, sum);
	assert_int_equal(read_and_check(&o, 1, 4000), 4000);

	o.dead_below = 4500;
	for (unsigned round = 0; round < 30; round++) {
		admit(&f, 20 * 1200);
		owner_append_now(&o, 20, 1000);
		owner_apply(&o);
	}
	settle(&f);
	log_group_info(o.g, &info);
	assert_true(info.contiguous_from >= 4500);
	uint64_t there = read_and_check(&o, 1, 4600);
	assert_true(there < 4100 && there >= 101);
	fixture_close(&f);
	fixture_open(&f);
	owner_attach(&o, &f, 7);
	/* Segments that are mostly dead are written anew, so that there may be fewer now. */
	assert_true(read_and_check(&o, 1, 4600) <= there);
	assert_int_equal(read_and_check(&o, 4500, 4600), 101);
	assert_true(f.diag.counter[COUNTER_log_segments_rewritten] > 0);
	fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_survive_close_and_kill),
		cmocka_unit_test(slots_settle_and_wrap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
