/* SPDX-License-Identifier: Apache-2.0 */
/* utf8 — one code point at a time, strict (no overlong forms, no surrogates), as Go's utf8.DecodeRune sees it. */
#ifndef THEBES_WIRE_UTF8_H
#define THEBES_WIRE_UTF8_H

#include "thebes/base/slice.h"

/* Bytes of the first code point of s, and its value; 0 when s does not start with a valid one. */
static inline size_t utf8_next(struct slice s, uint32_t *rune)
{
	static const uint32_t lowest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	if (s.n == 0) return 0;
	uint8_t lead = s.p[0];
	*rune = lead;
	if (lead < 0x80) return 1;
	size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
	if (lead < 0xc2 || lead > 0xf4 || s.n < n) return 0;
	uint32_t r = lead & (0xffU >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((s.p[i] & 0xc0) != 0x80) return 0;
		r = r << 6 | (s.p[i] & 0x3f);
	}
	if (r < lowest[n] || r > 0x10ffff || (r >= 0xd800 && r <= 0xdfff)) return 0;
	*rune = r;
	return n;
}

#endif
