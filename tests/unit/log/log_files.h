/* SPDX-License-Identifier: Apache-2.0 */
/* log_files — hands on the files of a log_fixture, while nobody has them open, and what a start says of its groups. */
#ifndef THEBES_TESTS_LOG_FILES_H
#define THEBES_TESTS_LOG_FILES_H

#include "log_fixture.h"

static inline const char *path_in(const struct fixture *f, const char *name)
{
	static _Thread_local char path[200];
	(void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
	return path;
}

static inline void file_write(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static inline void file_flip(const char *path, long at)
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
		file_flip(path_in(f, name), (long)at);
		found++;
	}
	assert_true(found > 0);
}

#endif
