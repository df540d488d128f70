/* SPDX-License-Identifier: Apache-2.0 */
/* err — names and texts of err.def. */
#include "thebes/base/assert.h"
#include "thebes/base/err.h"

static const struct err_row {
	const char *name, *text;
} err_rows[] = {
#define ERR(name, text) { #name, text },
#include "thebes/base/err.def"
#undef ERR
};

static const struct err_row *err_row_of(enum err e)
{
	ASSERT((unsigned)e < COUNT_OF(err_rows));
	return &err_rows[e];
}

const char *err_text(enum err e) { return err_row_of(e)->text; }

const char *err_name(enum err e) { return err_row_of(e)->name; }
