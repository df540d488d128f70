/* SPDX-License-Identifier: Apache-2.0 */
/* log_owner — the stream above the log, as a group's owner plays it: it applies what is committed, captures its machine, says what is dead. */
#include "log_sim.h"

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

static void owner_capture(void *owner, struct state_batch *batch)
{
	const struct owner *o = owner;
	if (!o->is_lost) machine_capture_changed(&o->machine, o->confirmed, batch);
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
