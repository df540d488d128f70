/* SPDX-License-Identifier: Apache-2.0 */
/* jobs — the workers of a test: what auth submits waits until the test lets it run. */
#ifndef THEBES_TESTS_AUTH_JOBS_H
#define THEBES_TESTS_AUTH_JOBS_H

#include "check.h"
#include "thebes/auth.h"

struct io {
	struct list jobs;
	size_t submitted;
};

void io_job_submit(struct io *io, enum io_lane lane, struct io_job *j)
{
	assert_int_equal(lane, IO_LANE_CPU);
	list_push_back(&io->jobs, &j->link);
	io->submitted++;
}

static inline bool jobs_run_one(struct io *io)
{
	struct list *node = list_pop_front(&io->jobs);
	if (!node) return false;
	struct io_job *j = CONTAINER_OF(node, struct io_job, link);
	j->run(j);
	j->done(j);
	return true;
}

static inline void jobs_run_all(struct io *io)
{
	while (jobs_run_one(io)) continue;
}

#endif
