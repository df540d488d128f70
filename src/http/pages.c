/* SPDX-License-Identifier: Apache-2.0 */
/* The small pages, the table of all, and the two ways to print time that monitoring wants. */
#include <time.h>

#include "page.h"

static const struct http_route routes[] = {
#define HTTP_ROUTE(path, page, text) { path, text, page },
#include "routes.def"
#undef HTTP_ROUTE
};
_Static_assert(COUNT_OF(routes) <= HTTP_ROUTES_MAX, "every route has its counter");

const struct http_route *http_route_at(unsigned index) { return index < COUNT_OF(routes) ? &routes[index] : NULL; }

const struct http_route *http_route_find(struct slice path)
{
	for (unsigned i = 0; i < COUNT_OF(routes); i++)
		if (slice_eq_str(path, routes[i].path)) return &routes[i];
	return NULL;
}

void page_index(struct http *h, const struct http_request *q, struct http_response *r)
{
	(void)q;
	r->type = HTTP_TYPE_HTML;
	buf_printf(r->body,
		"<!DOCTYPE html>\n<html lang=\"en\"><head><title>Thebes</title></head><body>\n<h1>Thebes "
		"%s</h1>\n<ul>\n",
		h->view.own_version);
	for (unsigned i = 0; i < COUNT_OF(routes); i++)
		buf_printf(r->body, "<li><a href=\"%s%s\">%s</a>: %s</li>\n", h->view.conf->http_base_path,
			routes[i].path, routes[i].path, routes[i].text);
	buf_append_str(r->body, "</ul>\n</body></html>\n");
}

static bool is_bool(struct slice s)
{
	static const char *const words[] = { "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false",
		"False" };
	for (size_t i = 0; i < COUNT_OF(words); i++)
		if (slice_eq_str(s, words[i])) return true;
	return s.n == 0;
}

/* What nats-server's page can be asked to look at. Here that is one thing, but who asks wrongly is told so. */
static bool health_is_asked_well(const struct http_request *q, struct http_response *r)
{
	static const char *const names[] = { "js-enabled", "js-enabled-only", "js-server-only" };
	struct buf value = { 0 };
	bool good = true;
	for (size_t i = 0; good && i < COUNT_OF(names); i++) {
		if (!http_query_find(q->query, names[i], &value) || is_bool(buf_slice(&value))) continue;
		good = false;
		r->status = 400;
		r->type = HTTP_TYPE_TEXT;
		buf_printf(r->body,
			"Error decoding boolean for '%s': strconv.ParseBool: parsing \"%.*s\": invalid syntax",
			names[i], SLICE_FMT(buf_slice(&value)));
	}
	buf_deinit(&value);
	return good;
}

/* Without streams a node is healthy as long as it takes clients. */
void page_healthz(struct http *h, const struct http_request *q, struct http_response *r)
{
	if (!health_is_asked_well(q, r)) return;
	if (h->view.is_accepting) {
		buf_append_str(r->body, "{\"status\":\"ok\"}");
		return;
	}
	r->status = 500;
	buf_append_str(r->body, "{\"status\":\"error\",\"error\":\"not accepting connections\"}");
}

void http_date_print(struct buf *b, int64_t unix_ns)
{
	static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov",
		"Dec" };
	time_t seconds = (time_t)(unix_ns / (int64_t)NS_PER_S);
	struct tm t;
	if (!gmtime_r(&seconds, &t)) return;
	buf_printf(b, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days[t.tm_wday], t.tm_mday, months[t.tm_mon],
		t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

void http_uptime_print(struct buf *b, int64_t ns)
{
	static const struct {
		int64_t seconds;
		char unit;
	} units[] = { { 31536000, 'y' }, { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' } };
	int64_t left = ns / (int64_t)NS_PER_S;
	bool begun = false;
	for (size_t i = 0; i < COUNT_OF(units); i++) {
		int64_t n = left / units[i].seconds;
		if (n > 0 || begun) buf_printf(b, "%lld%c", (long long)n, units[i].unit);
		begun = begun || n > 0;
		left %= units[i].seconds;
	}
	buf_printf(b, "%llds", (long long)left);
}
