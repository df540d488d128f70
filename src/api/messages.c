/* SPDX-License-Identifier: Apache-2.0 */
/* Single messages over the API: get and delete. */
#include "api_internal.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>

static void print_base64(struct buf *b, const char *key, struct slice v)
{
	if (v.n == 0) return;
	buf_printf(b, ",\"%s\":\"", key);
	uint8_t *to = buf_reserve(b, (v.n + 2) / 3 * 4 + 1);
	b->n += (size_t)EVP_EncodeBlock(to, v.p, (int)v.n);
	buf_append_byte(b, '"');
}

/* A message that is not there: unless damage took it, or may have. */
static void refuse_lost(struct api_request *r, const char *damaged)
{
	struct station *s = api_station(r);
	if (!s) return;
	const char *doubt = damaged ? stream_doubt(station_stream(s)) : stream_doubt_about(station_stream(s), r->seq);
	if ((damaged || doubt) && !diag_fault(r->api->diag, FAULT_bug_doubt_hidden)) {
		api_refuse(r, JS_STORE_FAILED, doubt ? doubt : damaged);
	} else {
		api_refuse(r, JS_NO_MESSAGE, NULL);
	}
}

/* By the index it is there: then its entry was taken by damage. */
static bool is_live(struct api_request *r)
{
	struct station *s =
		r->filter.n ? NULL : stations_find(r->api->stations, r->account->name, slice_of_str(r->stream));
	return s && stream_is_live(station_stream(s), r->seq);
}

/* The disk would not give it: that passes, unless the stream is in doubt by now. */
static void refuse_unread(struct api_request *r)
{
	struct station *s = api_station(r);
	const char *doubt = s ? stream_doubt(station_stream(s)) : NULL;
	if (doubt) {
		api_refuse(r, JS_STORE_FAILED, doubt);
	} else if (s) {
		api_refuse(r, JS_UNAVAILABLE, "the message can not be read at the moment");
	}
}

/* The message as it was published, and where it lies. */
static void answer_direct(struct api_request *r, const struct stream_msg *m)
{
	struct buf header = { 0 }, number = { 0 }, time = { 0 };
	if (m->header.n) {
		buf_append_slice(&header, m->header);
	} else {
		header_start(&header, 0, NULL);
	}
	buf_append_u64(&number, m->seq);
	time_print(&time, m->time_ns);
	(void)header_append(&header, SLICE("Nats-Stream"), slice_of_str(r->stream));
	(void)header_append(&header, SLICE("Nats-Subject"), m->subject);
	(void)header_append(&header, SLICE("Nats-Sequence"), buf_slice(&number));
	(void)header_append(&header, SLICE("Nats-Time-Stamp"), buf_slice(&time));
	struct msg out = {
		.subject = api_reply(r), .header = buf_slice(&header), .payload = m->payload, .account = r->account
	};
	if (!r->api->closing) (void)router_publish(&r->account->router, &out);
	buf_deinit(&header);
	buf_deinit(&number);
	buf_deinit(&time);
}

static void got(struct stream_read *q)
{
	struct api_request *r = CONTAINER_OF(q, struct api_request, read);
	enum err e = q->result;
	bool exact = r->filter.n || (e == OK && q->msgs[0].seq == r->seq);
	if (e == ERR_CLOSED) {
		api_drop(r);
		return;
	}
	if (e == ERR_IO) { /* says nothing of what is stored */
		stream_read_release(q);
		refuse_unread(r);
		return;
	}
	if (e == ERR_CORRUPT) {
		stream_read_release(q);
		refuse_lost(r, "the message is damaged");
		return;
	}
	if (e != OK || !exact) {
		stream_read_release(q);
		refuse_lost(r, is_live(r) ? "the message is lost" : NULL);
		return;
	}
	const struct stream_msg *m = &q->msgs[0];
	if (r->is_direct) {
		answer_direct(r, m);
		stream_read_release(q);
		api_drop(r);
		return;
	}
	struct buf b = { 0 };
	buf_append_str(&b, ",\"message\":{\"subject\":");
	api_string_print(&b, m->subject);
	buf_printf(&b, ",\"seq\":%llu", (unsigned long long)m->seq);
	if (!r->no_header) print_base64(&b, "hdrs", m->header);
	print_base64(&b, "data", m->payload);
	buf_append_str(&b, ",\"time\":");
	api_time_print(&b, m->time_ns);
	buf_append_byte(&b, '}');
	stream_read_release(q);
	api_answer(r, &b);
}

static bool take_newest(void *arg, struct slice subject, uint64_t count, uint64_t first_hint, uint64_t last)
{
	struct api_request *r = arg;
	(void)subject;
	(void)first_hint;
	if (count && last > r->seq) r->seq = last;
	return true;
}

static void get_read(struct api_request *r, struct station *s)
{
	r->read = (struct stream_read) { .done = got, .from = r->seq, .max_msgs = 1 };
	if (r->filter.n) {
		r->read.filters = &r->filter;
		r->read.filter_count = 1;
	}
	stream_read_start(station_stream(s), &r->read);
}

static void get_last(struct api_request *r)
{
	struct station *s = api_station(r);
	if (!s) return;
	r->filter = SLICE_NULL;
	if (r->seq == 0) {
		api_refuse(r, JS_NO_MESSAGE, NULL);
		return;
	}
	get_read(r, s);
}

static void last_walked(struct stream_walk *w)
{
	struct api_request *r = CONTAINER_OF(w, struct api_request, walk);
	if (w->result == OK)
		get_last(r);
	else
		api_refuse_err(r, w->result);
}

/* Kept in r->tail: what reads or walks borrows it. */
static void keep_filter(struct api_request *r, struct slice subject)
{
	char *tail = mem_zalloc(subject.n + 1);
	memcpy(tail, subject.p, subject.n);
	mem_free(r->tail);
	r->tail = tail;
	r->filter = slice_of(tail, subject.n);
}

/* What is asked for: by sequence, the last of a subject, or the next of a subject from a sequence on. */
static void get_synced(struct stream_req *sync)
{
	struct api_request *r = CONTAINER_OF(sync, struct api_request, stream_req);
	struct station *s = api_station(r);
	if (!s) return;
	if (sync->result != OK) {
		api_refuse_err(r, sync->result);
		return;
	}
	uint64_t seq = 0;
	struct slice last = SLICE_NULL, next = SLICE_NULL;
	const struct js_want wants[] = { { "seq", JS_U64, &seq }, { "last_by_subj", JS_TEXT, &last },
		{ "next_by_subj", JS_TEXT, &next }, { "no_hdr", JS_BOOL, &r->no_header } };
	json_t *root;
	if (!api_body(r, wants, COUNT_OF(wants), &root)) return;
	if (r->is_direct && r->tail && r->body.n == 0) last = slice_of_str(r->tail);
	bool bad = (last.n && (next.n || seq)) || (!last.n && !next.n && seq == 0);
	const char *doubt = last.n ? stream_doubt_about(station_stream(s), 0) : NULL;
	if (!bad && doubt) { /* a newer one may be lost */
		json_decref(root);
		api_refuse(r, JS_STORE_FAILED, doubt);
		return;
	}
	if (!bad && last.n) {
		struct slice filter = last;
		if (!stream_knows_last(station_stream(s), filter)) {
			r->stream_req = (struct stream_req) { .done = get_synced };
			stream_find_last(station_stream(s), filter, &r->stream_req);
			json_decref(root);
			return;
		}
		keep_filter(r, last);
		json_decref(root);
		r->seq = 0;
		r->walk = (struct stream_walk) {
			.filters = &r->filter, .filter_count = 1, .each = take_newest, .arg = r, .done = last_walked
		};
		if (stream_walk_start(station_stream(s), &r->walk)) get_last(r);
		return;
	}
	r->seq = seq;
	if (!bad && next.n) keep_filter(r, next);
	json_decref(root);
	if (bad)
		api_refuse(r, JS_BAD_REQUEST, NULL);
	else
		get_read(r, s);
}

void api_msg_get(struct api_request *r)
{
	struct station *s = api_station(r);
	if (!s) return;
	if (r->body.n == 0 && !r->tail) {
		api_refuse(r, JS_BAD_REQUEST, NULL);
		return;
	}
	api_after_sync(r, s, get_synced);
}

/* ---- delete ---- */

static void delete_known(struct stream_req *q)
{
	struct api_request *r = CONTAINER_OF(q, struct api_request, stream_req);
	struct buf b = { 0 };
	buf_append_str(&b, ",\"success\":true");
	api_answer(r, &b);
}

static void msg_deleted(struct stream_req *q)
{
	struct api_request *r = CONTAINER_OF(q, struct api_request, stream_req);
	char seq[24];
	if (q->result != OK) {
		api_refuse_err(r, q->result);
	} else if (q->seq == 0) {
		(void)snprintf(seq, sizeof seq, "%llu", (unsigned long long)r->seq);
		api_refuse(r, JS_SEQUENCE_NOT_FOUND, seq);
	} else {
		struct station *s = api_station(r);
		if (!s) return;
		/* the next request may ask for the newest of its subject */
		r->stream_req = (struct stream_req) { .done = delete_known };
		if (stream_config(station_stream(s))->retention == STREAM_LIMITS &&
			!stream_knows_last(station_stream(s), SLICE_NULL)) {
			stream_find_last(station_stream(s), SLICE_NULL, &r->stream_req);
		} else {
			delete_known(&r->stream_req);
		}
	}
}

static void delete_synced(struct stream_req *sync)
{
	struct api_request *r = CONTAINER_OF(sync, struct api_request, stream_req);
	struct station *s = api_station(r);
	struct stream_state st;
	if (!s) return;
	stream_state(station_stream(s), &st);
	/* the original's memory store has no ends: it says that the sequence is not there */
	bool has_ends = stream_config(station_stream(s))->storage == STREAM_FILE;
	if (has_ends && (r->seq < u64_max(st.first_seq, 1) || r->seq > st.last_seq)) {
		api_refuse(r, JS_STREAM_MSG_DELETE, r->seq > st.last_seq ? "stream store EOF" : "no message found");
		return;
	}
	r->stream_req = (struct stream_req) { .done = msg_deleted };
	stream_delete_msg(station_stream(s), r->seq, !r->no_erase, &r->stream_req);
	station_mark_dirty(s);
}

void api_msg_delete(struct api_request *r)
{
	struct station *s = api_station(r);
	if (!s) return;
	const struct stream_config *c = stream_config(station_stream(s));
	const struct js_want wants[] = { { "seq", JS_U64, &r->seq }, { "no_erase", JS_BOOL, &r->no_erase } };
	json_t *root;
	if (!api_body(r, wants, COUNT_OF(wants), &root)) return;
	bool empty = json_object_size(root) == 0;
	json_decref(root);
	if (empty) {
		api_refuse(r, JS_BAD_REQUEST, NULL);
	} else if (c->sealed) {
		api_refuse(r, JS_STREAM_SEALED, NULL);
	} else if (c->deny_delete) {
		api_refuse(r, JS_STREAM_MSG_DELETE, "message delete not permitted");
	} else if (api_may_change(r, s)) {
		api_after_sync(r, s, delete_synced);
	}
}
