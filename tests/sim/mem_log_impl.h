/* SPDX-License-Identifier: Apache-2.0 */
/* mem_log_impl — private to mem_log: its structs, and what its files ask of each other.
 *
 *   mem_log.c      the door: groups, writing, settling, reading
 *   mem_install.c  a group is refilled
 *   mem_disk.c     what outlives the process
 *   mem_image.c    what is known of one group */
#ifndef THEBES_TESTS_SIM_MEM_LOG_IMPL_H
#define THEBES_TESTS_SIM_MEM_LOG_IMPL_H

#include "mem_image.h"
#include "mem_log.h"
#include "thebes/state.h"

struct mem_disk {
	struct list images;  /* what is durable */
	struct list pending; /* of ops, in order */
	size_t syncing;      /* how many of them the write under way holds */
	uint64_t raft_id, min_ns, max_ns, settle_bytes, entry_bytes_max;
	struct prng chance;
	bool held;
	enum err admit[3];
};

struct log_group {
	struct list link;
	struct log *l;
	struct image *now;
	const struct log_group_ops *ops;
	void *owner;
	uint64_t durable, applied, applied_term, conf_index, trim;
	struct buf conf;
	uint64_t settling; /* index of the capture under way */
	bool dead;
};

struct log {
	struct io *io;
	struct mem_disk *disk;
	struct log_identity identity;
	struct list groups, reads, installs;
	struct io_timer write_timer, read_timer;
	struct state state;
	uint64_t grown;
};

struct log_install {
	struct list link;
	struct log_group *g;
	struct op *o;
	struct buf changes;
	struct io_timer timer;
	struct log_install_req *req;
};

/* ---- mem_disk.c ---- */

/* The process is gone: of the write under way some operations are done, from the first on, and the rest is forgotten. */
void mem_disk_crash(struct mem_disk *d);
void mem_disk_keep(struct mem_disk *d, const struct op *o); /* it is durable now */
/* What is durable of a group; NULL: nothing. */
struct image *mem_disk_image(const struct mem_disk *d, uint64_t id);

/* ---- mem_log.c ---- */

uint64_t mem_log_delay(struct log *l); /* of the next write or read */

/* ---- mem_install.c ---- */

void mem_install_free(struct log_install *i);

#endif
