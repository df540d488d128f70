/* SPDX-License-Identifier: Apache-2.0 */
/* sim_batch — many seeds of a simulation, each in a process of its own: it may die of an assertion, and what crashed machines had in memory
 * goes with it. What happened is counted over all seeds; a batch that has not gone through enough of it says nothing and fails.
 *
 *   --seeds N --seed S --quiet --trace      the seeds from S on
 *   --bug NAME [--expect]                   with this failpoint armed; --expect: must be found, and ends with the first seed that does
 *                                           Only a find of the oracle counts, on a seed that is clean without the bug.
 *   --bugs                                  each planted bug of the table in turn, within its number of seeds
 *   THEBES_SIM_SECONDS                      stops after so many seconds of real time; seeds that are left are a failure */
#ifndef THEBES_TESTS_SIM_BATCH_H
#define THEBES_TESTS_SIM_BATCH_H

#include "sim/sim.h"

struct batch_floor {
	const char *name; /* of a count of sim_count */
	double per_seed;
};
struct batch_bug {
	const char *name;
	unsigned seeds_max; /* it is found within so many */
	unsigned slant;     /* the simulation's: what to do more of, so that it does not take long */
};
struct batch {
	const struct batch_floor *floors;
	size_t floor_count;
	const struct batch_bug *bugs;
	size_t bug_count;
	/* Of these bugs the damage is that the process dies; that counts then, not only what the oracle says. */
	const char *const *deadly;
	size_t deadly_count;
	/* True: a violation, said on stdout unless `hushed`. Runs in a child; sim_batch_count tells what happened. */
	bool (*run)(struct batch *b, uint64_t seed);
	/* An argument of the simulation's own; false: not known. May be NULL. */
	bool (*option)(struct batch *b, const char *name, uint64_t value);
	/* From the command line and the table. */
	uint64_t seeds, seed, budget_s;
	bool is_quiet, is_traced, is_expected, with_bugs, is_hushed;
	const char *bug;
	unsigned slant;
	int to; /* the parent, in a child */
};
/* Tells the parent a count; called from run. */
void sim_batch_count(struct batch *b, const char *name, uint64_t count);
/* Runs it all; the exit status of the process. */
int sim_batch_main(struct batch *b, int argc, char **argv);

#endif
