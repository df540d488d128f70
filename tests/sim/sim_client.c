/* SPDX-License-Identifier: Apache-2.0 */
/* Scripted connections: a test pushes bytes in and looks at what came out. They live on a machine of their own that never fails
 * and use io.h like everybody. */
#include <stdlib.h>

#include "sim/sim_impl.h"

struct sim_client {
	struct sim *s;
	struct list link;         /* on sim.client_list */
	struct io_stream *stream; /* NULL once closed */
	enum err status;
	struct buf waiting, sending, received; /* `sending` is borrowed by the stream while is_pending */
	bool is_pending, is_freed;
};

static void client_flush(struct sim_client *c)
{
	if (c->status != OK || c->is_pending || c->waiting.n == 0) return;
	struct buf swap = c->sending;
	c->sending = c->waiting;
	c->waiting = swap;
	buf_clear(&c->waiting);
	const struct slice v = buf_slice(&c->sending);
	c->is_pending = io_stream_write(c->stream, &v, 1) == IO_PENDING;
}

static void client_on_connect(void *owner, enum err e)
{
	struct sim_client *c = owner;
	c->status = e;
	client_flush(c);
}

static void client_on_read(void *owner, const uint8_t *p, size_t n)
{
	struct sim_client *c = owner;
	buf_append(&c->received, p, n);
}

static void client_on_end(void *owner, enum err why)
{
	struct sim_client *c = owner;
	c->status = why;
}

static void client_on_drain(void *owner)
{
	struct sim_client *c = owner;
	c->is_pending = false;
	client_flush(c);
}

static void client_destroy(struct sim_client *c)
{
	buf_deinit(&c->waiting);
	buf_deinit(&c->sending);
	buf_deinit(&c->received);
	list_remove(&c->link);
	mem_free(c);
}

void sim_clients_deinit(struct sim *s)
{
	struct list *node;
	while ((node = list_first(&s->client_list)) != NULL)
		client_destroy(CONTAINER_OF(node, struct sim_client, link));
}

static void client_on_close(void *owner)
{
	struct sim_client *c = owner;
	c->stream = NULL;
	if (c->is_freed) client_destroy(c);
}

struct sim_client *sim_client_new(struct sim *s, const char *host, uint16_t port)
{
	static const struct io_stream_ops ops = {
		.on_connect = client_on_connect,
		.on_read = client_on_read,
		.on_end = client_on_end,
		.on_drain = client_on_drain,
		.on_close = client_on_close,
	};
	struct io *io = sim_node_io(sim_clients_node(s));
	struct sim_client *c = NEW(struct sim_client);
	*c = (struct sim_client) { .s = s, .status = ERR_AGAIN };
	list_push_back(&s->client_list, &c->link);
	const enum err e = io_connect(io, host, port, &ops, c, &c->stream);
	if (e != OK)
		c->status = e;
	else
		io_stream_read_start(c->stream);
	return c;
}

void sim_client_free(struct sim_client *c)
{
	if (!c) return;
	c->is_freed = true;
	if (!c->stream) {
		client_destroy(c);
		return;
	}
	/* The memory follows with on_close, in virtual time. */
	io_stream_close(c->stream);
}

void sim_client_send(struct sim_client *c, struct slice bytes)
{
	buf_append_slice(&c->waiting, bytes);
	client_flush(c);
}

struct slice sim_client_received(const struct sim_client *c) { return buf_slice(&c->received); }
void sim_client_consume(struct sim_client *c, size_t n) { buf_consume(&c->received, n); }
enum err sim_client_status(const struct sim_client *c) { return c->status; }

void sim_client_read(struct sim_client *c, bool on)
{
	if (!c->stream) return;
	if (on)
		io_stream_read_start(c->stream);
	else
		io_stream_read_stop(c->stream);
}
