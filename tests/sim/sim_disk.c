/* SPDX-License-Identifier: Apache-2.0 */
/* File calls of the twin. Every call has the same course: it is counted and hashed, time passes (and the machine may die in it),
 * then its fate is drawn: it does everything, a part, or nothing, and answers OK or an error. What "a part" means is each call's. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/sim_impl.h"

struct sim_file {
	struct io_file base;
	struct list link;        /* on sim_io.files */
	struct sim_inode *inode; /* ref */
	char *path;              /* owned: as it was opened */
	unsigned flags;
};

enum { CALLS_DEAD_MAX = 1000000 };

static struct sim_file *file_of(struct io_file *f) { return CONTAINER_OF(f, struct sim_file, base); }

static const struct {
	const char *name;
	bool syncs; /* its time is that of a sync */
} calls[SIM_CALL_ANY] = {
	[SIM_CALL_OPEN] = { "open", false },
	[SIM_CALL_WRITE] = { "write", false },
	[SIM_CALL_READ] = { "read", false },
	[SIM_CALL_SYNC] = { "sync", true },
	[SIM_CALL_SIZE] = { "size", false },
	[SIM_CALL_TRUNCATE] = { "truncate", false },
	[SIM_CALL_ALLOCATE] = { "allocate", false },
	[SIM_CALL_DROP_CACHE] = { "drop_cache", false },
	[SIM_CALL_UNLINK] = { "unlink", false },
	[SIM_CALL_RENAME] = { "rename", false },
	[SIM_CALL_DIR_MAKE] = { "dir_make", false },
	[SIM_CALL_DIR_REMOVE] = { "dir_remove", false },
	[SIM_CALL_DIR_SYNC] = { "dir_sync", true },
	[SIM_CALL_DIR_LIST] = { "dir_list", false },
	[SIM_CALL_SPACE] = { "space", false },
};

/* ---- the course of a call ---- */

struct fate {
	enum err e;
	enum sim_effect effect;
};

static struct fate fate_when(struct sim *s, enum sim_when when)
{
	static const enum sim_effect effects[] = {
		[SIM_BEFORE] = SIM_EFFECT_NONE,
		[SIM_DURING] = SIM_EFFECT_PART,
		[SIM_AFTER] = SIM_EFFECT_FULL,
	};
	if (when == SIM_SOMETIME) when = (enum sim_when)sim_draw(s, SIM_SOMETIME);
	return (struct fate) { ERR_CRASHED, effects[when] };
}

static struct fate fate_of_rules(struct sim_node *n, enum sim_call call, const char *path)
{
	LIST_EACH (node, &n->rules) {
		struct sim_rule *r = CONTAINER_OF(node, struct sim_rule, link);
		if (r->call != SIM_CALL_ANY && r->call != call) continue;
		if (r->path_part && !strstr(path, r->path_part)) continue;
		if (r->skip > 0) {
			r->skip--;
			continue;
		}
		if (r->count == 0) continue;
		r->count--;
		return (struct fate) { r->e, SIM_EFFECT_PART };
	}
	return (struct fate) { OK, SIM_EFFECT_FULL };
}

static struct fate fate_of_chance(struct sim_node *n, enum sim_call call)
{
	const struct sim_disk *d = &n->disk;
	const uint32_t ppm = call == SIM_CALL_WRITE  ? d->write_fail_ppm
			     : call == SIM_CALL_READ ? d->read_fail_ppm
			     : call == SIM_CALL_SYNC ? d->sync_fail_ppm
						     : 0;
	if (sim_happens(n->s, ppm)) return (struct fate) { ERR_IO, SIM_EFFECT_PART };
	return (struct fate) { OK, SIM_EFFECT_FULL };
}

static uint64_t call_delay(struct sim_node *n, enum sim_call call)
{
	const struct sim_disk *d = &n->disk;
	uint64_t ns = calls[call].syncs ? sim_between(n->s, d->sync_delay_min_ns, d->sync_delay_max_ns)
					: sim_between(n->s, d->delay_min_ns, d->delay_max_ns);
	if (sim_happens(n->s, d->stall_ppm)) {
		sim_count(n->s, "disk stall");
		ns += sim_draw(n->s, d->stall_max_ns + 1);
	}
	return ns;
}

/* The software's own stack is below us (or the test's): dying is finished later. */
static void crash_here(struct sim_node *n)
{
	struct sim_node *outer = n->s->node_current;
	n->crash_at_call = 0;
	sim_count(n->s, "disk crash at call");
	n->s->node_current = n;
	sim_node_crash(n, n->crash_as);
	n->s->node_current = outer;
}

static struct fate fate_live(struct sim_node *n, enum sim_call call, const char *path, uint64_t number)
{
	if (number == n->crash_at_call) {
		crash_here(n);
		return fate_when(n->s, n->crash_when);
	}
	struct fate fate = fate_of_rules(n, call, path);
	if (fate.e == OK) fate = fate_of_chance(n, call);
	if (fate.e != OK) {
		sim_count(n->s, "disk call failed");
		sim_say(n->s, n, "%s %s fails: %s", calls[call].name, path, err_text(fate.e));
	}
	return fate;
}

/* Begins a call: time passes, then its fate is known. The numbers say to the hash what it does. */
static struct fate call_begin(struct sim_io *p, enum sim_call call, const char *path, uint64_t a, uint64_t b)
{
	struct sim_node *n = p->node;
	struct sim *s = n->s;
	if (p->io.is_dead) {
		/* Software that goes on and on after ERR_CRASHED does not unwind: its bug. */
		ASSERT(++p->calls_dead < CALLS_DEAD_MAX);
		return (struct fate) { ERR_CRASHED, SIM_EFFECT_NONE };
	}
	const uint64_t number = ++n->calls;
	sim_mix_u64(s, (uint64_t)call << 56 ^ (uint64_t)n->index << 48 ^ a);
	sim_mix_u64(s, b);
	sim_mix(s, path, strlen(path));
	if (s->trace) sim_say(s, n, "%s %s %" PRIu64 " %" PRIu64, calls[call].name, path, a, b);
	sim_process_wait(p, call_delay(n, call));
	if (p->io.is_dead) return fate_when(s, SIM_SOMETIME); /* died under it: it may have happened or not */
	const struct fate fate = fate_live(n, call, path, number);
	sim_mix_u64(s, fate.e);
	return fate;
}

/* A call that is one step: it happens or not. */
static bool fate_happens(struct sim *s, struct fate fate)
{
	if (fate.effect == SIM_EFFECT_PART) return fate.e == ERR_CRASHED && sim_draw(s, 2) == 0;
	return fate.effect == SIM_EFFECT_FULL;
}

/* ---- files ---- */

static enum err open_check(struct sim_place *place, unsigned flags)
{
	if (!place->dir) return ERR_INVALID;
	if (!place->inode) return flags & IO_OPEN_CREATE ? OK : ERR_NOT_FOUND;
	if ((flags & IO_OPEN_CREATE) && (flags & IO_OPEN_EXCLUSIVE)) return ERR_EXISTS;
	if (place->inode->is_dir) return ERR_INVALID;
	if ((flags & IO_OPEN_LOCK) && place->inode->is_locked) return ERR_LOCKED;
	return OK;
}

enum err sim_call_open(struct io *io, const char *path, unsigned flags, struct io_file **out)
{
	struct sim_io *p = sim_io_of(io);
	struct sim *s = p->node->s;
	struct sim_place place;
	const struct fate fate = call_begin(p, SIM_CALL_OPEN, path, flags, 0);
	const bool happens = fate_happens(s, fate);
	if (!happens) return fate.e;
	enum err e = sim_tree_find(p->node, path, &place);
	if (e == OK) e = open_check(&place, flags);
	if (e != OK) return fate.e != OK ? fate.e : e;
	if (!place.inode) {
		struct sim_inode *made = sim_inode_new(p->node, false);
		sim_tree_add(place.dir, place.name, made);
		sim_inode_unref(made);
		place.inode = made;
	} else if (flags & IO_OPEN_TRUNCATE) {
		sim_file_resize(place.inode, 0);
	}
	if (fate.e != OK) return fate.e;
	struct sim_file *f = NEW(struct sim_file);
	*f = (struct sim_file) { .base.io = io, .inode = place.inode, .path = mem_strdup(path), .flags = flags };
	sim_inode_ref(f->inode);
	f->inode->opens++;
	if (flags & IO_OPEN_LOCK) f->inode->is_locked = true;
	list_push_back(&p->files, &f->link);
	*out = &f->base;
	return OK;
}

static void file_free(struct sim_file *f)
{
	list_remove(&f->link);
	if (f->flags & IO_OPEN_LOCK) f->inode->is_locked = false;
	f->inode->opens--;
	sim_inode_unlinked(f->inode);
	sim_inode_unref(f->inode);
	mem_free(f->path);
	mem_free(f);
}

void sim_call_close(struct io_file *file) { file_free(file_of(file)); }

void sim_disk_process_free(struct sim_io *p)
{
	struct list *node;
	while ((node = list_first(&p->files)) != NULL) file_free(CONTAINER_OF(node, struct sim_file, link));
}

static struct fate file_call(struct sim_file *f, enum sim_call call, uint64_t a, uint64_t b)
{
	return call_begin(sim_io_of(f->base.io), call, f->path, a, b);
}

enum err sim_call_write(struct io_file *file, uint64_t at, const struct slice *v, unsigned count)
{
	struct sim_file *f = file_of(file);
	struct sim *s = f->inode->node->s;
	uint64_t total = 0;
	if (!(f->flags & IO_OPEN_WRITE)) return ERR_INVALID;
	for (unsigned i = 0; i < count; i++) total += v[i].n;
	/* The bytes go to the cache as one; the time before is that in which the caller still owns them. */
	const struct fate fate = file_call(f, SIM_CALL_WRITE, at, total);
	uint64_t left = fate.effect == SIM_EFFECT_FULL   ? total
			: fate.effect == SIM_EFFECT_PART ? sim_draw(s, total + 1)
							 : 0;
	for (unsigned i = 0; i < count && left > 0; i++) {
		const uint64_t n = u64_min(v[i].n, left);
		sim_mix(s, v[i].p, n);
		const uint64_t written = sim_file_write(f->inode, at, v[i].p, n);
		if (written < n) {
			sim_count(s, "disk full");
			return fate.e != OK ? fate.e : ERR_NO_SPACE;
		}
		at += n;
		left -= n;
	}
	return fate.e;
}

static void read_rot(struct sim_file *f, uint64_t at, uint64_t n)
{
	struct sim *s = f->inode->node->s;
	if (!sim_happens(s, f->inode->node->disk.flip_ppm)) return;
	const uint64_t end = u64_min(at + n, f->inode->device_size);
	if (at >= end) return;
	const uint8_t bit = (uint8_t)(1u << sim_draw(s, 8));
	sim_file_damage(f->inode, at + sim_draw(s, end - at), &bit, 1, true);
	sim_count(s, "disk bit rot");
}

enum err sim_call_read(struct io_file *file, uint64_t at, void *p, size_t n, size_t *got)
{
	struct sim_file *f = file_of(file);
	struct sim *s = f->inode->node->s;
	if (!(f->flags & IO_OPEN_READ)) return ERR_INVALID;
	const struct fate fate = file_call(f, SIM_CALL_READ, at, n);
	if (fate.e != OK) return fate.e;
	if (sim_happens(s, f->inode->node->disk.evict_ppm)) sim_file_evict(f->inode, at, n);
	read_rot(f, at, n);
	*got = (size_t)sim_file_read(f->inode, at, p, n, false);
	return OK;
}

enum err sim_call_sync(struct io_file *file)
{
	struct sim_file *f = file_of(file);
	struct sim *s = f->inode->node->s;
	const struct fate fate = file_call(f, SIM_CALL_SYNC, 0, 0);
	/* A crash in the middle leaves the rest dirty: the loss of power decides about it, and a kill does not stop a kernel. */
	if (fate.e == ERR_CRASHED && fate.effect == SIM_EFFECT_PART) return fate.e;
	if (fate.e != OK && fate.e != ERR_CRASHED && fate.effect == SIM_EFFECT_PART) sim_count(s, "disk sync failed");
	sim_file_sync(f->inode, fate.effect);
	return fate.e;
}

enum err sim_call_size(struct io_file *file, uint64_t *bytes)
{
	struct sim_file *f = file_of(file);
	const struct fate fate = file_call(f, SIM_CALL_SIZE, 0, 0);
	if (fate.e == OK) *bytes = f->inode->size;
	return fate.e;
}

enum err sim_call_truncate(struct io_file *file, uint64_t bytes)
{
	struct sim_file *f = file_of(file);
	if (!(f->flags & IO_OPEN_WRITE) || bytes > INT64_MAX) return ERR_INVALID;
	const struct fate fate = file_call(f, SIM_CALL_TRUNCATE, bytes, 0);
	if (fate_happens(f->inode->node->s, fate)) sim_file_resize(f->inode, bytes);
	return fate.e;
}

enum err sim_call_allocate(struct io_file *file, uint64_t at, uint64_t n)
{
	struct sim_file *f = file_of(file);
	struct sim *s = f->inode->node->s;
	if (!(f->flags & IO_OPEN_WRITE)) return ERR_INVALID;
	const struct fate fate = file_call(f, SIM_CALL_ALLOCATE, at, n);
	const uint64_t part = fate.effect == SIM_EFFECT_FULL   ? n
			      : fate.effect == SIM_EFFECT_PART ? sim_draw(s, n + 1)
							       : 0;
	if (sim_file_write(f->inode, at, NULL, part) == part) return fate.e;
	sim_count(s, "disk full");
	return fate.e != OK ? fate.e : ERR_NO_SPACE;
}

enum err sim_call_drop_cache(struct io_file *file)
{
	struct sim_file *f = file_of(file);
	const struct fate fate = file_call(f, SIM_CALL_DROP_CACHE, 0, 0);
	if (fate.effect == SIM_EFFECT_FULL) sim_file_evict(f->inode, 0, f->inode->size);
	return fate.e;
}

/* ---- names ---- */

enum err sim_call_unlink(struct io *io, const char *path)
{
	struct sim_node *n = sim_io_of(io)->node;
	struct sim_place place;
	const struct fate fate = call_begin(sim_io_of(io), SIM_CALL_UNLINK, path, 0, 0);
	if (!fate_happens(n->s, fate)) return fate.e;
	enum err e = sim_tree_find(n, path, &place);
	if (e == OK && !place.inode) e = ERR_NOT_FOUND;
	if (e == OK && place.inode->is_dir) e = ERR_INVALID;
	if (e == OK) sim_tree_remove(place.dir, place.name);
	return fate.e != OK ? fate.e : e;
}

static bool dir_is_inside(const struct sim_inode *dir, const struct sim_inode *of)
{
	if (dir == of) return true;
	for (size_t k = 0; k < of->cached.count; k++)
		if (of->cached.rows[k].inode->is_dir && dir_is_inside(dir, of->cached.rows[k].inode)) return true;
	return false;
}

static enum err rename_check(const struct sim_place *from, const struct sim_place *to)
{
	if (!from->inode) return ERR_NOT_FOUND;
	if (!from->dir || !to->dir) return ERR_INVALID;
	if (from->inode->is_dir && dir_is_inside(to->dir, from->inode)) return ERR_INVALID;
	if (!to->inode) return OK;
	if (to->inode->is_dir != from->inode->is_dir) return ERR_INVALID;
	return to->inode->is_dir && to->inode->cached.count > 0 ? ERR_EXISTS : OK;
}

enum err sim_call_rename(struct io *io, const char *from, const char *to)
{
	struct sim_node *n = sim_io_of(io)->node;
	struct sim_place source, target;
	const struct fate fate = call_begin(sim_io_of(io), SIM_CALL_RENAME, from, 0, 0);
	if (!fate_happens(n->s, fate)) return fate.e;
	enum err e = sim_tree_find(n, from, &source);
	if (e == OK) e = sim_tree_find(n, to, &target);
	if (e == OK) e = rename_check(&source, &target);
	if (e == OK && source.inode != target.inode) sim_tree_rename(source.dir, source.name, target.dir, target.name);
	return fate.e != OK ? fate.e : e;
}

enum err sim_call_dir_make(struct io *io, const char *path)
{
	struct sim_node *n = sim_io_of(io)->node;
	struct sim_place place;
	const struct fate fate = call_begin(sim_io_of(io), SIM_CALL_DIR_MAKE, path, 0, 0);
	if (!fate_happens(n->s, fate)) return fate.e;
	enum err e = sim_tree_find(n, path, &place);
	if (e == OK && place.inode) e = ERR_EXISTS;
	if (e == OK) {
		struct sim_inode *made = sim_inode_new(n, true);
		sim_tree_add(place.dir, place.name, made);
		sim_inode_unref(made);
	}
	return fate.e != OK ? fate.e : e;
}

enum err sim_call_dir_remove(struct io *io, const char *path)
{
	struct sim_node *n = sim_io_of(io)->node;
	struct sim_place place;
	const struct fate fate = call_begin(sim_io_of(io), SIM_CALL_DIR_REMOVE, path, 0, 0);
	if (!fate_happens(n->s, fate)) return fate.e;
	enum err e = sim_tree_find(n, path, &place);
	if (e == OK && !place.inode) e = ERR_NOT_FOUND;
	if (e == OK && (!place.inode->is_dir || !place.dir)) e = ERR_INVALID;
	if (e == OK && place.inode->cached.count > 0) e = ERR_EXISTS;
	if (e == OK) sim_tree_remove(place.dir, place.name);
	return fate.e != OK ? fate.e : e;
}

static enum err dir_get(struct sim_node *n, const char *path, struct sim_inode **out)
{
	const enum err e = sim_tree_get(n, path, out);
	if (e != OK) return e;
	return (*out)->is_dir ? OK : ERR_INVALID;
}

enum err sim_call_dir_sync(struct io *io, const char *path)
{
	struct sim_node *n = sim_io_of(io)->node;
	struct sim_inode *dir;
	const struct fate fate = call_begin(sim_io_of(io), SIM_CALL_DIR_SYNC, path, 0, 0);
	if (!fate_happens(n->s, fate)) return fate.e;
	const enum err e = dir_get(n, path, &dir);
	if (e == OK) sim_tree_sync(dir);
	return fate.e != OK ? fate.e : e;
}

/* A failed one has reached some files, and none of the rest. */
static void tree_sync_below(struct sim_inode *dir, enum sim_effect effect)
{
	struct sim *s = dir->node->s;
	for (size_t k = 0; k < dir->cached.count; k++) {
		struct sim_inode *i = dir->cached.rows[k].inode;
		if (effect != SIM_EFFECT_FULL && sim_draw(s, 2) == 0) continue;
		if (i->is_dir)
			tree_sync_below(i, effect);
		else
			sim_file_sync(i, effect);
	}
	if (effect == SIM_EFFECT_FULL || sim_draw(s, 2) == 0) sim_tree_sync(dir);
}

enum err sim_call_tree_sync(struct io *io, const char *path)
{
	struct sim_node *n = sim_io_of(io)->node;
	struct sim_inode *dir;
	const struct fate fate = call_begin(sim_io_of(io), SIM_CALL_SYNC, path, 0, 0);
	if (fate.effect == SIM_EFFECT_NONE || (fate.e == ERR_CRASHED && fate.effect == SIM_EFFECT_PART)) return fate.e;
	const enum err e = dir_get(n, path, &dir);
	if (e == OK && fate.e != OK && fate.effect == SIM_EFFECT_PART) sim_count(n->s, "disk sync failed");
	if (e == OK) tree_sync_below(dir, fate.effect);
	return fate.e != OK ? fate.e : e;
}

enum err sim_call_dir_list(struct io *io, const char *path, io_dir_each_fn *each, void *arg)
{
	struct sim_node *n = sim_io_of(io)->node;
	struct sim_inode *dir;
	const struct fate fate = call_begin(sim_io_of(io), SIM_CALL_DIR_LIST, path, 0, 0);
	if (fate.e != OK) return fate.e;
	const enum err e = dir_get(n, path, &dir);
	if (e != OK) return e;
	/* Names are copied first: `each` may make file calls that change the directory. */
	const size_t count = dir->cached.count;
	struct listed {
		char *name;
		bool is_dir;
	} *rows = mem_alloc((count + 1) * sizeof *rows);
	for (size_t k = 0; k < count; k++)
		rows[k] = (struct listed) { mem_strdup(dir->cached.rows[k].name), dir->cached.rows[k].inode->is_dir };
	for (size_t k = 0; k < count; k++) {
		each(arg, rows[k].name, rows[k].is_dir);
		mem_free(rows[k].name);
	}
	mem_free(rows);
	return OK;
}

enum err sim_call_space(struct io *io, const char *path, uint64_t *free_bytes, uint64_t *total_bytes)
{
	struct sim_node *n = sim_io_of(io)->node;
	struct sim_inode *inode;
	const struct fate fate = call_begin(sim_io_of(io), SIM_CALL_SPACE, path, 0, 0);
	if (fate.e != OK) return fate.e;
	const enum err e = sim_tree_get(n, path, &inode);
	if (e != OK) return e;
	const uint64_t used = n->pages_used * SIM_PAGE_BYTES;
	*total_bytes = n->disk.capacity_bytes;
	*free_bytes = used < *total_bytes ? *total_bytes - used : 0;
	return OK;
}

/* ---- a test's hands ---- */

void sim_disk_init(struct sim_node *n)
{
	n->disk = (struct sim_disk) {
		.delay_min_ns = NS_PER_US,
		.delay_max_ns = 20 * NS_PER_US,
		.sync_delay_min_ns = 50 * NS_PER_US,
		.sync_delay_max_ns = MILLIS(2),
		.stall_max_ns = MILLIS(200),
		.stall_ppm = 200,
		.capacity_bytes = GIB,
		.unit_bytes = 512,
		.ruin_ppm = 20000,
		.evict_ppm = 10000,
	};
	list_init(&n->dir_ops);
	list_init(&n->rules);
	n->root = sim_inode_new(n, true);
}

void sim_disk_deinit(struct sim_node *n)
{
	sim_disk_fail_clear(n);
	sim_tree_deinit(n);
}

struct sim_disk *sim_disk(struct sim_node *n) { return &n->disk; }
uint64_t sim_disk_calls(const struct sim_node *n) { return n->calls; }

void sim_disk_fail(
	struct sim_node *n, enum sim_call call, const char *path_part, unsigned skip, unsigned count, enum err e)
{
	ASSERT(e != OK && e != ERR_CRASHED);
	struct sim_rule *r = NEW(struct sim_rule);
	*r = (struct sim_rule) { .call = call, .skip = skip, .count = count, .e = e };
	r->path_part = path_part ? mem_strdup(path_part) : NULL;
	list_push_back(&n->rules, &r->link);
}

void sim_disk_fail_clear(struct sim_node *n)
{
	struct list *node;
	while ((node = list_pop_front(&n->rules)) != NULL) {
		struct sim_rule *r = CONTAINER_OF(node, struct sim_rule, link);
		mem_free(r->path_part);
		mem_free(r);
	}
}

void sim_disk_crash_at(struct sim_node *n, uint64_t k, enum sim_when when, enum sim_crash how)
{
	ASSERT(k > 0);
	n->crash_at_call = n->calls + k;
	n->crash_when = when;
	n->crash_as = how;
}

void sim_disk_crash_clear(struct sim_node *n) { n->crash_at_call = 0; }

static enum err regular_get(struct sim_node *n, const char *path, struct sim_inode **out)
{
	const enum err e = sim_tree_get(n, path, out);
	if (e != OK) return e;
	return (*out)->is_dir ? ERR_INVALID : OK;
}

enum err sim_disk_overwrite(struct sim_node *n, const char *path, uint64_t at, struct slice bytes)
{
	struct sim_inode *i;
	const enum err e = regular_get(n, path, &i);
	if (e != OK) return e;
	if (at > i->device_size || bytes.n > i->device_size - at) return ERR_INVALID;
	sim_say(n->s, n, "damage: %zu bytes at %" PRIu64 " of %s", bytes.n, at, path);
	sim_count(n->s, "disk damage");
	sim_file_damage(i, at, bytes.p, bytes.n, false);
	return OK;
}

enum err sim_disk_flip(struct sim_node *n, const char *path, uint64_t at, unsigned bit)
{
	struct sim_inode *i;
	const uint8_t mask = (uint8_t)(1u << (bit & 7));
	const enum err e = regular_get(n, path, &i);
	if (e != OK) return e;
	if (at >= i->device_size) return ERR_INVALID;
	sim_say(n->s, n, "damage: bit %u at %" PRIu64 " of %s flips", bit, at, path);
	sim_count(n->s, "disk damage");
	sim_file_damage(i, at, &mask, 1, true);
	return OK;
}

enum err sim_disk_truncate(struct sim_node *n, const char *path, uint64_t bytes)
{
	struct sim_inode *i;
	const enum err e = regular_get(n, path, &i);
	if (e != OK) return e;
	if (bytes > i->device_size) return ERR_INVALID;
	sim_say(n->s, n, "damage: %s cut to %" PRIu64, path, bytes);
	sim_count(n->s, "disk damage");
	sim_file_damage_cut(i, bytes);
	return OK;
}

enum err sim_disk_remove(struct sim_node *n, const char *path)
{
	struct sim_place place;
	const enum err e = sim_tree_find(n, path, &place);
	if (e != OK) return e;
	if (!place.inode) return ERR_NOT_FOUND;
	if (!place.dir) return ERR_INVALID;
	sim_say(n->s, n, "damage: %s vanishes", path);
	sim_count(n->s, "disk damage");
	sim_tree_destroy(place.dir, place.name);
	return OK;
}

void sim_disk_wipe(struct sim_node *n)
{
	ASSERT(n->process == NULL);
	sim_count(n->s, "disk wiped");
	sim_tree_reset(n, NULL);
}

struct sim_image {
	struct sim_inode *root; /* owned */
};

struct sim_image *sim_disk_save(struct sim_node *n)
{
	struct sim_image *image = NEW(struct sim_image);
	image->root = sim_tree_copy(n, n->root);
	return image;
}

void sim_disk_restore(struct sim_node *n, const struct sim_image *image)
{
	ASSERT(n->process == NULL);
	sim_count(n->s, "disk restored");
	sim_tree_reset(n, sim_tree_copy(n, image->root));
}

void sim_image_free(struct sim_image *image)
{
	if (!image) return;
	sim_inode_unref(image->root);
	mem_free(image);
}

enum err sim_disk_size(struct sim_node *n, const char *path, uint64_t *bytes)
{
	struct sim_inode *i;
	const enum err e = regular_get(n, path, &i);
	if (e == OK) *bytes = i->size;
	return e;
}

enum err sim_disk_read(
	struct sim_node *n, const char *path, uint64_t at, void *p, size_t size, bool from_device, size_t *got)
{
	struct sim_inode *i;
	const enum err e = regular_get(n, path, &i);
	*got = e == OK ? (size_t)sim_file_read(i, at, p, size, from_device) : 0;
	return e;
}

struct each_call {
	sim_disk_each_fn *each;
	void *arg;
};

static void each_file(void *arg, const char *path, struct sim_inode *file)
{
	const struct each_call *c = arg;
	c->each(c->arg, path, file->size);
}

void sim_disk_each(struct sim_node *n, const char *path, sim_disk_each_fn *each, void *arg)
{
	struct sim_inode *dir;
	struct each_call c = { each, arg };
	if (dir_get(n, path, &dir) == OK) sim_tree_each(dir, path, each_file, &c);
}

uint64_t sim_disk_used_bytes(const struct sim_node *n) { return n->pages_used * SIM_PAGE_BYTES; }

static void sum_dirty(void *arg, const char *path, struct sim_inode *file)
{
	(void)path;
	*(uint64_t *)arg += sim_file_dirty_bytes(file);
}

uint64_t sim_disk_dirty_bytes(const struct sim_node *n)
{
	uint64_t sum = 0;
	sim_tree_each(n->root, "", sum_dirty, &sum);
	return sum;
}
