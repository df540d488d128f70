/* SPDX-License-Identifier: Apache-2.0 */
/* The stations of a node: made from rows of the catalogue, found by account and name, closed together. */
#include "station_internal.h"

#include <stdlib.h>

/* What consumers may deliver in one turn, about nanoseconds, before the loop looks after everybody else. */
enum { TURN_WORK = 4 * 1000 * 1000 };
enum { FINISH_MAX_S = 1 }; /* what consumers have to log at the end is not waited for any longer */

static const struct sink_ops station_sink_ops = { .deliver = station_deliver };

static struct slice station_key(const void *item) { return buf_slice(&((const struct station *)item)->key); }

static void make_key(struct buf *b, struct slice account, struct slice name)
{
	buf_append_slice(b, account);
	buf_append_byte(b, 0);
	buf_append_slice(b, name);
}

static void go_on_fire(struct io_timer *t) { (void)t; /* a turn ends: stations_turn_end */ }

void stations_init(struct stations *t, struct io *io, struct diag *diag, struct auth *auth, struct raft_groups *groups,
	uint64_t self)
{
	*t = (struct stations) { .io = io, .diag = diag, .auth = auth, .groups = groups, .self = self };
	map_init(&t->by_name, io_random_u64(io), station_key);
	list_init(&t->all);
	list_init(&t->dirty);
	list_init(&t->accounts);
	t->limits = (struct station_limits) { -1, -1, -1, -1, -1, -1, -1, false, -1, 0 };
	t->go_on.fire = go_on_fire;
	pool_init(&t->publishes, sizeof(struct publish), 4096);
}

static void unsubscribe(struct station *s)
{
	for (size_t i = 0; i < s->sub_count; i++) router_unsubscribe(&s->subs[i]);
	mem_free(s->subs);
	s->subs = NULL;
	s->sub_count = 0;
}

static void subscribe(struct station *s)
{
	const struct stream_config *c = stream_config(s->stream);
	unsubscribe(s);
	if (s->limited->is_off) return;
	s->subs = mem_zalloc((c->subject_count + 1) * sizeof *s->subs);
	for (size_t i = 0; i < c->subject_count; i++) {
		s->subs[i].sink = &s->sink;
		enum err e =
			router_subscribe(&s->account->router, &s->subs[i], slice_of_str(c->subjects[i]), SLICE_NULL);
		ASSERT(e == OK); /* the configuration was checked */
		s->sub_count++;
	}
}

static bool switch_one(void *arg, struct station *s)
{
	(void)arg;
	subscribe(s);
	return true;
}

void stations_switch(struct stations *t, const struct account *account, bool on)
{
	struct station_account *a = stations_account(t, account);
	if (a->is_off == !on) return;
	a->is_off = !on;
	stations_each(t, account->name, switch_one, NULL);
}

static void station_free(struct station *s)
{
	struct stations *t = s->stations;
	unsubscribe(s);
	list_remove_if_linked(&s->link_by_dirty);
	list_remove_if_linked(&s->link_by_age);
	consumers_free(s->consumers);
	stream_free(s->stream);
	buf_deinit(&s->key);
	buf_deinit(&s->ack);
	mem_free(s);
	t->open_count--;
}

static void stations_check_closed(struct stations *t)
{
	if (t->closing && t->open_count == 0 && t->closed) {
		void (*closed)(void *) = t->closed;
		t->closed = NULL;
		closed(t->closed_arg);
	}
}

static void stream_applied(void *arg) { station_mark_dirty(arg); }

static void attach(void *user, struct stream *stream)
{
	struct station *s = user;
	struct stations *t = s->stations;
	stream_on_applied(stream, stream_applied, s);
	s->consumers = consumers_open(t->io, t->diag, stream, s->account, stream_applied, s);
	consumers_limit(s->consumers, s->limited->limits.max_consumers, s->limited->limits.max_ack_pending,
		s->limited->limits.max_request_batch);
}

/* What lines about the stream's group call it: an operator knows no numbers of groups. */
static void name_group(struct stations *t, const struct meta_stream *row)
{
	struct log_group *g = log_group_find(t->groups->log, row->group);
	struct buf name = { 0 };
	if (!slice_eq(row->account, AUTH_ACCOUNT_GLOBAL)) buf_printf(&name, "%.*s/", SLICE_FMT(row->account));
	buf_append_slice(&name, row->name);
	if (g) log_group_set_name(g, buf_slice(&name));
	buf_deinit(&name);
}

enum err stations_add(struct stations *t, const struct meta_stream *row, bool make)
{
	struct stream_config config;
	struct js_error why;
	struct account *account = auth_account(t->auth, row->account);
	if (!account || !stream_config_parse(&config, row->config, &why)) {
		diag_line(t->diag, DIAG_ERROR, "station %.*s: %s, left alone", SLICE_FMT(row->name),
			account ? "its configuration can not be read" : "its account is not configured any more");
		return ERR_NOT_FOUND;
	}
	struct station *s = NEW(struct station);
	*s = (struct station) { .stations = t, .account = account, .sink = { &station_sink_ops }, .group = row->group };
	list_init(&s->publishes);
	s->limited = stations_account(t, account);
	make_key(&s->key, row->account, row->name);
	s->account_n = row->account.n;
	struct group_member self = { t->self, GROUP_VOTER };
	struct stream_options o = { .io = t->io,
		.diag = t->diag,
		.groups = t->groups,
		.group = row->group,
		.created_ns = row->created_ns,
		.memory = &s->limited->memory,
		.user = s,
		.keeps_config = t->config_may_be_old,
		.attach = attach };
	if (make) {
		o.make_members = &self;
		o.make_member_count = 1;
	}
	t->open_count++;
	name_group(t, row);
	enum err e = stream_open(&o, &config, &s->stream);
	stream_config_deinit(&config);
	if (e != OK) {
		diag_line(t->diag, DIAG_ERROR, "station %.*s group %llu: can not be opened (%s), the others go on",
			SLICE_FMT(row->name), (unsigned long long)row->group, err_text(e));
		station_free(s);
		return e;
	}
	name_group(t, row);
	station_count(s);
	subscribe(s);
	void *old = map_put(&t->by_name, s);
	ASSERT(old == NULL);
	list_push_back(&t->all, &s->link_by_age);
	return OK;
}

void stations_change(struct stations *t, const struct meta_stream *row)
{
	struct station *s = stations_find(t, row->account, row->name);
	struct stream_config config;
	struct js_error why;
	if (!s || !stream_config_parse(&config, row->config, &why)) return;
	stream_want_config(s->stream, &config);
	stream_config_deinit(&config);
	station_mark_dirty(s);
}

static void stream_closed(void *arg)
{
	struct station *s = arg;
	struct stations *t = s->stations;
	station_forget_publishes(s);
	station_free(s);
	stations_check_closed(t);
}

static void station_close(struct station *s, bool gone)
{
	s->gone = gone;
	s->is_closing = true;
	station_count(s);
	(void)map_del(&s->stations->by_name, station_key(s));
	unsubscribe(s);
	consumers_stop(s->consumers, gone);
	stream_close(s->stream, gone, stream_closed, s);
}

void stations_remove(struct stations *t, const struct meta_stream *row)
{
	struct station *s = stations_find(t, row->account, row->name);
	if (s) station_close(s, true);
}

static void close_all(struct stations *t)
{
	t->closing = true;
	LIST_EACH_SAFE (node, &t->all) {
		struct station *s = CONTAINER_OF(node, struct station, link_by_age);
		if (map_get(&t->by_name, station_key(s)) == s) station_close(s, false);
	}
	stations_check_closed(t);
}

static void finish_fire(struct io_timer *t) { close_all(CONTAINER_OF(t, struct stations, finish_timer)); }

static void station_finished(struct stream_req *r)
{
	struct stations *t = CONTAINER_OF(r, struct station, finish)->stations;
	if (--t->finishing == 0 && !t->closing) io_timer_start(t->io, &t->finish_timer, 0);
}

void stations_close(struct stations *t, void (*closed)(void *arg), void *arg)
{
	io_timer_stop(t->io, &t->go_on);
	t->closed = closed;
	t->closed_arg = arg;
	LIST_EACH (node, &t->all) {
		struct station *s = CONTAINER_OF(node, struct station, link_by_age);
		if (s->is_closing || !consumers_finish(s->consumers)) continue;
		s->finish = (struct stream_req) { .done = station_finished };
		t->finishing++;
		stream_sync(s->stream, &s->finish);
		stream_turn_end(s->stream);
	}
	t->finish_timer.fire = finish_fire;
	io_timer_start(t->io, &t->finish_timer, t->finishing ? SECONDS(FINISH_MAX_S) : 0);
}

void stations_deinit(struct stations *t)
{
	io_timer_stop(t->io, &t->go_on);
	io_timer_stop(t->io, &t->finish_timer);
	LIST_EACH_SAFE (node, &t->all) station_free(CONTAINER_OF(node, struct station, link_by_age));
	map_deinit(&t->by_name);
	stations_accounts_free(t);
	pool_deinit(&t->publishes);
	mem_free(t->domain);
}

void station_mark_dirty(struct station *s)
{
	if (!list_is_linked(&s->link_by_dirty)) list_push_back(&s->stations->dirty, &s->link_by_dirty);
}

void stations_turn_end(struct stations *t)
{
	struct list now, unserved;
	list_init(&now);
	list_init(&unserved);
	list_splice_back(&now, &t->dirty);
	uint64_t work = TURN_WORK;
	bool more = false;
	for (struct list *node; (node = list_pop_front(&now)) != NULL;) {
		struct station *s = CONTAINER_OF(node, struct station, link_by_dirty);
		bool is_served = work > 0;
		if (stream_take_config_changed(s->stream)) {
			subscribe(s);
			consumers_stream_changed(s->consumers);
		}
		bool wants_more = consumers_turn_end(s->consumers, &work);
		stream_turn_end(s->stream);
		station_count(s);
		more |= wants_more;
		if (!wants_more) continue;
		if (is_served) {
			station_mark_dirty(s);
		} else { /* first in the next turn */
			list_remove_if_linked(&s->link_by_dirty);
			list_push_back(&unserved, &s->link_by_dirty);
		}
	}
	list_splice_back(&unserved, &t->dirty);
	list_splice_back(&t->dirty, &unserved);
	if (more) io_timer_start(t->io, &t->go_on, 0);
}

/* ---- looking ---- */

struct station *stations_find(const struct stations *t, struct slice account, struct slice name)
{
	uint8_t key[512]; /* asked for with every ack: nothing is allocated for names of a usual length */
	size_t n = account.n + 1 + name.n;
	if (n <= sizeof key) {
		if (account.n) memcpy(key, account.p, account.n);
		key[account.n] = 0;
		if (name.n) memcpy(key + account.n + 1, name.p, name.n);
		return map_get(&t->by_name, slice_of(key, n));
	}
	struct buf longer = { 0 };
	make_key(&longer, account, name);
	struct station *s = map_get(&t->by_name, buf_slice(&longer));
	buf_deinit(&longer);
	return s;
}

static int by_key(const void *a, const void *b)
{
	return slice_cmp(station_key(*(struct station *const *)a), station_key(*(struct station *const *)b));
}

void stations_each(const struct stations *t, struct slice account, station_each_fn *each, void *arg)
{
	struct station **sorted = mem_alloc((t->by_name.count + 1) * sizeof(struct station *)), *s;
	size_t n = 0;
	for (size_t i = 0; (s = map_next(&t->by_name, &i)) != NULL;)
		if (account.n == 0 || slice_eq(s->account->name, account)) sorted[n++] = s;
	qsort(sorted, n, sizeof(struct station *), by_key);
	for (size_t i = 0; i < n && each(arg, sorted[i]); i++) continue;
	mem_free(sorted);
}

const char *stations_overlap(const struct stations *t, struct slice account, struct slice pattern, struct slice except)
{
	const struct station *s;
	for (size_t i = 0; (s = map_next(&t->by_name, &i)) != NULL;) {
		if (!slice_eq(s->account->name, account) || slice_eq(station_stream_name(s), except)) continue;
		if (stream_config_overlaps(stream_config(s->stream), pattern)) return stream_config(s->stream)->name;
	}
	return NULL;
}

struct stream *station_stream(const struct station *s) { return s->stream; }
struct consumers *station_consumers(const struct station *s) { return s->consumers; }
struct account *station_account(const struct station *s) { return s->account; }
struct slice station_stream_name(const struct station *s) { return slice_from(station_key(s), s->account_n + 1); }
