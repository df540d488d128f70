/* SPDX-License-Identifier: Apache-2.0 */
/* raft_links — the links between simulated nodes, as small as they can be: one stream per pair of machines, a hello with the raft id, then
 * length and frame. Two lanes, bounded; what waits is written at the end of the turn, frames before bulk. An empty frame now and then tells that one is there: who is silent
 * for three seconds is gone. */
#ifndef THEBES_TESTS_SIM_RAFT_LINKS_H
#define THEBES_TESTS_SIM_RAFT_LINKS_H

#include "sim/sim.h"
#include "thebes/raft.h"

enum { RAFT_LINKS_MAX = 8, RAFT_LINKS_PORT = 6222 };

struct link_conn;
struct sim_link {
	struct sim_links *links;
	unsigned index;         /* of the machine over there */
	uint64_t peer;          /* its raft id, once it has said hello; 0: down */
	struct link_conn *conn; /* NULL: none */
	struct buf waiting[2];  /* owned, by lane */
	struct io_timer retry;
	uint64_t heard_ns;
};
struct sim_links_ops {
	void (*up)(void *owner, uint64_t peer);
	void (*down)(void *owner, uint64_t peer);
	void (*frame)(void *owner, uint64_t peer, struct slice frame);
};
struct sim_links {
	struct io *io;
	uint64_t self;
	unsigned index, count;
	const struct sim_links_ops *ops;
	void *owner;
	struct io_turn_hook hook;
	struct io_timer ping;
	struct io_listener *listener;
	struct list conns;
	struct sim_link link[RAFT_LINKS_MAX];
};

/* Listens, and connects to every machine with a lower index. */
enum err sim_links_start(struct sim_links *l, struct io *io, uint64_t self, unsigned index, unsigned count,
	const struct sim_links_ops *ops, void *owner);
/* Frees memory, of a process that is dead. */
void sim_links_teardown(struct sim_links *l);
/* The send of struct raft_links (thebes/raft.h); arg is the struct sim_links. */
bool sim_links_send(void *arg, uint64_t peer, const struct slice *parts, unsigned count, enum raft_lane lane);

#endif
