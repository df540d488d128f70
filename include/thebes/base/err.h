/* SPDX-License-Identifier: Apache-2.0 */
/* err — one list of error codes (err.def). A function that can fail returns `enum err` and is must_check. */
#ifndef THEBES_BASE_ERR_H
#define THEBES_BASE_ERR_H

enum err {
#define ERR(name, text) name,
#include "thebes/base/err.def"
#undef ERR
	ERR_COUNT
};

/* Text for people, static memory. */
const char *err_text(enum err e);
/* The code's own name ("ERR_IO"), static memory. */
const char *err_name(enum err e);

#endif
