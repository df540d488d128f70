/* SPDX-License-Identifier: Apache-2.0 */
/* raft_node — the software of a simulated node of the raft simulation: log, groups, links and the chains that they replicate, with a
 * client inside that proposes to whatever is led here. */
#ifndef THEBES_TESTS_SIM_RAFT_NODE_H
#define THEBES_TESTS_SIM_RAFT_NODE_H

#include "sim/raft_chain.h"
#include "sim/raft_links.h"
#include "sim/sim.h"

struct raft_world;

/* A machine: what outlives the process. */
struct raft_machine {
	struct raft_world *world;
	struct sim_node *n;
	unsigned index;
	uint64_t raft_id;
	bool made[CHAIN_GROUPS_MAX]; /* the group has been here, durably */
	bool damaged;                /* and may not be whole yet */
	unsigned hurt_group;         /* which the damage is to touch */
	uint64_t slot_bytes;
	uint32_t slot_count;
	bool dead; /* its log gave up; it is booted again later */
	unsigned boots;
};

/* Where a slant (raft_slant.h) stands. */
struct slant_at {
	unsigned step, a, b, c;
	uint64_t since_ns, base, acked, mark;
	bool blocked[CHAIN_NODES_MAX][CHAIN_NODES_MAX]; /* from, to: links refuse everything */
};

struct raft_slant;
struct raft_world {
	struct sim *s;
	struct chain_oracle oracle;
	unsigned node_count, group_count, voter_count; /* of the first configuration */
	struct raft_machine machine[CHAIN_NODES_MAX];
	struct raft_options options;
	uint64_t slot_bytes;             /* of the smallest; 0: drawn with the first disk */
	uint64_t slots[CHAIN_NODES_MAX]; /* of each; 0: drawn */
	const char *bug;                 /* failpoint armed on every node; NULL: none */
	uint64_t load_ns;                /* between proposals of a leader */
	size_t payload_max;
	bool verbose;
	unsigned victim; /* the machine whose disk may be damaged; CHAIN_NODES_MAX: not chosen yet */
	bool is_hurt; /* it was. The damage may show at any time from now on: it must stay a minority, so three voters stay */
	uint64_t acked, proposed, unknown, refused, reads, changes_ok, changes_failed;
	const struct raft_slant *slant; /* NULL: faults come by chance */
	struct slant_at at;
	uint64_t counter[COUNTER_COUNT]; /* of all processes that have ended */
	uint64_t poison;                 /* a command with this number is of unknown kind on node 1; 0: none */
};

struct raft_node {
	struct raft_machine *m;
	struct raft_world *w;
	struct io *io;
	struct diag diag;
	struct log *log;
	struct raft_groups groups;
	struct sim_links links;
	struct io_turn_hook hook;
	struct io_timer load;
	struct list proposals; /* in flight */
	struct chain chain[CHAIN_GROUPS_MAX];
	uint64_t seq[CHAIN_GROUPS_MAX], seq_term[CHAIN_GROUPS_MAX];
	struct node_change {
		struct group_change c;
		struct raft_node *n;
		bool busy;
	} change[CHAIN_GROUPS_MAX];
	bool reading[CHAIN_GROUPS_MAX];
};

extern const struct sim_program raft_node_program; /* arg: struct raft_machine */
static inline struct raft_node *raft_node_of(const struct raft_machine *m) { return sim_node_software(m->n); }
/* Makes the group here if it is not; `founding`: with the first members, else as one to be added. */
void raft_node_make(struct raft_node *n, unsigned group, bool founding);
/* Begins a change of members or leadership of a group that is led here. */
void raft_node_change(struct raft_node *n, unsigned group, enum group_change_kind kind, uint64_t member);

#endif
