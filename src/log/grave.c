/* SPDX-License-Identifier: Apache-2.0 */
/* grave — files and states that go: of groups that went (only when GONE is durable, S18), of generations that an install replaced, of
 * segments that were dropped or rewritten (only when the state store cannot fall back to a list that names them, S13). Unlinking is a job
 * of the settle lane, so that no round or install writes into a directory that goes meanwhile; what a crash leaves over is found at the next start. */
#include "log_internal.h"

enum { GRAVES_A_JOB = 64 };

struct grave_job {
	struct io_job job;
	struct log *log;
	char *dir; /* owned */
	uint64_t store;
	struct grave *graves[GRAVES_A_JOB]; /* borrowed, of the list; not touched by the loop meanwhile */
	unsigned count;
	bool syncs; /* names that go are gone for good when the job is done */
	enum err result;
};

static struct grave *grave_new(struct log *l, uint64_t group, uint64_t generation)
{
	struct grave *v = NEW(struct grave);
	v->group = group;
	v->generation = generation;
	v->needs_unlink = true;
	list_push_back(&l->settle.graves, &v->link);
	return v;
}

void settle_bury(struct log *l, uint64_t id, uint64_t generation, uint64_t after_block)
{
	struct grave *v = grave_new(l, id, generation);
	v->needs_drop = generation == 0;
	v->after_block = log_fault(l, FAULT_bug_s18_unlink_early) ? 0 : after_block;
}

void settle_bury_segment(struct log *l, const struct log_group *g, const struct segment_info *s, uint64_t round)
{
	struct grave *v = grave_new(l, g->id, g->generation);
	v->kind = GRAVE_SEGMENT;
	v->segment = *s;
	v->after_round = round;
	diag_count(l->diag, COUNTER_log_segments_dropped);
}

void settle_bury_state(struct log *l, const struct log_group *g, uint64_t round)
{
	struct grave *v = grave_new(l, g->id, g->generation);
	v->kind = GRAVE_STATE;
	v->after_round = round;
}

static void grave_free(struct grave *v)
{
	list_remove(&v->link);
	mem_free(v);
}

void settle_forget_graves(struct log *l)
{
	LIST_EACH_SAFE (node, &l->settle.graves) grave_free(CONTAINER_OF(node, struct grave, link));
}

static enum err grave_unlink(struct io *io, const struct grave *v, const struct segment_place *place)
{
	if (v->kind == GRAVE_SEGMENT) return segment_unlink(io, place, &v->segment);
	if (v->kind == GRAVE_FILES) return segment_dir_remove(io, place);
	struct buf path = { 0 };
	enum err e = io_path_unlink(io, install_state_path(place, &path));
	buf_deinit(&path);
	return e == ERR_NOT_FOUND ? OK : e;
}

/* Is the next one of the same directory? Then that is synced after it. */
static bool goes_on(const struct grave_job *w, unsigned i)
{
	const struct grave *v = w->graves[i], *next = i + 1 < w->count ? w->graves[i + 1] : NULL;
	return next && next->kind == GRAVE_SEGMENT && next->group == v->group && next->generation == v->generation;
}

static enum err grave_sync(struct io *io, const struct segment_place *place)
{
	struct buf path = { 0 };
	enum err e = io_dir_sync(io, segment_dir_path(place, &path));
	buf_deinit(&path);
	return e == ERR_NOT_FOUND ? OK : e;
}

static void grave_run(struct io_job *job)
{
	struct grave_job *w = CONTAINER_OF(job, struct grave_job, job);
	for (unsigned i = 0; w->result == OK && i < w->count; i++) {
		const struct grave *v = w->graves[i];
		struct segment_place place = {
			.dir = w->dir, .group = v->group, .generation = v->generation, .store = w->store
		};
		w->result = grave_unlink(job->io, v, &place);
		if (w->result == OK && w->syncs && v->kind == GRAVE_SEGMENT && !goes_on(w, i))
			w->result = grave_sync(job->io, &place);
	}
}

static void grave_done(struct io_job *job)
{
	struct grave_job *w = CONTAINER_OF(job, struct grave_job, job);
	struct log *l = w->log;
	l->settle.grave_job = NULL;
	/* Files that could not be unlinked cost space and nothing else; the next start tries again. */
	if (w->result != OK && !l->is_dead)
		diag_line(l->diag, DIAG_WARN, "log files that are not needed could not be unlinked: %s",
			err_text(w->result));
	for (unsigned i = 0; i < w->count; i++) {
		w->graves[i]->is_busy = false;
		w->graves[i]->needs_unlink = false;
		if (!w->graves[i]->needs_drop) grave_free(w->graves[i]);
	}
	mem_free(w->dir);
	mem_free(w);
	log_job_done(l);
}

static bool grave_is_ripe(const struct log *l, const struct grave *v)
{
	if (!v->needs_unlink || v->is_busy) return false;
	if (v->kind != GRAVE_FILES) return l->settle.recorded.round > v->after_round && l->settle.is_recorded_durable;
	return l->journal.durable_number >= v->after_block;
}

void grave_step(struct log *l)
{
	struct settle *t = &l->settle;
	if (t->grave_job || l->is_dead) return;
	struct grave_job *w = NULL;
	LIST_EACH (node, &t->graves) {
		struct grave *v = CONTAINER_OF(node, struct grave, link);
		if (!grave_is_ripe(l, v)) continue;
		if (!w) w = NEW(struct grave_job);
		v->is_busy = true;
		w->graves[w->count++] = v;
		if (w->count == GRAVES_A_JOB) break;
	}
	if (!w) return;
	w->job = (struct io_job) { .run = grave_run, .done = grave_done };
	w->log = l;
	w->dir = mem_strdup(l->options.dir);
	w->store = identity_store_low(&l->identity);
	/* S15: a name that a power cut brings back brings back what was to be erased. */
	w->syncs = l->erase.phase != ERASE_IDLE || io_timer_is_armed(&l->erase.begin);
	t->grave_job = w;
	log_job(l, IO_LANE_SETTLE, &w->job);
}

void grave_deinit(struct log *l)
{
	struct grave_job *w = l->settle.grave_job;
	if (w) mem_free(w->dir);
	mem_free(w);
	settle_forget_graves(l);
}
