/* SPDX-License-Identifier: Apache-2.0 */
/* tls — between a conn and io: cipher bytes in, plain bytes to conn_take; plain chunks in, cipher chunks out. Only net.c's files and
 * nobody above know OpenSSL. */
#ifndef THEBES_NET_TLS_H
#define THEBES_NET_TLS_H

#include "thebes/net.h"

struct tls;

enum {
	TLS_SCRATCH_BYTES = 64 * 1024, /* cipher bytes of one read */
	TLS_SEAL_BYTES = 512 * 1024,   /* plain bytes that become one write */
	TLS_SEAL_CHUNKS = 24,          /* plain chunks that become one write: each gives two or three slices of it */
	TLS_SHAKE_BYTES = 48 * 1024,   /* what OpenSSL keeps for a connection during the handshake, about */
	TLS_CONN_BYTES = 20 * 1024,    /* and after it */
	TLS_BIO_BYTES_KEPT = 1024,     /* a larger buffer between OpenSSL and us goes as soon as it is empty */
};

/* Makes c->tls, freed with the conn. */
void tls_begin(struct conn *c, struct tls_context *t);
void tls_free(struct tls *t);
/* Of the conn's ledger. */
size_t tls_charged_bytes(const struct tls *t);
/* Cipher bytes have come: copied. tls_pump follows. */
void tls_pour(struct conn *c, const uint8_t *p, size_t n);
/* Goes on with what has come, as far as the conn takes it. */
void tls_pump(struct conn *c);
/* True when tls_seal would give something. */
bool tls_has_output(const struct conn *c);
/* Makes cipher chunks of what waits in the conn and of what the handshake has to say: a chain, charged to the conn. */
struct chunk *tls_seal(struct conn *c);
/* Says goodbye, once, when nothing waits. True when there is something to write because of it. */
bool tls_goodbye(struct conn *c);

#endif
