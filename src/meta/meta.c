/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue as a replicated machine. Every request is one command of one record; who wins a race for a name is decided when it is
 * applied, so two proposals in flight for one name end with one row and one ERR_EXISTS.
 *
 * State store: 'h' = version u32 | rows were lost u32 | next group u64 | hash u64; 'g' + group (8, big-endian) = a row as in the record. */
#include "thebes/meta.h"

#include <stdlib.h>

enum meta_record_kind { META_SET = 1, META_UPDATE, META_DELETE, META_RENEW };
enum { META_VERSION = 1, ROW_HEAD_BYTES = 24 };

struct row {
	struct meta_stream pub;
	char *account, *name, *config; /* owned */
	struct buf key;                /* account NUL name */
	enum { ROW_NEW, ROW_CAPTURED, ROW_STORED } where;
};

struct meta {
	struct raft_groups *groups;
	struct io *io;
	struct diag *diag;
	const struct meta_ops *ops;
	void *arg;
	struct group *group;
	struct map rows;      /* of owned struct row, by key */
	struct list requests; /* of meta_call in flight */
	uint64_t next_group, hash, index;
	uint64_t *gone; /* owned: groups whose key must leave the state store */
	size_t gone_count, gone_cap, gone_captured;
	enum err applied_result; /* of the record applied last, for the request that proposed it */
	bool leading, serving;
	bool is_salvaged; /* what was given up is not yet recorded, and does not serve meanwhile */
	bool lost_rows;   /* rows were given up: a group without a row is no leftover */
	void (*closed)(void *arg);
	void *closed_arg;
};

struct meta_call {
	struct list link;
	struct meta *meta;
	struct proposal proposal;
	struct meta_req *req;
	enum err result;
	struct io_task task;
};

static struct slice row_key(const void *item) { return buf_slice(&((const struct row *)item)->key); }

static void make_key(struct buf *b, struct slice account, struct slice name)
{
	buf_append_slice(b, account);
	buf_append_byte(b, 0);
	buf_append_slice(b, name);
}

static void row_free(struct row *r)
{
	mem_free(r->account);
	mem_free(r->name);
	mem_free(r->config);
	buf_deinit(&r->key);
	mem_free(r);
}

static char *dup_slice(struct slice s)
{
	char *p = mem_alloc(s.n + 1);
	memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

/* ---- rows as bytes: group u64 | created u64 | account n u16 | name n u16 | config n u32 | account | name | config ---- */

static void row_encode(
	struct buf *b, uint64_t group, int64_t created_ns, struct slice account, struct slice name, struct slice config)
{
	buf_append_le64(b, group);
	buf_append_le64(b, (uint64_t)created_ns);
	uint8_t *p = buf_reserve(b, 8);
	le16_put(p, (uint16_t)account.n);
	le16_put(p + 2, (uint16_t)name.n);
	le32_put(p + 4, (uint32_t)config.n);
	b->n += 8;
	buf_append_slice(b, account);
	buf_append_slice(b, name);
	buf_append_slice(b, config);
}

static enum err row_decode(struct slice in, struct meta_stream *out)
{
	if (in.n < ROW_HEAD_BYTES) return ERR_CORRUPT;
	size_t account_n = le16_get(in.p + 16), name_n = le16_get(in.p + 18), config_n = le32_get(in.p + 20);
	if (in.n != ROW_HEAD_BYTES + account_n + name_n + config_n) return ERR_CORRUPT;
	*out = (struct meta_stream) { .group = le64_get(in.p), .created_ns = (int64_t)le64_get(in.p + 8) };
	out->account = slice_of(in.p + ROW_HEAD_BYTES, account_n);
	out->name = slice_of(in.p + ROW_HEAD_BYTES + account_n, name_n);
	out->config = slice_of(in.p + ROW_HEAD_BYTES + account_n + name_n, config_n);
	return OK;
}

static struct row *row_find(const struct map *rows, struct slice account, struct slice name)
{
	struct buf key = { 0 };
	make_key(&key, account, name);
	struct row *r = map_get(rows, buf_slice(&key));
	buf_deinit(&key);
	return r;
}

static struct row *row_put(struct map *rows, const struct meta_stream *from)
{
	struct row *r = NEW(struct row);
	r->account = dup_slice(from->account);
	r->name = dup_slice(from->name);
	r->config = dup_slice(from->config);
	r->pub = *from;
	r->pub.account = slice_of(r->account, from->account.n);
	r->pub.name = slice_of(r->name, from->name.n);
	r->pub.config = slice_of(r->config, from->config.n);
	make_key(&r->key, from->account, from->name);
	void *old = map_put(rows, r);
	ASSERT(old == NULL);
	return r;
}

static void note_gone(struct meta *m, uint64_t group)
{
	if (m->gone_count == m->gone_cap) {
		m->gone_cap = m->gone_cap ? m->gone_cap * 2 : 8;
		m->gone = mem_realloc(m->gone, m->gone_cap * sizeof *m->gone);
	}
	m->gone[m->gone_count++] = group;
}

/* ---- applying ---- */

static enum err apply_set(struct meta *m, const struct meta_stream *in)
{
	if (row_find(&m->rows, in->account, in->name)) return ERR_EXISTS;
	if (in->group < m->next_group)
		return ERR_EXISTS; /* an id that was given out already: proposed by a leader before this one */
	struct row *r = row_put(&m->rows, in);
	m->next_group = in->group + 1;
	if (m->serving) m->ops->added(m->arg, &r->pub);
	return OK;
}

static enum err apply_update(struct meta *m, const struct meta_stream *in)
{
	struct row *r = row_find(&m->rows, in->account, in->name);
	if (!r || r->pub.group != in->group) return ERR_NOT_FOUND;
	mem_free(r->config);
	r->config = dup_slice(in->config);
	r->pub.config = slice_of(r->config, in->config.n);
	r->where = ROW_NEW;
	if (m->serving) m->ops->changed(m->arg, &r->pub);
	return OK;
}

static enum err apply_delete(struct meta *m, const struct meta_stream *in)
{
	struct row *r = row_find(&m->rows, in->account, in->name);
	if (!r || r->pub.group != in->group) return ERR_NOT_FOUND;
	if (!m->serving && diag_fault(m->diag, FAULT_bug_stream_delete_not_replayed)) return OK;
	if (m->serving) m->ops->removed(m->arg, &r->pub);
	note_gone(m, r->pub.group);
	(void)map_del(&m->rows, row_key(r));
	row_free(r);
	return OK;
}

/* The configuration's place holds the id of the group that is over. */
static enum err apply_renew(struct meta *m, const struct meta_stream *in)
{
	struct row *r = row_find(&m->rows, in->account, in->name);
	if (!r || in->config.n != 8 || r->pub.group != le64_get(in->config.p)) return ERR_NOT_FOUND;
	if (in->group < m->next_group) return ERR_EXISTS;
	uint64_t old = r->pub.group;
	note_gone(m, old);
	r->pub.group = in->group;
	r->pub.created_ns = in->created_ns;
	r->where = ROW_NEW;
	m->next_group = in->group + 1;
	if (m->serving) m->ops->renewed(m->arg, &r->pub, old);
	return OK;
}

/* Nothing of an entry is applied that holds something unknown (S11). */
static bool is_known(struct slice records)
{
	struct record r;
	struct meta_stream row;
	enum err e;
	while ((e = record_next(&records, &r)) == OK) {
		if (row_decode(r.payload, &row) != OK) return false;
		switch ((enum meta_record_kind)r.kind) {
		case META_SET:
		case META_UPDATE:
		case META_RENEW:
		case META_DELETE: break;
		default: return false;
		}
	}
	return e == ERR_EOF;
}

static bool on_apply(void *owner, uint64_t index, uint64_t term, struct slice body)
{
	struct meta *m = owner;
	struct batch_head head;
	struct slice records;
	struct record r;
	(void)term;
	if (batch_open(body, &head, &records) != OK || !is_known(records)) return false;
	enum err e;
	while ((e = record_next(&records, &r)) == OK) {
		struct meta_stream in;
		if (row_decode(r.payload, &in) != OK) return false;
		switch ((enum meta_record_kind)r.kind) {
		case META_SET: m->applied_result = apply_set(m, &in); break;
		case META_UPDATE: m->applied_result = apply_update(m, &in); break;
		case META_RENEW: m->applied_result = apply_renew(m, &in); break;
		case META_DELETE: m->applied_result = apply_delete(m, &in); break;
		default: return false;
		}
		m->hash = hash_bytes(r.payload.p, r.payload.n, m->hash ^ r.kind);
	}
	m->index = index;
	LIST_EACH (node, &m->requests) {
		struct meta_call *c = CONTAINER_OF(node, struct meta_call, link);
		if (c->proposal.index == index) c->result = m->applied_result;
	}
	return e == ERR_EOF;
}

/* ---- state ---- */

static struct slice group_key(uint8_t key[9], uint64_t group)
{
	key[0] = 'g';
	for (int i = 0; i < 8; i++) key[1 + i] = (uint8_t)(group >> (56 - 8 * i));
	return slice_of(key, 9);
}

static void on_capture(void *owner, struct state_batch *batch)
{
	struct meta *m = owner;
	struct buf b = { 0 };
	uint8_t key[9];
	buf_append_le32(&b, META_VERSION);
	buf_append_le32(&b, m->lost_rows);
	buf_append_le64(&b, m->next_group);
	buf_append_le64(&b, m->hash);
	state_batch_put(batch, SLICE("h"), buf_slice(&b));
	for (size_t i = 0; i < m->gone_count; i++) state_batch_del(batch, group_key(key, m->gone[i]));
	m->gone_captured = m->gone_count;
	struct row *r;
	for (size_t i = 0; (r = map_next(&m->rows, &i)) != NULL;) {
		if (r->where == ROW_STORED) continue;
		buf_clear(&b);
		row_encode(&b, r->pub.group, r->pub.created_ns, r->pub.account, r->pub.name, r->pub.config);
		state_batch_put(batch, group_key(key, r->pub.group), buf_slice(&b));
		r->where = ROW_CAPTURED;
	}
	buf_deinit(&b);
}

static void on_settled(void *owner, uint64_t index)
{
	struct meta *m = owner;
	(void)index;
	m->gone_count -= m->gone_captured;
	if (m->gone_captured) memmove(m->gone, m->gone + m->gone_captured, m->gone_count * sizeof *m->gone);
	m->gone_captured = 0;
	struct row *r;
	for (size_t i = 0; (r = map_next(&m->rows, &i)) != NULL;)
		if (r->where == ROW_CAPTURED) r->where = ROW_STORED;
}

/* ---- load: the stored rows, in memory of their own ---- */

struct rows_load {
	struct map rows; /* of owned struct row */
	uint64_t next_group, hash;
	bool lost_rows;
	enum err result;
};

static bool load_value(void *arg, struct slice key, struct slice value)
{
	struct rows_load *r = arg;
	struct meta_stream row;
	if (key.n && key.p[0] == 0) return true; /* the raft room's */
	if (key.n == 1 && key.p[0] == 'h' && value.n == 24 && le32_get(value.p) == META_VERSION) {
		r->next_group = u64_max(r->next_group, le64_get(value.p + 8));
		r->hash = le64_get(value.p + 16);
		r->lost_rows = le32_get(value.p + 4) != 0;
	} else if (key.n == 9 && key.p[0] == 'g' && row_decode(value, &row) == OK &&
		   !row_find(&r->rows, row.account, row.name)) {
		row_put(&r->rows, &row)->where = ROW_STORED;
		r->next_group = u64_max(r->next_group, row.group + 1);
	} else {
		r->result = ERR_CORRUPT;
	}
	return r->result == OK;
}

static void rows_free(struct map *rows)
{
	struct row *r;
	for (size_t i = 0; (r = map_next(rows, &i)) != NULL;) row_free(r);
	map_deinit(rows);
}

static enum err on_load(struct group_load *l)
{
	struct rows_load *r = NEW(struct rows_load);
	*r = (struct rows_load) { .next_group = META_GROUP + 1 };
	map_init(&r->rows, l->seed, row_key);
	l->loaded = r;
	/* Rows stand alone: what is left of a state that is damaged is still true (S7). */
	if (l->index == 0 && !l->is_partial) return OK;
	enum err e = state_group_each(l->state, l->group, SLICE_NULL, SLICE_NULL, load_value, r);
	return e == OK ? r->result : e;
}

static enum err on_take(void *owner, struct group_load *l)
{
	struct meta *m = owner;
	struct rows_load *r = l->loaded;
	rows_free(&m->rows);
	m->rows = r->rows;
	m->next_group = r->next_group;
	m->hash = r->hash;
	m->lost_rows = r->lost_rows;
	m->gone_count = m->gone_captured = 0;  /* of what was there before */
	if (m->is_salvaged) m->serving = true; /* that failed */
	m->is_salvaged = false;
	l->loaded = NULL;
	mem_free(r);
	return OK;
}

static void on_drop(struct group_load *l)
{
	struct rows_load *r = l->loaded;
	if (!r) return;
	rows_free(&r->rows);
	mem_free(r);
}

static bool on_entry_is_dead(void *owner, const struct entry_head *e, uint64_t seq_before)
{
	(void)owner;
	(void)e;
	(void)seq_before;
	return true; /* the state covers every row */
}

static unsigned on_live_permille(void *owner, uint64_t first, uint64_t last)
{
	(void)owner;
	(void)first;
	(void)last;
	return 0;
}

static void on_lead(void *owner, bool leading, uint64_t term)
{
	struct meta *m = owner;
	(void)term;
	m->leading = leading;
	if (m->serving && m->ops->lead) m->ops->lead(m->arg, leading);
}

/* What is left of the catalogue stands; nothing that lost rows named is deleted for want of them, and no id is given out twice. */
static void on_salvaged(void *owner)
{
	struct meta *m = owner;
	m->is_salvaged = m->serving;
	m->serving = false; /* what comes from behind the gap is opened by the next start */
}

enum { ID_JUMP = 1 << 20 };

static void on_accepted(void *owner, uint64_t index, uint64_t seq_bound, struct state_batch *batch)
{
	struct meta *m = owner;
	struct row *r;
	(void)seq_bound;
	m->index = index;
	m->lost_rows = true;
	for (struct log_group *g = log_group_after(m->groups->log, 0); g;
		g = log_group_after(m->groups->log, log_group_id(g)))
		m->next_group = u64_max(m->next_group, log_group_id(g) + 1);
	m->next_group += ID_JUMP;
	for (size_t i = 0; (r = map_next(&m->rows, &i)) != NULL;) r->where = ROW_NEW;
	m->gone_count = 0; /* the state begins empty */
	on_capture(m, batch);
	m->serving = true;
	m->is_salvaged = false;
}

static uint64_t on_state_hash(void *owner) { return meta_hash(owner); }

static const struct group_ops meta_group_ops = {
	.load = on_load,
	.take = on_take,
	.drop = on_drop,
	.apply = on_apply,
	.entry_is_dead = on_entry_is_dead,
	.capture = on_capture,
	.settled = on_settled,
	.live_permille = on_live_permille,
	.lead = on_lead,
	.state_hash = on_state_hash,
	.salvaged = on_salvaged,
	.accepted = on_accepted,
};

/* ---- life ---- */

enum err meta_open(struct raft_groups *groups, struct io *io, struct diag *diag, uint64_t self,
	const struct meta_ops *ops, void *arg, struct meta **out)
{
	struct meta *m = NEW(struct meta);
	*m = (struct meta) { .groups = groups, .io = io, .diag = diag, .ops = ops, .arg = arg };
	map_init(&m->rows, io_random_u64(io), row_key);
	list_init(&m->requests);
	m->next_group = META_GROUP + 1;
	enum err e;
	struct log_group *known = log_group_find(groups->log, META_GROUP);
	if (known) log_group_set_name(known, SLICE("catalogue"));
	if (known) {
		e = group_open(groups, META_GROUP, &meta_group_ops, m, &m->group);
	} else {
		struct group_member only = { self, GROUP_VOTER };
		e = group_make(groups, META_GROUP, &only, 1, &meta_group_ops, m, &m->group);
		if (e == OK) log_group_set_name(group_log(m->group), SLICE("catalogue"));
	}
	if (e != OK) {
		m->group = NULL;
		meta_free(m);
		return e;
	}
	m->serving = true;
	*out = m;
	return OK;
}

static void group_closed(void *owner)
{
	struct meta *m = owner;
	m->group = NULL;
	m->closed(m->closed_arg);
}

void meta_close(struct meta *m, void (*closed)(void *arg), void *arg)
{
	m->closed = closed;
	m->closed_arg = arg;
	m->serving = false;
	group_close(m->group, false, group_closed);
}

void meta_free(struct meta *m)
{
	if (!m) return;
	rows_free(&m->rows);
	mem_free(m->gone);
	mem_free(m);
}

/* ---- looking ---- */

bool meta_is_leader(const struct meta *m) { return m->leading; }

bool meta_lost_rows(const struct meta *m) { return m->lost_rows; }
enum err meta_accept(struct meta *m, struct group_accept *a) { return group_accept(m->group, a); }

const char *meta_doubt(const struct meta *m)
{
	return m->group && group_is_read_only(m->group) ? group_trouble(m->group) : NULL;
}

bool meta_is_stopped(const struct meta *m)
{
	struct group_status s;
	if (!meta_doubt(m)) return false;
	group_status(m->group, &s);
	return s.state == GROUP_QUARANTINED;
}

uint64_t meta_hash(const struct meta *m) { return m->hash ^ m->next_group; }
uint64_t meta_next_group(const struct meta *m) { return m->next_group; }

static int by_key(const void *a, const void *b)
{
	return slice_cmp(row_key(*(struct row *const *)a), row_key(*(struct row *const *)b));
}

void meta_each(const struct meta *m, meta_each_fn *each, void *arg)
{
	struct row **sorted = mem_alloc((m->rows.count + 1) * sizeof(struct row *)), *r;
	size_t n = 0;
	for (size_t i = 0; (r = map_next(&m->rows, &i)) != NULL;) sorted[n++] = r;
	qsort(sorted, n, sizeof(struct row *), by_key);
	for (size_t i = 0; i < n && each(arg, &sorted[i]->pub); i++) continue;
	mem_free(sorted);
}

const struct meta_stream *meta_find(const struct meta *m, struct slice account, struct slice name)
{
	const struct row *r = row_find(&m->rows, account, name);
	return r ? &r->pub : NULL;
}

/* ---- requests ---- */

static void call_end(struct meta_call *c)
{
	list_remove_if_linked(&c->link);
	struct meta_req *req = c->req;
	req->result = c->result;
	mem_free(c);
	req->done(req);
}

static void proposal_done(struct proposal *p)
{
	struct meta_call *c = CONTAINER_OF(p, struct meta_call, proposal);
	if (p->result != OK) c->result = p->result;
	call_end(c);
}

static void refused_task(struct io_task *t) { call_end(CONTAINER_OF(t, struct meta_call, task)); }

static void propose(
	struct meta *m, enum meta_record_kind kind, struct slice row, struct meta_req *req, enum err refused)
{
	struct meta_call *c = NEW(struct meta_call);
	if (refused == OK && meta_doubt(m)) refused = ERR_DOUBT; /* not "later": it stays so */
	*c = (struct meta_call) { .meta = m, .req = req, .result = refused };
	if (refused == OK) {
		struct buf body = { 0 };
		struct record r = { .kind = (uint8_t)kind, .time_ns = io_wall_ns(m->io), .payload = row };
		batch_begin(&body);
		batch_add(&body, &r);
		batch_end(&body, 0);
		c->proposal.done = proposal_done;
		list_push_back(&m->requests, &c->link);
		c->result = group_propose(
			m->group, &c->proposal, &body, kind == META_DELETE ? LOG_ADMIT_FREES : LOG_ADMIT_GROWS);
		if (c->result == OK) return;
		buf_deinit(&body);
	}
	c->task = (struct io_task) { .run = refused_task };
	io_defer(m->io, &c->task);
}

static uint64_t next_id(const struct meta *m)
{
	uint64_t id = m->next_group;
	LIST_EACH (node, &m->requests) {
		const struct meta_call *c = CONTAINER_OF(node, struct meta_call, link);
		if (c->req->group >= id) id = c->req->group + 1;
	}
	return id;
}

void meta_stream_create(struct meta *m, struct slice account, const struct stream_config *config, struct meta_req *r)
{
	struct buf json = { 0 }, row = { 0 };
	struct slice name = slice_of_str(config->name);
	r->group = next_id(m);
	stream_config_print(&json, config);
	row_encode(&row, r->group, io_wall_ns(m->io), account, name, buf_slice(&json));
	propose(m, META_SET, buf_slice(&row), r, row_find(&m->rows, account, name) ? ERR_EXISTS : OK);
	buf_deinit(&json);
	buf_deinit(&row);
}

void meta_stream_update(struct meta *m, struct slice account, const struct stream_config *config, struct meta_req *r)
{
	struct buf json = { 0 }, bytes = { 0 };
	const struct row *row = row_find(&m->rows, account, slice_of_str(config->name));
	r->group = row ? row->pub.group : 0;
	stream_config_print(&json, config);
	row_encode(&bytes, r->group, 0, account, slice_of_str(config->name), buf_slice(&json));
	propose(m, META_UPDATE, buf_slice(&bytes), r, row ? OK : ERR_NOT_FOUND);
	buf_deinit(&json);
	buf_deinit(&bytes);
}

void meta_stream_renew(struct meta *m, struct slice account, struct slice name, struct meta_req *r)
{
	struct buf bytes = { 0 };
	uint8_t old[8];
	const struct row *row = row_find(&m->rows, account, name);
	le64_put(old, row ? row->pub.group : 0);
	r->group = next_id(m);
	row_encode(&bytes, r->group, io_wall_ns(m->io), account, name, slice_of(old, sizeof old));
	propose(m, META_RENEW, buf_slice(&bytes), r, row ? OK : ERR_NOT_FOUND);
	buf_deinit(&bytes);
}

void meta_stream_delete(struct meta *m, struct slice account, struct slice name, struct meta_req *r)
{
	struct buf bytes = { 0 };
	const struct row *row = row_find(&m->rows, account, name);
	r->group = row ? row->pub.group : 0;
	row_encode(&bytes, r->group, 0, account, name, SLICE_NULL);
	propose(m, META_DELETE, buf_slice(&bytes), r, row ? OK : ERR_NOT_FOUND);
	buf_deinit(&bytes);
}
