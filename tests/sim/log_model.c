/* SPDX-License-Identifier: Apache-2.0 */
/* log_model — see log_model.h. */
#include "log_model.h"

/* ---- entries ---- */

/* The parts of an entry that are drawn once; the bytes come from the seed. */
static void entry_draw_records(struct model_entry *e, struct prng *rng, uint32_t body_max)
{
	uint64_t seq = e->seq_before, left = body_max - BATCH_HEAD_BYTES;
	unsigned want = 1 + (unsigned)prng_below(rng, MODEL_RECORDS_MAX);
	for (unsigned i = 0; i < want && left > RECORD_HEAD_BYTES; i++) {
		/* Half of what is said ends what was said before, so that most messages die. */
		uint64_t what = prng_below(rng, 100);
		enum model_record kind = what < 50 || seq < 4 ? MODEL_MESSAGE : what < 98 ? MODEL_KILL : MODEL_PURGE;
		uint64_t payload = kind != MODEL_MESSAGE     ? 8
				   : prng_chance(rng, 1, 12) ? prng_below(rng, left)
							     : prng_below(rng, 120);
		uint64_t bytes = round_up(RECORD_HEAD_BYTES + 24 + payload, 8);
		if (bytes > left) break;
		left -= bytes;
		uint64_t arg = ++seq;
		if (kind != MODEL_MESSAGE) {
			seq--;
			/* Mostly the recent ones: messages that live shorter than a slot are the common case. */
			uint64_t reach = prng_chance(rng, 3, 4) ? u64_min(seq, 24) : seq;
			arg = seq - prng_below(rng, reach);
			if (kind == MODEL_PURGE) arg = arg / 2;
		}
		e->record_kind[e->count] = (uint8_t)kind;
		e->record_arg[e->count] = arg;
		e->payload_bytes[e->count++] = (uint32_t)payload;
	}
	e->seq_last = seq;
}

static void bytes_draw(struct prng *rng, uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = prng_next(rng);
		memcpy(p + i, &v, size_min(8, n - i));
	}
}

void model_body(const struct model_entry *e, struct buf *out)
{
	struct prng rng;
	uint8_t bytes[24], arg[8];
	prng_init(&rng, e->seed);
	buf_clear(out);
	if (e->kind == ENTRY_BARRIER) return;
	if (e->kind == ENTRY_CHANGE) {
		uint64_t n = 8 + e->seed % 50;
		bytes_draw(&rng, buf_reserve(out, n), n);
		out->n = n;
		return;
	}
	struct buf payload = { 0 };
	batch_begin(out);
	for (unsigned i = 0; i < e->count; i++) {
		bool is_message = e->record_kind[i] == MODEL_MESSAGE;
		bytes_draw(&rng, bytes, sizeof bytes);
		bytes_draw(&rng, buf_reserve(&payload, e->payload_bytes[i]), e->payload_bytes[i]);
		le64_put(arg, e->record_arg[i]);
		struct record r = {
			.kind = e->record_kind[i],
			.seq = is_message ? e->record_arg[i] : 0,
			.time_ns = (int64_t)e->index,
			.subject = slice_of(bytes, 1 + bytes[0] % 20),
			.payload = is_message ? slice_of(payload.p, e->payload_bytes[i]) : slice_of(arg, sizeof arg),
		};
		batch_add(out, &r);
	}
	batch_end(out, e->seq_last);
	buf_deinit(&payload);
}

static uint64_t entry_hash(const struct model_entry *e, struct slice body)
{
	return hash_bytes(body.p, body.n, e->term * 8 + e->kind);
}

const char *model_compare_entry(
	const struct model_entry *e, uint64_t group, const struct entry_head *h, struct slice body)
{
	if (h->group != group) return "group";
	if (h->index != e->index) return "index";
	if (h->term != e->term) return "term";
	if (h->kind != e->kind) return "kind";
	/* Behind an install that left out the dead, a log cannot know their sequences; only commands bring their own. */
	bool is_seq = e->kind == ENTRY_COMMAND ? h->seq_last == e->seq_last : h->seq_last <= e->seq_last;
	if (!is_seq) return "seq_last";
	if (h->record_count != e->count) return "record_count";
	if (body.n != e->body_bytes || entry_hash(e, body) != e->hash) return "body";
	return NULL;
}

void model_log_set(struct model_log *l, struct model_entry *e)
{
	ASSERT(e->index >= 1 && e->index <= l->last + 1);
	if (e->index >= l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->at = mem_realloc(l->at, l->cap * sizeof(struct model_entry *));
	}
	l->at[e->index] = e;
	l->last = e->index;
}

void model_log_copy(struct model_log *to, const struct model_log *from)
{
	if (to->cap < from->last + 1) {
		to->cap = from->last + 64;
		to->at = mem_realloc(to->at, to->cap * sizeof(struct model_entry *));
	}
	to->last = from->last;
	if (from->last) memcpy(to->at + 1, from->at + 1, from->last * sizeof(struct model_entry *));
}

void model_log_deinit(struct model_log *l)
{
	mem_free(l->at);
	*l = (struct model_log) { 0 };
}

/* ---- the machine ---- */

void machine_init(struct machine *m) { *m = (struct machine) { 0 }; }

void machine_deinit(struct machine *m)
{
	mem_free(m->live);
	mem_free(m->changed_at);
	*m = (struct machine) { 0 };
}

static void machine_grow(struct machine *m, uint64_t words)
{
	if (words <= m->words) return;
	words = u64_max(words, m->words * 2);
	m->live = mem_realloc(m->live, words * sizeof *m->live);
	m->changed_at = mem_realloc(m->changed_at, words * sizeof *m->changed_at);
	memset(m->live + m->words, 0, (words - m->words) * sizeof *m->live);
	memset(m->changed_at + m->words, 0, (words - m->words) * sizeof *m->changed_at);
	m->words = words;
}

void machine_copy(struct machine *to, const struct machine *from)
{
	machine_deinit(to);
	*to = *from;
	to->live = to->changed_at = NULL;
	if (!from->words) return;
	to->live = mem_dup(from->live, from->words * sizeof *from->live);
	to->changed_at = mem_dup(from->changed_at, from->words * sizeof *from->changed_at);
}

static void machine_set(struct machine *m, uint64_t seq, bool is_live)
{
	uint64_t word = seq / MACHINE_WORD_BITS, bit = (uint64_t)1 << seq % MACHINE_WORD_BITS;
	machine_grow(m, word + 1);
	bool was_live = (m->live[word] & bit) != 0;
	if (was_live == is_live) return;
	m->live[word] ^= bit;
	m->changed_at[word] = m->index;
}

void machine_set_word(struct machine *m, uint64_t word, uint64_t live, uint64_t index)
{
	machine_grow(m, word + 1);
	m->live[word] = live;
	m->changed_at[word] = index;
}

void machine_apply(struct machine *m, const struct model_entry *e)
{
	ASSERT(e->index == m->index + 1);
	m->index = e->index;
	m->hash = hash_bytes(&e->hash, sizeof e->hash, m->hash);
	if (e->kind == ENTRY_CHANGE) m->conf_index = e->index;
	for (unsigned i = 0; i < e->count; i++) {
		uint64_t arg = e->record_arg[i];
		if (e->record_kind[i] == MODEL_MESSAGE)
			machine_set(m, arg, arg > m->purged);
		else if (e->record_kind[i] == MODEL_KILL)
			machine_set(m, arg, false);
		else
			for (; m->purged < arg; m->purged++) machine_set(m, m->purged + 1, false);
	}
}

bool machine_is_live(const struct machine *m, uint64_t seq)
{
	uint64_t word = seq / MACHINE_WORD_BITS;
	return word < m->words && (m->live[word] >> seq % MACHINE_WORD_BITS & 1);
}

bool machine_is_dead(const struct machine *m, uint64_t seq_before, uint64_t seq_last)
{
	for (uint64_t seq = seq_before + 1; seq <= seq_last; seq++)
		if (machine_is_live(m, seq)) return false;
	return true;
}

void machine_run(struct machine *m, const struct model_log *l, uint64_t index)
{
	machine_deinit(m);
	for (uint64_t i = 1; i <= index; i++) machine_apply(m, l->at[i]);
}

bool machine_equals(const struct machine *a, const struct machine *b)
{
	if (a->index != b->index || a->hash != b->hash || a->purged != b->purged) return false;
	for (uint64_t i = 0; i < u64_max(a->words, b->words); i++)
		if ((i < a->words ? a->live[i] : 0) != (i < b->words ? b->live[i] : 0)) return false;
	return true;
}

/* ---- views and ops ---- */

void model_view_copy(struct model_view *to, const struct model_view *from)
{
	struct model_log log = to->log;
	*to = *from;
	to->log = log;
	model_log_copy(&to->log, &from->log);
}

void model_view_deinit(struct model_view *v)
{
	model_log_deinit(&v->log);
	*v = (struct model_view) { 0 };
}

void model_group_init(struct model_group *g, uint64_t id)
{
	*g = (struct model_group) { .id = id, .is_used = true, .generation = 1, .base_generation = 1 };
}

void model_group_deinit(struct model_group *g)
{
	for (uint64_t i = 0; i < g->version_cap; i++) {
		struct model_entry *e = g->version[i];
		while (e) {
			struct model_entry *older = e->older;
			mem_free(e);
			e = older;
		}
	}
	mem_free(g->version);
	model_log_deinit(&g->truth);
	model_view_deinit(&g->base);
	model_view_deinit(&g->now);
	mem_free(g->ops);
	*g = (struct model_group) { 0 };
}

static void version_add(struct model_group *g, struct model_entry *e)
{
	if (e->index >= g->version_cap) {
		uint64_t cap = u64_max(64, g->version_cap * 2);
		g->version = mem_realloc(g->version, cap * sizeof(struct model_entry *));
		memset(g->version + g->version_cap, 0, (cap - g->version_cap) * sizeof(struct model_entry *));
		g->version_cap = cap;
	}
	e->older = g->version[e->index];
	g->version[e->index] = e;
}

struct model_entry *model_version(const struct model_group *g, uint64_t index, uint64_t term)
{
	struct model_entry *e = index < g->version_cap ? g->version[index] : NULL;
	while (e && e->term != term) e = e->older;
	return e;
}

struct model_entry *model_entry_draw(struct model_group *g, const struct model_log *on, struct prng *rng,
	enum entry_kind kind, uint64_t term, uint32_t body_max)
{
	const struct model_entry *before = model_log_at(on, on->last);
	struct model_entry *e = NEW(struct model_entry);
	e->index = on->last + 1;
	e->term = term;
	e->kind = (uint8_t)kind;
	e->seed = prng_next(rng);
	e->seq_before = e->seq_last = before ? before->seq_last : 0;
	if (kind == ENTRY_COMMAND) entry_draw_records(e, rng, body_max);
	struct buf body = { 0 };
	model_body(e, &body);
	e->body_bytes = (uint32_t)body.n;
	e->hash = entry_hash(e, buf_slice(&body));
	buf_deinit(&body);
	ASSERT(!model_version(g, e->index, term)); /* index and term name an entry */
	version_add(g, e);
	return e;
}

void model_commit(struct model_group *g, uint64_t index)
{
	ASSERT(index <= g->now.log.last);
	for (uint64_t i = g->truth.last + 1; i <= index; i++) {
		struct model_entry *e = g->now.log.at[i];
		e->is_committed = true;
		model_log_set(&g->truth, e);
	}
}

struct model_op *model_op_add(struct model_group *g, struct model_op op)
{
	if (g->ops_count == g->ops_cap) {
		g->ops_cap = g->ops_cap ? g->ops_cap * 2 : 32;
		g->ops = mem_realloc(g->ops, g->ops_cap * sizeof *g->ops);
	}
	g->ops[g->ops_count] = op;
	model_op_apply(&g->now, g, &op);
	g->term_max = u64_max(g->term_max, u64_max(op.term, op.entry ? op.entry->term : 0));
	return &g->ops[g->ops_count++];
}

bool model_ends_doubt(const struct model_group *g, uint64_t after)
{
	for (uint32_t i = 0; i < g->ops_count; i++)
		if (g->ops[i].kind == OP_DOUBT_END && g->ops[i].id > after) return true;
	return false;
}

bool model_is_gone(const struct model_group *g, uint64_t acked)
{
	for (uint32_t i = 0; i < g->ops_count; i++)
		if (g->ops[i].kind == OP_GONE && g->ops[i].id <= acked) return true;
	return false;
}

void model_op_apply(struct model_view *v, const struct model_group *g, const struct model_op *op)
{
	switch (op->kind) {
	case OP_MAKE: v->exists = true; return;
	case OP_GONE: v->exists = false; return;
	case OP_APPEND:
		model_log_set(&v->log, op->entry);
		v->commit_min = u64_max(v->commit_min, op->commit);
		return;
	case OP_TRUNCATE:
		if (v->log.last >= op->index) v->log.last = op->index - 1;
		return;
	case OP_VOTE:
	case OP_DOUBT_END:
		v->term = op->term;
		v->vote = op->vote;
		return;
	case OP_INSTALL:
		ASSERT(op->index <= g->truth.last);
		v->log.last = 0;
		for (uint64_t i = 1; i <= op->index; i++) model_log_set(&v->log, g->truth.at[i]);
		v->commit_min = u64_max(v->commit_min, op->index);
		v->installs++;
		return;
	}
}
