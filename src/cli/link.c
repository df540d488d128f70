/* SPDX-License-Identifier: Apache-2.0 */
/* A NATS client over one blocking socket: what is published gathers and goes out before anything is waited for. */
#include "cli_inside.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OUT_MAX = 64 * 1024, READ_BYTES = 64 * 1024, POLL_MS_MAX = 3600 * 1000 };

uint64_t clock_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- where to ---- */

struct target {
	char host[256], port[8], user[128], password[128];
};

static bool take(char *to, size_t room, struct slice s)
{
	if (s.n >= room) return false;
	memcpy(to, s.p, s.n);
	to[s.n] = '\0';
	return true;
}

static bool parse_url(const char *url, struct target *t)
{
	struct slice s = slice_of_str(url);
	const char *scheme = strstr(url, "://");
	if (scheme) {
		struct slice name = slice_of(url, (size_t)(scheme - url));
		if (!slice_eq(name, SLICE("nats")) && !slice_eq(name, SLICE("tcp"))) return false;
		s = slice_of_str(scheme + 3);
	}
	while (s.n && s.p[s.n - 1] == '/') s.n--;
	ptrdiff_t at = slice_find(s, '@');
	if (at >= 0) {
		struct slice who = slice_first(s, (size_t)at);
		ptrdiff_t colon = slice_find(who, ':');
		if (!take(t->user, sizeof t->user, colon < 0 ? who : slice_first(who, (size_t)colon))) return false;
		if (colon >= 0 && !take(t->password, sizeof t->password, slice_from(who, (size_t)colon + 1)))
			return false;
		s = slice_from(s, (size_t)at + 1);
	}
	struct slice port = SLICE("4222");
	if (s.n && s.p[0] == '[') {
		ptrdiff_t close = slice_find(s, ']');
		if (close < 0) return false;
		if ((size_t)close + 1 < s.n && s.p[close + 1] == ':') port = slice_from(s, (size_t)close + 2);
		s = slice_first(slice_from(s, 1), (size_t)close - 1);
	} else {
		ptrdiff_t colon = slice_find(s, ':');
		if (colon >= 0) {
			port = slice_from(s, (size_t)colon + 1);
			s = slice_first(s, (size_t)colon);
		}
	}
	return s.n && take(t->host, sizeof t->host, s) && take(t->port, sizeof t->port, port);
}

static int dial(struct link *l, const struct target *t)
{
	struct addrinfo want = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	int rv = getaddrinfo(t->host, t->port, &want, &found), fd = -1, last = 0;
	if (rv != 0) {
		(void)snprintf(l->why, sizeof l->why,
			"host %s is not known (%s): give the server with --server or THEBES_URL", t->host,
			gai_strerror(rv));
		return -1;
	}
	for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
			last = errno;
			(void)close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(found);
	if (fd < 0)
		(void)snprintf(l->why, sizeof l->why,
			"no server at %s:%s (%s): start one with `thebes server -js`, or give --server", t->host,
			t->port, strerror(last));
	return fd;
}

/* ---- bytes ---- */

static bool broken(struct link *l, const char *what)
{
	(void)snprintf(l->why, sizeof l->why, "%s", what);
	return false;
}

bool link_flush(struct link *l)
{
	size_t at = 0;
	while (at < l->out.n) {
		ssize_t n = send(l->fd, l->out.p + at, l->out.n - at, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) return broken(l, "the server closed the connection");
		at += (size_t)n;
	}
	buf_clear(&l->out);
	return true;
}

/* 1: more is there; 0: time is up; -1: broken. */
static int read_more(struct link *l, uint64_t until_ns)
{
	if (l->in_at) {
		buf_consume(&l->in, l->in_at);
		l->in_at = 0;
	}
	for (;;) {
		uint64_t now = clock_ns();
		struct pollfd p = { .fd = l->fd, .events = POLLIN };
		uint64_t wait_ms = until_ns > now ? (until_ns - now + NS_PER_MS - 1) / NS_PER_MS : 0;
		int rv = poll(&p, 1, (int)u64_min(wait_ms, POLL_MS_MAX));
		if (rv < 0 && errno != EINTR) return -1;
		if (rv <= 0 && until_ns <= clock_ns()) return 0;
		if (rv <= 0) continue;
		ssize_t n = recv(l->fd, buf_reserve(&l->in, READ_BYTES), READ_BYTES, 0);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) {
			if (!l->why[0]) (void)broken(l, "the server closed the connection");
			return -1;
		}
		l->in.n += (size_t)n;
		return 1;
	}
}

/* The next operation of any kind. */
static enum link_next next_op(struct link *l, uint64_t until_ns, struct wire_op *op)
{
	for (;;) {
		switch (wire_parse(&l->parser, slice_from(buf_slice(&l->in), l->in_at), op)) {
		case WIRE_OP: l->in_at += op->used; return LINK_MSG;
		case WIRE_BAD:
			(void)broken(l, "what answers there does not speak the NATS protocol");
			return LINK_BROKEN;
		case WIRE_MORE:
		case WIRE_BODY: break;
		}
		int rv = read_more(l, until_ns);
		if (rv <= 0) return rv == 0 ? LINK_TIMEOUT : LINK_BROKEN;
	}
}

enum link_next link_next(struct link *l, uint64_t timeout_ns, struct wire_op *op)
{
	uint64_t now = clock_ns(), until = timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
	if (!link_flush(l)) return LINK_BROKEN;
	for (;;) {
		enum link_next r = next_op(l, until, op);
		if (r != LINK_MSG) return r;
		if (op->verb == WIRE_MSG || op->verb == WIRE_HMSG) return LINK_MSG;
		if (op->verb == WIRE_PING) {
			buf_append_slice(&l->out, WIRE_PONG_LINE);
			if (!link_flush(l)) return LINK_BROKEN;
		}
		if (op->verb == WIRE_ERR) {
			(void)snprintf(
				l->why, sizeof l->why, "the server says: %.*s", SLICE_FMT(slice_first(op->args, 200)));
			return LINK_BROKEN;
		}
	}
}

/* ---- hello ---- */

static bool wait_for(struct link *l, enum wire_verb verb, uint64_t until_ns, struct wire_op *op)
{
	for (;;) {
		enum link_next r = next_op(l, until_ns, op);
		if (r == LINK_TIMEOUT) return broken(l, "the server does not answer in time");
		if (r == LINK_BROKEN) return false;
		if (op->verb == verb) return true;
		if (op->verb == WIRE_ERR) {
			(void)snprintf(l->why, sizeof l->why,
				"the server refuses: %.*s (see --user, --password, --token)",
				SLICE_FMT(slice_first(op->args, 200)));
			return false;
		}
	}
}

static bool hello(struct link *l, const struct options *o, const struct target *t)
{
	struct wire_op op;
	uint64_t until = clock_ns() + o->timeout_ns;
	if (!wait_for(l, WIRE_INFO, until, &op)) return false;
	if (wire_info_parse(&l->info, op.args) != OK) return broken(l, "the server's INFO can not be read");
	if (l->info.tls_required) return broken(l, "the server wants TLS, which this client does not speak yet");
	struct wire_connect c;
	wire_connect_init(&c);
	c.verbose = c.pedantic = false;
	c.echo = c.headers = c.no_responders = true;
	c.protocol = 1;
	c.name = SLICE("thebes");
	c.lang = SLICE("c");
	c.version = SLICE(THEBES_VERSION);
	const char *user = *o->user ? o->user : t->user, *password = *o->password ? o->password : t->password;
	c.auth_token = slice_of_str(*o->token ? o->token : *user && !*password ? user : "");
	if (!c.auth_token.n) {
		c.user = slice_of_str(user);
		c.pass = slice_of_str(password);
	}
	wire_connect_append(&l->out, &c);
	buf_append_slice(&l->out, WIRE_PING_LINE);
	return link_flush(l) && wait_for(l, WIRE_PONG, until, &op);
}

bool link_open(struct link *l, const struct options *o)
{
	struct target t = { .port = "4222" };
	uint64_t random = 0;
	*l = (struct link) { .fd = -1, .sid_next = 1 };
	l->parser = (struct wire_parser) { .verbs = WIRE_FROM_SERVER,
		.forbidden = WIRE_ERROR_UNKNOWN_OP,
		.control_line_max = 1 << 20,
		.payload_max = UINT32_MAX };
	if (!parse_url(o->server, &t)) {
		(void)snprintf(l->why, sizeof l->why,
			"\"%.200s\" is not a server: nats://[user[:password]@]host[:port]", o->server);
		return false;
	}
	l->fd = dial(l, &t);
	if (l->fd < 0) return false;
	int one = 1;
	(void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) random = clock_ns();
	(void)snprintf(l->inbox, sizeof l->inbox, "_INBOX.%016llx", (unsigned long long)random);
	return hello(l, o, &t);
}

void link_close(struct link *l)
{
	if (l->fd >= 0) {
		link_flush(l);
		(void)close(l->fd);
		l->fd = -1;
	}
	wire_info_deinit(&l->info);
	buf_deinit(&l->in);
	buf_deinit(&l->out);
}

/* ---- saying things ---- */

void link_publish(struct link *l, struct slice subject, struct slice reply, struct slice header, struct slice payload)
{
	struct wire_msg m = { .subject = subject, .reply = reply, .header = header, .payload = payload };
	l->out.n += wire_pub_encode(buf_reserve(&l->out, wire_encode_bytes_max(&m)), &m);
	if (l->out.n > OUT_MAX) link_flush(l); /* a failure shows when something is waited for */
}

uint64_t link_subscribe(struct link *l, struct slice subject, struct slice queue)
{
	char sid[24];
	int n = snprintf(sid, sizeof sid, "%llu", (unsigned long long)l->sid_next);
	wire_sub_append(&l->out, subject, queue, slice_of(sid, (size_t)n));
	return l->sid_next++;
}

enum link_next link_request(struct link *l, struct slice subject, struct slice header, struct slice payload,
	uint64_t timeout_ns, struct wire_op *op)
{
	char reply[64], pattern[40];
	if (!l->requests_open) {
		(void)snprintf(pattern, sizeof pattern, "%s.*", l->inbox);
		(void)link_subscribe(l, slice_of_str(pattern), SLICE_NULL);
		l->requests_open = true;
	}
	int n = snprintf(reply, sizeof reply, "%s.%llu", l->inbox, (unsigned long long)++l->request_next);
	link_publish(l, subject, slice_of(reply, (size_t)n), header, payload);
	uint64_t until = clock_ns() + timeout_ns;
	for (;;) {
		uint64_t now = clock_ns();
		enum link_next r = link_next(l, until > now ? until - now : 0, op);
		if (r == LINK_TIMEOUT)
			(void)snprintf(l->why, sizeof l->why, "no answer on %.*s in time",
				SLICE_FMT(slice_first(subject, 120)));
		if (r != LINK_MSG) return r;
		if (!slice_eq(op->subject, slice_of(reply, (size_t)n))) continue;
		if (op->header.n && header_status(op->header, NULL) == 503) {
			(void)snprintf(
				l->why, sizeof l->why, "nobody answers on %.*s", SLICE_FMT(slice_first(subject, 120)));
			return LINK_BROKEN;
		}
		return LINK_MSG;
	}
}
