/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations of consumers as clients send them: defaults, what comes back, what is refused and why (spec §5.8, §9.1). */
#include "check.h"

#include "consumer_internal.h"

static struct stream_config stream_of(const char *json)
{
	struct stream_config c;
	struct js_error e;
	if (!stream_config_parse(&c, slice_of_str(json), &e)) fail_msg("%s: %s", json, e.text);
	return c;
}

/* Parses the configuration in its envelope and checks it against the stream. */
static bool take(struct consumer_config *c, const char *config, const struct stream_config *s, struct js_error *e)
{
	struct buf json = { 0 };
	struct consumer_wish w;
	*c = (struct consumer_config) { 0 };
	buf_printf(&json, "{\"stream_name\":\"S\",\"config\":%s}", config);
	bool good = consumer_wish_parse(&w, buf_slice(&json), e);
	buf_deinit(&json);
	if (!good) return false;
	mem_free(w.stream_name);
	*c = w.config;
	good = consumer_config_check(c, s, e);
	if (!good) consumer_config_deinit(c);
	return good;
}

#define LIMITS "{\"name\":\"S\",\"subjects\":[\"a.*\",\"b.>\"]}"
#define QUEUE "{\"name\":\"S\",\"subjects\":[\"a.*\",\"b.>\"],\"retention\":\"workqueue\"}"

static void refused(void **state)
{
	static const struct {
		const char *stream, *config;
		unsigned code;
		const char *text; /* or NULL */
	} cases[] = {
		{ LIMITS, "1", 10025, NULL },
		{ LIMITS, "{\"ack_wait\":\"1s\"}", 10025, NULL },
		{ LIMITS, "{\"deliver_policy\":\"some\"}", 10025, NULL },
		{ LIMITS, "{\"name\":\"a\\u0000\"}", 10025, NULL },
		{ LIMITS, "{\"opt_start_time\":\"yesterday\",\"deliver_policy\":\"by_start_time\"}", 10025, NULL },
		{ LIMITS, "{\"max_waiting\":-1}", 10087, NULL },
		{ LIMITS, "{\"rate_limit_bps\":5}", 10086, NULL },
		{ LIMITS, "{\"flow_control\":true}", 10089, NULL },
		{ LIMITS, "{\"idle_heartbeat\":1000000000}", 10088, NULL },
		{ LIMITS, "{\"num_replicas\":3}", 10074, NULL },
		{ LIMITS, "{\"num_replicas\":-3}", 10133, NULL },
		{ LIMITS, "{\"filter_subject\":\"c\"}", 10093, NULL },
		{ LIMITS, "{\"filter_subject\":\"a.1\",\"filter_subjects\":[\"a.2\"]}", 10136, NULL },
		{ LIMITS, "{\"filter_subjects\":[\"a.*\",\"a.2\"]}", 10138, NULL },
		{ LIMITS, "{\"filter_subjects\":[\"\"]}", 10139, NULL },
		{ LIMITS, "{\"deliver_policy\":\"by_start_sequence\"}", 10094,
			"consumer delivery policy is deliver by start sequence, but optional start sequence is not "
			"set" },
		{ LIMITS, "{\"deliver_policy\":\"all\",\"opt_start_seq\":4}", 10094,
			"consumer delivery policy is deliver all, but optional start sequence is also set" },
		{ LIMITS, "{\"deliver_policy\":\"new\",\"opt_start_time\":\"2024-01-01T00:00:00Z\"}", 10094,
			"consumer delivery policy is deliver new, but optional start time is also set" },
		{ LIMITS, "{\"deliver_policy\":\"last_per_subject\"}", 10094,
			"consumer delivery policy is deliver last per subject, but optional filter subject is not "
			"set" },
		{ LIMITS, "{\"ack_policy\":\"explicit\",\"backoff\":[1,2,3],\"max_deliver\":2}", 10116, NULL },
		{ LIMITS, "{\"opt_start_time\":\"\",\"deliver_policy\":\"all\"}", 10025, NULL },
		{ LIMITS, "{\"num_replicas\":3000000000}", 10074, NULL },
		{ LIMITS, "{\"num_replicas\":-3000000000}", 10133, NULL },
		{ LIMITS, "{\"sample_freq\":\"x%\"}", 10095,
			"failed to parse consumer sampling configuration: strconv.Atoi: parsing \"x\": invalid "
			"syntax" },
		{ LIMITS, "{\"priority_policy\":\"overflow\"}", 10012,
			"priority_policy is not supported by this server yet" },
		{ LIMITS, "{\"priority_timeout\":5}", 10012, "priority_timeout is not supported by this server yet" },
		{ LIMITS, "{\"pause_until\":\"2030-01-01T00:00:00Z\"}", 10012,
			"pause_until is not supported by this server yet" },
		{ LIMITS, "{\"deliver_subject\":\"d\"}", 10012, "deliver_subject is not supported by this server yet" },
		{ QUEUE, "{}", 10084, NULL },
		{ QUEUE, "{\"ack_policy\":\"all\"}", 10098, NULL },
		{ QUEUE, "{\"ack_policy\":\"explicit\",\"deliver_policy\":\"new\"}", 10101, NULL },
		{ QUEUE, "{\"ack_policy\":\"explicit\",\"deliver_policy\":\"new\",\"filter_subject\":\"c\"}", 10093,
			NULL },
		{ QUEUE, "{\"filter_subject\":\"c\"}", 10084, NULL },
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct stream_config s = stream_of(cases[i].stream);
		struct consumer_config c;
		struct js_error e = { 0 };
		if (take(&c, cases[i].config, &s, &e)) fail_msg("accepted: %s", cases[i].config);
		if (js_error_code(e.id) != cases[i].code || (cases[i].text && strcmp(e.text, cases[i].text) != 0))
			fail_msg("%s: %u %s", cases[i].config, js_error_code(e.id), e.text);
		stream_config_deinit(&s);
	}
}

static void printed(const char *config, const char *want)
{
	struct stream_config s = stream_of(LIMITS);
	struct consumer_config c, again;
	struct js_error e = { 0 };
	struct buf b = { 0 };
	if (!take(&c, config, &s, &e)) fail_msg("%s: %s", config, e.text);
	consumer_config_print(&b, &c);
	assert_string_equal(buf_str(&b), want);
	assert_true(consumer_config_parse_stored(&again, buf_slice(&b)));
	assert_true(consumer_config_equal(&c, &again));
	consumer_config_deinit(&again);
	consumer_config_copy(&again, &c);
	assert_true(consumer_config_equal(&c, &again));
	consumer_config_deinit(&again);
	consumer_config_deinit(&c);
	stream_config_deinit(&s);
	buf_deinit(&b);
}

static void defaults_and_round_trip(void **state)
{
	(void)state;
	printed("{\"durable_name\":\"d\",\"ack_policy\":\"explicit\"}",
		"{\"durable_name\":\"d\",\"deliver_policy\":\"all\",\"ack_policy\":\"explicit\",\"ack_wait\":"
		"30000000000,"
		"\"max_deliver\":-1,\"replay_policy\":\"instant\",\"max_waiting\":512,\"max_ack_pending\":1000,\"num_"
		"replicas\":0}");
	printed("{}",
		"{\"deliver_policy\":\"all\",\"ack_policy\":\"none\",\"max_deliver\":-1,\"replay_policy\":\"instant\","
		"\"max_waiting\":512,\"inactive_threshold\":5000000000,\"num_replicas\":0}");
	printed("{\"durable_name\":\"d\",\"ack_policy\":\"all\",\"backoff\":[300000000,700000000],\"max_deliver\":3,"
		"\"filter_subjects\":[\"a.1\",\"b.x\"],\"deliver_policy\":\"by_start_time\",\"opt_start_time\":\"2024-"
		"01-01T00:00:00.5Z\","
		"\"metadata\":{\"k\":\"v\"}}",
		"{\"durable_name\":\"d\",\"deliver_policy\":\"by_start_time\",\"opt_start_time\":\"2024-01-01T00:00:00."
		"5Z\","
		"\"ack_policy\":\"all\",\"ack_wait\":300000000,\"max_deliver\":3,\"backoff\":[300000000,700000000],"
		"\"filter_subjects\":[\"a.1\",\"b.x\"],\"replay_policy\":\"instant\",\"max_waiting\":512,\"max_ack_"
		"pending\":1000,"
		"\"num_replicas\":0,\"metadata\":{\"k\":\"v\"}}");
}

/* What clients always send, and what the original has no name for. */
static void what_asks_for_nothing(void **state)
{
	(void)state;
	printed("{\"durable_name\":\"d\",\"pause_until\":\"0001-01-01T00:00:00Z\",\"priority_policy\":\"none\","
		"\"deliver_subject\":\"\","
		"\"priority_groups\":[],\"flow_control\":false,\"rate_limit_bps\":0,\"rate_limit\":5,\"deliver_"
		"policy\":\"by_start_time\","
		"\"opt_start_time\":\"1970-01-01T00:00:00Z\"}",
		"{\"durable_name\":\"d\",\"deliver_policy\":\"by_start_time\",\"opt_start_time\":\"1970-01-01T00:00:00."
		"000000001Z\","
		"\"ack_policy\":\"none\",\"max_deliver\":-1,\"replay_policy\":\"instant\",\"max_waiting\":512,\"num_"
		"replicas\":0}");
}

static void updates(void **state)
{
	static const struct {
		const char *now, *next, *text; /* NULL: may be */
	} cases[] = {
		{ "{\"ack_policy\":\"explicit\"}",
			"{\"ack_policy\":\"explicit\",\"ack_wait\":5000000000,\"max_deliver\":3,\"filter_subject\":\"a."
			"1\","
			"\"description\":\"x\",\"max_ack_pending\":7}",
			NULL },
		{ "{\"ack_policy\":\"explicit\"}", "{\"ack_policy\":\"all\"}", "ack policy can not be updated" },
		{ "{\"deliver_policy\":\"all\"}", "{\"deliver_policy\":\"new\"}", "deliver policy can not be updated" },
		{ "{\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":1}",
			"{\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":2}",
			"start sequence can not be updated" },
		{ "{\"replay_policy\":\"instant\"}", "{\"replay_policy\":\"original\"}",
			"replay policy can not be updated" },
		{ "{\"max_waiting\":1}", "{\"max_waiting\":2}", "max waiting can not be updated" },
	};
	struct stream_config s = stream_of(LIMITS);
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct consumer_config now, next;
		struct js_error e = { 0 };
		assert_true(take(&now, cases[i].now, &s, &e));
		assert_true(take(&next, cases[i].next, &s, &e));
		assert_int_equal(consumer_config_can_update(&now, &next, &e), cases[i].text == NULL);
		if (cases[i].text) assert_string_equal(e.text, cases[i].text);
		consumer_config_deinit(&now);
		consumer_config_deinit(&next);
	}
	stream_config_deinit(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused),
		cmocka_unit_test(defaults_and_round_trip),
		cmocka_unit_test(what_asks_for_nothing),
		cmocka_unit_test(updates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
