/* SPDX-License-Identifier: Apache-2.0 */
/* What each verb of a client does (ops.def). A handler gets a whole operation whose letters are good; it checks what the session may
 * do, answers, and hands on. */
#include "session.h"

static bool client_is_system_queue(struct slice queue) { return slice_eq(queue, SLICE("_sys_")); }

static void client_ok(struct client *c)
{
	if (c->connect.verbose) conn_write(&c->conn, WIRE_OK_LINE);
}

/* ---- CONNECT ---- */

static void client_login_done(struct auth_login *l, enum auth_verdict v);

/* Gives up who the session was: a CONNECT may come again, with another name. */
static void client_forget_identity(struct client *c)
{
	c->state = CLIENT_HELLO; /* takes no messages while its subscriptions go */
	client_subs_drop_all(c);
	auth_session_close(&c->session);
}

static void client_login_decided(struct client *c, enum auth_verdict v)
{
	switch (v) {
	case AUTH_LATER:
		c->state = CLIENT_CHECKING;
		conn_hold(&c->conn);
		return;
	case AUTH_DENIED:
		client_line(c, DIAG_ERROR, "authentication error%s%.*s%s", c->connect.user.n ? " - User \"" : "",
			SLICE_FMT(c->connect.user), c->connect.user.n ? "\"" : "");
		client_error(c, WIRE_ERROR_AUTHORIZATION, SLICE_NULL, SLICE_NULL);
		return;
	case AUTH_ACCOUNT_FULL: client_error(c, WIRE_ERROR_ACCOUNT_CONNECTIONS, SLICE_NULL, SLICE_NULL); return;
	case AUTH_PASS: client_opened(c); return;
	}
	UNREACHABLE();
}

struct auth_credentials client_credentials(const struct client *c)
{
	return (struct auth_credentials) {
		.user = c->connect.user,
		.pass = c->connect.pass,
		.token = c->connect.auth_token,
	};
}

static void client_login(struct client *c)
{
	struct auth_credentials who = client_credentials(c);
	c->login.done = client_login_done;
	client_login_decided(c, auth_login(c->room->auth, &c->login, &who, &c->session));
}

/* Who it is comes first: a stranger learns nothing else. */
static void client_connected(struct client *c)
{
	enum wire_error e = wire_connect_check(&c->connect);
	if (e != WIRE_ERROR_NONE) {
		client_error(c, e, SLICE_NULL, SLICE_NULL);
		return;
	}
	client_ok(c);
	client_timer_arm_first_ping(c);
}

static void client_login_done(struct auth_login *l, enum auth_verdict v)
{
	struct client *c = CONTAINER_OF(l, struct client, login);
	ASSERT(c->state == CLIENT_CHECKING && v != AUTH_LATER);
	client_login_decided(c, v);
	if (c->state != CLIENT_OPEN) return;
	client_connected(c);
	if (c->state == CLIENT_OPEN) conn_resume(&c->conn);
}

static void client_op_connect(struct client *c, const struct wire_op *op)
{
	enum wire_error e = wire_connect_parse(&c->connect, op->args);
	if (e != WIRE_ERROR_NONE) {
		client_error(c, e, SLICE_NULL, SLICE_NULL);
		return;
	}
	if (c->room->options.no_headers) c->connect.headers = false;
	if (c->state == CLIENT_OPEN) client_forget_identity(c);
	if (c->connect.account.n || c->connect.new_account) {
		/* Accounts are not made, or chosen, on a client's word. */
		client_error(c, WIRE_ERROR_AUTHORIZATION, SLICE_NULL, SLICE_NULL);
		return;
	}
	client_login(c);
	if (c->state == CLIENT_OPEN) client_connected(c);
}

/* ---- PUB, HPUB ---- */

/* A producer that outruns its consumers rests for a moment, longer each time it meets a full one. */
static void client_rest(struct client *c)
{
	c->room->stall_wanted = false;
	if (c->room->options.no_stall) return;
	c->stalls++;
	c->room->stats.stalls++;
	conn_stall(&c->conn, MILLIS(2) + io_random_u64(c->room->io) % MILLIS(3));
}

/* `tail` is empty when the header is not the one that came. */
static void client_publish(struct client *c, const struct wire_op *op, struct slice header, struct slice tail)
{
	c->in_msgs++;
	c->in_bytes += op->total_bytes;
	if (c->connect.pedantic && !subject_is_literal(op->subject))
		client_error(c, WIRE_ERROR_PUBLISH_SUBJECT, SLICE_NULL, SLICE_NULL);
	if (!auth_can_publish(&c->session, op->subject, c->room->now_ns)) {
		client_line(c, DIAG_ERROR, "Publish Violation - User \"%.*s\", Subject \"%.*s\"",
			SLICE_FMT(client_user(c)), SLICE_FMT(op->subject));
		client_error(c, WIRE_ERROR_PUBLISH_DENIED, op->subject, SLICE_NULL);
		return;
	}
	if (op->reply.n && !auth_can_reply(&c->session, op->reply)) {
		client_line(c, DIAG_ERROR, "Publish Violation - User \"%.*s\", Reply \"%.*s\"",
			SLICE_FMT(client_user(c)), SLICE_FMT(op->reply));
		client_error(c, WIRE_ERROR_REPLY_DENIED, op->reply, SLICE_NULL);
		return;
	}
	client_ok(c);
	/* Field by field, for every message: an initializer clears the whole first. */
	struct msg m;
	m.subject = op->subject;
	m.to = SLICE_NULL;
	m.reply = op->reply;
	m.header = header;
	m.payload = op->payload;
	m.tail = tail;
	m.from = &c->sink;
	m.account = c->session.account;
	m.queues = NULL;
	m.queue_count = 0;
	m.flags = 0;
	size_t taken = router_publish(&c->session.account->router, &m);
	if (taken == 0 && op->reply.n && c->connect.no_responders && c->state == CLIENT_OPEN)
		client_tell_no_responders(c, op->reply);
	if (c->room->stall_wanted) client_rest(c);
}

static void client_op_pub(struct client *c, const struct wire_op *op) { client_publish(c, op, SLICE_NULL, op->tail); }

static void client_op_hpub(struct client *c, const struct wire_op *op)
{
	if (!c->connect.headers) {
		client_error(c, WIRE_ERROR_HEADERS, SLICE_NULL, SLICE_NULL);
		return;
	}
	struct slice header = op->header, tail = op->tail;
	if (header_has_owned(header, HEADER_EDGE_PUBLISH)) {
		uint8_t *to = (buf_clear(&c->room->header), buf_reserve(&c->room->header, header.n));
		header = slice_of(to, header_strip(to, header, HEADER_EDGE_PUBLISH));
		tail = SLICE_NULL;
	}
	client_publish(c, op, header, tail);
}

/* ---- SUB, UNSUB ---- */

static bool client_is_full(const struct client *c)
{
	int64_t limit = c->room->options.max_subscriptions, account = c->session.account->max_subscriptions;
	if (limit <= 0) limit = INT64_MAX;
	if (account >= 0 && account < limit) limit = account;
	return (int64_t)c->subs.count >= limit;
}

static bool client_has_too_many_tokens(const struct client *c, struct slice subject)
{
	int64_t limit = c->room->options.max_sub_tokens;
	return limit > 0 && subject_token_count(subject) > (size_t)limit;
}

static void client_deny_sub(struct client *c, const struct wire_op *op)
{
	client_line(c, DIAG_ERROR, "Subscription Violation - User \"%.*s\", Subject \"%.*s\"%s%.*s%s, SID %.*s",
		SLICE_FMT(client_user(c)), SLICE_FMT(op->subject), op->queue.n ? ", Queue: \"" : "",
		SLICE_FMT(op->queue), op->queue.n ? "\"" : "", SLICE_FMT(op->sid));
	client_error(c, op->queue.n ? WIRE_ERROR_QUEUE_DENIED : WIRE_ERROR_SUBSCRIBE_DENIED, op->subject, op->queue);
}

static void client_op_sub(struct client *c, const struct wire_op *op)
{
	bool filtered = false, is_valid = subject_is_valid(op->subject);
	if (client_is_system_queue(op->queue) || !auth_can_subscribe(&c->session, op->subject, op->queue, &filtered)) {
		client_deny_sub(c, op);
	} else if (client_has_too_many_tokens(c, op->subject)) {
		client_error(c, WIRE_ERROR_TOO_MANY_TOKENS, op->subject, SLICE_NULL);
	} else if (client_is_full(c)) {
		client_error(c, WIRE_ERROR_SUBSCRIPTIONS, SLICE_NULL, SLICE_NULL);
	} else if (map_get(&c->subs, op->sid)) {
		client_ok(c); /* a sid in use stays what it is, and nobody looks at the subject */
	} else if (!is_valid) {
		client_error(c, WIRE_ERROR_SUBSCRIBE_SUBJECT, SLICE_NULL, SLICE_NULL);
	} else {
		client_ok(c); /* before the first message that the subscription may bring at once */
		enum err e = client_sub_add(c, op->sid, op->subject, op->queue, filtered);
		ASSERT(e == OK);
	}
}

static void client_op_unsub(struct client *c, const struct wire_op *op)
{
	struct client_sub *cs = map_get(&c->subs, op->sid);
	if (cs && op->max > cs->delivered)
		cs->max = op->max;
	else if (cs)
		client_sub_drop(c, cs);
	client_ok(c);
}

/* ---- the small ones ---- */

static void client_op_ping(struct client *c, const struct wire_op *op)
{
	(void)op;
	conn_write(&c->conn, WIRE_PONG_LINE);
	c->pong_seen = true;
}

static void client_op_pong(struct client *c, const struct wire_op *op)
{
	(void)op;
	client_pong(c);
}

/* Nothing in it is for us, but it must be an INFO. */
static void client_op_info(struct client *c, const struct wire_op *op)
{
	struct wire_info info;
	if (wire_info_parse(&info, op->args) == OK)
		wire_info_deinit(&info);
	else
		client_error(c, WIRE_ERROR_PROTOCOL, SLICE_NULL, SLICE_NULL);
}

static void client_op_ignored(struct client *c, const struct wire_op *op)
{
	(void)c;
	(void)op;
}

static void client_op_err(struct client *c, const struct wire_op *op)
{
	client_line(c, DIAG_ERROR, "Client error: %.*s", SLICE_FMT(op->args));
	client_close_flushed(c, CLOSE_PARSE_ERROR);
}

static const struct {
	void (*run)(struct client *c, const struct wire_op *op);
	bool login;
} client_ops[WIRE_VERB_COUNT] = {
#define CLIENT_OP(verb, handler, login) [verb] = { handler, login },
#include "ops.def"
#undef CLIENT_OP
};

void client_op_run(struct client *c, const struct wire_op *op)
{
	if (diag_is_on(c->room->diag, DIAG_TRACE)) client_trace_in(c, op);
	ASSERT(client_ops[op->verb].run);
	if (client_ops[op->verb].login && c->state == CLIENT_HELLO) client_login(c);
	if (c->state == CLIENT_OPEN || op->verb == WIRE_CONNECT) client_ops[op->verb].run(c, op);
}
