/* SPDX-License-Identifier: Apache-2.0 */
/* crc — CRC-32C (Castagnoli), the checksum of all our formats. */
#ifndef THEBES_BASE_CRC_H
#define THEBES_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* crc32c(0, "123456789", 9) == 0xe3069283; chain with the previous value as `crc`. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
/* The portable table version, for tests against the one with SSE4.2. */
uint32_t crc32c_table(uint32_t crc, const void *p, size_t n);

#endif
