/* SPDX-License-Identifier: Apache-2.0 */
/* diag — lines for people, the ring for crashes, counters.
 *
 * Happy path: diag_line("net listener 127.0.0.1:4222 open") -> level on? -> one clean line -> the sink that the node
 * gave. */
#include <inttypes.h>
#include <stdio.h>

#include "thebes/diag.h"

void diag_init(struct diag *d, enum diag_level level, diag_sink_fn *sink, void *arg)
{
	*d = (struct diag) { .level = level, .sink = sink, .sink_arg = arg };
	d->trace = mem_zalloc(DIAG_TRACE_RING * sizeof *d->trace);
}

void diag_deinit(struct diag *d)
{
	for (size_t i = 0; i < COUNT_OF(d->histogram); i++) mem_free(d->histogram[i]);
	mem_free(d->trace);
	*d = (struct diag) { 0 };
}

/* ---- lines ---- */

void diag_line(struct diag *d, enum diag_level level, const char *fmt, ...)
{
	if (!diag_is_on(d, level) || !d->sink) return;
	struct buf raw = { 0 }, line = { 0 };
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(&raw, fmt, ap);
	va_end(ap);
	/* Names and subjects of clients come through here: they must not begin a line of their own or steer a
	 * terminal. */
	buf_append_clean(&line, buf_slice(&raw));
	d->sink(d->sink_arg, level, buf_str(&line), line.n);
	buf_deinit(&raw);
	buf_deinit(&line);
}

/* ---- counters and histograms ---- */

static const char *const counter_names[] = {
#define COUNTER(name, text) #name,
#include "thebes/counters.def"
#undef COUNTER
};

const char *diag_counter_name(enum counter c)
{
	ASSERT((unsigned)c < COUNT_OF(counter_names));
	return counter_names[c];
}

void diag_measure(struct diag *d, enum histogram_id id, uint64_t value)
{
	ASSERT((unsigned)id < COUNT_OF(d->histogram));
	if (!d->histogram[id]) d->histogram[id] = NEW(struct histogram);
	histogram_add(d->histogram[id], value);
}

static const struct histogram_row {
	const char *name, *unit;
} histogram_rows[] = {
#define HISTOGRAM(name, unit, text) { #name, unit },
#include "thebes/histograms.def"
#undef HISTOGRAM
};

const char *diag_histogram_name(enum histogram_id id)
{
	ASSERT((unsigned)id < COUNT_OF(histogram_rows));
	return histogram_rows[id].name;
}

const char *diag_histogram_unit(enum histogram_id id)
{
	ASSERT((unsigned)id < COUNT_OF(histogram_rows));
	return histogram_rows[id].unit;
}

/* ---- the ring ---- */

void diag_trace_print(void *diag)
{
	const struct diag *d = diag;
	if (!d->trace) return;
	uint64_t count = u64_min(d->trace_count, DIAG_TRACE_RING);
	(void)fprintf(
		stderr, "trace: the last %" PRIu64 " of %" PRIu64 " records, oldest first\n", count, d->trace_count);
	for (uint64_t i = d->trace_count - count; i < d->trace_count; i++) {
		const struct trace_record *r = &d->trace[i % DIAG_TRACE_RING];
		(void)fprintf(stderr, "trace %" PRIu64 ".%09" PRIu64 " %s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
			r->at_ns / NS_PER_S, r->at_ns % NS_PER_S, r->what, r->a, r->b, r->c);
	}
}
