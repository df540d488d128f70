/* SPDX-License-Identifier: Apache-2.0 */
/* The network of the twin: connections are two pipes of segments.
 *
 *   writer ─ window ─> segments under way ─ arrival event ─> arrived, unread ─> on_read ─> window opens for the writer
 *
 * The ends are the kernels': they outlive a process that dies (what was taken is delivered, then the end or a reset follows) and
 * vanish with the power (nothing follows until somebody asks the machine again). A segment that meets a cut waits at the front of
 * its pipe until the cut is healed; everything behind it waits too, as TCP does. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>

#include "sim/sim_impl.h"

enum {
	READS_PER_TURN = 32,
	PORT_FIRST = 40000,
};
#define SYN_RETRY_NS SECONDS(1)
#define ACCEPT_PAUSE_NS MILLIS(100)
#define RETRANSMIT_MAX_NS SECONDS(1)

enum segment_kind { SEGMENT_DATA, SEGMENT_END, SEGMENT_RESET };

struct segment {
	struct list link; /* on pipe.under_way */
	enum segment_kind kind;
	uint64_t at_ns;
	size_t n;
};

/* One direction. The bytes of all segments lie in one queue; `arrived` of them can be read. */
struct pipe {
	struct sim_conn *conn;
	unsigned from;  /* index of the sending end */
	uint8_t *bytes; /* owned; from `head` on */
	size_t head, count, room, arrived;
	size_t unheard;        /* read, but the word of it is cut off: the sender's window stays shut */
	struct list under_way; /* of segment.link */
	struct sim_event arrival, timeout;
	uint64_t last_ns; /* arrival of the last segment: nothing overtakes it */
	bool is_stalled;  /* the first segment met a cut */
	bool is_ended;    /* SEGMENT_END has arrived */
	bool has_sent_end;
	bool is_reset; /* what is sent behind a reset reaches nobody */
};

struct conn_end {
	struct sim_node *node;
	struct sim_stream *stream; /* NULL before accept, and after its owner closed it or died */
	uint16_t port;
	bool is_forgotten; /* the machine lost power since */
};

enum conn_state {
	CONN_SYN,      /* asking; end 1 has no machine yet */
	CONN_ANSWERED, /* in the listener's backlog; the answer is under way */
	CONN_OPEN,
	CONN_REFUSED, /* the refusal is under way */
};

struct sim_conn {
	struct sim *s;
	struct list link;         /* on sim.conns */
	struct list link_backlog; /* on sim_listener.backlog */
	enum conn_state state;
	enum err refusal;
	struct sim_event handshake;
	uint64_t syn_delay_ns, syn_deadline_ns;
	char host[64];          /* as asked for */
	struct conn_end end[2]; /* 0 asks, 1 is asked */
	struct pipe pipe[2];    /* [k] is sent by end k */
};

struct sim_pending {
	struct slice v[IO_WRITE_SLICES_MAX];
	unsigned first, count;
	size_t bytes;
};

struct sim_stream {
	struct io_stream base;
	struct list link; /* on sim_io.streams */
	struct sim_ready ready;
	struct sim_conn *conn; /* borrowed; NULL once the kernel has forgotten it or the owner has closed */
	unsigned side;
	struct sim_pending *pending; /* owned */
	struct io_addr peer, local;
	bool is_connecting, is_connected; /* is_connecting: on_connect is owed */
	enum err end;                     /* why it ended, OK while it has not */
	bool wants_read, is_broken, is_ended /* told */, has_drained, is_closing;
};

struct sim_listener {
	struct io_listener base;
	struct list link; /* on sim_io.listeners */
	struct sim_ready ready;
	struct list backlog; /* of sim_conn.link_backlog */
	struct io_timer pause;
	struct io_addr addr;
	unsigned backlog_max;
	bool is_closing;
};

static struct sim_stream *stream_of(const struct io_stream *s)
{
	return CONTAINER_OF((struct io_stream *)(uintptr_t)s, struct sim_stream, base);
}
static struct sim_io *stream_process(const struct sim_stream *s) { return sim_io_of(s->base.io); }
static void stream_wake(struct sim_stream *s) { sim_process_ready(stream_process(s), &s->ready); }

/* ---- settings and cuts ---- */

void sim_net_init(struct sim *s)
{
	list_init(&s->conns);
	s->net = (struct sim_net) {
		.delay_min_ns = 50 * NS_PER_US,
		.delay_max_ns = 500 * NS_PER_US,
		.spike_max_ns = MILLIS(20),
		.spike_ppm = 1000,
		.split_ppm = 200000,
		.segment_bytes_max = 64 * KIB,
		.window_bytes = 128 * KIB,
		.connect_timeout_ns = SECONDS(20),
		.stall_timeout_ns = SECONDS(900),
	};
}

struct sim_net *sim_net(struct sim *s) { return &s->net; }

static enum sim_cut cut_between(const struct sim *s, const struct sim_node *from, const struct sim_node *to)
{
	return (enum sim_cut)s->cuts[from->index][to->index];
}

static uint64_t net_delay(struct sim *s)
{
	uint64_t ns = sim_between(s, s->net.delay_min_ns, s->net.delay_max_ns);
	if (sim_happens(s, s->net.spike_ppm)) ns += sim_draw(s, s->net.spike_max_ns + 1);
	return ns;
}

/* ---- life of a connection ---- */

static void pipe_clear(struct pipe *p)
{
	struct sim *s = p->conn->s;
	struct list *node;
	while ((node = list_pop_front(&p->under_way)) != NULL) mem_free(CONTAINER_OF(node, struct segment, link));
	sim_event_cancel(s, &p->arrival);
	sim_event_cancel(s, &p->timeout);
	p->is_stalled = false;
}

static void conn_free(struct sim_conn *c)
{
	for (unsigned k = 0; k < 2; k++) {
		pipe_clear(&c->pipe[k]);
		mem_free(c->pipe[k].bytes);
	}
	sim_event_cancel(c->s, &c->handshake);
	list_remove_if_linked(&c->link_backlog);
	list_remove(&c->link);
	mem_free(c);
}

/* Frees it when nobody can notice it any more. */
static void conn_check(struct sim_conn *c)
{
	if (c->end[0].stream || c->end[1].stream || list_is_linked(&c->link_backlog)) return;
	conn_free(c);
}

static void pipe_fire(struct sim_event *e);
static void pipe_timeout(struct sim_event *e);
static void handshake_fire(struct sim_event *e);

static struct sim_conn *conn_new(struct sim *s, struct sim_node *from)
{
	struct sim_conn *c = NEW(struct sim_conn);
	*c = (struct sim_conn) { .s = s, .handshake.fire = handshake_fire };
	for (unsigned k = 0; k < 2; k++) {
		c->pipe[k] =
			(struct pipe) { .conn = c, .from = k, .arrival.fire = pipe_fire, .timeout.fire = pipe_timeout };
		list_init(&c->pipe[k].under_way);
	}
	c->end[0].node = from;
	list_push_back(&s->conns, &c->link);
	return c;
}

static struct conn_end *pipe_sender(const struct pipe *p) { return &p->conn->end[p->from]; }
static struct conn_end *pipe_receiver(const struct pipe *p) { return &p->conn->end[1 - p->from]; }

/* ---- segments ---- */

static void pipe_arm(struct pipe *p)
{
	const struct list *node = list_first(&p->under_way);
	if (!node || p->is_stalled || sim_event_is_armed(&p->arrival)) return;
	sim_event_at(
		p->conn->s, &p->arrival, CONTAINER_OF((struct list *)(uintptr_t)node, struct segment, link)->at_ns);
}

static void pipe_segment(struct pipe *p, enum segment_kind kind, size_t n)
{
	struct sim *s = p->conn->s;
	if (p->is_reset) return;
	p->is_reset = kind == SEGMENT_RESET;
	struct segment *g = NEW(struct segment);
	*g = (struct segment) { .kind = kind, .n = n };
	g->at_ns = u64_max(s->now_ns + net_delay(s), p->last_ns);
	if (s->net.bytes_per_s) g->at_ns += n * NS_PER_S / s->net.bytes_per_s;
	p->last_ns = g->at_ns;
	list_push_back(&p->under_way, &g->link);
	pipe_arm(p);
}

static void pipe_put(struct pipe *p, const uint8_t *bytes, size_t n)
{
	if (p->head > 0 && p->head + p->count + n > p->room) {
		memmove(p->bytes, p->bytes + p->head, p->count);
		p->head = 0;
	}
	if (p->count + n > p->room) {
		p->room = size_max(2 * p->room, p->count + n);
		p->bytes = mem_realloc(p->bytes, p->room);
	}
	memcpy(p->bytes + p->head + p->count, bytes, n);
	p->count += n;
}

/* The sending kernel takes n bytes and cuts them into segments. */
static void pipe_send(struct pipe *p, const uint8_t *bytes, size_t n)
{
	struct sim *s = p->conn->s;
	if (p->is_reset) return;
	pipe_put(p, bytes, n);
	while (n > 0) {
		size_t part = size_min(n, s->net.segment_bytes_max);
		if (part > 1 && sim_draw(s, 4) == 0) part = 1 + (size_t)sim_draw(s, part);
		pipe_segment(p, SEGMENT_DATA, part);
		n -= part;
	}
}

/* How much more the sender's kernel takes. What the peer has read opens the window only when its word comes through. */
static size_t pipe_window(const struct pipe *p)
{
	const size_t window = p->conn->s->net.window_bytes, used = p->count + p->unheard;
	return used < window ? window - used : 0;
}

static void pipe_lose(struct pipe *p)
{
	LIST_EACH (node, &p->under_way) { p->count -= CONTAINER_OF(node, struct segment, link)->n; }
	pipe_clear(p);
}

static void pipe_reset(struct pipe *p)
{
	/* A reset does not wait behind data; what it overtakes is lost. */
	if (p->is_reset) return;
	if (sim_draw(p->conn->s, 2) == 0) pipe_lose(p);
	pipe_segment(p, SEGMENT_RESET, 0);
}

/* Both ends hear of a reset, each after its delay. */
static void conn_reset(struct sim_conn *c)
{
	sim_count(c->s, "net reset");
	for (unsigned k = 0; k < 2; k++) pipe_reset(&c->pipe[k]);
}

static void stream_end(struct sim_stream *s, enum err why)
{
	if (s->end == OK) s->end = why;
	stream_wake(s);
}

static void stream_break(struct sim_stream *s, enum err why)
{
	s->is_broken = true;
	stream_end(s, why);
}

/* A segment for an end that has no stream any more. */
static void pipe_arrive_nowhere(struct pipe *p, const struct segment *g)
{
	struct sim_conn *c = p->conn;
	p->count -= g->n;
	if (g->kind != SEGMENT_DATA && !pipe_receiver(p)->is_forgotten) return;
	if (pipe_sender(p)->stream && g->kind != SEGMENT_RESET) pipe_segment(&c->pipe[1 - p->from], SEGMENT_RESET, 0);
}

static void pipe_arrive(struct pipe *p, const struct segment *g)
{
	struct sim *s = p->conn->s;
	struct sim_stream *to = pipe_receiver(p)->stream;
	const bool waits = list_is_linked(&p->conn->link_backlog) && p->from == 0;
	if (!to && !waits) {
		pipe_arrive_nowhere(p, g);
		return;
	}
	if (g->kind == SEGMENT_DATA) {
		p->arrived += g->n;
		if (to) stream_wake(to);
		return;
	}
	p->is_ended = true;
	if (g->kind == SEGMENT_END) {
		if (to) stream_wake(to);
		return;
	}
	if (sim_draw(s, 2) == 0) {
		p->count -= p->arrived;
		p->head += p->arrived;
		p->arrived = 0;
	}
	if (to)
		stream_break(to, ERR_RESET);
	else
		list_remove(&p->conn->link_backlog);
}

static void pipe_stall(struct pipe *p)
{
	struct sim *s = p->conn->s;
	p->is_stalled = true;
	sim_count(s, "net stall");
	if (!sim_event_is_armed(&p->timeout)) sim_event_at(s, &p->timeout, s->now_ns + s->net.stall_timeout_ns);
}

static void segment_say(const struct pipe *p, const struct segment *g, const char *what)
{
	static const char *const kinds[] = {
		[SEGMENT_DATA] = "bytes", [SEGMENT_END] = "end", [SEGMENT_RESET] = "reset"
	};
	const struct sim_conn *c = p->conn;
	if (!c->s->trace) return;
	sim_say(c->s, pipe_sender(p)->node, "%s %zu to %s, ports %u -> %u, %s", kinds[g->kind], g->n,
		pipe_receiver(p)->node->host, c->end[0].port, c->end[1].port, what);
}

/* The first segment is due. */
static void pipe_fire(struct sim_event *e)
{
	struct pipe *p = CONTAINER_OF(e, struct pipe, arrival);
	struct sim_conn *c = p->conn;
	struct sim *s = c->s;
	struct sim_node *from = pipe_sender(p)->node, *to = pipe_receiver(p)->node;
	struct segment *g = CONTAINER_OF(list_first(&p->under_way), struct segment, link);
	const enum sim_cut cut = cut_between(s, from, to);
	if (cut == SIM_CUT_STALL || to->state == SIM_OFF) {
		segment_say(p, g, "waits");
		pipe_stall(p);
		return;
	}
	if (g->kind == SEGMENT_DATA && !p->is_reset && (cut == SIM_CUT_RESET || sim_happens(s, s->net.reset_ppm))) {
		segment_say(p, g, "reset on the way");
		pipe_lose(p); /* with what is behind it: there is no gap in a stream */
		conn_reset(c);
		return;
	}
	list_remove(&g->link);
	sim_event_cancel(s, &p->timeout);
	sim_mix_u64(s, (uint64_t)from->index << 32 ^ (uint64_t)to->index << 16 ^ g->n ^ (uint64_t)g->kind << 60);
	segment_say(p, g, pipe_receiver(p)->stream ? "arrives" : "finds nobody");
	pipe_arrive(p, g);
	mem_free(g);
	pipe_arm(p);
	conn_check(c);
}

/* Sent, and never taken: the sender's kernel gives up. */
static void pipe_timeout(struct sim_event *e)
{
	struct pipe *p = CONTAINER_OF(e, struct pipe, timeout);
	struct sim_conn *c = p->conn;
	struct conn_end *sender = pipe_sender(p);
	sim_count(c->s, "net stall timeout");
	pipe_clear(p);
	if (sender->stream) stream_break(sender->stream, ERR_TIMEOUT);
	conn_check(c);
}

/* The way is free again: what waited is sent anew, sooner or later. */
static void pipe_resume(struct pipe *p)
{
	struct sim *s = p->conn->s;
	if (!p->is_stalled) return;
	p->is_stalled = false;
	const uint64_t delay = net_delay(s);
	const uint64_t again = s->now_ns + delay + sim_draw(s, RETRANSMIT_MAX_NS);
	LIST_EACH (node, &p->under_way) {
		struct segment *g = CONTAINER_OF(node, struct segment, link);
		g->at_ns = u64_max(g->at_ns, again);
		p->last_ns = u64_max(p->last_ns, g->at_ns);
	}
	pipe_arm(p);
}

static void conn_resume(struct sim_conn *c)
{
	if (!c->end[1].node) return;
	for (unsigned k = 0; k < 2; k++) {
		pipe_resume(&c->pipe[k]);
		if (cut_between(c->s, c->end[1 - k].node, c->end[k].node) != SIM_CUT_STALL) c->pipe[k].unheard = 0;
		if (c->end[k].stream) stream_wake(c->end[k].stream);
	}
}

void sim_net_cut(struct sim *s, const struct sim_node *from, const struct sim_node *to, enum sim_cut cut)
{
	ASSERT(from != to);
	s->cuts[from->index][to->index] = (uint8_t)cut;
	sim_say(s, from, "way to %s: %s", to->host,
		cut == SIM_CUT_NONE    ? "open"
		: cut == SIM_CUT_STALL ? "cut"
				       : "reset");
	if (cut != SIM_CUT_NONE) sim_count(s, "net cut");
	LIST_EACH (node, &s->conns) {
		struct sim_conn *c = CONTAINER_OF(node, struct sim_conn, link);
		const bool is_between = c->end[1].node && ((c->end[0].node == from && c->end[1].node == to) ||
								  (c->end[1].node == from && c->end[0].node == to));
		if (is_between && cut != SIM_CUT_STALL) conn_resume(c);
	}
}

void sim_net_isolate(struct sim *s, const struct sim_node *n, enum sim_cut cut)
{
	for (unsigned i = 0; i < s->node_count; i++) {
		if (s->nodes[i] == n) continue;
		sim_net_cut(s, n, s->nodes[i], cut);
		sim_net_cut(s, s->nodes[i], n, cut);
	}
}

void sim_net_heal(struct sim *s)
{
	memset(s->cuts, SIM_CUT_NONE, sizeof s->cuts);
	sim_say(s, NULL, "all ways are open");
	LIST_EACH (node, &s->conns) { conn_resume(CONTAINER_OF(node, struct sim_conn, link)); }
}

void sim_net_reset(struct sim *s, const struct sim_node *a, const struct sim_node *b)
{
	LIST_EACH (node, &s->conns) {
		struct sim_conn *c = CONTAINER_OF(node, struct sim_conn, link);
		if (c->state != CONN_OPEN) continue;
		if ((c->end[0].node == a && c->end[1].node == b) || (c->end[0].node == b && c->end[1].node == a))
			conn_reset(c);
	}
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
	const size_t n = size_min(v.n, pipe_window(stream_out(s)));
	if (n > 0) pipe_send(stream_out(s), v.p, n);
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
	if (cut_between(c->s, c->end[s->side].node, c->end[1 - s->side].node) == SIM_CUT_STALL)
		stream_in(s)->unheard += n;
	else if (peer && peer->pending)
		stream_wake(peer);
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
	if (s->conn && !s->is_closing && s->wants_read && stream_in(s)->arrived > 0) stream_wake(s);
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
	if (on) stream_wake(s);
}

enum io_write sim_net_stream_write(struct io_stream *stream, const struct slice *v, unsigned count)
{
	struct sim_stream *s = stream_of(stream);
	ASSERT(!s->pending);
	if (stream->io->is_dead || s->is_closing) return IO_BROKEN;
	ASSERT(s->is_connected);
	if (s->is_broken) {
		stream_wake(s);
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
	stream_wake(s);
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
			pipe_reset(out);
		else
			pipe_segment(out, SEGMENT_END, 0);
	}
	conn_check(c);
}

void sim_net_stream_close(struct io_stream *stream)
{
	struct sim_stream *s = stream_of(stream);
	if (stream->io->is_dead || s->is_closing) return;
	s->is_closing = true;
	if (s->conn) conn_end_close(s->conn, s->side);
	s->conn = NULL;
	stream_wake(s);
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
	sim_event_at(c->s, &c->handshake, c->s->now_ns + net_delay(c->s));
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
	const enum sim_cut there = cut_between(s, from, to), back = cut_between(s, to, from);
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
	sim_event_at(s, &c->handshake, s->now_ns + net_delay(s));
}

static void handshake_fire(struct sim_event *e)
{
	struct sim_conn *c = CONTAINER_OF(e, struct sim_conn, handshake);
	struct sim_stream *asking = c->end[0].stream;
	switch (c->state) {
	case CONN_SYN: conn_syn(c); return;
	case CONN_ANSWERED:
		/* A way back that was cut meanwhile does not matter: the data behind will stall. */
		c->state = CONN_OPEN;
		if (asking) stream_wake(asking);
		return;
	case CONN_REFUSED:
		sim_count(c->s, "net refused");
		c->end[0].stream = NULL;
		asking->conn = NULL;
		stream_break(asking, c->refusal);
		conn_check(c);
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
	struct sim_conn *c = conn_new(s, p->node);
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
	sim_event_at(s, &c->handshake, s->now_ns + net_delay(s));
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
	if (!s->is_closing) stream_wake(s);
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
		if (!is_silent) pipe_segment(&c->pipe[1], SEGMENT_RESET, 0);
		conn_check(c);
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

/* ---- death ---- */

/* A random first part of what the machine had sent is on the wire and arrives; it sends nothing again, so that what is stalled is
 * lost. A reset has left it already: without it nobody would ever tell the peer. */
static void pipe_cut_short(struct pipe *out)
{
	uint64_t kept = 0;
	LIST_EACH (node, &out->under_way) { kept++; }
	kept = out->is_stalled ? 0 : sim_draw(out->conn->s, kept + 1);
	LIST_EACH_SAFE (node, &out->under_way) {
		struct segment *g = CONTAINER_OF(node, struct segment, link);
		if (kept > 0) {
			kept--;
			continue;
		}
		if (g->kind == SEGMENT_RESET) continue;
		out->count -= g->n;
		list_remove(&g->link);
		mem_free(g);
	}
	if (list_is_empty(&out->under_way)) pipe_clear(out);
}

/* What the machine had not read is gone with it. A writer whose window that filled keeps probing: here, it sends more. */
static void pipe_forget(struct pipe *in)
{
	in->count -= in->arrived;
	in->head += in->arrived;
	in->arrived = in->unheard = 0;
	if (pipe_sender(in)->stream) stream_wake(pipe_sender(in)->stream);
}

void sim_net_power_off(struct sim_node *n)
{
	LIST_EACH_SAFE (node, &n->s->conns) {
		struct sim_conn *c = CONTAINER_OF(node, struct sim_conn, link);
		for (unsigned k = 0; k < 2; k++) {
			if (c->end[k].node != n || c->end[k].is_forgotten) continue;
			c->end[k].stream = NULL;
			c->end[k].is_forgotten = true;
			pipe_cut_short(&c->pipe[k]);
			pipe_forget(&c->pipe[1 - k]);
		}
		conn_check(c);
	}
}

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

void sim_net_node_on(struct sim_node *n)
{
	LIST_EACH (node, &n->s->conns) {
		struct sim_conn *c = CONTAINER_OF(node, struct sim_conn, link);
		if (c->end[0].node == n || c->end[1].node == n) conn_resume(c);
	}
}

void sim_net_deinit(struct sim *s)
{
	struct list *node;
	while ((node = list_first(&s->conns)) != NULL) conn_free(CONTAINER_OF(node, struct sim_conn, link));
}
