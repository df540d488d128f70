/* SPDX-License-Identifier: Apache-2.0 */
/* conf_print — docs/config.md and conf/thebes.conf, made from the rows, so that they cannot say anything else than the
 * code does. */
#include "conf_table.h"

static const char *type_text(const struct conf_row *row)
{
	static const char *const texts[] = {
		[CONF_BOOL] = "true or false",
		[CONF_INT] = "number",
		[CONF_LIMIT] = "size",
		[CONF_SIZE] = "size",
		[CONF_DURATION] = "duration",
		[CONF_STRING] = "string",
		[CONF_STRINGS] = "string or array of strings",
		[CONF_PORT] = "port",
		[CONF_LISTEN] = "\"host:port\" or a port",
		[CONF_CUSTOM] = "",
		[CONF_BLOCK] = "map",
		[CONF_LATER] = "",
	};
	ASSERT((unsigned)row->type < COUNT_OF(texts));
	return row->type == CONF_CUSTOM ? row->expects : texts[row->type];
}

static bool has_bounds(const struct conf_row *row)
{
	return row->type == CONF_INT || row->type == CONF_LIMIT || row->type == CONF_SIZE || row->type == CONF_DURATION;
}

/* A size in the largest binary unit that it is a whole number of. */
static void size_print(struct buf *out, int64_t v)
{
	static const char *const units[] = { "", " KiB", " MiB", " GiB", " TiB" };
	size_t unit = 0;
	for (; v != 0 && v % 1024 == 0 && unit + 1 < COUNT_OF(units); unit++) v /= 1024;
	buf_printf(out, "%lld%s", (long long)v, units[unit]);
}

static void bound_print(struct buf *out, const struct conf_row *row, int64_t v)
{
	if (row->type == CONF_DURATION)
		duration_print(out, v);
	else if (row->type == CONF_INT)
		buf_printf(out, "%lld", (long long)v);
	else
		size_print(out, v);
}

/* The default as one would write it. Durations in quotes, too: a bare 2m is the number 2,000,000. */
static void default_print(struct buf *out, const struct conf_row *row)
{
	bool is_text = row->type == CONF_STRING || row->type == CONF_DURATION;
	if (row->type == CONF_CUSTOM)
		is_text = strcmp(row->expects, "a string") == 0 || strstr(row->expects, "duration");
	buf_printf(out, is_text ? "\"%s\"" : "%s", row->fallback);
}

/* ---- docs/config.md ---- */

static void docs_row(struct buf *out, const struct conf_row *row)
{
	buf_printf(out, "| `%s`", row->name);
	for (struct slice rest = slice_of_str(row->aliases); rest.n;) {
		ptrdiff_t space = slice_find(rest, ' ');
		struct slice one = space < 0 ? rest : slice_first(rest, (size_t)space);
		buf_printf(out, " `%.*s`", SLICE_FMT(one));
		rest = slice_from(rest, one.n + 1);
	}
	buf_printf(out, " | %s | ", type_text(row));
	if (row->fallback && *row->fallback) {
		buf_append_byte(out, '`');
		default_print(out, row);
		buf_append_byte(out, '`');
	}
	buf_append_str(out, " | ");
	if (has_bounds(row)) {
		bound_print(out, row, row->min);
		buf_append_str(out, " … ");
		bound_print(out, row, row->max);
	}
	buf_printf(out, " | %s | %s%s |\n", row->flags & CONF_RELOAD ? "yes" : "", row->text,
		row->flags & CONF_OURS ? " *Thebes only.*" : "");
}

static void docs_section(struct buf *out, enum conf_section section)
{
	const struct conf_section_row *s = conf_section_of(section);
	size_t count, known = 0;
	const struct conf_row *rows = conf_rows(&count);
	for (size_t i = 0; i < count; i++) known += rows[i].section == section && rows[i].type != CONF_LATER;
	if (known == 0) return;
	if (*s->title)
		buf_printf(out, "\n## `%s`\n", s->title);
	else
		buf_append_str(out, "\n## Top level\n");
	buf_printf(out, "\n%s\n\n| key | value | default | bounds | reload | |\n|---|---|---|---|---|---|\n", s->text);
	for (size_t i = 0; i < count; i++) {
		bool is_later = rows[i].type == CONF_LATER || (rows[i].flags & (CONF_WARNS | CONF_REFUSES));
		if (rows[i].section == section && !is_later) docs_row(out, &rows[i]);
	}
}

static void docs_later(struct buf *out, unsigned flag, const char *title, const char *text)
{
	size_t count;
	const struct conf_row *rows = conf_rows(&count);
	buf_printf(out, "\n### %s\n\n%s\n\n", title, text);
	for (size_t i = 0; i < count; i++) {
		if (!(rows[i].flags & flag)) continue;
		buf_append_str(out, "- `");
		conf_row_path(out, &rows[i]);
		buf_printf(out, "`: %s\n", rows[i].text);
	}
}

void conf_print_docs(struct buf *out)
{
	buf_append_str(out,
		"# Configuration\n\n"
		"This page is made from `src/conf/conf.def` (CMake target `generate`); change it there.\n\n"
		"A configuration file has the grammar of nats-server's: `key: value`, `key = value`, `key value` or "
		"`key { … }`, one per line or\n"
		"separated by `,` or `;`. Arrays stand in `[ ]`, comments begin with `#` or `//`. Keys are matched in "
		"any case.\n"
		"`include \"file\"` reads another file, relative to this one. `$NAME` takes the value of a key defined "
		"above, or of the environment.\n\n"
		"- **size**: a number with an optional unit: `k m g t p e` are powers of 1000, `kb mb …`, `kib mib …` "
		"of 1024.\n"
		"- **duration**: `\"2m\"`, `\"1h30m\"`, `\"500ms\"`; in quotes, because a bare `2m` is the number "
		"2,000,000. A plain number counts as\n"
		"  seconds, with a warning.\n"
		"- **reload**: a running server follows a change on SIGHUP; a change of any other key makes it refuse "
		"the new file as a whole.\n\n"
		"An unknown key, a value of the wrong type and one out of its bounds are errors that name file, line, "
		"column and key.\n"
		"`-t` checks a file and ends; a warning counts as a failure there.\n");
	buf_append_str(out,
		"\n## Command line\n\n"
		"Flags override the file. Started under the name `nats-server`, the binary is `thebes server`.\n\n```");
	conf_print_usage(out, "thebes server");
	buf_append_str(out, "```\n");
	for (int s = 0; s < SECTION_COUNT; s++) docs_section(out, (enum conf_section)s);
	buf_append_str(out, "\n## Keys of nats-server that have no effect yet\n");
	docs_later(out, CONF_REFUSES, "Refused",
		"Ignoring these would not be harmless, so a file that has them is an error.");
	docs_later(out, CONF_WARNS, "Ignored with a warning",
		"Accepted, so that a file of nats-server can be used as it is.");
	docs_later(out, CONF_SILENT, "Ignored", "They have no meaning here, or their block has said it already.");
}

/* ---- conf/thebes.conf ---- */

enum { INDENT = 4 };

/* Text in lines of at most 110 columns, each behind `prefix`. */
static void example_text(struct buf *out, const char *prefix, const char *text)
{
	struct slice rest = slice_of_str(text);
	while (rest.n) {
		size_t n = size_min(rest.n, 110);
		while (n < rest.n && n > 0 && rest.p[n] != ' ') n--;
		if (n == 0) n = rest.n;
		buf_printf(out, "%s%.*s\n", prefix, (int)n, (const char *)rest.p);
		rest = slice_from(rest, n < rest.n ? n + 1 : n);
	}
}

static void example_row(struct buf *out, const struct conf_row *row, unsigned depth)
{
	int indent = (int)(INDENT * depth);
	struct buf prefix = { 0 };
	buf_printf(&prefix, "%*s# ", indent, "");
	buf_append_byte(out, '\n');
	example_text(out, buf_str(&prefix), row->text);
	buf_deinit(&prefix);
	if (row->fallback && *row->fallback) {
		buf_printf(out, "%*s#%s: ", indent, "", row->name);
		default_print(out, row);
		buf_append_byte(out, '\n');
	} else {
		buf_printf(out, "%*s# %s: not set. Expects: %s.\n", indent, "", row->name, type_text(row));
	}
}

static void example_rows(struct buf *out, enum conf_section section, unsigned depth)
{
	size_t count;
	const struct conf_row *rows = conf_rows(&count);
	for (size_t i = 0; i < count; i++) {
		bool is_plain =
			rows[i].type != CONF_LATER && rows[i].type != CONF_BLOCK && !(rows[i].flags & CONF_SPELLING);
		if (rows[i].section == section && is_plain && rows[i].block == SECTION_COUNT)
			example_row(out, &rows[i], depth);
	}
}

/* A block, and in it the blocks that its rows open. */
static void example_block(struct buf *out, const char *name, enum conf_section section, unsigned depth)
{
	size_t count;
	const struct conf_row *rows = conf_rows(&count);
	struct buf prefix = { 0 };
	buf_printf(&prefix, "%*s# ", (int)(INDENT * depth), "");
	buf_append_byte(out, '\n');
	example_text(out, buf_str(&prefix), conf_section_of(section)->text);
	buf_deinit(&prefix);
	buf_printf(out, "%*s#%s {\n", (int)(INDENT * depth), "", name);
	example_rows(out, section, depth + 1);
	for (size_t i = 0; i < count; i++)
		if (rows[i].section == section && rows[i].type == CONF_BLOCK)
			example_block(out, rows[i].name, rows[i].block, depth + 1);
	buf_printf(out, "%*s#}\n", (int)(INDENT * depth), "");
}

void conf_print_example(struct buf *out)
{
	buf_append_str(out, "# Thebes: every key with its default. A line that begins with # and no space is a "
			    "setting; take the # away to change it.\n"
			    "# This file is made from src/conf/conf.def. docs/config.md says more, and what "
			    "nats-server's other keys do here.\n");
	example_rows(out, SECTION_TOP, 0);
	example_block(out, "authorization", SECTION_AUTHORIZATION, 0);
	buf_append_str(out,
		"\n# Instead of one user, a list; and instead of the list, accounts, each with users of its own:\n"
		"#   authorization {\n"
		"#     users: [\n"
		"#       { user: ann, password: \"$2a$11$…\", permissions: { publish: [\"orders.>\"], subscribe: "
		"[\"_INBOX.>\"] } }\n"
		"#     ]\n"
		"#   }\n"
		"#   accounts {\n"
		"#     shop { users: [ { user: ann, password: secret } ], jetstream: enabled }\n"
		"#     audit { users: [ { user: bob, password: secret } ] }\n"
		"#   }\n");
	example_block(out, "tls", SECTION_TLS, 0);
	example_block(out, "jetstream", SECTION_JETSTREAM, 0);
	example_block(out, "journal", SECTION_JOURNAL, 0);
}
