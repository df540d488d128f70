/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile client beside a good one that listens to everything. Whatever the first sends, in whatever pieces, what the server says to
 * either of them is well-formed protocol, and in the end nothing is left: no session, no subscription, no byte of memory charged.
 * Input: a byte of mode, then pieces, each a byte of length before it. */
#include "fake_io.h"
#include "thebes/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MODE_LOGIN = 1, MODE_SMALL = 2, MODE_LATE = 4, MODE_LISTENER_HEADERS = 8 };

struct bed {
	struct fake_io fake;
	struct diag diag;
	struct ledger memory;
	struct net net;
	struct auth auth;
	struct clients clients;
	struct fake_stream hostile, listener;
};

static void bed_users(struct bed *b)
{
	static const struct slice allowed[] = { { (const uint8_t *)"ok.>", 4 }, { (const uint8_t *)"a.*", 3 } };
	static const struct slice denied[] = { { (const uint8_t *)"a.b", 3 } };
	static const struct auth_permissions_conf some = {
		.publish = { .allow = allowed,
			.allow_count = 2,
			.deny = denied,
			.deny_count = 1,
			.allow_is_set = true },
		.subscribe = { .allow = allowed,
			.allow_count = 2,
			.deny = denied,
			.deny_count = 1,
			.allow_is_set = true },
		.allow_responses = true,
	};
	const struct auth_user_conf users[] = {
		{ .user = SLICE("a"), .password = SLICE("a"), .permissions = &some },
		{ .user = SLICE("l"), .password = SLICE("l") },
	};
	struct auth_conf conf = { .users = users, .user_count = COUNT_OF(users) };
	struct buf why = { 0 };
	enum err e = auth_configure(&b->auth, &conf, &why);
	ASSERT(e == OK);
	buf_deinit(&why);
}

static void bed_open(struct bed *b, uint8_t mode)
{
	fake_init(&b->fake);
	diag_init(&b->diag, DIAG_FATAL, NULL, NULL);
	ledger_init(&b->memory, NULL, 0);
	net_init(&b->net, &b->fake.io, &b->diag, SECONDS(10));
	auth_init(&b->auth, &b->fake.io, 1);
	if (mode & MODE_LOGIN) bed_users(b);
	struct client_options o = {
		.max_connections = 10,
		.max_subscriptions = mode & MODE_SMALL ? 4 : 0,
		.max_sub_tokens = mode & MODE_SMALL ? 3 : 0,
		.max_control_line_bytes = mode & MODE_SMALL ? 64 : 4096,
		.max_payload_bytes = mode & MODE_SMALL ? 64 : 1024 * 1024,
		.max_pending_bytes = mode & MODE_SMALL ? 4096 : 1024 * 1024,
		.ping_interval_ns = SECONDS(120),
		.auth_timeout_ns = SECONDS(2),
		.ping_max = 2,
		.max_closed = 2,
	};
	struct wire_info info = { .server_id = SLICE("S"), .server_name = SLICE("S"), .version = SLICE("2.9.0") };
	clients_init(&b->clients, &b->net, &b->auth, &o, &info, &b->memory);
	b->hostile.base.io = b->listener.base.io = &b->fake.io;
	b->hostile.takes_late = mode & MODE_LATE;
	clients_accept(&b->clients, &b->listener.base);
	fake_stream_feed(&b->listener,
		mode & MODE_LISTENER_HEADERS
			? SLICE("CONNECT {\"verbose\":false,\"headers\":true,\"user\":\"l\",\"pass\":\"l\"}\r\nSUB > "
				"1\r\n")
			: SLICE("CONNECT {\"verbose\":false,\"user\":\"l\",\"pass\":\"l\"}\r\nSUB > 1\r\n"));
	clients_accept(&b->clients, &b->hostile.base);
}

/* Everything that was written is what a client understands. */
static void check_output(const struct fake_stream *s)
{
	struct wire_parser p = { .verbs = WIRE_FROM_SERVER, .control_line_max = 1 << 20, .payload_max = 1 << 20 };
	struct slice left = buf_slice(&s->out);
	while (left.n) {
		struct wire_op op;
		enum wire_result r = wire_parse(&p, left, &op);
		ASSERT(r == WIRE_OP || s->is_closed); /* a closed one may be cut short */
		if (r != WIRE_OP) return;
		left = slice_from(left, op.used);
	}
}

static void bed_turn(struct bed *b, uint64_t ns)
{
	fake_pass(&b->fake, ns);
	net_turn_end(&b->net);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0) return 0;
	struct bed *b = NEW(struct bed);
	struct slice in = slice_of(data + 1, size - 1);
	bed_open(b, data[0]);
	while (in.n) {
		size_t n = size_min(in.p[0], in.n - 1);
		struct slice piece = slice_first(slice_from(in, 1), n);
		if (n == 0)
			bed_turn(b, SECONDS(1)); /* nothing is said for a while */
		else
			fake_stream_feed(&b->hostile, piece);
		bed_turn(b, MILLIS(6)); /* a producer that had to rest may go on */
		if (in.p[0] & 1) fake_stream_drain(&b->hostile);
		in = slice_from(in, n + 1);
	}
	bed_turn(b, 0);
	check_output(&b->listener);
	check_output(&b->hostile);
	fake_stream_end(&b->hostile);
	fake_stream_end(&b->listener);
	bed_turn(b, 0);
	ASSERT(b->clients.count == 0 && b->auth.global->router.sub_count == 0);
	clients_deinit(&b->clients);
	ledger_deinit(&b->memory);
	net_deinit(&b->net);
	auth_deinit(&b->auth);
	diag_deinit(&b->diag);
	mem_free(b);
	return 0;
}
