/* SPDX-License-Identifier: Apache-2.0 */
/* What an account, and the server as a whole, may store (spec §3.3, §5.2). Bytes are counted with what is in flight and kept per account, so
 * that a publish is checked without a walk; what streams reserve by max_bytes is added up when one is made or changed. */
#include "station_internal.h"

static const struct station_limits no_limits = { -1, -1, -1, -1, -1, -1, -1, false, -1, 0 };

struct station_account *stations_account(struct stations *t, const struct account *account)
{
	struct station_account *a;
	LIST_EACH (node, &t->accounts) {
		a = CONTAINER_OF(node, struct station_account, link);
		if (a->account == account) return a;
	}
	a = NEW(struct station_account);
	*a = (struct station_account) { .account = account, .limits = no_limits };
	ledger_init(&a->memory, t->memory, 0);
	list_push_back(&t->accounts, &a->link);
	return a;
}

void stations_accounts_free(struct stations *t)
{
	for (struct list *node; (node = list_pop_front(&t->accounts)) != NULL;)
		mem_free(CONTAINER_OF(node, struct station_account, link));
}

static bool tell_consumers(void *arg, struct station *s)
{
	(void)arg;
	consumers_limit(s->consumers, s->limited->limits.max_consumers, s->limited->limits.max_ack_pending,
		s->limited->limits.max_request_batch);
	return true;
}

void stations_limit(struct stations *t, const struct account *account, const struct station_limits *l)
{
	if (account) {
		stations_account(t, account)->limits = *l;
		stations_each(t, account->name, tell_consumers, NULL);
	} else {
		t->limits = *l;
	}
}

const struct station_limits *stations_limits(struct stations *t, const struct account *account)
{
	return &stations_account(t, account)->limits;
}

/* ---- bytes that are there ---- */

static enum stream_storage storage_of(const struct station *s) { return stream_config(s->stream)->storage; }

/* After something was proposed or applied. */
void station_count(struct station *s)
{
	uint64_t now = s->is_closing ? 0 : stream_ahead_bytes(s->stream);
	uint64_t *of_account = &s->limited->used[storage_of(s)], *of_all = &s->stations->used[storage_of(s)];
	*of_account = *of_account - s->counted + now;
	*of_all = *of_all - s->counted + now;
	s->counted = now;
}

static int64_t most(const struct station_limits *l, enum stream_storage storage)
{
	return storage == STREAM_MEMORY ? l->max_memory : l->max_store;
}

static bool is_over(uint64_t used, int64_t limit) { return limit >= 0 && used > (uint64_t)limit; }

/* By how much a message makes its stream larger: less than it weighs where an older one goes for it. */
static uint64_t growth(const struct station *s, struct slice subject, uint64_t bytes)
{
	const struct stream_config *c = stream_config(s->stream);
	uint64_t count = 0, there = stream_ahead_bytes(s->stream);
	if (c->max_msgs_per_subject > 0) (void)stream_ahead_subject(s->stream, subject, &count);
	if (c->max_msgs_per_subject > 0 && count >= (uint64_t)c->max_msgs_per_subject) return 0;
	if (c->discard != STREAM_DISCARD_OLD) return bytes;
	if (c->max_msgs > 0 && stream_ahead_msgs(s->stream) >= (uint64_t)c->max_msgs) return 0;
	if (c->max_bytes <= 0 || there + bytes <= (uint64_t)c->max_bytes) return bytes;
	return (uint64_t)c->max_bytes - u64_min((uint64_t)c->max_bytes, there);
}

bool station_has_room(const struct station *s, struct slice subject, uint64_t bytes, enum js_error_id *id)
{
	enum stream_storage storage = storage_of(s);
	int64_t all = most(&s->stations->limits, storage), own = most(&s->limited->limits, storage);
	*id = JS_OK;
	if (all < 0 && own < 0) return true;
	uint64_t more = growth(s, subject, bytes);
	if (is_over(s->stations->used[storage] + more, all)) *id = JS_INSUFFICIENT_RESOURCES;
	if (is_over(s->limited->used[storage] + more, own)) *id = JS_ACCOUNT_RESOURCES;
	return *id == JS_OK;
}

/* ---- bytes that are reserved ---- */

struct reserved {
	const struct account *account;
	struct slice except;
	enum stream_storage storage;
	uint64_t of_account, of_all, streams;
};

static bool add_reserved(void *arg, struct station *s)
{
	struct reserved *r = arg;
	const struct stream_config *c = stream_config(s->stream);
	bool same_account = s->account == r->account;
	if (same_account && slice_eq(station_stream_name(s), r->except)) return true;
	r->streams += same_account;
	if (c->max_bytes <= 0 || c->storage != r->storage) return true;
	r->of_all += (uint64_t)c->max_bytes;
	if (same_account) r->of_account += (uint64_t)c->max_bytes;
	return true;
}

bool stations_may_have(struct stations *t, const struct account *account, const struct stream_config *c, bool is_new,
	uint64_t coming_streams, uint64_t coming_bytes, struct js_error *e)
{
	const struct station_limits *l = stations_limits(t, account);
	struct reserved r = { .account = account, .except = slice_of_str(c->name), .storage = c->storage };
	int64_t largest = c->storage == STREAM_MEMORY ? l->memory_max_stream_bytes : l->store_max_stream_bytes;
	stations_each(t, SLICE_NULL, add_reserved, &r);
	if (is_new && l->max_streams >= 0 && r.streams + coming_streams >= (uint64_t)l->max_streams)
		return js_error_set(e, JS_STREAMS_MAX, NULL);
	if (l->max_bytes_required && c->max_bytes <= 0) return js_error_set(e, JS_MAX_BYTES_REQUIRED, NULL);
	if (c->max_bytes <= 0) return true;
	if (largest > 0 && c->max_bytes > largest) return js_error_set(e, JS_STREAM_MAX_STREAM_BYTES, NULL);
	uint64_t bytes = (uint64_t)c->max_bytes + coming_bytes;
	if (is_over(r.of_account + bytes, most(l, c->storage)) ||
		is_over(r.of_all + bytes, most(&t->limits, c->storage)))
		return js_error_set(e, c->storage == STREAM_MEMORY ? JS_MEMORY_RESOURCES : JS_STORAGE_RESOURCES, NULL);
	return true;
}
