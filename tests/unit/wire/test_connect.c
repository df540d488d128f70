/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "thebes/wire.h"

static enum wire_error parse_and_check(struct wire_connect *c, struct slice json)
{
	enum wire_error e = wire_connect_parse(c, json);
	return e == WIRE_ERROR_NONE ? wire_connect_check(c) : e;
}

/* Go's decoder is the yardstick; the cases marked live were sent to nats-server 2.9.10. */
static void decoding(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		enum wire_error error;
		bool verbose;
		int64_t protocol;
	} cases[] = {
		{ "{}", WIRE_ERROR_NONE, true, 0 },
		{ "{\"verbose\":false,\"protocol\":1}", WIRE_ERROR_NONE, false, 1 },
		{ "{\"VERBOSE\":false}", WIRE_ERROR_NONE, false, 0 },                 /* live */
		{ "{\"verbose\":null}", WIRE_ERROR_NONE, true, 0 },                   /* live */
		{ "null", WIRE_ERROR_NONE, true, 0 },                                 /* live */
		{ "{\"verbose\":false,\"verbose\":true}", WIRE_ERROR_NONE, true, 0 }, /* live */
		{ "{\"unknown\":[1,{\"a\":null}],\"verbose\":false}", WIRE_ERROR_NONE, false, 0 },
		{ "{\"name\":\"\xff\\u0000\"}", WIRE_ERROR_NONE, true, 0 },   /* live */
		{ "", WIRE_ERROR_CONNECT_JSON, true, 0 },                     /* live */
		{ "{bad}", WIRE_ERROR_CONNECT_JSON, true, 0 },                /* live */
		{ "[]", WIRE_ERROR_CONNECT_JSON, true, 0 },                   /* live */
		{ "{\"verbose\":false}x", WIRE_ERROR_CONNECT_JSON, true, 0 }, /* live */
		{ "{\"verbose\":1}", WIRE_ERROR_CONNECT_JSON, true, 0 },
		{ "{\"verbose\":\"true\"}", WIRE_ERROR_CONNECT_JSON, true, 0 },
		{ "{\"protocol\":\"1\"}", WIRE_ERROR_CONNECT_JSON, true, 0 },
		{ "{\"protocol\":1.0}", WIRE_ERROR_CONNECT_JSON, true, 0 },                  /* live */
		{ "{\"protocol\":1e0}", WIRE_ERROR_CONNECT_JSON, true, 0 },                  /* live */
		{ "{\"protocol\":99999999999999999999}", WIRE_ERROR_CONNECT_JSON, true, 0 }, /* live */
		{ "{\"name\":5}", WIRE_ERROR_CONNECT_JSON, true, 0 },
		{ "{\"verbose\":false,\"protocol\":2}", WIRE_ERROR_CONNECT_PROTOCOL, false, 2 },
		{ "{\"protocol\":-1}", WIRE_ERROR_CONNECT_PROTOCOL, true, -1 }, /* live */
		{ "{\"no_responders\":true}", WIRE_ERROR_NO_RESPONDERS, true, 0 },
		{ "{\"no_responders\":true,\"headers\":true}", WIRE_ERROR_NONE, true, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct wire_connect c;
		wire_connect_init(&c);
		assert_int_equal(parse_and_check(&c, slice_of_str(cases[i].json)), cases[i].error);
		assert_int_equal(c.verbose, cases[i].verbose);
		assert_int_equal(c.protocol, cases[i].protocol);
		assert_true(c.pedantic && c.echo);
		wire_connect_deinit(&c);
	}
}

/* Half a pair is U+FFFD, a whole one is its letter, and a backslash that is itself escaped begins nothing. */
static void surrogates(void **state)
{
	(void)state;
	static const struct {
		const char *written, *read;
	} cases[] = {
		{ "\\ud83d\\ude00", "\xf0\x9f\x98\x80" },
		{ "\\uD83D\\uDE00!", "\xf0\x9f\x98\x80!" },
		{ "\\ud800", "\xef\xbf\xbd" },
		{ "\\ud800A", "\xef\xbf\xbd"
			      "A" },
		{ "\\ud800\\n", "\xef\xbf\xbd\n" },
		{ "\\udc00\\ud800", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\\ud800\\ud83d\\ude00", "\xef\xbf\xbd\xf0\x9f\x98\x80" },
		{ "\\\\ud800", "\\ud800" },
		{ "\\\\\\udfff", "\\\xef\xbf\xbd" },
		{ "\\ud7ff\\ue000", "\xed\x9f\xbf\xee\x80\x80" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct wire_connect c;
		struct buf json = { 0 };
		buf_printf(&json, "{\"name\":\"%s\"}", cases[i].written);
		wire_connect_init(&c);
		assert_int_equal(wire_connect_parse(&c, buf_slice(&json)), WIRE_ERROR_NONE);
		assert_string_equal((const char *)c.name.p, cases[i].read);
		wire_connect_deinit(&c);
		buf_deinit(&json);
	}
}

static void depth(void **state)
{
	(void)state;
	struct wire_connect c;
	wire_connect_init(&c);
	struct buf b = { 0 };
	for (unsigned levels = 30; levels <= 34; levels += 4) {
		buf_append_str(&b, "{\"x\":\"]]]\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\",\"y\":");
		for (unsigned i = 0; i < levels; i++) buf_append_str(&b, "[");
		for (unsigned i = 0; i < levels; i++) buf_append_str(&b, "]");
		buf_append_str(&b, "}");
		assert_int_equal(
			wire_connect_parse(&c, buf_slice(&b)), levels < 32 ? WIRE_ERROR_NONE : WIRE_ERROR_CONNECT_JSON);
		buf_clear(&b);
	}
	buf_deinit(&b);
	wire_connect_deinit(&c);
}

static void merging(void **state)
{
	(void)state;
	struct wire_connect c;
	wire_connect_init(&c);
	assert_int_equal(
		wire_connect_parse(&c, SLICE("{\"user\":\"me\",\"pass\":\"secret\",\"name\":\"one\",\"echo\":false}")),
		0);
	assert_int_equal(wire_connect_parse(&c, SLICE("{\"name\":\"two\",\"lang\":\"c\",\"verbose\":false}")), 0);
	assert_true(slice_eq_str(c.user, "me") && slice_eq_str(c.pass, "secret") && slice_eq_str(c.name, "two"));
	assert_string_equal((const char *)c.pass.p, "secret");
	assert_false(c.echo || c.verbose);
	/* A refused one changes nothing. */
	assert_int_equal(
		wire_connect_parse(&c, SLICE("{\"name\":\"three\",\"protocol\":{}}")), WIRE_ERROR_CONNECT_JSON);
	assert_true(slice_eq_str(c.name, "two") && c.protocol == 0);
	/* What is said empty is empty. */
	assert_int_equal(wire_connect_parse(&c, SLICE("{\"user\":\"\"}")), 0);
	assert_int_equal(c.user.n, 0);
	wire_connect_deinit(&c);
	assert_null(c.text);
}

static void encoding(void **state)
{
	(void)state;
	struct wire_connect c = {
		.verbose = false, .echo = true, .headers = true, .no_responders = true, .protocol = 1
	};
	c.user = SLICE("a\"b");
	c.pass = SLICE("\\\n\x01\xff");
	c.name = SLICE("cli");
	struct buf b = { 0 };
	wire_connect_append(&b, &c);
	assert_string_equal(buf_str(&b),
		"CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\"user\":\"a\\\"b\","
		"\"pass\":\"\\\\\\n\\u0001\xef\xbf\xbd\",\"name\":\"cli\",\"protocol\":1,\"echo\":true,\"headers\":"
		"true,"
		"\"no_responders\":true}\r\n");
	struct wire_parser p = { .verbs = WIRE_FROM_CLIENT, .control_line_max = WIRE_CONTROL_LINE_MAX };
	struct wire_op op;
	assert_int_equal(wire_parse(&p, buf_slice(&b), &op), WIRE_OP);
	struct wire_connect back;
	wire_connect_init(&back);
	assert_int_equal(wire_connect_parse(&back, op.args), WIRE_ERROR_NONE);
	assert_true(slice_eq(back.user, c.user) && back.no_responders && !back.pedantic && back.protocol == 1);
	wire_connect_deinit(&back);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decoding),
		cmocka_unit_test(surrogates),
		cmocka_unit_test(depth),
		cmocka_unit_test(merging),
		cmocka_unit_test(encoding),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
