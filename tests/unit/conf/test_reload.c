/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

static void see(void *arg, const struct conf_change *change)
{
	struct buf *text = arg;
	buf_printf(text, "%s%s [%s]", text->n ? "; " : "", change->text, change->is_reloadable ? change->key : "no");
}

static void what_differs_is_told_and_what_cannot_change_counted(void **state)
{
	(void)state;
	static const struct {
		const char *old, *new, *want;
		size_t refused;
	} cases[] = {
		{ "", "", "", 0 },
		{ "debug: true", "debug: on", "", 0 },
		{ "", "debug: true", "debug = true [debug]", 0 },
		{ "max_payload: 1mb", "max_payload: 2mb", "max_payload = 2097152 [max_payload]", 0 },
		{ "ping_interval: 1m0s", "ping_interval: 90s", "ping_interval = 1m30s [ping_interval]", 0 },
		{ "log_file: a", "", "log_file = (not set) [log_file]", 0 },
		{ "server_tags: [a, b]", "server_tags: [a, c]", "server_tags = [a c] [server_tags]", 0 },
		{ "server_metadata { a: b }", "server_metadata { a: c }", "server_metadata [server_metadata]", 0 },
		{ "", "port: 4333", "port = 4333 [no]", 1 },
		{ "", "port: 4333\nhost: h\ndebug: on", "port = 4333 [no]; host = h [no]; debug = true [debug]", 2 },
		{ "http: 8222", "http: 8223", "http = 0.0.0.0:8223 [no]", 1 },
		{ "http: 8222", "", "http = off [no]", 1 },
		{ "", "server_name: x", "server_name = x [no]", 1 },
		{ "jetstream {}", "", "jetstream.enabled = false [no]", 1 },
		{ "jetstream { max_mem: 1gb }", "jetstream { max_mem: 2gb }",
			"jetstream.max_memory_store = 2147483648 [jetstream.max_memory_store]", 0 },
		{ "jetstream { store_dir: a }", "store_dir: b\njetstream {}", "jetstream store_dir [no]", 1 },
		{ "", "journal { slot_count: 8 }", "journal.slot_count = 8 [no]", 1 },
		/* users: no secret is told */
		{ "authorization { user: a, password: b }", "authorization { user: a, password: c }",
			"authorization password [authorization.password]", 0 },
		{ "authorization { token: a }", "authorization { token: b }",
			"authorization token [authorization.token]", 0 },
		{ "authorization { users: [ {user: a} ] }", "authorization { users: [ {user: a}, {user: b} ] }",
			"authorization users [authorization.users]", 0 },
		{ "authorization { users: [ {user: a, password: b} ] }",
			"authorization { users: [ {user: a, password: c} ] }",
			"authorization users [authorization.users]", 0 },
		{ "authorization { users: [ {user: a, permissions: {publish: x}} ] }",
			"authorization { users: [ {user: a, permissions: {publish: [x]}} ] }", "", 0 },
		{ "authorization { users: [ {user: a, permissions: {publish: x}} ] }",
			"authorization { users: [ {user: a, permissions: {subscribe: x}} ] }",
			"authorization users [authorization.users]", 0 },
		{ "authorization { users: [ {user: a, permissions: {allow_responses: true}} ] }",
			"authorization { users: [ {user: a, permissions: {allow_responses: {max: 2}}} ] }",
			"authorization users [authorization.users]", 0 },
		{ "authorization { users: [ {user: a} ] }", "authorization { users: [ {user: a, clients: MQTT} ] }",
			"authorization users [authorization.users]", 0 },
		{ "", "authorization { permissions { publish: x } }",
			"authorization default_permissions [authorization.default_permissions]", 0 },
		{ "accounts { A {} }", "accounts { A {}, B {} }", "accounts [accounts]", 0 },
		{ "accounts { A { users: [ {user: a} ] } }", "accounts { A { users: [ {user: b} ] } }",
			"accounts [accounts]", 0 },
		{ "accounts { A { limits { max_conn: 1 } } }", "accounts { A { limits { max_conn: 2 } } }",
			"accounts [accounts]", 0 },
		{ "accounts { A { jetstream: true } }", "accounts { A { jetstream { max_mem: 1 } } }",
			"accounts [accounts]", 0 },
		{ "accounts { A {}, B {} }", "accounts { B {}, A {} }", "accounts [accounts]", 0 },
		{ "accounts { A { users: [ {user: a} ] } }", "accounts { A { users: [ {user: a} ] } }\nno_auth_user: a",
			"no_auth_user [no_auth_user]", 0 },
		{ "accounts { A {}, B {} }\nsystem_account: A", "accounts { A {}, B {} }\nsystem_account: B",
			"system_account [no]", 1 },
	};
	struct buf said = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf old = load_fine(cases[i].old), new = load_fine(cases[i].new);
		size_t refused = conf_diff(&old, &new, see, &said);
		if (strcmp(buf_str(&said), cases[i].want) != 0 || refused != cases[i].refused)
			fail_msg("\"%s\" -> \"%s\": %zu refused, %s", cases[i].old, cases[i].new, refused,
				buf_str(&said));
		buf_clear(&said);
		conf_deinit(&old);
		conf_deinit(&new);
	}
	buf_deinit(&said);
}

/* Every row over struct conf is compared: each gets another value here than its default and must be told. */
static void no_row_is_forgotten(void **state)
{
	(void)state;
	size_t count, seen = 0;
	const struct conf_row *rows = conf_rows(&count);
	struct buf said = { 0 };
	for (size_t i = 0; i < count; i++) {
		bool is_ours = strcmp(conf_section_of(rows[i].section)->tag, "conf") == 0;
		size_t bytes[] = {
			[CONF_BOOL] = 1,
			[CONF_INT] = 8,
			[CONF_LIMIT] = 8,
			[CONF_SIZE] = 8,
			[CONF_DURATION] = 8,
			[CONF_PORT] = 2,
		};
		if (!is_ours || rows[i].type >= COUNT_OF(bytes) || !bytes[rows[i].type]) continue;
		struct conf old = load_fine(""), new = load_fine("");
		*((uint8_t *)&new + rows[i].offset) ^= 1;
		(void)conf_diff(&old, &new, see, &said);
		if (said.n == 0) fail_msg("%s", rows[i].name);
		buf_clear(&said);
		conf_deinit(&old);
		conf_deinit(&new);
		seen++;
	}
	assert_true(seen > 30);
	buf_deinit(&said);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_differs_is_told_and_what_cannot_change_counted),
		cmocka_unit_test(no_row_is_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
