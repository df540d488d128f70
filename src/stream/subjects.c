/* SPDX-License-Identifier: Apache-2.0 */
/* What a stream knows of each subject, and the message ids it remembers: two maps with their lists of what a capture must write. */
#include "machine.h"

static struct slice entry_key(const void *item) { return subject_name(item); }

void subjects_init(struct subjects *t, uint64_t seed)
{
	*t = (struct subjects) { 0 };
	map_init(&t->by_name, seed, entry_key);
	list_init(&t->dirty);
}

static void entry_free(struct subject_entry *e)
{
	list_remove_if_linked(&e->link_by_dirty);
	mem_free(e->kept);
	mem_free(e);
}

static void free_all(struct subjects *t)
{
	for (uint32_t i = 0; i < t->id_next; i++)
		if (t->by_id[i]) entry_free(t->by_id[i]);
}

void subjects_deinit(struct subjects *t)
{
	free_all(t);
	map_deinit(&t->by_name);
	mem_free(t->by_id);
	mem_free(t->free);
	mem_free(t->gone);
	*t = (struct subjects) { 0 };
}

struct subject_entry *subjects_find(const struct subjects *t, struct slice name) { return map_get(&t->by_name, name); }

struct subject_entry *subjects_by_id(const struct subjects *t, uint32_t id)
{
	return id < t->id_next ? t->by_id[id] : NULL;
}

static struct subject_entry *entry_make(struct subjects *t, struct slice name, uint32_t id)
{
	struct subject_entry *e = mem_zalloc(sizeof *e + name.n);
	memcpy(e->name, name.p, name.n);
	e->n = (uint32_t)name.n;
	e->id = id;
	e->born = ++t->births;
	if (id >= t->by_id_cap) {
		uint32_t cap = (uint32_t)size_max(16, (size_t)(id + 1) * 2);
		t->by_id = mem_realloc(t->by_id, cap * sizeof(struct subject_entry *));
		memset(t->by_id + t->by_id_cap, 0, (cap - t->by_id_cap) * sizeof(struct subject_entry *));
		t->by_id_cap = cap;
	}
	if (id >= t->id_next) t->id_next = id + 1;
	t->by_id[id] = e;
	void *old = map_put(&t->by_name, e);
	ASSERT(old == NULL);
	return e;
}

/* ---- ids that are free again ---- */

static void free_push(struct subjects *t, uint32_t id)
{
	if (t->free_count == t->free_cap) {
		t->free_cap = t->free_cap ? t->free_cap * 2 : 8;
		t->free = mem_realloc(t->free, t->free_cap * sizeof *t->free);
	}
	uint32_t at = t->free_count++;
	for (uint32_t up; at > 0 && t->free[up = (at - 1) / 2] > id; at = up) t->free[at] = t->free[up];
	t->free[at] = id;
}

static uint32_t free_pop(struct subjects *t)
{
	uint32_t lowest = t->free[0], id = t->free[--t->free_count], at = 0, down;
	while ((down = 2 * at + 1) < t->free_count) {
		if (down + 1 < t->free_count && t->free[down + 1] < t->free[down]) down++;
		if (t->free[down] >= id) break;
		t->free[at] = t->free[down];
		at = down;
	}
	t->free[at] = id;
	return lowest;
}

struct subject_entry *subjects_get(struct subjects *t, struct slice name)
{
	struct subject_entry *e = map_get(&t->by_name, name);
	return e ? e : entry_make(t, name, t->free_count ? free_pop(t) : t->id_next);
}

struct subject_entry *subjects_restore(struct subjects *t, struct slice name, uint32_t id)
{
	struct subject_entry *e = entry_make(t, name, id);
	e->is_stored = true;
	return e;
}

void subjects_restored(struct subjects *t)
{
	ASSERT(t->free_count == 0);
	for (uint32_t i = 0; i < t->id_next; i++)
		if (!t->by_id[i]) free_push(t, i);
}

static void touch(struct subjects *t, struct subject_entry *e)
{
	e->captured = false;
	if (!list_is_linked(&e->link_by_dirty)) list_push_back(&t->dirty, &e->link_by_dirty);
}

static void kept_push(struct subject_entry *e, uint64_t seq, uint64_t bytes)
{
	if (e->kept_head + e->kept_count == e->kept_cap) {
		if (e->kept_head > e->kept_count) {
			memmove(e->kept, e->kept + e->kept_head, e->kept_count * sizeof *e->kept);
			e->kept_head = 0;
		} else {
			e->kept_cap = e->kept_cap ? e->kept_cap * 2 : 2;
			e->kept = mem_realloc(e->kept, e->kept_cap * sizeof *e->kept);
		}
	}
	e->kept[e->kept_head + e->kept_count++] = (struct subject_kept) { seq, bytes };
}

static void kept_remove(struct subject_entry *e, uint64_t seq)
{
	for (uint32_t i = 0; i < e->kept_count; i++) {
		struct subject_kept *k = &e->kept[e->kept_head + i];
		if (k->seq != seq) continue;
		if (i == 0) {
			e->kept_head++;
		} else {
			memmove(k, k + 1, (e->kept_count - i - 1) * sizeof *k);
		}
		e->kept_count--;
		return;
	}
}

void subjects_added(struct subjects *t, struct subject_entry *e, uint64_t seq, uint64_t bytes, bool keep)
{
	if (e->count++ == 0) e->first_seq_hint = seq;
	e->last_seq = seq;
	if (keep) kept_push(e, seq, bytes);
	touch(t, e);
}

/* What the state store never had need not go from there. */
static void note_gone(struct subjects *t, uint32_t id)
{
	if (t->gone_count == t->gone_cap) {
		t->gone_cap = t->gone_cap ? t->gone_cap * 2 : 8;
		t->gone = mem_realloc(t->gone, t->gone_cap * sizeof *t->gone);
	}
	t->gone[t->gone_count++] = id;
}

/* Its last message went; the next new subject may have its id. */
static void entry_gone(struct subjects *t, struct subject_entry *e)
{
	if (e->is_stored) note_gone(t, e->id);
	t->by_id[e->id] = NULL;
	free_push(t, e->id);
	(void)map_del(&t->by_name, subject_name(e));
	entry_free(e);
}

void subjects_removed(struct subjects *t, struct subject_entry *e, uint64_t seq, uint64_t below, uint64_t count)
{
	ASSERT(e->count >= count);
	e->count -= count;
	if (e->count == 0) {
		entry_gone(t, e);
		return;
	}
	if (seq) {
		kept_remove(e, seq);
		if (seq == e->first_seq_hint) e->first_seq_hint = seq + 1;
		if (seq == e->last_seq && subject_is_kept(e)) {
			e->last_seq = e->kept[e->kept_head + e->kept_count - 1].seq;
		} else if (seq == e->last_seq) {
			t->unsure_marks++;
		}
	} else {
		while (e->kept_count && e->kept[e->kept_head].seq < below) {
			e->kept_head++;
			e->kept_count--;
		}
		if (e->first_seq_hint < below) e->first_seq_hint = below;
	}
	touch(t, e);
}

void subjects_last_found(struct subjects *t, struct subject_entry *e, uint64_t seq)
{
	e->last_seq = seq;
	touch(t, e);
}

void subjects_clear(struct subjects *t)
{
	for (uint32_t i = 0; i < t->id_next; i++) {
		struct subject_entry *e = t->by_id[i];
		if (e) entry_gone(t, e);
	}
}

/* ---- message ids ---- */

static struct slice id_key(const void *item)
{
	const struct msg_id *m = item;
	return slice_of(m->id, m->n);
}

void msg_ids_init(struct msg_ids *d, uint64_t seed)
{
	*d = (struct msg_ids) { 0 };
	map_init(&d->by_id, seed, id_key);
	list_init(&d->by_time);
}

void msg_ids_deinit(struct msg_ids *d)
{
	LIST_EACH_SAFE (node, &d->by_time) {
		list_remove(node);
		mem_free(CONTAINER_OF(node, struct msg_id, link_by_time));
	}
	map_deinit(&d->by_id);
	mem_free(d->gone);
	*d = (struct msg_ids) { 0 };
}

struct msg_id *msg_ids_find(const struct msg_ids *d, struct slice id) { return map_get(&d->by_id, id); }

static void forget(struct msg_ids *d, struct msg_id *m)
{
	if (m->where != MSG_ID_NEW) {
		if (d->gone_count == d->gone_cap) {
			d->gone_cap = d->gone_cap ? d->gone_cap * 2 : 8;
			d->gone = mem_realloc(d->gone, d->gone_cap * sizeof *d->gone);
		}
		d->gone[d->gone_count++] = m->seq;
	}
	(void)map_del(&d->by_id, id_key(m));
	list_remove(&m->link_by_time);
	mem_free(m);
}

void msg_ids_add(struct msg_ids *d, struct slice id, uint64_t seq, int64_t time_ns)
{
	struct msg_id *old = map_get(&d->by_id, id);
	if (old) forget(d, old);
	struct msg_id *m = mem_zalloc(sizeof *m + id.n);
	memcpy(m->id, id.p, id.n);
	m->n = (uint32_t)id.n;
	m->seq = seq;
	m->time_ns = time_ns;
	void *replaced = map_put(&d->by_id, m);
	ASSERT(replaced == NULL);
	list_push_back(&d->by_time, &m->link_by_time);
}

void msg_ids_expire(struct msg_ids *d, int64_t before_ns)
{
	for (struct list *node; (node = list_first(&d->by_time)) != NULL;) {
		struct msg_id *m = CONTAINER_OF(node, struct msg_id, link_by_time);
		if (m->time_ns >= before_ns) return;
		forget(d, m);
	}
}
