/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and listeners on libuv. The way of a byte in: socket -> on_alloc's place, or the shared scratch -> on_read. Out:
 * io_stream_write tries the socket at once; only what the kernel does not take costs a request, and on_drain ends it.
 *
 * Listeners poll the socket and accept by themselves: libuv's own accept answers a shortage of descriptors by accepting and
 * dropping whoever waits, while we pause and leave them in the backlog. */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "uv_io.h"

enum {
	ACCEPT_BATCH = 64, /* accepted in one go, then others have their turn */
};
#define ACCEPT_PAUSE_NS MILLIS(100)

/* One per connection, so small matters: idle ones are most of a server's memory. */
struct uv_net_stream {
	struct io_stream base;
	uv_tcp_t tcp;
	struct uv_net_write *pending; /* owned; while bytes wait for the kernel */
	struct io_task end_task;      /* tells on_end or a failed connect, never from inside a call */
	enum err end_why;
	bool is_connecting, is_connected;
	bool wants_read, is_reading;
	bool is_broken; /* nothing can be written any more */
	bool is_ended;  /* on_end was called or will be by end_task */
	bool is_closing;
};

/* Made for the rest of a write, so that an idle stream does not carry it. */
struct uv_net_write {
	uv_write_t req;
	struct uv_net_stream *s; /* borrowed */
};

struct uv_net_connect {
	uv_connect_t req;
	struct uv_net_stream *s; /* borrowed */
};

struct uv_net_listener {
	struct io_listener base;
	uv_poll_t poll;
	struct io_timer pause; /* after a shortage of descriptors */
	int fd;                /* owned */
	bool is_closing;
};

static struct uv_net_stream *stream_of(const struct io_stream *s)
{
	return CONTAINER_OF((struct io_stream *)(uintptr_t)s, struct uv_net_stream, base);
}
static struct uv_io *stream_io(const struct uv_net_stream *s) { return uv_io_of(s->base.io); }
static uv_stream_t *stream_uv(struct uv_net_stream *s) { return (uv_stream_t *)&s->tcp; }
static uv_handle_t *stream_handle(struct uv_net_stream *s) { return (uv_handle_t *)&s->tcp; }
size_t uv_net_stream_bytes(void) { return sizeof(struct uv_net_stream); }

/* ---- life ---- */

static void stream_end_run(struct io_task *t)
{
	struct uv_net_stream *s = CONTAINER_OF(t, struct uv_net_stream, end_task);
	if (s->is_connecting) {
		s->is_connecting = false;
		s->base.ops->on_connect(s->base.owner, s->end_why);
	} else if (s->base.ops) {
		s->base.ops->on_end(s->base.owner, s->end_why);
	}
}

static struct uv_net_stream *stream_new(struct uv_io *u)
{
	struct uv_net_stream *s = NEW(struct uv_net_stream);
	s->base.io = &u->io;
	s->end_task.run = stream_end_run;
	/* Fails only for a socket that it would have to make. */
	ASSERT(uv_tcp_init(&u->loop, &s->tcp) == 0);
	s->tcp.data = s;
	u->stream_count++;
	return s;
}

static void stream_closed(uv_handle_t *handle)
{
	struct uv_net_stream *s = handle->data;
	struct uv_io *u = stream_io(s);
	uv_io_enter(u);
	u->stream_count--;
	if (s->base.ops) s->base.ops->on_close(s->base.owner);
	mem_free(s);
}

void uv_net_close(struct io_stream *stream)
{
	struct uv_net_stream *s = stream_of(stream);
	if (s->is_closing) return;
	s->is_closing = true;
	list_remove_if_linked(&s->end_task.link);
	uv_close(stream_handle(s), stream_closed);
}

/* The stream is over for `why`. Told once, and from a task: this may be inside a call of the owner. */
static void stream_end(struct uv_net_stream *s, enum err why)
{
	if (s->is_ended || s->is_closing) return;
	s->is_ended = true;
	s->end_why = why;
	io_defer(s->base.io, &s->end_task);
	if (s->is_reading) uv_read_stop(stream_uv(s));
	s->is_reading = false;
}

/* ---- reading ---- */

static uint8_t *scratch_of(struct uv_io *u)
{
	if (!u->scratch) u->scratch = mem_alloc(UV_IO_SCRATCH_BYTES);
	return u->scratch;
}

static void stream_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct uv_net_stream *s = handle->data;
	(void)suggested;
	size_t n = UV_IO_SCRATCH_BYTES;
	uint8_t *p = s->base.ops->on_alloc ? s->base.ops->on_alloc(s->base.owner, &n) : NULL;
	if (!p) {
		p = scratch_of(stream_io(s));
		n = UV_IO_SCRATCH_BYTES;
	}
	ASSERT(n > 0);
	*buf = uv_buf_init((char *)p, (unsigned)size_min(n, INT32_MAX));
}

static void stream_on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf)
{
	struct uv_net_stream *s = tcp->data;
	uv_io_enter(stream_io(s));
	if (n > 0) {
		s->base.ops->on_read(s->base.owner, (const uint8_t *)buf->base, (size_t)n);
	} else if (n < 0) {
		s->is_broken = s->is_broken || n != UV_EOF;
		stream_end(s, uv_err((int)n));
	}
}

void uv_net_read(struct io_stream *stream, bool on)
{
	struct uv_net_stream *s = stream_of(stream);
	s->wants_read = on;
	const bool goes = on && s->is_connected && !s->is_ended && !s->is_closing;
	if (goes == s->is_reading) return;
	s->is_reading = goes;
	if (!goes) {
		uv_read_stop(stream_uv(s));
		return;
	}
	int r = uv_read_start(stream_uv(s), stream_on_alloc, stream_on_read);
	if (r != 0) {
		s->is_reading = false;
		s->is_broken = true;
		stream_end(s, uv_err(r));
	}
}

/* ---- writing ---- */

static void stream_drained(uv_write_t *req, int status)
{
	struct uv_net_write *w = CONTAINER_OF(req, struct uv_net_write, req);
	struct uv_net_stream *s = w->s;
	mem_free(w);
	s->pending = NULL;
	if (s->is_closing) return;
	uv_io_enter(stream_io(s));
	if (status != 0) {
		s->is_broken = true;
		if (!s->is_ended) {
			stream_end(s, uv_err(status));
			return;
		}
		/* The end was told before (the peer had finished sending); the memory must still come back. */
	}
	if (s->base.ops->on_drain) s->base.ops->on_drain(s->base.owner);
}

/* Hands what the kernel has not taken to libuv. */
static enum io_write stream_write_rest(struct uv_net_stream *s, uv_buf_t *bufs, unsigned count)
{
	struct uv_net_write *w = NEW(struct uv_net_write);
	w->s = s;
	const int r = uv_write(&w->req, stream_uv(s), bufs, count, stream_drained);
	if (r == 0) {
		s->pending = w;
		return IO_PENDING;
	}
	mem_free(w);
	s->is_broken = true;
	stream_end(s, uv_err(r));
	return IO_BROKEN;
}

enum io_write uv_net_write(struct io_stream *stream, const struct slice *v, unsigned count)
{
	struct uv_net_stream *s = stream_of(stream);
	ASSERT(!s->pending);
	ASSERT(s->is_connected);
	if (s->is_closing || s->is_broken) return IO_BROKEN;
	uv_buf_t bufs[IO_WRITE_SLICES_MAX];
	size_t total = 0;
	unsigned used = 0;
	for (unsigned i = 0; i < count; i++) {
		if (v[i].n == 0) continue;
		/* uv_buf_t has no const; writing only reads. */
		bufs[used++] = (uv_buf_t) { .base = (char *)(uintptr_t)v[i].p, .len = v[i].n };
		total += v[i].n;
	}
	if (total == 0) return IO_WRITTEN;
	int n = uv_try_write(stream_uv(s), bufs, used);
	if (n == UV_EAGAIN) n = 0;
	if (n < 0) {
		s->is_broken = true;
		stream_end(s, uv_err(n));
		return IO_BROKEN;
	}
	size_t taken = (size_t)n;
	if (taken == total) return IO_WRITTEN;
	unsigned first = 0;
	while (taken >= bufs[first].len) taken -= bufs[first++].len;
	bufs[first].base += taken;
	bufs[first].len -= taken;
	return stream_write_rest(s, bufs + first, used - first);
}

size_t uv_net_pending_bytes(const struct io_stream *stream)
{
	const struct uv_net_stream *s = stream_of(stream);
	return s->pending ? uv_stream_get_write_queue_size((const uv_stream_t *)&s->tcp) : 0;
}

/* ---- addresses ---- */

static enum err addr_parse(const char *host, uint16_t port, struct sockaddr_storage *out)
{
	if (uv_ip4_addr(host, port, (struct sockaddr_in *)out) == 0) return OK;
	if (uv_ip6_addr(host, port, (struct sockaddr_in6 *)out) == 0) return OK;
	return ERR_INVALID;
}

static void addr_print(const struct sockaddr_storage *from, struct io_addr *out)
{
	*out = (struct io_addr) { 0 };
	if (from->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)from;
		ASSERT(uv_ip4_name(in, out->host, sizeof out->host) == 0);
		out->port = ntohs(in->sin_port);
	} else if (from->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
		/* An IPv4 peer of a socket for both is shown as what it is. */
		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
			ASSERT(uv_inet_ntop(AF_INET, in6->sin6_addr.s6_addr + 12, out->host, sizeof out->host) == 0);
		else
			ASSERT(uv_ip6_name(in6, out->host, sizeof out->host) == 0);
		out->port = ntohs(in6->sin6_port);
	}
}

void uv_net_addr(const struct io_stream *stream, bool is_peer, struct io_addr *out)
{
	const struct uv_net_stream *s = stream_of(stream);
	struct sockaddr_storage ss = { 0 };
	int n = sizeof ss;
	/* Of a stream that is not connected (any more) there is nothing to tell: both leave ss as it is. */
	if (is_peer)
		(void)uv_tcp_getpeername(&s->tcp, (struct sockaddr *)&ss, &n);
	else
		(void)uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&ss, &n);
	addr_print(&ss, out);
}

/* ---- connecting ---- */

static void stream_connected(struct uv_net_stream *s)
{
	s->is_connected = true;
	(void)uv_tcp_nodelay(&s->tcp, 1); /* a wish; the stream works without */
}

static void stream_on_connect(uv_connect_t *req, int status)
{
	struct uv_net_connect *c = CONTAINER_OF(req, struct uv_net_connect, req);
	struct uv_net_stream *s = c->s;
	mem_free(c);
	if (s->is_closing) return;
	uv_io_enter(stream_io(s));
	s->is_connecting = false;
	if (status == 0)
		stream_connected(s);
	else
		s->is_broken = s->is_ended = true;
	const bool wants_read = s->wants_read;
	s->base.ops->on_connect(s->base.owner, uv_err(status));
	if (wants_read && s->wants_read && !s->is_closing) uv_net_read(&s->base, true);
}

enum err uv_net_connect(struct io *io, const char *host, uint16_t port, const struct io_stream_ops *ops, void *owner,
	struct io_stream **out)
{
	struct sockaddr_storage addr;
	enum err e = addr_parse(host, port, &addr);
	if (e != OK) return e;
	struct uv_net_stream *s = stream_new(uv_io_of(io));
	s->is_connecting = true;
	struct uv_net_connect *c = NEW(struct uv_net_connect);
	c->s = s;
	const int r = uv_tcp_connect(&c->req, &s->tcp, (const struct sockaddr *)&addr, stream_on_connect);
	if (r != 0) mem_free(c);
	if (r == UV_EMFILE || r == UV_ENFILE) {
		uv_net_close(&s->base); /* has no owner yet, so nobody hears of it */
		return ERR_FILES;
	}
	io_stream_own(&s->base, ops, owner);
	if (r != 0) {
		/* No route and the like: known at once, but told as if it had been tried. */
		s->is_broken = true;
		stream_end(s, uv_err(r));
	}
	*out = &s->base;
	return OK;
}

/* ---- listening ---- */

static struct uv_net_listener *listener_of(const struct io_listener *l)
{
	return CONTAINER_OF((struct io_listener *)(uintptr_t)l, struct uv_net_listener, base);
}

static void listener_accept(struct uv_net_listener *l, int fd)
{
	struct uv_net_stream *s = stream_new(uv_io_of(l->base.io));
	const int r = uv_tcp_open(&s->tcp, fd);
	if (r != 0) {
		(void)close(fd);
		uv_net_close(&s->base);
		return;
	}
	stream_connected(s);
	l->base.ops->on_accept(l->base.owner, &s->base);
	ASSERT(s->base.ops || s->is_closing);
}

static bool accept_error_is_passing(int code)
{
	/* The connection is gone before we saw it; the next one may be fine (accept(2)). */
	return code == EINTR || code == ECONNABORTED || code == EPROTO || code == EPERM || code == ENETDOWN ||
	       code == EHOSTUNREACH || code == ENETUNREACH;
}

static void listener_on_poll(uv_poll_t *poll, int status, int events)
{
	struct uv_net_listener *l = poll->data;
	(void)status;
	(void)events;
	uv_io_enter(uv_io_of(l->base.io));
	for (unsigned i = 0; i < ACCEPT_BATCH && !l->is_closing; i++) {
		const int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			listener_accept(l, fd);
			continue;
		}
		const int code = errno;
		if (code == EAGAIN) return;
		if (accept_error_is_passing(code)) continue;
		uv_poll_stop(&l->poll);
		io_timer_start(l->base.io, &l->pause, ACCEPT_PAUSE_NS);
		if (l->base.ops->on_accept_error) l->base.ops->on_accept_error(l->base.owner, uv_err(code));
		return;
	}
}

static void listener_pause_fired(struct io_timer *t)
{
	struct uv_net_listener *l = CONTAINER_OF(t, struct uv_net_listener, pause);
	ASSERT(uv_poll_start(&l->poll, UV_READABLE, listener_on_poll) == 0);
}

static enum err socket_bind(int fd, const struct sockaddr_storage *addr, int backlog)
{
	const int on = 1, off = 0;
	const bool is_ip6 = addr->ss_family == AF_INET6;
	const socklen_t n = is_ip6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) return uv_err(errno);
	/* "::" takes IPv4 as well, whatever the system's default is. */
	if (is_ip6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0) return uv_err(errno);
	if (bind(fd, (const struct sockaddr *)addr, n) != 0) return uv_err(errno);
	if (listen(fd, backlog) != 0) return uv_err(errno);
	return OK;
}

enum err uv_net_listen(struct io *io, const char *host, uint16_t port, int backlog, const struct io_listener_ops *ops,
	void *owner, struct io_listener **out)
{
	struct uv_io *u = uv_io_of(io);
	struct sockaddr_storage addr;
	enum err e = addr_parse(host, port, &addr);
	if (e != OK) return e;
	const int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) return uv_err(errno);
	e = socket_bind(fd, &addr, backlog);
	struct uv_net_listener *l = NEW(struct uv_net_listener);
	*l = (struct uv_net_listener) { .base = { io, ops, owner }, .fd = fd, .pause.fire = listener_pause_fired };
	if (e == OK) e = uv_err(uv_poll_init(&u->loop, &l->poll, fd));
	if (e != OK) {
		(void)close(fd);
		mem_free(l);
		return e;
	}
	l->poll.data = l;
	ASSERT(uv_poll_start(&l->poll, UV_READABLE, listener_on_poll) == 0);
	u->listener_count++;
	*out = &l->base;
	return OK;
}

void uv_net_listener_addr(const struct io_listener *listener, struct io_addr *out)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t n = sizeof ss;
	ASSERT(getsockname(listener_of(listener)->fd, (struct sockaddr *)&ss, &n) == 0);
	addr_print(&ss, out);
}

static void listener_closed(uv_handle_t *handle)
{
	struct uv_net_listener *l = handle->data;
	struct uv_io *u = uv_io_of(l->base.io);
	uv_io_enter(u);
	u->listener_count--;
	if (l->base.ops->on_close) l->base.ops->on_close(l->base.owner);
	mem_free(l);
}

void uv_net_listener_close(struct io_listener *listener)
{
	struct uv_net_listener *l = listener_of(listener);
	if (l->is_closing) return;
	l->is_closing = true;
	io_timer_stop(l->base.io, &l->pause);
	/* Leaves the poll set at once, so the socket may be closed here and its port is free when this returns. */
	uv_close((uv_handle_t *)&l->poll, listener_closed);
	(void)close(l->fd);
}
