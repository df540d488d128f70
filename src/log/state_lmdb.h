/* SPDX-License-Identifier: Apache-2.0 */
/* state_lmdb — what state_lmdb.c (the store) and state_lmdb_check.c (the walk before it is believed, S10) share.
 *
 *   key    group u64 big-endian | 0x00                      the log's meta of the group (group 0: the head of the store)
 *          group u64 big-endian | 0x01 | the owner's key
 *   value  crc32c over key and value u32 | value            docs/STORAGE.md#state */
#ifndef THEBES_LOG_STATE_LMDB_H
#define THEBES_LOG_STATE_LMDB_H

#include "thebes/state.h"

enum { STATE_TAG_META = 0, STATE_TAG_OWNER = 1, STATE_PREFIX_BYTES = 9, STATE_CRC_BYTES = 4, STATE_HEAD_BYTES = 16 };

static inline uint32_t state_value_crc(struct slice key, struct slice value)
{
	return crc32c(crc32c(0, key.p, key.n), value.p, value.n);
}
/* Splits what is stored under a key and checks its crc. False: damaged. */
static inline bool state_value_open(struct slice key, struct slice stored, struct slice *value, uint32_t *crc)
{
	if (key.n < STATE_PREFIX_BYTES || stored.n < STATE_CRC_BYTES) return false;
	*value = slice_from(stored, STATE_CRC_BYTES);
	*crc = le32_get(stored.p);
	return *crc == state_value_crc(key, *value);
}
/* True for the one key that is not a group's. */
static inline bool state_key_is_head(struct slice key)
{
	static const uint8_t head[STATE_PREFIX_BYTES];
	return key.n == STATE_PREFIX_BYTES && memcmp(key.p, head, sizeof head) == 0;
}

/* Opens with a map of that size; production takes STATE_MAP_BYTES. */
#define STATE_MAP_BYTES (1024 * GIB)
must_check enum err state_lmdb_open_sized(struct io *io, const char *path, uint64_t map_bytes, struct state **out);

/* What the walk found; fixed size, it goes through a pipe from the child. */
struct state_walk {
	enum err result;
	struct state_head head;
	uint64_t pages, values;
	uint32_t page_bytes;
	int good_meta;          /* 0 or 1: the meta page that counts */
	bool is_other_meta_bad; /* the other one must be made a copy of it, else LMDB refuses the file */
	uint64_t bad_at;        /* where in the file what `why` says was found */
	char why[96];
};
/* Walks the file by its own reading of LMDB's format, with every length checked: meta pages, trees, order of keys, overflow pages, list of
 * free pages, every value's crc, the sum. Reads with pread alone, so no damage can crash it. */
void state_walk_file(int fd, struct state_walk *out);
/* The same; appends the metas of all groups to `metas` (may be NULL): u64 group | u32 bytes | meta. */
void state_walk_file_metas(int fd, struct state_walk *out, struct buf *metas);
/* The same where values of owners may be damaged: appends their keys to `bad`: u32 bytes | key. Every other value is proven by the sum, of which the
 * damaged ones' own words are part: so it is not the word that is damaged, and no value is missing. */
void state_walk_file_mendable(int fd, struct state_walk *out, struct buf *metas, struct buf *bad);
/* See state_ops.mend. */
must_check enum err state_lmdb_mend(struct io *io, const char *path, state_lose_fn *lose, void *arg);
/* What it would leave, in `metas`, as of state_walk_file_metas. ERR_CORRUPT: it would not. */
must_check enum err state_mend_preview(
	int fd, struct state_walk *out, struct buf *metas, state_lose_fn *lose, void *arg);
/* The same without a repair, for people (log_check). */
must_check enum err state_lmdb_verify(struct io *io, const char *path, state_group_fn *each, state_lose_fn *lose,
	void *arg, struct state_verdict *out);
/* The same in a child process, which afterwards lets LMDB itself walk the file; repairs a meta page if that is all that is wrong. */
must_check enum err state_lmdb_check(struct io *io, const char *path, struct state_head *head);
/* Walks what LMDB shows: values, crcs, sum. For the child. */
must_check enum err state_lmdb_walk(const char *path, struct state_head *head);

#endif
