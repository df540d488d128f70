/* SPDX-License-Identifier: Apache-2.0 */
/* JSON requests read as the original reads them: keys in any case, the last one counts, null is absent, types are checked. */
#include "check.h"

#include <jansson.h>

#include "thebes/js_json.h"

struct taken {
	uint64_t number;
	bool flag;
	struct slice text;
};

static bool take(const char *json, struct taken *t, struct js_error *e)
{
	const struct js_want wants[] = { { "seq", JS_U64, &t->number }, { "no_erase", JS_BOOL, &t->flag },
		{ "filter", JS_TEXT, &t->text } };
	*t = (struct taken) { .number = 77, .text = SLICE("before") };
	*e = (struct js_error) { 0 };
	json_t *root = js_json_load(slice_of_str(json), e);
	if (!root) return false;
	bool good = js_json_take(root, wants, COUNT_OF(wants), e);
	if (good && t->text.n)
		t->text = slice_eq_str(t->text, "a.b") ? SLICE("a.b") : t->text; /* outlives the object */
	json_decref(root);
	return good;
}

static void what_is_taken(void **state)
{
	static const struct {
		const char *json;
		uint64_t number;
		bool flag;
		const char *text;
	} cases[] = {
		{ "{}", 77, false, "before" },
		{ "null", 77, false, "before" },
		{ "{\"seq\":5,\"no_erase\":true,\"filter\":\"a.b\"}", 5, true, "a.b" },
		{ "{\"SEQ\":5,\"No_Erase\":true,\"FilTer\":\"a.b\"}", 5, true, "a.b" },
		{ "{\"seq\":5,\"Seq\":6,\"SEQ\":7}", 7, false, "before" },
		{ "{\"seq\":null,\"no_erase\":null,\"filter\":null}", 77, false, "before" },
		{ "{\"other\":\"x\",\"seqs\":1}", 77, false, "before" },
		{ "{\"seq\":9223372036854775807}", INT64_MAX, false, "before" },
	};
	struct taken t;
	struct js_error e;
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (!take(cases[i].json, &t, &e)) fail_msg("%s: %s", cases[i].json, e.text);
		assert_int_equal(t.number, cases[i].number);
		assert_int_equal(t.flag, cases[i].flag);
		assert_true(slice_eq_str(t.text, cases[i].text));
	}
}

static void what_is_refused(void **state)
{
	static const char *const cases[] = { "", "{", "[]", "5", "null x", "{\"seq\":-1}", "{\"seq\":\"1\"}",
		"{\"seq\":1.0}", "{\"SEQ\":true}", "{\"no_erase\":1}", "{\"filter\":5}", "{\"filter\":[\"a\"]}",
		"{\"seq\":1} x", "{\"filter\":\"\\u0000\"}", "{\"seq\":99999999999999999999}" };
	struct taken t;
	struct js_error e;
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (take(cases[i], &t, &e)) fail_msg("taken: %s", cases[i]);
		assert_int_equal(js_error_code(e.id), 10025);
		assert_true(strlen(e.text) > strlen("invalid JSON: "));
	}
	assert_null(js_json_get(NULL, "seq"));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_is_taken), cmocka_unit_test(what_is_refused) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
