/* SPDX-License-Identifier: Apache-2.0 */
/* receiver — a sink that counts, and does what a test tells it to do inside deliver. */
#ifndef THEBES_TESTS_ROUTER_RECEIVER_H
#define THEBES_TESTS_ROUTER_RECEIVER_H

#include "check.h"
#include "thebes/router.h"

struct receiver {
	struct sink sink;
	struct sub sub;
	size_t count;
	bool refuses;
	void (*inside)(struct receiver *rx, const struct msg *m);
	void *arg;
	struct slice shown; /* subject of the last message */
};

static inline bool receiver_deliver(struct sink *k, struct sub *s, const struct msg *m)
{
	struct receiver *rx = CONTAINER_OF(k, struct receiver, sink);
	assert_true(sub_is_active(s));
	if (rx->refuses) return false;
	rx->count++;
	rx->shown = m->subject;
	if (rx->inside) rx->inside(rx, m);
	return true;
}

static inline const struct sink_ops *receiver_ops(void)
{
	static const struct sink_ops ops = { .deliver = receiver_deliver };
	return &ops;
}

static inline void receiver_open(struct receiver *rx, struct router *r, const char *subject, const char *queue)
{
	rx->sink.ops = receiver_ops();
	rx->sub.sink = &rx->sink;
	assert_int_equal(router_subscribe(r, &rx->sub, slice_of_str(subject), slice_of_str(queue)), OK);
}

static inline size_t send_to(struct router *r, const char *subject)
{
	struct msg m = { .subject = slice_of_str(subject), .payload = SLICE("12345") };
	return router_publish(r, &m);
}

#endif
