/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON of CONNECT and INFO. What is accepted is written and read again, and says the same. */
#include "thebes/base.h"
#include "thebes/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct slice line_json(const struct buf *line, size_t verb_bytes)
{
	struct wire_parser p = { .verbs = WIRE_BIT(WIRE_CONNECT) | WIRE_BIT(WIRE_INFO),
		.control_line_max = UINT32_MAX };
	struct wire_op op;
	ASSERT(wire_parse(&p, buf_slice(line), &op) == WIRE_OP && op.used == line->n);
	ASSERT(op.args.p > line->p + verb_bytes);
	return op.args;
}

static void check_connect(struct slice json)
{
	struct wire_connect c, again;
	wire_connect_init(&c);
	if (wire_connect_parse(&c, json) == WIRE_ERROR_NONE) {
		struct buf line = { 0 };
		wire_connect_append(&line, &c);
		wire_connect_init(&again);
		enum wire_error e = wire_connect_parse(&again, line_json(&line, 7));
		ASSERT(e == WIRE_ERROR_NONE);
		ASSERT(slice_eq(c.user, again.user) && slice_eq(c.pass, again.pass) && slice_eq(c.name, again.name));
		ASSERT(c.verbose == again.verbose && c.echo == again.echo && c.protocol == again.protocol);
		/* Merging what is already there changes nothing. */
		e = wire_connect_parse(&c, json);
		ASSERT(e == WIRE_ERROR_NONE && slice_eq(c.jwt, again.jwt) && slice_eq(c.sig, again.sig));
		wire_connect_deinit(&again);
		buf_deinit(&line);
	}
	wire_connect_deinit(&c);
}

static void check_info(struct slice json)
{
	struct wire_info i, again;
	if (wire_info_parse(&i, json) != OK) return;
	struct buf line = { 0 };
	wire_info_append(&line, &i);
	enum err e = wire_info_parse(&again, line_json(&line, 4));
	ASSERT(e == OK);
	ASSERT(slice_eq(i.server_id, again.server_id) && i.max_payload == again.max_payload);
	ASSERT(i.connect_url_count == again.connect_url_count && i.client_id == again.client_id);
	for (size_t k = 0; k < i.connect_url_count; k++) ASSERT(slice_eq(i.connect_urls[k], again.connect_urls[k]));
	wire_info_deinit(&again);
	wire_info_deinit(&i);
	buf_deinit(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = mem_dup(data, size);
	check_connect(slice_of(copy, size));
	check_info(slice_of(copy, size));
	mem_free(copy);
	return 0;
}
