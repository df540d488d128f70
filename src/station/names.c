/* SPDX-License-Identifier: Apache-2.0 */
/* Station names and their streams (spec memphis §2): internal = lower-cased with '#' for '.', partition n is the stream `NAME$n`. */
#include "station_internal.h"

#include <stdlib.h>

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c; }
static bool is_alnum(uint8_t c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

const char *station_name_problem(struct slice external)
{
	if (external.n == 0) return "Station name can not be empty";
	if (external.n > STATION_NAME_MAX) return "Station name should be under 128 characters";
	for (size_t i = 0; i < external.n; i++) {
		uint8_t c = lower(external.p[i]);
		if (!is_alnum(c) && c != '_' && c != '-' && c != '.')
			return "Only alphanumeric and the '_', '-', '.' characters are allowed in Station";
	}
	if (!is_alnum(lower(external.p[0])) || !is_alnum(lower(external.p[external.n - 1])))
		return "Station name can not start or end with non alphanumeric character";
	return NULL;
}

void station_name_internal(struct buf *b, struct slice external, unsigned partition)
{
	for (size_t i = 0; i < external.n; i++) buf_append_byte(b, external.p[i] == '.' ? '#' : lower(external.p[i]));
	if (partition) buf_printf(b, "$%u", partition);
}

void station_name_external(struct buf *b, struct slice stream_name, unsigned *partition)
{
	size_t n = stream_name.n;
	uint64_t number = 0;
	for (size_t i = n; i-- > 1;) {
		if (stream_name.p[i] != '$') continue;
		if (slice_to_u64(slice_from(stream_name, i + 1), &number) == OK && number > 0 &&
			number <= STATION_PARTITIONS_MAX) {
			n = i;
		} else {
			number = 0;
		}
		break;
	}
	if (partition) *partition = (unsigned)number;
	for (size_t i = 0; i < n; i++) buf_append_byte(b, stream_name.p[i] == '#' ? '.' : stream_name.p[i]);
}

static void append_json_string(struct buf *b, struct slice s)
{
	buf_append_byte(b, '"');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\') buf_append_byte(b, '\\');
		if (s.p[i] < 0x20) {
			buf_printf(b, "\\u%04x", s.p[i]);
		} else {
			buf_append_byte(b, s.p[i]);
		}
	}
	buf_append_byte(b, '"');
}

/* 0: it is not kept by age. */
static int64_t age_ns(const struct station_options *o)
{
	if (o->retention == STATION_ACK_BASED || (o->retention != STATION_AGE && o->retention_value > 0)) return 0;
	if (o->retention != STATION_AGE || o->retention_value <= 0) return (int64_t)SECONDS(3600);
	int64_t most = INT64_MAX / (int64_t)NS_PER_S;
	return (o->retention_value < most ? o->retention_value : most) * (int64_t)NS_PER_S;
}

static void append_retention(struct buf *b, const struct station_options *o)
{
	int64_t value = o->retention_value;
	if (o->retention == STATION_ACK_BASED) {
		buf_append_str(b, ",\"retention\":\"interest\"");
	} else if (value > 0 && o->retention == STATION_MESSAGES) {
		buf_printf(b, ",\"max_msgs\":%lld", (long long)value);
	} else if (value > 0 && o->retention == STATION_BYTES) {
		buf_printf(b, ",\"max_bytes\":%lld", (long long)value);
	} else {
		buf_printf(b, ",\"max_age\":%lld", (long long)age_ns(o));
	}
}

bool station_config(struct stream_config *c, const struct station_options *o, struct js_error *e)
{
	const char *problem = station_name_problem(o->name);
	*c = (struct stream_config) { 0 };
	if (problem) return js_error_set(e, JS_STREAM_CONFIG, "%s", problem);
	if (o->partition < 1 || o->partition > STATION_PARTITIONS_MAX)
		return js_error_set(e, JS_STREAM_CONFIG, "partition out of range");
	int64_t window = o->idempotency_window_ms <= 0    ? 120000
			 : o->idempotency_window_ms < 100 ? 100
							  : o->idempotency_window_ms;
	if (window > 86400000)
		return js_error_set(e, JS_STREAM_CONFIG, "idempotency window can not be longer than 24 hours");
	int64_t age_ms = age_ns(o) / (int64_t)NS_PER_MS;
	if (age_ms && window > age_ms) window = age_ms; /* nothing is remembered longer than it is kept */
	struct buf name = { 0 }, json = { 0 }, subject = { 0 };
	station_name_internal(&name, o->name, o->partition);
	buf_append_str(&json, "{\"name\":");
	append_json_string(&json, buf_slice(&name));
	buf_append_str(&json, ",\"subjects\":[");
	buf_append_slice(&subject, buf_slice(&name));
	buf_append_str(&subject, ".>");
	append_json_string(&json, buf_slice(&subject));
	for (size_t i = 0; i < o->subject_count; i++) {
		buf_append_byte(&json, ',');
		append_json_string(&json, o->subjects[i]);
	}
	buf_printf(&json, "],\"storage\":\"%s\",\"num_replicas\":%d,\"duplicate_window\":%lld",
		o->storage == STREAM_MEMORY ? "memory" : "file", o->replicas > 0 ? o->replicas : 1,
		(long long)window * (long long)NS_PER_MS);
	append_retention(&json, o);
	buf_append_byte(&json, '}');
	bool good = stream_config_parse(c, buf_slice(&json), e);
	buf_deinit(&name);
	buf_deinit(&json);
	buf_deinit(&subject);
	return good;
}
