/* SPDX-License-Identifier: Apache-2.0 */
/* main_signal — `--signal`: tells a running server what to do (spec §3.5). */
#ifndef THEBES_MAIN_SIGNAL_H
#define THEBES_MAIN_SIGNAL_H

/* Sends the signal of `name` ("stop", "quit", "term", "reopen", "reload", "ldm") to `target`: a pid, pids as a glob ("123*"), or the
 * path of a pid file; NULL: the only server that runs. Says on standard error what went wrong, each line beginning with `prefix`. Returns the
 * exit code. */
int main_signal_send(const char *prefix, const char *name, const char *target);

#endif
