/* SPDX-License-Identifier: Apache-2.0 */
/* sim_state — see sim_state.h. All rows are in memory, sorted; a commit makes a new array, so that a failed one has no effect. */
#include "sim_state.h"

enum { HEAD_BYTES = 56, ROW_HEAD_BYTES = 8, PREFIX_BYTES = 9, TAG_META = 0, TAG_OWNER = 1 };
#define IMAGE_MAGIC ((uint32_t)0x474d4953) /* "SIMG" */

/* One value, shared by the arrays before and after a commit. */
struct row {
	uint32_t refs, key_bytes, value_bytes, crc;
	uint8_t bytes[]; /* key, value */
};
static struct slice row_key(const struct row *r) { return slice_of(r->bytes, r->key_bytes); }
static struct slice row_value(const struct row *r) { return slice_of(r->bytes + r->key_bytes, r->value_bytes); }

struct rows {
	struct row **p; /* owned array of references */
	size_t count, cap;
};

struct twin {
	struct state base;
	struct io *io;
	char *path; /* owned */
	struct rows rows;
	struct state_head head;
	uint64_t number;                 /* of the image that counts */
	unsigned which;                  /* 0 or 1 */
	bool is_named[SIM_STATE_IMAGES]; /* the directory holds the name for good */
};

static struct twin *of(struct state *s) { return CONTAINER_OF(s, struct twin, base); }

/* ---- rows ---- */

static struct row *row_new(struct slice key, struct slice value)
{
	struct row *r = mem_alloc(sizeof *r + key.n + value.n);
	*r = (struct row) { .refs = 1, .key_bytes = (uint32_t)key.n, .value_bytes = (uint32_t)value.n };
	memcpy(r->bytes, key.p, key.n);
	if (value.n) memcpy(r->bytes + key.n, value.p, value.n);
	r->crc = crc32c(crc32c(0, key.p, key.n), value.p, value.n);
	return r;
}

static void row_unref(struct row *r)
{
	if (--r->refs == 0) mem_free(r);
}

static void rows_deinit(struct rows *l)
{
	for (size_t i = 0; i < l->count; i++) row_unref(l->p[i]);
	mem_free(l->p);
	*l = (struct rows) { 0 };
}

static void rows_copy(struct rows *to, const struct rows *from)
{
	*to = (struct rows) { .count = from->count, .cap = from->count };
	if (from->count) to->p = mem_dup(from->p, from->count * sizeof(struct row *));
	for (size_t i = 0; i < to->count; i++) to->p[i]->refs++;
}

/* Position of the first row whose key is not below. */
static size_t rows_find(const struct rows *l, struct slice key)
{
	size_t low = 0, high = l->count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (slice_cmp(row_key(l->p[mid]), key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void rows_remove(struct rows *l, size_t at, size_t count)
{
	for (size_t i = at; i < at + count; i++) row_unref(l->p[i]);
	memmove(l->p + at, l->p + at + count, (l->count - at - count) * sizeof(struct row *));
	l->count -= count;
}

static void rows_put(struct rows *l, struct row *r)
{
	size_t at = rows_find(l, row_key(r));
	if (at < l->count && slice_eq(row_key(l->p[at]), row_key(r))) {
		row_unref(l->p[at]);
		l->p[at] = r;
		return;
	}
	if (l->count == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->p = mem_realloc(l->p, l->cap * sizeof(struct row *));
	}
	memmove(l->p + at + 1, l->p + at, (l->count - at) * sizeof(struct row *));
	l->p[at] = r;
	l->count++;
}

static uint64_t rows_sum(const struct rows *l)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < l->count; i++) sum += l->p[i]->crc;
	return sum;
}

static struct slice key_make(uint8_t *out, uint64_t group, uint8_t tag, struct slice key)
{
	for (int i = 0; i < 8; i++) out[i] = (uint8_t)(group >> (56 - 8 * i));
	out[8] = tag;
	if (key.n) memcpy(out + PREFIX_BYTES, key.p, key.n);
	return slice_of(out, PREFIX_BYTES + key.n);
}

static uint64_t key_group(struct slice key)
{
	uint64_t group = 0;
	for (int i = 0; i < 8; i++) group = group << 8 | key.p[i];
	return group;
}

/* ---- images ---- */

static const char *image_path(const char *path, unsigned which, struct buf *out)
{
	buf_clear(out);
	buf_printf(out, "%s.%u", path, which);
	return buf_str(out);
}

static void image_encode(const struct rows *l, const struct state_head *head, uint64_t number, struct buf *out)
{
	memset(buf_reserve(out, HEAD_BYTES), 0, HEAD_BYTES);
	out->n = HEAD_BYTES;
	for (size_t i = 0; i < l->count; i++) {
		buf_append_le32(out, l->p[i]->key_bytes);
		buf_append_le32(out, l->p[i]->value_bytes);
		buf_append(out, l->p[i]->bytes, (size_t)l->p[i]->key_bytes + l->p[i]->value_bytes);
	}
	uint8_t *h = out->p;
	le32_put(h, IMAGE_MAGIC);
	le64_put(h + 8, number);
	le64_put(h + 16, head->round);
	le64_put(h + 24, head->sum);
	le64_put(h + 32, out->n - HEAD_BYTES);
	le64_put(h + 40, l->count);
	le32_put(h + 48, crc32c(0, h + HEAD_BYTES, out->n - HEAD_BYTES));
	le32_put(h + 52, crc32c(0, h, 52));
}

struct image {
	bool is_there, is_synced, is_good;
	uint64_t number;
	struct state_head head;
	struct rows rows;
};

static bool image_decode(struct slice in, struct image *out)
{
	const uint8_t *h = in.p;
	if (in.n < HEAD_BYTES || le32_get(h) != IMAGE_MAGIC || le32_get(h + 52) != crc32c(0, h, 52)) return false;
	uint64_t body_bytes = le64_get(h + 32), count = le64_get(h + 40);
	if (body_bytes > in.n - HEAD_BYTES) return false;
	struct slice body = slice_first(slice_from(in, HEAD_BYTES), body_bytes);
	if (crc32c(0, body.p, body.n) != le32_get(h + 48)) return false;
	out->number = le64_get(h + 8);
	out->head = (struct state_head) { le64_get(h + 16), le64_get(h + 24) };
	for (; count; count--) {
		ASSERT(body.n >= ROW_HEAD_BYTES); /* the checksum is good: nobody but this file can have written it */
		size_t key_bytes = le32_get(body.p), value_bytes = le32_get(body.p + 4);
		body = slice_from(body, ROW_HEAD_BYTES);
		ASSERT(key_bytes + value_bytes <= body.n);
		rows_put(&out->rows,
			row_new(slice_first(body, key_bytes), slice_first(slice_from(body, key_bytes), value_bytes)));
		body = slice_from(body, key_bytes + value_bytes);
	}
	return true;
}

bool sim_state_image_is_whole(struct slice bytes)
{
	struct image image = { 0 };
	bool is_whole = image_decode(bytes, &image);
	rows_deinit(&image.rows);
	return is_whole;
}

/* Reads one image from the device (S5). ERR_IO, ERR_CRASHED and the like; damage is is_good false. */
static enum err image_read(struct io *io, const char *path, unsigned which, struct image *out)
{
	struct buf name = { 0 }, bytes = { 0 };
	struct io_file *f = NULL;
	uint64_t size = 0;
	size_t got = 0;
	*out = (struct image) { 0 };
	enum err e = io_file_open(io, image_path(path, which, &name), IO_OPEN_READ | IO_OPEN_WRITE, &f);
	out->is_there = e != ERR_NOT_FOUND;
	if (e == OK) e = io_file_sync(f);
	out->is_synced = e == OK;
	if (e == OK) e = io_file_drop_cache(f);
	if (e == OK) e = io_file_size(f, &size);
	if (e == OK) e = io_file_read(f, 0, buf_reserve(&bytes, size), size, &got);
	/* A sector that cannot be read is damage; a sync that failed says nothing about what is there. */
	if (e == ERR_IO && out->is_synced) e = OK;
	io_file_close(f);
	if (e == OK) out->is_good = image_decode(slice_of(bytes.p, got), out);
	buf_deinit(&name);
	buf_deinit(&bytes);
	return e == ERR_NOT_FOUND ? OK : e;
}

/* The image that counts. ERR_NOT_FOUND: there is none at all. ERR_CORRUPT: none is whole. */
static enum err image_choose(struct io *io, const char *path, struct image *out, unsigned *which)
{
	struct image images[SIM_STATE_IMAGES];
	*out = (struct image) { 0 };
	enum err e = image_read(io, path, 0, &images[0]);
	if (e != OK) return e;
	e = image_read(io, path, 1, &images[1]);
	if (e == OK) {
		unsigned newer = images[1].is_good && (!images[0].is_good || images[1].number > images[0].number);
		*which = newer;
		if (images[newer].is_good) {
			*out = images[newer];
			images[newer].rows = (struct rows) { 0 };
		} else {
			e = images[0].is_there || images[1].is_there ? ERR_CORRUPT : ERR_NOT_FOUND;
		}
	}
	rows_deinit(&images[0].rows);
	rows_deinit(&images[1].rows);
	return e;
}

static enum err image_write(struct io *io, const char *path, struct slice bytes)
{
	struct io_file *f = NULL;
	enum err e = io_file_open(io, path, IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_TRUNCATE, &f);
	if (e == OK) e = io_file_write(f, 0, &bytes, 1);
	if (e == OK) e = io_file_sync(f);
	io_file_close(f);
	return e;
}

static enum err dir_sync_of(struct io *io, const char *path)
{
	struct buf dir = { 0 };
	const char *slash = strrchr(path, '/');
	buf_append(&dir, path, slash ? (size_t)(slash - path) : 0);
	if (!slash) buf_append_byte(&dir, '.');
	enum err e = io_dir_sync(io, buf_str(&dir));
	buf_deinit(&dir);
	return e;
}

/* ---- the door ---- */

static enum err twin_check(struct io *io, const char *path, struct state_head *head)
{
	struct image image;
	unsigned which = 0;
	enum err e = image_choose(io, path, &image, &which);
	if (e == OK && rows_sum(&image.rows) != image.head.sum) e = ERR_CORRUPT;
	if (e == OK) *head = image.head;
	rows_deinit(&image.rows);
	return e;
}

/* As LMDB's file: whole under another name before it gets its own; so is the second, that a crash in the first commit finds one. */
static enum err twin_create(struct io *io, const char *path)
{
	struct buf bytes = { 0 }, name = { 0 }, name_new = { 0 };
	image_encode(&(struct rows) { 0 }, &(struct state_head) { 0 }, 1, &bytes);
	(void)image_path(path, 1, &name);
	buf_printf(&name_new, "%s.new", path);
	enum err e = image_write(io, buf_str(&name_new), buf_slice(&bytes));
	if (e == OK) e = io_path_rename(io, buf_str(&name_new), buf_str(&name));
	if (e == OK) e = dir_sync_of(io, path);
	buf_deinit(&bytes);
	buf_deinit(&name);
	buf_deinit(&name_new);
	return e;
}

static void twin_close(struct state *state)
{
	struct twin *t = of(state);
	rows_deinit(&t->rows);
	mem_free(t->path);
	mem_free(t);
}

static enum err twin_open(struct io *io, const char *path, struct state **out)
{
	struct image image;
	unsigned which = 0;
	*out = NULL;
	enum err e = image_choose(io, path, &image, &which);
	if (e == ERR_NOT_FOUND) {
		e = twin_create(io, path);
		if (e == OK) e = image_choose(io, path, &image, &which);
	}
	if (e != OK) return e;
	struct twin *t = NEW(struct twin);
	t->base.ops = &state_sim;
	t->io = io;
	t->path = mem_strdup(path);
	t->rows = image.rows;
	t->head = image.head;
	t->number = image.number;
	t->which = which;
	*out = &t->base;
	return OK;
}

static enum err twin_set_aside(struct io *io, const char *path)
{
	struct buf from = { 0 }, to = { 0 };
	enum err e = OK;
	for (unsigned which = 0; e == OK && which < SIM_STATE_IMAGES; which++) {
		struct io_file *f = NULL;
		for (unsigned n = 1;; n++) {
			buf_clear(&to);
			buf_printf(&to, "%s.damaged-%u.%u", path, n, which);
			if (io_file_open(io, buf_str(&to), IO_OPEN_READ, &f) != OK) break;
			io_file_close(f);
		}
		e = io_path_rename(io, image_path(path, which, &from), buf_str(&to));
		if (e == ERR_NOT_FOUND) e = OK;
	}
	if (e == OK) e = dir_sync_of(io, path);
	buf_deinit(&from);
	buf_deinit(&to);
	return e;
}

static void change_apply(struct rows *l, const struct state_change *c)
{
	uint8_t buffer[PREFIX_BYTES + STATE_KEY_MAX];
	struct slice in = c->batch, key, value;
	bool put;
	if (c->drop) {
		size_t from = rows_find(l, key_make(buffer, c->group, TAG_META, SLICE_NULL)), to = from;
		while (to < l->count && key_group(row_key(l->p[to])) == c->group) to++;
		rows_remove(l, from, to - from);
	}
	while (state_batch_next(&in, &put, &key, &value) == OK) {
		struct slice k = key_make(buffer, c->group, TAG_OWNER, key);
		size_t at = rows_find(l, k);
		if (put)
			rows_put(l, row_new(k, value));
		else if (at < l->count && slice_eq(row_key(l->p[at]), k))
			rows_remove(l, at, 1);
	}
	ASSERT(in.n == 0);
	if (c->meta.p) rows_put(l, row_new(key_make(buffer, c->group, TAG_META, SLICE_NULL), c->meta));
}

static enum err twin_commit(
	struct state *state, const struct state_change *changes, unsigned count, struct state_head *head)
{
	struct twin *t = of(state);
	struct rows next;
	struct buf bytes = { 0 }, path = { 0 };
	rows_copy(&next, &t->rows);
	for (unsigned i = 0; i < count; i++) change_apply(&next, &changes[i]);
	struct state_head after = { head->round, rows_sum(&next) };
	image_encode(&next, &after, t->number + 1, &bytes);
	enum err e = image_write(t->io, image_path(t->path, !t->which, &path), buf_slice(&bytes));
	if (e == OK && !t->is_named[!t->which]) e = dir_sync_of(t->io, t->path);
	if (e == OK) {
		t->is_named[!t->which] = true;
		rows_deinit(&t->rows);
		t->rows = next;
		t->head = *head = after;
		t->number++;
		t->which = !t->which;
	} else {
		rows_deinit(&next);
	}
	buf_deinit(&bytes);
	buf_deinit(&path);
	return e;
}

static enum err twin_head(struct state *state, struct state_head *head)
{
	*head = of(state)->head;
	return OK;
}

static enum err twin_groups(struct state *state, state_group_fn *each, void *arg)
{
	const struct rows *l = &of(state)->rows;
	for (size_t i = 0; i < l->count;) {
		uint64_t group = key_group(row_key(l->p[i]));
		bool is_meta = row_key(l->p[i]).p[8] == TAG_META;
		if (!each(arg, group, is_meta ? row_value(l->p[i]) : SLICE_NULL)) break;
		while (i < l->count && key_group(row_key(l->p[i])) == group) i++;
	}
	return OK;
}

static enum err twin_each(
	struct state *state, uint64_t group, struct slice prefix, struct slice from, state_each_fn *each, void *arg)
{
	const struct rows *l = &of(state)->rows;
	uint8_t buffer[PREFIX_BYTES + STATE_KEY_MAX], prefix_buffer[PREFIX_BYTES + STATE_KEY_MAX];
	struct slice start = slice_cmp(from, prefix) > 0 ? from : prefix;
	struct slice whole = key_make(prefix_buffer, group, TAG_OWNER, prefix);
	for (size_t i = rows_find(l, key_make(buffer, group, TAG_OWNER, start)); i < l->count; i++) {
		struct slice key = row_key(l->p[i]);
		if (!slice_has_prefix(key, whole) || !each(arg, slice_from(key, PREFIX_BYTES), row_value(l->p[i])))
			break;
	}
	return OK;
}

static enum err twin_get(struct state *state, uint64_t group, struct slice key, struct buf *value)
{
	const struct rows *l = &of(state)->rows;
	uint8_t buffer[PREFIX_BYTES + STATE_KEY_MAX];
	struct slice k = key_make(buffer, group, TAG_OWNER, key);
	size_t at = rows_find(l, k);
	if (at == l->count || !slice_eq(row_key(l->p[at]), k)) return ERR_NOT_FOUND;
	buf_clear(value);
	buf_append_slice(value, row_value(l->p[at]));
	return OK;
}

const struct state_ops state_sim = {
	.check = twin_check,
	.open = twin_open,
	.close = twin_close,
	.set_aside = twin_set_aside,
	.commit = twin_commit,
	.head = twin_head,
	.groups = twin_groups,
	.each = twin_each,
	.get = twin_get,
};
