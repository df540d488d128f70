/* SPDX-License-Identifier: Apache-2.0 */
/* page — what a page gets and gives. */
#ifndef THEBES_HTTP_PAGE_H
#define THEBES_HTTP_PAGE_H

#include "thebes/http.h"

struct http_request {
	struct slice path, query; /* path without the base path; query without '?' */
};
struct http_response {
	unsigned status;
	const char *type;      /* Content-Type; static */
	struct buf *body;      /* empty at the start */
	struct slice location; /* 301: where it is; borrowed */
};
typedef void http_page_fn(struct http *h, const struct http_request *q, struct http_response *r);

#define HTTP_TYPE_JSON "application/json"
#define HTTP_TYPE_TEXT "text/plain; charset=utf-8"
#define HTTP_TYPE_HTML "text/html; charset=utf-8"

struct http_route {
	const char *path, *text;
	http_page_fn *page;
};
/* The row of a path, or NULL. */
const struct http_route *http_route_find(struct slice path);
const struct http_route *http_route_at(unsigned index); /* NULL past the end */

http_page_fn page_index, page_varz, page_healthz;

/* ---- url.c ---- */

/* The path and what stands behind '?', of a target in origin form or absolute form. Borrowed of it. */
void http_target_split(struct slice target, struct slice *path, struct slice *query);
/* Appends the path without "//", "." and ".."; a slash at its end stays. */
void http_path_clean(struct buf *out, struct slice path);
/* The first value of that name, decoded, in `value` ("" when there is none). False when nobody says it. */
bool http_query_find(struct slice query, const char *name, struct buf *value);

/* "Sun, 22 Nov 2026 19:23:05 GMT" (RFC 9110 §5.6.7). Appends. */
void http_date_print(struct buf *b, int64_t unix_ns);
/* "1d2h3m4s", as nats-server prints an uptime. Appends. */
void http_uptime_print(struct buf *b, int64_t ns);

#endif
