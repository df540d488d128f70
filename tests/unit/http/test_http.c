/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP over virtual time: requests that never end, connections that say nothing, readers that do not read, and the end. */
#include "check.h"
#include "page.h"
#include "sim/sim.h"

enum { PORT = 8222, CROWD = 1100 };

struct bed {
	struct sim *sim;
	struct sim_node *node;
	struct diag diag;
	struct net net;
	struct conf conf;
	struct http http;
	struct io_turn_hook hook;
	struct sim_client *peer;
	unsigned closed;
};

static void bed_turn_end(struct io_turn_hook *h) { net_turn_end(&CONTAINER_OF(h, struct bed, hook)->net); }
static void bed_on_closed(struct http *h) { CONTAINER_OF(h, struct bed, http)->closed++; }

static struct sim_client *caller(struct bed *b) { return sim_client_new(b->sim, sim_node_host(b->node), PORT); }

static bool is_answered(void *arg) { return sim_client_status(((struct bed *)arg)->peer) == OK; }

static int setup(void **state)
{
	struct bed *b = NEW(struct bed);
	b->sim = sim_new(29);
	b->node = sim_node_new(b->sim);
	sim_node_boot(b->node, NULL, NULL);
	diag_init(&b->diag, DIAG_INFO, NULL, NULL);
	net_init(&b->net, sim_node_io(b->node), &b->diag, SECONDS(10));
	b->hook.turn_end = bed_turn_end;
	io_turn_hook_add(b->net.io, &b->hook);
	http_init(&b->http, &b->net);
	b->conf.http_base_path = "";
	b->http.view = (struct http_view) { .conf = &b->conf, .own_version = "0", .is_accepting = true };
	b->http.on_closed = bed_on_closed;
	assert_int_equal(http_open(&b->http, "0.0.0.0", PORT), OK);
	b->peer = caller(b);
	assert_true(sim_run_until(b->sim, is_answered, b, SECONDS(5)));
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;
	if (!b->http.is_closing) http_close(&b->http);
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->closed, 1);
	assert_int_equal(b->http.count, 0);
	sim_client_free(b->peer);
	http_deinit(&b->http);
	io_turn_hook_remove(b->net.io, &b->hook);
	net_deinit(&b->net);
	diag_deinit(&b->diag);
	sim_free(b->sim);
	mem_free(b);
	return 0;
}

/* ---- helpers ---- */

#define REQUEST "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

static void say(struct bed *b, const char *text) { sim_client_send(b->peer, slice_of_str(text)); }

static bool has_ended(const struct bed *b)
{
	enum err e = sim_client_status(b->peer);
	return e != OK && e != ERR_AGAIN;
}

/* How often a text came so far. */
static unsigned times_heard(const struct bed *b, const char *text)
{
	struct slice left = sim_client_received(b->peer);
	unsigned count = 0;
	const uint8_t *at;
	while (left.n && (at = memmem(left.p, left.n, text, strlen(text))) != NULL) {
		left = slice_from(left, (size_t)(at - left.p) + strlen(text));
		count++;
	}
	return count;
}

/* Seconds until the connection ends, saying `text` once a second. */
static unsigned seconds_to_the_end(struct bed *b, const char *text)
{
	unsigned seconds = 0;
	for (; !has_ended(b) && seconds < 200; seconds++) {
		if (text) say(b, text);
		sim_run_for(b->sim, SECONDS(1));
	}
	return seconds;
}

/* ---- time ---- */

static void who_asks_nothing_goes(void **state)
{
	struct bed *b = *state;
	assert_in_range(seconds_to_the_end(b, NULL), 9, 12);
	assert_int_equal(sim_client_received(b->peer).n, 0);
	assert_int_equal(b->http.count, 0);
}

static void a_head_letter_by_letter_is_not_waited_for(void **state)
{
	struct bed *b = *state;
	say(b, "GET / HTTP/1.1\r\nX: ");
	assert_in_range(seconds_to_the_end(b, "y"), 9, 12);
	assert_int_equal(times_heard(b, "HTTP/1.1 408 Request Timeout\r\n"), 1);
	assert_int_equal(times_heard(b, "Connection: close\r\n"), 1);
}

static void a_body_letter_by_letter_is_not_waited_for(void **state)
{
	struct bed *b = *state;
	say(b, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
	assert_in_range(seconds_to_the_end(b, "y"), 9, 12);
	assert_int_equal(times_heard(b, "HTTP/1.1 408 "), 1);
}

static void between_requests_there_is_more_time(void **state)
{
	struct bed *b = *state;
	for (int i = 0; i < 3; i++) {
		say(b, REQUEST);
		sim_run_for(b->sim, SECONDS(50));
		assert_false(has_ended(b));
	}
	assert_int_equal(times_heard(b, "HTTP/1.1 200 OK\r\n"), 3);
	assert_in_range(seconds_to_the_end(b, NULL), 9, 12);
	assert_int_equal(times_heard(b, "408"), 0);
}

/* ---- bounds ---- */

static void who_does_not_read_is_not_written_for(void **state)
{
	struct bed *b = *state;
	enum { REQUESTS = 20000 };
	struct buf all = { 0 };
	for (int i = 0; i < REQUESTS; i++) buf_append_str(&all, REQUEST);
	sim_client_read(b->peer, false);
	sim_client_send(b->peer, buf_slice(&all));
	sim_run_for(b->sim, SECONDS(5));
	struct conn *c = CONTAINER_OF(list_first(&b->net.conns), struct conn, link_by_net);
	assert_true(conn_pending_bytes(c) < 128 * 1024);
	assert_true(c->ledger.used_bytes < 1024 * 1024);
	assert_true(b->http.requests[2] < REQUESTS);
	sim_client_read(b->peer, true);
	sim_run_for(b->sim, SECONDS(30));
	assert_int_equal(times_heard(b, "{\"status\":\"ok\"}"), REQUESTS);
	buf_deinit(&all);
}

static void who_never_reads_goes(void **state)
{
	struct bed *b = *state;
	struct buf all = { 0 };
	for (int i = 0; i < 20000; i++) buf_append_str(&all, REQUEST);
	sim_client_read(b->peer, false);
	sim_client_send(b->peer, buf_slice(&all));
	sim_run_for(b->sim, SECONDS(15));
	assert_int_equal(b->http.count, 0);
	buf_deinit(&all);
}

static void a_crowd_is_turned_away(void **state)
{
	struct bed *b = *state;
	struct sim_client *crowd[CROWD];
	for (int i = 0; i < CROWD; i++) crowd[i] = caller(b);
	sim_run_for(b->sim, SECONDS(2));
	assert_int_equal(b->http.count, 1024);
	say(b, REQUEST); /* who was there first is served */
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(times_heard(b, "200 OK"), 1);
	for (int i = 0; i < CROWD; i++) sim_client_free(crowd[i]);
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->http.count, 1);
}

/* ---- the end ---- */

static void closing_ends_what_is_under_way(void **state)
{
	struct bed *b = *state;
	say(b, "GET / HTTP/1.1\r\n");
	sim_run_for(b->sim, MILLIS(100));
	http_close(&b->http);
	assert_int_equal(b->closed, 0);
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->closed, 1);
	assert_true(has_ended(b));
}

static void health_ends_before_the_server(void **state)
{
	struct bed *b = *state;
	b->http.view.is_accepting = false;
	say(b, REQUEST);
	sim_run_for(b->sim, MILLIS(100));
	assert_int_equal(times_heard(b, "HTTP/1.1 500 Internal Server Error\r\n"), 1);
	assert_int_equal(times_heard(b, "{\"status\":\"error\",\"error\":\"not accepting connections\"}"), 1);
}

/* ---- printing ---- */

static void times(void **state)
{
	(void)state;
	static const struct {
		int64_t seconds;
		const char *uptime, *date;
	} cases[] = {
		{ 0, "0s", "Thu, 01 Jan 1970 00:00:00 GMT" },
		{ 59, "59s", "Thu, 01 Jan 1970 00:00:59 GMT" },
		{ 3600, "1h0m0s", "Thu, 01 Jan 1970 01:00:00 GMT" },
		{ 93784, "1d2h3m4s", "Fri, 02 Jan 1970 02:03:04 GMT" },
		{ 31536000 + 61, "1y0d0h1m1s", "Fri, 01 Jan 1971 00:01:01 GMT" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf text = { 0 };
		http_uptime_print(&text, cases[i].seconds * (int64_t)NS_PER_S);
		assert_string_equal(buf_str(&text), cases[i].uptime);
		buf_clear(&text);
		http_date_print(&text, cases[i].seconds * (int64_t)NS_PER_S);
		assert_string_equal(buf_str(&text), cases[i].date);
		buf_deinit(&text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_asks_nothing_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_head_letter_by_letter_is_not_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_body_letter_by_letter_is_not_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(between_requests_there_is_more_time, setup, teardown),
		cmocka_unit_test_setup_teardown(who_does_not_read_is_not_written_for, setup, teardown),
		cmocka_unit_test_setup_teardown(who_never_reads_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_crowd_is_turned_away, setup, teardown),
		cmocka_unit_test_setup_teardown(closing_ends_what_is_under_way, setup, teardown),
		cmocka_unit_test_setup_teardown(health_ends_before_the_server, setup, teardown),
		cmocka_unit_test(times),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
