/* SPDX-License-Identifier: Apache-2.0 */
/* log_actor — the software of a simulated machine: a log, an owner with a little machine for each of its groups, and a timer that does
 * something at random every now and then. It plays both sides that the log stands between: the raft group (it appends, commits,
 * truncates, votes, ends doubt, as a leader's word would) and the stream above it (it applies, captures, says what is dead, reads).
 *
 * Whatever it tells the log it tells the model first; whatever the log tells it goes to the oracle. */
#include <stdio.h>

#include "log_sim.h"

/* ---- requests ---- */

struct actor_req {
	struct log_req req;
	struct list link;
	struct actor *actor;
	uint64_t number, op_id;
};

static void req_done(struct log_req *req)
{
	struct actor_req *r = CONTAINER_OF(req, struct actor_req, req);
	struct actor *a = r->actor;
	struct world *w = a->world;
	if (r->number != a->req_expected)
		accuse(w, VERDICT_WRONG, "request %llu was answered, but %llu was submitted before it",
			(unsigned long long)r->number, (unsigned long long)a->req_expected);
	a->req_expected = r->number + 1;
	w->acked_op = u64_max(w->acked_op, r->op_id);
	a->last_progress_ns = sim_now_ns(w->sim);
	list_remove(&r->link);
	mem_free(r);
}

struct log_req *actor_req(struct actor *a)
{
	struct actor_req *r = NEW(struct actor_req);
	r->req.done = req_done;
	r->actor = a;
	r->number = a->req_next++;
	r->op_id = a->world->op_id;
	list_push_back(&a->reqs, &r->link);
	return &r->req;
}

struct model_op *actor_op(struct owner *o, struct model_op op)
{
	op.id = ++o->actor->world->op_id;
	return model_op_add(owner_model(o), op);
}

/* ---- the owner's side of the log ---- */

static bool owner_entry_is_dead(void *owner, const struct entry_head *h, uint64_t seq_before)
{
	struct owner *o = owner;
	struct world *w = o->actor->world;
	const struct model_entry *e = model_log_at(&owner_model(o)->truth, h->index);
	if (h->index > o->machine.index || h->kind != ENTRY_COMMAND || !e)
		accuse(w, VERDICT_WRONG, "group %u was asked whether index %llu is dead, which it has not applied",
			o->at, (unsigned long long)h->index);
	else if (h->seq_last != e->seq_last || seq_before > e->seq_before || h->term != e->term)
		accuse(w, VERDICT_WRONG, "group %u was asked about index %llu with another entry's head", o->at,
			(unsigned long long)h->index);
	return e && machine_is_dead(&o->machine, seq_before, h->seq_last);
}

static void machine_capture_head(const struct machine *m, struct state_batch *batch)
{
	uint8_t head[32];
	le64_put(head, m->index);
	le64_put(head + 8, m->hash);
	le64_put(head + 16, m->purged);
	le64_put(head + 24, m->conf_index);
	state_batch_put(batch, SLICE("h"), slice_of(head, sizeof head));
}

static void machine_capture_word(const struct machine *m, uint64_t word, struct state_batch *batch)
{
	uint8_t key[9] = { 'w' }, value[8];
	for (int i = 0; i < 8; i++) key[1 + i] = (uint8_t)(word >> (56 - 8 * i));
	le64_put(value, m->live[word]);
	if (m->live[word])
		state_batch_put(batch, slice_of(key, sizeof key), slice_of(value, sizeof value));
	else
		state_batch_del(batch, slice_of(key, sizeof key));
}

void machine_capture_all(const struct machine *m, struct state_batch *batch)
{
	machine_capture_head(m, batch);
	for (uint64_t i = 0; i < m->words; i++)
		if (m->live[i]) machine_capture_word(m, i, batch);
}

struct machine_loading {
	struct machine *m;
	uint64_t state_index;
	bool has_head, is_bad;
};

static bool machine_load_row(void *arg, struct slice key, struct slice value)
{
	struct machine_loading *l = arg;
	struct machine *m = l->m;
	if (slice_eq_str(key, "h") && value.n == 32) {
		m->index = le64_get(value.p);
		m->hash = le64_get(value.p + 8);
		m->purged = le64_get(value.p + 16);
		m->conf_index = le64_get(value.p + 24);
		l->has_head = true;
	} else if (key.n == 9 && key.p[0] == 'w' && value.n == 8) {
		uint64_t word = 0;
		for (int i = 0; i < 8; i++) word = word << 8 | key.p[1 + i];
		if (word > 1 << 20) return !(l->is_bad = true);
		machine_set_word(m, word, le64_get(value.p), l->state_index);
	} else {
		l->is_bad = true;
	}
	return !l->is_bad;
}

bool machine_load(struct machine *m, struct state *s, uint64_t group, uint64_t state_index)
{
	struct machine_loading l = { .m = m, .state_index = state_index };
	machine_deinit(m);
	if (state_group_each(s, group, SLICE_NULL, SLICE_NULL, machine_load_row, &l) != OK) return false;
	if (!l.has_head) return state_index == 0 && m->words == 0;
	return !l.is_bad && m->index == state_index;
}

static void owner_capture(void *owner, struct state_batch *batch)
{
	struct owner *o = owner;
	const struct machine *m = &o->machine;
	if (o->is_lost) return;
	machine_capture_head(m, batch);
	for (uint64_t i = 0; i < m->words; i++)
		if (m->changed_at[i] > o->confirmed) machine_capture_word(m, i, batch);
}

static void owner_settled(void *owner, uint64_t index)
{
	struct owner *o = owner;
	if (index > o->machine.index && !o->is_lost)
		accuse(o->actor->world, VERDICT_WRONG, "group %u: a state of index %llu was settled that never was",
			o->at, (unsigned long long)index);
	o->confirmed = u64_max(o->confirmed, index);
	owner_model(o)->settled_state = u64_max(owner_model(o)->settled_state, index);
	o->actor->last_progress_ns = sim_now_ns(o->actor->world->sim);
}

static unsigned owner_live_permille(void *owner, uint64_t first, uint64_t last)
{
	const struct owner *o = owner;
	const struct model_log *truth = &owner_model(o)->truth;
	uint64_t all = 1, live = 0;
	for (uint64_t i = first; i <= last && i <= truth->last; i++) {
		const struct model_entry *e = truth->at[i];
		uint64_t bytes = entry_bytes(e->body_bytes);
		all += bytes;
		if (e->kind != ENTRY_COMMAND || !machine_is_dead(&o->machine, e->seq_before, e->seq_last))
			live += bytes;
	}
	return (unsigned)(live * 1000 / all);
}

static void owner_doubted(void *owner) { oracle_doubted(owner, "while running"); }

const struct log_group_ops owner_ops = {
	.entry_is_dead = owner_entry_is_dead,
	.capture = owner_capture,
	.settled = owner_settled,
	.live_permille = owner_live_permille,
	.doubted = owner_doubted,
};

/* ---- applying ---- */

static void apply_told(struct owner *o)
{
	struct model_group *m = owner_model(o);
	uint64_t index = o->machine.index;
	struct buf conf = { 0 };
	if (o->machine.conf_index) model_body(m->truth.at[o->machine.conf_index], &conf);
	log_applied(o->g, index, model_log_term(&m->truth, index), conf.n ? buf_slice(&conf) : SLICE_NULL,
		o->machine.conf_index);
	buf_deinit(&conf);
}

/* The next entry of the machine, as the log gave it. */
static bool apply_one(struct owner *o, struct slice *in, const char *where)
{
	struct entry_head h;
	struct slice body;
	if (entry_next(in, &h, &body) != OK) {
		accuse(o->actor->world, VERDICT_WRONG, "group %u: %s gave bytes that are no entry", o->at, where);
		return false;
	}
	oracle_entry(o, &h, body, where);
	const struct model_entry *e = model_log_at(&owner_model(o)->truth, h.index);
	if (!e || h.index != o->machine.index + 1) {
		accuse(o->actor->world, VERDICT_WRONG, "group %u: %s gave index %llu instead of %llu", o->at, where,
			(unsigned long long)h.index, (unsigned long long)o->machine.index + 1);
		return false;
	}
	machine_apply(&o->machine, e);
	return true;
}

static void apply_read_done(struct log_read_req *r)
{
	struct owner *o = CONTAINER_OF(r, struct owner, apply);
	struct actor *a = o->actor;
	struct slice in = buf_slice(&r->entries);
	o->is_applying = false;
	bool is_mine = o->g && !o->is_frozen && !o->is_lost && r->from == o->machine.index + 1;
	if (r->result == OK && is_mine) {
		uint64_t to = u64_min(r->to, owner_model(o)->commit_now);
		while (in.n && o->machine.index < to && apply_one(o, &in, "log_read")) continue;
		apply_told(o);
	} else if (r->result == ERR_CORRUPT && o->g) {
		oracle_doubted(o, "in a read for the machine");
	} else if (is_mine && !damage_excuses(a->world, o->at)) {
		accuse(a->world, VERDICT_LOST, "group %u: index %llu is committed and a read says %s", o->at,
			(unsigned long long)r->from, err_text(r->result));
	}
	buf_deinit(&r->entries);
}

void owner_apply(struct owner *o, uint64_t to)
{
	struct model_group *m = owner_model(o);
	struct world *w = o->actor->world;
	if (o->is_applying || o->is_frozen || o->is_lost) return;
	to = u64_min(to, m->commit_now);
	uint64_t before = o->machine.index;
	while (o->machine.index < to) {
		struct slice entry;
		enum err e = log_view(o->g, o->machine.index + 1, &entry);
		if (e == OK && apply_one(o, &entry, "log_view")) continue;
		if (e == ERR_AGAIN) {
			o->apply = (struct log_read_req) { .done = apply_read_done,
				.from = o->machine.index + 1,
				.to = to,
				.bytes_max = 1 + world_below(w, 64 * KIB) };
			o->is_applying = true;
			log_read(o->g, &o->apply);
			world_count(w, "log apply by read");
		} else if (!damage_excuses(w, o->at)) {
			accuse(w, VERDICT_LOST, "group %u: index %llu is committed and log_view says %s", o->at,
				(unsigned long long)o->machine.index + 1, err_text(e));
		}
		break;
	}
	if (o->machine.index > before) apply_told(o);
}

/* ---- what raft does ---- */

bool owner_admits(struct owner *o, enum log_admission what, uint64_t bytes)
{
	struct world *w = o->actor->world;
	const struct log *l = o->actor->log;
	enum err e = o->g ? log_group_admit(o->g, what, bytes) : log_admit(l, what, bytes);
	if (e != OK)
		note(w, "not admitted: %s, %llu bytes; uses %llu..%llu, next at %llu, held %llu, floating %llu",
			err_name(e), (unsigned long long)bytes, (unsigned long long)l->journal.oldest_use,
			(unsigned long long)l->journal.use, (unsigned long long)l->journal.next_at,
			(unsigned long long)l->settle.held_use, (unsigned long long)l->floating_bytes);
	if (e == ERR_FULL) world_count(w, what == LOG_ADMIT_RESERVED ? "log reserve refused" : "log ring full");
	if (e == ERR_NO_SPACE) {
		world_count(w, what == LOG_ADMIT_FREES ? "log no space frees" : "log no space");
		/* S16: between the marks what frees space passes. */
		if (what == LOG_ADMIT_FREES && l->space.free_bytes >= w->log.space_none_bytes + l->refs_bytes + bytes)
			accuse(w, VERDICT_WEDGE, "what frees space is refused, and there is enough for it");
		if (!world_disk_is_low(w))
			accuse(w, VERDICT_WEDGE, "an append is refused for lack of space, and there is enough");
	}
	return e == OK;
}

bool owner_new_term(struct owner *o)
{
	struct model_group *m = owner_model(o);
	if (!owner_admits(o, LOG_ADMIT_RESERVED, ENTRY_HEAD_BYTES)) return false;
	uint64_t term = u64_max(m->term_max, m->now.term) + 1, vote = 1 + world_below(o->actor->world, 5);
	(void)actor_op(o, (struct model_op) { .kind = OP_VOTE, .term = term, .vote = vote });
	log_vote(o->g, term, vote, actor_req(o->actor));
	o->needs_term = false;
	return true;
}

void owner_append(struct owner *o, struct model_entry *const *entries, unsigned count)
{
	struct model_group *m = owner_model(o);
	struct log_entry in[16];
	struct buf bodies[16] = { 0 };
	ASSERT(count <= COUNT_OF(in));
	for (unsigned i = 0; i < count; i++) {
		model_body(entries[i], &bodies[i]);
		in[i] = (struct log_entry) {
			.kind = entries[i]->kind, .term = entries[i]->term, .body = buf_slice(&bodies[i])
		};
		(void)actor_op(o, (struct model_op) { .kind = OP_APPEND,
					  .entry = entries[i],
					  .commit = u64_min(m->commit_now, m->now.log.last) });
	}
	bool waits = world_chance(o->actor->world, 85);
	log_append(o->g, waits ? actor_req(o->actor) : NULL, in, count);
	for (unsigned i = 0; i < count; i++) buf_deinit(&bodies[i]);
}

static bool owner_is_usable(const struct owner *o)
{
	return o->g && !o->is_frozen && !o->actor->world->is_doubted[o->at] && !o->is_lost;
}

/* Uncommitted entries that do not fit beside others': raft bounds them. */
static bool owner_floats_much(const struct owner *o)
{
	const struct model_group *m = owner_model(o);
	uint64_t bytes = 0;
	for (uint64_t i = o->machine.index + 1; i <= m->now.log.last; i++)
		bytes += entry_bytes(m->now.log.at[i]->body_bytes);
	return bytes > o->actor->world->log.slot_bytes / 4;
}

/* What a leader has and the log lacks: a crash took it before it was durable. */
static bool append_truth(struct owner *o)
{
	struct model_group *m = owner_model(o);
	struct model_entry *entries[8];
	uint64_t bytes = 0;
	unsigned count = 0;
	for (uint64_t i = m->now.log.last + 1; i <= m->truth.last && count < COUNT_OF(entries); i++) {
		uint64_t n = entry_bytes(m->truth.at[i]->body_bytes);
		if (count && bytes + n > o->actor->world->log.entry_bytes_max) break;
		bytes += n;
		entries[count++] = m->truth.at[i];
	}
	if (!owner_admits(o, LOG_ADMIT_GROWS, bytes)) return false;
	if (m->now.term < entries[count - 1]->term && !owner_new_term(o)) return false;
	world_count(o->actor->world, "log append again");
	owner_append(o, entries, count);
	return true;
}

/* An uncommitted suffix that a leader does not have goes first. False when it had to. */
static bool follows_truth(struct owner *o)
{
	struct model_group *m = owner_model(o);
	uint64_t from = m->commit_now + 1, last = u64_min(m->now.log.last, m->truth.last);
	while (from <= last && m->now.log.at[from] == m->truth.at[from]) from++;
	if (from > last) return true;
	if (!owner_admits(o, LOG_ADMIT_RESERVED, ENTRY_HEAD_BYTES)) return false;
	(void)actor_op(o, (struct model_op) { .kind = OP_TRUNCATE, .index = from });
	ends_truncate(o, from);
	log_truncate(o->g, from);
	o->needs_term = true;
	return false;
}

static bool act_append(struct owner *o)
{
	struct model_group *m = owner_model(o);
	struct world *w = o->actor->world;
	if (!owner_is_usable(o) || !follows_truth(o)) return false;
	if (m->now.log.last < m->truth.last) return append_truth(o);
	if ((o->needs_term || m->now.term == 0 || world_chance(w, 2)) && !owner_new_term(o)) return false;
	if (owner_floats_much(o)) return false;
	struct model_entry *entries[4];
	unsigned count = 1 + (unsigned)world_below(w, COUNT_OF(entries));
	bool is_reserved = world_chance(w, 6);
	uint32_t body_max = world_chance(w, 10) ? w->body_max : (uint32_t)u64_min(w->body_max, 1200);
	uint64_t bytes = is_reserved ? 256 : (uint64_t)count * (body_max + ENTRY_HEAD_BYTES + 16);
	enum log_admission what = is_reserved           ? LOG_ADMIT_RESERVED
				  : world_chance(w, 10) ? LOG_ADMIT_FREES
							: LOG_ADMIT_GROWS;
	if (!owner_admits(o, what, bytes)) return false;
	if (is_reserved) count = 1;
	uint64_t last = m->now.log.last;
	for (unsigned i = 0; i < count; i++) {
		enum entry_kind kind = !is_reserved          ? ENTRY_COMMAND
				       : world_chance(w, 50) ? ENTRY_BARRIER
							     : ENTRY_CHANGE;
		entries[i] = model_entry_draw(m, &m->now.log, &w->rng, kind, m->now.term, body_max);
		model_log_set(&m->now.log, entries[i]); /* the next one follows it */
	}
	m->now.log.last = last;
	owner_append(o, entries, count);
	return true;
}

static bool act_commit(struct owner *o)
{
	struct model_group *m = owner_model(o);
	if (!owner_is_usable(o) || o->is_stalled || m->now.log.last < m->truth.last || !follows_truth(o)) return false;
	if (m->commit_now >= m->now.log.last) return false;
	uint64_t index = m->commit_now + 1 + world_below(o->actor->world, m->now.log.last - m->commit_now);
	model_commit(m, index);
	m->commit_now = index;
	m->commit_told = u64_max(m->commit_told, index);
	log_commit(o->g, index);
	return true;
}

static bool act_apply(struct owner *o)
{
	struct model_group *m = owner_model(o);
	if (!owner_is_usable(o) || o->machine.index >= m->commit_now) return false;
	owner_apply(o, o->machine.index + 1 + world_below(o->actor->world, m->commit_now - o->machine.index));
	return true;
}

static bool act_vote(struct owner *o) { return owner_is_usable(o) && owner_new_term(o); }

static bool act_truncate(struct owner *o)
{
	struct model_group *m = owner_model(o);
	uint64_t floor = u64_max(m->truth.last, m->commit_now);
	if (!owner_is_usable(o) || m->now.log.last <= floor) return false;
	if (!owner_admits(o, LOG_ADMIT_RESERVED, ENTRY_HEAD_BYTES)) return false;
	uint64_t from = floor + 1 + world_below(o->actor->world, m->now.log.last - floor);
	(void)actor_op(o, (struct model_op) { .kind = OP_TRUNCATE, .index = from });
	ends_truncate(o, from);
	log_truncate(o->g, from);
	o->needs_term = true;
	world_count(o->actor->world, "log truncate");
	return true;
}

static bool act_trim(struct owner *o)
{
	struct model_group *m = owner_model(o);
	struct log_group_info i;
	if (!owner_is_usable(o) || o->machine.index == 0) return false;
	log_group_info(o->g, &i);
	uint64_t low = u64_min(i.first_index, o->machine.index);
	uint64_t index = low + world_below(o->actor->world, o->machine.index + 2 - low);
	m->trim_told = u64_max(m->trim_told, index);
	log_trim(o->g, index);
	return true;
}

static bool act_stall(struct owner *o)
{
	o->is_stalled = !o->is_stalled && world_chance(o->actor->world, 30);
	return true;
}

/* ---- groups come and go ---- */

static unsigned groups_live(const struct actor *a)
{
	unsigned n = 0;
	for (unsigned i = 0; i < a->world->groups_count; i++) n += a->owners[i].g != NULL;
	return n;
}

static bool act_make(struct owner *unused)
{
	struct actor *a = unused->actor;
	struct world *w = a->world;
	if (w->groups_count == WORLD_GROUPS_MAX || groups_live(a) >= w->groups_live) return false;
	if (log_lacks_groups(a->log)) return false; /* first what is missing */
	unsigned at = w->groups_count;
	struct owner *o = &a->owners[at];
	struct model_group *m = &w->groups[at];
	uint64_t step = world_below(w, 3);
	uint64_t id = (at ? w->groups[at - 1].id : 0) + 1 + step * world_below(w, 1000);
	struct buf conf = { 0 };
	buf_printf(&conf, "first configuration of %llu", (unsigned long long)id);
	struct log_group *g;
	/* The op's number is taken before the request, which stands for all up to it. */
	uint64_t op_id = w->op_id + 1;
	struct log_req *req;
	enum err e = log_admit(a->log, LOG_ADMIT_GROWS, entry_bytes(conf.n));
	if (e == OK) {
		w->op_id = op_id;
		req = actor_req(a);
		e = log_group_make(a->log, id, buf_slice(&conf), req, &g);
		if (e != OK) accuse(w, VERDICT_WEDGE, "a group cannot be made: %s", err_text(e));
	}
	if (e == OK) {
		w->groups_count++;
		model_group_init(m, id);
		(void)model_op_add(m, (struct model_op) { .id = op_id, .kind = OP_MAKE });
		w->conf_first[at] = conf;
		conf = (struct buf) { 0 };
		*o = (struct owner) { .actor = a, .at = at, .g = g };
		log_group_attach(g, &owner_ops, o);
		world_count(w, "log make");
	}
	buf_deinit(&conf);
	return e == OK;
}

static bool act_gone(struct owner *o)
{
	struct world *w = o->actor->world;
	struct model_group *m = owner_model(o);
	if (!o->g || o->is_frozen || (groups_live(o->actor) < 2 && !m->gone_op)) return false;
	if (!owner_admits(o, LOG_ADMIT_RESERVED, ENTRY_HEAD_BYTES)) return false;
	(void)actor_op(o, (struct model_op) { .kind = OP_GONE });
	m->gone_op = w->op_id;
	if (o->refill) refill_wake(o);
	struct log_group *g = o->g;
	o->g = NULL; /* a doubt stays noted: without its GONE the group comes back as it was */
	log_group_gone(g, actor_req(o->actor));
	world_count(w, "log gone");
	return true;
}

/* ---- doubt ends ---- */

/* As a leader would: what contradicts it goes, what is missing comes, and the vote for it is recorded with the end of the doubt. */
static bool heal(struct owner *o)
{
	struct model_group *m = owner_model(o);
	struct world *w = o->actor->world;
	struct log_group_info i;
	if (!o->g || o->is_frozen) return false;
	if (m->gone_op) return act_gone(o);
	log_group_info(o->g, &i);
	/* What the machine still needs comes with an install only: as raft does it (refill_needed), the doubt waits for that. */
	bool is_needed = i.damaged_from && i.damaged_to > o->machine.index;
	if (o->is_lost || is_needed || (i.damaged_from && world_chance(w, 75))) {
		bool has_begun = refill_start(o);
		if (!has_begun) note(w, "heal group %u: no install can begin", o->at);
		return has_begun;
	}
	uint64_t from = m->commit_now + 1;
	while (from <= m->now.log.last && from <= m->truth.last && m->now.log.at[from] == m->truth.at[from]) from++;
	if (from <= m->now.log.last && from > i.last_index) from = m->now.log.last + 1;
	if (!owner_admits(o, LOG_ADMIT_RESERVED, 4 * ENTRY_HEAD_BYTES)) {
		note(w, "heal group %u: the reserve has no room", o->at);
		return false;
	}
	if (from <= m->now.log.last) {
		(void)actor_op(o, (struct model_op) { .kind = OP_TRUNCATE, .index = from });
		ends_truncate(o, from);
		log_truncate(o->g, from);
	}
	bool has_room = true;
	while (m->now.log.last < m->truth.last && has_room) has_room = append_truth(o);
	/* What the leader has committed is applied meanwhile, or it could never settle. */
	uint64_t commit = u64_min(m->now.log.last, m->truth.last);
	if (commit > m->commit_now) {
		m->commit_now = commit;
		m->commit_told = u64_max(m->commit_told, commit);
		log_commit(o->g, commit);
	}
	owner_apply(o, m->commit_now);
	if (!has_room) {
		note(w, "heal group %u: the ring has no room", o->at);
		return false;
	}
	uint64_t term = u64_max(m->term_max, m->now.term) + 1;
	(void)actor_op(o, (struct model_op) { .kind = OP_DOUBT_END, .term = term, .vote = 2 });
	log_doubt_end(o->g, term, 2, actor_req(o->actor));
	if (i.damaged_from) {
		m->lost_from = m->lost_from ? u64_min(m->lost_from, i.damaged_from) : i.damaged_from;
		m->lost_to = u64_max(m->lost_to, i.damaged_to);
	}
	w->is_doubted[o->at] = w->doubt_is_durable[o->at] = false;
	o->needs_term = true;
	world_count(w, "log doubt left");
	return true;
}

static bool act_heal(struct owner *o) { return o->actor->world->is_doubted[o->at] && heal(o); }

/* ---- the process as a whole ---- */

struct settle_wait {
	struct log_req req;
	struct list link;
	struct actor *actor;
};

static void settle_waited(struct log_req *req)
{
	struct settle_wait *x = CONTAINER_OF(req, struct settle_wait, req);
	x->actor->last_progress_ns = sim_now_ns(x->actor->world->sim);
	list_remove(&x->link);
	mem_free(x);
}

static bool act_settle(struct owner *unused)
{
	struct actor *a = unused->actor;
	struct settle_wait *x = NEW(struct settle_wait);
	x->req.done = settle_waited;
	x->actor = a;
	list_push_back(&a->settles, &x->link);
	log_settle_now(a->log, &x->req);
	return true;
}

static enum sim_crash crash_kind(struct world *w) { return world_chance(w, 50) ? SIM_KILL : SIM_POWER; }

static bool act_crash(struct owner *unused)
{
	struct world *w = unused->actor->world;
	sim_node_crash(w->node, crash_kind(w));
	return true;
}

static bool act_crash_later(struct owner *unused)
{
	struct world *w = unused->actor->world;
	uint64_t calls = 1 + world_below(w, 120);
	sim_disk_crash_at(w->node, calls, SIM_SOMETIME, crash_kind(w));
	return true;
}

/* Between any two steps of the round that is under way, or while the next one asks, if it does that in slices. */
static bool act_crash_in_round(struct owner *unused)
{
	struct actor *a = unused->actor;
	struct world *w = a->world;
	if (a->log->settle.phase == ROUND_IDLE) return a->dies_asking = world_chance(w, 40);
	uint64_t calls = 1 + world_below(w, 8);
	sim_disk_crash_at(w->node, calls, SIM_SOMETIME, crash_kind(w));
	return true;
}

static void actor_closed(void *arg)
{
	struct actor *a = arg;
	struct world *w = a->world;
	if (!list_is_empty(&a->reqs) || !list_is_empty(&a->reads) || !list_is_empty(&a->settles))
		accuse(w, VERDICT_WEDGE, "the log is closed, and requests were not answered");
	a->is_over = true;
	w->is_clean = true;
	w->acked_op = w->op_id;
	world_count(w, "log closed");
	sim_node_crash(w->node, crash_kind(w));
}

static void actor_close(struct actor *a)
{
	a->is_closing = true;
	for (unsigned i = 0; i < a->world->groups_count; i++)
		if (a->owners[i].refill) refill_wake(&a->owners[i]);
	log_close(a->log, actor_closed, a);
}

static bool act_close(struct owner *unused)
{
	actor_close(unused->actor);
	return true;
}

static bool act_idle(struct owner *unused)
{
	struct actor *a = unused->actor;
	a->idle_ns = MILLIS(20 + world_below(a->world, 200));
	return true;
}

static bool act_damage(struct owner *unused)
{
	damage_running(unused->actor);
	return true;
}

/* ---- one thing after the other ---- */

static const struct act {
	const char *name;
	unsigned weight;
	bool is_of_group;
	bool (*act)(struct owner *o); /* false: not possible now */
} acts[] = {
	{ "append", 420, true, act_append },
	{ "commit", 170, true, act_commit },
	{ "apply", 150, true, act_apply },
	{ "vote", 30, true, act_vote },
	{ "truncate", 25, true, act_truncate },
	{ "trim", 12, true, act_trim },
	{ "stall", 12, true, act_stall },
	{ "read", 60, true, act_read },
	{ "view", 30, true, act_view },
	{ "heal", 60, true, act_heal },
	{ "install", 8, true, refill_start },
	{ "make", 12, false, act_make },
	{ "gone", 5, true, act_gone },
	{ "settle", 18, false, act_settle },
	{ "idle", 10, false, act_idle },
	{ "close", 3, false, act_close },
	{ "crash", 9, false, act_crash },
	{ "crash later", 16, false, act_crash_later },
	{ "crash in a round", 8, false, act_crash_in_round },
	{ "damage", 14, false, act_damage },
};

/* The catalogue's part: what the oracle has made again was all that was missing. */
static void actor_complete(struct actor *a)
{
	if (!log_lacks_groups(a->log) || world_chance(a->world, 90)) return;
	if (log_admit(a->log, LOG_ADMIT_RESERVED, ENTRY_HEAD_BYTES) != OK) return;
	a->world->op_id++;
	log_groups_complete(a->log, actor_req(a));
	world_count(a->world, "log groups complete");
}

static struct owner *owner_draw(struct actor *a)
{
	unsigned live = groups_live(a);
	if (live == 0) return NULL;
	uint64_t n = world_below(a->world, live);
	for (unsigned i = 0;; i++)
		if (a->owners[i].g && n-- == 0) return &a->owners[i];
}

static void actor_act(struct actor *a)
{
	struct world *w = a->world;
	unsigned all = 0;
	for (size_t i = 0; i < COUNT_OF(acts); i++) all += acts[i].weight;
	uint64_t n = world_below(w, all);
	size_t at = 0;
	while (n >= acts[at].weight) n -= acts[at++].weight;
	struct owner *o = acts[at].is_of_group ? owner_draw(a) : &a->owners[0];
	if (!o) {
		(void)act_make(&a->owners[0]);
		return;
	}
	bool done = acts[at].act(o);
	note(w, "op %u %s group %u%s", w->ops_done, acts[at].name, o->at, done ? "" : ": not now");
}

/* ---- the end of a history: everything becomes whole, or the log is wedged ---- */

static bool drain_owner(struct owner *o)
{
	struct model_group *m = owner_model(o);
	struct world *w = o->actor->world;
	if (!o->g) return true;
	if (o->refill) (void)refill_start(o);
	if (o->refill || o->is_frozen || o->is_applying) return false;
	if (w->is_doubted[o->at]) {
		(void)heal(o);
		return false;
	}
	o->is_stalled = false;
	if (!follows_truth(o)) return false;
	if (m->now.log.last < m->truth.last) {
		/* What is here and committed is told as such meanwhile, as any leader would. */
		if (!append_truth(o) && m->commit_now < m->now.log.last) {
			m->commit_now = m->now.log.last;
			m->commit_told = u64_max(m->commit_told, m->commit_now);
			log_commit(o->g, m->commit_now);
		}
		if (m->commit_now > o->machine.index) owner_apply(o, m->commit_now);
		return false;
	}
	if (m->commit_now < m->now.log.last) {
		(void)act_commit(o);
		return false;
	}
	if (o->machine.index < m->commit_now) {
		owner_apply(o, m->commit_now);
		return false;
	}
	return true;
}

static void actor_drain(struct actor *a)
{
	struct world *w = a->world;
	bool is_whole = true;
	for (unsigned i = 0; i < w->groups_count; i++) is_whole &= drain_owner(&a->owners[i]);
	if (!is_whole) return;
	/* The ring has room again, and what is asked for is answered. */
	if (log_admit(a->log, LOG_ADMIT_GROWS, w->body_max) != OK) return;
	if (a->drained++ < 3) {
		(void)act_settle(&a->owners[0]);
		for (unsigned i = 0; i < w->groups_count; i++)
			if (a->owners[i].g) (void)act_append(&a->owners[i]);
		return;
	}
	if (list_is_empty(&a->settles)) actor_close(a);
}

static void actor_tick(struct io_timer *t)
{
	struct actor *a = CONTAINER_OF(t, struct actor, tick);
	struct world *w = a->world;
	if (a->is_closing || a->is_over) return;
	a->idle_ns = 0;
	if (!w->is_draining && w->ops_done >= w->options.ops) {
		w->is_draining = true;
		damage_all_well(w);
	}
	actor_complete(a);
	if (w->is_draining) {
		actor_drain(a);
	} else {
		w->ops_done++;
		actor_act(a);
	}
	if (sim_node_state(w->node) != SIM_UP || a->is_closing) return;
	uint64_t delay = w->is_draining ? MILLIS(5) : world_chance(w, 40) ? 0 : world_below(w, MILLIS(1));
	io_timer_start(a->io, &a->tick, u64_max(delay, a->idle_ns));
}

const char *actor_waits_for(const struct actor *a)
{
	const struct world *w = a->world;
	if (!a->log) return "the start";
	if (a->is_closing) return "the log to close";
	for (unsigned i = 0; i < w->groups_count; i++) {
		const struct owner *o = &a->owners[i];
		if (!o->g) continue;
		if (o->refill) return "an install";
		if (w->is_doubted[i]) return "a doubt to end";
		if (o->is_applying) return "a read";
	}
	if (log_admit(a->log, LOG_ADMIT_GROWS, w->body_max) != OK) return "room in the ring";
	if (!list_is_empty(&a->settles)) return "a settle round";
	return "its owners";
}

/* ---- life ---- */

static void actor_line(void *arg, enum diag_level level, const char *line, size_t n)
{
	(void)level;
	note(arg, "%.*s", (int)n, line);
}

static void actor_turn(struct io_turn_hook *h)
{
	struct actor *a = CONTAINER_OF(h, struct actor, hook);
	if (a->is_over) return;
	log_turn_end(a->log);
	struct world *w = a->world;
	if (a->dies_asking && a->log->settle.phase == ROUND_ASK && !w->is_draining)
		sim_node_crash(w->node, crash_kind(w));
}

static void actor_free(struct actor *a)
{
	struct list *node;
	log_free(a->log);
	while ((node = list_pop_front(&a->reqs)) != NULL) mem_free(CONTAINER_OF(node, struct actor_req, link));
	while ((node = list_pop_front(&a->reads)) != NULL) mem_free(CONTAINER_OF(node, struct actor_read, link));
	while ((node = list_pop_front(&a->settles)) != NULL) mem_free(CONTAINER_OF(node, struct settle_wait, link));
	for (unsigned i = 0; i < WORLD_GROUPS_MAX; i++) {
		refill_drop(&a->owners[i]);
		machine_deinit(&a->owners[i].machine);
	}
	diag_deinit(&a->diag);
	a->world->actor = NULL;
	mem_free(a);
}

static enum err actor_start(void *arg, struct sim_node *n, struct io *io, void **software)
{
	struct world *w = arg;
	(void)n;
	struct actor *a = NEW(struct actor);
	a->world = w;
	a->io = io;
	list_init(&a->reqs);
	list_init(&a->reads);
	list_init(&a->settles);
	diag_init(&a->diag, w->options.is_traced ? DIAG_DEBUG : DIAG_ERROR, actor_line, w);
	for (unsigned i = 0; i < WORLD_GROUPS_MAX; i++) {
		a->owners[i].actor = a;
		a->owners[i].at = i;
	}
	if (w->options.bug && diag_fault_set(&a->diag, slice_of_str(w->options.bug), SLICE("always")) != OK)
		UNREACHABLE();
	w->actor = a;
	w->open_why[0] = '\0';
	enum err e = log_open(io, &a->diag, &w->log, &a->log, w->open_why, sizeof w->open_why);
	if (e == OK) ends_start(a);
	if (e == OK && w->is_newer) accuse(w, VERDICT_WRONG, "a store of a higher format level was opened");
	if (e == OK && !oracle_start(a)) e = ERR_CRASHED;
	w->open_error = e;
	if (e != OK) {
		actor_free(a);
		return e;
	}
	a->last_progress_ns = sim_now_ns(w->sim);
	a->hook.turn_end = actor_turn;
	io_turn_hook_add(io, &a->hook);
	a->tick.fire = actor_tick;
	io_timer_start(io, &a->tick, world_below(w, MILLIS(1)));
	*software = a;
	return OK;
}

static void actor_teardown(void *software)
{
	struct actor *a = software;
	struct world *w = a->world;
	ends_count(a);
	static const struct {
		enum counter c;
		const char *name;
	} counts[] = {
		{ COUNTER_log_slots_freed, "log slot recycled" },
		{ COUNTER_log_rounds, "log round" },
		{ COUNTER_log_rounds_failed, "log round given up" },
		{ COUNTER_log_entries_settled, "log entry settled" },
		{ COUNTER_log_entries_dead, "log entry left out" },
		{ COUNTER_log_entries_moved, "log entry moved" },
		{ COUNTER_log_segments_dropped, "log segment dropped" },
		{ COUNTER_log_segments_rewritten, "log segment rewritten" },
		{ COUNTER_log_installs, "log install" },
	};
	for (size_t i = 0; i < COUNT_OF(counts); i++)
		for (uint64_t n = a->diag.counter[counts[i].c]; n; n--) world_count(w, counts[i].name);
	actor_free(a);
}

const struct sim_program actor_program = { actor_start, actor_teardown };
