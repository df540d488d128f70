/* SPDX-License-Identifier: Apache-2.0 */
/* io_uv — makes a struct io on libuv. Only main.c, the CLI and tests include this. */
#ifndef THEBES_IO_UV_H
#define THEBES_IO_UV_H

#include "thebes/io.h"

/* A loop of its own; threads of a lane start with its first job. ERR_NO_MEMORY, ERR_FILES. Free with io_uv_free. */
must_check enum err io_uv_new(struct io **out);
/* Runs until io_uv_stop, or until nothing is left that could happen. */
void io_uv_run(struct io *io);
void io_uv_stop(struct io *io);
/* Where events keep coming within `window_ns` of each other, look for them without sleeping; 0 (as made): always sleep. Costs a
 * processor while it pays, and nothing while nothing happens. */
void io_uv_busy_poll(struct io *io, uint64_t window_ns);
/* After run: waits for the workers, runs what is closing, frees. Asserts that every stream and listener was closed. */
void io_uv_free(struct io *io);
/* `on_signal` runs on the loop. At most one handler a signal; ERR_EXISTS. */
typedef void io_uv_signal_fn(void *arg, int signum);
must_check enum err io_uv_on_signal(struct io *io, int signum, io_uv_signal_fn *on_signal, void *arg);
/* Resolves a name to numeric addresses, blocking: before the loop runs or in a job of IO_LANE_CPU. Fills up to `max`, sets *count. */
must_check enum err io_uv_resolve(const char *host, uint16_t port, struct io_addr *out, unsigned max, unsigned *count);

#endif
