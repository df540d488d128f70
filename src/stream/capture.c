/* SPDX-License-Identifier: Apache-2.0 */
/* The machine to the state store and back. A capture writes everything that changed since the last one that was confirmed; what was written
 * keeps its mark until machine_settled, so that a round that is given up loses nothing. */
#include "machine.h"

enum { HEADER_VERSION = 1, HEADER_BYTES = 80 };

static struct slice key_u64(uint8_t *key, uint8_t kind, uint64_t n)
{
	key[0] = kind;
	for (int i = 0; i < 8; i++) key[1 + i] = (uint8_t)(n >> (56 - 8 * i));
	return slice_of(key, 9);
}

static uint64_t key_number(struct slice key)
{
	uint64_t n = 0;
	for (size_t i = 1; i < key.n; i++) n = n << 8 | key.p[i];
	return n;
}

/* header: version u32 | zero u32 | first, last, live, bytes, time, first_time, last_time, hash (8 x u64) | subject id next u32 | last id n u32 | last id */
static void capture_header(struct machine *m, struct state_batch *batch)
{
	struct buf b = { 0 };
	buf_append_le32(&b, HEADER_VERSION);
	buf_append_le32(&b, 0);
	const uint64_t words[8] = { m->seqs.first_seq, m->seqs.last_seq, m->seqs.live, m->seqs.bytes,
		(uint64_t)m->time_ns, (uint64_t)m->first_time_ns, (uint64_t)m->last_time_ns, m->hash };
	for (size_t i = 0; i < COUNT_OF(words); i++) buf_append_le64(&b, words[i]);
	buf_append_le32(&b, m->subjects.id_next);
	buf_append_le32(&b, (uint32_t)m->last_msg_id.n);
	buf_append_slice(&b, buf_slice(&m->last_msg_id));
	state_batch_put(batch, SLICE("h"), buf_slice(&b));
	buf_deinit(&b);
}

static void capture_blocks(struct machine *m, struct state_batch *batch, struct buf *value)
{
	uint8_t key[9];
	for (size_t i = 0; i < m->seqs.freed_count; i++) state_batch_del(batch, key_u64(key, 'b', m->seqs.freed[i]));
	m->seqs.freed_captured = m->seqs.freed_count;
	LIST_EACH (node, &m->seqs.dirty) {
		struct seq_block *k = CONTAINER_OF(node, struct seq_block, link_by_dirty);
		buf_clear(value);
		seq_block_encode(value, k);
		state_batch_put(batch, key_u64(key, 'b', k->number), buf_slice(value));
		k->captured = true;
	}
}

/* subject: count, first hint, last (3 x u64) | kept u32 | name n u32 | {seq u64, bytes u64}… | name */
static void capture_subjects(struct machine *m, struct state_batch *batch, struct buf *value)
{
	uint8_t key[9];
	for (size_t i = 0; i < m->subjects.gone_count; i++)
		state_batch_del(batch, key_u64(key, 's', m->subjects.gone[i]));
	m->subjects.gone_captured = m->subjects.gone_count;
	LIST_EACH (node, &m->subjects.dirty) {
		struct subject_entry *e = CONTAINER_OF(node, struct subject_entry, link_by_dirty);
		buf_clear(value);
		buf_append_le64(value, e->count);
		buf_append_le64(value, e->first_seq_hint);
		buf_append_le64(value, e->last_seq);
		buf_append_le32(value, e->kept_count);
		buf_append_le32(value, e->n);
		for (uint32_t i = 0; i < e->kept_count; i++) {
			buf_append_le64(value, e->kept[e->kept_head + i].seq);
			buf_append_le64(value, e->kept[e->kept_head + i].bytes);
		}
		buf_append(value, e->name, e->n);
		state_batch_put(batch, key_u64(key, 's', e->id), buf_slice(value));
		e->captured = e->is_stored = true;
	}
}

static void capture_ids(struct machine *m, struct state_batch *batch, struct buf *value)
{
	uint8_t key[9];
	for (size_t i = 0; i < m->ids.gone_count; i++) state_batch_del(batch, key_u64(key, 'd', m->ids.gone[i]));
	m->ids.gone_captured = m->ids.gone_count;
	for (struct list *node = m->ids.by_time.prev; node != &m->ids.by_time; node = node->prev) {
		struct msg_id *d = CONTAINER_OF(node, struct msg_id, link_by_time);
		if (d->where == MSG_ID_STORED) break;
		buf_clear(value);
		buf_append_le64(value, (uint64_t)d->time_ns);
		buf_append(value, d->id, d->n);
		state_batch_put(batch, key_u64(key, 'd', d->seq), buf_slice(value));
		d->where = MSG_ID_CAPTURED;
	}
}

/* erasures: {first u64, last u64}… */
static void capture_erasures(struct machine *m, struct state_batch *batch, struct buf *value)
{
	if (!m->erasures_dirty) return;
	buf_clear(value);
	for (uint32_t i = 0; i < m->erasures.count; i++) {
		buf_append_le64(value, m->erasures.p[i].first);
		buf_append_le64(value, m->erasures.p[i].last);
	}
	if (value->n)
		state_batch_put(batch, SLICE("e"), buf_slice(value));
	else
		state_batch_del(batch, SLICE("e"));
	m->erasures_captured = true;
}

/* Everything again, for an install: marks all as changed first. */
static void mark_all(struct machine *m)
{
	m->config_dirty = m->erasures_dirty = true;
	for (uint64_t i = m->seqs.base; i < m->seqs.base + m->seqs.count; i++) {
		struct seq_block *k = seq_index_block(&m->seqs, i);
		if (k && !list_is_linked(&k->link_by_dirty)) list_push_back(&m->seqs.dirty, &k->link_by_dirty);
	}
	for (uint32_t i = 0; i < m->subjects.id_next; i++) {
		struct subject_entry *e = m->subjects.by_id[i];
		if (e && !list_is_linked(&e->link_by_dirty)) list_push_back(&m->subjects.dirty, &e->link_by_dirty);
	}
	LIST_EACH (node, &m->ids.by_time) CONTAINER_OF(node, struct msg_id, link_by_time)->where = MSG_ID_NEW;
}

void machine_capture(struct machine *m, struct state_batch *batch, bool all)
{
	struct buf value = { 0 };
	if (all) mark_all(m);
	if (m->config_dirty) {
		stream_config_print(&value, &m->config);
		state_batch_put(batch, SLICE("c"), buf_slice(&value));
		m->config_captured = true;
	}
	capture_header(m, batch);
	capture_blocks(m, batch, &value);
	capture_subjects(m, batch, &value);
	capture_ids(m, batch, &value);
	capture_erasures(m, batch, &value);
	if (m->consumers) m->consumers->capture(m->consumers_arg, batch, all);
	buf_deinit(&value);
}

static void forget_first(void *array, size_t size, size_t *count, size_t *captured)
{
	memmove(array, (char *)array + *captured * size, (*count - *captured) * size);
	*count -= *captured;
	*captured = 0;
}

void machine_settled(struct machine *m)
{
	if (m->consumers) m->consumers->settled(m->consumers_arg);
	if (m->config_captured) m->config_dirty = m->config_captured = false;
	if (m->erasures_captured) m->erasures_dirty = m->erasures_captured = false;
	if (m->seqs.freed_captured)
		forget_first(m->seqs.freed, sizeof *m->seqs.freed, &m->seqs.freed_count, &m->seqs.freed_captured);
	if (m->subjects.gone_captured)
		forget_first(m->subjects.gone, sizeof *m->subjects.gone, &m->subjects.gone_count,
			&m->subjects.gone_captured);
	if (m->ids.gone_captured)
		forget_first(m->ids.gone, sizeof *m->ids.gone, &m->ids.gone_count, &m->ids.gone_captured);
	LIST_EACH_SAFE (node, &m->seqs.dirty)
		if (CONTAINER_OF(node, struct seq_block, link_by_dirty)->captured) list_remove(node);
	LIST_EACH_SAFE (node, &m->subjects.dirty)
		if (CONTAINER_OF(node, struct subject_entry, link_by_dirty)->captured) list_remove(node);
	for (struct list *node = m->ids.by_time.prev; node != &m->ids.by_time; node = node->prev) {
		struct msg_id *d = CONTAINER_OF(node, struct msg_id, link_by_time);
		if (d->where == MSG_ID_STORED) break;
		if (d->where == MSG_ID_CAPTURED) d->where = MSG_ID_STORED;
	}
}

/* ---- restore: keys come in order of their bytes: b, c, d, e, h, k, s ---- */

static enum err restore_header(struct machine *m, struct slice v)
{
	if (v.n < HEADER_BYTES || le32_get(v.p) != HEADER_VERSION) return ERR_CORRUPT;
	uint64_t live = le64_get(v.p + 24), bytes = le64_get(v.p + 32);
	uint32_t id_n = le32_get(v.p + 76);
	if (v.n != HEADER_BYTES + (size_t)id_n || live != m->seqs.live || bytes != m->seqs.bytes) return ERR_CORRUPT;
	seq_index_restore(&m->seqs, le64_get(v.p + 8), le64_get(v.p + 16));
	m->time_ns = (int64_t)le64_get(v.p + 40);
	m->first_time_ns = (int64_t)le64_get(v.p + 48);
	m->last_time_ns = (int64_t)le64_get(v.p + 56);
	m->hash = le64_get(v.p + 64);
	buf_append(&m->last_msg_id, v.p + HEADER_BYTES, id_n);
	return OK;
}

static enum err restore_subject(struct machine *m, uint32_t id, struct slice v)
{
	if (v.n < 32) return ERR_CORRUPT;
	uint32_t kept = le32_get(v.p + 24), n = le32_get(v.p + 28);
	if (v.n != 32 + (uint64_t)kept * 16 + n || n == 0 || subjects_by_id(&m->subjects, id)) return ERR_CORRUPT;
	struct slice name = slice_of(v.p + 32 + (size_t)kept * 16, n);
	if (subjects_find(&m->subjects, name)) return ERR_CORRUPT;
	struct subject_entry *e = subjects_restore(&m->subjects, name, id);
	e->count = le64_get(v.p);
	e->first_seq_hint = le64_get(v.p + 8);
	e->last_seq = le64_get(v.p + 16);
	e->kept = mem_alloc((kept + 1) * sizeof *e->kept);
	e->kept_count = e->kept_cap = kept;
	for (uint32_t i = 0; i < kept; i++)
		e->kept[i] = (struct subject_kept) { le64_get(v.p + 32 + (size_t)i * 16),
			le64_get(v.p + 40 + (size_t)i * 16) };
	return OK;
}

static enum err restore_id(struct machine *m, uint64_t seq, struct slice v)
{
	if (v.n < 9) return ERR_CORRUPT;
	msg_ids_add(&m->ids, slice_from(v, 8), seq, (int64_t)le64_get(v.p));
	CONTAINER_OF(m->ids.by_time.prev, struct msg_id, link_by_time)->where = MSG_ID_STORED;
	return OK;
}

static enum err restore_erasures(struct machine *m, struct slice v)
{
	if (v.n == 0 || v.n % 16 || m->erasures.count) return ERR_CORRUPT;
	for (uint64_t before = 0; v.n; v = slice_from(v, 16)) {
		uint64_t first = le64_get(v.p), last = le64_get(v.p + 8);
		if (first <= before || first > last) return ERR_CORRUPT;
		erasures_add(&m->erasures, first, last);
		before = last;
	}
	return OK;
}

enum err machine_restore(struct machine *m, struct slice key, struct slice value)
{
	if (key.n == 0) return ERR_CORRUPT;
	switch (key.p[0]) {
	case 0: return OK; /* the raft room's */
	case 'b': return key.n == 9 ? seq_index_decode_block(&m->seqs, key_number(key), value) : ERR_CORRUPT;
	case 'c':
		return machine_apply(m, 0, &(struct record) { .kind = RECORD_CONFIG, .payload = value },
			&(struct machine_event) { 0 });
	case 'd': return key.n == 9 ? restore_id(m, key_number(key), value) : ERR_CORRUPT;
	case 'e': return key.n == 1 ? restore_erasures(m, value) : ERR_CORRUPT;
	case 'h': return restore_header(m, value);
	case 'k': return OK; /* the consumer room's: stream.c hands them out */
	case 's':
		return key.n == 9 && key_number(key) < UINT32_MAX ? restore_subject(m, (uint32_t)key_number(key), value)
								  : ERR_CORRUPT;
	default: return ERR_CORRUPT;
	}
}

enum err machine_restored(struct machine *m)
{
	m->config_dirty = m->config_captured = false;
	subjects_restored(&m->subjects);
	m->subjects.unsure_marks++; /* what was unsure when it was captured is so again */
	uint64_t counted = 0;
	for (uint32_t i = 0; i < m->subjects.id_next; i++)
		if (m->subjects.by_id[i]) counted += m->subjects.by_id[i]->count;
	for (uint64_t i = m->seqs.base; i < m->seqs.base + m->seqs.count; i++) {
		struct seq_block *k = seq_index_block(&m->seqs, i);
		for (uint32_t s = 0; k && s < k->subject_count; s++)
			if (!subjects_by_id(&m->subjects, k->subjects[s].id)) return ERR_CORRUPT;
	}
	return counted == m->seqs.live ? OK : ERR_CORRUPT;
}
