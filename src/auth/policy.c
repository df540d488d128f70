/* SPDX-License-Identifier: Apache-2.0 */
/* policy — users and permissions of one configuration, in one arena. It is made and checked as a whole before it comes into force, and lives
 * until the last session that was opened under it is closed or moved. */
#include "inside.h"

enum { RESPONSES_DEFAULT = 1, RESPONSES_EXPIRE_DEFAULT_S = 120 };

static struct slice user_key(const void *item) { return ((const struct auth_user *)item)->name; }

static void *policy_alloc(struct auth_policy *p, size_t n)
{
	void *at = arena_alloc(&p->arena, n);
	ASSERT(at); /* the arena has no limit */
	return memset(at, 0, n);
}

static struct slice policy_copy(struct auth_policy *p, struct slice s)
{
	return s.n ? slice_of(arena_strndup(&p->arena, s.p, s.n), s.n) : SLICE_NULL;
}

/* ---- permissions ---- */

/* "subject" or, where queues may be named, "subject queue". */
static bool pattern_parse(
	struct auth_policy *p, struct slice text, bool with_queue, struct pattern *out, struct buf *why)
{
	struct slice word[2] = { SLICE_NULL, SLICE_NULL };
	size_t count = 0;
	for (size_t i = 0; i < text.n;) {
		size_t from = i;
		while (i < text.n && text.p[i] != ' ' && text.p[i] != '\t') i++;
		if (i > from && count < 2) word[count] = slice_of(text.p + from, i - from);
		count += i > from;
		i++;
	}
	if (count == 0 || count > (with_queue ? 2U : 1U) || !subject_is_valid(word[0])) {
		buf_printf(why, "permission subject \"%.*s\" is not a valid subject", SLICE_FMT(text));
		return false;
	}
	*out = (struct pattern) { policy_copy(p, word[0]), policy_copy(p, word[1]) };
	return true;
}

static bool patterns_parse(struct auth_policy *p, const struct slice *texts, size_t count, bool with_queue,
	struct patterns *out, struct buf *why)
{
	if (count == 0) return true;
	*out = (struct patterns) { policy_alloc(p, count * sizeof *out->at), count, true };
	for (size_t i = 0; i < count; i++)
		if (!pattern_parse(p, texts[i], with_queue, &out->at[i], why)) return false;
	return true;
}

/* NULL conf gives NULL permissions, which is no failure: the return value says whether it is one. */
static bool permissions_make(struct auth_policy *p, const struct auth_permissions_conf *c, uint64_t seed,
	struct permissions **out, struct buf *why)
{
	*out = NULL;
	if (!c) return true;
	struct permissions *made = policy_alloc(p, sizeof *made);
	made->next = p->permissions;
	made->seed = seed;
	p->permissions = *out = made;
	made->publish_allow.is_set = c->publish.allow_is_set;
	made->subscribe_allow.is_set = c->subscribe.allow_is_set;
	made->allow_responses = c->allow_responses;
	made->responses_max = c->responses_max ? c->responses_max : RESPONSES_DEFAULT;
	made->responses_expires_ns =
		c->responses_expires_ns ? c->responses_expires_ns : RESPONSES_EXPIRE_DEFAULT_S * (int64_t)NS_PER_S;
	/* Who may only respond may not publish otherwise. */
	if (c->allow_responses && c->publish.allow_count == 0) made->publish_allow.is_set = true;
	return patterns_parse(p, c->publish.allow, c->publish.allow_count, false, &made->publish_allow, why) &&
	       patterns_parse(p, c->publish.deny, c->publish.deny_count, false, &made->publish_deny, why) &&
	       patterns_parse(p, c->subscribe.allow, c->subscribe.allow_count, true, &made->subscribe_allow, why) &&
	       patterns_parse(p, c->subscribe.deny, c->subscribe.deny_count, true, &made->subscribe_deny, why);
}

/* ---- users ---- */

static const struct auth_account_conf *conf_account(const struct auth_conf *c, struct slice name)
{
	for (size_t i = 0; i < c->account_count; i++)
		if (slice_eq(c->accounts[i].name, name)) return &c->accounts[i];
	return NULL;
}

static struct slice conf_system_account(const struct auth_conf *c)
{
	return c->system_account.n ? c->system_account : AUTH_ACCOUNT_SYSTEM;
}

static bool account_is_known(const struct auth_conf *c, struct slice name)
{
	return slice_eq(name, AUTH_ACCOUNT_GLOBAL) || slice_eq(name, conf_system_account(c)) || conf_account(c, name);
}

static bool user_add(struct auth_policy *p, const struct auth_conf *c, const struct auth_user_conf *from,
	struct permissions *fallback, uint64_t seed, struct buf *why)
{
	struct auth_user *u = policy_alloc(p, sizeof *u);
	u->name = policy_copy(p, from->user);
	u->password = policy_copy(p, from->password);
	u->account_name = policy_copy(p, from->account.n ? from->account : AUTH_ACCOUNT_GLOBAL);
	if (!account_is_known(c, u->account_name)) {
		buf_printf(why, "user \"%.*s\" belongs to account \"%.*s\", which is not defined", SLICE_FMT(u->name),
			SLICE_FMT(u->account_name));
		return false;
	}
	if (u->name.n == 0 || map_get(&p->users, u->name)) {
		buf_printf(why, u->name.n ? "user \"%.*s\" is defined twice" : "a user%.*s has no name",
			SLICE_FMT(u->name));
		return false;
	}
	if (!permissions_make(p, from->permissions, seed, &u->permissions, why)) return false;
	if (!from->permissions) u->permissions = fallback;
	if (auth_is_bcrypt(u->password)) p->decoy = u->password;
	map_put(&p->users, u);
	return true;
}

/* The defaults of the accounts, made once each; [account_count] is the server's. */
static struct permissions **fallbacks_make(
	struct auth_policy *p, const struct auth_conf *c, uint64_t seed, struct buf *why)
{
	struct permissions **made = policy_alloc(p, (c->account_count + 1) * sizeof(struct permissions *));
	if (!permissions_make(p, c->default_permissions, seed, &made[c->account_count], why)) return NULL;
	for (size_t i = 0; i < c->account_count; i++) {
		if (!permissions_make(p, c->accounts[i].default_permissions, seed, &made[i], why)) return NULL;
		if (!made[i]) made[i] = made[c->account_count];
	}
	return made;
}

static bool users_add(struct auth_policy *p, const struct auth_conf *c, uint64_t seed, struct buf *why)
{
	struct permissions **fallbacks = fallbacks_make(p, c, seed, why);
	if (!fallbacks) return false;
	size_t of_system = 0;
	for (size_t i = 0; i < c->user_count; i++) {
		struct slice name = c->users[i].account.n ? c->users[i].account : AUTH_ACCOUNT_GLOBAL;
		const struct auth_account_conf *account = conf_account(c, name);
		size_t at = account ? (size_t)(account - c->accounts) : c->account_count;
		if (!user_add(p, c, &c->users[i], fallbacks[at], seed, why)) return false;
		of_system += slice_eq(name, conf_system_account(c));
	}
	p->is_open_to_global = c->user_count > 0 && of_system == c->user_count && c->no_auth_user.n == 0;
	return true;
}

static bool modes_are_one(const struct auth_conf *c, struct buf *why)
{
	const char *said = NULL;
	if (c->user.n && c->user_count) said = "a single user and a list of users";
	if (c->token.n && c->user_count) said = "a token and a list of users";
	if (c->token.n && c->user.n) said = "a token and a single user";
	if (said) buf_printf(why, "authorization has both %s", said);
	return !said;
}

static bool accounts_are_unique(const struct auth_conf *c, struct buf *why)
{
	for (size_t i = 0; i < c->account_count; i++) {
		struct slice name = c->accounts[i].name;
		if (name.n > 0 && conf_account(c, name) == &c->accounts[i]) continue;
		buf_printf(why, name.n ? "account \"%.*s\" is defined twice" : "an account%.*s has no name",
			SLICE_FMT(name));
		return false;
	}
	return true;
}

static bool policy_fill(struct auth_policy *p, const struct auth_conf *c, uint64_t seed, struct buf *why)
{
	if (!modes_are_one(c, why) || !accounts_are_unique(c, why) || !users_add(p, c, seed, why)) return false;
	const struct auth_user_conf single = { .user = c->user, .password = c->password };
	if (c->user.n && !user_add(p, c, &single, NULL, seed, why)) return false;
	p->token = policy_copy(p, c->token);
	if (c->no_auth_user.n == 0) return true;
	p->no_auth_user = policy_user(p, c->no_auth_user);
	if (!p->no_auth_user) buf_printf(why, "no_auth_user \"%.*s\" is not a user", SLICE_FMT(c->no_auth_user));
	return p->no_auth_user != NULL;
}

struct auth_policy *policy_new(const struct auth_conf *c, uint64_t seed, struct buf *why)
{
	struct auth_policy *p = NEW(struct auth_policy);
	p->refs = 1;
	arena_init(&p->arena, 0);
	map_init(&p->users, seed, user_key);
	if (policy_fill(p, c, seed, why)) return p;
	policy_unref(p);
	return NULL;
}

struct auth_policy *policy_ref(struct auth_policy *p)
{
	p->refs++;
	return p;
}

void policy_unref(struct auth_policy *p)
{
	if (!p || --p->refs > 0) return;
	for (struct permissions *each = p->permissions; each; each = each->next) mem_free(each->verdicts);
	map_deinit(&p->users);
	arena_deinit(&p->arena);
	mem_free(p);
}

const struct auth_user *policy_user(const struct auth_policy *p, struct slice name) { return map_get(&p->users, name); }

bool policy_is_empty(const struct auth_policy *p) { return p->users.count == 0 && p->token.n == 0; }
