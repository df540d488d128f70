/* SPDX-License-Identifier: Apache-2.0 */
/* backfill — a follower that lags behind what libraft keeps in memory is served from the log, with ordinary AppendEntries that are
 * built here: a probe until one fits, then a window of chunks. Its library stores and acknowledges them as any others; when it is
 * close again, ours goes on by itself. S14: never from below contiguous_from, and never across
 * a hole: who is further behind gets everything anew (refill.c). */
#include "group.h"

struct backfill {
	struct async async;
	struct log_read_req read;
	struct follower *follower; /* NULL: stopped while the read is under way */
	uint64_t next;             /* index of the next entry to send */
	uint64_t probed;           /* prev of the probe */
	uint64_t heard_ms, answered_ms;
	unsigned on_the_way; /* chunks not yet acknowledged */
	bool probing, reading;
};

static void backfill_destroy(struct async *a)
{
	struct backfill *b = CONTAINER_OF(a, struct backfill, async);
	buf_deinit(&b->read.entries);
	mem_free(b);
}

void backfill_stop(struct follower *f)
{
	struct backfill *b = f->backfill;
	if (!b) return;
	f->backfill = NULL;
	b->follower = NULL;
	pin_update(b->async.g);
	if (b->reading) return; /* freed by read_done */
	async_remove(&b->async);
	backfill_destroy(&b->async);
}

/* The library goes on by itself from what it has in memory. */
static bool is_close_enough(const struct group *g, const struct follower *f)
{
	return f->acked && f->match >= g->raft.log.snapshot.last_index;
}

static void pump(struct group *g, struct backfill *b);

static bool chunk_send(struct group *g, struct backfill *b)
{
	uint64_t prev = b->next - 1, index = b->next;
	struct slice in = buf_slice(&b->read.entries), body;
	struct entry_head head;
	struct frame_out *f = group_frame(g, FRAME_APPEND, b->follower->id);
	frame_append_begin(f, g->raft.current_term, prev, group_term_at(g, prev), g->raft.commit_index);
	while (entry_next(&in, &head, &body) == OK) {
		if (head.index != index && !is_off(g, FAULT_bug_s14_across_hole)) break;
		frame_append_entry(f, head.term, (enum entry_kind)head.kind, body);
		index = is_off(g, FAULT_bug_s14_across_hole) ? head.index + 1 : index + 1;
	}
	frame_end(f);
	if (index == b->next || !group_send(g, b->follower->id, RAFT_LANE_BULK)) return false;
	diag_count(g->set->diag, COUNTER_raft_backfill_chunks);
	b->probed = prev;
	b->next = index;
	b->on_the_way++;
	return true;
}

static bool is_servable(const struct group *g, uint64_t from)
{
	struct log_group_info info;
	log_group_info(g->log, &info);
	if (is_off(g, FAULT_bug_s14_across_hole)) return from > 0;
	return from >= info.contiguous_from && from >= info.first_index &&
	       (from == 1 || group_term_at(g, from - 1) != 0);
}

static void read_done(struct log_read_req *req)
{
	struct backfill *b = CONTAINER_OF(req, struct backfill, read);
	struct group *g = b->async.g;
	b->reading = false;
	if (!b->follower || !g->live || !g->leads) {
		if (b->follower) b->follower->backfill = NULL;
		async_remove(&b->async);
		backfill_destroy(&b->async);
		return;
	}
	struct follower *f = b->follower;
	bool moved = req->result == OK && req->from != b->next; /* an answer came meanwhile */
	bool gone = req->result == ERR_COMPACTED || (!moved && !is_servable(g, b->next));
	bool sent = req->result == OK && !moved && !gone && chunk_send(g, b);
	buf_deinit(&req->entries);
	if (sent || moved) {
		pump(g, b);
		return;
	}
	backfill_stop(f);
	if (gone) refill_start(g, f);
}

static void pump(struct group *g, struct backfill *b)
{
	if (b->reading) return;
	if (is_close_enough(g, b->follower)) {
		backfill_stop(b->follower);
		return;
	}
	if (b->next > g->last || b->on_the_way >= (b->probing ? 1 : g->set->options.chunk_window)) return;
	b->reading = true;
	b->read = (struct log_read_req) {
		.done = read_done, .from = b->next, .to = g->last, .bytes_max = g->set->options.chunk_bytes_max
	};
	b->read.holes = is_off(g, FAULT_bug_s14_across_hole);
	log_read(g->log, &b->read);
}

void catchup_start(struct group *g, struct follower *f)
{
	if (f->backfill || f->refill) return;
	uint64_t from = u64_min(u64_max(f->hint, f->match) + 1, g->last);
	if (f->wants_refill || !is_servable(g, from)) {
		refill_start(g, f);
		return;
	}
	struct backfill *b = NEW(struct backfill);
	b->follower = f;
	b->next = from;
	b->probing = true;
	b->heard_ms = b->answered_ms = set_now_ms(g->set);
	f->backfill = b;
	async_add(g, &b->async, backfill_destroy);
	pin_update(g);
	diag_count(g->set->diag, COUNTER_raft_backfills);
	pump(g, b);
}

void backfill_acked(struct follower *f, uint64_t last)
{
	struct backfill *b = f->backfill;
	if (!b) return;
	struct group *g = b->async.g;
	b->probing = false;
	b->heard_ms = b->answered_ms = set_now_ms(g->set);
	if (b->on_the_way) b->on_the_way--;
	if (b->next <= last) b->next = last + 1;
	pin_update(g);
	pump(g, b);
}

/* Only the answer to our own probe counts: others are stale, and each would multiply. */
void backfill_rejected(struct follower *f, uint64_t rejected)
{
	struct backfill *b = f->backfill;
	if (!b || (b->probing && rejected != b->probed)) return;
	struct group *g = b->async.g;
	if (!b->probing && rejected > b->next) return; /* a heartbeat of the library */
	uint64_t from = u64_max(u64_min(rejected, f->hint + 1), f->match + 1);
	b->heard_ms = b->answered_ms = set_now_ms(g->set);
	b->on_the_way = 0;
	b->probing = true;
	b->next = from;
	if (is_servable(g, from)) {
		pump(g, b);
		return;
	}
	backfill_stop(f);
	refill_start(g, f);
}

/* Chunks or answers were lost. */
void backfill_tick(struct group *g, struct follower *f)
{
	struct backfill *b = f->backfill;
	uint64_t now = set_now_ms(g->set);
	if (!b || b->reading || now - b->heard_ms < 3 * (uint64_t)g->set->options.heartbeat_ms) return;
	if (now - b->answered_ms > 4 * (uint64_t)g->set->options.election_ms) {
		backfill_stop(f); /* the library begins again when it hears of it; nothing is kept for the dead */
		return;
	}
	b->heard_ms = now;
	b->probing = true;
	b->on_the_way = 0;
	b->next = f->match + 1 > b->next ? f->match + 1 : u64_max(f->match + 1, u64_min(b->next, f->hint + 1));
	if (is_servable(g, b->next)) {
		pump(g, b);
		return;
	}
	backfill_stop(f);
	refill_start(g, f);
}
