/* SPDX-License-Identifier: Apache-2.0 */
/* Workers: lanes of own threads beside libuv's pool, so that a cold read never waits behind a bcrypt, nor a journal sync behind
 * either.
 *
 *   loop: io_job_submit ─> lane.queue ─> thread: job.run ─> u.done + async ─> loop: job.done
 *
 * A thread starts with the first job that finds nobody idle. Locks: lane.mutex guards a lane's queue, done_mutex the finished
 * jobs; never both at once. What a job touches is handed over by these two mutexes, and by nothing else. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "uv_io.h"

enum { WORKER_STACK_BYTES = 256 * 1024 };

static struct io_job *lane_take(struct uv_lane *lane)
{
	struct list *node = NULL;
	pthread_mutex_lock(&lane->mutex);
	lane->idle_count++;
	while (list_is_empty(&lane->queue) && !lane->is_stopping) pthread_cond_wait(&lane->has_work, &lane->mutex);
	lane->idle_count--;
	node = list_pop_front(&lane->queue);
	if (node) lane->queue_count--;
	pthread_mutex_unlock(&lane->mutex);
	return node ? CONTAINER_OF(node, struct io_job, link) : NULL;
}

static void *lane_run(void *arg)
{
	struct uv_lane *lane = arg;
	struct uv_io *u = lane->u;
	struct io_job *j;
	while ((j = lane_take(lane)) != NULL) {
		j->run(j);
		pthread_mutex_lock(&u->done_mutex);
		list_push_back(&u->done, &j->link);
		pthread_mutex_unlock(&u->done_mutex);
		ASSERT(uv_async_send(&u->async) == 0);
	}
	return NULL;
}

/* Starts one more thread of the lane; false when the system refuses. */
static bool lane_grow(struct uv_lane *lane)
{
	pthread_attr_t attr;
	sigset_t all, old;
	ASSERT(pthread_attr_init(&attr) == 0);
	ASSERT(pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES) == 0);
	/* Signals are the loop thread's, so that a worker's system calls are not interrupted; but not those that it causes. */
	sigfillset(&all);
	static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGXFSZ, SIGPROF };
	for (size_t i = 0; i < COUNT_OF(own); i++) sigdelset(&all, own[i]);
	ASSERT(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
	int r = pthread_create(&lane->threads[lane->thread_count], &attr, lane_run, lane);
	ASSERT(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
	ASSERT(pthread_attr_destroy(&attr) == 0);
	if (r == 0) lane->thread_count++;
	return r == 0;
}

/* A lane with work and no thread at all tries again later: the system was out of threads or memory. */
static void thread_retry_fired(struct io_timer *t)
{
	struct uv_io *u = CONTAINER_OF(t, struct uv_io, thread_retry);
	for (unsigned i = 0; i < IO_LANE_COUNT; i++) {
		struct uv_lane *lane = &u->lanes[i];
		pthread_mutex_lock(&lane->mutex);
		const bool has_work = !list_is_empty(&lane->queue);
		pthread_mutex_unlock(&lane->mutex);
		if (has_work && lane->thread_count == 0 && !lane_grow(lane)) io_timer_start(&u->io, t, MILLIS(100));
	}
}

void uv_work_submit(struct io *io, enum io_lane lane_id, struct io_job *j)
{
	struct uv_io *u = uv_io_of(io);
	struct uv_lane *lane = &u->lanes[lane_id];
	if (u->job_count++ == 0) uv_ref((uv_handle_t *)&u->async);
	pthread_mutex_lock(&lane->mutex);
	list_push_back(&lane->queue, &j->link);
	/* Whoever was signalled for an earlier job still counts as idle until it has taken that job out. */
	const bool is_short = ++lane->queue_count > lane->idle_count;
	pthread_cond_signal(&lane->has_work);
	pthread_mutex_unlock(&lane->mutex);
	if (!is_short || lane->thread_count == lane->thread_max) return;
	if (!lane_grow(lane) && lane->thread_count == 0) io_timer_start(io, &u->thread_retry, MILLIS(100));
}

/* On the loop: one wake-up may stand for many jobs. */
void uv_work_done(uv_async_t *async)
{
	struct uv_io *u = async->data;
	struct list done;
	list_init(&done);
	uv_io_enter(u);
	pthread_mutex_lock(&u->done_mutex);
	list_splice_back(&done, &u->done);
	pthread_mutex_unlock(&u->done_mutex);
	struct list *node;
	while ((node = list_pop_front(&done)) != NULL) {
		struct io_job *j = CONTAINER_OF(node, struct io_job, link);
		ASSERT(u->job_count > 0);
		if (--u->job_count == 0) uv_unref((uv_handle_t *)&u->async);
		j->done(j);
	}
}

void uv_work_init(struct uv_io *u)
{
	static const unsigned thread_max[IO_LANE_COUNT] = {
		[IO_LANE_JOURNAL] = 1,
		[IO_LANE_SETTLE] = 1,
		[IO_LANE_DISK] = 2,
		[IO_LANE_CPU] = 2,
	};
	for (unsigned i = 0; i < IO_LANE_COUNT; i++) {
		struct uv_lane *lane = &u->lanes[i];
		ASSERT(thread_max[i] <= UV_IO_LANE_THREADS_MAX);
		*lane = (struct uv_lane) { .u = u, .thread_max = thread_max[i] };
		list_init(&lane->queue);
		ASSERT(pthread_mutex_init(&lane->mutex, NULL) == 0);
		ASSERT(pthread_cond_init(&lane->has_work, NULL) == 0);
	}
	u->thread_retry.fire = thread_retry_fired;
	list_init(&u->done);
	ASSERT(pthread_mutex_init(&u->done_mutex, NULL) == 0);
}

void uv_work_deinit(struct uv_io *u)
{
	ASSERT(u->job_count == 0);
	for (unsigned i = 0; i < IO_LANE_COUNT; i++) {
		struct uv_lane *lane = &u->lanes[i];
		pthread_mutex_lock(&lane->mutex);
		lane->is_stopping = true;
		pthread_cond_broadcast(&lane->has_work);
		pthread_mutex_unlock(&lane->mutex);
		for (unsigned k = 0; k < lane->thread_count; k++) ASSERT(pthread_join(lane->threads[k], NULL) == 0);
		ASSERT(list_is_empty(&lane->queue));
		pthread_cond_destroy(&lane->has_work);
		pthread_mutex_destroy(&lane->mutex);
	}
	pthread_mutex_destroy(&u->done_mutex);
}
