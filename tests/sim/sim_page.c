/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of one file, twice: what reads show (the cache) and what a loss of power leaves (the device), page by page; and the
 * list of changes since the last sync, from which a loss of power mixes what was on its way.
 *
 *   write ─> cache page (own copy, dirty) + change ── sync ──> device page = cache page, changes forgotten
 *                                                  └─ power ─> device page = some earlier state of every unit; cache = device
 *
 * Pages are shared by pointer while cache and device agree, and absent while they are zeroes. */
#include <stdlib.h>

#include "sim/sim_impl.h"

static uint64_t page_of(uint64_t at) { return at / SIM_PAGE_BYTES; }
static uint64_t pages_for(uint64_t bytes) { return (bytes + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES; }

/* The part of [at, at + n) that lies in page k, as offsets in the page. */
struct span {
	uint32_t from, to;
};
static struct span span_in_page(uint64_t k, uint64_t at, uint64_t n)
{
	const uint64_t start = k * SIM_PAGE_BYTES, end = start + SIM_PAGE_BYTES;
	const uint64_t from = u64_max(at, start), to = u64_min(at + n, end);
	return from < to ? (struct span) { (uint32_t)(from - start), (uint32_t)(to - start) } : (struct span) { 0, 0 };
}

/* ---- pages ---- */

static void pages_reserve(struct sim_inode *i, uint64_t count)
{
	if (count <= i->page_room) return;
	const uint64_t room = u64_max(count, 2 * i->page_room);
	i->pages = mem_realloc(i->pages, room * sizeof *i->pages);
	memset(i->pages + i->page_room, 0, (room - i->page_room) * sizeof *i->pages);
	i->page_room = room;
}

static void page_cache_drop(struct sim_page *page)
{
	if (page->cache != page->device) mem_free(page->cache);
	page->cache = page->device;
}

/* The page's cache as memory of its own; `whole`: all of it is about to be written. */
static uint8_t *page_cache_own(struct sim_page *page, bool whole)
{
	if (page->cache && page->cache != page->device) return page->cache;
	if (whole)
		page->cache = mem_alloc(SIM_PAGE_BYTES);
	else
		page->cache = page->cache ? mem_dup(page->cache, SIM_PAGE_BYTES) : mem_zalloc(SIM_PAGE_BYTES);
	return page->cache;
}

static void page_to_device(struct sim_page *page)
{
	if (page->cache != page->device) mem_free(page->device);
	page->device = page->cache;
}

/* The device's content as memory. What a clean page shares with it stays shared: damage shows in both. */
static uint8_t *page_device_own(struct sim_page *page)
{
	const bool is_shared = page->cache == page->device && !page->is_dirty;
	if (!page->device) page->device = mem_zalloc(SIM_PAGE_BYTES);
	if (is_shared) page->cache = page->device;
	return page->device;
}

static void page_free(struct sim_page *page)
{
	page_cache_drop(page);
	mem_free(page->device);
	*page = (struct sim_page) { 0 };
}

/* ---- space ---- */

static bool inode_counts(const struct sim_inode *i) { return i->links > 0 || i->opens > 0; }

static bool page_allocate(struct sim_inode *i, struct sim_page *page)
{
	struct sim_node *n = i->node;
	if (page->is_allocated) return true;
	if ((n->pages_used + 1) * SIM_PAGE_BYTES > n->disk.capacity_bytes) return false;
	page->is_allocated = true;
	i->pages_allocated++;
	if (inode_counts(i)) n->pages_used++;
	return true;
}

static void page_release(struct sim_inode *i, struct sim_page *page)
{
	if (!page->is_allocated) return;
	page->is_allocated = false;
	i->pages_allocated--;
	if (inode_counts(i)) i->node->pages_used--;
}

/* ---- changes ---- */

static void change_add(struct sim_inode *i, enum sim_change_kind kind, uint64_t at, uint64_t n, const uint8_t *bytes)
{
	struct sim_change *c = NEW(struct sim_change);
	*c = (struct sim_change) { .kind = kind, .at = at, .n = n, .size_after = i->size };
	c->bytes = bytes && n > 0 ? mem_dup(bytes, n) : NULL;
	list_push_back(&i->changes, &c->link);
}

static void changes_forget(struct sim_inode *i)
{
	struct list *node;
	while ((node = list_pop_front(&i->changes)) != NULL) {
		struct sim_change *c = CONTAINER_OF(node, struct sim_change, link);
		mem_free(c->bytes);
		mem_free(c);
	}
}

static void page_change(struct sim_page *page, struct span span, const uint8_t *bytes)
{
	page->is_dirty = true;
	if (!bytes && !page->cache) {
		/* Zeroes over zeroes: still a change, but no memory. */
		return;
	}
	uint8_t *cache = page_cache_own(page, span.to - span.from == SIM_PAGE_BYTES);
	if (bytes)
		memcpy(cache + span.from, bytes, span.to - span.from);
	else
		memset(cache + span.from, 0, span.to - span.from);
}

uint64_t sim_file_write(struct sim_inode *i, uint64_t at, const uint8_t *bytes, uint64_t n)
{
	uint64_t done = 0;
	if (n == 0) return 0;
	pages_reserve(i, pages_for(at + n));
	while (done < n) {
		const uint64_t k = page_of(at + done);
		const struct span span = span_in_page(k, at + done, n - done);
		if (!page_allocate(i, &i->pages[k])) break;
		page_change(&i->pages[k], span, bytes ? bytes + done : NULL);
		done += span.to - span.from;
	}
	if (done == 0) return 0;
	i->size = u64_max(i->size, at + done);
	change_add(i, SIM_CHANGE_BYTES, at, done, bytes);
	return done;
}

uint64_t sim_file_read(const struct sim_inode *i, uint64_t at, uint8_t *p, uint64_t n, bool from_device)
{
	const uint64_t size = from_device ? i->device_size : i->size;
	if (at >= size) return 0;
	n = u64_min(n, size - at);
	for (uint64_t done = 0; done < n;) {
		const uint64_t k = page_of(at + done);
		const struct span span = span_in_page(k, at + done, n - done);
		const struct sim_page *page = k < i->page_room ? &i->pages[k] : NULL;
		const uint8_t *from = !page ? NULL : from_device ? page->device : page->cache;
		if (from)
			memcpy(p + done, from + span.from, span.to - span.from);
		else
			memset(p + done, 0, span.to - span.from);
		done += span.to - span.from;
	}
	return n;
}

/* Takes [bytes, size) out of the cache. */
static void file_cut(struct sim_inode *i, uint64_t bytes)
{
	const uint64_t end = u64_min(pages_for(i->size), i->page_room);
	for (uint64_t k = page_of(bytes); k < end; k++) {
		struct sim_page *page = &i->pages[k];
		const struct span span = span_in_page(k, bytes, i->size - bytes);
		if (span.from > 0) {
			page_change(page, (struct span) { span.from, SIM_PAGE_BYTES }, NULL);
			continue;
		}
		page->is_dirty = true;
		if (page->cache != page->device) mem_free(page->cache);
		page->cache = NULL;
		page_release(i, page);
	}
}

void sim_file_resize(struct sim_inode *i, uint64_t bytes)
{
	const uint64_t before = i->size;
	if (bytes == before) return;
	if (bytes < before) file_cut(i, bytes);
	i->size = bytes;
	if (bytes < before)
		change_add(i, SIM_CHANGE_CUT, bytes, before - bytes, NULL);
	else
		change_add(i, SIM_CHANGE_GROW, before, 0, NULL);
}

/* Calls `each` for every dirty page, in order, and cleans it. Dirty pages are found through the changes that made them. */
static void dirty_pages_clean(struct sim_inode *i, void (*each)(struct sim_inode *i, uint64_t k, void *arg), void *arg)
{
	uint64_t first = UINT64_MAX, end = 0;
	LIST_EACH (node, &i->changes) {
		const struct sim_change *c = CONTAINER_OF(node, struct sim_change, link);
		if (c->n == 0) continue;
		first = u64_min(first, page_of(c->at));
		end = u64_max(end, pages_for(c->at + c->n));
	}
	end = u64_min(end, i->page_room);
	for (uint64_t k = first; k < end; k++) {
		if (!i->pages[k].is_dirty) continue;
		each(i, k, arg);
		i->pages[k].is_dirty = false;
	}
}

static void page_sync_each(struct sim_inode *i, uint64_t k, void *arg)
{
	const enum sim_effect *effect = arg;
	if (*effect == SIM_EFFECT_FULL || sim_draw(i->node->s, 2) == 0) page_to_device(&i->pages[k]);
}

void sim_file_sync(struct sim_inode *i, enum sim_effect effect)
{
	if (list_is_empty(&i->changes) || effect == SIM_EFFECT_NONE) return;
	dirty_pages_clean(i, page_sync_each, &effect);
	/* The length is known to the device once anything of the sync got there. */
	if (effect == SIM_EFFECT_FULL || sim_draw(i->node->s, 2) == 0) i->device_size = i->size;
	changes_forget(i);
}

void sim_file_evict(struct sim_inode *i, uint64_t at, uint64_t n)
{
	const uint64_t end = u64_min(pages_for(u64_min(at + n, i->size)), i->page_room);
	for (uint64_t k = page_of(at); k < end; k++) {
		struct sim_page *page = &i->pages[k];
		if (page->is_dirty || page->cache == page->device) continue;
		sim_count(i->node->s, "disk stale page read anew");
		page_cache_drop(page);
	}
}

uint64_t sim_file_dirty_bytes(const struct sim_inode *i)
{
	uint64_t pages = 0;
	for (uint64_t k = 0; k < i->page_room; k++) pages += i->pages[k].is_dirty;
	return pages * SIM_PAGE_BYTES;
}

/* ---- loss of power ---- */

enum loss_mode {
	LOSS_NOTHING_KEPT,
	LOSS_ALL_KEPT,
	LOSS_PREFIX,  /* the first changes, and some units of the next */
	LOSS_CHANGES, /* each change by itself */
	LOSS_UNITS,   /* each unit of each change by itself */
	LOSS_MODE_COUNT
};

struct loss {
	enum loss_mode mode;
	struct sim_change **changes; /* owned */
	bool *is_kept;               /* owned; for LOSS_CHANGES */
	size_t count;
	size_t size_at;  /* the length is the one after this many changes */
	size_t end;      /* changes from here on are lost: they came after a cut that is */
	size_t cuts_end; /* changes before it that cut are kept, for the length says so */
	size_t prefix;
};

static bool loss_keeps(struct sim *s, const struct loss *l, size_t c)
{
	if (c >= l->end) return false;
	if (l->changes[c]->kind == SIM_CHANGE_CUT && c < l->cuts_end) return true;
	switch (l->mode) {
	case LOSS_NOTHING_KEPT: return false;
	case LOSS_ALL_KEPT: return true;
	case LOSS_PREFIX: return c < l->prefix || (c == l->prefix && sim_draw(s, 2) == 0);
	case LOSS_CHANGES: return l->is_kept[c];
	case LOSS_UNITS: return sim_draw(s, 2) == 0;
	case LOSS_MODE_COUNT: break;
	}
	UNREACHABLE();
}

static bool change_touches(const struct sim_change *c, uint64_t at, uint64_t n)
{
	return c->at < at + n && at < c->at + c->n;
}

static void unit_apply(uint8_t *page, uint64_t k, uint64_t at, uint64_t n, const struct sim_change *c)
{
	const uint64_t from = u64_max(at, c->at), to = u64_min(at + n, c->at + c->n);
	uint8_t *out = page + (from - k * SIM_PAGE_BYTES);
	if (c->bytes)
		memcpy(out, c->bytes + (from - c->at), to - from);
	else
		memset(out, 0, to - from);
}

/* A unit ends in the state after the last change of it that is kept: with that one all earlier ones of the same unit. */
static void unit_lose(struct sim *s, const struct loss *l, uint8_t *page, uint64_t k, uint64_t at, uint64_t n)
{
	size_t touched = 0, kept_end = 0;
	for (size_t c = 0; c < l->count; c++) {
		if (!change_touches(l->changes[c], at, n)) continue;
		touched++;
		if (loss_keeps(s, l, c)) kept_end = c + 1;
	}
	if (touched == 0) return;
	for (size_t c = 0; c < kept_end; c++)
		if (change_touches(l->changes[c], at, n)) unit_apply(page, k, at, n, l->changes[c]);
}

static void page_ruin(struct sim *s, uint8_t *page)
{
	sim_count(s, "disk page ruined");
	if (sim_draw(s, 4) == 0) {
		memset(page, 0, SIM_PAGE_BYTES);
		return;
	}
	for (size_t at = 0; at < SIM_PAGE_BYTES; at += 8) le64_put(page + at, prng_next(&s->chance));
}

static void page_lose_each(struct sim_inode *i, uint64_t k, void *arg)
{
	const struct loss *l = arg;
	struct sim *s = i->node->s;
	struct sim_page *page = &i->pages[k];
	const uint32_t unit = i->node->disk.unit_bytes;
	uint8_t *now = page->device ? mem_dup(page->device, SIM_PAGE_BYTES) : mem_zalloc(SIM_PAGE_BYTES);
	for (uint32_t at = 0; at < SIM_PAGE_BYTES; at += unit) unit_lose(s, l, now, k, k * SIM_PAGE_BYTES + at, unit);
	if (sim_happens(s, i->node->disk.ruin_ppm)) page_ruin(s, now);
	page_cache_drop(page);
	mem_free(page->device);
	page->device = page->cache = now;
}

static void loss_choose(struct sim *s, struct sim_inode *i, struct loss *l)
{
	LIST_EACH (node, &i->changes) { l->count++; }
	l->changes = mem_alloc(l->count * sizeof(struct sim_change *));
	l->is_kept = mem_alloc(l->count * sizeof *l->is_kept);
	size_t c = 0;
	LIST_EACH (node, &i->changes) {
		l->changes[c] = CONTAINER_OF(node, struct sim_change, link);
		l->is_kept[c++] = sim_draw(s, 2) == 0;
	}
	l->mode = (enum loss_mode)sim_draw(s, LOSS_MODE_COUNT);
	l->prefix = sim_draw(s, l->count);
	switch (l->mode) {
	case LOSS_NOTHING_KEPT: l->size_at = 0; break;
	case LOSS_ALL_KEPT: l->size_at = l->count; break;
	case LOSS_PREFIX: l->size_at = l->prefix + sim_draw(s, 2); break;
	case LOSS_CHANGES:
	case LOSS_UNITS:
	case LOSS_MODE_COUNT: l->size_at = sim_draw(s, l->count + 1); break;
	}
	/* What was written behind a cut went into newly found blocks: without the cut it is nowhere. */
	l->cuts_end = l->end = l->size_at;
	while (l->end < l->count && l->changes[l->end]->kind != SIM_CHANGE_CUT) l->end++;
}

/* Frees and zeroes what lies behind the length. */
static void file_clip(struct sim_inode *i)
{
	for (uint64_t k = page_of(i->size); k < i->page_room; k++) {
		struct sim_page *page = &i->pages[k];
		const uint64_t start = k * SIM_PAGE_BYTES;
		if (start < i->size) {
			if (page->device)
				memset(page->device + (i->size - start), 0, SIM_PAGE_BYTES - (i->size - start));
			continue;
		}
		page_release(i, page);
		page_free(page);
	}
}

void sim_file_power_loss(struct sim_inode *i)
{
	struct sim *s = i->node->s;
	uint64_t size = i->device_size;
	if (!list_is_empty(&i->changes)) {
		struct loss l = { 0 };
		loss_choose(s, i, &l);
		dirty_pages_clean(i, page_lose_each, &l);
		if (l.size_at > 0) size = l.changes[l.size_at - 1]->size_after;
		sim_count(s, l.mode == LOSS_ALL_KEPT ? "disk unsynced kept" : "disk unsynced lost");
		if (l.mode > LOSS_ALL_KEPT) sim_count(s, "disk unsynced torn");
		mem_free(l.changes);
		mem_free(l.is_kept);
	}
	changes_forget(i);
	for (uint64_t k = 0; k < i->page_room; k++) {
		struct sim_page *page = &i->pages[k];
		page_cache_drop(page);
		/* A cut that is lost brings pages back: whatever has content has space. */
		if (page->device && !page->is_allocated) {
			page->is_allocated = true;
			i->pages_allocated++;
			if (inode_counts(i)) i->node->pages_used++;
		}
	}
	i->size = i->device_size = size;
	file_clip(i);
}

/* ---- damage, copies, the end ---- */

void sim_file_damage(struct sim_inode *i, uint64_t at, const uint8_t *bytes, uint64_t n, bool flip)
{
	ASSERT(at + n <= i->device_size);
	pages_reserve(i, pages_for(at + n));
	for (uint64_t done = 0; done < n;) {
		const uint64_t k = page_of(at + done);
		const struct span span = span_in_page(k, at + done, n - done);
		struct sim_page *page = &i->pages[k];
		/* A clean page of its own shows what a failed sync left in the cache; it is damaged like the device. */
		if (!page->is_dirty && page->cache != page->device) page_cache_drop(page);
		uint8_t *device = page_device_own(page);
		for (uint32_t b = span.from; b < span.to; b++, done++)
			device[b] = flip ? (uint8_t)(device[b] ^ bytes[done]) : bytes[done];
	}
}

void sim_file_damage_cut(struct sim_inode *i, uint64_t bytes)
{
	changes_forget(i);
	for (uint64_t k = 0; k < i->page_room; k++) {
		page_cache_drop(&i->pages[k]);
		i->pages[k].is_dirty = false;
	}
	i->size = i->device_size = u64_min(bytes, i->device_size);
	file_clip(i);
}

struct sim_inode *sim_file_copy(struct sim_node *n, const struct sim_inode *from)
{
	struct sim_inode *i = sim_inode_new(n, false);
	i->size = i->device_size = from->device_size;
	pages_reserve(i, pages_for(i->size));
	for (uint64_t k = 0; k < pages_for(i->size) && k < from->page_room; k++) {
		const struct sim_page *page = &from->pages[k];
		if (!page->device && !page->is_allocated) continue;
		i->pages[k].is_allocated = true;
		i->pages_allocated++;
		if (page->device) i->pages[k].cache = i->pages[k].device = mem_dup(page->device, SIM_PAGE_BYTES);
	}
	return i;
}

void sim_file_deinit(struct sim_inode *i)
{
	changes_forget(i);
	for (uint64_t k = 0; k < i->page_room; k++) page_free(&i->pages[k]);
	mem_free(i->pages);
	i->pages = NULL;
	i->page_room = 0;
}
