/* SPDX-License-Identifier: Apache-2.0 */
/* How many messages a consumer has before it, exactly. Whole blocks are counted by the index; the block in which the consumer stands must be
 * looked into when several subjects share it: in memory at once, else from disk while whoever asks waits. */
#include "consumer_internal.h"

enum { COUNT_MSGS = 256, COUNT_BYTES = 256 * 1024 };

static void finish(struct consumer *k, bool known, uint64_t n)
{
	k->counting = false;
	k->num_pending_known = known;
	k->num_pending = n;
	struct list now;
	list_init(&now);
	list_splice_back(&now, &k->count_waits);
	for (struct list *node; (node = list_pop_front(&now)) != NULL;) {
		struct consumer_wait *w = CONTAINER_OF(node, struct consumer_wait, link);
		w->done(w, k);
	}
}

static uint64_t block_end(uint64_t seq) { return seq | (STREAM_BLOCK_SEQS - 1); }

static void note(struct consumer *k, const struct stream_read *r)
{
	uint64_t end = block_end(k->count_from);
	for (uint32_t i = 0; i < r->count && r->msgs[i].seq <= end; i++) k->count_found++;
	k->count_next = r->next;
}

static void count_read_done(struct stream_read *r);

/* Goes on from count_next; true when it is done, with the number in *n. */
static bool count_on(struct consumer *k, uint64_t *n)
{
	struct stream *s = k->all->stream;
	uint64_t end = block_end(k->count_from);
	enum err e = OK;
	while (e == OK && k->count_next <= end) {
		k->count_read = (struct stream_read) { .done = count_read_done,
			.from = k->count_next,
			.filters = k->filters,
			.filter_count = k->config.filter_count,
			.max_msgs = COUNT_MSGS,
			.max_bytes = COUNT_BYTES };
		e = stream_read_now(s, &k->count_read);
		if (e != OK) break;
		note(k, &k->count_read);
		stream_read_release(&k->count_read);
	}
	if (e == ERR_AGAIN) {
		k->count_next = u64_max(k->count_next, k->count_read.next);
		if (k->count_next <= end) {
			k->count_read.from = k->count_next;
			k->counting = true;
			stream_read_start(s, &k->count_read);
			return false;
		}
	}
	uint64_t behind = 0;
	e = stream_count(s, k->filters, k->config.filter_count, end + 1, &behind);
	ASSERT(e == OK); /* a block's start is always exact */
	uint64_t all = k->count_found + behind + k->count_besides;
	*n = all - u64_min(all, k->count_delivered);
	return true;
}

static void count_read_done(struct stream_read *r)
{
	struct consumer *k = CONTAINER_OF(r, struct consumer, count_read);
	uint64_t n = 0;
	enum err e = r->result;
	k->counting = false;
	if (e == OK) {
		note(k, r);
	} else if (e == ERR_NOT_FOUND) {
		k->count_next = block_end(k->count_from) + 1;
	}
	stream_read_release(r);
	if (e != OK && e != ERR_NOT_FOUND) {
		finish(k, false, k->num_pending);
	} else if (count_on(k, &n)) {
		finish(k, true, n);
	}
}

static void stop(struct consumer *k)
{
	if (k->counting) stream_read_cancel(&k->count_read);
	k->counting = false;
}

static void start(struct consumer *k)
{
	uint64_t from = k->live_sseq + 1, last = 0, n = 0;
	for (size_t i = k->last_seq_at; i < k->last_seq_count; i++)
		last += k->last_seqs[i] > k->live_sseq && stream_is_live(k->all->stream, k->last_seqs[i]);
	if (k->last_seq_count) from = u64_max(from, k->last_seq_bound);
	enum err e = stream_count(k->all->stream, k->filters, k->config.filter_count, from, &n);
	k->num_pending = n + last; /* an upper bound while it is being counted */
	k->num_pending_known = e == OK;
	if (e == OK) return;
	k->count_from = k->count_next = from;
	k->count_found = k->count_delivered = 0;
	k->count_besides = last;
	if (count_on(k, &n)) {
		k->num_pending = n;
		k->num_pending_known = true;
	}
}

uint64_t consumer_num_pending(struct consumer *k)
{
	if (!k->num_pending_known && !k->counting) start(k);
	return k->num_pending;
}

bool consumer_is_counted(struct consumer *k)
{
	(void)consumer_num_pending(k);
	return k->num_pending_known;
}

void consumer_when_counted(struct consumer *k, struct consumer_wait *w) { list_push_back(&k->count_waits, &w->link); }

/* Called while a record is applied, so nothing is counted here: the turn's end does, when somebody waits. */
void consumer_pending_changed(struct consumer *k)
{
	stop(k);
	k->num_pending_known = false;
	if (list_is_empty(&k->count_waits)) return;
	consumer_mark(k);
	consumer_wake(k);
}

void consumer_count_turn(struct consumer *k)
{
	if (!list_is_empty(&k->count_waits) && !k->counting && consumer_is_counted(k)) finish(k, true, k->num_pending);
}

void consumer_count_end(struct consumer *k, bool gone)
{
	stop(k);
	k->num_pending_known = false;
	for (struct list *node; (node = list_pop_front(&k->count_waits)) != NULL;) {
		struct consumer_wait *w = CONTAINER_OF(node, struct consumer_wait, link);
		w->done(w, gone ? NULL : k);
	}
}
