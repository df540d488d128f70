/* SPDX-License-Identifier: Apache-2.0 */
/* One timer a session. During the TLS handshake and before login it is the time that login may take; after it, it asks whether the other side is still there
 * (spec §1.7): not while data came in within the interval, unless the round trip time is due to be measured again. */
#include "session.h"

#define PING_FIRST_NS SECONDS(2)
#define PING_RTT_AGE_NS (3600 * NS_PER_S)

static void client_timer_start(struct client *c, uint64_t ns) { io_timer_start(c->room->io, &c->timer, ns); }

void client_timer_arm_hello(struct client *c)
{
	c->timer.fire = client_timer_fired;
	const struct client_options *o = &c->room->options;
	c->login_due = auth_is_required(c->room->auth);
	client_timer_start(c, c->tls_due ? o->tls_timeout_ns : c->login_due ? o->auth_timeout_ns : o->ping_interval_ns);
}

void client_timer_arm_first_ping(struct client *c)
{
	c->login_due = false;
	uint64_t ns = u64_min(c->room->options.ping_interval_ns, PING_FIRST_NS);
	client_timer_start(c, ns + io_random_u64(c->room->io) % (ns / 5 + 1));
}

static bool client_ping_is_due(const struct client *c, uint64_t now)
{
	bool rtt_is_old = c->rtt_ns == 0 || now - c->ping_sent_ns > PING_RTT_AGE_NS;
	return rtt_is_old || now - c->last_in_ns >= c->room->options.ping_interval_ns;
}

static void client_ping(struct client *c, uint64_t now)
{
	if (c->pings_out + 1 > c->room->options.ping_max) {
		c->room->stats.stale++;
		client_line(c, DIAG_DEBUG, "Stale Client Connection - Closing");
		client_error(c, WIRE_ERROR_STALE, SLICE_NULL, SLICE_NULL);
		return;
	}
	c->pings_out++;
	c->ping_sent_ns = now;
	conn_write(&c->conn, WIRE_PING_LINE);
}

void client_timer_fired(struct io_timer *t)
{
	struct client *c = CONTAINER_OF(t, struct client, timer);
	if (c->tls_due) {
		client_line(c, DIAG_ERROR, "TLS handshake timeout");
		client_close(c, CLOSE_TLS_HANDSHAKE);
		return;
	}
	if (c->login_due && c->state == CLIENT_HELLO) {
		client_line(c, DIAG_ERROR, "authentication timeout");
		client_error(c, WIRE_ERROR_AUTH_TIMEOUT, SLICE_NULL, SLICE_NULL);
		return;
	}
	uint64_t now = io_now_ns(c->room->io);
	if (client_ping_is_due(c, now)) client_ping(c, now);
	if (c->state != CLIENT_CLOSED) client_timer_start(c, c->room->options.ping_interval_ns);
}

void client_pong(struct client *c)
{
	c->pings_out = 0;
	if (c->ping_sent_ns) c->rtt_ns = u64_max(1, io_now_ns(c->room->io) - c->ping_sent_ns);
}
