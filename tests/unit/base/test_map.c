/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

enum { ITEMS = 1000 };

struct item {
	uint64_t id;
	bool in, seen;
};

static struct slice item_key(const void *item) { return map_key_u64(&((const struct item *)item)->id); }

/* Every item that is in is found by get and met once by the walk. */
static void check_whole(struct map *m, struct item *items, size_t count)
{
	assert_int_equal(m->count, count);
	size_t walked = 0;
	struct item *it;
	for (size_t at = 0; (it = map_next(m, &at)) != NULL; walked++) {
		assert_true(it->in && !it->seen);
		it->seen = true;
	}
	assert_int_equal(walked, count);
	for (size_t i = 0; i < ITEMS; i++) {
		assert_ptr_equal(map_get(m, map_key_u64(&items[i].id)), items[i].in ? &items[i] : NULL);
		items[i].seen = false;
	}
}

static void random_operations_against_the_model(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		struct map m;
		struct item items[ITEMS] = { 0 };
		struct prng r;
		prng_init(&r, seed);
		map_init(&m, seed, item_key);
		size_t count = 0;
		for (size_t i = 0; i < ITEMS; i++) items[i].id = i * 0x10001;
		for (int step = 0; step < 20000; step++) {
			/* Waves: filling, emptying, so that the table grows and shrinks. */
			bool put = prng_chance(&r, step / 4000 % 2 == 0 ? 3 : 1, 4);
			struct item *it = &items[prng_below(&r, ITEMS)];
			if (put) {
				assert_ptr_equal(map_put(&m, it), it->in ? it : NULL);
				count += !it->in;
			} else {
				assert_ptr_equal(map_del(&m, map_key_u64(&it->id)), it->in ? it : NULL);
				count -= it->in;
			}
			it->in = put;
			if (step % 1000 == 0) check_whole(&m, items, count);
		}
		check_whole(&m, items, count);
		map_deinit(&m);
	}
}

static void putting_replaces_what_has_the_same_key(void **state)
{
	(void)state;
	struct map m;
	struct item a = { .id = 5 }, b = { .id = 5 };
	uint64_t other = 6;
	map_init(&m, 1, item_key);
	assert_null(map_get(&m, map_key_u64(&other)));
	assert_null(map_del(&m, map_key_u64(&other)));
	size_t at = 0;
	assert_null(map_next(&m, &at));
	assert_null(map_put(&m, &a));
	assert_ptr_equal(map_put(&m, &b), &a);
	assert_int_equal(m.count, 1);
	assert_ptr_equal(map_get(&m, map_key_u64(&a.id)), &b);
	assert_null(map_get(&m, map_key_u64(&other)));
	map_deinit(&m);
}

/* The walk is a function of keys, seed and table size, not of the history or of addresses. */
static void the_order_of_a_walk_does_not_tell_the_history(void **state)
{
	(void)state;
	struct map forth, back;
	struct item items[ITEMS] = { 0 }, *copies = mem_zalloc(sizeof items);
	map_init(&forth, 42, item_key);
	map_init(&back, 42, item_key);
	for (size_t i = 0; i < ITEMS; i++) items[i].id = copies[i].id = i;
	for (size_t i = 0; i < ITEMS; i++) (void)map_put(&forth, &items[i]);
	for (size_t i = ITEMS; i-- > 0;) (void)map_put(&back, &copies[i]);
	for (size_t i = 0; i < ITEMS; i += 3) {
		(void)map_del(&forth, map_key_u64(&items[i].id));
		(void)map_del(&back, map_key_u64(&items[ITEMS - 1 - i].id));
	}
	for (size_t i = 0; i < ITEMS; i++) { /* the same 300 ids are out of both in the end */
		if (i % 3 == 0) (void)map_put(&forth, &items[i]);
		if ((ITEMS - 1 - i) % 3 == 0) (void)map_put(&back, &copies[i]);
	}
	assert_int_equal(forth.mask, back.mask);
	size_t at = 0, other = 0;
	const struct item *a, *b;
	while ((a = map_next(&forth, &at)) != NULL) {
		b = map_next(&back, &other);
		assert_non_null(b);
		assert_true(a->id == b->id);
	}
	assert_null(map_next(&back, &other));
	map_deinit(&forth);
	map_deinit(&back);
	mem_free(copies);
}

static void an_emptied_map_gives_memory_back(void **state)
{
	(void)state;
	struct map m;
	size_t n = 50000;
	struct item *items = mem_zalloc(n * sizeof *items);
	map_init(&m, 3, item_key);
	for (size_t i = 0; i < n; i++) {
		items[i].id = i;
		(void)map_put(&m, &items[i]);
	}
	assert_true((m.mask + 1) * 13 >= n * 16 && m.mask + 1 <= 4 * n);
	for (size_t i = 0; i < n; i++) assert_ptr_equal(map_del(&m, map_key_u64(&items[i].id)), &items[i]);
	assert_true(m.mask + 1 <= 16);
	map_deinit(&m);
	mem_free(items);
}

static struct slice text_key(const void *item) { return slice_of_str(item); }

static void keys_may_be_any_bytes(void **state)
{
	(void)state;
	static const char *const words[] = { "", "a", "b", "ab", "foo.bar", "foo.bar.baz", "\xc3\xa9" };
	struct map m;
	map_init(&m, 9, text_key);
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		char *copy = mem_strdup(words[i]);
		assert_null(map_put(&m, copy));
	}
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		char *got = map_del(&m, slice_of_str(words[i]));
		assert_string_equal(got, words[i]);
		mem_free(got);
	}
	assert_int_equal(m.count, 0);
	map_deinit(&m);
}

static void the_seed_matters(void **state)
{
	(void)state;
	struct map a, b;
	map_init(&a, 1, text_key);
	map_init(&b, 2, text_key);
	assert_true(map_hash(&a, SLICE("x")) != map_hash(&b, SLICE("x")));
	assert_true(hash_bytes(NULL, 0, 0) == 0x2d06800538d394c2); /* XXH3 of nothing */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations_against_the_model),
		cmocka_unit_test(putting_replaces_what_has_the_same_key),
		cmocka_unit_test(the_order_of_a_walk_does_not_tell_the_history),
		cmocka_unit_test(an_emptied_map_gives_memory_back),
		cmocka_unit_test(keys_may_be_any_bytes),
		cmocka_unit_test(the_seed_matters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
