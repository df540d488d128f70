/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

static void without_a_file_everything_has_its_default(void **state)
{
	(void)state;
	struct conf c = load_fine("");
	assert_string_equal(c.file, "main.conf");
	assert_true(c.client.is_on && c.client.port == 4222);
	assert_string_equal(c.client.host, "0.0.0.0");
	assert_null(c.client_advertise);
	assert_true(c.max_connections == 65536 && c.max_subscriptions == 0 && c.max_sub_tokens == 0);
	assert_true(c.max_control_line_bytes == 4096 && c.max_payload_bytes == MIB && c.max_pending_bytes == 64 * MIB);
	assert_true(c.ping_interval_ns == SECONDS(120) && c.ping_max == 2 && c.write_deadline_ns == SECONDS(10));
	assert_false(c.no_fast_producer_stall || c.no_header_support);
	assert_true(c.max_closed_clients == 10000);
	assert_true(c.lame_duck_duration_ns == SECONDS(120) && c.lame_duck_grace_period_ns == SECONDS(10));
	assert_null(c.server_name);
	assert_true(c.server_tags.count == 0 && c.server_metadata_count == 0);
	assert_false(c.http.is_on);
	assert_string_equal(c.http_base_path, "");
	assert_false(c.debug || c.trace || c.trace_verbose || c.trace_headers || c.logtime_utc);
	assert_true(c.logtime);
	assert_null(c.log_file);
	assert_true(c.log_size_limit_bytes == 0 && c.log_max_num == 0 && c.max_traced_msg_len == 0);
	assert_true(!c.pid_file && !c.ports_file_dir);
	assert_true(!c.auth_user && !c.auth_password && !c.auth_token && c.auth_timeout_ns == SECONDS(2));
	assert_true(!c.default_permissions && !c.no_auth_user && !c.is_open_to_global && !c.accounts_are_set);
	assert_true(c.account_count == 2 && c.accounts[1].is_system && !c.accounts[0].is_system);
	assert_string_equal(c.accounts[0].name, "$G");
	assert_string_equal(c.accounts[1].name, "$SYS");
	assert_string_equal(c.system_account, "$SYS");
	assert_true(c.accounts[0].max_connections == -1 && c.accounts[0].jetstream.max_store == -1);
	assert_false(c.jetstream.enabled || c.accounts[0].jetstream.enabled);
	assert_string_equal(c.jetstream.store_dir, "thebes-data");
	assert_true(c.jetstream.max_memory == -1 && c.jetstream.max_store == -1);
	assert_true(c.jetstream.max_request_batch == -1 && c.jetstream.max_ack_pending == -1 &&
		    c.jetstream.duplicate_window_ns == 0);
	assert_true(c.journal.slot_bytes == 64 * MIB && c.journal.slot_count == 6);
	assert_true(c.memory_budget_bytes == 0 && !c.failpoints);
	conf_deinit(&c);

	struct world w = { .text = NULL };
	struct conf_report report;
	assert_int_equal(load_with(&w, NULL, &c, &report), OK);
	assert_null(c.file);
	assert_string_equal(c.digest, "");
	conf_report_deinit(&report);
	conf_deinit(&c);
	conf_deinit(&c);
}

/* Every type through one key each, read back as its change against the default. */
struct seen {
	struct buf text;
};
static void see(void *arg, const struct conf_change *change)
{
	struct seen *s = arg;
	buf_printf(&s->text, "%s%s", s->text.n ? "; " : "", change->text);
}

static void values_are_stored_by_their_rows(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "port: 4333", "port = 4333" },
		{ "PORT 4333", "port = 4333" },
		{ "\"Port\" = 4333", "port = 4333" },
		{ "port: -1", "port = 0" },
		{ "port: 0", "" },
		{ "host: localhost", "host = localhost" },
		{ "net: ::1", "host = ::1" },
		{ "client_advertise: \"a:1\"", "client_advertise = a:1" },
		{ "max_connections: 10", "max_connections = 10" },
		{ "max_conn: 0", "max_connections = 0" },
		{ "max_conn: -1", "max_connections = -1" },
		{ "max_control_line: 8kb", "max_control_line = 8192" },
		{ "max_control_line: 0", "" },
		{ "max_payload: 2MB", "max_payload = 2097152" },
		{ "max_payload: 2m", "max_payload = 2000000" },
		{ "max_payload: 0", "" },
		{ "max_pending: 1gb", "max_pending = 1073741824" },
		{ "max_subs: 5", "max_subscriptions = 5" },
		{ "max_sub_tokens: 255", "max_sub_tokens = 255" },
		{ "max_subscription_tokens: 1", "max_sub_tokens = 1" },
		{ "ping_interval: \"30s\"", "ping_interval = 30s" },
		{ "ping_interval: 1h30m", "ping_interval = 1h30m0s" },
		{ "ping_interval: 1.5s", "ping_interval = 1.5s" },
		{ "ping_interval: \"0\"", "" },
		{ "ping_max: 5", "ping_max = 5" },
		{ "write_deadline: 500ms", "write_deadline = 500ms" },
		{ "no_fast_producer_stall: yes", "no_fast_producer_stall = true" },
		{ "no_header_support: on", "no_header_support = true" },
		{ "max_closed_clients: 5", "max_closed_clients = 5" },
		{ "lame_duck_duration: 30s", "lame_duck_duration = 30s" },
		{ "lame_duck_grace_period: 1s", "lame_duck_grace_period = 1s" },
		{ "server_name: n-1", "server_name = n-1" },
		{ "server_name: 21480239-n1", "server_name = 21480239-n1" },
		{ "server_tags: a", "server_tags = [a]" },
		{ "server_tags: [a, \"b:c\"]", "server_tags = [a b:c]" },
		{ "http: \"127.0.0.1:8222\"", "http = 127.0.0.1:8222" },
		{ "http_base_path: x/y/", "http_base_path = /x/y" },
		{ "http_base_path: //", "" },
		{ "debug: true\ntrace: on", "debug = true; trace = true" },
		{ "trace_headers: true", "trace_headers = true" },
		{ "logtime: off", "logtime = false" },
		{ "logtime_utc: true", "logtime_utc = true" },
		{ "logfile: /tmp/x.log", "log_file = /tmp/x.log" },
		{ "log_size_limit: 1mb", "log_size_limit = 1048576" },
		{ "log_size_limit: -1", "log_size_limit = -1" },
		{ "logfile_max_num: 3", "log_max_num = 3" },
		{ "max_traced_msg_len: 10", "max_traced_msg_len = 10" },
		{ "pidfile: p", "pid_file = p" },
		{ "ports_file_dir: d", "ports_file_dir = d" },
		{ "authorization { timeout: 5 }", "authorization.timeout = 5s" },
		{ "authorization { timeout: 0.5 }", "authorization.timeout = 500ms" },
		{ "authorization { timeout: \"1m\" }", "authorization.timeout = 1m0s" },
		{ "journal { slot_size: 32kib, slot_count: 4 }", "journal.slot_size = 32768; journal.slot_count = 4" },
		{ "memory_budget: 1gib", "memory_budget = 1073741824" },
		{ "failpoints: true", "failpoints = true" },
		{ "jetstream { max_mem: 1GB, max_file: \"10G\" }",
			"jetstream.enabled = true; jetstream.max_memory_store = 1073741824; "
			"jetstream.max_file_store = 10737418240" },
		{ "jetstream { max_memory_store: \"512M\", max_file_store: 0 }",
			"jetstream.enabled = true; jetstream.max_memory_store = 536870912; "
			"jetstream.max_file_store = 0" },
		{ "jetstream { limits { max_ack_pending: 10, duplicate_window: \"5m\" } }",
			"jetstream.enabled = true; jetstream.limits.max_ack_pending = 10; "
			"jetstream.limits.duplicate_window = 5m0s" },
		{ "no_sublist_cache: true\nconnect_error_reports: 5", "" },
		{ "X: 7\nping_max: $X", "ping_max = 7" },
		{ "authorization { X: 3s, timeout: $X }", "authorization.timeout = 3s" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf base = load_fine(""), c = load_fine(cases[i].text);
		struct seen s = { 0 };
		(void)conf_diff(&base, &c, see, &s);
		if (strcmp(buf_str(&s.text), cases[i].want) != 0)
			fail_msg("\"%s\": expected %s, got %s", cases[i].text, cases[i].want, buf_str(&s.text));
		buf_deinit(&s.text);
		conf_deinit(&base);
		conf_deinit(&c);
	}
}

static void numbers_as_durations_are_seconds_with_a_warning(void **state)
{
	(void)state;
	struct buf said = { 0 };
	struct world w = { .text = "ping_interval: 20\nwrite_deadline: 1.5" };
	load_says(&w, NULL, &said);
	CHECK_BUF(&said, "main.conf:1:1: ping_interval: the number 20 is taken as seconds and should be converted to a "
			 "duration: \"20s\"\n"
			 "main.conf:2:1: write_deadline: the number 1.5 is taken as seconds and should be converted to "
			 "a duration: \"1.5s\"\n");
	struct conf c;
	struct conf_report report;
	assert_int_equal(load_with(&w, NULL, &c, &report), OK);
	assert_true(c.ping_interval_ns == SECONDS(20) && c.write_deadline_ns == MILLIS(1500));
	assert_int_equal(report.warning_count, 2);
	conf_report_deinit(&report);
	conf_deinit(&c);
	buf_deinit(&said);
}

static void known_keys_without_effect_say_so(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
		bool is_error;
	} cases[] = {
		{ "remote_syslog: \"udp://h\"", "main.conf:1:1: remote_syslog: not implemented yet and ignored.",
			false },
		{ "websocket { port: -1, no_tls: true }", "main.conf:1:1: websocket: not implemented yet and ignored.",
			false },
		{ "leafnodes { listen: \"127.0.0.1:-1\" }",
			"main.conf:1:1: leafnodes: not implemented yet and ignored.", false },
		{ "mqtt { port: 1883 }", "main.conf:1:1: mqtt: not implemented yet and ignored.", false },
		{ "tls { cert_file: x, verify_and_map: true }",
			"main.conf:1:21: verify_and_map: not implemented yet, and ignoring it would not be harmless.",
			true },
		{ "tls { cert_file: x }", "main.conf:1:1: tls: expected cert_file and key_file, found only cert_file",
			true },
		{ "tls { cert_file: x, key_file: y, min_version: \"1.1\" }",
			"main.conf:1:34: tls.min_version: expected \"1.2\" or \"1.3\", found \"1.1\"", true },
		{ "cluster { listen: \"0.0.0.0:6222\" }",
			"main.conf:1:1: cluster: not implemented yet, and ignoring it would not be harmless.", true },
		{ "leafnodes { remotes: [] }",
			"main.conf:1:13: remotes: not implemented yet, and ignoring it would not be harmless.", true },
		{ "operator: x", "main.conf:1:1: operator: not implemented yet, and ignoring it would not be harmless.",
			true },
		{ "mappings { a: b }",
			"main.conf:1:1: mappings: not implemented yet, and ignoring it would not be harmless.", true },
		{ "jetstream { key: x }",
			"main.conf:1:13: key: not implemented yet, and ignoring it would not be harmless.", true },
		{ "https_port: 8443",
			"main.conf:1:1: https_port: not implemented yet, and ignoring it would not be harmless.",
			true },
		{ "authorization { auth_callout {} }",
			"main.conf:1:17: auth_callout: not implemented yet, and ignoring it would not be harmless.",
			true },
		{ "accounts { A { exports: [] } }",
			"main.conf:1:16: exports: not implemented yet, and ignoring it would not be harmless.", true },
		{ "authorization { users: [ {nkey: U} ] }",
			"main.conf:1:27: nkey: not implemented yet, and ignoring it would not be harmless.", true },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct world w = { .text = cases[i].text };
		struct conf c;
		struct conf_report report;
		assert_int_equal(load_with(&w, NULL, &c, &report), cases[i].is_error ? ERR_INVALID : OK);
		struct buf *said = cases[i].is_error ? &report.errors : &report.warnings;
		if (strncmp(buf_str(said), cases[i].want, strlen(cases[i].want)) != 0)
			fail_msg("\"%s\": %s", cases[i].text, buf_str(said));
		conf_report_deinit(&report);
		conf_deinit(&c);
	}
}

static void all_errors_are_told_up_to_a_limit(void **state)
{
	(void)state;
	struct buf text = { 0 };
	for (int i = 0; i < CONF_ERRORS_MAX + 7; i++) buf_printf(&text, "nope_%d: 1\n", i);
	struct world w = { .text = buf_str(&text) };
	struct conf c;
	struct conf_report report;
	assert_int_equal(load_with(&w, NULL, &c, &report), ERR_INVALID);
	assert_int_equal(report.error_count, CONF_ERRORS_MAX + 7);
	assert_non_null(strstr(buf_str(&report.errors), "main.conf:50:1: unknown field \"nope_49\"\n"));
	assert_null(strstr(buf_str(&report.errors), "nope_50"));
	assert_non_null(strstr(buf_str(&report.errors), "… and 7 more\n"));
	conf_report_deinit(&report);
	buf_deinit(&text);
}

static void names_of_rows_are_unique(void **state)
{
	(void)state;
	size_t count;
	const struct conf_row *rows = conf_rows(&count);
	for (size_t i = 0; i < count; i++) {
		char names[512];
		(void)snprintf(names, sizeof names, "%s %s", rows[i].name, rows[i].aliases);
		char *rest = names;
		for (char *name; (name = strsep(&rest, " ")) != NULL;)
			if (*name) assert_ptr_equal(conf_row_find(rows[i].section, name), &rows[i]);
		assert_true(rows[i].text && strchr(".?", rows[i].text[strlen(rows[i].text) - 1]));
		assert_true(rows[i].type != CONF_CUSTOM || (rows[i].read && rows[i].expects));
		assert_true(rows[i].type != CONF_LATER || (rows[i].flags & (CONF_WARNS | CONF_REFUSES | CONF_SILENT)));
	}
	assert_true(count > 150);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_file_everything_has_its_default),
		cmocka_unit_test(values_are_stored_by_their_rows),
		cmocka_unit_test(numbers_as_durations_are_seconds_with_a_warning),
		cmocka_unit_test(known_keys_without_effect_say_so),
		cmocka_unit_test(all_errors_are_told_up_to_a_limit),
		cmocka_unit_test(names_of_rows_are_unique),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
