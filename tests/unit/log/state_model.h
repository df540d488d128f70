/* SPDX-License-Identifier: Apache-2.0 */
/* state_model — what a state store must hold, kept in memory: a store (LMDB, or its twin) goes through random rounds and is compared with it. */
#ifndef THEBES_TESTS_UNIT_LOG_STATE_MODEL_H
#define THEBES_TESTS_UNIT_LOG_STATE_MODEL_H

#include "check.h"
#include "thebes/state.h"

enum { MODEL_GROUPS = 6, MODEL_KEYS = 60, MODEL_ROWS = MODEL_GROUPS * (MODEL_KEYS + 1) };
/* Values are a function of their length and version, so that the model is small. Row 0 of a group is its meta. */
struct model {
	struct model_value {
		uint32_t version; /* 0: none */
		uint32_t bytes;
	} rows[MODEL_GROUPS][MODEL_KEYS + 1];
	uint64_t round;
	uint32_t version;
};

static inline uint64_t model_group(unsigned g)
{
	return g == 0 ? 1 : g == 1 ? UINT64_MAX : (uint64_t)g * 0x0101010101010101;
}

/* Key k of a group: lengths 1..400, in order of k. */
static inline struct slice model_key(unsigned k, uint8_t *out)
{
	size_t n = k % 7 == 0 ? STATE_KEY_MAX : 2 + k % 5;
	memset(out, 'x', n);
	out[0] = (uint8_t)(k / 16);
	out[1] = (uint8_t)k;
	return slice_of(out, n);
}

static inline void model_value_make(const struct model_value *v, struct buf *out)
{
	struct prng rng;
	prng_init(&rng, v->version);
	buf_clear(out);
	(void)buf_reserve(out, v->bytes);
	for (uint32_t i = 0; i < v->bytes; i++) buf_append_byte(out, (uint8_t)prng_next(&rng));
}

static inline void model_draw(struct model *m, struct prng *rng, uint32_t bytes_max, struct model_value *v)
{
	static const uint32_t sizes[] = { 0, 40, 300, 3000, 70000 };
	uint32_t max = sizes[prng_below(rng, COUNT_OF(sizes))];
	*v = (struct model_value) { ++m->version, max ? (uint32_t)prng_below(rng, u64_min(max, bytes_max)) : 0 };
}

/* Draws a round of changes and makes them in the model. */
struct model_round {
	struct state_change changes[MODEL_GROUPS];
	struct state_batch batches[MODEL_GROUPS];
	struct buf metas[MODEL_GROUPS];
	unsigned count;
};
static inline void model_round_draw(struct model *m, struct prng *rng, uint32_t bytes_max, struct model_round *r)
{
	struct buf value = { 0 };
	uint8_t key[STATE_KEY_MAX];
	*r = (struct model_round) { 0 };
	m->round++;
	for (unsigned g = 0; g < MODEL_GROUPS; g++) {
		if (prng_chance(rng, 1, 3)) continue;
		struct state_change *c = &r->changes[r->count];
		struct state_batch *b = &r->batches[r->count];
		*c = (struct state_change) { .group = model_group(g), .drop = prng_chance(rng, 1, 12) };
		if (c->drop) memset(m->rows[g], 0, sizeof m->rows[g]);
		for (uint64_t n = prng_below(rng, 25); n; n--) {
			unsigned k = 1 + (unsigned)prng_below(rng, MODEL_KEYS);
			struct model_value *v = &m->rows[g][k];
			if (prng_chance(rng, 1, 3)) {
				*v = (struct model_value) { 0 };
				state_batch_del(b, model_key(k, key));
			} else {
				model_draw(m, rng, bytes_max, v);
				model_value_make(v, &value);
				state_batch_put(b, model_key(k, key), buf_slice(&value));
			}
		}
		c->batch = buf_slice(&b->ops);
		if (m->rows[g][0].version == 0 || prng_chance(rng, 1, 2)) {
			model_draw(m, rng, bytes_max, &m->rows[g][0]);
			m->rows[g][0].bytes++;
			model_value_make(&m->rows[g][0], &r->metas[r->count]);
			c->meta = buf_slice(&r->metas[r->count]);
		}
		r->count++;
	}
	buf_deinit(&value);
}

static inline void model_round_deinit(struct model_round *r)
{
	for (unsigned i = 0; i < MODEL_GROUPS; i++) {
		state_batch_deinit(&r->batches[i]);
		buf_deinit(&r->metas[i]);
	}
}

/* Compares; a walk that differs leaves `differs` set. */
struct model_compare {
	const struct model *m;
	unsigned group, key;
	bool differs;
	struct buf value;
};
static inline bool model_compare_row(void *arg, struct slice key, struct slice value)
{
	struct model_compare *c = arg;
	uint8_t want[STATE_KEY_MAX];
	const struct model_value *rows = c->m->rows[c->group];
	while (c->key <= MODEL_KEYS && rows[c->key].version == 0) c->key++;
	if (c->key > MODEL_KEYS || !slice_eq(key, model_key(c->key, want))) return !(c->differs = true);
	model_value_make(&rows[c->key++], &c->value);
	return slice_eq(value, buf_slice(&c->value)) || !(c->differs = true);
}

/* Groups come in the order of their ids, which is not that of the model. */
struct model_groups {
	const struct model *m;
	uint64_t last;
	unsigned seen;
	bool differs;
};
static inline bool model_compare_group(void *arg, uint64_t group, struct slice meta)
{
	struct model_groups *gs = arg;
	struct buf want = { 0 };
	bool is_found = false;
	for (unsigned g = 0; g < MODEL_GROUPS; g++) {
		if (model_group(g) != group || gs->m->rows[g][0].version == 0) continue;
		model_value_make(&gs->m->rows[g][0], &want);
		is_found = slice_eq(meta, buf_slice(&want));
	}
	gs->differs |= !is_found || (gs->seen && group <= gs->last);
	gs->seen++;
	gs->last = group;
	buf_deinit(&want);
	return true;
}

static inline bool model_equals(const struct model *m, struct state *s)
{
	struct model_compare c = { .m = m };
	struct model_groups gs = { .m = m };
	struct state_head head;
	unsigned groups = 0;
	bool ok = s->ops->head(s, &head) == OK && head.round == m->round;
	for (unsigned g = 0; g < MODEL_GROUPS && ok; g++) {
		c.group = g;
		c.key = 1;
		ok = state_group_each(s, model_group(g), SLICE_NULL, SLICE_NULL, model_compare_row, &c) == OK &&
		     !c.differs;
		while (c.key <= MODEL_KEYS && m->rows[g][c.key].version == 0) c.key++;
		ok = ok && c.key > MODEL_KEYS;
		groups += m->rows[g][0].version != 0;
	}
	ok = ok && s->ops->groups(s, model_compare_group, &gs) == OK && !gs.differs && gs.seen == groups;
	buf_deinit(&c.value);
	return ok;
}

static inline enum err model_commit(const struct model_round *r, uint64_t round, struct state *s, uint64_t *sum)
{
	struct state_head head = { .round = round };
	enum err e = s->ops->commit(s, r->changes, r->count, &head);
	if (e == OK) *sum = head.sum;
	return e;
}

#endif
