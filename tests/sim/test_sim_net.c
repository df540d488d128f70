/* SPDX-License-Identifier: Apache-2.0 */
/* The twin's network, fault by fault. Two machines; what runs on them is the test itself. */
#include "check.h"
#include "sim/sim.h"

enum { PORT = 7000, WINDOW = 1000 };

/* One end of the connection: what it heard, and how it ended. */
struct end {
	struct io_stream *stream;
	struct buf heard;
	enum err connect, why;
	unsigned drains, reads;
	bool has_ended, has_closed;
};
struct pair {
	struct sim *s;
	struct sim_node *a, *b; /* a asks, b listens */
	struct io_listener *listener;
	struct end at_a, at_b;
};

static void end_on_connect(void *owner, enum err e) { ((struct end *)owner)->connect = e; }
static void end_on_read(void *owner, const uint8_t *p, size_t n)
{
	struct end *x = owner;
	buf_append(&x->heard, p, n);
	x->reads++;
}
static void end_on_end(void *owner, enum err why)
{
	struct end *x = owner;
	assert_false(x->has_ended);
	x->has_ended = true;
	x->why = why;
}
static void end_on_drain(void *owner) { ((struct end *)owner)->drains++; }
static void end_on_close(void *owner) { ((struct end *)owner)->has_closed = true; }

static const struct io_stream_ops end_ops = {
	.on_connect = end_on_connect,
	.on_read = end_on_read,
	.on_end = end_on_end,
	.on_drain = end_on_drain,
	.on_close = end_on_close,
};

static void pair_on_accept(void *owner, struct io_stream *s)
{
	struct pair *p = owner;
	if (p->at_b.stream) {
		io_stream_close(s);
		return;
	}
	p->at_b.stream = s;
	io_stream_own(s, &end_ops, &p->at_b);
	io_stream_read_start(s);
}
static const struct io_listener_ops pair_listener_ops = { .on_accept = pair_on_accept };

static void pair_connect(struct pair *p)
{
	p->at_a.connect = ERR_AGAIN;
	assert_int_equal(
		io_connect(sim_node_io(p->a), sim_node_host(p->b), PORT, &end_ops, &p->at_a, &p->at_a.stream), OK);
	io_stream_read_start(p->at_a.stream);
}

static void pair_listen(struct pair *p)
{
	assert_int_equal(io_listen(sim_node_io(p->b), "0.0.0.0", PORT, 4, &pair_listener_ops, p, &p->listener), OK);
}

/* Two machines with a quiet network between them, not connected. */
static void pair_make(struct pair *p, uint64_t seed)
{
	*p = (struct pair) { .s = sim_new(seed) };
	struct sim_net *net = sim_net(p->s);
	net->spike_ppm = net->split_ppm = 0;
	net->window_bytes = WINDOW;
	net->stall_timeout_ns = SECONDS(60);
	p->a = sim_node_new(p->s);
	p->b = sim_node_new(p->s);
	sim_node_boot(p->a, NULL, NULL);
}

static void pair_meet(struct pair *p, uint64_t seed)
{
	pair_make(p, seed);
	sim_node_boot(p->b, NULL, NULL);
	pair_listen(p);
	pair_connect(p);
	sim_run_for(p->s, MILLIS(10));
	assert_int_equal(p->at_a.connect, OK);
	assert_non_null(p->at_b.stream);
}

static void pair_free(struct pair *p)
{
	sim_free(p->s);
	buf_deinit(&p->at_a.heard);
	buf_deinit(&p->at_b.heard);
}

static enum io_write say(struct end *x, const char *text)
{
	const struct slice v = slice_of_str(text);
	return io_stream_write(x->stream, &v, 1);
}

static void a_cut_of_one_way_leaves_the_other_open(void **state)
{
	(void)state;
	struct pair p;
	pair_meet(&p, 1);
	sim_net_cut(p.s, p.a, p.b, SIM_CUT_STALL);
	assert_int_equal(say(&p.at_a, "to b"), IO_WRITTEN);
	assert_int_equal(say(&p.at_b, "to a"), IO_WRITTEN);
	sim_run_for(p.s, SECONDS(30));
	CHECK_BUF(&p.at_a.heard, "to a");
	CHECK_BUF(&p.at_b.heard, "");
	assert_int_equal(say(&p.at_a, ", later"), IO_WRITTEN);
	sim_net_cut(p.s, p.a, p.b, SIM_CUT_NONE);
	sim_run_for(p.s, SECONDS(2));
	CHECK_BUF(&p.at_b.heard, "to b, later");
	assert_false(p.at_a.has_ended || p.at_b.has_ended);
	pair_free(&p);
}

/* b reads what a sends, but a does not hear of it: its window stays shut. */
static void a_window_opens_only_when_the_word_comes_through(void **state)
{
	(void)state;
	struct pair p;
	char big[WINDOW + 1];
	memset(big, 'x', WINDOW);
	big[WINDOW] = '\0';
	pair_meet(&p, 2);
	sim_net_cut(p.s, p.b, p.a, SIM_CUT_STALL);
	assert_int_equal(say(&p.at_a, big), IO_WRITTEN);
	assert_int_equal(say(&p.at_a, "more"), IO_PENDING);
	assert_int_equal(io_stream_pending_bytes(p.at_a.stream), 4);
	sim_run_for(p.s, SECONDS(5));
	assert_int_equal(p.at_b.heard.n, WINDOW);
	assert_int_equal(p.at_a.drains, 0);
	sim_net_heal(p.s);
	sim_run_for(p.s, SECONDS(2));
	assert_int_equal(p.at_b.heard.n, WINDOW + 4);
	assert_int_equal(p.at_a.drains, 1);
	pair_free(&p);
}

static void a_reader_that_stops_holds_the_writer(void **state)
{
	(void)state;
	struct pair p;
	enum { BIG = 3 * WINDOW };
	char big[BIG + 1];
	memset(big, 'x', BIG);
	big[BIG] = '\0';
	pair_meet(&p, 3);
	io_stream_read_stop(p.at_b.stream);
	assert_int_equal(say(&p.at_a, big), IO_PENDING);
	sim_run_for(p.s, SECONDS(5));
	assert_int_equal(io_stream_pending_bytes(p.at_a.stream), 2 * WINDOW);
	io_stream_read_start(p.at_b.stream);
	sim_run_for(p.s, SECONDS(1));
	assert_int_equal(p.at_b.heard.n, 3 * WINDOW);
	assert_int_equal(p.at_a.drains, 1);
	pair_free(&p);
}

static void a_stall_ends_in_a_timeout(void **state)
{
	(void)state;
	struct pair p;
	pair_meet(&p, 4);
	sim_net_cut(p.s, p.a, p.b, SIM_CUT_STALL);
	assert_int_equal(say(&p.at_a, "lost"), IO_WRITTEN);
	sim_run_for(p.s, SECONDS(59));
	assert_false(p.at_a.has_ended);
	sim_run_for(p.s, SECONDS(2));
	assert_true(p.at_a.has_ended);
	assert_int_equal(p.at_a.why, ERR_TIMEOUT);
	assert_int_equal(say(&p.at_a, "x"), IO_BROKEN);
	assert_false(p.at_b.has_ended); /* b hears nothing: nobody told it */
	pair_free(&p);
}

static void resets_reach_both_ends(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		struct pair p;
		pair_meet(&p, 5);
		if (how == 0) sim_net_reset(p.s, p.a, p.b);
		if (how == 1) sim_net_cut(p.s, p.a, p.b, SIM_CUT_RESET);
		if (how == 2) sim_net(p.s)->reset_ppm = PPM;
		if (how > 0) assert_int_equal(say(&p.at_a, "into it"), IO_WRITTEN);
		sim_run_for(p.s, SECONDS(1));
		assert_true(p.at_a.has_ended && p.at_b.has_ended);
		assert_int_equal(p.at_a.why, ERR_RESET);
		assert_int_equal(p.at_b.why, ERR_RESET);
		assert_int_equal(p.at_b.heard.n, 0);
		assert_int_equal(say(&p.at_b, "x"), IO_BROKEN);
		io_stream_close(p.at_a.stream);
		io_stream_close(p.at_b.stream);
		sim_run_for(p.s, MILLIS(1));
		assert_true(p.at_a.has_closed && p.at_b.has_closed);
		pair_free(&p);
	}
}

static void a_close_delivers_what_was_taken(void **state)
{
	(void)state;
	struct pair p;
	pair_meet(&p, 6);
	assert_int_equal(say(&p.at_a, "last words"), IO_WRITTEN);
	io_stream_close(p.at_a.stream);
	assert_int_equal(say(&p.at_a, "x"), IO_BROKEN);
	sim_run_for(p.s, SECONDS(1));
	assert_true(p.at_a.has_closed && !p.at_a.has_ended);
	assert_true(p.at_b.has_ended);
	assert_int_equal(p.at_b.why, ERR_EOF);
	CHECK_BUF(&p.at_b.heard, "last words");
	/* b may still write, as to a peer that has only finished sending; it is told that nobody listens by a reset. */
	assert_int_equal(say(&p.at_b, "x"), IO_WRITTEN);
	sim_run_for(p.s, SECONDS(1));
	assert_int_equal(say(&p.at_b, "x"), IO_BROKEN);
	pair_free(&p);
}

static void a_killed_process_says_goodbye_through_its_kernel(void **state)
{
	(void)state;
	unsigned ended = 0, reset = 0;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct pair p;
		pair_meet(&p, seed);
		assert_int_equal(say(&p.at_b, "last words"), IO_WRITTEN);
		if (seed % 2) assert_int_equal(say(&p.at_a, "never read"), IO_WRITTEN);
		if (seed % 2) io_stream_read_stop(p.at_b.stream);
		if (seed % 2) sim_run_for(p.s, MILLIS(5));
		sim_node_crash(p.b, SIM_KILL);
		sim_run_for(p.s, SECONDS(1));
		assert_true(p.at_a.has_ended);
		ended += p.at_a.why == ERR_EOF;
		reset += p.at_a.why == ERR_RESET;
		CHECK_BUF(&p.at_a.heard, "last words");
		pair_free(&p);
	}
	/* Unread bytes make the kernel's goodbye a reset. */
	assert_int_equal(ended, 10);
	assert_int_equal(reset, 10);
}

static void a_machine_without_power_is_silent_until_it_is_asked_again(void **state)
{
	(void)state;
	struct pair p;
	pair_meet(&p, 7);
	sim_node_crash(p.b, SIM_POWER);
	sim_run_for(p.s, SECONDS(30));
	assert_false(p.at_a.has_ended);
	assert_int_equal(say(&p.at_a, "anybody?"), IO_WRITTEN);
	sim_run_for(p.s, SECONDS(5));
	assert_false(p.at_a.has_ended);
	sim_node_boot(p.b, NULL, NULL);
	sim_run_for(p.s, SECONDS(3));
	assert_true(p.at_a.has_ended);
	assert_int_equal(p.at_a.why, ERR_RESET);
	pair_free(&p);
}

static void connecting_depends_on_who_is_there(void **state)
{
	(void)state;
	struct pair p;
	/* Off: no answer, until the machine is on; then nobody listens. */
	pair_make(&p, 8);
	pair_connect(&p);
	sim_run_for(p.s, SECONDS(2));
	assert_int_equal(p.at_a.connect, ERR_AGAIN);
	sim_node_boot(p.b, NULL, NULL);
	sim_run_for(p.s, SECONDS(10));
	assert_int_equal(p.at_a.connect, ERR_REFUSED);
	/* Off for good. */
	sim_node_crash(p.b, SIM_POWER);
	pair_connect(&p);
	sim_run_for(p.s, SECONDS(19));
	assert_int_equal(p.at_a.connect, ERR_AGAIN);
	sim_run_for(p.s, SECONDS(2));
	assert_int_equal(p.at_a.connect, ERR_TIMEOUT);
	/* A cut of the way back is as good as one of the way there. */
	sim_node_boot(p.b, NULL, NULL);
	pair_listen(&p);
	sim_net_cut(p.s, p.b, p.a, SIM_CUT_STALL);
	pair_connect(&p);
	sim_run_for(p.s, SECONDS(5));
	assert_int_equal(p.at_a.connect, ERR_AGAIN);
	sim_net_heal(p.s);
	sim_run_for(p.s, SECONDS(10));
	assert_int_equal(p.at_a.connect, OK);
	assert_non_null(p.at_b.stream);
	pair_free(&p);
}

static void a_full_backlog_makes_callers_wait(void **state)
{
	(void)state;
	struct sim *s = sim_new(9);
	struct sim_node *n = sim_node_new(s);
	struct pair p = { .s = s, .b = n };
	struct sim_client *clients[6];
	sim_node_boot(n, NULL, NULL);
	pair_listen(&p);
	sim_net_fail_accept(n, 30, ERR_FILES); /* three seconds without an accept */
	for (unsigned i = 0; i < COUNT_OF(clients); i++) clients[i] = sim_client_new(s, sim_node_host(n), PORT);
	sim_run_for(s, SECONDS(2));
	unsigned open = 0;
	for (unsigned i = 0; i < COUNT_OF(clients); i++) open += sim_client_status(clients[i]) == OK;
	assert_int_equal(open, 4); /* the backlog; a connection is made before it is accepted */
	assert_true(sim_counted(s, "net backlog full") > 0);
	assert_null(p.at_b.stream);
	for (unsigned i = 1; i < COUNT_OF(clients); i++) sim_client_free(clients[i]);
	sim_run_for(s, SECONDS(1) + MILLIS(500));
	sim_free(s);
}

static void reads_are_split_and_writes_pend_when_told_to(void **state)
{
	(void)state;
	struct pair p;
	unsigned pending = 0;
	pair_meet(&p, 10);
	sim_net(p.s)->split_ppm = PPM;
	for (unsigned i = 0; i < 100; i++) {
		pending += say(&p.at_a, "0123456789") == IO_PENDING;
		sim_run_for(p.s, MILLIS(5));
	}
	assert_int_equal(p.at_b.heard.n, 1000);
	for (size_t i = 0; i < 1000; i++) assert_int_equal(p.at_b.heard.p[i], '0' + (int)(i % 10));
	assert_true(p.at_b.reads > 200);
	assert_in_range(pending, 5, 60);
	assert_int_equal(p.at_a.drains, pending);
	pair_free(&p);
}

static void a_slow_link_takes_its_time(void **state)
{
	(void)state;
	struct pair p;
	char big[10001];
	memset(big, 'x', 10000);
	big[10000] = '\0';
	pair_meet(&p, 11);
	sim_net(p.s)->bytes_per_s = 10000;
	sim_net(p.s)->window_bytes = MIB;
	assert_int_equal(say(&p.at_a, big), IO_WRITTEN);
	sim_run_for(p.s, MILLIS(900));
	assert_true(p.at_b.heard.n < 10000);
	sim_run_for(p.s, MILLIS(200));
	assert_int_equal(p.at_b.heard.n, 10000);
	pair_free(&p);
}

static void a_machine_talks_to_itself(void **state)
{
	(void)state;
	struct pair p;
	pair_make(&p, 12);
	p.b = p.a;
	pair_listen(&p);
	assert_int_equal(io_connect(sim_node_io(p.a), "127.0.0.1", PORT, &end_ops, &p.at_a, &p.at_a.stream), OK);
	sim_run_for(p.s, MILLIS(10));
	assert_int_equal(p.at_a.connect, OK);
	assert_int_equal(say(&p.at_a, "me"), IO_WRITTEN);
	sim_run_for(p.s, MILLIS(10));
	CHECK_BUF(&p.at_b.heard, "me");
	sim_node_crash(p.a, SIM_POWER);
	pair_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_of_one_way_leaves_the_other_open),
		cmocka_unit_test(a_window_opens_only_when_the_word_comes_through),
		cmocka_unit_test(a_reader_that_stops_holds_the_writer),
		cmocka_unit_test(a_stall_ends_in_a_timeout),
		cmocka_unit_test(resets_reach_both_ends),
		cmocka_unit_test(a_close_delivers_what_was_taken),
		cmocka_unit_test(a_killed_process_says_goodbye_through_its_kernel),
		cmocka_unit_test(a_machine_without_power_is_silent_until_it_is_asked_again),
		cmocka_unit_test(connecting_depends_on_who_is_there),
		cmocka_unit_test(a_full_backlog_makes_callers_wait),
		cmocka_unit_test(reads_are_split_and_writes_pend_when_told_to),
		cmocka_unit_test(a_slow_link_takes_its_time),
		cmocka_unit_test(a_machine_talks_to_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
