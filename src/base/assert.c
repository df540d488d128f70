/* SPDX-License-Identifier: Apache-2.0 */
/* assert — says what is broken and where, lets the node print its trace ring, and ends the process.
 * The context is the one thread-local of the project: docs/decisions/0001-assert-context.md. */
#include <stdio.h>
#include <stdlib.h>

#include "thebes/base/assert.h"

struct assert_context {
	assert_print_fn *print;
	void *arg; /* borrowed until the next assert_context_set on this thread */
	assert_note_fn *note;
	void *note_arg; /* the same until the next assert_note_set */
};

static _Thread_local struct assert_context assert_context;

void assert_context_set(assert_print_fn *print, void *arg)
{
	assert_context.print = print;
	assert_context.arg = arg;
}

void assert_note_set(assert_note_fn *note, void *arg)
{
	assert_context.note = note;
	assert_context.note_arg = arg;
}

void assert_crashed(void)
{
	assert_note_fn *note = assert_context.note;
	assert_context.note = NULL; /* once: abort() sends a signal after an assertion, and what notes may fail */
	if (note) note(assert_context.note_arg);
}

void assert_failed(const char *expr, const char *file, int line, const char *func)
{
	struct assert_context context = assert_context;
	/* Cleared first: an assertion that fails while printing must not print again. */
	assert_context_set(NULL, NULL);
	(void)fprintf(stderr, "assertion failed: %s (%s, %s:%d)\n", expr, func, file, line);
	if (context.print) context.print(context.arg);
	(void)fflush(stderr);
	assert_crashed(); /* last: should it fail too, everything is said; and whatever fails before comes here, or to the signal's handler */
	abort();
}
