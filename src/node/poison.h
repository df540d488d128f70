/* SPDX-License-Identifier: Apache-2.0 */
/* poison — which entries ended the process while they were applied (S11), in a small file of the store directory (docs/STORAGE.md#poison).
 * An entry that did so twice is not applied a third time: its group stops, the others go on.
 *
 *   a crash ─> poison_note: one row written and synced       a start ─> poison_open ─> raft_options.poison ─> … opened … ─> poison_tidy */
#ifndef THEBES_POISON_H
#define THEBES_POISON_H

#include "thebes/diag.h"
#include "thebes/io.h"
#include "thebes/raft.h"

enum {
	POISON_TWICE = 2, /* so often, and it is poison */
	POISON_ROWS = 128,
	POISON_ROW_BYTES = 32,
	POISON_FILE_BYTES = POISON_ROWS * POISON_ROW_BYTES,
};

struct poison;
/* Reads dir/poison, or makes it. Blocking, before the loop runs. It cannot fail: what is damaged is ignored and what cannot be written is
 * not remembered, with a line. `store`: the uuid of the store, 16 bytes; rows of another one are damage. */
struct poison *poison_open(struct io *io, struct diag *diag, const char *dir, const uint8_t *store);
/* What must not be applied any more. Borrowed until poison_tidy or poison_free. */
const struct raft_index_of *poison_entries(const struct poison *p, unsigned *count);
/* Applying this entry ends the process: counted, durable when it returns. Async-signal-safe. */
void poison_note(struct poison *p, const struct raft_index_of *at);
/* After the groups were opened: forgets the entries for which `place` returns NULL (they are applied, or their group is gone), and says
 * where the others that are poison stand. Blocking, before the loop runs. */
typedef const char *poison_place_fn(void *arg, const struct raft_index_of *at);
void poison_tidy(struct poison *p, poison_place_fn *place, void *arg);
void poison_free(struct poison *p); /* NULL allowed */

#endif
