/* SPDX-License-Identifier: Apache-2.0 */
/* Who this server is: 32 random bytes in the letters of a server's nkey (prefix N, CRC-16, base32), because tools check the form. */
#include "node_inside.h"

enum { ID_PREFIX_SERVER = 13 << 3, ID_KEY_BYTES = 32, ID_BYTES = 1 + ID_KEY_BYTES + 2 };

/* CRC-16/XMODEM, as nkeys have it. */
static uint16_t id_crc16(const uint8_t *p, size_t n)
{
	unsigned crc = 0;
	for (size_t i = 0; i < n; i++) {
		crc ^= (unsigned)p[i] << 8;
		for (int bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1 ^ 0x1021) & 0xffff : crc << 1 & 0xffff;
	}
	return (uint16_t)crc;
}

void identity_make(struct io *io, char out[57])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	uint8_t raw[ID_BYTES] = { ID_PREFIX_SERVER };
	io_random(io, raw + 1, ID_KEY_BYTES);
	le16_put(raw + 1 + ID_KEY_BYTES, id_crc16(raw, 1 + ID_KEY_BYTES));
	for (size_t i = 0; i < 56; i++) {
		size_t bit = i * 5, at = bit / 8;
		unsigned two = (unsigned)raw[at] << 8 | (at + 1 < ID_BYTES ? raw[at + 1] : 0u);
		out[i] = letters[two >> (11 - bit % 8) & 31];
	}
	out[56] = '\0';
}
