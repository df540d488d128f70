/* SPDX-License-Identifier: Apache-2.0 */
/* raft_sim — groups of replicas under every fault a minority may suffer, and under loss of power on all.
 *
 * A seed: machines boot, groups are made, leaders propose; for a minute faults come and go; then all is healed, and every group must make
 * progress within 15 s and all its voters end with the same history. Oracle: raft_chain.h.
 *
 *   raft_sim [--nodes 3|5] [--groups N] [--seconds N] [--slant N] and what sim_batch.h takes */
#include <inttypes.h>
#include <stdio.h>

#include "sim/raft_disk.h"
#include "sim/raft_slant.h"
#include "sim/sim_batch.h"

struct own {
	struct batch batch;
	unsigned nodes, groups, seconds; /* 0: drawn */
};

struct run {
	struct raft_world w;
	const struct own *own;
	uint64_t faults; /* bit k: faults[k] happens */
	uint64_t before[CHAIN_GROUPS_MAX];
	bool chaos;
};

static uint64_t world_now(void *arg) { return sim_now_ns(arg); }
static uint64_t between(struct raft_world *w, uint64_t low, uint64_t high)
{
	return low + sim_below(w->s, high - low + 1);
}
static bool chance(struct raft_world *w, unsigned percent) { return sim_below(w->s, 100) < percent; }

/* ---- machines ---- */

static bool is_up(const struct raft_machine *m) { return sim_node_state(m->n) == SIM_UP; }

static void machine_boot(void *arg)
{
	struct raft_machine *m = arg;
	enum sim_state st = sim_node_state(m->n);
	if (st == SIM_OFF || st == SIM_DOWN) sim_node_boot(m->n, &raft_node_program, m);
}

static struct raft_node *leader_of(struct raft_world *w, unsigned g)
{
	for (unsigned i = 0; i < w->node_count; i++) {
		struct raft_node *n = is_up(&w->machine[i]) ? raft_node_of(&w->machine[i]) : NULL;
		if (n && n->chain[g].group && n->chain[g].leading) return n;
	}
	return NULL;
}

static unsigned machine_of(const struct raft_world *w, uint64_t id)
{
	for (unsigned i = 0; i < w->node_count; i++)
		if (w->machine[i].raft_id == id) return i;
	return CHAIN_NODES_MAX;
}

static bool is_removed(struct raft_world *w, const struct raft_machine *m, unsigned g)
{
	struct raft_node *n = leader_of(w, g);
	struct group_status s;
	if (!n) return false;
	group_status(n->chain[g].group, &s);
	for (unsigned i = 0; i < s.member_count; i++)
		if (s.member[i].id == m->raft_id) return false;
	return true;
}

/* S11: the replica stands where it must, before an entry whose kind only this machine does not know. */
static bool is_poisoned(const struct raft_machine *m, const struct group_status *s)
{
	return m->world->poison && m->index == 0 && s->state == GROUP_QUARANTINED;
}

/* In doubt anywhere, or not up: not whole. */
static bool is_whole(const struct raft_machine *m)
{
	if (!is_up(m)) return false;
	struct raft_node *n = raft_node_of(m);
	for (unsigned g = 0; g < m->world->group_count; g++) {
		struct group_status s;
		if (!n->chain[g].group || is_removed(m->world, m, g)) continue;
		group_status(n->chain[g].group, &s);
		if (is_poisoned(m, &s)) continue;
		if (s.in_doubt || s.state != GROUP_RUNNING || s.installing) return false;
	}
	return true;
}

static bool any_damaged(const struct raft_world *w)
{
	for (unsigned i = 0; i < w->node_count; i++)
		if (w->machine[i].damaged || !is_whole(&w->machine[i])) return true;
	return false;
}

/* Every group can do without one voter, whichever of the configurations on its replicas comes to hold. */
static bool has_minority(struct raft_world *w)
{
	for (unsigned i = 0; i < w->node_count * w->group_count; i++) {
		unsigned g = i % w->group_count, voters = 0;
		const struct raft_node *n = raft_node_of(&w->machine[i / w->group_count]); /* all are up */
		struct group_status s = { 0 };
		if (!leader_of(w, g) || n->change[g].busy) return false; /* also of a leader that was deposed */
		if (n->chain[g].group) group_status(n->chain[g].group, &s);
		for (unsigned k = 0; k < s.member_count; k++) voters += s.member[k].role == GROUP_VOTER;
		if (s.member_count && voters < 3) return false;
	}
	return true;
}

/* What a meta group would do: groups are made where they belong, and were not before. */
static void meta_step(void *arg)
{
	struct run *r = arg;
	struct raft_world *w = &r->w;
	bool all_known = true;
	for (unsigned i = 0; i < w->node_count; i++) all_known &= w->machine[i].raft_id != 0;
	for (unsigned i = 0; all_known && i < w->node_count; i++) {
		struct raft_machine *m = &w->machine[i];
		if (!is_up(m)) continue;
		struct raft_node *n = raft_node_of(m);
		if (m->damaged && is_whole(m)) m->damaged = false;
		for (unsigned g = 0; g < w->group_count; g++) {
			struct group_status s = { 0 };
			struct group *gr = raft_group_find(&n->groups, g + 1);
			if (!gr && !m->made[g]) raft_node_make(n, g, i < w->voter_count);
			if (!gr && m->made[g] && !m->damaged)
				oracle_violated(&w->oracle, "LOST group %u on node %u", g + 1, i + 1);
			if (gr) group_status(gr, &s);
			if (gr && s.state == GROUP_RUNNING) m->made[g] = true;
		}
	}
	sim_after(w->s, MILLIS(100), meta_step, r);
}

/* ---- faults ---- */

static void power_off(struct raft_world *w, struct raft_machine *m, bool power)
{
	if (!is_up(m) && sim_node_state(m->n) != SIM_BOOTING) return;
	sim_node_crash(m->n, power ? SIM_POWER : SIM_KILL);
	sim_after(w->s, between(w, MILLIS(10), MILLIS(2500)), machine_boot, m);
}

static void fault_kill(struct run *r, struct raft_machine *m)
{
	if (chance(&r->w, 40)) return;
	sim_count(r->w.s, "fault kill");
	power_off(&r->w, m, false);
}

static void fault_power(struct run *r, struct raft_machine *m)
{
	sim_count(r->w.s, "fault power");
	power_off(&r->w, m, true);
}

static void fault_power_all(struct run *r, struct raft_machine *m)
{
	(void)m;
	if (chance(&r->w, 80)) return;
	sim_count(r->w.s, "fault power all");
	for (unsigned i = 0; i < r->w.node_count; i++) power_off(&r->w, &r->w.machine[i], true);
}

static void heal_net(void *arg) { sim_net_heal(((struct raft_world *)arg)->s); }

static void fault_cut(struct run *r, struct raft_machine *m)
{
	struct raft_world *w = &r->w;
	sim_count(w->s, "fault cut");
	enum sim_cut how = chance(w, 60) ? SIM_CUT_STALL : SIM_CUT_RESET;
	for (unsigned i = 0; i < w->node_count; i++) {
		if (i == m->index) continue;
		if (chance(w, 75)) sim_net_cut(w->s, m->n, w->machine[i].n, how);
		if (chance(w, 75)) sim_net_cut(w->s, w->machine[i].n, m->n, how);
	}
	sim_after(w->s, between(w, MILLIS(50), MILLIS(3500)), heal_net, w);
}

static void fault_reset(struct run *r, struct raft_machine *m)
{
	struct raft_machine *o = &r->w.machine[sim_below(r->w.s, r->w.node_count)];
	sim_count(r->w.s, "fault reset");
	if (o != m) sim_net_reset(r->w.s, m->n, o->n);
}

static void fault_pause(struct run *r, struct raft_machine *m)
{
	if (!is_up(m)) return;
	sim_count(r->w.s, "fault pause");
	sim_node_pause(m->n, between(&r->w, MILLIS(50), MILLIS(3000)));
}

static void fault_clock(struct run *r, struct raft_machine *m)
{
	sim_count(r->w.s, "fault clock");
	sim_node_wall_jump(m->n, (int64_t)between(&r->w, 0, SECONDS(7200)) - (int64_t)SECONDS(3600));
}

static void fault_transfer(struct run *r, struct raft_machine *m)
{
	unsigned g = (unsigned)sim_below(r->w.s, r->w.group_count);
	struct raft_node *n = leader_of(&r->w, g);
	if (!n) return;
	sim_count(r->w.s, "fault transfer");
	raft_node_change(n, g, GROUP_TRANSFER, chance(&r->w, 50) ? 0 : m->raft_id);
}

static void fault_member(struct run *r, struct raft_machine *m)
{
	struct raft_world *w = &r->w;
	unsigned g = (unsigned)sim_below(w->s, w->group_count), voters = 0;
	struct raft_node *n = leader_of(w, g);
	if (!n || !m->made[g]) return;
	struct group_status s;
	const struct group_member_status *there = NULL;
	group_status(n->chain[g].group, &s);
	for (unsigned i = 0; i < s.member_count; i++) {
		voters += s.member[i].role == GROUP_VOTER;
		if (s.member[i].id == m->raft_id) there = &s.member[i];
	}
	sim_count(w->s, "fault member");
	if (!there)
		raft_node_change(n, g, GROUP_ADD, m->raft_id);
	else if (there->role != GROUP_VOTER)
		raft_node_change(n, g, chance(w, 80) ? GROUP_PROMOTE : GROUP_REMOVE, m->raft_id);
	else if (voters > (w->is_hurt || any_damaged(w) || w->node_count > 3 ? 3 : 2))
		raft_node_change(n, g, chance(w, 60) ? GROUP_REMOVE : GROUP_DEMOTE, m->raft_id);
}

static void disk_ok(void *arg) { raft_disk_ok(arg); }

static void fault_stall(struct run *r, struct raft_machine *m)
{
	sim_count(r->w.s, "fault stall");
	uint64_t ns = between(&r->w, MILLIS(50), MILLIS(1500));
	raft_disk_stall(m, ns);
	sim_after(r->w.s, ns, disk_ok, m);
}

static void fault_full(struct run *r, struct raft_machine *m)
{
	sim_count(r->w.s, "fault full");
	raft_disk_fill(m);
	sim_after(r->w.s, between(&r->w, MILLIS(100), MILLIS(3000)), disk_ok, m);
}

static void damage_now(void *arg)
{
	struct raft_machine *m = arg;
	if (sim_node_state(m->n) == SIM_OFF) raft_disk_damage(m, m->hurt_group);
}

/* Damage has one victim in a run: what it did may show much later, and the others must be whole then. */
static void fault_damage(struct run *r, struct raft_machine *m)
{
	struct raft_world *w = &r->w;
	if (w->victim == CHAIN_NODES_MAX) w->victim = m->index;
	m = &w->machine[w->victim];
	if (any_damaged(w) || !has_minority(w)) return; /* the first says that all are up */
	unsigned g = (unsigned)sim_below(w->s, w->group_count);
	if (!m->made[g] || chance(w, 50)) return;
	sim_count(w->s, "fault damage");
	m->damaged = w->is_hurt = true;
	m->hurt_group = g;
	power_off(w, m, true);
	sim_after(w->s, MILLIS(1), damage_now, m);
}

static void (*const faults[])(struct run *r, struct raft_machine *m) = { fault_kill, fault_power, fault_power_all,
	fault_cut, fault_cut, fault_reset, fault_pause, fault_clock, fault_transfer, fault_member, fault_stall,
	fault_full, fault_damage };

static void fault_step(void *arg)
{
	struct run *r = arg;
	struct raft_world *w = &r->w;
	if (!r->chaos) return;
	if (w->slant) {
		if (w->slant->step) w->slant->step(w);
		sim_after(w->s, MILLIS(1), fault_step, r);
		return;
	}
	unsigned k = (unsigned)sim_below(w->s, COUNT_OF(faults));
	if (r->faults >> k & 1) faults[k](r, &w->machine[sim_below(w->s, w->node_count)]);
	sim_after(w->s, between(w, MILLIS(100), MILLIS(1200)), fault_step, r);
}

/* ---- a seed ---- */

static void world_open(struct run *r, struct batch *b, uint64_t seed)
{
	struct raft_world *w = &r->w;
	const struct own *st = CONTAINER_OF(b, struct own, batch);
	*r = (struct run) { .own = st };
	w->s = sim_new(seed);
	oracle_init(&w->oracle, world_now, w->s);
	w->node_count = st->nodes ? st->nodes : chance(w, 60) ? 3 : 5;
	w->voter_count = w->node_count == 5 && chance(w, 50) ? 3 : w->node_count;
	w->group_count = st->groups ? st->groups : (unsigned)between(w, 1, 3);
	w->bug = b->bug;
	w->victim = CHAIN_NODES_MAX;
	w->verbose = b->is_traced;
	w->load_ns = chance(w, 6) ? MILLIS(8) : MILLIS(between(w, 30, 160));
	w->payload_max = chance(w, 20) ? 4000 : 200;
	r->faults = chance(w, 40) ? UINT64_MAX
				  : sim_below(w->s, UINT64_MAX); /* some of them only, so that others come more often */
	w->options = (struct raft_options) {
		.heartbeat_ms = 150, .election_ms = 1000, .tick_ms = 50, .recent_bytes_max = 16 * KIB
	};
	w->options.entry_bytes_max = 8 * KIB; /* half of what the smallest slot takes */
	w->options.chunk_bytes_max = w->payload_max < 1000 && chance(w, 30) ? 2 * KIB : 16 * KIB;
	w->options.no_pre_vote = chance(w, 25);
	w->options.sleep_beats = chance(w, 50) ? 5 : 1000000;
	struct sim_net *net = sim_net(w->s);
	net->delay_max_ns = chance(w, 50) ? MILLIS(1) : MILLIS(between(w, 1, chance(w, 20) ? 250 : 60));
	net->split_ppm = 20000;
	net->spike_ppm = 500;
	w->slant = raft_slant_of(b->slant);
	if (w->slant && w->slant->open) w->slant->open(w);
	for (unsigned i = 0; i < w->node_count; i++) {
		struct raft_machine *m = &w->machine[i];
		*m = (struct raft_machine) { .world = w, .index = i, .n = sim_node_new(w->s) };
		raft_disk_new(m);
		sim_node_boot(m->n, &raft_node_program, m);
	}
	sim_after(w->s, MILLIS(1), meta_step, r);
}

static bool is_violated(void *arg) { return ((struct run *)arg)->w.oracle.violation[0] != '\0'; }

static void run_for(struct run *r, uint64_t ns)
{
	if (!is_violated(r)) (void)!sim_run_until(r->w.s, is_violated, r, ns);
}

static void heal(struct run *r)
{
	struct raft_world *w = &r->w;
	r->chaos = false;
	memset(&w->at, 0, sizeof w->at);
	sim_net_heal(w->s);
	for (unsigned i = 0; i < w->node_count; i++) {
		raft_disk_ok(&w->machine[i]);
		machine_boot(&w->machine[i]);
	}
}

static bool has_progressed(void *arg)
{
	struct run *r = arg;
	if (is_violated(r)) return true;
	for (unsigned g = 0; g < r->w.group_count; g++)
		if (r->w.oracle.acked[g] <= r->before[g]) return false;
	return true;
}

/* The same members in the same roles, in any order. */
static bool same_members(const struct group_status *a, const struct group_status *b)
{
	if (a->member_count != b->member_count) return false;
	for (unsigned i = 0; i < a->member_count; i++) {
		bool found = false;
		for (unsigned k = 0; k < b->member_count; k++)
			found |= a->member[i].id == b->member[k].id && a->member[i].role == b->member[k].role;
		if (!found) return false;
	}
	return true;
}

/* Every member of the last configuration has the history of the leader, and the configuration. */
static bool has_converged(void *arg)
{
	struct run *r = arg;
	struct raft_world *w = &r->w;
	if (is_violated(r)) return true;
	for (unsigned g = 0; g < w->group_count; g++) {
		struct raft_node *n = leader_of(w, g);
		struct group_status s;
		if (!n) return false;
		group_status(n->chain[g].group, &s);
		for (unsigned i = 0; i < s.member_count; i++) {
			unsigned m = machine_of(w, s.member[i].id);
			if (m >= w->node_count || !is_up(&w->machine[m])) return false;
			struct chain *c = &raft_node_of(&w->machine[m])->chain[g];
			struct group_status theirs = { 0 };
			if (c->group) group_status(c->group, &theirs);
			if (c->group && is_poisoned(&w->machine[m], &theirs)) continue;
			if (!c->group || c->index < r->before[g] || !is_whole(&w->machine[m])) return false;
			if (!same_members(&s, &theirs)) return false;
		}
	}
	return true;
}

static void describe(struct run *r)
{
	struct raft_world *w = &r->w;
	for (unsigned i = 0; i < w->node_count; i++) {
		(void)printf("  node %u id %llx state %d%s\n", i + 1, (unsigned long long)w->machine[i].raft_id,
			sim_node_state(w->machine[i].n), w->machine[i].damaged ? " damaged" : "");
		if (is_up(&w->machine[i])) {
			const struct raft_node *n = raft_node_of(&w->machine[i]);
			(void)printf("    log pressure %u, admits %s %s %s; moved %llu entries in %llu rounds, "
				     "stripped %llu appends\n",
				log_pressure_permille(n->log), err_name(log_admit(n->log, LOG_ADMIT_GROWS, 1000)),
				err_name(log_admit(n->log, LOG_ADMIT_FREES, 1000)),
				err_name(log_admit(n->log, LOG_ADMIT_RESERVED, 1000)),
				(unsigned long long)n->diag.counter[COUNTER_log_entries_moved],
				(unsigned long long)n->diag.counter[COUNTER_log_rounds],
				(unsigned long long)n->diag.counter[COUNTER_raft_appends_stripped]);
		}
		for (unsigned g = 0; is_up(&w->machine[i]) && g < w->group_count; g++) {
			struct chain *c = &raft_node_of(&w->machine[i])->chain[g];
			struct group_status s;
			if (!c->group) continue;
			group_status(c->group, &s);
			(void)printf("    group %u state %d%s%s%s%s term %llu leader %llx commit %llu applied %llu "
				     "last %llu durable %llu %s |",
				g + 1, s.state, s.leading ? " leading" : "", s.asleep ? " asleep" : "",
				s.in_doubt ? " doubt" : "", s.installing ? " installing" : "",
				(unsigned long long)s.term, (unsigned long long)s.leader, (unsigned long long)s.commit,
				(unsigned long long)s.applied, (unsigned long long)s.last,
				(unsigned long long)s.durable, group_trouble(c->group));
			for (unsigned k = 0; k < s.member_count; k++)
				(void)printf(" %llx:%s:%llu%s%s", (unsigned long long)s.member[k].id,
					s.member[k].role == GROUP_VOTER ? "V" : "L",
					(unsigned long long)s.member[k].match,
					s.member[k].backfilled ? ":backfill" : "",
					s.member[k].installed ? ":refill" : "");
			(void)printf("\n");
		}
	}
}

static void world_close(struct run *r)
{
	struct raft_world *w = &r->w;
	sim_free(w->s);
	for (unsigned i = 0; i < w->node_count; i++) raft_disk_free(&w->machine[i]);
	oracle_deinit(&w->oracle);
}

static void count_tell(void *arg, const char *name, uint64_t count) { sim_batch_count(arg, name, count); }

static void counts_tell(struct run *r, struct batch *b)
{
	struct raft_world *w = &r->w;
	sim_counts(w->s, count_tell, b);
	sim_batch_count(b, "proposal acked", w->acked);
	sim_batch_count(b, "proposal of unknown outcome", w->unknown);
	sim_batch_count(b, "proposal refused", w->refused);
	sim_batch_count(b, "linearizable read", w->reads);
	for (unsigned c = 0; c < COUNTER_COUNT; c++)
		if (w->counter[c]) sim_batch_count(b, diag_counter_name((enum counter)c), w->counter[c]);
}

static void phases(struct run *r)
{
	struct raft_world *w = &r->w;
	run_for(r, SECONDS(3));
	r->chaos = true;
	sim_after(w->s, 0, fault_step, r);
	run_for(r, SECONDS((uint64_t)(w->slant ? w->slant->seconds : r->own->seconds)));
	heal(r);
	run_for(r, SECONDS(1));
	memcpy(r->before, w->oracle.acked, sizeof r->before);
	if (!is_violated(r) && !sim_run_until(w->s, has_progressed, r, SECONDS(15)))
		oracle_violated(&w->oracle, "PROGRESS: no group may wait longer than 15 s after all is healed");
	memcpy(r->before, w->oracle.acked, sizeof r->before);
	w->load_ns = MILLIS(200);
	if (!is_violated(r) && !sim_run_until(w->s, has_converged, r, SECONDS(30)))
		oracle_violated(&w->oracle, "CONVERGENCE: a member lags 30 s after all is healed");
}

static bool seed_run(struct batch *b, uint64_t seed)
{
	struct run *r = NEW(struct run);
	struct raft_world *w = &r->w;
	world_open(r, b, seed);
	phases(r);
	bool bad = is_violated(r);
	if (bad || !b->is_quiet)
		(void)printf("seed %" PRIu64 " nodes %u/%u groups %u: acked %llu of %llu, unknown %llu, reads %llu, "
			     "changes %llu/%llu, events %llu | %s\n",
			seed, w->voter_count, w->node_count, w->group_count, (unsigned long long)w->acked,
			(unsigned long long)w->proposed, (unsigned long long)w->unknown, (unsigned long long)w->reads,
			(unsigned long long)w->changes_ok, (unsigned long long)w->changes_failed,
			(unsigned long long)sim_events(w->s), bad ? w->oracle.violation : "ok");
	if (bad && !b->is_hushed) describe(r);
	for (unsigned i = 0; i < w->node_count; i++)
		sim_node_crash(w->machine[i].n, SIM_KILL); /* adds up their counters */
	counts_tell(r, b);
	world_close(r);
	mem_free(r);
	return bad;
}

/* ---- main ---- */

/* What a batch must have gone through, or its silence says nothing. */
static const struct batch_floor floors[] = {
	{ "proposal acked", 1500 },
	{ "proposal of unknown outcome", 50 },
	{ "proposal refused", 50 },
	{ "linearizable read", 50 },
	{ "raft change", 2 },
	{ "raft change failed", 0.5 },
	{ "raft_elections", 8 },
	{ "raft_backfills", 6 },
	{ "raft_backfill_chunks", 30 },
	{ "raft_refills", 2 },
	{ "raft_installs", 1.2 },
	{ "raft_reopened", 1.2 },
	{ "raft_conf_resets", 0.015 },
	{ "raft_appends_stripped", 10 },
	{ "raft_slept", 5 },
	{ "raft_doubts_ended", 0.08 },
	{ "log_groups_doubted", 0.2 },
	{ "log_slots_begun", 80 },
	{ "log_rounds", 150 },
	{ "log_segments_dropped", 120 },
	{ "node kill", 3 },
	{ "node power loss", 4 },
	{ "node pause", 2 },
	{ "node wall jump", 2.5 },
	{ "fault power all", 0.5 },
	{ "fault cut", 5 },
	{ "fault reset", 2.5 },
	{ "fault stall", 2.5 },
	{ "fault full", 2.5 },
	{ "fault member", 2 },
	{ "fault transfer", 2 },
	{ "fault damage", 0.5 },
	{ "disk unsynced torn", 4 },
	{ "disk page ruined", 0.12 },
	{ "damage block", 0.3 },
	{ "damage segment gone", 0.05 },
	{ "damage state", 0.06 },
};

static const struct batch_bug bugs[] = {
	{ "bug_g1_no_noop", 10, SLANT_NONE },
	{ "bug_g2_old_term_commit", 20, SLANT_FIGURE_8 },
	{ "bug_g3_unchecked_ack", 20, SLANT_OLD_TAIL },
	{ "bug_g4_second_vote", 60, SLANT_TRANSFERS },
	{ "bug_g5_busy_candidate", 20, SLANT_SLOW_WRITE },
	{ "bug_g6_ungated_append", 5, SLANT_PIPELINE },
	{ "bug_g7_uncommitted_conf", 20, SLANT_OPEN_CONF },
	{ "bug_g8_no_reset", 200, SLANT_NONE },
	{ "bug_g9_no_trim", 60, SLANT_RESENT },
	{ "bug_g10_commit_unclamped", 300, SLANT_NONE },
	{ "bug_g11_no_hint", 10, SLANT_LONG_TAIL },
	{ "bug_g12_send_error", 60, SLANT_NO_ANSWERS },
	{ "bug_g13_pre_vote_term", 20, SLANT_TERMS },
	{ "bug_g14_unlisted_vote", 20, SLANT_UNLISTED },
	{ "bug_g15_no_way", 60, SLANT_STALE },
	{ "bug_g16_own_demotion", 20, SLANT_DEMOTED },
	{ "bug_slots_untold", 10, SLANT_SLOTS },
	{ "bug_s7_doubtful_vote", 20, SLANT_FORGETS },
	{ "bug_s7_short_match", 20, SLANT_SHORT },
	{ "bug_s9_unapplied", 10, SLANT_NONE },
	{ "bug_s9_state_index", 10, SLANT_NONE },
	{ "bug_s11_poison_skipped", 10, SLANT_POISON },
	{ "bug_s12_settle_uncommitted", 20, SLANT_NONE },
	{ "bug_s14_across_hole", 20, SLANT_NONE },
	{ "bug_s19_early_answer", 150, SLANT_NONE },
	{ "bug_s19_install_unsynced", 50, SLANT_NONE },
};

/* Found by the death of the process too, in libraft: that is what these guards prevent. g8: SIGSEGV, it takes a configuration back to one that it
 * does not have; g9: SIGSEGV, entries are where its memory does not begin; g12: it frees twice. */
static const char *const deadly[] = { "bug_g8_no_reset", "bug_g9_no_trim", "bug_g12_send_error" };

static bool own_option(struct batch *b, const char *name, uint64_t value)
{
	struct own *o = CONTAINER_OF(b, struct own, batch);
	const struct {
		const char *name;
		unsigned *at;
	} rows[] = { { "--nodes", &o->nodes }, { "--groups", &o->groups }, { "--seconds", &o->seconds },
		{ "--slant", &b->slant } };
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (strcmp(name, rows[i].name) == 0) return *rows[i].at = (unsigned)value, true;
	return false;
}

int main(int argc, char **argv)
{
	struct own o = {
		.batch = { .floors = floors,
			.floor_count = COUNT_OF(floors),
			.bugs = bugs,
			.bug_count = COUNT_OF(bugs),
			.deadly = deadly,
			.deadly_count = COUNT_OF(deadly),
			.run = seed_run,
			.option = own_option },
		.seconds = 60,
	};
	return sim_batch_main(&o.batch, argc, argv);
}
