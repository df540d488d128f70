/* SPDX-License-Identifier: Apache-2.0 */
/* echo — a server that sends back what it gets, and clients that check it. The same source runs on libuv and in the twin: the
 * first proof that the two sides of struct io mean the same.
 *
 *   server: on_read ─> conn.out ─> end of turn: one write per connection; while it is pending, or too much waits, nothing is read
 *   client: writes `total` bytes of a pattern in pieces, reads it back, compares every byte */
#ifndef THEBES_TESTS_SIM_ECHO_SERVER_H
#define THEBES_TESTS_SIM_ECHO_SERVER_H

#include "thebes/io.h"

struct echo_server {
	struct io *io;                /* borrowed */
	struct io_listener *listener; /* owned; NULL when closed */
	struct io_turn_hook hook;
	struct list conns, dirty; /* of echo_conn.link, .link_by_dirty */
	uint64_t accepted, accept_errors, echoed_bytes, drains;
	size_t conn_count;
};

must_check enum err echo_server_start(struct echo_server *e, struct io *io, const char *host, uint16_t port);
/* Closes the listener and every connection; they go with the next turns. */
void echo_server_stop(struct echo_server *e);
/* Frees the memory of a process that has died; nothing is called back any more. */
void echo_server_teardown(struct echo_server *e);

struct echo_client {
	struct io *io; /* borrowed */
	struct io_stream *stream;
	uint64_t total, written, read;
	uint64_t number;    /* makes the pattern its own */
	uint64_t pause_ns;  /* stops reading for so long after every piece; 0: never */
	size_t piece_bytes; /* largest write */
	enum err result;    /* ERR_AGAIN until it has ended; OK: all came back */
	bool is_wrong;      /* a byte came back changed */
	bool is_pending, is_closed;
	uint8_t *piece; /* owned */
	struct io_timer pause;
	void (*done)(struct echo_client *c); /* closed; its memory may go */
	void *arg;
};

/* The caller sets total, number, pause_ns, piece_bytes, done and arg before. */
must_check enum err echo_client_start(struct echo_client *c, struct io *io, const char *host, uint16_t port);
/* For a process that has died: frees without callbacks. */
void echo_client_teardown(struct echo_client *c);

#endif
