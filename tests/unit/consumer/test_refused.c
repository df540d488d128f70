/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a consumer whose records are refused, are too many for one, or whose leadership ends: the doors of the stream and the
 * router are wrapped, so that the test says what they answer. */
#include "check.h"

#include "consumer_internal.h"
#include "sim/sim.h"

enum { BODIES_MAX = 64 };

struct bed {
	struct sim *s;
	struct diag diag;
	struct stream_config config;
	struct consumers all, other; /* other: a replica that applies what was proposed */
	struct stream_req *proposed[BODIES_MAX], *synced;
	struct buf bodies[BODIES_MAX];
	struct stream_req *sweeping;
	unsigned body_count, published, woken, sweeps;
	struct account account; /* the last one: it ends with its text */
};

static struct bed *bed_of(const void *stream) { return (struct bed *)(uintptr_t)stream; } /* opaque to the room */

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker names them */
enum err __wrap_stream_propose_consumer(struct stream *s, struct slice body, struct stream_req *r);
void __wrap_stream_sync(struct stream *s, struct stream_req *r);
bool __wrap_stream_is_live(const struct stream *s, uint64_t seq);
const struct stream_config *__wrap_stream_config(const struct stream *s);
size_t __wrap_router_publish(struct router *r, const struct msg *m);
void __wrap_stream_sweep_unwanted(struct stream *s, struct stream_req *r);
bool __wrap_router_has_interest(struct router *r, struct slice subject, struct slice queue);
/* NOLINTEND(bugprone-reserved-identifier) */

enum err __wrap_stream_propose_consumer(struct stream *s, struct slice body, struct stream_req *r)
{
	struct bed *b = bed_of(s);
	assert_true(b->body_count < BODIES_MAX);
	b->proposed[b->body_count] = r;
	buf_append_slice(&b->bodies[b->body_count++], body);
	return OK;
}

void __wrap_stream_sync(struct stream *s, struct stream_req *r) { bed_of(s)->synced = r; }

bool __wrap_stream_is_live(const struct stream *s, uint64_t seq)
{
	(void)s;
	return seq != 0;
}

const struct stream_config *__wrap_stream_config(const struct stream *s) { return &bed_of(s)->config; }

size_t __wrap_router_publish(struct router *r, const struct msg *m)
{
	(void)m;
	CONTAINER_OF(r, struct bed, account.router)->published++;
	return 1;
}

bool __wrap_router_has_interest(struct router *r, struct slice subject, struct slice queue)
{
	(void)r, (void)subject, (void)queue;
	return false; /* nobody hears advisories */
}

void __wrap_stream_sweep_unwanted(struct stream *s, struct stream_req *r)
{
	bed_of(s)->sweeping = r;
	bed_of(s)->sweeps++;
}

static struct slice name_of(const void *item) { return ((const struct consumer *)item)->name; }
static void wake(void *arg) { ((struct bed *)arg)->woken++; }

static struct consumer *consumers_begin(struct bed *b, struct consumers *c, struct io *io)
{
	struct consumer_config config;
	*c = (struct consumers) { .io = io,
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
	assert_true(consumer_config_parse_stored(&config, SLICE("{\"name\":\"C\",\"ack_policy\":\"explicit\"}")));
	struct consumer *k = consumer_make(c, 1);
	consumer_set_config(k, &config);
	return k;
}

static void consumers_end(struct consumers *c)
{
	consumer_stream_ops.lead(c, false);
	io_timer_stop(c->io, &c->retry_timer);
	while (!list_is_empty(&c->by_id)) consumer_free(CONTAINER_OF(c->by_id.next, struct consumer, link_by_id));
	map_deinit(&c->by_name);
	mem_free(c->gone);
}

static struct consumer *bed_begin(struct bed *b)
{
	*b = (struct bed) { .s = sim_new(1) };
	struct sim_node *n = sim_node_new(b->s);
	sim_node_boot(n, NULL, NULL);
	diag_init(&b->diag, DIAG_ERROR, NULL, NULL);
	(void)consumers_begin(b, &b->other, sim_node_io(n));
	struct consumer *k = consumers_begin(b, &b->all, sim_node_io(n));
	consumer_stream_ops.lead(&b->all, true);
	return k;
}

static void bed_end(struct bed *b)
{
	consumers_end(&b->all);
	consumers_end(&b->other);
	for (unsigned i = 0; i < b->body_count; i++) buf_deinit(&b->bodies[i]);
	diag_deinit(&b->diag);
	sim_free(b->s);
}

/* As if it had been delivered just now. */
static void deliver(struct consumer *k, uint64_t seq)
{
	struct pending *p = pending_add(k, seq, seq, 1, 0);
	k->live_sseq = k->live_cseq = seq;
	list_push_back(&k->to_log, &p->link_by_log);
}

static void told(struct stream_req *r, enum err result)
{
	r->result = result;
	r->done(r);
}

static void deleted(struct consumer_req *r) { assert_int_equal(r->result, ERR_FULL); }

static void a_refused_delete_leaves_a_consumer_that_works(void **state)
{
	struct bed b;
	struct consumer_req r = { .done = deleted };
	(void)state;
	struct consumer *k = bed_begin(&b);
	consumers_delete(&b.all, SLICE("C"), &r);
	assert_true(k->deleting);
	b.woken = 0;
	told(b.proposed[0], ERR_FULL);
	assert_false(k->deleting);
	assert_true(list_is_linked(&k->link_by_dirty));
	assert_int_equal(b.woken, 1);
	list_remove(&k->link_by_dirty);
	bed_end(&b);
}

static void double_ack(struct bed *b, struct consumer *k)
{
	deliver(k, 1);
	assert_true(consumers_ack(&b->all, SLICE("C"), SLICE("1.1.1.1.0"), SLICE("+ACK"), SLICE("reply")));
	assert_non_null(b->synced);
	assert_int_equal(b->published, 0);
}

static void a_double_ack_is_confirmed_when_it_is_logged(void **state)
{
	struct bed b;
	(void)state;
	double_ack(&b, bed_begin(&b));
	told(b.proposed[0], OK);
	consumer_stream_ops.apply(&b.all, 1, 1, buf_slice(&b.bodies[0]));
	told(b.synced, OK);
	assert_int_equal(b.published, 1);
	bed_end(&b);
}

static void a_double_ack_that_was_forgotten_is_not_confirmed(void **state)
{
	struct bed b;
	(void)state;
	for (unsigned leads_again = 0; leads_again < 2; leads_again++) {
		double_ack(&b, bed_begin(&b));
		consumer_stream_ops.lead(&b.all, false);
		told(b.proposed[0], ERR_NOT_LEADER);
		if (leads_again) consumer_stream_ops.lead(&b.all, true);
		told(b.synced, OK);
		assert_int_equal(b.published, 0);
		bed_end(&b);
	}
}

/* ---- what nobody wants any more goes, whatever happens meanwhile ---- */

static void apply(struct consumers *c, struct bed *b, unsigned body)
{
	consumer_stream_ops.apply(c, body + 1, 1, buf_slice(&b->bodies[body]));
}

/* The consumer of an interest stream goes: body 0. */
static void lose(struct bed *b)
{
	(void)bed_begin(b);
	b->config.retention = STREAM_INTEREST;
	consumer_expire(consumers_find(&b->all, SLICE("C")));
}

static void a_sweep_that_fails_is_done_again(void **state)
{
	struct bed b;
	(void)state;
	lose(&b);
	apply(&b.all, &b, 0);
	apply(&b.other, &b, 0);
	told(b.proposed[0], OK);
	assert_int_equal(b.sweeps, 1); /* the other does not lead */
	told(b.sweeping, ERR_IO);
	assert_int_equal(b.sweeps, 1);
	sim_run_for(b.s, MILLIS(1500));
	assert_int_equal(b.sweeps, 2);
	told(b.sweeping, OK);
	assert_int_equal(b.body_count, 2);
	told(b.proposed[1], ERR_FULL); /* its record was refused: once more */
	sim_run_for(b.s, MILLIS(1500));
	assert_int_equal(b.sweeps, 3);
	told(b.sweeping, OK);
	apply(&b.all, &b, 2);
	apply(&b.other, &b, 2);
	told(b.proposed[2], OK);
	sim_run_for(b.s, SECONDS(5));
	assert_int_equal(b.sweeps, 3);
	assert_int_equal(consumer_stream_ops.hash(&b.all), consumer_stream_ops.hash(&b.other));
	consumer_stream_ops.lead(&b.other, true);
	assert_int_equal(b.sweeps, 3); /* and nothing is left for who leads next */
	bed_end(&b);
}

static void who_leads_next_sweeps(void **state)
{
	struct bed b;
	(void)state;
	lose(&b);
	apply(&b.all, &b, 0);
	apply(&b.other, &b, 0);
	told(b.proposed[0], OK);
	struct stream_req *old = b.sweeping;
	consumer_stream_ops.lead(&b.all, false);
	consumer_stream_ops.lead(&b.other, true);
	assert_int_equal(b.sweeps, 2);
	assert_ptr_not_equal(b.sweeping, old);
	told(old, ERR_NOT_LEADER);
	sim_run_for(b.s, SECONDS(5));
	assert_int_equal(b.sweeps, 2);
	told(b.sweeping, ERR_NOT_LEADER);
	bed_end(&b);
}

/* Every record has an end, and after each of them a replica that would lead knows of all that was delivered. */
static void much_to_log_goes_into_many_records(void **state)
{
	enum { MANY = 10000 };
	struct bed b;
	(void)state;
	struct consumer *k = bed_begin(&b), *copy = consumer_by_id(&b.other, 1);
	for (uint64_t seq = 1; seq <= MANY; seq++) deliver(k, seq);
	for (uint64_t seq = 2; seq <= MANY; seq += 2) consumer_end_pending(pending_find(k, seq));
	k->live_sseq += 5;
	consumer_log(k);
	assert_in_range(b.body_count, 3, 20);
	for (unsigned i = 0; i < b.body_count; i++) {
		uint64_t before = copy->delivered_sseq;
		assert_in_range(b.bodies[i].n, 1, 64 * KIB);
		consumer_stream_ops.apply(&b.other, i + 1, 1, buf_slice(&b.bodies[i]));
		assert_true(copy->delivered_sseq > before);
		told(b.proposed[i], OK);
		bool is_last = i + 1 == b.body_count;
		uint64_t said = copy->delivered_sseq - (is_last ? 5 : 0);
		assert_int_equal(copy->pending.count, (said + 1) / 2);
		if (!is_last) assert_true(said < MANY);
	}
	assert_int_equal(copy->delivered_sseq, MANY + 5);
	assert_int_equal(copy->delivered_cseq, MANY);
	bed_end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refused_delete_leaves_a_consumer_that_works),
		cmocka_unit_test(a_double_ack_is_confirmed_when_it_is_logged),
		cmocka_unit_test(a_double_ack_that_was_forgotten_is_not_confirmed),
		cmocka_unit_test(much_to_log_goes_into_many_records),
		cmocka_unit_test(a_sweep_that_fails_is_done_again),
		cmocka_unit_test(who_leads_next_sweeps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
