/* SPDX-License-Identifier: Apache-2.0 */
/* conf_flags — nats-server's command line (spec §3.4) in Go's syntax: -k v, -k=v, --k v; a switch alone or -k=false.
 *
 * Happy path: conf_command_parse keeps what was set, conf_load applies it over the file, each value through the row of
 * its key, so that bounds and messages are those of the file. */
#include "conf_table.h"

enum flag_kind { FLAG_SWITCH, FLAG_NUMBER, FLAG_TEXT };
/* What a flag is about when it is not a setting. */
enum flag_act { FLAG_SETS, FLAG_CONFIG, FLAG_TEST, FLAG_SIGNAL, FLAG_HELP, FLAG_VERSION, FLAG_HELP_TLS };
enum { FLAG_KEYS_MAX = 3 };

struct flag {
	const char *group, *names, *argument;
	enum flag_kind kind;
	enum flag_act act;
	enum conf_section section;
	const char *keys[FLAG_KEYS_MAX]; /* all get the value */
	const char *text;
};

static const struct flag flags[] = {
	{ "Server", "a addr net", "host", FLAG_TEXT, FLAG_SETS, SECTION_TOP, { "host" },
		"address for clients (0.0.0.0)" },
	{ "Server", "p port", "port", FLAG_NUMBER, FLAG_SETS, SECTION_TOP, { "port" },
		"port for clients (4222), -1 for any free one" },
	{ "Server", "n name server_name", "name", FLAG_TEXT, FLAG_SETS, SECTION_TOP, { "server_name" },
		"name of the server" },
	{ "Server", "P pid", "file", FLAG_TEXT, FLAG_SETS, SECTION_TOP, { "pid_file" },
		"file that gets the process id" },
	{ "Server", "m http_port", "port", FLAG_NUMBER, FLAG_SETS, SECTION_TOP, { "http_port" },
		"port of the monitoring pages" },
	{ "Server", "ms https_port", "port", FLAG_NUMBER, FLAG_SETS, SECTION_TOP, { "https_port" },
		"the same over TLS" },
	{ "Server", "c config", "file", FLAG_TEXT, FLAG_CONFIG, SECTION_TOP, { NULL }, "configuration file" },
	{ "Server", "t", NULL, FLAG_SWITCH, FLAG_TEST, SECTION_TOP, { NULL }, "check the configuration file and end" },
	{ "Server", "sl signal", "signal[=pid]", FLAG_TEXT, FLAG_SIGNAL, SECTION_TOP, { NULL },
		"send stop, quit, term, reopen, reload or ldm to a running server; pid: a number, a pattern of "
		"numbers, or a pid file" },
	{ "Server", "client_advertise", "address", FLAG_TEXT, FLAG_SETS, SECTION_TOP, { "client_advertise" },
		"address that clients are told" },
	{ "Server", "ports_file_dir", "directory", FLAG_TEXT, FLAG_SETS, SECTION_TOP, { "ports_file_dir" },
		"directory that gets a file with all addresses" },
	{ "Logging", "l log", "file", FLAG_TEXT, FLAG_SETS, SECTION_TOP, { "log_file" }, "file for the log" },
	{ "Logging", "T logtime", NULL, FLAG_SWITCH, FLAG_SETS, SECTION_TOP, { "logtime" },
		"time in log lines (-T=false for none)" },
	{ "Logging", "logtime_utc", NULL, FLAG_SWITCH, FLAG_SETS, SECTION_TOP, { "logtime_utc" }, "in UTC" },
	{ "Logging", "s syslog", NULL, FLAG_SWITCH, FLAG_SETS, SECTION_TOP, { "syslog" }, "log to syslog" },
	{ "Logging", "r remote_syslog", "address", FLAG_TEXT, FLAG_SETS, SECTION_TOP, { "remote_syslog" },
		"log to a remote syslog" },
	{ "Logging", "D debug", NULL, FLAG_SWITCH, FLAG_SETS, SECTION_TOP, { "debug" }, "log what connections do" },
	{ "Logging", "V trace", NULL, FLAG_SWITCH, FLAG_SETS, SECTION_TOP, { "trace" }, "log every protocol line" },
	{ "Logging", "VV", NULL, FLAG_SWITCH, FLAG_SETS, SECTION_TOP, { "trace", "trace_verbose" },
		"-V, the system account's too" },
	{ "Logging", "DV", NULL, FLAG_SWITCH, FLAG_SETS, SECTION_TOP, { "debug", "trace" }, "-D and -V" },
	{ "Logging", "DVV", NULL, FLAG_SWITCH, FLAG_SETS, SECTION_TOP, { "debug", "trace", "trace_verbose" },
		"-D and -VV" },
	{ "Logging", "log_size_limit", "bytes", FLAG_NUMBER, FLAG_SETS, SECTION_TOP, { "log_size_limit" },
		"size at which a new log is begun" },
	{ "Logging", "max_traced_msg_len", "bytes", FLAG_NUMBER, FLAG_SETS, SECTION_TOP, { "max_traced_msg_len" },
		"bytes of a message that the trace shows" },
	{ "JetStream", "js jetstream", NULL, FLAG_SWITCH, FLAG_SETS, SECTION_JETSTREAM, { "enabled" },
		"store messages: streams and stations" },
	{ "JetStream", "sd store_dir", "directory", FLAG_TEXT, FLAG_SETS, SECTION_JETSTREAM, { "store_dir" },
		"directory for them" },
	{ "Authorization", "user", "name", FLAG_TEXT, FLAG_SETS, SECTION_AUTHORIZATION, { "user" },
		"user that clients must present" },
	{ "Authorization", "pass", "password", FLAG_TEXT, FLAG_SETS, SECTION_AUTHORIZATION, { "password" },
		"his password" },
	{ "Authorization", "auth", "token", FLAG_TEXT, FLAG_SETS, SECTION_AUTHORIZATION, { "token" },
		"token that clients must present" },
	{ "TLS", "tls", NULL, FLAG_SWITCH, FLAG_SETS, SECTION_TLS, { "enabled" }, "TLS for clients" },
	{ "TLS", "tlscert", "file", FLAG_TEXT, FLAG_SETS, SECTION_TLS, { "cert_file" }, "the server's certificate" },
	{ "TLS", "tlskey", "file", FLAG_TEXT, FLAG_SETS, SECTION_TLS, { "key_file" }, "its private key" },
	{ "TLS", "tlsverify", NULL, FLAG_SWITCH, FLAG_SETS, SECTION_TLS, { "verify" }, "ask clients for certificates" },
	{ "TLS", "tlscacert", "file", FLAG_TEXT, FLAG_SETS, SECTION_TLS, { "ca_file" }, "authority that signs them" },
	{ "Cluster", "routes", "urls", FLAG_TEXT, FLAG_SETS, SECTION_TOP, { "cluster" },
		"other servers, separated by commas" },
	{ "Cluster", "cluster cluster_listen", "url", FLAG_TEXT, FLAG_SETS, SECTION_TOP, { "cluster" },
		"address for the other servers" },
	{ "Cluster", "cluster_name", "name", FLAG_TEXT, FLAG_SETS, SECTION_TOP, { "cluster" }, "name of the cluster" },
	{ "Cluster", "no_advertise", NULL, FLAG_SWITCH, FLAG_SETS, SECTION_TOP, { "cluster" },
		"do not tell clients of the other servers" },
	{ "Cluster", "cluster_advertise", "address", FLAG_TEXT, FLAG_SETS, SECTION_TOP, { "cluster" },
		"address that the other servers are told" },
	{ "Cluster", "connect_retries", "number", FLAG_NUMBER, FLAG_SETS, SECTION_TOP, { "cluster" },
		"attempts to reach a server" },
	{ "Common", "profile", "port", FLAG_NUMBER, FLAG_SETS, SECTION_TOP, { "prof_port" },
		"profiles of nats-server's runtime" },
	{ "Common", "h help", NULL, FLAG_SWITCH, FLAG_HELP, SECTION_TOP, { NULL }, "this text" },
	{ "Common", "v version", NULL, FLAG_SWITCH, FLAG_VERSION, SECTION_TOP, { NULL }, "the version" },
	{ "Common", "help_tls", NULL, FLAG_SWITCH, FLAG_HELP_TLS, SECTION_TOP, { NULL }, "about TLS" },
};

struct conf_flag_value {
	const struct flag *flag;
	const char *name; /* as written; borrowed of the row */
	const char *text; /* borrowed of argv; of a switch "true" or "false" */
	bool on;          /* of a switch */
};

static const char *const signal_names[] = { "stop", "quit", "term", "reopen", "reload", "ldm" };

/* ---- usage ---- */

void conf_print_usage(struct buf *out, const char *name)
{
	buf_printf(out, "\nUsage: %s [options]\n", name);
	const char *group = "";
	for (size_t i = 0; i < COUNT_OF(flags); i++) {
		const struct flag *f = &flags[i];
		if (strcmp(group, f->group) != 0) buf_printf(out, "\n%s:\n", f->group);
		group = f->group;
		struct buf left = { 0 };
		for (struct slice rest = slice_of_str(f->names); rest.n;) {
			ptrdiff_t space = slice_find(rest, ' ');
			struct slice one = space < 0 ? rest : slice_first(rest, (size_t)space);
			bool is_long = one.n >= 3 && one.p[0] >= 'a'; /* -DVV is three short ones */
			buf_printf(&left, "%s%s%.*s", left.n ? ", " : "", is_long ? "--" : "-", SLICE_FMT(one));
			rest = slice_from(rest, one.n + 1);
		}
		if (f->argument) buf_printf(&left, " <%s>", f->argument);
		buf_printf(out, "    %-36s %s\n", buf_str(&left), f->text);
		buf_deinit(&left);
	}
}

/* ---- reading argv ---- */

static const struct flag *flag_find(struct slice name, const char **as_in_row)
{
	for (size_t i = 0; i < COUNT_OF(flags); i++) {
		struct slice rest = slice_of_str(flags[i].names);
		while (rest.n) {
			ptrdiff_t space = slice_find(rest, ' ');
			struct slice one = space < 0 ? rest : slice_first(rest, (size_t)space);
			*as_in_row = (const char *)one.p;
			if (slice_eq(one, name)) return &flags[i];
			rest = slice_from(rest, one.n + 1);
		}
	}
	return NULL;
}

/* Go prints the usage behind a wrong flag and ends with 0; under our own name a wrong command line is a failure. */
static void refuse_flag(struct conf_command *cmd, const char *program, const char *fmt, ...) printf_like(3, 4);
static void refuse_flag(struct conf_command *cmd, const char *program, const char *fmt, ...)
{
	struct buf text = { 0 };
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	buf_append_clean(&cmd->err, buf_slice(&text));
	buf_append_byte(&cmd->err, '\n');
	buf_deinit(&text);
	conf_print_usage(&cmd->out, program);
	cmd->verdict = CONF_END;
	cmd->exit_code = strcmp(program, "nats-server") == 0 ? 0 : 2;
}

static void refuse(struct conf_command *cmd, const char *program, const char *what, const char *arg)
{
	struct buf text = { 0 };
	buf_printf(&text, "%s: %s", program, what);
	if (arg) buf_printf(&text, " \"%s\"", arg);
	buf_append_clean(&cmd->err, buf_slice(&text));
	buf_append_byte(&cmd->err, '\n');
	buf_deinit(&text);
	cmd->verdict = CONF_END;
	cmd->exit_code = 1;
}

static bool switch_parse(struct slice text, bool *on)
{
	static const struct {
		const char *text;
		bool on;
	} words[] = { { "1", true }, { "t", true }, { "T", true }, { "TRUE", true }, { "true", true }, { "True", true },
		{ "0", false }, { "f", false }, { "F", false }, { "FALSE", false }, { "false", false },
		{ "False", false } };
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (!slice_eq_str(text, words[i].text)) continue;
		*on = words[i].on;
		return true;
	}
	return false;
}

/* "-k", "--k", "-k=v". The value may be the next argument: *at moves. False when it is wrong (and refused). */
static bool flag_read(struct conf_command *cmd, const char *program, int argc, const char *const *argv, int *at)
{
	struct slice arg = slice_of_str(argv[*at]);
	struct slice body = slice_from(arg, arg.n > 1 && arg.p[1] == '-' ? 2 : 1);
	ptrdiff_t equals = slice_find(body, '=');
	struct slice name = equals < 0 ? body : slice_first(body, (size_t)equals);
	struct conf_flag_value v = { .on = true };
	if (name.n == 0 || name.p[0] == '-') {
		refuse_flag(cmd, program, "bad flag syntax: %s", argv[*at]);
		return false;
	}
	v.flag = flag_find(name, &v.name);
	if (!v.flag) {
		refuse_flag(cmd, program, "flag provided but not defined: -%.*s", SLICE_FMT(name));
		return false;
	}
	struct slice text = equals < 0 ? SLICE_NULL : slice_from(body, (size_t)equals + 1);
	bool is_switch = v.flag->kind == FLAG_SWITCH;
	if (is_switch && equals >= 0 && !switch_parse(text, &v.on)) {
		refuse_flag(cmd, program, "invalid boolean value \"%.*s\" for -%.*s: parse error", SLICE_FMT(text),
			SLICE_FMT(name));
		return false;
	}
	if (!is_switch && equals < 0) {
		if (*at + 1 == argc) {
			refuse_flag(cmd, program, "flag needs an argument: -%.*s", SLICE_FMT(name));
			return false;
		}
		text = slice_of_str(argv[++*at]);
	}
	int64_t number;
	if (v.flag->kind == FLAG_NUMBER && slice_to_i64(text, &number) != OK) {
		refuse_flag(cmd, program, "invalid value \"%.*s\" for flag -%.*s: parse error", SLICE_FMT(text),
			SLICE_FMT(name));
		return false;
	}
	v.text = is_switch ? (v.on ? "true" : "false")
			   : (const char *)text.p; /* the end of an argument: NUL-terminated */
	cmd->values = mem_realloc(cmd->values, (cmd->value_count + 1) * sizeof *cmd->values);
	cmd->values[cmd->value_count++] = v;
	return true;
}

/* The last value of the flag that does `act`, or NULL. */
static const struct conf_flag_value *value_of(const struct conf_command *cmd, enum flag_act act)
{
	const struct conf_flag_value *found = NULL;
	for (size_t i = 0; i < cmd->value_count; i++)
		if (cmd->values[i].flag->act == act && cmd->values[i].on) found = &cmd->values[i];
	return found;
}

/* "stop", "reload=4711", "ldm=/run/nats.pid". */
static void signal_read(struct conf_command *cmd, const char *program, const char *text)
{
	struct slice s = slice_of_str(text);
	ptrdiff_t equals = slice_find(s, '=');
	struct slice name = equals < 0 ? s : slice_first(s, (size_t)equals);
	cmd->signal_target = equals < 0 || text[equals + 1] == '\0' ? NULL : text + equals + 1;
	for (size_t i = 0; i < COUNT_OF(signal_names); i++)
		if (slice_eq_str(name, signal_names[i])) cmd->signal_name = signal_names[i];
	if (cmd->signal_name)
		cmd->verdict = CONF_SIGNAL;
	else
		refuse(cmd, program, "unknown signal", text);
}

static void print_help_tls(struct buf *out)
{
	buf_append_str(out,
		"\nA certificate and its key, in PEM files, are all that TLS needs:\n"
		"    --tlscert server.pem --tlskey key.pem\n"
		"Clients are asked for certificates of their own with\n"
		"    --tlsverify --tlscacert authorities.pem\n"
		"In the configuration file: tls { cert_file, key_file, ca_file, verify, timeout, min_version }.\n");
}

/* What the words behind the flags, and the flags that are no settings, ask for. */
static void command_decide(struct conf_command *cmd, const char *program, const char *version, const char *word)
{
	bool says_version = word && slice_eq_nocase(slice_of_str(word), SLICE("version"));
	bool says_help = word && slice_eq_nocase(slice_of_str(word), SLICE("help"));
	if (value_of(cmd, FLAG_VERSION) || says_version) {
		buf_printf(&cmd->out, "%s: v%s\n", program, version);
		cmd->verdict = CONF_END;
		return;
	}
	if (value_of(cmd, FLAG_HELP) || value_of(cmd, FLAG_HELP_TLS) || says_help) {
		if (value_of(cmd, FLAG_HELP_TLS))
			print_help_tls(&cmd->out);
		else
			conf_print_usage(&cmd->out, program);
		cmd->verdict = CONF_END;
		return;
	}
	if (word) {
		refuse(cmd, program, "unrecognized command:", word);
		return;
	}
	const struct conf_flag_value *config = value_of(cmd, FLAG_CONFIG), *signal = value_of(cmd, FLAG_SIGNAL);
	cmd->config_file = config && *config->text ? config->text : NULL;
	cmd->verdict = value_of(cmd, FLAG_TEST) ? CONF_TEST : CONF_RUN;
	if (signal && *signal->text)
		signal_read(cmd, program, signal->text);
	else if (cmd->verdict == CONF_TEST && !cmd->config_file)
		refuse(cmd, program, "-t needs a configuration file to check, expected -c <file>", NULL);
}

void conf_command_parse(
	struct conf_command *cmd, int argc, const char *const *argv, const char *name, const char *version)
{
	*cmd = (struct conf_command) { .verdict = CONF_RUN };
	int at = 1;
	for (; at < argc; at++) {
		const char *arg = argv[at];
		if (arg[0] != '-' || arg[1] == '\0') break;
		if (strcmp(arg, "--") == 0) {
			at++;
			break;
		}
		if (!flag_read(cmd, name, argc, argv, &at)) return;
	}
	command_decide(cmd, name, version, at < argc ? argv[at] : NULL);
}

void conf_command_deinit(struct conf_command *cmd)
{
	buf_deinit(&cmd->out);
	buf_deinit(&cmd->err);
	mem_free(cmd->values);
	*cmd = (struct conf_command) { .verdict = CONF_RUN };
}

/* ---- over the file ---- */

static void flag_set(struct conf_read *r, const struct conf_flag_value *v, const char *key)
{
	const struct conf_row *row = conf_row_find(v->flag->section, key);
	ASSERT(row != NULL);
	struct buf place = { 0 };
	struct slice name = slice_of_str(v->name);
	ptrdiff_t space = slice_find(name, ' ');
	if (space >= 0) name = slice_first(name, (size_t)space);
	buf_printf(&place, "flag -%.*s", SLICE_FMT(name));
	struct conf_value value = { .kind = CONF_KIND_STRING, .text = v->text, .boolean = v->on };
	value.place.file = arena_strndup(r->arena, place.p, place.n);
	buf_deinit(&place);
	if (v->flag->kind == FLAG_SWITCH) value.kind = CONF_KIND_BOOL;
	if (v->flag->kind == FLAG_NUMBER) {
		value.kind = CONF_KIND_INT;
		ASSERT(slice_to_i64(slice_of_str(v->text), &value.integer) == OK);
	}
	struct conf_member m = { .name = key, .value = &value, .place = value.place };
	conf_set_row(r, row, &m);
}

void conf_flags_apply(struct conf_read *r, const struct conf_command *cmd)
{
	for (size_t i = 0; i < cmd->value_count; i++) {
		const struct conf_flag_value *v = &cmd->values[i];
		for (size_t k = 0; k < FLAG_KEYS_MAX && v->flag->act == FLAG_SETS; k++)
			if (v->flag->keys[k]) flag_set(r, v, v->flag->keys[k]);
	}
}
