/* SPDX-License-Identifier: Apache-2.0 */
/* rot — one bit of a file goes bad. */
#ifndef THEBES_TESTS_LOG_ROT_H
#define THEBES_TESTS_LOG_ROT_H

#include "check.h"

static inline void file_flip(const char *path, uint64_t at, unsigned bit)
{
	FILE *file = fopen(path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
	int c = fgetc(file);
	assert_true(c != EOF);
	assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
	assert_int_equal(fputc(c ^ (1 << bit), file), c ^ (1 << bit));
	assert_int_equal(fclose(file), 0);
}

#endif
