/* SPDX-License-Identifier: Apache-2.0 */
/* members — configurations as bytes: libraft's own encoding, decoded with bounds (the library's decoder has none). */
#ifndef THEBES_RAFT_MEMBERS_H
#define THEBES_RAFT_MEMBERS_H

#include <raft.h>

#include "thebes/raft.h"

struct members {
	unsigned count;
	struct raft_member {
		uint64_t id;
		int role; /* RAFT_STANDBY, RAFT_VOTER, RAFT_SPARE */
	} at[GROUP_MEMBERS_MAX];
};

/* ERR_CORRUPT: not an encoding, no or too many members, ids that repeat or are 0, unknown roles. Empty bytes are no members. */
must_check enum err members_decode(struct slice conf, struct members *out);
void members_encode(const struct members *m, struct buf *out);                /* appends; nothing for no members */
const struct raft_member *members_find(const struct members *m, uint64_t id); /* NULL when absent */
unsigned members_voters(const struct members *m);
/* Fills an initialised configuration for the library. */
void members_to_library(const struct members *m, struct raft_configuration *out);
/* The address that stands for a raft id in configurations: unique, and never used for routing. */
enum { MEMBER_ADDRESS_BYTES = 24 };
void member_address(uint64_t id, char out[MEMBER_ADDRESS_BYTES]);

#endif
