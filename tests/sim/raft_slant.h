/* SPDX-License-Identifier: Apache-2.0 */
/* raft_slant — histories that a planted bug of the raft room needs and that chance alone brings about too rarely: who is cut off, restarted or
 * damaged, and when, is decided by looking at the replicas; everything else is as in any run. Links may refuse any frame (raft.h: as if
 * lost), so a slant may too. A slant does no harm without its bug: the oracle is the same. */
#ifndef THEBES_TESTS_SIM_RAFT_SLANT_H
#define THEBES_TESTS_SIM_RAFT_SLANT_H

#include "frame.h"
#include "sim/raft_node.h"

enum raft_slant_kind {
	SLANT_NONE,
	SLANT_FIGURE_8,   /* an old entry is stored by a majority, and another leader has a newer one in its place */
	SLANT_OLD_TAIL,   /* a deposed leader's tail is in the way of what a new leader counts */
	SLANT_TRANSFERS,  /* two transfers arrive at once */
	SLANT_SLOW_WRITE, /* a configuration is still being written when its replica loses its leader */
	SLANT_PIPELINE,   /* proposals without a pause */
	SLANT_OPEN_CONF,  /* a configuration that never commits, a round of settling, and a crash */
	SLANT_LONG_TAIL,  /* a long divergent tail behind a slow link */
	SLANT_NO_ANSWERS, /* answers are refused by links */
	SLANT_RESENT,     /* what the library forgets soon is sent again and again */
	SLANT_TERMS,      /* terms rise while the longest log is away, and who raised them is in doubt */
	SLANT_UNLISTED,   /* a voter that has not heard of its promotion is needed */
	SLANT_STALE,      /* a voter that lacks entries campaigns, and does not ask who has them */
	SLANT_DEMOTED,    /* who alone has what was acknowledged was sent its own demotion, and who sent it forgets */
	SLANT_POISON,     /* one replica does not know the kind of an entry, and is restarted behind it */
	SLANT_SLOTS,      /* entries that fit the leader's slots and nobody else's */
	SLANT_FORGETS,    /* what a majority had acknowledged is damaged on one of it */
	SLANT_SHORT,      /* a follower comes back without what it acknowledged in this very term */
};

struct raft_slant {
	void (*open)(struct raft_world *w); /* before machines are made; may be NULL */
	void (*step)(struct raft_world *w); /* each millisecond; may be NULL */
	bool (*passes)(struct raft_world *w, unsigned from, unsigned to, const struct frame *f); /* may be NULL */
	unsigned seconds;
};
const struct raft_slant *raft_slant_of(unsigned kind); /* NULL for SLANT_NONE */
/* What links ask: does this frame go? */
bool raft_slant_passes(struct raft_world *w, unsigned from, uint64_t peer, const struct slice *parts, unsigned count);

#endif
