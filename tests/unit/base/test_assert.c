/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

static void print_context(void *arg) { (void)fprintf(stderr, "ring of %s\n", (const char *)arg); }

static void print_and_fail(void *arg)
{
	(void)fprintf(stderr, "printing %s\n", (const char *)arg);
	ASSERT(arg == NULL);
}

static void fail_plainly(void *arg)
{
	(void)arg;
	int two = 2;
	ASSERT(two == 3);
}

static void fail_with_context(void *arg)
{
	char name[] = "node-1";
	assert_context_set(print_context, name);
	fail_plainly(arg);
}

static void fail_after_clearing(void *arg)
{
	char name[] = "node-1";
	assert_context_set(print_context, name);
	assert_context_set(NULL, NULL);
	fail_plainly(arg);
}

static void fail_while_printing(void *arg)
{
	char name[] = "node-2";
	assert_context_set(print_and_fail, name);
	fail_plainly(arg);
}

static void note(void *arg) { (void)fprintf(stderr, "noted %s\n", (const char *)arg); }

static void fail_with_a_note(void *arg)
{
	char name[] = "node-3";
	assert_note_set(note, name);
	assert_context_set(print_context, name);
	fail_plainly(arg);
}

static void fail_while_noting(void *arg)
{
	char name[] = "node-4";
	assert_note_set(print_and_fail, name);
	fail_plainly(arg);
}

static void crash_twice(void *arg)
{
	char name[] = "node-5";
	(void)arg;
	assert_note_set(note, name);
	assert_crashed();
	name[0] = 'N';
	assert_crashed();
}

static void reach_the_unreachable(void *arg)
{
	if (!arg) UNREACHABLE();
}

static void pass(void *arg) { ASSERT(arg == NULL); }

static void failing_says_what_and_where(void **state)
{
	(void)state;
	static const struct {
		void (*run)(void *);
		bool aborts;
		const char *has, *has_not;
	} cases[] = {
		{ fail_plainly, true, "assertion failed: two == 3 (fail_plainly, ", "ring of" },
		{ fail_with_context, true, "ring of node-1\n", "node-2" },
		{ fail_after_clearing, true, "two == 3", "ring of" },
		{ fail_while_printing, true, "printing node-2\nassertion failed: arg == NULL", "node-1" },
		{ fail_with_a_note, true, "ring of node-3\nnoted node-3\n", NULL },
		{ fail_while_noting, true, "printing node-4\nassertion failed: arg == NULL",
			"printing node-4\nprinting" },
		{ crash_twice, false, "noted node-5\n", "noted Node-5" },
		{ reach_the_unreachable, true, "assertion failed: unreachable (reach_the_unreachable, ", "ring of" },
		{ pass, false, "", "assertion" },
	};
	char said[8192];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(check_aborts(cases[i].run, NULL, said, sizeof said), cases[i].aborts);
		assert_non_null(strstr(said, cases[i].has));
		if (cases[i].has_not) assert_null(strstr(said, cases[i].has_not));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(failing_says_what_and_where) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
