/* SPDX-License-Identifier: Apache-2.0 */
/* log_actor — the software of a simulated machine: a log, an owner with a little machine for each of its groups, and a timer that does
 * something at random every now and then. It plays both sides that the log stands between: the raft group (log_raft.c) and the stream
 * above it (log_owner.c).
 *
 * Whatever it tells the log it tells the model first; whatever the log tells it goes to the oracle. */
#include <stdio.h>

#include "log_sim.h"

/* ---- requests ---- */

struct actor_req {
	struct log_req req;
	struct list link;
	struct actor *actor;
	uint64_t number, op_id;
};

static void req_done(struct log_req *req)
{
	struct actor_req *r = CONTAINER_OF(req, struct actor_req, req);
	struct actor *a = r->actor;
	struct world *w = a->world;
	if (r->number != a->req_expected)
		accuse(w, VERDICT_WRONG, "request %llu was answered, but %llu was submitted before it",
			(unsigned long long)r->number, (unsigned long long)a->req_expected);
	a->req_expected = r->number + 1;
	w->acked_op = u64_max(w->acked_op, r->op_id);
	a->last_progress_ns = sim_now_ns(w->sim);
	list_remove(&r->link);
	mem_free(r);
}

struct log_req *actor_req(struct actor *a)
{
	struct actor_req *r = NEW(struct actor_req);
	r->req.done = req_done;
	r->actor = a;
	r->number = a->req_next++;
	r->op_id = a->world->op_id;
	list_push_back(&a->reqs, &r->link);
	return &r->req;
}

struct model_op *actor_op(struct owner *o, struct model_op op)
{
	op.id = ++o->actor->world->op_id;
	return model_op_add(owner_model(o), op);
}

/* ---- the process as a whole ---- */

struct settle_wait {
	struct log_req req;
	struct list link;
	struct actor *actor;
};

static void settle_waited(struct log_req *req)
{
	struct settle_wait *x = CONTAINER_OF(req, struct settle_wait, req);
	x->actor->last_progress_ns = sim_now_ns(x->actor->world->sim);
	list_remove(&x->link);
	mem_free(x);
}

static bool act_settle(struct owner *unused)
{
	struct actor *a = unused->actor;
	struct settle_wait *x = NEW(struct settle_wait);
	x->req.done = settle_waited;
	x->actor = a;
	list_push_back(&a->settles, &x->link);
	log_settle_now(a->log, &x->req);
	return true;
}

static enum sim_crash crash_kind(struct world *w) { return world_chance(w, 50) ? SIM_KILL : SIM_POWER; }

static bool act_crash(struct owner *unused)
{
	struct world *w = unused->actor->world;
	sim_node_crash(w->node, crash_kind(w));
	return true;
}

static bool act_crash_later(struct owner *unused)
{
	struct world *w = unused->actor->world;
	uint64_t calls = 1 + world_below(w, 120);
	sim_disk_crash_at(w->node, calls, SIM_SOMETIME, crash_kind(w));
	return true;
}

/* Between any two steps of the round that is under way, or while the next one asks, if it does that in slices. */
static bool act_crash_in_round(struct owner *unused)
{
	struct actor *a = unused->actor;
	struct world *w = a->world;
	if (a->log->settle.phase == ROUND_IDLE) return a->dies_asking = world_chance(w, 40);
	uint64_t calls = 1 + world_below(w, 8);
	sim_disk_crash_at(w->node, calls, SIM_SOMETIME, crash_kind(w));
	return true;
}

static void actor_closed(void *arg)
{
	struct actor *a = arg;
	struct world *w = a->world;
	if (!list_is_empty(&a->reqs) || !list_is_empty(&a->reads) || !list_is_empty(&a->settles))
		accuse(w, VERDICT_WEDGE, "the log is closed, and requests were not answered");
	a->is_over = true;
	w->is_clean = true;
	w->acked_op = w->op_id;
	world_count(w, "log closed");
	sim_node_crash(w->node, crash_kind(w));
}

static void actor_close(struct actor *a)
{
	a->is_closing = true;
	for (unsigned i = 0; i < a->world->groups_count; i++)
		if (a->owners[i].refill) refill_wake(&a->owners[i]);
	log_close(a->log, actor_closed, a);
}

static bool act_close(struct owner *unused)
{
	actor_close(unused->actor);
	return true;
}

static bool act_idle(struct owner *unused)
{
	struct actor *a = unused->actor;
	a->idle_ns = MILLIS(20 + world_below(a->world, 200));
	return true;
}

static bool act_damage(struct owner *unused)
{
	damage_running(unused->actor);
	return true;
}

/* ---- one thing after the other ---- */

static const struct act {
	const char *name;
	unsigned weight;
	bool is_of_group;
	bool (*act)(struct owner *o); /* false: not possible now */
} acts[] = {
	{ "append", 420, true, act_append },
	{ "commit", 170, true, act_commit },
	{ "apply", 150, true, act_apply },
	{ "vote", 30, true, act_vote },
	{ "truncate", 25, true, act_truncate },
	{ "trim", 12, true, act_trim },
	{ "stall", 12, true, act_stall },
	{ "read", 60, true, act_read },
	{ "view", 30, true, act_view },
	{ "heal", 60, true, act_heal },
	{ "install", 8, true, refill_start },
	{ "make", 12, false, act_make },
	{ "gone", 5, true, act_gone },
	{ "settle", 18, false, act_settle },
	{ "idle", 10, false, act_idle },
	{ "close", 3, false, act_close },
	{ "crash", 9, false, act_crash },
	{ "crash later", 16, false, act_crash_later },
	{ "crash in a round", 8, false, act_crash_in_round },
	{ "damage", 14, false, act_damage },
};

static struct owner *owner_draw(struct actor *a)
{
	unsigned live = actor_groups_live(a);
	if (live == 0) return NULL;
	uint64_t n = world_below(a->world, live);
	for (unsigned i = 0;; i++)
		if (a->owners[i].g && n-- == 0) return &a->owners[i];
}

static void actor_act(struct actor *a)
{
	struct world *w = a->world;
	unsigned all = 0;
	for (size_t i = 0; i < COUNT_OF(acts); i++) all += acts[i].weight;
	uint64_t n = world_below(w, all);
	size_t at = 0;
	while (n >= acts[at].weight) n -= acts[at++].weight;
	struct owner *o = acts[at].is_of_group ? owner_draw(a) : &a->owners[0];
	if (!o) {
		(void)act_make(&a->owners[0]);
		return;
	}
	bool done = acts[at].act(o);
	note(w, "op %u %s group %u%s", w->ops_done, acts[at].name, o->at, done ? "" : ": not now");
}

/* ---- the end of a history: everything becomes whole, or the log is wedged ---- */

static bool drain_owner(struct owner *o)
{
	struct model_group *m = owner_model(o);
	struct world *w = o->actor->world;
	if (!o->g) return true;
	if (o->refill) (void)refill_start(o);
	if (o->refill || o->is_frozen || o->is_applying) return false;
	if (w->is_doubted[o->at]) {
		(void)owner_heal(o);
		return false;
	}
	o->is_stalled = false;
	if (!owner_follows_truth(o)) return false;
	if (m->now.log.last < m->truth.last) {
		/* What is here and committed is told as such meanwhile, as any leader would. */
		if (!owner_append_truth(o) && m->commit_now < m->now.log.last) {
			m->commit_now = m->now.log.last;
			m->commit_told = u64_max(m->commit_told, m->commit_now);
			log_commit(o->g, m->commit_now);
		}
		if (m->commit_now > o->machine.index) owner_apply(o, m->commit_now);
		return false;
	}
	if (m->commit_now < m->now.log.last) {
		(void)act_commit(o);
		return false;
	}
	if (o->machine.index < m->commit_now) {
		owner_apply(o, m->commit_now);
		return false;
	}
	return true;
}

static void actor_drain(struct actor *a)
{
	struct world *w = a->world;
	bool is_whole = true;
	for (unsigned i = 0; i < w->groups_count; i++) is_whole &= drain_owner(&a->owners[i]);
	if (!is_whole) return;
	/* The ring has room again, and what is asked for is answered. */
	if (log_admit(a->log, LOG_ADMIT_GROWS, w->body_max) != OK) return;
	if (a->drained++ < 3) {
		(void)act_settle(&a->owners[0]);
		for (unsigned i = 0; i < w->groups_count; i++)
			if (a->owners[i].g) (void)act_append(&a->owners[i]);
		return;
	}
	if (list_is_empty(&a->settles)) actor_close(a);
}

static void actor_tick(struct io_timer *t)
{
	struct actor *a = CONTAINER_OF(t, struct actor, tick);
	struct world *w = a->world;
	if (a->is_closing || a->is_over) return;
	a->idle_ns = 0;
	if (!w->is_draining && w->ops_done >= w->options.ops) {
		w->is_draining = true;
		damage_all_well(w);
	}
	actor_complete(a);
	if (w->is_draining) {
		actor_drain(a);
	} else {
		w->ops_done++;
		actor_act(a);
	}
	if (sim_node_state(w->node) != SIM_UP || a->is_closing) return;
	uint64_t delay = w->is_draining ? MILLIS(5) : world_chance(w, 40) ? 0 : world_below(w, MILLIS(1));
	io_timer_start(a->io, &a->tick, u64_max(delay, a->idle_ns));
}

const char *actor_waits_for(const struct actor *a)
{
	const struct world *w = a->world;
	if (!a->log) return "the start";
	if (a->is_closing) return "the log to close";
	for (unsigned i = 0; i < w->groups_count; i++) {
		const struct owner *o = &a->owners[i];
		if (!o->g) continue;
		if (o->refill) return "an install";
		if (w->is_doubted[i]) return "a doubt to end";
		if (o->is_applying) return "a read";
	}
	if (log_admit(a->log, LOG_ADMIT_GROWS, w->body_max) != OK) return "room in the ring";
	if (!list_is_empty(&a->settles)) return "a settle round";
	return "its owners";
}

/* ---- life ---- */

static void actor_line(void *arg, enum diag_level level, const char *line, size_t n)
{
	(void)level;
	note(arg, "%.*s", (int)n, line);
}

static void actor_turn(struct io_turn_hook *h)
{
	struct actor *a = CONTAINER_OF(h, struct actor, hook);
	if (a->is_over) return;
	log_turn_end(a->log);
	struct world *w = a->world;
	if (a->dies_asking && a->log->settle.phase == ROUND_ASK && !w->is_draining)
		sim_node_crash(w->node, crash_kind(w));
}

static void actor_free(struct actor *a)
{
	struct list *node;
	log_free(a->log);
	while ((node = list_pop_front(&a->reqs)) != NULL) mem_free(CONTAINER_OF(node, struct actor_req, link));
	while ((node = list_pop_front(&a->reads)) != NULL) mem_free(CONTAINER_OF(node, struct actor_read, link));
	while ((node = list_pop_front(&a->settles)) != NULL) mem_free(CONTAINER_OF(node, struct settle_wait, link));
	for (unsigned i = 0; i < WORLD_GROUPS_MAX; i++) {
		refill_drop(&a->owners[i]);
		machine_deinit(&a->owners[i].machine);
	}
	diag_deinit(&a->diag);
	a->world->actor = NULL;
	mem_free(a);
}

static enum err actor_start(void *arg, struct sim_node *n, struct io *io, void **software)
{
	struct world *w = arg;
	(void)n;
	struct actor *a = NEW(struct actor);
	a->world = w;
	a->io = io;
	list_init(&a->reqs);
	list_init(&a->reads);
	list_init(&a->settles);
	diag_init(&a->diag, w->options.is_traced ? DIAG_DEBUG : DIAG_ERROR, actor_line, w);
	for (unsigned i = 0; i < WORLD_GROUPS_MAX; i++) {
		a->owners[i].actor = a;
		a->owners[i].at = i;
	}
	if (w->options.bug && diag_fault_set(&a->diag, slice_of_str(w->options.bug), SLICE("always")) != OK)
		UNREACHABLE();
	w->actor = a;
	w->open_why[0] = '\0';
	enum err e = log_open(io, &a->diag, &w->log, &a->log, w->open_why, sizeof w->open_why);
	if (e == OK) ends_start(a);
	if (e == OK && w->is_newer) accuse(w, VERDICT_WRONG, "a store of a higher format level was opened");
	if (e == OK && !oracle_start(a)) e = ERR_CRASHED;
	w->open_error = e;
	if (e != OK) {
		actor_free(a);
		return e;
	}
	a->last_progress_ns = sim_now_ns(w->sim);
	a->hook.turn_end = actor_turn;
	io_turn_hook_add(io, &a->hook);
	a->tick.fire = actor_tick;
	io_timer_start(io, &a->tick, world_below(w, MILLIS(1)));
	*software = a;
	return OK;
}

static void actor_teardown(void *software)
{
	struct actor *a = software;
	struct world *w = a->world;
	ends_count(a);
	static const struct {
		enum counter c;
		const char *name;
	} counts[] = {
		{ COUNTER_log_slots_freed, "log slot recycled" },
		{ COUNTER_log_rounds, "log round" },
		{ COUNTER_log_rounds_failed, "log round given up" },
		{ COUNTER_log_entries_settled, "log entry settled" },
		{ COUNTER_log_entries_dead, "log entry left out" },
		{ COUNTER_log_entries_moved, "log entry moved" },
		{ COUNTER_log_segments_dropped, "log segment dropped" },
		{ COUNTER_log_segments_rewritten, "log segment rewritten" },
		{ COUNTER_log_installs, "log install" },
	};
	for (size_t i = 0; i < COUNT_OF(counts); i++)
		for (uint64_t n = a->diag.counter[counts[i].c]; n; n--) world_count(w, counts[i].name);
	actor_free(a);
}

const struct sim_program actor_program = { actor_start, actor_teardown };
