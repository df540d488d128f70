/* SPDX-License-Identifier: Apache-2.0 */
/* advisory — what JetStream tells whoever listens below $JS.EVENT (spec §5.12): one JSON message each, published in the account that it
 * concerns. Where nobody listens nothing is built.
 *
 *   if (advisory_begin(&a, io, account, "advisory.v1.nak", "ADVISORY.CONSUMER.MSG_NAKED.%s.%s", stream, consumer)) {
 *           advisory_text(&a, "stream", stream);
 *           advisory_send(&a);
 *   } */
#ifndef THEBES_ADVISORY_H
#define THEBES_ADVISORY_H

#include "thebes/auth.h"
#include "thebes/base.h"
#include "thebes/io.h"

struct advisory {
	struct account *account;  /* borrowed */
	struct buf subject, body; /* owned from a begin that said true until the send */
};
/* The type is what follows io.nats.jetstream., the subject what follows $JS.EVENT. False: nobody listens, and there is nothing to end. */
must_check bool advisory_begin(struct advisory *a, struct io *io, struct account *account, const char *type,
	const char *subject, ...) __attribute__((format(printf, 5, 6)));
void advisory_text(struct advisory *a, const char *key, struct slice v);
void advisory_number(struct advisory *a, const char *key, uint64_t v);
/* Publishes it: receivers may do anything in it that a message can do. */
void advisory_send(struct advisory *a);

#endif
