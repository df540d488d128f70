/* SPDX-License-Identifier: Apache-2.0 */
/* advisory — an envelope (type, id, timestamp), members, the way out. */
#include "thebes/advisory.h"

#include <stdarg.h>

#include "consumer_internal.h"

bool advisory_begin(
	struct advisory *a, struct io *io, struct account *account, const char *type, const char *subject, ...)
{
	va_list ap;
	*a = (struct advisory) { .account = account };
	buf_append_str(&a->subject, "$JS.EVENT.");
	va_start(ap, subject);
	buf_vprintf(&a->subject, subject, ap);
	va_end(ap);
	if (!router_has_interest(&account->router, buf_slice(&a->subject), SLICE_NULL)) {
		buf_deinit(&a->subject);
		return false;
	}
	uint64_t id = io_random_u64(io);
	buf_printf(&a->body, "{\"type\":\"io.nats.jetstream.%s\",\"id\":\"%016llX%06X\",\"timestamp\":\"", type,
		(unsigned long long)id, (unsigned)(io_random_u64(io) & 0xffffff));
	time_print(&a->body, io_wall_ns(io));
	buf_append_byte(&a->body, '"');
	return true;
}

void advisory_text(struct advisory *a, const char *key, struct slice v)
{
	buf_printf(&a->body, ",\"%s\":", key);
	json_string_append(&a->body, v);
}

void advisory_number(struct advisory *a, const char *key, uint64_t v)
{
	buf_printf(&a->body, ",\"%s\":%llu", key, (unsigned long long)v);
}

void advisory_send(struct advisory *a)
{
	buf_append_byte(&a->body, '}');
	struct msg m = { .subject = buf_slice(&a->subject), .payload = buf_slice(&a->body), .account = a->account };
	(void)router_publish(&a->account->router, &m);
	buf_deinit(&a->subject);
	buf_deinit(&a->body);
}
