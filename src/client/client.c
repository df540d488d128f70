/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a session: INFO out, operations in, and an end with a reason. A session that ends lets go of its subscriptions and its
 * account at once; its memory follows when the conn has closed. */
#include "session.h"

const char *close_reason_text(enum close_reason r)
{
	static const char *const texts[CLOSE_REASON_COUNT] = {
#define CLOSE_REASON(name, text) [CLOSE_##name] = text,
#include "thebes/close_reasons.def"
#undef CLOSE_REASON
	};
	return r < CLOSE_REASON_COUNT ? texts[r] : "";
}

/* Which reason a closing -ERR leaves behind. */
static enum close_reason client_reason_of(enum wire_error e)
{
	static const uint8_t reasons[WIRE_ERROR_COUNT] = {
		[WIRE_ERROR_UNKNOWN_OP] = CLOSE_PARSE_ERROR,
		[WIRE_ERROR_PROTOCOL] = CLOSE_PROTOCOL,
		[WIRE_ERROR_CONTROL_LINE] = CLOSE_MAX_CONTROL_LINE,
		[WIRE_ERROR_PAYLOAD] = CLOSE_MAX_PAYLOAD,
		[WIRE_ERROR_CONNECT_JSON] = CLOSE_PROTOCOL,
		[WIRE_ERROR_CONNECT_PROTOCOL] = CLOSE_BAD_PROTOCOL_VERSION,
		[WIRE_ERROR_NO_RESPONDERS] = CLOSE_NO_RESPONDERS_HEADERS,
		[WIRE_ERROR_HEADERS] = CLOSE_HEADER_VIOLATION,
		[WIRE_ERROR_AUTHORIZATION] = CLOSE_AUTH_FAILURE,
		[WIRE_ERROR_AUTH_TIMEOUT] = CLOSE_AUTH_TIMEOUT,
		[WIRE_ERROR_USER_EXPIRED] = CLOSE_AUTH_EXPIRED,
		[WIRE_ERROR_ACCOUNT_EXPIRED] = CLOSE_AUTH_EXPIRED,
		[WIRE_ERROR_ACCOUNT_REGISTRATION] = CLOSE_MISSING_ACCOUNT,
		[WIRE_ERROR_TLS_REQUIRED] = CLOSE_TLS_HANDSHAKE,
		[WIRE_ERROR_CONNECTIONS] = CLOSE_MAX_CONNECTIONS,
		[WIRE_ERROR_ACCOUNT_CONNECTIONS] = CLOSE_MAX_ACCOUNT_CONNECTIONS,
		[WIRE_ERROR_STALE] = CLOSE_STALE,
		[WIRE_ERROR_ROUTE_PORT] = CLOSE_WRONG_PORT,
		[WIRE_ERROR_LEAF_PORT] = CLOSE_WRONG_PORT,
		[WIRE_ERROR_WRONG_PORT] = CLOSE_WRONG_PORT,
	};
	return reasons[e];
}

struct slice client_user(const struct client *c)
{
	struct slice name = auth_session_name(&c->session);
	return name.n ? name : SLICE("N/A");
}

void client_line(struct client *c, enum diag_level level, const char *fmt, ...)
{
	if (!diag_is_on(c->room->diag, level)) return;
	struct buf line = { 0 };
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(&line, fmt, ap);
	va_end(ap);
	bool is_v6 = strchr(c->peer.host, ':') != NULL;
	diag_line(c->room->diag, level, "%s%s%s:%u - cid:%llu - %.*s", is_v6 ? "[" : "", c->peer.host, is_v6 ? "]" : "",
		c->peer.port, (unsigned long long)c->id, SLICE_FMT(buf_slice(&line)));
	buf_deinit(&line);
}

void client_error(struct client *c, enum wire_error e, struct slice a, struct slice b)
{
	if (c->state == CLIENT_CLOSED) return;
	struct buf *line = &c->room->line;
	buf_clear(line);
	wire_error_append(line, e, a, b);
	conn_write(&c->conn, buf_slice(line));
	if (wire_error_closes(e)) client_close_flushed(c, client_reason_of(e));
}

/* ---- the end ---- */

/* Lets go of everything but the conn. */
static void client_leave(struct client *c, enum close_reason why)
{
	ASSERT(c->state != CLIENT_CLOSED && why != CLOSE_NONE);
	c->state = CLIENT_CLOSED;
	c->reason = why;
	c->room->stats.in_msgs += c->in_msgs;
	c->room->stats.in_bytes += c->in_bytes;
	c->room->stats.out_msgs += c->out_msgs;
	c->room->stats.out_bytes += c->out_bytes;
	client_line(c, DIAG_DEBUG, "Client connection closed: %s", close_reason_text(why));
	clients_remember(c->room, c);
	io_timer_stop(c->room->io, &c->timer);
	auth_login_cancel(&c->login);
	client_subs_drop_all(c);
	auth_session_close(&c->session);
	list_remove(&c->link);
	c->room->open_count--;
	map_del(&c->room->by_id, map_key_u64(&c->id));
}

void client_close(struct client *c, enum close_reason why)
{
	if (c->state != CLIENT_CLOSED) client_leave(c, why);
	conn_close(&c->conn);
}

void client_close_flushed(struct client *c, enum close_reason why)
{
	if (c->state != CLIENT_CLOSED) client_leave(c, why);
	conn_close_flushed(&c->conn);
}

static void client_on_end(struct conn *conn, enum conn_end why)
{
	struct client *c = CONTAINER_OF(conn, struct client, conn);
	static const uint8_t reasons[] = {
		[CONN_END_EOF] = CLOSE_CLIENT,
		[CONN_END_READ] = CLOSE_READ_ERROR,
		[CONN_END_WRITE] = CLOSE_WRITE_ERROR,
		[CONN_END_DEADLINE] = CLOSE_SLOW_DEADLINE,
		[CONN_END_TLS] = CLOSE_TLS_HANDSHAKE,
		[CONN_END_MEMORY] = CLOSE_READ_ERROR,
	};
	if (why == CONN_END_DEADLINE) {
		c->room->stats.slow_consumers++;
		c->room->stats.slow_deadline++;
		client_line(c, DIAG_INFO,
			"Slow Consumer Detected: WriteDeadline of %llus exceeded with %zu bytes pending",
			(unsigned long long)(c->room->net->write_deadline_ns / NS_PER_S), conn_pending_bytes(conn));
	}
	if (why == CONN_END_TLS) client_line(c, DIAG_ERROR, "TLS handshake error: %s", conn_tls_error(conn));
	if (c->state != CLIENT_CLOSED) client_leave(c, reasons[why]);
}

static void client_on_closed(struct conn *conn)
{
	struct client *c = CONTAINER_OF(conn, struct client, conn);
	ASSERT(c->state == CLIENT_CLOSED);
	map_deinit(&c->subs);
	wire_connect_deinit(&c->connect);
	c->room->count--;
	mem_free(c);
}

/* ---- operations in ---- */

/* Headers of who has none are refused before anything else about them is looked at, once the line is whole. */
static bool client_gives_headers(enum wire_error e, struct slice in)
{
	if (e == WIRE_ERROR_AUTHORIZATION || e == WIRE_ERROR_CONTROL_LINE || in.n < 5) return false;
	return slice_eq_nocase(slice_first(in, 4), SLICE("HPUB")) && (in.p[4] == ' ' || in.p[4] == '\t');
}

/* Answers what could not be parsed, and says why in the log, with the beginning of the line; CONNECT holds secrets. */
static void client_refuse(struct client *c, enum wire_error e, struct slice in)
{
	enum { SHOWN_BYTES_MAX = 64 };
	const uint8_t *lf = memchr(in.p, '\n', in.n);
	struct slice shown = slice_first(in, size_min(lf ? (size_t)(lf - in.p) : in.n, SHOWN_BYTES_MAX));
	if (shown.n && shown.p[shown.n - 1] == '\r') shown.n--;
	if ((in.p[0] | 0x20) == 'c') shown = SLICE("CONNECT");
	if (!c->connect.headers && client_gives_headers(e, in)) e = WIRE_ERROR_HEADERS;
	if (e == WIRE_ERROR_AUTHORIZATION)
		client_line(c, DIAG_ERROR, "authentication error");
	else
		client_line(c, DIAG_ERROR, "%s: \"%.*s\"",
			wire_error_text(e)[0] ? wire_error_text(e) : "Protocol Violation", SLICE_FMT(shown));
	client_error(c, e, SLICE_NULL, SLICE_NULL);
}

/* Where both may come, the first byte tells: a handshake record of TLS, or a letter. */
static bool client_begins_tls(struct client *c, uint8_t first)
{
	enum { TLS_HANDSHAKE_RECORD = 0x16 };
	c->tls_open = false;
	c->tls_due = first == TLS_HANDSHAKE_RECORD;
	client_timer_arm_hello(c);
	if (c->tls_due) conn_secure(&c->conn, c->room->tls);
	return c->tls_due;
}

/* Runs the operations that are there; returns the bytes that they took. */
static size_t client_run(struct client *c, const uint8_t *p, size_t n)
{
	struct conn *conn = &c->conn;
	size_t used = 0;
	struct wire_op op;
	while (used < n && !(conn->paused & (CONN_PAUSE_HELD | CONN_PAUSE_STALL))) {
		switch (wire_parse(&c->parser, slice_of(p + used, n - used), &op)) {
		case WIRE_OP:
			client_op_run(c, &op);
			if (c->state == CLIENT_CLOSED) return n;
			used += op.used;
			continue;
		case WIRE_BODY: conn_want(conn, op.used + op.total_bytes + 2); return used;
		case WIRE_MORE: return used;
		case WIRE_BAD: client_refuse(c, op.error, slice_of(p + used, n - used)); return n;
		}
		UNREACHABLE();
	}
	return used;
}

static size_t client_on_data(struct conn *conn, const uint8_t *p, size_t n)
{
	struct client *c = CONTAINER_OF(conn, struct client, conn);
	c->last_in_ns = c->room->now_ns = io_now_ns(c->room->io);
	if (c->tls_open && client_begins_tls(c, p[0])) return 0;
	size_t used = client_run(c, p, n);
	/* Answers wait too: who asks and asks and never reads is as slow as any consumer. */
	if (c->state != CLIENT_CLOSED && conn_pending_bytes_max(conn) > c->room->options.max_pending_bytes)
		(void)client_keeps_up(c, conn_pending_bytes(conn));
	return used;
}

static void client_on_secure(struct conn *conn)
{
	struct client *c = CONTAINER_OF(conn, struct client, conn);
	c->tls_due = false;
	client_line(c, DIAG_DEBUG, "TLS handshake complete");
	client_timer_arm_hello(c);
}

static const struct conn_ops client_conn_ops = {
	.on_data = client_on_data,
	.on_secure = client_on_secure,
	.on_end = client_on_end,
	.on_closed = client_on_closed,
};

/* ---- the beginning ---- */

void client_parser_arm(struct client *c)
{
	const struct client_options *o = &c->room->options;
	bool is_open = c->state == CLIENT_OPEN || auth_is_open(c->room->auth);
	c->parser.verbs = is_open ? WIRE_FROM_CLIENT : WIRE_BIT(WIRE_CONNECT);
	c->parser.forbidden = is_open ? WIRE_ERROR_UNKNOWN_OP : WIRE_ERROR_AUTHORIZATION;
	c->parser.control_line_max = o->max_control_line_bytes;
	c->parser.payload_max = o->max_payload_bytes;
	int64_t account_max = c->session.account ? c->session.account->max_payload : -1;
	if (account_max >= 0 && account_max < (int64_t)c->parser.payload_max)
		c->parser.payload_max = (uint32_t)account_max;
}

void client_opened(struct client *c)
{
	c->state = CLIENT_OPEN;
	client_parser_arm(c);
}

void client_send_info(struct client *c)
{
	struct wire_info info = c->room->info;
	info.client_id = c->id;
	info.client_ip = slice_of_str(c->peer.host);
	struct buf *line = &c->room->line;
	buf_clear(line);
	wire_info_append(line, &info);
	conn_write(&c->conn, buf_slice(line));
}

static struct client *client_new(struct clients *s, struct io_stream *stream)
{
	struct client *c = NEW(struct client);
	c->room = s;
	c->id = ++s->id_last;
	c->sink.ops = &client_sink_ops;
	c->start_ns = c->last_in_ns = io_now_ns(s->io);
	c->start_wall_ns = io_wall_ns(s->io);
	io_stream_peer(stream, &c->peer);
	wire_connect_init(&c->connect);
	map_init(&c->subs, io_random_u64(s->io), client_sub_key);
	s->count++;
	s->open_count++;
	list_push_back(&s->open, &c->link);
	map_put(&s->by_id, c);
	conn_open(&c->conn, s->net, stream, &client_conn_ops, s->ledger);
	return c;
}

void clients_accept(struct clients *s, struct io_stream *stream)
{
	bool is_full = (int64_t)s->open_count >= s->options.max_connections;
	s->stats.total_connections++;
	struct client *c = client_new(s, stream);
	client_line(c, DIAG_DEBUG, "Client connection created");
	client_parser_arm(c);
	client_send_info(c);
	if (is_full) {
		client_line(c, DIAG_ERROR, "%s", wire_error_text(WIRE_ERROR_CONNECTIONS));
		client_error(c, WIRE_ERROR_CONNECTIONS, SLICE_NULL, SLICE_NULL);
		return;
	}
	if (s->tls) {
		c->tls_open = s->options.allow_non_tls;
		c->tls_due = !c->tls_open;
		if (c->tls_due) conn_secure(&c->conn, s->tls);
	}
	client_timer_arm_hello(c);
}
