/* SPDX-License-Identifier: Apache-2.0 */
/* Ended sessions, newest first, for monitoring: one block of memory each, at most max_closed of them. */
#include "session.h"

static const char *closed_text(char **at, struct slice s)
{
	char *text = *at;
	if (s.n) memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	*at += s.n + 1;
	return text;
}

void clients_remember(struct clients *s, const struct client *c)
{
	if (s->options.max_closed <= 0) return;
	struct slice user = auth_session_name(&c->session);
	struct slice account = c->session.account ? c->session.account->name : SLICE_NULL;
	const struct slice texts[] = { c->connect.name, c->connect.lang, c->connect.version, user, account };
	size_t bytes = COUNT_OF(texts);
	for (size_t i = 0; i < COUNT_OF(texts); i++) bytes += texts[i].n;
	struct client_closed *gone = mem_zalloc(sizeof *gone + bytes);
	char *at = gone->text;
	gone->name = closed_text(&at, c->connect.name);
	gone->lang = closed_text(&at, c->connect.lang);
	gone->version = closed_text(&at, c->connect.version);
	gone->user = closed_text(&at, user);
	gone->account = closed_text(&at, account);
	gone->id = c->id;
	gone->peer = c->peer;
	gone->start_wall_ns = c->start_wall_ns;
	gone->stop_wall_ns = io_wall_ns(s->io);
	gone->reason = c->reason;
	gone->in_msgs = c->in_msgs;
	gone->in_bytes = c->in_bytes;
	gone->out_msgs = c->out_msgs;
	gone->out_bytes = c->out_bytes;
	gone->rtt_ns = c->rtt_ns;
	gone->sub_count = c->subs.count;
	list_push_front(&s->closed, &gone->link);
	s->closed_count++;
	clients_forget(s, (uint64_t)s->options.max_closed);
}

void clients_forget(struct clients *s, uint64_t keep)
{
	while (s->closed_count > keep) {
		struct list *oldest = s->closed.prev;
		list_remove(oldest);
		mem_free(CONTAINER_OF(oldest, struct client_closed, link));
		s->closed_count--;
	}
}
