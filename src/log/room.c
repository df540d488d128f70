/* SPDX-License-Identifier: Apache-2.0 */
/* room — does what has to move out of the oldest slots find room at the head of the journal (S8, S12)? Rounds ask before they take a slot,
 * and so does whoever is admitted to the reserve.
 *
 * Two answers: an estimate from sums, which is on the safe side by a good part of a small slot, and, where that says no, the blocks themselves
 * laid out as the journal would (struct layout), as long as there are few enough entries. */
#include "round.h"

enum { LAYOUT_ENTRIES_MAX = 2000 };

uint64_t settle_full_use(const struct log *l)
{
	const struct journal *j = &l->journal;
	const struct block *first = j->unsynced ? j->unsynced : j->flying;
	if (!first && !list_is_empty(&j->waiting)) first = CONTAINER_OF(j->waiting.next, struct block, link_by_order);
	if (!first) first = j->gathering;
	uint64_t pending = first ? first->use : UINT64_MAX;
	return u64_min(j->use, pending) - 1;
}

/* What floats in a slot takes this much of the next ones: blocks have heads and do not fill their sectors. SETTLED of this round and of the
 * next, which gives the slots back, is among it. */
static uint64_t moved_bytes(uint64_t floating) { return floating + floating / 4 + 2 * (uint64_t)BLOCK_ALIGN; }

uint64_t floats_bytes(const struct log *l, uint64_t use)
{
	uint64_t bytes = 0;
	/* Also in uses that a round has been through, if they are not free yet: the copies that it moved were lost, and these count again. */
	for (uint64_t u = l->journal.oldest_use; u <= use; u++) bytes += journal_slot(l, u)->floating_bytes;
	return bytes;
}

/* ---- laid out ---- */

/* Frames as they would fall into blocks and slots: journal_gather, without writing. */
struct layout {
	const struct log *l;
	uint64_t next_at;      /* of the block that begins next */
	uint64_t at, n, n_max; /* of the one that gathers; n 0: none does */
	uint64_t slots;        /* begun behind the current one */
	unsigned entries;
	bool is_too_much;
};

/* A block's lists at the most. */
static uint64_t layout_lists(const struct layout *y)
{
	return 2 * (uint64_t)8 *
	       u64_min(y->l->journal.list_groups_max, (uint64_t)y->l->groups_count + LIST_GROUPS_MORE);
}

static void layout_seal(struct layout *y)
{
	if (y->n) y->next_at = y->at + round_up(y->n + layout_lists(y), BLOCK_ALIGN);
	y->n = 0;
}

static void layout_add(struct layout *y, uint64_t bytes)
{
	const struct journal *j = &y->l->journal;
	uint64_t lists = layout_lists(y), need = BLOCK_HEAD_BYTES + bytes + lists;
	if (y->n && y->n + bytes > y->n_max) layout_seal(y);
	if (y->n == 0) {
		if (y->next_at && y->next_at + need > j->slot_bytes) {
			y->slots++;
			y->next_at = 0;
		}
		uint64_t table = y->next_at ? 0 : table_bytes(y->l->groups_count);
		y->is_too_much |= table + need > j->slot_bytes;
		y->at = y->next_at;
		y->n = BLOCK_HEAD_BYTES + table;
		y->n_max = BLOCK_HEAD_BYTES + table + u64_max(bytes, j->block_bytes_target);
		y->n_max = u64_min(y->n_max, j->slot_bytes - u64_min(j->slot_bytes, y->at + lists));
	}
	y->n += bytes;
}

static void layout_refs(struct layout *y, const struct log_refs *refs, uint64_t from, uint64_t use)
{
	for (uint64_t i = u64_max(from, refs->first); i - refs->first < refs->count && !y->is_too_much; i++) {
		const struct log_ref *ref = refs_at(refs, i);
		y->is_too_much = ++y->entries > LAYOUT_ENTRIES_MAX;
		if (ref->use && ref->use <= use) layout_add(y, FRAME_HEAD_BYTES + ref_bytes(ref));
	}
}

static bool layout_fits(const struct log *l, uint64_t use, uint64_t before, unsigned blocks)
{
	const struct journal *j = &l->journal;
	const struct block *b = j->gathering;
	struct layout y = { .l = l, .next_at = j->next_at };
	if (b) {
		y.at = b->offset;
		y.n = b->n;
		y.n_max = b->frames_max;
	}
	if (before) {
		layout_add(&y, before);
		layout_seal(&y);
	}
	for (uint32_t i = 0; i < l->groups_count && !y.is_too_much; i++) {
		const struct log_group *g = l->groups[i];
		if (g->floating_bytes == 0) continue;
		layout_refs(&y, &g->refs, u64_max(g->applied_index, g->settled_index) + 1, use);
		layout_refs(&y, &g->stranded, 0, use);
	}
	for (unsigned i = 0; i < blocks + 2; i++) { /* SETTLED, and that of the round behind it */
		layout_add(&y, FRAME_HEAD_BYTES + entry_bytes(SETTLED_BYTES));
		layout_seal(&y);
	}
	return !y.is_too_much && y.slots <= journal_free_slots(l);
}

/* ---- by sums ---- */

/* Do so many bytes that must move find room behind so many others, and so many small blocks besides? */
static bool moves_fit(const struct log *l, uint64_t moves, uint64_t before, unsigned blocks)
{
	if (moves == 0 && before == 0) return true;
	return journal_has_rest(l, before + moves + entry_bytes(SETTLED_BYTES) + FRAME_HEAD_BYTES, 1 + blocks) ||
	       journal_has_room(l, before + moved_bytes(moves) + blocks * (uint64_t)BLOCK_ALIGN, 0);
}

bool floats_fit(const struct log *l, uint64_t use, uint64_t before, unsigned blocks)
{
	return moves_fit(l, floats_bytes(l, use), before, blocks) || layout_fits(l, use, before, blocks);
}

bool floats_fit_well(const struct log *l, uint64_t use)
{
	return journal_has_room(l, moved_bytes(floats_bytes(l, use)), 1);
}

bool floats_are_worth_moving(const struct log *l, uint64_t use)
{
	uint64_t bytes = l->journal.slot_bytes, won = 0;
	for (uint64_t u = l->settle.held_use + 1; u <= use; u++) {
		uint64_t floating = journal_slot(l, u)->floating_bytes, moved = floating ? moved_bytes(floating) : 0;
		won += bytes > moved ? bytes - moved : 0;
	}
	return won >= bytes / 8;
}

/* ---- who passes ---- */

/* What a round under way captured it moves, whatever has been applied since, and whether it was worth it or not. */
static bool round_lets_pass(const struct log *l, uint64_t bytes)
{
	const struct settle *t = &l->settle;
	bool is_to_move = t->round && t->phase != ROUND_RECORD;
	return !is_to_move || moves_fit(l, t->round->moves_bytes, bytes, 0);
}

bool settle_lets_grow(const struct log *l, uint64_t bytes)
{
	bool is_to_move = l->settle.round && l->settle.round->moves_bytes;
	return !is_to_move || round_lets_pass(l, bytes);
}

bool settle_lets_pass(const struct log *l, uint64_t bytes)
{
	/* SETTLED of a round that begins meanwhile and of the one behind it must not make the difference. */
	enum { SPARE = 2 };
	uint64_t full = settle_full_use(l), next = l->settle.held_use + 1, moves = floats_bytes(l, next);
	if (!round_lets_pass(l, bytes)) return false;
	if (next > full || !floats_are_worth_moving(l, full) || !floats_fit(l, next, 0, 0)) return true;
	if (!floats_fit(l, next, bytes, SPARE)) return false;
	/* What is behind it moves when it is free, and not before: what passes meanwhile takes that room too. */
	for (uint64_t u = next + 1; u <= full; u++) {
		moves += journal_slot(l, u)->floating_bytes;
		uint64_t need = moves ? moved_bytes(moves) : 0, more = bytes + SPARE * (uint64_t)BLOCK_ALIGN;
		if (journal_will_have_room(l, need, u - 1) && !journal_will_have_room(l, need + more, u - 1))
			return false;
	}
	return true;
}
