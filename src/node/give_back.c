/* SPDX-License-Identifier: Apache-2.0 */
/* What a burst left behind goes back to the system. The allocator keeps what was freed, in pieces between what is still in use: a server that
 * has been busy once would look as large for ever. While there is work nothing is given back, it would be wanted again at once.
 *
 *   many turns since the last time ──> a timer every second ──few turns in it──> host->give_back */
#include "node_inside.h"

enum { TURNS_MANY = 1000, TURNS_FEW = 100 };
#define LOOK_EVERY_NS SECONDS(1)

static void look_later(struct node *n)
{
	struct node_give_back *g = &n->give_back;
	g->turns_seen = n->diag.counter[COUNTER_turns];
	io_timer_start(n->io, &g->timer, LOOK_EVERY_NS);
}

static void give_back_fired(struct io_timer *t)
{
	struct node *n = CONTAINER_OF(t, struct node, give_back.timer);
	uint64_t turns = n->diag.counter[COUNTER_turns];
	if (turns - n->give_back.turns_seen > TURNS_FEW) {
		look_later(n);
		return;
	}
	n->give_back.turns_given = turns;
	n->host->give_back(n->host->arg);
}

void give_back_begin(struct node *n)
{
	n->give_back.timer.fire = give_back_fired;
	if (n->host->give_back) look_later(n); /* starting leaves something behind, too */
}

void give_back_turn_end(struct node *n)
{
	struct node_give_back *g = &n->give_back;
	if (!g->timer.fire || !n->host->give_back) return;
	if (n->diag.counter[COUNTER_turns] - g->turns_given < TURNS_MANY || io_timer_is_armed(&g->timer)) return;
	look_later(n);
}

void give_back_end(struct node *n) { io_timer_stop(n->io, &n->give_back.timer); }
