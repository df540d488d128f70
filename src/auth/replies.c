/* SPDX-License-Identifier: Apache-2.0 */
/* replies — the reply subjects that a session was handed and may answer although it may not publish there (allow_responses). Oldest first
 * in a list, because all expire after the same time; bounded, the oldest gives way. */
#include "inside.h"

enum { REPLIES_MAX = 4096 };

struct reply {
	struct list link_by_age;
	uint64_t noted_ns;
	int64_t used;
	size_t subject_bytes;
	uint8_t subject[];
};
struct auth_replies {
	struct map by_subject; /* of struct reply (owned) */
	struct list by_age;
	int64_t max, expires_ns; /* negative: no limit */
};

static struct slice reply_key(const void *item)
{
	const struct reply *r = item;
	return slice_of(r->subject, r->subject_bytes);
}

struct auth_replies *replies_new(uint64_t seed, int64_t max, int64_t expires_ns)
{
	struct auth_replies *r = NEW(struct auth_replies);
	map_init(&r->by_subject, seed, reply_key);
	list_init(&r->by_age);
	r->max = max;
	r->expires_ns = expires_ns;
	return r;
}

static void reply_drop(struct auth_replies *r, struct reply *reply)
{
	map_del(&r->by_subject, reply_key(reply));
	list_remove(&reply->link_by_age);
	mem_free(reply);
}

static struct reply *reply_oldest(const struct auth_replies *r)
{
	struct list *first = list_first(&r->by_age);
	return first ? CONTAINER_OF(first, struct reply, link_by_age) : NULL;
}

void replies_free(struct auth_replies *r)
{
	if (!r) return;
	for (struct reply *oldest; (oldest = reply_oldest(r)) != NULL;) reply_drop(r, oldest);
	map_deinit(&r->by_subject);
	mem_free(r);
}

static bool reply_is_over(const struct auth_replies *r, const struct reply *reply, uint64_t now_ns)
{
	return r->expires_ns >= 0 && now_ns - reply->noted_ns > (uint64_t)r->expires_ns;
}

void replies_note(struct auth_replies *r, struct slice subject, uint64_t now_ns)
{
	struct reply *reply = map_get(&r->by_subject, subject);
	if (reply) reply_drop(r, reply);
	for (struct reply *oldest; (oldest = reply_oldest(r)) != NULL;) {
		if (r->by_subject.count < REPLIES_MAX && !reply_is_over(r, oldest, now_ns)) break;
		reply_drop(r, oldest);
	}
	reply = mem_zalloc(sizeof *reply + subject.n);
	reply->noted_ns = now_ns;
	reply->subject_bytes = subject.n;
	memcpy(reply->subject, subject.p, subject.n);
	map_put(&r->by_subject, reply);
	list_push_back(&r->by_age, &reply->link_by_age);
}

bool replies_use(struct auth_replies *r, struct slice subject, uint64_t now_ns)
{
	struct reply *reply = map_get(&r->by_subject, subject);
	if (!reply) return false;
	bool allowed = !reply_is_over(r, reply, now_ns);
	reply->used++;
	if (!allowed || (r->max >= 0 && reply->used >= r->max)) reply_drop(r, reply);
	return allowed;
}
