/* SPDX-License-Identifier: Apache-2.0 */
/* node — one server: owns every room by value, wires doors to doors, runs the turn, and knows how to begin, change and end.
 *
 *   node_start ──> SERVING ──node_lame_duck──> LAME ──> STOPPING ──> host->stopped(exit code)
 *                     └────────────node_stop──────────────^
 *
 * Loop thread only; node_start blocks and comes before the loop runs. A process may hold several nodes: everything that belongs to
 * the process (standard error, environment, exit) is lent through struct node_host. Contract: spec §3.5-3.7. */
#ifndef THEBES_NODE_H
#define THEBES_NODE_H

#include "thebes/auth.h"
#include "thebes/base.h"
#include "thebes/client.h"
#include "thebes/conf.h"
#include "thebes/diag.h"
#include "thebes/http.h"
#include "thebes/io.h"
#include "thebes/net.h"
#include "thebes/vault.h"

/* The NATS version that we claim: no higher than what is implemented. */
#define NODE_NATS_VERSION "2.9.25"

/* What the process lends. Functions may be NULL where nothing is said; `arg` is handed to each. */
struct node_host {
	int pid;
	const char *program;     /* name that it was started under: part of the ports file's name */
	bool output_is_terminal; /* log lines get colours */
	int32_t utc_offset_s;    /* of local time, for log lines */
	uint64_t memory_bytes;   /* of the machine; 0: not known */
	void (*print)(void *arg, const char *p, size_t n); /* to standard error */
	void (*syslog)(void *arg, enum diag_level level, const char *line, size_t n);
	const char *(*env)(void *arg, const char *name);
	/* Numeric addresses of a host; blocking, before the loop runs. */
	enum err (*resolve)(
		void *arg, const char *host, uint16_t port, struct io_addr *out, unsigned max, unsigned *count);
	void (*usage)(void *arg, struct http_usage *out);
	/* Memory that was freed goes back to the system: called when a busy time is over. */
	void (*give_back)(void *arg);
	void (*stopped)(void *arg, int exit_code); /* required: the node's last word */
	/* The store can not be believed any more (S17): the process must end now, without writing anything. `why` was logged. Required with a
	 * store; in a simulation it returns and the machine is dead. */
	void (*die)(void *arg, const char *why);
	const struct state_ops *state; /* what holds the applied states; NULL: LMDB */
	const char *failpoint;         /* armed from the first line on, always; NULL: none. For simulations */
	void *arg;
};

enum node_state { NODE_NEW, NODE_STARTING, NODE_SERVING, NODE_LAME, NODE_STOPPING, NODE_STOPPED };

struct node_give_back {
	struct io_timer timer;
	uint64_t turns_seen, turns_given; /* when the timer was set, and when memory was last given back */
};

struct node_reload;
struct log_sink;
struct node {
	struct io *io;                      /* borrowed */
	const struct node_host *host;       /* borrowed */
	const struct conf_command *command; /* borrowed: flags that a reload lays over the file again */
	enum node_state state;
	struct conf conf;
	struct diag diag;
	struct log_sink *log; /* owned */
	struct ledger memory; /* all payload held */
	struct net net;
	struct auth auth;
	struct clients clients;
	struct http http;
	struct vault vault;
	struct listener listener; /* of clients */
	struct io_turn_hook hook;
	struct io_timer timer; /* lame duck: the next step */
	struct node_give_back give_back;
	struct node_reload *reload; /* owned, NULL when none is under way */
	bool reload_again;          /* asked for while one was under way */
	bool http_is_closed;
	bool has_deadline_passed;
	uint64_t lame_until_ns;
	int exit_code;
	int64_t start_wall_ns;
	char server_id[57];
	char *server_name, *info_host, *ports_file; /* owned */
};

/* Begins to serve. Takes `conf` over (moved, also on failure). What is wrong is logged as a fatal line; then the error returns and
 * node_deinit is all that may follow; or, when a listener is open that must be closed first, OK returns and host->stopped follows with
 * exit code 1. `report`: warnings of loading, may be NULL. */
must_check enum err node_start(struct node *n, struct io *io, const struct node_host *host,
	const struct conf_command *cmd, struct conf *conf, const struct conf_report *report);
/* After host->stopped, or after a failed node_start. */
void node_deinit(struct node *n);

/* Ends: clients see the end of their connection; host->stopped follows, not from inside. Ignored while a lame duck is on its way,
 * unless `at_once`. */
void node_stop(struct node *n, bool at_once);
/* Takes no new clients, asks those there to leave, ends them one by one, then ends (spec §1.7). */
void node_lame_duck(struct node *n);
/* Reads the configuration again and takes over what may change in a running server (spec §3.7). */
void node_reload(struct node *n);
/* Closes the log file and opens it again under its name: somebody has moved it away. */
void node_log_reopen(struct node *n);

/* conf_source.read_file on struct io; `io` is the argument. */
enum err node_read_file(void *io, const char *path, struct buf *out);
/* conf_source.try_tls, the same. */
bool node_try_tls(void *io, const struct conf *c, const char **key, struct buf *why);

#endif
