/* SPDX-License-Identifier: Apache-2.0 */
/* log_ends — where a process ended, and from what the next one began: the events whose number says that the histories went where it hurts.
 * All of it is looked at from outside: the log's own fields, and the disk. */
#include "log_sim.h"
#include "round.h"

/* ---- in which step of a round ---- */

struct unsynced {
	struct world *w;
	bool is_there;
};

/* Does the disk hold less of the file than its cache? */
static void segment_compare(void *arg, const char *path, uint64_t bytes)
{
	struct unsynced *u = arg;
	const char *dot = strrchr(path, '.');
	size_t have = 0, safe = 0;
	struct buf cached = { 0 }, device = { 0 };
	if (u->is_there || bytes == 0 || !dot || strcmp(dot, ".seg") != 0) return;
	struct sim_node *n = u->w->node;
	enum err e = sim_disk_read(n, path, 0, buf_reserve(&cached, bytes), bytes, false, &have);
	if (e == OK) e = sim_disk_read(n, path, 0, buf_reserve(&device, bytes), bytes, true, &safe);
	u->is_there = e != OK || have != safe || memcmp(cached.p, device.p, have) != 0;
	buf_deinit(&cached);
	buf_deinit(&device);
}

static bool segments_are_unsynced(struct world *w)
{
	struct unsynced u = { .w = w };
	sim_disk_each(w->node, "/store/groups", segment_compare, &u);
	return u.is_there;
}

/* Could a power loss not take the block that flies any more? Nobody has been told yet. */
static bool flying_is_safe(const struct actor *a)
{
	const struct block *b = a->log->journal.flying;
	char path[64];
	size_t got = 0;
	if (!b) return false;
	struct buf device = { 0 };
	slot_path(a->world, (uint32_t)((b->use - 1) % a->log->journal.slot_count), path, sizeof path);
	enum err e =
		sim_disk_read(a->world->node, path, b->offset, buf_reserve(&device, b->bytes), b->bytes, true, &got);
	bool is_safe = e == OK && got == b->bytes && memcmp(device.p, b->p, b->bytes) == 0;
	buf_deinit(&device);
	return is_safe;
}

static const char *work_step(const struct actor *a)
{
	const struct log *l = a->log;
	const struct round *r = l->settle.round;
	struct state_head head = { 0 };
	if (l->state->ops->head(l->state, &head) == OK && head.round == r->number)
		return "crash in a round: state committed, SETTLED not durable";
	/* round.c: the head is filled in when all segments are synced. */
	if (r->head.round == r->number) return "crash in a round: segments synced, state not committed";
	return segments_are_unsynced(a->world) ? "crash in a round: segments written, not synced"
					       : "crash in a round: before a segment is written";
}

static const char *round_step(const struct actor *a)
{
	const struct settle *t = &a->log->settle;
	switch (t->phase) {
	case ROUND_IDLE: return "crash outside of a round";
	case ROUND_ASK: return "crash in a round: asking";
	case ROUND_SYNC: return "crash in a round: waiting for the journal";
	case ROUND_WORK: return work_step(a);
	case ROUND_RECORD: break;
	}
	const struct block *b = a->log->journal.flying;
	return b && b->flags & BLOCK_SETTLED && flying_is_safe(a)
		       ? "crash in a round: SETTLED durable, slots not free"
		       : "crash in a round: state committed, SETTLED not durable";
}

/* ---- a table under way ---- */

static void table_note(struct actor *a)
{
	const struct block *b = a->log->journal.flying;
	struct flown_table *f = &a->world->table;
	if (!b || !(b->flags & BLOCK_TABLE)) return;
	buf_clear(&f->bytes);
	buf_append(&f->bytes, b->p, b->bytes);
	f->slot = (uint32_t)((b->use - 1) % a->log->journal.slot_count);
}

/* How much of the table that flew when the process ended has arrived? */
static void table_look(struct world *w)
{
	struct flown_table *f = &w->table;
	enum { SECTOR = 512 };
	char path[64];
	size_t got = 0, same = 0, all = 0;
	if (f->bytes.n == 0) return;
	struct buf now = { 0 };
	slot_path(w, f->slot, path, sizeof path);
	enum err e = sim_disk_read(w->node, path, 0, buf_reserve(&now, f->bytes.n), f->bytes.n, false, &got);
	for (size_t at = 0; e == OK && at + SECTOR <= got; at += SECTOR, all++)
		same += memcmp(now.p + at, f->bytes.p + at, SECTOR) == 0;
	if (same && same < all) world_count(w, "torn table");
	buf_deinit(&now);
	buf_clear(&f->bytes);
}

/* ---- the doors ---- */

void ends_count(struct actor *a)
{
	struct world *w = a->world;
	if (a->is_over) return;
	world_count(w, round_step(a));
	for (unsigned i = 0; i < w->groups_count; i++)
		if (a->owners[i].refill) world_count(w, "crash in an install");
	table_note(a);
}

void ends_boot(struct world *w) { table_look(w); }

void ends_truncate(struct owner *o, uint64_t from)
{
	struct world *w = o->actor->world;
	const struct log_group *g = o->g;
	const struct journal *j = &o->actor->log->journal;
	struct trunc_place *t = &w->trunc[o->at];
	if (from > g->last_index || from < g->refs.first) return;
	uint64_t use = refs_at(&g->refs, from)->use;
	/* The record may yet open the next slot; then it is one more. */
	if (use == 0 || use >= j->use) return;
	world_count(w, "log truncate across a slot");
	*t = (struct trunc_place) { use, j->use };
}

void ends_start(struct actor *a)
{
	struct world *w = a->world;
	const struct settle *t = &a->log->settle;
	if (t->held_round < t->recorded.round) world_count(w, "start with the state one back");
	for (unsigned i = 0; i < w->groups_count; i++) {
		struct trunc_place *p = &w->trunc[i];
		if (!p->entry_use) continue;
		if (t->held_use >= p->entry_use || !log_group_find(a->log, w->groups[i].id))
			*p = (struct trunc_place) { 0 };
		else if (p->trunc_use <= a->log->journal.use)
			world_count(w, "start over a truncation across a slot");
	}
}
