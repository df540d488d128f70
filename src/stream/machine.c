/* SPDX-License-Identifier: Apache-2.0 */
/* Applying records: the pure half of a stream. The happy path is RECORD_MSG: one map look-up, one block, a few counters. */
#include "machine.h"

#include "thebes/wire.h"

void machine_init(struct machine *m, const struct stream_config *config, uint64_t seed)
{
	*m = (struct machine) { 0 };
	stream_config_copy(&m->config, config);
	seq_index_init(&m->seqs);
	subjects_init(&m->subjects, seed);
	msg_ids_init(&m->ids, seed ^ 0x9e3779b97f4a7c15u);
	m->config_dirty = true;
}

void machine_deinit(struct machine *m)
{
	stream_config_deinit(&m->config);
	seq_index_deinit(&m->seqs);
	subjects_deinit(&m->subjects);
	msg_ids_deinit(&m->ids);
	erasures_deinit(&m->erasures);
	buf_deinit(&m->last_msg_id);
}

/* `to` holds the bytes of `from`, to which its items still point. */
static void list_moved(struct list *to, struct list *from)
{
	list_init(to);
	list_splice_back(to, from);
}

void machine_move(struct machine *to, struct machine *from)
{
	*to = *from;
	list_moved(&to->seqs.dirty, &from->seqs.dirty);
	list_moved(&to->subjects.dirty, &from->subjects.dirty);
	list_moved(&to->ids.by_time, &from->ids.by_time);
	machine_init(from, &(struct stream_config) { 0 }, 0);
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
	return h * 0xff51afd7ed558ccdu;
}

static void hash_step(struct machine *m, const struct record *r)
{
	uint64_t h = mix(m->hash, (uint64_t)r->kind << 56 ^ r->seq);
	h = mix(h, (uint64_t)r->time_ns);
	h = mix(h, hash_bytes(r->payload.p, r->payload.n, hash_bytes(r->subject.p, r->subject.n, 0)));
	h = mix(h, m->seqs.live ^ m->seqs.bytes << 20);
	m->hash = mix(h, m->seqs.first_seq ^ m->seqs.last_seq << 24);
}

/* ---- messages ---- */

/* The oldest of each subject are known by name where something may ask for them to go. */
bool machine_keeps(const struct machine *m)
{
	return m->config.max_msgs_per_subject > 0 || m->config.allow_rollup_hdrs;
}

struct slice machine_msg_id(struct slice headers)
{
	if (headers.n == 0) return SLICE_NULL;
	struct slice id = header_get(headers, SLICE("Nats-Msg-Id"));
	return id.p ? id : header_get(headers, SLICE("msg-id"));
}

static void keep_newest(struct machine *m, struct slice subject, uint64_t keep)
{
	struct subject_entry *e;
	/* where older ones are not known by name the leader reads and drops them (tidy.c) */
	while ((e = subjects_find(&m->subjects, subject)) != NULL && e->count > keep && subject_is_kept(e)) {
		struct subject_kept oldest = e->kept[e->kept_head];
		machine_remove(m, oldest.seq, subject, oldest.bytes);
	}
}

static void apply_clear(struct machine *m, uint64_t *removed)
{
	*removed = m->seqs.live;
	if (m->consumers) m->consumers->purged(m->consumers_arg, m->seqs.last_seq + 1);
	seq_index_clear(&m->seqs);
	subjects_clear(&m->subjects);
	m->first_time_ns = 0;
}

static void remember_id(struct machine *m, const struct record *r)
{
	struct slice id = machine_msg_id(r->headers);
	buf_clear(&m->last_msg_id); /* the last message's, if it has one */
	if (id.n == 0) return;
	msg_ids_add(&m->ids, id, r->seq, r->time_ns);
	buf_append_slice(&m->last_msg_id, id);
}

static enum err apply_msg(struct machine *m, const struct record *r, struct machine_event *ev)
{
	if (r->seq != m->seqs.last_seq + 1 || r->subject.n == 0) return ERR_CORRUPT;
	if (r->flags & MACHINE_ROLLUP_ALL) apply_clear(m, &ev->removed);
	uint64_t bytes = stream_msg_bytes(&m->config, r->subject.n, r->headers.n, r->payload.n);
	struct subject_entry *e = subjects_get(&m->subjects, r->subject);
	bool was_empty = m->seqs.live == 0;
	seq_index_store(&m->seqs, r->seq, e->id, bytes);
	subjects_added(&m->subjects, e, r->seq, bytes, machine_keeps(m));
	m->last_time_ns = r->time_ns;
	if (was_empty) m->first_time_ns = r->time_ns;
	remember_id(m, r);
	if (m->consumers) m->consumers->stored(m->consumers_arg, r->seq, r->subject);
	int64_t limit = m->config.max_msgs_per_subject;
	if (r->flags & MACHINE_ROLLUP_SUBJECT) {
		keep_newest(m, r->subject, 1);
	} else if (limit > 0) {
		keep_newest(m, r->subject, (uint64_t)limit);
	}
	return OK;
}

void machine_remove(struct machine *m, uint64_t seq, struct slice subject, uint64_t bytes)
{
	if (!seq_index_is_live(&m->seqs, seq)) return;
	struct subject_entry *e = subjects_find(&m->subjects, subject);
	const struct seq_block *k = seq_index_block(&m->seqs, seq >> SEQ_BLOCK_SHIFT);
	if (!e || k->bytes < bytes) return; /* not what is stored here: leave it alone, on every replica alike */
	if (m->consumers) m->consumers->removed(m->consumers_arg, seq, subject);
	bool was_first = seq == m->seqs.first_seq;
	seq_index_remove(&m->seqs, seq, e->id, bytes);
	subjects_removed(&m->subjects, e, seq, 0, 1);
	if (was_first) m->first_time_ns = 0; /* the leader fills it in when it next reads the head */
}

void drop_begin(struct buf *b, uint64_t blocks_below) { buf_append_le64(b, blocks_below); }

void drop_add(struct buf *b, uint64_t seq, uint64_t bytes, struct slice subject)
{
	ASSERT(subject.n <= UINT16_MAX && bytes <= UINT32_MAX);
	uint8_t *p = buf_reserve(b, 14 + subject.n);
	le64_put(p, seq);
	le32_put(p + 8, (uint32_t)bytes);
	le16_put(p + 12, (uint16_t)subject.n);
	memcpy(p + 14, subject.p, subject.n);
	b->n += 14 + subject.n;
}

struct dropping {
	struct machine *m;
	uint64_t below;
};

static void subject_dropped(void *arg, uint32_t id, uint32_t count)
{
	struct dropping *d = arg;
	struct subject_entry *e = subjects_by_id(&d->m->subjects, id);
	ASSERT(e != NULL);
	subjects_removed(&d->m->subjects, e, 0, d->below, count);
}

/* Also what was gone already when this is applied: whoever asked was told that it was there. */
static void erase_later(struct machine *m, uint64_t seq)
{
	if (seq == 0 || seq > m->seqs.last_seq) return;
	erasures_add(&m->erasures, seq, seq);
	m->erasures_dirty = true;
	m->erasures_captured = false;
}

uint64_t machine_erase_next(const struct machine *m, uint64_t from, uint64_t to)
{
	uint64_t seq = u64_max(from, 1);
	while ((seq = erasures_next(&m->erasures, seq)) != 0 && seq <= to)
		if (!seq_index_is_live(&m->seqs, seq++)) return seq - 1;
	return 0;
}

void machine_erased(struct machine *m, const struct erasures *gone)
{
	erasures_subtract(&m->erasures, gone);
	m->erasures_dirty = true;
	m->erasures_captured = false;
}

static enum err apply_drop(struct machine *m, struct slice in, bool erases, uint64_t *removed)
{
	if (in.n < 8) return ERR_CORRUPT;
	uint64_t live = m->seqs.live, number = le64_get(in.p);
	if (number > (m->seqs.last_seq >> SEQ_BLOCK_SHIFT)) return ERR_CORRUPT;
	if (number > m->seqs.base) {
		struct dropping d = { m, number << SEQ_BLOCK_SHIFT };
		if (m->consumers) m->consumers->purged(m->consumers_arg, d.below);
		seq_index_drop_blocks(&m->seqs, number, subject_dropped, &d);
		m->first_time_ns = 0;
	}
	for (in = slice_from(in, 8); in.n;) {
		if (in.n < 14) return ERR_CORRUPT;
		size_t n = le16_get(in.p + 12);
		if (in.n < 14 + n) return ERR_CORRUPT;
		machine_remove(m, le64_get(in.p), slice_of(in.p + 14, n), le32_get(in.p + 8));
		if (erases) erase_later(m, le64_get(in.p));
		in = slice_from(in, 14 + n);
	}
	*removed = live - m->seqs.live;
	return OK;
}

static enum err apply_config(struct machine *m, struct slice json)
{
	struct stream_config next;
	struct js_error e;
	if (!stream_config_parse(&next, json, &e)) return ERR_CORRUPT;
	stream_config_deinit(&m->config);
	m->config = next;
	for (uint32_t i = 0; next.max_msgs_per_subject > 0 && i < m->subjects.id_next; i++) {
		struct subject_entry *at = m->subjects.by_id[i];
		if (at) keep_newest(m, subject_name(at), (uint64_t)next.max_msgs_per_subject);
	}
	m->config_dirty = m->config_changed = true;
	m->config_captured = false;
	return OK;
}

static bool drop_is_whole(struct slice in, uint64_t last_seq)
{
	if (in.n < 8 || le64_get(in.p) > (last_seq >> SEQ_BLOCK_SHIFT)) return false;
	for (in = slice_from(in, 8); in.n;) {
		if (in.n < 14 || in.n < 14 + (size_t)le16_get(in.p + 12)) return false;
		in = slice_from(in, 14 + (size_t)le16_get(in.p + 12));
	}
	return true;
}

static bool config_is_whole(struct slice json)
{
	struct stream_config c;
	struct js_error e;
	if (!stream_config_parse(&c, json, &e)) return false;
	stream_config_deinit(&c);
	return true;
}

enum err machine_check(const struct record *r, uint64_t *last_seq)
{
	bool good = false;
	/* The log gives nothing out to be applied that was erased: what is missing would make another state of it. */
	if (r->flags & RECORD_ERASED) return ERR_CORRUPT;
	switch ((enum stream_record_kind)r->kind) {
	case RECORD_MSG:
	case RECORD_SKIP:
		good = r->seq == *last_seq + 1 && (r->kind == RECORD_SKIP || r->subject.n > 0);
		if (good) *last_seq = r->seq;
		break;
	case RECORD_DROP: good = drop_is_whole(r->payload, *last_seq); break;
	case RECORD_CONFIG: good = config_is_whole(r->payload); break;
	case RECORD_CLEAR:
	case RECORD_CONSUMER: good = true; break;
	case RECORD_KIND_END: break;
	}
	return good ? OK : ERR_CORRUPT;
}

enum err machine_apply(struct machine *m, uint64_t index, const struct record *r, struct machine_event *ev)
{
	*ev = (struct machine_event) { .kind = (enum stream_record_kind)r->kind, .seq = r->seq };
	if (r->flags & RECORD_ERASED) return ERR_CORRUPT;
	enum err e = OK;
	switch (ev->kind) {
	case RECORD_MSG: e = apply_msg(m, r, ev); break;
	case RECORD_SKIP:
		if (r->seq != m->seqs.last_seq + 1) return ERR_CORRUPT;
		seq_index_skip(&m->seqs, r->seq);
		remember_id(m, r);
		m->last_time_ns = r->time_ns;
		break;
	case RECORD_DROP: e = apply_drop(m, r->payload, (r->flags & MACHINE_DROP_ERASES) != 0, &ev->removed); break;
	case RECORD_CLEAR: apply_clear(m, &ev->removed); break;
	case RECORD_CONFIG: e = apply_config(m, r->payload); break;
	case RECORD_CONSUMER:
		if (m->consumers && r->payload.n) m->consumers->apply(m->consumers_arg, index, r->time_ns, r->payload);
		break;
	case RECORD_KIND_END:
	default: return ERR_CORRUPT;
	}
	if (e != OK) return e;
	if (r->time_ns > m->time_ns) m->time_ns = r->time_ns;
	msg_ids_expire(&m->ids, m->time_ns - m->config.duplicate_window_ns);
	hash_step(m, r);
	return OK;
}
