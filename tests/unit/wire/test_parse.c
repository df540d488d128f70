/* SPDX-License-Identifier: Apache-2.0 */
/* Every case is parsed three ways: at once, fed byte by byte with the bytes kept, and fed byte by byte with the body gathered apart. All
 * three must end in the same operations. */
#include "check.h"
#include "thebes/wire.h"

enum { LINE_MAX_HERE = 64, PAYLOAD_MAX_HERE = 100 };

static struct wire_parser parser_new(uint32_t verbs)
{
	return (struct wire_parser) { .verbs = verbs,
		.forbidden = WIRE_ERROR_UNKNOWN_OP,
		.control_line_max = LINE_MAX_HERE,
		.payload_max = PAYLOAD_MAX_HERE };
}

static void op_print(struct buf *to, const struct wire_op *op)
{
	buf_printf(to, "%s", wire_verb_name(op->verb));
	if (op->subject.p) buf_printf(to, " s=%.*s", SLICE_FMT(op->subject));
	if (op->reply.p) buf_printf(to, " r=%.*s", SLICE_FMT(op->reply));
	if (op->queue.p) buf_printf(to, " q=%.*s", SLICE_FMT(op->queue));
	if (op->sid.p) buf_printf(to, " sid=%.*s", SLICE_FMT(op->sid));
	if (op->header.n) buf_printf(to, " h=%.*s", SLICE_FMT(op->header));
	if (op->payload.p) buf_printf(to, " p=%.*s", SLICE_FMT(op->payload));
	if (op->args.p) buf_printf(to, " a=%.*s", SLICE_FMT(op->args));
	if (op->max) buf_printf(to, " max=%llu", (unsigned long long)op->max);
	buf_append_str(to, ";");
}

static void error_print(struct buf *to, enum wire_error e)
{
	static const char *const names[] = {
#define WIRE_ERROR(name, closes, text) #name,
#include "thebes/wire_errors.def"
#undef WIRE_ERROR
	};
	buf_printf(to, "!%s", names[e]);
}

/* A copy of its own for each call, so that ASan sees a read past the end. */
static enum wire_result parse_copy(struct wire_parser *p, struct slice in, struct wire_op *op, uint8_t **copy)
{
	*copy = mem_dup(in.p, in.n);
	return wire_parse(p, slice_of(*copy, in.n), op);
}

static void run_at_once(uint32_t verbs, struct slice in, struct buf *out)
{
	struct wire_parser p = parser_new(verbs);
	enum wire_result result = WIRE_OP;
	while (in.n > 0 && result == WIRE_OP) {
		struct wire_op op;
		uint8_t *copy;
		result = parse_copy(&p, in, &op, &copy);
		if (result == WIRE_OP) op_print(out, &op);
		if (result == WIRE_BAD) error_print(out, op.error);
		if (result == WIRE_BODY) buf_append_str(out, "~");
		if (result == WIRE_MORE) buf_append_str(out, "...");
		in = slice_from(in, op.used);
		mem_free(copy);
	}
}

static void run_bytewise(uint32_t verbs, struct slice in, bool gather, struct buf *out)
{
	struct wire_parser p = parser_new(verbs);
	size_t from = 0;
	enum wire_result result = WIRE_OP;
	for (size_t to = 1; to <= in.n && result != WIRE_BAD; to++) {
		if (from >= to) continue;
		struct wire_op op;
		uint8_t *copy;
		result = parse_copy(&p, slice_of(in.p + from, to - from), &op, &copy);
		size_t need = (size_t)op.total_bytes + 2;
		if (result == WIRE_BODY && gather && in.n - from - op.used >= need) {
			uint8_t *body = mem_dup(in.p + from + op.used, need);
			if (wire_body(&op, slice_of(body, need))) {
				op_print(out, &op);
			} else {
				error_print(out, WIRE_ERROR_UNKNOWN_OP);
				result = WIRE_BAD;
			}
			from += op.used + need;
			mem_free(body);
		} else if (result == WIRE_OP) {
			op_print(out, &op);
			from += op.used;
		} else if (result == WIRE_BAD) {
			error_print(out, op.error);
		}
		mem_free(copy);
	}
	if (result == WIRE_MORE) buf_append_str(out, "...");
	if (result == WIRE_BODY && from < in.n) buf_append_str(out, "~");
}

struct parse_case {
	const char *in, *want;
};

static void check_cases(uint32_t verbs, const struct parse_case *cases, size_t count)
{
	struct buf out = { 0 };
	for (size_t i = 0; i < count; i++) {
		struct slice in = slice_of_str(cases[i].in);
		run_at_once(verbs, in, &out);
		CHECK_BUF(&out, cases[i].want);
		run_bytewise(verbs, in, false, &out);
		CHECK_BUF(&out, cases[i].want);
		run_bytewise(verbs, in, true, &out);
		CHECK_BUF(&out, cases[i].want);
	}
	buf_deinit(&out);
}

#define A16 "aaaaaaaaaaaaaaaa"
#define A64 A16 A16 A16 A16
#define BLANK16 "                "
#define BLANK48 BLANK16 BLANK16 BLANK16
#define BLANK64 BLANK48 BLANK16

static void from_client(void **state)
{
	(void)state;
	static const struct parse_case cases[] = {
		{ "PING\r\n", "PING;" },
		{ "ping\nPonG\r\n", "PING;PONG;" },
		{ "PINGxyz\r\nPING  \r\n", "PING;PING;" },
		{ "+OK\r\n+okay\r\n", "+OK;+OK;" },
		{ "PUB foo 3\r\nabc\r\n", "PUB s=foo p=abc;" },
		{ "pub foo bar 0\r\n\r\nPING\r\n", "PUB s=foo r=bar p=;PING;" },
		{ "PUB\tfoo\t \tbar  2 \nhi\r\n", "PUB s=foo r=bar p=hi;" },
		{ "PUB foo 2\r\n\r\n\r\n", "PUB s=foo p=\r\n;" },
		{ "HPUB foo 12 15\r\nNATS/1.0\r\n\r\nabc\r\n", "HPUB s=foo h=NATS/1.0\r\n\r\n p=abc;" },
		{ "HPUB foo re 3 3\r\nabc\r\n", "HPUB s=foo r=re h=abc p=;" },
		{ "HPUB foo 0 1\r\na\r\n", "HPUB s=foo p=a;" },
		{ "SUB foo 1\r\n", "SUB s=foo sid=1;" },
		{ "SUB foo.* q sid-x\r\n", "SUB s=foo.* q=q sid=sid-x;" },
		{ "SUB foo 1\rx\r\n", "SUB s=foo q=1 sid=x;" }, /* a CR inside separates */
		{ "UNSUB 1\r\nUNSUB 1 5\r\n", "UNSUB sid=1;UNSUB sid=1 max=5;" },
		{ "UNSUB 1 abc\r\nUNSUB 1 -1\r\nUNSUB 1 9999999999\r\n", "UNSUB sid=1;UNSUB sid=1;UNSUB sid=1;" },
		{ "CONNECT {\"a\":1}\r\n", "CONNECT a={\"a\":1};" },
		{ "CONNECT{}\r\nCONNECT \t{} \r\nCONNECT\r\n", "CONNECT a={};CONNECT a={};CONNECT a=;" },
		{ "-ERR 'bad thing'\r\n-ERR \r\n", "-ERR a=bad thing;-ERR a=;" },
		{ "-ERR\r\n", "!UNKNOWN_OP" },
		{ "INFO {}\r\n", "INFO a={};" },
		/* not all there yet */
		{ "PI", "..." },
		{ "PUB foo 3\r", "..." },
		{ "PUB foo 3\r\nabc", "~" },
		{ "PUB foo 3\r\nabc\r", "~" },
		/* unknown */
		{ "F", "!UNKNOWN_OP" },
		{ "PX", "!UNKNOWN_OP" },
		{ "\r\n", "!UNKNOWN_OP" },
		{ "\n", "!UNKNOWN_OP" },
		{ " PING\r\n", "!UNKNOWN_OP" },
		{ "PING\r\n\r\n", "PING;!UNKNOWN_OP" },
		{ "FOO\r\n", "!UNKNOWN_OP" },
		{ "PU\r\n", "!UNKNOWN_OP" },
		{ "PUB\r\n", "!UNKNOWN_OP" },
		{ "PUBX\r\n", "!UNKNOWN_OP" },
		{ "UNSUB\r\n", "!UNKNOWN_OP" },
		{ "CFOO\r\n", "!UNKNOWN_OP" },
		{ "MSG foo 1 3\r\nabc\r\n", "!UNKNOWN_OP" },
		{ "HMSG foo 1 1 1\r\na\r\n", "!UNKNOWN_OP" },
		{ "RS+ foo\r\n", "!UNKNOWN_OP" },
		{ "PUB foo 3\r\nabcdef\r\n", "!UNKNOWN_OP" },
		{ "PUB foo 3\r\nabc\n\n", "!UNKNOWN_OP" },
		{ "PUB foo 3\r\nabc\r\r", "!UNKNOWN_OP" },
		/* arguments */
		{ "PUB \r\n", "!PROTOCOL" },
		{ "PUB foo\r\n", "!PROTOCOL" },
		{ "PUB a b c 3\r\nabc\r\n", "!PROTOCOL" },
		{ "PUB a b c d e f g h\r\n", "!PROTOCOL" },
		{ "PUB foo 3x\r\n", "!PROTOCOL" },
		{ "PUB foo +3\r\n", "!PROTOCOL" },
		{ "PUB foo -1\r\n", "!PROTOCOL" },
		{ "PUB foo 0000000003\r\n", "!PROTOCOL" },
		{ "PUB foo 000000003\r\nabc\r\n", "PUB s=foo p=abc;" },
		{ "HPUB foo 3\r\n", "!PROTOCOL" },
		{ "HPUB foo 5 3\r\nabc\r\n", "!PROTOCOL" },
		{ "HPUB foo x 3\r\nabc\r\n", "!PROTOCOL" },
		{ "SUB foo\r\n", "!PROTOCOL" },
		{ "SUB  \r\n", "!PROTOCOL" },
		{ "SUB a b c d\r\n", "!PROTOCOL" },
		{ "UNSUB \r\n", "!PROTOCOL" },
		{ "UNSUB 1 2 3\r\n", "!PROTOCOL" },
		/* limits */
		{ "PUB foo 100\r\n", "~" },
		{ "PUB foo 101\r\n", "!PAYLOAD" },
		{ "HPUB foo 90 101\r\n", "!PAYLOAD" },
		{ "PUB foo 999999999\r\n", "!PAYLOAD" },
		{ "SUB " A16 A16 A16 "aaaaaaaaaaaaaa 1\r\n", "SUB s=" A16 A16 A16 "aaaaaaaaaaaaaa sid=1;" },
		{ "SUB    " A16 A16 A16 "aaaaaaaaaaaaaa 1\r\n", "SUB s=" A16 A16 A16 "aaaaaaaaaaaaaa sid=1;" },
		{ "SUB " A16 A16 A16 "aaaaaaaaaaaaaaa 1\r\n", "!CONTROL_LINE" },
		{ "SUB " A64, "..." },
		{ "SUB " A64 "\r", "..." },
		{ "SUB " A64 "a", "!CONTROL_LINE" },
		{ "CONNECT " A64 "a", "!CONTROL_LINE" },
		{ "SUB" BLANK64 BLANK48 "a 1\r\n", "SUB s=a sid=1;" },
		{ "SUB" BLANK64 BLANK64 "a 1\r\n", "!CONTROL_LINE" },
		{ "PING" A64 "a\r\n", "!CONTROL_LINE" },
	};
	check_cases(WIRE_FROM_CLIENT, cases, COUNT_OF(cases));
}

static void from_server(void **state)
{
	(void)state;
	static const struct parse_case cases[] = {
		{ "INFO {\"a\":1} \r\nPING\r\nPONG\r\n+OK\r\n", "INFO a={\"a\":1};PING;PONG;+OK;" },
		{ "-ERR 'Stale Connection'\r\n", "-ERR a=Stale Connection;" },
		{ "MSG a.b 7 3\r\nabc\r\n", "MSG s=a.b sid=7 p=abc;" },
		{ "MSG a.b 7 re 3\r\nabc\r\n", "MSG s=a.b r=re sid=7 p=abc;" },
		{ "HMSG r 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n", "HMSG s=r sid=1 h=NATS/1.0 503\r\n\r\n p=;" },
		{ "HMSG r 1 re 3 5\r\nabcde\r\n", "HMSG s=r r=re sid=1 h=abc p=de;" },
		{ "MSG a.b 3\r\nabc\r\n", "!PROTOCOL" },
		{ "MSG a.b\r\n", "!PROTOCOL" },
		{ "MSG a b c d 3\r\n", "!PROTOCOL" },
		{ "PUB foo 3\r\n", "!UNKNOWN_OP" },
		{ "SUB foo 3\r\n", "!UNKNOWN_OP" },
	};
	check_cases(WIRE_FROM_SERVER, cases, COUNT_OF(cases));
}

/* Before login only some verbs exist, and everything else is the same violation from its first letter on. */
static void restricted(void **state)
{
	(void)state;
	static const struct {
		const char *in;
		enum wire_result result;
		enum wire_error error;
	} cases[] = {
		{ "PING\r\n", WIRE_BAD, WIRE_ERROR_AUTHORIZATION },
		{ "P", WIRE_BAD, WIRE_ERROR_AUTHORIZATION },
		{ "\r\n", WIRE_BAD, WIRE_ERROR_AUTHORIZATION },
		{ "xyz", WIRE_BAD, WIRE_ERROR_AUTHORIZATION },
		{ "CX", WIRE_BAD, WIRE_ERROR_UNKNOWN_OP },
		{ "CONN", WIRE_MORE, WIRE_ERROR_NONE },
		{ "connect {}\r\n", WIRE_OP, WIRE_ERROR_NONE },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct wire_parser p = parser_new(WIRE_BIT(WIRE_CONNECT));
		p.forbidden = WIRE_ERROR_AUTHORIZATION;
		struct wire_op op;
		assert_int_equal(wire_parse(&p, slice_of_str(cases[i].in), &op), cases[i].result);
		assert_int_equal(op.error, cases[i].error);
	}
}

/* An incomplete line is searched once: the second call looks at the new bytes only, whatever the old ones have become. */
static void searched_once(void **state)
{
	(void)state;
	struct wire_parser p = parser_new(WIRE_FROM_CLIENT);
	struct wire_op op;
	uint8_t text[] = "PUB aaaaaaaaaa 1\r\nx\r\n";
	assert_int_equal(wire_parse(&p, slice_of(text, 10), &op), WIRE_MORE);
	assert_int_equal(p.scanned, 10);
	assert_int_equal(wire_parse(&p, slice_of(text, 10), &op), WIRE_MORE);
	assert_int_equal(wire_parse(&p, slice_of(text, sizeof text - 1), &op), WIRE_OP);
	assert_int_equal(op.used, sizeof text - 1);
	assert_int_equal(p.scanned, 0);
	assert_int_equal(wire_parse(&p, SLICE_NULL, &op), WIRE_MORE);
}

/* The tail of a plain message ends the MSG that it becomes; a line of another form has none. */
static void tails(void **state)
{
	(void)state;
	static const struct {
		const char *in, *tail;
	} cases[] = {
		{ "PUB orders.new 3\r\nabc\r\n", "3\r\nabc\r\n" },
		{ "PUB orders.new reply 0\r\n\r\n", "0\r\n\r\n" },
		{ "HPUB orders.new 3 5\r\nabcde\r\n", "3 5\r\nabcde\r\n" },
		{ "HPUB orders.new reply 3 5\r\nabcde\r\n", "3 5\r\nabcde\r\n" },
		{ "HPUB orders.new 0 5\r\nabcde\r\n", "" }, /* becomes a MSG, which has one size */
		{ "PUB orders.new 03\r\nabc\r\n", "" },
		{ "PUB  orders.new 3\r\nabc\r\n", "" },
		{ "PUB orders.new\t3\r\nabc\r\n", "" },
		{ "PUB orders.new 3\nabc\r\n", "" },
		{ "SUB orders.new 3\r\nPING\r\n", "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct wire_parser p = parser_new(WIRE_FROM_CLIENT);
		struct wire_op op;
		/* The short way wants some bytes behind the line to look at. */
		char in[128];
		(void)snprintf(in, sizeof in, "%sPING\r\nPING\r\nPING\r\nPING\r\n", cases[i].in);
		assert_int_equal(wire_parse(&p, slice_of_str(in), &op), WIRE_OP);
#ifdef __SSE2__
		assert_true(slice_eq_str(op.tail, cases[i].tail));
#else
		assert_true(op.tail.n == 0 || slice_eq_str(op.tail, cases[i].tail));
#endif
	}
}

/* Random bytes over the grammar's alphabet: three ways of feeding agree, nothing reads outside. */
static void random_input(void **state)
{
	(void)state;
	static const char *const words[] = { "PUB ", "HPUB ", "SUB ", "UNSUB ", "PING", "CONNECT ", "a.b ", "x", "12",
		"3", " ", "\r\n", "\n", "\r", "\t", "{}", "abc\r\n", "\x01", "-ERR ", "+OK" };
	struct prng r;
	prng_init(&r, 42);
	struct buf in = { 0 }, a = { 0 }, b = { 0 };
	size_t ops = 0;
	for (unsigned round = 0; round < 3000; round++) {
		buf_clear(&in);
		for (uint64_t n = 1 + prng_below(&r, 14); n > 0; n--)
			buf_append_str(&in, words[prng_below(&r, COUNT_OF(words))]);
		run_at_once(WIRE_FROM_CLIENT, buf_slice(&in), &a);
		run_bytewise(WIRE_FROM_CLIENT, buf_slice(&in), false, &b);
		for (size_t i = 0; i < a.n; i++) ops += a.p[i] == ';';
		CHECK_BUF(&b, buf_str(&a));
		run_bytewise(WIRE_FROM_CLIENT, buf_slice(&in), true, &b);
		CHECK_BUF(&b, buf_str(&a));
		buf_clear(&a);
	}
	assert_true(ops > 200);
	buf_deinit(&in);
	buf_deinit(&a);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_client),
		cmocka_unit_test(from_server),
		cmocka_unit_test(restricted),
		cmocka_unit_test(searched_once),
		cmocka_unit_test(tails),
		cmocka_unit_test(random_input),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
