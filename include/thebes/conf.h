/* SPDX-License-Identifier: Apache-2.0 */
/* conf — settings: a command line and files in nats-server's grammar become one plain struct, or sentences that say
 * what is wrong, where, and what was expected.
 *
 *   argv ──conf_command_parse──> struct conf_command ──┐
 *   files ──(read_file)──> lex ──> tree ──> table ──────┴─conf_load──> struct conf     or lines in struct conf_report
 *                                    │
 *                        src/conf/conf.def: one row per key: type, default, bounds, field, reload, documentation
 *                                    └──> conf_print_docs, conf_print_example, conf_diff
 *
 * conf never prints, exits, opens a file or looks at the environment: it is given functions for that and returns texts.
 * Blocking (read_file): call it before the loop runs, or in a job. A struct conf is never changed after conf_load; a
 * reload loads a new one, compares (conf_diff) and swaps. Contract: spec §3, §2.1, §2.2, §2.5.
 *
 * A key of nats-server that we know and do not act on yet is a warning where that is harmless and an error where it is
 * not (security, durability, limits, data that would not flow); an unknown key is an error. */
#ifndef THEBES_CONF_H
#define THEBES_CONF_H

#include "thebes/base.h"

/* ---- the settings ---- */

/* Strings are NUL-terminated without inner NULs, NULL when not set. Everything a struct conf points to is owned by its
 * arena. */
struct conf_strings {
	const char **at; /* owned */
	size_t count;
};

struct conf_listen {
	const char *host; /* never NULL: a name, or numeric without brackets */
	uint16_t port;    /* 0: any free one (-1 in the file) */
	bool is_on;
};

/* One direction. Patterns are not yet checked as subjects: that is auth's word. */
struct conf_subjects {
	struct conf_strings allow, deny; /* in subscribe also "subject queue" */
	bool allow_is_set; /* with an empty allow list: nothing is allowed but what allow_responses lets through */
};
struct conf_permissions {
	struct conf_subjects publish, subscribe;
	bool allow_responses;
	int64_t responses_max;        /* messages per reply subject; default 1; negative: no limit */
	int64_t responses_expires_ns; /* default two minutes; negative: never */
};

/* Bits of allowed_connection_types. */
enum conf_connection_type {
	CONF_CONNECTION_STANDARD = 1,
	CONF_CONNECTION_WEBSOCKET = 2,
	CONF_CONNECTION_LEAFNODE = 4,
	CONF_CONNECTION_LEAFNODE_WS = 8,
	CONF_CONNECTION_MQTT = 16,
	CONF_CONNECTION_MQTT_WS = 32,
	CONF_CONNECTION_IN_PROCESS = 64,
};

/* Where something was said, for messages. */
struct conf_place {
	const char *file; /* "command line" for flags */
	uint32_t line;    /* from 1 */
	uint32_t column;  /* from 1, in bytes */
};

struct conf_user {
	const char *name;                           /* never NULL */
	const char *password;                       /* plain or bcrypt; NULL: none was given */
	const struct conf_permissions *permissions; /* owned; NULL: the account's default, then the server's */
	unsigned connection_types;                  /* 0: all */
	struct conf_place place;
};

/* JetStream in one account; -1: no limit of its own. */
struct conf_account_jetstream {
	bool enabled;
	int64_t max_memory, max_store, max_streams, max_consumers, max_ack_pending;
	int64_t memory_max_stream_bytes, store_max_stream_bytes;
	bool max_bytes_required;
};

struct conf_account {
	const char *name;        /* never NULL */
	struct conf_user *users; /* owned */
	size_t user_count;
	const struct conf_permissions *default_permissions;      /* owned; NULL: none */
	int64_t max_connections, max_subscriptions, max_payload; /* -1: no limit of the account's own */
	struct conf_account_jetstream jetstream;
	bool is_system;
	struct conf_place place;
};

struct conf_pair {
	const char *key, *value;
};

struct conf {
	struct arena arena; /* owns all below */
	const char *file;   /* the configuration file; NULL: none */
	char digest[72];    /* "sha256:" and 64 hex digits over the files in the order of reading; empty: no file */

	/* network (spec §3.2) */
	struct conf_listen client; /* always on */
	const char *client_advertise;
	int64_t max_connections;   /* <= 0: nobody may connect */
	int64_t max_subscriptions; /* per connection; <= 0: no limit */
	int64_t max_sub_tokens;    /* 0: no limit */
	uint64_t max_control_line_bytes, max_payload_bytes, max_pending_bytes;
	uint64_t ping_interval_ns;
	int64_t ping_max;
	uint64_t write_deadline_ns;
	bool no_fast_producer_stall, no_header_support;
	int64_t max_closed_clients; /* remembered for monitoring */
	uint64_t lame_duck_duration_ns, lame_duck_grace_period_ns;

	/* identity */
	const char *server_name; /* NULL: the server's id */
	struct conf_strings server_tags;
	struct conf_pair *server_metadata; /* owned */
	size_t server_metadata_count;

	/* monitoring */
	struct conf_listen http;
	const char *http_base_path; /* never NULL: "" or "/x" */

	/* logging */
	bool debug, trace, trace_verbose, trace_headers, logtime, logtime_utc, syslog;
	const char *log_file;
	int64_t log_size_limit_bytes; /* 0 or negative: never rotate */
	int64_t log_max_num;          /* rotated files kept; 0: all */
	int64_t max_traced_msg_len;   /* 0: no limit */

	/* files */
	const char *pid_file, *ports_file_dir;

	/* who may connect (spec §2) */
	const char *auth_user, *auth_password, *auth_token; /* the single user, or the token; plain or bcrypt */
	uint64_t auth_timeout_ns;
	const struct conf_permissions *default_permissions; /* owned; NULL: none */
	struct conf_account
		*accounts; /* owned; [0] is $G and holds authorization.users; one is_system unless switched off */
	size_t account_count;
	const char *system_account; /* never NULL unless switched off */
	const char *no_auth_user;
	/* All configured users belong to the system account: connections without credentials join $G, while
	 * INFO.auth_required stays true (spec §2.1). */
	bool is_open_to_global;
	bool accounts_are_set; /* an accounts block was written */

	/* TLS for clients (spec §1.9, §3.3) */
	struct {
		bool is_on;   /* certificate and key are set, and nobody switched it off */
		bool enabled; /* as written; where nothing is written a map that is there is on */
		bool verify;  /* clients must show a certificate */
		const char *cert_file, *key_file, *ca_file; /* PEM; ca_file may be NULL */
		const char *min_version;                    /* "1.2" or "1.3" */
		uint64_t timeout_ns;                        /* for the handshake */
	} tls;
	bool allow_non_tls; /* plain clients beside TLS ones */

	/* storage (spec §3.3 jetstream, and our own keys) */
	struct {
		bool enabled;
		const char *store_dir;         /* never NULL when enabled */
		int64_t max_memory, max_store; /* bytes; -1: as much as there is (of memory: three quarters) */
		const char *domain;
		int64_t max_ack_pending, max_request_batch; /* -1: no limit */
		uint64_t duplicate_window_ns;               /* largest that a stream may ask for; 0: no limit */
	} jetstream;
	struct {
		uint64_t slot_bytes;
		int64_t slot_count;
	} journal;
	uint64_t
		memory_budget_bytes; /* payload held in memory by all connections and queues; 0: half of the machine's */
	uint64_t busy_poll_ns;       /* how long the loop looks for the next event before it sleeps; 0: never */
	bool failpoints;             /* may a fault be ordered by the environment (THEBES_FAILPOINT)? */
};

/* ---- the command line (spec §3.4) ---- */

enum conf_verdict {
	CONF_RUN,    /* load and serve */
	CONF_TEST,   /* -t: load, say whether it is valid, end */
	CONF_SIGNAL, /* --signal: see signal_name, signal_target */
	CONF_END,    /* print `out` and `err`, end with exit_code (help, version, a wrong command line) */
};
struct conf_flag_value; /* private */
struct conf_command {
	enum conf_verdict verdict;
	int exit_code;
	struct buf out, err;     /* owned; finished lines for standard output and standard error */
	const char *config_file; /* -c; borrowed of argv; NULL: none */
	const char *signal_name; /* "stop", "quit", "term", "reopen", "reload" or "ldm"; static */
	const char
		*signal_target; /* behind "=": a pid, a glob of pids or the path of a pid file; borrowed; NULL: none */
	struct conf_flag_value *values; /* owned: what the flags set, in their order */
	size_t value_count;
};
/* Reads Go's flag syntax: -k v, -k=v, --k v; booleans -k or -k=false; aliases of nats-server. argv[0] is skipped.
 * `name` is the program's in usage and messages ("nats-server", "thebes server"); -v prints "<name>: v<version>". */
void conf_command_parse(
	struct conf_command *cmd, int argc, const char *const *argv, const char *name, const char *version);
void conf_command_deinit(struct conf_command *cmd);

/* ---- loading ---- */

/* How conf sees the world. Each may fail or be absent (NULL): then there are no files, no environment, and nobody looks at certificates. */
struct conf_source {
	/* Appends the file's content. `path` is as written, relative ones already joined to the including file's
	 * directory. */
	enum err (*read_file)(void *arg, const char *path, struct buf *out);
	const char *(*env)(void *arg, const char *name); /* NULL: not set; borrowed until the next call */
	/* Can the files of `tls` be used? Else the key whose file it is ("cert_file", …; static) and a line's end that says what was
	 * expected and found. Called once, when all else is good and TLS is on. */
	bool (*try_tls)(void *arg, const struct conf *c, const char **key, struct buf *why);
	void *arg;
};

/* What was found: finished lines "file:line:column: what is wrong". */
struct conf_report {
	struct buf errors, warnings; /* owned */
	size_t error_count, warning_count;
	bool is_syntax; /* the files were read, and what is in them is no configuration at all */
};
void conf_report_deinit(struct conf_report *r);

enum { CONF_ERRORS_MAX = 50 }; /* reported per load; the rest is counted */

/* Loads `file` (NULL: defaults only), then what the flags of `cmd` (may be NULL) set over it, then defaults and the
 * checks between keys. ERR_INVALID when the report has errors; then *c is empty. *report is zeroed or deinited
 * before. */
must_check enum err conf_load(struct conf *c, const char *file, const struct conf_command *cmd,
	const struct conf_source *source, struct conf_report *report);
void conf_deinit(struct conf *c); /* a zeroed conf is allowed */

/* The account of that name, or NULL. */
const struct conf_account *conf_account_find(const struct conf *c, const char *name);

/* ---- reload (spec §3.7) ---- */

struct conf_change {
	const char *key;    /* as in docs/config.md; borrowed for the call */
	bool is_reloadable; /* false: the running server cannot change it */
	const char *text;   /* "max_payload = 2097152", "authorization users": without secrets; borrowed for the call */
};
/* Calls `each` for every setting that differs, in the order of the table. Returns how many are not reloadable: then the
 * new one must be dropped as a whole. */
typedef void conf_change_fn(void *arg, const struct conf_change *change);
size_t conf_diff(const struct conf *old, const struct conf *new, conf_change_fn *each, void *arg);

/* ---- documentation, from the table ---- */

void conf_print_usage(struct buf *out, const char *name);
void conf_print_docs(struct buf *out);    /* docs/config.md */
void conf_print_example(struct buf *out); /* conf/thebes.conf: every key with its default and reason */

#endif
