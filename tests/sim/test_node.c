/* SPDX-License-Identifier: Apache-2.0 */
/* The whole node in the twin, by hand: what node_sim has found once, told as short stories of one client. Every story ends with a clean stop,
 * which frees everything. */
#include "check.h"
#include "sim/node_world.h"

enum { GOT_MAX = 64 };

struct got {
	uint64_t seq, count;
	unsigned status; /* of a message without a reply */
	char reply[200];
	char subject[40];
};
struct bed {
	struct world w;
	struct peer p;
	struct buf answer;
	bool is_answered;
	struct got got[GOT_MAX];
	unsigned got_count, wanted;
	bool is_pull_over;
};

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

static void boot(struct bed *b)
{
	server_boot(&b->w);
	assert_true(sim_run_until(b->w.s, is_serving, b, SECONDS(20)));
	check_books(b);
	peer_connect(&b->p);
	assert_true(sim_run_until(b->w.s, is_greeted, b, SECONDS(20)));
	assert_true(b->p.has_greeted);
}

static bool is_down(void *arg) { return sim_node_state(((struct bed *)arg)->w.n) == SIM_DOWN; }

static void stop(struct bed *b)
{
	peer_close(&b->p);
	b->w.nudge.fire = nothing;
	node_stop(server_node(&b->w), false);
	io_timer_start(sim_node_io(b->w.n), &b->w.nudge, 0); /* a turn of the loop */
	assert_true(sim_run_until(b->w.s, is_down, b, SECONDS(20)));
	assert_true(b->w.was_stopped);
	check_books(b);
}

static void open_bed(struct bed *b)
{
	*b = (struct bed) { .w = { .s = sim_new(1), .slot_bytes = 256 * KIB, .slot_count = 4 } };
	b->w.n = sim_node_new(b->w.s);
	peer_init(&b->p, b->w.s, 0, sim_node_host(b->w.n));
	boot(b);
}

static void close_bed(struct bed *b)
{
	stop(b);
	sim_free(b->w.s);
	buf_deinit(&b->answer);
	book_deinit(&b->w.book);
}

static void restart(struct bed *b)
{
	stop(b);
	boot(b);
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

/* The one answer; "" also when it is empty. Fails when nobody answers within four seconds. */
static const char *ask(struct bed *b, const char *subject, const char *payload)
{
	buf_clear(&b->answer);
	b->is_answered = false;
	peer_call(&b->p, slice_of_str(subject), SLICE_NULL, slice_of_str(payload), SECONDS(4), answered, 0)->a = b;
	assert_true(sim_run_until(b->w.s, is_answered, b, SECONDS(10)));
	if (!b->is_answered) fail_msg("nobody answers %s", subject);
	return buf_str(&b->answer);
}

static void ask_for(struct bed *b, const char *subject, const char *payload, const char *want)
{
	const char *answer = ask(b, subject, payload);
	if (!strstr(answer, want)) fail_msg("%s %s: %.*s", subject, payload, SLICE_FMT(slice_of_str(answer)));
}

static void publish(struct bed *b, const char *subject) { ask_for(b, subject, "x", "\"seq\":"); }

static void heard(struct peer_call *c, const struct wire_op *op)
{
	struct bed *b = c->a;
	struct got *g = &b->got[b->got_count];
	if (!op) {
		b->is_pull_over = true;
		return;
	}
	assert_true(b->got_count < GOT_MAX);
	*g = (struct got) { 0 };
	(void)snprintf(g->reply, sizeof g->reply, "%.*s", SLICE_FMT(op->reply));
	(void)snprintf(g->subject, sizeof g->subject, "%.*s", SLICE_FMT(op->subject));
	if (!op->reply.n) g->status = header_status(op->header, NULL);
	unsigned long long count = 0, seq = 0;
	if (op->reply.n) assert_int_equal(sscanf(g->reply, "$JS.ACK.%*[^.].%*[^.].%llu.%llu", &count, &seq), 2);
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

/* Messages and statuses of one request, in b->got; over with a final status, or with `wanted` of them. */
static void pull(struct bed *b, const char *consumer, const char *body, unsigned wanted)
{
	char subject[100];
	(void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT.S.%s", consumer);
	b->got_count = 0;
	b->wanted = wanted;
	b->is_pull_over = false;
	peer_pull(&b->p, slice_of_str(subject), slice_of_str(body), SECONDS(30), heard)->a = b;
	assert_true(sim_run_until(b->w.s, is_pulled, b, SECONDS(40)));
	assert_true(b->is_pull_over);
}

static void make(struct bed *b, const char *stream, const char *consumer)
{
	char config[400], subject[100];
	(void)snprintf(config, sizeof config, "{\"name\":\"S\",\"subjects\":[\"s.>\"]%s}", stream);
	ask_for(b, "$JS.API.STREAM.CREATE.S", config, "\"did_create\":true");
	if (!consumer) return;
	(void)snprintf(config, sizeof config,
		"{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\",\"ack_policy\":\"explicit\"%s}}", consumer);
	(void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DURABLE.CREATE.S.C");
	ask_for(b, subject, config, "\"name\":\"C\"");
}

static uint64_t info_number(struct bed *b, const char *subject, const char *key)
{
	uint64_t v = UINT64_MAX;
	const char *answer = ask(b, subject, "");
	if (!json_number(slice_of_str(answer), key, &v)) fail_msg("no %s in %s", key, answer);
	return v;
}

/* ---- stories ---- */

/* A message that was delivered by the process before: its subject and weight are not remembered with the delivery, and must be in the record
 * that takes it out of the stream. */
static void late_ack_removes(const char *retention)
{
	struct bed b;
	char held[200];
	open_bed(&b);
	make(&b, retention, ",\"ack_wait\":60000000000");
	publish(&b, "s.a");
	publish(&b, "s.b");
	pull(&b, "C", "{\"batch\":2}", 2);
	assert_int_equal(b.got[0].seq, 1);
	(void)snprintf(held, sizeof held, "%s", b.got[0].reply);
	ask_for(&b, b.got[1].reply, "+ACK", ""); /* logs both deliveries */
	restart(&b);
	ask_for(&b, held, "+ACK", "");
	assert_int_equal(info_number(&b, "$JS.API.STREAM.INFO.S", "messages"), 0);
	assert_int_equal(info_number(&b, "$JS.API.CONSUMER.INFO.S.C", "num_ack_pending"), 0);
	restart(&b);
	assert_int_equal(info_number(&b, "$JS.API.STREAM.INFO.S", "messages"), 0);
	close_bed(&b);
}

static void late_ack_leaves_a_workqueue(void **state)
{
	(void)state;
	late_ack_removes(",\"retention\":\"workqueue\"");
}

static void late_ack_leaves_an_interest_stream(void **state)
{
	(void)state;
	late_ack_removes(",\"retention\":\"interest\"");
}

static void publish_much(struct bed *b, const char *subject)
{
	char *text = mem_alloc(16 * KIB + 1);
	memset(text, 'x', 16 * KIB);
	text[16 * KIB] = '\0';
	ask_for(b, subject, text, "\"seq\":");
	mem_free(text);
}

/* A read that fails once says nothing about what is stored. */
static void failed_read_is_no_damage(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b);
	make(&b, "", NULL);
	for (unsigned i = 0; i < 60; i++) publish_much(&b, "s.c"); /* until it is in segments */
	for (unsigned skip = 0; skip < 6; skip++) {
		restart(&b);
		sim_run_for(b.w.s, SECONDS(15)); /* nothing is kept in memory so long */
		sim_disk_fail(b.w.n, SIM_CALL_READ, NULL, skip, 1, ERR_IO);
		ask_for(&b, "$JS.API.STREAM.MSG.GET.S", "{\"seq\":1}", "\"data\":");
		sim_disk_fail_clear(b.w.n);
	}
	assert_true(sim_counted(b.w.s, "disk call failed") >= 2);
	close_bed(&b);
}

/* Overdue messages that nobody asks for cost nothing. */
static void overdue_is_idle(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b);
	make(&b, "", ",\"ack_wait\":100000000");
	publish(&b, "s.a");
	pull(&b, "C", "{\"batch\":1}", 1);
	uint64_t before = sim_events(b.w.s);
	sim_run_for(b.w.s, SECONDS(10));
	assert_true(sim_events(b.w.s) - before < 1000);
	pull(&b, "C", "{\"batch\":1}", 1);
	assert_int_equal(b.got[0].count, 2);
	close_bed(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(late_ack_leaves_a_workqueue),
		cmocka_unit_test(late_ack_leaves_an_interest_stream),
		cmocka_unit_test(failed_read_is_no_damage),
		cmocka_unit_test(overdue_is_idle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
