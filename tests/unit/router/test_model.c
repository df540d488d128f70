/* SPDX-License-Identifier: Apache-2.0 */
/* The router against a list. Random histories of coming, going and publishing, some of it from inside deliver; after each publish every
 * receiver must have got exactly what walking all subscriptions with subject_match says. */
#include "receiver.h"
#include "thebes/wire.h"

enum { SUBS = 60, ROUNDS = 4000 };

struct model_sub {
	struct receiver rx;
	struct model *model;
	char subject[32], queue[4];
	size_t got;     /* in the publish that is being checked */
	bool was_there; /* when it began */
	bool left;      /* since then */
};
struct model {
	struct router r;
	struct prng prng;
	struct model_sub subs[SUBS];
	unsigned nesting;
	uint64_t calmness; /* one event in so many changes subscriptions */
	size_t deliveries, nested, ended_inside;
};

static void random_subject(struct prng *p, char *to, size_t size, bool wildcards)
{
	static const char *const words[] = { "a", "b", "a", "_INBOX", "*", "*" };
	size_t n = 0, tokens = 1 + prng_below(p, 3);
	for (size_t i = 0; i < tokens; i++) {
		const char *word = words[prng_below(p, wildcards ? 6 : 4)];
		if (wildcards && i + 1 == tokens && prng_below(p, 6) == 0) word = ">";
		n += (size_t)snprintf(to + n, size - n, "%s%s", i ? "." : "", word);
	}
}

static void model_toggle(struct model *m, struct model_sub *s)
{
	if (sub_is_active(&s->rx.sub)) {
		router_unsubscribe(&s->rx.sub);
		s->left = true;
		return;
	}
	random_subject(&m->prng, s->subject, sizeof s->subject, prng_below(&m->prng, 2));
	(void)snprintf(s->queue, sizeof s->queue, "%s",
		prng_below(&m->prng, 3)   ? ""
		: prng_below(&m->prng, 2) ? "q"
					  : "p");
	receiver_open(&s->rx, &m->r, s->subject, s->queue);
}

static void model_inside(struct receiver *rx, const struct msg *msg)
{
	struct model_sub *s = CONTAINER_OF(rx, struct model_sub, rx);
	struct model *m = s->model;
	(void)msg;
	if (m->nesting > 1) return; /* inside the nested message */
	s->got++;
	if (prng_below(&m->prng, m->calmness) == 0) {
		struct model_sub *other = &m->subs[prng_below(&m->prng, SUBS)];
		m->ended_inside += sub_is_active(&other->rx.sub);
		model_toggle(m, other);
	}
	if (prng_below(&m->prng, 8) == 0) {
		char subject[32];
		random_subject(&m->prng, subject, sizeof subject, false);
		m->nesting++;
		m->nested += send_to(&m->r, subject);
		m->nesting--;
	}
}

/* Members of a queue are told apart by nothing, so the group is counted as a whole. */
static void check_queue(struct model *m, const char *queue, struct slice subject)
{
	size_t got = 0, there = 0, stayed = 0;
	for (size_t i = 0; i < SUBS; i++) {
		const struct model_sub *s = &m->subs[i];
		if (!s->was_there || strcmp(s->queue, queue) != 0) continue;
		if (!subject_match(slice_of_str(s->subject), subject)) continue;
		there++;
		stayed += !s->left;
		got += s->got;
	}
	assert_true(got <= 1);
	if (stayed > 0) assert_int_equal(got, 1);
	if (there == 0) assert_int_equal(got, 0);
}

static void model_publish(struct model *m, bool calm)
{
	char text[32];
	random_subject(&m->prng, text, sizeof text, prng_below(&m->prng, 20) == 0);
	struct slice subject = slice_of_str(text);
	struct model_sub before[SUBS];
	for (size_t i = 0; i < SUBS; i++) {
		m->subs[i].got = 0;
		m->subs[i].left = false;
		m->subs[i].was_there = sub_is_active(&m->subs[i].rx.sub);
		m->subs[i].rx.inside = calm ? NULL : model_inside;
		m->subs[i].rx.count = 0;
		before[i] = m->subs[i];
	}
	m->nesting = 1;
	size_t taken = send_to(&m->r, text), got = 0;
	for (size_t i = 0; i < SUBS; i++) {
		/* The subject it had when the message came; it may have come back under another one. */
		struct model_sub *s = &m->subs[i], now = *s;
		if (calm) s->got = s->rx.count;
		got += s->got;
		bool covered = before[i].was_there && subject_match(slice_of_str(before[i].subject), subject);
		if (!covered) assert_int_equal(s->got, 0);
		if (covered && !*before[i].queue && !now.left) assert_int_equal(s->got, 1);
		assert_true(s->got <= 1);
		memcpy(s->subject, before[i].subject, sizeof s->subject);
		memcpy(s->queue, before[i].queue, sizeof s->queue);
		before[i] = now;
	}
	check_queue(m, "q", subject);
	check_queue(m, "p", subject);
	for (size_t i = 0; i < SUBS; i++) {
		memcpy(m->subs[i].subject, before[i].subject, sizeof before[i].subject);
		memcpy(m->subs[i].queue, before[i].queue, sizeof before[i].queue);
	}
	assert_int_equal(taken, got);
	m->deliveries += taken;
}

static void histories(void **state)
{
	(void)state;
	uint64_t hits = 0;
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct model *m = NEW(struct model);
		router_init(&m->r, seed);
		prng_init(&m->prng, seed);
		m->calmness = seed * 4;
		for (size_t i = 0; i < SUBS; i++) m->subs[i].model = m;
		for (unsigned round = 0; round < ROUNDS; round++) {
			if (prng_below(&m->prng, m->calmness) == 0)
				model_toggle(m, &m->subs[prng_below(&m->prng, SUBS)]);
			else
				model_publish(m, prng_below(&m->prng, 2));
		}
		assert_true(m->deliveries > ROUNDS / 2 && m->nested > 50 && m->ended_inside > 10);
		hits += m->r.stats.cache_hits;
		for (size_t i = 0; i < SUBS; i++) router_unsubscribe(&m->subs[i].rx.sub);
		router_deinit(&m->r);
		mem_free(m);
	}
	assert_true(hits > ROUNDS);
}

/* The same seed and the same calls choose the same members. */
static void repeatable(void **state)
{
	(void)state;
	size_t counts[2][5] = { 0 };
	for (int run = 0; run < 2; run++) {
		struct router r;
		router_init(&r, 99);
		struct receiver rx[5] = { 0 };
		for (size_t i = 0; i < 5; i++) receiver_open(&rx[i], &r, i % 2 ? "a.*" : "a.b", "q");
		for (int i = 0; i < 100; i++) send_to(&r, "a.b");
		for (size_t i = 0; i < 5; i++) {
			counts[run][i] = rx[i].count;
			router_unsubscribe(&rx[i].sub);
		}
		router_deinit(&r);
	}
	assert_memory_equal(counts[0], counts[1], sizeof counts[0]);
}

enum { MANY = 100000 };

/* A hundred thousand inboxes come, are found, and go. */
static void many_inboxes(void **state)
{
	(void)state;
	struct router r;
	router_init(&r, 11);
	struct receiver *rx = mem_zalloc(MANY * sizeof *rx);
	char subject[48];
	for (int i = 0; i < MANY; i++) {
		(void)snprintf(subject, sizeof subject, "_INBOX.%022d.*", i);
		receiver_open(&rx[i], &r, subject, "");
	}
	assert_int_equal(r.sub_count, MANY);
	for (int i = 0; i < MANY; i += 7) {
		(void)snprintf(subject, sizeof subject, "_INBOX.%022d.1", i);
		assert_int_equal(send_to(&r, subject), 1);
		assert_int_equal(rx[i].count, 1);
	}
	for (int i = 0; i < MANY; i++) router_unsubscribe(&rx[(size_t)i * 7919 % MANY].sub);
	assert_int_equal(r.sub_count, 0);
	mem_free(rx);
	router_deinit(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(histories),
		cmocka_unit_test(repeatable),
		cmocka_unit_test(many_inboxes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
