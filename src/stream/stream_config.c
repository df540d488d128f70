/* SPDX-License-Identifier: Apache-2.0 */
/* A stream's configuration: JSON in, defaults and checks, JSON out (spec §5.3, texts §9.1). One table of fields says what each key is, so
 * that parsing, printing and comparing cannot drift apart. */
#include "thebes/stream.h"

#include <jansson.h>
#include <stdlib.h>

#include "thebes/js_json.h"
#include "thebes/wire.h"

enum { NAME_MAX_BYTES = 255, DESCRIPTION_MAX_BYTES = 4096, METADATA_MAX_BYTES = 128 * 1024, REPLICAS_MAX = 5 };

enum field_type { F_STRING, F_STRINGS, F_I64, F_I32, F_INT, F_BOOL, F_ENUM, F_METADATA, F_PLACEMENT };
enum field_when { ALWAYS, NOT_EMPTY };

static const char *const retention_names[] = { "limits", "interest", "workqueue", NULL };
static const char *const storage_names[] = { "file", "memory", NULL };
static const char *const discard_names[] = { "old", "new", NULL };

static const struct field {
	const char *key;
	enum field_type type;
	enum field_when when;
	size_t offset;
	const char *const *names; /* F_ENUM */
} fields[] = {
	{ "name", F_STRING, ALWAYS, offsetof(struct stream_config, name), NULL },
	{ "description", F_STRING, NOT_EMPTY, offsetof(struct stream_config, description), NULL },
	{ "subjects", F_STRINGS, NOT_EMPTY, offsetof(struct stream_config, subjects), NULL },
	{ "retention", F_ENUM, ALWAYS, offsetof(struct stream_config, retention), retention_names },
	{ "max_consumers", F_I64, ALWAYS, offsetof(struct stream_config, max_consumers), NULL },
	{ "max_msgs", F_I64, ALWAYS, offsetof(struct stream_config, max_msgs), NULL },
	{ "max_bytes", F_I64, ALWAYS, offsetof(struct stream_config, max_bytes), NULL },
	{ "max_age", F_I64, ALWAYS, offsetof(struct stream_config, max_age_ns), NULL },
	{ "max_msgs_per_subject", F_I64, ALWAYS, offsetof(struct stream_config, max_msgs_per_subject), NULL },
	{ "max_msg_size", F_I32, ALWAYS, offsetof(struct stream_config, max_msg_size), NULL },
	{ "discard", F_ENUM, ALWAYS, offsetof(struct stream_config, discard), discard_names },
	{ "storage", F_ENUM, ALWAYS, offsetof(struct stream_config, storage), storage_names },
	{ "num_replicas", F_INT, ALWAYS, offsetof(struct stream_config, num_replicas), NULL },
	{ "no_ack", F_BOOL, NOT_EMPTY, offsetof(struct stream_config, no_ack), NULL },
	{ "template_owner", F_STRING, NOT_EMPTY, offsetof(struct stream_config, template_owner), NULL },
	{ "duplicate_window", F_I64, NOT_EMPTY, offsetof(struct stream_config, duplicate_window_ns), NULL },
	{ "sealed", F_BOOL, ALWAYS, offsetof(struct stream_config, sealed), NULL },
	{ "deny_delete", F_BOOL, ALWAYS, offsetof(struct stream_config, deny_delete), NULL },
	{ "deny_purge", F_BOOL, ALWAYS, offsetof(struct stream_config, deny_purge), NULL },
	{ "allow_rollup_hdrs", F_BOOL, ALWAYS, offsetof(struct stream_config, allow_rollup_hdrs), NULL },
	{ "allow_direct", F_BOOL, ALWAYS, offsetof(struct stream_config, allow_direct), NULL },
	{ "discard_new_per_subject", F_BOOL, NOT_EMPTY, offsetof(struct stream_config, discard_new_per_subject), NULL },
	{ "metadata", F_METADATA, NOT_EMPTY, offsetof(struct stream_config, metadata), NULL },
	{ "placement", F_PLACEMENT, NOT_EMPTY, offsetof(struct stream_config, placement), NULL },
};

/* Known to newer servers or to later stages of this one; set to more than nothing they would change what is stored or who sees it, so they
 * are refused by name instead of being dropped. nats.c always sends compression and first_seq, Go's clients consumer_limits. */
static const struct js_refused refused_fields[] = { { "mirror", NULL, NULL }, { "sources", NULL, NULL },
	{ "subject_transform", NULL, NULL }, { "republish", NULL, NULL }, { "compression", NULL, "none" },
	{ "first_seq", NULL, NULL }, { "inactive_threshold", "consumer_limits", NULL },
	{ "max_ack_pending", "consumer_limits", NULL }, { "allow_msg_ttl", NULL, NULL },
	{ "subject_delete_marker_ttl", NULL, NULL }, { "allow_msg_counter", NULL, NULL },
	{ "allow_atomic", NULL, NULL }, { "allow_batched", NULL, NULL }, { "allow_msg_schedules", NULL, NULL },
	{ "persist_mode", NULL, "default" }, { "pedantic", NULL, NULL } };

static void *at(const struct stream_config *c, const struct field *f) { return (char *)(uintptr_t)c + f->offset; }

void stream_config_deinit(struct stream_config *c)
{
	mem_free(c->name);
	mem_free(c->description);
	for (size_t i = 0; i < c->subject_count; i++) mem_free(c->subjects[i]);
	mem_free(c->subjects);
	mem_free(c->metadata);
	mem_free(c->placement);
	mem_free(c->template_owner);
	*c = (struct stream_config) { 0 };
}

static char *dup_or_null(const char *s) { return s ? mem_strdup(s) : NULL; }

void stream_config_copy(struct stream_config *to, const struct stream_config *from)
{
	*to = *from;
	to->name = mem_strdup(from->name ? from->name : "");
	to->description = dup_or_null(from->description);
	to->metadata = dup_or_null(from->metadata);
	to->placement = dup_or_null(from->placement);
	to->template_owner = dup_or_null(from->template_owner);
	to->subjects = mem_alloc((from->subject_count + 1) * sizeof *to->subjects);
	for (size_t i = 0; i < from->subject_count; i++) to->subjects[i] = mem_strdup(from->subjects[i]);
}

static void print_string(struct buf *b, const char *s)
{
	json_t *v = json_string(s);
	char *text = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
	buf_append_str(b, text ? text : "\"\"");
	free(text);
	json_decref(v);
}

/* ---- parsing ---- */

static bool bad_type(struct js_error *e, const char *key, const char *want)
{
	return js_error_set(e, JS_INVALID_JSON, "json: field StreamConfig.%s must be %s", key, want);
}

static bool parse_enum(int *out, const struct field *f, json_t *v, struct js_error *e)
{
	const char *s = json_string_value(v);
	for (int i = 0; s && f->names[i]; i++) {
		if (strcmp(s, f->names[i]) == 0) {
			*out = i;
			return true;
		}
	}
	return js_error_set(e, JS_INVALID_JSON, "can not unmarshal \"%s\" as %s", s ? s : "?", f->key);
}

static bool parse_strings(struct stream_config *c, json_t *v, struct js_error *e)
{
	if (!json_is_array(v)) return bad_type(e, "subjects", "an array of strings");
	size_t n = json_array_size(v);
	c->subjects = mem_zalloc((n + 1) * sizeof *c->subjects);
	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(v, i));
		if (!s) return bad_type(e, "subjects", "an array of strings");
		c->subjects[c->subject_count++] = mem_strdup(s);
	}
	return true;
}

static bool parse_metadata(char **out, json_t *v, struct js_error *e)
{
	if (!json_is_object(v)) return bad_type(e, "metadata", "an object of strings");
	const char *key;
	json_t *item;
	json_object_foreach(v, key, item) if (!json_is_string(item)) return bad_type(
		e, "metadata", "an object of strings");
	if (json_object_size(v) == 0) return true;
	char *text = json_dumps(v, JSON_COMPACT | JSON_SORT_KEYS);
	ASSERT(text != NULL);
	*out = mem_strdup(text);
	free(text);
	if (strlen(*out) > METADATA_MAX_BYTES)
		return js_error_set(e, JS_STREAM_CONFIG, "stream metadata exceeds maximum size of 128 KiB");
	return true;
}

/* Kept as it would be printed: what is empty is left out. */
static bool parse_placement(char **out, json_t *v, struct js_error *e)
{
	const json_t *cluster = js_json_get(v, "cluster"), *tags = js_json_get(v, "tags");
	size_t n = json_array_size(tags);
	if (!json_is_object(v) || (cluster && !json_is_string(cluster)) || (tags && !json_is_array(tags)))
		return bad_type(e, "placement", "an object with cluster and tags");
	for (size_t i = 0; i < n; i++)
		if (!json_is_string(json_array_get(tags, i)))
			return bad_type(e, "placement.tags", "an array of strings");
	struct buf b = { 0 };
	buf_append_byte(&b, '{');
	if (json_string_length(cluster)) {
		buf_append_str(&b, "\"cluster\":");
		print_string(&b, json_string_value(cluster));
	}
	for (size_t i = 0; i < n; i++) {
		buf_append_str(&b, i ? "," : b.n > 1 ? ",\"tags\":[" : "\"tags\":[");
		print_string(&b, json_string_value(json_array_get(tags, i)));
	}
	buf_append_str(&b, n ? "]}" : "}");
	*out = mem_strdup(buf_str(&b));
	buf_deinit(&b);
	return true;
}

/* Out of range for the original's 32 bits is another type to it; replicas beyond any limit are all alike. */
static bool parse_small(struct stream_config *c, const struct field *f, json_t *v, struct js_error *e)
{
	if (!json_is_integer(v)) return bad_type(e, f->key, "an integer");
	json_int_t n = json_integer_value(v);
	if (f->type == F_INT) {
		*(int *)at(c, f) = n > REPLICAS_MAX ? REPLICAS_MAX + 1 : n < 0 ? -1 : (int)n;
		return true;
	}
	if (n < INT32_MIN || n > INT32_MAX) return bad_type(e, f->key, "an integer of 32 bits");
	*(int64_t *)at(c, f) = n;
	return true;
}

static bool parse_field(struct stream_config *c, const struct field *f, json_t *v, struct js_error *e)
{
	if (json_is_null(v)) return true;
	switch (f->type) {
	case F_STRING:
		if (!json_is_string(v)) return bad_type(e, f->key, "a string");
		mem_free(*(char **)at(c, f));
		*(char **)at(c, f) =
			json_string_length(v) || strcmp(f->key, "name") == 0 ? mem_strdup(json_string_value(v)) : NULL;
		return true;
	case F_STRINGS: return parse_strings(c, v, e);
	case F_I64:
		if (!json_is_integer(v)) return bad_type(e, f->key, "an integer");
		*(int64_t *)at(c, f) = json_integer_value(v);
		return true;
	case F_I32:
	case F_INT: return parse_small(c, f, v, e);
	case F_BOOL:
		if (!json_is_boolean(v)) return bad_type(e, f->key, "a boolean");
		*(bool *)at(c, f) = json_is_true(v);
		return true;
	case F_ENUM: {
		int i = 0;
		if (!parse_enum(&i, f, v, e)) return false;
		memcpy(at(c, f), &i, sizeof i);
		return true;
	}
	case F_METADATA: return parse_metadata(at(c, f), v, e);
	case F_PLACEMENT: return parse_placement(at(c, f), v, e);
	}
	UNREACHABLE();
}

static bool refuse_unimplemented(const json_t *root, struct js_error *e)
{
	const struct js_refused *r = js_json_refused(root, refused_fields, COUNT_OF(refused_fields));
	if (r)
		return js_error_set(
			e, JS_STREAM_CONFIG, "%s is not supported by this server", r->inside ? r->inside : r->key);
	if (json_is_true(js_json_get(root, "mirror_direct"))) /* there is never one */
		return js_error_set(e, JS_STREAM_CONFIG, "stream has no mirror but does have mirror direct");
	return true;
}

/* ---- checking ---- */

static bool check_name(const struct stream_config *c, struct js_error *e)
{
	size_t n = c->name ? strlen(c->name) : 0;
	if (n == 0 || strpbrk(c->name, " .*>\t\r\n\f"))
		return js_error_set(
			e, JS_STREAM_CONFIG, "stream name is required and can not contain '.', '*', '>', '\\', '/'");
	if (strpbrk(c->name, "/\\")) return js_error_set(e, JS_STREAM_NAME_SEPARATORS, NULL);
	if (n > NAME_MAX_BYTES)
		return js_error_set(e, JS_STREAM_CONFIG, "stream name is too long, maximum allowed is 255");
	if (c->description && strlen(c->description) > DESCRIPTION_MAX_BYTES)
		return js_error_set(e, JS_STREAM_CONFIG, "stream description is too long, maximum allowed is 4096");
	return true;
}

static bool check_subjects(const struct stream_config *c, struct js_error *e)
{
	for (size_t i = 0; i < c->subject_count; i++) {
		struct slice s = slice_of_str(c->subjects[i]);
		if (!subject_is_valid(s)) return js_error_set(e, JS_STREAM_CONFIG, "invalid subject");
		if (slice_eq(s, SLICE(">")) && !c->no_ack)
			return js_error_set(e, JS_STREAM_CONFIG, "capturing all subjects requires no-ack to be true");
		if (!c->no_ack &&
			(subject_overlaps(s, SLICE("$JS.>")) || subject_overlaps(s, SLICE("$JSC.>")) ||
				subject_overlaps(s, SLICE("$NRG.>"))) &&
			!subject_is_subset(s, SLICE("$JS.EVENT.>")))
			return js_error_set(e, JS_STREAM_CONFIG,
				"subjects that overlap with jetstream api require no-ack to be true");
		if (!c->no_ack && subject_overlaps(s, SLICE("$SYS.>")) &&
			!subject_is_subset(s, SLICE("$SYS.ACCOUNT.>")))
			return js_error_set(
				e, JS_STREAM_CONFIG, "subjects that overlap with system api require no-ack to be true");
		for (size_t k = 0; k < i; k++) {
			if (strcmp(c->subjects[i], c->subjects[k]) == 0)
				return js_error_set(e, JS_STREAM_CONFIG, "duplicate subjects detected");
			if (subject_overlaps(s, slice_of_str(c->subjects[k])))
				return js_error_set(e, JS_STREAM_CONFIG, "subject \"%s\" overlaps with \"%s\"",
					c->subjects[k], c->subjects[i]);
		}
	}
	return true;
}

static bool check_ages(struct stream_config *c, int64_t window_max_ns, struct js_error *e)
{
	const int64_t least = (int64_t)MILLIS(100);
	if (c->max_age_ns < 0) return js_error_set(e, JS_STREAM_CONFIG, "max age can not be negative");
	if (c->max_age_ns && c->max_age_ns < least)
		return js_error_set(e, JS_STREAM_CONFIG, "max age needs to be >= 100ms");
	if (c->duplicate_window_ns < 0)
		return js_error_set(e, JS_STREAM_CONFIG, "duplicates window can not be negative");
	if (c->duplicate_window_ns == 0) {
		c->duplicate_window_ns = (int64_t)SECONDS(120);
		if (window_max_ns && window_max_ns < c->duplicate_window_ns) c->duplicate_window_ns = window_max_ns;
		if (c->max_age_ns && c->max_age_ns < c->duplicate_window_ns) c->duplicate_window_ns = c->max_age_ns;
	}
	if (c->max_age_ns && c->duplicate_window_ns > c->max_age_ns)
		return js_error_set(e, JS_STREAM_CONFIG, "duplicates window can not be larger then max age");
	if (window_max_ns && c->duplicate_window_ns > window_max_ns) {
		struct buf max = { 0 };
		duration_print(&max, window_max_ns);
		(void)js_error_set(e, JS_STREAM_CONFIG, "duplicates window can not be larger then server limit of %s",
			buf_str(&max));
		buf_deinit(&max);
		return false;
	}
	if (c->duplicate_window_ns < least)
		return js_error_set(e, JS_STREAM_CONFIG, "duplicates window needs to be >= 100ms");
	return true;
}

static bool check_policies(struct stream_config *c, struct js_error *e)
{
	if (c->num_replicas < 0) return js_error_set(e, JS_REPLICAS_NEGATIVE, NULL);
	if (c->num_replicas == 0) c->num_replicas = 1;
	if (c->num_replicas > REPLICAS_MAX) return js_error_set(e, JS_STREAM_CONFIG, "maximum replicas is 5");
	if (c->discard_new_per_subject && c->discard != STREAM_DISCARD_NEW)
		return js_error_set(
			e, JS_STREAM_CONFIG, "discard new per subject requires discard new policy to be set");
	if (c->discard_new_per_subject && c->max_msgs_per_subject <= 0)
		return js_error_set(e, JS_STREAM_CONFIG, "discard new per subject requires max msgs per subject > 0");
	if (c->deny_purge && c->allow_rollup_hdrs)
		return js_error_set(e, JS_STREAM_CONFIG, "roll-ups require the purge permission");
	if (c->sealed) {
		c->max_age_ns = 0;
		c->discard = STREAM_DISCARD_NEW;
		c->deny_delete = c->deny_purge = true;
		c->allow_rollup_hdrs = false;
	}
	return true;
}

static void unlimited_unless_positive(int64_t *limit)
{
	if (*limit <= 0) *limit = -1;
}

static bool finish(struct stream_config *c, int64_t window_max_ns, struct js_error *e)
{
	unlimited_unless_positive(&c->max_consumers);
	unlimited_unless_positive(&c->max_msgs);
	unlimited_unless_positive(&c->max_bytes);
	unlimited_unless_positive(&c->max_msgs_per_subject);
	unlimited_unless_positive(&c->max_msg_size);
	if (!check_name(c, e)) return false;
	if (c->subject_count == 0) {
		mem_free(c->subjects);
		c->subjects = mem_zalloc(2 * sizeof *c->subjects);
		c->subjects[c->subject_count++] = mem_strdup(c->name);
	}
	return check_subjects(c, e) && check_policies(c, e) && check_ages(c, window_max_ns, e);
}

bool stream_config_parse(struct stream_config *c, struct slice json, struct js_error *e)
{
	return stream_config_request(c, json, 0, e);
}

bool stream_config_request(struct stream_config *c, struct slice json, int64_t window_max_ns, struct js_error *e)
{
	*c = (struct stream_config) { 0 };
	json_t *root = js_json_load(json, e);
	if (!root) return false;
	bool good = refuse_unimplemented(root, e);
	for (size_t i = 0; good && i < COUNT_OF(fields); i++) {
		json_t *v = js_json_get(root, fields[i].key);
		if (v) good = parse_field(c, &fields[i], v, e);
	}
	json_decref(root);
	good = good && finish(c, window_max_ns, e);
	if (!good) stream_config_deinit(c);
	return good;
}

/* ---- printing ---- */

static bool is_unset(const struct stream_config *c, const struct field *f)
{
	switch (f->type) {
	case F_STRING:
	case F_METADATA:
	case F_PLACEMENT: return *(char **)at(c, f) == NULL || **(char **)at(c, f) == '\0';
	case F_STRINGS: return c->subject_count == 0;
	case F_I64:
	case F_I32: return *(int64_t *)at(c, f) == 0;
	case F_INT: return *(int *)at(c, f) == 0;
	case F_BOOL: return !*(bool *)at(c, f);
	case F_ENUM: return false;
	}
	UNREACHABLE();
}

static void print_field(struct buf *b, const struct stream_config *c, const struct field *f)
{
	buf_printf(b, "\"%s\":", f->key);
	switch (f->type) {
	case F_STRING: print_string(b, *(char **)at(c, f) ? *(char **)at(c, f) : ""); return;
	case F_METADATA:
	case F_PLACEMENT: buf_append_str(b, *(char **)at(c, f)); return;
	case F_STRINGS:
		for (size_t i = 0; i < c->subject_count; i++) {
			buf_append_byte(b, i ? ',' : '[');
			print_string(b, c->subjects[i]);
		}
		buf_append_byte(b, ']');
		return;
	case F_I64:
	case F_I32: buf_printf(b, "%lld", (long long)*(int64_t *)at(c, f)); return;
	case F_INT: buf_printf(b, "%d", *(int *)at(c, f)); return;
	case F_BOOL: buf_append_str(b, *(bool *)at(c, f) ? "true" : "false"); return;
	case F_ENUM: {
		int i;
		memcpy(&i, at(c, f), sizeof i);
		buf_printf(b, "\"%s\"", f->names[i]);
		return;
	}
	}
	UNREACHABLE();
}

void stream_config_print(struct buf *b, const struct stream_config *c)
{
	uint8_t sep = '{';
	for (size_t i = 0; i < COUNT_OF(fields); i++) {
		if (fields[i].when == NOT_EMPTY && is_unset(c, &fields[i])) continue;
		buf_append_byte(b, sep);
		print_field(b, c, &fields[i]);
		sep = ',';
	}
	buf_append_str(b, ",\"mirror_direct\":false}");
}

/* ---- comparing ---- */

bool stream_config_equal(const struct stream_config *a, const struct stream_config *b)
{
	struct buf x = { 0 }, y = { 0 };
	stream_config_print(&x, a);
	stream_config_print(&y, b);
	bool same = slice_eq(buf_slice(&x), buf_slice(&y));
	buf_deinit(&x);
	buf_deinit(&y);
	return same;
}

bool stream_config_can_update(const struct stream_config *now, const struct stream_config *next, struct js_error *e)
{
	const struct {
		bool broken;
		const char *text;
	} rules[] = {
		{ strcmp(now->name, next->name) != 0, "stream configuration name must match original" },
		{ now->max_consumers != next->max_consumers,
			"stream configuration update can not change MaxConsumers" },
		{ now->storage != next->storage, "stream configuration update can not change storage type" },
		{ now->retention != next->retention &&
				(now->retention == STREAM_WORKQUEUE || next->retention == STREAM_WORKQUEUE),
			"stream configuration update can not change retention policy to/from workqueue" },
		{ now->retention != next->retention, "stream configuration update can not change retention policy" },
		{ now->sealed && !next->sealed, "stream configuration update can not unseal a sealed stream" },
		{ now->deny_delete && !next->deny_delete,
			"stream configuration update can not cancel deny message deletes" },
		{ now->deny_purge && !next->deny_purge, "stream configuration update can not cancel deny purge" },
		{ next->template_owner != NULL, "stream configuration update can not be owned by a template" },
	};
	for (size_t i = 0; i < COUNT_OF(rules); i++)
		if (rules[i].broken) return js_error_set(e, JS_STREAM_CONFIG, "%s", rules[i].text);
	return true;
}

bool stream_config_covers(const struct stream_config *c, struct slice literal_subject)
{
	for (size_t i = 0; i < c->subject_count; i++)
		if (subject_match(slice_of_str(c->subjects[i]), literal_subject)) return true;
	return false;
}

bool stream_config_overlaps(const struct stream_config *c, struct slice subject_pattern)
{
	for (size_t i = 0; i < c->subject_count; i++)
		if (subject_overlaps(slice_of_str(c->subjects[i]), subject_pattern)) return true;
	return false;
}

uint64_t stream_msg_bytes(const struct stream_config *c, size_t subject_n, size_t header_n, size_t payload_n)
{
	if (c->storage == STREAM_MEMORY) return 16 + subject_n + header_n + payload_n;
	return 30 + subject_n + payload_n + (header_n ? header_n + 4 : 0);
}
