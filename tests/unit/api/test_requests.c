/* SPDX-License-Identifier: Apache-2.0 */
/* Every request of $JS.API with what can be wrong with it: bodies that are no JSON or of other types, unknown fields, names that do not fit,
 * things that are not there. Codes and texts are those of the specification (spec §5.2, §5.13). */
#include "sim/node_bed.h"

struct request {
	const char *subject; /* behind $JS.API. */
	const char *body, *want;
};

#define ERROR(http, code, text) "\"error\":{\"code\":" #http ",\"err_code\":" #code ",\"description\":\"" text "\"}"
#define NOT_FOUND ERROR(404, 10059, "stream not found")
#define NO_CONSUMER ERROR(404, 10014, "consumer not found")
#define BAD_REQUEST ERROR(400, 10003, "bad request")
#define BAD_JSON "\"error\":{\"code\":400,\"err_code\":10025,\"description\":\"invalid JSON: "
#define CLUSTER ERROR(503, 10010, "JetStream clustering support required")
#define TYPE(name) "{\"type\":\"io.nats.jetstream.api.v1." name "\""

static void ask_all(struct bed *b, const struct request *requests, size_t count)
{
	char subject[300];
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(subject, sizeof subject, "$JS.API.%s", requests[i].subject);
		bed_ask_for(b, subject, requests[i].body, requests[i].want);
	}
}

/* ---- of a server that holds nothing ---- */

static const struct request with_nothing[] = {
	{ "INFO", "", "\"streams\":0,\"consumers\":0" },
	{ "INFO", "", TYPE("account_info_response") },
	{ "NOTHING", "", TYPE("system_response") "," BAD_REQUEST },
	{ "STREAM", "", BAD_REQUEST },
	{ "STREAM.CREATE", "{}", BAD_REQUEST },
	{ "STREAM.NAMES", "", "\"total\":0,\"offset\":0,\"limit\":1024,\"streams\":null" },
	{ "STREAM.LIST", "", "\"total\":0,\"offset\":0,\"limit\":256,\"streams\":[]" },
	{ "STREAM.INFO.S", "", TYPE("stream_info_response") "," NOT_FOUND },
	{ "STREAM.UPDATE.S", "{\"name\":\"S\"}", TYPE("stream_update_response") "," NOT_FOUND },
	{ "STREAM.DELETE.S", "", TYPE("stream_delete_response") "," NOT_FOUND },
	{ "STREAM.PURGE.S", "", TYPE("stream_purge_response") "," NOT_FOUND },
	{ "STREAM.MSG.GET.S", "{\"seq\":1}", TYPE("stream_msg_get_response") "," NOT_FOUND },
	{ "STREAM.MSG.DELETE.S", "{\"seq\":1}", TYPE("stream_msg_delete_response") "," NOT_FOUND },
	{ "CONSUMER.CREATE.S", "{}", TYPE("consumer_create_response") "," NOT_FOUND },
	{ "CONSUMER.CREATE.S.C", "{}", NOT_FOUND },
	{ "CONSUMER.DURABLE.CREATE.S.C", "{}", NOT_FOUND },
	{ "CONSUMER.NAMES.S", "", TYPE("consumer_names_response") "," NOT_FOUND },
	{ "CONSUMER.LIST.S", "", TYPE("consumer_list_response") "," NOT_FOUND },
	{ "CONSUMER.INFO.S.C", "", TYPE("consumer_info_response") "," NOT_FOUND },
	{ "CONSUMER.DELETE.S.C", "", TYPE("consumer_delete_response") "," NOT_FOUND },
	{ "CONSUMER.MSG.NEXT.S.C", "", "503" }, /* nobody listens */
	{ "DIRECT.GET.S", "{\"seq\":1}", "503" },
};

static void nothing_is_found(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	ask_all(&b, with_nothing, COUNT_OF(with_nothing));
	bed_close(&b);
}

/* ---- bodies ---- */

/* What no request that reads its body takes. */
static const char *const no_json[] = { "{", "}", "{]", "nonsense", "{\"seq\":1", "{\"seq\":}", "[]", "7", "\"text\"",
	"{\"seq\":1}{\"seq\":2}", "{\"seq\":1,}", "\xff\xfe" };

static const char *const readers[] = { "STREAM.CREATE.S", "STREAM.CREATE.NEW", "STREAM.UPDATE.S", "STREAM.PURGE.S",
	"STREAM.MSG.GET.S", "STREAM.MSG.DELETE.S", "STREAM.NAMES", "STREAM.LIST", "STREAM.INFO.S", "CONSUMER.CREATE.S",
	"CONSUMER.CREATE.S.D", "CONSUMER.DURABLE.CREATE.S.D", "CONSUMER.NAMES.S", "CONSUMER.LIST.S" };

static void what_is_no_json_is_refused(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", "");
	for (size_t i = 0; i < COUNT_OF(readers); i++)
		for (size_t k = 0; k < COUNT_OF(no_json); k++)
			ask_all(&b, &(struct request) { readers[i], no_json[k], BAD_JSON }, 1);
	char deep[2001]; /* nor does anything go too deep */
	memset(deep, '[', sizeof deep - 1);
	deep[sizeof deep - 1] = '\0';
	for (size_t i = 0; i < COUNT_OF(readers); i++) ask_all(&b, &(struct request) { readers[i], deep, BAD_JSON }, 1);
	bed_publish(&b, "s.a");
	ask_all(&b, &(struct request) { "STREAM.INFO.S", "", "\"messages\":1," }, 1); /* and all is as it was */
	bed_close(&b);
}

static const struct request other_types[] = {
	{ "STREAM.CREATE.T", "{\"name\":7}", BAD_JSON },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":\"t\"}", BAD_JSON },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[1]}", BAD_JSON },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"max_msgs\":\"1\"}", BAD_JSON },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"max_msgs\":1.5}", BAD_JSON },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"max_msgs\":99999999999999999999}", BAD_JSON },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"retention\":\"none\"}", BAD_JSON },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"storage\":true}", BAD_JSON },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"no_ack\":1}", BAD_JSON },
	{ "STREAM.PURGE.S", "{\"seq\":\"1\"}", BAD_JSON },
	{ "STREAM.PURGE.S", "{\"seq\":-1}", BAD_JSON },
	{ "STREAM.PURGE.S", "{\"keep\":1.5}", BAD_JSON },
	{ "STREAM.PURGE.S", "{\"filter\":5}", BAD_JSON },
	{ "STREAM.MSG.GET.S", "{\"seq\":\"1\"}", BAD_JSON },
	{ "STREAM.MSG.GET.S", "{\"last_by_subj\":1}", BAD_JSON },
	{ "STREAM.MSG.GET.S", "{\"seq\":1,\"no_hdr\":1}", BAD_JSON },
	{ "STREAM.MSG.DELETE.S", "{\"seq\":true}", BAD_JSON },
	{ "STREAM.MSG.DELETE.S", "{\"seq\":1,\"no_erase\":\"yes\"}", BAD_JSON },
	{ "STREAM.INFO.S", "{\"deleted_details\":1}", BAD_JSON },
	{ "STREAM.INFO.S", "{\"offset\":\"0\"}", BAD_JSON },
	{ "STREAM.NAMES", "{\"offset\":\"0\"}", BAD_JSON },
	{ "STREAM.NAMES", "{\"subject\":7}", BAD_JSON },
	{ "CONSUMER.NAMES.S", "{\"offset\":[]}", BAD_JSON },
	{ "CONSUMER.CREATE.S", "{\"stream_name\":7,\"config\":{}}", BAD_JSON },
	{ "CONSUMER.CREATE.S", "{\"stream_name\":\"S\",\"config\":7}", BAD_JSON },
	{ "CONSUMER.CREATE.S", "{\"stream_name\":\"S\",\"action\":7,\"config\":{}}", BAD_JSON },
	{ "CONSUMER.CREATE.S", "{\"stream_name\":\"S\",\"action\":\"do\",\"config\":{}}", BAD_JSON },
	{ "CONSUMER.CREATE.S", "{\"stream_name\":\"S\",\"config\":{\"ack_policy\":1}}", BAD_JSON },
	{ "CONSUMER.CREATE.S", "{\"stream_name\":\"S\",\"config\":{\"ack_policy\":\"some\"}}", BAD_JSON },
	{ "CONSUMER.CREATE.S", "{\"stream_name\":\"S\",\"config\":{\"backoff\":[\"1s\"]}}", BAD_JSON },
};

static void other_types_are_refused(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", "");
	ask_all(&b, other_types, COUNT_OF(other_types));
	ask_all(&b, &(struct request) { "STREAM.NAMES", "", "\"streams\":[\"S\"]" }, 1);
	bed_close(&b);
}

/* Unknown fields are left alone, as by the peers that do not ask for strictness; null is as good as absent. */
static const struct request unknown_fields[] = {
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"],\"colour\":{\"a\":[1]}}", "\"did_create\":true" },
	{ "STREAM.INFO.T", "{\"colour\":1}", "\"name\":\"T\"" },
	{ "STREAM.NAMES", "{\"colour\":1}", "\"streams\":[\"S\",\"T\"]" },
	{ "STREAM.NAMES", "{\"offset\":null,\"subject\":null}", "\"streams\":[\"S\",\"T\"]" },
	{ "STREAM.LIST", "{\"colour\":null}", "\"total\":2" },
	{ "STREAM.PURGE.T", "{\"colour\":[],\"seq\":null}", "\"success\":true,\"purged\":0" },
	{ "STREAM.MSG.GET.S", "{\"seq\":1,\"colour\":0}", "\"message\":{\"subject\":\"s.a\",\"seq\":1" },
	{ "CONSUMER.NAMES.S", "{\"colour\":1}", "\"consumers\":[\"C\"]" },
	{ "CONSUMER.CREATE.S.D",
		"{\"stream_name\":\"S\",\"colour\":1,\"config\":{\"name\":\"D\",\"ack_policy\":\"explicit\",\"x\":2}}",
		"\"name\":\"D\"" },
	{ "STREAM.MSG.DELETE.S", "{\"seq\":1,\"colour\":1}", "\"success\":true" },
};

static void unknown_fields_are_left_alone(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", "");
	bed_publish(&b, "s.a");
	ask_all(&b, unknown_fields, COUNT_OF(unknown_fields));
	bed_close(&b);
}

/* ---- streams ---- */

static const struct request of_streams[] = {
	{ "STREAM.CREATE.T", "{\"name\":\"U\"}", ERROR(400, 10056, "stream name in subject does not match request") },
	{ "STREAM.CREATE.T", "{}", ERROR(400, 10056, "stream name in subject does not match request") },
	{ "STREAM.UPDATE.S", "{\"name\":\"T\"}", ERROR(400, 10056, "stream name in subject does not match request") },
	{ "STREAM.CREATE.S", "{\"name\":\"S\",\"subjects\":[\"s.>\"],\"max_msgs\":3}",
		ERROR(400, 10058, "stream name already in use with a different configuration") },
	{ "STREAM.CREATE.S", "{\"name\":\"S\",\"subjects\":[\"s.>\"]}", "\"did_create\":true" }, /* just so */
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"s.a\"]}",
		ERROR(400, 10065, "subjects overlap with an existing stream") },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"s.*\"]}",
		ERROR(400, 10065, "subjects overlap with an existing stream") },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t..a\"]}", "\"err_code\":10052" },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\",\"t\"]}", "\"err_code\":10052" },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"],\"num_replicas\":3}",
		ERROR(500, 10074, "replicas > 1 not supported in non-clustered mode") },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"],\"num_replicas\":-1}",
		ERROR(400, 10133, "replicas count cannot be negative") },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"],\"max_age\":1}", "\"err_code\":10052" },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"],\"duplicate_window\":1}", "\"err_code\":10052" },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"t\"],\"sealed\":true}", "\"err_code\":10052" },
	{ "STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"$JS.API.x\"]}", "\"err_code\":10052" },
	{ "STREAM.UPDATE.S", "{\"name\":\"S\",\"subjects\":[\"s.>\"],\"storage\":\"memory\"}", "\"err_code\":10052" },
	{ "STREAM.UPDATE.S", "{\"name\":\"S\",\"subjects\":[\"s.>\"],\"retention\":\"workqueue\"}",
		"\"err_code\":10052" },
	{ "STREAM.UPDATE.S", "{\"name\":\"S\",\"subjects\":[\"s.>\"],\"max_msgs\":30}", "\"max_msgs\":30" },
	{ "STREAM.DELETE.S", "{}", ERROR(400, 10038, "expected an empty request payload") },
	{ "STREAM.PURGE.S", "{\"seq\":1,\"keep\":1}", BAD_REQUEST },
	{ "STREAM.MSG.GET.S", "", BAD_REQUEST },
	{ "STREAM.MSG.GET.S", "{}", BAD_REQUEST },
	{ "STREAM.MSG.GET.S", "{\"seq\":1,\"last_by_subj\":\"s.a\"}", BAD_REQUEST },
	{ "STREAM.MSG.GET.S", "{\"seq\":99}", ERROR(404, 10037, "no message found") },
	{ "STREAM.MSG.GET.S", "{\"last_by_subj\":\"s.none\"}", ERROR(404, 10037, "no message found") },
	{ "STREAM.MSG.GET.S", "{\"seq\":2,\"next_by_subj\":\"s.a\"}", "\"seq\":3," },
	{ "STREAM.MSG.GET.S", "{\"last_by_subj\":\"s.*\"}", "\"seq\":3," },
	{ "STREAM.MSG.DELETE.S", "", BAD_REQUEST },
	{ "STREAM.MSG.DELETE.S", "{}", BAD_REQUEST },
	{ "STREAM.MSG.DELETE.S", "{\"seq\":2}", TYPE("stream_msg_delete_response") ",\"success\":true" },
	{ "STREAM.MSG.DELETE.S", "{\"seq\":2}", ERROR(400, 10043, "sequence 2 not found") },
	{ "STREAM.MSG.DELETE.S", "{\"seq\":99}", ERROR(500, 10057, "stream store EOF") },
	{ "STREAM.INFO.S", "{\"deleted_details\":true}", "\"num_deleted\":1,\"deleted\":[2]" },
	{ "STREAM.INFO.S", "{\"subjects_filter\":\">\"}", "\"subjects\":{\"s.a\":2}" },
	{ "STREAM.PURGE.S", "{\"filter\":\"s.none\"}", "\"purged\":0" },
	{ "STREAM.PURGE.S", "{\"keep\":1}", "\"success\":true,\"purged\":1" },
	{ "STREAM.PURGE.S", "", "\"success\":true,\"purged\":1" },
	{ "STREAM.DELETE.S", "", TYPE("stream_delete_response") ",\"success\":true" },
	{ "STREAM.DELETE.S", "", NOT_FOUND },
};

static void streams_answer_as_specified(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", NULL);
	bed_publish(&b, "s.a");
	bed_publish(&b, "s.b");
	bed_publish(&b, "s.a");
	ask_all(&b, of_streams, COUNT_OF(of_streams));
	bed_close(&b);
}

static const struct request of_a_denying_stream[] = {
	{ "STREAM.MSG.DELETE.S", "{\"seq\":1}", ERROR(500, 10057, "message delete not permitted") },
	{ "STREAM.PURGE.S", "", ERROR(500, 10110, "stream purge not permitted") },
	{ "STREAM.UPDATE.S", "{\"name\":\"S\",\"subjects\":[\"s.>\"]}", "\"err_code\":10052" }, /* not taken back */
	{ "STREAM.UPDATE.S",
		"{\"name\":\"S\",\"subjects\":[\"s.>\"],\"deny_delete\":true,\"deny_purge\":true,\"sealed\":true}",
		"\"sealed\":true" },
	{ "STREAM.MSG.DELETE.S", "{\"seq\":1}", ERROR(400, 10109, "invalid operation on sealed stream") },
	{ "STREAM.PURGE.S", "", ERROR(400, 10109, "invalid operation on sealed stream") },
};

static void what_is_denied_stays_denied(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, ",\"deny_delete\":true,\"deny_purge\":true", NULL);
	bed_publish(&b, "s.a");
	ask_all(&b, of_a_denying_stream, COUNT_OF(of_a_denying_stream));
	bed_ask_for(&b, "s.a", "x", ERROR(400, 10109, "invalid operation on sealed stream"));
	bed_restart(&b);
	ask_all(&b, of_a_denying_stream + 4, 2);
	bed_close(&b);
}

/* ---- consumers ---- */

#define ON_S(config) "{\"stream_name\":\"S\",\"config\":{" config "}}"
#define ACTION(action, config) "{\"stream_name\":\"S\",\"action\":\"" action "\",\"config\":{" config "}}"

static const struct request of_consumers[] = {
	{ "CONSUMER.CREATE.S", "", BAD_JSON },
	{ "CONSUMER.CREATE.S", "{\"stream_name\":\"T\",\"config\":{}}",
		ERROR(400, 10056, "stream name in subject does not match request") },
	{ "CONSUMER.DURABLE.CREATE.S.D", ON_S("\"ack_policy\":\"explicit\""),
		ERROR(400, 10018, "consumer expected to be durable but a durable name was not set") },
	{ "CONSUMER.DURABLE.CREATE.S.D", ON_S("\"durable_name\":\"E\""),
		ERROR(400, 10017, "consumer name in subject does not match durable name in request") },
	{ "CONSUMER.CREATE.S", ON_S("\"durable_name\":\"E\",\"ack_policy\":\"explicit\""),
		ERROR(400, 10020, "consumer expected to be ephemeral but a durable name was set in request") },
	{ "CONSUMER.CREATE.S.D", ON_S("\"durable_name\":\"D\",\"name\":\"E\""),
		ERROR(400, 10132, "Consumer Durable and Name have to be equal if both are provided") },
	{ "CONSUMER.CREATE.S.D.s.a", ON_S("\"name\":\"D\",\"filter_subject\":\"s.b\""),
		ERROR(400, 10131, "Consumer create request did not match filtered subject from create subject") },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"filter_subject\":\"s.a\",\"filter_subjects\":[\"s.b\"]"),
		ERROR(400, 10136, "consumer cannot have both FilterSubject and FilterSubjects specified") },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"filter_subjects\":[\"s.a\",\"s.*\"]"),
		ERROR(400, 10138, "consumer subject filters cannot overlap") },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"filter_subjects\":[\"s.a\",\"\"]"),
		ERROR(400, 10139, "consumer filter in FilterSubjects cannot be empty") },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"filter_subject\":\"t\""),
		ERROR(400, 10093, "consumer filter subject is not a valid subset of the interest subjects") },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"idle_heartbeat\":1000000000"),
		ERROR(400, 10088, "consumer idle heartbeat requires a push based consumer") },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"flow_control\":true"),
		ERROR(400, 10089, "consumer flow control requires a push based consumer") },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"rate_limit_bps\":1"),
		ERROR(400, 10086, "consumer in pull mode can not have rate limit set") },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"deliver_policy\":\"last_per_subject\""), "\"err_code\":10094" },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"opt_start_seq\":5"), "\"err_code\":10094" },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"deliver_policy\":\"by_start_sequence\""),
		"\"err_code\":10094" },
	{ "CONSUMER.CREATE.S.D",
		ON_S("\"name\":\"D\",\"ack_policy\":\"explicit\",\"max_deliver\":1,\"backoff\":[1,2,3]"),
		"\"err_code\":10116" },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"num_replicas\":3"),
		ERROR(500, 10074, "replicas > 1 not supported in non-clustered mode") },
	{ "CONSUMER.CREATE.S.D", ACTION("update", "\"name\":\"D\",\"ack_policy\":\"explicit\""),
		ERROR(400, 10149, "consumer does not exist") },
	{ "CONSUMER.CREATE.S.C",
		ACTION("create", "\"durable_name\":\"C\",\"ack_policy\":\"explicit\",\"max_deliver\":7"),
		ERROR(400, 10148, "consumer already exists") },
	{ "CONSUMER.CREATE.S.C", ACTION("create", "\"durable_name\":\"C\",\"ack_policy\":\"explicit\""),
		"\"name\":\"C\"" },
	{ "CONSUMER.CREATE.S.C", ON_S("\"durable_name\":\"C\",\"ack_policy\":\"explicit\",\"deliver_policy\":\"new\""),
		"\"err_code\":10012,\"description\":\"deliver policy can not be updated\"" },
	{ "CONSUMER.CREATE.S.C", ON_S("\"durable_name\":\"C\",\"ack_policy\":\"explicit\",\"max_deliver\":7"),
		"\"max_deliver\":7" },
	{ "CONSUMER.INFO.S.C", "", TYPE("consumer_info_response") },
	{ "CONSUMER.INFO.S.D", "", NO_CONSUMER },
	{ "CONSUMER.DELETE.S.D", "", NO_CONSUMER },
	{ "CONSUMER.INFO.S.C", "{}", ERROR(400, 10038, "expected an empty request payload") },
	{ "CONSUMER.DELETE.S.C", "{}", ERROR(400, 10038, "expected an empty request payload") },
	{ "CONSUMER.NAMES.S", "", "\"total\":1,\"offset\":0,\"limit\":1024,\"consumers\":[\"C\"]" },
	{ "CONSUMER.NAMES.S", "{\"offset\":5}", "\"offset\":1,\"limit\":1024,\"consumers\":[]" },
	{ "CONSUMER.LIST.S", "", "\"total\":1,\"offset\":0,\"limit\":256,\"consumers\":[{" },
	{ "CONSUMER.DELETE.S.C", "", TYPE("consumer_delete_response") ",\"success\":true" },
	{ "CONSUMER.DELETE.S.C", "", NO_CONSUMER },
	{ "CONSUMER.MSG.NEXT.S.C", "", "503" },
};

static void consumers_answer_as_specified(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", "");
	ask_all(&b, of_consumers, COUNT_OF(of_consumers));
	bed_close(&b);
}

static const struct request of_a_workqueue[] = {
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"ack_policy\":\"none\""), "\"error\"" },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"ack_policy\":\"explicit\""),
		ERROR(400, 10099, "multiple non-filtered consumers not allowed on workqueue stream") },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"ack_policy\":\"explicit\",\"filter_subject\":\"s.a\""),
		"\"err_code\":10099" },
	{ "CONSUMER.DELETE.S.C", "", "\"success\":true" },
	{ "CONSUMER.CREATE.S.D", ON_S("\"name\":\"D\",\"ack_policy\":\"explicit\",\"filter_subject\":\"s.a\""),
		"\"name\":\"D\"" },
	{ "CONSUMER.CREATE.S.E", ON_S("\"name\":\"E\",\"ack_policy\":\"explicit\",\"filter_subject\":\"s.*\""),
		ERROR(400, 10100, "filtered consumer not unique on workqueue stream") },
	{ "CONSUMER.CREATE.S.E",
		ON_S("\"name\":\"E\",\"ack_policy\":\"explicit\",\"deliver_policy\":\"new\",\"filter_subject\":\"s."
		     "b\""),
		ERROR(400, 10101, "consumer must be deliver all on workqueue stream") },
};

static void a_workqueue_takes_one_consumer_of_a_subject(void **state)
{
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, ",\"retention\":\"workqueue\"", "");
	ask_all(&b, of_a_workqueue, COUNT_OF(of_a_workqueue));
	bed_close(&b);
}

/* ---- requests to the cluster, which there is none of ---- */

static void a_cluster_is_asked_for(void **state)
{
	static const char *const subjects[] = { "STREAM.LEADER.STEPDOWN.S", "STREAM.PEER.REMOVE.S",
		"CONSUMER.LEADER.STEPDOWN.S.C", "META.LEADER.STEPDOWN" };
	struct bed b;
	(void)state;
	bed_open(&b);
	bed_make(&b, "", "");
	for (size_t i = 0; i < COUNT_OF(subjects); i++)
		ask_all(&b, &(struct request) { subjects[i], "{}", "\"error\":{" }, 1);
	bed_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_found),
		cmocka_unit_test(what_is_no_json_is_refused),
		cmocka_unit_test(other_types_are_refused),
		cmocka_unit_test(unknown_fields_are_left_alone),
		cmocka_unit_test(streams_answer_as_specified),
		cmocka_unit_test(what_is_denied_stays_denied),
		cmocka_unit_test(consumers_answer_as_specified),
		cmocka_unit_test(a_workqueue_takes_one_consumer_of_a_subject),
		cmocka_unit_test(a_cluster_is_asked_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
