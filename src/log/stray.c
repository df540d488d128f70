/* SPDX-License-Identifier: Apache-2.0 */
/* stray — at start: files under DIR/groups that nothing names. They are left over from rounds that failed, from segments and generations
 * whose unlinking a crash cut short, from groups that went. They go, but not before a round has been recorded that cannot fall back to a
 * state that names them (S13), and never when a later round might make a file of the same name. That round is begun for them: what a
 * power cut brought back may be what was erased (S15). */
#include <stdio.h>
#include <stdlib.h>

#include "log_internal.h"

struct stray {
	struct log *log;
	struct log_group *g;
	uint64_t group;
};

static bool hex_parse(const char *name, size_t digits, uint64_t *out)
{
	if (strlen(name) != digits || strspn(name, "0123456789abcdef") != digits) return false;
	*out = strtoull(name, NULL, 16);
	return true;
}

/* "<first index 16 hex>[-<rewrite hex>].seg|idx" */
static bool segment_name_parse(const char *name, uint64_t *first, uint32_t *rewrite)
{
	char text[17] = { 0 };
	if (strlen(name) < 20) return false;
	memcpy(text, name, 16);
	if (!hex_parse(text, 16, first)) return false;
	const char *at = name + 16;
	*rewrite = 0;
	if (*at == '-') {
		char *end;
		*rewrite = (uint32_t)strtoul(at + 1, &end, 16);
		at = end;
	}
	return strcmp(at, ".seg") == 0 || strcmp(at, ".idx") == 0;
}

static void stray_file(void *arg, const char *name, bool is_dir)
{
	struct stray *t = arg;
	const struct log_group *g = t->g;
	struct segment_info s = { 0 };
	uint64_t first;
	uint32_t rewrite;
	if (strcmp(name, "state") == 0 && !g->is_installed) settle_bury_state(t->log, t->g, t->log->settle.held_round);
	if (is_dir || !segment_name_parse(name, &first, &rewrite)) return;
	if (first > g->settled_index) return; /* the next round may make a segment of this name */
	uint32_t at = segment_list_find(&g->segments, first);
	bool is_there = at < g->segments.count && g->segments.rows[at].first_index == first;
	if (is_there && rewrite >= g->segments.rows[at].rewrite)
		return; /* the segment itself, or what a rewrite may make */
	s.first_index = first;
	s.rewrite = rewrite;
	settle_bury_segment(t->log, g, &s, t->log->settle.held_round);
	t->log->settle.has_strays = true;
}

static void stray_generation(void *arg, const char *name, bool is_dir)
{
	struct stray *t = arg;
	uint64_t generation;
	if (!is_dir || !hex_parse(name, 8, &generation) || generation == t->g->generation) return;
	t->g->generation_tried = u64_max(t->g->generation_tried, generation);
	settle_bury(t->log, t->group, generation, 0);
}

static void stray_group(void *arg, const char *name, bool is_dir)
{
	struct buf *ids = arg;
	uint64_t id;
	if (is_dir && hex_parse(name, 16, &id) && id) buf_append_le64(ids, id);
}

static enum err list_if_there(struct io *io, const char *path, io_dir_each_fn *each, void *arg)
{
	enum err e = io_dir_list(io, path, each, arg);
	return e == ERR_NOT_FOUND ? OK : e;
}

enum err stray_bury(struct log *l)
{
	struct buf ids = { 0 }, path = { 0 };
	buf_printf(&path, "%s/groups", l->options.dir);
	enum err e = io_dir_list(l->io, buf_str(&path), stray_group, &ids);
	for (size_t at = 0; e == OK && at < ids.n; at += 8) {
		struct stray t = { .log = l, .group = le64_get(ids.p + at) };
		t.g = log_group_find(l, t.group);
		if (!t.g) {
			settle_bury(l, t.group, 0, 0);
			continue;
		}
		struct segment_place place = { .dir = l->options.dir, .group = t.group };
		e = list_if_there(l->io, segment_dir_path(&place, &path), stray_generation, &t);
		place.generation = t.g->generation;
		if (e == OK) e = list_if_there(l->io, segment_dir_path(&place, &path), stray_file, &t);
	}
	buf_deinit(&ids);
	buf_deinit(&path);
	return e;
}
