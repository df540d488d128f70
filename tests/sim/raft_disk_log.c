/* SPDX-License-Identifier: Apache-2.0 */
/* raft_disk — src/log on the simulated disk. Damage is a flipped bit in a block of the journal that has a successor (the last one's looks
 * torn, by design), in a segment or an image of the state, or a file that vanished. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/raft_disk.h"
#include "sim/sim_state.h"

enum { BLOCK_HEAD_BYTES = 64, BLOCK_ALIGN = 4096 };
static const uint32_t BLOCK_MAGIC = 0x4b4c4254; /* "TBLK", docs/STORAGE.md#block */

void raft_disk_new(struct raft_machine *m)
{
	struct sim *s = m->world->s;
	static const uint32_t units[] = { 512, 512, 4096 };
	struct sim_disk *d = sim_disk(m->n);
	d->unit_bytes = units[sim_below(s, COUNT_OF(units))];
	d->stall_max_ns = MILLIS(30);
	d->capacity_bytes = 64 * MIB;
	/* Not the same everywhere: up to sixteen times the smallest, in a few runs. */
	if (!m->world->slot_bytes) m->world->slot_bytes = (64 * KIB) << sim_below(s, 3);
	m->slot_bytes = m->world->slot_bytes << sim_below(s, sim_below(s, 4) ? 2 : 5);
	if (m->world->slots[m->index]) m->slot_bytes = m->world->slots[m->index];
	m->slot_count = 5 + (uint32_t)sim_below(s, 3);
	raft_disk_ok(m);
}

void raft_disk_free(struct raft_machine *m) { (void)m; }

void raft_disk_options(const struct raft_machine *m, struct log_options *o)
{
	*o = (struct log_options) {
		.dir = "/store",
		.slot_bytes = m->slot_bytes,
		.slot_count = m->slot_count,
		.segment_bytes_max = 32 * KIB,
		.cache_bytes_max = 32 * KIB,
		.space_low_bytes = 256 * KIB,
		.space_none_bytes = 128 * KIB,
		.state = &state_sim,
	};
}

void raft_disk_ok(struct raft_machine *m)
{
	struct sim_disk *d = sim_disk(m->n);
	d->sync_delay_min_ns = 50 * NS_PER_US;
	d->sync_delay_max_ns = MILLIS(2);
	d->capacity_bytes = 64 * MIB;
}

void raft_disk_stall(struct raft_machine *m, uint64_t ns)
{
	struct sim_disk *d = sim_disk(m->n);
	d->sync_delay_min_ns = ns / 2;
	d->sync_delay_max_ns = ns;
}

void raft_disk_fill(struct raft_machine *m)
{
	sim_disk(m->n)->capacity_bytes = sim_disk_used_bytes(m->n) + sim_below(m->world->s, 400) * KIB;
}

/* ---- damage ---- */

struct pick {
	struct raft_machine *m;
	const char *part;
	char path[128]; /* of the victims so far one, each with the same chance */
	unsigned seen;
	uint64_t newest; /* number of the last block that is on the device */
};

static void pick_each(void *arg, const char *path, uint64_t bytes)
{
	struct pick *p = arg;
	if (bytes == 0 || !strstr(path, p->part)) return;
	if (sim_below(p->m->world->s, ++p->seen) == 0) (void)snprintf(p->path, sizeof p->path, "%s", path);
}

struct block_walk {
	struct raft_machine *m;
	uint64_t newest;      /* block number */
	uint64_t below, seen; /* second walk: pick one of those below it */
	char path[128];
	uint64_t at, bytes;
};

static void block_each(void *arg, const char *path, uint64_t bytes)
{
	struct block_walk *b = arg;
	if (!strstr(path, "/journal/")) return;
	for (uint64_t at = 0; at + BLOCK_HEAD_BYTES <= bytes; at += BLOCK_ALIGN) {
		uint8_t head[BLOCK_HEAD_BYTES];
		size_t got = 0;
		if (sim_disk_read(b->m->n, path, at, head, sizeof head, true, &got) != OK || got < sizeof head)
			continue;
		if (le32_get(head) != BLOCK_MAGIC) continue;
		uint64_t number = le64_get(head + 16);
		b->newest = u64_max(b->newest, number);
		/* Of the newer half, so that it is likely to be needed. */
		if (!b->below || number >= b->below || number < b->below / 2 ||
			sim_below(b->m->world->s, ++b->seen) != 0)
			continue;
		(void)snprintf(b->path, sizeof b->path, "%s", path);
		b->at = at;
		b->bytes = BLOCK_HEAD_BYTES + le32_get(head + 48);
	}
}

static void flip(struct raft_machine *m, const char *path, uint64_t at)
{
	enum err e = sim_disk_flip(m->n, path, at, (unsigned)sim_below(m->world->s, 8));
	ASSERT(e == OK || e == ERR_NOT_FOUND || e == ERR_INVALID);
}

static void damage_block(struct raft_machine *m)
{
	struct block_walk b = { .m = m };
	sim_disk_each(m->n, "/store", block_each, &b);
	b.below = b.newest;
	sim_disk_each(m->n, "/store", block_each, &b);
	if (b.seen) flip(m, b.path, b.at + sim_below(m->world->s, b.bytes));
}

static void flip_each(void *arg, const char *path, uint64_t bytes)
{
	const struct block_walk *b = arg;
	if (!strstr(path, "/journal/")) return;
	for (uint64_t at = 0; at + BLOCK_HEAD_BYTES <= bytes; at += BLOCK_ALIGN) {
		uint8_t head[BLOCK_HEAD_BYTES];
		size_t got = 0;
		if (sim_disk_read(b->m->n, path, at, head, sizeof head, true, &got) != OK || got < sizeof head)
			continue;
		uint64_t number = le64_get(head + 16);
		if (le32_get(head) == BLOCK_MAGIC && number >= b->below && number < b->newest)
			flip(b->m, path, at + sim_below(b->m->world->s, BLOCK_HEAD_BYTES + le32_get(head + 48)));
	}
}

uint64_t raft_disk_newest(struct raft_machine *m)
{
	struct block_walk b = { .m = m };
	sim_disk_each(m->n, "/store", block_each, &b);
	return b.newest;
}

void raft_disk_damage_from(struct raft_machine *m, uint64_t mark)
{
	struct block_walk b = { .m = m, .below = mark, .newest = raft_disk_newest(m) };
	sim_disk_each(m->n, "/store", flip_each, &b);
}

static bool damage_file(struct raft_machine *m, const char *part, bool remove)
{
	struct pick p = { .m = m, .part = part };
	uint64_t bytes = 0;
	sim_disk_each(m->n, "/store", pick_each, &p);
	if (!p.seen || sim_disk_size(m->n, p.path, &bytes) != OK) return false;
	if (!remove) flip(m, p.path, sim_below(m->world->s, bytes));
	return !remove || sim_disk_remove(m->n, p.path) == OK;
}

void raft_disk_damage(struct raft_machine *m, unsigned group)
{
	char part[64];
	(void)snprintf(part, sizeof part, "/groups/%016x/", group + 1);
	switch (sim_below(m->world->s, 8)) {
	case 0:
		if (damage_file(m, part, false)) sim_count(m->world->s, "damage segment");
		break;
	case 1:
		if (damage_file(m, part, true)) sim_count(m->world->s, "damage segment gone");
		break;
	case 2:
		if (damage_file(m, "/state", false)) sim_count(m->world->s, "damage state");
		break;
	default: sim_count(m->world->s, "damage block"); damage_block(m);
	}
}
