/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of commands.def and options.def as arrays. */
#include "cli_inside.h"

#define FOR(function) (UINT32_C(1) << COMMAND_##function)
#define ANY UINT32_MAX

const struct option cli_options[OPTION_COUNT] = {
#define OPTION(name, letter, field, kind, value, fallback, env, uses, help)                                            \
	{ name, letter, kind, offsetof(struct options, field), value, fallback, env, uses, help },
#include "options.def"
#undef OPTION
};

const struct command cli_commands[] = {
#define COMMAND(function, words, arguments, least, most, section, help, examples)                                      \
	{ words, arguments, least, most, cli_##function, true, section, help, examples, FOR(function) },
#define OFFLINE(function, words, arguments, least, most, section, help, examples)                                      \
	{ words, arguments, least, most, cli_##function, false, section, help, examples, FOR(function) },
#define ELSEWHERE(words, arguments, section, help) { words, arguments, 0, 0, NULL, false, section, help, "", 0 },
#include "commands.def"
#undef COMMAND
#undef OFFLINE
#undef ELSEWHERE
};
const size_t cli_command_count = COUNT_OF(cli_commands);

const char *const cli_wants[] = {
	[FLAG] = "nothing",
	[TEXT] = "a text",
	[LIST] = "a text",
	[NUMBER] = "a number",
	[SIZE] = "a size such as 64KiB",
	[TIME] = "a duration such as 30s or 1h",
};
