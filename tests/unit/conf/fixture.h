/* SPDX-License-Identifier: Apache-2.0 */
/* fixture — a world for conf in memory: files and environment are tables, a load is one call. */
#ifndef THEBES_TESTS_CONF_FIXTURE_H
#define THEBES_TESTS_CONF_FIXTURE_H

#include "check.h"
#include "conf_table.h"

struct pair {
	const char *name, *text;
};

/* The file under test is "main.conf" with `text`; NULL-terminated lists of others. */
struct world {
	const char *text;
	const struct pair *files, *env;
};

static inline const char *pair_find(const struct pair *list, const char *name)
{
	for (; list && list->name; list++)
		if (strcmp(list->name, name) == 0) return list->text;
	return NULL;
}

static inline enum err world_read(void *arg, const char *path, struct buf *out)
{
	const struct world *w = arg;
	const char *text = strcmp(path, "main.conf") == 0 ? w->text : pair_find(w->files, path);
	if (!text) return ERR_NOT_FOUND;
	buf_append_str(out, text);
	return OK;
}

static inline const char *world_env(void *arg, const char *name)
{
	const struct world *w = arg;
	return pair_find(w->env, name);
}

/* Of the files of `tls` those whose name begins with "bad" cannot be used. */
static inline bool world_try_tls(void *arg, const struct conf *c, const char **key, struct buf *why)
{
	const char *const keys[] = { "cert_file", "key_file", "ca_file" };
	const char *const paths[] = { c->tls.cert_file, c->tls.key_file, c->tls.ca_file };
	(void)arg;
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		if (!paths[i] || strncmp(paths[i], "bad", 3) != 0) continue;
		*key = keys[i];
		buf_printf(why, "expected PEM, found %s", paths[i]);
		return false;
	}
	return true;
}

static inline struct conf_source world_source(struct world *w)
{
	return (struct conf_source) { .read_file = world_read, .env = world_env, .try_tls = world_try_tls, .arg = w };
}

/* Loads main.conf and, if argv is given, flags over it. The report stays for the caller. */
static inline enum err load_with(struct world *w, const char *const *argv, struct conf *c, struct conf_report *report)
{
	struct conf_source source = world_source(w);
	struct conf_command cmd = { 0 };
	int argc = 0;
	*report = (struct conf_report) { .error_count = 0 };
	while (argv && argv[argc]) argc++;
	if (argv) conf_command_parse(&cmd, argc, argv, "nats-server", "0.0.0");
	assert_true(!argv || cmd.verdict == CONF_RUN);
	enum err e = conf_load(c, w->text ? "main.conf" : NULL, argv ? &cmd : NULL, &source, report);
	conf_command_deinit(&cmd);
	return e;
}

/* A file that must load without a word. The conf is the caller's. */
static inline struct conf load_fine(const char *text)
{
	struct world w = { .text = text };
	struct conf c;
	struct conf_report report;
	if (load_with(&w, NULL, &c, &report) != OK) fail_msg("\"%s\": %s", text, buf_str(&report.errors));
	if (report.warning_count) fail_msg("\"%s\": %s", text, buf_str(&report.warnings));
	conf_report_deinit(&report);
	return c;
}

/* What loading says: errors, or else warnings; "" when nothing. */
static inline void load_says(struct world *w, const char *const *argv, struct buf *said)
{
	struct conf c;
	struct conf_report report;
	buf_clear(said);
	enum err e = load_with(w, argv, &c, &report);
	assert_int_equal(e, report.error_count ? ERR_INVALID : OK);
	buf_append_slice(said, buf_slice(report.error_count ? &report.errors : &report.warnings));
	conf_report_deinit(&report);
	conf_deinit(&c);
}

#endif
