/* SPDX-License-Identifier: Apache-2.0 */
/* bench_log — how fast the log makes entries durable, beside the least that could do it, and how fast it starts again.
 *
 * The least ("bare"): what the journal of a bare relay does, without the relay: two buffers, a crc over each record, one write and one sync at a time into a file that was filled before, no groups, no
 * blocks, nothing ever read back: what a journal costs when it is nothing else. Both sides run in one process, by turns, with the same
 * number of records on their way (a closed loop), so that the ratio does not depend on the machine's mood of the hour; medians count.
 * Rows with a target are entries as streams make them, of many records, and consumed before their slot settles: then each is
 * written once on either side. "kept" is written twice.
 *
 *   bench_log [--dir D] [--seconds S] [--rounds N] [--only TEXT] [--restart GIB] */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "thebes/io_uv.h"
#include "thebes/log.h"

struct shape {
	const char *name;
	unsigned groups, records, payload, in_flight; /* entries on their way, all groups together */
	bool dead;                                    /* consumed before their slot settles */
	double target;                                /* ratio that is asked for; 0: none */
};
static const struct shape shapes[] = {
	{ "1 group, 1 record", 1, 1, 128, 4000, true, 0 },
	{ "1 group, 1 record, kept", 1, 1, 128, 4000, false, 0 },
	{ "1 group, 64 records", 1, 64, 128, 256, true, 0.7 },
	{ "1 group, 64 records, kept", 1, 64, 128, 256, false, 0 },
	{ "1000 groups, 1 record", 1000, 1, 128, 4000, true, 0 },
	{ "1000 groups, 1 record, kept", 1000, 1, 128, 4000, false, 0 },
	{ "1000 groups, 64 records", 1000, 64, 128, 4000, true, 0.7 },
	{ "1000 groups, 64 records, kept", 1000, 64, 128, 4000, false, 0 },
	{ "1 group, one at a time", 1, 1, 128, 1, true, 0 },
};

enum { WARM_SLOTS = 6 };

struct result {
	double records_s, mib_s;
};

struct bench {
	const struct shape *shape;
	struct io *io;
	struct io_turn_hook hook;
	struct io_timer timer;
	char path[512];
	double seconds;
	uint64_t begun_ns, records, bytes;
	bool is_over, is_warm;
	uint64_t begun_blocks;
	unsigned open_units;
	struct buf body, record; /* one batch; one record of the bare side */
	struct unit *units;
	unsigned units_count;
	/* log side */
	struct diag diag;
	struct log *log;
	struct log_group **groups;
	struct unit *first_refused, *last_refused;
	uint64_t refused;
	bool is_closed;
	/* bare side */
	struct bare *bare;
};

struct unit {
	struct log_req req;
	struct bench *b;
	unsigned group;
	uint64_t index;
	struct unit *next;
};

static void over(struct io_timer *t)
{
	struct bench *b = CONTAINER_OF(t, struct bench, timer);
	/* The bare side's file was written before; so the ring goes round once before the clock starts. */
	if (b->log && !b->is_warm) {
		b->is_warm = b->diag.counter[COUNTER_log_slots_begun] > WARM_SLOTS;
		b->begun_ns = io_now_precise_ns(b->io);
		b->records = b->bytes = 0;
		io_timer_start(b->io, t, b->is_warm ? (uint64_t)(b->seconds * 1e9) : MILLIS(50));
		if (b->is_warm) b->begun_blocks = b->diag.counter[COUNTER_log_blocks];
		return;
	}
	b->is_over = true;
}

static void body_make(struct bench *b)
{
	uint8_t *payload = mem_alloc(b->shape->payload);
	memset(payload, 'x', b->shape->payload);
	batch_begin(&b->body);
	for (unsigned i = 0; i < b->shape->records; i++) {
		struct record r = { .kind = 1,
			.seq = i + 1,
			.subject = SLICE("load.0"),
			.payload = slice_of(payload, b->shape->payload) };
		batch_add(&b->body, &r);
	}
	batch_end(&b->body, b->shape->records);
	buf_append(&b->record, payload, b->shape->payload);
	mem_free(payload);
}

static struct result measure(const struct bench *b)
{
	double seconds = (double)(io_now_precise_ns(b->io) - b->begun_ns) / 1e9;
	return (struct result) { (double)b->records / seconds, (double)b->bytes / seconds / (double)MIB };
}

/* ---- the bare side ---- */

enum { BARE_FILE_BYTES = 256 * 1024 * 1024 };
struct bare {
	struct io_file *file;
	struct buf open, flying;
	struct unit *open_first, *open_last, *flying_first;
	struct io_job job;
	struct bench *b;
	uint64_t at;
	bool is_flying;
	enum err result;
};

static void bare_run(struct io_job *j)
{
	struct bare *a = CONTAINER_OF(j, struct bare, job);
	struct slice v = buf_slice(&a->flying);
	a->result = io_file_write(a->file, a->at, &v, 1);
	if (a->result == OK) a->result = io_file_sync(a->file);
	a->at = a->at + v.n + 16 * MIB > BARE_FILE_BYTES ? 0 : a->at + v.n;
}

static void bare_append(struct bench *b, struct unit *u)
{
	struct bare *a = b->bare;
	for (unsigned i = 0; i < b->shape->records; i++) {
		size_t n = round_up(32 + 6 + b->record.n, 8);
		uint8_t *p = buf_reserve(&a->open, n);
		memset(p, 0, 32);
		memcpy(p + 32, "load.0", 6);
		memcpy(p + 38, b->record.p, b->record.n);
		le32_put(p + 24, crc32c(0, p, n));
		a->open.n += n;
	}
	u->next = NULL;
	if (a->open_last)
		a->open_last->next = u;
	else
		a->open_first = u;
	a->open_last = u;
}

static void bare_done(struct io_job *j);

static void bare_submit(struct bare *a)
{
	if (a->is_flying || a->open.n == 0) return;
	struct buf was = a->flying;
	a->flying = a->open;
	a->open = was;
	a->open.n = 0;
	a->flying_first = a->open_first;
	a->open_first = a->open_last = NULL;
	a->is_flying = true;
	a->job = (struct io_job) { .run = bare_run, .done = bare_done };
	io_job_submit(a->b->io, IO_LANE_JOURNAL, &a->job);
}

static void bare_done(struct io_job *j)
{
	struct bare *a = CONTAINER_OF(j, struct bare, job);
	struct bench *b = a->b;
	if (a->result != OK) abort();
	struct unit *u = a->flying_first;
	b->bytes += a->flying.n;
	a->is_flying = false;
	bare_submit(a);
	while (u) {
		struct unit *next = u->next;
		b->records += b->shape->records;
		if (b->is_over)
			b->open_units--;
		else
			bare_append(b, u);
		u = next;
	}
	if (b->open_units == 0) io_uv_stop(b->io);
}

static void bare_turn(struct io_turn_hook *h) { bare_submit(CONTAINER_OF(h, struct bench, hook)->bare); }

static struct result bare_bench(struct bench *b)
{
	struct bare a = { .b = b };
	b->bare = &a;
	if (io_uv_new(&b->io) != OK) abort();
	if (io_file_open(b->io, b->path, IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE, &a.file) != OK) abort();
	uint8_t *zeroes = mem_zalloc(MIB);
	struct slice v = slice_of(zeroes, MIB);
	for (uint64_t at = 0; at < BARE_FILE_BYTES + 16 * MIB; at += MIB)
		if (io_file_write(a.file, at, &v, 1) != OK) abort();
	if (io_file_sync(a.file) != OK) abort();
	mem_free(zeroes);
	b->hook.turn_end = bare_turn;
	io_turn_hook_add(b->io, &b->hook);
	for (unsigned i = 0; i < b->units_count; i++) bare_append(b, &b->units[i]);
	b->open_units = b->units_count;
	b->begun_ns = io_now_precise_ns(b->io);
	b->timer.fire = over;
	io_timer_start(b->io, &b->timer, (uint64_t)(b->seconds * 1e9));
	bare_submit(&a);
	io_uv_run(b->io);
	struct result r = measure(b);
	io_turn_hook_remove(b->io, &b->hook);
	io_file_close(a.file);
	buf_deinit(&a.open);
	buf_deinit(&a.flying);
	io_uv_free(b->io);
	(void)unlink(b->path);
	return r;
}

/* ---- the log ---- */

static bool all_dead(void *owner, const struct entry_head *e, uint64_t before)
{
	(void)e;
	(void)before;
	return ((struct bench *)owner)->shape->dead;
}
static void capture_little(void *owner, struct state_batch *batch)
{
	(void)owner;
	state_batch_put(batch, SLICE("k"), SLICE("a value of some length, as a consumer might have"));
}
static const struct log_group_ops group_ops = { .entry_is_dead = all_dead, .capture = capture_little };

static void log_fatal(void *arg, const char *why)
{
	(void)arg;
	(void)fprintf(stderr, "fatal: %s\n", why);
	exit(1);
}

static void unit_append(struct unit *u)
{
	struct bench *b = u->b;
	if (log_admit(b->log, LOG_ADMIT_GROWS, b->body.n) != OK) {
		u->next = NULL;
		if (b->last_refused)
			b->last_refused->next = u;
		else
			b->first_refused = u;
		b->last_refused = u;
		b->refused++;
		return;
	}
	struct log_entry e = { ENTRY_COMMAND, 1, buf_slice(&b->body) };
	log_append(b->groups[u->group], &u->req, &e, 1);
}

static void unit_done(struct log_req *r)
{
	struct unit *u = CONTAINER_OF(r, struct unit, req);
	struct bench *b = u->b;
	struct log_group *g = b->groups[u->group];
	struct log_group_info info;
	log_group_info(g, &info);
	if (info.durable_index > info.commit_index) log_applied(g, info.durable_index, 1, SLICE_NULL, 0);
	b->records += b->shape->records;
	b->bytes += b->body.n;
	if (b->is_over) {
		if (--b->open_units == 0) io_uv_stop(b->io);
	} else {
		unit_append(u);
	}
}

static void log_turn(struct io_turn_hook *h)
{
	struct bench *b = CONTAINER_OF(h, struct bench, hook);
	struct unit *u = b->first_refused;
	b->first_refused = b->last_refused = NULL;
	while (u) {
		struct unit *next = u->next;
		if (!b->is_over)
			unit_append(u);
		else if (--b->open_units == 0)
			io_uv_stop(b->io);
		u = next;
	}
	if (b->log) log_turn_end(b->log);
}

static void made(struct log_req *r)
{
	struct unit *u = CONTAINER_OF(r, struct unit, req);
	if (--u->b->open_units == 0) io_uv_stop(u->b->io);
}

static void closed(void *arg)
{
	struct bench *b = arg;
	b->is_closed = true;
	io_uv_stop(b->io);
}

static void log_begin(struct bench *b)
{
	char why[300];
	if (io_uv_new(&b->io) != OK) abort();
	diag_init(&b->diag, DIAG_WARN, NULL, NULL);
	struct log_options o = { .dir = b->path, .state = &state_lmdb, .fatal = log_fatal };
	if (log_open(b->io, &b->diag, &o, &b->log, why, sizeof why) != OK) {
		(void)fprintf(stderr, "%s\n", why);
		exit(1);
	}
	b->hook.turn_end = log_turn;
	io_turn_hook_add(b->io, &b->hook);
}

static void log_end(struct bench *b)
{
	b->is_closed = false;
	log_close(b->log, closed, b);
	while (!b->is_closed) io_uv_run(b->io);
	io_turn_hook_remove(b->io, &b->hook);
	log_free(b->log);
	b->log = NULL;
	diag_deinit(&b->diag);
	io_uv_free(b->io);
}

static void groups_make(struct bench *b)
{
	b->groups = mem_zalloc(b->shape->groups * sizeof(struct log_group *));
	struct unit *makers = mem_zalloc(b->shape->groups * sizeof *makers);
	b->open_units = b->shape->groups;
	for (unsigned i = 0; i < b->shape->groups; i++) {
		makers[i] = (struct unit) { .req.done = made, .b = b };
		if (log_group_make(b->log, i + 1, SLICE("conf"), &makers[i].req, &b->groups[i]) != OK) abort();
		log_group_attach(b->groups[i], &group_ops, b);
	}
	log_turn_end(b->log);
	io_uv_run(b->io);
	mem_free(makers);
}

static void wipe(const char *path)
{
	char command[600];
	(void)snprintf(command, sizeof command, "rm -rf '%s'", path);
	if (system(command) != 0) abort();
}

static double cpu_seconds(void)
{
	struct rusage u;
	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static struct result log_bench(struct bench *b)
{
	wipe(b->path);
	log_begin(b);
	groups_make(b);
	double cpu = cpu_seconds();
	b->open_units = b->units_count;
	b->begun_ns = io_now_precise_ns(b->io);
	b->timer.fire = over;
	b->is_warm = b->units_count == 1; /* it would take for ever */
	io_timer_start(b->io, &b->timer, b->is_warm ? (uint64_t)(b->seconds * 1e9) : MILLIS(50));
	for (unsigned i = 0; i < b->units_count; i++) unit_append(&b->units[i]);
	log_turn_end(b->log);
	io_uv_run(b->io);
	struct result r = measure(b);
	double seconds = (double)(io_now_precise_ns(b->io) - b->begun_ns) / 1e9;
	(void)fprintf(stderr,
		"#   blocks %llu (%llu KiB each), rounds %llu, slots %llu, refused %llu, settled %llu, dead %llu, cpu "
		"%.2f s\n",
		(unsigned long long)b->diag.counter[COUNTER_log_blocks],
		(unsigned long long)(b->diag.counter[COUNTER_log_block_bytes] / 1024 /
				     (b->diag.counter[COUNTER_log_blocks] + 1)),
		(unsigned long long)b->diag.counter[COUNTER_log_rounds],
		(unsigned long long)b->diag.counter[COUNTER_log_slots_begun], (unsigned long long)b->refused,
		(unsigned long long)b->diag.counter[COUNTER_log_entries_settled],
		(unsigned long long)b->diag.counter[COUNTER_log_entries_dead], cpu_seconds() - cpu);
	const struct histogram *h = b->diag.histogram[HISTOGRAM_log_commit];
	(void)fprintf(stderr, "#   commit p50 %.2f ms, p99 %.2f ms; %.0f blocks/s\n",
		(double)histogram_quantile(h, 0.5) / 1e6, (double)histogram_quantile(h, 0.99) / 1e6,
		(double)(b->diag.counter[COUNTER_log_blocks] - b->begun_blocks) / seconds);
	log_end(b);
	mem_free(b->groups);
	wipe(b->path);
	return r;
}

/* ---- one row ---- */

static struct result run_side(const struct shape *s, const char *dir, double seconds,
	struct result (*side)(struct bench *b), const char *name)
{
	struct bench *b = NEW(struct bench);
	b->shape = s;
	b->seconds = seconds;
	(void)snprintf(b->path, sizeof b->path, "%s/bench-log-%ld-%s", dir, (long)getpid(), name);
	body_make(b);
	b->units_count = s->in_flight;
	b->units = mem_zalloc(b->units_count * sizeof *b->units);
	for (unsigned i = 0; i < b->units_count; i++)
		b->units[i] = (struct unit) { .req.done = unit_done, .b = b, .group = i % s->groups };
	struct result r = side(b);
	mem_free(b->units);
	buf_deinit(&b->body);
	buf_deinit(&b->record);
	mem_free(b);
	return r;
}

/* ---- starting again ---- */

/* What this process has asked files for so far. */
static uint64_t bytes_read(void)
{
	unsigned long long n = 0;
	FILE *f = fopen("/proc/self/io", "re");
	if (!f || fscanf(f, "rchar: %llu", &n) != 1) abort();
	(void)fclose(f);
	return n;
}

/* MiB/s of reading the journal's slots when no page of them is cached. */
static double disk_rate(const char *store)
{
	static uint8_t piece[MIB];
	uint64_t bytes = 0;
	struct timespec from, to;
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	for (unsigned k = 0;; k++) {
		char path[600];
		(void)snprintf(path, sizeof path, "%s/journal/%02u", store, k);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0) break;
		(void)fdatasync(fd);
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		for (ssize_t n; (n = read(fd, piece, sizeof piece)) > 0;) bytes += (uint64_t)n;
		(void)close(fd);
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	double seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
	return (double)bytes / (double)MIB / seconds;
}

static void restart_bench(const char *dir, unsigned gib)
{
	static const struct shape shape = { "restart", 100, 64, 1024, 2000, false, 0 };
	struct bench *b = NEW(struct bench);
	b->shape = &shape;
	(void)snprintf(b->path, sizeof b->path, "%s/bench-log-%ld-restart", dir, (long)getpid());
	body_make(b);
	wipe(b->path);
	log_begin(b);
	groups_make(b);
	b->units_count = shape.in_flight;
	b->units = mem_zalloc(b->units_count * sizeof *b->units);
	for (unsigned i = 0; i < b->units_count; i++) {
		b->units[i] = (struct unit) { .req.done = unit_done, .b = b, .group = i % shape.groups };
		unit_append(&b->units[i]);
	}
	b->open_units = b->units_count;
	b->begun_ns = io_now_precise_ns(b->io);
	log_turn_end(b->log);
	b->timer.fire = over;
	b->is_warm = true;
	while (b->bytes < gib * GIB) {
		b->is_over = false;
		io_timer_start(b->io, &b->timer, MILLIS(200));
		while (!b->is_over) io_uv_run(b->io);
		if (b->open_units == 0) {
			b->open_units = b->units_count;
			b->is_over = false;
			for (unsigned i = 0; i < b->units_count; i++) unit_append(&b->units[i]);
			log_turn_end(b->log);
		}
	}
	b->is_over = true;
	while (b->open_units) io_uv_run(b->io);
	struct result filled = measure(b);
	log_end(b);
	struct timespec from, to;
	double rate = disk_rate(b->path);
	uint64_t read_before = bytes_read();
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	log_begin(b);
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	double read_mib = (double)(bytes_read() - read_before) / (double)MIB;
	double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
	printf("restart with %u GiB stored (filled at %.0f MiB/s): %.0f ms; %.0f MiB of the ring read, at %.0f MiB/s "
	       "that is "
	       "%.0f ms; the rest (target 300): %.0f ms\n",
		gib, filled.mib_s, ms, read_mib, rate, read_mib / rate * 1e3, ms - read_mib / rate * 1e3);
	(void)fflush(stdout);
	log_end(b);
	wipe(b->path);
	mem_free(b->groups);
	mem_free(b->units);
	buf_deinit(&b->body);
	buf_deinit(&b->record);
	mem_free(b);
}

enum { ROUNDS_MAX = 25 };

static int by_rate(const void *a, const void *b)
{
	double x = ((const struct result *)a)->records_s, y = ((const struct result *)b)->records_s;
	return x < y ? -1 : x > y;
}

static struct result median(struct result *r, unsigned count)
{
	qsort(r, count, sizeof *r, by_rate);
	return r[count / 2];
}

/* One line of the table. False: its target is missed. */
static bool row(const struct shape *s, const char *dir, double seconds, unsigned rounds)
{
	struct result bare[ROUNDS_MAX], ours[ROUNDS_MAX];
	for (unsigned i = 0; i < rounds; i++) {
		bare[i] = run_side(s, dir, seconds, bare_bench, "bare");
		ours[i] = run_side(s, dir, seconds, log_bench, "log");
	}
	struct result b = median(bare, rounds), o = median(ours, rounds);
	double ratio = o.records_s / b.records_s;
	bool is_met = s->target == 0 || ratio >= s->target;
	printf("%-32s %14.0f %10.1f %14.0f %10.1f %6.2f", s->name, b.records_s, b.mib_s, o.records_s, o.mib_s, ratio);
	if (s->target > 0) printf("  at least %.2f %s", s->target, is_met ? "pass" : "MISS");
	printf("\n");
	(void)fflush(stdout);
	return is_met;
}

int main(int argc, char **argv)
{
	const char *dir = "/tmp", *only = NULL;
	double seconds = 3;
	unsigned restart_gib = 0, rounds = 3, missed = 0;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--dir") == 0) dir = argv[i + 1];
		if (strcmp(argv[i], "--seconds") == 0) seconds = atof(argv[i + 1]);
		if (strcmp(argv[i], "--restart") == 0) restart_gib = (unsigned)atoi(argv[i + 1]);
		if (strcmp(argv[i], "--only") == 0) only = argv[i + 1];
		if (strcmp(argv[i], "--rounds") == 0) rounds = (unsigned)atoi(argv[i + 1]);
	}
	if (rounds < 1 || rounds > ROUNDS_MAX) rounds = 3;
	if (restart_gib) {
		restart_bench(dir, restart_gib);
		return 0;
	}
	printf("%-32s %14s %10s %14s %10s %6s\n", "entries of 128 B records", "bare rec/s", "MiB/s", "log rec/s",
		"MiB/s", "ratio");
	for (size_t i = 0; i < COUNT_OF(shapes); i++) {
		if (only && !strstr(shapes[i].name, only)) continue;
		if (!row(&shapes[i], dir, seconds, rounds)) missed++;
	}
	printf("targets missed: %u\n", missed);
	return missed ? 1 : 0;
}
