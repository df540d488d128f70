/* SPDX-License-Identifier: Apache-2.0 */
/* log_refill — an actor refills a group from a peer that has more than it (S19): state and entries in chunks, then the commit. The peer
 * has what is committed and a little that this log has never seen; below a random index it has only what is alive. Now and then it gives
 * up, pauses, or sends a chunk that was damaged on the way. */
#include "log_sim.h"

enum stage { STAGE_STATE, STAGE_ENTRIES, STAGE_COMMIT };
struct refill {
	struct owner *owner;
	struct log_install *log;
	struct log_install_req req;
	enum stage stage;
	bool is_busy, is_bad_chunk;
	struct machine machine; /* of the peer */
	uint64_t index, from;   /* of the state; from here on nothing is left out */
	uint64_t cursor;
	struct model_view before; /* of `now`, while the commit is under way */
};

static void refill_step(struct refill *x);

static void refill_free(struct refill *x)
{
	x->owner->refill = NULL;
	machine_deinit(&x->machine);
	model_view_deinit(&x->before);
	mem_free(x);
}

void refill_drop(struct owner *o)
{
	if (o->refill) refill_free(o->refill);
}

static void refill_abort(struct refill *x)
{
	world_count(x->owner->actor->world, "log install aborted");
	log_install_abort(x->log);
	refill_free(x);
}

void refill_wake(struct owner *o)
{
	if (!o->refill->is_busy) refill_abort(o->refill);
}

/* ---- what the peer has ---- */

static void peer_goes_on(struct owner *o)
{
	struct model_group *m = owner_model(o);
	struct world *w = o->actor->world;
	uint64_t count = world_below(w, 12), term = u64_max(m->term_max, m->now.term) + 1;
	if (m->truth.last == 0) count++;
	for (; count; count--) {
		struct model_entry *e = model_entry_draw(
			m, &m->truth, &w->rng, ENTRY_COMMAND, term, (uint32_t)u64_min(w->body_max, 1200));
		e->is_committed = true;
		model_log_set(&m->truth, e);
		m->term_max = term;
	}
}

static void peer_entry(struct refill *x, const struct model_entry *e, struct buf *out)
{
	const struct model_group *m = owner_model(x->owner);
	struct buf body = { 0 };
	model_body(e, &body);
	struct entry_head h = {
		.kind = e->kind,
		.group = m->id,
		.index = e->index,
		.term = e->term,
		.commit = e->index - 1,
		.seq_last = e->seq_last,
		.record_count = e->count,
		.prev_term = (uint32_t)model_log_term(&m->truth, e->index - 1),
	};
	size_t bytes = entry_bytes(body.n);
	uint8_t *p = buf_reserve(out, bytes);
	memset(p, 0, bytes);
	if (body.n) memcpy(p + ENTRY_HEAD_BYTES, body.p, body.n);
	entry_head_encode(&h, buf_slice(&body), p);
	out->n += bytes;
	buf_deinit(&body);
}

/* ---- the steps ---- */

static void send_state(struct refill *x)
{
	struct state_batch batch = { 0 };
	machine_capture_all(&x->machine, &batch);
	x->stage = STAGE_ENTRIES;
	log_install_state(x->log, buf_slice(&batch.ops), &x->req);
	state_batch_deinit(&batch);
}

static void send_entries(struct refill *x)
{
	const struct model_group *m = owner_model(x->owner);
	struct world *w = x->owner->actor->world;
	struct buf chunk = { 0 };
	uint64_t bytes_max = 1 + world_below(w, 16 * KIB);
	for (; x->cursor <= x->index && chunk.n < bytes_max; x->cursor++) {
		const struct model_entry *e = m->truth.at[x->cursor];
		bool is_dead = e->kind == ENTRY_COMMAND && machine_is_dead(&x->machine, e->seq_before, e->seq_last);
		if (x->cursor >= x->from || !is_dead) peer_entry(x, e, &chunk);
	}
	if (x->cursor > x->index) x->stage = STAGE_COMMIT;
	x->is_bad_chunk = chunk.n && world_chance(w, 2);
	uint64_t bad_at = x->is_bad_chunk ? world_below(w, chunk.n) : 0;
	if (x->is_bad_chunk) chunk.p[bad_at] ^= (uint8_t)(1U << world_below(w, 8));
	log_install_entries(x->log, buf_slice(&chunk), &x->req);
	buf_deinit(&chunk);
}

static void send_commit(struct refill *x)
{
	struct owner *o = x->owner;
	struct model_group *m = owner_model(o);
	struct buf conf = { 0 };
	uint64_t conf_index = x->machine.conf_index, term = m->truth.at[x->index]->term;
	if (conf_index)
		model_body(m->truth.at[conf_index], &conf);
	else
		buf_append_slice(&conf, buf_slice(&o->actor->world->conf_first[o->at]));
	model_view_copy(&x->before, &m->now);
	(void)actor_op(o, (struct model_op) { .kind = OP_INSTALL, .index = x->index });
	m->commit_told = u64_max(m->commit_told, x->index);
	o->is_frozen = true;
	log_install_commit(x->log, x->index, term, buf_slice(&conf), conf_index, x->from, &x->req);
	buf_deinit(&conf);
}

/* It counts: the group is what the peer has. */
static void refill_counts(struct refill *x, bool has_state)
{
	struct owner *o = x->owner;
	struct model_group *m = owner_model(o);
	struct world *w = o->actor->world;
	struct model_op *op = &m->ops[m->ops_count - 1];
	struct log_group_info i;
	ASSERT(op->kind == OP_INSTALL && !op->is_acked);
	op->is_acked = true;
	w->acked_op = u64_max(w->acked_op, op->id);
	log_group_info(o->g, &i);
	uint64_t state_index = has_state ? x->index : 0;
	if (i.last_index != x->index || i.state_index != state_index || i.generation <= m->generation)
		accuse(w, VERDICT_WRONG,
			"group %u: an install of index %llu left last index %llu, state %llu, generation %llu", o->at,
			(unsigned long long)x->index, (unsigned long long)i.last_index,
			(unsigned long long)i.state_index, (unsigned long long)i.generation);
	m->generation = i.generation;
	m->commit_now = u64_max(m->commit_now, x->index);
	m->settled_state = x->index;
	m->lost_from = m->lost_to = 0;
	machine_copy(&o->machine, &x->machine);
	o->confirmed = x->index;
	o->is_lost = o->is_frozen = false;
	o->needs_term = true;
	world_count(w, "log install done");
}

/* It never began to count: what was told of it is taken back. */
static void refill_does_not_count(struct refill *x)
{
	struct owner *o = x->owner;
	struct model_group *m = owner_model(o);
	if (!o->is_frozen) return;
	ASSERT(m->ops[m->ops_count - 1].kind == OP_INSTALL);
	m->ops_count--;
	model_view_copy(&m->now, &x->before);
	o->is_frozen = false;
}

static void refill_sent(struct log_install_req *req)
{
	struct refill *x = CONTAINER_OF(req, struct refill, req);
	struct owner *o = x->owner;
	struct world *w = o->actor->world;
	x->is_busy = false;
	o->actor->last_progress_ns = sim_now_ns(w->sim);
	bool is_rotten = req->result == ERR_CORRUPT && o->is_frozen && damage_excuses(w, o->at);
	if ((req->result == OK || is_rotten) && !x->is_bad_chunk && o->is_frozen) {
		refill_counts(x, !is_rotten);
		/* Its state rotted before it was moved: what counts is a group without a state. */
		if (is_rotten) o->is_lost = w->is_doubted[o->at] = true;
		refill_free(x);
	} else if (req->result == ERR_CLOSED && o->actor->is_closing) {
		/* There was no room to wait for: what is on the disk decides, as after a crash. */
		world_count(w, "log install closed");
		refill_free(x);
	} else if (req->result == OK && !x->is_bad_chunk) {
		if (o->actor->is_closing || !o->g || world_chance(w, 2))
			refill_abort(x);
		else if (w->is_draining || !world_chance(w, 20))
			refill_step(x);
	} else {
		bool is_fair = req->result == ERR_NO_SPACE && world_disk_is_low(w);
		if (!o->g || (req->result == ERR_IO && w->damage.may_die)) is_fair = true;
		if (x->is_bad_chunk && req->result == ERR_CORRUPT) is_fair = true;
		if (!is_fair)
			accuse(w, VERDICT_WRONG, "group %u: an install ended with %s", o->at, err_text(req->result));
		world_count(w, x->is_bad_chunk ? "log install bad chunk" : "log install failed");
		refill_does_not_count(x);
		refill_free(x);
	}
}

static void refill_step(struct refill *x)
{
	struct owner *o = x->owner;
	struct model_group *m = owner_model(o);
	/* Meanwhile more was committed than the peer had. */
	if (x->stage == STAGE_COMMIT && (x->index < m->commit_now || x->index < m->truth.last || o->is_applying)) {
		refill_abort(x);
		return;
	}
	/* A leader's term is recorded before what it sends. */
	if (x->stage == STAGE_COMMIT && m->now.term < m->truth.at[x->index]->term && !owner_new_term(o)) {
		refill_abort(x);
		return;
	}
	x->is_busy = true;
	x->req = (struct log_install_req) { .done = refill_sent };
	if (x->stage == STAGE_STATE)
		send_state(x);
	else if (x->stage == STAGE_ENTRIES)
		send_entries(x);
	else
		send_commit(x);
}

bool refill_start(struct owner *o)
{
	struct world *w = o->actor->world;
	struct model_group *m = owner_model(o);
	if (!o->g || m->gone_op || o->is_frozen) return false;
	if (o->refill) {
		if (o->refill->is_busy) return false;
		refill_step(o->refill);
		return true;
	}
	struct log_install *begun;
	if (log_install_begin(o->g, &begun) != OK) return false;
	struct refill *x = NEW(struct refill);
	x->owner = o;
	x->log = begun;
	o->refill = x;
	peer_goes_on(o);
	x->index = m->truth.last;
	ASSERT(x->index >= m->commit_now);
	x->from = x->index + 1 - world_below(w, u64_min(x->index, 40) + 1);
	machine_run(&x->machine, &m->truth, x->index);
	x->cursor = 1;
	world_count(w, "log install begun");
	refill_step(x);
	return true;
}
