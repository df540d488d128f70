/* SPDX-License-Identifier: Apache-2.0 */
#include "inside.h"
#include "jobs.h"

#define HASH "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW" /* of "secret", cost 4 */

struct visitor {
	struct auth_login login;
	struct auth_session session;
	enum auth_verdict verdict;
	size_t told;
};

static void visitor_done(struct auth_login *l, enum auth_verdict v)
{
	struct visitor *x = CONTAINER_OF(l, struct visitor, login);
	x->verdict = v;
	x->told++;
}

static enum auth_verdict visitor_login(
	struct visitor *x, struct auth *a, const char *user, const char *pass, const char *token)
{
	const struct auth_credentials c = { slice_of_str(user), slice_of_str(pass), slice_of_str(token) };
	x->login.done = visitor_done;
	return auth_login(a, &x->login, &c, &x->session);
}

static void configure(struct auth *a, const struct auth_conf *c)
{
	struct buf why = { 0 };
	assert_int_equal(auth_configure(a, c, &why), OK);
	assert_int_equal(why.n, 0);
}

struct world {
	struct io io;
	struct auth auth;
};

static void world_open(struct world *w, const struct auth_conf *c)
{
	*w = (struct world) { 0 };
	list_init(&w->io.jobs);
	auth_init(&w->auth, &w->io, 5);
	configure(&w->auth, c);
}

static const struct auth_account_conf accounts_ab[] = {
	{ .name = SLICE("A"), .max_connections = -1, .max_subscriptions = -1, .max_payload = -1 },
	{ .name = SLICE("B"), .max_connections = 1, .max_subscriptions = -1, .max_payload = -1 },
};
static const struct auth_user_conf users_ab[] = {
	{ .user = SLICE("plain"), .password = SLICE("pw"), .account = SLICE("A") },
	{ .user = SLICE("crypt"), .password = SLICE(HASH), .account = SLICE("B") },
	{ .user = SLICE("open") },
	{ .user = SLICE("sys"), .password = SLICE("s"), .account = SLICE("$SYS") },
};
static const struct auth_conf conf_ab = {
	.users = users_ab, .user_count = 4, .accounts = accounts_ab, .account_count = 2
};

static void who_gets_in(void **state)
{
	(void)state;
	static const struct auth_user_conf only_system[] = {
		{ .user = SLICE("sys"), .password = SLICE("s"), .account = SLICE("$SYS") }
	};
	static const struct auth_conf nobody = { 0 }, token = { .token = SLICE("tok") },
				      token_hash = { .token = SLICE(HASH) },
				      single = { .user = SLICE("me"), .password = SLICE("pw") },
				      guests = { .users = users_ab,
					      .user_count = 4,
					      .accounts = accounts_ab,
					      .account_count = 2,
					      .no_auth_user = SLICE("plain") },
				      system = { .users = only_system, .user_count = 1 };
	static const struct {
		const struct auth_conf *conf;
		const char *user, *pass, *token;
		const char *account; /* NULL: denied */
		bool later;
		const char *name;
	} cases[] = {
		{ &nobody, "", "", "", "$G", false, "" },
		{ &nobody, "x", "y", "z", "$G", false, "" },
		{ &token, "", "", "tok", "$G", false, "" },
		{ &token, "", "", "nope", NULL, false, NULL },
		{ &token, "", "", "", NULL, false, NULL },
		{ &token, "tok", "tok", "", NULL, false, NULL },
		{ &token_hash, "", "", "secret", "$G", true, "" },
		{ &token_hash, "", "", "nope", NULL, true, NULL },
		{ &single, "me", "pw", "", "$G", false, "me" },
		{ &single, "me", "pW", "", NULL, false, NULL },
		{ &single, "you", "pw", "", NULL, false, NULL },
		{ &single, "", "", "", NULL, false, NULL },
		{ &conf_ab, "plain", "pw", "", "A", false, "plain" },
		{ &conf_ab, "plain", "", "", NULL, false, NULL },
		{ &conf_ab, "", "pw", "", NULL, true, NULL },
		{ &conf_ab, "", "", "pw", NULL, true, NULL },
		{ &conf_ab, "crypt", "secret", "", "B", true, "crypt" },
		{ &conf_ab, "crypt", "secrets", "", NULL, true, NULL },
		{ &conf_ab, "crypt", HASH, "", NULL, true, NULL },
		{ &conf_ab, "open", "", "", "$G", false, "open" },
		{ &conf_ab, "open", "x", "", NULL, false, NULL },
		{ &conf_ab, "sys", "s", "", "$SYS", false, "sys" },
		/* Whether there is such a user must not show in the time it takes: the secret of another one is tried. */
		{ &conf_ab, "nobody", "secret", "", NULL, true, NULL },
		{ &guests, "", "", "", "A", false, "plain" },
		{ &guests, "open", "", "", "$G", false, "open" },
		{ &guests, "plain", "bad", "", NULL, false, NULL },
		{ &guests, "", "x", "", NULL, true, NULL },
		{ &system, "", "", "", "$G", false, "" },
		{ &system, "sys", "s", "", "$SYS", false, "sys" },
		{ &system, "sys", "x", "", NULL, false, NULL },
		{ &system, "x", "", "", NULL, false, NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct world w;
		struct visitor x = { 0 };
		world_open(&w, cases[i].conf);
		enum auth_verdict v = visitor_login(&x, &w.auth, cases[i].user, cases[i].pass, cases[i].token);
		assert_int_equal(v == AUTH_LATER, cases[i].later);
		assert_int_equal(x.told, 0);
		if (v == AUTH_LATER) {
			assert_false(auth_is_idle(&w.auth));
			jobs_run_all(&w.io);
			assert_int_equal(x.told, 1);
			v = x.verdict;
		}
		assert_int_equal(v, cases[i].account ? AUTH_PASS : AUTH_DENIED);
		assert_int_equal(x.session.account != NULL, cases[i].account != NULL);
		if (cases[i].account) {
			assert_true(slice_eq_str(x.session.account->name, cases[i].account));
			assert_true(slice_eq_str(auth_session_name(&x.session), cases[i].name));
			assert_int_equal(x.session.account->connection_count, 1);
		}
		auth_session_close(&x.session);
		auth_session_close(&x.session);
		auth_deinit(&w.auth);
	}
}

static void full_account(void **state)
{
	(void)state;
	struct world w;
	struct visitor x[3] = { 0 };
	world_open(&w, &conf_ab);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(visitor_login(&x[i], &w.auth, "crypt", "secret", ""), AUTH_LATER);
	jobs_run_all(&w.io);
	assert_int_equal(x[0].verdict, AUTH_PASS);
	assert_int_equal(x[1].verdict, AUTH_ACCOUNT_FULL);
	auth_session_close(&x[0].session);
	assert_int_equal(visitor_login(&x[2], &w.auth, "crypt", "secret", ""), AUTH_LATER);
	jobs_run_all(&w.io);
	assert_int_equal(x[2].verdict, AUTH_PASS);
	auth_session_close(&x[2].session);
	auth_deinit(&w.auth);
}

enum { FLOOD = AUTH_JOBS_MAX + AUTH_WAITING_MAX };

/* Never more than a few on workers, never more than so many in line; who leaves makes room; nobody is forgotten. */
static void flood(void **state)
{
	(void)state;
	struct world w;
	struct visitor *x = mem_zalloc((FLOOD + 2) * sizeof *x);
	world_open(&w, &conf_ab);
	for (size_t i = 0; i < FLOOD; i++)
		assert_int_equal(visitor_login(&x[i], &w.auth, "crypt", "wrong", ""), AUTH_LATER);
	assert_int_equal(w.io.submitted, AUTH_JOBS_MAX);
	assert_int_equal(visitor_login(&x[FLOOD], &w.auth, "crypt", "secret", ""), AUTH_DENIED);
	assert_int_equal(visitor_login(&x[FLOOD], &w.auth, "plain", "pw", ""), AUTH_PASS); /* plain ones do not wait */
	auth_login_cancel(&x[FLOOD - 1].login);
	auth_login_cancel(&x[FLOOD - 1].login);
	auth_login_cancel(&x[0].login); /* on a worker */
	assert_int_equal(visitor_login(&x[FLOOD + 1], &w.auth, "crypt", "secret", ""), AUTH_LATER);
	for (size_t i = 1; i < FLOOD - 1; i += 1 + i % 7) auth_login_cancel(&x[i].login);
	size_t left = 0;
	for (size_t i = 0; i < FLOOD; i++) left += x[i].login.check != NULL;
	jobs_run_all(&w.io);
	size_t denied = 0;
	for (size_t i = 0; i < FLOOD; i++) denied += x[i].told && x[i].verdict == AUTH_DENIED;
	assert_int_equal(denied, left);
	assert_true(x[FLOOD + 1].told == 1 && x[FLOOD + 1].verdict == AUTH_PASS);
	assert_true(auth_is_idle(&w.auth));
	auth_session_close(&x[FLOOD].session);
	auth_session_close(&x[FLOOD + 1].session);
	mem_free(x);
	auth_deinit(&w.auth);
}

/* A session moves to the new policy when it would come to be again in the same way. */
static void reloading(void **state)
{
	(void)state;
	static const struct slice only_x[] = { SLICE("x") };
	static const struct auth_permissions_conf restricted = { .publish = { .allow = only_x, .allow_count = 1 } };
	static const struct auth_user_conf
		same[] = { { .user = SLICE("u"), .password = SLICE("p"), .permissions = &restricted } },
		new_password[] = { { .user = SLICE("u"), .password = SLICE("q") } },
		moved[] = { { .user = SLICE("u"), .password = SLICE("p"), .account = SLICE("A") } },
		other[] = { { .user = SLICE("v"), .password = SLICE("p") } };
	static const struct auth_user_conf before[] = { { .user = SLICE("u"), .password = SLICE("p") } };
	static const struct auth_conf nobody = { 0 }, token = { .token = SLICE("t") },
				      token2 = { .token = SLICE("t2") }, by_user = { .users = before, .user_count = 1 },
				      by_same = { .users = same, .user_count = 1 },
				      by_new_password = { .users = new_password, .user_count = 1 },
				      by_moved = { .users = moved,
					      .user_count = 1,
					      .accounts = accounts_ab,
					      .account_count = 2 },
				      by_other = { .users = other, .user_count = 1 },
				      guest = { .users = before, .user_count = 1, .no_auth_user = SLICE("u") },
				      guest_moved = { .users = moved,
					      .user_count = 1,
					      .accounts = accounts_ab,
					      .account_count = 2,
					      .no_auth_user = SLICE("u") };
	static const struct {
		const struct auth_conf *from, *to;
		const char *user, *pass, *token;
		bool stays, restricted;
	} cases[] = {
		{ &by_user, &by_same, "u", "p", "", true, true },
		{ &by_user, &by_user, "u", "p", "", true, false },
		{ &by_user, &by_new_password, "u", "p", "", false, false },
		{ &by_user, &by_moved, "u", "p", "", false, false },
		{ &by_user, &by_other, "u", "p", "", false, false },
		{ &by_user, &nobody, "u", "p", "", false, false },
		{ &nobody, &by_user, "", "", "", false, false },
		{ &nobody, &by_user, "u", "q", "", false, false },
		{ &nobody, &by_user, "v", "p", "", false, false },
		{ &nobody, &by_user, "u", "p", "", true, false },
		{ &nobody, &by_same, "u", "p", "", true, true },
		{ &nobody, &by_moved, "u", "p", "", false, false },
		{ &nobody, &token, "", "", "t", true, false },
		{ &nobody, &token, "", "", "u", false, false },
		{ &nobody, &guest, "u", "q", "", false, false },
		{ &nobody, &nobody, "", "", "", true, false },
		{ &nobody, &guest, "", "", "", true, false },
		{ &guest, &nobody, "", "", "", true, false },
		{ &guest, &guest_moved, "", "", "", false, false },
		{ &guest, &by_user, "", "", "", false, false },
		{ &token, &token, "", "", "t", true, false },
		{ &token, &token2, "", "", "t", false, false },
		{ &token, &nobody, "", "", "t", false, false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct world w;
		struct visitor x = { 0 };
		world_open(&w, cases[i].from);
		assert_int_equal(visitor_login(&x, &w.auth, cases[i].user, cases[i].pass, cases[i].token), AUTH_PASS);
		const struct auth_credentials who = { slice_of_str(cases[i].user), slice_of_str(cases[i].pass),
			slice_of_str(cases[i].token) };
		assert_true(auth_session_renew(&w.auth, &x.session, &who));
		configure(&w.auth, cases[i].to);
		/* Until it is asked again it goes on under the old one. */
		assert_true(auth_can_publish(&x.session, SLICE("y"), 0));
		assert_int_equal(auth_session_renew(&w.auth, &x.session, &who), cases[i].stays);
		assert_int_equal(auth_can_publish(&x.session, SLICE("y"), 0), !cases[i].restricted);
		auth_session_close(&x.session);
		auth_deinit(&w.auth);
	}
}

/* The configuration changes while the worker is busy: what counts is the new one. */
static void reload_during_check(void **state)
{
	(void)state;
	static const struct auth_user_conf gone[] = { { .user = SLICE("plain"), .password = SLICE("pw") } };
	static const struct auth_conf without = { .users = gone, .user_count = 1 };
	for (int keeps = 0; keeps < 2; keeps++) {
		struct world w;
		struct visitor x = { 0 };
		world_open(&w, &conf_ab);
		assert_int_equal(visitor_login(&x, &w.auth, "crypt", "secret", ""), AUTH_LATER);
		configure(&w.auth, keeps ? &conf_ab : &without);
		jobs_run_all(&w.io);
		assert_int_equal(x.verdict, keeps ? AUTH_PASS : AUTH_DENIED);
		if (keeps) assert_ptr_equal(x.session.policy, w.auth.policy);
		auth_session_close(&x.session);
		auth_deinit(&w.auth);
	}
}

static bool count_deliver(struct sink *k, struct sub *s, const struct msg *m)
{
	(void)k;
	(void)s;
	(void)m;
	return true;
}

/* Accounts do not hear each other. */
static void isolation(void **state)
{
	(void)state;
	static const struct sink_ops ops = { .deliver = count_deliver };
	struct world w;
	world_open(&w, &conf_ab);
	struct sink sink = { &ops };
	struct sub sub = { .sink = &sink };
	struct msg m = { .subject = SLICE("a") };
	assert_int_equal(
		router_subscribe(&auth_account(&w.auth, SLICE("A"))->router, &sub, SLICE(">"), SLICE_NULL), OK);
	assert_int_equal(router_publish(&auth_account(&w.auth, SLICE("A"))->router, &m), 1);
	assert_int_equal(router_publish(&auth_account(&w.auth, SLICE("B"))->router, &m), 0);
	assert_int_equal(router_publish(&w.auth.global->router, &m), 0);
	assert_int_equal(router_publish(&w.auth.system->router, &m), 0);
	router_unsubscribe(&sub);
	auth_deinit(&w.auth);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_gets_in),
		cmocka_unit_test(full_account),
		cmocka_unit_test(flood),
		cmocka_unit_test(reloading),
		cmocka_unit_test(reload_during_check),
		cmocka_unit_test(isolation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
