/* SPDX-License-Identifier: Apache-2.0 */
/* Nobody holds the loop: what consumers do in one turn is bounded by the work that the turn may cost, whatever is stored, asked for or due,
 * and what is left over is done in the turns that follow, in order and by turns. The doors of the stream and the router are wrapped: the
 * stream holds what the test says, and whether a scan finds something is the test's to say too. */
#include "check.h"

#include "consumer_internal.h"
#include "sim/sim.h"

enum { READ_MAX = 256, TURNS_MAX = 100 * 1000, LOOK_WORK = 60 };

struct bed {
	struct sim *s;
	struct diag diag;
	struct stream_config config;
	struct consumers all;
	uint64_t last_seq;
	bool is_sparse; /* only the last one matches */
	bool counts_slowly;
	unsigned scans, reads, advisories;
	struct got {
		uint64_t count, last;
	} got[2];
	struct stream_msg msgs[READ_MAX];
	struct account account; /* the last one: it ends with its text */
};

static struct bed *bed_of(const void *stream) { return (struct bed *)(uintptr_t)stream; } /* opaque to the room */

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker names them */
enum err __wrap_stream_propose_consumer(struct stream *s, struct slice body, struct stream_req *r);
bool __wrap_stream_is_live(const struct stream *s, uint64_t seq);
const struct stream_config *__wrap_stream_config(const struct stream *s);
size_t __wrap_router_publish(struct router *r, const struct msg *m);
bool __wrap_router_has_interest(struct router *r, struct slice subject, struct slice queue);
enum err __wrap_stream_count_begin(const struct stream *s, struct stream_counter *c, const struct slice *filters,
	size_t filter_count, uint64_t from);
bool __wrap_stream_count_more(const struct stream *s, struct stream_counter *c, uint64_t *work);
bool __wrap_stream_count_is_past(
	const struct stream *s, const struct stream_counter *c, uint64_t seq, struct slice subject);
uint64_t __wrap_stream_next_candidate(
	const struct stream *s, const struct slice *filters, size_t filter_count, uint64_t from, uint64_t *work);
enum err __wrap_stream_read_now(struct stream *s, struct stream_read *r);
void __wrap_stream_read_release(struct stream_read *r);
/* NOLINTEND(bugprone-reserved-identifier) */

enum err __wrap_stream_propose_consumer(struct stream *s, struct slice body, struct stream_req *r)
{
	(void)s, (void)body;
	r->result = OK;
	r->done(r); /* as if it were applied: nothing is waited for here */
	return OK;
}

bool __wrap_stream_is_live(const struct stream *s, uint64_t seq) { return seq && seq <= bed_of(s)->last_seq; }
const struct stream_config *__wrap_stream_config(const struct stream *s) { return &bed_of(s)->config; }

size_t __wrap_router_publish(struct router *r, const struct msg *m)
{
	struct bed *b = CONTAINER_OF(r, struct bed, account.router);
	if (!m->reply.n) {
		b->advisories += slice_has_prefix(m->subject, SLICE("$JS.EVENT."));
		return 1;
	}
	struct got *g = &b->got[m->to.p[0] == 'D'];
	uint64_t seq = 0;
	assert_int_equal(slice_to_u64(slice_from(m->subject, 2), &seq), OK);
	assert_true(seq > g->last); /* in order, none twice */
	g->last = seq;
	g->count++;
	return 1;
}

bool __wrap_router_has_interest(struct router *r, struct slice subject, struct slice queue)
{
	(void)r, (void)subject, (void)queue;
	return true;
}

enum err __wrap_stream_count_begin(const struct stream *s, struct stream_counter *c, const struct slice *filters,
	size_t filter_count, uint64_t from)
{
	(void)filters, (void)filter_count;
	*c = (struct stream_counter) { .bound = bed_of(s)->last_seq + 1 - from, .next = from };
	return OK;
}

/* A sequence costs as much as a look at one. */
bool __wrap_stream_count_more(const struct stream *s, struct stream_counter *c, uint64_t *work)
{
	const struct bed *b = bed_of(s);
	uint64_t goes =
		b->counts_slowly ? u64_min(b->last_seq + 1 - c->next, *work / LOOK_WORK) : b->last_seq + 1 - c->next;
	*work -= b->counts_slowly ? goes * LOOK_WORK : 0;
	c->next += goes;
	c->n += goes;
	return c->next > b->last_seq;
}

bool __wrap_stream_count_is_past(
	const struct stream *s, const struct stream_counter *c, uint64_t seq, struct slice subject)
{
	(void)s, (void)subject;
	return seq < c->next;
}

uint64_t __wrap_stream_next_candidate(
	const struct stream *s, const struct slice *filters, size_t filter_count, uint64_t from, uint64_t *work)
{
	struct bed *b = bed_of(s);
	(void)filters, (void)filter_count;
	b->scans++;
	if (from > b->last_seq) return 0;
	if (!b->is_sparse) return from;
	uint64_t way = b->last_seq - from, goes = u64_min(way, *work / LOOK_WORK);
	*work = goes == way ? *work - goes * LOOK_WORK : 0;
	return from + goes;
}

enum err __wrap_stream_read_now(struct stream *s, struct stream_read *r)
{
	static char subjects[READ_MAX][24];
	struct bed *b = bed_of(s);
	b->reads++;
	r->msgs = b->msgs;
	r->count = 0;
	for (r->next = r->from; r->next <= b->last_seq && r->count < r->max_msgs; r->next++) {
		if (b->is_sparse && r->next != b->last_seq) continue;
		(void)snprintf(subjects[r->count], sizeof subjects[0], "s.%llu", (unsigned long long)r->next);
		b->msgs[r->count] = (struct stream_msg) {
			.seq = r->next, .subject = slice_of_str(subjects[r->count]), .payload = SLICE("x")
		};
		r->count++;
	}
	return r->count ? OK : ERR_NOT_FOUND;
}

void __wrap_stream_read_release(struct stream_read *r) { (void)r; }

/* ---- the bed ---- */

static struct slice name_of(const void *item) { return ((const struct consumer *)item)->name; }
static void wake(void *arg) { (void)arg; }

static struct consumer *make(struct bed *b, uint32_t id, const char *config)
{
	struct consumer_config c;
	assert_true(consumer_config_parse_stored(&c, slice_of_str(config)));
	struct consumer *k = consumer_make(&b->all, id);
	consumer_set_config(k, &c);
	return k;
}

static void bed_begin(struct bed *b, uint64_t last_seq)
{
	*b = (struct bed) { .s = sim_new(1), .last_seq = last_seq, .config = { .name = (char *)(uintptr_t) "S" } };
	struct sim_node *n = sim_node_new(b->s);
	sim_node_boot(n, NULL, NULL);
	diag_init(&b->diag, DIAG_ERROR, NULL, NULL);
	struct consumers *c = &b->all;
	*c = (struct consumers) { .io = sim_node_io(n),
		.diag = &b->diag,
		.stream = (struct stream *)(void *)b,
		.account = &b->account,
		.wake = wake,
		.wake_arg = b,
		.id_next = 1 };
	map_init(&c->by_name, 1, name_of);
	list_init(&c->by_id);
	list_init(&c->dirty);
	list_init(&c->creates);
}

static void bed_end(struct bed *b)
{
	struct consumers *c = &b->all;
	consumer_stream_ops.lead(c, false);
	io_timer_stop(c->io, &c->retry_timer);
	while (!list_is_empty(&c->by_id)) consumer_free(CONTAINER_OF(c->by_id.next, struct consumer, link_by_id));
	map_deinit(&c->by_name);
	diag_deinit(&b->diag);
	sim_free(b->s);
}

#define NO_ACKS "\"ack_policy\":\"none\",\"max_waiting\":512}"

static void pull(struct consumer *k, const char *batch, const char *to)
{
	consumer_pull(k, slice_of_str(batch), slice_of_str(to));
}

/* ---- the bounds ---- */

enum { MANY = 50 * 1000, WORK = 1000 * 1000, MSGS_A_TURN_MAX = 4500 };

static void a_turn_delivers_so_much_and_no_more(void **state)
{
	struct bed b;
	unsigned turns = 0;
	bool more;
	(void)state;
	bed_begin(&b, MANY);
	struct consumer *c = make(&b, 1, "{\"name\":\"C\"," NO_ACKS), *d = make(&b, 2, "{\"name\":\"D\"," NO_ACKS);
	consumer_stream_ops.lead(&b.all, true);
	pull(c, "50000", "C");
	pull(d, "50000", "D");
	do {
		uint64_t work = WORK, before = b.got[0].count + b.got[1].count;
		more = consumers_turn_end(&b.all, &work);
		uint64_t got = b.got[0].count + b.got[1].count - before;
		assert_in_range(got, 1, MSGS_A_TURN_MAX);
		uint64_t ahead = u64_max(b.got[0].count, b.got[1].count) - u64_min(b.got[0].count, b.got[1].count);
		assert_true(ahead <= MSGS_A_TURN_MAX); /* by turns */
		assert_true(++turns < TURNS_MAX);
	} while (more);
	assert_int_equal(b.got[0].count, MANY);
	assert_int_equal(b.got[1].count, MANY);
	assert_true(turns >= 2 * MANY / MSGS_A_TURN_MAX);
	bed_end(&b);
}

/* The work of a turn does not even do for one of them. */
static void who_got_nothing_is_next(void **state)
{
	struct bed b;
	(void)state;
	bed_begin(&b, MANY);
	struct consumer *c = make(&b, 1, "{\"name\":\"C\"," NO_ACKS), *d = make(&b, 2, "{\"name\":\"D\"," NO_ACKS);
	consumer_stream_ops.lead(&b.all, true);
	pull(c, "50000", "C");
	pull(d, "50000", "D");
	for (unsigned turn = 0; turn < 20; turn++) {
		uint64_t work = 1;
		uint64_t before[2] = { b.got[0].count, b.got[1].count };
		assert_true(consumers_turn_end(&b.all, &work));
		assert_int_equal(work, 0);
		assert_int_equal(b.got[0].count > before[0], turn % 2 == 0);
		assert_int_equal(b.got[1].count > before[1], turn % 2 == 1);
	}
	bed_end(&b);
}

static void a_scan_goes_on_in_the_next_turn(void **state)
{
	enum { FAR = 10 * 1000 * 1000 };
	struct bed b;
	unsigned turns = 0;
	bool more;
	(void)state;
	bed_begin(&b, FAR);
	b.is_sparse = true;
	struct consumer *c = make(&b, 1, "{\"name\":\"C\",\"filter_subject\":\"s.*\"," NO_ACKS);
	consumer_stream_ops.lead(&b.all, true);
	pull(c, "{\"batch\":2,\"no_wait\":true}", "C");
	do {
		uint64_t work = WORK;
		b.scans = 0;
		more = consumers_turn_end(&b.all, &work);
		assert_true(b.scans <= 2);
		assert_int_equal(
			c->waiting_count, more ? 1 : 0); /* a request that does not wait is not ended on the way */
		assert_true(++turns < TURNS_MAX);
	} while (more);
	assert_int_equal(b.got[0].count, 1);
	assert_int_equal(b.got[0].last, FAR);
	assert_int_equal(b.reads, 1);
	assert_true(turns >= (uint64_t)FAR * LOOK_WORK / WORK);
	bed_end(&b);
}

struct waiting {
	struct consumer_wait wait;
	unsigned answers;
	uint64_t told;
};

static void counted(struct consumer_wait *w, struct consumer *k)
{
	struct waiting *a = CONTAINER_OF(w, struct waiting, wait);
	a->answers++;
	a->told = consumer_num_pending(k);
}

static void a_count_goes_on_in_the_next_turn(void **state)
{
	enum { FAR = 1000 * 1000, STORED = 10, GONE = 3 };
	struct bed b;
	unsigned turns = 0;
	(void)state;
	bed_begin(&b, FAR);
	b.counts_slowly = true;
	struct consumer *c = make(&b, 1, "{\"name\":\"C\",\"filter_subject\":\"s.*\"," NO_ACKS);
	consumer_stream_ops.lead(&b.all, true);
	struct waiting a = { .wait.done = counted };
	assert_false(consumer_is_counted(c));
	assert_true(consumer_num_pending(c) >= FAR); /* a bound */
	consumer_when_counted(c, &a.wait);
	for (bool more = true; more;) {
		uint64_t work = 4 * WORK;
		more = consumers_turn_end(&b.all, &work);
		assert_int_equal(a.answers, more ? 0 : 1);
		if (!more) break;
		assert_in_range(work, 2 * WORK, 4 * WORK); /* others have their share of the turn */
		if (++turns > 10 + STORED) continue;
		if (turns <= STORED) /* at the end, where it has not been */
			consumer_stream_ops.stored(&b.all, ++b.last_seq, SLICE("s.1"));
		else if (turns <= STORED + GONE) /* at the front, where it has */
			consumer_stream_ops.removed(&b.all, turns, SLICE("s.1"));
	}
	assert_int_equal(a.told, FAR + STORED - GONE);
	assert_int_equal(consumer_num_pending(c), FAR + STORED - GONE);
	assert_true(turns >= (uint64_t)FAR * LOOK_WORK / WORK / 2);
	consumer_stream_ops.stored(&b.all, ++b.last_seq, SLICE("s.1"));
	assert_int_equal(consumer_num_pending(c), FAR + STORED - GONE + 1);
	bed_end(&b);
}

static void tries_end_by_and_by(void **state)
{
	enum { ENDED = 5000, A_TURN_MAX = 600 };
	struct bed b;
	bool more;
	(void)state;
	bed_begin(&b, ENDED);
	struct consumer *c = make(&b, 1,
		"{\"name\":\"C\",\"ack_policy\":\"explicit\",\"max_deliver\":1,\"ack_wait\":1000000000,\"max_ack_"
		"pending\":"
		"-1,\"max_waiting\":512}");
	consumer_stream_ops.lead(&b.all, true);
	for (uint64_t seq = 1; seq <= ENDED; seq++) {
		struct pending *p = pending_add(c, seq, seq, 1, 0);
		p->logged = true;
		consumer_schedule(p, 1);
	}
	c->live_sseq = c->live_cseq = ENDED;
	sim_run_for(b.s, MILLIS(1));
	pull(c, "1", "C");
	do {
		uint64_t work = WORK;
		unsigned before = b.advisories;
		more = consumers_turn_end(&b.all, &work);
		assert_true(b.advisories - before <= A_TURN_MAX);
	} while (more);
	assert_int_equal(b.advisories, ENDED);
	bed_end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_turn_delivers_so_much_and_no_more),
		cmocka_unit_test(who_got_nothing_is_next),
		cmocka_unit_test(a_scan_goes_on_in_the_next_turn),
		cmocka_unit_test(a_count_goes_on_in_the_next_turn),
		cmocka_unit_test(tries_end_by_and_by),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
