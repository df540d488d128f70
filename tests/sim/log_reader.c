/* SPDX-License-Identifier: Apache-2.0 */
/* log_reader — the reading half of the actor: views, reads by index and by sequence, each held against the model. */
#include <stdio.h>

#include "log_sim.h"

static uint64_t generation_of(const struct owner *o)
{
	struct log_group_info i;
	log_group_info(o->g, &i);
	return i.generation;
}

/* What a read by index gave: in order, no committed entry missing that may not be. */
static void read_check(struct actor_read *x)
{
	struct owner *o = x->owner;
	struct world *w = o->actor->world;
	struct slice in = buf_slice(&x->r.entries), body;
	struct entry_head h;
	uint64_t next = x->r.from;
	while (in.n) {
		if (entry_next(&in, &h, &body) != OK) {
			accuse(w, VERDICT_WRONG, "group %u: a read gave bytes that are no entry", o->at);
			return;
		}
		oracle_entry(o, &h, body, "log_read");
		if (h.index < next || h.index > x->r.to || (!x->r.holes && h.index != next)) {
			accuse(w, VERDICT_WRONG, "group %u: a read from %llu gave index %llu where %llu was due", o->at,
				(unsigned long long)x->r.from, (unsigned long long)h.index, (unsigned long long)next);
			return;
		}
		for (; next < h.index; next++)
			if (next <= x->commit && !oracle_may_be_missing(o, next))
				accuse(w, VERDICT_LOST, "group %u: a read goes over index %llu, which is alive", o->at,
					(unsigned long long)next);
		next = h.index + 1;
	}
}

/* By sequence: the first entry that reaches it, unless that may be missing. */
static void read_check_seq(struct actor_read *x)
{
	struct owner *o = x->owner;
	struct world *w = o->actor->world;
	struct slice in = buf_slice(&x->r.entries), body;
	struct entry_head h = { 0 };
	const struct model_log *truth = &owner_model(o)->truth;
	if (x->r.result == OK) {
		if (entry_next(&in, &h, &body) != OK || in.n) {
			accuse(w, VERDICT_WRONG, "group %u: a read by sequence gave no entry", o->at);
			return;
		}
		oracle_entry(o, &h, body, "log_read_seq");
		if (h.seq_last < x->seq)
			accuse(w, VERDICT_WRONG, "group %u: a read of sequence %llu gave an entry that ends with %llu",
				o->at, (unsigned long long)x->seq, (unsigned long long)h.seq_last);
	}
	uint64_t before = x->r.result == OK ? h.index : UINT64_MAX;
	for (uint64_t i = 1; i < before && i <= x->commit && i <= truth->last; i++)
		if (truth->at[i]->seq_last >= x->seq && !oracle_may_be_missing(o, i)) {
			accuse(w, VERDICT_LOST, "group %u: a read of sequence %llu missed index %llu", o->at,
				(unsigned long long)x->seq, (unsigned long long)i);
			return;
		}
}

static void read_finished(struct log_read_req *r)
{
	struct actor_read *x = CONTAINER_OF(r, struct actor_read, r);
	struct owner *o = x->owner;
	struct world *w = o->actor->world;
	enum err e = r->result;
	bool is_same = o->g && !o->is_frozen && generation_of(o) == x->generation;
	if (e == ERR_CORRUPT && o->g)
		oracle_doubted(o, "in a read");
	else if (is_same && x->seq && (e == OK || e == ERR_NOT_FOUND))
		read_check_seq(x);
	else if (is_same && !x->seq && e == OK)
		read_check(x);
	else if (is_same && !x->seq && e == ERR_COMPACTED && !x->r.holes && r->from <= x->commit &&
		 !oracle_may_be_missing(o, r->from))
		accuse(w, VERDICT_LOST, "group %u: a read says that index %llu is gone", o->at,
			(unsigned long long)r->from);
	else if (is_same && !x->seq && e == ERR_NOT_FOUND && r->from <= x->commit)
		accuse(w, VERDICT_LOST, "group %u: a read does not find index %llu", o->at,
			(unsigned long long)r->from);
	list_remove(&x->link);
	buf_deinit(&r->entries);
	mem_free(x);
}

bool act_read(struct owner *o)
{
	struct model_group *m = owner_model(o);
	struct world *w = o->actor->world;
	if (!o->g || o->is_frozen || m->now.log.last == 0) return false;
	struct actor_read *x = NEW(struct actor_read);
	uint64_t from = 1 + world_below(w, m->now.log.last + 1);
	x->owner = o;
	x->commit = u64_min(m->commit_now, m->now.log.last);
	x->generation = generation_of(o);
	x->r.done = read_finished;
	x->r.from = from;
	x->r.to = world_chance(w, 50) ? from + world_below(w, 20) : m->now.log.last;
	x->r.bytes_max = 1 + world_below(w, 32 * KIB);
	x->r.holes = world_chance(w, 50);
	list_push_back(&o->actor->reads, &x->link);
	const struct model_entry *last = model_log_at(&m->now.log, m->now.log.last);
	if (world_chance(w, 30) && last->seq_last) {
		x->seq = 1 + world_below(w, last->seq_last);
		log_read_seq(o->g, x->seq, &x->r);
	} else {
		log_read(o->g, &x->r);
	}
	return true;
}

bool act_view(struct owner *o)
{
	struct model_group *m = owner_model(o);
	struct world *w = o->actor->world;
	if (!o->g || o->is_frozen || m->now.log.last == 0) return false;
	uint64_t index = 1 + world_below(w, m->now.log.last + 1);
	struct slice entry, body;
	struct entry_head h;
	enum err e = log_view(o->g, index, &entry);
	if (e == OK && entry_next(&entry, &h, &body) == OK && h.index == index && entry.n == 0)
		oracle_entry(o, &h, body, "log_view");
	else if (e == OK)
		accuse(w, VERDICT_WRONG, "group %u: log_view of index %llu gave something else", o->at,
			(unsigned long long)index);
	else if (e == ERR_NOT_FOUND && index <= m->now.log.last && !damage_excuses(w, o->at))
		accuse(w, VERDICT_LOST, "group %u: log_view does not know index %llu", o->at,
			(unsigned long long)index);
	else if (e == ERR_COMPACTED && !oracle_may_be_missing(o, index))
		accuse(w, VERDICT_LOST, "group %u: log_view says that index %llu is gone", o->at,
			(unsigned long long)index);
	bool is_lost = m->lost_from && index >= m->lost_from && index <= m->lost_to;
	uint64_t term = is_lost ? 0 : log_term_at(o->g, index);
	if (term && index <= m->now.log.last && term != model_log_term(&m->now.log, index) && !damage_excuses(w, o->at))
		accuse(w, VERDICT_WRONG, "group %u: term of index %llu is %llu, not %llu", o->at,
			(unsigned long long)index, (unsigned long long)term,
			(unsigned long long)model_log_term(&m->now.log, index));
	return true;
}
