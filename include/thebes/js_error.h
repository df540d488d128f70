/* SPDX-License-Identifier: Apache-2.0 */
/* js_error — one list of what the JetStream API answers when it cannot do what was asked (spec §5.13). */
#ifndef THEBES_JS_ERROR_H
#define THEBES_JS_ERROR_H

#include "thebes/base.h"

enum js_error_id {
	JS_OK,
#define JS_ERROR(name, code, http, text) JS_##name,
#include "thebes/js_error.def"
#undef JS_ERROR
	JS_ERROR_COUNT
};

struct js_error {
	enum js_error_id id; /* JS_OK: none */
	char text[400];      /* the description with its argument filled in */
};
/* Sets the error; `arg` replaces the {…} of its text (printf-like; NULL when it has none). Returns false, so that a check can
 * `return js_error_set(…)`. */
bool js_error_set(struct js_error *e, enum js_error_id id, const char *arg_fmt, ...) printf_like(3, 4);
unsigned js_error_code(enum js_error_id id); /* 10059 */
unsigned js_error_http(enum js_error_id id); /* 404 */

#endif
