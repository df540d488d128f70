/* SPDX-License-Identifier: Apache-2.0 */
/* log_fixture — a log on real files with an owner that applies at once: for tests that read as stories. The owner's state is a sum of
 * the bodies; entries below `dead_below` are dead. */
#ifndef THEBES_TESTS_LOG_FIXTURE_H
#define THEBES_TESTS_LOG_FIXTURE_H

#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "log_internal.h"
#include "thebes/io_uv.h"

struct fixture {
	char dir[64];
	struct io *io;
	struct diag diag;
	struct log *log;
	struct io_turn_hook hook;
	struct log_options options;
	char why[300];
	bool is_quiet, has_died;
	unsigned done;
	enum log_admission until_admitted; /* what is waited for, while until_bytes */
	uint64_t until_bytes;
	bool until_work;            /* a round's worker has begun */
	void (*at_work)(void *arg); /* called once, in that turn */
	void *at_work_arg;
};

struct owner {
	struct fixture *f;
	struct log_group *g;
	uint64_t dead_below, applied, settled, sum, captures;
	bool was_doubted;
};

static inline void fixture_say(void *arg, enum diag_level level, const char *line, size_t n)
{
	const struct fixture *f = arg;
	(void)level;
	if (!f->is_quiet) (void)fprintf(stderr, "# %.*s\n", (int)n, line);
}

static inline void fixture_fatal(void *arg, const char *why)
{
	struct fixture *f = arg;
	f->has_died = true;
	(void)fprintf(stderr, "# fatal: %s\n", why);
}

static inline void fixture_look_at_round(struct fixture *f)
{
	if (!f->at_work || f->log->settle.phase != ROUND_WORK) return;
	void (*at_work)(void *arg) = f->at_work;
	f->at_work = NULL;
	at_work(f->at_work_arg);
}

static inline void fixture_turn(struct io_turn_hook *h)
{
	struct fixture *f = CONTAINER_OF(h, struct fixture, hook);
	if (!f->log) return;
	log_turn_end(f->log);
	fixture_look_at_round(f);
	if (f->until_work && f->log->settle.phase == ROUND_WORK) {
		f->until_work = false;
		f->done++;
		io_uv_stop(f->io);
	}
	if (!f->until_bytes || log_admit(f->log, f->until_admitted, f->until_bytes) != OK) return;
	f->until_bytes = 0;
	f->done++;
	io_uv_stop(f->io);
}

static inline int fixture_remove(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void fixture_init(struct fixture *f)
{
	*f = (struct fixture) { 0 };
	/* In memory where there is such a place: syncs are not what these tests are about. */
	strcpy(f->dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/thebes-log-XXXXXX" : "/tmp/thebes-log-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	diag_init(&f->diag, DIAG_WARN, fixture_say, f);
	f->options = (struct log_options) {
		.dir = f->dir,
		.slot_bytes = 64 * 1024,
		.slot_count = 6,
		.segment_bytes_max = 64 * 1024,
		.cache_bytes_max = 32 * 1024,
		.entry_bytes_max = 8 * 1024,
		.space_low_bytes = 1,
		.space_none_bytes = 1,
		.state = &state_lmdb,
		.fatal = fixture_fatal,
		.fatal_arg = f,
	};
}

static inline void fixture_deinit(struct fixture *f)
{
	diag_deinit(&f->diag);
	assert_int_equal(nftw(f->dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static inline enum err fixture_try_open(struct fixture *f)
{
	assert_int_equal(io_uv_new(&f->io), OK);
	enum err e = log_open(f->io, &f->diag, &f->options, &f->log, f->why, sizeof f->why);
	if (e != OK) {
		io_uv_free(f->io);
		return e;
	}
	f->hook.turn_end = fixture_turn;
	io_turn_hook_add(f->io, &f->hook);
	return OK;
}

static inline void fixture_open(struct fixture *f)
{
	enum err e = fixture_try_open(f);
	if (e != OK) (void)fprintf(stderr, "# %s\n", f->why);
	assert_int_equal(e, OK);
}

static inline void fixture_closed(void *arg)
{
	struct fixture *f = arg;
	io_turn_hook_remove(f->io, &f->hook);
	log_free(f->log);
	f->log = NULL;
	io_uv_stop(f->io);
}

static inline void fixture_close(struct fixture *f)
{
	log_close(f->log, fixture_closed, f);
	io_uv_run(f->io);
	assert_null(f->log);
	io_uv_free(f->io);
}

/* As after kill -9: nothing more is written. */
static inline void fixture_kill(struct fixture *f)
{
	io_turn_hook_remove(f->io, &f->hook);
	f->log->is_dead = true;
	io_uv_run(f->io); /* until the workers are done */
	assert_int_equal(f->log->jobs, 0);
	log_free(f->log);
	f->log = NULL;
	io_uv_free(f->io);
}

/* Requests that stop the loop. */
struct waiter {
	struct log_req req;
	struct fixture *f;
};
static inline void waiter_done(struct log_req *r)
{
	struct waiter *w = CONTAINER_OF(r, struct waiter, req);
	w->f->done++;
	io_uv_stop(w->f->io);
}
static inline struct log_req *wait_on(struct waiter *w, struct fixture *f)
{
	*w = (struct waiter) { .req.done = waiter_done, .f = f };
	return &w->req;
}
static inline void run(struct fixture *f)
{
	unsigned before = f->done;
	log_turn_end(f->log); /* what the test did between two runs was a turn */
	fixture_look_at_round(f);
	while (f->done == before && !f->has_died) io_uv_run(f->io);
}

/* Waits, as raft and producers do, until so much may be appended. Nothing is asked of the log meanwhile: that it goes on by itself is tested. */
static inline void wait_admitted(struct fixture *f, enum log_admission what, uint64_t bytes)
{
	log_turn_end(f->log);
	/* The answer is of its turn: the loop may have taken another one before it stopped, and a round what it moves. */
	while (log_admit(f->log, what, bytes) != OK && !f->has_died) {
		f->until_admitted = what;
		f->until_bytes = bytes;
		run(f);
	}
}

struct install_waiter {
	struct log_install_req req;
	struct fixture *f;
};
static inline void install_waiter_done(struct log_install_req *r)
{
	struct install_waiter *w = CONTAINER_OF(r, struct install_waiter, req);
	w->f->done++;
	io_uv_stop(w->f->io);
}
static inline struct log_install_req *installing(struct install_waiter *w, struct fixture *f)
{
	*w = (struct install_waiter) { .req.done = install_waiter_done, .f = f };
	return &w->req;
}

/* ---- the owner ---- */

static inline bool owner_is_dead(void *arg, const struct entry_head *e, uint64_t before)
{
	const struct owner *o = arg;
	assert_true(e->seq_last >= before);
	return e->index < o->dead_below;
}
static inline void owner_capture(void *arg, struct state_batch *b)
{
	struct owner *o = arg;
	uint8_t value[16];
	le64_put(value, o->sum);
	le64_put(value + 8, o->applied);
	state_batch_put(b, SLICE("sum"), slice_of(value, sizeof value));
	o->captures++;
}
static inline void owner_settled(void *arg, uint64_t index)
{
	struct owner *o = arg;
	assert_true(index >= o->settled);
	o->settled = index;
}
static inline unsigned owner_live(void *arg, uint64_t first, uint64_t last)
{
	const struct owner *o = arg;
	if (o->dead_below <= first) return 1000;
	if (o->dead_below > last) return 0;
	return (unsigned)((last + 1 - o->dead_below) * 1000 / (last + 1 - first));
}
static inline void owner_doubted(void *arg) { ((struct owner *)arg)->was_doubted = true; }
static const struct log_group_ops owner_ops = {
	.entry_is_dead = owner_is_dead,
	.capture = owner_capture,
	.settled = owner_settled,
	.live_permille = owner_live,
	.doubted = owner_doubted,
};

static inline uint64_t body_value(uint64_t group, uint64_t index) { return group * 1000003 + index * 7919; }

/* A batch of one record whose payload is the value, repeated up to `bytes`. */
static inline void body_of(struct buf *b, uint64_t group, uint64_t index, size_t bytes)
{
	uint8_t payload[8192];
	assert_true(bytes >= 8 && bytes <= sizeof payload);
	for (size_t i = 0; i + 8 <= bytes; i += 8) le64_put(payload + i, body_value(group, index));
	struct record r = {
		.kind = 1, .seq = index, .subject = SLICE("a.b"), .payload = slice_of(payload, bytes / 8 * 8)
	};
	buf_clear(b);
	batch_begin(b);
	batch_add(b, &r);
	batch_end(b, index);
}

/* Appends `count` entries in term 1, commits and applies them. Not waited for unless `w`. */
static inline void owner_append(struct owner *o, unsigned count, size_t bytes, struct waiter *w)
{
	struct log_group_info info;
	struct buf b = { 0 };
	for (unsigned i = 0; i < count; i++) {
		log_group_info(o->g, &info);
		body_of(&b, log_group_id(o->g), info.last_index + 1, bytes);
		struct log_entry e = { ENTRY_COMMAND, u64_max(info.last_term, 1), buf_slice(&b) };
		log_append(o->g, w && i + 1 == count ? wait_on(w, o->f) : NULL, &e, 1);
	}
	buf_deinit(&b);
}
/* The same, durable when it returns. */
static inline void owner_append_now(struct owner *o, unsigned count, size_t bytes)
{
	struct waiter w;
	owner_append(o, count, bytes, &w);
	run(o->f);
}
static inline void owner_apply_to(struct owner *o, uint64_t index)
{
	for (; o->applied < index; o->applied++) o->sum += body_value(log_group_id(o->g), o->applied + 1);
	log_applied(o->g, index, 1, SLICE_NULL, 0);
}
static inline void owner_apply(struct owner *o)
{
	struct log_group_info info;
	log_group_info(o->g, &info);
	owner_apply_to(o, info.last_index);
}
static inline void owner_attach(struct owner *o, struct fixture *f, uint64_t id)
{
	struct log_group_info info;
	struct buf value = { 0 };
	*o = (struct owner) { .f = f, .g = log_group_find(f->log, id) };
	assert_non_null(o->g);
	log_group_info(o->g, &info);
	enum err e = state_get(log_state(f->log), id, SLICE("sum"), &value);
	if (e == OK) {
		o->sum = le64_get(value.p);
		o->applied = le64_get(value.p + 8);
	}
	buf_deinit(&value);
	assert_int_equal(o->applied, info.state_index);
	o->settled = info.state_index;
	log_group_attach(o->g, &owner_ops, o);
	if (info.commit_index > o->applied) owner_apply_to(o, info.commit_index);
}
static inline void owner_make(struct owner *o, struct fixture *f, uint64_t id)
{
	struct waiter w;
	struct log_group *g;
	assert_int_equal(log_group_make(f->log, id, SLICE("conf"), wait_on(&w, f), &g), OK);
	run(f);
	*o = (struct owner) { .f = f, .g = g };
	log_group_attach(g, &owner_ops, o);
}

/* A fresh store with one group, and the end of one. */
static inline void fixture_begin(struct fixture *f, struct owner *o, uint64_t id)
{
	fixture_init(f);
	fixture_open(f);
	owner_make(o, f, id);
}
static inline void fixture_end(struct fixture *f)
{
	fixture_close(f);
	fixture_deinit(f);
}

/* Reads [from, to] to its end and checks every body; holes allowed. Returns how many entries were there. */
struct read_waiter {
	struct log_read_req req;
	struct fixture *f;
};
static inline void read_waiter_done(struct log_read_req *r)
{
	struct read_waiter *w = CONTAINER_OF(r, struct read_waiter, req);
	w->f->done++;
	io_uv_stop(w->f->io);
}
static inline uint64_t read_and_check(struct owner *o, uint64_t from, uint64_t to)
{
	uint64_t count = 0, last = 0;
	while (from <= to) {
		struct read_waiter w = {
			.req = { .done = read_waiter_done, .from = from, .to = to, .bytes_max = 10000, .holes = true },
			.f = o->f
		};
		log_read(o->g, &w.req);
		run(o->f);
		assert_int_equal(w.req.result, OK);
		struct slice in = buf_slice(&w.req.entries), body;
		struct entry_head h;
		while (entry_next(&in, &h, &body) == OK) {
			struct buf expect = { 0 };
			assert_true(h.index > last && h.index >= from && h.index <= to);
			last = h.index;
			if (h.kind == ENTRY_COMMAND) {
				body_of(&expect, log_group_id(o->g), h.index,
					body.n - BATCH_HEAD_BYTES - RECORD_HEAD_BYTES - 8);
				assert_int_equal(le64_get(body.p + BATCH_HEAD_BYTES + RECORD_HEAD_BYTES + 3),
					body_value(log_group_id(o->g), h.index));
			}
			buf_deinit(&expect);
			count++;
		}
		assert_int_equal(in.n, 0);
		assert_true(w.req.next > from);
		from = w.req.next;
		buf_deinit(&w.req.entries);
	}
	return count;
}

static inline void settle(struct fixture *f)
{
	struct waiter w;
	log_settle_now(f->log, wait_on(&w, f));
	run(f);
}

/* Waits, as a producer does, until so much may be appended. */
static inline void admit(struct fixture *f, uint64_t bytes)
{
	while (log_admit(f->log, LOG_ADMIT_GROWS, bytes) == ERR_FULL) settle(f);
	assert_int_equal(log_admit(f->log, LOG_ADMIT_GROWS, bytes), OK);
}

#endif
