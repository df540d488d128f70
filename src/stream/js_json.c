/* SPDX-License-Identifier: Apache-2.0 */
/* Looking into JSON requests the way Go's decoder does: clients in the field rely on its leniency about case. */
#include "thebes/js_json.h"

#include <jansson.h>

json_t *js_json_load(struct slice text, struct js_error *e)
{
	json_error_t where = { .text = "an object is expected" };
	if (slice_eq(text, SLICE("null"))) return json_object(); /* as Go's decoder leaves everything as it is */
	json_t *root = json_loadb(text.n ? (const char *)text.p : "", text.n, 0, &where);
	if (json_is_object(root)) return root;
	json_decref(root);
	(void)js_error_set(e, JS_INVALID_JSON, "%s", where.text[0] ? where.text : "an object is expected");
	return NULL;
}

json_t *js_json_get(const json_t *object, const char *key)
{
	struct slice wanted = slice_of_str(key);
	json_t *found = NULL;
	void *self = (void *)(uintptr_t)object; /* iterating takes a pointer that may change it */
	for (void *at = json_object_iter(self); at; at = json_object_iter_next(self, at))
		if (slice_eq_nocase(slice_of_str(json_object_iter_key(at)), wanted)) found = json_object_iter_value(at);
	return json_is_null(found) ? NULL : found;
}

/* Go's clients send their zero time for a time that nobody set. */
static bool asks_nothing(const json_t *v, const char *nothing)
{
	const char *text = json_string_value(v);
	if (text) return !*text || !strcmp(text, "0001-01-01T00:00:00Z") || (nothing && !strcmp(text, nothing));
	return !v || json_is_false(v) || (json_is_integer(v) && json_integer_value(v) == 0) ||
	       (json_is_array(v) && json_array_size(v) == 0);
}

const struct js_refused *js_json_refused(const json_t *object, const struct js_refused *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const json_t *from = rows[i].inside ? js_json_get(object, rows[i].inside) : object;
		if (!asks_nothing(js_json_get(from, rows[i].key), rows[i].nothing)) return &rows[i];
	}
	return NULL;
}

static const char *take(const struct js_want *w, json_t *v)
{
	switch (w->kind) {
	case JS_U64:
		if (!json_is_integer(v) || json_integer_value(v) < 0) return "a number that is not negative";
		*(uint64_t *)w->out = (uint64_t)json_integer_value(v);
		return NULL;
	case JS_BOOL:
		if (!json_is_boolean(v)) return "true or false";
		*(bool *)w->out = json_is_true(v);
		return NULL;
	case JS_TEXT:
		if (!json_is_string(v)) return "a string";
		*(struct slice *)w->out = slice_of(json_string_value(v), json_string_length(v));
		return NULL;
	}
	UNREACHABLE();
}

bool js_json_take(const json_t *object, const struct js_want *wants, size_t count, struct js_error *e)
{
	for (size_t i = 0; i < count; i++) {
		json_t *v = js_json_get(object, wants[i].key);
		const char *problem = v ? take(&wants[i], v) : NULL;
		if (problem) return js_error_set(e, JS_INVALID_JSON, "%s must be %s", wants[i].key, problem);
	}
	return true;
}
