/* SPDX-License-Identifier: Apache-2.0 */
/* node_bed — the whole node in the twin and one client that asks it, for tests that tell short stories. Whatever goes wrong fails the test. */
#ifndef THEBES_TESTS_SIM_NODE_BED_H
#define THEBES_TESTS_SIM_NODE_BED_H

#include "check.h"
#include "sim/node_world.h"

enum { BED_GOT_MAX = 64 };

struct bed_got {
	uint64_t seq, count, at_ns;
	unsigned status; /* of a message without a reply */
	char line[100];  /* its status line */
	char reply[200];
	char subject[40];
};
struct bed {
	struct world w;
	struct peer p;
	struct buf answer;
	bool is_answered;
	struct bed_got got[BED_GOT_MAX];
	unsigned got_count, wanted;
	bool is_pull_over;
};
void bed_open(struct bed *b);
void bed_close(struct bed *b); /* a clean stop, which frees everything */
void bed_restart(struct bed *b);
void bed_kill(struct bed *b); /* and boots it again */
/* Its two halves. */
void bed_stop(struct bed *b);
void bed_boot(struct bed *b);
/* The one answer, borrowed until the next; of an empty message with a status that. Fails when nobody answers within four seconds. */
const char *bed_ask(struct bed *b, const char *subject, const char *payload);
/* The answer must hold `want`. */
void bed_ask_for(struct bed *b, const char *subject, const char *payload, const char *want);
/* Stream S on s.>, with more of its configuration as `,"key":…`, and its durable consumer C (NULL: none). */
void bed_make(struct bed *b, const char *stream, const char *consumer);
void bed_publish(struct bed *b, const char *subject);
/* Messages and statuses of one request to a consumer of S, in b->got; over with a final status, or with `wanted` of them. */
void bed_pull(struct bed *b, const char *consumer, const char *body, unsigned wanted);
/* The same by any other subject: an ack that asks for more. */
void bed_pull_by(struct bed *b, const char *subject, const char *body, unsigned wanted);
uint64_t bed_number(struct bed *b, const char *subject, const char *key);

#endif
