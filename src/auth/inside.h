/* SPDX-License-Identifier: Apache-2.0 */
/* inside — what the files of auth share.
 *
 *   auth ──> accounts (live as long as auth)
 *     └────> policy (shared by the sessions made under it) ── users ── permissions ── patterns, and a cache of verdicts */
#ifndef THEBES_AUTH_INSIDE_H
#define THEBES_AUTH_INSIDE_H

#include "thebes/auth.h"

/* ---- permission.c ---- */

struct pattern {
	struct slice subject, queue; /* borrowed of the policy's arena; queue empty: any */
};
struct patterns {
	struct pattern *at; /* borrowed of the policy's arena */
	size_t count;
	bool is_set; /* an empty list that is set allows nothing; one that is not, everything */
};
struct verdict_entry {
	uint64_t hash;
	uint8_t subject_bytes;
	bool allowed;
	uint8_t subject[54];
};
enum { VERDICT_ENTRIES = 128 };
_Static_assert(sizeof(struct verdict_entry) == 64, "one cache line");

struct permissions {
	struct permissions *next;       /* borrowed: the policy's list */
	struct verdict_entry *verdicts; /* owned: VERDICT_ENTRIES of them, made with the first publish */
	uint64_t seed;
	struct patterns publish_allow, publish_deny, subscribe_allow, subscribe_deny;
	bool allow_responses;
	int64_t responses_max, responses_expires_ns; /* negative: no limit */
};
/* What allow and deny say about publishing, responses left aside. */
bool permissions_allow_publish(struct permissions *p, struct slice subject);

/* ---- policy.c ---- */

struct auth_user {
	struct slice name, password;     /* borrowed of the policy's arena */
	struct slice account_name;       /* borrowed of the policy's arena */
	struct account *account;         /* borrowed; set when the policy comes into force */
	struct permissions *permissions; /* borrowed of the policy; NULL: may do everything */
};
struct auth_policy {
	uint32_t refs;
	struct arena arena;
	struct map users;                /* name -> struct auth_user (in the arena) */
	struct permissions *permissions; /* in the arena: all of them, for their caches */
	struct slice token;
	const struct auth_user *no_auth_user; /* NULL: none */
	bool is_open_to_global; /* only the system account has users: everybody else joins $G (spec §2.1) */
	struct slice decoy;     /* a bcrypt hash to be busy with for a user who is not there */
};
/* One reference for the caller. NULL: `why` says what is wrong. */
struct auth_policy *policy_new(const struct auth_conf *c, uint64_t seed, struct buf *why);
struct auth_policy *policy_ref(struct auth_policy *p);
void policy_unref(struct auth_policy *p); /* NULL allowed */
const struct auth_user *policy_user(const struct auth_policy *p, struct slice name);
/* Nobody has to prove anything because nobody is configured. */
bool policy_is_empty(const struct auth_policy *p);

/* ---- replies.c ---- */

struct auth_replies *replies_new(uint64_t seed, int64_t max, int64_t expires_ns);
void replies_free(struct auth_replies *r); /* NULL allowed */
void replies_note(struct auth_replies *r, struct slice subject, uint64_t now_ns);
/* True when the subject may be answered once more; uses that up. */
bool replies_use(struct auth_replies *r, struct slice subject, uint64_t now_ns);

/* ---- secret.c ---- */

/* Takes as long as the given text is, whatever is in either. */
bool secret_equals(struct slice given, struct slice expected);
/* Slow, on purpose: for a worker. `hash` is one that auth_is_bcrypt. */
bool secret_matches_bcrypt(struct slice given, struct slice hash);

#endif
