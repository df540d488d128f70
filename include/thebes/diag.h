/* SPDX-License-Identifier: Apache-2.0 */
/* diag — what people and machines see of a node: log lines, the trace ring, counters, histograms, failpoints.
 * Everything is per node (struct diag by value); nothing here does io but the sink that it is given.
 * diag_line, trace and counters are for the loop thread; a worker hands its findings to the loop in its job. */
#ifndef THEBES_DIAG_H
#define THEBES_DIAG_H

#include "thebes/base.h"

enum diag_level {
	DIAG_FATAL, /* FTL: the process ends */
	DIAG_ERROR, /* ERR: someone must act */
	DIAG_WARN,  /* WRN: handled */
	DIAG_INFO,  /* INF: lifecycle */
	DIAG_DEBUG, /* DBG: the rest */
	DIAG_TRACE, /* TRC: protocol */
};

enum counter {
#define COUNTER(name, text) COUNTER_##name,
#include "thebes/counters.def"
#undef COUNTER
	COUNTER_COUNT
};
enum histogram_id {
#define HISTOGRAM(name, unit, text) HISTOGRAM_##name,
#include "thebes/histograms.def"
#undef HISTOGRAM
	HISTOGRAM_COUNT
};
enum fault {
#define FAULT(name, text) FAULT_##name,
#include "thebes/fault.def"
#undef FAULT
	FAULT_COUNT
};

/* Log-linear buckets (8 per power of two): value -> count, error at most 12.5 %. Values from 2^43 on share the last
 * bucket. */
enum { HISTOGRAM_BUCKETS = 8 * 41 };
struct histogram {
	uint64_t count, sum, max;
	uint32_t bucket[HISTOGRAM_BUCKETS];
};
void histogram_add(struct histogram *h, uint64_t value);
/* Upper bound of the bucket that holds quantile q (0..1); 0 when empty. */
uint64_t histogram_quantile(const struct histogram *h, double q);

/* A failpoint: off, once, every n-th time, or always. */
struct failpoint {
	uint32_t every, seen; /* every == 0: off; 1: always */
	bool once;
};

enum { DIAG_TRACE_RING = 1024 };
struct trace_record {
	uint64_t at_ns;
	const char *what; /* static string */
	uint64_t a, b, c;
};

/* One finished line without newline; level for colour and syslog. */
typedef void diag_sink_fn(void *arg, enum diag_level level, const char *line, size_t n);

struct diag {
	enum diag_level level;
	diag_sink_fn *sink;
	void *sink_arg;
	uint64_t counter[COUNTER_COUNT];
	struct histogram *histogram[HISTOGRAM_COUNT]; /* owned, made on first use */
	struct failpoint fault[FAULT_COUNT];
	struct trace_record *trace; /* owned, ring of DIAG_TRACE_RING */
	uint64_t trace_count;
	uint64_t now_ns; /* set by the node each turn: stamps the ring */
};
void diag_init(struct diag *d, enum diag_level level, diag_sink_fn *sink, void *arg);
void diag_deinit(struct diag *d);

/* "room noun what happened, what we did": the place that knows most says it once. Control characters, which only a
 * client's text can bring in, reach the sink as "\x0a". */
void diag_line(struct diag *d, enum diag_level level, const char *fmt, ...) printf_like(3, 4);
static inline bool diag_is_on(const struct diag *d, enum diag_level level) { return level <= d->level; }

static inline void diag_count(struct diag *d, enum counter c) { d->counter[c]++; }
static inline void diag_add(struct diag *d, enum counter c, uint64_t n) { d->counter[c] += n; }
void diag_measure(struct diag *d, enum histogram_id id, uint64_t value);
static inline void diag_trace(struct diag *d, const char *what, uint64_t a, uint64_t b, uint64_t c)
{
	if (!d->trace) return;
	d->trace[d->trace_count++ % DIAG_TRACE_RING] = (struct trace_record) { d->now_ns, what, a, b, c };
}
/* Prints the ring, oldest first, to stderr; an assert_print_fn. */
void diag_trace_print(void *diag);

/* True when the failpoint fires now. Costs a load when off. */
bool diag_fault_slow(struct diag *d, enum fault f);
static inline bool diag_fault(struct diag *d, enum fault f) { return d->fault[f].every && diag_fault_slow(d, f); }
/* "off", "once", "always", "every:N". ERR_NOT_FOUND for an unknown name, ERR_PARSE. */
must_check enum err diag_fault_set(struct diag *d, struct slice name, struct slice how);
const char *diag_fault_name(enum fault f);
const char *diag_counter_name(enum counter c);
const char *diag_histogram_name(enum histogram_id id);
const char *diag_histogram_unit(enum histogram_id id);

/* How nats-server writes a line (spec §3.6), for the sink that the node makes. */
struct diag_format {
	int pid;
	bool has_time;        /* logtime */
	bool has_colour;      /* the output is a terminal */
	int32_t utc_offset_s; /* of local time; 0 with logtime_utc */
};
/* Appends "[pid] 2026/11/22 06:05:30.431902 [INF] line\n". */
void diag_format_nats(
	struct buf *out, const struct diag_format *f, int64_t wall_ns, enum diag_level level, struct slice line);

#endif
