/* SPDX-License-Identifier: Apache-2.0 */
/* assert — says what is broken and where, lets the node print its trace ring, and ends the process.
 * The context is the one thread-local of the project: docs/decisions/0001-assert-context.md. */
#include <stdio.h>
#include <stdlib.h>

#include "thebes/base/assert.h"

struct assert_context {
	assert_print_fn *print;
	void *arg; /* borrowed until the next assert_context_set on this thread */
};

static _Thread_local struct assert_context assert_context;

void assert_context_set(assert_print_fn *print, void *arg) { assert_context = (struct assert_context) { print, arg }; }

void assert_failed(const char *expr, const char *file, int line, const char *func)
{
	struct assert_context context = assert_context;
	/* Cleared first: an assertion that fails while printing must not print again. */
	assert_context = (struct assert_context) { 0 };
	(void)fprintf(stderr, "assertion failed: %s (%s, %s:%d)\n", expr, func, file, line);
	if (context.print) context.print(context.arg);
	(void)fflush(stderr);
	abort();
}
