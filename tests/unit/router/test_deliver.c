/* SPDX-License-Identifier: Apache-2.0 */
#include "receiver.h"

static void plain_and_wildcards(void **state)
{
	(void)state;
	struct router r;
	router_init(&r, 1);
	struct receiver rx[6] = { 0 };
	static const char *const patterns[] = { "a.b", "a.*", "a.>", ">", "*.b", "a.b" };
	for (size_t i = 0; i < COUNT_OF(rx); i++) receiver_open(&rx[i], &r, patterns[i], "");
	assert_int_equal(send_to(&r, "a.b"), 6);
	assert_int_equal(send_to(&r, "a.c"), 3);
	assert_int_equal(send_to(&r, "a.b.c"), 2);
	assert_int_equal(send_to(&r, "x"), 1);
	assert_int_equal(send_to(&r, "a..b"), 0);
	assert_int_equal(send_to(&r, "a."), 0);
	assert_int_equal(send_to(&r, ""), 0);
	/* Wildcards of a publisher are text. */
	assert_int_equal(send_to(&r, "a.*"), 3);
	assert_int_equal(send_to(&r, ">"), 1);
	static const size_t counts[] = { 1, 3, 4, 6, 1, 1 };
	for (size_t i = 0; i < COUNT_OF(rx); i++) assert_int_equal(rx[i].count, counts[i]);
	assert_int_equal(r.stats.in_msgs, 9);
	assert_int_equal(r.stats.in_bytes, 45);
	assert_int_equal(r.stats.out_msgs, 16);
	assert_int_equal(r.stats.out_bytes, 80);
	for (size_t i = 0; i < COUNT_OF(rx); i++) router_unsubscribe(&rx[i].sub);
	router_unsubscribe(&rx[0].sub);
	assert_int_equal(send_to(&r, "a.b"), 0);
	router_deinit(&r);
}

static void bad_subjects(void **state)
{
	(void)state;
	struct router r;
	router_init(&r, 1);
	struct receiver rx = { .sink.ops = receiver_ops() };
	rx.sub.sink = &rx.sink;
	static const char *const bad[] = { "", "a..b", ".", "a.>.b", "a b" };
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_int_equal(router_subscribe(&r, &rx.sub, slice_of_str(bad[i]), SLICE_NULL), ERR_INVALID);
		assert_false(sub_is_active(&rx.sub));
	}
	router_deinit(&r);
}

/* A JetStream delivery is matched on one subject and shows another. */
static void shown_subject(void **state)
{
	(void)state;
	struct router r;
	router_init(&r, 1);
	struct receiver rx = { 0 };
	receiver_open(&rx, &r, "_INBOX.x.*", "");
	struct msg m = { .subject = SLICE("orders.new"), .to = SLICE("_INBOX.x.1") };
	assert_int_equal(router_publish(&r, &m), 1);
	assert_true(slice_eq_str(rx.shown, "orders.new"));
	router_unsubscribe(&rx.sub);
	router_deinit(&r);
}

enum { SHARE_ROUNDS = 3000 };

static void queue_shares(void **state)
{
	(void)state;
	struct router r;
	router_init(&r, 2);
	struct receiver rx[4] = { 0 };
	/* One group over two patterns, and another one beside it. */
	receiver_open(&rx[0], &r, "a.b", "q");
	receiver_open(&rx[1], &r, "a.b", "q");
	receiver_open(&rx[2], &r, "a.*", "q");
	receiver_open(&rx[3], &r, "a.b", "other");
	for (int i = 0; i < SHARE_ROUNDS; i++) assert_int_equal(send_to(&r, "a.b"), 2);
	assert_int_equal(rx[0].count + rx[1].count + rx[2].count, SHARE_ROUNDS);
	assert_int_equal(rx[3].count, SHARE_ROUNDS);
	for (size_t i = 0; i < 3; i++) assert_in_range(rx[i].count, SHARE_ROUNDS / 3 - 150, SHARE_ROUNDS / 3 + 150);
	/* One that refuses leaves it to the others. */
	size_t before = rx[0].count;
	rx[0].refuses = true;
	for (int i = 0; i < 100; i++) assert_int_equal(send_to(&r, "a.b"), 2);
	assert_int_equal(rx[0].count, before);
	rx[1].refuses = rx[2].refuses = true;
	assert_int_equal(send_to(&r, "a.b"), 1);
	for (size_t i = 0; i < 4; i++) router_unsubscribe(&rx[i].sub);
	router_deinit(&r);
}

static void remote_queue_members(void **state)
{
	(void)state;
	struct router r;
	router_init(&r, 3);
	struct receiver local = { 0 }, far[2] = { 0 };
	far[0].sub.is_remote = far[1].sub.is_remote = true;
	far[0].sub.weight = 1;
	far[1].sub.weight = 3;
	receiver_open(&far[0], &r, "a", "q");
	receiver_open(&far[1], &r, "a", "q");
	for (int i = 0; i < 4000; i++) assert_int_equal(send_to(&r, "a"), 1);
	assert_in_range(far[0].count, 850, 1150);
	router_weight_set(&far[0].sub, 3);
	far[0].count = far[1].count = 0;
	for (int i = 0; i < 4000; i++) assert_int_equal(send_to(&r, "a"), 1);
	assert_in_range(far[0].count, 1850, 2150);
	/* Local members go first, remote ones are a fall-back. */
	receiver_open(&local, &r, "a", "q");
	far[0].count = far[1].count = 0;
	for (int i = 0; i < 100; i++) assert_int_equal(send_to(&r, "a"), 1);
	assert_int_equal(local.count, 100);
	local.refuses = true;
	assert_int_equal(send_to(&r, "a"), 1);
	assert_int_equal(far[0].count + far[1].count, 1);
	router_unsubscribe(&local.sub);
	router_unsubscribe(&far[0].sub);
	router_unsubscribe(&far[1].sub);
	router_deinit(&r);
}

/* A message from a link goes to no link, and to the groups that the link names. */
static void from_peer(void **state)
{
	(void)state;
	struct router r;
	router_init(&r, 4);
	struct receiver plain = { 0 }, far = { 0 }, q1 = { 0 }, q2 = { 0 }, far_q1 = { 0 };
	far.sub.is_remote = far_q1.sub.is_remote = true;
	receiver_open(&plain, &r, "a", "");
	receiver_open(&far, &r, "a", "");
	receiver_open(&q1, &r, "a", "q1");
	receiver_open(&far_q1, &r, "a", "q1");
	receiver_open(&q2, &r, "a", "q2");
	struct slice queues[] = { SLICE("q1"), SLICE("none") };
	struct msg m = { .subject = SLICE("a"), .flags = MSG_FROM_PEER, .queues = queues, .queue_count = 2 };
	assert_int_equal(router_publish(&r, &m), 2);
	assert_true(plain.count == 1 && q1.count == 1 && q2.count == 0 && far.count == 0 && far_q1.count == 0);
	m.queue_count = 0;
	assert_int_equal(router_publish(&r, &m), 1);
	m.flags = 0;
	assert_int_equal(router_publish(&r, &m), 4);
	struct receiver *all[] = { &plain, &far, &q1, &far_q1, &q2 };
	for (size_t i = 0; i < COUNT_OF(all); i++) router_unsubscribe(&all[i]->sub);
	router_deinit(&r);
}

static void questions(void **state)
{
	(void)state;
	struct router r;
	router_init(&r, 5);
	struct receiver a = { 0 }, b = { 0 };
	receiver_open(&a, &r, "_INBOX.x.*", "");
	receiver_open(&b, &r, "jobs", "q");
	assert_true(router_has_interest(&r, SLICE("_INBOX.x.1"), SLICE_NULL));
	assert_false(router_has_interest(&r, SLICE("_INBOX.y.1"), SLICE_NULL));
	assert_true(router_has_interest(&r, SLICE("jobs"), SLICE_NULL));
	assert_true(router_has_interest(&r, SLICE("jobs"), SLICE("q")));
	assert_false(router_has_interest(&r, SLICE("jobs"), SLICE("p")));
	assert_false(router_has_interest(&r, SLICE("_INBOX.x.1"), SLICE("q")));
	assert_ptr_equal(router_find(&r, &a.sink, SLICE("_INBOX.x.1")), &a.sub);
	assert_null(router_find(&r, &b.sink, SLICE("_INBOX.x.1")));
	assert_null(router_find(&r, &b.sink, SLICE("jobs"))); /* a queue sub is no plain one */
	router_unsubscribe(&a.sub);
	assert_false(router_has_interest(&r, SLICE("_INBOX.x.1"), SLICE_NULL));
	router_unsubscribe(&b.sub);
	router_deinit(&r);
}

/* ---- inside deliver ---- */

struct crowd {
	struct router r;
	struct receiver *rx[8]; /* owned; NULL once freed */
};

static void free_everybody(struct receiver *rx, const struct msg *m)
{
	(void)m;
	struct crowd *c = rx->arg;
	for (size_t i = 0; i < COUNT_OF(c->rx); i++) {
		router_unsubscribe(&c->rx[i]->sub);
		if (c->rx[i] == rx) continue; /* still running: the test frees it */
		mem_free(c->rx[i]);
		c->rx[i] = NULL;
	}
}

/* The first receiver ends and frees all others: none of them is touched any more. */
static void everybody_goes(void **state)
{
	(void)state;
	for (int with_queue = 0; with_queue < 2; with_queue++) {
		struct crowd c = { 0 };
		router_init(&c.r, 6);
		for (size_t i = 0; i < COUNT_OF(c.rx); i++) {
			c.rx[i] = NEW(struct receiver);
			c.rx[i]->inside = free_everybody;
			c.rx[i]->arg = &c;
			receiver_open(c.rx[i], &c.r, i % 2 ? "a.*" : "a.b", with_queue && i % 3 ? "q" : "");
		}
		assert_int_equal(send_to(&c.r, "a.b"), 1);
		assert_int_equal(send_to(&c.r, "a.b"), 0);
		for (size_t i = 0; i < COUNT_OF(c.rx); i++) mem_free(c.rx[i]);
		router_deinit(&c.r);
	}
}

/* A member that goes while it is asked (and refuses) does not stop the search. */
static bool leave_and_refuse(struct sink *k, struct sub *s, const struct msg *m)
{
	(void)k;
	(void)m;
	router_unsubscribe(s);
	return false;
}

static void member_goes_and_refuses(void **state)
{
	(void)state;
	static const struct sink_ops leaving = { .deliver = leave_and_refuse };
	struct router r;
	router_init(&r, 7);
	for (int round = 0; round < 50; round++) {
		struct receiver stays = { 0 };
		struct sink sink = { &leaving };
		struct sub subs[3] = { { .sink = &sink }, { .sink = &sink }, { .sink = &sink } };
		for (size_t i = 0; i < 3; i++)
			assert_int_equal(router_subscribe(&r, &subs[i], SLICE("a"), SLICE("q")), OK);
		receiver_open(&stays, &r, "a", "q");
		assert_int_equal(send_to(&r, "a"), 1);
		assert_int_equal(stays.count, 1);
		for (size_t i = 0; i < 3; i++) router_unsubscribe(&subs[i]);
		router_unsubscribe(&stays.sub);
	}
	router_deinit(&r);
}

struct change {
	struct router r;
	struct receiver first, second, newcomer;
};

/* The second, who would be next, goes; his place must not be given to the newcomer while the message is under way. */
static void replace_second(struct receiver *rx, const struct msg *m)
{
	(void)m;
	struct change *c = rx->arg;
	rx->inside = NULL;
	router_unsubscribe(&c->second.sub);
	receiver_open(&c->newcomer, &c->r, "a", "");
}

static void newcomer_gets_the_next(void **state)
{
	(void)state;
	struct change c = { .first.inside = replace_second };
	router_init(&c.r, 8);
	c.first.arg = &c;
	receiver_open(&c.first, &c.r, "a", "");
	receiver_open(&c.second, &c.r, "a", "");
	assert_int_equal(send_to(&c.r, "a"), 1);
	assert_int_equal(c.newcomer.count, 0);
	assert_int_equal(send_to(&c.r, "a"), 2);
	assert_int_equal(c.newcomer.count, 1);
	assert_int_equal(c.second.count, 0);
	router_unsubscribe(&c.first.sub);
	router_unsubscribe(&c.newcomer.sub);
	router_deinit(&c.r);
}

static void publish_again(struct receiver *rx, const struct msg *m) { router_publish(rx->arg, m); }

static void loops_are_cut(void **state)
{
	(void)state;
	struct router r;
	router_init(&r, 9);
	struct receiver rx = { .inside = publish_again, .arg = &r };
	receiver_open(&rx, &r, "a", "");
	assert_int_equal(send_to(&r, "a"), 1);
	assert_int_equal(rx.count, ROUTER_DEPTH_MAX);
	assert_int_equal(r.stats.loops_cut, 1);
	router_unsubscribe(&rx.sub);
	router_deinit(&r);
}

/* ---- cache ---- */

static void cache_is_bounded_and_true(void **state)
{
	(void)state;
	struct router r;
	router_init(&r, 10);
	struct receiver all = { 0 }, inbox = { 0 };
	receiver_open(&all, &r, "s.>", "");
	char subject[32];
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 20000; i++) {
			(void)snprintf(subject, sizeof subject, "s.%d.x", i);
			assert_int_equal(send_to(&r, subject), 1);
		}
	assert_true(r.stats.cache_evictions > 10000);
	assert_true(r.cache_sets == ROUTER_CACHE_SETS_MAX);
	/* Hot subjects stay, and an inbox that comes and goes does not disturb them. */
	send_to(&r, "s.hot");
	uint64_t misses = r.stats.cache_misses;
	for (int i = 0; i < 100; i++) {
		(void)snprintf(subject, sizeof subject, "_INBOX.%d.*", i);
		receiver_open(&inbox, &r, subject, "");
		assert_int_equal(send_to(&r, "s.hot"), 1);
		router_unsubscribe(&inbox.sub);
	}
	/* The hundred and two prefixes share a thousand counters: a collision costs a miss, no more. */
	assert_true(r.stats.cache_misses - misses < 5);
	router_unsubscribe(&all.sub);
	assert_int_equal(send_to(&r, "s.hot"), 0);
	router_deinit(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_and_wildcards),
		cmocka_unit_test(bad_subjects),
		cmocka_unit_test(shown_subject),
		cmocka_unit_test(queue_shares),
		cmocka_unit_test(remote_queue_members),
		cmocka_unit_test(from_peer),
		cmocka_unit_test(questions),
		cmocka_unit_test(everybody_goes),
		cmocka_unit_test(member_goes_and_refuses),
		cmocka_unit_test(newcomer_gets_the_next),
		cmocka_unit_test(loops_are_cut),
		cmocka_unit_test(cache_is_bounded_and_true),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
