/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

static void allocating_never_answers_null(void **state)
{
	(void)state;
	void *nothing = mem_alloc(0);
	assert_non_null(nothing);
	mem_free(nothing);
	uint8_t *zeros = mem_zalloc(100);
	for (int i = 0; i < 100; i++) assert_int_equal(zeros[i], 0);
	zeros = mem_realloc(zeros, 200);
	assert_int_equal(zeros[99], 0);
	mem_free(zeros);
	char *copy = mem_strdup("hello");
	char *part = mem_dup(copy, 3);
	assert_memory_equal(part, "hel", 3);
	mem_free(part);
	mem_free(copy);
	mem_free(NULL);
}

static void allocate_too_much(void *arg)
{
	(void)arg;
	mem_free(mem_alloc(SIZE_MAX / 2));
}

static void a_refused_allocation_reports_and_ends(void **state)
{
	(void)state;
	char said[8192];
	/* AddressSanitizer refuses in its own words and exits instead of aborting. */
	(void)check_aborts(allocate_too_much, NULL, said, sizeof said);
	assert_true(strstr(said, "out of memory") || strstr(said, "allocation-size-too-big"));
}

/* node <- account <- two connections */
struct tree {
	struct ledger node, account, a, b;
};

static struct tree tree_make(size_t node, size_t account, size_t connection)
{
	struct tree t;
	ledger_init(&t.node, NULL, node);
	ledger_init(&t.account, NULL, account);
	ledger_init(&t.a, NULL, connection);
	ledger_init(&t.b, NULL, connection);
	return t;
}

static void tree_link(struct tree *t)
{
	t->account.parent = &t->node;
	t->a.parent = t->b.parent = &t->account;
}

static void a_charge_climbs_or_changes_nothing(void **state)
{
	(void)state;
	struct tree t = tree_make(100, 80, 50);
	tree_link(&t);
	assert_true(ledger_charge(&t.a, 50));
	assert_false(ledger_charge(&t.a, 1));  /* its own limit */
	assert_false(ledger_charge(&t.b, 31)); /* the account's */
	assert_int_equal(t.b.used_bytes, 0);
	assert_int_equal(t.account.used_bytes, 50);
	assert_true(ledger_charge(&t.b, 30));
	assert_true(ledger_is_full(&t.b)); /* through the account */
	assert_true(ledger_is_full(&t.account));
	assert_false(ledger_is_full(&t.node));
	ledger_force(&t.b, 40);
	assert_int_equal(t.node.used_bytes, 120);
	assert_true(ledger_is_full(&t.node));
	assert_true(ledger_charge(&t.b, 0) == false); /* already over */
	ledger_release(&t.b, 70);
	ledger_release(&t.a, 50);
	assert_int_equal(t.node.used_bytes, 0);
	assert_int_equal(t.node.peak_bytes, 120);
	assert_false(ledger_is_full(&t.a));
	ledger_deinit(&t.a);
	ledger_deinit(&t.b);
	ledger_deinit(&t.account);
	ledger_deinit(&t.node);
}

static void charges_near_the_largest_number_do_not_wrap(void **state)
{
	(void)state;
	struct ledger l;
	ledger_init(&l, NULL, 0);
	assert_true(ledger_charge(&l, SIZE_MAX - 1));
	assert_false(ledger_charge(&l, 2));
	assert_true(ledger_charge(&l, 1));
	assert_false(ledger_is_full(&l)); /* without a limit nothing is full */
	ledger_release(&l, SIZE_MAX);
	ledger_deinit(&l);
}

static void random_charges_keep_sums(void **state)
{
	(void)state;
	struct tree t = tree_make(4000, 3000, 2000);
	tree_link(&t);
	struct prng r;
	prng_init(&r, 7);
	for (int i = 0; i < 100000; i++) {
		struct ledger *l = prng_chance(&r, 1, 2) ? &t.a : &t.b;
		size_t n = (size_t)prng_below(&r, 600);
		if (prng_chance(&r, 1, 2)) {
			size_t before = l->used_bytes, account = t.account.used_bytes;
			bool fits = before + n <= 2000 && account + n <= 3000 && t.node.used_bytes + n <= 4000;
			assert_int_equal(ledger_charge(l, n), fits);
			assert_int_equal(l->used_bytes, fits ? before + n : before);
		} else {
			ledger_release(l, size_min(n, l->used_bytes));
		}
		assert_int_equal(t.account.used_bytes, t.a.used_bytes + t.b.used_bytes);
		assert_int_equal(t.node.used_bytes, t.account.used_bytes);
	}
}

static void leak_a_charge(void *arg)
{
	(void)arg;
	struct ledger l;
	ledger_init(&l, NULL, 0);
	ledger_force(&l, 1);
	ledger_deinit(&l);
}

static void release_too_much(void *arg)
{
	(void)arg;
	struct ledger l;
	ledger_init(&l, NULL, 0);
	ledger_release(&l, 1);
}

static void a_pool_recycles_and_keeps_few(void **state)
{
	(void)state;
	struct pool p;
	pool_init(&p, 40, 2);
	uint8_t *objects[4];
	for (int i = 0; i < 4; i++) {
		objects[i] = pool_get(&p);
		memset(objects[i], 0xff, 40);
	}
	assert_int_equal(p.live_count, 4);
	for (int i = 0; i < 4; i++) pool_put(&p, objects[i]);
	assert_int_equal(p.free_count, 2);
	uint8_t *again = pool_get(&p);
	assert_ptr_equal(again, objects[1]); /* last in, first out: still in the cache */
	for (int i = 0; i < 40; i++) assert_int_equal(again[i], 0);
	assert_int_equal(p.free_count, 1);
	pool_put(&p, again);
	pool_deinit(&p);

	pool_init(&p, 1, 1); /* smaller than a link */
	pool_put(&p, pool_get(&p));
	pool_deinit(&p);
}

static void leak_an_object(void *arg)
{
	(void)arg;
	struct pool p;
	pool_init(&p, 8, 1);
	(void)pool_get(&p);
	pool_deinit(&p);
}

static void leaks_and_double_releases_are_our_bugs(void **state)
{
	(void)state;
	void (*const wrong[])(void *) = { leak_a_charge, release_too_much, leak_an_object };
	char said[8192];
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		assert_true(check_aborts(wrong[i], NULL, said, sizeof said));
		assert_non_null(strstr(said, "assertion failed"));
	}
}

static void an_arena_aligns_and_ends_at_its_limit(void **state)
{
	(void)state;
	struct arena a;
	arena_init(&a, 100000);
	size_t count = 0;
	for (size_t n = 0;; n = (n * 7 + 3) % 5000, count++) {
		uint8_t *p = arena_alloc(&a, n);
		if (!p) break;
		assert_int_equal((uintptr_t)p % 16, 0);
		memset(p, (int)n, n);
	}
	assert_true(count > 20);
	assert_true(a.used_bytes <= 100000 && a.used_bytes > 95000);
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_strndup(&a, "", SIZE_MAX));
	arena_deinit(&a);

	arena_init(&a, 0);
	char *s = arena_strndup(&a, "text and more", 4);
	assert_string_equal(s, "text");
	char *large = arena_alloc(&a, 1000000);
	large[999999] = 1;
	assert_string_equal(s, "text");
	assert_null(arena_alloc(&a, SIZE_MAX - 8));
	arena_deinit(&a);
	arena_deinit(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allocating_never_answers_null),
		cmocka_unit_test(a_refused_allocation_reports_and_ends),
		cmocka_unit_test(a_charge_climbs_or_changes_nothing),
		cmocka_unit_test(charges_near_the_largest_number_do_not_wrap),
		cmocka_unit_test(random_charges_keep_sums),
		cmocka_unit_test(a_pool_recycles_and_keeps_few),
		cmocka_unit_test(leaks_and_double_releases_are_our_bugs),
		cmocka_unit_test(an_arena_aligns_and_ends_at_its_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
