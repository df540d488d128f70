/* SPDX-License-Identifier: Apache-2.0 */
/* Messages in and out: produce and consume on stations, pub, sub and request on subjects. */
#include "cli_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "thebes/station.h"

enum { PARTITIONS_MAX = 1024, BATCH = 100 };

/* ---- headers ---- */

static bool make_header(const struct options *o, struct buf *b)
{
	if (*o->header) {
		const char *colon = strchr(o->header, ':');
		header_start(b, 0, NULL);
		struct slice value = slice_of_str(colon ? colon + 1 : "");
		while (value.n && value.p[0] == ' ') value = slice_from(value, 1);
		if (!colon || !header_append(b, slice_of(o->header, (size_t)(colon - o->header)), value))
			return cli_fail("--header is KEY:VALUE, not \"%s\"", o->header) == 0;
	}
	if (*o->id) {
		if (!b->n) header_start(b, 0, NULL);
		if (!header_append(b, SLICE("Nats-Msg-Id"), slice_of_str(o->id)))
			return cli_fail("--id may not have line breaks") == 0;
	}
	return true;
}

static void print_text(struct slice s)
{
	(void)fwrite(s.p, 1, s.n, stdout);
	(void)putchar('\n');
}

static void print_json(const struct wire_op *op, struct slice subject)
{
	json_t *v = json_object(), *data = json_stringn((const char *)op->payload.p, op->payload.n);
	struct slice key, value;
	(void)json_object_set_new(v, "subject", json_stringn((const char *)subject.p, subject.n));
	if (data) {
		(void)json_object_set_new(v, "data", data);
	} else { /* not text */
		struct buf hex = { 0 };
		for (size_t i = 0; i < op->payload.n; i++) buf_printf(&hex, "%02x", op->payload.p[i]);
		(void)json_object_set_new(v, "data_hex", json_string(buf_str(&hex)));
		buf_deinit(&hex);
	}
	json_t *headers = json_object();
	for (size_t at = 0; header_next(op->header, &at, &key, &value);) {
		char name[256];
		(void)snprintf(name, sizeof name, "%.*s", SLICE_FMT(slice_first(key, 250)));
		(void)json_object_set_new(headers, name, json_stringn((const char *)value.p, value.n));
	}
	if (json_object_size(headers)) (void)json_object_set(v, "headers", headers);
	json_decref(headers);
	(void)json_dumpf(v, stdout, JSON_COMPACT);
	(void)putchar('\n');
	json_decref(v);
}

/* ---- produce ---- */

/* One message, acknowledged: stored and synced. */
static bool store(struct link *l, const struct options *o, struct slice subject, struct slice header,
	struct slice payload, uint64_t *seq)
{
	struct wire_op op;
	if (link_request(l, subject, header, payload, o->timeout_ns, &op) != LINK_MSG) return cli_fail_link(l) == 0;
	json_t *ack = json_loadb((const char *)op.payload.p, op.payload.n, 0, NULL),
	       *error = json_object_get(ack, "error");
	if (error) (void)cli_fail("not stored: %s", json_string_value(json_object_get(error, "description")));
	bool good = json_is_object(ack) && !error;
	if (!good && !error) (void)cli_fail("the answer is not a PubAck");
	*seq = (uint64_t)json_integer_value(json_object_get(ack, "seq"));
	if (good && o->json) {
		(void)json_dumpf(ack, stdout, JSON_COMPACT);
		(void)putchar('\n');
	}
	json_decref(ack);
	return good;
}

/* Where producers of a station publish: a native one takes `<stream>.final`, any other its first subject if that has no wildcard. */
static bool data_subject(struct link *l, const struct options *o, const char *stream, struct buf *out)
{
	struct buf request = { 0 }, native = { 0 };
	buf_printf(&request, "STREAM.INFO.%s", stream);
	json_t *info = api_request(l, o, buf_str(&request), NULL, NULL);
	json_t *subjects = json_object_get(json_object_get(info, "config"), "subjects");
	const char *first = json_string_value(json_array_get(subjects, 0));
	buf_printf(&native, "%s.>", stream);
	if (first && slice_eq_str(buf_slice(&native), first)) {
		buf_printf(out, "%s.final", stream);
	} else if (first && subject_is_literal(slice_of_str(first))) {
		buf_append_str(out, first);
	} else if (info) {
		(void)cli_fail("%s has no single subject to produce to: use `thebes pub` with one that it covers (%s)",
			o->args[0], first ? first : "none");
	}
	buf_deinit(&request);
	buf_deinit(&native);
	json_decref(info);
	return out->n > 0;
}

int cli_produce(struct link *l, const struct options *o)
{
	char *streams[PARTITIONS_MAX], *line = NULL;
	struct buf subject[PARTITIONS_MAX], header = { 0 };
	unsigned n = station_streams(l, o, o->args[0], streams, PARTITIONS_MAX);
	uint64_t done = 0, seq = 0, wanted = o->count ? o->count : 1;
	size_t room = 0;
	bool good = n > 0 && make_header(o, &header);
	memset(subject, 0, n * sizeof subject[0]);
	for (unsigned i = 0; i < n && good; i++) good = data_subject(l, o, streams[i], &subject[i]);
	if (good && o->arg_count > 1) {
		for (; done < wanted && good; done += good)
			good = store(l, o, buf_slice(&subject[done % n]), buf_slice(&header), slice_of_str(o->args[1]),
				&seq);
	} else if (good) {
		ssize_t got;
		while (good && (o->count == 0 || done < o->count) && (got = getline(&line, &room, stdin)) >= 0) {
			if (got && line[got - 1] == '\n') got--;
			good = store(l, o, buf_slice(&subject[done % n]), buf_slice(&header),
				slice_of(line, (size_t)got), &seq);
			done += good;
		}
	}
	if (good && !o->json)
		(void)printf("%llu stored, last sequence %llu\n", (unsigned long long)done, (unsigned long long)seq);
	free(line);
	buf_deinit(&header);
	for (unsigned i = 0; i < n; i++) {
		buf_deinit(&subject[i]);
		mem_free(streams[i]);
	}
	return good ? 0 : 1;
}

/* ---- consume ---- */

static bool make_group(struct link *l, const struct options *o, const char *stream, struct buf *group)
{
	struct buf subject = { 0 };
	const char *problem = station_name_problem(slice_of_str(o->group));
	if (problem) return cli_fail("--group: %s", problem) == 0;
	buf_clear(group);
	station_name_internal(group, slice_of_str(o->group), 0);
	buf_printf(&subject, "CONSUMER.INFO.%s.%s", stream, buf_str(group));
	unsigned code;
	json_t *answer = api_request(l, o, buf_str(&subject), NULL, &code); /* there already: taken as it is */
	if (!answer && code) {
		buf_clear(&subject);
		buf_printf(&subject, "CONSUMER.DURABLE.CREATE.%s.%s", stream, buf_str(group));
		json_t *body = json_pack("{s:s,s:{s:s,s:s,s:s}}", "stream_name", stream, "config", "durable_name",
			buf_str(group), "deliver_policy", "all", "ack_policy", "explicit");
		answer = api_request(l, o, buf_str(&subject), body, NULL);
	}
	buf_deinit(&subject);
	json_decref(answer);
	return answer != NULL;
}

/* False: standard output does not take it (a pipe whose reader has gone, a full disk). */
static bool show(const struct options *o, const struct wire_op *op)
{
	if (o->json) {
		print_json(op, op->subject);
	} else {
		print_text(op->payload);
	}
	if (fflush(stdout) == 0 && !ferror(stdout)) return true;
	return cli_fail("can not write to standard output (%s)", strerror(errno)) == 0;
}

/* Gives back a message that was not shown, so that the next who asks gets it without waiting for ack_wait. */
static void give_back(struct link *l, const struct options *o, struct slice ack)
{
	if (o->no_ack || ack.n == 0) return;
	link_publish(l, ack, SLICE_NULL, SLICE_NULL, SLICE("-NAK"));
	(void)link_flush(l); /* if that fails too, it comes again after ack_wait */
}

static bool acknowledge(struct link *l, const struct options *o, struct slice ack)
{
	struct wire_op op;
	char subject[512]; /* the slice goes with the next read */
	if (ack.n == 0 || ack.n >= sizeof subject) return true;
	memcpy(subject, ack.p, ack.n);
	if (link_request(l, slice_of(subject, ack.n), SLICE_NULL, SLICE("+ACK"), o->timeout_ns, &op) == LINK_MSG)
		return true;
	return cli_fail_link(l) == 0;
}

/* One pull of one stream; adds to *taken. False: broken. */
static bool pull(struct link *l, const struct options *o, const char *stream, const char *group, const char *inbox,
	uint64_t *taken)
{
	struct buf subject = { 0 };
	char body[160];
	struct wire_op op;
	uint64_t left = o->count ? o->count - *taken : BATCH, batch = u64_min(left, BATCH);
	/* a message at a time, so that what is shown is what is acknowledged */
	if (!o->no_ack) batch = 1;
	buf_printf(&subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", stream, group);
	int n = o->follow ? snprintf(body, sizeof body, "{\"batch\":%llu,\"expires\":1000000000}",
				    (unsigned long long)batch)
			  : snprintf(body, sizeof body, "{\"batch\":%llu,\"no_wait\":true}", (unsigned long long)batch);
	link_publish(l, buf_slice(&subject), slice_of_str(inbox), SLICE_NULL, slice_of(body, (size_t)n));
	buf_deinit(&subject);
	for (uint64_t got = 0; got < batch;) {
		enum link_next r = link_next(l, o->timeout_ns + NS_PER_S, &op);
		if (r != LINK_MSG) {
			if (r == LINK_TIMEOUT) (void)snprintf(l->why, sizeof l->why, "no answer to a pull in time");
			return cli_fail_link(l) == 0;
		}
		unsigned status = op.header.n ? header_status(op.header, NULL) : 0;
		if (status == 100) continue;
		if (status) return true; /* 404 or 408: nothing more now */
		if (!show(o, &op)) {
			give_back(l, o, op.reply);
			return false;
		}
		got++;
		++*taken;
		if (!o->no_ack && !acknowledge(l, o, op.reply)) return false;
	}
	return true;
}

int cli_consume(struct link *l, const struct options *o)
{
	char *streams[PARTITIONS_MAX], inbox[64];
	unsigned n = station_streams(l, o, o->args[0], streams, PARTITIONS_MAX);
	struct buf group = { 0 };
	uint64_t taken = 0;
	bool good = n > 0;
	for (unsigned i = 0; i < n && good; i++) good = make_group(l, o, streams[i], &group);
	(void)snprintf(inbox, sizeof inbox, "%s.p.x", l->inbox);
	if (good) (void)link_subscribe(l, slice_of_str(inbox), SLICE_NULL);
	for (bool more = true; good && more;) {
		uint64_t before = taken;
		for (unsigned i = 0; i < n && good && (o->count == 0 || taken < o->count); i++)
			good = pull(l, o, streams[i], buf_str(&group), inbox, &taken);
		more = (taken > before || o->follow) && (o->count == 0 || taken < o->count);
	}
	if (good && taken == 0 && !o->json)
		(void)fprintf(stderr, "nothing to consume for group %s now (--follow waits)\n", o->group);
	for (unsigned i = 0; i < n; i++) mem_free(streams[i]);
	buf_deinit(&group);
	return good ? 0 : 1;
}

/* ---- subjects ---- */

static bool check_subject(const char *text, bool literal)
{
	enum subject_kind k = subject_check(slice_of_str(text));
	if (k == SUBJECT_LITERAL || (!literal && k == SUBJECT_WILDCARD)) return true;
	return cli_fail("\"%s\" is not a subject%s", text, literal ? " to publish to" : "") == 0;
}

static bool stdin_text(struct buf *b)
{
	size_t n;
	do {
		n = fread(buf_reserve(b, 4096), 1, 4096, stdin);
		b->n += n;
	} while (n);
	return !ferror(stdin);
}

int cli_pub(struct link *l, const struct options *o)
{
	struct buf header = { 0 }, body = { 0 };
	struct wire_op op;
	bool good = check_subject(o->args[0], true) && make_header(o, &header);
	if (good && o->arg_count > 1) buf_append_str(&body, o->args[1]);
	if (good && o->arg_count == 1) good = stdin_text(&body);
	uint64_t n = o->count ? o->count : 1;
	for (uint64_t i = 0; i < n && good; i++)
		link_publish(l, slice_of_str(o->args[0]), slice_of_str(o->reply), buf_slice(&header), buf_slice(&body));
	/* a request nobody answers is a round trip that shows errors of what went before */
	if (good &&
		link_request(l, SLICE("_INBOX.thebes.flush"), SLICE_NULL, SLICE_NULL, o->timeout_ns, &op) != LINK_MSG &&
		!strstr(l->why, "nobody answers"))
		good = cli_fail_link(l) == 0;
	buf_deinit(&header);
	buf_deinit(&body);
	if (good) (void)printf(o->json ? "{\"published\":%llu}\n" : "published %llu\n", (unsigned long long)n);
	return good ? 0 : 1;
}

int cli_sub(struct link *l, const struct options *o)
{
	struct wire_op op;
	if (!check_subject(o->args[0], false)) return 2;
	(void)link_subscribe(l, slice_of_str(o->args[0]), slice_of_str(o->queue));
	if (!link_flush(l)) return cli_fail_link(l);
	for (uint64_t got = 0; o->count == 0 || got < o->count; got++) {
		if (link_next(l, UINT64_MAX, &op) != LINK_MSG) return cli_fail_link(l);
		if (o->json) {
			print_json(&op, op.subject);
		} else {
			(void)printf("[%.*s] ", SLICE_FMT(op.subject));
			print_text(op.payload);
		}
		if (fflush(stdout) != 0) return cli_fail("can not write to standard output (%s)", strerror(errno));
	}
	return 0;
}

int cli_request(struct link *l, const struct options *o)
{
	struct buf header = { 0 };
	struct wire_op op;
	if (!check_subject(o->args[0], true)) return 2;
	bool good = make_header(o, &header);
	if (good && link_request(l, slice_of_str(o->args[0]), buf_slice(&header),
			    slice_of_str(o->arg_count > 1 ? o->args[1] : ""), o->timeout_ns, &op) != LINK_MSG)
		good = cli_fail_link(l) == 0;
	buf_deinit(&header);
	return good && show(o, &op) ? 0 : 1;
}
