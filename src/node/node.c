/* SPDX-License-Identifier: Apache-2.0 */
/* How a server begins, and what it does in every turn. The order of beginning is nats-server's: log, monitoring, clients last; "Server
 * is ready" is the line that harnesses wait for. */
#include "node_inside.h"

void node_addr_print(struct buf *b, const char *host, unsigned port)
{
	buf_printf(b, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
}

static void node_begin_serving(struct node *n);

/* ---- the turn ---- */

static void node_turn_end(struct io_turn_hook *h)
{
	struct node *n = CONTAINER_OF(h, struct node, hook);
	n->diag.now_ns = io_now_ns(n->io);
	assert_context_set(diag_trace_print, &n->diag);
	assert_note_set(vault_crashed, &n->vault);
	if (n->state == NODE_STARTING) node_begin_serving(n);
	vault_turn_end(&n->vault);
	net_turn_end(&n->net);
	log_sink_turn_end(n->log);
	diag_count(&n->diag, COUNTER_turns);
	give_back_turn_end(n);
	diag_measure(&n->diag, HISTOGRAM_loop_lag, io_now_precise_ns(n->io) - n->diag.now_ns);
	if (n->state >= NODE_LAME) node_stop_step(n);
}

/* ---- listeners ---- */

static void node_on_accept(struct listener *l, struct io_stream *s)
{
	struct node *n = CONTAINER_OF(l, struct node, listener);
	clients_accept(&n->clients, s);
}

/* A configured host to a numeric one. */
static enum err node_resolve(struct node *n, const struct conf_listen *l, struct io_addr *out)
{
	unsigned count = 0;
	if (n->host->resolve) {
		enum err e = n->host->resolve(n->host->arg, l->host, l->port, out, 1, &count);
		return e == OK && count == 0 ? ERR_RESOLVE : e;
	}
	*out = (struct io_addr) { .port = l->port };
	struct slice host = slice_of_str(l->host);
	if (host.n >= sizeof out->host) return ERR_RESOLVE;
	memcpy(out->host, host.p, host.n);
	return OK;
}

static enum err node_listen_failed(struct node *n, const char *what, const struct conf_listen *l, enum err e)
{
	struct buf addr = { 0 };
	node_addr_print(&addr, l->host, l->port);
	const char *text = buf_str(&addr);
	diag_line(&n->diag, DIAG_FATAL, "Error listening on %s: %s, \"listen tcp %s: bind: %s\"", what, text, text,
		err_text(e));
	buf_deinit(&addr);
	return e;
}

/* Says where it listens, with the host as configured and the port as bound. */
static void node_say_listening(struct node *n, const char *what, const char *host, uint16_t port)
{
	struct buf addr = { 0 };
	node_addr_print(&addr, host, port);
	diag_line(&n->diag, DIAG_INFO, "%s %s", what, buf_str(&addr));
	buf_deinit(&addr);
}

static enum err node_open_http(struct node *n, const char *host, uint16_t port)
{
	return http_open(&n->http, host, port);
}
static enum err node_open_clients(struct node *n, const char *host, uint16_t port)
{
	return listener_open(&n->listener, &n->net, host, port);
}

/* Opens at the configured address. "0.0.0.0" means everybody, also who comes by IPv6 where the machine has it. */
static enum err node_listen(
	struct node *n, const struct conf_listen *l, enum err (*open)(struct node *n, const char *host, uint16_t port))
{
	struct io_addr addr;
	enum err e = node_resolve(n, l, &addr);
	if (e != OK) return e;
	if (strcmp(addr.host, "0.0.0.0") == 0) {
		e = open(n, "::", addr.port);
		if (e == OK || e == ERR_ADDR_IN_USE) return e;
	}
	return open(n, addr.host, addr.port);
}

static enum err node_listen_http(struct node *n)
{
	const struct conf_listen *l = &n->conf.http;
	if (!l->is_on) return OK;
	enum err e = node_listen(n, l, node_open_http);
	if (e != OK) return node_listen_failed(n, "monitoring port", l, e);
	node_say_listening(n, "Starting http monitor on", l->host, n->http.view.http_addr.port);
	return OK;
}

static enum err node_listen_clients(struct node *n)
{
	const struct conf_listen *l = &n->conf.client;
	n->listener = (struct listener) { .on_accept = node_on_accept, .what = "client" };
	enum err e = node_listen(n, l, node_open_clients);
	if (e != OK) return node_listen_failed(n, "port", l, e);
	listener_addr(&n->listener, &n->http.view.client_addr);
	n->info_host = settings_info_host(&n->conf, n->http.view.client_addr.port, &n->clients.info.port);
	n->clients.info.host = slice_of_str(n->info_host);
	node_say_listening(n, "Listening for client connections on", l->host, n->http.view.client_addr.port);
	if (n->conf.tls.is_on) diag_line(&n->diag, DIAG_INFO, "TLS required for client connections");
	return OK;
}

/* ---- beginning ---- */

static void node_say_lines(struct node *n, enum diag_level level, const struct buf *lines)
{
	struct slice left = buf_slice(lines);
	while (left.n) {
		ptrdiff_t end = slice_find(left, '\n');
		struct slice line = end < 0 ? left : slice_first(left, (size_t)end);
		diag_line(&n->diag, level, "%.*s", SLICE_FMT(line));
		left = slice_from(left, line.n + 1);
	}
}

static void node_say_banner(struct node *n)
{
	struct diag *d = &n->diag;
	diag_line(d, DIAG_INFO, "Starting nats-server");
	diag_line(d, DIAG_INFO, "  Version:  %s", NODE_NATS_VERSION);
	diag_line(d, DIAG_INFO, "  Thebes:   %s", THEBES_VERSION);
	diag_line(d, DIAG_INFO, "  Name:     %s", n->server_name);
	diag_line(d, DIAG_INFO, "  ID:       %s", n->server_id);
	if (settings_has_plain_passwords(&n->conf))
		diag_line(d, DIAG_WARN, "Plaintext passwords detected, use nkeys or bcrypt");
	if (n->conf.file) diag_line(d, DIAG_INFO, "Using configuration file: %s", n->conf.file);
}

/* What a simulation orders, or a test in the environment where the configuration lets it. */
static enum err node_arm(struct node *n)
{
	const struct node_host *h = n->host;
	const char *name = h->failpoint;
	if (!name && n->conf.failpoints && h->env) name = h->env(h->arg, "THEBES_FAILPOINT");
	if (!name) return OK;
	enum err e = diag_fault_set(&n->diag, slice_of_str(name), SLICE("always"));
	if (e != OK) diag_line(&n->diag, DIAG_FATAL, "there is no failpoint \"%s\"", name);
	return e;
}

static enum err node_open_log(struct node *n)
{
	struct log_sink_options o = settings_log(&n->conf);
	enum err e = log_sink_open(&n->log, n->io, n->host, &o);
	if (e == OK) {
		diag_init(&n->diag, settings_level(&n->conf), log_sink_line, n->log);
		return node_arm(n);
	}
	/* No file to say it in: standard error must do. */
	log_sink_free(n->log);
	struct log_sink_options plain = { .has_time = n->conf.logtime };
	enum err plain_e = log_sink_open(&n->log, n->io, n->host, &plain);
	ASSERT(plain_e == OK);
	diag_init(&n->diag, DIAG_INFO, log_sink_line, n->log);
	diag_line(&n->diag, DIAG_FATAL, "error opening file %s: %s", n->conf.log_file, err_text(e));
	return e;
}

static enum err node_open_auth(struct node *n)
{
	struct buf why = { 0 };
	auth_init(&n->auth, n->io, io_random_u64(n->io));
	enum err e = settings_auth(&n->auth, &n->conf, &why);
	if (e != OK) diag_line(&n->diag, DIAG_FATAL, "%s", buf_str(&why));
	buf_deinit(&why);
	return e;
}

static enum err node_open_tls(struct node *n)
{
	struct tls_context *t;
	struct buf why = { 0 };
	enum err e = settings_tls(n->io, &n->conf, &t, &why);
	if (e == OK)
		clients_set_tls(&n->clients, t);
	else
		diag_line(&n->diag, DIAG_FATAL, "%s", buf_str(&why));
	tls_context_unref(t);
	buf_deinit(&why);
	return e;
}

static bool node_jetstream_view(void *arg, struct http_jetstream *out)
{
	struct node *n = arg;
	const struct account *a;
	struct api_usage u = { 0 };
	if (n->vault.state != VAULT_OPEN || !n->vault.meta) return false;
	*out = (struct http_jetstream) { .max_memory = n->vault.stations.limits.max_memory,
		.max_storage = n->vault.stations.limits.max_store,
		.api_total = n->vault.api.total,
		.api_errors = n->vault.api.errors };
	out->accounts = api_account_count(&n->vault.api);
	for (size_t i = 0; (a = map_next(&n->auth.accounts, &i)) != NULL;) api_usage(&n->vault.api, a->name, &u);
	out->memory = u.memory;
	out->storage = u.storage;
	out->reserved_memory = u.reserved_memory;
	out->reserved_storage = u.reserved_storage;
	return true;
}

static bool count_station(void *arg, struct station *s)
{
	struct http_own *out = arg;
	out->stations++;
	out->stations_in_doubt += stream_doubt(station_stream(s)) != NULL;
	return true;
}

static void node_own_view(void *arg, struct http_own *out)
{
	struct node *n = arg;
	*out = (struct http_own) { .memory_used = n->memory.used_bytes,
		.memory_peak = n->memory.peak_bytes,
		.memory_budget = n->memory.limit_bytes };
	if (n->vault.state != VAULT_OPEN || !n->vault.meta) return;
	out->stores = true;
	out->journal_full_permille = log_pressure_permille(n->vault.log);
	stations_each(&n->vault.stations, SLICE_NULL, count_station, out);
}

static void node_open_rooms(struct node *n)
{
	ledger_init(&n->memory, NULL, settings_memory_budget(&n->conf, n->host));
	net_init(&n->net, n->io, &n->diag, n->conf.write_deadline_ns);
	struct client_options o = settings_client(&n->conf);
	struct wire_info info = {
		.server_id = slice_of_str(n->server_id),
		.server_name = slice_of_str(n->server_name),
		.version = SLICE(NODE_NATS_VERSION),
		.thebes = SLICE(THEBES_VERSION),
		.go = SLICE("c11"),
		.proto = 1,
	};
	clients_init(&n->clients, &n->net, &n->auth, &o, &info, &n->memory);
	http_init(&n->http, &n->net);
	n->http.view = (struct http_view) {
		.conf = &n->conf,
		.clients = &n->clients,
		.auth = &n->auth,
		.server_id = n->server_id,
		.server_name = n->server_name,
		.version = NODE_NATS_VERSION,
		.own_version = THEBES_VERSION,
		.start_wall_ns = n->start_wall_ns,
		.config_load_wall_ns = n->start_wall_ns,
		.usage = n->host->usage,
		.usage_arg = n->host->arg,
		.jetstream = node_jetstream_view,
		.jetstream_arg = n,
		.own = node_own_view,
		.own_arg = n,
	};
	n->hook.turn_end = node_turn_end;
	io_turn_hook_add(n->io, &n->hook);
}

static void node_fatal(void *arg, const char *why)
{
	struct node *n = arg;
	diag_line(&n->diag, DIAG_FATAL, "%s", why);
	log_sink_turn_end(n->log);
	n->host->die(n->host->arg, why);
}

static enum err node_open_vault(struct node *n)
{
	char why[512] = "";
	if (!n->conf.jetstream.enabled) return OK;
	ASSERT(n->host->die);
	assert_note_set(vault_crashed, &n->vault); /* opening applies */
	const struct state_ops *state = n->host->state ? n->host->state : &state_lmdb;
	enum err e = vault_open(
		&n->vault, n->io, &n->diag, &n->auth, &n->conf, state, &n->memory, node_fatal, n, why, sizeof why);
	if (e != OK) diag_line(&n->diag, DIAG_FATAL, "Can't start JetStream: %s", why);
	n->clients.info.jetstream = e == OK;
	n->vault.api.server_name = n->server_name;
	return e;
}

static enum err node_serve(struct node *n)
{
	enum err e = node_listen_clients(n);
	if (e == OK) e = files_write_ports(n);
	if (e != OK) return e;
	n->state = NODE_SERVING;
	n->http.view.is_accepting = true;
	give_back_begin(n);
	diag_line(&n->diag, DIAG_INFO, "Server is ready");
	return OK;
}

/* What was stored is served from the first connection on: clients come in when the vault is ready. */
static void node_begin_serving(struct node *n)
{
	if (!vault_is_ready(&n->vault) || node_serve(n) == OK) return;
	n->exit_code = 1;
	node_stop(n, true);
}

/* What is open already can only be closed by turns of the loop: then the node ends as one that served, with exit code 1. */
static enum err node_start_failed(struct node *n, enum err e)
{
	if (!n->vault.meta) vault_deinit(&n->vault); /* half open: no turn may see it */
	if (!listener_is_open(&n->http.listener) && !listener_is_open(&n->listener)) return e;
	n->exit_code = 1;
	n->state = NODE_STARTING;
	node_stop(n, true);
	return OK;
}

enum { PAYLOAD_ADVISABLE_BYTES = 8 * 1024 * 1024 };

enum err node_start(struct node *n, struct io *io, const struct node_host *host, const struct conf_command *cmd,
	struct conf *conf, const struct conf_report *report)
{
	ASSERT(host->stopped);
	*n = (struct node) { .io = io, .host = host, .command = cmd, .conf = *conf };
	*conf = (struct conf) { 0 };
	n->start_wall_ns = io_wall_ns(io);
	n->timer.fire = node_timer_fired;
	identity_make(io, n->server_id);
	n->server_name = mem_strdup(n->conf.server_name ? n->conf.server_name : n->server_id);
	enum err e = node_open_log(n);
	if (e != OK) return e;
	assert_context_set(diag_trace_print, &n->diag);
	node_say_banner(n);
	if (report) node_say_lines(n, DIAG_WARN, &report->warnings);
	if (n->conf.max_payload_bytes > PAYLOAD_ADVISABLE_BYTES)
		diag_line(&n->diag, DIAG_WARN,
			"Maximum payloads over %d bytes make every client wait for large messages",
			PAYLOAD_ADVISABLE_BYTES);
	e = node_open_auth(n);
	if (e != OK) return e;
	node_open_rooms(n);
	e = node_open_tls(n);
	if (e == OK) e = node_listen_http(n);
	if (e == OK) e = node_open_vault(n);
	if (e == OK) e = files_write_pid(n);
	if (e == OK) n->state = NODE_STARTING;
	if (e == OK && vault_is_ready(&n->vault)) e = node_serve(n);
	return e == OK ? OK : node_start_failed(n, e);
}

void node_deinit(struct node *n)
{
	if (!n->io) return;
	if (n->net.io) {
		io_turn_hook_remove(n->io, &n->hook);
		io_timer_stop(n->io, &n->timer);
		give_back_end(n);
		vault_deinit(&n->vault);
		http_deinit(&n->http);
		clients_deinit(&n->clients);
		net_deinit(&n->net);
		ledger_deinit(&n->memory);
	}
	if (n->auth.io) auth_deinit(&n->auth);
	node_reload_free(n->reload);
	files_remove_ports(n);
	assert_context_set(NULL, NULL);
	assert_note_set(NULL, NULL);
	diag_deinit(&n->diag);
	log_sink_free(n->log);
	mem_free(n->server_name);
	mem_free(n->info_host);
	conf_deinit(&n->conf);
	*n = (struct node) { 0 };
}

void node_log_reopen(struct node *n)
{
	log_sink_reopen(n->log, NULL);
	diag_line(&n->diag, DIAG_INFO, "File log re-opened");
}
