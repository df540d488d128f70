/* SPDX-License-Identifier: Apache-2.0 */
/* The consumers of a stream: found by name, created, updated and deleted through records, and their turn. */
#include "consumer_internal.h"
#include "thebes/advisory.h"

#include <stdlib.h>

static struct slice name_key(const void *item) { return ((const struct consumer *)item)->name; }

struct consumers *consumers_open(struct io *io, struct diag *diag, struct stream *s, struct account *account,
	void (*wake)(void *arg), void *wake_arg)
{
	struct consumers *c = NEW(struct consumers);
	*c = (struct consumers) { .io = io,
		.diag = diag,
		.stream = s,
		.account = account,
		.wake = wake,
		.wake_arg = wake_arg,
		.max_consumers = -1,
		.max_ack_pending = -1,
		.id_next = 1 };
	map_init(&c->by_name, io_random_u64(io), name_key);
	list_init(&c->by_id);
	list_init(&c->dirty);
	list_init(&c->creates);
	stream_consumers_set(s, &consumer_stream_ops, c);
	return c;
}

bool consumers_finish(struct consumers *c)
{
	if (!c->leading || c->by_name.count == 0) return false;
	LIST_EACH (node, &c->by_id) {
		struct consumer *k = CONTAINER_OF(node, struct consumer, link_by_id);
		consumer_end_requests(k, "409 Server Shutdown");
		if (diag_fault(c->diag, FAULT_bug_deliveries_not_told)) continue;
		k->is_log_due = true;
		consumer_log(k);
	}
	return true;
}

void consumers_stop(struct consumers *c, bool gone)
{
	LIST_EACH (node, &c->by_id)
		consumer_end_requests(CONTAINER_OF(node, struct consumer, link_by_id),
			gone ? "409 Consumer Deleted" : "409 Server Shutdown");
	c->stopped = true;
	io_timer_stop(c->io, &c->retry_timer);
	consumer_stream_ops.lead(c, false);
}

void consumers_free(struct consumers *c)
{
	if (!c) return;
	while (!list_is_empty(&c->by_id)) consumer_free(CONTAINER_OF(c->by_id.next, struct consumer, link_by_id));
	ASSERT(list_is_empty(&c->creates)); /* answered by the stream before it closed */
	io_timer_stop(c->io, &c->retry_timer);
	io_timer_stop(c->io, &c->sweep_timer);
	map_deinit(&c->by_name);
	mem_free(c->gone);
	mem_free(c);
}

struct consumer *consumers_find(const struct consumers *c, struct slice name) { return map_get(&c->by_name, name); }
uint64_t consumers_count(const struct consumers *c) { return c->by_name.count; }
struct slice consumer_name(const struct consumer *k) { return k->name; }

struct consumer *consumer_by_id(const struct consumers *c, uint32_t id)
{
	LIST_EACH (node, &c->by_id) {
		struct consumer *k = CONTAINER_OF(node, struct consumer, link_by_id);
		if (k->id == id) return k;
	}
	return NULL;
}

bool consumer_matches(const struct consumer *k, struct slice subject)
{
	for (size_t i = 0; i < k->config.filter_count; i++)
		if (subject_match(k->filters[i], subject)) return true;
	return k->config.filter_count == 0;
}

static int by_name(const void *a, const void *b)
{
	return slice_cmp((*(struct consumer *const *)a)->name, (*(struct consumer *const *)b)->name);
}

void consumers_each(const struct consumers *c, consumer_each_fn *each, void *arg)
{
	struct consumer **sorted = mem_alloc((c->by_name.count + 1) * sizeof(struct consumer *)), *k;
	size_t n = 0;
	for (size_t i = 0; (k = map_next(&c->by_name, &i)) != NULL;) sorted[n++] = k;
	qsort(sorted, n, sizeof(struct consumer *), by_name);
	for (size_t i = 0; i < n && each(arg, sorted[i]); i++) continue;
	mem_free(sorted);
}

void consumer_mark(struct consumer *k)
{
	if (!list_is_linked(&k->link_by_dirty)) list_push_back(&k->all->dirty, &k->link_by_dirty);
}

void consumer_wake(struct consumer *k) { k->all->wake(k->all->wake_arg); }

bool consumers_turn_end(struct consumers *c, uint64_t *work)
{
	struct list now, unserved;
	list_init(&now);
	list_init(&unserved);
	list_splice_back(&now, &c->dirty);
	bool more = false;
	for (struct list *node; (node = list_pop_front(&now)) != NULL;) {
		struct consumer *k = CONTAINER_OF(node, struct consumer, link_by_dirty);
		if (!c->leading) continue;
		bool is_served = *work > 0;
		consumer_count_turn(k, work);
		bool wants_more = is_served ? consumer_deliver(k, work) : true;
		consumer_find_facts(k);
		consumer_log(k);
		wants_more |= k->walking;
		more |= wants_more;
		if (!is_served) {
			list_remove_if_linked(&k->link_by_dirty); /* marked again meanwhile, at the back */
			list_push_back(&unserved, &k->link_by_dirty);
		} else if (wants_more) {
			consumer_mark(k);
		}
	}
	list_splice_back(&unserved, &c->dirty);
	list_splice_back(&c->dirty, &unserved);
	return more;
}

void consumers_stream_changed(struct consumers *c)
{
	LIST_EACH (node, &c->by_id) consumer_mark(CONTAINER_OF(node, struct consumer, link_by_id));
}

static void advise_action(struct consumers *c, const char *event, const char *action, struct slice name)
{
	struct advisory a;
	const char *stream = stream_config(c->stream)->name;
	if (!advisory_begin(&a, c->io, c->account, "advisory.v1.consumer_action", "ADVISORY.CONSUMER.%s.%s.%.*s", event,
		    stream, SLICE_FMT(name)))
		return;
	advisory_text(&a, "stream", slice_of_str(stream));
	advisory_text(&a, "consumer", name);
	advisory_text(&a, "action", slice_of_str(action));
	advisory_send(&a);
}

/* ---- create ---- */

struct create {
	struct stream_req stream_req;
	struct stream_read read;
	struct consumers *all;
	struct consumer_req *req;
	struct consumer_wish wish;
	uint64_t start, bound;
	uint64_t *last_seqs; /* owned */
	size_t last_seq_count, last_seq_cap;
	uint32_t id;
	struct slice *filters; /* owned slices over wish.config.filters */
	struct stream_walk walk;
};

static void create_end(struct create *w, enum err result)
{
	struct consumer_req *r = w->req;
	struct consumers *c = w->all;
	r->result = result;
	if (result == OK && r->error.id == JS_OK) {
		r->consumer = consumers_find(c, slice_of_str(w->wish.config.name));
		if (!r->consumer) (void)js_error_set(&r->error, JS_CONSUMER_NOT_FOUND, NULL);
		if (r->consumer && !consumer_config_equal(&r->consumer->config, &w->wish.config))
			(void)js_error_set(&r->error, JS_CONSUMER_NAME_EXISTS, NULL); /* somebody else's came first */
	}
	const struct consumer *made = w->id && result == OK && r->error.id == JS_OK ? consumer_by_id(c, w->id) : NULL;
	if (made) advise_action(c, "CREATED", "create", made->name);
	consumer_config_deinit(&w->wish.config);
	mem_free(w->wish.stream_name);
	mem_free(w->last_seqs);
	mem_free(w->filters);
	list_remove(&r->link);
	mem_free(w);
	r->work = NULL;
	r->done(r);
}

static void create_applied(struct stream_req *r)
{
	struct create *w = CONTAINER_OF(r, struct create, stream_req);
	create_end(w, r->result);
}

static void create_propose(struct create *w, struct buf *record)
{
	w->stream_req = (struct stream_req) { .done = create_applied };
	enum err e = stream_propose_consumer(
		w->all->stream, buf_slice(record), &w->stream_req); /* NOLINT(clang-analyzer-core.NullDereference) */
	buf_deinit(record);
	if (e == OK) return;
	(void)js_error_set(&w->req->error, e == ERR_NO_SPACE ? JS_STORAGE_RESOURCES : JS_UNAVAILABLE, NULL);
	w->stream_req.done = create_applied;
	stream_sync(w->all->stream, &w->stream_req);
}

static void create_fail(struct create *w)
{
	w->stream_req = (struct stream_req) { .done = create_applied };
	stream_sync(w->all->stream, &w->stream_req); /* NOLINT(clang-analyzer-core.NullDereference) */
}

static void create_record(struct create *w)
{
	struct buf b = { 0 };
	int64_t now = io_wall_ns(w->all->io);
	w->id = w->all->id_next++;
	record_create(&b, w->id, now, w->start, &w->wish.config, w->last_seqs, w->last_seq_count, w->bound);
	create_propose(w, &b);
}

static void start_found(struct stream_read *r)
{
	struct create *w = CONTAINER_OF(r, struct create, read);
	struct stream_state s;
	stream_state(w->all->stream, &s);
	w->start = r->result == OK ? r->msgs[0].seq : s.last_seq + 1;
	stream_read_release(r);
	create_record(w);
}

static bool add_last_seq(void *arg, struct slice subject, uint64_t count, uint64_t first_hint, uint64_t last_seq)
{
	struct create *w = arg;
	(void)subject;
	(void)first_hint;
	bool comes_as_new = w->wish.config.deliver_policy == DELIVER_LAST_PER_SUBJECT && last_seq >= w->bound;
	if (count == 0 || comes_as_new) return true;
	if (w->last_seq_count == w->last_seq_cap) {
		w->last_seq_cap = w->last_seq_cap ? w->last_seq_cap * 2 : 16;
		w->last_seqs = mem_realloc(w->last_seqs, w->last_seq_cap * sizeof *w->last_seqs);
	}
	w->last_seqs[w->last_seq_count++] = last_seq;
	return true;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void create_resolve_last(struct create *w)
{
	if (w->last_seq_count) qsort(w->last_seqs, w->last_seq_count, sizeof *w->last_seqs, by_number);
	if (w->wish.config.deliver_policy == DELIVER_LAST) {
		w->start = w->last_seq_count ? w->last_seqs[w->last_seq_count - 1] : u64_max(w->bound - 1, 1);
		w->last_seq_count = 0;
	} else {
		w->start = w->last_seq_count ? w->last_seqs[0] : w->bound;
	}
	create_record(w);
}

static void last_walked(struct stream_walk *walk)
{
	struct create *w = CONTAINER_OF(walk, struct create, walk);
	if (walk->result == OK)
		create_resolve_last(w);
	else
		create_end(w, walk->result);
}

/* The newest of each subject. What is stored meanwhile comes behind `bound`. */
static void create_walk(struct create *w)
{
	const struct consumer_config *k = &w->wish.config;
	w->filters = mem_alloc((k->filter_count + 1) * sizeof *w->filters);
	for (size_t i = 0; i < k->filter_count; i++) w->filters[i] = slice_of_str(k->filters[i]);
	w->walk = (struct stream_walk) { .filters = w->filters,
		.filter_count = k->filter_count,
		.each = add_last_seq,
		.arg = w,
		.done = last_walked };
	if (stream_walk_start(w->all->stream, &w->walk)) create_resolve_last(w);
}

/* Where delivery begins: `start` is the first sequence that may be delivered. */
static void create_resolve(struct create *w)
{
	const struct consumer_config *k = &w->wish.config;
	struct stream_state s;
	stream_state(w->all->stream, &s);
	w->bound = s.last_seq + 1;
	switch (k->deliver_policy) {
	case DELIVER_ALL: w->start = s.first_seq ? s.first_seq : 1; break;
	case DELIVER_NEW: w->start = s.last_seq + 1; break;
	case DELIVER_BY_START_SEQ: /* beyond the end means what comes next */
		w->start = u64_min(u64_max(k->opt_start_seq, s.first_seq), s.last_seq + 1);
		break;
	case DELIVER_BY_START_TIME:
		w->read = (struct stream_read) {
			.done = start_found, .from = 1, .from_time_ns = k->opt_start_time_ns, .max_msgs = 1
		};
		stream_read_start(w->all->stream, &w->read);
		return;
	case DELIVER_LAST:
	case DELIVER_LAST_PER_SUBJECT: create_walk(w); return;
	}
	create_record(w);
}

static void last_known(struct stream_req *r)
{
	struct create *w = CONTAINER_OF(r, struct create, stream_req);
	if (r->result == OK) {
		create_resolve(w);
	} else {
		create_end(w, r->result);
	}
}

/* Policies that begin with the newest of subjects must know which those are. */
static void create_when_known(struct create *w)
{
	const struct consumer_config *k = &w->wish.config;
	bool asks = k->deliver_policy == DELIVER_LAST || k->deliver_policy == DELIVER_LAST_PER_SUBJECT;
	struct slice filter = k->filter_count == 1 ? slice_of_str(k->filters[0]) : SLICE_NULL;
	if (!asks || stream_knows_last(w->all->stream, filter)) {
		create_resolve(w);
		return;
	}
	w->stream_req = (struct stream_req) { .done = last_known };
	stream_find_last(w->all->stream, filter, &w->stream_req); /* NOLINT(clang-analyzer-core.NullDereference) */
}

static bool check_names(
	struct create *w, enum consumer_via via, struct slice name, struct slice filter, struct js_error *e)
{
	struct consumer_config *k = &w->wish.config;
	const char *stream = stream_config(w->all->stream)->name;
	if (strcmp(w->wish.stream_name, stream) != 0) return js_error_set(e, JS_STREAM_NAME_MISMATCH, NULL);
	if (via == CONSUMER_VIA_DURABLE && !k->durable) return js_error_set(e, JS_CONSUMER_DURABLE_NOT_SET, NULL);
	if (via == CONSUMER_VIA_DURABLE && !slice_eq_str(name, k->durable))
		return js_error_set(e, JS_CONSUMER_DURABLE_MISMATCH, NULL);
	if (via == CONSUMER_VIA_EPHEMERAL && k->durable)
		return js_error_set(e, JS_CONSUMER_EPHEMERAL_DURABLE_IN_REQUEST, NULL);
	if (via == CONSUMER_VIA_NAMED && k->durable && !slice_eq_str(name, k->durable))
		return js_error_set(e, JS_CONSUMER_DURABLE_MISMATCH, NULL);
	if (k->durable && k->name && strcmp(k->durable, k->name) != 0)
		return js_error_set(e, JS_CONSUMER_NAMES_DIFFER, NULL);
	if (via == CONSUMER_VIA_NAMED && filter.n && k->filters_is_list)
		return js_error_set(e, JS_CONSUMER_FILTERS_SUBJECT_API, NULL);
	if (via == CONSUMER_VIA_NAMED && filter.n && (k->filter_count != 1 || !slice_eq_str(filter, k->filters[0])))
		return js_error_set(e, JS_CONSUMER_FILTER_MISMATCH, NULL);
	if (!k->name && k->durable) k->name = mem_strdup(k->durable);
	if (via == CONSUMER_VIA_NAMED && !k->name) {
		k->name = mem_zalloc(name.n + 1);
		memcpy(k->name, name.p, name.n);
	}
	if (via == CONSUMER_VIA_NAMED && !slice_eq_str(name, k->name))
		return js_error_set(e, JS_CONSUMER_DURABLE_MISMATCH, NULL);
	if (!k->name) {
		static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
		k->name = mem_zalloc(9);
		for (int i = 0; i < 8; i++) k->name[i] = digits[io_random_u64(w->all->io) % 62];
	}
	if (strlen(k->name) > 255) return js_error_set(e, JS_CONSUMER_NAME_TOO_LONG, "255");
	if (strpbrk(k->name, "/\\")) return js_error_set(e, JS_CONSUMER_NAME_SEPARATORS, NULL);
	if (strpbrk(k->name, " .*>\t\r\n\f")) return js_error_set(e, JS_CONSUMER_BAD_DURABLE, NULL);
	return true;
}

/* A workqueue message belongs to exactly one consumer. */
static bool check_unique(const struct consumers *c, const struct consumer_config *k, struct js_error *e)
{
	if (stream_config(c->stream)->retention != STREAM_WORKQUEUE) return true;
	LIST_EACH (node, &c->by_id) {
		const struct consumer *other = CONTAINER_OF(node, struct consumer, link_by_id);
		if (strcmp(other->config.name, k->name) == 0) continue;
		if (k->filter_count == 0 || other->config.filter_count == 0)
			return js_error_set(e, JS_WORKQUEUE_NOT_UNIQUE, NULL);
		for (size_t i = 0; i < k->filter_count; i++)
			for (size_t j = 0; j < other->config.filter_count; j++)
				if (subject_overlaps(slice_of_str(k->filters[i]), other->filters[j]))
					return js_error_set(e, JS_WORKQUEUE_FILTER_NOT_UNIQUE, NULL);
	}
	return true;
}

static bool check_limits(const struct consumers *c, struct js_error *e)
{
	int64_t max = stream_config(c->stream)->max_consumers;
	if (max < 0 || (c->max_consumers >= 0 && c->max_consumers < max)) max = c->max_consumers;
	if (max >= 0 && (int64_t)c->by_name.count >= max) return js_error_set(e, JS_CONSUMERS_MAX, NULL);
	return true;
}

void consumers_limit(struct consumers *c, int64_t max_consumers, int64_t max_ack_pending, int64_t max_request_batch)
{
	c->max_request_batch = max_request_batch;
	c->max_consumers = max_consumers;
	c->max_ack_pending = max_ack_pending;
}

/* Who asked for nothing gets what is allowed. */
static bool check_ack_pending(const struct consumers *c, struct consumer_config *k, bool asked, struct js_error *e)
{
	if (c->max_ack_pending < 0 || k->max_ack_pending <= c->max_ack_pending) return true;
	if (asked) return js_error_set(e, JS_CONSUMER_ACK_PENDING_LIMIT, "%lld", (long long)c->max_ack_pending);
	k->max_ack_pending = c->max_ack_pending;
	return true;
}

static bool check_request_batch(const struct consumers *c, struct consumer_config *k, struct js_error *e)
{
	if (c->max_request_batch <= 0 || (k->max_batch > 0 && k->max_batch <= c->max_request_batch)) return true;
	if (k->max_batch > 0)
		return js_error_set(e, JS_CONSUMER_REQUEST_BATCH_LIMIT, "%lld", (long long)c->max_request_batch);
	k->max_batch = c->max_request_batch;
	return true;
}

void consumers_create(struct consumers *c, enum consumer_via via, struct slice name, struct slice filter,
	struct slice json, struct consumer_req *r)
{
	struct create *w = NEW(struct create);
	w->all = c;
	w->req = r;
	r->work = w;
	r->consumer = NULL;
	r->error = (struct js_error) { 0 };
	list_push_back(&c->creates, &r->link);
	struct js_error *e = &r->error;
	struct consumer_config *k = &w->wish.config;
	bool good = consumer_wish_parse(&w->wish, json, e), asked = k->max_ack_pending != 0;
	good = good && check_names(w, via, name, filter, e) && consumer_config_check(k, stream_config(c->stream), e) &&
	       check_ack_pending(c, k, asked, e) && check_request_batch(c, k, e) && check_unique(c, k, e);
	struct consumer *old = good ? consumers_find(c, slice_of_str(k->name)) : NULL;
	if (good && old && w->wish.action == ACTION_CREATE && !consumer_config_equal(&old->config, k))
		good = js_error_set(e, JS_CONSUMER_EXISTS, NULL);
	if (good && !old && w->wish.action == ACTION_UPDATE) good = js_error_set(e, JS_CONSUMER_MISSING, NULL);
	if (good && old) good = consumer_config_can_update(&old->config, k, e);
	if (good && !old) good = check_limits(c, e);
	if (!good || (old && consumer_config_equal(&old->config, k))) {
		create_fail(w); /* with error set, or with nothing to do: answered when what is in flight is applied */
	} else if (old) {
		struct buf b = { 0 };
		record_update(&b, old->id, k);
		create_propose(w, &b);
	} else {
		create_when_known(w);
	}
}

/* ---- delete ---- */

struct deletion {
	struct stream_req stream_req;
	struct consumers *all;
	struct consumer_req *req;
	char *name;  /* owned, as long as something was proposed */
	uint32_t id; /* 0: nothing was proposed */
};

/* The record was refused: the consumer stays, and goes on. */
static void delete_refused(const struct deletion *d)
{
	struct consumer *k = d->id ? consumer_by_id(d->all, d->id) : NULL;
	if (!k || !d->all->leading) return;
	k->deleting = false;
	consumer_rest(k);
	consumer_mark(k);
	consumer_wake(k);
}

static void delete_applied(struct stream_req *r)
{
	struct deletion *d = CONTAINER_OF(r, struct deletion, stream_req);
	struct consumer_req *req = d->req;
	enum err result = r->result;
	if (result != OK) delete_refused(d);
	if (result == OK && d->id) advise_action(d->all, "DELETED", "delete", slice_of_str(d->name));
	mem_free(d->name);
	mem_free(d);
	if (!req) return;
	req->result = result;
	req->done(req);
}

static void delete_propose(struct consumers *c, struct consumer *k, struct consumer_req *req)
{
	struct deletion *d = NEW(struct deletion);
	*d = (struct deletion) { .stream_req = { .done = delete_applied }, .all = c, .req = req };
	enum err e = ERR_NOT_FOUND;
	if (k) {
		struct buf b = { 0 };
		record_delete(&b, k->id);
		e = stream_propose_consumer(c->stream, buf_slice(&b), &d->stream_req);
		buf_deinit(&b);
		if (e == OK) {
			k->deleting = true;
			d->id = k->id;
			d->name = mem_strdup(k->config.name);
		}
		if (e != OK && req) (void)js_error_set(&req->error, JS_UNAVAILABLE, NULL);
	}
	if (e != OK) stream_sync(c->stream, &d->stream_req);
}

void consumers_delete(struct consumers *c, struct slice name, struct consumer_req *r)
{
	struct consumer *k = consumers_find(c, name);
	r->error = (struct js_error) { 0 };
	r->deleted = k != NULL;
	if (!k) (void)js_error_set(&r->error, JS_CONSUMER_NOT_FOUND, NULL);
	delete_propose(c, k, r);
}

void consumer_expire(struct consumer *k)
{
	if (!k->deleting) delete_propose(k->all, k, NULL);
}

/* ---- info ---- */

static void print_place(struct buf *b, const char *key, uint64_t cseq, uint64_t sseq, int64_t last_ns)
{
	buf_printf(b, ",\"%s\":{\"consumer_seq\":%llu,\"stream_seq\":%llu", key, (unsigned long long)cseq,
		(unsigned long long)sseq);
	if (last_ns) {
		buf_append_str(b, ",\"last_active\":\"");
		time_print(b, last_ns);
		buf_append_byte(b, '"');
	}
	buf_append_byte(b, '}');
}

/* Deliveries are logged lazily, so what is open says more than the logged floor: all below the first open one is done. */
static void print_floor(struct buf *b, const struct consumer *k)
{
	uint64_t cseq = k->live_cseq, sseq = k->live_sseq;
	if (!list_is_empty(&k->pending_by_seq)) {
		const struct pending *first = CONTAINER_OF(k->pending_by_seq.next, struct pending, link_by_seq);
		cseq = u64_max(k->floor_cseq, first->cseq - 1);
		sseq = u64_max(k->floor_sseq, first->sseq - 1);
	}
	print_place(b, "ack_floor", cseq, sseq, k->acked_ns);
}

void consumer_info_print(struct buf *b, struct consumer *k)
{
	if (k->all->leading) consumer_drop_unheard(k);
	buf_append_str(b, "\"stream_name\":");
	json_string_append(b, slice_of_str(stream_config(k->all->stream)->name));
	buf_append_str(b, ",\"name\":");
	json_string_append(b, k->name);
	buf_append_str(b, ",\"created\":\"");
	time_print(b, k->created_ns);
	buf_append_str(b, "\",\"config\":");
	consumer_config_print(b, &k->config);
	print_place(b, "delivered", k->live_cseq, k->live_sseq, k->active_ns);
	print_floor(b, k);
	buf_printf(b, ",\"num_ack_pending\":%llu,\"num_redelivered\":%llu,\"num_waiting\":%llu,\"num_pending\":%llu",
		(unsigned long long)(k->pending.count - k->acking_count), (unsigned long long)k->redelivered_count,
		(unsigned long long)k->waiting_count, (unsigned long long)consumer_num_pending(k));
}
