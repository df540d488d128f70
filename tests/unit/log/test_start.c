/* SPDX-License-Identifier: Apache-2.0 */
/* Starting: what is refused, what is torn and what is damaged, who is in doubt and until when. */
#include <sys/stat.h>

#include "log_fixture.h"
#include "thebes/io_impl.h"

/* ---- hands on the files ---- */

static const char *path_in(const struct fixture *f, const char *name)
{
	static _Thread_local char path[200];
	(void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
	return path;
}

static void file_write(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static void file_flip(const char *path, long at)
{
	FILE *file = fopen(path, "r+");
	assert_non_null(file);
	assert_int_equal(fseek(file, at, SEEK_SET), 0);
	int c = fgetc(file);
	assert_true(c != EOF);
	assert_int_equal(fseek(file, at, SEEK_SET), 0);
	assert_int_equal(fputc(c ^ 4, file), c ^ 4);
	assert_int_equal(fclose(file), 0);
}

/* Offsets of the blocks of a slot's present use, from its start. */
static unsigned blocks_of(const struct fixture *f, const char *slot, long *at, unsigned max)
{
	FILE *file = fopen(path_in(f, slot), "r");
	assert_non_null(file);
	unsigned count = 0;
	uint8_t head[BLOCK_HEAD_BYTES];
	uint64_t number = 0;
	for (long offset = 0; fseek(file, offset, SEEK_SET) == 0 && fread(head, sizeof head, 1, file) == 1;
		offset += BLOCK_ALIGN) {
		if (memcmp(head, "TBLK", 4) != 0 || le64_get(head + 24) != (uint64_t)offset) continue;
		if (le64_get(head + 16) <= number) break;
		number = le64_get(head + 16);
		if (count < max) at[count] = offset;
		count++;
	}
	assert_int_equal(fclose(file), 0);
	return count;
}

static bool in_doubt(struct fixture *f, uint64_t id)
{
	struct log_group_info info;
	struct log_group *g = log_group_find(f->log, id);
	assert_non_null(g);
	log_group_info(g, &info);
	assert_int_equal(info.in_doubt, log_group_doubt(g)[0] != '\0');
	return info.in_doubt;
}

static uint64_t last_of(struct fixture *f, uint64_t id)
{
	struct log_group_info info;
	log_group_info(log_group_find(f->log, id), &info);
	return info.last_index;
}

static void after(struct io_timer *t);
struct pause {
	struct io_timer timer;
	struct fixture *f;
};
static void after(struct io_timer *t)
{
	struct pause *p = CONTAINER_OF(t, struct pause, timer);
	p->f->done++;
	io_uv_stop(p->f->io);
}

/* Until the closing block is written. */
static void idle(struct fixture *f)
{
	while (!f->log->journal.is_closing_last || f->log->journal.flying) {
		struct pause p = { .timer.fire = after, .f = f };
		io_timer_start(f->io, &p.timer, MILLIS(10));
		run(f);
	}
}

/* Two groups; group 1 has 3 entries in three blocks, group 2 one entry; killed. `closing`: with a closing block at the end. */
static void two_groups(struct fixture *f, bool closing)
{
	struct owner a, b;
	struct waiter w;
	fixture_init(f);
	fixture_open(f);
	owner_make(&a, f, 1);
	owner_make(&b, f, 2);
	for (unsigned i = 0; i < 3; i++) {
		owner_append(&a, 1, 100, &w);
		run(f);
	}
	owner_append(&b, 1, 100, &w);
	run(f);
	if (closing) idle(f);
	fixture_kill(f);
	f->is_quiet = true;
}

/* ---- births ---- */

static void what_is_not_a_store_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	file_write(path_in(&f, "readme"), "mine");
	assert_int_equal(fixture_try_open(&f), ERR_INVALID);
	assert_non_null(strstr(f.why, f.dir));
	assert_int_equal(unlink(path_in(&f, "readme")), 0);
	fixture_open(&f); /* the lock file alone is no content */
	fixture_close(&f);
	fixture_deinit(&f);
}

static void an_interrupted_birth_starts_over(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	fixture_open(&f);
	uint64_t id = log_identity(f.log)->raft_id;
	assert_true(id > 0);
	fixture_close(&f);
	/* As a crash leaves it that came before the last step: the state store is made later. */
	(void)unlink(path_in(&f, "state.lmdb"));
	(void)unlink(path_in(&f, "state.lmdb-lock"));
	file_write(path_in(&f, "birth"), "");
	fixture_open(&f);
	assert_true(log_identity(f.log)->raft_id != id); /* somebody new */
	fixture_close(&f);
	fixture_deinit(&f);
}

static void a_birth_mark_beside_data_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	fixture_init(&f);
	fixture_open(&f);
	owner_make(&o, &f, 1);
	fixture_close(&f);
	file_write(path_in(&f, "birth"), "");
	assert_int_equal(fixture_try_open(&f), ERR_CORRUPT);
	assert_int_equal(unlink(path_in(&f, "birth")), 0);
	fixture_open(&f);
	assert_non_null(log_group_find(f.log, 1));
	fixture_close(&f);
	fixture_deinit(&f);
}

static void bad_options_are_refused(void **state)
{
	(void)state;
	static const struct {
		uint64_t slot_bytes;
		uint32_t slot_count;
		uint64_t entry_bytes;
	} cases[] = { { 65537, 6, 0 }, { 16384, 6, 0 }, { 65536, 3, 0 }, { 65536, 65, 0 }, { 65536, 6, 20000 } };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fixture f;
		fixture_init(&f);
		f.options.slot_bytes = cases[i].slot_bytes;
		f.options.slot_count = cases[i].slot_count;
		f.options.entry_bytes_max = cases[i].entry_bytes;
		assert_int_equal(fixture_try_open(&f), ERR_INVALID);
		assert_true(strlen(f.why) > 20);
		fixture_deinit(&f);
	}
}

static void one_process_at_a_time(void **state)
{
	(void)state;
	struct fixture f, second;
	fixture_init(&f);
	fixture_open(&f);
	second = f;
	second.log = NULL;
	assert_int_equal(fixture_try_open(&second), ERR_LOCKED);
	fixture_close(&f);
	fixture_deinit(&f);
}

static void both_identities_bad(void **state)
{
	(void)state;
	struct fixture f;
	two_groups(&f, true);
	file_flip(path_in(&f, "identity.0"), 40);
	fixture_open(&f); /* one is enough, and mends the other */
	fixture_close(&f);
	file_flip(path_in(&f, "identity.1"), 40);
	fixture_open(&f);
	fixture_close(&f);
	file_flip(path_in(&f, "identity.0"), 40);
	file_flip(path_in(&f, "identity.1"), 80);
	assert_int_equal(fixture_try_open(&f), ERR_CORRUPT);
	assert_non_null(strstr(f.why, "identity"));
	fixture_deinit(&f);
}

/* S20: a block whose head is whole and says that a later binary wrote it. */
static void a_higher_level_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	struct identity id;
	bool repaired;
	two_groups(&f, true);
	assert_int_equal(io_uv_new(&f.io), OK);
	assert_int_equal(identity_load(f.io, f.dir, &id, &repaired), OK);
	io_uv_free(f.io);
	struct block_key key = { .use = 1 };
	memcpy(key.secret, id.secret, sizeof key.secret);
	uint8_t head[BLOCK_HEAD_BYTES];
	struct block_head h;
	FILE *file = fopen(path_in(&f, "journal/00"), "r+");
	assert_non_null(file);
	assert_int_equal(fread(head, sizeof head, 1, file), 1);
	assert_int_equal(block_head_decode(&key, 0, head, &h), OK);
	h.level = 2;
	block_head_encode(&key, &h, head);
	rewind(file);
	assert_int_equal(fwrite(head, sizeof head, 1, file), 1);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(fixture_try_open(&f), ERR_FORMAT);
	assert_non_null(strstr(f.why, "level"));
	fixture_deinit(&f);
}

/* ---- torn and damaged (S6) ---- */

static void the_last_block_torn_is_cut(void **state)
{
	(void)state;
	struct fixture f;
	long at[32];
	two_groups(&f, false);
	unsigned count = blocks_of(&f, "journal/00", at, COUNT_OF(at));
	file_flip(path_in(&f, "journal/00"), at[count - 1] + 100);
	fixture_open(&f);
	assert_false(in_doubt(&f, 1));
	assert_false(in_doubt(&f, 2)); /* the window that docs/STORAGE.md names: it cannot be told from a crash */
	assert_int_equal(last_of(&f, 1), 3);
	assert_int_equal(last_of(&f, 2), 0);
	fixture_close(&f);
	fixture_deinit(&f);
}

static void with_a_closing_block_it_is_damage(void **state)
{
	(void)state;
	struct fixture f;
	long at[32];
	two_groups(&f, true);
	unsigned count = blocks_of(&f, "journal/00", at, COUNT_OF(at));
	file_flip(path_in(&f, "journal/00"), at[count - 2] + 200); /* a body */
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
	fixture_close(&f);
	fixture_deinit(&f);
}

/* The end of a doubt rots; the table of the next use, written behind it, says that the group is whole. */
static void a_later_table_knows_that_a_doubt_has_ended(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w;
	long at[32];
	two_groups(&f, true);
	unsigned count = blocks_of(&f, "journal/00", at, COUNT_OF(at));
	file_flip(path_in(&f, "journal/00"), at[count - 2] + 200);
	fixture_open(&f);
	assert_true(in_doubt(&f, 2));
	log_doubt_end(log_group_find(f.log, 2), 7, 42, wait_on(&w, &f));
	run(&f);
	count = blocks_of(&f, "journal/00", at, COUNT_OF(at));
	settle(&f); /* begins the next use */
	assert_int_equal(f.log->journal.use, 2);
	fixture_kill(&f);
	file_flip(path_in(&f, "journal/00"), at[count - 1] + BLOCK_HEAD_BYTES + 20);
	fixture_open(&f);
	assert_false(in_doubt(&f, 2));
	fixture_close(&f);
	fixture_deinit(&f);
}

/* Whatever bit of the head of a block in the middle: its groups are known from the next one's list. */
static void a_bad_head_is_named_by_its_successor(void **state)
{
	(void)state;
	for (long byte = 0; byte < BLOCK_HEAD_BYTES; byte += 3) {
		struct fixture f;
		long at[32];
		two_groups(&f, true);
		unsigned count = blocks_of(&f, "journal/00", at, COUNT_OF(at));
		file_flip(path_in(&f, "journal/00"), at[count - 2] + byte);
		fixture_open(&f);
		assert_false(in_doubt(&f, 1));
		assert_true(in_doubt(&f, 2));
		assert_int_equal(last_of(&f, 1), 3);
		assert_int_equal(last_of(&f, 2), 1); /* the entry itself is whole, and kept */
		fixture_close(&f);
		fixture_deinit(&f);
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
	fixture_init(&f);
	fixture_open(&f);
	owner_make(&o, &f, 1);
	log_vote(o.g, 1, 5, wait_on(&w, &f));
	run(&f);
	unsigned before = blocks_of(&f, "journal/00", at, COUNT_OF(at));
	owner_append(&o, 1, 100, &w);
	run(&f);
	log_vote(o.g, 2, 6, wait_on(&w, &f));
	run(&f);
	fixture_kill(&f);
	f.is_quiet = true;
	/* The vote of term 1 rots; the one of term 2 and the entry are behind it. */
	file_flip(path_in(&f, "journal/00"), at[before - 1] + 90);
	fixture_open(&f);
	assert_false(in_doubt(&f, 1));
	assert_int_equal(last_of(&f, 1), 1);
	fixture_close(&f);
	fixture_deinit(&f);
}

/* An entry in the middle is gone: what is before it is the log, what is behind it stays readable. */
static void a_gap_strands_what_is_behind_it(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	long at[32];
	two_groups(&f, true);
	unsigned count = blocks_of(&f, "journal/00", at, COUNT_OF(at));
	/* Table, two MAKEs, entries 1 2 3 of group 1, entry of group 2, closing: entry 2 it is. */
	file_flip(path_in(&f, "journal/00"), at[count - 4] + 180);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1));
	assert_int_equal(last_of(&f, 1), 1);
	owner_attach(&o, &f, 1);
	assert_int_equal(read_and_check(&o, 1, 3), 2);
	/* It goes on where its log ends. */
	struct waiter w;
	owner_append(&o, 1, 100, &w);
	run(&f);
	assert_int_equal(last_of(&f, 1), 2);
	assert_int_equal(read_and_check(&o, 1, 2), 2);
	fixture_kill(&f);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1));
	assert_int_equal(last_of(&f, 1), 2);
	fixture_close(&f);
	fixture_deinit(&f);
}

/* Flips a bit in the body of this entry, wherever it lies in the journal. */
static void entry_flip(const struct fixture *f, uint64_t group, uint64_t index)
{
	uint8_t bytes[64 * 1024], want[16];
	unsigned found = 0;
	le64_put(want, body_value(group, index));
	le64_put(want + 8, body_value(group, index));
	for (uint32_t k = 0; k < f->options.slot_count; k++) {
		char name[32];
		(void)snprintf(name, sizeof name, "journal/%02u", k);
		FILE *file = fopen(path_in(f, name), "r");
		assert_non_null(file);
		size_t n = fread(bytes, 1, sizeof bytes, file), at = 0;
		assert_int_equal(fclose(file), 0);
		while (at + sizeof want <= n && memcmp(bytes + at, want, sizeof want) != 0) at++;
		if (at + sizeof want > n) continue;
		file_flip(path_in(f, name), (long)at);
		found++;
	}
	assert_true(found > 0);
}

/* Entry 1 is settled; the state is that of 2, which lies in the journal with 3 and 4; killed. */
static void state_ahead_of_segments(struct fixture *f)
{
	struct owner o;
	struct waiter settled;
	fixture_init(f);
	fixture_open(f);
	owner_make(&o, f, 1);
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
	fixture_close(&f);
	fixture_deinit(&f);
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
	owner_append(&o, 2, 100, &w);
	run(&f);
	while (log_admit(f.log, LOG_ADMIT_GROWS, BIG + KIB) == OK) {
		owner_append(&o, 1, BIG, &w);
		run(&f);
	}
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
	fixture_close(&f);
	fixture_deinit(&f);
}

/* S7: a leader had no more than what is before the gap; what the damage took behind it is not missed again by the next start. */
static void a_doubt_ends_with_the_log_it_had(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	long at[32];
	two_groups(&f, true);
	unsigned count = blocks_of(&f, "journal/00", at, COUNT_OF(at));
	file_flip(path_in(&f, "journal/00"), at[count - 4] + 180);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1));
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
	fixture_close(&f);
	fixture_deinit(&f);
}

/* S7, S18: a GONE that is not durable ends nothing; the group is back with its doubt. */
static void a_doubt_outlives_a_gone_that_was_lost(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w;
	long at[32];
	two_groups(&f, true);
	unsigned count = blocks_of(&f, "journal/00", at, COUNT_OF(at));
	file_flip(path_in(&f, "journal/00"), at[count - 4] + 180);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1));
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
	fixture_close(&f);
	fixture_deinit(&f);
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
	struct waiter w;
	fixture_init(&f);
	fixture_open(&f);
	owner_make(&o, &f, 1);
	owner_append(&o, 1, 6000, &w);
	run(&f);
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

/* ---- slots, segments, state store ---- */

static void a_slot_that_vanished_doubts_all(void **state)
{
	(void)state;
	static const char *const slots[] = { "journal/00", "journal/01" };
	for (size_t i = 0; i < COUNT_OF(slots); i++) {
		struct fixture f;
		two_groups(&f, true);
		assert_int_equal(unlink(path_in(&f, slots[i])), 0);
		fixture_open(&f);
		if (i == 1) {
			/* It would have been the next one: it may have been the newest. */
			assert_true(in_doubt(&f, 1));
			assert_int_equal(last_of(&f, 1), 3);
		} else {
			assert_null(log_group_find(f.log, 1)); /* nothing is left that knows of it */
		}
		fixture_close(&f);
		fixture_deinit(&f);
	}
}

static struct log_group *make_now(struct fixture *f, uint64_t id)
{
	struct waiter w;
	struct log_group *g;
	assert_int_equal(log_group_make(f->log, id, SLICE("conf"), wait_on(&w, f), &g), OK);
	run(f);
	return g;
}

/* S7, S18: a slot takes the records that made groups with it. Whoever makes them again may not believe that they are new. */
static void a_group_that_vanished_is_made_in_doubt(void **state)
{
	(void)state;
	struct fixture f;
	struct waiter w;
	two_groups(&f, true);
	assert_int_equal(unlink(path_in(&f, "journal/00")), 0);
	for (unsigned start = 0; start < 2; start++) {
		fixture_open(&f);
		assert_null(log_group_find(f.log, 1));
		assert_true(log_lacks_groups(f.log));
		fixture_close(&f);
	}
	fixture_open(&f);
	(void)make_now(&f, 1);
	assert_true(in_doubt(&f, 1));
	log_groups_complete(f.log, wait_on(&w, &f));
	run(&f);
	assert_false(log_lacks_groups(f.log));
	(void)make_now(&f, 7);
	assert_false(in_doubt(&f, 7));
	fixture_close(&f);
	fixture_open(&f);
	assert_false(log_lacks_groups(f.log));
	assert_true(in_doubt(&f, 1));
	assert_false(in_doubt(&f, 7));
	fixture_close(&f);
	fixture_deinit(&f);
}

static void a_slot_that_is_not_needed_may_vanish(void **state)
{
	(void)state;
	struct fixture f;
	two_groups(&f, true);
	assert_int_equal(unlink(path_in(&f, "journal/04")), 0);
	fixture_open(&f);
	assert_false(in_doubt(&f, 1));
	fixture_close(&f);
	struct stat st;
	assert_int_equal(stat(path_in(&f, "journal/04"), &st), 0);
	assert_int_equal(st.st_size, 65536);
	fixture_deinit(&f);
}

static void settled_groups(struct fixture *f)
{
	struct owner a, b;
	struct waiter w;
	fixture_init(f);
	fixture_open(f);
	owner_make(&a, f, 1);
	owner_make(&b, f, 2);
	owner_append(&a, 20, 500, &w);
	run(f);
	owner_append(&b, 20, 500, &w);
	run(f);
	owner_apply(&a);
	owner_apply(&b);
	settle(f);
	settle(f);
	fixture_kill(f);
	f->is_quiet = true;
}

static void a_segment_that_vanished_doubts_its_group(void **state)
{
	(void)state;
	struct fixture f;
	struct log_group_info info;
	settled_groups(&f);
	assert_int_equal(unlink(path_in(&f, "groups/0000000000000001/00000001/0000000000000001.seg")), 0);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1));
	assert_false(in_doubt(&f, 2));
	log_group_info(log_group_find(f.log, 1), &info);
	assert_int_equal(info.damaged_from, 1);
	assert_int_equal(info.damaged_to, 20);
	assert_int_equal(info.contiguous_from, 21);
	assert_int_equal(info.state_index, 20);
	fixture_close(&f);
	fixture_deinit(&f);
}

static void a_state_store_that_vanished_doubts_all(void **state)
{
	(void)state;
	struct fixture f;
	settled_groups(&f);
	assert_int_equal(unlink(path_in(&f, "state.lmdb")), 0);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1));
	assert_true(in_doubt(&f, 2));
	fixture_kill(&f);
	fixture_open(&f); /* a fresh one is there now; that it is not the old one is not forgotten */
	assert_true(in_doubt(&f, 1));
	assert_true(in_doubt(&f, 2));
	fixture_close(&f);
	fixture_deinit(&f);
}

/* What the loss of the state store did is over with the doubt, also when the next start comes before the next round. */
static void a_state_store_is_lost_only_once(void **state)
{
	(void)state;
	struct fixture f;
	struct owner o;
	struct waiter w;
	settled_groups(&f);
	fixture_open(&f);
	owner_make(&o, &f, 3);
	fixture_kill(&f);
	assert_int_equal(unlink(path_in(&f, "state.lmdb")), 0);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1) && in_doubt(&f, 2) && in_doubt(&f, 3));
	log_doubt_end(log_group_find(f.log, 3), 7, 42, wait_on(&w, &f));
	run(&f);
	fixture_kill(&f);
	fixture_open(&f);
	assert_true(in_doubt(&f, 1) && in_doubt(&f, 2));
	assert_false(in_doubt(&f, 3));
	fixture_close(&f);
	fixture_deinit(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_a_store_is_refused),
		cmocka_unit_test(an_interrupted_birth_starts_over),
		cmocka_unit_test(a_birth_mark_beside_data_is_refused),
		cmocka_unit_test(bad_options_are_refused),
		cmocka_unit_test(one_process_at_a_time),
		cmocka_unit_test(both_identities_bad),
		cmocka_unit_test(a_higher_level_is_refused),
		cmocka_unit_test(the_last_block_torn_is_cut),
		cmocka_unit_test(with_a_closing_block_it_is_damage),
		cmocka_unit_test(a_later_table_knows_that_a_doubt_has_ended),
		cmocka_unit_test(a_bad_head_is_named_by_its_successor),
		cmocka_unit_test(later_records_end_the_doubt_of_a_start),
		cmocka_unit_test(a_gap_strands_what_is_behind_it),
		cmocka_unit_test(sequences_go_on_from_what_is_here),
		cmocka_unit_test(what_is_stranded_makes_room_for_its_group),
		cmocka_unit_test(a_doubt_ends_with_the_log_it_had),
		cmocka_unit_test(a_doubt_outlives_a_gone_that_was_lost),
		cmocka_unit_test(a_block_may_end_in_a_hole),
		cmocka_unit_test(a_slot_that_vanished_doubts_all),
		cmocka_unit_test(a_group_that_vanished_is_made_in_doubt),
		cmocka_unit_test(a_slot_that_is_not_needed_may_vanish),
		cmocka_unit_test(a_segment_that_vanished_doubts_its_group),
		cmocka_unit_test(a_state_store_that_vanished_doubts_all),
		cmocka_unit_test(a_state_store_is_lost_only_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
