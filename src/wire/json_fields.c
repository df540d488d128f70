/* SPDX-License-Identifier: Apache-2.0 */
/* json_fields — see the header. The happy path: the bytes are made valid UTF-8, jansson reads them, each known member lands at its row's
 * offset as a borrowed slice, and one allocation takes over every text. */
#include "json_fields.h"

#include <jansson.h>

#include "thebes/base.h"
#include "utf8.h"

enum { JSON_DEPTH_MAX = 32 };

/* jansson recurses per level; a line of brackets must not decide how deep. */
static bool depth_is_sane(struct slice json)
{
	unsigned depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < json.n; i++) {
		uint8_t c = json.p[i];
		if (in_string) {
			if (c == '\\') i++;
			if (c == '"') in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > JSON_DEPTH_MAX) return false;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return true;
}

/* Go's decoder reads a byte that is not UTF-8 as U+FFFD; jansson would refuse the document. */
static void utf8_append_clean(struct buf *to, struct slice s)
{
	for (size_t at = 0; at < s.n;) {
		uint32_t rune;
		size_t n = utf8_next(slice_from(s, at), &rune);
		if (n)
			buf_append(to, s.p + at, n);
		else
			buf_append_str(to, "\xef\xbf\xbd");
		at += n ? n : 1;
	}
}

static const struct field *field_find(const struct field_table *t, const char *name)
{
	struct slice key = slice_of_str(name);
	for (size_t i = 0; i < t->count; i++)
		if (slice_eq_nocase(key, slice_of_str(t->rows[i].name))) return &t->rows[i];
	return NULL;
}

static struct slice json_text(const json_t *v) { return slice_of(json_string_value(v), json_string_length(v)); }

/* `texts` is the scratch array of the one FIELD_TEXTS row, owned by the caller. */
static bool texts_set(const struct field *f, const json_t *v, uint8_t *object, struct slice **texts)
{
	if (!json_is_array(v)) return false;
	size_t count = json_array_size(v);
	mem_free(*texts);
	*texts = mem_alloc((count + 1) * sizeof **texts);
	for (size_t i = 0; i < count; i++) {
		const json_t *item = json_array_get(v, i);
		if (!json_is_string(item)) return false;
		(*texts)[i] = json_text(item);
	}
	const struct slice *array = *texts;
	memcpy(object + f->offset, &array, sizeof(const struct slice *));
	memcpy(object + f->count_offset, &count, sizeof count);
	return true;
}

static bool field_set(const struct field *f, const json_t *v, uint8_t *object, struct slice **texts)
{
	if (json_is_null(v)) return true;
	switch (f->kind) {
	case FIELD_BOOL: {
		bool b = json_is_true(v);
		if (!json_is_boolean(v)) return false;
		memcpy(object + f->offset, &b, sizeof b);
		return true;
	}
	case FIELD_INT: {
		int64_t i = json_integer_value(v);
		if (!json_is_integer(v)) return false;
		memcpy(object + f->offset, &i, sizeof i);
		return true;
	}
	case FIELD_U64: {
		json_int_t i = json_integer_value(v);
		uint64_t u = (uint64_t)i;
		if (!json_is_integer(v) || i < 0) return false;
		memcpy(object + f->offset, &u, sizeof u);
		return true;
	}
	case FIELD_TEXT: {
		struct slice s = json_text(v);
		if (!json_is_string(v)) return false;
		memcpy(object + f->offset, &s, sizeof s);
		return true;
	}
	case FIELD_TEXTS: return texts_set(f, v, object, texts);
	}
	UNREACHABLE();
}

static struct slice text_get(const struct field *f, const uint8_t *object)
{
	struct slice s;
	memcpy(&s, object + f->offset, sizeof s);
	return s;
}

static const struct slice *texts_get(const struct field *f, const uint8_t *object, size_t *count)
{
	const struct slice *v;
	memcpy(&v, object + f->offset, sizeof(const struct slice *));
	memcpy(count, object + f->count_offset, sizeof *count);
	return v;
}

static struct slice pack(char **at, struct slice s)
{
	char *to = *at;
	if (s.n) memcpy(to, s.p, s.n);
	to[s.n] = '\0';
	*at = to + s.n + 1;
	return slice_of(to, s.n);
}

static size_t texts_bytes(const struct field_table *t, const uint8_t *object, size_t *array_bytes)
{
	size_t bytes = 0, count;
	for (size_t i = 0; i < t->count; i++) {
		const struct field *f = &t->rows[i];
		if (f->kind == FIELD_TEXT && text_get(f, object).n) bytes += text_get(f, object).n + 1;
		if (f->kind != FIELD_TEXTS) continue;
		const struct slice *v = texts_get(f, object, &count);
		*array_bytes += count * sizeof *v;
		for (size_t k = 0; k < count; k++) bytes += v[k].n + 1;
	}
	return bytes;
}

/* The block: the array of FIELD_TEXTS first (it wants alignment), then the texts. */
static void texts_pack(const struct field_table *t, uint8_t *object, char **text, size_t *text_bytes)
{
	size_t array_bytes = 0, count;
	size_t bytes = texts_bytes(t, object, &array_bytes);
	*text_bytes = array_bytes + bytes;
	*text = mem_alloc(*text_bytes + 1);
	struct slice *array = (struct slice *)(void *)*text;
	char *at = *text + array_bytes;
	for (size_t i = 0; i < t->count; i++) {
		const struct field *f = &t->rows[i];
		if (f->kind == FIELD_TEXT) {
			struct slice s = text_get(f, object);
			s = s.n ? pack(&at, s) : SLICE_NULL;
			memcpy(object + f->offset, &s, sizeof s);
		} else if (f->kind == FIELD_TEXTS) {
			const struct slice *v = texts_get(f, object, &count), *kept = count ? array : NULL;
			for (size_t k = 0; k < count; k++) array[k] = pack(&at, v[k]);
			memcpy(object + f->offset, &kept, sizeof(const struct slice *));
		}
	}
}

static bool members_set(const struct field_table *t, json_t *root, uint8_t *object, struct slice **texts)
{
	if (json_is_null(root)) return true;
	if (!json_is_object(root)) return false;
	const char *name;
	json_t *v;
	json_object_foreach(root, name, v)
	{
		const struct field *f = field_find(t, name);
		if (f && !field_set(f, v, object, texts)) return false;
	}
	return true;
}

static bool is_hex(uint8_t c) { return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); }

/* The \uXXXX at p, where it is one half of a pair: 1 the first, 2 the second, 0 neither. */
static unsigned surrogate_half(const uint8_t *p, size_t n)
{
	if (n < 6 || p[0] != '\\' || p[1] != 'u' || (p[2] | 0x20) != 'd') return 0;
	if (!is_hex(p[3]) || !is_hex(p[4]) || !is_hex(p[5]) || p[3] < '8') return 0;
	return p[3] <= '9' || (p[3] | 0x20) <= 'b' ? 1 : 2;
}

/* Half a pair means U+FFFD to Go's decoder; ours would refuse the whole. */
static void surrogates_mend(uint8_t *p, size_t n)
{
	static const uint8_t replacement[] = { 'f', 'f', 'f', 'd' };
	for (size_t at = 0; at + 1 < n; at++) {
		if (p[at] != '\\') continue;
		unsigned half = surrogate_half(p + at, n - at);
		if (half == 1 && surrogate_half(p + at + 6, n - at - size_min(n - at, 6)) == 2)
			at += 10;
		else if (half)
			memcpy(p + at + 2, replacement, sizeof replacement);
		at++; /* the escaped letter may be a backslash */
	}
}

bool fields_decode(const struct field_table *t, struct slice json, void *object, char **text, size_t *text_bytes)
{
	if (!depth_is_sane(json)) return false;
	struct buf clean = { 0 };
	utf8_append_clean(&clean, json);
	surrogates_mend(clean.p, clean.n);
	json_error_t why;
	json_t *root = json_loadb(buf_str(&clean), clean.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
	struct slice *texts = NULL;
	bool ok = root && members_set(t, root, object, &texts);
	if (ok) texts_pack(t, object, text, text_bytes);
	mem_free(texts);
	json_decref(root);
	explicit_bzero(clean.p, clean.n); /* CONNECT carries secrets */
	buf_deinit(&clean);
	return ok;
}

static void json_append_rune(struct buf *to, uint32_t rune, struct slice bytes)
{
	if (rune == '"' || rune == '\\') buf_append_byte(to, '\\');
	if (rune == '\n')
		buf_append_str(to, "\\n");
	else if (rune == '\r')
		buf_append_str(to, "\\r");
	else if (rune == '\t')
		buf_append_str(to, "\\t");
	else if (rune < 0x20)
		buf_printf(to, "\\u%04x", rune);
	else
		buf_append_slice(to, bytes);
}

static void json_append_text(struct buf *to, struct slice s)
{
	buf_append_byte(to, '"');
	for (size_t at = 0; at < s.n;) {
		uint32_t rune;
		size_t n = utf8_next(slice_from(s, at), &rune);
		if (n)
			json_append_rune(to, rune, slice_of(s.p + at, n));
		else
			buf_append_str(to, "\xef\xbf\xbd");
		at += n ? n : 1;
	}
	buf_append_byte(to, '"');
}

static void json_append_texts(struct buf *to, const struct slice *v, size_t count)
{
	buf_append_byte(to, '[');
	for (size_t i = 0; i < count; i++) {
		if (i) buf_append_byte(to, ',');
		json_append_text(to, v[i]);
	}
	buf_append_byte(to, ']');
}

/* The value as JSON; false when it is what an absent member means. */
static bool value_append(const struct field *f, const uint8_t *object, struct buf *to)
{
	switch (f->kind) {
	case FIELD_BOOL: {
		bool b;
		memcpy(&b, object + f->offset, sizeof b);
		buf_append_str(to, b ? "true" : "false");
		return b;
	}
	case FIELD_INT: {
		int64_t i;
		memcpy(&i, object + f->offset, sizeof i);
		buf_printf(to, "%lld", (long long)i);
		return i != 0;
	}
	case FIELD_U64: {
		uint64_t u;
		memcpy(&u, object + f->offset, sizeof u);
		buf_append_u64(to, u);
		return u != 0;
	}
	case FIELD_TEXT: json_append_text(to, text_get(f, object)); return text_get(f, object).n != 0;
	case FIELD_TEXTS: {
		size_t count;
		const struct slice *v = texts_get(f, object, &count);
		json_append_texts(to, v, count);
		return count != 0;
	}
	}
	UNREACHABLE();
}

void fields_encode(const struct field_table *t, const void *object, struct buf *to)
{
	const char *separator = "{";
	for (size_t i = 0; i < t->count; i++) {
		const struct field *f = &t->rows[i];
		size_t before = to->n;
		buf_append_str(to, separator);
		buf_printf(to, "\"%s\":", f->name);
		if (value_append(f, object, to) || f->always)
			separator = ",";
		else
			to->n = before;
	}
	buf_append_str(to, *separator == '{' ? "{}" : "}");
}
