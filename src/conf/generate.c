/* SPDX-License-Identifier: Apache-2.0 */
/* generate — writes what is made from conf.def to standard output: `thebes_conf_generate docs|example|usage`. Run by
 * the CMake target `generate`, no part of the server. */
#include <stdio.h>

#include "thebes/conf.h"

int main(int argc, char **argv)
{
	const char *what = argc == 2 ? argv[1] : "";
	struct buf out = { 0 };
	if (strcmp(what, "docs") == 0) conf_print_docs(&out);
	if (strcmp(what, "example") == 0) conf_print_example(&out);
	if (strcmp(what, "usage") == 0) conf_print_usage(&out, "thebes server");
	bool ok = out.n > 0 && fwrite(out.p, 1, out.n, stdout) == out.n && fflush(stdout) == 0;
	if (!ok) (void)fprintf(stderr, "usage: thebes_conf_generate docs|example|usage > file\n");
	buf_deinit(&out);
	return ok ? 0 : 1;
}
