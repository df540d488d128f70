/* SPDX-License-Identifier: Apache-2.0 */
/* What clients do: publish (with ids, with expectations), pull, acknowledge in every way, go away in the middle of anything. */
#include "sim/node_world.h"

#include <stdio.h>

#define ANSWER_NS SECONDS(4)

/* ---- publishing ---- */

static bool is_storage_error(uint64_t code) { return code == 10047 || code == 10023 || code == 10077; }

static void check_refusal(struct world *w, const struct book_pub *p, struct slice body)
{
	struct book_stream *s = &w->book.stream[p->stream];
	uint64_t code = 0;
	(void)!json_number(body, "err_code", &code);
	bool is_expected = (code == 10071 || code == 10163) && (p->expects_seq || p->expects_subject_seq);
	bool is_full = code == 10077 && (s->kind == BOOK_DISCARD_NEW || s->kind == BOOK_SUBJECT_NEW);
	if (code == 10060 && p->is_misdirected) {
		sim_count(w->s, "publish refused: expected stream");
		return;
	}
	if (code == 10070 && p->expects_id) {
		sim_count(w->s, "publish refused: expected id");
		return;
	}
	bool is_disk = is_storage_error(code) && !(code == 10047 && w->full_until_ns + SECONDS(3) < world_now(w));
	if (is_expected)
		sim_count(w->s, "publish refused: expected sequence");
	else if (is_full)
		sim_count(w->s, "publish refused: discard new");
	else if (code == 10023)
		sim_count(w->s, "publish refused: ring full");
	else if (code == 10047)
		sim_count(w->s, "publish refused: disk full");
	if (!is_expected && !is_full && !is_disk)
		book_violated(&w->book, "REFUSED without cause: %s publish %llu: %.*s", s->name,
			(unsigned long long)p->number, SLICE_FMT(body));
}

static void publish_answered(struct peer_call *c, const struct wire_op *op)
{
	struct world *w = c->a;
	struct book_pub *p = c->b;
	uint64_t seq = 0, now = world_now(w);
	if (p->generation == w->book.stream[p->stream].generation) {
		w->care[p->stream].publishes--;
		w->care[p->stream].busy_ns = now;
	}
	if (!op) {
		sim_count(w->s, "publish unknown");
		book_pub_unknown(&w->book, p, now);
	} else if (op->header.n && header_status(op->header, NULL) == 503) {
		sim_count(w->s, "publish refused: nobody there");
		book_pub_refused(&w->book, p, now);
	} else if (json_text(op->payload, "description").p) {
		book_pub_refused(&w->book, p, now);
		check_refusal(w, p, op->payload);
	} else if (!json_number(op->payload, "seq", &seq)) {
		book_violated(&w->book, "PUBACK can not be read: %.*s", SLICE_FMT(op->payload));
	} else {
		bool duplicate = memmem(op->payload.p, op->payload.n, "\"duplicate\"", 11) != NULL;
		sim_count(w->s, duplicate ? "publish duplicate" : "publish acked");
		book_pub_acked(&w->book, p, seq, duplicate, now);
	}
	world_trace(w, "publish %llu id %llu on %s: %s %llu", (unsigned long long)p->number, (unsigned long long)p->id,
		w->book.stream[p->stream].name,
		p->outcome == BOOK_STORED      ? "at"
		: p->outcome == BOOK_DUPLICATE ? "duplicate of"
		: p->outcome == BOOK_REFUSED   ? "refused"
					       : "unknown",
		(unsigned long long)p->seq);
}

static void pick_id(struct world *w, struct stream_care *c, struct book_pub *p)
{
	uint64_t *at = &c->ids[sim_below(w->s, COUNT_OF(c->ids))];
	if (world_chance(w, 55)) return;
	if (!*at || world_chance(w, 60)) *at = ++w->next_id;
	book_pub_id(&w->book, p, *at);
}

static void pick_expectation(struct world *w, const struct book_stream *s, struct book_pub *p)
{
	if (world_chance(w, 90)) return;
	if (world_chance(w, 10)) {
		p->is_misdirected = true;
		return;
	}
	p->expected = s->last > 0 && world_chance(w, 80) ? s->last - sim_below(w->s, 2) : sim_below(w->s, s->last + 2);
	if (world_chance(w, 20)) {
		p->expects_id = true;
		p->expected = w->next_id;
		for (uint64_t seq = s->last; seq > 0 && world_chance(w, 99); seq--) {
			const struct book_pub *o = s->slots[seq].pub;
			if (!o || !o->id) continue;
			p->expected = o->id;
			return;
		}
		return;
	}
	if (world_chance(w, 50)) {
		p->expects_seq = true;
		return;
	}
	p->expects_subject_seq = true;
	for (uint64_t seq = s->last; seq > 0; seq--) {
		const struct book_pub *o = s->slots[seq].pub;
		if (!o || o->subject != p->subject) continue;
		if (world_chance(w, 80)) p->expected = seq;
		return;
	}
	p->expected = 0;
}

static void publish_header(const struct book_pub *p, struct buf *b)
{
	if (!p->id && !p->expects_seq && !p->expects_subject_seq && !p->expects_id && !p->is_misdirected) return;
	buf_append_str(b, "NATS/1.0\r\n");
	if (p->id) buf_printf(b, "Nats-Msg-Id: id-%llu\r\n", (unsigned long long)p->id);
	if (p->is_misdirected) buf_append_str(b, "Nats-Expected-Stream: ELSEWHERE\r\n");
	if (p->expects_id) buf_printf(b, "Nats-Expected-Last-Msg-Id: id-%llu\r\n", (unsigned long long)p->expected);
	if (p->expects_seq) buf_printf(b, "Nats-Expected-Last-Sequence: %llu\r\n", (unsigned long long)p->expected);
	if (p->expects_subject_seq)
		buf_printf(b, "Nats-Expected-Last-Subject-Sequence: %llu\r\n", (unsigned long long)p->expected);
	buf_append_str(b, "\r\n");
}

static void publish(struct world *w, struct peer *p, struct stream_care *c, size_t cut)
{
	struct book_stream *s = &w->book.stream[c->index];
	struct buf subject = { 0 }, header = { 0 }, payload = { 0 };
	struct book_pub *pub = book_pub_new(&w->book, c->index, (unsigned)sim_below(w->s, BOOK_SUBJECTS), world_now(w));
	pub->payload_bytes = (uint32_t)world_between(w, 12, world_chance(w, 80) ? 200 : 12000);
	pick_id(w, c, pub);
	pick_expectation(w, s, pub);
	book_subject(s, c->index, pub->subject, &subject);
	publish_header(pub, &header);
	pub->header_bytes = (uint32_t)header.n;
	book_payload(pub, &payload);
	struct peer_call *call = peer_call(
		p, buf_slice(&subject), buf_slice(&header), buf_slice(&payload), ANSWER_NS, publish_answered, cut);
	call->a = w;
	call->b = pub;
	c->publishes++;
	buf_deinit(&subject);
	buf_deinit(&header);
	buf_deinit(&payload);
}

/* ---- acknowledging ---- */

static void confirmed(struct peer_call *c, const struct wire_op *op)
{
	struct world *w = c->a;
	struct stream_care *care = c->b;
	struct book_stream *s = &w->book.stream[care->index];
	if (c->k != s->generation) return;
	care->acks--;
	care->busy_ns = world_now(w);
	if (!op || op->header.n) return; /* nobody was there to hear it */
	struct book_entry *e = book_entry(&s->consumer[c->n], c->m);
	if (!e->confirmed_ns) e->confirmed_ns = world_now(w);
	sim_count(w->s, "ack confirmed");
	world_trace(w, "ack of %s/%s %llu confirmed", s->name, s->consumer[c->n].name, (unsigned long long)c->m);
}

static void ack_twice(struct world *w, struct peer *p, struct stream_care *care, unsigned consumer, uint64_t seq,
	struct slice reply, struct slice word)
{
	struct book_stream *s = &w->book.stream[care->index];
	book_ack_sent(&s->consumer[consumer], seq);
	struct peer_call *c = peer_call(p, reply, SLICE_NULL, word, ANSWER_NS, confirmed, 0);
	c->a = w;
	c->b = care;
	c->n = consumer;
	c->m = seq;
	c->k = s->generation;
	care->acks++;
}

static void ack_later(struct world *w, struct stream_care *care, unsigned consumer, uint64_t seq, struct slice reply)
{
	struct late_ack *l = &w->late[sim_below(w->s, COUNT_OF(w->late))];
	(void)snprintf(l->reply, sizeof l->reply, "%.*s", SLICE_FMT(reply));
	l->stream = care->index;
	l->consumer = consumer;
	l->generation = w->book.stream[care->index].generation;
	l->seq = seq;
}

static void send_late_ack(struct world *w, struct peer *p)
{
	struct late_ack *l = &w->late[sim_below(w->s, COUNT_OF(w->late))];
	struct stream_care *care = &w->care[l->stream];
	if (!l->reply[0] || !care_is_usable(care) || l->generation != w->book.stream[l->stream].generation) return;
	sim_count(w->s, "ack late");
	ack_twice(w, p, care, l->consumer, l->seq, slice_of_str(l->reply), SLICE("+ACK"));
	l->reply[0] = '\0';
}

/* The server takes it for what it has delivered by then, of whichever delivery it was said: as nats-server does. */
static void nak(struct world *w, struct peer *p, struct book_entry *e, struct slice reply, bool at_once)
{
	sim_count(w->s, "ack nak");
	world_trace(w, "nak of %.*s", SLICE_FMT(reply));
	e->asked_ns = 0;
	e->naks_unsure |= e->nak_mark != 0;
	peer_publish(p, reply, at_once ? SLICE("-NAK") : SLICE("-NAK {\"delay\": 50000000}"));
	e->nak_mark = peer_mark(p);
	e->nak_peer = p->index;
}

static void acknowledge(
	struct world *w, struct peer *p, struct stream_care *care, unsigned consumer, uint64_t seq, struct slice reply)
{
	uint64_t dice = sim_below(w->s, 100);
	if (care->is_draining || dice < 40) {
		ack_twice(w, p, care, consumer, seq, reply, SLICE("+ACK"));
	} else if (dice < 80) {
		book_ack_sent(&w->book.stream[care->index].consumer[consumer], seq);
		peer_publish(p, reply, dice < 60 ? SLICE("+ACK") : SLICE_NULL);
		care->busy_ns = world_now(w);
	} else if (dice < 86) {
		nak(w, p, book_entry(&w->book.stream[care->index].consumer[consumer], seq), reply, dice < 83);
	} else if (dice < 89) {
		peer_publish(p, reply, SLICE("+WPI"));
	} else if (dice < 92) {
		sim_count(w->s, "ack term");
		ack_twice(w, p, care, consumer, seq, reply, SLICE("+TERM"));
	} else if (dice < 96) {
		ack_later(w, care, consumer, seq, reply);
	} /* else it is forgotten, and comes again */
}

/* ---- pulling ---- */

static bool next_token(struct slice *tokens, struct slice *token)
{
	if (tokens->n == 0) return false;
	ptrdiff_t dot = slice_find(*tokens, '.');
	*token = dot < 0 ? *tokens : slice_first(*tokens, (size_t)dot);
	*tokens = dot < 0 ? SLICE_NULL : slice_from(*tokens, (size_t)dot + 1);
	return true;
}

/* $JS.ACK.stream.consumer.count.sseq.cseq.time.pending */
static bool read_reply(struct slice reply, uint64_t v[5])
{
	struct slice token;
	for (unsigned i = 0; i < 4; i++)
		if (!next_token(&reply, &token)) return false;
	for (unsigned i = 0; i < 5; i++)
		if (!next_token(&reply, &token) || slice_to_u64(token, &v[i]) != OK) return false;
	return true;
}

/* The clock of the entry: does the delivery after `count` others, seen now, come too soon? */
static bool is_early(const struct world *w, const struct book_consumer *k, const struct book_entry *e, uint64_t count)
{
	return e->asked_ns > w->dead_ns && world_now(w) < e->asked_ns + book_wait_ns(k, count);
}

/* Nothing is known of when the next delivery may come while a negative ack may have been read after this one was made. */
static void note_asked(const struct world *w, struct book_entry *e, uint64_t sent_ns)
{
	if (e->nak_mark && !e->naks_unsure && peer_has_reached(&w->peer[e->nak_peer], e->nak_mark)) {
		e->nak_mark = 0;
		e->nak_read_ns = world_now(w);
	}
	e->asked_ns = !e->nak_mark && sent_ns >= e->nak_read_ns ? sent_ns : 0;
}

static void delivered(struct peer_call *c, const struct wire_op *op)
{
	struct world *w = c->a;
	struct stream_care *care = c->b;
	struct book_stream *s = &w->book.stream[care->index];
	struct book_consumer *k = &s->consumer[c->n];
	uint64_t v[5], seq;
	if (!read_reply(op->reply, v)) {
		book_violated(&w->book, "DELIVERY without an ack subject: %.*s", SLICE_FMT(op->reply));
		return;
	}
	seq = v[1];
	struct book_pub *pub = book_seen(&w->book, care->index, seq, op->subject, op->payload, (int64_t)v[3]);
	if (!pub) return;
	struct book_entry *e = book_entry(k, seq);
	world_trace(w, "delivery %s/%s %llu count %llu", s->name, k->name, (unsigned long long)seq,
		(unsigned long long)v[0]);
	if (!book_consumer_matches(k, pub))
		book_violated(&w->book, "FILTER: consumer %s/%s got %llu", s->name, k->name, (unsigned long long)seq);
	if (e->confirmed_ns && e->confirmed_ns < c->sent_ns)
		book_violated(&w->book, "AGAIN: consumer %s/%s got %llu, whose ack was confirmed before it asked",
			s->name, k->name, (unsigned long long)seq);
	if (s->slots[seq].gone_ns && s->slots[seq].gone_ns < c->sent_ns)
		book_violated(&w->book, "RESURRECTED: consumer %s/%s got %llu, which was removed before it asked",
			s->name, k->name, (unsigned long long)seq);
	if (k->acks == BOOK_ACK_NONE && v[0] > 1)
		book_violated(&w->book, "AGAIN: consumer %s/%s wants no acks and got %llu for the %lluth time", s->name,
			k->name, (unsigned long long)seq, (unsigned long long)v[0]);
	if (k->max_deliver > 0 && v[0] > (uint64_t)k->max_deliver)
		book_violated(&w->book, "MAX DELIVER: consumer %s/%s got %llu for the %lluth time", s->name, k->name,
			(unsigned long long)seq, (unsigned long long)v[0]);
	if (v[0] == 1 && seq <= c->m)
		book_violated(&w->book, "ORDER: consumer %s/%s got %llu behind %llu", s->name, k->name,
			(unsigned long long)seq, (unsigned long long)c->m);
	if (v[0] == 1) c->m = seq;
	if (v[0] > 1)
		sim_count(w->s, "delivery again");
	else
		sim_count(w->s, e->deliveries ? "delivery repeated after a restart" : "delivery");
	bool is_next = v[0] > e->count_max; /* a client that reads slowly may see it behind the one after it */
	if (v[0] > 1 && is_next && is_early(w, k, e, v[0] - 1))
		book_violated(&w->book, "EARLY: consumer %s/%s got %llu for the %lluth time too soon", s->name, k->name,
			(unsigned long long)seq, (unsigned long long)v[0]);
	if (is_next) note_asked(w, e, c->sent_ns);
	e->deliveries++;
	if (v[0] > e->count_max) e->count_max = (uint32_t)v[0];
	book_heard(k, seq, world_now(w));
	if (k->acks == BOOK_ACK_NONE) sim_count(w->s, "delivery that needs no ack");
	if (k->acks == BOOK_ACK_ALL) sim_count(w->s, "delivery to a consumer that acks all");
	if (k->acks != BOOK_ACK_NONE) acknowledge(w, c->peer, care, (unsigned)c->n, seq, op->reply);
}

static void pull_over(struct peer_call *c)
{
	struct world *w = c->a;
	struct stream_care *care = c->b;
	if (c->k >> 32 != w->book.stream[care->index].generation) return;
	care->pulls--;
	care->busy_ns = world_now(w);
}

static void pull_heard(struct peer_call *c, const struct wire_op *op)
{
	struct world *w = c->a;
	const struct stream_care *care = c->b;
	unsigned status = op && op->header.n ? header_status(op->header, NULL) : 0;
	if (c->k >> 32 != w->book.stream[care->index].generation) {
		if (op && status != 100) peer_call_end(c); /* of a stream that was deleted meanwhile */
		return;
	}
	if (op && status == 0 && op->reply.n) {
		uint32_t left = (uint32_t)c->k - 1;
		delivered(c, op);
		c->k = (c->k >> 32) << 32 | left;
		if (left) return;
	} else if (op && status == 100) {
		sim_count(w->s, "pull heartbeat");
		return;
	}
	if (status == 404) sim_count(w->s, "pull 404");
	if (status == 408) sim_count(w->s, "pull 408");
	if (status == 409) sim_count(w->s, "pull 409");
	if (status == 503 && care_is_usable(care) && world_now(w) > w->dead_ns + SECONDS(2))
		sim_count(w->s, "pull 503");
	if (status == 400) book_violated(&w->book, "PULL was refused: %.*s", SLICE_FMT(op->header));
	pull_over(c);
	if (op) peer_call_end(c);
}

static bool is_pulling(const struct peer *p, const struct stream_care *care, unsigned consumer)
{
	LIST_EACH (node, &p->calls) {
		const struct peer_call *c = CONTAINER_OF(node, struct peer_call, link);
		if (c->is_pull && c->b == care && c->n == consumer) return true;
	}
	return false;
}

static void pull(struct world *w, struct peer *p, struct stream_care *care, unsigned consumer)
{
	struct book_stream *s = &w->book.stream[care->index];
	struct buf subject = { 0 }, body = { 0 };
	uint64_t batch = world_chance(w, 30) ? 1 : world_between(w, 2, 64);
	uint64_t expires = world_between(w, 20, 900);
	if (is_pulling(p, care, consumer)) return;
	buf_printf(&subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", s->name, s->consumer[consumer].name);
	buf_printf(&body, "{\"batch\":%llu", (unsigned long long)batch);
	if (world_chance(w, 25)) buf_append_str(&body, ",\"no_wait\":true");
	if (world_chance(w, 20)) {
		sim_count(w->s, "pull of so many bytes");
		buf_printf(&body, ",\"max_bytes\":%llu", (unsigned long long)world_between(w, 7000, 30000));
	}
	if (world_chance(w, 15)) buf_printf(&body, ",\"idle_heartbeat\":%llu", (unsigned long long)MILLIS(expires) / 3);
	buf_printf(&body, ",\"expires\":%llu}", (unsigned long long)MILLIS(expires));
	struct peer_call *c =
		peer_pull(p, buf_slice(&subject), buf_slice(&body), MILLIS(expires) + SECONDS(2), pull_heard);
	c->a = w;
	c->b = care;
	c->n = consumer;
	c->k = (uint64_t)s->generation << 32 | batch;
	care->pulls++;
	buf_deinit(&subject);
	buf_deinit(&body);
}

/* ---- a client's turn ---- */

static struct stream_care *pick_stream(struct world *w)
{
	struct stream_care *c = &w->care[sim_below(w->s, w->book.stream_count)];
	return care_is_usable(c) && !c->is_draining ? c : NULL;
}

/* Away, in the middle of a message. */
static void vanish(struct world *w, struct peer *p)
{
	struct stream_care *c = pick_stream(w);
	sim_count(w->s, "client vanishes");
	if (c && world_chance(w, 70)) {
		publish(w, p, c, (size_t)world_between(w, 1, 40));
		sim_count(w->s, "half a message");
	}
	peer_close(p);
}

void ops_step(struct world *w, struct peer *p)
{
	if (!p->is_open || !p->has_greeted || w->is_silent || sim_below(w->s, 100) >= w->load) return;
	if (world_now(w) < w->slow_until_ns[p->index]) return;
	sim_client_read(p->c, true);
	uint64_t dice = sim_below(w->s, 1000);
	struct stream_care *c = pick_stream(w);
	if (dice < 4) {
		vanish(w, p);
	} else if (dice < 8) {
		w->slow_until_ns[p->index] = world_now(w) + MILLIS(world_between(w, 50, 700));
		sim_client_read(p->c, false);
		sim_count(w->s, "client does not read");
	} else if (dice < 25) {
		send_late_ack(w, p);
	} else if (c && dice < 650) {
		for (uint64_t n = world_between(w, 1, 4); n > 0; n--) publish(w, p, c, 0);
	} else if (c && w->book.stream[c->index].consumer_count) {
		pull(w, p, c, (unsigned)sim_below(w->s, w->book.stream[c->index].consumer_count));
	}
}

void ops_publish(struct world *w, struct peer *p, struct stream_care *c)
{
	if (p->is_open && p->has_greeted && care_is_usable(c)) publish(w, p, c, 0);
}

void ops_drain(struct world *w, struct peer *p)
{
	if (!p->is_open || !p->has_greeted) return;
	for (unsigned i = 0; i < w->book.stream_count; i++) {
		struct stream_care *c = &w->care[i];
		if (!c->is_draining || !care_is_usable(c)) continue;
		for (unsigned k = 0; k < w->book.stream[i].consumer_count; k++)
			if (!c->is_drained[k]) pull(w, p, c, k);
	}
}
