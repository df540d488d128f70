/* SPDX-License-Identifier: Apache-2.0 */
/* log_model — what a log must hold, kept in memory by the oracle (log_sim.c): per group every version of every entry that was ever submitted,
 * what is committed, what the log was told since it was opened and in which order, and what of it was acknowledged.
 *
 *   truth   the entries that a quorum has: committed once, never different again
 *   now     the group as the log was told: what a reader of the running log must find
 *   base    the group as the last start found it;  base + a prefix of `ops` = what the next start may find
 *
 * The prefix is one for all groups, because all write into one journal, and it reaches at least to the last acknowledgement.
 * Pure: no io, no log. */
#ifndef THEBES_TESTS_SIM_LOG_MODEL_H
#define THEBES_TESTS_SIM_LOG_MODEL_H

#include "thebes/base.h"
#include "thebes/record.h"

/* ---- entries ---- */

enum { MODEL_RECORDS_MAX = 6 };
enum model_record {
	MODEL_MESSAGE = 1, /* arg: its sequence */
	MODEL_KILL = 2,    /* arg: the sequence of a message that is dead from now on */
	MODEL_PURGE = 3,   /* arg: all messages up to it are dead from now on */
};

/* One version of one index; index and term name it. Its bytes are a function of it. */
struct model_entry {
	struct model_entry *older; /* another version of the same index */
	uint64_t index, term, seed;
	uint64_t seq_before, seq_last;
	uint64_t hash; /* of kind, term and body */
	uint32_t body_bytes;
	uint8_t kind, count;
	uint8_t record_kind[MODEL_RECORDS_MAX];
	uint32_t payload_bytes[MODEL_RECORDS_MAX];
	uint64_t record_arg[MODEL_RECORDS_MAX];
	bool is_committed;
};
/* The body, made again from the seed; clears `out`. */
void model_body(const struct model_entry *e, struct buf *out);
/* Does the entry in the log say what the model says? NULL, or what differs. `commit` and `prev_term` are the log's own. */
const char *model_compare_entry(
	const struct model_entry *e, uint64_t group, const struct entry_head *h, struct slice body);

/* Entries by index, from 1. */
struct model_log {
	struct model_entry **at; /* owned array of borrowed; at[0] is not used */
	uint64_t last, cap;
};
void model_log_set(struct model_log *l, struct model_entry *e); /* makes it the last */
void model_log_copy(struct model_log *to, const struct model_log *from);
void model_log_deinit(struct model_log *l);
static inline struct model_entry *model_log_at(const struct model_log *l, uint64_t index)
{
	return index >= 1 && index <= l->last ? l->at[index] : NULL;
}
static inline uint64_t model_log_term(const struct model_log *l, uint64_t index)
{
	const struct model_entry *e = model_log_at(l, index);
	return e ? e->term : 0;
}

/* ---- the little machine that entries are applied to ---- */

/* Which messages are alive, and a hash over all that was applied. Changes are remembered by groups of 64 sequences. */
enum { MACHINE_WORD_BITS = 64 };
struct machine {
	uint64_t index, hash, purged;
	uint64_t *live;       /* owned: a bit per sequence */
	uint64_t *changed_at; /* owned: per word of `live`, the index that changed it last */
	uint64_t words;
	uint64_t conf_index; /* of the last CHANGE */
};
void machine_init(struct machine *m);
void machine_deinit(struct machine *m);
void machine_copy(struct machine *to /* initialised or zeroed */, const struct machine *from);
void machine_apply(struct machine *m, const struct model_entry *e);
/* 64 sequences at once, as they were after `index`. */
void machine_set_word(struct machine *m, uint64_t word, uint64_t live, uint64_t index);
bool machine_is_live(const struct machine *m, uint64_t seq);
/* No message in (seq_before, seq_last] is alive. */
bool machine_is_dead(const struct machine *m, uint64_t seq_before, uint64_t seq_last);
/* The machine after entries 1..index of the log. */
void machine_run(struct machine *m, const struct model_log *l, uint64_t index);
bool machine_equals(const struct machine *a, const struct machine *b);

/* ---- what the log was told ---- */

enum model_op_kind { OP_MAKE, OP_GONE, OP_APPEND, OP_TRUNCATE, OP_VOTE, OP_INSTALL, OP_DOUBT_END };
struct model_op {
	uint64_t id; /* of all groups, rising */
	enum model_op_kind kind;
	uint64_t index;            /* TRUNCATE: from; INSTALL: of the state */
	uint64_t term, vote;       /* VOTE, DOUBT_END; INSTALL: term */
	uint64_t commit;           /* APPEND: commit index that travelled with it */
	struct model_entry *entry; /* APPEND */
	bool is_acked;             /* INSTALL: its place in the order is only known when it is done */
};

/* What can be seen of a group's log. */
struct model_view {
	bool exists;
	uint64_t term, vote, installs;
	uint64_t commit_min; /* known on disk */
	struct model_log log;
};
void model_view_copy(struct model_view *to, const struct model_view *from);
void model_view_deinit(struct model_view *v);

struct model_group {
	uint64_t id;
	bool is_used;                 /* the id was made once */
	struct model_entry **version; /* owned: by index, newest first */
	uint64_t version_cap;
	struct model_log truth; /* owned: committed entries */
	uint64_t seq_hint;      /* sequences used so far in truth and now */
	struct model_view base, now;
	struct model_op *ops; /* owned, since base */
	uint32_t ops_count, ops_cap;
	uint64_t commit_told;        /* the highest that the log was ever told */
	uint64_t commit_now;         /* what it knows since it was opened */
	uint64_t trim_told;          /* entries below it may go */
	uint64_t settled_state;      /* state_index that was confirmed to the owner */
	uint64_t lost_from, lost_to; /* entries that justified damage has taken; 0: none */
	uint64_t term_max;
	uint64_t generation, base_generation; /* the log's number of it: now, and as the last start found it */
	uint64_t gone_op;                     /* id of the op that ended it; 0: none did */
};
void model_group_init(struct model_group *g, uint64_t id);
void model_group_deinit(struct model_group *g);

/* Draws a new entry that follows the last one of `on`; its body takes at most body_max bytes. */
struct model_entry *model_entry_draw(struct model_group *g, const struct model_log *on, struct prng *rng,
	enum entry_kind kind, uint64_t term, uint32_t body_max);
struct model_entry *model_version(
	const struct model_group *g, uint64_t index, uint64_t term); /* NULL when there never was one */
/* Entries of `now` up to `index` are committed: truth. */
void model_commit(struct model_group *g, uint64_t index);

struct model_op *model_op_add(struct model_group *g, struct model_op op);
/* Is there an end of a doubt behind that op? */
bool model_ends_doubt(const struct model_group *g, uint64_t after);
/* Did an op up to that one take the group away? */
bool model_is_gone(const struct model_group *g, uint64_t acked);
/* The effect of one op on a view. */
void model_op_apply(struct model_view *v, const struct model_group *g, const struct model_op *op);

#endif
