/* SPDX-License-Identifier: Apache-2.0 */
/* What is shown, and when to stop showing. Payloads go out by write(2) and not through stdio: a message counts as shown when all of its
 * bytes are out of our hands, and stdio would not tell. */
#include "cli_inside.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static const int stop_signals[] = { SIGINT, SIGTERM, SIGHUP };

/* Being interrupted is the handler's only purpose: it goes back to the default by itself (SA_RESETHAND), and from that stop_asked knows. */
static void interrupt(int signum) { (void)signum; }

void stop_arm(void)
{
	struct sigaction note = { .sa_handler = interrupt, .sa_flags = SA_RESETHAND }, old;
	for (size_t i = 0; i < COUNT_OF(stop_signals); i++)
		if (sigaction(stop_signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			(void)sigaction(stop_signals[i], &note, NULL);
}

int stop_asked(void)
{
	struct sigaction now;
	for (size_t i = 0; i < COUNT_OF(stop_signals); i++)
		if (sigaction(stop_signals[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL) return stop_signals[i];
	return 0;
}

bool output_write(const struct options *o, struct slice bytes)
{
	(void)fflush(stdout);
	while (bytes.n > 0) {
		ssize_t n = write(STDOUT_FILENO, bytes.p, bytes.n);
		if (n > 0) bytes = slice_from(bytes, (size_t)n);
		if (n < 0 && errno == EAGAIN) { /* somebody shares it who wants it so */
			struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };
			(void)poll(&p, 1, 1000);
		} else if (n < 0 && errno != EINTR) {
			return cli_fail(o, "can not write to standard output (%s)", strerror(errno)) == EXIT_DONE;
		}
		if (bytes.n > 0 && stop_asked()) return false;
	}
	return true;
}

/* {"subject":…,"data":…}; what is no text is "data_hex". */
static void print_json(struct buf *to, const struct wire_op *op)
{
	json_t *v = json_object(),
	       *data = json_stringn(op->payload.n ? (const char *)op->payload.p : "", op->payload.n),
	       *headers = json_object();
	struct slice key, value;
	(void)json_object_set_new(v, "subject", json_stringn((const char *)op->subject.p, op->subject.n));
	if (data) {
		(void)json_object_set_new(v, "data", data);
	} else {
		struct buf hex = { 0 };
		for (size_t i = 0; i < op->payload.n; i++) buf_printf(&hex, "%02x", op->payload.p[i]);
		(void)json_object_set_new(v, "data_hex", json_string(buf_str(&hex)));
		buf_deinit(&hex);
	}
	for (size_t at = 0; header_next(op->header, &at, &key, &value);) {
		struct buf name = { 0 };
		buf_append_slice(&name, key);
		(void)json_object_set_new(headers, buf_str(&name), json_stringn((const char *)value.p, value.n));
		buf_deinit(&name);
	}
	if (json_object_size(headers)) (void)json_object_set(v, "headers", headers);
	char *text = json_dumps(v, JSON_COMPACT);
	buf_append_str(to, text);
	free(text);
	json_decref(headers);
	json_decref(v);
}

void output_message(struct buf *to, const struct options *o, const struct wire_op *op, bool with_subject)
{
	if (o->json) {
		print_json(to, op);
	} else {
		if (with_subject && !o->raw) buf_printf(to, "[%.*s] ", SLICE_FMT(op->subject));
		buf_append_slice(to, op->payload);
		if (o->raw) return;
	}
	buf_append_byte(to, o->null ? '\0' : '\n');
}
