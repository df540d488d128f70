/* SPDX-License-Identifier: Apache-2.0 */
/* io — the only way to the world: clock, timers, randomness, streams, files, workers. It knows no broker word.
 *
 *   src/io (libuv)  ──┐                          ┌── every room above
 *                     ├── struct io_ops ── io.h ─┤
 *   tests/sim (twin) ─┘                          └── node
 *
 * One struct io per node. Two kinds of thread touch it:
 *   loop thread   everything but the file calls; callbacks come one at a time and never from inside the call that asked for them.
 *   workers       run io_job.run, where straight-line code may make the blocking file calls. A job touches only its own memory
 *                 and the files it was given; it answers through io_job.done on the loop.
 * The file calls may also be made before the loop runs (starting), and nowhere else. In the twin a job is a fiber: every file call
 * is a point where virtual time passes, other things happen, and the power may go.
 *
 * Completions fire exactly once. Memory handed in belongs to the caller; "borrowed" says until when it must stay. */
#ifndef THEBES_IO_H
#define THEBES_IO_H

#include "thebes/base.h"

struct io;
struct io_stream;
struct io_listener;
struct io_file;

/* ---- clock and chance (loop thread; the clocks also from workers) ---- */

uint64_t io_now_ns(struct io *io);                /* monotonic; on the loop read once a turn */
uint64_t io_now_precise_ns(struct io *io);        /* monotonic, read anew: for measuring */
int64_t io_wall_ns(struct io *io);                /* since 1970; may jump either way */
void io_random(struct io *io, void *p, size_t n); /* unguessable in production, seeded in the twin */
uint64_t io_random_u64(struct io *io);

/* ---- timers, and the end of a turn ---- */

struct io_timer {
	struct heap_node link_by_deadline;
	void (*fire)(struct io_timer *t); /* unarmed when called, may be armed again inside */
};
/* Arms or re-arms: fires once, not before `delay_ns` from now. The timer is the caller's memory, zeroed before first use. */
void io_timer_start(struct io *io, struct io_timer *t, uint64_t delay_ns);
void io_timer_stop(struct io *io, struct io_timer *t); /* harmless when unarmed */
static inline bool io_timer_is_armed(const struct io_timer *t) { return heap_is_linked(&t->link_by_deadline); }

/* Runs `run` once, after the event being handled and before the turn ends. Submitting a linked task does nothing. A task that
 * defers itself holds the turn: who wants to let others go first arms a timer of 0. */
struct io_task {
	struct list link;
	void (*run)(struct io_task *t);
};
void io_defer(struct io *io, struct io_task *t);

/* Runs at the end of every turn that did something, in the order of registration, after all deferred tasks: read everything,
 * decide, act once. What it submits belongs to the next turn; tasks that it defers run before the loop sleeps, and the hooks again. */
struct io_turn_hook {
	struct list link;
	void (*turn_end)(struct io_turn_hook *h);
};
void io_turn_hook_add(struct io *io, struct io_turn_hook *h);
void io_turn_hook_remove(struct io *io, struct io_turn_hook *h);

/* ---- streams ---- */

struct io_stream_ops {
	/* Only for io_connect: the connection is made (OK) or failed; after a failure only io_stream_close is allowed. */
	void (*on_connect)(void *owner, enum err e);
	/* Where the next bytes go: at least 1 byte in *n, *n is the size wished on entry. NULL: into io's shared scratch
	 * buffer (borrowed during on_read only). May be NULL itself. */
	uint8_t *(*on_alloc)(void *owner, size_t *n);
	/* n > 0 bytes at p, either where on_alloc said or in the scratch buffer. */
	void (*on_read)(void *owner, const uint8_t *p, size_t n);
	/* The peer ended (ERR_EOF) or the stream broke. At most once; reading has stopped. The owner closes. After ERR_EOF it may
	 * write before: the peer has perhaps only finished sending. If that breaks, a pending write ends with on_drain and the
	 * next one is IO_BROKEN. */
	void (*on_end)(void *owner, enum err why);
	/* What io_stream_write had left pending is in the kernel; its memory is the owner's again. */
	void (*on_drain)(void *owner);
	/* Last call. The stream is freed by io after it returns; the owner's memory may go. */
	void (*on_close)(void *owner);
};

/* Ownership of an accepted or connecting stream: before this is called it has no owner and reads nothing. */
void io_stream_own(struct io_stream *s, const struct io_stream_ops *ops, void *owner);
void io_stream_read_start(struct io_stream *s); /* idempotent */
void io_stream_read_stop(struct io_stream *s);  /* idempotent; no on_read after it */

enum io_write {
	IO_WRITTEN, /* all taken by the kernel */
	IO_PENDING, /* the bytes stay borrowed until on_drain (or on_close) */
	IO_BROKEN,  /* the stream is broken, nothing is borrowed, on_end follows (on_close if it is being closed) */
};
enum { IO_WRITE_SLICES_MAX = 64 };
/* Writes up to IO_WRITE_SLICES_MAX slices. Not while a write is pending. The slice array itself is copied. */
must_check enum io_write io_stream_write(struct io_stream *s, const struct slice *v, unsigned count);
/* Bytes of the pending write that the kernel has not taken. */
size_t io_stream_pending_bytes(const struct io_stream *s);
/* Closes; what is pending is dropped. on_close follows, nothing else does. Idempotent. */
void io_stream_close(struct io_stream *s);

struct io_addr {
	char host[64]; /* numeric */
	uint16_t port;
};
void io_stream_peer(const struct io_stream *s, struct io_addr *out);
void io_stream_local(const struct io_stream *s, struct io_addr *out);

/* A stream for `owner`; on_connect follows. `host` is numeric ("127.0.0.1", "::1"). ERR_INVALID for a bad address, ERR_FILES. */
must_check enum err io_connect(struct io *io, const char *host, uint16_t port, const struct io_stream_ops *ops,
	void *owner, struct io_stream **out);

struct io_listener_ops {
	/* A new connection, without owner: own it or close it before returning. */
	void (*on_accept)(void *owner, struct io_stream *s);
	/* accept() failed (ERR_FILES, …). Listening goes on by itself after a short pause. */
	void (*on_accept_error)(void *owner, enum err e);
	void (*on_close)(void *owner);
};
/* Listens on a numeric host ("0.0.0.0", "::") and port (0 = any). ERR_ADDR_IN_USE, ERR_ADDR, ERR_ACCESS, ERR_INVALID. */
must_check enum err io_listen(struct io *io, const char *host, uint16_t port, int backlog,
	const struct io_listener_ops *ops, void *owner, struct io_listener **out);
void io_listener_addr(const struct io_listener *l, struct io_addr *out); /* the port that was really bound */
void io_listener_close(struct io_listener *l);

/* ---- workers ---- */

enum io_lane {
	IO_LANE_JOURNAL, /* one thread, first in first out: the journal's writes and syncs, nothing else */
	IO_LANE_SETTLE,  /* one thread, first in first out: settling and the state store */
	IO_LANE_DISK,    /* two threads: cold reads, opens, unlinks, preallocation */
	IO_LANE_CPU,     /* two threads: bcrypt, name look-ups, whatever is slow without a disk of ours */
	IO_LANE_COUNT
};
struct io_job {
	struct list link;
	void (*run)(struct io_job *j);  /* on a worker */
	void (*done)(struct io_job *j); /* on the loop, after run; never from inside io_job_submit */
	struct io *io;                  /* set by io_job_submit */
};
/* The job is the caller's memory until `done`. Loop thread only. */
void io_job_submit(struct io *io, enum io_lane lane, struct io_job *j);

/* ---- files: blocking; in io_job.run or before the loop runs ---- */

enum io_open {
	IO_OPEN_READ = 1,
	IO_OPEN_WRITE = 2,
	IO_OPEN_CREATE = 4,    /* mode 0600; the directory entry is durable only after io_dir_sync */
	IO_OPEN_EXCLUSIVE = 8, /* with CREATE: ERR_EXISTS if there */
	IO_OPEN_TRUNCATE = 16,
	IO_OPEN_LOCK = 32, /* an exclusive lock for the life of the file object; ERR_LOCKED */
	/* Writes go to the end, whatever `at` says: for a log file that several processes share. The twin writes at `at`. */
	IO_OPEN_APPEND = 64,
};
/* Paths are relative to the process's directory or absolute. ERR_NOT_FOUND, ERR_EXISTS, ERR_ACCESS, ERR_FILES, ERR_IO. */
must_check enum err io_file_open(struct io *io, const char *path, unsigned flags, struct io_file **out);
void io_file_close(struct io_file *f); /* NULL allowed; promises no durability */
/* Writes everything or fails; after a failure any part may have been written. ERR_NO_SPACE, ERR_IO. */
must_check enum err io_file_write(struct io_file *f, uint64_t at, const struct slice *v, unsigned count);
/* Reads up to n bytes; *got < n only at the end of the file. */
must_check enum err io_file_read(struct io_file *f, uint64_t at, void *p, size_t n, size_t *got);
/* fdatasync: data and length are durable when it returns OK. After a failure nothing about the unsynced may be believed (S17). */
must_check enum err io_file_sync(struct io_file *f);
must_check enum err io_file_size(struct io_file *f, uint64_t *bytes);
/* Behind this place nothing was ever written: zeroes of which no sector is used. The end of the file where nobody can say. Ask before the
 * first read: what was read may count as written. */
must_check enum err io_file_data_end(struct io_file *f, uint64_t *bytes);
must_check enum err io_file_truncate(struct io_file *f, uint64_t bytes);
/* Allocates and zeroes [at, at + n), growing the file. ERR_NO_SPACE. */
must_check enum err io_file_allocate(struct io_file *f, uint64_t at, uint64_t n);
/* Drops the page cache of the file, so that what is read next comes from the device (S5). Call after io_file_sync. */
must_check enum err io_file_drop_cache(struct io_file *f);

must_check enum err io_path_unlink(struct io *io, const char *path);
must_check enum err io_path_rename(struct io *io, const char *from, const char *to);
must_check enum err io_dir_make(struct io *io, const char *path);   /* 0700; ERR_EXISTS if there */
must_check enum err io_dir_remove(struct io *io, const char *path); /* empty ones only */
/* Makes creations, renames and unlinks in the directory durable. */
must_check enum err io_dir_sync(struct io *io, const char *path);
/* Makes durable what was written, created, renamed and unlinked so far everywhere below the directory, perhaps more (the whole file
 * system): cheaper than many single syncs, and after a failure as bad as any of them. */
must_check enum err io_tree_sync(struct io *io, const char *path);
/* Calls `each` for every entry but . and .., sorted by name. */
typedef void io_dir_each_fn(void *arg, const char *name, bool is_dir);
must_check enum err io_dir_list(struct io *io, const char *path, io_dir_each_fn *each, void *arg);
/* Free and total bytes of the file system that holds path. */
must_check enum err io_space(struct io *io, const char *path, uint64_t *free_bytes, uint64_t *total_bytes);

#endif
