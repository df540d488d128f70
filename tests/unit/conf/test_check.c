/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

static void keys_that_contradict_each_other(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "max_payload: 100mb\nmax_pending: 1mb",
			"main.conf:1:1: max_payload: expected at most max_pending (1048576), found 104857600\n" },
		{ "lame_duck_grace_period: \"200s\"",
			"main.conf:1:1: lame_duck_grace_period: expected less than lame_duck_duration\n" },
		{ "lame_duck_duration: 30s\nlame_duck_grace_period: 30s",
			"main.conf:2:1: lame_duck_grace_period: expected less than lame_duck_duration\n" },
		{ "server_name: \"a b\"",
			"main.conf:1:1: server_name: expected a name without spaces, found \"a b\"\n" },
		{ "server_name: \"\"", "main.conf:1:1: server_name: expected a name without spaces, found \"\"\n" },
		{ "authorization { password: p }", "main.conf:1:17: authorization: expected a user beside the "
						   "password; alone it would let everybody in\n" },
		{ "authorization { user: u, token: t }",
			"main.conf:1:26: authorization: expected a user and password, or a token, not both\n" },
		{ "authorization { user: u, users: [ {user: v} ] }",
			"main.conf:1:26: authorization: expected a single user, or an array of users, not both\n" },
		{ "authorization { token: t, users: [ {user: v} ] }",
			"main.conf:1:27: authorization: expected a token, or an array of users, not both\n" },
		{ "authorization { token: t }\naccounts { A {} }",
			"main.conf:2:1: authorization: expected users in the accounts, not a token beside them\n" },
		{ "accounts { A {} }\nauthorization { user: u, pass: p }",
			"main.conf:1:1: authorization: expected users in the accounts, not a single user beside "
			"them\n" },
		{ "authorization { users: [ {user: a}, {user: b}\n {user: a} ] }",
			"main.conf:2:2: user \"a\" is defined twice, expected once; first in main.conf:1\n" },
		{ "authorization { users: [ {user: a} ] }\naccounts { A { users: [ {user: a} ] } }",
			"main.conf:2:25: user \"a\" is defined twice, expected once; first in main.conf:1\n" },
		{ "accounts { A { users: [ {user: a} ] }\n B { users: [ {user: a} ] } }",
			"main.conf:2:15: user \"a\" is defined twice, expected once; first in main.conf:1\n" },
		{ "no_auth_user: x",
			"main.conf:1:1: no_auth_user: expected a user that is defined, but there are no users\n" },
		{ "authorization { users: [ {user: a} ] }\nno_auth_user: x",
			"main.conf:2:1: no_auth_user: expected a user that is defined in authorization or accounts, "
			"found \"x\"\n" },
		{ "authorization { user: a }\nno_auth_user: a",
			"main.conf:2:1: no_auth_user: expected a user that is defined, but there are no users\n" },
		{ "system_account: NOPE",
			"main.conf:1:1: system_account: expected the name of an account, found \"NOPE\"\n" },
		{ "system_account: $G",
			"main.conf:1:17: the variable $G is neither defined above nor in the environment\n" },
		{ "system_account: \"$G\"", "main.conf:1:1: system_account: expected another account than \"$G\"\n" },
		{ "accounts [A, A]", "main.conf:1:1: account \"A\" is defined twice, expected once\n" },
		{ "jetstream { domain: a.b }", "main.conf:1:13: jetstream.domain: expected a name without dots, "
					       "wildcards and spaces, found \"a.b\"\n" },
		{ "jetstream { domain: \"*\" }", "main.conf:1:13: jetstream.domain: expected a name without dots, "
						 "wildcards and spaces, found \"*\"\n" },
		{ "journal { slot_size: 40000 }",
			"main.conf:1:11: journal.slot_size: expected a multiple of 4096, found 40000\n" },
		/* warnings */
		{ "max_payload: 9mb", "" },
		{ "authorization { users: [] }",
			"main.conf:1:17: users: the list is empty, so everybody may connect\n" },
	};
	struct buf said = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct world w = { .text = cases[i].text };
		load_says(&w, NULL, &said);
		if (strcmp(buf_str(&said), cases[i].want) != 0)
			fail_msg("\"%s\":\nexpected %sgot      %s", cases[i].text, cases[i].want, buf_str(&said));
	}
	buf_deinit(&said);
}

static void the_system_account_is_found_or_made(void **state)
{
	(void)state;
	static const struct {
		const char *text, *name; /* NULL: none */
		size_t accounts;
	} cases[] = {
		{ "", "$SYS", 2 },
		{ "accounts { A {} }", "$SYS", 3 },
		{ "accounts { $SYS { users: [ {user: s, password: p} ] } }", "$SYS", 2 },
		{ "accounts { SYS {}, B {} }\nsystem: SYS", "SYS", 3 },
		{ "X: SYS\naccounts { SYS {}, B {} }\nsystem_account: $X", "SYS", 3 },
		{ "system_account: \"$SYS\"", "$SYS", 2 },
		{ "no_system_account: true", NULL, 1 },
		{ "no_sys_acc: true\naccounts { A {} }", NULL, 2 },
		{ "no_system: false", "$SYS", 2 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf c = load_fine(cases[i].text);
		assert_int_equal(c.account_count, cases[i].accounts);
		size_t systems = 0;
		for (size_t a = 0; a < c.account_count; a++) {
			systems += c.accounts[a].is_system;
			if (c.accounts[a].is_system) assert_string_equal(c.accounts[a].name, cases[i].name);
		}
		assert_int_equal(systems, cases[i].name ? 1 : 0);
		assert_int_equal(c.system_account == NULL, cases[i].name == NULL);
		conf_deinit(&c);
	}
}

static void users_of_the_system_alone_leave_the_door_open(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool is_open;
	} cases[] = {
		{ "", false },
		{ "authorization { users: [ {user: a} ] }", false },
		{ "accounts { $SYS { users: [ {user: s} ] } }", true },
		{ "accounts { SYS { users: [ {user: s} ] } }\nsystem_account: SYS", true },
		{ "accounts { SYS { users: [ {user: s} ] }, A {} }\nsystem_account: SYS", true },
		{ "accounts { SYS { users: [ {user: s} ] }, A { users: [ {user: a} ] } }\nsystem_account: SYS", false },
		{ "accounts { SYS { users: [ {user: s} ] } }\nsystem_account: SYS\nno_auth_user: s", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf c = load_fine(cases[i].text);
		assert_int_equal(c.is_open_to_global, cases[i].is_open);
		conf_deinit(&c);
	}
}

static void global_stores_when_nobody_else_could(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool stores;
	} cases[] = {
		{ "jetstream {}", true },
		{ "jetstream {}\naccounts { SYS {} }\nsystem_account: SYS", true },
		{ "jetstream {}\naccounts { A { jetstream: true } }", false },
		{ "jetstream {}\naccounts { A {} }", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf c = load_fine(cases[i].text);
		assert_int_equal(c.accounts[0].jetstream.enabled, cases[i].stores);
		conf_deinit(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_that_contradict_each_other),
		cmocka_unit_test(the_system_account_is_found_or_made),
		cmocka_unit_test(users_of_the_system_alone_leave_the_door_open),
		cmocka_unit_test(global_stores_when_nobody_else_could),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
