/* SPDX-License-Identifier: Apache-2.0 */
/* sim_conn — private to the twin's network: a connection and its two pipes (sim_pipe.c: kernels and wires), its streams and the
 * listeners (sim_net.c: what processes see). */
#ifndef THEBES_TESTS_SIM_SIM_CONN_H
#define THEBES_TESTS_SIM_SIM_CONN_H

#include "sim/sim_impl.h"

enum segment_kind { SEGMENT_DATA, SEGMENT_END, SEGMENT_RESET };

struct segment {
	struct list link; /* on pipe.under_way */
	enum segment_kind kind;
	uint64_t at_ns;
	size_t n;
};

/* One direction. The bytes of all segments lie in one queue; `arrived` of them can be read. */
struct pipe {
	struct sim_conn *conn;
	unsigned from;  /* index of the sending end */
	uint8_t *bytes; /* owned; from `head` on */
	size_t head, count, room, arrived;
	size_t unheard;        /* read, but the word of it is cut off: the sender's window stays shut */
	struct list under_way; /* of segment.link */
	struct sim_event arrival, timeout;
	uint64_t last_ns; /* arrival of the last segment: nothing overtakes it */
	bool is_stalled;  /* the first segment met a cut */
	bool is_ended;    /* SEGMENT_END has arrived */
	bool has_sent_end;
	bool is_reset; /* what is sent behind a reset reaches nobody */
};

struct conn_end {
	struct sim_node *node;
	struct sim_stream *stream; /* NULL before accept, and after its owner closed it or died */
	uint16_t port;
	bool is_forgotten; /* the machine lost power since */
};

enum conn_state {
	CONN_SYN,      /* asking; end 1 has no machine yet */
	CONN_ANSWERED, /* in the listener's backlog; the answer is under way */
	CONN_OPEN,
	CONN_REFUSED, /* the refusal is under way */
};

struct sim_conn {
	struct sim *s;
	struct list link;         /* on sim.conns */
	struct list link_backlog; /* on sim_listener.backlog */
	enum conn_state state;
	enum err refusal;
	struct sim_event handshake;
	uint64_t syn_delay_ns, syn_deadline_ns;
	char host[64];          /* as asked for */
	struct conn_end end[2]; /* 0 asks, 1 is asked */
	struct pipe pipe[2];    /* [k] is sent by end k */
};

struct sim_pending {
	struct slice v[IO_WRITE_SLICES_MAX];
	unsigned first, count;
	size_t bytes;
};

struct sim_stream {
	struct io_stream base;
	struct list link; /* on sim_io.streams */
	struct sim_ready ready;
	struct sim_conn *conn; /* borrowed; NULL once the kernel has forgotten it or the owner has closed */
	unsigned side;
	struct sim_pending *pending; /* owned */
	struct io_addr peer, local;
	bool is_connecting, is_connected; /* is_connecting: on_connect is owed */
	enum err end;                     /* why it ended, OK while it has not */
	bool wants_read, is_broken, is_ended /* told */, has_drained, is_closing;
};

struct sim_listener {
	struct io_listener base;
	struct list link; /* on sim_io.listeners */
	struct sim_ready ready;
	struct list backlog; /* of sim_conn.link_backlog */
	struct io_timer pause;
	struct io_addr addr;
	unsigned backlog_max;
	bool is_closing;
};

enum sim_cut sim_cut_between(const struct sim *s, const struct sim_node *from, const struct sim_node *to);
uint64_t sim_net_delay(struct sim *s);

struct sim_conn *sim_conn_new(struct sim *s, struct sim_node *from);
/* Frees it when nobody can notice it any more. */
void sim_conn_check(struct sim_conn *c);
/* Puts a segment on its way. */
void sim_pipe_segment(struct pipe *p, enum segment_kind kind, size_t n);
/* The sending kernel takes n bytes and cuts them into segments. */
void sim_pipe_send(struct pipe *p, const uint8_t *bytes, size_t n);
/* How much more the sender's kernel takes. What the peer has read opens the window only when its word comes through. */
size_t sim_pipe_window(const struct pipe *p);
void sim_pipe_reset(struct pipe *p);

/* The next step of connecting is due. */
void sim_handshake_fire(struct sim_event *e);
static inline void sim_stream_wake(struct sim_stream *s) { sim_process_ready(sim_io_of(s->base.io), &s->ready); }
/* It is over for `why`: nothing can be written, and the owner will be told. */
void sim_stream_break(struct sim_stream *s, enum err why);

#endif
