/* SPDX-License-Identifier: Apache-2.0 */
/* /varz: the figures of a server in nats-server's names, those that exist by now (spec §4). Messages that the server makes itself
 * are not counted: clients' suites compare in_msgs with what they published. */
#include <jansson.h>

#include "page.h"

static void put_time(json_t *o, const char *key, int64_t unix_ns)
{
	struct buf text = { 0 };
	time_print(&text, unix_ns);
	json_object_set_new(o, key, json_string(buf_str(&text)));
	buf_deinit(&text);
}

static void put_u64(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)u64_min(v, INT64_MAX)));
}

static void put_i64(json_t *o, const char *key, int64_t v) { json_object_set_new(o, key, json_integer(v)); }
static void put_str(json_t *o, const char *key, const char *s) { json_object_set_new(o, key, json_string(s ? s : "")); }
static void put_bool(json_t *o, const char *key, bool v)
{
	if (v) json_object_set_new(o, key, json_true());
}

static void varz_identity(json_t *o, const struct http_view *v)
{
	const struct conf *c = v->conf;
	put_str(o, "server_id", v->server_id);
	put_str(o, "server_name", v->server_name);
	put_str(o, "version", v->version);
	put_i64(o, "proto", 1);
	put_str(o, "host", c->client.host);
	put_i64(o, "port", v->client_addr.port);
	put_bool(o, "auth_required", auth_is_required(v->auth));
	put_bool(o, "tls_required", v->clients->info.tls_required);
	put_bool(o, "tls_available", v->clients->info.tls_available);
	put_bool(o, "tls_verify", v->clients->info.tls_verify);
	put_str(o, "http_host", c->http.host);
	put_i64(o, "http_port", v->http_addr.port);
	put_str(o, "http_base_path", c->http_base_path);
	put_i64(o, "https_port", 0);
}

static void varz_limits(json_t *o, const struct conf *c)
{
	put_i64(o, "max_connections", c->max_connections);
	if (c->max_subscriptions > 0) put_i64(o, "max_subscriptions", c->max_subscriptions);
	put_u64(o, "ping_interval", c->ping_interval_ns);
	put_i64(o, "ping_max", c->ping_max);
	put_u64(o, "max_payload", c->max_payload_bytes);
	put_u64(o, "max_control_line", c->max_control_line_bytes);
	put_u64(o, "max_pending", c->max_pending_bytes);
	put_u64(o, "write_deadline", c->write_deadline_ns);
	json_object_set_new(o, "auth_timeout", json_real((double)c->auth_timeout_ns / (double)NS_PER_S));
}

static void varz_machine(json_t *o, const struct http_view *v)
{
	struct http_usage usage = { 0 };
	if (v->usage) v->usage(v->usage_arg, &usage);
	put_u64(o, "mem", usage.memory_bytes);
	put_u64(o, "cores", usage.cores);
	json_object_set_new(o, "cpu", json_real(usage.cpu_percent));
}

static uint64_t varz_sub_count(const struct clients *s)
{
	uint64_t count = 0;
	LIST_EACH (at, &s->open) count += CONTAINER_OF(at, struct client, link)->subs.count;
	return count;
}

static void varz_traffic(json_t *o, const struct clients *s)
{
	struct client_stats t = clients_stats(s);
	put_u64(o, "connections", s->open_count);
	put_u64(o, "total_connections", t.total_connections);
	put_i64(o, "routes", 0);
	put_i64(o, "remotes", 0);
	put_i64(o, "leafnodes", 0);
	put_u64(o, "in_msgs", t.in_msgs);
	put_u64(o, "out_msgs", t.out_msgs);
	put_u64(o, "in_bytes", t.in_bytes);
	put_u64(o, "out_bytes", t.out_bytes);
	put_u64(o, "slow_consumers", t.slow_consumers);
	put_u64(o, "stale_connections", t.stale);
	put_u64(o, "stalled_clients", t.stalls);
	put_u64(o, "subscriptions", varz_sub_count(s));
	json_t *slow = json_object();
	put_u64(slow, "clients", t.slow_consumers);
	put_i64(slow, "routes", 0);
	put_i64(slow, "gateways", 0);
	put_i64(slow, "leafs", 0);
	json_object_set_new(o, "slow_consumer_stats", slow);
}

static void varz_requests(json_t *o, const struct http *h)
{
	json_t *requests = json_object();
	const struct http_route *route;
	for (unsigned i = 0; (route = http_route_at(i)) != NULL; i++) put_u64(requests, route->path, h->requests[i]);
	json_object_set_new(o, "http_req_stats", requests);
}

static void varz_labels(json_t *o, const struct conf *c)
{
	if (c->server_tags.count) {
		json_t *tags = json_array();
		for (size_t i = 0; i < c->server_tags.count; i++)
			json_array_append_new(tags, json_string(c->server_tags.at[i]));
		json_object_set_new(o, "tags", tags);
	}
	if (c->server_metadata_count) {
		json_t *pairs = json_object();
		for (size_t i = 0; i < c->server_metadata_count; i++)
			json_object_set_new(pairs, c->server_metadata[i].key, json_string(c->server_metadata[i].value));
		json_object_set_new(o, "metadata", pairs);
	}
	if (c->system_account) put_str(o, "system_account", c->system_account);
	if (c->digest[0]) put_str(o, "config_digest", c->digest);
}

/* An empty object where it is off, as in nats-server. */
static json_t *varz_jetstream(const struct http_view *v)
{
	struct http_jetstream js;
	json_t *o = json_object();
	if (!v->jetstream || !v->jetstream(v->jetstream_arg, &js)) return o;
	struct buf dir = { 0 };
	json_t *config = json_object(), *stats = json_object(), *api = json_object();
	buf_printf(&dir, "%s/jetstream", v->conf->jetstream.store_dir);
	put_i64(config, "max_memory", js.max_memory);
	put_i64(config, "max_storage", js.max_storage);
	put_str(config, "store_dir", buf_str(&dir));
	if (v->conf->jetstream.domain) put_str(config, "domain", v->conf->jetstream.domain);
	json_object_set_new(o, "config", config);
	put_u64(stats, "memory", js.memory);
	put_u64(stats, "storage", js.storage);
	put_u64(stats, "reserved_memory", js.reserved_memory);
	put_u64(stats, "reserved_storage", js.reserved_storage);
	put_u64(stats, "accounts", js.accounts);
	put_u64(stats, "ha_assets", 0);
	put_u64(api, "total", js.api_total);
	put_u64(api, "errors", js.api_errors);
	json_object_set_new(stats, "api", api);
	json_object_set_new(o, "stats", stats);
	buf_deinit(&dir);
	return o;
}

/* ---- ours: everything under one key that nats-server will never have ---- */

static json_t *own_now(const struct http_view *v)
{
	struct http_own now = { 0 };
	json_t *o = json_object();
	if (v->own) v->own(v->own_arg, &now);
	put_u64(o, "memory_used", now.memory_used);
	put_u64(o, "memory_peak", now.memory_peak);
	put_u64(o, "memory_budget", now.memory_budget);
	if (!now.stores) return o;
	put_u64(o, "journal_full_permille", now.journal_full_permille);
	put_u64(o, "stations", now.stations);
	put_u64(o, "stations_in_doubt", now.stations_in_doubt);
	return o;
}

static json_t *own_counters(const struct diag *d)
{
	json_t *o = json_object();
	for (unsigned i = 0; i < COUNTER_COUNT; i++) put_u64(o, diag_counter_name((enum counter)i), d->counter[i]);
	return o;
}

/* Those that nothing was measured of show zeroes. */
static json_t *own_histogram(const struct histogram *h, const char *unit)
{
	static const struct {
		const char *key;
		double q;
	} quantiles[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 } };
	json_t *o = json_object();
	put_str(o, "unit", unit);
	put_u64(o, "count", h ? h->count : 0);
	put_u64(o, "mean", h && h->count ? h->sum / h->count : 0);
	for (size_t i = 0; i < COUNT_OF(quantiles); i++)
		put_u64(o, quantiles[i].key, h ? histogram_quantile(h, quantiles[i].q) : 0);
	put_u64(o, "max", h ? h->max : 0);
	return o;
}

static json_t *varz_own(const struct http *h)
{
	const struct diag *d = h->net->diag;
	json_t *o = json_object(), *histograms = json_object();
	put_str(o, "version", h->view.own_version);
	json_object_set_new(o, "now", own_now(&h->view));
	json_object_set_new(o, "counters", own_counters(d));
	for (unsigned i = 0; i < HISTOGRAM_COUNT; i++) {
		enum histogram_id id = (enum histogram_id)i;
		json_object_set_new(
			histograms, diag_histogram_name(id), own_histogram(d->histogram[i], diag_histogram_unit(id)));
	}
	json_object_set_new(o, "histograms", histograms);
	return o;
}

static int varz_dump(const char *p, size_t n, void *body)
{
	buf_append(body, p, n);
	return 0;
}

void page_varz(struct http *h, const struct http_request *q, struct http_response *r)
{
	(void)q;
	const struct http_view *v = &h->view;
	int64_t now = io_wall_ns(h->net->io);
	json_t *o = json_object();
	varz_identity(o, v);
	varz_limits(o, v->conf);
	for (size_t i = 0; i < 3; i++) {
		/* Present and empty: readers look into them without asking. */
		static const char *const absent[] = { "cluster", "gateway", "leaf" };
		json_object_set_new(o, absent[i], json_object());
	}
	json_object_set_new(o, "jetstream", varz_jetstream(v));
	put_time(o, "start", v->start_wall_ns);
	put_time(o, "now", now);
	struct buf uptime = { 0 };
	http_uptime_print(&uptime, now - v->start_wall_ns);
	put_str(o, "uptime", buf_str(&uptime));
	buf_deinit(&uptime);
	varz_machine(o, v);
	varz_traffic(o, v->clients);
	varz_requests(o, h);
	put_time(o, "config_load_time", v->config_load_wall_ns);
	varz_labels(o, v->conf);
	json_object_set_new(o, "thebes", varz_own(h));
	int failed = json_dump_callback(
		o, varz_dump, r->body, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
	ASSERT(failed == 0);
	json_decref(o);
}
