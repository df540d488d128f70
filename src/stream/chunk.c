/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks of older entries that were read from disk and stay for a while: whoever reads a stream from its start finds the next messages in
 * memory instead of asking the disk for every handful. A few per stream, verified once, freed when nobody read for some seconds. */
#include "stream_internal.h"

enum { CHUNKS_MAX = 4, CHUNK_IDLE_S = 5 };

struct chunk_entry {
	uint64_t seq_before, seq_last;
	uint32_t offset; /* of the entry in `entries` */
};
struct chunk {
	struct list link;      /* the stream's, last used at the back */
	unsigned refs;         /* reads whose messages point into it */
	bool is_dropped;       /* freed with the last reference */
	struct ledger *memory; /* borrowed; NULL: nobody's */
	size_t charged;
	struct buf entries;
	struct chunk_entry *at; /* owned */
	uint32_t count, cap;
	uint64_t index_next; /* raft index behind the last entry */
};

static void chunk_free(struct chunk *c)
{
	list_remove_if_linked(&c->link);
	ledger_release(c->memory, c->charged);
	buf_deinit(&c->entries);
	mem_free(c->at);
	mem_free(c);
}

static void chunk_drop(struct chunk *c)
{
	list_remove(&c->link);
	c->is_dropped = true;
	if (c->refs == 0) chunk_free(c);
}

/* Memory is short: nothing is kept longer than the read takes that it was for. */
static bool is_short(const struct chunk *c) { return c->memory && ledger_is_full(c->memory); }

static void idle_fire(struct io_timer *t)
{
	struct stream *s = CONTAINER_OF(t, struct stream, chunk_timer);
	chunks_clear(s);
}

void chunks_init(struct stream *s)
{
	list_init(&s->chunks);
	s->chunk_timer.fire = idle_fire;
}

void chunks_clear(struct stream *s)
{
	while (!list_is_empty(&s->chunks)) chunk_drop(CONTAINER_OF(s->chunks.next, struct chunk, link));
}

void chunks_deinit(struct stream *s)
{
	io_timer_stop(s->options.io, &s->chunk_timer);
	chunks_clear(s);
}

/* The sequence before the first message of a body: its own head does not say. */
static uint64_t seq_before(struct slice body, uint64_t seq_last)
{
	struct batch_head head;
	struct slice records;
	struct record r;
	if (batch_open(body, &head, &records) != OK) return seq_last;
	while (record_next(&records, &r) == OK)
		if (r.kind == RECORD_MSG || r.kind == RECORD_SKIP) return r.seq - 1;
	return seq_last;
}

static void note_entry(struct chunk *c, const struct entry_head *head, struct slice body, uint32_t offset)
{
	if (c->count == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 8;
		c->at = mem_realloc(c->at, c->cap * sizeof *c->at);
	}
	uint64_t before = c->count                      ? c->at[c->count - 1].seq_last
			  : head->kind == ENTRY_COMMAND ? seq_before(body, head->seq_last)
							: head->seq_last;
	c->at[c->count++] = (struct chunk_entry) { before, head->seq_last, offset };
	c->index_next = head->index + 1;
}

enum err chunks_add(struct stream *s, struct buf *entries)
{
	struct chunk *c = NEW(struct chunk);
	c->memory = s->options.memory;
	c->entries = *entries;
	*entries = (struct buf) { 0 };
	struct slice in = buf_slice(&c->entries), body;
	struct entry_head head;
	enum err e;
	for (;;) {
		uint32_t offset = (uint32_t)(c->entries.n - in.n);
		e = entry_next(&in, &head, &body);
		if (e != OK) break;
		note_entry(c, &head, body, offset);
	}
	if (e != ERR_EOF || c->count == 0) {
		chunk_free(c);
		return ERR_CORRUPT;
	}
	c->charged = sizeof *c + c->entries.cap + c->cap * sizeof *c->at;
	ledger_force(c->memory, c->charged);
	uint32_t n = 0;
	LIST_EACH (node, &s->chunks) n++;
	if (is_short(c)) {
		chunks_clear(s);
	} else if (n >= CHUNKS_MAX) {
		chunk_drop(CONTAINER_OF(s->chunks.next, struct chunk, link));
	}
	list_push_back(&s->chunks, &c->link);
	return OK;
}

static const struct chunk_entry *entry_of(const struct chunk *c, uint64_t seq)
{
	uint32_t low = 0, high = c->count;
	while (low < high) {
		uint32_t mid = (low + high) / 2;
		if (seq > c->at[mid].seq_last) {
			low = mid + 1;
		} else if (seq <= c->at[mid].seq_before) {
			high = mid;
		} else {
			return &c->at[mid];
		}
	}
	return NULL;
}

struct chunk *chunks_find(struct stream *s, uint64_t seq, struct slice *body)
{
	for (struct list *node = s->chunks.prev; node != &s->chunks; node = node->prev) {
		struct chunk *c = CONTAINER_OF(node, struct chunk, link);
		const struct chunk_entry *at = entry_of(c, seq);
		if (!at) continue;
		const uint8_t *p = c->entries.p + at->offset;
		*body = slice_of(p + ENTRY_HEAD_BYTES, le32_get(p + 8)); /* body_bytes; verified when the chunk came */
		list_remove(&c->link);
		list_push_back(&s->chunks, &c->link);
		io_timer_start(s->options.io, &s->chunk_timer, SECONDS(CHUNK_IDLE_S));
		return c;
	}
	return NULL;
}

uint64_t chunks_continue(const struct stream *s, uint64_t seq)
{
	uint64_t best_seq = 0, index = 0;
	LIST_EACH (node, &s->chunks) {
		const struct chunk *c = CONTAINER_OF(node, struct chunk, link);
		uint64_t last = c->at[c->count - 1].seq_last;
		if (last >= seq || seq - last > SEQ_BLOCK_SEQS || last < best_seq) continue;
		best_seq = last;
		index = c->index_next;
	}
	return index;
}

void chunk_ref(struct chunk *c) { c->refs++; }

void chunk_unref(struct chunk *c)
{
	ASSERT(c->refs > 0);
	if (--c->refs > 0) return;
	if (c->is_dropped) {
		chunk_free(c);
	} else if (is_short(c)) {
		chunk_drop(c);
	}
}
