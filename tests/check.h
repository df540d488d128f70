/* SPDX-License-Identifier: Apache-2.0 */
/* check — what every unit test includes: cmocka with the headers it wants first, and a look at assertions from
 * outside. */
#ifndef THEBES_TESTS_CHECK_H
#define THEBES_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "thebes/base.h"

/* Runs `run(arg)` in a child, with standard error into `said` (NUL-terminated, cut at its size). True when the child
 * was ended by abort(). */
static inline bool check_aborts(void (*run)(void *arg), void *arg, char *said, size_t said_size)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)signal(SIGABRT, SIG_DFL); /* cmocka catches it */
		(void)dup2(ends[1], STDERR_FILENO);
		(void)close(ends[0]);
		run(arg);
		_exit(0);
	}
	(void)close(ends[1]);
	size_t n = 0;
	for (ssize_t got = 1; got > 0 && n + 1 < said_size; n += (size_t)(got > 0 ? got : 0))
		got = read(ends[0], said + n, said_size - 1 - n);
	said[n] = '\0';
	(void)close(ends[0]);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* The buffer's text equals `want`; empties it for the next case. */
#define CHECK_BUF(b, want) (assert_string_equal(buf_str(b), (want)), buf_clear(b))

#endif
