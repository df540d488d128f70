/* SPDX-License-Identifier: Apache-2.0 */
/* format — one line as nats-server writes it, because test harnesses and log shippers read it (spec §3.6):
 *   [4711] 2026/11/22 06:05:30.431902 [INF] Server is ready */
#include "thebes/diag.h"

static const struct level_look {
	const char *label, *colour;
} level_looks[] = {
	[DIAG_FATAL] = { "FTL", "31" },
	[DIAG_ERROR] = { "ERR", "31" },
	[DIAG_WARN] = { "WRN", "0;93" },
	[DIAG_INFO] = { "INF", "32" },
	[DIAG_DEBUG] = { "DBG", "36" },
	[DIAG_TRACE] = { "TRC", "33" },
};

/* "2026/11/22 06:05:30.431902 ", made of the RFC 3339 text with the offset already in the value. */
static void format_time(struct buf *out, int64_t wall_ns)
{
	struct buf text = { 0 };
	time_print(&text, wall_ns);
	ASSERT(text.n >= sizeof "2026-11-22T06:05:30" - 1);
	text.p[4] = text.p[7] = '/';
	text.p[10] = ' ';
	int64_t of_second = wall_ns % (int64_t)NS_PER_S;
	if (of_second < 0) of_second += (int64_t)NS_PER_S;
	buf_printf(out, "%.19s.%06d ", (const char *)text.p, (int)(of_second / (int64_t)NS_PER_US));
	buf_deinit(&text);
}

void diag_format_nats(
	struct buf *out, const struct diag_format *f, int64_t wall_ns, enum diag_level level, struct slice line)
{
	ASSERT((unsigned)level < COUNT_OF(level_looks));
	const struct level_look *look = &level_looks[level];
	buf_printf(out, "[%d] ", f->pid);
	if (f->has_time) format_time(out, wall_ns + f->utc_offset_s * (int64_t)NS_PER_S);
	if (f->has_colour)
		buf_printf(out, "[\x1b[%sm%s\x1b[0m] ", look->colour, look->label);
	else
		buf_printf(out, "[%s] ", look->label);
	buf_append_slice(out, line);
	buf_append_byte(out, '\n');
}
