/* SPDX-License-Identifier: Apache-2.0 */
/* state_batch — changes to one group's values, as the owner of a group hands them to the settle round, and as an install carries them:
 * u8 op | u16 key bytes | u32 value bytes | key | value, one after the other (state.h). */
#include "thebes/state.h"

enum { OP_PUT = 1, OP_DEL = 2, OP_HEAD_BYTES = 7 };

static void op_add(struct state_batch *b, uint8_t op, struct slice key, struct slice value)
{
	ASSERT(key.n >= 1 && key.n <= STATE_KEY_MAX);
	ASSERT(value.n <= STATE_VALUE_MAX);
	uint8_t *p = buf_reserve(&b->ops, OP_HEAD_BYTES);
	p[0] = op;
	le16_put(p + 1, (uint16_t)key.n);
	le32_put(p + 3, (uint32_t)value.n);
	b->ops.n += OP_HEAD_BYTES;
	buf_append_slice(&b->ops, key);
	if (value.n) buf_append_slice(&b->ops, value);
	b->count++;
}

void state_batch_put(struct state_batch *b, struct slice key, struct slice value) { op_add(b, OP_PUT, key, value); }

void state_batch_del(struct state_batch *b, struct slice key) { op_add(b, OP_DEL, key, SLICE_NULL); }

void state_batch_deinit(struct state_batch *b)
{
	buf_deinit(&b->ops);
	b->count = 0;
}

enum err state_batch_next(struct slice *in, bool *put, struct slice *key, struct slice *value)
{
	if (in->n == 0) return ERR_EOF;
	if (in->n < OP_HEAD_BYTES) return ERR_CORRUPT;
	uint8_t op = in->p[0];
	size_t key_bytes = le16_get(in->p + 1), value_bytes = le32_get(in->p + 3);
	bool is_op = op == OP_PUT || (op == OP_DEL && value_bytes == 0);
	if (!is_op || key_bytes < 1 || key_bytes > STATE_KEY_MAX || value_bytes > STATE_VALUE_MAX) return ERR_CORRUPT;
	struct slice rest = slice_from(*in, OP_HEAD_BYTES);
	if (rest.n < key_bytes + value_bytes) return ERR_CORRUPT;
	*put = op == OP_PUT;
	*key = slice_first(rest, key_bytes);
	*value = slice_first(slice_from(rest, key_bytes), value_bytes);
	*in = slice_from(rest, key_bytes + value_bytes);
	return OK;
}
