/* SPDX-License-Identifier: Apache-2.0 */
/* One connection. Input lands in the net's scratch buffer, behind the few bytes that an earlier read left unfinished; only what stays
 * unfinished is kept, in a buffer of its own size. Output gathers in chunks and goes out in one gathered write at the end of the
 * turn, or as soon as 128 KiB wait; while the kernel has not taken a write, the rest gathers behind it.
 *
 *   OPEN ──conn_close_flushed / EOF──> FLUSHING ──all written──> CLOSING ──on_close──> CLOSED
 *     └────────────────conn_close / reset / deadline───────────────^ */
#include "chunk.h"
#include "conn.h"
#include "tls.h"

static const struct io_stream_ops conn_io_ops;

/* ---- life ---- */

static void conn_stall_over(struct io_timer *t);
static void conn_offer_kept(struct io_task *t);

void conn_open(struct conn *c, struct net *n, struct io_stream *s, const struct conn_ops *ops, struct ledger *parent)
{
	ASSERT(c->state == CONN_NEW);
	c->ops = ops;
	c->net = n;
	c->stream = s;
	c->state = CONN_OPEN;
	c->stall.fire = conn_stall_over;
	c->resume.run = conn_offer_kept;
	ledger_init(&c->ledger, parent, 0);
	n->conn_count++;
	list_push_back(&n->conns, &c->link_by_net);
	io_stream_own(s, &conn_io_ops, c);
	io_stream_read_start(s);
}

void conn_set_ledger(struct conn *c, struct ledger *parent)
{
	size_t held = c->ledger.used_bytes;
	ledger_release(&c->ledger, held);
	c->ledger.parent = parent;
	ledger_force(&c->ledger, held);
}

static void conn_drop_input(struct conn *c)
{
	if (!c->in) return;
	ledger_release(&c->ledger, c->in_cap);
	mem_free(c->in);
	c->in = NULL;
	c->in_cap = c->in_count = c->in_want = 0;
}

static void conn_drop_output(struct conn *c)
{
	ledger_release(&c->ledger, chunk_free_all(c->net, c->out_head));
	c->out_head = NULL;
	c->out_tail = NULL;
	c->out_at = c->out_end = NULL;
	c->out_bytes = c->out_check_bytes = 0;
}

static void conn_land(struct conn *c)
{
	ledger_release(&c->ledger, chunk_free_all(c->net, c->flying));
	c->flying = NULL;
	c->flying_bytes = 0;
	c->writing = false;
	list_remove_if_linked(&c->link_by_blocked);
}

void conn_close(struct conn *c)
{
	if (c->state != CONN_OPEN && c->state != CONN_FLUSHING) return;
	c->state = CONN_CLOSING;
	conn_drop_input(c);
	conn_drop_output(c);
	list_remove_if_linked(&c->link_by_dirty);
	list_remove_if_linked(&c->link_by_blocked);
	list_remove_if_linked(&c->link_by_starved);
	list_remove_if_linked(&c->resume.link);
	io_timer_stop(c->net->io, &c->stall);
	io_stream_close(c->stream);
}

static bool conn_has_output(const struct conn *c) { return c->tls ? tls_has_output(c) : c->out_head != NULL; }

/* Closes when there is nothing left to say. */
static void conn_finish(struct conn *c)
{
	if (c->writing || conn_has_output(c)) return;
	if (c->tls && !c->broken && tls_goodbye(c)) {
		conn_touch(c);
		return;
	}
	conn_close(c);
}

void conn_close_flushed(struct conn *c)
{
	if (c->state != CONN_OPEN) return;
	c->state = CONN_FLUSHING;
	io_stream_read_stop(c->stream);
	conn_drop_input(c);
	conn_finish(c);
	if (c->state == CONN_FLUSHING) conn_touch(c);
}

static void conn_on_close(void *owner)
{
	struct conn *c = owner;
	ASSERT(c->state == CONN_CLOSING);
	conn_land(c);
	if (c->tls) ledger_release(&c->ledger, tls_charged_bytes(c->tls));
	tls_free(c->tls);
	c->tls = NULL;
	ledger_deinit(&c->ledger);
	c->net->conn_count--;
	list_remove(&c->link_by_net);
	c->stream = NULL;
	c->state = CONN_CLOSED;
	c->ops->on_closed(c);
}

void conn_end(struct conn *c, enum conn_end why)
{
	if (c->state == CONN_OPEN) c->ops->on_end(c, why);
	if (why == CONN_END_EOF)
		conn_close_flushed(c);
	else
		conn_close(c);
}

static void conn_on_end(void *owner, enum err why)
{
	struct conn *c = owner;
	conn_end(c, why == ERR_EOF ? CONN_END_EOF : c->broken ? CONN_END_WRITE : CONN_END_READ);
}

/* ---- pauses ---- */

static void conn_pause(struct conn *c, enum conn_pause why)
{
	c->paused |= (uint8_t)why;
	io_stream_read_stop(c->stream);
}

static void conn_unpause(struct conn *c, enum conn_pause why)
{
	c->paused &= (uint8_t)~why;
	if (c->paused == 0 && c->state == CONN_OPEN) io_stream_read_start(c->stream);
}

void conn_hold(struct conn *c)
{
	if (c->state == CONN_OPEN) conn_pause(c, CONN_PAUSE_HELD);
}

/* What is kept is offered again, in this turn. */
static void conn_go_on(struct conn *c, enum conn_pause why)
{
	if (!(c->paused & why)) return;
	conn_unpause(c, why);
	if (c->state == CONN_OPEN && (c->in_count || c->tls)) io_defer(c->net->io, &c->resume);
}

void conn_resume(struct conn *c) { conn_go_on(c, CONN_PAUSE_HELD); }

void conn_stall(struct conn *c, uint64_t ns)
{
	if (c->state != CONN_OPEN || c->paused & CONN_PAUSE_STALL) return;
	conn_pause(c, CONN_PAUSE_STALL);
	io_timer_start(c->net->io, &c->stall, ns);
}

static void conn_stall_over(struct io_timer *t) { conn_go_on(CONTAINER_OF(t, struct conn, stall), CONN_PAUSE_STALL); }

static void conn_starve(struct conn *c)
{
	if (c->paused & CONN_PAUSE_MEMORY) return;
	conn_pause(c, CONN_PAUSE_MEMORY);
	c->starved_deadline_ns = io_now_ns(c->net->io) + CONN_STARVED_NS;
	list_push_back(&c->net->starved, &c->link_by_starved);
	net_watch(c->net, c->starved_deadline_ns);
	diag_count(c->net->diag, COUNTER_conns_starved);
}

void conn_feed(struct conn *c)
{
	list_remove(&c->link_by_starved);
	conn_go_on(c, CONN_PAUSE_MEMORY);
}

/* ---- input ---- */

static void conn_in_grow(struct conn *c, size_t cap)
{
	ledger_force(&c->ledger, cap - c->in_cap);
	c->in = mem_realloc(c->in, cap);
	c->in_cap = cap;
}

/* Keeps n bytes at p, which may lie inside what is kept already. */
static void conn_keep(struct conn *c, const uint8_t *p, size_t n)
{
	if (n == 0) {
		conn_drop_input(c);
		return;
	}
	if (c->in && p >= c->in && p <= c->in + c->in_cap) {
		if (p != c->in) memmove(c->in, p, n);
	} else {
		size_t cap = CONN_IN_BYTES_MIN;
		while (cap < n) cap *= 2;
		if (cap > c->in_cap) conn_in_grow(c, cap);
		ASSERT(c->in);
		memcpy(c->in, p, n);
	}
	c->in_count = n;
}

static void conn_offer(struct conn *c, const uint8_t *p, size_t n)
{
	c->in_want = 0;
	bool was_secure = c->tls != NULL;
	size_t used = c->ops->on_data(c, p, n);
	if (c->state != CONN_OPEN) {
		conn_drop_input(c);
		return;
	}
	ASSERT(used <= n);
	if (c->tls && !was_secure) {
		/* The owner has seen that the rest is TLS; what is kept from now on is plain. */
		tls_pour(c, p + used, n - used);
		conn_drop_input(c);
		tls_pump(c);
		return;
	}
	conn_keep(c, p + used, n - used);
	if (ledger_is_full(&c->ledger)) conn_starve(c);
}

static void conn_offer_kept(struct io_task *t)
{
	struct conn *c = CONTAINER_OF(t, struct conn, resume);
	if (c->state == CONN_OPEN && c->paused == 0 && c->in_count) conn_offer(c, c->in, c->in_count);
	if (c->state == CONN_OPEN && c->paused == 0 && c->tls) tls_pump(c);
}

/* Fresh bytes go behind the kept ones: by a short copy to the front of the scratch buffer while those are few, straight into the
 * kept buffer when they are many. That buffer grows with what has come, never with what a peer has merely announced. */
uint8_t *conn_room(struct conn *c, size_t *n)
{
	if (c->in_count <= NET_SCRATCH_HEAD) {
		*n = NET_SCRATCH_BYTES;
		return c->net->scratch + NET_SCRATCH_HEAD;
	}
	size_t step = c->in_want > c->in_count ? size_min(c->in_want - c->in_count, c->in_count) : NET_SCRATCH_HEAD;
	if (c->in_cap < c->in_count + step) conn_in_grow(c, c->in_count + step);
	*n = c->in_cap - c->in_count;
	if (c->in_want > c->in_count) *n = size_min(*n, c->in_want - c->in_count);
	return c->in + c->in_count;
}

void conn_take(struct conn *c, const uint8_t *p, size_t n)
{
	if (c->in_count == 0) {
		conn_offer(c, p, n);
	} else if (p == c->in + c->in_count) {
		c->in_count += n;
		conn_offer(c, c->in, c->in_count);
	} else {
		ASSERT(p == c->net->scratch + NET_SCRATCH_HEAD && c->in_count <= NET_SCRATCH_HEAD);
		uint8_t *front = c->net->scratch + NET_SCRATCH_HEAD - c->in_count;
		memcpy(front, c->in, c->in_count);
		conn_offer(c, front, c->in_count + n);
	}
}

static uint8_t *conn_on_alloc(void *owner, size_t *n)
{
	struct conn *c = owner;
	if (!c->tls) return conn_room(c, n);
	if (!c->net->scratch_tls) c->net->scratch_tls = mem_alloc(TLS_SCRATCH_BYTES);
	*n = TLS_SCRATCH_BYTES;
	return c->net->scratch_tls;
}

static void conn_on_read(void *owner, const uint8_t *p, size_t n)
{
	struct conn *c = owner;
	if (!c->tls) {
		conn_take(c, p, n);
		return;
	}
	tls_pour(c, p, n);
	tls_pump(c);
}

void conn_secure(struct conn *c, struct tls_context *t)
{
	ASSERT(c->state == CONN_OPEN && !c->tls);
	conn_flush(c);
	ASSERT(!c->out_head || c->broken); /* else it would be written sealed */
	tls_begin(c, t);
}

/* ---- output ---- */

/* What was committed since shows in the chunk only now. */
static void conn_seal_tail(struct conn *c)
{
	if (c->out_tail) c->out_tail->count = (uint32_t)(c->out_at - c->out_tail->data);
}

static void conn_set_tail(struct conn *c, struct chunk *t)
{
	c->out_tail = t;
	c->out_at = t ? t->data + t->count : NULL;
	c->out_end = t ? t->data + t->cap : NULL;
}

/* A fresh tail; `wish` is how many bytes are known to come. */
static void conn_grow(struct conn *c, size_t wish)
{
	struct chunk *t = c->out_tail;
	struct chunk *fresh = chunk_new(c->net, wish, !t && !c->chatty);
	ledger_force(&c->ledger, chunk_bytes(fresh));
	conn_seal_tail(c);
	if (t)
		t->next = fresh;
	else
		c->out_head = fresh;
	conn_set_tail(c, fresh);
}

uint8_t *conn_reserve_slow(struct conn *c, size_t n)
{
	ASSERT(c->state == CONN_OPEN && n <= CONN_RESERVE_MAX);
	if ((size_t)(c->out_end - c->out_at) < n || !c->out_tail) conn_grow(c, n);
	return c->out_at;
}

void conn_touch(struct conn *c)
{
	if (!list_is_linked(&c->link_by_dirty)) list_push_back(&c->net->dirty, &c->link_by_dirty);
}

void conn_commit_slow(struct conn *c)
{
	ASSERT(c->out_tail && c->out_at <= c->out_end);
	conn_touch(c);
	c->out_check_bytes = c->writing ? SIZE_MAX : CONN_FLUSH_BYTES;
	if (c->out_bytes >= c->out_check_bytes) conn_flush(c);
}

void conn_write(struct conn *c, struct slice s)
{
	if (c->state != CONN_OPEN) return;
	while (s.n) {
		if (c->out_at == c->out_end) conn_grow(c, s.n);
		size_t n = size_min(s.n, (size_t)(c->out_end - c->out_at));
		memcpy(c->out_at, s.p, n);
		conn_commit(c, n);
		s = slice_from(s, n);
	}
}

size_t conn_pending_bytes(const struct conn *c)
{
	return c->out_bytes + (c->writing ? io_stream_pending_bytes(c->stream) : 0);
}

struct chunk *conn_pop_chunk(struct conn *c)
{
	struct chunk *first = c->out_head;
	if (!first) return NULL;
	if (first == c->out_tail) conn_seal_tail(c);
	c->out_head = first->next;
	first->next = NULL;
	if (!c->out_head) conn_set_tail(c, NULL);
	c->out_bytes -= first->count;
	c->out_check_bytes = c->out_bytes + 1;
	return first;
}

/* The chunks of one write, at most IO_WRITE_SLICES_MAX: as they are, or made of them. */
static struct chunk *conn_next_write(struct conn *c)
{
	if (c->tls) return tls_seal(c);
	struct chunk *head = NULL, **link = &head;
	for (unsigned count = 0; c->out_head && count < IO_WRITE_SLICES_MAX; count++) {
		*link = conn_pop_chunk(c);
		link = &(*link)->next;
	}
	return head;
}

/* One write; its chunks move to `flying`. */
static enum io_write conn_write_once(struct conn *c)
{
	struct slice v[IO_WRITE_SLICES_MAX];
	unsigned count = 0;
	c->flying = conn_next_write(c);
	for (const struct chunk *at = c->flying; at; at = at->next) {
		ASSERT(count < IO_WRITE_SLICES_MAX);
		v[count++] = slice_of(at->data, at->count);
		c->flying_bytes += at->count;
	}
	c->chatty = c->flying_bytes > CHUNK_SMALL_BYTES;
	diag_count(c->net->diag, COUNTER_conn_writes);
	return count ? io_stream_write(c->stream, v, count) : IO_WRITTEN;
}

void conn_flush(struct conn *c)
{
	while (!c->writing && !c->broken && conn_has_output(c)) {
		switch (conn_write_once(c)) {
		case IO_WRITTEN: conn_land(c); break;
		case IO_PENDING:
			c->writing = true;
			c->blocked_deadline_ns = io_now_ns(c->net->io) + c->net->write_deadline_ns;
			list_push_back(&c->net->blocked, &c->link_by_blocked);
			net_watch(c->net, c->blocked_deadline_ns);
			break;
		case IO_BROKEN:
			conn_land(c);
			c->broken = true;
			break;
		}
		if (c->state == CONN_FLUSHING) conn_finish(c);
		if (c->state != CONN_OPEN && c->state != CONN_FLUSHING) return;
	}
	if (c->broken) conn_drop_output(c);
	if (c->state == CONN_FLUSHING) conn_finish(c);
}

static void conn_on_drain(void *owner)
{
	struct conn *c = owner;
	conn_land(c);
	conn_flush(c);
}

static const struct io_stream_ops conn_io_ops = {
	.on_alloc = conn_on_alloc,
	.on_read = conn_on_read,
	.on_end = conn_on_end,
	.on_drain = conn_on_drain,
	.on_close = conn_on_close,
};
