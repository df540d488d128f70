/* SPDX-License-Identifier: Apache-2.0 */
/* bench_street — what parsing, encoding and routing cost on one core, without any socket. Prints nanoseconds of processor time per
 * operation, the best of ROUNDS short rounds, because what disturbs a round only ever makes it slower. */
#include <stdio.h>
#include <time.h>

#include "thebes/base.h"
#include "thebes/router.h"
#include "thebes/wire.h"

enum { ROUNDS = 60, BUFFER_BYTES = 60000 };

static double now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* `run` does its thing and returns how many operations that were. */
static void measure(const char *name, size_t (*run)(void *arg), void *arg)
{
	double best = 1e18;
	for (int i = 0; i < ROUNDS; i++) {
		double from = now_ns();
		size_t count = run(arg);
		double each = (now_ns() - from) / (double)count;
		if (each < best) best = each;
	}
	printf("%-44s %8.1f ns/op %8.1f M/s\n", name, best, 1e3 / best);
}

/* ---- wire ---- */

static const char *const subjects[] = { "a", "orders.new", "sensor.12.temp", "x.y", "telemetry.device.8812.status",
	"foo", "orders.eu.created", "q.w.e.r.t" };

struct parsing {
	struct buf in;
	struct wire_parser parser;
	size_t sum; /* keeps the compiler from leaving work out */
};

static size_t parse_run(void *arg)
{
	struct parsing *p = arg;
	size_t count = 0;
	for (int i = 0; i < 20; i++) {
		struct slice in = buf_slice(&p->in);
		struct wire_op op;
		while (in.n > 0 && wire_parse(&p->parser, in, &op) == WIRE_OP) {
			p->sum += op.subject.n + op.payload.n;
			in = slice_from(in, op.used);
			count++;
		}
	}
	return count;
}

static void bench_parse(
	const char *name, size_t subject_count, const char *reply, const char *header, size_t payload_bytes)
{
	static const uint8_t body[1024];
	uint8_t line[2048];
	struct parsing p = {
		.parser = { .verbs = WIRE_FROM_CLIENT, .control_line_max = 4096, .payload_max = WIRE_PAYLOAD_MAX }
	};
	for (size_t i = 0; p.in.n < BUFFER_BYTES; i++) {
		struct wire_msg m = { .subject = slice_of_str(subjects[i % subject_count]),
			.reply = slice_of_str(reply),
			.header = slice_of_str(header),
			.payload = slice_of(body, payload_bytes) };
		buf_append(&p.in, line, wire_pub_encode(line, &m));
	}
	measure(name, parse_run, &p);
	buf_deinit(&p.in);
}

static size_t encode_run(void *arg)
{
	const struct wire_msg *m = arg;
	static const int times = 50000;
	uint8_t to[512];
	size_t n = 0;
	for (int i = 0; i < times; i++) {
		n += wire_msg_encode(to, m);
		__asm__ volatile("" : : "r"(to) : "memory");
	}
	return n ? (size_t)times : 0;
}

/* ---- router ---- */

static bool take(struct sink *k, struct sub *s, const struct msg *m)
{
	(void)k;
	(void)s;
	return m->subject.n > 0;
}

struct routing {
	struct router r;
	struct sink sink;
	struct sub *subs;
	size_t sub_count;
	char (*names)[32]; /* what is published to, in turn */
	size_t name_count;
};

static size_t route_run(void *arg)
{
	struct routing *b = arg;
	static const size_t times = 50000;
	size_t taken = 0;
	for (size_t i = 0, at = 0; i < times; i++, at = at + 1 == b->name_count ? 0 : at + 1) {
		struct msg m = { .subject = slice_of_str(b->names[at]), .payload = SLICE("0123456789abcdef") };
		taken += router_publish(&b->r, &m);
	}
	return taken ? times : 0;
}

static void routing_open(struct routing *b, size_t sub_count, const char *format, const char *queue)
{
	static const struct sink_ops ops = { .deliver = take };
	*b = (struct routing) { .sink = { &ops }, .subs = mem_zalloc((sub_count + 1) * sizeof(struct sub)) };
	router_init(&b->r, 1);
	char name[64];
	for (; b->sub_count < sub_count; b->sub_count++) {
		struct sub *s = &b->subs[b->sub_count];
		s->sink = &b->sink;
		(void)snprintf(name, sizeof name, format, (int)b->sub_count);
		if (router_subscribe(&b->r, s, slice_of_str(name), slice_of_str(queue)) != OK) UNREACHABLE();
	}
}

static void routing_close(struct routing *b)
{
	for (size_t i = 0; i < b->sub_count; i++) router_unsubscribe(&b->subs[i]);
	router_deinit(&b->r);
	mem_free(b->subs);
	mem_free(b->names);
}

static void bench_route(const char *name, size_t sub_count, const char *sub_format, const char *queue, size_t names,
	const char *name_format)
{
	struct routing b;
	routing_open(&b, sub_count, sub_format, queue);
	b.names = mem_zalloc(names * sizeof *b.names);
	for (b.name_count = 0; b.name_count < names; b.name_count++)
		(void)snprintf(b.names[b.name_count], sizeof b.names[0], name_format, (int)b.name_count);
	measure(name, route_run, &b);
	routing_close(&b);
}

struct churn {
	struct routing *b;
	struct sub extra;
};

static size_t churn_run(void *arg)
{
	struct churn *c = arg;
	static const int times = 20000;
	char name[32];
	for (int i = 0; i < times; i++) {
		int n = snprintf(name, sizeof name, "_INBOX.x%d.*", i);
		if (router_subscribe(&c->b->r, &c->extra, slice_of(name, (size_t)n), SLICE_NULL) != OK) UNREACHABLE();
		router_unsubscribe(&c->extra);
	}
	return (size_t)times;
}

static void bench_churn(void)
{
	struct routing b;
	routing_open(&b, 100000, "_INBOX.%022d.*", "");
	struct churn c = { .b = &b, .extra.sink = &b.sink };
	measure("subscribe and end an inbox among 100,000", churn_run, &c);
	routing_close(&b);
}

int main(void)
{
	bench_parse("parse PUB 16 B, one subject", 1, NULL, NULL, 16);
	bench_parse("parse PUB 16 B, eight subjects", 8, NULL, NULL, 16);
	bench_parse("parse PUB 128 B, eight subjects", 8, NULL, NULL, 128);
	bench_parse("parse PUB 16 B with reply", 8, "_INBOX.abcdefghijklmnopqrstuv.12345", NULL, 16);
	bench_parse("parse HPUB 16 B", 8, NULL, "NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n", 16);
	struct wire_msg m = {
		.subject = SLICE("orders.eu.created"), .sid = SLICE("17"), .payload = SLICE("0123456789abcdef")
	};
	measure("encode MSG 16 B", encode_run, &m);
	bench_route("route, one subscriber, cached", 1, "orders.eu.created", "", 1, "orders.eu.created");
	bench_route("route, one of eight literal subjects, cached", 8, "orders.eu.%d", "", 8, "orders.eu.%d");
	bench_route("route, through orders.> , 64 subjects, cached", 1, "orders.>", "", 64, "orders.eu.%d");
	bench_route("route, queue group of eight, cached", 8, "orders.eu.created", "q", 1, "orders.eu.created");
	bench_route(
		"route, eight subscribers, cached (per message)", 8, "orders.eu.created", "", 1, "orders.eu.created");
	bench_route("route, through orders.>, never seen before", 1, "orders.>", "", 100000, "orders.eu.%d");
	bench_route("route, 100,000 inboxes in turn", 100000, "_INBOX.%d.*", "", 100000, "_INBOX.%d.1");
	bench_churn();
	return 0;
}
