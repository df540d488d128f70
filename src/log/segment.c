/* SPDX-License-Identifier: Apache-2.0 */
/* segment — names, directories and small encodings of segments; segment_write.c and segment_read.c have their bodies.
 *
 * Names from outside never become paths: all that goes into one is numbers. */
#include <stdio.h>
#include <stdlib.h>

#include "segment_file.h"

/* ---- the meta's 64 bytes ---- */

void segment_info_encode(const struct segment_info *s, uint8_t out[SEGMENT_INFO_BYTES])
{
	le64_put(out, s->first_index);
	le64_put(out + 8, s->last_index);
	le64_put(out + 16, s->bytes);
	le64_put(out + 24, s->seq_last);
	le32_put(out + 32, s->flags);
	le32_put(out + 36, s->entry_count);
	le64_put(out + 40, s->live_bytes);
	le64_put(out + 48, s->term_last);
	le32_put(out + 56, s->rewrite);
	le32_put(out + 60, 0);
}

enum err segment_info_decode(const uint8_t in[SEGMENT_INFO_BYTES], struct segment_info *out)
{
	*out = (struct segment_info) {
		.first_index = le64_get(in),
		.last_index = le64_get(in + 8),
		.bytes = le64_get(in + 16),
		.seq_last = le64_get(in + 24),
		.flags = le32_get(in + 32),
		.entry_count = le32_get(in + 36),
		.live_bytes = le64_get(in + 40),
		.term_last = le64_get(in + 48),
		.rewrite = le32_get(in + 56),
	};
	bool is_range = out->first_index > 0 && out->first_index <= out->last_index;
	bool is_count = out->entry_count > 0 && out->entry_count - 1 <= out->last_index - out->first_index;
	bool is_length = out->bytes % 8 == 0 && out->bytes <= INT64_MAX &&
			 out->bytes >= SEGMENT_HEAD_BYTES + (uint64_t)out->entry_count * ENTRY_HEAD_BYTES;
	bool is_known = out->flags <= SEGMENT_SEALED && le32_get(in + 60) == 0;
	return is_range && is_count && is_length && is_known ? OK : ERR_CORRUPT;
}

/* ---- lists ---- */

void segment_list_push(struct segment_list *l, const struct segment_info *s)
{
	ASSERT(l->count == 0 || l->rows[l->count - 1].last_index < s->first_index);
	if (l->count == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 4;
		l->rows = mem_realloc(l->rows, l->cap * sizeof *l->rows);
	}
	l->rows[l->count++] = *s;
}

void segment_list_copy(struct segment_list *to, const struct segment_list *from)
{
	ASSERT(to->rows == NULL);
	*to = (struct segment_list) { .count = from->count, .cap = from->count };
	if (from->count) to->rows = mem_dup(from->rows, from->count * sizeof *from->rows);
}

void segment_list_deinit(struct segment_list *l)
{
	mem_free(l->rows);
	*l = (struct segment_list) { 0 };
}

uint32_t segment_list_find(const struct segment_list *l, uint64_t index)
{
	uint32_t low = 0, high = l->count;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (l->rows[mid].last_index < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

uint32_t segment_list_find_seq(const struct segment_list *l, uint64_t seq)
{
	uint32_t low = 0, high = l->count;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (l->rows[mid].seq_last < seq)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* ---- heads and rows ---- */

enum { HEAD_AT_CRC = 60 };

void segment_head_encode(const struct segment_head *h, uint8_t out[SEGMENT_HEAD_BYTES])
{
	memset(out, 0, SEGMENT_HEAD_BYTES);
	le32_put(out, h->magic);
	le32_put(out + 4, SEGMENT_LEVEL);
	le64_put(out + 8, h->group);
	le64_put(out + 16, h->generation);
	le64_put(out + 24, h->first_index);
	le64_put(out + 32, h->store);
	le32_put(out + 40, h->row_count);
	le32_put(out + 44, h->row_crc);
	le32_put(out + HEAD_AT_CRC, crc32c(0, out, HEAD_AT_CRC));
}

enum err segment_head_decode(const uint8_t in[SEGMENT_HEAD_BYTES], struct segment_head *out)
{
	*out = (struct segment_head) {
		.magic = le32_get(in),
		.group = le64_get(in + 8),
		.generation = le64_get(in + 16),
		.first_index = le64_get(in + 24),
		.store = le64_get(in + 32),
		.row_count = le32_get(in + 40),
		.row_crc = le32_get(in + 44),
	};
	if (le32_get(in + HEAD_AT_CRC) != crc32c(0, in, HEAD_AT_CRC)) return ERR_CORRUPT;
	if (le32_get(in + 4) > SEGMENT_LEVEL) return ERR_FORMAT;
	bool is_zero = le64_get(in + 48) == 0 && le32_get(in + 56) == 0;
	return is_zero && le32_get(in + 4) == SEGMENT_LEVEL ? OK : ERR_CORRUPT;
}

void segment_row_encode(const struct segment_row *r, uint8_t out[SEGMENT_ROW_BYTES])
{
	le64_put(out, r->index);
	le64_put(out + 8, r->seq_last);
	le64_put(out + 16, r->offset);
	le32_put(out + 24, r->entry_bytes);
	le32_put(out + 28, r->term);
}

void segment_row_decode(const uint8_t in[SEGMENT_ROW_BYTES], struct segment_row *out)
{
	*out = (struct segment_row) {
		.index = le64_get(in),
		.seq_last = le64_get(in + 8),
		.offset = le64_get(in + 16),
		.entry_bytes = le32_get(in + 24),
		.term = le32_get(in + 28),
	};
}

/* ---- paths ---- */

static void path_of_group(const struct segment_place *p, struct buf *out)
{
	buf_clear(out);
	buf_printf(out, "%s/groups/%016llx", p->dir, (unsigned long long)p->group);
}

const char *segment_dir_path(const struct segment_place *p, struct buf *out)
{
	path_of_group(p, out);
	if (p->generation) buf_printf(out, "/%08llx", (unsigned long long)p->generation);
	return buf_str(out);
}

/* The name inside the directory, without the file's kind. A rewritten segment may begin with the index that the old one begins with,
 * and both are there until no state names the old one: so the number of the rewrite is part of the name. */
static void name_of(const struct segment_info *s, struct buf *out)
{
	buf_printf(out, "%016llx", (unsigned long long)s->first_index);
	if (s->rewrite) buf_printf(out, "-%x", (unsigned)s->rewrite);
}

const char *segment_path(
	const struct segment_place *p, const struct segment_info *s, enum segment_file f, struct buf *out)
{
	static const char *const kinds[] = { [SEGMENT_FILE_SEG] = ".seg", [SEGMENT_FILE_IDX] = ".idx" };
	(void)segment_dir_path(p, out);
	buf_append_byte(out, '/');
	name_of(s, out);
	buf_append_str(out, kinds[f]);
	return buf_str(out);
}

/* ---- directories ---- */

static enum err dir_make_in(struct io *io, const char *dir, const char *parent)
{
	enum err e = io_dir_make(io, dir);
	if (e != OK && e != ERR_EXISTS) return e;
	/* Also when it was there: the start that made it may have ended before this sync. */
	return io_dir_sync(io, parent);
}

enum err segment_dir_make(struct io *io, const struct segment_place *p)
{
	ASSERT(p->generation > 0);
	struct buf groups = { 0 }, group = { 0 }, generation = { 0 };
	buf_printf(&groups, "%s/groups", p->dir);
	path_of_group(p, &group);
	enum err e = dir_make_in(io, buf_str(&group), buf_str(&groups));
	if (e == OK) e = dir_make_in(io, segment_dir_path(p, &generation), buf_str(&group));
	buf_deinit(&groups);
	buf_deinit(&group);
	buf_deinit(&generation);
	return e;
}

enum err segment_dir_make_unsynced(struct io *io, const struct segment_place *p)
{
	struct buf path = { 0 };
	path_of_group(p, &path);
	enum err e = io_dir_make(io, buf_str(&path));
	if (e == OK || e == ERR_EXISTS) e = io_dir_make(io, segment_dir_path(p, &path));
	buf_deinit(&path);
	return e == ERR_EXISTS ? OK : e;
}

static enum err path_unlink_if_there(struct io *io, const char *path)
{
	enum err e = io_path_unlink(io, path);
	return e == ERR_NOT_FOUND ? OK : e;
}

/* Names of a directory's entries: a byte that is 'd' or 'f', the name, a NUL, and so on. */
static void names_add(void *arg, const char *name, bool is_dir)
{
	struct buf *names = arg;
	buf_append_byte(names, is_dir ? 'd' : 'f');
	buf_append(names, name, strlen(name) + 1);
}

/* The next of the names, or NULL; *at moves on. */
static const char *names_next(const struct buf *names, size_t *at, bool *is_dir)
{
	if (*at >= names->n) return NULL;
	const char *row = (const char *)names->p + *at;
	*is_dir = row[0] == 'd';
	*at += strlen(row) + 1;
	return row + 1;
}

/* Unlinks the files of one directory and the directory itself. */
static enum err dir_remove_flat(struct io *io, const char *dir)
{
	struct buf names = { 0 }, path = { 0 };
	enum err e = io_dir_list(io, dir, names_add, &names);
	const char *name;
	bool is_dir;
	for (size_t at = 0; e == OK && (name = names_next(&names, &at, &is_dir)) != NULL;) {
		buf_clear(&path);
		buf_printf(&path, "%s/%s", dir, name);
		if (!is_dir) e = path_unlink_if_there(io, buf_str(&path));
	}
	if (e == OK) e = io_dir_remove(io, dir);
	buf_deinit(&names);
	buf_deinit(&path);
	return e == ERR_NOT_FOUND ? OK : e;
}

/* Removes every generation of the group. */
static enum err dir_remove_generations(struct io *io, const char *group)
{
	struct buf names = { 0 }, path = { 0 };
	enum err e = io_dir_list(io, group, names_add, &names);
	const char *name;
	bool is_dir;
	for (size_t at = 0; e == OK && (name = names_next(&names, &at, &is_dir)) != NULL;) {
		buf_clear(&path);
		buf_printf(&path, "%s/%s", group, name);
		e = is_dir ? dir_remove_flat(io, buf_str(&path)) : path_unlink_if_there(io, buf_str(&path));
	}
	buf_deinit(&names);
	buf_deinit(&path);
	return e == ERR_NOT_FOUND ? OK : e;
}

static void any_add(void *arg, const char *name, bool is_dir)
{
	(void)name;
	(void)is_dir;
	*(bool *)arg = true;
}

enum err segment_dir_remove(struct io *io, const struct segment_place *p)
{
	struct buf group = { 0 }, generation = { 0 };
	path_of_group(p, &group);
	enum err e = p->generation ? dir_remove_flat(io, segment_dir_path(p, &generation))
				   : dir_remove_generations(io, buf_str(&group));
	bool has_more = false;
	if (e == OK) e = io_dir_list(io, buf_str(&group), any_add, &has_more);
	if (e == OK && !has_more) e = io_dir_remove(io, buf_str(&group));
	buf_deinit(&group);
	buf_deinit(&generation);
	return e == ERR_NOT_FOUND ? OK : e;
}

enum err segment_unlink(struct io *io, const struct segment_place *p, const struct segment_info *s)
{
	struct buf path = { 0 };
	enum err e = path_unlink_if_there(io, segment_path(p, s, SEGMENT_FILE_SEG, &path));
	if (e == OK) e = path_unlink_if_there(io, segment_path(p, s, SEGMENT_FILE_IDX, &path));
	buf_deinit(&path);
	return e;
}

/* ---- the directory against the meta ---- */

static const char *segment_what_is_lost(struct io *io, const char *path, uint64_t bytes, enum err *e)
{
	struct io_file *f = NULL;
	uint64_t size = 0;
	*e = io_file_open(io, path, IO_OPEN_READ, &f);
	if (*e == OK) *e = io_file_size(f, &size);
	io_file_close(f);
	if (*e == ERR_NOT_FOUND) {
		*e = OK;
		return "is missing";
	}
	return *e == OK && size < bytes ? "is too short" : NULL;
}

enum err segment_dir_compare(
	struct io *io, const struct segment_place *p, const struct segment_list *l, segment_lost_fn *each, void *arg)
{
	struct buf path = { 0 };
	enum err e = OK;
	for (uint32_t i = 0; e == OK && i < l->count; i++) {
		const struct segment_info *s = &l->rows[i];
		const char *what = segment_what_is_lost(io, segment_path(p, s, SEGMENT_FILE_SEG, &path), s->bytes, &e);
		if (what) each(arg, s, what);
	}
	buf_deinit(&path);
	return e;
}

/* Is the file one of the list's? The name is read back for the search, then compared as it would be written. */
static bool list_names(const struct segment_list *l, const char *name, struct buf *scratch)
{
	uint64_t first_index = strtoull(name, NULL, 16);
	uint32_t at = segment_list_find(l, first_index);
	if (at == l->count || l->rows[at].first_index != first_index) return false;
	buf_clear(scratch);
	name_of(&l->rows[at], scratch);
	size_t n = scratch->n;
	if (strncmp(name, buf_str(scratch), n) != 0) return false;
	return strcmp(name + n, ".seg") == 0 || strcmp(name + n, ".idx") == 0;
}

enum err segment_dir_clean(
	struct io *io, const struct segment_place *p, const struct segment_list *const *lists, unsigned count)
{
	struct buf dir = { 0 }, names = { 0 }, path = { 0 }, scratch = { 0 };
	enum err e = io_dir_list(io, segment_dir_path(p, &dir), names_add, &names);
	const char *name;
	bool is_dir;
	for (size_t at = 0; e == OK && (name = names_next(&names, &at, &is_dir)) != NULL;) {
		bool is_named = is_dir;
		for (unsigned i = 0; i < count && !is_named; i++) is_named = list_names(lists[i], name, &scratch);
		if (is_named) continue;
		buf_clear(&path);
		buf_printf(&path, "%s/%s", buf_str(&dir), name);
		e = path_unlink_if_there(io, buf_str(&path));
	}
	buf_deinit(&dir);
	buf_deinit(&names);
	buf_deinit(&path);
	buf_deinit(&scratch);
	return e == ERR_NOT_FOUND ? OK : e;
}
