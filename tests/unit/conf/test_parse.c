/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

/* The tree as one line: {a:1,b:"x",c:[true,1.5]}. A member that a variable used is marked with $. */
static void tree_print(struct buf *out, const struct conf_value *v)
{
	switch (v->kind) {
	case CONF_KIND_BOOL: buf_append_str(out, v->boolean ? "true" : "false"); break;
	case CONF_KIND_INT: buf_printf(out, "%lld", (long long)v->integer); break;
	case CONF_KIND_FLOAT: buf_printf(out, "%g", v->number); break;
	case CONF_KIND_STRING: buf_printf(out, "\"%s\"", v->text); break;
	case CONF_KIND_ARRAY:
		buf_append_byte(out, '[');
		for (size_t i = 0; i < v->count; i++) {
			if (i) buf_append_byte(out, ',');
			tree_print(out, v->items[i]);
		}
		buf_append_byte(out, ']');
		break;
	case CONF_KIND_MAP:
		buf_append_byte(out, '{');
		for (const struct conf_member *m = v->first; m; m = m->next) {
			buf_printf(out, "%s%s%s:", m == v->first ? "" : ",", m->is_source ? "$" : "", m->name);
			tree_print(out, m->value);
		}
		buf_append_byte(out, '}');
		break;
	}
}

static const struct pair files[] = {
	{ "b.conf", "b: 1" },
	{ "x.conf", "X: 5" },
	{ "uses.conf", "b: $X" },
	{ "dir/c.conf", "c: 1\ninclude d.conf" },
	{ "dir/d.conf", "d: 1" },
	{ "/abs.conf", "abs: 1" },
	{ "list.conf", "{ k: [1, 2] }" },
	{ "empty.conf", "# nothing\n" },
	{ "overrides.conf", "a: 2" },
	{ NULL, NULL },
};

static const struct pair env[] = {
	{ "NUMBER", "4222" },
	{ "LIST", "[a, b]" },
	{ "MAP", "{token: abc}" },
	{ "TEXT", "\"0123abc\"" },
	{ "EMPTY", "" },
	{ "SPACED", " 7 # seven\n" },
	{ "OTHER", "$NUMBER" },
	{ "CHAIN", "[$OTHER, $TEXT]" },
	{ "HASH", "$2a$11$abc" },
	{ "SELF", "$SELF" },
	{ "PING", "$PONG" },
	{ "PONG", "$PING" },
	{ "TWO", "a b" },
	{ "BROKEN", "[a" },
	{ NULL, NULL },
};

static void good_files_become_trees(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
	} cases[] = {
		/* nothing, separators, comments */
		{ "", "{}" }, { "  \n\t\n# c\n// c\n", "{}" }, { "a: 1", "{a:1}" }, { "a = 1", "{a:1}" },
		{ "a 1", "{a:1}" }, { "a=1", "{a:1}" }, { "a:1", "{a:1}" }, { "a:\t 1", "{a:1}" },
		{ "a: 1\nb: 2", "{a:1,b:2}" }, { "a: 1\r\nb: 2\r\n", "{a:1,b:2}" }, { "a: 1\rb: 2", "{a:1,b:2}" },
		{ "a: 1; b: 2", "{a:1,b:2}" }, { "a: 1, b: 2", "{a:1,b:2}" }, { "a: 1,\nb: 2,\n", "{a:1,b:2}" },
		{ "a: 1 # c", "{a:1}" }, { "a: 1 // c\nb: 2", "{a:1,b:2}" }, { "a: 1 #c # d\n", "{a:1}" },
		{ "\xef\xbb\xbf"
		  "a: 1",
			"{a:1}" },
		/* the whole file in braces, JSON, one stray brace */
		{ "{ a: 1 }", "{a:1}" }, { "{a: 1, b: 2}\n# c\n", "{a:1,b:2}" },
		{ "{\n \"a\": \"x\",\n \"b\": [1, 2, {\"c\": true}],\n \"d\": {}\n}\n",
			"{a:\"x\",b:[1,2,{c:true}],d:{}}" },
		{ "{}", "{}" }, { "a: 1 }", "{a:1}" }, { "a: 1\n}\n", "{a:1}" }, { "}", "{}" },
		/* keys */
		{ "'a b': 1", "{a b:1}" }, { "\"a:b\" 1", "{a:b:1}" }, { "\"a\\x41\": 1", "{a\\x41:1}" },
		{ "a.b.>: 1", "{a.b.>:1}" }, { "Port: 1\nport: 2", "{Port:1,port:2}" }, { "a: 1\na: 2", "{a:2}" },
		{ "a: 1\nb: 1\na: {c: 1}", "{a:{c:1},b:1}" }, { "includes: 1", "{includes:1}" },
		{ "include: x", "{include:\"x\"}" }, { "\"include\" x", "{include:\"x\"}" },
		/* a value may begin on a later line when only space separates it */
		{ "a\n1", "{a:1}" }, { "a\n{\n b: 1\n}", "{a:{b:1}}" }, { "a {\n b\n {\n }\n}", "{a:{b:{}}}" },
		{ "a { b:\n 1 }", "{a:{b:1}}" },
		/* maps */
		{ "a { b: 1 }", "{a:{b:1}}" }, { "a: { b: 1 }", "{a:{b:1}}" }, { "a={b:1}", "{a:{b:1}}" },
		{ "a { b: 1, c: 2; d: 3\n e: 4 }", "{a:{b:1,c:2,d:3,e:4}}" },
		{ "a { b { c { d: x } } }", "{a:{b:{c:{d:\"x\"}}}}" }, { "a { # c\n b: 1 // c\n }", "{a:{b:1}}" },
		{ "a { b: x}", "{a:{b:\"x\"}}" }, { "a {} b {}", NULL }, { "a {}; b {}", "{a:{},b:{}}" },
		/* arrays */
		{ "a: []", "{a:[]}" }, { "a: [ ]", "{a:[]}" }, { "a [1,2]", "{a:[1,2]}" },
		{ "a: [1, 2.5, x, \"y\", 'z', true, -3, 10s]", "{a:[1,2.5,\"x\",\"y\",\"z\",true,-3,\"10s\"]}" },
		{ "a: [x,]", "{a:[\"x\"]}" }, { "a: [\n x\n y\n]", "{a:[\"x\",\"y\"]}" },
		{ "a: [\n x # c\n // c\n y,\n z\n]", "{a:[\"x\",\"y\",\"z\"]}" },
		{ "a: [x\n, y]", "{a:[\"x\",\"y\"]}" }, { "a: [ {b: 1}\n {b: 2} ]", "{a:[{b:1},{b:2}]}" },
		{ "a: [ {b: 1}, {b: 2}, ]", "{a:[{b:1},{b:2}]}" }, { "a: [[1], [], [[2]]]", "{a:[[1],[],[[2]]]}" },
		{ "a: [# c\n1]", "{a:[1]}" },
		{ "server_tags [\n  id:ABCDEFG\n   ]\n", "{server_tags:[\"id:ABCDEFG\"]}" },
		/* variables: defined above, in enclosing maps, or in the environment */
		{ "X: 5\na: $X", "{$X:5,a:5}" }, { "X: 5\na { b: $X }", "{$X:5,a:{b:5}}" },
		{ "a { X: 5, b: $X }", "{a:{$X:5,b:5}}" }, { "X: 1\na { X: 2, b: $X }", "{X:1,a:{$X:2,b:2}}" },
		{ "X: 1\na { b: $X, X: 2 }", "{$X:1,a:{b:1,X:2}}" },
		{ "a { X: 5, b [ {c: $X} ] }", "{a:{$X:5,b:[{c:5}]}}" }, { "X { b: 1 }\na: $X", "{$X:{b:1},a:{b:1}}" },
		{ "X [1]\na: [$X, $X]", "{$X:[1],a:[[1],[1]]}" }, { "X: 1\na: $X\nX: 2\nb: $X", "{$X:2,a:1,b:2}" },
		{ "X: 5\nY: $X\na: $Y", "{$X:5,$Y:5,a:5}" }, { "X: 5\na: \"$X\"", "{X:5,a:\"$X\"}" },
		{ "a: $NUMBER", "{a:4222}" }, { "a: $LIST", "{a:[\"a\",\"b\"]}" }, { "a $MAP", "{a:{token:\"abc\"}}" },
		{ "a: $TEXT", "{a:\"0123abc\"}" }, { "a: $EMPTY", "{a:\"\"}" }, { "a: $SPACED", "{a:7}" },
		{ "a: $CHAIN", "{a:[4222,\"0123abc\"]}" }, { "a: $HASH", "{a:\"$2a$11$abc\"}" },
		{ "NUMBER: 1\na: $NUMBER", "{$NUMBER:1,a:1}" },
		/* includes */
		{ "include b.conf", "{b:1}" }, { "include \"b.conf\"\na: 1", "{b:1,a:1}" },
		{ "include 'b.conf'; a: 1", "{b:1,a:1}" }, { "INCLUDE b.conf # c", "{b:1}" },
		{ "a: 1\ninclude overrides.conf", "{a:2}" }, { "include overrides.conf\na: 1", "{a:1}" },
		{ "m { include b.conf }", "{m:{b:1}}" }, { "m { include b.conf\n c: 2 }", "{m:{b:1,c:2}}" },
		{ "include dir/c.conf", "{c:1,d:1}" }, { "include /abs.conf", "{abs:1}" }, { "include ./b.conf", NULL },
		{ "include list.conf", "{k:[1,2]}" }, { "include empty.conf", "{}" },
		{ "include b.conf\ninclude b.conf", "{b:1}" }, { "include x.conf\na: $X", "{$X:5,a:5}" },
		{ "X: 5\ninclude uses.conf",
			NULL }, /* an included file does not see what surrounds it, as with nats-server */
	};
	struct buf said = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct world w = { .text = cases[i].text, .files = files, .env = env };
		struct conf_source source = world_source(&w);
		struct conf_report report = { 0 };
		struct conf_parse parse;
		struct arena arena;
		arena_init(&arena, 0);
		conf_parse_init(&parse, &source, &report, &arena, &arena);
		const struct conf_value *tree = conf_parse_file(&parse, "main.conf");
		if (tree) tree_print(&said, tree);
		if (!tree && cases[i].want) fail_msg("\"%s\": %s", cases[i].text, buf_str(&report.errors));
		if (tree && !cases[i].want) fail_msg("\"%s\": %s", cases[i].text, buf_str(&said));
		if (cases[i].want && strcmp(buf_str(&said), cases[i].want) != 0)
			fail_msg("\"%s\": expected %s, got %s", cases[i].text, cases[i].want, buf_str(&said));
		assert_int_equal(report.error_count, tree ? 0 : 1);
		buf_clear(&said);
		conf_parse_deinit(&parse);
		conf_report_deinit(&report);
		arena_deinit(&arena);
	}
	buf_deinit(&said);
}

static void variables_that_lead_nowhere_are_errors(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "a: $NOPE", "main.conf:1:4: the variable $NOPE is neither defined above nor in the environment\n" },
		{ "a: $X\nX: 5", "main.conf:1:4: the variable $X is neither defined above nor in the environment\n" },
		{ "X: $X", "main.conf:1:4: the variable $X is neither defined above nor in the environment\n" },
		{ "x: 1\na: $X", "main.conf:2:4: the variable $X is neither defined above nor in the environment\n" },
		{ "a { X: 5 }\nb: $X",
			"main.conf:2:4: the variable $X is neither defined above nor in the environment\n" },
		{ "a { b: $a }", "main.conf:1:8: the variable $a is neither defined above nor in the environment\n" },
		{ "a: $SELF", "main.conf:1:4: environment variable SELF:1:1: the variable $SELF refers to itself\n" },
		{ "a: $PING", "main.conf:1:4: environment variable PING:1:1: environment variable PONG:1:1: the "
			      "variable $PING refers to itself\n" },
		{ "a: $TWO", "main.conf:1:4: environment variable TWO:1:3: expected one value, found 'b' behind it\n" },
		{ "a: $BROKEN", "main.conf:1:4: environment variable BROKEN:1:1: the array that opens here is never "
				"closed, expected ] before the "
				"end of the file\n" },
	};
	struct buf said = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct world w = { .text = cases[i].text, .env = env };
		load_says(&w, NULL, &said);
		CHECK_BUF(&said, cases[i].want);
	}
	buf_deinit(&said);
}

/* A file that includes the next one, and so on; the last includes `last`. */
static enum err chain_read(void *arg, const char *path, struct buf *out)
{
	const char *last = arg;
	int at = 0;
	if (strcmp(path, "main.conf") == 0)
		at = 0;
	else if (sscanf(path, "f%d", &at) != 1)
		return ERR_NOT_FOUND;
	if (at < 14)
		buf_printf(out, "include f%d\n", at + 1);
	else
		buf_append_str(out, last);
	return OK;
}

static void includes_end_somewhere(void **state)
{
	(void)state;
	static const struct {
		const char *last, *want;
	} cases[] = {
		{ "debug: true", "" },
		{ "include f15", "f15:1:1: the file \"main.conf\" includes itself\n" },
		{ "include main.conf", "f14:1:1: the file \"main.conf\" includes itself\n" },
		{ "include f3", "f14:1:1: the file \"f3\" includes itself\n" },
		{ "include nope", "f14:1:1: the file \"nope\" cannot be read: not found\n" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char last[64];
		(void)snprintf(last, sizeof last, "%s", cases[i].last);
		struct conf_source source = { .read_file = chain_read, .arg = last };
		struct conf_report report = { 0 };
		struct conf c;
		/* f15 includes main.conf's text again: at 14 and above chain_read gives `last`, so f15 includes f15. */
		enum err e = conf_load(&c, "main.conf", NULL, &source, &report);
		if (i == 1)
			assert_non_null(strstr(buf_str(&report.errors), "f15:1:1: the file \"f15\" includes itself"));
		else
			assert_string_equal(buf_str(&report.errors), cases[i].want);
		assert_int_equal(e, report.error_count ? ERR_INVALID : OK);
		conf_report_deinit(&report);
		conf_deinit(&c);
	}
}

/* Every file includes two others: only the bound on depth and on bytes ends it. */
static enum err bomb_read(void *arg, const char *path, struct buf *out)
{
	size_t *reads = arg;
	(*reads)++;
	buf_printf(out, "include a%s\ninclude b%s\n", path, path);
	for (int i = 0; i < 1000; i++)
		buf_append_str(out, "# a comment that makes the file a little longer than it need be\n");
	return OK;
}

static void an_include_bomb_ends(void **state)
{
	(void)state;
	size_t reads = 0;
	struct conf_source source = { .read_file = bomb_read, .arg = &reads };
	struct conf_report report = { 0 };
	struct conf c;
	assert_int_equal(conf_load(&c, "x", NULL, &source, &report), ERR_INVALID);
	assert_non_null(strstr(buf_str(&report.errors), "too many files include each other, at most 16"));
	assert_true(reads < 1000);
	conf_report_deinit(&report);
}

static enum err large_read(void *arg, const char *path, struct buf *out)
{
	size_t n = *(size_t *)arg;
	(void)path;
	memset(buf_reserve(out, n), '\n', n);
	out->n += n;
	return OK;
}

static void a_file_has_a_largest_size(void **state)
{
	(void)state;
	size_t sizes[] = { CONF_BYTES_MAX, CONF_BYTES_MAX + 1 };
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct conf_source source = { .read_file = large_read, .arg = &sizes[i] };
		struct conf_report report = { 0 };
		struct conf c;
		assert_int_equal(conf_load(&c, "x", NULL, &source, &report), i == 0 ? OK : ERR_INVALID);
		assert_string_equal(buf_str(&report.errors),
			i == 0 ? "" : "x: the configuration is larger than 16 MiB with \"x\"\n");
		conf_report_deinit(&report);
		conf_deinit(&c);
	}
}

static void nesting_has_a_largest_depth(void **state)
{
	(void)state;
	struct buf text = { 0 }, said = { 0 };
	for (int depth = 62; depth <= 64; depth++) {
		for (int maps = 0; maps < 2; maps++) {
			buf_clear(&text);
			buf_append_str(&text, "X = 1\nfeature_flags ");
			for (int i = 0; i < depth; i++) buf_append_str(&text, maps ? "{a " : "[");
			buf_append_str(&text, "1");
			for (int i = 0; i < depth; i++) buf_append_str(&text, maps ? "}" : "]");
			buf_append_str(&text, "\nport: $X\n");
			struct world w = { .text = buf_str(&text) };
			load_says(&w, NULL, &said);
			const char *want =
				depth < 64 ? "feature_flags: not implemented yet" : "too deep, expected at most 64";
			assert_non_null(strstr(buf_str(&said), want));
		}
	}
	buf_deinit(&text);
	buf_deinit(&said);
}

/* Values are shared: 40 levels of doubling are 40 small arrays. */
static void variables_cannot_blow_up_memory(void **state)
{
	(void)state;
	struct buf text = { 0 }, said = { 0 };
	buf_append_str(&text, "X0: [x]\n");
	for (int i = 1; i <= 40; i++) buf_printf(&text, "X%d: [$X%d, $X%d]\n", i, i - 1, i - 1);
	buf_append_str(&text, "server_tags: $X40\n");
	struct world w = { .text = buf_str(&text) };
	load_says(&w, NULL, &said);
	assert_non_null(strstr(buf_str(&said), "server_tags: expected a string, found an array"));
	buf_deinit(&text);
	buf_deinit(&said);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_files_become_trees),
		cmocka_unit_test(variables_that_lead_nowhere_are_errors),
		cmocka_unit_test(includes_end_somewhere),
		cmocka_unit_test(an_include_bomb_ends),
		cmocka_unit_test(a_file_has_a_largest_size),
		cmocka_unit_test(nesting_has_a_largest_depth),
		cmocka_unit_test(variables_cannot_blow_up_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
