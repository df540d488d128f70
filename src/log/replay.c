/* SPDX-License-Identifier: Apache-2.0 */
/* replay — reads the slots that are needed, block by block in the order in which they were written, and tells torn from damaged (S6).
 *
 *   survey: head of every slot -> newest use; its table and last SETTLED -> oldest use that is needed
 *   run:    use by use, block by block: good -> its frames are applied (apply.c)
 *                                       bad, nothing valid behind it -> torn: the journal ends there
 *                                       bad, something valid behind it -> damage: groups doubted, what is readable kept
 *
 * One block flies at a time, so whatever valid head follows a bad block proves that the bad one was once durable. Blocking; before the
 * loop runs. */
#include <stdio.h>

#include "replay.h"

enum { WINDOW_BYTES_MIN = 64 * 1024, WINDOW_BYTES = 1024 * 1024, SEARCH_BLANK_BYTES = 8 * 1024 * 1024 };

/* ---- bytes of a slot ---- */

static uint32_t slot_of(const struct replay *r, uint64_t use)
{
	return (uint32_t)((use - 1) % r->log->journal.slot_count);
}

/* A sector that cannot be read, not even the second time, is damage: zeroes stand for it, and it is noted, because nobody may take
 * it for the end of the journal. A machine that died is not damage. */
static size_t slot_read(struct replay *r, uint64_t use, uint64_t at, uint8_t *p, size_t n)
{
	struct io_file *file = r->log->journal.slots[slot_of(r, use)].file;
	size_t got = 0;
	enum err e = io_file_read(file, at, p, n, &got);
	if (e == OK) return got;
	memset(p, 0, n); /* what the memory held before is nobody's block */
	for (size_t k = 0; k < n && (e == OK || e == ERR_IO); k += BLOCK_ALIGN) {
		size_t piece = size_min(BLOCK_ALIGN, n - k);
		e = io_file_read(file, at + k, p + k, piece, &got);
		if (e != ERR_IO) continue;
		memset(p + k, 0, piece);
		r->unreadable_pos = journal_pos(r->log, use, at + k);
	}
	if (e != OK && e != ERR_IO) r->error = e;
	return n;
}

/* Bytes at `at` of the slot that holds `use`: fewer than n only at the end of the file. Valid until the next call. */
static struct slice slot_bytes(struct replay *r, uint64_t use, uint64_t at, uint64_t n)
{
	uint32_t k = slot_of(r, use);
	struct io_file *file = r->log->journal.slots[k].file;
	/* Not data_end: a file system may keep zeroes at the end of a block as a hole. */
	uint64_t end = u64_min(r->slots[k].bytes, r->log->journal.slot_bytes);
	if (at >= end) return SLICE_NULL;
	n = u64_min(n, end - at);
	bool is_inside = r->file == file && at >= r->window_at && at + n <= r->window_at + r->window.n;
	if (!is_inside) {
		/* Who goes on where the window ends will go further; who looks at a head may not. */
		bool goes_on = r->file == file && at >= r->window_at && at <= r->window_at + r->window.n;
		uint64_t want = u64_min(u64_max(n, goes_on ? WINDOW_BYTES : WINDOW_BYTES_MIN), end - at);
		buf_clear(&r->window);
		r->window.n = slot_read(r, use, at, buf_reserve(&r->window, want), want);
		r->window_at = at;
		r->file = file;
	}
	return slice_first(slice_from(buf_slice(&r->window), at - r->window_at), n);
}

static struct block_key replay_key(const struct replay *r, uint64_t use)
{
	struct block_key k = r->log->key;
	k.use = use;
	return k;
}

/* The head of a block of `use` at `at`. ERR_CORRUPT: there is none. ERR_FORMAT ends the start. */
static enum err head_at(struct replay *r, uint64_t use, uint64_t at, struct block_head *h)
{
	struct slice s = slot_bytes(r, use, at, BLOCK_HEAD_BYTES);
	if (s.n < BLOCK_HEAD_BYTES) return ERR_CORRUPT;
	struct block_key k = replay_key(r, use);
	enum err e = block_head_decode(&k, at, s.p, h);
	if (e == ERR_FORMAT && log_fault(r->log, FAULT_bug_s20_level_ignored)) e = OK;
	if (e == ERR_FORMAT) {
		r->error = e;
		(void)snprintf(r->why, sizeof r->why, "the journal is of format level %u, this binary knows %u",
			h->level, LOG_FORMAT_LEVEL);
	}
	if (e == OK && (h->use == 0 || block_bytes(h) > r->log->journal.slot_bytes - at)) e = ERR_CORRUPT;
	return e;
}

static bool is_zero(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i]) return false;
	return true;
}

/* Zeroes may be what a block held; more of them than two blocks can hold are a slot that is zeroed ahead of its first use. */
static uint64_t search_blank_max(const struct replay *r)
{
	const struct log *l = r->log;
	return SEARCH_BLANK_BYTES + 2 * (l->options.entry_bytes_max + table_bytes(l->groups_count));
}

/* The first head of `use` at or behind `at` whose number is at least `number`. */
static bool head_search(
	struct replay *r, uint64_t use, uint64_t at, uint64_t number, uint64_t *found_at, struct block_head *h)
{
	uint64_t step = r->log->journal.align, blank = 0;
	uint64_t end = u64_min(r->slots[slot_of(r, use)].data_end, r->log->journal.slot_bytes);
	for (; at + BLOCK_HEAD_BYTES <= end && r->error == OK; at += step) {
		if (at % BLOCK_ALIGN == 0)
			blank = is_zero(slot_bytes(r, use, at, BLOCK_ALIGN)) ? blank + BLOCK_ALIGN : 0;
		if (blank > search_blank_max(r)) return false;
		if (blank || head_at(r, use, at, h) != OK || h->number < number) continue;
		*found_at = at;
		return true;
	}
	return false;
}

/* ---- survey ---- */

static enum err survey_slots(struct replay *r)
{
	const struct journal *j = &r->log->journal;
	for (uint32_t k = 0; k < j->slot_count; k++) {
		struct slice s = slot_bytes(r, k + 1, 0, BLOCK_HEAD_BYTES);
		uint64_t use = s.n == BLOCK_HEAD_BYTES ? block_head_use(s.p) : 0;
		struct block_head h;
		if (use == 0 || use > UINT32_MAX || slot_of(r, use) != k) continue;
		if (head_at(r, use, 0, &h) == OK) r->slots[k].use = use;
		if (r->slots[k].use > r->newest) r->newest = r->slots[k].use;
	}
	return r->error;
}

/* A use whose first block is bad may still have begun: then a later block of it is there. */
static enum err survey_newer(struct replay *r)
{
	if (r->log->key.is_unseeded) return r->error; /* any block would pass for one of any use */
	for (;;) {
		struct block_head h;
		uint64_t at;
		uint64_t next = r->newest + 1;
		if (r->slots[slot_of(r, next)].bytes == 0) break;
		if (!head_search(r, next, 0, 0, &at, &h)) break;
		r->newest = next;
		if (log_fault(r->log, FAULT_bug_s6_cut_damage)) break;
	}
	return r->error;
}

static bool block_is_good(struct replay *r, const struct block_head *h, struct slice *body, struct slice *lists)
{
	struct slice all = slot_bytes(r, h->use, h->offset, block_bytes(h));
	if (all.n < block_bytes(h)) return false;
	struct block_key k = replay_key(r, h->use);
	uint32_t seed = block_seed(&k, h->offset);
	*body = slice_first(slice_from(all, BLOCK_HEAD_BYTES), h->body_bytes);
	*lists = slice_first(slice_from(all, BLOCK_HEAD_BYTES + (size_t)h->body_bytes),
		block_list_bytes(h->groups_count) + block_list_bytes(h->previous_count));
	bool lists_ok = crc32c(seed, lists->p, lists->n) == h->crc_lists;
	if (!lists_ok) *lists = SLICE_NULL;
	return crc32c(seed, body->p, body->n) == h->crc_body && lists_ok;
}

static void survey_block(struct replay *r, const struct block_head *h)
{
	struct slice body, lists;
	if (!block_is_good(r, h, &body, &lists)) return;
	struct block_key k = replay_key(r, h->use);
	uint64_t at = h->offset + BLOCK_HEAD_BYTES;
	struct frame f;
	while (frame_next(&k, &body, &at, &f) == OK) {
		struct entry_head e;
		struct table_head t;
		if (entry_head_decode(f.entry, &e) != OK) continue;
		struct slice in = slice_first(slice_from(f.entry, ENTRY_HEAD_BYTES), e.body_bytes);
		struct settled settled;
		if (e.kind == ENTRY_SETTLED && settled_decode(in, &settled) == OK) r->settled = settled;
		if (e.kind == ENTRY_TABLE && table_head_decode(in, &t) == OK) {
			r->settled = t.settled;
			r->has_base = true;
		}
	}
}

/* Table and SETTLED records of one use, hopping from head to head. */
static void survey_use(struct replay *r, uint64_t use)
{
	struct block_head h;
	uint64_t at = 0;
	while (head_at(r, use, at, &h) == OK) {
		if (h.flags & (BLOCK_TABLE | BLOCK_SETTLED)) survey_block(r, &h);
		at += block_bytes(&h);
	}
}

static bool survey_has_table(struct replay *r, uint64_t use)
{
	struct block_head h;
	struct slice body, lists;
	return head_at(r, use, 0, &h) == OK && (h.flags & BLOCK_TABLE) && block_is_good(r, &h, &body, &lists);
}

enum err replay_survey(struct replay *r)
{
	enum err e = survey_slots(r);
	if (e == OK) e = survey_newer(r);
	if (e != OK) return e;
	uint64_t count = r->log->journal.slot_count;
	if (r->newest) survey_use(r, r->newest);
	if (!r->has_base && r->newest > 1) {
		/* S4: the table rots; the one before it was kept for this. */
		survey_use(r, r->newest - 1);
		survey_use(r, r->newest);
	}
	r->has_base = false;
	uint64_t lowest = r->newest >= count ? r->newest - count + 1 : 1;
	r->oldest = u64_max(r->settled.use_before + 1, lowest);
	if (r->oldest > r->newest) r->oldest = u64_max(r->newest, 1);
	/* Begin with a table, if there is one: with the table before when this one rots. */
	if (!survey_has_table(r, r->oldest) && r->oldest > lowest && survey_has_table(r, r->oldest - 1)) r->oldest--;
	return r->error;
}

/* ---- damage ---- */

static void doubt_list(struct replay *r, struct slice ids, const char *what)
{
	for (; ids.n >= 8; ids = slice_from(ids, 8)) replay_doubt(r, le64_get(ids.p), what);
}

/* Blocks from r->next_number on are lost before `h`, which is valid: its list names the groups of the last of them. */
static void damage_before(struct replay *r, const struct block_head *h, const char *what)
{
	struct slice body = SLICE_NULL, lists = SLICE_NULL;
	bool one = r->next_number && h->number == r->next_number + 1 && h->previous_count != BLOCK_GROUPS_ALL;
	(void)block_is_good(r, h, &body, &lists);
	r->damaged_blocks++;
	if (one && lists.p) {
		struct slice ids = slice_from(lists, block_list_bytes(h->groups_count));
		struct buf copy = { 0 };
		buf_append_slice(&copy, ids);
		doubt_list(r, buf_slice(&copy), what);
		buf_deinit(&copy);
	} else {
		replay_doubt_all(r, what);
	}
}

/* Everything between [from, to) that its own checksums prove to be of this use and this place. */
static void salvage(struct replay *r, uint64_t use, uint64_t from, uint64_t to)
{
	struct block_key k = replay_key(r, use);
	struct buf copy = { 0 };
	buf_append_slice(&copy, slot_bytes(r, use, from, to - from));
	struct slice in = buf_slice(&copy);
	uint64_t at = from;
	while (in.n >= FRAME_HEAD_BYTES + ENTRY_HEAD_BYTES) {
		struct frame f;
		struct slice rest = in, entry, body;
		uint64_t rest_at = at;
		struct entry_head h;
		if (frame_next(&k, &rest, &rest_at, &f) == OK) {
			entry = f.entry;
			if (entry_next(&entry, &h, &body) == OK && entry.n == 0)
				replay_apply(r, use, &f, &h, body, true);
			in = rest;
			at = rest_at;
			continue;
		}
		in = slice_from(in, 8);
		at += 8;
	}
	buf_deinit(&copy);
}

/* Names a damaged place, and tells of it. */
static const char *place_text(struct replay *r, uint64_t use, uint64_t from, uint64_t to)
{
	(void)snprintf(r->place, sizeof r->place, "journal use %llu is damaged at %llu..%llu", (unsigned long long)use,
		(unsigned long long)from, (unsigned long long)to);
	if (r->damaged) r->damaged(r->damaged_arg, use, from, to);
	return r->place;
}

/* ---- run ---- */

static void apply_block(struct replay *r, const struct block_head *h, struct slice body)
{
	struct block_key k = replay_key(r, h->use);
	uint64_t at = h->offset + BLOCK_HEAD_BYTES;
	for (;;) {
		struct frame f;
		struct entry_head e;
		enum err result = frame_next(&k, &body, &at, &f);
		if (result == ERR_EOF) return;
		if (result == OK) result = entry_head_decode(f.entry, &e);
		if (result == OK && entry_bytes(e.body_bytes) != f.entry.n) result = ERR_CORRUPT;
		if (result != OK) {
			/* The block's checksum is good and its content is not: nobody but us can have written it. */
			replay_doubt_all(r, "a block of the journal is whole and makes no sense");
			return;
		}
		replay_apply(
			r, h->use, &f, &e, slice_first(slice_from(f.entry, ENTRY_HEAD_BYTES), e.body_bytes), false);
	}
}

/* Is there a valid head behind this place, in this use or a later one? */
static bool has_successor(struct replay *r, uint64_t use, uint64_t at, uint64_t number, struct block_head *h)
{
	uint64_t found;
	if (log_fault(r->log, FAULT_bug_s6_cut_damage)) return false;
	if (use < r->newest) {
		for (uint64_t next = use; next <= r->newest; next++)
			if (head_search(r, next, next == use ? at : 0, number, &found, h)) return true;
		return false;
	}
	return head_search(r, use, at, number, &found, h);
}

static void chain_to(struct replay *r, const struct block_head *h, struct slice lists)
{
	r->next_number = h->number + 1;
	r->chain = block_chain(h);
	r->last_flags = h->flags;
	r->last_count = lists.p ? h->groups_count : BLOCK_GROUPS_ALL;
	buf_clear(&r->last_ids);
	buf_append_slice(&r->last_ids, slice_first(lists, block_list_bytes(r->last_count)));
}

/* A head that is valid and in its place. False: the journal ends before this block. */
static bool replay_block(struct replay *r, const struct block_head *h)
{
	struct slice body = SLICE_NULL, lists = SLICE_NULL;
	if (r->next_number && h->number > r->next_number)
		damage_before(r, h, place_text(r, h->use, h->offset, h->offset));
	else if (r->next_number && h->chain != r->chain && !r->log->key.is_unseeded)
		replay_doubt_all(r, "blocks of the journal do not follow each other");
	if (block_is_good(r, h, &body, &lists)) {
		r->good_bytes += block_bytes(h);
		apply_block(r, h, body);
		chain_to(r, h, lists);
		return true;
	}
	struct block_head next;
	uint64_t end = h->offset + block_bytes(h);
	if (!has_successor(r, h->use, end, h->number, &next)) return false;
	/* A start that cut a torn block may have gone on in the next slot: then its number stands there again, or stood, at the front of the slot, where
	 * now nothing can be read. */
	const bool stood_there = next.use > h->use && next.offset > 0 && next.number == h->number + 1;
	if (next.number == h->number || stood_there) return false;
	const char *what = place_text(r, h->use, h->offset, end);
	(void)block_is_good(r, h, &body, &lists); /* the window has moved */
	if (lists.p && h->groups_count != BLOCK_GROUPS_ALL) {
		struct buf copy = { 0 };
		buf_append_slice(&copy, slice_first(lists, block_list_bytes(h->groups_count)));
		r->damaged_blocks++;
		doubt_list(r, buf_slice(&copy), what);
		buf_deinit(&copy);
	} else {
		r->next_number = h->number;
		damage_before(r, &next, what);
	}
	salvage(r, h->use, h->offset + BLOCK_HEAD_BYTES, h->offset + BLOCK_HEAD_BYTES + h->body_bytes);
	chain_to(r, h, SLICE_NULL);
	return true;
}

/* No valid head stands at `at`. *at moves to the next one of this use, if there is one. */
static bool replay_gap(struct replay *r, uint64_t use, uint64_t *at)
{
	struct block_head next;
	uint64_t found;
	if (log_fault(r->log, FAULT_bug_s6_cut_damage)) return false;
	if (!head_search(r, use, *at + r->log->journal.align, r->next_number, &found, &next)) return false;
	if (next.number != r->next_number || !r->next_number) {
		damage_before(r, &next, place_text(r, use, *at, found));
		salvage(r, use, *at, found);
	}
	r->next_number = next.number;
	r->chain = next.chain;
	*at = found;
	return true;
}

/* The use has ended at `at`. Blocks that are lost there show in the number of the next use's first block. */
static void replay_use_end(struct replay *r, uint64_t use, uint64_t at)
{
	struct block_head next;
	uint64_t found;
	if (use == r->newest) return;
	uint64_t later = use + 1;
	while (later <= r->newest && !head_search(r, later, 0, r->next_number, &found, &next)) later++;
	if (later > r->newest || next.number == r->next_number || r->next_number == 0) return;
	if (later == use + 1 && found == 0) {
		uint64_t end = r->log->journal.slot_bytes;
		damage_before(r, &next, place_text(r, use, at, end));
		salvage(r, use, at, end);
		r->next_number = next.number;
		r->chain = next.chain;
	}
}

/* Why the slot of a use that is needed does not hold it whole; NULL when it seems to. */
static const char *slot_fault(const struct replay *r, uint64_t use)
{
	const struct slot_state *s = &r->slots[slot_of(r, use)];
	if (log_fault(r->log, FAULT_bug_s4_missing_is_empty)) return NULL;
	return s->is_missing ? "a slot of the journal is missing"
	       : s->is_short ? "a slot of the journal is too short"
			     : NULL;
}

static enum err replay_use(struct replay *r, uint64_t use)
{
	struct block_head h;
	uint64_t at = 0;
	r->end_use = use;
	for (;;) {
		enum err e = head_at(r, use, at, &h);
		if (r->error != OK) return r->error;
		bool is_next = e == OK && (r->next_number == 0 || h.number >= r->next_number);
		if (r->log->key.is_unseeded && e == OK) is_next = true;
		if (!is_next && !replay_gap(r, use, &at)) break;
		if (!is_next) continue;
		if (!replay_block(r, &h)) {
			if (use < r->newest && log_fault(r->log, FAULT_bug_s6_cut_damage)) r->newest = use;
			break;
		}
		at += block_bytes(&h);
	}
	r->end_at = at;
	const char *fault = slot_fault(r, use);
	if (fault && (use == r->newest || r->slots[slot_of(r, use)].is_missing)) replay_doubt_all(r, fault);
	replay_use_end(r, use, at);
	return r->error;
}

enum err replay_run(struct replay *r)
{
	r->next_number = 0;
	r->settled = (struct settled) { 0 };
	r->has_base = r->lacks_groups = r->lacks_recorded = false;
	r->good_bytes = 0;
	for (uint64_t use = r->oldest; use <= r->newest; use++) {
		enum err e = replay_use(r, use);
		if (e != OK) return e;
	}
	if (r->unreadable_pos && r->unreadable_pos >= journal_pos(r->log, r->end_use, r->end_at))
		replay_doubt_all(r, "the end of the journal cannot be read");
	/* S4: the newest slot may be the one that vanished. */
	const char *fault = slot_fault(r, r->newest + 1);
	if (fault) replay_doubt_all(r, fault);
	if (!r->has_base) replay_doubt_all(r, "no table of the journal is readable");
	return r->error;
}

void replay_deinit(struct replay *r)
{
	mem_free(r->slots);
	buf_deinit(&r->window);
	buf_deinit(&r->last_ids);
	*r = (struct replay) { 0 };
}
