/* SPDX-License-Identifier: Apache-2.0 */
/* mem_image — private to mem_log: what is known of one group, in memory, and the operations that change it. */
#ifndef THEBES_TESTS_SIM_MEM_IMAGE_H
#define THEBES_TESTS_SIM_MEM_IMAGE_H

#include "thebes/log.h"

struct cell { /* one entry */
	unsigned refs;
	uint64_t index, term;
	struct entry_head head;
	struct buf bytes; /* encoded */
};
struct pair {
	struct buf key, value;
};
struct image {
	struct list link;
	uint64_t id, term, vote, commit, generation;
	uint64_t state_index, state_term, conf_index;
	struct buf conf;
	uint64_t first;      /* index of cells[0] */
	struct cell **cells; /* NULL: a hole */
	size_t count, cap;
	struct pair *pairs; /* the state, sorted by key */
	size_t pair_count, pair_cap;
	bool in_doubt;
};

enum op_kind { OP_MAKE, OP_GONE, OP_VOTE, OP_APPEND, OP_TRUNC, OP_DOUBT_END, OP_SETTLED, OP_INSTALL };
struct op {
	struct list link;
	enum op_kind kind;
	uint64_t group, a, b, c, d, generation;
	struct buf bytes;
	struct cell **cells;
	size_t count;
	struct log_req *req;
	struct log_install_req *install_req;
	struct log_read_req *read; /* in the list of reads */
};

struct cell *cell_ref(struct cell *c /* may be NULL */); /* shared: by the images and operations that hold it */
void cell_unref(struct cell *c);
void op_free(struct op *o);

void image_free(struct image *m); /* unlinks it too */
/* Without the state, which is read from what is durable. */
struct image *image_copy(const struct image *from);
/* The one way in which an image changes; `with_state`: the durable one. */
void image_apply(struct image *m, const struct op *o, bool with_state);
/* Entries from there on are gone. */
void image_cut(struct image *m, uint64_t from);
/* This entry is gone and leaves a hole. */
void image_hole(struct image *m, uint64_t index);
/* NULL: a hole, or outside. */
struct cell *image_at(const struct image *m, uint64_t index);
uint64_t image_last(const struct image *m);

#endif
