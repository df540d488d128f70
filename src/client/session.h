/* SPDX-License-Identifier: Apache-2.0 */
/* session — what the files of this room know of each other. */
#ifndef THEBES_CLIENT_SESSION_H
#define THEBES_CLIENT_SESSION_H

#include "thebes/client.h"

/* ---- client.c: life ---- */

/* Answers -ERR with the error's text (a and b for its placeholders) and, where the error closes, ends the session. */
void client_error(struct client *c, enum wire_error e, struct slice a, struct slice b);
/* Ends the session after what waits is written. */
void client_close_flushed(struct client *c, enum close_reason why);
/* The session is somebody: operations may come, PINGs go. */
void client_opened(struct client *c);
void client_send_info(struct client *c);
/* What may come before login. */
void client_parser_arm(struct client *c);
/* Who is logged in, for log lines; "N/A" without a name. */
struct slice client_user(const struct client *c);
void client_line(struct client *c, enum diag_level level, const char *fmt, ...) printf_like(3, 4);

/* ---- ops.c ---- */

void client_op_run(struct client *c, const struct wire_op *op);
/* What the last CONNECT said; borrowed of it. */
struct auth_credentials client_credentials(const struct client *c);

/* ---- sub.c: subscriptions and delivery ---- */

extern const struct sink_ops client_sink_ops;
/* The key of client.subs. */
map_key_fn client_sub_key;
/* Subscribes under a sid that is not taken. ERR_INVALID: bad subject. */
must_check enum err client_sub_add(
	struct client *c, struct slice sid, struct slice subject, struct slice queue, bool filtered);
void client_sub_drop(struct client *c, struct client_sub *cs);
/* False, and the session is closed as a slow consumer, when more waits than may. */
bool client_keeps_up(struct client *c, size_t pending);
void client_subs_drop_all(struct client *c);
/* Drops, with an -ERR each, what the session may no longer have. */
void client_subs_recheck(struct client *c);
/* NATS/1.0 503 on the publisher's own subscription for its reply subject, if it has one. */
void client_tell_no_responders(struct client *c, struct slice reply);

/* ---- ping.c ---- */

/* For a session that has just begun: time to log in, or the first PING. */
void client_timer_arm_hello(struct client *c);
/* The first PING comes soon after login, so that the round trip time is known. */
void client_timer_arm_first_ping(struct client *c);
void client_timer_fired(struct io_timer *t);
void client_pong(struct client *c);

/* ---- closed.c ---- */

void clients_remember(struct clients *s, const struct client *c);
void clients_forget(struct clients *s, uint64_t keep);

/* ---- trace.c: protocol lines of the log, only when tracing is on ---- */

void client_trace_in(struct client *c, const struct wire_op *op);
void client_trace_out(struct client *c, const struct wire_msg *m);

#endif
