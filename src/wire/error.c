/* SPDX-License-Identifier: Apache-2.0 */
/* error — the table of -ERR lines (wire_errors.def). Texts are part of the contract: clients compare them. Subjects inside them are
 * quoted the way Go's %q does it, because that is what a client's user sees from every other NATS server. */
#include "thebes/wire.h"
#include "utf8.h"

static const struct {
	const char *text;
	bool closes;
} wire_errors[WIRE_ERROR_COUNT] = {
#define WIRE_ERROR(name, closes, text) [WIRE_ERROR_##name] = { text, closes },
#include "thebes/wire_errors.def"
#undef WIRE_ERROR
};

const char *wire_error_text(enum wire_error e)
{
	ASSERT(e < WIRE_ERROR_COUNT);
	return wire_errors[e].text;
}

bool wire_error_closes(enum wire_error e)
{
	ASSERT(e < WIRE_ERROR_COUNT);
	return wire_errors[e].closes;
}

/* What Go's unicode.IsPrint refuses among the code points that a hostile subject would use to confuse a terminal or a log: controls,
 * blanks other than the ASCII one, marks of direction, private use, surrogates and non-characters. */
static bool rune_is_printable(uint32_t r)
{
	static const struct {
		uint32_t from, to;
	} hidden[] = {
		{ 0x00, 0x1f },
		{ 0x7f, 0xa0 },
		{ 0xad, 0xad },
		{ 0x600, 0x605 },
		{ 0x61c, 0x61c },
		{ 0x6dd, 0x6dd },
		{ 0x70f, 0x70f },
		{ 0x1680, 0x1680 },
		{ 0x180e, 0x180e },
		{ 0x2000, 0x200f },
		{ 0x2028, 0x202f },
		{ 0x205f, 0x206f },
		{ 0x3000, 0x3000 },
		{ 0xd800, 0xf8ff },
		{ 0xfeff, 0xfeff },
		{ 0xfff0, 0xfffb },
		{ 0xfffe, 0xffff },
		{ 0xe0000, 0x10ffff },
	};
	for (size_t i = 0; i < COUNT_OF(hidden); i++)
		if (r >= hidden[i].from && r <= hidden[i].to) return false;
	return true;
}

static void rune_append_quoted(struct buf *to, uint32_t r, struct slice bytes)
{
	static const char letters[] = "abtnvfr"; /* 0x07 to 0x0d */
	if (r == '"' || r == '\\') {
		buf_append_byte(to, '\\');
		buf_append_byte(to, (uint8_t)r);
	} else if (rune_is_printable(r)) {
		buf_append_slice(to, bytes);
	} else if (r >= 0x07 && r <= 0x0d) {
		buf_append_byte(to, '\\');
		buf_append_byte(to, (uint8_t)letters[r - 0x07]);
	} else if (r < 0x80) {
		buf_printf(to, "\\x%02x", r);
	} else {
		buf_printf(to, r < 0x10000 ? "\\u%04x" : "\\U%08x", r);
	}
}

void wire_quoted_append(struct buf *to, struct slice s)
{
	buf_append_byte(to, '"');
	for (size_t at = 0; at < s.n;) {
		uint32_t r;
		size_t n = utf8_next(slice_from(s, at), &r);
		if (n == 0) {
			buf_printf(to, "\\x%02x", s.p[at]);
			n = 1;
		} else {
			rune_append_quoted(to, r, slice_of(s.p + at, n));
		}
		at += n;
	}
	buf_append_byte(to, '"');
}

void wire_error_append(struct buf *to, enum wire_error e, struct slice a, struct slice b)
{
	const char *text = wire_error_text(e);
	if (!*text) return;
	const struct slice args[] = { a, b };
	size_t arg = 0;
	buf_append_str(to, "-ERR '");
	for (const char *p = text; *p; p++) {
		if (p[0] == '%' && p[1] == 'q') {
			ASSERT(arg < COUNT_OF(args));
			wire_quoted_append(to, args[arg++]);
			p++;
		} else {
			buf_append_byte(to, (uint8_t)*p);
		}
	}
	buf_append_str(to, "'\r\n");
}
