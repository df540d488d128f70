/* SPDX-License-Identifier: Apache-2.0 */
/* How a server ends. At once: listeners close, clients see the end of their connection, and when the last callback has come the host
 * hears of it. As a lame duck: nobody new comes in, clients are asked to go elsewhere, then sent away one after the other over the
 * lame duck duration, so that the other servers are not stormed (spec §1.7). */
#include "node_inside.h"

#define STOP_PATIENCE_NS SECONDS(2) /* for what still waits to be written */
#define LAME_STEP_NS_MAX SECONDS(1)

static void node_close_listeners(struct node *n)
{
	n->http.view.is_accepting = false;
	listener_close(&n->listener);
}

static void node_http_closed(struct http *h) { CONTAINER_OF(h, struct node, http)->http_is_closed = true; }

static void node_begin_stop(struct node *n)
{
	n->state = NODE_STOPPING;
	diag_line(&n->diag, DIAG_INFO, "Initiating Shutdown...");
	node_close_listeners(n);
	clients_close_all(&n->clients, CLOSE_SERVER_SHUTDOWN);
	n->http.on_closed = node_http_closed;
	http_close(&n->http);
	io_timer_start(n->io, &n->timer, STOP_PATIENCE_NS);
}

void node_stop(struct node *n, bool at_once)
{
	bool runs = n->state == NODE_STARTING || n->state == NODE_SERVING;
	if (runs || (n->state == NODE_LAME && at_once)) node_begin_stop(n);
}

void node_stop_step(struct node *n)
{
	if (n->state == NODE_LAME && n->clients.count == 0) node_begin_stop(n);
	if (n->state != NODE_STOPPING) return;
	if (n->clients.count == 0) vault_close(&n->vault); /* nobody can ask for anything any more */
	bool is_gone = n->clients.count == 0 && n->http_is_closed && !n->listener.inner && n->net.conn_count == 0;
	if (!is_gone || !vault_is_closed(&n->vault) || !auth_is_idle(&n->auth) || n->reload ||
		!log_sink_is_idle(n->log))
		return;
	n->state = NODE_STOPPED;
	io_timer_stop(n->io, &n->timer);
	diag_line(&n->diag, DIAG_INFO, "Server Exiting..");
	n->host->stopped(n->host->arg, n->exit_code);
}

/* ---- lame duck ---- */

void node_lame_duck(struct node *n)
{
	if (n->state != NODE_SERVING) return;
	diag_line(&n->diag, DIAG_INFO, "Entering lame duck mode, stop accepting new clients");
	n->state = NODE_LAME;
	node_close_listeners(n);
	clients_announce_ldm(&n->clients);
	uint64_t grace = u64_min(n->conf.lame_duck_grace_period_ns, n->conf.lame_duck_duration_ns);
	n->lame_until_ns = io_now_ns(n->io) + n->conf.lame_duck_duration_ns;
	io_timer_start(n->io, &n->timer, grace);
}

/* Ends one client, and comes again so that the last goes when the duration is over. */
static void node_lame_step(struct node *n)
{
	clients_close_one(&n->clients, CLOSE_SERVER_SHUTDOWN);
	if (list_is_empty(&n->clients.open)) return; /* the last has only to be gone */
	uint64_t now = io_now_ns(n->io), left = n->lame_until_ns > now ? n->lame_until_ns - now : 0;
	io_timer_start(n->io, &n->timer, u64_min(left / (n->clients.open_count + 1), LAME_STEP_NS_MAX));
}

void node_timer_fired(struct io_timer *t)
{
	struct node *n = CONTAINER_OF(t, struct node, timer);
	if (n->state == NODE_LAME)
		node_lame_step(n);
	else if (n->state == NODE_STOPPING)
		net_abort_flushing(&n->net);
}
