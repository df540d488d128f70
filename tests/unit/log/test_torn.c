/* SPDX-License-Identifier: Apache-2.0 */
/* Starting on a journal that is torn or damaged (S6): what is cut, who is in doubt and until when (S7). */
#include "log_files.h"
#include "thebes/io_impl.h"

static void the_last_block_torn_is_cut(void **state)
{
	(void)state;
	struct fixture f;
	two_groups(&f, false);
	block_flip(&f, 1, 100);
	fixture_open(&f);
	assert_false(in_doubt(&f, 1));
	assert_false(in_doubt(&f, 2)); /* the window that docs/STORAGE.md names: it cannot be told from a crash */
	assert_int_equal(last_of(&f, 1), 3);
	assert_int_equal(last_of(&f, 2), 0);
	fixture_end(&f);
}

static void with_a_closing_block_it_is_damage(void **state)
{
	(void)state;
	struct fixture f;
	two_groups(&f, true);
	block_flip(&f, 2, 200); /* a body */
	fixture_open(&f);
	assert_false(in_doubt(&f, 1));
	assert_true(in_doubt(&f, 2));
	assert_non_null(strstr(log_group_doubt(log_group_find(f.log, 2)), "damaged"));
	fixture_kill(&f);
	fixture_open(&f); /* the doubt is recorded */
	assert_false(in_doubt(&f, 1));
	assert_true(in_doubt(&f, 2));
	/* what the damaged block held last is not known: no sequence that fits into the journal may be given out again */
	struct log_group_info lost;
	log_group_info(log_group_find(f.log, 2), &lost);
	assert_int_equal(lost.lost_from, 1);
	assert_int_equal(lost.lost_to, 0);
	uint64_t ring = (uint64_t)f.log->journal.slot_count * f.log->journal.slot_bytes;
	assert_in_range(lost.seq_bound, ring / RECORD_HEAD_BYTES, ring / RECORD_HEAD_BYTES + 10);
	struct waiter w;
	log_doubt_end(log_group_find(f.log, 2), 7, 42, wait_on(&w, &f));
	run(&f);
	fixture_kill(&f);
	fixture_open(&f);
	assert_false(in_doubt(&f, 2));
	struct log_group_info info;
	log_group_info(log_group_find(f.log, 2), &info);
	assert_int_equal(info.term, 7);
	assert_int_equal(info.vote, 42);
	fixture_end(&f);
}

/* The end of a doubt rots; the table of the next use, written behind it, says that the group is whole. */
static void a_later_table_knows_that_a_doubt_has_ended(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w;
	two_groups(&f, true);
	block_flip(&f, 2, 200);
	fixture_open(&f);
	assert_true(in_doubt(&f, 2));
	log_doubt_end(log_group_find(f.log, 2), 7, 42, wait_on(&w, &f));
	run(&f);
	long at[32];
	unsigned count = blocks_of(&f, "journal/00", at, COUNT_OF(at));
	settle(&f); /* begins the next use */
	assert_int_equal(f.log->journal.use, 2);
	fixture_kill(&f);
	file_flip(path_in(&f, "journal/00"), at[count - 1] + BLOCK_HEAD_BYTES + 20, 2);
	fixture_open(&f);
	assert_false(in_doubt(&f, 2));
	fixture_end(&f);
}

/* A start cuts a torn block and goes on in the next slot. When the first block there rots, what was cut does not come back in its place: nobody was told
 * that it is there, and since then the group may have told others how its log ends. */
static void what_was_cut_stays_cut(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	long at[32];
	fixture_begin(&f, &o, 1);
	owner_append_now(&o, 3, 100);
	owner_append_now(&o, 3, 2000);
	fixture_kill(&f);
	block_flip(&f, 1, 5000); /* the third entry of the block; the two before are whole */
	fixture_open(&f);
	assert_int_equal(last_of(&f, 1), 3);
	settle(&f); /* begins the next use */
	assert_int_equal(f.log->journal.use, 2);
	log_vote(log_group_find(f.log, 1), 3, 6, wait_on(&w, &f));
	run(&f);
	fixture_kill(&f);
	assert_true(blocks_of(&f, "journal/01", at, COUNT_OF(at)) > 1);
	file_flip(path_in(&f, "journal/01"), at[0] + 20, 2);
	fixture_open(&f);
	assert_int_equal(last_of(&f, 1), 3);
	fixture_end(&f);
}

static void append_in(struct owner *o, uint64_t term, unsigned count, struct waiter *w)
{
	struct log_group_info info;
	struct buf b = { 0 };
	for (unsigned i = 0; i < count; i++) {
		log_group_info(o->g, &info);
		body_of(&b, log_group_id(o->g), info.last_index + 1, 100);
		struct log_entry e = { ENTRY_COMMAND, term, buf_slice(&b) };
		log_append(o->g, i + 1 == count ? wait_on(w, o->f) : NULL, &e, 1);
	}
	buf_deinit(&b);
	run(o->f);
}

/* The entry that took the place of another is lost; a truncation behind it says of which term it was. The other one does not pass for it. */
static void a_replaced_entry_does_not_come_back(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	fixture_begin(&f, &o, 1);
	append_in(&o, 1, 3, &w);
	log_truncate(o.g, 3);
	append_in(&o, 2, 2, &w);
	log_truncate(o.g, 4);
	log_vote(o.g, 3, 6, wait_on(&w, &f));
	run(&f);
	fixture_kill(&f);
	for (long at = BLOCK_HEAD_BYTES; at < 700; at += 8) block_flip(&f, 2, at); /* nothing of it is whole */
	f.is_quiet = true;
	fixture_open(&f);
	assert_true(in_doubt(&f, 1));
	assert_int_equal(last_of(&f, 1), 2);
	fixture_end(&f);
}

/* Whatever bit of the head of a block in the middle: its groups are known from the next one's list. */
static void a_bad_head_is_named_by_its_successor(void **state)
{
	(void)state;
	for (long byte = 0; byte < BLOCK_HEAD_BYTES; byte += 3) {
		struct fixture f;
		two_groups(&f, true);
		block_flip(&f, 2, byte);
		fixture_open(&f);
		assert_false(in_doubt(&f, 1));
		assert_true(in_doubt(&f, 2));
		assert_int_equal(last_of(&f, 1), 3);
		assert_int_equal(last_of(&f, 2), 1); /* the entry itself is whole, and kept */
		fixture_end(&f);
	}
}

/* What follows proves a group whole: an entry that names the term before it, and a vote. */
static void later_records_end_the_doubt_of_a_start(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	long at[32];
	fixture_begin(&f, &o, 1);
	log_vote(o.g, 1, 5, wait_on(&w, &f));
	run(&f);
	unsigned before = blocks_of(&f, "journal/00", at, COUNT_OF(at));
	owner_append_now(&o, 1, 100);
	log_vote(o.g, 2, 6, wait_on(&w, &f));
	run(&f);
	fixture_kill(&f);
	f.is_quiet = true;
	/* The vote of term 1 rots; the one of term 2 and the entry are behind it. */
	file_flip(path_in(&f, "journal/00"), at[before - 1] + 90, 2);
	fixture_open(&f);
	assert_false(in_doubt(&f, 1));
	assert_int_equal(last_of(&f, 1), 1);
	fixture_end(&f);
}

/* An entry in the middle is gone: what is before it is the log, what is behind it stays readable. */
static void a_gap_strands_what_is_behind_it(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	two_groups_with_a_gap(&f);
	owner_attach(&o, &f, 1);
	assert_int_equal(read_and_check(&o, 1, 3), 2);
	/* It goes on where its log ends. */
	owner_append_now(&o, 1, 100);
	assert_int_equal(last_of(&f, 1), 2);
	assert_int_equal(read_and_check(&o, 1, 2), 2);
	fixture_kill(&f);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1));
	assert_int_equal(last_of(&f, 1), 2);
	fixture_end(&f);
}

/* Entry 1 is settled; the state is that of 2, which lies in the journal with 3 and 4; killed. */
static void state_ahead_of_segments(struct fixture *f)
{
	struct owner o;
	struct waiter settled;
	fixture_begin(f, &o, 1);
	owner_append(&o, 1, 100, NULL);
	log_settle_now(f->log, wait_on(&settled, f));
	log_turn_end(f->log); /* the next use begins; the round waits for the entry */
	assert_int_equal(f->log->journal.use, 2);
	owner_append(&o, 3, 100, NULL);
	owner_apply_to(&o, 2);
	run(f);
	assert_int_equal(o.g->settled_index, 1);
	assert_int_equal(o.g->state_index, 2);
	fixture_kill(f);
	f->is_quiet = true;
}

/* What damage took behind the last entry that is here does not count for its sequences: a barrier that follows would say that the messages
 * behind it come before it. */
static void sequences_go_on_from_what_is_here(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct log_group_info info;
	state_ahead_of_segments(&f);
	entry_flip(&f, 1, 2);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1));
	assert_int_equal(last_of(&f, 1), 2);
	owner_attach(&o, &f, 1);
	log_group_info(o.g, &info);
	assert_true(info.seq_bound >= 4); /* all of them may have been acknowledged */
	for (unsigned i = 0; i < 2; i++) {
		struct log_entry e = { ENTRY_BARRIER, 1, SLICE_NULL };
		struct slice entry, body;
		struct entry_head h;
		log_append(o.g, NULL, &e, 1);
		assert_int_equal(log_view(o.g, 3, &entry), OK);
		assert_int_equal(entry_next(&entry, &h, &body), OK);
		assert_int_equal(h.seq_last, 1);
		log_truncate(o.g, 3);
	}
	fixture_end(&f);
}

/* S8: what is stranded goes when the group is appended to, so it takes no room from that, as it does from others. */
static void what_is_stranded_makes_room_for_its_group(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	enum { BIG = 6000 };
	fixture_init(&f);
	f.options.slot_bytes = 32 * 1024;
	f.options.slot_count = 4;
	fixture_open(&f);
	owner_make(&o, &f, 1);
	owner_append_now(&o, 2, 100);
	while (log_admit(f.log, LOG_ADMIT_GROWS, BIG + KIB) == OK) owner_append_now(&o, 1, BIG);
	assert_int_equal(o.g->settled_index, 0); /* nothing is applied */
	fixture_kill(&f);
	f.is_quiet = true;
	entry_flip(&f, 1, 2);
	fixture_open(&f);
	owner_attach(&o, &f, 1);
	assert_int_equal(last_of(&f, 1), 1);
	assert_true(o.g->stranded_bytes > 2 * BIG);
	assert_int_equal(log_admit(f.log, LOG_ADMIT_GROWS, BIG + KIB), ERR_FULL);
	assert_int_equal(log_group_admit(o.g, LOG_ADMIT_GROWS, BIG + KIB), OK);
	owner_append(&o, 1, BIG, &w);
	assert_int_equal(o.g->stranded_bytes, 0);
	assert_in_range(f.log->floating_bytes, BIG, BIG + KIB);
	run(&f);
	assert_int_equal(last_of(&f, 1), 2);
	fixture_end(&f);
}

/* S7: a leader had no more than what is before the gap; what the damage took behind it is not missed again by the next start. */
static void a_doubt_ends_with_the_log_it_had(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	two_groups_with_a_gap(&f);
	owner_attach(&o, &f, 1);
	log_doubt_end(o.g, 7, 42, wait_on(&w, &f));
	run(&f);
	settle(&f); /* what is stranded does not move along */
	fixture_kill(&f);
	fixture_open(&f);
	assert_false(in_doubt(&f, 1));
	assert_int_equal(last_of(&f, 1), 1);
	owner_attach(&o, &f, 1);
	assert_int_equal(read_and_check(&o, 1, 1), 1);
	fixture_end(&f);
}

/* S7, S18: a GONE that is not durable ends nothing; the group is back with its doubt. */
static void a_doubt_outlives_a_gone_that_was_lost(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w;
	two_groups_with_a_gap(&f);
	log_group_gone(log_group_find(f.log, 1), NULL);
	assert_null(log_group_find(f.log, 1));
	fixture_kill(&f);
	fixture_open(&f);
	assert_non_null(log_group_find(f.log, 1));
	assert_true(in_doubt(&f, 1));
	assert_int_equal(last_of(&f, 1), 1);
	assert_false(in_doubt(&f, 2));
	log_group_gone(log_group_find(f.log, 1), wait_on(&w, &f));
	run(&f);
	fixture_kill(&f);
	fixture_open(&f);
	assert_null(log_group_find(f.log, 1));
	assert_false(in_doubt(&f, 2));
	fixture_end(&f);
}

/* A file system that keeps zeroes as holes: what it calls the end of the data lies before the end of the last block. */
static enum err data_end_is_early(struct io_file *f, uint64_t *bytes)
{
	enum err e = io_file_size(f, bytes);
	for (bool is_zero = true; e == OK && is_zero && *bytes; *bytes -= BLOCK_ALIGN) {
		uint8_t p[BLOCK_ALIGN];
		size_t got = 0;
		e = io_file_read(f, *bytes - BLOCK_ALIGN, p, sizeof p, &got);
		for (size_t i = 0; i < got; i++) is_zero = is_zero && p[i] == 0;
	}
	return e;
}

static void a_block_may_end_in_a_hole(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	fixture_begin(&f, &o, 1);
	owner_append_now(&o, 1, 6000);
	fixture_kill(&f);
	assert_int_equal(io_uv_new(&f.io), OK);
	const struct io_ops *real = f.io->ops;
	struct io_ops ops = *real;
	ops.file_data_end = data_end_is_early;
	f.io->ops = &ops;
	assert_int_equal(log_open(f.io, &f.diag, &f.options, &f.log, f.why, sizeof f.why), OK);
	f.io->ops = real;
	assert_int_equal(last_of(&f, 1), 1);
	assert_false(in_doubt(&f, 1));
	log_free(f.log);
	io_uv_free(f.io);
	fixture_deinit(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_block_torn_is_cut),
		cmocka_unit_test(with_a_closing_block_it_is_damage),
		cmocka_unit_test(a_later_table_knows_that_a_doubt_has_ended),
		cmocka_unit_test(what_was_cut_stays_cut),
		cmocka_unit_test(a_replaced_entry_does_not_come_back),
		cmocka_unit_test(a_bad_head_is_named_by_its_successor),
		cmocka_unit_test(later_records_end_the_doubt_of_a_start),
		cmocka_unit_test(a_gap_strands_what_is_behind_it),
		cmocka_unit_test(sequences_go_on_from_what_is_here),
		cmocka_unit_test(what_is_stranded_makes_room_for_its_group),
		cmocka_unit_test(a_doubt_ends_with_the_log_it_had),
		cmocka_unit_test(a_doubt_outlives_a_gone_that_was_lost),
		cmocka_unit_test(a_block_may_end_in_a_hole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
