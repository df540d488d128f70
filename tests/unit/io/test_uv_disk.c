/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "check.h"
#include "thebes/io_uv.h"

struct place {
	struct io *io;
	char dir[64];
	char path[4][96];
};

static struct place place_made(void)
{
	struct place p = { 0 };
	assert_int_equal(io_uv_new(&p.io), OK);
	(void)snprintf(p.dir, sizeof p.dir, "/tmp/thebes-io-XXXXXX");
	assert_non_null(mkdtemp(p.dir));
	for (unsigned i = 0; i < COUNT_OF(p.path); i++)
		(void)snprintf(p.path[i], sizeof p.path[i], "%s/%c", p.dir, 'a' + (int)i);
	return p;
}

static void place_remove(struct place *p)
{
	for (unsigned i = 0; i < COUNT_OF(p->path); i++) (void)remove(p->path[i]);
	assert_int_equal(io_dir_remove(p->io, p->dir), OK);
	io_uv_free(p->io);
}

static struct io_file *file_at(struct place *p, unsigned i, unsigned flags)
{
	struct io_file *f;
	assert_int_equal(io_file_open(p->io, p->path[i], flags, &f), OK);
	return f;
}

enum { RW = IO_OPEN_READ | IO_OPEN_WRITE, NEW_RW = IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE };

static void bytes_come_back_from_any_number_of_slices(void **state)
{
	(void)state;
	struct place p = place_made();
	struct io_file *f = file_at(&p, 0, NEW_RW);
	static const unsigned counts[] = { 0, 1, 2, 63, 64, 65, 128, 300 };
	uint8_t bytes[300 * 7], back[300 * 7 + 10];
	struct slice v[300];
	for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 31 + i / 256);
	for (size_t c = 0; c < COUNT_OF(counts); c++) {
		size_t total = 0, got;
		for (unsigned i = 0; i < counts[c]; i++) {
			v[i] = slice_of(bytes + total, i % 7); /* some empty, the last one too */
			total += v[i].n;
		}
		assert_int_equal(io_file_truncate(f, 0), OK);
		assert_int_equal(io_file_write(f, 5, v, counts[c]), OK);
		assert_int_equal(io_file_read(f, 5, back, sizeof back, &got), OK);
		assert_int_equal(got, total);
		assert_memory_equal(back, bytes, total);
	}
	io_file_close(f);
	io_file_close(NULL);
	place_remove(&p);
}

static void lengths_and_zeroes(void **state)
{
	(void)state;
	struct place p = place_made();
	struct io_file *f = file_at(&p, 0, NEW_RW);
	const struct slice text = SLICE("0123456789");
	uint64_t size;
	size_t got;
	uint8_t back[300000];
	assert_int_equal(io_file_write(f, 0, &text, 1), OK);
	assert_int_equal(io_file_truncate(f, 4), OK);
	assert_int_equal(io_file_truncate(f, 8), OK);
	assert_int_equal(io_file_read(f, 0, back, sizeof back, &got), OK);
	assert_int_equal(got, 8);
	assert_memory_equal(back, "0123\0\0\0\0", 8);
	/* Allocating zeroes what is there, and takes real blocks. */
	assert_int_equal(io_file_allocate(f, 2, 250000), OK);
	assert_int_equal(io_file_size(f, &size), OK);
	assert_int_equal(size, 250002);
	assert_int_equal(io_file_read(f, 0, back, sizeof back, &got), OK);
	assert_int_equal(got, 250002);
	assert_memory_equal(back, "01\0\0\0", 5);
	for (size_t i = 5; i < got; i++) assert_int_equal(back[i], 0);
	struct stat st;
	assert_int_equal(stat(p.path[0], &st), 0);
	assert_true(st.st_blocks * 512 >= 250000);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(io_file_sync(f), OK);
	assert_int_equal(io_file_drop_cache(f), OK);
	assert_int_equal(io_file_read(f, 250002, back, 1, &got), OK);
	assert_int_equal(got, 0);
	assert_int_equal(io_file_write(f, UINT64_MAX - 3, &text, 1), ERR_INVALID);
	assert_int_equal(io_file_read(f, UINT64_MAX - 3, back, 10, &got), ERR_INVALID);
	assert_int_equal(io_file_truncate(f, UINT64_MAX), ERR_INVALID);
	assert_int_equal(io_file_allocate(f, 1, UINT64_MAX), ERR_INVALID);
	io_file_close(f);
	place_remove(&p);
}

/* A file system without fallocate gets written zeroes: the same content, and all of it. */
static void allocation_has_a_slow_way(void **state)
{
	(void)state;
	struct place p = place_made();
	struct io_file *f;
	char path[] = "/dev/shm/thebes-io-XXXXXX"; /* tmpfs refuses FALLOC_FL_ZERO_RANGE */
	const int fd = mkstemp(path);
	if (fd < 0) skip();
	(void)close(fd);
	const struct slice text = SLICE("0123456789");
	uint8_t back[200000];
	size_t got;
	assert_int_equal(io_file_open(p.io, path, RW, &f), OK);
	assert_int_equal(io_file_write(f, 0, &text, 1), OK);
	assert_int_equal(io_file_allocate(f, 5, 150000), OK);
	assert_int_equal(io_file_read(f, 0, back, sizeof back, &got), OK);
	assert_int_equal(got, 150005);
	assert_memory_equal(back, "01234\0\0\0\0\0\0", 11);
	io_file_close(f);
	assert_int_equal(io_path_unlink(p.io, path), OK);
	place_remove(&p);
}

/* What was allocated and never written is not read again by who asks; where a file system cannot say, all of it counts as written. */
static void the_end_of_what_was_written(void **state)
{
	(void)state;
	struct place p = place_made();
	struct io_file *f = file_at(&p, 0, NEW_RW);
	const struct slice text = SLICE("written");
	uint64_t end, size = 4 << 20;
	assert_int_equal(io_file_allocate(f, 0, size), OK);
	assert_int_equal(io_file_write(f, 1 << 20, &text, 1), OK);
	assert_int_equal(io_file_sync(f), OK);
	assert_int_equal(io_file_drop_cache(f), OK);
	assert_int_equal(io_file_data_end(f, &end), OK);
	assert_true(end == size || (end >= (1 << 20) + text.n && end <= (1 << 20) + (64 << 10)));
	assert_int_equal(io_file_truncate(f, 0), OK);
	assert_int_equal(io_file_data_end(f, &end), OK);
	assert_int_equal(end, 0);
	io_file_close(f);
	place_remove(&p);
}

static void a_lock_holds_in_the_same_process(void **state)
{
	(void)state;
	struct place p = place_made();
	struct io_file *f = file_at(&p, 0, NEW_RW | IO_OPEN_LOCK), *g;
	const struct slice text = SLICE("kept");
	uint64_t size;
	assert_int_equal(io_file_write(f, 0, &text, 1), OK);
	assert_int_equal(io_file_open(p.io, p.path[0], NEW_RW | IO_OPEN_LOCK, &g), ERR_LOCKED);
	/* Whoever is refused has not cut the file. */
	assert_int_equal(io_file_open(p.io, p.path[0], RW | IO_OPEN_LOCK | IO_OPEN_TRUNCATE, &g), ERR_LOCKED);
	assert_int_equal(io_file_size(f, &size), OK);
	assert_int_equal(size, 4);
	assert_int_equal(io_file_open(p.io, p.path[0], IO_OPEN_READ, &g), OK);
	io_file_close(g);
	io_file_close(f);
	f = file_at(&p, 0, RW | IO_OPEN_LOCK | IO_OPEN_TRUNCATE);
	assert_int_equal(io_file_size(f, &size), OK);
	assert_int_equal(size, 0);
	io_file_close(f);
	place_remove(&p);
}

static void opens_that_cannot_be(void **state)
{
	(void)state;
	struct place p = place_made();
	struct io_file *f;
	assert_int_equal(io_file_open(p.io, p.path[0], IO_OPEN_READ, &f), ERR_NOT_FOUND);
	assert_null(f);
	io_file_close(file_at(&p, 0, NEW_RW | IO_OPEN_EXCLUSIVE));
	assert_int_equal(io_file_open(p.io, p.path[0], NEW_RW | IO_OPEN_EXCLUSIVE, &f), ERR_EXISTS);
	assert_int_equal(io_file_open(p.io, p.dir, IO_OPEN_READ, &f), ERR_INVALID);
	assert_int_equal(io_file_open(p.io, "/dev/null/x", IO_OPEN_READ, &f), ERR_INVALID);
	f = file_at(&p, 0, IO_OPEN_READ);
	const struct slice text = SLICE("x");
	assert_int_equal(io_file_write(f, 0, &text, 1), ERR_INVALID);
	io_file_close(f);
	place_remove(&p);
}

static void too_many_files_is_said(void **state)
{
	(void)state;
	struct place p = place_made();
	struct rlimit old;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	const int next = dup(0);
	assert_true(next > 0);
	(void)close(next);
	const struct rlimit low = { (rlim_t)next, old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	struct io_file *f;
	const enum err e = io_file_open(p.io, p.path[0], NEW_RW, &f);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(e, ERR_FILES);
	place_remove(&p);
}

static void no_space_is_said(void **state)
{
	(void)state;
	struct place p = place_made();
	struct io_file *f;
	const struct slice text = SLICE("x");
	assert_int_equal(io_file_open(p.io, "/dev/full", IO_OPEN_WRITE, &f), OK);
	assert_int_equal(io_file_write(f, 0, &text, 1), ERR_NO_SPACE);
	io_file_close(f);
	place_remove(&p);
}

/* The limit on file sizes makes the kernel write short first and fail then: both ways are gone here. */
static void a_short_write_goes_on_until_it_fails(void **state)
{
	(void)state;
	struct place p = place_made();
	struct io_file *f = file_at(&p, 0, NEW_RW);
	struct rlimit old;
	static const uint8_t bytes[1000] = { 1 };
	const struct slice v[] = { slice_of(bytes, 400), slice_of(bytes, 300), slice_of(bytes, 300) };
	uint64_t size;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	const struct rlimit low = { 600, old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	const enum err e = io_file_write(f, 100, v, COUNT_OF(v));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(e, ERR_NO_SPACE);
	assert_int_equal(io_file_size(f, &size), OK);
	assert_int_equal(size, 600);
	io_file_close(f);
	place_remove(&p);
}

static void list_add(void *arg, const char *name, bool is_dir) { buf_printf(arg, "%s%s ", name, is_dir ? "/" : ""); }

static void names_move_and_go(void **state)
{
	(void)state;
	struct place p = place_made();
	struct buf text = { 0 };
	io_file_close(file_at(&p, 2, NEW_RW));
	io_file_close(file_at(&p, 0, NEW_RW));
	assert_int_equal(io_dir_make(p.io, p.path[1]), OK);
	assert_int_equal(io_dir_make(p.io, p.path[1]), ERR_EXISTS);
	assert_int_equal(io_dir_list(p.io, p.dir, list_add, &text), OK);
	CHECK_BUF(&text, "a b/ c ");
	assert_int_equal(io_path_rename(p.io, p.path[0], p.path[3]), OK);
	assert_int_equal(io_path_rename(p.io, p.path[0], p.path[3]), ERR_NOT_FOUND);
	assert_int_equal(io_path_unlink(p.io, p.path[2]), OK);
	assert_int_equal(io_path_unlink(p.io, p.path[2]), ERR_NOT_FOUND);
	assert_int_equal(io_path_unlink(p.io, p.path[1]), ERR_INVALID);
	assert_int_equal(io_dir_remove(p.io, p.dir), ERR_EXISTS);
	assert_int_equal(io_dir_sync(p.io, p.dir), OK);
	assert_int_equal(io_dir_sync(p.io, p.path[0]), ERR_NOT_FOUND);
	assert_int_equal(io_dir_list(p.io, p.dir, list_add, &text), OK);
	CHECK_BUF(&text, "b/ d ");
	assert_int_equal(io_dir_list(p.io, p.path[0], list_add, &text), ERR_NOT_FOUND);
	assert_int_equal(io_dir_list(p.io, p.path[1], list_add, &text), OK);
	CHECK_BUF(&text, "");
	buf_deinit(&text);
	place_remove(&p);
}

static void many_names_are_sorted_by_bytes(void **state)
{
	(void)state;
	struct place p = place_made();
	struct buf text = { 0 };
	struct io_file *f;
	char path[128];
	assert_int_equal(io_dir_make(p.io, p.path[0]), OK);
	for (unsigned i = 0; i < 40; i++) {
		(void)snprintf(path, sizeof path, "%s/%02u", p.path[0], (i * 7) % 40);
		assert_int_equal(io_file_open(p.io, path, NEW_RW, &f), OK);
		io_file_close(f);
	}
	assert_int_equal(io_dir_list(p.io, p.path[0], list_add, &text), OK);
	for (unsigned i = 0; i < 40; i++) {
		char want[4];
		(void)snprintf(want, sizeof want, "%02u ", i);
		assert_memory_equal(text.p + (size_t)3 * i, want, 3);
		(void)snprintf(path, sizeof path, "%s/%02u", p.path[0], i);
		assert_int_equal(io_path_unlink(p.io, path), OK);
	}
	assert_int_equal(text.n, 120);
	buf_deinit(&text);
	place_remove(&p);
}

static void space_is_told(void **state)
{
	(void)state;
	struct place p = place_made();
	uint64_t free_bytes, total;
	assert_int_equal(io_space(p.io, p.dir, &free_bytes, &total), OK);
	assert_true(free_bytes > 0 && free_bytes <= total);
	assert_int_equal(io_space(p.io, p.path[0], &free_bytes, &total), ERR_NOT_FOUND);
	place_remove(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_come_back_from_any_number_of_slices),
		cmocka_unit_test(lengths_and_zeroes),
		cmocka_unit_test(allocation_has_a_slow_way),
		cmocka_unit_test(the_end_of_what_was_written),
		cmocka_unit_test(a_lock_holds_in_the_same_process),
		cmocka_unit_test(opens_that_cannot_be),
		cmocka_unit_test(too_many_files_is_said),
		cmocka_unit_test(no_space_is_said),
		cmocka_unit_test(a_short_write_goes_on_until_it_fails),
		cmocka_unit_test(names_move_and_go),
		cmocka_unit_test(many_names_are_sorted_by_bytes),
		cmocka_unit_test(space_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
