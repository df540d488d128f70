/* SPDX-License-Identifier: Apache-2.0 */
/* poison — a table of rows in memory and its image in a file that stays open, because the one who writes it is dying: no memory, no name, no
 * length is needed then, just one row written in its place and synced. */
#include "poison.h"

#include <string.h>

enum {
	ROW_MAGIC = 0x494f5054, /* "TPOI" */
	AT_MAGIC = 0,
	AT_COUNT = 4,
	AT_GROUP = 8,
	AT_INDEX = 16,
	AT_CRC = 24,
	AT_ZERO = 28,
};
_Static_assert(AT_ZERO + 4 == POISON_ROW_BYTES, "docs/STORAGE.md#poison");

struct row {
	struct raft_index_of at; /* group 0: free */
	uint32_t count;          /* how often it ended the process */
};

struct poison {
	struct io *io;        /* borrowed */
	struct diag *diag;    /* borrowed */
	struct io_file *file; /* owned; NULL: nothing can be noted */
	char *path;           /* owned */
	uint32_t seed;
	struct row rows[POISON_ROWS];
	struct raft_index_of entries[POISON_ROWS]; /* those that are poison */
	unsigned entry_count;
};

/* ---- rows ---- */

static void row_encode(const struct poison *p, const struct row *r, uint8_t out[POISON_ROW_BYTES])
{
	memset(out, 0, POISON_ROW_BYTES);
	if (r->at.group == 0) return;
	le32_put(out + AT_MAGIC, ROW_MAGIC);
	le32_put(out + AT_COUNT, r->count);
	le64_put(out + AT_GROUP, r->at.group);
	le64_put(out + AT_INDEX, r->at.index);
	le32_put(out + AT_CRC, crc32c(p->seed, out, AT_CRC));
}

/* False: neither a row of this store nor a free one. */
static bool row_decode(const struct poison *p, const uint8_t in[POISON_ROW_BYTES], struct row *out)
{
	static const uint8_t zeroes[POISON_ROW_BYTES];
	*out = (struct row) { 0 };
	if (memcmp(in, zeroes, sizeof zeroes) == 0) return true;
	if (le32_get(in + AT_MAGIC) != ROW_MAGIC || le32_get(in + AT_ZERO) != 0) return false;
	if (le32_get(in + AT_CRC) != crc32c(p->seed, in, AT_CRC)) return false;
	struct row r = { { le64_get(in + AT_GROUP), le64_get(in + AT_INDEX) }, le32_get(in + AT_COUNT) };
	if (r.at.group == 0 || r.at.index == 0 || r.count == 0) return false;
	*out = r;
	return true;
}

/* ---- the file ---- */

/* Durable when it returns OK. Async-signal-safe, as the two calls are (src/io/uv_disk.c). */
static enum err write_at(struct poison *p, uint64_t at, const uint8_t *bytes, size_t n)
{
	struct slice v = slice_of(bytes, n);
	enum err e = io_file_write(p->file, at, &v, 1);
	return e == OK ? io_file_sync(p->file) : e;
}

static enum err write_all(struct poison *p)
{
	uint8_t bytes[POISON_FILE_BYTES];
	for (unsigned i = 0; i < POISON_ROWS; i++) row_encode(p, &p->rows[i], bytes + (size_t)i * POISON_ROW_BYTES);
	return write_at(p, 0, bytes, sizeof bytes);
}

static void rows_take(struct poison *p, const uint8_t bytes[POISON_FILE_BYTES], unsigned *bad)
{
	for (unsigned i = 0; i < POISON_ROWS; i++) {
		struct row *r = &p->rows[i];
		if (!row_decode(p, bytes + (size_t)i * POISON_ROW_BYTES, r)) ++*bad;
		if (r->count >= POISON_TWICE) p->entries[p->entry_count++] = r->at;
		if (r->count == 1)
			diag_line(p->diag, DIAG_WARN,
				"vault: the process has ended before while it applied entry %llu of group %llu; if it "
				"does "
				"so again, the group stops there (S11)",
				(unsigned long long)r->at.index, (unsigned long long)r->at.group);
	}
}

/* Every row has its place when this is done: a note makes nothing longer. */
static enum err file_open(struct poison *p, const char *dir)
{
	uint8_t bytes[POISON_FILE_BYTES] = { 0 };
	size_t got = 0;
	unsigned bad = 0;
	enum err e = io_file_open(p->io, p->path, IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE, &p->file);
	if (e == OK) e = io_file_read(p->file, 0, bytes, sizeof bytes, &got);
	if (e != OK) return e;
	rows_take(p, bytes, &bad);
	if (bad)
		diag_line(p->diag, DIAG_WARN, "vault: %s is damaged in %u of %u places, which are ignored", p->path,
			bad, (unsigned)POISON_ROWS);
	if (bad || got < sizeof bytes) e = write_all(p);
	if (e == OK && got == 0) e = io_dir_sync(p->io, dir);
	return e;
}

static void give_up(struct poison *p, enum err e)
{
	if (e == OK) return;
	diag_line(p->diag, DIAG_WARN, "vault: %s cannot be used (%s): an entry that ends the process is not remembered",
		p->path, err_text(e));
	io_file_close(p->file);
	p->file = NULL;
}

struct poison *poison_open(struct io *io, struct diag *diag, const char *dir, const uint8_t *store)
{
	struct poison *p = NEW(struct poison);
	struct buf path = { 0 };
	buf_printf(&path, "%s/poison", dir);
	p->io = io;
	p->diag = diag;
	p->path = mem_strdup(buf_str(&path));
	p->seed = crc32c(0, store, 16);
	buf_deinit(&path);
	give_up(p, file_open(p, dir));
	return p;
}

void poison_free(struct poison *p)
{
	if (!p) return;
	io_file_close(p->file);
	mem_free(p->path);
	mem_free(p);
}

const struct raft_index_of *poison_entries(const struct poison *p, unsigned *count)
{
	*count = p->entry_count;
	return p->entries;
}

/* ---- noting and forgetting ---- */

/* Its row, else a free one, else one that has ended the process but once: that is forgotten. NULL: all are poison. */
static struct row *row_for(struct poison *p, const struct raft_index_of *at)
{
	struct row *best = NULL;
	for (unsigned i = 0; i < POISON_ROWS; i++) {
		struct row *r = &p->rows[i];
		if (r->at.group == at->group && r->at.index == at->index) return r;
		if (r->count < POISON_TWICE && (!best || r->count < best->count)) best = r;
	}
	return best;
}

void poison_note(struct poison *p, const struct raft_index_of *at)
{
	uint8_t bytes[POISON_ROW_BYTES];
	struct row *r = p->file ? row_for(p, at) : NULL;
	if (!r) return;
	bool is_known = r->at.group == at->group && r->at.index == at->index;
	*r = (struct row) { *at, is_known && r->count < UINT32_MAX ? r->count + 1 : 1 };
	row_encode(p, r, bytes);
	enum err e = write_at(p, (uint64_t)(r - p->rows) * POISON_ROW_BYTES, bytes, sizeof bytes);
	(void)e; /* the process is ending: nobody is left who could do anything about it */
}

void poison_tidy(struct poison *p, poison_place_fn *place, void *arg)
{
	unsigned gone = 0;
	for (unsigned i = 0; i < POISON_ROWS; i++) {
		struct row *r = &p->rows[i];
		if (r->at.group == 0) continue;
		const char *label = place(arg, &r->at);
		if (label && r->count >= POISON_TWICE)
			diag_line(p->diag, DIAG_ERROR,
				"vault: group=%s is stopped before entry %llu, which ended the process %u times when "
				"it "
				"was applied (S11); with a version that can apply it, remove %s and start",
				label, (unsigned long long)r->at.index, (unsigned)r->count, p->path);
		if (label) continue;
		*r = (struct row) { 0 };
		gone++;
	}
	p->entry_count = 0;
	if (gone && p->file) give_up(p, write_all(p));
}
