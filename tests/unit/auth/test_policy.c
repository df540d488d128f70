/* SPDX-License-Identifier: Apache-2.0 */
#include "inside.h"
#include "jobs.h"

static void refused(void **state)
{
	(void)state;
	static const struct slice bad_subject[] = { SLICE("ok"), SLICE("a..b") }, bad_queue[] = { SLICE("a q x") },
				  queue[] = { SLICE("a q") }, nothing[] = { SLICE("  ") };
	static const struct auth_permissions_conf bad_publish = { .publish = { .allow = bad_subject,
									  .allow_count = 2 } },
						  bad_deny = { .subscribe = { .deny = bad_subject, .deny_count = 2 } },
						  bad_words = { .subscribe = { .allow = bad_queue, .allow_count = 1 } },
						  queue_publish = { .publish = { .allow = queue, .allow_count = 1 } },
						  blank = { .publish = { .deny = nothing, .deny_count = 1 } };
	static const struct auth_user_conf twice[] = { { .user = SLICE("a") }, { .user = SLICE("b") },
		{ .user = SLICE("a") } },
					   unknown_account[] = { { .user = SLICE("a"), .account = SLICE("X") } },
					   nameless[] = { { .password = SLICE("a") } },
					   with_bad[] = { { .user = SLICE("a"), .permissions = &bad_publish } };
	static const struct auth_account_conf accounts_twice[] = { { .name = SLICE("A") }, { .name = SLICE("A") } },
					      account_bad[] = { { .name = SLICE("A"),
						      .default_permissions = &bad_deny } };
	static const struct {
		struct auth_conf conf;
		const char *why;
	} cases[] = {
		{ { .users = twice, .user_count = 3 }, "user \"a\" is defined twice" },
		{ { .users = unknown_account, .user_count = 1 },
			"user \"a\" belongs to account \"X\", which is not defined" },
		{ { .users = nameless, .user_count = 1 }, "a user has no name" },
		{ { .users = with_bad, .user_count = 1 }, "permission subject \"a..b\" is not a valid subject" },
		{ { .default_permissions = &bad_words }, "permission subject \"a q x\" is not a valid subject" },
		{ { .default_permissions = &queue_publish }, "permission subject \"a q\" is not a valid subject" },
		{ { .default_permissions = &blank }, "permission subject \"  \" is not a valid subject" },
		{ { .accounts = account_bad, .account_count = 1 },
			"permission subject \"a..b\" is not a valid subject" },
		{ { .accounts = accounts_twice, .account_count = 2 }, "account \"A\" is defined twice" },
		{ { .no_auth_user = SLICE("z"), .users = twice, .user_count = 2 }, "no_auth_user \"z\" is not a user" },
		{ { .user = SLICE("u"), .users = twice, .user_count = 2 },
			"authorization has both a single user and a list of users" },
		{ { .token = SLICE("u"), .users = twice, .user_count = 2 },
			"authorization has both a token and a list of users" },
		{ { .token = SLICE("u"), .user = SLICE("u") }, "authorization has both a token and a single user" },
	};
	struct auth a;
	auth_init(&a, NULL, 1);
	struct buf why = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(auth_configure(&a, &cases[i].conf, &why), ERR_INVALID);
		CHECK_BUF(&why, cases[i].why);
		assert_null(auth_account(&a, SLICE("A")));
		assert_false(auth_is_required(&a));
	}
	buf_deinit(&why);
	auth_deinit(&a);
}

static void openness(void **state)
{
	(void)state;
	static const struct auth_user_conf users[] = { { .user = SLICE("a") } },
					   system_users[] = { { .user = SLICE("s"), .account = SLICE("SYS") } },
					   default_system_users[] = { { .user = SLICE("s"),
						   .account = SLICE("$SYS") } };
	static const struct auth_account_conf accounts[] = { { .name = SLICE("SYS"), .max_connections = -1 } };
	static const struct {
		struct auth_conf conf;
		bool required, open;
	} cases[] = {
		{ { .accounts = accounts, .account_count = 1 }, false, true },
		{ { .users = users, .user_count = 1 }, true, false },
		{ { .users = users, .user_count = 1, .no_auth_user = SLICE("a") }, false, true },
		{ { .user = SLICE("u"), .password = SLICE("p") }, true, false },
		{ { .token = SLICE("t") }, true, false },
		{ { .users = system_users,
			  .user_count = 1,
			  .accounts = accounts,
			  .account_count = 1,
			  .system_account = SLICE("SYS") },
			true, true },
		{ { .users = system_users, .user_count = 1, .accounts = accounts, .account_count = 1 }, true, false },
		{ { .users = default_system_users, .user_count = 1 }, true, true },
	};
	struct auth a;
	auth_init(&a, NULL, 1);
	struct buf why = { 0 };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(auth_configure(&a, &cases[i].conf, &why), OK);
		assert_int_equal(auth_is_required(&a), cases[i].required);
		assert_int_equal(auth_is_open(&a), cases[i].open);
	}
	assert_int_equal(why.n, 0);
	auth_deinit(&a);
}

static void accounts(void **state)
{
	(void)state;
	struct auth a;
	auth_init(&a, NULL, 1);
	struct buf why = { 0 };
	struct account *global = auth_account(&a, SLICE("$G")), *sys = auth_account(&a, SLICE("$SYS"));
	assert_true(global == a.global && sys == a.system && sys->is_system && !global->is_system);
	assert_true(global->max_connections < 0 && global->max_payload < 0);

	static const struct auth_account_conf first[] = {
		{ .name = SLICE("A"), .max_connections = 5, .max_subscriptions = -1, .max_payload = 100 },
		{ .name = SLICE("MINE"), .max_connections = -1 }
	};
	struct auth_conf conf = { .accounts = first, .account_count = 2, .system_account = SLICE("MINE") };
	assert_int_equal(auth_configure(&a, &conf, &why), OK);
	struct account *one = auth_account(&a, SLICE("A"));
	assert_true(one->max_connections == 5 && one->max_subscriptions == -1 && one->max_payload == 100);
	assert_true(a.system == auth_account(&a, SLICE("MINE")) && a.system->is_system && !sys->is_system);

	/* An account that is no longer named stays where it is and takes nobody in. */
	conf = (struct auth_conf) { 0 };
	assert_int_equal(auth_configure(&a, &conf, &why), OK);
	assert_true(
		auth_account(&a, SLICE("A")) == one && !one->is_configured && sys->is_system && global->is_configured);
	assert_true(one->router.seed != global->router.seed);
	auth_deinit(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused),
		cmocka_unit_test(openness),
		cmocka_unit_test(accounts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
