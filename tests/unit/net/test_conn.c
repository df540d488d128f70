/* SPDX-License-Identifier: Apache-2.0 */
/* conn, net and listener on the twin's network. The owner under test consumes operations of a declared size ("n bytes follow" in four
 * digits), so that unfinished input, hints and holds all occur. */
#include "check.h"
#include "sim/sim.h"
#include "thebes/net.h"

enum { PORT = 4222, OP_HEAD = 7 };

/* One machine with a net, one listener, and the conn that was accepted last. */
struct bed {
	struct sim *sim;
	struct sim_node *node;
	struct io *io;
	struct diag diag;
	struct ledger memory;
	struct net net;
	struct listener listener;
	struct io_turn_hook hook;
	struct sim_client *peer;
	/* of the conn under test */
	struct conn conn;
	bool is_open, has_ended, is_closed;
	enum conn_end why;
	struct buf taken; /* bodies of operations, one behind the other */
	unsigned ops, offers;
	size_t largest_offer;
	bool hints, takes_nothing, hold_next;
	unsigned accept_errors;
};

static struct bed *bed_of(struct conn *c) { return CONTAINER_OF(c, struct bed, conn); }

/* "1234567" is a decimal count of body bytes. */
static size_t bed_on_data(struct conn *c, const uint8_t *p, size_t n)
{
	struct bed *b = bed_of(c);
	size_t used = 0;
	b->offers++;
	if (n > b->largest_offer) b->largest_offer = n;
	while (!b->takes_nothing && n - used >= OP_HEAD && !(c->paused & CONN_PAUSE_HELD)) {
		uint64_t body;
		assert_int_equal(slice_to_u64(slice_of(p + used, OP_HEAD), &body), OK);
		if (n - used - OP_HEAD < body) {
			if (b->hints) conn_want(c, OP_HEAD + (size_t)body);
			break;
		}
		buf_append(&b->taken, p + used + OP_HEAD, (size_t)body);
		used += OP_HEAD + (size_t)body;
		b->ops++;
		if (b->hold_next) conn_hold(c);
		b->hold_next = false;
	}
	return used;
}

static void bed_on_end(struct conn *c, enum conn_end why)
{
	struct bed *b = bed_of(c);
	assert_false(b->has_ended);
	b->has_ended = true;
	b->why = why;
}

static void bed_on_closed(struct conn *c)
{
	struct bed *b = bed_of(c);
	assert_false(b->is_closed);
	b->is_closed = true;
	b->is_open = false;
}

static const struct conn_ops bed_conn_ops = {
	.on_data = bed_on_data, .on_end = bed_on_end, .on_closed = bed_on_closed
};

static void bed_on_accept(struct listener *l, struct io_stream *s)
{
	struct bed *b = CONTAINER_OF(l, struct bed, listener);
	if (b->is_open) {
		io_stream_close(s);
		return;
	}
	b->conn = (struct conn) { 0 };
	b->is_open = true;
	b->is_closed = b->has_ended = false;
	conn_open(&b->conn, &b->net, s, &bed_conn_ops, &b->memory);
}

static void bed_turn_end(struct io_turn_hook *h) { net_turn_end(&CONTAINER_OF(h, struct bed, hook)->net); }

static bool bed_is_open(void *arg) { return ((struct bed *)arg)->is_open; }
static bool bed_is_closed(void *arg) { return ((struct bed *)arg)->is_closed; }

static int setup(void **state)
{
	struct bed *b = NEW(struct bed);
	b->sim = sim_new(7);
	b->node = sim_node_new(b->sim);
	sim_node_boot(b->node, NULL, NULL);
	b->io = sim_node_io(b->node);
	diag_init(&b->diag, DIAG_INFO, NULL, NULL);
	ledger_init(&b->memory, NULL, 0);
	net_init(&b->net, b->io, &b->diag, SECONDS(10));
	b->hook.turn_end = bed_turn_end;
	io_turn_hook_add(b->io, &b->hook);
	b->listener = (struct listener) { .on_accept = bed_on_accept, .what = "test" };
	assert_int_equal(listener_open(&b->listener, &b->net, "0.0.0.0", PORT), OK);
	b->peer = sim_client_new(b->sim, sim_node_host(b->node), PORT);
	assert_true(sim_run_until(b->sim, bed_is_open, b, SECONDS(5)));
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;
	if (b->is_open) {
		conn_close(&b->conn);
		assert_true(sim_run_until(b->sim, bed_is_closed, b, SECONDS(5)));
	}
	listener_close(&b->listener);
	sim_run_for(b->sim, SECONDS(1));
	assert_null(b->listener.inner);
	ledger_deinit(&b->memory); /* asserts that every byte was given back */
	io_turn_hook_remove(b->io, &b->hook);
	net_deinit(&b->net);
	diag_deinit(&b->diag);
	buf_deinit(&b->taken);
	sim_client_free(b->peer);
	sim_free(b->sim);
	mem_free(b);
	return 0;
}

/* ---- helpers ---- */

/* An operation with a body of n bytes that can be told apart. */
static void op_append(struct buf *to, size_t n)
{
	buf_printf(to, "%0*zu", OP_HEAD, n);
	for (size_t i = 0; i < n; i++) buf_append_byte(to, (uint8_t)(i * 7 + n));
}

static void body_append(struct buf *to, size_t n)
{
	for (size_t i = 0; i < n; i++) buf_append_byte(to, (uint8_t)(i * 7 + n));
}

struct wanted {
	struct bed *b;
	size_t n;
};

static bool has_received(void *arg)
{
	const struct wanted *w = arg;
	return sim_client_received(w->b->peer).n >= w->n;
}

static bool has_taken(void *arg)
{
	const struct wanted *w = arg;
	return w->b->taken.n >= w->n;
}

static bool peer_has_ended(void *arg)
{
	enum err e = sim_client_status(((struct bed *)arg)->peer);
	return e != OK && e != ERR_AGAIN;
}

static void pattern_write(struct conn *c, size_t n)
{
	uint8_t piece[1000];
	for (size_t at = 0; at < n; at += sizeof piece) {
		size_t k = size_min(n - at, sizeof piece);
		for (size_t i = 0; i < k; i++) piece[i] = (uint8_t)((at + i) * 31);
		conn_write(c, slice_of(piece, k));
	}
}

static void check_pattern(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) assert_int_equal(s.p[i], (uint8_t)(i * 31));
}

/* ---- input ---- */

static void operations_arrive_whole(void **state)
{
	struct bed *b = *state;
	static const size_t sizes[] = { 0, 1, 16, 300, 5000, 70000, 3, 400000, 12, 1000000, 5 };
	struct buf in = { 0 }, want = { 0 };
	for (unsigned hints = 0; hints < 2; hints++) {
		b->hints = hints;
		for (size_t i = 0; i < COUNT_OF(sizes); i++) {
			op_append(&in, sizes[i]);
			body_append(&want, sizes[i]);
		}
	}
	sim_client_send(b->peer, buf_slice(&in));
	struct wanted w = { b, want.n };
	assert_true(sim_run_until(b->sim, has_taken, &w, SECONDS(60)));
	assert_true(slice_eq(buf_slice(&b->taken), buf_slice(&want)));
	assert_int_equal(b->ops, 2 * COUNT_OF(sizes));
	assert_null(b->conn.in);
	assert_int_equal(b->memory.used_bytes, 0);
	/* What was announced but had not come was never paid for. */
	assert_true(b->memory.peak_bytes < 2200000);
	buf_deinit(&in);
	buf_deinit(&want);
}

static void half_a_line_costs_little(void **state)
{
	struct bed *b = *state;
	sim_client_send(b->peer, SLICE("1000000only a few bytes of it"));
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->ops, 0);
	assert_int_equal(b->memory.used_bytes, 256);
	assert_int_equal(b->conn.in_count, 29);
}

static void held_input_comes_after_resume(void **state)
{
	struct bed *b = *state;
	struct buf in = { 0 };
	for (int i = 0; i < 3; i++) op_append(&in, 10);
	b->hold_next = true;
	sim_client_send(b->peer, buf_slice(&in));
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->ops, 1);
	sim_client_send(b->peer, buf_slice(&in));
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->ops, 1);
	conn_resume(&b->conn);
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->ops, 6);
	conn_resume(&b->conn); /* harmless */
	buf_deinit(&in);
}

static void a_stalled_conn_rests_and_goes_on(void **state)
{
	struct bed *b = *state;
	struct buf in = { 0 };
	op_append(&in, 10);
	conn_stall(&b->conn, MILLIS(500));
	sim_client_send(b->peer, buf_slice(&in));
	sim_run_for(b->sim, MILLIS(400));
	assert_int_equal(b->ops, 0);
	sim_run_for(b->sim, MILLIS(400));
	assert_int_equal(b->ops, 1);
	buf_deinit(&in);
}

static void short_memory_stops_reading(void **state)
{
	struct bed *b = *state;
	struct buf in = { 0 };
	op_append(&in, 50000);
	b->memory.limit_bytes = 100000;
	ledger_force(&b->memory, 90000); /* somebody else has most of it */
	sim_client_send(b->peer, slice_first(buf_slice(&in), 40000));
	sim_run_for(b->sim, SECONDS(1));
	assert_true(ledger_is_full(&b->memory));
	assert_true(b->conn.paused & CONN_PAUSE_MEMORY);
	sim_client_send(b->peer, slice_from(buf_slice(&in), 40000));
	sim_run_for(b->sim, SECONDS(15)); /* it holds too little to be sent away for it */
	assert_int_equal(b->ops, 0);
	assert_false(b->has_ended);
	ledger_release(&b->memory, 90000);
	/* The next turn finds that there is memory again. */
	net_turn_end(&b->net);
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->ops, 1);
	assert_int_equal(b->diag.counter[COUNTER_conns_starved], 1);
	buf_deinit(&in);
}

static void a_hoarder_is_ended_when_memory_is_short(void **state)
{
	struct bed *b = *state;
	struct buf in = { 0 };
	op_append(&in, 500000);
	b->memory.limit_bytes = 100000;
	sim_client_send(b->peer, slice_first(buf_slice(&in), 400000));
	assert_true(sim_run_until(b->sim, bed_is_closed, b, SECONDS(30)));
	assert_true(b->has_ended);
	assert_int_equal(b->why, CONN_END_MEMORY);
	buf_deinit(&in);
}

/* ---- output ---- */

static void one_write_a_turn(void **state)
{
	struct bed *b = *state;
	for (int i = 0; i < 1000; i++) conn_write(&b->conn, SLICE("0123456789"));
	assert_int_equal(b->diag.counter[COUNTER_conn_writes], 0);
	net_turn_end(&b->net);
	assert_int_equal(b->diag.counter[COUNTER_conn_writes], 1);
	struct wanted w = { b, 10000 };
	assert_true(sim_run_until(b->sim, has_received, &w, SECONDS(5)));
	assert_int_equal(b->memory.used_bytes, 0);
}

static void much_output_does_not_wait_for_the_turn(void **state)
{
	struct bed *b = *state;
	sim_net(b->sim)->window_bytes = 1024 * 1024;
	pattern_write(&b->conn, 300000);
	assert_true(b->diag.counter[COUNTER_conn_writes] >= 1);
	net_turn_end(&b->net);
	struct wanted w = { b, 300000 };
	assert_true(sim_run_until(b->sim, has_received, &w, SECONDS(5)));
	check_pattern(sim_client_received(b->peer));
}

static void reservations_and_copies_keep_their_order(void **state)
{
	struct bed *b = *state;
	size_t total = 0;
	uint64_t pick = 1;
	sim_client_read(b->peer, false);
	while (total < 2000000) {
		pick = pick * 6364136223846793005ULL + 1442695040888963407ULL;
		size_t n = 1 + (size_t)(pick >> 33) % (pick >> 60 ? 200 : CONN_RESERVE_MAX);
		uint8_t *to = conn_reserve(&b->conn, n);
		size_t used = n - (size_t)(pick >> 40) % n;
		for (size_t i = 0; i < used; i++) to[i] = (uint8_t)((total + i) * 31);
		conn_commit(&b->conn, used);
		total += used;
		if ((pick >> 50) % 3 == 0) net_turn_end(&b->net);
		if ((pick >> 50) % 7 == 0) sim_run_for(b->sim, MILLIS(1));
	}
	assert_true(conn_pending_bytes(&b->conn) > 0);
	assert_true(conn_pending_bytes(&b->conn) <= conn_pending_bytes_max(&b->conn));
	sim_client_read(b->peer, true);
	net_turn_end(&b->net);
	struct wanted w = { b, total };
	assert_true(sim_run_until(b->sim, has_received, &w, SECONDS(60)));
	assert_int_equal(sim_client_received(b->peer).n, total);
	check_pattern(sim_client_received(b->peer));
	assert_int_equal(conn_pending_bytes(&b->conn), 0);
	assert_int_equal(b->memory.used_bytes, 0);
}

static void who_takes_nothing_meets_the_deadline(void **state)
{
	struct bed *b = *state;
	sim_client_read(b->peer, false);
	pattern_write(&b->conn, 1000000);
	net_turn_end(&b->net);
	sim_run_for(b->sim, SECONDS(9));
	assert_false(b->has_ended);
	assert_true(sim_run_until(b->sim, bed_is_closed, b, SECONDS(3)));
	assert_true(b->has_ended);
	assert_int_equal(b->why, CONN_END_DEADLINE);
}

static void who_takes_slowly_does_not(void **state)
{
	struct bed *b = *state;
	sim_net(b->sim)->bytes_per_s = 500000;
	pattern_write(&b->conn, 20000000); /* forty seconds, in writes of at most 4 MiB */
	net_turn_end(&b->net);
	struct wanted w = { b, 20000000 };
	assert_true(sim_run_until(b->sim, has_received, &w, SECONDS(100)));
	assert_false(b->has_ended);
	check_pattern(sim_client_received(b->peer));
}

static void spare_output_memory_goes_back(void **state)
{
	struct bed *b = *state;
	pattern_write(&b->conn, 10000000);
	struct wanted w = { b, 10000000 };
	net_turn_end(&b->net);
	assert_true(sim_run_until(b->sim, has_received, &w, SECONDS(60)));
	sim_run_for(b->sim, SECONDS(5));
	assert_true(b->net.free_large_count <= 8);
	assert_false(io_timer_is_armed(&b->net.trim));
}

/* ---- ends ---- */

static void what_waits_is_written_before_a_soft_close(void **state)
{
	struct bed *b = *state;
	pattern_write(&b->conn, 500000);
	conn_close_flushed(&b->conn);
	conn_close_flushed(&b->conn);
	conn_write(&b->conn, SLICE("too late"));
	assert_true(sim_run_until(b->sim, peer_has_ended, b, SECONDS(10)));
	assert_int_equal(sim_client_received(b->peer).n, 500000);
	assert_false(b->has_ended);
	assert_true(b->is_closed);
}

static void a_soft_close_has_its_deadline_too(void **state)
{
	struct bed *b = *state;
	sim_client_read(b->peer, false);
	pattern_write(&b->conn, 1000000);
	net_turn_end(&b->net);
	conn_close_flushed(&b->conn);
	assert_true(sim_run_until(b->sim, bed_is_closed, b, SECONDS(12)));
	assert_false(b->has_ended);
}

static void a_stopping_node_has_no_patience(void **state)
{
	struct bed *b = *state;
	sim_client_read(b->peer, false);
	pattern_write(&b->conn, 1000000);
	net_turn_end(&b->net);
	conn_close_flushed(&b->conn);
	sim_run_for(b->sim, SECONDS(1));
	assert_false(b->is_closed);
	net_abort_flushing(&b->net);
	assert_true(sim_run_until(b->sim, bed_is_closed, b, SECONDS(1)));
}

static void a_hard_close_drops_what_waits(void **state)
{
	struct bed *b = *state;
	pattern_write(&b->conn, 100);
	conn_close(&b->conn);
	conn_close(&b->conn);
	assert_true(sim_run_until(b->sim, peer_has_ended, b, SECONDS(10)));
	assert_int_equal(sim_client_received(b->peer).n, 0);
	assert_false(b->has_ended);
}

static void the_peer_may_finish_first(void **state)
{
	struct bed *b = *state;
	pattern_write(&b->conn, 5000);
	net_turn_end(&b->net);
	sim_client_free(b->peer);
	assert_true(sim_run_until(b->sim, bed_is_closed, b, SECONDS(20)));
	assert_true(b->has_ended);
	b->peer = sim_client_new(b->sim, sim_node_host(b->node), PORT);
}

static void a_reset_ends_it(void **state)
{
	struct bed *b = *state;
	sim_net(b->sim)->reset_ppm = PPM;
	sim_client_send(b->peer, SLICE("0000003abc"));
	assert_true(sim_run_until(b->sim, bed_is_closed, b, SECONDS(20)));
	assert_true(b->has_ended);
	assert_true(b->why == CONN_END_READ || b->why == CONN_END_EOF);
	sim_net(b->sim)->reset_ppm = 0;
}

static void accept_errors_are_counted(void **state)
{
	struct bed *b = *state;
	sim_net_fail_accept(b->node, 2, ERR_FILES);
	struct sim_client *second = sim_client_new(b->sim, sim_node_host(b->node), PORT);
	sim_run_for(b->sim, SECONDS(2));
	assert_int_equal(b->diag.counter[COUNTER_conns_accept_failed], 2);
	assert_int_equal(b->diag.counter[COUNTER_conns_accepted], 2);
	sim_client_free(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(operations_arrive_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(half_a_line_costs_little, setup, teardown),
		cmocka_unit_test_setup_teardown(held_input_comes_after_resume, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stalled_conn_rests_and_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(short_memory_stops_reading, setup, teardown),
		cmocka_unit_test_setup_teardown(a_hoarder_is_ended_when_memory_is_short, setup, teardown),
		cmocka_unit_test_setup_teardown(one_write_a_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(much_output_does_not_wait_for_the_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(reservations_and_copies_keep_their_order, setup, teardown),
		cmocka_unit_test_setup_teardown(who_takes_nothing_meets_the_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(who_takes_slowly_does_not, setup, teardown),
		cmocka_unit_test_setup_teardown(spare_output_memory_goes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(what_waits_is_written_before_a_soft_close, setup, teardown),
		cmocka_unit_test_setup_teardown(a_soft_close_has_its_deadline_too, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stopping_node_has_no_patience, setup, teardown),
		cmocka_unit_test_setup_teardown(a_hard_close_drops_what_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(the_peer_may_finish_first, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reset_ends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(accept_errors_are_counted, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
