/* SPDX-License-Identifier: Apache-2.0 */
/* raft_disk — what the raft simulation does to the disks of its machines, on which src/log runs. */
#ifndef THEBES_TESTS_SIM_RAFT_DISK_H
#define THEBES_TESTS_SIM_RAFT_DISK_H

#include "sim/raft_node.h"

/* Before the machine is booted first. */
void raft_disk_new(struct raft_machine *m);
void raft_disk_free(struct raft_machine *m);
/* Fills in where the log is. */
void raft_disk_options(const struct raft_machine *m, struct log_options *o);
void raft_disk_ok(struct raft_machine *m);
void raft_disk_stall(struct raft_machine *m, uint64_t ns);
void raft_disk_fill(struct raft_machine *m);
/* Hurts the disk of a machine that is off, in a way that may touch `group`, and that the log is able to see. */
void raft_disk_damage(struct raft_machine *m, unsigned group);

/* Number of the newest block on the device; and a flipped bit in each from number `mark` on that has a successor. */
uint64_t raft_disk_newest(struct raft_machine *m);
void raft_disk_damage_from(struct raft_machine *m, uint64_t mark);

#endif
