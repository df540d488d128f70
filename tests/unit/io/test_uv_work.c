/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes of worker threads. Built with ThreadSanitizer this file is the proof that jobs need no locks of their own. */
#include <pthread.h>
#include <stdatomic.h>

#include "check.h"
#include "thebes/io_uv.h"

enum { JOBS = 400 };

struct bench;
struct job {
	struct io_job job;
	struct bench *b;
	unsigned number;
	enum io_lane lane;
	/* Plain memory, written by the worker and read by the loop: the hand-over is all that orders it. */
	unsigned seen;
	uint64_t ran_ns;
	pthread_t ran_on;
};
struct bench {
	struct io *io;
	pthread_t loop;
	struct job jobs[IO_LANE_COUNT][JOBS];
	unsigned next[IO_LANE_COUNT]; /* touched by the one-threaded lanes' jobs without a lock */
	unsigned submitted[IO_LANE_COUNT], done[IO_LANE_COUNT];
	unsigned order_broken, inside;
	bool is_submitting;
	_Atomic unsigned running[IO_LANE_COUNT], most[IO_LANE_COUNT];
	atomic_uint meeting;
};

static void job_run(struct io_job *job)
{
	struct job *j = CONTAINER_OF(job, struct job, job);
	struct bench *b = j->b;
	const unsigned now = ++b->running[j->lane];
	unsigned most = b->most[j->lane];
	while (now > most && !atomic_compare_exchange_weak(&b->most[j->lane], &most, now)) {}
	j->ran_on = pthread_self();
	j->ran_ns = io_now_ns(job->io);
	j->seen = j->number * 7 + 1;
	if (j->lane <= IO_LANE_SETTLE && b->next[j->lane]++ != j->number) j->seen = 0;
	b->running[j->lane]--;
}

static void bench_submit(struct bench *b, enum io_lane lane);

static void job_done(struct io_job *job)
{
	struct job *j = CONTAINER_OF(job, struct job, job);
	struct bench *b = j->b;
	assert_false(b->is_submitting);
	assert_true(pthread_equal(pthread_self(), b->loop));
	assert_false(pthread_equal(j->ran_on, b->loop));
	assert_int_equal(j->seen, j->number * 7 + 1);
	if (j->lane <= IO_LANE_SETTLE) assert_int_equal(j->number, b->done[j->lane]);
	b->done[j->lane]++;
	if (b->submitted[j->lane] < JOBS) bench_submit(b, j->lane);
}

static void bench_submit(struct bench *b, enum io_lane lane)
{
	struct job *j = &b->jobs[lane][b->submitted[lane]];
	*j = (struct job) { .b = b, .lane = lane, .number = b->submitted[lane]++ };
	j->job.run = job_run;
	j->job.done = job_done;
	b->is_submitting = true;
	io_job_submit(b->io, lane, &j->job);
	b->is_submitting = false;
}

static void lanes_run_jobs_in_order_and_finish_on_the_loop(void **state)
{
	(void)state;
	struct bench *b = NEW(struct bench);
	b->loop = pthread_self();
	assert_int_equal(io_uv_new(&b->io), OK);
	for (unsigned lane = 0; lane < IO_LANE_COUNT; lane++)
		for (unsigned i = 0; i < 50; i++) bench_submit(b, lane);
	io_uv_run(b->io); /* returns when nothing is under way */
	for (unsigned lane = 0; lane < IO_LANE_COUNT; lane++) assert_int_equal(b->done[lane], JOBS);
	assert_int_equal(b->most[IO_LANE_JOURNAL], 1);
	assert_int_equal(b->most[IO_LANE_SETTLE], 1);
	assert_true(b->most[IO_LANE_DISK] <= 2);
	assert_true(b->most[IO_LANE_CPU] <= 2);
	io_uv_free(b->io);
	mem_free(b);
}

/* Two jobs that wait for each other: they only end if both threads of the lane run. */
static void meet_run(struct io_job *job)
{
	struct job *j = CONTAINER_OF(job, struct job, job);
	atomic_fetch_add(&j->b->meeting, 1);
	while (atomic_load(&j->b->meeting) % 2 != 0) {}
}
static void meet_done(struct io_job *job) { CONTAINER_OF(job, struct job, job)->b->done[0]++; }

static void two_threads_serve_a_wide_lane(void **state)
{
	(void)state;
	struct bench *b = NEW(struct bench);
	assert_int_equal(io_uv_new(&b->io), OK);
	for (unsigned i = 0; i < 2; i++) {
		struct job *j = &b->jobs[0][i];
		*j = (struct job) { .b = b, .job.run = meet_run, .job.done = meet_done };
		io_job_submit(b->io, IO_LANE_DISK, &j->job);
	}
	io_uv_run(b->io);
	assert_int_equal(b->done[0], 2);
	io_uv_free(b->io);
	mem_free(b);
}

static void freeing_waits_for_jobs(void **state)
{
	(void)state;
	struct bench *b = NEW(struct bench);
	b->loop = pthread_self();
	assert_int_equal(io_uv_new(&b->io), OK);
	for (unsigned lane = 0; lane < IO_LANE_COUNT; lane++) bench_submit(b, lane);
	io_uv_free(b->io); /* never ran: every job is done all the same */
	for (unsigned lane = 0; lane < IO_LANE_COUNT; lane++) assert_int_equal(b->done[lane], JOBS);
	mem_free(b);
}

/* A job submitted before the loop runs may do file calls like any other. */
struct file_job {
	struct io_job job;
	struct buf names;
	enum err result;
};
static void name_add(void *arg, const char *name, bool is_dir)
{
	(void)is_dir;
	buf_append_str(arg, name);
}
static void file_job_run(struct io_job *job)
{
	struct file_job *j = CONTAINER_OF(job, struct file_job, job);
	j->result = io_dir_list(job->io, "/proc/self/task", name_add, &j->names);
}
static void file_job_done(struct io_job *job) { (void)job; }

static void jobs_make_file_calls(void **state)
{
	(void)state;
	struct io *io;
	struct file_job j = { .job.run = file_job_run, .job.done = file_job_done, .result = ERR_BUSY };
	assert_int_equal(io_uv_new(&io), OK);
	io_job_submit(io, IO_LANE_DISK, &j.job);
	io_uv_run(io);
	assert_int_equal(j.result, OK);
	assert_true(j.names.n > 0);
	buf_deinit(&j.names);
	io_uv_free(io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lanes_run_jobs_in_order_and_finish_on_the_loop),
		cmocka_unit_test(two_threads_serve_a_wide_lane),
		cmocka_unit_test(freeing_waits_for_jobs),
		cmocka_unit_test(jobs_make_file_calls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
