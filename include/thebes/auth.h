/* SPDX-License-Identifier: Apache-2.0 */
/* auth — who are you, what may you touch. It answers and never acts: the client room sends the -ERR and closes.
 *
 *   CONNECT ──> auth_login ──> AUTH_PASS / AUTH_DENIED, or AUTH_LATER and `done` (bcrypt on a worker)
 *   PUB     ──> auth_can_publish        SUB ──> auth_can_subscribe        delivery ──> auth_can_deliver, auth_note_reply
 *
 * Accounts own a router each and live as long as struct auth. Users and permissions belong to a policy that a reload replaces as a
 * whole; sessions hold on to the one they were made under until they are moved. Loop thread only, but for the bcrypt itself.
 * Contract: spec §2.1, §2.2, §2.5 (isolation), §1.4 for the texts. nkeys, JWT, imports and exports: not here yet. */
#ifndef THEBES_AUTH_H
#define THEBES_AUTH_H

#include "thebes/base.h"
#include "thebes/io.h"
#include "thebes/router.h"
#include "thebes/wire.h"

/* ---- what the configuration says (node translates; borrowed during auth_configure) ---- */

struct auth_subjects_conf {
	const struct slice *allow, *deny; /* patterns; subscribe entries may be "subject queue" */
	size_t allow_count, deny_count;
	bool allow_is_set; /* an empty allow list was written: nothing is allowed */
};
struct auth_permissions_conf {
	struct auth_subjects_conf publish, subscribe;
	bool allow_responses;
	int64_t responses_max;        /* messages per reply subject; 0: the default 1; negative: no limit */
	int64_t responses_expires_ns; /* 0: the default two minutes; negative: never */
};
struct auth_user_conf {
	struct slice user, password;                     /* password plain or bcrypt; may be empty */
	struct slice account;                            /* empty: $G */
	const struct auth_permissions_conf *permissions; /* NULL: the account's, then the server's default */
};
struct auth_account_conf {
	struct slice name;
	const struct auth_permissions_conf *default_permissions; /* NULL: none */
	int64_t max_connections, max_subscriptions, max_payload; /* negative: no limit of the account's own */
};
struct auth_conf {
	struct slice user, password; /* single user; user empty: none */
	struct slice token;          /* plain or bcrypt; empty: none */
	const struct auth_user_conf *users;
	size_t user_count;
	const struct auth_account_conf *accounts;
	size_t account_count;
	struct slice no_auth_user;   /* empty: none */
	struct slice system_account; /* empty: $SYS */
	const struct auth_permissions_conf *default_permissions;
};

/* ---- accounts ---- */

#define AUTH_ACCOUNT_GLOBAL SLICE("$G")
#define AUTH_ACCOUNT_SYSTEM SLICE("$SYS")

struct account {
	struct slice name; /* into text */
	struct list link;  /* in auth.account_list, oldest first */
	struct router router;
	int64_t max_connections, max_subscriptions, max_payload; /* negative: no limit */
	uint64_t connection_count;                               /* sessions that are open */
	bool is_system;
	bool is_configured; /* false after a reload that does not name it: nobody can log in to it any more */
	uint8_t text[];
};

/* ---- the room ---- */

struct auth_policy;
struct auth_user;
struct permissions;

enum {
	AUTH_JOBS_MAX = 2,       /* bcrypt checks on workers at a time */
	AUTH_WAITING_MAX = 1024, /* logins that may wait for one; the next is denied at once */
};

struct auth {
	struct io *io; /* borrowed */
	uint64_t seed;
	struct map accounts;             /* name -> struct account */
	struct list account_list;        /* of struct account.link (owned) */
	struct account *global, *system; /* borrowed of accounts */
	struct auth_policy *policy;      /* shared (ref) */
	struct list waiting;             /* of struct auth_check.link */
	size_t waiting_count, running_count;
	size_t session_count;
};
/* Without a configuration everybody is in $G and may do everything. */
void auth_init(struct auth *a, struct io *io, uint64_t seed);
/* Asserts that no session is open and that no check runs (auth_is_idle). */
void auth_deinit(struct auth *a);
/* False while a bcrypt check is on a worker; a closing node waits for true. */
bool auth_is_idle(const struct auth *a);

/* Replaces users and permissions, adds and updates accounts. Everything or nothing: on an error `why` gets a sentence that names what
 * is wrong (double or missing user, unknown account, a bad subject, mixed modes) and nothing changes. ERR_INVALID. */
must_check enum err auth_configure(struct auth *a, const struct auth_conf *c, struct buf *why);
/* Is this a bcrypt hash, or a password as it is? */
bool auth_is_bcrypt(struct slice secret);
/* NULL when there is none of that name. */
struct account *auth_account(const struct auth *a, struct slice name);

/* INFO.auth_required: true when somebody is configured and there is no no_auth_user. */
bool auth_is_required(const struct auth *a);
/* True when a connection may do something before CONNECT: nobody is configured, or there is a no_auth_user (auth_login without
 * credentials passes). */
bool auth_is_open(const struct auth *a);

/* ---- sessions ---- */

struct auth_credentials {
	struct slice user, pass, token; /* borrowed during auth_login */
};
/* How a session came to be, because a reload asks again in the same way. */
enum auth_how {
	AUTH_BY_NOTHING, /* no session */
	AUTH_BY_NAME,    /* a user who proved it */
	AUTH_BY_TOKEN,
	AUTH_BY_DEFAULT, /* nobody needs to prove anything, or no_auth_user */
};

/* The place of one client; by value in it. All zero: nobody, may do nothing. */
struct auth_session {
	struct auth *auth;               /* borrowed */
	struct account *account;         /* borrowed of auth */
	struct auth_policy *policy;      /* shared (ref) */
	const struct auth_user *user;    /* borrowed of policy; NULL when nobody is configured, or for a token */
	struct permissions *permissions; /* borrowed of policy; NULL: may do everything */
	struct auth_replies *replies; /* owned: reply subjects that may be answered (allow_responses); NULL without */
	enum auth_how how;
};

enum auth_verdict { AUTH_PASS, AUTH_DENIED, AUTH_ACCOUNT_FULL, AUTH_LATER };

struct auth_check;
struct auth_login;
/* v is AUTH_PASS, AUTH_DENIED or AUTH_ACCOUNT_FULL. Never from inside auth_login. */
typedef void auth_done_fn(struct auth_login *l, enum auth_verdict v);
/* A login under way; the caller's memory until it is decided or cancelled. Zeroed before first use, with done set. */
struct auth_login {
	auth_done_fn *done;
	struct auth_session *session; /* borrowed: what AUTH_PASS opens */
	struct auth_check *check;     /* private: NULL when none is under way */
};
/* Decides who this is. AUTH_PASS opens *session (zeroed before); AUTH_LATER: `done` follows unless it is cancelled. AUTH_DENIED is
 * WIRE_ERROR_AUTHORIZATION, AUTH_ACCOUNT_FULL is WIRE_ERROR_ACCOUNT_CONNECTIONS. Plain secrets are compared in constant time. */
enum auth_verdict auth_login(
	struct auth *a, struct auth_login *l, const struct auth_credentials *c, struct auth_session *session);
/* Forgets a login (the connection went away); harmless when none is under way. */
void auth_login_cancel(struct auth_login *l);
/* Leaves the account; zeroes. Harmless on a zeroed one. */
void auth_session_close(struct auth_session *s);
/* After a reload: moves the session to the new policy and returns true, or false when the user, his password or his account changed,
 * and the client is to be closed with WIRE_ERROR_AUTHORIZATION. `c`: what he said of himself at login, asked only where it did not matter
 * then (AUTH_BY_DEFAULT). Subscriptions that are no longer allowed are the caller's to drop. */
bool auth_session_renew(struct auth *a, struct auth_session *s, const struct auth_credentials *c);
/* Name for logs and monitoring, valid while the session is open: the user; empty where there is none. */
struct slice auth_session_name(const struct auth_session *s);

/* Publish to a concrete subject (spec §2.2). _GR_. is refused for everybody, $NRG. outside the system account. Uses up one response
 * where only allow_responses allows it. False: WIRE_ERROR_PUBLISH_DENIED. */
bool auth_can_publish(struct auth_session *s, struct slice subject, uint64_t now_ns);
/* A reply subject that the client puts on a message: _R_., $JS.ACK. and _GR_. are the server's. False: WIRE_ERROR_REPLY_DENIED. */
bool auth_can_reply(const struct auth_session *s, struct slice reply);
/* Subscribe, subject valid; a wildcard must be covered by one allowed pattern as a whole, and the queue _sys_ is nobody's. False: WIRE_ERROR_SUBSCRIBE_DENIED or, with a queue, WIRE_ERROR_QUEUE_DENIED. *filtered (may be NULL): the
 * subject has wildcards that cover something denied, so every delivery must ask auth_can_deliver. */
bool auth_can_subscribe(const struct auth_session *s, struct slice subject, struct slice queue, bool *filtered);
/* A concrete subject for a filtered sub. */
bool auth_can_deliver(struct auth_session *s, struct slice subject, struct slice queue);
/* True when auth_note_reply is to be called for what is delivered to this session. */
static inline bool auth_tracks_replies(const struct auth_session *s) { return s->replies != NULL; }
/* A message with this reply subject was delivered: under allow_responses it may now be answered. */
void auth_note_reply(struct auth_session *s, struct slice reply, uint64_t now_ns);

#endif
