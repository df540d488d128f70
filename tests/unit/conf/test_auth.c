/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

static void one_user_or_one_token(void **state)
{
	(void)state;
	struct conf c = load_fine("authorization { username: ann, pass: \"s3cret\", timeout: 1 }");
	assert_string_equal(c.auth_user, "ann");
	assert_string_equal(c.auth_password, "s3cret");
	assert_null(c.auth_token);
	assert_true(c.auth_timeout_ns == SECONDS(1));
	conf_deinit(&c);
	c = load_fine("authorization { user: ann }");
	assert_string_equal(c.auth_user, "ann");
	assert_null(c.auth_password);
	conf_deinit(&c);
	c = load_fine("authorization: { token: $2a$11$abc }");
	assert_string_equal(c.auth_token, "$2a$11$abc");
	conf_deinit(&c);
}

static void strings_print(struct buf *out, const struct conf_strings *s)
{
	for (size_t i = 0; i < s->count; i++) buf_printf(out, "%s%s", i ? "," : "", s->at[i]);
}

/* "p+allow p-deny s+allow s-deny r(max,expires)"; a direction without a list shows nothing, an empty allow list shows
 * "p+" */
static void permissions_print(struct buf *out, const struct conf_permissions *p)
{
	const struct {
		char letter;
		const struct conf_subjects *subjects;
	} directions[] = { { 'p', &p->publish }, { 's', &p->subscribe } };
	for (size_t i = 0; i < COUNT_OF(directions); i++) {
		const struct conf_subjects *s = directions[i].subjects;
		if (s->allow_is_set) {
			buf_printf(out, "%c+", directions[i].letter);
			strings_print(out, &s->allow);
			buf_append_byte(out, ' ');
		}
		if (!s->deny.count) continue;
		buf_printf(out, "%c-", directions[i].letter);
		strings_print(out, &s->deny);
		buf_append_byte(out, ' ');
	}
	if (!p->allow_responses) return;
	buf_printf(out, "r(%lld,", (long long)p->responses_max);
	duration_print(out, p->responses_expires_ns);
	buf_append_str(out, ") ");
}

static void permissions_in_all_their_forms(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "{}", "" }, { "{ publish: foo }", "p+foo " }, { "{ pub: [foo, \"bar.>\"] }", "p+foo,bar.> " },
		{ "{ import: foo, export: bar }", "p+foo s+bar " },
		{ "{ publish { allow: foo, deny: [a, b.*] } }", "p+foo p-a,b.* " },
		{ "{ publish { deny: \">\" } }", "p-> " }, { "{ publish { deny: [] } }", "" },
		{ "{ subscribe: [\"foo queue\", \"bar.> q.*\", baz] }", "s+foo queue,bar.> q.*,baz " },
		{ "{ sub { allow: [\"_INBOX.>\"], deny: \"a b\" } }", "s+_INBOX.> s-a b " },
		{ "{ allow_responses: true }", "p+ r(1,2m0s) " }, { "{ allow_responses: false }", "" },
		{ "{ allow_response: yes, publish: foo }", "p+foo r(1,2m0s) " },
		{ "{ allow_responses: true, publish { deny: foo } }", "p+ p-foo r(1,2m0s) " },
		{ "{ allow_responses { max: 5, expires: \"1m\" } }", "p+ r(5,1m0s) " },
		{ "{ allow_responses { max_msgs: -1, ttl: \"-1s\" } }", "p+ r(-1,-1s) " },
		{ "{ allow_responses { max: 0, expires: \"0s\" } }", "p+ r(1,2m0s) " },
		{ "{ allow_responses {} }", "p+ r(1,2m0s) " },
		{ "{ publish: \"foo*.a>b\" }", "p+foo*.a>b " }, /* literal tokens */
	};
	static const char *const wraps[] = {
		"authorization { users: [ { user: u, permissions: %s } ] }",
		"authorization { users: [ { user: u, permission %s } ] }",
		"accounts { A { users: [ { user: u, authorization = %s } ] } }",
		"authorization { default_permissions: %s }",
		"authorization { permissions %s }",
		"accounts { A { default_permissions: %s } }",
	};
	struct buf said = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		for (size_t wrap = 0; wrap < COUNT_OF(wraps); wrap++) {
			char text[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			(void)snprintf(text, sizeof text, wraps[wrap], cases[i].text);
#pragma GCC diagnostic pop
			struct conf c = load_fine(text);
			const struct conf_permissions *p = c.default_permissions;
			if (!p) p = c.accounts[1].default_permissions;
			if (!p) p = c.accounts[wrap == 2].users[0].permissions;
			permissions_print(&said, p);
			CHECK_BUF(&said, cases[i].want);
			conf_deinit(&c);
		}
	}
	buf_deinit(&said);
}

static void users_belong_to_accounts(void **state)
{
	(void)state;
	struct conf c = load_fine(
		"authorization {\n"
		"  users = [\n"
		"    { user: ann, password: p1 }\n"
		"    { username: bob, pass: p2, allowed_connection_types: [standard, \"MQTT\", in_process] }\n"
		"    { user: eve }\n"
		"  ]\n"
		"}\n"
		"no_auth_user: eve\n");
	assert_int_equal(c.account_count, 2);
	const struct conf_account *g = conf_account_find(&c, "$G");
	assert_ptr_equal(g, &c.accounts[0]);
	assert_int_equal(g->user_count, 3);
	assert_string_equal(g->users[0].name, "ann");
	assert_string_equal(g->users[0].password, "p1");
	assert_null(g->users[0].permissions);
	assert_int_equal(g->users[0].connection_types, 0);
	assert_int_equal(g->users[0].place.line, 3);
	assert_int_equal(g->users[0].place.column, 5);
	assert_int_equal(g->users[1].connection_types,
		CONF_CONNECTION_STANDARD | CONF_CONNECTION_MQTT | CONF_CONNECTION_IN_PROCESS);
	assert_null(g->users[2].password);
	assert_string_equal(c.no_auth_user, "eve");
	assert_null(conf_account_find(&c, "nope"));
	conf_deinit(&c);
}

static void accounts_have_users_limits_and_storage(void **state)
{
	(void)state;
	struct conf c =
		load_fine("P: { publish: \"a.>\" }\n"
			  "accounts {\n"
			  "  shop { users: [ { user: ann, password: p, permissions: $P } ], jetstream: enabled\n"
			  "    limits { max_connections: 5, max_subs: 6, max_payload: 1kb, max_leafnodes: 0 } }\n"
			  "  audit: { users [ {user: bob} ]\n"
			  "    jetstream { max_mem: 1gb, max_file: \"2G\", streams: 3, consumers: 4, max_ack_pending: "
			  "5, max_bytes_required: true\n"
			  "                mem_max_stream_bytes: 6, disk_max_stream_bytes: 7 } }\n"
			  "  ops { users: [ {user: root, password: p} ] }\n"
			  "  'empty.one' {}\n"
			  "}\n"
			  "jetstream {}\n"
			  "system_account: ops\n");
	assert_true(c.accounts_are_set);
	assert_int_equal(c.account_count, 5);
	const struct conf_account *shop = conf_account_find(&c, "shop"), *audit = conf_account_find(&c, "audit");
	const struct conf_account *ops = conf_account_find(&c, "ops"), *empty = conf_account_find(&c, "empty.one");
	assert_true(shop && audit && ops && empty);
	assert_string_equal(shop->users[0].permissions->publish.allow.at[0], "a.>");
	assert_true(shop->max_connections == 5 && shop->max_subscriptions == 6 && shop->max_payload == 1024);
	assert_true(shop->jetstream.enabled && shop->jetstream.max_memory == -1 && !shop->jetstream.max_bytes_required);
	const struct conf_account_jetstream *js = &audit->jetstream;
	assert_true(js->enabled && js->max_memory == (int64_t)GIB && js->max_store == (int64_t)(2 * GIB) &&
		    js->max_streams == 3);
	assert_true(js->max_consumers == 4 && js->max_ack_pending == 5 && js->max_bytes_required);
	assert_true(js->memory_max_stream_bytes == 6 && js->store_max_stream_bytes == 7);
	assert_true(ops->is_system && !ops->jetstream.enabled);
	assert_true(!empty->is_system && empty->user_count == 0 && empty->max_connections == -1);
	assert_string_equal(c.system_account, "ops");
	assert_false(c.accounts[0].jetstream.enabled); /* others store: $G does not do so by itself */
	assert_false(c.is_open_to_global);
	conf_deinit(&c);
}

static void a_list_of_names_makes_accounts(void **state)
{
	(void)state;
	struct conf c = load_fine("accounts: [A, B]");
	assert_int_equal(c.account_count, 4);
	assert_string_equal(c.accounts[2].name, "B");
	assert_string_equal(c.accounts[3].name, "$SYS");
	conf_deinit(&c);
}

static void a_value_that_variables_use_may_be_an_account_too(void **state)
{
	(void)state;
	struct conf c = load_fine("accounts { MAX: 5\n A { limits { max_conn: $MAX } }\n B: $A }");
	assert_int_equal(c.account_count, 4);
	assert_string_equal(c.accounts[1].name, "A");
	assert_string_equal(c.accounts[2].name, "B");
	assert_true(c.accounts[1].max_connections == 5 && c.accounts[2].max_connections == 5);
	conf_deinit(&c);
}

static void order_of_authorization_and_accounts_does_not_matter(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"authorization { users: [ {user: a} ] }\naccounts { B { users: [ {user: b} ] } }",
		"accounts { B { users: [ {user: b} ] } }\nauthorization { users: [ {user: a} ] }",
	};
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct conf c = load_fine(texts[i]);
		assert_int_equal(c.account_count, 3);
		assert_string_equal(c.accounts[0].users[0].name, "a");
		assert_string_equal(c.accounts[1].users[0].name, "b");
		conf_deinit(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_user_or_one_token),
		cmocka_unit_test(permissions_in_all_their_forms),
		cmocka_unit_test(users_belong_to_accounts),
		cmocka_unit_test(accounts_have_users_limits_and_storage),
		cmocka_unit_test(a_list_of_names_makes_accounts),
		cmocka_unit_test(a_value_that_variables_use_may_be_an_account_too),
		cmocka_unit_test(order_of_authorization_and_accounts_does_not_matter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
