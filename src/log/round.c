/* SPDX-License-Identifier: Apache-2.0 */
/* round — a settle round on its worker: entries from the slots to the segments, verified; segments synced; the state store committed; in
 * this order (S13). It touches nothing but the round and the files.
 */
#include "round.h"

enum { SINGLE_SYNCS_MAX = 8 };

static void group_bad(struct round_group *rg, uint64_t from, uint64_t to)
{
	rg->bad.from = rg->bad.from ? u64_min(rg->bad.from, from) : from;
	rg->bad.to = u64_max(rg->bad.to, to);
}

/* ---- one group ---- */

struct slice entry_without(const struct seq_set *erase, struct entry_head *h, struct slice entry, struct buf *copy)
{
	struct slice body = slice_of(entry.p + ENTRY_HEAD_BYTES, h->body_bytes);
	if (h->kind != ENTRY_COMMAND || !entry_erasable(body, erase->p, erase->count)) return entry;
	buf_clear(copy);
	buf_append_slice(copy, entry);
	bool any = entry_erase(h, copy->p, copy->n, erase->p, erase->count);
	ASSERT(any);
	return buf_slice(copy);
}

static enum err group_copy(struct round *r, struct round_group *rg, struct segment_writer *w)
{
	struct fetch f = { .files = r->files, .slot_count = r->slot_count };
	struct buf erased = { 0 };
	enum err e = OK;
	for (uint32_t i = 0; e == OK && i < rg->copies.count; i++) {
		struct entry_head h;
		struct slice entry;
		const struct fetch_item *item = &rg->copies.p[i];
		e = fetch_entry(&f, rg->id, item, rg->copies.count - i, &h, &entry);
		if (e == ERR_CORRUPT) {
			/* Damage costs this entry. No state may say that it is settled before the doubt is durable (S7). */
			r->has_found_damage |= !rg->is_doubted;
			group_bad(rg, item->index, item->index);
			rg->meta.contiguous_from = u64_max(rg->meta.contiguous_from, item->index + 1);
			e = OK;
			continue;
		}
		if (e == OK && rg->erase.count) entry = entry_without(&rg->erase, &h, entry, &erased);
		if (e == OK) e = segment_writer_add(w, &h, entry);
		rg->settled_count++;
	}
	buf_deinit(&erased);
	buf_deinit(&f.bytes);
	return e;
}

static enum err group_fetch_floats(struct round *r, struct round_group *rg)
{
	struct fetch f = { .files = r->files, .slot_count = r->slot_count };
	enum err e = OK;
	for (uint32_t i = 0; e == OK && i < rg->floats.count; i++) {
		struct entry_head h;
		struct slice entry;
		const struct fetch_item *item = &rg->floats.p[i];
		e = fetch_entry(&f, rg->id, item, rg->floats.count - i, &h, &entry);
		if (e == ERR_CORRUPT) {
			group_bad(rg, item->index, item->index);
			e = OK;
			continue;
		}
		if (e == OK) buf_append_slice(&rg->moved, entry);
	}
	buf_deinit(&f.bytes);
	return e;
}

/* The state that came with an install. Damage costs the group its state, not the round. */
static enum err group_read_state(struct io *io, struct round_group *rg)
{
	enum err e = install_read_state(io, &rg->place, rg->state_bytes, rg->state_crc, &rg->state);
	if (e != ERR_CORRUPT && e != ERR_NOT_FOUND && e != ERR_IO) return e;
	buf_clear(&rg->state);
	rg->is_state_bad = true;
	group_meta_lose_state(&rg->meta);
	return OK;
}

static enum err group_settle(struct round *r, struct round_group *rg)
{
	struct io *io = r->job.io;
	enum err e = OK;
	if (rg->needs_dir && rg->copies.count)
		e = r->syncs_tree ? segment_dir_make_unsynced(io, &rg->place) : segment_dir_make(io, &rg->place);
	if (e == OK && rg->is_installed) e = group_read_state(io, rg);
	if (e == OK && rg->rewrite) e = rewrite_apply(io, rg->rewrite, &rg->meta.segments);
	if (e != OK) return e;
	struct segment_writer w;
	/* A list that gets long gets longer segments: it must fit into one value of the state store. */
	uint64_t bytes_max = r->segment_bytes_max << u64_min(rg->meta.segments.count / 4096, 16);
	segment_writer_init(&w, io, &rg->place, bytes_max, &rg->meta.segments);
	w.defers_sync = r->syncs_tree;
	if (rg->copies.count) e = group_copy(r, rg, &w);
	if (e == OK && rg->copies.count) e = segment_writer_sync(&w);
	if (e == OK && w.bad.from) group_bad(rg, w.bad.from, w.bad.to);
	if (e == OK) segment_list_copy(&rg->list, &w.list);
	segment_writer_deinit(&w);
	return e == OK ? group_fetch_floats(r, rg) : e;
}

/* ---- the state store ---- */

static struct state_change group_change(struct round_group *rg)
{
	segment_list_deinit(&rg->meta.segments);
	segment_list_copy(&rg->meta.segments, &rg->list);
	group_meta_encode(&rg->meta, &rg->meta_bytes);
	return (struct state_change) {
		.group = rg->id,
		.drop = rg->is_installed,
		.meta = buf_slice(&rg->meta_bytes),
		.batch = rg->is_installed ? buf_slice(&rg->state) : buf_slice(&rg->batch.ops),
	};
}

static enum err round_commit(struct round *r)
{
	uint32_t count = r->count + r->drops_count;
	struct state_change *changes = mem_zalloc((count + 1) * sizeof *changes);
	for (uint32_t i = 0; i < r->count; i++) changes[i] = group_change(r->groups[i]);
	for (uint32_t i = 0; i < r->drops_count; i++)
		changes[r->count + i] = (struct state_change) { .group = r->drops[i], .drop = true };
	r->head = (struct state_head) { .round = r->number };
	enum err e = r->state_ops->commit(r->state, changes, count, &r->head);
	mem_free(changes);
	return e;
}

void round_run(struct io_job *job)
{
	struct round *r = CONTAINER_OF(job, struct round, job);
	r->result = OK;
	uint32_t files = 0;
	for (uint32_t i = 0; i < r->count; i++) files += r->groups[i]->copies.count > 0;
	/* Many syncs cost many turns of the device's cache; from here on one for all is cheaper. */
	r->syncs_tree = files > SINGLE_SYNCS_MAX;
	for (uint32_t i = 0; r->result == OK && i < r->count; i++) r->result = group_settle(r, r->groups[i]);
	if (r->result == OK && r->syncs_tree) r->result = io_tree_sync(job->io, r->groups_dir);
	if (r->result != OK || r->has_found_damage) return;
	r->result = round_commit(r);
	r->is_state_failure = r->result != OK;
}

/* ---- memory ---- */

void round_group_free(struct round_group *rg)
{
	mem_free(rg->copies.p);
	mem_free(rg->floats.p);
	state_batch_deinit(&rg->batch);
	group_meta_deinit(&rg->meta);
	segment_list_deinit(&rg->dropped);
	segment_list_deinit(&rg->list);
	buf_deinit(&rg->moved);
	buf_deinit(&rg->meta_bytes);
	buf_deinit(&rg->state);
	rewrite_plan_free(rg->rewrite);
	mem_free(rg->erase.p);
	mem_free(rg);
}

void round_free(struct round *r)
{
	if (!r) return;
	for (uint32_t i = 0; i < r->count; i++) round_group_free(r->groups[i]);
	mem_free(r->groups);
	mem_free(r->files);
	mem_free(r->groups_dir);
	mem_free(r->drops);
	mem_free(r);
}
