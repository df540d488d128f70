/* SPDX-License-Identifier: Apache-2.0 */
/* conf_custom — readers of the rows whose value may be written in more than one way or lands in more than one field. */
#include "conf_table.h"

/* ---- network and monitoring ---- */

void conf_read_client_listen(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf *c = base;
	int64_t port;
	const struct conf_row *port_row = conf_row_find(SECTION_TOP, "port");
	(void)row;
	ASSERT(port_row && slice_to_i64(slice_of_str(port_row->fallback), &port) == OK);
	(void)conf_read_listen(r, m, &c->client, (uint16_t)port);
}

void conf_read_http_port(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf *c = base;
	(void)row;
	if (m->value->kind == CONF_KIND_INT)
		(void)conf_read_listen(r, m, &c->http, 0);
	else
		conf_expected(r, m, "a port, or -1 for any free one");
}

void conf_read_metadata(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf *c = base;
	(void)row;
	if (!conf_is_map(r, m)) return;
	c->server_metadata = conf_alloc_array(r, m->value->count, sizeof *c->server_metadata);
	c->server_metadata_count = 0;
	for (const struct conf_member *pair = m->value->first; pair; pair = pair->next) {
		const char *value = conf_read_string(r, pair);
		if (!value) continue;
		c->server_metadata[c->server_metadata_count++] = (struct conf_pair) {
			.key = arena_strndup(r->arena, pair->name, strlen(pair->name)),
			.value = value,
		};
	}
}

/* ---- accounts' names ---- */

void conf_read_no_auth_user(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf *c = base;
	(void)row;
	const char *name = conf_read_string(r, m);
	if (name) c->no_auth_user = name;
}

void conf_read_system_account(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf *c = base;
	(void)row;
	const char *name = conf_read_string(r, m);
	if (name) c->system_account = name;
}

void conf_read_no_system_account(
	struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	(void)row;
	(void)base;
	if (m->value->kind == CONF_KIND_BOOL)
		r->no_system_account = m->value->boolean;
	else
		conf_expected(r, m, "true or false");
}

/* ---- storage ---- */

/* At the top and in jetstream{}: one of them only, because nobody could say which was meant. A flag overrides both. */
void conf_read_store_dir(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf *c = base;
	const char *path = conf_read_string(r, m);
	if (!path) return;
	if (*path == '\0') {
		conf_expected(r, m, "the path of a directory");
		return;
	}
	struct conf_place other =
		conf_place_of(r, row->section == SECTION_TOP ? SECTION_JETSTREAM : SECTION_TOP, "store_dir");
	if (other.file && m->place.line)
		conf_error(r->report, m->place, "%s: set twice, expected it here or in %s:%u, not both", m->name,
			other.file, other.line);
	c->jetstream.store_dir = path;
}

bool conf_read_switch(struct conf_read *r, const struct conf_member *m, bool *on)
{
	const struct conf_value *v = m->value;
	struct slice text = v->kind == CONF_KIND_STRING ? slice_of_str(v->text) : SLICE_NULL;
	bool is_enabled = slice_eq_nocase(text, SLICE("enabled")) || slice_eq_nocase(text, SLICE("enable"));
	bool is_disabled = slice_eq_nocase(text, SLICE("disabled")) || slice_eq_nocase(text, SLICE("disable"));
	if (v->kind == CONF_KIND_BOOL || is_enabled || is_disabled) {
		*on = v->kind == CONF_KIND_BOOL ? v->boolean : is_enabled;
		return true;
	}
	conf_expected(r, m, "true, false, \"enabled\", \"disabled\" or a map { … }");
	return false;
}

void conf_read_jetstream(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	struct conf *c = base;
	if (m->value->kind != CONF_KIND_MAP) {
		(void)conf_read_switch(r, m, &c->jetstream.enabled);
		return;
	}
	c->jetstream.enabled = true;
	conf_read_map(r, row->block, m->value, base);
}

/* A duration is understood and changes nothing: with nats-server it is how long an acknowledged message may stay
 * unsynced. */
static bool sync_is_strong(struct conf_read *r, const struct conf_member *m)
{
	int64_t ns;
	const struct conf_value *v = m->value;
	if (v->kind == CONF_KIND_STRING && slice_eq_nocase(slice_of_str(v->text), SLICE("always"))) return true;
	return conf_read_duration(r, m, true, &ns);
}

void conf_read_sync(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	(void)row;
	(void)base;
	(void)sync_is_strong(r, m);
}
