/* SPDX-License-Identifier: Apache-2.0 */
/* Core NATS: one connection publishes, another receives; and request/reply, one at a time.
 *
 * Publishing sends whole pieces of one prepared text, and what arrives is compared with the text that must arrive, so that the generator costs
 * little beside the system calls and still looks at every byte. At most INFLIGHT_BYTES are on the way: no server is asked to buffer more. */
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { PIECE_BYTES = 256 * 1024, INFLIGHT_BYTES = 8 << 20 };

/* A text that repeats itself: frames of `frame_n` bytes, `whole` of them in `text`, which begins at a frame and is longer than a piece. */
struct tape {
	char *text;
	size_t frame_n, text_n;
	uint64_t at; /* bytes sent or received so far */
};

static void tape_make(struct tape *t, const char *frame, size_t frame_n)
{
	size_t frames = PIECE_BYTES / frame_n + 2;
	*t = (struct tape) { .text = malloc(frames * frame_n), .frame_n = frame_n, .text_n = frames * frame_n };
	if (!t->text) die("out of memory");
	for (size_t i = 0; i < frames; i++) memcpy(t->text + i * frame_n, frame, frame_n);
}

struct pair {
	struct link pub, sub;
	struct tape out, in;
	uint64_t inflight_max; /* messages */
	bool pong;             /* the server asked; owed at the next frame's end */
};

static uint64_t sent(const struct pair *p) { return p->out.at / p->out.frame_n; }
static uint64_t received(const struct pair *p) { return p->in.at / p->in.frame_n; }

static void pair_open(struct pair *p, const struct options *o)
{
	size_t cap = o->size + 128;
	char *frame = malloc(cap), *body = malloc(o->size + 1);
	if (!frame || !body) die("out of memory");
	for (unsigned i = 0; i < o->size; i++) body[i] = (char)('a' + i % 26);
	int head = snprintf(frame, cap, "PUB load.core %u\r\n", o->size);
	memcpy(frame + head, body, o->size);
	memcpy(frame + head + o->size, "\r\n", 2);
	tape_make(&p->out, frame, (size_t)head + o->size + 2);
	head = snprintf(frame, cap, "MSG load.core 1 %u\r\n", o->size);
	memcpy(frame + head, body, o->size);
	memcpy(frame + head + o->size, "\r\n", 2);
	tape_make(&p->in, frame, (size_t)head + o->size + 2);
	free(frame);
	free(body);
	p->inflight_max = INFLIGHT_BYTES / p->out.frame_n;
	link_open(&p->sub, o);
	link_open(&p->pub, o);
	link_putf(&p->sub, "SUB load.core 1\r\n");
	link_sync(&p->sub);
}

static void pair_close(struct pair *p)
{
	link_close(&p->pub);
	link_close(&p->sub);
	free(p->out.text);
	free(p->in.text);
}

/* Sends pieces until the kernel or the limit says enough. Returns whether anything went out. */
static bool publish_some(struct pair *p, uint64_t total_max)
{
	struct tape *t = &p->out;
	bool any = false;
	for (unsigned round = 0; round < 8; round++) {
		uint64_t limit = received(p) + p->inflight_max;
		if (limit > total_max) limit = total_max;
		uint64_t allowed = limit * t->frame_n > t->at ? limit * t->frame_n - t->at : 0;
		size_t offset = t->at % t->frame_n, n = PIECE_BYTES < allowed ? PIECE_BYTES : (size_t)allowed;
		if (p->pong && !offset) {
			link_put(&p->pub, "PONG\r\n", 6);
			if (!link_flush(&p->pub)) return any;
			p->pong = false;
		}
		if (p->pong) n = t->frame_n - offset;
		if (!n) return any;
		ssize_t r = send(p->pub.fd, t->text + offset, n, MSG_NOSIGNAL);
		if (r < 0 && (errno == EAGAIN || errno == EINTR)) return any;
		if (r < 0) die("send: %s", strerror(errno));
		t->at += (uint64_t)r;
		any = true;
		if ((size_t)r < n) return true;
	}
	return any;
}

/* Compares what arrived with what must arrive; between two frames a PING is welcome. Returns whether anything was read. */
static bool receive_some(struct pair *p)
{
	struct tape *t = &p->in;
	struct link *l = &p->sub;
	if (!link_read(l)) return false;
	while (l->in_at < l->in_n) {
		size_t offset = t->at % t->frame_n, n = l->in_n - l->in_at;
		if (n > t->text_n - offset) n = t->text_n - offset;
		const char *got = l->in + l->in_at;
		if (!memcmp(got, t->text + offset, n)) {
			t->at += n;
			l->in_at += n;
			continue;
		}
		size_t same = 0;
		while (got[same] == t->text[offset + same]) same++;
		t->at += same;
		l->in_at += same;
		if (t->at % t->frame_n == 0 && n - same < 6) return true; /* perhaps a PING of which more comes */
		if (t->at % t->frame_n || memcmp(got + same, "PING\r\n", 6))
			die("message %llu is not the one that was sent: %.*s", (unsigned long long)received(p),
				(int)(n - same < 80 ? n - same : 80), got + same);
		l->in_at += 6;
		link_put(l, "PONG\r\n", 6);
		link_flush(l);
	}
	return true;
}

/* The publisher's connection is only ever asked for a PONG. */
static void listen_some(struct pair *p)
{
	if (!link_read(&p->pub)) return;
	p->pong = p->pong || memmem(p->pub.in, p->pub.in_n, "PING\r\n", 6);
	if (memmem(p->pub.in, p->pub.in_n, "-ERR", 4)) die("the server says %.*s", (int)p->pub.in_n, p->pub.in);
	p->pub.in_at = p->pub.in_n = 0;
}

static void pair_wait(struct pair *p, bool may_send, int timeout_ms)
{
	struct pollfd f[2] = { { .fd = p->sub.fd, .events = POLLIN }, { .fd = p->pub.fd, .events = POLLIN } };
	if (may_send) f[1].events |= POLLOUT;
	if (poll(f, 2, timeout_ms) < 0 && errno != EINTR) die("poll: %s", strerror(errno));
	if (f[1].revents & POLLIN) listen_some(p);
}

/* One turn: read, send, and wait when neither did anything. */
static void pair_turn(struct pair *p, uint64_t total_max)
{
	bool read = receive_some(p), wrote = publish_some(p, total_max);
	if (read || wrote) return;
	bool may_send = sent(p) < total_max && sent(p) < received(p) + p->inflight_max;
	pair_wait(p, may_send, 1000);
}

void run_core(const struct options *o)
{
	struct pair p = { 0 };
	pair_open(&p, o);
	uint64_t total_max = o->count ? o->count : UINT64_MAX / p.out.frame_n;
	uint64_t start = now_ns(), warm = start + (uint64_t)(o->warmup * 1e9);
	while (now_ns() < warm && received(&p) < total_max / 10) pair_turn(&p, total_max);
	uint64_t begin = now_ns(), first = received(&p), end = begin + (uint64_t)(o->seconds * 1e9);
	while (now_ns() < end && received(&p) < total_max) pair_turn(&p, total_max);
	double elapsed = (double)(now_ns() - begin) / 1e9;
	uint64_t counted = received(&p) - first;
	/* Everything that was sent must still arrive: a rate that was bought with losses does not count. */
	uint64_t total = sent(&p) + (p.out.at % p.out.frame_n != 0);
	for (uint64_t quiet = now_ns() + 10000000000u; received(&p) < total;) {
		pair_turn(&p, total);
		if (now_ns() > quiet)
			die("%llu of %llu messages did not arrive", (unsigned long long)(total - received(&p)),
				(unsigned long long)total);
	}
	double rate = (double)counted / elapsed;
	printf("{\"mode\":\"core\",\"size\":%u,\"messages\":%llu,\"seconds\":%.3f,\"rate\":%.0f,\"mb_per_s\":%.1f}\n",
		o->size, (unsigned long long)counted, elapsed, rate, rate * o->size / 1e6);
	pair_close(&p);
}

/* ---- request and reply ---- */

static void answer(struct link *l, const char *body, unsigned size)
{
	struct msg m;
	if (!link_read(l)) return;
	while (link_next(l, &m)) {
		if (m.payload_n != size) die("a request of %zu bytes came instead of %u", m.payload_n, size);
		link_putf(l, "PUB %.*s %u\r\n", (int)m.reply_n, m.reply, size);
		link_put(l, body, size);
		link_put(l, "\r\n", 2);
	}
	link_flush(l);
}

static bool answered(struct link *l, unsigned size)
{
	struct msg m;
	if (!link_read(l) || !link_next(l, &m)) return false;
	if (m.headers_n) die("the request found no responder");
	if (m.payload_n != size) die("a reply of %zu bytes came instead of %u", m.payload_n, size);
	return true;
}

void run_request(const struct options *o)
{
	struct link links[2] = { 0 }; /* who asks, who answers */
	char *body = malloc(o->size + 1);
	struct hist *h = calloc(1, sizeof *h);
	if (!body || !h) die("out of memory");
	memset(body, 'x', o->size);
	link_open(&links[0], o);
	link_open(&links[1], o);
	link_putf(&links[1], "SUB load.service 1\r\n");
	link_putf(&links[0], "SUB _INBOX.load.r 1\r\n");
	link_sync(&links[0]);
	link_sync(&links[1]);
	uint64_t start = now_ns(), begin = start + (uint64_t)(o->warmup * 1e9),
		 end = begin + (uint64_t)(o->seconds * 1e9);
	uint64_t at = start;
	while (at < end && (!o->count || h->count < o->count)) {
		link_putf(&links[0], "PUB load.service _INBOX.load.r %u\r\n", o->size);
		link_put(&links[0], body, o->size);
		link_put(&links[0], "\r\n", 2);
		link_flush(&links[0]);
		while (!answered(&links[0], o->size)) {
			answer(&links[1], body, o->size);
			/* No waiting: on a virtual machine the time to wake a sleeping process would hide the server's. */
			if (now_ns() - at > 10000000000u) die("a request was not answered within 10 s");
		}
		uint64_t done = now_ns();
		if (at >= begin) hist_add(h, done - at);
		at = done;
	}
	printf("{\"mode\":\"request\",\"size\":%u,\"requests\":%llu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,"
	       "\"max_us\":%.1f}\n",
		o->size, (unsigned long long)h->count, hist_us(h, 0.5), hist_us(h, 0.99), hist_us(h, 0.999),
		(double)h->max / 1000);
	link_close(&links[0]);
	link_close(&links[1]);
	free(body);
	free(h);
}
