/* SPDX-License-Identifier: Apache-2.0 */
/* Removals that must read what they remove: one message, a purge by filter or up to a sequence, what no consumer wants any more. A sweep
 * reads some messages, proposes a DROP with their weights, goes on; its request is answered with the last proposal. */
#include "stream_internal.h"

enum { SWEEP_MSGS = 256, SWEEP_DROP_BYTES = 48 * 1024, SWEEP_FLIGHT_MAX = 16 };

struct sweep {
	struct stream *stream;
	struct stream_req *req;
	char *filter; /* owned; NULL = all */
	struct slice filter_slice;
	uint64_t next, end; /* [next, end) */
	uint64_t left;      /* at most so many more */
	uint64_t removed;
	bool erases;        /* what goes is to be erased from the disks (S15) */
	bool unwanted_only; /* interest: only what no consumer wants */
	struct excess {
		uint64_t born;
		uint32_t count;
	} * excess; /* owned; per subject id how many of its oldest go; NULL: not asked */
	uint32_t excess_ids;
	uint64_t excess_left;
	bool reading;
	enum err result;
	struct stream_read read;
	struct stream_walk walk; /* how many there are, of whom some stay */
	uint64_t keep, counted;
	struct buf drop; /* being gathered */
	uint64_t msgs, bytes;
	unsigned flight; /* drops that are proposed and not applied */
};

/* A drop on its way: reading goes on meanwhile. */
struct sweep_drop {
	struct stream_req req;
	struct sweep *sweep;
	uint64_t msgs;
};

static void sweep_step(struct sweep *w);

/* Ends when nothing is on its way any more; else goes on if it may. */
static void sweep_go_on(struct sweep *w)
{
	bool done = w->result != OK || w->next >= w->end || w->left == 0;
	if (w->reading || (done && w->flight)) return;
	if (!done) {
		if (w->flight < SWEEP_FLIGHT_MAX) sweep_step(w);
		return;
	}
	struct stream_req *req = w->req;
	uint64_t removed = w->removed;
	enum err result = w->result;
	buf_deinit(&w->drop);
	mem_free(w->filter);
	mem_free(w->excess);
	mem_free(w);
	if (!req) return;
	req->result = result;
	req->seq = removed;
	req->done(req);
}

static void drop_done(struct stream_req *r)
{
	struct sweep_drop *d = CONTAINER_OF(r, struct sweep_drop, req);
	struct sweep *w = d->sweep;
	if (r->result == OK) {
		w->removed += d->msgs;
	} else if (w->result == OK) {
		w->result = r->result;
	}
	w->flight--;
	mem_free(d);
	sweep_go_on(w);
}

/* `clears`: everything goes, whatever was gathered. */
static void propose(struct sweep *w, bool clears)
{
	struct sweep_drop *d = NEW(struct sweep_drop);
	*d = (struct sweep_drop) { .req.done = drop_done, .sweep = w, .msgs = w->msgs };
	w->flight++;
	enum err e =
		clears ? stream_propose_clear(w->stream, &d->req)
		       : stream_propose_drop(w->stream, buf_slice(&w->drop), w->erases, w->msgs, w->bytes, &d->req);
	w->msgs = w->bytes = 0;
	buf_clear(&w->drop);
	if (e == OK) return;
	w->result = e;
	w->flight--;
	mem_free(d);
}

/* Is it one of the oldest of a subject that has too many? */
static bool is_excess(struct sweep *w, const struct stream_msg *m)
{
	struct subject_entry *e = subjects_find(&w->stream->machine.subjects, m->subject);
	if (!e || e->id >= w->excess_ids || w->excess[e->id].count == 0 || w->excess[e->id].born != e->born)
		return false;
	w->excess[e->id].count--;
	if (--w->excess_left == 0) w->end = m->seq + 1;
	return true;
}

static void take(struct sweep *w)
{
	struct stream *s = w->stream;
	struct stream_read *r = &w->read;
	if (w->drop.n == 0) drop_begin(&w->drop, 0);
	for (uint32_t i = 0; i < r->count && w->left && w->drop.n < SWEEP_DROP_BYTES; i++) {
		const struct stream_msg *m = &r->msgs[i];
		if (m->seq >= w->end) break;
		w->next = m->seq + 1;
		if (w->unwanted_only && s->machine.consumers &&
			s->machine.consumers->is_wanted(s->machine.consumers_arg, m->seq, m->subject))
			continue;
		if (w->excess && !is_excess(w, m)) continue;
		uint64_t bytes = stream_msg_bytes(&s->machine.config, m->subject.n, m->header.n, m->payload.n);
		drop_add(&w->drop, m->seq, bytes, m->subject);
		w->msgs++;
		w->bytes += bytes;
		w->left--;
	}
}

static void read_done(struct stream_read *r)
{
	struct sweep *w = CONTAINER_OF(r, struct sweep, read);
	w->reading = false;
	if (r->result == OK && w->result == OK) {
		bool past = r->msgs[0].seq >= w->end;
		uint64_t next = r->next, before = w->next;
		take(w);
		if (past) {
			w->next = w->end;
		} else if (w->next == before) {
			w->next = next;
		}
	} else if (r->result == ERR_NOT_FOUND) {
		w->next = w->end;
	} else if (w->result == OK) {
		w->result = r->result;
	}
	stream_read_release(r);
	if (w->result == OK && w->msgs) propose(w, false);
	sweep_go_on(w);
}

static void read_start(struct sweep *w)
{
	w->reading = true;
	stream_read_start(w->stream, &w->read);
}

static void sweep_step(struct sweep *w)
{
	w->read = (struct stream_read) {
		.done = read_done, .from = w->next, .max_msgs = SWEEP_MSGS, .max_bytes = 256 * KIB
	};
	if (w->filter) {
		w->read.filters = &w->filter_slice;
		w->read.filter_count = 1;
	}
	read_start(w);
}

static struct sweep *sweep_make(
	struct stream *s, struct stream_req *req, struct slice filter, uint64_t from, uint64_t end)
{
	struct sweep *w = NEW(struct sweep);
	w->stream = s;
	w->req = req;
	w->next = from;
	w->end = end;
	w->left = UINT64_MAX;
	if (filter.n) {
		w->filter = mem_zalloc(filter.n + 1);
		memcpy(w->filter, filter.p, filter.n);
		w->filter_slice = slice_of(w->filter, filter.n);
	}
	return w;
}

/* Answers from a deferred read of nothing, so that `done` never comes from inside the call. */
static void answer_later(struct stream *s, struct stream_req *req, enum err result)
{
	struct sweep *w = sweep_make(s, req, SLICE_NULL, 1, 1);
	w->result = result;
	w->read = (struct stream_read) { .done = read_done, .from = s->machine.seqs.last_seq + 1, .max_msgs = 1 };
	read_start(w);
}

/* Everything that is in flight is applied when it is done. Who leads no more can not know that. */
static void sync_flight(struct stream *s, struct stream_req *req)
{
	if ((s->open || !list_is_empty(&s->flight)) && stream_propose_consumer(s, SLICE_NULL, req) == OK) return;
	answer_later(s, req, s->leading ? OK : ERR_NOT_LEADER);
}

static bool limits_hold(const struct stream *s) { return !s->leading || (!retain_is_trimming(s) && tidy_is_done(s)); }

void syncs_run(struct stream *s)
{
	if (list_is_empty(&s->syncs) || !limits_hold(s)) return;
	struct list now;
	list_init(&now);
	list_splice_back(&now, &s->syncs);
	for (struct list *node; (node = list_pop_front(&now)) != NULL;)
		sync_flight(s, CONTAINER_OF(node, struct stream_req, link));
}

void stream_sync(struct stream *s, struct stream_req *req)
{
	bool is_over = retain_is_over(s); /* what this turn has published is trimmed at its end */
	if (limits_hold(s) && !is_over) {
		sync_flight(s, req);
		return;
	}
	list_push_back(&s->syncs, &req->link);
	if (is_over && s->applied) s->applied(s->applied_arg);
}

void stream_delete_msg(struct stream *s, uint64_t seq, bool erase, struct stream_req *req)
{
	if (diag_fault(s->options.diag, FAULT_bug_delete_not_logged)) {
		req->seq = 1;
		stream_sync(s, req);
		return;
	}
	struct sweep *w = sweep_make(s, req, SLICE_NULL, seq, seq + 1);
	w->left = 1;
	w->erases = erase;
	sweep_step(w);
}

/* The lowest sequence such that exactly `keep` live messages are at or above it. */
static uint64_t bound_that_keeps(const struct stream *s, uint64_t keep)
{
	const struct seq_index *ix = &s->machine.seqs;
	if (keep >= ix->live) return ix->first_seq;
	uint64_t go = ix->live - keep, seq = ix->first_seq;
	while (go) { /* whole blocks first */
		const struct seq_block *k = seq_index_block(ix, seq >> SEQ_BLOCK_SHIFT);
		bool at_start = (seq & (SEQ_BLOCK_SEQS - 1)) == 0 || seq == ix->first_seq;
		if (at_start && (!k || k->live <= go)) {
			go -= k ? k->live : 0;
			seq = ((seq >> SEQ_BLOCK_SHIFT) + 1) << SEQ_BLOCK_SHIFT;
			continue;
		}
		go -= seq_index_is_live(ix, seq);
		seq++;
	}
	return seq;
}

static bool count_subject(void *arg, struct slice subject, uint64_t count, uint64_t first_hint, uint64_t last)
{
	struct sweep *w = arg;
	(void)subject, (void)first_hint, (void)last;
	w->counted += count;
	return true;
}

static void purge_counted(struct sweep *w)
{
	w->left = w->counted > w->keep ? w->counted - w->keep : 0;
	if (w->left == 0) w->next = w->end = 1;
	sweep_step(w);
}

static void purge_walked(struct stream_walk *walk)
{
	struct sweep *w = CONTAINER_OF(walk, struct sweep, walk);
	w->result = walk->result;
	if (w->result == OK)
		purge_counted(w);
	else
		sweep_go_on(w);
}

/* All that match but the newest `keep` go. */
static void purge_all_but(struct sweep *w, uint64_t keep)
{
	w->keep = keep;
	w->walk = (struct stream_walk) {
		.filters = &w->filter_slice, .filter_count = 1, .each = count_subject, .arg = w, .done = purge_walked
	};
	if (stream_walk_start(w->stream, &w->walk)) purge_counted(w);
}

static void purge_below(struct stream *s, uint64_t bound, struct stream_req *req);

void stream_purge(struct stream *s, struct slice filter, uint64_t seq, uint64_t keep, struct stream_req *req)
{
	const struct seq_index *ix = &s->machine.seqs;
	if (filter.n && !slice_eq(filter, SLICE(">"))) {
		uint64_t end = seq ? u64_min(seq, ix->last_seq + 1) : ix->last_seq + 1;
		struct sweep *w = sweep_make(s, req, filter, ix->first_seq, end);
		if (keep)
			purge_all_but(w, keep);
		else
			sweep_step(w);
		return;
	}
	purge_below(s, keep ? bound_that_keeps(s, keep) : seq ? seq : ix->last_seq + 1, req);
}

/* From inside the request's call: an error is not told in it. */
static void propose_first(struct sweep *w, bool clears)
{
	propose(w, clears);
	if (w->result == OK && w->next < w->end) {
		sweep_go_on(w);
	} else if (w->result != OK) {
		w->read = (struct stream_read) {
			.done = read_done, .from = w->stream->machine.seqs.last_seq + 1, .max_msgs = 1
		};
		read_start(w);
	}
}

static void purge_below(struct stream *s, uint64_t bound, struct stream_req *req)
{
	const struct seq_index *ix = &s->machine.seqs;
	if (ix->live == 0 || bound <= ix->first_seq) {
		answer_later(s, req, OK);
		return;
	}
	if (bound > ix->last_seq && list_is_empty(&s->flight) && !s->open) {
		struct sweep *w = sweep_make(s, req, SLICE_NULL, 1, 1);
		w->msgs = ix->live;
		propose_first(w, true);
		return;
	}
	/* whole blocks by number, the rest by name; a bound beyond the end means the end */
	bound = u64_min(bound, ix->last_seq + 1);
	uint64_t number = u64_min(bound, ix->last_seq) >> SEQ_BLOCK_SHIFT, whole = 0;
	struct sweep *w = sweep_make(s, req, SLICE_NULL, u64_max(ix->first_seq, number << SEQ_BLOCK_SHIFT), bound);
	whole = ix->live - seq_index_count(ix, number, NULL, NULL);
	if (whole == 0) {
		sweep_step(w);
		return;
	}
	drop_begin(&w->drop, number);
	w->msgs = whole;
	propose_first(w, false);
}

void sweep_subjects(struct stream *s, uint64_t limit, struct stream_req *req)
{
	const struct subjects *t = &s->machine.subjects;
	struct sweep *w = sweep_make(s, req, SLICE_NULL, s->machine.seqs.first_seq, s->machine.seqs.last_seq + 1);
	w->excess = mem_zalloc((t->id_next + 1) * sizeof *w->excess);
	w->excess_ids = t->id_next;
	for (uint32_t i = 0; i < t->id_next; i++) {
		const struct subject_entry *e = t->by_id[i];
		if (!e || e->count <= limit) continue;
		w->excess[i] = (struct excess) { e->born, (uint32_t)u64_min(e->count - limit, UINT32_MAX) };
		w->excess_left += w->excess[i].count;
	}
	if (w->excess_left == 0) w->next = w->end = 1;
	sweep_step(w);
}

void stream_sweep_unwanted(struct stream *s, struct stream_req *req)
{
	if (!s->leading || s->machine.seqs.live == 0 || s->machine.config.retention != STREAM_INTEREST) {
		answer_later(s, req, s->leading ? OK : ERR_NOT_LEADER);
		return;
	}
	struct sweep *w = sweep_make(s, req, SLICE_NULL, s->machine.seqs.first_seq, s->machine.seqs.last_seq + 1);
	w->unwanted_only = true;
	sweep_step(w);
}
