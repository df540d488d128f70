/* SPDX-License-Identifier: Apache-2.0 */
/* The API's errors: one table from js_error.def, and the filling in of the one argument that some texts have. */
#include "thebes/js_error.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
	unsigned code, http;
	const char *text;
} errors[] = {
	[JS_OK] = { 0, 200, "" },
#define JS_ERROR(name, code_, http_, text_) [JS_##name] = { code_, http_, text_ },
#include "thebes/js_error.def"
#undef JS_ERROR
};

bool js_error_set(struct js_error *e, enum js_error_id id, const char *arg_fmt, ...)
{
	ASSERT(id > JS_OK && id < JS_ERROR_COUNT);
	const char *text = errors[id].text, *open = strchr(text, '{'), *close = open ? strchr(open, '}') : NULL;
	char arg[320] = "";
	if (arg_fmt) {
		va_list ap;
		va_start(ap, arg_fmt);
		(void)vsnprintf(arg, sizeof arg, arg_fmt, ap);
		va_end(ap);
	}
	e->id = id;
	if (open && close) {
		(void)snprintf(e->text, sizeof e->text, "%.*s%s%s", (int)(open - text), text, arg, close + 1);
	} else if (arg_fmt) {
		(void)snprintf(e->text, sizeof e->text, "%s: %s", text, arg);
	} else {
		(void)snprintf(e->text, sizeof e->text, "%s", text);
	}
	return false;
}

unsigned js_error_code(enum js_error_id id)
{
	ASSERT((unsigned)id < JS_ERROR_COUNT);
	return errors[id].code;
}

unsigned js_error_http(enum js_error_id id)
{
	ASSERT((unsigned)id < JS_ERROR_COUNT);
	return errors[id].http;
}
