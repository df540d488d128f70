/* SPDX-License-Identifier: Apache-2.0 */
/* cli — everything but the server: an ordinary NATS client over one socket, one command per run. It needs no rights that a client
 * would not have. Commands: src/cli/commands.def. */
#ifndef THEBES_CLI_H
#define THEBES_CLI_H

/* argv[1] is the noun. Returns the exit code: 0 done, 1 it could not be done (one sentence on standard error says what to do), 2 the command
 * line is wrong. When a signal ended the command, which tidied up for it, the process dies of that signal here. */
int cli_main(int argc, char **argv);

#endif
