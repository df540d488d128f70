/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides of struct io share. Timers are a heap of deadlines that an implementation fires when its clock says so; a turn
 * ends by running what was deferred and then the hooks, until nothing is deferred. The rest of io.h goes through the table. */
#include "thebes/io_impl.h"

void io_init(struct io *io, const struct io_ops *ops)
{
	*io = (struct io) { .ops = ops };
	list_init(&io->tasks);
	list_init(&io->hooks);
}

static void io_wake(struct io *io)
{
	if (!io->is_in_turn && io->ops->wake) io->ops->wake(io);
}

/* ---- timers ---- */

void io_timer_start(struct io *io, struct io_timer *t, uint64_t delay_ns)
{
	ASSERT(t->fire);
	io_timer_stop(io, t);
	if (io->is_dead) return;
	uint64_t now = io->ops->now_ns(io);
	heap_insert(&io->timers, &t->link_by_deadline, delay_ns < UINT64_MAX - now ? now + delay_ns : UINT64_MAX);
	if (heap_min(&io->timers) == &t->link_by_deadline) io_wake(io);
}

void io_timer_stop(struct io *io, struct io_timer *t)
{
	if (io_timer_is_armed(t)) heap_remove(&io->timers, &t->link_by_deadline);
}

void io_timers_fire(struct io *io, uint64_t now_ns)
{
	/* What is armed from here on has a later order, and a deadline not before now: it sorts behind all that is due. */
	const uint64_t order_last = io->timers.order_next;
	struct heap_node *first;
	while ((first = heap_min(&io->timers)) != NULL && first->key <= now_ns && first->order <= order_last) {
		struct io_timer *t = CONTAINER_OF(first, struct io_timer, link_by_deadline);
		heap_remove(&io->timers, first);
		t->fire(t);
	}
}

bool io_timer_next(const struct io *io, uint64_t *deadline_ns)
{
	const struct heap_node *first = heap_min(&io->timers);
	if (first) *deadline_ns = first->key;
	return first != NULL;
}

/* ---- the end of a turn ---- */

void io_defer(struct io *io, struct io_task *t)
{
	ASSERT(t->run);
	if (io->is_dead || list_is_linked(&t->link)) return;
	list_push_back(&io->tasks, &t->link);
	io_wake(io);
}

void io_turn_hook_add(struct io *io, struct io_turn_hook *h)
{
	ASSERT(h->turn_end);
	if (!io->is_dead) list_push_back(&io->hooks, &h->link);
}

void io_turn_hook_remove(struct io *io, struct io_turn_hook *h)
{
	if (io->hook_next == &h->link) io->hook_next = h->link.next;
	list_remove_if_linked(&h->link);
}

static void io_tasks_run(struct io *io)
{
	struct list *node;
	while ((node = list_pop_front(&io->tasks)) != NULL) {
		struct io_task *t = CONTAINER_OF(node, struct io_task, link);
		t->run(t);
	}
}

static void io_hooks_run(struct io *io)
{
	/* A hook may remove itself or others; the cursor is moved by io_turn_hook_remove. */
	io->hook_next = io->hooks.next;
	while (io->hook_next != &io->hooks && !io->is_dead) {
		struct io_turn_hook *h = CONTAINER_OF(io->hook_next, struct io_turn_hook, link);
		io->hook_next = h->link.next;
		h->turn_end(h);
	}
	io->hook_next = NULL;
}

void io_turn_end(struct io *io)
{
	do {
		io_tasks_run(io);
		io_hooks_run(io);
	} while (io_has_tasks(io));
}

void io_kill(struct io *io)
{
	io->is_dead = true;
	struct heap_node *first;
	while ((first = heap_min(&io->timers)) != NULL) heap_remove(&io->timers, first);
	while (list_pop_front(&io->tasks)) {}
	while (list_pop_front(&io->hooks)) {}
	if (io->hook_next) io->hook_next = &io->hooks;
}

/* ---- clock and chance ---- */

uint64_t io_now_ns(struct io *io) { return io->ops->now_ns(io); }
uint64_t io_now_precise_ns(struct io *io) { return io->ops->now_precise_ns(io); }
int64_t io_wall_ns(struct io *io) { return io->ops->wall_ns(io); }
void io_random(struct io *io, void *p, size_t n) { io->ops->random(io, p, n); }

uint64_t io_random_u64(struct io *io)
{
	uint64_t v;
	io->ops->random(io, &v, sizeof v);
	return v;
}

/* ---- streams ---- */

void io_stream_own(struct io_stream *s, const struct io_stream_ops *ops, void *owner)
{
	ASSERT(ops->on_read && ops->on_end && ops->on_close);
	s->ops = ops;
	s->owner = owner;
}

void io_stream_read_start(struct io_stream *s)
{
	ASSERT(s->ops);
	s->io->ops->stream_read(s, true);
}

void io_stream_read_stop(struct io_stream *s) { s->io->ops->stream_read(s, false); }

enum io_write io_stream_write(struct io_stream *s, const struct slice *v, unsigned count)
{
	ASSERT(s->ops);
	ASSERT(count <= IO_WRITE_SLICES_MAX);
	return s->io->ops->stream_write(s, v, count);
}

size_t io_stream_pending_bytes(const struct io_stream *s) { return s->io->ops->stream_pending_bytes(s); }
void io_stream_close(struct io_stream *s) { s->io->ops->stream_close(s); }
void io_stream_peer(const struct io_stream *s, struct io_addr *out) { s->io->ops->stream_addr(s, true, out); }
void io_stream_local(const struct io_stream *s, struct io_addr *out) { s->io->ops->stream_addr(s, false, out); }

enum err io_connect(struct io *io, const char *host, uint16_t port, const struct io_stream_ops *ops, void *owner,
	struct io_stream **out)
{
	ASSERT(ops->on_connect && ops->on_read && ops->on_end && ops->on_close);
	*out = NULL;
	return io->ops->connect(io, host, port, ops, owner, out);
}

enum err io_listen(struct io *io, const char *host, uint16_t port, int backlog, const struct io_listener_ops *ops,
	void *owner, struct io_listener **out)
{
	ASSERT(ops->on_accept && backlog > 0);
	*out = NULL;
	return io->ops->listen(io, host, port, backlog, ops, owner, out);
}

void io_listener_addr(const struct io_listener *l, struct io_addr *out) { l->io->ops->listener_addr(l, out); }
void io_listener_close(struct io_listener *l) { l->io->ops->listener_close(l); }

/* ---- workers and files ---- */

void io_job_submit(struct io *io, enum io_lane lane, struct io_job *j)
{
	ASSERT(j->run && j->done);
	ASSERT(lane < IO_LANE_COUNT);
	j->io = io;
	io->ops->job_submit(io, lane, j);
}

enum err io_file_open(struct io *io, const char *path, unsigned flags, struct io_file **out)
{
	ASSERT(flags & (IO_OPEN_READ | IO_OPEN_WRITE));
	ASSERT((flags & IO_OPEN_WRITE) || !(flags & (IO_OPEN_CREATE | IO_OPEN_TRUNCATE)));
	*out = NULL;
	return io->ops->file_open(io, path, flags, out);
}

void io_file_close(struct io_file *f)
{
	if (f) f->io->ops->file_close(f);
}

enum err io_file_write(struct io_file *f, uint64_t at, const struct slice *v, unsigned count)
{
	return f->io->ops->file_write(f, at, v, count);
}

enum err io_file_read(struct io_file *f, uint64_t at, void *p, size_t n, size_t *got)
{
	*got = 0;
	return f->io->ops->file_read(f, at, p, n, got);
}

enum err io_file_sync(struct io_file *f) { return f->io->ops->file_sync(f); }
enum err io_file_size(struct io_file *f, uint64_t *bytes) { return f->io->ops->file_size(f, bytes); }

enum err io_file_data_end(struct io_file *f, uint64_t *bytes)
{
	const struct io_ops *ops = f->io->ops;
	return ops->file_data_end ? ops->file_data_end(f, bytes) : ops->file_size(f, bytes);
}

enum err io_file_truncate(struct io_file *f, uint64_t bytes) { return f->io->ops->file_truncate(f, bytes); }
enum err io_file_allocate(struct io_file *f, uint64_t at, uint64_t n) { return f->io->ops->file_allocate(f, at, n); }
enum err io_file_drop_cache(struct io_file *f) { return f->io->ops->file_drop_cache(f); }
enum err io_path_unlink(struct io *io, const char *path) { return io->ops->path_unlink(io, path); }
enum err io_path_rename(struct io *io, const char *from, const char *to) { return io->ops->path_rename(io, from, to); }
enum err io_dir_make(struct io *io, const char *path) { return io->ops->dir_make(io, path); }
enum err io_dir_remove(struct io *io, const char *path) { return io->ops->dir_remove(io, path); }
enum err io_dir_sync(struct io *io, const char *path) { return io->ops->dir_sync(io, path); }
enum err io_tree_sync(struct io *io, const char *path) { return io->ops->tree_sync(io, path); }

enum err io_dir_list(struct io *io, const char *path, io_dir_each_fn *each, void *arg)
{
	return io->ops->dir_list(io, path, each, arg);
}

enum err io_space(struct io *io, const char *path, uint64_t *free_bytes, uint64_t *total_bytes)
{
	return io->ops->space(io, path, free_bytes, total_bytes);
}
