/* SPDX-License-Identifier: Apache-2.0 */
/* permission — what a session may touch (spec §2.2). Lists are short and walked; what publishing to a subject came to is remembered in a
 * small table, name and all, because a verdict that rests on a hash alone could be had for another subject with the same hash. */
#include "inside.h"

static bool patterns_match(const struct patterns *p, struct slice literal)
{
	for (size_t i = 0; i < p->count; i++)
		if (subject_match(p->at[i].subject, literal)) return true;
	return false;
}

static bool publish_look_up(const struct permissions *p, struct slice subject)
{
	bool allowed = !p->publish_allow.is_set || patterns_match(&p->publish_allow, subject);
	return allowed && !patterns_match(&p->publish_deny, subject);
}

bool permissions_allow_publish(struct permissions *p, struct slice subject)
{
	static const size_t remembered_max = sizeof((struct verdict_entry *)0)->subject;
	if (subject.n == 0 || subject.n > remembered_max) return publish_look_up(p, subject);
	if (!p->verdicts) p->verdicts = mem_zalloc(VERDICT_ENTRIES * sizeof *p->verdicts);
	uint64_t hash = hash_bytes(subject.p, subject.n, p->seed);
	struct verdict_entry *e = &p->verdicts[hash % VERDICT_ENTRIES];
	if (e->hash == hash && e->subject_bytes == subject.n && memcmp(e->subject, subject.p, subject.n) == 0)
		return e->allowed;
	e->hash = hash;
	e->subject_bytes = (uint8_t)subject.n;
	memcpy(e->subject, subject.p, subject.n);
	e->allowed = publish_look_up(p, subject);
	return e->allowed;
}

/* Subjects that servers use among themselves. */
static bool subject_is_reserved(const struct auth_session *s, struct slice subject)
{
	if (subject.n == 0 || (subject.p[0] != '_' && subject.p[0] != '$')) return false;
	return slice_has_prefix(subject, SLICE("_GR_.")) ||
	       (!s->account->is_system && slice_has_prefix(subject, SLICE("$NRG.")));
}

bool auth_can_publish(struct auth_session *s, struct slice subject, uint64_t now_ns)
{
	if (!s->account || subject_is_reserved(s, subject)) return false;
	if (!s->permissions || permissions_allow_publish(s->permissions, subject)) return true;
	return s->replies && replies_use(s->replies, subject, now_ns);
}

bool auth_can_reply(const struct auth_session *s, struct slice reply)
{
	(void)s;
	return !slice_has_prefix(reply, SLICE("_R_.")) && !slice_has_prefix(reply, SLICE("$JS.ACK.")) &&
	       !slice_has_prefix(reply, SLICE("_GR_."));
}

static bool queue_is_covered(struct slice queue, struct slice pattern)
{
	return slice_eq(queue, pattern) || (subject_is_valid(queue) && subject_is_subset(queue, pattern));
}

/* What a list says about a subscription: entries without a queue speak for every one, those with a queue for the queues they name. */
struct coverage {
	bool plain;      /* an entry without a queue covers the subject */
	bool qualified;  /* an entry with a queue covers the subject */
	bool with_queue; /* and names this queue */
};

static struct coverage patterns_cover(const struct patterns *p, struct slice subject, struct slice queue)
{
	struct coverage c = { 0 };
	if (!subject_is_valid(subject)) return c; /* no pattern covers what is no subject */
	for (size_t i = 0; i < p->count; i++) {
		if (!subject_is_subset(subject, p->at[i].subject)) continue;
		if (p->at[i].queue.n == 0) {
			c.plain = true;
		} else if (queue.n) {
			c.qualified = true;
			c.with_queue |= queue_is_covered(queue, p->at[i].queue);
		}
	}
	return c;
}

/* True when the entry can forbid single messages of a subscription that it does not forbid as a whole. */
static bool deny_concerns(const struct pattern *deny, struct slice queue)
{
	return deny->queue.n == 0 || (queue.n && queue_is_covered(queue, deny->queue));
}

bool auth_can_subscribe(const struct auth_session *s, struct slice subject, struct slice queue, bool *filtered)
{
	if (filtered) *filtered = false;
	if (!s->account || slice_eq_str(queue, "_sys_")) return false;
	const struct permissions *p = s->permissions;
	if (!p) return true;
	if (p->subscribe_allow.is_set) {
		struct coverage allow = patterns_cover(&p->subscribe_allow, subject, queue);
		/* Where a subject is allowed for certain queues, the queue must be one of them. */
		if (allow.qualified ? !allow.with_queue : !allow.plain) return false;
	}
	struct coverage deny = patterns_cover(&p->subscribe_deny, subject, queue);
	if (deny.plain || deny.with_queue) return false;
	for (size_t i = 0; filtered && i < p->subscribe_deny.count && !*filtered && subject_is_valid(subject); i++) {
		const struct pattern *d = &p->subscribe_deny.at[i];
		*filtered = deny_concerns(d, queue) && subject_overlaps(subject, d->subject);
	}
	return true;
}

bool auth_can_deliver(struct auth_session *s, struct slice subject, struct slice queue)
{
	if (!s->account) return false;
	const struct permissions *p = s->permissions;
	for (size_t i = 0; p && i < p->subscribe_deny.count; i++) {
		const struct pattern *d = &p->subscribe_deny.at[i];
		if (deny_concerns(d, queue) && subject_match(d->subject, subject)) return false;
	}
	return true;
}

void auth_note_reply(struct auth_session *s, struct slice reply, uint64_t now_ns)
{
	if (!s->replies || reply.n == 0 || permissions_allow_publish(s->permissions, reply)) return;
	replies_note(s->replies, reply, now_ns);
}
