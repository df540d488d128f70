/* SPDX-License-Identifier: Apache-2.0 */
/* TLS of a conn on the twin's network: the peer is OpenSSL as a client over a scripted connection, so that handshakes come in pieces, writes
 * block and pauses fall where the test wants them. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>

#include "check.h"
#include "sim/sim.h"
#include "thebes/net.h"
#include "tls.h"

enum { PORT = 4222 };

struct bed {
	struct sim *sim;
	struct sim_node *node;
	struct diag diag;
	struct ledger memory;
	struct net net;
	struct listener listener;
	struct io_turn_hook hook;
	struct tls_context *context;
	/* the conn under test */
	struct conn conn;
	bool is_open, has_ended, is_closed;
	enum conn_end why;
	struct buf taken; /* plain bytes that it was offered */
	unsigned secured;
	bool first_byte_tells, hold_next;
	/* the other side */
	struct sim_client *line;
	SSL_CTX *peer_context;
	SSL *ssl;
	BIO *in, *out;
	struct buf got;        /* plain bytes that came */
	size_t sent_at_once;   /* cipher bytes of one step; 0: all */
	bool is_done, is_over; /* the handshake; the conversation, by a goodbye */
};

/* ---- the conn's owner ---- */

static size_t bed_on_data(struct conn *c, const uint8_t *p, size_t n)
{
	struct bed *b = CONTAINER_OF(c, struct bed, conn);
	if (b->first_byte_tells) {
		b->first_byte_tells = false;
		assert_int_equal(p[0], 0x16);
		conn_secure(c, b->context);
		return 0;
	}
	buf_append(&b->taken, p, n);
	if (b->hold_next) conn_hold(c);
	b->hold_next = false;
	return n;
}

static void bed_on_secure(struct conn *c) { CONTAINER_OF(c, struct bed, conn)->secured++; }

static void bed_on_end(struct conn *c, enum conn_end why)
{
	struct bed *b = CONTAINER_OF(c, struct bed, conn);
	assert_false(b->has_ended);
	b->has_ended = true;
	b->why = why;
	if (why == CONN_END_TLS) assert_true(strlen(conn_tls_error(c)) > 0);
}

static void bed_on_closed(struct conn *c)
{
	struct bed *b = CONTAINER_OF(c, struct bed, conn);
	b->is_closed = true;
	b->is_open = false;
}

static const struct conn_ops bed_conn_ops = {
	.on_data = bed_on_data, .on_secure = bed_on_secure, .on_end = bed_on_end, .on_closed = bed_on_closed
};

static void bed_on_accept(struct listener *l, struct io_stream *s)
{
	struct bed *b = CONTAINER_OF(l, struct bed, listener);
	b->is_open = true;
	conn_open(&b->conn, &b->net, s, &bed_conn_ops, &b->memory);
	conn_write(&b->conn, SLICE("hello in the clear\n"));
	if (!b->first_byte_tells) conn_secure(&b->conn, b->context);
}

static void bed_turn_end(struct io_turn_hook *h) { net_turn_end(&CONTAINER_OF(h, struct bed, hook)->net); }

/* ---- files ---- */

static void read_pem(const char *name, struct buf *out)
{
	char path[512];
	(void)snprintf(path, sizeof path, "%s/%s.pem", CERTS, name);
	FILE *f = fopen(path, "re");
	assert_non_null(f);
	uint8_t piece[4096];
	size_t n;
	while ((n = fread(piece, 1, sizeof piece, f)) > 0) buf_append(out, piece, n);
	assert_int_equal(fclose(f), 0);
}

static enum err context_of(const char *cert, const char *key, const char *ca, struct tls_context **out,
	enum tls_part *part, struct buf *why)
{
	struct buf c = { 0 }, k = { 0 }, a = { 0 };
	read_pem(cert, &c);
	read_pem(key, &k);
	if (ca) read_pem(ca, &a);
	struct tls_options o = {
		.cert = buf_slice(&c), .key = buf_slice(&k), .ca = buf_slice(&a), .verify = ca != NULL
	};
	enum err e = tls_context_new(out, &o, part, why);
	buf_deinit(&c);
	buf_deinit(&k);
	buf_deinit(&a);
	return e;
}

/* ---- the peer ---- */

static void peer_send(struct bed *b)
{
	uint8_t piece[16384];
	size_t most = b->sent_at_once ? b->sent_at_once : sizeof piece, n;
	while (BIO_read_ex(b->out, piece, most, &n) == 1) {
		sim_client_send(b->line, slice_of(piece, n));
		if (b->sent_at_once) return;
	}
}

/* What has come goes in, what that makes goes out. */
static void peer_step(struct bed *b)
{
	struct slice got = sim_client_received(b->line);
	size_t n;
	if (got.n) {
		assert_int_equal(BIO_write_ex(b->in, got.p, got.n, &n), 1);
		sim_client_consume(b->line, got.n);
	}
	if (!b->is_done) b->is_done = SSL_do_handshake(b->ssl) == 1;
	uint8_t piece[16384];
	while (b->is_done && SSL_read_ex(b->ssl, piece, sizeof piece, &n) == 1) buf_append(&b->got, piece, n);
	if (SSL_get_shutdown(b->ssl) & SSL_RECEIVED_SHUTDOWN) b->is_over = true;
	ERR_clear_error();
	peer_send(b);
}

static void peer_say(struct bed *b, const void *p, size_t n)
{
	size_t done;
	assert_int_equal(SSL_write_ex(b->ssl, p, n, &done), 1);
	assert_int_equal(done, n);
	peer_send(b);
}

static bool run_until(struct bed *b, bool (*happened)(const struct bed *b), unsigned limit_ms)
{
	for (unsigned i = 0; i < limit_ms && !happened(b); i++) {
		sim_run_for(b->sim, MILLIS(1));
		peer_step(b);
	}
	return happened(b);
}

static bool is_secure(const struct bed *b) { return b->is_done && b->secured == 1; }
static bool is_closed(const struct bed *b) { return b->is_closed; }
static bool is_over(const struct bed *b) { return b->is_over && b->is_closed; }

static bool has_greeting(void *arg) { return sim_client_received(((struct bed *)arg)->line).n >= 19; }

/* ---- bed ---- */

static struct bed *bed_new(bool first_byte_tells)
{
	struct bed *b = NEW(struct bed);
	struct buf why = { 0 };
	enum tls_part part;
	b->first_byte_tells = first_byte_tells;
	b->sim = sim_new(17);
	b->node = sim_node_new(b->sim);
	sim_node_boot(b->node, NULL, NULL);
	diag_init(&b->diag, DIAG_INFO, NULL, NULL);
	ledger_init(&b->memory, NULL, 0);
	net_init(&b->net, sim_node_io(b->node), &b->diag, SECONDS(10));
	b->hook.turn_end = bed_turn_end;
	io_turn_hook_add(b->net.io, &b->hook);
	assert_int_equal(context_of("server", "server-key", NULL, &b->context, &part, &why), OK);
	b->listener = (struct listener) { .on_accept = bed_on_accept, .what = "test" };
	assert_int_equal(listener_open(&b->listener, &b->net, "0.0.0.0", PORT), OK);
	b->line = sim_client_new(b->sim, sim_node_host(b->node), PORT);
	assert_true(sim_run_until(b->sim, has_greeting, b, SECONDS(5)));
	assert_true(slice_eq(sim_client_received(b->line), SLICE("hello in the clear\n")));
	sim_client_consume(b->line, 19);
	b->peer_context = SSL_CTX_new(TLS_client_method());
	b->ssl = SSL_new(b->peer_context);
	b->in = BIO_new(BIO_s_mem());
	b->out = BIO_new(BIO_s_mem());
	assert_true(b->ssl && b->in && b->out);
	BIO_set_mem_eof_return(b->in, -1);
	SSL_set_bio(b->ssl, b->in, b->out);
	SSL_set_connect_state(b->ssl);
	buf_deinit(&why);
	return b;
}

static int setup(void **state)
{
	*state = bed_new(false);
	return 0;
}

static int setup_first_byte(void **state)
{
	*state = bed_new(true);
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;
	if (b->is_open) conn_close(&b->conn);
	listener_close(&b->listener);
	sim_run_for(b->sim, SECONDS(1));
	assert_true(b->is_closed);
	assert_int_equal(b->memory.used_bytes, 0); /* every byte was given back */
	ledger_deinit(&b->memory);
	io_turn_hook_remove(b->net.io, &b->hook);
	net_deinit(&b->net);
	tls_context_unref(b->context);
	diag_deinit(&b->diag);
	SSL_free(b->ssl);
	SSL_CTX_free(b->peer_context);
	buf_deinit(&b->taken);
	buf_deinit(&b->got);
	sim_client_free(b->line);
	sim_free(b->sim);
	mem_free(b);
	return 0;
}

static void pattern_write(struct conn *c, size_t n)
{
	for (size_t at = 0; at < n; at++) {
		uint8_t byte = (uint8_t)(at * 31);
		conn_write(c, slice_of(&byte, 1));
	}
}

static void check_pattern(const struct buf *b, size_t n)
{
	assert_int_equal(b->n, n);
	for (size_t i = 0; i < n; i++) assert_int_equal(b->p[i], (uint8_t)(i * 31));
}

/* ---- handshakes ---- */

static void a_handshake_byte_by_byte(void **state)
{
	struct bed *b = *state;
	b->sent_at_once = 1;
	conn_write(&b->conn, SLICE("said before it was secure"));
	assert_true(run_until(b, is_secure, 5000));
	assert_true(conn_is_secure(&b->conn));
	b->sent_at_once = 0;
	peer_say(b, "word", 4);
	sim_run_for(b->sim, MILLIS(50));
	peer_step(b);
	assert_true(slice_eq(buf_slice(&b->taken), SLICE("word")));
	assert_true(slice_eq(buf_slice(&b->got), SLICE("said before it was secure")));
	assert_int_equal(b->secured, 1);
}

static void the_first_byte_may_tell(void **state)
{
	struct bed *b = *state;
	assert_true(run_until(b, is_secure, 1000));
	peer_say(b, "word", 4);
	sim_run_for(b->sim, MILLIS(50));
	assert_true(slice_eq(buf_slice(&b->taken), SLICE("word")));
}

static void half_a_handshake_costs_what_is_charged(void **state)
{
	struct bed *b = *state;
	b->sent_at_once = 100;
	peer_step(b);
	sim_run_for(b->sim, SECONDS(60));
	assert_int_equal(b->secured, 0);
	assert_false(b->has_ended); /* how long is the owner's affair */
	assert_in_range(b->memory.used_bytes, TLS_SHAKE_BYTES, TLS_SHAKE_BYTES + 1024);
	conn_close_flushed(&b->conn);
	assert_true(run_until(b, is_closed, 1000));
}

static void what_is_no_handshake_ends_it(void **state)
{
	struct bed *b = *state;
	sim_client_send(b->line, SLICE("CONNECT {\"verbose\":false}\r\nPING\r\n"));
	sim_run_for(b->sim, SECONDS(1));
	assert_true(b->has_ended && b->is_closed);
	assert_int_equal(b->why, CONN_END_TLS);
	assert_int_equal(b->taken.n, 0);
}

static void a_record_that_was_changed_ends_it(void **state)
{
	struct bed *b = *state;
	assert_true(run_until(b, is_secure, 1000));
	sim_client_send(b->line, SLICE("\x17\x03\x03\x00\x20no record that anybody has sealed"));
	sim_run_for(b->sim, SECONDS(1));
	assert_true(b->has_ended && b->is_closed);
	assert_int_equal(b->why, CONN_END_TLS);
	assert_int_equal(b->taken.n, 0);
}

/* ---- memory ---- */

static void what_a_pause_leaves_unread_is_charged(void **state)
{
	struct bed *b = *state;
	static const uint8_t much[300000];
	assert_true(run_until(b, is_secure, 1000));
	b->hold_next = true;
	peer_say(b, much, sizeof much);
	sim_run_for(b->sim, SECONDS(2));
	size_t before = b->taken.n;
	assert_true(before > 0 && before < sizeof much);
	assert_true(b->memory.used_bytes > TLS_CONN_BYTES + 16384);
	conn_resume(&b->conn);
	sim_run_for(b->sim, SECONDS(5));
	assert_int_equal(b->taken.n, sizeof much);
	assert_int_equal(b->memory.used_bytes, TLS_CONN_BYTES);
}

static void much_output_waits_and_arrives(void **state)
{
	struct bed *b = *state;
	enum { BYTES = 3000000 };
	assert_true(run_until(b, is_secure, 1000));
	pattern_write(&b->conn, BYTES);
	for (unsigned i = 0; i < 20000 && b->got.n < BYTES; i++) {
		sim_run_for(b->sim, MILLIS(1));
		peer_step(b);
	}
	check_pattern(&b->got, BYTES);
	sim_run_for(b->sim, MILLIS(100));
	assert_int_equal(b->memory.used_bytes, TLS_CONN_BYTES);
}

/* ---- ends ---- */

static void a_goodbye_comes_behind_a_write_that_was_blocked(void **state)
{
	struct bed *b = *state;
	enum { BYTES = 100000 }; /* more than the window, and one write: nothing waits behind it */
	sim_net(b->sim)->window_bytes = 16384;
	assert_true(run_until(b, is_secure, 1000));
	sim_client_read(b->line, false);
	pattern_write(&b->conn, BYTES);
	net_turn_end(&b->net);
	sim_run_for(b->sim, MILLIS(100));
	conn_close_flushed(&b->conn);
	sim_run_for(b->sim, SECONDS(1));
	assert_false(b->is_closed);
	sim_client_read(b->line, true);
	assert_true(run_until(b, is_over, 5000));
	check_pattern(&b->got, BYTES);
	assert_false(b->has_ended);
}

static void a_goodbye_of_the_peer_ends_it(void **state)
{
	struct bed *b = *state;
	assert_true(run_until(b, is_secure, 1000));
	(void)SSL_shutdown(b->ssl);
	peer_send(b);
	assert_true(run_until(b, is_over, 5000));
	assert_true(b->has_ended);
	assert_int_equal(b->why, CONN_END_EOF);
}

/* ---- contexts ---- */

static void contexts_that_cannot_be_used(void **state)
{
	(void)state;
	static const struct {
		const char *cert, *key, *ca;
		enum tls_part part;
	} cases[] = {
		{ "server", "client-key", NULL, TLS_KEY },
		{ "server", "server", NULL, TLS_KEY },
		{ "server-key", "server-key", NULL, TLS_CERT },
		{ "server", "server-key", "server-key", TLS_CA },
	};
	enum tls_part part;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct tls_context *t = NULL;
		struct buf why = { 0 };
		assert_int_equal(context_of(cases[i].cert, cases[i].key, cases[i].ca, &t, &part, &why), ERR_INVALID);
		assert_int_equal(part, cases[i].part);
		assert_true(slice_has_prefix(buf_slice(&why), SLICE("error:")));
		assert_null(t);
		assert_int_equal(ERR_peek_error(), 0);
		buf_deinit(&why);
	}
	struct tls_context *t = NULL;
	struct buf why = { 0 };
	assert_int_equal(context_of("server", "server-key", "ca", &t, &part, &why), OK);
	assert_ptr_equal(tls_context_ref(t), t);
	tls_context_unref(t);
	tls_context_unref(t);
	tls_context_unref(NULL);
	buf_deinit(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_handshake_byte_by_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(the_first_byte_may_tell, setup_first_byte, teardown),
		cmocka_unit_test_setup_teardown(half_a_handshake_costs_what_is_charged, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_handshake_ends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_record_that_was_changed_ends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(what_a_pause_leaves_unread_is_charged, setup, teardown),
		cmocka_unit_test_setup_teardown(much_output_waits_and_arrives, setup, teardown),
		cmocka_unit_test_setup_teardown(a_goodbye_comes_behind_a_write_that_was_blocked, setup, teardown),
		cmocka_unit_test_setup_teardown(a_goodbye_of_the_peer_ends_it, setup, teardown),
		cmocka_unit_test(contexts_that_cannot_be_used),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
