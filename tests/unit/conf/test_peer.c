/* SPDX-License-Identifier: Apache-2.0 */
/* The same files before nats-server -t and before us: what one takes the other takes, but for the differences listed
 * with a reason. */
#include <stdlib.h>
#include <sys/stat.h>

#include "fixture.h"

static const struct pair files[] = {
	{ "b.conf", "debug: true\n" },
	{ "token.conf", "token: abc\n" },
	{ "x.conf", "X: 5\n" },
	{ "uses.conf", "ping_max: $X\n" },
	{ "bad.conf", "port: [1\n" },
	{ NULL, NULL },
};

static const struct pair env[] = {
	{ "THEBES_T_NUMBER", "4222" },
	{ "THEBES_T_MAP", "{token: abc}" },
	{ "THEBES_T_WORDS", "a b" },
	{ "THEBES_T_EMPTY", "" },
	{ NULL, NULL },
};

static const char *const both_take[] = {
	"",
	"# only",
	"port: 4222",
	"port 4222",
	"port=4222",
	"PORT: 4222",
	"\"port\": 4222",
	"'port': 4222",
	"port\n4222",
	"{ port: 1 }",
	"{port: 1, ping_max: 2}",
	"{ \"port\": 1, }",
	"{\"port\": 1, \"authorization\": {\"users\": [{\"user\": \"a\", \"password\": \"b\"}]}}",
	"port: 4222 }",
	"}",
	"port=1;ping_max=2",
	"port: 1, ping_max: 2",
	"port=1 // c",
	"port=1 # c",
	"port: 4222\r\nping_max: 2\r\n",
	"port: -1",
	"port = 5\nport = 7",
	"authorization { token: x }",
	"authorization={token: x}",
	"authorization {\n token: x\n}",
	"authorization\n{\n token: x\n}",
	"authorization { token:\n x }",
	"authorization { token: x } }",
	"authorization { \"token\" \"x\" }",
	"server_name: a\"b",
	"server_name: \"a\\x41\"",
	"server_name: t\\x72ue",
	"server_name: a{[b",
	"server_name: a#b//c",
	"server_name: #b",
	"server_name: $2a$11$abc",
	"server_name: 1.2.3",
	"pid_file (\nabc\n)\n",
	"debug: ON",
	"debug: yEs",
	"ping_interval: 1h30m",
	"ping_interval: \"1.5s\"",
	"write_deadline: \"5s\"",
	"max_payload: 1KIB",
	"max_payload: 2M",
	"max_payload: 0",
	"max_connections: 0",
	"max_connections: -1",
	"max_subscriptions: -1",
	"max_sub_tokens: 255",
	"host: 1.2.3.4",
	"listen: 1.2.3.4:5",
	"listen: 127.0.0.1:-1",
	"listen: 4222",
	"listen: -1",
	"listen: \":4222\"",
	"listen: \"[::1]:4222\"",
	"http: 8222",
	"http: \"localhost:8222\"",
	"http_port: 8222",
	"server_tags: a",
	"server_tags: [a\nb]",
	"server_tags: [a,]",
	"server_tags: [a # c\n b]",
	"server_tags [\n  id:ABCDEFG\n   ]\n",
	"jetstream: true",
	"jetstream: enabled",
	"jetstream: ENABLED",
	"jetstream {}",
	"jetstream: disabled",
	"jetstream { store_dir: /a, max_mem: 1GB, max_file: \"10G\" }",
	"X: 5\nport: $X",
	"X=5\nauthorization { timeout: $X }",
	"authorization { X: 5, timeout: $X }",
	"authorization { X: p\n users = [ {user: a, password: $X} ] }",
	"P = {publish: foo}\nauthorization { users = [ {user: a, password: p, permissions: $P} ] }",
	"port: $THEBES_T_NUMBER",
	"authorization: $THEBES_T_MAP",
	"include b.conf",
	"include \"b.conf\"\nport: 5",
	"INCLUDE 'b.conf'",
	"authorization { include token.conf }",
	"include x.conf\nping_max: $X",
	"authorization { user: a, password: b, timeout: 1.5 }",
	"authorization { users: [ {user: a, password: b}\n {user: c} ] }",
	"authorization { users: [ {user: a, password: b, permissions: {publish: \"a.>\", subscribe: [\"b c\", d]}} ] }",
	"authorization { users: [ {user: a, permissions: {publish: {allow: a, deny: [b]}, allow_responses: true}} ] }",
	"authorization { users: [ {user: a, permissions: {allow_responses: {max: 5, expires: \"1m\"}}} ] }",
	"authorization { users: [ {user: a, allowed_connection_types: [standard, \"MQTT\"]} ] }",
	"authorization { default_permissions { publish: a }, users: [ {user: b} ] }",
	"accounts { A { users: [ {user: a, password: b} ] } }\nno_auth_user: a",
	"accounts { A { jetstream: enabled }, SYS { users: [ {user: s, password: p} ] } }\nsystem_account: SYS",
	"accounts { A { jetstream { max_mem: 1gb, max_streams: 5, max_consumers: -1 } } }",
	"accounts { $SYS { users: [ {user: s, password: y} ] } }",
	"accounts: [A, B]",
	"pid_file: x\nports_file_dir: y\nlogfile: z\nlogtime: false\ndebug: on\ntrace: off",
	"lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1s\"",
};

static const char *const both_refuse[] = {
	"debug:",
	"port:\n4222",
	"port=1 /c",
	"port=1,,ping_max=2",
	"a=1;;b=2",
	",port=1",
	"= 4",
	"port == 4",
	"port :: 4",
	"port: 4222 ping_max: 2",
	"foo: 1",
	"X: 5",
	"foo\nport: 1",
	"authorization{ token: x }",
	"authorization { token }",
	"authorization { token: }",
	"authorization { token: x",
	"authorization { token: x, , timeout: 1 }",
	"authorization { token: x;; timeout: 1 }",
	"authorization { token: x timeout: 1 }",
	"authorization { token: a]b }",
	"authorization: 5",
	"authorization: []",
	"a { b: 1 }",
	"server_name: a'b",
	"server_name: \"x\"y",
	"server_name: \"a\\qb\"",
	"server_name: a\\qb",
	"server_name: \"a\\x4\"",
	"server_name: \"abc",
	"server_name: 'abc",
	"server_name: true",
	"server_name: 1.2",
	"server_name: a]b",
	"server_name (",
	"server_name (\nabc\n)x",
	"debug: \"true\"",
	"debug: 1",
	"debug: t\\x72ue",
	"max_payload: 10kx",
	"max_payload: 1.5",
	"max_payload: .5",
	"max_payload: -x",
	"max_payload: 9999999999999999999",
	"max_payload: 9999e",
	"ping_interval: 20",
	"ping_interval: 1m",
	"ping_interval: x",
	"write_deadline: 5",
	"max_control_line: 5gb",
	"max_sub_tokens: 256",
	"max_sub_tokens: 0",
	"port: \"4222\"",
	"port: [a]",
	"port port",
	"listen: \"4222\"",
	"listen: \"x:y\"",
	"listen: \"0.0.0.0\"",
	"listen: \"a:b:4222\"",
	"listen: [::1]:4222",
	"server_tags: [a,,b]",
	"server_tags: [\"a\" \"b\"]",
	"server_tags: [a;b]",
	"server_tags [ a b ]",
	"server_tags: [",
	"server_tags: [a",
	"jetstream: x",
	"store_dir: /a\njetstream { store_dir: /b }",
	"lame_duck_duration: \"10s\"",
	"lame_duck_grace_period: \"-5s\"",
	"port: $NOPE",
	"port: $X\nX: 5",
	"authorization { X: 5 }\nport: $X",
	"X: $X\nport: $X",
	"x: 1\nport: $X",
	"server_name: $THEBES_T_WORDS",
	"X: 5\ninclude uses.conf",
	"include nope.conf",
	"include bad.conf",
	"include [x]",
	"include: x",
	"authorization { token: a, user: b }",
	"authorization { user: a, users: [ {user: b} ] }",
	"authorization { token: a, users: [ {user: b} ] }",
	"authorization { token: a }\naccounts { A { users: [ {user: x, password: y} ] } }",
	"authorization { user: a, password: b }\naccounts { A { users: [ {user: x, password: y} ] } }",
	"accounts { A { users: [ {user: a} ] }, B { users: [ {user: a} ] } }",
	"authorization { users: [ {password: b} ] }",
	"authorization { users: [ {user: \"\", password: b} ] }",
	"authorization { users: {user: a} }",
	"authorization { users: [ a ] }",
	"authorization { users: [ {user: b, permissions: {foo: a}} ] }",
	"authorization { users: [ {user: b, permissions: {publish: {allow: a, foo: b}}} ] }",
	"authorization { users: [ {user: b, permissions: x} ] }",
	"authorization { users: [ {user: b, permissions: {publish: \"a..b\"}} ] }",
	"authorization { users: [ {user: b, permissions: {subscribe: \"a b c\"}} ] }",
	"authorization { users: [ {user: b, allowed_connection_types: [foo]} ] }",
	"accounts { $G { users: [] } }",
	"accounts { A: 5 }",
	"accounts { A { foo: 1 } }",
	"accounts { A { jetstream: 5 } }",
};

/* Where we differ on purpose. */
static const struct {
	const char *text;
	bool we_take;
	const char *why;
} differences[] = {
	{ "debug", false, "a key without a value at the end is ignored there" },
	{ "port: 1 } ping_max: 2", false, "any number of stray braces is taken there" },
	{ "{ port: 1", false, "a cut file is taken there" },
	{ "port: 65536", false, "no port, but it is taken there" },
	{ "port: -2", false, "no port, but it is taken there" },
	{ "max_payload: -5", false, "taken there, and then no message passes" },
	{ "max_payload: 1kbb", false, "taken there as the number 1" },
	{ "ping_interval: \"-1s\"", false, "no sense in a negative interval" },
	{ "server_name: \"a b\"", false, "newer servers refuse it" },
	{ "server_name: \"\"", false, "taken there as not set" },
	{ "accounts: 5", false, "silently without accounts there" },
	{ "authorization { password: p }", false, "lets everybody in there" },
	{ "authorization { users: [ {user: a, permissions: {publish: {allow: []}}} ] }", false,
		"allows everything there" },
	{ "authorization { users: [ {user: a, permissions: {publish: \"a b\"}} ] }", false,
		"a subject that nothing can match" },
	{ "no_auth_user: x", false, "found there only when it starts" },
	{ "max_payload: 10mb\nmax_pending: 1mb", false, "found there only when it starts" },
	{ "lame_duck_grace_period: \"200s\"", false, "found there only when it starts" },
	{ "system_account: NOPE", false, "found there only when it starts" },
	{ "server_name: 21480239-n1", true, "mistaken for a date there" },
	{ "ping_interval: 1.5s", true, "mistaken for a number there" },
	{ "server_tags [a, \"1\"]\nX: [1,2]\nping_max: 2\nauthorization { X2: $X }", false,
		"a source of nothing is still unknown" },
	{ "host: 1.2.3x", true, "mistaken for an address there" },
	{ "accounts { A { limits { max_connections: 5 } } }", true, "newer servers take it" },
	{ "tls { cert_file: nope }", false, "refused without its key" },
	{ "accounts { A { mappings { a: b } } }", false, "not implemented yet" },
};

/* Our verdict as -t gives it: a warning is a failure. */
static bool we_take(const char *text)
{
	struct world w = { .text = text, .files = files, .env = env };
	struct conf c;
	struct conf_report report;
	enum err e = load_with(&w, NULL, &c, &report);
	bool ok = e == OK && report.warning_count == 0;
	conf_report_deinit(&report);
	conf_deinit(&c);
	return ok;
}

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	assert_int_equal(fclose(f), 0);
}

static bool peer_takes(const char *text)
{
	write_file("main.conf", text);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) _exit(99);
		(void)execl(NATS_SERVER, "nats-server", "-t", "-c", "main.conf", (char *)NULL);
		_exit(99);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 99);
	return WEXITSTATUS(status) == 0;
}

static int enter_directory(void **state)
{
	char *directory = mem_strdup("/tmp/thebes-conf-peer-XXXXXX");
	*state = directory;
	if (!mkdtemp(directory) || chdir(directory) != 0) return -1;
	for (const struct pair *f = files; f->name; f++) write_file(f->name, f->text);
	for (const struct pair *e = env; e->name; e++) (void)setenv(e->name, e->text, 1);
	return 0;
}

static int leave_directory(void **state)
{
	char *directory = *state;
	for (const struct pair *f = files; f->name; f++) (void)unlink(f->name);
	(void)unlink("main.conf");
	bool ok = chdir("/") == 0 && rmdir(directory) == 0;
	mem_free(directory);
	return ok ? 0 : -1;
}

static size_t compare(const char *text, bool want_us, bool want_peer)
{
	bool us = we_take(text), peer = peer_takes(text);
	if (us == want_us && peer == want_peer) return 0;
	print_error("\"%s\": we %s, nats-server %s\n", text, us ? "take" : "refuse", peer ? "takes" : "refuses");
	return 1;
}

static void files_are_taken_and_refused_alike(void **state)
{
	(void)state;
	size_t wrong = 0;
	for (size_t i = 0; i < COUNT_OF(both_take); i++) wrong += compare(both_take[i], true, true);
	for (size_t i = 0; i < COUNT_OF(both_refuse); i++) wrong += compare(both_refuse[i], false, false);
	assert_int_equal(wrong, 0);
}

static void differences_are_these(void **state)
{
	(void)state;
	size_t wrong = 0;
	for (size_t i = 0; i < COUNT_OF(differences); i++) {
		bool us = we_take(differences[i].text);
		if (us == differences[i].we_take) continue;
		print_error("\"%s\" (%s): we %s\n", differences[i].text, differences[i].why, us ? "take" : "refuse");
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_are_taken_and_refused_alike),
		cmocka_unit_test(differences_are_these),
	};
	return cmocka_run_group_tests(tests, enter_directory, leave_directory);
}
