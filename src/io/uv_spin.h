/* SPDX-License-Identifier: Apache-2.0 */
/* uv_spin — whether the loop looks again instead of going to sleep.
 *
 * To put a thread to sleep and wake it costs more than most of what a turn does: on a virtual machine ten microseconds and more, and the
 * tail of it is long. Where the next event comes within the window anyway, looking again is cheaper for everybody. Where it does not,
 * or where whoever would send it waits for our processor, looking is a waste. So it is earned, and lost again:
 *
 *   sleeping ──(enough sleeps in a row that were shorter than the window)──> spinning
 *            <──(MISSES windows in a row without an event; more sleeps are wanted each time)──
 *
 * An idle server sleeps. Pure: the loop tells what happened. */
#ifndef THEBES_SRC_IO_UV_SPIN_H
#define THEBES_SRC_IO_UV_SPIN_H

#include "thebes/base.h"

enum {
	UV_SPIN_MISSES = 4,           /* so many windows in a row without an event end it */
	UV_SPIN_SHORTS_MIN = 8,       /* so many short sleeps in a row begin it; */
	UV_SPIN_SHORTS_MAX = 1 << 16, /* eight times as many after each end, up to here */
	UV_SPIN_PROVEN = 4096,        /* after so many hits it was right, and is begun quickly again */
};

struct uv_spin {
	uint64_t window_ns; /* 0: never */
	bool is_on;
	unsigned misses, hits;  /* while on: misses in a row */
	unsigned shorts;        /* while off: short sleeps in a row */
	unsigned shorts_wanted; /* as many begin it */
};

static inline void uv_spin_init(struct uv_spin *s, uint64_t window_ns)
{
	*s = (struct uv_spin) { .window_ns = window_ns, .shorts_wanted = UV_SPIN_SHORTS_MIN };
}

/* While it is on: an event came within the window. */
static inline void uv_spin_hit(struct uv_spin *s)
{
	s->misses = 0;
	if (s->hits < UV_SPIN_PROVEN && ++s->hits == UV_SPIN_PROVEN) s->shorts_wanted = UV_SPIN_SHORTS_MIN;
}

/* While it is on: none came. */
static inline void uv_spin_miss(struct uv_spin *s)
{
	if (++s->misses < UV_SPIN_MISSES) return;
	s->is_on = false;
	s->misses = s->hits = s->shorts = 0;
	if (s->shorts_wanted < UV_SPIN_SHORTS_MAX) s->shorts_wanted *= 8;
}

/* While it is off: the loop slept so long before an event came. */
static inline void uv_spin_slept(struct uv_spin *s, uint64_t ns)
{
	if (ns >= s->window_ns) {
		s->shorts = 0;
		return;
	}
	if (++s->shorts < s->shorts_wanted) return;
	s->is_on = true;
	s->misses = s->hits = 0;
}

#endif
