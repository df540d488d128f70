/* SPDX-License-Identifier: Apache-2.0 */
/* raft_disk — over mem_log. */
#include "sim/mem_log.h"
#include "sim/raft_disk.h"

void raft_disk_new(struct raft_machine *m)
{
	struct sim *s = m->world->s;
	m->disk = mem_disk_new(m->index + 1, sim_below(s, UINT64_MAX));
	mem_disk_settle_every(m->disk, (4 + sim_below(s, 60)) * KIB);
}

void raft_disk_free(struct raft_machine *m) { mem_disk_free(m->disk); }
void raft_disk_options(const struct raft_machine *m, struct log_options *o)
{
	(void)m;
	(void)o;
}

void raft_disk_ok(struct raft_machine *m)
{
	mem_disk_admits(m->disk, OK, OK, OK);
	mem_disk_delay(m->disk, 300 * NS_PER_US, MILLIS(4));
}

void raft_disk_stall(struct raft_machine *m, uint64_t ns) { mem_disk_delay(m->disk, ns / 2, ns); }

void raft_disk_fill(struct raft_machine *m)
{
	uint64_t how = sim_below(m->world->s, 4);
	mem_disk_admits(m->disk, how & 1 ? ERR_NO_SPACE : ERR_FULL, how & 2 ? ERR_NO_SPACE : OK, OK);
}

void raft_disk_damage(struct raft_machine *m, unsigned group)
{
	struct raft_world *w = m->world;
	uint64_t last = w->oracle.last[group];
	uint64_t from = last > 30 ? last - sim_below(w->s, 30) : last;
	uint64_t to = sim_below(w->s, 10) < 6 ? UINT64_MAX : from + 1 + sim_below(w->s, 5);
	mem_disk_damage(m->disk, group + 1, from + 1, to, sim_below(w->s, 2) == 0);
}
