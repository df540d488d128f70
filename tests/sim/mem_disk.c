/* SPDX-License-Identifier: Apache-2.0 */
/* mem_disk — what of a mem_log outlives its process, and what a crash makes of it. */
#include "mem_log_impl.h"

struct image *mem_disk_image(const struct mem_disk *d, uint64_t id)
{
	LIST_EACH (l, &d->images) {
		struct image *m = CONTAINER_OF(l, struct image, link);
		if (m->id == id) return m;
	}
	return NULL;
}

void mem_disk_keep(struct mem_disk *d, const struct op *o)
{
	struct image *m = mem_disk_image(d, o->group);
	if (o->kind == OP_MAKE) {
		m = NEW(struct image);
		m->id = o->group;
		m->first = 1;
		buf_append_slice(&m->conf, buf_slice(&o->bytes));
		struct list *at = d->images.next;
		while (at != &d->images && CONTAINER_OF(at, struct image, link)->id < m->id) at = at->next;
		list_insert_before(at, &m->link);
	}
	if (o->kind == OP_GONE) {
		image_free(m);
		return;
	}
	image_apply(m, o, true);
}

struct mem_disk *mem_disk_new(uint64_t raft_id, uint64_t seed)
{
	struct mem_disk *d = NEW(struct mem_disk);
	*d = (struct mem_disk) {
		.raft_id = raft_id, .min_ns = 300 * NS_PER_US, .max_ns = MILLIS(4), .settle_bytes = 32 * KIB
	};
	list_init(&d->images);
	list_init(&d->pending);
	prng_init(&d->chance, seed);
	return d;
}

void mem_disk_crash(struct mem_disk *d)
{
	struct list *l;
	uint64_t kept = prng_below(&d->chance, d->syncing + 1);
	if (prng_chance(&d->chance, 1, 3)) kept = 0;
	while ((l = list_pop_front(&d->pending))) {
		struct op *o = CONTAINER_OF(l, struct op, link);
		if (kept && kept--) mem_disk_keep(d, o);
		op_free(o);
	}
	d->syncing = 0;
	d->held = false;
}

void mem_disk_free(struct mem_disk *d)
{
	mem_disk_crash(d);
	while (!list_is_empty(&d->images)) image_free(CONTAINER_OF(d->images.next, struct image, link));
	mem_free(d);
}

void mem_disk_delay(struct mem_disk *d, uint64_t min_ns, uint64_t max_ns)
{
	d->min_ns = min_ns;
	d->max_ns = max_ns;
}
void mem_disk_hold(struct mem_disk *d, bool hold) { d->held = hold; }
void mem_disk_admits(struct mem_disk *d, enum err grows, enum err frees, enum err reserved)
{
	d->admit[LOG_ADMIT_GROWS] = grows;
	d->admit[LOG_ADMIT_FREES] = frees;
	d->admit[LOG_ADMIT_RESERVED] = reserved;
}
void mem_disk_entry_max(struct mem_disk *d, uint64_t bytes) { d->entry_bytes_max = bytes; }

void mem_disk_settle_every(struct mem_disk *d, uint64_t bytes) { d->settle_bytes = bytes; }

void mem_disk_damage(struct mem_disk *d, uint64_t group, uint64_t from, uint64_t to, bool vote)
{
	mem_disk_crash(d);
	struct image *m = mem_disk_image(d, group);
	if (!m) return;
	m->in_doubt = true;
	if (vote) m->vote = 0, m->term = m->term > 1 ? m->term - 1 : 0;
	if (to >= image_last(m)) image_cut(m, u64_max(from, m->state_index + 1)); /* the tail */
	for (uint64_t i = from; i <= u64_min(to, image_last(m)); i++) image_hole(m, i);
}
