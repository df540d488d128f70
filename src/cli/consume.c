/* SPDX-License-Identifier: Apache-2.0 */
/* `thebes consume`: messages of a station to standard output, acknowledged when they are out, as a member of a consumer group.
 *
 * Each partition has at most one pull open, for a batch that grows while standard output takes messages quickly: what has been pulled and not
 * shown is kept from everybody else. Whatever ends the run (Ctrl-C, a reader that is gone, a refusal), such messages are given back at once. */
#include "cli_inside.h"

#include <signal.h>
#include <stdlib.h>

#include "thebes/station.h"

enum { BATCH_MAX = 256, ACKS_MAX = 1000, SLICE_MS = 200, FAST_MS = 100, SLOW_MS = 1000 };
#define EXPIRES SECONDS(30) /* of a pull that waits */

struct partition {
	char *stream; /* owned */
	uint64_t sid;
	uint64_t pull, left;          /* number of the open pull (0: none), messages that may still come of it */
	uint64_t opened_ns, first_ns; /* when it was, and when its first message came (0: not yet) */
	uint64_t batch, batch_max;
	bool is_dry; /* nothing more now */
};

struct taker {
	struct link *l;          /* borrowed */
	const struct options *o; /* borrowed */
	struct partition *parts; /* owned */
	unsigned count;
	struct buf group, line;
	uint64_t pulls, taken, waiting; /* waiting: `left` of all partitions */
	uint64_t ack_sid, acks_sent, acks_confirmed;
	bool has_failed; /* a sentence has been said */
};

/* ---- the group ---- */

static bool make_group(struct taker *t, const char *stream)
{
	struct buf subject = { 0 };
	bool not_there;
	buf_printf(&subject, "CONSUMER.INFO.%s.%s", stream, buf_str(&t->group));
	/* there already: taken as it is */
	json_t *answer = api_request(t->l, t->o, buf_str(&subject), NULL, API_CONSUMER_NOT_FOUND, &not_there);
	if (not_there) {
		buf_clear(&subject);
		buf_printf(&subject, "CONSUMER.DURABLE.CREATE.%s.%s", stream, buf_str(&t->group));
		json_t *body = json_pack("{s:s,s:{s:s,s:s,s:s}}", "stream_name", stream, "config", "durable_name",
			buf_str(&t->group), "deliver_policy", "all", "ack_policy", "explicit");
		answer = api_request(t->l, t->o, buf_str(&subject), body, 0, NULL);
	}
	buf_deinit(&subject);
	json_decref(answer);
	return answer != NULL;
}

static bool prepare(struct taker *t)
{
	char **streams = mem_zalloc(PARTITIONS_MAX * sizeof *streams), pattern[80];
	t->count = station_streams(t->l, t->o, t->o->args[0], streams, PARTITIONS_MAX);
	t->parts = mem_zalloc((t->count + 1) * sizeof *t->parts);
	bool good = t->count > 0;
	station_name_internal(&t->group, slice_of_str(t->o->group), 0);
	for (unsigned i = 0; i < t->count; i++) {
		struct partition *p = &t->parts[i];
		*p = (struct partition) { .stream = streams[i], .batch = 1, .batch_max = BATCH_MAX };
		good = good && make_group(t, p->stream);
		(void)snprintf(pattern, sizeof pattern, "%s.p.%u.*", t->l->inbox, i);
		p->sid = link_subscribe(t->l, slice_of_str(pattern), SLICE_NULL);
	}
	(void)snprintf(pattern, sizeof pattern, "%s.k", t->l->inbox);
	t->ack_sid = link_subscribe(t->l, slice_of_str(pattern), SLICE_NULL);
	mem_free(streams);
	return good;
}

/* ---- pulls ---- */

static void pull_open(struct taker *t, unsigned index)
{
	struct partition *p = &t->parts[index];
	struct buf subject = { 0 };
	char body[96], inbox[80];
	uint64_t batch = u64_min(p->batch, p->batch_max);
	if (t->o->count)
		batch = u64_min(batch, t->o->count - t->taken); /* what others then bring too much is given back */
	int i = snprintf(inbox, sizeof inbox, "%s.p.%u.%llu", t->l->inbox, index, (unsigned long long)++t->pulls);
	int n = t->o->follow
			? snprintf(body, sizeof body, "{\"batch\":%llu,\"expires\":%llu}", (unsigned long long)batch,
				  (unsigned long long)EXPIRES)
			: snprintf(body, sizeof body, "{\"batch\":%llu,\"no_wait\":true}", (unsigned long long)batch);
	buf_printf(&subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", p->stream, buf_str(&t->group));
	link_publish(t->l, buf_slice(&subject), slice_of(inbox, (size_t)i), SLICE_NULL, slice_of(body, (size_t)n));
	buf_deinit(&subject);
	p->pull = t->pulls;
	p->left = batch;
	p->opened_ns = clock_ns();
	p->first_ns = 0;
	t->waiting += batch;
}

/* A batch that came and went quickly may be larger next time; whoever reads slowly gets few at a time. */
static void pull_close(struct taker *t, struct partition *p)
{
	uint64_t took_ns = p->first_ns ? clock_ns() - p->first_ns : 0;
	if (p->left == 0 && took_ns < MILLIS(FAST_MS)) p->batch = u64_min(2 * p->batch, BATCH_MAX);
	if (took_ns > MILLIS(SLOW_MS)) p->batch = u64_max(p->batch / 2, 1);
	t->waiting -= p->left;
	p->left = 0;
	p->pull = 0;
}

static bool has_enough(const struct taker *t) { return t->o->count && t->taken >= t->o->count; }

/* Opens what may be opened. False: there is nothing to wait for any more. */
static bool pull_all(struct taker *t)
{
	bool any = false;
	if (has_enough(t)) return false;
	for (unsigned i = 0; i < t->count; i++) {
		struct partition *p = &t->parts[i];
		bool wanted = !p->pull && (t->o->follow || !p->is_dry);
		if (wanted && t->acks_sent - t->acks_confirmed < ACKS_MAX) pull_open(t, i);
		any = any || p->pull || wanted;
	}
	return any;
}

/* What the server should have answered by now. */
static bool pull_is_late(const struct taker *t)
{
	uint64_t patience_ns = t->o->timeout_ns + (t->o->follow ? EXPIRES : 0), now = clock_ns();
	for (unsigned i = 0; i < t->count; i++)
		if (t->parts[i].pull && now - u64_max(t->parts[i].opened_ns, t->parts[i].first_ns) > patience_ns)
			return true;
	return false;
}

/* ---- what comes ---- */

static void fail(struct taker *t, const char *what, struct slice detail)
{
	if (!t->has_failed) (void)cli_fail(t->o, "%s%.*s", what, SLICE_FMT(slice_first(detail, 200)));
	t->has_failed = true;
}

static void take_status(struct taker *t, struct partition *p, const struct wire_op *op, unsigned status)
{
	char number[24];
	struct slice text = SLICE_NULL, own;
	(void)header_status(op->header, &text);
	own = slice_of(number, (size_t)snprintf(number, sizeof number, ".%llu", (unsigned long long)p->pull));
	bool is_current =
		p->pull && op->subject.n > own.n && slice_eq(slice_from(op->subject, op->subject.n - own.n), own);
	if (status == 100 || !is_current) return; /* a heartbeat, or the end of a pull that is over */
	pull_close(t, p);
	switch (status) {
	case 404:
	case 408: p->is_dry = true; return;
	case 409:
		if (p->batch_max > 1 && slice_has_prefix(text, SLICE("Exceeded MaxRequestBatch"))) {
			p->batch_max = 1;
			return;
		}
		break;
	case 503: text = SLICE("nobody answers: is the station or the group gone?"); break;
	}
	fail(t, "the server sends no more messages: ", text);
}

/* How many more there are, as the subject of the acknowledgement has it; UINT64_MAX when it has not. */
static uint64_t pending_of(struct slice reply)
{
	enum {
		SHORT_TOKENS = 9,
		LONG_PENDING = 10
	}; /* $JS.ACK.stream.group.n.n.n.time.pending, or with domain and account */
	size_t tokens = subject_token_count(reply), at = 0;
	struct slice token = SLICE_NULL;
	uint64_t pending = UINT64_MAX;
	size_t wanted = tokens > SHORT_TOKENS ? LONG_PENDING : SHORT_TOKENS - 1;
	for (size_t i = 0; i <= wanted; i++)
		if (!subject_next(reply, &at, &token)) return UINT64_MAX;
	return slice_to_u64(token, &pending) == OK ? pending : UINT64_MAX;
}

/* Gives back a message that was not shown, so that the next who asks gets it without waiting for ack_wait. */
static void give_back(struct taker *t, struct slice reply)
{
	if (reply.n) link_publish(t->l, reply, SLICE_NULL, SLICE_NULL, SLICE("-NAK"));
}

static void acknowledge(struct taker *t, struct slice reply)
{
	char inbox[48];
	int n = snprintf(inbox, sizeof inbox, "%s.k", t->l->inbox);
	if (t->o->no_ack || reply.n == 0) return;
	link_publish(t->l, reply, slice_of(inbox, (size_t)n), SLICE_NULL, SLICE("+ACK"));
	t->acks_sent++;
}

static void take_message(struct taker *t, struct partition *p, const struct wire_op *op)
{
	buf_clear(&t->line);
	output_message(&t->line, t->o, op, false);
	if (t->has_failed || has_enough(t) || stop_asked() || !output_write(t->o, buf_slice(&t->line))) {
		t->has_failed = t->has_failed || !(has_enough(t) || stop_asked());
		give_back(t, op->reply);
		return;
	}
	acknowledge(t, op->reply);
	t->taken++;
	if (p->left == 0) return; /* of a pull that counts as over */
	if (!p->first_ns) p->first_ns = clock_ns();
	p->left--;
	t->waiting--;
	/* some servers say nothing when they have sent less than was asked for */
	if (p->left == 0 || (!t->o->follow && pending_of(op->reply) == 0)) pull_close(t, p);
}

static void take(struct taker *t, const struct wire_op *op)
{
	uint64_t sid;
	unsigned status = op->header.n ? header_status(op->header, NULL) : 0;
	if (slice_to_u64(op->sid, &sid) != OK) return;
	if (sid == t->ack_sid) {
		t->acks_confirmed++;
		if (status) fail(t, "an acknowledgement is not taken: is the station or the group gone?", SLICE_NULL);
		return;
	}
	for (unsigned i = 0; i < t->count; i++) {
		if (t->parts[i].sid != sid) continue;
		if (status)
			take_status(t, &t->parts[i], op, status);
		else
			take_message(t, &t->parts[i], op);
	}
}

/* ---- the run ---- */

/* Until all that is wanted is shown and acknowledged, or something ends it. */
static void run(struct taker *t)
{
	struct wire_op op;
	while (!t->has_failed && !stop_asked()) {
		if (!pull_all(t) && t->acks_sent == t->acks_confirmed) return;
		switch (link_next(t->l, MILLIS(SLICE_MS), &op)) {
		case LINK_MSG: take(t, &op); break;
		case LINK_TIMEOUT:
			if (pull_is_late(t)) fail(t, "no answer to a pull in time (--timeout)", SLICE_NULL);
			break;
		case LINK_BROKEN: fail(t, t->l->why, SLICE_NULL); break;
		}
	}
}

/* Nothing more is to be shown: what comes all the same is given back. When this returns, the server has heard of that and has confirmed every
 * acknowledgement, or time is over: then they come again after ack_wait. */
static void wind_up(struct taker *t)
{
	uint64_t until = clock_ns() + t->o->timeout_ns;
	struct wire_op op;
	bool ponged, is_heard = false;
	t->has_failed = true; /* from here on take_message gives back */
	for (unsigned i = 0; i < t->count; i++) link_unsubscribe(t->l, t->parts[i].sid);
	link_ping(t->l);
	while (clock_ns() < until && !(is_heard && t->acks_sent == t->acks_confirmed)) {
		enum link_next r = link_next_or_pong(t->l, MILLIS(SLICE_MS), &op, &ponged);
		if (r == LINK_BROKEN) return;
		if (r == LINK_MSG) take(t, &op);
		is_heard = is_heard || ponged;
	}
	if (!link_settle(t->l)) return; /* and the last that was given back has arrived */
}

int cli_consume(struct link *l, const struct options *o)
{
	struct taker t = { .l = l, .o = o };
	const char *problem = station_name_problem(slice_of_str(o->group));
	if (problem) return cli_misused(o, "--group: %s", problem);
	int code = EXIT_FAILED, stopped_by = 0;
	if (prepare(&t)) {
		stop_arm();
		run(&t);
		code = t.has_failed ? EXIT_FAILED : EXIT_DONE;
		stopped_by = stop_asked();
		if (t.waiting || t.has_failed || stopped_by) wind_up(&t);
	}
	if (code == EXIT_DONE && t.taken == 0 && !o->json && !stopped_by)
		(void)fprintf(stderr, "nothing to consume for group %s now (--follow waits)\n", o->group);
	for (unsigned i = 0; i < t.count; i++) mem_free(t.parts[i].stream);
	mem_free(t.parts);
	buf_deinit(&t.group);
	buf_deinit(&t.line);
	return code == EXIT_DONE && stopped_by ? EXIT_SIGNAL + stopped_by : code;
}
