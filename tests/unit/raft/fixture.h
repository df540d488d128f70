/* SPDX-License-Identifier: Apache-2.0 */
/* fixture — a few replicas of one group in a test's hands: virtual time, the stand-in of the log, and every frame between them passes a
 * function of the test that may drop it or let it go. The test is outside of all machines and calls the room itself. */
#ifndef THEBES_TESTS_UNIT_RAFT_FIXTURE_H
#define THEBES_TESTS_UNIT_RAFT_FIXTURE_H

#include <stdlib.h>

#include "check.h"
#include "group.h"
#include "sim/mem_log.h"
#include "sim/raft_chain.h"
#include "sim/sim.h"

enum { FIXTURE_NODES_MAX = 5, FIXTURE_ASKED_MAX = 2048 };

struct fixture;
struct replica {
	struct fixture *f;
	unsigned index;
	struct sim_node *n;
	struct io *io;
	struct mem_disk *disk; /* behind `disk_of` */
	struct diag diag;
	struct log *log;
	struct raft_groups groups;
	struct io_turn_hook hook;
	struct chain chain;
	uint64_t seq;
	bool up;
};
struct asked { /* a proposal */
	struct proposal p;
	struct fixture *f;
	uint64_t number;
	bool done;
};
struct fixture {
	struct sim *s;
	struct chain_oracle oracle;
	unsigned count;
	struct raft_options options;
	struct replica node[FIXTURE_NODES_MAX];
	uint64_t delay_ns;
	/* True: the frame is lost. `frame` is decoded. NULL: nothing is. */
	bool (*drop)(struct fixture *f, const struct frame *frame, unsigned from, unsigned to);
	uint64_t frames;
	bool cut[FIXTURE_NODES_MAX][FIXTURE_NODES_MAX]; /* from, to */
	const char *bug;
	bool quiet_refusals; /* a refused frame is no failure */
	enum err refused;    /* the last one */
	struct group_change change;
	bool changed;
	struct asked asked[FIXTURE_ASKED_MAX];
	unsigned asked_count;
};

/* `count` machines, the first `voters` of them in the group, all up. `bug`: a failpoint armed everywhere, or NULL. */
void fixture_open(struct fixture *f, unsigned count, unsigned voters, const char *bug);
/* The same, with options; zeroes are the fixture's defaults. */
void fixture_open_with(
	struct fixture *f, unsigned count, unsigned voters, const char *bug, const struct raft_options *options);
void fixture_close(struct fixture *f);
void fixture_run(struct fixture *f, uint64_t ms);
typedef bool fixture_cond(struct fixture *f);
bool fixture_until(struct fixture *f, fixture_cond *cond, uint64_t ms);
struct replica *fixture_leader(struct fixture *f); /* NULL: none, or none that was told */
struct replica *fixture_elect(struct fixture *f);  /* whoever it is; fails the test when nobody leads in 20 s */
/* Has this replica campaign now, and the others forget their leader, until its library leads. False: it does not within a second. */
bool fixture_campaign(struct fixture *f, unsigned node);
void fixture_isolate(struct fixture *f, unsigned node, bool on);
void fixture_stop(struct fixture *f, unsigned node);  /* kill -9 */
void fixture_start(struct fixture *f, unsigned node); /* opens the group again */
/* Proposes at this replica; returns the result at once. */
enum err fixture_propose(struct fixture *f, struct replica *r, struct asked **out);
/* Proposes `n` and waits until they are applied there. */
void fixture_fill(struct fixture *f, struct replica *r, unsigned n);
struct group_status fixture_status(const struct replica *r);
bool fixture_all_applied(struct fixture *f); /* every running member is where the leader is */
/* The entry at `index` of this replica, added to a frame. */
void fixture_copy_entry(struct fixture *f, const struct replica *r, uint64_t index, struct frame_out *o);
uint64_t fixture_term_at(const struct replica *r, uint64_t index);
/* Hands a frame to a replica as if `from` had sent it. */
enum err fixture_inject(struct fixture *f, struct replica *to, uint64_t from, struct frame_out *frame);
bool fixture_is_led(struct fixture *f);
/* Begins a change (fixture.change), waits for nothing; `second`: another one, which is told of at once. */
void fixture_begin_change(struct fixture *f, struct replica *r, enum group_change_kind kind, uint64_t member);
void fixture_begin_second(struct fixture *f, struct replica *r, struct group_change *second);
bool fixture_has_changed(struct fixture *f);
/* Begins one and waits for its end. */
void fixture_change(struct fixture *f, struct replica *r, enum group_change_kind kind, uint64_t member);
static inline uint64_t replica_id(const struct replica *r) { return r->index + 1; }

#endif
