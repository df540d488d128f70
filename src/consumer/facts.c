/* SPDX-License-Identifier: Apache-2.0 */
/* Where an ack takes the message out of its stream, the record must say what it weighs. A delivery that this process did not make (it was
 * read back from the store, or another leader made it) does not know that: its message is read first, and the ack waits.
 *
 *   consumer_end_pending ─> to_find ─read─> keep_facts ─> to_log ─> record
 *   a double ack of it ───> fact_answers ─────────────────────────> answered when that is applied */
#include "consumer_internal.h"

enum { FACT_BYTES = 64 * 1024, AGAIN_MS = 1000 };

bool pending_lacks_facts(const struct pending *p)
{
	if (diag_fault(p->consumer->all->diag, FAULT_bug_facts_forgotten)) return false;
	return !p->subject && !p->terminal_is_drop && consumers_keep_facts(p->consumer->all);
}

void pending_keep_facts(struct pending *p, const struct stream_msg *m)
{
	struct consumer *k = p->consumer;
	if (!consumers_keep_facts(k->all) || p->subject) return;
	p->bytes = (uint32_t)stream_msg_bytes(stream_config(k->all->stream), m->subject.n, m->header.n, m->payload.n);
	p->subject_n = (uint16_t)m->subject.n;
	p->subject = mem_dup(m->subject.p, m->subject.n);
}

static void fact_again(struct io_timer *t)
{
	consumer_mark(CONTAINER_OF(t, struct consumer, fact_timer));
	consumer_wake(CONTAINER_OF(t, struct consumer, fact_timer));
}

/* The first one waits no longer: with its facts, or without when it has left the stream meanwhile. */
static void take(struct consumer *k, const struct stream_read *r)
{
	struct pending *p = CONTAINER_OF(k->to_find.next, struct pending, link_by_log);
	if (list_is_empty(&k->to_find) || p->sseq != r->from) return; /* it went while it was looked for */
	list_remove(&p->link_by_log);
	if (r->result == OK && r->msgs[0].seq == p->sseq)
		pending_keep_facts(p, &r->msgs[0]);
	else
		p->terminal_is_drop = true;
	list_push_back(&k->to_log, &p->link_by_log);
	k->is_log_due = true; /* an ack */
}

static void read_done(struct stream_read *r)
{
	struct consumer *k = CONTAINER_OF(r, struct consumer, fact_read);
	k->finding = false;
	if (r->result == ERR_CLOSED) return;
	if (r->result == OK || r->result == ERR_NOT_FOUND) {
		take(k, r);
		consumer_mark(k);
		consumer_wake(k);
	} else {
		k->fact_timer.fire = fact_again;
		io_timer_start(k->all->io, &k->fact_timer, MILLIS(AGAIN_MS));
	}
	stream_read_release(r);
}

/* At the end of the turn: what is in memory at once, the rest one by one. */
void consumer_find_facts(struct consumer *k)
{
	while (!k->finding && !list_is_empty(&k->to_find) && !io_timer_is_armed(&k->fact_timer)) {
		const struct pending *p = CONTAINER_OF(k->to_find.next, struct pending, link_by_log);
		struct stream_read *r = &k->fact_read;
		*r = (struct stream_read) {
			.done = read_done, .from = p->sseq, .max_msgs = 1, .max_bytes = FACT_BYTES
		};
		r->result = stream_read_now(k->all->stream, r);
		if (r->result == ERR_AGAIN) {
			k->finding = true;
			stream_read_start(k->all->stream, r);
			return;
		}
		take(k, r);
		if (r->result == OK) stream_read_release(r);
	}
	if (!list_is_empty(&k->to_find)) return;
	consumer_log(k);
	for (struct list *node; (node = list_pop_front(&k->fact_answers)) != NULL;)
		stream_sync(k->all->stream, &CONTAINER_OF(node, struct ack_answer, req.link)->req);
}

/* Leadership is over, or the consumer goes: nothing is confirmed. */
void consumer_stop_finding(struct consumer *k)
{
	if (k->finding) stream_read_cancel(&k->fact_read);
	k->finding = false;
	io_timer_stop(k->all->io, &k->fact_timer);
	for (struct list *node; (node = list_pop_front(&k->fact_answers)) != NULL;)
		mem_free(CONTAINER_OF(node, struct ack_answer, req.link));
}
