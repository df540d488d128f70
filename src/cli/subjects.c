/* SPDX-License-Identifier: Apache-2.0 */
/* Plain NATS: pub, sub and request on subjects. */
#include "cli_inside.h"

static int check_subject(const struct options *o, bool literal)
{
	enum subject_kind k = subject_check(slice_of_str(o->args[0]));
	if (k == SUBJECT_LITERAL || (!literal && k == SUBJECT_WILDCARD)) return EXIT_DONE;
	if (k == SUBJECT_WILDCARD)
		return cli_misused(
			o, "\"%s\" is not a subject to publish to: * and > are for whoever subscribes", o->args[0]);
	return cli_misused(o, "\"%s\" is not a subject: words with dots between them and no blanks", o->args[0]);
}

int cli_pub(struct link *l, const struct options *o)
{
	struct buf header = { 0 }, body = { 0 };
	uint64_t n = o->count ? o->count : 1;
	int code = check_subject(o, true);
	if (code == EXIT_DONE && *o->reply && !subject_is_literal(slice_of_str(o->reply)))
		code = cli_misused(o, "--reply: \"%s\" is not a subject to publish to", o->reply);
	if (code == EXIT_DONE && !input_header(o, &header, 0)) code = EXIT_USAGE;
	if (code == EXIT_DONE) code = input_whole(l, o, true, &body);
	for (uint64_t i = 0; i < n && code == EXIT_DONE; i++)
		link_publish(l, slice_of_str(o->args[0]), slice_of_str(o->reply), buf_slice(&header), buf_slice(&body));
	if (code == EXIT_DONE && !link_settle(l)) code = cli_fail_link(o, l);
	buf_deinit(&header);
	buf_deinit(&body);
	if (code == EXIT_DONE)
		(void)printf(o->json ? "{\"published\":%llu}\n" : "published %llu\n", (unsigned long long)n);
	return code;
}

int cli_sub(struct link *l, const struct options *o)
{
	enum { SLICE_MS = 200 };
	struct wire_op op;
	struct buf line = { 0 };
	int code = check_subject(o, false);
	if (code != EXIT_DONE) return code;
	stop_arm();
	(void)link_subscribe(l, slice_of_str(o->args[0]), slice_of_str(o->queue));
	if (!link_settle(l)) code = cli_fail_link(o, l);
	for (uint64_t got = 0; code == EXIT_DONE && (o->count == 0 || got < o->count) && !stop_asked();) {
		enum link_next r = link_next(l, MILLIS(SLICE_MS), &op);
		if (r == LINK_BROKEN) code = cli_fail_link(o, l);
		if (r != LINK_MSG) continue;
		buf_clear(&line);
		output_message(&line, o, &op, true);
		if (!output_write(o, buf_slice(&line)) && !stop_asked()) code = EXIT_FAILED;
		got++;
	}
	buf_deinit(&line);
	return code == EXIT_DONE && stop_asked() ? EXIT_SIGNAL + stop_asked() : code;
}

int cli_request(struct link *l, const struct options *o)
{
	struct buf header = { 0 }, body = { 0 };
	struct wire_op op;
	int code = check_subject(o, true);
	if (code == EXIT_DONE && !input_header(o, &header, 0)) code = EXIT_USAGE;
	if (code == EXIT_DONE) code = input_whole(l, o, false, &body);
	if (code == EXIT_DONE && link_request(l, slice_of_str(o->args[0]), buf_slice(&header), buf_slice(&body),
					 o->timeout_ns, &op) != LINK_MSG)
		code = cli_fail_link(o, l);
	buf_clear(&body);
	if (code == EXIT_DONE) {
		output_message(&body, o, &op, false);
		stop_arm();
		if (!output_write(o, buf_slice(&body))) code = EXIT_FAILED;
	}
	buf_deinit(&header);
	buf_deinit(&body);
	return code;
}
