/* SPDX-License-Identifier: Apache-2.0 */
/* vault — everything that stores, wired together: log, raft, catalogue, stations and their API. The node owns one by value.
 *
 *   vault_open (blocks) ──> groups elect themselves ──> vault_is_ready ──> clients may come in ──> vault_close ──> closed */
#ifndef THEBES_VAULT_H
#define THEBES_VAULT_H

#include "thebes/api.h"
#include "thebes/conf.h"
#include "thebes/log.h"
#include "thebes/meta.h"
#include "thebes/raft.h"
#include "thebes/station.h"

struct poison;
struct vault {
	struct io *io;         /* borrowed; NULL while it is off */
	struct diag *diag;     /* borrowed */
	struct log *log;       /* owned */
	struct poison *poison; /* owned */
	struct raft_groups groups;
	struct meta *meta; /* owned */
	struct stations stations;
	struct api api;
	uint64_t opened_ns;
	enum { VAULT_OFF, VAULT_OPEN, VAULT_CLOSING, VAULT_CLOSED } state;
	bool is_ready, is_tidy;
	size_t renewing;            /* streams in memory that are being begun anew */
	struct io_timer timer;      /* while it is not ready: looks again */
	struct io_timer make_timer; /* a row's group found no room: it is made later */
};
/* Opens or bears the store of conf->jetstream.store_dir and everything in it. Blocking, before the loop runs. On failure `why` is one
 * sentence for the log. What is on its way to the log is charged to `memory`. `fatal` ends the process (S17). state_ops: LMDB, or a simulation's. */
must_check enum err vault_open(struct vault *v, struct io *io, struct diag *diag, struct auth *auth,
	const struct conf *conf, const struct state_ops *state, struct ledger *memory,
	void (*fatal)(void *arg, const char *why), void *fatal_arg, char *why, size_t why_bytes);
/* Which accounts may store, and how much they and the server may, as configured: after a reload. */
void vault_reload(struct vault *v, struct auth *auth, const struct conf *conf);
/* True once every group that can be led is led (or ten seconds have passed): what was stored is served from here on. */
bool vault_is_ready(struct vault *v);
void vault_turn_end(struct vault *v);
/* Starts to close; vault_is_closed tells when it is done. */
void vault_close(struct vault *v);
static inline bool vault_is_closed(const struct vault *v) { return v->state == VAULT_OFF || v->state == VAULT_CLOSED; }
/* The process is ending by a fault of this node's own, on this thread: remembers which entry was being applied, if one was (S11). For
 * assert_note_set; async-signal-safe. */
void vault_crashed(void *vault);
void vault_deinit(struct vault *v);

#endif
