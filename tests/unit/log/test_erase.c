/* SPDX-License-Identifier: Apache-2.0 */
/* Secure deletes (S15): what is to be erased is on no file of the store any more, and its neighbours are. */
#include "log_fixture.h"

enum { RECORDS = 3, SECRET_BYTES = 24 };

/* An owner whose entries hold three records each; sequence = 3 * (index - 1) + 1 .. */
struct keeper {
	struct owner o; /* first: its ops are used */
	uint64_t list[64];
	unsigned count, begun;
	bool is_erased;
};

static void secret_of(uint64_t seq, char out[SECRET_BYTES + 1])
{
	(void)snprintf(out, SECRET_BYTES + 1, "secret %017llu", (unsigned long long)(seq * 7919));
}

static uint64_t keeper_next(void *arg, uint64_t from, uint64_t to)
{
	const struct keeper *k = arg;
	uint64_t best = 0;
	for (unsigned i = 0; i < k->count; i++)
		if (k->list[i] >= from && k->list[i] <= to && (!best || k->list[i] < best)) best = k->list[i];
	return best;
}
static void keeper_erasing(void *arg)
{
	struct keeper *k = arg;
	k->begun = k->count;
}
static void keeper_erased(void *arg)
{
	struct keeper *k = arg;
	memmove(k->list, k->list + k->begun, (k->count - k->begun) * sizeof *k->list);
	k->count -= k->begun;
	k->is_erased = true;
	k->o.f->done++;
	io_uv_stop(k->o.f->io);
}
static const struct log_group_ops keeper_ops = {
	.entry_is_dead = owner_is_dead,
	.capture = owner_capture,
	.settled = owner_settled,
	.live_permille = owner_live,
	.doubted = owner_doubted,
	.erase_next = keeper_next,
	.erasing = keeper_erasing,
	.erased = keeper_erased,
};

static void keeper_attach(struct keeper *k, struct fixture *f, uint64_t id)
{
	owner_attach(&k->o, f, id);
	log_group_detach(k->o.g);
	log_group_attach(k->o.g, &keeper_ops, k);
}
static void keeper_make(struct keeper *k, struct fixture *f, uint64_t id)
{
	*k = (struct keeper) { 0 };
	owner_make(&k->o, f, id);
	log_group_detach(k->o.g);
	log_group_attach(k->o.g, &keeper_ops, k);
}

static void keeper_append(struct keeper *k, unsigned count)
{
	struct buf b = { 0 };
	struct waiter w;
	admit(k->o.f, count * 1000);
	for (unsigned i = 0; i < count; i++) {
		struct log_group_info info;
		log_group_info(k->o.g, &info);
		uint64_t index = info.last_index + 1;
		buf_clear(&b);
		batch_begin(&b);
		for (uint64_t seq = RECORDS * (index - 1) + 1; seq <= RECORDS * index; seq++) {
			char secret[SECRET_BYTES + 1];
			secret_of(seq, secret);
			struct record r = { .kind = 1,
				.seq = seq,
				.subject = SLICE("a.b"),
				.payload = slice_of(secret, SECRET_BYTES) };
			batch_add(&b, &r);
		}
		batch_end(&b, RECORDS * index);
		struct log_entry e = { ENTRY_COMMAND, 1, buf_slice(&b) };
		log_append(k->o.g, i + 1 == count ? wait_on(&w, k->o.f) : NULL, &e, 1);
	}
	run(k->o.f);
	owner_apply(&k->o);
	buf_deinit(&b);
}

/* ---- looking at the files ---- */

static const char *looked_for;
static unsigned found_in;
static char found_path[300];

static int look(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)ftw;
	if (flag != FTW_F || st->st_size == 0) return 0;
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	char *bytes = malloc((size_t)st->st_size);
	assert_non_null(bytes);
	size_t n = fread(bytes, 1, (size_t)st->st_size, file);
	if (memmem(bytes, n, looked_for, SECRET_BYTES)) {
		found_in++;
		(void)snprintf(found_path, sizeof found_path, "%s", path);
	}
	free(bytes);
	assert_int_equal(fclose(file), 0);
	return 0;
}

static unsigned files_with(const struct fixture *f, uint64_t seq)
{
	char secret[SECRET_BYTES + 1];
	secret_of(seq, secret);
	looked_for = secret;
	found_in = 0;
	assert_int_equal(nftw(f->dir, look, 16, FTW_PHYS), 0);
	looked_for = NULL;
	return found_in;
}

static void assert_gone(const struct fixture *f, uint64_t seq)
{
	if (files_with(f, seq)) fail_msg("secret %llu is still in %s", (unsigned long long)seq, found_path);
}

/* Every other record reads as it was written; those erased are zeroes of the same length. */
static void read_all(struct keeper *k, uint64_t first, uint64_t last, const uint64_t *erased, unsigned erased_count)
{
	for (uint64_t from = first; from <= last;) {
		struct read_waiter w = { .req = { .done = read_waiter_done,
						 .from = from,
						 .to = last,
						 .bytes_max = 20000,
						 .holes = true },
			.f = k->o.f };
		log_read(k->o.g, &w.req);
		run(k->o.f);
		assert_int_equal(w.req.result, OK);
		struct slice in = buf_slice(&w.req.entries), body;
		struct entry_head h;
		while (entry_next(&in, &h, &body) == OK) {
			struct batch_head head;
			struct slice records;
			struct record r;
			assert_int_equal(batch_open(body, &head, &records), OK);
			assert_int_equal(head.record_count, RECORDS);
			for (uint64_t seq = RECORDS * (h.index - 1) + 1; record_next(&records, &r) == OK; seq++) {
				char secret[SECRET_BYTES + 1] = { 0 };
				static const char zeroes[SECRET_BYTES];
				bool is_erased = false;
				for (unsigned i = 0; i < erased_count; i++) is_erased |= erased[i] == seq;
				secret_of(seq, secret);
				assert_int_equal(r.seq, seq);
				assert_int_equal(r.payload.n, SECRET_BYTES);
				assert_int_equal((r.flags & RECORD_ERASED) != 0, is_erased);
				assert_memory_equal(r.payload.p, is_erased ? zeroes : secret, SECRET_BYTES);
				assert_int_equal(r.subject.p[0], is_erased ? 0 : 'a');
			}
		}
		assert_true(w.req.next > from);
		from = w.req.next;
		buf_deinit(&w.req.entries);
	}
}

static void erase(struct keeper *k, uint64_t seq)
{
	k->list[k->count++] = seq;
	log_erase(k->o.g);
}
static void wait_erased(struct keeper *k)
{
	k->is_erased = false;
	while (!k->is_erased) run(k->o.f);
}

static void say_finding(void *arg, const struct log_finding *finding)
{
	(void)arg;
	(void)fprintf(stderr, "# %s: %s\n", finding->file ? finding->file : "-", finding->what);
}

static void check_whole(struct fixture *f)
{
	struct log_check_report report;
	struct io *io;
	assert_int_equal(io_uv_new(&io), OK);
	enum err e = log_check(io, f->dir, &state_lmdb, say_finding, NULL, &report, f->why, sizeof f->why);
	if (e != OK) (void)fprintf(stderr, "# %s\n", f->why);
	assert_int_equal(e, OK);
	assert_int_equal(report.damages, 0);
	io_uv_free(io);
}

/* Never settled; in a segment that grows; in a sealed one; in slots that are free again: wherever they are they go. */
static void it_is_nowhere(void **state)
{
	(void)state;
	struct fixture f;
	struct keeper k;
	struct log_group_info info;
	fixture_init(&f);
	f.options.segment_bytes_max = 16 * 1024;
	fixture_open(&f);
	keeper_make(&k, &f, 1);
	for (unsigned i = 0; i < 20; i++) {
		keeper_append(&k, 10);
		if (i % 5 == 4) settle(&f);
	}
	assert_true(k.o.g->segments.count >= 3);
	keeper_append(&k, 20); /* not settled */
	static const uint64_t erased[] = { 2, 60, 61, 62, 301, 590, 599, 650 };
	for (unsigned i = 0; i < COUNT_OF(erased); i++) {
		assert_true(files_with(&f, erased[i]) > 0);
		erase(&k, erased[i]);
	}
	wait_erased(&k);
	assert_int_equal(k.count, 0);
	for (unsigned i = 0; i < COUNT_OF(erased); i++) assert_gone(&f, erased[i]);
	assert_true(files_with(&f, 1) > 0 && files_with(&f, 63) > 0 && files_with(&f, 649) > 0);
	read_all(&k, 1, 220, erased, COUNT_OF(erased));
	log_group_info(k.o.g, &info);
	assert_true(info.contiguous_from > 217); /* the entry of 650: nobody is sent it to be applied */
	keeper_append(&k, 5);
	fixture_kill(&f);
	for (unsigned i = 0; i < COUNT_OF(erased); i++) assert_gone(&f, erased[i]);
	check_whole(&f);
	fixture_open(&f);
	keeper_attach(&k, &f, 1);
	read_all(&k, 1, 225, erased, COUNT_OF(erased));
	log_group_info(k.o.g, &info);
	assert_false(info.in_doubt);
	fixture_end(&f);
}

struct tick {
	struct io_timer timer;
	struct fixture *f;
};
static void tick_fire(struct io_timer *t) { io_uv_stop(CONTAINER_OF(t, struct tick, timer)->f->io); }

/* Goes on for a moment. */
static void tick(struct fixture *f)
{
	struct tick t = { .timer.fire = tick_fire, .f = f };
	io_timer_start(f->io, &t.timer, MILLIS(1));
	io_uv_run(f->io);
	io_timer_stop(f->io, &t.timer);
}

/* Killed again and again while it goes on, and asked anew after each start, as an owner does whose list is in its state. */
static void a_restart_goes_on(void **state)
{
	(void)state;
	struct fixture f;
	struct keeper k;
	static const uint64_t erased[] = { 5, 90, 182 };
	fixture_init(&f);
	f.options.segment_bytes_max = 16 * 1024;
	fixture_open(&f);
	keeper_make(&k, &f, 1);
	for (unsigned i = 0; i < 6; i++) keeper_append(&k, 10);
	settle(&f);
	keeper_append(&k, 10);
	for (unsigned i = 0; i < COUNT_OF(erased); i++) erase(&k, erased[i]);
	for (unsigned turns = 1; !k.is_erased; turns += 1 + turns / 2) {
		/* so many steps from the beginning of erasing */
		for (unsigned n = 0; n < turns && !k.is_erased;) {
			n += f.log->erase.phase != ERASE_IDLE;
			tick(&f);
		}
		if (k.is_erased) break;
		(void)fprintf(stderr, "# killed in phase %u after %u steps\n", (unsigned)f.log->erase.phase, turns);
		fixture_kill(&f);
		check_whole(&f);
		fixture_open(&f);
		keeper_attach(&k, &f, 1);
		log_erase(k.o.g);
	}
	for (unsigned i = 0; i < COUNT_OF(erased); i++) assert_gone(&f, erased[i]);
	read_all(&k, 1, 70, erased, COUNT_OF(erased));
	fixture_end(&f);
}

/* Planted: each is found by the very look at the files. */
static void planted_bugs_are_seen(void **state)
{
	(void)state;
	static const enum fault bugs[] = { FAULT_bug_s15_slots_kept, FAULT_bug_s15_copied_whole };
	for (unsigned i = 0; i < COUNT_OF(bugs); i++) {
		struct fixture f;
		struct keeper k;
		fixture_init(&f);
		fixture_open(&f);
		keeper_make(&k, &f, 1);
		keeper_append(&k, 10);
		assert_int_equal(diag_fault_set(&f.diag, slice_of_str(diag_fault_name(bugs[i])), SLICE("always")), OK);
		erase(&k, 4);
		wait_erased(&k);
		assert_true(files_with(&f, 4) > 0);
		fixture_end(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_nowhere),
		cmocka_unit_test(a_restart_goes_on),
		cmocka_unit_test(planted_bugs_are_seen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
