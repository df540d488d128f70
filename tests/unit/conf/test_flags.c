/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

enum { ARGS_MAX = 10 };

static int count_args(const char *const *argv)
{
	int n = 0;
	while (argv[n]) n++;
	return n;
}

static void see(void *arg, const struct conf_change *change)
{
	struct buf *text = arg;
	buf_printf(text, "%s%s", text->n ? "; " : "", change->text);
}

static void flags_set_what_keys_set(void **state)
{
	(void)state;
	static const struct {
		const char *argv[ARGS_MAX], *want;
	} cases[] = {
		{ { "x" }, "" },
		{ { "x", "-p", "4333" }, "port = 4333" },
		{ { "x", "-p=4333" }, "port = 4333" },
		{ { "x", "--p", "4333" }, "port = 4333" },
		{ { "x", "--port=4333" }, "port = 4333" },
		{ { "x", "-p", "-1" }, "port = 0" },
		{ { "x", "-p", "1", "-p", "2" }, "port = 2" },
		{ { "x", "-a", "127.0.0.1" }, "host = 127.0.0.1" },
		{ { "x", "--net", "h" }, "host = h" },
		{ { "x", "--addr=h" }, "host = h" },
		{ { "x", "-n", "s" }, "server_name = s" },
		{ { "x", "--server_name", "s" }, "server_name = s" },
		{ { "x", "-m", "8222" }, "http = 0.0.0.0:8222" },
		{ { "x", "-P", "/p", "-l", "/l" }, "log_file = /l; pid_file = /p" },
		{ { "x", "-log", "/l" }, "log_file = /l" },
		{ { "x", "--client_advertise", "a:1", "--ports_file_dir", "/d" },
			"client_advertise = a:1; ports_file_dir = /d" },
		{ { "x", "-T=false" }, "logtime = false" },
		{ { "x", "-T" }, "" },
		{ { "x", "--logtime_utc" }, "logtime_utc = true" },
		{ { "x", "-s" }, "syslog = true" },
		{ { "x", "-D" }, "debug = true" },
		{ { "x", "--debug=T" }, "debug = true" },
		{ { "x", "-V" }, "trace = true" },
		{ { "x", "-DV" }, "debug = true; trace = true" },
		{ { "x", "-VV" }, "trace = true; trace_verbose = true" },
		{ { "x", "-DVV" }, "debug = true; trace = true; trace_verbose = true" },
		{ { "x", "--log_size_limit", "1000", "--max_traced_msg_len", "5" },
			"log_size_limit = 1000; max_traced_msg_len = 5" },
		{ { "x", "-js" }, "jetstream.enabled = true" },
		{ { "x", "--jetstream", "-sd=/d" }, "jetstream.enabled = true; jetstream store_dir" },
		{ { "x", "--store_dir", "/d" }, "jetstream store_dir" },
		{ { "x", "--user", "u", "--pass", "p" }, "authorization user; authorization password" },
		{ { "x", "-auth", "t" }, "authorization token" },
		{ { "x", "--tls=false", "-s=false" }, "" },
		{ { "x", "-tlscert", "c", "-tlskey", "k", "-tlsverify" },
			"tls.cert_file = c; tls.key_file = k; tls.verify = true" },
	};
	struct buf said = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct world w = { .text = NULL };
		struct conf base, c;
		struct conf_report report;
		assert_int_equal(load_with(&w, NULL, &base, &report), OK);
		enum err e = load_with(&w, cases[i].argv, &c, &report);
		if (e != OK || report.warning_count)
			fail_msg("case %zu: %s%s", i, buf_str(&report.errors), buf_str(&report.warnings));
		(void)conf_diff(&base, &c, see, &said);
		CHECK_BUF(&said, cases[i].want);
		conf_report_deinit(&report);
		conf_deinit(&base);
		conf_deinit(&c);
	}
	buf_deinit(&said);
}

static void flags_override_the_file(void **state)
{
	(void)state;
	static const char *const argv[] = { "x", "-p", "5", "-a", "h", "-js", "-sd", "/flag", "-D=false", "-m", "9",
		NULL };
	struct world w = { .text = "listen: f:1\ndebug: true\nhttp: f:2\njetstream { enabled: false, store_dir: /file, "
				   "max_mem: 5 }" };
	struct conf c;
	struct conf_report report;
	assert_int_equal(load_with(&w, argv, &c, &report), OK);
	assert_true(c.client.port == 5 && !c.debug && c.jetstream.enabled && c.jetstream.max_memory == 5 &&
		    c.http.port == 9);
	assert_string_equal(c.client.host, "h");
	assert_string_equal(c.http.host, "f");
	assert_string_equal(c.jetstream.store_dir, "/flag");
	conf_report_deinit(&report);
	conf_deinit(&c);
}

static void wrong_values_of_flags_are_answered(void **state)
{
	(void)state;
	static const struct {
		const char *argv[ARGS_MAX], *want;
	} cases[] = {
		{ { "x", "-p", "65536" }, "flag -p: port: expected -1 to 65535, found the number 65536\n" },
		{ { "x", "-server_name", "a b" },
			"flag -server_name: server_name: expected a name without spaces, found \"a b\"\n" },
		{ { "x", "--tls" }, "flag -tls: tls: expected cert_file and key_file, found neither\n" },
		{ { "x", "-tlskey", "k" },
			"flag -tlskey: tls: expected cert_file and key_file, found only key_file\n" },
		{ { "x", "--routes", "nats://a:1" }, "flag -routes: cluster: not implemented yet, and ignoring it "
						     "would not be harmless. Links to the other servers of the "
						     "cluster.\n" },
		{ { "x", "-ms", "8443" }, "flag -ms: https_port: not implemented yet, and ignoring it would not be "
					  "harmless. Monitoring pages over TLS.\n" },
		{ { "x", "-pass", "p" }, "flag -pass: authorization: expected a user beside the password; alone it "
					 "would let everybody in\n" },
		{ { "x", "-auth", "t", "-user", "u" },
			"flag -auth: authorization: expected a user and password, or a token, not both\n" },
		{ { "x", "-sd", "" },
			"flag -sd: store_dir: expected the path of a directory, found the string \"\"\n" },
		{ { "x", "-r", "udp://h" },
			"flag -r: remote_syslog: not implemented yet and ignored. Logging to a remote "
			"syslog; lines go to standard error or log_file.\n" },
	};
	struct buf said = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct world w = { .text = NULL };
		load_says(&w, cases[i].argv, &said);
		CHECK_BUF(&said, cases[i].want);
	}
	buf_deinit(&said);
}

/* Verdict, exit code, and what is printed; `out` and `err` are beginnings. */
static void verdicts(void **state)
{
	(void)state;
	static const struct {
		const char *argv[ARGS_MAX], *program;
		enum conf_verdict verdict;
		int exit_code;
		const char *out, *err;
	} cases[] = {
		{ { "x" }, "nats-server", CONF_RUN, 0, "", "" },
		{ { "x", "-c", "f" }, "nats-server", CONF_RUN, 0, "", "" },
		{ { "x", "-t", "-c", "f" }, "nats-server", CONF_TEST, 0, "", "" },
		{ { "x", "-t=true", "-config=f" }, "nats-server", CONF_TEST, 0, "", "" },
		{ { "x", "-t" }, "nats-server", CONF_END, 1, "",
			"nats-server: -t needs a configuration file to check, expected -c <file>\n" },
		{ { "x", "-t=false" }, "nats-server", CONF_RUN, 0, "", "" },
		{ { "x", "-v" }, "nats-server", CONF_END, 0, "nats-server: v2.9.9\n", "" },
		{ { "x", "--version" }, "thebes", CONF_END, 0, "thebes: v2.9.9\n", "" },
		{ { "x", "version" }, "nats-server", CONF_END, 0, "nats-server: v2.9.9\n", "" },
		{ { "x", "-p", "5", "VERSION" }, "nats-server", CONF_END, 0, "nats-server: v2.9.9\n", "" },
		{ { "x", "-h" }, "nats-server", CONF_END, 0, "\nUsage: nats-server [options]\n", "" },
		{ { "x", "help" }, "thebes server", CONF_END, 0, "\nUsage: thebes server [options]\n", "" },
		{ { "x", "--help_tls" }, "nats-server", CONF_END, 0, "\nA certificate and its key", "" },
		{ { "x", "foo" }, "nats-server", CONF_END, 1, "", "nats-server: unrecognized command: \"foo\"\n" },
		{ { "x", "-D", "foo", "-V" }, "nats-server", CONF_END, 1, "",
			"nats-server: unrecognized command: \"foo\"\n" },
		{ { "x", "--", "foo" }, "nats-server", CONF_END, 1, "",
			"nats-server: unrecognized command: \"foo\"\n" },
		{ { "x", "--" }, "nats-server", CONF_RUN, 0, "", "" },
		{ { "x", "-" }, "nats-server", CONF_END, 1, "", "nats-server: unrecognized command: \"-\"\n" },
		{ { "x", "-zz" }, "nats-server", CONF_END, 0, "\nUsage: ", "flag provided but not defined: -zz\n" },
		{ { "x", "--zz=5" }, "thebes server", CONF_END, 2,
			"\nUsage: ", "flag provided but not defined: -zz\n" },
		{ { "x", "-ad" }, "nats-server", CONF_END, 0, "\nUsage: ", "flag provided but not defined: -ad\n" },
		{ { "x", "-addr net" }, "nats-server", CONF_END, 0,
			"\nUsage: ", "flag provided but not defined: -addr net\n" },
		{ { "x", "---p" }, "nats-server", CONF_END, 0, "\nUsage: ", "bad flag syntax: ---p\n" },
		{ { "x", "-=5" }, "nats-server", CONF_END, 0, "\nUsage: ", "bad flag syntax: -=5\n" },
		{ { "x", "--=5" }, "nats-server", CONF_END, 0, "\nUsage: ", "bad flag syntax: --=5\n" },
		{ { "x", "-p" }, "nats-server", CONF_END, 0, "\nUsage: ", "flag needs an argument: -p\n" },
		{ { "x", "-p", "x" }, "nats-server", CONF_END, 0,
			"\nUsage: ", "invalid value \"x\" for flag -p: parse error\n" },
		{ { "x", "-p=" }, "nats-server", CONF_END, 0,
			"\nUsage: ", "invalid value \"\" for flag -p: parse error\n" },
		{ { "x", "-D=x" }, "nats-server", CONF_END, 0,
			"\nUsage: ", "invalid boolean value \"x\" for -D: parse error\n" },
		{ { "x", "-b\x1b" }, "nats-server", CONF_END, 0,
			"\nUsage: ", "flag provided but not defined: -b\\x1b\n" },
		{ { "x", "--signal", "reload" }, "nats-server", CONF_SIGNAL, 0, "", "" },
		{ { "x", "-sl=stop=123" }, "nats-server", CONF_SIGNAL, 0, "", "" },
		{ { "x", "-sl", "foo" }, "nats-server", CONF_END, 1, "", "nats-server: unknown signal \"foo\"\n" },
		{ { "x", "-sl" }, "nats-server", CONF_END, 0, "\nUsage: ", "flag needs an argument: -sl\n" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf_command cmd;
		conf_command_parse(&cmd, count_args(cases[i].argv), cases[i].argv, cases[i].program, "2.9.9");
		if (cmd.verdict != cases[i].verdict || cmd.exit_code != cases[i].exit_code)
			fail_msg("case %zu: verdict %d, exit %d, %s", i, (int)cmd.verdict, cmd.exit_code,
				buf_str(&cmd.err));
		assert_true(strncmp(buf_str(&cmd.out), cases[i].out, strlen(cases[i].out)) == 0);
		assert_int_equal(cmd.out.n == 0, *cases[i].out == '\0');
		assert_string_equal(buf_str(&cmd.err), cases[i].err);
		conf_command_deinit(&cmd);
		conf_command_deinit(&cmd);
	}
}

static void signals_have_a_name_and_perhaps_a_target(void **state)
{
	(void)state;
	static const struct {
		const char *arg, *name, *target;
	} cases[] = {
		{ "stop", "stop", NULL },
		{ "quit=12", "quit", "12" },
		{ "term=", "term", NULL },
		{ "reopen=12*", "reopen", "12*" },
		{ "ldm=/run/x=y.pid", "ldm", "/run/x=y.pid" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const char *const argv[] = { "x", "-sl", cases[i].arg };
		struct conf_command cmd;
		conf_command_parse(&cmd, 3, argv, "nats-server", "1");
		assert_int_equal(cmd.verdict, CONF_SIGNAL);
		assert_string_equal(cmd.signal_name, cases[i].name);
		assert_int_equal(cmd.signal_target == NULL, cases[i].target == NULL);
		if (cases[i].target) assert_string_equal(cmd.signal_target, cases[i].target);
		conf_command_deinit(&cmd);
	}
}

static void the_usage_names_every_flag(void **state)
{
	(void)state;
	static const char *const want[] = { "-a, --addr, --net <host>", "-p, --port <port>", "-c, --config <file>",
		"-sl, --signal <signal[=pid]>", "-js, --jetstream ", "-sd, --store_dir <directory>", "-DVV ",
		"--cluster, --cluster_listen <url>", "--help_tls " };
	struct buf usage = { 0 };
	conf_print_usage(&usage, "nats-server");
	for (size_t i = 0; i < COUNT_OF(want); i++)
		if (!strstr(buf_str(&usage), want[i])) fail_msg("%s", want[i]);
	buf_deinit(&usage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_set_what_keys_set),
		cmocka_unit_test(flags_override_the_file),
		cmocka_unit_test(wrong_values_of_flags_are_answered),
		cmocka_unit_test(verdicts),
		cmocka_unit_test(signals_have_a_name_and_perhaps_a_target),
		cmocka_unit_test(the_usage_names_every_flag),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
