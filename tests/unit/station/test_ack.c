/* SPDX-License-Identifier: Apache-2.0 */
/* No short cut for one replica: a publish to a station of one replica is answered when its record is durable and applied, and not before.
 * The whole way from the router to the PubAck, over a log that holds back its writes when told to. Then the order of admission. */
#include "check.h"

#include "sim/mem_log.h"
#include "sim/sim.h"
#include "thebes/auth.h"
#include "thebes/station.h"

/* ---- what the stand-in leaves out: nothing is read back here ---- */

enum err log_view(struct log_group *g, uint64_t index, struct slice *entry)
{
	(void)g, (void)index, (void)entry;
	return ERR_AGAIN;
}

void log_read_seq(struct log_group *g, uint64_t seq, struct log_read_req *r)
{
	(void)g, (void)r;
	fail_msg("sequence %llu is read", (unsigned long long)seq);
}

/* What is committed reaches the owners of groups through this door of the raft room, which the test shuts when it likes. */
static bool apply_is_held;
/* NOLINTBEGIN(bugprone-reserved-identifier): the linker names them */
void __wrap_apply_committed(struct group *g);
void __real_apply_committed(struct group *g);
/* NOLINTEND(bugprone-reserved-identifier) */

void __wrap_apply_committed(struct group *g)
{
	if (!apply_is_held) __real_apply_committed(g);
}

struct bed {
	struct sim *sim;
	struct io *io;
	struct mem_disk *disk;
	struct diag diag;
	struct log *log;
	struct raft_groups groups;
	struct auth auth;
	struct stations stations;
	struct io_turn_hook hook;
	struct account *account;
	struct sink sink; /* hears the answers */
	struct sub sub;
	char answers[20][400];
	unsigned answer_count;
	bool closed;
	bool is_many; /* answers are counted only */
	bool heals;   /* there is room again as soon as somebody heard that there is none */
};

static void on_line(void *arg, enum diag_level level, const char *line, size_t n)
{
	(void)arg, (void)level, (void)line, (void)n;
}

static bool on_answer(struct sink *k, struct sub *sub, const struct msg *m)
{
	struct bed *b = CONTAINER_OF(k, struct bed, sink);
	(void)sub;
	if (b->is_many) {
		b->answer_count++;
		return true;
	}
	assert_true(b->answer_count < COUNT_OF(b->answers));
	if (b->heals) mem_disk_admits(b->disk, OK, OK, OK);
	if (b->heals) mem_disk_admits(b->disk, OK, OK, OK);
	if (b->heals) mem_disk_admits(b->disk, OK, OK, OK);
	(void)snprintf(b->answers[b->answer_count++], sizeof b->answers[0], "%.*s", SLICE_FMT(m->payload));
	return true;
}
static const struct sink_ops answer_ops = { .deliver = on_answer };

static void turn_end(struct io_turn_hook *h)
{
	struct bed *b = CONTAINER_OF(h, struct bed, hook);
	stations_turn_end(&b->stations);
	log_turn_end(b->log);
}

static bool no_link(void *arg, uint64_t peer, const struct slice *parts, unsigned count, enum raft_lane lane)
{
	(void)arg, (void)peer, (void)parts, (void)count, (void)lane;
	return false;
}

static void on_fatal(void *arg, const char *why)
{
	(void)arg;
	fail_msg("%s", why);
}

static struct station *station(struct bed *b) { return stations_find(&b->stations, SLICE("$G"), SLICE("S")); }
static bool is_led(void *arg) { return stream_is_leader(station_stream(station(arg))); }

static void add_stream(struct bed *b, unsigned i)
{
	char name[16], config[100];
	(void)snprintf(name, sizeof name, "T%u", i);
	(void)snprintf(config, sizeof config, "{\"name\":\"T%u\",\"subjects\":[\"t%u.>\"]}", i, i);
	struct meta_stream row = { .group = 10 + i, .created_ns = 1, .account = SLICE("$G") };
	row.name = slice_of_str(name);
	row.config = slice_of_str(config);
	assert_int_equal(stations_add(&b->stations, &row, true), OK);
	turn_end(&b->hook);
}

static void open_bed_within(struct bed *b, const char *config, struct ledger *memory)
{
	char why[200];
	struct sim_node *n;
	*b = (struct bed) { .sim = sim_new(7), .sink = { &answer_ops } };
	n = sim_node_new(b->sim);
	sim_node_boot(n, NULL, NULL);
	b->io = sim_node_io(n);
	b->disk = mem_disk_new(1, 7);
	diag_init(&b->diag, DIAG_FATAL, on_line, NULL);
	struct log_options lo = { .dir = "store", .fatal = on_fatal, .fatal_arg = &b->disk };
	assert_int_equal(log_open(b->io, &b->diag, &lo, &b->log, why, sizeof why), OK);
	raft_groups_init(&b->groups, b->io, b->log, &b->diag, &(struct raft_options) { .self = 1 },
		&(struct raft_links) { .send = no_link });
	auth_init(&b->auth, b->io, 1);
	b->account = auth_account(&b->auth, SLICE("$G"));
	assert_non_null(b->account);
	stations_init(&b->stations, b->io, &b->diag, &b->auth, &b->groups, 1);
	b->stations.memory = memory;
	b->hook.turn_end = turn_end;
	io_turn_hook_add(b->io, &b->hook);
	b->sub.sink = &b->sink;
	assert_int_equal(router_subscribe(&b->account->router, &b->sub, SLICE("answer"), SLICE_NULL), OK);
	struct meta_stream row = { .group = 2, .created_ns = 1, .account = SLICE("$G"), .name = SLICE("S") };
	row.config = slice_of_str(config);
	assert_int_equal(stations_add(&b->stations, &row, true), OK);
	turn_end(&b->hook); /* the test is not an event of the loop, which ends a turn by itself */
	assert_true(sim_run_until(b->sim, is_led, b, SECONDS(20)));
}

static void open_bed(struct bed *b, const char *config) { open_bed_within(b, config, NULL); }

static void on_closed(void *arg) { ((struct bed *)arg)->closed = true; }
static bool is_closed(void *arg) { return ((struct bed *)arg)->closed; }

static void close_bed(struct bed *b)
{
	router_unsubscribe(&b->sub);
	stations_close(&b->stations, on_closed, b);
	assert_true(sim_run_until(b->sim, is_closed, b, SECONDS(5)));
	b->closed = false;
	raft_groups_close(&b->groups, on_closed, b);
	assert_true(sim_run_until(b->sim, is_closed, b, SECONDS(5)));
	stations_deinit(&b->stations);
	raft_groups_deinit(&b->groups);
	io_turn_hook_remove(b->io, &b->hook);
	log_free(b->log);
	diag_deinit(&b->diag);
	auth_deinit(&b->auth);
	sim_free(b->sim);
	mem_disk_free(b->disk);
}

/* The turn goes on: what comes next is in it too. */
static void hand_in(struct bed *b, const char *subject, const char *reply, const char *header, struct slice payload)
{
	struct msg m = { .subject = slice_of_str(subject),
		.reply = slice_of_str(reply),
		.header = header ? slice_of_str(header) : SLICE_NULL,
		.payload = payload,
		.account = b->account };
	assert_int_equal(router_publish(&b->account->router, &m), 1);
}

static void publish_with(struct bed *b, const char *subject, const char *header, const char *payload)
{
	hand_in(b, subject, "answer", header, slice_of_str(payload));
	turn_end(&b->hook);
}

static bool has_answer(void *arg) { return ((struct bed *)arg)->answer_count > 0; }

/* Publishes and waits: the one answer. */
static const char *answer_to(struct bed *b, const char *subject, const char *header)
{
	b->answer_count = 0;
	publish_with(b, subject, header, "x");
	assert_true(sim_run_until(b->sim, has_answer, b, SECONDS(5)));
	assert_int_equal(b->answer_count, 1);
	return b->answers[0];
}

static void no_ack_before_it_is_durable(void **state)
{
	struct bed b;
	struct stream_state st;
	(void)state;
	open_bed(&b, "{\"name\":\"S\",\"subjects\":[\"s.>\"]}");
	mem_disk_hold(b.disk, true);
	publish_with(&b, "s.1", NULL, "one");
	publish_with(&b, "s.2", "NATS/1.0\r\nNats-Msg-Id: 2\r\n\r\n", "two");
	sim_run_for(b.sim, SECONDS(10));
	assert_int_equal(b.answer_count, 0);
	stream_state(station_stream(station(&b)), &st);
	assert_int_equal(st.msgs, 0); /* and nobody else sees it either */
	assert_int_equal(st.last_seq, 0);
	publish_with(&b, "s.2", "NATS/1.0\r\nNats-Msg-Id: 2\r\n\r\n", "two"); /* nor is a duplicate of it answered */
	sim_run_for(b.sim, SECONDS(10));
	assert_int_equal(b.answer_count, 0);
	mem_disk_hold(b.disk, false);
	sim_run_for(b.sim, SECONDS(1));
	assert_int_equal(b.answer_count, 3);
	assert_string_equal(b.answers[0], "{\"stream\":\"S\", \"seq\":1}");
	assert_string_equal(b.answers[1], "{\"stream\":\"S\", \"seq\":2}");
	assert_string_equal(b.answers[2], "{\"stream\":\"S\", \"seq\":2,\"duplicate\": true}");
	stream_state(station_stream(station(&b)), &st);
	assert_int_equal(st.msgs, 2);
	close_bed(&b);
}

/* The same with the apply held back, of a group with one replica: its record is on the disk and committed, and that is not enough. */
static void no_ack_before_it_is_applied(void **state)
{
	struct bed b;
	struct stream_state st;
	struct group_status is;
	(void)state;
	open_bed(&b, "{\"name\":\"S\",\"subjects\":[\"s.>\"]}");
	const struct group *g = stream_group(station_stream(station(&b)));
	group_status(g, &is);
	assert_int_equal(is.member_count, 1);
	uint64_t before = is.applied;
	apply_is_held = true;
	publish_with(&b, "s.1", NULL, "one");
	publish_with(&b, "s.2", "NATS/1.0\r\nNats-Msg-Id: 2\r\n\r\n", "two");
	publish_with(&b, "s.2", "NATS/1.0\r\nNats-Msg-Id: 2\r\n\r\n", "two");
	sim_run_for(b.sim, SECONDS(10));
	group_status(g, &is);
	assert_true(is.durable > before); /* all of it: nothing else is to be written */
	assert_int_equal(is.durable, is.last);
	assert_int_equal(is.commit, is.last);
	assert_int_equal(is.applied, before);
	assert_int_equal(b.answer_count, 0);
	stream_state(station_stream(station(&b)), &st);
	assert_int_equal(st.msgs, 0);
	apply_is_held = false;
	publish_with(&b, "s.3", NULL, "three"); /* the group is looked at again */
	sim_run_for(b.sim, SECONDS(1));
	assert_int_equal(b.answer_count, 4);
	assert_string_equal(b.answers[0], "{\"stream\":\"S\", \"seq\":1}");
	assert_string_equal(b.answers[2], "{\"stream\":\"S\", \"seq\":2,\"duplicate\": true}");
	assert_string_equal(b.answers[3], "{\"stream\":\"S\", \"seq\":3}");
	close_bed(&b);
}

/* The tests above are ones that can fail: with the short cut planted the answer comes while the disk has nothing. */
static void the_short_cut_would_be_seen(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, "{\"name\":\"S\",\"subjects\":[\"s.>\"]}");
	assert_int_equal(diag_fault_set(&b.diag, SLICE("bug_ack_before_durable"), SLICE("always")), OK);
	mem_disk_hold(b.disk, true);
	publish_with(&b, "s.1", NULL, "one");
	sim_run_for(b.sim, SECONDS(1));
	assert_int_equal(b.answer_count, 1);
	mem_disk_hold(b.disk, false);
	sim_run_for(b.sim, SECONDS(1));
	close_bed(&b);
}

static void unknown_outcome_is_not_answered(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, "{\"name\":\"S\",\"subjects\":[\"s.>\"]}");
	mem_disk_hold(b.disk, true);
	publish_with(&b, "s.1", NULL, "one");
	sim_run_for(b.sim, SECONDS(1));
	mem_disk_hold(b.disk, false);
	close_bed(&b); /* ends with the message in flight, or just after it was answered: never with an error */
	assert_true(b.answer_count == 0 || strncmp(b.answers[0], "{\"stream\"", 9) == 0);
}

static void full_is_said(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, "{\"name\":\"S\",\"subjects\":[\"s.>\"]}");
	mem_disk_admits(b.disk, ERR_NO_SPACE, OK, OK);
	assert_non_null(strstr(answer_to(&b, "s.1", NULL), "\"err_code\":10047"));
	mem_disk_admits(b.disk, OK, OK, OK);
	assert_string_equal(
		answer_to(&b, "s.1", NULL), "{\"stream\":\"S\", \"seq\":1}"); /* the sequence was given back */
	mem_disk_admits(b.disk, ERR_FULL, OK, OK); /* a lull: waits instead of being refused */
	b.answer_count = 0;
	publish_with(&b, "s.1", NULL, "x");
	sim_run_for(b.sim, SECONDS(2));
	assert_int_equal(b.answer_count, 0);
	mem_disk_admits(b.disk, OK, OK, OK);
	assert_true(sim_run_until(b.sim, has_answer, &b, SECONDS(5)));
	assert_string_equal(b.answers[0], "{\"stream\":\"S\", \"seq\":2}");
	close_bed(&b);
}

/* In one turn, while the log takes nothing that grows: neither of two with one id is stored, so neither may hear that it is. */
static void duplicate_of_a_refused_one(void **state)
{
	static const char id[] = "NATS/1.0\r\nNats-Msg-Id: a\r\n\r\n";
	struct bed b;
	struct stream_state st;
	(void)state;
	open_bed(&b, "{\"name\":\"S\",\"subjects\":[\"s.>\"]}");
	mem_disk_admits(b.disk, ERR_NO_SPACE, OK, OK);
	assert_non_null(strstr(answer_to(&b, "s.1", NULL), "\"err_code\":10047"));
	b.answer_count = 0;
	hand_in(&b, "s.1", "answer", id, SLICE("x"));
	hand_in(&b, "s.1", "answer", id, SLICE("x"));
	turn_end(&b.hook);
	sim_run_for(b.sim, SECONDS(1));
	assert_int_equal(b.answer_count, 2);
	for (unsigned i = 0; i < 2; i++) assert_non_null(strstr(b.answers[i], "\"err_code\":10047"));
	stream_state(station_stream(station(&b)), &st);
	assert_int_equal(st.last_seq, 0);
	mem_disk_admits(b.disk, OK, OK, OK);
	assert_string_equal(answer_to(&b, "s.1", id), "{\"stream\":\"S\", \"seq\":1}");
	assert_string_equal(answer_to(&b, "s.1", id), "{\"stream\":\"S\", \"seq\":1,\"duplicate\": true}");
	close_bed(&b);
}

/* The second makes the batch of the first go, which is refused: what the second expects is not there any more. */
static void expected_of_a_refused_one(void **state)
{
	static uint8_t large[40 * 1024];
	struct bed b;
	(void)state;
	open_bed(&b, "{\"name\":\"S\",\"subjects\":[\"s.>\"]}");
	mem_disk_admits(b.disk, ERR_NO_SPACE, OK, OK);
	b.heals = true;
	hand_in(&b, "s.1", "answer", NULL, slice_of(large, sizeof large));
	hand_in(&b, "s.1", "answer", "NATS/1.0\r\nNats-Expected-Last-Sequence: 1\r\n\r\n",
		slice_of(large, sizeof large));
	turn_end(&b.hook);
	sim_run_for(b.sim, SECONDS(1));
	assert_int_equal(b.answer_count, 2);
	assert_non_null(strstr(b.answers[0], "\"err_code\":10047"));
	assert_non_null(strstr(b.answers[1], "wrong last sequence: 0"));
	b.heals = false;
	assert_string_equal(answer_to(&b, "s.1", NULL), "{\"stream\":\"S\", \"seq\":1}");
	close_bed(&b);
}

/* Three batches wait for room and are refused, and what their publishers hear goes into this very stream: it is stored behind what is
 * there, not behind what was refused with it. */
static void refusals_into_the_stream_itself(void **state)
{
	struct bed b;
	struct stream_state st;
	struct sub own = { 0 };
	(void)state;
	open_bed(&b, "{\"name\":\"S\",\"subjects\":[\"s.>\"]}");
	own.sink = &b.sink;
	assert_int_equal(router_subscribe(&b.account->router, &own, SLICE("s.refused"), SLICE_NULL), OK);
	assert_string_equal(answer_to(&b, "s.1", NULL), "{\"stream\":\"S\", \"seq\":1}");
	b.answer_count = 0;
	mem_disk_admits(b.disk, ERR_FULL, OK, OK);
	for (unsigned i = 0; i < 3; i++) {
		hand_in(&b, "s.1", "s.refused", NULL, SLICE("x"));
		turn_end(&b.hook);
	}
	b.heals = true;
	mem_disk_admits(b.disk, ERR_NO_SPACE, OK, OK);
	sim_run_for(b.sim, SECONDS(1));
	assert_int_equal(b.answer_count, 3);
	for (unsigned i = 0; i < 3; i++) assert_non_null(strstr(b.answers[i], "\"err_code\":10047"));
	stream_state(station_stream(station(&b)), &st);
	assert_int_equal(st.last_seq, 4);
	assert_int_equal(st.msgs, 4);
	assert_string_equal(answer_to(&b, "s.1", NULL), "{\"stream\":\"S\", \"seq\":5}");
	router_unsubscribe(&own);
	close_bed(&b);
}

/* The last id is that of the last message that is there or under way, never of one that was refused. */
static void last_id_after_a_refusal(void **state)
{
#define ID(id) "NATS/1.0\r\nNats-Msg-Id: " id "\r\n\r\n"
#define EXPECT(id) "NATS/1.0\r\nNats-Expected-Last-Msg-Id: " id "\r\n\r\n"
	struct bed b;
	(void)state;
	open_bed(&b, "{\"name\":\"S\",\"subjects\":[\"s.>\"]}");
	assert_string_equal(answer_to(&b, "s.1", ID("a")), "{\"stream\":\"S\", \"seq\":1}");
	mem_disk_admits(b.disk, ERR_NO_SPACE, OK, OK);
	assert_non_null(strstr(answer_to(&b, "s.1", ID("b")), "\"err_code\":10047"));
	mem_disk_admits(b.disk, OK, OK, OK);
	assert_string_equal(answer_to(&b, "s.1", EXPECT("a")), "{\"stream\":\"S\", \"seq\":2}");
	b.answer_count = 0;
	mem_disk_hold(b.disk, true);
	publish_with(&b, "s.1", ID("c"), "x");
	publish_with(&b, "s.1", ID("d"), "x");
	mem_disk_admits(b.disk, ERR_NO_SPACE, OK, OK);
	assert_non_null(strstr(answer_to(&b, "s.1", ID("e")), "\"err_code\":10047"));
	mem_disk_admits(b.disk, OK, OK, OK);
	b.answer_count = 0;
	publish_with(&b, "s.1", EXPECT("d"), "x");
	mem_disk_hold(b.disk, false);
	sim_run_for(b.sim, SECONDS(1));
	assert_int_equal(b.answer_count, 3);
	assert_string_equal(b.answers[2], "{\"stream\":\"S\", \"seq\":5}");
	close_bed(&b);
}

static void order_of_admission(void **state)
{
#define H(lines) "NATS/1.0\r\n" lines "\r\n"
	static const struct {
		const char *header, *want;
	} cases[] = {
		{ H("Nats-Msg-Id: a\r\n"), "\"seq\":1}" },
		{ H("Nats-Expected-Stream: T\r\nNats-Msg-Id: a\r\n"), "\"err_code\":10060," },
		{ H("Nats-Msg-Id: a\r\n"), "\"seq\":1,\"duplicate\": true}" },
		{ H("Nats-Expected-Last-Subject-Sequence: 0\r\n"),
			"\"err_code\":10071,\"description\":\"wrong last sequence: 1\"" },
		{ H("Nats-Expected-Last-Sequence: 7\r\nNats-Expected-Last-Msg-Id: b\r\n"),
			"\"err_code\":10071,\"description\":\"wrong last sequence: 1\"" },
		{ H("Nats-Expected-Last-Msg-Id: b\r\n"),
			"\"err_code\":10070,\"description\":\"wrong last msg ID: a\"" },
		{ H("Nats-Expected-Last-Sequence: x\r\n"), "\"err_code\":10071" },
		{ H("Nats-Expected-Last-Subject-Sequence-Subject: s\r\n"), "\"err_code\":10193" },
		{ H("Nats-Expected-Last-Subject-Sequence: 0\r\nNats-Expected-Last-Subject-Sequence-Subject: *\r\n"),
			"sequence: 1\"" },
		{ H("Nats-Rollup: sub\r\n"), "\"err_code\":10111,\"description\":\"rollup not permitted\"" },
		{ H("Nats-Rollup: some\r\n"), "\"err_code\":10111" },
		{ H("X: 0123456789012345678901234567890123456789\r\n"), "\"err_code\":10054" },
		{ H("Nats-Expected-Last-Sequence: 1\r\nNats-Expected-Last-Msg-Id: a\r\n"), "\"seq\":2}" },
	};
	struct bed b;
	(void)state;
	open_bed(&b, "{\"name\":\"S\",\"subjects\":[\"s\"],\"max_msg_size\":110}");
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char header[200];
		(void)snprintf(header, sizeof header, "%s", cases[i].header);
		if (strstr(cases[i].want, "10054")) { /* a body that makes it too large with its header */
			b.answer_count = 0;
			publish_with(&b, "s", header,
				"0123456789012345678901234567890123456789012345678901234567890123456789");
			assert_true(sim_run_until(b.sim, has_answer, &b, SECONDS(5)));
		} else {
			(void)answer_to(&b, "s", header);
		}
		if (!strstr(b.answers[0], cases[i].want)) fail_msg("%s: %s", cases[i].header, b.answers[0]);
	}
	close_bed(&b);
}

/* Many streams whose log does not take what comes, each of them far from what it may hold back by itself: together they may hold no more than
 * the node has for it. What is beyond is refused, and there is room again when the log goes on. */
static void what_is_held_is_bounded_for_the_node(void **state)
{
	enum { STREAMS = 12, ROUNDS = 40, BYTES = 16 * 1024, LIMIT = 2 * 1024 * 1024 };
	static char payload[BYTES + 1];
	struct ledger memory = { .limit_bytes = LIMIT };
	struct bed b;
	(void)state;
	memset(payload, 'x', BYTES);
	open_bed_within(&b, "{\"name\":\"S\",\"subjects\":[\"s.>\"]}", &memory);
	for (unsigned i = 0; i < STREAMS; i++) add_stream(&b, i);
	sim_run_for(b.sim, SECONDS(20)); /* they are led */
	mem_disk_hold(b.disk, true);
	unsigned refused = 0;
	for (unsigned n = 0; n < ROUNDS * STREAMS; n++) {
		char subject[16];
		b.answer_count = 0;
		(void)snprintf(subject, sizeof subject, "t%u.a", n % STREAMS);
		publish_with(&b, subject, NULL, payload);
		refused += b.answer_count; /* at once, and only with an error */
		if (b.answer_count) assert_non_null(strstr(b.answers[0], "\"err_code\":10023"));
	}
	assert_true(memory.peak_bytes <= LIMIT);
	assert_in_range(ROUNDS * STREAMS - refused, LIMIT / 2 / BYTES, LIMIT / BYTES);
	assert_true(ledger_is_full(&memory) || memory.used_bytes + 2 * BYTES > LIMIT);
	b.is_many = true;
	b.answer_count = 0;
	mem_disk_hold(b.disk, false);
	sim_run_for(b.sim, SECONDS(5));
	assert_int_equal(b.answer_count, ROUNDS * STREAMS - refused); /* what was taken is stored */
	assert_int_equal(memory.used_bytes, 0);
	b.is_many = false;
	assert_non_null(strstr(answer_to(&b, "t0.a", NULL), "\"seq\":"));
	close_bed(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_ack_before_it_is_durable),
		cmocka_unit_test(no_ack_before_it_is_applied),
		cmocka_unit_test(the_short_cut_would_be_seen),
		cmocka_unit_test(unknown_outcome_is_not_answered),
		cmocka_unit_test(full_is_said),
		cmocka_unit_test(duplicate_of_a_refused_one),
		cmocka_unit_test(expected_of_a_refused_one),
		cmocka_unit_test(refusals_into_the_stream_itself),
		cmocka_unit_test(last_id_after_a_refusal),
		cmocka_unit_test(order_of_admission),
		cmocka_unit_test(what_is_held_is_bounded_for_the_node),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
