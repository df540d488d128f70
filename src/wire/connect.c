/* SPDX-License-Identifier: Apache-2.0 */
/* connect — what a client says about itself (spec §1.3), merged into what it said before: a second CONNECT changes only what it names. */
#include "json_fields.h"
#include "thebes/wire.h"

#define ROW(member, kind, always)                                                                                      \
	{                                                                                                              \
#member, kind, always, offsetof(struct wire_connect, member), 0                                        \
	}
static const struct field connect_rows[] = {
	ROW(verbose, FIELD_BOOL, true),
	ROW(pedantic, FIELD_BOOL, true),
	ROW(tls_required, FIELD_BOOL, true),
	ROW(jwt, FIELD_TEXT, false),
	ROW(nkey, FIELD_TEXT, false),
	ROW(sig, FIELD_TEXT, false),
	ROW(auth_token, FIELD_TEXT, false),
	ROW(user, FIELD_TEXT, false),
	ROW(pass, FIELD_TEXT, false),
	ROW(account, FIELD_TEXT, false),
	ROW(new_account, FIELD_BOOL, false),
	ROW(name, FIELD_TEXT, false),
	ROW(lang, FIELD_TEXT, false),
	ROW(version, FIELD_TEXT, false),
	ROW(protocol, FIELD_INT, true),
	ROW(echo, FIELD_BOOL, true),
	ROW(headers, FIELD_BOOL, true),
	ROW(no_responders, FIELD_BOOL, true),
};
#undef ROW
static const struct field_table connect_table = { connect_rows, COUNT_OF(connect_rows) };

static void text_wipe(char *text, size_t bytes)
{
	if (!text) return;
	explicit_bzero(text, bytes);
	mem_free(text);
}

void wire_connect_init(struct wire_connect *c)
{
	*c = (struct wire_connect) { .verbose = true, .pedantic = true, .echo = true };
}

void wire_connect_deinit(struct wire_connect *c)
{
	text_wipe(c->text, c->text_bytes);
	*c = (struct wire_connect) { 0 };
}

enum wire_error wire_connect_check(const struct wire_connect *c)
{
	if (c->protocol != 0 && c->protocol != 1) return WIRE_ERROR_CONNECT_PROTOCOL;
	if (c->no_responders && !c->headers) return WIRE_ERROR_NO_RESPONDERS;
	return WIRE_ERROR_NONE;
}

enum wire_error wire_connect_parse(struct wire_connect *c, struct slice json)
{
	struct wire_connect next = *c;
	if (!fields_decode(&connect_table, json, &next, &next.text, &next.text_bytes)) return WIRE_ERROR_CONNECT_JSON;
	text_wipe(c->text, c->text_bytes);
	*c = next;
	return WIRE_ERROR_NONE;
}

void wire_connect_append(struct buf *to, const struct wire_connect *c)
{
	buf_append_str(to, "CONNECT ");
	fields_encode(&connect_table, c, to);
	buf_append_str(to, "\r\n");
}
