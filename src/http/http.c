/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP connection after the other, one request after the other. A header block is parsed when it is complete, so that what llhttp
 * lets pass and we do not (folded lines, a missing or double Host) is seen in whole lines; a body is read and dropped: no page
 * takes one. Responses that wait make the next request wait. */
#include <llhttp/llhttp.h>

#include "page.h"

enum {
	HTTP_HEAD_BYTES_MAX = 16 * 1024,
	HTTP_BODY_BYTES_MAX = 64 * 1024,
	HTTP_PENDING_BYTES_MAX = 64 * 1024, /* of responses that the peer does not take */
	HTTP_CONNECTIONS_MAX = 1024,
};
#define HTTP_REQUEST_NS SECONDS(10) /* from the first byte to the last */
#define HTTP_IDLE_NS SECONDS(60)    /* between two requests */
#define HTTP_PAUSE_NS MILLIS(5)     /* while responses wait */

struct http_conn {
	struct http *http; /* borrowed */
	struct list link;
	struct conn conn;
	struct io_timer timer; /* ends a request that takes too long, or a connection without one */
	llhttp_t parser;
	bool in_body;     /* the head was parsed, body bytes follow */
	bool is_complete; /* told by llhttp: a request is there */
	bool is_begun;    /* a part of a request is there, and the timer is its */
	uint8_t host_count;
	uint64_t body_bytes;
	struct buf url;
};

/* ---- responses ---- */

static const char *http_status_text(unsigned status)
{
	static const struct {
		unsigned status;
		const char *text;
	} texts[] = {
		{ 200, "OK" },
		{ 301, "Moved Permanently" },
		{ 400, "Bad Request" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 413, "Content Too Large" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 503, "Service Unavailable" },
	};
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		if (texts[i].status == status) return texts[i].text;
	return "";
}

static void http_respond(struct http_conn *hc, const struct http_response *r, bool is_head, bool keep)
{
	struct buf head = { 0 };
	buf_printf(&head,
		"HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nAccess-Control-Allow-Origin: *\r\n",
		r->status, http_status_text(r->status), r->type, r->body->n);
	if (r->status == 405) buf_append_str(&head, "Allow: GET, HEAD\r\n");
	if (r->location.n) buf_printf(&head, "Location: %.*s\r\n", SLICE_FMT(r->location));
	buf_append_str(&head, "Date: ");
	http_date_print(&head, io_wall_ns(hc->http->net->io));
	buf_append_str(&head, keep ? "\r\n\r\n" : "\r\nConnection: close\r\n\r\n");
	conn_write(&hc->conn, buf_slice(&head));
	if (!is_head) conn_write(&hc->conn, buf_slice(r->body));
	buf_deinit(&head);
	if (!keep) conn_close_flushed(&hc->conn);
}

static void http_refuse(struct http_conn *hc, unsigned status, const char *why)
{
	struct http_response r = { .status = status, .type = HTTP_TYPE_TEXT, .body = &hc->http->body };
	buf_clear(r.body);
	buf_printf(r.body, "%u %s: %s\n", status, http_status_text(status), why);
	http_respond(hc, &r, false, false);
}

/* The page's path, without the base path; false when it lies outside of it. */
static bool http_path_below_base(const struct http *h, struct slice path, struct http_request *q)
{
	struct slice base = slice_of_str(h->view.conf->http_base_path);
	if (base.n && !slice_has_prefix(path, base)) return false;
	q->path = slice_from(path, base.n);
	if (q->path.n == 0) q->path = SLICE("/");
	return q->path.p[0] == '/';
}

/* A path with detours is not served, it is told how it is written: two spellings would be two pages to whoever filters by path. */
static bool http_is_moved(struct slice path, struct slice query, struct buf *location)
{
	if (path.n && path.p[0] != '/') return false;
	http_path_clean(location, path);
	if (slice_eq(buf_slice(location), path)) return false;
	if (query.n) buf_printf(location, "?%.*s", SLICE_FMT(query));
	return true;
}

static void http_page(struct http_conn *hc, struct slice path, struct http_request *q, struct http_response *r)
{
	struct http *h = hc->http;
	const struct http_route *route = http_path_below_base(h, path, q) ? http_route_find(q->path) : NULL;
	if (!route) {
		r->status = 404;
		r->type = HTTP_TYPE_TEXT;
		buf_append_str(r->body, "404 page not found\n");
	} else if (hc->parser.method != HTTP_GET && hc->parser.method != HTTP_HEAD) {
		r->status = 405;
		r->type = HTTP_TYPE_TEXT;
		buf_append_str(r->body, "405 this page is only read\n");
	} else {
		h->requests[route - http_route_at(0)]++;
		route->page(h, q, r);
	}
}

static void http_answer(struct http_conn *hc)
{
	struct http *h = hc->http;
	struct http_request q;
	struct http_response r = { .status = 200, .type = HTTP_TYPE_JSON, .body = &h->body };
	struct buf location = { 0 };
	struct slice path;
	buf_clear(r.body);
	http_target_split(buf_slice(&hc->url), &path, &q.query);
	if (http_is_moved(path, q.query, &location)) {
		r.status = 301;
		r.type = HTTP_TYPE_TEXT;
		r.location = buf_slice(&location);
		buf_append_str(r.body, "301 moved permanently\n");
	} else {
		http_page(hc, path, &q, &r);
	}
	http_respond(hc, &r, hc->parser.method == HTTP_HEAD, llhttp_should_keep_alive(&hc->parser) && !h->is_closing);
	buf_deinit(&location);
}

/* ---- parser callbacks: they only note what they are told ---- */

static int http_on_url(llhttp_t *p, const char *at, size_t n)
{
	struct http_conn *hc = p->data;
	buf_append(&hc->url, at, n);
	return 0;
}

static int http_on_field(llhttp_t *p, const char *at, size_t n)
{
	struct http_conn *hc = p->data;
	if (slice_eq_nocase(slice_of(at, n), SLICE("host")) && hc->host_count < UINT8_MAX) hc->host_count++;
	return 0;
}

static int http_on_headers_complete(llhttp_t *p)
{
	struct http_conn *hc = p->data;
	hc->in_body = true;
	if (p->method != HTTP_CONNECT)
		p->upgrade = 0; /* who offers another protocol takes this one too (RFC 9110 §7.8) */
	return 0;
}

static int http_on_body(llhttp_t *p, const char *at, size_t n)
{
	struct http_conn *hc = p->data;
	(void)at;
	hc->body_bytes += n;
	return hc->body_bytes > HTTP_BODY_BYTES_MAX ? HPE_USER : 0;
}

static int http_on_complete(llhttp_t *p)
{
	struct http_conn *hc = p->data;
	hc->is_complete = true;
	return HPE_PAUSED; /* one request at a time: what follows stays with the conn */
}

static const llhttp_settings_t http_settings = {
	.on_url = http_on_url,
	.on_header_field = http_on_field,
	.on_headers_complete = http_on_headers_complete,
	.on_body = http_on_body,
	.on_message_complete = http_on_complete,
};

static void http_parser_begin(struct http_conn *hc)
{
	llhttp_init(&hc->parser, HTTP_REQUEST, &http_settings);
	hc->parser.data = hc;
	hc->in_body = hc->is_complete = hc->is_begun = false;
	hc->host_count = 0;
	hc->body_bytes = 0;
	buf_clear(&hc->url);
}

/* ---- input ---- */

/* Bytes of the header block with its blank line; 0 while it is not whole. */
static size_t http_head_bytes(struct slice in)
{
	const uint8_t *end = memmem(in.p, in.n, "\r\n\r\n", 4);
	return end ? (size_t)(end - in.p) + 4 : 0;
}

/* A line that begins with a blank continues the one before: two readers may understand it differently (RFC 9112 §5.2). */
static bool http_head_is_folded(struct slice head)
{
	return memmem(head.p, head.n, "\n ", 2) != NULL || memmem(head.p, head.n, "\n\t", 2) != NULL;
}

/* Bare LF as an end of line, at which two readers may part ways too. */
static bool http_head_has_bare_lf(struct slice head)
{
	for (size_t i = 0; i < head.n; i++)
		if (head.p[i] == '\n' && (i == 0 || head.p[i - 1] != '\r')) return true;
	return false;
}

/* Feeds the parser; returns the bytes it took. Refuses what is wrong. */
static size_t http_feed(struct http_conn *hc, struct slice in)
{
	llhttp_errno_t e = llhttp_execute(&hc->parser, (const char *)in.p, in.n);
	if (e == HPE_OK) return in.n;
	if (e == HPE_PAUSED) return (size_t)((const uint8_t *)llhttp_get_error_pos(&hc->parser) - in.p);
	if (e == HPE_USER)
		http_refuse(hc, 413, "the body is larger than any page takes");
	else
		http_refuse(hc, 400, llhttp_get_error_reason(&hc->parser));
	return in.n;
}

/* Takes a whole header block; 0: it is not there yet. */
static size_t http_take_head(struct http_conn *hc, struct slice in)
{
	size_t n = http_head_bytes(slice_first(in, HTTP_HEAD_BYTES_MAX));
	if (n == 0) {
		if (in.n >= HTTP_HEAD_BYTES_MAX) http_refuse(hc, 431, "the header block is larger than 16 KiB");
		return 0;
	}
	struct slice head = slice_first(in, n);
	if (http_head_is_folded(head)) {
		http_refuse(hc, 400, "folded header lines are not accepted");
		return n;
	}
	if (http_head_has_bare_lf(head)) {
		http_refuse(hc, 400, "lines end in CR LF");
		return n;
	}
	size_t used = http_feed(hc, head);
	if (!conn_is_open(&hc->conn)) return used;
	bool is_1_1 = hc->parser.http_major == 1 && hc->parser.http_minor == 1;
	if (hc->host_count > 1 || (is_1_1 && hc->host_count == 0))
		http_refuse(hc, 400, "exactly one Host header is needed");
	else if (hc->parser.upgrade)
		http_refuse(hc, 400, "no protocol to upgrade to");
	return used;
}

static void http_conn_timer_start(struct http_conn *hc, uint64_t ns)
{
	io_timer_start(hc->http->net->io, &hc->timer, ns);
}

static size_t http_on_data(struct conn *c, const uint8_t *p, size_t n)
{
	struct http_conn *hc = CONTAINER_OF(c, struct http_conn, conn);
	size_t used = 0;
	while (used < n && conn_is_open(c)) {
		if (conn_pending_bytes(c) > HTTP_PENDING_BYTES_MAX) {
			conn_stall(c, HTTP_PAUSE_NS);
			return used;
		}
		struct slice in = slice_of(p + used, n - used);
		size_t took = hc->in_body ? http_feed(hc, in) : http_take_head(hc, in);
		used += took;
		if (!conn_is_open(c)) break;
		if (hc->is_complete) {
			http_answer(hc);
			http_parser_begin(hc);
			if (conn_is_open(c)) http_conn_timer_start(hc, HTTP_IDLE_NS);
		} else if (took == 0) {
			break;
		}
	}
	if (conn_is_open(c) && !hc->is_begun && (used < n || hc->in_body)) {
		hc->is_begun = true;
		http_conn_timer_start(hc, HTTP_REQUEST_NS);
	}
	return used;
}

/* ---- life ---- */

static void http_check_closed(struct http *h)
{
	if (h->is_closing && h->count == 0 && !h->listener.inner && h->on_closed) h->on_closed(h);
}

static void http_on_end(struct conn *c, enum conn_end why)
{
	(void)c;
	(void)why;
}

static void http_on_conn_closed(struct conn *c)
{
	struct http_conn *hc = CONTAINER_OF(c, struct http_conn, conn);
	struct http *h = hc->http;
	io_timer_stop(h->net->io, &hc->timer);
	list_remove(&hc->link);
	buf_deinit(&hc->url);
	mem_free(hc);
	h->count--;
	http_check_closed(h);
}

static const struct conn_ops http_conn_ops = {
	.on_data = http_on_data,
	.on_end = http_on_end,
	.on_closed = http_on_conn_closed,
};

static void http_timed_out(struct io_timer *t)
{
	struct http_conn *hc = CONTAINER_OF(t, struct http_conn, timer);
	if (hc->is_begun)
		http_refuse(hc, 408, "the request took too long");
	else
		conn_close(&hc->conn);
}

static void http_on_accept(struct listener *l, struct io_stream *s)
{
	struct http *h = CONTAINER_OF(l, struct http, listener);
	if (h->count >= HTTP_CONNECTIONS_MAX) {
		io_stream_close(s);
		return;
	}
	struct http_conn *hc = NEW(struct http_conn);
	hc->http = h;
	hc->timer.fire = http_timed_out;
	h->count++;
	list_push_back(&h->open, &hc->link);
	http_parser_begin(hc);
	conn_open(&hc->conn, h->net, s, &http_conn_ops, NULL);
	http_conn_timer_start(hc, HTTP_REQUEST_NS);
}

static void http_on_listener_closed(struct listener *l) { http_check_closed(CONTAINER_OF(l, struct http, listener)); }

void http_init(struct http *h, struct net *n)
{
	*h = (struct http) { .net = n };
	list_init(&h->open);
	h->listener = (struct listener) {
		.on_accept = http_on_accept,
		.on_closed = http_on_listener_closed,
		.what = "http",
	};
}

void http_deinit(struct http *h)
{
	if (!h->net) return;
	ASSERT(h->count == 0);
	buf_deinit(&h->body);
	*h = (struct http) { 0 };
}

enum err http_open(struct http *h, const char *host, uint16_t port)
{
	enum err e = listener_open(&h->listener, h->net, host, port);
	if (e == OK) listener_addr(&h->listener, &h->view.http_addr);
	return e;
}

void http_close(struct http *h)
{
	h->is_closing = true;
	listener_close(&h->listener);
	LIST_EACH_SAFE (at, &h->open) conn_close(&CONTAINER_OF(at, struct http_conn, link)->conn);
	http_check_closed(h);
}
