/* SPDX-License-Identifier: Apache-2.0 */
/* Looking after one stream: it is made with its consumers, now and then clients have to leave it alone for a purge or a delete (whose effect
 * is exact then), and after every loss it is audited: STREAM.INFO, every message by MSG.GET, CONSUMER.INFO. */
#include "sim/node_world.h"

#include <stdio.h>

#define QUIET_NS MILLIS(400) /* longer than anything is on the network */
#define API_NS SECONDS(6)

enum { AUDIT_WINDOW = 64 };

static struct peer *keeper(struct world *w) { return &w->peer[0]; }
static bool keeper_is_there(struct world *w) { return keeper(w)->is_open && keeper(w)->has_greeted; }
static struct book_stream *stream_of(const struct stream_care *c) { return &c->w->book.stream[c->index]; }

void care_init(struct world *w, unsigned stream) { w->care[stream] = (struct stream_care) { .w = w, .index = stream }; }
void care_deinit(struct stream_care *c)
{
	mem_free(c->found);
	mem_free(c->shown);
	mem_free(c->lost);
	mem_free(c->entry_of);
}
bool care_is_usable(const struct stream_care *c) { return c->care == CARE_OPEN; }

void care_name(struct buf *b, const char *verb, const struct stream_care *c)
{
	buf_printf(b, "$JS.API.%s.%s", verb, stream_of(c)->name);
}

static void move(struct stream_care *c, enum care to)
{
	c->care = to;
	c->care_since_ns = world_now(c->w);
}

void care_audit(struct stream_care *c, uint64_t not_before_ns, bool full)
{
	c->run++;
	c->not_before_ns = not_before_ns;
	c->wants_full |= full;
	move(c, CARE_SETTLE);
}

static struct peer_call *ask(struct stream_care *c, const char *verb, const char *tail, struct slice body,
	void (*on)(struct peer_call *call, const struct wire_op *op))
{
	struct buf subject = { 0 };
	care_name(&subject, verb, c);
	buf_append_str(&subject, tail);
	struct peer_call *call = peer_call(keeper(c->w), buf_slice(&subject), SLICE_NULL, body, API_NS, on, 0);
	call->a = c;
	call->n = c->run;
	buf_deinit(&subject);
	return call;
}

static uint64_t error_of(const struct wire_op *op)
{
	uint64_t code = 0;
	if (op->header.n) return header_status(op->header, NULL);
	if (memmem(op->payload.p, op->payload.n, "\"error\":", 8)) (void)!json_number(op->payload, "err_code", &code);
	return code;
}

/* ---- making ---- */

static const char *retention_of(enum book_kind k)
{
	return k == BOOK_WORKQUEUE ? "workqueue" : k == BOOK_INTEREST ? "interest" : "limits";
}

static const char *const ack_policies[] = {
	[BOOK_ACK_EXPLICIT] = "explicit", [BOOK_ACK_ALL] = "all", [BOOK_ACK_NONE] = "none"
};

static void made(struct peer_call *call, const struct wire_op *op)
{
	struct stream_care *c = call->a;
	c->asked = 0;
	if (!op || error_of(op) == 503) return; /* again */
	if (error_of(op) && error_of(op) != 10047 && error_of(op) != 10023 && error_of(op) != 10008)
		book_violated(&c->w->book, "CREATE: %.*s", SLICE_FMT(op->payload));
	if (error_of(op)) return;
	if (!c->is_made) {
		c->is_made = true;
		sim_count(c->w->s, "stream made");
	} else {
		c->consumers_made++;
	}
	if (c->consumers_made == stream_of(c)->consumer_count) {
		c->last_full = 0;
		move(c, CARE_OPEN);
	}
}

static void make(struct stream_care *c)
{
	struct book_stream *s = stream_of(c);
	struct buf b = { 0 }, tail = { 0 };
	if (!c->is_made) {
		buf_printf(&b,
			"{\"name\":\"%s\",\"subjects\":[\"s%u.>\"],\"retention\":\"%s\",\"storage\":\"file\","
			"\"duplicate_window\":%llu",
			s->name, c->index, retention_of(s->kind), (unsigned long long)s->window_ns);
		if (s->kind == BOOK_MAX_MSGS || s->kind == BOOK_DISCARD_NEW)
			buf_printf(&b, ",\"max_msgs\":%llu", (unsigned long long)s->limit);
		if (s->kind == BOOK_MAX_BYTES) buf_printf(&b, ",\"max_bytes\":%llu", (unsigned long long)s->limit);
		if (s->kind == BOOK_SUBJECT_NEW)
			buf_append_str(&b, ",\"discard\":\"new\",\"discard_new_per_subject\":true");
		if (s->kind == BOOK_PER_SUBJECT || s->kind == BOOK_SUBJECT_NEW)
			buf_printf(&b, ",\"max_msgs_per_subject\":%llu", (unsigned long long)s->limit);
		if (s->kind == BOOK_DISCARD_NEW) buf_append_str(&b, ",\"discard\":\"new\"");
		buf_append_byte(&b, '}');
		(void)ask(c, "STREAM.CREATE", "", buf_slice(&b), made);
	} else {
		const struct book_consumer *k = &s->consumer[c->consumers_made];
		buf_printf(&b,
			"{\"stream_name\":\"%s\",\"config\":{\"durable_name\":\"%s\",\"ack_policy\":\"%s\","
			"\"max_deliver\":%lld",
			s->name, k->name, ack_policies[k->acks], (long long)k->max_deliver);
		if (k->acks != BOOK_ACK_NONE)
			buf_printf(&b, ",\"ack_wait\":%lld,\"max_ack_pending\":%llu", (long long)k->ack_wait_ns,
				(unsigned long long)k->max_ack_pending);
		if (k->backoff_ns[0])
			buf_printf(&b, ",\"backoff\":[%lld,%lld,%lld]", (long long)k->backoff_ns[0],
				(long long)k->backoff_ns[1], (long long)k->backoff_ns[2]);
		if (k->filter >= 0) buf_printf(&b, ",\"filter_subject\":\"s%u.%c\"", c->index, 'a' + k->filter);
		buf_append_str(&b, "}}");
		buf_printf(&tail, ".%s", k->name);
		(void)ask(c, "CONSUMER.DURABLE.CREATE", buf_str(&tail), buf_slice(&b), made);
	}
	c->asked = 1;
	buf_deinit(&b);
	buf_deinit(&tail);
}

/* ---- lone operations ---- */

enum operation { PURGE, DELETE_MSG, DELETE_STREAM };

static void stream_is_gone(struct stream_care *c)
{
	sim_count(c->w->s, "stream deleted");
	book_stream_reset(stream_of(c));
	c->is_made = c->perhaps_deleted = false;
	c->consumers_made = c->asked = c->publishes = c->pulls = c->acks = 0;
	memset(c->ids, 0, sizeof c->ids);
	move(c, CARE_CREATE);
}

/* Two answers say so: the one where it would be between others, the other below the first of them. */
static bool is_not_there(struct slice answer, uint64_t code)
{
	static const char below_first[] = "no message found";
	return code == 10043 ||
	       (code == 10057 && memmem(answer.p, answer.n, below_first, sizeof below_first - 1) != NULL);
}

static void operated(struct peer_call *call, const struct wire_op *op)
{
	struct stream_care *c = call->a;
	struct book_stream *s = stream_of(c);
	enum operation what = (enum operation)call->m;
	uint64_t purged = 0, now = world_now(c->w);
	if (call->n != c->run || c->care != CARE_OPERATE) return;
	uint64_t code = op ? error_of(op) : 0;
	if (!op || code == 10047 || code == 10023 || code == 10008) { /* a long purge may be refused half-way */
		sim_count(c->w->s, op ? "operation refused" : "operation unknown");
		c->perhaps_deleted = what == DELETE_STREAM;
		care_audit(c, now + SECONDS(1), true);
		return;
	}
	bool is_seen_only = s->kind == BOOK_MAX_BYTES; /* nobody knows what its limit has taken */
	if (is_seen_only && what == DELETE_MSG && is_not_there(op->payload, code)) code = 0;
	if (code) {
		book_violated(&c->w->book, "OPERATION on %s: %.*s", s->name, SLICE_FMT(op->payload));
		return;
	}
	world_trace(c->w, "operation on %s done: %.*s", s->name, SLICE_FMT(op->payload));
	if (what == DELETE_STREAM) {
		stream_is_gone(c);
		return;
	}
	/* marked MAYBE when it was asked for: now it is sure */
	uint64_t taken = 0;
	for (uint64_t seq = 1; seq <= s->last; seq++) {
		if (s->slots[seq].presence != BOOK_MAYBE) continue;
		s->slots[seq].presence = BOOK_GONE;
		s->slots[seq].gone_ns = now;
		taken++;
		if (what == DELETE_MSG && s->slots[seq].pub && !is_seen_only) s->slots[seq].pub->is_erased = true;
	}
	bool is_exact = s->kind != BOOK_WORKQUEUE && s->kind != BOOK_INTEREST && !is_seen_only;
	if (what == PURGE && (!json_number(op->payload, "purged", &purged) || (is_exact && purged != taken)))
		book_violated(&c->w->book, "PURGE of %s took %llu, there were %llu", s->name,
			(unsigned long long)purged, (unsigned long long)taken);
	sim_count(c->w->s, what == PURGE ? "purge" : "message deleted");
	move(c, CARE_OPEN);
}

static void purge(struct stream_care *c)
{
	struct world *w = c->w;
	struct book_stream *s = stream_of(c);
	struct buf b = { 0 };
	int subject = world_chance(w, 40) ? (int)sim_below(w->s, BOOK_SUBJECTS) : -1;
	uint64_t seq = 0, keep = 0, dice = sim_below(w->s, 100);
	bool is_known =
		s->kind != BOOK_WORKQUEUE && s->kind != BOOK_INTEREST && s->kind != BOOK_MAX_BYTES; /* how many */
	if (dice < 40)
		seq = s->last ? world_between(w, 1, s->last + 1) : 0;
	else if (dice < 70 && is_known)
		keep = world_between(w, 1, 20);
	buf_append_byte(&b, '{');
	if (subject >= 0) buf_printf(&b, "\"filter\":\"s%u.%c\",", c->index, 'a' + subject);
	buf_printf(&b, "\"seq\":%llu,\"keep\":%llu}", (unsigned long long)seq, (unsigned long long)keep);
	(void)book_purge(s, subject, seq, keep, BOOK_PERHAPS, world_now(w));
	world_trace(w, "purge of %s: %.*s", s->name, SLICE_FMT(buf_slice(&b)));
	ask(c, "STREAM.PURGE", "", buf_slice(&b), operated)->m = PURGE;
	buf_deinit(&b);
}

static bool delete_one(struct stream_care *c)
{
	struct book_stream *s = stream_of(c);
	struct buf b = { 0 };
	uint64_t seq = s->last ? 1 + sim_below(c->w->s, s->last) : 0;
	if (seq == 0 || book_presence(s, seq) != BOOK_LIVE || s->kind == BOOK_WORKQUEUE || s->kind == BOOK_INTEREST)
		return false;
	(void)book_delete(s, seq, BOOK_PERHAPS, world_now(c->w));
	buf_printf(&b, "{\"seq\":%llu}", (unsigned long long)seq);
	world_trace(c->w, "delete %s %llu", s->name, (unsigned long long)seq);
	ask(c, "STREAM.MSG.DELETE", "", buf_slice(&b), operated)->m = DELETE_MSG;
	buf_deinit(&b);
	return true;
}

void care_delete(struct stream_care *c)
{
	if (c->care != CARE_OPEN || stream_of(c)->unknown_count) return;
	book_replay(&c->w->book, c->index);
	move(c, CARE_OPERATE);
	if (!delete_one(c)) move(c, CARE_OPEN);
}

static void operate(struct stream_care *c)
{
	struct world *w = c->w;
	struct book_stream *s = stream_of(c);
	if (s->unknown_count) {
		care_audit(c, world_now(w) + SECONDS(1), false);
		return;
	}
	book_replay(&w->book, c->index);
	move(c, CARE_OPERATE);
	uint64_t dice = sim_below(w->s, 100);
	if (dice < 12 && s->last > 20) {
		ask(c, "STREAM.DELETE", "", SLICE_NULL, operated)->m = DELETE_STREAM;
	} else if (dice < 50 || !delete_one(c)) {
		purge(c);
	}
}

/* ---- audits ---- */

/* Nobody answered. After damage that is an answer, if the server has said why. */
static void audit_again(struct stream_care *c)
{
	if (c->is_damaged && ++c->refused >= 2) {
		if (!server_said_damaged(c->w, c->index))
			book_violated(&c->w->book, "SILENT: %s is not served and no line says why:\n%s",
				stream_of(c)->name, c->w->words);
		sim_count(c->w->s, "rot refused a stream");
		c->run++;
		move(c, CARE_LOST);
		return;
	}
	care_audit(c, world_now(c->w) + MILLIS(300), c->wants_full);
}

/* The server says that it can not serve this. */
static bool is_refused(struct stream_care *c, uint64_t code)
{
	if (!c->is_damaged || (code != 10008 && code != 10059 && code != 10014)) return false;
	c->refused = 2;
	audit_again(c);
	return true;
}

/* A stream that can only be read shows a state that it once had: what is missing in it was refused by name, never said not to be there. */
static void doubt_end(struct stream_care *c)
{
	struct book_stream *s = stream_of(c);
	if (!server_said_damaged(c->w, c->index))
		book_violated(
			&c->w->book, "SILENT: %s can only be read and no line says why:\n%s", s->name, c->w->words);
	if (c->until < s->last)
		book_violated(&c->w->book, "LOST: %s says its last sequence is %llu, %llu was acknowledged", s->name,
			(unsigned long long)c->until, (unsigned long long)s->last);
	for (uint64_t seq = 1; seq <= c->until && seq < s->cap; seq++)
		if (c->found[seq] == 'a' && book_presence(s, seq) == BOOK_LIVE)
			book_violated(&c->w->book, "LOST: %s is in doubt, and says that %llu is not there", s->name,
				(unsigned long long)seq);
	sim_count(c->w->s, "rot left a stream readable");
	c->run++;
	move(c, CARE_LOST);
}

static void consumer_asked(struct peer_call *call, const struct wire_op *op)
{
	struct stream_care *c = call->a;
	struct book_stream *s = stream_of(c);
	if (call->n != c->run || c->care != CARE_AUDIT) return;
	if (!op || error_of(op) == 503) {
		audit_again(c);
		return;
	}
	if (is_refused(c, error_of(op))) return;
	if (c->has_forgotten) {
		if (++c->consumers_asked == s->consumer_count) move(c, c->stays_closed ? CARE_DONE : CARE_OPEN);
		return;
	}
	bool may_be_off = c->is_in_doubt || (c->is_damaged && !c->w->knows_damage);
	if (may_be_off && server_said_in_doubt(c->w, c->index)) { /* its numbers are as good as what could be read */
		doubt_end(c);
		return;
	}
	struct book_consumer_info i;
	struct slice delivered = op->payload, floor = op->payload;
	const uint8_t *at = memmem(op->payload.p, op->payload.n, "\"delivered\"", 11),
		      *at_floor = memmem(op->payload.p, op->payload.n, "\"ack_floor\"", 11);
	if (error_of(op) || !at || !at_floor) {
		book_violated(&c->w->book, "LOST: consumer %s/%s: %.*s", s->name, s->consumer[call->m].name,
			SLICE_FMT(op->payload));
		return;
	}
	delivered = slice_from(delivered, (size_t)(at - op->payload.p));
	floor = slice_from(floor, (size_t)(at_floor - op->payload.p));
	bool good = json_number(delivered, "stream_seq", &i.delivered_sseq) &&
		    json_number(floor, "stream_seq", &i.floor_sseq) &&
		    json_number(op->payload, "num_ack_pending", &i.ack_pending) &&
		    json_number(op->payload, "num_pending", &i.pending);
	if (!good) book_violated(&c->w->book, "CONSUMER.INFO can not be read: %.*s", SLICE_FMT(op->payload));
	book_consumer_audit(&c->w->book, c->index, (unsigned)call->m, &i);
	sim_count(c->w->s, "consumer audited");
	if (c->is_draining && i.pending == 0 && i.ack_pending == 0) {
		c->is_drained[call->m] = true;
		book_drained(&c->w->book, c->index, (unsigned)call->m);
	}
	if (++c->consumers_asked == s->consumer_count) move(c, c->stays_closed ? CARE_DONE : CARE_OPEN);
}

/* The first look at a stream that goes on without what damage took. */
static void given_up(struct stream_care *c)
{
	struct book_stream *s = stream_of(c);
	const struct book_loss loss = { c->shown, c->shown_last, c->lost, c->lost_last };
	c->skipped_from = s->last;
	c->skipped_to = c->info.last_seq;
	for (uint64_t seq = 1; seq <= c->until; seq++)
		if (c->found[seq] == 'l' && (seq > c->shown_last || c->shown[seq] == '?'))
			sim_count(c->w->s, "recovered message behind a gap");
	book_recovered(&c->w->book, c->index, &c->info, c->found, &loss);
	sim_count(c->w->s, "stream audited after a recovery");
	c->is_given_up = false;
	c->has_forgotten = true;
	c->wants_full = false;
	c->last_full = s->last;
	memset(c->ids, 0, sizeof c->ids);
	move(c, c->stays_closed ? CARE_DONE : CARE_OPEN);
}

static void audit_end(struct stream_care *c)
{
	if (c->is_in_doubt) {
		doubt_end(c);
		return;
	}
	struct book_stream *s = stream_of(c);
	struct buf tail = { 0 };
	if (c->is_given_up) {
		given_up(c);
		return;
	}
	book_audit(&c->w->book, c->index, &c->info, c->found, world_now(c->w));
	sim_count(c->w->s, c->wants_full ? "stream audited whole" : "stream audited");
	c->wants_full = false;
	c->last_full = s->last;
	/* What is still in a work queue was not acknowledged, whatever was sent. */
	for (uint64_t seq = 1; s->kind == BOOK_WORKQUEUE && seq <= s->last; seq++)
		for (unsigned k = 0; s->slots[seq].presence == BOOK_LIVE && k < s->consumer_count; k++)
			if (!book_entry(&s->consumer[k], seq)->confirmed_ns)
				book_entry(&s->consumer[k], seq)->ack_sent = false;
	c->consumers_asked = 0;
	for (unsigned k = 0; k < s->consumer_count; k++) {
		buf_clear(&tail);
		buf_printf(&tail, ".%s", s->consumer[k].name);
		ask(c, "CONSUMER.INFO", buf_str(&tail), SLICE_NULL, consumer_asked)->m = k;
	}
	buf_deinit(&tail);
	if (s->consumer_count == 0) move(c, c->stays_closed ? CARE_DONE : CARE_OPEN);
}

static bool wants_message(struct stream_care *c, uint64_t seq)
{
	const struct book_stream *s = stream_of(c);
	bool has_acks = s->kind == BOOK_WORKQUEUE || s->kind == BOOK_INTEREST;
	/* After a loss many may be left out, so that none is given out twice. */
	uint64_t from = c->is_given_up ? s->last : c->skipped_from, to = c->is_given_up ? c->until : c->skipped_to;
	if (seq > from + AUDIT_WINDOW && seq + AUDIT_WINDOW < to) return false;
	if (c->wants_full || seq + 30 > c->last_full || seq >= s->cap || s->slots[seq].presence == BOOK_MAYBE)
		return true;
	return (has_acks && s->slots[seq].presence != BOOK_GONE) || sim_below(c->w->s, 100) < 5;
}

static void message_got(struct peer_call *call, const struct wire_op *op);

static void ask_messages(struct stream_care *c)
{
	char body[48];
	for (; c->at <= c->until && c->asked < AUDIT_WINDOW; c->at++) {
		if (!wants_message(c, c->at)) continue;
		int n = snprintf(body, sizeof body, "{\"seq\":%llu}", (unsigned long long)c->at);
		ask(c, "STREAM.MSG.GET", "", slice_of(body, (size_t)n), message_got)->m = c->at;
		c->asked++;
	}
	if (c->asked == 0) audit_end(c);
}

static bool take_message(struct stream_care *c, uint64_t seq, struct slice answer)
{
	struct buf payload = { 0 };
	int64_t time_ns = 0;
	struct slice time = json_text(answer, "time");
	bool good = base64_read(json_text(answer, "data"), &payload) && time.p && time_parse(time, &time_ns) == OK;
	if (!good)
		book_violated(&c->w->book, "MSG.GET can not be read: %.*s", SLICE_FMT(answer));
	else
		good = book_seen(&c->w->book, c->index, seq, json_text(answer, "subject"), buf_slice(&payload),
			       time_ns) != NULL;
	buf_deinit(&payload);
	return good;
}

static void message_got(struct peer_call *call, const struct wire_op *op)
{
	struct stream_care *c = call->a;
	if (call->n != c->run || c->care != CARE_AUDIT) return;
	uint64_t code = op ? error_of(op) : 503;
	if (code == 503) {
		audit_again(c);
		return;
	}
	if (is_refused(c, code)) return;
	if (code == 10008 && sim_counted(c->w->s, "disk call failed")) { /* that read hit it; the next one may not */
		audit_again(c);
		return;
	}
	c->asked--;
	if (code == 10077 && c->is_damaged) { /* damage, found by this read or before */
		c->is_in_doubt = true;
		ask_messages(c);
		return;
	}
	if (code != 0 && code != 10037) {
		book_violated(&c->w->book, "MSG.GET of %s %llu: %.*s", stream_of(c)->name, (unsigned long long)call->m,
			SLICE_FMT(op->payload));
		return;
	}
	c->found[call->m] = code ? 'a' : 'l';
	if (code == 0 && !take_message(c, call->m, op->payload)) return;
	ask_messages(c);
}

/* Which entries the server says are lost. */
static void note_told(struct stream_care *c, struct slice info)
{
	const uint8_t *at = memmem(info.p, info.n, "\"doubt\":{", 9);
	c->told_from = c->told_to = 0;
	if (!at) return;
	struct slice doubt = slice_from(info, (size_t)(at - info.p));
	(void)!json_number(doubt, "from", &c->told_from);
	(void)!json_number(doubt, "to", &c->told_to);
}

static void info_got(struct peer_call *call, const struct wire_op *op)
{
	struct stream_care *c = call->a;
	struct book_info *i = &c->info;
	if (call->n != c->run || c->care != CARE_AUDIT) return;
	uint64_t code = op ? error_of(op) : 503;
	if (code == 503) {
		audit_again(c);
		return;
	}
	if (code == 10059 && c->perhaps_deleted) {
		stream_is_gone(c);
		return;
	}
	c->perhaps_deleted = false;
	if (is_refused(c, code)) return;
	if (code == 10059) {
		book_violated(&c->w->book, "LOST: stream %s is not there", stream_of(c)->name);
		return;
	}
	*i = (struct book_info) { 0 };
	bool good = code == 0 && json_number(op->payload, "messages", &i->messages) &&
		    json_number(op->payload, "bytes", &i->bytes) &&
		    json_number(op->payload, "first_seq", &i->first_seq) &&
		    json_number(op->payload, "last_seq", &i->last_seq);
	(void)!json_number(op->payload, "num_deleted", &i->deleted);
	if (!good) {
		book_violated(&c->w->book, "STREAM.INFO of %s: %.*s", stream_of(c)->name, SLICE_FMT(op->payload));
		return;
	}
	world_trace(c->w, "audit of %s kind %d limit %llu: messages %llu first %llu last %llu deleted %llu",
		stream_of(c)->name, stream_of(c)->kind, (unsigned long long)stream_of(c)->limit,
		(unsigned long long)i->messages, (unsigned long long)i->first_seq, (unsigned long long)i->last_seq,
		(unsigned long long)i->deleted);
	c->is_in_doubt = c->is_damaged && memmem(op->payload.p, op->payload.n, "\"doubt\":{", 9);
	note_told(c, op->payload);
	c->until = c->is_in_doubt ? u64_max(i->last_seq, stream_of(c)->last) : i->last_seq;
	mem_free(c->found);
	c->found = mem_alloc(c->until + 1);
	memset(c->found, '?', c->until + 1);
	c->at = 1;
	c->asked = 0;
	ask_messages(c);
}

static bool is_quiet(const struct stream_care *c)
{
	uint64_t now = world_now(c->w);
	return c->publishes == 0 && c->pulls == 0 && c->acks == 0 && now > c->busy_ns + QUIET_NS &&
	       now >= c->not_before_ns && now > c->care_since_ns + MILLIS(20);
}

void care_step(struct stream_care *c)
{
	struct world *w = c->w;
	if (!keeper_is_there(w)) return;
	switch (c->care) {
	case CARE_CREATE:
		if (!c->asked) make(c);
		return;
	case CARE_OPEN:
		if (c->stays_closed)
			care_audit(c, 0, true);
		else if (!w->is_calm && sim_below(w->s, 1000) < 3)
			move(c, CARE_DRAIN);
		return;
	case CARE_DRAIN:
		if (c->publishes == 0) operate(c);
		return;
	case CARE_SETTLE:
		if (!is_quiet(c)) return;
		move(c, CARE_AUDIT);
		(void)ask(c, "STREAM.INFO", "", SLICE_NULL, info_got);
		return;
	case CARE_OPERATE:
	case CARE_AUDIT:
	case CARE_DONE:
	case CARE_LOST: return;
	}
}
