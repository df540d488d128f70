/* SPDX-License-Identifier: Apache-2.0 */
/* frame: what is encoded is decoded; what no honest replica says, and everything that is not whole, is refused with the rule it breaks. */
#include "check.h"
#include "frame.h"
#include "members.h"

enum { GROUP = 77, FROM = 3, TO = 9 };

struct bytes {
	struct buf b;
	struct frame f;
	const char *why;
	enum err e;
};

static void take(struct bytes *to, struct frame_out *o)
{
	frame_end(o);
	buf_clear(&to->b);
	for (unsigned i = 0; i < o->count; i++) buf_append_slice(&to->b, o->parts[i]);
	to->why = "";
	to->e = frame_decode(buf_slice(&to->b), &to->f, &to->why);
}

/* The checksum over what a test has changed. */
static void reseal(struct bytes *to)
{
	le32_put(to->b.p + 4, crc32c(0, to->b.p + 8, to->b.n - 8));
	to->why = "";
	to->e = frame_decode(buf_slice(&to->b), &to->f, &to->why);
}

static void command(struct buf *b)
{
	struct record r = { .kind = 1, .seq = 5, .subject = SLICE("s"), .payload = SLICE("hello") };
	batch_begin(b);
	batch_add(b, &r);
	batch_end(b, 5);
}

static void configuration(struct buf *b, unsigned voters)
{
	struct members m = { .count = 3 };
	for (unsigned i = 0; i < 3; i++)
		m.at[i] = (struct raft_member) { i + 1, i < voters ? RAFT_VOTER : RAFT_STANDBY };
	members_encode(&m, b);
}

/* ---- round trips ---- */

static void append_build(struct frame_out *o, const struct buf *cmd, const struct buf *conf)
{
	frame_begin(o, FRAME_APPEND, GROUP, FROM, TO);
	frame_append_begin(o, 6, 10, 4, 9);
	frame_append_entry(o, 4, ENTRY_COMMAND, buf_slice(cmd));
	frame_append_entry(o, 5, ENTRY_BARRIER, SLICE_NULL);
	frame_append_entry(o, 6, ENTRY_CHANGE, buf_slice(conf));
}

static void test_append(void **state)
{
	struct frame_out o = { 0 };
	struct bytes x = { 0 };
	struct buf cmd = { 0 }, conf = { 0 };
	(void)state;
	command(&cmd);
	configuration(&conf, 3);
	append_build(&o, &cmd, &conf);
	take(&x, &o);
	assert_int_equal(x.e, OK);
	assert_int_equal(x.f.kind, FRAME_APPEND);
	assert_int_equal(x.f.group, GROUP);
	assert_int_equal(x.f.from, FROM);
	assert_int_equal(x.f.to, TO);
	assert_int_equal(x.f.term, 6);
	struct frame_append *a = &x.f.append;
	assert_int_equal(a->prev_index, 10);
	assert_int_equal(a->prev_term, 4);
	assert_int_equal(a->commit, 9);
	assert_int_equal(a->count, 3);
	struct frame_entry_at at = { 0 };
	struct frame_entry e;
	assert_true(frame_entry_next(a, &at, &e));
	assert_int_equal(e.kind, ENTRY_COMMAND);
	assert_true(slice_eq(e.body, buf_slice(&cmd)));
	assert_true(frame_entry_next(a, &at, &e));
	assert_int_equal(e.body.n, 0);
	assert_true(frame_entry_next(a, &at, &e));
	assert_int_equal(e.term, 6);
	assert_true(slice_eq(e.body, buf_slice(&conf)));
	assert_false(frame_entry_next(a, &at, &e));
	/* Without its first two. */
	frame_append_skip(a, 2, 12, 5);
	at = (struct frame_entry_at) { 0 };
	assert_int_equal(a->count, 1);
	assert_int_equal(a->prev_index, 12);
	assert_true(frame_entry_next(a, &at, &e));
	assert_true(slice_eq(e.body, buf_slice(&conf)));
	frame_out_deinit(&o);
	buf_deinit(&x.b);
	buf_deinit(&cmd);
	buf_deinit(&conf);
}

/* Kinds that are fields alone, and where each lands. */
static const struct {
	enum frame_kind kind;
	unsigned count;
	uint64_t fields[6];
} plain[] = {
	{ FRAME_APPEND_RESULT, 5, { 7, 3, 4, 1, 4096 } },
	{ FRAME_VOTE, 4, { 7, 20, 6, 3 } },
	{ FRAME_VOTE_RESULT, 2, { 7, 1 } },
	{ FRAME_TIMEOUT_NOW, 3, { 7, 20, 6 } },
	{ FRAME_SLEEP, 2, { 7, 20 } },
	{ FRAME_INSTALL_COMMIT, 3, { 7, 99, 12 } },
	{ FRAME_INSTALL_ANSWER, 6, { 7, 99, 12, 20, 3, FRAME_ANSWER_DONE } },
};

static void plain_build(struct frame_out *o, size_t row)
{
	frame_begin(o, plain[row].kind, GROUP, FROM, TO);
	for (unsigned i = 0; i < plain[row].count; i++) frame_u64(o, plain[row].fields[i]);
}

static void test_plain(void **state)
{
	struct frame_out o = { 0 };
	struct bytes x = { 0 };
	(void)state;
	struct bytes all[COUNT_OF(plain)] = { 0 };
	for (size_t i = 0; i < COUNT_OF(plain); i++) {
		plain_build(&o, i);
		take(&all[i], &o);
		assert_int_equal(all[i].e, OK);
		assert_int_equal(all[i].f.kind, plain[i].kind);
		assert_int_equal(all[i].f.term, 7);
	}
	assert_true(all[0].f.append_result.rejected == 3 && all[0].f.append_result.last_index == 4 &&
		    all[0].f.append_result.refill);
	assert_true(all[1].f.vote.last_index == 20 && all[1].f.vote.last_term == 6 && all[1].f.vote.disrupt &&
		    all[1].f.vote.pre_vote);
	assert_true(all[2].f.vote_result.granted && !all[2].f.vote_result.pre_vote);
	assert_true(all[3].f.timeout_now.last_index == 20 && all[3].f.timeout_now.last_term == 6);
	assert_int_equal(all[4].f.sleep.last_index, 20);
	assert_true(all[5].f.install_commit.install == 99 && all[5].f.install_commit.seq == 12);
	assert_true(all[6].f.install_answer.index == 20 && all[6].f.install_answer.answer == FRAME_ANSWER_DONE);
	for (size_t i = 0; i < COUNT_OF(plain); i++) buf_deinit(&all[i].b);
	buf_deinit(&x.b);
	frame_out_deinit(&o);
}

static void install_begin_build(struct frame_out *o, const struct buf *conf)
{
	frame_begin(o, FRAME_INSTALL_BEGIN, GROUP, FROM, TO);
	static const uint64_t fields[] = { 7, 99, 50, 6, 40, 1 };
	for (size_t i = 0; i < COUNT_OF(fields); i++) frame_u64(o, fields[i]);
	frame_part(o, buf_slice(conf));
}

static void test_install(void **state)
{
	struct frame_out o = { 0 };
	struct bytes x = { 0 };
	struct buf conf = { 0 };
	(void)state;
	configuration(&conf, 3);
	install_begin_build(&o, &conf);
	take(&x, &o);
	assert_int_equal(x.e, OK);
	assert_true(
		x.f.install_begin.install == 99 && x.f.install_begin.index == 50 && x.f.install_begin.index_term == 6);
	assert_true(slice_eq(x.f.install_begin.conf, buf_slice(&conf)));
	frame_begin(&o, FRAME_INSTALL_CHUNK, GROUP, FROM, TO);
	static const uint64_t fields[] = { 7, 99, 1, FRAME_CHUNK_STATE };
	for (size_t i = 0; i < COUNT_OF(fields); i++) frame_u64(&o, fields[i]);
	frame_part(&o, SLICE("bytes"));
	take(&x, &o);
	assert_int_equal(x.e, OK);
	assert_int_equal(x.f.install_chunk.what, FRAME_CHUNK_STATE);
	assert_true(slice_eq_str(x.f.install_chunk.bytes, "bytes"));
	buf_deinit(&x.b);
	buf_deinit(&conf);
	frame_out_deinit(&o);
}

/* ---- damage ---- */

static void test_every_flip_and_cut(void **state)
{
	struct frame_out o = { 0 };
	struct bytes x = { 0 };
	struct buf cmd = { 0 }, conf = { 0 };
	struct frame f;
	const char *why;
	(void)state;
	command(&cmd);
	configuration(&conf, 3);
	append_build(&o, &cmd, &conf);
	take(&x, &o);
	assert_int_equal(x.e, OK);
	for (size_t i = 0; i < x.b.n; i++) {
		x.b.p[i] ^= (uint8_t)(1u << (i % 8));
		assert_int_equal(frame_decode(buf_slice(&x.b), &f, &why), ERR_CORRUPT);
		x.b.p[i] ^= (uint8_t)(1u << (i % 8));
	}
	for (size_t n = 0; n < x.b.n; n++)
		assert_int_equal(frame_decode(slice_first(buf_slice(&x.b), n), &f, &why), ERR_CORRUPT);
	/* With a checksum that is right, any shorter body is still refused, and nothing is read behind its end. */
	for (size_t n = FRAME_HEAD_BYTES; n < x.b.n; n++) {
		struct bytes part = { 0 };
		buf_append(&part.b, x.b.p, n);
		le32_put(part.b.p + 12, (uint32_t)(n - FRAME_HEAD_BYTES));
		reseal(&part);
		assert_int_equal(part.e, ERR_DENIED);
		buf_deinit(&part.b);
	}
	buf_deinit(&x.b);
	buf_deinit(&cmd);
	buf_deinit(&conf);
	frame_out_deinit(&o);
}

static void test_later_versions(void **state)
{
	struct frame_out o = { 0 };
	struct bytes x = { 0 };
	(void)state;
	plain_build(&o, 0);
	take(&x, &o);
	x.b.p[8] = FRAME_VERSION + 1;
	reseal(&x);
	assert_int_equal(x.e, ERR_FORMAT);
	x.b.p[8] = FRAME_VERSION;
	x.b.p[9] = FRAME_KIND_END;
	reseal(&x);
	assert_int_equal(x.e, ERR_FORMAT);
	x.b.p[9] = 0;
	reseal(&x);
	assert_int_equal(x.e, ERR_FORMAT);
	buf_deinit(&x.b);
	frame_out_deinit(&o);
}

/* ---- what nobody honest says: an 8-byte field of a good frame is changed ---- */

enum { BODY = FRAME_HEAD_BYTES };
#define FAR_TOO_LARGE UINT64_MAX

static const struct {
	enum frame_kind kind;
	size_t at;
	uint64_t value;
	const char *why;
} forged[] = {
	{ FRAME_APPEND, 24, 0, "from or to nobody" },
	{ FRAME_APPEND, 32, 0, "from or to nobody" },
	{ FRAME_APPEND, BODY, 0, "the entry before is of a later term than the message" },
	{ FRAME_APPEND, BODY, FAR_TOO_LARGE, "the term is absurd" },
	{ FRAME_APPEND, BODY, 5, "an entry is of a later term than the message" },
	{ FRAME_APPEND, BODY, 3, "the entry before is of a later term than the message" },
	{ FRAME_APPEND, BODY + 8, 0, "the entry before has an index or a term, but not both" },
	{ FRAME_APPEND, BODY + 8, FAR_TOO_LARGE, "the entry before has an index or a term, but not both" },
	{ FRAME_APPEND, BODY + 16, 0, "the entry before has an index or a term, but not both" },
	{ FRAME_APPEND, BODY + 16, 5, "terms of entries fall" },
	{ FRAME_APPEND, BODY + 24, FAR_TOO_LARGE, "the commit index is absurd" },
	{ FRAME_APPEND, BODY + 32, UINT32_MAX, "the body is cut" },
	{ FRAME_APPEND, BODY + 32, 2, "the lengths of the entries do not add up" },
	{ FRAME_APPEND, BODY + 32, (uint64_t)1 << 32 | 3, "reserved bytes are not zero" },
	{ FRAME_APPEND, BODY + 40, 0, "terms of entries fall" },
	{ FRAME_APPEND, BODY + 40, FAR_TOO_LARGE, "an entry is of a later term than the message" },
	{ FRAME_APPEND, BODY + 48, UINT32_MAX, "the lengths of the entries do not add up" },
	{ FRAME_APPEND_RESULT, BODY, 0, "the term is absurd" },
	{ FRAME_APPEND_RESULT, BODY + 8, FAR_TOO_LARGE, "an index is absurd" },
	{ FRAME_APPEND_RESULT, BODY + 16, FAR_TOO_LARGE, "an index is absurd" },
	{ FRAME_APPEND_RESULT, BODY + 24, 2, "unknown flags" },
	{ FRAME_APPEND_RESULT, BODY + 32, 0, "its slots take nothing, or too much" },
	{ FRAME_APPEND_RESULT, BODY + 32, FAR_TOO_LARGE, "its slots take nothing, or too much" },
	{ FRAME_VOTE, BODY, 0, "the last entry is of a later term than the message" },
	{ FRAME_VOTE, BODY, FAR_TOO_LARGE, "the term is absurd" },
	{ FRAME_VOTE, BODY + 8, 0, "the last entry has an index or a term, but not both" },
	{ FRAME_VOTE, BODY + 16, 8, "the last entry is of a later term than the message" },
	{ FRAME_VOTE, BODY + 24, 4, "unknown flags" },
	{ FRAME_VOTE_RESULT, BODY, FAR_TOO_LARGE, "the term is absurd" },
	{ FRAME_VOTE_RESULT, BODY + 8, 4, "unknown flags" },
	{ FRAME_TIMEOUT_NOW, BODY + 8, 0, "the last entry has an index or a term, but not both" },
	{ FRAME_TIMEOUT_NOW, BODY + 16, 8, "the last entry is of a later term than the message" },
	{ FRAME_SLEEP, BODY, 0, "the term is absurd" },
	{ FRAME_INSTALL_BEGIN, BODY + 16, 0, "the state has no index or no term" },
	{ FRAME_INSTALL_BEGIN, BODY + 24, 0, "the state has no index or no term" },
	{ FRAME_INSTALL_BEGIN, BODY + 24, 8, "the state is of a later term than the message" },
	{ FRAME_INSTALL_BEGIN, BODY + 32, 51, "the configuration is later than the state" },
	{ FRAME_INSTALL_BEGIN, BODY + 40, 0, "a begin without a number" },
	{ FRAME_INSTALL_BEGIN, BODY + 48, 0, "no configuration with a voter" },
	{ FRAME_INSTALL_COMMIT, BODY, 0, "the term is absurd" },
	{ FRAME_INSTALL_ANSWER, BODY + 24, FAR_TOO_LARGE, "an index is absurd" },
	{ FRAME_INSTALL_ANSWER, BODY + 40, 4, "an unknown answer" },
};

static void good_build(struct frame_out *o, enum frame_kind kind, const struct buf *cmd, const struct buf *conf)
{
	if (kind == FRAME_APPEND) append_build(o, cmd, conf);
	if (kind == FRAME_INSTALL_BEGIN) install_begin_build(o, conf);
	for (size_t i = 0; i < COUNT_OF(plain); i++)
		if (plain[i].kind == kind) plain_build(o, i);
}

static void test_forged_fields(void **state)
{
	struct frame_out o = { 0 };
	struct bytes x = { 0 };
	struct buf cmd = { 0 }, conf = { 0 };
	(void)state;
	command(&cmd);
	configuration(&conf, 3);
	for (size_t i = 0; i < COUNT_OF(forged); i++) {
		good_build(&o, forged[i].kind, &cmd, &conf);
		take(&x, &o);
		assert_int_equal(x.e, OK);
		le64_put(x.b.p + forged[i].at, forged[i].value);
		reseal(&x);
		if (x.e != ERR_DENIED || strcmp(x.why, forged[i].why) != 0)
			fail_msg("row %zu: %s, \"%s\"", i, err_name(x.e), x.why);
	}
	buf_deinit(&x.b);
	buf_deinit(&cmd);
	buf_deinit(&conf);
	frame_out_deinit(&o);
}

/* ---- entries that would hurt the library ---- */

static enum err decode_one(enum entry_kind kind, struct slice body)
{
	struct frame_out o = { 0 };
	struct bytes x = { 0 };
	frame_begin(&o, FRAME_APPEND, GROUP, FROM, TO);
	frame_append_begin(&o, 6, 0, 0, 0);
	frame_append_entry(&o, 6, kind, body);
	take(&x, &o);
	buf_deinit(&x.b);
	frame_out_deinit(&o);
	return x.e;
}

static void test_forged_entries(void **state)
{
	uint8_t huge[24] = { 1, 0, 0, 0, 0, 0, 0, 0, 0x10 }; /* 2^60 servers */
	uint8_t many[65] = { 0 };
	struct buf conf = { 0 }, cmd = { 0 };
	struct members m = { .count = 2, .at = { { 1, RAFT_VOTER }, { 2, RAFT_VOTER } } };
	(void)state;
	command(&cmd);
	assert_int_equal(decode_one(ENTRY_COMMAND, buf_slice(&cmd)), OK);
	assert_int_equal(decode_one((enum entry_kind)99, buf_slice(&cmd)), ERR_DENIED);
	assert_int_equal(decode_one((enum entry_kind)0, buf_slice(&cmd)), ERR_DENIED);
	assert_int_equal(decode_one(ENTRY_VOTE, buf_slice(&cmd)), ERR_DENIED);
	assert_int_equal(decode_one(ENTRY_COMMAND, SLICE("not a batch")), ERR_DENIED);
	assert_int_equal(decode_one(ENTRY_COMMAND, SLICE_NULL), ERR_DENIED);
	assert_int_equal(decode_one(ENTRY_BARRIER, slice_of(many, sizeof many)), ERR_DENIED);
	assert_int_equal(decode_one(ENTRY_CHANGE, SLICE_NULL), ERR_DENIED);
	assert_int_equal(decode_one(ENTRY_CHANGE, slice_of(huge, 1)), ERR_DENIED);
	assert_int_equal(decode_one(ENTRY_CHANGE, slice_of(huge, sizeof huge)), ERR_DENIED);
	members_encode(&m, &conf);
	assert_int_equal(decode_one(ENTRY_CHANGE, buf_slice(&conf)), OK);
	for (size_t n = 0; n < conf.n - 8; n++)
		assert_int_equal(decode_one(ENTRY_CHANGE, slice_first(buf_slice(&conf), n)), ERR_DENIED);
	buf_clear(&conf);
	m.at[1].id = 1; /* twice the same */
	members_encode(&m, &conf);
	assert_int_equal(decode_one(ENTRY_CHANGE, buf_slice(&conf)), ERR_DENIED);
	buf_clear(&conf);
	m.at[1].id = 0;
	members_encode(&m, &conf);
	assert_int_equal(decode_one(ENTRY_CHANGE, buf_slice(&conf)), ERR_DENIED);
	buf_clear(&conf);
	configuration(&conf, 0); /* nobody who could ever commit another */
	assert_int_equal(decode_one(ENTRY_CHANGE, buf_slice(&conf)), ERR_DENIED);
	buf_deinit(&conf);
	buf_deinit(&cmd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_install),
		cmocka_unit_test(test_every_flip_and_cut),
		cmocka_unit_test(test_later_versions),
		cmocka_unit_test(test_forged_fields),
		cmocka_unit_test(test_forged_entries),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
