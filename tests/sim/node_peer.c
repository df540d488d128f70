/* SPDX-License-Identifier: Apache-2.0 */
/* node_peer — see node_peer.h. */
#include "sim/node_peer.h"

#include <stdio.h>
#include <string.h>

void peer_init(struct peer *p, struct sim *s, unsigned index, const char *host)
{
	*p = (struct peer) { .s = s, .index = index, .host = host, .next_token = 2 };
	list_init(&p->calls);
}

static void send_text(struct peer *p, struct buf *text)
{
	sim_client_send(p->c, buf_slice(text));
	buf_deinit(text);
}

void peer_connect(struct peer *p)
{
	struct buf b = { 0 };
	ASSERT(!p->c);
	p->parser = (struct wire_parser) { .verbs = WIRE_FROM_SERVER,
		.forbidden = WIRE_ERROR_UNKNOWN_OP,
		.control_line_max = 1 << 20,
		.payload_max = UINT32_MAX };
	p->has_greeted = false;
	p->is_open = true;
	p->first_token = p->next_token;
	p->open_ns = sim_now_ns(p->s);
	p->c = sim_client_new(p->s, p->host, PEER_PORT);
	buf_append_str(&b, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
	buf_printf(&b, "SUB _INBOX.%u.* 1\r\nPING\r\n", p->index);
	send_text(p, &b);
}

void peer_call_end(struct peer_call *c)
{
	if (c->is_pull && c->peer->is_open) {
		struct buf b = { 0 };
		buf_printf(&b, "UNSUB %llu\r\n", (unsigned long long)c->token);
		send_text(c->peer, &b);
	}
	list_remove(&c->link);
	mem_free(c);
}

static void call_lost(struct peer_call *c)
{
	c->on(c, NULL);
	peer_call_end(c);
}

void peer_close(struct peer *p)
{
	if (!p->c) return;
	p->is_open = false;
	sim_client_free(p->c);
	p->c = NULL;
	while (!list_is_empty(&p->calls)) call_lost(CONTAINER_OF(p->calls.next, struct peer_call, link));
}

/* ---- calls ---- */

static struct peer_call *call_new(
	struct peer *p, uint64_t timeout_ns, void (*on)(struct peer_call *c, const struct wire_op *op))
{
	struct peer_call *c = NEW(struct peer_call);
	uint64_t now = sim_now_ns(p->s);
	ASSERT(p->is_open);
	*c = (struct peer_call) {
		.peer = p, .token = p->next_token++, .sent_ns = now, .until_ns = now + timeout_ns, .on = on
	};
	list_push_back(&p->calls, &c->link);
	return c;
}

static void encode(struct buf *b, const struct wire_msg *m)
{
	uint8_t *at = buf_reserve(b, wire_encode_bytes_max(m));
	b->n += wire_pub_encode(at, m);
}

struct peer_call *peer_call(struct peer *p, struct slice subject, struct slice header, struct slice payload,
	uint64_t timeout_ns, void (*on)(struct peer_call *c, const struct wire_op *op), size_t cut)
{
	struct peer_call *c = call_new(p, timeout_ns, on);
	struct buf b = { 0 }, inbox = { 0 };
	buf_printf(&inbox, "_INBOX.%u.%llu", p->index, (unsigned long long)c->token);
	encode(&b, &(struct wire_msg) {
			   .subject = subject, .reply = buf_slice(&inbox), .header = header, .payload = payload });
	b.n -= size_min(cut, b.n);
	buf_deinit(&inbox);
	send_text(p, &b);
	return c;
}

struct peer_call *peer_pull(struct peer *p, struct slice subject, struct slice payload, uint64_t timeout_ns,
	void (*on)(struct peer_call *c, const struct wire_op *op))
{
	struct peer_call *c = call_new(p, timeout_ns, on);
	struct buf b = { 0 }, inbox = { 0 };
	c->is_pull = true;
	buf_printf(&inbox, "_PULL.%u.%llu", p->index, (unsigned long long)c->token);
	buf_printf(&b, "SUB %.*s %llu\r\n", SLICE_FMT(buf_slice(&inbox)), (unsigned long long)c->token);
	encode(&b, &(struct wire_msg) { .subject = subject, .reply = buf_slice(&inbox), .payload = payload });
	buf_deinit(&inbox);
	send_text(p, &b);
	return c;
}

uint64_t peer_mark(const struct peer *p) { return p->next_token; }

bool peer_has_reached(const struct peer *p, uint64_t mark)
{
	return p->is_open && mark >= p->first_token && p->heard_token >= mark;
}

void peer_publish(struct peer *p, struct slice subject, struct slice payload)
{
	struct buf b = { 0 };
	encode(&b, &(struct wire_msg) { .subject = subject, .payload = payload });
	send_text(p, &b);
}

/* ---- what arrives ---- */

static struct peer_call *call_of(struct peer *p, const struct wire_op *op)
{
	uint64_t token = 0;
	if (slice_to_u64(op->sid, &token) != OK) return NULL;
	if (token == 1) {
		struct slice rest = op->subject;
		for (ptrdiff_t dot; (dot = slice_find(rest, '.')) >= 0;) rest = slice_from(rest, (size_t)dot + 1);
		if (slice_to_u64(rest, &token) != OK) return NULL;
	}
	LIST_EACH (node, &p->calls) {
		struct peer_call *c = CONTAINER_OF(node, struct peer_call, link);
		if (c->token == token) return c;
	}
	return NULL;
}

static void take_op(struct peer *p, const struct wire_op *op)
{
	struct peer_call *c;
	switch (op->verb) {
	case WIRE_MSG:
	case WIRE_HMSG:
		c = call_of(p, op);
		if (!c) {
			sim_count(p->s, "answer that came too late");
			return;
		}
		bool is_pull = c->is_pull;
		p->heard_token = u64_max(p->heard_token, c->token);
		c->on(c, op);
		if (!is_pull) peer_call_end(c);
		return;
	case WIRE_PING: sim_client_send(p->c, WIRE_PONG_LINE); return;
	case WIRE_PONG: p->has_greeted = true; return;
	case WIRE_ERR: (void)snprintf(p->error, sizeof p->error, "%.*s", SLICE_FMT(op->args)); return;
	case WIRE_CONNECT:
	case WIRE_PUB:
	case WIRE_HPUB:
	case WIRE_SUB:
	case WIRE_UNSUB:
	case WIRE_INFO:
	case WIRE_OK:
	case WIRE_VERB_COUNT: return;
	}
}

bool peer_poll(struct peer *p)
{
	struct wire_op op;
	uint64_t now = sim_now_ns(p->s);
	if (!p->c) return true;
	struct slice in = sim_client_received(p->c);
	size_t used = 0;
	enum wire_result r;
	while ((r = wire_parse(&p->parser, slice_from(in, used), &op)) == WIRE_OP) {
		used += op.used;
		take_op(p, &op);
	}
	sim_client_consume(p->c, used);
	if (r == WIRE_BAD) (void)snprintf(p->error, sizeof p->error, "the server's bytes can not be parsed");
	enum err e = sim_client_status(p->c);
	if (r == WIRE_BAD || (e != OK && e != ERR_AGAIN)) return false;
	LIST_EACH_SAFE (node, &p->calls) {
		struct peer_call *c = CONTAINER_OF(node, struct peer_call, link);
		if (now > c->until_ns) call_lost(c);
	}
	return true;
}

/* ---- JSON ---- */

static struct slice json_value(struct slice text, const char *key)
{
	char name[64];
	int n = snprintf(name, sizeof name, "\"%s\":", key);
	const uint8_t *at = text.n ? memmem(text.p, text.n, name, (size_t)n) : NULL;
	if (!at) return SLICE_NULL;
	struct slice v = slice_from(text, (size_t)(at - text.p) + (size_t)n);
	while (v.n && v.p[0] == ' ') v = slice_from(v, 1);
	return v;
}

bool json_number(struct slice text, const char *key, uint64_t *out)
{
	struct slice v = json_value(text, key);
	size_t n = 0;
	while (n < v.n && v.p[n] >= '0' && v.p[n] <= '9') n++;
	return n > 0 && slice_to_u64(slice_first(v, n), out) == OK;
}

struct slice json_text(struct slice text, const char *key)
{
	struct slice v = json_value(text, key);
	if (v.n == 0 || v.p[0] != '"') return SLICE_NULL;
	v = slice_from(v, 1);
	ptrdiff_t end = slice_find(v, '"');
	return end < 0 ? SLICE_NULL : slice_first(v, (size_t)end);
}

bool base64_read(struct slice text, struct buf *out)
{
	static const uint8_t none = 0xff;
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t value[256];
	uint32_t bits = 0;
	unsigned have = 0;
	memset(value, none, sizeof value);
	for (uint8_t i = 0; i < 64; i++) value[(uint8_t)digits[i]] = i;
	while (text.n && text.p[text.n - 1] == '=') text.n--;
	uint8_t *to = buf_reserve(out, text.n * 3 / 4 + 1);
	for (size_t i = 0; i < text.n; i++) {
		if (value[text.p[i]] == none) return false;
		bits = bits << 6 | value[text.p[i]];
		have += 6;
		if (have < 8) continue;
		have -= 8;
		*to++ = (uint8_t)(bits >> have);
	}
	out->n += text.n * 3 / 4;
	return true;
}
