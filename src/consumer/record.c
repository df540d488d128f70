/* SPDX-License-Identifier: Apache-2.0 */
/* The replicated half: records of the stream's group change consumers, captures write them, restores read them back.
 *
 * Record body: u8 kind | 3 zero | u32 id | …
 *   CREATE  i64 created | u64 start | u64 bound | u32 config n | u32 last seqs | config JSON | u64 last seq …
 *   UPDATE  config JSON
 *   DELETE  -
 *   SWEPT   u64 losses (id 0: of all consumers)
 *   STATE   u64 delivered cseq | u64 delivered sseq | u32 pendings | u32 acks
 *           | {u64 sseq, u64 cseq, u32 count, u32 held} … | {u64 sseq, u32 bytes, u16 subject n, u8 drop, u8 0, subject} …
 * State store: 'k' + 0 (8) = u64 losses | u64 swept; 'k' + id (4, big-endian) + chunk (4, big-endian); chunk 0 = i64 created | delivered c, s | floor c, s | bound | u32 config n | u32 pendings | u32 last seqs |
 *           u32 0 | config | {sseq, cseq, time, u32 count, u32 held} … | u64 last seq … ; pendings beyond PENDING_CHUNK go to chunks 1, 2, …
 * held: it is not to come again before so many milliseconds after the record's time, or after `time`; 0: after the ordinary wait. */
#include "consumer_internal.h"

enum record_kind { CREATE = 1, UPDATE, DELETE, STATE, SWEPT };
enum { HEAD = 8, PENDING_CHUNK = 512, PENDING_BYTES = 32, STATE_HEAD = 64, KEY_BYTES = 9 };
enum { DELIVERY_BYTES = 24, ACK_BYTES = 16, STATE_BYTES_MAX = 48 * 1024 };

static void head(struct buf *b, enum record_kind kind, uint32_t id)
{
	buf_append_le32(b, (uint32_t)kind);
	buf_append_le32(b, id);
}

void record_create(struct buf *b, uint32_t id, int64_t created_ns, uint64_t start_sseq, const struct consumer_config *c,
	const uint64_t *last_seqs, size_t last_seq_count, uint64_t bound)
{
	struct buf json = { 0 };
	consumer_config_print(&json, c);
	head(b, CREATE, id);
	buf_append_le64(b, (uint64_t)created_ns);
	buf_append_le64(b, start_sseq);
	buf_append_le64(b, bound);
	buf_append_le32(b, (uint32_t)json.n);
	buf_append_le32(b, (uint32_t)last_seq_count);
	buf_append_slice(b, buf_slice(&json));
	for (size_t i = 0; i < last_seq_count; i++) buf_append_le64(b, last_seqs[i]);
	buf_deinit(&json);
}

void record_update(struct buf *b, uint32_t id, const struct consumer_config *c)
{
	head(b, UPDATE, id);
	consumer_config_print(b, c);
}

void record_delete(struct buf *b, uint32_t id) { head(b, DELETE, id); }

void record_swept(struct buf *b, uint64_t losses)
{
	head(b, SWEPT, 0);
	buf_append_le64(b, losses);
}

static uint32_t held_ms(const struct pending *p, int64_t since_ns)
{
	if (!p->due_ns) return 0;
	uint64_t left = p->due_ns > since_ns ? (uint64_t)(p->due_ns - since_ns) : 0;
	return (uint32_t)u64_min(u64_max((left + NS_PER_MS - 1) / NS_PER_MS, 1), UINT32_MAX);
}

static int64_t held_until(int64_t since_ns, uint32_t held) { return held ? since_ns + (int64_t)MILLIS(held) : 0; }

static void append_delivery(struct buf *b, const struct pending *p, int64_t now_ns)
{
	buf_append_le64(b, p->sseq);
	buf_append_le64(b, p->cseq);
	buf_append_le32(b, p->count);
	buf_append_le32(b, held_ms(p, now_ns));
}

static void append_ack(struct buf *b, const struct pending *p)
{
	buf_append_le64(b, p->sseq);
	buf_append_le32(b, p->bytes);
	uint8_t *at = buf_reserve(b, 4);
	le16_put(at, p->subject_n);
	at[2] = p->terminal_is_drop;
	at[3] = 0;
	b->n += 4;
	if (p->subject_n) buf_append(b, p->subject, p->subject_n);
}

/* What the log does not know yet, as much of it as one record takes: new deliveries that are still open, and what was acknowledged. New
 * deliveries rise in to_log, so a record that is not the last one says delivered as far as it goes and not further: who leads from
 * there on delivers the rest. */
void record_state(struct buf *b, struct consumer *k)
{
	struct list part;
	uint32_t pendings = 0, acks = 0;
	uint64_t cseq = 0, sseq = 0;
	int64_t now_ns = io_wall_ns(k->all->io);
	size_t bytes = 0;
	list_init(&part);
	while (bytes < STATE_BYTES_MAX && !list_is_empty(&k->to_log)) {
		struct list *node = list_pop_front(&k->to_log);
		const struct pending *p = CONTAINER_OF(node, struct pending, link_by_log);
		bytes += p->acking ? ACK_BYTES + p->subject_n : DELIVERY_BYTES;
		cseq = u64_max(cseq, p->cseq);
		sseq = u64_max(sseq, p->sseq);
		list_push_back(&part, node);
	}
	bool is_last = list_is_empty(&k->to_log);
	head(b, STATE, k->id);
	buf_append_le64(b, is_last ? k->live_cseq : cseq);
	buf_append_le64(b, is_last ? k->live_sseq : sseq);
	k->said_cseq = is_last ? k->live_cseq : u64_max(k->said_cseq, cseq);
	size_t counts = b->n;
	buf_append_le64(b, 0);
	LIST_EACH (node, &part) {
		const struct pending *p = CONTAINER_OF(node, struct pending, link_by_log);
		if (p->acking || diag_fault(k->all->diag, FAULT_bug_delivery_not_logged)) continue;
		append_delivery(b, p, now_ns);
		pendings++;
	}
	for (struct list *node; (node = list_pop_front(&part)) != NULL;) {
		const struct pending *p = CONTAINER_OF(node, struct pending, link_by_log);
		if (!p->acking) continue;
		append_ack(b, p);
		acks++;
	}
	le32_put(b->p + counts, pendings);
	le32_put(b->p + counts + 4, acks);
}

/* ---- pending messages ---- */

static struct slice pending_key(const void *item) { return map_key_u64(&((const struct pending *)item)->sseq); }

struct pending *pending_find(const struct consumer *k, uint64_t sseq)
{
	return map_get(&k->pending, map_key_u64(&sseq));
}

struct pending *pending_add(struct consumer *k, uint64_t sseq, uint64_t cseq, uint32_t count, int64_t time_ns)
{
	struct pending *p = NEW(struct pending);
	*p = (struct pending) { .consumer = k, .sseq = sseq, .cseq = cseq, .count = count, .time_ns = time_ns };
	void *old = map_put(&k->pending, p);
	ASSERT(old == NULL);
	/* sequences rise, so it nearly always goes to the back */
	struct list *after = k->pending_by_seq.prev;
	while (after != &k->pending_by_seq && CONTAINER_OF(after, struct pending, link_by_seq)->sseq > sseq)
		after = after->prev;
	list_insert_before(after->next, &p->link_by_seq);
	return p;
}

void pending_free(struct pending *p)
{
	struct consumer *k = p->consumer;
	(void)map_del(&k->pending, map_key_u64(&p->sseq));
	list_remove(&p->link_by_seq);
	list_remove_if_linked(&p->link_by_log);
	if (heap_is_linked(&p->link_by_due)) heap_remove(&k->due, &p->link_by_due);
	if (p->acking) k->acking_count--;
	if (p->count > 1) k->redelivered_count--;
	mem_free(p->subject);
	mem_free(p);
}

void consumer_floor(struct consumer *k)
{
	LIST_EACH (node, &k->pending_by_seq) {
		const struct pending *p = CONTAINER_OF(node, struct pending, link_by_seq);
		if (!p->logged || diag_fault(k->all->diag, FAULT_bug_floor_ahead)) continue;
		k->floor_sseq = u64_max(k->floor_sseq, p->sseq - 1);
		k->floor_cseq = u64_max(k->floor_cseq, p->cseq - 1);
		return;
	}
	k->floor_sseq = k->delivered_sseq;
	k->floor_cseq = k->delivered_cseq;
}

/* Only where an acknowledged message leaves the stream must its weight be in the record. */
bool consumers_keep_facts(const struct consumers *c) { return stream_config(c->stream)->retention != STREAM_LIMITS; }

/* ---- making and freeing ---- */

struct consumer *consumer_make(struct consumers *c, uint32_t id)
{
	struct consumer *k = NEW(struct consumer);
	k->all = c;
	k->id = id;
	map_init(&k->pending, io_random_u64(c->io), pending_key);
	list_init(&k->pending_by_seq);
	list_init(&k->to_log);
	list_init(&k->to_find);
	list_init(&k->fact_answers);
	list_init(&k->waiting);
	list_init(&k->count_waits);
	list_push_back(&c->by_id, &k->link_by_id);
	if (id >= c->id_next) c->id_next = id + 1;
	return k;
}

void consumer_set_config(struct consumer *k, struct consumer_config *taken)
{
	if (k->name.n) (void)map_del(&k->all->by_name, k->name);
	consumer_stop_reading(k); /* it borrows the filters */
	consumer_pending_changed(k);
	k->scanned_to = 0;
	consumer_config_deinit(&k->config);
	k->config = *taken;
	*taken = (struct consumer_config) { 0 };
	k->name = slice_of_str(k->config.name);
	mem_free(k->filters);
	k->filters = mem_alloc((k->config.filter_count + 1) * sizeof *k->filters);
	for (size_t i = 0; i < k->config.filter_count; i++) k->filters[i] = slice_of_str(k->config.filters[i]);
	(void)map_put(&k->all->by_name, k);
}

void consumer_free(struct consumer *k)
{
	consumer_count_end(k, true);
	consumer_lead(k, false);
	consumer_stop_reading(k);
	while (!list_is_empty(&k->pending_by_seq))
		pending_free(CONTAINER_OF(k->pending_by_seq.next, struct pending, link_by_seq));
	map_deinit(&k->pending);
	if (k->name.n && map_get(&k->all->by_name, k->name) == k) (void)map_del(&k->all->by_name, k->name);
	list_remove(&k->link_by_id);
	list_remove_if_linked(&k->link_by_dirty);
	consumer_config_deinit(&k->config);
	mem_free(k->filters);
	mem_free(k->last_seqs);
	buf_deinit(&k->ack_prefix);
	mem_free(k);
}

/* ---- applying ---- */

static void touched(struct consumer *k)
{
	k->dirty = true;
	k->captured = false;
}

static void take_last_seqs(struct consumer *k, const uint8_t *p, uint32_t n)
{
	k->last_seqs = mem_alloc((n + 1) * sizeof *k->last_seqs);
	for (uint32_t i = 0; i < n; i++) k->last_seqs[i] = le64_get(p + (size_t)i * 8);
	k->last_seq_count = n;
}

static void apply_create(struct consumers *c, uint32_t id, struct slice in)
{
	if (in.n < 32) return;
	uint32_t config_n = le32_get(in.p + 24), seqs = le32_get(in.p + 28);
	struct consumer_config config;
	if (in.n != 32 + (uint64_t)config_n + (uint64_t)seqs * 8 ||
		!consumer_config_parse_stored(&config, slice_of(in.p + 32, config_n)))
		return;
	if (!config.name ||
		map_get(&c->by_name, slice_of_str(config.name))) { /* another create of this name came first */
		consumer_config_deinit(&config);
		return;
	}
	struct consumer *k = consumer_make(c, id);
	k->created_ns = (int64_t)le64_get(in.p);
	uint64_t start = le64_get(in.p + 8);
	k->delivered_sseq = k->floor_sseq = start ? start - 1 : 0;
	k->live_sseq = k->delivered_sseq;
	k->last_seq_bound = le64_get(in.p + 16);
	take_last_seqs(k, in.p + 32 + config_n, seqs);
	consumer_set_config(k, &config);
	k->is_new = true;
	touched(k);
	if (c->leading) consumer_lead(k, true);
}

static void apply_update(struct consumer *k, struct slice in)
{
	struct consumer_config config;
	if (!consumer_config_parse_stored(&config, in)) return;
	consumer_set_config(k, &config);
	touched(k);
	consumer_rest(k);
	consumers_want_less(k->all);
}

static void note_gone(struct consumers *c, const struct consumer *k)
{
	if (c->gone_count == c->gone_cap) {
		c->gone_cap = c->gone_cap ? c->gone_cap * 2 : 4;
		c->gone = mem_realloc(c->gone, c->gone_cap * sizeof *c->gone);
	}
	c->gone[c->gone_count++] = (struct consumer_gone) { .id = k->id, .chunks = k->chunks_stored };
}

static void apply_delete(struct consumer *k)
{
	struct consumers *c = k->all;
	note_gone(c, k);
	consumer_end_requests(k, "409 Consumer Deleted");
	consumer_free(k);
	consumers_want_less(c);
}

static void apply_pending(struct consumer *k, const uint8_t *p, int64_t time_ns)
{
	uint64_t sseq = le64_get(p);
	uint32_t count = le32_get(p + 16);
	int64_t due_ns = held_until(time_ns, le32_get(p + 20));
	struct pending *old = pending_find(k, sseq);
	if (!old) {
		if (!stream_is_live(k->all->stream, sseq)) return;
		old = pending_add(k, sseq, le64_get(p + 8), count, time_ns);
		old->due_ns = due_ns;
		if (count > 1) k->redelivered_count++;
		if (k->all->leading) consumer_schedule(old, 0);
	} else if (!k->all->leading) {
		if (old->count <= 1 && count > 1) k->redelivered_count++;
		old->count = count;
		old->time_ns = time_ns;
		old->due_ns = due_ns;
	} else if (old->count == count && !list_is_linked(&old->link_by_log)) {
		old->changed = false;
	}
	old->logged = true;
}

static void apply_ack(struct consumer *k, uint64_t sseq, uint32_t bytes, struct slice subject, bool is_drop)
{
	struct consumers *c = k->all;
	struct pending *p = pending_find(k, sseq);
	if (p) pending_free(p);
	enum stream_retention retention = stream_config(c->stream)->retention;
	if (is_drop || subject.n == 0 || retention == STREAM_LIMITS) return;
	if (retention == STREAM_WORKQUEUE && diag_fault(c->diag, FAULT_bug_workqueue_keeps)) return;
	if (retention == STREAM_WORKQUEUE || !consumer_stream_ops.is_wanted(c, sseq, subject))
		stream_apply_remove(c->stream, sseq, subject, bytes);
}

static void apply_state(struct consumer *k, struct slice in, int64_t time_ns)
{
	if (in.n < 24) return;
	k->delivered_cseq = u64_max(k->delivered_cseq, le64_get(in.p));
	k->delivered_sseq = u64_max(k->delivered_sseq, le64_get(in.p + 8));
	if (!k->all->leading) {
		k->live_cseq = k->delivered_cseq;
		k->live_sseq = k->delivered_sseq;
	}
	uint32_t pendings = le32_get(in.p + 16), acks = le32_get(in.p + 20);
	in = slice_from(in, 24);
	for (; pendings && in.n >= 24; pendings--, in = slice_from(in, 24)) apply_pending(k, in.p, time_ns);
	for (; acks && in.n >= 16; acks--) {
		size_t n = le16_get(in.p + 12);
		if (in.n < 16 + n) return;
		apply_ack(k, le64_get(in.p), le32_get(in.p + 8), slice_of(in.p + 16, n), in.p[14]);
		in = slice_from(in, 16 + n);
	}
	consumer_floor(k);
	touched(k);
}

static void on_reset(void *arg)
{
	struct consumers *c = arg;
	while (!list_is_empty(&c->by_id)) consumer_free(CONTAINER_OF(c->by_id.next, struct consumer, link_by_id));
	c->gone_count = c->gone_captured = 0;
	c->losses = c->swept = 0;
	c->losses_dirty = c->losses_captured = false;
}

static void on_apply(void *arg, uint64_t index, int64_t time_ns, struct slice body)
{
	struct consumers *c = arg;
	if (body.n < HEAD) return;
	enum record_kind kind = (enum record_kind)le32_get(body.p);
	uint32_t id = le32_get(body.p + 4);
	(void)index;
	struct slice rest = slice_from(body, HEAD);
	if (kind == SWEPT) {
		consumers_swept(c, rest);
		return;
	}
	struct consumer *k = consumer_by_id(c, id);
	if (kind == CREATE) {
		if (!k) apply_create(c, id, rest);
		return;
	}
	if (!k) return;
	if (kind == UPDATE) apply_update(k, rest);
	if (kind == DELETE) apply_delete(k);
	if (kind == STATE) {
		apply_state(k, rest, time_ns);
		if (c->leading) consumer_mark(k);
	}
}

/* ---- the stream's messages come and go ---- */

static void on_stored(void *arg, uint64_t seq, struct slice subject)
{
	struct consumers *c = arg;
	if (!c->leading) return;
	LIST_EACH (node, &c->by_id) {
		struct consumer *k = CONTAINER_OF(node, struct consumer, link_by_id);
		if (!consumer_matches(k, subject)) continue;
		if (k->num_pending_known && seq > k->live_sseq) k->num_pending++;
		consumer_count_stored(k, seq, subject);
		if (k->waiting_count) consumer_mark(k);
	}
}

static void on_removed(void *arg, uint64_t seq, struct slice subject)
{
	struct consumers *c = arg;
	LIST_EACH (node, &c->by_id) {
		struct consumer *k = CONTAINER_OF(node, struct consumer, link_by_id);
		consumer_count_removed(k, seq, subject);
		if (seq > k->live_sseq) {
			if (k->walking) { continue; /* it was told */ }
			if (k->last_seq_count || k->counting) {
				consumer_pending_changed(k);
			} else if (k->num_pending_known && consumer_matches(k, subject)) {
				k->num_pending -= u64_min(1, k->num_pending);
			}
			continue;
		}
		struct pending *p = pending_find(k, seq);
		if (!p) continue;
		pending_free(p); /* also one whose ack is on its way: every replica does the same */
		consumer_floor(k);
		touched(k);
	}
}

static void on_purged(void *arg, uint64_t first_seq)
{
	struct consumers *c = arg;
	LIST_EACH (node, &c->by_id) {
		struct consumer *k = CONTAINER_OF(node, struct consumer, link_by_id);
		consumer_pending_changed(k);
		LIST_EACH_SAFE (at, &k->pending_by_seq) {
			struct pending *p = CONTAINER_OF(at, struct pending, link_by_seq);
			if (p->sseq < first_seq) pending_free(p);
		}
		if (k->delivered_sseq + 1 < first_seq) k->delivered_sseq = first_seq - 1;
		if (k->live_sseq + 1 < first_seq) k->live_sseq = first_seq - 1;
		consumer_floor(k);
		touched(k);
	}
}

static bool on_is_wanted(void *arg, uint64_t seq, struct slice subject)
{
	const struct consumers *c = arg;
	LIST_EACH (node, &c->by_id) {
		const struct consumer *k = CONTAINER_OF(node, struct consumer, link_by_id);
		if (!consumer_matches(k, subject)) continue;
		if (seq > k->delivered_sseq) return true;
		const struct pending *p = pending_find(k, seq);
		if (p && p->logged && !diag_fault(c->diag, FAULT_bug_interest_early)) return true;
	}
	return false;
}

/* ---- capture and restore ---- */

static uint32_t key_number(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static struct slice state_key(uint8_t key[KEY_BYTES], uint32_t id, uint32_t chunk)
{
	key[0] = 'k';
	for (int i = 0; i < 4; i++) {
		key[1 + i] = (uint8_t)(id >> (24 - 8 * i));
		key[5 + i] = (uint8_t)(chunk >> (24 - 8 * i));
	}
	return slice_of(key, KEY_BYTES);
}

static void append_pendings(struct buf *b, struct list **at, const struct list *end, uint32_t n)
{
	while (n && *at != end) {
		const struct pending *p = CONTAINER_OF(*at, struct pending, link_by_seq);
		*at = (*at)->next;
		if (!p->logged) continue;
		buf_append_le64(b, p->sseq);
		buf_append_le64(b, p->cseq);
		buf_append_le64(b, (uint64_t)p->time_ns);
		buf_append_le32(b, p->count);
		buf_append_le32(b, held_ms(p, p->time_ns));
		n--;
	}
}

static uint32_t logged_count(const struct consumer *k)
{
	uint32_t n = 0;
	LIST_EACH (node, &k->pending_by_seq) n += CONTAINER_OF(node, struct pending, link_by_seq)->logged;
	return n;
}

static void capture_one(struct consumer *k, struct state_batch *batch)
{
	struct buf b = { 0 }, json = { 0 };
	uint8_t key[KEY_BYTES];
	uint32_t pendings = logged_count(k), chunk = 1;
	struct list *at = k->pending_by_seq.next;
	size_t seqs = k->last_seq_count - k->last_seq_at;
	consumer_config_print(&json, &k->config);
	const uint64_t words[6] = { (uint64_t)k->created_ns, k->delivered_cseq, k->delivered_sseq, k->floor_cseq,
		k->floor_sseq, k->last_seq_bound };
	for (size_t i = 0; i < COUNT_OF(words); i++) buf_append_le64(&b, words[i]);
	buf_append_le32(&b, (uint32_t)json.n);
	buf_append_le32(&b, (uint32_t)u64_min(pendings, PENDING_CHUNK));
	buf_append_le32(&b, (uint32_t)seqs);
	buf_append_le32(&b, 0);
	buf_append_slice(&b, buf_slice(&json));
	append_pendings(&b, &at, &k->pending_by_seq, PENDING_CHUNK);
	for (size_t i = 0; i < seqs; i++) buf_append_le64(&b, k->last_seqs[k->last_seq_at + i]);
	state_batch_put(batch, state_key(key, k->id, 0), buf_slice(&b));
	for (uint32_t left = pendings; left > PENDING_CHUNK; left -= PENDING_CHUNK, chunk++) {
		buf_clear(&b);
		append_pendings(&b, &at, &k->pending_by_seq, PENDING_CHUNK);
		state_batch_put(batch, state_key(key, k->id, chunk), buf_slice(&b));
	}
	for (uint32_t i = chunk; i < k->chunks_stored; i++) state_batch_del(batch, state_key(key, k->id, i));
	k->chunks_captured = chunk;
	k->chunks_stored = (uint32_t)u64_max(k->chunks_stored, chunk); /* until it is settled both may be there */
	buf_deinit(&b);
	buf_deinit(&json);
	k->captured = true;
}

static void on_capture(void *arg, struct state_batch *batch, bool all)
{
	struct consumers *c = arg;
	uint8_t key[KEY_BYTES];
	for (size_t i = 0; i < c->gone_count; i++)
		for (uint32_t chunk = 0; chunk < c->gone[i].chunks; chunk++)
			state_batch_del(batch, state_key(key, c->gone[i].id, chunk));
	c->gone_captured = c->gone_count;
	losses_capture(c, batch, state_key(key, 0, 0), all);
	LIST_EACH (node, &c->by_id) {
		struct consumer *k = CONTAINER_OF(node, struct consumer, link_by_id);
		if (all || k->dirty) capture_one(k, batch);
	}
}

static void on_settled(void *arg)
{
	struct consumers *c = arg;
	c->gone_count -= c->gone_captured;
	if (c->gone_captured) memmove(c->gone, c->gone + c->gone_captured, c->gone_count * sizeof *c->gone);
	c->gone_captured = 0;
	losses_settled(c);
	LIST_EACH (node, &c->by_id) {
		struct consumer *k = CONTAINER_OF(node, struct consumer, link_by_id);
		if (!k->captured) continue;
		k->dirty = k->captured = false;
		k->chunks_stored = k->chunks_captured;
	}
}

static void restore_pendings(struct consumer *k, struct slice in)
{
	if (diag_fault(k->all->diag, FAULT_bug_pending_forgotten)) return;
	for (; in.n >= PENDING_BYTES; in = slice_from(in, PENDING_BYTES)) {
		if (pending_find(k, le64_get(in.p))) continue;
		uint32_t count = le32_get(in.p + 24);
		int64_t time_ns = (int64_t)le64_get(in.p + 16);
		struct pending *p = pending_add(k, le64_get(in.p), le64_get(in.p + 8), count, time_ns);
		p->due_ns = held_until(time_ns, le32_get(in.p + 28));
		p->logged = true;
		if (count > 1) k->redelivered_count++;
	}
}

static void on_restored(void *arg, struct slice key, struct slice v)
{
	struct consumers *c = arg;
	if (key.n != KEY_BYTES) return;
	uint32_t id = key_number(key.p + 1), chunk = key_number(key.p + 5);
	if (id == 0) {
		losses_restore(c, v);
		return;
	}
	struct consumer *k = consumer_by_id(c, id);
	if (chunk != 0) {
		if (!k) return;
		restore_pendings(k, v);
		k->chunks_stored = (uint32_t)u64_max(k->chunks_stored, (uint64_t)chunk + 1);
		return;
	}
	if (k || v.n < STATE_HEAD) return;
	uint64_t config_n = le32_get(v.p + 48), pendings = le32_get(v.p + 52), seqs = le32_get(v.p + 56);
	struct consumer_config config;
	if (v.n != STATE_HEAD + config_n + pendings * PENDING_BYTES + seqs * 8 ||
		!consumer_config_parse_stored(&config, slice_of(v.p + STATE_HEAD, config_n)))
		return;
	k = consumer_make(c, id);
	k->chunks_stored = 1;
	k->created_ns = (int64_t)le64_get(v.p);
	k->delivered_cseq = k->live_cseq = le64_get(v.p + 8);
	k->delivered_sseq = k->live_sseq = le64_get(v.p + 16);
	if (diag_fault(c->diag, FAULT_bug_delivered_behind) && k->live_sseq) k->delivered_sseq = --k->live_sseq;
	k->floor_cseq = le64_get(v.p + 24);
	k->floor_sseq = le64_get(v.p + 32);
	k->last_seq_bound = le64_get(v.p + 40);
	restore_pendings(k, slice_of(v.p + STATE_HEAD + config_n, pendings * PENDING_BYTES));
	take_last_seqs(k, v.p + STATE_HEAD + config_n + pendings * PENDING_BYTES, (uint32_t)seqs);
	consumer_set_config(k, &config);
}

static void on_lead(void *arg, bool leading)
{
	struct consumers *c = arg;
	c->leading = leading && !c->stopped;
	c->lead++;
	LIST_EACH (node, &c->by_id) consumer_lead(CONTAINER_OF(node, struct consumer, link_by_id), c->leading);
	if (c->leading) {
		consumers_sweep(c);
	} else {
		consumers_stop_sweep(c);
	}
}

/* Of what a capture would hold, so that a replica that restored and one that applied everything agree. */
static uint64_t on_hash(void *arg)
{
	const struct consumers *c = arg;
	uint64_t sum = c->losses * 31 + c->swept;
	LIST_EACH (node, &c->by_id) {
		const struct consumer *k = CONTAINER_OF(node, struct consumer, link_by_id);
		uint64_t words[6] = { k->id, k->delivered_cseq, k->delivered_sseq, k->floor_cseq, k->floor_sseq, 0 };
		LIST_EACH (at, &k->pending_by_seq) {
			const struct pending *p = CONTAINER_OF(at, struct pending, link_by_seq);
			if (p->logged) words[5] += p->sseq * 31 + p->cseq;
		}
		sum += hash_bytes(words, sizeof words, 0);
	}
	return sum;
}

static uint64_t on_count(void *arg) { return ((const struct consumers *)arg)->by_name.count; }

const struct stream_consumer_ops consumer_stream_ops = {
	.reset = on_reset,
	.apply = on_apply,
	.stored = on_stored,
	.removed = on_removed,
	.purged = on_purged,
	.is_wanted = on_is_wanted,
	.capture = on_capture,
	.settled = on_settled,
	.restored = on_restored,
	.lead = on_lead,
	.hash = on_hash,
	.count = on_count,
};
