/* SPDX-License-Identifier: Apache-2.0 */
/* node_inside — what the files of this room know of each other. */
#ifndef THEBES_NODE_INSIDE_H
#define THEBES_NODE_INSIDE_H

#include "log_sink.h"

/* ---- settings.c: what the configuration means for each room ---- */

enum diag_level settings_level(const struct conf *c);
struct log_sink_options settings_log(const struct conf *c);
struct client_options settings_client(const struct conf *c);
/* Tells auth who may connect; *why says what is wrong. ERR_INVALID. */
must_check enum err settings_auth(struct auth *a, const struct conf *c, struct buf *why);
/* As nats-server sees it: a user in a list who has none has a plain one; a token is not a password. */
bool settings_has_plain_passwords(const struct conf *c);
/* Reads the certificates, blocking: before the loop runs, or on a worker. *out is NULL when there is to be no TLS. Else *why says what is
 * wrong. */
must_check enum err settings_tls(struct io *io, const struct conf *c, struct tls_context **out, struct buf *why);
/* Host and port that INFO shows: client_advertise where it is set. `host` is owned by the caller. */
char *settings_info_host(const struct conf *c, int64_t port_bound, int64_t *port);
uint64_t settings_memory_budget(const struct conf *c, const struct node_host *host);

/* ---- identity.c ---- */

/* A name nobody else has: the form of an nkey of a server, 56 letters and a NUL. */
void identity_make(struct io *io, char out[57]);

/* ---- files.c: blocking, before or after the loop ---- */

must_check enum err files_write_pid(struct node *n);
/* Remembers the path in n->ports_file, for files_remove_ports. */
must_check enum err files_write_ports(struct node *n);
void files_remove_ports(struct node *n);

/* ---- reload.c ---- */

void node_reload_free(struct node_reload *r);

/* ---- shutdown.c ---- */

/* At the end of every turn of a node on its way out: is the last client gone, is everything gone? */
void node_stop_step(struct node *n);
void node_timer_fired(struct io_timer *t);

/* ---- give_back.c ---- */

void give_back_begin(struct node *n);
void give_back_turn_end(struct node *n);
void give_back_end(struct node *n);

/* "host:port", IPv6 in brackets. Appends. */
void node_addr_print(struct buf *b, const char *host, unsigned port);

#endif
