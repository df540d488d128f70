/* SPDX-License-Identifier: Apache-2.0 */
/* A consumer's configuration: JSON in, checks, JSON out (spec §5.8, texts §9.1). */
#include "consumer_internal.h"

#include <jansson.h>
#include <stdlib.h>

#include "thebes/js_json.h"

static const char *const deliver_names[] = { "all", "last", "new", "by_start_sequence", "by_start_time",
	"last_per_subject", NULL };
static const char *const ack_names[] = { "none", "all", "explicit", NULL };
static const char *const replay_names[] = { "instant", "original", NULL };

enum field_type { F_STRING, F_I64, F_U64, F_INT, F_BOOL, F_ENUM, F_TIME, F_BACKOFF, F_FILTER, F_FILTERS, F_METADATA };
static const struct field {
	const char *key;
	enum field_type type;
	bool always;
	size_t offset;
	const char *const *names;
} fields[] = {
	{ "durable_name", F_STRING, false, offsetof(struct consumer_config, durable), NULL },
	{ "name", F_STRING, false, offsetof(struct consumer_config, name), NULL },
	{ "description", F_STRING, false, offsetof(struct consumer_config, description), NULL },
	{ "deliver_policy", F_ENUM, true, offsetof(struct consumer_config, deliver_policy), deliver_names },
	{ "opt_start_seq", F_U64, false, offsetof(struct consumer_config, opt_start_seq), NULL },
	{ "opt_start_time", F_TIME, false, offsetof(struct consumer_config, opt_start_time_ns), NULL },
	{ "ack_policy", F_ENUM, true, offsetof(struct consumer_config, ack_policy), ack_names },
	{ "ack_wait", F_I64, false, offsetof(struct consumer_config, ack_wait_ns), NULL },
	{ "max_deliver", F_I64, true, offsetof(struct consumer_config, max_deliver), NULL },
	{ "backoff", F_BACKOFF, false, 0, NULL },
	{ "filter_subject", F_FILTER, false, 0, NULL },
	{ "filter_subjects", F_FILTERS, false, 0, NULL },
	{ "replay_policy", F_ENUM, true, offsetof(struct consumer_config, replay_policy), replay_names },
	{ "sample_freq", F_STRING, false, offsetof(struct consumer_config, sample_freq), NULL },
	{ "max_waiting", F_I64, false, offsetof(struct consumer_config, max_waiting), NULL },
	{ "max_ack_pending", F_I64, false, offsetof(struct consumer_config, max_ack_pending), NULL },
	{ "headers_only", F_BOOL, false, offsetof(struct consumer_config, headers_only), NULL },
	{ "max_batch", F_I64, false, offsetof(struct consumer_config, max_batch), NULL },
	{ "max_expires", F_I64, false, offsetof(struct consumer_config, max_expires_ns), NULL },
	{ "max_bytes", F_I64, false, offsetof(struct consumer_config, max_bytes), NULL },
	{ "inactive_threshold", F_I64, false, offsetof(struct consumer_config, inactive_threshold_ns), NULL },
	{ "num_replicas", F_INT, true, offsetof(struct consumer_config, num_replicas), NULL },
	{ "mem_storage", F_BOOL, false, offsetof(struct consumer_config, mem_storage), NULL },
	{ "metadata", F_METADATA, false, offsetof(struct consumer_config, metadata), NULL },
};
/* Push consumers, and what newer servers know: set to more than nothing they would change who gets what. */
static const struct {
	const char *key;
	enum js_error_id id;
} push_fields[] = {
	{ "flow_control", JS_CONSUMER_FLOW_CONTROL_PULL },
	{ "idle_heartbeat", JS_CONSUMER_HEARTBEAT_PULL },
	{ "direct", JS_CONSUMER_DIRECT_PULL },
	{ "rate_limit_bps", JS_CONSUMER_PULL_RATE_LIMIT },
};
static const struct js_refused refused_fields[] = { { "deliver_subject", NULL, NULL }, { "deliver_group", NULL, NULL },
	{ "priority_groups", NULL, NULL }, { "priority_policy", NULL, "none" }, { "priority_timeout", NULL, NULL },
	{ "pause_until", NULL, NULL } };

static void *at(const struct consumer_config *c, const struct field *f) { return (char *)(uintptr_t)c + f->offset; }

void consumer_config_deinit(struct consumer_config *c)
{
	mem_free(c->name);
	mem_free(c->durable);
	mem_free(c->description);
	mem_free(c->sample_freq);
	mem_free(c->metadata);
	for (size_t i = 0; i < c->filter_count; i++) mem_free(c->filters[i]);
	mem_free(c->filters);
	mem_free(c->backoff_ns);
	*c = (struct consumer_config) { 0 };
}

static char *dup_or_null(const char *s) { return s ? mem_strdup(s) : NULL; }

void consumer_config_copy(struct consumer_config *to, const struct consumer_config *from)
{
	*to = *from;
	to->name = dup_or_null(from->name);
	to->durable = dup_or_null(from->durable);
	to->description = dup_or_null(from->description);
	to->sample_freq = dup_or_null(from->sample_freq);
	to->metadata = dup_or_null(from->metadata);
	to->filters = mem_zalloc((from->filter_count + 1) * sizeof *to->filters);
	for (size_t i = 0; i < from->filter_count; i++) to->filters[i] = mem_strdup(from->filters[i]);
	to->backoff_ns = mem_alloc((from->backoff_count + 1) * sizeof *to->backoff_ns);
	if (from->backoff_count) memcpy(to->backoff_ns, from->backoff_ns, from->backoff_count * sizeof *to->backoff_ns);
}

/* ---- in ---- */

static bool bad_type(struct js_error *e, const char *key, const char *want)
{
	return js_error_set(e, JS_INVALID_JSON, "json: field ConsumerConfig.%s must be %s", key, want);
}

static bool add_filter(struct consumer_config *c, json_t *v, struct js_error *e)
{
	if (!json_is_string(v)) return bad_type(e, "filter_subject", "a string");
	c->filters = mem_realloc(c->filters, (c->filter_count + 1) * sizeof(char *));
	c->filters[c->filter_count++] = mem_strdup(json_string_value(v));
	return true;
}

static bool parse_list(struct consumer_config *c, const struct field *f, json_t *v, struct js_error *e)
{
	if (!json_is_array(v)) return bad_type(e, f->key, "an array");
	size_t n = json_array_size(v);
	if (f->type == F_FILTERS) {
		if (n == 0) return true;
		if (c->filter_count) return js_error_set(e, JS_CONSUMER_FILTERS_BOTH, NULL);
		c->filters_is_list = true;
		for (size_t i = 0; i < n; i++)
			if (!add_filter(c, json_array_get(v, i), e)) return false;
		return true;
	}
	c->backoff_ns = mem_alloc((n + 1) * sizeof *c->backoff_ns);
	for (size_t i = 0; i < n; i++) {
		if (!json_is_integer(json_array_get(v, i))) return bad_type(e, f->key, "an array of integers");
		c->backoff_ns[c->backoff_count++] = json_integer_value(json_array_get(v, i));
	}
	return true;
}

static bool parse_string(struct consumer_config *c, const struct field *f, json_t *v, struct js_error *e)
{
	if (!json_is_string(v)) return bad_type(e, f->key, "a string");
	if (f->type == F_TIME) {
		int64_t *ns = at(c, f);
		if (time_parse(slice_of_str(json_string_value(v)), ns) != OK)
			return bad_type(e, f->key, "an RFC 3339 time");
		if (*ns == 0) *ns = 1; /* 0 is no time; nothing is stored that early */
		return true;
	}
	if (json_string_length(v) == 0) return true;
	if (f->type == F_FILTER) return add_filter(c, v, e);
	mem_free(*(char **)at(c, f));
	*(char **)at(c, f) = mem_strdup(json_string_value(v));
	return true;
}

static bool parse_number(struct consumer_config *c, const struct field *f, json_t *v, struct js_error *e)
{
	if (!json_is_integer(v)) return bad_type(e, f->key, "an integer");
	int64_t n = json_integer_value(v);
	if (f->type == F_U64 && n < 0) return bad_type(e, f->key, "not negative");
	if (f->type == F_INT) {
		*(int *)at(c, f) = n > 1000 ? 1000 : n < 0 ? -1 : (int)n; /* replicas: beyond any limit all are alike */
	} else {
		*(int64_t *)at(c, f) = n;
	}
	return true;
}

static bool parse_enum(struct consumer_config *c, const struct field *f, json_t *v, struct js_error *e)
{
	const char *s = json_string_value(v);
	for (int i = 0; s && f->names[i]; i++) {
		if (strcmp(s, f->names[i]) != 0) continue;
		memcpy(at(c, f), &i, sizeof i);
		return true;
	}
	return js_error_set(e, JS_INVALID_JSON, "json: unknown %s \"%s\"", f->key, s ? s : "?");
}

static bool parse_field(struct consumer_config *c, const struct field *f, json_t *v, struct js_error *e)
{
	if (json_is_null(v)) return true;
	switch (f->type) {
	case F_STRING:
	case F_FILTER:
	case F_TIME: return parse_string(c, f, v, e);
	case F_I64:
	case F_U64:
	case F_INT: return parse_number(c, f, v, e);
	case F_BOOL:
		if (!json_is_boolean(v)) return bad_type(e, f->key, "a boolean");
		*(bool *)at(c, f) = json_is_true(v);
		return true;
	case F_ENUM: return parse_enum(c, f, v, e);
	case F_BACKOFF:
	case F_FILTERS: return parse_list(c, f, v, e);
	case F_METADATA: {
		if (!json_is_object(v)) return bad_type(e, f->key, "an object of strings");
		char *text = json_dumps(v, JSON_COMPACT | JSON_SORT_KEYS);
		if (json_object_size(v)) c->metadata = mem_strdup(text);
		free(text);
		return true;
	}
	}
	UNREACHABLE();
}

static bool refuse_unimplemented(const json_t *root, const struct js_refused *rows, size_t count, struct js_error *e)
{
	const struct js_refused *r = js_json_refused(root, rows, count);
	return !r || js_error_set(e, JS_CONSUMER_CREATE, "%s is not supported by this server yet", r->key);
}

static bool parse_config(struct consumer_config *c, json_t *root, struct js_error *e)
{
	if (!refuse_unimplemented(root, refused_fields, COUNT_OF(refused_fields), e)) return false;
	for (size_t i = 0; i < COUNT_OF(push_fields); i++)
		if (js_json_refused(root, &(struct js_refused) { .key = push_fields[i].key }, 1))
			return js_error_set(e, push_fields[i].id, NULL);
	for (size_t i = 0; i < COUNT_OF(fields); i++) {
		json_t *v = js_json_get(root, fields[i].key);
		if (v && !parse_field(c, &fields[i], v, e)) return false;
	}
	return true;
}

bool consumer_wish_parse(struct consumer_wish *w, struct slice json, struct js_error *e)
{
	*w = (struct consumer_wish) { 0 };
	json_t *root = js_json_load(json, e);
	if (!root) return false;
	json_t *config = js_json_get(root, "config");
	struct slice action = SLICE_NULL, stream = SLICE_NULL;
	const struct js_want wants[] = { { "stream_name", JS_TEXT, &stream }, { "action", JS_TEXT, &action } };
	bool good = refuse_unimplemented(root, &(struct js_refused) { .key = "pedantic" }, 1, e) &&
		    js_json_take(root, wants, COUNT_OF(wants), e);
	w->action = slice_eq(action, SLICE("create"))   ? ACTION_CREATE
		    : slice_eq(action, SLICE("update")) ? ACTION_UPDATE
							: ACTION_ANY;
	if (good && action.n && w->action == ACTION_ANY)
		good = js_error_set(e, JS_INVALID_JSON, "unknown consumer action \"%.*s\"", SLICE_FMT(action));
	w->stream_name = mem_zalloc(stream.n + 1);
	if (stream.n) memcpy(w->stream_name, stream.p, stream.n);
	if (good && config && !json_is_object(config)) good = js_error_set(e, JS_INVALID_JSON, "config is no object");
	good = good && (!config || parse_config(&w->config, config, e));
	json_decref(root);
	if (!good) {
		consumer_config_deinit(&w->config);
		mem_free(w->stream_name);
		w->stream_name = NULL;
	}
	return good;
}

bool consumer_config_parse_stored(struct consumer_config *c, struct slice json)
{
	struct js_error e;
	*c = (struct consumer_config) { 0 };
	json_t *root = js_json_load(json, &e);
	bool good = root && parse_config(c, root, &e);
	json_decref(root);
	if (!good) consumer_config_deinit(c);
	return good;
}

/* ---- checks ---- */

static bool check_policy(const struct consumer_config *c, struct js_error *e)
{
	static const char *const words[] = { "all", "last", "new", "by start sequence", "by start time",
		"last per subject" };
	bool seq = c->opt_start_seq != 0, when = c->opt_start_time_ns != 0;
	const char *w = words[c->deliver_policy];
	if (c->deliver_policy == DELIVER_BY_START_SEQ && !seq)
		return js_error_set(e, JS_CONSUMER_POLICY,
			"consumer delivery policy is deliver %s, but optional start sequence is not set", w);
	if (c->deliver_policy == DELIVER_BY_START_TIME && !when)
		return js_error_set(e, JS_CONSUMER_POLICY,
			"consumer delivery policy is deliver %s, but optional start time is not set", w);
	if (c->deliver_policy != DELIVER_BY_START_SEQ && seq)
		return js_error_set(e, JS_CONSUMER_POLICY,
			"consumer delivery policy is deliver %s, but optional start sequence is also set", w);
	if (c->deliver_policy != DELIVER_BY_START_TIME && when)
		return js_error_set(e, JS_CONSUMER_POLICY,
			"consumer delivery policy is deliver %s, but optional start time is also set", w);
	if (c->deliver_policy == DELIVER_LAST_PER_SUBJECT && c->filter_count == 0)
		return js_error_set(e, JS_CONSUMER_POLICY,
			"consumer delivery policy is deliver last per subject, but optional filter subject is not set");
	return true;
}

static bool check_filters(const struct consumer_config *c, const struct stream_config *s, struct js_error *e)
{
	for (size_t i = 0; i < c->filter_count; i++) {
		struct slice f = slice_of_str(c->filters[i]);
		if (f.n == 0) return js_error_set(e, JS_CONSUMER_FILTER_EMPTY, NULL);
		bool inside = false;
		for (size_t k = 0; k < s->subject_count && subject_is_valid(f); k++)
			inside |= subject_is_subset(f, slice_of_str(s->subjects[k]));
		/* a filter wider than each single subject is fine as long as it meets one */
		for (size_t k = 0; k < s->subject_count && !inside && subject_is_valid(f); k++)
			inside = s->subject_count > 0 && subject_is_subset(slice_of_str(s->subjects[k]), f);
		if (!inside) return js_error_set(e, JS_CONSUMER_FILTER_NOT_SUBSET, NULL);
		for (size_t k = 0; k < i; k++)
			if (subject_overlaps(f, slice_of_str(c->filters[k])))
				return js_error_set(e, JS_CONSUMER_FILTERS_OVERLAP, NULL);
	}
	return true;
}

static bool check_workqueue_acks(const struct consumer_config *c, const struct stream_config *s, struct js_error *e)
{
	return s->retention != STREAM_WORKQUEUE || c->ack_policy != ACK_NONE ||
	       js_error_set(e, JS_CONSUMER_WORKQUEUE_PULL_ACK, NULL);
}

static bool check_workqueue(const struct consumer_config *c, const struct stream_config *s, struct js_error *e)
{
	if (s->retention != STREAM_WORKQUEUE) return true;
	if (c->ack_policy != ACK_EXPLICIT) return js_error_set(e, JS_WORKQUEUE_EXPLICIT_ACK, NULL);
	if (c->deliver_policy != DELIVER_ALL) return js_error_set(e, JS_WORKQUEUE_DELIVER_ALL, NULL);
	return true;
}

static bool check_backoff(struct consumer_config *c, struct js_error *e)
{
	if (c->backoff_count == 0) return true;
	if (c->max_deliver > 0 && (int64_t)c->backoff_count > c->max_deliver)
		return js_error_set(e, JS_CONSUMER_MAX_DELIVER_BACKOFF, NULL);
	for (size_t i = 0; i < c->backoff_count; i++)
		if (c->backoff_ns[i] < 0)
			return js_error_set(e, JS_CONSUMER_CREATE, "consumer backoff needs to be positive");
	c->ack_wait_ns = c->backoff_ns[0];
	return true;
}

static struct slice sampling_number(const struct consumer_config *c)
{
	size_t n = strlen(c->sample_freq);
	return slice_of(c->sample_freq, n && c->sample_freq[n - 1] == '%' ? n - 1 : n);
}

static bool sampling_parse(const struct consumer_config *c, uint64_t *percent)
{
	return slice_to_u64(sampling_number(c), percent) == OK && *percent <= 100;
}

static bool check_sampling(const struct consumer_config *c, struct js_error *e)
{
	uint64_t percent;
	if (!c->sample_freq || sampling_parse(c, &percent)) return true;
	return js_error_set(e, JS_CONSUMER_SAMPLING, "strconv.Atoi: parsing \"%.*s\": invalid syntax",
		SLICE_FMT(sampling_number(c)));
}

unsigned consumer_config_sampled(const struct consumer_config *c)
{
	uint64_t percent;
	return c->sample_freq && sampling_parse(c, &percent) ? (unsigned)percent : 0;
}

bool consumer_config_check(struct consumer_config *c, const struct stream_config *s, struct js_error *e)
{
	if (c->max_waiting < 0) return js_error_set(e, JS_CONSUMER_MAX_WAITING, NULL);
	if (c->description && strlen(c->description) > 4096) return js_error_set(e, JS_CONSUMER_DESCRIPTION, "4096");
	if (c->ack_wait_ns < 0) return js_error_set(e, JS_CONSUMER_CREATE, "consumer ack wait needs to be positive");
	if (c->num_replicas < 0) return js_error_set(e, JS_REPLICAS_NEGATIVE, NULL);
	if (c->max_batch < 0) return js_error_set(e, JS_CONSUMER_MAX_REQUEST_BATCH, NULL);
	if (c->max_expires_ns && c->max_expires_ns < (int64_t)NS_PER_MS)
		return js_error_set(e, JS_CONSUMER_MAX_REQUEST_EXPIRES, NULL);
	if (c->num_replicas > 1 && s->num_replicas == 1) return js_error_set(e, JS_REPLICAS_STANDALONE, NULL);
	if (c->num_replicas > s->num_replicas) return js_error_set(e, JS_CONSUMER_REPLICAS, NULL);
	if (c->max_waiting == 0) c->max_waiting = 512;
	if (c->ack_policy != ACK_NONE && c->ack_wait_ns == 0) c->ack_wait_ns = (int64_t)SECONDS(30);
	if (c->ack_policy != ACK_NONE && c->max_ack_pending == 0) c->max_ack_pending = 1000;
	if (c->max_deliver <= 0) c->max_deliver = -1;
	if (!c->durable && c->inactive_threshold_ns <= 0) c->inactive_threshold_ns = (int64_t)SECONDS(5);
	return check_backoff(c, e) && check_policy(c, e) && check_workqueue_acks(c, s, e) && check_filters(c, s, e) &&
	       check_workqueue(c, s, e) && check_sampling(c, e);
}

bool consumer_config_can_update(
	const struct consumer_config *now, const struct consumer_config *next, struct js_error *e)
{
	const struct {
		bool changed;
		const char *what;
	} fixed[] = {
		{ now->deliver_policy != next->deliver_policy, "deliver policy" },
		{ now->opt_start_seq != next->opt_start_seq, "start sequence" },
		{ now->opt_start_time_ns != next->opt_start_time_ns, "start time" },
		{ now->ack_policy != next->ack_policy, "ack policy" },
		{ now->replay_policy != next->replay_policy, "replay policy" },
		{ now->max_waiting != next->max_waiting, "max waiting" },
		{ now->mem_storage != next->mem_storage, "storage type" },
	};
	for (size_t i = 0; i < COUNT_OF(fixed); i++)
		if (fixed[i].changed)
			return js_error_set(e, JS_CONSUMER_CREATE, "%s can not be updated", fixed[i].what);
	return true;
}

/* ---- out ---- */

void json_string_append(struct buf *b, struct slice s)
{
	json_t *v = json_stringn((const char *)s.p, s.n);
	char *text = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
	buf_append_str(b, text ? text : "\"\"");
	free(text);
	json_decref(v);
}

static bool is_empty(const struct consumer_config *c, const struct field *f)
{
	switch (f->type) {
	case F_STRING:
	case F_METADATA: return *(char **)at(c, f) == NULL;
	case F_I64:
	case F_U64:
	case F_TIME: return *(int64_t *)at(c, f) == 0;
	case F_INT: return *(int *)at(c, f) == 0;
	case F_BOOL: return !*(bool *)at(c, f);
	case F_ENUM: return false;
	case F_BACKOFF: return c->backoff_count == 0;
	case F_FILTER: return c->filter_count == 0 || c->filters_is_list;
	case F_FILTERS: return !c->filters_is_list;
	}
	UNREACHABLE();
}

static void print_value(struct buf *b, const struct consumer_config *c, const struct field *f)
{
	switch (f->type) {
	case F_STRING: json_string_append(b, slice_of_str(*(char **)at(c, f))); return;
	case F_METADATA: buf_append_str(b, c->metadata); return;
	case F_I64: buf_printf(b, "%lld", (long long)*(int64_t *)at(c, f)); return;
	case F_U64: buf_append_u64(b, *(uint64_t *)at(c, f)); return;
	case F_INT: buf_printf(b, "%d", *(int *)at(c, f)); return;
	case F_BOOL: buf_append_str(b, *(bool *)at(c, f) ? "true" : "false"); return;
	case F_TIME:
		buf_append_byte(b, '"');
		time_print(b, *(int64_t *)at(c, f));
		buf_append_byte(b, '"');
		return;
	case F_ENUM: {
		int i;
		memcpy(&i, at(c, f), sizeof i);
		buf_printf(b, "\"%s\"", f->names[i]);
		return;
	}
	case F_FILTER: json_string_append(b, slice_of_str(c->filters[0])); return;
	case F_FILTERS:
		for (size_t i = 0; i < c->filter_count; i++) {
			buf_append_byte(b, i ? ',' : '[');
			json_string_append(b, slice_of_str(c->filters[i]));
		}
		buf_append_byte(b, ']');
		return;
	case F_BACKOFF:
		for (size_t i = 0; i < c->backoff_count; i++)
			buf_printf(b, "%c%lld", i ? ',' : '[', (long long)c->backoff_ns[i]);
		buf_append_byte(b, ']');
		return;
	}
	UNREACHABLE();
}

void consumer_config_print(struct buf *b, const struct consumer_config *c)
{
	uint8_t sep = '{';
	for (size_t i = 0; i < COUNT_OF(fields); i++) {
		if (!fields[i].always && is_empty(c, &fields[i])) continue;
		buf_append_byte(b, sep);
		buf_printf(b, "\"%s\":", fields[i].key);
		print_value(b, c, &fields[i]);
		sep = ',';
	}
	buf_append_byte(b, '}');
}

bool consumer_config_equal(const struct consumer_config *a, const struct consumer_config *b)
{
	struct buf x = { 0 }, y = { 0 };
	consumer_config_print(&x, a);
	consumer_config_print(&y, b);
	bool same = slice_eq(buf_slice(&x), buf_slice(&y));
	buf_deinit(&x);
	buf_deinit(&y);
	return same;
}
