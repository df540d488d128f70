/* SPDX-License-Identifier: Apache-2.0 */
/* raft_slant — see raft_slant.h. Each slant is a walk through numbered steps (world.at.step); one that does not get on in time begins
 * anew. `a`, `b`, `c` are machines: the leader at first, and the other two. */
#include <stdio.h>

#include "sim/raft_disk.h"
#include "sim/raft_slant.h"

/* ---- what all of them use ---- */

static bool is_up(const struct raft_machine *m) { return sim_node_state(m->n) == SIM_UP; }

static bool status_of(struct raft_world *w, unsigned i, struct group_status *s)
{
	const struct raft_node *n = is_up(&w->machine[i]) ? raft_node_of(&w->machine[i]) : NULL;
	*s = (struct group_status) { 0 };
	if (!n || !n->chain[0].group) return false;
	group_status(n->chain[0].group, s);
	return true;
}

/* Who leads as its library sees it, in the highest term. */
static unsigned leader_now(struct raft_world *w)
{
	struct group_status s;
	uint64_t term = 0;
	unsigned best = CHAIN_NODES_MAX;
	for (unsigned i = 0; i < w->node_count; i++) {
		if (!status_of(w, i, &s) || s.leader != w->machine[i].raft_id || s.term <= term) continue;
		best = i;
		term = s.term;
	}
	return best;
}

static void block(struct raft_world *w, unsigned i, unsigned k, bool on)
{
	w->at.blocked[i][k] = w->at.blocked[k][i] = on;
}

static void block_all(struct raft_world *w, unsigned i, bool on)
{
	for (unsigned k = 0; k < w->node_count; k++)
		if (k != i) block(w, i, k, on);
}

static void step_to(struct raft_world *w, unsigned step)
{
	w->at.step = step;
	w->at.since_ns = sim_now_ns(w->s);
	if (w->verbose)
		(void)printf("%10.6f slant step %u: nodes %u %u %u\n", (double)w->at.since_ns / 1e9, step, w->at.a + 1,
			w->at.b + 1, w->at.c + 1);
}
static bool is_late(const struct raft_world *w, uint64_t ms) { return sim_now_ns(w->s) - w->at.since_ns > MILLIS(ms); }

static void begin_anew(struct raft_world *w)
{
	memset(w->at.blocked, 0, sizeof w->at.blocked);
	sim_net_heal(w->s);
	for (unsigned i = 0; i < w->node_count; i++) raft_disk_ok(&w->machine[i]);
	step_to(w, 0);
}

/* Step 0 of most: a leader has led for a while. Takes a, b, c. */
static bool is_led(struct raft_world *w)
{
	unsigned a = leader_now(w);
	if (a == CHAIN_NODES_MAX || !raft_node_of(&w->machine[a])->chain[0].leading) {
		w->at.since_ns = sim_now_ns(w->s);
		return false;
	}
	if (!is_late(w, 700)) return false;
	w->at.a = a;
	w->at.b = (a + 1) % 3;
	w->at.c = (a + 2) % 3;
	return true;
}

static uint64_t last_of(struct raft_world *w, unsigned i)
{
	struct group_status s;
	return status_of(w, i, &s) ? s.last : 0;
}

static bool frame_has(const struct frame *f, enum entry_kind kind, uint64_t term)
{
	struct frame_entry_at at = { 0 };
	struct frame_entry e;
	while (f->kind == FRAME_APPEND && frame_entry_next(&f->append, &at, &e))
		if ((!kind || e.kind == kind) && (!term || e.term == term)) return true;
	return false;
}

static void off(struct raft_world *w, unsigned i)
{
	if (is_up(&w->machine[i])) sim_node_crash(w->machine[i].n, SIM_POWER);
}
static void on(struct raft_world *w, unsigned i) { sim_node_boot(w->machine[i].n, &raft_node_program, &w->machine[i]); }
static bool is_off(const struct raft_world *w, unsigned i) { return sim_node_state(w->machine[i].n) == SIM_OFF; }

static void three_open(struct raft_world *w)
{
	w->node_count = w->voter_count = 3;
	w->group_count = 1;
	w->options.chunk_bytes_max = 64; /* an entry a frame */
	w->options.no_pre_vote = true;
	w->options.sleep_beats = 1000000;
	w->payload_max = 100;
	w->load_ns = MILLIS(20);
	sim_net(w->s)->delay_max_ns = MILLIS(5);
}

/* ---- G2 ---- */

static void figure_8_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	struct group_status s;
	unsigned l = leader_now(w);
	switch (at->step) {
	case 0: /* the leader is alone with what it appends from now on */
		if (!is_led(w)) return;
		block_all(w, at->a, true);
		at->base = last_of(w, at->a);
		step_to(w, 1);
		return;
	case 1: /* another one leads, and is alone with the first entry of its term */
		if (l == CHAIN_NODES_MAX || l == at->a || !status_of(w, l, &s) || s.durable < s.last) return;
		at->b = l;
		at->c = 3 - at->a - l;
		block_all(w, l, true);
		block(w, at->a, at->c, false);
		raft_disk_stall(&w->machine[at->a], MILLIS(1500));
		step_to(w, 2);
		return;
	case 2: /* the first leads again, and its old entries reach the third; does it count them? */
		if (raft_node_of(&w->machine[at->a])->chain[0].index > at->base + 1) {
			raft_disk_ok(&w->machine[at->a]);
			block_all(w, at->a, true);
			block(w, at->b, at->c, false);
			step_to(w, 3);
		}
		break;
	default: break;
	}
	if (is_late(w, 9000)) begin_anew(w);
}

static bool figure_8_passes(struct raft_world *w, unsigned from, unsigned to, const struct frame *f)
{
	(void)to;
	if (w->at.step == 1 && from != w->at.a) return f->kind != FRAME_APPEND;
	if (w->at.step == 2 && from == w->at.a) return !frame_has(f, (enum entry_kind)0, f->term);
	return true;
}

/* ---- G3 ---- */

static void old_tail_open(struct raft_world *w)
{
	three_open(w);
	sim_net(w->s)->delay_min_ns =
		MILLIS(15); /* so that followers have what the leader does not know to be committed */
	sim_net(w->s)->delay_max_ns = MILLIS(20);
}

/* Index before the first entry of its own term that machine `i` has. */
static uint64_t before_term(struct raft_world *w, unsigned i)
{
	const struct log_group *lg = group_log(raft_node_of(&w->machine[i])->chain[0].group);
	uint64_t index = last_of(w, i), term = log_term_at(lg, index);
	while (index > 0 && log_term_at(lg, index) == term) index--;
	return index;
}

static void old_tail_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	unsigned l = leader_now(w);
	switch (at->step) {
	case 0:
		if (!is_led(w)) return;
		block_all(w, at->a, true);
		w->load_ns = MILLIS(200);
		step_to(w, 1);
		break;
	case 1: /* b leads with c; then it, too, is alone with what it appends, which is soon more */
		if (l == CHAIN_NODES_MAX || l == at->a || !raft_node_of(&w->machine[l])->chain[0].leading) break;
		w->load_ns = MILLIS(4);
		at->base = before_term(w, l);
		at->b = l;
		at->c = 3 - at->a - l;
		block_all(w, at->c, true);
		step_to(w, 2);
		break;
	case 2: /* as much as the deposed leader has; of that it hears what both have, and no more */
		if (last_of(w, at->a) < at->base + 3 || last_of(w, at->b) < last_of(w, at->a)) break;
		at->acked = w->oracle.acked[0];
		block(w, at->a, at->b, false);
		step_to(w, 3);
		break;
	case 3:
		if (w->oracle.acked[0] <= at->acked) break;
		block_all(w, at->b, true);
		block(w, at->a, at->c, false);
		step_to(w, 4);
		break;
	default: break;
	}
	if (at->step && is_late(w, 5000)) {
		w->load_ns = MILLIS(20);
		begin_anew(w);
	}
}

static bool old_tail_passes(struct raft_world *w, unsigned from, unsigned to, const struct frame *f)
{
	if (w->at.step != 3 || from != w->at.b || to != w->at.a || f->kind != FRAME_APPEND) return true;
	return f->append.prev_index > w->at.base || f->append.prev_index + f->append.count <= w->at.base;
}

/* ---- G4 ---- */

static void transfers_open(struct raft_world *w)
{
	three_open(w);
	w->options.no_pre_vote = false;
	w->load_ns = MILLIS(300);
}

static void transfers_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	struct raft_node *n;
	if (at->step == 0 && is_led(w)) {
		raft_node_change(raft_node_of(&w->machine[at->a]), 0, GROUP_TRANSFER, w->machine[at->c].raft_id);
		step_to(w, 1);
	}
	if (at->step == 2) { /* who is meant does not hear it; the leader gives up and means another one */
		n = is_up(&w->machine[at->a]) ? raft_node_of(&w->machine[at->a]) : NULL;
		if (n && !n->change[0].busy && n->chain[0].leading) {
			raft_node_change(n, 0, GROUP_TRANSFER, w->machine[at->b].raft_id);
			step_to(w, 3);
		}
	}
	if (at->step && is_late(w, 2000)) begin_anew(w);
}

static bool transfers_passes(struct raft_world *w, unsigned from, unsigned to, const struct frame *f)
{
	struct slant_at *at = &w->at;
	(void)from;
	if (f->kind != FRAME_TIMEOUT_NOW) return true;
	if (at->step == 1 && to == at->c) {
		/* About as long as a transfer is waited for: it takes the word when the other one does. */
		sim_node_pause(w->machine[to].n, MILLIS(1005) + sim_below(w->s, MILLIS(45)));
		step_to(w, 2);
	}
	return true;
}

/* ---- G5 ---- */

static void slow_write_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	if (at->step == 0 && is_led(w)) {
		raft_disk_stall(&w->machine[at->b], MILLIS(6000));
		raft_node_change(raft_node_of(&w->machine[at->a]), 0, GROUP_REMOVE, w->machine[at->c].raft_id);
		step_to(w, 1);
	}
	if (at->step == 2 && is_late(w, 7000)) {
		raft_disk_ok(&w->machine[at->b]);
		memset(at->blocked, 0, sizeof at->blocked);
		step_to(w, 3); /* once: another change would mend it */
	}
}

static bool slow_write_passes(struct raft_world *w, unsigned from, unsigned to, const struct frame *f)
{
	struct slant_at *at = &w->at;
	if (at->step != 1 || from != at->a || !frame_has(f, ENTRY_CHANGE, 0)) return true;
	if (to != at->b) return false;
	block_all(w, at->a, true); /* after this frame */
	step_to(w, 2);
	return true;
}

/* ---- G6 ---- */

static void pipeline_open(struct raft_world *w)
{
	three_open(w);
	w->options.chunk_bytes_max = 16 * KIB;
	w->load_ns = MILLIS(1);
	w->slot_bytes = 4 * MIB; /* a full ring would be a pause */
	sim_net(w->s)->delay_min_ns = MILLIS(3);
	sim_net(w->s)->delay_max_ns = MILLIS(6);
}

/* Nothing is wrong with anybody here: commits that wait for a pause of the proposals are told by their delay. */
static void pipeline_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	unsigned l = leader_now(w);
	bool is_leading = l != CHAIN_NODES_MAX && raft_node_of(&w->machine[l])->chain[0].leading;
	if (!is_leading || w->oracle.acked[0] != at->acked) {
		at->acked = w->oracle.acked[0];
		at->since_ns = sim_now_ns(w->s);
	} else if (is_late(w, 300)) {
		oracle_violated(&w->oracle, "STALL: nothing is committed for 300 ms, nobody is cut off or down");
	}
}

/* ---- S11 ---- */

static void poison_open(struct raft_world *w)
{
	three_open(w);
	w->poison = 60 + sim_below(w->s, 60);
}

/* Behind the entry the machine starts again, once: it must stop at the same place. */
static void poison_step(struct raft_world *w)
{
	if (w->at.step == 0 && w->oracle.next_number >= w->poison + 30) {
		off(w, 0);
		step_to(w, 1);
	} else if (w->at.step == 1 && is_off(w, 0)) {
		on(w, 0);
		step_to(w, 2);
	}
}

/* ---- G7 ---- */

static void open_conf_open(struct raft_world *w)
{
	three_open(w);
	w->load_ns = MILLIS(5);
	w->slot_bytes = 512 * KIB; /* no other rounds: they leave holes, and it would get everything anew */
	sim_net(w->s)->delay_min_ns = MILLIS(20);
	sim_net(w->s)->delay_max_ns = MILLIS(25);
}

static void open_conf_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	if (at->step == 0 && is_led(w)) {
		raft_node_change(raft_node_of(&w->machine[at->a]), 0, GROUP_DEMOTE, w->machine[at->c].raft_id);
		step_to(w, 1);
	} else if (at->step == 1 && is_late(w, 100) && is_up(&w->machine[at->a])) {
		log_settle_now(raft_node_of(&w->machine[at->a])->log, NULL);
		step_to(w, 2);
	} else if (at->step == 2 && is_late(w, 200)) {
		off(w, at->a);
		w->load_ns = MILLIS(100); /* it shall not lag so far that it gets everything anew */
		step_to(w, 3);
	} else if (at->step == 3 && is_late(w, 3000)) {
		on(w, at->a);
		step_to(w, 4);
	}
}

static bool open_conf_passes(struct raft_world *w, unsigned from, unsigned to, const struct frame *f)
{
	(void)to;
	return !w->at.step || w->at.step > 3 || from != w->at.a || !frame_has(f, ENTRY_CHANGE, 0);
}

/* ---- G11 ---- */

static void long_tail_open(struct raft_world *w)
{
	three_open(w);
	w->options.no_pre_vote = false;
	w->options.heartbeat_ms = 100;
	w->options.election_ms = 500;
	w->options.chunk_bytes_max = 16 * KIB;
	w->load_ns = MILLIS(3);
	w->slot_bytes = 4 * MIB; /* no rounds, no holes: or it gets everything anew */
	sim_net(w->s)->delay_min_ns = MILLIS(100);
	sim_net(w->s)->delay_max_ns = MILLIS(105);
}

static void long_tail_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	unsigned l = leader_now(w);
	if (at->step == 0 && is_led(w)) {
		block_all(w, at->a, true);
		step_to(w, 1);
	} else if (at->step == 1 && is_late(w, 1600)) {
		/* Whoever begins to lead now begins to look at the end of a log that has grown meanwhile. */
		if (l != CHAIN_NODES_MAX && l != at->a)
			raft_node_change(raft_node_of(&w->machine[l]), 0, GROUP_TRANSFER, 0);
		step_to(w, 2);
	} else if (at->step == 2 && is_late(w, 1100)) {
		block_all(w, at->a, false);
		at->acked = w->oracle.acked[0];
		w->load_ns = MILLIS(100);
		step_to(w, 3);
	} else if (at->step == 3 && is_late(w, 6000)) {
		/* Some thirty round trips; in the end it would get everything anew. */
		if (raft_node_of(&w->machine[at->a])->chain[0].index < at->acked)
			oracle_violated(&w->oracle,
				"LAGS: node %u has a tail of its own, and still looks for its beginning", at->a + 1);
		step_to(w, 4);
	}
}

/* ---- G12 ---- */

static bool no_answers_passes(struct raft_world *w, unsigned from, unsigned to, const struct frame *f)
{
	(void)from;
	(void)to;
	return (f->kind != FRAME_APPEND_RESULT && f->kind != FRAME_VOTE_RESULT) || sim_below(w->s, 8) != 0;
}

/* ---- G9 ---- */

static void resent_open(struct raft_world *w)
{
	three_open(w);
	w->options.recent_bytes_max =
		512 * KIB; /* leaders begin at the first entry, and replicas that were restarted have let it go */
	w->load_ns = MILLIS(60);
}

static void resent_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	unsigned l = leader_now(w);
	if (at->step == 0 && is_led(w)) {
		off(w, at->b);
		step_to(w, 1);
	} else if (at->step == 1 && is_off(w, at->b)) {
		on(w, at->b);
		step_to(w, 2);
	} else if (at->step == 2 && is_late(w, 500) && l != CHAIN_NODES_MAX) {
		raft_node_change(raft_node_of(&w->machine[l]), 0, GROUP_TRANSFER, 0);
		step_to(w, 0);
	}
}

static bool resent_passes(struct raft_world *w, unsigned from, unsigned to, const struct frame *f)
{
	(void)from;
	(void)to;
	return f->kind != FRAME_APPEND || sim_below(w->s, 4) != 0;
}

/* ---- damage ---- */

/* Machine `i` goes off, loses its blocks from number `mark` on, and comes back in doubt. True when it is back. */
static bool damaged_restart(struct raft_world *w, unsigned i)
{
	if (is_up(&w->machine[i]) && !w->machine[i].damaged) {
		w->machine[i].damaged = w->is_hurt = true;
		off(w, i);
	} else if (is_off(w, i)) {
		raft_disk_damage_from(&w->machine[i], w->at.mark);
		on(w, i);
	}
	return w->machine[i].damaged && is_up(&w->machine[i]);
}

/* ---- G13 ---- */

static void terms_open(struct raft_world *w)
{
	three_open(w);
	w->options.no_pre_vote = false;
}

static void terms_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	unsigned l = leader_now(w);
	switch (at->step) {
	case 0: /* a has the longest log */
		if (!is_led(w)) return;
		block_all(w, at->a, true);
		at->mark = raft_disk_newest(&w->machine[at->b]);
		step_to(w, 1);
		return;
	case 1: /* terms rise, b and c get on with nothing */
		if (!is_late(w, 12000) || l == at->a || l == CHAIN_NODES_MAX) return;
		at->b = l;
		at->c = 3 - at->a - l;
		step_to(w, 2);
		return;
	case 2: /* who led last is in doubt now: the others need each other */
		if (!damaged_restart(w, at->b)) return;
		block(w, at->a, at->c, false);
		step_to(w, 3);
		return;
	default: return;
	}
}

static bool terms_passes(struct raft_world *w, unsigned from, unsigned to, const struct frame *f)
{
	(void)from;
	(void)to;
	return w->at.step == 0 || w->at.step == 3 || f->kind != FRAME_APPEND;
}

/* ---- G14 ---- */

static void unlisted_open(struct raft_world *w)
{
	three_open(w);
	w->voter_count = 2;
}

/* One of the first two leads, a, and adds the third, c. */
static void add_third(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	if (!is_led(w) || at->a == 2) return;
	at->b = 1 - at->a;
	at->c = 2;
	raft_node_change(raft_node_of(&w->machine[at->a]), 0, GROUP_ADD, w->machine[2].raft_id);
	step_to(w, 1);
}

static void unlisted_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	struct raft_node *n = at->step && is_up(&w->machine[at->a]) ? raft_node_of(&w->machine[at->a]) : NULL;
	struct group_status s;
	if (n && n->change[0].busy) return;
	switch (at->step) {
	case 0: add_third(w); return;
	case 1:
		if (!n || !is_late(w, 1000)) return;
		at->mark = raft_disk_newest(&w->machine[at->a]);
		raft_node_change(n, 0, GROUP_PROMOTE, w->machine[2].raft_id);
		step_to(w, 2);
		return;
	case 2:
		if (!status_of(w, at->b, &s) || s.member_count < 3 || !is_late(w, 1000)) return;
		if (damaged_restart(w, at->a)) step_to(w, 3);
		return;
	default: return;
	}
}

static bool unlisted_passes(struct raft_world *w, unsigned from, unsigned to, const struct frame *f)
{
	(void)from;
	return w->at.step != 2 || to != 2 || !frame_has(f, ENTRY_CHANGE, 0);
}

/* ---- G15 ---- */

static void stale_open(struct raft_world *w)
{
	three_open(w);
	w->voter_count = 2;
	w->options.chunk_bytes_max = 16 * KIB;
	w->load_ns = MILLIS(100);
	sim_net(w->s)->delay_min_ns = MILLIS(150); /* terms take long to be told */
	sim_net(w->s)->delay_max_ns = MILLIS(200);
}

static void stale_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	struct raft_node *n = at->step && is_up(&w->machine[at->a]) ? raft_node_of(&w->machine[at->a]) : NULL;
	struct group_status s;
	if (at->step < 4 && n && n->change[0].busy && at->step != 3) return;
	switch (at->step) {
	case 0: add_third(w); return;
	case 1:
		if (!n || !is_late(w, 2000)) return;
		raft_node_change(n, 0, GROUP_PROMOTE, w->machine[2].raft_id);
		step_to(w, 2);
		return;
	case 2: /* b has not heard of it, and a removes itself: c needs b, which asks nobody but a */
		if (!n || !status_of(w, 2, &s) || s.member_count != 3) return;
		raft_node_change(n, 0, GROUP_REMOVE, w->machine[at->a].raft_id);
		step_to(w, 3);
		return;
	case 3:
		if (!status_of(w, 2, &s) || s.member_count != 2) return;
		off(w, at->a);
		at->acked = w->oracle.acked[0];
		step_to(w, 4);
		return;
	case 4:
		if (w->oracle.acked[0] > at->acked) step_to(w, 5);
		if (is_late(w, 14000))
			oracle_violated(&w->oracle, "RACE: who can win an election does not, in 14 s of campaigns");
		return;
	default: return;
	}
}

static bool stale_passes(struct raft_world *w, unsigned from, unsigned to, const struct frame *f)
{
	(void)from;
	return w->at.step < 2 || w->at.step > 3 || to != w->at.b || f->kind != FRAME_APPEND;
}

/* ---- G16 ---- */

static void demoted_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	struct group_status s;
	switch (at->step) {
	case 0: /* a and c go on without b */
		if (!is_led(w)) return;
		block_all(w, at->b, true);
		at->mark = raft_disk_newest(&w->machine[at->a]);
		step_to(w, 1);
		return;
	case 1:
		if (!is_late(w, 600)) return;
		raft_node_change(raft_node_of(&w->machine[at->a]), 0, GROUP_DEMOTE, w->machine[at->c].raft_id);
		step_to(w, 2);
		return;
	case 2: /* a is in doubt, b lacks entries, c is to be no voter */
		if (!status_of(w, at->c, &s) || !is_late(w, 200)) return;
		for (unsigned i = 0; i < s.member_count; i++)
			if (s.member[i].id == w->machine[at->c].raft_id && s.member[i].role == GROUP_VOTER) return;
		if (!damaged_restart(w, at->a)) return;
		memset(at->blocked, 0, sizeof at->blocked);
		step_to(w, 3);
		return;
	default: return;
	}
}

/* ---- slots ---- */

static void slots_open(struct raft_world *w)
{
	three_open(w);
	w->options.chunk_bytes_max = 16 * KIB;
	w->options.entry_bytes_max = 0;
	w->payload_max = 60 * KIB;
	w->slot_bytes = w->slots[1] = w->slots[2] = 64 * KIB;
	w->slots[0] = 1 * MIB;
}

static void slots_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	if (!is_led(w)) return;
	if (at->a) raft_node_change(raft_node_of(&w->machine[at->a]), 0, GROUP_TRANSFER, w->machine[0].raft_id);
	step_to(w, 0);
}

/* ---- S7 ---- */

static void forgets_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	switch (at->step) {
	case 0: /* a and b go on without c */
		if (!is_led(w)) return;
		block_all(w, at->c, true);
		at->mark = raft_disk_newest(&w->machine[at->b]);
		step_to(w, 1);
		return;
	case 1:
		if (!is_late(w, 600)) return;
		if (!damaged_restart(w, at->b)) return;
		block_all(w, at->a, true);
		block(w, at->b, at->c, false);
		step_to(w, 2);
		return;
	case 2: /* do b and c elect one who lacks it? */
		if (!is_late(w, 6000)) return;
		memset(at->blocked, 0, sizeof at->blocked);
		step_to(w, 3);
		return;
	default: return;
	}
}

static void short_step(struct raft_world *w)
{
	struct slant_at *at = &w->at;
	if (at->step == 0 && is_led(w)) {
		at->mark = raft_disk_newest(&w->machine[at->b]);
		step_to(w, 1);
	} else if (at->step == 1 && is_late(w, 600) && damaged_restart(w, at->b)) {
		step_to(w, 2);
	}
}

/* ---- all ---- */

static const struct raft_slant slants[] = {
	[SLANT_FIGURE_8] = { three_open, figure_8_step, figure_8_passes, 40 },
	[SLANT_OLD_TAIL] = { old_tail_open, old_tail_step, old_tail_passes, 40 },
	[SLANT_TRANSFERS] = { transfers_open, transfers_step, transfers_passes, 40 },
	[SLANT_SLOW_WRITE] = { three_open, slow_write_step, slow_write_passes, 15 },
	[SLANT_POISON] = { poison_open, poison_step, NULL, 8 },
	[SLANT_PIPELINE] = { pipeline_open, pipeline_step, NULL, 5 },
	[SLANT_OPEN_CONF] = { open_conf_open, open_conf_step, open_conf_passes, 10 },
	[SLANT_LONG_TAIL] = { long_tail_open, long_tail_step, NULL, 12 },
	[SLANT_NO_ANSWERS] = { three_open, NULL, no_answers_passes, 10 },
	[SLANT_RESENT] = { resent_open, resent_step, resent_passes, 20 },
	[SLANT_TERMS] = { terms_open, terms_step, terms_passes, 25 },
	[SLANT_UNLISTED] = { unlisted_open, unlisted_step, unlisted_passes, 15 },
	[SLANT_STALE] = { stale_open, stale_step, stale_passes, 30 },
	[SLANT_DEMOTED] = { three_open, demoted_step, NULL, 10 },
	[SLANT_SLOTS] = { slots_open, slots_step, NULL, 8 },
	[SLANT_FORGETS] = { three_open, forgets_step, NULL, 15 },
	[SLANT_SHORT] = { three_open, short_step, NULL, 10 },
};

const struct raft_slant *raft_slant_of(unsigned kind)
{
	ASSERT(kind < COUNT_OF(slants));
	return kind == SLANT_NONE ? NULL : &slants[kind];
}

bool raft_slant_passes(struct raft_world *w, unsigned from, uint64_t peer, const struct slice *parts, unsigned count)
{
	unsigned to = 0;
	struct buf bytes = { 0 };
	struct frame f;
	const char *why;
	if (!w->slant) return true;
	while (to < w->node_count && w->machine[to].raft_id != peer) to++;
	if (to == w->node_count) return true;
	if (w->at.blocked[from][to]) return false;
	if (!w->slant->passes) return true;
	for (unsigned i = 0; i < count; i++) buf_append_slice(&bytes, parts[i]);
	bool passes = frame_decode(buf_slice(&bytes), &f, &why) == OK && w->slant->passes(w, from, to, &f);
	buf_deinit(&bytes);
	return passes;
}
