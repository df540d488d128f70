/* SPDX-License-Identifier: Apache-2.0 */
/* account — the room itself: its accounts, and a new configuration coming into force. Accounts are never freed while auth lives, because
 * their routers hold what others subscribed; one that is no longer configured can only be left. */
#include "inside.h"

static struct slice account_key(const void *item) { return ((const struct account *)item)->name; }

static struct account *account_get(struct auth *a, struct slice name)
{
	struct account *account = map_get(&a->accounts, name);
	if (account) return account;
	account = mem_zalloc(sizeof *account + name.n);
	memcpy(account->text, name.p, name.n);
	account->name = slice_of(account->text, name.n);
	/* A seed of its own, so that what is learnt about one account says nothing about another. */
	router_init(&account->router, hash_bytes(name.p, name.n, a->seed));
	map_put(&a->accounts, account);
	list_push_back(&a->account_list, &account->link);
	return account;
}

struct account *auth_account(const struct auth *a, struct slice name) { return map_get(&a->accounts, name); }

static void account_limit(struct account *account, int64_t connections, int64_t subscriptions, int64_t payload)
{
	account->max_connections = connections;
	account->max_subscriptions = subscriptions;
	account->max_payload = payload;
}

static void accounts_update(struct auth *a, const struct auth_conf *c)
{
	LIST_EACH (node, &a->account_list) {
		struct account *old = CONTAINER_OF(node, struct account, link);
		old->is_configured = old->is_system = false;
	}
	a->global = account_get(a, AUTH_ACCOUNT_GLOBAL);
	a->system = account_get(a, c->system_account.n ? c->system_account : AUTH_ACCOUNT_SYSTEM);
	account_limit(a->global, -1, -1, -1);
	account_limit(a->system, -1, -1, -1);
	for (size_t i = 0; i < c->account_count; i++) {
		const struct auth_account_conf *from = &c->accounts[i];
		struct account *account = account_get(a, from->name);
		account->is_configured = true;
		account_limit(account, from->max_connections, from->max_subscriptions, from->max_payload);
	}
	a->global->is_configured = a->system->is_configured = a->system->is_system = true;
}

static void users_settle(struct auth *a)
{
	struct auth_user *u;
	for (size_t i = 0; (u = map_next(&a->policy->users, &i)) != NULL;)
		u->account = auth_account(a, u->account_name);
}

enum err auth_configure(struct auth *a, const struct auth_conf *c, struct buf *why)
{
	struct auth_policy *p = policy_new(c, a->seed, why);
	if (!p) return ERR_INVALID;
	accounts_update(a, c);
	policy_unref(a->policy);
	a->policy = p;
	users_settle(a);
	return OK;
}

void auth_init(struct auth *a, struct io *io, uint64_t seed)
{
	static const struct auth_conf nobody;
	*a = (struct auth) { .io = io, .seed = seed };
	map_init(&a->accounts, seed, account_key);
	list_init(&a->account_list);
	list_init(&a->waiting);
	struct buf why = { 0 };
	enum err e = auth_configure(a, &nobody, &why);
	ASSERT(e == OK);
	buf_deinit(&why);
}

bool auth_is_idle(const struct auth *a) { return a->running_count == 0; }

void auth_deinit(struct auth *a)
{
	ASSERT(auth_is_idle(a) && a->waiting_count == 0 && a->session_count == 0);
	map_deinit(&a->accounts);
	for (struct list *node; (node = list_pop_front(&a->account_list)) != NULL;) {
		struct account *account = CONTAINER_OF(node, struct account, link);
		router_deinit(&account->router);
		mem_free(account);
	}
	policy_unref(a->policy);
	*a = (struct auth) { 0 };
}

bool auth_is_required(const struct auth *a) { return !policy_is_empty(a->policy) && !a->policy->no_auth_user; }

bool auth_is_open(const struct auth *a)
{
	return policy_is_empty(a->policy) || a->policy->no_auth_user || a->policy->is_open_to_global;
}
