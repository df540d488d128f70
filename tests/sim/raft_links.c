/* SPDX-License-Identifier: Apache-2.0 */
/* raft_links — see raft_links.h. */
#include <stdio.h>

#include "sim/raft_links.h"

enum { HELLO_BYTES = 16, LANE_BYTES_MAX = 8 << 20, RETRY_MS = 100 };

struct link_conn {
	struct list link;
	struct sim_links *links;
	struct sim_link *peer; /* NULL before hello of an accepted one */
	struct io_stream *stream;
	struct buf in, sending;
	bool connected, heard, pending, ended;
};

static void link_connect(struct sim_link *k);

static void conn_close(struct link_conn *c)
{
	struct sim_link *k = c->peer;
	if (c->ended) return;
	c->ended = true;
	if (k && k->conn == c) {
		uint64_t peer = k->peer;
		k->conn = NULL;
		k->peer = 0;
		buf_clear(&k->waiting[0]);
		buf_clear(&k->waiting[1]);
		if (peer) c->links->ops->down(c->links->owner, peer);
		if (k->index < c->links->index) io_timer_start(c->links->io, &k->retry, MILLIS(RETRY_MS));
	}
	io_stream_close(c->stream);
}

static void conn_flush(struct link_conn *c)
{
	struct sim_link *k = c->peer;
	if (c->ended || c->pending || !c->connected || !k) return;
	buf_append_slice(&c->sending, buf_slice(&k->waiting[RAFT_LANE_FRAMES]));
	buf_clear(&k->waiting[RAFT_LANE_FRAMES]);
	if (c->sending.n == 0) {
		/* Bulk goes in pieces, so that frames do not wait behind all of it. */
		struct buf *bulk = &k->waiting[RAFT_LANE_BULK];
		size_t n = bulk->n ? 4 + le32_get(bulk->p) : 0;
		buf_append(&c->sending, bulk->p, n);
		buf_consume(bulk, n);
	}
	if (c->sending.n == 0) return;
	struct slice bytes = buf_slice(&c->sending);
	switch (io_stream_write(c->stream, &bytes, 1)) {
	case IO_WRITTEN: buf_clear(&c->sending); break;
	case IO_PENDING: c->pending = true; break;
	case IO_BROKEN: buf_clear(&c->sending); break;
	}
}

static void links_turn_end(struct io_turn_hook *h)
{
	struct sim_links *l = CONTAINER_OF(h, struct sim_links, hook);
	for (unsigned i = 0; i < l->count; i++) {
		struct link_conn *c = l->link[i].conn;
		if (!c || !l->link[i].peer) continue;
		for (size_t before = SIZE_MAX;
			!c->ended && !c->pending && l->link[i].waiting[0].n + l->link[i].waiting[1].n != before;) {
			before = l->link[i].waiting[0].n + l->link[i].waiting[1].n;
			conn_flush(c);
		}
	}
}

static void hello_send(struct link_conn *c)
{
	uint8_t hello[HELLO_BYTES];
	le64_put(hello, c->links->self);
	le64_put(hello + 8, c->links->index);
	buf_append(&c->sending, hello, sizeof hello);
	struct slice bytes = buf_slice(&c->sending);
	c->connected = true;
	switch (io_stream_write(c->stream, &bytes, 1)) {
	case IO_WRITTEN: buf_clear(&c->sending); break;
	case IO_PENDING: c->pending = true; break;
	case IO_BROKEN: buf_clear(&c->sending); break;
	}
}

static void hello_heard(struct link_conn *c, uint64_t peer, uint64_t index)
{
	struct sim_links *l = c->links;
	ASSERT(index < l->count && index != l->index);
	c->heard = true;
	if (!c->peer) {
		struct sim_link *k = &l->link[index];
		if (k->conn) conn_close(k->conn); /* a new one replaces the old one, which may not know of its end */
		c->peer = k;
		k->conn = c;
		hello_send(c);
	}
	c->peer->peer = peer;
	c->peer->heard_ns = io_now_ns(l->io);
	l->ops->up(l->owner, peer);
}

static void conn_on_read(void *owner, const uint8_t *p, size_t n)
{
	struct link_conn *c = owner;
	size_t at = 0;
	if (c->peer) c->peer->heard_ns = io_now_ns(c->links->io);
	buf_append(&c->in, p, n);
	if (!c->heard && c->in.n >= HELLO_BYTES) {
		hello_heard(c, le64_get(c->in.p), le64_get(c->in.p + 8));
		at = HELLO_BYTES;
	}
	while (c->heard && !c->ended && c->in.n - at >= 4) {
		size_t bytes = le32_get(c->in.p + at);
		if (c->in.n - at < 4 + bytes) break;
		if (bytes) c->links->ops->frame(c->links->owner, c->peer->peer, slice_of(c->in.p + at + 4, bytes));
		at += 4 + bytes;
	}
	buf_consume(&c->in, at);
}

static void conn_on_end(void *owner, enum err why)
{
	(void)why;
	conn_close(owner);
}

static void conn_on_drain(void *owner)
{
	struct link_conn *c = owner;
	c->pending = false;
	buf_clear(&c->sending);
	conn_flush(c);
}

static void conn_free(struct link_conn *c)
{
	list_remove(&c->link);
	buf_deinit(&c->in);
	buf_deinit(&c->sending);
	mem_free(c);
}

static void conn_on_close(void *owner) { conn_free(owner); }

static void conn_on_connect(void *owner, enum err e)
{
	struct link_conn *c = owner;
	if (e != OK) {
		conn_close(c);
		return;
	}
	io_stream_read_start(c->stream);
	hello_send(c);
}

static const struct io_stream_ops conn_ops = {
	.on_connect = conn_on_connect,
	.on_read = conn_on_read,
	.on_end = conn_on_end,
	.on_drain = conn_on_drain,
	.on_close = conn_on_close,
};

static struct link_conn *conn_new(struct sim_links *l)
{
	struct link_conn *c = NEW(struct link_conn);
	c->links = l;
	list_push_back(&l->conns, &c->link);
	return c;
}

static void link_connect(struct sim_link *k)
{
	char host[32];
	struct link_conn *c = conn_new(k->links);
	(void)snprintf(host, sizeof host, "10.0.0.%u", k->index + 1);
	c->peer = k;
	if (io_connect(k->links->io, host, RAFT_LINKS_PORT, &conn_ops, c, &c->stream) != OK) UNREACHABLE();
	k->conn = c;
	k->heard_ns = io_now_ns(k->links->io);
}

static void link_retry(struct io_timer *t)
{
	struct sim_link *k = CONTAINER_OF(t, struct sim_link, retry);
	if (!k->conn) link_connect(k);
}

static void links_ping(struct io_timer *t)
{
	struct sim_links *l = CONTAINER_OF(t, struct sim_links, ping);
	for (unsigned i = 0; i < l->count; i++) {
		struct sim_link *k = &l->link[i];
		if (!k->conn) continue;
		if (io_now_ns(l->io) - k->heard_ns > SECONDS(3))
			conn_close(k->conn);
		else if (k->peer && k->waiting[RAFT_LANE_FRAMES].n == 0)
			buf_append_le32(&k->waiting[RAFT_LANE_FRAMES], 0);
	}
	io_timer_start(l->io, t, MILLIS(700));
}

static void links_on_accept(void *owner, struct io_stream *s)
{
	struct link_conn *c = conn_new(owner);
	c->stream = s;
	io_stream_own(s, &conn_ops, c);
	io_stream_read_start(s);
}

static void links_on_accept_error(void *owner, enum err e)
{
	(void)owner;
	(void)e;
}
static void links_on_close(void *owner) { (void)owner; }

enum err sim_links_start(struct sim_links *l, struct io *io, uint64_t self, unsigned index, unsigned count,
	const struct sim_links_ops *ops, void *owner)
{
	static const struct io_listener_ops listener_ops = { links_on_accept, links_on_accept_error, links_on_close };
	*l = (struct sim_links) { .io = io, .self = self, .index = index, .count = count, .ops = ops, .owner = owner };
	list_init(&l->conns);
	l->hook.turn_end = links_turn_end;
	io_turn_hook_add(io, &l->hook);
	for (unsigned i = 0; i < count; i++) {
		l->link[i].links = l;
		l->link[i].index = i;
		l->link[i].retry.fire = link_retry;
		if (i < index) io_timer_start(io, &l->link[i].retry, 1 + i);
	}
	l->ping.fire = links_ping;
	io_timer_start(io, &l->ping, MILLIS(700));
	return io_listen(io, "0.0.0.0", RAFT_LINKS_PORT, 64, &listener_ops, l, &l->listener);
}

void sim_links_teardown(struct sim_links *l)
{
	if (!l->io) return;
	while (!list_is_empty(&l->conns)) conn_free(CONTAINER_OF(l->conns.next, struct link_conn, link));
	for (unsigned i = 0; i < l->count; i++) {
		buf_deinit(&l->link[i].waiting[0]);
		buf_deinit(&l->link[i].waiting[1]);
	}
}

bool sim_links_send(void *arg, uint64_t peer, const struct slice *parts, unsigned count, enum raft_lane lane)
{
	struct sim_links *l = arg;
	for (unsigned i = 0; i < l->count; i++) {
		struct sim_link *k = &l->link[i];
		if (k->peer != peer) continue;
		struct buf *out = &k->waiting[lane];
		size_t bytes = 0;
		for (unsigned j = 0; j < count; j++) bytes += parts[j].n;
		if (out->n + bytes > LANE_BYTES_MAX) return false;
		buf_append_le32(out, (uint32_t)bytes);
		for (unsigned j = 0; j < count; j++) buf_append_slice(out, parts[j]);
		return true;
	}
	return false;
}
