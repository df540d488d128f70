/* SPDX-License-Identifier: Apache-2.0 */
/* json_fields — CONNECT and INFO as tables: one row per member, read and written through the same row. Decoding is as strict about types
 * as Go's decoder, because clients were tested against that one. */
#ifndef THEBES_WIRE_JSON_FIELDS_H
#define THEBES_WIRE_JSON_FIELDS_H

#include "thebes/base/slice.h"

enum field_kind {
	FIELD_BOOL,  /* bool */
	FIELD_INT,   /* int64_t */
	FIELD_U64,   /* uint64_t */
	FIELD_TEXT,  /* struct slice */
	FIELD_TEXTS, /* const struct slice *, and a size_t at count_offset; at most one row of a table */
};
struct field {
	const char *name;
	enum field_kind kind;
	bool always; /* written even when false, zero or empty */
	size_t offset, count_offset;
};
struct field_table {
	const struct field *rows;
	size_t count;
};

/* Merges the members of the JSON object into *object. All texts of the object, old and new, are then copied into one new block, each
 * NUL-terminated: *text, *text_bytes; the old block stays the caller's. False: nothing was allocated, *object is to be thrown away. */
must_check bool fields_decode(
	const struct field_table *t, struct slice json, void *object, char **text, size_t *text_bytes);
/* Appends `{…}`. */
void fields_encode(const struct field_table *t, const void *object, struct buf *to);

#endif
