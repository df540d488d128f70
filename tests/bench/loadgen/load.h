/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator: one program that puts the same load on any server that speaks the NATS protocol, so that two servers can be compared by
 * nothing but their names. It shares no code with Thebes. One thread, plain sockets, poll: what it needs of the two cores is small and the same
 * for every server.
 *
 *   main.c      options, one row per mode
 *   link.c      a connection: handshake, bytes out, lines in, one JetStream request at a time
 *   core.c      messages from one connection to another; request and reply
 *   stream.c    publish with acknowledgement; fetch with explicit acks
 *   process.c   memory of the server, idle connections, time to start
 *   hist.c      latencies
 *
 * Every mode prints one line of JSON on standard output and exits 0, or says on standard error what went wrong and exits 1. */
#ifndef LOADGEN_LOAD_H
#define LOADGEN_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct options {
	const char *host;
	int port;
	double seconds;   /* how long to measure */
	double warmup;    /* how long to run before measuring */
	uint64_t count;   /* messages or connections; 0: as many as fit `seconds` */
	unsigned size;    /* payload bytes */
	unsigned clients; /* publishers or fetching connections */
	unsigned window;  /* publishes that wait for their ack, per publisher */
	unsigned batch;   /* messages asked for at once */
	int pid;          /* the server's, to look at its memory */
	const char *stream;
	bool keep;   /* publish: into the stream that is there; start: leave the server running */
	char **argv; /* start: the server's command line, NULL-terminated */
};

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
uint64_t now_ns(void);

/* ---- latencies: buckets of about 1.5 % width, in nanoseconds ---- */

#define HIST_SUB 64
struct hist {
	uint64_t count, max;
	uint64_t bucket[40 * HIST_SUB];
};
void hist_add(struct hist *h, uint64_t ns);
/* The value below which `share` (0..1) of what was added lies, in microseconds. */
double hist_us(const struct hist *h, double share);

/* ---- a connection ---- */

struct link {
	int fd;
	char *out; /* owned: queued bytes are out[out_at..out_n) */
	size_t out_n, out_at, out_cap;
	char *in; /* owned: unread bytes are in[in_at..in_n) */
	size_t in_n, in_at, in_cap;
	bool jetstream; /* what the server's INFO said */
};

/* One message as it lies in the link's input; valid until the next read. `headers` is 0 for MSG. */
struct msg {
	const char *subject, *reply;
	char *payload;
	size_t subject_n, reply_n, payload_n, headers_n;
};

/* Connects and shakes hands, blocking; then the socket is non-blocking. Dies if the server does not answer. */
void link_open(struct link *l, const struct options *o);
/* Tries once to connect and read INFO, within timeout_ms. Returns false if nobody listens yet. */
bool link_try(struct link *l, const struct options *o, int timeout_ms);
void link_close(struct link *l);
/* Everything sent so far is done with when this returns: PING and PONG. Lines that come before are dropped. */
void link_sync(struct link *l);
/* Appends to the output queue, which grows; link_flush sends what the kernel takes and returns whether all of it went out. */
void link_put(struct link *l, const void *bytes, size_t n);
__attribute__((format(printf, 2, 3))) void link_putf(struct link *l, const char *format, ...);
bool link_flush(struct link *l);
/* Reads what is there. Returns how many bytes came, 0 when none are there now. Dies when the server closed. */
size_t link_read(struct link *l);
/* The next whole message; answers PING on the way and dies of -ERR. Returns false when more bytes are needed. */
bool link_next(struct link *l, struct msg *m);
/* Waits until one of the links can be read, or written where it has output. */
void links_wait(struct link *links, unsigned count, int timeout_ms);
/* Sends a request and waits for its answer. The answer is NUL-terminated and valid until the link's next read. Call it only while nothing else
 * is in flight on the link. Returns NULL if nobody answered in time. */
const char *link_request(struct link *l, const char *subject, const char *payload, int timeout_ms);
/* The unsigned number behind "key": in a JSON text that is not looked at otherwise; `missing` when there is none. */
uint64_t json_number(const char *json, const char *key, uint64_t missing);

/* ---- modes ---- */

void run_core(const struct options *o);
void run_request(const struct options *o);
void run_publish(const struct options *o);
void run_fetch(const struct options *o);
void run_idle(const struct options *o);
void run_memory(const struct options *o);
void run_start(const struct options *o);

#endif
