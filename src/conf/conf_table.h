/* SPDX-License-Identifier: Apache-2.0 */
/* conf_table — every key is a row (conf.def); a value of the tree is checked and stored by its row. Private to conf.
 *
 *   conf_table.c   rows, types, bounds, unknown keys          conf_read_map(r, SECTION_TOP, tree, conf)
 *   conf_custom.c  rows whose value is not one plain field    conf_auth.c   users, permissions, accounts */
#ifndef THEBES_CONF_TABLE_H
#define THEBES_CONF_TABLE_H

#include "conf_tree.h"

enum conf_type {
	CONF_BOOL,     /* bool */
	CONF_INT,      /* int64_t */
	CONF_LIMIT,    /* int64_t: bytes, also as a string such as "1G"; -1 = no limit */
	CONF_SIZE,     /* uint64_t: bytes */
	CONF_DURATION, /* uint64_t: nanoseconds */
	CONF_STRING,   /* const char *: arena */
	CONF_STRINGS,  /* struct conf_strings: one string or an array of them */
	CONF_PORT,     /* uint16_t: -1 in the file is 0, "any free one"; 0 is the default */
	CONF_LISTEN,   /* struct conf_listen: port, "host:port", ":port" */
	CONF_CUSTOM,   /* read by row->read */
	CONF_BLOCK,    /* a map of its own section over the same struct */
	CONF_LATER,    /* known, not acted on yet */
};

/* A struct that keys are stored in, and the keys that may stand together in one map. */
enum conf_section {
#define SECTION(id, title, tag, text) SECTION_##id,
#include "conf.def"
	SECTION_COUNT
};

enum conf_row_flag {
	CONF_RELOAD = 1,   /* a running server can change it */
	CONF_SECRET = 2,   /* never shown */
	CONF_SECONDS = 4,  /* a duration that may be a plain number of seconds */
	CONF_SPELLING = 8, /* another way to write what other rows hold: no field of its own */
	CONF_OURS = 16,    /* not a key of nats-server */
	CONF_WARNS = 32,   /* of CONF_LATER: accepted with a warning */
	CONF_REFUSES = 64, /* of CONF_LATER: an error, because ignoring it would not be harmless */
	CONF_SILENT =
		128, /* of CONF_LATER: accepted without a word, it changes nothing here (or its block has said it) */
};

struct conf_read;
struct conf_row;
typedef void conf_reader(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base);

struct conf_row {
	enum conf_section section;
	enum conf_type type;
	const char *name;
	const char *aliases;  /* separated by spaces */
	size_t offset;        /* of the field in the section's struct */
	const char *fallback; /* the default as one would write it; NULL: none */
	int64_t min, max;
	unsigned flags;
	enum conf_section block; /* CONF_BLOCK, and CONF_CUSTOM that reads one */
	conf_reader *read;       /* CONF_CUSTOM */
	const char *expects;     /* CONF_CUSTOM: what may stand there, for messages and documentation */
	const char *text;        /* one sentence */
};

struct conf_section_row {
	const char *title; /* path in messages and documentation: "authorization.users[]" */
	const char *text;
	const char *tag;
};

struct conf_read {
	struct conf *conf;                /* what is loaded */
	struct conf_report *report;       /* borrowed */
	const struct conf_source *source; /* borrowed */
	struct arena *arena;              /* borrowed: of conf */
	struct conf_place
		*places; /* borrowed: where each row's key was last set, for the checks between keys; no file: never */
	bool no_system_account;
	bool with_queues; /* the subjects being read may be "subject queue" */
};

#define CONF_ACCOUNT_GLOBAL "$G"
#define CONF_ACCOUNT_SYSTEM "$SYS"

const struct conf_row *conf_rows(size_t *count);
const struct conf_section_row *conf_section_of(enum conf_section section);
/* The row of a key in a section, by name or alias, in any case. NULL when unknown. */
const struct conf_row *conf_row_find(enum conf_section section, const char *name);
/* "jetstream.max_memory_store" */
void conf_row_path(struct buf *out, const struct conf_row *row);

/* Stores the defaults of a section's rows in its struct. */
void conf_read_defaults(struct conf_read *r, enum conf_section section, void *base);
/* Stores a map's members by the rows of the section. Unknown keys and wrong values are reported. */
void conf_read_map(struct conf_read *r, enum conf_section section, const struct conf_value *map, void *base);
/* A flag's value, over what the file said. A switch that is off asks for nothing where the feature comes later. */
void conf_set_row(struct conf_read *r, const struct conf_row *row, const struct conf_member *m);
/* Stores one member by its row. */
void conf_read_member(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base);

/* Where the key of a row was set, see conf_read.places. */
struct conf_place conf_place_of(const struct conf_read *r, enum conf_section section, const char *name);
/* The warning or error that a key deserves whose feature comes later; nothing for others. */
void conf_complain_later(struct conf_read *r, const struct conf_row *row, const struct conf_member *m);

/* "key: expected what, found …". */
void conf_expected(struct conf_read *r, const struct conf_member *m, const char *what);
/* The value's string in conf's arena, or NULL after an error. */
const char *conf_read_string(struct conf_read *r, const struct conf_member *m);
void conf_read_strings(struct conf_read *r, const struct conf_member *m, struct conf_strings *out);
/* "host:port", ":port" or a number. False after an error. */
bool conf_read_listen(struct conf_read *r, const struct conf_member *m, struct conf_listen *out, uint16_t default_port);
/* A duration in nanoseconds; plain numbers are seconds, with a warning unless `seconds_are_fine`. False after an
 * error. */
bool conf_read_duration(struct conf_read *r, const struct conf_member *m, bool seconds_are_fine, int64_t *ns);
/* True when the value is a map, else false after an error. */
bool conf_is_map(struct conf_read *r, const struct conf_member *m);
/* true, false, "enabled", "disabled". False after an error. */
bool conf_read_switch(struct conf_read *r, const struct conf_member *m, bool *on);
void conf_account_init(struct conf_read *r, struct conf_account *account, const char *name, struct conf_place place);
/* A zeroed array of n elements. */
void *conf_alloc_array(struct conf_read *r, size_t n, size_t size);

/* Readers of conf.def's CUSTOM rows. */
#define SECTION(id, title, tag, text)
#define CUSTOM(section, name, aliases, read, block, fallback, expects, flags, text) conf_reader read;
#include "conf.def"

/* ---- the rest of loading ---- */

/* What only several keys together can get wrong (spec §3.3, last point), and what follows from them. */
void conf_check(struct conf_read *r);
/* The flags of a command line, over what the file said. */
void conf_flags_apply(struct conf_read *r, const struct conf_command *cmd);

/* ---- digest ---- */

struct conf_sha256 {
	uint32_t state[8];
	uint64_t bytes;
	uint8_t block[64];
};
void conf_sha256_init(struct conf_sha256 *s);
void conf_sha256_add(struct conf_sha256 *s, struct slice bytes);
void conf_sha256_end(struct conf_sha256 *s, uint8_t out[32]);

#endif
