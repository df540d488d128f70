/* SPDX-License-Identifier: Apache-2.0 */
/* `thebes station …`: requests to $JS.API, and how their answers are shown. */
#include "cli_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "thebes/station.h"

enum { OTHER_CONFIGURATION = 10058 };

static const struct {
	long long code;
	const char *text;
} hints[] = {
#define HINT(code, text) { code, text },
#include "hints.def"
#undef HINT
};

void api_reason(struct buf *to, json_t *error)
{
	const char *text = json_string_value(json_object_get(error, "description"));
	long long code = json_integer_value(json_object_get(error, "err_code"));
	buf_printf(to, "%s (%lld)", text ? text : "no reason given", code);
	for (size_t i = 0; i < COUNT_OF(hints); i++)
		if (hints[i].code == code) buf_printf(to, ": %s", hints[i].text);
}

static void say_error(const struct options *o, json_t *error, unsigned code)
{
	struct buf reason = { 0 };
	api_reason(&reason, error);
	if (code == OTHER_CONFIGURATION)
		(void)cli_fail(o, "%s is there already, with other settings: see `thebes station info %s`", o->args[0],
			o->args[0]);
	else
		(void)cli_fail(o, "the server refuses: %s", buf_str(&reason));
	buf_deinit(&reason);
}

json_t *api_request(struct link *l, const struct options *o, const char *subject, json_t *body, unsigned expected,
	bool *was_expected)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct buf full = { 0 };
	struct wire_op op;
	json_t *answer = NULL, *error;
	json_decref(body);
	if (was_expected) *was_expected = false;
	buf_printf(&full, "$JS.API.%s", subject);
	enum link_next r = link_request(l, buf_slice(&full), SLICE_NULL, slice_of_str(text), o->timeout_ns, &op);
	if (r == LINK_MSG) {
		answer = json_loadb((const char *)op.payload.p, op.payload.n, 0, NULL);
		if (!json_is_object(answer)) (void)cli_fail(o, "the answer to %s can not be read", subject);
	} else if (!l->info.jetstream && l->channel.fd >= 0) {
		(void)cli_fail(o, "the server has no storage: start it with -js (thebes server -js)");
	} else {
		(void)cli_fail_link(o, l);
	}
	free(text);
	buf_deinit(&full);
	error = json_object_get(answer, "error");
	if (!error) return answer;
	unsigned code = (unsigned)json_integer_value(json_object_get(error, "err_code"));
	if (was_expected) *was_expected = code == expected;
	if (!was_expected || code != expected) say_error(o, error, code);
	json_decref(answer);
	return NULL;
}

/* ---- which streams a station is ---- */

/* 1: it is there, 0: it is not, -1: something else, after a sentence. */
static int has_stream(struct link *l, const struct options *o, const char *stream)
{
	struct buf subject = { 0 };
	bool not_there;
	buf_printf(&subject, "STREAM.INFO.%s", stream);
	json_t *info = api_request(l, o, buf_str(&subject), NULL, API_STREAM_NOT_FOUND, &not_there);
	buf_deinit(&subject);
	json_decref(info);
	return info ? 1 : not_there ? 0 : -1;
}

/* What could be the name of a stream: one token of a subject. */
static bool is_token(const char *name) { return subject_is_literal(slice_of_str(name)) && !strpbrk(name, ".*>"); }

unsigned station_streams(struct link *l, const struct options *o, const char *name, char **out, unsigned max)
{
	unsigned n = 0;
	int there = station_name_problem(slice_of_str(name)) ? 0 : 1;
	for (unsigned partition = 1; n < max && there == 1; partition++) {
		struct buf stream = { 0 };
		station_name_internal(&stream, slice_of_str(name), partition);
		there = has_stream(l, o, buf_str(&stream));
		if (there == 1) out[n++] = mem_strdup(buf_str(&stream));
		buf_deinit(&stream);
	}
	/* made through the JetStream API: its name is the stream's */
	if (n == 0 && there == 0 && is_token(name)) {
		there = has_stream(l, o, name);
		if (there == 1) out[n++] = mem_strdup(name);
	}
	if (n == 0 && there == 0)
		(void)cli_fail(o,
			"there is no station %s: `thebes station ls` lists them, `thebes station add %s` makes it",
			name, name);
	if (there >= 0) return n;
	while (n > 0) mem_free(out[--n]);
	return 0;
}

/* ---- add ---- */

static const struct {
	unsigned option;
	const char *name, *retention;
} limit_options[] = { { OPTION_max_age_ns, "max-age", "age" }, { OPTION_max_msgs, "max-msgs", "messages" },
	{ OPTION_max_bytes, "max-bytes", "bytes" } };

/* A limit that another retention would not look at is a mistake. */
static bool limits_match(const struct options *o, size_t retention)
{
	for (size_t i = 0; i < COUNT_OF(limit_options); i++) {
		if (i == retention || !(o->given >> limit_options[i].option & 1)) continue;
		(void)cli_misused(o, "--%s goes with --retention %s, and not with %s", limit_options[i].name,
			limit_options[i].retention, o->retention);
		return false;
	}
	return true;
}

static bool take_retention(const struct options *o, struct station_options *s)
{
	static const struct {
		const char *word;
		int kind;
	} words[] = { { "age", STATION_AGE }, { "messages", STATION_MESSAGES }, { "bytes", STATION_BYTES },
		{ "ack", STATION_ACK_BASED } };
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (strcmp(o->retention, words[i].word) != 0) continue;
		const int64_t values[] = { (int64_t)(o->max_age_ns / NS_PER_S), (int64_t)o->max_msgs,
			(int64_t)o->max_bytes, 0 };
		if (!limits_match(o, i)) return false;
		s->retention = words[i].kind;
		s->retention_value = values[i];
		if (values[i] == 0 && words[i].kind != STATION_ACK_BASED)
			return cli_misused(o, "--retention %s wants --%s%s", o->retention, limit_options[i].name,
				       i == 0 ? " of a second or more" : "") == EXIT_DONE;
		return true;
	}
	return cli_misused(o, "--retention is age, messages, bytes or ack, not \"%s\"", o->retention) == EXIT_DONE;
}

static size_t split(const char *text, struct slice *out, size_t max)
{
	size_t n = 0;
	for (struct slice s = slice_of_str(text); s.n && n < max;) {
		ptrdiff_t comma = slice_find(s, ',');
		out[n++] = comma < 0 ? s : slice_first(s, (size_t)comma);
		s = comma < 0 ? SLICE_NULL : slice_from(s, (size_t)comma + 1);
	}
	return n;
}

static int add_partition(struct link *l, const struct options *o, struct station_options *s)
{
	struct stream_config config;
	struct js_error e;
	if (!station_config(&config, s, &e)) return cli_misused(o, "%s", e.text);
	struct buf json = { 0 }, subject = { 0 };
	stream_config_print(&json, &config);
	buf_printf(&subject, "STREAM.CREATE.%s", config.name);
	json_t *answer =
		api_request(l, o, buf_str(&subject), json_loadb((const char *)json.p, json.n, 0, NULL), 0, NULL);
	buf_deinit(&json);
	buf_deinit(&subject);
	stream_config_deinit(&config);
	if (!answer) return 1;
	json_decref(answer);
	return 0;
}

int cli_station_add(struct link *l, const struct options *o)
{
	struct slice subjects[64];
	struct station_options s = { .name = slice_of_str(o->args[0]),
		.idempotency_window_ms = (int64_t)(o->dedup_ns / NS_PER_MS),
		.replicas = (int)u64_min(o->replicas, 100),
		.subjects = subjects };
	if (strcmp(o->storage, "file") != 0 && strcmp(o->storage, "memory") != 0)
		return cli_misused(o, "--storage is file or memory, not \"%s\"", o->storage);
	s.storage = strcmp(o->storage, "memory") == 0 ? STREAM_MEMORY : STREAM_FILE;
	if (o->partitions < 1 || o->partitions > STATION_PARTITIONS_MAX)
		return cli_misused(o, "--partitions is 1 to %d", STATION_PARTITIONS_MAX);
	if (!take_retention(o, &s)) return EXIT_USAGE;
	for (s.partition = 1; s.partition <= o->partitions; s.partition++) {
		/* a subject can lead to one stream only: the first partition's */
		s.subject_count = s.partition == 1 ? split(o->subjects, subjects, COUNT_OF(subjects)) : 0;
		int code = add_partition(l, o, &s);
		if (code != EXIT_DONE) return code;
	}
	if (o->json) {
		(void)printf(
			"{\"station\":\"%s\",\"partitions\":%llu}\n", o->args[0], (unsigned long long)o->partitions);
	} else {
		(void)printf("station %s is there: thebes produce %s hello\n", o->args[0], o->args[0]);
	}
	return 0;
}

/* ---- ls ---- */

/* The stream's own answer, with what users call it first. */
static void print_json(json_t *info)
{
	json_t *all = json_object();
	struct buf name = { 0 };
	unsigned partition;
	station_name_external(&name,
		slice_of_str(json_string_value(json_object_get(json_object_get(info, "config"), "name"))), &partition);
	(void)json_object_set_new(all, "station", json_string(buf_str(&name)));
	(void)json_object_set_new(all, "partition", json_integer(partition));
	(void)json_object_update(all, info);
	(void)json_object_del(all, "type");
	(void)json_dumpf(all, stdout, JSON_COMPACT);
	(void)putchar('\n');
	json_decref(all);
	buf_deinit(&name);
}

static void print_row(json_t *info)
{
	json_t *state = json_object_get(info, "state"), *config = json_object_get(info, "config");
	struct buf name = { 0 };
	unsigned partition;
	station_name_external(&name, slice_of_str(json_string_value(json_object_get(config, "name"))), &partition);
	(void)printf("%-32s %9u %12lld %14lld %9lld%s\n", buf_str(&name), partition,
		(long long)json_integer_value(json_object_get(state, "messages")),
		(long long)json_integer_value(json_object_get(state, "bytes")),
		(long long)json_integer_value(json_object_get(state, "consumer_count")),
		json_object_get(info, "doubt") ? "  in doubt" : "");
	buf_deinit(&name);
}

int cli_station_ls(struct link *l, const struct options *o)
{
	size_t seen = 0, total = 0;
	do {
		json_t *page = api_request(
			       l, o, "STREAM.LIST", json_pack("{s:I}", "offset", (json_int_t)seen), 0, NULL),
		       *item;
		size_t i;
		if (!page) return 1;
		json_t *streams = json_object_get(page, "streams");
		if (seen == 0 && !o->json && json_array_size(streams))
			(void)printf(
				"%-32s %9s %12s %14s %9s\n", "STATION", "PARTITION", "MESSAGES", "BYTES", "GROUPS");
		json_array_foreach(streams, i, item)
		{
			if (o->json) {
				print_json(item);
			} else {
				print_row(item);
			}
		}
		size_t got = json_array_size(streams);
		seen += got;
		total = got ? (size_t)json_integer_value(json_object_get(page, "total")) : seen;
		json_decref(page);
	} while (seen < total);
	if (seen == 0 && !o->json) (void)printf("no stations yet: thebes station add NAME\n");
	return 0;
}

/* ---- info, purge, rm ---- */

static int each_stream(
	struct link *l, const struct options *o, const char *request, int (*show)(const struct options *, json_t *))
{
	char *streams[PARTITIONS_MAX];
	unsigned n = station_streams(l, o, o->args[0], streams, PARTITIONS_MAX);
	int code = n ? 0 : 1;
	for (unsigned i = 0; i < n; i++) {
		struct buf subject = { 0 };
		buf_printf(&subject, "%s.%s", request, streams[i]);
		json_t *answer = code == 0 ? api_request(l, o, buf_str(&subject), NULL, 0, NULL) : NULL;
		code = answer ? show(o, answer) : 1;
		json_decref(answer);
		buf_deinit(&subject);
		mem_free(streams[i]);
	}
	return code;
}

static int print_answer(json_t *answer)
{
	(void)json_dumpf(answer, stdout, JSON_COMPACT);
	(void)putchar('\n');
	return 0;
}

static long long number(json_t *of, const char *key) { return (long long)json_integer_value(json_object_get(of, key)); }

/* One line per limit that there is. */
static void show_limits(json_t *config)
{
	static const struct {
		const char *key, *words;
	} limits[] = { { "max_msgs", "messages" }, { "max_bytes", "bytes" },
		{ "max_msgs_per_subject", "messages per subject" }, { "max_msg_size", "bytes per message" } };
	struct buf text = { 0 };
	for (size_t i = 0; i < COUNT_OF(limits); i++)
		if (number(config, limits[i].key) > 0)
			(void)printf("  at most      %lld %s\n", number(config, limits[i].key), limits[i].words);
	if (number(config, "max_age") > 0) {
		duration_print(&text, number(config, "max_age"));
		(void)printf("  kept for     %s\n", buf_str(&text));
	}
	if (number(config, "duplicate_window") > 0) {
		buf_clear(&text);
		duration_print(&text, number(config, "duplicate_window"));
		(void)printf("  ids kept for %s\n", buf_str(&text));
	}
	buf_deinit(&text);
}

static int show_info(const struct options *o, json_t *info)
{
	json_t *state = json_object_get(info, "state"), *config = json_object_get(info, "config"), *subject;
	json_t *doubt = json_object_get(info, "doubt");
	const char *retention = json_string_value(json_object_get(config, "retention"));
	struct buf name = { 0 };
	unsigned partition;
	size_t i;
	if (o->json) {
		print_json(info);
		return 0;
	}
	station_name_external(&name, slice_of_str(json_string_value(json_object_get(config, "name"))), &partition);
	(void)printf("station %s", buf_str(&name));
	if (partition) (void)printf(", partition %u", partition);
	(void)printf("\n  stream       %s\n  subjects     ", json_string_value(json_object_get(config, "name")));
	json_array_foreach(json_object_get(config, "subjects"), i, subject)(void)
		printf("%s%s", i ? ", " : "", json_string_value(subject));
	(void)printf("\n  storage      %s\n  replicas     %lld\n",
		json_string_value(json_object_get(config, "storage")), number(config, "num_replicas"));
	if (retention && strcmp(retention, "limits") != 0)
		(void)printf("  kept until   %s\n",
			strcmp(retention, "interest") == 0 ? "every group has acknowledged it" : "it is acknowledged");
	show_limits(config);
	(void)printf("  messages     %lld, sequences %lld to %lld\n  bytes        %lld\n  groups       %lld\n",
		number(state, "messages"), number(state, "first_seq"), number(state, "last_seq"),
		number(state, "bytes"), number(state, "consumer_count"));
	if (doubt) (void)printf("  in doubt     %s\n", json_string_value(json_object_get(doubt, "reason")));
	buf_deinit(&name);
	return 0;
}

static int show_purged(const struct options *o, json_t *answer)
{
	if (o->json) return print_answer(answer);
	(void)printf("%lld messages removed\n", (long long)json_integer_value(json_object_get(answer, "purged")));
	return 0;
}

static int show_removed(const struct options *o, json_t *answer)
{
	if (o->json) return print_answer(answer);
	(void)printf("removed\n");
	return 0;
}

/* 0: go on; else the exit code. Who is no terminal can not be asked. */
static int ask(const struct options *o, const char *what)
{
	char line[16] = "";
	if (o->yes) return 0;
	if (!isatty(STDIN_FILENO))
		return cli_misused(
			o, "to %s %s for good, give -y: standard input is no terminal to ask on", what, o->args[0]);
	(void)printf("%s %s for good? [y/N] ", what, o->args[0]);
	(void)fflush(stdout);
	return fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y') ? 0 : 1;
}

int cli_station_info(struct link *l, const struct options *o) { return each_stream(l, o, "STREAM.INFO", show_info); }

int cli_station_purge(struct link *l, const struct options *o)
{
	int code = ask(o, "empty");
	return code == 0 ? each_stream(l, o, "STREAM.PURGE", show_purged) : code;
}

int cli_station_rm(struct link *l, const struct options *o)
{
	int code = ask(o, "remove");
	return code == 0 ? each_stream(l, o, "STREAM.DELETE", show_removed) : code;
}
