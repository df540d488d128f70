/* SPDX-License-Identifier: Apache-2.0 */
/* cli_inside — the options of a run, the connection, and what commands share. */
#ifndef THEBES_CLI_INSIDE_H
#define THEBES_CLI_INSIDE_H

#include <jansson.h>

#include "thebes/base.h"
#include "thebes/wire.h"

#define CLI_FLAG bool
#define CLI_TEXT const char *
#define CLI_NUMBER uint64_t
#define CLI_SIZE uint64_t
#define CLI_TIME uint64_t

struct options {
#define OPTION(name, letter, field, kind, fallback, env, help) CLI_##kind field;
#include "options.def"
#undef OPTION
	const char *args[16]; /* what is no option */
	unsigned arg_count;
};

/* ---- link.c: a blocking client ---- */

struct link {
	int fd;
	struct buf in, out;
	size_t in_at;
	struct wire_parser parser;
	struct wire_info info;
	char inbox[32]; /* _INBOX.<random> */
	uint64_t sid_next, request_next;
	bool requests_open;
	char why[600]; /* the sentence when something failed */
};
/* Connects, says CONNECT, waits for PONG. False: l->why. */
must_check bool link_open(struct link *l, const struct options *o);
void link_close(struct link *l);
void link_publish(struct link *l, struct slice subject, struct slice reply, struct slice header, struct slice payload);
uint64_t link_subscribe(struct link *l, struct slice subject, struct slice queue);
bool link_flush(struct link *l); /* everything is written to the socket */
/* The next MSG or HMSG, within the time (from now); op's slices hold until the next call. Answers PINGs. */
enum link_next { LINK_MSG, LINK_TIMEOUT, LINK_BROKEN };
enum link_next link_next(struct link *l, uint64_t timeout_ns, struct wire_op *op);
/* One request, one answer; *op as in link_next. LINK_BROKEN also when nobody listens (why says so). */
enum link_next link_request(struct link *l, struct slice subject, struct slice header, struct slice payload,
	uint64_t timeout_ns, struct wire_op *op);
uint64_t clock_ns(void);

/* ---- cli.c ---- */

typedef int command_fn(struct link *l /* closed, for an offline command */, const struct options *o);
#define COMMAND(words, arguments, least, function, help) command_fn cli_##function;
#define COMMAND_OFFLINE COMMAND
#include "commands.def"
#undef COMMAND
#undef COMMAND_OFFLINE
/* Prints "thebes: …" to standard error; returns 1. */
int cli_fail(const char *fmt, ...) printf_like(1, 2);
int cli_fail_link(const struct link *l);

/* ---- api.c: JetStream requests ---- */

/* `subject` behind $JS.API.; body may be NULL (empty). The answer as JSON (the caller's), or NULL after cli_fail. An API error is NULL too unless
 * *err_code is given: then it holds the code and nothing is printed. */
json_t *api_request(
	struct link *l, const struct options *o, const char *subject, json_t *body /* taken */, unsigned *err_code);
/* The streams of a station: fills up to max names (owned), returns how many; 0 after cli_fail. */
unsigned station_streams(struct link *l, const struct options *o, const char *name, char **out, unsigned max);

#endif
