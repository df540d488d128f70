/* SPDX-License-Identifier: Apache-2.0 */
/* The set of sequences that are to be erased, against a plain array of bits. */
#include "check.h"

#include "machine.h"

enum { SEQS = 200 };

static void check_same(const struct erasures *e, const bool *in)
{
	uint64_t total = 0, first = 0;
	for (uint64_t seq = SEQS - 1; seq > 0; seq--) {
		total += in[seq];
		if (in[seq]) first = seq;
		assert_int_equal(erasures_next(e, seq), first);
	}
	assert_int_equal(erasures_total(e), total);
	for (uint32_t i = 0; i < e->count; i++) {
		assert_true(e->p[i].first <= e->p[i].last);
		if (i) assert_true(e->p[i].first > e->p[i - 1].last + 1);
	}
}

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void sets_and_ranges(void **state)
{
	(void)state;
	uint64_t x = 42;
	for (unsigned round = 0; round < 300; round++) {
		struct erasures e = { 0 }, gone = { 0 };
		bool in[SEQS] = { false }, out[SEQS] = { false };
		for (unsigned n = (unsigned)(next_random(&x) % 40); n > 0; n--) {
			uint64_t first = 1 + next_random(&x) % (SEQS - 10), last = first + next_random(&x) % 8;
			erasures_add(&e, first, last);
			for (uint64_t seq = first; seq <= last; seq++) in[seq] = true;
			if (next_random(&x) % 2) continue;
			erasures_add(&gone, last, last + 1);
			out[last] = out[last + 1] = true;
		}
		check_same(&e, in);
		check_same(&gone, out);
		struct erasures copy = { 0 };
		erasures_copy(&copy, &e);
		check_same(&copy, in);
		erasures_subtract(&e, &gone);
		for (unsigned seq = 0; seq < SEQS; seq++) in[seq] &= !out[seq];
		check_same(&e, in);
		erasures_deinit(&e);
		erasures_deinit(&copy);
		erasures_deinit(&gone);
	}
}

/* A list that has too many puts neighbours together, and what is alive between them is not meant by it. */
static void it_stays_bounded(void **state)
{
	(void)state;
	struct machine m;
	struct stream_config c;
	struct js_error error;
	assert_true(stream_config_parse(&c, SLICE("{\"name\":\"S\",\"subjects\":[\"s\"]}"), &error));
	machine_init(&m, &c, 1);
	m.erasures.max = 4;
	struct machine_event ev;
	for (uint64_t seq = 1; seq <= 50; seq++) {
		struct record r = { .kind = RECORD_MSG,
			.seq = seq,
			.time_ns = (int64_t)seq,
			.subject = SLICE("s"),
			.payload = SLICE("x") };
		assert_int_equal(machine_apply(&m, seq, &r, &ev), OK);
	}
	for (uint64_t seq = 2; seq <= 40; seq += 3) {
		struct buf b = { 0 };
		drop_begin(&b, 0);
		drop_add(&b, seq, stream_msg_bytes(&c, 1, 0, 1), SLICE("s"));
		struct record r = {
			.kind = RECORD_DROP, .flags = MACHINE_DROP_ERASES, .time_ns = 100, .payload = buf_slice(&b)
		};
		assert_int_equal(machine_apply(&m, 50 + seq, &r, &ev), OK);
		assert_int_equal(ev.removed, 1);
		buf_deinit(&b);
	}
	assert_int_equal(m.erasures.count, 4);
	uint64_t at = 0;
	for (uint64_t seq = 2; seq <= 40; seq += 3) {
		at = machine_erase_next(&m, at + 1, UINT64_MAX);
		assert_int_equal(at, seq);
	}
	assert_int_equal(machine_erase_next(&m, at + 1, UINT64_MAX), 0);
	assert_int_equal(machine_erase_next(&m, 3, 4), 0);
	/* An erased record is nothing to apply. */
	struct record r = {
		.kind = RECORD_MSG, .flags = RECORD_ERASED, .seq = 51, .time_ns = 101, .subject = SLICE("s")
	};
	assert_int_equal(machine_apply(&m, 100, &r, &ev), ERR_CORRUPT);
	stream_config_deinit(&c);
	machine_deinit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_and_ranges),
		cmocka_unit_test(it_stays_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
