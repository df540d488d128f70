/* SPDX-License-Identifier: Apache-2.0 */
/* What the conns of one loop share: the dirty list that makes one write a turn of many messages, the queues of those that wait for
 * the kernel or for memory (oldest first, one timer for all), the scratch buffer that every read lands in. */
#include "chunk.h"
#include "conn.h"

static void net_timer_fired(struct io_timer *t);

void net_init(struct net *n, struct io *io, struct diag *diag, uint64_t write_deadline_ns)
{
	*n = (struct net) { .io = io, .diag = diag, .write_deadline_ns = write_deadline_ns };
	list_init(&n->conns);
	list_init(&n->dirty);
	list_init(&n->blocked);
	list_init(&n->starved);
	n->timer.fire = net_timer_fired;
	n->trim.fire = chunk_trim;
	n->scratch = mem_alloc(NET_SCRATCH_HEAD + NET_SCRATCH_BYTES);
}

void net_deinit(struct net *n)
{
	if (!n->io) return;
	ASSERT(n->conn_count == 0);
	io_timer_stop(n->io, &n->timer);
	io_timer_stop(n->io, &n->trim);
	chunk_drop_spares(n);
	mem_free(n->scratch);
	mem_free(n->scratch_tls);
	*n = (struct net) { 0 };
}

void net_turn_end(struct net *n)
{
	struct list *link;
	while ((link = list_pop_front(&n->dirty)) != NULL) conn_flush(CONTAINER_OF(link, struct conn, link_by_dirty));
	LIST_EACH_SAFE (at, &n->starved) {
		struct conn *c = CONTAINER_OF(at, struct conn, link_by_starved);
		if (!ledger_is_full(&c->ledger)) conn_feed(c);
	}
}

void net_abort_flushing(struct net *n)
{
	LIST_EACH (at, &n->conns) {
		struct conn *c = CONTAINER_OF(at, struct conn, link_by_net);
		if (c->state == CONN_FLUSHING) conn_close(c);
	}
}

void net_watch(struct net *n, uint64_t deadline_ns)
{
	if (io_timer_is_armed(&n->timer)) return;
	uint64_t now = io_now_ns(n->io);
	io_timer_start(n->io, &n->timer, deadline_ns > now ? deadline_ns - now : 0);
}

/* A starved conn that sits on a large unfinished operation keeps memory from those who would release some. */
static void net_end_starved(struct net *n, uint64_t now)
{
	struct list *link;
	while ((link = list_first(&n->starved)) != NULL) {
		struct conn *c = CONTAINER_OF(link, struct conn, link_by_starved);
		if (c->starved_deadline_ns > now) break;
		if (c->in_count > NET_SCRATCH_HEAD) {
			conn_end(c, CONN_END_MEMORY);
			continue;
		}
		c->starved_deadline_ns = now + CONN_STARVED_NS;
		list_remove(link);
		list_push_back(&n->starved, link);
	}
}

static void net_timer_fired(struct io_timer *t)
{
	struct net *n = CONTAINER_OF(t, struct net, timer);
	uint64_t now = io_now_ns(n->io), next = UINT64_MAX;
	struct list *link;
	while ((link = list_first(&n->blocked)) != NULL) {
		struct conn *c = CONTAINER_OF(link, struct conn, link_by_blocked);
		if (c->blocked_deadline_ns > now) break;
		conn_end(c, CONN_END_DEADLINE);
	}
	net_end_starved(n, now);
	if ((link = list_first(&n->blocked)) != NULL)
		next = CONTAINER_OF(link, struct conn, link_by_blocked)->blocked_deadline_ns;
	if ((link = list_first(&n->starved)) != NULL)
		next = u64_min(next, CONTAINER_OF(link, struct conn, link_by_starved)->starved_deadline_ns);
	if (next != UINT64_MAX) net_watch(n, next);
}
