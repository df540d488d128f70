/* SPDX-License-Identifier: Apache-2.0 */
/* Help in three sizes, all made from the tables: every command in a line; the verbs of a noun; one command with its options and examples.
 * And the nearest word to one that does not exist. */
#include "cli_inside.h"

static const struct {
	const char *said, *meant;
} synonyms[] = {
#define SYNONYM(said, meant) { said, meant },
#include "synonyms.def"
#undef SYNONYM
};

/* ---- printing ---- */

static void print_command(FILE *to, const struct command *c)
{
	char left[64];
	(void)snprintf(left, sizeof left, "%s %s", c->words, c->arguments);
	(void)fprintf(to, "  %-28s %s\n", left, c->help);
}

static void print_option(FILE *to, const struct option *d)
{
	char left[64], letter[8] = "";
	if (d->letter) (void)snprintf(letter, sizeof letter, "-%c, ", d->letter);
	(void)snprintf(left, sizeof left, "%4s--%s%s%s", letter, d->name, *d->value ? " " : "", d->value);
	(void)fprintf(to, "  %-28s %s", left, d->help);
	if (*d->fallback && strcmp(d->fallback, "0") != 0) (void)fprintf(to, " (%s)", d->fallback);
	for (struct slice left_env = slice_of_str(d->env); left_env.n;) {
		ptrdiff_t blank = slice_find(left_env, ' ');
		struct slice one = blank < 0 ? left_env : slice_first(left_env, (size_t)blank);
		(void)fprintf(to, " [$%.*s]", SLICE_FMT(one));
		left_env = slice_from(left_env, one.n + 1);
	}
	(void)fputc('\n', to);
}

static void print_examples(FILE *to, const char *examples)
{
	for (struct slice left = slice_of_str(examples); left.n;) {
		struct slice line = slice_first(left, (size_t)slice_find(left, '\n'));
		(void)fprintf(to, "  %.*s\n", SLICE_FMT(line));
		left = slice_from(left, line.n + 1);
	}
}

/* Those that only some commands have, or those that every command has. */
static void print_options(FILE *to, uint32_t bits, bool common)
{
	bool any = false;
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option *d = &cli_options[i];
		if ((d->uses == UINT32_MAX) != common || !(d->uses & bits)) continue;
		if (!any) (void)fprintf(to, common ? "\nOptions of every command\n" : "\nOptions\n");
		any = true;
		print_option(to, d);
	}
}

static int print_everything(FILE *to)
{
	(void)fprintf(to,
		"Thebes %s, a durable message broker that speaks NATS\n\nusage: thebes COMMAND [ARGUMENTS] [OPTIONS]\n",
		THEBES_VERSION);
	for (size_t i = 0; i < cli_command_count; i++) {
		if (*cli_commands[i].section) (void)fprintf(to, "\n%s\n", cli_commands[i].section);
		print_command(to, &cli_commands[i]);
	}
	print_options(to, UINT32_MAX, true);
	(void)fputs(
		"\nthebes help COMMAND shows a command's own options and examples.\n"
		"Exit codes: 0 done, 1 it could not be done, 2 the command line is wrong; standard error says why.\n",
		to);
	return EXIT_DONE;
}

static bool begins_with(const struct command *c, const char *noun)
{
	size_t n = strlen(noun);
	return strncmp(c->words, noun, n) == 0 && (c->words[n] == ' ' || c->words[n] == '\0');
}

static int print_one(FILE *to, const struct command *c)
{
	(void)fprintf(to, "usage: thebes %s%s%s%s\n\n%s\n", c->words, *c->arguments ? " " : "", c->arguments,
		c->run ? " [OPTIONS]" : "", c->help);
	print_options(to, c->bit, false);
	if (*c->examples) {
		(void)fputs("\nExamples\n", to);
		print_examples(to, c->examples);
	}
	if (c->run) print_options(to, c->bit, true);
	return EXIT_DONE;
}

static int print_noun(FILE *to, const char *noun)
{
	uint32_t bits = 0;
	(void)fprintf(to, "usage: thebes %s VERB [ARGUMENTS] [OPTIONS]\n\n", noun);
	for (size_t i = 0; i < cli_command_count; i++) {
		if (!begins_with(&cli_commands[i], noun)) continue;
		print_command(to, &cli_commands[i]);
		bits |= cli_commands[i].bit;
	}
	(void)fputs("\nExamples\n", to);
	for (size_t i = 0; i < cli_command_count; i++)
		if (begins_with(&cli_commands[i], noun)) print_examples(to, cli_commands[i].examples);
	print_options(to, bits, true);
	(void)fprintf(to, "\nthebes help %s VERB shows a verb's own options.\n", noun);
	return EXIT_DONE;
}

int help_print(const struct options *o, FILE *to, const char *const *words, unsigned count)
{
	const struct command *noun = NULL;
	if (count == 0) return print_everything(to);
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct command *c = &cli_commands[i];
		const char *space = strchr(c->words, ' ');
		if (!begins_with(c, words[0])) continue;
		if (!space || (count > 1 && strcmp(words[1], space + 1) == 0)) return print_one(to, c);
		noun = c;
	}
	if (noun && count == 1) return print_noun(to, words[0]);
	struct buf hint = { 0 };
	help_suggest_word(&hint, noun ? words[0] : NULL, words[noun ? 1 : 0]);
	(void)cli_misused(o, "there is no command \"%s%s%s\"%s (thebes help lists them)", words[0], noun ? " " : "",
		noun ? words[1] : "", buf_str(&hint));
	buf_deinit(&hint);
	return EXIT_USAGE;
}

/* ---- the nearest word ---- */

enum { WORD_MAX = 31 };

/* Changes, insertions, deletions and swaps of neighbours that make one of the other. */
static unsigned distance(struct slice a, struct slice b)
{
	unsigned d[WORD_MAX + 1][WORD_MAX + 1];
	a = slice_first(a, WORD_MAX);
	b = slice_first(b, WORD_MAX);
	for (unsigned i = 0; i <= a.n; i++) d[i][0] = i;
	for (unsigned j = 0; j <= b.n; j++) d[0][j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		for (size_t j = 1; j <= b.n; j++) {
			unsigned best = d[i - 1][j - 1] + (a.p[i - 1] != b.p[j - 1]);
			if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] &&
				d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	}
	return d[a.n][b.n];
}

struct nearest {
	struct slice said, word;
	unsigned distance;
};

/* A third of the letters may be wrong; what begins like it is as near as a slip. */
static struct nearest nearest_to(const char *said)
{
	struct slice s = slice_of_str(said);
	return (struct nearest) { .said = s, .distance = (unsigned)size_max(2, s.n / 3) + 1 };
}

static void look_at(struct nearest *n, struct slice word)
{
	unsigned d = distance(n->said, word);
	if (n->said.n >= 2 && slice_has_prefix(word, n->said) && d > 1) d = 1;
	if (d >= n->distance || d >= word.n) return;
	n->distance = d;
	n->word = word;
}

static struct slice first_word(const char *words)
{
	const char *space = strchr(words, ' ');
	return slice_of(words, space ? (size_t)(space - words) : strlen(words));
}

/* Is it one of the words that could stand there? */
static bool is_choice(const char *noun, struct slice word)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		const char *words = cli_commands[i].words, *space = strchr(words, ' ');
		if (!noun && slice_eq(first_word(words), word)) return true;
		if (noun && space && begins_with(&cli_commands[i], noun) && slice_eq_str(word, space + 1)) return true;
	}
	return false;
}

void help_suggest_word(struct buf *out, const char *noun, const char *said)
{
	struct nearest n = nearest_to(said);
	if (!*said) return;
	for (size_t i = 0; i < COUNT_OF(synonyms); i++)
		if (strcmp(said, synonyms[i].said) == 0 && is_choice(noun, slice_of_str(synonyms[i].meant)))
			n = (struct nearest) { .word = slice_of_str(synonyms[i].meant) };
	for (size_t i = 0; i < cli_command_count; i++) {
		const char *words = cli_commands[i].words, *space = strchr(words, ' ');
		if (!noun) look_at(&n, first_word(words));
		if (noun && space && begins_with(&cli_commands[i], noun)) look_at(&n, slice_of_str(space + 1));
	}
	if (n.word.n) buf_printf(out, ", did you mean %.*s?", SLICE_FMT(n.word));
}

void help_suggest_option(struct buf *out, const char *said)
{
	while (*said == '-') said++;
	const char *equals = strchr(said, '=');
	struct nearest n = nearest_to(said);
	if (equals) n.said.n = (size_t)(equals - said);
	for (size_t i = 0; i < OPTION_COUNT; i++) look_at(&n, slice_of_str(cli_options[i].name));
	if (n.word.n) buf_printf(out, ", did you mean --%.*s?", SLICE_FMT(n.word));
}
