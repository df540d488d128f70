/* SPDX-License-Identifier: Apache-2.0 */
/* Subscriptions of a client, and the way of a message to it: router_publish asks the sink, the sink encodes straight into the conn's
 * output. What is checked here is checked for every copy, so it is kept to a few loads when nothing is special. */
#include "session.h"

static struct slice client_sub_sid(const struct client_sub *cs) { return slice_of(cs->sid, cs->sid_bytes); }

struct slice client_sub_key(const void *item) { return client_sub_sid(item); }

enum err client_sub_add(struct client *c, struct slice sid, struct slice subject, struct slice queue, bool filtered)
{
	ASSERT(sid.n <= UINT16_MAX && c->session.account);
	struct client_sub *cs = mem_zalloc(sizeof *cs + sid.n);
	cs->sub.sink = &c->sink;
	cs->filtered = filtered;
	cs->sid_bytes = (uint16_t)sid.n;
	memcpy(cs->sid, sid.p, sid.n);
	/* In the map first: the router may tell somebody of the interest, and that may deliver at once. */
	void *old = map_put(&c->subs, cs);
	ASSERT(old == NULL);
	enum err e = router_subscribe(&c->session.account->router, &cs->sub, subject, queue);
	if (e != OK) {
		map_del(&c->subs, sid);
		mem_free(cs);
	}
	return e;
}

void client_sub_drop(struct client *c, struct client_sub *cs)
{
	map_del(&c->subs, client_sub_sid(cs));
	router_unsubscribe(&cs->sub);
	mem_free(cs);
}

void client_subs_drop_all(struct client *c)
{
	struct client_sub *cs;
	/* The walk ends before the items go: the map may not change under it. */
	for (size_t at = 0; (cs = map_next(&c->subs, &at)) != NULL;) router_unsubscribe(&cs->sub);
	for (size_t at = 0; (cs = map_next(&c->subs, &at)) != NULL;) mem_free(cs);
	uint64_t seed = c->subs.seed;
	map_deinit(&c->subs);
	map_init(&c->subs, seed, client_sub_key);
}

void client_subs_recheck(struct client *c)
{
	struct client_sub *cs;
	for (size_t at = 0; (cs = map_next(&c->subs, &at)) != NULL;) {
		struct slice subject = cs->sub.subject, queue = cs->sub.queue;
		if (auth_can_subscribe(&c->session, subject, queue, &cs->filtered)) continue;
		client_line(c, DIAG_INFO, "Removed sub \"%.*s\" (sid \"%.*s\") for User \"%.*s\" - not authorized",
			SLICE_FMT(subject), SLICE_FMT(client_sub_sid(cs)), SLICE_FMT(client_user(c)));
		client_error(c, WIRE_ERROR_SUBSCRIPTION_REVOKED, subject, client_sub_sid(cs));
		if (c->state != CLIENT_OPEN) return;
		client_sub_drop(c, cs);
		at = 0; /* the map has moved: begin again */
	}
}

/* ---- delivery ---- */

/* Output is getting long. True: the message may still be added. */
static bool client_has_room(struct client *c, size_t bytes)
{
	uint64_t limit = c->room->options.max_pending_bytes;
	size_t pending = conn_pending_bytes(&c->conn) + bytes;
	if (pending > limit / 4 * 3) c->room->stall_wanted = true;
	return client_keeps_up(c, pending);
}

bool client_keeps_up(struct client *c, size_t pending)
{
	uint64_t limit = c->room->options.max_pending_bytes;
	if (pending <= limit) return true;
	c->room->stats.slow_consumers++;
	c->room->stats.slow_pending++;
	client_line(c, DIAG_INFO, "Slow Consumer Detected: MaxPending of %llu Exceeded", (unsigned long long)limit);
	client_close(c, CLOSE_SLOW_PENDING);
	return false;
}

static void client_send(struct client *c, const struct wire_msg *m)
{
	size_t bytes = wire_encode_bytes_max(m);
	if (bytes <= CONN_RESERVE_MAX) {
		uint8_t *to = conn_reserve(&c->conn, bytes);
		conn_commit(&c->conn, wire_msg_encode(to, m));
		return;
	}
	uint8_t *to = conn_reserve(&c->conn, wire_line_bytes_max(m));
	conn_commit(&c->conn, wire_msg_line(to, m));
	conn_write(&c->conn, m->header);
	conn_write(&c->conn, m->payload);
	conn_write(&c->conn, WIRE_CRLF);
}

static bool client_may_take(struct client *c, struct client_sub *cs, const struct msg *m)
{
	if (c->state != CLIENT_OPEN) return false;
	if (m->from == &c->sink && !c->connect.echo) return false;
	return !cs->filtered || auth_can_deliver(&c->session, m->to.n ? m->to : m->subject, cs->sub.queue);
}

static bool client_deliver(struct sink *k, struct sub *s, const struct msg *m)
{
	struct client *c = CONTAINER_OF(k, struct client, sink);
	struct client_sub *cs = CONTAINER_OF(s, struct client_sub, sub);
	if (!client_may_take(c, cs, m)) return false;
	struct wire_msg out = {
		.subject = m->subject,
		.sid = client_sub_sid(cs),
		.reply = m->reply,
		.header = m->header,
		.payload = m->payload,
		.tail = m->tail,
	};
	if (!c->connect.headers && out.header.n) out.header = out.tail = SLICE_NULL;
	size_t bytes = out.header.n + out.payload.n;
	if (conn_pending_bytes_max(&c->conn) + bytes > c->room->options.max_pending_bytes / 2 &&
		!client_has_room(c, bytes))
		return false;
	c->out_msgs++;
	c->out_bytes += bytes;
	if (out.reply.n && auth_tracks_replies(&c->session)) auth_note_reply(&c->session, out.reply, c->room->now_ns);
	client_send(c, &out);
	if (diag_is_on(c->room->diag, DIAG_TRACE)) client_trace_out(c, &out);
	if (++cs->delivered == cs->max) client_sub_drop(c, cs);
	return true;
}

/* A stream is behind with writing: its publishers are read slower instead of being refused. */
static void client_slow(struct sink *k)
{
	struct client *c = CONTAINER_OF(k, struct client, sink);
	conn_stall(&c->conn, MILLIS(2) + io_random_u64(c->room->io) % MILLIS(3));
}

const struct sink_ops client_sink_ops = { .deliver = client_deliver, .slow = client_slow };

void client_tell_no_responders(struct client *c, struct slice reply)
{
	struct sub *s = router_find(&c->session.account->router, &c->sink, reply);
	if (!s) return;
	struct wire_msg out = {
		.subject = reply,
		.sid = client_sub_sid(CONTAINER_OF(s, struct client_sub, sub)),
		.header = SLICE("NATS/1.0 503\r\n\r\n"),
	};
	client_send(c, &out);
}
