/* SPDX-License-Identifier: Apache-2.0 */
/* refill — everything for a replica that entries alone cannot bring up: its log begins too late, or it is damaged (S19, this side).
 *
 *   a worker reads the stored state and the index S that it is of → BEGIN(S) → all entries up to S, then the state, in numbered chunks,
 *   some on the way at a time → COMMIT → the other side answers DONE → AppendEntries from S + 1 (backfill)
 *
 * While it runs, entries above S stay here (group.pin), or the replica would be too far behind again when it is done. After a break
 * of the link BEGIN is repeated; the other side says where it stands, and what is missing is sent again. What is sent again under a number
 * may differ from what was sent before (entries have died since), so nothing is sent again while older copies may still arrive: only the
 * answer to the latest BEGIN says where to go on, and that came behind all of them. */
#include "group.h"

enum { REFILLS_MAX = 4, WINDOW_MAX = 16, TRIES_MAX = 8 };
#define STATE_BYTES_MAX (1024 * MIB)

enum refill_state { REFILL_READING, REFILL_BEGUN, REFILL_SENDING, REFILL_COMMITTING };

/* Where a chunk begins, to be able to go back to it. */
struct position {
	uint64_t seq, entry;
	size_t state_at;
};

struct refill {
	struct async async;
	struct follower *follower; /* NULL: stopped while a job or read is under way */
	enum refill_state state;
	uint64_t id, seq; /* seq of the next chunk */
	uint64_t heard_ms;
	unsigned tries;
	uint64_t attempt;    /* number of the latest BEGIN */
	struct group_at at;  /* conf borrowed from `at_value` */
	struct buf at_value; /* owned */
	struct buf changes;  /* owned: the state, as changes */
	size_t state_at;     /* next byte of it */
	uint64_t entry;      /* next index of the log */
	uint64_t acked;      /* chunks below are stored over there */
	struct position sent[WINDOW_MAX];
	struct log_read_req read;
	bool reading;
	/* the job's own */
	struct io_job job;
	struct state *store;
	uint64_t group;
	bool job_runs, too_large;
	enum err job_result;
};

static void refill_destroy(struct async *a)
{
	struct refill *f = CONTAINER_OF(a, struct refill, async);
	buf_deinit(&f->at_value);
	buf_deinit(&f->changes);
	buf_deinit(&f->read.entries);
	mem_free(f);
}

static void refill_free(struct refill *f)
{
	struct group *g = f->async.g;
	g->set->refill_count--;
	async_remove(&f->async);
	refill_destroy(&f->async);
}

/* Entries that a follower will need when it has what it is being sent. */
void pin_update(struct group *g)
{
	g->pin = 0;
	LIST_EACH (l, &g->followers) {
		const struct follower *p = CONTAINER_OF(l, struct follower, link);
		uint64_t index = p->refill ? p->refill->at.index : p->backfill ? p->match : 0;
		if (index && (!g->pin || index < g->pin)) g->pin = index;
	}
}

/* The log hears of what is applied at the end of a batch only: a trim from inside of it waits until then. Pinned entries stay. */
void trim_step(struct group *g)
{
	uint64_t index = u64_min(g->trim_index, g->told + 1);
	if (index && !g->gone) log_trim(g->log, g->pin ? u64_min(index, g->pin + 1) : index);
}

void group_trim(struct group *g, uint64_t index)
{
	g->trim_index = u64_max(g->trim_index, index);
	trim_step(g);
}

void refill_stop(struct follower *p)
{
	struct refill *f = p->refill;
	if (!f) return;
	struct group *g = f->async.g;
	p->refill = NULL;
	f->follower = NULL;
	pin_update(g);
	if (!f->reading && !f->job_runs) refill_free(f);
}

/* ---- reading the state, on a worker ---- */

static bool collect(void *arg, struct slice key, struct slice value)
{
	struct refill *f = arg;
	struct state_batch batch = { .ops = f->changes };
	state_batch_put(&batch, key, value);
	f->changes = batch.ops;
	if (slice_eq(key, group_at_key)) buf_append_slice(&f->at_value, value);
	f->too_large = f->changes.n > STATE_BYTES_MAX;
	return !f->too_large;
}

static void state_run(struct io_job *job)
{
	struct refill *f = CONTAINER_OF(job, struct refill, job);
	f->job_result = state_group_each(f->store, f->group, SLICE_NULL, SLICE_NULL, collect, f);
}

static void begin_send(struct group *g, struct refill *f);

static void state_done(struct io_job *job)
{
	struct refill *f = CONTAINER_OF(job, struct refill, job);
	struct group *g = f->async.g;
	f->job_runs = false;
	if (!f->follower) {
		refill_free(f);
		return;
	}
	bool usable = f->job_result == OK && !f->too_large && group_at_decode(buf_slice(&f->at_value), &f->at) &&
		      f->at.index > 0;
	if (!usable || !g->live || !g->leads) {
		/* Nothing settled yet, or nothing that can be read: the follower asks again. */
		refill_stop(f->follower);
		return;
	}
	pin_update(g);
	begin_send(g, f);
}

void refill_start(struct group *g, struct follower *p)
{
	if (p->refill || g->set->refill_count >= REFILLS_MAX) return;
	struct log_group_info info;
	log_group_info(g->log, &info);
	/* Nothing is settled yet, or not as much as a damaged follower has acknowledged: it asks again with the next heartbeat. */
	bool too_old = p->wants_refill && info.state_index < u64_max(p->match, p->hint);
	if (info.state_index == 0 || too_old) {
		log_settle_now(g->set->log, NULL);
		return;
	}
	struct refill *f = NEW(struct refill);
	f->follower = p;
	p->refill = f;
	g->set->refill_count++;
	f->at.index = info.state_index; /* what is stored may be later, not earlier: pinned from now on */
	f->heard_ms = set_now_ms(g->set);
	f->store = log_state(g->set->log);
	f->group = g->id;
	f->job.run = state_run;
	f->job.done = state_done;
	f->job_runs = true;
	async_add(g, &f->async, refill_destroy);
	pin_update(g);
	diag_count(g->set->diag, COUNTER_raft_refills);
	io_job_submit(g->set->io, IO_LANE_SETTLE, &f->job);
}

/* ---- sending ---- */

static void restart(struct group *g, struct refill *f)
{
	struct log_group_info info;
	log_group_info(g->log, &info);
	f->id = io_random_u64(g->set->io);
	f->seq = f->acked = 1;
	f->state_at = 0;
	f->entry = info.first_index;
}

static void begin_send(struct group *g, struct refill *f)
{
	if (f->id == 0) restart(g, f);
	struct frame_out *o = group_frame(g, FRAME_INSTALL_BEGIN, f->follower->id);
	frame_u64(o, g->raft.current_term);
	frame_u64(o, f->id);
	frame_u64(o, f->at.index);
	frame_u64(o, f->at.term);
	frame_u64(o, f->at.conf_index);
	frame_u64(o, ++f->attempt);
	frame_part(o, f->at.conf);
	frame_end(o);
	f->state = REFILL_BEGUN;
	f->heard_ms = set_now_ms(g->set);
	(void)group_send(g, f->follower->id, RAFT_LANE_BULK);
}

static bool chunk_send(struct group *g, struct refill *f, enum frame_chunk what, struct slice bytes)
{
	struct frame_out *o = group_frame(g, FRAME_INSTALL_CHUNK, f->follower->id);
	frame_u64(o, g->raft.current_term);
	frame_u64(o, f->id);
	frame_u64(o, f->seq);
	frame_u64(o, what);
	frame_part(o, bytes);
	frame_end(o);
	f->sent[f->seq % WINDOW_MAX] = (struct position) { f->seq, f->entry, f->state_at };
	return group_send(g, f->follower->id, RAFT_LANE_BULK);
}

/* Whole changes, at least one. */
static struct slice state_chunk(const struct group *g, const struct refill *f)
{
	struct slice rest = slice_from(buf_slice(&f->changes), f->state_at), in = rest, key, value;
	bool put;
	while (rest.n - in.n < g->set->options.chunk_bytes_max && state_batch_next(&in, &put, &key, &value) == OK)
		continue;
	return slice_first(rest, rest.n - in.n);
}

static bool window_is_full(const struct group *g, const struct refill *f)
{
	return f->seq - f->acked >= u64_min(g->set->options.chunk_window, WINDOW_MAX);
}

static void commit_send(struct group *g, struct refill *f)
{
	struct frame_out *o = group_frame(g, FRAME_INSTALL_COMMIT, f->follower->id);
	frame_u64(o, g->raft.current_term);
	frame_u64(o, f->id);
	frame_u64(o, f->seq);
	frame_end(o);
	f->state = REFILL_COMMITTING;
	(void)group_send(g, f->follower->id, RAFT_LANE_BULK);
}

static void pump(struct group *g, struct refill *f);

/* Entries [from, S]; what is dead here by now may be missing. */
static void entries_done(struct log_read_req *req)
{
	struct refill *f = CONTAINER_OF(req, struct refill, read);
	struct group *g = f->async.g;
	f->reading = false;
	if (!f->follower) {
		refill_free(f);
		return;
	}
	if (!g->live || !g->leads ||
		(req->result != OK && req->result != ERR_COMPACTED && req->result != ERR_NOT_FOUND)) {
		refill_stop(f->follower);
		return;
	}
	bool current = f->state == REFILL_SENDING && req->from == f->entry;
	if (current && req->result == OK && req->entries.n) {
		bool is_sent = chunk_send(g, f, FRAME_CHUNK_ENTRIES, buf_slice(&req->entries));
		buf_deinit(&req->entries);
		if (!is_sent) return; /* the tick repeats BEGIN */
		f->seq++;
		f->entry = req->next;
	} else if (current) {
		struct log_group_info info;
		log_group_info(g->log, &info);
		/* The front was dropped meanwhile; behind S there is nothing to send. */
		f->entry = req->result == OK && req->next > f->entry ? req->next
			   : info.first_index > f->entry             ? info.first_index
								     : f->at.index + 1;
	}
	buf_deinit(&req->entries);
	pump(g, f);
}

static void pump(struct group *g, struct refill *f)
{
	while (f->state == REFILL_SENDING && !f->reading && !window_is_full(g, f)) {
		if (f->entry <= f->at.index) {
			f->reading = true;
			f->read = (struct log_read_req) { .done = entries_done,
				.from = f->entry,
				.to = f->at.index,
				.bytes_max = g->set->options.chunk_bytes_max,
				.holes = true };
			log_read(g->log, &f->read);
			return;
		}
		struct slice chunk = state_chunk(g, f);
		if (chunk.n == 0) {
			if (f->acked == f->seq) commit_send(g, f);
			return;
		}
		if (!chunk_send(g, f, FRAME_CHUNK_STATE, chunk)) return; /* the tick repeats BEGIN */
		f->seq++;
		f->state_at += chunk.n;
	}
}

/* Goes on with chunk `seq`, or from the start under a new number when that is too far back. */
static void go_on_from(struct group *g, struct refill *f, uint64_t seq)
{
	const struct position *p = &f->sent[seq % WINDOW_MAX];
	if (seq < f->seq && p->seq == seq) {
		f->entry = p->entry;
		f->state_at = p->state_at;
		f->seq = f->acked = seq;
	} else if (seq != f->seq) {
		restart(g, f);
		begin_send(g, f);
		return;
	}
	f->acked = seq;
	f->state = REFILL_SENDING;
	pump(g, f);
}

void refill_answer(struct follower *p, const struct frame_install_answer *a)
{
	struct refill *f = p->refill;
	if (!f || f->state == REFILL_READING || a->install != f->id) return;
	struct group *g = f->async.g;
	f->heard_ms = set_now_ms(g->set);
	f->tries = 0;
	if (a->answer == FRAME_ANSWER_NEXT && f->state == REFILL_BEGUN) {
		if (a->attempt == f->attempt) go_on_from(g, f, a->seq);
	} else if (a->answer == FRAME_ANSWER_NEXT && !a->attempt && a->seq > f->acked && a->seq <= f->seq) {
		f->acked = a->seq;
		pump(g, f);
	} else if (a->answer == FRAME_ANSWER_NO || a->answer == FRAME_ANSWER_DONE) {
		p->hint = a->index;
		if (a->answer == FRAME_ANSWER_DONE) p->wants_refill = false;
		bool whole = a->answer == FRAME_ANSWER_DONE;
		uint64_t pin = g->pin;
		refill_stop(p);
		catchup_start(g, p);
		/* Until it has acknowledged anything the next pin is not known. */
		if (whole && p->backfill && (!g->pin || pin < g->pin)) g->pin = pin;
	}
}

void refill_tick(struct group *g, struct follower *p)
{
	struct refill *f = p->refill;
	uint64_t now = set_now_ms(g->set);
	if (!f || f->state == REFILL_READING || f->reading ||
		now - f->heard_ms < 2 * (uint64_t)g->set->options.election_ms)
		return;
	if (++f->tries > TRIES_MAX) {
		refill_stop(p);
		return;
	}
	begin_send(g, f);
}
