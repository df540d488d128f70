/* SPDX-License-Identifier: Apache-2.0 */
/* conf_reload — what differs between two configurations, key by key, and whether a running server can follow (spec
 * §3.7).
 *
 * Plain fields are compared through their rows; what a CUSTOM row reads has its comparison in the table below. */
#include "conf_table.h"

/* ---- comparing ---- */

static bool text_eq(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

static bool strings_eq(const struct conf_strings *a, const struct conf_strings *b)
{
	if (a->count != b->count) return false;
	for (size_t i = 0; i < a->count; i++)
		if (!text_eq(a->at[i], b->at[i])) return false;
	return true;
}

static bool listen_eq(const struct conf_listen *a, const struct conf_listen *b)
{
	if (!a->is_on && !b->is_on) return true;
	return a->is_on == b->is_on && a->port == b->port && text_eq(a->host, b->host);
}

static bool subjects_eq(const struct conf_subjects *a, const struct conf_subjects *b)
{
	return a->allow_is_set == b->allow_is_set && strings_eq(&a->allow, &b->allow) && strings_eq(&a->deny, &b->deny);
}

static bool permissions_eq(const struct conf_permissions *a, const struct conf_permissions *b)
{
	if (!a || !b) return a == b;
	return subjects_eq(&a->publish, &b->publish) && subjects_eq(&a->subscribe, &b->subscribe) &&
	       a->allow_responses == b->allow_responses && a->responses_max == b->responses_max &&
	       a->responses_expires_ns == b->responses_expires_ns;
}

static bool user_eq(const struct conf_user *a, const struct conf_user *b)
{
	return text_eq(a->name, b->name) && text_eq(a->password, b->password) &&
	       permissions_eq(a->permissions, b->permissions) && a->connection_types == b->connection_types;
}

static bool users_eq(const struct conf_account *a, const struct conf_account *b)
{
	if (a->user_count != b->user_count) return false;
	for (size_t i = 0; i < a->user_count; i++)
		if (!user_eq(&a->users[i], &b->users[i])) return false;
	return true;
}

static bool account_jetstream_eq(const struct conf_account_jetstream *a, const struct conf_account_jetstream *b)
{
	return a->enabled == b->enabled && a->max_memory == b->max_memory && a->max_store == b->max_store &&
	       a->max_streams == b->max_streams && a->max_consumers == b->max_consumers &&
	       a->max_ack_pending == b->max_ack_pending && a->memory_max_stream_bytes == b->memory_max_stream_bytes &&
	       a->store_max_stream_bytes == b->store_max_stream_bytes && a->max_bytes_required == b->max_bytes_required;
}

static bool account_eq(const struct conf_account *a, const struct conf_account *b)
{
	return text_eq(a->name, b->name) && users_eq(a, b) &&
	       permissions_eq(a->default_permissions, b->default_permissions) &&
	       a->max_connections == b->max_connections && a->max_subscriptions == b->max_subscriptions &&
	       a->max_payload == b->max_payload && account_jetstream_eq(&a->jetstream, &b->jetstream);
}

static bool differ_accounts(const struct conf *a, const struct conf *b)
{
	if (a->account_count != b->account_count || a->accounts_are_set != b->accounts_are_set) return true;
	for (size_t i = 1; i < a->account_count; i++)
		if (!account_eq(&a->accounts[i], &b->accounts[i])) return true;
	return false;
}

static bool differ_metadata(const struct conf *a, const struct conf *b)
{
	if (a->server_metadata_count != b->server_metadata_count) return true;
	for (size_t i = 0; i < a->server_metadata_count; i++) {
		const struct conf_pair *x = &a->server_metadata[i], *y = &b->server_metadata[i];
		if (!text_eq(x->key, y->key) || !text_eq(x->value, y->value)) return true;
	}
	return false;
}

static bool differ_auth_user(const struct conf *a, const struct conf *b)
{
	return !text_eq(a->auth_user, b->auth_user);
}
static bool differ_auth_password(const struct conf *a, const struct conf *b)
{
	return !text_eq(a->auth_password, b->auth_password);
}
static bool differ_auth_token(const struct conf *a, const struct conf *b)
{
	return !text_eq(a->auth_token, b->auth_token);
}
static bool differ_auth_users(const struct conf *a, const struct conf *b)
{
	return !users_eq(&a->accounts[0], &b->accounts[0]);
}
static bool differ_permissions(const struct conf *a, const struct conf *b)
{
	return !permissions_eq(a->default_permissions, b->default_permissions);
}
static bool differ_no_auth_user(const struct conf *a, const struct conf *b)
{
	return !text_eq(a->no_auth_user, b->no_auth_user);
}
static bool differ_system(const struct conf *a, const struct conf *b)
{
	return !text_eq(a->system_account, b->system_account);
}
static bool differ_no_system(const struct conf *a, const struct conf *b)
{
	return !a->system_account != !b->system_account;
}
static bool differ_store_dir(const struct conf *a, const struct conf *b)
{
	return !text_eq(a->jetstream.store_dir, b->jetstream.store_dir);
}

/* Of every CUSTOM row over struct conf that has a meaning of its own. */
static const struct custom_row {
	enum conf_section section;
	const char *name;
	bool (*differ)(const struct conf *a, const struct conf *b);
} custom_rows[] = {
	{ SECTION_TOP, "server_metadata", differ_metadata },
	{ SECTION_TOP, "accounts", differ_accounts },
	{ SECTION_TOP, "no_auth_user", differ_no_auth_user },
	{ SECTION_TOP, "system_account", differ_system },
	{ SECTION_TOP, "no_system_account", differ_no_system },
	{ SECTION_AUTHORIZATION, "user", differ_auth_user },
	{ SECTION_AUTHORIZATION, "password", differ_auth_password },
	{ SECTION_AUTHORIZATION, "token", differ_auth_token },
	{ SECTION_AUTHORIZATION, "users", differ_auth_users },
	{ SECTION_AUTHORIZATION, "default_permissions", differ_permissions },
	{ SECTION_JETSTREAM, "store_dir", differ_store_dir },
};

static bool custom_differs(const struct conf_row *row, const struct conf *a, const struct conf *b)
{
	for (size_t i = 0; i < COUNT_OF(custom_rows); i++)
		if (custom_rows[i].section == row->section && strcmp(custom_rows[i].name, row->name) == 0)
			return custom_rows[i].differ(a, b);
	UNREACHABLE();
}

static bool row_differs(const struct conf_row *row, const struct conf *a, const struct conf *b)
{
	const void *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;
	switch (row->type) {
	case CONF_BOOL: return *(const bool *)x != *(const bool *)y;
	case CONF_INT:
	case CONF_LIMIT: return *(const int64_t *)x != *(const int64_t *)y;
	case CONF_SIZE:
	case CONF_DURATION: return *(const uint64_t *)x != *(const uint64_t *)y;
	case CONF_PORT: return *(const uint16_t *)x != *(const uint16_t *)y;
	case CONF_STRING: return !text_eq(*(const char *const *)x, *(const char *const *)y);
	case CONF_STRINGS: return !strings_eq(x, y);
	case CONF_LISTEN: return !listen_eq(x, y);
	case CONF_CUSTOM: return custom_differs(row, a, b);
	case CONF_BLOCK:
	case CONF_LATER: return false;
	}
	UNREACHABLE();
}

/* ---- telling ---- */

static void value_print(struct buf *out, const struct conf_row *row, const void *field)
{
	const struct conf_listen *listen = field;
	const struct conf_strings *strings = field;
	const char *text;
	switch (row->type) {
	case CONF_BOOL: buf_append_str(out, *(const bool *)field ? "true" : "false"); break;
	case CONF_INT:
	case CONF_LIMIT: buf_printf(out, "%lld", (long long)*(const int64_t *)field); break;
	case CONF_SIZE: buf_append_u64(out, *(const uint64_t *)field); break;
	case CONF_DURATION: duration_print(out, (int64_t) * (const uint64_t *)field); break;
	case CONF_PORT: buf_append_u64(out, *(const uint16_t *)field); break;
	case CONF_STRING:
		text = *(const char *const *)field;
		buf_append_str(out, text ? text : "(not set)");
		break;
	case CONF_STRINGS:
		buf_append_byte(out, '[');
		for (size_t i = 0; i < strings->count; i++) buf_printf(out, "%s%s", i ? " " : "", strings->at[i]);
		buf_append_byte(out, ']');
		break;
	case CONF_LISTEN: buf_printf(out, listen->is_on ? "%s:%u" : "off", listen->host, listen->port); break;
	case CONF_CUSTOM:
	case CONF_BLOCK:
	case CONF_LATER: UNREACHABLE();
	}
}

/* "max_payload = 1024"; of users and secrets only that they changed, in nats-server's words ("authorization users"). */
static void change_print(struct buf *out, const struct conf_row *row, const struct conf *c)
{
	const char *title = conf_section_of(row->section)->title;
	bool is_plain = row->type != CONF_CUSTOM && !(row->flags & CONF_SECRET);
	if (*title) buf_printf(out, "%s%c", title, is_plain ? '.' : ' ');
	buf_append_str(out, row->name);
	if (!is_plain) return;
	buf_append_str(out, " = ");
	value_print(out, row, (const char *)c + row->offset);
}

static bool is_of_conf(const struct conf_row *row)
{
	return strcmp(conf_section_of(row->section)->tag, "conf") == 0 && !(row->flags & CONF_SPELLING);
}

size_t conf_diff(const struct conf *old, const struct conf *new, conf_change_fn *each, void *arg)
{
	size_t count, refused = 0;
	const struct conf_row *rows = conf_rows(&count);
	struct buf key = { 0 }, text = { 0 };
	for (size_t i = 0; i < count; i++) {
		if (!is_of_conf(&rows[i]) || !row_differs(&rows[i], old, new)) continue;
		bool is_reloadable = rows[i].flags & CONF_RELOAD;
		buf_clear(&key);
		buf_clear(&text);
		conf_row_path(&key, &rows[i]);
		change_print(&text, &rows[i], new);
		each(arg, &(struct conf_change) { buf_str(&key), is_reloadable, buf_str(&text) });
		refused += !is_reloadable;
	}
	buf_deinit(&key);
	buf_deinit(&text);
	return refused;
}
