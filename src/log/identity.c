/* SPDX-License-Identifier: Apache-2.0 */
/* identity — who a store is: two copies of one small file, written at birth and when a cluster uuid is adopted, never else
 * (docs/STORAGE.md#identity). Either copy is enough; the newer good one counts and repairs the other. */
#include <stdio.h>

#include "log_internal.h"

enum {
	IDENTITY_MAGIC = 0x44494254, /* "TBID" */
	AT_MAGIC = 0,
	AT_LEVEL = 4,
	AT_COUNTER = 8,
	AT_SLOT_BYTES = 16,
	AT_SLOT_COUNT = 24,
	AT_ZERO = 28,
	AT_RAFT_ID = 32,
	AT_CLUSTER = 40,
	AT_STORE = 56,
	AT_SECRET = 72,
	AT_CRC = 88,
	AT_ZERO_END = 92,
};
_Static_assert(AT_ZERO_END + 4 == IDENTITY_BYTES, "docs/STORAGE.md#identity");

void identity_encode(const struct identity *i, uint8_t out[IDENTITY_BYTES])
{
	le32_put(out + AT_MAGIC, IDENTITY_MAGIC);
	le32_put(out + AT_LEVEL, LOG_FORMAT_LEVEL);
	le64_put(out + AT_COUNTER, i->counter);
	le64_put(out + AT_SLOT_BYTES, i->slot_bytes);
	le32_put(out + AT_SLOT_COUNT, i->slot_count);
	le32_put(out + AT_ZERO, 0);
	le64_put(out + AT_RAFT_ID, i->id.raft_id);
	memcpy(out + AT_CLUSTER, i->id.cluster_uuid, 16);
	memcpy(out + AT_STORE, i->id.store_uuid, 16);
	memcpy(out + AT_SECRET, i->secret, 16);
	le32_put(out + AT_CRC, crc32c(0, out, AT_CRC));
	le32_put(out + AT_ZERO_END, 0);
}

enum err identity_decode(const uint8_t in[IDENTITY_BYTES], struct identity *out)
{
	if (le32_get(in + AT_MAGIC) != IDENTITY_MAGIC) return ERR_CORRUPT;
	if (le32_get(in + AT_CRC) != crc32c(0, in, AT_CRC)) return ERR_CORRUPT;
	if (le32_get(in + AT_LEVEL) > LOG_FORMAT_LEVEL) return ERR_FORMAT;
	*out = (struct identity) {
		.counter = le64_get(in + AT_COUNTER),
		.slot_bytes = le64_get(in + AT_SLOT_BYTES),
		.slot_count = le32_get(in + AT_SLOT_COUNT),
		.id.raft_id = le64_get(in + AT_RAFT_ID),
	};
	memcpy(out->id.cluster_uuid, in + AT_CLUSTER, 16);
	memcpy(out->id.store_uuid, in + AT_STORE, 16);
	memcpy(out->secret, in + AT_SECRET, 16);
	bool is_sane = out->slot_bytes && out->slot_bytes % BLOCK_ALIGN == 0 && out->slot_count >= LOG_SLOTS_MIN &&
		       out->slot_count <= LOG_SLOTS_MAX && out->id.raft_id;
	return is_sane ? OK : ERR_CORRUPT;
}

uint64_t identity_store_low(const struct identity *i) { return le64_get(i->id.store_uuid); }

static const char *identity_path(struct buf *path, const char *dir, unsigned copy)
{
	buf_clear(path);
	buf_printf(path, "%s/identity.%u", dir, copy);
	return buf_str(path);
}

static enum err identity_read(struct io *io, const char *path, struct identity *out)
{
	struct io_file *f = NULL;
	enum err e = io_file_open(io, path, IO_OPEN_READ, &f);
	if (e != OK) return e;
	uint8_t bytes[IDENTITY_BYTES];
	size_t got = 0;
	e = io_file_sync(f); /* S5: not what only the page cache knows */
	if (e == OK) e = io_file_drop_cache(f);
	if (e == OK) e = io_file_read(f, 0, bytes, sizeof bytes, &got);
	if (e == OK) e = got == sizeof bytes ? identity_decode(bytes, out) : ERR_CORRUPT;
	io_file_close(f);
	return e;
}

static enum err identity_write(struct io *io, const char *path, const struct identity *i)
{
	struct io_file *f = NULL;
	enum err e = io_file_open(io, path, IO_OPEN_WRITE | IO_OPEN_CREATE, &f);
	if (e != OK) return e;
	uint8_t *bytes = mem_zalloc(IDENTITY_FILE_BYTES);
	identity_encode(i, bytes);
	struct slice v = slice_of(bytes, IDENTITY_FILE_BYTES);
	e = io_file_write(f, 0, &v, 1);
	if (e == OK) e = io_file_sync(f);
	mem_free(bytes);
	io_file_close(f);
	return e;
}

enum err identity_store(struct io *io, const char *dir, const struct identity *i)
{
	struct buf path = { 0 };
	enum err e = OK;
	for (unsigned copy = 0; e == OK && copy < 2; copy++) e = identity_write(io, identity_path(&path, dir, copy), i);
	buf_deinit(&path);
	return e == OK ? io_dir_sync(io, dir) : e;
}

static bool is_damage(enum err e) { return e == ERR_NOT_FOUND || e == ERR_CORRUPT || e == ERR_IO; }

enum err identity_load(struct io *io, const char *dir, struct identity *out, bool *repaired)
{
	struct buf path = { 0 };
	struct identity copy[2];
	enum err e[2];
	*repaired = false;
	for (unsigned i = 0; i < 2; i++) e[i] = identity_read(io, identity_path(&path, dir, i), &copy[i]);
	buf_deinit(&path);
	for (unsigned i = 0; i < 2; i++)
		if (e[i] != OK && !is_damage(e[i])) return e[i]; /* ERR_FORMAT, ERR_ACCESS, ERR_CRASHED, … */
	if (e[0] != OK && e[1] != OK)
		return e[0] == ERR_NOT_FOUND && e[1] == ERR_NOT_FOUND ? ERR_NOT_FOUND : ERR_CORRUPT;
	unsigned good = e[0] != OK || (e[1] == OK && copy[1].counter > copy[0].counter);
	*out = copy[good];
	if (e[0] == OK && e[1] == OK && copy[0].counter == copy[1].counter) return OK;
	/* Damage, or a crash between the two copies: the other one is written, never the good one. */
	*repaired = true;
	enum err repair = identity_write(io, identity_path(&path, dir, 1 - good), out);
	buf_deinit(&path);
	return repair == OK ? io_dir_sync(io, dir) : repair;
}
