/* SPDX-License-Identifier: Apache-2.0 */
/* group — one replica: how it opens, what role it has, how committed entries reach its owner, how it ends.
 *
 * Happy path: group_open restores the owner and applies what is known to be committed → instance_start loads libraft from exactly
 * there → events call into the library, each followed by group_after (roles, commits: at once) → at the end of the event
 * group_deliver tells the owner (apply, lead, completions). When libraft must forget something that it cannot forget by itself (a
 * configuration cut off: G8; an install; its own failure), the instance is closed and loaded anew from the durable state. */
#include <stdio.h>

#include "group.h"

static const uint8_t at_key[] = { 0, 'a', 't' };
const struct slice group_at_key = { at_key, sizeof at_key };

/* ---- operations that end later ---- */

void async_add(struct group *g, struct async *a, void (*destroy)(struct async *a))
{
	a->g = g;
	a->destroy = destroy;
	list_push_back(&g->asyncs, &a->link);
}

void async_remove(struct async *a)
{
	list_remove(&a->link);
	group_dirty(a->g); /* a closing group waits for this */
}

/* ---- the state's own key: which index the stored state is of ---- */

void group_at_encode(const struct group *g, struct buf *out)
{
	buf_append_le64(out, g->applied);
	buf_append_le64(out, g->applied_term);
	buf_append_le64(out, g->conf_index);
	buf_append_slice(out, buf_slice(&g->conf));
}

bool group_at_decode(struct slice value, struct group_at *out)
{
	struct members m;
	if (value.n < 24) return false;
	*out = (struct group_at) { le64_get(value.p), le64_get(value.p + 8), le64_get(value.p + 16),
		slice_from(value, 24) };
	return members_decode(out->conf, &m) == OK;
}

/* ---- what the log asks ---- */

static bool on_entry_is_dead(void *owner, const struct entry_head *e, uint64_t seq_before)
{
	struct group *g = owner;
	/* A follower is being refilled with the state of `pin` and needs every entry behind it afterwards. */
	if (g->pin && e->index > g->pin) return false;
	return g->ops->entry_is_dead(g->owner, e, seq_before);
}

static void on_capture(void *owner, struct state_batch *batch)
{
	struct group *g = owner;
	struct buf at = { 0 };
	g->ops->capture(g->owner, batch);
	group_at_encode(g, &at);
	state_batch_put(batch, group_at_key, buf_slice(&at));
	buf_deinit(&at);
}

static void on_settled(void *owner, uint64_t index)
{
	struct group *g = owner;
	g->ops->settled(g->owner, index);
}

static unsigned on_live_permille(void *owner, uint64_t first, uint64_t last)
{
	struct group *g = owner;
	return g->ops->live_permille(g->owner, first, last);
}

/* S15. An entry from which something was erased is a hole to backfill: while a follower is being refilled that waits. */
static uint64_t on_erase_next(void *owner, uint64_t from, uint64_t to)
{
	struct group *g = owner;
	uint64_t seq = g->ops->erase_next ? g->ops->erase_next(g->owner, from, to) : 0;
	if (!seq || !g->pin) return seq;
	g->erases_all = false;
	return 0;
}

static void on_erasing(void *owner)
{
	struct group *g = owner;
	g->erases_all = true;
	if (g->ops->erasing) g->ops->erasing(g->owner);
}

static void on_erased(void *owner)
{
	struct group *g = owner;
	if (!g->erases_all)
		log_erase(g->log);
	else if (g->ops->erased)
		g->ops->erased(g->owner);
}

void group_erase(struct group *g)
{
	if (g->log && g->state == GROUP_RUNNING) log_erase(g->log);
}

bool group_is_sole_voter(const struct group *g)
{
	struct members m;
	if (g->conf.n == 0 && g->in_doubt) return g->set->options.alone;
	if (members_decode(buf_slice(&g->conf), &m) != OK) return false;
	const struct raft_member *self = members_find(&m, g->set->options.self);
	return self && self->role == RAFT_VOTER && members_voters(&m) == 1;
}

static void on_doubted(void *owner)
{
	struct group *g = owner;
	diag_line(g->set->diag, DIAG_ERROR, "raft group=%s is in doubt: %s", log_group_label(g->log),
		log_group_doubt(g->log));
	doubt_look(g);
	if (group_is_sole_voter(g)) {
		doubt_stop(g);
		return;
	}
	group_wake(g);
	group_step_down(g);
}

static const struct log_group_ops log_ops = {
	.entry_is_dead = on_entry_is_dead,
	.capture = on_capture,
	.settled = on_settled,
	.live_permille = on_live_permille,
	.doubted = on_doubted,
	.erase_next = on_erase_next,
	.erasing = on_erasing,
	.erased = on_erased,
};

void group_log_attach(struct group *g) { log_group_attach(g->log, &log_ops, g); }

/* ---- birth ---- */

static struct group *group_new(struct raft_groups *r, uint64_t id, const struct group_ops *ops, void *owner)
{
	struct group *g = NEW(struct group);
	g->set = r;
	g->id = id;
	g->ops = ops;
	g->owner = owner;
	list_init(&g->asyncs);
	list_init(&g->gets);
	list_init(&g->writes);
	list_init(&g->held);
	list_init(&g->changes);
	list_init(&g->followers);
	list_init(&g->finished);
	list_init(&g->barriers_waiting);
	list_init(&g->barriers_reading);
	list_init(&g->barriers_finished);
	list_init(&g->changes_finished);
	list_push_back(&r->all, &g->link_all);
	r->group_count++;
	return g;
}

void group_release(struct group *g)
{
	struct list *l;
	followers_reset(g);
	while ((l = list_first(&g->asyncs))) {
		struct async *a = CONTAINER_OF(l, struct async, link);
		list_remove(l);
		a->destroy(a);
	}
	while ((l = list_pop_front(&g->writes))) mem_free(CONTAINER_OF(l, struct write, link));
	held_free(g);
	changes_truncate(g, 0);
	mem_free(g->sent);
	buf_deinit(&g->tail);
	buf_deinit(&g->conf);
	list_remove_if_linked(&g->link_awake);
	list_remove_if_linked(&g->link_dirty);
	list_remove(&g->link_all);
	g->set->group_count--;
	mem_free(g);
}

void group_set_conf(struct group *g, struct slice conf, uint64_t index)
{
	struct buf copy = { 0 };
	buf_append_slice(&copy, conf);
	buf_deinit(&g->conf);
	g->conf = copy;
	g->conf_index = index;
}

/* ---- the instance ---- */

static void instance_closed(struct raft *raft) { (void)raft; }

void instance_stop(struct group *g)
{
	if (!g->live) return;
	g->live = false;
	raft_close(&g->raft, instance_closed); /* port_close completes everything at once */
	g->library_bytes = 0;
	if (g->leads) {
		g->leads = false;
		followers_reset(g);
		propose_lost(g);
		member_lost(g);
	}
	group_dirty(g);
}

void instance_reopen(struct group *g)
{
	instance_stop(g);
	g->reopening = true;
	g->loading = false;
	diag_count(g->set->diag, COUNTER_raft_reopened);
	group_dirty(g);
}

void instance_start(struct group *g)
{
	struct raft_groups *r = g->set;
	const struct raft_options *o = &r->options;
	g->loading = false;
	port_init(g);
	int rv = raft_init(&g->raft, &g->io, &g->fsm, o->self, g->address);
	ASSERT(rv == 0);
	raft_set_election_timeout(&g->raft, o->election_ms);
	raft_set_heartbeat_timeout(&g->raft, o->heartbeat_ms);
	raft_set_install_snapshot_timeout(&g->raft, 2 * o->heartbeat_ms);
	raft_set_max_catch_up_round_duration(&g->raft, 4 * o->election_ms);
	g->live = true;
	raft_set_pre_vote(&g->raft, !o->no_pre_vote);
	rv = raft_start(&g->raft);
	if (rv != 0) {
		group_stop(g, GROUP_BROKEN, "libraft does not start: %s", raft_errmsg(&g->raft));
		return;
	}
	g->state = GROUP_RUNNING;
	g->role_term = g->raft.current_term;
	group_wake(g);
	/* A group that is being born has no leader to wait for. */
	if (g->last == 0 && group_voters(g) > 1) set_hurry(g, 0);
	group_after(g);
}

void group_stop(struct group *g, enum group_state state, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(g->trouble, sizeof g->trouble, fmt, ap);
	va_end(ap);
	diag_line(g->set->diag, DIAG_ERROR, "raft group=%s stopped: %s", log_group_label(g->log), g->trouble);
	g->state = state;
	g->reopening = false;
	instance_stop(g);
	group_dirty(g);
}

uint64_t group_term_at(const struct group *g, uint64_t index)
{
	if (index == 0) return 0;
	if (index == g->applied) return g->applied_term;
	if (g->live && index == g->base) return g->base_term;
	return index <= g->last ? log_term_at(g->log, index) : 0;
}

const struct raft_server *group_server(const struct group *g, uint64_t id)
{
	const struct raft_configuration *c = &g->raft.configuration;
	for (unsigned i = 0; g->live && i < c->n; i++)
		if (c->servers[i].id == id) return &c->servers[i];
	return NULL;
}

unsigned group_voters(const struct group *g)
{
	unsigned n = 0;
	for (unsigned i = 0; g->live && i < g->raft.configuration.n; i++)
		n += g->raft.configuration.servers[i].role == RAFT_VOTER;
	return n;
}

/* ---- roles ---- */

static void noop_done(struct raft_barrier *b, int status)
{
	(void)b;
	(void)status;
}

/* G1: a term begins with an entry of its own, before anything else is sent. */
static void noop_propose(struct group *g)
{
	if (is_off(g, FAULT_bug_g1_no_noop)) {
		g->noop_term = g->role_term;
		g->noop_index = 0;
		return;
	}
	if (log_admit(g->set->log, LOG_ADMIT_RESERVED, entry_bytes(64)) != OK) return; /* the next tick tries again */
	g->noop_term = g->role_term;
	g->noop_index = raft_last_index(&g->raft) + 1;
	if (raft_barrier(&g->raft, &g->noop, noop_done) != 0) g->noop_term = 0;
}

static void role_watch(struct group *g)
{
	bool leads = raft_state(&g->raft) == RAFT_LEADER;
	if (g->leads && (!leads || g->role_term != g->raft.current_term)) {
		g->leads = false;
		followers_reset(g);
		propose_lost(g);
		member_lost(g);
		port_writes_fire(g); /* the gate is open now */
	}
	if (leads && !g->leads) {
		g->leads = true;
		g->noop_term = 0;
		followers_reset(g);
		diag_count(g->set->diag, COUNTER_raft_elections);
		diag_trace(g->set->diag, "raft leads", g->id, g->raft.current_term, g->last);
	}
	g->role_term = g->raft.current_term;
	if (g->leads && g->noop_term != g->role_term) noop_propose(g);
}

void group_watch(struct group *g)
{
	if (!g->live) return;
	if (raft_state(&g->raft) == RAFT_UNAVAILABLE) {
		diag_count(g->set->diag, COUNTER_raft_gave_up);
		diag_line(g->set->diag, DIAG_WARN, "raft group=%s libraft gave up (%s), loading it anew",
			log_group_label(g->log), raft_errmsg(&g->raft));
		instance_reopen(g);
		return;
	}
	role_watch(g);
	if (g->raft.commit_index > g->committed) {
		g->committed = g->raft.commit_index;
		log_commit(g->log, g->committed);
	}
}

void group_after(struct group *g)
{
	group_watch(g);
	group_dirty(g);
}

void group_step_down(struct group *g)
{
	if (!g->live || raft_state(&g->raft) != RAFT_LEADER) return;
	const struct raft_server *other = NULL;
	for (unsigned i = 0; i < g->raft.configuration.n; i++)
		if (g->raft.configuration.servers[i].id != g->set->options.self)
			other = &g->raft.configuration.servers[i];
	if (!other) return;
	diag_count(g->set->diag, COUNTER_raft_step_downs);
	struct raft_message m = {
		.type = RAFT_IO_APPEND_ENTRIES_RESULT, .server_id = other->id, .server_address = other->address
	};
	m.append_entries_result.term = g->raft.current_term + 1;
	guard_deliver(g, &m);
}

/* ---- time ---- */

static bool may_tick(struct group *g)
{
	if (raft_state(&g->raft) == RAFT_LEADER) return true;
	if (!group_may_vote(g)) return false;
	if (raft_state(&g->raft) == RAFT_CANDIDATE && set_now_ms(g->set) < g->way_until_ms) return false; /* G15 */
	/* G5: a candidate whose appends or configuration are still on their way to the disk loses them. */
	if (g->appending && raft_state(&g->raft) == RAFT_FOLLOWER && !is_off(g, FAULT_bug_g5_busy_candidate))
		return false;
	/* A campaign needs votes and a first entry on disk. */
	return log_admit(g->set->log, LOG_ADMIT_RESERVED, 4 * KIB) == OK;
}

static void hurry(struct group *g, uint64_t now)
{
	uint64_t leader = group_leader(g);
	g->hurry_at_ms = 0;
	if (g->leads || (leader && !set_peer_is_down(g->set, leader))) return;
	g->ahead_ms += 2 * (uint64_t)g->set->options.election_ms;
	/* Others of a group being born may not have it yet: again, later and later. */
	if (g->last == 0)
		set_hurry(g, g->hurry_step_ms = u64_min(2 * g->hurry_step_ms + 50, g->set->options.election_ms));
	(void)now;
}

static bool is_idle(struct group *g)
{
	if (!g->leading || g->change || g->reading || !list_is_empty(&g->writes) ||
		!list_is_empty(&g->barriers_waiting))
		return false;
	if (g->applied != raft_last_index(&g->raft) || g->applied != g->raft.commit_index ||
		!list_is_empty(&g->finished))
		return false;
	for (unsigned i = 0; i < g->raft.configuration.n; i++) {
		const struct raft_server *s = &g->raft.configuration.servers[i];
		if (s->id == g->set->options.self) continue;
		struct follower *f = follower_find(g, s->id);
		if (s->role == RAFT_SPARE || !f || f->match != g->last || set_peer_is_down(g->set, s->id)) return false;
	}
	return true;
}

static void fall_asleep(struct group *g)
{
	g->asleep = true;
	g->slept_at_ms = set_now_ms(g->set);
	g->idle_since_ms = 0;
	list_remove_if_linked(&g->link_awake);
	diag_count(g->set->diag, COUNTER_raft_slept);
}

/* Nothing outstanding for some heartbeats: everybody sleeps, until anything happens. */
static void sleep_step(struct group *g, uint64_t now)
{
	const struct raft_options *o = &g->set->options;
	if (o->sleep_beats == 0 || !is_idle(g)) {
		g->idle_since_ms = 0;
		return;
	}
	if (!g->idle_since_ms) g->idle_since_ms = now;
	if (now - g->idle_since_ms < (uint64_t)o->sleep_beats * o->heartbeat_ms) return;
	for (unsigned i = 0; i < g->raft.configuration.n; i++) {
		uint64_t id = g->raft.configuration.servers[i].id;
		if (id == o->self) continue;
		struct frame_out *f = group_frame(g, FRAME_SLEEP, id);
		frame_u64(f, g->role_term);
		frame_u64(f, g->last);
		frame_end(f);
		(void)group_send(g, id, RAFT_LANE_FRAMES);
	}
	fall_asleep(g);
}

void group_slept(struct group *g, const struct frame_sleep *s, uint64_t from)
{
	bool whole = g->live && raft_state(&g->raft) == RAFT_FOLLOWER && s->term == g->raft.current_term &&
		     group_leader(g) == from;
	if (!whole || g->asleep || g->in_doubt || g->install || !list_is_empty(&g->writes)) return;
	if (s->last_index == g->last && g->applied == g->last) fall_asleep(g);
}

void group_tick(struct group *g)
{
	if (!g->live) {
		if (g->install) install_tick(g);
		return;
	}
	uint64_t now = set_now_ms(g->set);
	if (g->hurry_at_ms && now >= g->hurry_at_ms) hurry(g, now);
	if (may_tick(g)) {
		g->tick(&g->io);
		group_after(g);
	}
	if (g->install) install_tick(g);
	if (g->live) guard_tick(g);
	if (!g->live || !g->leads) return;
	LIST_EACH_SAFE (l, &g->followers) {
		struct follower *f = CONTAINER_OF(l, struct follower, link);
		backfill_tick(g, f);
		refill_tick(g, f);
	}
	if (g->change) group_dirty(g);
	sleep_step(g, now);
}

/* ---- towards the owner ---- */

static void lead_withdraw(struct group *g)
{
	if (!g->leading || (g->leads && g->role_term == g->leading_term)) return;
	g->leading = false;
	if (g->state != GROUP_CLOSING) g->ops->lead(g->owner, false, g->leading_term);
}

static void lead_announce(struct group *g)
{
	if (!g->live || !g->leads || g->leading || g->in_doubt) return;
	if (g->noop_term != g->role_term || g->applied < g->noop_index) return;
	g->leading = true;
	g->leading_term = g->role_term;
	g->ops->lead(g->owner, true, g->leading_term);
}

static void close_step(struct group *g)
{
	if (!list_is_empty(&g->writes) || !list_is_empty(&g->asyncs)) return;
	void (*closed)(void *owner) = g->closed;
	void *owner = g->owner;
	group_release(g);
	if (closed) closed(owner);
}

void group_deliver(struct group *g)
{
	lead_withdraw(g);
	if (g->live) port_sends_complete(g, 0);
	if (g->live) apply_committed(g);
	if (g->live) port_snapshots_complete(g);
	group_watch(g);
	lead_withdraw(g);
	lead_announce(g);
	if (g->live) member_step(g);
	if (g->live) doubt_step(g);
	if (g->live) barriers_start(g);
	propose_finish(g);
	member_finish(g);
	reopen_step(g);
	if (g->state == GROUP_CLOSING) close_step(g);
}

/* ---- the door: life ---- */

enum err owner_load_now(
	const struct raft_groups *r, uint64_t group, uint64_t index, const struct group_ops *ops, void *owner)
{
	struct group_load l = { log_state(r->log), group, index, io_random_u64(r->io), NULL, false };
	struct log_group_info info;
	log_group_info(log_group_find(r->log, group), &info);
	l.is_partial = info.state_lost;
	enum err e = ops->load(&l);
	if (e == OK) e = ops->take(owner, &l);
	ops->drop(&l);
	if (e != OK)
		diag_line(r->diag, DIAG_ERROR, "raft group=%s the stored state of index %llu cannot be loaded: %s",
			log_group_label(log_group_find(r->log, group)), (unsigned long long)index, err_text(e));
	return e;
}

enum err group_open(struct raft_groups *r, uint64_t id, const struct group_ops *ops, void *owner, struct group **out)
{
	struct log_group *lg = log_group_find(r->log, id);
	if (!lg) return ERR_NOT_FOUND;
	if (raft_group_find(r, id)) return ERR_EXISTS;
	struct log_group_info info;
	log_group_info(lg, &info);
	enum err e = owner_load_now(r, id, info.state_index, ops, owner);
	if (e != OK) return e;
	struct group *g = group_new(r, id, ops, owner);
	g->log = lg;
	g->term = info.term;
	g->vote = info.vote;
	g->applied = g->told = info.state_index;
	g->applied_term = info.state_term;
	g->committed = info.commit_index;
	group_set_conf(g, info.conf, info.conf_index);
	doubt_open(g);
	e = tail_read_now(g, &info);
	if (e != OK) return group_release(g), e;
	group_log_attach(g);
	map_put(&r->by_id, g);
	if (g->applied > g->committed) log_commit(lg, g->committed = g->applied);
	if (g->applied > info.state_index) tell_applied(g, true);
	*out = g;
	if (g->state == GROUP_QUARANTINED) return OK;
	log_group_info(lg, &info); /* reading may have found more */
	if (!g->in_doubt || !group_is_sole_voter(g)) {
		instance_start(g);
	} else if (info.doubt_votes_only && !g->has_hole) {
		/* Whatever it voted, it voted for itself: nobody else counts. The instance starts when that is recorded. */
		struct write *w = write_new(g, WRITE_DOUBT_END);
		w->seq = g->term;
		w->last = r->options.self;
		log_doubt_end(g->log, g->term, r->options.self, &w->req);
	} else {
		doubt_stop(g);
	}
	return OK;
}

static enum err first_conf(const struct group_member *members, unsigned count, struct buf *out)
{
	struct members m = { 0 };
	if (count > GROUP_MEMBERS_MAX) return ERR_INVALID;
	for (unsigned i = 0; i < count; i++) {
		if (members[i].id == 0 || members_find(&m, members[i].id)) return ERR_INVALID;
		m.at[m.count++] = (struct raft_member) { members[i].id,
			members[i].role == GROUP_VOTER ? RAFT_VOTER : RAFT_STANDBY };
	}
	if (count && members_voters(&m) == 0) return ERR_INVALID;
	members_encode(&m, out);
	return OK;
}

enum err group_make(struct raft_groups *r, uint64_t id, const struct group_member *members, unsigned count,
	const struct group_ops *ops, void *owner, struct group **out)
{
	struct buf conf = { 0 };
	enum err e = raft_group_find(r, id) ? ERR_EXISTS : first_conf(members, count, &conf);
	if (e != OK) return e;
	struct group *g = group_new(r, id, ops, owner);
	struct write *w = write_new(g, WRITE_MAKE);
	e = log_group_make(r->log, id, buf_slice(&conf), &w->req, &g->log);
	if (e == OK) {
		group_set_conf(g, buf_slice(&conf), 0);
		group_log_attach(g);
		map_put(&r->by_id, g);
		*out = g;
		/* A store that lost records of groups makes them in doubt: this one may have been here before (S7, S18). */
		doubt_open(g);
		if (g->in_doubt && group_is_sole_voter(g)) doubt_stop(g);
	} else {
		group_release(g);
	}
	buf_deinit(&conf);
	return e;
}

void group_close(struct group *g, bool gone, void (*closed)(void *owner))
{
	ASSERT(g->state != GROUP_CLOSING);
	g->state = GROUP_CLOSING;
	g->closed = closed;
	g->gone = gone;
	g->reopening = false;
	instance_stop(g);
	install_stop(g);
	accept_stop(g);
	map_del(&g->set->by_id, map_key_u64(&g->id));
	log_group_detach(g->log);
	if (gone) log_group_gone(g->log, &write_new(g, WRITE_GONE)->req);
	group_dirty(g);
}

uint64_t group_id(const struct group *g) { return g->id; }
struct log_group *group_log(const struct group *g) { return g->log; }
