/* SPDX-License-Identifier: Apache-2.0 */
/* A header block that a client made up. Whatever it is: the walk ends, values lie inside, stripping leaves nothing owned and touches nothing
 * else, and a valid block stays valid. */
#include "thebes/base.h"
#include "thebes/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_strip(struct slice block, enum header_edge edge)
{
	uint8_t *to = mem_alloc(block.n + 1);
	struct slice left = slice_of(to, header_strip(to, block, edge));
	ASSERT(left.n <= block.n);
	ASSERT(!header_has_owned(left, edge));
	if (!header_has_owned(block, edge) && left.n > 0) ASSERT(slice_eq(left, block));
	if (header_is_valid(block) && left.n > 0) ASSERT(header_is_valid(left));
	mem_free(to);
}

static void check_walk(struct slice block)
{
	struct slice key, value;
	struct buf again = { 0 };
	bool is_valid = header_is_valid(block);
	for (size_t at = 0; header_next(block, &at, &key, &value);) {
		ASSERT(at <= block.n && key.n > 0);
		ASSERT(key.p >= block.p && key.p + key.n <= block.p + block.n);
		ASSERT(value.p >= block.p && value.p + value.n <= block.p + block.n);
		ASSERT(header_get(block, key).p != NULL);
		bool appended = header_append(&again, key, value);
		if (is_valid) ASSERT(appended);
	}
	if (again.n) ASSERT(header_is_valid(buf_slice(&again)));
	buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = mem_dup(data, size);
	struct slice block = slice_of(copy, size), text;
	ASSERT(header_status(block, &text) <= 999);
	check_walk(block);
	check_strip(block, HEADER_EDGE_PUBLISH);
	check_strip(block, HEADER_EDGE_STORE);
	mem_free(copy);
	return 0;
}
