/* SPDX-License-Identifier: Apache-2.0 */
/* Interest retention: when a consumer goes, or comes to want less, the messages that nobody else wants must go too. That takes many reads
 * and records, which may fail or end with the leadership; so the losses are counted in the state, and a record says which of them a whole
 * sweep has been done after. As long as the two differ, whoever leads sweeps.
 *
 *   DELETE, UPDATE ──> losses++ ──> consumers_sweep ──> stream_sweep_unwanted ──OK──> SWEPT(losses) ──applied──> swept
 *                                        ^──── AGAIN_MS ────┴── it failed ───────────────┘ */
#include "consumer_internal.h"

enum { AGAIN_MS = 1000, LOSSES_BYTES = 16 };

static void sweep_fire(struct io_timer *t) { consumers_sweep(CONTAINER_OF(t, struct consumers, sweep_timer)); }

static void sweep_again(struct consumers *c)
{
	c->sweep_timer.fire = sweep_fire;
	io_timer_start(c->io, &c->sweep_timer, MILLIS(AGAIN_MS));
}

static void told(struct stream_req *r)
{
	struct consumers *c = CONTAINER_OF(r, struct consumers, sweep_req);
	c->sweep = SWEEP_NONE;
	if (!c->leading) return;
	if (r->result == OK) {
		consumers_sweep(c); /* there may be more since */
	} else {
		sweep_again(c);
	}
}

static void swept(struct stream_req *r)
{
	struct consumers *c = CONTAINER_OF(r, struct consumers, sweep_req);
	struct buf b = { 0 };
	enum err e = r->result;
	c->sweep = SWEEP_NONE;
	if (!c->leading) return;
	if (e == OK) {
		c->sweep_req = (struct stream_req) { .done = told };
		record_swept(&b, c->sweep_for);
		e = stream_propose_consumer(c->stream, buf_slice(&b), &c->sweep_req);
		buf_deinit(&b);
	}
	if (e == OK) {
		c->sweep = SWEEP_TELLS;
	} else if (c->leading) {
		sweep_again(c);
	}
}

void consumers_sweep(struct consumers *c)
{
	if (!c->leading || c->sweep != SWEEP_NONE || c->losses == c->swept || io_timer_is_armed(&c->sweep_timer))
		return;
	c->sweep = SWEEP_READS;
	c->sweep_for = c->losses;
	c->sweep_req = (struct stream_req) { .done = swept };
	stream_sweep_unwanted(c->stream, &c->sweep_req);
}

/* What is on its way comes back by itself. */
void consumers_stop_sweep(struct consumers *c) { io_timer_stop(c->io, &c->sweep_timer); }

/* ---- the replicated half ---- */

void consumers_want_less(struct consumers *c)
{
	if (stream_config(c->stream)->retention != STREAM_INTEREST) return;
	c->losses++;
	c->losses_dirty = true;
	c->losses_captured = false;
	consumers_sweep(c);
}

void consumers_swept(struct consumers *c, struct slice body)
{
	if (body.n < 8) return;
	c->swept = u64_max(c->swept, u64_min(le64_get(body.p), c->losses));
	c->losses_dirty = true;
	c->losses_captured = false;
}

void losses_capture(struct consumers *c, struct state_batch *batch, struct slice key, bool all)
{
	struct buf b = { 0 };
	if (!c->losses_dirty && !(all && c->losses)) return;
	buf_append_le64(&b, c->losses);
	buf_append_le64(&b, c->swept);
	state_batch_put(batch, key, buf_slice(&b));
	buf_deinit(&b);
	c->losses_captured = true;
}

void losses_settled(struct consumers *c)
{
	if (c->losses_captured) c->losses_dirty = c->losses_captured = false;
}

void losses_restore(struct consumers *c, struct slice v)
{
	if (v.n != LOSSES_BYTES) return;
	c->losses = le64_get(v.p);
	c->swept = le64_get(v.p + 8);
}
