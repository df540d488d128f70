/* SPDX-License-Identifier: Apache-2.0 */
/* Words and options to one function: two tables and the help that is printed from them. */
#include "cli_inside.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "thebes/cli.h"

enum kind { FLAG, TEXT, NUMBER, SIZE, TIME };

static const struct option {
	const char *name;
	char letter;
	enum kind kind;
	size_t offset;
	const char *fallback, *env, *help;
} options[] = {
#define OPTION(name, letter, field, kind, fallback, env, help)                                                         \
	{ name, letter, kind, offsetof(struct options, field), fallback, env, help },
#include "options.def"
#undef OPTION
};

static const struct command {
	const char *words, *arguments;
	unsigned least;
	command_fn *run;
	bool connects;
	const char *help;
} commands[] = {
#define COMMAND(words, arguments, least, function, help) { words, arguments, least, cli_##function, true, help },
#define COMMAND_OFFLINE(words, arguments, least, function, help)                                                       \
	{ words, arguments, least, cli_##function, false, help },
#include "commands.def"
#undef COMMAND
#undef COMMAND_OFFLINE
};

int cli_fail(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	(void)fputs("thebes: ", stderr);
	(void)vfprintf(stderr, fmt, ap);
	(void)fputc('\n', stderr);
	va_end(ap);
	return 1;
}

int cli_fail_link(const struct link *l) { return cli_fail("%s", l->why); }

static int print_help(FILE *to)
{
	(void)fputs("usage: thebes COMMAND [ARGUMENTS] [OPTIONS]\n\n  server [NATS-SERVER FLAGS]        run a node "
		    "(thebes server --help)\n",
		to);
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		char left[64];
		(void)snprintf(left, sizeof left, "%s %s", commands[i].words, commands[i].arguments);
		(void)fprintf(to, "  %-32s  %s\n", left, commands[i].help);
	}
	(void)fputs("\noptions:\n", to);
	for (size_t i = 0; i < COUNT_OF(options); i++) {
		const struct option *o = &options[i];
		char left[64];
		(void)snprintf(left, sizeof left, "--%s%s%s%c", o->name, o->kind == FLAG ? "" : " V",
			o->letter ? ", -" : "", o->letter ? o->letter : ' ');
		(void)fprintf(to, "  %-32s  %s", left, o->help);
		if (o->kind != FLAG && o->fallback[0]) (void)fprintf(to, " (%s)", o->fallback);
		if (o->env) (void)fprintf(to, " [$%s]", o->env);
		(void)fputc('\n', to);
	}
	return to == stdout ? 0 : 2;
}

static bool parse_size(const char *text, uint64_t *out)
{
	struct slice s = slice_of_str(text);
	uint64_t unit = 1;
	static const struct {
		const char *suffix;
		uint64_t bytes;
	} units[] = { { "KiB", KIB }, { "MiB", MIB }, { "GiB", GIB }, { "KB", 1000 }, { "MB", 1000000 },
		{ "GB", 1000000000 }, { "B", 1 } };
	for (size_t i = 0; i < COUNT_OF(units); i++) {
		struct slice u = slice_of_str(units[i].suffix);
		if (s.n <= u.n || !slice_eq_nocase(slice_from(s, s.n - u.n), u)) continue;
		unit = units[i].bytes;
		s.n -= u.n;
		break;
	}
	if (slice_to_u64(s, out) != OK || *out > UINT64_MAX / unit) return false;
	*out *= unit;
	return true;
}

static bool set(struct options *o, const struct option *d, const char *text)
{
	void *at = (char *)o + d->offset;
	int64_t ns;
	switch (d->kind) {
	case FLAG: *(bool *)at = true; return true;
	case TEXT: *(const char **)at = text; return true;
	case NUMBER: return slice_to_u64(slice_of_str(text), at) == OK;
	case SIZE: return parse_size(text, at);
	case TIME:
		if (duration_parse(slice_of_str(text), &ns) != OK || ns < 0) return false;
		*(uint64_t *)at = (uint64_t)ns;
		return true;
	}
	UNREACHABLE();
}

static const char *const wants[] = { "nothing", "a text", "a number", "a size such as 64KiB",
	"a duration such as 30s or 1h" };

static bool set_or_say(struct options *o, const struct option *d, const char *text, const char *where)
{
	if (set(o, d, text)) return true;
	(void)cli_fail("%s%s: \"%s\" is not %s", where, d->name, text, wants[d->kind]);
	return false;
}

static bool set_defaults(struct options *o)
{
	for (size_t i = 0; i < COUNT_OF(options); i++) {
		const struct option *d = &options[i];
		const char *env = d->env ? getenv(d->env) : NULL;
		if (d->kind == FLAG) continue;
		if (env && *env) {
			if (!set_or_say(o, d, env, "environment, ")) return false;
		} else {
			bool good = set(o, d, d->fallback);
			ASSERT(good);
		}
	}
	return true;
}

static const struct option *find_option(const char *arg, const char **value)
{
	*value = NULL;
	for (size_t i = 0; i < COUNT_OF(options); i++) {
		const struct option *d = &options[i];
		if (arg[1] != '-') {
			if (d->letter && arg[1] == d->letter && arg[2] == '\0') return d;
			continue;
		}
		size_t n = strlen(d->name);
		if (strncmp(arg + 2, d->name, n) != 0 || (arg[2 + n] != '\0' && arg[2 + n] != '=')) continue;
		if (arg[2 + n] == '=') *value = arg + 3 + n;
		return d;
	}
	return NULL;
}

static bool parse(struct options *o, int argc, char **argv, int at)
{
	bool only_args = false;
	for (; at < argc; at++) {
		const char *arg = argv[at], *value;
		if (!only_args && strcmp(arg, "--") == 0) {
			only_args = true;
		} else if (only_args || arg[0] != '-' || arg[1] == '\0') {
			if (o->arg_count == COUNT_OF(o->args)) return cli_fail("too many arguments") == 0;
			o->args[o->arg_count++] = arg;
		} else {
			const struct option *d = find_option(arg, &value);
			if (!d) return cli_fail("unknown option %s, see thebes help", arg) == 0;
			if (d->kind != FLAG && !value) value = ++at < argc ? argv[at] : NULL;
			if (d->kind != FLAG && !value)
				return cli_fail("option --%s wants %s", d->name, wants[d->kind]) == 0;
			if (!set_or_say(o, d, value, "option --")) return false;
		}
	}
	return true;
}

/* The command whose words the arguments begin with; they are taken out of the arguments. */
static const struct command *find_command(struct options *o)
{
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		const char *space = strchr(commands[i].words, ' ');
		size_t first = space ? (size_t)(space - commands[i].words) : strlen(commands[i].words);
		unsigned words = space ? 2 : 1;
		if (o->arg_count < words || strlen(o->args[0]) != first ||
			strncmp(o->args[0], commands[i].words, first) != 0)
			continue;
		if (space && strcmp(o->args[1], space + 1) != 0) continue;
		o->arg_count -= words;
		memmove(o->args, o->args + words, o->arg_count * sizeof o->args[0]);
		return &commands[i];
	}
	return NULL;
}

/* What may follow a word that begins commands of two words; else that the word is not known. */
static int unknown_command(const struct options *o)
{
	struct buf b = { 0 };
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		const char *space = strchr(commands[i].words, ' ');
		if (!space ||
			!slice_eq_str(slice_of(commands[i].words, (size_t)(space - commands[i].words)), o->args[0]))
			continue;
		buf_printf(&b, "%s%s", b.n ? ", " : "", space + 1);
	}
	if (b.n) {
		(void)cli_fail("thebes %s wants one of: %s", o->args[0], buf_str(&b));
	} else {
		(void)cli_fail("unknown command \"%s\", see thebes help", o->args[0]);
	}
	buf_deinit(&b);
	return 2;
}

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
	return argc > 1 && strcmp(argv[1], "help") == 0;
}

int cli_main(int argc, char **argv)
{
	struct options o = { 0 };
	struct link l = { .fd = -1 };
	if (argc < 2) return print_help(stderr);
	if (asks_for_help(argc, argv)) return print_help(stdout);
	if (!set_defaults(&o) || !parse(&o, argc, argv, 1)) return 2;
	if (o.arg_count == 0) return print_help(stderr);
	const struct command *c = find_command(&o);
	if (!c) return unknown_command(&o);
	if (o.arg_count < c->least) {
		(void)cli_fail("usage: thebes %s %s", c->words, c->arguments);
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	int code = !c->connects || link_open(&l, &o) ? c->run(&l, &o) : cli_fail_link(&l);
	link_close(&l);
	return code;
}
