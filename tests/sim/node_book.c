/* SPDX-License-Identifier: Apache-2.0 */
/* node_book — see node_book.h. */
#include "sim/node_book.h"

#include <stdarg.h>
#include <stdio.h>

#include "thebes/stream.h"

#define DUPLICATE_SLACK_NS MILLIS(1) /* clocks of records may run ahead of the wall by a nanosecond each */

void book_violated(struct book *b, const char *fmt, ...)
{
	va_list ap;
	if (b->violation[0]) return;
	va_start(ap, fmt);
	(void)vsnprintf(b->violation, sizeof b->violation, fmt, ap);
	va_end(ap);
}

void book_deinit(struct book *b)
{
	for (size_t i = 0; i < b->pub_count; i++) mem_free(b->pubs[i]);
	mem_free(b->pubs);
	mem_free(b->by_id);
	for (unsigned i = 0; i < b->stream_count; i++) {
		mem_free(b->stream[i].slots);
		for (unsigned k = 0; k < b->stream[i].consumer_count; k++) mem_free(b->stream[i].consumer[k].at);
	}
	*b = (struct book) { 0 };
}

static unsigned long long ull(uint64_t v) { return v; }

/* ---- tables by sequence ---- */

static uint64_t grown(uint64_t cap, uint64_t seq)
{
	uint64_t next = cap ? cap : 64;
	while (next <= seq) next *= 2;
	return next;
}

struct book_slot *book_slot(struct book_stream *s, uint64_t seq)
{
	if (seq >= s->cap) {
		uint64_t cap = grown(s->cap, seq);
		s->slots = mem_realloc(s->slots, cap * sizeof *s->slots);
		memset(s->slots + s->cap, 0, (cap - s->cap) * sizeof *s->slots);
		s->cap = cap;
	}
	return &s->slots[seq];
}

struct book_entry *book_entry(struct book_consumer *k, uint64_t seq)
{
	if (seq >= k->cap) {
		uint64_t cap = grown(k->cap, seq);
		k->at = mem_realloc(k->at, cap * sizeof *k->at);
		memset(k->at + k->cap, 0, (cap - k->cap) * sizeof *k->at);
		k->cap = cap;
	}
	return &k->at[seq];
}

uint64_t book_wait_ns(const struct book_consumer *k, uint64_t count)
{
	size_t n = 0;
	while (n < COUNT_OF(k->backoff_ns) && k->backoff_ns[n]) n++;
	if (n == 0) return (uint64_t)k->ack_wait_ns;
	return (uint64_t)k->backoff_ns[u64_min(count, n) - 1];
}

void book_ack_sent(struct book_consumer *k, uint64_t seq)
{
	struct book_entry *e = book_entry(k, seq);
	e->ack_sent = e->ack_tried = true;
	for (uint64_t i = 1; k->acks == BOOK_ACK_ALL && i < seq; i++) k->at[i].ack_sent = k->at[i].ack_tried = true;
}

void book_heard(struct book_consumer *k, uint64_t seq, uint64_t now_ns)
{
	k->heard_sseq = u64_max(k->heard_sseq, seq);
	k->heard_ns = now_ns;
}

void book_may_forget(struct book_stream *s, uint64_t since_ns)
{
	for (unsigned i = 0; i < s->consumer_count; i++)
		if (s->consumer[i].heard_ns >= since_ns) s->consumer[i].heard_sseq = 0;
}

void book_stream_reset(struct book_stream *s)
{
	mem_free(s->slots);
	s->slots = NULL;
	s->cap = s->last = s->replayed = s->given_up = s->unknown_count = 0;
	s->generation++;
	for (unsigned i = 0; i < s->consumer_count; i++) {
		mem_free(s->consumer[i].at);
		s->consumer[i].at = NULL;
		s->consumer[i].cap = 0;
		s->consumer[i].heard_sseq = 0;
	}
}

/* ---- publishes ---- */

struct book_pub *book_pub_new(struct book *b, unsigned stream, unsigned subject, uint64_t now_ns)
{
	struct book_pub *p = NEW(struct book_pub);
	if (b->pub_count == b->pub_cap) {
		b->pub_cap = b->pub_cap ? b->pub_cap * 2 : 256;
		b->pubs = mem_realloc(b->pubs, b->pub_cap * sizeof(struct book_pub *));
	}
	b->pubs[b->pub_count++] = p;
	*p = (struct book_pub) { .number = b->pub_count,
		.stream = stream,
		.subject = subject,
		.generation = b->stream[stream].generation,
		.sent_ns = now_ns };
	return p;
}

void book_pub_id(struct book *b, struct book_pub *p, uint64_t id)
{
	if (id >= b->id_cap) {
		size_t cap = id * 2 + 64;
		b->by_id = mem_realloc(b->by_id, cap * sizeof(struct book_pub *));
		memset(b->by_id + b->id_cap, 0, (cap - b->id_cap) * sizeof(struct book_pub *));
		b->id_cap = cap;
	}
	p->id = id;
	p->same_id = b->by_id[id];
	b->by_id[id] = p;
}

void book_payload(const struct book_pub *p, struct buf *out)
{
	size_t begin = out->n;
	buf_printf(out, "%llu:", ull(p->number));
	if (out->n - begin >= p->payload_bytes) return;
	size_t left = p->payload_bytes - (out->n - begin);
	uint8_t *to = buf_reserve(out, left);
	out->n += left;
	for (uint64_t x = p->number * 0x9e3779b97f4a7c15u; left > 0; x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u) {
		const uint64_t letters = (x & 0x0f0f0f0f0f0f0f0fu) + 0x6161616161616161u; /* eight of a..p */
		size_t n = size_min(left, sizeof letters);
		memcpy(to, &letters, n);
		to += n;
		left -= n;
	}
}

void book_subject(const struct book_stream *s, unsigned stream, unsigned subject, struct buf *out)
{
	(void)s;
	buf_printf(out, "s%u.%c", stream, 'a' + (int)subject);
}

/* Somebody is at that sequence: is it whom we think? */
static void put_at(struct book *b, struct book_pub *p, uint64_t seq, const char *who)
{
	struct book_stream *s = &b->stream[p->stream];
	if (seq == 0) {
		book_violated(b, "%s: %s says sequence 0", s->name, who);
		return;
	}
	struct book_slot *at = book_slot(s, seq);
	if (at->pub && at->pub != p)
		book_violated(b, "TWO at one sequence: %s %s says %llu holds publish %llu, it was told to hold %llu",
			s->name, who, ull(seq), ull(p->number), ull(at->pub->number));
	if (!at->pub && seq <= s->given_up)
		book_violated(b, "AGAIN: %s %s says %llu holds publish %llu, sequences up to %llu were given out",
			s->name, who, ull(seq), ull(p->number), ull(s->given_up));
	at->pub = p;
	p->seq = seq;
	p->outcome = BOOK_STORED;
	if (seq > s->last) s->last = seq;
}

/* Was the same id stored before, so near that it can not be anything but a duplicate; or so long ago that it can not be one? */
static void check_id(struct book *b, const struct book_pub *p)
{
	const struct book_stream *s = &b->stream[p->stream];
	for (const struct book_pub *o = p->id ? b->by_id[p->id] : NULL; o; o = o->same_id) {
		if (o == p || o->stream != p->stream || o->generation != p->generation || o->outcome != BOOK_STORED)
			continue;
		const struct book_pub *first = o->seq < p->seq ? o : p, *then = o->seq < p->seq ? p : o;
		uint64_t at_most = then->ended_ns - u64_min(first->sent_ns, then->ended_ns);
		if (first->time_ns && then->time_ns) at_most = (uint64_t)(then->time_ns - first->time_ns);
		if (at_most + DUPLICATE_SLACK_NS < s->window_ns)
			book_violated(b,
				"TWICE: %s stored id %llu at %llu and at %llu, at most %.3f s apart, the window is "
				"%.3f s",
				s->name, ull(p->id), ull(first->seq), ull(then->seq), (double)at_most / 1e9,
				(double)s->window_ns / 1e9);
	}
}

static void acked_as_duplicate(struct book *b, struct book_pub *p, uint64_t seq)
{
	struct book_stream *s = &b->stream[p->stream];
	const struct book_pub *o = seq < s->cap ? s->slots[seq].pub : NULL;
	p->outcome = BOOK_DUPLICATE;
	p->seq = seq;
	if (!p->id || (o && o->id != p->id))
		book_violated(b, "FALSE DUPLICATE: %s says that publish %llu (id %llu) is %llu, which has id %llu",
			s->name, ull(p->number), ull(p->id), ull(seq), ull(o ? o->id : 0));
	if (o && p->sent_ns > o->ended_ns && o->ended_ns && p->sent_ns - o->ended_ns > s->window_ns + SECONDS(1))
		book_violated(b, "LATE DUPLICATE: %s remembers id %llu of %llu for %.3f s", s->name, ull(p->id),
			ull(seq), (double)(p->sent_ns - o->ended_ns) / 1e9);
}

void book_pub_acked(struct book *b, struct book_pub *p, uint64_t seq, bool duplicate, uint64_t now_ns)
{
	const struct book_stream *s = &b->stream[p->stream];
	ASSERT(p->outcome == BOOK_OPEN || p->outcome == BOOK_STORED); /* a consumer may have seen it first */
	p->ended_ns = now_ns;
	if (duplicate) {
		if (p->outcome == BOOK_STORED)
			book_violated(b, "%s: publish %llu is at %llu and was called a duplicate of %llu", s->name,
				ull(p->number), ull(p->seq), ull(seq));
		acked_as_duplicate(b, p, seq);
		return;
	}
	if (p->outcome == BOOK_STORED && p->seq != seq)
		book_violated(b, "%s: publish %llu was seen at %llu and acknowledged at %llu", s->name, ull(p->number),
			ull(p->seq), ull(seq));
	put_at(b, p, seq, "a PubAck");
	if (p->expects_seq && seq != p->expected + 1)
		book_violated(
			b, "EXPECTED last sequence %llu, stored at %llu in %s", ull(p->expected), ull(seq), s->name);
	if (p->is_misdirected) book_violated(b, "EXPECTED another stream, stored at %llu in %s", ull(seq), s->name);
	check_id(b, p);
}

void book_pub_refused(struct book *b, struct book_pub *p, uint64_t now_ns)
{
	p->ended_ns = now_ns;
	if (p->outcome == BOOK_STORED)
		book_violated(b, "REFUSED publish %llu is at %llu in %s", ull(p->number), ull(p->seq),
			b->stream[p->stream].name);
	p->outcome = BOOK_REFUSED;
}

void book_pub_unknown(struct book *b, struct book_pub *p, uint64_t now_ns)
{
	p->ended_ns = now_ns;
	if (p->outcome != BOOK_OPEN || p->generation != b->stream[p->stream].generation) return;
	p->outcome = BOOK_UNKNOWN;
	b->stream[p->stream].unknown_count++;
}

static bool payload_is(const struct book_pub *p, struct slice payload)
{
	struct buf want = { 0 };
	book_payload(p, &want);
	bool same = slice_eq(buf_slice(&want), payload);
	buf_deinit(&want);
	return same;
}

struct book_pub *book_seen(
	struct book *b, unsigned stream, uint64_t seq, struct slice subject, struct slice payload, int64_t time_ns)
{
	struct book_stream *s = &b->stream[stream];
	struct buf name = { 0 };
	uint64_t number = 0;
	ptrdiff_t colon = slice_find(payload, ':');
	bool good = colon > 0 && slice_to_u64(slice_first(payload, (size_t)colon), &number) == OK && number > 0 &&
		    number <= b->pub_count;
	struct book_pub *p = good ? b->pubs[number - 1] : NULL;
	if (p) book_subject(s, p->stream, p->subject, &name);
	if (!p || p->stream != stream || p->generation != s->generation || !slice_eq(buf_slice(&name), subject) ||
		!payload_is(p, payload)) {
		book_violated(b, "FOREIGN: %s %llu holds \"%.*s\" on %.*s, nobody published that", s->name, ull(seq),
			SLICE_FMT(slice_first(payload, 30)), SLICE_FMT(subject));
		buf_deinit(&name);
		return NULL;
	}
	buf_deinit(&name);
	if (p->outcome == BOOK_REFUSED || p->outcome == BOOK_DUPLICATE || p->outcome == BOOK_ABSENT)
		book_violated(b, "%s: %s %llu holds publish %llu, which %s",
			p->outcome == BOOK_ABSENT ? "RESURRECTED" : "REFUSED", s->name, ull(seq), ull(number),
			p->outcome == BOOK_REFUSED     ? "was refused"
			: p->outcome == BOOK_DUPLICATE ? "was a duplicate"
						       : "was not there before");
	if (p->outcome == BOOK_STORED && p->seq != seq)
		book_violated(b, "MOVED: %s publish %llu was at %llu and is at %llu", s->name, ull(number), ull(p->seq),
			ull(seq));
	if (p->time_ns && p->time_ns != time_ns) book_violated(b, "%s %llu has had another time", s->name, ull(seq));
	if (p->outcome == BOOK_UNKNOWN) s->unknown_count--;
	bool is_new = p->outcome != BOOK_STORED || !p->time_ns;
	p->time_ns = time_ns;
	if (p->outcome != BOOK_STORED) put_at(b, p, seq, "the stream");
	if (is_new && p->ended_ns) check_id(b, p);
	return p;
}

/* ---- what must be there ---- */

bool book_consumer_matches(const struct book_consumer *k, const struct book_pub *p)
{
	return k->filter < 0 || (unsigned)k->filter == p->subject;
}

/* Acks take messages out of work queues, and out of interest streams when all have acknowledged. */
static enum book_presence after_acks(const struct book_stream *s, uint64_t seq)
{
	enum book_presence most = BOOK_GONE;
	for (unsigned i = 0; i < s->consumer_count; i++) {
		const struct book_consumer *k = &s->consumer[i];
		if (s->slots[seq].pub && !book_consumer_matches(k, s->slots[seq].pub)) continue;
		const struct book_entry *e = seq < k->cap ? &k->at[seq] : NULL;
		if (!e || !e->ack_tried) return BOOK_LIVE; /* one that was sent may wait until the disk has room */
		if (!e->confirmed_ns) most = BOOK_MAYBE;
	}
	return most;
}

enum book_presence book_presence(const struct book_stream *s, uint64_t seq)
{
	if (seq == 0 || seq > s->last || seq >= s->cap) return BOOK_GONE;
	if (s->slots[seq].presence == BOOK_GONE) return BOOK_GONE;
	if (s->kind != BOOK_WORKQUEUE && s->kind != BOOK_INTEREST) return s->slots[seq].presence;
	enum book_presence acks = after_acks(s, seq);
	return acks > s->slots[seq].presence ? acks : s->slots[seq].presence;
}

static uint64_t live_count(const struct book_stream *s, uint64_t up_to, int subject)
{
	uint64_t n = 0;
	for (uint64_t seq = 1; seq <= up_to; seq++)
		n += s->slots[seq].presence == BOOK_LIVE &&
		     (subject < 0 || (s->slots[seq].pub && s->slots[seq].pub->subject == (unsigned)subject));
	return n;
}

static void drop_oldest(struct book_stream *s, uint64_t up_to, int subject)
{
	for (uint64_t seq = 1; seq <= up_to; seq++) {
		const struct book_pub *p = s->slots[seq].pub;
		if (s->slots[seq].presence != BOOK_LIVE || (subject >= 0 && (!p || p->subject != (unsigned)subject)))
			continue;
		s->slots[seq].presence = BOOK_GONE;
		return;
	}
}

static uint64_t last_of_subject(const struct book_stream *s, uint64_t below, unsigned subject)
{
	for (uint64_t seq = below; seq-- > 1;)
		if (s->slots[seq].presence == BOOK_LIVE && s->slots[seq].pub && s->slots[seq].pub->subject == subject)
			return seq;
	return 0;
}

/* The newest message of the subject may have been deleted by name: then the server may still remember that one, where it keeps no list. */
static bool was_last(const struct book_stream *s, uint64_t below, unsigned subject, uint64_t expected)
{
	if (s->kind == BOOK_PER_SUBJECT || s->kind == BOOK_SUBJECT_NEW || expected == 0 || expected >= below ||
		!s->slots[expected].pub)
		return false;
	for (uint64_t seq = expected + 1; seq < below; seq++)
		if (s->slots[seq].pub && s->slots[seq].pub->subject == subject) return false;
	return s->slots[expected].pub->subject == subject;
}

/* The id of the message stored before this one, 0: it had none; false when nobody knows. */
static bool last_id(const struct book_stream *s, uint64_t below, uint64_t *id)
{
	*id = 0;
	if (below < 2) return true;
	const struct book_pub *p = s->slots[below - 1].pub;
	if (p) *id = p->id;
	return p != NULL;
}

static uint64_t weight(const struct book_stream *s, unsigned stream, const struct book_pub *p)
{
	struct stream_config c = { .storage = STREAM_FILE };
	struct buf name = { 0 };
	book_subject(s, stream, p->subject, &name);
	uint64_t bytes = stream_msg_bytes(&c, name.n, p->header_bytes, p->payload_bytes);
	buf_deinit(&name);
	return bytes;
}

/* Of a stream that is limited by bytes an audit alone tells what went. Until then: what is more than the limit away may have. */
static bool may_have_gone(const struct book *b, const struct book_stream *s, uint64_t seq, uint64_t below)
{
	uint64_t bytes = 0;
	if (s->kind != BOOK_MAX_BYTES || seq == 0) return false;
	for (uint64_t i = seq; i <= below; i++) {
		if (!s->slots[i].pub) return true;
		if (s->slots[i].presence != BOOK_GONE) bytes += weight(s, (unsigned)(s - b->stream), s->slots[i].pub);
	}
	return bytes > s->limit;
}

static void replay_one(struct book *b, struct book_stream *s, uint64_t seq)
{
	const struct book_pub *p = book_slot(s, seq)->pub;
	bool has_acks =
		s->kind == BOOK_WORKQUEUE || s->kind == BOOK_INTEREST; /* what was the last then, nobody knows */
	if (p && p->expects_subject_seq && !has_acks) {
		uint64_t before = last_of_subject(s, seq, p->subject);
		bool is_gone = p->expected == 0 && may_have_gone(b, s, before, seq);
		if (before != p->expected && !is_gone && !was_last(s, seq, p->subject, p->expected))
			book_violated(b, "EXPECTED last sequence %llu of its subject, but it was %llu: %s stored %llu",
				ull(p->expected), ull(before), s->name, ull(seq));
	}
	uint64_t id;
	if (p && p->expects_id && last_id(s, seq, &id) && id != p->expected)
		book_violated(b, "EXPECTED last id %llu, but it was %llu: %s stored %llu", ull(p->expected), ull(id),
			s->name, ull(seq));
	if (s->kind == BOOK_SUBJECT_NEW && p && live_count(s, seq, (int)p->subject) > s->limit)
		book_violated(b, "LIMIT: %s holds more than %llu messages of a subject at %llu", s->name, ull(s->limit),
			ull(seq));
	for (uint64_t n = s->kind == BOOK_MAX_MSGS ? live_count(s, seq, -1) : 0; n > s->limit; n--)
		drop_oldest(s, seq, -1);
	if (s->kind == BOOK_DISCARD_NEW && live_count(s, seq, -1) > s->limit)
		book_violated(b, "LIMIT: %s holds more than %llu messages at %llu", s->name, ull(s->limit), ull(seq));
	for (uint64_t n = s->kind == BOOK_PER_SUBJECT && p ? live_count(s, seq, (int)p->subject) : 0; n > s->limit; n--)
		drop_oldest(s, seq, (int)p->subject);
}

void book_replay(struct book *b, unsigned stream)
{
	struct book_stream *s = &b->stream[stream];
	while (s->replayed < s->last) replay_one(b, s, ++s->replayed);
}

static void take_out(struct book_slot *at, enum book_doubt doubt, uint64_t now_ns)
{
	at->presence = doubt == BOOK_FOR_SURE ? BOOK_GONE : BOOK_MAYBE;
	if (doubt == BOOK_FOR_SURE) at->gone_ns = now_ns;
}

uint64_t book_purge(
	struct book_stream *s, int subject, uint64_t seq, uint64_t keep, enum book_doubt doubt, uint64_t now_ns)
{
	uint64_t there = 0, taken = 0, most = UINT64_MAX;
	for (uint64_t i = 1; i <= s->last; i++)
		there += book_presence(s, i) != BOOK_GONE &&
			 (subject < 0 || (s->slots[i].pub && s->slots[i].pub->subject == (unsigned)subject));
	if (keep) most = there > keep ? there - keep : 0;
	for (uint64_t i = 1; i <= s->last && taken < most && (!seq || i < seq); i++) {
		const struct book_pub *p = s->slots[i].pub;
		if (book_presence(s, i) == BOOK_GONE || (subject >= 0 && (!p || p->subject != (unsigned)subject)))
			continue;
		take_out(&s->slots[i], doubt, now_ns);
		taken++;
	}
	return taken;
}

bool book_delete(struct book_stream *s, uint64_t seq, enum book_doubt doubt, uint64_t now_ns)
{
	if (book_presence(s, seq) == BOOK_GONE) return false;
	take_out(&s->slots[seq], doubt, now_ns);
	return true;
}

/* ---- audits ---- */

static void audit_one(struct book *b, struct book_stream *s, uint64_t seq, char found)
{
	struct book_slot *at = &s->slots[seq];
	enum book_presence want = book_presence(s, seq);
	if (found == 'l' && want == BOOK_GONE)
		book_violated(b, "RESURRECTED: %s holds %llu, which was removed", s->name, ull(seq));
	if (found == 'a' && want == BOOK_LIVE && !(s->kind == BOOK_PER_SUBJECT && !at->pub)) {
		if (at->pub && at->pub->ended_ns && at->pub->outcome == BOOK_STORED)
			book_violated(b, "LOST: %s %llu (publish %llu, acknowledged) is not there", s->name, ull(seq),
				ull(at->pub->number));
		else
			book_violated(b, "HOLE: %s %llu is not there, and nothing has removed it", s->name, ull(seq));
	}
	if (found == 'l' && at->presence == BOOK_MAYBE) at->presence = BOOK_LIVE;
	if (found == 'a') at->presence = BOOK_GONE;
}

/* After an audit nothing is unknown: what was not found is not there, and may not turn up again. */
static void end_unknown(struct book *b, unsigned stream)
{
	for (size_t i = 0; b->stream[stream].unknown_count && i < b->pub_count; i++) {
		struct book_pub *p = b->pubs[i];
		if (p->stream != stream || p->outcome != BOOK_UNKNOWN) continue;
		p->outcome = BOOK_ABSENT;
		b->stream[stream].unknown_count--;
	}
}

/* Bytes are no count: which messages went can be seen only. They must be the oldest, and not more than must go. */
static void audit_bytes(struct book *b, unsigned stream, const struct book_info *info)
{
	struct book_stream *s = &b->stream[stream];
	uint64_t dropped = 0, bytes = 0, first = info->messages ? info->first_seq : info->last_seq + 1;
	if (info->bytes > s->limit)
		book_violated(
			b, "LIMIT: %s holds %llu bytes, %llu are its limit", s->name, ull(info->bytes), ull(s->limit));
	for (uint64_t seq = 1; seq < first; seq++) {
		if (s->slots[seq].presence != BOOK_LIVE) continue;
		s->slots[seq].presence = BOOK_GONE;
		dropped = seq;
	}
	if (!dropped) return;
	for (uint64_t seq = dropped; seq <= info->last_seq; seq++) {
		if (!s->slots[seq].pub) return;
		bytes += weight(s, stream, s->slots[seq].pub);
	}
	if (bytes <= s->limit)
		book_violated(b, "LOST: %s %llu went, though from it on there are %llu bytes only, of %llu", s->name,
			ull(dropped), ull(bytes), ull(s->limit));
}

static void audit_numbers(struct book *b, unsigned stream, const struct book_info *info)
{
	const struct book_stream *s = &b->stream[stream];
	uint64_t messages = 0, bytes = 0, first = 0;
	for (uint64_t seq = 1; seq <= info->last_seq; seq++) {
		if (s->slots[seq].presence != BOOK_LIVE) continue;
		if (!first) first = seq;
		messages++;
		if (s->slots[seq].pub) bytes += weight(s, stream, s->slots[seq].pub);
	}
	if (!first && info->last_seq) first = info->last_seq + 1;
	uint64_t deleted = messages ? info->last_seq - first + 1 - messages : 0;
	if (info->messages != messages || info->bytes != bytes || info->first_seq != first || info->deleted != deleted)
		book_violated(b,
			"NUMBERS: %s says messages %llu bytes %llu first %llu deleted %llu, there are %llu, %llu, "
			"%llu, %llu",
			s->name, ull(info->messages), ull(info->bytes), ull(info->first_seq), ull(info->deleted),
			ull(messages), ull(bytes), ull(first), ull(deleted));
}

void book_audit(struct book *b, unsigned stream, const struct book_info *info, const char *found, uint64_t now_ns)
{
	struct book_stream *s = &b->stream[stream];
	(void)now_ns;
	if (s->last > info->last_seq) {
		book_violated(b, "LOST: %s says its last sequence is %llu, %llu was acknowledged", s->name,
			ull(info->last_seq), ull(s->last));
		return;
	}
	uint64_t dark = 0;
	for (uint64_t seq = 1; seq <= info->last_seq; seq++) dark += seq > s->replayed && !book_slot(s, seq)->pub;
	if (dark > s->unknown_count)
		book_violated(b, "%s gave out %llu sequences that nobody asked for (%llu publishes are unknown)",
			s->name, ull(dark), ull(s->unknown_count));
	s->last = info->last_seq;
	(void)book_slot(s, s->last);
	book_replay(b, stream);
	if (s->kind == BOOK_MAX_BYTES) audit_bytes(b, stream, info);
	for (uint64_t seq = 1; seq <= info->last_seq && !b->violation[0]; seq++)
		if (found[seq] != '?') audit_one(b, s, seq, found[seq]);
	end_unknown(b, stream);
	if (!b->violation[0]) audit_numbers(b, stream, info);
}

/* ---- what damage took is given up (S24) ---- */

static unsigned how_lost(const struct book_loss *l, uint64_t seq)
{
	return l->lost && seq <= l->lost_last ? l->lost[seq] : 0;
}

static bool was_shown(const struct book_loss *l, uint64_t seq, char what)
{
	return seq <= l->shown_last && l->shown[seq] == what;
}

/* A message that was removed may be there again, when it was lost that it was. Then it may push out others, by a limit. */
static bool has_come_back(const struct book_stream *s, const struct book_info *info, const char *found)
{
	for (uint64_t seq = 1; seq <= info->last_seq && seq < s->cap; seq++)
		if (found[seq] == 'l' && book_presence(s, seq) == BOOK_GONE) return true;
	return false;
}

static void check_given_up(
	struct book *b, struct book_stream *s, uint64_t seq, char found, bool is_pushed, const struct book_loss *l)
{
	const struct book_pub *p = s->slots[seq].pub;
	enum book_presence was = book_presence(s, seq);
	if (found == 'l' && how_lost(l, seq) == BOOK_BYTES_GONE)
		book_violated(b, "RESURRECTED: %s %llu is whole, its bytes were damaged", s->name, ull(seq));
	if (found == 'l' && was == BOOK_GONE && was_shown(l, seq, 'a'))
		book_violated(b, "RESURRECTED: %s %llu was not there while it was in doubt", s->name, ull(seq));
	bool is_intact = was_shown(l, seq, 'l') || (l->lost && !how_lost(l, seq));
	bool may_go = is_pushed || (!l->lost && s->kind == BOOK_INTEREST); /* its consumers may be gone */
	if (found != 'l' && p && was == BOOK_LIVE && is_intact && !may_go)
		book_violated(b,
			"LOST: %s %llu (publish %llu) was intact, and is not there after the rest was given up",
			s->name, ull(seq), ull(p->number));
}

/* What a lost record said of a message is forgotten: it may come again, or never have been acknowledged. */
static void forget_entry(const struct book_stream *s, struct book_consumer *k, uint64_t seq)
{
	if (seq >= k->cap) return;
	k->at[seq] = (struct book_entry) { .ack_tried = k->at[seq].ack_tried && s->kind != BOOK_WORKQUEUE };
}

static void take_truth(struct book_stream *s, uint64_t seq, char found)
{
	struct book_slot *at = &s->slots[seq];
	for (unsigned k = 0; k < s->consumer_count; k++) forget_entry(s, &s->consumer[k], seq);
	at->gone_ns = 0;
	at->presence = found == 'l' ? BOOK_LIVE : BOOK_GONE;
	if (found == 'l' || !at->pub) return;
	at->pub->outcome = BOOK_ABSENT;
	at->pub = NULL;
}

void book_recovered(
	struct book *b, unsigned stream, const struct book_info *info, const char *found, const struct book_loss *loss)
{
	struct book_stream *s = &b->stream[stream];
	if (s->last > info->last_seq) {
		book_violated(b, "AGAIN: %s says its last sequence is %llu, %llu was given out", s->name,
			ull(info->last_seq), ull(s->last));
		return;
	}
	(void)book_slot(s, info->last_seq);
	bool has_limit = s->kind == BOOK_MAX_MSGS || s->kind == BOOK_MAX_BYTES || s->kind == BOOK_PER_SUBJECT;
	bool is_pushed = has_limit && has_come_back(s, info, found);
	for (uint64_t seq = 1; seq <= s->last; seq++) check_given_up(b, s, seq, found[seq], is_pushed, loss);
	for (uint64_t seq = 1; seq <= info->last_seq; seq++) take_truth(s, seq, found[seq]);
	s->last = s->replayed = s->given_up = info->last_seq;
	if (!b->violation[0]) audit_numbers(b, stream, info);
}

void book_consumer_audit(struct book *b, unsigned stream, unsigned consumer, const struct book_consumer_info *info)
{
	struct book_stream *s = &b->stream[stream];
	struct book_consumer *k = &s->consumer[consumer];
	uint64_t above = 0, open_max = 0, open_min = 0;
	for (uint64_t seq = 1; seq <= s->last; seq++) {
		const struct book_pub *p = s->slots[seq].pub;
		if (s->slots[seq].presence != BOOK_LIVE || !p || !book_consumer_matches(k, p)) continue;
		const struct book_entry *e = book_entry(k, seq);
		above += seq > info->delivered_sseq;
		if (k->acks == BOOK_ACK_NONE) continue;
		open_max += seq <= info->delivered_sseq && !e->confirmed_ns;
		open_min += seq <= info->delivered_sseq && !e->ack_tried && k->max_deliver < 0;
	}
	if (info->pending != above)
		book_violated(b, "NUMBERS: consumer %s/%s says num_pending %llu behind %llu, there are %llu", s->name,
			k->name, ull(info->pending), ull(info->delivered_sseq), ull(above));
	if (info->ack_pending > open_max || info->ack_pending < open_min)
		book_violated(b, "NUMBERS: consumer %s/%s says num_ack_pending %llu, it is %llu to %llu", s->name,
			k->name, ull(info->ack_pending), ull(open_min), ull(open_max));
	if (info->delivered_sseq < k->heard_sseq)
		book_violated(b, "AGAIN: consumer %s/%s says it has delivered up to %llu, a client got %llu", s->name,
			k->name, ull(info->delivered_sseq), ull(k->heard_sseq));
	if (info->ack_pending > k->max_ack_pending)
		book_violated(b, "NUMBERS: consumer %s/%s says num_ack_pending %llu, max_ack_pending is %llu", s->name,
			k->name, ull(info->ack_pending), ull(k->max_ack_pending));
	if (info->floor_sseq > info->delivered_sseq)
		book_violated(b, "NUMBERS: consumer %s/%s has its floor %llu above what it delivered, %llu", s->name,
			k->name, ull(info->floor_sseq), ull(info->delivered_sseq));
	if (k->acks == BOOK_ACK_NONE) return;
	for (uint64_t seq = 1; seq <= info->floor_sseq && seq <= s->last; seq++)
		if (s->slots[seq].presence == BOOK_LIVE && s->slots[seq].pub && k->max_deliver < 0 &&
			book_consumer_matches(k, s->slots[seq].pub) && !book_entry(k, seq)->ack_sent)
			book_violated(b, "SKIPPED: consumer %s/%s has its floor at %llu, %llu was never acknowledged",
				s->name, k->name, ull(info->floor_sseq), ull(seq));
}

void book_drained(struct book *b, unsigned stream, unsigned consumer)
{
	struct book_stream *s = &b->stream[stream];
	struct book_consumer *k = &s->consumer[consumer];
	if (k->acks == BOOK_ACK_NONE) return; /* what met nobody does not come again */
	for (uint64_t seq = 1; seq <= s->last; seq++) {
		const struct book_pub *p = s->slots[seq].pub;
		const struct book_entry *e = book_entry(k, seq);
		if (!p || s->slots[seq].presence != BOOK_LIVE || !book_consumer_matches(k, p) || e->ack_sent) continue;
		if (k->max_deliver > 0) continue; /* it had all its tries; the last ones may have met nobody */
		book_violated(b,
			"%s: consumer %s/%s %llu was delivered %u times, never acknowledged, and does not come any "
			"more",
			e->deliveries ? "FORGOTTEN" : "SKIPPED", s->name, k->name, ull(seq), e->deliveries);
	}
}
