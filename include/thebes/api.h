/* SPDX-License-Identifier: Apache-2.0 */
/* api — $JS.API: requests come in as messages, become one call of a room below, and are answered as JSON on their reply. Every request is
 * scoped to the account it came from. The table of requests is api.def; types, codes and texts are those of spec §5.
 *
 *   router ──$JS.API.…──> api_deliver ─> row of api.def ─> handler ─> meta / stream / consumers ─…done─> answer
 *   router ──$JS.ACK.…──> api_deliver_ack ─> consumers_ack */
#ifndef THEBES_API_H
#define THEBES_API_H

#include "thebes/base.h"
#include "thebes/diag.h"
#include "thebes/io.h"
#include "thebes/meta.h"
#include "thebes/station.h"

struct api_account;

struct api {
	struct io *io;             /* borrowed */
	struct diag *diag;         /* borrowed */
	struct stations *stations; /* borrowed */
	struct meta *meta;         /* borrowed */
	const char *server_name;   /* borrowed; set after api_init, for advisories */
	struct list accounts;      /* of struct api_account */
	struct list waiting;       /* of struct api_request: answered when their stream is ready */
	struct list requests;      /* all requests under way */
	struct io_timer timer;
	uint64_t total, errors;
	bool closing;
};
void api_init(struct api *a, struct io *io, struct diag *diag, struct stations *stations, struct meta *meta);
/* Subscribes the account's API and ack subjects: from now on it may use JetStream, or, when it is not enabled for it, is told so (10039).
 * Of an account that is open only that changes. */
void api_open_account(struct api *a, struct account *account, bool is_enabled);
/* The account is the system's now: nobody answers it any more. One that is not open is allowed. */
void api_close_account(struct api *a, const struct account *account);
/* Unsubscribes everything; requests under way are dropped without an answer when their rooms let go of them. */
void api_close(struct api *a);
void api_deinit(struct api *a);
struct api_usage {
	uint64_t memory, storage, streams, consumers, reserved_memory, reserved_storage; /* bytes and counts */
};
/* Adds what the account's streams use and reserve. */
void api_usage(const struct api *a, struct slice account, struct api_usage *u);
uint64_t api_account_count(const struct api *a); /* that JetStream is enabled for */
/* At the end of the turn, before stations_turn_end: looks at requests that wait for a stream. */
void api_turn_end(struct api *a);

#endif
