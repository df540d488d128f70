/* SPDX-License-Identifier: Apache-2.0 */
/* raft_node — see raft_node.h. */
#include <stdio.h>

#include "sim/raft_disk.h"
#include "sim/raft_slant.h"

/* Both on raft_node.proposals by their first member. */
struct client_proposal {
	struct list link;
	struct proposal p;
	struct raft_node *n;
	unsigned group;
	uint64_t number;
};
struct client_read {
	struct list link;
	struct group_barrier b;
	struct raft_node *n;
	unsigned group;
	uint64_t acked_before;
};

static void node_line(void *arg, enum diag_level level, const char *line, size_t bytes)
{
	const struct raft_node *n = arg;
	(void)level;
	(void)printf("%10.6f node %u %.*s\n", (double)sim_now_ns(n->w->s) / 1e9, n->m->index + 1, (int)bytes, line);
}

static void node_fatal(void *arg, const char *why)
{
	struct raft_machine *m = arg;
	if (m->world->verbose) (void)printf("node %u log gives up: %s\n", m->index + 1, why);
	m->dead = true;
	sim_node_crash(m->n, SIM_KILL);
}

/* ---- links ---- */

static void on_up(void *owner, uint64_t peer) { raft_peer_up(&((struct raft_node *)owner)->groups, peer); }
static void on_down(void *owner, uint64_t peer) { raft_peer_down(&((struct raft_node *)owner)->groups, peer); }
static void on_frame(void *owner, uint64_t peer, struct slice frame)
{
	struct raft_node *n = owner;
	enum err e = raft_frame_in(&n->groups, peer, frame);
	if (e != OK && e != ERR_NOT_FOUND)
		oracle_violated(&n->w->oracle, "FRAME refused on node %u: %s", n->m->index + 1, err_name(e));
}
static bool node_send(void *arg, uint64_t peer, const struct slice *parts, unsigned count, enum raft_lane lane)
{
	struct raft_node *n = arg;
	if (!raft_slant_passes(n->w, n->m->index, peer, parts, count)) return false;
	return sim_links_send(&n->links, peer, parts, count, lane);
}
static const struct sim_links_ops links_ops = { on_up, on_down, on_frame };

/* ---- the client ---- */

static void proposal_done(struct proposal *p)
{
	struct client_proposal *c = CONTAINER_OF(p, struct client_proposal, p);
	struct raft_world *w = c->n->w;
	if (p->result == OK) {
		w->acked++;
		oracle_acked(&w->oracle, c->group, p->index, c->number);
		if (c->n->chain[c->group].index < p->index)
			oracle_violated(&w->oracle, "EARLY group %u index %llu was acknowledged before it was applied",
				c->group + 1, (unsigned long long)p->index);
	} else {
		w->unknown++;
		if (p->result != ERR_UNKNOWN_OUTCOME)
			oracle_violated(&w->oracle, "RESULT of a proposal: %s", err_name(p->result));
	}
	list_remove(&c->link);
	mem_free(c);
}

static void propose(struct raft_node *n, unsigned g)
{
	struct raft_world *w = n->w;
	struct chain *ch = &n->chain[g];
	struct buf body = { 0 };
	if (n->seq_term[g] != ch->leading_term) {
		n->seq_term[g] = ch->leading_term;
		n->seq[g] = ch->seq;
	}
	struct client_proposal *c = NEW(struct client_proposal);
	c->n = n;
	c->group = g;
	c->number = w->oracle.next_number;
	c->p.done = proposal_done;
	chain_body(&body, c->number, n->seq[g] + 1, (size_t)sim_below(w->s, w->payload_max + 1));
	enum err e = group_propose(ch->group, &c->p, &body, LOG_ADMIT_GROWS);
	if (e == OK) {
		w->oracle.next_number++;
		w->proposed++;
		n->seq[g]++;
		list_push_back(&n->proposals, &c->link);
		return;
	}
	w->refused++;
	bool is_large = e == ERR_TOO_LARGE && body.n > w->slot_bytes / 4; /* of the smallest */
	if (e != ERR_FULL && e != ERR_NO_SPACE && e != ERR_NOT_LEADER && !is_large)
		oracle_violated(&w->oracle, "REFUSED with %s", err_name(e));
	buf_deinit(&body);
	mem_free(c);
}

static void read_done(struct group_barrier *b)
{
	struct client_read *r = CONTAINER_OF(b, struct client_read, b);
	r->n->reading[r->group] = false;
	if (b->result == OK) {
		r->n->w->reads++;
		if (r->n->chain[r->group].index < r->acked_before)
			oracle_violated(&r->n->w->oracle,
				"STALE READ group %u on node %u: %llu, acknowledged before it %llu", r->group + 1,
				r->n->m->index + 1, (unsigned long long)r->n->chain[r->group].index,
				(unsigned long long)r->acked_before);
	}
	list_remove(&r->link);
	mem_free(r);
}

static void read_start(struct raft_node *n, unsigned g)
{
	if (n->reading[g]) return;
	struct client_read *r = NEW(struct client_read);
	*r = (struct client_read) { .n = n, .group = g, .acked_before = n->w->oracle.acked[g], .b.done = read_done };
	n->reading[g] = true;
	list_push_back(&n->proposals, &r->link);
	group_barrier(n->chain[g].group, &r->b);
}

static void change_done(struct group_change *c)
{
	struct node_change *nc = CONTAINER_OF(c, struct node_change, c);
	nc->busy = false;
	if (c->result == OK)
		nc->n->w->changes_ok++;
	else
		nc->n->w->changes_failed++;
	sim_count(nc->n->w->s, c->result == OK ? "raft change" : "raft change failed");
}

void raft_node_change(struct raft_node *n, unsigned group, enum group_change_kind kind, uint64_t member)
{
	struct node_change *nc = &n->change[group];
	if (nc->busy) return;
	*nc = (struct node_change) {
		.c = { .kind = kind, .member = member, .done = change_done }, .n = n, .busy = true
	};
	if (n->w->verbose)
		(void)printf("%10.6f node %u group %u change %d of %llx\n", (double)sim_now_ns(n->w->s) / 1e9,
			n->m->index + 1, group + 1, kind, (unsigned long long)member);
	group_change(n->chain[group].group, &nc->c);
}

static void on_load(struct io_timer *t)
{
	struct raft_node *n = CONTAINER_OF(t, struct raft_node, load);
	if (n->diag.counter[COUNTER_raft_gave_up])
		oracle_violated(&n->w->oracle, "GAVE UP libraft on node %u made itself unavailable", n->m->index + 1);
	for (unsigned g = 0; g < n->w->group_count; g++) {
		if (!n->chain[g].group || !n->chain[g].leading) continue;
		for (uint64_t burst = 1 + sim_below(n->w->s, 3); burst > 0; burst--) propose(n, g);
		if (sim_below(n->w->s, 16) == 0) read_start(n, g);
	}
	io_timer_start(n->io, t, n->w->load_ns / 2 + sim_below(n->w->s, n->w->load_ns));
}

/* ---- life ---- */

static void node_turn_end(struct io_turn_hook *h) { log_turn_end(CONTAINER_OF(h, struct raft_node, hook)->log); }

static void chain_new(struct raft_node *n, unsigned g)
{
	n->chain[g] = (struct chain) { .oracle = &n->w->oracle, .node = n->m->index, .number = g };
	if (n->m->index == 0) n->chain[g].poison = n->w->poison;
}

void raft_node_make(struct raft_node *n, unsigned g, bool founding)
{
	struct group_member first[CHAIN_NODES_MAX];
	unsigned count = founding ? n->w->voter_count : 0;
	if (raft_group_find(&n->groups, g + 1)) return;
	for (unsigned i = 0; i < count; i++) first[i] = (struct group_member) { n->w->machine[i].raft_id, GROUP_VOTER };
	chain_new(n, g);
	enum err e = group_make(&n->groups, g + 1, first, count, &chain_ops, &n->chain[g], &n->chain[g].group);
	if (e != OK && e != ERR_FULL)
		oracle_violated(&n->w->oracle, "MAKE on node %u: %s", n->m->index + 1, err_name(e));
}

static void node_teardown(void *software)
{
	struct raft_node *n = software;
	struct list *l;
	for (unsigned c = 0; c < COUNTER_COUNT; c++) n->w->counter[c] += n->diag.counter[c];
	raft_groups_deinit(&n->groups);
	sim_links_teardown(&n->links);
	if (n->log) log_free(n->log);
	while ((l = list_pop_front(&n->proposals))) { mem_free(CONTAINER_OF(l, struct client_proposal, link)); }
	diag_deinit(&n->diag);
	mem_free(n);
}

static enum err groups_open(struct raft_node *n)
{
	for (struct log_group *lg = log_group_after(n->log, 0); lg; lg = log_group_after(n->log, log_group_id(lg))) {
		unsigned g = (unsigned)log_group_id(lg) - 1;
		chain_new(n, g);
		enum err e = group_open(&n->groups, g + 1, &chain_ops, &n->chain[g], &n->chain[g].group);
		if (e != OK) return e;
		n->m->made[g] = true;
	}
	return OK;
}

static enum err node_start(void *arg, struct sim_node *sn, struct io *io, void **software)
{
	struct raft_machine *m = arg;
	struct raft_node *n = NEW(struct raft_node);
	char why[256] = "";
	(void)sn;
	*n = (struct raft_node) { .m = m, .w = m->world, .io = io };
	list_init(&n->proposals);
	m->boots++;
	m->dead = false;
	diag_init(&n->diag, n->w->verbose ? DIAG_DEBUG : DIAG_FATAL, node_line, n);
	if (n->w->bug && diag_fault_set(&n->diag, slice_of_str(n->w->bug), SLICE("always")) != OK) UNREACHABLE();
	struct log_options lo = { 0 };
	raft_disk_options(m, &lo);
	lo.fatal = node_fatal;
	lo.fatal_arg = m;
	enum err e = log_open(io, &n->diag, &lo, &n->log, why, sizeof why);
	if (e == OK) {
		struct raft_options o = n->w->options;
		o.self = m->raft_id = log_identity(n->log)->raft_id;
		/* A quarter of a slot; and not more than a slow link carries in a moment. */
		o.node_bytes_max = o.group_bytes_max = m->slot_bytes ? (size_t)(m->slot_bytes / 4) : 64 * KIB;
		raft_groups_init(&n->groups, io, n->log, &n->diag, &o, &(struct raft_links) { node_send, n });
		e = groups_open(n);
	} else if (e != ERR_CRASHED) {
		(void)printf("node %u does not open: %s (%s)\n", m->index + 1, why, err_name(e));
	}
	if (e == OK) e = sim_links_start(&n->links, io, m->raft_id, m->index, n->w->node_count, &links_ops, n);
	if (e != OK) {
		node_teardown(n);
		return e;
	}
	n->hook.turn_end = node_turn_end;
	io_turn_hook_add(io, &n->hook);
	n->load.fire = on_load;
	io_timer_start(io, &n->load, n->w->load_ns);
	*software = n;
	return OK;
}

const struct sim_program raft_node_program = { node_start, node_teardown };
