/* SPDX-License-Identifier: Apache-2.0 */
/* A listening socket that hands its connections to whoever opened it, and says in the log when
 * the system has no descriptors left for more. */
#include "thebes/net.h"

static void listener_on_accept(void *owner, struct io_stream *s)
{
	struct listener *l = owner;
	diag_count(l->net->diag, COUNTER_conns_accepted);
	l->on_accept(l, s);
}

static void listener_on_accept_error(void *owner, enum err e)
{
	struct listener *l = owner;
	diag_count(l->net->diag, COUNTER_conns_accept_failed);
	diag_line(l->net->diag, DIAG_ERROR, "net %s listener could not accept: %s, trying again", l->what, err_text(e));
}

static void listener_on_close(void *owner)
{
	struct listener *l = owner;
	l->inner = NULL;
	if (l->on_closed) l->on_closed(l);
}

static const struct io_listener_ops listener_io_ops = {
	.on_accept = listener_on_accept,
	.on_accept_error = listener_on_accept_error,
	.on_close = listener_on_close,
};

enum err listener_open(struct listener *l, struct net *n, const char *host, uint16_t port)
{
	enum { BACKLOG = 1024 };
	ASSERT(!l->inner);
	l->net = n;
	l->is_closing = false;
	return io_listen(n->io, host, port, BACKLOG, &listener_io_ops, l, &l->inner);
}

void listener_addr(const struct listener *l, struct io_addr *out) { io_listener_addr(l->inner, out); }

void listener_close(struct listener *l)
{
	if (!listener_is_open(l)) return;
	l->is_closing = true;
	io_listener_close(l->inner);
}
