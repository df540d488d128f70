/* SPDX-License-Identifier: Apache-2.0 */
/* A library to preload into a server, so that a test can take away what the server wrote and did not sync, as a power cut does.
 *
 *   POWERCUT_DIR  the server's store        POWERCUT_LOG  where to keep the undo log        POWERCUT_SHADOW  where unlinked files stay alive
 *
 * Before every write below POWERCUT_DIR the old bytes go into the undo log, before every unlink or replacing rename the file gets a second
 * name in POWERCUT_SHADOW, and after every sync a record says which of the earlier records it covers. Then the server may be killed at any
 * moment with kill -9; powercut.py reads the log and puts old bytes and old names back, wherever no sync stands between. The log is written
 * with plain writes, so it outlives the process, and the next process goes on with it: what the first one left in the page cache is still
 * unsynced for the second.
 *
 * A name is safe once its directory has been synced; bytes and length are safe once their file has been. A record is in the log before its
 * operation starts; a sync covers the records whose operations had ended when it began. Not tracked: shared writable mappings (the process
 * ends when it makes one of a tracked file) and system calls that no function of libc makes, except through syscall(). */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* powercut.py knows these by number. */
enum kind {
	KIND_WRITE = 1, /* bytes at offset: `data` is what was there before */
	KIND_TRUNCATE,  /* the same, and the length becomes `offset` */
	KIND_SYNC, /* everything of this inode before log position `upto`, but for the operations in `data`, which had not ended */
	KIND_SYNC_ONE, /* of this inode, the records of operation `op` */
	KIND_SYNC_DIR, /* every name in directory `path` before `upto`, as KIND_SYNC */
	KIND_CREATE,   /* `path` */
	KIND_UNLINK,   /* `path`; shadow/<inode> keeps the file */
	KIND_RENAME,   /* `path` becomes `to`; shadow/<inode> keeps what was there, if anything was */
	KIND_MKDIR,
	KIND_RMDIR,
	KIND_VOID, /* the operation of the record at log position `upto` failed */
};

/* The log's records: this, the path, a second path, the old bytes. All-zero old bytes are left out. */
struct record {
	uint32_t magic, kind;
	uint64_t ino, offset, length, old_size, upto;
	uint32_t path_n, to_n, data_n, op; /* op: the records of one operation have the same, never 0 */
};
#define MAGIC 0x43575031u

enum { INFLIGHT_MAX = 256, FDS = 65536, PIECE = 1 << 20 };

/* A preloaded library has nobody to hand it a context, so this one holds all there is. */
static struct {
	pthread_once_t once;
	pthread_mutex_t lock;
	char dir[PATH_MAX], shadow[PATH_MAX];
	size_t dir_n;
	int log;                         /* -1: not configured, everything passes through */
	uint32_t inflight[INFLIGHT_MAX]; /* operations that have not ended; 0: free */
	uint32_t op_last;
	uint8_t fd_class[FDS]; /* what is known of a file descriptor: see fd_is_tracked */
} g = { .once = PTHREAD_ONCE_INIT, .lock = PTHREAD_MUTEX_INITIALIZER, .log = -1 };

/* The libc's own functions: NEXT(int, fsync, (int)) declares next_fsync. */
#define NEXT(type, name, args)                                                                                         \
	static type(*next_##name(void)) args                                                                           \
	{                                                                                                              \
		static type(*found) args;                                                                              \
		if (!found) *(void **)(&found) = dlsym(RTLD_NEXT, #name);                                              \
		return found;                                                                                          \
	}
NEXT(int, open, (const char *, int, ...))
NEXT(int, openat, (int, const char *, int, ...))
NEXT(int, close, (int))
NEXT(ssize_t, write, (int, const void *, size_t))
NEXT(ssize_t, writev, (int, const struct iovec *, int))
NEXT(ssize_t, pwrite, (int, const void *, size_t, off_t))
NEXT(ssize_t, pwritev, (int, const struct iovec *, int, off_t))
NEXT(ssize_t, pwritev2, (int, const struct iovec *, int, off_t, int))
NEXT(int, fsync, (int))
NEXT(int, fdatasync, (int))
NEXT(int, ftruncate, (int, off_t))
NEXT(int, fallocate, (int, int, off_t, off_t))
NEXT(int, rename, (const char *, const char *))
NEXT(int, unlink, (const char *))
NEXT(int, rmdir, (const char *))
NEXT(int, mkdir, (const char *, mode_t))
NEXT(void *, mmap, (void *, size_t, int, int, int, off_t))
NEXT(long, syscall, (long, ...))

__attribute__((noreturn, format(printf, 1, 2))) static void stop(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("powercut: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	abort();
}

static void start(void)
{
	const char *dir = getenv("POWERCUT_DIR"), *log = getenv("POWERCUT_LOG"), *shadow = getenv("POWERCUT_SHADOW");
	if (!dir || !log || !shadow) return;
	if (!realpath(dir, g.dir) || !realpath(shadow, g.shadow)) stop("%s and %s must exist", dir, shadow);
	g.dir_n = strlen(g.dir);
	g.log = next_open()(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (g.log < 0) stop("%s: %s", log, strerror(errno));
	/* A record is longer than 1, so no operation of a process before had this number or a later one. */
	g.op_last = (uint32_t)lseek(g.log, 0, SEEK_END);
	/* Well away from the numbers that the server counts on. */
	int high = fcntl(g.log, F_DUPFD_CLOEXEC, 500);
	if (high >= 0) {
		next_close()(g.log);
		g.log = high;
	}
}

static bool active(void)
{
	pthread_once(&g.once, start);
	return g.log >= 0;
}

/* ---- the log ---- */

/* Appends one record and returns its position. The lock is held. */
static uint64_t log_append(struct record *r, const char *path, const char *to, const void *data)
{
	r->magic = MAGIC;
	r->path_n = path ? (uint32_t)strlen(path) : 0;
	r->to_n = to ? (uint32_t)strlen(to) : 0;
	struct iovec v[4] = { { r, sizeof *r }, { (void *)(uintptr_t)path, r->path_n },
		{ (void *)(uintptr_t)to, r->to_n }, { (void *)(uintptr_t)data, r->data_n } };
	off_t at = lseek(g.log, 0, SEEK_END);
	ssize_t want = (ssize_t)(sizeof *r + r->path_n + r->to_n + r->data_n);
	if (at < 0 || next_writev()(g.log, v, 4) != want) stop("the undo log: %s", strerror(errno));
	return (uint64_t)at;
}

/* Logs an operation that is about to start; the result, its slot, is for op_end. */
static unsigned op_begin(struct record *r, const char *path, const char *to, const void *data, uint64_t *position)
{
	pthread_mutex_lock(&g.lock);
	if (++g.op_last == 0) g.op_last = 1;
	r->op = g.op_last;
	uint64_t at = log_append(r, path, to, data);
	unsigned slot = 0;
	while (slot < INFLIGHT_MAX && g.inflight[slot]) slot++;
	if (slot == INFLIGHT_MAX) stop("more than %d operations at once", INFLIGHT_MAX);
	g.inflight[slot] = r->op;
	pthread_mutex_unlock(&g.lock);
	if (position) *position = at;
	return slot;
}

static void op_end(unsigned slot)
{
	pthread_mutex_lock(&g.lock);
	g.inflight[slot] = 0;
	pthread_mutex_unlock(&g.lock);
}

/* What a sync that starts now covers: the records below this position, but for the operations in `open`, which have not ended. */
static uint64_t covered_now(uint32_t open[INFLIGHT_MAX], uint32_t *count)
{
	*count = 0;
	pthread_mutex_lock(&g.lock);
	uint64_t upto = (uint64_t)lseek(g.log, 0, SEEK_END);
	for (unsigned i = 0; i < INFLIGHT_MAX; i++)
		if (g.inflight[i]) open[(*count)++] = g.inflight[i];
	pthread_mutex_unlock(&g.lock);
	return upto;
}

static void log_note(struct record r, const char *path, const void *data)
{
	pthread_mutex_lock(&g.lock);
	log_append(&r, path, NULL, data);
	pthread_mutex_unlock(&g.lock);
}

/* ---- what is tracked ---- */

static bool path_is_tracked(const char *path)
{
	return !strncmp(path, g.dir, g.dir_n) && (path[g.dir_n] == '/' || !path[g.dir_n]);
}

/* The lock file of LMDB is shared memory, not something stored. */
static bool path_is_ignored(const char *path)
{
	size_t n = strlen(path);
	return n >= 4 && !strcmp(path + n - 4, "lock");
}

/* The absolute path of a name whose directory exists: out has PATH_MAX bytes. */
static bool path_resolve(int at, const char *name, char *out)
{
	char joined[PATH_MAX], parent[PATH_MAX];
	if (name[0] == '/' || at == AT_FDCWD) {
		snprintf(joined, sizeof joined, "%s", name);
	} else {
		char link[64];
		snprintf(link, sizeof link, "/proc/self/fd/%d", at);
		ssize_t n = readlink(link, parent, sizeof parent - 1);
		if (n < 0) return false;
		parent[n] = 0;
		if ((size_t)snprintf(joined, sizeof joined, "%s/%s", parent, name) >= sizeof joined) return false;
	}
	char *slash = strrchr(joined, '/');
	const char *last = slash ? slash + 1 : joined;
	char base[NAME_MAX + 1];
	if ((size_t)snprintf(base, sizeof base, "%s", last) >= sizeof base) return false;
	if (slash) *slash = 0;
	if (!realpath(slash ? (joined[0] ? joined : "/") : ".", parent)) return false;
	return (size_t)snprintf(out, PATH_MAX, "%s/%s", parent, base) < PATH_MAX;
}

static bool fd_path(int fd, char *out)
{
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, out, PATH_MAX - 1);
	if (n < 0) return false;
	out[n] = 0;
	return true;
}

enum { FD_UNKNOWN, FD_OTHER, FD_TRACKED };

/* Whether this is a regular file of the store; fills st. Only "no" is remembered without asking the kernel again. */
static bool fd_is_tracked(int fd, struct stat *st)
{
	if (!active() || fd < 0 || fd >= FDS || g.fd_class[fd] == FD_OTHER) return false;
	if (fstat(fd, st) || !S_ISREG(st->st_mode)) return false;
	if (g.fd_class[fd] == FD_TRACKED) return true;
	char path[PATH_MAX];
	bool tracked = fd_path(fd, path) && path_is_tracked(path) && !path_is_ignored(path);
	g.fd_class[fd] = tracked ? FD_TRACKED : FD_OTHER;
	return tracked;
}

static void fd_forget(int fd)
{
	if (fd >= 0 && fd < FDS) g.fd_class[fd] = FD_UNKNOWN;
}

/* ---- bytes ---- */

static bool all_zero(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i]) return false;
	return true;
}

/* An operation on bytes that is under way, and the slot that keeps its records uncovered until it has ended. */
struct undo {
	unsigned slot;
	uint32_t op;
};

/* Logs what lies at [offset, offset + n) of the file, in pieces of one operation. */
static struct undo undo_begin(int fd, const struct stat *st, enum kind kind, uint64_t offset, uint64_t n)
{
	/* The descriptor may be open for writing only, so the bytes are read through another one. */
	char link[64], *old = malloc(PIECE);
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	int reader = next_open()(link, O_RDONLY | O_CLOEXEC);
	if (!old || reader < 0) stop("%s cannot be read: %s", link, strerror(errno));
	struct undo u = { .slot = INFLIGHT_MAX };
	uint64_t size = (uint64_t)st->st_size, done = 0;
	do {
		uint64_t at = offset + done, piece = n - done < PIECE ? n - done : PIECE;
		/* Past the end of the file there was nothing: one record for all the rest. */
		if (at >= size) piece = n - done;
		ssize_t got = at < size && piece ? pread(reader, old, piece, (off_t)at) : 0;
		if (got < 0) stop("reading old bytes: %s", strerror(errno));
		struct record r = { .kind = kind, .ino = st->st_ino, .offset = at, .length = piece, .old_size = size };
		r.data_n = all_zero(old, (size_t)got) ? 0 : (uint32_t)got;
		if (u.slot == INFLIGHT_MAX) {
			u.slot = op_begin(&r, NULL, NULL, old, NULL);
			u.op = r.op;
		} else {
			r.op = u.op;
			log_note(r, NULL, old);
		}
		done += piece;
	} while (done < n);
	next_close()(reader);
	free(old);
	return u;
}

/* A file that was opened with O_DSYNC or O_SYNC has synced what it has written. */
static void after_write(int fd, const struct stat *st, struct undo u, bool synced, ssize_t result)
{
	int saved = errno;
	op_end(u.slot);
	int flags = fcntl(fd, F_GETFL);
	if (result >= 0 && (synced || (flags >= 0 && (flags & O_DSYNC))))
		log_note((struct record) { .kind = KIND_SYNC_ONE, .ino = st->st_ino, .op = u.op }, NULL, NULL);
	errno = saved;
}

static size_t iov_bytes(const struct iovec *v, int count)
{
	size_t n = 0;
	for (int i = 0; i < count; i++) n += v[i].iov_len;
	return n;
}

/* Where write() will put its bytes. */
static uint64_t write_offset(int fd, const struct stat *st)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && (flags & O_APPEND)) return (uint64_t)st->st_size;
	off_t at = lseek(fd, 0, SEEK_CUR);
	return at < 0 ? 0 : (uint64_t)at;
}

ssize_t write(int fd, const void *bytes, size_t n)
{
	struct stat st;
	if (!fd_is_tracked(fd, &st)) return next_write()(fd, bytes, n);
	struct undo u = undo_begin(fd, &st, KIND_WRITE, write_offset(fd, &st), n);
	ssize_t r = next_write()(fd, bytes, n);
	after_write(fd, &st, u, false, r);
	return r;
}

ssize_t writev(int fd, const struct iovec *v, int count)
{
	struct stat st;
	if (!fd_is_tracked(fd, &st)) return next_writev()(fd, v, count);
	struct undo u = undo_begin(fd, &st, KIND_WRITE, write_offset(fd, &st), iov_bytes(v, count));
	ssize_t r = next_writev()(fd, v, count);
	after_write(fd, &st, u, false, r);
	return r;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
	struct stat st;
	if (!fd_is_tracked(fd, &st)) return next_pwrite()(fd, bytes, n, offset);
	struct undo u = undo_begin(fd, &st, KIND_WRITE, (uint64_t)offset, n);
	ssize_t r = next_pwrite()(fd, bytes, n, offset);
	after_write(fd, &st, u, false, r);
	return r;
}

ssize_t pwritev(int fd, const struct iovec *v, int count, off_t offset)
{
	struct stat st;
	if (!fd_is_tracked(fd, &st)) return next_pwritev()(fd, v, count, offset);
	struct undo u = undo_begin(fd, &st, KIND_WRITE, (uint64_t)offset, iov_bytes(v, count));
	ssize_t r = next_pwritev()(fd, v, count, offset);
	after_write(fd, &st, u, false, r);
	return r;
}

ssize_t pwritev2(int fd, const struct iovec *v, int count, off_t offset, int flags)
{
	struct stat st;
	if (!fd_is_tracked(fd, &st)) return next_pwritev2()(fd, v, count, offset, flags);
	uint64_t at = offset == -1 ? write_offset(fd, &st) : (uint64_t)offset;
	struct undo u = undo_begin(fd, &st, KIND_WRITE, at, iov_bytes(v, count));
	ssize_t r = next_pwritev2()(fd, v, count, offset, flags);
	after_write(fd, &st, u, flags & (RWF_DSYNC | RWF_SYNC), r);
	return r;
}

/* Growing and shrinking: what lay behind the new end is kept, and the old length. */
int ftruncate(int fd, off_t size)
{
	struct stat st;
	if (!fd_is_tracked(fd, &st) || size < 0) return next_ftruncate()(fd, size);
	uint64_t cut = size < st.st_size ? (uint64_t)(st.st_size - size) : 0;
	struct undo u = undo_begin(fd, &st, KIND_TRUNCATE, (uint64_t)size, cut);
	int r = next_ftruncate()(fd, size);
	op_end(u.slot);
	return r;
}

int fallocate(int fd, int mode, off_t offset, off_t n)
{
	struct stat st;
	if (!fd_is_tracked(fd, &st)) return next_fallocate()(fd, mode, offset, n);
	if (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE))
		stop("fallocate mode %d moves bytes, which is not tracked", mode);
	/* A plain allocation changes the length alone. */
	bool changes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
	uint64_t from = changes || offset > st.st_size ? (uint64_t)offset : (uint64_t)st.st_size;
	uint64_t end = (uint64_t)(offset + n);
	struct undo u = undo_begin(fd, &st, KIND_WRITE, from, end > from ? end - from : 0);
	int r = next_fallocate()(fd, mode, offset, n);
	op_end(u.slot);
	return r;
}

int posix_fallocate(int fd, off_t offset, off_t n) { return fallocate(fd, 0, offset, n) ? errno : 0; }

/* ---- syncs ---- */

static int sync_with(int fd, int (*sync)(int))
{
	struct stat st;
	if (!active() || fstat(fd, &st)) return sync(fd);
	char path[PATH_MAX];
	bool is_dir = S_ISDIR(st.st_mode);
	if (is_dir ? !(fd_path(fd, path) && path_is_tracked(path)) : !fd_is_tracked(fd, &st)) return sync(fd);
	uint32_t open[INFLIGHT_MAX], count;
	uint64_t upto = covered_now(open, &count);
	int r = sync(fd), saved = errno;
	if (!r && !getenv("POWERCUT_IGNORE_SYNC"))
		log_note((struct record) { .kind = is_dir ? KIND_SYNC_DIR : KIND_SYNC,
				 .ino = st.st_ino,
				 .upto = upto,
				 .data_n = count * (uint32_t)sizeof *open },
			is_dir ? path : NULL, open);
	errno = saved;
	return r;
}

int fsync(int fd) { return sync_with(fd, next_fsync()); }
int fdatasync(int fd) { return sync_with(fd, next_fdatasync()); }

/* ---- names ---- */

/* Gives a file that is about to lose its name a second one, so that its inode and bytes stay. Returns its inode, 0 when there is none. */
static uint64_t shadow_keep(const char *path)
{
	struct stat st;
	char name[PATH_MAX + 32];
	if (lstat(path, &st) || !S_ISREG(st.st_mode)) return 0;
	snprintf(name, sizeof name, "%s/%llu", g.shadow, (unsigned long long)st.st_ino);
	if (link(path, name) && errno != EEXIST) stop("%s: %s", name, strerror(errno));
	return st.st_ino;
}

/* An operation on names that is under way. */
struct name_op {
	unsigned slot;
	uint64_t position;
};

static struct name_op name_begin(enum kind kind, const char *path, const char *to, uint64_t ino)
{
	struct record r = { .kind = kind, .ino = ino };
	struct name_op op;
	op.slot = op_begin(&r, path, to, NULL, &op.position);
	return op;
}

/* Returns the operation's result, with its errno. */
static int name_end(struct name_op op, int result)
{
	int saved = errno;
	op_end(op.slot);
	if (result < 0) log_note((struct record) { .kind = KIND_VOID, .upto = op.position }, NULL, NULL);
	errno = saved;
	return result;
}

/* open with O_CREAT or O_TRUNC changes the store; every other open only makes a new descriptor. */
static int open_tracked(int at, const char *name, int flags, mode_t mode)
{
	char path[PATH_MAX];
	struct stat st;
	if (!active() || !(flags & (O_CREAT | O_TRUNC)) || !path_resolve(at, name, path) || !path_is_tracked(path) ||
		path_is_ignored(path)) {
		int fd = next_openat()(at, name, flags, mode);
		fd_forget(fd);
		return fd;
	}
	bool exists = !stat(path, &st);
	if (exists && (flags & O_TRUNC) && !((flags & O_CREAT) && (flags & O_EXCL))) {
		int fd = next_openat()(at, name, O_WRONLY | O_CLOEXEC, 0);
		if (fd >= 0) {
			fd_forget(fd);
			if (ftruncate(fd, 0)) stop("%s: %s", path, strerror(errno));
			next_close()(fd);
		}
	}
	int fd;
	if (exists) {
		fd = next_openat()(at, name, flags, mode);
	} else {
		struct name_op op = name_begin(KIND_CREATE, path, NULL, 0);
		fd = name_end(op, next_openat()(at, name, flags, mode));
	}
	fd_forget(fd);
	return fd;
}

#define MODE_OF(flags)                                                                                                 \
	mode_t mode = 0;                                                                                               \
	if (((flags)&O_CREAT) || ((flags)&O_TMPFILE) == O_TMPFILE) {                                                   \
		va_list args;                                                                                          \
		va_start(args, flags);                                                                                 \
		mode = va_arg(args, mode_t);                                                                           \
		va_end(args);                                                                                          \
	}

int open(const char *name, int flags, ...)
{
	MODE_OF(flags)
	return open_tracked(AT_FDCWD, name, flags, mode);
}

int openat(int at, const char *name, int flags, ...)
{
	MODE_OF(flags)
	return open_tracked(at, name, flags, mode);
}

int creat(const char *name, mode_t mode) { return open_tracked(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd)
{
	fd_forget(fd);
	return next_close()(fd);
}

int dup2(int from, int to)
{
	fd_forget(to);
	return (int)next_syscall()(SYS_dup2, from, to);
}

int dup3(int from, int to, int flags)
{
	fd_forget(to);
	return (int)next_syscall()(SYS_dup3, from, to, flags);
}

int rename(const char *from, const char *to)
{
	char old_path[PATH_MAX], new_path[PATH_MAX];
	if (!active() || !path_resolve(AT_FDCWD, from, old_path) || !path_resolve(AT_FDCWD, to, new_path) ||
		!path_is_tracked(new_path))
		return next_rename()(from, to);
	struct name_op op = name_begin(KIND_RENAME, old_path, new_path, shadow_keep(new_path));
	return name_end(op, next_rename()(from, to));
}

int unlink(const char *name)
{
	char path[PATH_MAX];
	if (!active() || !path_resolve(AT_FDCWD, name, path) || !path_is_tracked(path) || path_is_ignored(path))
		return next_unlink()(name);
	struct name_op op = name_begin(KIND_UNLINK, path, NULL, shadow_keep(path));
	return name_end(op, next_unlink()(name));
}

int rmdir(const char *name)
{
	char path[PATH_MAX];
	if (!active() || !path_resolve(AT_FDCWD, name, path) || !path_is_tracked(path)) return next_rmdir()(name);
	struct name_op op = name_begin(KIND_RMDIR, path, NULL, 0);
	return name_end(op, next_rmdir()(name));
}

int mkdir(const char *name, mode_t mode)
{
	char path[PATH_MAX];
	if (!active() || !path_resolve(AT_FDCWD, name, path) || !path_is_tracked(path)) return next_mkdir()(name, mode);
	struct name_op op = name_begin(KIND_MKDIR, path, NULL, 0);
	return name_end(op, next_mkdir()(name, mode));
}

int remove(const char *name)
{
	struct stat st;
	return !lstat(name, &st) && S_ISDIR(st.st_mode) ? rmdir(name) : unlink(name);
}

int unlinkat(int at, const char *name, int flags)
{
	char path[PATH_MAX];
	if (!path_resolve(at, name, path)) return (int)next_syscall()(SYS_unlinkat, at, name, flags);
	return flags & AT_REMOVEDIR ? rmdir(path) : unlink(path);
}

int renameat(int from_at, const char *from, int to_at, const char *to)
{
	char old_path[PATH_MAX], new_path[PATH_MAX];
	if (!path_resolve(from_at, from, old_path) || !path_resolve(to_at, to, new_path))
		return (int)next_syscall()(SYS_renameat, from_at, from, to_at, to);
	return rename(old_path, new_path);
}

/* ---- what would escape ---- */

void *mmap(void *hint, size_t n, int protection, int flags, int fd, off_t offset)
{
	struct stat st;
	if ((flags & MAP_SHARED) && (protection & PROT_WRITE) && fd >= 0 && fd_is_tracked(fd, &st))
		stop("a file of the store is mapped for writing, which is not tracked");
	return next_mmap()(hint, n, protection, flags, fd, offset);
}

/* libuv makes some calls itself. */
long syscall(long number, ...)
{
	long a[6];
	va_list args;
	va_start(args, number);
	for (int i = 0; i < 6; i++) a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_close) return close((int)a[0]);
	if (number == SYS_pwritev) return pwritev((int)a[0], (const struct iovec *)a[1], (int)a[2], (off_t)a[3]);
	if (number == SYS_pwritev2)
		return pwritev2((int)a[0], (const struct iovec *)a[1], (int)a[2], (off_t)a[3], (int)a[5]);
	if (number == SYS_fdatasync) return fdatasync((int)a[0]);
	if (number == SYS_fsync) return fsync((int)a[0]);
	struct stat st;
	bool copies = number == SYS_copy_file_range || number == SYS_sendfile;
	if (copies && fd_is_tracked((int)a[number == SYS_copy_file_range ? 2 : 0], &st))
		stop("system call %ld is not tracked", number);
	return next_syscall()(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* Other names of the same functions: with 64-bit offsets, and as the headers' checks call them. */
#define ALIAS(type, name, args, real) type name args __attribute__((alias(#real)));
ALIAS(int, open64, (const char *, int, ...), open)
ALIAS(int, openat64, (int, const char *, int, ...), openat)
ALIAS(int, creat64, (const char *, mode_t), creat)
ALIAS(ssize_t, pwrite64, (int, const void *, size_t, off64_t), pwrite)
ALIAS(ssize_t, pwritev64, (int, const struct iovec *, int, off64_t), pwritev)
ALIAS(ssize_t, pwritev64v2, (int, const struct iovec *, int, off64_t, int), pwritev2)
ALIAS(int, ftruncate64, (int, off64_t), ftruncate)
ALIAS(int, fallocate64, (int, int, off64_t, off64_t), fallocate)
ALIAS(int, posix_fallocate64, (int, off64_t, off64_t), posix_fallocate)
ALIAS(void *, mmap64, (void *, size_t, int, int, int, off64_t), mmap)

int __open_2(const char *name, int flags);
int __open64_2(const char *name, int flags);
int __openat_2(int at, const char *name, int flags);
int __openat64_2(int at, const char *name, int flags);
int __open_2(const char *name, int flags) { return open_tracked(AT_FDCWD, name, flags, 0); }
int __open64_2(const char *name, int flags) { return open_tracked(AT_FDCWD, name, flags, 0); }
int __openat_2(int at, const char *name, int flags) { return open_tracked(at, name, flags, 0); }
int __openat64_2(int at, const char *name, int flags) { return open_tracked(at, name, flags, 0); }
