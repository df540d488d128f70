/* SPDX-License-Identifier: Apache-2.0 */
/* header — header blocks, read in place. A block comes from a client and may be anything: the walk takes a line for what ends in LF (so
 * that nobody hides a line from us that a client library would see) and skips what has no key; header_is_valid is the strict view. */
#include "thebes/wire.h"

#define VERSION SLICE("NATS/1.0")

/* OWNED(name, edges): what only the server may say. Looked for in any case of letters. */
static const struct {
	struct slice name;
	unsigned edges;
} owned[] = {
#define OWNED(literal, at)                                                                                             \
	{                                                                                                              \
		{ (const uint8_t *)("" literal), sizeof(literal) - 1 }, at                                             \
	}
	OWNED("Nats-Request-Info", HEADER_EDGE_PUBLISH | HEADER_EDGE_STORE),
	OWNED("Nats-Stream", HEADER_EDGE_STORE),
	OWNED("Nats-Subject", HEADER_EDGE_STORE),
	OWNED("Nats-Sequence", HEADER_EDGE_STORE),
	OWNED("Nats-Time-Stamp", HEADER_EDGE_STORE),
	OWNED("Nats-Num-Pending", HEADER_EDGE_STORE),
	OWNED("Nats-Last-Sequence", HEADER_EDGE_STORE),
	OWNED("Nats-UpTo-Sequence", HEADER_EDGE_STORE),
#undef OWNED
};

/* The line at `at`, without its end; *at moves behind it. The last line may lack an end. */
static bool line_next(struct slice block, size_t *at, struct slice *line)
{
	if (*at >= block.n) return false;
	const uint8_t *from = block.p + *at;
	const uint8_t *lf = memchr(from, '\n', block.n - *at);
	size_t n = lf ? (size_t)(lf - from) : block.n - *at;
	*at += n + (lf ? 1 : 0);
	if (n > 0 && from[n - 1] == '\r') n--;
	*line = slice_of(from, n);
	return true;
}

static struct slice trim(struct slice s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) s = slice_of(s.p + 1, s.n - 1);
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
	return s;
}

static bool line_split(struct slice line, struct slice *key, struct slice *value)
{
	ptrdiff_t colon = slice_find(line, ':');
	if (colon <= 0 || line.p[0] == ' ' || line.p[0] == '\t') return false;
	*key = slice_first(line, (size_t)colon);
	*value = trim(slice_from(line, (size_t)colon + 1));
	return true;
}

bool header_next(struct slice block, size_t *at, struct slice *key, struct slice *value)
{
	struct slice line;
	if (*at == 0 && !line_next(block, at, &line)) return false;
	while (line_next(block, at, &line) && line.n > 0)
		if (line_split(line, key, value)) return true;
	return false;
}

struct slice header_get(struct slice block, struct slice key)
{
	struct slice k, v;
	for (size_t at = 0; header_next(block, &at, &k, &v);)
		if (slice_eq(k, key)) return v;
	return SLICE_NULL;
}

unsigned header_status(struct slice block, struct slice *text)
{
	struct slice line = SLICE_NULL;
	size_t at = 0;
	if (text) *text = SLICE_NULL;
	if (!line_next(block, &at, &line) || !slice_has_prefix(line, VERSION)) return 0;
	line = trim(slice_from(line, VERSION.n));
	unsigned code = 0;
	size_t n = 0;
	for (; n < line.n && n < 3 && line.p[n] >= '0' && line.p[n] <= '9'; n++)
		code = code * 10 + (line.p[n] - (unsigned)'0');
	if (n != 3 || (line.n > 3 && line.p[3] != ' ')) return 0;
	if (text) *text = trim(slice_from(line, 3));
	return code;
}

static bool key_is_valid(struct slice key)
{
	for (size_t i = 0; i < key.n; i++)
		if (key.p[i] <= ' ' || key.p[i] == ':' || key.p[i] == 0x7f) return false;
	return key.n > 0;
}

/* Every line ends in CRLF, and CR and LF stand nowhere else. */
static bool strict_line_next(struct slice block, size_t *at, struct slice *line)
{
	size_t from = *at;
	if (!line_next(block, at, line)) return false;
	return *at == from + line->n + 2 && block.p[*at - 1] == '\n' && (line->n == 0 || slice_find(*line, '\r') < 0);
}

bool header_is_valid(struct slice block)
{
	size_t at = 0;
	struct slice line, key, value;
	if (!strict_line_next(block, &at, &line) || !slice_has_prefix(line, VERSION)) return false;
	if (line.n > VERSION.n && line.p[VERSION.n] != ' ') return false;
	while (strict_line_next(block, &at, &line)) {
		if (line.n == 0) return at == block.n;
		if (!line_split(line, &key, &value) || !key_is_valid(key)) return false;
	}
	return false;
}

static bool key_is_owned(struct slice key, unsigned edge)
{
	/* A blank before the colon hides the key from us and not from every client. */
	key = trim(key);
	for (size_t i = 0; i < COUNT_OF(owned); i++)
		if ((owned[i].edges & edge) && slice_eq_nocase(owned[i].name, key)) return true;
	return false;
}

bool header_has_owned(struct slice block, enum header_edge edge)
{
	struct slice key, value;
	for (size_t at = 0; header_next(block, &at, &key, &value);)
		if ((key.p[0] | 0x20) == 'n' && key_is_owned(key, edge)) return true;
	return false;
}

size_t header_strip(uint8_t *to, struct slice block, enum header_edge edge)
{
	size_t at = 0, n, kept = 0;
	bool dropping = false;
	struct slice line, key, value;
	if (!line_next(block, &at, &line)) return 0;
	bool has_status = line.n > VERSION.n;
	memcpy(to, block.p, at);
	n = at;
	size_t rest = at;
	for (size_t from = at; line_next(block, &at, &line) && line.n > 0; from = at) {
		bool folded = line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t');
		if (!folded) dropping = line_split(line, &key, &value) && key_is_owned(key, edge);
		rest = at;
		if (dropping) continue;
		kept++;
		memcpy(to + n, block.p + from, at - from);
		n += at - from;
	}
	if (kept == 0 && !has_status) return 0;
	memcpy(to + n, block.p + rest, block.n - rest); /* the blank line, and whatever a client put behind it */
	return n + block.n - rest;
}

void header_start(struct buf *b, unsigned code, const char *text)
{
	ASSERT(b->n == 0 && code <= 999);
	buf_append_slice(b, VERSION);
	if (code) buf_printf(b, " %03u%s%s", code, text ? " " : "", text ? text : "");
	buf_append_str(b, "\r\n\r\n");
}

bool header_append(struct buf *b, struct slice key, struct slice value)
{
	if (!key_is_valid(key) || slice_find(value, '\r') >= 0 || slice_find(value, '\n') >= 0) return false;
	if (b->n == 0) header_start(b, 0, NULL);
	ASSERT(b->n >= 4 && memcmp(b->p + b->n - 4, "\r\n\r\n", 4) == 0);
	b->n -= 2;
	buf_append_slice(b, key);
	buf_append_str(b, ": ");
	buf_append_slice(b, value);
	buf_append_str(b, "\r\n\r\n");
	return true;
}
