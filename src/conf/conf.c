/* SPDX-License-Identifier: Apache-2.0 */
/* conf — from files and flags to one struct conf.
 *
 * Happy path: defaults -> conf_parse_file (lexer, tree) -> conf_read_map (table) -> conf_flags_apply -> conf_check. The
 * tree and its texts die here; what struct conf points to is copied to its own arena. */
#include "conf_table.h"

static void digest_bytes(void *arg, struct slice text) { conf_sha256_add(arg, text); }

static void digest_print(struct conf_sha256 *s, struct conf *c)
{
	uint8_t hash[32];
	struct buf text = { 0 };
	conf_sha256_end(s, hash);
	buf_append_str(&text, "sha256:");
	for (size_t i = 0; i < sizeof hash; i++) buf_printf(&text, "%02x", hash[i]);
	ASSERT(text.n < sizeof c->digest);
	memcpy(c->digest, buf_str(&text), text.n + 1);
	buf_deinit(&text);
}

static void load_file(struct conf_read *r, const char *file, const struct conf_source *source)
{
	struct conf_parse parse;
	struct conf_sha256 digest;
	struct arena tree;
	arena_init(&tree, 0);
	conf_sha256_init(&digest);
	conf_parse_init(&parse, source, r->report, &tree, r->arena);
	parse.on_bytes = digest_bytes;
	parse.on_bytes_arg = &digest;
	const struct conf_value *map = conf_parse_file(&parse, file);
	if (map) conf_read_map(r, SECTION_TOP, map, r->conf);
	r->report->is_syntax = !map && !parse.is_unreadable;
	digest_print(&digest, r->conf);
	conf_parse_deinit(&parse);
	arena_deinit(&tree);
}

static void load_defaults(struct conf_read *r)
{
	static const enum conf_section of_conf[] = {
		SECTION_TOP,
		SECTION_AUTHORIZATION,
		SECTION_JETSTREAM,
		SECTION_JETSTREAM_LIMITS,
		SECTION_JOURNAL,
		SECTION_TLS,
	};
	struct conf *c = r->conf;
	for (size_t i = 0; i < COUNT_OF(of_conf); i++) conf_read_defaults(r, of_conf[i], c);
	c->client.is_on = true;
	c->system_account = CONF_ACCOUNT_SYSTEM;
	c->accounts = conf_alloc_array(r, 2, sizeof *c->accounts);
	conf_account_init(r, &c->accounts[0], CONF_ACCOUNT_GLOBAL, (struct conf_place) { .file = "default" });
	c->account_count = 1;
}

enum err conf_load(struct conf *c, const char *file, const struct conf_command *cmd, const struct conf_source *source,
	struct conf_report *report)
{
	size_t rows;
	(void)conf_rows(&rows);
	struct conf_place *places = mem_zalloc(rows * sizeof *places);
	struct conf_read r = { .conf = c, .report = report, .source = source, .arena = &c->arena, .places = places };
	*c = (struct conf) { .file = NULL };
	arena_init(&c->arena, 0);
	load_defaults(&r);
	ASSERT(report->error_count == 0 && report->warning_count == 0);
	if (file) {
		c->file = arena_strndup(&c->arena, file, strlen(file));
		load_file(&r, file, source);
	}
	if (cmd) conf_flags_apply(&r, cmd);
	if (report->error_count == 0) conf_check(&r);
	mem_free(places);
	if (report->error_count == 0) return OK;
	if (report->error_count > CONF_ERRORS_MAX)
		buf_printf(&report->errors, "… and %zu more\n", report->error_count - CONF_ERRORS_MAX);
	conf_deinit(c);
	return ERR_INVALID;
}

void conf_deinit(struct conf *c)
{
	arena_deinit(&c->arena);
	*c = (struct conf) { .file = NULL };
}

const struct conf_account *conf_account_find(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->account_count; i++)
		if (strcmp(c->accounts[i].name, name) == 0) return &c->accounts[i];
	return NULL;
}
