/* SPDX-License-Identifier: Apache-2.0 */
/* log_check on whole, damaged and foreign directories: what it tells, with which ranges, and that it changes nothing. */
#include <sys/stat.h>

#include "log_files.h"

enum { FINDINGS_MAX = 32 };
struct findings {
	struct finding {
		bool is_damage;
		uint64_t group, from, to, offset;
		char file[80], what[120];
	} rows[FINDINGS_MAX];
	unsigned count;
	struct log_check_report report;
	char why[300];
};

static void finding_add(void *arg, const struct log_finding *f)
{
	struct findings *all = arg;
	assert_true(all->count < FINDINGS_MAX);
	struct finding *row = &all->rows[all->count++];
	*row = (struct finding) { f->is_damage, f->group, f->from, f->to, f->offset, "", "" };
	(void)snprintf(row->file, sizeof row->file, "%s", f->file ? f->file : "");
	(void)snprintf(row->what, sizeof row->what, "%s", f->what);
}

static enum err check_dir(const char *dir, struct findings *all)
{
	struct io *io;
	*all = (struct findings) { 0 };
	assert_int_equal(io_uv_new(&io), OK);
	enum err e = log_check(io, dir, &state_lmdb, finding_add, all, &all->report, all->why, sizeof all->why);
	io_uv_free(io);
	unsigned damages = 0;
	for (unsigned i = 0; i < all->count; i++) damages += all->rows[i].is_damage;
	assert_int_equal(damages, all->report.damages);
	assert_int_equal(all->count - damages, all->report.notes);
	return e;
}

/* A finding of that group (any: UINT64_MAX) in a file with that end; NULL when there is none. */
static const struct finding *finding_of(const struct findings *all, uint64_t group, const char *file_end)
{
	for (unsigned i = 0; i < all->count; i++) {
		const struct finding *row = &all->rows[i];
		size_t n = strlen(row->file), m = strlen(file_end);
		if (group != UINT64_MAX && row->group != group) continue;
		if (n >= m && strcmp(row->file + n - m, file_end) == 0) return row;
	}
	return NULL;
}

/* Group 1 has settled entries 1..20 and 21 in the journal, group 2 has 1..3 in the journal. */
static void store_make(struct fixture *f)
{
	struct owner a, b;
	fixture_begin(f, &a, 1);
	owner_append_now(&a, 20, 500);
	owner_apply(&a);
	settle(f);
	settle(f);
	owner_make(&b, f, 2);
	owner_append_now(&b, 3, 100);
	owner_append_now(&a, 1, 100);
	fixture_close(f);
}

#define IDX "groups/0000000000000001/00000001/0000000000000001.idx"

static void a_whole_store_is_whole(void **state)
{
	(void)state;
	struct fixture f;
	struct findings all;
	store_make(&f);
	assert_int_equal(check_dir(f.dir, &all), OK);
	assert_int_equal(all.count, 0);
	assert_int_equal(all.report.groups, 2);
	assert_int_equal(all.report.segments, 1);
	assert_int_equal(all.report.values, 1 + 2); /* the head; of group 1 the meta and its owner's value */
	assert_true(all.report.bytes > 20 * 500);
	fixture_deinit(&f);
}

static void what_is_no_store_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	struct findings all;
	fixture_init(&f);
	assert_int_equal(check_dir("/tmp/thebes-nothing-is-here", &all), ERR_NOT_FOUND);
	assert_true(strlen(all.why) > 0);
	assert_int_equal(check_dir(f.dir, &all), ERR_INVALID);
	assert_non_null(strstr(all.why, "empty"));
	file_write(path_in(&f, "readme"), "");
	assert_int_equal(check_dir(f.dir, &all), ERR_INVALID);
	assert_non_null(strstr(all.why, "identity"));
	fixture_deinit(&f);
}

static void a_store_in_use_is_left_alone(void **state)
{
	(void)state;
	struct fixture f;
	struct findings all;
	fixture_init(&f);
	fixture_open(&f);
	assert_int_equal(check_dir(f.dir, &all), ERR_LOCKED);
	assert_non_null(strstr(all.why, "in use"));
	fixture_close(&f);
	assert_int_equal(check_dir(f.dir, &all), OK);
	fixture_deinit(&f);
}

/* Each damage: where it is told, for which group and entries. */
static void damage_is_told_by_group_and_range(void **state)
{
	(void)state;
	static const struct {
		const char *file;
		long at;
		bool is_damage;
		uint64_t group, from, to;
	} cases[] = {
		{ "identity.0", 40, true, 0, 0, 0 }, { "identity.1", 3000, false, 0, 0, 0 },
		{ FIRST_SEGMENT, 20, false, 1, 0, 0 },      /* the head repeats what the meta says */
		{ FIRST_SEGMENT, 64 + 100, true, 1, 1, 1 }, /* a body */
		{ FIRST_SEGMENT, 64 + 8, true, 1, 1, 1 },   /* the head of an entry: the rows lead behind it */
		{ FIRST_SEGMENT, 64 + 700, true, 1, 2, 2 }, { IDX, 64 + 32 + 3, false, 1, 0, 0 },
		{ "state.lmdb", 10, true, 0, 0, 0 }, /* a meta page */
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fixture f;
		struct findings all;
		store_make(&f);
		file_flip(path_in(&f, cases[i].file), cases[i].at, 0);
		assert_int_equal(check_dir(f.dir, &all), cases[i].is_damage ? ERR_CORRUPT : OK);
		const struct finding *row = finding_of(&all, cases[i].group, cases[i].file);
		assert_non_null(row);
		assert_int_equal(row->is_damage, cases[i].is_damage);
		assert_int_equal(row->from, cases[i].from);
		assert_int_equal(row->to, cases[i].to);
		assert_true(row->offset <= (uint64_t)cases[i].at || row->offset == IDENTITY_BYTES);
		/* Nothing was mended on the way. */
		assert_int_equal(check_dir(f.dir, &all), cases[i].is_damage ? ERR_CORRUPT : OK);
		assert_non_null(finding_of(&all, cases[i].group, cases[i].file));
		fixture_deinit(&f);
	}
}

/* The first frame's place in the block that holds the last entry of group 2: found as replay finds it. */
static long offset_of_entry(const struct fixture *f, const char *slot, uint64_t group, uint64_t index)
{
	char path[200];
	uint8_t *p = mem_alloc(64 * 1024);
	(void)snprintf(path, sizeof path, "%s/%s", f->dir, slot);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	size_t n = fread(p, 1, 64 * 1024, file);
	assert_int_equal(fclose(file), 0);
	long at = -1;
	for (size_t k = 0; k + ENTRY_HEAD_BYTES <= n; k += 8) {
		struct entry_head h;
		if (entry_head_decode(slice_of(p + k, n - k), &h) != OK) continue;
		if (h.kind == ENTRY_COMMAND && h.group == group && h.index == index) at = (long)k;
	}
	mem_free(p);
	return at;
}

static void a_damaged_block_is_told_with_the_entries_it_had(void **state)
{
	(void)state;
	struct fixture f;
	struct findings all;
	const char *slot = NULL;
	long at = -1;
	store_make(&f);
	static const char *const slots[] = { "journal/00", "journal/01", "journal/02", "journal/03" };
	for (size_t i = 0; i < COUNT_OF(slots) && at < 0; i++) at = offset_of_entry(&f, slot = slots[i], 2, 2);
	assert_true(at > 0);
	file_flip(path_in(&f, slot), at + ENTRY_HEAD_BYTES + 40, 0);
	assert_int_equal(check_dir(f.dir, &all), ERR_CORRUPT);
	const struct finding *place = finding_of(&all, 0, slot);
	assert_non_null(place);
	assert_true(place->is_damage && place->offset <= (uint64_t)at);
	bool has_gap = false;
	for (unsigned i = 0; i < all.count; i++) {
		const struct finding *row = &all.rows[i];
		assert_true(row->group != 1);
		has_gap = has_gap || (row->group == 2 && row->from == 2 && row->to == 2);
	}
	assert_true(has_gap);
	fixture_deinit(&f);
}

static void files_that_vanished_are_told(void **state)
{
	(void)state;
	static const struct {
		const char *file;
		enum err result;
	} cases[] = {
		{ "identity.0", ERR_CORRUPT }, { "lock", OK }, /* a copy may lack it */
		{ "state.lmdb", ERR_CORRUPT }, { FIRST_SEGMENT, ERR_CORRUPT },
		{ IDX, OK }, /* made anew from the segment */
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fixture f;
		struct findings all;
		char path[200];
		store_make(&f);
		(void)snprintf(path, sizeof path, "%s/%s", f.dir, cases[i].file);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(check_dir(f.dir, &all), cases[i].result);
		assert_true(strcmp(cases[i].file, "lock") == 0 || finding_of(&all, UINT64_MAX, cases[i].file));
		assert_int_equal(access(path, F_OK), -1); /* not made anew either */
		fixture_deinit(&f);
	}
}

/* What group 1 has under "sum", in every round that the file holds. */
static void flip_values(const char *path)
{
	static const uint8_t key[] = { 0, 0, 0, 0, 0, 0, 0, 1, 1 /* the owner's */, 's', 'u', 'm' };
	uint8_t *bytes = mem_alloc(256 * KIB);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(bytes, 1, 256 * KIB, f);
	assert_int_equal(fclose(f), 0);
	unsigned count = 0;
	for (const uint8_t *p = bytes; (p = memmem(p, n - (size_t)(p - bytes), key, sizeof key)) != NULL; p++, count++)
		file_flip(path, (uint64_t)(p - bytes) + sizeof key + 4 /* its crc */, 0);
	assert_true(count > 0);
	mem_free(bytes);
}

/* As the start itself does: that group has lost its state, the other has not. */
static void a_damaged_value_costs_its_group_alone(void **state)
{
	struct fixture f;
	struct findings all;
	char path[200];
	(void)state;
	store_make(&f);
	(void)snprintf(path, sizeof path, "%s/state.lmdb", f.dir);
	flip_values(path);
	assert_int_equal(check_dir(f.dir, &all), ERR_CORRUPT);
	assert_non_null(finding_of(&all, 0, "state.lmdb"));
	assert_non_null(finding_of(&all, 1, ""));
	assert_null(finding_of(&all, 2, ""));
	fixture_deinit(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_store_is_whole),
		cmocka_unit_test(what_is_no_store_is_refused),
		cmocka_unit_test(a_store_in_use_is_left_alone),
		cmocka_unit_test(damage_is_told_by_group_and_range),
		cmocka_unit_test(a_damaged_block_is_told_with_the_entries_it_had),
		cmocka_unit_test(files_that_vanished_are_told),
		cmocka_unit_test(a_damaged_value_costs_its_group_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
