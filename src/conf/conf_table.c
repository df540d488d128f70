/* SPDX-License-Identifier: Apache-2.0 */
/* conf_table — the rows of conf.def, and one way through them for every key: find the row, check type and bounds,
 * store.
 *
 * Happy path: conf_read_map -> for each member conf_row_find -> conf_read_member -> the storer of the row's type. */
#include "conf_table.h"

/* ---- rows ---- */

#define SECTION(id, title, tag, text) typedef struct tag section_##id;
#include "conf.def"

/* clang-format off */
static const struct conf_row rows[] = {
#define KEY(section, name, aliases, type, member, fallback, min, max, flags, text) \
	{ SECTION_##section, type, name, aliases, offsetof(section_##section, member), fallback, min, max, flags, \
		SECTION_COUNT, NULL, NULL, text },
#define CUSTOM(section, name, aliases, read, block, fallback, expects, flags, text) \
	{ SECTION_##section, CONF_CUSTOM, name, aliases, 0, fallback, 0, 0, flags, block, read, expects, text },
#define BLOCK(section, name, aliases, block, flags, text) \
	{ SECTION_##section, CONF_BLOCK, name, aliases, 0, NULL, 0, 0, flags, block, NULL, NULL, text },
#define LATER(section, name, aliases, flag, text) \
	{ SECTION_##section, CONF_LATER, name, aliases, 0, NULL, 0, 0, flag, SECTION_COUNT, NULL, NULL, text },
#include "conf.def"
};
static const struct conf_section_row sections[] = {
#define SECTION(id, title, tag, text) { title, text, #tag },
#include "conf.def"
};
/* clang-format on */

const struct conf_row *conf_rows(size_t *count)
{
	*count = COUNT_OF(rows);
	return rows;
}

const struct conf_section_row *conf_section_of(enum conf_section section)
{
	ASSERT((unsigned)section < COUNT_OF(sections));
	return &sections[section];
}

/* True when one of the names, separated by spaces, is `name` in any case. */
static bool names_have(const char *names, struct slice name)
{
	struct slice rest = slice_of_str(names);
	while (rest.n) {
		ptrdiff_t space = slice_find(rest, ' ');
		struct slice one = space < 0 ? rest : slice_first(rest, (size_t)space);
		if (slice_eq_nocase(one, name)) return true;
		rest = slice_from(rest, one.n + 1);
	}
	return false;
}

const struct conf_row *conf_row_find(enum conf_section section, const char *name)
{
	struct slice key = slice_of_str(name);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (rows[i].section != section) continue;
		if (slice_eq_nocase(key, slice_of_str(rows[i].name)) || names_have(rows[i].aliases, key))
			return &rows[i];
	}
	return NULL;
}

struct conf_place conf_place_of(const struct conf_read *r, enum conf_section section, const char *name)
{
	const struct conf_row *row = conf_row_find(section, name);
	ASSERT(row != NULL);
	return r->places[row - rows];
}

void conf_row_path(struct buf *out, const struct conf_row *row)
{
	const char *title = conf_section_of(row->section)->title;
	if (*title) buf_printf(out, "%s.", title);
	buf_append_str(out, row->name);
}

/* ---- complaints ---- */

/* What was written, short enough for a line. */
static void value_describe(struct buf *out, const struct conf_value *v)
{
	switch (v->kind) {
	case CONF_KIND_BOOL: buf_append_str(out, v->boolean ? "true" : "false"); break;
	case CONF_KIND_INT:
	case CONF_KIND_FLOAT: buf_printf(out, "the number %.40s", v->text); break;
	case CONF_KIND_STRING: buf_printf(out, "the string \"%.40s\"", v->text); break;
	case CONF_KIND_ARRAY:
	case CONF_KIND_MAP: buf_append_str(out, conf_kind_text(v->kind)); break;
	}
}

/* Secrets are not repeated in messages. */
static bool is_secret(const struct conf_member *m)
{
	static const char *const names[] = { "password", "pass", "token" };
	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (slice_eq_nocase(slice_of_str(m->name), slice_of_str(names[i]))) return true;
	return false;
}

void conf_expected(struct conf_read *r, const struct conf_member *m, const char *what)
{
	struct buf found = { 0 };
	if (is_secret(m))
		buf_append_str(&found, conf_kind_text(m->value->kind));
	else
		value_describe(&found, m->value);
	conf_error(r->report, m->place, "%s: expected %s, found %s", m->name, what, buf_str(&found));
	buf_deinit(&found);
}

bool conf_is_map(struct conf_read *r, const struct conf_member *m)
{
	if (m->value->kind == CONF_KIND_MAP) return true;
	conf_expected(r, m, "a map { … }");
	return false;
}

void *conf_alloc_array(struct conf_read *r, size_t n, size_t size)
{
	void *array = arena_alloc(r->arena, n * size);
	return memset(array, 0, n * size);
}

/* ---- storing by type ---- */

static void print_bound(struct buf *out, const struct conf_row *row, int64_t v)
{
	if (row->type == CONF_DURATION)
		duration_print(out, v);
	else
		buf_printf(out, "%lld", (long long)v);
}

static bool check_bounds(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, int64_t v)
{
	if (v >= row->min && v <= row->max) return true;
	struct buf range = { 0 };
	print_bound(&range, row, row->min);
	buf_append_str(&range, " to ");
	print_bound(&range, row, row->max);
	conf_expected(r, m, buf_str(&range));
	buf_deinit(&range);
	return false;
}

static void store_bool(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *field)
{
	(void)row;
	if (m->value->kind == CONF_KIND_BOOL)
		*(bool *)field = m->value->boolean;
	else
		conf_expected(r, m, "true or false");
}

static void store_int(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *field)
{
	if (m->value->kind != CONF_KIND_INT)
		conf_expected(r, m, "a whole number");
	else if (check_bounds(r, row, m, m->value->integer))
		*(int64_t *)field = m->value->integer;
}

static void store_size(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *field)
{
	if (m->value->kind != CONF_KIND_INT)
		conf_expected(r, m, "a size such as 65536, 64KB or 1MB");
	else if (check_bounds(r, row, m, m->value->integer))
		*(uint64_t *)field = (uint64_t)m->value->integer;
}

/* In quotes "1G" is 2^30 bytes, as in nats-server's jetstream block; without, 1G is 10^9 like everywhere else. */
static bool limit_of_text(const char *text, int64_t *out)
{
	static const char letters[] = "KMGT";
	size_t n = strlen(text);
	int64_t v;
	if (n > 1 && strchr(letters, text[n - 1] & ~0x20)) {
		unsigned power = (unsigned)(strchr(letters, text[n - 1] & ~0x20) - letters) + 1;
		if (slice_to_i64(slice_of(text, n - 1), &v) != OK || v < 0 || v > INT64_MAX >> (10 * power))
			return false;
		*out = v << (10 * power);
		return true;
	}
	return conf_integer_parse(slice_of_str(text), out) == OK;
}

static void store_limit(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *field)
{
	int64_t v = m->value->integer;
	bool is_size = m->value->kind == CONF_KIND_INT ||
		       (m->value->kind == CONF_KIND_STRING && limit_of_text(m->value->text, &v));
	if (!is_size)
		conf_expected(r, m, "a size such as 1GB or \"1G\"");
	else if (check_bounds(r, row, m, v))
		*(int64_t *)field = v;
}

/* Seconds as a number. False when they are beyond any clock. */
static bool duration_of_seconds(const struct conf_value *v, int64_t *ns)
{
	double seconds = v->kind == CONF_KIND_INT ? (double)v->integer : v->number;
	if (seconds > 9e9 || seconds < -9e9) return false;
	*ns = (int64_t)(seconds * (double)NS_PER_S);
	return true;
}

bool conf_read_duration(struct conf_read *r, const struct conf_member *m, bool seconds_are_fine, int64_t *ns)
{
	const struct conf_value *v = m->value;
	bool is_number = v->kind == CONF_KIND_INT || v->kind == CONF_KIND_FLOAT;
	bool ok = is_number ? duration_of_seconds(v, ns)
			    : v->kind == CONF_KIND_STRING && duration_parse(slice_of_str(v->text), ns) == OK;
	if (!ok) {
		conf_expected(r, m, "a duration such as \"2m\", \"1h30m\" or \"500ms\"");
		return false;
	}
	if (!is_number || seconds_are_fine) return true;
	struct buf text = { 0 };
	duration_print(&text, *ns);
	conf_warn(r->report, m->place,
		"%s: the number %s is taken as seconds and should be converted to a duration: \"%s\"", m->name, v->text,
		buf_str(&text));
	buf_deinit(&text);
	return true;
}

static void store_duration(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *field)
{
	int64_t ns;
	if (conf_read_duration(r, m, row->flags & CONF_SECONDS, &ns) && check_bounds(r, row, m, ns))
		*(uint64_t *)field = (uint64_t)ns;
}

static const char *keep(struct conf_read *r, const char *text) { return arena_strndup(r->arena, text, strlen(text)); }

const char *conf_read_string(struct conf_read *r, const struct conf_member *m)
{
	if (m->value->kind == CONF_KIND_STRING) return keep(r, m->value->text);
	bool is_scalar = m->value->kind != CONF_KIND_ARRAY && m->value->kind != CONF_KIND_MAP;
	conf_expected(r, m, is_scalar ? "a string (put it in quotes)" : "a string");
	return NULL;
}

static void store_string(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *field)
{
	(void)row;
	const char *text = conf_read_string(r, m);
	if (text) *(const char **)field = text;
}

void conf_read_strings(struct conf_read *r, const struct conf_member *m, struct conf_strings *out)
{
	const struct conf_value *v = m->value;
	if (v->kind != CONF_KIND_ARRAY) {
		const char *text = conf_read_string(r, m);
		*out = (struct conf_strings) { 0 };
		if (!text) return;
		out->at = conf_alloc_array(r, 1, sizeof *out->at);
		out->at[out->count++] = text;
		return;
	}
	*out = (struct conf_strings) { .at = conf_alloc_array(r, v->count, sizeof *out->at) };
	for (size_t i = 0; i < v->count; i++) {
		struct conf_member item = { .name = m->name, .value = v->items[i], .place = v->items[i]->place };
		const char *text = conf_read_string(r, &item);
		if (text) out->at[out->count++] = text;
	}
}

static void store_strings(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *field)
{
	(void)row;
	conf_read_strings(r, m, field);
}

static void store_port(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *field)
{
	int64_t fallback = 0;
	if (row->fallback) ASSERT(slice_to_i64(slice_of_str(row->fallback), &fallback) == OK);
	if (m->value->kind != CONF_KIND_INT) {
		conf_expected(r, m, "a port, or -1 for any free one");
		return;
	}
	int64_t port = m->value->integer;
	if (!check_bounds(r, row, m, port)) return;
	if (port == 0) port = fallback;
	*(uint16_t *)field = (uint16_t)(port < 0 ? 0 : port);
}

/* ---- "host:port" ---- */

static bool port_of_text(struct slice text, uint16_t default_port, uint16_t *out)
{
	int64_t port;
	if (slice_to_i64(text, &port) != OK || port < -1 || port > UINT16_MAX) return false;
	*out = port == 0 ? default_port : (uint16_t)(port < 0 ? 0 : port);
	return true;
}

/* An address with a colon of its own must stand in brackets. */
static bool host_of_text(struct slice host, struct slice *out)
{
	bool has_brackets = host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';
	*out = has_brackets ? slice_first(slice_from(host, 1), host.n - 2) : host;
	return slice_find(*out, '[') < 0 && slice_find(*out, ']') < 0 && (has_brackets || slice_find(host, ':') < 0);
}

bool conf_read_listen(struct conf_read *r, const struct conf_member *m, struct conf_listen *out, uint16_t default_port)
{
	static const char expects[] =
		"\"host:port\", \":port\" or a port, with a port of 0 to 65535 or -1 for any free one";
	const struct conf_value *v = m->value;
	bool ok = false;
	struct slice host = SLICE_NULL, text = slice_of_str(v->text);
	if (v->kind == CONF_KIND_INT) {
		ok = v->integer >= -1 && v->integer <= UINT16_MAX;
		if (ok) out->port = v->integer == 0 ? default_port : (uint16_t)(v->integer < 0 ? 0 : v->integer);
	} else if (v->kind == CONF_KIND_STRING) {
		size_t colon = text.n;
		while (colon > 0 && text.p[colon - 1] != ':') colon--;
		ok = colon > 0 && host_of_text(slice_first(text, colon - 1), &host) &&
		     port_of_text(slice_from(text, colon), default_port, &out->port);
	}
	if (!ok) {
		conf_expected(r, m, expects);
		return false;
	}
	if (host.n) out->host = arena_strndup(r->arena, host.p, host.n);
	out->is_on = true;
	return true;
}

static void store_listen(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *field)
{
	(void)row;
	(void)conf_read_listen(r, m, field, 0);
}

/* ---- blocks and what comes later ---- */

void conf_complain_later(struct conf_read *r, const struct conf_row *row, const struct conf_member *m)
{
	if (row->flags & CONF_WARNS)
		conf_warn(r->report, m->place, "%s: not implemented yet and ignored. %s", m->name, row->text);
	if (row->flags & CONF_REFUSES)
		conf_error(r->report, m->place, "%s: not implemented yet, and ignoring it would not be harmless. %s",
			m->name, row->text);
}

static void read_block(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	conf_complain_later(r, row, m);
	if (conf_is_map(r, m)) conf_read_map(r, row->block, m->value, base);
}

typedef void storer(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *field);
static storer *const storers[] = {
	[CONF_BOOL] = store_bool,
	[CONF_INT] = store_int,
	[CONF_LIMIT] = store_limit,
	[CONF_SIZE] = store_size,
	[CONF_DURATION] = store_duration,
	[CONF_STRING] = store_string,
	[CONF_STRINGS] = store_strings,
	[CONF_PORT] = store_port,
	[CONF_LISTEN] = store_listen,
};

void conf_read_member(struct conf_read *r, const struct conf_row *row, const struct conf_member *m, void *base)
{
	switch (row->type) {
	case CONF_CUSTOM: row->read(r, row, m, base); return;
	case CONF_BLOCK: read_block(r, row, m, base); return;
	case CONF_LATER: conf_complain_later(r, row, m); return;
	case CONF_BOOL:
	case CONF_INT:
	case CONF_LIMIT:
	case CONF_SIZE:
	case CONF_DURATION:
	case CONF_STRING:
	case CONF_STRINGS:
	case CONF_PORT:
	case CONF_LISTEN: storers[row->type](r, row, m, (char *)base + row->offset); return;
	}
	UNREACHABLE();
}

/* ---- maps ---- */

/* Edits (insert, delete, replace) that turn a into b, up to 3. */
static unsigned edit_distance(struct slice a, struct slice b)
{
	unsigned row[64];
	if (a.n >= COUNT_OF(row) || b.n >= COUNT_OF(row)) return 3;
	for (unsigned j = 0; j <= b.n; j++) row[j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++) {
			unsigned replaced = diagonal + (a.p[i - 1] != b.p[j - 1]);
			diagonal = row[j];
			unsigned moved = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
			row[j] = replaced < moved ? replaced : moved;
		}
	}
	return row[b.n] < 3 ? row[b.n] : 3;
}

static void complain_unknown(struct conf_read *r, enum conf_section section, const struct conf_member *m)
{
	const char *near = NULL;
	unsigned best = strlen(m->name) < 5 ? 2 : 3;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		unsigned distance = rows[i].section == section
					    ? edit_distance(slice_of_str(m->name), slice_of_str(rows[i].name))
					    : 3;
		if (distance >= best) continue;
		best = distance;
		near = rows[i].name;
	}
	const char *title = conf_section_of(section)->title;
	struct buf where = { 0 };
	if (*title) buf_printf(&where, " in %s", title);
	if (near) buf_printf(&where, ", did you mean \"%s\"?", near);
	conf_error(r->report, m->place, "unknown field \"%.80s\"%s", m->name, buf_str(&where));
	buf_deinit(&where);
}

void conf_read_map(struct conf_read *r, enum conf_section section, const struct conf_value *map, void *base)
{
	ASSERT(map->kind == CONF_KIND_MAP);
	for (const struct conf_member *m = map->first; m; m = m->next) {
		const struct conf_row *row = conf_row_find(section, m->name);
		if (row) {
			conf_read_member(r, row, m, base);
			r->places[row - rows] = m->place;
		} else if (!m->is_source) {
			complain_unknown(r, section, m);
		}
	}
}

void conf_set_row(struct conf_read *r, const struct conf_row *row, const struct conf_member *m)
{
	bool is_off = m->value->kind == CONF_KIND_BOOL && !m->value->boolean;
	if (row->type != CONF_LATER && row->type != CONF_BLOCK)
		conf_read_member(r, row, m, r->conf);
	else if (!is_off)
		conf_complain_later(r, row, m);
	r->places[row - rows] = m->place;
}

/* ---- defaults ---- */

static struct conf_value value_of_default(const struct conf_row *row)
{
	struct conf_value v = { .kind = CONF_KIND_STRING, .text = row->fallback, .place = { .file = "default" } };
	if (row->type == CONF_BOOL) {
		v.kind = CONF_KIND_BOOL;
		v.boolean = strcmp(row->fallback, "true") == 0;
	} else if (row->type != CONF_STRING && row->type != CONF_DURATION) {
		v.kind = CONF_KIND_INT;
		ASSERT(conf_integer_parse(slice_of_str(row->fallback), &v.integer) == OK);
	}
	return v;
}

void conf_read_defaults(struct conf_read *r, enum conf_section section, void *base)
{
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (rows[i].section != section || !rows[i].fallback || rows[i].type == CONF_CUSTOM) continue;
		struct conf_row unbound = rows[i];
		unbound.min = INT64_MIN; /* a default may stand for "not set", which nobody can write */
		unbound.max = INT64_MAX;
		struct conf_value v = value_of_default(&rows[i]);
		struct conf_member m = { .name = rows[i].name, .value = &v, .place = v.place };
		conf_read_member(r, &unbound, &m, base);
	}
}
