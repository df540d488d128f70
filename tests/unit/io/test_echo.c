/* SPDX-License-Identifier: Apache-2.0 */
/* The echo server on libuv over loopback: hundreds of connections, large payloads, readers that pause. With an argument N it is a
 * measurement: N clients, 64 MiB each way in all. The same source runs in the twin: tests/sim/test_sim_echo.c. */
#include <sys/resource.h>

#include "check.h"
#include "sim/echo_server.h"
#include "thebes/io_uv.h"

struct load {
	struct io *io;
	struct echo_server server;
	struct echo_client *clients; /* owned */
	unsigned count, left;
};

static void client_done(struct echo_client *c)
{
	struct load *l = c->arg;
	if (--l->left == 0) echo_server_stop(&l->server);
}

/* Runs `count` clients to their ends, returns the time it took. */
static uint64_t load_run(struct load *l, unsigned count, uint64_t bytes, size_t piece_bytes, uint64_t pause_ns)
{
	struct io_addr addr;
	*l = (struct load) { .count = count, .left = count };
	assert_int_equal(io_uv_new(&l->io), OK);
	assert_int_equal(echo_server_start(&l->server, l->io, "127.0.0.1", 0), OK);
	io_listener_addr(l->server.listener, &addr);
	assert_true(addr.port != 0);
	l->clients = mem_zalloc(count * sizeof *l->clients);
	for (unsigned i = 0; i < count; i++) {
		struct echo_client *c = &l->clients[i];
		*c = (struct echo_client) {
			.total = bytes, .number = i, .piece_bytes = piece_bytes, .done = client_done, .arg = l
		};
		if (i % 2) c->pause_ns = pause_ns;
		assert_int_equal(echo_client_start(c, l->io, addr.host, addr.port), OK);
	}
	const uint64_t start = io_now_precise_ns(l->io);
	io_uv_run(l->io); /* until nothing is open any more */
	const uint64_t took = io_now_precise_ns(l->io) - start;
	for (unsigned i = 0; i < count; i++) {
		assert_true(l->clients[i].is_closed);
		assert_int_equal(l->clients[i].result, OK);
		assert_true(l->clients[i].read == bytes);
		assert_false(l->clients[i].is_wrong);
	}
	assert_int_equal(l->server.accepted, count);
	assert_int_equal(l->server.conn_count, 0);
	assert_null(l->server.listener);
	assert_true(l->server.echoed_bytes == count * bytes);
	io_uv_free(l->io);
	mem_free(l->clients);
	return took;
}

static void hundreds_of_connections(void **state)
{
	(void)state;
	struct load l;
	(void)load_run(&l, 400, 20000, 3000, 0);
}

static void large_payloads_with_slow_readers(void **state)
{
	(void)state;
	struct load l;
	(void)load_run(&l, 4, 24 * MIB, 700000, MILLIS(8));
	assert_true(l.server.drains > 0); /* the server had to wait for its clients */
}

static void tiny_pieces(void **state)
{
	(void)state;
	struct load l;
	(void)load_run(&l, 20, 3000, 3, 0);
}

static int measure(unsigned count)
{
	struct load l;
	const uint64_t bytes = 64 * MIB / count;
	const uint64_t took = load_run(&l, count, bytes, 64 * KIB, 0);
	printf("%u connections: %.1f MiB/s echoed (each byte written and read twice), %.2f s\n", count,
		(double)(count * bytes) / (double)MIB / ((double)took / (double)NS_PER_S),
		(double)took / (double)NS_PER_S);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hundreds_of_connections),
		cmocka_unit_test(large_payloads_with_slow_readers),
		cmocka_unit_test(tiny_pieces),
	};
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	uint64_t count;
	if (argc > 1 && slice_to_u64(slice_of_str(argv[1]), &count) == OK && count > 0) return measure((unsigned)count);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
