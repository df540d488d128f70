/* SPDX-License-Identifier: Apache-2.0 */
/* io_impl — what the two implementations of struct io share: its layout, its table of functions, the timers, deferred tasks and
 * turn hooks, which are the same code for both (src/io/io.c). Included by src/io and tests/sim alone.
 *
 *   a turn:  events ─> io_timers_fire ─> io_turn_end: tasks, hooks, tasks that hooks deferred, hooks again, until there are none */
#ifndef THEBES_IO_IMPL_H
#define THEBES_IO_IMPL_H

#include "thebes/io.h"

/* One row per thing that io.h can do and that differs; the contracts are there. */
struct io_ops {
	uint64_t (*now_ns)(struct io *io);
	uint64_t (*now_precise_ns)(struct io *io);
	int64_t (*wall_ns)(struct io *io);
	void (*random)(struct io *io, void *p, size_t n);
	/* Outside a turn a timer became the first, or a task was deferred: a turn is due. NULL when turns look for themselves. */
	void (*wake)(struct io *io);

	enum err (*connect)(struct io *io, const char *host, uint16_t port, const struct io_stream_ops *ops,
		void *owner, struct io_stream **out);
	void (*stream_read)(struct io_stream *s, bool on);
	enum io_write (*stream_write)(struct io_stream *s, const struct slice *v, unsigned count);
	size_t (*stream_pending_bytes)(const struct io_stream *s);
	void (*stream_close)(struct io_stream *s);
	void (*stream_addr)(const struct io_stream *s, bool is_peer, struct io_addr *out);

	enum err (*listen)(struct io *io, const char *host, uint16_t port, int backlog,
		const struct io_listener_ops *ops, void *owner, struct io_listener **out);
	void (*listener_addr)(const struct io_listener *l, struct io_addr *out);
	void (*listener_close)(struct io_listener *l);

	void (*job_submit)(struct io *io, enum io_lane lane, struct io_job *j);

	enum err (*file_open)(struct io *io, const char *path, unsigned flags, struct io_file **out);
	void (*file_close)(struct io_file *f);
	enum err (*file_write)(struct io_file *f, uint64_t at, const struct slice *v, unsigned count);
	enum err (*file_read)(struct io_file *f, uint64_t at, void *p, size_t n, size_t *got);
	enum err (*file_sync)(struct io_file *f);
	enum err (*file_size)(struct io_file *f, uint64_t *bytes);
	/* NULL: every byte counts as written. */
	enum err (*file_data_end)(struct io_file *f, uint64_t *bytes);
	enum err (*file_truncate)(struct io_file *f, uint64_t bytes);
	enum err (*file_allocate)(struct io_file *f, uint64_t at, uint64_t n);
	enum err (*file_drop_cache)(struct io_file *f);
	enum err (*path_unlink)(struct io *io, const char *path);
	enum err (*path_rename)(struct io *io, const char *from, const char *to);
	enum err (*dir_make)(struct io *io, const char *path);
	enum err (*dir_remove)(struct io *io, const char *path);
	enum err (*dir_sync)(struct io *io, const char *path);
	enum err (*tree_sync)(struct io *io, const char *path);
	enum err (*dir_list)(struct io *io, const char *path, io_dir_each_fn *each, void *arg);
	enum err (*space)(struct io *io, const char *path, uint64_t *free_bytes, uint64_t *total_bytes);
};

struct io {
	const struct io_ops *ops;
	struct heap timers;     /* of io_timer.link_by_deadline */
	struct list tasks;      /* of io_task.link */
	struct list hooks;      /* of io_turn_hook.link */
	struct list *hook_next; /* borrowed while hooks run: the one after the running one */
	bool is_in_turn;        /* kept by the implementation: events are being handled */
	bool is_dead;           /* the twin's process has died: nothing is armed or deferred any more */
};

/* The heads of the opaque objects. */
struct io_stream {
	struct io *io;
	const struct io_stream_ops *ops; /* NULL until owned */
	void *owner;
};
struct io_listener {
	struct io *io;
	const struct io_listener_ops *ops;
	void *owner;
};
struct io_file {
	struct io *io;
};

void io_init(struct io *io, const struct io_ops *ops);
/* Fires every timer that is due at `now_ns`, but none that one of them arms. */
void io_timers_fire(struct io *io, uint64_t now_ns);
/* The deadline of the first timer; false when none is armed. */
bool io_timer_next(const struct io *io, uint64_t *deadline_ns);
/* Runs tasks and hooks until no task is left. */
void io_turn_end(struct io *io);
static inline bool io_has_tasks(const struct io *io) { return !list_is_empty(&io->tasks); }
/* Unlinks all timers, tasks and hooks, so that their memory may go in any order; from now on arming does nothing. */
void io_kill(struct io *io);

#endif
