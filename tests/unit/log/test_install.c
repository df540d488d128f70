/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include "log_fixture.h"

/* Entries of group 1 as a peer has them. */
static void entries_make(struct buf *out, uint64_t from, uint64_t to, uint64_t term)
{
	for (uint64_t i = from; i <= to; i++) {
		struct buf b = { 0 };
		body_of(&b, 1, i, 200);
		struct entry_head h = { .kind = ENTRY_COMMAND,
			.group = 1,
			.index = i,
			.term = term,
			.seq_last = i,
			.record_count = 1,
			.prev_term = (uint32_t)term };
		uint8_t *p = buf_reserve(out, entry_bytes(b.n));
		memset(p, 0, entry_bytes(b.n));
		memcpy(p + ENTRY_HEAD_BYTES, b.p, b.n);
		entry_head_encode(&h, buf_slice(&b), p);
		out->n += entry_bytes(b.n);
		buf_deinit(&b);
	}
}

static void state_make(struct state_batch *s, uint64_t sum, uint64_t applied)
{
	uint8_t value[16];
	le64_put(value, sum);
	le64_put(value + 8, applied);
	state_batch_put(s, SLICE("sum"), slice_of(value, sizeof value));
	state_batch_put(s, SLICE("more"), SLICE("text"));
}

/* A group with 10 own entries, the last 3 of them not applied; then what a peer sends: entries 40..100 of term 6, state of 100. */
static struct log_install *begin(struct fixture *f, struct owner *o)
{
	struct log_install *i;
	fixture_init(f);
	fixture_open(f);
	owner_make(o, f, 1);
	owner_append_now(o, 10, 200);
	owner_apply_to(o, 7);
	settle(f);
	assert_int_equal(log_install_begin(o->g, &i), OK);
	struct log_install *second;
	assert_int_equal(log_install_begin(o->g, &second), ERR_BUSY);
	return i;
}

static void feed(struct fixture *f, struct log_install *i)
{
	struct install_waiter w;
	struct buf b = { 0 };
	struct state_batch s = { 0 };
	entries_make(&b, 40, 70, 6);
	log_install_entries(i, buf_slice(&b), installing(&w, f));
	run(f);
	assert_int_equal(w.req.result, OK);
	buf_clear(&b);
	entries_make(&b, 71, 100, 6);
	log_install_entries(i, buf_slice(&b), installing(&w, f));
	run(f);
	assert_int_equal(w.req.result, OK);
	state_make(&s, 4711, 100);
	log_install_state(i, buf_slice(&s.ops), installing(&w, f));
	run(f);
	assert_int_equal(w.req.result, OK);
	state_batch_deinit(&s);
	buf_deinit(&b);
}

static void check_installed(struct fixture *f)
{
	struct log_group_info info;
	struct log_group *g = log_group_find(f->log, 1);
	log_group_info(g, &info);
	assert_int_equal(info.generation, 2);
	assert_int_equal(info.state_index, 100);
	assert_int_equal(info.state_term, 6);
	assert_int_equal(info.last_term, 6);
	assert_int_equal(info.first_index, 40);
	assert_int_equal(info.contiguous_from, 40);
	assert_int_equal(info.commit_index, 100);
	assert_int_equal(info.conf_index, 44);
	assert_true(slice_eq_str(info.conf, "peers"));
	assert_false(info.in_doubt);
	assert_int_equal(log_term_at(g, 40), 6);
	assert_int_equal(log_term_at(g, 20), 0); /* left out by the peer: not known */
	struct buf value = { 0 };
	assert_int_equal(state_get(log_state(f->log), 1, SLICE("more"), &value), OK);
	assert_true(slice_eq_str(buf_slice(&value), "text"));
	buf_deinit(&value);
}

static void an_install_replaces_everything(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct install_waiter w;
	struct waiter v;
	struct log_install *i = begin(&f, &o);
	feed(&f, i);
	uint64_t settled = o.settled;
	log_install_commit(i, 100, 6, SLICE("peers"), 44, 40, installing(&w, &f));
	run(&f);
	assert_int_equal(w.req.result, OK);
	assert_int_equal(o.settled, settled); /* not told for an install */
	check_installed(&f);
	struct log_group_info info;
	log_group_info(o.g, &info);
	assert_int_equal(info.last_index, 100);
	o.applied = 100;
	assert_int_equal(read_and_check(&o, 1, 100), 61);
	/* It goes on from there. */
	struct buf b = { 0 };
	body_of(&b, 1, 101, 200);
	struct log_entry e = { ENTRY_COMMAND, 6, buf_slice(&b) };
	log_append(o.g, wait_on(&v, &f), &e, 1);
	run(&f);
	log_applied(o.g, 101, 6, SLICE_NULL, 0);
	buf_deinit(&b);
	fixture_kill(&f);
	fixture_open(&f);
	check_installed(&f);
	o = (struct owner) { .f = &f, .g = log_group_find(f.log, 1), .applied = 100 };
	log_group_attach(o.g, &owner_ops, &o);
	assert_int_equal(read_and_check(&o, 1, 101), 62);
	settle(&f);
	settle(&f);
	fixture_close(&f);
	struct stat st;
	char path[200];
	(void)snprintf(path, sizeof path, "%s/groups/0000000000000001/00000001", f.dir);
	assert_int_not_equal(stat(path, &st), 0); /* the old generation went */
	(void)snprintf(path, sizeof path, "%s/groups/0000000000000001/00000002", f.dir);
	assert_int_equal(stat(path, &st), 0);
	fixture_deinit(&f);
}

static void what_was_not_committed_leaves_no_trace(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		struct fixture f;
		struct owner o;
		struct waiter w;
		struct log_group_info info;
		struct log_install *i = begin(&f, &o);
		feed(&f, i);
		if (how == 0) log_install_abort(i);
		if (how != 1) {
			log_vote(o.g, 1, 1, wait_on(&w, &f));
			run(&f);
		}
		if (how == 2) log_install_abort(i);
		fixture_kill(&f);
		fixture_open(&f);
		owner_attach(&o, &f, 1);
		log_group_info(o.g, &info);
		assert_int_equal(info.generation, 1);
		assert_int_equal(info.last_index, 10);
		assert_int_equal(read_and_check(&o, 1, 10), 10);
		/* Another attempt gets a directory of its own. */
		assert_int_equal(log_install_begin(o.g, &i), OK);
		feed(&f, i);
		struct install_waiter c;
		log_install_commit(i, 100, 6, SLICE("peers"), 44, 40, installing(&c, &f));
		run(&f);
		assert_int_equal(c.req.result, OK);
		log_group_info(o.g, &info);
		assert_int_equal(info.last_index, 100);
		fixture_end(&f);
	}
}

/* Behind its commit point a crash does not undo it: start moves the state. */
static void a_crash_behind_the_commit_point(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct install_waiter w;
	struct log_install *i = begin(&f, &o);
	feed(&f, i);
	log_install_commit(i, 100, 6, SLICE("peers"), 44, 40, installing(&w, &f));
	log_turn_end(f.log);
	/* Until INSTALL is in the journal, and no further. */
	uint64_t before = f.diag.counter[COUNTER_log_installs];
	while (f.diag.counter[COUNTER_log_installs] == before) {
		struct waiter v;
		log_vote(o.g, f.done, 1, wait_on(&v, &f));
		run(&f);
	}
	assert_true(o.g->is_installed);
	while (f.log->journal.durable_number < journal_last_number(f.log) && f.log->settle.phase < ROUND_WORK) {
		struct waiter v;
		log_vote(o.g, f.done, 1, wait_on(&v, &f));
		run(&f);
	}
	fixture_kill(&f);
	fixture_open(&f);
	check_installed(&f);
	fixture_kill(&f);
	fixture_open(&f);
	check_installed(&f);
	fixture_end(&f);
}

static void bad_chunks_end_it(void **state)
{
	(void)state;
	static const struct {
		uint64_t from, to;
		long flip;
	} cases[] = { { 10, 20, 100 }, { 10, 20, 3 } };
	for (size_t k = 0; k < COUNT_OF(cases); k++) {
		struct fixture f;
		struct owner o;
		struct install_waiter w;
		struct buf b = { 0 };
		struct log_install *i = begin(&f, &o);
		entries_make(&b, cases[k].from, cases[k].to, 3);
		b.p[cases[k].flip] ^= 1;
		log_install_entries(i, buf_slice(&b), installing(&w, &f));
		run(&f);
		assert_int_equal(w.req.result, ERR_CORRUPT);
		assert_int_equal(log_install_begin(o.g, &i), OK); /* it has ended */
		buf_clear(&b);
		entries_make(&b, 10, 12, 3);
		entries_make(&b, 11, 12, 3); /* not in order */
		log_install_entries(i, buf_slice(&b), installing(&w, &f));
		run(&f);
		assert_int_equal(w.req.result, ERR_CORRUPT);
		assert_int_equal(log_install_begin(o.g, &i), OK);
		log_install_state(i, SLICE("no batch"), installing(&w, &f));
		run(&f);
		assert_int_equal(w.req.result, ERR_CORRUPT);
		buf_deinit(&b);
		fixture_end(&f);
	}
}

static void the_group_goes_meanwhile(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct install_waiter w;
	struct buf b = { 0 };
	struct log_install *i = begin(&f, &o);
	entries_make(&b, 10, 20, 3);
	log_install_entries(i, buf_slice(&b), installing(&w, &f));
	log_group_gone(o.g, NULL);
	run(&f);
	assert_int_equal(w.req.result, ERR_CLOSED);
	buf_deinit(&b);
	fixture_close(&f);
	fixture_open(&f);
	assert_null(log_group_find(f.log, 1));
	fixture_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_install_replaces_everything),
		cmocka_unit_test(what_was_not_committed_leaves_no_trace),
		cmocka_unit_test(a_crash_behind_the_commit_point),
		cmocka_unit_test(bad_chunks_end_it),
		cmocka_unit_test(the_group_goes_meanwhile),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
