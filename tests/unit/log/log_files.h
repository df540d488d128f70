/* SPDX-License-Identifier: Apache-2.0 */
/* log_files — hands on the files of a log_fixture, while nobody has them open, and what a start says of its groups. */
#ifndef THEBES_TESTS_LOG_FILES_H
#define THEBES_TESTS_LOG_FILES_H

#include "log_fixture.h"
#include "rot.h"

static inline const char *path_in(const struct fixture *f, const char *name)
{
	static _Thread_local char path[200];
	(void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
	return path;
}

/* Of group 1, in its first incarnation. */
#define FIRST_SEGMENT "groups/0000000000000001/00000001/0000000000000001.seg"

static inline bool is_there(const struct fixture *f, const char *name) { return access(path_in(f, name), F_OK) == 0; }

static inline void file_write(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

/* Offsets of the blocks of a slot's present use, from its start. */
static inline unsigned blocks_of(const struct fixture *f, const char *slot, long *at, unsigned max)
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

/* Flips a bit of the first slot, so many bytes into the block that is the `back`-th from behind. */
static inline void block_flip(const struct fixture *f, unsigned back, long into)
{
	long at[32];
	unsigned count = blocks_of(f, "journal/00", at, COUNT_OF(at));
	assert_in_range(count, back, COUNT_OF(at));
	file_flip(path_in(f, "journal/00"), (uint64_t)(at[count - back] + into), 2);
}

static inline bool in_doubt(struct fixture *f, uint64_t id)
{
	struct log_group_info info;
	struct log_group *g = log_group_find(f->log, id);
	assert_non_null(g);
	log_group_info(g, &info);
	assert_int_equal(info.in_doubt, log_group_doubt(g)[0] != '\0');
	return info.in_doubt;
}

static inline uint64_t last_of(struct fixture *f, uint64_t id)
{
	struct log_group_info info;
	log_group_info(log_group_find(f->log, id), &info);
	return info.last_index;
}

struct pause {
	struct io_timer timer;
	struct fixture *f;
};
static inline void after(struct io_timer *t)
{
	struct pause *p = CONTAINER_OF(t, struct pause, timer);
	p->f->done++;
	io_uv_stop(p->f->io);
}

/* Until the closing block is written. */
static inline void idle(struct fixture *f)
{
	while (!f->log->journal.is_closing_last || f->log->journal.flying) {
		struct pause p = { .timer.fire = after, .f = f };
		io_timer_start(f->io, &p.timer, MILLIS(10));
		run(f);
	}
}

/* Two groups; group 1 has 3 entries in three blocks, group 2 one entry; killed. `closing`: with a closing block at the end. */
static inline void two_groups(struct fixture *f, bool closing)
{
	struct owner a, b;
	fixture_begin(f, &a, 1);
	owner_make(&b, f, 2);
	for (unsigned i = 0; i < 3; i++) owner_append_now(&a, 1, 100);
	owner_append_now(&b, 1, 100);
	if (closing) idle(f);
	fixture_kill(f);
	f->is_quiet = true;
}

/* The same, opened again after entry 2 of group 1 has rotted: the group is in doubt, and entry 3 is stranded behind the gap. */
static inline void two_groups_with_a_gap(struct fixture *f)
{
	two_groups(f, true);
	/* Table, two MAKEs, entries 1 2 3 of group 1, entry of group 2, closing: entry 2 it is. */
	block_flip(f, 4, 180);
	fixture_open(f);
	assert_true(in_doubt(f, 1));
	assert_int_equal(last_of(f, 1), 1);
}

/* Flips a bit in the body of this entry, wherever it lies in the journal. */
static inline void entry_flip(const struct fixture *f, uint64_t group, uint64_t index)
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
		file_flip(path_in(f, name), at, 2);
		found++;
	}
	assert_true(found > 0);
}

#endif
