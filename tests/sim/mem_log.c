/* SPDX-License-Identifier: Apache-2.0 */
/* mem_log — see mem_log.h. Every change is an operation: applied at once to the image that the process sees, and again to the image
 * that survives when its write is done. A crash applies some of those under way, from the first on, and forgets the rest. */
#include "mem_log_impl.h"

/* ---- the store ---- */

static enum err state_each(
	struct state *s, uint64_t group, struct slice prefix, struct slice from, state_each_fn *each, void *arg)
{
	const struct image *m = mem_disk_image(CONTAINER_OF(s, struct log, state)->disk, group);
	for (size_t i = 0; m && i < m->pair_count; i++) {
		struct slice key = buf_slice(&m->pairs[i].key);
		if (!slice_has_prefix(key, prefix) || (from.n && slice_cmp(key, from) < 0)) continue;
		if (!each(arg, key, buf_slice(&m->pairs[i].value))) break;
	}
	return OK;
}

static enum err state_value(struct state *s, uint64_t group, struct slice key, struct buf *value)
{
	const struct image *m = mem_disk_image(CONTAINER_OF(s, struct log, state)->disk, group);
	for (size_t i = 0; m && i < m->pair_count; i++)
		if (slice_eq(buf_slice(&m->pairs[i].key), key))
			return buf_append_slice(value, buf_slice(&m->pairs[i].value)), OK;
	return ERR_NOT_FOUND;
}

static const struct state_ops state_mem = { .each = state_each, .get = state_value };

static void write_fire(struct io_timer *t);
static void read_fire(struct io_timer *t);

static struct log_group *group_new(struct log *l, struct image *now)
{
	struct log_group *g = NEW(struct log_group);
	g->l = l;
	g->now = now;
	g->durable = image_last(now);
	g->applied = now->state_index;
	g->applied_term = now->state_term;
	g->conf_index = now->conf_index;
	buf_append_slice(&g->conf, buf_slice(&now->conf));
	struct list *at = l->groups.next;
	while (at != &l->groups && CONTAINER_OF(at, struct log_group, link)->now->id < now->id) at = at->next;
	list_insert_before(at, &g->link);
	return g;
}

enum err log_open(struct io *io, struct diag *diag, const struct log_options *options, struct log **out, char *why,
	size_t why_bytes)
{
	(void)diag;
	(void)why;
	(void)why_bytes;
	struct log *l = NEW(struct log);
	l->io = io;
	l->disk = *(struct mem_disk **)options->fatal_arg;
	mem_disk_crash(l->disk);
	l->identity.raft_id = l->disk->raft_id;
	l->state.ops = &state_mem;
	l->write_timer.fire = write_fire;
	l->read_timer.fire = read_fire;
	list_init(&l->groups);
	list_init(&l->reads);
	list_init(&l->installs);
	LIST_EACH (m, &l->disk->images) (void)group_new(l, image_copy(CONTAINER_OF(m, struct image, link)));
	*out = l;
	return OK;
}

static void group_free(struct log_group *g)
{
	list_remove_if_linked(&g->link);
	image_free(g->now);
	buf_deinit(&g->conf);
	mem_free(g);
}

void log_free(struct log *l)
{
	while (!list_is_empty(&l->installs)) mem_install_free(CONTAINER_OF(l->installs.next, struct log_install, link));
	struct list *r;
	while (!list_is_empty(&l->groups)) group_free(CONTAINER_OF(l->groups.next, struct log_group, link));
	while ((r = list_pop_front(&l->reads))) mem_free(CONTAINER_OF(r, struct op, link));
	LIST_EACH (o, &l->disk->pending) CONTAINER_OF(o, struct op, link)->req = NULL;
	mem_free(l);
}

const struct log_identity *log_identity(const struct log *l) { return &l->identity; }
struct state *log_state(struct log *l) { return &l->state; }

uint64_t mem_log_delay(struct log *l)
{
	return l->disk->min_ns + prng_below(&l->disk->chance, l->disk->max_ns - l->disk->min_ns + 1);
}

/* ---- writing ---- */

static void write_start(struct log *l)
{
	struct mem_disk *d = l->disk;
	if (io_timer_is_armed(&l->write_timer) || list_is_empty(&d->pending)) return;
	d->syncing = 0;
	LIST_EACH (o, &d->pending) d->syncing++;
	io_timer_start(l->io, &l->write_timer, mem_log_delay(l));
}

static struct op *op_new(struct log *l, enum op_kind kind, uint64_t group, struct log_req *req)
{
	struct op *o = NEW(struct op);
	o->kind = kind;
	o->group = group;
	o->req = req;
	list_push_back(&l->disk->pending, &o->link);
	return o;
}

static struct log_group *find(const struct log *l, uint64_t id)
{
	LIST_EACH (n, &l->groups) {
		struct log_group *g = CONTAINER_OF(n, struct log_group, link);
		if (g->now->id == id && !g->dead) return g;
	}
	return NULL;
}

static void op_done(struct log *l, struct op *o)
{
	struct log_group *g = find(l, o->group);
	if (g && o->kind == OP_APPEND && o->count) {
		uint64_t last = o->cells[o->count - 1]->index;
		if (image_at(g->now, last) == o->cells[o->count - 1]) g->durable = u64_max(g->durable, last);
	}
	if (g && o->kind == OP_SETTLED) {
		g->settling = 0;
		if (o->generation != g->now->generation) return;
		image_apply(g->now, o, false);
		if (g->ops) g->ops->settled(g->owner, o->a);
	}
	if (o->install_req) o->install_req->result = OK, o->install_req->done(o->install_req);
	if (o->req && o->req->done) o->req->done(o->req);
}

static void settle(struct log *l);

static void write_fire(struct io_timer *t)
{
	struct log *l = CONTAINER_OF(t, struct log, write_timer);
	struct mem_disk *d = l->disk;
	if (d->held) {
		io_timer_start(l->io, t, MILLIS(1));
		return;
	}
	struct list done, *n;
	list_init(&done);
	while (d->syncing && (n = list_pop_front(&d->pending))) {
		d->syncing--;
		mem_disk_keep(d, CONTAINER_OF(n, struct op, link));
		list_push_back(&done, n);
	}
	write_start(l);
	while ((n = list_pop_front(&done))) {
		op_done(l, CONTAINER_OF(n, struct op, link));
		op_free(CONTAINER_OF(n, struct op, link));
	}
	if (l->grown >= d->settle_bytes) settle(l);
}

void log_turn_end(struct log *l) { write_start(l); }

/* ---- groups ---- */

enum err log_group_make(struct log *l, uint64_t id, struct slice conf, struct log_req *req, struct log_group **out)
{
	if (find(l, id)) return ERR_EXISTS;
	struct image *m = NEW(struct image);
	m->id = id;
	m->first = 1;
	buf_append_slice(&m->conf, conf);
	*out = group_new(l, m);
	buf_append_slice(&op_new(l, OP_MAKE, id, req)->bytes, conf);
	return OK;
}

void log_group_gone(struct log_group *g, struct log_req *req)
{
	g->dead = true;
	g->ops = NULL;
	(void)op_new(g->l, OP_GONE, g->now->id, req);
}

struct log_group *log_group_find(struct log *l, uint64_t id) { return find(l, id); }
struct log_group *log_group_after(struct log *l, uint64_t id)
{
	LIST_EACH (n, &l->groups) {
		struct log_group *g = CONTAINER_OF(n, struct log_group, link);
		if (g->now->id > id && !g->dead) return g;
	}
	return NULL;
}
uint64_t log_group_id(const struct log_group *g) { return g->now->id; }
void log_group_set_name(struct log_group *g, struct slice name)
{
	(void)g;
	(void)name;
}
const char *log_group_label(const struct log_group *g)
{
	(void)g;
	return "?";
}
void log_group_attach(struct log_group *g, const struct log_group_ops *ops, void *owner)
{
	g->ops = ops;
	g->owner = owner;
}
void log_group_detach(struct log_group *g) { g->ops = NULL; }

/* Nothing of this log lies on a disk. */
void log_erase(struct log_group *g) { (void)g; }
const char *log_group_doubt(const struct log_group *g) { return g->now->in_doubt ? "a test has damaged it" : ""; }

void log_group_info(const struct log_group *g, struct log_group_info *out)
{
	const struct image *m = g->now;
	*out = (struct log_group_info) {
		.term = m->term,
		.vote = m->vote,
		.state_index = m->state_index,
		.state_term = m->state_term,
		.conf = buf_slice(&m->conf),
		.conf_index = m->conf_index,
		.first_index = m->first,
		.contiguous_from = m->first,
		.last_index = image_last(m),
		.durable_index = g->durable,
		.commit_index = m->commit,
		.generation = m->generation,
		.in_doubt = m->in_doubt,
		.there_last = image_last(m),
	};
	for (size_t i = m->count; i-- > 0;)
		if (!m->cells[i]) {
			out->contiguous_from = m->first + i + 1;
			break;
		}
	out->last_term = log_term_at(g, out->last_index);
}

void log_doubt_end(struct log_group *g, uint64_t term, uint64_t leader, struct log_req *req)
{
	struct op *o = op_new(g->l, OP_DOUBT_END, g->now->id, req);
	o->a = term;
	o->b = leader;
	image_apply(g->now, o, false);
}

uint64_t log_entry_bytes_max(const struct log *l)
{
	return l->disk->entry_bytes_max ? l->disk->entry_bytes_max : 16 * MIB;
}

enum err log_admit(const struct log *l, enum log_admission what, uint64_t bytes)
{
	(void)bytes;
	return l->disk->admit[what];
}

enum err log_group_admit(const struct log_group *g, enum log_admission what, uint64_t bytes)
{
	return log_admit(g->l, what, bytes);
}

bool log_has_space(const struct log *l, uint64_t bytes)
{
	(void)l;
	(void)bytes;
	return true;
}

unsigned log_pressure_permille(const struct log *l) { return l->disk->admit[LOG_ADMIT_GROWS] == OK ? 0 : 1000; }

static struct cell *cell_new(const struct log_group *g, uint64_t index, const struct log_entry *e)
{
	struct cell *c = NEW(struct cell);
	const struct cell *before = image_at(g->now, index - 1);
	struct batch_head batch = { 0 };
	struct slice records;
	c->refs = 1;
	c->index = index;
	c->term = e->term;
	if (e->kind == ENTRY_COMMAND && batch_open(e->body, &batch, &records) != OK) UNREACHABLE();
	c->head = (struct entry_head) { .body_bytes = (uint32_t)e->body.n,
		.kind = (uint8_t)e->kind,
		.group = g->now->id,
		.index = index,
		.term = e->term,
		.commit = g->now->commit,
		.seq_last = e->kind == ENTRY_COMMAND ? batch.seq_last
			    : before                 ? before->head.seq_last
						     : 0,
		.record_count = batch.record_count,
		.prev_term = before ? (uint32_t)before->term : 0 };
	entry_head_encode(&c->head, e->body, buf_reserve(&c->bytes, ENTRY_HEAD_BYTES));
	c->bytes.n += ENTRY_HEAD_BYTES;
	buf_append_slice(&c->bytes, e->body);
	while (c->bytes.n % 8) buf_append_byte(&c->bytes, 0);
	return c;
}

void log_append(struct log_group *g, struct log_req *req, const struct log_entry *entries, unsigned count)
{
	struct op *o = op_new(g->l, OP_APPEND, g->now->id, req);
	o->cells = mem_alloc(count * sizeof *o->cells);
	for (unsigned i = 0; i < count; i++) {
		struct op one = { .kind = OP_APPEND, .count = 1 };
		ASSERT(entries[i].body.n <= log_entry_bytes_max(g->l)); /* as src/log does */
		o->cells[i] = cell_new(g, image_last(g->now) + 1, &entries[i]);
		one.cells = &o->cells[i];
		image_apply(g->now, &one, false);
		g->l->grown += o->cells[i]->bytes.n;
	}
	o->count = count;
}

void log_truncate(struct log_group *g, uint64_t from)
{
	ASSERT(from > g->now->commit || g->now->in_doubt);
	struct op *o = op_new(g->l, OP_TRUNC, g->now->id, NULL);
	o->a = from;
	image_apply(g->now, o, false);
	g->durable = u64_min(g->durable, from - 1);
}

void log_vote(struct log_group *g, uint64_t term, uint64_t vote, struct log_req *req)
{
	struct op *o = op_new(g->l, OP_VOTE, g->now->id, req);
	o->a = term;
	o->b = vote;
	image_apply(g->now, o, false);
}

void log_commit(struct log_group *g, uint64_t index) { g->now->commit = u64_max(g->now->commit, index); }

void log_applied(struct log_group *g, uint64_t index, uint64_t term, struct slice conf, uint64_t conf_index)
{
	ASSERT(index <= image_last(g->now));
	g->applied = index;
	g->applied_term = term;
	if (!conf.p) return;
	buf_clear(&g->conf);
	buf_append_slice(&g->conf, conf);
	g->conf_index = conf_index;
}

void log_trim(struct log_group *g, uint64_t index)
{
	ASSERT(index <= g->applied + 1);
	g->trim = u64_max(g->trim, index);
}

/* Every settled group loses what is dead; in the state that is captured. */
static void settle_group(struct log_group *g)
{
	struct image *m = g->now;
	if (!g->ops || g->settling || g->applied <= m->state_index || g->applied > g->durable) return;
	struct state_batch batch = { 0 };
	struct op *o = op_new(g->l, OP_SETTLED, m->id, NULL);
	o->cells = mem_alloc((m->count + 1) * sizeof *o->cells);
	for (uint64_t i = m->first, seq = 0; i <= g->applied; i++) {
		struct cell *c = image_at(m, i);
		if (c && c->head.kind == ENTRY_COMMAND && g->ops->entry_is_dead(g->owner, &c->head, seq))
			o->cells[o->count++] = cell_ref(c);
		if (c) seq = c->head.seq_last;
	}
	g->ops->capture(g->owner, &batch);
	o->a = g->settling = g->applied;
	o->b = g->applied_term;
	o->c = g->conf_index;
	o->d = u64_min(g->trim, g->applied + 1);
	buf_append_le64(&o->bytes, g->conf.n);
	buf_append_slice(&o->bytes, buf_slice(&g->conf));
	buf_append_slice(&o->bytes, buf_slice(&batch.ops));
	state_batch_deinit(&batch);
	o->generation = m->generation;
}

static void settle(struct log *l)
{
	l->grown = 0;
	LIST_EACH (n, &l->groups) settle_group(CONTAINER_OF(n, struct log_group, link));
	write_start(l);
}

void log_settle_now(struct log *l, struct log_req *req)
{
	(void)req;
	l->grown = l->disk->settle_bytes; /* with the next write, on the loop */
}

/* ---- reading ---- */

uint64_t log_term_at(const struct log_group *g, uint64_t index)
{
	const struct image *m = g->now;
	if (index == m->state_index) return m->state_term;
	const struct cell *c = image_at(m, index);
	if (c || index < m->first || index > image_last(m)) return c ? c->term : 0;
	/* In a hole: no term begins there, or its first entry would be a barrier, which is kept. */
	while (index >= m->first && !image_at(m, index)) index--;
	return index >= m->first ? image_at(m, index)->term : 0;
}

enum err log_read_now(struct log_group *g, struct log_read_req *r)
{
	const struct image *m = g->now;
	r->entries = (struct buf) { 0 };
	r->next = r->from;
	r->result = OK;
	if (r->from > image_last(m)) r->result = ERR_NOT_FOUND;
	if (r->from < m->first) r->result = ERR_COMPACTED;
	while (r->result == OK && r->next <= r->to && r->next <= image_last(m)) {
		const struct cell *c = image_at(m, r->next);
		if (!c && !r->holes) break;
		if (c && r->entries.n && r->entries.n + c->bytes.n > r->bytes_max) break;
		if (c) buf_append_slice(&r->entries, buf_slice(&c->bytes));
		r->next++;
	}
	if (r->result == OK && r->next == r->from) r->result = ERR_COMPACTED;
	return r->result;
}

static void read_fire(struct io_timer *t)
{
	struct log *l = CONTAINER_OF(t, struct log, read_timer);
	struct list round, *n;
	list_init(&round);
	if (l->disk->held)
		io_timer_start(l->io, t, MILLIS(1));
	else
		list_splice_back(&round, &l->reads);
	while ((n = list_pop_front(&round))) {
		struct op *o = CONTAINER_OF(n, struct op, link);
		struct log_group *g = find(l, o->group);
		if (g)
			o->read->result = log_read_now(g, o->read);
		else
			o->read->result = ERR_CLOSED;
		struct log_read_req *r = o->read;
		mem_free(o);
		r->done(r);
	}
}

void log_read(struct log_group *g, struct log_read_req *r)
{
	struct op *o = NEW(struct op);
	o->group = g->now->id;
	o->read = r;
	list_push_back(&g->l->reads, &o->link);
	if (!io_timer_is_armed(&g->l->read_timer)) io_timer_start(g->l->io, &g->l->read_timer, mem_log_delay(g->l));
}
