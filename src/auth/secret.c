/* SPDX-License-Identifier: Apache-2.0 */
/* secret — comparing passwords and tokens, plain or bcrypt. */
#include <crypt.h>

#include "inside.h"

enum { BCRYPT_BYTES = 60, BCRYPT_PREFIX_BYTES = 7, BCRYPT_PASSWORD_MAX = 72 };

/* "$2b$11$" and 53 letters. */
bool auth_is_bcrypt(struct slice s)
{
	if (s.n < BCRYPT_PREFIX_BYTES || s.p[0] != '$' || s.p[1] != '2' || s.p[3] != '$' || s.p[6] != '$') return false;
	bool known = s.p[2] == 'a' || s.p[2] == 'b' || s.p[2] == 'x' || s.p[2] == 'y';
	return known && s.p[4] >= '0' && s.p[4] <= '9' && s.p[5] >= '0' && s.p[5] <= '9';
}

bool secret_equals(struct slice given, struct slice expected)
{
	static const uint8_t nothing[1];
	const uint8_t *against = expected.n ? expected.p : nothing;
	size_t against_bytes = expected.n ? expected.n : 1;
	volatile uint8_t difference = given.n != expected.n;
	for (size_t i = 0; i < given.n; i++) difference |= given.p[i] ^ against[i % against_bytes];
	return difference == 0;
}

bool secret_matches_bcrypt(struct slice given, struct slice hash)
{
	/* crypt ends at a NUL; what comes behind it would not count. */
	if (hash.n != BCRYPT_BYTES || slice_find(given, 0) >= 0) return false;
	char password[BCRYPT_PASSWORD_MAX + 1] = { 0 }, setting[BCRYPT_BYTES + 1] = { 0 };
	if (given.n) memcpy(password, given.p, size_min(given.n, BCRYPT_PASSWORD_MAX));
	memcpy(setting, hash.p, hash.n);
	/* All these letters mean the one right algorithm to Go; to libcrypt x means an old bug and a a guard against it. */
	setting[2] = 'b';
	struct crypt_data *data = mem_zalloc(sizeof *data);
	const char *got = crypt_r(password, setting, data);
	bool matches = got && strlen(got) == BCRYPT_BYTES &&
		       secret_equals(slice_from(slice_of_str(got), 3), slice_from(hash, 3));
	explicit_bzero(data, sizeof *data);
	explicit_bzero(password, sizeof password);
	mem_free(data);
	return matches;
}
