/* SPDX-License-Identifier: Apache-2.0 */
/* log_sim — many random histories, each from a seed; a violation ends the run with the seed that shows it again.
 *
 *   log_sim [--seed S] [--seeds N | --time SECONDS] [--ops N] [--trace] [--bug NAME] */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "log_sim.h"

struct run {
	uint64_t seed, seeds;
	double seconds;
	unsigned ops;
	bool is_traced;
	const char *bug;
};

static double seconds_now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool run_parse(struct run *r, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		if (strcmp(argv[i], "--trace") == 0) {
			r->is_traced = true;
			continue;
		}
		if (strcmp(argv[i], "--seed") == 0)
			r->seed = strtoull(value, NULL, 0);
		else if (strcmp(argv[i], "--seeds") == 0)
			r->seeds = strtoull(value, NULL, 0);
		else if (strcmp(argv[i], "--time") == 0)
			r->seconds = strtod(value, NULL);
		else if (strcmp(argv[i], "--ops") == 0)
			r->ops = (unsigned)strtoul(value, NULL, 0);
		else if (strcmp(argv[i], "--bug") == 0)
			r->bug = value;
		else
			return false;
		i++;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct run r = { .seed = 1, .ops = 500 };
	if (!run_parse(&r, argc, argv)) {
		(void)fprintf(stderr,
			"usage: %s [--seed S] [--seeds N | --time SECONDS] [--ops N] [--trace] [--bug NAME]\n",
			argv[0]);
		return 2;
	}
	if (r.seeds == 0 && r.seconds <= 0) r.seeds = 1;
	struct sim_tally tally = { 0 };
	double began = seconds_now();
	uint64_t done = 0;
	int status = 0;
	for (; r.seeds ? done < r.seeds : seconds_now() - began < r.seconds; done++) {
		struct world_options options = {
			.seed = r.seed + done, .ops = r.ops, .is_traced = r.is_traced, .bug = r.bug
		};
		struct world *w = world_run(&options);
		sim_tally_add(&tally, w->sim);
		if (w->verdict) {
			(void)printf("seed %" PRIu64 ": %s: %s\n", options.seed, verdict_name(w->verdict), w->text);
			status = 1;
		}
		world_free(w);
		if (status) break;
	}
	sim_tally_print(&tally, stdout);
	(void)printf("%" PRIu64 " histories of %u operations from seed %" PRIu64 " in %.1f s\n", done, r.ops, r.seed,
		seconds_now() - began);
	sim_tally_deinit(&tally);
	return status;
}
