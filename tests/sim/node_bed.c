/* SPDX-License-Identifier: Apache-2.0 */
/* node_bed — see node_bed.h. */
#include "sim/node_bed.h"

static void nothing(struct io_timer *t) { (void)t; }

static void check_books(const struct bed *b)
{
	if (b->w.book.violation[0]) fail_msg("%s", b->w.book.violation);
}

static bool is_serving(void *arg)
{
	const struct bed *b = arg;
	const struct node *n = server_node(&b->w);
	return b->w.book.violation[0] || (n && n->state == NODE_SERVING);
}

static bool is_greeted(void *arg)
{
	struct bed *b = arg;
	return !peer_poll(&b->p) || b->p.has_greeted;
}

void bed_boot(struct bed *b)
{
	server_boot(&b->w);
	assert_true(sim_run_until(b->w.s, is_serving, b, SECONDS(20)));
	check_books(b);
	peer_connect(&b->p);
	assert_true(sim_run_until(b->w.s, is_greeted, b, SECONDS(20)));
	assert_true(b->p.has_greeted);
}

static bool is_down(void *arg) { return sim_node_state(((struct bed *)arg)->w.n) == SIM_DOWN; }

void bed_stop(struct bed *b)
{
	peer_close(&b->p);
	b->w.nudge.fire = nothing;
	node_stop(server_node(&b->w), false);
	io_timer_start(sim_node_io(b->w.n), &b->w.nudge, 0); /* a turn of the loop */
	assert_true(sim_run_until(b->w.s, is_down, b, SECONDS(20)));
	assert_true(b->w.was_stopped);
	check_books(b);
}

void bed_open(struct bed *b)
{
	*b = (struct bed) { .w = { .s = sim_new(1), .slot_bytes = 256 * KIB, .slot_count = 4 } };
	b->w.n = sim_node_new(b->w.s);
	peer_init(&b->p, b->w.s, 0, sim_node_host(b->w.n));
	bed_boot(b);
}

void bed_close(struct bed *b)
{
	bed_stop(b);
	sim_free(b->w.s);
	buf_deinit(&b->answer);
	book_deinit(&b->w.book);
}

void bed_restart(struct bed *b)
{
	bed_stop(b);
	bed_boot(b);
}

void bed_kill(struct bed *b)
{
	peer_close(&b->p);
	sim_node_crash(b->w.n, SIM_KILL);
	assert_true(sim_run_until(b->w.s, is_down, b, SECONDS(20)));
	bed_boot(b);
}

/* ---- requests ---- */

static void answered(struct peer_call *c, const struct wire_op *op)
{
	struct bed *b = c->a;
	b->is_answered = op != NULL;
	if (op && op->header.n) buf_printf(&b->answer, "%u", header_status(op->header, NULL));
	if (op) buf_append_slice(&b->answer, op->payload);
}

static bool is_answered(void *arg)
{
	struct bed *b = arg;
	return !peer_poll(&b->p) || b->is_answered || list_is_empty(&b->p.calls);
}

const char *bed_ask(struct bed *b, const char *subject, const char *payload)
{
	buf_clear(&b->answer);
	b->is_answered = false;
	peer_call(&b->p, slice_of_str(subject), SLICE_NULL, slice_of_str(payload), SECONDS(4), answered, 0)->a = b;
	assert_true(sim_run_until(b->w.s, is_answered, b, SECONDS(10)));
	if (!b->is_answered) fail_msg("nobody answers %s", subject);
	return buf_str(&b->answer);
}

void bed_ask_for(struct bed *b, const char *subject, const char *payload, const char *want)
{
	const char *answer = bed_ask(b, subject, payload);
	if (!strstr(answer, want)) fail_msg("%s %s: %.*s", subject, payload, SLICE_FMT(slice_of_str(answer)));
}

void bed_publish(struct bed *b, const char *subject) { bed_ask_for(b, subject, "x", "\"seq\":"); }

static void heard(struct peer_call *c, const struct wire_op *op)
{
	struct bed *b = c->a;
	struct bed_got *g = &b->got[b->got_count];
	if (!op) {
		b->is_pull_over = true;
		return;
	}
	assert_true(b->got_count < BED_GOT_MAX);
	*g = (struct bed_got) { 0 };
	(void)snprintf(g->reply, sizeof g->reply, "%.*s", SLICE_FMT(op->reply));
	(void)snprintf(g->subject, sizeof g->subject, "%.*s", SLICE_FMT(op->subject));
	struct slice line;
	if (!op->reply.n) {
		g->status = header_status(op->header, &line);
		(void)snprintf(g->line, sizeof g->line, "%u %.*s", g->status, SLICE_FMT(line));
	}
	unsigned long long count = 0, seq = 0;
	if (op->reply.n) assert_int_equal(sscanf(g->reply, "$JS.ACK.%*[^.].%*[^.].%llu.%llu", &count, &seq), 2);
	g->at_ns = sim_now_ns(b->w.s);
	g->count = count;
	g->seq = seq;
	b->got_count++;
	if (g->status && g->status != 100) b->is_pull_over = true;
	if (b->got_count == b->wanted) b->is_pull_over = true;
	if (b->is_pull_over) peer_call_end(c);
}

static bool is_pulled(void *arg)
{
	struct bed *b = arg;
	return !peer_poll(&b->p) || b->is_pull_over;
}

void bed_pull_by(struct bed *b, const char *subject, const char *body, unsigned wanted)
{
	b->got_count = 0;
	b->wanted = wanted;
	b->is_pull_over = false;
	peer_pull(&b->p, slice_of_str(subject), slice_of_str(body), SECONDS(30), heard)->a = b;
	assert_true(sim_run_until(b->w.s, is_pulled, b, SECONDS(40)));
	assert_true(b->is_pull_over);
}

void bed_pull(struct bed *b, const char *consumer, const char *body, unsigned wanted)
{
	char subject[100];
	(void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT.S.%s", consumer);
	bed_pull_by(b, subject, body, wanted);
}

void bed_make(struct bed *b, const char *stream, const char *consumer)
{
	char config[400], subject[100];
	(void)snprintf(config, sizeof config, "{\"name\":\"S\",\"subjects\":[\"s.>\"]%s}", stream);
	bed_ask_for(b, "$JS.API.STREAM.CREATE.S", config, "\"did_create\":true");
	if (!consumer) return;
	(void)snprintf(config, sizeof config,
		"{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\",\"ack_policy\":\"explicit\"%s}}", consumer);
	(void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DURABLE.CREATE.S.C");
	bed_ask_for(b, subject, config, "\"name\":\"C\"");
}

uint64_t bed_number(struct bed *b, const char *subject, const char *key)
{
	uint64_t v = UINT64_MAX;
	const char *answer = bed_ask(b, subject, "");
	if (!json_number(slice_of_str(answer), key, &v)) fail_msg("no %s in %s", key, answer);
	return v;
}
