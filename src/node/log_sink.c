/* SPDX-License-Identifier: Apache-2.0 */
/* Lines for a file gather in memory during a turn; at its end one job writes them while the next ones gather. The job owns the file
 * while it runs: it writes, rotates, opens anew. When the disk does not keep up, lines are dropped and counted, and the count is the
 * next line that gets through. */
#include "log_sink.h"

enum { LOG_PENDING_BYTES_MAX = 4 * 1024 * 1024 };

struct log_sink {
	struct io *io;                /* borrowed */
	const struct node_host *host; /* borrowed */
	struct diag_format format;
	bool to_syslog, to_file, hides_debug;
	struct buf pending, line;
	uint64_t dropped;
	/* the file: the loop's while the job is not running, the job's while it is */
	struct io_job job;
	bool is_running;
	char *path, *path_next; /* owned; NULL: no file, no other name */
	struct io_file *file;
	uint64_t size_bytes, size_limit_bytes;
	int64_t keep_max;
	struct buf writing;
	int64_t now_wall_ns;
	bool reopen;    /* after writing */
	enum err error; /* of the job's last run */
	/* asked for while the job ran */
	bool reopen_due, limits_due;
	char *path_due; /* owned, NULL: unchanged */
	uint64_t size_limit_due_bytes;
	int64_t keep_max_due;
};

/* ---- the file: on a worker, or before and after the loop ---- */

static enum err log_file_open(struct log_sink *s)
{
	io_file_close(s->file);
	s->file = NULL;
	enum err e = io_file_open(s->io, s->path, IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_APPEND, &s->file);
	if (e == OK) e = io_file_size(s->file, &s->size_bytes);
	return e;
}

struct log_backups {
	struct slice prefix;
	struct buf names; /* NUL-separated, sorted as io_dir_list gives them: by time */
	size_t count;
};

static void log_backup_seen(void *arg, const char *name, bool is_dir)
{
	struct log_backups *b = arg;
	if (is_dir || !slice_has_prefix(slice_of_str(name), b->prefix)) return;
	buf_append(&b->names, name, strlen(name) + 1);
	b->count++;
}

/* Removes the oldest backups so that keep_max stay. */
static void log_file_prune(struct log_sink *s)
{
	const char *slash = strrchr(s->path, '/');
	struct buf dir = { 0 }, prefix = { 0 }, victim = { 0 };
	buf_append(&dir, slash ? s->path : ".", slash ? (size_t)(slash - s->path) : 1);
	buf_printf(&prefix, "%s.", slash ? slash + 1 : s->path);
	struct log_backups b = { .prefix = buf_slice(&prefix) };
	if (io_dir_list(s->io, dir.n ? buf_str(&dir) : "/", log_backup_seen, &b) == OK) {
		const char *name = (const char *)b.names.p;
		for (; b.count > (size_t)s->keep_max; b.count--, name += strlen(name) + 1) {
			buf_clear(&victim);
			buf_printf(&victim, "%.*s%s", slash ? (int)(slash + 1 - s->path) : 0, s->path, name);
			if (io_path_unlink(s->io, buf_str(&victim)) != OK) break;
		}
	}
	buf_deinit(&b.names);
	buf_deinit(&victim);
	buf_deinit(&prefix);
	buf_deinit(&dir);
}

/* "name" becomes "name.2026.11.22.06.05.30.431902123", as nats-server names it. */
static enum err log_file_rotate(struct log_sink *s)
{
	struct buf to = { 0 }, time = { 0 };
	time_print(&time, s->now_wall_ns);
	int64_t ns = s->now_wall_ns % (int64_t)NS_PER_S;
	buf_printf(&to, "%s.", s->path);
	for (size_t i = 0; i < sizeof "2026-11-22T06:05:30" - 1; i++) {
		uint8_t c = time.p[i];
		buf_append_byte(&to, c >= '0' && c <= '9' ? c : '.');
	}
	buf_printf(&to, ".%09lld", (long long)(ns < 0 ? 0 : ns));
	enum err e = io_path_rename(s->io, s->path, buf_str(&to));
	if (e == OK) e = log_file_open(s);
	if (e == OK && s->keep_max > 0) log_file_prune(s);
	buf_deinit(&to);
	buf_deinit(&time);
	return e;
}

static enum err log_file_write(struct log_sink *s)
{
	enum err e = s->file ? OK : log_file_open(s);
	if (e == OK && s->size_limit_bytes && s->size_bytes && s->size_bytes + s->writing.n > s->size_limit_bytes)
		e = log_file_rotate(s);
	if (!s->file) return e;
	struct slice v = buf_slice(&s->writing);
	enum err w = v.n ? io_file_write(s->file, s->size_bytes, &v, 1) : OK;
	if (w == OK) s->size_bytes += v.n;
	if (s->path_next) {
		mem_free(s->path);
		s->path = s->path_next;
		s->path_next = NULL;
	}
	if (s->reopen) e = log_file_open(s); /* what was said before belongs to the old one */
	s->reopen = false;
	return w != OK ? w : e;
}

static void log_job_run(struct io_job *j)
{
	struct log_sink *s = CONTAINER_OF(j, struct log_sink, job);
	s->error = log_file_write(s);
}

static void log_job_done(struct io_job *j)
{
	struct log_sink *s = CONTAINER_OF(j, struct log_sink, job);
	s->is_running = false;
	buf_clear(&s->writing);
	if (s->error != OK && s->host->print) {
		struct buf line = { 0 };
		buf_printf(&line, "log file %s could not be written: %s\n", s->path, err_text(s->error));
		s->host->print(s->host->arg, buf_str(&line), line.n);
		buf_deinit(&line);
	}
	log_sink_turn_end(s);
}

/* ---- the sink: on the loop ---- */

void log_sink_turn_end(struct log_sink *s)
{
	if (s->is_running) return; /* the path is the job's */
	if (!s->path || (s->pending.n == 0 && !s->reopen_due)) return;
	ASSERT(s->writing.n == 0);
	struct buf swap = s->writing;
	s->writing = s->pending;
	s->pending = swap;
	s->path_next = s->path_due;
	s->path_due = NULL;
	s->reopen = s->reopen_due;
	s->reopen_due = false;
	if (s->limits_due) {
		s->size_limit_bytes = s->size_limit_due_bytes;
		s->keep_max = s->keep_max_due;
		s->limits_due = false;
	}
	s->now_wall_ns = io_wall_ns(s->io);
	s->is_running = true;
	io_job_submit(s->io, IO_LANE_DISK, &s->job);
}

static void log_sink_gather(struct log_sink *s, enum diag_level level, struct slice line)
{
	if (s->pending.n > LOG_PENDING_BYTES_MAX) {
		s->dropped++;
		return;
	}
	int64_t now = io_wall_ns(s->io);
	if (s->dropped) {
		struct buf text = { 0 };
		buf_printf(&text, "node log file too slow, dropped %llu lines", (unsigned long long)s->dropped);
		diag_format_nats(&s->pending, &s->format, now, DIAG_WARN, buf_slice(&text));
		buf_deinit(&text);
		s->dropped = 0;
	}
	diag_format_nats(&s->pending, &s->format, now, level, line);
}

void log_sink_line(void *arg, enum diag_level level, const char *line, size_t n)
{
	struct log_sink *s = arg;
	if (s->hides_debug && level == DIAG_DEBUG) return;
	if (s->to_file) {
		log_sink_gather(s, level, slice_of(line, n));
	} else if (s->to_syslog) {
		if (s->host->syslog) s->host->syslog(s->host->arg, level, line, n);
	} else if (s->host->print) {
		buf_clear(&s->line);
		diag_format_nats(&s->line, &s->format, io_wall_ns(s->io), level, slice_of(line, n));
		s->host->print(s->host->arg, (const char *)s->line.p, s->line.n);
	}
}

void log_sink_flush(struct log_sink *s)
{
	ASSERT(!s->is_running);
	if (!s->path || s->pending.n == 0) return;
	s->now_wall_ns = io_wall_ns(s->io);
	buf_append_slice(&s->writing, buf_slice(&s->pending));
	buf_clear(&s->pending);
	s->error = log_file_write(s);
	buf_clear(&s->writing);
}

bool log_sink_is_idle(const struct log_sink *s) { return !s->is_running; }

static void log_sink_set(struct log_sink *s, const struct log_sink_options *o)
{
	s->format = (struct diag_format) {
		.pid = s->host->pid,
		.has_time = o->has_time,
		.has_colour = !o->file && s->host->output_is_terminal,
		.utc_offset_s = o->is_utc ? 0 : s->host->utc_offset_s,
	};
	s->hides_debug = o->hides_debug;
	s->to_syslog = o->syslog;
	s->to_file = o->file != NULL;
}

void log_sink_reopen(struct log_sink *s, const struct log_sink_options *o)
{
	if (o) {
		log_sink_set(s, o);
		s->size_limit_due_bytes = o->size_limit_bytes;
		s->keep_max_due = o->keep_max;
		s->limits_due = true;
		if (o->file) {
			mem_free(s->path_due);
			s->path_due = mem_strdup(o->file);
			if (!s->is_running && !s->path) s->path = mem_strdup(o->file);
		}
	}
	s->reopen_due = s->is_running || s->path != NULL; /* it runs only with a path, which is its own meanwhile */
}

enum err log_sink_open(
	struct log_sink **out, struct io *io, const struct node_host *host, const struct log_sink_options *o)
{
	struct log_sink *s = NEW(struct log_sink);
	*out = s;
	s->io = io;
	s->host = host;
	s->job.run = log_job_run;
	s->job.done = log_job_done;
	s->size_limit_bytes = o->size_limit_bytes;
	s->keep_max = o->keep_max;
	log_sink_set(s, o);
	if (!o->file) return OK;
	s->path = mem_strdup(o->file);
	return log_file_open(s);
}

void log_sink_free(struct log_sink *s)
{
	if (!s) return;
	log_sink_flush(s);
	io_file_close(s->file);
	buf_deinit(&s->pending);
	buf_deinit(&s->line);
	buf_deinit(&s->writing);
	mem_free(s->path);
	mem_free(s->path_next);
	mem_free(s->path_due);
	mem_free(s);
}
