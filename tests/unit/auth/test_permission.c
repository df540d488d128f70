/* SPDX-License-Identifier: Apache-2.0 */
#include "inside.h"
#include "jobs.h"
#include "thebes/wire.h"

/* A session of one user with these permissions. */
struct guest {
	struct auth auth;
	struct auth_session session;
};

static void guest_open(struct guest *g, const struct auth_permissions_conf *p)
{
	const struct auth_user_conf user = { .user = SLICE("u"), .permissions = p };
	const struct auth_conf conf = { .users = &user, .user_count = 1 };
	const struct auth_credentials who = { .user = SLICE("u") };
	struct auth_login login = { 0 };
	struct buf why = { 0 };
	*g = (struct guest) { 0 };
	auth_init(&g->auth, NULL, 7);
	assert_int_equal(auth_configure(&g->auth, &conf, &why), OK);
	assert_int_equal(auth_login(&g->auth, &login, &who, &g->session), AUTH_PASS);
}

static void guest_close(struct guest *g)
{
	auth_session_close(&g->session);
	auth_deinit(&g->auth);
}

/* The permissions whose verdicts were asked of nats-server 2.9.10. */
static const struct slice publish_allow[] = { SLICE("foo.*"), SLICE("q") }, publish_deny[] = { SLICE("foo.no") },
			  subscribe_allow[] = { SLICE("foo.>"), SLICE("in.>"), SLICE("foo v1"), SLICE("bar v*"),
				  SLICE("bar x.*") },
			  subscribe_deny[] = { SLICE("foo.no"), SLICE("foo.a q1") };
static const struct auth_permissions_conf mixed = {
	.publish = { publish_allow, publish_deny, COUNT_OF(publish_allow), COUNT_OF(publish_deny), true },
	.subscribe = { subscribe_allow, subscribe_deny, COUNT_OF(subscribe_allow), COUNT_OF(subscribe_deny), true },
};

static void publishing(void **state)
{
	(void)state;
	static const struct {
		const char *subject;
		bool allowed;
	} cases[] = {
		{ "foo.x", true },
		{ "foo.no", false },
		{ "foo", false },
		{ "foo..x", false },
		{ "q", true },
		{ "q.r", false },
		{ "", false },
		{ "_GR_.a", false },
		{ "foo.aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff", true },
		{ "bar.aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff", false },
	};
	struct guest g;
	guest_open(&g, &mixed);
	for (int again = 0; again < 2; again++)
		for (size_t i = 0; i < COUNT_OF(cases); i++)
			assert_int_equal(
				auth_can_publish(&g.session, slice_of_str(cases[i].subject), 0), cases[i].allowed);
	guest_close(&g);
}

static void subscribing(void **state)
{
	(void)state;
	static const struct {
		const char *subject, *queue;
		bool allowed, filtered;
	} cases[] = {
		{ "foo", "", false, false },
		{ "foo", "v1", true, false },
		{ "foo", "v2", false, false },
		{ "foo.*", "", true, true },
		{ "foo.>", "", true, true },
		{ "foo.x", "", true, false },
		{ ">", "", false, false },
		{ "*", "", false, false },
		{ "foo.no", "", false, false },
		{ "foo.no", "q", false, false },
		{ "foo.a", "", true, false },
		{ "foo.a", "q1", false, false },
		{ "foo.a", "q2", true, false },
		{ "in.*.x", "", true, false },
		{ "bar", "", false, false },
		{ "bar", "v*", true, false },
		{ "bar", "vx", false, false },
		{ "bar", "x.y", true, false },
		{ "bar", "x.y.z", false, false },
		{ "bar", "x.*", true, false },
		{ "foo.x", "_sys_", false, false },
	};
	struct guest g;
	guest_open(&g, &mixed);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		bool filtered = !cases[i].filtered;
		assert_int_equal(auth_can_subscribe(&g.session, slice_of_str(cases[i].subject),
					 slice_of_str(cases[i].queue), &filtered),
			cases[i].allowed);
		if (cases[i].allowed) assert_int_equal(filtered, cases[i].filtered);
		assert_int_equal(auth_can_subscribe(&g.session, slice_of_str(cases[i].subject),
					 slice_of_str(cases[i].queue), NULL),
			cases[i].allowed);
	}
	/* The single messages of an allowed wildcard. */
	assert_true(auth_can_deliver(&g.session, SLICE("foo.yes"), SLICE_NULL));
	assert_false(auth_can_deliver(&g.session, SLICE("foo.no"), SLICE_NULL));
	assert_true(auth_can_deliver(&g.session, SLICE("foo.a"), SLICE_NULL));
	assert_false(auth_can_deliver(&g.session, SLICE("foo.a"), SLICE("q1")));
	assert_true(auth_can_deliver(&g.session, SLICE("foo.a"), SLICE("q2")));
	guest_close(&g);
}

static void only_one_side(void **state)
{
	(void)state;
	static const struct slice x[] = { SLICE("x.>") };
	static const struct {
		struct auth_permissions_conf permissions;
		bool publish_x, publish_y, subscribe_x, subscribe_y, subscribe_all, filtered;
	} cases[] = {
		{ { .publish = { .allow = x, .allow_count = 1 } }, true, false, true, true, true, false },
		{ { .publish = { .deny = x, .deny_count = 1 } }, false, true, true, true, true, false },
		{ { .subscribe = { .allow = x, .allow_count = 1 } }, true, true, true, false, false, false },
		{ { .subscribe = { .deny = x, .deny_count = 1 } }, true, true, false, true, true, true },
		{ { .publish = { .allow_is_set = true } }, false, false, true, true, true, false },
		{ { .subscribe = { .allow_is_set = true } }, true, true, false, false, false, false },
		{ { .allow_responses = true }, false, false, true, true, true, false },
		{ { .allow_responses = true, .publish = { .allow = x, .allow_count = 1 } }, true, false, true, true,
			true, false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct guest g;
		bool filtered = false;
		guest_open(&g, &cases[i].permissions);
		assert_int_equal(auth_can_publish(&g.session, SLICE("x.1"), 0), cases[i].publish_x);
		assert_int_equal(auth_can_publish(&g.session, SLICE("y.1"), 0), cases[i].publish_y);
		assert_int_equal(auth_can_subscribe(&g.session, SLICE("x.1"), SLICE_NULL, NULL), cases[i].subscribe_x);
		assert_int_equal(auth_can_subscribe(&g.session, SLICE("y.1"), SLICE_NULL, NULL), cases[i].subscribe_y);
		assert_int_equal(
			auth_can_subscribe(&g.session, SLICE(">"), SLICE_NULL, &filtered), cases[i].subscribe_all);
		assert_int_equal(filtered, cases[i].filtered);
		guest_close(&g);
	}
}

static void responding(void **state)
{
	(void)state;
	static const struct slice x[] = { SLICE("x") };
	const struct auth_permissions_conf p = { .publish = { .allow = x, .allow_count = 1 }, .allow_responses = true };
	struct guest g;
	guest_open(&g, &p);
	assert_true(auth_tracks_replies(&g.session));
	assert_false(auth_can_publish(&g.session, SLICE("_INBOX.1"), 5));
	auth_note_reply(&g.session, SLICE("_INBOX.1"), 5);
	auth_note_reply(&g.session, SLICE_NULL, 5);
	assert_true(auth_can_publish(&g.session, SLICE("_INBOX.1"), 6));
	assert_false(auth_can_publish(&g.session, SLICE("_INBOX.1"), 6));
	/* The default: two minutes. */
	auth_note_reply(&g.session, SLICE("_INBOX.2"), 0);
	assert_false(auth_can_publish(&g.session, SLICE("_INBOX.2"), SECONDS(120) + 1));
	/* What is allowed anyway is not counted. */
	auth_note_reply(&g.session, SLICE("x"), 0);
	for (int i = 0; i < 3; i++) assert_true(auth_can_publish(&g.session, SLICE("x"), 0));
	guest_close(&g);

	guest_open(&g, NULL);
	assert_false(auth_tracks_replies(&g.session));
	guest_close(&g);
}

static void reserved(void **state)
{
	(void)state;
	struct guest g;
	guest_open(&g, NULL);
	static const struct {
		const char *subject;
		bool publish, reply;
	} cases[] = {
		{ "a", true, true },
		{ "_GR_.a.b", false, false },
		{ "$NRG.x", false, true },
		{ "_R_.x", true, false },
		{ "$JS.ACK.x", true, false },
		{ "_R_", true, true },
		{ "_INBOX.x", true, true },
		{ "$JS.API.INFO", true, true },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(auth_can_publish(&g.session, slice_of_str(cases[i].subject), 0), cases[i].publish);
		assert_int_equal(auth_can_reply(&g.session, slice_of_str(cases[i].subject)), cases[i].reply);
	}
	assert_false(auth_can_subscribe(&g.session, SLICE("a"), SLICE("_sys_"), NULL));
	auth_session_close(&g.session);
	/* Nobody may do nothing. */
	assert_false(auth_can_publish(&g.session, SLICE("a"), 0));
	assert_false(auth_can_subscribe(&g.session, SLICE("a"), SLICE_NULL, NULL));
	assert_false(auth_can_deliver(&g.session, SLICE("a"), SLICE_NULL));
	auth_deinit(&g.auth);
}

/* ---- against the definition ---- */

static struct slice random_pattern(struct prng *r, char *text, size_t size, bool wildcards)
{
	static const char *const words[] = { "a", "b", "*" };
	size_t n = 0, tokens = 1 + prng_below(r, 3);
	for (size_t i = 0; i < tokens; i++) {
		const char *word = words[prng_below(r, wildcards ? 3 : 2)];
		if (wildcards && i + 1 == tokens && prng_below(r, 5) == 0) word = ">";
		n += (size_t)snprintf(text + n, size - n, "%s%s", i ? "." : "", word);
	}
	return slice_of(text, n);
}

static bool list_matches(const struct slice *list, size_t count, struct slice subject)
{
	for (size_t i = 0; i < count; i++)
		if (subject_match(list[i], subject)) return true;
	return false;
}

/* Whatever a session may subscribe to, filtered or not, it is handed exactly the allowed subjects. */
static void random_permissions(void **state)
{
	(void)state;
	struct prng r;
	prng_init(&r, 3);
	size_t delivered = 0, withheld = 0, published = 0;
	for (unsigned round = 0; round < 300; round++) {
		char text[6][16];
		struct slice allow[3], deny[3];
		size_t allow_count = prng_below(&r, 4), deny_count = prng_below(&r, 4);
		for (size_t i = 0; i < allow_count; i++) allow[i] = random_pattern(&r, text[i], sizeof text[i], true);
		for (size_t i = 0; i < deny_count; i++)
			deny[i] = random_pattern(&r, text[3 + i], sizeof text[3 + i], true);
		const struct auth_subjects_conf list = { allow, deny, allow_count, deny_count, false };
		const struct auth_permissions_conf p = { .publish = list, .subscribe = list };
		struct guest g;
		guest_open(&g, &p);
		for (unsigned k = 0; k < 60; k++) {
			char sub_text[16], literal_text[16];
			struct slice sub = random_pattern(&r, sub_text, sizeof sub_text, true);
			struct slice literal = random_pattern(&r, literal_text, sizeof literal_text, false);
			bool ok = (allow_count == 0 || list_matches(allow, allow_count, literal)) &&
				  !list_matches(deny, deny_count, literal);
			assert_int_equal(auth_can_publish(&g.session, literal, 0), ok);
			published += ok;
			bool filtered;
			if (!auth_can_subscribe(&g.session, sub, SLICE_NULL, &filtered) || !subject_match(sub, literal))
				continue;
			bool handed = !filtered || auth_can_deliver(&g.session, literal, SLICE_NULL);
			assert_int_equal(handed, ok);
			handed ? delivered++ : withheld++;
		}
		guest_close(&g);
	}
	assert_true(delivered > 100 && withheld > 20 && published > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(publishing),
		cmocka_unit_test(subscribing),
		cmocka_unit_test(only_one_side),
		cmocka_unit_test(responding),
		cmocka_unit_test(reserved),
		cmocka_unit_test(random_permissions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
