/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and listeners on libuv at their edges; everyday traffic is test_echo.c. The peer is often a plain socket of the test. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "check.h"
#include "thebes/io_uv.h"
#include "uv_io.h"

enum { BIG = 32 * 1024 * 1024 };

/* One listener, one accepted stream; every event is a letter. */
struct side {
	struct io *io;
	struct io_listener *listener;
	struct io_stream *stream;
	struct io_addr addr;
	struct buf events, received;
	enum err end, connect, accept_error;
	char until; /* the event that ends run() */
	bool is_inside, closes_on_end, uses_own_memory, stops_reading;
	uint8_t own[10];
	unsigned accepted;
	struct rlimit files;
};

static void event(struct side *x, char letter)
{
	assert_false(x->is_inside); /* no callback comes from inside a call */
	buf_append_byte(&x->events, (uint8_t)letter);
	if (letter == x->until) io_uv_stop(x->io);
}

/* Runs the loop until this event of x. */
static void run(struct side *x, char until)
{
	x->until = until;
	io_uv_run(x->io);
	x->until = 0;
	assert_true(x->events.n > 0 && memchr(x->events.p, until, x->events.n));
}

static enum io_write side_write(struct side *x, const void *p, size_t n)
{
	const struct slice v = slice_of(p, n);
	x->is_inside = true;
	const enum io_write w = io_stream_write(x->stream, &v, 1);
	x->is_inside = false;
	return w;
}

static void side_on_connect(void *owner, enum err e)
{
	struct side *x = owner;
	event(x, 'c');
	x->connect = e;
	if (e != OK) io_stream_close(x->stream);
}
static uint8_t *side_on_alloc(void *owner, size_t *n)
{
	struct side *x = owner;
	if (!x->uses_own_memory) return NULL;
	assert_true(*n >= sizeof x->own);
	*n = sizeof x->own;
	return x->own;
}
static void side_on_read(void *owner, const uint8_t *p, size_t n)
{
	struct side *x = owner;
	event(x, 'r');
	if (x->uses_own_memory) assert_ptr_equal(p, x->own);
	buf_append(&x->received, p, n);
	if (x->stops_reading) io_stream_read_stop(x->stream);
}
static void side_on_end(void *owner, enum err why)
{
	struct side *x = owner;
	event(x, 'e');
	x->end = why;
	if (x->closes_on_end) io_stream_close(x->stream);
}
static void side_on_drain(void *owner) { event(owner, 'd'); }
static void side_on_close(void *owner)
{
	struct side *x = owner;
	event(x, 'x');
	x->stream = NULL;
}

static const struct io_stream_ops side_ops = {
	.on_connect = side_on_connect,
	.on_alloc = side_on_alloc,
	.on_read = side_on_read,
	.on_end = side_on_end,
	.on_drain = side_on_drain,
	.on_close = side_on_close,
};

static void side_on_accept(void *owner, struct io_stream *s)
{
	struct side *x = owner;
	event(x, 'a');
	x->accepted++;
	if (x->stream) {
		io_stream_close(s); /* nobody owns it, nobody hears of it */
		return;
	}
	x->stream = s;
	io_stream_own(s, &side_ops, x);
}
static void side_on_accept_error(void *owner, enum err e)
{
	struct side *x = owner;
	event(x, 'E');
	x->accept_error = e;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &x->files), 0);
}
static void listener_on_close(void *owner)
{
	struct side *x = owner;
	event(x, 'L');
	x->listener = NULL;
}

static const struct io_listener_ops listener_ops = {
	.on_accept = side_on_accept,
	.on_accept_error = side_on_accept_error,
	.on_close = listener_on_close,
};

static void side_listen(struct side *x)
{
	*x = (struct side) { .closes_on_end = true };
	assert_int_equal(io_uv_new(&x->io), OK);
	assert_int_equal(io_listen(x->io, "127.0.0.1", 0, 16, &listener_ops, x, &x->listener), OK);
	io_listener_addr(x->listener, &x->addr);
}

static int plain_connect(const struct side *x)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_in in = {
		.sin_family = AF_INET, .sin_port = htons(x->addr.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
	};
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&in, sizeof in), 0);
	return fd;
}

/* A plain socket that talks to an accepted stream of x. */
static int side_meet(struct side *x)
{
	side_listen(x);
	const int fd = plain_connect(x);
	run(x, 'a');
	assert_non_null(x->stream);
	CHECK_BUF(&x->events, "a");
	return fd;
}

static void side_free(struct side *x)
{
	if (x->stream) io_stream_close(x->stream);
	if (x->listener) io_listener_close(x->listener);
	io_uv_free(x->io);
	assert_null(x->stream);
	assert_null(x->listener);
	buf_deinit(&x->events);
	buf_deinit(&x->received);
}

/* Two sides on one loop: `to` is accepted by `from`'s connection. */
static void sides_meet(struct side *to, struct side *from)
{
	side_listen(to);
	*from = (struct side) { .io = to->io, .closes_on_end = true };
	assert_int_equal(io_connect(to->io, to->addr.host, to->addr.port, &side_ops, from, &from->stream), OK);
	run(to, 'a');
	if (from->events.n == 0) run(from, 'c');
	assert_int_equal(from->connect, OK);
	CHECK_BUF(&to->events, "a");
	CHECK_BUF(&from->events, "c");
}

static void sides_free(struct side *to, struct side *from)
{
	if (from->stream) io_stream_close(from->stream);
	side_free(to);
	assert_null(from->stream);
	buf_deinit(&from->events);
	buf_deinit(&from->received);
}

static void both_ends_know_each_other(void **state)
{
	(void)state;
	struct side a, b;
	struct io_addr peer, local;
	sides_meet(&a, &b);
	io_stream_peer(b.stream, &peer);
	assert_string_equal(peer.host, "127.0.0.1");
	assert_int_equal(peer.port, a.addr.port);
	io_stream_local(b.stream, &local);
	io_stream_peer(a.stream, &peer);
	assert_string_equal(peer.host, local.host);
	assert_int_equal(peer.port, local.port);
	sides_free(&a, &b);
}

static void bytes_arrive_where_they_are_asked_for(void **state)
{
	(void)state;
	struct side a;
	const int fd = side_meet(&a);
	a.uses_own_memory = true;
	io_stream_read_start(a.stream);
	io_stream_read_start(a.stream);
	assert_int_equal(write(fd, "0123456789abcdefghijklmno", 25), 25);
	while (a.received.n < 25) run(&a, 'r');
	assert_memory_equal(a.received.p, "0123456789abcdefghijklmno", 25);
	assert_true(a.events.n >= 3); /* ten bytes at a time */
	buf_clear(&a.events);
	/* Nothing is read once stopped, and nothing is lost. */
	a.stops_reading = true;
	assert_int_equal(write(fd, "0123456789abcdefghijklmno", 25), 25);
	run(&a, 'r');
	CHECK_BUF(&a.events, "r");
	assert_int_equal(a.received.n, 35);
	io_stream_read_stop(a.stream);
	a.uses_own_memory = false;
	io_stream_read_start(a.stream);
	run(&a, 'r');
	assert_int_equal(a.received.n, 50);
	assert_memory_equal(a.received.p + 25, "0123456789abcdefghijklmno", 25);
	(void)close(fd);
	side_free(&a);
}

static void the_peers_end_is_told_once_and_writing_goes_on(void **state)
{
	(void)state;
	struct side a;
	const int fd = side_meet(&a);
	char back[8];
	a.closes_on_end = false;
	io_stream_read_start(a.stream);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	run(&a, 'e');
	assert_int_equal(a.end, ERR_EOF);
	assert_int_equal(side_write(&a, "late", 4), IO_WRITTEN);
	assert_int_equal(read(fd, back, sizeof back), 4);
	io_stream_read_start(a.stream); /* there is nothing more to read */
	io_stream_close(a.stream);
	io_stream_close(a.stream);
	run(&a, 'x');
	CHECK_BUF(&a.events, "ex");
	assert_int_equal(read(fd, back, sizeof back), 0);
	(void)close(fd);
	side_free(&a);
}

static void fd_reset(int fd)
{
	const struct linger now = { 1, 0 };
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
	(void)close(fd);
}

static void a_reset_is_told(void **state)
{
	(void)state;
	struct side a;
	const int fd = side_meet(&a);
	io_stream_read_start(a.stream);
	fd_reset(fd);
	run(&a, 'x');
	CHECK_BUF(&a.events, "ex");
	assert_int_equal(a.end, ERR_RESET);
	side_free(&a);
}

/* The owner learns from the write's result that nothing is borrowed, and from on_end, later, that it is over. */
static void a_broken_write_is_followed_by_the_end(void **state)
{
	(void)state;
	struct side a;
	const int fd = side_meet(&a);
	a.closes_on_end = false;
	fd_reset(fd);
	assert_int_equal(side_write(&a, "x", 1), IO_BROKEN);
	assert_int_equal(side_write(&a, "x", 1), IO_BROKEN);
	assert_int_equal(a.events.n, 0);
	run(&a, 'e');
	assert_int_equal(a.end, ERR_RESET);
	CHECK_BUF(&a.events, "e");
	io_stream_close(a.stream);
	assert_int_equal(side_write(&a, "x", 1), IO_BROKEN);
	run(&a, 'x');
	CHECK_BUF(&a.events, "x");
	side_free(&a);
}

static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(i * 7 + (i >> 9));
}

static void what_the_kernel_does_not_take_is_pending_until_drained(void **state)
{
	(void)state;
	struct side a, b;
	sides_meet(&a, &b);
	uint8_t *big = mem_alloc(BIG);
	struct slice v[IO_WRITE_SLICES_MAX];
	fill(big, BIG);
	for (unsigned i = 0; i < COUNT_OF(v); i++) v[i] = slice_of(big + i * (BIG / COUNT_OF(v)), BIG / COUNT_OF(v));
	a.is_inside = true;
	assert_int_equal(io_stream_write(a.stream, v, COUNT_OF(v)), IO_PENDING);
	a.is_inside = false;
	assert_in_range(io_stream_pending_bytes(a.stream), 1, BIG);
	io_stream_read_start(b.stream);
	run(&a, 'd');
	assert_int_equal(io_stream_pending_bytes(a.stream), 0);
	while (b.received.n < BIG) run(&b, 'r');
	assert_int_equal(b.received.n, BIG);
	assert_memory_equal(b.received.p, big, BIG);
	CHECK_BUF(&a.events, "d");
	/* And again on the same stream, ended by a close: nobody hears of the rest. */
	assert_int_equal(io_stream_write(a.stream, v, COUNT_OF(v)), IO_PENDING);
	io_stream_read_stop(b.stream);
	io_stream_close(a.stream);
	run(&a, 'x');
	CHECK_BUF(&a.events, "x");
	sides_free(&a, &b);
	mem_free(big);
}

static void a_pending_write_survives_the_peers_end_but_not_its_reset(void **state)
{
	(void)state;
	uint8_t *big = mem_alloc(BIG), *back = mem_alloc(BIG);
	fill(big, BIG);
	for (unsigned k = 0; k < 2; k++) {
		struct side a;
		const int fd = side_meet(&a);
		a.closes_on_end = false;
		io_stream_read_start(a.stream);
		assert_int_equal(side_write(&a, big, BIG), IO_PENDING);
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
		run(&a, 'e');
		assert_int_equal(a.end, ERR_EOF);
		if (k == 0) {
			/* A child reads; it has the peer's only descriptor then. */
			const pid_t pid = fork();
			assert_true(pid >= 0);
			if (pid == 0) {
				size_t got = 0;
				for (ssize_t n = 1; got < BIG && n > 0; got += (size_t)(n > 0 ? n : 0))
					n = read(fd, back, BIG - got);
				_exit(got == BIG ? 0 : 1);
			}
			(void)close(fd);
			run(&a, 'd');
			int status;
			assert_int_equal(waitpid(pid, &status, 0), pid);
			assert_int_equal(status, 0);
		} else {
			/* The end was told; the memory comes back all the same. */
			fd_reset(fd);
			run(&a, 'd');
			assert_int_equal(side_write(&a, "x", 1), IO_BROKEN);
		}
		CHECK_BUF(&a.events, "ed");
		side_free(&a);
	}
	mem_free(big);
	mem_free(back);
}

static void connecting_fails_with_a_reason(void **state)
{
	(void)state;
	struct side a, b = { 0 };
	side_listen(&a);
	b.io = a.io;
	assert_int_equal(io_connect(a.io, "localhost", 1, &side_ops, &b, &b.stream), ERR_INVALID);
	assert_int_equal(io_connect(a.io, "1.2.3", 1, &side_ops, &b, &b.stream), ERR_INVALID);
	assert_null(b.stream);
	/* A port that nobody listens on: the one that was just given up. */
	const uint16_t port = a.addr.port;
	io_listener_close(a.listener);
	io_listener_close(a.listener);
	run(&a, 'L');
	assert_int_equal(io_connect(a.io, "127.0.0.1", port, &side_ops, &b, &b.stream), OK);
	assert_int_equal(b.events.n, 0);
	run(&b, 'x');
	CHECK_BUF(&b.events, "cx");
	assert_int_equal(b.connect, ERR_REFUSED);
	/* Closed before it is connected: no on_connect any more. */
	assert_int_equal(io_connect(a.io, "127.0.0.1", port, &side_ops, &b, &b.stream), OK);
	io_stream_close(b.stream);
	run(&b, 'x');
	CHECK_BUF(&b.events, "x");
	/* No way there at all is told like a refusal. */
	assert_int_equal(io_connect(a.io, "255.255.255.255", 9, &side_ops, &b, &b.stream), OK);
	run(&b, 'x');
	CHECK_BUF(&b.events, "cx");
	assert_true(b.connect != OK);
	side_free(&a);
	buf_deinit(&b.events);
}

static void listening_fails_with_a_reason(void **state)
{
	(void)state;
	struct side a;
	struct io_listener *l;
	side_listen(&a);
	assert_int_equal(io_listen(a.io, "127.0.0.1", a.addr.port, 16, &listener_ops, &a, &l), ERR_ADDR_IN_USE);
	assert_null(l);
	assert_int_equal(io_listen(a.io, "nowhere", 0, 16, &listener_ops, &a, &l), ERR_INVALID);
	assert_int_equal(io_listen(a.io, "192.0.2.1", 0, 16, &listener_ops, &a, &l), ERR_ADDR);
	side_free(&a);
}

static void a_listener_for_both_families_shows_plain_addresses(void **state)
{
	(void)state;
	struct side a = { 0 };
	struct io_addr peer;
	assert_int_equal(io_uv_new(&a.io), OK);
	if (io_listen(a.io, "::", 0, 16, &listener_ops, &a, &a.listener) != OK) skip(); /* a machine without IPv6 */
	io_listener_addr(a.listener, &a.addr);
	assert_string_equal(a.addr.host, "::");
	const int fd = plain_connect(&a);
	run(&a, 'a');
	io_stream_peer(a.stream, &peer);
	assert_string_equal(peer.host, "127.0.0.1");
	(void)close(fd);
	side_free(&a);
}

static void a_connection_that_nobody_wants_is_closed(void **state)
{
	(void)state;
	struct side a;
	const int fd = side_meet(&a), second = plain_connect(&a);
	char c;
	run(&a, 'a');
	/* The stream goes in the closing phase of that turn; the peer sees its end. */
	assert_int_equal(read(second, &c, 1), 0);
	assert_non_null(a.stream);
	CHECK_BUF(&a.events, "a");
	(void)close(fd);
	(void)close(second);
	side_free(&a);
}

/* Out of descriptors the listener pauses and tries again: whoever waits in the backlog is served later, not dropped. */
static void a_shortage_of_descriptors_only_delays(void **state)
{
	(void)state;
	struct side a;
	side_listen(&a);
	const int fd = plain_connect(&a);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &a.files), 0);
	const int next = dup(0);
	assert_true(next > 0);
	(void)close(next);
	const struct rlimit low = { (rlim_t)next, a.files.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	const uint64_t start = io_now_precise_ns(a.io);
	run(&a, 'a'); /* on_accept_error lifts the limit again */
	CHECK_BUF(&a.events, "Ea");
	assert_int_equal(a.accept_error, ERR_FILES);
	assert_true(io_now_precise_ns(a.io) - start >= MILLIS(100));
	assert_int_equal(write(fd, "x", 1), 1);
	io_stream_read_start(a.stream);
	run(&a, 'r');
	(void)close(fd);
	side_free(&a);
}

static void connecting_without_descriptors_says_so(void **state)
{
	(void)state;
	struct side a, b = { 0 };
	side_listen(&a);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &a.files), 0);
	const int next = dup(0);
	(void)close(next);
	const struct rlimit low = { (rlim_t)next, a.files.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	const enum err e = io_connect(a.io, "127.0.0.1", a.addr.port, &side_ops, &b, &b.stream);
	const enum err listening = io_listen(a.io, "127.0.0.1", 0, 1, &listener_ops, &b, &b.listener);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &a.files), 0);
	assert_int_equal(e, ERR_FILES);
	assert_int_equal(listening, ERR_FILES);
	assert_null(b.stream);
	side_free(&a);
	assert_int_equal(b.events.n, 0);
}

static void an_idle_stream_is_small(void **state)
{
	(void)state;
	assert_true(uv_net_stream_bytes() < 400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_know_each_other),
		cmocka_unit_test(bytes_arrive_where_they_are_asked_for),
		cmocka_unit_test(the_peers_end_is_told_once_and_writing_goes_on),
		cmocka_unit_test(a_reset_is_told),
		cmocka_unit_test(a_broken_write_is_followed_by_the_end),
		cmocka_unit_test(what_the_kernel_does_not_take_is_pending_until_drained),
		cmocka_unit_test(a_pending_write_survives_the_peers_end_but_not_its_reset),
		cmocka_unit_test(connecting_fails_with_a_reason),
		cmocka_unit_test(listening_fails_with_a_reason),
		cmocka_unit_test(a_listener_for_both_families_shows_plain_addresses),
		cmocka_unit_test(a_connection_that_nobody_wants_is_closed),
		cmocka_unit_test(a_shortage_of_descriptors_only_delays),
		cmocka_unit_test(connecting_without_descriptors_says_so),
		cmocka_unit_test(an_idle_stream_is_small),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
