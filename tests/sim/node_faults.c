/* SPDX-License-Identifier: Apache-2.0 */
/* What the world does to the machine: kills it, takes its power at any file call, fills, slows and breaks its disk, breaks its connections;
 * and, when all is said and done, flips bits in its files. */
#include "sim/node_world.h"

#include "log_internal.h"

/* ---- dying ---- */

static bool is_settling(const struct world *w)
{
	const struct node *n = server_node(w);
	return n && n->vault.log && n->vault.log->settle.round;
}

static void crash(struct world *w, enum sim_crash how)
{
	if (!server_is_up(w)) return;
	sim_count(w->s, how == SIM_POWER ? "fault power" : "fault kill");
	if (is_settling(w))
		sim_count(w->s,
			how == SIM_POWER ? "fault power inside a settle round" : "fault kill inside a settle round");
	sim_node_crash(w->n, how);
}

static void fault_kill(struct world *w) { crash(w, SIM_KILL); }
static void fault_power(struct world *w) { crash(w, SIM_POWER); }

/* Between any two steps, of a start too. */
static void fault_crash_at(struct world *w)
{
	sim_count(w->s, "fault crash at a file call");
	sim_disk_crash_at(w->n, world_between(w, 1, 400), SIM_SOMETIME, world_chance(w, 60) ? SIM_POWER : SIM_KILL);
}

/* Asked every turn: rounds are short. */
static void fault_settle(struct world *w)
{
	const struct node *n = server_node(w);
	if (!n || n->state != NODE_SERVING || !is_settling(w) || sim_below(w->s, 1000) >= w->settle_permille) return;
	if (world_chance(w, 30)) {
		crash(w, SIM_POWER);
		return;
	}
	sim_count(w->s, "fault crash at a file call of a settle round");
	sim_disk_crash_at(w->n, world_between(w, 1, 25), SIM_SOMETIME, SIM_POWER);
}

/* ---- the disk ---- */

static void fault_full(struct world *w)
{
	if (w->full_until_ns) return;
	sim_count(w->s, "fault disk full");
	sim_disk(w->n)->capacity_bytes =
		sim_disk_used_bytes(w->n) + sim_below(w->s, world_chance(w, 50) ? 64 * KIB : 256 * MIB);
	w->full_until_ns = world_now(w) + MILLIS(world_between(w, 100, 2500));
}

static void full_ends(struct world *w)
{
	if (!w->full_until_ns || world_now(w) < w->full_until_ns) return;
	sim_disk(w->n)->capacity_bytes = w->capacity_bytes;
}

static void fault_slow(struct world *w)
{
	struct sim_disk *d = sim_disk(w->n);
	sim_count(w->s, "fault slow disk");
	d->stall_ppm = d->stall_ppm > 1000 ? 200 : (uint32_t)world_between(w, 5000, 50000);
	d->stall_max_ns = MILLIS(world_between(w, 10, 300));
}

static void fault_error(struct world *w)
{
	static const enum sim_call calls[] = { SIM_CALL_WRITE, SIM_CALL_SYNC, SIM_CALL_READ, SIM_CALL_OPEN,
		SIM_CALL_RENAME };
	if (world_chance(w, 60)) return;
	sim_count(w->s, "fault disk error");
	sim_disk_fail_clear(w->n); /* one at a time: what fails twice in a row is damaged */
	w->io_error_until_ns = world_now(w) + SECONDS(4);
	enum sim_call call = calls[sim_below(w->s, COUNT_OF(calls))];
	/* Not reads of the state store: its twin would take the round before for the newest, which log_sim plays. */
	const char *where = call != SIM_CALL_READ ? NULL : world_chance(w, 50) ? "groups/" : "journal/";
	sim_disk_fail(w->n, call, where, (unsigned)sim_below(w->s, 60), 1, ERR_IO);
}

/* ---- the rest ---- */

static void fault_pause(struct world *w)
{
	sim_count(w->s, "fault pause");
	sim_node_pause(w->n, MILLIS(world_between(w, 5, 250)));
}

static void fault_resets(struct world *w)
{
	struct sim_net *net = sim_net(w->s);
	sim_count(w->s, "fault resets");
	net->reset_ppm = net->reset_ppm ? 0 : 1500;
}

typedef void fault_fn(struct world *w);
static const struct {
	fault_fn *begin;
	unsigned weight;
} faults[] = { { fault_kill, 5 }, { fault_power, 6 }, { fault_crash_at, 8 }, { fault_full, 4 }, { fault_slow, 4 },
	{ fault_error, 3 }, { fault_pause, 4 }, { fault_resets, 4 } };

void faults_step(struct world *w)
{
	full_ends(w);
	if (w->is_calm) return;
	fault_settle(w);
	if (world_now(w) < w->next_fault_ns) return;
	w->next_fault_ns = world_now(w) + MILLIS(world_between(w, 20, w->fault_pace_ms));
	unsigned sum = 0;
	for (size_t i = 0; i < COUNT_OF(faults); i++) sum += faults[i].weight;
	uint64_t dice = sim_below(w->s, sum);
	for (size_t i = 0; i < COUNT_OF(faults); i++) {
		if (dice < faults[i].weight) {
			faults[i].begin(w);
			return;
		}
		dice -= faults[i].weight;
	}
}

void faults_end(struct world *w)
{
	struct sim_disk *d = sim_disk(w->n);
	w->is_calm = true;
	d->capacity_bytes = w->capacity_bytes;
	d->stall_ppm = 200;
	d->stall_max_ns = MILLIS(20);
	sim_disk_fail_clear(w->n);
	sim_disk_crash_clear(w->n);
	sim_net(w->s)->reset_ppm = 0;
}

/* ---- rot ---- */

struct victim {
	uint64_t left;
	char path[256];
	uint64_t bytes;
};

static void count_file(void *arg, const char *path, uint64_t bytes)
{
	(void)path;
	*(uint64_t *)arg += bytes > 0;
}

static void choose_file(void *arg, const char *path, uint64_t bytes)
{
	struct victim *v = arg;
	if (bytes == 0 || v->left-- != 0) return;
	(void)snprintf(v->path, sizeof v->path, "%s", path);
	v->bytes = bytes;
}

/* One bit somewhere in one file, mostly where something was written. */
bool faults_flip(struct world *w, char *where, size_t room)
{
	uint64_t files = 0, at;
	uint8_t around[512];
	size_t got = 0;
	sim_disk_each(w->n, ".", count_file, &files);
	if (files == 0) return false;
	struct victim v = { .left = sim_below(w->s, files) };
	sim_disk_each(w->n, ".", choose_file, &v);
	for (unsigned tries = 0; tries < 20; tries++) {
		at = sim_below(w->s, v.bytes);
		bool is_used = false;
		if (sim_disk_read(w->n, v.path, at & ~(uint64_t)511, around, sizeof around, true, &got) != OK)
			return false;
		for (size_t i = 0; i < got; i++) is_used |= around[i] != 0;
		if (is_used) break;
	}
	unsigned bit = (unsigned)sim_below(w->s, 8);
	(void)snprintf(where, room, "%s at %llu bit %u", v.path, (unsigned long long)at, bit);
	return sim_disk_flip(w->n, v.path, at, bit) == OK;
}
