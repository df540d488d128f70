/* SPDX-License-Identifier: Apache-2.0 */
/* log_raft — the raft group below an owner, as a leader's word would move it: it appends, commits, votes, truncates, trims, and ends doubt. */
#include "log_sim.h"

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

bool owner_append_truth(struct owner *o)
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

bool owner_follows_truth(struct owner *o)
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

bool act_append(struct owner *o)
{
	struct model_group *m = owner_model(o);
	struct world *w = o->actor->world;
	if (!owner_is_usable(o) || !owner_follows_truth(o)) return false;
	if (m->now.log.last < m->truth.last) return owner_append_truth(o);
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

bool act_commit(struct owner *o)
{
	struct model_group *m = owner_model(o);
	if (!owner_is_usable(o) || o->is_stalled || m->now.log.last < m->truth.last || !owner_follows_truth(o))
		return false;
	if (m->commit_now >= m->now.log.last) return false;
	uint64_t index = m->commit_now + 1 + world_below(o->actor->world, m->now.log.last - m->commit_now);
	model_commit(m, index);
	m->commit_now = index;
	m->commit_told = u64_max(m->commit_told, index);
	log_commit(o->g, index);
	return true;
}

bool act_apply(struct owner *o)
{
	struct model_group *m = owner_model(o);
	if (!owner_is_usable(o) || o->machine.index >= m->commit_now) return false;
	owner_apply(o, o->machine.index + 1 + world_below(o->actor->world, m->commit_now - o->machine.index));
	return true;
}

bool act_vote(struct owner *o) { return owner_is_usable(o) && owner_new_term(o); }

bool act_truncate(struct owner *o)
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

bool act_trim(struct owner *o)
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

bool act_stall(struct owner *o)
{
	o->is_stalled = !o->is_stalled && world_chance(o->actor->world, 30);
	return true;
}

/* ---- doubt ends ---- */

/* As a leader would: what contradicts it goes, what is missing comes, and the vote for it is recorded with the end of the doubt. */
bool owner_heal(struct owner *o)
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
	while (m->now.log.last < m->truth.last && has_room) has_room = owner_append_truth(o);
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

bool act_heal(struct owner *o) { return o->actor->world->is_doubted[o->at] && owner_heal(o); }
