/* SPDX-License-Identifier: Apache-2.0 */
/* mem_install — a group of a mem_log gets its entries and its state from elsewhere, in one step (S19). */
#include "mem_log_impl.h"

static void install_fire(struct io_timer *t)
{
	struct log_install *i = CONTAINER_OF(t, struct log_install, timer);
	i->req->result = OK;
	i->req->done(i->req);
}

void mem_install_free(struct log_install *i)
{
	list_remove(&i->link);
	buf_deinit(&i->changes);
	if (i->o) op_free(i->o);
	mem_free(i);
}

enum err log_install_begin(struct log_group *g, struct log_install **out)
{
	struct log_install *i = NEW(struct log_install);
	i->g = g;
	i->o = NEW(struct op);
	i->timer.fire = install_fire;
	list_push_back(&g->l->installs, &i->link);
	*out = i;
	return OK;
}

static void install_later(struct log_install *i, struct log_install_req *r)
{
	i->req = r;
	io_timer_start(i->g->l->io, &i->timer, mem_log_delay(i->g->l));
}

void log_install_entries(struct log_install *i, struct slice entries, struct log_install_req *r)
{
	struct entry_head head;
	struct slice body, before = entries;
	while (entry_next(&entries, &head, &body) == OK) {
		struct cell *c = NEW(struct cell);
		*c = (struct cell) { .refs = 1, .index = head.index, .term = head.term, .head = head };
		buf_append(&c->bytes, before.p, before.n - entries.n);
		before = entries;
		i->o->cells = mem_realloc(i->o->cells, (i->o->count + 1) * sizeof *i->o->cells);
		i->o->cells[i->o->count++] = c;
	}
	install_later(i, r);
}

void log_install_state(struct log_install *i, struct slice batch, struct log_install_req *r)
{
	buf_append_slice(&i->changes, batch);
	install_later(i, r);
}

void log_install_commit(struct log_install *i, uint64_t index, uint64_t term, struct slice conf, uint64_t conf_index,
	uint64_t contiguous_from, struct log_install_req *r)
{
	struct op *o = i->o;
	(void)contiguous_from;
	o->kind = OP_INSTALL;
	o->group = i->g->now->id;
	o->a = index;
	o->b = term;
	o->c = conf_index;
	o->install_req = r;
	buf_append_le64(&o->bytes, conf.n);
	buf_append_slice(&o->bytes, conf);
	buf_append_slice(&o->bytes, buf_slice(&i->changes));
	list_push_back(&i->g->l->disk->pending, &o->link);
	image_apply(i->g->now, o, false);
	i->g->applied = i->g->durable = index;
	i->g->applied_term = term;
	i->g->conf_index = conf_index;
	buf_clear(&i->g->conf);
	buf_append_slice(&i->g->conf, conf);
	i->o = NULL;
	mem_install_free(i);
}

void log_install_abort(struct log_install *i)
{
	io_timer_stop(i->g->l->io, &i->timer);
	mem_install_free(i);
}
