/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "thebes/wire.h"

static void validity(void **state)
{
	(void)state;
	static const struct {
		const char *block;
		bool valid;
	} cases[] = {
		{ "NATS/1.0\r\n\r\n", true },
		{ "NATS/1.0 503\r\n\r\n", true },
		{ "NATS/1.0 100 Idle Heartbeat\r\nA: b\r\n\r\n", true },
		{ "NATS/1.0\r\nA:b\r\nA: c\r\nempty:\r\n\r\n", true },
		{ "NATS/1.0\r\nA: b:c \xc3\xa9\r\n\r\n", true },
		{ "", false },
		{ "\r\n", false },
		{ "\r\n\r\n", false },
		{ "NATS/1.0\r\n", false },
		{ "NATS/1.0\n\n", false },
		{ "NATS/1.1\r\n\r\n", false },
		{ "NATS/1.00\r\n\r\n", false },
		{ "nats/1.0\r\n\r\n", false },
		{ "NATS/1.0\r\nA: b\r\n", false },
		{ "NATS/1.0\r\nA: b\r\n\r\nx", false },
		{ "NATS/1.0\r\nno colon\r\n\r\n", false },
		{ "NATS/1.0\r\n: b\r\n\r\n", false },
		{ "NATS/1.0\r\nA b: c\r\n\r\n", false },
		{ "NATS/1.0\r\n A: c\r\n\r\n", false },
		{ "NATS/1.0\r\nA: b\n\r\n\r\n", false },
		{ "NATS/1.0\r\nA: b\rc\r\n\r\n", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(header_is_valid(slice_of_str(cases[i].block)), cases[i].valid);
	assert_false(header_is_valid(SLICE_NULL));
}

static void status(void **state)
{
	(void)state;
	static const struct {
		const char *block;
		unsigned code;
		const char *text;
	} cases[] = {
		{ "NATS/1.0\r\n\r\n", 0, "" },
		{ "NATS/1.0 503\r\n\r\n", 503, "" },
		{ "NATS/1.0 100 Idle Heartbeat\r\n\r\n", 100, "Idle Heartbeat" },
		{ "NATS/1.0  409  Consumer Deleted \r\n\r\n", 409, "Consumer Deleted" },
		{ "NATS/1.0 5030\r\n\r\n", 0, "" },
		{ "NATS/1.0 50\r\n\r\n", 0, "" },
		{ "NATS/1.0 abc\r\n\r\n", 0, "" },
		{ "NATS/1.0503\r\n\r\n", 503, "" },
		{ "HTTP/1.0 200\r\n\r\n", 0, "" },
		{ "", 0, "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct slice text;
		assert_int_equal(header_status(slice_of_str(cases[i].block), &text), cases[i].code);
		assert_true(slice_eq_str(text, cases[i].text));
	}
}

static void values(void **state)
{
	(void)state;
	struct slice block =
		SLICE("NATS/1.0 200\r\nNats-Msg-Id: abc \r\nnats-msg-id: lower\r\nEmpty:\r\nno key\r\n folded: x\r\n"
		      "A:1\r\nA: 2\r\nLf: y\nAfter: z\r\n\r\nBehind: no\r\n");
	static const struct {
		const char *key, *value;
	} cases[] = {
		{ "Nats-Msg-Id", "abc" },
		{ "nats-msg-id", "lower" },
		{ "Nats-Msg-I", NULL },
		{ "Nats-Msg-Idx", NULL },
		{ "Empty", "" },
		{ "folded", NULL },
		{ "A", "1" },
		{ "Lf", "y" },
		{ "After", "z" },
		{ "Behind", NULL },
		{ "NATS/1.0 200", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct slice v = header_get(block, slice_of_str(cases[i].key));
		assert_int_equal(v.p != NULL, cases[i].value != NULL);
		if (cases[i].value) assert_true(slice_eq_str(v, cases[i].value));
	}
	size_t count = 0;
	struct slice k, v;
	for (size_t at = 0; header_next(block, &at, &k, &v);) count++;
	assert_int_equal(count, 7);
}

static void stripping(void **state)
{
	(void)state;
	static const struct {
		const char *block;
		enum header_edge edge;
		bool owned;
		const char *left;
	} cases[] = {
		{ "NATS/1.0\r\nA: b\r\n\r\n", HEADER_EDGE_PUBLISH, false, "NATS/1.0\r\nA: b\r\n\r\n" },
		{ "NATS/1.0\r\nNats-Request-Info: {}\r\nA: b\r\n\r\n", HEADER_EDGE_PUBLISH, true,
			"NATS/1.0\r\nA: b\r\n\r\n" },
		{ "NATS/1.0\r\nA: b\r\nNATS-request-INFO: {}\r\n\r\n", HEADER_EDGE_PUBLISH, true,
			"NATS/1.0\r\nA: b\r\n\r\n" },
		{ "NATS/1.0\r\nA: b\nNats-Request-Info:x\n\r\n", HEADER_EDGE_PUBLISH, true, "NATS/1.0\r\nA: b\n\r\n" },
		{ "NATS/1.0\r\nNats-Request-Info : {}\r\n\r\n", HEADER_EDGE_PUBLISH, true, "" },
		{ "NATS/1.0\r\nNats-Request-Info: {}\r\n folded\r\n\tmore\r\nA: b\r\n\r\n", HEADER_EDGE_PUBLISH, true,
			"NATS/1.0\r\nA: b\r\n\r\n" },
		{ "NATS/1.0\r\nNats-Request-Info: {}\r\n\r\n", HEADER_EDGE_PUBLISH, true, "" },
		{ "NATS/1.0 503\r\nNats-Request-Info: {}\r\n\r\n", HEADER_EDGE_PUBLISH, true, "NATS/1.0 503\r\n\r\n" },
		{ "NATS/1.0\r\nNats-Sequence: 7\r\nNats-Msg-Id: x\r\n\r\n", HEADER_EDGE_PUBLISH, false,
			"NATS/1.0\r\nNats-Sequence: 7\r\nNats-Msg-Id: x\r\n\r\n" },
		{ "NATS/1.0\r\nNats-Sequence: 7\r\nNats-Msg-Id: x\r\n\r\n", HEADER_EDGE_STORE, true,
			"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n" },
		{ "NATS/1.0\r\nA: b\r\n\r\nNats-Request-Info: behind\r\n", HEADER_EDGE_PUBLISH, false,
			"NATS/1.0\r\nA: b\r\n\r\nNats-Request-Info: behind\r\n" },
		{ "garbage", HEADER_EDGE_PUBLISH, false, "" },
		{ "", HEADER_EDGE_PUBLISH, false, "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct slice block = slice_of_str(cases[i].block);
		uint8_t *to = mem_alloc(block.n + 1);
		assert_int_equal(header_has_owned(block, cases[i].edge), cases[i].owned);
		assert_true(slice_eq_str(slice_of(to, header_strip(to, block, cases[i].edge)), cases[i].left));
		mem_free(to);
	}
}

static void building(void **state)
{
	(void)state;
	struct buf b = { 0 };
	header_start(&b, 0, NULL);
	CHECK_BUF(&b, "NATS/1.0\r\n\r\n");
	header_start(&b, 503, NULL);
	CHECK_BUF(&b, "NATS/1.0 503\r\n\r\n");
	header_start(&b, 100, "Idle Heartbeat");
	assert_true(header_append(&b, SLICE("Nats-Last-Consumer"), SLICE("1")));
	assert_true(header_append(&b, SLICE("Nats-Last-Stream"), SLICE("1")));
	assert_int_equal(b.n, 75); /* spec §9.9 */
	assert_true(header_is_valid(buf_slice(&b)));
	CHECK_BUF(&b, "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\nNats-Last-Stream: 1\r\n\r\n");
	assert_true(header_append(&b, SLICE("A"), SLICE_NULL));
	CHECK_BUF(&b, "NATS/1.0\r\nA: \r\n\r\n");
	static const char *const bad_keys[] = { "", "a b", "a:b", "a\r", "\n", "\x7f" };
	for (size_t i = 0; i < COUNT_OF(bad_keys); i++)
		assert_false(header_append(&b, slice_of_str(bad_keys[i]), SLICE("v")));
	assert_false(header_append(&b, SLICE("a"), SLICE("v\r\nb: c")));
	assert_false(header_append(&b, SLICE("a"), SLICE("v\nb: c")));
	assert_int_equal(b.n, 0);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(validity),
		cmocka_unit_test(status),
		cmocka_unit_test(values),
		cmocka_unit_test(stripping),
		cmocka_unit_test(building),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
