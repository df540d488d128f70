/* SPDX-License-Identifier: Apache-2.0 */
/* propose — commands into the log, and reads that must see everything before them.
 *
 * Happy path: group_propose asks the budgets and the log → raft_apply takes the body, stores and sends it → applied on a majority's
 * disks → call_done puts the proposal on `finished` → group_deliver applies it to the owner and then completes it. */
#include "group.h"

/* ---- proposals ---- */

static void call_done(struct raft_apply *apply, int status, void *result)
{
	(void)result;
	struct call *c = CONTAINER_OF(apply, struct call, apply);
	struct group *g = c->g;
	c->p->result = status == 0 ? OK : ERR_UNKNOWN_OUTCOME;
	list_push_back(&g->finished, &c->p->link);
	mem_free(c);
	group_dirty(g);
}

static enum err propose_admit(struct group *g, size_t bytes, enum log_admission what)
{
	const struct raft_groups *r = g->set;
	ASSERT(what == LOG_ADMIT_GROWS || what == LOG_ADMIT_FREES);
	if (g->in_doubt) return ERR_DOUBT;
	if (!g->leading || !g->leads || g->raft.transfer) return ERR_NOT_LEADER;
	if (g->change && g->change->kind == GROUP_TRANSFER) return ERR_NOT_LEADER;
	if (bytes == 0 || bytes > r->options.entry_bytes_max) return ERR_TOO_LARGE;
	/* One proposal always fits: the budgets bound what waits, not what a proposal may be. */
	if (g->in_flight_bytes && g->in_flight_bytes + bytes > r->options.group_bytes_max) return ERR_FULL;
	if (r->in_flight_bytes && r->in_flight_bytes + bytes > r->options.node_bytes_max) return ERR_FULL;
	enum err e = budget_admits(g, bytes);
	return e == OK ? log_admit(r->log, what, entry_bytes(bytes)) : e;
}

enum err group_propose(struct group *g, struct proposal *p, struct buf *body, enum log_admission what)
{
	enum err e = propose_admit(g, body->n, what);
	if (e != OK) return e;
	group_wake(g);
	/* The library keeps it for a while: not with twice the memory. */
	if (body->cap > body->n + body->n / 4 + 64) body->p = mem_realloc(body->p, body->n);
	struct raft_buffer buffer = { body->p, body->n };
	struct call *c = NEW(struct call);
	c->g = g;
	c->p = p;
	p->bytes = body->n;
	p->term = g->raft.current_term;
	p->link = (struct list) { 0 };
	if (raft_apply(&g->raft, &c->apply, &buffer, 1, call_done) != 0) {
		mem_free(c);
		return ERR_NOT_LEADER;
	}
	p->index = c->apply.index;
	*body = (struct buf) { 0 };
	budget_add(g, p->bytes);
	diag_count(g->set->diag, COUNTER_raft_proposals);
	group_after(g);
	return OK;
}

/* ---- barriers ---- */

static void barriers_end(struct list *from, struct group *g, enum err result)
{
	LIST_EACH (l, from) CONTAINER_OF(l, struct group_barrier, link)->result = result;
	list_splice_back(&g->barriers_finished, from);
}

static void read_done(struct raft_barrier *barrier, int status)
{
	struct call *c = CONTAINER_OF(barrier, struct call, barrier);
	struct group *g = c->g;
	mem_free(c);
	g->reading = false;
	barriers_end(&g->barriers_reading, g, status == 0 ? OK : ERR_UNKNOWN_OUTCOME);
	group_dirty(g);
}

void barriers_start(struct group *g)
{
	if (g->reading || list_is_empty(&g->barriers_waiting)) return;
	/* A sole voter applies before it answers anybody: its state is the latest there is. */
	if (g->leading && g->leads && group_voters(g) == 1) {
		barriers_end(&g->barriers_waiting, g, OK);
		return;
	}
	if (log_admit(g->set->log, LOG_ADMIT_FREES, entry_bytes(64)) != OK) {
		barriers_end(&g->barriers_waiting, g, ERR_FULL);
		return;
	}
	struct call *c = NEW(struct call);
	c->g = g;
	group_wake(g);
	if (!g->leading || !g->leads || raft_barrier(&g->raft, &c->barrier, read_done) != 0) {
		mem_free(c);
		barriers_end(&g->barriers_waiting, g, ERR_NOT_LEADER);
		return;
	}
	g->reading = true;
	list_splice_back(&g->barriers_reading, &g->barriers_waiting);
	group_after(g);
}

void group_barrier(struct group *g, struct group_barrier *b)
{
	b->link = (struct list) { 0 };
	if (g->leading && g->leads) {
		list_push_back(&g->barriers_waiting, &b->link);
	} else {
		b->result = ERR_NOT_LEADER;
		list_push_back(&g->barriers_finished, &b->link);
	}
	group_dirty(g);
}

void propose_lost(struct group *g)
{
	barriers_end(&g->barriers_waiting, g, ERR_NOT_LEADER);
	group_dirty(g);
}

/* ---- completing ---- */

/* The library calls a proposal done when it is committed; done is what the owner has applied. An entry that stopped the group, and what came
 * behind it, is not, and may be one day by another version. */
static void take_applied(struct group *g, struct list *done)
{
	while (!list_is_empty(&g->finished)) {
		struct proposal *p = CONTAINER_OF(g->finished.next, struct proposal, link);
		if (p->result == OK && p->index > g->applied) {
			if (g->live) return;
			p->result = ERR_UNKNOWN_OUTCOME;
		}
		list_push_back(done, list_pop_front(&g->finished));
	}
}

void propose_finish(struct group *g)
{
	struct list done, barriers, *l;
	/* Only what is there now: completions may propose. */
	list_init(&done);
	list_init(&barriers);
	take_applied(g, &done);
	list_splice_back(&barriers, &g->barriers_finished);
	LIST_EACH (node, &done) budget_sub(g, CONTAINER_OF(node, struct proposal, link)->bytes);
	while ((l = list_pop_front(&done))) {
		struct proposal *p = CONTAINER_OF(l, struct proposal, link);
		p->done(p);
	}
	while ((l = list_pop_front(&barriers))) {
		struct group_barrier *b = CONTAINER_OF(l, struct group_barrier, link);
		b->done(b);
	}
}
