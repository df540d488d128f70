/* SPDX-License-Identifier: Apache-2.0 */
/* url — what is asked for: the target of a request in either of its forms, its path without detours, and what stands behind the '?'. As Go's
 * net/http does it, because that is what nats-server's pages are asked through. */
#include "page.h"

/* "http://host/path?query" or "/path?query" (RFC 9112 §3.2); the host is not looked at: there is one server here. */
void http_target_split(struct slice target, struct slice *path, struct slice *query)
{
	static const char mark[] = "://";
	if (target.n && target.p[0] != '/') {
		const uint8_t *at = memmem(target.p, target.n, mark, sizeof mark - 1);
		if (at) target = slice_from(target, (size_t)(at - target.p) + sizeof mark - 1);
		while (at && target.n && target.p[0] != '/' && target.p[0] != '?') target = slice_from(target, 1);
	}
	ptrdiff_t q = slice_find(target, '?');
	*path = q < 0 ? target : slice_first(target, (size_t)q);
	*query = q < 0 ? SLICE_NULL : slice_from(target, (size_t)q + 1);
}

/* Without its last element. */
static void path_shorten(struct buf *b)
{
	while (b->n && b->p[b->n - 1] != '/') b->n--;
	if (b->n) b->n--;
}

void http_path_clean(struct buf *out, struct slice path)
{
	struct slice left = path;
	while (left.n) {
		ptrdiff_t end = slice_find(left, '/');
		struct slice name = end < 0 ? left : slice_first(left, (size_t)end);
		left = end < 0 ? SLICE_NULL : slice_from(left, (size_t)end + 1);
		if (slice_eq(name, SLICE(".."))) path_shorten(out);
		if (name.n == 0 || slice_eq(name, SLICE(".")) || slice_eq(name, SLICE(".."))) continue;
		buf_append_byte(out, '/');
		buf_append_slice(out, name);
	}
	if (out->n == 0 || (path.n && path.p[path.n - 1] == '/')) buf_append_byte(out, '/');
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9') return c - '0';
	if (c >= 'a' && c <= 'f') return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "%74" and '+' become what they mean; false when that is nothing. */
static bool unescape(struct buf *out, struct slice text)
{
	buf_clear(out);
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i];
		if (c == '%') {
			int high = i + 2 < text.n ? hex_digit(text.p[i + 1]) : -1,
			    low = high < 0 ? -1 : hex_digit(text.p[i + 2]);
			if (low < 0) return false;
			c = (uint8_t)(high * 16 + low);
			i += 2;
		} else if (c == '+') {
			c = ' ';
		}
		buf_append_byte(out, (char)c);
	}
	return true;
}

bool http_query_find(struct slice query, const char *name, struct buf *value)
{
	while (query.n) {
		ptrdiff_t end = slice_find(query, '&');
		struct slice pair = end < 0 ? query : slice_first(query, (size_t)end);
		query = end < 0 ? SLICE_NULL : slice_from(query, (size_t)end + 1);
		ptrdiff_t is = slice_find(pair, '=');
		struct slice key = is < 0 ? pair : slice_first(pair, (size_t)is);
		if (slice_find(pair, ';') >= 0 || !unescape(value, key) || !slice_eq_str(buf_slice(value), name))
			continue;
		if (unescape(value, is < 0 ? SLICE_NULL : slice_from(pair, (size_t)is + 1))) return true;
	}
	buf_clear(value);
	return false;
}
