/* SPDX-License-Identifier: Apache-2.0 */
/* meta — the catalogue: which streams exist, under which account and name, with which configuration and raft group. It is a replicated
 * machine over a group of its own (id META_GROUP), on a single node a group of one voter: a stream exists when its row is committed.
 *
 *   meta_stream_create ──> group_propose ──committed──> row ──> ops.added (the stream's group is made) ──> req.done
 *
 * Group ids are given out here, rise, and are never used twice (S18). Loop thread only; meta_open blocks. */
#ifndef THEBES_META_H
#define THEBES_META_H

#include "thebes/base.h"
#include "thebes/diag.h"
#include "thebes/io.h"
#include "thebes/raft.h"
#include "thebes/stream.h"

enum { META_GROUP = 1 };

struct meta;

/* One row; borrowed from the catalogue until it is changed or removed. */
struct meta_stream {
	uint64_t group;
	int64_t created_ns;
	struct slice account, name;
	struct slice config; /* JSON, as stream_config_print writes it */
};

struct meta_ops {
	/* The catalogue changed, on this node, after meta_open: called while the row is applied. `removed` gets the row before it goes. */
	void (*added)(void *arg, const struct meta_stream *row);
	void (*changed)(void *arg, const struct meta_stream *row);
	void (*removed)(void *arg, const struct meta_stream *row);
	/* The stream of the row begins anew in the row's group; what it was is over. */
	void (*renewed)(void *arg, const struct meta_stream *row, uint64_t old_group);
	void (*lead)(void *arg, bool leading);
};
/* Opens the catalogue: makes its group when the store is fresh (with `self` as only voter), else restores it. Blocking, before the loop
 * runs. Afterwards meta_each shows what there is; ops hear of what comes. */
must_check enum err meta_open(struct raft_groups *groups, struct io *io, struct diag *diag, uint64_t self,
	const struct meta_ops *ops, void *arg, struct meta **out);
void meta_close(struct meta *m, void (*closed)(void *arg), void *arg); /* then meta_free */
void meta_free(struct meta *m);

bool meta_is_leader(const struct meta *m);
/* The catalogue can only be read (S7): what damage took of it nobody else has. The sentence; NULL when it is not so. */
const char *meta_doubt(const struct meta *m);
/* That is so, and nothing is lost: it is stopped before an entry that cannot be applied here (S11). */
bool meta_is_stopped(const struct meta *m);
/* Rows were given up after damage (meta_accept), now or long ago: a group that no row names may be a stream. */
bool meta_lost_rows(const struct meta *m);
/* An operator accepts the loss (group_accept). What came to light again is served after the next start. */
must_check enum err meta_accept(struct meta *m, struct group_accept *a);
/* Rows in order of (account, name). `each` may not change the catalogue; false stops. */
typedef bool meta_each_fn(void *arg, const struct meta_stream *row);
void meta_each(const struct meta *m, meta_each_fn *each, void *arg);
const struct meta_stream *meta_find(const struct meta *m, struct slice account, struct slice name); /* NULL */
uint64_t meta_hash(const struct meta *m);
uint64_t meta_next_group(const struct meta *m); /* ids below it were given out */

/* The caller's memory until done. result: OK (committed and applied), ERR_EXISTS, ERR_NOT_FOUND (decided when it is applied),
 * ERR_NOT_LEADER, ERR_DOUBT (meta_doubt says which), ERR_FULL, ERR_NO_SPACE, ERR_UNKNOWN_OUTCOME. Never from inside the call. */
struct meta_req {
	struct list link;
	void (*done)(struct meta_req *r);
	enum err result;
	uint64_t group;
};
void meta_stream_create(struct meta *m, struct slice account, const struct stream_config *config, struct meta_req *r);
void meta_stream_update(struct meta *m, struct slice account, const struct stream_config *config, struct meta_req *r);
/* Gives the stream a new group and a new time of creation: with its configuration it stays, everything else is gone. For streams in memory
 * after a start (S24). */
void meta_stream_renew(struct meta *m, struct slice account, struct slice name, struct meta_req *r);
void meta_stream_delete(struct meta *m, struct slice account, struct slice name, struct meta_req *r);

#endif
