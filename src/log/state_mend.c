/* SPDX-License-Identifier: Apache-2.0 */
/* state_mend — a state store in which single values have rotted is not set aside: the groups that they belong to lose their state, the others
 * go on (S7: not all groups are doubted for one bit).
 *
 * That nothing else is damaged is proven: every page was walked, and the sum of all checksums as they stand in the file is the one that the head
 * says. The round that takes the damaged values out is one that SETTLED does not know yet, as after a crash (S13). */
#include <fcntl.h>
#include <unistd.h>

#include "state_lmdb.h"

enum { GROUPS_MAX = 64 };

struct mend {
	struct state_change changes[GROUPS_MAX];
	struct state_batch batches[GROUPS_MAX];
	struct buf metas[GROUPS_MAX];
	unsigned count;
};

static uint64_t key_group(struct slice key)
{
	uint64_t group = 0;
	for (int i = 0; i < 8; i++) group = group << 8 | key.p[i];
	return group;
}

/* The group's meta among those that the walk found. */
static bool meta_find(struct slice metas, uint64_t group, struct slice *out)
{
	while (metas.n) {
		uint32_t bytes = le32_get(metas.p + 8);
		*out = slice_first(slice_from(metas, 12), bytes);
		if (le64_get(metas.p) == group) return true;
		metas = slice_from(metas, 12 + (size_t)bytes);
	}
	return false;
}

/* Keys come in order, so those of a group are together. */
static bool plan_key(struct mend *m, struct slice key, struct slice metas, state_lose_fn *lose, void *arg)
{
	uint64_t group = key_group(key);
	unsigned i = m->count - 1;
	if (m->count == 0 || m->changes[i].group != group) {
		struct slice meta;
		if (m->count == GROUPS_MAX || !meta_find(metas, group, &meta)) return false;
		i = m->count++;
		m->changes[i].group = group;
		if (!lose(arg, group, meta, &m->metas[i])) return false;
	}
	state_batch_del(&m->batches[i], slice_from(key, STATE_PREFIX_BYTES));
	return true;
}

static bool plan(struct mend *m, struct slice bad, struct slice metas, state_lose_fn *lose, void *arg)
{
	while (bad.n) {
		uint32_t n = le32_get(bad.p);
		if (!plan_key(m, slice_of(bad.p + 4, n), metas, lose, arg)) return false;
		bad = slice_from(bad, 4 + (size_t)n);
	}
	for (unsigned i = 0; i < m->count; i++) {
		m->changes[i].meta = buf_slice(&m->metas[i]);
		m->changes[i].batch = buf_slice(&m->batches[i].ops);
	}
	return m->count > 0;
}

static void plan_free(struct mend *m)
{
	for (unsigned i = 0; i < m->count; i++) {
		state_batch_deinit(&m->batches[i]);
		buf_deinit(&m->metas[i]);
	}
	mem_free(m);
}

static void meta_tell(const struct mend *m, uint64_t group, struct slice meta, struct buf *out)
{
	for (unsigned i = 0; i < m->count; i++)
		if (m->changes[i].group == group) meta = m->changes[i].meta;
	buf_append_le64(out, group);
	buf_append_le32(out, (uint32_t)meta.n);
	buf_append_slice(out, meta);
}

enum err state_mend_preview(int fd, struct state_walk *out, struct buf *metas, state_lose_fn *lose, void *arg)
{
	struct buf found = { 0 }, bad = { 0 };
	struct mend *m = NEW(struct mend);
	state_walk_file_mendable(fd, out, &found, &bad);
	bool is_good = out->result == OK && plan(m, buf_slice(&bad), buf_slice(&found), lose, arg);
	for (struct slice in = buf_slice(&found); is_good && in.n;) {
		size_t n = le32_get(in.p + 8);
		meta_tell(m, le64_get(in.p), slice_first(slice_from(in, 12), n), metas);
		in = slice_from(in, 12 + n);
	}
	plan_free(m);
	buf_deinit(&found);
	buf_deinit(&bad);
	return is_good ? OK : ERR_CORRUPT;
}

static enum err commit(struct io *io, const char *path, const struct mend *m, uint64_t round)
{
	struct state *s;
	enum err e = state_lmdb.open(io, path, &s);
	if (e != OK) return e;
	struct state_head head = { .round = round + 1 };
	e = s->ops->commit(s, m->changes, m->count, &head);
	s->ops->close(s);
	return e;
}

enum err state_lmdb_mend(struct io *io, const char *path, state_lose_fn *lose, void *arg)
{
	struct state_walk walked;
	struct buf metas = { 0 }, bad = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return ERR_CORRUPT;
	state_walk_file_mendable(fd, &walked, &metas, &bad);
	(void)close(fd);
	struct mend *m = NEW(struct mend);
	enum err e = ERR_CORRUPT;
	if (walked.result == OK && plan(m, buf_slice(&bad), buf_slice(&metas), lose, arg))
		e = commit(io, path, m, walked.head.round);
	plan_free(m);
	buf_deinit(&metas);
	buf_deinit(&bad);
	return e;
}
