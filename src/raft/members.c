/* SPDX-License-Identifier: Apache-2.0 */
/* members — see members.h. The encoding (libraft 0.15): u8 1, u64 count, per server u64 id, address and NUL, u8 role; padded to 8. */
#include <stdio.h>

#include "members.h"

enum { CONF_VERSION = 1 };

static bool server_decode(struct slice *in, struct raft_member *out)
{
	if (in->n < 8) return false;
	out->id = le64_get(in->p);
	*in = slice_from(*in, 8);
	ptrdiff_t end = slice_find(*in, 0);
	if (end < 0 || end >= MEMBER_ADDRESS_BYTES || (size_t)end + 2 > in->n) return false;
	/* The address is made from the id by all of us; anything else would let two servers share one. */
	char expected[MEMBER_ADDRESS_BYTES];
	member_address(out->id, expected);
	if (!slice_eq_str(slice_first(*in, (size_t)end), expected)) return false;
	out->role = in->p[end + 1];
	*in = slice_from(*in, (size_t)end + 2);
	return out->id != 0 && (out->role == RAFT_STANDBY || out->role == RAFT_VOTER || out->role == RAFT_SPARE);
}

enum err members_decode(struct slice conf, struct members *out)
{
	*out = (struct members) { 0 };
	if (conf.n == 0) return OK;
	if (conf.n < 9 || conf.p[0] != CONF_VERSION) return ERR_CORRUPT;
	uint64_t count = le64_get(conf.p + 1);
	if (count == 0 || count > GROUP_MEMBERS_MAX) return ERR_CORRUPT;
	struct slice rest = slice_from(conf, 9);
	for (uint64_t i = 0; i < count; i++) {
		struct raft_member m;
		if (!server_decode(&rest, &m) || members_find(out, m.id)) return ERR_CORRUPT;
		out->at[out->count++] = m;
	}
	return rest.n < 8 ? OK : ERR_CORRUPT;
}

void members_encode(const struct members *m, struct buf *out)
{
	if (m->count == 0) return;
	size_t from = out->n;
	buf_append_byte(out, CONF_VERSION);
	buf_append_le64(out, m->count);
	for (unsigned i = 0; i < m->count; i++) {
		char address[MEMBER_ADDRESS_BYTES];
		member_address(m->at[i].id, address);
		buf_append_le64(out, m->at[i].id);
		buf_append(out, address, strlen(address) + 1);
		buf_append_byte(out, (uint8_t)m->at[i].role);
	}
	while ((out->n - from) % 8 != 0) buf_append_byte(out, 0);
}

const struct raft_member *members_find(const struct members *m, uint64_t id)
{
	for (unsigned i = 0; i < m->count; i++)
		if (m->at[i].id == id) return &m->at[i];
	return NULL;
}

unsigned members_voters(const struct members *m)
{
	unsigned n = 0;
	for (unsigned i = 0; i < m->count; i++) n += m->at[i].role == RAFT_VOTER;
	return n;
}

void members_to_library(const struct members *m, struct raft_configuration *out)
{
	for (unsigned i = 0; i < m->count; i++) {
		char address[MEMBER_ADDRESS_BYTES];
		member_address(m->at[i].id, address);
		int rv = raft_configuration_add(out, m->at[i].id, address, m->at[i].role);
		ASSERT(rv == 0);
	}
}

void member_address(uint64_t id, char out[MEMBER_ADDRESS_BYTES])
{
	(void)snprintf(out, MEMBER_ADDRESS_BYTES, "%llu", (unsigned long long)id);
}
