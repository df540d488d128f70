/* SPDX-License-Identifier: Apache-2.0 */
/* Pull requests and acks by the clock (spec §5.9, §5.10): how requests end, what a heartbeat is for, when a message comes again, when an
 * ephemeral consumer goes. Time is the simulation's, so a bound is a bound; what comes over the network may be SLACK late. */
#include "sim/node_bed.h"

#define SLACK MILLIS(60) /* of what is sent now and then heard */

static uint64_t now(const struct bed *b) { return sim_now_ns(b->w.s); }

static void check_between(uint64_t ns, uint64_t at_least)
{
	if (ns + SLACK / 2 < at_least || ns > at_least + SLACK)
		fail_msg("%.3f s, expected %.3f s", (double)ns / 1e9, (double)at_least / 1e9);
}

/* ---- how requests end ---- */

static const struct ending {
	const char *body;
	unsigned messages; /* of three that are there */
	const char *line;
	uint64_t after_ns;
} endings[] = {
	{ "{\"batch\":5,\"no_wait\":true}", 3, "408 Request Timeout", 0 },
	{ "{\"batch\":5,\"expires\":300000000}", 3, "408 Request Timeout", MILLIS(300) },
	{ "{\"batch\":2,\"max_bytes\":100000}", 2, "409 Batch Completed", 0 },
	{ "{\"batch\":5,\"max_bytes\":20}", 0, "409 Message Size Exceeds MaxBytes", 0 },
	{ "{\"batch\":1,\"expires\":300000000,\"idle_heartbeat\":200000000}", 0,
		"400 Bad Request - heartbeat value too large", 0 },
	{ "{\"batch\":1", 0, "400 Bad Request - invalid JSON", 0 },
	{ "{\"batch\":\"1\"}", 0, "400 Bad Request - invalid JSON", 0 },
	{ "{\"batch\":1,\"expires\":1000000000,\"idle_heartbeat\":9223372036854775807}", 0,
		"400 Bad Request - heartbeat value too large", 0 },
	{ "{\"expires\":-5,\"idle_heartbeat\":5}", 0, "400 Bad Request - heartbeat value too large", 0 },
	{ "{\"expires\":-1}", 0, "408 Request Timeout", 0 },
	{ "{\"batch\":5,\"max_bytes\":-1,\"no_wait\":true}", 3, "408 Request Timeout", 0 },
	{ "{\"batch\":5,\"idle_heartbeat\":-1,\"no_wait\":true}", 3, "408 Request Timeout", 0 },
	{ "many", 0, "400 Bad Request", 0 },
	{ "{\"batch\":11}", 0, "409 Exceeded MaxRequestBatch of 10", 0 },
	{ "{\"batch\":1,\"expires\":3000000000}", 0, "409 Exceeded MaxRequestExpires of 2s", 0 },
	{ "{\"batch\":1,\"max_bytes\":1000001}", 0, "409 Exceeded MaxRequestMaxBytes of 1000000", 0 },
};

static void check_ending(struct bed *b, const struct ending *e)
{
	bed_make(b, "", ",\"max_batch\":10,\"max_expires\":2000000000,\"max_bytes\":1000000");
	for (unsigned i = 0; i < 3; i++) bed_publish(b, "s.a");
	uint64_t from = now(b);
	bed_pull(b, "C", e->body, BED_GOT_MAX);
	if (b->got_count != e->messages + 1)
		fail_msg("%s: %u messages and statuses, the last one %s", e->body, b->got_count,
			b->got_count ? b->got[b->got_count - 1].line : "");
	const struct bed_got *last = &b->got[e->messages];
	if (strcmp(last->line, e->line) != 0) fail_msg("%s ends with %s", e->body, last->line);
	check_between(last->at_ns - from, e->after_ns);
	bed_ask_for(b, "$JS.API.STREAM.DELETE.S", "", "\"success\":true");
}

static void requests_end_as_specified(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	for (size_t i = 0; i < COUNT_OF(endings); i++) check_ending(&b, &endings[i]);
	bed_make(&b, "", "");
	bed_pull(&b, "C", "{\"batch\":5,\"no_wait\":true}", BED_GOT_MAX);
	assert_string_equal(b.got[0].line, "404 No Messages");
	bed_close(&b);
}

static void a_heartbeat_comes_while_nothing_does(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", "");
	uint64_t from = now(&b);
	bed_pull(&b, "C", "{\"batch\":1,\"expires\":1100000000,\"idle_heartbeat\":250000000}", BED_GOT_MAX);
	assert_int_equal(b.got_count, 5);
	for (unsigned i = 0; i < 4; i++) {
		assert_string_equal(b.got[i].line, "100 Idle Heartbeat");
		check_between(b.got[i].at_ns - from, (i + 1) * MILLIS(250));
	}
	assert_string_equal(b.got[4].line, "408 Request Timeout");
	check_between(b.got[4].at_ns - from, MILLIS(1100));
	bed_close(&b);
}

/* ---- when a message comes again ---- */

static uint64_t pulled_at(struct bed *b, uint64_t seq, uint64_t count)
{
	bed_pull(b, "C", "{\"batch\":1,\"expires\":5000000000}", 1);
	assert_int_equal(b->got[0].status, 0);
	assert_int_equal(b->got[0].seq, seq);
	assert_int_equal(b->got[0].count, count);
	return b->got[0].at_ns;
}

static void nothing_comes(struct bed *b, const char *expires)
{
	char body[64];
	(void)snprintf(body, sizeof body, "{\"batch\":1,\"expires\":%s}", expires);
	bed_pull(b, "C", body, 1);
	assert_int_equal(b->got[0].status, 408);
}

static void tell(struct bed *b, const char *word)
{
	char reply[200];
	(void)snprintf(reply, sizeof reply, "%s", b->got[0].reply);
	bed_ask_for(b, reply, word, "");
}

static void backoff_is_kept(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", ",\"backoff\":[200000000,600000000]");
	bed_publish(&b, "s.a");
	uint64_t first = pulled_at(&b, 1, 1), again = pulled_at(&b, 1, 2), third = pulled_at(&b, 1, 3);
	check_between(again - first, MILLIS(200));
	check_between(third - again, MILLIS(600));
	check_between(pulled_at(&b, 1, 4) - third, MILLIS(600)); /* the last step goes on */
	tell(&b, "+ACK");
	nothing_comes(&b, "1500000000");
	bed_close(&b);
}

static void naks_and_progress_move_the_clock(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", ",\"ack_wait\":1000000000");
	bed_publish(&b, "s.a");
	(void)pulled_at(&b, 1, 1);
	uint64_t at = now(&b);
	tell(&b, "-NAK");
	check_between(pulled_at(&b, 1, 2) - at, 0);
	at = now(&b);
	tell(&b, "-NAK {\"delay\": 400000000}");
	check_between(pulled_at(&b, 1, 3) - at, MILLIS(400));
	at = now(&b);
	tell(&b, "-NAK 300ms");
	check_between(pulled_at(&b, 1, 4) - at, MILLIS(300));
	sim_run_for(b.w.s, MILLIS(800));
	at = now(&b);
	tell(&b, "+WPI");
	check_between(pulled_at(&b, 1, 5) - at, MILLIS(1000));
	tell(&b, "+TERM");
	nothing_comes(&b, "1500000000");
	assert_int_equal(bed_number(&b, "$JS.API.CONSUMER.INFO.S.C", "num_ack_pending"), 0);
	assert_int_equal(bed_number(&b, "$JS.API.STREAM.INFO.S", "messages"), 1);
	bed_close(&b);
}

/* A client that reads slowly says it of a delivery that is not the last one any more: it counts all the same, as on nats-server, whose
 * processNak does not look at the delivery count. (node_sim 1864 took that for a message that came too soon.) */
static void a_nak_of_an_older_delivery_counts(void **state)
{
	struct bed b;
	char first[200];
	(void)state;
	bed_open(&b);
	bed_make(&b, "", ",\"ack_wait\":1000000000");
	bed_publish(&b, "s.a");
	(void)pulled_at(&b, 1, 1);
	(void)snprintf(first, sizeof first, "%s", b.got[0].reply);
	(void)pulled_at(&b, 1, 2);
	uint64_t at = now(&b);
	bed_ask_for(&b, first, "-NAK", "");
	uint64_t third = pulled_at(&b, 1, 3);
	check_between(third - at, 0);
	check_between(pulled_at(&b, 1, 4) - third, MILLIS(1000));
	bed_close(&b);
}

static void the_clock_outlives_a_start(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", ",\"ack_wait\":3000000000");
	bed_publish(&b, "s.a");
	bed_publish(&b, "s.a");
	uint64_t first = pulled_at(&b, 1, 1);
	(void)pulled_at(&b, 2, 1);
	tell(&b, "+ACK"); /* with it goes into the log what is open */
	bed_restart(&b);
	check_between(pulled_at(&b, 1, 2) - first, SECONDS(3));
	bed_close(&b);
}

static void tries_end(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", ",\"ack_wait\":300000000,\"max_deliver\":2");
	bed_publish(&b, "s.a");
	(void)pulled_at(&b, 1, 1);
	(void)pulled_at(&b, 1, 2);
	nothing_comes(&b, "2000000000");
	assert_int_equal(bed_number(&b, "$JS.API.CONSUMER.INFO.S.C", "num_ack_pending"), 0);
	assert_int_equal(bed_number(&b, "$JS.API.STREAM.INFO.S", "messages"), 1);
	bed_restart(&b);
	nothing_comes(&b, "1000000000");
	bed_publish(&b, "s.a");
	(void)pulled_at(&b, 2, 1);
	bed_close(&b);
}

static void no_more_than_may_be_open(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", ",\"max_ack_pending\":3");
	for (unsigned i = 0; i < 6; i++) bed_publish(&b, "s.a");
	bed_pull(&b, "C", "{\"batch\":10,\"expires\":300000000}", BED_GOT_MAX);
	assert_int_equal(b.got_count, 4);
	assert_int_equal(b.got[3].status, 408);
	tell(&b, "+ACK");
	(void)pulled_at(&b, 4, 1);
	bed_close(&b);
}

static void an_ack_may_ask_for_the_next(void **state)
{
	struct bed b;
	char reply[200];
	(void)state;
	bed_open(&b);
	bed_make(&b, "", "");
	bed_publish(&b, "s.a");
	bed_publish(&b, "s.b");
	(void)pulled_at(&b, 1, 1);
	(void)snprintf(reply, sizeof reply, "%s", b.got[0].reply);
	bed_pull_by(&b, reply, "+NXT", 1); /* the message is the answer */
	assert_int_equal(b.got[0].seq, 2);
	assert_int_equal(bed_number(&b, "$JS.API.CONSUMER.INFO.S.C", "num_ack_pending"), 1);
	bed_close(&b);
}

/* ---- when an ephemeral consumer goes ---- */

static const char *const make_ephemeral = "{\"stream_name\":\"S\",\"config\":{\"name\":\"E\",\"ack_policy\":"
					  "\"explicit\",\"inactive_threshold\":1000000000}}";

static void an_idle_ephemeral_goes(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", "");
	bed_ask_for(&b, "$JS.API.CONSUMER.CREATE.S.E", make_ephemeral, "\"name\":\"E\"");
	for (unsigned i = 0; i < 5; i++) { /* whoever asks keeps it */
		sim_run_for(b.w.s, MILLIS(700));
		bed_pull(&b, "E", "{\"batch\":1,\"no_wait\":true}", 1);
		assert_int_equal(b.got[0].status, 404);
	}
	bed_pull(&b, "E", "{\"batch\":1,\"expires\":3000000000}", 1); /* and so does who waits */
	assert_int_equal(b.got[0].status, 408);
	sim_run_for(b.w.s, MILLIS(800));
	bed_ask_for(&b, "$JS.API.CONSUMER.INFO.S.E", "", "\"name\":\"E\"");
	sim_run_for(b.w.s, MILLIS(400));
	bed_ask_for(&b, "$JS.API.CONSUMER.INFO.S.E", "", "\"err_code\":10014");
	bed_ask_for(&b, "$JS.API.CONSUMER.CREATE.S.E", make_ephemeral, "\"name\":\"E\"");
	bed_restart(&b); /* it begins to wait anew */
	bed_ask_for(&b, "$JS.API.CONSUMER.INFO.S.E", "", "\"name\":\"E\"");
	sim_run_for(b.w.s, MILLIS(1500));
	bed_ask_for(&b, "$JS.API.CONSUMER.INFO.S.E", "", "\"err_code\":10014");
	bed_restart(&b);
	bed_ask_for(&b, "$JS.API.CONSUMER.NAMES.S", "", "\"consumers\":[\"C\"]"); /* the durable one stays */
	bed_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_end_as_specified),
		cmocka_unit_test(a_heartbeat_comes_while_nothing_does),
		cmocka_unit_test(backoff_is_kept),
		cmocka_unit_test(naks_and_progress_move_the_clock),
		cmocka_unit_test(a_nak_of_an_older_delivery_counts),
		cmocka_unit_test(the_clock_outlives_a_start),
		cmocka_unit_test(tries_end),
		cmocka_unit_test(no_more_than_may_be_open),
		cmocka_unit_test(an_ack_may_ask_for_the_next),
		cmocka_unit_test(an_idle_ephemeral_goes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
