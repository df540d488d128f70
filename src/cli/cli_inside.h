/* SPDX-License-Identifier: Apache-2.0 */
/* cli_inside — the options of a run, the connection, and what commands share. */
#ifndef THEBES_CLI_INSIDE_H
#define THEBES_CLI_INSIDE_H

#include <assert.h>
#include <jansson.h>
#include <stdio.h>

#include "thebes/base.h"
#include "thebes/wire.h"

/* ---- options ---- */

struct texts { /* borrowed of argv */
	const char *at[32];
	unsigned count;
};

#define CLI_FLAG bool
#define CLI_TEXT const char *
#define CLI_LIST struct texts
#define CLI_NUMBER uint64_t
#define CLI_SIZE uint64_t
#define CLI_TIME uint64_t

/* The numbers of the rows of the two tables. */
enum {
#define COMMAND(function, words, arguments, least, most, section, help, examples) COMMAND_##function,
#define OFFLINE COMMAND
#define ELSEWHERE(words, arguments, section, help)
#include "commands.def"
#undef COMMAND
#undef OFFLINE
#undef ELSEWHERE
	COMMAND_COUNT
};
enum {
#define OPTION(name, letter, field, kind, value, fallback, env, uses, help) OPTION_##field,
#include "options.def"
#undef OPTION
	OPTION_COUNT
};
static_assert(COMMAND_COUNT <= 32 && OPTION_COUNT <= 64, "masks of them have so many bits");

struct options {
#define OPTION(name, letter, field, kind, value, fallback, env, uses, help) CLI_##kind field;
#include "options.def"
#undef OPTION
	const char *args[16]; /* what is no option; borrowed of argv */
	unsigned arg_count;
	uint64_t given; /* bits of OPTION_*: on the command line, not by the environment */
};

/* ---- channel.c: bytes to and from a server, plain or TLS, never waiting past a deadline (clock_ns) ---- */

enum { WHY_BYTES = 600 };
struct target {
	bool tls;
	char host[256], port[8], user[128], password[128];
};
struct channel {
	int fd;             /* -1: not connected */
	struct ssl_st *ssl; /* owned; NULL: plain */
};
uint64_t clock_ns(void);
/* False: why[WHY_BYTES] has the sentence. The channel is to be closed all the same. */
must_check bool channel_dial(struct channel *c, const struct target *t, uint64_t until_ns, char *why);
must_check bool channel_secure(
	struct channel *c, const struct options *o, const struct target *t, uint64_t until_ns, char *why);
must_check bool channel_write(struct channel *c, const uint8_t *p, size_t n, uint64_t until_ns, char *why);
/* Bytes that came (more than 0), 0: nothing within the time, -1: broken. */
int channel_read(struct channel *c, uint8_t *to, size_t room, uint64_t until_ns, char *why);
void channel_close(struct channel *c);

/* ---- secure.c: what OpenSSL wants to be told, and what it tells ---- */

/* A client's session for that host; NULL: why has the sentence. */
struct ssl_st *secure_new(const struct options *o, const char *host, char *why);
void secure_free(struct ssl_st *ssl);
/* The sentence for a handshake, or a read, that failed with SSL_ERROR_SSL or at the peer's end. */
void secure_explain(struct ssl_st *ssl, const char *host, char *why);

/* ---- link.c: a NATS client ---- */

struct link {
	struct channel channel;
	struct buf in, out;
	size_t in_at;
	struct wire_parser parser;
	struct wire_info info;
	uint64_t timeout_ns;
	char inbox[32]; /* _INBOX.<random> */
	uint64_t sid_next, request_next;
	bool requests_open, is_broken;
	char why[WHY_BYTES]; /* the sentence when something failed */
};
/* Connects, says CONNECT, waits for PONG; of several servers the first that is there. False: l->why. */
must_check bool link_open(struct link *l, const struct options *o);
void link_close(struct link *l);
void link_publish(struct link *l, struct slice subject, struct slice reply, struct slice header, struct slice payload);
uint64_t link_subscribe(struct link *l, struct slice subject, struct slice queue);
void link_unsubscribe(struct link *l, uint64_t sid);
bool link_flush(struct link *l); /* everything is written to the socket */
/* The next MSG or HMSG, within the time (from now); op's slices hold until the next call. Answers PINGs. */
enum link_next { LINK_MSG, LINK_TIMEOUT, LINK_BROKEN };
enum link_next link_next(struct link *l, uint64_t timeout_ns, struct wire_op *op);
/* After link_ping: the next message, or LINK_TIMEOUT when the server's PONG has come or the time is over (*ponged says which). */
void link_ping(struct link *l);
enum link_next link_next_or_pong(struct link *l, uint64_t timeout_ns, struct wire_op *op, bool *ponged);
/* All that was said has reached the server, which had nothing against it. False: l->why. */
must_check bool link_settle(struct link *l);
/* One request, one answer; *op as in link_next. LINK_BROKEN also when nobody listens (why says so). */
enum link_next link_request(struct link *l, struct slice subject, struct slice header, struct slice payload,
	uint64_t timeout_ns, struct wire_op *op);

/* ---- cli.c ---- */

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_SIGNAL = 128 /* and the signal's number */ };

typedef int command_fn(struct link *l /* closed, for an offline command */, const struct options *o);
#define COMMAND(function, words, arguments, least, most, section, help, examples) command_fn cli_##function;
#define OFFLINE COMMAND
#define ELSEWHERE(words, arguments, section, help)
#include "commands.def"
#undef COMMAND
#undef OFFLINE
#undef ELSEWHERE
/* Prints "thebes: …", or with --json {"error":"…"}, to standard error; returns EXIT_FAILED. */
int cli_fail(const struct options *o, const char *fmt, ...) printf_like(2, 3);
int cli_fail_link(const struct options *o, const struct link *l);
/* The same for a command line that is wrong: EXIT_USAGE. */
int cli_misused(const struct options *o, const char *fmt, ...) printf_like(2, 3);

/* ---- table.c: the rows of commands.def and options.def ---- */

enum kind { FLAG, TEXT, LIST, NUMBER, SIZE, TIME };
struct option {
	const char *name;
	char letter;
	enum kind kind;
	size_t offset;
	const char *value, *fallback, *env;
	uint32_t uses; /* bits of COMMAND_* */
	const char *help;
};
struct command {
	const char *words, *arguments;
	unsigned least, most;
	command_fn *run; /* NULL: another room's */
	bool connects;
	const char *section, *help, *examples;
	uint32_t bit; /* 0: another room's */
};
extern const struct option cli_options[OPTION_COUNT];
extern const struct command cli_commands[];
extern const size_t cli_command_count;
/* What a value of that kind is, for sentences. */
extern const char *const cli_wants[];

/* ---- help.c ---- */

/* Everything, a noun's verbs, or one command: what the words name. Returns the exit code. */
int help_print(const struct options *o, FILE *to, const char *const *words, unsigned count);
/* "", or ", did you mean X?": the nearest of the words that could stand there (count == 0: the first word). Appends. */
void help_suggest_word(struct buf *out, const char *noun /* NULL: a first word is wanted */, const char *said);
void help_suggest_option(struct buf *out, const char *said);

/* ---- stations.c: JetStream requests ---- */

enum { API_CONSUMER_NOT_FOUND = 10014, API_STREAM_NOT_FOUND = 10059, PARTITIONS_MAX = 10000 };
/* `subject` behind $JS.API.; body may be NULL (empty). The answer as JSON (the caller's), or NULL after a sentence. An API error with the code
 * that is expected is NULL without a sentence, and *was_expected. */
json_t *api_request(struct link *l, const struct options *o, const char *subject, json_t *body /* taken */,
	unsigned expected, bool *was_expected /* may be NULL */);
/* "DESCRIPTION (CODE): what to do about it" of an answer's error. Appends. */
void api_reason(struct buf *to, json_t *error);
/* The streams of a station: fills up to max names (owned), returns how many; 0 after a sentence. */
unsigned station_streams(struct link *l, const struct options *o, const char *name, char **out, unsigned max);

/* ---- output.c: payloads to standard output, and being told to stop ---- */

/* From here on the first SIGINT, SIGTERM or SIGHUP is only noted, the second one kills. */
void stop_arm(void);
int stop_asked(void); /* after stop_arm: the signal's number, or 0 */
/* After stop_arm. Writes all of it to standard output, behind what stdio holds. False: it does not take it (which is said), or we were told
 * to stop meanwhile. */
must_check bool output_write(const struct options *o, struct slice bytes);
/* A message as --json, --raw, --null or a line; with_subject: "[subject] " before a line. */
void output_message(struct buf *to, const struct options *o, const struct wire_op *op, bool with_subject);

/* ---- input.c: what is to be sent ---- */

/* The headers of --header, --id and --id-prefix (id_number > 0). False after cli_misused. */
must_check bool input_header(const struct options *o, struct buf *to, uint64_t id_number);
/* The message of a command that sends one: TEXT, --file, or (if wanted) all of standard input, at most what the server takes. EXIT_DONE, or
 * the exit code after a sentence. */
must_check int input_whole(const struct link *l, const struct options *o, bool standard_input, struct buf *to);
/* False after a sentence. */
must_check bool input_fits(const struct link *l, const struct options *o, const char *what, uint64_t bytes);

/* Messages out of a file that is read as it comes: each ends with the byte `end`, the last one with the file. */
struct lines {
	int fd;
	uint8_t end;
	size_t bytes_max;
	struct buf in;
	size_t at, scanned;
	bool is_over;
};
enum line_next { LINE_IS, LINE_LATER, LINE_OVER, LINE_TOO_LONG, LINE_FAILED /* errno */ };
/* What is there without waiting; LINE_LATER: lines_fill when poll says so. The slice holds until the next lines_fill. */
enum line_next lines_next(struct lines *s, struct slice *out);
enum line_next lines_fill(struct lines *s); /* LINE_LATER: come again to lines_next; LINE_FAILED */

#endif
