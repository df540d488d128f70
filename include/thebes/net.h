/* SPDX-License-Identifier: Apache-2.0 */
/* net — bytes in, bytes out, back-pressure. It knows no protocol word: what the bytes mean is its owner's affair, and it never
 * decides on its own that a healthy peer must go.
 *
 *   io ──on_read──> conn ──on_data──> owner (client, http, peer)          unread input stays in the conn, sized to what came
 *   io <──one write a turn── conn <──conn_reserve/conn_commit── anyone    output waits in chunks, on the net's dirty list
 *
 * Loop thread only. Every struct here is its owner's memory. Callbacks come from the loop, never from inside a call made on the same
 * conn. A conn's memory may go in on_closed and not before. All bytes held are charged to the conn's ledger; while it (or an
 * ancestor) is full the conn does not read. */
#ifndef THEBES_NET_H
#define THEBES_NET_H

#include "thebes/base.h"
#include "thebes/diag.h"
#include "thebes/io.h"

struct conn;
struct chunk;
struct tls;
struct tls_context;

/* ---- net: what the connections of one loop share ---- */

struct net {
	struct io *io;         /* borrowed */
	struct diag *diag;     /* borrowed */
	struct list conns;     /* all, by link_by_net */
	struct list dirty;     /* conns with output of this turn, by link_by_dirty */
	struct list blocked;   /* conns whose write the kernel did not take at once, oldest first, by link_by_blocked */
	struct list starved;   /* conns that do not read because memory is short, oldest first, by link_by_starved */
	struct io_timer timer; /* for the oldest of blocked and starved */
	uint64_t write_deadline_ns; /* a pending write that is not taken within it ends its conn */
	uint8_t *scratch;           /* owned: input lands here, with room in front for what an earlier read left over */
	uint8_t *scratch_tls;       /* owned: input of secure conns, before it is plain; NULL until there is one */
	struct chunk *free_small, *free_large; /* owned: spare output chunks */
	unsigned free_small_count, free_large_count;
	unsigned free_large_low; /* fewest spare large ones since the last trim: so many nobody needs */
	struct io_timer trim;    /* armed while more are spare than an idle server keeps */
	uint64_t conn_count;
};
void net_init(struct net *n, struct io *io, struct diag *diag, uint64_t write_deadline_ns);
/* Every conn must be closed by then. */
void net_deinit(struct net *n);
/* Writes what this turn has left in the conns, and lets starved ones read again when there is memory. The node calls it last in
 * every turn. */
void net_turn_end(struct net *n);

/* Closes the conns that still write what waits (FLUSHING): the node has no more patience. */
void net_abort_flushing(struct net *n);

/* ---- conn ---- */

enum conn_end {
	CONN_END_EOF,      /* the peer closed its side */
	CONN_END_READ,     /* the stream broke while reading (reset) */
	CONN_END_WRITE,    /* the stream broke while writing */
	CONN_END_DEADLINE, /* the peer did not take what was written within write_deadline_ns */
	CONN_END_TLS,      /* the handshake failed, or what came was no TLS: conn_tls_error */
	CONN_END_MEMORY,   /* it held a large unfinished operation while memory was short for too long */
};
struct conn_ops {
	/* All bytes that are not consumed yet, at least one of them new. Returns how many are consumed now; the rest comes again,
	 * in front of what follows. Once the conn is closing the return value does not matter. Output may be written, the conn
	 * held, stalled or closed inside. */
	size_t (*on_data)(struct conn *c, const uint8_t *p, size_t n);
	/* The handshake that conn_secure began is over. May be NULL. */
	void (*on_secure)(struct conn *c);
	/* It ends on its own; at most once, and not after conn_close or conn_close_flushed. The conn is closed when this returns
	 * (after EOF with what still waits written). */
	void (*on_end)(struct conn *c, enum conn_end why);
	/* Last call: the memory is the owner's again. */
	void (*on_closed)(struct conn *c);
};
enum conn_state { CONN_NEW, CONN_OPEN, CONN_FLUSHING, CONN_CLOSING, CONN_CLOSED };
/* Why a conn does not read; it reads while no bit is set. */
enum conn_pause { CONN_PAUSE_HELD = 1, CONN_PAUSE_STALL = 2, CONN_PAUSE_MEMORY = 4 };

struct conn {
	const struct conn_ops *ops; /* borrowed, static */
	struct net *net;            /* borrowed */
	struct io_stream *stream;   /* owned until on_closed */
	struct tls *tls;            /* owned; NULL: plain */
	struct ledger ledger;       /* bytes of input and output held */
	uint8_t state, paused;
	bool writing; /* io has borrowed the chunks of `flying` */
	bool chatty;  /* the last write was larger than a small chunk: start with a large one */
	bool broken;  /* io said so; on_end is on its way and output goes nowhere */
	uint8_t *in;  /* owned: what on_data did not consume; NULL when nothing */
	size_t in_cap, in_count;
	size_t in_want;                    /* bytes of the unfinished operation, when the owner knows; 0 otherwise */
	struct chunk *out_head, *out_tail; /* owned: output that io has not seen */
	uint8_t *out_at, *out_end;         /* in out_tail: where the next byte goes, and where the room ends */
	struct chunk *flying;              /* owned: output that io has borrowed */
	size_t flying_bytes;               /* in flying */
	size_t out_bytes;                  /* in out_head.. */
	size_t out_check_bytes; /* when so many wait there is something to do: get on the dirty list, or write before the turn ends */
	struct list link_by_net, link_by_dirty, link_by_blocked, link_by_starved;
	uint64_t blocked_deadline_ns, starved_deadline_ns;
	struct io_timer stall; /* ends CONN_PAUSE_STALL */
	struct io_task resume; /* offers kept input again after a hold */
};

/* Takes an accepted or connected stream, charges to `parent` (may be NULL), starts reading. `c` zeroed. */
void conn_open(struct conn *c, struct net *n, struct io_stream *s, const struct conn_ops *ops, struct ledger *parent);
static inline bool conn_is_open(const struct conn *c) { return c->state == CONN_OPEN; }
/* Moves what is charged to another parent: a connection that has learnt its account. */
void conn_set_ledger(struct conn *c, struct ledger *parent);

/* Output: reserve n contiguous bytes (at most CONN_RESERVE_MAX), fill, commit how many were used. The conn must be open. Nothing
 * else may be written between the two. */
enum { CONN_RESERVE_MAX = 60 * 1024 };
uint8_t *conn_reserve_slow(struct conn *c, size_t n) __attribute__((returns_nonnull));
void conn_commit_slow(struct conn *c);
/* Inline: once per message and receiver. */
static inline uint8_t *conn_reserve(struct conn *c, size_t n)
{
	return (size_t)(c->out_end - c->out_at) >= n ? c->out_at : conn_reserve_slow(c, n);
}
static inline void conn_commit(struct conn *c, size_t n)
{
	c->out_at += n;
	c->out_bytes += n;
	if (c->out_bytes >= c->out_check_bytes) conn_commit_slow(c);
}
/* Copies any number of bytes. Does nothing when the conn is not open. */
void conn_write(struct conn *c, struct slice s);
/* Bytes that the kernel has not taken. conn_pending_bytes_max is a cheap upper bound. */
size_t conn_pending_bytes(const struct conn *c);
static inline size_t conn_pending_bytes_max(const struct conn *c) { return c->out_bytes + c->flying_bytes; }

/* Inside on_data, when it leaves an operation unfinished: how many bytes it has in all. Reads then go straight behind what is
 * there. A hint; forgotten when something is consumed. */
static inline void conn_want(struct conn *c, size_t n) { c->in_want = n; }
/* Nothing more is read or offered until conn_resume, which offers what is kept later in the same turn. For a verdict that takes
 * a worker. */
void conn_hold(struct conn *c);
void conn_resume(struct conn *c);
/* Does not read for `ns`: for a producer that outruns its consumers. What is kept is offered again at its end. */
void conn_stall(struct conn *c, uint64_t ns);

/* ---- TLS ---- */

struct tls_options {
	struct slice cert, key,
		ca; /* PEM, borrowed for the call: the server's chain, its key, who may sign clients; ca may be empty */
	bool verify;      /* a client must show a certificate that `ca` (or, without one, the system) vouches for */
	bool is_1_3_only; /* else TLS 1.2 and later */
};
enum tls_part { TLS_CERT, TLS_KEY, TLS_CA };
/* What certificates a server shows and asks for; shared by its conns. Any thread may make one, from then on it is the loop's. On an
 * error `part` says which of the three is wrong, and `why` in OpenSSL's words what is. ERR_INVALID, ERR_NO_MEMORY. */
must_check enum err tls_context_new(
	struct tls_context **out, const struct tls_options *o, enum tls_part *part, struct buf *why);
struct tls_context *tls_context_ref(struct tls_context *t);
void tls_context_unref(struct tls_context *t); /* NULL allowed */
/* From here on the peer speaks TLS, we are the server: what waits is still written plain, what on_data is being offered and does not
 * consume is the beginning of the handshake. on_secure follows, or on_end. Output that is written before waits for it. */
void conn_secure(struct conn *c, struct tls_context *t);
bool conn_is_secure(const struct conn *c);        /* and the handshake is over */
const char *conn_tls_error(const struct conn *c); /* why it failed; borrowed */

/* Closes at once; what waits is dropped. on_closed follows. Idempotent. */
void conn_close(struct conn *c);
/* Stops reading, writes what waits (within write_deadline_ns), closes. Idempotent. */
void conn_close_flushed(struct conn *c);

/* ---- listener ---- */

struct listener {
	struct net *net;           /* borrowed */
	struct io_listener *inner; /* owned until on_closed */
	bool is_closing;
	/* A connection, still without owner: conn_open it or io_stream_close it. */
	void (*on_accept)(struct listener *l, struct io_stream *s);
	void (*on_closed)(struct listener *l); /* may be NULL */
	const char *what;                      /* for log lines: "client" */
};
/* Listens on a numeric address; port 0 = any. `l` zeroed but for on_accept, on_closed, what. Errors of io_listen. */
must_check enum err listener_open(struct listener *l, struct net *n, const char *host, uint16_t port);
void listener_addr(const struct listener *l, struct io_addr *out); /* what was really bound */
static inline bool listener_is_open(const struct listener *l) { return l->inner && !l->is_closing; }
void listener_close(struct listener *l); /* idempotent; on_closed follows if it was open */

#endif
