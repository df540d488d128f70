/* SPDX-License-Identifier: Apache-2.0 */
/* subject — dotted names and the relations between patterns: does it cover, is it part of, do they overlap (spec §1.5). All of them walk
 * both sides token by token; nothing is allocated. */
#include "thebes/wire.h"

static bool token_is(struct slice t, uint8_t c) { return t.n == 1 && t.p[0] == c; }

bool subject_next(struct slice s, size_t *at, struct slice *token)
{
	/* One past the end says that the last token was handed out: "a." has a second, empty one. */
	if (*at > s.n || (s.n == 0)) return false;
	const uint8_t *from = s.p + *at;
	size_t left = s.n - *at;
	const uint8_t *dot = left ? memchr(from, '.', left) : NULL;
	*token = slice_of(from, dot ? (size_t)(dot - from) : left);
	*at += token->n + 1;
	return true;
}

size_t subject_token_count(struct slice s)
{
	if (s.n == 0) return 0;
	size_t n = 1;
	for (size_t i = 0; i < s.n; i++) n += s.p[i] == '.';
	return n;
}

static bool byte_is_allowed(uint8_t c) { return c != ' ' && (c > '\r' || c < '\t' || c == '\v'); }

enum subject_kind subject_check(struct slice s)
{
	if (s.n == 0) return SUBJECT_BAD;
	bool wildcard = false;
	for (size_t at = 0; at <= s.n;) {
		size_t from = at;
		for (; at < s.n && s.p[at] != '.'; at++)
			if (!byte_is_allowed(s.p[at])) return SUBJECT_BAD;
		struct slice token = slice_of(s.p + from, at - from);
		if (token.n == 0) return SUBJECT_BAD;
		bool rest = token_is(token, '>');
		if (rest && at < s.n) return SUBJECT_BAD;
		wildcard |= rest || token_is(token, '*');
		at++;
	}
	return wildcard ? SUBJECT_WILDCARD : SUBJECT_LITERAL;
}

/* The rest of a subject, from a token on, has no empty token. */
static bool rest_is_whole(struct slice s, size_t at)
{
	struct slice token;
	while (subject_next(s, &at, &token))
		if (token.n == 0) return false;
	return true;
}

bool subject_match(struct slice pattern, struct slice literal)
{
	size_t at_p = 0, at_l = 0;
	struct slice p, l;
	while (subject_next(pattern, &at_p, &p)) {
		size_t from = at_l;
		if (!subject_next(literal, &at_l, &l) || l.n == 0) return false;
		if (token_is(p, '>') && at_p > pattern.n) return rest_is_whole(literal, from);
		if (!token_is(p, '*') && !slice_eq(p, l)) return false;
	}
	return at_l > literal.n;
}

bool subject_is_subset(struct slice a, struct slice b)
{
	size_t at_a = 0, at_b = 0;
	struct slice ta, tb;
	while (subject_next(b, &at_b, &tb)) {
		if (!subject_next(a, &at_a, &ta)) return false;
		if (token_is(tb, '>')) return true;
		if (token_is(ta, '>')) return false;
		if (!token_is(tb, '*') && !slice_eq(ta, tb)) return false;
	}
	return at_a > a.n;
}

bool subject_overlaps(struct slice a, struct slice b)
{
	size_t at_a = 0, at_b = 0;
	struct slice ta, tb;
	for (;;) {
		bool more_a = subject_next(a, &at_a, &ta), more_b = subject_next(b, &at_b, &tb);
		if (!more_a || !more_b) return more_a == more_b;
		if (token_is(ta, '>') || token_is(tb, '>')) return true;
		if (!token_is(ta, '*') && !token_is(tb, '*') && !slice_eq(ta, tb)) return false;
	}
}
