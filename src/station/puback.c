/* SPDX-License-Identifier: Apache-2.0 */
/* A message comes in through the router, and its PubAck goes out through it when the message is durable and applied. An unknown outcome is
 * answered with nothing: the publisher retries under its message id (design §3). */
#include "station_internal.h"

static struct slice reply_of(const struct publish *p)
{
	return slice_of(p->reply_long ? p->reply_long : p->reply, p->reply_n);
}

static void send(struct station *s, struct slice reply, struct slice body)
{
	if (reply.n == 0) return;
	struct msg m = { .subject = reply, .payload = body, .account = s->account };
	(void)router_publish(&s->account->router, &m);
}

static void send_ack(struct station *s, struct slice reply, uint64_t seq, bool duplicate)
{
	const char *domain = s->stations->domain;
	size_t prefix_n = s->ack.n;
	if (prefix_n == 0) {
		buf_printf(&s->ack, "{\"stream\":\"%s\",", stream_config(s->stream)->name);
		if (domain) buf_printf(&s->ack, " \"domain\":\"%s\",", domain);
		buf_append_str(&s->ack, " \"seq\":");
		prefix_n = s->ack.n;
	}
	buf_append_u64(&s->ack, seq);
	buf_append_str(&s->ack, duplicate ? ",\"duplicate\": true}" : "}");
	send(s, reply, buf_slice(&s->ack));
	s->ack.n = prefix_n;
}

static void send_error(struct station *s, struct slice reply, const struct js_error *e)
{
	struct buf b = { 0 };
	buf_printf(&b, "{\"error\":{\"code\":%u,\"err_code\":%u,\"description\":\"", js_error_http(e->id),
		js_error_code(e->id));
	for (const char *c = e->text; *c; c++) {
		if (*c == '"' || *c == '\\') buf_append_byte(&b, '\\');
		buf_append_byte(&b, (unsigned char)*c < 0x20 ? ' ' : (uint8_t)*c);
	}
	buf_printf(&b, "\"},\"stream\":\"%s\",\"seq\":0}", stream_config(s->stream)->name);
	send(s, reply, buf_slice(&b));
	buf_deinit(&b);
}

/* What the log's refusals are called towards a publisher; OK-like outcomes and unknown ones have none. */
static enum js_error_id refusal(enum err e)
{
	switch (e) {
	case ERR_NO_SPACE: return JS_STORAGE_RESOURCES;
	case ERR_FULL: return JS_INSUFFICIENT_RESOURCES;
	case ERR_TOO_LARGE: return JS_MESSAGE_TOO_LARGE;
	case ERR_DOUBT: return JS_UNAVAILABLE;
	default: return JS_OK;
	}
}

static void publish_free(struct stations *t, struct publish *p)
{
	list_remove_if_linked(&p->link);
	mem_free(p->reply_long);
	pool_put(&t->publishes, p);
}

/* The last guard before "duplicate" is said. Not by its id, which may have left the window since. */
static bool is_stored(const struct station *s, uint64_t seq)
{
	struct stream_state st;
	stream_state(s->stream, &st);
	return seq <= st.last_seq;
}

static void publish_done(struct stream_req *r)
{
	struct publish *p = CONTAINER_OF(r, struct publish, req);
	struct station *s = p->station;
	struct js_error e;
	if (r->result == OK && p->duplicate && !is_stored(s, p->duplicate_of)) {
		(void)js_error_set(&e, JS_UNAVAILABLE, NULL);
		send_error(s, reply_of(p), &e);
	} else if (r->result == OK) {
		send_ack(s, reply_of(p), p->duplicate ? p->duplicate_of : r->seq, p->duplicate);
	} else if (refusal(r->result) != JS_OK && !s->gone) {
		(void)js_error_set(&e, refusal(r->result), NULL);
		send_error(s, reply_of(p), &e);
	}
	publish_free(s->stations, p);
}

static struct publish *publish_make(struct station *s, struct slice reply)
{
	struct publish *p = pool_get(&s->stations->publishes);
	p->station = s;
	p->req.done = publish_done;
	p->reply_n = (uint16_t)reply.n;
	if (reply.n > sizeof p->reply) p->reply_long = mem_alloc(reply.n);
	if (reply.n) memcpy(p->reply_long ? p->reply_long : p->reply, reply.p, reply.n);
	list_push_back(&s->publishes, &p->link);
	return p;
}

/* A duplicate is told so when the first one is durable: an empty record behind it says when. */
static enum err answer_duplicate(struct station *s, struct slice reply, uint64_t seq)
{
	if (reply.n == 0) return OK;
	struct publish *p = publish_make(s, reply);
	p->duplicate = true;
	p->duplicate_of = seq;
	enum err e = stream_propose_consumer(s->stream, SLICE_NULL, &p->req);
	if (e != OK) publish_free(s->stations, p);
	return e;
}

static enum err take(struct station *s, struct slice reply, const struct stream_publish *publish)
{
	uint64_t seq;
	/* Who asks for no answer is not remembered until there is one. */
	struct publish *p = reply.n ? publish_make(s, reply) : NULL;
	enum err e = stream_propose_msg(s->stream, publish, p ? &p->req : NULL, &seq);
	if (e == OK && diag_fault(s->stations->diag, FAULT_bug_ack_before_durable)) {
		send_ack(s, reply, seq, false);
		if (p) p->reply_n = 0;
	}
	if (e != OK && p) publish_free(s->stations, p);
	station_count(s);
	return e;
}

/* Admits; again, as long as making room for it takes back what it was admitted on. */
static enum admit_verdict admit(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *duplicate_of, struct js_error *e)
{
	for (;;) {
		enum admit_verdict v = station_admit(s, m, a, duplicate_of, e);
		if (v == ADMIT_REJECT) return v;
		if (stream_room_for_publish(s->stream, v == ADMIT_PASS ? &a->publish : NULL)) return v;
	}
}

bool station_deliver(struct sink *k, struct sub *sub, const struct msg *m)
{
	struct station *s = CONTAINER_OF(k, struct station, sink);
	(void)sub;
	struct slice reply = stream_config(s->stream)->no_ack ? SLICE_NULL : m->reply;
	struct admission a;
	struct js_error e = { 0 };
	uint64_t duplicate_of = 0;
	if (!stream_is_leader(s->stream)) { /* no answer: the publisher retries; unless that leads nowhere */
		const char *doubt = stream_doubt(s->stream);
		if (doubt) (void)js_error_set(&e, JS_STORE_FAILED, "%s", doubt);
		if (doubt) diag_count(s->stations->diag, COUNTER_publishes_refused);
		if (doubt) send_error(s, reply, &e);
		return true;
	}
	if (reply.n > UINT16_MAX) return false;
	struct msg clean = *m;
	uint8_t *stripped = NULL;
	if (m->header.n && header_has_owned(m->header, HEADER_EDGE_STORE)) {
		stripped = mem_alloc(m->header.n);
		clean.header = slice_of(stripped, header_strip(stripped, m->header, HEADER_EDGE_STORE));
	}
	enum admit_verdict v = admit(s, &clean, &a, &duplicate_of, &e);
	enum err result = OK;
	if (v == ADMIT_PASS) {
		result = take(s, reply, &a.publish);
	} else if (v == ADMIT_DUPLICATE) {
		diag_count(s->stations->diag, COUNTER_publishes_duplicate);
		result = answer_duplicate(s, reply, duplicate_of);
	} else {
		diag_count(s->stations->diag, COUNTER_publishes_rejected);
		send_error(s, reply, &e);
	}
	if (refusal(result) != JS_OK) {
		diag_count(s->stations->diag, COUNTER_publishes_refused);
		(void)js_error_set(&e, refusal(result), NULL);
		send_error(s, reply, &e);
	}
	mem_free(stripped);
	if (m->from && m->from->ops->slow && stream_is_behind(s->stream)) m->from->ops->slow(m->from);
	station_mark_dirty(s);
	return true;
}

void station_forget_publishes(struct station *s)
{
	ASSERT(list_is_empty(&s->publishes)); /* the stream answered all of them before it closed */
}
