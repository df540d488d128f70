/* SPDX-License-Identifier: Apache-2.0 */
/* accept — an operator gives up what damage took of a sole voter (S24): nobody else has it, and it never comes back.
 *
 *   group_accept ──> entry by entry, all that can be read: shown to the owner, or applied behind the gap; and into an install of our own
 *        ──> the owner's state, whole ──> INSTALL durable (S19): everything before it is void ──> DOUBT_END durable ──> libraft is loaded
 *
 * So one record makes it count. A crash before it finds the group in doubt as it was; a crash behind it finds a doubt about votes alone, which
 * a sole voter ends by itself. While this goes on the log asks the owner nothing: its state is ahead of what the log may know. When it fails the
 * owner becomes again what the stored state and the log make of it, as when the group was opened; then it may be asked for again. */
#include "group.h"

enum { ACCEPT_READ_BYTES = 1 << 20 };

struct accept {
	struct async async;
	struct group_accept *req; /* borrowed; NULL once it is done */
	struct log_install *log;  /* owned until committed or failed */
	struct log_read_req read;
	struct log_install_req put;
	struct state_batch state;
	size_t state_at;       /* of it, what the log has */
	uint64_t from, last;   /* to be read next; the last that there is */
	uint64_t term;         /* of the last entry that was read */
	uint64_t lost;         /* entries that should be there and are not */
	bool is_past, is_dead; /* past: what was applied has been shown */
	bool is_from_nothing;  /* the state is lost: where an entry is missing it may have been dead */
	bool is_busy;          /* read, put or job is under way */
	uint64_t generation;   /* the log's, when it began */
	/* after a failure */
	enum err failed;
	struct io_job job;
	const struct group_ops *ops; /* the owner's: load, which is given no owner */
	struct group_load load;
	enum err job_result;
	bool is_alone;
};

static void accept_destroy(struct async *x)
{
	struct accept *a = CONTAINER_OF(x, struct accept, async);
	if (a->ops) a->ops->drop(&a->load);
	buf_deinit(&a->read.entries);
	state_batch_deinit(&a->state);
	mem_free(a);
}

/* What is under way at the log finds it dead and ends it then. */
static void accept_end(struct accept *a)
{
	a->async.g->accept = NULL;
	a->is_dead = true;
	if (a->is_busy) return;
	if (a->log) log_install_abort(a->log);
	a->log = NULL;
	async_remove(&a->async);
	accept_destroy(&a->async);
}

static void accept_answer(struct accept *a, enum err e)
{
	struct group_accept *req = a->req;
	a->req = NULL;
	req->result = e;
	req->index = a->async.g->applied;
	req->entries_lost = a->lost;
	accept_end(a);
	req->done(req);
}

void accept_stop(struct group *g)
{
	if (g->accept) accept_answer(g->accept, ERR_CLOSED);
}

/* ---- a failure: the owner becomes what it was ---- */

static void undo_end(struct accept *a, enum err e)
{
	struct group *g = a->async.g;
	if (e != OK) {
		g->accept_failed = true;
		diag_line(g->set->diag, DIAG_ERROR,
			"raft group=%s what is stored of it cannot be read again: %s; to try once more start the "
			"server "
			"anew",
			log_group_label(g->log), err_text(e));
	} else if (g->applied >= g->told) { /* else the log knows of more, and must not be told otherwise */
		group_log_attach(g);
		tell_applied(g, true);
	}
	if (g->state != GROUP_QUARANTINED) doubt_stop(g);
	accept_answer(a, a->failed);
}

static void undo_read(struct accept *a);

static void undo_read_done(struct log_read_req *r)
{
	struct accept *a = CONTAINER_OF(r, struct accept, read);
	struct group *g = a->async.g;
	struct log_group_info info;
	enum err e = r->result;
	a->is_busy = false;
	if (a->is_dead) {
		accept_end(a);
		return;
	}
	log_group_info(g->log, &info);
	uint64_t before = g->last;
	if (e == OK) e = tail_take(g, buf_slice(&r->entries), info.commit_index, &a->is_alone);
	if (e == OK && g->last == before) e = ERR_CORRUPT;
	if (e == OK) {
		undo_read(a);
	} else if (e == ERR_COMPACTED || e == ERR_CORRUPT) {
		g->has_hole = true;
		undo_end(a, OK);
	} else {
		undo_end(a, e);
	}
}

/* As tail_read_now, while the loop runs. */
static void undo_read(struct accept *a)
{
	struct group *g = a->async.g;
	struct log_group_info info;
	log_group_info(g->log, &info);
	buf_deinit(&a->read.entries);
	if (info.state_lost) g->has_hole = true;
	if (info.state_lost || g->last >= info.last_index || g->state == GROUP_QUARANTINED) {
		undo_end(a, OK);
		return;
	}
	a->read = (struct log_read_req) {
		.done = undo_read_done, .from = g->last + 1, .to = info.last_index, .bytes_max = ACCEPT_READ_BYTES
	};
	a->is_busy = true;
	log_read(g->log, &a->read);
}

static void undo_load(struct accept *a);

static void undo_loaded(struct io_job *job)
{
	struct accept *a = CONTAINER_OF(job, struct accept, job);
	struct group *g = a->async.g;
	struct log_group_info info;
	a->is_busy = false;
	if (a->is_dead) {
		accept_end(a);
		return;
	}
	log_group_info(g->log, &info);
	if (info.state_index != a->load.index) { /* a round that had begun before has stored a newer one */
		a->ops->drop(&a->load);
		undo_load(a);
		return;
	}
	enum err e = a->job_result;
	if (e == OK) e = g->ops->take(g->owner, &a->load);
	if (e != OK) {
		undo_end(a, e);
		return;
	}
	g->state = GROUP_READ_ONLY; /* what it was before it may have met an entry that cannot be applied */
	g->applied = g->last = info.state_index;
	g->applied_term = info.state_term;
	group_set_conf(g, info.conf, info.conf_index);
	g->has_hole = false;
	buf_deinit(&g->tail);
	a->is_alone = group_is_sole_voter(g);
	undo_read(a);
}

/* On a worker: neither the group nor its owner. */
static void undo_load_run(struct io_job *job)
{
	struct accept *a = CONTAINER_OF(job, struct accept, job);
	a->job_result = a->ops->load(&a->load);
}

static void undo_load(struct accept *a)
{
	struct group *g = a->async.g;
	struct log_group_info info;
	log_group_info(g->log, &info);
	a->ops = g->ops;
	a->load = (struct group_load) { log_state(g->set->log), g->id, info.state_index, io_random_u64(g->set->io),
		NULL, info.state_lost };
	a->job = (struct io_job) { .run = undo_load_run, .done = undo_loaded };
	a->is_busy = true;
	io_job_submit(g->set->io, IO_LANE_SETTLE, &a->job);
}

static void accept_fail(struct accept *a, enum err e)
{
	struct group *g = a->async.g;
	struct log_group_info info;
	log_group_info(g->log, &info);
	diag_line(g->set->diag, DIAG_ERROR,
		"raft group=%s what is lost could not be given up: %s; it is in doubt as before, and may be asked for "
		"this again",
		log_group_label(g->log), err_text(e));
	if (a->log) log_install_abort(a->log);
	a->log = NULL;
	a->failed = e;
	if (info.generation == a->generation)
		undo_load(a);
	else
		undo_end(a, ERR_CORRUPT); /* it counted already, and what was written for it has been damaged since */
}

/* ---- the end ---- */

void accept_ended(struct group *g)
{
	struct accept *a = g->accept;
	if (g->in_doubt) { /* of new damage; the owner's state is the one that was just stored */
		doubt_stop(g);
		accept_answer(a, ERR_CORRUPT);
		return;
	}
	diag_line(g->set->diag, DIAG_WARN,
		"raft group=%s an operator has given up what was lost (%llu entries that are known of); it is in "
		"service again at index %llu",
		log_group_label(g->log), (unsigned long long)a->lost, (unsigned long long)g->applied);
	accept_answer(a, OK);
}

static void committed(struct log_install_req *put)
{
	struct accept *a = CONTAINER_OF(put, struct accept, put);
	struct group *g = a->async.g;
	a->is_busy = false;
	a->log = NULL;
	if (a->is_dead) {
		accept_end(a);
		return;
	}
	if (put->result != OK) {
		accept_fail(a, put->result);
		return;
	}
	/* The owner's state is the one that the state store holds now. */
	g->ops->settled(g->owner, g->applied);
	group_log_attach(g);
	g->told = g->committed = g->last = g->applied;
	g->has_hole = false;
	buf_deinit(&g->tail);
	g->state = GROUP_OPENING;
	g->trouble[0] = '\0';
	g->term++;
	struct write *w = write_new(g, WRITE_DOUBT_END);
	w->seq = g->term;
	w->last = g->set->options.self;
	log_doubt_end(g->log, g->term, w->last, &w->req);
}

/* ---- the state ---- */

static void state_put(struct accept *a);

static void state_stored(struct log_install_req *put)
{
	struct accept *a = CONTAINER_OF(put, struct accept, put);
	a->is_busy = false;
	if (put->result != OK) a->log = NULL;
	if (a->is_dead) {
		accept_end(a);
	} else if (put->result != OK) {
		accept_fail(a, put->result);
	} else {
		state_put(a);
	}
}

/* In chunks of whole changes, at least one; then it counts. */
static void state_put(struct accept *a)
{
	struct group *g = a->async.g;
	struct slice rest = slice_from(buf_slice(&a->state.ops), a->state_at), in = rest, key, value;
	bool put;
	while (rest.n - in.n < g->set->options.chunk_bytes_max && state_batch_next(&in, &put, &key, &value) == OK)
		continue;
	a->is_busy = true;
	a->put = (struct log_install_req) { .done = rest.n ? state_stored : committed };
	if (rest.n) {
		a->state_at += rest.n - in.n;
		log_install_state(a->log, slice_first(rest, rest.n - in.n), &a->put);
		return;
	}
	log_install_commit(
		a->log, g->applied, g->applied_term, buf_slice(&g->conf), g->conf_index, g->applied + 1, &a->put);
}

static void take_state(struct accept *a)
{
	struct group *g = a->async.g;
	struct log_group_info info;
	struct buf at = { 0 };
	log_group_info(g->log, &info);
	if (!a->is_past) g->ops->salvaged(g->owner);
	if (g->applied < a->last) a->lost += a->last - g->applied;
	g->applied = u64_max(u64_max(g->applied, a->last), 1);
	g->applied_term = u64_max(u64_max(a->term, g->applied_term), 1);
	if (g->conf.n == 0) {
		struct members m = { .count = 1, .at = { { g->set->options.self, RAFT_VOTER } } };
		members_encode(&m, &g->conf);
	}
	uint64_t seq_bound = is_off(g, FAULT_bug_s24_seqs_again) ? 0 : info.seq_bound;
	g->ops->accepted(g->owner, g->applied, seq_bound, &a->state);
	group_at_encode(g, &at);
	state_batch_put(&a->state, group_at_key, buf_slice(&at));
	buf_deinit(&at);
	state_put(a);
}

/* ---- the entries ---- */

static void read_more(struct accept *a);

static void entries_stored(struct log_install_req *put)
{
	struct accept *a = CONTAINER_OF(put, struct accept, put);
	a->is_busy = false;
	if (put->result != OK) a->log = NULL; /* the error has ended it */
	if (a->is_dead) {
		accept_end(a);
	} else if (put->result != OK) {
		accept_fail(a, put->result);
	} else {
		read_more(a);
	}
}

/* False: the owner cannot apply it. */
static bool take_entry(struct accept *a, const struct entry_head *h, struct slice body)
{
	struct group *g = a->async.g;
	a->term = u64_max(a->term, h->term);
	if (h->index <= g->applied) {
		if (h->kind == ENTRY_COMMAND && g->ops->salvage) g->ops->salvage(g->owner, h->index, body);
		return true;
	}
	if (!a->is_past) g->ops->salvaged(g->owner);
	a->is_past = true;
	if (!a->is_from_nothing) a->lost += h->index - g->applied - 1;
	return apply_one(g, h->index, h->term, (enum entry_kind)h->kind, body);
}

static enum err take_entries(struct accept *a, struct slice entries)
{
	struct entry_head h;
	struct slice body;
	enum err e;
	while ((e = entry_next(&entries, &h, &body)) == OK) {
		bool is_ours = h.group == a->async.g->id && h.kind >= ENTRY_COMMAND && h.kind <= ENTRY_CHANGE;
		if (!is_ours || !take_entry(a, &h, body)) return ERR_CORRUPT;
	}
	return e == ERR_EOF ? OK : e;
}

static void read_done(struct log_read_req *r)
{
	struct accept *a = CONTAINER_OF(r, struct accept, read);
	enum err e = r->result;
	a->is_busy = false;
	if (a->is_dead) {
		accept_end(a);
		return;
	}
	if (e != OK) {
		/* Damaged, or in a hole: what comes behind it may be whole. An entry that was applied is lost only if it is damaged. */
		uint64_t at = u64_max(a->from, r->next);
		if (e == ERR_CORRUPT && at <= a->async.g->applied) a->lost++;
		bool is_end = e == ERR_NOT_FOUND || is_off(a->async.g, FAULT_bug_s24_gap_is_end);
		a->from = is_end ? a->last + 1 : at + 1;
		if (e == ERR_CORRUPT || e == ERR_COMPACTED || e == ERR_NOT_FOUND)
			read_more(a);
		else
			accept_fail(a, e);
		return;
	}
	a->from = u64_max(a->from, r->next);
	e = take_entries(a, buf_slice(&r->entries));
	if (e != OK) {
		accept_fail(a, e);
	} else if (r->entries.n == 0) {
		read_more(a);
	} else {
		a->is_busy = true;
		a->put = (struct log_install_req) { .done = entries_stored };
		log_install_entries(a->log, buf_slice(&r->entries), &a->put);
	}
}

static void read_more(struct accept *a)
{
	buf_deinit(&a->read.entries);
	if (a->from > a->last) {
		take_state(a);
		return;
	}
	a->read = (struct log_read_req) {
		.done = read_done, .from = a->from, .to = a->last, .bytes_max = ACCEPT_READ_BYTES, .holes = true
	};
	a->is_busy = true;
	log_read(a->async.g->log, &a->read);
}

/* ---- the door ---- */

enum err group_accept(struct group *g, struct group_accept *req)
{
	struct log_group_info info;
	if (g->state != GROUP_READ_ONLY) return ERR_INVALID;
	log_group_info(g->log, &info);
	if (g->accept || g->accept_failed || g->install) return ERR_BUSY;
	if (info.segments_lost || !g->ops->accepted) return ERR_UNSUPPORTED;
	if (!log_has_space(g->set->log, info.stored_bytes)) return ERR_NO_SPACE;
	struct accept *a = NEW(struct accept);
	enum err e = log_install_begin(g->log, &a->log);
	if (e != OK) {
		mem_free(a);
		return e;
	}
	a->req = req;
	a->from = info.first_index;
	a->last = info.there_last;
	a->is_from_nothing = info.state_lost;
	a->generation = info.generation;
	async_add(g, &a->async, accept_destroy);
	g->accept = a;
	log_group_detach(g->log);
	read_more(a);
	return OK;
}
