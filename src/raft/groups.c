/* SPDX-License-Identifier: Apache-2.0 */
/* groups — the replicas of one node: one timer ticks those that are awake, frames find their group, links come and go, and what
 * concerns owners is delivered when the event that caused it is over. */
#include "group.h"

enum { SAY_EVERY_MS = 10000 };

/* A peer whose link was lost. Who was never heard of counts as reachable. */
struct peer_down {
	struct list link; /* in raft_groups.peers_down */
	uint64_t id;
};

/* What a peer's journal takes, as it says with each acknowledgement, and how much of that is under way from here. Kept until the end. */
struct budget {
	struct list link; /* in raft_groups.budgets */
	uint64_t peer;
	uint64_t takes_bytes; /* 0: it has not said it yet */
	uint64_t bytes;       /* proposed here, in groups of which it is a voter, and not applied */
};

static struct slice group_key(const void *item) { return map_key_u64(&((const struct group *)item)->id); }

static void set_default(void *field, size_t size, uint64_t value)
{
	uint64_t v = 0;
	memcpy(&v, field, size); /* little-endian, as all we build for */
	if (v == 0) memcpy(field, &value, size);
}

static void options_take(struct raft_groups *r, const struct raft_options *options)
{
	struct raft_options *o = &r->options;
	*o = *options;
	ASSERT(o->self != 0);
	set_default(&o->heartbeat_ms, sizeof o->heartbeat_ms, 300);
	set_default(&o->election_ms, sizeof o->election_ms, 2500);
	set_default(&o->tick_ms, sizeof o->tick_ms, 50);
	set_default(&o->recent_bytes_max, sizeof o->recent_bytes_max, 512 * KIB);
	set_default(&o->group_bytes_max, sizeof o->group_bytes_max, 8 * MIB);
	set_default(&o->node_bytes_max, sizeof o->node_bytes_max, 16 * MIB);
	set_default(&o->entry_bytes_max, sizeof o->entry_bytes_max, 16 * MIB);
	set_default(&o->chunk_bytes_max, sizeof o->chunk_bytes_max, 256 * KIB);
	set_default(&o->chunk_window, sizeof o->chunk_window, 4);
	ASSERT(o->heartbeat_ms < o->election_ms && o->tick_ms <= o->heartbeat_ms);
	o->entry_bytes_max = size_min(o->entry_bytes_max, log_entry_bytes_max(r->log));
	o->node_bytes_max = size_min(o->node_bytes_max, log_entry_bytes_max(r->log));
	if (o->poison_count) r->poison = mem_dup(o->poison, o->poison_count * sizeof *o->poison);
	r->muted = o->mute;
}

static void on_timer(struct io_timer *t);
static void on_task(struct io_task *t);

void raft_groups_init(struct raft_groups *r, struct io *io, struct log *log, struct diag *diag,
	const struct raft_options *options, const struct raft_links *links)
{
	*r = (struct raft_groups) { .io = io, .log = log, .diag = diag, .links = *links };
	options_take(r, options);
	map_init(&r->by_id, io_random_u64(io), group_key);
	list_init(&r->all);
	list_init(&r->awake);
	list_init(&r->dirty);
	list_init(&r->peers_down);
	list_init(&r->budgets);
	r->out = NEW(struct frame_out);
	r->timer.fire = on_timer;
	r->task.run = on_task;
}

void raft_groups_deinit(struct raft_groups *r)
{
	struct list *l;
	if (!r->io) return;
	r->dead = true;
	while ((l = list_first(&r->all))) {
		struct group *g = CONTAINER_OF(l, struct group, link_all);
		g->state = GROUP_CLOSING;
		instance_stop(g);
		group_release(g);
	}
	while ((l = list_pop_front(&r->peers_down))) mem_free(CONTAINER_OF(l, struct peer_down, link));
	while ((l = list_pop_front(&r->budgets))) mem_free(CONTAINER_OF(l, struct budget, link));
	map_deinit(&r->by_id);
	frame_out_deinit(r->out);
	mem_free(r->out);
	mem_free(r->entries);
	mem_free(r->poison);
	*r = (struct raft_groups) { 0 };
}

void raft_groups_close(struct raft_groups *r, void (*closed)(void *arg), void *arg)
{
	r->closing = true;
	r->closed = closed;
	r->closed_arg = arg;
	io_timer_stop(r->io, &r->timer);
	LIST_EACH_SAFE (l, &r->all) {
		struct group *g = CONTAINER_OF(l, struct group, link_all);
		if (g->state != GROUP_CLOSING) group_close(g, false, NULL);
	}
	io_defer(r->io, &r->task);
}

struct group *raft_group_find(const struct raft_groups *r, uint64_t id) { return map_get(&r->by_id, map_key_u64(&id)); }

bool raft_applying(const struct raft_groups *r, struct raft_index_of *out)
{
	*out = r->applying;
	return out->group != 0;
}

/* ---- delivering ---- */

void group_dirty(struct group *g)
{
	if (g->set->dead) return;
	if (!list_is_linked(&g->link_dirty)) list_push_back(&g->set->dirty, &g->link_dirty);
	if (!list_is_linked(&g->set->task.link)) io_defer(g->set->io, &g->set->task);
}

static void on_task(struct io_task *t)
{
	struct raft_groups *r = CONTAINER_OF(t, struct raft_groups, task);
	struct list round, *l;
	/* What becomes dirty meanwhile waits for the next task: other rooms' tasks come between. */
	list_init(&round);
	list_splice_back(&round, &r->dirty);
	while ((l = list_pop_front(&round))) group_deliver(CONTAINER_OF(l, struct group, link_dirty));
	if (r->closing && list_is_empty(&r->all) && r->closed) {
		void (*closed)(void *arg) = r->closed;
		r->closed = NULL;
		closed(r->closed_arg);
	}
}

/* ---- time ---- */

static void timer_arm(struct raft_groups *r, uint64_t delay_ms)
{
	if (!r->closing) io_timer_start(r->io, &r->timer, MILLIS(delay_ms));
}

static void on_timer(struct io_timer *t)
{
	struct raft_groups *r = CONTAINER_OF(t, struct raft_groups, timer);
	uint64_t now = set_now_ms(r), next = r->options.tick_ms;
	LIST_EACH_SAFE (l, &r->awake) {
		struct group *g = CONTAINER_OF(l, struct group, link_awake);
		group_tick(g);
		if (g->hurry_at_ms) next = u64_min(next, g->hurry_at_ms > now ? g->hurry_at_ms - now : 1);
	}
	if (!list_is_empty(&r->awake)) timer_arm(r, next);
}

void group_wake(struct group *g)
{
	if (g->asleep) {
		g->slept_ms += set_now_ms(g->set) - g->slept_at_ms;
		g->asleep = false;
		g->idle_since_ms = 0;
	}
	if (!list_is_linked(&g->link_awake)) list_push_back(&g->set->awake, &g->link_awake);
	if (!io_timer_is_armed(&g->set->timer))
		timer_arm(g->set, 1 + io_random_u64(g->set->io) % g->set->options.tick_ms);
}

/* Fail-over in the order of a rank that differs from group to group, so that new leaders spread and votes do not split. */
void set_hurry(struct group *g, uint64_t delay_ms)
{
	uint64_t rank = 0, n = g->raft.configuration.n;
	for (unsigned i = 0; i < n; i++)
		if (g->raft.configuration.servers[i].id == g->set->options.self) rank = (i + g->id) % n;
	g->hurry_at_ms = set_now_ms(g->set) + delay_ms + 20 + 40 * rank;
	io_timer_start(g->set->io, &g->set->timer, MILLIS(1)); /* looks how long it may wait */
}

/* ---- what peers' journals take: slots differ, and an entry must fit wherever it counts ---- */

static struct budget *budget_of(struct raft_groups *r, uint64_t peer)
{
	LIST_EACH (l, &r->budgets) {
		struct budget *b = CONTAINER_OF(l, struct budget, link);
		if (b->peer == peer) return b;
	}
	struct budget *b = NEW(struct budget);
	b->peer = peer;
	list_push_back(&r->budgets, &b->link);
	return b;
}

void budget_heard(struct raft_groups *r, uint64_t peer, uint64_t takes_bytes)
{
	budget_of(r, peer)->takes_bytes = takes_bytes;
}

uint64_t budget_takes(struct raft_groups *r, uint64_t peer) { return budget_of(r, peer)->takes_bytes; }

/* What the group has under way counts for each of its voters, as they are now. */
static void budget_members(struct group *g)
{
	const struct raft_configuration *c = &g->raft.configuration;
	struct budget *now[GROUP_MEMBERS_MAX];
	unsigned n = 0;
	for (unsigned i = 0; i < c->n && n < COUNT_OF(now); i++)
		if (c->servers[i].role == RAFT_VOTER && c->servers[i].id != g->set->options.self)
			now[n++] = budget_of(g->set, c->servers[i].id);
	if (n == g->budget_count && memcmp(now, g->budgets, n * sizeof(struct budget *)) == 0) return;
	for (unsigned i = 0; i < g->budget_count; i++) g->budgets[i]->bytes -= g->in_flight_bytes;
	for (unsigned i = 0; i < n; i++) now[i]->bytes += g->in_flight_bytes;
	memcpy(g->budgets, now, n * sizeof(struct budget *));
	g->budget_count = n;
}

enum err budget_admits(struct group *g, uint64_t bytes)
{
	enum err e = OK;
	if (is_off(g, FAULT_bug_slots_untold)) return OK;
	budget_members(g);
	for (unsigned i = 0; i < g->budget_count; i++) {
		const struct budget *b = g->budgets[i];
		if (b->takes_bytes == 0)
			continue; /* not heard of since this process began: it is of no majority so far */
		if (bytes > b->takes_bytes) return ERR_TOO_LARGE;
		if (b->bytes && b->bytes + bytes > b->takes_bytes) e = ERR_FULL;
	}
	return e;
}

void budget_add(struct group *g, size_t bytes)
{
	for (unsigned i = 0; i < g->budget_count; i++) g->budgets[i]->bytes += bytes;
	g->in_flight_bytes += bytes;
	g->set->in_flight_bytes += bytes;
}

void budget_sub(struct group *g, size_t bytes)
{
	for (unsigned i = 0; i < g->budget_count; i++) g->budgets[i]->bytes -= bytes;
	g->in_flight_bytes -= bytes;
	g->set->in_flight_bytes -= bytes;
}

/* ---- peers ---- */

static struct peer_down *peer_down_find(const struct raft_groups *r, uint64_t peer)
{
	LIST_EACH (l, &r->peers_down) {
		struct peer_down *p = CONTAINER_OF(l, struct peer_down, link);
		if (p->id == peer) return p;
	}
	return NULL;
}

bool set_peer_is_down(const struct raft_groups *r, uint64_t peer) { return peer_down_find(r, peer) != NULL; }

void raft_peer_up(struct raft_groups *r, uint64_t peer)
{
	struct peer_down *p = peer_down_find(r, peer);
	if (p) {
		list_remove(&p->link);
		mem_free(p);
	}
	LIST_EACH (l, &r->all) {
		struct group *g = CONTAINER_OF(l, struct group, link_all);
		if (group_server(g, peer)) group_wake(g);
	}
}

void raft_peer_down(struct raft_groups *r, uint64_t peer)
{
	if (!peer_down_find(r, peer)) {
		struct peer_down *p = NEW(struct peer_down);
		p->id = peer;
		list_push_back(&r->peers_down, &p->link);
	}
	LIST_EACH (l, &r->all) {
		struct group *g = CONTAINER_OF(l, struct group, link_all);
		if (!group_server(g, peer)) continue;
		group_wake(g);
		if (!g->leads && group_leader(g) == peer && group_may_vote(g)) set_hurry(g, 0);
	}
}

void raft_unmute(struct raft_groups *r) { r->muted = false; }

/* ---- frames ---- */

struct frame_out *group_frame(struct group *g, enum frame_kind kind, uint64_t to)
{
	frame_begin(g->set->out, kind, g->id, g->set->options.self, to);
	return g->set->out;
}

bool group_send(struct group *g, uint64_t to, enum raft_lane lane)
{
	const struct frame_out *f = g->set->out;
	if (g->vote_durable == g->vote_seq && list_is_empty(&g->held))
		return g->set->links.send(g->set->links.arg, to, f->parts, f->count, lane);
	struct held_frame *h = NEW(struct held_frame);
	h->peer = to;
	h->lane = lane;
	for (unsigned i = 0; i < f->count; i++) buf_append_slice(&h->bytes, f->parts[i]);
	list_push_back(&g->held, &h->link);
	return true;
}

static enum err frame_refused(struct raft_groups *r, uint64_t from, enum err e, const char *why)
{
	diag_count(r->diag, COUNTER_raft_frames_refused);
	uint64_t now = set_now_ms(r);
	if (now >= r->refused_said_ms) {
		r->refused_said_ms = now + SAY_EVERY_MS;
		diag_line(r->diag, DIAG_WARN, "raft frame from=%llx refused: %s (%s)", (unsigned long long)from, why,
			err_name(e));
	}
	return e;
}

enum err raft_frame_in(struct raft_groups *r, uint64_t from, struct slice bytes)
{
	struct frame f;
	const char *why = "";
	enum err e = frame_decode(bytes, &f, &why);
	if (e == OK && f.from != from) e = ERR_DENIED, why = "sent in another's name";
	if (e == OK && (f.from == r->options.self || f.to != r->options.self))
		e = ERR_DENIED, why = "not for this replica";
	if (e != OK) return frame_refused(r, from, e, why);
	struct group *g = raft_group_find(r, f.group);
	if (!g) return ERR_NOT_FOUND; /* S18: a frame never makes a group */
	guard_frame(g, &f);
	return OK;
}
