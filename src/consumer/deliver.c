/* SPDX-License-Identifier: Apache-2.0 */
/* The leader's half: pull requests wait in a ring, messages go to them one each in turn: first those that are due again, then new ones in
 * order of sequence. Statuses end requests (spec §5.10). */
#include "consumer_internal.h"

#include <jansson.h>
#include <stdio.h>

#include "thebes/advisory.h"
#include "thebes/js_json.h"

enum { READ_MSGS = 256, READ_BYTES = 256 * 1024, RETRY_S = 5 };

/* What one consumer may do in one turn, and what things cost, about nanoseconds: a read, a message and eight of its bytes, the end of one
 * that had all its tries. */
enum { CONSUMER_WORK = 2 * 1000 * 1000, READ_WORK = 1000, MSG_WORK = 250, EIGHT_BYTES_WORK = 1, END_WORK = 2000 };

static void spend(struct consumer *k, uint64_t work) { k->work -= u64_min(k->work, work); }

/* ---- statuses ---- */

static size_t send_block(struct consumer *k, struct slice reply, struct slice block)
{
	struct msg m = { .subject = reply, .header = block, .account = k->all->account };
	return router_publish(&k->all->account->router, &m);
}

static void send_status(struct consumer *k, struct slice reply, const char *status, const struct request *q)
{
	struct buf b = { 0 };
	buf_printf(&b, "NATS/1.0 %s\r\n", status);
	if (q)
		buf_printf(&b, "Nats-Pending-Messages: %lld\r\nNats-Pending-Bytes: %lld\r\n", (long long)q->left,
			(long long)(q->bytes_left < 0 ? 0 : q->bytes_left));
	buf_append_str(&b, "\r\n");
	(void)send_block(k, reply, buf_slice(&b));
	buf_deinit(&b);
}

static struct slice reply_of(const struct request *q) { return slice_of(q->reply, q->reply_n); }

static void request_free(struct request *q)
{
	struct consumer *k = q->consumer;
	list_remove_if_linked(&q->link_by_turn);
	io_timer_stop(k->all->io, &q->expiry);
	io_timer_stop(k->all->io, &q->beat);
	k->waiting_count--;
	mem_free(q);
	if (k->waiting_count == 0) consumer_rest(k);
}

/* Taken out before the status goes: the receiver may ask again from inside. */
static void request_end(struct request *q, const char *status, bool with_pending)
{
	struct consumer *k = q->consumer;
	list_remove(&q->link_by_turn);
	send_status(k, reply_of(q), status, with_pending ? q : NULL);
	request_free(q);
}

void consumer_end_requests(struct consumer *k, const char *status)
{
	while (!list_is_empty(&k->waiting))
		request_end(CONTAINER_OF(k->waiting.next, struct request, link_by_turn), status, false);
}

static void expired(struct io_timer *t)
{
	request_end(CONTAINER_OF(t, struct request, expiry), "408 Request Timeout", true);
}

static void beat(struct io_timer *t)
{
	struct request *q = CONTAINER_OF(t, struct request, beat);
	struct consumer *k = q->consumer;
	struct buf b = { 0 };
	if (q->no_wait && q->got_some) { /* it waits for room for acks: no longer than to here, as the original */
		request_end(q, "408 Request Timeout", true);
		return;
	}
	io_timer_start(k->all->io, &q->beat, q->beat_ns);
	buf_printf(&b, "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: %llu\r\nNats-Last-Stream: %llu\r\n\r\n",
		(unsigned long long)k->live_cseq, (unsigned long long)k->live_sseq);
	(void)send_block(k, reply_of(q), buf_slice(&b));
	buf_deinit(&b);
}

/* ---- inactivity ---- */

static bool has_listener(const struct request *q)
{
	return router_has_interest(&q->consumer->all->account->router, reply_of(q), SLICE_NULL);
}

void consumer_drop_unheard(struct consumer *k)
{
	LIST_EACH_SAFE (node, &k->waiting) {
		struct request *q = CONTAINER_OF(node, struct request, link_by_turn);
		if (!has_listener(q)) request_free(q);
	}
}

static void idle_fire(struct io_timer *t)
{
	struct consumer *k = CONTAINER_OF(t, struct consumer, idle_timer);
	consumer_drop_unheard(k);
	if (k->waiting_count) {
		consumer_rest(k);
	} else {
		consumer_expire(k);
	}
}

void consumer_rest(struct consumer *k)
{
	if (!k->all->leading || k->config.inactive_threshold_ns <= 0) {
		io_timer_stop(k->all->io, &k->idle_timer); /* an update may have taken the limit away */
		return;
	}
	k->idle_timer.fire = idle_fire;
	io_timer_start(k->all->io, &k->idle_timer, (uint64_t)k->config.inactive_threshold_ns);
}

/* ---- again ---- */

static void due_fire(struct io_timer *t)
{
	consumer_mark(CONTAINER_OF(t, struct consumer, due_timer));
	consumer_wake(CONTAINER_OF(t, struct consumer, due_timer));
}

static bool can_go_on(const struct consumer *k)
{
	return k->all->leading && !k->deleting && !k->reading && k->waiting_count > 0;
}

static void arm_due(struct consumer *k)
{
	struct heap_node *first = heap_min(&k->due);
	if (!first || !can_go_on(k)) { /* a pull, or the end of a read, looks again */
		io_timer_stop(k->all->io, &k->due_timer);
		return;
	}
	uint64_t now = io_now_ns(k->all->io);
	k->due_timer.fire = due_fire;
	io_timer_start(k->all->io, &k->due_timer, first->key > now ? first->key - now : 0);
}

uint64_t consumer_wait(const struct consumer *k, uint32_t count)
{
	if (diag_fault(k->all->diag, FAULT_bug_again_early)) return (uint64_t)k->config.ack_wait_ns / 2;
	if (k->config.backoff_count == 0) return (uint64_t)k->config.ack_wait_ns;
	size_t i = count ? count - 1 : 0;
	return (uint64_t)k->config.backoff_ns[i < k->config.backoff_count ? i : k->config.backoff_count - 1];
}

/* 0: the ordinary wait for its next delivery; else exactly so long. */
void consumer_schedule(struct pending *p, uint64_t delay_ns)
{
	struct consumer *k = p->consumer;
	if (p->acking) return;
	if (heap_is_linked(&p->link_by_due)) heap_remove(&k->due, &p->link_by_due);
	if (delay_ns == 0 && diag_fault(k->all->diag, FAULT_bug_ack_wait_ignored)) return;
	heap_insert(
		&k->due, &p->link_by_due, io_now_ns(k->all->io) + (delay_ns ? delay_ns : consumer_wait(k, p->count)));
	arm_due(k);
}

static void advise_max_deliveries(struct consumer *k, const struct pending *p)
{
	struct advisory a;
	const char *stream = stream_config(k->all->stream)->name;
	if (!advisory_begin(&a, k->all->io, k->all->account, "advisory.v1.max_deliver",
		    "ADVISORY.CONSUMER.MAX_DELIVERIES.%s.%s", stream, k->config.name))
		return;
	advisory_text(&a, "stream", slice_of_str(stream));
	advisory_text(&a, "consumer", k->name);
	advisory_number(&a, "stream_seq", p->sseq);
	advisory_number(&a, "deliveries", p->count);
	advisory_send(&a);
}

/* The next message that is due, or NULL: also when the work is used up. Those that had all their tries are ended here, once. */
static struct pending *next_due(struct consumer *k)
{
	uint64_t now = io_now_ns(k->all->io);
	for (struct heap_node *first; k->work && (first = heap_min(&k->due)) != NULL && first->key <= now;) {
		struct pending *p = CONTAINER_OF(first, struct pending, link_by_due);
		if (diag_fault(k->all->diag, FAULT_bug_max_deliver_ignored)) return p;
		if (k->config.max_deliver < 0 || p->count < (uint64_t)k->config.max_deliver) return p;
		p->terminal_is_drop = true;
		consumer_end_pending(p);
		advise_max_deliveries(k, p);
		spend(k, END_WORK);
	}
	return NULL;
}

/* ---- one message to one request ---- */

static size_t ack_reply(struct consumer *k, char *to, size_t room, uint64_t count, const struct stream_msg *m,
	uint64_t cseq, uint64_t pending)
{
	const uint64_t tail[] = { count, m->seq, cseq, (uint64_t)m->time_ns, pending };
	if (k->ack_prefix.n == 0)
		buf_printf(&k->ack_prefix, "$JS.ACK.%s.%s.", stream_config(k->all->stream)->name, k->config.name);
	size_t n = k->ack_prefix.n;
	ASSERT(n + COUNT_OF(tail) * (U64_TEXT_MAX + 1) <= room);
	memcpy(to, k->ack_prefix.p, n);
	for (size_t i = 0; i < COUNT_OF(tail); i++) {
		if (i) to[n++] = '.';
		n += u64_text(to + n, tail[i]);
	}
	return n;
}

static void strip_body(const struct stream_msg *m, struct msg *out, struct buf *header)
{
	char size[24];
	if (m->header.n) {
		buf_append_slice(header, m->header);
	} else {
		header_start(header, 0, NULL);
	}
	int n = snprintf(size, sizeof size, "%zu", m->payload.n);
	(void)header_append(header, SLICE("Nats-Msg-Size"), slice_of(size, (size_t)n));
	out->header = buf_slice(header);
	out->payload = SLICE_NULL;
}

static struct request *next_request(struct consumer *k)
{
	while (!list_is_empty(&k->waiting)) {
		struct request *q = CONTAINER_OF(k->waiting.next, struct request, link_by_turn);
		if (has_listener(q)) return q;
		request_free(q);
	}
	return NULL;
}

static bool ack_room(const struct consumer *k)
{
	return k->config.ack_policy == ACK_NONE || k->config.max_ack_pending < 0 ||
	       diag_fault(k->all->diag, FAULT_bug_ack_room_ignored) ||
	       k->pending.count - k->acking_count < (uint64_t)k->config.max_ack_pending;
}

enum sent { SENT, NOBODY };

/* Sends m as delivery `count`; a new one when p is NULL. */
static enum sent send_msg(struct consumer *k, const struct stream_msg *m, struct pending *p)
{
	char reply[700];
	uint32_t count = p ? p->count + 1 : 1;
	uint64_t left = consumer_num_pending(k), cseq = k->live_cseq + 1;
	if (!p && left) left--;
	size_t reply_n = ack_reply(k, reply, sizeof reply, count, m, cseq, left);
	uint64_t size = m->subject.n + reply_n + m->header.n + m->payload.n; /* as clients count it */
	struct request *q;
	for (;;) {
		q = next_request(k);
		if (!q) return NOBODY;
		if (q->bytes_left < 0 || size <= (uint64_t)q->bytes_left) break;
		request_end(q, "409 Message Size Exceeds MaxBytes", true);
	}
	struct buf header = { 0 };
	struct msg out = { .subject = m->subject,
		.to = reply_of(q),
		.header = m->header,
		.payload = m->payload,
		.account = k->all->account };
	if (k->config.headers_only) strip_body(m, &out, &header);
	out.reply = slice_of(reply, reply_n);
	spend(k, MSG_WORK + size / 8 * EIGHT_BYTES_WORK);
	/* the state moves before the message does: a receiver may ack from inside */
	k->live_cseq = cseq;
	k->active_ns = io_wall_ns(k->all->io);
	if (!p) {
		k->live_sseq = m->seq;
		k->num_pending = left;
		k->count_delivered++;
	}
	if (k->config.ack_policy != ACK_NONE || consumers_keep_facts(k->all)) {
		if (!p) {
			p = pending_add(k, m->seq, cseq, 1, k->active_ns);
		} else {
			if (p->count == 1) k->redelivered_count++;
			p->count = count; /* its consumer sequence stays the first one: the floor is counted with it */
			p->time_ns = k->active_ns;
			p->due_ns = 0;
		}
		p->changed = true;
		pending_keep_facts(p, m);
		if (!list_is_linked(&p->link_by_log)) list_push_back(&k->to_log, &p->link_by_log);
		if (k->config.ack_policy == ACK_NONE) {
			consumer_end_pending(p);
		} else {
			consumer_schedule(p, 0);
		}
	}
	consumer_log_soon(k);
	q->left--;
	q->got_some = true;
	if (q->bytes_left >= 0) q->bytes_left -= (int64_t)size;
	if (q->beat_ns) io_timer_start(k->all->io, &q->beat, q->beat_ns);
	list_remove(&q->link_by_turn);
	list_push_back(&k->waiting, &q->link_by_turn);
	(void)router_publish(&k->all->account->router, &out);
	if (q->left == 0) {
		bool bytes_left = q->bytes_left > 0;
		if (bytes_left) {
			request_end(q, "409 Batch Completed", true);
		} else {
			request_free(q);
		}
	}
	buf_deinit(&header);
	return SENT;
}

/* ---- the pump ---- */

static uint64_t wanted_msgs(const struct consumer *k)
{
	int64_t n = 0;
	LIST_EACH (node, &k->waiting) n += CONTAINER_OF(node, struct request, link_by_turn)->left;
	uint64_t want = (uint64_t)n;
	if (k->config.ack_policy != ACK_NONE && k->config.max_ack_pending >= 0 &&
		!diag_fault(k->all->diag, FAULT_bug_ack_room_ignored))
		want = u64_min(want, (uint64_t)k->config.max_ack_pending - u64_min((uint64_t)k->config.max_ack_pending,
										   k->pending.count - k->acking_count));
	return u64_min(want, READ_MSGS);
}

static void take_read(struct consumer *k, struct stream_read *r, struct pending *again)
{
	if (again) {
		if (r->count && r->msgs[0].seq == again->sseq) {
			(void)send_msg(k, &r->msgs[0], again);
		} else {
			pending_free(again); /* it left the stream */
		}
		return;
	}
	for (uint32_t i = 0; i < r->count; i++) {
		if (r->msgs[i].seq <= k->live_sseq || !stream_is_live(k->all->stream, r->msgs[i].seq)) continue;
		if (!ack_room(k) || send_msg(k, &r->msgs[i], NULL) == NOBODY) return;
	}
}

static void read_done(struct stream_read *r)
{
	struct consumer *k = CONTAINER_OF(r, struct consumer, read);
	uint64_t again_seq = r->max_msgs == 1 && r->from <= k->live_sseq ? r->from : 0;
	k->reading = false;
	if (r->result == ERR_CLOSED) return;
	struct pending *again = again_seq ? pending_find(k, again_seq) : NULL;
	if (k->all->leading && (!again_seq || (again && !again->acking))) {
		if (r->result == OK || (again && r->result == ERR_NOT_FOUND)) take_read(k, r, again);
	}
	enum err e = r->result;
	uint64_t next = r->next;
	stream_read_release(r);
	if (e == OK || e == ERR_NOT_FOUND) {
		if (e == ERR_NOT_FOUND && !again_seq) k->scanned_to = u64_max(k->scanned_to, next);
		consumer_mark(k);
		consumer_wake(k);
		return;
	}
	diag_line(k->all->diag, DIAG_ERROR,
		"consumer %s of stream %s: message from %llu on can not be read (%s), tried again in %d s",
		k->config.name, stream_config(k->all->stream)->name, (unsigned long long)r->from, err_text(e), RETRY_S);
	k->due_timer.fire = due_fire;
	io_timer_start(k->all->io, &k->due_timer, SECONDS(RETRY_S));
}

void consumer_stop_reading(struct consumer *k)
{
	if (!k->reading) return;
	k->reading = false;
	stream_read_cancel(&k->read);
	if (k->all->leading) consumer_mark(k);
}

/* Reads from `from` on; true when messages were there at once and were taken. */
static bool pump_read(struct consumer *k, uint64_t from, struct pending *again, uint64_t max)
{
	struct stream_read *r = &k->read;
	spend(k, READ_WORK);
	*r = (struct stream_read) {
		.done = read_done, .from = from, .max_msgs = (uint32_t)max, .max_bytes = READ_BYTES
	};
	if (!again && !diag_fault(k->all->diag, FAULT_bug_filter_ignored)) {
		r->filters = k->filters;
		r->filter_count = k->config.filter_count;
	}
	enum err e = stream_read_now(k->all->stream, r);
	if (e == OK) {
		take_read(k, r, again);
		stream_read_release(r);
		return true;
	}
	if (e == ERR_NOT_FOUND && again) {
		pending_free(again);
		return true;
	}
	if (!again) r->from = k->scanned_to = u64_max(k->scanned_to, r->next);
	if (e != ERR_NOT_FOUND) { /* from disk; what is damaged is found there again, said, and tried again later */
		k->reading = true;
		stream_read_start(k->all->stream, r);
	}
	return false;
}

static uint64_t next_last_seq(struct consumer *k)
{
	while (k->last_seq_at < k->last_seq_count &&
		(k->last_seqs[k->last_seq_at] <= k->live_sseq ||
			!stream_is_live(k->all->stream, k->last_seqs[k->last_seq_at])))
		k->last_seq_at++;
	return k->last_seq_at < k->last_seq_count ? k->last_seqs[k->last_seq_at] : 0;
}

static void end_dry_requests(struct consumer *k)
{
	LIST_EACH_SAFE (node, &k->waiting) {
		struct request *q = CONTAINER_OF(node, struct request, link_by_turn);
		if (!q->no_wait) continue;
		if (q->got_some) {
			request_end(q, "408 Request Timeout", true);
		} else if (!io_timer_is_armed(&q->expiry)) {
			request_end(q, "404 No Messages", false);
		}
	}
}

/* New messages, as many as one read gives. False: there are none, or they are being read. */
static bool pump_new(struct consumer *k)
{
	uint64_t last = next_last_seq(k), from = last ? last : u64_max(k->live_sseq + 1, k->scanned_to);
	if (!last && k->last_seq_count && from < k->last_seq_bound) from = k->last_seq_bound;
	uint64_t candidate = stream_next_candidate(k->all->stream, k->filters, k->config.filter_count, from, &k->work);
	if (candidate == 0) return false;
	if (k->work == 0 && candidate > from) { /* it looked so far and found nothing yet */
		if (!last) k->scanned_to = candidate;
		return true;
	}
	uint64_t before = k->live_sseq;
	return pump_read(k, from, NULL, last ? 1 : wanted_msgs(k)) && k->live_sseq != before;
}

bool consumer_deliver(struct consumer *k, uint64_t *work)
{
	uint64_t given = u64_min(*work, CONSUMER_WORK);
	bool goes_on = true;
	k->work = given;
	while (can_go_on(k) && k->work && goes_on) {
		struct pending *again = next_due(k);
		if (again) {
			goes_on = pump_read(k, again->sseq, again, 1);
		} else if (k->work) {
			goes_on = ack_room(k) && pump_new(k);
		}
	}
	bool more = can_go_on(k) && goes_on;
	/* what waits for acks is there: such a request goes on when they come */
	bool held_back = !ack_room(k) && consumer_num_pending(k) > 0;
	if (!k->reading && !more && !held_back) end_dry_requests(k);
	arm_due(k);
	*work -= given - k->work;
	return more;
}

/* ---- leading ---- */

void consumer_lead(struct consumer *k, bool leading)
{
	struct io *io = k->all->io;
	k->deleting = false;
	if (!leading) {
		while (!list_is_empty(&k->waiting))
			request_free(CONTAINER_OF(k->waiting.next, struct request, link_by_turn));
		io_timer_stop(io, &k->due_timer);
		io_timer_stop(io, &k->idle_timer);
		io_timer_stop(io, &k->log_timer);
		k->is_log_due = false;
		LIST_EACH_SAFE (node, &k->pending_by_seq) {
			struct pending *p = CONTAINER_OF(node, struct pending, link_by_seq);
			if (heap_is_linked(&p->link_by_due)) heap_remove(&k->due, &p->link_by_due);
			list_remove_if_linked(&p->link_by_log);
			if (p->acking) k->acking_count--;
			p->acking = p->changed = false;
			if (!p->logged) pending_free(p);
		}
		k->live_cseq = k->delivered_cseq;
		k->live_sseq = k->delivered_sseq;
		k->said_cseq = k->live_cseq;
		k->scanned_to = 0;
		consumer_count_end(k, false);
		consumer_stop_finding(k);
		return;
	}
	int64_t now = io_wall_ns(io);
	k->said_cseq = k->live_cseq;
	consumer_pending_changed(k);
	LIST_EACH (node, &k->pending_by_seq) {
		struct pending *p = CONTAINER_OF(node, struct pending, link_by_seq);
		int64_t left = (p->due_ns ? p->due_ns : p->time_ns + (int64_t)consumer_wait(k, p->count)) - now;
		consumer_schedule(p, left > 0 ? (uint64_t)left : 1);
	}
	consumer_rest(k);
}

/* ---- a pull request arrives ---- */

struct pull {
	int64_t batch, expires_ns, max_bytes, beat_ns;
	bool no_wait;
};

static bool parse_number(json_t *root, const char *key, int64_t *out)
{
	json_t *v = js_json_get(root, key);
	if (!v || json_is_null(v)) return true;
	*out = json_integer_value(v);
	return json_is_integer(v);
}

static bool parse_object(struct slice body, struct pull *p)
{
	json_t *root = json_loadb((const char *)body.p, body.n, 0, NULL), *no_wait;
	bool good = json_is_object(root);
	if (good) {
		no_wait = js_json_get(root, "no_wait");
		good = parse_number(root, "batch", &p->batch) && parse_number(root, "expires", &p->expires_ns) &&
		       parse_number(root, "max_bytes", &p->max_bytes) &&
		       parse_number(root, "idle_heartbeat", &p->beat_ns) && (!no_wait || json_is_boolean(no_wait));
		p->no_wait = json_is_true(no_wait);
	}
	json_decref(root);
	return good;
}

/* The status to refuse with, or NULL. */
static const char *parse_pull(struct consumer *k, struct slice body, struct pull *p, char *text, size_t room)
{
	const struct consumer_config *c = &k->config;
	uint64_t n;
	*p = (struct pull) { .batch = 1 };
	while (body.n && (body.p[0] == ' ' || body.p[0] == '\t')) body = slice_from(body, 1);
	if (body.n && body.p[0] == '{') {
		if (!parse_object(body, p)) return "400 Bad Request - invalid JSON";
	} else if (body.n) {
		if (slice_to_u64(body, &n) != OK || n > INT32_MAX) return "400 Bad Request";
		p->batch = (int64_t)n;
	}
	if (p->batch <= 0) p->batch = 1;
	if (p->max_bytes < 0) p->max_bytes = 0; /* no limit; a request that has expired ends as it comes */
	if (p->beat_ns < 0) p->beat_ns = 0;
	if (p->beat_ns > 0 && p->beat_ns > p->expires_ns / 2) return "400 Bad Request - heartbeat value too large";
	text[0] = '\0';
	if (c->max_batch > 0 && p->batch > c->max_batch) {
		(void)snprintf(text, room, "409 Exceeded MaxRequestBatch of %lld", (long long)c->max_batch);
	} else if (c->max_expires_ns > 0 && p->expires_ns > c->max_expires_ns) {
		struct buf d = { 0 };
		duration_print(&d, c->max_expires_ns);
		(void)snprintf(text, room, "409 Exceeded MaxRequestExpires of %s", buf_str(&d));
		buf_deinit(&d);
	} else if (c->max_bytes > 0 && p->max_bytes > c->max_bytes) {
		(void)snprintf(text, room, "409 Exceeded MaxRequestMaxBytes of %lld", (long long)c->max_bytes);
	}
	return text[0] ? text : NULL;
}

static const char *check_room(struct consumer *k, const struct pull *p)
{
	if (p->no_wait) {
		k->work = CONSUMER_WORK;
		uint64_t there = consumer_num_pending(k) + (next_due(k) ? 1 : 0), asked = 0;
		if (there == 0 && p->expires_ns == 0) return "404 No Messages";
		LIST_EACH (node, &k->waiting) asked += (uint64_t)CONTAINER_OF(node, struct request, link_by_turn)->left;
		if (there > 0 && there < asked) return "408 Requests Pending";
	}
	if ((int64_t)k->waiting_count < k->config.max_waiting) return NULL;
	consumer_drop_unheard(k);
	return (int64_t)k->waiting_count < k->config.max_waiting ? NULL : "409 Exceeded MaxWaiting";
}

void consumer_refuse(struct consumer *k, struct slice reply, const char *why)
{
	char status[512];
	if (reply.n == 0) return;
	(void)snprintf(status, sizeof status, "409 %s", why);
	send_status(k, reply, status, NULL);
}

void consumer_pull(struct consumer *k, struct slice body, struct slice reply)
{
	char text[128];
	struct pull p;
	if (!k->all->leading || k->deleting || reply.n == 0) return;
	const char *refused = parse_pull(k, body, &p, text, sizeof text);
	if (!refused) refused = check_room(k, &p);
	if (refused) {
		send_status(k, reply, refused, NULL);
		consumer_rest(k);
		return;
	}
	struct request *q = mem_zalloc(sizeof *q + reply.n);
	*q = (struct request) { .consumer = k,
		.left = p.batch,
		.bytes_left = p.max_bytes ? p.max_bytes : -1,
		.beat_ns = (uint64_t)p.beat_ns,
		.no_wait = p.no_wait,
		.reply_n = (uint32_t)reply.n };
	memcpy(q->reply, reply.p, reply.n);
	q->expiry.fire = expired;
	q->beat.fire = beat;
	k->waiting_count++;
	list_push_back(&k->waiting, &q->link_by_turn);
	consumer_rest(k);
	if (p.expires_ns < 0) {
		request_end(q, "408 Request Timeout", true);
		return;
	}
	if (p.expires_ns) io_timer_start(k->all->io, &q->expiry, (uint64_t)p.expires_ns);
	if (p.beat_ns) io_timer_start(k->all->io, &q->beat, q->beat_ns);
	consumer_mark(k);
	consumer_wake(k);
}
