/* SPDX-License-Identifier: Apache-2.0 */
/* Limits, kept by the leader: it knows the oldest messages (read from the log, or just proposed by itself) and proposes DROP records that
 * say which go and what they weighed, so that replicas need not look anything up. No replica acts on its own clock.
 *
 *   head: [fact][fact][fact]…   front = oldest message not yet proposed to go; refilled by reads from the log when it runs dry */
#include "stream_internal.h"

enum { HEAD_FACTS_MAX = 4096, HEAD_FACTS_LOW = 128, HEAD_READ_MSGS = 256, DROP_BYTES_MAX = 48 * 1024 };
enum { DROPS_IN_FLIGHT_MAX = 16 * 1024 }; /* they are applied in one go: nobody should notice */

static void age_fire(struct io_timer *t) { retain_run(CONTAINER_OF(t, struct stream, head.age_timer)); }

void retain_init(struct stream *s)
{
	s->head.age_timer.fire = age_fire;
	s->head.covers_end = true;
}

static void facts_clear(struct stream_head *h)
{
	for (uint32_t i = 0; i < h->count; i++) mem_free(h->facts[(h->at + i) % h->cap]);
	h->at = h->count = 0;
}

void retain_deinit(struct stream *s)
{
	io_timer_stop(s->options.io, &s->head.age_timer);
	facts_clear(&s->head);
	mem_free(s->head.facts);
	s->head.facts = NULL;
	s->head.cap = 0;
}

void retain_reset(struct stream *s)
{
	facts_clear(&s->head);
	s->head.trim_next = s->machine.seqs.first_seq;
	s->head.covers_end = s->machine.seqs.live == 0 && s->ahead_last_seq == s->machine.seqs.last_seq;
}

static void facts_push(struct stream_head *h, uint64_t seq, uint64_t bytes, int64_t time_ns, struct slice subject)
{
	if (h->count == h->cap) {
		uint32_t cap = h->cap ? h->cap * 2 : 16;
		struct head_fact **grown = mem_alloc(cap * sizeof(struct head_fact *));
		for (uint32_t i = 0; i < h->count; i++) grown[i] = h->facts[(h->at + i) % h->cap];
		mem_free(h->facts);
		h->facts = grown;
		h->cap = cap;
		h->at = 0;
	}
	struct head_fact *f = mem_alloc(sizeof *f + subject.n);
	*f = (struct head_fact) { .seq = seq, .bytes = bytes, .time_ns = time_ns, .n = (uint32_t)subject.n };
	memcpy(f->subject, subject.p, subject.n);
	h->facts[(h->at + h->count++) % h->cap] = f;
}

static struct head_fact *facts_front(const struct stream_head *h) { return h->count ? h->facts[h->at] : NULL; }

static struct head_fact *facts_back(const struct stream_head *h)
{
	return h->count ? h->facts[(h->at + h->count - 1) % h->cap] : NULL;
}

static void facts_pop(struct stream_head *h)
{
	mem_free(h->facts[h->at]);
	h->at = (h->at + 1) % h->cap;
	h->count--;
}

static bool has_limits(const struct stream_config *c)
{
	return c->max_age_ns || (c->discard == STREAM_DISCARD_OLD && (c->max_msgs > 0 || c->max_bytes > 0));
}

void retain_proposed(struct stream *s, uint64_t seq, uint64_t bytes, int64_t time_ns, struct slice subject)
{
	struct stream_head *h = &s->head;
	if (!has_limits(&s->machine.config)) {
		h->covers_end = false;
		return;
	}
	if (h->covers_end && h->count < HEAD_FACTS_MAX) {
		facts_push(h, seq, bytes, time_ns, subject);
	} else {
		h->covers_end = false;
	}
}

/* ---- refilling from the log ---- */

static void take_facts(struct stream *s, const struct stream_read *r)
{
	for (uint32_t i = 0; i < r->count; i++) {
		const struct stream_msg *m = &r->msgs[i];
		struct head_fact *back = facts_back(&s->head);
		if (m->seq < s->head.trim_next || (back && m->seq <= back->seq)) continue;
		uint64_t bytes = stream_msg_bytes(&s->machine.config, m->subject.n, m->header.n, m->payload.n);
		facts_push(&s->head, m->seq, bytes, m->time_ns, m->subject);
		if (m->seq == s->machine.seqs.first_seq) s->machine.first_time_ns = m->time_ns;
	}
	struct head_fact *back = facts_back(&s->head);
	s->head.covers_end = (back ? back->seq : s->head.trim_next - 1) == s->ahead_last_seq;
}

static void head_read_done(struct stream_read *r)
{
	struct stream *s = CONTAINER_OF(r, struct stream, head.read);
	s->head.reading = false;
	/* a reset meanwhile may have begun the ring elsewhere */
	struct head_fact *back = facts_back(&s->head);
	bool fits = back ? back->seq + 1 == r->from : r->from <= s->head.trim_next;
	if (r->result == OK && s->leading && fits) take_facts(s, r);
	enum err result = r->result;
	stream_read_release(r);
	if (result == OK) retain_run(s);
	if (s->leading && s->applied) s->applied(s->applied_arg); /* what waited for it goes on */
}

static enum err head_read_start(struct stream *s, uint64_t from)
{
	struct stream_head *h = &s->head;
	h->read = (struct stream_read) {
		.done = head_read_done, .from = from, .max_msgs = HEAD_READ_MSGS, .max_bytes = 256 * KIB
	};
	enum err e = stream_read_now(s, &h->read);
	if (e == OK) {
		take_facts(s, &h->read);
		stream_read_release(&h->read);
	} else if (e == ERR_AGAIN) {
		h->reading = true;
		stream_read_start(s, &h->read);
	}
	return e;
}

/* Before the ring runs dry, so that nobody has to wait for the disk. */
static void read_ahead(struct stream *s)
{
	struct stream_head *h = &s->head;
	struct head_fact *back = facts_back(h);
	if (!back || h->covers_end || h->reading || h->count >= HEAD_FACTS_LOW) return;
	if (back->seq < s->machine.seqs.last_seq) (void)head_read_start(s, back->seq + 1);
}

/* True when there are facts to work on now. */
static bool refill(struct stream *s)
{
	struct stream_head *h = &s->head;
	if (h->count) return true;
	if (h->reading || s->machine.seqs.live == 0) return false;
	if (h->trim_next < s->machine.seqs.first_seq) h->trim_next = s->machine.seqs.first_seq;
	if (h->trim_next > s->machine.seqs.last_seq)
		return false; /* the rest is in flight: when it is applied it can be read */
	return head_read_start(s, h->trim_next) == OK && h->count > 0;
}

/* ---- enforcing ---- */

static bool over_limits(const struct stream *s)
{
	const struct stream_config *c = &s->machine.config;
	if (c->discard != STREAM_DISCARD_OLD) return false;
	return (c->max_msgs > 0 && stream_ahead_msgs(s) > (uint64_t)c->max_msgs) ||
	       (c->max_bytes > 0 && !diag_fault(s->options.diag, FAULT_bug_bytes_unlimited) &&
		       stream_ahead_bytes(s) > (uint64_t)c->max_bytes);
}

static bool is_expired(const struct stream *s, const struct head_fact *f, int64_t now)
{
	int64_t age = s->machine.config.max_age_ns;
	return age && f->time_ns + age <= now;
}

static void arm_age(struct stream *s, const struct head_fact *f, int64_t now)
{
	if (!s->machine.config.max_age_ns || !f) return;
	int64_t left = f->time_ns + s->machine.config.max_age_ns - now;
	if (left < (int64_t)NS_PER_MS) left = (int64_t)NS_PER_MS;
	io_timer_start(s->options.io, &s->head.age_timer, (uint64_t)left);
}

/* A message that was proposed and removed by something else meanwhile needs no drop. */
static bool is_still_there(const struct stream *s, const struct head_fact *f)
{
	return f->seq > s->machine.seqs.last_seq || seq_index_is_live(&s->machine.seqs, f->seq);
}

void retain_run(struct stream *s)
{
	if (!s->leading || !has_limits(&s->machine.config)) return;
	int64_t now = io_wall_ns(s->options.io);
	struct buf drop = { 0 };
	uint64_t msgs = 0, bytes = 0;
	bool full = s->dropping_msgs >= DROPS_IN_FLIGHT_MAX;
	drop_begin(&drop, 0);
	while (!full && refill(s)) {
		struct head_fact *f = facts_front(&s->head);
		if (is_still_there(s, f)) {
			if (!over_limits(s) && !is_expired(s, f, now)) break;
			drop_add(&drop, f->seq, f->bytes, slice_of(f->subject, f->n));
			msgs++;
			bytes += f->bytes;
			/* counted at once, so that the loop sees where it is; the proposal counts them for good */
			s->dropping_msgs++;
			s->dropping_bytes += f->bytes;
		}
		s->head.trim_next = f->seq + 1;
		facts_pop(&s->head);
		full = drop.n > DROP_BYTES_MAX || s->dropping_msgs >= DROPS_IN_FLIGHT_MAX;
	}
	s->dropping_msgs -= msgs;
	s->dropping_bytes -= bytes;
	bool holds = msgs == 0 || stream_room_for_drop(s, drop.n);
	if (!holds || (msgs && stream_propose_drop(s, buf_slice(&drop), false, msgs, bytes, NULL) != OK))
		retain_reset(s);
	buf_deinit(&drop);
	if (s->leading) arm_age(s, full ? NULL : facts_front(&s->head), now);
	s->head.has_more = full;
	if (full && s->leading)
		io_timer_start(s->options.io, &s->head.age_timer,
			s->dropping_msgs >= DROPS_IN_FLIGHT_MAX || stream_is_behind(s) ? NS_PER_MS : 0);
	if (s->leading && !full) read_ahead(s);
}

bool retain_waits(const struct stream *s)
{
	return s->leading && s->head.reading && s->head.count == 0 && over_limits(s);
}

bool retain_is_trimming(const struct stream *s)
{
	return retain_waits(s) || (s->leading && s->head.has_more && over_limits(s));
}

bool retain_is_over(const struct stream *s) { return s->leading && over_limits(s); }

int64_t retain_first_time(const struct stream *s)
{
	const struct head_fact *f = facts_front(&s->head);
	return f && f->seq == s->machine.seqs.first_seq ? f->time_ns : 0;
}
