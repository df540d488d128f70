/* SPDX-License-Identifier: Apache-2.0 */
/* Proposing: records gather in one batch per turn (or until it is full), the batch goes through the group, its requests are answered in
 * order when it is applied. What is in flight is remembered for admission. */
#include "stream_internal.h"

#include "thebes/wire.h"

enum { HELD_BYTES_MAX = 64 * 1024 * 1024, HELD_RETRY_MS = 2, PRESSURE_SLOW_PERMILLE = 700 };
enum {
	RECORD_COST = 256
}; /* of a record on its way, besides its bytes: its request, its reply, what is remembered of it for admission */

struct stream_batch *stream_batch_open(struct stream *s)
{
	if (!s->open) {
		struct stream_batch *b = NEW(struct stream_batch);
		b->stream = s;
		list_init(&b->reqs);
		batch_begin(&b->body);
		s->open = b;
		if (s->applied)
			s->applied(s->applied_arg); /* also from a timer or a read: somebody must end the turn */
	}
	return s->open;
}

static void batch_free(struct stream_batch *b)
{
	ledger_release(&b->stream->memory, b->charged);
	buf_deinit(&b->body);
	mem_free(b);
}

static void answer(struct stream_batch *b, enum err result)
{
	for (struct list *node; (node = list_pop_front(&b->reqs)) != NULL;) {
		struct stream_req *r = CONTAINER_OF(node, struct stream_req, link);
		r->result = result;
		if (r->done) r->done(r);
	}
}

/* Both maps hold owned items; empty ones with the same seed and key are left. */
static void forget_all(struct map *m, void (*item_free)(void *item))
{
	struct map empty;
	void *item;
	map_init(&empty, m->seed, m->key_of);
	for (size_t i = 0; (item = map_next(m, &i)) != NULL;) item_free(item);
	map_deinit(m);
	*m = empty;
}

static void subject_free(void *item)
{
	struct ahead_subject *a = item;
	mem_free(a->msgs);
	mem_free(a);
}

static void id_free(void *item) { mem_free(item); }

static void forget_ahead(struct stream *s)
{
	forget_all(&s->ahead_subjects, subject_free);
	forget_all(&s->ahead_ids, id_free);
	buf_clear(&s->ahead_last_id);
}

/* Leadership begins or ends: nothing is in flight as far as admission is concerned. */
void stream_ahead_reset(struct stream *s)
{
	struct stream_batch *b = s->open;
	s->open = NULL;
	s->ahead_last_seq = s->machine.seqs.last_seq;
	s->ahead_time_ns = s->machine.time_ns;
	s->flight_msgs = s->flight_bytes = s->dropping_msgs = s->dropping_bytes = 0;
	LIST_EACH (node, &s->flight) {
		struct stream_batch *f = CONTAINER_OF(node, struct stream_batch, link_by_flight);
		f->msgs = f->msg_bytes = f->drops = f->drop_bytes = 0;
	}
	forget_ahead(s);
	struct list held;
	list_init(&held);
	list_splice_back(&held, &s->held);
	s->held_bytes = 0;
	for (struct list *node; (node = list_pop_front(&held)) != NULL;) {
		struct stream_batch *h = CONTAINER_OF(node, struct stream_batch, link_by_held);
		list_remove(&h->link_by_flight);
		answer(h, ERR_NOT_LEADER);
		batch_free(h);
	}
	if (b) {
		answer(b, ERR_NOT_LEADER);
		batch_free(b);
	}
}

static void proposal_done(struct proposal *p)
{
	struct stream_batch *b = CONTAINER_OF(p, struct stream_batch, proposal);
	struct stream *s = b->stream;
	list_remove(&b->link_by_flight);
	s->flight_msgs -= b->msgs;
	s->flight_bytes -= b->msg_bytes;
	answer(b, p->result);
	batch_free(b);
}

static void ahead_id_forget(struct stream *s, const struct record *r)
{
	struct slice id = s->ahead_ids.count ? machine_msg_id(r->headers) : SLICE_NULL;
	struct ahead_id *d = id.n ? map_get(&s->ahead_ids, id) : NULL;
	if (d && d->seq == r->seq) mem_free(map_del(&s->ahead_ids, id));
}

/* The newest of its subject will not be. */
static void ahead_forget(struct stream *s, const struct record *r)
{
	struct ahead_subject *a = r->kind == RECORD_MSG ? map_get(&s->ahead_subjects, r->subject) : NULL;
	if (a) {
		a->pushed_out -= u64_min(a->pushed_out, a->msgs[a->at + a->count - 1].pushes_out);
		if (--a->count == 0) subject_free(map_del(&s->ahead_subjects, r->subject));
	}
	ahead_id_forget(s, r);
}

/* A batch that was never stored: its messages are not ahead any more. */
static void forget_subjects_of(struct stream *s, struct stream_batch *b)
{
	struct batch_head head;
	struct slice records;
	struct record r;
	enum err e = batch_open(buf_slice(&b->body), &head, &records);
	ASSERT(e == OK);
	while ((e = record_next(&records, &r)) == OK)
		if (r.kind == RECORD_MSG || r.kind == RECORD_SKIP) ahead_forget(s, &r);
	ASSERT(e == ERR_EOF);
}

/* The id of the newest message in flight, if it has one. */
static void ahead_last_id_find(struct stream *s)
{
	const struct ahead_id *a, *last = NULL;
	for (size_t i = 0; (a = map_next(&s->ahead_ids, &i)) != NULL;)
		if (a->seq == s->ahead_last_seq) last = a;
	buf_clear(&s->ahead_last_id);
	if (last) buf_append(&s->ahead_last_id, last->id, last->n);
}

static enum err batch_propose(struct stream *s, struct stream_batch *b)
{
	b->proposal = (struct proposal) { .done = proposal_done };
	return group_propose(s->group, &b->proposal, &b->body, b->grows ? LOG_ADMIT_GROWS : LOG_ADMIT_FREES);
}

/* ---- held back ---- */

static void held_fire(struct io_timer *t)
{
	struct stream *s = CONTAINER_OF(t, struct stream, held_timer);
	if (s->applied) s->applied(s->applied_arg);
}

void stream_held_init(struct stream *s)
{
	list_init(&s->held);
	s->held_timer.fire = held_fire;
}

/* True: the batch waits until the group has room. It may be in flight already (a lull of the log), but only so much may wait. */
static bool hold(struct stream *s, struct stream_batch *b)
{
	if (s->held_bytes + b->body.n > HELD_BYTES_MAX) return false;
	s->held_bytes += b->body.n;
	list_push_back(&s->held, &b->link_by_held);
	if (!io_timer_is_armed(&s->held_timer)) io_timer_start(s->options.io, &s->held_timer, MILLIS(HELD_RETRY_MS));
	return true;
}

static void take_back(struct stream *s, struct stream_batch *b, struct list *refused);
static void refuse(struct stream *s, struct list *refused, enum err e);

void stream_held_run(struct stream *s)
{
	if (retain_waits(s)) return; /* they go on when the drops that belong to them are known */
	while (!list_is_empty(&s->held)) {
		struct stream_batch *b = CONTAINER_OF(s->held.next, struct stream_batch, link_by_held);
		uint64_t bytes = b->body.n;
		enum err e = batch_propose(s, b);
		if (e == ERR_FULL) {
			if (!io_timer_is_armed(&s->held_timer))
				io_timer_start(s->options.io, &s->held_timer, MILLIS(HELD_RETRY_MS));
			return;
		}
		s->held_bytes -= bytes;
		list_remove(&b->link_by_held);
		if (e == OK) continue;
		/* what waits behind it has sequences that follow on from it */
		struct list behind, refused;
		list_init(&behind);
		list_init(&refused);
		list_splice_back(&behind, &s->held);
		s->held_bytes = 0;
		if (s->open) {
			struct stream_batch *open = s->open;
			s->open = NULL;
			batch_end(&open->body, s->ahead_last_seq);
			list_push_back(&s->flight, &open->link_by_flight);
			list_push_back(&behind, &open->link_by_held);
		}
		while (!list_is_empty(&behind)) { /* the newest first */
			struct stream_batch *last = CONTAINER_OF(behind.prev, struct stream_batch, link_by_held);
			list_remove(&last->link_by_held);
			take_back(s, last, &refused);
		}
		take_back(s, b, &refused);
		refuse(s, &refused, e);
		return;
	}
}

void stream_flush(struct stream *s)
{
	struct stream_batch *b = s->open;
	if (!b) return;
	s->is_pressed = log_pressure_permille(s->options.groups->log) >= PRESSURE_SLOW_PERMILLE;
	s->open = NULL;
	batch_end(&b->body, s->ahead_last_seq);
	list_push_back(&s->flight, &b->link_by_flight);
	enum err e = list_is_empty(&s->held) && !retain_waits(s) ? batch_propose(s, b) : ERR_FULL;
	if (e == ERR_FULL && hold(s, b)) return;
	if (e == OK) {
		if (b->grows) s->is_short = false;
		return;
	}
	struct list refused;
	list_init(&refused);
	take_back(s, b, &refused);
	refuse(s, &refused, e);
}

/* Nothing of it was stored: it is not in flight any more. Newer batches first. */
static void take_back(struct stream *s, struct stream_batch *b, struct list *refused)
{
	list_remove(&b->link_by_flight);
	s->flight_msgs -= b->msgs;
	s->flight_bytes -= b->msg_bytes;
	s->dropping_msgs -= b->drops;
	s->dropping_bytes -= b->drop_bytes;
	forget_subjects_of(s, b);
	list_push_front(refused, &b->link_by_held);
}

/* Sequences were given out for what was taken back, so what follows in this turn must not be proposed either: everything that admission
 * assumed starts again from what is applied and what is still in flight. Only then is anybody answered: an answer may be a message to
 * this stream. */
static void refuse(struct stream *s, struct list *refused, enum err e)
{
	if (e == ERR_NO_SPACE) s->is_short = true;
	s->refusals++;
	s->ahead_last_seq = s->machine.seqs.last_seq;
	LIST_EACH (node, &s->flight) {
		uint64_t seq = CONTAINER_OF(node, struct stream_batch, link_by_flight)->seq_last;
		if (seq > s->ahead_last_seq) s->ahead_last_seq = seq;
	}
	ahead_last_id_find(s);
	retain_reset(s);
	for (struct list *node; (node = list_pop_front(refused)) != NULL;) {
		struct stream_batch *b = CONTAINER_OF(node, struct stream_batch, link_by_held);
		diag_add(s->options.diag, COUNTER_publishes_refused, b->msgs);
		answer(b, e);
		batch_free(b);
	}
}

int64_t stream_next_time(struct stream *s)
{
	int64_t now = io_wall_ns(s->options.io);
	s->ahead_time_ns = now > s->ahead_time_ns ? now : s->ahead_time_ns + 1;
	return s->ahead_time_ns;
}

/* One larger message may make a batch of its own. */
static void make_room(struct stream *s, uint64_t bytes)
{
	const struct stream_batch *b = s->open;
	if (b && (b->records == BATCH_RECORDS_MAX || b->body.n + bytes > BATCH_BYTES_MAX)) stream_flush(s);
}

/* Room for a record in the open batch; with a log that refuses what grows, in one of its kind. */
static void make_room_for(struct stream *s, const struct record *r, bool grows)
{
	make_room(s, record_bytes(r));
	if (s->is_short && s->open && s->open->grows != grows) stream_flush(s);
}

bool stream_room_for_drop(struct stream *s, size_t bytes)
{
	uint64_t refusals = s->refusals;
	struct record r = { .kind = RECORD_DROP, .payload = { NULL, bytes } };
	make_room_for(s, &r, false);
	return s->refusals == refusals;
}

bool stream_room_for_publish(struct stream *s, const struct stream_publish *m)
{
	uint64_t refusals = s->refusals;
	struct record r = { .kind = RECORD_CONSUMER };
	if (m)
		r = (struct record) {
			.kind = RECORD_MSG, .subject = m->subject, .headers = m->header, .payload = m->payload
		};
	make_room_for(s, &r, m != NULL);
	return s->refusals == refusals;
}

enum err stream_add_record(struct stream *s, struct record *r, struct stream_req *req, bool grows)
{
	if (!s->leading) return ERR_NOT_LEADER;
	make_room_for(s, r, grows);
	if (!s->leading) return ERR_NOT_LEADER;
	size_t cost = RECORD_COST + record_bytes(r) + 2 * r->subject.n;
	if (grows && !ledger_charge(&s->memory, cost)) return ERR_FULL;
	if (!grows) ledger_force(&s->memory, cost); /* frees more than it takes */
	struct stream_batch *b = stream_batch_open(s);
	b->charged += cost;
	batch_add(&b->body, r);
	b->records++;
	b->grows |= grows;
	if (req) list_push_back(&b->reqs, &req->link);
	return OK;
}

bool stream_is_behind(const struct stream *s) { return s->is_pressed || !list_is_empty(&s->held); }

/* ---- what is in flight, by subject and by id ---- */

static struct ahead_subject *ahead_subject_get(struct stream *s, struct slice subject)
{
	struct ahead_subject *a = map_get(&s->ahead_subjects, subject);
	if (!a) {
		a = mem_zalloc(sizeof *a + subject.n);
		memcpy(a->name, subject.p, subject.n);
		a->n = (uint32_t)subject.n;
		(void)map_put(&s->ahead_subjects, a);
	}
	return a;
}

static void ahead_push(struct ahead_subject *a, uint64_t seq, uint64_t bytes, uint32_t pushes_out)
{
	if (a->at + a->count == a->cap) {
		if (a->at > a->count) {
			memmove(a->msgs, a->msgs + a->at, a->count * sizeof *a->msgs);
			a->at = 0;
		} else {
			a->cap = a->cap ? a->cap * 2 : 2;
			a->msgs = mem_realloc(a->msgs, a->cap * sizeof *a->msgs);
		}
	}
	a->msgs[a->at + a->count++] = (struct ahead_msg) { seq, bytes, pushes_out };
	a->pushed_out += pushes_out;
}

/* Messages of its subject that the next one pushes out when it is applied, and what they weigh: so that the limits of the whole stream do
 * not count them. They are the oldest of those stored and in flight that are not pushed out yet. `a` is NULL when none is in flight. */
static uint32_t ahead_pushes_out(
	const struct stream *s, struct slice subject, const struct ahead_subject *a, bool rolls_up, uint64_t *bytes)
{
	const struct subject_entry *e = subjects_find(&s->machine.subjects, subject);
	int64_t limit = rolls_up ? 1 : s->machine.config.max_msgs_per_subject;
	uint64_t stored = e ? e->count : 0, there = stored + (a ? a->count : 0), gone = a ? a->pushed_out : 0;
	*bytes = 0;
	if (limit <= 0 || (e && !subject_is_kept(e)) || there < gone) return 0;
	uint32_t n = 0;
	for (uint64_t left = there - gone; left + 1 > (uint64_t)limit; left--, n++) {
		uint64_t i = gone + n;
		*bytes += i < stored ? e->kept[e->kept_head + i].bytes : a->msgs[a->at + (i - stored)].bytes;
	}
	return n;
}

static void ahead_note_subject(struct stream *s, const struct stream_publish *m, uint64_t seq, uint64_t bytes)
{
	struct ahead_subject *a = ahead_subject_get(s, m->subject);
	uint64_t out_bytes = 0,
		 out = ahead_pushes_out(s, m->subject, a, m->rollup == STREAM_ROLLUP_SUBJECT, &out_bytes);
	ahead_push(a, seq, bytes, (uint32_t)out);
	if (m->rollup == STREAM_ROLLUP_ALL) { /* all that was there before it */
		out = stream_ahead_msgs(s) - 1;
		out_bytes = stream_ahead_bytes(s) - bytes;
	}
	s->open->drops += out;
	s->open->drop_bytes += out_bytes;
	s->dropping_msgs += out;
	s->dropping_bytes += out_bytes;
}

static void ahead_note_id(struct stream *s, struct slice id, uint64_t seq)
{
	struct ahead_id *a = mem_zalloc(sizeof *a + id.n);
	memcpy(a->id, id.p, id.n);
	a->n = (uint32_t)id.n;
	a->seq = seq;
	mem_free(map_put(&s->ahead_ids, a));
	buf_append_slice(&s->ahead_last_id, id);
}

void stream_ahead_applied(struct stream *s, const struct record *r)
{
	struct ahead_subject *a = r->kind == RECORD_MSG ? map_get(&s->ahead_subjects, r->subject) : NULL;
	if (a) {
		a->pushed_out -= u64_min(a->pushed_out, a->msgs[a->at++].pushes_out);
		if (--a->count == 0) subject_free(map_del(&s->ahead_subjects, r->subject));
	}
	ahead_id_forget(s, r);
}

void stream_batch_applied(struct stream *s, uint64_t index)
{
	LIST_EACH (node, &s->flight) {
		struct stream_batch *b = CONTAINER_OF(node, struct stream_batch, link_by_flight);
		if (b->proposal.index != index) continue;
		s->flight_msgs -= b->msgs;
		s->flight_bytes -= b->msg_bytes;
		s->dropping_msgs -= b->drops;
		s->dropping_bytes -= b->drop_bytes;
		b->msgs = b->msg_bytes = b->drops = b->drop_bytes = 0;
		return;
	}
}

uint64_t stream_ahead_last_seq(const struct stream *s)
{
	return diag_fault(s->options.diag, FAULT_bug_last_in_flight_unseen) ? s->machine.seqs.last_seq
									    : s->ahead_last_seq;
}

uint64_t stream_ahead_msgs(const struct stream *s)
{
	if (diag_fault(s->options.diag, FAULT_bug_flight_uncounted)) return s->machine.seqs.live;
	return s->machine.seqs.live + s->flight_msgs - u64_min(s->dropping_msgs, s->machine.seqs.live + s->flight_msgs);
}

uint64_t stream_ahead_bytes(const struct stream *s)
{
	return s->machine.seqs.bytes + s->flight_bytes -
	       u64_min(s->dropping_bytes, s->machine.seqs.bytes + s->flight_bytes);
}

static uint64_t last_in_flight(const struct ahead_subject *a) { return a->msgs[a->at + a->count - 1].seq; }

static bool take_later(void *arg, struct slice subject, uint64_t count, uint64_t first_seq_hint, uint64_t last_seq)
{
	uint64_t *last = arg;
	(void)subject, (void)count, (void)first_seq_hint;
	*last = u64_max(*last, last_seq);
	return true;
}

static uint64_t ahead_pattern(const struct stream *s, struct slice pattern)
{
	uint64_t last = 0;
	const struct ahead_subject *a;
	stream_subjects(s, &pattern, 1, take_later, &last);
	for (size_t i = 0; (a = map_next(&s->ahead_subjects, &i)) != NULL;)
		if (subject_match(pattern, slice_of(a->name, a->n))) last = u64_max(last, last_in_flight(a));
	return last;
}

uint64_t stream_ahead_subject(const struct stream *s, struct slice subject, uint64_t *count)
{
	if (count) *count = 0;
	if (!subject_is_literal(subject)) return ahead_pattern(s, subject);
	const struct subject_entry *e = subjects_find(&s->machine.subjects, subject);
	const struct ahead_subject *a = map_get(&s->ahead_subjects, subject);
	uint64_t there = (e ? e->count : 0) + (a ? a->count : 0);
	if (count) *count = there - u64_min(there, a ? a->pushed_out : 0);
	return a ? last_in_flight(a) : e ? e->last_seq : 0;
}

uint64_t stream_ahead_pushed_out(const struct stream *s, struct slice subject, uint64_t *bytes)
{
	return ahead_pushes_out(s, subject, map_get(&s->ahead_subjects, subject), false, bytes);
}

uint64_t stream_ahead_msg_id(const struct stream *s, struct slice id, bool *applied)
{
	const struct ahead_id *a = map_get(&s->ahead_ids, id);
	*applied = a == NULL;
	if (a && diag_fault(s->options.diag, FAULT_bug_ids_in_flight_unseen)) a = NULL;
	if (a) return a->seq;
	const struct msg_id *m = msg_ids_find(&s->machine.ids, id);
	int64_t oldest = io_wall_ns(s->options.io) - s->machine.config.duplicate_window_ns;
	return m && m->time_ns >= oldest ? m->seq : 0;
}

struct slice stream_ahead_last_msg_id(const struct stream *s)
{
	bool is_in_flight = s->ahead_last_seq > s->machine.seqs.last_seq;
	return buf_slice(is_in_flight ? &s->ahead_last_id : &s->machine.last_msg_id);
}

/* ---- the records that clients cause ---- */

enum err stream_propose_msg(struct stream *s, const struct stream_publish *m, struct stream_req *req, uint64_t *seq)
{
	if (!s->leading) return ERR_NOT_LEADER;
	struct machine *k = &s->machine;
	bool stores = k->config.retention != STREAM_INTEREST || !k->consumers ||
		      k->consumers->is_wanted(k->consumers_arg, s->ahead_last_seq + 1, m->subject);
	struct record r = { .kind = RECORD_SKIP,
		.headers = m->msg_id.n ? m->header : SLICE_NULL }; /* its id is remembered */
	if (stores)
		r = (struct record) {
			.kind = RECORD_MSG, .subject = m->subject, .headers = m->header, .payload = m->payload
		};
	if (stores && m->rollup == STREAM_ROLLUP_SUBJECT) r.flags |= MACHINE_ROLLUP_SUBJECT;
	if (stores && m->rollup == STREAM_ROLLUP_ALL) r.flags |= MACHINE_ROLLUP_ALL;
	make_room(s, record_bytes(&r));
	if (s->is_short && s->open && !s->open->grows) stream_flush(s);
	if (!s->leading) return ERR_NOT_LEADER;
	r.seq = s->ahead_last_seq + 1; /* only now: a flush that failed has taken sequences back */
	r.time_ns = stream_next_time(s);
	enum err e = stream_add_record(s, &r, req, true);
	if (e != OK) return e;
	*seq = s->ahead_last_seq = s->open->seq_last = r.seq;
	if (req) req->seq = r.seq;
	buf_clear(&s->ahead_last_id);
	if (m->msg_id.n) ahead_note_id(s, m->msg_id, r.seq);
	if (!stores) return OK;
	uint64_t bytes = stream_msg_bytes(&k->config, m->subject.n, m->header.n, m->payload.n);
	s->open->msgs++;
	s->open->msg_bytes += bytes;
	s->flight_msgs++;
	s->flight_bytes += bytes;
	ahead_note_subject(s, m, r.seq, bytes);
	retain_proposed(s, r.seq, bytes, r.time_ns, m->subject);
	return OK;
}

enum err stream_propose_consumer(struct stream *s, struct slice body, struct stream_req *req)
{
	struct record r = { .kind = RECORD_CONSUMER, .time_ns = stream_next_time(s), .payload = body };
	return stream_add_record(s, &r, req, false);
}

enum err stream_propose_drop(
	struct stream *s, struct slice drop, bool erases, uint64_t msgs, uint64_t bytes, struct stream_req *req)
{
	struct record r = { .kind = RECORD_DROP, .time_ns = stream_next_time(s), .payload = drop };
	if (erases) r.flags |= MACHINE_DROP_ERASES;
	enum err e = stream_add_record(s, &r, req, false);
	if (e != OK) return e;
	s->open->drops += msgs;
	s->open->drop_bytes += bytes;
	s->dropping_msgs += msgs;
	s->dropping_bytes += bytes;
	return OK;
}

enum err stream_propose_clear(struct stream *s, struct stream_req *req)
{
	struct record r = { .kind = RECORD_CLEAR, .time_ns = stream_next_time(s) };
	return stream_add_record(s, &r, req, false);
}

enum err stream_propose_config(struct stream *s, const struct stream_config *c, struct stream_req *req)
{
	struct buf json = { 0 };
	stream_config_print(&json, c);
	struct record r = { .kind = RECORD_CONFIG, .time_ns = stream_next_time(s), .payload = buf_slice(&json) };
	enum err e = stream_add_record(s, &r, req, false);
	buf_deinit(&json);
	if (e == OK && c != &s->wanted) {
		stream_config_deinit(&s->wanted);
		stream_config_copy(&s->wanted, c);
	}
	return e;
}
