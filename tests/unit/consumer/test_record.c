/* SPDX-License-Identifier: Apache-2.0 */
/* What captures leave in the state store: pending messages come in chunks, and no chunk outlives what it held. The store here is an array
 * that takes the changes of one capture after the other. */
#include "check.h"

#include "consumer_internal.h"
#include "sim/sim.h"

enum { KEYS_MAX = 64 };

struct bed {
	struct sim *s;
	struct diag diag;
	struct consumers all;
	struct {
		struct buf key, value;
	} kept[KEYS_MAX];
	size_t count;
};

static struct slice no_key(const void *item) { return ((const struct consumer *)item)->name; }

static void consumers_begin(struct bed *b, struct sim_node *n)
{
	b->all = (struct consumers) { .io = sim_node_io(n), .diag = &b->diag, .id_next = 1 };
	map_init(&b->all.by_name, 1, no_key);
	list_init(&b->all.by_id);
	list_init(&b->all.dirty);
	list_init(&b->all.creates);
}

static void consumers_end(struct bed *b)
{
	while (!list_is_empty(&b->all.by_id))
		consumer_free(CONTAINER_OF(b->all.by_id.next, struct consumer, link_by_id));
	map_deinit(&b->all.by_name);
	mem_free(b->all.gone);
}

static void change(struct bed *b, bool put, struct slice key, struct slice value)
{
	size_t i = 0;
	while (i < b->count && !slice_eq(buf_slice(&b->kept[i].key), key)) i++;
	if (i == b->count && !put) return;
	if (i == b->count) {
		assert_true(b->count < KEYS_MAX);
		b->kept[b->count].key = b->kept[b->count].value = (struct buf) { 0 };
		buf_append_slice(&b->kept[b->count++].key, key);
	}
	buf_clear(&b->kept[i].value);
	if (put) {
		buf_append_slice(&b->kept[i].value, value);
		return;
	}
	buf_deinit(&b->kept[i].key);
	buf_deinit(&b->kept[i].value);
	b->kept[i] = b->kept[--b->count];
}

/* `is_stored`: the changes reach the store; else the round that wrote them failed. */
static void capture(struct bed *b, bool is_stored)
{
	struct state_batch batch = { 0 };
	struct slice key, value;
	bool put;
	consumer_stream_ops.capture(&b->all, &batch, false);
	struct slice in = buf_slice(&batch.ops);
	while (is_stored && in.n) {
		assert_int_equal(state_batch_next(&in, &put, &key, &value), OK);
		change(b, put, key, value);
	}
	if (is_stored) consumer_stream_ops.settled(&b->all);
	state_batch_deinit(&batch);
}

/* In order of keys, as a store hands them out. */
static void restore(struct bed *b)
{
	bool is_given[KEYS_MAX] = { 0 };
	for (size_t n = 0; n < b->count; n++) {
		size_t low = KEYS_MAX;
		for (size_t i = 0; i < b->count; i++)
			if (!is_given[i] && (low == KEYS_MAX || slice_cmp(buf_slice(&b->kept[i].key),
									buf_slice(&b->kept[low].key)) < 0))
				low = i;
		is_given[low] = true;
		consumer_stream_ops.restored(&b->all, buf_slice(&b->kept[low].key), buf_slice(&b->kept[low].value));
	}
}

static struct consumer *make(struct bed *b)
{
	struct consumer_config config;
	assert_true(consumer_config_parse_stored(&config, SLICE("{\"name\":\"C\",\"ack_policy\":\"explicit\"}")));
	struct consumer *k = consumer_make(&b->all, 1);
	consumer_set_config(k, &config);
	k->dirty = true;
	return k;
}

static void pend(struct consumer *k, uint64_t from, uint64_t to)
{
	for (uint64_t seq = from; seq <= to; seq++) pending_add(k, seq, seq, 1, 0)->logged = true;
	k->dirty = true;
}

static void settle_all(struct consumer *k)
{
	while (!list_is_empty(&k->pending_by_seq))
		pending_free(CONTAINER_OF(k->pending_by_seq.next, struct pending, link_by_seq));
	k->dirty = true;
}

static void bed_begin(struct bed *b, struct sim_node **n)
{
	*b = (struct bed) { .s = sim_new(1) };
	*n = sim_node_new(b->s);
	sim_node_boot(*n, NULL, NULL);
	diag_init(&b->diag, DIAG_ERROR, NULL, NULL);
	consumers_begin(b, *n);
}

static void bed_end(struct bed *b)
{
	consumers_end(b);
	while (b->count) change(b, false, buf_slice(&b->kept[0].key), SLICE_NULL);
	diag_deinit(&b->diag);
	sim_free(b->s);
}

static void restored_again(struct bed *b, struct sim_node *n, size_t pendings)
{
	consumers_end(b);
	consumers_begin(b, n);
	restore(b);
	struct consumer *k = consumer_by_id(&b->all, 1);
	assert_non_null(k);
	assert_int_equal(k->pending.count, pendings);
}

static void no_chunk_stays_behind(void **state)
{
	struct bed b;
	struct sim_node *n;
	(void)state;
	bed_begin(&b, &n);
	struct consumer *k = make(&b);
	pend(k, 1, 20000);
	capture(&b, true);
	assert_true(b.count > 3);
	settle_all(k);
	capture(&b, false); /* what was not stored is said again */
	capture(&b, true);
	assert_int_equal(b.count, 1);
	restored_again(&b, n, 0);
	bed_end(&b);
}

static void what_was_restored_is_known_to_be_there(void **state)
{
	struct bed b;
	struct sim_node *n;
	(void)state;
	bed_begin(&b, &n);
	pend(make(&b), 1, 20000);
	capture(&b, true);
	restored_again(&b, n, 20000);
	struct consumer *k = consumer_by_id(&b.all, 1);
	settle_all(k);
	pend(k, 20001, 20600);
	capture(&b, true);
	restored_again(&b, n, 600);
	bed_end(&b);
}

static void losses_are_remembered(void **state)
{
	struct bed b;
	struct sim_node *n;
	(void)state;
	bed_begin(&b, &n);
	b.all.losses = 3;
	b.all.swept = 2;
	b.all.losses_dirty = true;
	uint64_t hash = consumer_stream_ops.hash(&b.all);
	capture(&b, false);
	capture(&b, true);
	assert_int_equal(b.count, 1);
	consumers_end(&b);
	consumers_begin(&b, n);
	restore(&b);
	assert_int_equal(b.all.losses, 3);
	assert_int_equal(b.all.swept, 2);
	assert_int_equal(consumer_stream_ops.hash(&b.all), hash);
	bed_end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_chunk_stays_behind),
		cmocka_unit_test(what_was_restored_is_known_to_be_there),
		cmocka_unit_test(losses_are_remembered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
