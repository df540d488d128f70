/* SPDX-License-Identifier: Apache-2.0 */
/* js_json — requests as the original's decoder (Go's encoding/json) reads them: a key matches in any case and the last one that matches
 * counts, null is absent, a value of another type is an error. */
#ifndef THEBES_JS_JSON_H
#define THEBES_JS_JSON_H

#include "thebes/base.h"
#include "thebes/js_error.h"

struct json_t; /* jansson's */

/* The object in `text`, the caller's to release; NULL sets *e to 10025. */
must_check struct json_t *js_json_load(struct slice text, struct js_error *e);
/* Borrowed from `object` (which may be NULL); NULL when the key is absent or null. */
struct json_t *js_json_get(const struct json_t *object, const char *key);

/* A member that asks for what this server does not have. */
struct js_refused {
	const char *key, *inside; /* inside: the member of the object where key is; NULL: of the request's own */
	const char *nothing;      /* a text by which clients say that they do not ask for it; NULL: none */
};
/* The first row whose member is set to more than null, false, 0, "", [], Go's zero time or its `nothing`; NULL: none is. */
const struct js_refused *js_json_refused(const struct json_t *object, const struct js_refused *rows, size_t count);

struct js_want {
	const char *key;
	enum { JS_U64, JS_BOOL, JS_TEXT } kind;
	void *out; /* uint64_t, bool, struct slice (borrowed from the object); left alone when the key is absent */
};
/* False sets *e to 10025 with the key that has a value of another type. */
must_check bool js_json_take(
	const struct json_t *object, const struct js_want *wants, size_t count, struct js_error *e);

#endif
