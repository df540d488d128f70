/* SPDX-License-Identifier: Apache-2.0 */
/* log_catalogue — which groups there are: they are made, they go, and after a loss somebody says when all are there again. */
#include "log_sim.h"

unsigned actor_groups_live(const struct actor *a)
{
	unsigned n = 0;
	for (unsigned i = 0; i < a->world->groups_count; i++) n += a->owners[i].g != NULL;
	return n;
}

bool act_make(struct owner *unused)
{
	struct actor *a = unused->actor;
	struct world *w = a->world;
	if (w->groups_count == WORLD_GROUPS_MAX || actor_groups_live(a) >= w->groups_live) return false;
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

bool act_gone(struct owner *o)
{
	struct world *w = o->actor->world;
	struct model_group *m = owner_model(o);
	if (!o->g || o->is_frozen || (actor_groups_live(o->actor) < 2 && !m->gone_op)) return false;
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

void actor_complete(struct actor *a)
{
	if (!log_lacks_groups(a->log) || world_chance(a->world, 90)) return;
	if (log_admit(a->log, LOG_ADMIT_RESERVED, ENTRY_HEAD_BYTES) != OK) return;
	a->world->op_id++;
	log_groups_complete(a->log, actor_req(a));
	world_count(a->world, "log groups complete");
}
