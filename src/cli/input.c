/* SPDX-License-Identifier: Apache-2.0 */
/* What is sent: headers out of options, a message out of an argument or a file, many messages out of a file that is read as it comes. What the
 * server would not take is said before anything is sent. */
#include "cli_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024 };

/* ---- headers ---- */

static bool add_header(const struct options *o, struct buf *to, const char *text)
{
	const char *colon = strchr(text, ':');
	struct slice value = slice_of_str(colon ? colon + 1 : "");
	while (value.n && value.p[0] == ' ') value = slice_from(value, 1);
	if (!to->n) header_start(to, 0, NULL);
	if (colon && header_append(to, slice_of(text, (size_t)(colon - text)), value)) return true;
	(void)cli_misused(o, "--header is KEY:VALUE, not \"%s\"", text);
	return false;
}

static bool add_id(const struct options *o, struct buf *to, struct slice id)
{
	if (!to->n) header_start(to, 0, NULL);
	if (header_append(to, SLICE("Nats-Msg-Id"), id)) return true;
	(void)cli_misused(o, "--id and --id-prefix may not have line breaks");
	return false;
}

bool input_header(const struct options *o, struct buf *to, uint64_t id_number)
{
	buf_clear(to);
	for (unsigned i = 0; i < o->headers.count; i++)
		if (!add_header(o, to, o->headers.at[i])) return false;
	if (*o->id && !add_id(o, to, slice_of_str(o->id))) return false;
	if (!*o->id_prefix || id_number == 0) return true;
	struct buf id = { 0 };
	buf_printf(&id, "%s-%llu", o->id_prefix, (unsigned long long)id_number);
	bool good = add_id(o, to, buf_slice(&id));
	buf_deinit(&id);
	return good;
}

/* ---- one message ---- */

bool input_fits(const struct link *l, const struct options *o, const char *what, uint64_t bytes)
{
	if (l->info.max_payload <= 0 || bytes <= (uint64_t)l->info.max_payload) return true;
	(void)cli_fail(o, "%s has more than the %lld bytes that the server takes (its max_payload)", what,
		(long long)l->info.max_payload);
	return false;
}

static bool read_whole(const struct link *l, const struct options *o, int fd, const char *name, struct buf *to)
{
	for (;;) {
		ssize_t n = read(fd, buf_reserve(to, READ_BYTES), READ_BYTES);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return cli_fail(o, "can not read %s (%s)", name, strerror(errno)) == EXIT_DONE;
		to->n += (size_t)n;
		if (!input_fits(l, o, name, to->n)) return false; /* not the rest either: it may have no end */
		if (n == 0) return true;
	}
}

static int read_file(const struct link *l, const struct options *o, struct buf *to)
{
	int fd = open(o->file, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return cli_fail(o, "can not open %s (%s)", o->file, strerror(errno));
	bool good = read_whole(l, o, fd, o->file, to);
	(void)close(fd);
	return good ? EXIT_DONE : EXIT_FAILED;
}

int input_whole(const struct link *l, const struct options *o, bool standard_input, struct buf *to)
{
	bool has_file = *o->file != '\0', has_text = o->arg_count > 1;
	if (has_text && has_file) return cli_misused(o, "TEXT and --file are a message each: give one of them");
	if (has_file && strcmp(o->file, "-") != 0) return read_file(l, o, to);
	if (has_text) buf_append_str(to, o->args[1]);
	if (has_text) return input_fits(l, o, "TEXT", to->n) ? EXIT_DONE : EXIT_FAILED;
	if (!has_file && !standard_input) return EXIT_DONE;
	return read_whole(l, o, STDIN_FILENO, "standard input", to) ? EXIT_DONE : EXIT_FAILED;
}

/* ---- many ---- */

enum line_next lines_next(struct lines *s, struct slice *out)
{
	struct slice left = slice_from(buf_slice(&s->in), s->at);
	ptrdiff_t end = slice_find(slice_from(left, s->scanned), s->end);
	if (end >= 0) {
		*out = slice_first(left, s->scanned + (size_t)end);
		s->at += out->n + 1;
		s->scanned = 0;
	} else {
		s->scanned = left.n;
		if (left.n > s->bytes_max) return LINE_TOO_LONG;
		if (!s->is_over) return LINE_LATER;
		if (left.n == 0) return LINE_OVER;
		*out = left;
		s->at = s->in.n;
		s->scanned = 0;
	}
	return out->n > s->bytes_max ? LINE_TOO_LONG : LINE_IS;
}

enum line_next lines_fill(struct lines *s)
{
	buf_consume(&s->in, s->at);
	s->at = 0;
	ssize_t n = read(s->fd, buf_reserve(&s->in, READ_BYTES), READ_BYTES);
	if (n < 0 && (errno == EINTR || errno == EAGAIN)) return LINE_LATER;
	if (n < 0) return LINE_FAILED;
	s->is_over = n == 0;
	s->in.n += (size_t)n;
	return LINE_LATER;
}
