/* SPDX-License-Identifier: Apache-2.0 */
/* member — changes of members and of leadership, one at a time: what libraft does in one call and gets wrong under way (adding and
 * promoting who is far behind, transferring to who is) is done here in steps that wait for the follower first.
 *
 *   add       raft_add (spare) ─committed─> raft_assign (stand-by) ─committed─> done
 *   promote   wait until it is close behind ─> raft_assign (voter) ─committed─> done
 *   transfer  refuse proposals, wait until it has everything ─> raft_transfer ─led by another─> done */

#include "group.h"

enum { CLOSE_BEHIND = 64 }; /* entries that a learner may lack when it is promoted: the library waits for those */

static void change_end(struct group *g, enum err result)
{
	struct group_change *c = g->change;
	g->change = NULL;
	c->result = result;
	list_push_back(&g->changes_finished, &c->link);
	group_dirty(g);
}

/* ---- the library's answers ---- */

static void on_change(struct raft_change *req, int status)
{
	struct group *g = req->data;
	g->library_changes = false;
	g->change_ended = true;
	g->change_status = status;
	group_dirty(g);
}

static void on_transfer(struct raft_transfer *req)
{
	struct group *g = req->data;
	/* It may come long after leadership was lost, and the change with it. */
	if (!g->change || g->change->kind != GROUP_TRANSFER || g->change->step != 1) return;
	g->library_changes = false;
	g->change_ended = true;
	g->change_status = 0;
	group_dirty(g);
}

static enum err library_result(int rv)
{
	switch (rv) {
	case 0: return OK;
	case RAFT_NOTLEADER: return ERR_NOT_LEADER;
	case RAFT_CANTCHANGE: return ERR_BUSY;
	case RAFT_NOCONNECTION: return ERR_TIMEOUT;
	case RAFT_LEADERSHIPLOST: return ERR_UNKNOWN_OUTCOME;
	default: return ERR_INVALID;
	}
}

/* ---- the library's calls ---- */

static void library_call(struct group *g, int rv)
{
	if (rv == 0) {
		group_after(g);
		return;
	}
	g->library_changes = false;
	change_end(g, library_result(rv));
}

static void library_begin(struct group *g)
{
	g->library_changes = true;
	g->change_ended = false;
	g->library_change = (struct raft_change) { .data = g };
}

static void assign(struct group *g, uint64_t id, int role)
{
	library_begin(g);
	library_call(g, raft_assign(&g->raft, &g->library_change, id, role, on_change));
}

/* ---- kinds: how each begins, and what follows when the library is through with a step ---- */

static uint64_t match_of(const struct group *g, uint64_t id)
{
	const struct follower *f = follower_find(g, id);
	return f ? f->match : 0;
}

/* True when the follower is within `distance` of the end; ends the change when it makes no progress. */
static bool is_close(struct group *g, struct group_change *c, uint64_t distance)
{
	uint64_t match = match_of(g, c->member), now = set_now_ms(g->set);
	const struct follower *f = follower_find(g, c->member);
	if (f && f->acked && match + distance >= g->last) return true;
	if (match > c->seen || c->until_ms == 0) {
		c->seen = match;
		c->until_ms = now + 4 * (uint64_t)g->set->options.election_ms;
	}
	if (now >= c->until_ms) change_end(g, ERR_TIMEOUT);
	return false;
}

static enum err add_check(const struct group *g, const struct raft_server *s, struct group_change *c)
{
	(void)c;
	if (s && s->role != RAFT_SPARE) return ERR_EXISTS;
	return g->raft.configuration.n < GROUP_MEMBERS_MAX ? OK : ERR_LIMIT;
}

static void add_step(struct group *g, struct group_change *c)
{
	char address[MEMBER_ADDRESS_BYTES];
	const struct raft_server *s = group_server(g, c->member);
	member_address(c->member, address);
	if (c->step == 0 && !s) {
		c->step = 1;
		library_begin(g);
		library_call(g, raft_add(&g->raft, &g->library_change, c->member, address, on_change));
	} else if (s && s->role == RAFT_SPARE) {
		c->step = 2;
		assign(g, c->member, RAFT_STANDBY);
	} else {
		change_end(g, OK);
	}
}

static enum err promote_check(const struct group *g, const struct raft_server *s, struct group_change *c)
{
	(void)g;
	(void)c;
	if (!s) return ERR_NOT_FOUND;
	return s->role == RAFT_VOTER ? ERR_EXISTS : OK;
}

/* An entry must fit wherever it counts: with smaller slots it would bound what the group takes from clients. */
static bool is_too_small(struct group *g, uint64_t id)
{
	uint64_t takes = budget_takes(g->set, id), most = g->set->options.entry_bytes_max;
	if (takes == 0 || takes >= most || is_off(g, FAULT_bug_slots_untold)) return false;
	diag_line(g->set->diag, DIAG_ERROR,
		"raft group=%s member=%llx does not become a voter: an entry may have %llu bytes here, its journal "
		"takes %llu; "
		"it needs a new store with slots (journal.slot_size) of %llu bytes or more",
		log_group_label(g->log), (unsigned long long)id, (unsigned long long)most, (unsigned long long)takes,
		4 * (unsigned long long)most);
	return true;
}

static void promote_step(struct group *g, struct group_change *c)
{
	if (c->step == 1) {
		change_end(g, OK);
	} else if (is_too_small(g, c->member)) {
		change_end(g, ERR_TOO_LARGE);
	} else if (is_close(g, c, CLOSE_BEHIND)) {
		c->step = 1;
		assign(g, c->member, RAFT_VOTER);
	}
}

static enum err voter_check(const struct group *g, const struct raft_server *s)
{
	if (!s) return ERR_NOT_FOUND;
	return s->role == RAFT_VOTER && group_voters(g) == 1 ? ERR_INVALID : OK; /* the last voter */
}

static enum err demote_check(const struct group *g, const struct raft_server *s, struct group_change *c)
{
	(void)c;
	enum err e = voter_check(g, s);
	return e == OK && s->role != RAFT_VOTER ? ERR_INVALID : e;
}

static void demote_step(struct group *g, struct group_change *c)
{
	if (c->step++ == 0)
		assign(g, c->member, RAFT_STANDBY);
	else
		change_end(g, OK);
}

static enum err remove_check(const struct group *g, const struct raft_server *s, struct group_change *c)
{
	(void)c;
	return voter_check(g, s);
}

static void remove_step(struct group *g, struct group_change *c)
{
	if (c->step++ > 0) {
		change_end(g, OK);
		return;
	}
	library_begin(g);
	library_call(g, raft_remove(&g->raft, &g->library_change, c->member, on_change));
}

static enum err transfer_check(const struct group *g, const struct raft_server *s, struct group_change *c)
{
	if (c->member == 0) {
		for (unsigned i = 0; i < g->raft.configuration.n; i++) {
			const struct raft_server *o = &g->raft.configuration.servers[i];
			bool better = !s || match_of(g, o->id) > match_of(g, s->id);
			if (o->role == RAFT_VOTER && o->id != g->set->options.self && better) s = o;
		}
		if (s) c->member = s->id;
	}
	if (!s) return ERR_NOT_FOUND;
	return s->role == RAFT_VOTER && s->id != g->set->options.self ? OK : ERR_INVALID;
}

static void transfer_step(struct group *g, struct group_change *c)
{
	if (c->step == 1) {
		change_end(g, g->leads ? ERR_TIMEOUT : OK);
		return;
	}
	/* Who does not have everything drops the library's message, and nobody repeats it. */
	if (!is_close(g, c, 0) || g->raft.transfer) return;
	c->step = 1;
	library_begin(g);
	g->library_transfer = (struct raft_transfer) { .data = g };
	library_call(g, raft_transfer(&g->raft, &g->library_transfer, c->member, on_transfer));
}

static const struct {
	enum err (*check)(const struct group *g, const struct raft_server *s, struct group_change *c);
	void (*step)(struct group *g, struct group_change *c);
} kinds[] = {
	[GROUP_ADD] = { add_check, add_step },
	[GROUP_PROMOTE] = { promote_check, promote_step },
	[GROUP_DEMOTE] = { demote_check, demote_step },
	[GROUP_REMOVE] = { remove_check, remove_step },
	[GROUP_TRANSFER] = { transfer_check, transfer_step },
};

/* ---- running ---- */

/* A leader was lost between the two steps of adding: its successor takes the second. */
static void spare_step(struct group *g)
{
	if (g->library_changes || !g->leading || g->raft.transfer || !list_is_empty(&g->changes)) return;
	if (log_admit(g->set->log, LOG_ADMIT_RESERVED, 4 * KIB) != OK) return;
	for (unsigned i = 0; i < g->raft.configuration.n; i++) {
		const struct raft_server *s = &g->raft.configuration.servers[i];
		if (s->role != RAFT_SPARE) continue;
		library_begin(g);
		if (raft_assign(&g->raft, &g->library_change, s->id, RAFT_STANDBY, on_change) != 0)
			g->library_changes = false;
		group_after(g);
		return;
	}
}

void member_step(struct group *g)
{
	struct group_change *c = g->change;
	if (!c) {
		g->change_ended = false;
		spare_step(g);
		return;
	}
	if (g->library_changes || !g->leading) return;
	if (g->change_ended) {
		g->change_ended = false;
		if (g->change_status != 0) {
			change_end(g, library_result(g->change_status));
			return;
		}
	}
	if (log_admit(g->set->log, LOG_ADMIT_RESERVED, 4 * KIB) != OK) return; /* the next tick tries again */
	kinds[c->kind].step(g, c);
}

void member_lost(struct group *g)
{
	struct group_change *c = g->change;
	g->library_changes = false;
	if (!c) return;
	enum err e = c->step == 0 ? ERR_NOT_LEADER : ERR_UNKNOWN_OUTCOME;
	/* A leader that removed itself leads until that is committed, and the one that gave way has done what was asked. */
	if (g->change_ended && g->change_status == 0 && c->step > 0 && c->kind != GROUP_ADD) e = OK;
	if (c->kind == GROUP_TRANSFER && c->step > 0) e = OK;
	g->change_ended = false;
	change_end(g, e);
}

void member_finish(struct group *g)
{
	struct list done, *l;
	list_init(&done);
	list_splice_back(&done, &g->changes_finished);
	while ((l = list_pop_front(&done))) {
		struct group_change *c = CONTAINER_OF(l, struct group_change, link);
		c->done(c);
	}
}

void group_change(struct group *g, struct group_change *c)
{
	c->link = (struct list) { 0 };
	c->step = 0;
	c->seen = c->until_ms = 0;
	enum err e = OK;
	if (!g->live || !g->leading || !g->leads) e = ERR_NOT_LEADER;
	if (e == OK && (g->change || g->library_changes || !list_is_empty(&g->changes))) e = ERR_BUSY;
	if (e == OK && c->member == 0 && c->kind != GROUP_TRANSFER) e = ERR_INVALID;
	if (e == OK) e = kinds[c->kind].check(g, group_server(g, c->member), c);
	if (e == OK) {
		g->change = c;
		g->change_ended = false;
		group_wake(g);
	} else {
		c->result = e;
		list_push_back(&g->changes_finished, &c->link);
	}
	group_dirty(g);
}

/* ---- looking ---- */

static void member_status(const struct group *g, const struct raft_server *s, struct group_member_status *out)
{
	*out = (struct group_member_status) { .id = s->id,
		.role = s->role == RAFT_VOTER ? GROUP_VOTER : GROUP_LEARNER };
	const struct follower *f = g->leads ? follower_find(g, s->id) : NULL;
	if (f) {
		out->match = f->match;
		out->backfilled = f->backfill != NULL;
		out->installed = f->refill != NULL;
	}
	if (g->leads && s->id == g->set->options.self) out->match = g->raft.last_stored;
}

void group_status(const struct group *g, struct group_status *out)
{
	*out = (struct group_status) {
		.state = g->state == GROUP_RUNNING && !g->live ? GROUP_OPENING : g->state,
		.leading = g->leading,
		.asleep = g->asleep,
		.in_doubt = g->in_doubt,
		.installing = g->install != NULL,
		.term = g->term,
		.commit = g->committed,
		.applied = g->applied,
		.last = g->last,
		.stuck_at = g->stuck_at,
	};
	if (g->state != GROUP_CLOSING) {
		struct log_group_info info;
		log_group_info(g->log, &info);
		out->durable = info.durable_index;
		out->lost_from = info.lost_from;
		out->lost_to = info.lost_to;
	}
	if (!g->live) return;
	out->leader = group_leader(g);
	out->member_count = g->raft.configuration.n;
	for (unsigned i = 0; i < out->member_count; i++)
		member_status(g, &g->raft.configuration.servers[i], &out->member[i]);
}

bool group_is_read_only(const struct group *g)
{
	return g->state == GROUP_READ_ONLY || (g->state == GROUP_QUARANTINED && group_is_sole_voter(g));
}

const char *group_trouble(const struct group *g)
{
	if (g->state == GROUP_QUARANTINED || g->state == GROUP_BROKEN || g->state == GROUP_READ_ONLY) return g->trouble;
	return g->in_doubt ? log_group_doubt(g->log) : "";
}
