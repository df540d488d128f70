/* SPDX-License-Identifier: Apache-2.0 */
/* raft — groups of replicas that agree on one log each. What a group has committed is on the disks of a majority of its voters and
 * stays there; every replica applies it in the same order. A group of one voter takes the same way without links. The room knows
 * nothing of what a command means and nothing of connections: it stores through log.h, sends through a table, and calls its owner.
 *
 *   group_propose ──> log_append (own disk) ─┐                        ┌─> owner.apply(index) ──> proposal.done(OK)
 *        └─────────> links.send (followers) ─┴─ durable on a majority ┘        on every replica        where it was proposed
 *   raft_frame_in <── peer:  decode ─> validate ─> guard ─> libraft
 *
 * Two nouns: the set of groups of a node (raft_…), and one group (group_…). Loop thread only, but for group_open, which blocks
 * (before the loop runs). Callbacks and completions never come from inside a call of this door; from inside a callback everything
 * here may be called. Memory that a completion needs is the caller's until `done`; `done` comes exactly once.
 *
 * libraft 0.15 breaks safety and liveness in ways that were measured; all work-arounds (guards G1-G16) are in this room, outside the
 * library, each behind a failpoint bug_g… that turns it off, so that a simulator can show the damage. Rules S7-S9, S11, S12, S14,
 * S18, S19 of the store are kept here together with the log. Epochs and hello after a start (S22) belong to the links of a cluster:
 * a node that must not vote yet opens its groups with `mute` set and clears it with raft_unmute. */
#ifndef THEBES_RAFT_H
#define THEBES_RAFT_H

#include "thebes/base.h"
#include "thebes/diag.h"
#include "thebes/io.h"
#include "thebes/log.h"
#include "thebes/record.h"
#include "thebes/state.h"

struct group;

/* ---- the groups of a node ---- */

enum raft_lane {
	RAFT_LANE_FRAMES, /* votes, heartbeats, entries, acks: in order among themselves, before everything else on a link */
	RAFT_LANE_BULK, /* backfill and installs: may wait behind anything */
};
/* The way to other nodes; filled in by whoever wires the node. Peers are named by raft id. */
struct raft_links {
	/* Queues one frame, the concatenation of `parts`, copied. False: no link to this peer, or its budget for the lane is used up; the
	 * frame is gone, as if lost. Frames of a lane arrive in order or, after a break of the link, not at all. Never calls back. */
	bool (*send)(void *arg, uint64_t peer, const struct slice *parts, unsigned count, enum raft_lane lane);
	void *arg;
};

struct raft_index_of {
	uint64_t group, index;
};
struct raft_options {
	uint64_t self;         /* own raft id (log_identity), > 0 */
	unsigned heartbeat_ms; /* default 300 */
	unsigned election_ms;  /* a leader is missed after one to two of these. Default 2500 */
	unsigned tick_ms;      /* grain of both; finer than heartbeat_ms, or votes split. Default 50 */
	unsigned sleep_beats;  /* a group idle for so many heartbeats hibernates; 0: never. Default 5 */
	bool no_pre_vote;      /* for tests */
	bool alone; /* there are no other nodes: a group whose configuration is lost (S7) has no other voter */
	bool mute;  /* neither vote nor campaign until raft_unmute (S22) */
	size_t recent_bytes_max; /* of entries kept in memory per group for followers close behind. Default 512 KiB */
	size_t group_bytes_max;  /* proposed and not yet applied, per group: beyond it ERR_FULL. Default 8 MiB */
	size_t node_bytes_max; /* of all groups together. Default 16 MiB; a quarter of a slot of this log at most, whatever is asked */
	size_t entry_bytes_max; /* of one proposal. Default 16 MiB; at most what this log takes, whatever is asked */
	size_t chunk_bytes_max; /* of one frame of entries that is built here. Default 256 KiB */
	unsigned chunk_window;  /* chunks on the way to one lagging follower. Default 4 */
	/* S11: entries whose application ended the process before, as the node remembers them (raft_applying). A group that reaches one of
	 * them stops on this node. Copied. */
	const struct raft_index_of *poison;
	unsigned poison_count;
};

/* All groups of a node: by value in its owner, zeroed before raft_groups_init. The fields are the room's. */
struct raft_groups {
	struct io *io;     /* borrowed */
	struct log *log;   /* borrowed */
	struct diag *diag; /* borrowed */
	struct raft_links links;
	struct raft_options options;
	struct raft_index_of *poison; /* owned */
	struct map by_id;             /* struct group */
	struct list all;              /* of groups */
	struct list awake, dirty;     /* of groups: those that are ticked; those with something to deliver */
	struct list peers_down;       /* of peers whose link was lost */
	struct list budgets;          /* of what peers' journals take, and have been sent */
	struct frame_out *out;        /* owned: the frame being built */
	struct log_entry *entries;    /* owned: an append being built */
	unsigned entries_cap;
	struct io_timer timer;
	struct io_task task;
	struct raft_index_of applying; /* what is being applied right now; group 0: nothing */
	size_t in_flight_bytes;
	uint64_t refused_said_ms;
	unsigned group_count, refill_count;
	bool muted, closing, dead;
	void (*closed)(void *arg);
	void *closed_arg;
};

/* Takes zeroes in `options` as the defaults. */
void raft_groups_init(struct raft_groups *r, struct io *io, struct log *log, struct diag *diag,
	const struct raft_options *options, const struct raft_links *links);
/* Stops every group: proposals in flight end with ERR_UNKNOWN_OUTCOME, then closed(arg). Nothing is sent or applied after the call. To
 * be done before log_close. */
void raft_groups_close(struct raft_groups *r, void (*closed)(void *arg), void *arg);
/* Frees everything without another callback: after raft_groups_close's, or of a machine that has crashed. */
void raft_groups_deinit(struct raft_groups *r);

/* A frame from the authenticated peer `from`, borrowed for the call. Whatever is wrong with it is counted, said (once a while) and
 * answered with nothing: ERR_CORRUPT (not a frame of ours, or damaged), ERR_DENIED (well-formed, but a peer may not say this),
 * ERR_FORMAT (of a later version), ERR_NOT_FOUND (no such group here, S18). The link may be closed on the first three. */
must_check enum err raft_frame_in(struct raft_groups *r, uint64_t from, struct slice frame);
/* The link to a peer was made, or lost. Loss moves the clock of the groups that it led forward, by rank (fast fail-over), and wakes
 * those that slept. */
void raft_peer_up(struct raft_groups *r, uint64_t peer);
void raft_peer_down(struct raft_groups *r, uint64_t peer);
/* From now on groups may vote and campaign (S22). */
void raft_unmute(struct raft_groups *r);
/* Which entry an owner is applying at this moment, for the note that the node writes when the process ends by its own fault (S11).
 * Async-signal-safe. False: none. */
bool raft_applying(const struct raft_groups *r, struct raft_index_of *out);
struct group *raft_group_find(const struct raft_groups *r, uint64_t id); /* NULL when there is none */

/* ---- a group: owner and life ---- */

/* A stored state on its way to the owner. */
struct group_load {
	struct state *state;   /* borrowed */
	uint64_t group, index; /* the state as of this index; 0: there is none */
	uint64_t seed;         /* for maps */
	void *loaded;          /* the owner room's: what load made; NULL: nothing, or taken */
	bool is_partial; /* damage took some of the state: who can make sense of the rest may, for reading (S7); index is 0 then */
};

/* What a group asks of its owner, on the loop unless said otherwise, never from inside a call of the owner's. */
struct group_ops {
	/* Reads what the state store holds of l->group into memory of its own, l->loaded. Blocks: while opening in the opening thread, after an
	 * install in a worker, while the loop goes on with the owner as it was. So it is given no owner, on purpose. An error stops the group. */
	enum err (*load)(struct group_load *l);
	/* Forget everything and become what was loaded; taken or not, drop is called next. An error stops the group here. */
	enum err (*take)(void *owner, struct group_load *l);
	/* Frees what nobody took; l->loaded may be NULL. On the loop, or while opening. */
	void (*drop)(struct group_load *l);
	/* The command at `index` is committed; indexes rise, without barriers and configurations. `body` is borrowed for the call. It cannot
	 * fail. False: the entry is of a kind that this binary does not know; the group is quarantined here and applies nothing more (S11). */
	bool (*apply)(void *owner, uint64_t index, uint64_t term, struct slice body);
	/* As in log_group_ops, which this room answers from here. */
	bool (*entry_is_dead)(void *owner, const struct entry_head *e, uint64_t seq_before);
	void (*capture)(void *owner, struct state_batch *batch); /* keys that begin with byte 0 are the room's */
	void (*settled)(void *owner, uint64_t index);
	unsigned (*live_permille)(void *owner, uint64_t first, uint64_t last);
	/* As in log_group_ops, all three or none (S15). */
	uint64_t (*erase_next)(void *owner, uint64_t from, uint64_t to);
	void (*erasing)(void *owner);
	void (*erased)(void *owner);
	/* True: this replica leads in `term`, and everything committed before it is applied: proposals may be admitted. False: that ended,
	 * now. Completions of what was in flight (ERR_UNKNOWN_OUTCOME) come after it. */
	void (*lead)(void *owner, bool leading, uint64_t term);
	/* A hash of the applied state: the same on every replica at the same index. */
	uint64_t (*state_hash)(void *owner);
	/* group_accept goes through what is left, in order of index: `salvage` shows a command that is applied already; `salvaged` ends that: what
	 * belongs to it and was not shown is gone. Behind it apply() gets what lay behind the gap, with indexes missing. Then `accepted`: the
	 * owner's whole state, as of `index`, into an empty batch; what it gives out from now on (sequences) is above `seq_bound`. All NULL:
	 * nothing can be accepted. salvage alone may be NULL. */
	void (*salvage)(void *owner, uint64_t index, struct slice body);
	void (*salvaged)(void *owner);
	void (*accepted)(void *owner, uint64_t index, uint64_t seq_bound, struct state_batch *batch);
};

enum group_role {
	GROUP_LEARNER, /* gets the log, does not count */
	GROUP_VOTER,
};
enum { GROUP_MEMBERS_MAX = 16 };
struct group_member {
	uint64_t id; /* raft id */
	enum group_role role;
};

/* Opens a group that the log has, before the loop runs: restores the owner, applies what is known to be committed (S8), starts libraft
 * from there (S9). ERR_NOT_FOUND; ERR_EXISTS when it is open; the owner's error of restore. A group in doubt or quarantined opens; of a sole
 * voter in doubt everything that is here up to the first gap is applied, and it stays GROUP_READ_ONLY. */
must_check enum err group_open(
	struct raft_groups *r, uint64_t id, const struct group_ops *ops, void *owner, struct group **out);
/* Makes a group that did not exist, with these first members, the same on each of them (none: a replica that will be added by a leader).
 * It takes part when MAKE is durable. ERR_EXISTS, ERR_FULL, ERR_INVALID (duplicates, too many, no voter). The owner is empty. */
must_check enum err group_make(struct raft_groups *r, uint64_t id, const struct group_member *members, unsigned count,
	const struct group_ops *ops, void *owner, struct group **out);
/* Stops the replica and forgets it; its log stays unless `gone`, then GONE is recorded (S18). The owner is asked nothing more. Its
 * proposals end first, with ERR_UNKNOWN_OUTCOME; then closed(owner), and the group is freed. */
void group_close(struct group *g, bool gone, void (*closed)(void *owner));
uint64_t group_id(const struct group *g);
/* For reading entries (log_view, log_read, log_read_seq). Not for writing. */
struct log_group *group_log(const struct group *g);

/* ---- proposing and reading ---- */

struct proposal {
	void (*done)(struct proposal *p);
	enum err
		result; /* OK: applied here, durable on a majority. ERR_UNKNOWN_OUTCOME: leadership was lost, it may yet be applied */
	uint64_t index, term; /* set by group_propose: where it is, if it is */
	struct list link;     /* the group's */
	size_t bytes;
};
/* Proposes one command. `body` is a finished batch (batch_end); its memory is taken when the result is OK, *body is then empty. Otherwise
 * nothing was stored and there is no completion: ERR_NOT_LEADER (or not yet, or no more), ERR_FULL (log or budget: back-pressure, retry),
 * ERR_NO_SPACE (S16), ERR_TOO_LARGE (for this node or another voter), ERR_DOUBT. `what` is LOG_ADMIT_GROWS or LOG_ADMIT_FREES. Completions come in order of index. */
must_check enum err group_propose(struct group *g, struct proposal *p, struct buf *body, enum log_admission what);

/* A point in time: when it is done with OK, everything that was committed anywhere before the call is applied here, so that a read of the
 * owner's state is linearizable. Calls that come while one is under way share the next. Result: OK, ERR_NOT_LEADER, ERR_UNKNOWN_OUTCOME
 * (leadership lost meanwhile: ask the new leader), ERR_FULL. */
struct group_barrier {
	void (*done)(struct group_barrier *b);
	enum err result;
	struct list link; /* the group's */
};
void group_barrier(struct group *g, struct group_barrier *b);

/* An operator accepts that what damage took of a sole voter is gone for good (S24). Everything that is left is read, verified and written anew,
 * as an install of its own (S19): one record makes it count, and until then nothing has changed on the disk. Then the doubt ends, and the
 * group leads again. For as long as it takes the group can still be read. */
struct group_accept {
	void (*done)(struct group_accept *a);
	/* OK. ERR_INVALID: it is not GROUP_READ_ONLY. ERR_UNSUPPORTED: nothing is left that means anything. ERR_BUSY. Nothing
	 * was changed then, and group_accept has said so itself. ERR_NO_SPACE: that, or found while writing; ERR_CORRUPT, ERR_IO, ERR_CLOSED:
	 * while writing. Then the group is as it was, and can be asked again: with ERR_BUSY only, for as long as the server runs, where its
	 * owner could not be restored. */
	enum err result;
	uint64_t index,
		entries_lost; /* out: the state is now that of `index`; entries that were known to be there and are lost */
};
must_check enum err group_accept(struct group *g, struct group_accept *a);

/* The owner needs entries below `index` no more (log_trim, held back while a follower is being refilled from here). */
void group_trim(struct group *g, uint64_t index);

/* The owner has records to be erased from this replica's disk (log_erase). */
void group_erase(struct group *g);

/* ---- members ---- */

enum group_change_kind {
	GROUP_ADD, /* a learner: it gets the log and does not count */
	GROUP_PROMOTE, /* learner to voter, once it has caught up; ERR_TIMEOUT when it makes no progress for four election timeouts */
	GROUP_DEMOTE, /* voter to learner */
	GROUP_REMOVE,
	GROUP_TRANSFER, /* leadership to this voter (member 0: to the most advanced); proposals get ERR_NOT_LEADER until it is over */
};
struct group_change {
	enum group_change_kind kind;
	uint64_t member;
	void (*done)(struct group_change *c);
	/* OK; ERR_NOT_LEADER, ERR_BUSY (one at a time), ERR_EXISTS, ERR_NOT_FOUND, ERR_INVALID (not of that role; the last voter), ERR_FULL:
	 * nothing was changed. ERR_TOO_LARGE: the learner's slots are too small for what this group takes. ERR_TIMEOUT: given up, nothing changed. ERR_UNKNOWN_OUTCOME: leadership was lost meanwhile. */
	enum err result;
	struct list link; /* the group's */
	uint64_t seen, until_ms;
	unsigned step;
};
/* One change at a time; also what fails at once is told through `done`. The leader may remove or demote itself: it leads until that is
 * committed. A removed replica is not told by its peers: whoever decides closes it. */
void group_change(struct group *g, struct group_change *c);

/* ---- looking ---- */

enum group_state {
	GROUP_OPENING, /* MAKE is not durable, or the state is being loaded */
	GROUP_RUNNING,
	GROUP_QUARANTINED, /* S11: stopped at an entry; `stuck_at` */
	GROUP_BROKEN,      /* the owner's state could not be loaded: group_trouble says it */
	GROUP_READ_ONLY, /* a sole voter is in doubt (S7): what is intact is applied and can be read, nothing is proposed */
	GROUP_CLOSING,
};
struct group_status {
	enum group_state state;
	bool leading;          /* owner.lead(true) holds */
	bool asleep;           /* hibernates */
	bool in_doubt;         /* S7 */
	bool installing;       /* is being refilled by a peer (S19) */
	uint64_t term, leader; /* 0: none known */
	uint64_t commit, applied, last, durable;
	uint64_t stuck_at;           /* index, when quarantined */
	uint64_t lost_from, lost_to; /* in doubt: the entries it is about, as in log_group_info */
	unsigned member_count;
	struct group_member_status {
		uint64_t id;
		enum group_role role;
		uint64_t match;             /* leader only: highest index known to be durable there */
		bool backfilled, installed; /* leader only: gets entries from disk; gets everything */
	} member[GROUP_MEMBERS_MAX];        /* of the latest configuration, committed or not */
};
void group_status(const struct group *g, struct group_status *out);
/* Nobody proposes to it any more and what is applied can be read: GROUP_READ_ONLY, or a sole voter GROUP_QUARANTINED. For who asks often. */
bool group_is_read_only(const struct group *g);
/* Why the group does not take part, one sentence that names group and range; "" when it does. */
const char *group_trouble(const struct group *g);

#endif
