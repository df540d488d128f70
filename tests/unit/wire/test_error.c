/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "thebes/wire.h"

/* The texts of spec §1.4, letter by letter, and whether they end the connection. */
static void lines(void **state)
{
	(void)state;
	static const struct {
		enum wire_error e;
		bool closes;
		const char *line;
	} cases[] = {
		{ WIRE_ERROR_UNKNOWN_OP, true, "-ERR 'Unknown Protocol Operation'\r\n" },
		{ WIRE_ERROR_PROTOCOL, true, "" },
		{ WIRE_ERROR_CONTROL_LINE, true, "-ERR 'maximum control line exceeded'\r\n" },
		{ WIRE_ERROR_PAYLOAD, true, "-ERR 'Maximum Payload Violation'\r\n" },
		{ WIRE_ERROR_CONNECT_JSON, true, "" },
		{ WIRE_ERROR_CONNECT_PROTOCOL, true, "-ERR 'invalid client protocol'\r\n" },
		{ WIRE_ERROR_NO_RESPONDERS, true, "-ERR 'no responders requires headers support'\r\n" },
		{ WIRE_ERROR_HEADERS, true, "" },
		{ WIRE_ERROR_AUTHORIZATION, true, "-ERR 'Authorization Violation'\r\n" },
		{ WIRE_ERROR_AUTH_TIMEOUT, true, "-ERR 'Authentication Timeout'\r\n" },
		{ WIRE_ERROR_PUBLISH_DENIED, false, "-ERR 'Permissions Violation for Publish to \"a.b\"'\r\n" },
		{ WIRE_ERROR_SUBSCRIBE_DENIED, false, "-ERR 'Permissions Violation for Subscription to \"a.b\"'\r\n" },
		{ WIRE_ERROR_QUEUE_DENIED, false,
			"-ERR 'Permissions Violation for Subscription to \"a.b\" using queue \"q\"'\r\n" },
		{ WIRE_ERROR_SUBSCRIPTION_REVOKED, false,
			"-ERR 'Permissions Violation for Subscription to \"a.b\" (sid \"q\")'\r\n" },
		{ WIRE_ERROR_REPLY_DENIED, false,
			"-ERR 'Permissions Violation for Publish with Reply of \"a.b\"'\r\n" },
		{ WIRE_ERROR_TOO_MANY_TOKENS, false,
			"-ERR 'Permissions Violation for Subscription to \"a.b\", too many tokens'\r\n" },
		{ WIRE_ERROR_PUBLISH_SUBJECT, false, "-ERR 'Invalid Publish Subject'\r\n" },
		{ WIRE_ERROR_SUBSCRIBE_SUBJECT, false, "-ERR 'Invalid Subject'\r\n" },
		{ WIRE_ERROR_SUBSCRIPTIONS, false, "-ERR 'maximum subscriptions exceeded'\r\n" },
		{ WIRE_ERROR_CONNECTIONS, true, "-ERR 'maximum connections exceeded'\r\n" },
		{ WIRE_ERROR_ACCOUNT_CONNECTIONS, true, "-ERR 'maximum account active connections exceeded'\r\n" },
		{ WIRE_ERROR_STALE, true, "-ERR 'Stale Connection'\r\n" },
		{ WIRE_ERROR_TLS_REQUIRED, true, "-ERR 'Secure Connection - TLS Required'\r\n" },
	};
	struct buf b = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		wire_error_append(&b, cases[i].e, SLICE("a.b"), SLICE("q"));
		CHECK_BUF(&b, cases[i].line);
		assert_int_equal(wire_error_closes(cases[i].e), cases[i].closes);
	}
	buf_deinit(&b);
}

/* What nats-server 2.9.10 answers to these replies (live). */
static void quoting(void **state)
{
	(void)state;
	static const struct {
		const char *subject, *quoted;
	} cases[] = {
		{ "_R_.a\xc3\xa9", "_R_.a\xc3\xa9" },
		{ "\x01\"\\\xff\x7f", "\\x01\\\"\\\\\\xff\\x7f" },
		{ "\xc2\xa0\xe2\x80\xa8\xf0\x9f\x98\x80", "\\u00a0\\u2028\xf0\x9f\x98\x80" },
		{ "\x07\x08\x0b\x0c\x1b", "\\a\\b\\v\\f\\x1b" },
		{ "\xe2\x82\xac\xef\xbf\xbd", "\xe2\x82\xac\xef\xbf\xbd" },
		{ "\xf3\xa0\x80\x81", "\\U000e0001" },
		{ "\xc0\xaf\xed\xa0\x80", "\\xc0\\xaf\\xed\\xa0\\x80" }, /* overlong, surrogate */
		{ "\xe2\x82", "\\xe2\\x82" },                            /* cut short */
		{ "'%q", "'%q" },
	};
	struct buf b = { 0 }, want = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_printf(&want, "-ERR 'Permissions Violation for Publish to \"%s\"'\r\n", cases[i].quoted);
		wire_error_append(&b, WIRE_ERROR_PUBLISH_DENIED, slice_of_str(cases[i].subject), SLICE_NULL);
		CHECK_BUF(&b, buf_str(&want));
		buf_clear(&want);
	}
	buf_deinit(&want);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(lines), cmocka_unit_test(quoting) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
