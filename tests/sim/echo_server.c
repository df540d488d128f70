/* SPDX-License-Identifier: Apache-2.0 */
/* See echo_server.h. Knows nothing but io.h. */
#include "sim/echo_server.h"

enum { ECHO_OUT_MAX = 256 * 1024 };

struct echo_conn {
	struct echo_server *server; /* borrowed */
	struct io_stream *stream;
	struct list link, link_by_dirty;
	struct buf out, sending; /* `sending` is borrowed by the stream while is_pending */
	bool is_pending, has_ended;
};

/* ---- server ---- */

static void conn_dirty(struct echo_conn *c)
{
	if (!list_is_linked(&c->link_by_dirty)) list_push_back(&c->server->dirty, &c->link_by_dirty);
}

static void conn_on_read(void *owner, const uint8_t *p, size_t n)
{
	struct echo_conn *c = owner;
	buf_append(&c->out, p, n);
	conn_dirty(c);
	if (c->out.n >= ECHO_OUT_MAX) io_stream_read_stop(c->stream);
}

static void conn_on_end(void *owner, enum err why)
{
	struct echo_conn *c = owner;
	c->has_ended = true;
	/* Who has only finished sending still gets what is on its way back. */
	if (why == ERR_EOF && (c->is_pending || c->out.n > 0))
		conn_dirty(c);
	else
		io_stream_close(c->stream);
}

static void conn_flush(struct echo_conn *c)
{
	if (c->is_pending) return;
	if (c->out.n > 0) {
		struct buf swap = c->sending;
		c->sending = c->out;
		c->out = swap;
		buf_clear(&c->out);
		c->server->echoed_bytes += c->sending.n;
		/* In slices of odd sizes, so that vectors are cut everywhere. */
		struct slice v[8], all = buf_slice(&c->sending);
		unsigned count = 0;
		while (all.n > 0) {
			v[count] = count == COUNT_OF(v) - 1 ? all : slice_first(all, 1 + all.n / 3);
			all = slice_from(all, v[count++].n);
		}
		switch (io_stream_write(c->stream, v, count)) {
		case IO_WRITTEN: break;
		case IO_PENDING: c->is_pending = true; break;
		case IO_BROKEN: io_stream_close(c->stream); return;
		}
	}
	if (c->has_ended && !c->is_pending)
		io_stream_close(c->stream);
	else if (c->out.n < ECHO_OUT_MAX)
		io_stream_read_start(c->stream);
}

static void conn_on_drain(void *owner)
{
	struct echo_conn *c = owner;
	ASSERT(c->is_pending);
	c->is_pending = false;
	c->server->drains++;
	conn_dirty(c);
}

static void conn_free(struct echo_conn *c)
{
	list_remove(&c->link);
	list_remove_if_linked(&c->link_by_dirty);
	buf_deinit(&c->out);
	buf_deinit(&c->sending);
	c->server->conn_count--;
	mem_free(c);
}

static void conn_on_close(void *owner) { conn_free(owner); }

static void server_on_accept(void *owner, struct io_stream *s)
{
	static const struct io_stream_ops ops = {
		.on_read = conn_on_read,
		.on_end = conn_on_end,
		.on_drain = conn_on_drain,
		.on_close = conn_on_close,
	};
	struct echo_server *e = owner;
	struct echo_conn *c = NEW(struct echo_conn);
	*c = (struct echo_conn) { .server = e, .stream = s };
	list_push_back(&e->conns, &c->link);
	e->conn_count++;
	e->accepted++;
	io_stream_own(s, &ops, c);
	io_stream_read_start(s);
}

static void server_on_accept_error(void *owner, enum err e)
{
	struct echo_server *server = owner;
	(void)e;
	server->accept_errors++;
}

static void server_on_close(void *owner)
{
	struct echo_server *e = owner;
	e->listener = NULL;
}

static void server_turn_end(struct io_turn_hook *h)
{
	struct echo_server *e = CONTAINER_OF(h, struct echo_server, hook);
	struct list *node;
	while ((node = list_pop_front(&e->dirty)) != NULL)
		conn_flush(CONTAINER_OF(node, struct echo_conn, link_by_dirty));
}

enum err echo_server_start(struct echo_server *e, struct io *io, const char *host, uint16_t port)
{
	static const struct io_listener_ops ops = {
		.on_accept = server_on_accept,
		.on_accept_error = server_on_accept_error,
		.on_close = server_on_close,
	};
	*e = (struct echo_server) { .io = io, .hook.turn_end = server_turn_end };
	list_init(&e->conns);
	list_init(&e->dirty);
	io_turn_hook_add(io, &e->hook);
	return io_listen(io, host, port, 512, &ops, e, &e->listener);
}

void echo_server_stop(struct echo_server *e)
{
	if (e->listener) io_listener_close(e->listener);
	io_turn_hook_remove(e->io, &e->hook);
	LIST_EACH_SAFE (node, &e->conns) { io_stream_close(CONTAINER_OF(node, struct echo_conn, link)->stream); }
}

void echo_server_teardown(struct echo_server *e)
{
	struct list *node;
	while ((node = list_first(&e->conns)) != NULL) conn_free(CONTAINER_OF(node, struct echo_conn, link));
}

/* ---- client ---- */

static uint8_t pattern_at(uint64_t number, uint64_t i)
{
	return (uint8_t)((i * 131 + number * 17) ^ (i >> 8) ^ (i >> 17));
}

static void client_write(struct echo_client *c)
{
	while (!c->is_pending && c->written < c->total) {
		/* Sizes that depend on nothing but the position. */
		const size_t n =
			(size_t)u64_min(1 + hash_bytes(&c->written, sizeof c->written, c->number) % c->piece_bytes,
				c->total - c->written);
		for (size_t i = 0; i < n; i++) c->piece[i] = pattern_at(c->number, c->written + i);
		const struct slice v[] = { slice_of(c->piece, n / 2), slice_of(c->piece + n / 2, n - n / 2) };
		c->written += n;
		switch (io_stream_write(c->stream, v, COUNT_OF(v))) {
		case IO_WRITTEN: break;
		case IO_PENDING: c->is_pending = true; break;
		case IO_BROKEN: return; /* on_end follows */
		}
	}
}

static void client_on_connect(void *owner, enum err e)
{
	struct echo_client *c = owner;
	if (e != OK) {
		c->result = e;
		io_stream_close(c->stream);
		return;
	}
	io_stream_read_start(c->stream);
	client_write(c);
}

static void client_on_read(void *owner, const uint8_t *p, size_t n)
{
	struct echo_client *c = owner;
	for (size_t i = 0; i < n; i++) c->is_wrong |= p[i] != pattern_at(c->number, c->read + i);
	c->read += n;
	if (c->read >= c->total) {
		c->result = OK;
		io_stream_close(c->stream);
	} else if (c->pause_ns) {
		io_stream_read_stop(c->stream);
		io_timer_start(c->io, &c->pause, c->pause_ns);
	}
}

static void client_pause_fired(struct io_timer *t)
{
	struct echo_client *c = CONTAINER_OF(t, struct echo_client, pause);
	io_stream_read_start(c->stream);
}

static void client_on_end(void *owner, enum err why)
{
	struct echo_client *c = owner;
	c->result = why;
	io_stream_close(c->stream);
}

static void client_on_drain(void *owner)
{
	struct echo_client *c = owner;
	ASSERT(c->is_pending && io_stream_pending_bytes(c->stream) == 0);
	c->is_pending = false;
	client_write(c);
}

static void client_on_close(void *owner)
{
	struct echo_client *c = owner;
	io_timer_stop(c->io, &c->pause);
	c->stream = NULL;
	c->is_closed = true;
	mem_free(c->piece);
	c->piece = NULL;
	if (c->done) c->done(c);
}

enum err echo_client_start(struct echo_client *c, struct io *io, const char *host, uint16_t port)
{
	static const struct io_stream_ops ops = {
		.on_connect = client_on_connect,
		.on_read = client_on_read,
		.on_end = client_on_end,
		.on_drain = client_on_drain,
		.on_close = client_on_close,
	};
	c->io = io;
	c->result = ERR_AGAIN;
	c->piece = mem_alloc(c->piece_bytes);
	c->pause.fire = client_pause_fired;
	const enum err e = io_connect(io, host, port, &ops, c, &c->stream);
	if (e != OK) echo_client_teardown(c);
	return e;
}

void echo_client_teardown(struct echo_client *c)
{
	mem_free(c->piece);
	c->piece = NULL;
}
