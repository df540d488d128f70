/* SPDX-License-Identifier: Apache-2.0 */
/* log_sink — where log lines go: standard error, the system's log, or a file that a worker writes, so that a slow disk never stops
 * the loop. A file is rotated at a size limit and opened anew on demand. */
#ifndef THEBES_NODE_LOG_SINK_H
#define THEBES_NODE_LOG_SINK_H

#include "thebes/node.h"

struct log_sink_options {
	const char *file; /* copied; NULL: standard error, or syslog */
	bool syslog;
	bool has_time, is_utc;
	bool hides_debug;          /* tracing alone: what lies between it and the usual lines is not wanted */
	uint64_t size_limit_bytes; /* 0: never rotate */
	int64_t keep_max;          /* rotated files kept; 0: all */
};

/* Opens the file, blocking, before the loop runs. The errors of io_file_open. */
must_check enum err log_sink_open(
	struct log_sink **out, struct io *io, const struct node_host *host, const struct log_sink_options *o);
/* With log_sink_flush: when the loop does not run any more and log_sink_is_idle. NULL allowed. */
void log_sink_free(struct log_sink *s);
diag_sink_fn log_sink_line;
/* Gives what gathered to a worker. At the end of every turn. */
void log_sink_turn_end(struct log_sink *s);
/* Writes what gathered, blocking: before the loop runs, and after. */
void log_sink_flush(struct log_sink *s);
bool log_sink_is_idle(const struct log_sink *s);
/* Opens the file again under the name and with the limits of `o` (NULL: the same as before). */
void log_sink_reopen(struct log_sink *s, const struct log_sink_options *o);

#endif
