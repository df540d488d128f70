/* SPDX-License-Identifier: Apache-2.0 */
/* parse — one operation from the front of a buffer. The happy path: memchr finds the end of the line, the first letters find the row of
 * the verb, the row's function takes the arguments and, where there is a body that is all there, its CRLF is checked. Nothing is copied,
 * and the only state between two calls is how far an incomplete line was searched. Messages, the hot operations, have a shorter way to
 * the same functions (split.h). */
#include "thebes/wire.h"
#include "split.h"

enum { ARGS_MAX = 5, SIZE_DIGITS_MAX = 9, LINE_SLACK = 64 };

struct verb_row {
	const char *name; /* capitals */
	uint8_t n;
	bool needs_blank; /* an argument list must be set off; the others take whatever follows on the line (spec §9.8) */
	bool has_body;
	/* One of the two, or neither: the arguments split at blanks (count is ARGS_MAX + 1 when there are more), or as they are. */
	enum wire_error (*take_args)(const struct slice *v, unsigned count, struct wire_op *op);
	void (*take_text)(struct slice args, struct wire_op *op);
};

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t' || c == '\r'; }

static uint8_t to_upper(uint8_t c) { return c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c; }

static struct slice skip_blanks(struct slice s)
{
	while (s.n > 0 && is_blank(*s.p)) s = slice_of(s.p + 1, s.n - 1);
	return s;
}

/* Splits at blanks; returns the number of arguments, ARGS_MAX + 1 when there are more than ARGS_MAX. */
static unsigned args_split(struct slice line, struct slice v[ARGS_MAX])
{
	unsigned count = 0;
	const uint8_t *p = line.p, *end = line.p + line.n;
	for (;;) {
		while (p < end && *p <= ' ' && is_blank(*p)) p++;
		if (p == end) return count;
		if (count == ARGS_MAX) return ARGS_MAX + 1;
		const uint8_t *from = p;
		while (p < end && (*p > ' ' || !is_blank(*p))) p++;
		v[count++] = slice_of(from, (size_t)(p - from));
	}
}

/* Sizes have one to nine digits and nothing else (spec §1.1). */
static bool size_parse(struct slice s, uint32_t *out)
{
	if (s.n == 0 || s.n > SIZE_DIGITS_MAX) return false;
	uint32_t v = 0;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = s.p[i] - (unsigned)'0';
		if (digit > 9) return false;
		v = v * 10 + digit;
	}
	*out = v;
	return true;
}

/* [reply] and the sizes stand at the end of PUB, HPUB, MSG and HMSG; `fixed` arguments stand before them. */
static enum wire_error body_args(
	struct wire_op *op, const struct slice *v, unsigned count, unsigned fixed, bool with_header)
{
	unsigned sizes = with_header ? 2 : 1;
	if (count < fixed + sizes || count > fixed + sizes + 1) return WIRE_ERROR_PROTOCOL;
	if (count == fixed + sizes + 1) op->reply = v[fixed];
	if (!size_parse(v[count - 1], &op->total_bytes)) return WIRE_ERROR_PROTOCOL;
	if (with_header && !size_parse(v[count - 2], &op->header_bytes)) return WIRE_ERROR_PROTOCOL;
	if (op->header_bytes > op->total_bytes) return WIRE_ERROR_PROTOCOL;
	return WIRE_ERROR_NONE;
}

static enum wire_error pub_args(const struct slice *v, unsigned count, struct wire_op *op)
{
	if (count < 2) return WIRE_ERROR_PROTOCOL;
	op->subject = v[0];
	return body_args(op, v, count, 1, op->verb == WIRE_HPUB);
}

static enum wire_error msg_args(const struct slice *v, unsigned count, struct wire_op *op)
{
	if (count < 3) return WIRE_ERROR_PROTOCOL;
	op->subject = v[0];
	op->sid = v[1];
	return body_args(op, v, count, 2, op->verb == WIRE_HMSG);
}

static enum wire_error sub_args(const struct slice *v, unsigned count, struct wire_op *op)
{
	if (count != 2 && count != 3) return WIRE_ERROR_PROTOCOL;
	op->subject = v[0];
	if (count == 3) op->queue = v[1];
	op->sid = v[count - 1];
	return WIRE_ERROR_NONE;
}

static enum wire_error unsub_args(const struct slice *v, unsigned count, struct wire_op *op)
{
	if (count != 1 && count != 2) return WIRE_ERROR_PROTOCOL;
	op->sid = v[0];
	/* A count that is no number means "now", as it always did. */
	uint32_t max = 0;
	if (count == 2 && size_parse(v[1], &max)) op->max = max;
	return WIRE_ERROR_NONE;
}

static void json_text(struct slice args, struct wire_op *op)
{
	while (args.n > 0 && is_blank(args.p[args.n - 1])) args.n--;
	op->args = args;
}

static void err_text_take(struct slice args, struct wire_op *op)
{
	json_text(args, op);
	if (op->args.n >= 2 && op->args.p[0] == '\'' && op->args.p[op->args.n - 1] == '\'')
		op->args = slice_of(op->args.p + 1, op->args.n - 2);
}

static const struct verb_row verbs[WIRE_VERB_COUNT] = {
	[WIRE_CONNECT] = { "CONNECT", 7, false, false, NULL, json_text },
	[WIRE_PUB] = { "PUB", 3, true, true, pub_args, NULL },
	[WIRE_HPUB] = { "HPUB", 4, true, true, pub_args, NULL },
	[WIRE_SUB] = { "SUB", 3, true, false, sub_args, NULL },
	[WIRE_UNSUB] = { "UNSUB", 5, true, false, unsub_args, NULL },
	[WIRE_PING] = { "PING", 4, false, false, NULL, NULL },
	[WIRE_PONG] = { "PONG", 4, false, false, NULL, NULL },
	[WIRE_INFO] = { "INFO", 4, false, false, NULL, json_text },
	[WIRE_OK] = { "+OK", 3, false, false, NULL, NULL },
	[WIRE_ERR] = { "-ERR", 4, true, false, NULL, err_text_take },
	[WIRE_MSG] = { "MSG", 3, true, true, msg_args, NULL },
	[WIRE_HMSG] = { "HMSG", 4, true, true, msg_args, NULL },
};

/* The verbs that share a first letter. */
static const struct {
	uint8_t letter, count;
	uint8_t verb[3];
} initials[] = {
	{ 'P', 3, { WIRE_PUB, WIRE_PING, WIRE_PONG } },
	{ 'H', 2, { WIRE_HPUB, WIRE_HMSG } },
	{ 'M', 1, { WIRE_MSG } },
	{ 'S', 1, { WIRE_SUB } },
	{ 'U', 1, { WIRE_UNSUB } },
	{ '+', 1, { WIRE_OK } },
	{ 'C', 1, { WIRE_CONNECT } },
	{ '-', 1, { WIRE_ERR } },
	{ 'I', 1, { WIRE_INFO } },
};

const char *wire_verb_name(enum wire_verb v)
{
	ASSERT(v < WIRE_VERB_COUNT);
	return verbs[v].name;
}

/* True when the line, complete or not, can still become this verb. */
static bool verb_fits(const struct verb_row *row, struct slice line)
{
	size_t n = line.n < row->n ? line.n : row->n;
	for (size_t i = 0; i < n; i++)
		if (to_upper(line.p[i]) != (uint8_t)row->name[i]) return false;
	return line.n <= row->n || !row->needs_blank || line.p[row->n] == ' ' || line.p[row->n] == '\t';
}

/* The allowed verb that the line begins with. An answer of its own for a line that no allowed verb begins: before login that is
 * "Authorization Violation" from the first letter on. */
static enum wire_error verb_find(const struct wire_parser *p, struct slice line, enum wire_verb *out)
{
	bool initial_allowed = false;
	uint8_t letter = to_upper(line.p[0]);
	for (size_t i = 0; i < COUNT_OF(initials); i++) {
		if (initials[i].letter != letter) continue;
		for (size_t k = 0; k < initials[i].count; k++) {
			enum wire_verb v = initials[i].verb[k];
			if (!(p->verbs & WIRE_BIT(v))) continue;
			initial_allowed = true;
			if (!verb_fits(&verbs[v], line)) continue;
			*out = v;
			return WIRE_ERROR_NONE;
		}
		break;
	}
	return initial_allowed ? WIRE_ERROR_UNKNOWN_OP : p->forbidden;
}

static enum wire_result fail(struct wire_op *op, enum wire_error e)
{
	op->error = e;
	return WIRE_BAD;
}

/* The arguments count, and blanks without end do too. */
static bool line_is_too_long(const struct wire_parser *p, struct slice line, struct slice args)
{
	return args.n > p->control_line_max || line.n > (size_t)p->control_line_max + LINE_SLACK;
}

/* No LF yet: refuse what cannot become good any more, so that nobody makes us wait for an endless line. */
static enum wire_result line_incomplete(struct wire_parser *p, struct slice in, struct wire_op *op)
{
	if (in.n == 0) return WIRE_MORE;
	enum wire_verb v = WIRE_VERB_COUNT;
	enum wire_error e = verb_find(p, in, &v);
	if (e != WIRE_ERROR_NONE) return fail(op, e);
	struct slice line = in.p[in.n - 1] == '\r' ? slice_first(in, in.n - 1) : in;
	if (line_is_too_long(p, line, skip_blanks(slice_from(line, verbs[v].n))))
		return fail(op, WIRE_ERROR_CONTROL_LINE);
	p->scanned = in.n;
	return WIRE_MORE;
}

static bool body_take(struct wire_op *op, const uint8_t *body)
{
	if (body[op->total_bytes] != '\r' || body[op->total_bytes + 1] != '\n') return false;
	op->header = slice_of(body, op->header_bytes);
	op->payload = slice_of(body + op->header_bytes, op->total_bytes - op->header_bytes);
	return true;
}

/* The line is good; op->used bytes of `in` hold it. */
static enum wire_result body_parse(const struct wire_parser *p, struct slice in, struct wire_op *op)
{
	if (op->total_bytes > p->payload_max) return fail(op, WIRE_ERROR_PAYLOAD);
	size_t body_bytes = (size_t)op->total_bytes + 2;
	if (in.n - op->used < body_bytes) return WIRE_BODY;
	if (!body_take(op, in.p + op->used)) return fail(op, WIRE_ERROR_UNKNOWN_OP);
	op->used += body_bytes;
	return WIRE_OP;
}

static inline struct slice hot_word(struct slice in, const uint32_t *end, unsigned at)
{
	return slice_of(in.p + end[at - 1] + 1, end[at] - end[at - 1] - 1);
}

/* As size_parse, without leading zeros: what is passed on is what we would print. */
static inline bool hot_size(struct slice s, uint32_t *out) { return (s.p[0] != '0' || s.n == 1) && size_parse(s, out); }

/* A message whose line is plain: its verb has verb_bytes, `fixed` words stand before the reply, `sizes` at the end. False: the general way
 * decides, also about what is wrong with it. Inline, so that the four kinds are four straight lines. */
static inline __attribute__((always_inline)) bool parse_plain(const struct wire_parser *p, struct slice in,
	struct wire_op *op, enum wire_result *result, enum wire_verb verb, uint32_t verb_bytes, unsigned fixed,
	unsigned sizes)
{
	uint32_t end[SPLIT_WORDS_MAX] = { 0 };
	unsigned words = line_split_fast(in, end), last = words - 1;
	if ((words != fixed + sizes && words != fixed + sizes + 1) || end[0] != verb_bytes) return false;
	if (!(p->verbs & WIRE_BIT(verb)) || end[last] - verb_bytes - 1 > p->control_line_max) return false;
	if (!hot_size(hot_word(in, end, last), &op->total_bytes)) return false;
	if (sizes == 2 && !hot_size(hot_word(in, end, last - 1), &op->header_bytes)) return false;
	if (sizes == 2 && op->header_bytes > op->total_bytes) return false;
	op->verb = verb;
	op->subject = hot_word(in, end, 1);
	if (fixed == 3) op->sid = hot_word(in, end, 2);
	if (words > fixed + sizes) op->reply = hot_word(in, end, fixed);
	op->used = (size_t)end[last] + 2;
	*result = body_parse(p, in, op);
	size_t sizes_at = (size_t)end[last - sizes] + 1;
	/* HPUB with an empty header has a size more than the MSG that it becomes. */
	if (*result == WIRE_OP && (sizes == 1 || op->header_bytes > 0))
		op->tail = slice_of(in.p + sizes_at, op->used - sizes_at);
	return true;
}

#define LETTERS(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* The verbs with a body, by their first four letters in lower case. */
static bool parse_hot(const struct wire_parser *p, struct slice in, struct wire_op *op, enum wire_result *result)
{
	if (in.n < 16) return false;
	switch (le32_get(in.p) | 0x20202020U) {
	case LETTERS('p', 'u', 'b', ' '): return parse_plain(p, in, op, result, WIRE_PUB, 3, 2, 1);
	case LETTERS('m', 's', 'g', ' '): return parse_plain(p, in, op, result, WIRE_MSG, 3, 3, 1);
	case LETTERS('h', 'p', 'u', 'b'): return parse_plain(p, in, op, result, WIRE_HPUB, 4, 2, 2);
	case LETTERS('h', 'm', 's', 'g'): return parse_plain(p, in, op, result, WIRE_HMSG, 4, 3, 2);
	default: return false;
	}
}

/* Field by field: clearing the whole at once becomes a string instruction, whose start costs more than all of this, and from whose
 * bytes the next loads wait (8 % of the loop at 16 bytes a message). */
static void op_clear(struct wire_op *op)
{
	op->verb = WIRE_VERB_COUNT;
	op->error = WIRE_ERROR_NONE;
	op->subject = op->reply = op->queue = op->sid = SLICE_NULL;
	op->header = op->payload = op->tail = op->args = SLICE_NULL;
	op->max = 0;
	op->header_bytes = op->total_bytes = 0;
	op->used = 0;
}

enum wire_result wire_parse(struct wire_parser *p, struct slice in, struct wire_op *op)
{
	ASSERT(p->scanned <= in.n);
	op_clear(op);
	enum wire_result hot;
	if (p->scanned == 0 && parse_hot(p, in, op, &hot)) return hot;
	op->header_bytes = op->total_bytes = 0; /* the short way may have begun */
	const uint8_t *lf = in.n == p->scanned ? NULL : memchr(in.p + p->scanned, '\n', in.n - p->scanned);
	if (!lf) return line_incomplete(p, in, op);
	p->scanned = 0;
	op->used = (size_t)(lf - in.p) + 1;

	struct slice line = slice_of(in.p, op->used - 1);
	if (line.n > 0 && line.p[line.n - 1] == '\r') line.n--;
	if (line.n == 0) return fail(op, p->forbidden);
	enum wire_error e = verb_find(p, line, &op->verb);
	if (e != WIRE_ERROR_NONE) return fail(op, e);
	const struct verb_row *row = &verbs[op->verb];
	if (line.n < row->n || (row->needs_blank && line.n == row->n)) return fail(op, WIRE_ERROR_UNKNOWN_OP);
	struct slice args = skip_blanks(slice_from(line, row->n));
	if (line_is_too_long(p, line, args)) return fail(op, WIRE_ERROR_CONTROL_LINE);
	struct slice v[ARGS_MAX];
	if (row->take_text) row->take_text(args, op);
	if (row->take_args) e = row->take_args(v, args_split(args, v), op);
	if (e != WIRE_ERROR_NONE) return fail(op, e);
	return row->has_body ? body_parse(p, in, op) : WIRE_OP;
}

bool wire_body(struct wire_op *op, struct slice body)
{
	ASSERT(body.n == (size_t)op->total_bytes + 2);
	return body_take(op, body.p);
}
