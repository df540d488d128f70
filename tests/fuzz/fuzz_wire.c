/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a hostile client or server. The input is parsed at once and in pieces, each piece in memory of exactly its size; both must see the
 * same operations and the same error. A message that was understood is encoded and understood again. */
#include "thebes/base.h"
#include "thebes/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	uint64_t hash;
	size_t count;
	enum wire_error error;
};

static struct wire_parser parser_of(uint8_t mode)
{
	struct wire_parser p = { .verbs = mode & 1 ? WIRE_FROM_SERVER : WIRE_FROM_CLIENT,
		.forbidden = WIRE_ERROR_UNKNOWN_OP,
		.control_line_max = mode & 2 ? 32 : WIRE_CONTROL_LINE_MAX,
		.payload_max = mode & 4 ? 16 : WIRE_PAYLOAD_MAX };
	if ((mode & 9) == 8) {
		p.verbs = WIRE_BIT(WIRE_CONNECT);
		p.forbidden = WIRE_ERROR_AUTHORIZATION;
	}
	return p;
}

static void outcome_add(struct outcome *o, const struct wire_op *op)
{
	const struct slice parts[] = { op->subject, op->reply, op->queue, op->sid, op->header, op->payload, op->args };
	o->hash = o->hash * 31 + op->verb + op->max;
	for (size_t i = 0; i < COUNT_OF(parts); i++)
		o->hash = hash_bytes(parts[i].p ? (const void *)parts[i].p : "", parts[i].n, o->hash) + parts[i].n;
	o->count++;
}

static void message_check_again(const struct wire_op *op, bool from_server, struct slice tail)
{
	const struct wire_msg m = { op->subject, from_server && op->sid.n ? op->sid : SLICE("1"), op->reply, op->header,
		op->payload, tail };
	uint8_t *to = mem_alloc(wire_encode_bytes_max(&m));
	size_t n = from_server ? wire_msg_encode(to, &m) : wire_pub_encode(to, &m);
	struct wire_parser p = { .verbs = from_server ? WIRE_FROM_SERVER : WIRE_FROM_CLIENT,
		.control_line_max = 1U << 20,
		.payload_max = WIRE_PAYLOAD_MAX };
	struct wire_op again;
	ASSERT(wire_parse(&p, slice_of(to, n), &again) == WIRE_OP && again.used == n);
	ASSERT(slice_eq(again.subject, op->subject) && slice_eq(again.reply, op->reply));
	ASSERT(slice_eq(again.header, op->header) && slice_eq(again.payload, op->payload));
	mem_free(to);
}

/* Both forms, with the tail as it came and without. */
static void message_check(const struct wire_op *op)
{
	message_check_again(op, true, SLICE_NULL);
	message_check_again(op, false, SLICE_NULL);
	message_check_again(op, true, op->tail);
}

static bool is_message(const struct wire_op *op)
{
	return op->verb == WIRE_PUB || op->verb == WIRE_HPUB || op->verb == WIRE_MSG || op->verb == WIRE_HMSG;
}

static struct outcome parse_at_once(uint8_t mode, struct slice in)
{
	struct outcome o = { 0 };
	struct wire_parser p = parser_of(mode);
	struct wire_op op;
	enum wire_result result;
	while ((result = wire_parse(&p, in, &op)) == WIRE_OP) {
		ASSERT(op.used > 0 && op.used <= in.n);
		outcome_add(&o, &op);
		if (is_message(&op)) message_check(&op);
		in = slice_from(in, op.used);
	}
	if (result == WIRE_BAD) o.error = op.error;
	return o;
}

/* Pieces of a length that the input itself chooses; what was not used is put before the next. A body is gathered apart every other time. */
static struct outcome parse_in_pieces(uint8_t mode, struct slice in)
{
	struct outcome o = { 0 };
	struct wire_parser p = parser_of(mode);
	size_t from = 0, to = 0;
	for (bool gather = false; to < in.n;) {
		to = size_min(in.n, to + 1 + (in.p[to] & 7));
		enum wire_result result = WIRE_OP;
		while (result == WIRE_OP && from < to) {
			struct wire_op op;
			uint8_t *piece = mem_dup(in.p + from, to - from);
			result = wire_parse(&p, slice_of(piece, to - from), &op);
			size_t need = (size_t)op.total_bytes + 2;
			if (result == WIRE_OP) {
				outcome_add(&o, &op);
				from += op.used;
			} else if (result == WIRE_BODY && (gather = !gather) && in.n - from - op.used >= need) {
				uint8_t *body = mem_dup(in.p + from + op.used, need);
				result = wire_body(&op, slice_of(body, need)) ? WIRE_OP : WIRE_BAD;
				op.error = WIRE_ERROR_UNKNOWN_OP;
				if (result == WIRE_OP) outcome_add(&o, &op);
				from += op.used + need;
				to = size_max(to, from);
				mem_free(body);
			}
			mem_free(piece);
			if (result != WIRE_BAD) continue;
			o.error = op.error;
			return o;
		}
	}
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1) return 0;
	struct slice in = slice_of(data + 1, size - 1);
	struct outcome a = parse_at_once(data[0], in), b = parse_in_pieces(data[0], in);
	ASSERT(a.count == b.count && a.hash == b.hash);
	ASSERT(a.error == b.error);
	struct buf line = { 0 };
	wire_error_append(&line, WIRE_ERROR_QUEUE_DENIED, in, in);
	ASSERT(line.n > 4 && memcmp(line.p + line.n - 3, "'\r\n", 3) == 0);
	ASSERT(slice_find(slice_first(buf_slice(&line), line.n - 2), '\n') < 0);
	buf_deinit(&line);
	return 0;
}
