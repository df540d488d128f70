/* SPDX-License-Identifier: Apache-2.0 */
/* Acks: what a client says about a delivery (spec §5.9). They gather per consumer and go into one record a turn; a double ack is answered
 * when that record is applied. */
#include "consumer_internal.h"
#include "thebes/advisory.h"

/* The end of a pending message goes into the next record. */
void consumer_end_pending(struct pending *p)
{
	struct consumer *k = p->consumer;
	if (p->acking) return;
	p->acking = true;
	k->acking_count++;
	if (heap_is_linked(&p->link_by_due)) heap_remove(&k->due, &p->link_by_due);
	if (pending_lacks_facts(p)) {
		list_remove_if_linked(&p->link_by_log); /* a record was to say that it is held back */
		list_push_back(&k->to_find, &p->link_by_log);
	} else {
		if (!list_is_linked(&p->link_by_log)) list_push_back(&k->to_log, &p->link_by_log);
		k->is_log_due = true;
	}
	consumer_mark(k);
}

/* Acks go into a record at once. Deliveries alone, and what is held back, go with them; without an ack soon after, or when so many are not
 * logged that a crash would repeat too much. A delivery never waits for its record: docs/operations.md says what a crash may repeat. */
enum { UNLOGGED_MAX = 4096, LOG_AFTER_MS = 100, RETRY_MS = 20 };

bool consumer_is_behind(const struct consumer *k) { return !list_is_empty(&k->to_log) || k->live_cseq != k->said_cseq; }

static bool must_log(struct consumer *k)
{
	if (!consumer_is_behind(k)) k->is_log_due = false;
	return k->is_log_due || k->live_cseq - k->said_cseq >= UNLOGGED_MAX;
}

static void log_fire(struct io_timer *t)
{
	struct consumer *k = CONTAINER_OF(t, struct consumer, log_timer);
	k->is_log_due = true;
	consumer_mark(k);
	consumer_wake(k);
}

void consumer_log_soon(struct consumer *k)
{
	if (io_timer_is_armed(&k->log_timer) || diag_fault(k->all->diag, FAULT_bug_deliveries_not_told)) return;
	k->log_timer.fire = log_fire;
	io_timer_start(k->all->io, &k->log_timer, MILLIS(LOG_AFTER_MS));
}

struct state_log {
	struct stream_req req;
	struct consumers *all;
	uint32_t id;
};

static void retry_fire(struct io_timer *t)
{
	struct consumers *c = CONTAINER_OF(t, struct consumers, retry_timer);
	LIST_EACH (node, &c->by_id) consumer_mark(CONTAINER_OF(node, struct consumer, link_by_id));
	c->wake(c->wake_arg);
}

/* The record was refused: what it said must be said again, or an ack would be lost and its message never come again. What a record in
 * flight says too is harmless to say twice. */
static void log_again(struct consumer *k)
{
	if (diag_fault(k->all->diag, FAULT_bug_refused_ack_lost)) return;
	struct list again; /* new deliveries must rise in to_log, also those that are in it already */
	list_init(&again);
	LIST_EACH (node, &k->pending_by_seq) {
		struct pending *p = CONTAINER_OF(node, struct pending, link_by_seq);
		bool is_there = list_is_linked(&p->link_by_log);
		if (is_there ? p->acking || p->logged : !p->acking && p->logged && !p->changed) continue;
		list_remove_if_linked(&p->link_by_log);
		list_push_back(&again, &p->link_by_log);
	}
	list_splice_back(&again, &k->to_log);
	list_splice_back(&k->to_log, &again);
	k->said_cseq = k->delivered_cseq;
	k->is_log_due = true;
	k->all->retry_timer.fire = retry_fire;
	io_timer_start(k->all->io, &k->all->retry_timer, MILLIS(RETRY_MS));
}

static void log_done(struct stream_req *r)
{
	struct state_log *q = CONTAINER_OF(r, struct state_log, req);
	struct consumer *k = r->result != OK && q->all->leading ? consumer_by_id(q->all, q->id) : NULL;
	if (k) log_again(k);
	mem_free(q);
}

/* True: there is more to say. */
static bool log_part(struct consumer *k)
{
	struct buf b = { 0 };
	struct state_log *q = NEW(struct state_log);
	*q = (struct state_log) { .req = { .done = log_done }, .all = k->all, .id = k->id };
	record_state(&b, k);
	enum err e = stream_propose_consumer(k->all->stream, buf_slice(&b), &q->req);
	buf_deinit(&b);
	if (e == OK) return !list_is_empty(&k->to_log);
	mem_free(q);
	if (k->all->leading) log_again(k);
	return false;
}

void consumer_log(struct consumer *k)
{
	if (!must_log(k) || k->deleting) return;
	k->is_log_due = false; /* unless it is refused */
	while (log_part(k)) continue;
}

/* ---- double acks ---- */

static void answer(struct stream_req *r)
{
	struct ack_answer *a = CONTAINER_OF(r, struct ack_answer, req);
	const struct consumer *k = consumer_by_id(a->all, a->id);
	const struct pending *p = k ? pending_find(k, a->sseq) : NULL;
	bool leads =
		a->all->leading && a->lead == a->all->lead;  /* else what was to be logged was forgotten meanwhile */
	if (leads && r->result == OK && !(p && p->acking)) { /* still acking: its own record was refused */
		struct msg m = { .subject = slice_of(a->reply, a->reply_n), .account = a->all->account };
		(void)router_publish(&a->all->account->router, &m);
	}
	mem_free(a);
}

static void answer_when_applied(struct consumer *k, uint64_t sseq, struct slice reply)
{
	if (reply.n == 0) return;
	/* Delivered before a restart that has forgotten it: it comes again, so nothing may be confirmed. */
	if (sseq > k->live_sseq && stream_is_live(k->all->stream, sseq)) return;
	struct ack_answer *a = mem_zalloc(sizeof *a + reply.n);
	*a = (struct ack_answer) { .req = { .done = answer },
		.all = k->all,
		.lead = k->all->lead,
		.sseq = sseq,
		.id = k->id,
		.reply_n = (uint32_t)reply.n };
	memcpy(a->reply, reply.p, reply.n);
	if (diag_fault(k->all->diag, FAULT_bug_double_ack_early)) {
		a->sseq = 0;
		answer(&a->req);
		return;
	}
	const struct pending *p = pending_find(k, sseq);
	if (p && p->acking && pending_lacks_facts(p)) {
		list_push_back(&k->fact_answers, &a->req.link);
		return;
	}
	consumer_log(k);
	stream_sync(k->all->stream, &a->req);
}

/* ---- what is told of them ---- */

/* What a delivery was sent with, as its ack says it again. */
struct delivery {
	uint64_t count, sseq, cseq;
};

static bool advise(
	struct advisory *a, struct consumer *k, const struct delivery *d, const char *type, const char *subject)
{
	const char *stream = stream_config(k->all->stream)->name;
	if (!advisory_begin(a, k->all->io, k->all->account, type, "%s.%s.%s", subject, stream, k->config.name))
		return false;
	advisory_text(a, "stream", slice_of_str(stream));
	advisory_text(a, "consumer", k->name);
	advisory_number(a, "consumer_seq", d->cseq);
	advisory_number(a, "stream_seq", d->sseq);
	advisory_number(a, "deliveries", d->count);
	return true;
}

static void advise_nak(struct consumer *k, const struct delivery *d)
{
	struct advisory a;
	if (advise(&a, k, d, "advisory.v1.nak", "ADVISORY.CONSUMER.MSG_NAKED")) advisory_send(&a);
}

static void advise_term(struct consumer *k, const struct delivery *d, struct slice reason)
{
	struct advisory a;
	if (!advise(&a, k, d, "advisory.v1.terminated", "ADVISORY.CONSUMER.MSG_TERMINATED")) return;
	if (reason.n) advisory_text(&a, "reason", reason);
	advisory_send(&a);
}

/* sample_freq: of so many acks in a hundred it is told how long they took. */
static void sample_ack(struct consumer *k, const struct delivery *d, int64_t delivered_ns)
{
	struct advisory a;
	unsigned percent = consumer_config_sampled(&k->config);
	if (percent == 0 || (percent < 100 && io_random_u64(k->all->io) % 100 >= percent)) return;
	if (!advise(&a, k, d, "metric.v1.consumer_ack", "METRIC.CONSUMER.ACK")) return;
	int64_t took = io_wall_ns(k->all->io) - delivered_ns;
	advisory_number(&a, "ack_time", took > 0 ? (uint64_t)took : 0);
	advisory_send(&a);
}

/* ---- kinds ---- */

static void ack_one(struct consumer *k, struct pending *p)
{
	k->acked_ns = io_wall_ns(k->all->io);
	if (k->config.ack_policy != ACK_ALL) {
		consumer_end_pending(p);
		return;
	}
	LIST_EACH (node, &k->pending_by_seq) {
		struct pending *at = CONTAINER_OF(node, struct pending, link_by_seq);
		if (at->sseq > p->sseq) break;
		consumer_end_pending(at);
	}
}

static struct slice trimmed(struct slice s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) s = slice_from(s, 1);
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
	return s;
}

/* ` {"delay":ns}` or ` 5s`; nothing or nonsense: at once. */
static uint64_t nak_delay(struct slice rest)
{
	int64_t ns = 0;
	rest = trimmed(rest);
	if (rest.n == 0) return 0;
	if (rest.p[0] != '{') return duration_parse(rest, &ns) == OK && ns > 0 ? (uint64_t)ns : 0;
	const uint8_t *at = memmem(rest.p, rest.n, "\"delay\"", 7);
	if (!at) return 0;
	struct slice v = trimmed(slice_from(rest, (size_t)(at - rest.p) + 7));
	if (v.n == 0 || v.p[0] != ':') return 0;
	v = trimmed(slice_from(v, 1));
	size_t n = 0;
	while (n < v.n && v.p[n] >= '0' && v.p[n] <= '9') n++;
	uint64_t delay = 0;
	return slice_to_u64(slice_first(v, n), &delay) == OK ? delay : 0;
}

/* It is to come so much later, also after a restart. */
static void hold(struct consumer *k, struct pending *p, uint64_t delay_ns)
{
	p->due_ns = io_wall_ns(k->all->io) +
		    (int64_t)u64_min(delay_ns, MILLIS(UINT32_MAX)); /* as far as a record can say */
	p->changed = true;
	if (!list_is_linked(&p->link_by_log)) list_push_back(&k->to_log, &p->link_by_log);
	consumer_log_soon(k);
}

static void nak(struct consumer *k, struct pending *p, struct slice rest)
{
	uint64_t delay = nak_delay(rest);
	if (diag_fault(k->all->diag, FAULT_bug_nak_ignored)) {
		if (heap_is_linked(&p->link_by_due)) heap_remove(&k->due, &p->link_by_due);
		return;
	}
	consumer_schedule(p, delay ? delay : 1);
	hold(k, p, delay);
	consumer_mark(k);
	if (!delay) consumer_wake(k);
}

static bool is(struct slice payload, const char *word, struct slice *rest)
{
	struct slice w = slice_of_str(word);
	if (!slice_has_prefix(payload, w)) return false;
	*rest = slice_from(payload, w.n);
	return true;
}

/* The messages that advisories are may do anything, so they go when all else is done. */
static void apply_kind(struct consumer *k, const struct delivery *d, struct slice payload, struct slice reply)
{
	struct slice rest = SLICE_NULL;
	struct pending *p = pending_find(k, d->sseq);
	bool open = p && !p->acking;
	int64_t delivered_ns = p ? p->time_ns : 0;
	bool next = is(payload, "+NXT", &rest);
	bool is_ack =
		open && (payload.n == 0 || slice_eq(payload, SLICE("+ACK")) || slice_eq(payload, SLICE("+OK")) || next);
	bool is_nak = is(payload, "-NAK", &rest) && open;
	bool is_term = is(payload, "+TERM", &rest) && open;
	if (is_ack || is_term) ack_one(k, p); /* ends, with ack all, those before it too */
	if (is_nak) nak(k, p, rest);
	if (open && slice_has_prefix(payload, SLICE("+WPI"))) {
		consumer_schedule(p, 0);
		hold(k, p, consumer_wait(k, p->count));
	}
	/* anything else does nothing, and whoever asks is told that it was read */
	if (next) {
		consumer_pull(k, trimmed(rest), reply); /* the next message is the answer */
	} else {
		answer_when_applied(k, d->sseq, reply);
	}
	if (is_ack) sample_ack(k, d, delivered_ns);
	if (is_nak) advise_nak(k, d);
	if (is_term) advise_term(k, d, trimmed(rest));
}

/* What a delivery was sent with: count, stream and consumer sequence, time, pending. */
static bool is_ack_tail(struct slice tokens) { return tokens.n && subject_token_count(tokens) == 5; }

static bool next_number(struct slice *tokens, uint64_t *out)
{
	ptrdiff_t dot = slice_find(*tokens, '.');
	struct slice token = dot < 0 ? *tokens : slice_first(*tokens, (size_t)dot);
	*tokens = dot < 0 ? SLICE_NULL : slice_from(*tokens, (size_t)dot + 1);
	return slice_to_u64(token, out) == OK;
}

bool consumers_ack(
	struct consumers *c, struct slice consumer, struct slice tokens, struct slice payload, struct slice reply)
{
	struct consumer *k = consumers_find(c, consumer);
	struct delivery d;
	if (!k || !is_ack_tail(tokens)) return false;
	if (!c->leading || k->deleting) return true;
	if (!next_number(&tokens, &d.count) || !next_number(&tokens, &d.sseq) || !next_number(&tokens, &d.cseq))
		return true;
	apply_kind(k, &d, payload, reply);
	consumer_rest(k);
	consumer_wake(k);
	return true;
}
