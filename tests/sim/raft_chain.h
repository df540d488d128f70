/* SPDX-License-Identifier: Apache-2.0 */
/* raft_chain — the tiny replicated machine that stands in for streams, and the oracle that compares all its replicas.
 *
 * Each command holds one record with the number of a proposal; the machine chains a hash over (index, number). Its state is five numbers.
 * Entries die in an order that leaves holes: all but every seventh when they are older than KEEP, all beyond KEEP_ALL. */
#ifndef THEBES_TESTS_SIM_RAFT_CHAIN_H
#define THEBES_TESTS_SIM_RAFT_CHAIN_H

#include "thebes/raft.h"

enum { CHAIN_GROUPS_MAX = 8, CHAIN_NODES_MAX = 8, CHAIN_TERMS_MAX = 1 << 14 };

/* What must hold on all machines together. */
struct chain_oracle {
	struct chain_fact {
		uint64_t number, hash, term; /* number 0: nobody has applied a command there */
		bool acked;
	} * facts[CHAIN_GROUPS_MAX]; /* owned, by group and index */
	size_t fact_cap[CHAIN_GROUPS_MAX];
	uint64_t last[CHAIN_GROUPS_MAX];       /* highest index that anybody has applied */
	uint64_t acked[CHAIN_GROUPS_MAX];      /* highest index of an acknowledged proposal */
	unsigned *leader_of[CHAIN_GROUPS_MAX]; /* owned: term -> machine + 1 */
	uint64_t next_number;
	char violation[256]; /* the first; "" so far */
	uint64_t (*now_ns)(void *arg);
	void *now_arg;
};
void oracle_init(struct chain_oracle *o, uint64_t (*now_ns)(void *arg), void *arg);
void oracle_deinit(struct chain_oracle *o);
void oracle_violated(struct chain_oracle *o, const char *fmt, ...) printf_like(2, 3);
/* An acknowledged proposal must be the one that was applied at its index. */
void oracle_acked(struct chain_oracle *o, unsigned group, uint64_t index, uint64_t number);

struct chain {
	struct chain_oracle *oracle;
	unsigned node, number; /* machine, group - 1 */
	struct group *group;   /* set by who opens it */
	bool leading;
	uint64_t leading_term;
	uint64_t index, hash, count, seq, last_number; /* the state; seq: of the last record */
	uint64_t settled, poison; /* poison: a command with this number is of unknown kind; 0: none */
};
extern const struct group_ops chain_ops; /* owner: struct chain */
/* The body of a command. */
void chain_body(struct buf *b, uint64_t number, uint64_t seq, size_t payload);

#endif
