/* SPDX-License-Identifier: Apache-2.0 */
/* conf_parse — keys and scalars to a tree: maps, arrays, variables, includes (spec §3.1).
 *
 * Happy path: parse_file reads and hashes -> parse_members up to the end -> each value is made by parse_value. A
 * variable takes the value of a key that was defined before it in an enclosing map of the same file, else of the
 * environment, whose text is parsed as a value. Values are shared, not copied, so a tree is at most as large as its
 * text. */
#include "conf_tree.h"

/* Where the parser stands: the file's characters and the open maps, innermost last. */
struct scope {
	struct conf_lex lex;
	const struct conf_value *maps[CONF_DEPTH_MAX]; /* borrowed */
	unsigned map_count, depth;
};

static struct conf_value *parse_value(struct conf_parse *p, struct scope *s);

/* ---- problems ---- */

static void report_line(struct buf *lines, struct conf_place at, const char *fmt, va_list ap)
{
	struct buf text = { 0 };
	buf_append_str(&text, at.file);
	if (at.line) buf_printf(&text, ":%u:%u", at.line, at.column);
	buf_append_str(&text, ": ");
	buf_vprintf(&text, fmt, ap);
	buf_append_clean(lines, buf_slice(&text));
	buf_append_byte(lines, '\n');
	buf_deinit(&text);
}

void conf_error(struct conf_report *r, struct conf_place at, const char *fmt, ...)
{
	if (++r->error_count > CONF_ERRORS_MAX) return;
	va_list ap;
	va_start(ap, fmt);
	report_line(&r->errors, at, fmt, ap);
	va_end(ap);
}

void conf_warn(struct conf_report *r, struct conf_place at, const char *fmt, ...)
{
	if (++r->warning_count > CONF_ERRORS_MAX) return;
	va_list ap;
	va_start(ap, fmt);
	report_line(&r->warnings, at, fmt, ap);
	va_end(ap);
}

void conf_report_deinit(struct conf_report *r)
{
	buf_deinit(&r->errors);
	buf_deinit(&r->warnings);
	*r = (struct conf_report) { 0 };
}

const char *conf_kind_text(enum conf_kind kind)
{
	static const char *const texts[] = {
		[CONF_KIND_BOOL] = "true or false",
		[CONF_KIND_INT] = "a whole number",
		[CONF_KIND_FLOAT] = "a number with a point",
		[CONF_KIND_STRING] = "a string",
		[CONF_KIND_ARRAY] = "an array",
		[CONF_KIND_MAP] = "a map",
	};
	ASSERT((unsigned)kind < COUNT_OF(texts));
	return texts[kind];
}

/* ---- members ---- */

static struct slice member_key(const void *item) { return ((const struct conf_member *)item)->id; }

void conf_parse_init(struct conf_parse *p, const struct conf_source *source, struct conf_report *report,
	struct arena *arena, struct arena *names)
{
	*p = (struct conf_parse) { .source = source, .report = report, .arena = arena, .names = names };
	map_init(&p->members, 0, member_key);
}

void conf_parse_deinit(struct conf_parse *p)
{
	map_deinit(&p->members);
	buf_deinit(&p->id);
}

/* The address of the map and the name: what members are found by. Borrowed until the next call. */
static struct slice member_id(struct conf_parse *p, const struct conf_value *map, struct slice name)
{
	uintptr_t address = (uintptr_t)map;
	buf_clear(&p->id);
	buf_append(&p->id, &address, sizeof address);
	buf_append_slice(&p->id, name);
	return buf_slice(&p->id);
}

struct conf_member *conf_member_find(struct conf_parse *p, const struct conf_value *map, struct slice name)
{
	return map_get(&p->members, member_id(p, map, name));
}

/* Sets a member; one that was there before is overridden. */
static void member_set(
	struct conf_parse *p, struct conf_value *map, const char *name, struct conf_place at, struct conf_value *value)
{
	struct conf_member *m = conf_member_find(p, map, slice_of_str(name));
	if (!m) {
		m = arena_alloc(p->arena, sizeof *m);
		struct slice id = member_id(p, map, slice_of_str(name));
		*m = (struct conf_member) { .name = name, .id = slice_of(arena_strndup(p->arena, id.p, id.n), id.n) };
		if (map->last)
			map->last->next = m;
		else
			map->first = m;
		map->last = m;
		map->count++;
		(void)map_put(&p->members, m);
	}
	m->value = value;
	m->place = at;
}

/* ---- variables ---- */

static struct conf_value *value_copy(struct conf_parse *p, const struct conf_value *from, struct conf_place at)
{
	struct conf_value *v = arena_alloc(p->arena, sizeof *v);
	*v = *from;
	v->place = at;
	return v;
}

/* The text of an environment variable is a value by itself; what it refers to is in the environment, too. */
static struct conf_value *variable_from_text(
	struct conf_parse *p, const char *name, const char *text, struct conf_place at)
{
	for (unsigned i = 0; i < p->resolving_count; i++) {
		if (strcmp(p->resolving[i], name) != 0) continue;
		conf_error(p->report, at, "the variable $%s refers to itself", name);
		return NULL;
	}
	if (p->resolving_count == COUNT_OF(p->resolving)) {
		conf_error(p->report, at, "the variable $%s needs too many others, at most %d", name,
			CONF_INCLUDE_DEPTH_MAX);
		return NULL;
	}
	struct scope inner = { .map_count = 0 };
	struct buf label = { 0 };
	buf_printf(&label, "%s:%u:%u: environment variable %s", at.file, at.line, at.column, name);
	conf_lex_init(&inner.lex, arena_strndup(p->names, label.p, label.n), slice_of_str(text), p->report, p->arena);
	buf_deinit(&label);
	conf_lex_skip_to_item(&inner.lex);
	if (conf_lex_is_at_end(&inner.lex))
		return value_copy(p, &(struct conf_value) { .kind = CONF_KIND_STRING, .text = "" }, at);
	p->resolving[p->resolving_count++] = name;
	struct conf_value *v = parse_value(p, &inner);
	p->resolving_count--;
	if (!v) return NULL;
	conf_lex_skip_to_item(&inner.lex);
	if (!conf_lex_is_at_end(&inner.lex)) {
		conf_error(p->report, conf_lex_place(&inner.lex), "expected one value, found %s behind it",
			conf_lex_found(&inner.lex));
		return NULL;
	}
	return value_copy(p, v, at);
}

static struct conf_value *variable_resolve(
	struct conf_parse *p, const struct scope *s, const char *name, struct conf_place at)
{
	for (unsigned i = s->map_count; i-- > 0;) {
		struct conf_member *m = conf_member_find(p, s->maps[i], slice_of_str(name));
		if (!m) continue;
		m->is_source = true;
		return value_copy(p, m->value, at);
	}
	const char *text = p->source->env ? p->source->env(p->source->arg, name) : NULL;
	if (!text) {
		conf_error(p->report, at, "the variable $%s is neither defined above nor in the environment", name);
		return NULL;
	}
	char *copy = arena_strndup(p->arena, text, strlen(text));
	return variable_from_text(p, name, copy, at);
}

/* ---- values ---- */

/* Behind an element: one comma, the end of a line, both, or the end of the array. */
static bool array_separator(struct conf_lex *l)
{
	conf_lex_skip_blanks(l);
	conf_lex_skip_comment(l);
	bool is_newline = conf_lex_is_newline(conf_lex_peek(l));
	conf_lex_skip_to_item(l);
	if (conf_lex_peek(l) == ']') return true;
	if (conf_lex_peek(l) != ',') return is_newline;
	conf_lex_advance(l);
	conf_lex_skip_to_item(l);
	return true;
}

/* Makes room for more items; what the arena held before stays there until the tree dies. */
static size_t array_grow(struct conf_parse *p, struct conf_value *array, size_t cap)
{
	cap = cap ? cap * 2 : 4;
	struct conf_value **grown = arena_alloc(p->arena, cap * sizeof(void *));
	for (size_t i = 0; i < array->count; i++) grown[i] = array->items[i];
	array->items = grown;
	return cap;
}

static bool parse_items(struct conf_parse *p, struct scope *s, struct conf_value *array)
{
	struct conf_lex *l = &s->lex;
	size_t cap = 0;
	conf_lex_skip_to_item(l);
	while (conf_lex_peek(l) != ']') {
		if (conf_lex_is_at_end(l)) {
			conf_error(p->report, array->place,
				"the array that opens here is never closed, expected ] before the end of the file");
			return false;
		}
		if (array->count == cap) cap = array_grow(p, array, cap);
		struct conf_value *item = parse_value(p, s);
		if (!item) return false;
		array->items[array->count++] = item;
		if (!array_separator(l) && !conf_lex_is_at_end(l)) {
			conf_error(p->report, conf_lex_place(l), "expected ',' or ']' in the array, found %s",
				conf_lex_found(l));
			return false;
		}
	}
	conf_lex_advance(l);
	return true;
}

static bool parse_members(struct conf_parse *p, struct scope *s, struct conf_value *map, bool is_file);

/* A map or an array, from its bracket on. */
static struct conf_value *parse_nested(struct conf_parse *p, struct scope *s, enum conf_kind kind)
{
	struct conf_place at = conf_lex_place(&s->lex);
	if (s->depth == CONF_DEPTH_MAX - 1) {
		conf_error(p->report, at, "too deep, expected at most %d maps and arrays inside each other",
			CONF_DEPTH_MAX);
		return NULL;
	}
	struct conf_value *v = arena_alloc(p->arena, sizeof *v);
	*v = (struct conf_value) { .kind = kind, .place = at };
	conf_lex_advance(&s->lex);
	s->depth++;
	bool ok = kind == CONF_KIND_MAP ? parse_members(p, s, v, false) : parse_items(p, s, v);
	s->depth--;
	return ok ? v : NULL;
}

static struct conf_value *parse_value(struct conf_parse *p, struct scope *s)
{
	uint8_t c = conf_lex_peek(&s->lex);
	if (c == '{') return parse_nested(p, s, CONF_KIND_MAP);
	if (c == '[') return parse_nested(p, s, CONF_KIND_ARRAY);
	struct conf_value *v = arena_alloc(p->arena, sizeof *v);
	switch (conf_lex_scalar(&s->lex, v)) {
	case CONF_SCALAR_VALUE: return v;
	case CONF_SCALAR_VARIABLE: return variable_resolve(p, s, v->text, v->place);
	case CONF_SCALAR_ERROR: return NULL;
	}
	UNREACHABLE();
}

/* ---- includes ---- */

static struct conf_value *parse_path(struct conf_parse *p, const char *path, struct conf_place at);

/* A name relative to the directory of the including file. */
static const char *include_path(struct conf_parse *p, const char *including, const char *name)
{
	const char *slash = strrchr(including, '/');
	if (name[0] == '/' || !slash) return arena_strndup(p->names, name, strlen(name));
	size_t directory = (size_t)(slash - including) + 1, n = strlen(name);
	char *path = arena_alloc(p->names, directory + n + 1);
	memcpy(path, including, directory);
	memcpy(path + directory, name, n + 1);
	return path;
}

/* The members of the named file join `map`. */
static bool parse_include(struct conf_parse *p, struct scope *s, struct conf_value *map, struct conf_place at)
{
	const char *name = conf_lex_include(&s->lex);
	if (!name) return false;
	const char *including = p->including[p->including_count - 1];
	const struct conf_value *included = parse_path(p, include_path(p, including, name), at);
	if (!included) return false;
	for (const struct conf_member *m = included->first; m; m = m->next) {
		member_set(p, map, m->name, m->place, m->value);
		if (m->is_source) conf_member_find(p, map, slice_of_str(m->name))->is_source = true;
	}
	return true;
}

/* ---- members of a map or a file ---- */

/* After the key. A value may begin on a later line when nothing but space separates it from its key (nats-server lets a
 * brace open on the next line); in a map also behind ':' or '='. */
static bool parse_gap(struct conf_parse *p, struct scope *s, const char *key, bool has_separator, bool is_file)
{
	struct conf_lex *l = &s->lex;
	struct conf_place at = conf_lex_place(l);
	conf_lex_skip_blanks(l);
	if (conf_lex_is_newline(conf_lex_peek(l)) && (!has_separator || !is_file)) conf_lex_skip_space(l);
	uint8_t c = conf_lex_peek(l);
	if (!conf_lex_is_at_end(l) && !conf_lex_is_newline(c) && c != '}' && c != ',' && c != ';') return true;
	conf_error(p->report, at, "expected a value for \"%s\", found %s", key, conf_lex_found(l));
	return false;
}

/* Behind a value. A key without a value, which takes what stands in the next line for it, is seen here: so say where it
 * came from. */
static bool parse_end(struct conf_parse *p, struct scope *s, const char *key, uint32_t key_line, uint32_t value_line)
{
	struct conf_lex *l = &s->lex;
	conf_lex_skip_blanks(l);
	conf_lex_skip_comment(l);
	uint8_t c = conf_lex_peek(l);
	if (c == ',' || c == ';') {
		conf_lex_advance(l);
		return true;
	}
	if (conf_lex_is_at_end(l) || conf_lex_is_newline(c) || c == '}') return true;
	struct conf_place at = conf_lex_place(l);
	const char *found = conf_lex_found(l);
	if (key_line != value_line)
		conf_error(p->report, at,
			"expected end of line, found %s (\"%s\" in line %u has no value and took this line's)", found,
			key, key_line);
	else
		conf_error(p->report, at, "expected end of line, ',' or ';' behind the value of \"%s\", found %s", key,
			found);
	return false;
}

static bool parse_member(struct conf_parse *p, struct scope *s, struct conf_value *map, bool is_file)
{
	struct conf_lex *l = &s->lex;
	struct conf_place at = conf_lex_place(l);
	bool is_bare, has_separator;
	const char *key = conf_lex_key(l, &is_bare, &has_separator);
	if (!key) return false;
	bool is_include = is_bare && !has_separator && slice_eq_nocase(slice_of_str(key), SLICE("include"));
	if (is_include) return parse_include(p, s, map, at) && parse_end(p, s, key, at.line, at.line);
	if (!parse_gap(p, s, key, has_separator, is_file)) return false;
	struct conf_value *v = parse_value(p, s);
	if (!v) return false;
	member_set(p, map, key, at, v);
	return parse_end(p, s, key, at.line, v->place.line);
}

/* The end of a map, or of a file: which may be wrapped in braces as a whole, or end in one stray '}'. */
static bool parse_close(
	struct conf_parse *p, struct scope *s, const struct conf_value *map, bool is_file, bool is_wrapped)
{
	struct conf_lex *l = &s->lex;
	bool is_closed = conf_lex_peek(l) == '}';
	if (!is_closed && (!is_file || is_wrapped)) {
		conf_error(p->report, map->place,
			"the map that opens here is never closed, expected } before the end of the file");
		return false;
	}
	if (!is_closed) return true;
	conf_lex_advance(l);
	if (!is_file) return true;
	conf_lex_skip_to_item(l);
	if (conf_lex_is_at_end(l)) return true;
	conf_error(p->report, conf_lex_place(l), "expected the end of the file behind the last }, found %s",
		conf_lex_found(l));
	return false;
}

static bool parse_members(struct conf_parse *p, struct scope *s, struct conf_value *map, bool is_file)
{
	struct conf_lex *l = &s->lex;
	bool is_wrapped = false;
	s->maps[s->map_count++] = map;
	ASSERT(s->map_count <= CONF_DEPTH_MAX);
	conf_lex_skip_to_item(l);
	if (is_file && conf_lex_peek(l) == '{') {
		is_wrapped = true;
		map->place = conf_lex_place(l);
		conf_lex_advance(l);
		conf_lex_skip_to_item(l);
	}
	bool ok = true;
	while (ok && !conf_lex_is_at_end(l) && conf_lex_peek(l) != '}') {
		ok = parse_member(p, s, map, is_file);
		if (ok) conf_lex_skip_to_item(l);
	}
	s->map_count--;
	return ok && parse_close(p, s, map, is_file, is_wrapped);
}

/* ---- files ---- */

static bool file_read(struct conf_parse *p, const char *path, struct conf_place at, struct buf *text)
{
	enum err e = p->source->read_file ? p->source->read_file(p->source->arg, path, text) : ERR_NOT_FOUND;
	if (e != OK) {
		p->is_unreadable = true;
		conf_error(p->report, at, "the file \"%s\" cannot be read: %s", path, err_text(e));
		return false;
	}
	p->bytes += text->n;
	if (p->bytes <= CONF_BYTES_MAX) return true;
	conf_error(p->report, at, "the configuration is larger than %d MiB with \"%s\"", CONF_BYTES_MAX / (1024 * 1024),
		path);
	return false;
}

/* `at` is the include, or the file itself. */
static struct conf_value *parse_path(struct conf_parse *p, const char *path, struct conf_place at)
{
	for (unsigned i = 0; i < p->including_count; i++) {
		if (strcmp(p->including[i], path) != 0) continue;
		conf_error(p->report, at, "the file \"%s\" includes itself", path);
		return NULL;
	}
	if (p->including_count == COUNT_OF(p->including)) {
		conf_error(p->report, at, "too many files include each other, at most %d", CONF_INCLUDE_DEPTH_MAX);
		return NULL;
	}
	struct buf text = { 0 };
	struct scope s = { .map_count = 0 };
	struct conf_value *map = NULL;
	if (file_read(p, path, at, &text)) {
		if (p->on_bytes) p->on_bytes(p->on_bytes_arg, buf_slice(&text));
		map = arena_alloc(p->arena, sizeof *map);
		conf_lex_init(&s.lex, path, buf_slice(&text), p->report, p->arena);
		*map = (struct conf_value) { .kind = CONF_KIND_MAP, .place = conf_lex_place(&s.lex) };
		p->including[p->including_count++] = path;
		if (!parse_members(p, &s, map, true)) map = NULL;
		p->including_count--;
	}
	buf_deinit(&text);
	return map;
}

struct conf_value *conf_parse_file(struct conf_parse *p, const char *path)
{
	const char *kept = arena_strndup(p->names, path, strlen(path));
	return parse_path(p, kept, (struct conf_place) { .file = kept });
}
