/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of each subject, and the message ids that are remembered. */
#include "check.h"

#include "machine.h"

static void counts_and_ends(void **state)
{
	struct subjects t;
	(void)state;
	subjects_init(&t, 1);
	struct subject_entry *a = subjects_get(&t, SLICE("a"));
	for (uint64_t seq = 1; seq <= 5; seq++) subjects_added(&t, a, seq, 100 + seq, true);
	assert_ptr_equal(subjects_get(&t, SLICE("a")), a);
	assert_ptr_equal(subjects_by_id(&t, a->id), a);
	assert_int_equal(a->count, 5);
	assert_int_equal(a->last_seq, 5);
	subjects_removed(&t, a, 5, 0, 1); /* the newest: the one before is known by name */
	assert_int_equal(a->last_seq, 4);
	subjects_removed(&t, a, 2, 0, 1);
	assert_int_equal(a->kept_count, 3);
	assert_int_equal(a->kept[a->kept_head].bytes, 101);
	subjects_removed(&t, a, 0, 4, 2); /* a whole block went */
	assert_int_equal(a->kept_count, 1);
	assert_int_equal(a->kept[a->kept_head].seq, 4);
	uint32_t id = a->id;
	uint64_t born = a->born;
	subjects_removed(&t, a, 4, 0, 1);
	assert_null(subjects_find(&t, SLICE("a")));
	assert_null(subjects_by_id(&t, id));
	assert_int_equal(t.gone_count, 0); /* never written: nothing to delete */
	struct subject_entry *again = subjects_get(&t, SLICE("b"));
	assert_int_equal(again->id, id); /* ids are used again … */
	assert_int_not_equal(again->born, born);
	subjects_deinit(&t);
}

/* The lowest free id is given out, so a replica that was started anew and one that was not go on alike. */
static void ids_are_given_out_alike(void **state)
{
	struct subjects t, fresh;
	uint64_t x = 88172645463325252u, seq = 0;
	uint32_t most = 0;
	(void)state;
	subjects_init(&t, 1);
	for (unsigned step = 0; step < 3000; step++) {
		char name[16];
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		struct slice s = slice_of(name, (size_t)snprintf(name, sizeof name, "s%u", (unsigned)(x % 300)));
		struct subject_entry *e = subjects_find(&t, s);
		if (e && x >> 32 & 1) {
			subjects_removed(&t, e, 0, seq + 1, e->count);
			continue;
		}
		e = subjects_get(&t, s);
		subjects_added(&t, e, ++seq, 1, false);
		assert_ptr_equal(subjects_by_id(&t, e->id), e);
		for (uint32_t i = 0; e->count == 1 && i < e->id; i++) assert_non_null(subjects_by_id(&t, i));
		most = most > (uint32_t)t.by_name.count ? most : (uint32_t)t.by_name.count;
		assert_true(t.id_next <= most);
	}
	subjects_init(&fresh, 2);
	for (uint32_t i = t.id_next; i-- > 0;)
		if (t.by_id[i]) subjects_restore(&fresh, subject_name(t.by_id[i]), i)->count = t.by_id[i]->count;
	subjects_restored(&fresh);
	for (unsigned i = 0; i < 400; i++) {
		char name[16];
		struct slice s = slice_of(name, (size_t)snprintf(name, sizeof name, "n%u", i));
		assert_int_equal(subjects_get(&t, s)->id, subjects_get(&fresh, s)->id);
	}
	subjects_deinit(&t);
	subjects_deinit(&fresh);
}

static void unkept_newest_stays_a_bound(void **state)
{
	struct subjects t;
	(void)state;
	subjects_init(&t, 1);
	struct subject_entry *a = subjects_get(&t, SLICE("a"));
	for (uint64_t seq = 1; seq <= 3; seq++) subjects_added(&t, a, seq, 100, false);
	subjects_removed(&t, a, 3, 0, 1);
	assert_int_equal(a->last_seq, 3);
	assert_false(subject_is_kept(a));
	subjects_last_found(&t, a, 2);
	assert_int_equal(a->last_seq, 2);
	subjects_deinit(&t);
}

static void ids_expire_in_order(void **state)
{
	struct msg_ids d;
	(void)state;
	msg_ids_init(&d, 1);
	msg_ids_add(&d, SLICE("one"), 1, 10);
	msg_ids_add(&d, SLICE("two"), 2, 20);
	msg_ids_add(&d, SLICE("one"), 3, 30); /* said again after its window: the newer counts */
	assert_int_equal(msg_ids_find(&d, SLICE("one"))->seq, 3);
	msg_ids_expire(&d, 20);
	assert_non_null(msg_ids_find(&d, SLICE("two")));
	msg_ids_expire(&d, 21);
	assert_null(msg_ids_find(&d, SLICE("two")));
	assert_int_equal(d.gone_count, 0); /* never written: nothing to delete */
	msg_ids_find(&d, SLICE("one"))->where = MSG_ID_STORED;
	msg_ids_expire(&d, 31);
	assert_int_equal(d.gone_count, 1);
	assert_int_equal(d.gone[0], 3);
	msg_ids_deinit(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_and_ends),
		cmocka_unit_test(ids_are_given_out_alike),
		cmocka_unit_test(unkept_newest_stays_a_bound),
		cmocka_unit_test(ids_expire_in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
