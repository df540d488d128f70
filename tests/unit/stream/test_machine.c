/* SPDX-License-Identifier: Apache-2.0 */
/* The machine under random records: two of them agree, and what was captured (with rounds that are given up in between) restores to the
 * same state and hash. Then what single records do. */
#include "check.h"

#include <stdlib.h>

#include "machine.h"

/* ---- a state store in memory ---- */

struct pair {
	struct buf key, value;
};
struct store {
	struct pair *pairs;
	size_t count, cap;
};

static struct pair *store_find(struct store *t, struct slice key)
{
	for (size_t i = 0; i < t->count; i++)
		if (slice_eq(buf_slice(&t->pairs[i].key), key)) return &t->pairs[i];
	return NULL;
}

static void store_take(struct store *t, const struct state_batch *batch)
{
	struct slice in = buf_slice(&batch->ops), key, value;
	bool put;
	while (state_batch_next(&in, &put, &key, &value) == OK) {
		struct pair *p = store_find(t, key);
		if (!put) {
			if (!p) continue;
			buf_deinit(&p->key);
			buf_deinit(&p->value);
			*p = t->pairs[--t->count];
			continue;
		}
		if (!p) {
			if (t->count == t->cap) {
				t->cap = t->cap ? t->cap * 2 : 64;
				t->pairs = mem_realloc(t->pairs, t->cap * sizeof *t->pairs);
			}
			p = &t->pairs[t->count++];
			*p = (struct pair) { 0 };
			buf_append_slice(&p->key, key);
		}
		buf_clear(&p->value);
		buf_append_slice(&p->value, value);
	}
}

static int by_key(const void *a, const void *b)
{
	return slice_cmp(buf_slice(&((const struct pair *)a)->key), buf_slice(&((const struct pair *)b)->key));
}

static void store_deinit(struct store *t)
{
	for (size_t i = 0; i < t->count; i++) {
		buf_deinit(&t->pairs[i].key);
		buf_deinit(&t->pairs[i].value);
	}
	mem_free(t->pairs);
}

static enum err restore(struct machine *m, struct store *t, const struct stream_config *c)
{
	enum err e = OK;
	struct machine made; /* elsewhere, and of nothing that is known here: a worker does it */
	(void)c;
	machine_init(&made, &(struct stream_config) { 0 }, 99);
	qsort(t->pairs, t->count, sizeof *t->pairs, by_key);
	for (size_t i = 0; i < t->count && e == OK; i++)
		e = machine_restore(&made, buf_slice(&t->pairs[i].key), buf_slice(&t->pairs[i].value));
	if (e == OK) e = machine_restored(&made);
	machine_move(m, &made);
	machine_deinit(&made);
	return e;
}

/* ---- histories ---- */

struct history {
	uint64_t random, index;
	int64_t time_ns;
	struct machine m;
	struct store store;
	struct buf subject_of; /* of each sequence: u8 subject, u8 payload bytes; 255 = none */
};

static uint64_t below(struct history *h, uint64_t bound)
{
	h->random ^= h->random << 13;
	h->random ^= h->random >> 7;
	h->random ^= h->random << 17;
	return h->random % bound;
}

static struct stream_config config_of(const char *json)
{
	struct stream_config c;
	struct js_error e;
	if (!stream_config_parse(&c, slice_of_str(json), &e)) fail_msg("%s: %s", json, e.text);
	return c;
}

static struct machine_event apply(struct history *h, struct record r)
{
	struct machine_event ev;
	h->time_ns += 1 + (int64_t)below(h, 1000000000);
	r.time_ns = h->time_ns;
	assert_int_equal(machine_apply(&h->m, ++h->index, &r, &ev), OK);
	h->m.index = h->index;
	return ev;
}

static const char payload[256];

static void publish(struct history *h, unsigned subject, size_t n, const char *headers, uint8_t flags)
{
	char name[16];
	int len = snprintf(name, sizeof name, "s.%u", subject);
	uint8_t note[2] = { (uint8_t)subject, (uint8_t)n };
	apply(h, (struct record) { .kind = RECORD_MSG,
			 .flags = flags,
			 .seq = h->m.seqs.last_seq + 1,
			 .subject = slice_of(name, (size_t)len),
			 .headers = headers ? slice_of_str(headers) : SLICE_NULL,
			 .payload = slice_of(payload, n) });
	buf_append(&h->subject_of, note, 2);
}

static void consume(struct history *h)
{
	apply(h, (struct record) { .kind = RECORD_SKIP, .seq = h->m.seqs.last_seq + 1 });
	buf_append(&h->subject_of, "\xff\0", 2);
}

static void drop_some(struct history *h)
{
	struct buf b = { 0 };
	uint64_t first = h->m.seqs.first_seq, span = h->m.seqs.last_seq - first + 1;
	drop_begin(&b, below(h, 20) ? 0 : (first + below(h, span + 1)) >> SEQ_BLOCK_SHIFT);
	for (uint64_t n = below(h, 30); n > 0 && span; n--) {
		uint64_t seq = first + below(h, span);
		char name[16];
		if (seq == 0) continue;
		const uint8_t *note = h->subject_of.p + (seq - 1) * 2;
		if (note[0] == 255) continue;
		int len = snprintf(name, sizeof name, "s.%u", note[0]);
		drop_add(&b, seq, stream_msg_bytes(&h->m.config, (size_t)len, 0, note[1]), slice_of(name, (size_t)len));
	}
	apply(h, (struct record) { .kind = RECORD_DROP, .payload = buf_slice(&b) });
	buf_deinit(&b);
}

static void any_record(struct history *h)
{
	uint64_t what = below(h, 1000);
	char headers[64];
	if (what < 800) {
		publish(h, (unsigned)below(h, 60), (size_t)below(h, 200), NULL, 0);
	} else if (what < 850) {
		(void)snprintf(headers, sizeof headers, "NATS/1.0\r\nNats-Msg-Id: %u\r\n\r\n", (unsigned)below(h, 500));
		publish(h, 200, 0, headers, 0);
		h->subject_of.p[h->subject_of.n - 2] = 255; /* its headers weigh too: left to whole blocks */
	} else if (what < 870) {
		consume(h);
	} else if (what < 990) {
		drop_some(h);
	} else if (what < 994) {
		publish(h, (unsigned)below(h, 60), 10, NULL, MACHINE_ROLLUP_SUBJECT);
	} else if (what == 995 && below(h, 4) == 0) {
		publish(h, 1, 10, NULL, MACHINE_ROLLUP_ALL);
	} else if (what == 996 && below(h, 4) == 0) {
		apply(h, (struct record) { .kind = RECORD_CLEAR });
	} else if (what == 997) {
		char json[200];
		(void)snprintf(json, sizeof json,
			"{\"name\":\"S\",\"max_msgs_per_subject\":%d,\"allow_rollup_hdrs\":true,\"duplicate_window\":"
			"60000000000}",
			(int)below(h, 60) - 10);
		apply(h, (struct record) { .kind = RECORD_CONFIG, .payload = slice_of_str(json) });
	}
}

static void check_equal(struct machine *a, struct machine *b)
{
	assert_int_equal(a->hash, b->hash);
	assert_int_equal(a->seqs.live, b->seqs.live);
	assert_int_equal(a->seqs.bytes, b->seqs.bytes);
	assert_int_equal(a->seqs.first_seq, b->seqs.first_seq);
	assert_int_equal(a->seqs.last_seq, b->seqs.last_seq);
	assert_int_equal(a->time_ns, b->time_ns);
	assert_int_equal(a->last_time_ns, b->last_time_ns);
	assert_int_equal(a->subjects.by_name.count, b->subjects.by_name.count);
	assert_int_equal(a->ids.by_id.count, b->ids.by_id.count);
	assert_true(slice_eq(buf_slice(&a->last_msg_id), buf_slice(&b->last_msg_id)));
	assert_true(stream_config_equal(&a->config, &b->config));
	for (uint64_t seq = 1; seq <= a->seqs.last_seq; seq++)
		assert_int_equal(seq_index_is_live(&a->seqs, seq), seq_index_is_live(&b->seqs, seq));
	for (uint32_t i = 0; i < a->subjects.id_next; i++) {
		const struct subject_entry *x = subjects_by_id(&a->subjects, i), *y = subjects_by_id(&b->subjects, i);
		assert_int_equal(x == NULL, y == NULL);
		if (!x) continue;
		assert_true(slice_eq(subject_name(x), subject_name(y)));
		assert_int_equal(x->count, y->count);
		assert_int_equal(x->last_seq, y->last_seq);
		assert_int_equal(x->kept_count, y->kept_count);
		for (uint32_t k = 0; k < x->kept_count; k++)
			assert_memory_equal(&x->kept[x->kept_head + k], &y->kept[y->kept_head + k], sizeof *x->kept);
	}
}

/* A round: what is captured reaches the store or is given up; meanwhile records are applied. */
static void capture(struct history *h, bool confirmed)
{
	struct state_batch batch = { 0 };
	machine_capture(&h->m, &batch, false);
	if (confirmed) store_take(&h->store, &batch);
	state_batch_deinit(&batch);
}

static void captured_state_restores(void **state)
{
	struct stream_config c =
		config_of("{\"name\":\"S\",\"allow_rollup_hdrs\":true,\"duplicate_window\":60000000000}");
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct history h = { .random = seed * 0x9e3779b97f4a7c15u, .time_ns = 1000 };
		machine_init(&h.m, &c, seed);
		unsigned given_up = 0, restored = 0;
		for (unsigned round = 0; round < 25; round++) {
			for (unsigned n = 0; n < 200; n++) any_record(&h);
			if (below(&h, 3) == 0) { /* the round fails; nothing of it may be missing from the next */
				capture(&h, false);
				for (unsigned n = 0; n < 50; n++) any_record(&h);
				given_up++;
			}
			capture(&h, true);
			struct machine again;
			assert_int_equal(restore(&again, &h.store, &c), OK);
			check_equal(&h.m, &again);
			machine_deinit(&again);
			restored++;
			/* records between capture and confirmation belong to the next round */
			for (unsigned n = 0; n < 20; n++) any_record(&h);
			machine_settled(&h.m);
		}
		assert_true(given_up > 0 && restored == 25);
		machine_deinit(&h.m);
		store_deinit(&h.store);
		buf_deinit(&h.subject_of);
	}
	stream_config_deinit(&c);
}

static void whole_capture_stands_alone(void **state)
{
	struct stream_config c = config_of("{\"name\":\"S\"}");
	struct history h = { .random = 77, .time_ns = 1000 };
	struct store whole = { 0 };
	struct state_batch batch = { 0 };
	(void)state;
	machine_init(&h.m, &c, 1);
	for (unsigned n = 0; n < 3000; n++) any_record(&h);
	capture(&h, true);
	machine_settled(&h.m);
	machine_capture(&h.m, &batch, true); /* for an install: everything, though nothing changed */
	store_take(&whole, &batch);
	state_batch_deinit(&batch);
	struct machine again;
	assert_int_equal(restore(&again, &whole, &c), OK);
	check_equal(&h.m, &again);
	machine_deinit(&again);
	machine_deinit(&h.m);
	store_deinit(&whole);
	store_deinit(&h.store);
	buf_deinit(&h.subject_of);
	stream_config_deinit(&c);
}

static void damaged_state_is_refused(void **state)
{
	struct stream_config c = config_of("{\"name\":\"S\"}");
	struct history h = { .random = 5, .time_ns = 1000 };
	struct machine again;
	(void)state;
	machine_init(&h.m, &c, 1);
	for (unsigned n = 0; n < 40; n++) publish(&h, n % 3, 10, NULL, 0);
	capture(&h, true);
	for (size_t i = 0; i < h.store.count; i++) { /* one value missing: the parts do not fit together */
		struct pair gone = h.store.pairs[i];
		if (gone.key.p[0] == 'c') continue;
		h.store.pairs[i] = h.store.pairs[--h.store.count];
		assert_int_equal(restore(&again, &h.store, &c), gone.key.p[0] == 'h' ? OK : ERR_CORRUPT);
		machine_deinit(&again);
		h.store.pairs[h.store.count++] = gone;
	}
	machine_deinit(&h.m);
	store_deinit(&h.store);
	buf_deinit(&h.subject_of);
	stream_config_deinit(&c);
}

static void limits_per_subject(void **state)
{
	struct stream_config c = config_of("{\"name\":\"S\"}");
	struct history h = { .random = 5, .time_ns = 1000 };
	(void)state;
	machine_init(&h.m, &c, 1);
	for (unsigned n = 0; n < 5; n++) publish(&h, 7, 10, NULL, 0);
	const char *json = "{\"name\":\"S\",\"max_msgs_per_subject\":3}";
	apply(&h, (struct record) { .kind = RECORD_CONFIG, .payload = slice_of_str(json) });
	publish(&h, 7, 10, NULL, 0);
	/* the older ones are not known by name: nothing goes here, least of all the newest (a leader reads and drops them) */
	assert_int_equal(h.m.seqs.live, 6);
	assert_true(seq_index_is_live(&h.m.seqs, 6));
	for (unsigned n = 0; n < 5; n++) publish(&h, 8, 10, NULL, 0);
	assert_int_equal(subjects_find(&h.m.subjects, SLICE("s.8"))->count, 3);
	assert_false(seq_index_is_live(&h.m.seqs, 7));
	assert_true(seq_index_is_live(&h.m.seqs, 11));
	json = "{\"name\":\"S\",\"max_msgs_per_subject\":1}";
	apply(&h, (struct record) { .kind = RECORD_CONFIG, .payload = slice_of_str(json) });
	assert_int_equal(subjects_find(&h.m.subjects, SLICE("s.8"))->count, 1); /* known by name: at once */
	machine_deinit(&h.m);
	buf_deinit(&h.subject_of);
	stream_config_deinit(&c);
}

static void poison_is_refused(void **state)
{
	struct stream_config c = config_of("{\"name\":\"S\"}");
	struct machine m;
	struct machine_event ev;
	(void)state;
	machine_init(&m, &c, 1);
	static const uint8_t drop_far[8] = { 1 }, drop_cut[12] = { 0 };
	const struct record bad[] = {
		{ .kind = 0 },
		{ .kind = RECORD_KIND_END },
		{ .kind = RECORD_MSG, .seq = 2, .subject = SLICE("a") },
		{ .kind = RECORD_MSG, .seq = 1 },
		{ .kind = RECORD_SKIP, .seq = 3 },
		{ .kind = RECORD_DROP },
		{ .kind = RECORD_DROP, .payload = slice_of(drop_far, sizeof drop_far) },
		{ .kind = RECORD_DROP, .payload = slice_of(drop_cut, sizeof drop_cut) },
		{ .kind = RECORD_CONFIG, .payload = SLICE("{}") },
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		uint64_t last_seq = 0;
		assert_int_equal(machine_check(&bad[i], &last_seq), ERR_CORRUPT);
		assert_int_equal(last_seq, 0);
		assert_int_equal(machine_apply(&m, 1, &bad[i], &ev), ERR_CORRUPT);
	}
	assert_int_equal(m.hash, 0);
	machine_deinit(&m);
	stream_config_deinit(&c);
}

/* Messages that can still be read make the index anew; it captures and restores, and counts what they are. */
static void salvage_keeps_what_is_left(void **state)
{
	struct stream_config c = config_of("{\"name\":\"S\",\"max_msgs_per_subject\":2000}");
	struct machine m, back;
	struct machine_event ev;
	struct machine_salvage v;
	struct store store = { 0 };
	struct state_batch batch = { 0 };
	static const struct slice subjects[] = { SLICE("a"), SLICE("b"), SLICE("c") };
	struct record r = { .kind = RECORD_MSG, .payload = SLICE("payload") };
	(void)state;
	machine_init(&m, &c, 1);
	for (uint64_t seq = 1; seq <= 3000; seq++) {
		r.seq = seq;
		r.subject = subjects[seq % 3];
		assert_int_equal(machine_apply(&m, seq, &r, &ev), OK);
	}
	machine_remove(&m, 7, subjects[7 % 3], m.seqs.bytes / 3000);
	uint64_t each = m.seqs.bytes / 2999;
	machine_salvage_init(&v, 2);
	for (uint64_t seq = 1; seq <= 3000; seq++) {
		if ((seq >= 100 && seq < 1500) || seq > 2990) continue; /* damaged */
		r.seq = seq;
		r.subject = subjects[seq % 3];
		machine_salvage_msg(&m, &v, &r); /* 7 among them, which was removed */
	}
	assert_int_equal(machine_salvaged(&m, &v), 1400 + 10);
	machine_salvage_deinit(&v);
	assert_int_equal(m.seqs.live, 2999 - 1410);
	assert_int_equal(m.seqs.bytes, m.seqs.live * each);
	assert_int_equal(m.seqs.last_seq, 3000);
	assert_false(
		seq_index_is_live(&m.seqs, 7) || seq_index_is_live(&m.seqs, 100) || seq_index_is_live(&m.seqs, 3000));
	assert_int_equal(subjects_find(&m.subjects, SLICE("a"))->last_seq, 2988);
	machine_skip_to(&m, 5000);
	r.seq = 5001;
	assert_int_equal(machine_apply(&m, 3001, &r, &ev), OK);
	machine_capture(&m, &batch, true);
	store_take(&store, &batch);
	assert_int_equal(restore(&back, &store, &c), OK);
	assert_int_equal(back.seqs.live, m.seqs.live);
	assert_int_equal(back.seqs.last_seq, 5001);
	assert_int_equal(
		subjects_find(&back.subjects, SLICE("b"))->count, subjects_find(&m.subjects, SLICE("b"))->count);
	state_batch_deinit(&batch);
	store_deinit(&store);
	machine_deinit(&back);
	machine_deinit(&m);
	stream_config_deinit(&c);
}

/* Every message has a subject of its own, and only the newest stay: memory is a matter of those that are there. */
static void subjects_that_went_cost_nothing(void **state)
{
	enum { MSGS = 1000 * 1000, KEPT = 1000, ROUND = 100 * 1000 };
	(void)state;
	struct machine m, again;
	struct store store = { 0 };
	struct stream_config c;
	struct js_error error;
	struct machine_event ev;
	assert_true(stream_config_parse(&c, SLICE("{\"name\":\"S\",\"subjects\":[\"device.*\"]}"), &error));
	machine_init(&m, &c, 1);
	struct buf drop = { 0 };
	for (uint64_t seq = 1; seq <= MSGS; seq++) {
		char name[32];
		int n = snprintf(name, sizeof name, "device.%llu", (unsigned long long)seq);
		struct record r = {
			.kind = RECORD_MSG, .seq = seq, .time_ns = (int64_t)seq, .subject = slice_of(name, (size_t)n)
		};
		assert_int_equal(machine_apply(&m, seq, &r, &ev), OK);
		if (seq > KEPT) {
			n = snprintf(name, sizeof name, "device.%llu", (unsigned long long)(seq - KEPT));
			buf_clear(&drop);
			drop_begin(&drop, 0);
			drop_add(&drop, seq - KEPT, stream_msg_bytes(&c, (size_t)n, 0, 0), slice_of(name, (size_t)n));
			r = (struct record) {
				.kind = RECORD_DROP, .time_ns = (int64_t)seq, .payload = buf_slice(&drop)
			};
			assert_int_equal(machine_apply(&m, seq, &r, &ev), OK);
			assert_int_equal(ev.removed, 1);
		}
		if (seq % ROUND) continue;
		struct state_batch batch = { 0 };
		machine_capture(&m, &batch, false);
		store_take(&store, &batch);
		state_batch_deinit(&batch);
		machine_settled(&m);
	}
	assert_int_equal(m.seqs.live, KEPT);
	assert_int_equal(restore(&again, &store, &c), OK);
	assert_int_equal(again.hash, m.hash);
	const struct subjects *both[] = { &m.subjects, &again.subjects };
	for (size_t i = 0; i < COUNT_OF(both); i++) {
		assert_int_equal(both[i]->by_name.count, KEPT);
		assert_true(both[i]->id_next <= KEPT + 1);
		assert_true(both[i]->by_id_cap <= 4 * KEPT && both[i]->free_cap <= 4 * KEPT);
		assert_true(both[i]->gone_cap <= 4 * KEPT);
	}
	assert_true(store.count <= KEPT + 10);
	buf_deinit(&drop);
	store_deinit(&store);
	stream_config_deinit(&c);
	machine_deinit(&m);
	machine_deinit(&again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(captured_state_restores),
		cmocka_unit_test(subjects_that_went_cost_nothing),
		cmocka_unit_test(whole_capture_stands_alone),
		cmocka_unit_test(damaged_state_is_refused),
		cmocka_unit_test(limits_per_subject),
		cmocka_unit_test(poison_is_refused),
		cmocka_unit_test(salvage_keeps_what_is_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
