/* SPDX-License-Identifier: Apache-2.0 */
/* All sessions of a node: what they share, what a reload changes for them, and how they are sent away. */
#include "session.h"

static struct slice client_id_key(const void *item) { return map_key_u64(&((const struct client *)item)->id); }

/* What INFO says of the options. */
static void clients_info_update(struct clients *s)
{
	s->info.max_payload = s->options.max_payload_bytes;
	s->info.headers = !s->options.no_headers;
	s->info.auth_required = auth_is_required(s->auth);
	s->info.tls_required = s->tls && !s->options.allow_non_tls;
	s->info.tls_available = s->tls && s->options.allow_non_tls;
	s->info.tls_verify = s->tls && s->options.tls_verify;
}

void clients_init(struct clients *s, struct net *n, struct auth *a, const struct client_options *o,
	const struct wire_info *info, struct ledger *ledger)
{
	*s = (struct clients) {
		.net = n, .auth = a, .diag = n->diag, .io = n->io, .ledger = ledger, .options = *o, .info = *info
	};
	list_init(&s->open);
	list_init(&s->closed);
	map_init(&s->by_id, io_random_u64(n->io), client_id_key);
	clients_info_update(s);
}

void clients_deinit(struct clients *s)
{
	if (!s->net) return;
	ASSERT(s->count == 0 && list_is_empty(&s->open));
	clients_forget(s, 0);
	tls_context_unref(s->tls);
	map_deinit(&s->by_id);
	buf_deinit(&s->line);
	buf_deinit(&s->header);
	*s = (struct clients) { 0 };
}

void clients_set_tls(struct clients *s, struct tls_context *t)
{
	if (t) tls_context_ref(t);
	tls_context_unref(s->tls);
	s->tls = t;
	clients_info_update(s);
}

struct client *clients_find(const struct clients *s, uint64_t id) { return map_get(&s->by_id, map_key_u64(&id)); }

struct client_stats clients_stats(const struct clients *s)
{
	struct client_stats sum = s->stats;
	LIST_EACH (at, &s->open) {
		const struct client *c = CONTAINER_OF(at, struct client, link);
		sum.in_msgs += c->in_msgs;
		sum.in_bytes += c->in_bytes;
		sum.out_msgs += c->out_msgs;
		sum.out_bytes += c->out_bytes;
	}
	return sum;
}

bool clients_close_one(struct clients *s, enum close_reason why)
{
	struct list *link = list_first(&s->open);
	if (!link) return false;
	client_close_flushed(CONTAINER_OF(link, struct client, link), why);
	return true;
}

void clients_close_all(struct clients *s, enum close_reason why)
{
	while (clients_close_one(s, why)) {}
}

/* ---- reload ---- */

/* After users or permissions changed: is this session still what it says it is? */
static void client_renew(struct client *c)
{
	if (c->state != CLIENT_OPEN) {
		/* A login under way was begun under the old rules: it is begun again by the client. */
		if (c->state == CLIENT_CHECKING) client_error(c, WIRE_ERROR_AUTHORIZATION, SLICE_NULL, SLICE_NULL);
		if (c->state == CLIENT_HELLO && !c->tls_due && c->login_due != auth_is_required(c->room->auth))
			client_timer_arm_hello(c);
		return;
	}
	struct auth_credentials who = client_credentials(c);
	if (!auth_session_renew(c->room->auth, &c->session, &who)) {
		client_error(c, WIRE_ERROR_AUTHORIZATION, SLICE_NULL, SLICE_NULL);
		return;
	}
	client_subs_recheck(c);
}

static void clients_trim(struct clients *s)
{
	while ((int64_t)s->open_count > s->options.max_connections && s->open_count > 0) {
		struct client *newest = CONTAINER_OF(s->open.prev, struct client, link);
		client_error(newest, WIRE_ERROR_CONNECTIONS, SLICE_NULL, SLICE_NULL);
	}
}

/* The same for accounts whose limit is lower now. */
static void clients_trim_accounts(struct clients *s)
{
	for (struct list *at = s->open.prev, *next; at != &s->open; at = next) {
		struct client *c = CONTAINER_OF(at, struct client, link);
		const struct account *a = c->session.account;
		next = at->prev;
		if (a && a->max_connections >= 0 && a->connection_count > (uint64_t)a->max_connections)
			client_error(c, WIRE_ERROR_ACCOUNT_CONNECTIONS, SLICE_NULL, SLICE_NULL);
	}
}

void clients_reload(struct clients *s, const struct client_options *o, bool auth_changed)
{
	bool tell = o->max_payload_bytes != s->options.max_payload_bytes;
	s->options = *o;
	clients_info_update(s);
	LIST_EACH_SAFE (at, &s->open) {
		struct client *c = CONTAINER_OF(at, struct client, link);
		if (auth_changed) client_renew(c);
		if (c->state == CLIENT_CLOSED) continue;
		client_parser_arm(c);
		if (tell && c->state == CLIENT_OPEN && c->connect.protocol >= 1 && c->pong_seen) client_send_info(c);
	}
	clients_trim(s);
	if (auth_changed) clients_trim_accounts(s);
	clients_forget(s, o->max_closed > 0 ? (uint64_t)o->max_closed : 0);
}

void clients_announce_ldm(struct clients *s)
{
	s->info.ldm = true;
	LIST_EACH (at, &s->open) {
		struct client *c = CONTAINER_OF(at, struct client, link);
		if (c->state == CLIENT_OPEN && c->connect.protocol >= 1 && c->pong_seen) client_send_info(c);
	}
}
