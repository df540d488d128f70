/* SPDX-License-Identifier: Apache-2.0 */
/* Names. Every directory has two maps: what calls see, and what is durable. A creation, rename or unlink changes the first at once
 * and waits in a list of the machine until a sync of its directory, or a loss of power that keeps it or not, makes it durable.
 *
 *   node.root ─ cached  "journal" ─> inode        node.dir_ops: [add journal/00] [rename a -> b] …
 *             └ durable "journal" ─> inode                        └ sync of the directory applies them in order
 *
 * A rename is kept or lost as one. A later change of a name that is durable ends all earlier ones of the same name. */
#include <stdlib.h>

#include "sim/sim_impl.h"

/* One name of a directory; dir NULL: no name. */
struct sim_half {
	struct sim_inode *dir; /* ref */
	char *name;            /* owned */
};

/* A change of one or two names. */
struct sim_dir_op {
	struct list link;           /* on sim_node.dir_ops */
	struct sim_half gone, made; /* an unlink has no `made`, a creation no `gone` */
	struct sim_inode *inode;    /* ref */
};

/* ---- inodes ---- */

struct sim_inode *sim_inode_new(struct sim_node *n, bool is_dir)
{
	struct sim_inode *i = NEW(struct sim_inode);
	*i = (struct sim_inode) { .node = n, .id = ++n->inode_next, .refs = 1, .is_dir = is_dir };
	list_init(&i->changes);
	return i;
}

void sim_inode_ref(struct sim_inode *i) { i->refs++; }

static void dir_clear(struct sim_dir *d, bool is_cached);

void sim_inode_unref(struct sim_inode *i)
{
	ASSERT(i->refs > 0);
	if (--i->refs > 0) return;
	dir_clear(&i->cached, true);
	dir_clear(&i->durable, false);
	sim_file_deinit(i);
	mem_free(i);
}

void sim_inode_unlinked(struct sim_inode *i)
{
	if (i->links > 0 || i->opens > 0) return;
	ASSERT(i->node->pages_used >= i->pages_allocated);
	i->node->pages_used -= i->pages_allocated;
}

/* ---- one map ---- */

/* Index of the name, or of the place where it belongs. */
static size_t dir_index(const struct sim_dir *d, const char *name, bool *is_there)
{
	size_t low = 0, high = d->count;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const int cmp = strcmp(d->rows[middle].name, name);
		if (cmp == 0) {
			*is_there = true;
			return middle;
		}
		if (cmp < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*is_there = false;
	return low;
}

static struct sim_inode *dir_get(const struct sim_dir *d, const char *name)
{
	bool is_there;
	const size_t k = dir_index(d, name, &is_there);
	return is_there ? d->rows[k].inode : NULL;
}

/* Drops the reference of an entry that has left a map. */
static void entry_drop(struct sim_inode *i, bool is_cached)
{
	if (is_cached) {
		i->links--;
		sim_inode_unlinked(i);
	}
	sim_inode_unref(i);
}

static void dir_del(struct sim_dir *d, const char *name, bool is_cached)
{
	bool is_there;
	const size_t k = dir_index(d, name, &is_there);
	if (!is_there) return;
	ASSERT(k < d->count && d->rows);
	struct sim_entry gone = d->rows[k];
	memmove(d->rows + k, d->rows + k + 1, (d->count - k - 1) * sizeof *d->rows);
	d->count--;
	mem_free(gone.name);
	entry_drop(gone.inode, is_cached);
}

static void dir_put(struct sim_dir *d, const char *name, struct sim_inode *inode, bool is_cached)
{
	sim_inode_ref(inode);
	if (is_cached) {
		/* A file that comes back by a rename or a loss of power takes its space again. */
		if (inode->links == 0 && inode->opens == 0) inode->node->pages_used += inode->pages_allocated;
		inode->links++;
	}
	dir_del(d, name, is_cached);
	bool is_there;
	const size_t k = dir_index(d, name, &is_there);
	if (d->count == d->room) {
		d->room = d->room ? 2 * d->room : 8;
		d->rows = mem_realloc(d->rows, d->room * sizeof *d->rows);
	}
	memmove(d->rows + k + 1, d->rows + k, (d->count - k) * sizeof *d->rows);
	d->rows[k] = (struct sim_entry) { mem_strdup(name), inode };
	d->count++;
}

static void dir_clear(struct sim_dir *d, bool is_cached)
{
	while (d->count > 0) dir_del(d, d->rows[d->count - 1].name, is_cached);
	mem_free(d->rows);
	*d = (struct sim_dir) { 0 };
}

/* ---- paths ---- */

/* Takes the next name off the path into `name`; false at its end. Empty names and "." mean nothing. */
static bool path_next(const char **path, char *name, size_t size, enum err *e)
{
	for (;;) {
		while (**path == '/') (*path)++;
		const size_t n = strcspn(*path, "/");
		if (n == 0) return false;
		if (n >= size || (n == 2 && memcmp(*path, "..", 2) == 0)) {
			*e = ERR_INVALID;
			return false;
		}
		memcpy(name, *path, n);
		name[n] = '\0';
		*path += n;
		if (strcmp(name, ".") != 0) return true;
	}
}

enum err sim_tree_find(struct sim_node *n, const char *path, struct sim_place *out)
{
	enum err e = OK;
	char name[sizeof out->name];
	*out = (struct sim_place) { .inode = n->root };
	if (*path == '\0') return ERR_NOT_FOUND;
	while (path_next(&path, name, sizeof name, &e)) {
		if (!out->inode) return ERR_NOT_FOUND;
		if (!out->inode->is_dir) return ERR_INVALID;
		out->dir = out->inode;
		out->inode = dir_get(&out->dir->cached, name);
		memcpy(out->name, name, sizeof name);
	}
	return e;
}

enum err sim_tree_get(struct sim_node *n, const char *path, struct sim_inode **out)
{
	struct sim_place place;
	enum err e = sim_tree_find(n, path, &place);
	if (e == OK && !place.inode) e = ERR_NOT_FOUND;
	*out = place.inode;
	return e;
}

/* ---- changes of names ---- */

static struct sim_half half_new(struct sim_inode *dir, const char *name)
{
	sim_inode_ref(dir);
	return (struct sim_half) { dir, mem_strdup(name) };
}

static void half_void(struct sim_half *h)
{
	if (h->dir) sim_inode_unref(h->dir);
	mem_free(h->name);
	*h = (struct sim_half) { 0 };
}

static bool half_is(const struct sim_half *h, const struct sim_half *other)
{
	return h->dir && h->dir == other->dir && strcmp(h->name, other->name) == 0;
}

static struct sim_dir_op *op_add(struct sim_inode *inode)
{
	struct sim_dir_op *op = NEW(struct sim_dir_op);
	sim_inode_ref(inode);
	op->inode = inode;
	list_push_back(&inode->node->dir_ops, &op->link);
	return op;
}

static void op_free(struct sim_dir_op *op)
{
	list_remove_if_linked(&op->link);
	half_void(&op->gone);
	half_void(&op->made);
	sim_inode_unref(op->inode);
	mem_free(op);
}

void sim_tree_add(struct sim_inode *dir, const char *name, struct sim_inode *inode)
{
	op_add(inode)->made = half_new(dir, name);
	dir_put(&dir->cached, name, inode, true);
}

void sim_tree_remove(struct sim_inode *dir, const char *name)
{
	struct sim_inode *inode = dir_get(&dir->cached, name);
	ASSERT(inode);
	op_add(inode)->gone = half_new(dir, name);
	dir_del(&dir->cached, name, true);
}

void sim_tree_rename(struct sim_inode *from_dir, const char *from, struct sim_inode *to_dir, const char *to)
{
	struct sim_inode *inode = dir_get(&from_dir->cached, from);
	ASSERT(inode);
	struct sim_dir_op *op = op_add(inode);
	op->gone = half_new(from_dir, from);
	op->made = half_new(to_dir, to);
	dir_put(&to_dir->cached, to, inode, true);
	dir_del(&from_dir->cached, from, true);
}

/* What was to become of the names of `op` before it is no longer to be. */
static void op_supersede(struct sim_node *n, const struct sim_dir_op *op)
{
	LIST_EACH_SAFE (node, &n->dir_ops) {
		struct sim_dir_op *earlier = CONTAINER_OF(node, struct sim_dir_op, link);
		if (earlier == op) return;
		if (half_is(&earlier->gone, &op->gone) || half_is(&earlier->gone, &op->made)) half_void(&earlier->gone);
		if (half_is(&earlier->made, &op->gone) || half_is(&earlier->made, &op->made)) half_void(&earlier->made);
		if (!earlier->gone.dir && !earlier->made.dir) op_free(earlier);
	}
}

static void op_make_durable(struct sim_dir_op *op)
{
	if (op->gone.dir && dir_get(&op->gone.dir->durable, op->gone.name))
		dir_del(&op->gone.dir->durable, op->gone.name, false);
	if (op->made.dir) dir_put(&op->made.dir->durable, op->made.name, op->inode, false);
	op_free(op);
}

void sim_tree_sync(struct sim_inode *dir)
{
	struct sim_node *n = dir->node;
	struct list *node = n->dir_ops.next;
	while (node != &n->dir_ops) {
		struct sim_dir_op *op = CONTAINER_OF(node, struct sim_dir_op, link);
		if (op->gone.dir == dir || op->made.dir == dir) {
			op_supersede(n, op);
			node = node->next;
			op_make_durable(op);
		} else {
			node = node->next;
		}
	}
}

/* ---- loss of power ---- */

static void inode_collect(struct sim_inode *i, struct sim_inode ***found, size_t *count)
{
	for (size_t k = 0; k < *count; k++)
		if ((*found)[k] == i) return;
	*found = mem_realloc(*found, (*count + 1) * sizeof(struct sim_inode *));
	(*found)[(*count)++] = i;
	sim_inode_ref(i);
	for (size_t k = 0; k < i->durable.count; k++) inode_collect(i->durable.rows[k].inode, found, count);
}

static void names_keep_some(struct sim_node *n)
{
	enum { NONE, ALL, PREFIX, ANY, MODES } mode = (int)sim_draw(n->s, MODES);
	uint64_t left = 0;
	LIST_EACH (node, &n->dir_ops) { left++; }
	uint64_t prefix = sim_draw(n->s, left + 1);
	struct list *node;
	while ((node = list_first(&n->dir_ops)) != NULL) {
		struct sim_dir_op *op = CONTAINER_OF(node, struct sim_dir_op, link);
		const bool is_kept =
			mode == ALL || (mode == PREFIX && prefix > 0) || (mode == ANY && sim_draw(n->s, 2) == 0);
		if (prefix > 0) prefix--;
		sim_count(n->s, is_kept ? "disk unsynced name kept" : "disk unsynced name lost");
		if (is_kept)
			op_make_durable(op);
		else
			op_free(op);
	}
}

static void dir_show_durable(struct sim_inode *dir)
{
	dir_clear(&dir->cached, true);
	for (size_t k = 0; k < dir->durable.count; k++)
		dir_put(&dir->cached, dir->durable.rows[k].name, dir->durable.rows[k].inode, true);
}

void sim_tree_power_loss(struct sim_node *n)
{
	struct sim_inode **found = NULL;
	size_t count = 0;
	names_keep_some(n);
	inode_collect(n->root, &found, &count);
	for (size_t k = 0; k < count; k++) {
		if (found[k]->is_dir)
			dir_show_durable(found[k]);
		else
			sim_file_power_loss(found[k]);
	}
	/* Links and space are those of what can be reached; what cannot goes with the last reference. */
	n->pages_used = 0;
	for (size_t k = 0; k < count; k++) {
		if (!found[k]->is_dir) n->pages_used += found[k]->pages_allocated;
		sim_inode_unref(found[k]);
	}
	mem_free(found);
}

/* ---- from outside ---- */

static void ops_forget(struct sim_node *n, const struct sim_half *only)
{
	LIST_EACH_SAFE (node, &n->dir_ops) {
		struct sim_dir_op *op = CONTAINER_OF(node, struct sim_dir_op, link);
		if (!only || half_is(&op->gone, only)) half_void(&op->gone);
		if (!only || half_is(&op->made, only)) half_void(&op->made);
		if (!op->gone.dir && !op->made.dir) op_free(op);
	}
}

void sim_tree_destroy(struct sim_inode *dir, const char *name)
{
	struct sim_half half = half_new(dir, name);
	ops_forget(dir->node, &half);
	half_void(&half);
	dir_del(&dir->cached, name, true);
	dir_del(&dir->durable, name, false);
}

struct sim_inode *sim_tree_copy(struct sim_node *n, const struct sim_inode *dir)
{
	struct sim_inode *copy = sim_inode_new(n, true);
	for (size_t k = 0; k < dir->durable.count; k++) {
		const struct sim_entry *row = &dir->durable.rows[k];
		struct sim_inode *child =
			row->inode->is_dir ? sim_tree_copy(n, row->inode) : sim_file_copy(n, row->inode);
		dir_put(&copy->durable, row->name, child, false);
		sim_inode_unref(child);
	}
	return copy;
}

/* Makes a copied tree the machine's: what is durable is shown, and takes space. */
static void tree_show(struct sim_inode *dir)
{
	dir_show_durable(dir);
	for (size_t k = 0; k < dir->cached.count; k++)
		if (dir->cached.rows[k].inode->is_dir) tree_show(dir->cached.rows[k].inode);
}

void sim_tree_reset(struct sim_node *n, struct sim_inode *root)
{
	ops_forget(n, NULL);
	sim_inode_unref(n->root);
	n->root = root ? root : sim_inode_new(n, true);
	n->pages_used = 0;
	tree_show(n->root);
}

void sim_tree_deinit(struct sim_node *n)
{
	ops_forget(n, NULL);
	sim_inode_unref(n->root);
	n->root = NULL;
}

void sim_tree_each(struct sim_inode *dir, const char *prefix, sim_tree_each_fn *each, void *arg)
{
	for (size_t k = 0; k < dir->cached.count; k++) {
		const struct sim_entry *row = &dir->cached.rows[k];
		struct buf path = { 0 };
		buf_append_str(&path, prefix);
		if (path.n > 0 && path.p[path.n - 1] != '/') buf_append_byte(&path, '/');
		buf_append_str(&path, row->name);
		if (row->inode->is_dir)
			sim_tree_each(row->inode, buf_str(&path), each, arg);
		else
			each(arg, buf_str(&path), row->inode);
		buf_deinit(&path);
	}
}
