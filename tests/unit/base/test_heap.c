/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

enum { ITEMS = 400 };

/* The model: an unsorted array, searched for the smallest (key, time of insertion). */
struct item {
	struct heap_node node;
	uint64_t key, inserted_at;
	bool in;
};

static struct item *model_min(struct item *items)
{
	struct item *min = NULL;
	for (int i = 0; i < ITEMS; i++) {
		struct item *it = &items[i];
		if (!it->in) continue;
		if (!min || it->key < min->key || (it->key == min->key && it->inserted_at < min->inserted_at)) min = it;
	}
	return min;
}

static void random_operations_against_the_model(void **state)
{
	(void)state;
	static const uint64_t key_ranges[] = { 1, 4, 1000, UINT64_MAX };
	for (size_t range = 0; range < COUNT_OF(key_ranges); range++) {
		struct heap h = { 0 };
		struct item items[ITEMS] = { 0 };
		struct prng r;
		prng_init(&r, range);
		uint64_t count = 0;
		for (uint64_t step = 0; step < 20000; step++) {
			struct item *it = &items[prng_below(&r, ITEMS)];
			if (it->in && prng_chance(&r, 1, 2)) it = model_min(items); /* as a timer fires */
			assert_int_equal(heap_is_linked(&it->node), it->in);
			if (it->in) {
				heap_remove(&h, &it->node);
				count--;
			} else {
				it->key = prng_below(&r, key_ranges[range]);
				it->inserted_at = step;
				heap_insert(&h, &it->node, it->key);
				count++;
			}
			it->in = !it->in;
			struct item *min = model_min(items);
			assert_ptr_equal(heap_min(&h), min ? &min->node : NULL);
			assert_true(h.count == count);
		}
	}
}

static void equal_keys_come_out_in_order_of_insertion(void **state)
{
	(void)state;
	struct heap h = { 0 };
	struct item items[ITEMS] = { 0 };
	for (int i = 0; i < ITEMS; i++) heap_insert(&h, &items[i].node, 5);
	for (int i = 0; i < ITEMS; i++) {
		assert_ptr_equal(heap_min(&h), &items[i].node);
		heap_remove(&h, &items[i].node);
		assert_null(items[i].node.child);
	}
	assert_null(heap_min(&h));
}

static void a_million_siblings_need_no_stack(void **state)
{
	(void)state;
	size_t n = 1000000;
	struct heap h = { 0 };
	struct heap_node *nodes = mem_zalloc(n * sizeof *nodes);
	heap_insert(&h, &nodes[0], 0);
	for (size_t i = 1; i < n; i++) heap_insert(&h, &nodes[i], n - i); /* all become children of the root */
	uint64_t last = 0;
	for (size_t i = 0; i < n; i++) {
		struct heap_node *min = heap_min(&h);
		assert_true(min->key >= last);
		last = min->key;
		heap_remove(&h, min);
	}
	assert_true(h.count == 0);
	mem_free(nodes);
}

static void insert_twice(void *arg)
{
	(void)arg;
	struct heap h = { 0 };
	struct heap_node n = { 0 };
	heap_insert(&h, &n, 1);
	heap_insert(&h, &n, 1);
}

static void inserting_twice_is_our_bug(void **state)
{
	(void)state;
	char said[8192];
	assert_true(check_aborts(insert_twice, NULL, said, sizeof said));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations_against_the_model),
		cmocka_unit_test(equal_keys_come_out_in_order_of_insertion),
		cmocka_unit_test(a_million_siblings_need_no_stack),
		cmocka_unit_test(inserting_twice_is_our_bug),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
