/* SPDX-License-Identifier: Apache-2.0 */
/* How many messages match, from a sequence on: of the whole stream by subject, of its rear part by block. Both may be long, so they go in steps.
 *
 *   by subject   [id 0][id 1]…|next … id_next       a subject's count is taken when `next` passes it
 *   by block     from ─> [block]…|next … the last   a block's counts are, likewise
 *
 * What is stored or removed behind `next` changes what was counted; before it, it will be seen as it is then. */
#include "stream_internal.h"

#include "thebes/wire.h"

enum { LOOK_WORK = 60, PATTERN_WORK = 60, MEMO_WORK = 2 };

static uint64_t block_of(uint64_t seq) { return seq >> SEQ_BLOCK_SHIFT; }

static void spend(uint64_t *work, uint64_t cost) { *work -= u64_min(*work, cost); }

static bool wants(const struct stream *s, struct stream_counter *c, uint32_t id, uint64_t *work)
{
	const struct subject_entry *e = subjects_by_id(&s->machine.subjects, id);
	/* an id may be another subject's since the memo was begun */
	bool remembers = c->memo && e && id < c->memo_ids && e->born <= c->births;
	spend(work, MEMO_WORK);
	if (remembers && c->memo[id]) return c->memo[id] == 2;
	spend(work, LOOK_WORK + c->filter_count * PATTERN_WORK);
	bool wanted = e && filters_match(c->filters, c->filter_count, subject_name(e));
	if (remembers) c->memo[id] = wanted ? 2 : 1;
	return wanted;
}

static uint64_t count_block(const struct stream *s, struct stream_counter *c, const struct seq_block *k, uint64_t *work)
{
	uint64_t n = 0;
	if (c->filter_count == 0) return k->live;
	for (uint32_t i = 0; i < k->subject_count; i++)
		if (wants(s, c, k->subjects[i].id, work)) n += k->subjects[i].count;
	return n;
}

/* The block that `from` lies in, from there on. */
static enum err count_rest_of_block(const struct stream *s, struct stream_counter *c, uint64_t from)
{
	const struct seq_index *ix = &s->machine.seqs;
	const struct seq_block *k = seq_index_block(ix, block_of(from));
	uint64_t work = UINT64_MAX, behind = 0, matching = k ? count_block(s, c, k, &work) : 0;
	if (matching == 0) return OK;
	for (uint64_t seq = from; block_of(seq) == k->number && seq <= ix->last_seq; seq++)
		behind += seq_index_is_live(ix, seq);
	if (matching != k->live && behind != 0) return ERR_AGAIN;
	c->n = behind;
	return OK;
}

/* Filters without wildcards are looked up. */
static bool count_literals(const struct stream *s, struct stream_counter *c)
{
	for (size_t i = 0; i < c->filter_count; i++)
		if (!subject_is_literal(c->filters[i])) return false;
	for (size_t i = 0; i < c->filter_count; i++) {
		const struct subject_entry *e = subjects_find(&s->machine.subjects, c->filters[i]);
		bool is_again = false;
		for (size_t k = 0; k < i; k++) is_again |= slice_eq(c->filters[k], c->filters[i]);
		if (e && !is_again) c->n += e->count;
	}
	return true;
}

enum err stream_count_begin(const struct stream *s, struct stream_counter *c, const struct slice *filters,
	size_t filter_count, uint64_t from)
{
	const struct seq_index *ix = &s->machine.seqs;
	*c = (struct stream_counter) { .bound = ix->live,
		.filters = filters,
		.filter_count = filter_count,
		.from = from,
		.births = s->machine.subjects.births };
	if (ix->live == 0 || from > ix->last_seq) {
		c->bound = 0;
		c->is_done = true;
		return OK;
	}
	if (from <= ix->first_seq) {
		c->by_subject = true;
		if (filter_count == 0) c->n = ix->live;
		c->is_done = filter_count == 0 || count_literals(s, c);
		return OK;
	}
	c->next = block_of(from + SEQ_BLOCK_SEQS - 1);
	c->from = c->next << SEQ_BLOCK_SHIFT;
	if (filter_count && block_of(ix->last_seq) >= c->next) {
		c->memo_ids = s->machine.subjects.id_next;
		c->memo = mem_zalloc(c->memo_ids);
	}
	return c->from == from ? OK : count_rest_of_block(s, c, from);
}

static void step_subject(const struct stream *s, struct stream_counter *c, uint64_t *work)
{
	const struct subject_entry *e = subjects_by_id(&s->machine.subjects, (uint32_t)c->next);
	if (e && wants(s, c, (uint32_t)c->next, work))
		c->n += e->count;
	else
		spend(work, MEMO_WORK);
}

bool stream_count_more(const struct stream *s, struct stream_counter *c, uint64_t *work)
{
	const struct seq_index *ix = &s->machine.seqs;
	if (c->is_done) return true;
	uint64_t end = c->by_subject ? s->machine.subjects.id_next : ix->base + ix->count;
	if (!c->by_subject) c->next = u64_max(c->next, ix->base);
	for (; c->next < end; c->next++) {
		if (*work == 0) return false;
		const struct seq_block *k = c->by_subject ? NULL : seq_index_block(ix, c->next);
		if (c->by_subject) step_subject(s, c, work);
		if (!k) continue;
		spend(work, LOOK_WORK);
		c->n += count_block(s, c, k, work);
	}
	c->is_done = true;
	return true;
}

bool stream_count_is_past(const struct stream *s, const struct stream_counter *c, uint64_t seq, struct slice subject)
{
	if (c->is_done || seq < c->from) return true;
	if (!c->by_subject) return block_of(seq) < c->next;
	const struct subject_entry *e = subjects_find(&s->machine.subjects, subject);
	return e && e->id < c->next;
}

void stream_count_end(struct stream_counter *c)
{
	mem_free(c->memo);
	c->memo = NULL;
}
