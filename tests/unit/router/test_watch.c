/* SPDX-License-Identifier: Apache-2.0 */
#include "receiver.h"

struct watcher {
	struct router_watch watch;
	size_t on, off;
	void (*inside)(struct watcher *w);
	void *arg;
};

static void watcher_change(struct router_watch *rw, bool interested)
{
	struct watcher *w = CONTAINER_OF(rw, struct watcher, watch);
	interested ? w->on++ : w->off++;
	if (w->inside) w->inside(w);
}

static bool watcher_open(struct watcher *w, struct router *r, const char *subject, const char *queue)
{
	w->watch.on_change = watcher_change;
	return router_watch_add(r, &w->watch, slice_of_str(subject), slice_of_str(queue));
}

static void first_and_last(void **state)
{
	(void)state;
	struct router r;
	router_init(&r, 1);
	struct watcher w = { 0 }, group = { 0 }, bystander = { 0 };
	struct receiver a = { 0 }, b = { 0 }, q = { 0 };
	assert_false(watcher_open(&w, &r, "deliver.x", ""));
	assert_false(watcher_open(&group, &r, "deliver.x", "q"));
	assert_false(watcher_open(&bystander, &r, "deliver.y", ""));
	static const char *const patterns[] = { "deliver.x", "deliver.*", "deliver.>", "*.x", ">" };
	for (size_t i = 0; i < COUNT_OF(patterns); i++) {
		receiver_open(&a, &r, patterns[i], "");
		assert_int_equal(w.on, i + 1);
		receiver_open(&b, &r, "deliver.x", "");
		assert_int_equal(w.on, i + 1);
		router_unsubscribe(&a.sub);
		assert_int_equal(w.off, i);
		router_unsubscribe(&b.sub);
		assert_int_equal(w.off, i + 1);
	}
	assert_int_equal(group.on, 0);
	assert_int_equal(bystander.on, 3);
	receiver_open(&q, &r, "deliver.*", "q");
	assert_true(w.on == COUNT_OF(patterns) + 1 && group.on == 1);
	receiver_open(&a, &r, "deliver.x", "p");
	router_unsubscribe(&q.sub);
	assert_true(group.off == 1 && w.off == COUNT_OF(patterns));
	router_unsubscribe(&a.sub);
	router_watch_remove(&w.watch);
	router_watch_remove(&w.watch);
	receiver_open(&a, &r, "deliver.x", "");
	assert_int_equal(w.on, COUNT_OF(patterns) + 1);
	/* Who comes late is told at once. */
	assert_true(watcher_open(&w, &r, "deliver.x", ""));
	router_unsubscribe(&a.sub);
	router_watch_remove(&w.watch);
	router_watch_remove(&group.watch);
	router_watch_remove(&bystander.watch);
	router_deinit(&r);
}

struct plot {
	struct router r;
	struct watcher w[3];
	struct receiver rx;
};

static void end_all(struct watcher *w)
{
	struct plot *p = w->arg;
	for (size_t i = 0; i < COUNT_OF(p->w); i++) router_watch_remove(&p->w[i].watch);
	router_unsubscribe(&p->rx.sub);
}

/* The first that is told ends all watches, and the sub that is just being added. */
static void ended_while_told(void **state)
{
	(void)state;
	struct plot p = { 0 };
	router_init(&p.r, 2);
	for (size_t i = 0; i < COUNT_OF(p.w); i++) {
		p.w[i].inside = end_all;
		p.w[i].arg = &p;
		watcher_open(&p.w[i], &p.r, "a.b", "");
	}
	receiver_open(&p.rx, &p.r, "a.*", "");
	assert_false(sub_is_active(&p.rx.sub));
	assert_int_equal(p.w[0].on + p.w[1].on + p.w[2].on, 1);
	router_deinit(&p.r);
}

static void answer_with_sub(struct watcher *w)
{
	struct plot *p = w->arg;
	w->inside = NULL;
	receiver_open(&p->rx, &p->r, "c", "");
}

/* What a watch does may concern other watches: they are told too, after it. */
static void told_in_turn(void **state)
{
	(void)state;
	struct plot p = { 0 };
	struct receiver first = { 0 };
	router_init(&p.r, 3);
	p.w[0].inside = answer_with_sub;
	p.w[0].arg = &p;
	watcher_open(&p.w[0], &p.r, "a", "");
	watcher_open(&p.w[1], &p.r, "c", "");
	receiver_open(&first, &p.r, "a", "");
	assert_true(p.w[0].on == 1 && p.w[1].on == 1);
	router_unsubscribe(&first.sub);
	router_unsubscribe(&p.rx.sub);
	assert_true(p.w[0].off == 1 && p.w[1].off == 1);
	router_watch_remove(&p.w[0].watch);
	router_watch_remove(&p.w[1].watch);
	router_deinit(&p.r);
}

/* ---- links ---- */

struct link {
	struct interest_watch watch;
	struct buf told;
};

static void link_told(struct interest_watch *w, struct slice subject, struct slice queue, uint32_t count)
{
	struct link *l = CONTAINER_OF(w, struct link, watch);
	buf_printf(&l->told, "%.*s/%.*s=%u ", SLICE_FMT(subject), SLICE_FMT(queue), count);
}

static void all_interest(void **state)
{
	(void)state;
	struct router r;
	router_init(&r, 4);
	struct link l = { .watch.on_interest = link_told };
	struct receiver a = { 0 }, b = { 0 }, c = { 0 }, far = { .sub.is_remote = true };
	router_interest_watch_add(&r, &l.watch);
	receiver_open(&far, &r, "x", "");
	receiver_open(&a, &r, "x", "");
	receiver_open(&b, &r, "x", "");
	CHECK_BUF(&l.told, "x/=1 ");
	router_unsubscribe(&a.sub);
	CHECK_BUF(&l.told, "");
	router_unsubscribe(&b.sub);
	CHECK_BUF(&l.told, "x/=0 ");
	receiver_open(&a, &r, "x.*", "q");
	receiver_open(&b, &r, "x.*", "q");
	receiver_open(&c, &r, "x.*", "");
	router_unsubscribe(&a.sub);
	CHECK_BUF(&l.told, "x.*/q=1 x.*/q=2 x.*/=1 x.*/q=1 ");
	router_interest_tell(&r, &l.watch);
	CHECK_BUF(&l.told, "x.*/=1 x.*/q=1 ");
	router_unsubscribe(&b.sub);
	router_unsubscribe(&c.sub);
	router_unsubscribe(&far.sub);
	CHECK_BUF(&l.told, "x.*/q=0 x.*/=0 ");
	router_interest_watch_remove(&l.watch);
	buf_deinit(&l.told);
	router_deinit(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_and_last),
		cmocka_unit_test(ended_while_told),
		cmocka_unit_test(told_in_turn),
		cmocka_unit_test(all_interest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
