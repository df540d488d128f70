/* SPDX-License-Identifier: Apache-2.0 */
/* log_world — one history: a store of random shape, a machine that starts, dies and starts again, faults between; at the end everything must
 * become whole, close, and be found whole by one more start. */
#include <stdio.h>

#include "log_sim.h"

/* Virtual time within which what should happen must have happened. */
#define WEDGE_NS SECONDS(120)

const char *verdict_name(enum verdict v)
{
	static const char *const names[] = { "none", "lost", "resurrected", "wrong", "false damage", "wedge" };
	_Static_assert(COUNT_OF(names) == VERDICT_COUNT, "a name for each");
	return names[v];
}

void accuse(struct world *w, enum verdict v, const char *fmt, ...)
{
	if (w->verdict) return;
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(w->text, sizeof w->text, fmt, ap);
	va_end(ap);
	w->verdict = v;
	note(w, "ORACLE %s: %s", verdict_name(v), w->text);
}

void note(struct world *w, const char *fmt, ...)
{
	if (!w->options.is_traced) return;
	va_list ap;
	va_start(ap, fmt);
	(void)printf("%12.6f ", (double)sim_now_ns(w->sim) / 1e9);
	(void)vprintf(fmt, ap);
	(void)printf("\n");
	va_end(ap);
}

static void world_fatal(void *arg, const char *why)
{
	struct world *w = arg;
	w->has_died = true;
	(void)snprintf(w->fatal_why, sizeof w->fatal_why, "%s", why);
	world_count(w, "log fatal");
	if (!w->damage.may_die) accuse(w, VERDICT_WEDGE, "the log ended its process without cause: %s", why);
	sim_node_crash(w->node, world_chance(w, 50) ? SIM_KILL : SIM_POWER);
}

/* ---- shape ---- */

static void world_shape(struct world *w)
{
	static const uint64_t slots_kib[] = { 32, 32, 48, 64, 64, 128, 256 };
	static const uint64_t segments_kib[] = { 8, 16, 32, 64 };
	static const uint32_t units[] = { 512, 1024, 2048, 4096 };
	uint64_t slot_bytes = slots_kib[world_below(w, COUNT_OF(slots_kib))] * KIB;
	/* One draw a statement: the order of draws inside an expression is the compiler's choice. */
	w->log = (struct log_options) {
		.dir = "/store",
		.slot_bytes = slot_bytes,
		.space_low_bytes = 256 * KIB,
		.space_none_bytes = 128 * KIB,
		.state = &state_sim,
		.fatal = world_fatal,
		.fatal_arg = w,
	};
	w->log.slot_count = 4 + (uint32_t)world_below(w, 4);
	w->log.segment_bytes_max = segments_kib[world_below(w, COUNT_OF(segments_kib))] * KIB;
	w->log.cache_bytes_max = world_below(w, 3) * 16 * KIB + 4096;
	w->log.entry_bytes_max = slot_bytes / (world_chance(w, 50) ? 4 : 12);
	w->log.ask_max = world_chance(w, 50) ? 1 + world_below(w, 12) : 4000;
	w->body_max = (uint32_t)w->log.entry_bytes_max;
	w->groups_live = 1 + (unsigned)world_below(w, WORLD_GROUPS_LIVE);
	w->has_damage = world_chance(w, w->options.slant == SLANT_DAMAGE || w->options.slant == SLANT_STATE ? 100 : 45);
	w->has_io_faults = world_chance(w, 25);
	w->has_full_disk = world_chance(w, 25);
	struct sim_disk *d = sim_disk(w->node);
	d->unit_bytes = units[world_below(w, COUNT_OF(units))];
	d->ruin_ppm = world_chance(w, 30) ? 300000 : 20000;
	d->evict_ppm = world_chance(w, 30) ? 300000 : 10000;
	d->stall_max_ns = MILLIS(30);
	if (w->options.slant == SLANT_STALLS) d->stall_ppm = 50000;
	w->capacity_bytes = d->capacity_bytes;
}

/* ---- the machine's lives ---- */

/* A start that was refused: is there a cause? */
static void world_judge_start(struct world *w)
{
	enum err e = sim_node_start_result(w->node);
	if (e == OK || e == ERR_CRASHED) return;
	note(w, "start refused: %s", w->open_why);
	world_count(w, "log start refused");
	if (w->is_newer && e == ERR_FORMAT) {
		damage_level_back(w);
		return;
	}
	if (e == ERR_NO_SPACE && world_disk_is_low(w)) {
		sim_disk(w->node)->capacity_bytes = w->capacity_bytes;
		w->is_low = false;
	} else if (w->damage.may_die && e == ERR_IO) {
		sim_disk_fail_clear(w->node);
	} else {
		accuse(w, VERDICT_FALSE_DAMAGE, "the store is refused without cause: %s (%s)", w->open_why,
			err_name(e));
	}
}

static void world_boot(struct world *w)
{
	w->is_clean = w->has_died = false;
	ends_boot(w);
	damage_at_rest(w);
	if (world_chance(w, 50)) sim_run_for(w->sim, world_below(w, MILLIS(20)));
	sim_disk_crash_clear(w->node);
	if (!w->is_draining && w->boots && world_chance(w, 15)) {
		uint64_t calls = 1 + world_below(w, 80);
		sim_disk_crash_at(w->node, calls, SIM_SOMETIME, world_chance(w, 50) ? SIM_KILL : SIM_POWER);
	}
	note(w, "boot %u", w->boots);
	w->boots++;
	w->booted_ns = sim_now_ns(w->sim);
	sim_node_boot(w->node, &actor_program, w);
}

static void world_live(struct world *w)
{
	while (!w->verdict) {
		enum sim_state state = sim_node_state(w->node);
		if (state == SIM_OFF || state == SIM_DOWN) {
			if (w->boots) world_judge_start(w);
			if (w->verdict) return;
			w->is_last = w->is_draining && w->is_clean;
			world_boot(w);
			continue;
		}
		if (state == SIM_UP && w->is_last) {
			world_count(w, "log history whole");
			return;
		}
		if (!sim_step(w->sim)) {
			accuse(w, VERDICT_WEDGE, "nothing happens any more");
			return;
		}
		if (sim_now_ns(w->sim) - w->booted_ns > WEDGE_NS && w->is_draining)
			accuse(w, VERDICT_WEDGE, "no end within %u s after the last fault%s%s",
				(unsigned)(WEDGE_NS / NS_PER_S), w->actor ? ": " : "",
				w->actor ? actor_waits_for(w->actor) : "");
	}
}

struct world *world_run(const struct world_options *options)
{
	struct world *w = NEW(struct world);
	w->options = *options;
	prng_init(&w->rng, options->seed);
	w->sim = sim_new(options->seed);
	w->node = sim_node_new(w->sim);
	world_shape(w);
	note(w, "seed %llu: %u slots of %llu KiB, segments of %llu KiB, entries up to %llu, %s%s%s",
		(unsigned long long)options->seed, w->log.slot_count, (unsigned long long)(w->log.slot_bytes / KIB),
		(unsigned long long)(w->log.segment_bytes_max / KIB), (unsigned long long)w->log.entry_bytes_max,
		w->has_damage ? "damage " : "", w->has_io_faults ? "failing calls " : "",
		w->has_full_disk ? "full disk" : "");
	world_live(w);
	/* The process ends before what it uses. */
	sim_node_crash(w->node, SIM_KILL);
	return w;
}

void world_free(struct world *w)
{
	sim_free(w->sim);
	buf_deinit(&w->table.bytes);
	for (unsigned i = 0; i < WORLD_GROUPS_MAX; i++) {
		model_group_deinit(&w->groups[i]);
		buf_deinit(&w->conf_first[i]);
	}
	mem_free(w);
}
