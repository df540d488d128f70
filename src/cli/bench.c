/* SPDX-License-Identifier: Apache-2.0 */
/* `thebes bench`: what a user sees of a server's speed, from one process. Comparisons with other servers are in tests/bench. */
#include "cli_inside.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "thebes/station.h"

struct lane { /* one publishing connection */
	struct link link;
	uint64_t sent, acked, errors, wanted;
	uint64_t *sent_ns; /* owned: when each message of the window went */
};

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void report(
	const struct options *o, const char *what, uint64_t msgs, uint64_t ns, uint64_t *latency, uint64_t count)
{
	double seconds = (double)ns / 1e9, rate = seconds > 0 ? (double)msgs / seconds : 0;
	double at[3] = { 0 };
	static const double q[3] = { 0.5, 0.99, 0.999 };
	if (count) {
		qsort(latency, count, sizeof *latency, by_number);
		for (int i = 0; i < 3; i++) at[i] = (double)latency[(uint64_t)(q[i] * (double)(count - 1))] / 1e6;
	}
	const char *fmt =
		o->json ? "{\"bench\":\"%s\",\"msgs\":%llu,\"msgs_per_s\":%.0f,\"mb_per_s\":%.1f,\"p50_ms\":%.3f,\"p99_"
			  "ms\":%.3f,\"p99_9_ms\":%.3f}\n"
			: "%s: %llu messages, %.0f msgs/s, %.1f MB/s, p50 %.3f ms, p99 %.3f ms, p99.9 %.3f ms\n";
	(void)printf(fmt, what, (unsigned long long)msgs, rate, rate * (double)o->size / 1e6, at[0], at[1], at[2]);
}

static bool check(const struct link *l, const struct options *o)
{
	if (!input_fits(l, o, "a message of --size", o->size)) return false;
	if (o->msgs && o->publishers && o->publishers <= 256 && o->window && o->window <= 1000000 && o->size <= 8 * MIB)
		return true;
	return cli_misused(o, "bench: --msgs and --window from 1, --publishers 1 to 256, --size up to 8MiB") == 0;
}

/* ---- core: one publisher, one subscriber; latency is that of the last message of each batch ---- */

int cli_bench_core(struct link *l, const struct options *o)
{
	if (!check(l, o)) return EXIT_USAGE;
	struct link sub = { .channel.fd = -1 };
	struct wire_op op;
	char subject[64];
	enum { STEP = 1000 };
	uint64_t *latency = mem_alloc((o->msgs / STEP + 1) * sizeof *latency), samples = 0;
	uint8_t *payload = mem_zalloc(o->size + 1);
	(void)snprintf(subject, sizeof subject, "bench.%s", l->inbox + 7);
	bool good = link_open(&sub, o);
	if (!good) (void)cli_fail_link(o, &sub);
	if (good) {
		(void)link_subscribe(&sub, slice_of_str(subject), SLICE_NULL);
		good = link_settle(&sub); /* from then on the subscription is there */
		if (!good) (void)cli_fail_link(o, &sub);
	}
	bool is_ready = good;
	uint64_t begin = clock_ns(), got = 0;
	for (uint64_t sent = 0; good && got < o->msgs;) {
		uint64_t step = u64_min(STEP, o->msgs - sent), at = clock_ns();
		for (uint64_t i = 0; i < step; i++)
			link_publish(l, slice_of_str(subject), SLICE_NULL, SLICE_NULL, slice_of(payload, o->size));
		sent += step;
		good = link_flush(l);
		while (good && got < sent) {
			good = link_next(&sub, o->timeout_ns, &op) == LINK_MSG;
			got += good;
		}
		latency[samples++] = clock_ns() - at;
	}
	if (good) {
		report(o, "core", got, clock_ns() - begin, latency, samples);
	} else if (is_ready) {
		(void)cli_fail(o, "stopped after %llu messages: %s", (unsigned long long)got,
			l->why[0]    ? l->why
			: sub.why[0] ? sub.why
				     : "no message in time");
	}
	mem_free(latency);
	mem_free(payload);
	link_close(&sub);
	return good ? 0 : 1;
}

/* ---- station: publishers with a window of unacknowledged messages ---- */

static void lane_send(struct lane *a, const struct options *o, struct slice subject, struct slice payload)
{
	char reply[64];
	while (a->sent < a->wanted && a->sent - a->acked < o->window) {
		int n = snprintf(reply, sizeof reply, "%s.b.%llu", a->link.inbox, (unsigned long long)a->sent);
		a->sent_ns[a->sent % o->window] = clock_ns();
		link_publish(&a->link, subject, slice_of(reply, (size_t)n), SLICE_NULL, payload);
		a->sent++;
	}
}

static bool lane_take(struct lane *a, const struct options *o, uint64_t *latency, uint64_t *count)
{
	struct wire_op op;
	enum link_next r;
	while ((r = link_next(&a->link, 0, &op)) == LINK_MSG) {
		ptrdiff_t dot = -1;
		for (size_t i = op.subject.n; i-- > 0 && dot < 0;)
			if (op.subject.p[i] == '.') dot = (ptrdiff_t)i;
		uint64_t number;
		if (dot < 0 || slice_to_u64(slice_from(op.subject, (size_t)dot + 1), &number) != OK) continue;
		latency[(*count)++] = clock_ns() - a->sent_ns[number % o->window];
		a->acked++;
		a->errors += op.payload.n > 9 && memcmp(op.payload.p, "{\"error\":", 9) == 0;
	}
	return r != LINK_BROKEN;
}

static bool lanes_run(struct lane *lanes, unsigned n, const struct options *o, struct slice subject,
	struct slice payload, uint64_t *latency, uint64_t *count)
{
	uint64_t idle_since = clock_ns(), before = 0;
	for (;;) {
		struct pollfd fds[256];
		bool done = true;
		for (unsigned i = 0; i < n; i++) {
			lane_send(&lanes[i], o, subject, payload);
			if (!link_flush(&lanes[i].link) || !lane_take(&lanes[i], o, latency, count))
				return cli_fail_link(o, &lanes[i].link) == 0;
			done = done && lanes[i].acked == lanes[i].wanted;
			fds[i] = (struct pollfd) { .fd = lanes[i].link.channel.fd, .events = POLLIN };
		}
		if (done) return true;
		if (*count != before) idle_since = clock_ns();
		before = *count;
		if (clock_ns() - idle_since > o->timeout_ns)
			return cli_fail(o, "no acknowledgement in time after %llu messages",
				       (unsigned long long)*count) == 0;
		(void)poll(fds, n, 10);
	}
}

int cli_bench_station(struct link *l, const struct options *o)
{
	if (!check(l, o)) return EXIT_USAGE;
	char stream[64], subject[80];
	unsigned n = (unsigned)o->publishers;
	struct lane *lanes = mem_zalloc(n * sizeof *lanes);
	uint64_t *latency = mem_alloc((o->msgs + 1) * sizeof *latency), count = 0, errors = 0;
	uint8_t *payload = mem_zalloc(o->size + 1);
	(void)snprintf(stream, sizeof stream, "bench-%s", l->inbox + 7);
	(void)snprintf(subject, sizeof subject, "STREAM.CREATE.%s", stream);
	json_t *body = json_pack("{s:s,s:[s]}", "name", stream, "subjects", stream),
	       *made = api_request(l, o, subject, body, 0, NULL);
	bool good = made != NULL;
	for (unsigned i = 0; i < n && good; i++) {
		char pattern[64];
		lanes[i].link.channel.fd = -1;
		good = link_open(&lanes[i].link, o);
		if (!good) {
			(void)cli_fail_link(o, &lanes[i].link);
			break;
		}
		(void)snprintf(pattern, sizeof pattern, "%s.b.*", lanes[i].link.inbox);
		(void)link_subscribe(&lanes[i].link, slice_of_str(pattern), SLICE_NULL);
		lanes[i].wanted = o->msgs / n + (i < o->msgs % n);
		lanes[i].sent_ns = mem_alloc(o->window * sizeof(uint64_t));
	}
	uint64_t begin = clock_ns();
	if (good) good = lanes_run(lanes, n, o, slice_of_str(stream), slice_of(payload, o->size), latency, &count);
	uint64_t took = clock_ns() - begin;
	for (unsigned i = 0; i < n; i++) {
		errors += lanes[i].errors;
		if (lanes[i].sent_ns) link_close(&lanes[i].link);
		mem_free(lanes[i].sent_ns);
	}
	if (good) report(o, "station", count, took, latency, count);
	if (errors) good = cli_fail(o, "%llu messages were refused", (unsigned long long)errors) == 0;
	(void)snprintf(subject, sizeof subject, "STREAM.DELETE.%s", stream);
	if (made) json_decref(api_request(l, o, subject, NULL, 0, NULL));
	json_decref(made);
	mem_free(lanes);
	mem_free(latency);
	mem_free(payload);
	return good ? 0 : 1;
}
