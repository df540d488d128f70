/* SPDX-License-Identifier: Apache-2.0 */
/* The twin's disk: each fault does what it says. The process is the test itself, so calls take no time. */
#include <inttypes.h>
#include <stdio.h>

#include "check.h"
#include "sim/sim.h"

static struct sim_node *machine_up(struct sim *s)
{
	struct sim_node *n = sim_node_new(s);
	sim_disk(n)->ruin_ppm = 0;
	sim_disk(n)->evict_ppm = 0;
	sim_node_boot(n, NULL, NULL);
	return n;
}

static void machine_again(struct sim_node *n, enum sim_crash how)
{
	sim_node_crash(n, how);
	sim_node_boot(n, NULL, NULL);
}

static struct io_file *file_at(struct sim_node *n, const char *path)
{
	struct io_file *f;
	assert_int_equal(io_file_open(sim_node_io(n), path, IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE, &f), OK);
	return f;
}

/* A file whose name is durable. */
static struct io_file *file_made(struct sim_node *n, const char *path)
{
	struct io_file *f = file_at(n, path);
	assert_int_equal(io_dir_sync(sim_node_io(n), "."), OK);
	return f;
}

static enum err put(struct io_file *f, uint64_t at, const void *p, size_t n)
{
	const struct slice v = slice_of(p, n);
	return io_file_write(f, at, &v, 1);
}

static void put_pattern(struct io_file *f, uint64_t at, size_t n, uint8_t byte)
{
	uint8_t *p = mem_alloc(n);
	memset(p, byte, n);
	assert_int_equal(put(f, at, p, n), OK);
	mem_free(p);
}

/* How many bytes of the file have this value, read as the software reads. */
static size_t count_byte(struct sim_node *n, const char *path, uint8_t byte, bool from_device)
{
	uint8_t buf[64 * 1024];
	size_t got, found = 0;
	if (sim_disk_read(n, path, 0, buf, sizeof buf, from_device, &got) != OK) return 0;
	for (size_t i = 0; i < got; i++) found += buf[i] == byte;
	return found;
}

static bool exists(struct sim_node *n, const char *path)
{
	uint64_t bytes;
	return sim_disk_size(n, path, &bytes) == OK;
}

static void reads_see_what_was_written(void **state)
{
	(void)state;
	struct sim *s = sim_new(1);
	struct sim_node *n = machine_up(s);
	struct io_file *f = file_at(n, "a");
	const struct slice v[] = { SLICE("hello "), SLICE_NULL, SLICE("world") };
	char buf[32];
	size_t got;
	uint64_t size;
	assert_int_equal(io_file_write(f, 4090, v, 3), OK);
	assert_int_equal(io_file_read(f, 4090, buf, sizeof buf, &got), OK);
	assert_int_equal(got, 11);
	assert_memory_equal(buf, "hello world", 11);
	assert_int_equal(io_file_read(f, 0, buf, 2, &got), OK);
	assert_int_equal(got, 2);
	assert_int_equal(buf[0], 0);
	assert_int_equal(io_file_size(f, &size), OK);
	assert_int_equal(size, 4101);
	assert_int_equal(io_file_truncate(f, 4092), OK);
	assert_int_equal(io_file_truncate(f, 4096), OK);
	assert_int_equal(io_file_read(f, 4090, buf, sizeof buf, &got), OK);
	assert_int_equal(got, 6);
	assert_memory_equal(buf, "he\0\0\0\0", 6);
	assert_int_equal(io_file_allocate(f, 4090, 1), OK);
	assert_int_equal(io_file_read(f, 4090, buf, sizeof buf, &got), OK);
	assert_memory_equal(buf, "\0e\0\0\0\0", 6);
	io_file_close(f);
	sim_free(s);
}

static void opens_obey_their_flags(void **state)
{
	(void)state;
	struct sim *s = sim_new(1);
	struct sim_node *n = machine_up(s);
	struct io *io = sim_node_io(n);
	struct io_file *f, *g;
	assert_int_equal(io_file_open(io, "a", IO_OPEN_READ, &f), ERR_NOT_FOUND);
	assert_int_equal(io_file_open(io, "d/a", IO_OPEN_WRITE | IO_OPEN_CREATE, &f), ERR_NOT_FOUND);
	assert_int_equal(io_dir_make(io, "d"), OK);
	assert_int_equal(io_dir_make(io, "d"), ERR_EXISTS);
	assert_int_equal(io_file_open(io, "d", IO_OPEN_READ, &f), ERR_INVALID);
	assert_int_equal(
		io_file_open(io, "d/a", IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE | IO_OPEN_LOCK, &f), OK);
	assert_int_equal(io_file_open(io, "d/a", IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE, &g), ERR_EXISTS);
	assert_int_equal(io_file_open(io, "/d/./a", IO_OPEN_WRITE | IO_OPEN_LOCK, &g), ERR_LOCKED);
	assert_int_equal(io_file_open(io, "d/a", IO_OPEN_READ, &g), OK);
	assert_int_equal(put(g, 0, "x", 1), ERR_INVALID);
	io_file_close(g);
	assert_int_equal(put(f, 0, "x", 1), OK);
	io_file_close(f);
	assert_int_equal(io_file_open(io, "d/a", IO_OPEN_WRITE | IO_OPEN_LOCK | IO_OPEN_TRUNCATE, &f), OK);
	uint64_t size;
	assert_int_equal(io_file_size(f, &size), OK);
	assert_int_equal(size, 0);
	/* A dead process holds no lock. */
	machine_again(n, SIM_KILL);
	assert_int_equal(io_file_open(sim_node_io(n), "d/a", IO_OPEN_WRITE | IO_OPEN_LOCK, &f), OK);
	assert_int_equal(io_dir_remove(sim_node_io(n), "d"), ERR_EXISTS);
	assert_int_equal(io_path_unlink(sim_node_io(n), "d"), ERR_INVALID);
	assert_int_equal(io_path_unlink(sim_node_io(n), "d/a"), OK);
	assert_int_equal(io_dir_remove(sim_node_io(n), "d"), OK);
	sim_free(s);
}

static void a_kill_keeps_the_cache_and_a_power_cut_may_take_it(void **state)
{
	(void)state;
	unsigned lost = 0, kept = 0;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = machine_up(s);
		struct io_file *f = file_made(n, "a");
		put_pattern(f, 0, 8192, 'x');
		machine_again(n, SIM_KILL);
		assert_int_equal(count_byte(n, "a", 'x', false), 8192);
		assert_int_equal(count_byte(n, "a", 'x', true), 0);
		assert_int_equal(sim_disk_dirty_bytes(n), 8192);
		machine_again(n, SIM_POWER);
		const size_t left = count_byte(n, "a", 'x', false);
		assert_int_equal(left, count_byte(n, "a", 'x', true));
		lost += left < 8192;
		kept += left == 8192;
		sim_free(s);
	}
	assert_in_range(lost, 60, 190);
	assert_in_range(kept, 10, 140);
}

static void what_was_synced_survives(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = machine_up(s);
		struct io_file *f = file_made(n, "a");
		put_pattern(f, 0, 10000, 'x');
		assert_int_equal(io_file_sync(f), OK);
		assert_int_equal(sim_disk_dirty_bytes(n), 0);
		put_pattern(f, 12288, 5000, 'y');
		machine_again(n, SIM_POWER);
		assert_int_equal(count_byte(n, "a", 'x', false), 10000);
		sim_free(s);
	}
}

/* One overwrite of a synced range: every unit is old or new, some runs mix them, with gaps; never something else. */
static void an_overwrite_tears_at_the_unit(void **state)
{
	(void)state;
	unsigned mixed = 0, with_gap = 0;
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = machine_up(s);
		const uint32_t unit = 512u << seed % 4;
		sim_disk(n)->unit_bytes = unit;
		struct io_file *f = file_made(n, "a");
		put_pattern(f, 0, 16384, 'o');
		assert_int_equal(io_file_sync(f), OK);
		put_pattern(f, 0, 16384, 'n');
		machine_again(n, SIM_POWER);
		uint8_t now[16384];
		size_t got;
		assert_int_equal(sim_disk_read(n, "a", 0, now, sizeof now, false, &got), OK);
		assert_int_equal(got, sizeof now);
		unsigned new_units = 0, changes = 0;
		for (uint32_t at = 0; at < got; at += unit) {
			for (uint32_t i = 0; i < unit; i++) assert_int_equal(now[at + i], now[at]);
			assert_true(now[at] == 'o' || now[at] == 'n');
			new_units += now[at] == 'n';
			changes += at > 0 && now[at] != now[at - 1];
		}
		mixed += new_units > 0 && new_units < 16384 / unit;
		with_gap += changes > 1;
		sim_free(s);
	}
	assert_in_range(mixed, 60, 340);
	assert_in_range(with_gap, 40, 340);
}

/* Two writes into one unit: the later one without the earlier one is impossible. */
static void a_unit_is_never_from_the_future_alone(void **state)
{
	(void)state;
	unsigned seen[4] = { 0 };
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = machine_up(s);
		struct io_file *f = file_made(n, "a");
		put_pattern(f, 0, 4096, '-');
		assert_int_equal(io_file_sync(f), OK);
		assert_int_equal(put(f, 0, "1", 1), OK);
		assert_int_equal(put(f, 1, "2", 1), OK);
		machine_again(n, SIM_POWER);
		char two[2];
		size_t got;
		assert_int_equal(sim_disk_read(n, "a", 0, two, 2, false, &got), OK);
		assert_int_equal(got, 2);
		seen[(two[0] == '1') + 2 * (two[1] == '2')]++;
		sim_free(s);
	}
	assert_in_range(seen[0], 40, 360);
	assert_in_range(seen[1], 10, 360);
	assert_int_equal(seen[2], 0);
	assert_in_range(seen[3], 40, 360);
}

static void a_cut_that_is_lost_takes_what_was_written_behind_it(void **state)
{
	(void)state;
	unsigned old = 0, cut = 0, new = 0;
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = machine_up(s);
		struct io_file *f = file_made(n, "a");
		put_pattern(f, 0, 8192, 'o');
		assert_int_equal(io_file_sync(f), OK);
		assert_int_equal(io_file_truncate(f, 0), OK);
		put_pattern(f, 0, 4096, 'n');
		machine_again(n, SIM_POWER);
		uint64_t size;
		assert_int_equal(sim_disk_size(n, "a", &size), OK);
		const size_t o = count_byte(n, "a", 'o', false), w = count_byte(n, "a", 'n', false);
		if (size == 8192) assert_int_equal(o, 8192);
		if (size < 8192) assert_int_equal(o, 0);
		old += o > 0;
		cut += size == 0;
		new += w == 4096;
		sim_free(s);
	}
	assert_in_range(old, 40, 360);
	assert_in_range(cut, 10, 360);
	assert_in_range(new, 40, 360);
}

static void a_rewritten_page_may_be_ruined_and_only_that(void **state)
{
	(void)state;
	unsigned ruined = 0;
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = machine_up(s);
		sim_disk(n)->ruin_ppm = PPM / 2;
		struct io_file *f = file_made(n, "a");
		put_pattern(f, 0, 12288, 'o');
		assert_int_equal(io_file_sync(f), OK);
		/* One byte in the middle page: its neighbours in the same 4096 bytes are at stake, the other pages are not. */
		assert_int_equal(put(f, 5000, "n", 1), OK);
		machine_again(n, SIM_POWER);
		uint8_t now[12288];
		size_t got;
		assert_int_equal(sim_disk_read(n, "a", 0, now, sizeof now, false, &got), OK);
		size_t others = 0, middle = 0;
		for (size_t i = 0; i < got; i++)
			if (i / 4096 == 1)
				middle += now[i] == 'o';
			else
				others += now[i] == 'o';
		assert_int_equal(others, 8192);
		ruined += middle < 4000;
		assert_int_equal(middle < 4000, sim_counted(s, "disk page ruined"));
		sim_free(s);
	}
	assert_in_range(ruined, 100, 200);
}

static void a_failed_sync_leaves_clean_pages_that_are_nowhere(void **state)
{
	(void)state;
	unsigned lost = 0;
	for (uint64_t seed = 0; seed < 100; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = machine_up(s);
		struct io_file *f = file_made(n, "a");
		put_pattern(f, 0, 16384, 'o');
		assert_int_equal(io_file_sync(f), OK);
		put_pattern(f, 0, 16384, 'n');
		sim_disk_fail(n, SIM_CALL_SYNC, "a", 0, 1, ERR_IO);
		assert_int_equal(io_file_sync(f), ERR_IO);
		/* The next sync says OK, the cache shows it all, and yet it is not on the device. */
		assert_int_equal(io_file_sync(f), OK);
		assert_int_equal(sim_disk_dirty_bytes(n), 0);
		assert_int_equal(count_byte(n, "a", 'n', false), 16384);
		const size_t durable = count_byte(n, "a", 'n', true);
		lost += durable < 16384;
		assert_int_equal(io_file_drop_cache(f), OK);
		assert_int_equal(count_byte(n, "a", 'n', false), durable);
		sim_free(s);
	}
	assert_in_range(lost, 80, 99);
}

static void a_dropped_cache_keeps_dirty_pages(void **state)
{
	(void)state;
	struct sim *s = sim_new(1);
	struct sim_node *n = machine_up(s);
	struct io_file *f = file_made(n, "a");
	put_pattern(f, 0, 4096, 'x');
	assert_int_equal(io_file_drop_cache(f), OK);
	assert_int_equal(count_byte(n, "a", 'x', false), 4096);
	sim_free(s);
}

static void names_are_durable_only_after_a_sync_of_their_directory(void **state)
{
	(void)state;
	unsigned made_lost = 0, file_lost_though_synced = 0, gone_back = 0, moved = 0, both = 0;
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = machine_up(s);
		struct io *io = sim_node_io(n);
		io_file_close(file_made(n, "old"));
		io_file_close(file_made(n, "from"));
		struct io_file *f = file_at(n, "new");
		put_pattern(f, 0, 100, 'x');
		assert_int_equal(io_file_sync(f), OK); /* the data, not the name */
		assert_int_equal(io_path_unlink(io, "old"), OK);
		assert_int_equal(io_path_rename(io, "from", "to"), OK);
		assert_int_equal(io_dir_make(io, "d"), OK);
		assert_false(exists(n, "old") || exists(n, "from"));
		assert_true(exists(n, "new") && exists(n, "to"));
		machine_again(n, SIM_POWER);
		if (exists(n, "new")) assert_int_equal(count_byte(n, "new", 'x', false), 100);
		file_lost_though_synced += !exists(n, "new");
		gone_back += exists(n, "old");
		/* A rename is one step. */
		assert_int_equal(exists(n, "from") + exists(n, "to"), 1);
		moved += exists(n, "to");
		made_lost += io_dir_make(sim_node_io(n), "d") == OK;
		both += exists(n, "new") && exists(n, "old");
		sim_free(s);
	}
	assert_in_range(made_lost, 60, 240);
	assert_in_range(file_lost_though_synced, 60, 240);
	assert_in_range(gone_back, 60, 240);
	assert_in_range(moved, 60, 240);
	assert_in_range(both, 15, 240);
}

static void a_synced_directory_keeps_its_names(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = machine_up(s);
		struct io *io = sim_node_io(n);
		assert_int_equal(io_dir_make(io, "d"), OK);
		assert_int_equal(io_dir_sync(io, "/"), OK);
		io_file_close(file_at(n, "d/a"));
		io_file_close(file_at(n, "d/b"));
		assert_int_equal(io_path_rename(io, "d/a", "d/c"), OK);
		assert_int_equal(io_path_unlink(io, "d/b"), OK);
		assert_int_equal(io_dir_sync(io, "d"), OK);
		io_file_close(file_at(n, "d/e"));
		machine_again(n, SIM_POWER);
		assert_true(exists(n, "d/c"));
		assert_false(exists(n, "d/a") || exists(n, "d/b"));
		sim_free(s);
	}
}

static void a_rename_between_directories_is_durable_with_either(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = machine_up(s);
		struct io *io = sim_node_io(n);
		assert_int_equal(io_dir_make(io, "d"), OK);
		assert_int_equal(io_dir_make(io, "e"), OK);
		assert_int_equal(io_dir_sync(io, "."), OK);
		io_file_close(file_at(n, "d/a")); /* its creation is never synced */
		assert_int_equal(io_path_rename(io, "d/a", "e/a"), OK);
		assert_int_equal(io_dir_sync(io, seed % 2 ? "d" : "e"), OK);
		machine_again(n, SIM_POWER);
		assert_true(exists(n, "e/a"));
		assert_false(exists(n, "d/a"));
		sim_free(s);
	}
}

static void a_full_disk_writes_short_and_says_so(void **state)
{
	(void)state;
	struct sim *s = sim_new(1);
	struct sim_node *n = machine_up(s);
	struct io *io = sim_node_io(n);
	sim_disk(n)->capacity_bytes = 16384;
	struct io_file *f = file_made(n, "a");
	uint8_t big[20000];
	uint64_t size, free_bytes, total;
	memset(big, 'x', sizeof big);
	assert_int_equal(put(f, 0, big, sizeof big), ERR_NO_SPACE);
	assert_int_equal(io_file_size(f, &size), OK);
	assert_int_equal(size, 16384);
	assert_int_equal(io_space(io, ".", &free_bytes, &total), OK);
	assert_int_equal(free_bytes, 0);
	assert_int_equal(total, 16384);
	assert_int_equal(put(f, 100, "y", 1), OK); /* rewriting needs no space */
	struct io_file *g = file_at(n, "b");
	assert_int_equal(put(g, 0, "y", 1), ERR_NO_SPACE);
	assert_int_equal(io_file_allocate(g, 0, 1), ERR_NO_SPACE);
	assert_int_equal(io_path_unlink(io, "a"), OK);
	assert_int_equal(put(g, 0, "y", 1), ERR_NO_SPACE); /* an open file keeps its space */
	io_file_close(f);
	assert_int_equal(sim_disk_used_bytes(n), 0);
	assert_int_equal(put(g, 0, "y", 1), OK);
	assert_int_equal(io_file_truncate(g, 0), OK);
	assert_int_equal(io_file_allocate(g, 0, 16384), OK);
	assert_int_equal(sim_disk_used_bytes(n), 16384);
	assert_int_equal(sim_counted(s, "disk full"), 4);
	sim_free(s);
}

static void space_is_right_after_a_loss_of_power(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct sim *s = sim_new(seed);
		struct sim_node *n = machine_up(s);
		struct io *io = sim_node_io(n);
		char path[8];
		for (unsigned i = 0; i < 8; i++) {
			(void)snprintf(path, sizeof path, "f%u", i);
			struct io_file *f = file_at(n, path);
			put_pattern(f, 0, 4096 * (1 + sim_below(s, 4)), 'x');
			if (sim_below(s, 2)) assert_int_equal(io_file_sync(f), OK);
			if (sim_below(s, 2)) assert_int_equal(io_dir_sync(io, "."), OK);
			if (sim_below(s, 3) == 0) assert_int_equal(io_file_truncate(f, sim_below(s, 9000)), OK);
			if (sim_below(s, 3) == 0) assert_int_equal(io_path_unlink(io, path), OK);
			if (sim_below(s, 2)) io_file_close(f);
		}
		machine_again(n, SIM_POWER);
		uint64_t pages = 0;
		for (unsigned i = 0; i < 8; i++) {
			uint64_t size = 0;
			(void)snprintf(path, sizeof path, "f%u", i);
			if (sim_disk_size(n, path, &size) == OK) pages += (size + 4095) / 4096;
		}
		/* Holes take no space; everything else that is left does. */
		assert_true(sim_disk_used_bytes(n) <= pages * 4096);
		for (unsigned i = 0; i < 8; i++) {
			(void)snprintf(path, sizeof path, "f%u", i);
			if (exists(n, path)) assert_int_equal(io_path_unlink(sim_node_io(n), path), OK);
		}
		assert_int_equal(sim_disk_used_bytes(n), 0);
		sim_free(s);
	}
}

static void rules_fail_the_calls_they_name(void **state)
{
	(void)state;
	struct sim *s = sim_new(3);
	struct sim_node *n = machine_up(s);
	struct io_file *a = file_made(n, "a1"), *b = file_made(n, "b1");
	char c;
	size_t got;
	sim_disk_fail(n, SIM_CALL_WRITE, "a", 1, 2, ERR_IO);
	assert_int_equal(put(b, 0, "x", 1), OK);
	assert_int_equal(put(a, 0, "x", 1), OK);
	assert_int_equal(put(a, 0, "x", 1), ERR_IO);
	assert_int_equal(put(b, 0, "x", 1), OK);
	assert_int_equal(put(a, 0, "x", 1), ERR_IO);
	assert_int_equal(put(a, 0, "x", 1), OK);
	sim_disk_fail(n, SIM_CALL_READ, NULL, 0, 1, ERR_IO);
	assert_int_equal(io_file_read(a, 0, &c, 1, &got), ERR_IO);
	assert_int_equal(got, 0);
	assert_int_equal(io_file_read(a, 0, &c, 1, &got), OK);
	sim_disk_fail(n, SIM_CALL_ANY, NULL, 0, 100, ERR_IO);
	assert_int_equal(io_path_unlink(sim_node_io(n), "a1"), ERR_IO);
	sim_disk_fail_clear(n);
	assert_int_equal(io_path_unlink(sim_node_io(n), "a1"), OK);
	/* A write that finds no space has written some of it. */
	put_pattern(b, 0, 10000, 'o');
	uint8_t big[10000];
	memset(big, 'n', sizeof big);
	sim_disk_fail(n, SIM_CALL_WRITE, NULL, 0, 1, ERR_NO_SPACE);
	assert_int_equal(put(b, 0, big, sizeof big), ERR_NO_SPACE);
	assert_in_range(count_byte(n, "b1", 'n', false), 1, 9999);
	sim_free(s);
}

static void rates_fail_some_calls(void **state)
{
	(void)state;
	struct sim *s = sim_new(4);
	struct sim_node *n = machine_up(s);
	struct io_file *f = file_made(n, "a");
	sim_disk(n)->write_fail_ppm = sim_disk(n)->read_fail_ppm = sim_disk(n)->sync_fail_ppm = PPM / 10;
	unsigned failed[3] = { 0 };
	for (unsigned i = 0; i < 1000; i++) {
		char c;
		size_t got;
		failed[0] += put(f, 0, "x", 1) == ERR_IO;
		failed[1] += io_file_read(f, 0, &c, 1, &got) == ERR_IO;
		failed[2] += io_file_sync(f) == ERR_IO;
	}
	for (unsigned k = 0; k < 3; k++) assert_in_range(failed[k], 60, 150);
	sim_free(s);
}

static void bits_rot_when_told_to(void **state)
{
	(void)state;
	struct sim *s = sim_new(5);
	struct sim_node *n = machine_up(s);
	struct io_file *f = file_made(n, "a");
	uint8_t buf[8192];
	size_t got;
	put_pattern(f, 0, sizeof buf, 0);
	assert_int_equal(io_file_sync(f), OK);
	assert_int_equal(sim_disk_flip(n, "a", 4097, 3), OK);
	assert_int_equal(sim_disk_flip(n, "a", 8192, 3), ERR_INVALID);
	assert_int_equal(sim_disk_flip(n, "b", 0, 3), ERR_NOT_FOUND);
	assert_int_equal(io_file_read(f, 4097, buf, 1, &got), OK);
	assert_int_equal(buf[0], 8);
	assert_int_equal(sim_disk_overwrite(n, "a", 10, SLICE("junk")), OK);
	assert_int_equal(io_file_read(f, 10, buf, 4, &got), OK);
	assert_memory_equal(buf, "junk", 4);
	assert_int_equal(sim_disk_truncate(n, "a", 4097), OK);
	assert_int_equal(io_file_read(f, 0, buf, sizeof buf, &got), OK);
	assert_int_equal(got, 4097);
	sim_disk(n)->flip_ppm = PPM;
	assert_int_equal(io_file_read(f, 0, buf, sizeof buf, &got), OK);
	size_t set = 0;
	for (size_t i = 0; i < got; i++) set += buf[i] != 0 && (i < 10 || i >= 14);
	assert_in_range(set + sim_counted(s, "disk bit rot"), 1, 2);
	/* Rot is on the device: it stays after the power was gone. */
	machine_again(n, SIM_POWER);
	uint8_t again[8192];
	sim_disk(n)->flip_ppm = 0;
	assert_int_equal(sim_disk_read(n, "a", 0, again, sizeof again, false, &got), OK);
	assert_memory_equal(again, buf, got);
	assert_int_equal(sim_disk_remove(n, "a"), OK);
	assert_false(exists(n, "a"));
	machine_again(n, SIM_POWER);
	assert_false(exists(n, "a"));
	sim_free(s);
}

static void damage_of_a_dirty_page_is_overwritten(void **state)
{
	(void)state;
	struct sim *s = sim_new(5);
	struct sim_node *n = machine_up(s);
	struct io_file *f = file_made(n, "a");
	put_pattern(f, 0, 4096, 'o');
	assert_int_equal(io_file_sync(f), OK);
	put_pattern(f, 0, 4096, 'n');
	assert_int_equal(sim_disk_flip(n, "a", 7, 0), OK);
	assert_int_equal(count_byte(n, "a", 'n', false), 4096);
	assert_int_equal(count_byte(n, "a", 'o', true), 4095);
	assert_int_equal(io_file_sync(f), OK);
	assert_int_equal(count_byte(n, "a", 'n', true), 4096);
	sim_free(s);
}

static void a_backup_comes_back(void **state)
{
	(void)state;
	struct sim *s = sim_new(6);
	struct sim_node *n = machine_up(s), *other = machine_up(s);
	struct io *io = sim_node_io(n);
	assert_int_equal(io_dir_make(io, "d"), OK);
	struct io_file *f = file_made(n, "d/a");
	put_pattern(f, 0, 5000, 'o');
	assert_int_equal(io_file_sync(f), OK);
	assert_int_equal(io_dir_sync(io, "d"), OK);
	put_pattern(f, 0, 100, 'u'); /* not on the device: not in the copy */
	struct sim_image *image = sim_disk_save(n);
	put_pattern(f, 0, 9000, 'n');
	assert_int_equal(io_file_sync(f), OK);
	sim_node_crash(n, SIM_KILL);
	sim_node_crash(other, SIM_KILL);
	sim_disk_restore(n, image);
	sim_disk_restore(other, image);
	sim_image_free(image);
	assert_int_equal(count_byte(n, "d/a", 'o', false), 5000);
	assert_int_equal(count_byte(other, "d/a", 'o', true), 5000);
	assert_int_equal(sim_disk_used_bytes(n), 8192);
	sim_disk_wipe(n);
	assert_false(exists(n, "d/a"));
	assert_int_equal(sim_disk_used_bytes(n), 0);
	assert_true(exists(other, "d/a"));
	sim_free(s);
}

static void collect_path(void *arg, const char *path, uint64_t bytes)
{
	buf_printf(arg, "%s:%" PRIu64 " ", path, bytes);
}
static void collect_name(void *arg, const char *name, bool is_dir)
{
	buf_printf(arg, "%s%s ", name, is_dir ? "/" : "");
}

static void listings_are_sorted(void **state)
{
	(void)state;
	struct sim *s = sim_new(6);
	struct sim_node *n = machine_up(s);
	struct io *io = sim_node_io(n);
	struct buf text = { 0 };
	static const char *const names[] = { "b", "d/z", "a", "d/e/f", "c10", "c2" };
	assert_int_equal(io_dir_make(io, "d"), OK);
	assert_int_equal(io_dir_make(io, "d/e"), OK);
	for (size_t i = 0; i < COUNT_OF(names); i++) io_file_close(file_at(n, names[i]));
	put_pattern(file_at(n, "d/z"), 0, 7, 'x');
	assert_int_equal(io_dir_list(io, ".", collect_name, &text), OK);
	assert_string_equal(buf_str(&text), "a b c10 c2 d/ ");
	buf_clear(&text);
	sim_disk_each(n, "/", collect_path, &text);
	assert_string_equal(buf_str(&text), "/a:0 /b:0 /c10:0 /c2:0 /d/e/f:0 /d/z:7 ");
	assert_int_equal(io_dir_list(io, "nowhere", collect_name, &text), ERR_NOT_FOUND);
	assert_int_equal(io_dir_list(io, "a", collect_name, &text), ERR_INVALID);
	assert_int_equal(io_path_rename(io, "d", "d/e/g"), ERR_INVALID);
	assert_int_equal(io_path_rename(io, "d", "g"), OK);
	assert_true(exists(n, "g/e/f"));
	buf_deinit(&text);
	sim_free(s);
}

/* Crashes between any two steps of a small procedure, in all three ways. */
static void a_crash_comes_at_the_call_it_is_ordered_for(void **state)
{
	(void)state;
	static const enum sim_when whens[] = { SIM_BEFORE, SIM_DURING, SIM_AFTER };
	for (unsigned k = 1; k <= 4; k++) {
		for (size_t w = 0; w < COUNT_OF(whens); w++) {
			struct sim *s = sim_new(k);
			struct sim_node *n = machine_up(s);
			struct io_file *f;
			enum err e = OK;
			unsigned done = 0;
			sim_disk_crash_at(n, k, whens[w], SIM_KILL);
			e = io_file_open(sim_node_io(n), "a", IO_OPEN_WRITE | IO_OPEN_CREATE, &f);
			if (e == OK) done++, e = put(f, 0, "abcd", 4);
			if (e == OK) done++, e = io_file_sync(f);
			if (e == OK) done++, e = io_file_truncate(f, 1);
			assert_int_equal(e, ERR_CRASHED);
			assert_int_equal(done, k - 1);
			assert_int_equal(sim_node_state(n), SIM_DOWN);
			assert_null(sim_node_io(n));
			const bool after = whens[w] == SIM_AFTER, during = whens[w] == SIM_DURING;
			uint64_t size = 0;
			if (!during) assert_int_equal(exists(n, "a"), k > 1 || after);
			if (exists(n, "a")) assert_int_equal(sim_disk_size(n, "a", &size), OK);
			if (k == 2 && !during) assert_int_equal(size, after ? 4 : 0);
			if (k == 4 && !during) assert_int_equal(size, after ? 1 : 4);
			if (k == 3 && !during) assert_int_equal(sim_disk_dirty_bytes(n), after ? 0 : 4096);
			sim_free(s);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_see_what_was_written),
		cmocka_unit_test(opens_obey_their_flags),
		cmocka_unit_test(a_kill_keeps_the_cache_and_a_power_cut_may_take_it),
		cmocka_unit_test(what_was_synced_survives),
		cmocka_unit_test(an_overwrite_tears_at_the_unit),
		cmocka_unit_test(a_unit_is_never_from_the_future_alone),
		cmocka_unit_test(a_cut_that_is_lost_takes_what_was_written_behind_it),
		cmocka_unit_test(a_rewritten_page_may_be_ruined_and_only_that),
		cmocka_unit_test(a_failed_sync_leaves_clean_pages_that_are_nowhere),
		cmocka_unit_test(a_dropped_cache_keeps_dirty_pages),
		cmocka_unit_test(names_are_durable_only_after_a_sync_of_their_directory),
		cmocka_unit_test(a_synced_directory_keeps_its_names),
		cmocka_unit_test(a_rename_between_directories_is_durable_with_either),
		cmocka_unit_test(a_full_disk_writes_short_and_says_so),
		cmocka_unit_test(space_is_right_after_a_loss_of_power),
		cmocka_unit_test(rules_fail_the_calls_they_name),
		cmocka_unit_test(rates_fail_some_calls),
		cmocka_unit_test(bits_rot_when_told_to),
		cmocka_unit_test(damage_of_a_dirty_page_is_overwritten),
		cmocka_unit_test(a_backup_comes_back),
		cmocka_unit_test(listings_are_sorted),
		cmocka_unit_test(a_crash_comes_at_the_call_it_is_ordered_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
