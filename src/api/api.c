/* SPDX-License-Identifier: Apache-2.0 */
/* Requests in, answers out: the table, what all handlers share, and the acks, which are requests of a kind. */
#include "api_internal.h"

#include <jansson.h>
#include <stdlib.h>

#include "thebes/advisory.h"

enum body_rule { ANY, EMPTY };

static const struct row {
	const char *subject, *type;
	unsigned names;
	enum body_rule body;
	api_handler *handler;
} rows[] = {
#define API(subject, type, names, body, handler) { subject, type, names, body, api_##handler },
#include "api.def"
#undef API
};

/* ---- answering ---- */

struct slice api_reply(const struct api_request *r) { return slice_of_str(r->reply); }

void api_drop(struct api_request *r)
{
	list_remove(&r->link);
	list_remove_if_linked(&r->link_by_wait);
	mem_free(r->reply);
	mem_free(r->stream);
	mem_free(r->consumer);
	mem_free(r->tail);
	mem_free(r->audited);
	buf_deinit(&r->body);
	stream_config_deinit(&r->config);
	mem_free(r);
}

static void send(struct api_request *r, struct slice body)
{
	struct msg m = { .subject = api_reply(r), .payload = body, .account = r->account };
	if (!r->api->closing) (void)router_publish(&r->account->router, &m);
}

static const char audit_subject[] = "ADVISORY.API";

static void audit(struct api_request *r, struct slice response)
{
	struct advisory a;
	if (!r->audited || r->api->closing) return;
	if (!advisory_begin(&a, r->api->io, r->account, "advisory.v1.api_audit", audit_subject)) return;
	advisory_text(&a, "server", slice_of_str(r->api->server_name ? r->api->server_name : ""));
	buf_append_str(&a.body, ",\"client\":{\"acc\":");
	api_string_print(&a.body, r->account->name);
	buf_append_byte(&a.body, '}');
	advisory_text(&a, "subject", slice_of_str(r->audited));
	if (r->body.n) advisory_text(&a, "request", buf_slice(&r->body));
	advisory_text(&a, "response", response);
	if (r->api->stations->domain) advisory_text(&a, "domain", slice_of_str(r->api->stations->domain));
	advisory_send(&a);
}

void api_advise_stream(const struct api_request *r, const char *event, const char *action)
{
	struct advisory a;
	if (!advisory_begin(
		    &a, r->api->io, r->account, "advisory.v1.stream_action", "ADVISORY.STREAM.%s.%s", event, r->stream))
		return;
	advisory_text(&a, "stream", slice_of_str(r->stream));
	advisory_text(&a, "action", slice_of_str(action));
	if (r->api->stations->domain) advisory_text(&a, "domain", slice_of_str(r->api->stations->domain));
	advisory_send(&a);
}

void api_answer(struct api_request *r, struct buf *fields)
{
	struct buf b = { 0 };
	buf_printf(&b, "{\"type\":\"io.nats.jetstream.api.v1.%s\"", r->type);
	if (fields) buf_append_slice(&b, buf_slice(fields));
	buf_append_byte(&b, '}');
	r->api->total++;
	if (!r->api->closing) r->home->total++;
	send(r, buf_slice(&b));
	audit(r, buf_slice(&b));
	buf_deinit(&b);
	if (fields) buf_deinit(fields);
	api_drop(r);
}

/* Of DIRECT.GET (spec 5.7). */
static void fail_direct(struct api_request *r)
{
	struct buf b = { 0 };
	const char *status = r->error.id == JS_NO_MESSAGE     ? "404 Message Not Found"
			     : r->error.id == JS_INVALID_JSON ? "408 Malformed Request"
			     : r->error.id != JS_BAD_REQUEST  ? NULL
			     : r->body.n                      ? "408 Bad Request"
							      : "408 Empty Request";
	if (status) {
		buf_printf(&b, "NATS/1.0 %s\r\n\r\n", status);
	} else {
		buf_printf(&b, "NATS/1.0 500 %s\r\n\r\n", r->error.text);
	}
	struct msg m = { .subject = api_reply(r), .header = buf_slice(&b), .account = r->account };
	if (!r->api->closing) (void)router_publish(&r->account->router, &m);
	buf_deinit(&b);
	api_drop(r);
}

void api_fail(struct api_request *r)
{
	if (r->is_direct) {
		fail_direct(r);
		return;
	}
	struct buf b = { 0 };
	r->api->errors++;
	if (!r->api->closing) r->home->errors++;
	buf_printf(&b, ",\"error\":{\"code\":%u,\"err_code\":%u,\"description\":", js_error_http(r->error.id),
		js_error_code(r->error.id));
	api_string_print(&b, slice_of_str(r->error.text));
	buf_append_byte(&b, '}');
	api_answer(r, &b);
}

void api_refuse(struct api_request *r, enum js_error_id id, const char *text)
{
	(void)(text ? js_error_set(&r->error, id, "%s", text) : js_error_set(&r->error, id, NULL));
	api_fail(r);
}

void api_refuse_err(struct api_request *r, enum err e)
{
	switch (e) {
	case ERR_UNKNOWN_OUTCOME:
	case ERR_CLOSED: api_drop(r); return;
	case ERR_NO_SPACE: api_refuse(r, JS_STORAGE_RESOURCES, NULL); return;
	case ERR_FULL: api_refuse(r, JS_INSUFFICIENT_RESOURCES, NULL); return;
	case ERR_DOUBT: api_refuse(r, JS_STORE_FAILED, meta_doubt(r->api->meta)); return;
	default: api_refuse(r, JS_UNAVAILABLE, NULL); return;
	}
}

static bool is_plain(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x20 || s.p[i] > 0x7e || s.p[i] == '"' || s.p[i] == '\\') return false;
	return true;
}

void api_string_print(struct buf *b, struct slice s)
{
	if (is_plain(s)) { /* nearly always, and there may be a hundred thousand of them */
		buf_append_byte(b, '"');
		buf_append_slice(b, s);
		buf_append_byte(b, '"');
		return;
	}
	json_t *v = json_stringn((const char *)s.p, s.n);
	char *text = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
	buf_append_str(b, text ? text : "\"\"");
	free(text);
	json_decref(v);
}

void api_time_print(struct buf *b, int64_t ns)
{
	buf_append_byte(b, '"');
	if (ns) {
		time_print(b, ns);
	} else {
		buf_append_str(b, "0001-01-01T00:00:00Z");
	}
	buf_append_byte(b, '"');
}

/* ---- what handlers look up ---- */

bool api_body(struct api_request *r, const struct js_want *wants, size_t count, json_t **root)
{
	*root = r->body.n ? js_json_load(buf_slice(&r->body), &r->error) : NULL;
	bool good = r->body.n == 0 || (*root && js_json_take(*root, wants, count, &r->error));
	if (good) return true;
	json_decref(*root);
	*root = NULL;
	api_fail(r);
	return false;
}

struct station *api_station(struct api_request *r)
{
	struct station *s = stations_find(r->api->stations, r->account->name, slice_of_str(r->stream));
	if (!s) api_refuse(r, JS_STREAM_NOT_FOUND, NULL);
	return s;
}

struct consumer *api_consumer(struct api_request *r, struct station **s)
{
	*s = api_station(r);
	if (!*s) return NULL;
	struct consumer *k = consumers_find(station_consumers(*s), slice_of_str(r->consumer));
	if (!k) api_refuse(r, JS_CONSUMER_NOT_FOUND, NULL);
	return k;
}

bool api_may_change(struct api_request *r, const struct station *s)
{
	const char *doubt = stream_doubt(station_stream(s));
	if (doubt) api_refuse(r, JS_STORE_FAILED, doubt);
	return !doubt;
}

void api_after_sync(struct api_request *r, struct station *s, void (*then)(struct stream_req *q))
{
	if (stream_doubt(station_stream(s))) { /* nothing is in flight, and what is there stays as it is */
		r->stream_req = (struct stream_req) { .result = OK };
		then(&r->stream_req);
		return;
	}
	if (!stream_is_leader(station_stream(s))) { /* not led yet, or not any more: what it knows may be old */
		api_refuse(r, JS_UNAVAILABLE, NULL);
		return;
	}
	r->stream_req = (struct stream_req) { .done = then };
	stream_sync(station_stream(s), &r->stream_req);
	station_mark_dirty(s);
}

void api_needs_cluster(struct api_request *r) { api_refuse(r, JS_CLUSTER_REQUIRED, NULL); }

/* ---- arriving ---- */

static char *take_token(struct slice *rest)
{
	ptrdiff_t dot = slice_find(*rest, '.');
	struct slice token = dot < 0 ? *rest : slice_first(*rest, (size_t)dot);
	*rest = dot < 0 ? SLICE_NULL : slice_from(*rest, (size_t)dot + 1);
	char *s = mem_zalloc(token.n + 1);
	if (token.n) memcpy(s, token.p, token.n);
	return s;
}

/* The longest row that begins the subject; *rest is what follows it. */
static const struct row *row_of(struct slice subject, struct slice *rest)
{
	const struct row *best = NULL;
	size_t best_n = 0;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct slice s = slice_of_str(rows[i].subject);
		bool whole = subject.n == s.n || (subject.n > s.n && subject.p[s.n] == '.');
		if (!whole || !slice_has_prefix(subject, s) || s.n < best_n) continue;
		if ((subject.n > s.n) != (rows[i].names > 0)) continue;
		best = &rows[i];
		best_n = s.n;
	}
	if (best) *rest = subject.n > best_n ? slice_from(subject, best_n + 1) : SLICE_NULL;
	return best;
}

static struct api_request *request_make(struct api_account *a, const struct msg *m)
{
	struct api_request *r = NEW(struct api_request);
	r->api = a->api;
	r->account = a->account;
	r->home = a;
	r->reply = mem_zalloc(m->reply.n + 1);
	memcpy(r->reply, m->reply.p, m->reply.n);
	r->type = "system_response";
	if (router_has_interest(&a->account->router, SLICE("$JS.EVENT.ADVISORY.API"), SLICE_NULL)) {
		r->audited = mem_zalloc(m->subject.n + 1);
		memcpy(r->audited, m->subject.p, m->subject.n);
	}
	list_push_back(&a->api->requests, &r->link);
	return r;
}

static void pull(struct api_account *a, struct slice rest, const struct msg *m)
{
	ptrdiff_t dot = slice_find(rest, '.');
	if (dot < 0) return;
	struct station *s = stations_find(a->api->stations, a->account->name, slice_first(rest, (size_t)dot));
	struct consumer *k = s ? consumers_find(station_consumers(s), slice_from(rest, (size_t)dot + 1)) : NULL;
	const char *doubt = k ? stream_doubt(station_stream(s)) : NULL;
	if (doubt) {
		consumer_refuse(k, m->reply, doubt);
	} else if (k) {
		consumer_pull(k, m->payload, m->reply);
	}
}

static bool is_pull_of_nobody(struct api_account *a, struct slice rest)
{
	ptrdiff_t dot = slice_find(rest, '.');
	struct station *s =
		dot < 0 ? NULL : stations_find(a->api->stations, a->account->name, slice_first(rest, (size_t)dot));
	return !s || !consumers_find(station_consumers(s), slice_from(rest, (size_t)dot + 1));
}

/* Streams that do not allow it have nobody who listens. */
static bool is_direct_of_nobody(struct api_account *a, struct slice rest)
{
	ptrdiff_t dot = slice_find(rest, '.');
	struct slice name = dot < 0 ? rest : slice_first(rest, (size_t)dot);
	struct station *s = stations_find(a->api->stations, a->account->name, name);
	return !s || !stream_config(station_stream(s))->allow_direct;
}

/* What follows the stream's name is the subject whose last message is wanted. */
static void direct_get(struct api_account *a, struct slice rest, const struct msg *m)
{
	struct api_request *r = request_make(a, m);
	r->is_direct = true;
	r->stream = take_token(&rest);
	if (rest.n) {
		r->tail = mem_zalloc(rest.n + 1);
		memcpy(r->tail, rest.p, rest.n);
	} else {
		buf_append_slice(&r->body, m->payload);
	}
	api_msg_get(r);
}

/* Requests that a handler answers get an error; pulls and direct gets have nobody who listens. */
static bool refuse_disabled(struct api_account *a, const struct row *row, const struct msg *m)
{
	if (row && (row->handler == api_consumer_next || row->handler == api_direct_get)) return false;
	if (m->reply.n == 0) return true;
	struct api_request *r = request_make(a, m);
	if (row) r->type = row->type;
	api_refuse(r, JS_NOT_ENABLED_FOR_ACCOUNT, NULL);
	return true;
}

static bool api_deliver(struct sink *k, struct sub *sub, const struct msg *m)
{
	struct api_account *a = CONTAINER_OF(k, struct api_account, api_sink);
	size_t prefix_n = sub->subject.n - 1; /* `$JS.API.` or `$JS.DOMAIN.API.`, without the `>` */
	if (m->subject.n <= prefix_n) return false;
	struct slice subject = slice_from(m->subject, prefix_n), rest = SLICE_NULL;
	const struct row *row = row_of(subject, &rest);
	if (!a->is_enabled) return refuse_disabled(a, row, m);
	if (row && row->handler == api_consumer_next) {
		if (is_pull_of_nobody(a, rest)) return false; /* no responders */
		pull(a, rest, m);
		return true;
	}
	bool is_direct = row && row->handler == api_direct_get;
	if (is_direct && is_direct_of_nobody(a, rest)) return false;
	if (m->reply.n == 0) return true;
	if (is_direct) {
		direct_get(a, rest, m);
		return true;
	}
	struct api_request *r = request_make(a, m);
	if (!row) {
		api_refuse(r, JS_BAD_REQUEST, NULL);
		return true;
	}
	r->type = row->type;
	r->stream = row->names > 0 ? take_token(&rest) : NULL;
	r->consumer = row->names > 1 || rest.n ? take_token(&rest) : NULL;
	if (rest.n) {
		r->tail = mem_zalloc(rest.n + 1);
		memcpy(r->tail, rest.p, rest.n);
	}
	buf_append_slice(&r->body, m->payload);
	if (row->body == EMPTY && m->payload.n) {
		api_refuse(r, JS_NOT_EMPTY_REQUEST, NULL);
	} else {
		row->handler(r);
	}
	return true;
}

/* Their requests take the short way above. */
void api_consumer_next(struct api_request *r) { api_drop(r); }
void api_direct_get(struct api_request *r) { api_drop(r); }

static bool api_deliver_ack(struct sink *k, struct sub *sub, const struct msg *m)
{
	struct api_account *a = CONTAINER_OF(k, struct api_account, ack_sink);
	struct slice rest = slice_from(m->subject, sizeof "$JS.ACK." - 1);
	(void)sub;
	ptrdiff_t dot = slice_find(rest, '.');
	if (dot < 0) return false;
	struct slice stream = slice_first(rest, (size_t)dot);
	rest = slice_from(rest, (size_t)dot + 1);
	dot = slice_find(rest, '.');
	if (dot < 0) return false;
	struct slice consumer = slice_first(rest, (size_t)dot);
	struct station *s = stations_find(a->api->stations, a->account->name, stream);
	/* in doubt nothing can be acknowledged: who waits for an answer hears at once that nobody took it */
	return s && !stream_doubt(station_stream(s)) &&
	       consumers_ack(station_consumers(s), consumer, slice_from(rest, (size_t)dot + 1), m->payload, m->reply);
}

static const struct sink_ops api_sink_ops = { .deliver = api_deliver };
static const struct sink_ops ack_sink_ops = { .deliver = api_deliver_ack };

/* ---- life ---- */

static void timer_fire(struct io_timer *t) { (void)t; /* a turn ends: api_turn_end looks at who waits */ }

void api_init(struct api *a, struct io *io, struct diag *diag, struct stations *stations, struct meta *meta)
{
	*a = (struct api) {
		.io = io, .diag = diag, .stations = stations, .meta = meta, .timer = { .fire = timer_fire }
	};
	list_init(&a->accounts);
	list_init(&a->waiting);
	list_init(&a->requests);
}

static struct api_account *account_find(const struct api *a, const struct account *account)
{
	LIST_EACH (node, &a->accounts) {
		struct api_account *x = CONTAINER_OF(node, struct api_account, link);
		if (x->account == account) return x;
	}
	return NULL;
}

static struct api_account *account_open(struct api *a, struct account *account)
{
	struct api_account *x = NEW(struct api_account);
	*x = (struct api_account) {
		.api = a, .account = account, .api_sink = { &api_sink_ops }, .ack_sink = { &ack_sink_ops }
	};
	x->api_sub.sink = x->domain_sub.sink = &x->api_sink;
	x->ack_sub.sink = &x->ack_sink;
	enum err e = router_subscribe(&account->router, &x->api_sub, SLICE("$JS.API.>"), SLICE_NULL);
	ASSERT(e == OK);
	if (a->stations->domain) {
		struct buf subject = { 0 };
		buf_printf(&subject, "$JS.%s.API.>", a->stations->domain);
		e = router_subscribe(&account->router, &x->domain_sub, buf_slice(&subject), SLICE_NULL);
		if (e != OK)
			diag_line(a->diag, DIAG_ERROR, "api: %s is no subject, the domain is not served",
				buf_str(&subject));
		buf_deinit(&subject);
	}
	list_push_back(&a->accounts, &x->link);
	return x;
}

static void account_free(struct api_account *x)
{
	list_remove_if_linked(&x->link);
	router_unsubscribe(&x->api_sub);
	if (sub_is_active(&x->ack_sub)) router_unsubscribe(&x->ack_sub);
	if (sub_is_active(&x->domain_sub)) router_unsubscribe(&x->domain_sub);
	mem_free(x);
}

void api_open_account(struct api *a, struct account *account, bool is_enabled)
{
	struct api_account *x = account_find(a, account);
	if (!x) x = account_open(a, account);
	if (is_enabled && !x->is_enabled) {
		enum err e = router_subscribe(&account->router, &x->ack_sub, SLICE("$JS.ACK.>"), SLICE_NULL);
		ASSERT(e == OK);
	} else if (!is_enabled && x->is_enabled) {
		router_unsubscribe(&x->ack_sub);
	}
	x->is_enabled = is_enabled;
}

void api_close_account(struct api *a, const struct account *account)
{
	struct api_account *x = account_find(a, account);
	if (x) account_free(x);
}

uint64_t api_account_count(const struct api *a)
{
	uint64_t n = 0;
	LIST_EACH (node, &a->accounts) n += CONTAINER_OF(node, struct api_account, link)->is_enabled;
	return n;
}

void api_close(struct api *a)
{
	a->closing = true;
	io_timer_stop(a->io, &a->timer);
	for (struct list *node; (node = list_pop_front(&a->accounts)) != NULL;)
		account_free(CONTAINER_OF(node, struct api_account, link));
	while (!list_is_empty(&a->waiting)) api_drop(CONTAINER_OF(a->waiting.next, struct api_request, link_by_wait));
}

void api_deinit(struct api *a)
{
	while (!list_is_empty(&a->requests)) api_drop(CONTAINER_OF(a->requests.next, struct api_request, link));
}

/* ---- waiting for a stream that was just made or changed ---- */

enum { WAIT_MAX_S = 5, WAIT_STEP_MS = 2 };

void api_wait(struct api_request *r)
{
	r->wait_until_ns = io_now_ns(r->api->io) + SECONDS(WAIT_MAX_S);
	list_push_back(&r->api->waiting, &r->link_by_wait);
}

void api_turn_end(struct api *a)
{
	LIST_EACH_SAFE (node, &a->waiting) {
		struct api_request *r = CONTAINER_OF(node, struct api_request, link_by_wait);
		if (api_stream_ready(r)) {
			list_remove(&r->link_by_wait);
			api_stream_answer(r);
		} else if (io_now_ns(a->io) > r->wait_until_ns) {
			list_remove(&r->link_by_wait);
			api_refuse(r, JS_UNAVAILABLE, NULL);
		}
	}
	if (!list_is_empty(&a->waiting) && !io_timer_is_armed(&a->timer))
		io_timer_start(a->io, &a->timer, MILLIS(WAIT_STEP_MS));
}
