/* SPDX-License-Identifier: Apache-2.0 */
/* The state store on LMDB with its file cut and flipped at every place: what passes the check is the last state, or the one before it, and
 * serves on. What could end a process runs in children. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "state_fixture.h"

/* ---- damage ---- */

static void file_read(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	buf_clear(out);
	assert_int_equal(read(fd, buf_reserve(out, (size_t)st.st_size), (size_t)st.st_size), st.st_size);
	out->n = (size_t)st.st_size;
	assert_int_equal(close(fd), 0);
}

static void file_write(const char *path, struct slice bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes.p, bytes.n), bytes.n);
	assert_int_equal(close(fd), 0);
}

enum outcome { FOUND, HARMLESS, ONE_BACK, MISSED };

/* In a child: the whole life of a start on this file. What passes the check must be the last state or the one before it, and must go on to
 * serve through further rounds. */
static enum outcome outcome_of(struct fixture *f, const struct model *before)
{
	struct state_head head;
	enum err e = state_lmdb.check(f->io, f->other, &head);
	if (e == ERR_CORRUPT) return FOUND;
	if (e != OK) return MISSED;
	struct model *m = NEW(struct model);
	*m = head.round == f->model.round ? f->model : *before;
	enum outcome outcome = head.round == f->model.round ? HARMLESS : ONE_BACK;
	struct state *s;
	if (state_lmdb.open(f->io, f->other, &s) != OK) return MISSED;
	if (!model_equals(m, s)) return MISSED;
	struct prng rng = f->rng;
	for (unsigned i = 0; i < 3 && outcome != MISSED; i++) {
		struct model_round r;
		uint64_t sum = 0;
		model_round_draw(m, &rng, 3000, &r);
		if (model_commit(&r, m->round, s, &sum) != OK || !model_equals(m, s)) outcome = MISSED;
		model_round_deinit(&r);
	}
	state_lmdb.close(s);
	if (outcome != MISSED && state_lmdb.check(f->io, f->other, &head) != OK) outcome = MISSED;
	mem_free(m);
	return outcome;
}

static enum outcome outcome_in_child(struct fixture *f, const struct model *before, struct slice bytes)
{
	file_write(f->other, bytes);
	(void)fflush(stdout);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)signal(SIGSEGV, SIG_DFL);
		(void)signal(SIGABRT, SIG_DFL);
		_exit(10 + (int)outcome_of(f, before));
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) >= 10 ? (enum outcome)(WEXITSTATUS(status) - 10) : MISSED;
}

/* A file with several levels, overflow pages, free pages; and the model one round back. */
static void file_make(struct fixture *f, struct model *before, struct buf *bytes)
{
	struct state *s;
	assert_int_equal(state_lmdb.open(f->io, f->path, &s), OK);
	rounds_run(f, s, 4, 5000);
	*before = f->model;
	rounds_run(f, s, 1, 5000);
	state_lmdb.close(s);
	/* Without the room that was reserved behind the last page: nothing there counts. */
	struct state_walk walked;
	int fd = open(f->path, O_RDONLY);
	assert_true(fd >= 0);
	state_walk_file(fd, &walked);
	assert_int_equal(close(fd), 0);
	assert_int_equal(walked.result, OK);
	file_read(f->path, bytes);
	assert_true(walked.pages * walked.page_bytes <= bytes->n);
	bytes->n = walked.pages * walked.page_bytes;
}

/* Only one in so many places is tried where a fork is dear: 1 in a full run, and without sanitizers. */
static size_t thrift(void)
{
	if (getenv("THEBES_TEST_FULL")) return 1;
#if defined(__SANITIZE_ADDRESS__)
	return 8;
#else
	return 1;
#endif
}

static void every_cut_is_found(void **state)
{
	struct fixture *f = *state;
	struct model before;
	struct buf bytes = { 0 };
	file_make(f, &before, &bytes);
	unsigned seen[4] = { 0 };
	/* What lies behind the last page that the newer meta page names may go; a cut before it is seen. */
	for (size_t n = 0; n < bytes.n; n += 512 * thrift())
		seen[outcome_in_child(f, &before, slice_first(buf_slice(&bytes), n))]++;
	assert_int_equal(seen[MISSED], 0);
	assert_true(seen[FOUND] > bytes.n / 512 / thrift() / 2);
	print_message("cuts: found %u, harmless %u, one round back %u of %zu bytes\n", seen[FOUND], seen[HARMLESS],
		seen[ONE_BACK], bytes.n);
	buf_deinit(&bytes);
}

static void every_flip_is_found_or_harmless(void **state)
{
	struct fixture *f = *state;
	struct model before;
	struct buf bytes = { 0 };
	file_make(f, &before, &bytes);
	unsigned seen[4] = { 0 };
	/* Every byte of what describes: meta pages and heads of pages. Of what is described, one in `stride`. */
	size_t stride = getenv("THEBES_TEST_FULL") ? 1 : 1021 * thrift();
	for (size_t at = 0; at < bytes.n; at++) {
		bool is_head = at < 8192 ? at % 4096 < 160 : at % 4096 < 16 && at / 4096 % thrift() == 0;
		if (!is_head && (at + at / 4096) % stride) continue;
		unsigned bit = (unsigned)prng_below(&f->rng, 8);
		bytes.p[at] ^= (uint8_t)(1U << bit);
		enum outcome o = outcome_in_child(f, &before, buf_slice(&bytes));
		if (o == MISSED)
			print_message("missed: byte %zu (page %zu, %zu) bit %u\n", at, at / 4096, at % 4096, bit);
		seen[o]++;
		bytes.p[at] ^= (uint8_t)(1U << bit);
	}
	assert_int_equal(seen[MISSED], 0);
	assert_true(seen[FOUND] > 0 && seen[HARMLESS] > 0 && seen[ONE_BACK] > 0);
	print_message("flips: found %u, harmless %u, one round back %u of %zu bytes\n", seen[FOUND], seen[HARMLESS],
		seen[ONE_BACK], bytes.n);
	buf_deinit(&bytes);
}

/* A sector of the newer meta page, ruined while it was written: the round before is there. */
static void ruined_meta_page_is_one_round_back(void **state)
{
	struct fixture *f = *state;
	struct model before;
	struct buf bytes = { 0 };
	file_make(f, &before, &bytes);
	unsigned seen[4] = { 0 };
	for (size_t page = 0; page < 2; page++) {
		uint8_t kept[4096];
		memcpy(kept, bytes.p + page * 4096, sizeof kept);
		for (size_t i = 0; i < 4096; i++) bytes.p[page * 4096 + i] = (uint8_t)prng_next(&f->rng);
		seen[outcome_in_child(f, &before, buf_slice(&bytes))]++;
		memcpy(bytes.p + page * 4096, kept, sizeof kept);
	}
	assert_int_equal(seen[ONE_BACK], 1);
	assert_int_equal(seen[HARMLESS], 1);
	buf_deinit(&bytes);
}

/* ---- single values ---- */

struct lost {
	uint64_t groups[MODEL_GROUPS];
	unsigned count;
};

static bool lose(void *arg, uint64_t group, struct slice meta, struct buf *out)
{
	struct lost *l = arg;
	l->groups[l->count++] = group;
	buf_append_slice(out, meta);
	return true;
}

static bool is_lost(const struct lost *l, uint64_t group)
{
	for (unsigned i = 0; i < l->count; i++)
		if (l->groups[i] == group) return true;
	return false;
}

/* Every value of the groups that were not told is there; of the others what is there is right. */
static bool equals_but_for(const struct model *m, struct state *s, const struct lost *l)
{
	struct buf want = { 0 }, have = { 0 };
	unsigned missing = 0;
	bool is_same = true;
	for (unsigned g = 0; g < MODEL_GROUPS && is_same; g++) {
		for (unsigned k = 1; k <= MODEL_KEYS && is_same; k++) {
			uint8_t key[STATE_KEY_MAX];
			enum err e = state_get(s, model_group(g), model_key(k, key), &have);
			if (m->rows[g][k].version == 0 || e != OK) {
				bool may_miss = m->rows[g][k].version == 0 || is_lost(l, model_group(g));
				is_same = e == ERR_NOT_FOUND && may_miss;
				missing += m->rows[g][k].version != 0;
				continue;
			}
			model_value_make(&m->rows[g][k], &want);
			is_same = slice_eq(buf_slice(&want), buf_slice(&have));
		}
	}
	buf_deinit(&want);
	buf_deinit(&have);
	return is_same && missing == 1;
}

/* In a child. FOUND: more than one value may be gone, it cannot be mended. */
static enum outcome mend_outcome_of(struct fixture *f)
{
	struct state_head head;
	struct lost lost = { 0 };
	struct state *s;
	if (state_lmdb.check(f->io, f->other, &head) != ERR_CORRUPT) return HARMLESS;
	enum err e = state_lmdb.mend(f->io, f->other, lose, &lost);
	if (e == ERR_CORRUPT) return FOUND;
	if (e != OK || lost.count != 1 || state_lmdb.check(f->io, f->other, &head) != OK) return MISSED;
	if (head.round != f->model.round + 1 || state_lmdb.open(f->io, f->other, &s) != OK) return MISSED;
	bool is_right = equals_but_for(&f->model, s, &lost);
	state_lmdb.close(s);
	return is_right ? ONE_BACK : MISSED;
}

static void a_damaged_value_costs_its_group_alone(void **state)
{
	struct fixture *f = *state;
	struct model before;
	struct buf bytes = { 0 };
	file_make(f, &before, &bytes);
	unsigned seen[4] = { 0 };
	size_t stride = (getenv("THEBES_TEST_FULL") ? 61 : 509) * thrift();
	for (size_t at = 8192; at < bytes.n; at += stride) {
		bytes.p[at] ^= 4;
		file_write(f->other, buf_slice(&bytes));
		(void)fflush(stdout);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) _exit(10 + (int)mend_outcome_of(f));
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		enum outcome o = WIFEXITED(status) && WEXITSTATUS(status) >= 10
					 ? (enum outcome)(WEXITSTATUS(status) - 10)
					 : MISSED;
		if (o == MISSED) print_message("missed: byte %zu (page %zu, %zu)\n", at, at / 4096, at % 4096);
		seen[o]++;
		bytes.p[at] ^= 4;
	}
	assert_int_equal(seen[MISSED], 0);
	assert_true(seen[ONE_BACK] > seen[FOUND] / 2);
	print_message("values: mended %u, more than a value %u, harmless or one round back %u\n", seen[ONE_BACK],
		seen[FOUND], seen[HARMLESS]);
	buf_deinit(&bytes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(every_cut_is_found),
		TEST(every_flip_is_found_or_harmless),
		TEST(ruined_meta_page_is_one_round_back),
		TEST(a_damaged_value_costs_its_group_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
