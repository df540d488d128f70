/* SPDX-License-Identifier: Apache-2.0 */
/* sim_batch — see sim_batch.h. */
#include "sim/sim_batch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double real_s(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- counts, from child to parent: a line each ---- */

void sim_batch_count(struct batch *b, const char *name, uint64_t count)
{
	(void)dprintf(b->to, "%llu %s\n", (unsigned long long)count, name);
}

static void tally_put(struct sim_tally *t, const char *name, uint64_t count)
{
	size_t at = 0;
	while (at < t->count && strcmp(t->rows[at].name, name) < 0) at++;
	if (at == t->count || strcmp(t->rows[at].name, name) != 0) {
		t->rows = mem_realloc(t->rows, (t->count + 1) * sizeof *t->rows);
		memmove(t->rows + at + 1, t->rows + at, (t->count - at) * sizeof *t->rows);
		t->rows[at] = (struct sim_tally_row) { .name = mem_strdup(name) };
		t->count++;
	}
	t->rows[at].count += count;
}

static void counts_read(int from, struct sim_tally *t)
{
	FILE *f = fdopen(from, "r");
	char line[256];
	ASSERT(f);
	while (fgets(line, sizeof line, f)) {
		char *name = NULL;
		uint64_t count = strtoull(line, &name, 10);
		line[strcspn(line, "\n")] = '\0';
		if (*name == ' ') tally_put(t, name + 1, count);
	}
	(void)fclose(f);
}

/* ---- a seed ---- */

enum verdict { SEED_CLEAN, SEED_BAD, SEED_ASSERTED, SEED_DIED };

/* An assertion of ours, told apart from every other death. */
static void on_assertion(void *arg)
{
	(void)arg;
	_exit(SEED_ASSERTED);
}

static void child_run(struct batch *b, uint64_t seed, int to)
{
	b->to = to;
	if (b->is_hushed && !(freopen("/dev/null", "w", stdout) && freopen("/dev/null", "w", stderr))) _exit(2);
	assert_note_set(on_assertion, NULL);
	bool bad = b->run(b, seed);
	(void)fflush(stdout);
	_exit(bad ? SEED_BAD : SEED_CLEAN);
}

static enum verdict seed_fork(struct batch *b, uint64_t seed, struct sim_tally *tally)
{
	int ends[2], status = 0;
	(void)fflush(stdout);
	if (pipe(ends) != 0) return SEED_DIED;
	pid_t child = fork();
	if (child < 0) return SEED_DIED;
	if (child == 0) {
		(void)close(ends[0]);
		child_run(b, seed, ends[1]);
	}
	(void)close(ends[1]);
	counts_read(ends[0], tally);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
	enum verdict v =
		WIFEXITED(status) && WEXITSTATUS(status) < SEED_DIED ? (enum verdict)WEXITSTATUS(status) : SEED_DIED;
	if (v >= SEED_ASSERTED && !b->is_hushed) (void)printf("seed %" PRIu64 " | DIED\n", seed);
	return v;
}

static enum verdict seed_without_bug(struct batch *b, uint64_t seed)
{
	struct sim_tally tally = { 0 };
	const char *bug = b->bug;
	const bool was_hushed = b->is_hushed;
	b->bug = NULL;
	b->is_hushed = true;
	enum verdict v = seed_fork(b, seed, &tally);
	b->bug = bug;
	b->is_hushed = was_hushed;
	sim_tally_deinit(&tally);
	return v;
}

static bool is_deadly(const struct batch *b)
{
	for (size_t i = 0; i < b->deadly_count; i++)
		if (strcmp(b->deadly[i], b->bug) == 0) return true;
	return false;
}

/* Of a planted bug only the oracle's find counts: an assertion shows what assertions are worth, any other death too unless it is the damage; and a
 * seed that is bad without the bug shows nothing about it. */
static bool is_found(struct batch *b, uint64_t seed, enum verdict v)
{
	if (v != SEED_BAD && !(v == SEED_DIED && is_deadly(b))) return false;
	if (seed_without_bug(b, seed) == SEED_CLEAN) return true;
	(void)printf("seed %" PRIu64 " is bad without %s\n", seed, b->bug);
	return false;
}

/* ---- many ---- */

enum { FLOORS_FROM_SEEDS = 50, FLOORS_FROM_EVENTS = 10, FLOORS_SEEDS_MANY = 900 }; /* fewer are too few for averages */

static uint64_t floors_missed(const struct batch *b, const struct sim_tally *t, uint64_t seeds)
{
	uint64_t missed = 0;
	for (size_t i = 0; i < b->floor_count; i++) {
		uint64_t have = sim_tally_of(t, b->floors[i].name);
		double want = b->floors[i].per_seed * (double)seeds;
		/* What is rare says nothing about a short batch. */
		if ((double)have >= want || (want < FLOORS_FROM_EVENTS && seeds < FLOORS_SEEDS_MANY)) continue;
		(void)printf("FLOOR: \"%s\" %llu times in %llu seeds\n", b->floors[i].name, (unsigned long long)have,
			(unsigned long long)seeds);
		missed++;
	}
	return missed;
}

static int seeds_run(struct batch *b)
{
	struct sim_tally tally = { 0 };
	uint64_t bad = 0, died = 0, done = 0, missed = 0;
	double begin = real_s();
	while (done < b->seeds && !(b->is_expected && bad)) {
		if (b->budget_s && real_s() - begin >= (double)b->budget_s) break;
		const uint64_t seed = b->seed + done++;
		const enum verdict v = seed_fork(b, seed, &tally);
		died += v >= SEED_ASSERTED;
		bad += b->bug ? is_found(b, seed, v) : v != SEED_CLEAN;
	}
	/* Fewer seeds than were asked for prove less than was asked for. */
	const bool is_short = !b->is_expected && done < b->seeds;
	if (!b->is_expected) sim_tally_print(&tally, stdout);
	if (!b->bug && done >= FLOORS_FROM_SEEDS) missed = floors_missed(b, &tally, done);
	(void)printf("== %s%s seeds %llu from %llu, violations %llu, died %llu, floors missed %llu, %.1f s\n",
		b->bug ? "bug " : "no bug", b->bug ? b->bug : "", (unsigned long long)done, (unsigned long long)b->seed,
		(unsigned long long)bad, (unsigned long long)died, (unsigned long long)missed, real_s() - begin);
	if (is_short)
		(void)printf("== SHORT: %llu seeds were asked for; THEBES_SIM_SECONDS=%llu ended it\n",
			(unsigned long long)b->seeds, (unsigned long long)b->budget_s);
	sim_tally_deinit(&tally);
	return b->is_expected ? bad == 0 : bad != 0 || missed != 0 || is_short;
}

static void bug_plant(struct batch *b, const struct batch_bug *k)
{
	b->bug = k->name;
	b->slant = k->slant;
}

/* True: found. */
static bool bug_run(struct batch *b, const struct batch_bug *k)
{
	struct sim_tally tally = { 0 };
	double from = real_s();
	uint64_t done = 0, died = 0;
	bool found = false;
	bug_plant(b, k);
	while (!found && done < k->seeds_max) {
		const uint64_t seed = b->seed + done++;
		const enum verdict v = seed_fork(b, seed, &tally);
		died += v >= SEED_ASSERTED;
		found = is_found(b, seed, v);
	}
	(void)printf("%s %-28s %3llu of %u seeds, %llu died, %.1f s\n", found ? "found " : "MISSED", k->name,
		(unsigned long long)done, k->seeds_max, (unsigned long long)died, real_s() - from);
	sim_tally_deinit(&tally);
	return found;
}

static int bugs_run(struct batch *b)
{
	unsigned missed = 0;
	double begin = real_s();
	b->is_hushed = true;
	for (size_t i = 0; i < b->bug_count; i++) missed += !bug_run(b, &b->bugs[i]);
	(void)printf("== %zu planted bugs, %u missed, %.1f s\n", b->bug_count, missed, real_s() - begin);
	return missed != 0;
}

/* ---- arguments ---- */

static int usage(const char *name)
{
	(void)fprintf(stderr,
		"usage: %s [--seeds N] [--seed S] [--trace] [--quiet] [--bug NAME] [--expect] [--bugs] [own options]\n",
		name);
	return 2;
}

static bool flag_take(struct batch *b, const char *arg)
{
	const struct {
		const char *name;
		bool *at;
	} flags[] = {
		{ "--trace", &b->is_traced },
		{ "--quiet", &b->is_quiet },
		{ "--expect", &b->is_expected },
		{ "--bugs", &b->with_bugs },
	};
	for (size_t i = 0; i < COUNT_OF(flags); i++)
		if (strcmp(arg, flags[i].name) == 0) return *flags[i].at = true;
	return false;
}

static const struct batch_bug *bug_find(const struct batch *b, const char *name)
{
	for (size_t i = 0; i < b->bug_count; i++)
		if (strcmp(b->bugs[i].name, name) == 0) return &b->bugs[i];
	return NULL;
}

static bool value_take(struct batch *b, const char *arg, const char *value)
{
	uint64_t v = 0;
	if (strcmp(arg, "--bug") == 0) {
		const struct batch_bug *k = bug_find(b, value);
		b->bug = value;
		if (k) bug_plant(b, k);
		return true;
	}
	if (slice_to_u64(slice_of_str(value), &v) != OK) return false;
	if (strcmp(arg, "--seeds") == 0)
		b->seeds = v;
	else if (strcmp(arg, "--seed") == 0)
		b->seed = v;
	else
		return b->option && b->option(b, arg, v);
	return true;
}

int sim_batch_main(struct batch *b, int argc, char **argv)
{
	const char *budget = getenv("THEBES_SIM_SECONDS");
	if (!b->seeds) b->seeds = 20;
	if (!b->seed) b->seed = 1;
	for (int i = 1; i < argc; i++) {
		if (flag_take(b, argv[i])) continue;
		if (i + 1 >= argc || !value_take(b, argv[i], argv[i + 1])) return usage(argv[0]);
		i++;
	}
	if (budget && slice_to_u64(slice_of_str(budget), &b->budget_s) != OK) return usage(argv[0]);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	return b->with_bugs ? bugs_run(b) : seeds_run(b);
}
