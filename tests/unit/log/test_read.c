/* SPDX-License-Identifier: Apache-2.0 */
#include "log_fixture.h"

/* 60 entries: a third in segments, a third in slots, a third in memory. */
static void spread(struct fixture *f, struct owner *o)
{
	fixture_init(f);
	f->options.segment_bytes_max = 8 * 1024;
	fixture_open(f);
	owner_make(o, f, 1);
	for (unsigned part = 0; part < 3; part++) {
		for (unsigned i = 0; i < 20; i++) owner_append_now(o, 1, 400);
		if (part == 0) {
			owner_apply(o);
			settle(f);
		}
	}
	struct slice entry;
	log_turn_end(f->log);
	assert_int_equal(log_view(o->g, 20, &entry), ERR_AGAIN);
	assert_int_equal(log_view(o->g, 60, &entry), OK);
}

static void read_one(struct owner *o, struct read_waiter *w, uint64_t from, uint64_t to, uint64_t bytes, bool holes)
{
	*w = (struct read_waiter) {
		.req = { .done = read_waiter_done, .from = from, .to = to, .bytes_max = bytes, .holes = holes },
		.f = o->f
	};
	log_read(o->g, &w->req);
	run(o->f);
}

static uint64_t first_index_of(const struct read_waiter *w)
{
	struct entry_head h;
	assert_int_equal(entry_head_decode(buf_slice(&w->req.entries), &h), OK);
	return h.index;
}

static void every_range_is_read(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	spread(&f, &o);
	for (uint64_t from = 1; from <= 60; from += 7)
		for (uint64_t to = from; to <= 60; to += 11)
			assert_int_equal(read_and_check(&o, from, to), to - from + 1);
	fixture_end(&f);
}

static void at_least_one_and_no_more_than_asked(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct read_waiter w;
	spread(&f, &o);
	static const uint64_t places[] = { 1, 19, 20, 21, 40, 41, 59, 60 };
	for (size_t i = 0; i < COUNT_OF(places); i++) {
		read_one(&o, &w, places[i], 60, 1, false);
		assert_int_equal(w.req.result, OK);
		assert_int_equal(first_index_of(&w), places[i]);
		assert_int_equal(w.req.next, places[i] + 1);
		buf_deinit(&w.req.entries);
		read_one(&o, &w, places[i], 60, 3000, false);
		assert_int_equal(w.req.result, OK);
		assert_true(w.req.entries.n <= 3000);
		buf_deinit(&w.req.entries);
	}
	fixture_end(&f);
}

static void what_is_not_there_is_said(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct read_waiter w;
	spread(&f, &o);
	read_one(&o, &w, 61, 70, 100, false);
	assert_int_equal(w.req.result, ERR_NOT_FOUND);
	log_trim(o.g, 18);
	settle(&f);
	read_one(&o, &w, 1, 60, 100, false);
	assert_int_equal(w.req.result, ERR_COMPACTED);
	read_one(&o, &w, 1, 60, 100, true);
	assert_int_equal(w.req.result, OK);
	assert_true(first_index_of(&w) > 1);
	buf_deinit(&w.req.entries);
	fixture_end(&f);
}

static void sequences_lead_to_entries(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	spread(&f, &o);
	for (uint64_t seq = 1; seq <= 61; seq++) {
		struct read_waiter w = { .req = { .done = read_waiter_done }, .f = &f };
		log_read_seq(o.g, seq, &w.req);
		run(&f);
		if (seq == 61) {
			assert_int_equal(w.req.result, ERR_NOT_FOUND);
			continue;
		}
		assert_int_equal(w.req.result, OK);
		assert_int_equal(first_index_of(&w), seq);
		buf_deinit(&w.req.entries);
	}
	fixture_end(&f);
}

/* Everything before the middle is dead and left out: the sequence leads to the first entry behind. */
static void sequences_jump_over_holes(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	spread(&f, &o);
	o.dead_below = 30;
	owner_apply(&o);
	settle(&f);
	struct read_waiter w = { .req = { .done = read_waiter_done }, .f = &f };
	log_read_seq(o.g, 25, &w.req);
	run(&f);
	assert_int_equal(w.req.result, OK);
	assert_int_equal(first_index_of(&w), 30);
	buf_deinit(&w.req.entries);
	fixture_end(&f);
}

static void damage_is_told_once_and_doubts_the_group(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct read_waiter w;
	spread(&f, &o);
	fixture_close(&f);
	char path[200];
	(void)snprintf(path, sizeof path, "%s/groups/0000000000000001/00000001/0000000000000001.seg", f.dir);
	FILE *file = fopen(path, "r+");
	assert_non_null(file);
	assert_int_equal(fseek(file, 64 + 300, SEEK_SET), 0);
	int c = fgetc(file);
	assert_int_equal(fseek(file, 64 + 300, SEEK_SET), 0);
	assert_int_equal(fputc(c ^ 1, file), c ^ 1);
	assert_int_equal(fclose(file), 0);
	f.is_quiet = true;
	fixture_open(&f);
	owner_attach(&o, &f, 1);
	struct log_group_info info;
	log_group_info(o.g, &info);
	assert_false(info.in_doubt);
	read_one(&o, &w, 1, 10, 10000, false);
	assert_int_equal(w.req.result, ERR_CORRUPT);
	assert_true(o.was_doubted);
	log_group_info(o.g, &info);
	assert_true(info.in_doubt);
	assert_int_equal(info.damaged_from, 1);
	assert_int_equal(info.contiguous_from, 2);
	read_one(&o, &w, 2, 10, 10000, false);
	assert_int_equal(w.req.result, OK); /* what is intact is still served */
	buf_deinit(&w.req.entries);
	fixture_close(&f);
	fixture_open(&f);
	log_group_info(log_group_find(f.log, 1), &info);
	assert_true(info.in_doubt);
	fixture_end(&f);
}

/* Reads that are overtaken by rounds are planned anew, those of a group that goes end. */
static void reads_are_overtaken(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	spread(&f, &o);
	struct read_waiter reads[40];
	for (unsigned i = 0; i < COUNT_OF(reads); i++) {
		reads[i] = (struct read_waiter) {
			.req = { .done = read_waiter_done, .from = i + 1, .to = 60, .bytes_max = 2000, .holes = true },
			.f = &f
		};
		log_read(o.g, &reads[i].req);
	}
	owner_apply(&o);
	log_settle_now(f.log, wait_on(&w, &f));
	unsigned target = f.done + COUNT_OF(reads) + 1;
	log_turn_end(f.log);
	while (f.done < target) io_uv_run(f.io);
	for (unsigned i = 0; i < COUNT_OF(reads); i++) {
		assert_int_equal(reads[i].req.result, OK);
		assert_int_equal(first_index_of(&reads[i]), i + 1);
		buf_deinit(&reads[i].req.entries);
	}
	struct read_waiter last = { .req = { .done = read_waiter_done, .from = 1, .to = 60, .bytes_max = 2000 },
		.f = &f };
	log_read(o.g, &last.req);
	log_group_gone(o.g, NULL);
	run(&f);
	assert_int_equal(last.req.result, ERR_CLOSED);
	fixture_end(&f);
}

static void reading_while_opening(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	spread(&f, &o);
	fixture_kill(&f);
	fixture_open(&f);
	uint64_t from = 1;
	while (from <= 60) {
		struct log_read_req r = { .from = from, .to = 60, .bytes_max = 5000 };
		assert_int_equal(log_read_now(log_group_find(f.log, 1), &r), OK);
		assert_true(r.next > from);
		from = r.next;
		buf_deinit(&r.entries);
	}
	fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_range_is_read),
		cmocka_unit_test(at_least_one_and_no_more_than_asked),
		cmocka_unit_test(what_is_not_there_is_said),
		cmocka_unit_test(sequences_lead_to_entries),
		cmocka_unit_test(sequences_jump_over_holes),
		cmocka_unit_test(damage_is_told_once_and_doubts_the_group),
		cmocka_unit_test(reads_are_overtaken),
		cmocka_unit_test(reading_while_opening),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
