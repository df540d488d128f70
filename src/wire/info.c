/* SPDX-License-Identifier: Apache-2.0 */
/* info — what a server says about itself (spec §1.2). The rows stand in the order in which nats-server prints them. */
#include "json_fields.h"
#include "thebes/wire.h"

#define ROW(member, kind, always)                                                                                      \
	{                                                                                                              \
#member, kind, always, offsetof(struct wire_info, member), 0                                           \
	}
static const struct field info_rows[] = {
	ROW(server_id, FIELD_TEXT, true),
	ROW(server_name, FIELD_TEXT, true),
	ROW(version, FIELD_TEXT, true),
	ROW(proto, FIELD_INT, true),
	ROW(git_commit, FIELD_TEXT, false),
	ROW(go, FIELD_TEXT, true),
	ROW(host, FIELD_TEXT, true),
	ROW(port, FIELD_INT, true),
	ROW(headers, FIELD_BOOL, true),
	ROW(auth_required, FIELD_BOOL, false),
	ROW(tls_required, FIELD_BOOL, false),
	ROW(tls_verify, FIELD_BOOL, false),
	ROW(tls_available, FIELD_BOOL, false),
	ROW(max_payload, FIELD_INT, true),
	ROW(jetstream, FIELD_BOOL, false),
	ROW(ip, FIELD_TEXT, false),
	ROW(client_id, FIELD_U64, false),
	ROW(client_ip, FIELD_TEXT, false),
	ROW(nonce, FIELD_TEXT, false),
	ROW(cluster, FIELD_TEXT, false),
	ROW(cluster_dynamic, FIELD_BOOL, false),
	ROW(domain, FIELD_TEXT, false),
	{ "connect_urls", FIELD_TEXTS, false, offsetof(struct wire_info, connect_urls),
		offsetof(struct wire_info, connect_url_count) },
	ROW(ldm, FIELD_BOOL, false),
	ROW(connect_info, FIELD_BOOL, false),
	ROW(remote_account, FIELD_TEXT, false),
	ROW(acc_is_sys, FIELD_BOOL, false),
	{ "api_lvl", FIELD_INT, false, offsetof(struct wire_info, api_level), 0 },
	ROW(thebes, FIELD_TEXT, false),
};
#undef ROW
static const struct field_table info_table = { info_rows, COUNT_OF(info_rows) };

void wire_info_append(struct buf *to, const struct wire_info *i)
{
	buf_append_str(to, "INFO ");
	fields_encode(&info_table, i, to);
	buf_append_str(to, " \r\n");
}

enum err wire_info_parse(struct wire_info *i, struct slice json)
{
	*i = (struct wire_info) { 0 };
	if (fields_decode(&info_table, json, i, &i->text, &i->text_bytes)) return OK;
	*i = (struct wire_info) { 0 };
	return ERR_PARSE;
}

void wire_info_deinit(struct wire_info *i)
{
	mem_free(i->text);
	*i = (struct wire_info) { 0 };
}
