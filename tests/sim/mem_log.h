/* SPDX-License-Identifier: Apache-2.0 */
/* mem_log — log.h without a disk: what tests of the raft room link instead of src/log where they want to decide themselves when a write
 * is durable and what a crash takes away. It keeps the promises of log.h and nothing else: no files, no slots, no checksums.
 *
 * A mem_disk outlives the process that uses it. log_open finds it through options->fatal_arg, which points to a pointer to it. */
#ifndef THEBES_TESTS_SIM_MEM_LOG_H
#define THEBES_TESTS_SIM_MEM_LOG_H

#include "thebes/log.h"

struct mem_disk;
struct mem_disk *mem_disk_new(uint64_t raft_id, uint64_t seed);
void mem_disk_free(struct mem_disk *d);

/* Writes take this long, together. 300 us .. 4 ms. */
void mem_disk_delay(struct mem_disk *d, uint64_t min_ns, uint64_t max_ns);
/* While held nothing becomes durable and no read ends. */
void mem_disk_hold(struct mem_disk *d, bool hold);
/* What log_admit answers. */
void mem_disk_admits(struct mem_disk *d, enum err grows, enum err frees, enum err reserved);
/* The largest body of an entry that it takes; set before it is opened. 16 MiB */
void mem_disk_entry_max(struct mem_disk *d, uint64_t bytes);
/* A round of settling after so many bytes. 32 KiB */
void mem_disk_settle_every(struct mem_disk *d, uint64_t bytes);

/* Damage, while nobody has it open: forgets the entries from `from` to `to` (and, when `vote`, the last vote), the group is in doubt. */
void mem_disk_damage(struct mem_disk *d, uint64_t group, uint64_t from, uint64_t to, bool vote);

#endif
