/* SPDX-License-Identifier: Apache-2.0 */
/* main_fatal — signals by which a fault of our own ends the process: what it was doing is noted before (assert_crashed), then it ends as it
 * would have: with a core where there is one, or a sanitizer's report. */
#ifndef THEBES_MAIN_FATAL_H
#define THEBES_MAIN_FATAL_H

#include <stdbool.h>
#include <stdint.h>

/* The loop thread's, in memory that outlives it. */
struct main_fatal {
	bool has_stack;
	uint8_t stack[64 * 1024]; /* for the handler: the thread's own may be what overflowed */
};
void main_fatal_watch(struct main_fatal *f);
/* The handlers stay; the stack is the caller's again. */
void main_fatal_end(struct main_fatal *f);

#endif
