/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "thebes/wire.h"

static void numbers(void **state)
{
	(void)state;
	char want[32];
	uint8_t got[32];
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 64; shift++) {
		const uint64_t around[] = { v - 1, v, v + 1, (uint64_t)1 << shift };
		for (size_t i = 0; i < COUNT_OF(around); i++) {
			int n = snprintf(want, sizeof want, "%llu", (unsigned long long)around[i]);
			assert_int_equal(wire_u64_print(got, around[i]), n);
			assert_memory_equal(got, want, n);
		}
		v = v ? v * 10 : 1;
	}
}

static void check_encode(size_t encode(uint8_t *, const struct wire_msg *), const struct wire_msg *m, const char *want)
{
	/* Exactly the promised room, so that ASan sees one byte too many. */
	uint8_t *to = mem_alloc(wire_encode_bytes_max(m));
	size_t n = encode(to, m);
	assert_true(n <= wire_encode_bytes_max(m));
	assert_int_equal(n, strlen(want));
	assert_memory_equal(to, want, n);
	mem_free(to);
}

static void messages(void **state)
{
	(void)state;
	struct wire_msg m = { .subject = SLICE("a.b"), .sid = SLICE("7"), .payload = SLICE("hello") };
	check_encode(wire_msg_encode, &m, "MSG a.b 7 5\r\nhello\r\n");
	check_encode(wire_pub_encode, &m, "PUB a.b 5\r\nhello\r\n");
	check_encode(wire_msg_line, &m, "MSG a.b 7 5\r\n");
	m.reply = SLICE("_INBOX.abcdefghijklmnopqrstuvwxyz0123456789.x");
	check_encode(wire_msg_encode, &m, "MSG a.b 7 _INBOX.abcdefghijklmnopqrstuvwxyz0123456789.x 5\r\nhello\r\n");
	check_encode(wire_pub_line, &m, "PUB a.b _INBOX.abcdefghijklmnopqrstuvwxyz0123456789.x 5\r\n");
	m.header = SLICE("NATS/1.0 503\r\n\r\n");
	m.reply = m.payload = SLICE_NULL;
	check_encode(wire_msg_encode, &m, "HMSG a.b 7 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
	check_encode(wire_pub_encode, &m, "HPUB a.b 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
	m.header = SLICE_NULL;
	check_encode(wire_msg_encode, &m, "MSG a.b 7 0\r\n\r\n");
}

/* What is encoded parses to the same; words of every length take every path of the copying. */
static void round_trip(void **state)
{
	(void)state;
	struct prng r;
	prng_init(&r, 7);
	uint8_t text[128], bytes[256];
	for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)('a' + i % 26);
	for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)i;
	for (unsigned round = 0; round < 5000; round++) {
		struct wire_msg m = {
			.subject = slice_of(text, 1 + prng_below(&r, 100)),
			.sid = slice_of(text + 3, 1 + prng_below(&r, 12)),
			.reply = slice_of(text + 5, prng_below(&r, 70)),
			.header = slice_of(bytes, prng_below(&r, 2) ? prng_below(&r, 100) : 0),
			.payload = slice_of(bytes, prng_below(&r, sizeof bytes)),
		};
		bool as_msg = prng_below(&r, 2);
		uint8_t *to = mem_alloc(wire_encode_bytes_max(&m));
		size_t n = as_msg ? wire_msg_encode(to, &m) : wire_pub_encode(to, &m);
		struct wire_parser p = { .verbs = as_msg ? WIRE_FROM_SERVER : WIRE_FROM_CLIENT,
			.control_line_max = WIRE_CONTROL_LINE_MAX,
			.payload_max = UINT32_MAX };
		struct wire_op op;
		assert_int_equal(wire_parse(&p, slice_of(to, n), &op), WIRE_OP);
		assert_int_equal(op.used, n);
		assert_true(slice_eq(op.subject, m.subject) && slice_eq(op.reply, m.reply));
		assert_true(slice_eq(op.header, m.header) && slice_eq(op.payload, m.payload));
		assert_true(!as_msg || slice_eq(op.sid, m.sid));
		mem_free(to);
	}
}

static void subscriptions(void **state)
{
	(void)state;
	struct buf b = { 0 };
	wire_sub_append(&b, SLICE("a.*"), SLICE_NULL, SLICE("1"));
	CHECK_BUF(&b, "SUB a.* 1\r\n");
	wire_sub_append(&b, SLICE("a.*"), SLICE("q"), SLICE("1"));
	CHECK_BUF(&b, "SUB a.* q 1\r\n");
	wire_unsub_append(&b, SLICE("1"), 0);
	CHECK_BUF(&b, "UNSUB 1\r\n");
	wire_unsub_append(&b, SLICE("1"), 10);
	CHECK_BUF(&b, "UNSUB 1 10\r\n");
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),
		cmocka_unit_test(messages),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(subscriptions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
