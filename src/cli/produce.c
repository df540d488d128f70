/* SPDX-License-Identifier: Apache-2.0 */
/* `thebes produce`: messages to a station, each acknowledged when it is on disk. Many are on their way at a time; what is known of each is kept
 * in a ring, so that the sentence at the end can say which of them are stored.
 *
 *   standard input ──> next ──> [ ring: SENT … STORED, REFUSED ] ──> first unacknowledged moves on
 *        ^ read only while the ring has room                    ^ PubAcks, by the number in their subject */
#include "cli_inside.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { WINDOW_MAX = 65536, POLL_MS = 200, SETTLE_MS = 10000 };
#define WINDOW_BYTES (8 * MIB) /* of payload on its way; one message may be larger */

enum fate { SENT, STORED, REFUSED };
struct flight {
	enum fate fate;
	uint64_t bytes;
	json_t *ack; /* owned; for --json, until it is this one's turn to be printed */
};

enum source { FROM_MEMORY, FROM_LINES };
struct producer {
	struct link *l;          /* borrowed */
	const struct options *o; /* borrowed */
	struct buf *subjects;    /* owned, one per partition */
	unsigned subject_count;
	enum source source;
	struct buf whole, header;
	struct lines lines;
	bool is_drained, is_idle; /* nothing more is to come; nothing more is there now */
	struct flight *ring;      /* owned, `window` of them, by number % window */
	uint64_t window, window_bytes;
	uint64_t sent, settled, stored; /* messages; settled: all up to this number are STORED or REFUSED */
	uint64_t first_refused,
		stored_behind;       /* numbers begin with 1; those stored in spite of a refused one before them */
	uint64_t seq_last, alive_ns; /* when something last came from the server, or nothing was awaited */
	char inbox[48], reason[300]; /* of the first that was refused */
	char problem[200];           /* why no more is sent, when that is neither the end nor a refusal */
	int problem_code;
};

/* ---- where to ---- */

/* Where producers of a station publish: a native one takes `<stream>.final`, any other its first subject if that has no wildcard. */
static bool data_subject(struct link *l, const struct options *o, const char *stream, struct buf *out)
{
	struct buf request = { 0 }, native = { 0 };
	buf_printf(&request, "STREAM.INFO.%s", stream);
	json_t *info = api_request(l, o, buf_str(&request), NULL, 0, NULL);
	json_t *subjects = json_object_get(json_object_get(info, "config"), "subjects");
	const char *first = json_string_value(json_array_get(subjects, 0));
	buf_printf(&native, "%s.>", stream);
	if (first && slice_eq_str(buf_slice(&native), first)) {
		buf_printf(out, "%s.final", stream);
	} else if (first && subject_is_literal(slice_of_str(first))) {
		buf_append_str(out, first);
	} else if (info) {
		(void)cli_fail(o,
			"%s has no single subject to produce to: use `thebes pub` with one that it covers (%s)",
			o->args[0], first ? first : "none");
	}
	buf_deinit(&request);
	buf_deinit(&native);
	json_decref(info);
	return out->n > 0;
}

static bool find_subjects(struct producer *p)
{
	char **streams = mem_zalloc(PARTITIONS_MAX * sizeof *streams);
	unsigned n = station_streams(p->l, p->o, p->o->args[0], streams, PARTITIONS_MAX);
	bool good = n > 0;
	p->subjects = mem_zalloc((n + 1) * sizeof *p->subjects);
	for (unsigned i = 0; i < n; i++) {
		good = good && data_subject(p->l, p->o, streams[i], &p->subjects[i]);
		mem_free(streams[i]);
	}
	p->subject_count = n;
	mem_free(streams);
	return good;
}

/* ---- what ---- */

static const char *word(const struct producer *p) { return p->source == FROM_LINES ? "line" : "message"; }

/* One id for many messages would store the first and drop the rest as its duplicates. */
static const char one_id[] =
	"--id names one message, and here are several: --id-prefix gives each its own (PREFIX-1, PREFIX-2, …)";

static int choose_source(struct producer *p)
{
	const struct options *o = p->o;
	if (*o->id && *o->id_prefix)
		return cli_misused(o, "--id and --id-prefix are two ways to name a message: give one of them");
	if (o->window == 0 || o->window > WINDOW_MAX) return cli_misused(o, "--window is 1 to %d", WINDOW_MAX);
	if (o->raw && (*o->file || o->arg_count > 1))
		return cli_misused(o, "--raw is for standard input as one message, and here is another");
	if (o->null && (o->raw || *o->file || o->arg_count > 1))
		return cli_misused(o, "--null is for many messages on standard input, and here is one");
	if (o->arg_count == 1 && !*o->file && !o->raw) {
		p->source = FROM_LINES;
		p->lines = (struct lines) { .fd = STDIN_FILENO,
			.end = o->null ? '\0' : '\n',
			.bytes_max = p->l->info.max_payload > 0 ? (size_t)p->l->info.max_payload : SIZE_MAX };
		if (isatty(STDIN_FILENO)) (void)fputs("a message per line; Ctrl-D ends\n", stderr);
		return EXIT_DONE;
	}
	if (*o->id && o->count > 1) return cli_misused(o, "%s", one_id);
	return input_whole(p->l, o, o->raw, &p->whole);
}

/* ---- sending ---- */

static void send_one(struct producer *p, struct slice payload)
{
	char reply[80];
	uint64_t number = ++p->sent;
	struct flight *f = &p->ring[number % p->window];
	struct buf *subject = &p->subjects[(number - 1) % p->subject_count];
	int n = snprintf(reply, sizeof reply, "%s.%llu", p->inbox, (unsigned long long)number);
	bool is_good = !*p->o->id_prefix || input_header(p->o, &p->header, number);
	ASSERT(is_good); /* as it was with number 1 */
	*f = (struct flight) { .fate = SENT, .bytes = payload.n };
	p->window_bytes += payload.n;
	link_publish(p->l, buf_slice(subject), slice_of(reply, (size_t)n), buf_slice(&p->header), payload);
}

static bool has_room(const struct producer *p)
{
	return p->sent - p->settled < p->window && (p->window_bytes < WINDOW_BYTES || p->sent == p->settled);
}

/* The next message into *payload. LINE_LATER: nothing is there now. */
static enum line_next next(struct producer *p, struct slice *payload)
{
	if (p->o->count && p->sent == p->o->count) return LINE_OVER;
	if (p->source == FROM_LINES) return lines_next(&p->lines, payload);
	*payload = buf_slice(&p->whole);
	return p->sent == 0 || p->sent < p->o->count ? LINE_IS : LINE_OVER;
}

/* With --id, the first line waits for the end: there must be no second one. */
static enum line_next next_alone(struct producer *p, struct slice *payload)
{
	struct slice line, second;
	struct lines look = p->lines;
	enum line_next r = lines_next(&look, &line);
	if (r != LINE_IS || p->o->count == 1) return next(p, payload);
	r = lines_next(&look, &second);
	if (r == LINE_OVER) return next(p, payload);
	if (r == LINE_LATER) return r;
	(void)snprintf(p->problem, sizeof p->problem, "%s", one_id);
	p->problem_code = EXIT_USAGE;
	return LINE_FAILED;
}

/* Sends what is there while there is room. */
static void send_some(struct producer *p)
{
	struct slice payload;
	bool alone = p->source == FROM_LINES && *p->o->id;
	p->is_idle = false;
	while (!p->is_drained && !p->is_idle && has_room(p)) {
		enum line_next r = alone && p->sent == 0 ? next_alone(p, &payload) : next(p, &payload);
		p->is_idle = r == LINE_LATER;
		p->is_drained = r == LINE_OVER || r == LINE_FAILED || r == LINE_TOO_LONG;
		if (r == LINE_IS) send_one(p, payload);
		if (r == LINE_TOO_LONG)
			(void)snprintf(p->problem, sizeof p->problem,
				"line %llu is not stored: it has more than the %zu bytes that the server takes (its "
				"max_payload)",
				(unsigned long long)p->sent + 1, p->lines.bytes_max);
	}
}

/* ---- acknowledgements ---- */

static void refuse(struct producer *p, uint64_t number, const char *reason)
{
	p->ring[number % p->window].fate = REFUSED;
	if (p->first_refused && p->first_refused < number) return;
	p->first_refused = number;
	(void)snprintf(p->reason, sizeof p->reason, "%s", reason);
}

static void take_answer(struct producer *p, uint64_t number, const struct wire_op *op)
{
	struct flight *f = &p->ring[number % p->window];
	if (op->header.n && header_status(op->header, NULL) == 503) {
		refuse(p, number, "nobody stores it: is the station gone?");
		return;
	}
	json_t *ack = json_loadb((const char *)op->payload.p, op->payload.n, 0, NULL);
	json_t *error = json_object_get(ack, "error"), *seq = json_object_get(ack, "seq");
	if (error) {
		struct buf reason = { 0 };
		api_reason(&reason, error);
		refuse(p, number, buf_str(&reason));
		buf_deinit(&reason);
	} else if (!json_is_integer(seq)) {
		refuse(p, number, "the answer is no PubAck: nothing that stores messages listens there");
	} else {
		f->fate = STORED;
		p->seq_last = (uint64_t)json_integer_value(seq);
		if (p->o->json) f->ack = json_incref(ack);
	}
	json_decref(ack);
}

/* Moves over what is decided, in order, and prints its PubAck with --json. */
static void settle(struct producer *p)
{
	while (p->settled < p->sent) {
		struct flight *f = &p->ring[(p->settled + 1) % p->window];
		if (f->fate == SENT) return;
		p->settled++;
		p->window_bytes -= f->bytes;
		if (f->fate == STORED) {
			p->stored++;
			if (p->first_refused && p->settled > p->first_refused) p->stored_behind++;
		}
		if (!f->ack) continue;
		(void)json_dumpf(f->ack, stdout, JSON_COMPACT);
		(void)putchar('\n');
		json_decref(f->ack);
		f->ack = NULL;
	}
}

/* Takes every answer that is there. False: the connection is broken (l->why). */
static bool take_answers(struct producer *p)
{
	struct wire_op op;
	enum link_next r;
	size_t prefix = strlen(p->inbox) + 1;
	while ((r = link_next(p->l, 0, &op)) == LINK_MSG) {
		uint64_t number;
		if (slice_to_u64(slice_from(op.subject, prefix), &number) != OK) continue;
		if (number <= p->settled || number > p->sent || p->ring[number % p->window].fate != SENT) continue;
		take_answer(p, number, &op);
		p->alive_ns = clock_ns();
	}
	settle(p);
	if (p->settled == p->sent) p->alive_ns = clock_ns();
	return r != LINK_BROKEN;
}

/* ---- the end ---- */

/* Everything that a second run has to know, in one sentence. */
static int report(const struct producer *p, const char *problem)
{
	const char *what = word(p);
	struct buf text = { 0 };
	uint64_t open_from = p->settled + 1;
	if (p->first_refused)
		buf_printf(&text, "%s %llu is not stored: %s", what, (unsigned long long)p->first_refused, p->reason);
	if (problem) buf_printf(&text, "%s%s", text.n ? "; " : "", problem);
	buf_printf(&text, "; %llu stored", (unsigned long long)p->stored);
	if (p->stored_behind) buf_printf(&text, ", %llu of them behind it", (unsigned long long)p->stored_behind);
	if (p->settled < p->sent) buf_printf(&text, ", %s %llu", what, (unsigned long long)open_from);
	if (open_from < p->sent) buf_printf(&text, " to %llu", (unsigned long long)p->sent);
	if (p->settled < p->sent) buf_append_str(&text, " may be or not");
	int code = cli_fail(p->o, "%s", buf_str(&text));
	buf_deinit(&text);
	return code;
}

static int finish(struct producer *p, int stopped_by)
{
	if (p->problem_code == EXIT_USAGE) return cli_misused(p->o, "%s", p->problem);
	if (p->problem[0]) return report(p, p->problem);
	if (p->first_refused) return report(p, NULL);
	if (stopped_by) {
		char text[64];
		(void)snprintf(text, sizeof text, "stopped by signal %d", stopped_by);
		(void)report(p, text);
		return EXIT_SIGNAL + stopped_by;
	}
	if (!p->o->json)
		(void)printf("%llu stored, last sequence %llu\n", (unsigned long long)p->stored,
			(unsigned long long)p->seq_last);
	return EXIT_DONE;
}

/* ---- the loop ---- */

/* Until something comes from the server, or from standard input while that is wanted. False: the connection is broken. */
static bool wait_for_something(struct producer *p, bool wants_input)
{
	struct pollfd fds[2] = { { .fd = p->l->channel.fd, .events = POLLIN },
		{ .fd = p->lines.fd, .events = POLLIN } };
	if (!link_flush(p->l)) return false;
	if (poll(fds, wants_input ? 2 : 1, POLL_MS) <= 0 || !wants_input || !fds[1].revents) return true;
	if (lines_fill(&p->lines) != LINE_FAILED) return true;
	(void)snprintf(p->problem, sizeof p->problem, "can not read standard input (%s)", strerror(errno));
	p->is_drained = true;
	return true;
}

/* Sends and takes until all is sent and answered, or one is refused: then what is on its way is still waited for. */
static int run(struct producer *p)
{
	bool is_sending = true;
	int stopped_by = 0;
	p->alive_ns = clock_ns();
	for (;;) {
		if (is_sending) send_some(p);
		if (!take_answers(p)) return report(p, p->l->why);
		is_sending = !p->is_drained && !p->first_refused && !stopped_by;
		if (!is_sending && p->settled == p->sent) return finish(p, stopped_by);
		if (p->settled < p->sent && clock_ns() - p->alive_ns > p->o->timeout_ns)
			return report(p, "no acknowledgement in time (--timeout)");
		if (is_sending && has_room(p) && !p->is_idle) continue;
		if (!wait_for_something(p, is_sending && p->is_idle)) return report(p, p->l->why);
		if (!stopped_by) stopped_by = stop_asked();
	}
}

int cli_produce(struct link *l, const struct options *o)
{
	struct producer p = { .l = l, .o = o, .window = o->window };
	int code = choose_source(&p);
	if (code == EXIT_DONE && !input_header(o, &p.header, 1)) code = EXIT_USAGE;
	if (code == EXIT_DONE) {
		char pattern[64];
		code = EXIT_FAILED;
		p.ring = mem_zalloc(p.window * sizeof *p.ring);
		(void)snprintf(p.inbox, sizeof p.inbox, "%s.p", l->inbox);
		(void)snprintf(pattern, sizeof pattern, "%s.*", p.inbox);
		(void)link_subscribe(l, slice_of_str(pattern), SLICE_NULL);
		if (find_subjects(&p)) {
			stop_arm();
			code = run(&p);
		}
	}
	for (unsigned i = 0; i < p.subject_count; i++) buf_deinit(&p.subjects[i]);
	for (uint64_t i = 0; p.ring && i < p.window; i++) json_decref(p.ring[i].ack);
	mem_free(p.ring);
	mem_free(p.subjects);
	buf_deinit(&p.header);
	buf_deinit(&p.whole);
	buf_deinit(&p.lines.in);
	return code;
}
