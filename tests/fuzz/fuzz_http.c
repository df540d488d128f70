/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile visitor of the monitoring port. Whatever it sends, in whatever pieces, each answer is a whole one with a length that is
 * right, the connection goes when it should, and no memory stays. Input: pieces, each a byte of length before it. */
#include "fake_io.h"
#include "thebes/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bed {
	struct fake_io fake;
	struct diag diag;
	struct ledger memory;
	struct net net;
	struct auth auth;
	struct clients clients;
	struct conf conf;
	struct http http;
	struct fake_stream visitor;
};

static void bed_open(struct bed *b)
{
	fake_init(&b->fake);
	diag_init(&b->diag, DIAG_FATAL, NULL, NULL);
	ledger_init(&b->memory, NULL, 0);
	net_init(&b->net, &b->fake.io, &b->diag, SECONDS(10));
	auth_init(&b->auth, &b->fake.io, 1);
	struct conf_report report = { 0 };
	enum err e = conf_load(&b->conf, NULL, NULL, NULL, &report);
	ASSERT(e == OK);
	conf_report_deinit(&report);
	struct client_options o = { .max_connections = 10 };
	struct wire_info info = { 0 };
	clients_init(&b->clients, &b->net, &b->auth, &o, &info, &b->memory);
	http_init(&b->http, &b->net);
	b->http.view.conf = &b->conf;
	b->http.view.clients = &b->clients;
	b->http.view.auth = &b->auth;
	b->http.view.server_id = b->http.view.server_name = b->http.view.version = b->http.view.own_version = "x";
	b->http.listener.net = &b->net;
	b->visitor.base.io = &b->fake.io;
	b->http.listener.on_accept(&b->http.listener, &b->visitor.base);
}

/* Every answer has a status line, a length, and that many bytes of body, unless the question was HEAD. */
static void check_output(struct slice left)
{
	while (left.n) {
		ASSERT(slice_has_prefix(left, SLICE("HTTP/1.1 ")));
		const uint8_t *end = memmem(left.p, left.n, "\r\n\r\n", 4);
		ASSERT(end != NULL);
		struct slice head = slice_first(left, (size_t)(end - left.p) + 4);
		const uint8_t *at = memmem(head.p, head.n, "Content-Length: ", 16);
		ASSERT(at != NULL);
		size_t length = 0;
		for (at += 16; *at >= '0' && *at <= '9'; at++) length = length * 10 + (size_t)(*at - '0');
		left = slice_from(left, head.n);
		if (left.n == 0 || slice_has_prefix(left, SLICE("HTTP/1.1 "))) continue; /* HEAD */
		ASSERT(length <= left.n);
		left = slice_from(left, length);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bed *b = NEW(struct bed);
	struct slice in = slice_of(data, size);
	bed_open(b);
	while (in.n) {
		size_t n = size_min(in.p[0], in.n - 1);
		if (n == 0) fake_pass(&b->fake, SECONDS(4));
		fake_stream_feed(&b->visitor, slice_first(slice_from(in, 1), n));
		fake_pass(&b->fake, MILLIS(6));
		net_turn_end(&b->net);
		in = slice_from(in, n + 1);
	}
	check_output(buf_slice(&b->visitor.out));
	fake_stream_end(&b->visitor);
	ASSERT(b->http.count == 0);
	http_deinit(&b->http);
	clients_deinit(&b->clients);
	ledger_deinit(&b->memory);
	net_deinit(&b->net);
	auth_deinit(&b->auth);
	diag_deinit(&b->diag);
	conf_deinit(&b->conf);
	mem_free(b);
	return 0;
}
