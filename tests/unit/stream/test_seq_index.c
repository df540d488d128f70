/* SPDX-License-Identifier: Apache-2.0 */
/* The index of live sequences against an array that says the same of every sequence one by one, under random stores, skips, removals,
 * drops of whole blocks and clears, written out and read back in between. */
#include "check.h"

#include "seq_index.h"

enum { SEQS = 12000, SUBJECTS = 40 };

struct model {
	uint64_t random, last;
	bool live[SEQS + 1];
	uint32_t subject[SEQS + 1];
	uint64_t bytes[SEQS + 1];
};

static uint64_t below(struct model *m, uint64_t bound)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random % bound;
}

static uint64_t model_next(const struct model *m, uint64_t from, uint32_t subject)
{
	for (uint64_t seq = from; seq <= m->last; seq++)
		if (m->live[seq] && (subject == UINT32_MAX || m->subject[seq] == subject)) return seq;
	return 0;
}

static bool is_subject(void *arg, uint32_t id) { return id == *(const uint32_t *)arg; }

static void check_same(struct model *m, const struct seq_index *ix)
{
	uint64_t live = 0, bytes = 0, first = 0;
	for (uint64_t seq = 1; seq <= m->last; seq++) {
		assert_int_equal(seq_index_is_live(ix, seq), m->live[seq]);
		if (!m->live[seq]) continue;
		if (!first) first = seq;
		live++;
		bytes += m->bytes[seq];
	}
	assert_int_equal(ix->live, live);
	assert_int_equal(ix->bytes, bytes);
	assert_int_equal(ix->last_seq, m->last);
	if (m->last) assert_int_equal(ix->first_seq, first ? first : m->last + 1);
	assert_int_equal(seq_index_gone_count(ix), live ? m->last - first + 1 - live : 0);
	assert_false(seq_index_is_live(ix, 0));
	assert_false(seq_index_is_live(ix, m->last + 1));
	for (int i = 0; i < 20; i++) {
		uint64_t from = below(m, m->last + 2);
		assert_int_equal(seq_index_next(ix, from, NULL, NULL), model_next(m, from ? from : 1, UINT32_MAX));
		uint32_t subject = (uint32_t)below(m, SUBJECTS);
		uint64_t number = below(m, (m->last >> SEQ_BLOCK_SHIFT) + 2), count = 0;
		for (uint64_t seq = u64_max(number << SEQ_BLOCK_SHIFT, 1); seq <= m->last; seq++)
			count += m->live[seq] && m->subject[seq] == subject;
		assert_int_equal(seq_index_count(ix, number, is_subject, &subject), count);
		/* a candidate may be of another subject, but it is never behind the next that is wanted */
		uint64_t candidate = seq_index_next(ix, from, is_subject, &subject),
			 wanted = model_next(m, from ? from : 1, subject);
		if (wanted) assert_true(candidate && candidate <= wanted);
	}
}

/* Everything through its encoding, as a capture and a restore do it. */
static void reload(struct seq_index *ix)
{
	struct seq_index again;
	struct buf b = { 0 };
	seq_index_init(&again);
	for (uint64_t n = ix->base; n < ix->base + ix->count; n++) {
		const struct seq_block *k = seq_index_block(ix, n);
		if (!k) continue;
		buf_clear(&b);
		seq_block_encode(&b, k);
		assert_int_equal(seq_index_decode_block(&again, n, buf_slice(&b)), OK);
		assert_int_equal(seq_index_decode_block(&again, n, buf_slice(&b)), ERR_CORRUPT); /* twice */
	}
	seq_index_restore(&again, ix->first_seq, ix->last_seq);
	buf_deinit(&b);
	seq_index_deinit(ix);
	*ix = again;
	list_init(&ix->dirty);
}

static void dropped(void *arg, uint32_t subject, uint32_t count) { ((uint64_t *)arg)[subject] += count; }

static void drop(struct model *m, struct seq_index *ix, uint64_t number)
{
	uint64_t heard[SUBJECTS] = { 0 }, want[SUBJECTS] = { 0 };
	for (uint64_t seq = 1; seq < number << SEQ_BLOCK_SHIFT && seq <= m->last; seq++) {
		if (m->live[seq]) want[m->subject[seq]]++;
		m->live[seq] = false;
	}
	seq_index_drop_blocks(ix, number, dropped, heard);
	assert_memory_equal(heard, want, sizeof heard);
}

static void step(struct model *m, struct seq_index *ix, unsigned *did)
{
	uint64_t what = below(m, 1000), seq = below(m, m->last + 1);
	if (what < 600) {
		uint64_t next = m->last + 1;
		uint32_t subject = (uint32_t)below(m, SUBJECTS);
		uint64_t bytes = 30 + below(m, 1000);
		seq_index_store(ix, next, subject, bytes);
		m->live[next] = true;
		m->subject[next] = subject;
		m->bytes[next] = bytes;
		m->last = next;
	} else if (what < 620) {
		seq_index_skip(ix, ++m->last);
	} else if (what < 980) {
		if (what < 800) seq = ix->first_seq; /* from the front, as limits do */
		if (seq == 0 || seq > m->last || !m->live[seq]) return;
		seq_index_remove(ix, seq, m->subject[seq], m->bytes[seq]);
		m->live[seq] = false;
		did[1]++;
	} else if (what < 990) {
		drop(m, ix, (seq >> SEQ_BLOCK_SHIFT));
		did[2]++;
	} else if (what == 990 && below(m, 8) == 0) {
		seq_index_clear(ix);
		memset(m->live, 0, sizeof m->live);
		did[3]++;
	}
}

static void behaves_like_an_array(void **state)
{
	unsigned did[4] = { 0 };
	(void)state;
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct model *m = NEW(struct model);
		struct seq_index ix;
		m->random = seed * 0x9e3779b97f4a7c15u;
		seq_index_init(&ix);
		for (unsigned n = 0; m->last < SEQS; n++) {
			step(m, &ix, did);
			if (n % 1500 == 0) check_same(m, &ix);
			if (n % 2500 == 0) reload(&ix);
		}
		check_same(m, &ix);
		seq_index_deinit(&ix);
		mem_free(m);
	}
	assert_true(did[1] > 10000 && did[2] > 100 && did[3] > 5);
}

static void damaged_blocks_are_refused(void **state)
{
	struct seq_index ix, to;
	struct buf b = { 0 };
	(void)state;
	seq_index_init(&ix);
	for (uint64_t seq = 1; seq < 10; seq++) seq_index_store(&ix, seq, (uint32_t)seq % 3, 40);
	seq_index_remove(&ix, 4, 1, 40);
	seq_block_encode(&b, seq_index_block(&ix, 0));
	for (size_t n = 0; n < b.n; n++) {
		seq_index_init(&to);
		assert_int_equal(seq_index_decode_block(&to, 0, slice_of(b.p, n)), ERR_CORRUPT);
		seq_index_deinit(&to);
	}
	static const size_t heads[] = { 0, 4, 16, 20 }; /* live, assigned, subjects, bitmap: larger than can be */
	for (size_t i = 0; i < COUNT_OF(heads); i++) {
		uint32_t was = le32_get(b.p + heads[i]);
		le32_put(b.p + heads[i], 4000);
		seq_index_init(&to);
		assert_int_equal(seq_index_decode_block(&to, 0, buf_slice(&b)), ERR_CORRUPT);
		seq_index_deinit(&to);
		le32_put(b.p + heads[i], was);
	}
	buf_deinit(&b);
	seq_index_deinit(&ix);
}

static void lost_sequences_are_skipped(void **state)
{
	struct seq_index ix;
	(void)state;
	seq_index_init(&ix);
	seq_index_skip_to(&ix, 5000); /* nothing is alive: at once */
	assert_int_equal(ix.first_seq, 5001);
	assert_int_equal(ix.last_seq, 5000);
	seq_index_store(&ix, 5001, 0, 10);
	seq_index_skip_to(&ix, 9000);
	seq_index_skip_to(&ix, 100); /* not backwards */
	assert_int_equal(ix.last_seq, 9000);
	seq_index_store(&ix, 9001, 1, 20);
	assert_int_equal(ix.live, 2);
	assert_int_equal(ix.bytes, 30);
	assert_int_equal(seq_index_next(&ix, 5002, NULL, NULL), 9001);
	assert_false(seq_index_is_live(&ix, 5000) || seq_index_is_live(&ix, 9000));
	assert_int_equal(seq_index_gone_count(&ix), 3999);
	seq_index_deinit(&ix);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(behaves_like_an_array),
		cmocka_unit_test(damaged_blocks_are_refused),
		cmocka_unit_test(lost_sequences_are_skipped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
