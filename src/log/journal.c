/* SPDX-License-Identifier: Apache-2.0 */
/* journal — gathers entries of all groups into one block, writes it with one sync, and says who waited that it is durable.
 *
 *   journal_add … ──> gathering ──(full)──> waiting ──┐
 *                         └──(end of turn)────────────┴──> flying: pwritev + fdatasync on a worker ──> done in order
 *
 * One block flies at a time (S1): so a block that can be read proves that all before it were durable. Where a block lies is known when
 * it begins to gather: behind the one before it, or at the head of the next slot, which then begins with a table of the groups as of
 * the block before. So an entry's place is known at once, and its seal with it. No timer delays a commit; one timer writes
 * the closing block when nothing has happened for a while. */
#include "log_internal.h"

enum {
	BLOCK_BYTES_TARGET = 4 * 1024 * 1024,
	BLOCK_CAP_MIN = 64 * 1024,
	LIST_GROUPS_MAX = 4096,
	CLOSING_MS = 50,
};

/* ---- blocks in memory ---- */

static struct block *recent_at(const struct journal *j, uint32_t i) { return j->recent[j->recent_head + i]; }

static void recent_push(struct journal *j, struct block *b)
{
	if (j->recent_head + j->recent_count == j->recent_cap) {
		if (j->recent_head > j->recent_count) {
			memmove(j->recent, j->recent + j->recent_head, j->recent_count * sizeof(struct block *));
			j->recent_head = 0;
		} else {
			j->recent_cap = j->recent_cap ? j->recent_cap * 2 : 16;
			j->recent = mem_realloc(j->recent, j->recent_cap * sizeof(struct block *));
		}
	}
	j->recent[j->recent_head + j->recent_count++] = b;
	j->recent_bytes += b->cap;
}

static void block_free(struct block *b)
{
	mem_free(b->p);
	mem_free(b->touched);
	mem_free(b->touched_ids);
	mem_free(b);
}

static void block_take_buffer(struct journal *j, struct block *b, uint64_t bytes)
{
	ASSERT(bytes <= UINT32_MAX);
	if (j->spare && j->spare_cap >= bytes) {
		b->p = j->spare;
		b->cap = j->spare_cap;
		j->spare = NULL;
		return;
	}
	b->p = mem_alloc(bytes);
	b->cap = (uint32_t)bytes;
}

/* A durable block that filled little of its buffer is kept in one of its own size; the large buffer gathers again. */
static void block_shrink(struct journal *j, struct block *b)
{
	if (b->cap < 2 * b->bytes) return;
	uint8_t *exact = mem_dup(b->p, b->bytes);
	if (!j->spare) {
		j->spare = b->p;
		j->spare_cap = b->cap;
	} else {
		mem_free(b->p);
	}
	j->recent_bytes -= b->cap - b->bytes;
	b->p = exact;
	b->cap = b->bytes;
}

/* At the end of a turn, when views have ended. */
static void journal_trim_recent(struct log *l)
{
	struct journal *j = &l->journal;
	for (uint32_t i = j->recent_count; i-- > 0;) {
		struct block *b = recent_at(j, i);
		if (!b->is_durable) continue;
		if (b->cap < 2 * b->bytes) break; /* the older ones have been through here */
		block_shrink(j, b);
	}
	while (j->recent_count && recent_at(j, 0)->is_durable) {
		struct block *b = recent_at(j, 0);
		bool is_erased = b->use <= j->forget_use;
		if (!is_erased && j->recent_bytes <= l->options.cache_bytes_max) break;
		if (is_erased) memset(b->p, 0, b->cap);
		j->recent_head++;
		j->recent_count--;
		j->recent_bytes -= b->cap;
		if (!j->spare && b->cap > BLOCK_CAP_MIN) {
			j->spare = b->p;
			j->spare_cap = b->cap;
			b->p = NULL;
		}
		block_free(b);
	}
}

bool journal_view(const struct log *l, const struct log_ref *r, struct slice *entry)
{
	const struct journal *j = &l->journal;
	uint64_t pos = journal_pos(l, r->use, ref_offset(r));
	uint32_t low = 0, high = j->recent_count; /* the first block that begins behind the entry */
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		const struct block *b = recent_at(j, mid);
		if (journal_pos(l, b->use, b->offset) <= pos)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0) return false;
	const struct block *b = recent_at(j, low - 1);
	if (b->use != r->use) return false;
	uint64_t at = ref_offset(r) - b->offset;
	ASSERT(at >= BLOCK_HEAD_BYTES + FRAME_HEAD_BYTES && at + ref_bytes(r) <= b->n);
	*entry = slice_of(b->p + at, ref_bytes(r));
	return true;
}

/* ---- room ---- */

uint64_t table_bytes(uint64_t groups_count)
{
	return FRAME_HEAD_BYTES + entry_bytes(TABLE_HEAD_BYTES + groups_count * TABLE_ROW_BYTES);
}

uint32_t journal_free_slots(const struct log *l)
{
	const struct journal *j = &l->journal;
	uint64_t held = j->use + 1 - j->oldest_use;
	ASSERT(held >= 1 && (held <= j->slot_count || l->is_dead));
	return held < j->slot_count ? j->slot_count - (uint32_t)held : 0;
}

/* So many groups the next block can name one by one. */
static uint64_t list_count_max(const struct log *l)
{
	return u64_min(l->journal.list_groups_max, (uint64_t)l->groups_count + LIST_GROUPS_MORE);
}

/* The most that the lists of the next block may need. */
static uint64_t lists_bytes_max(const struct log *l)
{
	return list_count_max(l) * 8 + block_list_bytes(l->journal.previous_count);
}

/* What a slot loses: its table, and at its end what is too short for the next entry. */
static uint64_t slot_overhead(const struct log *l)
{
	return table_bytes(l->groups_count + 1) + l->options.entry_bytes_max + 2 * list_count_max(l) * 8 + BLOCK_ALIGN;
}

static uint64_t saturating_sub(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

/* End of what is assigned in the current use. */
uint64_t journal_end(const struct journal *j)
{
	const struct block *b = j->gathering;
	return b ? b->offset + b->n + (uint64_t)b->list_max * 8 + block_list_bytes(j->previous_count) : j->next_at;
}

bool journal_has_rest(const struct log *l, uint64_t frames_bytes, unsigned more_blocks)
{
	const struct journal *j = &l->journal;
	uint64_t at_once = j->block_bytes_target, heads = BLOCK_HEAD_BYTES + lists_bytes_max(l) + list_count_max(l) * 8;
	uint64_t table = j->next_at == 0 && !j->gathering ? table_bytes(l->groups_count) : 0;
	/* Two blocks behind each other hold more than one alone would, or they would be one. */
	uint64_t bytes = frames_bytes <= at_once
				 ? round_up(heads + frames_bytes, BLOCK_ALIGN)
				 : frames_bytes + (1 + 2 * frames_bytes / at_once) * (heads + BLOCK_ALIGN);
	return journal_end(j) + table + bytes + more_blocks * round_up(heads, BLOCK_ALIGN) <= j->slot_bytes;
}

/* What can be written into the rest of this slot and so many others. */
static uint64_t journal_room(const struct log *l, uint64_t slots)
{
	const struct journal *j = &l->journal;
	uint64_t overhead = slot_overhead(l);
	return saturating_sub(j->slot_bytes, journal_end(j) + overhead) +
	       slots * saturating_sub(j->slot_bytes, overhead);
}

bool journal_has_room(const struct log *l, uint64_t bytes, uint32_t slots_kept)
{
	uint32_t free_slots = journal_free_slots(l);
	return free_slots >= slots_kept && bytes + BLOCK_ALIGN <= journal_room(l, free_slots - slots_kept);
}

bool journal_will_have_room(const struct log *l, uint64_t bytes, uint64_t use)
{
	const struct journal *j = &l->journal;
	return bytes + BLOCK_ALIGN <= journal_room(l, journal_free_slots(l) + saturating_sub(use + 1, j->oldest_use));
}

void journal_free_to(struct log *l, uint64_t use)
{
	struct journal *j = &l->journal;
	/* S4: the slot before the current one is never recycled: its table stands in when the current one rots. */
	use = u64_min(use, saturating_sub(j->use, 2));
	if (use >= j->use) use = j->use - 1;
	if (use + 1 > j->oldest_use) {
		diag_add(l->diag, COUNTER_log_slots_freed, use + 1 - j->oldest_use);
		j->oldest_use = use + 1;
	}
}

/* ---- gathering ---- */

static struct block_key journal_key(const struct log *l, uint64_t use)
{
	struct block_key k = l->key;
	k.use = use;
	return k;
}

static void block_touch(struct block *b, struct log_group *g)
{
	if (!g) {
		if (b->touches_store) return;
		b->touches_store = true;
	} else {
		if (g->touched_block == b->number) return;
		g->touched_block = b->number;
	}
	if (b->touched_count == b->touched_cap) {
		b->touched_cap = b->touched_cap ? b->touched_cap * 2 : 8;
		b->touched = mem_realloc(b->touched, b->touched_cap * sizeof *b->touched);
		b->touched_ids = mem_realloc(b->touched_ids, b->touched_cap * sizeof *b->touched_ids);
	}
	b->touched[b->touched_count] = g;
	b->touched_ids[b->touched_count++] = g ? g->id : 0;
}

/* Where an entry of `bytes` goes in the gathering block, behind the room for its frame's head. */
static uint8_t *block_take(struct block *b, uint64_t bytes)
{
	ASSERT(b->n + FRAME_HEAD_BYTES + bytes <= b->frames_max);
	uint8_t *p = b->p + b->n + FRAME_HEAD_BYTES;
	b->n += FRAME_HEAD_BYTES + (uint32_t)bytes;
	return p;
}

static void block_seal_frame(
	const struct log *l, const struct block *b, const uint8_t *entry, uint64_t bytes, bool is_moved)
{
	struct block_key k = journal_key(l, b->use);
	uint64_t at = (uint64_t)(entry - b->p) - FRAME_HEAD_BYTES;
	frame_encode(&k, b->offset + at, entry, (uint32_t)bytes, is_moved, b->p + at);
}

static void table_row_of(const struct log_group *g, struct table_row *row)
{
	*row = (struct table_row) {
		.id = g->id,
		.generation = g->generation,
		.term = g->term,
		.vote = g->vote,
		.commit = g->commit_index,
		.last_index = g->last_index,
		.last_term = g->last_term,
		.settled_index = g->settled_index,
		.conf_index = g->applied_conf_index,
		.seq_last = g->doubt ? u64_max(g->seq_bound, g->last_seq) : g->last_seq,
		.flags = g->doubt ? TABLE_IN_DOUBT : 0,
		.doubt_from = g->doubt_from,
	};
}

/* The first frame of a use: the groups as of the block before (S4, S7, S8). */
static void block_put_table(struct log *l, struct block *b)
{
	uint64_t bytes = table_bytes(l->groups_count) - FRAME_HEAD_BYTES;
	uint8_t *entry = block_take(b, bytes), *body = entry + ENTRY_HEAD_BYTES;
	struct table_head head = {
		.settled = l->settle.recorded,
		.next_block = b->number,
		.group_count = l->groups_count,
		.flags = l->lacks_groups ? TABLE_LACKS_GROUPS : 0,
	};
	table_head_encode(&head, body);
	for (uint32_t i = 0; i < l->groups_count; i++) {
		struct table_row row;
		table_row_of(l->groups[i], &row);
		table_row_encode(&row, body + TABLE_HEAD_BYTES + (size_t)i * TABLE_ROW_BYTES);
	}
	struct entry_head h = { .kind = ENTRY_TABLE };
	entry_head_encode(&h, slice_of(body, bytes - ENTRY_HEAD_BYTES), entry);
	block_seal_frame(l, b, entry, bytes, false);
	b->flags |= BLOCK_TABLE;
	diag_count(l->diag, COUNTER_log_slots_begun);
}

/* Goes to the next slot when `need` bytes do not fit into this one. False: the ring is full, and the log has died of it. */
static bool journal_fit(struct log *l, uint64_t frame_bytes)
{
	struct journal *j = &l->journal;
	uint64_t need = BLOCK_HEAD_BYTES + frame_bytes + lists_bytes_max(l);
	uint64_t table = table_bytes(l->groups_count);
	if (j->next_at && j->next_at + need > j->slot_bytes) {
		j->use++;
		j->next_at = 0;
	}
	ASSERT(table + need <= j->slot_bytes || l->is_dead);
	if (j->use < j->oldest_use + j->slot_count) return true;
	log_die(l, "journal: all %u slots are in use and the reserve is spent; settling cannot keep up or has failed",
		j->slot_count);
	return false;
}

static void block_begin(struct log *l, uint64_t frame_bytes)
{
	struct journal *j = &l->journal;
	ASSERT(!j->gathering);
	bool fits = journal_fit(l, frame_bytes);
	uint64_t table = j->next_at == 0 ? table_bytes(l->groups_count) : 0;
	uint64_t lists = lists_bytes_max(l);
	uint64_t frames = BLOCK_HEAD_BYTES + table + u64_max(frame_bytes, j->block_bytes_target);
	frames = round_up(frames + lists, BLOCK_ALIGN) - lists; /* whole sectors are full sectors */
	if (fits) frames = u64_min(frames, j->slot_bytes - j->next_at - lists);
	struct block *b = NEW(struct block);
	b->number = j->next_number++;
	b->use = j->use;
	b->offset = j->next_at;
	b->n = BLOCK_HEAD_BYTES;
	b->frames_max = (uint32_t)frames;
	b->list_max = (uint32_t)list_count_max(l);
	list_init(&b->reqs);
	block_take_buffer(j, b, round_up(frames + lists, BLOCK_ALIGN));
	recent_push(j, b);
	j->gathering = b;
	if (table) block_put_table(l, b);
}

/* The gathering block is complete: lists behind the frames, zeros to the end of the sector. */
static void block_seal(struct log *l)
{
	struct journal *j = &l->journal;
	struct block *b = j->gathering;
	ASSERT(b && b->bytes == 0);
	b->body_bytes = b->n - BLOCK_HEAD_BYTES;
	b->groups_count = b->touched_count > b->list_max ? BLOCK_GROUPS_ALL : b->touched_count;
	b->previous_count = j->previous_count;
	uint32_t own = block_list_bytes(b->groups_count), previous = block_list_bytes(b->previous_count);
	uint64_t end = b->n + own + previous;
	uint64_t bytes = round_up(end, j->align);
	ASSERT(bytes <= b->cap && b->offset + bytes <= j->slot_bytes);
	uint8_t *at = b->p + b->n;
	for (uint32_t i = 0; own && i < b->groups_count; i++, at += 8) le64_put(at, b->touched_ids[i]);
	for (uint32_t i = 0; previous && i < b->previous_count; i++, at += 8) le64_put(at, j->previous_ids[i]);
	memset(at, 0, (size_t)(bytes - end));
	b->bytes = (uint32_t)bytes;

	mem_free(j->previous_ids);
	j->previous_ids = b->touched_ids;
	j->previous_count = b->groups_count;
	b->touched_ids = NULL;
	j->next_at = b->offset + bytes;
	j->is_closing_last = (b->flags & BLOCK_CLOSING) != 0;
	j->gathering = NULL;
	list_push_back(&j->waiting, &b->link_by_order);
}

uint64_t journal_last_use(const struct log *l)
{
	const struct journal *j = &l->journal;
	uint64_t table = round_up(BLOCK_HEAD_BYTES + table_bytes(l->groups_count), BLOCK_ALIGN);
	return journal_end(j) > table ? j->use : j->use - 1;
}

bool journal_rotate(struct log *l)
{
	struct journal *j = &l->journal;
	uint64_t table = round_up(BLOCK_HEAD_BYTES + table_bytes(l->groups_count), BLOCK_ALIGN);
	if (journal_end(j) <= table || journal_free_slots(l) < 2) return false;
	if (j->gathering) block_seal(l);
	j->use++;
	j->next_at = 0;
	return true;
}

static struct block *journal_gather(struct log *l, uint64_t frame_bytes)
{
	struct journal *j = &l->journal;
	if (j->gathering && j->gathering->n + frame_bytes > j->gathering->frames_max) block_seal(l);
	if (!j->gathering) block_begin(l, frame_bytes);
	return j->gathering;
}

static struct log_ref ref_of(const struct block *b, const uint8_t *entry, const struct entry_head *h)
{
	uint64_t at = b->offset + (uint64_t)(entry - b->p);
	ASSERT(at % 8 == 0 && at / 8 <= UINT32_MAX && b->use <= UINT32_MAX);
	return (struct log_ref) {
		.seq_last = h->seq_last,
		.use = (uint32_t)b->use,
		.at8 = (uint32_t)(at / 8),
		.body_bytes = h->body_bytes,
		.records = (uint16_t)u64_min(h->record_count, UINT16_MAX),
		.kind = h->kind,
	};
}

struct log_ref journal_add(struct log *l, struct log_group *g, struct entry_head *h, struct slice body)
{
	ASSERT(h->kind > 0 && h->kind < ENTRY_KIND_END);
	ASSERT(h->group == (g ? g->id : 0));
	if (h->kind != ENTRY_SETTLED) l->settle.moves_in_row = 0;
	uint64_t bytes = entry_bytes(body.n);
	struct block *b = journal_gather(l, FRAME_HEAD_BYTES + bytes);
	uint8_t *entry = block_take(b, bytes), *to = entry + ENTRY_HEAD_BYTES;
	if (body.n) memcpy(to, body.p, body.n);
	memset(to + body.n, 0, (size_t)(bytes - ENTRY_HEAD_BYTES - body.n));
	entry_head_encode(h, slice_of(to, body.n), entry);
	block_seal_frame(l, b, entry, bytes, false);
	block_touch(b, g);
	if (h->kind == ENTRY_SETTLED) b->flags |= BLOCK_SETTLED;
	return ref_of(b, entry, h);
}

struct log_ref journal_move(struct log *l, struct log_group *g, const struct entry_head *h, struct slice bytes)
{
	ASSERT(h->group == g->id && bytes.n == entry_bytes(h->body_bytes));
	struct block *b = journal_gather(l, FRAME_HEAD_BYTES + bytes.n);
	uint8_t *entry = block_take(b, bytes.n);
	memcpy(entry, bytes.p, bytes.n);
	block_seal_frame(l, b, entry, bytes.n, true);
	block_touch(b, g);
	return ref_of(b, entry, h);
}

/* ---- flying ---- */

static void req_ready(struct log *l, struct log_req *req)
{
	list_push_back(&l->journal.ready, &req->link);
	io_defer(l->io, &l->journal.ready_task);
}

static void reqs_done(struct list *reqs)
{
	for (struct list *node; (node = list_pop_front(reqs)) != NULL;) {
		struct log_req *req = CONTAINER_OF(node, struct log_req, link);
		req->done(req);
	}
}

static void journal_ready(struct io_task *t)
{
	struct journal *j = CONTAINER_OF(t, struct journal, ready_task);
	struct list reqs;
	list_init(&reqs);
	list_splice_back(&reqs, &j->ready);
	reqs_done(&reqs);
}

static struct block *journal_last(const struct journal *j)
{
	if (j->gathering) return j->gathering;
	if (!list_is_empty(&j->waiting)) return CONTAINER_OF(j->waiting.prev, struct block, link_by_order);
	return j->flying ? j->flying : j->unsynced;
}

void journal_wait(struct log *l, struct log_req *req)
{
	if (!req || !req->done) return;
	struct block *b = journal_last(&l->journal);
	if (b)
		list_push_back(&b->reqs, &req->link);
	else
		req_ready(l, req);
}

uint64_t journal_last_number(const struct log *l) { return l->journal.next_number - 1; }

bool journal_is_busy(const struct log *l)
{
	const struct journal *j = &l->journal;
	return journal_last(j) || j->zero.is_running || !list_is_empty(&j->ready);
}

/* On the worker: the checksums, the write, the sync. */
static void journal_run(struct io_job *job)
{
	struct journal_job *w = CONTAINER_OF(job, struct journal_job, job);
	struct block *b = w->block;
	uint32_t seed = block_seed(&w->key, b->offset);
	uint32_t lists = block_list_bytes(b->groups_count) + block_list_bytes(b->previous_count);
	struct block_head h = {
		.level = LOG_FORMAT_LEVEL,
		.flags = b->flags,
		.use = b->use,
		.number = b->number,
		.offset = b->offset,
		.chain = w->chain_before,
		.groups_count = b->groups_count,
		.previous_count = b->previous_count,
		.body_bytes = b->body_bytes,
		.crc_body = crc32c(seed, b->p + BLOCK_HEAD_BYTES, b->body_bytes),
		.crc_lists = crc32c(seed, b->p + b->n, lists),
	};
	block_head_encode(&w->key, &h, b->p);
	w->chain = block_chain(&h);
	struct slice v = slice_of(b->p, b->bytes);
	w->result = io_file_write(w->file, b->offset, &v, 1);
	if (w->result == OK && !w->is_unsynced) w->result = io_file_sync(w->file);
}

static void journal_done(struct io_job *job);
static void block_durable(struct log *l, struct block *b, struct list *reqs);

/* A zero-fill of the same bytes must end first. */
static bool journal_is_zeroing(const struct journal *j, const struct block *b)
{
	const struct zero_job *z = &j->zero;
	return z->is_running && z->use == b->use && z->from < b->offset + b->bytes && b->offset < z->to;
}

static void slot_note_written(const struct log *l, const struct block *b)
{
	struct slot *slot = journal_slot(l, b->use);
	slot->written_to = u64_max(slot->written_to, b->offset + b->bytes);
}

static void block_fly(struct log *l, struct block *b)
{
	struct journal *j = &l->journal;
	ASSERT(!j->flying && b->bytes > 0);
	ASSERT(b->number == j->durable_number + (j->unsynced ? 2 : 1));
	list_remove(&b->link_by_order);
	j->flying = b;
	j->job = (struct journal_job) {
		.job = { .run = journal_run, .done = journal_done },
		.log = l,
		.key = journal_key(l, b->use),
		.file = journal_slot(l, b->use)->file,
		.block = b,
		.chain_before = j->chain,
		.started_ns = io_now_precise_ns(l->io),
		.is_unsynced = log_fault(l, FAULT_bug_s1_two_in_flight) && !j->unsynced,
	};
	slot_note_written(l, b);
	io_timer_stop(l->io, &j->idle);
	log_job(l, IO_LANE_JOURNAL, &j->job.job);
}

enum err journal_write_now(struct log *l)
{
	struct journal *j = &l->journal;
	ASSERT(!j->flying && !j->zero.is_running);
	(void)journal_gather(l, 0);
	block_seal(l);
	enum err e = OK;
	for (struct list *node; e == OK && (node = list_pop_front(&j->waiting)) != NULL;) {
		struct block *b = CONTAINER_OF(node, struct block, link_by_order);
		struct journal_job w = {
			.key = journal_key(l, b->use),
			.file = journal_slot(l, b->use)->file,
			.block = b,
			.chain_before = j->chain,
		};
		slot_note_written(l, b);
		journal_run(&w.job);
		e = w.result;
		if (e != OK) break;
		j->chain = w.chain;
		struct list nobody;
		list_init(&nobody);
		block_durable(l, b, &nobody);
		ASSERT(list_is_empty(&nobody));
	}
	return e;
}

void journal_submit(struct log *l)
{
	struct journal *j = &l->journal;
	if (j->flying || l->is_dead) return;
	if (list_is_empty(&j->waiting) && j->gathering) block_seal(l);
	struct list *node = list_first(&j->waiting);
	if (!node) return;
	struct block *b = CONTAINER_OF(node, struct block, link_by_order);
	if (!journal_is_zeroing(j, b)) block_fly(l, b);
}

/* Entries of the group that lie before the end of the durable journal. Entries that were moved were durable before. */
static void group_advance_durable(struct log *l, struct log_group *g)
{
	while (g->durable_index < g->last_index) {
		const struct log_ref *r = refs_at(&g->refs, g->durable_index + 1);
		if (journal_pos(l, r->use, ref_offset(r)) >= l->journal.durable_pos) break;
		g->durable_index++;
	}
}

static void block_durable(struct log *l, struct block *b, struct list *reqs)
{
	struct journal *j = &l->journal;
	ASSERT(b->number == j->durable_number + 1);
	j->durable_number = b->number;
	j->durable_pos = journal_pos(l, b->use, b->offset + b->bytes);
	b->is_durable = true;
	for (uint32_t i = 0; i < b->touched_count; i++)
		if (b->touched[i]) group_advance_durable(l, b->touched[i]);
	mem_free(b->touched);
	b->touched = NULL;
	b->touched_count = b->touched_cap = 0;
	list_splice_back(reqs, &b->reqs);
}

static bool journal_failed(struct log *l, const struct journal_job *w)
{
	if (w->result == OK) return false;
	if (log_fault(l, FAULT_bug_s17_ignore_sync)) return false;
	log_die(l, "journal: block %llu at use %llu offset %llu was not made durable: %s",
		(unsigned long long)w->block->number, (unsigned long long)w->block->use,
		(unsigned long long)w->block->offset, err_text(w->result));
	return true;
}

static void journal_done(struct io_job *job)
{
	struct journal_job *w = CONTAINER_OF(job, struct journal_job, job);
	struct log *l = w->log;
	struct journal *j = &l->journal;
	struct list reqs;
	list_init(&reqs);
	struct block *b = w->block;
	if (l->is_dead || journal_failed(l, w)) {
		log_job_done(l);
		return;
	}
	ASSERT(j->flying == b);
	j->flying = NULL;
	j->chain = w->chain;
	diag_count(l->diag, COUNTER_log_blocks);
	diag_add(l->diag, COUNTER_log_block_bytes, b->bytes);
	diag_measure(l->diag, HISTOGRAM_log_commit, io_now_precise_ns(l->io) - w->started_ns);
	if (w->is_unsynced) {
		j->unsynced = b;
		(void)journal_gather(l, 0);
	} else {
		struct block *before = j->unsynced;
		j->unsynced = NULL;
		if (before) block_durable(l, before, &reqs);
		block_durable(l, b, &reqs);
	}
	/* The next block flies before anybody is called, so that the disk does not wait for them. */
	journal_submit(l);
	if (!journal_last(j) && !j->is_closing_last) io_timer_start(l->io, &j->idle, MILLIS(CLOSING_MS));
	reqs_done(&reqs);
	log_job_done(l);
}

/* ---- the closing block, so that the last block too has a successor (S6) ---- */

bool journal_close_tail(struct log *l)
{
	struct journal *j = &l->journal;
	if (l->is_dead || journal_last(j) || j->is_closing_last) return false;
	/* Not worth a slot, nor what is kept for others: the next block will do. */
	if (j->next_at + BLOCK_HEAD_BYTES + lists_bytes_max(l) > j->slot_bytes) return false;
	if (log_admit(l, LOG_ADMIT_RESERVED, BLOCK_ALIGN) != OK) return false;
	journal_gather(l, 0)->flags |= BLOCK_CLOSING;
	journal_submit(l);
	return true;
}

static void journal_idle(struct io_timer *t)
{
	struct log *l = CONTAINER_OF(t, struct log, journal.idle);
	(void)journal_close_tail(l);
}

/* ---- life ---- */

void journal_turn_end(struct log *l)
{
	journal_submit(l);
	zero_step(l);
	journal_trim_recent(l);
}

void journal_forget_group(struct log *l, const struct log_group *g)
{
	struct journal *j = &l->journal;
	for (uint32_t i = j->recent_count; i-- > 0;) {
		struct block *b = recent_at(j, i);
		if (b->is_durable) break;
		for (uint32_t k = 0; k < b->touched_count; k++)
			if (b->touched[k] == g) b->touched[k] = NULL;
	}
}

void journal_init(struct log *l)
{
	struct journal *j = &l->journal;
	j->slot_count = l->identity.slot_count;
	j->slot_bytes = l->identity.slot_bytes;
	j->slots = mem_zalloc(j->slot_count * sizeof *j->slots);
	j->align = log_fault(l, FAULT_bug_s2_shared_sector) ? 64 : BLOCK_ALIGN;
	uint64_t target = u64_max(j->slot_bytes / 8, u64_min(j->slot_bytes / 2, BLOCK_CAP_MIN));
	j->block_bytes_target = u64_min(BLOCK_BYTES_TARGET, round_up(target, BLOCK_ALIGN));
	j->list_groups_max = u64_min(LIST_GROUPS_MAX, j->slot_bytes / 256);
	j->next_number = 1;
	j->oldest_use = 1;
	j->use = 1;
	list_init(&j->waiting);
	list_init(&j->ready);
	j->ready_task.run = journal_ready;
	j->idle.fire = journal_idle;
}

void journal_deinit(struct log *l)
{
	struct journal *j = &l->journal;
	io_timer_stop(l->io, &j->idle);
	for (uint32_t i = 0; i < j->recent_count; i++) block_free(recent_at(j, i));
	mem_free(j->recent);
	mem_free(j->spare);
	mem_free(j->previous_ids);
	for (uint32_t i = 0; j->slots && i < j->slot_count; i++) io_file_close(j->slots[i].file);
	mem_free(j->slots);
}
