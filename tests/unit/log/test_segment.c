/* SPDX-License-Identifier: Apache-2.0 */
/* Segments on a real disk: what was written comes back by index and by sequence, whatever is cut or flipped is found, and what it does not
 * touch is still served. */
#include "rot.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "segment_file.h"
#include "thebes/io_uv.h"

/* ---- a group's entries, in memory and in a directory ---- */

enum { ENTRIES_MAX = 512 };
struct fixture {
	struct io *io;
	char dir[64];
	struct segment_place place;
	struct segment_list list;
	struct test_entry {
		struct entry_head head;
		struct buf bytes;
	} entries[ENTRIES_MAX];
	unsigned count;
	uint64_t seq;
	struct prng rng;
};

static int setup(void **state)
{
	struct fixture *f = NEW(struct fixture);
	strcpy(f->dir, "/tmp/thebes-segment-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(io_uv_new(&f->io), OK);
	struct buf path = { 0 };
	buf_printf(&path, "%s/groups", f->dir);
	assert_int_equal(io_dir_make(f->io, buf_str(&path)), OK);
	buf_deinit(&path);
	f->place = (struct segment_place) { f->dir, 7, 1, 0x1122334455667788 };
	prng_init(&f->rng, 42);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct buf path = { 0 };
	assert_int_equal(segment_dir_remove(f->io, &(struct segment_place) { f->dir, 7, 0, 0 }), OK);
	buf_printf(&path, "%s/groups", f->dir);
	assert_int_equal(io_dir_remove(f->io, buf_str(&path)), OK);
	assert_int_equal(io_dir_remove(f->io, f->dir), OK);
	buf_deinit(&path);
	for (unsigned i = 0; i < f->count; i++) buf_deinit(&f->entries[i].bytes);
	segment_list_deinit(&f->list);
	io_uv_free(f->io);
	mem_free(f);
	return 0;
}

/* Makes the entry of `index`, with a body of random length below body_max. */
static struct test_entry *entry_make(struct fixture *f, uint64_t index, size_t body_max)
{
	assert_true(f->count < ENTRIES_MAX);
	struct test_entry *e = &f->entries[f->count++];
	size_t n = prng_below(&f->rng, body_max);
	uint64_t records = prng_below(&f->rng, 3);
	f->seq += records;
	e->head = (struct entry_head) { .kind = ENTRY_COMMAND,
		.group = 7,
		.index = index,
		.term = 1 + index / 10,
		.commit = index - 1,
		.seq_last = f->seq,
		.record_count = (uint32_t)records };
	uint8_t *p = buf_reserve(&e->bytes, entry_bytes(n));
	memset(p, 0, entry_bytes(n));
	for (size_t i = 0; i < n; i++) p[ENTRY_HEAD_BYTES + i] = (uint8_t)prng_next(&f->rng);
	entry_head_encode(&e->head, slice_of(p + ENTRY_HEAD_BYTES, n), p);
	e->bytes.n = entry_bytes(n);
	return e;
}

static void writer_begin(struct fixture *f, struct segment_writer *w, uint64_t bytes_max)
{
	segment_writer_init(w, f->io, &f->place, bytes_max, &f->list);
}

static void writer_end(struct fixture *f, struct segment_writer *w)
{
	assert_int_equal(segment_writer_sync(w), OK);
	segment_list_deinit(&f->list);
	segment_list_copy(&f->list, &w->list);
	segment_writer_deinit(w);
}

/* One settle round: entries [from, to] in steps of `step`, so that steps above 1 leave holes. */
static void tail_seal(struct fixture *f)
{
	struct segment_writer w;
	writer_begin(f, &w, MIB);
	assert_int_equal(segment_writer_seal(&w), OK);
	writer_end(f, &w);
}

static void round_write(
	struct fixture *f, uint64_t bytes_max, uint64_t from, uint64_t to, uint64_t step, size_t body_max)
{
	struct segment_writer w;
	writer_begin(f, &w, bytes_max);
	for (uint64_t i = from; i <= to; i += step) {
		struct test_entry *e = entry_make(f, i, body_max);
		assert_int_equal(segment_writer_add(&w, &e->head, buf_slice(&e->bytes)), OK);
	}
	assert_int_equal(w.bad.from, 0);
	writer_end(f, &w);
}

/* The first entry of the fixture with an index of at least that; NULL. */
static const struct test_entry *entry_from(const struct fixture *f, uint64_t index)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->entries[i].head.index >= index) return &f->entries[i];
	return NULL;
}

static const struct test_entry *entry_from_seq(const struct fixture *f, uint64_t seq)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->entries[i].head.seq_last >= seq) return &f->entries[i];
	return NULL;
}

/* Reads the one entry of this index; ERR_COMPACTED in a hole. */
static enum err read_one(struct fixture *f, uint64_t index, struct buf *out, bool *index_is_bad)
{
	struct segment_reader r;
	uint32_t at = segment_list_find(&f->list, index);
	if (at == f->list.count) return ERR_COMPACTED;
	uint64_t next = 0;
	enum err e = segment_open(&r, f->io, &f->place, &f->list.rows[at]);
	if (e == OK) e = segment_read(&r, index, index, 1, false, out, &next);
	if (e == OK && next == index) e = ERR_COMPACTED;
	if (e == ERR_CORRUPT) assert_true(r.bad.from <= index && index <= r.bad.to);
	if (index_is_bad) *index_is_bad = r.index_is_bad;
	segment_close(&r);
	return e;
}

/* Every index and sequence gives what the fixture has, and the rows of the .idx serve. */
static void assert_all_readable(struct fixture *f)
{
	struct buf got = { 0 };
	uint64_t last = f->entries[f->count - 1].head.index;
	for (uint64_t i = 1; i <= last; i++) {
		const struct test_entry *want = entry_from(f, i);
		bool index_is_bad;
		buf_clear(&got);
		enum err e = read_one(f, i, &got, &index_is_bad);
		assert_false(index_is_bad);
		assert_int_equal(e, want->head.index == i ? OK : ERR_COMPACTED);
		if (e == OK) assert_true(slice_eq(buf_slice(&got), buf_slice(&want->bytes)));
	}
	for (uint64_t seq = 1; seq <= f->seq; seq++) {
		struct segment_reader r;
		buf_clear(&got);
		assert_int_equal(
			segment_open(&r, f->io, &f->place, &f->list.rows[segment_list_find_seq(&f->list, seq)]), OK);
		assert_int_equal(segment_read_seq(&r, seq, &got), OK);
		assert_false(r.index_is_bad);
		assert_true(slice_eq(buf_slice(&got), buf_slice(&entry_from_seq(f, seq)->bytes)));
		segment_close(&r);
	}
	buf_deinit(&got);
}

static void damage_count(void *arg, const struct segment_damage *d)
{
	assert_non_null(d->what);
	++*(unsigned *)arg;
}

static unsigned verify_count(struct fixture *f, const struct segment_info *s)
{
	struct segment_reader r;
	unsigned said = 0;
	assert_int_equal(segment_open(&r, f->io, &f->place, s), OK);
	assert_int_equal(segment_verify(&r, damage_count, &said), OK);
	segment_close(&r);
	return said;
}

static void assert_all_verified(struct fixture *f)
{
	for (uint32_t i = 0; i < f->list.count; i++) assert_int_equal(verify_count(f, &f->list.rows[i]), 0);
}

/* ---- writing and reading ---- */

static void entries_come_back(void **state)
{
	struct fixture *f = *state;
	round_write(f, 16 * KIB, 1, 40, 1, 500);
	round_write(f, 16 * KIB, 41, 41, 1, 10);
	round_write(f, 16 * KIB, 42, 160, 1, 900);
	assert_true(f->list.count > 3);
	for (uint32_t i = 0; i + 1 < f->list.count; i++) {
		assert_int_equal(f->list.rows[i].flags, SEGMENT_SEALED);
		assert_int_equal(f->list.rows[i].last_index + 1, f->list.rows[i + 1].first_index);
		assert_true(f->list.rows[i].bytes <= 16 * KIB);
	}
	assert_int_equal(f->list.rows[f->list.count - 1].flags, 0);
	assert_all_readable(f);
	assert_all_verified(f);
}

static void holes_are_holes(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 3, 60, 3, 200);
	round_write(f, MIB, 64, 90, 2, 5000);
	assert_all_readable(f);
	assert_all_verified(f);

	/* With `holes` a read goes over them, without it stops before the first. */
	struct segment_reader r;
	struct buf got = { 0 };
	uint64_t next = 0;
	assert_int_equal(segment_open(&r, f->io, &f->place, &f->list.rows[0]), OK);
	assert_int_equal(segment_read(&r, 1, 65, UINT64_MAX, true, &got, &next), OK);
	assert_int_equal(next, 66);
	struct slice in = buf_slice(&got), body;
	struct entry_head h;
	unsigned count = 0;
	while (entry_next(&in, &h, &body) == OK) assert_int_equal(h.index, f->entries[count++].head.index);
	assert_int_equal(count, 21);
	buf_clear(&got);
	assert_int_equal(segment_read(&r, 66, UINT64_MAX - 1, UINT64_MAX, false, &got, &next), OK);
	assert_int_equal(next, 67);
	assert_int_equal(segment_read(&r, 4, 5, UINT64_MAX, true, &got, &next), OK);
	assert_int_equal(next, 6);
	assert_int_equal(segment_read(&r, 1, 2, 100, false, &got, &next), OK);
	assert_int_equal(next, 1);
	segment_close(&r);
	buf_deinit(&got);
}

static void reads_are_bounded(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 1, 100, 1, 300);
	struct segment_reader r;
	assert_int_equal(segment_open(&r, f->io, &f->place, &f->list.rows[0]), OK);
	struct buf got = { 0 };
	uint64_t next = 1, at = 1;
	while (at <= 100) {
		buf_clear(&got);
		assert_int_equal(segment_read(&r, at, 100, 1000, false, &got, &next), OK);
		assert_true(next > at);
		assert_true(got.n <= 1000);
		at = next;
	}
	buf_clear(&got);
	assert_int_equal(segment_read(&r, 5, 100, 1, false, &got, &next), OK);
	assert_int_equal(next, 6);
	segment_close(&r);
	buf_deinit(&got);
}

static void large_entries_come_back(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 1, 8, 1, 700 * KIB);
	assert_true(f->list.count >= 2);
	assert_all_readable(f);
	assert_all_verified(f);
}

/* More rows than one page of the .idx holds: each look-up goes to other pages, and none needs a scan. */
static void long_segments_are_searched(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 1, 250, 1, 40);
	round_write(f, MIB, 251, 500, 1, 40);
	assert_int_equal(f->list.count, 1);
	assert_all_readable(f);
	struct segment_reader r;
	struct buf got = { 0 };
	uint64_t next = 0;
	assert_int_equal(segment_open(&r, f->io, &f->place, &f->list.rows[0]), OK);
	for (uint64_t index = 1; index <= 500; index += 7) {
		assert_int_equal(segment_read(&r, 501 - index, 501 - index, 1, false, &got, &next), OK);
		assert_int_equal(segment_read(&r, index, index, 1, false, &got, &next), OK);
	}
	assert_false(r.index_is_bad);
	segment_close(&r);
	buf_deinit(&got);
}

static bool each_count(void *arg, const struct entry_head *h, struct slice entry)
{
	uint64_t *next = arg;
	assert_int_equal(h->index, *next);
	assert_int_equal(entry.n, entry_bytes(h->body_bytes));
	++*next;
	return true;
}

static void walk_begins_anywhere(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 1, 30, 1, 300);
	struct segment_reader r;
	assert_int_equal(segment_open(&r, f->io, &f->place, &f->list.rows[0]), OK);
	for (uint64_t from = 1; from <= 31; from++) {
		uint64_t next = from;
		assert_int_equal(segment_each(&r, from, each_count, &next), OK);
		assert_int_equal(next, 31);
	}
	segment_close(&r);
}

/* No round writes into a sector that an earlier one wrote (S2). */
static void rounds_keep_to_their_sectors(void **state)
{
	struct fixture *f = *state;
	uint64_t end = 0;
	for (uint64_t i = 1; i <= 10; i++) {
		struct segment_writer w;
		writer_begin(f, &w, MIB);
		struct test_entry *e = entry_make(f, i, 3000);
		assert_int_equal(segment_writer_add(&w, &e->head, buf_slice(&e->bytes)), OK);
		writer_end(f, &w);
		uint64_t begin = f->list.rows[0].bytes - e->bytes.n;
		assert_int_equal(begin, i == 1 ? SEGMENT_HEAD_BYTES : round_up(end, SEGMENT_ALIGN));
		end = f->list.rows[0].bytes;
	}
	assert_all_readable(f);
	assert_all_verified(f);
}

/* A round that failed, or that the state forgot, leaves bytes and files behind: the next one goes over them. */
static void leftovers_are_written_over(void **state)
{
	struct fixture *f = *state;
	round_write(f, 8 * KIB, 1, 10, 1, 300);
	unsigned count = f->count;
	uint64_t seq = f->seq;
	struct segment_list before = { 0 };
	segment_list_copy(&before, &f->list);
	round_write(f, 8 * KIB, 11, 80, 1, 300);
	assert_true(f->list.count > before.count);
	segment_list_deinit(&f->list);
	f->list = before;
	while (f->count > count) {
		buf_deinit(&f->entries[--f->count].bytes);
		f->entries[f->count] = (struct test_entry) { 0 };
	}
	f->seq = seq;
	assert_all_readable(f);
	round_write(f, 8 * KIB, 11, 60, 2, 300);
	assert_all_readable(f);
	assert_all_verified(f);
}

/* ---- damage ---- */

static void file_path(struct fixture *f, const struct segment_info *s, enum segment_file kind, struct buf *out)
{
	(void)segment_path(&f->place, s, kind, out);
}

/* What a flip in the segment's byte `at` must do: everything whose bytes it does not touch is served; what it touches is refused. Only a
 * hole beside damage may be refused too, because nothing proves any more that it is one. */
static void assert_only_touched_is_refused(struct fixture *f, uint64_t at)
{
	struct buf got = { 0 };
	uint64_t last = f->entries[f->count - 1].head.index;
	for (uint64_t i = 1; i <= last; i++) {
		const struct test_entry *want = entry_from(f, i);
		buf_clear(&got);
		enum err e = read_one(f, i, &got, NULL);
		if (want->head.index != i) {
			assert_true(e == ERR_COMPACTED || e == ERR_CORRUPT);
			continue;
		}
		if (e == OK) {
			assert_true(slice_eq(buf_slice(&got), buf_slice(&want->bytes)));
			continue;
		}
		assert_int_equal(e, ERR_CORRUPT);
		/* Refused: then the flip lies in this very entry. */
		uint64_t begin = SEGMENT_HEAD_BYTES;
		for (unsigned k = 0; k < f->count && f->entries[k].head.index < i; k++) begin += f->entries[k].bytes.n;
		assert_true(begin <= at && at < begin + want->bytes.n);
	}
	buf_deinit(&got);
}

static void flips_of_a_segment(struct fixture *f)
{
	struct buf path = { 0 };
	const struct segment_info *s = &f->list.rows[0];
	file_path(f, s, SEGMENT_FILE_SEG, &path);
	for (uint64_t at = 0; at < s->bytes; at++) {
		unsigned bit = (unsigned)prng_below(&f->rng, 8);
		file_flip(buf_str(&path), at, bit);
		assert_only_touched_is_refused(f, at);
		assert_true(verify_count(f, s) > 0);
		file_flip(buf_str(&path), at, bit);
	}
	assert_all_readable(f);
	assert_all_verified(f);
	buf_deinit(&path);
}

static void every_flip_of_a_tail_is_found(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 1, 14, 1, 60);
	flips_of_a_segment(f);
}

static void every_flip_of_a_sealed_segment_is_found(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 2, 24, 2, 60);
	tail_seal(f);
	assert_int_equal(f->list.rows[0].flags, SEGMENT_SEALED);
	flips_of_a_segment(f);
}

/* The zeros between two rounds hold nothing: damage there costs no entry, neither now nor when the .idx is written anew. */
static void flips_between_rounds_are_harmless(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 1, 6, 1, 60);
	uint64_t end = f->list.rows[0].bytes;
	round_write(f, MIB, 7, 12, 1, 60);
	tail_seal(f);
	struct buf path = { 0 }, got = { 0 };
	const struct segment_info *s = &f->list.rows[0];
	file_path(f, s, SEGMENT_FILE_SEG, &path);
	assert_true(end + 80 < SEGMENT_ALIGN);
	for (uint64_t at = end; at < end + 80; at++) {
		struct segment_range bad;
		file_flip(buf_str(&path), at, at % 8);
		for (uint64_t i = 1; i <= s->last_index; i++) {
			buf_clear(&got);
			assert_int_equal(read_one(f, i, &got, NULL), OK);
			assert_true(slice_eq(buf_slice(&got), buf_slice(&entry_from(f, i)->bytes)));
		}
		assert_int_equal(verify_count(f, s), 1);
		assert_int_equal(segment_index_rebuild(f->io, &f->place, s, &bad), OK);
		file_flip(buf_str(&path), at, at % 8);
	}
	assert_all_readable(f);
	assert_all_verified(f);
	buf_deinit(&path);
	buf_deinit(&got);
}

static void file_zero(const char *path, uint64_t from, uint64_t to)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	for (; from < to; from++) assert_int_equal(pwrite(fd, "", 1, (off_t)from), 1);
	assert_int_equal(close(fd), 0);
}

static void damage_range(void *arg, const struct segment_damage *d)
{
	if (d->range.from) *(struct segment_range *)arg = d->range;
}

static bool each_any(void *arg, const struct entry_head *h, struct slice entry)
{
	(void)h, (void)entry;
	++*(unsigned *)arg;
	return true;
}

static void zeroed_sixth_is_missed(struct fixture *f, const struct segment_info *s)
{
	struct segment_reader r;
	struct segment_range bad = { 0 };
	struct buf got = { 0 };
	uint64_t next = 0;
	unsigned count = 0;
	assert_int_equal(segment_open(&r, f->io, &f->place, s), OK);
	assert_int_equal(segment_verify(&r, damage_range, &bad), OK);
	assert_true(bad.from <= 6 && bad.to >= 6);
	assert_int_equal(segment_read(&r, 1, 9, UINT64_MAX, true, &got, &next), OK);
	assert_int_equal(next, 6);
	assert_int_equal(segment_each(&r, 0, each_any, &count), ERR_CORRUPT);
	assert_true(r.bad.from == 6 && count == 5);
	segment_close(&r);
	buf_deinit(&got);
}

/* Where a round ends and what follows is dead, there are zeros and nothing is missing: with the .idx and without. */
static void holes_between_rounds_are_holes(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 1, 3, 1, 60);
	round_write(f, MIB, 7, 9, 1, 60);
	tail_seal(f);
	struct buf path = { 0 }, got = { 0 };
	const struct segment_info *s = &f->list.rows[0];
	file_path(f, s, SEGMENT_FILE_IDX, &path);
	for (unsigned i = 0; i < 2; i++) {
		struct segment_reader r;
		struct segment_range bad = { 0 };
		uint64_t next = 0;
		unsigned count = 0;
		buf_clear(&got);
		assert_int_equal(segment_open(&r, f->io, &f->place, s), OK);
		assert_int_equal(segment_verify(&r, damage_range, &bad), OK);
		assert_int_equal(bad.from, 0);
		assert_int_equal(segment_read(&r, 1, 9, UINT64_MAX, true, &got, &next), OK);
		assert_int_equal(segment_read(&r, next, 9, UINT64_MAX, true, &got, &next), OK);
		assert_int_equal(next, 10);
		assert_int_equal(segment_each(&r, 0, each_any, &count), OK);
		assert_int_equal(count, 6);
		segment_close(&r);
		assert_int_equal(read_one(f, 5, &got, NULL), ERR_COMPACTED);
		if (i == 0) assert_int_equal(unlink(buf_str(&path)), 0);
	}
	assert_int_equal(segment_index_rebuild(f->io, &f->place, s, &(struct segment_range) { 0 }), OK);
	buf_deinit(&path);
	buf_deinit(&got);
}

/* Zeroes over the last entry of a round, and up to the next one, look like the end of the round. They are damage all the same, of that entry. */
static void zeroes_over_an_entry_are_damage(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 1, 3, 1, 60);
	round_write(f, MIB, 4, 6, 1, 60);
	uint64_t end = f->list.rows[0].bytes, last = entry_from(f, 6)->bytes.n;
	round_write(f, MIB, 7, 9, 1, 60);
	tail_seal(f);
	struct buf path = { 0 }, got = { 0 };
	const struct segment_info *s = &f->list.rows[0];
	struct segment_range bad = { 0 };
	file_path(f, s, SEGMENT_FILE_SEG, &path);
	file_zero(buf_str(&path), end - last, round_up(end, SEGMENT_ALIGN));
	zeroed_sixth_is_missed(f, s);
	for (uint64_t i = 1; i <= 9; i++) {
		buf_clear(&got);
		assert_int_equal(read_one(f, i, &got, NULL), i == 6 ? ERR_CORRUPT : OK);
	}
	assert_int_equal(segment_index_rebuild(f->io, &f->place, s, &bad), ERR_CORRUPT);
	assert_true(bad.from == 6 && bad.to == 6);
	/* Without the .idx it is the same. */
	file_path(f, s, SEGMENT_FILE_IDX, &path);
	assert_int_equal(unlink(buf_str(&path)), 0);
	zeroed_sixth_is_missed(f, s);
	for (uint64_t i = 1; i <= 9; i++) {
		buf_clear(&got);
		assert_int_equal(read_one(f, i, &got, NULL), i == 6 ? ERR_CORRUPT : OK);
	}
	buf_deinit(&path);
	buf_deinit(&got);
}

static void every_flip_of_an_index_is_harmless(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 1, 20, 2, 60);
	round_write(f, MIB, 22, 23, 1, 60);
	tail_seal(f);
	struct buf path = { 0 }, got = { 0 };
	const struct segment_info *s = &f->list.rows[0];
	file_path(f, s, SEGMENT_FILE_IDX, &path);
	for (uint64_t at = 0; at < segment_row_at(s->entry_count); at++) {
		file_flip(buf_str(&path), at, at % 8);
		for (uint64_t i = 1; i <= s->last_index; i++) {
			buf_clear(&got);
			const struct test_entry *want = entry_from(f, i);
			enum err e = read_one(f, i, &got, NULL);
			assert_int_equal(e, want->head.index == i ? OK : ERR_COMPACTED);
			if (e == OK) assert_true(slice_eq(buf_slice(&got), buf_slice(&want->bytes)));
		}
		assert_true(verify_count(f, s) > 0);
		struct segment_range bad;
		if (at % 16 == 0) {
			assert_int_equal(segment_index_rebuild(f->io, &f->place, s, &bad), OK);
			assert_all_readable(f);
		} else {
			file_flip(buf_str(&path), at, at % 8);
		}
	}
	assert_all_verified(f);
	buf_deinit(&path);
	buf_deinit(&got);
}

static void cuts_are_found(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 1, 30, 1, 200);
	struct buf seg = { 0 }, idx = { 0 };
	const struct segment_info *s = &f->list.rows[0];
	file_path(f, s, SEGMENT_FILE_SEG, &seg);
	file_path(f, s, SEGMENT_FILE_IDX, &idx);
	/* An index that is cut, from none at all to all but a byte of its last row, is a slow one. */
	for (uint64_t n = segment_row_at(s->entry_count); n-- > 0;) {
		assert_int_equal(truncate(buf_str(&idx), (off_t)n), 0);
		struct buf got = { 0 };
		assert_int_equal(read_one(f, 30, &got, NULL), OK);
		assert_true(slice_eq(buf_slice(&got), buf_slice(&f->entries[29].bytes)));
		assert_true(verify_count(f, s) > 0);
		buf_deinit(&got);
	}
	/* The next round mends it. */
	round_write(f, MIB, 31, 40, 1, 200);
	assert_all_readable(f);
	assert_all_verified(f);
	s = &f->list.rows[0];
	for (uint64_t n = s->bytes; n-- > 0; n -= n % 13 < n ? n % 13 : 0) {
		struct segment_reader r;
		assert_int_equal(truncate(buf_str(&seg), (off_t)n), 0);
		/* What lies before the cut is served, what lies behind it is damage. */
		assert_int_equal(segment_open(&r, f->io, &f->place, s), OK);
		struct buf got = { 0 };
		uint64_t next = 0, at = 1;
		while (segment_read(&r, at, 40, 1, false, &got, &next) == OK) at = next;
		assert_int_equal(r.bad.from, at);
		assert_int_equal(r.bad.to, 40);
		assert_true(got.n + SEGMENT_HEAD_BYTES <= n || at == 1);
		assert_true(at <= 40);
		buf_deinit(&got);
		segment_close(&r);
	}
	buf_deinit(&seg);
	buf_deinit(&idx);
}

static void lost_collect(void *arg, const struct segment_info *s, const char *what)
{
	buf_printf(arg, "%llu %s;", (unsigned long long)s->first_index, what);
}

static void directory_is_compared(void **state)
{
	struct fixture *f = *state;
	struct buf said = { 0 }, path = { 0 };
	round_write(f, 4 * KIB, 1, 20, 1, 1000);
	assert_true(f->list.count >= 3);
	assert_int_equal(segment_dir_compare(f->io, &f->place, &f->list, lost_collect, &said), OK);
	assert_int_equal(said.n, 0);
	file_path(f, &f->list.rows[1], SEGMENT_FILE_SEG, &path);
	assert_int_equal(truncate(buf_str(&path), (off_t)f->list.rows[1].bytes - 1), 0);
	file_path(f, &f->list.rows[0], SEGMENT_FILE_SEG, &path);
	assert_int_equal(unlink(buf_str(&path)), 0);
	assert_int_equal(segment_dir_compare(f->io, &f->place, &f->list, lost_collect, &said), OK);
	char want[128];
	(void)snprintf(
		want, sizeof want, "1 is missing;%llu is too short;", (unsigned long long)f->list.rows[1].first_index);
	CHECK_BUF(&said, want);
	struct segment_reader r;
	assert_int_equal(segment_open(&r, f->io, &f->place, &f->list.rows[0]), ERR_NOT_FOUND);
	segment_close(&r);
	buf_deinit(&said);
	buf_deinit(&path);
}

/* A damaged or vanished tail does not stop the group: it is closed and said to be bad, and a new segment takes what comes. */
static void writer_goes_on_after_damage(void **state)
{
	struct fixture *f = *state;
	struct buf path = { 0 }, got = { 0 };
	round_write(f, MIB, 1, 10, 1, 100);
	file_path(f, &f->list.rows[0], SEGMENT_FILE_SEG, &path);
	assert_int_equal(unlink(buf_str(&path)), 0);
	struct segment_writer w;
	struct test_entry *e = entry_make(f, 11, 100);
	writer_begin(f, &w, MIB);
	assert_int_equal(segment_writer_add(&w, &e->head, buf_slice(&e->bytes)), OK);
	assert_int_equal(w.bad.from, 1);
	assert_int_equal(w.bad.to, 10);
	writer_end(f, &w);
	assert_int_equal(f->list.count, 2);
	assert_int_equal(read_one(f, 11, &got, NULL), OK);

	/* Damaged in its middle, found when it is sealed; all else of it stays readable. */
	round_write(f, MIB, 12, 30, 1, 100);
	file_path(f, &f->list.rows[1], SEGMENT_FILE_SEG, &path);
	file_flip(buf_str(&path), f->list.rows[1].bytes - 20, 3);
	writer_begin(f, &w, MIB);
	assert_int_equal(segment_writer_seal(&w), OK);
	assert_int_equal(w.bad.from, 30);
	assert_int_equal(w.bad.to, 30);
	writer_end(f, &w);
	assert_int_equal(f->list.rows[1].flags, SEGMENT_SEALED);
	assert_int_equal(read_one(f, 30, &got, NULL), ERR_CORRUPT);
	assert_int_equal(read_one(f, 29, &got, NULL), OK);
	buf_deinit(&path);
	buf_deinit(&got);
}

static void foreign_files_are_refused(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 1, 10, 1, 100);
	struct segment_reader r;
	struct segment_place other = f->place;
	other.store++;
	assert_int_equal(segment_open(&r, f->io, &other, &f->list.rows[0]), ERR_CORRUPT);
	segment_close(&r);
	/* A higher level is said so (S20). */
	struct buf path = { 0 };
	file_path(f, &f->list.rows[0], SEGMENT_FILE_SEG, &path);
	uint8_t head[SEGMENT_HEAD_BYTES];
	FILE *file = fopen(buf_str(&path), "r+b");
	assert_int_equal(fread(head, 1, sizeof head, file), sizeof head);
	le32_put(head + 4, SEGMENT_LEVEL + 1);
	le32_put(head + 60, crc32c(0, head, 60));
	rewind(file);
	assert_int_equal(fwrite(head, 1, sizeof head, file), sizeof head);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(segment_open(&r, f->io, &f->place, &f->list.rows[0]), ERR_FORMAT);
	segment_close(&r);
	buf_deinit(&path);
}

/* ---- rewriting and cleaning ---- */

static bool keep_odd(void *arg, struct entry_head *h, struct slice *entry)
{
	(void)arg;
	(void)entry;
	return h->index % 2 == 1;
}
static bool keep_none(void *arg, struct entry_head *h, struct slice *entry)
{
	(void)arg;
	(void)entry;
	(void)h;
	return false;
}

static unsigned files_count(struct fixture *f)
{
	struct buf path = { 0 };
	DIR *dir = opendir(segment_dir_path(&f->place, &path));
	assert_non_null(dir);
	unsigned count = 0;
	for (struct dirent *d; (d = readdir(dir)) != NULL;) count += d->d_name[0] != '.';
	assert_int_equal(closedir(dir), 0);
	buf_deinit(&path);
	return count;
}

static void rewriting_leaves_out_the_dead(void **state)
{
	struct fixture *f = *state;
	round_write(f, MIB, 1, 40, 1, 200);
	struct segment_info out;
	struct segment_range bad;
	assert_int_equal(segment_rewrite(f->io, &f->place, &f->list.rows[0], keep_odd, NULL, &out, &bad), OK);
	assert_int_equal(out.entry_count, 20);
	assert_int_equal(out.first_index, 1);
	assert_int_equal(out.last_index, 39);
	assert_int_equal(out.rewrite, 1);
	assert_int_equal(out.flags, SEGMENT_SEALED);
	/* The old one is whole beside it. */
	assert_all_readable(f);
	struct segment_list old = f->list;
	f->list = (struct segment_list) { 0 };
	segment_list_push(&f->list, &out);
	unsigned kept = 0;
	for (unsigned i = 0; i < f->count; i++) {
		struct test_entry e = f->entries[i];
		if (e.head.index % 2 == 1)
			f->entries[kept++] = e;
		else
			buf_deinit(&e.bytes);
	}
	f->count = kept;
	f->seq = f->entries[kept - 1].head.seq_last;
	assert_all_readable(f);
	assert_all_verified(f);

	/* Cleaning keeps what any of the lists names. */
	const struct segment_list *lists[] = { &old, &f->list };
	assert_int_equal(files_count(f), 4);
	assert_int_equal(segment_dir_clean(f->io, &f->place, lists, 2), OK);
	assert_int_equal(files_count(f), 4);
	assert_int_equal(segment_dir_clean(f->io, &f->place, lists + 1, 1), OK);
	assert_int_equal(files_count(f), 2);
	assert_all_readable(f);

	assert_int_equal(segment_rewrite(f->io, &f->place, &f->list.rows[0], keep_none, NULL, &out, &bad), OK);
	assert_int_equal(out.entry_count, 0);
	assert_int_equal(files_count(f), 2);
	assert_int_equal(segment_unlink(f->io, &f->place, &f->list.rows[0]), OK);
	assert_int_equal(segment_unlink(f->io, &f->place, &f->list.rows[0]), OK);
	assert_int_equal(files_count(f), 0);
	segment_list_deinit(&old);
}

static void rewriting_damage_is_refused(void **state)
{
	struct fixture *f = *state;
	struct buf path = { 0 };
	round_write(f, MIB, 1, 40, 1, 200);
	file_path(f, &f->list.rows[0], SEGMENT_FILE_SEG, &path);
	file_flip(buf_str(&path), f->list.rows[0].bytes - 20, 0);
	struct segment_info out;
	struct segment_range bad;
	assert_int_equal(segment_rewrite(f->io, &f->place, &f->list.rows[0], keep_odd, NULL, &out, &bad), ERR_CORRUPT);
	assert_int_equal(bad.from, 40);
	assert_int_equal(files_count(f), 2);
	buf_deinit(&path);
}

static void infos_are_checked(void **state)
{
	(void)state;
	struct segment_info s = { 10, 20, 64 + 64 * 3, 99, SEGMENT_SEALED, 3, 100, 4, 2 }, got;
	uint8_t bytes[SEGMENT_INFO_BYTES];
	segment_info_encode(&s, bytes);
	assert_int_equal(segment_info_decode(bytes, &got), OK);
	assert_memory_equal(&got, &s, offsetof(struct segment_info, rewrite) + sizeof s.rewrite);
	static const struct {
		size_t at;
		uint32_t value;
	} lies[] = { { 0, 0 }, { 0, 21 }, { 16, 248 }, { 16, 260 }, { 32, 2 }, { 36, 0 }, { 36, 12 }, { 60, 1 } };
	for (size_t i = 0; i < COUNT_OF(lies); i++) {
		segment_info_encode(&s, bytes);
		le32_put(bytes + lies[i].at, lies[i].value);
		assert_int_equal(segment_info_decode(bytes, &got), ERR_CORRUPT);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(entries_come_back),
		TEST(holes_are_holes),
		TEST(reads_are_bounded),
		TEST(large_entries_come_back),
		TEST(long_segments_are_searched),
		TEST(walk_begins_anywhere),
		TEST(rounds_keep_to_their_sectors),
		TEST(leftovers_are_written_over),
		TEST(every_flip_of_a_tail_is_found),
		TEST(every_flip_of_a_sealed_segment_is_found),
		TEST(flips_between_rounds_are_harmless),
		TEST(zeroes_over_an_entry_are_damage),
		TEST(holes_between_rounds_are_holes),
		TEST(every_flip_of_an_index_is_harmless),
		TEST(cuts_are_found),
		TEST(directory_is_compared),
		TEST(writer_goes_on_after_damage),
		TEST(foreign_files_are_refused),
		TEST(rewriting_leaves_out_the_dead),
		TEST(rewriting_damage_is_refused),
		cmocka_unit_test(infos_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
