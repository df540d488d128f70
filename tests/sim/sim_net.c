/* SPDX-License-Identifier: Apache-2.0 */
/* The network as processes see it: streams that are read and written in their turns, connecting, listening. What lies between is
 * sim_pipe.c. */
#include <arpa/inet.h>
#include <stdlib.h>

#include "sim/sim_conn.h"

enum {
	READS_PER_TURN = 32,
	PORT_FIRST = 40000,
};
#define SYN_RETRY_NS SECONDS(1)
#define ACCEPT_PAUSE_NS MILLIS(100)

static struct sim_stream *stream_of(const struct io_stream *s)
{
	return CONTAINER_OF((struct io_stream *)(uintptr_t)s, struct sim_stream, base);
}
static struct sim_io *stream_process(const struct sim_stream *s) { return sim_io_of(s->base.io); }

void sim_stream_break(struct sim_stream *s, enum err why)
{
	s->is_broken = true;
	if (s->end == OK) s->end = why;
	sim_stream_wake(s);
}

/* ---- streams: what the owner sees, in its turns ---- */

static struct pipe *stream_out(const struct sim_stream *s) { return &s->conn->pipe[s->side]; }
static struct pipe *stream_in(const struct sim_stream *s) { return &s->conn->pipe[1 - s->side]; }

static void stream_free(struct sim_stream *s)
{
	list_remove_if_linked(&s->ready.link);
	list_remove(&s->link);
	mem_free(s->pending);
	mem_free(s);
}

/* Hands one slice to the kernel as far as its window goes; returns what is left of it. */
static struct slice stream_push(struct sim_stream *s, struct slice v)
{
	const size_t n = size_min(v.n, sim_pipe_window(stream_out(s)));
	if (n > 0) sim_pipe_send(stream_out(s), v.p, n);
	return slice_from(v, n);
}

static void stream_drained(struct sim_stream *s)
{
	mem_free(s->pending);
	s->pending = NULL;
	s->has_drained = true;
}

/* Hands pending bytes to the kernel. */
static void stream_pump(struct sim_stream *s)
{
	struct sim_pending *w = s->pending;
	if (!w || !s->conn) return;
	if (s->is_broken) {
		/* Told of the peer's end before, the owner hears of a failure no more; its memory must still come back. */
		if (s->is_ended && s->end == ERR_EOF) stream_drained(s);
		return;
	}
	for (; w->first < w->count; w->first++) {
		struct slice *v = &w->v[w->first];
		const size_t before = v->n;
		*v = stream_push(s, *v);
		w->bytes -= before - v->n;
		if (v->n > 0) return;
	}
	stream_drained(s);
}

/* n bytes were read: the window of the other side opens, unless the word of it does not get through. */
static void stream_opened_window(const struct sim_stream *s, size_t n)
{
	struct sim_conn *c = s->conn;
	struct sim_stream *peer = c->end[1 - s->side].stream;
	if (sim_cut_between(c->s, c->end[s->side].node, c->end[1 - s->side].node) == SIM_CUT_STALL)
		stream_in(s)->unheard += n;
	else if (peer && peer->pending)
		sim_stream_wake(peer);
}

/* Delivers one read; false when nothing is left for this turn. */
static bool stream_read_once(struct sim_stream *s)
{
	struct pipe *in = stream_in(s);
	struct sim *sim = s->conn->s;
	if (!s->wants_read || s->is_closing || s->is_ended || in->arrived == 0) return false;
	size_t room = SIM_SCRATCH_BYTES;
	uint8_t *place = s->base.ops->on_alloc ? s->base.ops->on_alloc(s->base.owner, &room) : NULL;
	const bool is_scratch = place == NULL;
	if (is_scratch) {
		place = sim->scratch;
		room = SIM_SCRATCH_BYTES;
	}
	ASSERT(room > 0);
	size_t n = size_min(room, in->arrived);
	const bool is_split = sim_happens(sim, sim->net.split_ppm);
	if (is_split) n = 1 + (size_t)sim_draw(sim, n);
	memcpy(place, in->bytes + in->head, n);
	in->head += n;
	in->count -= n;
	in->arrived -= n;
	if (in->count == 0) in->head = 0;
	sim_mix(sim, place, n);
	stream_opened_window(s, n);
	s->base.ops->on_read(s->base.owner, place, n);
	/* The scratch buffer was borrowed for the call only: whoever keeps a pointer shall see that. */
	if (is_scratch) memset(sim->scratch, 0xdd, n);
	return !is_split;
}

/* Tells the end, once everything before it is read. A stream that neither reads nor writes does not notice it. */
static void stream_tell_end(struct sim_stream *s)
{
	if (s->is_closing || s->is_ended) return;
	if (s->conn && s->end == OK && stream_in(s)->is_ended && stream_in(s)->arrived == 0) s->end = ERR_EOF;
	if (s->end == OK || (!s->wants_read && !s->pending && !s->is_broken)) return;
	s->is_ended = true;
	s->wants_read = false;
	s->base.ops->on_end(s->base.owner, s->end);
}

static void stream_tell_connect(struct sim_stream *s)
{
	s->is_connecting = false;
	s->is_connected = s->end == OK;
	s->is_ended = s->end != OK;
	s->base.ops->on_connect(s->base.owner, s->end);
}

static void stream_run(struct sim_ready *r)
{
	struct sim_stream *s = CONTAINER_OF(r, struct sim_stream, ready);
	struct sim_io *p = stream_process(s);
	if (s->is_closing) {
		if (s->base.ops) s->base.ops->on_close(s->base.owner);
		stream_free(s);
		return;
	}
	if (s->is_connecting) {
		if (s->end != OK || (s->conn && s->conn->state == CONN_OPEN)) stream_tell_connect(s);
		if (s->is_connecting || s->is_closing) return;
	}
	for (unsigned reads = 0; s->conn && reads < READS_PER_TURN && !p->io.is_dead; reads++)
		if (!stream_read_once(s)) break;
	stream_pump(s);
	if (s->has_drained && !s->is_closing && !p->io.is_dead) {
		s->has_drained = false;
		if (s->base.ops->on_drain) s->base.ops->on_drain(s->base.owner);
	}
	if (!p->io.is_dead) stream_tell_end(s);
	/* More was there than one turn takes, or it was split. */
	if (s->conn && !s->is_closing && s->wants_read && stream_in(s)->arrived > 0) sim_stream_wake(s);
}

static struct sim_stream *stream_new(struct sim_io *p, struct sim_conn *c, unsigned side)
{
	struct sim_stream *s = NEW(struct sim_stream);
	*s = (struct sim_stream) { .base.io = &p->io, .conn = c, .side = side, .ready.run = stream_run };
	list_push_back(&p->streams, &s->link);
	c->end[side].stream = s;
	return s;
}

void sim_net_stream_read(struct io_stream *stream, bool on)
{
	struct sim_stream *s = stream_of(stream);
	if (stream->io->is_dead || s->is_ended || s->is_closing) return;
	s->wants_read = on;
	if (on) sim_stream_wake(s);
}

enum io_write sim_net_stream_write(struct io_stream *stream, const struct slice *v, unsigned count)
{
	struct sim_stream *s = stream_of(stream);
	ASSERT(!s->pending);
	if (stream->io->is_dead || s->is_closing) return IO_BROKEN;
	ASSERT(s->is_connected);
	if (s->is_broken) {
		sim_stream_wake(s);
		return IO_BROKEN;
	}
	struct sim *sim = s->conn->s;
	struct slice rest = SLICE_NULL;
	unsigned i = 0;
	/* Now and then the kernel takes nothing at once, whatever its window. */
	const bool takes = !sim_happens(sim, sim->net.split_ppm / 4);
	for (; i < count && rest.n == 0; i++) rest = takes ? stream_push(s, v[i]) : v[i];
	if (rest.n == 0) return IO_WRITTEN;
	struct sim_pending *w = NEW(struct sim_pending);
	w->v[w->count++] = rest;
	w->bytes = rest.n;
	for (; i < count; i++) {
		w->v[w->count++] = v[i];
		w->bytes += v[i].n;
	}
	s->pending = w;
	sim_count(sim, "net write pending");
	sim_stream_wake(s);
	return IO_PENDING;
}

size_t sim_net_stream_pending(const struct io_stream *stream)
{
	const struct sim_stream *s = stream_of(stream);
	return s->pending ? s->pending->bytes : 0;
}

/* The kernel's side of a close: what was taken is still delivered; unread bytes make it a reset. */
static void conn_end_close(struct sim_conn *c, unsigned side)
{
	struct pipe *out = &c->pipe[side], *in = &c->pipe[1 - side];
	c->end[side].stream = NULL;
	if ((c->end[1 - side].stream || list_is_linked(&c->link_backlog)) && c->end[1].node && !out->has_sent_end) {
		out->has_sent_end = true;
		if (in->arrived > 0)
			sim_pipe_reset(out);
		else
			sim_pipe_segment(out, SEGMENT_END, 0);
	}
	sim_conn_check(c);
}

void sim_net_stream_close(struct io_stream *stream)
{
	struct sim_stream *s = stream_of(stream);
	if (stream->io->is_dead || s->is_closing) return;
	s->is_closing = true;
	if (s->conn) conn_end_close(s->conn, s->side);
	s->conn = NULL;
	sim_stream_wake(s);
}

void sim_net_stream_addr(const struct io_stream *stream, bool is_peer, struct io_addr *out)
{
	const struct sim_stream *s = stream_of(stream);
	*out = is_peer ? s->peer : s->local;
}

/* ---- connecting ---- */

static bool host_is_self(const char *host) { return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0; }
static bool host_is_any(const char *host) { return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0; }

static bool host_is_numeric(const char *host)
{
	uint8_t address[16];
	return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static struct sim_node *node_find(struct sim *s, struct sim_node *from, const char *host)
{
	if (host_is_self(host) || strcmp(host, from->host) == 0) return from;
	for (unsigned i = 0; i < s->node_count; i++)
		if (strcmp(s->nodes[i]->host, host) == 0) return s->nodes[i];
	return s->clients && strcmp(s->clients->host, host) == 0 ? s->clients : NULL;
}

static bool listener_takes(const struct sim_listener *l, const char *host, uint16_t port)
{
	if (l->is_closing || l->addr.port != port) return false;
	return host_is_any(l->addr.host) || host_is_any(host) || strcmp(l->addr.host, host) == 0;
}

static struct sim_listener *listener_find(const struct sim_node *n, const char *host, uint16_t port)
{
	if (!n->process || n->process->io.is_dead) return NULL;
	LIST_EACH (node, &n->process->listeners) {
		struct sim_listener *l = CONTAINER_OF(node, struct sim_listener, link);
		if (listener_takes(l, host, port)) return l;
	}
	return NULL;
}

static unsigned listener_backlog_count(const struct sim_listener *l)
{
	unsigned count = 0;
	LIST_EACH (node, &l->backlog) { count++; }
	return count;
}

static void conn_refuse(struct sim_conn *c, enum err e)
{
	c->state = CONN_REFUSED;
	c->refusal = e;
	sim_event_at(c->s, &c->handshake, c->s->now_ns + sim_net_delay(c->s));
}

static void conn_retry(struct sim_conn *c)
{
	struct sim *s = c->s;
	sim_count(s, "net connect retry");
	if (s->now_ns + c->syn_delay_ns >= c->syn_deadline_ns) {
		c->state = CONN_REFUSED;
		c->refusal = ERR_TIMEOUT;
		sim_event_at(s, &c->handshake, c->syn_deadline_ns);
		return;
	}
	sim_event_at(s, &c->handshake, s->now_ns + c->syn_delay_ns);
	c->syn_delay_ns *= 2;
}

/* The asking segment has arrived, or gets lost again. */
static void conn_syn(struct sim_conn *c)
{
	struct sim *s = c->s;
	struct sim_node *from = c->end[0].node, *to = node_find(s, from, c->host);
	if (!to) {
		conn_refuse(c, ERR_ADDR);
		return;
	}
	const enum sim_cut there = sim_cut_between(s, from, to), back = sim_cut_between(s, to, from);
	if (to->state == SIM_OFF || there == SIM_CUT_STALL || back == SIM_CUT_STALL) {
		conn_retry(c);
		return;
	}
	struct sim_listener *l = listener_find(to, host_is_self(c->host) ? c->host : to->host, c->end[1].port);
	if (!l || there == SIM_CUT_RESET || back == SIM_CUT_RESET) {
		conn_refuse(c, ERR_REFUSED);
		return;
	}
	if (listener_backlog_count(l) >= l->backlog_max) {
		sim_count(s, "net backlog full");
		conn_retry(c);
		return;
	}
	c->end[1].node = to;
	c->state = CONN_ANSWERED;
	list_push_back(&l->backlog, &c->link_backlog);
	sim_process_ready(sim_io_of(l->base.io), &l->ready);
	sim_event_at(s, &c->handshake, s->now_ns + sim_net_delay(s));
}

void sim_handshake_fire(struct sim_event *e)
{
	struct sim_conn *c = CONTAINER_OF(e, struct sim_conn, handshake);
	struct sim_stream *asking = c->end[0].stream;
	switch (c->state) {
	case CONN_SYN: conn_syn(c); return;
	case CONN_ANSWERED:
		/* A way back that was cut meanwhile does not matter: the data behind will stall. */
		c->state = CONN_OPEN;
		if (asking) sim_stream_wake(asking);
		return;
	case CONN_REFUSED:
		sim_count(c->s, "net refused");
		c->end[0].stream = NULL;
		asking->conn = NULL;
		sim_stream_break(asking, c->refusal);
		sim_conn_check(c);
		return;
	case CONN_OPEN: break;
	}
	UNREACHABLE();
}

static void addr_set(struct io_addr *a, const char *host, uint16_t port)
{
	const size_t n = strlen(host);
	ASSERT(n < sizeof a->host);
	memcpy(a->host, host, n + 1);
	a->port = port;
}

static uint16_t port_take(struct sim_node *n)
{
	const uint16_t port = n->port_next;
	n->port_next = port == UINT16_MAX ? PORT_FIRST : (uint16_t)(port + 1);
	return port;
}

enum err sim_net_connect(struct io *io, const char *host, uint16_t port, const struct io_stream_ops *ops, void *owner,
	struct io_stream **out)
{
	struct sim_io *p = sim_io_of(io);
	struct sim *s = p->node->s;
	if (io->is_dead) return ERR_CRASHED;
	if (!host_is_numeric(host)) return ERR_INVALID;
	struct sim_conn *c = sim_conn_new(s, p->node);
	struct sim_stream *stream = stream_new(p, c, 0);
	addr_set(&stream->peer, host, port);
	addr_set(&stream->local, p->node->host, port_take(p->node));
	memcpy(c->host, stream->peer.host, sizeof c->host);
	c->end[0].port = stream->local.port;
	c->end[1].port = port;
	c->syn_delay_ns = SYN_RETRY_NS;
	c->syn_deadline_ns = s->now_ns + s->net.connect_timeout_ns;
	stream->is_connecting = true;
	io_stream_own(&stream->base, ops, owner);
	sim_event_at(s, &c->handshake, s->now_ns + sim_net_delay(s));
	*out = &stream->base;
	return OK;
}

/* ---- listening ---- */

static void listener_accept(struct sim_listener *l, struct sim_conn *c)
{
	struct sim_io *p = sim_io_of(l->base.io);
	struct sim_stream *s = stream_new(p, c, 1);
	s->is_connected = true;
	addr_set(&s->peer, c->end[0].node->host, c->end[0].port);
	addr_set(&s->local, p->node->host, l->addr.port);
	sim_count(c->s, "net accepted");
	l->base.ops->on_accept(l->base.owner, &s->base);
	ASSERT(s->base.ops || s->is_closing || p->io.is_dead);
	if (!s->is_closing) sim_stream_wake(s);
}

static void listener_run(struct sim_ready *r)
{
	struct sim_listener *l = CONTAINER_OF(r, struct sim_listener, ready);
	struct sim_io *p = sim_io_of(l->base.io);
	struct list *node;
	if (l->is_closing) {
		if (l->base.ops->on_close) l->base.ops->on_close(l->base.owner);
		list_remove(&l->link);
		mem_free(l);
		return;
	}
	while (!l->is_closing && !p->io.is_dead && !io_timer_is_armed(&l->pause) &&
		(node = list_first(&l->backlog)) != NULL) {
		if (p->node->accept_fail_count > 0) {
			p->node->accept_fail_count--;
			io_timer_start(&p->io, &l->pause, ACCEPT_PAUSE_NS);
			sim_count(p->node->s, "net accept failed");
			if (l->base.ops->on_accept_error)
				l->base.ops->on_accept_error(l->base.owner, p->node->accept_fail);
			return;
		}
		list_remove(node);
		listener_accept(l, CONTAINER_OF(node, struct sim_conn, link_backlog));
	}
}

static void listener_pause_fired(struct io_timer *t)
{
	struct sim_listener *l = CONTAINER_OF(t, struct sim_listener, pause);
	sim_process_ready(sim_io_of(l->base.io), &l->ready);
}

enum err sim_net_listen(struct io *io, const char *host, uint16_t port, int backlog, const struct io_listener_ops *ops,
	void *owner, struct io_listener **out)
{
	struct sim_io *p = sim_io_of(io);
	if (io->is_dead) return ERR_CRASHED;
	if (!host_is_numeric(host)) return ERR_INVALID;
	if (!host_is_any(host) && !host_is_self(host) && strcmp(host, p->node->host) != 0) return ERR_ADDR;
	while (port == 0) {
		const uint16_t free_port = port_take(p->node);
		if (!listener_find(p->node, host, free_port)) port = free_port;
	}
	if (listener_find(p->node, host, port)) return ERR_ADDR_IN_USE;
	struct sim_listener *l = NEW(struct sim_listener);
	*l = (struct sim_listener) { .base = { io, ops, owner }, .backlog_max = (unsigned)backlog };
	l->ready.run = listener_run;
	l->pause.fire = listener_pause_fired;
	list_init(&l->backlog);
	addr_set(&l->addr, host, port);
	list_push_back(&p->listeners, &l->link);
	*out = &l->base;
	return OK;
}

void sim_net_listener_addr(const struct io_listener *listener, struct io_addr *out)
{
	*out = CONTAINER_OF((struct io_listener *)(uintptr_t)listener, struct sim_listener, base)->addr;
}

/* Whoever waits to be accepted hears a reset, or nothing when the power is gone (sim_net_power_off does the rest). */
static void listener_drop_backlog(struct sim_listener *l, bool is_silent)
{
	struct list *node;
	while ((node = list_pop_front(&l->backlog)) != NULL) {
		struct sim_conn *c = CONTAINER_OF(node, struct sim_conn, link_backlog);
		if (!is_silent) sim_pipe_segment(&c->pipe[1], SEGMENT_RESET, 0);
		sim_conn_check(c);
	}
}

void sim_net_listener_close(struct io_listener *listener)
{
	struct sim_listener *l = CONTAINER_OF(listener, struct sim_listener, base);
	if (listener->io->is_dead || l->is_closing) return;
	l->is_closing = true;
	io_timer_stop(listener->io, &l->pause);
	listener_drop_backlog(l, false);
	sim_process_ready(sim_io_of(listener->io), &l->ready);
}

void sim_net_fail_accept(struct sim_node *n, unsigned count, enum err e)
{
	n->accept_fail_count = count;
	n->accept_fail = e;
}

/* ---- death of a process ---- */

void sim_net_process_died(struct sim_io *p, enum sim_crash how)
{
	LIST_EACH (node, &p->listeners) {
		listener_drop_backlog(CONTAINER_OF(node, struct sim_listener, link), how == SIM_POWER);
	}
	LIST_EACH (node, &p->streams) {
		struct sim_stream *s = CONTAINER_OF(node, struct sim_stream, link);
		if (s->conn && how == SIM_KILL)
			conn_end_close(s->conn, s->side);
		else if (s->conn)
			s->conn->end[s->side].stream = NULL;
		s->conn = NULL;
	}
}

void sim_net_process_free(struct sim_io *p)
{
	struct list *node;
	while ((node = list_first(&p->streams)) != NULL) stream_free(CONTAINER_OF(node, struct sim_stream, link));
	while ((node = list_first(&p->listeners)) != NULL) {
		list_remove(node);
		mem_free(CONTAINER_OF(node, struct sim_listener, link));
	}
}
