/* SPDX-License-Identifier: Apache-2.0 */
/* log_sim — random histories of one store on a simulated machine, against the reference model (log_model.h).
 *
 *   log_sim.c        a seed, floors, planted bugs (sim_batch.c: command line)
 *   log_world.c      one history: boots, crashes, the end
 *   log_actor.c      the software on the machine: the log, the owners of its groups, what is done at random
 *   log_owner.c      the stream above the log: applies, captures, says what is dead
 *   log_raft.c       the raft group below it: appends, commits, votes, truncates, ends doubt
 *   log_catalogue.c  groups come and go
 *   log_machine.c    an owner's machine in the state store
 *   log_reader.c     reads, and what they may give
 *   log_refill.c     an actor refills a group, as a leader would
 *   log_oracle.c     what a start found, against the model
 *   log_damage.c     faults of the disk, and whom they may touch
 *   log_ends.c       in which step a process ended, from what the next one began: for the floors
 *
 * One world is one seed. It survives the crashes of its machine; the actor does not. */
#ifndef THEBES_TESTS_SIM_LOG_SIM_H
#define THEBES_TESTS_SIM_LOG_SIM_H

#include "log_internal.h"
#include "log_model.h"
#include "sim.h"
#include "sim_state.h"

enum { WORLD_GROUPS_MAX = 24, WORLD_GROUPS_LIVE = 5 };

/* What the oracle accuses the log of. */
enum verdict {
	VERDICT_NONE,
	VERDICT_LOST,         /* acknowledged, and not there, and nobody said so */
	VERDICT_RESURRECTED,  /* truncated, gone or void, and there */
	VERDICT_WRONG,        /* something else than was written */
	VERDICT_FALSE_DAMAGE, /* in doubt, or refused, without cause */
	VERDICT_WEDGE,        /* does not go on, or ended itself without cause */
	VERDICT_COUNT
};

/* What to do more of, so that a planted bug does not take long. */
enum world_slant { SLANT_NONE, SLANT_DAMAGE, SLANT_STATE, SLANT_STALLS };

struct world_options {
	uint64_t seed;
	enum world_slant slant;
	unsigned ops;
	bool is_traced;
	const char *bug; /* a failpoint that every process of this world has armed; NULL: none */
};

/* A disk fault, and what it excuses until it is healed. */
struct damage {
	bool is_latent;   /* injected, and nobody has shown yet that it does no harm */
	bool touches_all; /* any group may be doubted */
	bool touches[WORLD_GROUPS_MAX];
	bool is_table; /* of a slot: its rows say of every group what is committed */
	bool may_die;  /* a write or a sync fails: the process may end itself (S17) */
	bool may_fail; /* calls of the start may fail: it may refuse */
	uint64_t use;  /* of the journal's slot that it is in; 0: elsewhere */
	char what[300];
};

/* A table that flew when the process ended. */
struct flown_table {
	struct buf bytes; /* owned; empty: none */
	uint32_t slot;
};
/* A truncation in a later use than what it truncates. */
struct trunc_place {
	uint64_t entry_use, trunc_use; /* 0: none */
};

struct actor;
struct world {
	struct world_options options;
	struct sim *sim;       /* owned */
	struct sim_node *node; /* the sim's */
	struct prng rng;
	struct log_options log; /* of every start */
	uint32_t body_max;
	unsigned groups_live; /* at most so many at once */
	bool has_damage, has_io_faults, has_full_disk, is_draining;

	struct model_group groups[WORLD_GROUPS_MAX];
	unsigned groups_count; /* ids used so far */
	uint64_t op_id, acked_op;
	struct buf conf_first[WORLD_GROUPS_MAX]; /* owned: of MAKE */

	struct actor *actor; /* while a process is starting or up */
	unsigned boots, ops_done, crashes;
	bool is_clean; /* the last process closed its log */
	bool is_last;  /* this start is the last one */
	uint64_t booted_ns;
	enum err open_error; /* of the last start */
	char open_why[300], fatal_why[300];
	bool has_died; /* by `fatal` */
	bool is_low;   /* the disk is full */
	uint64_t low_until_ns, capacity_bytes;
	struct damage damage;
	/* A block of the journal says that it is of a higher format level: where, and what stood there (S20). */
	bool is_newer;
	char newer_path[64];
	uint64_t newer_at;
	uint8_t newer_was[BLOCK_HEAD_BYTES];
	bool lacks_groups; /* the last start has said that groups may be missing */
	/* Once damaged, perhaps in files that no state named any more: a state that goes back may name them again. */
	bool was_hurt[WORLD_GROUPS_MAX];
	/* The use of the last block that was hurt and holds something of the group. Copies of entries that were moved may be in it, and nobody needed them while
	 * the originals were there; with the state that came before they are all there is. */
	uint64_t hurt_use[WORLD_GROUPS_MAX];
	/* what the oracle keeps about groups that are in doubt */
	bool is_doubted[WORLD_GROUPS_MAX], doubt_is_durable[WORLD_GROUPS_MAX];
	/* what log_ends.c keeps from one process to the next */
	struct flown_table table;
	struct trunc_place trunc[WORLD_GROUPS_MAX];

	enum verdict verdict;
	char text[500];
};

/* ---- log_world.c ---- */

/* Runs one history; the verdict and its text are in the world, counts in its sim. Free with world_free. */
struct world *world_run(const struct world_options *options);
void world_free(struct world *w);
const char *verdict_name(enum verdict v);
/* The first accusation counts. */
void accuse(struct world *w, enum verdict v, const char *fmt, ...) printf_like(3, 4);
void note(struct world *w, const char *fmt, ...) printf_like(2, 3); /* a line of the trace */
static inline uint64_t world_below(struct world *w, uint64_t bound) { return prng_below(&w->rng, bound); }
static inline bool world_chance(struct world *w, unsigned percent) { return prng_below(&w->rng, 100) < percent; }
static inline void world_count(struct world *w, const char *name) { sim_count(w->sim, name); }
bool world_disk_is_low(const struct world *w);

/* ---- log_actor.c ---- */

struct refill;
struct owner {
	struct actor *actor;
	unsigned at;         /* of world.groups */
	struct log_group *g; /* NULL: there is none */
	struct machine machine;
	uint64_t confirmed;    /* index of the last capture that was confirmed */
	bool is_lost;          /* the machine's state is not known: only an install helps */
	bool is_stalled;       /* nothing commits: a group without quorum (S12) */
	bool is_applying;      /* a read for the machine is under way */
	bool is_frozen;        /* an install commits */
	bool needs_term;       /* no append in a term from before a start or a truncation */
	struct refill *refill; /* owned */
	struct log_read_req apply;
};
struct actor {
	struct world *world;
	struct io *io;
	struct diag diag;
	struct log *log;
	struct io_turn_hook hook;
	struct io_timer tick;
	struct list reqs, reads, settles; /* under way */
	uint64_t req_next, req_expected;  /* completions come in the order of submission */
	struct owner owners[WORLD_GROUPS_MAX];
	bool is_closing, is_over;
	bool dies_asking; /* in the next round that asks for more than a turn */
	unsigned drained;
	uint64_t idle_ns, last_progress_ns;
};
extern const struct sim_program actor_program;      /* arg: the world */
const char *actor_waits_for(const struct actor *a); /* for a wedge's text */

static inline struct model_group *owner_model(const struct owner *o) { return &o->actor->world->groups[o->at]; }
/* Submits what is to be acknowledged: everything up to the last op of the model. The request goes to one call of the log. */
struct log_req *actor_req(struct actor *a);
/* Adds an op to the model and gives it its place in the order of all. */
struct model_op *actor_op(struct owner *o, struct model_op op);

/* What is named act_ is done by an actor at random; true when it did something, false when that is not possible now. */

/* ---- log_owner.c ---- */

extern const struct log_group_ops owner_ops;
/* Applies what is committed, as far as `to`. */
void owner_apply(struct owner *o, uint64_t to);

/* ---- log_machine.c ---- */

/* The machine's state as changes from nothing. */
void machine_capture_all(const struct machine *m, struct state_batch *batch);
/* What has changed after this index. */
void machine_capture_changed(const struct machine *m, uint64_t since, struct state_batch *batch);
/* Reads a machine back from the state store. False: it is not one. */
must_check bool machine_load(struct machine *m, struct state *s, uint64_t group, uint64_t state_index);

/* ---- log_raft.c ---- */

bool owner_admits(struct owner *o, enum log_admission what, uint64_t bytes);
/* A new term, recorded. False: the reserve has no room now. */
bool owner_new_term(struct owner *o);
/* Appends entries that are in the model already. */
void owner_append(struct owner *o, struct model_entry *const *entries, unsigned count);
/* What a leader has and the log lacks: a crash took it before it was durable. False: no room now. */
bool owner_append_truth(struct owner *o);
/* An uncommitted suffix that a leader does not have goes first. False when it had to. */
bool owner_follows_truth(struct owner *o);
/* Ends a doubt, or goes on with that; false when that is not possible now. */
bool owner_heal(struct owner *o);
bool act_append(struct owner *o);
bool act_commit(struct owner *o);
bool act_apply(struct owner *o);
bool act_vote(struct owner *o);
bool act_truncate(struct owner *o);
bool act_trim(struct owner *o);
bool act_stall(struct owner *o);
bool act_heal(struct owner *o);

/* ---- log_catalogue.c ---- */

unsigned actor_groups_live(const struct actor *a);
/* After a loss: what the oracle has made again was all that was missing. */
void actor_complete(struct actor *a);
bool act_make(struct owner *unused);
bool act_gone(struct owner *o);

/* ---- log_reader.c ---- */

struct actor_read {
	struct log_read_req r;
	struct list link;
	struct owner *owner;
	uint64_t seq;    /* 0: by index */
	uint64_t commit; /* when it was asked */
	uint64_t generation;
};
bool act_view(struct owner *o);
bool act_read(struct owner *o);

/* ---- log_refill.c ---- */

/* Begins to refill the group, or goes on with it; false when that is not possible now. */
bool refill_start(struct owner *o);
void refill_drop(struct owner *o); /* memory, of a process that is gone */
void refill_wake(struct owner *o); /* the log closes, or the group goes: gives up if nothing is under way */

/* ---- log_oracle.c ---- */

/* In the start's fiber: compares everything with the model and makes what was found the model's base; fills in the owners. False when the
 * machine died meanwhile. */
bool oracle_start(struct actor *a);
/* An entry that a read gave: must be a version that was once written, and the committed one if one is committed. */
void oracle_entry(struct owner *o, const struct entry_head *h, struct slice body, const char *where);
/* May this entry be missing? */
bool oracle_may_be_missing(const struct owner *o, uint64_t index);
/* A group is in doubt now. */
void oracle_doubted(struct owner *o, const char *where);

/* ---- log_damage.c ---- */

void damage_at_rest(struct world *w);    /* the machine is down: perhaps something rots or vanishes */
void damage_running(struct actor *a);    /* perhaps a file rots, a call fails, the disk fills up */
void damage_all_well(struct world *w);   /* faults stop */
void damage_level_back(struct world *w); /* the store is of our level again */
/* A start has read everything: what is not in doubt now has not been touched by the fault. */
void damage_was_looked_for(struct world *w);
bool damage_excuses(const struct world *w, unsigned at); /* may this group be in doubt? */
/* May a start know less of what is committed in this group than was on disk? That costs nothing. */
bool damage_takes_commits(const struct world *w, unsigned at);
void slot_path(const struct world *w, uint32_t k, char *path, size_t n);

/* ---- log_ends.c ---- */

void ends_count(struct actor *a);                   /* the process has ended, the power is still there */
void ends_boot(struct world *w);                    /* the machine is down, nothing has rotted yet */
void ends_start(struct actor *a);                   /* the log has been opened */
void ends_truncate(struct owner *o, uint64_t from); /* entries will be truncated now */

#endif
