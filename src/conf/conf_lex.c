/* SPDX-License-Identifier: Apache-2.0 */
/* conf_lex — characters of a configuration file to keys and scalars (spec §3.1).
 *
 * A bare word is read to its end first and judged then: true, 64k, 1.5, $NAME, or else a string. So "21480239-n1",
 * "1.5s" and [1,2], on which nats-server stumbles, are what they look like. */
#include <stdlib.h>

#include "conf_tree.h"

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t'; }

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

static bool is_one_of(uint8_t c, const char *set) { return c && strchr(set, c); }

void conf_lex_init(
	struct conf_lex *l, const char *file, struct slice text, struct conf_report *report, struct arena *arena)
{
	if (!text.p) text = SLICE("");
	if (slice_has_prefix(text, SLICE("\xef\xbb\xbf")))
		text = slice_from(text, 3); /* byte order mark of some editors */
	*l = (struct conf_lex) {
		.file = file,
		.p = text.p,
		.end = text.p + text.n,
		.line_start = text.p,
		.line = 1,
		.report = report,
		.arena = arena,
	};
}

struct conf_place conf_lex_place(const struct conf_lex *l)
{
	return (struct conf_place) { l->file, l->line, (uint32_t)(l->p - l->line_start) + 1 };
}

void conf_lex_advance(struct conf_lex *l)
{
	ASSERT(l->p < l->end);
	uint8_t c = *l->p++;
	bool is_line_end = c == '\n' || (c == '\r' && conf_lex_peek(l) != '\n');
	if (!is_line_end) return;
	l->line++;
	l->line_start = l->p;
}

void conf_lex_skip_blanks(struct conf_lex *l)
{
	while (is_blank(conf_lex_peek(l))) conf_lex_advance(l);
}

void conf_lex_skip_space(struct conf_lex *l)
{
	while (is_blank(conf_lex_peek(l)) || conf_lex_is_newline(conf_lex_peek(l))) conf_lex_advance(l);
}

void conf_lex_skip_comment(struct conf_lex *l)
{
	uint8_t c = conf_lex_peek(l);
	bool begins = c == '#' || (c == '/' && l->end - l->p > 1 && l->p[1] == '/');
	if (!begins) return;
	while (!conf_lex_is_at_end(l) && !conf_lex_is_newline(*l->p)) conf_lex_advance(l);
}

void conf_lex_skip_to_item(struct conf_lex *l)
{
	const uint8_t *before;
	do {
		before = l->p;
		conf_lex_skip_space(l);
		conf_lex_skip_comment(l);
	} while (l->p != before);
}

const char *conf_lex_found(struct conf_lex *l)
{
	if (conf_lex_is_at_end(l)) return "end of file";
	if (conf_lex_is_newline(*l->p)) return "end of line";
	size_t n = 0, max = size_min(16, (size_t)(l->end - l->p));
	while (n < max && !is_blank(l->p[n]) && !conf_lex_is_newline(l->p[n])) n++;
	if (n == 0) n = 1;
	char *text = arena_alloc(l->arena, n + 3);
	text[0] = text[n + 1] = '\'';
	memcpy(text + 1, l->p, n);
	text[n + 2] = '\0';
	return text;
}

/* The text as a string of the arena; an inner NUL is an error, because nobody means it and strings end there. */
static const char *lex_keep(struct conf_lex *l, struct conf_place at, struct slice text)
{
	if (slice_find(text, 0) < 0) return arena_strndup(l->arena, text.p, text.n);
	conf_error(l->report, at, "a text may not contain a NUL character");
	return NULL;
}

/* ---- quoted texts ---- */

static int hex_value(uint8_t c)
{
	if (is_digit(c)) return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* An escape, from its backslash on, appended to *text. */
static bool lex_escape(struct conf_lex *l, struct buf *text)
{
	static const char letters[] = "tnr\"\\", meanings[] = "\t\n\r\"\\";
	struct conf_place at = conf_lex_place(l);
	conf_lex_advance(l);
	uint8_t c = conf_lex_peek(l);
	const char *letter = is_one_of(c, letters) ? strchr(letters, c) : NULL;
	if (letter) {
		conf_lex_advance(l);
		buf_append_byte(text, (uint8_t)meanings[letter - letters]);
		return true;
	}
	if (c == 'x' && l->end - l->p > 2 && hex_value(l->p[1]) >= 0 && hex_value(l->p[2]) >= 0) {
		buf_append_byte(text, (uint8_t)(hex_value(l->p[1]) << 4 | hex_value(l->p[2])));
		for (int i = 0; i < 3; i++) conf_lex_advance(l);
		return true;
	}
	if (c == 'x')
		conf_error(l->report, at, "expected two hexadecimal digits behind \\x");
	else
		conf_error(l->report, at, "invalid escape, expected one of \\t \\n \\r \\\" \\\\ \\xHH, found %s",
			conf_lex_found(l));
	return false;
}

/* From the opening quote to behind the closing one. Only double quotes have escapes, and keys have none at all. */
static const char *lex_quoted(struct conf_lex *l, bool has_escapes)
{
	struct conf_place at = conf_lex_place(l);
	struct buf text = { 0 };
	uint8_t quote = *l->p;
	bool ok = true;
	conf_lex_advance(l);
	while (ok && !conf_lex_is_at_end(l) && *l->p != quote) {
		if (*l->p == '\\' && has_escapes) {
			ok = lex_escape(l, &text);
		} else {
			buf_append_byte(&text, *l->p);
			conf_lex_advance(l);
		}
	}
	if (ok && conf_lex_is_at_end(l)) {
		conf_error(l->report, at,
			"the quote that opens here is never closed, expected %c before the end of the file", quote);
		ok = false;
	}
	const char *kept = NULL;
	if (ok) {
		conf_lex_advance(l);
		kept = lex_keep(l, at, buf_slice(&text));
	}
	buf_deinit(&text);
	return kept;
}

/* "(" … a line that holds only ")". What is between stays as it is, newlines included. */
static const char *lex_block(struct conf_lex *l)
{
	struct conf_place at = conf_lex_place(l);
	conf_lex_advance(l);
	const uint8_t *start = l->p;
	for (; !conf_lex_is_at_end(l); conf_lex_advance(l)) {
		if (*l->p != ')' || l->p == start || !conf_lex_is_newline(l->p[-1])) continue;
		if (l->p + 1 < l->end && !conf_lex_is_newline(l->p[1])) continue;
		const char *kept = lex_keep(l, at, slice_of(start, (size_t)(l->p - start)));
		conf_lex_advance(l);
		return kept;
	}
	conf_error(l->report, at,
		"the block that opens here is never closed, expected a line with only ) before the end of the file");
	return NULL;
}

/* ---- keys ---- */

const char *conf_lex_key(struct conf_lex *l, bool *is_bare, bool *has_separator)
{
	struct conf_place at = conf_lex_place(l);
	uint8_t c = conf_lex_peek(l);
	const char *key;
	*is_bare = c != '"' && c != '\'';
	if (is_one_of(c, ":=,;{}[](")) {
		conf_error(l->report, at, "expected a key, found '%c'", c);
		return NULL;
	}
	if (*is_bare) {
		const uint8_t *start = l->p;
		while (!conf_lex_is_at_end(l) && !is_blank(*l->p) && !conf_lex_is_newline(*l->p) && *l->p != ':' &&
			*l->p != '=')
			conf_lex_advance(l);
		key = lex_keep(l, at, slice_of(start, (size_t)(l->p - start)));
	} else {
		key = lex_quoted(l, false);
	}
	if (!key) return NULL;
	conf_lex_skip_blanks(l);
	c = conf_lex_peek(l);
	*has_separator = c == ':' || c == '=';
	if (*has_separator) conf_lex_advance(l);
	return key;
}

const char *conf_lex_include(struct conf_lex *l)
{
	struct conf_place at = conf_lex_place(l);
	uint8_t c = conf_lex_peek(l);
	if (conf_lex_is_at_end(l) || conf_lex_is_newline(c) || is_one_of(c, "[{(,;}")) {
		conf_error(l->report, at, "include: expected the name of a file, found %s", conf_lex_found(l));
		return NULL;
	}
	if (c == '"' || c == '\'') return lex_quoted(l, c == '"');
	const uint8_t *start = l->p;
	while (!conf_lex_is_at_end(l) && !is_blank(*l->p) && !conf_lex_is_newline(*l->p) && *l->p != ';' &&
		*l->p != '}')
		conf_lex_advance(l);
	return lex_keep(l, at, slice_of(start, (size_t)(l->p - start)));
}

/* ---- scalars ---- */

static const struct {
	const char *word;
	bool value;
} bool_words[] = { { "true", true }, { "yes", true }, { "on", true }, { "false", false }, { "no", false },
	{ "off", false } };

/* The factor of "k", "MB", "gib", … 0 when it is no suffix. */
static uint64_t suffix_factor(struct slice suffix)
{
	static const char letters[] = "kmgtpe";
	if (suffix.n == 0) return 1;
	uint8_t lower = suffix.p[0] | 0x20;
	if (!is_one_of(lower, letters)) return 0;
	ptrdiff_t power = strchr(letters, lower) - letters;
	struct slice rest = slice_from(suffix, 1);
	bool is_binary = slice_eq_nocase(rest, SLICE("b")) || slice_eq_nocase(rest, SLICE("i")) ||
			 slice_eq_nocase(rest, SLICE("ib"));
	if (rest.n && !is_binary) return 0;
	uint64_t factor = 1;
	for (ptrdiff_t i = 0; i <= power; i++) factor *= is_binary ? 1024 : 1000;
	return factor;
}

enum err conf_integer_parse(struct slice text, int64_t *out)
{
	bool is_negative = text.n && text.p[0] == '-';
	if (is_negative) text = slice_from(text, 1);
	size_t digits = 0;
	while (digits < text.n && is_digit(text.p[digits])) digits++;
	uint64_t factor = suffix_factor(slice_from(text, digits));
	if (digits == 0 || factor == 0) return ERR_PARSE;
	uint64_t v;
	enum err e = slice_to_u64(slice_first(text, digits), &v);
	if (e != OK) return e;
	if (v > INT64_MAX / factor) return ERR_TOO_LARGE;
	*out = is_negative ? -(int64_t)(v * factor) : (int64_t)(v * factor);
	return OK;
}

/* "1.5", "-0.25": digits, a point, digits. */
static bool is_float(struct slice text)
{
	if (text.n && text.p[0] == '-') text = slice_from(text, 1);
	ptrdiff_t point = slice_find(text, '.');
	if (point <= 0 || (size_t)point + 1 == text.n) return false;
	for (size_t i = 0; i < text.n; i++)
		if (i != (size_t)point && !is_digit(text.p[i])) return false;
	return true;
}

/* What an unquoted word means. */
static enum conf_scalar lex_judge(struct conf_lex *l, struct conf_value *v)
{
	struct slice text = slice_of_str(v->text);
	for (size_t i = 0; i < COUNT_OF(bool_words); i++) {
		if (!slice_eq_nocase(text, slice_of_str(bool_words[i].word))) continue;
		v->kind = CONF_KIND_BOOL;
		v->boolean = bool_words[i].value;
		return CONF_SCALAR_VALUE;
	}
	/* A bcrypt hash begins like a variable. */
	bool is_bcrypt =
		text.n > 3 && text.p[0] == '$' && text.p[1] == '2' && is_one_of(text.p[2], "abxy") && text.p[3] == '$';
	if (text.n && text.p[0] == '$' && !is_bcrypt) {
		v->text++;
		return CONF_SCALAR_VARIABLE;
	}
	enum err e = conf_integer_parse(text, &v->integer);
	if (e == ERR_TOO_LARGE) {
		conf_error(l->report, v->place, "the number %s is larger than any setting can be", v->text);
		return CONF_SCALAR_ERROR;
	}
	if (e == OK) v->kind = CONF_KIND_INT;
	if (e != OK && is_float(text)) {
		v->kind = CONF_KIND_FLOAT;
		v->number = strtod(v->text, NULL);
	}
	return CONF_SCALAR_VALUE;
}

/* A word ends at whatever may follow a value, or at a single quote, which is swallowed (a quirk of nats-server's
 * lexer). */
static enum conf_scalar lex_bare(struct conf_lex *l, struct conf_value *v)
{
	struct buf text = { 0 };
	bool has_escapes = false, ok = true;
	while (ok && !conf_lex_is_at_end(l) && !is_blank(*l->p) && !conf_lex_is_newline(*l->p) &&
		!is_one_of(*l->p, ",;]}'")) {
		if (*l->p == '\\') {
			has_escapes = true;
			ok = lex_escape(l, &text);
		} else {
			buf_append_byte(&text, *l->p);
			conf_lex_advance(l);
		}
	}
	bool is_empty = text.n == 0;
	v->text = ok ? lex_keep(l, v->place, buf_slice(&text)) : NULL;
	buf_deinit(&text);
	if (!v->text) return CONF_SCALAR_ERROR;
	if (is_empty) {
		conf_error(l->report, v->place, "expected a value, found %s", conf_lex_found(l));
		return CONF_SCALAR_ERROR;
	}
	if (conf_lex_peek(l) == '\'') conf_lex_advance(l);
	return has_escapes ? CONF_SCALAR_VALUE : lex_judge(l, v);
}

enum conf_scalar conf_lex_scalar(struct conf_lex *l, struct conf_value *v)
{
	*v = (struct conf_value) { .kind = CONF_KIND_STRING, .place = conf_lex_place(l) };
	uint8_t c = conf_lex_peek(l);
	if (c != '"' && c != '\'' && c != '(') return lex_bare(l, v);
	v->text = c == '(' ? lex_block(l) : lex_quoted(l, c == '"');
	return v->text ? CONF_SCALAR_VALUE : CONF_SCALAR_ERROR;
}
