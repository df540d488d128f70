/* SPDX-License-Identifier: Apache-2.0 */
/* What is made from conf.def and checked in must be current: after a change of a row run the CMake target
 * `generate`. */
#include "fixture.h"

static void read_checked_in(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "rb");
	if (!f) fail_msg("%s is missing: run the CMake target `generate`", path);
	for (size_t got = 1; got > 0;) {
		got = fread(buf_reserve(out, 4096), 1, 4096, f);
		out->n += got;
	}
	(void)fclose(f);
}

static void checked_in_files_are_current(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		void (*print)(struct buf *out);
	} cases[] = {
		{ SOURCE_DIR "/docs/config.md", conf_print_docs },
		{ SOURCE_DIR "/conf/thebes.conf", conf_print_example },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf made = { 0 }, found = { 0 };
		cases[i].print(&made);
		read_checked_in(cases[i].path, &found);
		if (!slice_eq(buf_slice(&made), buf_slice(&found)))
			fail_msg("%s is stale: run the CMake target `generate`", cases[i].path);
		buf_deinit(&made);
		buf_deinit(&found);
	}
}

static void count_change(void *arg, const struct conf_change *change)
{
	print_error("%s\n", change->text);
	(*(size_t *)arg)++;
}

/* The example as it is, and with every setting uncommented, is the default configuration. */
static void the_example_says_the_defaults(void **state)
{
	(void)state;
	struct buf text = { 0 }, bare = { 0 };
	conf_print_example(&text);
	size_t settings = 0;
	for (struct slice rest = buf_slice(&text); rest.n;) {
		ptrdiff_t end = slice_find(rest, '\n');
		struct slice line = slice_first(rest, (size_t)end);
		rest = slice_from(rest, (size_t)end + 1);
		size_t indent = 0;
		while (indent < line.n && line.p[indent] == ' ') indent++;
		struct slice body = slice_from(line, indent);
		bool is_setting = body.n > 1 && body.p[0] == '#' && body.p[1] != ' ';
		settings += is_setting;
		buf_append_slice(&bare, is_setting ? slice_from(body, 1) : body);
		buf_append_byte(&bare, '\n');
	}
	assert_true(settings > 40);
	struct conf plain = load_fine(""), example = load_fine(buf_str(&text));
	size_t changes = 0;
	assert_int_equal(conf_diff(&plain, &example, count_change, &changes), 0);
	struct world w = { .text = buf_str(&bare) };
	struct conf_report report;
	struct conf whole;
	enum err e = load_with(&w, NULL, &whole, &report);
	assert_string_equal(buf_str(&report.errors), "");
	assert_int_equal(e, OK);
	(void)conf_diff(&plain, &whole, count_change, &changes);
	assert_int_equal(changes, 0);
	conf_report_deinit(&report);
	conf_deinit(&plain);
	conf_deinit(&example);
	conf_deinit(&whole);
	buf_deinit(&text);
	buf_deinit(&bare);
}

static void the_documentation_names_every_key(void **state)
{
	(void)state;
	size_t count;
	const struct conf_row *rows = conf_rows(&count);
	struct buf docs = { 0 }, want = { 0 };
	conf_print_docs(&docs);
	for (size_t i = 0; i < count; i++) {
		bool is_later = rows[i].type == CONF_LATER || (rows[i].flags & (CONF_WARNS | CONF_REFUSES));
		buf_clear(&want);
		if (is_later) {
			buf_append_str(&want, "- `");
			conf_row_path(&want, &rows[i]);
			buf_append_byte(&want, '`');
		} else {
			buf_printf(&want, "| `%s`", rows[i].name);
		}
		if (!strstr(buf_str(&docs), buf_str(&want))) fail_msg("%s", buf_str(&want));
	}
	buf_deinit(&docs);
	buf_deinit(&want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checked_in_files_are_current),
		cmocka_unit_test(the_example_says_the_defaults),
		cmocka_unit_test(the_documentation_names_every_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
