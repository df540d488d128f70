/* SPDX-License-Identifier: Apache-2.0 */
/* Words and options to one function, by the rows of two tables; what they can not mean is said in one sentence. */
#include "cli_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>

#include "thebes/cli.h"

/* ---- sentences ---- */

static void print_sentence(const struct options *o, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void print_sentence(const struct options *o, const char *fmt, va_list ap)
{
	struct buf text = { 0 }, clean = { 0 };
	buf_vprintf(&text, fmt, ap);
	buf_append_clean(&clean, buf_slice(&text)); /* names and answers are other people's */
	(void)fflush(stdout);
	if (o->json) {
		json_t *v = json_pack("{s:s%}", "error", clean.p, clean.n);
		if (!v) { /* not UTF-8 */
			for (size_t i = 0; i < clean.n; i++)
				if (clean.p[i] >= 0x80) clean.p[i] = '?';
			v = json_pack("{s:s%}", "error", clean.p, clean.n);
		}
		(void)json_dumpf(v, stderr, JSON_COMPACT);
		(void)fputc('\n', stderr);
		json_decref(v);
	} else {
		(void)fprintf(stderr, "thebes: %s\n", buf_str(&clean));
	}
	buf_deinit(&text);
	buf_deinit(&clean);
}

int cli_fail(const struct options *o, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	print_sentence(o, fmt, ap);
	va_end(ap);
	return EXIT_FAILED;
}

int cli_misused(const struct options *o, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	print_sentence(o, fmt, ap);
	va_end(ap);
	return EXIT_USAGE;
}

int cli_fail_link(const struct options *o, const struct link *l) { return cli_fail(o, "%s", l->why); }

/* ---- values ---- */

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
	struct texts *list = at;
	int64_t ns;
	switch (d->kind) {
	case FLAG: *(bool *)at = true; return true;
	case TEXT: *(const char **)at = text; return true;
	case LIST:
		if (list->count == COUNT_OF(list->at)) return false;
		list->at[list->count++] = text;
		return true;
	case NUMBER: return slice_to_u64(slice_of_str(text), at) == OK;
	case SIZE: return parse_size(text, at);
	case TIME:
		if (duration_parse(slice_of_str(text), &ns) != OK || ns < 0) return false;
		*(uint64_t *)at = (uint64_t)ns;
		return true;
	}
	UNREACHABLE();
}

static bool set_or_say(struct options *o, const struct option *d, const char *text, const char *where, const char *name)
{
	if (set(o, d, text)) return true;
	(void)cli_misused(o, d->kind == LIST ? "%s%s: \"%s\" is one too many (%s each)" : "%s%s: \"%s\" is not %s",
		where, name, text, cli_wants[d->kind]);
	return false;
}

/* The environment, for what the command line has not said: the first of the names that is set. False after a sentence. */
static bool set_from_environment(struct options *o, const struct option *d, bool *found)
{
	for (struct slice left = slice_of_str(d->env); left.n && !*found;) {
		char name[32];
		ptrdiff_t blank = slice_find(left, ' ');
		struct slice one = blank < 0 ? left : slice_first(left, (size_t)blank);
		(void)snprintf(name, sizeof name, "%.*s", SLICE_FMT(one));
		const char *text = getenv(name);
		*found = text && *text;
		if (*found && !set_or_say(o, d, text, "environment variable ", name)) return false;
		left = slice_from(left, one.n + 1);
	}
	return true;
}

static bool set_the_rest(struct options *o)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option *d = &cli_options[i];
		bool found = false;
		if (d->kind == FLAG || d->kind == LIST || (o->given >> i & 1)) continue;
		if (d->env && !set_from_environment(o, d, &found)) return false;
		if (found) continue;
		bool good = set(o, d, d->fallback);
		ASSERT(good);
	}
	return true;
}

/* ---- the command line ---- */

/* The row of "--name", "--name=value", "-n", "-nvalue"; *value is NULL when it is not in the same word. */
static const struct option *find_option(const char *arg, const char **value)
{
	*value = NULL;
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option *d = &cli_options[i];
		if (arg[1] != '-') {
			if (!d->letter || arg[1] != d->letter || (d->kind == FLAG && arg[2])) continue;
			if (arg[2]) *value = arg + 2;
			return d;
		}
		size_t n = strlen(d->name);
		if (strncmp(arg + 2, d->name, n) != 0 || (arg[2 + n] != '\0' && arg[2 + n] != '=')) continue;
		if (arg[2 + n] == '=') *value = arg + 3 + n;
		return d;
	}
	return NULL;
}

static bool unknown_option(const struct options *o, const char *arg)
{
	struct buf hint = { 0 };
	help_suggest_option(&hint, arg);
	(void)cli_misused(o, "unknown option %s%s (thebes help COMMAND lists a command's)", arg, buf_str(&hint));
	buf_deinit(&hint);
	return false;
}

static bool take_option(struct options *o, int argc, char **argv, int *at)
{
	const char *value;
	const struct option *d = find_option(argv[*at], &value);
	if (!d) return unknown_option(o, argv[*at]);
	if (d->kind == FLAG && value) {
		(void)cli_misused(o, "option --%s takes no value", d->name);
		return false;
	}
	if (d->kind != FLAG && !value) value = ++*at < argc ? argv[*at] : NULL;
	if (d->kind != FLAG && !value) {
		(void)cli_misused(o, "option --%s wants %s", d->name, cli_wants[d->kind]);
		return false;
	}
	o->given |= UINT64_C(1) << (d - cli_options);
	return set_or_say(o, d, value, "option --", d->name);
}

static bool parse(struct options *o, int argc, char **argv)
{
	bool only_args = false;
	for (int at = 1; at < argc; at++) {
		const char *arg = argv[at];
		if (!only_args && strcmp(arg, "--") == 0) {
			only_args = true;
		} else if (!only_args && arg[0] == '-' && arg[1] != '\0') {
			if (!take_option(o, argc, argv, &at)) return false;
		} else if (o->arg_count == COUNT_OF(o->args)) {
			(void)cli_misused(o, "too many arguments");
			return false;
		} else {
			o->args[o->arg_count++] = arg;
		}
	}
	return true;
}

/* Errors of the command line itself are to be JSON too. */
static bool asks_for_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-j") == 0) return true;
	return false;
}

/* ---- which command ---- */

/* The command whose words the arguments begin with; they are taken out of the arguments. */
static const struct command *find_command(struct options *o)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct command *c = &cli_commands[i];
		const char *space = strchr(c->words, ' ');
		size_t first = space ? (size_t)(space - c->words) : strlen(c->words);
		unsigned words = space ? 2 : 1;
		if (!c->run || o->arg_count < words || strlen(o->args[0]) != first ||
			strncmp(o->args[0], c->words, first) != 0)
			continue;
		if (space && strcmp(o->args[1], space + 1) != 0) continue;
		o->arg_count -= words;
		memmove(o->args, o->args + words, o->arg_count * sizeof o->args[0]);
		return c;
	}
	return NULL;
}

/* What may follow a word that begins commands of two words; else that the word is not known. */
static int unknown_command(const struct options *o)
{
	struct buf verbs = { 0 }, hint = { 0 };
	const char *said = o->args[0];
	for (size_t i = 0; i < cli_command_count; i++) {
		const char *words = cli_commands[i].words, *space = strchr(words, ' ');
		if (!space || !slice_eq_str(slice_of(words, (size_t)(space - words)), said)) continue;
		buf_printf(&verbs, "%s%s", verbs.n ? ", " : "", space + 1);
	}
	help_suggest_word(&hint, verbs.n ? said : NULL, verbs.n && o->arg_count > 1 ? o->args[1] : verbs.n ? "" : said);
	if (verbs.n)
		(void)cli_misused(o, "thebes %s wants one of: %s%s", said, buf_str(&verbs), buf_str(&hint));
	else
		(void)cli_misused(o, "unknown command \"%s\"%s (thebes help lists them)", said, buf_str(&hint));
	buf_deinit(&verbs);
	buf_deinit(&hint);
	return EXIT_USAGE;
}

/* False after a sentence: too few or too many arguments, or an option that the command would not look at. */
static bool fits(const struct options *o, const struct command *c)
{
	if (o->arg_count < c->least) {
		(void)cli_misused(o, "usage: thebes %s %s", c->words, c->arguments);
		return false;
	}
	if (o->arg_count > c->most) {
		(void)cli_misused(o, "\"%s\" is one argument too many: thebes %s %s%s", o->args[c->most], c->words,
			c->arguments,
			strstr(c->arguments, "TEXT") ? ", with quotes around a TEXT that has blanks" : "");
		return false;
	}
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (!(o->given >> i & 1) || (cli_options[i].uses & c->bit)) continue;
		(void)cli_misused(
			o, "thebes %s has no option --%s: see thebes help %s", c->words, cli_options[i].name, c->words);
		return false;
	}
	return true;
}

static int run(const struct command *c, const struct options *o)
{
	struct link l = { .channel.fd = -1 };
	(void)signal(SIGPIPE, SIG_IGN);
	int code = !c->connects || link_open(&l, o) ? c->run(&l, o) : cli_fail_link(o, &l);
	link_close(&l);
	if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_DONE) {
		if (errno == EPIPE) return EXIT_SIGNAL + SIGPIPE; /* whoever read it has seen enough */
		return cli_fail(o, "can not write to standard output (%s)", strerror(errno));
	}
	return code;
}

/* A signal that we tidied up for ends us as it would have without: shells look at that. */
static int end_with(int code)
{
	if (code <= EXIT_SIGNAL) return code;
	(void)signal(code - EXIT_SIGNAL, SIG_DFL);
	(void)raise(code - EXIT_SIGNAL);
	return code;
}

/* Somebody who closes standard input or output gets errors, and not our socket in its place. */
static void keep_standard_files(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
		if (open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			return; /* the lowest that is free: that one */
	}
}

int cli_main(int argc, char **argv)
{
	keep_standard_files();
	struct options o = { .json = asks_for_json(argc, argv) };
	if (!parse(&o, argc, argv)) return EXIT_USAGE;
	bool asks = o.arg_count > 0 && strcmp(o.args[0], "help") == 0;
	if (asks || o.help) return help_print(&o, stdout, o.args + asks, o.arg_count - asks);
	if (o.arg_count == 0) {
		(void)help_print(&o, stderr, NULL, 0);
		return EXIT_USAGE;
	}
	const struct command *c = find_command(&o);
	if (!c) return unknown_command(&o);
	if (!fits(&o, c) || !set_the_rest(&o)) return EXIT_USAGE;
	return end_with(run(c, &o));
}
