/* SPDX-License-Identifier: Apache-2.0 */
/* http — the monitoring pages: requests in, JSON out. It reads what other rooms show and changes nothing.
 *
 *   conn ──on_data──> whole header block ──llhttp──> routes.def ──> page ──> one response, keep-alive and pipelining kept
 *
 * Loop thread only. Everything a peer may send is bounded: bytes of a header block and of a body, responses waiting, connections,
 * the time to finish a request and the time between two. Contract: spec §4. */
#ifndef THEBES_HTTP_H
#define THEBES_HTTP_H

#include "thebes/base.h"
#include "thebes/client.h"
#include "thebes/conf.h"
#include "thebes/net.h"

/* What the machine says of this process; filled anew for each page that shows it. */
struct http_usage {
	uint64_t memory_bytes; /* resident */
	unsigned cores;
	double cpu_percent;
};

/* What the pages show. Filled by the node before http_open, kept right by it afterwards. Everything borrowed. */
/* JetStream as a whole: what it may use, and what it uses. */
struct http_jetstream {
	int64_t max_memory, max_storage; /* bytes, -1: no limit */
	uint64_t memory, storage, reserved_memory, reserved_storage, accounts, api_total, api_errors;
};
/* What nats-server has no word for, besides the counters. */
struct http_own {
	uint64_t memory_used, memory_peak, memory_budget; /* bytes of what is on its way; budget 0: no limit */
	bool stores;                                      /* the rest is known */
	uint64_t stations, stations_in_doubt;
	unsigned journal_full_permille;
};
struct http_view {
	const struct conf *conf;
	const struct clients *clients;
	const struct auth *auth;
	const char *server_id, *server_name, *version, *own_version;
	struct io_addr client_addr, http_addr; /* as bound */
	int64_t start_wall_ns, config_load_wall_ns;
	bool is_accepting; /* the client listener is open and the node is not on its way out */
	void (*usage)(void *arg, struct http_usage *out); /* may be NULL */
	void *usage_arg;
	bool (*jetstream)(void *arg, struct http_jetstream *out); /* may be NULL; false: it is off */
	void *jetstream_arg;
	void (*own)(void *arg, struct http_own *out); /* may be NULL */
	void *own_arg;
};

enum { HTTP_ROUTES_MAX = 32 };

struct http {
	struct net *net; /* borrowed */
	struct http_view view;
	struct listener listener;
	struct list open; /* of connections, private */
	uint64_t count;
	uint64_t requests[HTTP_ROUTES_MAX]; /* by route, for varz */
	struct buf body;                    /* private: the page being made */
	void (*on_closed)(
		struct http *h); /* may be NULL: after http_close, when the last connection and the listener are gone */
	bool is_closing;
};
void http_init(struct http *h, struct net *n);
void http_deinit(struct http *h);
/* Listens; view is set before. Errors of listener_open. */
must_check enum err http_open(struct http *h, const char *host, uint16_t port);
/* Stops listening, ends all connections; on_closed follows, from inside when nothing was open. */
void http_close(struct http *h);

#endif
