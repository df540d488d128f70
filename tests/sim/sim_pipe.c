/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels and wires: connections are two pipes of segments.
 *
 *   writer ─ window ─> segments under way ─ arrival event ─> arrived, unread ─> on_read ─> window opens for the writer
 *
 * The ends are the kernels': they outlive a process that dies (what was taken is delivered, then the end or a reset follows) and
 * vanish with the power (nothing follows until somebody asks the machine again). A segment that meets a cut waits at the front of
 * its pipe until the cut is healed; everything behind it waits too, as TCP does. */
#include <stdlib.h>

#include "sim/sim_conn.h"

#define RETRANSMIT_MAX_NS SECONDS(1)

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

enum sim_cut sim_cut_between(const struct sim *s, const struct sim_node *from, const struct sim_node *to)
{
	return (enum sim_cut)s->cuts[from->index][to->index];
}

uint64_t sim_net_delay(struct sim *s)
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

void sim_conn_check(struct sim_conn *c)
{
	if (c->end[0].stream || c->end[1].stream || list_is_linked(&c->link_backlog)) return;
	conn_free(c);
}

static void pipe_fire(struct sim_event *e);
static void pipe_timeout(struct sim_event *e);

struct sim_conn *sim_conn_new(struct sim *s, struct sim_node *from)
{
	struct sim_conn *c = NEW(struct sim_conn);
	*c = (struct sim_conn) { .s = s, .handshake.fire = sim_handshake_fire };
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

void sim_pipe_segment(struct pipe *p, enum segment_kind kind, size_t n)
{
	struct sim *s = p->conn->s;
	if (p->is_reset) return;
	p->is_reset = kind == SEGMENT_RESET;
	struct segment *g = NEW(struct segment);
	*g = (struct segment) { .kind = kind, .n = n };
	g->at_ns = u64_max(s->now_ns + sim_net_delay(s), p->last_ns);
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

void sim_pipe_send(struct pipe *p, const uint8_t *bytes, size_t n)
{
	struct sim *s = p->conn->s;
	if (p->is_reset) return;
	pipe_put(p, bytes, n);
	while (n > 0) {
		size_t part = size_min(n, s->net.segment_bytes_max);
		if (part > 1 && sim_draw(s, 4) == 0) part = 1 + (size_t)sim_draw(s, part);
		sim_pipe_segment(p, SEGMENT_DATA, part);
		n -= part;
	}
}

size_t sim_pipe_window(const struct pipe *p)
{
	const size_t window = p->conn->s->net.window_bytes, used = p->count + p->unheard;
	return used < window ? window - used : 0;
}

static void pipe_lose(struct pipe *p)
{
	LIST_EACH (node, &p->under_way) { p->count -= CONTAINER_OF(node, struct segment, link)->n; }
	pipe_clear(p);
}

void sim_pipe_reset(struct pipe *p)
{
	/* A reset does not wait behind data; what it overtakes is lost. */
	if (p->is_reset) return;
	if (sim_draw(p->conn->s, 2) == 0) pipe_lose(p);
	sim_pipe_segment(p, SEGMENT_RESET, 0);
}

/* Both ends hear of a reset, each after its delay. */
static void conn_reset(struct sim_conn *c)
{
	sim_count(c->s, "net reset");
	for (unsigned k = 0; k < 2; k++) sim_pipe_reset(&c->pipe[k]);
}

/* A segment for an end that has no stream any more. */
static void pipe_arrive_nowhere(struct pipe *p, const struct segment *g)
{
	struct sim_conn *c = p->conn;
	p->count -= g->n;
	if (g->kind != SEGMENT_DATA && !pipe_receiver(p)->is_forgotten) return;
	if (pipe_sender(p)->stream && g->kind != SEGMENT_RESET)
		sim_pipe_segment(&c->pipe[1 - p->from], SEGMENT_RESET, 0);
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
		if (to) sim_stream_wake(to);
		return;
	}
	p->is_ended = true;
	if (g->kind == SEGMENT_END) {
		if (to) sim_stream_wake(to);
		return;
	}
	if (sim_draw(s, 2) == 0) {
		p->count -= p->arrived;
		p->head += p->arrived;
		p->arrived = 0;
	}
	if (to)
		sim_stream_break(to, ERR_RESET);
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
	const enum sim_cut cut = sim_cut_between(s, from, to);
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
	sim_conn_check(c);
}

/* Sent, and never taken: the sender's kernel gives up. */
static void pipe_timeout(struct sim_event *e)
{
	struct pipe *p = CONTAINER_OF(e, struct pipe, timeout);
	struct sim_conn *c = p->conn;
	struct conn_end *sender = pipe_sender(p);
	sim_count(c->s, "net stall timeout");
	pipe_clear(p);
	if (sender->stream) sim_stream_break(sender->stream, ERR_TIMEOUT);
	sim_conn_check(c);
}

/* The way is free again: what waited is sent anew, sooner or later. */
static void pipe_resume(struct pipe *p)
{
	struct sim *s = p->conn->s;
	if (!p->is_stalled) return;
	p->is_stalled = false;
	const uint64_t delay = sim_net_delay(s);
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
		if (sim_cut_between(c->s, c->end[1 - k].node, c->end[k].node) != SIM_CUT_STALL) c->pipe[k].unheard = 0;
		if (c->end[k].stream) sim_stream_wake(c->end[k].stream);
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

/* ---- power ---- */

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
	if (pipe_sender(in)->stream) sim_stream_wake(pipe_sender(in)->stream);
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
		sim_conn_check(c);
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
