/* SPDX-License-Identifier: Apache-2.0 */
/* mem_image — see mem_image.h. */
#include "mem_image.h"
#include "thebes/state.h"

struct cell *cell_ref(struct cell *c)
{
	if (c) c->refs++;
	return c;
}

void cell_unref(struct cell *c)
{
	if (!c || --c->refs) return;
	buf_deinit(&c->bytes);
	mem_free(c);
}

void image_cut(struct image *m, uint64_t from)
{
	while (m->count && m->first + m->count > from) cell_unref(m->cells[--m->count]);
}

static void image_drop_front(struct image *m, uint64_t below)
{
	size_t n = 0;
	while (n < m->count && m->first + n < below) cell_unref(m->cells[n++]);
	memmove(m->cells, m->cells + n, (m->count - n) * sizeof *m->cells);
	m->count -= n;
	m->first += n;
}

static void image_push(struct image *m, struct cell *c)
{
	if (m->count == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 64;
		m->cells = mem_realloc(m->cells, m->cap * sizeof *m->cells);
	}
	m->cells[m->count++] = cell_ref(c);
}

struct cell *image_at(const struct image *m, uint64_t index)
{
	return index >= m->first && index < m->first + m->count ? m->cells[index - m->first] : NULL;
}

uint64_t image_last(const struct image *m) { return m->first + m->count - 1; }

void image_hole(struct image *m, uint64_t index)
{
	if (!image_at(m, index)) return;
	cell_unref(m->cells[index - m->first]);
	m->cells[index - m->first] = NULL;
}

static void pairs_clear(struct image *m)
{
	for (size_t i = 0; i < m->pair_count; i++) {
		buf_deinit(&m->pairs[i].key);
		buf_deinit(&m->pairs[i].value);
	}
	m->pair_count = 0;
}

static void pair_change(struct image *m, bool put, struct slice key, struct slice value)
{
	size_t at = 0;
	while (at < m->pair_count && slice_cmp(buf_slice(&m->pairs[at].key), key) < 0) at++;
	bool there = at < m->pair_count && slice_eq(buf_slice(&m->pairs[at].key), key);
	if (there) {
		buf_deinit(&m->pairs[at].key);
		buf_deinit(&m->pairs[at].value);
		memmove(m->pairs + at, m->pairs + at + 1, (--m->pair_count - at) * sizeof *m->pairs);
	}
	if (!put) return;
	if (m->pair_count == m->pair_cap) {
		m->pair_cap = m->pair_cap ? 2 * m->pair_cap : 8;
		m->pairs = mem_realloc(m->pairs, m->pair_cap * sizeof *m->pairs);
	}
	memmove(m->pairs + at + 1, m->pairs + at, (m->pair_count++ - at) * sizeof *m->pairs);
	m->pairs[at] = (struct pair) { 0 };
	buf_append_slice(&m->pairs[at].key, key);
	buf_append_slice(&m->pairs[at].value, value);
}

void image_free(struct image *m)
{
	image_cut(m, 0);
	pairs_clear(m);
	mem_free(m->pairs);
	mem_free(m->cells);
	buf_deinit(&m->conf);
	list_remove_if_linked(&m->link);
	mem_free(m);
}

struct image *image_copy(const struct image *from)
{
	struct image *m = NEW(struct image);
	*m = *from;
	m->link = (struct list) { 0 };
	m->conf = (struct buf) { 0 };
	buf_append_slice(&m->conf, buf_slice(&from->conf));
	m->cells = NULL;
	m->count = m->cap = 0;
	for (size_t i = 0; i < from->count; i++) image_push(m, from->cells[i]);
	m->pairs = NULL;
	m->pair_count = m->pair_cap = 0; /* the state is read from what is durable */
	return m;
}

static void changes_apply(struct image *m, struct slice in)
{
	bool put;
	struct slice key, value;
	while (state_batch_next(&in, &put, &key, &value) == OK) pair_change(m, put, key, value);
}

void image_apply(struct image *m, const struct op *o, bool with_state)
{
	switch (o->kind) {
	case OP_MAKE:
	case OP_GONE: break;
	case OP_VOTE:
		m->term = o->a;
		m->vote = o->b;
		break;
	case OP_APPEND:
		for (size_t i = 0; i < o->count; i++) {
			ASSERT(o->cells[i]->index == image_last(m) + 1);
			image_push(m, o->cells[i]);
			m->commit = u64_max(m->commit, o->cells[i]->head.commit);
		}
		break;
	case OP_TRUNC: image_cut(m, o->a); break;
	case OP_DOUBT_END:
		m->in_doubt = false;
		m->term = o->a;
		m->vote = o->b;
		break;
	case OP_SETTLED: /* a: state index, b: its term, c: conf index, d: entries below are dropped; cells: holes are not there */
		m->state_index = o->a;
		m->state_term = o->b;
		m->conf_index = o->c;
		buf_clear(&m->conf);
		buf_append(&m->conf, o->bytes.p + 8, le64_get(o->bytes.p));
		if (with_state) changes_apply(m, slice_from(buf_slice(&o->bytes), 8 + le64_get(o->bytes.p)));
		for (size_t i = 0; i < o->count; i++) image_hole(m, o->cells[i]->index);
		image_drop_front(m, o->d);
		break;
	case OP_INSTALL: /* a: index, b: term, c: conf index; cells: entries */
		image_cut(m, 0);
		m->first = o->count ? o->cells[0]->index : o->a + 1;
		for (size_t i = 0; i < o->count; i++) {
			while (m->first + m->count < o->cells[i]->index) image_push(m, NULL);
			image_push(m, o->cells[i]);
		}
		while (m->first + m->count <= o->a) image_push(m, NULL);
		m->state_index = o->a;
		m->state_term = o->b;
		m->conf_index = o->c;
		m->commit = u64_max(m->commit, o->a);
		m->generation++;
		buf_clear(&m->conf);
		buf_append(&m->conf, o->bytes.p + 8, le64_get(o->bytes.p));
		if (with_state)
			pairs_clear(m), changes_apply(m, slice_from(buf_slice(&o->bytes), 8 + le64_get(o->bytes.p)));
		break;
	default: UNREACHABLE();
	}
}

void op_free(struct op *o)
{
	for (size_t i = 0; i < o->count; i++) cell_unref(o->cells[i]);
	mem_free(o->cells);
	buf_deinit(&o->bytes);
	mem_free(o);
}
