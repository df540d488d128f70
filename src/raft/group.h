/* SPDX-License-Identifier: Apache-2.0 */
/* group — the inside of the room: one replica of one group, made of libraft's instance and everything around it.
 *
 *   groups.c   the set: timer, frames to groups, peers          port.c      libraft's io table: what it stores and sends
 *   group.c    open, make, close; the instance; roles           guard.c     what comes in, before libraft sees it
 *   apply.c    what is committed to the owner; loading          backfill.c  followers behind the memory: entries from the log
 *   propose.c  proposals and barriers                           refill.c    followers behind the log: state and segments, out
 *   member.c   changes of members, transfer                     install.c   the same, in
 *   doubt.c    S7                                                  frame.c     what replicas say to each other, as bytes
 *   accept.c   S24: an operator gives up what is lost
 *
 * Calls go one way at a time: into the library only from outside of it (never from one of its callbacks), and to the owner only from
 * group_deliver, which the set's task runs when the event is over. So the owner may call anything, and the library never sees a
 * call from inside itself. */
#ifndef THEBES_RAFT_GROUP_H
#define THEBES_RAFT_GROUP_H

#include <raft.h>

#include "frame.h"
#include "members.h"
#include "thebes/raft.h"

/* An operation whose end comes later: on group.asyncs until then, so that a group is not freed under it and a crash frees all. */
struct async {
	struct list link;
	struct group *g;
	void (*destroy)(struct async *a); /* frees it, without a word to anybody */
};

/* Something of this group on its way to the disk, in the order in which the log completes it. */
enum write_kind { WRITE_VOTE, WRITE_APPEND, WRITE_DOUBT_END, WRITE_MAKE, WRITE_GONE };
struct write {
	struct log_req req;
	struct list link; /* in group.writes */
	struct group *g;
	enum write_kind kind;
	bool durable;
	uint64_t seq;               /* WRITE_VOTE: of group.vote_seq */
	uint64_t last;              /* WRITE_APPEND: index of its last entry */
	struct raft_io_append *lib; /* WRITE_APPEND: the library waits; NULL: it is closed since */
};

/* A frame that may go only when the vote before it is durable. */
struct held_frame {
	struct list link;
	uint64_t peer;
	enum raft_lane lane;
	struct buf bytes;
};

/* A configuration entry that is not applied yet. */
struct pending_change {
	struct list link; /* in group.changes, in order of index */
	uint64_t index;
	struct buf conf;
};

struct budget;
struct backfill;
struct refill;
struct install;
struct accept;

/* Another member, as the leader sees it. */
struct follower {
	struct list link;
	uint64_t id;
	uint64_t match;    /* highest index that it acknowledged to us in this term */
	uint64_t hint;     /* last index that it told with a rejection */
	bool acked;        /* match is known: it has answered in this term */
	bool held;         /* G2: an acknowledgement is kept back */
	bool wants_refill; /* entries cannot heal it */
	uint64_t held_last;
	struct backfill *backfill; /* owned, NULL: none */
	struct refill *refill;     /* owned, NULL: none */
};

struct sent {
	struct raft_io_send *req;
	raft_io_send_cb cb;
	int status;
};

/* A proposal or barrier while the library has it. */
struct call {
	union {
		struct raft_apply apply;
		struct raft_barrier barrier;
	};
	struct group *g;
	struct proposal *p;
};

struct group {
	struct raft_groups *set;
	uint64_t id;
	struct log_group *log; /* borrowed */
	const struct group_ops *ops;
	void *owner;
	enum group_state state;
	char trouble[320];
	struct list link_all, link_awake, link_dirty;
	struct list asyncs;

	/* the library's instance */
	struct raft raft;
	struct raft_io io;
	struct raft_fsm fsm;
	bool live;      /* between instance_start and instance_stop */
	bool reopening; /* stopped, to be started again when all writes are durable */
	bool loading;   /* and its tail is being read */
	char address[MEMBER_ADDRESS_BYTES];
	raft_io_tick_cb tick;
	raft_io_recv_cb recv;
	const struct raft_message *receiving; /* during recv */
	bool grants;                          /* G14: the answer to the pre-vote being received */
	struct sent *sent;                    /* owned; to be completed */
	unsigned sent_count, sent_cap;
	struct raft_io_snapshot_put *put; /* to be completed */
	struct list gets;                 /* of struct snapshot_get */
	size_t library_bytes;             /* entries that the library keeps */

	/* what is durable, or on its way */
	uint64_t term, vote, vote_seq, vote_durable;
	struct list writes;       /* of struct write */
	unsigned appending;       /* appends that the library waits for */
	struct list held;         /* of struct held_frame */
	struct buf tail;          /* entries behind `applied` for the library to load */
	uint64_t last;            /* index of the last entry in the log, durable or not */
	uint64_t base, base_term; /* where the instance was loaded from */

	/* applying */
	uint64_t applied, applied_term; /* the owner's state */
	uint64_t committed, told;       /* committed and applied, as the log knows them */
	struct buf conf;                /* committed configuration, as of conf_index */
	uint64_t conf_index;
	struct list changes; /* of struct pending_change */
	uint64_t stuck_at;

	/* role */
	bool leads;   /* the library does, in role_term */
	bool leading; /* the owner was told */
	uint64_t role_term, leading_term;
	uint64_t noop_term, noop_index; /* the barrier with which a term begins (G1) */
	struct raft_barrier noop;
	struct list followers;            /* of struct follower */
	uint64_t verified_term, verified; /* G3 */

	/* proposals */
	struct list finished; /* of struct proposal */
	size_t in_flight_bytes;
	struct budget *budgets[GROUP_MEMBERS_MAX]; /* of the voters but this one that in_flight_bytes is counted for */
	unsigned budget_count;
	struct list barriers_waiting, barriers_reading, barriers_finished; /* of struct group_barrier */
	bool reading;
	struct group_change *change;  /* the one under way */
	struct list changes_finished; /* of struct group_change */
	struct raft_change library_change;
	struct raft_transfer library_transfer;
	bool library_changes; /* the library has library_change */
	int change_status;
	bool change_ended;

	/* time */
	bool asleep;
	uint64_t slept_at_ms, slept_ms, ahead_ms; /* the group's clock: now - slept + ahead */
	uint64_t hurry_at_ms, hurry_step_ms;      /* fail-over is moved forward then; 0: not */
	uint64_t idle_since_ms;                   /* 0: not idle */
	uint64_t way_until_ms, way_term;          /* G15: no campaign before; the term in which it last gave way */
	unsigned silent_ticks;                    /* G16: in a row, with no word of a leader for long */

	/* doubt (S7) */
	bool in_doubt, ending_doubt, refill_needed;
	bool has_hole; /* the log goes on behind a hole: the library was shown what is before it, and may add nothing */
	uint64_t frozen_until_ms; /* takes no entries, so that a refill can reach it */
	uint64_t doubt_quiet_until_ms;
	uint64_t heard_term, heard_commit; /* the leader's commit index, as it said */

	/* being refilled, refilling */
	struct install *install; /* owned, NULL: none */
	struct accept *accept;   /* owned, NULL: none; what is lost is being given up */
	bool accept_failed;      /* and the owner could not be made what it was: its state is that of no index */
	uint64_t pin;            /* entries above it stay while a follower is refilled; 0: none */
	bool erases_all;     /* nothing that the owner wants to be erased was withheld from the log since `erasing` */
	uint64_t trim_index; /* what the owner let go; the log may know of less */

	void (*closed)(void *owner);
	bool gone;
	uint64_t said_at_ms; /* refusals are said once a while */
};

/* True when the guard is off: the failpoint of its bug is armed. */
static inline bool is_off(const struct group *g, enum fault bug) { return diag_fault(g->set->diag, bug); }
static inline uint64_t set_now_ms(const struct raft_groups *r) { return io_now_ns(r->io) / NS_PER_MS; }

/* ---- groups.c ---- */

/* Has group_deliver run when the event is over. */
void group_dirty(struct group *g);
void group_wake(struct group *g);
bool set_peer_is_down(const struct raft_groups *r, uint64_t peer);
struct frame_out *group_frame(struct group *g, enum frame_kind kind, uint64_t to);
/* Sends the frame just built, or keeps it until the vote before it is durable. False: lost. */
bool group_send(struct group *g, uint64_t to, enum raft_lane lane);
void set_hurry(struct group *g, uint64_t delay_ms);
/* What a peer says that its journal takes; 0: it has not yet. */
void budget_heard(struct raft_groups *r, uint64_t peer, uint64_t takes_bytes);
uint64_t budget_takes(struct raft_groups *r, uint64_t peer);
/* May so many bytes be proposed, as far as the voters' journals are concerned? OK, ERR_FULL, ERR_TOO_LARGE for one of them. */
must_check enum err budget_admits(struct group *g, uint64_t bytes);
void budget_add(struct group *g, size_t bytes);
void budget_sub(struct group *g, size_t bytes);

/* ---- group.c ---- */

/* To be called after every call into the library: notices new roles and terms, commits, a library that gave up. */
void group_after(struct group *g);
void group_watch(struct group *g); /* the same, from inside group_deliver */
void group_log_attach(struct group *g);
void group_slept(struct group *g, const struct frame_sleep *s, uint64_t from);
/* Everything that concerns the owner: applying, leadership, completions. May free the group. */
void group_deliver(struct group *g);
void group_tick(struct group *g);
void group_release(struct group *g);
/* Closes the library's instance: proposals end, writes are orphaned. */
void instance_stop(struct group *g);
/* Stops, and starts anew from the owner's state and the log. */
void instance_reopen(struct group *g);
/* The stored state as of `index` to the owner, now. */
must_check enum err owner_load_now(
	const struct raft_groups *r, uint64_t group, uint64_t index, const struct group_ops *ops, void *owner);
/* Loads libraft: g->tail holds the entries behind the owner's state. */
void instance_start(struct group *g);
void group_stop(struct group *g, enum group_state state, const char *fmt, ...) printf_like(3, 4);
/* Has the leader's instance give up leadership. */
void group_step_down(struct group *g);
/* Term of an entry that is here, or of the last one of the state; 0: not known. */
uint64_t group_term_at(const struct group *g, uint64_t index);
void group_set_conf(struct group *g, struct slice conf, uint64_t index);
void async_add(struct group *g, struct async *a, void (*destroy)(struct async *a));
void async_remove(struct async *a);
static inline uint64_t group_leader(const struct group *g)
{
	if (!g->live) return 0;
	if (g->raft.state == RAFT_LEADER) return g->set->options.self;
	return g->raft.state == RAFT_FOLLOWER ? g->raft.follower_state.current_leader.id : 0;
}
const struct raft_server *group_server(const struct group *g, uint64_t id); /* NULL: not a member */
unsigned group_voters(const struct group *g);
bool group_is_sole_voter(const struct group *g); /* in the committed configuration */

/* ---- apply.c ---- */

/* Everything that is committed and not yet applied goes to the owner. */
void apply_committed(struct group *g);
/* One committed entry reaches the owner. False: the group is quarantined. */
bool apply_one(struct group *g, uint64_t index, uint64_t term, enum entry_kind kind, struct slice body);
void tell_applied(struct group *g, bool conf_changed); /* the log */
/* Loads (applied, last] of the log: at opening, and for an instance that is loaded anew. A hole ends it: doubt. */
must_check enum err tail_read_now(struct group *g, const struct log_group_info *info);
/* Takes entries out of concatenated ones: the committed are applied, the rest waits in g->tail for libraft. `alone`: all are, as long as
 * nobody else votes. */
must_check enum err tail_take(struct group *g, struct slice entries, uint64_t commit, bool *alone);
void reopen_step(struct group *g);

/* ---- port.c ---- */

void port_init(struct group *g);
/* Completes what the library waits for: own appends as far as the gate lets them (G6), and what G2 held back. */
void port_writes_fire(struct group *g);
void port_sends_complete(struct group *g, int status);
void port_snapshots_complete(struct group *g);
struct write *write_new(struct group *g, enum write_kind kind);
void held_free(struct group *g);
void port_vote_grant(struct group *g, uint64_t to); /* in the current term; the caller has checked everything */
const struct raft_entry *port_entry(const struct group *g, uint64_t index); /* NULL: not in the library's memory */
void changes_truncate(struct group *g, uint64_t from);

/* ---- guard.c ---- */

void guard_frame(struct group *g, struct frame *f);
void guard_deliver(struct group *g, struct raft_message *m);
/* The acknowledgements that G2 kept back, now that the term's first entry is durable. */
void guard_release(struct group *g);
/* G16, at each tick: a demotion of this replica that nobody has committed is taken back. */
void guard_tick(struct group *g);
/* Highest index that enough other voters acknowledged for us to complete a majority. */
uint64_t guard_quorum(const struct group *g);
struct follower *follower_get(struct group *g, uint64_t id); /* NULL: not a member */
struct follower *follower_find(const struct group *g, uint64_t id);
void followers_reset(struct group *g);

/* ---- backfill.c, refill.c, install.c ---- */

/* The library has dropped what this follower needs: serve it from the log, or with everything. */
void catchup_start(struct group *g, struct follower *f);
void backfill_acked(struct follower *f, uint64_t last);
void backfill_rejected(struct follower *f, uint64_t rejected);
void backfill_tick(struct group *g, struct follower *f);
void backfill_stop(struct follower *f);
void refill_start(struct group *g, struct follower *f);
void refill_answer(struct follower *f, const struct frame_install_answer *a);
void refill_tick(struct group *g, struct follower *f);
void refill_stop(struct follower *f);
/* Which entries must stay for followers that are being served. */
void pin_update(struct group *g);
void trim_step(struct group *g);
void install_frame(struct group *g, const struct frame *f);
void install_stop(struct group *g);
void install_tick(struct group *g);

/* ---- propose.c, member.c, doubt.c ---- */

void propose_finish(struct group *g); /* completes what has ended */
void propose_lost(struct group *g);   /* leadership ended: barriers */
void barriers_start(struct group *g);
void member_step(struct group *g);
void member_lost(struct group *g);
void member_finish(struct group *g);
void doubt_open(struct group *g);
/* A sole voter in doubt stops: nobody can tell it what it lost. */
void doubt_stop(struct group *g);
void doubt_look(struct group *g); /* again: what the log says */
bool doubt_refuses_append(struct group *g, const struct frame_append *a);
void doubt_step(struct group *g);
void doubt_ended(struct group *g, uint64_t term, uint64_t leader);
bool group_may_vote(const struct group *g);
void accept_stop(struct group *g);  /* the group closes, or is gone */
void accept_ended(struct group *g); /* the end of the doubt is durable */

/* The room's own key in the owner's state: which index and configuration the stored state is of. */
extern const struct slice group_at_key;
void group_at_encode(const struct group *g, struct buf *out);
struct group_at {
	uint64_t index, term, conf_index;
	struct slice conf;
};
must_check bool group_at_decode(struct slice value, struct group_at *out);

#endif
