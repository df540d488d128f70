/* SPDX-License-Identifier: Apache-2.0 */
/* `thebes station recover`, `thebes catalogue recover`: what damage took is given up, and what is intact goes on (docs/operations.md). Without
 * --accept-loss they say what is lost and change nothing. */
#include "cli_inside.h"

#include <stdio.h>

enum { RECOVER_SECONDS = 3600 }; /* what is intact is read and written anew */

static json_t *ask_to_recover(struct link *l, const struct options *o, const char *subject)
{
	struct options patient = *o;
	patient.timeout_ns = u64_max(o->timeout_ns, SECONDS(RECOVER_SECONDS));
	json_t *answer = api_request(l, &patient, subject, json_pack("{s:b}", "accept_loss", 1), 0, NULL);
	if (answer && o->json) {
		(void)json_dumpf(answer, stdout, JSON_COMPACT);
		(void)putchar('\n');
	}
	return answer;
}

/* S11: what a station or the catalogue is said to be in doubt for is no loss. True: that was said, and what to do. */
static bool is_stopped(const struct options *o, json_t *doubt)
{
	if (!json_is_true(json_object_get(doubt, "stopped"))) return false;
	(void)cli_fail(o,
		"%s: nothing of it is lost, so there is nothing to recover. Report it with the server's log; a version "
		"that can "
		"apply the entry has all of it again, once the file poison in the store's directory is removed",
		json_string_value(json_object_get(doubt, "reason")));
	return true;
}

/* One stream of the station. False: it failed, and that was said. */
static bool recover_stream(struct link *l, const struct options *o, const char *stream, bool *was_in_doubt)
{
	struct buf subject = { 0 };
	buf_printf(&subject, "STREAM.INFO.%s", stream);
	json_t *info = api_request(l, o, buf_str(&subject), NULL, 0, NULL), *doubt = json_object_get(info, "doubt");
	*was_in_doubt |= doubt != NULL;
	bool good = info && !doubt;
	if (doubt && is_stopped(o, doubt)) {
		good = false;
	} else if (doubt && !o->accept_loss) {
		(void)cli_fail(o,
			"%s: what this is about would be lost for good; messages that are intact stay. "
			"To accept that: thebes station recover %s --accept-loss",
			json_string_value(json_object_get(doubt, "reason")), o->args[0]);
	} else if (doubt) {
		buf_clear(&subject);
		buf_printf(&subject, "THEBES.STREAM.RECOVER.%s", stream);
		json_t *answer = ask_to_recover(l, o, buf_str(&subject));
		good = answer != NULL;
		if (answer && !o->json)
			(void)printf("%s is in service again: %lld messages that were known are lost, the next "
				     "sequence is %lld\n",
				stream, (long long)json_integer_value(json_object_get(answer, "lost")),
				(long long)json_integer_value(json_object_get(answer, "next_seq")));
		json_decref(answer);
	}
	json_decref(info);
	buf_deinit(&subject);
	return good;
}

int cli_station_recover(struct link *l, const struct options *o)
{
	char **streams = mem_alloc(PARTITIONS_MAX * sizeof(char *));
	unsigned n = station_streams(l, o, o->args[0], streams, PARTITIONS_MAX);
	bool good = n > 0, was_in_doubt = false;
	for (unsigned i = 0; i < n; i++) {
		good = good && recover_stream(l, o, streams[i], &was_in_doubt);
		mem_free(streams[i]);
	}
	mem_free(streams);
	if (good && !was_in_doubt) return cli_fail(o, "%s is not in doubt, there is nothing to recover", o->args[0]);
	return good ? EXIT_DONE : EXIT_FAILED;
}

int cli_catalogue_recover(struct link *l, const struct options *o)
{
	json_t *info = api_request(l, o, "THEBES.CATALOGUE.INFO", NULL, 0, NULL),
	       *doubt = json_object_get(info, "doubt"), *answer = NULL;
	if (info && !doubt) {
		(void)cli_fail(o, "the catalogue is not in doubt, there is nothing to recover");
	} else if (doubt && is_stopped(o, doubt)) {
		/* said */
	} else if (doubt && !o->accept_loss) {
		(void)cli_fail(o,
			"%s: stations that were made, changed or removed by what is lost are not, then; what is in no "
			"row of "
			"the catalogue stays on the disk. To accept that: thebes catalogue recover --accept-loss",
			json_string_value(json_object_get(doubt, "reason")));
	} else if (doubt) {
		answer = ask_to_recover(l, o, "THEBES.CATALOGUE.RECOVER");
		if (answer && !o->json)
			(void)printf("the catalogue is in service again; start the server anew to serve what came to "
				     "light\n");
	}
	int code = answer ? EXIT_DONE : EXIT_FAILED;
	json_decref(answer);
	json_decref(info);
	return code;
}
