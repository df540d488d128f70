/* SPDX-License-Identifier: Apache-2.0 */
/* Consumers over the API (spec §5.2, §5.8). */
#include "api_internal.h"

#include <jansson.h>

static void counted(struct consumer_wait *w, struct consumer *k)
{
	struct api_request *r = CONTAINER_OF(w, struct api_request, consumer_wait);
	struct buf b = { 0 };
	if (!k) {
		api_refuse(r, JS_CONSUMER_NOT_FOUND, NULL);
		return;
	}
	buf_append_byte(&b, ',');
	consumer_info_print(&b, k);
	api_answer(r, &b);
}

/* num_pending is told exactly: clients end their reading by it. */
static void answer_info(struct api_request *r, struct consumer *k)
{
	r->consumer_wait = (struct consumer_wait) { .done = counted };
	struct station *s = api_station(r);
	if (!s) return;
	if (consumer_is_counted(k) || stream_doubt(station_stream(s))) {
		counted(&r->consumer_wait, k);
	} else {
		consumer_when_counted(k, &r->consumer_wait);
	}
}

static void created(struct consumer_req *q)
{
	struct api_request *r = CONTAINER_OF(q, struct api_request, consumer_req);
	if (q->result != OK) {
		api_refuse_err(r, q->result);
	} else if (q->error.id != JS_OK) {
		r->error = q->error;
		api_fail(r);
	} else {
		answer_info(r, q->consumer);
	}
}

static void create(struct api_request *r, enum consumer_via via)
{
	struct station *s = api_station(r);
	if (!s || !api_may_change(r, s)) return;
	r->consumer_req = (struct consumer_req) { .done = created };
	consumers_create(station_consumers(s), via, slice_of_str(r->consumer), slice_of_str(r->tail),
		buf_slice(&r->body), &r->consumer_req);
	station_mark_dirty(s);
}

void api_consumer_create(struct api_request *r)
{
	create(r, r->consumer ? CONSUMER_VIA_NAMED : CONSUMER_VIA_EPHEMERAL);
}
void api_consumer_durable_create(struct api_request *r) { create(r, CONSUMER_VIA_DURABLE); }

static void deleted(struct consumer_req *q)
{
	struct api_request *r = CONTAINER_OF(q, struct api_request, consumer_req);
	struct buf b = { 0 };
	if (q->result != OK) {
		api_refuse_err(r, q->result);
	} else if (q->error.id != JS_OK) {
		r->error = q->error;
		api_fail(r);
	} else {
		buf_append_str(&b, ",\"success\":true");
		api_answer(r, &b);
	}
}

void api_consumer_delete(struct api_request *r)
{
	struct station *s = api_station(r);
	if (!s || !api_may_change(r, s)) return;
	r->consumer_req = (struct consumer_req) { .done = deleted };
	consumers_delete(station_consumers(s), slice_of_str(r->consumer), &r->consumer_req);
	station_mark_dirty(s);
}

static void info_synced(struct stream_req *q)
{
	struct api_request *r = CONTAINER_OF(q, struct api_request, stream_req);
	struct station *s;
	struct consumer *k = api_consumer(r, &s);
	if (k) answer_info(r, k);
}

void api_consumer_info(struct api_request *r)
{
	struct station *s;
	if (api_consumer(r, &s)) api_after_sync(r, s, info_synced);
}

struct listing {
	struct buf b;
	uint64_t offset, total, shown, limit;
	bool names;
};

static bool list_one(void *arg, struct consumer *k)
{
	struct listing *l = arg;
	if (l->total++ < l->offset || l->shown >= l->limit) return true;
	if (l->shown++) buf_append_byte(&l->b, ',');
	if (l->names) {
		api_string_print(&l->b, consumer_name(k));
	} else {
		buf_append_byte(&l->b, '{');
		consumer_info_print(&l->b, k);
		buf_append_byte(&l->b, '}');
	}
	return true;
}

static void list(struct api_request *r, bool names)
{
	struct listing l = { .names = names, .limit = names ? NAMES_LIMIT : LIST_LIMIT };
	struct station *s = api_station(r);
	if (!s) return;
	const struct js_want wants[] = { { "offset", JS_U64, &l.offset } };
	json_t *root;
	if (!api_body(r, wants, COUNT_OF(wants), &root)) return;
	json_decref(root);
	consumers_each(station_consumers(s), list_one, &l);
	struct buf b = { 0 };
	buf_printf(&b, ",\"total\":%llu,\"offset\":%llu,\"limit\":%llu,\"consumers\":[%.*s]",
		(unsigned long long)l.total, (unsigned long long)u64_min(l.offset, l.total),
		(unsigned long long)l.limit, SLICE_FMT(buf_slice(&l.b)));
	buf_deinit(&l.b);
	api_answer(r, &b);
}

void api_consumer_names(struct api_request *r) { list(r, true); }
void api_consumer_list(struct api_request *r) { list(r, false); }
