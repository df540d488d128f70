/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "log_internal.h"

static void runs_know_terms(void **state)
{
	(void)state;
	struct term_runs r = { 0 };
	assert_int_equal(runs_term(&r, 5), 0);
	static const uint64_t terms[] = { 0, 1, 1, 1, 4, 4, 7, 7, 7, 7, 9 };
	for (uint64_t i = 1; i < COUNT_OF(terms); i++) runs_add(&r, i, terms[i]);
	assert_int_equal(r.count, 4);
	for (uint64_t i = 1; i < COUNT_OF(terms); i++) assert_int_equal(runs_term(&r, i), terms[i]);
	assert_int_equal(runs_term(&r, 0), 0);
	assert_int_equal(runs_term(&r, 1000), 9);
	runs_truncate(&r, 6);
	assert_int_equal(runs_term(&r, 6), 4);
	runs_add(&r, 6, 8);
	assert_int_equal(runs_term(&r, 6), 8);
	runs_trim(&r, 5);
	assert_int_equal(runs_term(&r, 5), 4);
	assert_int_equal(runs_term(&r, 3), 0);
	assert_int_equal(r.count, 2);
	runs_deinit(&r);
}

/* Entries that moved fill a gap from its lower end, below others that are known. */
static void runs_are_filled_below(void **state)
{
	(void)state;
	struct term_runs r = { 0 };
	runs_add(&r, 1, 1);
	runs_insert(&r, 10, 5); /* a table says so; 2..9 are not seen yet */
	runs_add(&r, 11, 6);
	static const uint64_t terms[] = { 0, 1, 1, 2, 2, 3, 3, 3, 5, 5, 5, 6 };
	for (uint64_t i = 2; i < 10; i++) runs_insert(&r, i, terms[i]);
	for (uint64_t i = 1; i < COUNT_OF(terms); i++) assert_int_equal(runs_term(&r, i), terms[i]);
	runs_deinit(&r);
}

static void runs_are_bounded(void **state)
{
	(void)state;
	struct term_runs r = { 0 };
	for (uint64_t i = 1; i <= 20000; i++) runs_add(&r, i, i);
	assert_true(r.count <= 8192);
	assert_int_equal(runs_term(&r, 20000), 20000);
	assert_int_equal(runs_term(&r, 1), 0);
	runs_deinit(&r);
}

static struct segment_info segment(uint64_t first, uint64_t last)
{
	return (struct segment_info) { .first_index = first,
		.last_index = last,
		.bytes = 64 + (last - first + 1) * 64,
		.entry_count = (uint32_t)(last - first + 1),
		.seq_last = last,
		.term_last = 2 };
}

static void meta_sample(struct group_meta *m)
{
	*m = (struct group_meta) { .generation = 3,
		.state_index = 90,
		.state_term = 2,
		.conf_index = 7,
		.contiguous_from = 5,
		.settled_index = 80,
		.settled_seq = 88 };
	buf_append_str(&m->conf, "configuration");
	runs_add(&m->runs, 1, 1);
	runs_add(&m->runs, 50, 2);
	struct segment_info a = segment(1, 40), b = segment(42, 80);
	segment_list_push(&m->segments, &a);
	segment_list_push(&m->segments, &b);
}

static void a_meta_comes_back(void **state)
{
	(void)state;
	struct group_meta m, back;
	struct buf bytes = { 0 }, again = { 0 };
	meta_sample(&m);
	group_meta_encode(&m, &bytes);
	assert_int_equal(bytes.n % 8, 0);
	assert_int_equal(group_meta_decode(buf_slice(&bytes), &back), OK);
	group_meta_encode(&back, &again);
	assert_true(slice_eq(buf_slice(&bytes), buf_slice(&again)));
	assert_true(slice_eq_str(buf_slice(&back.conf), "configuration"));
	assert_int_equal(back.segments.rows[1].first_index, 42);
	group_meta_deinit(&back);
	for (size_t cut = 0; cut < bytes.n; cut++) {
		assert_int_equal(group_meta_decode(slice_of(bytes.p, cut), &back), ERR_CORRUPT);
		group_meta_deinit(&back);
	}
	buf_append_byte(&bytes, 0);
	assert_int_equal(group_meta_decode(buf_slice(&bytes), &back), ERR_CORRUPT);
	group_meta_deinit(&back);
	group_meta_deinit(&m);
	buf_deinit(&bytes);
	buf_deinit(&again);
}

/* Counts from the disk are compared with the bytes that are there before anything is allocated for them. */
static void lying_metas_are_refused(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		uint32_t value;
		enum err e;
	} lies[] = {
		{ 0, 2, ERR_FORMAT }, { 0, 0, ERR_CORRUPT }, { 4, UINT32_MAX, ERR_CORRUPT }, { 4, 1, ERR_CORRUPT },
		{ 64, UINT32_MAX, ERR_CORRUPT }, { 68, UINT32_MAX, ERR_CORRUPT }, { 68, 0x10000000, ERR_CORRUPT },
		{ 8, 0, ERR_CORRUPT },  /* generation */
		{ 48, 79, ERR_CORRUPT } /* a segment above what is settled */
	};
	struct group_meta m, back;
	struct buf bytes = { 0 };
	meta_sample(&m);
	group_meta_encode(&m, &bytes);
	for (size_t i = 0; i < COUNT_OF(lies); i++) {
		uint32_t before = le32_get(bytes.p + lies[i].at);
		le32_put(bytes.p + lies[i].at, lies[i].value);
		assert_int_equal(group_meta_decode(buf_slice(&bytes), &back), lies[i].e);
		group_meta_deinit(&back);
		le32_put(bytes.p + lies[i].at, before);
	}
	group_meta_deinit(&m);
	buf_deinit(&bytes);
}

static void tables_come_back(void **state)
{
	(void)state;
	uint8_t bytes[TABLE_HEAD_BYTES + 2 * TABLE_ROW_BYTES];
	struct table_head h = { { 9, 8, 7, 6, 5, 4 }, 1000, 2, TABLE_LACKS_GROUPS }, head_back;
	struct table_row rows[2] = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }, { .id = 13, .doubt_from = 14 } }, back;
	table_head_encode(&h, bytes);
	for (unsigned i = 0; i < 2; i++) table_row_encode(&rows[i], bytes + TABLE_HEAD_BYTES + i * TABLE_ROW_BYTES);
	assert_int_equal(table_head_decode(slice_of(bytes, sizeof bytes), &head_back), OK);
	assert_memory_equal(&h, &head_back, sizeof h);
	for (unsigned i = 0; i < 2; i++) {
		table_row_decode(slice_of(bytes, sizeof bytes), i, &back);
		assert_memory_equal(&rows[i], &back, sizeof back);
	}
	assert_int_equal(table_head_decode(slice_of(bytes, sizeof bytes - 8), &head_back), ERR_CORRUPT);
	assert_int_equal(table_head_decode(slice_of(bytes, TABLE_HEAD_BYTES - 1), &head_back), ERR_CORRUPT);
	le64_put(bytes + SETTLED_BYTES + 8, UINT64_MAX);
	assert_int_equal(table_head_decode(slice_of(bytes, sizeof bytes), &head_back), ERR_CORRUPT);
}

static void an_install_comes_back(void **state)
{
	(void)state;
	struct install_body b = { .generation = 4,
		.contiguous_from = 20,
		.conf_index = 3,
		.seq_last = 44,
		.state_bytes = 555,
		.state_crc = 666,
		.conf = SLICE("c") };
	struct segment_info s = segment(20, 30);
	segment_list_push(&b.segments, &s);
	runs_add(&b.runs, 20, 2);
	struct buf bytes = { 0 };
	struct install_body back;
	install_body_encode(&b, &bytes);
	assert_int_equal(install_body_decode(buf_slice(&bytes), &back), OK);
	assert_int_equal(back.generation, 4);
	assert_int_equal(back.state_crc, 666);
	assert_true(slice_eq_str(back.conf, "c"));
	assert_int_equal(back.segments.rows[0].last_index, 30);
	install_body_deinit(&back);
	for (size_t cut = 0; cut < bytes.n; cut++) {
		assert_int_equal(install_body_decode(slice_of(bytes.p, cut), &back), ERR_CORRUPT);
		install_body_deinit(&back);
	}
	install_body_deinit(&b);
	buf_deinit(&bytes);
}

static void settled_is_checked(void **state)
{
	(void)state;
	uint8_t bytes[SETTLED_BYTES];
	struct settled s = { 3, 33, 2, 22, 9, 8 }, back;
	settled_encode(&s, bytes);
	assert_int_equal(settled_decode(slice_of(bytes, sizeof bytes), &back), OK);
	assert_memory_equal(&s, &back, sizeof s);
	assert_int_equal(settled_decode(slice_of(bytes, sizeof bytes - 1), &back), ERR_CORRUPT);
	s.use_before = 10; /* a round does not settle less than the one before */
	settled_encode(&s, bytes);
	assert_int_equal(settled_decode(slice_of(bytes, sizeof bytes), &back), ERR_CORRUPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_know_terms),
		cmocka_unit_test(runs_are_filled_below),
		cmocka_unit_test(runs_are_bounded),
		cmocka_unit_test(a_meta_comes_back),
		cmocka_unit_test(lying_metas_are_refused),
		cmocka_unit_test(tables_come_back),
		cmocka_unit_test(an_install_comes_back),
		cmocka_unit_test(settled_is_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
