/* SPDX-License-Identifier: Apache-2.0 */
/* From one struct conf to what each room wants to be told. Nothing here decides: the bounds were checked by conf. */
#include "node_inside.h"

enum diag_level settings_level(const struct conf *c)
{
	if (c->trace) return DIAG_TRACE;
	return c->debug ? DIAG_DEBUG : DIAG_INFO;
}

struct log_sink_options settings_log(const struct conf *c)
{
	return (struct log_sink_options) {
		.file = c->log_file,
		.syslog = c->syslog,
		.has_time = c->logtime,
		.is_utc = c->logtime_utc,
		.hides_debug = c->trace && !c->debug,
		.size_limit_bytes = c->log_size_limit_bytes > 0 ? (uint64_t)c->log_size_limit_bytes : 0,
		.keep_max = c->log_max_num,
	};
}

struct client_options settings_client(const struct conf *c)
{
	return (struct client_options) {
		.max_connections = c->max_connections,
		.max_subscriptions = c->max_subscriptions,
		.max_sub_tokens = c->max_sub_tokens,
		.max_control_line_bytes = (uint32_t)u64_min(c->max_control_line_bytes, UINT32_MAX),
		.max_payload_bytes = (uint32_t)u64_min(c->max_payload_bytes, INT32_MAX),
		.max_pending_bytes = c->max_pending_bytes,
		.ping_interval_ns = c->ping_interval_ns,
		.auth_timeout_ns = c->auth_timeout_ns,
		.tls_timeout_ns = c->tls.timeout_ns,
		.ping_max = c->ping_max,
		.max_closed = c->max_closed_clients,
		.no_stall = c->no_fast_producer_stall,
		.no_headers = c->no_header_support,
		.tls_verify = c->tls.verify,
		.allow_non_tls = c->allow_non_tls,
		.trace_headers = c->trace_headers,
		.traced_bytes_max = c->max_traced_msg_len,
	};
}

/* ---- TLS: three PEM files become a context ---- */

static const struct {
	const char *key, *expects;
	size_t offset; /* of the path in struct conf */
} tls_parts[] = {
	[TLS_CERT] = { "cert_file", "a certificate and its chain in PEM", offsetof(struct conf, tls.cert_file) },
	[TLS_KEY] = { "key_file", "the certificate's private key in PEM, without a password",
		offsetof(struct conf, tls.key_file) },
	[TLS_CA] = { "ca_file", "certificates of authorities in PEM", offsetof(struct conf, tls.ca_file) },
};

static const char *tls_path(const struct conf *c, enum tls_part part)
{
	const char *path;
	memcpy(&path, (const char *)c + tls_parts[part].offset, sizeof path);
	return path;
}

/* On an error `part` is the one whose file cannot be used, `why` says what is wrong with it. */
static enum err tls_context_read(
	struct io *io, const struct conf *c, struct tls_context **out, enum tls_part *part, struct buf *why)
{
	struct buf pem[COUNT_OF(tls_parts)] = { { 0 } };
	enum err e = OK;
	*out = NULL;
	for (size_t i = 0; e == OK && i < COUNT_OF(pem); i++) {
		const char *path = tls_path(c, *part = (enum tls_part)i);
		if (path) e = node_read_file(io, path, &pem[i]);
		if (e != OK) buf_append_str(why, err_text(e));
		if (e != OK || !path || pem[i].n) continue;
		e = ERR_INVALID;
		buf_append_str(why, "the file is empty");
	}
	if (e == OK) {
		struct tls_options o = {
			.cert = buf_slice(&pem[TLS_CERT]),
			.key = buf_slice(&pem[TLS_KEY]),
			.ca = buf_slice(&pem[TLS_CA]),
			.verify = c->tls.verify,
			.is_1_3_only = strcmp(c->tls.min_version, "1.3") == 0,
		};
		e = tls_context_new(out, &o, part, why);
	}
	if (pem[TLS_KEY].p) explicit_bzero(pem[TLS_KEY].p, pem[TLS_KEY].n);
	for (size_t i = 0; i < COUNT_OF(pem); i++) buf_deinit(&pem[i]);
	return e;
}

static void tls_say(struct buf *out, const struct conf *c, enum tls_part part, struct buf *why)
{
	const char *path = tls_path(c, part);
	buf_printf(
		out, "expected %s, found %s: %s", tls_parts[part].expects, path ? path : "the system's", buf_str(why));
}

bool node_try_tls(void *io, const struct conf *c, const char **key, struct buf *why)
{
	struct tls_context *t;
	enum tls_part part;
	struct buf what = { 0 };
	enum err e = tls_context_read(io, c, &t, &part, &what);
	if (e == OK)
		tls_context_unref(t);
	else
		*key = tls_parts[part].key, tls_say(why, c, part, &what);
	buf_deinit(&what);
	return e == OK;
}

enum err settings_tls(struct io *io, const struct conf *c, struct tls_context **out, struct buf *why)
{
	enum tls_part part;
	struct buf what = { 0 };
	*out = NULL;
	enum err e = c->tls.is_on ? tls_context_read(io, c, out, &part, &what) : OK;
	if (e != OK) {
		buf_printf(why, "tls.%s: ", tls_parts[part].key);
		tls_say(why, c, part, &what);
	}
	buf_deinit(&what);
	return e;
}

uint64_t settings_memory_budget(const struct conf *c, const struct node_host *host)
{
	return c->memory_budget_bytes ? c->memory_budget_bytes : host->memory_bytes / 2;
}

char *settings_info_host(const struct conf *c, int64_t port_bound, int64_t *port)
{
	*port = port_bound;
	if (!c->client_advertise) return mem_strdup(c->client.host);
	struct slice text = slice_of_str(c->client_advertise);
	const char *colon = strrchr(c->client_advertise, ':');
	bool is_bare_v6 = colon && strchr(c->client_advertise, ':') != colon && text.p[0] != '[';
	int64_t said = 0;
	if (colon && !is_bare_v6 && slice_to_i64(slice_of_str(colon + 1), &said) == OK) {
		if (said > 0) *port = said;
		text.n = (size_t)(colon - c->client_advertise);
	}
	if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']') text = slice_of(text.p + 1, text.n - 2);
	struct buf host = { 0 };
	buf_append_slice(&host, text);
	char *copy = mem_strdup(buf_str(&host));
	buf_deinit(&host);
	return copy;
}

bool settings_has_plain_passwords(const struct conf *c)
{
	if (c->auth_password && *c->auth_password && !auth_is_bcrypt(slice_of_str(c->auth_password))) return true;
	for (size_t a = 0; a < c->account_count; a++) {
		const struct conf_account *account = &c->accounts[a];
		for (size_t u = 0; u < account->user_count; u++) {
			const char *password = account->users[u].password;
			if (!password || !auth_is_bcrypt(slice_of_str(password))) return true;
		}
	}
	return false;
}

/* ---- auth: strings become slices, in an arena that dies when auth has copied what it wants ---- */

static struct slice *auth_slices(struct arena *a, const struct conf_strings *s)
{
	struct slice *out = arena_alloc(a, s->count * sizeof *out + 1);
	for (size_t i = 0; i < s->count; i++) out[i] = slice_of_str(s->at[i]);
	return out;
}

static struct auth_subjects_conf auth_subjects(struct arena *a, const struct conf_subjects *s)
{
	return (struct auth_subjects_conf) {
		.allow = auth_slices(a, &s->allow),
		.deny = auth_slices(a, &s->deny),
		.allow_count = s->allow.count,
		.deny_count = s->deny.count,
		.allow_is_set = s->allow_is_set,
	};
}

static const struct auth_permissions_conf *auth_permissions(struct arena *a, const struct conf_permissions *p)
{
	if (!p) return NULL;
	struct auth_permissions_conf *out = arena_alloc(a, sizeof *out);
	*out = (struct auth_permissions_conf) {
		.publish = auth_subjects(a, &p->publish),
		.subscribe = auth_subjects(a, &p->subscribe),
		.allow_responses = p->allow_responses,
		.responses_max = p->responses_max,
		.responses_expires_ns = p->responses_expires_ns,
	};
	return out;
}

static size_t auth_user_count(const struct conf *c)
{
	size_t count = 0;
	for (size_t i = 0; i < c->account_count; i++) count += c->accounts[i].user_count;
	return count;
}

static void auth_add_account(struct arena *a, const struct conf_account *from, struct auth_conf *to,
	struct auth_account_conf *row, struct auth_user_conf *users)
{
	*row = (struct auth_account_conf) {
		.name = slice_of_str(from->name),
		.default_permissions = auth_permissions(a, from->default_permissions),
		.max_connections = from->max_connections,
		.max_subscriptions = from->max_subscriptions,
		.max_payload = from->max_payload,
	};
	for (size_t i = 0; i < from->user_count; i++)
		users[to->user_count++] = (struct auth_user_conf) {
			.user = slice_of_str(from->users[i].name),
			.password = slice_of_str(from->users[i].password),
			.account = row->name,
			.permissions = auth_permissions(a, from->users[i].permissions),
		};
}

enum err settings_auth(struct auth *auth, const struct conf *c, struct buf *why)
{
	struct arena a;
	arena_init(&a, 0);
	struct auth_user_conf *users = arena_alloc(&a, (auth_user_count(c) + 1) * sizeof *users);
	struct auth_account_conf *accounts = arena_alloc(&a, (c->account_count + 1) * sizeof *accounts);
	struct auth_conf to = {
		.user = slice_of_str(c->auth_user),
		.password = slice_of_str(c->auth_password),
		.token = slice_of_str(c->auth_token),
		.users = users,
		.accounts = accounts,
		.account_count = c->account_count,
		.no_auth_user = slice_of_str(c->no_auth_user),
		.system_account = slice_of_str(c->system_account),
		.default_permissions = auth_permissions(&a, c->default_permissions),
	};
	for (size_t i = 0; i < c->account_count; i++) auth_add_account(&a, &c->accounts[i], &to, &accounts[i], users);
	enum err e = auth_configure(auth, &to, why);
	arena_deinit(&a);
	return e;
}
