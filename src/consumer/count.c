/* SPDX-License-Identifier: Apache-2.0 */
/* How many messages a consumer has before it, exactly. The block in which the consumer stands must be looked into when several subjects share
 * it: in memory at once, else from disk. The rest is counted by the index, in as many turns as it takes. Whoever asks waits meanwhile.
 *
 *   all = last ones of subjects (count_besides) + read in its block (count_found) + by the index (counter.n)
 *   num_pending = all - what was delivered or removed since it was counted */
#include "consumer_internal.h"

enum { COUNT_MSGS = 256, COUNT_BYTES = 256 * 1024 };
enum { FIRST_WORK = 250 * 1000, TURN_WORK = 1000 * 1000 }; /* about nanoseconds: at once; of a consumer in a turn */

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

/* Goes on with the index; true when it is done, with the number in *n. Who does not lead has no turns to do it in. */
static bool walk(struct consumer *k, uint64_t work, uint64_t *n)
{
	if (!k->all->leading) work = UINT64_MAX;
	k->walking = !stream_count_more(k->all->stream, &k->counter, &work);
	if (k->walking) {
		consumer_mark(k);
		consumer_wake(k);
		return false;
	}
	uint64_t all = k->count_besides + k->count_found + k->counter.n, less = k->count_delivered + k->count_removed;
	stream_count_end(&k->counter);
	*n = all - u64_min(all, less);
	return true;
}

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
	return walk(k, FIRST_WORK, n);
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
		stream_count_end(&k->counter);
		finish(k, false, k->num_pending);
	} else if (count_on(k, &n)) {
		finish(k, true, n);
	}
}

static void stop(struct consumer *k)
{
	if (k->counting) stream_read_cancel(&k->count_read);
	if (k->counting || k->walking) stream_count_end(&k->counter);
	k->counting = k->walking = false;
}

static void start(struct consumer *k)
{
	uint64_t from = k->live_sseq + 1, last = 0, n = 0;
	for (size_t i = k->last_seq_at; i < k->last_seq_count; i++)
		last += k->last_seqs[i] > k->live_sseq && stream_is_live(k->all->stream, k->last_seqs[i]);
	if (k->last_seq_count) from = u64_max(from, k->last_seq_bound);
	k->count_from = k->count_next = from;
	k->count_live = k->live_sseq;
	k->count_found = k->count_delivered = k->count_removed = 0;
	k->count_besides = last;
	enum err e = stream_count_begin(k->all->stream, &k->counter, k->filters, k->config.filter_count, from);
	k->num_pending = k->counter.bound + last; /* an upper bound while it is being counted */
	if (e == OK ? walk(k, FIRST_WORK, &n) : count_on(k, &n)) {
		k->num_pending = n;
		k->num_pending_known = true;
	}
}

uint64_t consumer_num_pending(struct consumer *k)
{
	if (!k->num_pending_known && !k->counting && !k->walking) start(k);
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

void consumer_count_turn(struct consumer *k, uint64_t *work)
{
	uint64_t n = 0, step = u64_min(*work, TURN_WORK);
	if (k->walking) {
		*work -= step;
		if (step && walk(k, step, &n)) finish(k, true, n);
	} else if (!list_is_empty(&k->count_waits) && !k->counting && consumer_is_counted(k)) {
		finish(k, true, k->num_pending);
	}
}

/* ---- what changes while the index is counted ---- */

void consumer_count_stored(struct consumer *k, uint64_t seq, struct slice subject)
{
	if (!k->walking) return;
	k->num_pending++; /* the bound */
	k->count_found += stream_count_is_past(k->all->stream, &k->counter, seq, subject);
}

static bool is_last_seq(const struct consumer *k, uint64_t seq)
{
	size_t low = 0, high = k->last_seq_count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (k->last_seqs[mid] < seq)
			low = mid + 1;
		else
			high = mid;
	}
	return low < k->last_seq_count && k->last_seqs[low] == seq;
}

void consumer_count_removed(struct consumer *k, uint64_t seq, struct slice subject)
{
	if (!k->walking || seq <= k->count_live || !consumer_matches(k, subject)) return;
	bool is_counted = stream_count_is_past(k->all->stream, &k->counter, seq, subject);
	if (k->last_seq_count && seq < k->last_seq_bound) {
		if (!is_last_seq(k, seq)) return;
		is_counted = true;
	}
	if (seq > k->live_sseq) {
		k->count_removed += is_counted;
	} else if (!is_counted) {
		k->count_delivered--; /* neither will be: what was delivered and counted takes itself off */
	}
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
