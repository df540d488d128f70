/* SPDX-License-Identifier: Apache-2.0 */
/* conf_check — what no key can see alone: keys that contradict each other, names that must exist, zeros that mean the
 * default. */
#include "conf_table.h"

/* Where a key was set; of a default the file as a whole. */
static struct conf_place place_of(const struct conf_read *r, enum conf_section section, const char *name)
{
	struct conf_place at = conf_place_of(r, section, name);
	if (!at.file) at.file = r->conf->file ? r->conf->file : "settings";
	return at;
}

static bool is_set(const struct conf_read *r, enum conf_section section, const char *name)
{
	return conf_place_of(r, section, name).file != NULL;
}

static struct conf_place top(const struct conf_read *r, const char *name) { return place_of(r, SECTION_TOP, name); }

static struct conf_place authorization(const struct conf_read *r, const char *name)
{
	return place_of(r, SECTION_AUTHORIZATION, name);
}

/* ---- network ---- */

/* The default of a row whose zero means "the default" (as in nats-server). */
static void zero_is_default(struct conf_read *r, const char *name)
{
	const struct conf_row *row = conf_row_find(SECTION_TOP, name);
	ASSERT(row && row->fallback);
	void *field = (char *)r->conf + row->offset;
	uint64_t v;
	memcpy(&v, field, sizeof v);
	if (v != 0) return;
	struct conf_value value = { .kind = CONF_KIND_STRING, .text = row->fallback };
	if (row->type != CONF_DURATION) {
		value.kind = CONF_KIND_INT;
		ASSERT(conf_integer_parse(slice_of_str(row->fallback), &value.integer) == OK);
	}
	struct conf_member m = { .name = row->name, .value = &value };
	conf_read_member(r, row, &m, r->conf);
}

static void check_network(struct conf_read *r)
{
	static const char *const names[] = { "max_control_line", "max_payload", "max_pending", "ping_interval",
		"ping_max", "write_deadline" };
	struct conf *c = r->conf;
	for (size_t i = 0; i < COUNT_OF(names); i++) zero_is_default(r, names[i]);
	if (c->max_payload_bytes > c->max_pending_bytes)
		conf_error(r->report, top(r, "max_payload"),
			"max_payload: expected at most max_pending (%llu), found %llu",
			(unsigned long long)c->max_pending_bytes, (unsigned long long)c->max_payload_bytes);
	if (c->lame_duck_grace_period_ns >= c->lame_duck_duration_ns)
		conf_error(r->report, top(r, "lame_duck_grace_period"),
			"lame_duck_grace_period: expected less than lame_duck_duration");
	if (c->server_name && (*c->server_name == '\0' || strpbrk(c->server_name, " \t\r\n")))
		conf_error(r->report, top(r, "server_name"),
			"server_name: expected a name without spaces, found \"%.40s\"", c->server_name);
	if (*c->client.host == '\0') c->client.host = "0.0.0.0";
	if (!c->http.host) c->http.host = c->client.host;
}

/* "" or "/path", without a slash at the end. */
static void check_base_path(struct conf_read *r)
{
	struct conf *c = r->conf;
	size_t n = strlen(c->http_base_path);
	while (n && c->http_base_path[n - 1] == '/') n--;
	size_t from = 0;
	while (from < n && c->http_base_path[from] == '/') from++;
	if (from == n) {
		c->http_base_path = "";
		return;
	}
	char *path = arena_alloc(r->arena, n - from + 2);
	path[0] = '/';
	memcpy(path + 1, c->http_base_path + from, n - from);
	path[1 + n - from] = '\0';
	c->http_base_path = path;
}

/* ---- who may connect ---- */

/* One way to say who may connect at a time: nobody could tell which of two was meant. */
static void check_modes(struct conf_read *r)
{
	const struct conf *c = r->conf;
	bool has_user = c->auth_user, has_token = c->auth_token, has_users = is_set(r, SECTION_AUTHORIZATION, "users");
	const struct {
		bool is_wrong;
		struct conf_place at;
		const char *text;
	} rules[] = {
		{ c->auth_password && !has_user, authorization(r, "password"),
			"a user beside the password; alone it would let everybody in" },
		{ has_user && has_token, authorization(r, "token"), "a user and password, or a token, not both" },
		{ has_user && has_users, authorization(r, "users"), "a single user, or an array of users, not both" },
		{ has_token && has_users, authorization(r, "users"), "a token, or an array of users, not both" },
		{ has_user && c->accounts_are_set, top(r, "accounts"),
			"users in the accounts, not a single user beside them" },
		{ has_token && c->accounts_are_set, top(r, "accounts"),
			"users in the accounts, not a token beside them" },
	};
	for (size_t i = 0; i < COUNT_OF(rules); i++)
		if (rules[i].is_wrong) conf_error(r->report, rules[i].at, "authorization: expected %s", rules[i].text);
}

static struct slice user_key(const void *item) { return slice_of_str(((const struct conf_user *)item)->name); }
static struct slice account_key(const void *item) { return slice_of_str(((const struct conf_account *)item)->name); }

/* Names of users are unique in the server, because a client that connects names no account. Fills `users`. */
static void check_users(struct conf_read *r, struct map *users)
{
	const struct conf *c = r->conf;
	for (size_t a = 0; a < c->account_count; a++) {
		for (size_t u = 0; u < c->accounts[a].user_count; u++) {
			struct conf_user *user = &c->accounts[a].users[u];
			const struct conf_user *first = map_get(users, user_key(user));
			if (!first)
				(void)map_put(users, user);
			else
				conf_error(r->report, user->place,
					"user \"%.80s\" is defined twice, expected once; first in %s:%u", user->name,
					first->place.file, first->place.line);
		}
	}
}

static void check_no_auth_user(struct conf_read *r, const struct map *users)
{
	const struct conf *c = r->conf;
	if (!c->no_auth_user) return;
	if (users->count == 0)
		conf_error(r->report, top(r, "no_auth_user"),
			"no_auth_user: expected a user that is defined, but there are no users");
	else if (!map_get(users, slice_of_str(c->no_auth_user)))
		conf_error(r->report, top(r, "no_auth_user"),
			"no_auth_user: expected a user that is defined in authorization or accounts, found \"%.80s\"",
			c->no_auth_user);
}

/* One account is the system's: the one that is named, or $SYS, which is made if need be. */
static void check_system_account(struct conf_read *r, struct map *accounts)
{
	struct conf *c = r->conf;
	for (size_t i = 0; i < c->account_count; i++) {
		if (map_put(accounts, &c->accounts[i]))
			conf_error(r->report, c->accounts[i].place, "account \"%.80s\" is defined twice, expected once",
				c->accounts[i].name);
	}
	if (r->no_system_account) {
		c->system_account = NULL;
		return;
	}
	struct conf_account *account = map_get(accounts, slice_of_str(c->system_account));
	if (!account && is_set(r, SECTION_TOP, "system_account") &&
		strcmp(c->system_account, CONF_ACCOUNT_SYSTEM) != 0) {
		conf_error(r->report, top(r, "system_account"),
			"system_account: expected the name of an account, found \"%.80s\"", c->system_account);
		return;
	}
	if (account == &c->accounts[0]) {
		conf_error(r->report, top(r, "system_account"), "system_account: expected another account than \"%s\"",
			CONF_ACCOUNT_GLOBAL);
		return;
	}
	if (!account) {
		account = &c->accounts[c->account_count++]; /* room was left for it */
		conf_account_init(r, account, CONF_ACCOUNT_SYSTEM, (struct conf_place) { .file = "default" });
	}
	account->is_system = true;
}

static size_t users_of(const struct conf *c, bool is_system)
{
	size_t count = 0;
	for (size_t i = 0; i < c->account_count; i++)
		if (c->accounts[i].is_system == is_system) count += c->accounts[i].user_count;
	return count;
}

static void check_auth(struct conf_read *r)
{
	struct conf *c = r->conf;
	struct map users, accounts;
	map_init(&users, 0, user_key);
	map_init(&accounts, 0, account_key);
	check_modes(r);
	check_users(r, &users);
	check_no_auth_user(r, &users);
	check_system_account(r, &accounts);
	map_deinit(&users);
	map_deinit(&accounts);
	c->is_open_to_global = users_of(c, true) > 0 && users_of(c, false) == 0 && !c->no_auth_user;
	if (is_set(r, SECTION_AUTHORIZATION, "users") && c->accounts[0].user_count == 0 && r->report->error_count == 0)
		conf_warn(r->report, authorization(r, "users"), "users: the list is empty, so everybody may connect");
}

/* ---- storage ---- */

static void check_storage(struct conf_read *r)
{
	struct conf *c = r->conf;
	if (!c->jetstream.store_dir) c->jetstream.store_dir = conf_row_find(SECTION_JETSTREAM, "store_dir")->fallback;
	if (c->jetstream.domain && (*c->jetstream.domain == '\0' || strpbrk(c->jetstream.domain, ".*> \t\r\n")))
		conf_error(r->report, place_of(r, SECTION_JETSTREAM, "domain"),
			"jetstream.domain: expected a name without dots, wildcards and spaces, found \"%.40s\"",
			c->jetstream.domain);
	if (c->journal.slot_bytes % 4096)
		conf_error(r->report, place_of(r, SECTION_JOURNAL, "slot_size"),
			"journal.slot_size: expected a multiple of 4096, found %llu",
			(unsigned long long)c->journal.slot_bytes);
	/* Without accounts of their own all users are in $G, and may store. */
	bool has_others = false;
	for (size_t i = 1; i < c->account_count; i++) has_others |= !c->accounts[i].is_system;
	c->accounts[0].jetstream.enabled = c->jetstream.enabled && !has_others;
}

/* ---- TLS ---- */

static void check_tls(struct conf_read *r)
{
	static const char *const keys[] = { "enabled", "cert_file", "key_file", "ca_file", "verify" };
	struct conf *c = r->conf;
	struct conf_place at = conf_place_of(r, SECTION_TOP, "tls");
	/* Flags set keys without a map around them. */
	for (size_t i = 0; !at.file && i < COUNT_OF(keys); i++) at = conf_place_of(r, SECTION_TLS, keys[i]);
	c->tls.is_on = at.file && (c->tls.enabled || !is_set(r, SECTION_TLS, "enabled"));
	if (!c->tls.is_on) return;
	if (!c->tls.cert_file || !c->tls.key_file)
		conf_error(r->report, at, "tls: expected cert_file and key_file, found %s",
			c->tls.cert_file  ? "only cert_file"
			: c->tls.key_file ? "only key_file"
					  : "neither");
	if (strcmp(c->tls.min_version, "1.2") != 0 && strcmp(c->tls.min_version, "1.3") != 0)
		conf_error(r->report, place_of(r, SECTION_TLS, "min_version"),
			"tls.min_version: expected \"1.2\" or \"1.3\", found \"%.40s\"", c->tls.min_version);
}

/* As nats-server does, when testing too: a server that starts with this must not die of it. */
static void check_tls_files(struct conf_read *r)
{
	const char *key = NULL;
	struct buf why = { 0 };
	if (!r->conf->tls.is_on || r->report->error_count || !r->source->try_tls) return;
	if (!r->source->try_tls(r->source->arg, r->conf, &key, &why))
		conf_error(r->report, place_of(r, SECTION_TLS, key), "tls.%s: %s", key, buf_str(&why));
	buf_deinit(&why);
}

void conf_check(struct conf_read *r)
{
	check_tls(r);
	check_network(r);
	check_base_path(r);
	check_auth(r);
	check_storage(r);
	check_tls_files(r);
}
