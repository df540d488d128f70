/* SPDX-License-Identifier: Apache-2.0 */
/* split — the words of a well-behaved short line in one pass: sixteen bytes at a time, so that neither the length of a subject nor the number
 * of words costs a branch per letter. Lines that are not of the plain form "word word word\r\n" are left to the general way. */
#ifndef THEBES_WIRE_SPLIT_H
#define THEBES_WIRE_SPLIT_H

#include "thebes/base/slice.h"

enum { SPLIT_WORDS_MAX = 6, SPLIT_BYTES_MAX = 256 };

#ifdef __SSE2__
#include <emmintrin.h>

/* Fills end[i] with the offset behind word i and returns the number of words; the line ends two bytes behind the last. 0: not a plain
 * line, or not all of it within the first bytes. */
static inline unsigned line_split_fast(struct slice in, uint32_t end[SPLIT_WORDS_MAX])
{
	const __m128i blank = _mm_set1_epi8(' ');
	unsigned count = 0;
	uint32_t from = 0;
	for (uint32_t base = 0; base < SPLIT_BYTES_MAX && base + 16 <= in.n; base += 16) {
		__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(in.p + base));
		unsigned mask = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(bytes, blank), bytes));
		for (; mask; mask &= mask - 1) {
			uint32_t at = base + (uint32_t)__builtin_ctz(mask);
			if (at == from || count == SPLIT_WORDS_MAX) return 0;
			end[count++] = at;
			from = at + 1;
			if (in.p[at] == ' ') continue;
			return in.p[at] == '\r' && from < in.n && in.p[from] == '\n' ? count : 0;
		}
	}
	return 0;
}
#else
static inline unsigned line_split_fast(struct slice in, uint32_t end[SPLIT_WORDS_MAX])
{
	(void)in;
	(void)end;
	return 0;
}
#endif

#endif
