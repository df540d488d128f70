/* SPDX-License-Identifier: Apache-2.0 */
/* log — the commit log of a node: entries of all groups go through one journal, become durable in rounds of group commit, are read
 * by index, and settle into segments per group. It promises that what it called durable is there after any crash, or that it says
 * exactly which group misses which indexes. It knows nothing of terms beyond storing them, nor of what a record means.
 *
 *   log_append ─┐                                   ┌─> done(OK), in order            (one block, one fdatasync, all groups)
 *   log_vote   ─┼─> [ gathering block ] ──> journal ┤
 *   log_truncate┘        log_turn_end               └─> settle round: slot ──> segments + state store ──> slot free again
 *
 * Loop thread only, but for log_open, which blocks (before the loop runs, or inside a job). Calls nobody above it: the owner of a
 * group is reached through struct log_group_ops. Formats: docs/STORAGE.md; rules S1-S20: design of the store.
 *
 * Failure: a failed write or sync of the journal ends the process through `fatal` (S17); there is no late append error. */
#ifndef THEBES_LOG_H
#define THEBES_LOG_H

#include "thebes/base.h"
#include "thebes/diag.h"
#include "thebes/io.h"
#include "thebes/record.h"
#include "thebes/state.h"

struct log;
struct log_group;

/* ---- the store as a whole ---- */

struct log_options {
	const char *dir;     /* made if absent; must be empty or a store of ours */
	uint64_t slot_bytes; /* multiple of 4096; used at birth, read from the identity afterwards. Default 64 MiB */
	uint32_t slot_count; /* 4..64, at birth. Default 6 */
	uint64_t segment_bytes_max; /* a segment is sealed when it reaches this. Default 64 MiB */
	uint64_t cache_bytes_max;   /* recent blocks kept in memory for log_view. Default 16 MiB */
	uint64_t ask_max;           /* entries that a settle round asks about in one turn. Default 4000 */
	uint64_t entry_bytes_max;   /* largest entry accepted; at most slot_bytes / 4 */
	uint64_t
		space_low_bytes; /* S16 first mark: below it only what frees space is admitted. Default two segments + 64 MiB */
	uint64_t space_none_bytes;     /* S16 second mark: below it nothing is admitted. Default one segment + 32 MiB */
	const struct state_ops *state; /* LMDB in production, the twin in simulations */
	/* The process must end now (S17): prints its last line and does not return in production; in a simulation it marks the
	 * machine as dead and returns, after which the log does nothing more. */
	void (*fatal)(void *arg, const char *why);
	void *fatal_arg;
};

/* Opens or bears a store: lock, identity, slots synced and re-read from the device (S5), the unsettled slots replayed, the state store
 * checked and opened. Blocking. On failure *out is NULL and `why` (a buffer of why_bytes) says in one sentence what is wrong and what
 * to do: ERR_LOCKED, ERR_CORRUPT (identity), ERR_FORMAT (S20), ERR_INVALID (not a store, not empty), ERR_NO_SPACE, ERR_IO.
 * Damage that touches single groups is not a failure: log_group_doubt says so per group. */
must_check enum err log_open(struct io *io, struct diag *diag, const struct log_options *options, struct log **out,
	char *why, size_t why_bytes);
/* Finishes the block and the settle round in flight, writes a closing block, then calls closed(arg). Requests made before are
 * answered first; none may be made after. It does not wait for room on a full disk or in a full ring: an install that would have to is answered with
 * ERR_CLOSED, and the next start finishes it when its INSTALL is in the journal. */
void log_close(struct log *l, void (*closed)(void *arg), void *arg);
/* Frees without touching the disk: after log_close's callback, or of a machine that has crashed. */
void log_free(struct log *l);

struct log_identity {
	uint8_t cluster_uuid[16]; /* zero until adopted */
	uint8_t store_uuid[16];
	uint64_t raft_id; /* > 0, random at birth: a wiped node is somebody new (S21) */
};
const struct log_identity *log_identity(const struct log *l);
/* The largest body of an entry that this store takes: options.entry_bytes_max, or what its slots have room for. */
uint64_t log_entry_bytes_max(const struct log *l);
/* Adopts a cluster uuid, once; `done` when both copies are durable. ERR_EXISTS when a different one is there. */
struct log_req;
must_check enum err log_adopt_cluster(struct log *l, const uint8_t uuid[16], struct log_req *req);

/* Call at the end of every turn: submits the gathered block when none is in flight (S1), starts what can be started. */
void log_turn_end(struct log *l);

/* ---- requests ---- */

/* The caller's memory, zeroed before first use, until done. Completions come in the order of submission, on the loop, never from inside
 * the call, and only when durable. There is no error: a log that cannot keep its promise ends the process. */
struct log_req {
	struct list link;
	void (*done)(struct log_req *req); /* may be NULL: nobody waits */
};

/* ---- groups (S18) ---- */

enum { LOG_GROUP_LOCAL_MAX = 64 * 1024 };
/* Makes a group that does not exist: MAKE(id, conf) durable, then done. `conf` (copied, opaque: the first raft configuration) becomes
 * the committed configuration of index 0. The handle is valid at once. Ids are never reused. ERR_EXISTS; ERR_FULL. */
must_check enum err log_group_make(
	struct log *l, uint64_t id, struct slice conf, struct log_req *req, struct log_group **out);
/* Damage has taken records that may have made groups, and with them what they voted and acknowledged: a group that should be there and is not
 * was there before. While this is so, log_group_make makes groups that are in doubt (S7); it outlives restarts. */
bool log_lacks_groups(const struct log *l);
/* Whoever knows which groups there should be has made all that were missing: from now on a group that is made is new. Durable, then done. */
void log_groups_complete(struct log *l, struct log_req *req);
/* GONE(id) durable, then done; files are unlinked later by a worker. The handle is dead at once. */
void log_group_gone(struct log_group *g, struct log_req *req);
struct log_group *log_group_find(struct log *l, uint64_t id); /* NULL when there is none */
/* Walk in order of id: pass 0, then the id of the group before; NULL at the end. */
struct log_group *log_group_after(struct log *l, uint64_t id);
uint64_t log_group_id(const struct log_group *g);
/* What people call the group: it follows the number in lines about it. Copied; the log knows no more of it. */
void log_group_set_name(struct log_group *g, struct slice name);
/* The number, and the name in parentheses where there is one: "7 (orders$1)". The group's, until it goes or is named anew. */
const char *log_group_label(const struct log_group *g);

/* What the log asks the owner of a group. Called on the loop, never from inside a call of the owner's. */
struct log_group_ops {
	/* True when every record of the command is dead in the owner's state now: its messages, whose sequences are (seq_before, e->seq_last],
	 * are gone, and the state covers the rest. Monotone: dead stays dead. Entries above the applied index are never asked about, nor are
	 * barriers and configurations: those are always kept. */
	bool (*entry_is_dead)(void *owner, const struct entry_head *e, uint64_t seq_before);
	/* Writes into `batch` what changed in the owner's state since the last capture that was confirmed by `settled`, as of the index
	 * that log_applied told last. */
	void (*capture)(void *owner, struct state_batch *batch);
	/* The capture of that index is durable in the state store (committed and named by a SETTLED record). */
	void (*settled)(void *owner, uint64_t index);
	/* How many per mille of the bytes of entries [first, last] are alive: low values make the log rewrite a segment. */
	unsigned (*live_permille)(void *owner, uint64_t first, uint64_t last);
	/* A read found damage; the group is in doubt from now on (S7). */
	void (*doubted)(void *owner);
	/* S15, all three or none (NULL). The lowest sequence in [from, to] whose record is to be erased from this disk, 0: none. Its message is dead, and the
	 * record that said so is applied; entries from which something was erased are holes to backfill (S14), as if they were left out. */
	uint64_t (*erase_next)(void *owner, uint64_t from, uint64_t to);
	/* Erasing begins; `erased` will be about those that erase_next tells now. */
	void (*erasing)(void *owner);
	/* The bytes of all these are gone: from segments, from the journal, from memory. */
	void (*erased)(void *owner);
};
void log_group_attach(struct log_group *g, const struct log_group_ops *ops, void *owner);
void log_group_detach(struct log_group *g);

/* What is durable about a group, as loaded and kept up to date. Indexes are raft indexes; 0 = none. */
struct log_group_info {
	uint64_t term, vote;              /* the last VOTE */
	uint64_t state_index, state_term; /* what the state store holds (S9: libraft is loaded from here) */
	struct slice
		conf; /* committed raft configuration as of state_index; borrowed until the next settle or install */
	uint64_t conf_index;      /* the index at which it was committed */
	uint64_t first_index;     /* lowest entry that is still there (last_index + 1 when none) */
	uint64_t contiguous_from; /* from here to last_index no entry is missing (S14) */
	uint64_t last_index, last_term;
	uint64_t durable_index; /* <= last_index */
	uint64_t commit_index;  /* highest commit index known on disk or told by log_commit (S8) */
	uint64_t generation;    /* raised by every install (S19) */
	uint64_t stored_bytes;  /* of its segments and unsettled entries */
	bool in_doubt;
	bool doubt_votes_only; /* its entries are proven whole, only a vote may be missing: a sole voter may end that itself */
	uint64_t damaged_from,
		damaged_to; /* settled entries that are missing or damaged (0: none known): readable only from a peer */
	uint64_t lost_from,
		lost_to; /* entries that the doubt is about, settled or not; from 0: none, to 0: nobody knows how far */
	uint64_t there_last; /* last_index, or in doubt the last entry behind a gap that can still be read */
	uint64_t seq_bound;  /* in doubt: no stream sequence above it can have been acknowledged */
	bool state_lost;     /* in doubt: what was settled of its state is gone */
	bool segments_lost;  /* … and with it the list of its segments */
};
void log_group_info(const struct log_group *g, struct log_group_info *out);
/* Why the group is in doubt: what was found and where; "" when it is not. Static or owned by the group. The range is in log_group_info. */
const char *log_group_doubt(const struct log_group *g);
/* Doubt ends (S7): a leader of `term`, elected without this replica, has brought it to that leader's commit index; the vote for that
 * leader is recorded with it. Durable, then done. */
void log_doubt_end(struct log_group *g, uint64_t term, uint64_t leader, struct log_req *req);
/* The state store's contents of the group, while opening (blocking) or in a job: see state.h, state_group_each. */
struct state *log_state(struct log *l);

/* ---- writing ---- */

enum log_admission {
	LOG_ADMIT_GROWS,    /* a client's proposal, or entries from a leader that hold some */
	LOG_ADMIT_FREES,    /* acks, purges, deletes, expiries: passes below the first mark */
	LOG_ADMIT_RESERVED, /* no-op, configuration: passes while the reserved slot has room (S8) */
};
/* May `bytes` more be appended now, in this turn? What a round moves behind it may take the room of a later one. OK, ERR_FULL (all slots but the reserved one wait to be settled: retry later), ERR_NO_SPACE (disk).
 * log_append itself never refuses: who does not ask first and passes the reserve breaks an assertion. */
must_check enum err log_admit(const struct log *l, enum log_admission what, uint64_t bytes);
/* The same for an append to this group: what of it is stranded behind a gap goes when it is appended to, and takes no room from it. */
must_check enum err log_group_admit(const struct log_group *g, enum log_admission what, uint64_t bytes);
/* Is there room on the disk for so many bytes, beside what everybody needs (S16)? */
bool log_has_space(const struct log *l, uint64_t bytes);
/* 0..1000: how full the ring is; producers are slowed from 700 on. */
unsigned log_pressure_permille(const struct log *l);

/* Appends entries last_index + 1 … . Heads are made here (record.h), bodies copied straight into the gathering block before the call
 * returns; the body of a command must be a whole batch (batch_end), of anything else at most a few KiB. */
struct log_entry {
	enum entry_kind kind; /* COMMAND, BARRIER or CHANGE */
	uint64_t term;
	struct slice body;
};
void log_append(struct log_group *g, struct log_req *req, const struct log_entry *entries, unsigned count);
/* Forgets entries from `from` on, which must be above commit_index; ordered with the appends before and after. */
void log_truncate(struct log_group *g, uint64_t from);
void log_vote(struct log_group *g, uint64_t term, uint64_t vote, struct log_req *req);
/* The commit index rose. Costs nothing on disk: it travels in later entries, tables and settle rounds. */
void log_commit(struct log_group *g, uint64_t index);
/* The owner's state is now that of `index` (with this term; and this committed configuration if it changed, else conf.p NULL; copied). */
void log_applied(struct log_group *g, uint64_t index, uint64_t term, struct slice conf, uint64_t conf_index);
/* Entries below `index` are no longer needed by the owner: whole segments under it are dropped in the next settle round. */
void log_trim(struct log_group *g, uint64_t index);
/* The owner has records to be erased (S15): begins in a second or so, or when what is being erased is done. Until `erased` is called or the owner
 * is attached anew further calls mean nothing; after a start or an attach the owner asks again. */
void log_erase(struct log_group *g);
/* Asks for a settle round even if no slot is full (shutdown, tests, a rewrite that is due). */
void log_settle_now(struct log *l, struct log_req *req);

/* ---- reading ---- */

/* Term of the entry, or 0 when it is not known here (below first_index or above last_index). */
uint64_t log_term_at(const struct log_group *g, uint64_t index);
/* The entry if it is in memory: borrowed until the loop's turn ends. ERR_AGAIN: not in memory, use log_read. ERR_NOT_FOUND above
 * last_index, ERR_COMPACTED below first_index or in a hole. */
must_check enum err log_view(struct log_group *g, uint64_t index, struct slice *entry);

/* Reads whole entries [from, to] in order, at most bytes_max but at least one, verified. Appended but not yet durable ones included. */
struct log_read_req {
	void (*done)(struct log_read_req *r);
	uint64_t from, to, bytes_max; /* in */
	bool holes;                   /* in: skip entries that settling left out instead of stopping before them */
	enum err
		result; /* OK; ERR_COMPACTED: `from` is gone or in a hole; ERR_NOT_FOUND; ERR_CORRUPT: damage, the group is in doubt;
			    ERR_CLOSED: the group went */
	struct buf entries;    /* out: concatenated entries; the caller's to free */
	uint64_t next;         /* out: the index after the last one returned */
	struct log_read *work; /* the log's */
};
void log_read(struct log_group *g, struct log_read_req *r);
/* The same, blocking: only between log_open and the first turn, in the thread that opened. */
must_check enum err log_read_now(struct log_group *g, struct log_read_req *r);
/* First entry whose records reach stream sequence `seq` or beyond: for reading by sequence. Asynchronous like log_read; the result holds
 * that one entry. ERR_NOT_FOUND when there is none. */
void log_read_seq(struct log_group *g, uint64_t seq, struct log_read_req *r);

/* ---- install (S19): bulk refill of a group from a peer ---- */

struct log_install;
/* Starts a new generation in a directory of its own. One at a time per group: ERR_BUSY. */
must_check enum err log_install_begin(struct log_group *g, struct log_install **out);
/* Adds entries (concatenated, in order, holes allowed) or state (a state_batch in its encoded form). Copied. `done` says the next chunk may
 * come; an error (ERR_NO_SPACE, ERR_CORRUPT: a bad checksum, ERR_IO) has ended the install. */
struct log_install_req {
	void (*done)(struct log_install_req *r);
	enum err result;
};
void log_install_entries(struct log_install *i, struct slice entries, struct log_install_req *r);
void log_install_state(struct log_install *i, struct slice batch, struct log_install_req *r);
/* The commit point: files synced, then INSTALL(group, generation, index, term, conf, segments) durable, then done. From then on the group's
 * earlier entries are void, its info is that of the install, and log_group_ops.settled has not been called for it. */
void log_install_commit(struct log_install *i, uint64_t index, uint64_t term, struct slice conf, uint64_t conf_index,
	uint64_t contiguous_from, struct log_install_req *r);
void log_install_abort(struct log_install *i); /* frees; files go later */
/* The other side: what a peer needs of this group. Entries are read with log_read(holes = true), state with state_group_each. */

/* ---- offline ---- */

/* One finding of log_check. */
struct log_finding {
	bool is_damage; /* false: worth a line, but nothing is lost by it: the next start mends it, or nothing needs it */
	uint64_t group; /* 0: the store itself, or all groups */
	uint64_t from,
		to; /* indexes of the entries that are lost or in doubt; 0: none are known. to UINT64_MAX: all that follow */
	const char *file; /* below the store's directory; NULL: it is in no one file */
	uint64_t offset;  /* in that file */
	const char *what; /* all borrowed for the call */
};
typedef void log_finding_fn(void *arg, const struct log_finding *f);
struct log_check_report {
	uint64_t groups, segments, values; /* values: of the state store */
	uint64_t bytes;                    /* read and compared with their checksums */
	uint64_t damages, notes;           /* findings */
};
/* Verifies every checksum of a store that nobody has open, and changes nothing: both copies of the identity, the blocks of the journal that
 * a start would need, the state store (in a child process, where LMDB may die of it), every segment with its index file, installs under
 * way. OK: whole. ERR_CORRUPT: damage was told to `each`. Anything else: it cannot be checked, and `why` says so in one sentence: ERR_LOCKED (a
 * server runs), ERR_INVALID (not a store), ERR_NOT_FOUND, ERR_FORMAT (S20), ERR_ACCESS, ERR_IO. Blocking; before the loop runs. */
must_check enum err log_check(struct io *io, const char *dir, const struct state_ops *state, log_finding_fn *each,
	void *arg, struct log_check_report *report, char *why, size_t why_bytes);

#endif
