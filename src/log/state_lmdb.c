/* SPDX-License-Identifier: Apache-2.0 */
/* state_lmdb — the state store on LMDB: one environment file, one unnamed database, one write transaction per settle round.
 *
 * Happy path: state_lmdb_check (a child walks the file) -> open -> commit per round, each -> get and each in jobs of the settle lane.
 *
 * Flags, and why: NOLOCK, because DIR/lock keeps other processes out and one lane runs everything, so that there is one file less to be
 * damaged; NOTLS, because a lane's thread is not ours to keep state in; NORDAHEAD, because values are small and far apart. Never NOSYNC,
 * NOMETASYNC or WRITEMAP: a commit that returned is durable, and a stray write of ours cannot reach the file.
 * The map is far larger than the file will ever be (address space is cheap, the file grows with what is in it): a full map refuses even
 * deletes (S16). LMDB keeps every page that a transaction dirtied in memory for the next one; so after a large round it is opened anew. */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <unistd.h>

#include "state_lmdb.h"

enum { MAP_BYTES_MIN = 1 << 30, REOPEN_AFTER_BYTES = 4 << 20, RESERVE_BYTES = 1 << 20 };

struct state_of_lmdb {
	struct state base;
	MDB_env *env;         /* owned */
	int fd;               /* of the same file: reserves space */
	uint64_t reserved_to; /* blocks of the file system are ours up to here */
	MDB_dbi dbi;
	char *path; /* owned */
	uint64_t map_bytes;
	unsigned views; /* read transactions: with NOLOCK none may be open while one writes */
};

static struct state_of_lmdb *of(struct state *s) { return CONTAINER_OF(s, struct state_of_lmdb, base); }

static enum err err_of(int rc)
{
	static const struct {
		int rc;
		enum err e;
	} rows[] = {
		{ MDB_SUCCESS, OK },
		{ MDB_NOTFOUND, ERR_NOT_FOUND },
		{ MDB_MAP_FULL, ERR_NO_SPACE },
		{ MDB_TXN_FULL, ERR_NO_SPACE },
		{ ENOSPC, ERR_NO_SPACE },
		{ EDQUOT, ERR_NO_SPACE },
		{ EFBIG, ERR_NO_SPACE },
		{ ENOENT, ERR_NOT_FOUND },
		{ EACCES, ERR_ACCESS },
		{ EPERM, ERR_ACCESS },
		{ EROFS, ERR_ACCESS },
		{ EMFILE, ERR_FILES },
		{ ENFILE, ERR_FILES },
		{ ENOMEM, ERR_NO_MEMORY },
		{ MDB_CORRUPTED, ERR_CORRUPT },
		{ MDB_PAGE_NOTFOUND, ERR_CORRUPT },
		{ MDB_INVALID, ERR_CORRUPT },
		{ MDB_VERSION_MISMATCH, ERR_CORRUPT },
		{ MDB_INCOMPATIBLE, ERR_CORRUPT },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (rows[i].rc == rc) return rows[i].e;
	return ERR_IO;
}

static MDB_val val_of(struct slice s) { return (MDB_val) { s.n, (void *)(uintptr_t)s.p }; }
static struct slice slice_of_val(MDB_val v) { return slice_of(v.mv_data, v.mv_size); }

/* ---- keys ---- */

static struct slice key_make(uint8_t *out, uint64_t group, uint8_t tag, struct slice key)
{
	for (int i = 0; i < 8; i++) out[i] = (uint8_t)(group >> (56 - 8 * i));
	out[8] = tag;
	if (key.n) memcpy(out + STATE_PREFIX_BYTES, key.p, key.n);
	return slice_of(out, STATE_PREFIX_BYTES + key.n);
}
enum { KEY_BYTES_MAX = STATE_PREFIX_BYTES + STATE_KEY_MAX };
_Static_assert(KEY_BYTES_MAX <= 511, "LMDB's largest key");

static uint64_t key_group(struct slice key)
{
	uint64_t group = 0;
	for (int i = 0; i < 8; i++) group = group << 8 | key.p[i];
	return group;
}

/* ---- opening ---- */

static int env_open_once(const char *path, uint64_t map_bytes, unsigned flags, MDB_env **out)
{
	int rc = mdb_env_create(out);
	if (rc) return rc;
	rc = mdb_env_set_mapsize(*out, map_bytes);
	if (rc == 0) rc = mdb_env_open(*out, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS | MDB_NORDAHEAD | flags, 0600);
	if (rc == 0) return 0;
	mdb_env_close(*out);
	*out = NULL;
	return rc;
}

/* A smaller map where the address space is limited (ulimit -v, a sanitizer). */
static int env_open(const char *path, uint64_t map_bytes, unsigned flags, MDB_env **out)
{
	int rc = env_open_once(path, map_bytes, flags, out);
	while (rc == ENOMEM && map_bytes / 2 >= MAP_BYTES_MIN) {
		map_bytes /= 2;
		rc = env_open_once(path, map_bytes, flags, out);
	}
	return rc;
}

static int dbi_open(MDB_env *env, MDB_dbi *dbi)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
	if (rc) return rc;
	rc = mdb_dbi_open(txn, NULL, 0, dbi);
	mdb_txn_abort(txn);
	return rc;
}

static enum err store_open(struct state_of_lmdb *s)
{
	if (s->fd < 0) s->fd = open(s->path, O_RDWR | O_CLOEXEC);
	if (s->fd < 0) return err_of(errno);
	int rc = env_open(s->path, s->map_bytes, 0, &s->env);
	if (rc == 0) rc = dbi_open(s->env, &s->dbi);
	return err_of(rc);
}

static int head_put(MDB_txn *txn, MDB_dbi dbi, const struct state_head *head)
{
	uint8_t key[KEY_BYTES_MAX], stored[STATE_CRC_BYTES + STATE_HEAD_BYTES];
	struct slice k = key_make(key, 0, STATE_TAG_META, SLICE_NULL);
	le64_put(stored + STATE_CRC_BYTES, head->round);
	le64_put(stored + STATE_CRC_BYTES + 8, head->sum);
	le32_put(stored, state_value_crc(k, slice_of(stored + STATE_CRC_BYTES, STATE_HEAD_BYTES)));
	MDB_val mk = val_of(k), mv = { sizeof stored, stored };
	return mdb_put(txn, dbi, &mk, &mv, 0);
}

static int head_first_commit(MDB_env *env)
{
	MDB_txn *txn;
	MDB_dbi dbi;
	int rc = mdb_txn_begin(env, NULL, 0, &txn);
	if (rc) return rc;
	rc = mdb_dbi_open(txn, NULL, 0, &dbi);
	if (rc == 0) rc = head_put(txn, dbi, &(struct state_head) { 0 });
	if (rc == 0) return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return rc;
}

static void path_of_dir(const char *path, struct buf *out)
{
	const char *slash = strrchr(path, '/');
	buf_clear(out);
	if (slash)
		buf_append(out, path, (size_t)(slash - path) + (slash == path));
	else
		buf_append_byte(out, '.');
}

static enum err path_rename_durably(struct io *io, const char *from, const char *to)
{
	struct buf dir = { 0 };
	path_of_dir(to, &dir);
	enum err e = io_path_rename(io, from, to);
	if (e == OK) e = io_dir_sync(io, buf_str(&dir));
	buf_deinit(&dir);
	return e;
}

static bool path_exists(struct io *io, const char *path)
{
	struct io_file *f = NULL;
	enum err e = io_file_open(io, path, IO_OPEN_READ, &f);
	io_file_close(f);
	return e != ERR_NOT_FOUND;
}

/* A new store is made under another name and gets its own when it is whole, with round 0 committed: a crash leaves none or a whole one. */
static enum err store_create(struct io *io, const char *path, uint64_t map_bytes)
{
	struct buf path_new = { 0 };
	MDB_env *env = NULL;
	buf_printf(&path_new, "%s.new", path);
	enum err e = io_path_unlink(io, buf_str(&path_new));
	if (e == OK || e == ERR_NOT_FOUND) e = err_of(env_open(buf_str(&path_new), map_bytes, 0, &env));
	if (e == OK) e = err_of(head_first_commit(env));
	if (env) mdb_env_close(env);
	if (e == OK) e = path_rename_durably(io, buf_str(&path_new), path);
	buf_deinit(&path_new);
	return e;
}

static void lmdb_close(struct state *state)
{
	struct state_of_lmdb *s = of(state);
	ASSERT(s->views == 0);
	if (s->env) mdb_env_close(s->env);
	if (s->fd >= 0) (void)close(s->fd);
	mem_free(s->path);
	mem_free(s);
}

enum err state_lmdb_open_sized(struct io *io, const char *path, uint64_t map_bytes, struct state **out)
{
	*out = NULL;
	enum err e = path_exists(io, path) ? OK : store_create(io, path, map_bytes);
	if (e != OK) return e;
	struct state_of_lmdb *s = NEW(struct state_of_lmdb);
	s->base.ops = &state_lmdb;
	s->fd = -1;
	s->path = mem_strdup(path);
	s->map_bytes = map_bytes;
	e = store_open(s);
	if (e == OK)
		*out = &s->base;
	else
		lmdb_close(&s->base);
	return e;
}

static enum err lmdb_open(struct io *io, const char *path, struct state **out)
{
	return state_lmdb_open_sized(io, path, STATE_MAP_BYTES, out);
}

static enum err lmdb_set_aside(struct io *io, const char *path)
{
	struct buf to = { 0 };
	for (unsigned n = 1;; n++) {
		buf_clear(&to);
		buf_printf(&to, "%s.damaged-%u", path, n);
		if (!path_exists(io, buf_str(&to))) break;
	}
	enum err e = path_rename_durably(io, path, buf_str(&to));
	buf_deinit(&to);
	return e;
}

/* ---- committing ---- */

struct commit {
	MDB_txn *txn;
	MDB_dbi dbi;
	uint64_t sum, bytes;
};

/* Takes what is stored under the key out of the sum. */
static int commit_forget(struct commit *c, MDB_val *key)
{
	MDB_val old;
	int rc = mdb_get(c->txn, c->dbi, key, &old);
	if (rc == MDB_NOTFOUND) return 0;
	if (rc == 0 && old.mv_size < STATE_CRC_BYTES) return MDB_CORRUPTED;
	if (rc == 0) c->sum -= le32_get(old.mv_data);
	return rc;
}

static int commit_put(struct commit *c, struct slice key, struct slice value)
{
	uint32_t crc = state_value_crc(key, value);
	MDB_val k = val_of(key), v = { STATE_CRC_BYTES + value.n, NULL };
	int rc = commit_forget(c, &k);
	if (rc == 0) rc = mdb_put(c->txn, c->dbi, &k, &v, MDB_RESERVE);
	if (rc) return rc;
	le32_put(v.mv_data, crc);
	if (value.n) memcpy((uint8_t *)v.mv_data + STATE_CRC_BYTES, value.p, value.n);
	c->sum += crc;
	c->bytes += key.n + v.mv_size;
	return 0;
}

static int commit_del(struct commit *c, struct slice key)
{
	MDB_val k = val_of(key);
	int rc = commit_forget(c, &k);
	if (rc == 0) rc = mdb_del(c->txn, c->dbi, &k, NULL);
	c->bytes += key.n;
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Everything of the group goes. */
static int commit_drop(struct commit *c, uint64_t group)
{
	uint8_t from[KEY_BYTES_MAX];
	MDB_cursor *cursor;
	MDB_val k = val_of(key_make(from, group, STATE_TAG_META, SLICE_NULL)), v;
	int rc = mdb_cursor_open(c->txn, c->dbi, &cursor);
	if (rc) return rc;
	rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	while (rc == 0 && k.mv_size >= STATE_PREFIX_BYTES && key_group(slice_of_val(k)) == group) {
		if (v.mv_size < STATE_CRC_BYTES)
			rc = MDB_CORRUPTED;
		else
			c->sum -= le32_get(v.mv_data);
		c->bytes += k.mv_size;
		if (rc == 0) rc = mdb_cursor_del(cursor, 0);
		/* After a delete MDB_NEXT gives the key that took the place of the deleted one. */
		if (rc == 0) rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int commit_change(struct commit *c, const struct state_change *change)
{
	uint8_t buffer[KEY_BYTES_MAX];
	struct slice in = change->batch, key, value;
	bool put;
	enum err e = OK;
	ASSERT(change->group > 0);
	int rc = change->drop ? commit_drop(c, change->group) : 0;
	while (rc == 0 && (e = state_batch_next(&in, &put, &key, &value)) == OK) {
		struct slice k = key_make(buffer, change->group, STATE_TAG_OWNER, key);
		rc = put ? commit_put(c, k, value) : commit_del(c, k);
	}
	ASSERT(e == OK ||
		e == ERR_EOF); /* batches are made by state_batch_put, or were checked when they came from a peer */
	if (rc == 0 && change->meta.p)
		rc = commit_put(c, key_make(buffer, change->group, STATE_TAG_META, SLICE_NULL), change->meta);
	return rc;
}

static int head_get(MDB_txn *txn, MDB_dbi dbi, struct state_head *head)
{
	uint8_t buffer[KEY_BYTES_MAX];
	struct slice key = key_make(buffer, 0, STATE_TAG_META, SLICE_NULL), value;
	uint32_t crc;
	MDB_val k = val_of(key), v;
	int rc = mdb_get(txn, dbi, &k, &v);
	if (rc) return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
	if (!state_value_open(key, slice_of_val(v), &value, &crc) || value.n != STATE_HEAD_BYTES) return MDB_CORRUPTED;
	*head = (struct state_head) { le64_get(value.p), le64_get(value.p + 8) };
	return 0;
}

/* The write transaction; commits or leaves no trace. */
static int commit_run(struct state_of_lmdb *s, const struct state_change *changes, unsigned count,
	struct state_head *head, uint64_t *bytes)
{
	struct commit c = { .dbi = s->dbi };
	struct state_head before = { 0 };
	int rc = mdb_txn_begin(s->env, NULL, 0, &c.txn);
	if (rc) return rc;
	rc = head_get(c.txn, c.dbi, &before);
	c.sum = before.sum;
	for (unsigned i = 0; rc == 0 && i < count; i++) rc = commit_change(&c, &changes[i]);
	struct state_head after = { head->round, c.sum };
	if (rc == 0) rc = head_put(c.txn, c.dbi, &after);
	if (rc) {
		mdb_txn_abort(c.txn);
		return rc;
	}
	if ((rc = mdb_txn_commit(c.txn)) == 0) head->sum = after.sum;
	*bytes = c.bytes;
	return rc;
}

/* Reserves the blocks that a commit of this size may need, because LMDB cannot say "disk full": a write that was cut short is an EIO to it,
 * and an EIO ends the process (S17). LMDB does not mind a longer file. Each change may copy a leaf and the branches above it, but no more pages than there are. */
static enum err commit_reserve(struct state_of_lmdb *s, const struct state_change *changes, unsigned count)
{
	MDB_envinfo info;
	MDB_stat stat;
	int rc = mdb_env_info(s->env, &info);
	if (rc == 0) rc = mdb_env_stat(s->env, &stat);
	if (rc) return err_of(rc);
	uint64_t end = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize, bytes = 0, rows = 1;
	for (unsigned i = 0; i < count; i++) {
		struct slice in = changes[i].batch, key, value;
		bool put;
		bytes += changes[i].meta.n + changes[i].batch.n;
		for (rows += 2; state_batch_next(&in, &put, &key, &value) == OK;) rows++;
	}
	uint64_t copied = u64_min(rows * (stat.ms_depth + 1) * stat.ms_psize, end);
	uint64_t to = round_up(end + 2 * bytes + copied, RESERVE_BYTES) + RESERVE_BYTES;
	if (to <= s->reserved_to) return OK;
	while ((rc = fallocate(s->fd, 0, (off_t)end, (off_t)(to - end))) != 0 && errno == EINTR) {}
	if (rc && errno != EOPNOTSUPP && errno != ENOSYS) return err_of(errno);
	s->reserved_to = to;
	return OK;
}

static enum err lmdb_commit(
	struct state *state, const struct state_change *changes, unsigned count, struct state_head *head)
{
	struct state_of_lmdb *s = of(state);
	uint64_t bytes = 0;
	ASSERT(s->views == 0);
	/* Was closed after a large round, and could not be opened again then. */
	enum err e = s->env ? OK : store_open(s);
	if (e == OK) e = commit_reserve(s, changes, count);
	if (e != OK) return e;
	int rc = commit_run(s, changes, count, head, &bytes);
	if (bytes >= REOPEN_AFTER_BYTES || rc == MDB_PANIC) {
		mdb_env_close(s->env);
		s->env = NULL;
		/* What was committed is committed; the next call says why if this fails. */
		if (store_open(s) != OK && s->env) {
			mdb_env_close(s->env);
			s->env = NULL;
		}
	}
	return err_of(rc);
}

/* ---- reading ---- */

/* A read transaction with a cursor. */
struct view {
	struct state_of_lmdb *s;
	MDB_txn *txn;
	MDB_cursor *cursor;
};

static enum err view_begin(struct view *v, struct state *state)
{
	*v = (struct view) { .s = of(state) };
	v->s->views++;
	enum err e = v->s->env ? OK : store_open(v->s);
	if (e == OK) e = err_of(mdb_txn_begin(v->s->env, NULL, MDB_RDONLY, &v->txn));
	if (e == OK) e = err_of(mdb_cursor_open(v->txn, v->s->dbi, &v->cursor));
	return e;
}

static void view_end(struct view *v)
{
	if (v->cursor) mdb_cursor_close(v->cursor);
	if (v->txn) mdb_txn_abort(v->txn);
	v->s->views--;
}

/* Moves the cursor; gives key and checked value. ERR_NOT_FOUND at the end. */
static enum err view_move(struct view *v, struct slice *key, struct slice *value, MDB_cursor_op op)
{
	MDB_val k = val_of(*key), stored;
	uint32_t crc;
	int rc = mdb_cursor_get(v->cursor, &k, &stored, op);
	if (rc) return err_of(rc);
	*key = slice_of_val(k);
	return state_value_open(*key, slice_of_val(stored), value, &crc) ? OK : ERR_CORRUPT;
}

static enum err lmdb_head(struct state *state, struct state_head *head)
{
	struct view v;
	enum err e = view_begin(&v, state);
	if (e == OK) e = err_of(head_get(v.txn, v.s->dbi, head));
	view_end(&v);
	return e;
}

static enum err lmdb_groups(struct state *state, state_group_fn *each, void *arg)
{
	struct view v;
	uint8_t buffer[KEY_BYTES_MAX];
	enum err e = view_begin(&v, state);
	for (uint64_t group = 1; e == OK;) {
		struct slice key = key_make(buffer, group, STATE_TAG_META, SLICE_NULL), value = SLICE_NULL;
		e = view_move(&v, &key, &value, MDB_SET_RANGE);
		if (e != OK) break;
		group = key_group(key);
		bool is_meta = key.n == STATE_PREFIX_BYTES && key.p[8] == STATE_TAG_META;
		if (!each(arg, group, is_meta ? value : SLICE_NULL) || group == UINT64_MAX) break;
		group++;
	}
	view_end(&v);
	return e == ERR_NOT_FOUND ? OK : e;
}

static enum err lmdb_each(
	struct state *state, uint64_t group, struct slice prefix, struct slice from, state_each_fn *each, void *arg)
{
	struct view v;
	uint8_t buffer[KEY_BYTES_MAX], prefix_buffer[KEY_BYTES_MAX];
	ASSERT(group > 0 && prefix.n <= STATE_KEY_MAX && from.n <= STATE_KEY_MAX);
	struct slice start = slice_cmp(from, prefix) > 0 ? from : prefix, value = SLICE_NULL;
	struct slice whole = key_make(prefix_buffer, group, STATE_TAG_OWNER, prefix);
	struct slice key = key_make(buffer, group, STATE_TAG_OWNER, start);
	enum err e = view_begin(&v, state);
	if (e == OK) e = view_move(&v, &key, &value, MDB_SET_RANGE);
	while (e == OK && slice_has_prefix(key, whole) && each(arg, slice_from(key, STATE_PREFIX_BYTES), value))
		e = view_move(&v, &key, &value, MDB_NEXT);
	view_end(&v);
	return e == ERR_NOT_FOUND ? OK : e;
}

static enum err lmdb_get(struct state *state, uint64_t group, struct slice key, struct buf *value)
{
	struct view v;
	uint8_t buffer[KEY_BYTES_MAX];
	ASSERT(group > 0 && key.n <= STATE_KEY_MAX);
	struct slice k = key_make(buffer, group, STATE_TAG_OWNER, key), found = SLICE_NULL;
	enum err e = view_begin(&v, state);
	if (e == OK) e = view_move(&v, &k, &found, MDB_SET);
	if (e == OK) {
		buf_clear(value);
		if (found.n) buf_append_slice(value, found);
	}
	view_end(&v);
	return e;
}

/* ---- LMDB's own view of a file, for the child of the check ---- */

static int walk_values(MDB_txn *txn, MDB_dbi dbi, uint64_t *sum)
{
	MDB_cursor *cursor;
	MDB_val k, stored;
	int rc = mdb_cursor_open(txn, dbi, &cursor);
	if (rc) return rc;
	for (rc = mdb_cursor_get(cursor, &k, &stored, MDB_FIRST); rc == 0;
		rc = mdb_cursor_get(cursor, &k, &stored, MDB_NEXT)) {
		struct slice value;
		uint32_t crc;
		if (!state_value_open(slice_of_val(k), slice_of_val(stored), &value, &crc)) break;
		if (!state_key_is_head(slice_of_val(k))) *sum += crc;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc ? rc : MDB_CORRUPTED;
}

enum err state_lmdb_walk(const char *path, struct state_head *head)
{
	MDB_env *env = NULL;
	MDB_txn *txn = NULL;
	MDB_dbi dbi = 0;
	uint64_t sum = 0;
	int rc = env_open(path, STATE_MAP_BYTES, MDB_RDONLY, &env);
	if (rc == 0) rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
	if (rc == 0) rc = mdb_dbi_open(txn, NULL, 0, &dbi);
	if (rc == 0) rc = head_get(txn, dbi, head);
	if (rc == 0) rc = walk_values(txn, dbi, &sum);
	if (rc == 0 && sum != head->sum) rc = MDB_CORRUPTED;
	if (txn) mdb_txn_abort(txn);
	if (env) mdb_env_close(env);
	return err_of(rc);
}

const struct state_ops state_lmdb = {
	.check = state_lmdb_check,
	.verify = state_lmdb_verify,
	.mend = state_lmdb_mend,
	.open = lmdb_open,
	.close = lmdb_close,
	.set_aside = lmdb_set_aside,
	.commit = lmdb_commit,
	.head = lmdb_head,
	.groups = lmdb_groups,
	.each = lmdb_each,
	.get = lmdb_get,
};
