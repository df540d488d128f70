/* SPDX-License-Identifier: Apache-2.0 */
/* slice — comparing and parsing borrowed bytes, growing owned ones. */
#include <stdio.h>

#include "thebes/base/mem.h"
#include "thebes/base/slice.h"

/* ---- slice ---- */

static uint8_t ascii_lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c; }

bool slice_eq_nocase(struct slice a, struct slice b)
{
	if (a.n != b.n) return false;
	for (size_t i = 0; i < a.n; i++)
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i])) return false;
	return true;
}

int slice_cmp(struct slice a, struct slice b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int order = n ? memcmp(a.p, b.p, n) : 0;
	if (order) return order;
	return (a.n > b.n) - (a.n < b.n);
}

ptrdiff_t slice_find(struct slice s, uint8_t byte)
{
	const uint8_t *at = s.n ? memchr(s.p, byte, s.n) : NULL;
	return at ? at - s.p : -1;
}

enum err slice_to_u64(struct slice s, uint64_t *out)
{
	uint64_t v = 0;
	bool is_large = false;
	if (s.n == 0) return ERR_PARSE;
	for (size_t i = 0; i < s.n; i++) {
		uint8_t digit = (uint8_t)(s.p[i] - '0');
		if (digit > 9) return ERR_PARSE;
		if (v > UINT64_MAX / 10 || v * 10 > UINT64_MAX - digit) is_large = true;
		v = v * 10 + digit;
	}
	if (is_large) return ERR_TOO_LARGE;
	*out = v;
	return OK;
}

enum err slice_to_i64(struct slice s, int64_t *out)
{
	bool is_negative = s.n > 0 && s.p[0] == '-';
	uint64_t v;
	enum err e = slice_to_u64(is_negative ? slice_from(s, 1) : s, &v);
	if (e != OK) return e;
	uint64_t limit = is_negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
	if (v > limit) return ERR_TOO_LARGE;
	*out = is_negative ? (int64_t)(0 - v) : (int64_t)v;
	return OK;
}

/* ---- buf ---- */

enum { BUF_CAP_MIN = 64 };

void buf_deinit(struct buf *b)
{
	mem_free(b->p);
	*b = (struct buf) { 0 };
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
	ASSERT(b->n <= b->cap);
	ASSERT(n <= SIZE_MAX / 2 - b->n);
	if (!b->p || b->cap - b->n < n) {
		size_t cap = b->cap * 2 < BUF_CAP_MIN ? BUF_CAP_MIN : b->cap * 2;
		b->cap = cap < b->n + n ? b->n + n : cap;
		b->p = mem_realloc(b->p, b->cap);
	}
	return b->p + b->n;
}

void buf_append(struct buf *b, const void *p, size_t n)
{
	if (n == 0) return;
	memcpy(buf_reserve(b, n), p, n);
	b->n += n;
}

void buf_append_str(struct buf *b, const char *s) { buf_append(b, s, strlen(s)); }

void buf_append_u64(struct buf *b, uint64_t v)
{
	char text[U64_TEXT_MAX];
	buf_append(b, text, u64_text(text, v));
}

size_t u64_text(char *to, uint64_t v)
{
	static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
				    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
				    "8081828384858687888990919293949596979899";
	char text[U64_TEXT_MAX];
	size_t at = sizeof text;
	for (; v >= 100; v /= 100) {
		at -= 2;
		memcpy(text + at, pairs + v % 100 * 2, 2);
	}
	if (v >= 10) {
		at -= 2;
		memcpy(text + at, pairs + v * 2, 2);
	} else {
		text[--at] = (char)('0' + v);
	}
	memcpy(to, text + at, sizeof text - at);
	return sizeof text - at;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(b, fmt, ap);
	va_end(ap);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	char *to = (char *)buf_reserve(b, BUF_CAP_MIN);
	size_t room = b->cap - b->n;
	int n = vsnprintf(to, room, fmt, ap);
	ASSERT(n >= 0);
	if ((size_t)n >= room) {
		to = (char *)buf_reserve(b, (size_t)n + 1);
		int m = vsnprintf(to, (size_t)n + 1, fmt, again);
		ASSERT(m == n);
	}
	va_end(again);
	b->n += (size_t)n;
}

/* True when the text begins with something that a terminal may obey. */
static bool is_control(struct slice s)
{
	if (s.p[0] < 0x20 || s.p[0] == 0x7f) return true;
	return s.p[0] == 0xc2 && s.n > 1 && s.p[1] >= 0x80 && s.p[1] < 0xa0;
}

void buf_append_clean(struct buf *b, struct slice text)
{
	for (; text.n; text = slice_from(text, 1)) {
		if (is_control(text))
			buf_printf(b, "\\x%02x", text.p[0]);
		else
			buf_append_byte(b, text.p[0]);
	}
}

void buf_consume(struct buf *b, size_t n)
{
	ASSERT(n <= b->n);
	if (n == 0) return;
	b->n -= n;
	memmove(b->p, b->p + n, b->n);
}

const char *buf_str(struct buf *b)
{
	*buf_reserve(b, 1) = '\0';
	return (const char *)b->p;
}
