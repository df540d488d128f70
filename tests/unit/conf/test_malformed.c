/* SPDX-License-Identifier: Apache-2.0 */
/* Malformed files: each is answered with file, line, column, key, and what was expected. */
#include "fixture.h"

static const struct pair files[] = {
	{ "bad.conf", "debug: true\nport: [1" },
	{ "unknown.conf", "debug: true\n\nfoo: 1" },
	{ "dir/bad.conf", "max_payload: x" },
	{ "self.conf", "include self.conf" },
	{ NULL, NULL },
};

static const struct {
	const char *text, *want; /* without the end of the line */
} cases[] = {
	/* grammar: keys and separators */
	{ "debug", "main.conf:1:6: expected a value for \"debug\", found end of file" },
	{ "debug:", "main.conf:1:7: expected a value for \"debug\", found end of file" },
	{ "debug:\ntrue", "main.conf:1:7: expected a value for \"debug\", found end of line" },
	{ "debug\nport: 1", "main.conf:2:7: expected end of line, found '1' (\"debug\" in line 1 has no value and took "
			    "this line's)" },
	{ "debug = # on\n",
		"main.conf:1:11: expected end of line, ',' or ';' behind the value of \"debug\", found 'on'" },
	{ "debug: }", "main.conf:1:7: expected a value for \"debug\", found '}'" },
	{ "authorization { token }", "main.conf:1:23: expected a value for \"token\", found '}'" },
	{ "authorization { token: , user: x }", "main.conf:1:23: expected a value for \"token\", found ','" },
	{ "= 4", "main.conf:1:1: expected a key, found '='" },
	{ ": 4", "main.conf:1:1: expected a key, found ':'" },
	{ "debug: true;;trace: true", "main.conf:1:13: expected a key, found ';'" },
	{ "debug: true,,trace: true", "main.conf:1:13: expected a key, found ','" },
	{ ",debug: true", "main.conf:1:1: expected a key, found ','" },
	{ "debug: true\n] x", "main.conf:2:1: expected a key, found ']'" },
	{ "[1]", "main.conf:1:1: expected a key, found '['" },
	{ "port == 4", "main.conf:1:9: expected end of line, ',' or ';' behind the value of \"port\", found '4'" },
	{ "port: 4222 ping_max: 2",
		"main.conf:1:12: expected end of line, ',' or ';' behind the value of \"port\", found 'ping_max:'" },
	{ "server_name: a'b",
		"main.conf:1:16: expected end of line, ',' or ';' behind the value of \"server_name\", found 'b'" },
	{ "server_name: \"a\"b",
		"main.conf:1:17: expected end of line, ',' or ';' behind the value of \"server_name\", found 'b'" },
	{ "port: 1 /c", "main.conf:1:9: expected end of line, ',' or ';' behind the value of \"port\", found '/c'" },
	{ "authorization{ token: x }",
		"main.conf:1:23: expected end of line, ',' or ';' behind the value of \"authorization{\", found 'x'" },
	{ "'port: 4222",
		"main.conf:1:1: the quote that opens here is never closed, expected ' before the end of the file" },
	/* grammar: braces and brackets */
	{ "{ port: 1",
		"main.conf:1:1: the map that opens here is never closed, expected } before the end of the file" },
	{ "{ port: 1 } ping_max: 2",
		"main.conf:1:13: expected the end of the file behind the last }, found 'ping_max:'" },
	{ "port: 1 } }", "main.conf:1:11: expected the end of the file behind the last }, found '}'" },
	{ "authorization { token: x",
		"main.conf:1:15: the map that opens here is never closed, expected } before the end of the file" },
	{ "a: 1\naccounts {\n A {\n}\n",
		"main.conf:2:10: the map that opens here is never closed, expected } before the end of the file" },
	{ "server_tags: [",
		"main.conf:1:14: the array that opens here is never closed, expected ] before the end of the file" },
	{ "server_tags: [a",
		"main.conf:1:14: the array that opens here is never closed, expected ] before the end of the file" },
	{ "server_tags: [a,,b]", "main.conf:1:17: expected a value, found ',b]'" },
	{ "server_tags: [,a]", "main.conf:1:15: expected a value, found ',a]'" },
	{ "server_tags: [a b]", "main.conf:1:17: expected ',' or ']' in the array, found 'b]'" },
	{ "server_tags: [a;b]", "main.conf:1:16: expected ',' or ']' in the array, found ';b]'" },
	{ "server_tags: [a}", "main.conf:1:16: expected ',' or ']' in the array, found '}'" },
	{ "server_tags: [a]]",
		"main.conf:1:17: expected end of line, ',' or ';' behind the value of \"server_tags\", found ']'" },
	{ "listen: [::1]:4222",
		"main.conf:1:14: expected end of line, ',' or ';' behind the value of \"listen\", found ':4222'" },
	/* grammar: texts and numbers */
	{ "debug: true\nserver_name: \"abc\nport: 1\n",
		"main.conf:2:14: the quote that opens here is never closed, expected \" before the end of the file" },
	{ "server_name: \"a\\qb\"",
		"main.conf:1:16: invalid escape, expected one of \\t \\n \\r \\\" \\\\ \\xHH, found 'qb\"'" },
	{ "server_name: \"a\\x4\"", "main.conf:1:16: expected two hexadecimal digits behind \\x" },
	{ "server_name (\nabc", "main.conf:1:13: the block that opens here is never closed, expected a line with only "
				") before the end of the file" },
	{ "max_payload: 99999999999999999999",
		"main.conf:1:14: the number 99999999999999999999 is larger than any setting can be" },
	{ "max_payload: 9999e", "main.conf:1:14: the number 9999e is larger than any setting can be" },
	{ "port: $NOPE", "main.conf:1:7: the variable $NOPE is neither defined above nor in the environment" },
	/* includes: the file that is named is the one that is wrong */
	{ "include", "main.conf:1:8: include: expected the name of a file, found end of file" },
	{ "include\nx.conf", "main.conf:1:8: include: expected the name of a file, found end of line" },
	{ "include [bad.conf]", "main.conf:1:9: include: expected the name of a file, found '[bad.conf]'" },
	{ "debug: true\ninclude nope.conf", "main.conf:2:1: the file \"nope.conf\" cannot be read: not found" },
	{ "include self.conf", "self.conf:1:1: the file \"self.conf\" includes itself" },
	{ "include main.conf", "main.conf:1:1: the file \"main.conf\" includes itself" },
	{ "include bad.conf",
		"bad.conf:2:7: the array that opens here is never closed, expected ] before the end of the file" },
	{ "include unknown.conf", "unknown.conf:3:1: unknown field \"foo\"" },
	{ "include dir/bad.conf",
		"dir/bad.conf:1:1: max_payload: expected a size such as 65536, 64KB or 1MB, found the string \"x\"" },
	/* keys that nobody knows */
	{ "foo: 1", "main.conf:1:1: unknown field \"foo\"" },
	{ "max_paylod: 1", "main.conf:1:1: unknown field \"max_paylod\", did you mean \"max_payload\"?" },
	{ "\n\n  Debog: 1", "main.conf:3:3: unknown field \"Debog\", did you mean \"debug\"?" },
	{ "X: 5", "main.conf:1:1: unknown field \"X\"" },
	{ "authorization { foo: 1 }", "main.conf:1:17: unknown field \"foo\" in authorization" },
	{ "authorization { tokn: 1 }",
		"main.conf:1:17: unknown field \"tokn\" in authorization, did you mean \"token\"?" },
	{ "authorization { users: [ { user: a, foo: 1 } ] }",
		"main.conf:1:37: unknown field \"foo\" in authorization.users[]" },
	{ "authorization { default_permissions { foo: a } }", "main.conf:1:39: unknown field \"foo\" in permissions" },
	{ "authorization { permissions { publish { alow: a } } }",
		"main.conf:1:41: unknown field \"alow\" in permissions.publish, did you mean \"allow\"?" },
	{ "authorization { permissions { allow_responses { foo: 1 } } }",
		"main.conf:1:49: unknown field \"foo\" in permissions.allow_responses" },
	{ "accounts { A { foo: 1 } }", "main.conf:1:16: unknown field \"foo\" in accounts.NAME" },
	{ "accounts { A { limits { foo: 1 } } }", "main.conf:1:25: unknown field \"foo\" in accounts.NAME.limits" },
	{ "accounts { A { jetstream { foo: 1 } } }",
		"main.conf:1:28: unknown field \"foo\" in accounts.NAME.jetstream" },
	{ "jetstream { foo: 1 }", "main.conf:1:13: unknown field \"foo\" in jetstream" },
	{ "jetstream { limits { foo: 1 } }", "main.conf:1:22: unknown field \"foo\" in jetstream.limits" },
	{ "websocket { foo: 1 }", "main.conf:1:13: unknown field \"foo\" in websocket" },
	{ "leafnodes { foo: 1 }", "main.conf:1:13: unknown field \"foo\" in leafnodes" },
	{ "journal { slots: 1 }", "main.conf:1:11: unknown field \"slots\" in journal" },
	/* files that cannot be used: the key whose file it is */
	{ "port: 1\ntls {\n  cert_file: bad.pem\n  key_file: k.pem\n}",
		"main.conf:3:3: tls.cert_file: expected PEM, found bad.pem" },
	{ "tls { cert_file: c.pem, key_file: bad.pem }", "main.conf:1:25: tls.key_file: expected PEM, found bad.pem" },
	{ "tls { cert_file: c.pem, key_file: k.pem\n ca_file: bad.pem }",
		"main.conf:2:2: tls.ca_file: expected PEM, found bad.pem" },
	/* values of the wrong kind */
	{ "port: \"4222\"", "main.conf:1:1: port: expected a port, or -1 for any free one, found the string \"4222\"" },
	{ "port: [1,2]", "main.conf:1:1: port: expected a port, or -1 for any free one, found an array" },
	{ "port: 42.5", "main.conf:1:1: port: expected a port, or -1 for any free one, found the number 42.5" },
	{ "debug: \"true\"", "main.conf:1:1: debug: expected true or false, found the string \"true\"" },
	{ "debug: 1", "main.conf:1:1: debug: expected true or false, found the number 1" },
	{ "ping_max: true", "main.conf:1:1: ping_max: expected a whole number, found true" },
	{ "ping_max: 2.5", "main.conf:1:1: ping_max: expected a whole number, found the number 2.5" },
	{ "max_payload: \"1MB\"",
		"main.conf:1:1: max_payload: expected a size such as 65536, 64KB or 1MB, found the string \"1MB\"" },
	{ "max_payload: {}", "main.conf:1:1: max_payload: expected a size such as 65536, 64KB or 1MB, found a map" },
	{ "ping_interval: x", "main.conf:1:1: ping_interval: expected a duration such as \"2m\", \"1h30m\" or "
			      "\"500ms\", found the string \"x\"" },
	{ "ping_interval: 5 minutes", "main.conf:1:18: expected end of line, ',' or ';' behind the value of "
				      "\"ping_interval\", found 'minutes'" },
	{ "ping_interval: on", "main.conf:1:1: ping_interval: expected a duration such as \"2m\", \"1h30m\" or "
			       "\"500ms\", found true" },
	{ "ping_interval: 1e", "main.conf:1:1: ping_interval: expected a duration such as \"2m\", \"1h30m\" or "
			       "\"500ms\", found the number 1e" },
	{ "server_name: 5", "main.conf:1:1: server_name: expected a string (put it in quotes), found the number 5" },
	{ "server_name: true", "main.conf:1:1: server_name: expected a string (put it in quotes), found true" },
	{ "server_name: [a]", "main.conf:1:1: server_name: expected a string, found an array" },
	{ "server_tags: [a, 1]",
		"main.conf:1:18: server_tags: expected a string (put it in quotes), found the number 1" },
	{ "server_tags { a: b }", "main.conf:1:1: server_tags: expected a string, found a map" },
	{ "server_metadata: x", "main.conf:1:1: server_metadata: expected a map { … }, found the string \"x\"" },
	{ "server_metadata { a: 1 }", "main.conf:1:19: a: expected a string (put it in quotes), found the number 1" },
	{ "listen: x", "main.conf:1:1: listen: expected \"host:port\", \":port\" or a port, with a port of 0 to 65535 "
		       "or -1 for any free one, found the "
		       "string \"x\"" },
	{ "listen: x:y", "main.conf:1:1: listen: expected \"host:port\", \":port\" or a port, with a port of 0 to "
			 "65535 or -1 for any free one, found the "
			 "string \"x:y\"" },
	{ "listen: a:b:1", "main.conf:1:1: listen: expected \"host:port\", \":port\" or a port, with a port of 0 to "
			   "65535 or -1 for any free one, found the "
			   "string \"a:b:1\"" },
	{ "http: 65536", "main.conf:1:1: http: expected \"host:port\", \":port\" or a port, with a port of 0 to 65535 "
			 "or -1 for any free one, found the "
			 "number 65536" },
	{ "http_port: \":1\"",
		"main.conf:1:1: http_port: expected a port, or -1 for any free one, found the string \":1\"" },
	{ "jetstream: x", "main.conf:1:1: jetstream: expected true, false, \"enabled\", \"disabled\" or a map { … }, "
			  "found the string \"x\"" },
	{ "jetstream: 5", "main.conf:1:1: jetstream: expected true, false, \"enabled\", \"disabled\" or a map { … }, "
			  "found the number 5" },
	{ "jetstream { max_mem: \"1X\" }",
		"main.conf:1:13: max_mem: expected a size such as 1GB or \"1G\", found the string \"1X\"" },
	{ "jetstream { max_mem: \"99999999999T\" }",
		"main.conf:1:13: max_mem: expected a size such as 1GB or \"1G\", found the string \"99999999999T\"" },
	{ "jetstream { sync: sometimes }", "main.conf:1:13: sync: expected a duration such as \"2m\", \"1h30m\" or "
					   "\"500ms\", found the string \"sometimes\"" },
	{ "jetstream { sync: lazy }", "main.conf:1:13: sync: expected a duration such as \"2m\", \"1h30m\" or "
				      "\"500ms\", found the string \"lazy\"" },
	{ "jetstream { sync_interval: lazy }", "main.conf:1:13: sync_interval: expected a duration such as \"2m\", "
					       "\"1h30m\" or \"500ms\", found the string \"lazy\"" },
	{ "jetstream { limits: 5 }", "main.conf:1:13: limits: expected a map { … }, found the number 5" },
	{ "jetstream { store_dir: \"\" }",
		"main.conf:1:13: store_dir: expected the path of a directory, found the string \"\"" },
	{ "store_dir: /a\njetstream { store_dir: /b }",
		"main.conf:2:13: store_dir: set twice, expected it here or in main.conf:1, not both" },
	{ "jetstream { store_dir: /b }\nstore_dir: /a",
		"main.conf:2:1: store_dir: set twice, expected it here or in main.conf:1, not both" },
	/* values out of their bounds */
	{ "port: -2", "main.conf:1:1: port: expected -1 to 65535, found the number -2" },
	{ "port: 65536", "main.conf:1:1: port: expected -1 to 65535, found the number 65536" },
	{ "max_payload: -5", "main.conf:1:1: max_payload: expected 0 to 2147483647, found the number -5" },
	{ "max_control_line: 5gb", "main.conf:1:1: max_control_line: expected 0 to 2147483647, found the number 5gb" },
	{ "max_sub_tokens: 256", "main.conf:1:1: max_sub_tokens: expected 1 to 255, found the number 256" },
	{ "max_sub_tokens: 0", "main.conf:1:1: max_sub_tokens: expected 1 to 255, found the number 0" },
	{ "ping_interval: \"-1s\"",
		"main.conf:1:1: ping_interval: expected 0s to 8784h0m0s, found the string \"-1s\"" },
	{ "lame_duck_duration: \"10s\"",
		"main.conf:1:1: lame_duck_duration: expected 30s to 8784h0m0s, found the string \"10s\"" },
	{ "max_connections: -2", "main.conf:1:1: max_connections: expected -1 to 2147483647, found the number -2" },
	{ "journal { slot_count: 1 }", "main.conf:1:11: slot_count: expected 4 to 4096, found the number 1" },
	{ "journal { slot_size: 1024 }",
		"main.conf:1:11: slot_size: expected 32768 to 4294967296, found the number 1024" },
	{ "authorization { timeout: 0 }", "main.conf:1:17: timeout: expected 1ms to 8784h0m0s, found the number 0" },
	{ "accounts { A { limits { max_conn: -2 } } }",
		"main.conf:1:25: max_conn: expected -1 to 2147483647, found the number -2" },
	/* users, permissions, accounts; secrets are never repeated */
	{ "authorization: 5", "main.conf:1:1: authorization: expected a map { … }, found the number 5" },
	{ "authorization { users: { user: a } }",
		"main.conf:1:17: users: expected an array of users [ {user: …}, … ], found a map" },
	{ "authorization { users: [ a ] }", "main.conf:1:26: users: expected a map { … }, found the string \"a\"" },
	{ "authorization { users: [ {password: b} ] }",
		"main.conf:1:26: users: expected every user to have a name, found one without \"user\"" },
	{ "authorization { users: [ {user: \"\", password: b} ] }",
		"main.conf:1:27: user: expected a name, found the string \"\"" },
	{ "authorization { users: [ {user: a, password: 12345} ] }",
		"main.conf:1:36: password: expected a string (put it in quotes), found a whole number" },
	{ "authorization { user: 5, password: p }",
		"main.conf:1:17: user: expected a string (put it in quotes), found the number 5" },
	{ "authorization { user: a, password: 12345 }",
		"main.conf:1:26: password: expected a string (put it in quotes), found a whole number" },
	{ "authorization { token: \"\" }", "main.conf:1:17: token: expected a text, found an empty one" },
	{ "authorization { timeout: x }", "main.conf:1:17: timeout: expected a duration such as \"2m\", \"1h30m\" or "
					  "\"500ms\", found the string \"x\"" },
	{ "authorization { permissions: x }",
		"main.conf:1:17: permissions: expected a map { … }, found the string \"x\"" },
	{ "authorization { permissions { publish: 5 } }",
		"main.conf:1:31: publish: expected a subject or an array of subjects, found the number 5" },
	{ "authorization { permissions { publish: [a, 5] } }",
		"main.conf:1:44: publish: expected a string (put it in quotes), found the number 5" },
	{ "authorization { permissions { publish: a..b } }",
		"main.conf:1:31: publish: expected a valid subject, found \"a..b\"" },
	{ "authorization { permissions { publish: [a, \"b c\"] } }",
		"main.conf:1:44: publish: expected a valid subject, found \"b c\"" },
	{ "authorization { permissions { publish: \"a.>.b\" } }",
		"main.conf:1:31: publish: expected a valid subject, found \"a.>.b\"" },
	{ "authorization { permissions { publish: \"\" } }",
		"main.conf:1:31: publish: expected a valid subject, found \"\"" },
	{ "authorization { permissions { subscribe: \"a b c\" } }",
		"main.conf:1:31: subscribe: expected a valid subject or \"subject queue\", found \"a b c\"" },
	{ "authorization { permissions { publish: [] } }",
		"main.conf:1:31: publish: the list is empty, which nats-server takes for everything; expected allow: "
		"\">\" or deny: \">\"" },
	{ "authorization { permissions { subscribe { allow: [] } } }",
		"main.conf:1:43: allow: the list is empty, which nats-server takes for everything; expected allow: "
		"\">\" or deny: \">\"" },
	{ "authorization { permissions { allow_responses: 5 } }",
		"main.conf:1:31: allow_responses: expected true, false or a map { … }, found the number 5" },
	{ "authorization { permissions { allow_responses { expires: x } } }",
		"main.conf:1:49: expires: expected a duration such as \"2m\", \"1h30m\" or \"500ms\", found the string "
		"\"x\"" },
	{ "authorization { users: [ {user: b, allowed_connection_types: [foo]} ] }",
		"main.conf:1:36: allowed_connection_types: expected STANDARD, WEBSOCKET, LEAFNODE, LEAFNODE_WS, MQTT, "
		"MQTT_WS or IN_PROCESS, found "
		"\"foo\"" },
	{ "accounts: 5", "main.conf:1:1: accounts: expected a map of accounts { NAME { … } }, found the number 5" },
	{ "accounts { A: 5 }", "main.conf:1:12: A: expected a map { … }, found the number 5" },
	{ "accounts { $G {} }",
		"main.conf:1:12: accounts: \"$G\" is reserved, its users stand in authorization.users" },
	{ "accounts { \"a b\" {} }", "main.conf:1:12: accounts: expected a name without spaces, found \"a b\"" },
	{ "accounts { A { users: 5 } }",
		"main.conf:1:16: users: expected an array of users [ {user: …}, … ], found the number 5" },
	{ "accounts { A { jetstream: 5 } }", "main.conf:1:16: jetstream: expected true, false, \"enabled\", "
					     "\"disabled\" or a map { … }, found the number 5" },
	{ "no_auth_user: 5", "main.conf:1:1: no_auth_user: expected a string (put it in quotes), found the number 5" },
	{ "no_system_account: x", "main.conf:1:1: no_system_account: expected true or false, found the string \"x\"" },
	/* what a hostile name can do to the line */
	{ "\"a\nb\x1b"
	  "[31m\": 1",
		"main.conf:1:1: unknown field \"a\\x0ab\\x1b[31m\"" },
};

static void each_is_answered_with_place_key_and_expectation(void **state)
{
	(void)state;
	struct buf want = { 0 };
	size_t wrong = 0;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct world w = { .text = cases[i].text, .files = files };
		struct conf c;
		struct conf_report report;
		enum err e = load_with(&w, NULL, &c, &report);
		buf_clear(&want);
		buf_printf(&want, "%s\n", cases[i].want);
		if (e != ERR_INVALID || c.arena.head || strcmp(buf_str(&report.errors), buf_str(&want)) != 0) {
			print_error("\"%s\":\nexpected %sgot      %s", cases[i].text, buf_str(&want),
				buf_str(&report.errors));
			wrong++;
		}
		conf_report_deinit(&report);
		conf_deinit(&c);
	}
	buf_deinit(&want);
	assert_int_equal(wrong, 0);
	assert_true(COUNT_OF(cases) >= 60);
}

/* What is no configuration at all is told from a value that is wrong, and from a file that is not to be had. */
static void syntax_is_told_apart(void **state)
{
	static const struct {
		const char *text;
		bool is_syntax;
	} files_of[] = { { "debug", true }, { "debug: true\ninclude bad.conf", true }, { "port: : \"x\"", true },
		{ "max_payload: x", false }, { "foo: 1", false }, { "include nope.conf", false } };
	(void)state;
	for (size_t i = 0; i < COUNT_OF(files_of); i++) {
		struct world w = { .text = files_of[i].text, .files = files };
		struct conf c;
		struct conf_report report;
		assert_int_equal(load_with(&w, NULL, &c, &report), ERR_INVALID);
		if (report.is_syntax != files_of[i].is_syntax)
			fail_msg("%s: %s", files_of[i].text, buf_str(&report.errors));
		conf_report_deinit(&report);
		conf_deinit(&c);
	}
}

/* Every good file of this list, cut at every byte: it loads or it says where it is wrong, and nothing else happens. */
static void cut_files_are_answered(void **state)
{
	(void)state;
	static const char whole[] =
		"X: {publish: [\"a.>\"]}\nport: -1\nserver_tags [ \"a\\x41\", b ]\n# c\n"
		"accounts { A { users: [ {user: u, password: 'p', permissions: $X} ], jetstream { max_mem: 1gb } } }\n"
		"jetstream { store_dir: \"/tmp\", sync_interval: 2m0s }\nserver_metadata (\nblock\n)\n";
	for (size_t n = 0; n < sizeof whole; n++) {
		char *text = mem_alloc(n + 1); /* its own allocation: reading past it is seen */
		memcpy(text, whole, n);
		text[n] = '\0';
		struct world w = { .text = text };
		struct conf c;
		struct conf_report report;
		enum err e = load_with(&w, NULL, &c, &report);
		assert_int_equal(e == OK, report.error_count == 0);
		if (e != OK) assert_true(strncmp(buf_str(&report.errors), "main.conf:", 10) == 0);
		conf_report_deinit(&report);
		conf_deinit(&c);
		mem_free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_is_answered_with_place_key_and_expectation),
		cmocka_unit_test(cut_files_are_answered),
		cmocka_unit_test(syntax_is_told_apart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
