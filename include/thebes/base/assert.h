/* SPDX-License-Identifier: Apache-2.0 */
/* assert — checks of our own facts. They stay on in every build.
 *
 * ASSERT is for what only our own bug can break. What came from a socket or a disk is checked and answered, never asserted.
 * A failing assertion prints expression and place, then whatever the thread's context prints (the node's trace ring), and aborts. */
#ifndef THEBES_BASE_ASSERT_H
#define THEBES_BASE_ASSERT_H

#include <stddef.h>

#define ASSERT(expr) ((expr) ? (void)0 : assert_failed(#expr, __FILE__, __LINE__, __func__))
#define UNREACHABLE() assert_failed("unreachable", __FILE__, __LINE__, __func__)

#define must_check __attribute__((warn_unused_result))
#define printf_like(at, first) __attribute__((format(printf, at, first)))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

_Noreturn void assert_failed(const char *expr, const char *file, int line, const char *func);

/* What a failing assertion on this thread prints besides its place: `print(arg)` is called once, before abort(). The node sets
 * it when a turn of its loop begins, so that a process with three nodes prints the ring of the right one. NULL clears. */
typedef void assert_print_fn(void *arg);
void assert_context_set(assert_print_fn *print, void *arg);

/* What is to be remembered on the disk when this thread ends the process by a fault of its own: `note(arg)` is called once, by an assertion that
 * fails, when it has printed, or by assert_crashed. Async-signal-safe. NULL clears. */
typedef void assert_note_fn(void *arg);
void assert_note_set(assert_note_fn *note, void *arg);
/* A signal that ends the process has come from what this thread did: for the process's handler of such signals. Async-signal-safe. */
void assert_crashed(void);

#endif
