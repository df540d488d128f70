/* SPDX-License-Identifier: Apache-2.0 */
/* login — from credentials to a session. Plain secrets are decided on the spot. bcrypt is made to be slow, so it goes to a worker with copies
 * of what it needs, a few at a time; the others wait in line, and beyond a bound they are denied, so that a flood of logins costs its senders
 * their connections and nobody else anything. A user who does not exist takes as long as one who does. */
#include "inside.h"

/* One bcrypt comparison: waiting, then on a worker. It outlives the login that asked for it. */
struct auth_check {
	struct list link; /* in auth.waiting */
	struct io_job job;
	struct auth *auth;            /* borrowed */
	struct auth_login *login;     /* borrowed; NULL: nobody wants to know any more */
	struct auth_policy *policy;   /* shared (ref) */
	const struct auth_user *user; /* borrowed of policy */
	enum auth_how how;
	bool matches;             /* the worker's answer */
	struct slice given, hash; /* into text */
	size_t text_bytes;
	uint8_t text[];
};

/* What credentials claim, and the secret that would prove it. */
struct claim {
	enum auth_how how;
	const struct auth_user *user; /* NULL with AUTH_BY_NAME: there is no such user */
	struct slice given, expected;
	bool is_proven; /* nothing to prove */
};

static struct claim claim_of(const struct auth_policy *p, const struct auth_credentials *c)
{
	bool is_nobody = c->user.n == 0 && c->pass.n == 0 && c->token.n == 0;
	if (policy_is_empty(p)) return (struct claim) { .how = AUTH_BY_DEFAULT, .is_proven = true };
	if (is_nobody && (p->no_auth_user || p->is_open_to_global))
		return (struct claim) { .how = AUTH_BY_DEFAULT, .user = p->no_auth_user, .is_proven = true };
	if (p->token.n) return (struct claim) { .how = AUTH_BY_TOKEN, .given = c->token, .expected = p->token };
	const struct auth_user *u = policy_user(p, c->user);
	return (struct claim) {
		.how = AUTH_BY_NAME, .user = u, .given = c->pass, .expected = u ? u->password : p->decoy
	};
}

/* ---- sessions ---- */

static void session_set(struct auth_session *s, struct auth_policy *p, const struct auth_user *user)
{
	s->policy = policy_ref(p);
	s->user = user;
	s->permissions = user ? user->permissions : NULL;
	if (s->permissions && s->permissions->allow_responses)
		s->replies =
			replies_new(s->auth->seed, s->permissions->responses_max, s->permissions->responses_expires_ns);
}

static void session_unset(struct auth_session *s)
{
	replies_free(s->replies);
	policy_unref(s->policy);
	s->replies = NULL;
	s->policy = NULL;
}

static enum auth_verdict session_open(
	struct auth *a, struct auth_policy *p, const struct auth_user *user, enum auth_how how, struct auth_session *s)
{
	ASSERT(s->how == AUTH_BY_NOTHING);
	struct account *account = user ? user->account : a->global;
	if (account->max_connections >= 0 && account->connection_count >= (uint64_t)account->max_connections)
		return AUTH_ACCOUNT_FULL;
	*s = (struct auth_session) { .auth = a, .account = account, .how = how };
	session_set(s, p, user);
	account->connection_count++;
	a->session_count++;
	return AUTH_PASS;
}

void auth_session_close(struct auth_session *s)
{
	if (s->how == AUTH_BY_NOTHING) return;
	session_unset(s);
	s->account->connection_count--;
	s->auth->session_count--;
	*s = (struct auth_session) { 0 };
}

static bool user_is_same(const struct auth_user *a, const struct auth_user *b)
{
	return a && b && a->account == b->account && slice_eq(a->password, b->password);
}

/* Who came when nobody had to prove anything may have said who he is all the same. bcrypt is too slow to ask here: he must come again. */
static bool claim_holds(const struct claim *claim)
{
	if (claim->is_proven) return true;
	if (claim->how == AUTH_BY_NAME && !claim->user) return false;
	return !auth_is_bcrypt(claim->expected) && secret_equals(claim->given, claim->expected);
}

/* Whether the session would come to be again, and as whom. */
static bool session_claims_again(
	const struct auth *a, struct auth_session *s, const struct auth_credentials *c, const struct auth_user **user)
{
	const struct auth_policy *p = a->policy;
	switch (s->how) {
	case AUTH_BY_NOTHING: return false;
	case AUTH_BY_TOKEN: *user = NULL; return slice_eq(p->token, s->policy->token);
	case AUTH_BY_NAME: *user = policy_user(p, s->user->name); return user_is_same(s->user, *user);
	case AUTH_BY_DEFAULT: {
		struct claim claim = claim_of(p, c);
		if (!claim_holds(&claim) || (claim.user ? claim.user->account : a->global) != s->account) return false;
		*user = claim.user;
		s->how = claim.how;
		return true;
	}
	}
	UNREACHABLE();
}

bool auth_session_renew(struct auth *a, struct auth_session *s, const struct auth_credentials *c)
{
	const struct auth_user *user;
	if (s->policy == a->policy) return true;
	if (!session_claims_again(a, s, c, &user)) return false;
	session_unset(s);
	session_set(s, a->policy, user);
	return true;
}

struct slice auth_session_name(const struct auth_session *s) { return s->user ? s->user->name : SLICE_NULL; }

/* ---- bcrypt, elsewhere ---- */

static void check_free(struct auth_check *c)
{
	policy_unref(c->policy);
	explicit_bzero(c->text, c->text_bytes);
	mem_free(c);
}

static void check_run(struct io_job *j)
{
	struct auth_check *c = CONTAINER_OF(j, struct auth_check, job);
	c->matches = secret_matches_bcrypt(c->given, c->hash);
}

static enum auth_verdict check_verdict(struct auth_check *c)
{
	struct auth_session *s = c->login->session;
	if (!c->matches || (c->how == AUTH_BY_NAME && !c->user)) return AUTH_DENIED;
	enum auth_verdict v = session_open(c->auth, c->policy, c->user, c->how, s);
	/* The configuration may have changed while the worker was busy. */
	static const struct auth_credentials nobody;
	if (v != AUTH_PASS || auth_session_renew(c->auth, s, &nobody)) return v;
	auth_session_close(s);
	return AUTH_DENIED;
}

static void checks_start(struct auth *a);

static void check_done(struct io_job *j)
{
	struct auth_check *c = CONTAINER_OF(j, struct auth_check, job);
	struct auth_login *l = c->login;
	c->auth->running_count--;
	checks_start(c->auth);
	enum auth_verdict v = l ? check_verdict(c) : AUTH_DENIED;
	if (l) l->check = NULL;
	check_free(c);
	if (l) l->done(l, v);
}

static void checks_start(struct auth *a)
{
	while (a->running_count < AUTH_JOBS_MAX && a->waiting_count > 0) {
		struct auth_check *c = CONTAINER_OF(list_pop_front(&a->waiting), struct auth_check, link);
		a->waiting_count--;
		a->running_count++;
		c->job = (struct io_job) { .run = check_run, .done = check_done };
		io_job_submit(a->io, IO_LANE_CPU, &c->job);
	}
}

static enum auth_verdict check_submit(struct auth *a, struct auth_login *l, const struct claim *claim)
{
	if (a->waiting_count >= AUTH_WAITING_MAX) return AUTH_DENIED;
	size_t text_bytes = claim->given.n + claim->expected.n;
	struct auth_check *c = mem_zalloc(sizeof *c + text_bytes);
	c->auth = a;
	c->login = l;
	c->policy = policy_ref(a->policy);
	c->user = claim->user;
	c->how = claim->how;
	c->text_bytes = text_bytes;
	if (claim->given.n) memcpy(c->text, claim->given.p, claim->given.n);
	memcpy(c->text + claim->given.n, claim->expected.p, claim->expected.n);
	c->given = slice_of(c->text, claim->given.n);
	c->hash = slice_of(c->text + claim->given.n, claim->expected.n);
	l->check = c;
	list_push_back(&a->waiting, &c->link);
	a->waiting_count++;
	checks_start(a);
	return AUTH_LATER;
}

enum auth_verdict auth_login(
	struct auth *a, struct auth_login *l, const struct auth_credentials *c, struct auth_session *session)
{
	ASSERT(!l->check && session->how == AUTH_BY_NOTHING);
	struct claim claim = claim_of(a->policy, c);
	l->session = session;
	if (!claim.is_proven && auth_is_bcrypt(claim.expected)) return check_submit(a, l, &claim);
	bool passes = claim.is_proven || secret_equals(claim.given, claim.expected);
	if (claim.how == AUTH_BY_NAME && !claim.user) passes = false;
	return passes ? session_open(a, a->policy, claim.user, claim.how, session) : AUTH_DENIED;
}

void auth_login_cancel(struct auth_login *l)
{
	struct auth_check *c = l->check;
	if (!c) return;
	l->check = NULL;
	c->login = NULL;
	if (!list_is_linked(&c->link)) return; /* on a worker: check_done frees it */
	list_remove(&c->link);
	c->auth->waiting_count--;
	check_free(c);
}
