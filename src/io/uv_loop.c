/* SPDX-License-Identifier: Apache-2.0 */
/* struct io on libuv: the loop and its turns.
 *
 *   uv_run:  timers ─> prepare ─> poll (blocks) ─> close callbacks ─> timers ─> prepare …
 *                        └ io_turn_end, then the timer is armed: everything between two prepares is one turn
 *
 * io_uv_run asks for one round of this at a time, and may ask again without blocking before it lets the loop sleep (uv_spin.h). A loop
 * that has nothing to wait for returns from uv_run without a prepare; io_uv_run ends the turn itself and looks again. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "thebes/io_uv.h"
#include "uv_io.h"

struct uv_signal_handler {
	uv_signal_t handle;
	struct list link; /* on uv_io.signals */
	io_uv_signal_fn *on_signal;
	void *arg; /* borrowed */
	int signum;
};

/* ---- errors ---- */

enum err uv_err(int code)
{
	static const struct {
		int code;
		enum err err;
	} rows[] = {
		{ EINVAL, ERR_INVALID },
		{ ENAMETOOLONG, ERR_INVALID },
		{ ENOTDIR, ERR_INVALID },
		{ EISDIR, ERR_INVALID },
		{ ELOOP, ERR_INVALID },
		{ EBADF, ERR_INVALID },
		{ EXDEV, ERR_INVALID },
		{ ENOENT, ERR_NOT_FOUND },
		{ EEXIST, ERR_EXISTS },
		{ ENOTEMPTY, ERR_EXISTS },
		{ EBUSY, ERR_BUSY },
		{ EACCES, ERR_ACCESS },
		{ EPERM, ERR_ACCESS },
		{ EROFS, ERR_ACCESS },
		{ EMFILE, ERR_FILES },
		{ ENFILE, ERR_FILES },
		{ ENOMEM, ERR_NO_MEMORY },
		{ ENOBUFS, ERR_NO_MEMORY },
		{ ENOSPC, ERR_NO_SPACE },
		{ EDQUOT, ERR_NO_SPACE },
		{ EFBIG, ERR_NO_SPACE }, /* a limit set from outside (RLIMIT_FSIZE): to us the same as a full disk */
		{ EOPNOTSUPP, ERR_UNSUPPORTED },
		{ ENOSYS, ERR_UNSUPPORTED },
		{ -UV_EOF, ERR_EOF },
		{ ECONNRESET, ERR_RESET },
		{ EPIPE, ERR_RESET },
		{ ECONNABORTED, ERR_RESET },
		{ ENOTCONN, ERR_RESET },
		{ ECONNREFUSED, ERR_REFUSED },
		{ EADDRINUSE, ERR_ADDR_IN_USE },
		{ EADDRNOTAVAIL, ERR_ADDR },
		{ EAFNOSUPPORT, ERR_ADDR },
		{ ENETUNREACH, ERR_ADDR },
		{ EHOSTUNREACH, ERR_ADDR },
		{ ENETDOWN, ERR_ADDR },
		{ ETIMEDOUT, ERR_TIMEOUT },
		{ ECANCELED, ERR_CANCELLED },
		{ EAGAIN, ERR_BUSY },
	};
	if (code == 0) return OK;
	const int positive = code < 0 ? -code : code;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (rows[i].code == positive) return rows[i].err;
	return ERR_IO;
}

/* ---- clock and chance ---- */

static uint64_t uv_loop_now_precise(struct io *io)
{
	(void)io;
	return uv_hrtime();
}

static uint64_t uv_loop_now(struct io *io)
{
	struct uv_io *u = uv_io_of(io);
	/* Workers, and whoever is not inside a turn, have no turn whose time could be theirs. The order of the tests matters: only
	 * the loop's own thread may look at is_in_turn. */
	if (!pthread_equal(u->loop_thread, pthread_self()) || !io->is_in_turn) return uv_hrtime();
	return u->now_ns;
}

static int64_t uv_loop_wall(struct io *io)
{
	(void)io;
	struct timespec ts;
	ASSERT(clock_gettime(CLOCK_REALTIME, &ts) == 0);
	return (int64_t)ts.tv_sec * (int64_t)NS_PER_S + ts.tv_nsec;
}

static void chance_fetch(void *p, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = getrandom((uint8_t *)p + got, n - got, 0);
		if (r > 0) got += (size_t)r;
		/* Blocking getrandom fails for a signal or for arguments that are our bug. */
		ASSERT(r > 0 || errno == EINTR);
	}
}

static void uv_loop_random(struct io *io, void *p, size_t n)
{
	struct uv_io *u = uv_io_of(io);
	if (n > sizeof u->chance / 4) {
		chance_fetch(p, n);
		return;
	}
	if (u->chance_left < n) {
		chance_fetch(u->chance, sizeof u->chance);
		u->chance_left = sizeof u->chance;
	}
	u->chance_left -= n;
	memcpy(p, u->chance + u->chance_left, n);
	memset(u->chance + u->chance_left, 0, n); /* what was given out cannot be read from a core file */
}

/* ---- turns ---- */

void uv_io_enter(struct uv_io *u)
{
	if (u->io.is_in_turn) return;
	u->io.is_in_turn = true;
	u->now_ns = uv_hrtime();
}

static void uv_loop_on_timer(uv_timer_t *timer)
{
	struct uv_io *u = timer->data;
	uv_io_enter(u);
	u->armed_ns = 0;
	/* The turn's time may be from an event before; a timer that is due by now shall not wait for another millisecond. */
	u->now_ns = uv_hrtime();
	io_timers_fire(&u->io, u->now_ns);
}

/* Arms libuv's timer for the first deadline. Its grain is a millisecond, counted from its own time of the turn: rounded up, and
 * when it comes early all the same, nothing is due and it is armed again. */
static void uv_loop_arm(struct uv_io *u)
{
	uint64_t deadline;
	if (!io_timer_next(&u->io, &deadline)) {
		if (u->armed_ns) uv_timer_stop(&u->timer);
		u->armed_ns = 0;
		return;
	}
	if (u->armed_ns == deadline) return;
	const uint64_t now = uv_hrtime();
	const uint64_t delay_ms = deadline > now ? (deadline - now + NS_PER_MS - 1) / NS_PER_MS : 0;
	uv_update_time(&u->loop);
	uv_timer_start(&u->timer, uv_loop_on_timer, delay_ms, 0);
	u->armed_ns = deadline;
}

static void uv_loop_turn_end(struct uv_io *u)
{
	if (u->io.is_in_turn || io_has_tasks(&u->io)) {
		uv_io_enter(u);
		io_turn_end(&u->io);
		u->io.is_in_turn = false;
	}
	uv_loop_arm(u);
}

static void uv_loop_on_prepare(uv_prepare_t *prepare)
{
	struct uv_io *u = prepare->data;
	uv_loop_turn_end(u);
	u->poll_ns = u->spin.window_ns ? uv_hrtime() : 0;
}

void uv_loop_iterate(struct uv_io *u, uv_run_mode mode)
{
	u->is_iterating = true;
	uv_run(&u->loop, mode);
	u->is_iterating = false;
}

static bool uv_loop_has_turn(const struct uv_io *u) { return u->io.is_in_turn || u->is_stopped; }

/* Looks for events without sleeping until the window is over. True when there were some. */
static bool uv_loop_spin(struct uv_io *u)
{
	uint64_t end = 0;
	do {
		uv_loop_iterate(u, UV_RUN_NOWAIT); /* ends the turn before, if it has not ended */
		if (uv_loop_has_turn(u)) return true;
		if (end == 0) end = u->poll_ns + u->spin.window_ns;
	} while (uv_hrtime() < end);
	return false;
}

static void uv_loop_step(struct uv_io *u)
{
	struct uv_spin *s = &u->spin;
	if (s->is_on) {
		if (uv_loop_spin(u)) {
			uv_spin_hit(s);
			return;
		}
		uv_spin_miss(s);
	}
	const bool counts = s->window_ns && !s->is_on;
	uv_loop_iterate(u, UV_RUN_ONCE);
	if (counts && u->io.is_in_turn && u->now_ns > u->poll_ns) uv_spin_slept(s, u->now_ns - u->poll_ns);
}

void io_uv_run(struct io *io)
{
	struct uv_io *u = uv_io_of(io);
	u->loop_thread = pthread_self();
	uv_loop_turn_end(u);
	while (!u->is_stopped && uv_loop_alive(&u->loop)) {
		uv_loop_step(u);
		if (!uv_loop_alive(&u->loop)) uv_loop_turn_end(u);
	}
	uv_loop_turn_end(u);
	u->is_stopped = false;
}

void io_uv_busy_poll(struct io *io, uint64_t window_ns) { uv_spin_init(&uv_io_of(io)->spin, window_ns); }

void io_uv_stop(struct io *io)
{
	struct uv_io *u = uv_io_of(io);
	u->is_stopped = true;
	/* Outside of uv_run libuv would keep this in mind and cut the next run short. */
	if (u->is_iterating) uv_stop(&u->loop);
}

/* ---- signals ---- */

static void uv_loop_on_signal(uv_signal_t *handle, int signum)
{
	struct uv_signal_handler *h = handle->data;
	uv_io_enter(CONTAINER_OF(handle->loop, struct uv_io, loop));
	h->on_signal(h->arg, signum);
}

static void signal_handler_closed(uv_handle_t *handle) { mem_free(handle->data); }

enum err io_uv_on_signal(struct io *io, int signum, io_uv_signal_fn *on_signal, void *arg)
{
	struct uv_io *u = uv_io_of(io);
	LIST_EACH (node, &u->signals) {
		if (CONTAINER_OF(node, struct uv_signal_handler, link)->signum == signum) return ERR_EXISTS;
	}
	struct uv_signal_handler *h = NEW(struct uv_signal_handler);
	*h = (struct uv_signal_handler) { .on_signal = on_signal, .arg = arg, .signum = signum };
	int r = uv_signal_init(&u->loop, &h->handle);
	if (r != 0) {
		mem_free(h);
		return uv_err(r);
	}
	h->handle.data = h;
	uv_unref((uv_handle_t *)&h->handle); /* a signal that may come is nothing that will happen */
	r = uv_signal_start(&h->handle, uv_loop_on_signal, signum);
	if (r != 0) {
		uv_close((uv_handle_t *)&h->handle, signal_handler_closed);
		return uv_err(r);
	}
	list_push_back(&u->signals, &h->link);
	return OK;
}

/* ---- names ---- */

enum err io_uv_resolve(const char *host, uint16_t port, struct io_addr *out, unsigned max, unsigned *count)
{
	*count = 0;
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct addrinfo *found = NULL;
	int r = getaddrinfo(host, NULL, &hints, &found);
	if (r == EAI_MEMORY) return ERR_NO_MEMORY;
	if (r != 0) return ERR_RESOLVE;
	for (const struct addrinfo *ai = found; ai && *count < max; ai = ai->ai_next) {
		struct io_addr *a = &out[*count];
		if (getnameinfo(ai->ai_addr, ai->ai_addrlen, a->host, sizeof a->host, NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		a->port = port;
		(*count)++;
	}
	freeaddrinfo(found);
	return *count > 0 ? OK : ERR_RESOLVE;
}

/* ---- life ---- */

static const struct io_ops uv_io_ops = {
	.now_ns = uv_loop_now,
	.now_precise_ns = uv_loop_now_precise,
	.wall_ns = uv_loop_wall,
	.random = uv_loop_random,
	.connect = uv_net_connect,
	.stream_read = uv_net_read,
	.stream_write = uv_net_write,
	.stream_pending_bytes = uv_net_pending_bytes,
	.stream_close = uv_net_close,
	.stream_addr = uv_net_addr,
	.listen = uv_net_listen,
	.listener_addr = uv_net_listener_addr,
	.listener_close = uv_net_listener_close,
	.job_submit = uv_work_submit,
	.file_open = uv_disk_open,
	.file_close = uv_disk_close,
	.file_write = uv_disk_write,
	.file_read = uv_disk_read,
	.file_sync = uv_disk_sync,
	.file_size = uv_disk_size,
	.file_data_end = uv_disk_data_end,
	.file_truncate = uv_disk_truncate,
	.file_allocate = uv_disk_allocate,
	.file_drop_cache = uv_disk_drop_cache,
	.path_unlink = uv_disk_unlink,
	.path_rename = uv_disk_rename,
	.dir_make = uv_disk_dir_make,
	.dir_remove = uv_disk_dir_remove,
	.dir_sync = uv_disk_dir_sync,
	.tree_sync = uv_disk_tree_sync,
	.dir_list = uv_disk_dir_list,
	.space = uv_disk_space,
};

enum err io_uv_new(struct io **out)
{
	*out = NULL;
	struct uv_io *u = NEW(struct uv_io);
	io_init(&u->io, &uv_io_ops);
	list_init(&u->signals);
	u->loop_thread = pthread_self();
	/* A peer that goes away is an error of a write, not a signal. */
	(void)signal(SIGPIPE, SIG_IGN);
	int r = uv_loop_init(&u->loop);
	if (r != 0) {
		mem_free(u);
		return uv_err(r);
	}
	ASSERT(uv_prepare_init(&u->loop, &u->prepare) == 0);
	ASSERT(uv_timer_init(&u->loop, &u->timer) == 0);
	u->prepare.data = u->timer.data = u;
	ASSERT(uv_prepare_start(&u->prepare, uv_loop_on_prepare) == 0);
	uv_unref((uv_handle_t *)&u->prepare);
	r = uv_async_init(&u->loop, &u->async, uv_work_done);
	if (r != 0) {
		uv_close((uv_handle_t *)&u->prepare, NULL);
		uv_close((uv_handle_t *)&u->timer, NULL);
		uv_loop_iterate(u, UV_RUN_DEFAULT);
		ASSERT(uv_loop_close(&u->loop) == 0);
		mem_free(u);
		return uv_err(r);
	}
	u->async.data = u;
	uv_unref((uv_handle_t *)&u->async); /* referenced while jobs are under way */
	uv_work_init(u);
	*out = &u->io;
	return OK;
}

/* Runs until jobs and closing handles are done; timers and sockets of careless owners do not hold us up. */
static void uv_loop_settle(struct uv_io *u)
{
	size_t before;
	do {
		before = u->stream_count + u->listener_count;
		uv_loop_iterate(u, u->job_count > 0 ? UV_RUN_ONCE : UV_RUN_NOWAIT);
		uv_loop_turn_end(u);
	} while (u->job_count > 0 || u->stream_count + u->listener_count != before);
}

void io_uv_free(struct io *io)
{
	if (!io) return;
	struct uv_io *u = uv_io_of(io);
	u->loop_thread = pthread_self();
	uv_loop_settle(u);
	ASSERT(u->stream_count == 0);
	ASSERT(u->listener_count == 0);
	io_kill(io);
	uv_work_deinit(u);
	struct list *node;
	while ((node = list_pop_front(&u->signals)) != NULL)
		uv_close((uv_handle_t *)&CONTAINER_OF(node, struct uv_signal_handler, link)->handle,
			signal_handler_closed);
	uv_close((uv_handle_t *)&u->timer, NULL);
	uv_close((uv_handle_t *)&u->async, NULL);
	uv_close((uv_handle_t *)&u->prepare, NULL);
	uv_loop_iterate(u, UV_RUN_NOWAIT);
	ASSERT(uv_loop_close(&u->loop) == 0);
	mem_free(u->scratch);
	mem_free(u);
}
