/* SPDX-License-Identifier: Apache-2.0 */
/* THEBES.STREAM.RECOVER.<stream>, a request of our own: an operator accepts that what damage took of a stream is gone (S7, S24), and has it
 * back in service. Body: {"accept_loss":true}. Answer: how many messages were known and are lost, and the sequence that comes next.
 *
 * THEBES.CATALOGUE.INFO and .RECOVER: the same of the catalogue, which belongs to no account: only where there is one that stores. */
#include "api_internal.h"

#include <jansson.h>

static void refuse(struct api_request *r, enum err e)
{
	switch (e) {
	case ERR_UNSUPPORTED:
		api_refuse(r, JS_STORE_FAILED,
			"nobody knows any more where its messages are: restore the store, or delete the stream");
		return;
	case ERR_INVALID: /* S11: nothing is lost, something cannot be applied */
		api_refuse(r, JS_STORE_FAILED,
			"nothing of it is lost: it is stopped before an entry that cannot be applied here, see the "
			"server's log");
		return;
	case ERR_NO_SPACE:
		api_refuse(r, JS_STORE_FAILED,
			"what is intact is written anew, and the disk has no room for that: make room, then try again");
		return;
	case ERR_BUSY:
		api_refuse(r, JS_STORE_FAILED,
			"this is under way, or has failed so that the server must be started anew: see its log");
		return;
	case ERR_CORRUPT:
		api_refuse(r, JS_STORE_FAILED,
			"it could not be done, see the server's log; it is in doubt as before, and this may be tried "
			"again");
		return;
	default: api_refuse_err(r, e); return;
	}
}

static void recovered(struct stream_accept *a)
{
	struct api_request *r = CONTAINER_OF(a, struct api_request, accept);
	if (a->result != OK) {
		refuse(r, a->result);
		return;
	}
	diag_line(r->api->diag, DIAG_WARN,
		"api: stream %s goes on without what damage took, as was asked for: %llu messages that were known are "
		"lost, the next "
		"sequence is %llu",
		r->stream, (unsigned long long)a->lost, (unsigned long long)a->next_seq);
	api_wait(r);
}

/* There is a doubt, and the body says that the loss is accepted; false: answered. */
static bool may_recover(struct api_request *r, const char *doubt)
{
	bool accepts = false;
	const struct js_want wants[] = { { "accept_loss", JS_BOOL, &accepts } };
	json_t *root;
	if (!api_body(r, wants, COUNT_OF(wants), &root)) return false;
	json_decref(root);
	if (!doubt) api_refuse(r, JS_BAD_REQUEST, "it is not in doubt");
	if (doubt && !accepts) api_refuse(r, JS_BAD_REQUEST, "accept_loss must be true");
	return doubt && accepts;
}

void api_stream_recover(struct api_request *r)
{
	struct station *s = api_station(r);
	if (!s) return;
	const char *doubt = stream_doubt(station_stream(s));
	if (!may_recover(r, doubt)) return;
	diag_line(r->api->diag, DIAG_WARN, "api: stream %s: the loss is accepted: %s", r->stream, doubt);
	r->recovers = true;
	r->accept = (struct stream_accept) { .done = recovered };
	enum err e = stream_accept(station_stream(s), &r->accept);
	if (e != OK) refuse(r, e);
}

/* ---- the catalogue ---- */

static bool is_only_account(struct api_request *r)
{
	unsigned n = 0;
	LIST_EACH (node, &r->api->accounts) n += CONTAINER_OF(node, struct api_account, link)->is_enabled;
	if (n == 1) return true;
	api_refuse(
		r, JS_BAD_REQUEST, "the catalogue is that of all accounts: this is answered where only one may store");
	return false;
}

void api_catalogue_info(struct api_request *r)
{
	if (!is_only_account(r)) return;
	struct buf b = { 0 };
	const char *doubt = meta_doubt(r->api->meta);
	buf_append_str(&b, ",\"success\":true");
	if (doubt) {
		buf_append_str(&b, ",\"doubt\":{");
		if (meta_is_stopped(r->api->meta)) buf_append_str(&b, "\"stopped\":true,");
		buf_append_str(&b, "\"reason\":");
		api_string_print(&b, slice_of_str(doubt));
		buf_append_byte(&b, '}');
	}
	api_answer(r, &b);
}

static void catalogue_recovered(struct group_accept *a)
{
	struct api_request *r = CONTAINER_OF(a, struct api_request, catalogue);
	if (a->result != OK) {
		refuse(r, a->result);
		return;
	}
	diag_line(r->api->diag, DIAG_WARN,
		"api: the catalogue goes on without what damage took, as was asked for; what came to light again is "
		"served after "
		"the next start");
	struct buf b = { 0 };
	buf_append_str(&b, ",\"success\":true");
	api_answer(r, &b);
}

void api_catalogue_recover(struct api_request *r)
{
	const char *doubt = meta_doubt(r->api->meta);
	if (!is_only_account(r) || !may_recover(r, doubt)) return;
	diag_line(r->api->diag, DIAG_WARN, "api: the catalogue: the loss is accepted: %s", doubt);
	r->catalogue = (struct group_accept) { .done = catalogue_recovered };
	enum err e = meta_accept(r->api->meta, &r->catalogue);
	if (e != OK) refuse(r, e);
}
