/* SPDX-License-Identifier: Apache-2.0 */
/* Files for production: plain blocking system calls, made by workers and while starting. What is added to the calls themselves:
 * writes and reads go on after a signal or a short count, errno becomes enum err, locks hold inside one process too. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "uv_io.h"

struct uv_file {
	struct io_file base;
	int fd; /* owned */
};

enum {
	DISK_IOV_MAX = 64,
	DISK_ZERO_BYTES = 64 * 1024, /* a piece of the zeroes that stand in for fallocate */
	DISK_EXTENTS_MAX = 64,       /* that are looked at to find the last */
};

static int file_fd(struct io_file *f) { return CONTAINER_OF(f, struct uv_file, base)->fd; }

/* ---- open and close ---- */

static int open_flags(unsigned flags)
{
	const bool reads = flags & IO_OPEN_READ, writes = flags & IO_OPEN_WRITE;
	int bits = O_CLOEXEC | (reads && writes ? O_RDWR : writes ? O_WRONLY : O_RDONLY);
	if (flags & IO_OPEN_CREATE) bits |= O_CREAT;
	if (flags & IO_OPEN_EXCLUSIVE) bits |= O_EXCL;
	if (flags & IO_OPEN_APPEND) bits |= O_APPEND;
	return bits;
}

static int open_retry(const char *path, int flags)
{
	int fd;
	do fd = open(path, flags, 0600);
	while (fd < 0 && errno == EINTR);
	return fd;
}

/* The lock belongs to the open file, so a second open of the same process is refused like another process. The file is cut only
 * behind the lock: whoever holds it must not lose its bytes. */
static enum err open_finish(int fd, unsigned flags)
{
	struct stat st;
	if (fstat(fd, &st) != 0) return uv_err(errno);
	if (S_ISDIR(st.st_mode)) return ERR_INVALID;
	if ((flags & IO_OPEN_LOCK) && flock(fd, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK ? ERR_LOCKED : uv_err(errno);
	if ((flags & IO_OPEN_TRUNCATE) && ftruncate(fd, 0) != 0) return uv_err(errno);
	return OK;
}

enum err uv_disk_open(struct io *io, const char *path, unsigned flags, struct io_file **out)
{
	const int fd = open_retry(path, open_flags(flags));
	if (fd < 0) return uv_err(errno);
	enum err e = open_finish(fd, flags);
	if (e != OK) {
		(void)close(fd);
		return e;
	}
	struct uv_file *f = NEW(struct uv_file);
	*f = (struct uv_file) { .base.io = io, .fd = fd };
	*out = &f->base;
	return OK;
}

void uv_disk_close(struct io_file *file)
{
	struct uv_file *f = CONTAINER_OF(file, struct uv_file, base);
	(void)close(f->fd); /* promises nothing, so there is nothing to report */
	mem_free(f);
}

/* ---- bytes ---- */

/* Drops n written bytes from the front of the vector; returns the first entry that has some left. */
static unsigned iov_advance(struct iovec *iov, unsigned at, unsigned count, size_t n)
{
	while (at < count && n >= iov[at].iov_len) n -= iov[at++].iov_len;
	if (at < count) {
		iov[at].iov_base = (uint8_t *)iov[at].iov_base + n;
		iov[at].iov_len -= n;
	}
	return at;
}

static enum err iov_write(int fd, uint64_t at, struct iovec *iov, unsigned count)
{
	/* Empty entries at the end would be written for ever. */
	unsigned i = iov_advance(iov, 0, count, 0);
	while (i < count) {
		ssize_t n = pwritev(fd, iov + i, (int)(count - i), (off_t)at);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return uv_err(errno);
		if (n == 0) return ERR_IO;
		at += (uint64_t)n;
		i = iov_advance(iov, i, count, (size_t)n);
	}
	return OK;
}

static bool range_is_valid(uint64_t at, uint64_t n) { return at <= INT64_MAX && n <= INT64_MAX - at; }

enum err uv_disk_write(struct io_file *f, uint64_t at, const struct slice *v, unsigned count)
{
	uint64_t total = 0;
	for (unsigned i = 0; i < count; i++) total += v[i].n;
	if (!range_is_valid(at, total)) return ERR_INVALID;
	while (count > 0) {
		struct iovec iov[DISK_IOV_MAX];
		const unsigned n = count < DISK_IOV_MAX ? count : DISK_IOV_MAX;
		uint64_t bytes = 0;
		for (unsigned i = 0; i < n; i++) {
			/* struct iovec has no const; pwritev only reads. */
			iov[i] = (struct iovec) { (void *)(uintptr_t)v[i].p, v[i].n };
			bytes += v[i].n;
		}
		enum err e = iov_write(file_fd(f), at, iov, n);
		if (e != OK) return e;
		at += bytes;
		v += n;
		count -= n;
	}
	return OK;
}

enum err uv_disk_read(struct io_file *f, uint64_t at, void *p, size_t n, size_t *got)
{
	if (!range_is_valid(at, n)) return ERR_INVALID;
	while (*got < n) {
		ssize_t r = pread(file_fd(f), (uint8_t *)p + *got, n - *got, (off_t)(at + *got));
		if (r < 0 && errno == EINTR) continue;
		if (r < 0) return uv_err(errno);
		if (r == 0) break;
		*got += (size_t)r;
	}
	return OK;
}

enum err uv_disk_sync(struct io_file *f)
{
	/* Not repeated after EINTR or anything else: the kernel may have dropped what failed. */
	return fdatasync(file_fd(f)) == 0 ? OK : uv_err(errno);
}

enum err uv_disk_size(struct io_file *f, uint64_t *bytes)
{
	struct stat st;
	if (fstat(file_fd(f), &st) != 0) return uv_err(errno);
	*bytes = (uint64_t)st.st_size;
	return OK;
}

enum err uv_disk_data_end(struct io_file *f, uint64_t *bytes)
{
	enum err e = uv_disk_size(f, bytes);
	off_t end = 0;
	for (unsigned i = 0; e == OK && i < DISK_EXTENTS_MAX; i++) {
		const off_t data = lseek(file_fd(f), end, SEEK_DATA);
		if (data < 0 && errno == ENXIO) {
			*bytes = (uint64_t)end;
			return OK;
		}
		end = data < 0 ? data : lseek(file_fd(f), data, SEEK_HOLE);
		if (end < 0) break; /* a file system that cannot say */
	}
	return e;
}

enum err uv_disk_truncate(struct io_file *f, uint64_t bytes)
{
	if (!range_is_valid(bytes, 0)) return ERR_INVALID;
	int r;
	do r = ftruncate(file_fd(f), (off_t)bytes);
	while (r != 0 && errno == EINTR);
	return r == 0 ? OK : uv_err(errno);
}

static enum err zero_fill(struct io_file *f, uint64_t at, uint64_t n)
{
	uint8_t *zeroes = mem_zalloc(DISK_ZERO_BYTES);
	enum err e = OK;
	while (e == OK && n > 0) {
		struct slice piece = slice_of(zeroes, size_min(DISK_ZERO_BYTES, n));
		e = uv_disk_write(f, at, &piece, 1);
		at += piece.n;
		n -= piece.n;
	}
	mem_free(zeroes);
	return e;
}

enum err uv_disk_allocate(struct io_file *f, uint64_t at, uint64_t n)
{
	if (!range_is_valid(at, n)) return ERR_INVALID;
	if (n == 0) return OK;
	int r;
	do r = fallocate(file_fd(f), FALLOC_FL_ZERO_RANGE, (off_t)at, (off_t)n);
	while (r != 0 && errno == EINTR);
	if (r == 0) return OK;
	return errno == EOPNOTSUPP || errno == ENOSYS ? zero_fill(f, at, n) : uv_err(errno);
}

enum err uv_disk_drop_cache(struct io_file *f)
{
	const int r = posix_fadvise(file_fd(f), 0, 0, POSIX_FADV_DONTNEED); /* returns errno */
	return r == 0 ? OK : uv_err(r);
}

/* ---- names ---- */

static enum err name_result(int r) { return r == 0 ? OK : uv_err(errno); }

enum err uv_disk_unlink(struct io *io, const char *path)
{
	(void)io;
	return name_result(unlink(path));
}

enum err uv_disk_rename(struct io *io, const char *from, const char *to)
{
	(void)io;
	return name_result(rename(from, to));
}

enum err uv_disk_dir_make(struct io *io, const char *path)
{
	(void)io;
	return name_result(mkdir(path, 0700));
}

enum err uv_disk_dir_remove(struct io *io, const char *path)
{
	(void)io;
	return name_result(rmdir(path));
}

enum err uv_disk_dir_sync(struct io *io, const char *path)
{
	(void)io;
	const int fd = open_retry(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) return uv_err(errno);
	const enum err e = fsync(fd) == 0 ? OK : uv_err(errno);
	(void)close(fd);
	return e;
}

enum err uv_disk_tree_sync(struct io *io, const char *path)
{
	(void)io;
	const int fd = open_retry(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) return uv_err(errno);
	const enum err e = syncfs(fd) == 0 ? OK : uv_err(errno);
	(void)close(fd);
	return e;
}

/* ---- listing ---- */

struct dir_entry {
	char *name; /* owned */
	bool is_dir;
};
struct dir_entries {
	struct dir_entry *rows; /* owned */
	size_t count, room;
};

static int dir_entry_cmp(const void *a, const void *b)
{
	return strcmp(((const struct dir_entry *)a)->name, ((const struct dir_entry *)b)->name);
}

static bool dir_entry_is_dir(DIR *dir, const struct dirent *d)
{
	struct stat st;
	if (d->d_type != DT_UNKNOWN) return d->d_type == DT_DIR;
	/* Some file systems do not say; whoever vanishes meanwhile is no directory. */
	return fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static enum err dir_collect(DIR *dir, struct dir_entries *found)
{
	for (;;) {
		errno = 0;
		const struct dirent *d = readdir(dir);
		if (!d) return uv_err(errno);
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) continue;
		if (found->count == found->room) {
			found->room = found->room ? 2 * found->room : 16;
			found->rows = mem_realloc(found->rows, found->room * sizeof *found->rows);
		}
		found->rows[found->count++] = (struct dir_entry) { mem_strdup(d->d_name), dir_entry_is_dir(dir, d) };
	}
}

enum err uv_disk_dir_list(struct io *io, const char *path, io_dir_each_fn *each, void *arg)
{
	(void)io;
	DIR *dir = opendir(path);
	if (!dir) return uv_err(errno);
	struct dir_entries found = { 0 };
	const enum err e = dir_collect(dir, &found);
	(void)closedir(dir);
	if (e == OK && found.count > 0) qsort(found.rows, found.count, sizeof *found.rows, dir_entry_cmp);
	for (size_t i = 0; i < found.count; i++) {
		if (e == OK) each(arg, found.rows[i].name, found.rows[i].is_dir);
		mem_free(found.rows[i].name);
	}
	mem_free(found.rows);
	return e;
}

enum err uv_disk_space(struct io *io, const char *path, uint64_t *free_bytes, uint64_t *total_bytes)
{
	(void)io;
	struct statvfs vfs;
	if (statvfs(path, &vfs) != 0) return uv_err(errno);
	*free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	*total_bytes = (uint64_t)vfs.f_blocks * vfs.f_frsize;
	return OK;
}
