/* SPDX-License-Identifier: Apache-2.0 */
/* `thebes check DIR`: the offline look at a store (log_check), printed for people or as JSON. Exit code 0: whole, 1: damaged, 2: it
 * could not be checked. */
#include "cli_inside.h"

#include <stdio.h>
#include <unistd.h>

#include "thebes/io_uv.h"
#include "thebes/log.h"

enum { EXIT_WHOLE = 0, EXIT_DAMAGED = 1, EXIT_UNCHECKED = 2 };

static void print_finding_json(const struct log_finding *f)
{
	json_t *row = json_pack("{s:s, s:s}", "kind", f->is_damage ? "damage" : "note", "what", f->what);
	if (f->group) (void)json_object_set_new(row, "group", json_integer((json_int_t)f->group));
	if (f->from) (void)json_object_set_new(row, "from", json_integer((json_int_t)f->from));
	if (f->from && f->to != UINT64_MAX) (void)json_object_set_new(row, "to", json_integer((json_int_t)f->to));
	if (f->file) {
		(void)json_object_set_new(row, "file", json_string(f->file));
		(void)json_object_set_new(row, "offset", json_integer((json_int_t)f->offset));
	}
	(void)json_dumpf(row, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	(void)putchar('\n');
	json_decref(row);
}

static void print_finding_text(const struct log_finding *f)
{
	struct buf line = { 0 };
	buf_append_str(&line, f->is_damage ? "damage:" : "note:");
	if (f->group) buf_printf(&line, " group %llu", (unsigned long long)f->group);
	if (f->from && f->to == UINT64_MAX)
		buf_printf(&line, " from index %llu on", (unsigned long long)f->from);
	else if (f->from)
		buf_printf(&line, " index %llu..%llu", (unsigned long long)f->from, (unsigned long long)f->to);
	if (f->file) buf_printf(&line, " %s at %llu", f->file, (unsigned long long)f->offset);
	(void)printf("%s: %s\n", buf_str(&line), f->what);
	buf_deinit(&line);
}

static void print_finding(void *arg, const struct log_finding *f)
{
	const struct options *o = arg;
	if (o->json)
		print_finding_json(f);
	else
		print_finding_text(f);
}

static void print_report(const struct options *o, bool is_whole, const struct log_check_report *r)
{
	if (!o->json) {
		(void)printf("%s: %llu groups, %llu segments, %llu values of state, %.1f MiB compared; %llu damages, "
			     "%llu notes\n",
			is_whole ? "whole" : "damaged", (unsigned long long)r->groups, (unsigned long long)r->segments,
			(unsigned long long)r->values, (double)r->bytes / (double)MIB, (unsigned long long)r->damages,
			(unsigned long long)r->notes);
		return;
	}
	json_t *row = json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "kind", "report", "whole", is_whole,
		"groups", (json_int_t)r->groups, "segments", (json_int_t)r->segments, "values", (json_int_t)r->values,
		"bytes", (json_int_t)r->bytes, "damages", (json_int_t)r->damages, "notes", (json_int_t)r->notes);
	(void)json_dumpf(row, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	(void)putchar('\n');
	json_decref(row);
}

/* A server keeps its store in a directory below the one that it is given; either may be named. */
static void store_dir(struct buf *dir, const char *named)
{
	buf_printf(dir, "%s/jetstream", named);
	if (access(buf_str(dir), F_OK) == 0) return;
	buf_clear(dir);
	buf_append_str(dir, named);
}

int cli_check(struct link *l, const struct options *o)
{
	struct io *io;
	struct log_check_report report;
	char why[600];
	(void)l;
	if (io_uv_new(&io) != OK) {
		(void)cli_fail(o, "no event loop: %s", err_text(ERR_FILES));
		return EXIT_UNCHECKED;
	}
	struct buf dir = { 0 };
	store_dir(&dir, o->args[0]);
	enum err e = log_check(
		io, buf_str(&dir), &state_lmdb, print_finding, (void *)(uintptr_t)o, &report, why, sizeof why);
	buf_deinit(&dir);
	io_uv_free(io);
	if (e != OK && why[0]) {
		(void)cli_fail(o, "%s", why);
		return EXIT_UNCHECKED;
	}
	print_report(o, e == OK, &report);
	return e == OK ? EXIT_WHOLE : EXIT_DAMAGED;
}
