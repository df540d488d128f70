/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "thebes/diag.h"

struct sink {
	struct buf lines;
	enum diag_level level;
	unsigned count;
};

static void sink_line(void *arg, enum diag_level level, const char *line, size_t n)
{
	struct sink *s = arg;
	assert_int_equal(strlen(line), n);
	s->level = level;
	s->count++;
	buf_append(&s->lines, line, n);
	buf_append_byte(&s->lines, '\n');
}

static void a_level_lets_pass_what_is_graver(void **state)
{
	(void)state;
	for (int on = DIAG_FATAL; on <= DIAG_TRACE; on++) {
		struct sink sink = { 0 };
		struct diag d;
		diag_init(&d, (enum diag_level)on, sink_line, &sink);
		for (int level = DIAG_FATAL; level <= DIAG_TRACE; level++) {
			diag_line(&d, (enum diag_level)level, "net listener port=%d open", 4222);
			assert_int_equal(sink.count, (unsigned)(level < on ? level : on) + 1);
		}
		assert_int_equal(sink.level, on);
		buf_deinit(&sink.lines);
		diag_deinit(&d);
	}
}

static void what_clients_write_cannot_forge_a_line(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "plain", "plain\n" },
		{ "a\n[1] [INF] forged", "a\\x0a[1] [INF] forged\n" },
		{ "\x1b[2J\r\t\x7f", "\\x1b[2J\\x0d\\x09\\x7f\n" },
		{ "caf\xc3\xa9 \xe2\x82\xac", "caf\xc3\xa9 \xe2\x82\xac\n" },
		{ "\xc2\x9b"
		  "31m \xc2\xa9",
			"\\xc2\x9b"
			"31m \xc2\xa9\n" },
		{ "", "\n" },
		{ "100%s", "100%s\n" },
	};
	struct sink sink = { 0 };
	struct diag d;
	diag_init(&d, DIAG_INFO, sink_line, &sink);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		diag_line(&d, DIAG_INFO, "%s", cases[i].in);
		CHECK_BUF(&sink.lines, cases[i].out);
	}
	char large[5000];
	memset(large, 'x', sizeof large - 1);
	large[sizeof large - 1] = '\0';
	diag_line(&d, DIAG_INFO, "<%s>", large);
	assert_int_equal(sink.lines.n, sizeof large - 1 + 3);
	buf_deinit(&sink.lines);
	diag_deinit(&d);
}

static void without_a_sink_nothing_happens(void **state)
{
	(void)state;
	struct diag d = { 0 };
	diag_line(&d, DIAG_FATAL, "nobody hears %d", 1);
	diag_trace(&d, "nobody keeps", 1, 2, 3);
	assert_true(d.trace_count == 0);
	diag_deinit(&d);
}

static void print_ring(void *diag)
{
	diag_trace_print(diag);
	UNREACHABLE();
}

static void the_ring_prints_the_last_records_oldest_first(void **state)
{
	(void)state;
	struct diag d;
	char said[DIAG_TRACE_RING * 64];
	diag_init(&d, DIAG_INFO, NULL, NULL);
	d.now_ns = SECONDS(3) + 7;
	diag_trace(&d, "first", 1, 2, 3);
	diag_trace(&d, "second", UINT64_MAX, 0, 0);
	assert_true(check_aborts(print_ring, &d, said, sizeof said));
	assert_non_null(strstr(said, "trace: the last 2 of 2 records, oldest first\n"
				     "trace 3.000000007 first 1 2 3\n"
				     "trace 3.000000007 second 18446744073709551615 0 0\n"));
	for (uint64_t i = 0; i < DIAG_TRACE_RING + 10; i++) diag_trace(&d, "more", i, 0, 0);
	assert_true(check_aborts(print_ring, &d, said, sizeof said));
	assert_null(strstr(said, "second"));
	assert_null(strstr(said, " more 9 "));
	const char *oldest = strstr(said, " more 10 "), *newest = strstr(said, " more 1033 ");
	assert_true(oldest && newest && oldest < newest);
	diag_deinit(&d);
}

static void counters_and_histograms_are_kept_per_node(void **state)
{
	(void)state;
	struct diag a, b;
	diag_init(&a, DIAG_INFO, NULL, NULL);
	diag_init(&b, DIAG_INFO, NULL, NULL);
	diag_count(&a, COUNTER_turns);
	diag_add(&a, COUNTER_turns, 9);
	diag_measure(&a, HISTOGRAM_loop_lag, 100);
	diag_measure(&a, HISTOGRAM_loop_lag, 300);
	assert_true(a.counter[COUNTER_turns] == 10 && b.counter[COUNTER_turns] == 0);
	assert_true(a.histogram[HISTOGRAM_loop_lag]->count == 2 && a.histogram[HISTOGRAM_loop_lag]->sum == 400);
	assert_null(b.histogram[HISTOGRAM_loop_lag]);
	assert_string_equal(diag_counter_name(COUNTER_turns), "turns");
	assert_string_equal(diag_histogram_name(HISTOGRAM_loop_lag), "loop_lag");
	assert_string_equal(diag_histogram_unit(HISTOGRAM_loop_lag), "ns");
	diag_deinit(&a);
	diag_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_level_lets_pass_what_is_graver),
		cmocka_unit_test(what_clients_write_cannot_forge_a_line),
		cmocka_unit_test(without_a_sink_nothing_happens),
		cmocka_unit_test(the_ring_prints_the_last_records_oldest_first),
		cmocka_unit_test(counters_and_histograms_are_kept_per_node),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
