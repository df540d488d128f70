/* SPDX-License-Identifier: Apache-2.0 */
/* A new configuration for a running server. A worker reads and checks the files; the loop compares, and takes over either everything
 * that changed or nothing: one setting that cannot change in a running server refuses the whole (spec §3.7). */
#include "node_inside.h"

struct node_reload {
	struct node *node; /* borrowed; not for the worker */
	struct io_job job;
	/* the worker's */
	struct io *io;
	const struct node_host *host;
	const struct conf_command *command;
	char *file; /* owned; NULL: flags only */
	struct conf conf;
	struct conf_report report;
	struct tls_context *tls; /* shared (ref); NULL: none */
	struct buf why;          /* of a failure that is not in the report */
	enum err error;
};

void node_reload_free(struct node_reload *r)
{
	if (!r) return;
	conf_deinit(&r->conf);
	conf_report_deinit(&r->report);
	tls_context_unref(r->tls);
	buf_deinit(&r->why);
	mem_free(r->file);
	mem_free(r);
}

/* ---- on a worker ---- */

static enum err reload_read_file(void *arg, const char *path, struct buf *out)
{
	struct node_reload *r = arg;
	return node_read_file(r->io, path, out);
}

static const char *reload_env(void *arg, const char *name)
{
	struct node_reload *r = arg;
	return r->host->env ? r->host->env(r->host->arg, name) : NULL;
}

static bool reload_try_tls(void *arg, const struct conf *c, const char **key, struct buf *why)
{
	struct node_reload *r = arg;
	return node_try_tls(r->io, c, key, why);
}

static void reload_run(struct io_job *j)
{
	struct node_reload *r = CONTAINER_OF(j, struct node_reload, job);
	struct conf_source source = {
		.read_file = reload_read_file, .env = reload_env, .try_tls = reload_try_tls, .arg = r
	};
	r->error = conf_load(&r->conf, r->file, r->command, &source, &r->report);
	if (r->error == OK) r->error = settings_tls(r->io, &r->conf, &r->tls, &r->why);
}

/* ---- on the loop ---- */

/* What is wrong may be several lines: each is one of the log, too. */
static void reload_failed(struct node *n, const char *why)
{
	do {
		size_t bytes = strcspn(why, "\n");
		diag_line(&n->diag, DIAG_ERROR, "Failed to reload server configuration: %.*s", (int)bytes, why);
		why += bytes;
		if (*why == '\n') why++;
	} while (*why);
}

static void reload_say_refused(void *arg, const struct conf_change *change)
{
	if (change->is_reloadable) return;
	struct buf why = { 0 };
	buf_printf(&why,
		"config reload not supported for %s: it changes at the next start, and nothing of this file was taken",
		change->key);
	reload_failed(arg, buf_str(&why));
	buf_deinit(&why);
}

static void reload_say_taken(void *arg, const struct conf_change *change)
{
	struct node *n = arg;
	diag_line(&n->diag, DIAG_INFO, "Reloaded: %s", change->text);
}

static bool reload_log_changed(const struct conf *a, const struct conf *b)
{
	return !slice_eq(slice_of_str(a->log_file), slice_of_str(b->log_file)) || a->logtime != b->logtime ||
	       a->logtime_utc != b->logtime_utc || a->debug != b->debug || a->trace != b->trace ||
	       a->syslog != b->syslog || a->log_size_limit_bytes != b->log_size_limit_bytes ||
	       a->log_max_num != b->log_max_num;
}

/* Auth has said yes: nothing after this can fail. */
static void reload_take(struct node *n, struct conf *fresh, struct tls_context *tls)
{
	bool log_changed = reload_log_changed(&n->conf, fresh);
	conf_diff(&n->conf, fresh, reload_say_taken, n);
	struct conf old = n->conf;
	n->conf = *fresh;
	*fresh = (struct conf) { 0 };
	n->diag.level = settings_level(&n->conf);
	if (log_changed) {
		struct log_sink_options o = settings_log(&n->conf);
		log_sink_reopen(n->log, &o);
	}
	n->memory.limit_bytes = settings_memory_budget(&n->conf, n->host);
	n->net.write_deadline_ns = n->conf.write_deadline_ns;
	char *old_host = n->info_host;
	n->info_host = settings_info_host(&n->conf, n->http.view.client_addr.port, &n->clients.info.port);
	n->clients.info.host = slice_of_str(n->info_host);
	mem_free(old_host);
	struct client_options o = settings_client(&n->conf);
	clients_set_tls(&n->clients, tls);
	clients_reload(&n->clients, &o, true);
	vault_reload(&n->vault, &n->auth, &n->conf);
	n->http.view.config_load_wall_ns = io_wall_ns(n->io);
	conf_deinit(&old);
	diag_line(&n->diag, DIAG_INFO, "Reloaded server configuration");
}

static void reload_apply(struct node *n, struct node_reload *r)
{
	if (r->error != OK) {
		struct buf *why = r->report.errors.n ? &r->report.errors : &r->why;
		reload_failed(n, why->n ? buf_str(why) : err_text(r->error));
		return;
	}
	if (conf_diff(&n->conf, &r->conf, reload_say_refused, n) > 0) return;
	struct buf why = { 0 };
	if (settings_auth(&n->auth, &r->conf, &why) == OK)
		reload_take(n, &r->conf, r->tls);
	else
		reload_failed(n, buf_str(&why));
	buf_deinit(&why);
}

static void reload_done(struct io_job *j)
{
	struct node_reload *r = CONTAINER_OF(j, struct node_reload, job);
	struct node *n = r->node;
	n->reload = NULL;
	if (n->state == NODE_SERVING) reload_apply(n, r);
	node_reload_free(r);
	if (n->reload_again && n->state == NODE_SERVING) {
		n->reload_again = false;
		node_reload(n);
	}
}

void node_reload(struct node *n)
{
	if (n->state != NODE_SERVING) return;
	if (n->reload) {
		n->reload_again = true;
		return;
	}
	if (!n->conf.file) {
		reload_failed(n, "can only reload config when a file is provided using -c or --config");
		return;
	}
	struct node_reload *r = NEW(struct node_reload);
	n->reload = r;
	r->node = n;
	r->io = n->io;
	r->host = n->host;
	r->command = n->command;
	r->file = mem_strdup(n->conf.file);
	r->job.run = reload_run;
	r->job.done = reload_done;
	io_job_submit(n->io, IO_LANE_CPU, &r->job);
}
