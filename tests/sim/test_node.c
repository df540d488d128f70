/* SPDX-License-Identifier: Apache-2.0 */
/* What node_sim has found once, told as short stories. */
#include "sim/node_bed.h"

/* ---- stories ---- */

/* A message that was delivered by the process before: its subject and weight are not remembered with the delivery, and must be in the record
 * that takes it out of the stream. */
static void late_ack_removes(const char *retention)
{
	struct bed b;
	char held[200];
	bed_open(&b);
	bed_make(&b, retention, ",\"ack_wait\":60000000000");
	bed_publish(&b, "s.a");
	bed_publish(&b, "s.b");
	bed_pull(&b, "C", "{\"batch\":2}", 2);
	assert_int_equal(b.got[0].seq, 1);
	(void)snprintf(held, sizeof held, "%s", b.got[0].reply);
	bed_ask_for(&b, b.got[1].reply, "+ACK", ""); /* logs both deliveries */
	bed_restart(&b);
	bed_ask_for(&b, held, "+ACK", "");
	assert_int_equal(bed_number(&b, "$JS.API.STREAM.INFO.S", "messages"), 0);
	assert_int_equal(bed_number(&b, "$JS.API.CONSUMER.INFO.S.C", "num_ack_pending"), 0);
	bed_restart(&b);
	assert_int_equal(bed_number(&b, "$JS.API.STREAM.INFO.S", "messages"), 0);
	bed_close(&b);
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
	bed_ask_for(b, subject, text, "\"seq\":");
	mem_free(text);
}

/* A read that fails once says nothing about what is stored. */
static void failed_read_is_no_damage(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", NULL);
	for (unsigned i = 0; i < 60; i++) publish_much(&b, "s.c"); /* until it is in segments */
	for (unsigned skip = 0; skip < 6; skip++) {
		bed_restart(&b);
		sim_run_for(b.w.s, SECONDS(15)); /* nothing is kept in memory so long */
		sim_disk_fail(b.w.n, SIM_CALL_READ, NULL, skip, 1, ERR_IO);
		bed_ask_for(&b, "$JS.API.STREAM.MSG.GET.S", "{\"seq\":1}", "\"data\":");
		sim_disk_fail_clear(b.w.n);
	}
	assert_true(sim_counted(b.w.s, "disk call failed") >= 2);
	bed_close(&b);
}

/* Overdue messages that nobody asks for cost nothing. */
static void overdue_is_idle(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", ",\"ack_wait\":100000000");
	bed_publish(&b, "s.a");
	bed_pull(&b, "C", "{\"batch\":1}", 1);
	uint64_t before = sim_events(b.w.s);
	sim_run_for(b.w.s, SECONDS(10));
	assert_true(sim_events(b.w.s) - before < 1000);
	bed_pull(&b, "C", "{\"batch\":1}", 1);
	assert_int_equal(b.got[0].count, 2);
	bed_close(&b);
}

/* The consumer is gone when that was answered; that its messages go takes longer, and a process may end meanwhile. */
static void what_nobody_wants_goes_after_a_start_too(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, ",\"retention\":\"interest\"", "");
	for (unsigned i = 0; i < 6000; i++) peer_publish(&b.p, SLICE("s.a"), SLICE("x"));
	bed_publish(&b, "s.a");
	sim_disk(b.w.n)->stall_ppm = 1000 * 1000; /* so that the process ends in the middle of it */
	sim_disk(b.w.n)->stall_max_ns = MILLIS(300);
	bed_ask_for(&b, "$JS.API.CONSUMER.DELETE.S.C", "", "\"success\":true");
	sim_disk(b.w.n)->stall_ppm = 0;
	bed_restart(&b);
	sim_run_for(b.w.s, SECONDS(3));
	assert_int_equal(bed_number(&b, "$JS.API.STREAM.INFO.S", "messages"), 0);
	bed_close(&b);
}

static void poison_done(struct proposal *p) { p->term = 0; }
static void nothing(struct io_timer *t) { (void)t; }

enum { KIND_MSG = 1, KIND_UNKNOWN = 200 }; /* the room's enum stream_record_kind, as on disk */

/* An entry with a message, what a start knows nothing of, and a message. */
static void propose_poison(struct bed *b, struct proposal *p)
{
	const struct record records[] = {
		{ .kind = KIND_MSG, .seq = 2, .time_ns = 1, .subject = SLICE("s.a"), .payload = SLICE("y") },
		{ .kind = KIND_UNKNOWN },
		{ .kind = KIND_MSG, .seq = 3, .time_ns = 1, .subject = SLICE("s.a"), .payload = SLICE("z") },
	};
	struct buf body = { 0 };
	struct station *s = stations_find(&server_node(&b->w)->vault.stations, SLICE("$G"), SLICE("S"));
	batch_begin(&body);
	for (size_t i = 0; i < COUNT_OF(records); i++) batch_add(&body, &records[i]);
	batch_end(&body, 3);
	*p = (struct proposal) { .done = poison_done };
	assert_int_equal(group_propose(stream_group(station_stream(s)), p, &body, LOG_ADMIT_GROWS), OK);
	b->w.nudge.fire = nothing;
	io_timer_start(sim_node_io(b->w.n), &b->w.nudge, 0); /* a turn of the loop */
	sim_run_for(b->w.s, SECONDS(1));
	assert_int_equal(p->term, 0);
	assert_int_equal(p->result, ERR_UNKNOWN_OUTCOME); /* it is committed, and nobody has applied it */
}

static void is_before_the_poison(const struct bed *b, uint64_t hash)
{
	struct station *s = stations_find(&server_node(&b->w)->vault.stations, SLICE("$G"), SLICE("S"));
	struct group_status is;
	struct stream_state st;
	assert_non_null(s);
	group_status(stream_group(station_stream(s)), &is);
	assert_int_equal(is.state, GROUP_QUARANTINED);
	assert_int_equal(is.stuck_at, is.applied + 1);
	stream_state(station_stream(s), &st);
	assert_int_equal(st.msgs, 1);
	assert_int_equal(st.last_seq, 1);
	assert_int_equal(stream_hash(station_stream(s)), hash);
}

/* An entry that can not be applied whole is not applied in part: what is shown, hashed and settled is the state before it, also after starts,
 * and the others go on. */
static void half_an_entry_is_never_served(void **state)
{
	struct bed b;
	struct proposal p;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", NULL);
	bed_ask_for(&b, "$JS.API.STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"]}", "\"did_create\":true");
	bed_publish(&b, "s.a");
	struct stations *all = &server_node(&b.w)->vault.stations;
	uint64_t hash = stream_hash(station_stream(stations_find(all, SLICE("$G"), SLICE("S"))));
	propose_poison(&b, &p);
	is_before_the_poison(&b, hash);
	for (unsigned start = 0; start < 3; start++) {
		for (unsigned i = 0; i < 40; i++) publish_much(&b, "t"); /* the journal is settled meanwhile */
		bed_restart(&b);
		is_before_the_poison(&b, hash);
	}
	bed_close(&b);
}

/* One row of the file in which a node remembers what ended it; count 0: none. */
static void remember_death(const struct bed *b, uint64_t group, uint64_t index, uint32_t count)
{
	uint8_t row[32] = { 0 };
	if (count) {
		const struct log_identity *id = log_identity(server_node(&b->w)->vault.log);
		le32_put(row, 0x494f5054);
		le32_put(row + 4, count);
		le64_put(row + 8, group);
		le64_put(row + 16, index);
		le32_put(row + 24, crc32c(crc32c(0, id->store_uuid, 16), row, 24));
	}
	assert_int_equal(sim_disk_overwrite(b->w.n, "data/jetstream/poison", 0, slice_of(row, sizeof row)), OK);
}

/* S11: what ended the process twice is not applied again. Its stream shows what was before it and refuses with a sentence, whatever settles and
 * starts meanwhile; the others go on; and once it may be applied everything is there. */
static void what_killed_twice_stops_one_stream(void **state)
{
	struct bed b;
	struct group_status is;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", NULL);
	bed_ask_for(&b, "$JS.API.STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"]}", "\"did_create\":true");
	bed_publish(&b, "s.a");
	struct station *s = stations_find(&server_node(&b.w)->vault.stations, SLICE("$G"), SLICE("S"));
	uint64_t hash = stream_hash(station_stream(s)), group = group_id(stream_group(station_stream(s)));
	bed_publish(&b, "s.b");
	group_status(stream_group(station_stream(s)), &is);
	remember_death(&b, group, is.applied, 1);
	bed_restart(&b); /* once may have been chance: it is applied, and forgotten */
	assert_int_equal(bed_number(&b, "$JS.API.STREAM.INFO.S", "messages"), 2);
	remember_death(&b, group, is.applied, 2);
	for (unsigned start = 0; start < 3; start++) {
		bed_restart(&b);
		is_before_the_poison(&b, hash);
		bed_ask_for(&b, "s.c", "x", "ended the process before");
		bed_ask_for(&b, "$JS.API.STREAM.PURGE.S", "", "10077");
		bed_ask_for(&b, "$JS.API.THEBES.STREAM.RECOVER.S", "{\"accept_loss\":true}", "nothing of it is lost");
		for (unsigned i = 0; i < 40; i++) publish_much(&b, "t"); /* the journal is settled meanwhile */
	}
	remember_death(&b, 0, 0, 0);
	bed_restart(&b);
	assert_int_equal(bed_number(&b, "$JS.API.STREAM.INFO.S", "messages"), 2);
	bed_ask_for(&b, "s.c", "x", "\"seq\":3");
	assert_int_equal(bed_number(&b, "$JS.API.STREAM.INFO.T", "messages"), 120);
	bed_close(&b);
}

/* The same of the catalogue: nothing of it is lost, and it is not said to be. */
static void what_killed_twice_stops_the_catalogue(void **state)
{
	struct bed b;
	struct group_status is;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", NULL);
	bed_publish(&b, "s.a");
	bed_ask_for(&b, "$JS.API.STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"]}", "\"did_create\":true");
	group_status(raft_group_find(&server_node(&b.w)->vault.groups, META_GROUP), &is);
	remember_death(&b, META_GROUP, is.applied, 2);
	for (unsigned start = 0; start < 3; start++) {
		bed_restart(&b);
		assert_non_null(strstr(b.w.words, "the catalogue of streams is stopped, none can be made or deleted"));
		assert_non_null(strstr(b.w.words, "group=1 (catalogue) is stopped before entry "));
		assert_null(strstr(b.w.words, "damaged"));
		bed_ask_for(&b, "$JS.API.THEBES.CATALOGUE.INFO", "", "\"doubt\":{\"stopped\":true,\"reason\":");
		bed_ask_for(&b, "$JS.API.THEBES.CATALOGUE.RECOVER", "{\"accept_loss\":true}", "nothing of it is lost");
		bed_ask_for(&b, "$JS.API.STREAM.CREATE.U", "{\"name\":\"U\",\"subjects\":[\"u\"]}",
			"ended the process before");
		bed_ask_for(&b, "s.a", "x", "\"seq\":");
	}
	remember_death(&b, 0, 0, 0);
	bed_restart(&b);
	assert_int_equal(bed_number(&b, "$JS.API.STREAM.INFO.S", "messages"), 4);
	bed_publish(&b, "t");
	bed_close(&b);
}

struct flip {
	const struct bed *b;
	const char *text;
	unsigned count;
};

static void flip_in_file(void *arg, const char *path, uint64_t bytes)
{
	struct flip *f = arg;
	struct buf all = { 0 };
	size_t got = 0;
	assert_int_equal(sim_disk_read(f->b->w.n, path, 0, buf_reserve(&all, bytes + 1), bytes, false, &got), OK);
	for (const uint8_t *at = all.p; (at = memmem(at, got - (size_t)(at - all.p), f->text, strlen(f->text))); at++) {
		assert_int_equal(sim_disk_flip(f->b->w.n, path, (uint64_t)(at - all.p), 0), OK);
		f->count++;
	}
	buf_deinit(&all);
}

/* The server being down: that text is on the disk no more. */
static void rot_of(const struct bed *b, const char *text)
{
	struct flip f = { .b = b, .text = text };
	sim_disk_each(b->w.n, ".", flip_in_file, &f);
	assert_true(f.count > 0);
}

/* Messages 1 and 3 are whole, what was 2 is not; 3 lies behind the gap. */
static void open_in_doubt(struct bed *b)
{
	bed_open(b);
	bed_make(b, "", "");
	bed_ask_for(b, "s.a", "the first one", "\"seq\":1");
	bed_ask_for(b, "s.a", "the rotten one", "\"seq\":2");
	bed_ask_for(b, "s.a", "the third one", "\"seq\":3");
	bed_stop(b);
	rot_of(b, "the rotten one");
	bed_boot(b);
}

static const char RECOVER[] = "$JS.API.THEBES.STREAM.RECOVER.S", ACCEPTED[] = "{\"accept_loss\":true}";

static void is_in_doubt(struct bed *b)
{
	bed_ask_for(b, "$JS.API.STREAM.INFO.S", "", "\"doubt\":{");
	bed_ask_for(b, "$JS.API.STREAM.INFO.S", "", "\"last_seq\":1,");
	bed_ask_for(b, "$JS.API.STREAM.MSG.GET.S", "{\"seq\":1}", "dGhlIGZpcnN0IG9uZQ==");
	bed_ask_for(b, "$JS.API.STREAM.MSG.GET.S", "{\"seq\":2}", "10077");
	bed_ask_for(b, "$JS.API.STREAM.MSG.GET.S", "{\"seq\":3}", "10077");
	bed_ask_for(b, "$JS.API.CONSUMER.INFO.S.C", "", "\"num_pending\":1");
	bed_ask_for(b, "s.a", "no", "10077");
}

static void is_recovered(struct bed *b, uint64_t pending)
{
	bed_ask_for(b, "$JS.API.STREAM.MSG.GET.S", "{\"seq\":1}", "dGhlIGZpcnN0IG9uZQ==");
	bed_ask_for(b, "$JS.API.STREAM.MSG.GET.S", "{\"seq\":2}", "10037");
	bed_ask_for(b, "$JS.API.STREAM.MSG.GET.S", "{\"seq\":3}", "dGhlIHRoaXJkIG9uZQ==");
	assert_int_equal(bed_number(b, "$JS.API.CONSUMER.INFO.S.C", "num_pending"), pending);
}

/* S7: what is damaged in a segment stays damaged, whatever the journal says of the group's log since. */
static void a_doubt_about_segments_is_not_forgotten(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", NULL);
	bed_ask_for(&b, "$JS.API.STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"]}", "\"did_create\":true");
	bed_ask_for(&b, "s.a", "the rotten one", "\"seq\":1");
	for (unsigned i = 0; i < 60; i++) publish_much(&b, "s.b"); /* until it is in a segment */
	bed_stop(&b);
	rot_of(&b, "the rotten one");
	bed_boot(&b);
	bed_ask_for(&b, "$JS.API.STREAM.MSG.GET.S", "{\"seq\":1}", "10077");
	for (unsigned start = 0; start < 4; start++) {
		for (unsigned i = 0; i < 8 * start; i++) publish_much(&b, "t");
		bed_restart(&b);
		bed_ask_for(&b, "$JS.API.STREAM.INFO.S", "", "\"doubt\":{");
		bed_ask_for(&b, "s.b", "no", "10077");
	}
	bed_ask_for(&b, RECOVER, ACCEPTED, "\"lost\":1,\"next_seq\":62");
	bed_ask_for(&b, "s.b", "yes", "\"seq\":62");
	bed_restart(&b);
	bed_ask_for(&b, "s.b", "yes", "\"seq\":63");
	bed_close(&b);
}

/* The newest message is lost, and nothing behind it says so: tables that come later say how the log ends without it. Its sequence is not given
 * to another. */
static void a_doubt_about_the_end_is_not_forgotten(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", NULL);
	bed_ask_for(&b, "$JS.API.STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"]}", "\"did_create\":true");
	bed_ask_for(&b, "s.a", "the first one", "\"seq\":1");
	bed_ask_for(&b, "s.a", "the rotten one", "\"seq\":2");
	bed_stop(&b);
	rot_of(&b, "the rotten one");
	bed_boot(&b);
	for (unsigned start = 0; start < 5; start++) {
		bed_ask_for(&b, "$JS.API.STREAM.INFO.S", "", "\"doubt\":{");
		bed_ask_for(&b, "s.b", "no", "10077");
		for (unsigned i = 0; i < 8 * start; i++) publish_much(&b, "t");
		bed_restart(&b);
	}
	bed_ask_for(&b, RECOVER, ACCEPTED, "\"success\":true");
	bed_ask(&b, "s.b", "yes");
	assert_true(bed_number(&b, "$JS.API.STREAM.INFO.S", "last_seq") > 2);
	bed_close(&b);
}

/* The newest message is lost; damage to an old one, which has an end, is found later. Of neither it is said that it is not there. */
static void a_second_damage_does_not_end_the_first(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", NULL);
	bed_ask_for(&b, "s.a", "the early one", "\"seq\":1");
	for (unsigned i = 0; i < 60; i++) publish_much(&b, "s.b"); /* until it is in a segment */
	bed_ask_for(&b, "s.a", "the rotten one", "\"seq\":62");
	bed_stop(&b);
	rot_of(&b, "the early one");
	rot_of(&b, "the rotten one");
	bed_boot(&b);
	bed_ask_for(&b, "$JS.API.STREAM.MSG.GET.S", "{\"seq\":62}", "10077");
	bed_ask_for(&b, "$JS.API.STREAM.MSG.GET.S", "{\"seq\":1}", "10077");
	bed_ask_for(&b, "$JS.API.STREAM.MSG.GET.S", "{\"seq\":62}", "10077");
	bed_close(&b);
}

/* What could be read before it settled can be read behind it: the state that was stored meanwhile is that of these very entries. */
static void a_doubt_does_not_grow_with_starts(void **state)
{
	struct bed b;
	(void)state;
	for (unsigned intact = 1; intact < 8; intact++) {
		bed_open(&b);
		bed_make(&b, "", NULL);
		bed_ask_for(
			&b, "$JS.API.STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"]}", "\"did_create\":true");
		for (unsigned i = 0; i < intact; i++) bed_publish(&b, "s.a");
		bed_ask_for(&b, "s.a", "the rotten one", "\"seq\":");
		bed_stop(&b);
		rot_of(&b, "the rotten one");
		bed_boot(&b);
		for (unsigned start = 0; start < 4; start++) {
			assert_int_equal(bed_number(&b, "$JS.API.STREAM.INFO.S", "messages"), intact);
			bed_ask_for(&b, "$JS.API.STREAM.INFO.S", "", "\"doubt\":{");
			for (unsigned i = 0; i < 4 * start; i++) publish_much(&b, "t"); /* rounds */
			bed_restart(&b);
		}
		bed_ask_for(&b, RECOVER, ACCEPTED, "\"success\":true");
		assert_int_equal(bed_number(&b, "$JS.API.STREAM.INFO.S", "messages"), intact);
		bed_close(&b);
	}
}

/* S24: giving up what is lost fails, at whichever file call: the stream is as it was, and may be asked again without a start. */
static unsigned recoveries_that_fail(enum sim_call call, enum err e, unsigned tries)
{
	struct bed b;
	unsigned failed = 0;
	for (unsigned skip = 0; skip < tries; skip++) {
		open_in_doubt(&b);
		is_in_doubt(&b);
		sim_disk_fail(b.w.n, call, "groups/", skip, 1, e);
		bool fails = !strstr(bed_ask(&b, RECOVER, ACCEPTED), "\"success\":true");
		sim_disk_fail_clear(b.w.n);
		if (fails) {
			failed++;
			is_in_doubt(&b);
			bed_ask_for(&b, RECOVER, ACCEPTED, "\"success\":true");
		}
		is_recovered(&b, 2);
		bed_ask_for(&b, "s.a", "the next one", "\"seq\":4");
		bed_restart(&b);
		is_recovered(&b, 3);
		bed_close(&b);
	}
	return failed;
}

static void a_failed_recovery_is_asked_again(void **state)
{
	(void)state;
	assert_true(recoveries_that_fail(SIM_CALL_WRITE, ERR_NO_SPACE, 8) >= 2);
	assert_true(recoveries_that_fail(SIM_CALL_OPEN, ERR_FILES, 4) >= 2);
}

static void count_delivery(struct peer_call *c, const struct wire_op *op)
{
	if (op && op->reply.n) ++*(unsigned *)c->a;
}

struct counted {
	struct bed *b;
	unsigned got, wanted;
};
static bool all_got(void *arg)
{
	struct counted *c = arg;
	return !peer_poll(&c->b->p) || c->got == c->wanted;
}

/* Much asked for at once: it comes whole though nothing else happens, and by many turns of the loop. */
static void a_large_pull_leaves_the_loop_to_others(void **state)
{
	struct bed b;
	struct counted c = { .b = &b, .wanted = 20000 };
	(void)state;
	bed_open(&b);
	bed_make(&b, "", ",\"max_ack_pending\":-1");
	for (unsigned i = 0; i < c.wanted - 1; i++) peer_publish(&b.p, SLICE("s.a"), SLICE("x"));
	bed_publish(&b, "s.a");
	const uint64_t *turns = &server_node(&b.w)->diag.counter[COUNTER_turns];
	uint64_t before = *turns;
	struct peer_call *call =
		peer_pull(&b.p, SLICE("$JS.API.CONSUMER.MSG.NEXT.S.C"), SLICE("20000"), SECONDS(30), count_delivery);
	call->a = &c.got;
	assert_true(sim_run_until(b.w.s, all_got, &c, SECONDS(10)));
	assert_int_equal(c.got, c.wanted);
	assert_true(*turns - before >= 3); /* 2 ms of work each, at 250 ns a message */
	peer_call_end(call);
	bed_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(late_ack_leaves_a_workqueue),
		cmocka_unit_test(late_ack_leaves_an_interest_stream),
		cmocka_unit_test(failed_read_is_no_damage),
		cmocka_unit_test(overdue_is_idle),
		cmocka_unit_test(half_an_entry_is_never_served),
		cmocka_unit_test(what_killed_twice_stops_one_stream),
		cmocka_unit_test(what_killed_twice_stops_the_catalogue),
		cmocka_unit_test(a_doubt_about_segments_is_not_forgotten),
		cmocka_unit_test(a_doubt_about_the_end_is_not_forgotten),
		cmocka_unit_test(a_second_damage_does_not_end_the_first),
		cmocka_unit_test(a_doubt_does_not_grow_with_starts),
		cmocka_unit_test(a_failed_recovery_is_asked_again),
		cmocka_unit_test(a_large_pull_leaves_the_loop_to_others),
		cmocka_unit_test(what_nobody_wants_goes_after_a_start_too),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
