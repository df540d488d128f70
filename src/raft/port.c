/* SPDX-License-Identifier: Apache-2.0 */
/* port — libraft's table of effects: what it loads, stores and sends goes to log.h and to the links.
 *
 * Rules that keep 0.15 alive: an append is never reported as failed (the log ends the process instead), and refused only before the
 * call (group_propose asks first); sends fail only for AppendEntries, and later; nothing completes from inside the call; closing
 * completes everything first, appends with success. Votes are written, not waited for: what is said after them is held back until
 * they are durable. */
#include "group.h"

struct snapshot_get {
	struct list link; /* in group.gets */
	struct raft_io_snapshot_get *req;
	raft_io_snapshot_get_cb cb;
};

enum { ENTRY_MEMORY_BYTES = 96, ENTRIES_KEPT_MAX = 512, ENTRIES_TRAILING_MAX = 256, ENTRIES_TRAILING_MIN = 4 };

static struct group *group_of(struct raft_io *io) { return io->impl; }

/* ---- writes ---- */

static void vote_durable(struct group *g, uint64_t seq)
{
	struct list *l;
	g->vote_durable = seq;
	while (g->vote_durable == g->vote_seq && (l = list_pop_front(&g->held))) {
		struct held_frame *h = CONTAINER_OF(l, struct held_frame, link);
		struct slice bytes = buf_slice(&h->bytes);
		(void)g->set->links.send(g->set->links.arg, h->peer, &bytes, 1, h->lane);
		buf_deinit(&h->bytes);
		mem_free(h);
	}
}

void held_free(struct group *g)
{
	struct list *l;
	while ((l = list_pop_front(&g->held))) {
		struct held_frame *h = CONTAINER_OF(l, struct held_frame, link);
		buf_deinit(&h->bytes);
		mem_free(h);
	}
}

static void write_done(struct log_req *req)
{
	struct write *w = CONTAINER_OF(req, struct write, req);
	struct group *g = w->g;
	w->durable = true;
	if (w->kind == WRITE_VOTE) vote_durable(g, w->seq);
	if (w->kind == WRITE_DOUBT_END) doubt_ended(g, w->seq, w->last);
	bool starts =
		w->kind == WRITE_MAKE || (w->kind == WRITE_DOUBT_END && !g->in_doubt && !g->live && !g->reopening);
	if (starts && g->state == GROUP_OPENING) instance_start(g);
	port_writes_fire(g);
	group_after(g);
}

struct write *write_new(struct group *g, enum write_kind kind)
{
	struct write *w = NEW(struct write);
	w->g = g;
	w->kind = kind;
	w->req.done = write_done;
	list_push_back(&g->writes, &w->link);
	return w;
}

/* G6: the library looks at the commit index only where its own log ends on disk. So it is told of its own appends no earlier than a
 * majority can be complete with them. */
static bool is_gated(const struct group *g, const struct write *w)
{
	if (is_off(g, FAULT_bug_g6_ungated_append)) return false;
	return g->raft.state == RAFT_LEADER && w->last > guard_quorum(g);
}

void port_writes_fire(struct group *g)
{
	struct list *l;
	while ((l = list_first(&g->writes))) {
		struct write *w = CONTAINER_OF(l, struct write, link);
		if (!w->durable || (w->lib && is_gated(g, w))) break;
		struct raft_io_append *req = w->lib;
		list_remove(l);
		mem_free(w);
		if (!req) continue;
		g->appending--;
		req->cb(req, 0);
	}
	if (g->live) guard_release(g);
}

static int vote_write(struct group *g, uint64_t term, uint64_t vote)
{
	struct write *w = write_new(g, WRITE_VOTE);
	g->term = term;
	g->vote = vote;
	w->seq = ++g->vote_seq;
	log_vote(g->log, term, vote, &w->req);
	return 0;
}

static int port_set_term(struct raft_io *io, raft_term term) { return vote_write(group_of(io), term, 0); }
static int port_set_vote(struct raft_io *io, raft_id id)
{
	struct group *g = group_of(io);
	return vote_write(g, g->term, id);
}

static void change_noted(struct group *g, uint64_t index, struct slice conf)
{
	struct pending_change *c = NEW(struct pending_change);
	c->index = index;
	buf_append_slice(&c->conf, conf);
	list_push_back(&g->changes, &c->link);
}

void changes_truncate(struct group *g, uint64_t from)
{
	while (!list_is_empty(&g->changes)) {
		struct pending_change *c = CONTAINER_OF(g->changes.prev, struct pending_change, link);
		if (c->index < from) break;
		list_remove(&c->link);
		buf_deinit(&c->conf);
		mem_free(c);
	}
}

/* The library leaves parts of its own small entries uninitialised; they are about to be replicated. */
static void entry_tidy(const struct raft_entry *e)
{
	struct members m;
	if (e->type == RAFT_BARRIER) memset(e->buf.base, 0, e->buf.len);
	if (e->type != RAFT_CHANGE || members_decode(slice_of(e->buf.base, e->buf.len), &m) != OK) return;
	struct buf clean = { 0 };
	members_encode(&m, &clean);
	ASSERT(clean.n == e->buf.len);
	memcpy(e->buf.base, clean.p, clean.n);
	buf_deinit(&clean);
}

/* Bounded memory: beyond the budget the library shall take a snapshot (which is nothing but letting go) as soon as it applies. */
static void library_grew(struct group *g, size_t bytes)
{
	g->library_bytes += bytes;
	raft_set_snapshot_threshold(
		&g->raft, g->library_bytes > g->set->options.recent_bytes_max ? 1 : ENTRIES_KEPT_MAX);
}

/* G3: up to where this leader's log and ours were compared in this term. */
static void verified_up_to(struct group *g, uint64_t term, uint64_t index)
{
	if (g->verified_term != term) {
		g->verified_term = term;
		g->verified = 0;
	}
	g->verified = u64_max(g->verified, index);
}

static void receiving_verified(struct group *g)
{
	const struct raft_message *m = g->receiving;
	if (!m || m->type != RAFT_IO_APPEND_ENTRIES || m->append_entries.term != g->raft.current_term) return;
	verified_up_to(g, m->append_entries.term, m->append_entries.prev_log_index + m->append_entries.n_entries);
}

static int port_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
	raft_io_append_cb cb)
{
	struct group *g = group_of(io);
	struct raft_groups *r = g->set;
	size_t bytes = 0;
	if (n > r->entries_cap) {
		r->entries_cap = n > 2 * r->entries_cap ? n : 2 * r->entries_cap;
		r->entries = mem_realloc(r->entries, r->entries_cap * sizeof *r->entries);
	}
	for (unsigned i = 0; i < n; i++) {
		const struct raft_entry *e = &entries[i];
		if (!g->receiving || g->receiving->type != RAFT_IO_APPEND_ENTRIES) entry_tidy(e);
		r->entries[i] =
			(struct log_entry) { (enum entry_kind)e->type, e->term, slice_of(e->buf.base, e->buf.len) };
		if (e->type == RAFT_CHANGE) change_noted(g, g->last + 1 + i, r->entries[i].body);
		bytes += e->buf.len + ENTRY_MEMORY_BYTES;
	}
	struct write *w = write_new(g, WRITE_APPEND);
	w->lib = req;
	w->last = g->last + n;
	req->cb = cb;
	g->last += n;
	g->appending++;
	log_append(g->log, &w->req, r->entries, n);
	library_grew(g, bytes);
	receiving_verified(g);
	return 0;
}

static int port_truncate(struct raft_io *io, raft_index index)
{
	struct group *g = group_of(io);
	if (index > g->last) return 0;
	for (uint64_t i = index; i <= g->last; i++) {
		const struct raft_entry *e = port_entry(g, i);
		if (e) g->library_bytes -= size_min(g->library_bytes, e->buf.len + ENTRY_MEMORY_BYTES);
	}
	log_truncate(g->log, index);
	g->last = index - 1;
	changes_truncate(g, index);
	return 0;
}

/* ---- what the library remembers ---- */

static size_t library_count(const struct raft_log *l)
{
	return l->front <= l->back ? l->back - l->front : l->size - l->front + l->back;
}

const struct raft_entry *port_entry(const struct group *g, uint64_t index)
{
	const struct raft_log *l = &g->raft.log;
	if (index <= l->offset || index > l->offset + library_count(l)) return NULL;
	return &l->entries[(l->front + (index - 1 - l->offset)) % l->size];
}

static size_t library_bytes(const struct group *g)
{
	size_t bytes = 0;
	const struct raft_entry *e;
	for (uint64_t i = g->raft.log.offset + 1; (e = port_entry(g, i)) != NULL; i++)
		bytes += e->buf.len + ENTRY_MEMORY_BYTES;
	return bytes;
}

/* How many entries up to the snapshot stay in memory for followers close behind: half of the budget. */
static unsigned trailing(const struct group *g, uint64_t index)
{
	size_t bytes = 0;
	unsigned n = 0;
	const struct raft_entry *e;
	while (n < ENTRIES_TRAILING_MAX && index > n && (e = port_entry(g, index - n)) != NULL) {
		bytes += e->buf.len + ENTRY_MEMORY_BYTES;
		if (bytes > g->set->options.recent_bytes_max / 2 && n >= ENTRIES_TRAILING_MIN) break;
		n++;
	}
	return n;
}

static int port_snapshot_put(struct raft_io *io, unsigned trailing_count, struct raft_io_snapshot_put *req,
	const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
	struct group *g = group_of(io);
	(void)trailing_count;
	(void)snapshot; /* the durable state is the log's affair (S9) */
	ASSERT(g->put == NULL);
	req->cb = cb;
	g->put = req;
	group_dirty(g);
	return 0;
}

static int port_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
	struct group *g = group_of(io);
	struct snapshot_get *s = NEW(struct snapshot_get);
	s->req = req;
	s->cb = cb;
	list_push_back(&g->gets, &s->link);
	group_dirty(g);
	return 0;
}

static void *library_alloc(size_t n)
{
	void *p = raft_malloc(n ? n : 1);
	ASSERT(p != NULL);
	return p;
}

static struct raft_snapshot *snapshot_new(uint64_t index, uint64_t term, uint64_t conf_index, struct slice conf)
{
	struct members m;
	struct raft_snapshot *s = library_alloc(sizeof *s);
	enum err e = members_decode(conf, &m);
	ASSERT(e == OK);
	*s = (struct raft_snapshot) {
		.index = index, .term = term, .configuration_index = u64_max(conf_index, 1), .n_bufs = 1
	};
	raft_configuration_init(&s->configuration);
	members_to_library(&m, &s->configuration);
	s->bufs = library_alloc(sizeof *s->bufs);
	s->bufs[0] = (struct raft_buffer) { library_alloc(1), 1 };
	return s;
}

void port_snapshots_complete(struct group *g)
{
	struct list *l;
	if (g->put) {
		struct raft_io_snapshot_put *put = g->put;
		g->put = NULL;
		raft_set_snapshot_trailing(&g->raft, trailing(g, g->raft.snapshot.pending.index));
		put->cb(put, 0);
		g->library_bytes = library_bytes(g);
		library_grew(g, 0);
	}
	/* The content is of no interest: port_send catches the message and starts to catch up with the follower. */
	while ((l = list_pop_front(&g->gets))) {
		struct snapshot_get *s = CONTAINER_OF(l, struct snapshot_get, link);
		const struct raft_log *log = &g->raft.log;
		s->cb(s->req,
			snapshot_new(
				log->snapshot.last_index, log->snapshot.last_term, g->conf_index, buf_slice(&g->conf)),
			0);
		mem_free(s);
	}
	port_sends_complete(g, 0);
}

/* ---- loading ---- */

static void entry_load(struct group *g, const struct entry_head *head, struct slice body, struct raft_entry *out)
{
	*out = (struct raft_entry) { .term = head->term, .type = head->kind };
	out->buf.len = body.n;
	if (body.n) {
		out->buf.base = library_alloc(body.n);
		memcpy(out->buf.base, body.p, body.n);
	}
	if (head->kind == ENTRY_CHANGE) change_noted(g, head->index, body);
	g->library_bytes += body.n + ENTRY_MEMORY_BYTES;
}

/* Will the library find nobody but us to vote, after what is in the tail of its log? */
static bool is_sole_voter(const struct group *g)
{
	struct slice in = buf_slice(&g->tail), body, conf = buf_slice(&g->conf);
	struct entry_head head;
	struct members m;
	while (entry_next(&in, &head, &body) == OK)
		if (head.kind == ENTRY_CHANGE) conf = body;
	if (members_decode(conf, &m) != OK || members_voters(&m) != 1) return false;
	const struct raft_member *self = members_find(&m, g->set->options.self);
	return self && self->role == RAFT_VOTER;
}

/* S9: from the durable state and what follows it in the log. One allocation per entry: a common batch is freed in quadratic time. */
static int port_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
	raft_index *start, struct raft_entry *entries[], size_t *count)
{
	struct group *g = group_of(io);
	struct entry_head head;
	struct slice body, in = buf_slice(&g->tail);
	size_t n = 0;
	while (entry_next(&in, &head, &body) == OK) n++;
	changes_truncate(g, 0);
	/* A sole voter is made leader inside raft_start without an election: the library would lead in the term it finds, even in 0, and again in
	 * that of an earlier life. The new term is ours to take. */
	if (is_sole_voter(g)) vote_write(g, g->term + 1, g->set->options.self);
	*term = g->term;
	*vote = g->vote;
	*start = g->applied + 1;
	*count = n;
	*entries = n ? raft_calloc(n, sizeof **entries) : NULL;
	in = buf_slice(&g->tail);
	for (size_t i = 0; i < n && entry_next(&in, &head, &body) == OK; i++)
		entry_load(g, &head, body, &(*entries)[i]);
	buf_deinit(&g->tail);
	g->base = g->applied;
	g->base_term = g->applied_term;
	*snapshot = snapshot_new(g->applied, g->applied_term, g->conf_index, buf_slice(&g->conf));
	return 0;
}

static int port_init_io(struct raft_io *io, raft_id id, const char *address)
{
	(void)io;
	(void)id;
	(void)address;
	return 0;
}

static int port_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
	struct group *g = group_of(io);
	(void)msecs; /* ticks are the set's */
	g->tick = tick;
	g->recv = recv;
	return 0;
}

static int port_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
	(void)io;
	(void)conf;
	return RAFT_CANTBOOTSTRAP; /* group_make does that */
}

static raft_time port_time(struct raft_io *io)
{
	const struct group *g = group_of(io);
	uint64_t now = g->asleep ? g->slept_at_ms : set_now_ms(g->set);
	return now - g->slept_ms + g->ahead_ms;
}

static int port_random(struct raft_io *io, int min, int max)
{
	return min + (int)(io_random_u64(group_of(io)->set->io) % (uint64_t)(max > min ? max - min : 1));
}

/* ---- sending ---- */

static void sent_later(struct group *g, struct raft_io_send *req, raft_io_send_cb cb, int status)
{
	if (!cb) return; /* TimeoutNow: the request lives in somebody else's memory and is not waited for */
	if (g->sent_count == g->sent_cap) {
		g->sent_cap = g->sent_cap ? 2 * g->sent_cap : 8;
		g->sent = mem_realloc(g->sent, g->sent_cap * sizeof *g->sent);
	}
	g->sent[g->sent_count++] = (struct sent) { req, cb, status };
	group_dirty(g);
}

void port_sends_complete(struct group *g, int status)
{
	/* Completions send nothing, but the array may have moved by the next time. */
	for (unsigned i = 0; i < g->sent_count; i++) {
		struct sent s = g->sent[i];
		s.cb(s.req, status ? status : s.status);
	}
	g->sent_count = 0;
}

/* Nothing limits an AppendEntries of the library: it is cut into frames. */
static bool append_send(struct group *g, uint64_t to, const struct raft_append_entries *a)
{
	uint64_t prev = a->prev_log_index, prev_term = a->prev_log_term;
	unsigned i = 0;
	do {
		struct frame_out *f = group_frame(g, FRAME_APPEND, to);
		size_t bytes = 0;
		frame_append_begin(f, a->term, prev, prev_term, a->leader_commit);
		for (; i < a->n_entries &&
			(bytes == 0 || bytes + a->entries[i].buf.len <= g->set->options.chunk_bytes_max);
			i++) {
			const struct raft_entry *e = &a->entries[i];
			frame_append_entry(f, e->term, (enum entry_kind)e->type, slice_of(e->buf.base, e->buf.len));
			bytes += e->buf.len + FRAME_ENTRY_BYTES;
			prev++;
			prev_term = e->term;
		}
		frame_end(f);
		if (!group_send(g, to, RAFT_LANE_FRAMES)) return false;
	} while (i < a->n_entries);
	return true;
}

/* G11: where to look next, instead of one index back per heartbeat: before the first entry of the term that does not fit. */
static uint64_t conflict_hint(const struct group *g, uint64_t rejected, uint64_t last)
{
	uint64_t term = group_term_at(g, u64_min(rejected, g->last));
	uint64_t low = u64_max(g->raft.commit_index, 1), high = u64_min(rejected, g->last);
	if (term == 0 || rejected > g->last || is_off(g, FAULT_bug_g11_no_hint)) return last;
	while (low < high) { /* terms rise: the first index of this one */
		uint64_t middle = low + (high - low) / 2;
		uint64_t t = group_term_at(g, middle);
		if (t == 0 || t < term)
			low = middle + 1;
		else
			high = middle;
	}
	return u64_min(last, u64_max(low - 1, g->raft.commit_index));
}

static bool append_result_send(struct group *g, uint64_t to, struct raft_append_entries_result r)
{
	/* In time with the receive call: the library compared this message with its log and found it to fit. */
	if (g->receiving && r.rejected == 0 && r.term == g->raft.current_term) receiving_verified(g);
	uint64_t last = r.last_log_index;
	if (r.rejected == 0 && !is_off(g, FAULT_bug_g3_unchecked_ack))
		last = u64_min(last, g->verified_term == r.term ? g->verified : 0);
	if (r.rejected != 0) last = conflict_hint(g, r.rejected, last);
	struct frame_out *f = group_frame(g, FRAME_APPEND_RESULT, to);
	frame_u64(f, r.term);
	frame_u64(f, r.rejected);
	frame_u64(f, last);
	frame_u64(f, g->refill_needed ? 1 : 0);
	frame_u64(f, log_entry_bytes_max(g->set->log));
	frame_end(f);
	return group_send(g, to, RAFT_LANE_FRAMES);
}

static bool vote_send(struct group *g, uint64_t to, const struct raft_request_vote *v)
{
	struct frame_out *f = group_frame(g, FRAME_VOTE, to);
	frame_u64(f, v->term);
	frame_u64(f, v->last_log_index);
	frame_u64(f, v->last_log_term);
	frame_u64(f, (v->disrupt_leader ? 1u : 0u) | (v->pre_vote ? 2u : 0u));
	frame_end(f);
	return group_send(g, to, RAFT_LANE_FRAMES);
}

static bool vote_result_send(struct group *g, uint64_t to, const struct raft_request_vote_result *v)
{
	/* G13: the library answers a pre-vote with the asker's own term. Who asks for a term that is over would ask for ever. */
	bool is_granted = v->vote_granted || g->grants;
	bool is_over = v->pre_vote == raft_tribool_true && !is_granted && !is_off(g, FAULT_bug_g13_pre_vote_term);
	struct frame_out *f = group_frame(g, FRAME_VOTE_RESULT, to);
	frame_u64(f, is_over ? u64_max(v->term, g->raft.current_term) : v->term);
	frame_u64(f, (is_granted ? 1u : 0u) | (v->pre_vote == raft_tribool_true ? 2u : 0u));
	frame_end(f);
	return group_send(g, to, RAFT_LANE_FRAMES);
}

void port_vote_grant(struct group *g, uint64_t to)
{
	struct raft_request_vote_result r = {
		.term = g->raft.current_term, .vote_granted = true, .pre_vote = raft_tribool_false
	};
	(void)vote_write(g, g->raft.current_term, to);
	g->raft.voted_for = to;
	(void)vote_result_send(g, to, &r);
}

static bool timeout_now_send(struct group *g, uint64_t to, const struct raft_timeout_now *t)
{
	struct frame_out *f = group_frame(g, FRAME_TIMEOUT_NOW, to);
	frame_u64(f, t->term);
	frame_u64(f, t->last_log_index);
	frame_u64(f, t->last_log_term);
	frame_end(f);
	return group_send(g, to, RAFT_LANE_FRAMES);
}

/* The library never looks at a send's result but for AppendEntries: for anything else an error ends the instance, and an error after
 * entries were rejected is a double free (G12). Its server_address may be garbage: the id alone says where to. */
static int port_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *m, raft_io_send_cb cb)
{
	struct group *g = group_of(io);
	uint64_t to = m->server_id;
	bool sent = to != 0;
	switch (m->type) {
	case RAFT_IO_APPEND_ENTRIES:
		/* G1: the first thing a follower hears of a term is an entry of this term. */
		if (m->append_entries.n_entries == 0 && g->noop_term != g->raft.current_term &&
			!is_off(g, FAULT_bug_g1_no_noop))
			return RAFT_NOCONNECTION;
		sent = append_send(g, to, &m->append_entries);
		break;
	case RAFT_IO_APPEND_ENTRIES_RESULT: sent = sent && append_result_send(g, to, m->append_entries_result); break;
	case RAFT_IO_REQUEST_VOTE: sent = vote_send(g, to, &m->request_vote); break;
	case RAFT_IO_REQUEST_VOTE_RESULT: sent = sent && vote_result_send(g, to, &m->request_vote_result); break;
	case RAFT_IO_TIMEOUT_NOW: sent = timeout_now_send(g, to, &m->timeout_now); break;
	case RAFT_IO_INSTALL_SNAPSHOT: {
		struct follower *f = follower_get(g, to);
		if (f) catchup_start(g, f);
		sent = true;
		break;
	}
	default: UNREACHABLE();
	}
	if (!sent && is_off(g, FAULT_bug_g12_send_error) && m->type != RAFT_IO_APPEND_ENTRIES) return RAFT_NOCONNECTION;
	bool is_append = m->type == RAFT_IO_APPEND_ENTRIES;
	sent_later(g, req, cb, sent || !is_append ? 0 : RAFT_NOCONNECTION);
	return 0;
}

/* ---- closing ---- */

static void port_close(struct raft_io *io, raft_io_close_cb cb)
{
	struct group *g = group_of(io);
	struct list *l;
	/* Success for all, also for what is not durable: the instance is unavailable and does nothing with it, but an error would cut its
	 * log in the wrong order (G12). */
	LIST_EACH (node, &g->writes) {
		struct write *w = CONTAINER_OF(node, struct write, link);
		struct raft_io_append *req = w->lib;
		w->lib = NULL;
		if (req) req->cb(req, 0);
	}
	g->appending = 0;
	port_sends_complete(g, RAFT_CANCELED);
	if (g->put) {
		struct raft_io_snapshot_put *put = g->put;
		g->put = NULL;
		put->cb(put, RAFT_CANCELED);
	}
	while ((l = list_pop_front(&g->gets))) {
		struct snapshot_get *s = CONTAINER_OF(l, struct snapshot_get, link);
		s->cb(s->req, NULL, RAFT_CANCELED);
		mem_free(s);
	}
	cb(io);
}

/* ---- the library's state machine: group_deliver applies from port_entry ---- */

static int port_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
	(void)fsm;
	(void)buf;
	*result = NULL;
	return 0;
}

static int port_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *count)
{
	const struct group *g = fsm->data;
	if (!list_is_empty(&g->changes)) return RAFT_BUSY; /* G7: not while a configuration is open */
	*bufs = library_alloc(sizeof **bufs);
	(*bufs)[0] = (struct raft_buffer) { library_alloc(1), 1 };
	*count = 1;
	return 0;
}

static int port_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
	(void)fsm; /* the owner has its state already */
	raft_free(buf->base);
	return 0;
}

void port_init(struct group *g)
{
	g->raft = (struct raft) { 0 };
	g->io = (struct raft_io) {
		.version = 2,
		.impl = g,
		.init = port_init_io,
		.close = port_close,
		.load = port_load,
		.start = port_start,
		.bootstrap = port_bootstrap,
		.set_term = port_set_term,
		.set_vote = port_set_vote,
		.send = port_send,
		.append = port_append,
		.truncate = port_truncate,
		.snapshot_put = port_snapshot_put,
		.snapshot_get = port_snapshot_get,
		.time = port_time,
		.random = port_random,
	};
	g->fsm = (struct raft_fsm) {
		.version = 1, .data = g, .apply = port_apply, .snapshot = port_snapshot, .restore = port_restore
	};
	member_address(g->set->options.self, g->address);
}
