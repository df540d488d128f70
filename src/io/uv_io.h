/* SPDX-License-Identifier: Apache-2.0 */
/* uv_io — private to src/io: the struct io on libuv, and what its four files ask of each other.
 *
 *   uv_loop.c  the loop, turns, timers, chance, signals        uv_net.c   streams and listeners
 *   uv_work.c  lanes of worker threads                          uv_disk.c  files: blocking calls, no loop */
#ifndef THEBES_SRC_IO_UV_IO_H
#define THEBES_SRC_IO_UV_IO_H

#include <pthread.h>
#include <uv.h>

#include "thebes/io_impl.h"
#include "uv_spin.h"

enum {
	UV_IO_SCRATCH_BYTES = 256 * 1024, /* one read of any stream that has no place of its own */
	UV_IO_CHANCE_BYTES = 256,         /* fetched from the kernel at once for small wishes */
	UV_IO_LANE_THREADS_MAX = 2,
};

/* A lane of workers. Fields above the line are the loop thread's, those below are guarded by the mutex. */
struct uv_lane {
	struct uv_io *u;
	unsigned thread_count, thread_max;
	pthread_t threads[UV_IO_LANE_THREADS_MAX];
	/* ---- */
	pthread_mutex_t mutex;
	pthread_cond_t has_work;
	struct list queue; /* of io_job.link */
	size_t queue_count, idle_count;
	bool is_stopping;
};

struct uv_io {
	struct io io;
	uv_loop_t loop;
	uv_prepare_t prepare; /* ends each turn before the loop blocks */
	uv_timer_t timer;     /* armed at the heap's first deadline */
	uv_async_t async;     /* a worker has finished a job */
	uint64_t now_ns;      /* valid within a turn */
	uint64_t armed_ns;    /* what `timer` is armed for, 0 when it is not */
	uint64_t poll_ns;     /* when the loop began to look for events; only kept while `spin` has a window */
	struct uv_spin spin;
	_Atomic(pthread_t) loop_thread;
	size_t stream_count, listener_count;
	uint8_t *scratch;    /* owned, made with the first read */
	struct list signals; /* of uv_signal_handler.link */
	uint8_t chance[UV_IO_CHANCE_BYTES];
	size_t chance_left;
	bool is_stopped;   /* io_uv_stop: io_uv_run returns */
	bool is_iterating; /* inside uv_run */

	struct uv_lane lanes[IO_LANE_COUNT];
	size_t job_count;             /* submitted and not done */
	struct io_timer thread_retry; /* a lane could not start its first thread */
	pthread_mutex_t done_mutex;
	struct list done; /* of io_job.link; guarded by done_mutex */
};

static inline struct uv_io *uv_io_of(struct io *io) { return CONTAINER_OF(io, struct uv_io, io); }

/* Every callback of libuv begins with this: a turn begins with its first event, and its time is read then. */
void uv_io_enter(struct uv_io *u);
/* uv_run, and nothing else calls it. */
void uv_loop_iterate(struct uv_io *u, uv_run_mode mode);

/* errno, or libuv's code (negative), as ours: the one place where they are translated. */
enum err uv_err(int code);

void uv_work_init(struct uv_io *u);
/* Joins the threads; no job may be under way. */
void uv_work_deinit(struct uv_io *u);
void uv_work_done(uv_async_t *async);
void uv_work_submit(struct io *io, enum io_lane lane, struct io_job *j);

enum err uv_net_connect(struct io *io, const char *host, uint16_t port, const struct io_stream_ops *ops, void *owner,
	struct io_stream **out);
void uv_net_read(struct io_stream *s, bool on);
enum io_write uv_net_write(struct io_stream *s, const struct slice *v, unsigned count);
size_t uv_net_pending_bytes(const struct io_stream *s);
void uv_net_close(struct io_stream *s);
void uv_net_addr(const struct io_stream *s, bool is_peer, struct io_addr *out);
enum err uv_net_listen(struct io *io, const char *host, uint16_t port, int backlog, const struct io_listener_ops *ops,
	void *owner, struct io_listener **out);
void uv_net_listener_addr(const struct io_listener *l, struct io_addr *out);
void uv_net_listener_close(struct io_listener *l);
/* Bytes of memory behind one stream, for the test that idle connections are small. */
size_t uv_net_stream_bytes(void);

enum err uv_disk_open(struct io *io, const char *path, unsigned flags, struct io_file **out);
void uv_disk_close(struct io_file *f);
enum err uv_disk_write(struct io_file *f, uint64_t at, const struct slice *v, unsigned count);
enum err uv_disk_read(struct io_file *f, uint64_t at, void *p, size_t n, size_t *got);
enum err uv_disk_sync(struct io_file *f);
enum err uv_disk_size(struct io_file *f, uint64_t *bytes);
enum err uv_disk_data_end(struct io_file *f, uint64_t *bytes);
enum err uv_disk_truncate(struct io_file *f, uint64_t bytes);
enum err uv_disk_allocate(struct io_file *f, uint64_t at, uint64_t n);
enum err uv_disk_drop_cache(struct io_file *f);
enum err uv_disk_unlink(struct io *io, const char *path);
enum err uv_disk_rename(struct io *io, const char *from, const char *to);
enum err uv_disk_dir_make(struct io *io, const char *path);
enum err uv_disk_dir_remove(struct io *io, const char *path);
enum err uv_disk_dir_sync(struct io *io, const char *path);
enum err uv_disk_tree_sync(struct io *io, const char *path);
enum err uv_disk_dir_list(struct io *io, const char *path, io_dir_each_fn *each, void *arg);
enum err uv_disk_space(struct io *io, const char *path, uint64_t *free_bytes, uint64_t *total_bytes);

#endif
