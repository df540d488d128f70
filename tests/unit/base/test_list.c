/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

struct item {
	int id;
	struct list link;
};

static void check_order(struct list *head, const char *want)
{
	struct buf b = { 0 };
	for (struct list *at = head->next; at != head; at = at->next)
		buf_printf(&b, "%d", CONTAINER_OF(at, struct item, link)->id);
	assert_string_equal(buf_str(&b), want);
	buf_clear(&b);
	for (struct list *at = head->prev; at != head; at = at->prev)
		buf_printf(&b, "%d", CONTAINER_OF(at, struct item, link)->id);
	assert_int_equal(b.n, strlen(want)); /* the same backwards */
	buf_deinit(&b);
}

static void pushing_removing_splicing(void **state)
{
	(void)state;
	struct list a, b;
	struct item items[5] = { { .id = 0 }, { .id = 1 }, { .id = 2 }, { .id = 3 }, { .id = 4 } };
	list_init(&a);
	list_init(&b);
	assert_true(list_is_empty(&a));
	assert_null(list_first(&a));
	assert_null(list_pop_front(&a));
	list_push_back(&a, &items[0].link);
	list_push_back(&a, &items[1].link);
	list_push_front(&a, &items[2].link);
	list_insert_before(&items[1].link, &items[3].link);
	check_order(&a, "2031");
	list_splice_back(&b, &a);
	assert_true(list_is_empty(&a));
	check_order(&b, "2031");
	list_splice_back(&b, &a); /* nothing to move */
	list_push_back(&a, &items[4].link);
	list_splice_back(&b, &a);
	check_order(&b, "20314");
	list_remove(&items[3].link);
	assert_false(list_is_linked(&items[3].link));
	list_remove_if_linked(&items[3].link);
	list_remove_if_linked(&items[4].link);
	check_order(&b, "201");
	LIST_EACH_SAFE (at, &b) list_remove(at);
	assert_true(list_is_empty(&b));
	list_push_back(&b, &items[3].link);
	assert_ptr_equal(list_pop_front(&b), &items[3].link);
}

static void link_twice(void *arg)
{
	(void)arg;
	struct list head;
	struct item item = { 0 };
	list_init(&head);
	list_push_back(&head, &item.link);
	list_push_back(&head, &item.link);
}

static void remove_unlinked(void *arg)
{
	(void)arg;
	struct item item = { 0 };
	list_remove(&item.link);
}

static void wrong_links_are_our_bugs(void **state)
{
	(void)state;
	char said[8192];
	assert_true(check_aborts(link_twice, NULL, said, sizeof said));
	assert_true(check_aborts(remove_unlinked, NULL, said, sizeof said));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pushing_removing_splicing),
		cmocka_unit_test(wrong_links_are_our_bugs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
