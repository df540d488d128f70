/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "uv_spin.h"

enum { WINDOW = 50000 };

static void sleeps(struct uv_spin *s, unsigned count, uint64_t ns)
{
	for (unsigned i = 0; i < count; i++) {
		assert_false(s->is_on);
		uv_spin_slept(s, ns);
	}
}

static void misses(struct uv_spin *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		assert_true(s->is_on);
		uv_spin_miss(s);
	}
}

static void short_sleeps_in_a_row_begin_it(void **state)
{
	(void)state;
	struct uv_spin s;
	uv_spin_init(&s, WINDOW);
	sleeps(&s, UV_SPIN_SHORTS_MIN - 1, WINDOW - 1);
	sleeps(&s, 1, WINDOW); /* one long sleep: counted anew */
	sleeps(&s, UV_SPIN_SHORTS_MIN, 10);
	assert_true(s.is_on);
}

static void who_sleeps_long_never_spins(void **state)
{
	(void)state;
	struct uv_spin s;
	uv_spin_init(&s, WINDOW);
	sleeps(&s, 100000, WINDOW);
	assert_false(s.is_on);
}

static void windows_without_an_event_end_it(void **state)
{
	(void)state;
	struct uv_spin s;
	uv_spin_init(&s, WINDOW);
	sleeps(&s, UV_SPIN_SHORTS_MIN, 10);
	for (unsigned i = 0; i < 100; i++) {
		misses(&s, UV_SPIN_MISSES - 1);
		assert_true(s.is_on);
		uv_spin_hit(&s);
	}
	misses(&s, UV_SPIN_MISSES);
	assert_false(s.is_on);
}

/* Whoever sends needs the processor that we look with: each sleep is short, and no window has an event. What is tried in vain is tried
 * less and less. */
static void in_vain_it_is_hardly_tried(void **state)
{
	(void)state;
	struct uv_spin s;
	uv_spin_init(&s, WINDOW);
	unsigned vain = 0;
	for (unsigned i = 0; i < 1000000; i++) {
		if (s.is_on) {
			uv_spin_miss(&s);
			vain++;
		} else {
			uv_spin_slept(&s, 10);
		}
	}
	assert_true(vain < 100);
	/* Once it pays again, it is begun as quickly as at first. */
	while (!s.is_on) uv_spin_slept(&s, 10);
	for (unsigned i = 0; i < UV_SPIN_PROVEN; i++) uv_spin_hit(&s);
	misses(&s, UV_SPIN_MISSES);
	assert_int_equal(s.shorts_wanted, UV_SPIN_SHORTS_MIN * 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_sleeps_in_a_row_begin_it),
		cmocka_unit_test(who_sleeps_long_never_spins),
		cmocka_unit_test(windows_without_an_event_end_it),
		cmocka_unit_test(in_vain_it_is_hardly_tried),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
