/* SPDX-License-Identifier: Apache-2.0 */
/* Protocol lines in the log, as nats-server prints them, with secrets taken out (spec §3.6). */
#include "session.h"

/* The CONNECT line with what must not be read replaced. */
static void trace_connect(struct client *c, struct slice json)
{
	struct wire_connect shown;
	wire_connect_init(&shown);
	if (wire_connect_parse(&shown, json) != WIRE_ERROR_NONE) {
		client_line(c, DIAG_TRACE, "<<- [CONNECT, not readable, %zu bytes]", json.n);
		return;
	}
	struct slice *secrets[] = { &shown.pass, &shown.auth_token, &shown.jwt, &shown.sig };
	for (size_t i = 0; i < COUNT_OF(secrets); i++)
		if (secrets[i]->n) *secrets[i] = SLICE("[REDACTED]");
	struct buf line = { 0 };
	wire_connect_append(&line, &shown);
	struct slice text = slice_first(buf_slice(&line), line.n - WIRE_CRLF.n);
	client_line(c, DIAG_TRACE, "<<- [%.*s]", SLICE_FMT(text));
	buf_deinit(&line);
	wire_connect_deinit(&shown);
}

/* What was published, headers and all, up to what the options show of it. */
static void trace_payload(struct client *c, const struct wire_op *op)
{
	const struct client_options *o = &c->room->options;
	size_t shown = o->trace_headers && op->header_bytes ? op->header_bytes : op->total_bytes;
	bool is_cut = o->traced_bytes_max > 0 && shown > (uint64_t)o->traced_bytes_max;
	if (is_cut) shown = (size_t)o->traced_bytes_max;
	struct buf text = { 0 };
	wire_quoted_append(&text, slice_of(op->header.p, shown)); /* the payload stands right behind the header */
	if (is_cut) {
		text.n--;
		buf_append_str(&text, "...\"");
	}
	client_line(c, DIAG_TRACE, "<<- MSG_PAYLOAD: [%.*s]", SLICE_FMT(buf_slice(&text)));
	buf_deinit(&text);
}

void client_trace_in(struct client *c, const struct wire_op *op)
{
	if (op->verb == WIRE_CONNECT) {
		trace_connect(c, op->args);
		return;
	}
	const struct slice words[] = { op->subject, op->queue, op->reply, op->sid, op->args };
	struct buf line = { 0 };
	buf_append_str(&line, wire_verb_name(op->verb));
	for (size_t i = 0; i < COUNT_OF(words); i++)
		if (words[i].n) buf_printf(&line, " %.*s", SLICE_FMT(words[i]));
	if (op->verb == WIRE_HPUB) buf_printf(&line, " %u", op->header_bytes);
	if (op->verb == WIRE_PUB || op->verb == WIRE_HPUB) buf_printf(&line, " %u", op->total_bytes);
	if (op->verb == WIRE_UNSUB && op->max) buf_printf(&line, " %llu", (unsigned long long)op->max);
	client_line(c, DIAG_TRACE, "<<- [%.*s]", SLICE_FMT(buf_slice(&line)));
	buf_deinit(&line);
	if (op->verb == WIRE_PUB || op->verb == WIRE_HPUB) trace_payload(c, op);
}

void client_trace_out(struct client *c, const struct wire_msg *m)
{
	uint8_t *line = mem_alloc(wire_line_bytes_max(m));
	size_t n = wire_msg_line(line, m);
	client_line(c, DIAG_TRACE, "->> [%.*s]", (int)(n - WIRE_CRLF.n), (const char *)line);
	mem_free(line);
}
