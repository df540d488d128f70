/* SPDX-License-Identifier: Apache-2.0 */
/* JetStream: publish with acknowledgement, and fetch with explicit acks.
 *
 * Each publisher is a connection with a window of slots. A slot's publish carries the reply subject _INBOX.p<publisher>.<slot>; when the
 * acknowledgement arrives there, the slot is free for the next message. So the number of messages that wait is fixed, whatever the server. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct publisher {
	struct link *link;
	char *frames; /* one prepared publish per slot, frame_n bytes each */
	size_t frame_n;
	uint64_t *sent_ns; /* per slot */
	unsigned *free_slots;
	unsigned free_n;
};

static void require_ok(const char *answer, const char *what)
{
	if (!answer) die("%s: no answer", what);
	if (strstr(answer, "\"error\"")) die("%s: %s", what, answer);
}

static void stream_create(struct link *l, const char *name)
{
	char subject[128], config[512];
	snprintf(subject, sizeof subject, "$JS.API.STREAM.DELETE.%s", name);
	link_request(l, subject, "", 10000); /* it may not be there */
	snprintf(subject, sizeof subject, "$JS.API.STREAM.CREATE.%s", name);
	snprintf(config, sizeof config,
		"{\"name\":\"%s\",\"subjects\":[\"%s.s.*\"],\"retention\":\"limits\",\"storage\":\"file\",\"discard\":"
		"\"old\",\"num_replicas\":1,"
		"\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":0,\"max_msg_size\":-1}",
		name, name);
	require_ok(link_request(l, subject, config, 10000), "create the stream");
}

static uint64_t stream_messages(struct link *l, const char *name)
{
	char subject[128];
	snprintf(subject, sizeof subject, "$JS.API.STREAM.INFO.%s", name);
	const char *answer = link_request(l, subject, "", 10000);
	require_ok(answer, "ask about the stream");
	return json_number(answer, "messages", 0);
}

/* ---- publish ---- */

static void publisher_open(struct publisher *p, struct link *l, unsigned index, const struct options *o)
{
	size_t cap = o->size + 256;
	*p = (struct publisher) { .link = l, .free_n = o->window };
	p->frames = malloc(cap * o->window);
	p->sent_ns = calloc(o->window, sizeof *p->sent_ns);
	p->free_slots = calloc(o->window, sizeof *p->free_slots);
	if (!p->frames || !p->sent_ns || !p->free_slots) die("out of memory");
	for (unsigned slot = 0; slot < o->window; slot++) {
		char *frame = p->frames + slot * cap;
		int head = snprintf(
			frame, 256, "PUB %s.s.%u _INBOX.p%u.%06u %u\r\n", o->stream, index, index, slot, o->size);
		memset(frame + head, 'a' + (int)(slot % 26), o->size);
		memcpy(frame + head + o->size, "\r\n", 2);
		p->frame_n = (size_t)head + o->size + 2;
		p->free_slots[slot] = o->window - 1 - slot;
	}
	for (unsigned slot = 0; slot < o->window; slot++)
		memmove(p->frames + slot * p->frame_n, p->frames + slot * cap, p->frame_n);
	link_open(l, o);
	link_putf(l, "SUB _INBOX.p%u.* 1\r\n", index);
	link_sync(l);
}

static void publisher_close(struct publisher *p)
{
	link_close(p->link);
	free(p->frames);
	free(p->sent_ns);
	free(p->free_slots);
}

/* Publishes on every free slot, at most `allowed` times. */
static uint64_t publisher_send(struct publisher *p, uint64_t allowed)
{
	uint64_t n = 0;
	for (uint64_t at = now_ns(); p->free_n && n < allowed; n++) {
		unsigned slot = p->free_slots[--p->free_n];
		p->sent_ns[slot] = at;
		link_put(p->link, p->frames + slot * p->frame_n, p->frame_n);
	}
	link_flush(p->link);
	return n;
}

/* Takes the acknowledgements that are there; the slot is the last word of the subject. */
static uint64_t publisher_receive(struct publisher *p, unsigned window, struct hist *h)
{
	uint64_t n = 0;
	struct msg m;
	if (!link_read(p->link)) return 0;
	for (uint64_t at = now_ns(); link_next(p->link, &m); n++) {
		unsigned slot = 0;
		for (const char *d = m.subject + m.subject_n - 6; d < m.subject + m.subject_n; d++)
			slot = slot * 10 + (unsigned)(*d - '0');
		bool good = slot < window && p->sent_ns[slot] && !m.headers_n &&
			    memmem(m.payload, m.payload_n, "\"seq\":", 6);
		if (!good)
			die("not an acknowledgement: %.*s %.*s", (int)m.subject_n, m.subject, (int)m.payload_n,
				m.payload);
		if (memmem(m.payload, m.payload_n, "\"error\"", 7)) die("refused: %.*s", (int)m.payload_n, m.payload);
		hist_add(h, at - p->sent_ns[slot]);
		p->sent_ns[slot] = 0;
		p->free_slots[p->free_n++] = slot;
	}
	return n;
}

void run_publish(const struct options *o)
{
	struct link control;
	struct link *links = calloc(o->clients, sizeof *links);
	struct publisher *pubs = calloc(o->clients, sizeof *pubs);
	struct hist *h = calloc(1, sizeof *h);
	if (!links || !pubs || !h) die("out of memory");
	link_open(&control, o);
	if (!o->keep) stream_create(&control, o->stream);
	for (unsigned i = 0; i < o->clients; i++) publisher_open(&pubs[i], &links[i], i, o);

	uint64_t start = now_ns(), begin = 0, end = UINT64_MAX, sent = 0, acked = 0, first = 0;
	uint64_t warm = o->count ? start : start + (uint64_t)(o->warmup * 1e9),
		 total = o->count ? o->count : UINT64_MAX, last = start;
	for (;;) {
		uint64_t now = now_ns(), got = 0;
		if (!begin && now >= warm) {
			begin = now, first = acked;
			if (!o->count) end = now + (uint64_t)(o->seconds * 1e9);
			*h = (struct hist) { 0 };
		}
		if (now >= end || acked == total) break;
		for (unsigned i = 0; i < o->clients; i++) {
			got += publisher_receive(&pubs[i], o->window, h);
			sent += publisher_send(&pubs[i], total - sent);
		}
		acked += got;
		if (got) last = now;
		if (now - last > 30000000000u)
			die("no acknowledgement for 30 s, %llu are missing", (unsigned long long)(sent - acked));
		if (!got) links_wait(links, o->clients, 1000);
	}
	double elapsed = (double)(now_ns() - begin) / 1e9, rate = (double)(acked - first) / elapsed;
	uint64_t counted = acked - first;
	struct hist *timed = h, *rest = calloc(1, sizeof *rest);
	if (!rest) die("out of memory");
	for (last = now_ns(); acked < sent && now_ns() - last < 30000000000u;) {
		links_wait(links, o->clients, 1000);
		for (unsigned i = 0; i < o->clients; i++) {
			link_flush(&links[i]);
			acked += publisher_receive(&pubs[i], o->window, rest);
		}
	}
	if (acked < sent) die("%llu publishes were never acknowledged", (unsigned long long)(sent - acked));
	if (control.jetstream && !o->keep && stream_messages(&control, o->stream) != sent)
		die("%llu messages are acknowledged, the stream has %llu", (unsigned long long)acked,
			(unsigned long long)stream_messages(&control, o->stream));
	printf("{\"mode\":\"publish\",\"size\":%u,\"publishers\":%u,\"window\":%u,\"messages\":%llu,\"seconds\":%.3f,"
	       "\"rate\":%.0f,"
	       "\"mb_per_s\":%.1f,\"p50_us\":%.0f,\"p99_us\":%.0f,\"p999_us\":%.0f}\n",
		o->size, o->clients, o->window, (unsigned long long)counted, elapsed, rate, rate * o->size / 1e6,
		hist_us(timed, 0.5), hist_us(timed, 0.99), hist_us(timed, 0.999));
	for (unsigned i = 0; i < o->clients; i++) publisher_close(&pubs[i]);
	link_close(&control);
	free(links);
	free(pubs);
	free(h);
	free(rest);
}

/* ---- fetch ---- */

struct fetcher {
	struct link *link;
	unsigned index, wanted; /* messages that the open fetch may still bring */
	uint64_t fetched;
};

static void fetch_ask(struct fetcher *f, const struct options *o)
{
	char body[64];
	int n = snprintf(body, sizeof body, "{\"batch\":%u,\"expires\":2000000000}", o->batch);
	link_putf(
		f->link, "PUB $JS.API.CONSUMER.MSG.NEXT.%s.load _INBOX.f%u %d\r\n%s\r\n", o->stream, f->index, n, body);
	f->wanted = o->batch;
}

/* Acks every message on its own; when the batch is complete, or the server says that it has ended, asks for the next. */
static uint64_t fetch_some(struct fetcher *f, const struct options *o)
{
	struct msg m;
	uint64_t n = 0;
	if (!link_read(f->link)) return 0;
	while (link_next(f->link, &m)) {
		if (m.headers_n && !m.reply_n) { /* a status: nothing for now, or the fetch has expired */
			f->wanted = 0;
		} else {
			if (!m.reply_n || memcmp(m.reply, "$JS.ACK.", 8))
				die("a message without a subject to ack: %.*s", (int)m.reply_n, m.reply);
			char head[320];
			int head_n = snprintf(head, sizeof head, "PUB %.*s 4\r\n+ACK\r\n", (int)m.reply_n, m.reply);
			link_put(f->link, head, (size_t)head_n);
			f->wanted--, n++;
		}
		if (!f->wanted) fetch_ask(f, o);
	}
	f->fetched += n;
	return n;
}

static void consumer_create(struct link *l, const struct options *o)
{
	char subject[128], config[512];
	snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DURABLE.CREATE.%s.load", o->stream);
	snprintf(config, sizeof config,
		"{\"stream_name\":\"%s\",\"config\":{\"durable_name\":\"load\",\"ack_policy\":\"explicit\",\"deliver_"
		"policy\":\"all\","
		"\"replay_policy\":\"instant\",\"ack_wait\":60000000000,\"max_deliver\":-1,\"max_ack_pending\":%u}}",
		o->stream, o->clients * o->batch * 4);
	require_ok(link_request(l, subject, config, 10000), "create the consumer");
}

/* The work is done when the consumer has nothing that is undelivered or unacknowledged. */
static bool consumer_is_done(struct link *l, const struct options *o)
{
	char subject[128];
	snprintf(subject, sizeof subject, "$JS.API.CONSUMER.INFO.%s.load", o->stream);
	const char *info = link_request(l, subject, "", 10000);
	require_ok(info, "ask about the consumer");
	if (json_number(info, "num_redelivered", 0)) die("messages were delivered twice: %s", info);
	return json_number(info, "num_pending", 1) == 0 && json_number(info, "num_ack_pending", 1) == 0;
}

/* Fetches everything that publish left in the stream, from the first message on. */
void run_fetch(const struct options *o)
{
	struct link control;
	struct link *links = calloc(o->clients, sizeof *links);
	struct fetcher *fetchers = calloc(o->clients, sizeof *fetchers);
	if (!links || !fetchers) die("out of memory");
	link_open(&control, o);
	uint64_t total = stream_messages(&control, o->stream), fetched = 0;
	if (!total) die("the stream %s is empty", o->stream);
	consumer_create(&control, o);
	for (unsigned i = 0; i < o->clients; i++) {
		fetchers[i] = (struct fetcher) { .link = &links[i], .index = i };
		link_open(&links[i], o);
		link_putf(&links[i], "SUB _INBOX.f%u 1\r\n", i);
		link_sync(&links[i]);
	}
	uint64_t begin = now_ns(), last = begin;
	for (unsigned i = 0; i < o->clients; i++) fetch_ask(&fetchers[i], o);
	while (fetched < total) {
		uint64_t got = 0;
		for (unsigned i = 0; i < o->clients; i++) {
			link_flush(&links[i]);
			got += fetch_some(&fetchers[i], o);
			link_flush(&links[i]);
		}
		fetched += got;
		if (got) last = now_ns();
		if (now_ns() - last > 30000000000u)
			die("nothing was delivered for 30 s, %llu are missing", (unsigned long long)(total - fetched));
		if (!got) links_wait(links, o->clients, 1000);
	}
	for (unsigned i = 0; i < o->clients; i++) {
		while (!link_flush(&links[i])) links_wait(&links[i], 1, 1000);
	}
	while (!consumer_is_done(&control, o)) {
		if (now_ns() - last > 30000000000u) die("acks were sent but not accepted within 30 s");
	}
	double elapsed = (double)(now_ns() - begin) / 1e9;
	printf("{\"mode\":\"fetch\",\"fetchers\":%u,\"batch\":%u,\"messages\":%llu,\"seconds\":%.3f,\"rate\":%.0f}\n",
		o->clients, o->batch, (unsigned long long)fetched, elapsed, (double)fetched / elapsed);
	for (unsigned i = 0; i < o->clients; i++) link_close(&links[i]);
	link_close(&control);
	free(links);
	free(fetchers);
}
