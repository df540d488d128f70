/* SPDX-License-Identifier: Apache-2.0 */
/* Streams over the API (spec §5.2, §5.3). */
#include "api_internal.h"

#include <jansson.h>

/* ---- StreamInfo ---- */

/* Of an INFO that asks for subjects, until they are gathered. */
struct info_wish {
	struct api_request *r;
	json_t *root; /* owned */
	bool deleted_details;
	struct slice subjects_filter; /* of root */
	uint64_t offset, matched;     /* matched: subjects that the filter found */
	uint64_t shown;
	struct buf subjects; /* owned: `{"a":1,"b":2` */
	struct stream_walk walk;
};

static bool print_subject(void *arg, struct slice subject, uint64_t count, uint64_t first_hint, uint64_t last)
{
	struct info_wish *w = arg;
	(void)first_hint;
	(void)last;
	if (w->matched++ < w->offset || w->shown >= SUBJECTS_LIMIT) return true;
	buf_append_byte(&w->subjects, w->shown++ ? ',' : '{');
	api_string_print(&w->subjects, subject);
	buf_append_byte(&w->subjects, ':');
	buf_append_u64(&w->subjects, count);
	return true;
}

static void print_deleted(struct buf *b, struct stream *s, const struct stream_state *st)
{
	uint64_t n = 0;
	if (st->deleted_count == 0) return;
	buf_append_str(b, ",\"deleted\":[");
	for (uint64_t seq = st->first_seq; seq <= st->last_seq && n < SUBJECTS_LIMIT; seq++) {
		if (stream_is_live(s, seq)) continue;
		buf_printf(b, n++ ? ",%llu" : "%llu", (unsigned long long)seq);
	}
	buf_append_byte(b, ']');
}

static void print_state(struct buf *b, struct stream *s, const struct info_wish *wish)
{
	struct stream_state st;
	stream_state(s, &st);
	buf_printf(b, "{\"messages\":%llu,\"bytes\":%llu,\"first_seq\":%llu,\"first_ts\":", (unsigned long long)st.msgs,
		(unsigned long long)st.bytes, (unsigned long long)st.first_seq);
	api_time_print(b, st.first_time_ns);
	buf_printf(b, ",\"last_seq\":%llu,\"last_ts\":", (unsigned long long)st.last_seq);
	api_time_print(b, st.last_time_ns);
	if (st.subject_count) buf_printf(b, ",\"num_subjects\":%llu", (unsigned long long)st.subject_count);
	if (st.deleted_count) buf_printf(b, ",\"num_deleted\":%llu", (unsigned long long)st.deleted_count);
	if (wish->deleted_details) print_deleted(b, s, &st);
	if (wish->shown) {
		buf_append_str(b, ",\"subjects\":");
		buf_append_slice(b, buf_slice(&wish->subjects));
		buf_append_byte(b, '}');
	}
	buf_printf(b, ",\"consumer_count\":%llu}", (unsigned long long)st.consumer_count);
}

/* A field of our own: clients leave out what they do not know. */
static void print_doubt(struct buf *b, const struct stream *s)
{
	const char *doubt = stream_doubt(s);
	if (!doubt) return;
	struct group_status g;
	group_status(stream_group(s), &g);
	buf_printf(b, ",\"doubt\":{\"group\":%llu", (unsigned long long)group_id(stream_group(s)));
	if (g.lost_from) buf_printf(b, ",\"from\":%llu", (unsigned long long)g.lost_from);
	if (g.lost_to) buf_printf(b, ",\"to\":%llu", (unsigned long long)g.lost_to);
	if (g.state == GROUP_QUARANTINED) buf_append_str(b, ",\"stopped\":true"); /* S11: nothing is lost */
	buf_append_str(b, ",\"reason\":");
	api_string_print(b, slice_of_str(doubt));
	buf_append_byte(b, '}');
}

static void print_info(struct buf *b, struct station *s, const char *domain, const struct info_wish *wish)
{
	buf_append_str(b, "\"config\":");
	stream_config_print(b, stream_config(station_stream(s)));
	buf_append_str(b, ",\"created\":");
	api_time_print(b, stream_created_ns(station_stream(s)));
	buf_append_str(b, ",\"state\":");
	print_state(b, station_stream(s), wish);
	print_doubt(b, station_stream(s));
	if (!domain) return;
	buf_append_str(b, ",\"domain\":");
	api_string_print(b, slice_of_str(domain));
}

/* ---- create and update ---- */

bool api_stream_ready(struct api_request *r)
{
	struct station *s = stations_find(r->api->stations, r->account->name, slice_of_str(r->stream));
	if (!s) return false;
	if (r->recovers) return stream_is_leader(station_stream(s));
	if (r->did_create && stream_doubt(station_stream(s))) return true;
	return stream_is_leader(station_stream(s)) && (r->did_create || stream_config_is_settled(station_stream(s)));
}

void api_stream_answer(struct api_request *r)
{
	struct station *s = api_station(r);
	if (!s) return;
	struct buf b = { 0 };
	if (r->recovers) {
		buf_printf(&b, ",\"success\":true,\"lost\":%llu,\"next_seq\":%llu", (unsigned long long)r->accept.lost,
			(unsigned long long)r->accept.next_seq);
		api_answer(r, &b);
		return;
	}
	buf_append_byte(&b, ',');
	print_info(&b, s, r->api->stations->domain, &(struct info_wish) { 0 });
	if (r->did_create) buf_append_str(&b, ",\"did_create\":true");
	if (r->has_changed)
		api_advise_stream(r, r->did_create ? "CREATED" : "UPDATED", r->did_create ? "create" : "modify");
	api_answer(r, &b);
}

/* Creating what is there already, just so, is no error: whoever was first. */
static bool exists_alike(const struct api_request *r)
{
	struct station *s = stations_find(r->api->stations, r->account->name, slice_of_str(r->stream));
	return s && stream_config_equal(stream_config(station_stream(s)), &r->config);
}

static void meta_done(struct meta_req *q)
{
	struct api_request *r = CONTAINER_OF(q, struct api_request, meta_req);
	r->in_catalogue = false;
	r->has_changed = q->result == OK;
	if (q->result == OK || (q->result == ERR_EXISTS && exists_alike(r))) {
		api_wait(r);
	} else if (q->result == ERR_EXISTS &&
		   !stations_find(r->api->stations, r->account->name, slice_of_str(r->stream))) {
		api_refuse(r, JS_UNAVAILABLE, NULL); /* in the catalogue, and found no room yet */
	} else if (q->result == ERR_EXISTS) {
		api_refuse(r, JS_STREAM_NAME_EXISTS, NULL);
	} else if (q->result == ERR_NOT_FOUND) {
		api_refuse(r, JS_STREAM_NOT_FOUND, NULL);
	} else {
		api_refuse_err(r, q->result);
	}
}

/* What create and update check alike; false: answered. */
static bool take_config(struct api_request *r)
{
	struct slice name = SLICE_NULL;
	const struct js_want wants[] = { { "name", JS_TEXT, &name } };
	json_t *root;
	if (!api_body(r, wants, COUNT_OF(wants), &root)) return false;
	bool other = root && !slice_eq_str(name, r->stream);
	json_decref(root);
	if (other) {
		api_refuse(r, JS_STREAM_NAME_MISMATCH, NULL);
		return false;
	}
	int64_t window = stations_limits(r->api->stations, r->account)->duplicate_window_ns;
	if (!stream_config_request(&r->config, buf_slice(&r->body), window, &r->error)) {
		api_fail(r);
		return false;
	}
	if (r->config.num_replicas > 1) {
		api_refuse(r, JS_REPLICAS_STANDALONE, NULL);
		return false;
	}
	return true;
}

/* Of a stream that is on its way into the catalogue. */
static bool overlaps_coming(const struct api_request *r, struct slice subject)
{
	LIST_EACH (node, &r->api->requests) {
		const struct api_request *other = CONTAINER_OF(node, struct api_request, link);
		if (other->in_catalogue && other->account == r->account && strcmp(other->stream, r->stream) != 0 &&
			stream_config_overlaps(&other->config, subject))
			return true;
	}
	return false;
}

static bool overlaps(struct api_request *r)
{
	for (size_t i = 0; i < r->config.subject_count; i++) {
		struct slice subject = slice_of_str(r->config.subjects[i]);
		if (!stations_overlap(r->api->stations, r->account->name, subject, slice_of_str(r->config.name)) &&
			!overlaps_coming(r, subject))
			continue;
		api_refuse(r, JS_SUBJECT_OVERLAP, NULL);
		return true;
	}
	return false;
}

/* The account's limits; streams on their way into the catalogue count. */
static bool may_have(struct api_request *r, bool is_new)
{
	uint64_t streams = 0, bytes = 0;
	LIST_EACH (node, &r->api->requests) {
		const struct api_request *other = CONTAINER_OF(node, struct api_request, link);
		if (!other->in_catalogue || other->account != r->account || other == r || !other->did_create) continue;
		if (strcmp(other->stream, r->stream) == 0) continue;
		streams++;
		if (other->config.max_bytes > 0 && other->config.storage == r->config.storage)
			bytes += (uint64_t)other->config.max_bytes;
	}
	if (stations_may_have(r->api->stations, r->account, &r->config, is_new, streams, bytes, &r->error)) return true;
	api_fail(r);
	return false;
}

void api_stream_create(struct api_request *r)
{
	if (!take_config(r)) return;
	struct station *s = stations_find(r->api->stations, r->account->name, slice_of_str(r->stream));
	if (s && !stream_config_equal(stream_config(station_stream(s)), &r->config)) {
		api_refuse(r, JS_STREAM_NAME_EXISTS, NULL);
		return;
	}
	if (r->config.sealed && !s) {
		api_refuse(r, JS_STREAM_CONFIG, "stream configuration for create can not be sealed");
		return;
	}
	if (r->config.template_owner && !s) {
		api_refuse(r, JS_STREAM_CREATE, "stream not owned by template");
		return;
	}
	r->did_create = true;
	if (s) {
		api_wait(r);
		return;
	}
	if (overlaps(r) || !may_have(r, true)) return;
	r->in_catalogue = true;
	r->meta_req = (struct meta_req) { .done = meta_done };
	meta_stream_create(r->api->meta, r->account->name, &r->config, &r->meta_req);
}

void api_stream_update(struct api_request *r)
{
	if (!take_config(r)) return;
	struct station *s = api_station(r);
	if (!s || !api_may_change(r, s)) return;
	if (!stream_config_can_update(stream_config(station_stream(s)), &r->config, &r->error)) {
		api_fail(r);
		return;
	}
	if (overlaps(r) || !may_have(r, false)) return;
	r->in_catalogue = true;
	r->meta_req = (struct meta_req) { .done = meta_done };
	meta_stream_update(r->api->meta, r->account->name, &r->config, &r->meta_req);
}

/* ---- delete ---- */

static void deleted(struct meta_req *q)
{
	struct api_request *r = CONTAINER_OF(q, struct api_request, meta_req);
	struct buf b = { 0 };
	if (q->result == ERR_NOT_FOUND) {
		api_refuse(r, JS_STREAM_NOT_FOUND, NULL);
	} else if (q->result != OK) {
		api_refuse_err(r, q->result);
	} else {
		buf_append_str(&b, ",\"success\":true");
		api_advise_stream(r, "DELETED", "delete");
		api_answer(r, &b);
	}
}

void api_stream_delete(struct api_request *r)
{
	if (!api_station(r)) return;
	r->meta_req = (struct meta_req) { .done = deleted };
	meta_stream_delete(r->api->meta, r->account->name, slice_of_str(r->stream), &r->meta_req);
}

/* ---- info, names, list ---- */

static void info_answer(struct info_wish *w)
{
	struct api_request *r = w->r;
	struct station *s = api_station(r);
	if (s) {
		struct buf b = { 0 };
		buf_append_byte(&b, ',');
		print_info(&b, s, r->api->stations->domain, w);
		buf_printf(&b, ",\"total\":%llu,\"offset\":%llu,\"limit\":%d", (unsigned long long)w->matched,
			(unsigned long long)u64_min(w->offset, w->matched), w->matched ? SUBJECTS_LIMIT : 0);
		api_answer(r, &b);
	}
	json_decref(w->root);
	buf_deinit(&w->subjects);
	mem_free(w);
}

static void subjects_walked(struct stream_walk *walk)
{
	struct info_wish *w = CONTAINER_OF(walk, struct info_wish, walk);
	if (walk->result == OK) {
		info_answer(w);
		return;
	}
	api_refuse_err(w->r, walk->result);
	json_decref(w->root);
	buf_deinit(&w->subjects);
	mem_free(w);
}

static void info_synced(struct stream_req *q)
{
	struct api_request *r = CONTAINER_OF(q, struct api_request, stream_req);
	struct station *s = api_station(r);
	if (!s) return;
	struct info_wish *w = NEW(struct info_wish);
	w->r = r;
	const struct js_want wants[] = { { "deleted_details", JS_BOOL, &w->deleted_details },
		{ "subjects_filter", JS_TEXT, &w->subjects_filter }, { "offset", JS_U64, &w->offset } };
	if (!api_body(r, wants, COUNT_OF(wants), &w->root)) {
		mem_free(w);
		return;
	}
	w->walk = (struct stream_walk) { .filters = &w->subjects_filter,
		.filter_count = 1,
		.each = print_subject,
		.arg = w,
		.done = subjects_walked };
	if (w->subjects_filter.n == 0 || stream_walk_start(station_stream(s), &w->walk)) info_answer(w);
}

void api_stream_info(struct api_request *r)
{
	struct station *s = api_station(r);
	if (s) api_after_sync(r, s, info_synced);
}

struct listing {
	struct buf b;
	uint64_t offset, total, shown, limit;
	struct slice subject;
	const char *domain;
	bool names;
};

static bool list_one(void *arg, struct station *s)
{
	struct listing *l = arg;
	if (l->subject.n && !stream_config_overlaps(stream_config(station_stream(s)), l->subject)) return true;
	if (l->total++ < l->offset || l->shown >= l->limit) return true;
	buf_append_byte(&l->b, l->shown++ ? ',' : '[');
	if (l->names) {
		api_string_print(&l->b, station_stream_name(s));
	} else {
		buf_append_byte(&l->b, '{');
		print_info(&l->b, s, l->domain, &(struct info_wish) { 0 });
		buf_append_byte(&l->b, '}');
	}
	return true;
}

static void list_streams(struct api_request *r, bool names)
{
	struct listing l = {
		.names = names, .limit = names ? NAMES_LIMIT : LIST_LIMIT, .domain = r->api->stations->domain
	};
	const struct js_want wants[] = { { "offset", JS_U64, &l.offset }, { "subject", JS_TEXT, &l.subject } };
	json_t *root;
	if (!api_body(r, wants, COUNT_OF(wants), &root)) return;
	stations_each(r->api->stations, r->account->name, list_one, &l);
	struct buf b = { 0 };
	buf_printf(&b, ",\"total\":%llu,\"offset\":%llu,\"limit\":%llu,\"streams\":", (unsigned long long)l.total,
		(unsigned long long)u64_min(l.offset, l.total), (unsigned long long)l.limit);
	if (l.shown) {
		buf_append_slice(&b, buf_slice(&l.b));
		buf_append_byte(&b, ']');
	} else {
		buf_append_str(&b, names ? "null" : "[]");
	}
	buf_deinit(&l.b);
	json_decref(root);
	api_answer(r, &b);
}

void api_stream_names(struct api_request *r) { list_streams(r, true); }
void api_stream_list(struct api_request *r) { list_streams(r, false); }

/* ---- account ---- */

static bool add_usage(void *arg, struct station *s)
{
	struct api_usage *u = arg;
	struct stream_state st;
	const struct stream_config *c = stream_config(station_stream(s));
	stream_state(station_stream(s), &st);
	u->streams++;
	u->consumers += st.consumer_count;
	*(c->storage == STREAM_MEMORY ? &u->memory : &u->storage) += st.bytes;
	if (c->max_bytes > 0)
		*(c->storage == STREAM_MEMORY ? &u->reserved_memory : &u->reserved_storage) += (uint64_t)c->max_bytes;
	return true;
}

void api_usage(const struct api *a, struct slice account, struct api_usage *u)
{
	stations_each(a->stations, account, add_usage, u);
}

static void print_limits(struct buf *b, const struct station_limits *l)
{
	buf_printf(b,
		",\"limits\":{\"max_memory\":%lld,\"max_storage\":%lld,\"max_streams\":%lld,\"max_consumers\":%lld",
		(long long)l->max_memory, (long long)l->max_store, (long long)l->max_streams,
		(long long)l->max_consumers);
	buf_printf(b,
		",\"max_ack_pending\":%lld,\"memory_max_stream_bytes\":%lld,\"storage_max_stream_bytes\":%lld,"
		"\"max_bytes_required\":%s}",
		(long long)l->max_ack_pending, (long long)l->memory_max_stream_bytes,
		(long long)l->store_max_stream_bytes, l->max_bytes_required ? "true" : "false");
}

void api_account_info(struct api_request *r)
{
	struct api_usage u = { 0 };
	struct buf b = { 0 };
	api_usage(r->api, r->account->name, &u);
	buf_printf(&b,
		",\"memory\":%llu,\"storage\":%llu,\"reserved_memory\":%llu,\"reserved_storage\":%llu,\"streams\":%llu,"
		"\"consumers\":%llu",
		(unsigned long long)u.memory, (unsigned long long)u.storage, (unsigned long long)u.reserved_memory,
		(unsigned long long)u.reserved_storage, (unsigned long long)u.streams, (unsigned long long)u.consumers);
	print_limits(&b, stations_limits(r->api->stations, r->account));
	if (r->api->stations->domain) {
		buf_append_str(&b, ",\"domain\":");
		api_string_print(&b, slice_of_str(r->api->stations->domain));
	}
	buf_printf(&b, ",\"api\":{\"total\":%llu,\"errors\":%llu}", (unsigned long long)r->home->total,
		(unsigned long long)r->home->errors);
	api_answer(r, &b);
}

/* ---- purge ---- */

static void purged(struct stream_req *q)
{
	struct api_request *r = CONTAINER_OF(q, struct api_request, stream_req);
	struct buf b = { 0 };
	if (q->result != OK) {
		api_refuse_err(r, q->result);
		return;
	}
	buf_printf(&b, ",\"success\":true,\"purged\":%llu", (unsigned long long)q->seq);
	api_answer(r, &b);
}

/* What is in flight is there when the purge looks. */
static void purge_synced(struct stream_req *q)
{
	struct api_request *r = CONTAINER_OF(q, struct api_request, stream_req);
	struct station *s = api_station(r);
	if (!s) return;
	uint64_t seq = 0, keep = 0;
	struct slice filter = SLICE_NULL;
	const struct js_want wants[] = { { "seq", JS_U64, &seq }, { "keep", JS_U64, &keep },
		{ "filter", JS_TEXT, &filter } };
	json_t *root;
	if (!api_body(r, wants, COUNT_OF(wants), &root)) return;
	if ((seq && keep) || (filter.n && !subject_is_valid(filter))) {
		api_refuse(r, JS_BAD_REQUEST, NULL);
	} else {
		r->stream_req = (struct stream_req) { .done = purged };
		stream_purge(station_stream(s), filter, seq, keep, &r->stream_req);
		station_mark_dirty(s);
	}
	json_decref(root);
}

void api_stream_purge(struct api_request *r)
{
	struct station *s = api_station(r);
	if (!s) return;
	if (stream_config(station_stream(s))->sealed) {
		api_refuse(r, JS_STREAM_SEALED, NULL);
	} else if (stream_config(station_stream(s))->deny_purge) {
		api_refuse(r, JS_STREAM_PURGE, "stream purge not permitted");
	} else if (api_may_change(r, s)) {
		api_after_sync(r, s, purge_synced);
	}
}
