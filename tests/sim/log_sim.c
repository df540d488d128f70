/* SPDX-License-Identifier: Apache-2.0 */
/* log_sim — many random histories of one log, each from a seed; a violation shows the seed that finds it again. Planted bugs are found by the
 * oracle alone: a history that dies of an assertion counts for nothing, and neither does a seed that is bad without the bug.
 *
 *   log_sim [sim_batch's arguments] [--time SECONDS] [--ops N] */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "log_sim.h"
#include "sim/sim_batch.h"

struct own {
	struct batch batch;
	unsigned ops;
};

static void count_tell(void *arg, const char *name, uint64_t count) { sim_batch_count(arg, name, count); }

static struct world *seed_world(struct batch *b, uint64_t seed, const char *bug)
{
	struct own *o = CONTAINER_OF(b, struct own, batch);
	struct world_options options = {
		.seed = seed,
		.ops = o->ops,
		.is_traced = b->is_traced,
		.bug = bug,
		.slant = (enum world_slant)b->slant,
	};
	return world_run(&options);
}

enum { BUG_SECONDS = 2, SEED_SECONDS = 60 };

static bool seed_run(struct batch *b, uint64_t seed)
{
	(void)alarm(b->bug ? BUG_SECONDS : SEED_SECONDS); /* one that spins dies, and is shown or does not count */
	struct world *w = seed_world(b, seed, b->bug);
	bool is_bad = w->verdict != VERDICT_NONE;
	sim_counts(w->sim, count_tell, b);
	if (is_bad)
		(void)printf("seed %" PRIu64 ": %s: %s\n", seed, verdict_name(w->verdict), w->text);
	else if (!b->is_quiet && b->seeds == 1)
		(void)printf(
			"seed %" PRIu64 ": %u operations, %u starts, nothing to say\n", seed, w->ops_done, w->boots);
	world_free(w);
	return is_bad;
}

/* ---- main ---- */

/* What a batch must have gone through, or its silence says nothing. */
static const struct batch_floor floors[] = {
	{ "log history whole", 0.99 },
	{ "node boot", 6 },
	{ "log slot recycled", 7 },
	{ "log round", 12 },
	/* each step of a settle round */
	{ "crash in a round: asking", 0.1 },
	{ "crash in a round: waiting for the journal", 0.2 },
	{ "crash in a round: segments written, not synced", 0.2 },
	{ "crash in a round: segments synced, state not committed", 0.5 },
	{ "crash in a round: state committed, SETTLED not durable", 0.4 },
	{ "crash in a round: SETTLED durable, slots not free", 0.07 },
	{ "start with the state one back", 0.02 },
	{ "crash in an install", 0.8 },
	{ "torn table", 0.07 },
	{ "damage table", 0.02 },
	{ "damage slot", 0.02 },
	{ "damage state image", 0.02 },
	{ "damage state lost", 0.01 },
	{ "damage disk full", 0.2 },
	{ "log truncate", 4 },
	{ "log truncate across a slot", 1 },
	{ "start over a truncation across a slot", 0.4 },
	{ "log entry moved", 50 },
	{ "log entry left out", 30 },
	{ "log install done", 0.4 },
	{ "log segment rewritten", 0.4 },
	{ "log doubt entered", 0.4 },
	{ "log doubt left", 0.4 },
	{ "log level up", 0.1 },
};

static const struct batch_bug bugs[] = {
	{ "bug_s1_two_in_flight", 50, SLANT_NONE },
	{ "bug_s2_shared_sector", 50, SLANT_NONE },
	{ "bug_s3_unseeded", 50, SLANT_NONE },
	{ "bug_s4_missing_is_empty", 300, SLANT_DAMAGE },
	{ "bug_s5_believe_cache", 300, SLANT_NONE },
	{ "bug_s6_cut_damage", 50, SLANT_DAMAGE },
	{ "bug_s7_no_doubt", 300, SLANT_DAMAGE },
	{ "bug_s7_doubt_forgotten", 50, SLANT_DAMAGE },
	{ "bug_s8_no_reserve", 300, SLANT_NONE },
	{ "bug_s8_commit_forgotten", 50, SLANT_NONE },
	{ "bug_s9_state_index", 50, SLANT_NONE },
	{ "bug_s10_state_unchecked", 1500, SLANT_STATE },
	{ "bug_s12_settle_uncommitted", 50, SLANT_NONE },
	{ "bug_s13_free_early", 300, SLANT_NONE },
	{ "bug_s13_state_ahead", 1500, SLANT_STALLS },
	{ "bug_s14_holes_forgotten", 50, SLANT_NONE },
	{ "bug_s16_no_space_fatal", 300, SLANT_NONE },
	{ "bug_s16_refuse_frees", 300, SLANT_NONE },
	{ "bug_s17_ignore_sync", 100, SLANT_NONE },
	{ "bug_s18_unlink_early", 300, SLANT_NONE },
	{ "bug_s19_install_unsynced", 100, SLANT_NONE },
	{ "bug_s19_suffix_survives", 300, SLANT_NONE },
	{ "bug_s20_level_ignored", 50, SLANT_NONE },
};

static bool own_option(struct batch *b, const char *name, uint64_t value)
{
	struct own *o = CONTAINER_OF(b, struct own, batch);
	if (strcmp(name, "--ops") == 0) return o->ops = (unsigned)value, true;
	if (strcmp(name, "--time") != 0) return false;
	b->budget_s = value;
	b->seeds = UINT64_MAX;
	return true;
}

int main(int argc, char **argv)
{
	struct own o = {
		.batch = { .floors = floors,
			.floor_count = COUNT_OF(floors),
			.bugs = bugs,
			.bug_count = COUNT_OF(bugs),
			.run = seed_run,
			.option = own_option },
		.ops = 500,
	};
	return sim_batch_main(&o.batch, argc, argv);
}
