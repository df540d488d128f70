/* SPDX-License-Identifier: Apache-2.0 */
#include "log_fixture.h"

struct ordered {
	struct log_req req;
	struct fixture *f;
	unsigned number, *next;
	struct log_group *append_to;
	bool is_last;
};

static void ordered_done(struct log_req *r)
{
	struct ordered *o = CONTAINER_OF(r, struct ordered, req);
	assert_int_equal(o->number, *o->next);
	(*o->next)++;
	if (!o->is_last) return;
	o->f->done++;
	io_uv_stop(o->f->io);
}

static void completions_come_in_order_and_never_from_inside(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	fixture_begin(&f, &o, 1);
	static const size_t sizes[] = { 64, 4000, 800, 8000 - 80, 100 };
	struct ordered reqs[200];
	struct buf b = { 0 };
	unsigned next = 0;
	for (unsigned i = 0; i < COUNT_OF(reqs); i++) {
		reqs[i] = (struct ordered) { .req.done = ordered_done,
			.f = &f,
			.number = i,
			.next = &next,
			.is_last = i + 1 == COUNT_OF(reqs) };
		if (i % 3 == 2) {
			log_vote(o.g, i, 1, &reqs[i].req);
		} else {
			if (log_admit(f.log, LOG_ADMIT_GROWS, 8100) != OK) {
				/* No room for more: what is there is enough. */
				log_vote(o.g, i, 1, &reqs[i].req);
				continue;
			}
			body_of(&b, 1, i + 1, sizes[i % COUNT_OF(sizes)]);
			struct log_entry e = { ENTRY_COMMAND, 1, buf_slice(&b) };
			log_append(o.g, &reqs[i].req, &e, 1);
		}
		assert_int_equal(next, 0);
	}
	run(&f);
	assert_int_equal(next, COUNT_OF(reqs));
	struct log_group_info info;
	log_group_info(o.g, &info);
	assert_int_equal(info.durable_index, info.last_index);
	buf_deinit(&b);
	fixture_end(&f);
}

static void durable_follows_the_blocks(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	struct log_group_info info;
	fixture_begin(&f, &o, 1);
	owner_append(&o, 3, 100, &w);
	log_group_info(o.g, &info);
	assert_int_equal(info.last_index, 3);
	assert_int_equal(info.durable_index, 0);
	log_turn_end(f.log);
	/* These gather while the first block flies. */
	owner_append(&o, 2, 100, NULL);
	run(&f);
	log_group_info(o.g, &info);
	assert_int_equal(info.durable_index, 3);
	log_truncate(o.g, 3);
	log_group_info(o.g, &info);
	assert_int_equal(info.last_index, 2);
	assert_int_equal(info.durable_index, 2);
	log_vote(o.g, 1, 1, wait_on(&w, &f));
	run(&f);
	log_group_info(o.g, &info);
	assert_int_equal(info.durable_index, 2);
	fixture_end(&f);
}

/* S8: clients stop at the reserve; votes, no-ops and the rest go on, for as long as it may take: what nobody applies moves out of the way. */
static void the_reserve_is_kept(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	fixture_begin(&f, &o, 1);
	unsigned appended = 0;
	/* Nothing is applied, so nothing can settle. */
	while (log_admit(f.log, LOG_ADMIT_GROWS, 4200) == OK) {
		owner_append_now(&o, 1, 4000);
		assert_true(++appended < 1000);
	}
	assert_int_equal(log_admit(f.log, LOG_ADMIT_GROWS, 4200), ERR_FULL);
	assert_int_equal(log_admit(f.log, LOG_ADMIT_FREES, 4200), ERR_FULL);
	assert_int_equal(log_admit(f.log, LOG_ADMIT_RESERVED, 100), OK);
	assert_true(appended > 10);
	assert_true(log_pressure_permille(f.log) >= 900);
	for (uint64_t term = 2; term < 400; term++) {
		wait_admitted(&f, LOG_ADMIT_RESERVED, ENTRY_HEAD_BYTES);
		log_vote(o.g, term, 9, wait_on(&w, &f));
		run(&f);
		assert_false(f.has_died);
	}
	assert_true(f.diag.counter[COUNTER_log_entries_moved] >= appended);
	/* Applied, it settles, and there is room again. */
	owner_apply(&o);
	wait_admitted(&f, LOG_ADMIT_GROWS, 96 * 1024);
	assert_true(log_pressure_permille(f.log) < 700);
	assert_int_equal(read_and_check(&o, 1, appended), appended);
	fixture_end(&f);
}

/* Somebody who asks while a round works and takes all that is promised, a block of its own each time. */
struct greedy {
	struct fixture *f;
	struct owner *o;
	uint64_t term;
	unsigned promised;
	bool applies; /* before it asks */
};

static void greedy_takes(void *arg)
{
	struct greedy *g = arg;
	if (g->applies) owner_apply(g->o);
	while (g->applies && log_admit(g->f->log, LOG_ADMIT_GROWS, 4200) == OK) owner_append(g->o, 1, 4000, NULL);
	for (unsigned i = 0; i < 100 && log_admit(g->f->log, LOG_ADMIT_RESERVED, ENTRY_HEAD_BYTES) == OK; i++) {
		log_vote(g->o->g, ++g->term, 9, NULL);
		g->promised++;
		journal_submit(g->f->log);
	}
}

/* One round with greed inside it; then a vote must become possible again. */
static void greedy_round(struct greedy *g)
{
	struct waiter w;
	g->f->at_work = greedy_takes;
	g->f->at_work_arg = g;
	settle(g->f);
	assert_null(g->f->at_work);
	assert_false(g->f->has_died);
	wait_admitted(g->f, LOG_ADMIT_RESERVED, ENTRY_HEAD_BYTES);
	log_vote(g->o->g, ++g->term, 9, wait_on(&w, g->f));
	run(g->f);
	assert_false(g->f->has_died);
}

/* S8, S12: what a round captured it moves, although it was applied since; that room is nobody else's. */
static void a_promise_leaves_room_for_what_was_captured(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	fixture_begin(&f, &o, 1);
	struct greedy greedy = { .f = &f, .o = &o, .term = 1, .applies = true };
	for (unsigned i = 0; i < 40; i++) {
		/* A little more floats each time. */
		for (unsigned k = 0; k < i && log_admit(f.log, LOG_ADMIT_GROWS, 4200) == OK; k++)
			owner_append(&o, 1, 4000, NULL);
		greedy_round(&greedy);
		owner_apply(&o);
	}
	assert_true(greedy.promised > 0);
	assert_true(f.diag.counter[COUNTER_log_entries_moved] > 0);
	fixture_end(&f);
}

/* The same when nothing is ever applied, and rounds have moved it so often in a row that more of it is not worth it. */
static void a_promise_leaves_room_for_useless_moves(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	fixture_begin(&f, &o, 1);
	struct greedy greedy = { .f = &f, .o = &o, .term = 1 };
	while (log_admit(f.log, LOG_ADMIT_GROWS, 4200) == OK) owner_append(&o, 1, 4000, NULL);
	for (unsigned i = 0; i < 3 * f.options.slot_count; i++) {
		for (unsigned k = 0; k < i % (f.options.slot_count + 1); k++) settle(&f);
		greedy_round(&greedy);
	}
	assert_true(greedy.promised > 0);
	assert_true(f.diag.counter[COUNTER_log_entries_moved] > 0);
	fixture_end(&f);
}

static void views_are_of_recent_blocks(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct slice entry, body;
	struct entry_head h;
	fixture_init(&f);
	f.options.cache_bytes_max = 64 * 1024; /* the block that gathers has half a slot of it */
	fixture_open(&f);
	owner_make(&o, &f, 1);
	owner_append(&o, 1, 100, NULL);
	assert_int_equal(log_view(o.g, 1, &entry), OK); /* it still gathers */
	assert_int_equal(entry_next(&entry, &h, &body), OK);
	assert_int_equal(h.index, 1);
	assert_int_equal(log_view(o.g, 2, &entry), ERR_NOT_FOUND);
	owner_append_now(&o, 1, 100);
	/* What is much older than the cache is large is not in memory. */
	for (unsigned i = 0; i < 30; i++) {
		owner_append_now(&o, 1, 2000);
		owner_apply_to(
			&o, i + 1); /* what is not applied moves along, what is may settle: the last one neither */
		log_turn_end(f.log);
	}
	assert_int_equal(log_view(o.g, 1, &entry), ERR_AGAIN);
	assert_int_equal(log_view(o.g, 32, &entry), OK);
	assert_int_equal(entry_next(&entry, &h, &body), OK);
	assert_int_equal(h.index, 32);
	assert_true(f.log->journal.recent_bytes < 128 * 1024);
	fixture_end(&f);
}

static void a_table_must_fit(void **state)
{
	(void)state;
	struct fixture f;
	struct log_group *g;
	enum err e = OK;
	fixture_init(&f);
	fixture_open(&f);
	uint64_t id = 0;
	while (e == OK && id < 1000) {
		struct waiter w;
		wait_admitted(&f, LOG_ADMIT_GROWS, 256); /* the ring may have to catch up: that is another ERR_FULL */
		e = log_group_make(f.log, ++id, SLICE_NULL, wait_on(&w, &f), &g);
		if (e == OK) run(&f);
	}
	assert_int_equal(e, ERR_FULL);
	assert_true(id > 100 && id < 200); /* a quarter of 64 KiB in rows of 96 */
	assert_int_equal(log_group_make(f.log, 1, SLICE_NULL, NULL, &g), ERR_EXISTS);
	fixture_close(&f);
	fixture_open(&f);
	uint64_t count = 0;
	for (g = log_group_after(f.log, 0); g; g = log_group_after(f.log, log_group_id(g)))
		assert_int_equal(log_group_id(g), ++count);
	assert_int_equal(count, id - 1);
	fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(completions_come_in_order_and_never_from_inside),
		cmocka_unit_test(durable_follows_the_blocks),
		cmocka_unit_test(the_reserve_is_kept),
		cmocka_unit_test(a_promise_leaves_room_for_what_was_captured),
		cmocka_unit_test(a_promise_leaves_room_for_useless_moves),
		cmocka_unit_test(views_are_of_recent_blocks),
		cmocka_unit_test(a_table_must_fit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
