/* SPDX-License-Identifier: Apache-2.0 */
/* install — being refilled by the leader (S19, the receiving side).
 *
 *   BEGIN → a new generation of the log → chunks in order, each answered when stored → COMMIT → the library's instance is closed, so that
 *   nothing is acknowledged that is about to be void → INSTALL durable → a worker loads the new state, the owner takes it → libraft is loaded from it → DONE
 *
 * Until COMMIT the replica is a follower like any other. From a leader that lost its term nothing is taken. */
#include "group.h"

struct chunk {
	struct list link;
	uint64_t seq;
	enum frame_chunk what; /* 0: this is COMMIT */
	struct buf bytes;
};

enum install_state { INSTALL_TAKING, INSTALL_COMMITTING, INSTALL_LOADING, INSTALL_DEAD };

struct install {
	struct async async;
	struct log_install *log; /* owned until committed or failed */
	enum install_state state;
	uint64_t from, term, id, index, index_term, conf_index;
	struct buf conf;
	uint64_t next;       /* seq of the chunk to store next */
	uint64_t arrived;    /* seq of the chunk to arrive next */
	uint64_t last_entry; /* index of the last entry that was stored */
	struct list chunks;  /* arrived, not yet stored */
	struct log_install_req req;
	uint64_t heard_ms;
	bool busy; /* req or job is under way */
	/* the job's own */
	struct io_job job;
	const struct group_ops *ops; /* the owner's: load, which is given no owner */
	struct group_load load;
	enum err job_result;
};

enum { CHUNKS_MAX = 16 };

static void chunks_free(struct install *i)
{
	struct list *l;
	while ((l = list_pop_front(&i->chunks))) {
		struct chunk *c = CONTAINER_OF(l, struct chunk, link);
		buf_deinit(&c->bytes);
		mem_free(c);
	}
}

static void install_destroy(struct async *a)
{
	struct install *i = CONTAINER_OF(a, struct install, async);
	chunks_free(i);
	if (i->ops) i->ops->drop(&i->load);
	buf_deinit(&i->conf);
	mem_free(i);
}

/* Ends it on this side; what is under way at the log finds it dead. */
static void install_end(struct install *i)
{
	struct group *g = i->async.g;
	g->install = NULL;
	g->frozen_until_ms = 0;
	i->state = INSTALL_DEAD;
	if (i->busy) return;
	if (i->log) log_install_abort(i->log);
	i->log = NULL;
	async_remove(&i->async);
	install_destroy(&i->async);
}

void install_stop(struct group *g)
{
	if (g->install) install_end(g->install);
}

static void answer(struct group *g, uint64_t to, uint64_t term, uint64_t id, enum frame_answer what, uint64_t seq,
	uint64_t index, uint64_t attempt)
{
	struct frame_out *o = group_frame(g, FRAME_INSTALL_ANSWER, to);
	frame_u64(o, term);
	frame_u64(o, id);
	frame_u64(o, seq);
	frame_u64(o, index);
	frame_u64(o, attempt);
	frame_u64(o, what);
	frame_end(o);
	(void)group_send(g, to, RAFT_LANE_FRAMES);
}

/* ---- storing ---- */

static bool entries_are_ours(const struct group *g, struct install *i, struct slice entries)
{
	struct entry_head head;
	struct slice body;
	enum err e;
	while ((e = entry_next(&entries, &head, &body)) == OK) {
		bool known = head.kind >= ENTRY_COMMAND && head.kind <= ENTRY_CHANGE;
		if (!known || head.group != g->id || head.index <= i->last_entry || head.index > i->index) return false;
		i->last_entry = head.index;
	}
	return e == ERR_EOF;
}

static bool changes_are_whole(struct slice changes)
{
	bool put;
	struct slice key, value;
	enum err e;
	while ((e = state_batch_next(&changes, &put, &key, &value)) == OK)
		if (!put || key.n == 0 || key.n > STATE_KEY_MAX || value.n > STATE_VALUE_MAX) return false;
	return e == ERR_EOF;
}

static void refuse(struct install *i, const char *why)
{
	struct group *g = i->async.g;
	diag_line(g->set->diag, DIAG_WARN, "raft group=%s refill from=%llx given up: %s", log_group_label(g->log),
		(unsigned long long)i->from, why);
	answer(g, i->from, i->term, i->id, FRAME_ANSWER_NO, 0, g->last, 0);
	install_end(i);
}

static void step(struct install *i);
static void commit(struct install *i);

static void stored(struct log_install_req *req)
{
	struct install *i = CONTAINER_OF(req, struct install, req);
	i->busy = false;
	if (req->result != OK) i->log = NULL; /* the error has ended it */
	if (i->state == INSTALL_DEAD) {
		install_end(i);
		return;
	}
	if (req->result != OK) {
		refuse(i, err_text(req->result));
		return;
	}
	i->next++;
	answer(i->async.g, i->from, i->term, i->id, FRAME_ANSWER_NEXT, i->next, 0, 0);
	step(i);
}

static void step(struct install *i)
{
	struct group *g = i->async.g;
	struct list *l = list_first(&i->chunks);
	if (!l || i->busy || i->state != INSTALL_TAKING) return;
	struct chunk *c = CONTAINER_OF(l, struct chunk, link);
	if (c->what == 0) {
		commit(i);
		return;
	}
	bool whole = c->what == FRAME_CHUNK_ENTRIES ? entries_are_ours(g, i, buf_slice(&c->bytes))
						    : changes_are_whole(buf_slice(&c->bytes));
	if (!whole) {
		refuse(i, "a chunk is malformed");
		return;
	}
	i->busy = true;
	i->req = (struct log_install_req) { .done = stored };
	if (c->what == FRAME_CHUNK_ENTRIES)
		log_install_entries(i->log, buf_slice(&c->bytes), &i->req);
	else
		log_install_state(i->log, buf_slice(&c->bytes), &i->req);
	list_remove(&c->link);
	buf_deinit(&c->bytes);
	mem_free(c);
}

/* ---- committing ---- */

/* On a worker: neither the group nor its owner, who go on on the loop. */
static void load_run(struct io_job *job)
{
	struct install *i = CONTAINER_OF(job, struct install, job);
	i->job_result = i->ops->load(&i->load);
}

static void load_done(struct io_job *job)
{
	struct install *i = CONTAINER_OF(job, struct install, job);
	struct group *g = i->async.g;
	i->busy = false;
	if (i->state == INSTALL_DEAD) {
		install_end(i);
		return;
	}
	g->applied = g->told = i->index;
	g->applied_term = i->index_term;
	g->last = i->index;
	g->committed = u64_max(g->committed, i->index);
	group_set_conf(g, buf_slice(&i->conf), i->conf_index);
	buf_deinit(&g->tail);
	uint64_t from = i->from, term = i->term, id = i->id, index = i->index;
	enum err e = i->job_result;
	if (e == OK) e = g->ops->take(g->owner, &i->load);
	install_end(i);
	if (e != OK) {
		group_stop(g, GROUP_BROKEN, "the state that a peer sent cannot be loaded: %s", err_text(e));
		return;
	}
	group_log_attach(g);
	g->has_hole = false;
	doubt_look(g);
	diag_count(g->set->diag, COUNTER_raft_installs);
	/* Writes of the old generation may still be under way; instance_reopen waits for them and loads what is there then. */
	instance_reopen(g);
	answer(g, from, term, id, FRAME_ANSWER_DONE, 0, index, 0);
}

static void committed(struct log_install_req *req)
{
	struct install *i = CONTAINER_OF(req, struct install, req);
	struct group *g = i->async.g;
	i->busy = false;
	i->log = NULL;
	if (i->state == INSTALL_DEAD) {
		install_end(i);
		return;
	}
	if (req->result != OK) {
		refuse(i, err_text(req->result));
		instance_reopen(g); /* from what was there before */
		return;
	}
	/* Until the owner has taken the new state it knows nothing of the entries that the log has now. */
	log_group_detach(g->log);
	i->state = INSTALL_LOADING;
	i->busy = true;
	i->ops = g->ops;
	i->load =
		(struct group_load) { log_state(g->set->log), g->id, i->index, io_random_u64(g->set->io), NULL, false };
	i->job = (struct io_job) { .run = load_run, .done = load_done };
	io_job_submit(g->set->io, IO_LANE_SETTLE, &i->job);
}

/* Damaged: but what it acknowledged must be in there. Behind a hole nobody cuts off what was never committed, and nobody looks there. */
static uint64_t needed_up_to(const struct group *g)
{
	struct log_group_info info;
	if (!g->has_hole) return g->last;
	log_group_info(g->log, &info);
	return info.commit_index;
}

/* What is here already is not replaced: the entry at that index, of that term, and everything up to it. */
static bool has_it(const struct group *g, uint64_t index, uint64_t term)
{
	if (g->refill_needed) return index < needed_up_to(g);
	return index <= g->applied || group_term_at(g, index) == term;
}

static void commit(struct install *i)
{
	struct group *g = i->async.g;
	struct log_install *log = i->log;
	if (has_it(g, i->index, i->index_term)) {
		refuse(i, "entries were faster"); /* it has acknowledged more than the install holds */
		return;
	}
	i->state = INSTALL_COMMITTING;
	i->busy = true;
	i->req = (struct log_install_req) { .done = committed };
	chunks_free(i);
	if (is_off(g, FAULT_bug_s19_early_answer))
		answer(g, i->from, i->term, i->id, FRAME_ANSWER_DONE, 0, i->index, 0);
	else
		instance_stop(g);
	log_install_commit(log, i->index, i->index_term, buf_slice(&i->conf), i->conf_index, i->index + 1, &i->req);
}

/* ---- frames ---- */

static bool is_current(struct group *g, const struct frame *f)
{
	return g->live && raft_state(&g->raft) == RAFT_FOLLOWER && f->term == g->raft.current_term &&
	       group_leader(g) == f->from;
}

static void on_begin(struct group *g, const struct frame *f)
{
	const struct frame_install_begin *b = &f->install_begin;
	struct install *i = g->install;
	if (i && i->id == b->install && i->from == f->from && i->term == f->term) {
		i->heard_ms = set_now_ms(g->set);
		if (i->state == INSTALL_TAKING) i->arrived = i->next + (i->busy ? 1 : 0), chunks_free(i);
		if (i->state == INSTALL_TAKING)
			answer(g, f->from, f->term, b->install, FRAME_ANSWER_NEXT, i->arrived, 0, b->attempt);
		return;
	}
	if (!is_current(g, f)) return;
	if (has_it(g, b->index, b->index_term)) {
		/* A damaged replica waits where it is until the leader has settled as much. */
		if (g->refill_needed)
			g->frozen_until_ms = set_now_ms(g->set) + 4 * (uint64_t)g->set->options.election_ms;
		answer(g, f->from, f->term, b->install, FRAME_ANSWER_NO, 0, needed_up_to(g), 0);
		return;
	}
	if (i && i->state != INSTALL_TAKING) return;
	if (i) install_end(i);
	if (g->refill_needed) g->frozen_until_ms = UINT64_MAX; /* until it ends */
	i = NEW(struct install);
	enum err e = log_install_begin(g->log, &i->log);
	if (e != OK) {
		mem_free(i);
		return; /* another one is being cleaned up: the leader comes again */
	}
	i->from = f->from;
	i->term = f->term;
	i->id = b->install;
	i->index = b->index;
	i->index_term = b->index_term;
	i->conf_index = b->conf_index;
	buf_append_slice(&i->conf, b->conf);
	i->next = i->arrived = 1;
	i->heard_ms = set_now_ms(g->set);
	list_init(&i->chunks);
	async_add(g, &i->async, install_destroy);
	g->install = i;
	answer(g, f->from, f->term, i->id, FRAME_ANSWER_NEXT, 1, 0, b->attempt);
}

static void take(struct install *i, uint64_t seq, enum frame_chunk what, struct slice bytes)
{
	if (i->state != INSTALL_TAKING || seq != i->arrived)
		return; /* lost or repeated: the leader asks where we stand */
	struct chunk *c = NEW(struct chunk);
	c->seq = seq;
	c->what = what;
	buf_append_slice(&c->bytes, bytes);
	list_push_back(&i->chunks, &c->link);
	i->arrived++;
	step(i);
}

void install_frame(struct group *g, const struct frame *f)
{
	struct install *i = g->install;
	if (f->kind == FRAME_INSTALL_BEGIN) {
		on_begin(g, f);
		return;
	}
	uint64_t id = f->kind == FRAME_INSTALL_CHUNK ? f->install_chunk.install : f->install_commit.install;
	if (!i || i->id != id || i->from != f->from || i->term != f->term) return;
	if (i->state == INSTALL_TAKING && !is_current(g, f)) {
		install_end(i);
		return;
	}
	i->heard_ms = set_now_ms(g->set);
	if (f->kind == FRAME_INSTALL_COMMIT)
		take(i, f->install_commit.seq, (enum frame_chunk)0, SLICE_NULL);
	else if (f->install_chunk.bytes.n && i->arrived - i->next < CHUNKS_MAX)
		take(i, f->install_chunk.seq, f->install_chunk.what, f->install_chunk.bytes);
}

/* The leader went silent, or there is another. */
void install_tick(struct group *g)
{
	struct install *i = g->install;
	if (i->state != INSTALL_TAKING) return;
	bool silent = set_now_ms(g->set) - i->heard_ms > 16 * (uint64_t)g->set->options.election_ms;
	bool deposed = g->live && g->raft.current_term != i->term;
	if (silent || deposed) install_end(i);
}
