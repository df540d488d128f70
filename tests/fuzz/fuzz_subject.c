/* SPDX-License-Identifier: Apache-2.0 */
/* Two lines, taken for patterns and for a subject. The relations must agree with each other, and the router with them. */
#include "thebes/base.h"
#include "thebes/router.h"
#include "thebes/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool take(struct sink *k, struct sub *s, const struct msg *m)
{
	(void)k;
	(void)s;
	(void)m;
	return true;
}

static void check_relations(struct slice a, struct slice b)
{
	ASSERT(subject_overlaps(a, b) == subject_overlaps(b, a));
	ASSERT(subject_is_subset(a, a) && subject_overlaps(a, a));
	if (subject_is_subset(a, b)) ASSERT(subject_overlaps(a, b));
	if (subject_is_literal(a)) {
		ASSERT(subject_match(b, a) == subject_is_subset(a, b));
		ASSERT(subject_match(b, a) == subject_overlaps(a, b));
	}
}

static void check_router(struct slice pattern, struct slice subject)
{
	static const struct sink_ops ops = { .deliver = take };
	struct router r;
	struct sink sink = { &ops };
	struct sub sub = { .sink = &sink };
	struct msg m = { .subject = subject };
	router_init(&r, 1);
	size_t before = router_publish(&r, &m);
	bool subscribed = router_subscribe(&r, &sub, pattern, SLICE_NULL) == OK;
	ASSERT(before == 0 && subscribed == subject_is_valid(pattern));
	for (int i = 0; i < 2; i++)
		ASSERT(router_publish(&r, &m) == (subscribed && subject_match(pattern, subject) ? 1 : 0));
	router_unsubscribe(&sub);
	ASSERT(router_publish(&r, &m) == 0);
	router_deinit(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_of(data, size);
	ptrdiff_t lf = slice_find(in, '\n');
	if (lf < 0) return 0;
	size_t n = (size_t)lf;
	uint8_t *one = mem_dup(data, n), *two = mem_dup(data + n + 1, size - n - 1);
	struct slice a = slice_of(one, n), b = slice_of(two, size - n - 1);
	if (subject_is_valid(a) && subject_is_valid(b)) {
		check_relations(a, b);
		check_relations(b, a);
	}
	check_router(a, b);
	mem_free(one);
	mem_free(two);
	return 0;
}
