/* SPDX-License-Identifier: Apache-2.0 */
/* Admission: the order of checks that a publisher can observe (spec §5.4). Each stage is a row; a stage sees the stream with what is in
 * flight and either lets pass, or says why not. */
#include "station_internal.h"

enum { HEADER_BYTES_MAX = 64 * 1024 };

/* ---- headers that ask for something ---- */

/* What is no number is never the last sequence. */
static void take_u64(struct slice v, uint64_t *out, bool *has)
{
	if (slice_to_u64(v, out) != OK) *out = UINT64_MAX;
	*has = true;
}

static void take_header(struct admission *a, struct slice key, struct slice value)
{
	if (value.n == 0) return; /* asks for nothing */
	if (slice_eq(key, SLICE("Nats-Msg-Id")) || slice_eq(key, SLICE("msg-id"))) {
		if (!a->msg_id.n) a->msg_id = value;
	} else if (slice_eq(key, SLICE("Nats-Expected-Stream"))) {
		a->expected_stream = value;
	} else if (slice_eq(key, SLICE("Nats-Expected-Last-Sequence"))) {
		take_u64(value, &a->expected_last_seq, &a->has_last_seq);
	} else if (slice_eq(key, SLICE("Nats-Expected-Last-Subject-Sequence"))) {
		take_u64(value, &a->expected_last_subject_seq, &a->has_last_subject_seq);
	} else if (slice_eq(key, SLICE("Nats-Expected-Last-Subject-Sequence-Subject"))) {
		a->expected_last_subject = value;
	} else if (slice_eq(key, SLICE("Nats-Expected-Last-Msg-Id"))) {
		a->expected_last_msg_id = value;
	} else if (slice_eq(key, SLICE("Nats-Rollup"))) {
		a->rollup = value;
	}
}

static void take_headers(struct admission *a, struct slice block)
{
	struct slice key, value;
	for (size_t at = 0; header_next(block, &at, &key, &value);) {
		/* every header of interest begins so */
		if (slice_has_prefix(key, SLICE("Nats-")) || slice_eq(key, SLICE("msg-id"))) take_header(a, key, value);
	}
}

/* ---- stages ---- */

typedef enum admit_verdict stage_fn(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *dup, struct js_error *e);

static enum admit_verdict reject(bool is_false)
{
	ASSERT(!is_false);
	return ADMIT_REJECT;
}

static enum admit_verdict check_sealed(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *dup, struct js_error *e)
{
	(void)m;
	(void)a;
	(void)dup;
	return stream_config(s->stream)->sealed ? reject(js_error_set(e, JS_STREAM_SEALED, NULL)) : ADMIT_PASS;
}

static enum admit_verdict check_expected_stream(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *dup, struct js_error *e)
{
	(void)m;
	(void)dup;
	bool wrong = a->expected_stream.p && !diag_fault(s->stations->diag, FAULT_bug_expected_stream_ignored) &&
		     !slice_eq_str(a->expected_stream, stream_config(s->stream)->name);
	return wrong ? reject(js_error_set(e, JS_STREAM_NOT_MATCH, NULL)) : ADMIT_PASS;
}

static enum admit_verdict check_duplicate(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *dup, struct js_error *e)
{
	bool applied;
	(void)m;
	(void)e;
	if (a->msg_id.n == 0) return ADMIT_PASS;
	*dup = stream_ahead_msg_id(s->stream, a->msg_id, &applied);
	return *dup ? ADMIT_DUPLICATE : ADMIT_PASS;
}

static enum admit_verdict check_last_subject_seq(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *dup, struct js_error *e)
{
	(void)dup;
	struct slice subject = a->expected_last_subject.n ? a->expected_last_subject : m->subject;
	if (!a->has_last_subject_seq)
		return a->expected_last_subject.n ? reject(js_error_set(e, JS_LAST_SUBJECT_SEQUENCE_MISSING, NULL))
						  : ADMIT_PASS;
	if (!subject_is_valid(subject)) return reject(js_error_set(e, JS_BAD_REQUEST, NULL));
	uint64_t last = stream_ahead_subject(s->stream, subject, NULL);
	if (last == a->expected_last_subject_seq) return ADMIT_PASS;
	if (!stream_knows_last(s->stream, subject)) { /* the one that was last has just been deleted */
		stream_find_last(s->stream, subject, NULL);
		return reject(js_error_set(e, JS_LAST_SUBJECT_SEQUENCE_UNAVAILABLE, NULL));
	}
	return reject(js_error_set(e, JS_LAST_SEQUENCE_WRONG, "%llu", (unsigned long long)last));
}

static enum admit_verdict check_last_seq(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *dup, struct js_error *e)
{
	(void)m;
	(void)dup;
	uint64_t last = stream_ahead_last_seq(s->stream);
	if (!a->has_last_seq || last == a->expected_last_seq) return ADMIT_PASS;
	return reject(js_error_set(e, JS_LAST_SEQUENCE_WRONG, "%llu", (unsigned long long)last));
}

static enum admit_verdict check_last_msg_id(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *dup, struct js_error *e)
{
	(void)m;
	(void)dup;
	struct slice last = stream_ahead_last_msg_id(s->stream);
	if (diag_fault(s->stations->diag, FAULT_bug_expected_id_ignored)) return ADMIT_PASS;
	if (!a->expected_last_msg_id.p || slice_eq(last, a->expected_last_msg_id)) return ADMIT_PASS;
	return reject(js_error_set(e, JS_LAST_MSG_ID_WRONG, "%.*s", SLICE_FMT(slice_first(last, 150))));
}

static enum admit_verdict check_rollup(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *dup, struct js_error *e)
{
	(void)m;
	(void)dup;
	if (!a->rollup.p) return ADMIT_PASS;
	if (!stream_config(s->stream)->allow_rollup_hdrs)
		return reject(js_error_set(e, JS_ROLLUP, "rollup not permitted"));
	if (slice_eq_nocase(a->rollup, SLICE("sub"))) {
		a->publish.rollup = STREAM_ROLLUP_SUBJECT;
	} else if (slice_eq_nocase(a->rollup, SLICE("all"))) {
		a->publish.rollup = STREAM_ROLLUP_ALL;
	} else {
		return reject(js_error_set(
			e, JS_ROLLUP, "rollup value invalid: \"%.*s\"", SLICE_FMT(slice_first(a->rollup, 40))));
	}
	return ADMIT_PASS;
}

static enum admit_verdict check_size(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *dup, struct js_error *e)
{
	int64_t max = stream_config(s->stream)->max_msg_size;
	(void)a;
	(void)dup;
	if (max >= 0 && (int64_t)(m->header.n + m->payload.n) > max)
		return reject(js_error_set(e, JS_MESSAGE_TOO_LARGE, NULL));
	if (m->header.n > HEADER_BYTES_MAX) return reject(js_error_set(e, JS_HEADER_TOO_LARGE, NULL));
	return ADMIT_PASS;
}

/* discard new: what is there and in flight counts */
static enum admit_verdict check_discard_new(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *dup, struct js_error *e)
{
	const struct stream_config *c = stream_config(s->stream);
	(void)dup;
	if (c->discard != STREAM_DISCARD_NEW) return ADMIT_PASS;
	uint64_t count = 0;
	if (c->discard_new_per_subject) (void)stream_ahead_subject(s->stream, m->subject, &count);
	if (c->discard_new_per_subject && a->publish.rollup == STREAM_ROLLUP_NONE &&
		count >= (uint64_t)c->max_msgs_per_subject)
		return reject(js_error_set(e, JS_STORE_FAILED, "maximum messages per subject exceeded"));
	/* a message that pushes an older one of its subject out takes no more room in number, and in bytes what it is larger by */
	bool replaces = c->max_msgs_per_subject > 0 && !c->discard_new_per_subject &&
			stream_ahead_subject(s->stream, m->subject, &count) &&
			count >= (uint64_t)c->max_msgs_per_subject;
	if (c->max_msgs > 0 && !replaces && stream_ahead_msgs(s->stream) >= (uint64_t)c->max_msgs)
		return reject(js_error_set(e, JS_STORE_FAILED, "maximum messages exceeded"));
	uint64_t bytes = stream_msg_bytes(c, m->subject.n, m->header.n, m->payload.n), out_bytes = 0;
	if (replaces) (void)stream_ahead_pushed_out(s->stream, m->subject, &out_bytes);
	if (c->max_bytes > 0 && stream_ahead_bytes(s->stream) + bytes > (uint64_t)c->max_bytes + out_bytes)
		return reject(js_error_set(e, JS_STORE_FAILED, "maximum bytes exceeded"));
	return ADMIT_PASS;
}

/* What the account and the server may store. */
static enum admit_verdict check_room(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *dup, struct js_error *e)
{
	enum js_error_id id;
	(void)a;
	(void)dup;
	uint64_t bytes = stream_msg_bytes(stream_config(s->stream), m->subject.n, m->header.n, m->payload.n);
	return station_has_room(s, m->subject, bytes, &id) ? ADMIT_PASS : reject(js_error_set(e, id, NULL));
}

static stage_fn *const stages[] = { check_sealed, check_expected_stream, check_duplicate, check_last_subject_seq,
	check_last_seq, check_last_msg_id, check_rollup, check_size, check_room, check_discard_new };

enum admit_verdict station_admit(
	struct station *s, const struct msg *m, struct admission *a, uint64_t *duplicate_of, struct js_error *e)
{
	*a = (struct admission) { 0 };
	if (m->header.n) take_headers(a, m->header);
	for (size_t i = 0; i < COUNT_OF(stages); i++) {
		enum admit_verdict v = stages[i](s, m, a, duplicate_of, e);
		if (v != ADMIT_PASS) return v;
	}
	a->publish.subject = m->subject;
	a->publish.header = m->header;
	a->publish.payload = m->payload;
	a->publish.msg_id = a->msg_id;
	return ADMIT_PASS;
}
