/* SPDX-License-Identifier: Apache-2.0 */
/* slice — bytes that somebody else owns. buf — bytes that we own and that grow. */
#ifndef THEBES_BASE_SLICE_H
#define THEBES_BASE_SLICE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "thebes/base/assert.h"
#include "thebes/base/err.h"

struct slice {
	const uint8_t *p; /* borrowed; may be NULL when n == 0 */
	size_t n;
};

#define SLICE(literal) ((struct slice) { (const uint8_t *)("" literal), sizeof(literal) - 1 })
#define SLICE_NULL ((struct slice) { 0 })
/* For printf's "%.*s". */
#define SLICE_FMT(s) ((int)(s).n), ((const char *)((s).p ? (const char *)(s).p : ""))

static inline struct slice slice_of(const void *p, size_t n) { return (struct slice) { (const uint8_t *)p, n }; }
static inline struct slice slice_of_str(const char *s)
{
	return (struct slice) { (const uint8_t *)s, s ? strlen(s) : 0 };
}
static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool slice_eq_str(struct slice a, const char *s) { return slice_eq(a, slice_of_str(s)); }
static inline bool slice_has_prefix(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}
/* The part from `at` (at most n) on, resp. n bytes of it. */
static inline struct slice slice_from(struct slice s, size_t at)
{
	if (s.n == 0) return s; /* p may be NULL, to which nothing may be added, not even 0 */
	return at >= s.n ? (struct slice) { s.p + s.n, 0 } : (struct slice) { s.p + at, s.n - at };
}
static inline struct slice slice_first(struct slice s, size_t n) { return (struct slice) { s.p, n < s.n ? n : s.n }; }
bool slice_eq_nocase(struct slice a, struct slice b); /* ASCII */
int slice_cmp(struct slice a, struct slice b);        /* bytewise, shorter first */
/* Index of the byte, or -1. */
ptrdiff_t slice_find(struct slice s, uint8_t byte);
/* Decimal digits only, the whole slice, no sign. ERR_PARSE, or ERR_TOO_LARGE above UINT64_MAX. */
must_check enum err slice_to_u64(struct slice s, uint64_t *out);
must_check enum err slice_to_i64(struct slice s, int64_t *out); /* optional '-' */

struct buf {
	uint8_t *p; /* owned */
	size_t n, cap;
};
void buf_deinit(struct buf *b); /* frees and zeroes; a zeroed buf is a valid empty one */
static inline void buf_clear(struct buf *b) { b->n = 0; }
/* Makes room for n more bytes and returns where they go; does not change b->n. */
uint8_t *buf_reserve(struct buf *b, size_t n) __attribute__((returns_nonnull));
void buf_append(struct buf *b, const void *p, size_t n);
static inline void buf_append_slice(struct buf *b, struct slice s) { buf_append(b, s.p, s.n); }
void buf_append_str(struct buf *b, const char *s);
void buf_append_u64(struct buf *b, uint64_t v); /* decimal text */
/* Writes v as decimal text, not ended, and returns its length: at most U64_TEXT_MAX. */
enum { U64_TEXT_MAX = 20 };
size_t u64_text(char *to, uint64_t v);
static inline void buf_append_byte(struct buf *b, uint8_t c)
{
	*buf_reserve(b, 1) = c;
	b->n++;
}
void buf_printf(struct buf *b, const char *fmt, ...) printf_like(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap);
/* Text that somebody else wrote, for one line that people read: control characters (C0, DEL, C1 in UTF-8) become "\x0a". */
void buf_append_clean(struct buf *b, struct slice text);
void buf_consume(struct buf *b, size_t n); /* drops n bytes from the front, moves the rest */
static inline struct slice buf_slice(const struct buf *b) { return (struct slice) { b->p, b->n }; }
/* NUL-terminates without counting the NUL. */
const char *buf_str(struct buf *b);

/* Little-endian fields at any alignment: all formats of ours are little-endian. */
static inline void le16_put(void *p, uint16_t v)
{
	uint8_t *b = p;
	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
}
static inline void le32_put(void *p, uint32_t v)
{
	uint8_t *b = p;
	for (int i = 0; i < 4; i++) b[i] = (uint8_t)(v >> (8 * i));
}
static inline void le64_put(void *p, uint64_t v)
{
	uint8_t *b = p;
	for (int i = 0; i < 8; i++) b[i] = (uint8_t)(v >> (8 * i));
}
static inline uint16_t le16_get(const void *p)
{
	const uint8_t *b = p;
	return (uint16_t)(b[0] | b[1] << 8);
}
static inline uint32_t le32_get(const void *p)
{
	const uint8_t *b = p;
	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
static inline uint64_t le64_get(const void *p)
{
	return (uint64_t)le32_get(p) | (uint64_t)le32_get((const uint8_t *)p + 4) << 32;
}
static inline void buf_append_le32(struct buf *b, uint32_t v)
{
	le32_put(buf_reserve(b, 4), v);
	b->n += 4;
}
static inline void buf_append_le64(struct buf *b, uint64_t v)
{
	le64_put(buf_reserve(b, 8), v);
	b->n += 8;
}

#endif
