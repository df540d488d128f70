/* SPDX-License-Identifier: Apache-2.0 */
/* raft_chain — see raft_chain.h. */
#include <stdarg.h>
#include <stdio.h>

#include "sim/raft_chain.h"

enum { KEEP = 40, KEEP_ALL = 400, RECORD_KIND = 1 };
static const uint8_t state_key[] = { 1, 'c' };

/* ---- oracle ---- */

void oracle_init(struct chain_oracle *o, uint64_t (*now_ns)(void *arg), void *arg)
{
	*o = (struct chain_oracle) { .next_number = 1, .now_ns = now_ns, .now_arg = arg };
	for (unsigned i = 0; i < CHAIN_GROUPS_MAX; i++)
		o->leader_of[i] = mem_zalloc(CHAIN_TERMS_MAX * sizeof(unsigned));
}

void oracle_deinit(struct chain_oracle *o)
{
	for (unsigned i = 0; i < CHAIN_GROUPS_MAX; i++) {
		mem_free(o->facts[i]);
		mem_free(o->leader_of[i]);
	}
}

void oracle_violated(struct chain_oracle *o, const char *fmt, ...)
{
	if (o->violation[0]) return;
	int n = snprintf(o->violation, sizeof o->violation, "t=%.6f ", (double)o->now_ns(o->now_arg) / 1e9);
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(o->violation + n, sizeof o->violation - (size_t)n, fmt, ap);
	va_end(ap);
}

static struct chain_fact *fact(struct chain_oracle *o, unsigned group, uint64_t index)
{
	if (index >= o->fact_cap[group]) {
		size_t cap = o->fact_cap[group] ? o->fact_cap[group] : 1024;
		while (cap <= index) cap *= 2;
		o->facts[group] = mem_realloc(o->facts[group], cap * sizeof *o->facts[group]);
		memset(o->facts[group] + o->fact_cap[group], 0, (cap - o->fact_cap[group]) * sizeof *o->facts[group]);
		o->fact_cap[group] = cap;
	}
	return &o->facts[group][index];
}

static void oracle_applied(struct chain *c, uint64_t term)
{
	struct chain_oracle *o = c->oracle;
	struct chain_fact *f = fact(o, c->number, c->index);
	o->last[c->number] = u64_max(o->last[c->number], c->index);
	if (f->number == 0) {
		*f = (struct chain_fact) { c->last_number, c->hash, term, f->acked };
	} else if (f->number != c->last_number || f->term != term) {
		oracle_violated(o,
			"DIVERGED group %u index %llu: node %u applied %llu of term %llu, another %llu of term %llu",
			c->number + 1, (unsigned long long)c->index, c->node + 1, (unsigned long long)c->last_number,
			(unsigned long long)term, (unsigned long long)f->number, (unsigned long long)f->term);
	} else if (f->hash != c->hash) {
		oracle_violated(o, "HISTORY group %u index %llu: node %u has another history", c->number + 1,
			(unsigned long long)c->index, c->node + 1);
	}
}

void oracle_acked(struct chain_oracle *o, unsigned group, uint64_t index, uint64_t number)
{
	struct chain_fact *f = fact(o, group, index);
	if (f->number != number)
		oracle_violated(o, "ACKED group %u index %llu: proposal %llu was acknowledged, %llu was applied",
			group + 1, (unsigned long long)index, (unsigned long long)number,
			(unsigned long long)f->number);
	f->acked = true;
	o->acked[group] = u64_max(o->acked[group], index);
}

/* ---- the machine ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
	h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
	return h * 0xff51afd7ed558ccdu;
}

void chain_body(struct buf *b, uint64_t number, uint64_t seq, size_t payload)
{
	uint8_t *p = mem_zalloc(8 + payload);
	le64_put(p, number);
	struct record r = {
		.kind = RECORD_KIND, .seq = seq, .subject = SLICE("chain"), .payload = slice_of(p, 8 + payload)
	};
	batch_begin(b);
	batch_add(b, &r);
	batch_end(b, seq);
	mem_free(p);
}

static bool chain_apply(void *owner, uint64_t index, uint64_t term, struct slice body)
{
	struct chain *c = owner;
	struct batch_head head;
	struct slice records;
	struct record r;
	if (batch_open(body, &head, &records) != OK || record_next(&records, &r) != OK || r.payload.n < 8) {
		oracle_violated(c->oracle, "BYTES group %u index %llu on node %u are not a command", c->number + 1,
			(unsigned long long)index, c->node + 1);
		return true;
	}
	if (index <= c->index)
		oracle_violated(c->oracle, "ORDER group %u index %llu on node %u after %llu", c->number + 1,
			(unsigned long long)index, c->node + 1, (unsigned long long)c->index);
	uint64_t number = le64_get(r.payload.p);
	if (c->poison && number == c->poison) return false;
	c->index = index;
	c->last_number = number;
	c->hash = mix(mix(c->hash, number), index);
	c->count++;
	c->seq = head.seq_last;
	oracle_applied(c, term);
	if (c->group && c->index > KEEP_ALL) group_trim(c->group, c->index - KEEP_ALL);
	return true;
}

struct loaded {
	bool found;
	uint64_t v[5];
};

static bool on_value(void *arg, struct slice key, struct slice value)
{
	struct loaded *r = arg;
	if (!slice_eq(key, slice_of(state_key, sizeof state_key)) || value.n != sizeof r->v) return true;
	r->found = true;
	for (unsigned i = 0; i < 5; i++) r->v[i] = le64_get(value.p + 8 * i);
	return false;
}

static enum err chain_load(struct group_load *l)
{
	l->loaded = NEW(struct loaded);
	return l->index ? state_group_each(l->state, l->group, slice_of(state_key, sizeof state_key), SLICE_NULL,
				  on_value, l->loaded)
			: OK;
}

static void chain_drop(struct group_load *l) { mem_free(l->loaded); }

/* The state of `index`: as everybody had it at the last command up to there (S9). */
static enum err chain_take(void *owner, struct group_load *l)
{
	struct chain *c = owner;
	const struct loaded *r = l->loaded;
	uint64_t index = l->index;
	c->index = r->v[0];
	c->hash = r->v[1];
	c->count = r->v[2];
	c->seq = r->v[3];
	c->last_number = r->v[4];
	c->leading = false;
	if (index && !r->found)
		oracle_violated(c->oracle, "STATE group %u on node %u: nothing is stored of index %llu", c->number + 1,
			c->node + 1, (unsigned long long)index);
	if (c->index > index)
		oracle_violated(c->oracle, "STATE group %u on node %u: of %llu, said to be of %llu", c->number + 1,
			c->node + 1, (unsigned long long)c->index, (unsigned long long)index);
	if (c->index && fact(c->oracle, c->number, c->index)->hash != c->hash)
		oracle_violated(c->oracle, "STATE group %u on node %u: of index %llu, with another history",
			c->number + 1, c->node + 1, (unsigned long long)c->index);
	for (uint64_t i = c->index + 1; i <= index; i++)
		if (fact(c->oracle, c->number, i)->number)
			oracle_violated(c->oracle, "STATE group %u on node %u: lacks %llu, said to be of %llu",
				c->number + 1, c->node + 1, (unsigned long long)i, (unsigned long long)index);
	return OK;
}

static bool chain_entry_is_dead(void *owner, const struct entry_head *e, uint64_t seq_before)
{
	const struct chain *c = owner;
	(void)seq_before;
	return e->index + (e->index % 7 ? KEEP : KEEP_ALL) <= c->index;
}

static void chain_capture(void *owner, struct state_batch *batch)
{
	const struct chain *c = owner;
	uint8_t value[40];
	le64_put(value, c->index);
	le64_put(value + 8, c->hash);
	le64_put(value + 16, c->count);
	le64_put(value + 24, c->seq);
	le64_put(value + 32, c->last_number);
	state_batch_put(batch, slice_of(state_key, sizeof state_key), slice_of(value, sizeof value));
}

static void chain_settled(void *owner, uint64_t index)
{
	struct chain *c = owner;
	c->settled = index;
}

static unsigned chain_live_permille(void *owner, uint64_t first, uint64_t last)
{
	const struct chain *c = owner;
	(void)first;
	return last + KEEP <= c->index ? 143 : 1000;
}

static uint64_t acked_before(struct chain_oracle *o, unsigned group, uint64_t term)
{
	uint64_t index = o->acked[group];
	while (index > 0 && (!o->facts[group][index].acked || o->facts[group][index].term >= term)) index--;
	return index;
}

static void chain_lead(void *owner, bool leading, uint64_t term)
{
	struct chain *c = owner;
	if (leading == c->leading)
		oracle_violated(c->oracle, "LEAD group %u node %u told twice", c->number + 1, c->node + 1);
	c->leading = leading;
	c->leading_term = term;
	/* G1: who is told to lead has applied whatever was acknowledged in earlier terms; there may be a later one already. */
	uint64_t acked = leading ? acked_before(c->oracle, c->number, term) : 0;
	if (c->index < acked)
		oracle_violated(c->oracle, "LEADS BEHIND group %u node %u: has %llu, acknowledged is %llu",
			c->number + 1, c->node + 1, (unsigned long long)c->index, (unsigned long long)acked);
	if (!leading || term >= CHAIN_TERMS_MAX) return;
	unsigned *leader = &c->oracle->leader_of[c->number][term];
	if (*leader && *leader != c->node + 1)
		oracle_violated(c->oracle, "TWO LEADERS group %u term %llu: nodes %u and %u", c->number + 1,
			(unsigned long long)term, *leader, c->node + 1);
	*leader = c->node + 1;
}

static uint64_t chain_state_hash(void *owner) { return ((const struct chain *)owner)->hash; }

const struct group_ops chain_ops = {
	.load = chain_load,
	.take = chain_take,
	.drop = chain_drop,
	.apply = chain_apply,
	.entry_is_dead = chain_entry_is_dead,
	.capture = chain_capture,
	.settled = chain_settled,
	.live_permille = chain_live_permille,
	.lead = chain_lead,
	.state_hash = chain_state_hash,
};
