/* SPDX-License-Identifier: Apache-2.0 */
/* Live sequences in blocks. The common case is a store at the end and a removal at the front; holes cost a bitmap of their block. */
#include "seq_index.h"

static uint64_t number_of(uint64_t seq) { return seq >> SEQ_BLOCK_SHIFT; }
static uint32_t slot_of(uint64_t seq) { return (uint32_t)(seq & (SEQ_BLOCK_SEQS - 1)); }

void seq_index_init(struct seq_index *ix)
{
	*ix = (struct seq_index) { 0 };
	list_init(&ix->dirty);
}

static void block_free(struct seq_block *k)
{
	if (!k) return;
	list_remove_if_linked(&k->link_by_dirty);
	mem_free(k->subjects);
	mem_free(k->gone);
	mem_free(k);
}

void seq_index_deinit(struct seq_index *ix)
{
	for (size_t i = 0; i < ix->count; i++) block_free(ix->blocks[ix->head + i]);
	mem_free(ix->blocks);
	mem_free(ix->freed);
	*ix = (struct seq_index) { 0 };
}

static void touch(struct seq_index *ix, struct seq_block *k)
{
	k->captured = false;
	if (!list_is_linked(&k->link_by_dirty)) list_push_back(&ix->dirty, &k->link_by_dirty);
}

struct seq_block *seq_index_block(const struct seq_index *ix, uint64_t number)
{
	if (number < ix->base || number - ix->base >= ix->count) return NULL;
	return ix->blocks[ix->head + (size_t)(number - ix->base)];
}

static void make_room(struct seq_index *ix, size_t more)
{
	if (ix->head + ix->count + more <= ix->cap) return;
	if (ix->head > ix->count + more) {
		memmove(ix->blocks, ix->blocks + ix->head, ix->count * sizeof(struct seq_block *));
		ix->head = 0;
		return;
	}
	ix->cap = (ix->head + ix->count + more) * 2;
	ix->blocks = mem_realloc(ix->blocks, ix->cap * sizeof(struct seq_block *));
}

static struct seq_block *block_make(struct seq_index *ix, uint64_t number)
{
	if (ix->count == 0) {
		ix->base = number;
		ix->head = 0;
	}
	ASSERT(number >= ix->base);
	size_t more = (size_t)(number - ix->base) + 1 > ix->count ? (size_t)(number - ix->base) + 1 - ix->count : 0;
	make_room(ix, more);
	for (size_t i = 0; i < more; i++) ix->blocks[ix->head + ix->count++] = NULL;
	struct seq_block **at = &ix->blocks[ix->head + (size_t)(number - ix->base)];
	if (!*at) {
		*at = NEW(struct seq_block);
		(*at)->number = number;
	}
	return *at;
}

static void count_subject(struct seq_block *k, uint32_t subject)
{
	/* neighbours in time are neighbours in subject: look from the back */
	for (uint32_t i = k->subject_count; i-- > 0;) {
		if (k->subjects[i].id != subject) continue;
		k->subjects[i].count++;
		return;
	}
	if (k->subject_count == k->subject_cap) {
		k->subject_cap = k->subject_cap ? k->subject_cap * 2 : 4;
		k->subjects = mem_realloc(k->subjects, k->subject_cap * sizeof *k->subjects);
	}
	k->subjects[k->subject_count++] = (struct seq_block_subject) { subject, 1 };
}

static void uncount_subject(struct seq_block *k, uint32_t subject)
{
	for (uint32_t i = 0; i < k->subject_count; i++) {
		if (k->subjects[i].id != subject) continue;
		ASSERT(k->subjects[i].count > 0);
		if (--k->subjects[i].count == 0) k->subjects[i] = k->subjects[--k->subject_count];
		return;
	}
	UNREACHABLE();
}

static void set_gone(struct seq_block *k, uint32_t slot)
{
	if (!k->gone) { k->gone = mem_zalloc(SEQ_BLOCK_WORDS * sizeof *k->gone); }
	k->gone[slot / 64] |= (uint64_t)1 << (slot % 64);
}

static bool is_gone(const struct seq_block *k, uint32_t slot)
{
	return k->gone && (k->gone[slot / 64] >> (slot % 64) & 1);
}

/* A block is whole when its last sequence was given out: only then may an empty one be freed. */
static bool is_whole(const struct seq_index *ix, const struct seq_block *k)
{
	return number_of(ix->last_seq) > k->number || slot_of(ix->last_seq) == SEQ_BLOCK_SEQS - 1;
}

static void note_freed(struct seq_index *ix, uint64_t number)
{
	if (ix->freed_count == ix->freed_cap) {
		ix->freed_cap = ix->freed_cap ? ix->freed_cap * 2 : 8;
		ix->freed = mem_realloc(ix->freed, ix->freed_cap * sizeof *ix->freed);
	}
	ix->freed[ix->freed_count++] = number;
}

static void free_if_empty(struct seq_index *ix, struct seq_block *k)
{
	if (k->live || !is_whole(ix, k)) return;
	note_freed(ix, k->number);
	ix->blocks[ix->head + (size_t)(k->number - ix->base)] = NULL;
	block_free(k);
	while (ix->count && !ix->blocks[ix->head]) {
		ix->head++;
		ix->base++;
		ix->count--;
	}
}

static void extend(struct seq_index *ix, uint64_t seq)
{
	ASSERT(seq == ix->last_seq + 1 || (ix->live == 0 && seq > ix->last_seq));
	ix->last_seq = seq;
}

void seq_index_store(struct seq_index *ix, uint64_t seq, uint32_t subject, uint64_t bytes)
{
	extend(ix, seq);
	if (ix->live == 0) ix->first_seq = seq;
	struct seq_block *k = block_make(ix, number_of(seq));
	k->assigned = slot_of(seq) + 1;
	k->live++;
	k->bytes += bytes;
	count_subject(k, subject);
	ix->live++;
	ix->bytes += bytes;
	touch(ix, k);
}

void seq_index_skip(struct seq_index *ix, uint64_t seq)
{
	extend(ix, seq);
	struct seq_block *k = block_make(ix, number_of(seq));
	k->assigned = slot_of(seq) + 1;
	set_gone(k, slot_of(seq));
	if (ix->live == 0) ix->first_seq = seq + 1;
	touch(ix, k);
	free_if_empty(ix, k);
}

void seq_index_skip_to(struct seq_index *ix, uint64_t seq)
{
	while (ix->live && ix->last_seq < seq) seq_index_skip(ix, ix->last_seq + 1);
	if (ix->last_seq >= seq) return;
	seq_index_clear(ix);
	ix->last_seq = seq;
	seq_index_clear(ix);
}

bool seq_index_is_live(const struct seq_index *ix, uint64_t seq)
{
	if (seq < ix->first_seq || seq > ix->last_seq || seq == 0) return false;
	const struct seq_block *k = seq_index_block(ix, number_of(seq));
	return k && slot_of(seq) < k->assigned && !is_gone(k, slot_of(seq));
}

static void raise_first(struct seq_index *ix)
{
	uint64_t next = seq_index_next(ix, ix->first_seq, NULL, NULL);
	ix->first_seq = next ? next : ix->last_seq + 1;
}

void seq_index_remove(struct seq_index *ix, uint64_t seq, uint32_t subject, uint64_t bytes)
{
	ASSERT(seq_index_is_live(ix, seq));
	struct seq_block *k = seq_index_block(ix, number_of(seq));
	ASSERT(k->bytes >= bytes && ix->bytes >= bytes);
	set_gone(k, slot_of(seq));
	k->live--;
	k->bytes -= bytes;
	ix->live--;
	ix->bytes -= bytes;
	uncount_subject(k, subject);
	touch(ix, k);
	free_if_empty(ix, k);
	if (seq == ix->first_seq) raise_first(ix);
}

void seq_index_drop_blocks(struct seq_index *ix, uint64_t number, seq_block_each_fn *each, void *arg)
{
	while (ix->count && ix->base < number) {
		struct seq_block *k = ix->blocks[ix->head];
		if (k) {
			for (uint32_t i = 0; i < k->subject_count; i++)
				each(arg, k->subjects[i].id, k->subjects[i].count);
			ix->live -= k->live;
			ix->bytes -= k->bytes;
			note_freed(ix, k->number);
			block_free(k);
		}
		ix->head++;
		ix->base++;
		ix->count--;
	}
	uint64_t least = number << SEQ_BLOCK_SHIFT;
	if (ix->first_seq < least) ix->first_seq = least <= ix->last_seq ? least : ix->last_seq + 1;
	raise_first(ix);
}

void seq_index_clear(struct seq_index *ix)
{
	for (size_t i = 0; i < ix->count; i++) {
		struct seq_block *k = ix->blocks[ix->head + i];
		if (!k) continue;
		note_freed(ix, k->number);
		block_free(k);
	}
	ix->count = ix->head = 0;
	ix->live = ix->bytes = 0;
	ix->first_seq = ix->last_seq + 1;
	if (slot_of(ix->last_seq) == SEQ_BLOCK_SEQS - 1 || ix->last_seq == 0) return;
	/* the block that is still being filled starts with everything gone */
	struct seq_block *k = block_make(ix, number_of(ix->last_seq));
	k->assigned = slot_of(ix->last_seq) + 1;
	for (uint32_t i = 0; i < k->assigned; i++) set_gone(k, i);
	touch(ix, k);
}

static bool block_has(const struct seq_block *k, seq_wanted_fn *wanted, void *arg)
{
	if (!wanted) return k->live > 0;
	for (uint32_t i = 0; i < k->subject_count; i++)
		if (wanted(arg, k->subjects[i].id)) return true;
	return false;
}

static uint64_t next_in_block(const struct seq_block *k, uint32_t slot)
{
	for (; slot < k->assigned; slot++) {
		if (k->gone && slot % 64 == 0 && k->gone[slot / 64] == UINT64_MAX) {
			slot += 63;
			continue;
		}
		if (!is_gone(k, slot)) return (k->number << SEQ_BLOCK_SHIFT) + slot;
	}
	return 0;
}

uint64_t seq_index_next(const struct seq_index *ix, uint64_t seq, seq_wanted_fn *wanted, void *arg)
{
	if (seq < ix->first_seq) seq = ix->first_seq;
	if (ix->live == 0 || seq == 0) return 0;
	uint64_t number = number_of(seq), end = ix->base + ix->count;
	if (number < ix->base) {
		number = ix->base;
		seq = number << SEQ_BLOCK_SHIFT;
	}
	for (; number < end; number++, seq = number << SEQ_BLOCK_SHIFT) {
		const struct seq_block *k = ix->blocks[ix->head + (size_t)(number - ix->base)];
		if (!k || !block_has(k, wanted, arg)) continue;
		uint64_t found = next_in_block(k, slot_of(seq));
		if (found) return found;
	}
	return 0;
}

uint64_t seq_index_count(const struct seq_index *ix, uint64_t number, seq_wanted_fn *wanted, void *arg)
{
	uint64_t n = 0;
	for (uint64_t at = u64_max(number, ix->base); at < ix->base + ix->count; at++) {
		const struct seq_block *k = ix->blocks[ix->head + (size_t)(at - ix->base)];
		if (!k) continue;
		if (!wanted) n += k->live;
		for (uint32_t i = 0; wanted && i < k->subject_count; i++)
			if (wanted(arg, k->subjects[i].id)) n += k->subjects[i].count;
	}
	return n;
}

uint64_t seq_index_gone_count(const struct seq_index *ix)
{
	return ix->live ? ix->last_seq - ix->first_seq + 1 - ix->live : 0;
}

/* ---- capture: live u32 | assigned u32 | bytes u64 | subjects u32 | has bitmap u32 | {id u32, count u32}… | bitmap ---- */

void seq_block_encode(struct buf *b, const struct seq_block *k)
{
	buf_append_le32(b, k->live);
	buf_append_le32(b, k->assigned);
	buf_append_le64(b, k->bytes);
	buf_append_le32(b, k->subject_count);
	buf_append_le32(b, k->gone != NULL);
	for (uint32_t i = 0; i < k->subject_count; i++) {
		buf_append_le32(b, k->subjects[i].id);
		buf_append_le32(b, k->subjects[i].count);
	}
	for (int i = 0; k->gone && i < SEQ_BLOCK_WORDS; i++) buf_append_le64(b, k->gone[i]);
}

enum err seq_index_decode_block(struct seq_index *ix, uint64_t number, struct slice bytes)
{
	const uint8_t *p = bytes.p;
	if (bytes.n < 24) return ERR_CORRUPT;
	uint32_t live = le32_get(p), assigned = le32_get(p + 4), subjects = le32_get(p + 16),
		 has_bitmap = le32_get(p + 20);
	uint64_t want = 24 + (uint64_t)subjects * 8 + (has_bitmap ? SEQ_BLOCK_WORDS * 8 : 0);
	if (assigned == 0 || assigned > SEQ_BLOCK_SEQS || live > assigned || subjects > live || has_bitmap > 1 ||
		want != bytes.n)
		return ERR_CORRUPT;
	if (ix->count && number < ix->base + ix->count) return ERR_CORRUPT; /* keys come in order */
	struct seq_block *k = block_make(ix, number);
	k->live = live;
	k->assigned = assigned;
	k->bytes = le64_get(p + 8);
	k->subject_count = k->subject_cap = subjects;
	k->subjects = mem_alloc((subjects + 1) * sizeof *k->subjects);
	for (uint32_t i = 0; i < subjects; i++)
		k->subjects[i] = (struct seq_block_subject) { le32_get(p + 24 + (size_t)i * 8),
			le32_get(p + 28 + (size_t)i * 8) };
	if (has_bitmap) {
		k->gone = mem_alloc(SEQ_BLOCK_WORDS * sizeof *k->gone);
		for (size_t i = 0; i < SEQ_BLOCK_WORDS; i++)
			k->gone[i] = le64_get(p + 24 + (size_t)subjects * 8 + i * 8);
	}
	ix->live += live;
	ix->bytes += k->bytes;
	return OK;
}

void seq_index_restore(struct seq_index *ix, uint64_t first_seq, uint64_t last_seq)
{
	ix->first_seq = first_seq;
	ix->last_seq = last_seq;
}
