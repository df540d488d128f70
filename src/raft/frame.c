/* SPDX-License-Identifier: Apache-2.0 */
/* frame — see frame.h. Happy path of decoding: head → checksum → the kind's row in `kinds`: its decoder takes the body apart, its checks
 * refuse what no honest replica says. The library behind it trusts its input and has no assertions in the distribution's build: what
 * passes here and in guard.c must not be able to hurt it. */
#include "frame.h"
#include "members.h"

static const uint32_t MAGIC = 0x46415254; /* "TRAF" */

/* ---- reading fields ---- */

struct reader {
	struct slice rest;
	bool cut;
};

static uint64_t take_u64(struct reader *r)
{
	if (r->rest.n < 8) return r->cut = true, 0;
	uint64_t v = le64_get(r->rest.p);
	r->rest = slice_from(r->rest, 8);
	return v;
}

static uint32_t take_u32(struct reader *r)
{
	if (r->rest.n < 4) return r->cut = true, 0;
	uint32_t v = le32_get(r->rest.p);
	r->rest = slice_from(r->rest, 4);
	return v;
}

static struct slice take_bytes(struct reader *r, size_t n)
{
	if (r->rest.n < n) return r->cut = true, SLICE_NULL;
	struct slice s = slice_first(r->rest, n);
	r->rest = slice_from(r->rest, n);
	return s;
}

static bool is_number(uint64_t v) { return v < FRAME_NUMBER_MAX; }
/* A position in a log: both zero before the first entry, neither behind it. */
static bool is_position(uint64_t index, uint64_t term)
{
	return is_number(index) && is_number(term) && (index == 0) == (term == 0);
}

/* ---- one decoder per kind: NULL when all is well, else the rule that was broken ---- */

static const char cut[] = "the body is cut";

static bool conf_is_whole(struct slice conf)
{
	struct members m;
	return members_decode(conf, &m) == OK && members_voters(&m) > 0;
}

static const char *entry_broken(const struct frame_entry *e)
{
	struct batch_head head;
	struct slice records;
	switch (e->kind) {
	case ENTRY_COMMAND: return batch_open(e->body, &head, &records) == OK ? NULL : "a command is not a whole batch";
	case ENTRY_BARRIER: return e->body.n <= 64 ? NULL : "a barrier has a body";
	case ENTRY_CHANGE: return conf_is_whole(e->body) ? NULL : "a change holds no configuration with a voter";
	default: return "an entry of unknown kind";
	}
}

static const char *append_entries_broken(const struct frame_append *a)
{
	struct frame_entry_at at = { 0 };
	struct frame_entry e;
	uint64_t term = a->prev_term, bytes = 0;
	for (uint32_t i = 0; i < a->count; i++) bytes += le32_get(a->heads.p + (size_t)i * FRAME_ENTRY_BYTES + 8);
	if (bytes != a->bodies.n) return "the lengths of the entries do not add up";
	while (frame_entry_next(a, &at, &e)) {
		if (e.term == 0 || e.term < term) return "terms of entries fall";
		if (e.term > a->term) return "an entry is of a later term than the message";
		term = e.term;
		const char *broken = entry_broken(&e);
		if (broken) return broken;
	}
	return NULL;
}

static const char *append_decode(struct reader *r, struct frame *f)
{
	struct frame_append *a = &f->append;
	f->term = a->term = take_u64(r);
	a->prev_index = take_u64(r);
	a->prev_term = take_u64(r);
	a->commit = take_u64(r);
	a->count = take_u32(r);
	uint32_t zero = take_u32(r);
	if (r->cut || a->count > r->rest.n / FRAME_ENTRY_BYTES) return cut;
	a->heads = take_bytes(r, (size_t)a->count * FRAME_ENTRY_BYTES);
	a->bodies = take_bytes(r, r->rest.n);
	if (zero != 0) return "reserved bytes are not zero";
	if (!is_position(a->prev_index, a->prev_term)) return "the entry before has an index or a term, but not both";
	if (a->prev_term > a->term) return "the entry before is of a later term than the message";
	if (!is_number(a->commit)) return "the commit index is absurd";
	return append_entries_broken(a);
}

static const char *append_result_decode(struct reader *r, struct frame *f)
{
	struct frame_append_result *a = &f->append_result;
	f->term = a->term = take_u64(r);
	a->rejected = take_u64(r);
	a->last_index = take_u64(r);
	uint64_t flags = take_u64(r);
	a->refill = flags == 1;
	a->takes_bytes = take_u64(r);
	if (flags > 1) return "unknown flags";
	if (a->takes_bytes == 0 || !is_number(a->takes_bytes)) return "its slots take nothing, or too much";
	if (!is_number(a->rejected) || !is_number(a->last_index)) return "an index is absurd";
	return NULL;
}

static const char *vote_decode(struct reader *r, struct frame *f)
{
	struct frame_vote *v = &f->vote;
	f->term = v->term = take_u64(r);
	v->last_index = take_u64(r);
	v->last_term = take_u64(r);
	uint64_t flags = take_u64(r);
	v->disrupt = flags & 1;
	v->pre_vote = flags & 2;
	if (flags > 3) return "unknown flags";
	if (!is_position(v->last_index, v->last_term)) return "the last entry has an index or a term, but not both";
	if (v->last_term > v->term) return "the last entry is of a later term than the message";
	return NULL;
}

static const char *vote_result_decode(struct reader *r, struct frame *f)
{
	struct frame_vote_result *v = &f->vote_result;
	f->term = v->term = take_u64(r);
	uint64_t flags = take_u64(r);
	v->granted = flags & 1;
	v->pre_vote = flags & 2;
	return flags > 3 ? "unknown flags" : NULL;
}

static const char *timeout_now_decode(struct reader *r, struct frame *f)
{
	struct frame_timeout_now *t = &f->timeout_now;
	f->term = t->term = take_u64(r);
	t->last_index = take_u64(r);
	t->last_term = take_u64(r);
	if (!is_position(t->last_index, t->last_term)) return "the last entry has an index or a term, but not both";
	if (t->last_term > t->term) return "the last entry is of a later term than the message";
	return NULL;
}

static const char *sleep_decode(struct reader *r, struct frame *f)
{
	f->term = f->sleep.term = take_u64(r);
	f->sleep.last_index = take_u64(r);
	return NULL;
}

static const char *install_begin_decode(struct reader *r, struct frame *f)
{
	struct frame_install_begin *b = &f->install_begin;
	f->term = b->term = take_u64(r);
	b->install = take_u64(r);
	b->index = take_u64(r);
	b->index_term = take_u64(r);
	b->conf_index = take_u64(r);
	b->attempt = take_u64(r);
	b->conf = take_bytes(r, r->rest.n);
	if (r->cut) return cut;
	if (b->index == 0 || !is_position(b->index, b->index_term)) return "the state has no index or no term";
	if (b->index_term > b->term) return "the state is of a later term than the message";
	if (b->attempt == 0) return "a begin without a number";
	if (b->conf_index > b->index) return "the configuration is later than the state";
	if (!conf_is_whole(b->conf)) return "no configuration with a voter";
	return NULL;
}

static const char *install_chunk_decode(struct reader *r, struct frame *f)
{
	struct frame_install_chunk *c = &f->install_chunk;
	f->term = c->term = take_u64(r);
	c->install = take_u64(r);
	c->seq = take_u64(r);
	uint64_t what = take_u64(r);
	c->bytes = take_bytes(r, r->rest.n);
	if (what != FRAME_CHUNK_ENTRIES && what != FRAME_CHUNK_STATE) return "a chunk of nothing known";
	c->what = (enum frame_chunk)what;
	return NULL;
}

static const char *install_commit_decode(struct reader *r, struct frame *f)
{
	f->term = f->install_commit.term = take_u64(r);
	f->install_commit.install = take_u64(r);
	f->install_commit.seq = take_u64(r);
	return NULL;
}

static const char *install_answer_decode(struct reader *r, struct frame *f)
{
	struct frame_install_answer *a = &f->install_answer;
	f->term = a->term = take_u64(r);
	a->install = take_u64(r);
	a->seq = take_u64(r);
	a->index = take_u64(r);
	a->attempt = take_u64(r);
	uint64_t answer = take_u64(r);
	if (answer < FRAME_ANSWER_NEXT || answer > FRAME_ANSWER_NO) return "an unknown answer";
	if (!is_number(a->index)) return "an index is absurd";
	a->answer = (enum frame_answer)answer;
	return NULL;
}

static const struct {
	const char *(*decode)(struct reader *r, struct frame *f);
} kinds[FRAME_KIND_END] = {
	[FRAME_APPEND] = { append_decode },
	[FRAME_APPEND_RESULT] = { append_result_decode },
	[FRAME_VOTE] = { vote_decode },
	[FRAME_VOTE_RESULT] = { vote_result_decode },
	[FRAME_TIMEOUT_NOW] = { timeout_now_decode },
	[FRAME_SLEEP] = { sleep_decode },
	[FRAME_INSTALL_BEGIN] = { install_begin_decode },
	[FRAME_INSTALL_CHUNK] = { install_chunk_decode },
	[FRAME_INSTALL_COMMIT] = { install_commit_decode },
	[FRAME_INSTALL_ANSWER] = { install_answer_decode },
};

static enum err refuse(const char **why, const char *text, enum err e)
{
	*why = text;
	return e;
}

enum err frame_decode(struct slice in, struct frame *out, const char **why)
{
	*out = (struct frame) { 0 };
	if (in.n < FRAME_HEAD_BYTES || in.n > FRAME_BYTES_MAX)
		return refuse(why, "shorter than a head, or too long", ERR_CORRUPT);
	if (le32_get(in.p) != MAGIC) return refuse(why, "does not begin as a frame", ERR_CORRUPT);
	if (le32_get(in.p + 4) != crc32c(0, in.p + 8, in.n - 8))
		return refuse(why, "the checksum is wrong", ERR_CORRUPT);
	if (in.p[8] != FRAME_VERSION) return refuse(why, "of another version", ERR_FORMAT);
	if (le16_get(in.p + 10) != 0 || le32_get(in.p + 12) != in.n - FRAME_HEAD_BYTES)
		return refuse(why, "the head is malformed", ERR_CORRUPT);
	uint8_t kind = in.p[9];
	if (kind >= FRAME_KIND_END || !kinds[kind].decode) return refuse(why, "of an unknown kind", ERR_FORMAT);
	out->kind = (enum frame_kind)kind;
	out->group = le64_get(in.p + 16);
	out->from = le64_get(in.p + 24);
	out->to = le64_get(in.p + 32);
	struct reader r = { .rest = slice_from(in, FRAME_HEAD_BYTES) };
	const char *broken = kinds[kind].decode(&r, out);
	if (r.cut) return refuse(why, cut, ERR_DENIED);
	if (broken) return refuse(why, broken, ERR_DENIED);
	if (r.rest.n != 0) return refuse(why, "bytes behind the body", ERR_DENIED);
	if (out->from == 0 || out->to == 0) return refuse(why, "from or to nobody", ERR_DENIED);
	if (out->term == 0 || !is_number(out->term)) return refuse(why, "the term is absurd", ERR_DENIED);
	return OK;
}

/* ---- entries of an append ---- */

bool frame_entry_next(const struct frame_append *a, struct frame_entry_at *at, struct frame_entry *out)
{
	if (at->index >= a->count) return false;
	const uint8_t *h = a->heads.p + (size_t)at->index * FRAME_ENTRY_BYTES;
	size_t bytes = le32_get(h + 8);
	ASSERT(at->body_at + bytes <= a->bodies.n);
	out->term = le64_get(h);
	out->kind = (enum entry_kind)le32_get(h + 12);
	out->body = slice_of(a->bodies.p + at->body_at, bytes);
	at->index++;
	at->body_at += bytes;
	return true;
}

void frame_append_skip(struct frame_append *a, uint32_t count, uint64_t prev_index, uint64_t prev_term)
{
	ASSERT(count <= a->count);
	struct frame_entry_at at = { 0 };
	struct frame_entry e;
	for (uint32_t i = 0; i < count; i++) (void)frame_entry_next(a, &at, &e);
	a->heads = slice_from(a->heads, (size_t)count * FRAME_ENTRY_BYTES);
	a->bodies = slice_from(a->bodies, at.body_at);
	a->count -= count;
	a->prev_index = prev_index;
	a->prev_term = prev_term;
}

/* ---- building ---- */

void frame_begin(struct frame_out *o, enum frame_kind kind, uint64_t group, uint64_t from, uint64_t to)
{
	buf_clear(&o->head);
	o->count = 1; /* parts[0] is the head */
	buf_append_le32(&o->head, MAGIC);
	buf_append_le32(&o->head, 0);
	buf_append_byte(&o->head, FRAME_VERSION);
	buf_append_byte(&o->head, (uint8_t)kind);
	buf_append(&o->head, "\0\0\0\0\0\0", 6);
	buf_append_le64(&o->head, group);
	buf_append_le64(&o->head, from);
	buf_append_le64(&o->head, to);
}

void frame_part(struct frame_out *o, struct slice part)
{
	if (!o->parts || o->count + 1 > o->cap) {
		o->cap = o->cap ? o->cap * 2 : 64;
		o->parts = mem_realloc(o->parts, o->cap * sizeof *o->parts);
	}
	if (part.n) o->parts[o->count++] = part;
}

enum { APPEND_COUNT_AT = FRAME_HEAD_BYTES + 32 };

void frame_append_begin(struct frame_out *o, uint64_t term, uint64_t prev_index, uint64_t prev_term, uint64_t commit)
{
	frame_u64(o, term);
	frame_u64(o, prev_index);
	frame_u64(o, prev_term);
	frame_u64(o, commit);
	ASSERT(o->head.n == APPEND_COUNT_AT);
	frame_u32(o, 0);
	frame_u32(o, 0);
}

void frame_append_entry(struct frame_out *o, uint64_t term, enum entry_kind kind, struct slice body)
{
	le32_put(o->head.p + APPEND_COUNT_AT, le32_get(o->head.p + APPEND_COUNT_AT) + 1);
	frame_u64(o, term);
	frame_u32(o, (uint32_t)body.n);
	frame_u32(o, kind);
	frame_part(o, body);
}

void frame_end(struct frame_out *o)
{
	if (!o->parts) frame_part(o, SLICE_NULL);
	size_t bytes = o->head.n - FRAME_HEAD_BYTES;
	for (unsigned i = 1; i < o->count; i++) bytes += o->parts[i].n;
	ASSERT(bytes <= FRAME_BYTES_MAX);
	le32_put(o->head.p + 12, (uint32_t)bytes);
	uint32_t crc = crc32c(0, o->head.p + 8, o->head.n - 8);
	for (unsigned i = 1; i < o->count; i++) crc = crc32c(crc, o->parts[i].p, o->parts[i].n);
	le32_put(o->head.p + 4, crc);
	o->parts[0] = buf_slice(&o->head);
}

void frame_out_deinit(struct frame_out *o)
{
	buf_deinit(&o->head);
	mem_free(o->parts);
	*o = (struct frame_out) { 0 };
}
