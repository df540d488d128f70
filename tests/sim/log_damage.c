/* SPDX-License-Identifier: Apache-2.0 */
/* log_damage — faults of the disk, one at a time, and whom each may touch.
 *
 * A fault of the journal is laid over its blocks, read back here by their own heads, so that it is known which groups it may bring into
 * doubt. What the log cannot see by design is left out: the last block, whose damage looks torn (docs/STORAGE.md, "What remains
 * undetected"). A start that has read everything ends the excuse of every group that is not in doubt then. */
#include <stdio.h>
#include <stdlib.h>

#include "log_sim.h"

bool damage_excuses(const struct world *w, unsigned at)
{
	return w->damage.touches_all || w->damage.touches[at] || w->is_doubted[at];
}

bool damage_takes_commits(const struct world *w, unsigned at)
{
	return w->damage.is_latent && (w->damage.is_table || damage_excuses(w, at));
}

bool world_disk_is_low(const struct world *w) { return w->is_low || sim_now_ns(w->sim) < w->low_until_ns; }

static void damage_begin(struct world *w, const char *what)
{
	w->damage.is_latent = true;
	(void)snprintf(w->damage.what, sizeof w->damage.what, "%s", what);
	note(w, "damage: %s", what);
	world_count(w, "damage injected");
}

/* A slot that is not needed is not looked at (docs/STORAGE.md, Starting), and one of them is kept all the same: the slot before the current one,
 * whose table stands in for the current one's (S4). What is wrong with it may show when that one rots. */
static bool is_in_stand_in(const struct world *w)
{
	return w->damage.use && w->damage.use + 1 == w->actor->log->journal.use;
}

void damage_was_looked_for(struct world *w)
{
	sim_disk_fail_clear(w->node);
	if (is_in_stand_in(w)) return;
	w->damage = (struct damage) { 0 };
}

/* ---- files ---- */

struct victims {
	const char *part; /* of the path */
	struct buf paths; /* owned: NUL-terminated, one behind the other */
	unsigned count;
};

static void victims_each(void *arg, const char *path, uint64_t bytes)
{
	struct victims *v = arg;
	/* A file that is still being made under another name is nobody's yet. */
	if (bytes == 0 || !strstr(path, v->part) || strstr(path, ".new")) return;
	buf_append(&v->paths, path, strlen(path) + 1);
	v->count++;
}

/* One of the files whose path contains the part; "" when there is none. */
static void victim_draw(struct world *w, const char *part, char *path, size_t n)
{
	struct victims v = { .part = part };
	path[0] = '\0';
	sim_disk_each(w->node, w->log.dir, victims_each, &v);
	if (v.count) {
		uint64_t k = world_below(w, v.count);
		const char *at = (const char *)v.paths.p;
		while (k--) at += strlen(at) + 1;
		(void)snprintf(path, n, "%s", at);
	}
	buf_deinit(&v.paths);
}

enum hurt { HURT_FLIP, HURT_ZERO, HURT_CUT, HURT_REMOVE, HURT_COUNT };

/* False: nothing was hurt. */
static bool file_hurt(struct world *w, const char *path, enum hurt how, char *what, size_t n)
{
	uint64_t bytes = 0, at = 0;
	enum err e = sim_disk_size(w->node, path, &bytes);
	if (e == OK && bytes == 0) return false;
	if (e == OK) at = world_below(w, bytes);
	if (e == OK && how == HURT_FLIP) e = sim_disk_flip(w->node, path, at, (unsigned)world_below(w, 8));
	if (e == OK && how == HURT_ZERO) {
		/* what a device gives for sectors that it has lost */
		static const uint8_t zeroes[4096];
		uint64_t unit = 512u << world_below(w, 4), from = at / unit * unit;
		e = sim_disk_overwrite(w->node, path, from, slice_of(zeroes, (size_t)u64_min(unit, bytes - from)));
	}
	if (e == OK && how == HURT_CUT) e = sim_disk_truncate(w->node, path, at);
	if (e == OK && how == HURT_REMOVE) e = sim_disk_remove(w->node, path);
	static const char *const names[] = { "a flip in", "zeroes in", "cut", "removed" };
	(void)snprintf(what, n, "%s %s at %llu: %s", names[how], path, (unsigned long long)at, err_name(e));
	if (e != OK) note(w, "damage: not %s", what);
	return e == OK;
}

static int group_of_path(const struct world *w, const char *path)
{
	const char *at = strstr(path, "/groups/");
	uint64_t id = at ? strtoull(at + 8, NULL, 16) : 0;
	for (unsigned i = 0; i < w->groups_count; i++)
		if (w->groups[i].id == id) return (int)i;
	return -1;
}

/* ---- the journal's blocks ---- */

struct audit_block {
	uint64_t number, use, offset, bytes;
	uint32_t slot;
	bool is_whole;
	uint32_t ids_count; /* or BLOCK_GROUPS_ALL */
	uint64_t ids[64];
};
struct audit {
	struct audit_block *blocks; /* owned, by number */
	unsigned count, cap;
};

void slot_path(const struct world *w, uint32_t k, char *path, size_t n)
{
	(void)snprintf(path, n, "%s/journal/%02u", w->log.dir, k);
}

static bool audit_key(struct world *w, struct block_key *k)
{
	for (unsigned copy = 0; copy < 2; copy++) {
		char path[64];
		uint8_t bytes[IDENTITY_BYTES];
		struct identity i;
		size_t got = 0;
		(void)snprintf(path, sizeof path, "%s/identity.%u", w->log.dir, copy);
		if (sim_disk_read(w->node, path, 0, bytes, sizeof bytes, true, &got) != OK || got < sizeof bytes)
			continue;
		if (identity_decode(bytes, &i) != OK) continue;
		memcpy(k->secret, i.secret, sizeof k->secret);
		return true;
	}
	return false;
}

static void audit_add(struct audit *a, const struct block_head *h, uint32_t slot, struct slice ids, bool is_whole)
{
	if (a->count == a->cap) {
		a->cap = a->cap ? a->cap * 2 : 64;
		a->blocks = mem_realloc(a->blocks, a->cap * sizeof *a->blocks);
	}
	unsigned at = a->count++;
	for (; at && a->blocks[at - 1].number > h->number; at--) a->blocks[at] = a->blocks[at - 1];
	struct audit_block *b = &a->blocks[at];
	*b = (struct audit_block) { .number = h->number,
		.use = h->use,
		.offset = h->offset,
		.bytes = block_bytes(h),
		.slot = slot,
		.is_whole = is_whole,
		.ids_count = h->groups_count };
	if (b->ids_count != BLOCK_GROUPS_ALL && b->ids_count > COUNT_OF(b->ids)) b->ids_count = BLOCK_GROUPS_ALL;
	for (uint32_t i = 0; b->ids_count != BLOCK_GROUPS_ALL && i < b->ids_count; i++)
		b->ids[i] = le64_get(ids.p + 8 * i);
}

static void audit_slot(struct world *w, struct audit *a, struct block_key key, uint32_t slot)
{
	char path[64];
	struct buf bytes = { 0 };
	size_t got = 0;
	slot_path(w, slot, path, sizeof path);
	if (sim_disk_read(w->node, path, 0, buf_reserve(&bytes, w->log.slot_bytes), w->log.slot_bytes, true, &got) !=
		OK)
		got = 0;
	key.use = got >= BLOCK_HEAD_BYTES ? block_head_use(bytes.p) : 0;
	for (uint64_t at = 0; key.use && at + BLOCK_HEAD_BYTES <= got;) {
		struct block_head h;
		if (block_head_decode(&key, at, bytes.p + at, &h) != OK || at + block_bytes(&h) > got) break;
		const uint8_t *body = bytes.p + at + BLOCK_HEAD_BYTES;
		struct slice ids = slice_of(body + h.body_bytes, block_list_bytes(h.groups_count));
		uint32_t lists = block_list_bytes(h.groups_count) + block_list_bytes(h.previous_count);
		uint32_t seed = block_seed(&key, at);
		bool is_whole = crc32c(seed, body, h.body_bytes) == h.crc_body &&
				crc32c(seed, body + h.body_bytes, lists) == h.crc_lists;
		audit_add(a, &h, slot, ids, is_whole);
		at += block_bytes(&h);
	}
	buf_deinit(&bytes);
}

static bool audit_run(struct world *w, struct audit *a)
{
	struct block_key key = { 0 };
	*a = (struct audit) { 0 };
	if (!audit_key(w, &key)) return false;
	for (uint32_t k = 0; k < w->log.slot_count; k++) audit_slot(w, a, key, k);
	return a->count > 1;
}

static bool hurt_journal(struct world *w)
{
	struct audit a;
	char path[64], what[280];
	if (!audit_run(w, &a)) {
		mem_free(a.blocks);
		return false;
	}
	/* Not the last one. Mostly the newer half, which is still needed. */
	unsigned last = a.count - 1, low = world_chance(w, 80) ? last / 2 : 0;
	if (a.blocks[low].number == 1 && ++low == last) {
		/* The very first block of all holds the first table: without it nothing says that there was nothing before. */
		mem_free(a.blocks);
		return false;
	}
	const struct audit_block *b = &a.blocks[low + world_below(w, last - low)];
	uint64_t at = b->offset + world_below(w, world_chance(w, 25) ? BLOCK_HEAD_BYTES : b->bytes);
	slot_path(w, b->slot, path, sizeof path);
	enum err e = sim_disk_flip(w->node, path, at, (unsigned)world_below(w, 8));
	(void)snprintf(what, sizeof what, "a flip in %s at %llu: block %llu of %llu, use %llu, %llu..%llu: %s", path,
		(unsigned long long)at, (unsigned long long)b->number, (unsigned long long)a.blocks[last].number,
		(unsigned long long)b->use, (unsigned long long)b->offset, (unsigned long long)(b->offset + b->bytes),
		err_name(e));
	damage_begin(w, what);
	world_count(w, b->offset ? "damage journal" : "damage table");
	w->damage.use = b->use;
	w->damage.is_table = b->offset == 0;
	/* Whom it touches is said by its own list or by its successor's, if that is not torn. */
	w->damage.touches_all = b->ids_count == BLOCK_GROUPS_ALL || !b[1].is_whole;
	for (uint32_t i = 0; !w->damage.touches_all && i < b->ids_count; i++)
		for (unsigned g = 0; g < w->groups_count; g++)
			if (w->groups[g].id == b->ids[i]) w->damage.touches[g] = true;
	for (unsigned g = 0; g < w->groups_count; g++)
		if (w->damage.touches_all || w->damage.touches[g]) w->hurt_use[g] = b->use;
	mem_free(a.blocks);
	return true;
}

/* ---- a binary that knew more was here before (S20) ---- */

/* Changes the bytes of a block's head to these; *was is what stood there. */
static enum err head_change(struct world *w, const char *path, uint64_t at, const uint8_t to[BLOCK_HEAD_BYTES],
	uint8_t was[BLOCK_HEAD_BYTES])
{
	size_t got = 0;
	enum err e = sim_disk_read(w->node, path, at, was, BLOCK_HEAD_BYTES, true, &got);
	for (unsigned i = 0; e == OK && i < BLOCK_HEAD_BYTES; i++)
		for (unsigned bit = 0; e == OK && bit < 8; bit++)
			if ((was[i] ^ to[i]) >> bit & 1) e = sim_disk_flip(w->node, path, at + i, bit);
	return e;
}

void damage_level_back(struct world *w)
{
	uint8_t now[BLOCK_HEAD_BYTES];
	if (head_change(w, w->newer_path, w->newer_at, w->newer_was, now) != OK) UNREACHABLE();
	w->is_newer = false;
}

static void level_up(struct world *w)
{
	struct audit a;
	struct block_key key = { 0 };
	uint8_t bytes[BLOCK_HEAD_BYTES], seen[BLOCK_HEAD_BYTES];
	size_t got = 0;
	struct block_head h;
	if (audit_run(w, &a) && audit_key(w, &key)) {
		const struct audit_block *b = &a.blocks[a.count - 1];
		slot_path(w, b->slot, w->newer_path, sizeof w->newer_path);
		w->newer_at = b->offset;
		key.use = b->use;
		bool is_there =
			sim_disk_read(w->node, w->newer_path, b->offset, bytes, sizeof bytes, true, &got) == OK &&
			got == sizeof bytes && block_head_decode(&key, b->offset, bytes, &h) == OK;
		if (is_there) {
			h.level = LOG_FORMAT_LEVEL + 1;
			block_head_encode(&key, &h, bytes);
			w->is_newer = head_change(w, w->newer_path, w->newer_at, bytes, w->newer_was) == OK;
			note(w, "block %llu is of level %u", (unsigned long long)b->number, h.level);
			world_count(w, "log level up");
			/* A write beside it that is not synced hides what is on the device. */
			bool is_seen = sim_disk_read(w->node, w->newer_path, b->offset, seen, sizeof seen, false,
					       &got) == OK &&
				       got == sizeof seen && memcmp(seen, bytes, sizeof seen) == 0;
			if (w->is_newer && !is_seen) damage_level_back(w);
		}
	}
	mem_free(a.blocks);
}

/* A slot that lost its end or its name. */
static bool hurt_slot(struct world *w)
{
	char path[64], what[280];
	slot_path(w, (uint32_t)world_below(w, w->log.slot_count), path, sizeof path);
	struct audit a;
	bool has_more = audit_run(w, &a);
	/* The slot of the last block too can go: then its acknowledged end is gone, and the name says so. */
	mem_free(a.blocks);
	if (!has_more) return false;
	if (!file_hurt(w, path, world_chance(w, 50) ? HURT_CUT : HURT_REMOVE, what, sizeof what)) return false;
	damage_begin(w, what);
	world_count(w, "damage slot");
	w->damage.touches_all = true;
	return true;
}

/* ---- other files ---- */

static bool hurt_segment(struct world *w)
{
	char path[160], what[260];
	victim_draw(w, "/groups/", path, sizeof path);
	int at = path[0] ? group_of_path(w, path) : -1;
	if (at < 0) return false;
	bool is_idx = strstr(path, ".idx") != NULL;
	if (!file_hurt(w, path, (enum hurt)world_below(w, HURT_COUNT), what, sizeof what)) return false;
	damage_begin(w, what);
	world_count(w, is_idx ? "damage index" : "damage segment");
	w->damage.touches[at] = !is_idx;
	w->was_hurt[at] |= !is_idx;
	return true;
}

static bool image_is_whole(struct world *w, unsigned which)
{
	char path[64];
	uint64_t bytes = 0;
	bool is_whole = true;
	struct buf b = { 0 };
	(void)snprintf(path, sizeof path, "%s/state.lmdb.%u", w->log.dir, which);
	/* On the device, and as the next process sees it: a commit that a kill interrupted may be half in the cache. */
	for (unsigned i = 0; is_whole && i < 2; i++) {
		size_t got = 0;
		enum err e = sim_disk_size(w->node, path, &bytes);
		buf_clear(&b);
		if (e == OK) e = sim_disk_read(w->node, path, 0, buf_reserve(&b, bytes), bytes, i == 0, &got);
		is_whole = e == OK && sim_state_image_is_whole(slice_of(b.p, got));
	}
	buf_deinit(&b);
	return is_whole;
}

static uint64_t newest_use(struct world *w)
{
	struct audit a;
	uint64_t use = audit_run(w, &a) ? a.blocks[a.count - 1].use : 0;
	mem_free(a.blocks);
	return use;
}

static bool hurt_state(struct world *w)
{
	char path[64], what[280];
	bool whole[SIM_STATE_IMAGES] = { image_is_whole(w, 0), image_is_whole(w, 1) };
	bool both = world_chance(w, 30), any = false;
	enum hurt how = (enum hurt)world_below(w, HURT_COUNT);
	unsigned which = (unsigned)world_below(w, SIM_STATE_IMAGES);
	if (!whole[0] && !whole[1]) return false;
	for (unsigned i = 0; i < SIM_STATE_IMAGES; i++) {
		if (!both && i != which) continue;
		(void)snprintf(path, sizeof path, "%s/state.lmdb.%u", w->log.dir, i);
		any |= file_hurt(w, path, how, what, sizeof what);
	}
	if (!any) return false;
	damage_begin(w, what);
	/* One whole image left: that, or the round before it. */
	bool is_lost = both || !whole[!which];
	world_count(w, is_lost ? "damage state lost" : "damage state image");
	w->damage.touches_all = is_lost;
	uint64_t newest = newest_use(w);
	for (unsigned i = 0; i < w->groups_count; i++)
		w->damage.touches[i] =
			w->was_hurt[i] || (w->hurt_use[i] && w->hurt_use[i] + w->log.slot_count > newest);
	return true;
}

static bool hurt_identity(struct world *w)
{
	char path[64], what[280];
	(void)snprintf(path, sizeof path, "%s/identity.%u", w->log.dir, (unsigned)world_below(w, 2));
	if (!file_hurt(w, path, (enum hurt)world_below(w, HURT_COUNT), what, sizeof what)) return false;
	damage_begin(w, what);
	world_count(w, "damage identity");
	return true;
}

static bool is_single_fault(const struct world *w)
{
	if (w->damage.is_latent || w->is_low) return false;
	for (unsigned i = 0; i < w->groups_count; i++) {
		const struct model_group *m = &w->groups[i];
		if (model_is_gone(m, w->acked_op)) continue;
		if (w->is_doubted[i] || model_ends_doubt(m, w->acked_op)) return false;
	}
	return true;
}

void damage_at_rest(struct world *w)
{
	if (w->boots && !w->is_draining && !w->is_newer && world_chance(w, 3) && is_single_fault(w)) level_up(w);
	if (w->is_newer) return;
	if (!w->has_damage || w->is_draining || w->boots == 0 || !world_chance(w, 40) || !is_single_fault(w)) return;
	uint64_t n = w->options.slant == SLANT_STATE ? 82 : world_below(w, 100);
	(void)(n < 55    ? hurt_journal(w)
		: n < 62 ? hurt_slot(w)
		: n < 82 ? hurt_segment(w)
		: n < 95 ? hurt_state(w)
			 : hurt_identity(w));
}

/* ---- while running ---- */

static void full_disk_toggle(struct world *w)
{
	if (w->is_low) {
		sim_disk(w->node)->capacity_bytes = w->capacity_bytes;
		w->is_low = false;
		w->low_until_ns = sim_now_ns(w->sim) + SECONDS(3);
		note(w, "damage: the disk has room again");
		return;
	}
	if (!is_single_fault(w)) return;
	uint64_t left =
		world_chance(w, 50) ? world_below(w, 16) * 4096 : w->log.space_none_bytes + world_below(w, 128 * KIB);
	sim_disk(w->node)->capacity_bytes = sim_disk_used_bytes(w->node) + left;
	w->is_low = true;
	note(w, "damage: the disk has %llu bytes left", (unsigned long long)left);
	world_count(w, "damage disk full");
}

static void call_fails(struct world *w)
{
	static const char *const parts[] = { "/journal/", "/groups/", "/state.lmdb" };
	const char *part = parts[world_below(w, COUNT_OF(parts))];
	enum sim_call call = world_chance(w, 60) ? SIM_CALL_SYNC : SIM_CALL_WRITE;
	damage_begin(w, call == SIM_CALL_SYNC ? "a sync fails" : "a write fails");
	note(w, "damage: it is of %s", part);
	world_count(w, call == SIM_CALL_SYNC ? "damage sync fails" : "damage write fails");
	sim_disk_fail(w->node, call, part, (unsigned)world_below(w, 12), 1, ERR_IO);
	w->damage.may_die = true;
	/* Data that a failed sync took from the cache is read as damage, if it ever counted: it does not. */
}

static void read_fails(struct actor *a)
{
	struct world *w = a->world;
	if (w->groups_count == 0) return;
	unsigned at = (unsigned)world_below(w, w->groups_count);
	char part[64];
	bool is_journal = world_chance(w, 40);
	(void)snprintf(
		part, sizeof part, is_journal ? "/journal/" : "/groups/%016llx", (unsigned long long)w->groups[at].id);
	damage_begin(w, "a read fails");
	world_count(w, "damage read fails");
	unsigned skip = (unsigned)world_below(w, 4);
	sim_disk_fail(w->node, SIM_CALL_READ, part, skip, 1 + (unsigned)world_below(w, 2), ERR_IO);
	w->damage.touches_all = is_journal;
	w->damage.touches[at] = true;
}

void damage_running(struct actor *a)
{
	struct world *w = a->world;
	uint64_t n = world_below(w, 100);
	if (w->has_full_disk && (n < 40 || w->is_low))
		full_disk_toggle(w);
	else if (w->has_io_faults && is_single_fault(w) && n < 60)
		call_fails(w);
	else if (w->has_io_faults && is_single_fault(w) && n < 80)
		read_fails(a);
	else if (w->has_damage && is_single_fault(w))
		(void)hurt_segment(w);
}

void damage_all_well(struct world *w)
{
	sim_disk_fail_clear(w->node);
	sim_disk_crash_clear(w->node);
	if (w->is_low) full_disk_toggle(w);
	w->damage.may_die = false;
}
