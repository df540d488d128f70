/* SPDX-License-Identifier: Apache-2.0 */
/* salvage — an operator gives up what damage took (S24): the index is built anew from the messages that can still be read, then what lay
 * behind the gap is applied although something is missing before it.
 *
 * Sequences that are lost are absent, and never given out again. What referred to them goes with them: deliveries, and records that remove
 * messages which are not there. What a lost record would have removed stays, and what it acknowledged comes again. */
#include "stream_internal.h"

/* ---- the index ---- */

void machine_salvage_init(struct machine_salvage *v, uint64_t seed)
{
	seq_index_init(&v->seqs);
	subjects_init(&v->subjects, seed);
}

void machine_salvage_deinit(struct machine_salvage *v)
{
	seq_index_deinit(&v->seqs);
	subjects_deinit(&v->subjects);
}

void machine_salvage_msg(const struct machine *m, struct machine_salvage *v, const struct record *r)
{
	if (r->kind != RECORD_MSG || r->flags & RECORD_ERASED || r->seq <= v->seqs.last_seq ||
		!seq_index_is_live(&m->seqs, r->seq))
		return;
	if (v->seqs.live) seq_index_skip_to(&v->seqs, r->seq - 1);
	uint64_t bytes = stream_msg_bytes(&m->config, r->subject.n, r->headers.n, r->payload.n);
	struct subject_entry *e = subjects_get(&v->subjects, r->subject);
	seq_index_store(&v->seqs, r->seq, e->id, bytes);
	subjects_added(&v->subjects, e, r->seq, bytes, machine_keeps(m));
}

static uint64_t tell_lost(struct machine *m, const struct machine_salvage *v)
{
	uint64_t lost = 0;
	for (uint64_t seq = 0; (seq = seq_index_next(&m->seqs, seq + 1, NULL, NULL)) != 0;) {
		if (seq_index_is_live(&v->seqs, seq)) continue;
		if (m->consumers) m->consumers->removed(m->consumers_arg, seq, SLICE_NULL);
		lost++;
	}
	return lost;
}

/* The lists inside know where their heads are. */
static void list_move(struct list *to, struct list *from)
{
	list_init(to);
	list_splice_back(to, from);
}

uint64_t machine_salvaged(struct machine *m, struct machine_salvage *v)
{
	seq_index_skip_to(&v->seqs, m->seqs.last_seq);
	uint64_t lost = tell_lost(m, v);
	seq_index_deinit(&m->seqs);
	subjects_deinit(&m->subjects);
	m->seqs = v->seqs;
	list_move(&m->seqs.dirty, &v->seqs.dirty);
	m->subjects = v->subjects;
	list_move(&m->subjects.dirty, &v->subjects.dirty);
	m->first_time_ns = 0;
	*v = (struct machine_salvage) { 0 };
	machine_salvage_init(v, 0);
	return lost;
}

void machine_skip_to(struct machine *m, uint64_t seq) { seq_index_skip_to(&m->seqs, seq); }

/* ---- the stream's side ---- */

void salvage_entry(struct stream *s, struct slice body)
{
	struct batch_head head;
	struct slice records;
	struct record r;
	if (!s->salvage) {
		s->salvage = NEW(struct machine_salvage);
		machine_salvage_init(s->salvage, io_random_u64(s->options.io));
		s->salvage_lost = 0;
	}
	if (batch_open(body, &head, &records) != OK) return;
	while (record_next(&records, &r) == OK) machine_salvage_msg(&s->machine, s->salvage, &r);
}

void salvage_over(struct stream *s)
{
	if (!s->salvage) salvage_entry(s, SLICE_NULL); /* nothing was left */
	s->salvage_lost = machine_salvaged(&s->machine, s->salvage);
	salvage_free(s);
	s->is_accepting = true;
}

void salvage_free(struct stream *s)
{
	if (s->salvage) machine_salvage_deinit(s->salvage);
	mem_free(s->salvage);
	s->salvage = NULL;
}

/* Something is missing before it: the sequences of that are skipped, and a record that does not fit what is left means nothing. */
bool salvage_apply(struct stream *s, uint64_t index, struct slice body)
{
	struct machine *m = &s->machine;
	struct batch_head head;
	struct slice records;
	struct record r;
	struct machine_event ev;
	if (batch_open(body, &head, &records) != OK) return false;
	uint64_t seq_before = m->seqs.last_seq;
	enum err e;
	while ((e = record_next(&records, &r)) == OK) {
		bool is_seq = r.kind == RECORD_MSG || r.kind == RECORD_SKIP;
		if (is_seq && r.seq <= m->seqs.last_seq) continue;
		if (is_seq) machine_skip_to(m, r.seq - 1);
		if (r.flags & RECORD_ERASED) continue;
		if (r.kind == 0 || r.kind >= RECORD_KIND_END) return false;
		if (machine_apply(m, index, &r, &ev) != OK && is_seq) return false;
	}
	if (e != ERR_EOF) return false;
	machine_skip_to(m, head.seq_last);
	m->index = index;
	if (m->seqs.last_seq != seq_before) reads_note_entry(s, index, seq_before, m->seqs.last_seq);
	return true;
}

void salvage_accepted(struct stream *s, uint64_t index, uint64_t seq_bound, struct state_batch *batch)
{
	machine_skip_to(&s->machine, seq_bound);
	s->machine.index = index;
	s->is_accepting = false;
	chunks_clear(s);
	machine_capture(&s->machine, batch, true);
	if (s->applied) s->applied(s->applied_arg);
}

/* ---- the door ---- */

static void accepted(struct group_accept *g)
{
	struct stream_accept *a = CONTAINER_OF(g, struct stream_accept, group);
	struct stream_state st;
	a->result = g->result;
	stream_state(a->stream, &st);
	a->lost = a->stream->salvage_lost;
	a->next_seq = st.last_seq + 1;
	a->done(a);
}

enum err stream_accept(struct stream *s, struct stream_accept *a)
{
	a->stream = s;
	a->group = (struct group_accept) { .done = accepted };
	return group_accept(s->group, &a->group);
}
