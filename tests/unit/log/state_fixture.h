/* SPDX-License-Identifier: Apache-2.0 */
/* state_fixture — the state store on LMDB in a directory of its own, beside the model that it must equal. */
#ifndef THEBES_TESTS_STATE_FIXTURE_H
#define THEBES_TESTS_STATE_FIXTURE_H

#include <stdlib.h>

#include "state_lmdb.h"
#include "state_model.h"
#include "thebes/io_uv.h"

struct fixture {
	struct io *io;
	char dir[64], path[96], other[96];
	struct prng rng;
	struct model model;
};

static inline int setup(void **state)
{
	struct fixture *f = NEW(struct fixture);
	/* In memory where there is such a place: thousands of short lives, and nothing here is about the device. */
	strcpy(f->dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/thebes-state-XXXXXX" : "/tmp/thebes-state-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof f->path, "%s/state.lmdb", f->dir);
	(void)snprintf(f->other, sizeof f->other, "%s/other.lmdb", f->dir);
	assert_int_equal(io_uv_new(&f->io), OK);
	prng_init(&f->rng, 4711);
	*state = f;
	return 0;
}

static inline void unlink_each(void *arg, const char *name, bool is_dir)
{
	const struct fixture *f = arg;
	char path[512];
	(void)is_dir;
	(void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
	(void)unlink(path);
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(io_dir_list(f->io, f->dir, unlink_each, f), OK);
	assert_int_equal(io_dir_remove(f->io, f->dir), OK);
	io_uv_free(f->io);
	mem_free(f);
	return 0;
}

/* Rounds of random changes, each compared. */
static inline void rounds_run(struct fixture *f, struct state *s, unsigned count, uint32_t bytes_max)
{
	struct model_round r;
	uint64_t sum = 0;
	for (unsigned i = 0; i < count; i++) {
		model_round_draw(&f->model, &f->rng, bytes_max, &r);
		assert_int_equal(model_commit(&r, f->model.round, s, &sum), OK);
		model_round_deinit(&r);
		assert_true(model_equals(&f->model, s));
	}
}

#endif
