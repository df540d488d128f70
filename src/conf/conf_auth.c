/* SPDX-License-Identifier: Apache-2.0 */
/* conf_auth — users, permissions and accounts of a file, into plain structs (spec §2.1, §2.2, §2.5). What they mean is
 * auth's word.
 *
 * authorization.users are users of $G, which is always accounts[0]. */
#include "conf_table.h"

/* ---- the single user, or the token ---- */

static void read_credential(struct conf_read *r, const struct conf_member *m, const char **field)
{
	const char *text = conf_read_string(r, m);
	if (!text) return;
	if (*text == '\0') {
		conf_error(r->report, m->place, "%s: expected a text, found an empty one", m->name);
		return;
	}
	*field = text;
}

void conf_read_auth_user(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	(void)row;
	read_credential(r, m, &((struct conf *)base)->auth_user);
}

void conf_read_auth_password(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	(void)row;
	read_credential(r, m, &((struct conf *)base)->auth_password);
}

void conf_read_auth_token(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	(void)row;
	read_credential(r, m, &((struct conf *)base)->auth_token);
}

/* ---- permissions ---- */

/* Tokens between dots, none empty; '>' only as the last one. */
static bool is_subject(struct slice s)
{
	size_t token = 0;
	for (size_t i = 0; i <= s.n; i++) {
		bool is_end = i == s.n || s.p[i] == '.';
		if (!is_end && (s.p[i] <= ' ' || s.p[i] == 0x7f)) return false;
		if (!is_end) continue;
		if (i == token) return false;
		if (i < s.n && i - token == 1 && s.p[token] == '>') return false;
		token = i + 1;
	}
	return true;
}

static bool is_subject_and_queue(struct slice s)
{
	ptrdiff_t space = slice_find(s, ' ');
	return space > 0 && is_subject(slice_first(s, (size_t)space)) && is_subject(slice_from(s, (size_t)space + 1));
}

/* A list of subjects. An empty one is refused where it allows: nats-server takes "allow: []" for "everything", and
 * nobody who writes it means that. */
static void read_subjects(struct conf_read *r, const struct conf_member *m, bool with_queues, struct conf_strings *out)
{
	if (m->value->kind != CONF_KIND_ARRAY && m->value->kind != CONF_KIND_STRING) {
		conf_expected(r, m, "a subject or an array of subjects");
		return;
	}
	size_t errors = r->report->error_count;
	conf_read_strings(r, m, out);
	if (r->report->error_count != errors) return;
	for (size_t i = 0; i < out->count; i++) {
		struct slice text = slice_of_str(out->at[i]);
		if (is_subject(text) || (with_queues && is_subject_and_queue(text))) continue;
		struct conf_place at = m->value->kind == CONF_KIND_ARRAY ? m->value->items[i]->place : m->place;
		conf_error(r->report, at, "%s: expected a valid subject%s, found \"%.80s\"", m->name,
			with_queues ? " or \"subject queue\"" : "", out->at[i]);
	}
}

static void read_allowed(struct conf_read *r, const struct conf_member *m, bool with_queues, struct conf_subjects *out)
{
	size_t errors = r->report->error_count;
	read_subjects(r, m, with_queues, &out->allow);
	out->allow_is_set = true;
	if (out->allow.count == 0 && r->report->error_count == errors)
		conf_error(r->report, m->place,
			"%s: the list is empty, which nats-server takes for everything; expected allow: \">\" or deny: "
			"\">\"",
			m->name);
}

void conf_read_allow(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	(void)row;
	read_allowed(r, m, r->with_queues, base);
}

void conf_read_deny(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf_subjects *subjects = base;
	(void)row;
	read_subjects(r, m, r->with_queues, &subjects->deny);
}

static void read_direction(struct conf_read *r, const struct conf_row *row, const struct conf_member *m,
	bool with_queues, struct conf_subjects *out)
{
	r->with_queues = with_queues;
	if (m->value->kind == CONF_KIND_MAP)
		conf_read_map(r, row->block, m->value, out);
	else
		read_allowed(r, m, with_queues, out);
}

void conf_read_publish(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	read_direction(r, row, m, false, &((struct conf_permissions *)base)->publish);
}

void conf_read_subscribe(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	read_direction(r, row, m, true, &((struct conf_permissions *)base)->subscribe);
}

void conf_read_responses_expires(
	struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf_permissions *p = base;
	int64_t ns;
	(void)row;
	if (conf_read_duration(r, m, false, &ns) && ns != 0) p->responses_expires_ns = ns;
}

void conf_read_responses(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf_permissions *p = base;
	if (m->value->kind == CONF_KIND_BOOL) {
		p->allow_responses = m->value->boolean;
	} else if (m->value->kind == CONF_KIND_MAP) {
		p->allow_responses = true;
		conf_read_map(r, row->block, m->value, p);
		if (p->responses_max == 0) p->responses_max = 1;
	} else {
		conf_expected(r, m, "true, false or a map { … }");
	}
}

static const struct conf_permissions *read_permissions(
	struct conf_read *r, const struct conf_row *row, const struct conf_member *m)
{
	if (!conf_is_map(r, m)) return NULL;
	struct conf_permissions *p = conf_alloc_array(r, 1, sizeof *p);
	conf_read_defaults(r, SECTION_RESPONSES, p);
	p->responses_expires_ns = (int64_t)SECONDS(120);
	conf_read_map(r, row->block, m->value, p);
	/* Who may answer and has no list of his own may do nothing else. */
	if (p->allow_responses) p->publish.allow_is_set = true;
	return p;
}

void conf_read_default_permissions(
	struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	((struct conf *)base)->default_permissions = read_permissions(r, row, m);
}

void conf_read_user_permissions(
	struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	((struct conf_user *)base)->permissions = read_permissions(r, row, m);
}

void conf_read_account_permissions(
	struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	((struct conf_account *)base)->default_permissions = read_permissions(r, row, m);
}

/* ---- users ---- */

void conf_read_user_name(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf_user *u = base;
	(void)row;
	const char *name = conf_read_string(r, m);
	if (name) u->name = name;
	if (name && *name == '\0') conf_expected(r, m, "a name");
}

void conf_read_connection_types(
	struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	static const char *const names[] = { "STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS",
		"IN_PROCESS" };
	struct conf_user *u = base;
	struct conf_strings types = { 0 };
	(void)row;
	conf_read_strings(r, m, &types);
	for (size_t i = 0; i < types.count; i++) {
		size_t at = 0;
		while (at < COUNT_OF(names) && !slice_eq_nocase(slice_of_str(types.at[i]), slice_of_str(names[at])))
			at++;
		if (at < COUNT_OF(names))
			u->connection_types |= 1U << at;
		else
			conf_error(r->report, m->place,
				"%s: expected STANDARD, WEBSOCKET, LEAFNODE, LEAFNODE_WS, MQTT, MQTT_WS or IN_PROCESS, "
				"found \"%.40s\"",
				m->name, types.at[i]);
	}
}

static void read_user(
	struct conf_read *r, const struct conf_row *row, const struct conf_value *v, struct conf_account *account)
{
	struct conf_user *u = &account->users[account->user_count];
	size_t errors = r->report->error_count;
	*u = (struct conf_user) { .place = v->place };
	conf_read_map(r, row->block, v, u);
	if (u->name)
		account->user_count++;
	else if (r->report->error_count == errors)
		conf_error(
			r->report, v->place, "users: expected every user to have a name, found one without \"user\"");
}

static void read_users(
	struct conf_read *r, const struct conf_row *row, const struct conf_member *m, struct conf_account *account)
{
	const struct conf_value *list = m->value;
	if (list->kind != CONF_KIND_ARRAY) {
		conf_expected(r, m, "an array of users [ {user: …}, … ]");
		return;
	}
	account->users = conf_alloc_array(r, list->count, sizeof *account->users);
	account->user_count = 0;
	for (size_t i = 0; i < list->count; i++) {
		struct conf_member item = { .name = m->name, .value = list->items[i], .place = list->items[i]->place };
		if (conf_is_map(r, &item)) read_user(r, row, list->items[i], account);
	}
}

void conf_read_auth_users(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf *c = base;
	read_users(r, row, m, &c->accounts[0]);
}

/* ---- accounts ---- */

void conf_read_account_users(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	read_users(r, row, m, base);
}

void conf_read_account_jetstream(
	struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf_account *account = base;
	if (m->value->kind != CONF_KIND_MAP) {
		(void)conf_read_switch(r, m, &account->jetstream.enabled);
		return;
	}
	account->jetstream.enabled = true;
	conf_read_map(r, row->block, m->value, account);
}

void conf_account_init(struct conf_read *r, struct conf_account *account, const char *name, struct conf_place place)
{
	*account = (struct conf_account) { .name = name, .place = place };
	conf_read_defaults(r, SECTION_ACCOUNT_LIMITS, account);
	conf_read_defaults(r, SECTION_ACCOUNT_JETSTREAM, account);
}

static bool account_name_is_fine(struct conf_read *r, const struct conf_member *m)
{
	if (strcmp(m->name, CONF_ACCOUNT_GLOBAL) == 0) {
		conf_error(r->report, m->place, "accounts: \"%s\" is reserved, its users stand in authorization.users",
			CONF_ACCOUNT_GLOBAL);
		return false;
	}
	if (*m->name && !strpbrk(m->name, " \t\r\n")) return true;
	conf_error(r->report, m->place, "accounts: expected a name without spaces, found \"%.40s\"", m->name);
	return false;
}

/* accounts[0] stays; one place is left for $SYS. */
static void read_account_map(
	struct conf_read *r, const struct conf_row *row, const struct conf_value *map, struct conf *c)
{
	struct conf_account *accounts = conf_alloc_array(r, map->count + 2, sizeof *accounts);
	accounts[0] = c->accounts[0];
	c->accounts = accounts;
	c->account_count = 1;
	c->accounts_are_set = true;
	for (const struct conf_member *m = map->first; m; m = m->next) {
		bool is_only_source = m->is_source && m->value->kind != CONF_KIND_MAP;
		if (is_only_source || !account_name_is_fine(r, m) || !conf_is_map(r, m)) continue;
		struct conf_account *account = &accounts[c->account_count++];
		conf_account_init(r, account, arena_strndup(r->arena, m->name, strlen(m->name)), m->place);
		conf_read_map(r, row->block, m->value, account);
	}
}

/* A bare list of names, `accounts: [A, B]`, makes accounts without users. */
static void read_account_list(struct conf_read *r, const struct conf_member *m, struct conf *c)
{
	struct conf_strings names = { 0 };
	conf_read_strings(r, m, &names);
	struct conf_account *accounts = conf_alloc_array(r, names.count + 2, sizeof *accounts);
	accounts[0] = c->accounts[0];
	c->accounts = accounts;
	c->account_count = 1;
	c->accounts_are_set = true;
	for (size_t i = 0; i < names.count; i++) {
		struct conf_member item = { .name = names.at[i], .place = m->place };
		if (!account_name_is_fine(r, &item)) continue;
		conf_account_init(r, &accounts[c->account_count++], names.at[i], m->place);
	}
}

void conf_read_accounts(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	if (m->value->kind == CONF_KIND_MAP)
		read_account_map(r, row, m->value, base);
	else if (m->value->kind == CONF_KIND_ARRAY)
		read_account_list(r, m, base);
	else
		conf_expected(r, m, "a map of accounts { NAME { … } }");
}
