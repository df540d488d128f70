/* SPDX-License-Identifier: Apache-2.0 */
/* api_internal — a request from arrival to answer. */
#ifndef THEBES_API_INTERNAL_H
#define THEBES_API_INTERNAL_H

#include "thebes/api.h"
#include "thebes/js_json.h"
#include "thebes/wire.h"

struct api_account {
	struct list link;
	struct api *api;
	struct account *account;
	struct sink api_sink, ack_sink;
	struct sub api_sub, ack_sub, domain_sub;
	uint64_t total, errors; /* requests that were answered */
	bool is_enabled;
};

struct api_request {
	struct list link, link_by_wait;
	struct api *api;
	struct account *account;
	struct api_account *home; /* of the account, as long as the api is not closing */
	const char *type;         /* response type */
	char *reply;              /* owned, like all here */
	char *stream, *consumer, *tail;
	char *audited; /* the request's subject, when somebody listens to what is asked and answered; else NULL */
	struct buf body;
	struct js_error error;
	/* one of these is under way */
	struct meta_req meta_req;
	struct stream_req stream_req;
	struct consumer_req consumer_req;
	struct consumer_wait consumer_wait;
	struct stream_read read;
	struct stream_walk walk;
	struct stream_accept accept;
	struct group_accept catalogue;
	struct stream_config config;
	struct slice filter;
	uint64_t seq, wait_until_ns;
	bool recovers;  /* waits until its stream is in service again */
	bool is_direct; /* of DIRECT.GET: the message itself is the answer, a status what is no message */
	bool did_create, has_changed, no_header, no_erase,
		in_catalogue; /* in_catalogue: its configuration is being written there; has_changed: was */
};

enum { LIST_LIMIT = 256, NAMES_LIMIT = 1024, SUBJECTS_LIMIT = 100000 };

typedef void api_handler(struct api_request *r);
#define API(subject, type, names, body, handler) api_handler api_##handler;
#include "api.def"
#undef API

struct slice api_reply(const struct api_request *r);
struct station *api_station(struct api_request *r);                       /* NULL: answered with 10059 */
struct consumer *api_consumer(struct api_request *r, struct station **s); /* NULL: answered */
void api_answer(
	struct api_request *r, struct buf *fields); /* `,"k":v…` behind the type, or NULL; takes fields, frees r */
void api_fail(struct api_request *r);               /* with r->error */
void api_refuse(struct api_request *r, enum js_error_id id, const char *text);
void api_refuse_err(struct api_request *r, enum err e); /* what a room said; an unknown outcome is not answered */
void api_drop(struct api_request *r);
/* False: the stream is in doubt, and the request was refused so (10077). */
must_check bool api_may_change(struct api_request *r, const struct station *s);
/* Runs `then` when everything in flight of the stream is applied; at once, for reading, when it is in doubt. */
void api_after_sync(struct api_request *r, struct station *s, void (*then)(struct stream_req *q));
/* The body's object (the caller's to release; NULL when there is no body) with what is wanted of it; false: answered with 10025. */
must_check bool api_body(struct api_request *r, const struct js_want *wants, size_t count, struct json_t **root);
void api_wait(struct api_request *r); /* until api_ready(r) */

bool api_stream_ready(struct api_request *r);
void api_stream_answer(struct api_request *r);
/* STREAM.CREATED, UPDATED, DELETED. */
void api_advise_stream(const struct api_request *r, const char *event, const char *action);
void api_time_print(struct buf *b, int64_t ns);
void api_string_print(struct buf *b, struct slice s);

#endif
