/* SPDX-License-Identifier: Apache-2.0 */
/* The echo server in the twin: everything comes back under delays, splits, small windows, slow readers and cuts; resets and
 * crashes break connections but change no byte. The same source runs on libuv in tests/unit/io/test_echo.c. */
#include <inttypes.h>
#include <stdlib.h>

#include "check.h"
#include "sim/echo_server.h"
#include "sim/sim.h"

enum { PORT = 4222, CLIENTS = 8 };

static enum err server_start(void *arg, struct sim_node *n, struct io *io, void **software)
{
	(void)arg;
	(void)n;
	struct echo_server *e = NEW(struct echo_server);
	enum err err = echo_server_start(e, io, "0.0.0.0", PORT);
	if (err != OK)
		mem_free(e);
	else
		*software = e;
	return err;
}

static void server_teardown(void *software)
{
	echo_server_teardown(software);
	mem_free(software);
}

static const struct sim_program server_program = { server_start, server_teardown };

struct world {
	struct sim *s;
	struct sim_node *server, *client;
	struct echo_client clients[CLIENTS];
};

static void world_open(struct world *w, uint64_t seed)
{
	*w = (struct world) { .s = sim_new(seed) };
	struct sim_net *net = sim_net(w->s);
	net->delay_max_ns = net->delay_min_ns + sim_below(w->s, MILLIS(5));
	net->window_bytes = 1 + sim_below(w->s, 2000);
	if (sim_below(w->s, 2)) net->window_bytes += sim_below(w->s, 100000);
	net->segment_bytes_max = 1 + sim_below(w->s, 30000);
	net->split_ppm = (uint32_t)sim_below(w->s, PPM);
	if (sim_below(w->s, 3) == 0) net->bytes_per_s = 100000 + sim_below(w->s, 10000000);
	w->server = sim_node_new(w->s);
	w->client = sim_node_new(w->s);
	sim_node_boot(w->server, &server_program, NULL);
	sim_node_boot(w->client, NULL, NULL);
}

static void clients_start(struct world *w)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct echo_client *c = &w->clients[i];
		*c = (struct echo_client) {
			.total = 1 + sim_below(w->s, 20000),
			.number = i,
			.piece_bytes = 1 + sim_below(w->s, 10000),
			.pause_ns = sim_below(w->s, 3) ? 0 : sim_below(w->s, MILLIS(2)),
		};
		assert_int_equal(echo_client_start(c, sim_node_io(w->client), sim_node_host(w->server), PORT), OK);
	}
}

static bool server_is_up(void *arg)
{
	const struct world *w = arg;
	return sim_node_state(w->server) == SIM_UP;
}

static bool all_closed(void *arg)
{
	const struct world *w = arg;
	for (unsigned i = 0; i < CLIENTS; i++)
		if (!w->clients[i].is_closed) return false;
	return true;
}

static bool all_closed_and_forgotten(void *arg)
{
	const struct world *w = arg;
	const struct echo_server *e = sim_node_software(w->server);
	return all_closed(arg) && (!e || e->conn_count == 0);
}

static void world_close(struct world *w)
{
	sim_free(w->s);
	for (unsigned i = 0; i < CLIENTS; i++) echo_client_teardown(&w->clients[i]);
}

static uint64_t run_quiet(uint64_t seed, struct sim_tally *tally)
{
	struct world w;
	world_open(&w, seed);
	assert_true(sim_run_until(w.s, server_is_up, &w, SECONDS(1)));
	clients_start(&w);
	assert_true(sim_run_until(w.s, all_closed_and_forgotten, &w, SECONDS(3600)));
	for (unsigned i = 0; i < CLIENTS; i++) {
		assert_int_equal(w.clients[i].result, OK);
		assert_false(w.clients[i].is_wrong);
	}
	const uint64_t hash = sim_hash(w.s) ^ sim_events(w.s);
	if (tally) sim_tally_add(tally, w.s);
	world_close(&w);
	return hash;
}

static void everything_comes_back(void **state)
{
	(void)state;
	struct sim_tally tally = { 0 };
	const struct sim_seeds seeds = sim_seeds(300);
	for (uint64_t seed = seeds.first; seed < seeds.end; seed++) (void)run_quiet(seed, &tally);
	assert_true(sim_tally_of(&tally, "net accepted") == (seeds.end - seeds.first) * CLIENTS);
	assert_int_equal(sim_tally_of(&tally, "net reset"), 0);
	if (!seeds.is_single) assert_true(sim_tally_of(&tally, "net write pending") > 1000);
	sim_tally_deinit(&tally);
}

static void the_same_seed_gives_the_same_run(void **state)
{
	(void)state;
	unsigned equal_neighbours = 0;
	for (uint64_t seed = 0; seed < 30; seed++) {
		const uint64_t hash = run_quiet(seed, NULL);
		assert_true(run_quiet(seed, NULL) == hash);
		equal_neighbours += run_quiet(seed + 1, NULL) == hash;
	}
	assert_int_equal(equal_neighbours, 0);
}

static void toggle_cut(void *arg)
{
	struct world *w = arg;
	if (sim_below(w->s, 2))
		sim_net_cut(w->s, w->server, w->client, sim_below(w->s, 2) ? SIM_CUT_STALL : SIM_CUT_NONE);
	else
		sim_net_cut(w->s, w->client, w->server, sim_below(w->s, 2) ? SIM_CUT_STALL : SIM_CUT_NONE);
}

static void heal(void *arg) { sim_net_heal(((struct world *)arg)->s); }

/* Ways are cut, in one direction at a time, for less than any timeout: nothing breaks, all comes back. */
static void cuts_delay_but_lose_nothing(void **state)
{
	(void)state;
	struct sim_tally tally = { 0 };
	const struct sim_seeds seeds = sim_seeds(200);
	for (uint64_t seed = seeds.first; seed < seeds.end; seed++) {
		struct world w;
		world_open(&w, seed);
		sim_trace(w.s, seeds.trace);
		assert_true(sim_run_until(w.s, server_is_up, &w, SECONDS(1)));
		if (sim_below(w.s, 2)) toggle_cut(&w);
		clients_start(&w);
		for (unsigned i = 0; i < 20; i++) sim_after(w.s, sim_below(w.s, SECONDS(4)), toggle_cut, &w);
		sim_after(w.s, SECONDS(5), heal, &w);
		sim_node_pause(w.server, sim_below(w.s, SECONDS(1)));
		assert_true(sim_run_until(w.s, all_closed_and_forgotten, &w, SECONDS(3600)));
		for (unsigned i = 0; i < CLIENTS; i++) {
			assert_int_equal(w.clients[i].result, OK);
			assert_false(w.clients[i].is_wrong);
		}
		sim_tally_add(&tally, w.s);
		world_close(&w);
	}
	if (!seeds.is_single) {
		assert_true(sim_tally_of(&tally, "net stall") > 200);
		assert_true(sim_tally_of(&tally, "net connect retry") > 100);
	}
	sim_tally_deinit(&tally);
}

static void hurt(void *arg)
{
	struct world *w = arg;
	switch (sim_below(w->s, 6)) {
	case 0: sim_net_reset(w->s, w->client, w->server); break;
	case 1: sim_net_cut(w->s, w->client, w->server, SIM_CUT_RESET); break;
	case 2: sim_node_crash(w->server, SIM_KILL); break;
	case 3: sim_node_crash(w->server, SIM_POWER); break;
	case 4: sim_net_fail_accept(w->server, 3, ERR_FILES); break;
	case 5: sim_net_isolate(w->s, w->server, SIM_CUT_STALL); break;
	}
}

static void revive(void *arg)
{
	struct world *w = arg;
	if (sim_node_state(w->server) == SIM_OFF || sim_node_state(w->server) == SIM_DOWN)
		sim_node_boot(w->server, &server_program, NULL);
}

/* Under resets, crashes and loss of power a client either gets everything or hears of it; what it got is right. */
static void what_breaks_says_so(void **state)
{
	(void)state;
	struct sim_tally tally = { 0 };
	unsigned results[ERR_COUNT] = { 0 };
	const struct sim_seeds seeds = sim_seeds(300);
	for (uint64_t seed = seeds.first; seed < seeds.end; seed++) {
		struct world w;
		world_open(&w, seed);
		sim_trace(w.s, seeds.trace);
		sim_net(w.s)->reset_ppm = (uint32_t)(sim_below(w.s, 4) * 2000);
		sim_net(w.s)->stall_timeout_ns = SECONDS(30);
		if (sim_below(w.s, 4) == 0) sim_net_fail_accept(w.server, 3, ERR_FILES);
		clients_start(&w); /* the server may not be up yet */
		for (unsigned i = 0; i < 6; i++) {
			const uint64_t at = sim_below(w.s, MILLIS(60));
			sim_after(w.s, at, hurt, &w);
			sim_after(w.s, at + MILLIS(20) + sim_below(w.s, MILLIS(100)), revive, &w);
		}
		sim_after(w.s, SECONDS(2), revive, &w);
		sim_after(w.s, SECONDS(2), heal, &w);
		/* A machine that came back may leave a client that only waits for ever in silence: so does TCP. */
		const bool is_done = sim_run_until(w.s, all_closed, &w, SECONDS(1000));
		unsigned silent = 0;
		for (unsigned i = 0; i < CLIENTS; i++) {
			const struct echo_client *c = &w.clients[i];
			assert_false(c->is_wrong);
			if (c->result == OK) assert_int_equal(c->read, c->total);
			if (c->result == ERR_AGAIN) assert_true(c->written == c->total && !c->is_pending);
			silent += c->result == ERR_AGAIN;
			results[c->result]++;
		}
		assert_true(is_done || silent > 0);
		if (silent > 0) assert_true(sim_counted(w.s, "node power loss") > 0);
		sim_tally_add(&tally, w.s);
		world_close(&w);
	}
	assert_true(results[OK] + results[ERR_RESET] + results[ERR_EOF] + results[ERR_REFUSED] + results[ERR_AGAIN] +
			    results[ERR_TIMEOUT] ==
		    (seeds.end - seeds.first) * CLIENTS);
	if (!seeds.is_single) {
		assert_true(results[OK] > 100 && results[ERR_RESET] > 50 && results[ERR_EOF] > 20);
		assert_true(results[ERR_REFUSED] > 20 && results[ERR_AGAIN] > 0);
		assert_true(sim_tally_of(&tally, "net accept failed") > 20);
		assert_true(sim_tally_of(&tally, "node power loss") > 100);
	}
	sim_tally_deinit(&tally);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_comes_back),
		cmocka_unit_test(the_same_seed_gives_the_same_run),
		cmocka_unit_test(cuts_delay_but_lose_nothing),
		cmocka_unit_test(what_breaks_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
