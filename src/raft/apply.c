/* SPDX-License-Identifier: Apache-2.0 */
/* apply — committed entries reach the owner, and the tail of the log reaches libraft.
 *
 * Running: group_deliver ─> apply_committed ─> owner.apply for each ─> the log is told once. Opening, or after the library was closed: the
 * entries behind the owner's state are read from the log; what is known to be committed is applied, the rest waits in group.tail. */
#include "group.h"

enum { TAIL_READ_BYTES = 1 << 20 };

/* ---- applying ---- */

static bool is_poison(const struct group *g, uint64_t index)
{
	const struct raft_groups *r = g->set;
	for (unsigned i = 0; i < r->options.poison_count; i++)
		if (r->poison[i].group == g->id && r->poison[i].index == index) return true;
	return false;
}

static void quarantine(struct group *g, uint64_t index, const char *why)
{
	g->stuck_at = index;
	group_stop(g, GROUP_QUARANTINED,
		"group %llu: entry %llu %s; this replica applies neither it nor anything behind it (S11)",
		(unsigned long long)g->id, (unsigned long long)index, why);
}

bool apply_one(struct group *g, uint64_t index, uint64_t term, enum entry_kind kind, struct slice body)
{
	bool is_skipped = !g->live && is_off(g, FAULT_bug_s9_unapplied);
	ASSERT(index == g->applied + 1 || (g->accept && index > g->applied));
	if (kind == ENTRY_COMMAND && !is_skipped) {
		if (is_poison(g, index)) return quarantine(g, index, "ended the process before, more than once"), false;
		g->set->applying = (struct raft_index_of) { g->id, index };
		bool known = g->ops->apply(g->owner, index, term, body);
		g->set->applying = (struct raft_index_of) { 0, 0 };
		if (!known && !is_off(g, FAULT_bug_s11_poison_skipped))
			return quarantine(g, index, "is of a kind that this version does not know"), false;
	}
	if (kind == ENTRY_CHANGE) group_set_conf(g, body, index);
	g->applied = index;
	g->applied_term = term;
	return true;
}

/* S9, G7: what is stored with the state is the configuration that is committed at its index, never a later one. */
void tell_applied(struct group *g, bool conf_changed)
{
	struct buf wrong = { 0 };
	struct slice conf = conf_changed ? buf_slice(&g->conf) : SLICE_NULL;
	if (g->live && is_off(g, FAULT_bug_g7_uncommitted_conf)) {
		struct members m = { 0 };
		for (unsigned i = 0; i < g->raft.configuration.n; i++)
			m.at[m.count++] = (struct raft_member) { g->raft.configuration.servers[i].id,
				g->raft.configuration.servers[i].role };
		members_encode(&m, &wrong);
		conf = buf_slice(&wrong);
	}
	log_applied(g->log, g->applied, g->applied_term, conf, g->conf_index);
	g->told = g->applied;
	trim_step(g);
	buf_deinit(&wrong);
}

static void changes_applied(struct group *g)
{
	struct list *l;
	while ((l = list_first(&g->changes))) {
		struct pending_change *c = CONTAINER_OF(l, struct pending_change, link);
		if (c->index > g->applied) break;
		list_remove(l);
		buf_deinit(&c->conf);
		mem_free(c);
	}
}

void apply_committed(struct group *g)
{
	uint64_t before = g->applied, conf_before = g->conf_index;
	while (g->live && g->applied < raft_last_applied(&g->raft)) {
		uint64_t index = g->applied + 1;
		const struct raft_entry *e = port_entry(g, index);
		ASSERT(e != NULL); /* the library drops entries only in port_snapshots_complete, behind us */
		if (!apply_one(g, index, e->term, (enum entry_kind)e->type, slice_of(e->buf.base, e->buf.len))) break;
	}
	if (g->applied == before || g->gone) return;
	changes_applied(g);
	tell_applied(g, g->conf_index != conf_before);
}

/* ---- loading what is behind the owner's state (S8, S9) ---- */

/* What a sole voter has on its disk a majority has, up to a change of who votes. */
static bool tail_is_committed(const struct entry_head *h, uint64_t commit, bool *alone)
{
	if (h->kind == ENTRY_CHANGE && h->index > commit) *alone = false;
	return h->index <= commit || *alone;
}

enum err tail_take(struct group *g, struct slice entries, uint64_t commit, bool *alone)
{
	struct entry_head head;
	struct slice body, before = entries;
	enum err e;
	while ((e = entry_next(&entries, &head, &body)) == OK) {
		if (head.index != g->last + 1 || head.group != g->id) return ERR_CORRUPT;
		g->last = head.index;
		if (tail_is_committed(&head, commit, alone) && g->applied + 1 == head.index) {
			if (!apply_one(g, head.index, head.term, (enum entry_kind)head.kind, body)) return OK;
		} else {
			buf_append(&g->tail, before.p, before.n - entries.n);
		}
		before = entries;
	}
	return e == ERR_EOF ? OK : e;
}

/* What lies behind a hole cannot be presented (S7), and nothing can be appended in its place: everything must come from a peer. */
static void hole_found(struct group *g, uint64_t contiguous_from)
{
	diag_line(g->set->diag, DIAG_WARN,
		"raft group=%s entries from %llu to %llu are missing, presents its log up to there",
		log_group_label(g->log), (unsigned long long)g->last + 1, (unsigned long long)contiguous_from - 1);
	g->has_hole = true;
	doubt_look(g);
	g->in_doubt = true;
}

/* Reads [applied + 1, last] while opening. */
enum err tail_read_now(struct group *g, const struct log_group_info *info)
{
	enum err e = OK;
	bool alone = group_is_sole_voter(g); /* in doubt too: what is here before the gap was durable */
	g->last = g->applied;
	if (info->state_lost && alone) { /* what is there continues nothing, and may be much */
		g->has_hole = true;
		return OK;
	}
	while (e == OK && g->last < info->last_index && g->state != GROUP_QUARANTINED) {
		struct log_read_req r = { .from = g->last + 1, .to = info->last_index, .bytes_max = TAIL_READ_BYTES };
		e = log_read_now(g->log, &r);
		if (e == OK)
			e = r.next > g->last + 1 ? tail_take(g, buf_slice(&r.entries), info->commit_index, &alone)
						 : ERR_CORRUPT;
		buf_deinit(&r.entries);
	}
	if (e != ERR_COMPACTED && e != ERR_CORRUPT) return e;
	hole_found(g, info->contiguous_from);
	return OK;
}

/* The same while running, for an instance that is loaded anew: nothing is applied, libraft will know soon what is committed. */
struct tail_read {
	struct async async;
	struct log_read_req read;
	uint64_t to;
};

static void tail_read_destroy(struct async *a)
{
	struct tail_read *t = CONTAINER_OF(a, struct tail_read, async);
	buf_deinit(&t->read.entries);
	mem_free(t);
}

static void tail_read_more(struct tail_read *t);

static void tail_read_done(struct log_read_req *req)
{
	struct tail_read *t = CONTAINER_OF(req, struct tail_read, read);
	struct group *g = t->async.g;
	enum err e = req->result;
	uint64_t before = g->last, to = t->to;
	bool alone = false;
	if (e == OK && g->reopening) e = tail_take(g, buf_slice(&req->entries), 0, &alone);
	if (e == OK && g->reopening && g->last == before) e = ERR_CORRUPT;
	if (e == OK && g->reopening && g->last < to) {
		tail_read_more(t);
		return;
	}
	async_remove(&t->async);
	tail_read_destroy(&t->async);
	if (!g->reopening) return;
	g->reopening = false;
	if (g->in_doubt && (e == ERR_COMPACTED || e == ERR_CORRUPT)) {
		hole_found(g, to);
		e = OK;
	}
	if (e == OK)
		instance_start(g);
	else
		group_stop(g, GROUP_BROKEN, "entries from %llu on cannot be read: %s", (unsigned long long)g->last + 1,
			err_text(e));
}

static void tail_read_more(struct tail_read *t)
{
	buf_deinit(&t->read.entries);
	t->read = (struct log_read_req) {
		.done = tail_read_done, .from = t->async.g->last + 1, .to = t->to, .bytes_max = TAIL_READ_BYTES
	};
	log_read(t->async.g->log, &t->read);
}

void reopen_step(struct group *g)
{
	/* What is on its way must be there first: the library takes all that it loads for stored. */
	if (!g->reopening || g->loading || !list_is_empty(&g->writes)) return;
	struct log_group_info info;
	log_group_info(g->log, &info);
	g->last = g->applied;
	buf_deinit(&g->tail);
	if (info.last_index <= g->applied) {
		g->reopening = false;
		instance_start(g);
		return;
	}
	struct tail_read *t = NEW(struct tail_read);
	t->to = info.last_index;
	g->loading = true;
	async_add(g, &t->async, tail_read_destroy);
	tail_read_more(t);
}
