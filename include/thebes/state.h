/* SPDX-License-Identifier: Apache-2.0 */
/* state — the applied states of all groups, as small values under small keys, committed once per settle round. Truth below its index, and
 * distrusted: every value carries a crc, the sum of all crcs is compared with the journal's SETTLED record, and the file is walked in a
 * child process before this one maps it (S10). Never touched on the loop.
 *
 *   state_ops: LMDB (src/log/state_lmdb.c) in production, a twin over the simulated disk (tests/sim/sim_state.c) in simulations
 *
 * Keys belong to a group: (group id, key of 1..STATE_KEY_MAX bytes). The log keeps one value of its own per group (its `meta`). */
#ifndef THEBES_STATE_H
#define THEBES_STATE_H

#include "thebes/base.h"
#include "thebes/io.h"

enum { STATE_KEY_MAX = 400, STATE_VALUE_MAX = 1 << 20 };

/* Changes to one group's values, in order; encoded as u8 op | u16 key bytes | u32 value bytes | key | value … */
struct state_batch {
	struct buf ops; /* owned */
	uint32_t count;
};
void state_batch_put(struct state_batch *b, struct slice key, struct slice value);
void state_batch_del(struct state_batch *b, struct slice key);
void state_batch_deinit(struct state_batch *b);
/* Walks encoded changes; *put false = delete. ERR_EOF at the end, ERR_CORRUPT. */
must_check enum err state_batch_next(struct slice *in, bool *put, struct slice *key, struct slice *value);

struct state; /* an open store; the implementation's */

struct state_head {
	uint64_t round; /* number of the settle round that was committed last; 0 = fresh */
	uint64_t sum;   /* of the crcs of all values (wrapping) */
};
struct state_change {
	uint64_t group;
	bool drop;          /* all of the group's values go before the changes below */
	struct slice meta;  /* the log's value of the group; p NULL = unchanged */
	struct slice batch; /* encoded changes */
};
typedef bool state_each_fn(void *arg, struct slice key, struct slice value); /* borrowed for the call; false stops */
typedef bool state_group_fn(void *arg, uint64_t group, struct slice meta);

/* The group has lost some of its state: appends what its meta is to be. False: the meta makes no sense. */
typedef bool state_lose_fn(void *arg, uint64_t group, struct slice meta, struct buf *out);

/* What an offline look at the whole file found. */
struct state_verdict {
	struct state_head head; /* of what can be read */
	uint64_t bytes, values; /* checked */
	bool is_damaged;        /* `why` at `offset`; what was told may be one round back (S13) */
	bool is_unreadable;     /* nothing was told */
	uint64_t offset;
	char why[96];
};

/* All blocking: before the loop runs or inside a job of IO_LANE_SETTLE; errors ERR_IO, ERR_NO_SPACE (also when the map is full: the commit
 * had no effect and may be retried), ERR_CORRUPT, ERR_NOT_FOUND, ERR_CRASHED (simulated). */
struct state_ops {
	/* S10: walks the whole file in a child process and compares every crc. OK fills *head. ERR_NOT_FOUND: there is none.
	 * ERR_CORRUPT (it is damaged, cannot be read, or the child died): it must be set aside. ERR_IO: a sync failed, nothing is known. */
	enum err (*check)(struct io *io, const char *path, struct state_head *head);
	/* Offline: the same walk, which changes nothing and tells each group's meta. Where `mend` would take damaged values out it tells what would be
	 * left then, with what `lose` makes of the metas of their groups. OK also when the file is damaged: the verdict says so.
	 * ERR_NOT_FOUND; ERR_IO, ERR_ACCESS: it cannot be looked at. NULL in the twin, whose files nobody checks. */
	enum err (*verify)(struct io *io, const char *path, state_group_fn *each, state_lose_fn *lose, void *arg,
		struct state_verdict *out);
	/* After `check` found damage: if it is in single values of owners alone, which the structure of the file and the sum prove, commits one round
	 * more without them; `lose` gives the meta of each group concerned. ERR_CORRUPT: more is damaged, nothing was changed. NULL in the twin. */
	enum err (*mend)(struct io *io, const char *path, state_lose_fn *lose, void *arg);
	enum err (*open)(struct io *io, const char *path, struct state **out);
	void (*close)(struct state *s);
	/* Renames the file out of the way (path.damaged-N) for people to look at. */
	enum err (*set_aside)(struct io *io, const char *path);
	/* One transaction, synced: all changes and head->round; returns the new sum in head->sum. */
	enum err (*commit)(
		struct state *s, const struct state_change *changes, unsigned count, struct state_head *head);
	enum err (*head)(struct state *s, struct state_head *head);
	/* Every group with its meta, in order of id. */
	enum err (*groups)(struct state *s, state_group_fn *each, void *arg);
	/* Values of a group whose key begins with prefix, in order of key, from `from` (inclusive; n 0 = the first) on. */
	enum err (*each)(struct state *s, uint64_t group, struct slice prefix, struct slice from, state_each_fn *each,
		void *arg);
	enum err (*get)(struct state *s, uint64_t group, struct slice key, struct buf *value);
};
struct state {
	const struct state_ops *ops; /* first member of every implementation */
};
static inline enum err state_group_each(
	struct state *s, uint64_t group, struct slice prefix, struct slice from, state_each_fn *each, void *arg)
{
	return s->ops->each(s, group, prefix, from, each, arg);
}
static inline enum err state_get(struct state *s, uint64_t group, struct slice key, struct buf *value)
{
	return s->ops->get(s, group, key, value);
}

extern const struct state_ops state_lmdb;

#endif
