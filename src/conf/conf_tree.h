/* SPDX-License-Identifier: Apache-2.0 */
/* conf_tree — a parsed file: values with the place where they stand. Private to conf.
 *
 *   conf_lex.c     characters -> keys and scalars           struct conf_lex
 *   conf_parse.c   keys and scalars -> tree                 struct conf_parse, struct conf_value */
#ifndef THEBES_CONF_TREE_H
#define THEBES_CONF_TREE_H

#include "thebes/conf.h"

enum {
	CONF_DEPTH_MAX = 64,               /* maps and arrays inside each other */
	CONF_INCLUDE_DEPTH_MAX = 16,       /* files that include each other */
	CONF_BYTES_MAX = 16 * 1024 * 1024, /* of all files together: an include bomb ends here */
};

/* ---- problems ---- */

/* Adds a line to the report. A place without a line is a flag: "flag -p: …". */
void conf_error(struct conf_report *r, struct conf_place at, const char *fmt, ...) printf_like(3, 4);
void conf_warn(struct conf_report *r, struct conf_place at, const char *fmt, ...) printf_like(3, 4);

/* ---- values ---- */

enum conf_kind { CONF_KIND_BOOL, CONF_KIND_INT, CONF_KIND_FLOAT, CONF_KIND_STRING, CONF_KIND_ARRAY, CONF_KIND_MAP };

struct conf_value {
	enum conf_kind kind;
	bool boolean;
	int64_t integer;
	double number;
	const char *text;                 /* string; of numbers what was written */
	struct conf_value **items;        /* array */
	struct conf_member *first, *last; /* map, in the order of first mention */
	size_t count;                     /* items or members */
	struct conf_place place;
};

struct conf_member {
	struct conf_member *next;
	const char *name; /* as written */
	struct slice id;  /* address of the map, then the name: the key in conf_parse.members */
	struct conf_value *value;
	struct conf_place place; /* of the key */
	bool is_source;          /* a variable took its value: needs no meaning of its own */
};

/* "a string", "a map", … with an article, for messages. */
const char *conf_kind_text(enum conf_kind kind);

/* ---- characters ---- */

struct conf_lex {
	const char *file;
	const uint8_t *p, *end, *line_start;
	uint32_t line;
	struct conf_report *report;
	struct arena *arena; /* for texts */
};

enum conf_scalar { CONF_SCALAR_ERROR, CONF_SCALAR_VALUE, CONF_SCALAR_VARIABLE };

void conf_lex_init(
	struct conf_lex *l, const char *file, struct slice text, struct conf_report *report, struct arena *arena);
struct conf_place conf_lex_place(const struct conf_lex *l);
static inline bool conf_lex_is_at_end(const struct conf_lex *l) { return l->p == l->end; }
static inline uint8_t conf_lex_peek(const struct conf_lex *l) { return l->p < l->end ? *l->p : 0; }
static inline bool conf_lex_is_newline(uint8_t c) { return c == '\n' || c == '\r'; }
void conf_lex_advance(struct conf_lex *l);      /* one byte, not at the end */
void conf_lex_skip_blanks(struct conf_lex *l);  /* spaces and tabs */
void conf_lex_skip_space(struct conf_lex *l);   /* blanks and newlines */
void conf_lex_skip_comment(struct conf_lex *l); /* when one begins here */
void conf_lex_skip_to_item(struct conf_lex *l); /* blanks, newlines, comments */
/* What stands here, for messages: "'x'", "end of line", "end of file". Static or in the arena. */
const char *conf_lex_found(struct conf_lex *l);
/* A key, bare or quoted, and what separates it from its value; *has_separator says whether ':' or '=' did. NULL after
 * an error. */
const char *conf_lex_key(struct conf_lex *l, bool *is_bare, bool *has_separator);
/* A scalar into *v: bare, quoted or a block. Of a variable, v->text is the name. */
enum conf_scalar conf_lex_scalar(struct conf_lex *l, struct conf_value *v);
/* The file name behind `include`. NULL after an error. */
const char *conf_lex_include(struct conf_lex *l);

/* ---- the tree ---- */

struct conf_parse {
	const struct conf_source *source;              /* borrowed */
	struct conf_report *report;                    /* borrowed */
	struct arena *arena;                           /* borrowed: tree and texts */
	struct arena *names;                           /* borrowed: file names, which outlive the tree */
	struct map members;                            /* all members of all maps, by struct conf_member.id */
	struct buf id;                                 /* owned: scratch of look-ups */
	const char *including[CONF_INCLUDE_DEPTH_MAX]; /* the chain of files */
	const char *resolving[CONF_INCLUDE_DEPTH_MAX]; /* the chain of environment variables */
	unsigned including_count, resolving_count;
	size_t bytes;                                   /* read so far */
	bool is_unreadable;                             /* a file was not to be had */
	void (*on_bytes)(void *arg, struct slice text); /* every file's content, for the digest */
	void *on_bytes_arg;
};
void conf_parse_init(struct conf_parse *p, const struct conf_source *source, struct conf_report *report,
	struct arena *arena, struct arena *names);
void conf_parse_deinit(struct conf_parse *p);
/* The top-level map of the file, or NULL after an error (which is in the report). */
struct conf_value *conf_parse_file(struct conf_parse *p, const char *path);
/* NULL when the map has no such member. */
struct conf_member *conf_member_find(struct conf_parse *p, const struct conf_value *map, struct slice name);

/* "10", "-5", "64k", "1GiB" to a number: the whole text. ERR_PARSE when it is none, ERR_TOO_LARGE. */
must_check enum err conf_integer_parse(struct slice text, int64_t *out);

#endif
