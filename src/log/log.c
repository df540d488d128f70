/* SPDX-License-Identifier: Apache-2.0 */
/* log — the whole: opening, the end of a turn, closing, the end of a process that cannot keep its promise (S17). */
#include <stdio.h>

#include "log_internal.h"

/* ---- jobs and death ---- */

bool log_fault(const struct log *l, enum fault f) { return diag_fault(l->diag, f); }

void log_job(struct log *l, enum io_lane lane, struct io_job *j)
{
	l->jobs++;
	io_job_submit(l->io, lane, j);
}

static void log_close_step(struct log *l);

void log_job_done(struct log *l)
{
	ASSERT(l->jobs > 0);
	l->jobs--;
	if (l->is_closing) log_turn_end(l);
}

void log_die(struct log *l, const char *fmt, ...)
{
	if (l->is_dead) return;
	struct buf why = { 0 };
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(&why, fmt, ap);
	va_end(ap);
	l->is_dead = true;
	io_timer_stop(l->io, &l->journal.idle);
	diag_line(l->diag, DIAG_FATAL, "log %s", buf_str(&why));
	l->options.fatal(l->options.fatal_arg, buf_str(&why));
	buf_deinit(&why);
}

/* ---- opening ---- */

static void options_default(uint64_t *value, uint64_t otherwise)
{
	if (*value == 0) *value = otherwise;
}

static bool options_take(struct log *l, const struct log_options *from, char *why, size_t why_bytes)
{
	struct log_options *o = &l->options;
	*o = *from;
	o->dir = mem_strdup(from->dir);
	options_default(&o->slot_bytes, 64 * MIB);
	if (o->slot_count == 0) o->slot_count = 6;
	options_default(&o->segment_bytes_max, 64 * MIB);
	options_default(&o->cache_bytes_max, 16 * MIB);
	options_default(&o->ask_max, 4000);
	options_default(&o->space_low_bytes, 2 * o->segment_bytes_max + 64 * MIB);
	options_default(&o->space_none_bytes, o->segment_bytes_max + 32 * MIB);
	ASSERT(o->state && o->fatal);
	const char *wrong = NULL;
	if (o->slot_bytes % BLOCK_ALIGN || o->slot_bytes < LOG_SLOT_BYTES_MIN || o->slot_bytes > 16 * GIB)
		wrong = "the size of a journal slot must be a multiple of 4096 from 32 KiB to 16 GiB";
	else if (o->slot_count < LOG_SLOTS_MIN || o->slot_count > LOG_SLOTS_MAX)
		wrong = "the journal needs 4 to 64 slots";
	if (wrong) (void)snprintf(why, why_bytes, "%s", wrong);
	return !wrong;
}

enum err log_open(struct io *io, struct diag *diag, const struct log_options *options, struct log **out, char *why,
	size_t why_bytes)
{
	*out = NULL;
	ASSERT(why_bytes > 0);
	why[0] = '\0';
	struct log *l = NEW(struct log);
	l->io = io;
	l->diag = diag;
	list_init(&l->reads);
	list_init(&l->installs);
	list_init(&l->journal.ready);
	settle_init(l);
	enum err e = options_take(l, options, why, why_bytes) ? OK : ERR_INVALID;
	if (e == OK) e = recover(l, why, why_bytes);
	if (e != OK && why[0] == '\0') (void)snprintf(why, why_bytes, "store %s: %s", options->dir, err_text(e));
	if (e != OK) {
		log_free(l);
		return e;
	}
	l->space.dir = mem_strdup(l->options.dir);
	*out = l;
	return OK;
}

uint64_t log_entry_bytes_max(const struct log *l) { return l->options.entry_bytes_max; }
const struct log_identity *log_identity(const struct log *l) { return &l->identity.id; }

struct state *log_state(struct log *l) { return l->state; }

/* ---- adopting a cluster uuid ---- */

struct adopt_job {
	struct io_job job;
	struct log *log;
	char *dir; /* owned */
	struct identity identity;
	struct list reqs; /* of log_req.link */
	enum err result;
};

static void adopt_run(struct io_job *job)
{
	struct adopt_job *a = CONTAINER_OF(job, struct adopt_job, job);
	a->result = identity_store(job->io, a->dir, &a->identity);
}

static void adopt_done(struct io_job *job)
{
	struct adopt_job *a = CONTAINER_OF(job, struct adopt_job, job);
	struct log *l = a->log;
	l->adopting = NULL;
	if (a->result != OK) log_die(l, "identity: could not be written: %s", err_text(a->result));
	if (!l->is_dead) {
		l->identity = a->identity;
		for (struct list *node; (node = list_pop_front(&a->reqs)) != NULL;) {
			struct log_req *req = CONTAINER_OF(node, struct log_req, link);
			req->done(req);
		}
	}
	mem_free(a->dir);
	mem_free(a);
	log_job_done(l);
}

enum err log_adopt_cluster(struct log *l, const uint8_t uuid[16], struct log_req *req)
{
	static const uint8_t none[16];
	ASSERT(memcmp(uuid, none, 16) != 0 && !l->is_closing);
	const uint8_t *have = l->adopting ? l->adopting->identity.id.cluster_uuid : l->identity.id.cluster_uuid;
	if (memcmp(have, none, 16) != 0 && memcmp(have, uuid, 16) != 0) return ERR_EXISTS;
	bool waits = req && req->done;
	if (memcmp(l->identity.id.cluster_uuid, uuid, 16) == 0) {
		journal_wait(l, req);
		return OK;
	}
	if (!l->adopting) {
		struct adopt_job *a = NEW(struct adopt_job);
		a->job = (struct io_job) { .run = adopt_run, .done = adopt_done };
		a->log = l;
		a->dir = mem_strdup(l->options.dir);
		a->identity = l->identity;
		a->identity.counter++;
		memcpy(a->identity.id.cluster_uuid, uuid, 16);
		list_init(&a->reqs);
		l->adopting = a;
		log_job(l, IO_LANE_DISK, &a->job);
	}
	if (waits) list_push_back(&l->adopting->reqs, &req->link);
	return OK;
}

/* ---- turns and the end ---- */

void log_turn_end(struct log *l)
{
	if (l->is_dead) return;
	l->is_started = true;
	install_step(l);
	settle_step(l);
	journal_turn_end(l);
	space_step(l);
	if (l->is_closing) log_close_step(l);
}

static void log_closed(struct io_task *t)
{
	struct log *l = CONTAINER_OF(t, struct log, closed_task);
	void (*closed)(void *arg) = l->closed;
	l->closed = NULL;
	closed(l->closed_arg); /* may free the log */
}

static void log_close_step(struct log *l)
{
	if (!l->closed || settle_is_busy(l) || journal_is_busy(l)) return;
	if (!list_is_empty(&l->reads) || !list_is_empty(&l->installs)) return;
	if (journal_close_tail(l)) return;
	if (l->jobs || list_is_linked(&l->closed_task.link)) return;
	io_timer_stop(l->io, &l->journal.idle);
	l->closed_task.run = log_closed;
	io_defer(l->io, &l->closed_task);
}

void log_close(struct log *l, void (*closed)(void *arg), void *arg)
{
	ASSERT(!l->is_closing && closed);
	l->is_closing = true;
	erase_deinit(l);
	l->closed = closed;
	l->closed_arg = arg;
	log_turn_end(l);
}

void log_free(struct log *l)
{
	if (!l) return;
	install_deinit(l);
	read_deinit(l);
	settle_deinit(l);
	journal_deinit(l);
	for (uint32_t i = 0; i < l->groups_count; i++) group_free(l->groups[i]);
	mem_free(l->groups);
	if (l->adopting) {
		mem_free(l->adopting->dir);
		mem_free(l->adopting);
	}
	if (l->state) l->state->ops->close(l->state);
	io_file_close(l->lock);
	mem_free(l->space.dir);
	mem_free((char *)(uintptr_t)l->options.dir);
	mem_free(l);
}
