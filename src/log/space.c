/* SPDX-License-Identifier: Apache-2.0 */
/* space — how much the disk can still take (S16), and who may append: the two marks, the ring's reserve (S8), the pressure that slows
 * producers before anything is refused.
 *
 * The journal is allocated at birth, so an append never needs space; settling does. Therefore what waits in the journal counts as if
 * it were stored already. */
#include "log_internal.h"

enum { SPACE_INTERVAL_MS = 1000, SPACE_INTERVAL_LOW_MS = 100 };

static void space_run(struct io_job *job)
{
	struct space *s = CONTAINER_OF(job, struct space, job);
	s->job_result = io_space(job->io, s->dir, &s->job_free, &s->job_total);
}

static void space_done(struct io_job *job)
{
	struct space *s = CONTAINER_OF(job, struct space, job);
	s->is_asking = false;
	if (s->job_result == OK) {
		s->free_bytes = s->job_free;
		s->is_known = true;
	}
	log_job_done(s->log);
}

bool space_is_low(const struct log *l) { return l->space.is_known && space_left(l) < l->options.space_low_bytes; }

/* A node that stores nothing asks nothing. */
void space_step(struct log *l)
{
	struct space *s = &l->space;
	if (s->is_asking || l->is_closing || l->is_dead) return;
	bool is_low = space_is_low(l);
	uint64_t now = io_now_ns(l->io), number = journal_last_number(l);
	if (now - s->asked_ns < MILLIS(is_low ? SPACE_INTERVAL_LOW_MS : SPACE_INTERVAL_MS)) return;
	if (number == s->asked_number && !is_low) return;
	s->asked_ns = now;
	s->asked_number = number;
	s->is_asking = true;
	s->log = l;
	s->job = (struct io_job) { .run = space_run, .done = space_done };
	log_job(l, IO_LANE_DISK, &s->job);
}

uint64_t space_left(const struct log *l)
{
	uint64_t waiting = l->refs_bytes;
	return l->space.free_bytes > waiting ? l->space.free_bytes - waiting : 0;
}

/* ---- who may append ---- */

static enum err admit_space(const struct log *l, enum log_admission what, uint64_t bytes)
{
	if (!l->space.is_known || what == LOG_ADMIT_RESERVED) return OK;
	uint64_t left = space_left(l);
	bool frees = what == LOG_ADMIT_FREES && !log_fault(l, FAULT_bug_s16_refuse_frees);
	uint64_t mark = frees ? l->options.space_none_bytes : l->options.space_low_bytes;
	return left >= mark + bytes ? OK : ERR_NO_SPACE;
}

/* What no one is admitted to, in blocks of its own each: SETTLED of the two rounds that give the next slot back, and before them what a start has
 * to say: a doubt, and SETTLED of a round or an install that the crash interrupted. */
enum { OWN_BLOCKS = 4 };
static uint64_t own_bytes(const struct log *l)
{
	return u64_max(l->journal.slot_bytes / 4, OWN_BLOCKS * (uint64_t)BLOCK_ALIGN);
}

/* The reserve is for what must always be possible (S8): votes, truncations, no-ops, configurations. But whoever takes the room that the
 * oldest slot's entries need to move out of it takes away the next slot. */
static bool admit_reserved(const struct log *l, uint64_t bytes)
{
	uint64_t frames = bytes + FRAME_HEAD_BYTES + BLOCK_ALIGN;
	if (!journal_has_room(l, frames + own_bytes(l), 0) && !journal_has_rest(l, frames, OWN_BLOCKS)) return false;
	return settle_lets_pass(l, frames);
}

/* Entries that are not applied may have to be moved out of a slot before it can go (S12), but those that `goes` is of; one whole slot is kept. */
static bool admit_ring(const struct log *l, enum log_admission what, uint64_t bytes, uint64_t goes)
{
	if (what == LOG_ADMIT_RESERVED) return admit_reserved(l, bytes);
	if (log_fault(l, FAULT_bug_s8_no_reserve)) return true;
	return journal_has_room(l, bytes + l->floating_bytes - goes, 1) && settle_lets_grow(l, bytes + BLOCK_ALIGN);
}

enum err log_admit(const struct log *l, enum log_admission what, uint64_t bytes)
{
	if (!admit_ring(l, what, bytes, 0)) return ERR_FULL;
	return admit_space(l, what, bytes);
}

enum err log_group_admit(const struct log_group *g, enum log_admission what, uint64_t bytes)
{
	if (!admit_ring(g->log, what, bytes, g->stranded_bytes)) return ERR_FULL;
	return admit_space(g->log, what, bytes);
}

bool log_has_space(const struct log *l, uint64_t bytes)
{
	uint64_t left = space_left(l), kept = l->options.space_low_bytes;
	return left >= kept && left - kept >= bytes;
}

unsigned log_pressure_permille(const struct log *l)
{
	/* The steps are as fine as the answer needs to be. */
	uint64_t most = (uint64_t)(l->journal.slot_count - 2) * l->journal.slot_bytes;
	uint64_t low = 0, high = most;
	while (low + most / 1000 + 1 < high) {
		uint64_t mid = low + (high - low) / 2;
		if (journal_has_room(l, mid + l->floating_bytes, 1))
			low = mid;
		else
			high = mid;
	}
	return (unsigned)(1000 - low * 1000 / most);
}
