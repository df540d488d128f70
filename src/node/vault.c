/* SPDX-License-Identifier: Apache-2.0 */
/* Wires what stores: the log below raft, the catalogue above it, stations for its rows, the API in front. Opening goes upwards, closing
 * downwards. */
#include "thebes/vault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "poison.h"

enum { READY_MAX_S = 10, READY_STEP_MS = 1, MAKE_AGAIN_S = 2 };

/* ---- the catalogue's rows become stations ---- */

static bool is_in_memory(const struct meta_stream *row)
{
	struct stream_config config;
	struct js_error why;
	bool good = stream_config_parse(&config, row->config, &why);
	bool in_memory = good && config.storage == STREAM_MEMORY;
	if (good) stream_config_deinit(&config);
	return in_memory;
}

static void row_added(void *arg, const struct meta_stream *row)
{
	struct vault *v = arg;
	/* After a start, and when the last rows are applied late, their groups are there. What an earlier process kept in memory is over: it is
	 * renewed when the catalogue is led. A failure was said. */
	bool is_there = log_group_find(v->log, row->group) != NULL;
	/* That the stream was deleted may be what the catalogue lost: it is not made anew. */
	if (!is_there && v->meta && meta_doubt(v->meta)) return;
	enum err e = !is_there || !is_in_memory(row) ? stations_add(&v->stations, row, !is_there) : OK;
	/* the row stays: it is a matter of room */
	if (!is_there && (e == ERR_NO_SPACE || e == ERR_FULL))
		io_timer_start(v->io, &v->make_timer, SECONDS(MAKE_AGAIN_S));
}

static bool make_row(void *arg, const struct meta_stream *row)
{
	struct vault *v = arg;
	if (!log_group_find(v->log, row->group) && !stations_find(&v->stations, row->account, row->name))
		row_added(v, row);
	return true;
}

/* What found no room when its row was applied. */
static void make_fire(struct io_timer *t)
{
	struct vault *v = CONTAINER_OF(t, struct vault, make_timer);
	meta_each(v->meta, make_row, v);
}

static void row_changed(void *arg, const struct meta_stream *row)
{
	struct vault *v = arg;
	stations_change(&v->stations, row);
}

static void row_removed(void *arg, const struct meta_stream *row)
{
	struct vault *v = arg;
	stations_remove(&v->stations, row);
}

/* A group that nobody has opened and no row names. */
static void drop_group(struct vault *v, uint64_t id)
{
	struct log_group *g = raft_group_find(&v->groups, id) ? NULL : log_group_find(v->log, id);
	if (g) log_group_gone(g, NULL);
}

static void row_renewed(void *arg, const struct meta_stream *row, uint64_t old_group)
{
	struct vault *v = arg;
	drop_group(v, old_group);
	row_added(v, row);
}

static const struct meta_ops catalogue_ops = {
	.added = row_added, .changed = row_changed, .removed = row_removed, .renewed = row_renewed
};

static bool open_row(void *arg, const struct meta_stream *row)
{
	row_added(arg, row);
	return true;
}

/* ---- streams in memory begin anew, groups without a row go: once, when the catalogue is known to be whole ---- */

struct renewal {
	struct meta_req req;
	struct vault *vault;
	struct meta_stream row; /* account and name: owned copies in text */
	char text[];
};

static void renewal_done(struct meta_req *r)
{
	struct renewal *w = CONTAINER_OF(r, struct renewal, req);
	if (r->result != OK && r->result != ERR_UNKNOWN_OUTCOME)
		diag_line(w->vault->diag, DIAG_ERROR, "vault: stream %.*s in memory can not begin anew (%s)",
			SLICE_FMT(w->row.name), err_text(r->result));
	w->vault->renewing--;
	mem_free(w);
}

struct rows { /* of the catalogue, looked at while it does not change */
	struct vault *vault;
	uint64_t *groups;          /* owned */
	struct renewal **renewals; /* owned; the items go to their requests */
	size_t group_count, renewal_count;
};

static bool note_row(void *arg, const struct meta_stream *row)
{
	struct rows *rows = arg;
	struct vault *v = rows->vault;
	rows->groups = mem_realloc(rows->groups, (rows->group_count + 1) * sizeof *rows->groups);
	rows->groups[rows->group_count++] = row->group;
	if (stations_find(&v->stations, row->account, row->name) || !is_in_memory(row)) return true;
	struct renewal *w = mem_zalloc(sizeof *w + row->account.n + row->name.n);
	*w = (struct renewal) { .req.done = renewal_done, .vault = v };
	memcpy(w->text, row->account.p, row->account.n);
	memcpy(w->text + row->account.n, row->name.p, row->name.n);
	w->row.account = slice_of(w->text, row->account.n);
	w->row.name = slice_of(w->text + row->account.n, row->name.n);
	rows->renewals = mem_realloc(rows->renewals, (rows->renewal_count + 1) * sizeof *rows->renewals);
	rows->renewals[rows->renewal_count++] = w;
	return true;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void tidy_up(struct vault *v)
{
	struct rows rows = { .vault = v };
	meta_each(v->meta, note_row, &rows);
	if (rows.group_count) qsort(rows.groups, rows.group_count, sizeof *rows.groups, by_number);
	for (struct log_group *g = log_group_after(v->log, 0); g;) {
		uint64_t id = log_group_id(g);
		bool is_known = id == META_GROUP || (rows.group_count && bsearch(&id, rows.groups, rows.group_count,
										 sizeof *rows.groups, by_number));
		/* an id that this catalogue never gave out is not its to judge */
		if (!is_known && meta_lost_rows(v->meta))
			diag_line(v->diag, DIAG_WARN,
				"vault: group %llu is in no row of the catalogue, which has lost some: it is kept",
				(unsigned long long)id);
		else if (!is_known && id < meta_next_group(v->meta))
			drop_group(v, id);
		g = log_group_after(v->log, id);
	}
	for (size_t i = 0; i < rows.renewal_count; i++) {
		struct renewal *w = rows.renewals[i];
		v->renewing++;
		meta_stream_renew(v->meta, w->row.account, w->row.name, &w->req);
	}
	mem_free(rows.groups);
	mem_free(rows.renewals);
	/* Every row has its group now: one that was missing was made in doubt, what comes from now on is new. */
	if (log_lacks_groups(v->log)) log_groups_complete(v->log, NULL);
	v->is_tidy = true;
}

/* ---- links: there are none yet ---- */

static bool no_link(void *arg, uint64_t peer, const struct slice *parts, unsigned count, enum raft_lane lane)
{
	(void)arg;
	(void)peer;
	(void)parts;
	(void)count;
	(void)lane;
	return false;
}

/* ---- opening ---- */

/* Syncs the directory that holds path. */
static enum err parent_sync(struct io *io, char *path)
{
	char *slash = strrchr(path, '/');
	if (!slash) return io_dir_sync(io, ".");
	if (slash == path) return io_dir_sync(io, "/");
	*slash = '\0';
	enum err e = io_dir_sync(io, path);
	*slash = '/';
	return e;
}

/* Every directory on the way to path, as mkdir -p does. Their names must outlive a loss of power, like what is stored below them; the last
 * one may have been made by a start that was killed before it could sync. */
static enum err make_dirs(struct io *io, const char *path)
{
	char *copy = mem_strdup(path);
	enum err e = OK;
	for (char *at = copy + 1; e == OK; at++) {
		if (*at != '/' && *at != '\0') continue;
		bool last = *at == '\0';
		*at = '\0';
		e = io_dir_make(io, copy);
		bool made = e == OK;
		if (e == ERR_EXISTS) e = OK;
		if (e == OK && (made || last)) e = parent_sync(io, copy);
		if (last) break;
		*at = '/';
	}
	mem_free(copy);
	return e;
}

/* What an operator can do about it, behind the sentence that says what went wrong. */
static void add_advice(enum err e, char *why, size_t why_bytes)
{
	static const struct {
		enum err e;
		const char *text;
	} advice[] = {
		{ ERR_ACCESS, "is the file system mounted read-only, may this user write there?" },
		{ ERR_INVALID, "is a file in the way of a directory?" },
		{ ERR_NO_SPACE, "a new store wants journal.slot_count times slot_size and 192 MiB more, see "
				"docs/operations.md" },
	};
	size_t n = strlen(why);
	for (size_t i = 0; i < COUNT_OF(advice); i++)
		if (advice[i].e == e && n < why_bytes) (void)snprintf(why + n, why_bytes - n, " (%s)", advice[i].text);
}

static enum err open_log(struct vault *v, const struct conf *conf, const struct state_ops *state,
	void (*fatal)(void *, const char *), void *fatal_arg, char *why, size_t why_bytes)
{
	struct buf dir = { 0 };
	buf_printf(&dir, "%s/jetstream", conf->jetstream.store_dir);
	struct log_options o = {
		.dir = buf_str(&dir),
		.slot_bytes = conf->journal.slot_bytes,
		.slot_count = (uint32_t)conf->journal.slot_count,
		.state = state,
		.fatal = fatal,
		.fatal_arg = fatal_arg,
	};
	enum err e = make_dirs(v->io, o.dir);
	if (e != OK) {
		(void)snprintf(why, why_bytes, "could not create storage directory %s: %s", o.dir, err_text(e));
		add_advice(e, why, why_bytes);
	} else {
		e = log_open(v->io, v->diag, &o, &v->log, why, why_bytes);
		if (e != ERR_INVALID)
			add_advice(e, why, why_bytes); /* of the log's own sentences that one is about something else */
	}
	buf_deinit(&dir);
	return e;
}

/* ---- what ended the process before (S11) ---- */

static struct poison *open_poison(struct vault *v, const struct conf *conf)
{
	struct buf path = { 0 };
	buf_printf(&path, "%s/jetstream", conf->jetstream.store_dir);
	struct poison *p = poison_open(v->io, v->diag, buf_str(&path), log_identity(v->log)->store_uuid);
	buf_deinit(&path);
	return p;
}

/* Where an entry is by now: the label of its group; NULL when it is applied, or its group is gone. */
static const char *poison_place(void *arg, const struct raft_index_of *at)
{
	struct vault *v = arg;
	const struct log_group *l = log_group_find(v->log, at->group);
	const struct group *g = raft_group_find(&v->groups, at->group);
	struct group_status s = { 0 };
	if (g) group_status(g, &s);
	return l && s.applied < at->index ? log_group_label(l) : NULL;
}

void vault_crashed(void *vault)
{
	const struct vault *v = vault;
	struct raft_index_of at;
	if (v->poison && raft_applying(&v->groups, &at)) poison_note(v->poison, &at);
}

/* $G stores on its own account only where no other is configured (spec §5.1). */
static bool account_stores(const struct conf *conf, struct slice name)
{
	bool others = false;
	for (size_t i = 0; i < conf->account_count; i++) {
		const char *at = conf->accounts[i].name;
		if (slice_eq_str(name, at)) return conf->accounts[i].jetstream.enabled;
		others |= !conf->system_account || strcmp(at, conf->system_account) != 0;
	}
	return slice_eq(name, AUTH_ACCOUNT_GLOBAL) && !others;
}

static const struct conf_account_jetstream *account_conf(const struct conf *conf, struct slice name)
{
	for (size_t i = 0; i < conf->account_count; i++)
		if (slice_eq_str(name, conf->accounts[i].name)) return &conf->accounts[i].jetstream;
	return NULL;
}

static int64_t least(int64_t a, int64_t b) { return a < 0 || (b >= 0 && b < a) ? b : a; }

static void set_limits(struct vault *v, struct auth *auth, const struct conf *conf)
{
	struct station_limits all = { conf->jetstream.max_memory, conf->jetstream.max_store, -1, -1, -1, -1, -1, false,
		-1, 0 };
	struct account *a;
	stations_limit(&v->stations, NULL, &all);
	for (size_t i = 0; (a = map_next(&auth->accounts, &i)) != NULL;) {
		const struct conf_account_jetstream *c = account_conf(conf, a->name);
		struct station_limits l = { -1, -1, -1, -1, -1, -1, -1, false, -1, 0 };
		if (c)
			l = (struct station_limits) { c->max_memory, c->max_store, c->max_streams, c->max_consumers,
				c->max_ack_pending, c->memory_max_stream_bytes, c->store_max_stream_bytes,
				c->max_bytes_required, -1, 0 };
		l.max_ack_pending = least(l.max_ack_pending, conf->jetstream.max_ack_pending);
		l.max_request_batch = conf->jetstream.max_request_batch;
		l.duplicate_window_ns = (int64_t)conf->jetstream.duplicate_window_ns;
		stations_limit(&v->stations, a, &l);
	}
}

static void open_accounts(struct vault *v, struct auth *auth, const struct conf *conf)
{
	struct account *a;
	for (size_t i = 0; (a = map_next(&auth->accounts, &i)) != NULL;) {
		bool stores = !a->is_system && account_stores(conf, a->name);
		stations_switch(&v->stations, a, stores);
		if (a->is_system)
			api_close_account(&v->api, a);
		else
			api_open_account(&v->api, a, stores);
	}
}

void vault_reload(struct vault *v, struct auth *auth, const struct conf *conf)
{
	if (v->state != VAULT_OPEN) return;
	open_accounts(v, auth, conf);
	set_limits(v, auth, conf);
}

static void timer_fire(struct io_timer *t) { (void)t; /* a turn ends: somebody asks vault_is_ready */ }

enum err vault_open(struct vault *v, struct io *io, struct diag *diag, struct auth *auth, const struct conf *conf,
	const struct state_ops *state, struct ledger *memory, void (*fatal)(void *arg, const char *why),
	void *fatal_arg, char *why, size_t why_bytes)
{
	*v = (struct vault) {
		.io = io, .diag = diag, .timer = { .fire = timer_fire }, .make_timer = { .fire = make_fire }
	};
	enum err e = open_log(v, conf, state, fatal, fatal_arg, why, why_bytes);
	if (e != OK) {
		v->io = NULL;
		return e;
	}
	uint64_t self = log_identity(v->log)->raft_id;
	v->poison = open_poison(v, conf);
	/* With small slots the log takes smaller entries than raft would: too large is an answer, not an assertion. */
	struct raft_options options = {
		.self = self, .alone = true, .entry_bytes_max = u64_min(log_entry_bytes_max(v->log), 16 * MIB)
	};
	options.poison = poison_entries(v->poison, &options.poison_count);
	struct raft_links links = { .send = no_link };
	raft_groups_init(&v->groups, io, v->log, diag, &options, &links);
	stations_init(&v->stations, io, diag, auth, &v->groups, self);
	v->stations.memory = memory;
	if (conf->jetstream.domain && *conf->jetstream.domain) v->stations.domain = mem_strdup(conf->jetstream.domain);
	e = meta_open(&v->groups, io, diag, self, &catalogue_ops, v, &v->meta);
	if (e != OK) {
		(void)snprintf(why, why_bytes, "the catalogue of streams can not be opened: %s", err_text(e));
		if (e == ERR_NO_SPACE) add_advice(e, why, why_bytes);
	}
	if (e == OK) {
		const char *doubt = meta_doubt(v->meta);
		if (doubt)
			diag_line(diag, DIAG_ERROR,
				"vault: the catalogue of streams is %s, none can be made or deleted: %s",
				meta_is_stopped(v->meta) ? "stopped" : "damaged", doubt);
		v->stations.config_may_be_old = doubt || meta_lost_rows(v->meta);
		meta_each(v->meta, open_row, v);
		api_init(&v->api, io, diag, &v->stations, v->meta);
		open_accounts(v, auth, conf);
	}
	if (e == OK) poison_tidy(v->poison, poison_place, v);
	v->state = VAULT_OPEN;
	set_limits(v, auth, conf);
	v->opened_ns = io_now_ns(io);
	diag_line(diag, DIAG_INFO, "Starting JetStream");
	diag_line(diag, DIAG_INFO, "  Store Directory: \"%s/jetstream\"", conf->jetstream.store_dir);
	return e;
}

/* ---- ready ---- */

static bool is_settled(const struct group *g)
{
	struct group_status s;
	group_status(g, &s);
	return s.leading || s.state == GROUP_QUARANTINED || s.state == GROUP_BROKEN || s.state == GROUP_READ_ONLY;
}

static bool station_waits(void *arg, struct station *s)
{
	bool *all = arg;
	*all = is_settled(stream_group(station_stream(s)));
	return *all;
}

bool vault_is_ready(struct vault *v)
{
	if (v->is_ready || v->state == VAULT_OFF) return true;
	if (!v->is_tidy && meta_is_leader(v->meta)) tidy_up(v);
	bool all = (v->is_tidy && v->renewing == 0) || meta_doubt(v->meta);
	if (all) stations_each(&v->stations, SLICE_NULL, station_waits, &all);
	bool late = io_now_ns(v->io) > v->opened_ns + SECONDS(READY_MAX_S);
	if (late && !all)
		diag_line(v->diag, DIAG_WARN, "vault: not every stream is led after %d s, clients come in all the same",
			READY_MAX_S);
	v->is_ready = all || late;
	if (v->is_ready) diag_line(v->diag, DIAG_INFO, "JetStream is ready, streams: %zu", v->stations.by_name.count);
	if (!v->is_ready) io_timer_start(v->io, &v->timer, MILLIS(READY_STEP_MS));
	return v->is_ready;
}

void vault_turn_end(struct vault *v)
{
	if (v->state != VAULT_OPEN && v->state != VAULT_CLOSING) return;
	if (v->state == VAULT_OPEN) {
		api_turn_end(&v->api);
		stations_turn_end(&v->stations);
	}
	log_turn_end(v->log);
}

/* ---- closing, downwards ---- */

static void log_closed(void *arg) { ((struct vault *)arg)->state = VAULT_CLOSED; }

static void raft_closed(void *arg)
{
	struct vault *v = arg;
	log_close(v->log, log_closed, v);
}

static void meta_closed(void *arg)
{
	struct vault *v = arg;
	raft_groups_close(&v->groups, raft_closed, v);
}

static void stations_closed(void *arg)
{
	struct vault *v = arg;
	meta_close(v->meta, meta_closed, v);
}

void vault_close(struct vault *v)
{
	if (v->state != VAULT_OPEN) return;
	v->state = VAULT_CLOSING;
	io_timer_stop(v->io, &v->timer);
	io_timer_stop(v->io, &v->make_timer);
	api_close(&v->api);
	stations_close(&v->stations, stations_closed, v);
}

void vault_deinit(struct vault *v)
{
	if (!v->io) return;
	io_timer_stop(v->io, &v->timer);
	io_timer_stop(v->io, &v->make_timer);
	if (v->meta) {
		api_deinit(&v->api);
		meta_free(v->meta);
	}
	stations_deinit(&v->stations);
	raft_groups_deinit(&v->groups);
	poison_free(v->poison);
	log_free(v->log);
	*v = (struct vault) { 0 };
}
