/* SPDX-License-Identifier: Apache-2.0 */
/* zero — zeroes that are written into slots of the journal beside its blocks: ahead of a slot's first use, and over what may have to be erased (S15).
 * One chunk at a time; a block that falls into it waits for it (journal.c). */
#include "log_internal.h"

enum {
	ZERO_PIECE = 16 * 1024,
	ZERO_PIECES = 64, /* of them are a chunk */
	ZERO_CHUNK = ZERO_PIECES * ZERO_PIECE,
	ZERO_BEGIN = 32 * 1024,      /* so much the journal holds before any is written */
	ZERO_MARGIN_MIN = 64 * 1024, /* left alone between what is gathered and the zeroes, at first; more as above */
	ZERO_AHEAD_MIN = 2 * 1024 * 1024, /* at first; more with what the journal holds */
	ZERO_AHEAD = 32 * 1024 * 1024,
};

/* ---- zeroes ahead: the first writes of a file's blocks cost its file system more than later ones ---- */

static void zero_run(struct io_job *job)
{
	struct zero_job *z = CONTAINER_OF(job, struct zero_job, job);
	static const uint8_t zeroes[ZERO_PIECE];
	struct slice pieces[ZERO_PIECES];
	unsigned count = 0;
	for (uint64_t at = z->from; at < z->to; at += ZERO_PIECE)
		pieces[count++] = slice_of(zeroes, (size_t)u64_min(ZERO_PIECE, z->to - at));
	z->result = io_file_write(z->file, z->from, pieces, count);
	z->sync_result = io_file_sync(z->file);
}

static void zero_erased(struct log *l, const struct zero_job *z)
{
	struct journal *j = &l->journal;
	struct slot *slot = journal_slot(l, z->use);
	if (z->result != OK) {
		j->erase_retry = io_now_ns(l->io) + SECONDS(1);
		return;
	}
	/* The journal may have come here meanwhile: then the slot stays suspect until it is free again. */
	if (slot->written_to == z->to) slot->written_to = z->from;
	if (slot->written_to || j->use >= z->use) return;
	slot->is_suspect = false;
	l->erase.slots_zeroed++;
	diag_count(l->diag, COUNTER_log_slots_zeroed);
}

static void zero_done(struct io_job *job)
{
	struct zero_job *z = CONTAINER_OF(job, struct zero_job, job);
	struct log *l = z->log;
	z->is_running = false;
	if (z->is_erasing) zero_erased(l, z);
	/* A write that finds no room is not the journal's failure: what was to be zeroes holds nothing. A failed sync of this file, whatever
	 * it says, may have taken a block's failure with it (S17). */
	enum err e = z->sync_result != OK ? z->sync_result : z->result == ERR_NO_SPACE ? OK : z->result;
	if (e != OK && !l->is_dead) log_die(l, "journal: a slot could not be zeroed ahead: %s", err_text(e));
	journal_submit(l);
	log_job_done(l);
}

/* True when nothing is to be zeroed ahead now. */
static bool zero_ahead(struct log *l)
{
	struct journal *j = &l->journal;
	uint64_t first = journal_pos(l, 1, 0), ring = journal_pos(l, j->slot_count + 1, 0);
	/* A store that holds next to nothing yet starts sooner without. */
	if (journal_pos(l, j->use, j->next_at) < first + u64_min(ZERO_BEGIN, j->slot_bytes / 8)) return true;
	const struct block *b = j->gathering;
	uint64_t end = journal_pos(l, j->use, b ? b->offset + b->n : j->next_at), written = end - first;
	/* A margin, so that the next block does not have to wait; small while little is written, for what is written there is slow. */
	uint64_t from = end + u64_min((b ? b->cap : 0) + j->block_bytes_target / 4, ZERO_MARGIN_MIN + 2 * written);
	j->zeroed_pos = u64_max(j->zeroed_pos, round_up(from, BLOCK_ALIGN));
	ASSERT(j->zeroed_pos >= first);
	uint64_t ahead = u64_min(ZERO_AHEAD_MIN + 2 * written, u64_min(ZERO_AHEAD, j->slot_bytes / 2));
	if (j->zeroed_pos >= ring || j->zeroed_pos >= from + ahead) return true;
	uint64_t use = j->zeroed_pos / j->slot_bytes, at = j->zeroed_pos % j->slot_bytes;
	j->zero = (struct zero_job) {
		.job = { .run = zero_run, .done = zero_done },
		.log = l,
		.file = journal_slot(l, use)->file,
		.use = use,
		.from = at,
		.to = u64_min(at + ZERO_CHUNK, j->slot_bytes),
		.is_running = true,
	};
	j->zeroed_pos = journal_pos(l, use, j->zero.to);
	log_job(l, IO_LANE_DISK, &j->zero.job);
	return false;
}

/* ---- slots that may hold what is to be erased (S15) ---- */

void journal_suspect_all(struct log *l)
{
	struct journal *j = &l->journal;
	if (log_fault(l, FAULT_bug_s15_slots_kept)) return;
	for (uint32_t k = 0; k < j->slot_count; k++) j->slots[k].is_suspect |= j->slots[k].written_to > 0;
	/* What was committed without this replica may not be written yet. */
	for (uint64_t use = journal_last_use(l), n = 0; use > 0 && n < 2; use--, n++)
		journal_slot(l, use)->is_suspect = true;
}

bool journal_has_suspects(const struct log *l)
{
	for (uint32_t k = 0; k < l->journal.slot_count; k++)
		if (l->journal.slots[k].is_suspect) return true;
	return false;
}

/* The free slot to be zeroed next: the one that the journal comes to last; 0: none. Its last use. */
static uint64_t suspect_use(const struct log *l)
{
	const struct journal *j = &l->journal;
	uint64_t lowest = j->use >= j->slot_count ? j->use - j->slot_count + 1 : 1;
	for (uint64_t use = j->oldest_use; use-- > lowest;)
		if (journal_slot(l, use)->is_suspect) return use;
	return 0;
}

bool journal_has_free_suspects(const struct log *l) { return suspect_use(l) != 0; }

/* From the end to the front, so that what is left to do is told by where the written part ends. */
static void zero_suspects(struct log *l)
{
	struct journal *j = &l->journal;
	uint64_t use = suspect_use(l);
	if (use == 0 || (j->erase_retry && io_now_ns(l->io) < j->erase_retry)) return;
	struct slot *slot = journal_slot(l, use);
	j->erase_retry = 0;
	j->zero = (struct zero_job) {
		.job = { .run = zero_run, .done = zero_done },
		.log = l,
		.file = slot->file,
		.use = use + j->slot_count, /* which must not begin in the same bytes meanwhile */
		.from = slot->written_to > ZERO_CHUNK ? slot->written_to - ZERO_CHUNK : 0,
		.to = slot->written_to,
		.is_running = true,
		.is_erasing = true,
	};
	log_job(l, IO_LANE_DISK, &j->zero.job);
}

void zero_step(struct log *l)
{
	if (l->journal.zero.is_running || l->is_closing || l->is_dead) return;
	if (zero_ahead(l)) zero_suspects(l);
}
