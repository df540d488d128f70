/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions over virtual time: login that is late, PINGs, producers that rest, consumers that are too slow, and the ends of all that. */
#include "check.h"
#include "sim/sim.h"
#include "thebes/client.h"

enum { PORT = 4222, PEERS = 4 };

struct bed {
	struct sim *sim;
	struct sim_node *node;
	struct io *io;
	struct diag diag;
	struct ledger memory;
	struct net net;
	struct auth auth;
	struct clients clients;
	struct client_options options;
	struct listener listener;
	struct io_turn_hook hook;
	struct sim_client *peer[PEERS];
	struct buf log;
};

static void bed_on_accept(struct listener *l, struct io_stream *s)
{
	clients_accept(&CONTAINER_OF(l, struct bed, listener)->clients, s);
}

static void bed_turn_end(struct io_turn_hook *h) { net_turn_end(&CONTAINER_OF(h, struct bed, hook)->net); }

static void bed_log(void *arg, enum diag_level level, const char *line, size_t n)
{
	struct bed *b = arg;
	(void)level;
	buf_append(&b->log, line, n);
	buf_append_byte(&b->log, '\n');
}

static const struct client_options usual_options = {
	.max_connections = 100,
	.max_control_line_bytes = 4096,
	.max_payload_bytes = 1024 * 1024,
	.max_pending_bytes = 64 * 1024 * 1024,
	.ping_interval_ns = SECONDS(120),
	.ping_max = 2,
	.auth_timeout_ns = SECONDS(2),
	.max_closed = 3,
};

static int setup(void **state)
{
	struct bed *b = NEW(struct bed);
	b->sim = sim_new(11);
	b->node = sim_node_new(b->sim);
	sim_node_boot(b->node, NULL, NULL);
	b->io = sim_node_io(b->node);
	b->options = usual_options;
	diag_init(&b->diag, DIAG_DEBUG, bed_log, b);
	ledger_init(&b->memory, NULL, 0);
	net_init(&b->net, b->io, &b->diag, SECONDS(10));
	auth_init(&b->auth, b->io, 1);
	struct wire_info info = {
		.server_id = SLICE("S"), .server_name = SLICE("S"), .version = SLICE("2.9.0"), .proto = 1
	};
	clients_init(&b->clients, &b->net, &b->auth, &b->options, &info, &b->memory);
	b->hook.turn_end = bed_turn_end;
	io_turn_hook_add(b->io, &b->hook);
	b->listener = (struct listener) { .on_accept = bed_on_accept, .what = "client" };
	assert_int_equal(listener_open(&b->listener, &b->net, "0.0.0.0", PORT), OK);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;
	clients_close_all(&b->clients, CLOSE_SERVER_SHUTDOWN);
	listener_close(&b->listener);
	sim_run_for(b->sim, SECONDS(1));
	net_abort_flushing(&b->net);
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->clients.count, 0);
	for (int i = 0; i < PEERS; i++)
		if (b->peer[i]) sim_client_free(b->peer[i]);
	clients_deinit(&b->clients);
	ledger_deinit(&b->memory);
	io_turn_hook_remove(b->io, &b->hook);
	net_deinit(&b->net);
	auth_deinit(&b->auth);
	diag_deinit(&b->diag);
	buf_deinit(&b->log);
	sim_free(b->sim);
	mem_free(b);
	return 0;
}

/* ---- helpers ---- */

/* From outside of any turn, so the turn is ended here. */
static void options_set(struct bed *b)
{
	clients_reload(&b->clients, &b->options, false);
	net_turn_end(&b->net);
}

static void users_set(struct bed *b, const char *password)
{
	struct auth_user_conf users[] = { { .user = SLICE("a"), .password = slice_of_str(password) } };
	struct auth_conf conf = { .users = users, .user_count = 1 };
	struct buf why = { 0 };
	assert_int_equal(auth_configure(&b->auth, &conf, &why), OK);
	buf_deinit(&why);
	clients_reload(&b->clients, &b->options, true);
	net_turn_end(&b->net);
}

static void say(struct bed *b, int peer, const char *text) { sim_client_send(b->peer[peer], slice_of_str(text)); }

struct wanted {
	struct bed *b;
	int peer;
	struct slice text;
};

static bool has_text(void *arg)
{
	const struct wanted *w = arg;
	struct slice got = sim_client_received(w->b->peer[w->peer]);
	return w->text.n <= got.n && memmem(got.p, got.n, w->text.p, w->text.n) != NULL;
}

/* Runs until the text has come, and drops all up to its end. */
static void hear_within(struct bed *b, int peer, const char *text, uint64_t limit_ns)
{
	struct wanted w = { b, peer, slice_of_str(text) };
	if (!sim_run_until(b->sim, has_text, &w, limit_ns))
		fail_msg("wanted \"%s\", got \"%.*s\"", text, SLICE_FMT(sim_client_received(b->peer[peer])));
	struct slice got = sim_client_received(b->peer[peer]);
	const uint8_t *at = memmem(got.p, got.n, w.text.p, w.text.n);
	sim_client_consume(b->peer[peer], (size_t)(at - got.p) + w.text.n);
}

static void hear(struct bed *b, int peer, const char *text) { hear_within(b, peer, text, SECONDS(1)); }

static bool has_ended(void *arg)
{
	const struct wanted *w = arg;
	enum err e = sim_client_status(w->b->peer[w->peer]);
	return e != OK && e != ERR_AGAIN;
}

static void hear_the_end(struct bed *b, int peer)
{
	struct wanted w = { b, peer, SLICE_NULL };
	assert_true(sim_run_until(b->sim, has_ended, &w, SECONDS(30)));
}

static void join(struct bed *b, int peer)
{
	b->peer[peer] = sim_client_new(b->sim, sim_node_host(b->node), PORT);
	hear(b, peer, "INFO {");
	hear(b, peer, "} \r\n");
}

static struct client *join_as(struct bed *b, int peer, const char *connect)
{
	join(b, peer);
	say(b, peer, connect);
	say(b, peer, "\r\nPING\r\n");
	hear(b, peer, "PONG\r\n");
	return clients_find(&b->clients, b->clients.id_last);
}

static struct client *join_quietly(struct bed *b, int peer)
{
	return join_as(b, peer, "CONNECT {\"verbose\":false,\"pedantic\":false}");
}

static enum close_reason last_reason(struct bed *b)
{
	struct list *link = list_first(&b->clients.closed);
	assert_non_null(link);
	return CONTAINER_OF(link, struct client_closed, link)->reason;
}

/* ---- login ---- */

static void silence_is_not_a_login(void **state)
{
	struct bed *b = *state;
	users_set(b, "secret");
	join(b, 0);
	sim_run_for(b->sim, MILLIS(1500));
	assert_int_equal(sim_client_status(b->peer[0]), OK);
	hear(b, 0, "-ERR 'Authentication Timeout'\r\n");
	hear_the_end(b, 0);
	assert_int_equal(last_reason(b), CLOSE_AUTH_TIMEOUT);
}

static void bcrypt_takes_a_worker_and_keeps_the_order(void **state)
{
	struct bed *b = *state;
	users_set(b, "$2a$04$P/.bd.7unw9Ew7yWJqXsl.f4oNRLQGvadEL2YnqQXbbb.IVQajRdK");
	join(b, 0);
	say(b, 0, "CONNECT {\"verbose\":true,\"user\":\"a\",\"pass\":\"wrong\"}\r\nPUB foo 1\r\nx\r\nPING\r\n");
	hear(b, 0, "-ERR 'Authorization Violation'\r\n");
	hear_the_end(b, 0);
	assert_int_equal(last_reason(b), CLOSE_AUTH_FAILURE);
	assert_int_equal(b->clients.stats.in_msgs, 0);
	/* Goes away while the check is on its way. */
	join(b, 1);
	say(b, 1, "CONNECT {\"verbose\":true,\"user\":\"a\",\"pass\":\"wrong\"}\r\n");
	sim_client_free(b->peer[1]);
	b->peer[1] = NULL;
	sim_run_for(b->sim, SECONDS(5));
	assert_int_equal(b->clients.count, 0);
	assert_true(auth_is_idle(&b->auth));
}

static void a_changed_password_ends_the_session(void **state)
{
	struct bed *b = *state;
	users_set(b, "one");
	struct client *c = join_as(b, 0, "CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"one\"}");
	assert_int_equal(c->state, CLIENT_OPEN);
	users_set(b, "one");
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(sim_client_status(b->peer[0]), OK);
	users_set(b, "two");
	hear(b, 0, "-ERR 'Authorization Violation'\r\n");
	hear_the_end(b, 0);
}

/* Nobody was asked, but some had said who they are. */
static void users_that_appear_let_those_stay_who_said_so(void **state)
{
	struct bed *b = *state;
	join_quietly(b, 0);
	struct client *c = join_as(b, 1, "CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"one\"}");
	join_as(b, 2, "CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"two\"}");
	users_set(b, "one");
	for (int peer = 0; peer < 3; peer += 2) {
		hear(b, peer, "-ERR 'Authorization Violation'\r\n");
		hear_the_end(b, peer);
	}
	say(b, 1, "PING\r\n");
	hear(b, 1, "PONG\r\n");
	assert_true(slice_eq(auth_session_name(&c->session), SLICE("a")));
	users_set(b, "two"); /* from then on like anybody who proved it */
	hear(b, 1, "-ERR 'Authorization Violation'\r\n");
}

/* Who has said nothing yet is under the new rules, in both directions. */
static void users_that_appear_and_go_change_the_time_to_log_in(void **state)
{
	struct bed *b = *state;
	join(b, 0);
	sim_run_for(b->sim, SECONDS(10));
	users_set(b, "one");
	hear_within(b, 0, "-ERR 'Authentication Timeout'\r\n", MILLIS(2100));
	join(b, 1);
	struct auth_conf nobody = { 0 };
	struct buf why = { 0 };
	assert_int_equal(auth_configure(&b->auth, &nobody, &why), OK);
	clients_reload(&b->clients, &b->options, true);
	sim_run_for(b->sim, SECONDS(10));
	say(b, 1, "PING\r\n");
	hear(b, 1, "PONG\r\n");
	buf_deinit(&why);
}

static void a_lower_limit_of_an_account_sends_the_newest_away(void **state)
{
	struct bed *b = *state;
	for (int peer = 0; peer < 3; peer++)
		join_as(b, peer, "CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"p\"}");
	struct auth_user_conf users[] = { { .user = SLICE("a"), .password = SLICE("p") } };
	struct auth_account_conf accounts[] = {
		{ .name = AUTH_ACCOUNT_GLOBAL, .max_connections = 1, .max_subscriptions = -1, .max_payload = -1 }
	};
	struct auth_conf conf = { .users = users, .user_count = 1, .accounts = accounts, .account_count = 1 };
	struct buf why = { 0 };
	assert_int_equal(auth_configure(&b->auth, &conf, &why), OK);
	clients_reload(&b->clients, &b->options, true);
	net_turn_end(&b->net);
	for (int peer = 1; peer < 3; peer++) {
		hear(b, peer, "-ERR 'maximum account active connections exceeded'\r\n");
		hear_the_end(b, peer);
		assert_int_equal(last_reason(b), CLOSE_MAX_ACCOUNT_CONNECTIONS);
	}
	say(b, 0, "PING\r\n");
	hear(b, 0, "PONG\r\n");
	buf_deinit(&why);
}

static void a_new_connect_leaves_nothing_behind(void **state)
{
	struct bed *b = *state;
	struct client *c = join_quietly(b, 0);
	say(b, 0, "SUB a 1\r\nSUB b.* q 2\r\nPING\r\n");
	hear(b, 0, "PONG\r\n");
	assert_int_equal(c->subs.count, 2);
	assert_int_equal(b->auth.global->router.sub_count, 2);
	say(b, 0, "CONNECT {}\r\nPUB a 1\r\nx\r\nPING\r\n");
	hear(b, 0, "PONG\r\n");
	assert_int_equal(c->subs.count, 0);
	assert_int_equal(b->auth.global->router.sub_count, 0);
	assert_int_equal(b->auth.global->connection_count, 1);
}

/* ---- PING ---- */

static void the_first_ping_comes_soon(void **state)
{
	struct bed *b = *state;
	struct client *c = join_quietly(b, 0);
	uint64_t from = sim_now_ns(b->sim);
	hear_within(b, 0, "PING\r\n", SECONDS(3));
	uint64_t took = sim_now_ns(b->sim) - from;
	assert_in_range(took, MILLIS(1900), MILLIS(2500));
	assert_int_equal(c->pings_out, 1);
	say(b, 0, "PONG\r\n");
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(c->pings_out, 0);
	assert_in_range(c->rtt_ns, 1, MILLIS(100));
}

static void who_is_silent_is_asked_and_who_speaks_is_not(void **state)
{
	struct bed *b = *state;
	join_quietly(b, 0);
	hear_within(b, 0, "PING\r\n", SECONDS(3));
	say(b, 0, "PONG\r\n");
	for (int i = 0; i < 10; i++) { /* speaks once a minute: not asked in ten */
		sim_run_for(b->sim, SECONDS(60));
		say(b, 0, "PUB x 0\r\n\r\n");
	}
	assert_int_equal(sim_client_received(b->peer[0]).n, 0);
	hear_within(b, 0, "PING\r\n", SECONDS(241));
}

static void who_does_not_answer_is_stale(void **state)
{
	struct bed *b = *state;
	join_quietly(b, 0);
	uint64_t from = sim_now_ns(b->sim);
	hear_within(b, 0, "PING\r\n", SECONDS(3));
	hear_within(b, 0, "PING\r\n", SECONDS(121));
	hear_within(b, 0, "-ERR 'Stale Connection'\r\n", SECONDS(121));
	assert_in_range(sim_now_ns(b->sim) - from, SECONDS(241), SECONDS(243));
	hear_the_end(b, 0);
	assert_int_equal(last_reason(b), CLOSE_STALE);
	assert_int_equal(b->clients.stats.stale, 1);
}

/* ---- flow ---- */

static void publish_bytes(struct bed *b, int peer, unsigned count, size_t bytes)
{
	struct buf text = { 0 };
	for (unsigned i = 0; i < count; i++) {
		buf_printf(&text, "PUB foo %zu\r\n", bytes);
		memset(buf_reserve(&text, bytes), 'x', bytes);
		text.n += bytes;
		buf_append_slice(&text, WIRE_CRLF);
	}
	sim_client_send(b->peer[peer], buf_slice(&text));
	buf_deinit(&text);
}

/* Peer 0 subscribes and then reads nothing; the session of peer 1, who will publish. */
static struct client *join_slow_and_fast(struct bed *b, const char *subs)
{
	join_quietly(b, 0);
	struct client *fast = join_quietly(b, 1);
	say(b, 0, subs);
	say(b, 0, "PING\r\n");
	hear(b, 0, "PONG\r\n");
	sim_client_read(b->peer[0], false);
	return fast;
}

static bool producer_has_rested(void *arg) { return ((struct bed *)arg)->clients.stats.stalls > 0; }

static void a_producer_rests_when_its_consumer_is_nearly_full(void **state)
{
	struct bed *b = *state;
	b->options.max_pending_bytes = 4 * 1024 * 1024;
	options_set(b);
	struct client *fast = join_slow_and_fast(b, "SUB foo 1\r\n");
	publish_bytes(b, 1, 60, 64 * 1024);
	assert_true(sim_run_until(b->sim, producer_has_rested, b, SECONDS(5)));
	assert_true(fast->conn.paused & CONN_PAUSE_STALL);
	assert_int_equal(fast->stalls, 1);
	sim_client_read(b->peer[0], true);
	say(b, 1, "PING\r\n");
	hear_within(b, 1, "PONG\r\n", SECONDS(5));
	assert_int_equal(b->clients.stats.slow_consumers, 0);
}

static void a_producer_does_not_rest_when_told_not_to(void **state)
{
	struct bed *b = *state;
	b->options.max_pending_bytes = 4 * 1024 * 1024;
	b->options.no_stall = true;
	options_set(b);
	(void)join_slow_and_fast(b, "SUB foo 1\r\n");
	publish_bytes(b, 1, 60, 64 * 1024);
	say(b, 1, "PING\r\n");
	hear_within(b, 1, "PONG\r\n", SECONDS(5));
	assert_int_equal(b->clients.stats.stalls, 0);
}

static void a_consumer_that_is_too_slow_is_closed(void **state)
{
	struct bed *b = *state;
	b->options.max_pending_bytes = 1024 * 1024;
	options_set(b);
	(void)join_slow_and_fast(b, "SUB foo 1\r\nSUB foo.> 2\r\n");
	publish_bytes(b, 1, 40, 64 * 1024);
	say(b, 1, "PING\r\n");
	hear_within(b, 1, "PONG\r\n", SECONDS(5));
	assert_int_equal(b->clients.stats.slow_pending, 1);
	assert_int_equal(last_reason(b), CLOSE_SLOW_PENDING);
	assert_int_equal(b->auth.global->router.sub_count, 0);
	assert_non_null(strstr(buf_str(&b->log), "Slow Consumer Detected: MaxPending of 1048576 Exceeded"));
	assert_int_equal(b->clients.count, 1);
}

/* It is its own consumer: the session goes in the middle of its own publish. */
static void a_publisher_may_be_its_own_slow_consumer(void **state)
{
	struct bed *b = *state;
	b->options.max_pending_bytes = 300 * 1024;
	options_set(b);
	join_as(b, 0, "CONNECT {\"verbose\":true,\"headers\":true,\"no_responders\":true}");
	say(b, 0, "SUB foo 1\r\nSUB foo 2\r\nSUB foo q 3\r\nPING\r\n");
	hear(b, 0, "PONG\r\n");
	sim_client_read(b->peer[0], false);
	publish_bytes(b, 0, 20, 64 * 1024);
	sim_run_for(b->sim, SECONDS(5));
	assert_int_equal(b->clients.count, 0);
	assert_int_equal(last_reason(b), CLOSE_SLOW_PENDING);
}

static void who_asks_and_never_reads_is_too_slow(void **state)
{
	struct bed *b = *state;
	b->options.max_pending_bytes = 128 * 1024;
	options_set(b);
	join_quietly(b, 0);
	sim_client_read(b->peer[0], false);
	struct buf pings = { 0 };
	for (int i = 0; i < 100000; i++) buf_append_str(&pings, "PING\r\n");
	sim_client_send(b->peer[0], buf_slice(&pings));
	sim_run_for(b->sim, SECONDS(5));
	assert_int_equal(b->clients.count, 0);
	assert_int_equal(last_reason(b), CLOSE_SLOW_PENDING);
	assert_int_equal(b->clients.stats.slow_pending, 1);
	buf_deinit(&pings);
}

static void who_takes_nothing_is_closed_after_the_write_deadline(void **state)
{
	struct bed *b = *state;
	(void)join_slow_and_fast(b, "SUB foo 1\r\n");
	publish_bytes(b, 1, 10, 64 * 1024);
	sim_run_for(b->sim, SECONDS(12));
	assert_int_equal(b->clients.stats.slow_deadline, 1);
	assert_int_equal(last_reason(b), CLOSE_SLOW_DEADLINE);
}

static void the_last_message_of_a_limited_subscription_ends_it(void **state)
{
	struct bed *b = *state;
	struct client *c = join_quietly(b, 0);
	say(b, 0, "SUB foo 1\r\nSUB foo 2\r\nUNSUB 1 1\r\nUNSUB 2 2\r\n");
	publish_bytes(b, 0, 3, 1);
	say(b, 0, "PING\r\n");
	hear(b, 0, "PONG\r\n");
	assert_int_equal(c->out_msgs, 3);
	assert_int_equal(c->subs.count, 0);
}

/* ---- the room ---- */

static void ended_sessions_are_remembered_up_to_a_number(void **state)
{
	struct bed *b = *state;
	for (int i = 0; i < 5; i++) {
		join_as(b, 0, "CONNECT {\"verbose\":false,\"name\":\"joe\",\"lang\":\"c\"}");
		say(b, 0, "PUB foo 5\r\nhello\r\n");
		say(b, 0, "FOO\r\n");
		hear_the_end(b, 0);
		sim_client_free(b->peer[0]);
		b->peer[0] = NULL;
	}
	assert_int_equal(b->clients.closed_count, 3);
	const struct client_closed *last = CONTAINER_OF(list_first(&b->clients.closed), struct client_closed, link);
	assert_int_equal(last->id, 5);
	assert_int_equal(last->reason, CLOSE_PARSE_ERROR);
	assert_string_equal(close_reason_text(last->reason), "Parse Error");
	assert_string_equal(last->name, "joe");
	assert_string_equal(last->lang, "c");
	assert_int_equal(last->in_bytes, 5);
	struct client_stats sum = clients_stats(&b->clients);
	assert_int_equal(sum.in_msgs, 5);
	assert_int_equal(sum.total_connections, 5);
	b->options.max_closed = 1;
	options_set(b);
	assert_int_equal(b->clients.closed_count, 1);
}

static void fewer_connections_send_the_newest_away(void **state)
{
	struct bed *b = *state;
	for (int i = 0; i < 3; i++) join_quietly(b, i);
	b->options.max_connections = 2;
	options_set(b);
	hear(b, 2, "-ERR 'maximum connections exceeded'\r\n");
	hear_the_end(b, 2);
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->clients.count, 2);
	assert_int_equal(sim_client_status(b->peer[0]), OK);
}

static void who_understands_hears_of_the_lame_duck(void **state)
{
	struct bed *b = *state;
	join_as(b, 0, "CONNECT {\"verbose\":false,\"protocol\":1}");
	join_as(b, 1, "CONNECT {\"verbose\":false,\"protocol\":0}");
	clients_announce_ldm(&b->clients);
	net_turn_end(&b->net);
	hear(b, 0, "\"ldm\":true");
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(sim_client_received(b->peer[1]).n, 0);
	assert_true(clients_close_one(&b->clients, CLOSE_SERVER_SHUTDOWN));
	hear_the_end(b, 0);
	assert_true(clients_close_one(&b->clients, CLOSE_SERVER_SHUTDOWN));
	assert_false(clients_close_one(&b->clients, CLOSE_SERVER_SHUTDOWN));
	hear_the_end(b, 1);
}

static void memory_is_paid_back(void **state)
{
	struct bed *b = *state;
	for (int i = 0; i < PEERS; i++) join_quietly(b, i);
	assert_int_equal(b->memory.used_bytes, 0);
	say(b, 0, "PUB foo 100\r\nnot all of it");
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->memory.used_bytes, 256);
	sim_client_free(b->peer[0]);
	b->peer[0] = NULL;
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->memory.used_bytes, 0);
	assert_int_equal(last_reason(b), CLOSE_CLIENT);
}

static void a_session_is_small(void **state)
{
	(void)state;
	assert_in_range(sizeof(struct client), 1, 1536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(silence_is_not_a_login, setup, teardown),
		cmocka_unit_test_setup_teardown(bcrypt_takes_a_worker_and_keeps_the_order, setup, teardown),
		cmocka_unit_test_setup_teardown(a_changed_password_ends_the_session, setup, teardown),
		cmocka_unit_test_setup_teardown(users_that_appear_let_those_stay_who_said_so, setup, teardown),
		cmocka_unit_test_setup_teardown(users_that_appear_and_go_change_the_time_to_log_in, setup, teardown),
		cmocka_unit_test_setup_teardown(a_lower_limit_of_an_account_sends_the_newest_away, setup, teardown),
		cmocka_unit_test_setup_teardown(a_new_connect_leaves_nothing_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(the_first_ping_comes_soon, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_silent_is_asked_and_who_speaks_is_not, setup, teardown),
		cmocka_unit_test_setup_teardown(who_does_not_answer_is_stale, setup, teardown),
		cmocka_unit_test_setup_teardown(a_producer_rests_when_its_consumer_is_nearly_full, setup, teardown),
		cmocka_unit_test_setup_teardown(a_producer_does_not_rest_when_told_not_to, setup, teardown),
		cmocka_unit_test_setup_teardown(a_consumer_that_is_too_slow_is_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_publisher_may_be_its_own_slow_consumer, setup, teardown),
		cmocka_unit_test_setup_teardown(who_asks_and_never_reads_is_too_slow, setup, teardown),
		cmocka_unit_test_setup_teardown(who_takes_nothing_is_closed_after_the_write_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(the_last_message_of_a_limited_subscription_ends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(ended_sessions_are_remembered_up_to_a_number, setup, teardown),
		cmocka_unit_test_setup_teardown(fewer_connections_send_the_newest_away, setup, teardown),
		cmocka_unit_test_setup_teardown(who_understands_hears_of_the_lame_duck, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_is_paid_back, setup, teardown),
		cmocka_unit_test(a_session_is_small),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
