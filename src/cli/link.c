/* SPDX-License-Identifier: Apache-2.0 */
/* A NATS client over one channel: what is published gathers and goes out before anything is waited for. */
#include "cli_inside.h"

#include <stdlib.h>
#include <sys/random.h>

enum { OUT_MAX = 64 * 1024, READ_BYTES = 64 * 1024 };

static uint64_t deadline(uint64_t timeout_ns)
{
	uint64_t now = clock_ns();
	return timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
}

static bool broken(struct link *l, const char *what)
{
	(void)snprintf(l->why, sizeof l->why, "%s", what);
	return false;
}

/* ---- where to ---- */

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9') return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Copies with %41 as A, as everywhere in a URL. */
static bool take(char *to, size_t room, struct slice s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		if (c == '%') {
			int high = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1,
			    low = high >= 0 ? hex_digit(s.p[i + 2]) : -1;
			if (low < 0) return false;
			c = (uint8_t)(high << 4 | low);
			i += 2;
		}
		if (c == '\0' || n + 1 >= room) return false;
		to[n++] = (char)c;
	}
	to[n] = '\0';
	return true;
}

static bool take_user(struct target *t, struct slice who)
{
	ptrdiff_t colon = slice_find(who, ':');
	if (!take(t->user, sizeof t->user, colon < 0 ? who : slice_first(who, (size_t)colon))) return false;
	return colon < 0 || take(t->password, sizeof t->password, slice_from(who, (size_t)colon + 1));
}

/* "host", "host:port", "[::1]:port" */
static bool take_host(struct target *t, struct slice s)
{
	struct slice port = SLICE("4222");
	bool has_port = false;
	if (s.n && s.p[0] == '[') {
		ptrdiff_t close = slice_find(s, ']');
		if (close < 0) return false;
		struct slice rest = slice_from(s, (size_t)close + 1);
		if (rest.n && rest.p[0] != ':') return false;
		has_port = rest.n > 0;
		port = has_port ? slice_from(rest, 1) : port;
		s = slice_first(slice_from(s, 1), (size_t)close - 1);
	} else {
		ptrdiff_t colon = slice_find(s, ':');
		has_port = colon >= 0;
		if (has_port) port = slice_from(s, (size_t)colon + 1);
		if (has_port) s = slice_first(s, (size_t)colon);
	}
	uint64_t number;
	if (slice_to_u64(port, &number) != OK || number == 0 || number > 65535) return false;
	return s.n && take(t->host, sizeof t->host, s) && take(t->port, sizeof t->port, port);
}

static bool parse_url(struct slice s, struct target *t)
{
	static const char *const schemes[] = { "nats://", "tcp://", "tls://" };
	*t = (struct target) { 0 };
	for (size_t i = 0; i < COUNT_OF(schemes); i++) {
		struct slice scheme = slice_of_str(schemes[i]);
		if (s.n < scheme.n || !slice_eq_nocase(slice_first(s, scheme.n), scheme)) continue;
		t->tls = schemes[i][1] == 'l';
		s = slice_from(s, scheme.n);
		break;
	}
	while (s.n && s.p[s.n - 1] == '/') s.n--;
	for (size_t at = s.n; at-- > 0;) { /* the last one: a password may have more of them */
		if (s.p[at] != '@') continue;
		if (!take_user(t, slice_first(s, at))) return false;
		s = slice_from(s, at + 1);
		break;
	}
	return take_host(t, s);
}

/* ---- bytes ---- */

bool link_flush(struct link *l)
{
	if (l->is_broken) return false; /* half a line may have gone: nothing can follow it */
	if (l->out.n == 0) return true;
	l->is_broken = !channel_write(&l->channel, l->out.p, l->out.n, deadline(l->timeout_ns), l->why);
	buf_clear(&l->out);
	return !l->is_broken;
}

/* 1: more is there; 0: time is up; -1: broken. */
static int read_more(struct link *l, uint64_t until_ns)
{
	if (l->in_at) {
		buf_consume(&l->in, l->in_at);
		l->in_at = 0;
	}
	int n = channel_read(&l->channel, buf_reserve(&l->in, READ_BYTES), READ_BYTES, until_ns, l->why);
	if (n > 0) l->in.n += (size_t)n;
	return n > 0 ? 1 : n;
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

static void say_refused(struct link *l, struct slice text)
{
	static const struct slice violation = SLICE("Permissions Violation");
	bool is_permission = text.n >= violation.n && slice_eq_nocase(slice_first(text, violation.n), violation);
	(void)snprintf(l->why, sizeof l->why, "the server refuses: %.*s%s", SLICE_FMT(slice_first(text, 300)),
		is_permission ? " (this user may not: ask for the permission, or come as another with --user)" : "");
}

/* Who closes on us while we write has often said why, and that has come: it is a better sentence. */
static bool flush_or_explain(struct link *l)
{
	char sentence[WHY_BYTES];
	struct wire_op op;
	if (link_flush(l)) return true;
	memcpy(sentence, l->why, sizeof sentence);
	l->why[0] = '\0';
	while (next_op(l, 0, &op) == LINK_MSG) {
		if (op.verb != WIRE_ERR) continue;
		say_refused(l, op.args);
		return false;
	}
	if (!l->why[0]) memcpy(l->why, sentence, sizeof sentence);
	return false;
}

enum link_next link_next_or_pong(struct link *l, uint64_t timeout_ns, struct wire_op *op, bool *ponged)
{
	uint64_t until = deadline(timeout_ns);
	*ponged = false;
	if (!flush_or_explain(l)) return LINK_BROKEN;
	for (;;) {
		enum link_next r = next_op(l, until, op);
		if (r != LINK_MSG) return r;
		if (op->verb == WIRE_MSG || op->verb == WIRE_HMSG) return LINK_MSG;
		if (op->verb == WIRE_PONG) {
			*ponged = true;
			return LINK_TIMEOUT;
		}
		if (op->verb == WIRE_PING) {
			buf_append_slice(&l->out, WIRE_PONG_LINE);
			if (!link_flush(l)) return LINK_BROKEN;
		}
		if (op->verb == WIRE_ERR) {
			say_refused(l, op->args);
			return LINK_BROKEN;
		}
	}
}

enum link_next link_next(struct link *l, uint64_t timeout_ns, struct wire_op *op)
{
	uint64_t until = deadline(timeout_ns);
	for (;;) {
		bool ponged;
		uint64_t now = clock_ns();
		enum link_next r = link_next_or_pong(l, until > now ? until - now : 0, op, &ponged);
		if (r != LINK_TIMEOUT || !ponged) return r;
	}
}

/* ---- hello ---- */

/* Sentences for a server that says no to whom we are. */
static void say_unwelcome(struct link *l, struct slice text)
{
	(void)snprintf(l->why, sizeof l->why, "the server refuses: %.*s (see --user, --password, --token)",
		SLICE_FMT(slice_first(text, 200)));
}

static bool wait_for(struct link *l, enum wire_verb verb, uint64_t until_ns, struct wire_op *op)
{
	for (;;) {
		enum link_next r = next_op(l, until_ns, op);
		if (r == LINK_TIMEOUT) return broken(l, "the server does not answer in time");
		if (r == LINK_BROKEN) return false;
		if (op->verb == verb) return true;
		if (op->verb == WIRE_ERR) {
			say_unwelcome(l, op->args);
			return false;
		}
	}
}

static bool is_given(const struct options *o, unsigned option) { return o->given >> option & 1; }

/* What is said on the command line goes before the URL, the URL before the environment. */
static void take_credentials(struct wire_connect *c, const struct options *o, const struct target *t)
{
	bool by_url = *t->user && !is_given(o, OPTION_user) && !is_given(o, OPTION_token);
	const char *user = by_url ? t->user : o->user, *password = by_url ? t->password : o->password;
	const char *token = by_url ? "" : o->token;
	if (is_given(o, OPTION_password)) password = o->password;
	if (is_given(o, OPTION_user)) token = is_given(o, OPTION_token) ? token : "";
	if (!*token && *user && !*password) token = user;
	c->auth_token = slice_of_str(token);
	if (*token) return;
	c->user = slice_of_str(user);
	c->pass = slice_of_str(password);
}

static bool wants_tls(const struct options *o, const struct target *t)
{
	return t->tls || o->tls || o->tls_first || *o->tls_ca || *o->tls_cert || *o->tls_key;
}

/* INFO has come in the clear. What follows it before the handshake is nobody's word. */
static bool upgrade(struct link *l, const struct options *o, const struct target *t, uint64_t until)
{
	if (!wants_tls(o, t) && !l->info.tls_required) return true;
	if (!l->info.tls_required && !l->info.tls_available)
		return broken(l, "the server speaks no TLS, which tls://, --tls or a certificate asks for: set it up "
				 "there (tls { … }), or come without");
	if (l->in.n > l->in_at) return broken(l, "somebody speaks before the TLS handshake: not going on");
	return channel_secure(&l->channel, o, t, until, l->why);
}

static bool hello(struct link *l, const struct options *o, const struct target *t, uint64_t until)
{
	struct wire_op op;
	if (o->tls_first && !channel_secure(&l->channel, o, t, until, l->why)) return false;
	if (!wait_for(l, WIRE_INFO, until, &op)) {
		if (strcmp(l->why, "the server does not answer in time") == 0 && !o->tls_first)
			return broken(l,
				"what is there says nothing: no NATS server, or one that wants TLS first (--tlsfirst)");
		return false;
	}
	if (wire_info_parse(&l->info, op.args) != OK) return broken(l, "the server's INFO can not be read");
	if (!o->tls_first && !upgrade(l, o, t, until)) return false;
	struct wire_connect c;
	wire_connect_init(&c);
	c.verbose = c.pedantic = false;
	c.echo = c.headers = c.no_responders = true;
	c.tls_required = l->channel.ssl != NULL;
	c.protocol = 1;
	c.name = SLICE("thebes");
	c.lang = SLICE("c");
	c.version = SLICE(THEBES_VERSION);
	take_credentials(&c, o, t);
	wire_connect_append(&l->out, &c);
	buf_append_slice(&l->out, WIRE_PING_LINE);
	return flush_or_explain(l) && wait_for(l, WIRE_PONG, until, &op);
}

static bool try_target(struct link *l, const struct options *o, const struct target *t)
{
	uint64_t random = 0, until = deadline(o->timeout_ns);
	*l = (struct link) { .channel.fd = -1, .sid_next = 1, .timeout_ns = o->timeout_ns };
	l->parser = (struct wire_parser) { .verbs = WIRE_FROM_SERVER,
		.forbidden = WIRE_ERROR_UNKNOWN_OP,
		.control_line_max = 1 << 20,
		.payload_max = UINT32_MAX };
	if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) random = clock_ns();
	(void)snprintf(l->inbox, sizeof l->inbox, "_INBOX.%016llx", (unsigned long long)random);
	return channel_dial(&l->channel, t, until, l->why) && hello(l, o, t, until);
}

bool link_open(struct link *l, const struct options *o)
{
	struct slice left = slice_of_str(o->server);
	*l = (struct link) { .channel.fd = -1 };
	do {
		struct target t;
		ptrdiff_t comma = slice_find(left, ',');
		struct slice one = comma < 0 ? left : slice_first(left, (size_t)comma);
		left = comma < 0 ? SLICE_NULL : slice_from(left, (size_t)comma + 1);
		while (one.n && one.p[0] == ' ') one = slice_from(one, 1);
		while (one.n && one.p[one.n - 1] == ' ') one.n--;
		link_close(l);
		if (!parse_url(one, &t)) /* not repeated: there may be a password in it */
			return broken(l,
				"--server is no server's address: nats://[user[:password]@]host[:port], or tls://… "
				"(a % or @ in a password is written %25 or %40)");
		if (try_target(l, o, &t)) return true;
	} while (left.n);
	return false;
}

void link_close(struct link *l)
{
	if (l->channel.fd >= 0) {
		(void)link_flush(l);
		channel_close(&l->channel);
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
	if (l->out.n > OUT_MAX) (void)link_flush(l); /* a failure shows when something is waited for */
}

static struct slice sid_text(char text[24], uint64_t sid)
{
	int n = snprintf(text, 24, "%llu", (unsigned long long)sid);
	return slice_of(text, (size_t)n);
}

uint64_t link_subscribe(struct link *l, struct slice subject, struct slice queue)
{
	char sid[24];
	wire_sub_append(&l->out, subject, queue, sid_text(sid, l->sid_next));
	return l->sid_next++;
}

void link_unsubscribe(struct link *l, uint64_t sid)
{
	char text[24];
	wire_unsub_append(&l->out, sid_text(text, sid), 0);
}

void link_ping(struct link *l) { buf_append_slice(&l->out, WIRE_PING_LINE); }

bool link_settle(struct link *l)
{
	uint64_t until = deadline(l->timeout_ns);
	struct wire_op op;
	bool ponged;
	link_ping(l);
	for (;;) {
		uint64_t now = clock_ns();
		enum link_next r = link_next_or_pong(l, until > now ? until - now : 0, &op, &ponged);
		if (r == LINK_TIMEOUT) return ponged || broken(l, "the server does not answer in time");
		if (r == LINK_BROKEN) return false;
	}
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
	uint64_t until = deadline(timeout_ns);
	for (;;) {
		uint64_t now = clock_ns();
		enum link_next r = link_next(l, until > now ? until - now : 0, op);
		if (r == LINK_TIMEOUT)
			(void)snprintf(l->why, sizeof l->why, "no answer on %.*s in time (--timeout)",
				SLICE_FMT(slice_first(subject, 120)));
		if (r != LINK_MSG) return r;
		if (!slice_eq(op->subject, slice_of(reply, (size_t)n))) continue;
		if (op->header.n && header_status(op->header, NULL) == 503) {
			(void)snprintf(l->why, sizeof l->why,
				"nobody answers on %.*s: is the subject right, does the service run?",
				SLICE_FMT(slice_first(subject, 120)));
			return LINK_BROKEN;
		}
		return LINK_MSG;
	}
}
