/* SPDX-License-Identifier: Apache-2.0 */
/* What a start knows of deliveries that nobody acknowledged: an ordinary end forgets none of them, a process that is killed those of the last
 * moment. */
#include "sim/node_bed.h"

enum { MESSAGES = 20, FETCHED = 10 };

/* NOLINTBEGIN(bugprone-reserved-identifier): the sanitizer names it */
/* A process that is killed frees nothing, as in life (node_server.c). */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return 1; }
/* NOLINTEND(bugprone-reserved-identifier) */

#define INFO "$JS.API.CONSUMER.INFO.S.C"
#define A_MOMENT MILLIS(200) /* after it everything is logged */

static void fetch(struct bed *b, unsigned want)
{
	char body[64];
	(void)snprintf(body, sizeof body, "{\"batch\":%u,\"no_wait\":true}", want);
	bed_pull(b, "C", body, want);
}

/* Ten of twenty are delivered. */
static void begin(struct bed *b, const char *policy, const char *more)
{
	char config[400];
	bed_open(b);
	bed_make(b, "", NULL);
	(void)snprintf(config, sizeof config,
		"{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\",\"ack_policy\":\"%s\",\"ack_wait\":"
		"5000000000%s}}",
		policy, more);
	bed_ask_for(b, "$JS.API.CONSUMER.DURABLE.CREATE.S.C", config, "\"name\":\"C\"");
	for (unsigned i = 0; i < MESSAGES; i++) bed_publish(b, "s.a");
	fetch(b, FETCHED);
	assert_int_equal(b->got_count, FETCHED);
}

static const struct end {
	const char *policy;
	bool is_killed;
	uint64_t after_ns;
} ends[] = {
	{ "none", false, 0 },
	{ "none", true, A_MOMENT },
	{ "explicit", false, 0 },
	{ "explicit", true, A_MOMENT },
	{ "all", false, 0 },
	{ "all", true, A_MOMENT },
};

static void end(struct bed *b, bool is_killed)
{
	if (is_killed)
		bed_kill(b);
	else
		bed_restart(b);
}

static void check_end(const struct end *e)
{
	struct bed b;
	bool has_acks = strcmp(e->policy, "none") != 0;
	begin(&b, e->policy, "");
	sim_run_for(b.w.s, e->after_ns);
	end(&b, e->is_killed);
	bed_ask_for(&b, INFO, "", "\"delivered\":{\"consumer_seq\":10,\"stream_seq\":10");
	assert_int_equal(bed_number(&b, INFO, "num_ack_pending"), has_acks ? FETCHED : 0);
	assert_int_equal(bed_number(&b, INFO, "num_pending"), MESSAGES - FETCHED);
	fetch(&b, 1);
	assert_int_equal(b.got[0].seq, FETCHED + 1);
	sim_run_for(b.w.s, SECONDS(6)); /* they come again, and the count goes on */
	if (has_acks) fetch(&b, 1);
	if (has_acks) assert_int_equal(b.got[0].seq, 1);
	if (has_acks) assert_int_equal(b.got[0].count, 2);
	bed_close(&b);
}

static void deliveries_are_known_after_a_start(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(ends); i++) check_end(&ends[i]);
}

static void what_had_its_tries_does_not_come_again(void **state)
{
	struct bed b;
	(void)state;
	for (unsigned is_killed = 0; is_killed < 2; is_killed++) {
		begin(&b, "explicit", ",\"max_deliver\":1");
		sim_run_for(b.w.s, is_killed ? A_MOMENT : 0);
		end(&b, is_killed);
		sim_run_for(b.w.s, SECONDS(6));
		fetch(&b, MESSAGES + 1);
		assert_int_equal(b.got_count, MESSAGES - FETCHED + 1); /* and a status */
		assert_int_equal(b.got[0].seq, FETCHED + 1);
		bed_close(&b);
	}
}

/* Twice: the second start reads it from the state store, or from the log once more. */
static void what_is_held_back_stays_so(void **state)
{
	struct bed b;
	(void)state;
	for (unsigned is_killed = 0; is_killed < 2; is_killed++) {
		begin(&b, "explicit", "");
		peer_publish(&b.p, slice_of_str(b.got[0].reply), SLICE("-NAK {\"delay\":30000000000}"));
		peer_publish(&b.p, slice_of_str(b.got[1].reply), SLICE("+ACK"));
		uint64_t from = sim_now_ns(b.w.s);
		sim_run_for(b.w.s, A_MOMENT);
		end(&b, is_killed);
		end(&b, is_killed);
		bed_pull(&b, "C", "{\"batch\":19,\"expires\":25000000000}", 19);
		for (unsigned i = 0; i < b.got_count; i++) assert_true(b.got[i].status || b.got[i].seq > 2);
		bed_pull(&b, "C", "{\"batch\":1,\"expires\":25000000000}", 1);
		while (b.got[0].seq != 1) bed_pull(&b, "C", "{\"batch\":1,\"expires\":25000000000}", 1);
		assert_in_range(b.got[0].at_ns - from, SECONDS(30) - MILLIS(1), SECONDS(31));
		assert_int_equal(b.got[0].count, 2);
		bed_close(&b);
	}
}

/* A client that works on it says so; that counts after a start too. */
static void what_is_worked_on_stays_so(void **state)
{
	struct bed b;
	(void)state;
	begin(&b, "explicit", "");
	sim_run_for(b.w.s, SECONDS(4));
	peer_publish(&b.p, slice_of_str(b.got[0].reply), SLICE("+WPI"));
	sim_run_for(b.w.s, A_MOMENT);
	bed_kill(&b);
	sim_run_for(b.w.s, SECONDS(2));
	bed_pull(&b, "C", "{\"batch\":9,\"no_wait\":true}", 9);
	for (unsigned i = 0; i < b.got_count; i++) assert_int_equal(b.got[i].seq, i + 2);
	bed_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deliveries_are_known_after_a_start),
		cmocka_unit_test(what_had_its_tries_does_not_come_again),
		cmocka_unit_test(what_is_held_back_stays_so),
		cmocka_unit_test(what_is_worked_on_stays_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
