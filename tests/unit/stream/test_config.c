/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations as clients send them: defaults, what comes back, what is refused and with which words (spec §5.3, §9.1). */
#include "check.h"

#include "thebes/stream.h"

static void refused(void **state)
{
	static const struct {
		const char *json;
		unsigned code;
		const char *text;
	} cases[] = {
#define NAME_TEXT "stream name is required and can not contain '.', '*', '>', '\\', '/'"
		{ "", 10025, NULL },
		{ "[]", 10025, NULL },
		{ "{\"name\":1}", 10025, NULL },
		{ "{\"name\":\"a\",\"max_msgs\":\"1\"}", 10025, NULL },
		{ "{\"name\":\"a\",\"retention\":\"forever\"}", 10025, NULL },
		{ "{\"name\":\"a\",\"subjects\":[1]}", 10025, NULL },
		{ "{\"name\":\"a\\u0000b\"}", 10025, NULL },
		{ "{}", 10052, NAME_TEXT },
		{ "{\"name\":\"a.b\"}", 10052, NAME_TEXT },
		{ "{\"name\":\"a b\"}", 10052, NAME_TEXT },
		{ "{\"name\":\"a/b\"}", 10128, "Stream name can not contain path separators" },
		{ "{\"name\":\"a\\\\b\"}", 10128, "Stream name can not contain path separators" },
		{ "{\"name\":\"a\",\"subjects\":[\"a..b\"]}", 10052, "invalid subject" },
		{ "{\"name\":\"a\",\"subjects\":[\"x\",\"x\"]}", 10052, "duplicate subjects detected" },
		{ "{\"name\":\"a\",\"subjects\":[\"x.*\",\"x.y\"]}", 10052, "subject \"x.*\" overlaps with \"x.y\"" },
		{ "{\"name\":\"a\",\"subjects\":[\">\"]}", 10052, "capturing all subjects requires no-ack to be true" },
		{ "{\"name\":\"a\",\"subjects\":[\"$JS.API.>\"]}", 10052,
			"subjects that overlap with jetstream api require no-ack to be true" },
		{ "{\"name\":\"a\",\"subjects\":[\"$SYS.>\"]}", 10052,
			"subjects that overlap with system api require no-ack to be true" },
		{ "{\"name\":\"a\",\"num_replicas\":-1}", 10133, "replicas count cannot be negative" },
		{ "{\"name\":\"a\",\"num_replicas\":6}", 10052, "maximum replicas is 5" },
		{ "{\"name\":\"a\",\"max_age\":-1}", 10052, "max age can not be negative" },
		{ "{\"name\":\"a\",\"max_age\":1}", 10052, "max age needs to be >= 100ms" },
		{ "{\"name\":\"a\",\"max_age\":1000000000,\"duplicate_window\":2000000000}", 10052,
			"duplicates window can not be larger then max age" },
		{ "{\"name\":\"a\",\"duplicate_window\":1}", 10052, "duplicates window needs to be >= 100ms" },
		{ "{\"name\":\"a\",\"allow_rollup_hdrs\":true,\"deny_purge\":true}", 10052,
			"roll-ups require the purge permission" },
		{ "{\"name\":\"a\",\"discard_new_per_subject\":true}", 10052,
			"discard new per subject requires discard new policy to be set" },
		{ "{\"name\":\"a\",\"discard\":\"new\",\"discard_new_per_subject\":true}", 10052,
			"discard new per subject requires max msgs per subject > 0" },
		{ "{\"name\":\"a\",\"mirror\":{\"name\":\"b\"}}", 10052, "mirror is not supported by this server" },
		{ "{\"name\":\"a\",\"sources\":[{\"name\":\"b\"}]}", 10052, "sources is not supported by this server" },
		{ "{\"name\":\"a\",\"allow_msg_ttl\":true}", 10052, "allow_msg_ttl is not supported by this server" },
		{ "{\"name\":\"a\",\"compression\":\"s2\"}", 10052, "compression is not supported by this server" },
		{ "{\"name\":\"a\",\"first_seq\":7}", 10052, "first_seq is not supported by this server" },
		{ "{\"name\":\"a\",\"consumer_limits\":{\"max_ack_pending\":5}}", 10052,
			"consumer_limits is not supported by this server" },
		{ "{\"name\":\"a\",\"persist_mode\":\"async\"}", 10052,
			"persist_mode is not supported by this server" },
		{ "{\"name\":\"a\",\"pedantic\":true}", 10052, "pedantic is not supported by this server" },
		{ "{\"name\":\"a\",\"mirror_direct\":true}", 10052,
			"stream has no mirror but does have mirror direct" },
		{ "{\"name\":\"a\",\"placement\":\"x\"}", 10025, NULL },
		{ "{\"name\":\"a\",\"placement\":{\"cluster\":5}}", 10025, NULL },
		{ "{\"name\":\"a\",\"placement\":{\"tags\":\"x\"}}", 10025, NULL },
		{ "{\"name\":\"a\",\"placement\":{\"tags\":[5]}}", 10025, NULL },
		{ "{\"name\":\"a\",\"max_msg_size\":2147483648}", 10025, NULL },
		{ "{\"name\":\"a\",\"max_msg_size\":-2147483649}", 10025, NULL },
		{ "{\"name\":\"a\",\"num_replicas\":5000000000}", 10052, "maximum replicas is 5" },
		{ "{\"name\":\"a\",\"num_replicas\":-5000000000}", 10133, NULL },
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct stream_config c;
		struct js_error e = { 0 };
		if (stream_config_parse(&c, slice_of_str(cases[i].json), &e)) fail_msg("accepted: %s", cases[i].json);
		if (js_error_code(e.id) != cases[i].code || (cases[i].text && strcmp(e.text, cases[i].text) != 0))
			fail_msg("%s: %u %s", cases[i].json, js_error_code(e.id), e.text);
	}
}

static void long_names_and_texts(void **state)
{
	struct buf json = { 0 };
	struct stream_config c;
	struct js_error e;
	(void)state;
	buf_printf(&json, "{\"name\":\"%0255d\"}", 0);
	assert_true(stream_config_parse(&c, buf_slice(&json), &e));
	stream_config_deinit(&c);
	buf_clear(&json);
	buf_printf(&json, "{\"name\":\"%0256d\"}", 0);
	assert_false(stream_config_parse(&c, buf_slice(&json), &e));
	assert_string_equal(e.text, "stream name is too long, maximum allowed is 255");
	buf_clear(&json);
	buf_printf(&json, "{\"name\":\"a\",\"description\":\"%04097d\"}", 0);
	assert_false(stream_config_parse(&c, buf_slice(&json), &e));
	assert_string_equal(e.text, "stream description is too long, maximum allowed is 4096");
	buf_deinit(&json);
}

static void printed(const char *json, const char *want)
{
	struct stream_config c, again;
	struct js_error e;
	struct buf b = { 0 };
	if (!stream_config_parse(&c, slice_of_str(json), &e)) fail_msg("%s: %s", json, e.text);
	stream_config_print(&b, &c);
	assert_string_equal(buf_str(&b), want);
	assert_true(stream_config_parse(&again, buf_slice(&b), &e)); /* what it says it understands */
	assert_true(stream_config_equal(&c, &again));
	stream_config_deinit(&again);
	stream_config_copy(&again, &c);
	assert_true(stream_config_equal(&c, &again));
	stream_config_deinit(&again);
	stream_config_deinit(&c);
	buf_deinit(&b);
}

static void defaults_and_round_trip(void **state)
{
	(void)state;
	printed("{\"name\":\"S\"}", "{\"name\":\"S\",\"subjects\":[\"S\"],\"retention\":\"limits\",\"max_consumers\":-"
				    "1,\"max_msgs\":-1,\"max_bytes\":-1,"
				    "\"max_age\":0,\"max_msgs_per_subject\":-1,\"max_msg_size\":-1,\"discard\":\"old\","
				    "\"storage\":\"file\","
				    "\"num_replicas\":1,\"duplicate_window\":120000000000,\"sealed\":false,\"deny_"
				    "delete\":false,\"deny_purge\":false,"
				    "\"allow_rollup_hdrs\":false,\"allow_direct\":false,\"mirror_direct\":false}");
	printed("{\"name\":\"S\",\"subjects\":[\"a.*\",\"b.>\"],\"retention\":\"workqueue\",\"max_age\":60000000000,"
		"\"storage\":\"memory\","
		"\"discard\":\"new\",\"max_msgs\":-5,\"metadata\":{\"z\":\"1\",\"a\":\"\\u00e9\"},\"description\":\"d "
		"\\\"q\\\"\","
		"\"compression\":\"none\",\"first_seq\":0,\"consumer_limits\":{},\"persist_mode\":\"default\","
		"\"unknown\":{}}",
		"{\"name\":\"S\",\"description\":\"d "
		"\\\"q\\\"\",\"subjects\":[\"a.*\",\"b.>\"],\"retention\":\"workqueue\","
		"\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":60000000000,\"max_msgs_per_"
		"subject\":-1,"
		"\"max_msg_size\":-1,\"discard\":\"new\",\"storage\":\"memory\",\"num_replicas\":1,\"duplicate_"
		"window\":60000000000,"
		"\"sealed\":false,\"deny_delete\":false,\"deny_purge\":false,\"allow_rollup_hdrs\":false,\"allow_"
		"direct\":false,"
		"\"metadata\":{\"a\":\"\u00e9\",\"z\":\"1\"},\"mirror_direct\":false}");
}

static void placement_is_kept(void **state)
{
	static const char *const cases[][2] = {
		{ "{\"cluster\":\"C\"}", "{\"cluster\":\"C\"}" },
		{ "{\"tags\":[\"b\",\"a\"],\"cluster\":\"C\",\"other\":1}",
			"{\"cluster\":\"C\",\"tags\":[\"b\",\"a\"]}" },
		{ "{\"tags\":[\"\"],\"cluster\":\"\"}", "{\"tags\":[\"\"]}" },
		{ "{\"tags\":[],\"cluster\":null}", "{}" },
		{ "{}", "{}" },
		{ "null", NULL },
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf json = { 0 }, want = { 0 };
		buf_printf(&json, "{\"name\":\"S\",\"placement\":%s}", cases[i][0]);
		struct stream_config c;
		struct js_error e;
		assert_true(stream_config_parse(&c, buf_slice(&json), &e));
		stream_config_print(&want, &c);
		if (cases[i][1])
			assert_string_equal(c.placement, cases[i][1]);
		else
			assert_null(c.placement);
		printed(buf_str(&json), buf_str(&want));
		assert_int_equal(strstr(buf_str(&want), "\"placement\":") != NULL, cases[i][1] != NULL);
		stream_config_deinit(&c);
		buf_deinit(&json);
		buf_deinit(&want);
	}
}

static void updates(void **state)
{
	static const struct {
		const char *now, *next, *text; /* NULL: may be */
	} cases[] = {
		{ "\"max_msgs\":1", "\"max_msgs\":5,\"max_bytes\":7,\"discard\":\"new\"", NULL },
		{ "\"sealed\":false", "\"sealed\":true", NULL },
		{ "\"storage\":\"file\"", "\"storage\":\"memory\",\"max_consumers\":2",
			"stream configuration update can not change MaxConsumers" },
		{ "\"storage\":\"file\"", "\"storage\":\"memory\"",
			"stream configuration update can not change storage type" },
		{ "\"retention\":\"limits\"", "\"retention\":\"workqueue\"",
			"stream configuration update can not change retention policy to/from workqueue" },
		{ "\"deny_delete\":true", "\"deny_delete\":false",
			"stream configuration update can not cancel deny message deletes" },
		{ "\"deny_purge\":true", "\"deny_purge\":false",
			"stream configuration update can not cancel deny purge" },
		{ "\"sealed\":true", "\"deny_purge\":true,\"deny_delete\":true",
			"stream configuration update can not unseal a sealed stream" },
		{ "\"max_consumers\":1", "\"max_consumers\":2",
			"stream configuration update can not change MaxConsumers" },
		{ "\"placement\":{}", "\"placement\":{\"cluster\":\"D\"}", NULL },
		{ "\"max_msgs\":1", "\"template_owner\":\"t\"",
			"stream configuration update can not be owned by a template" },
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct stream_config now, next;
		struct js_error e = { 0 };
		struct buf a = { 0 }, b = { 0 };
		buf_printf(&a, "{\"name\":\"S\",%s}", cases[i].now);
		buf_printf(&b, "{\"name\":\"S\",%s}", cases[i].next);
		assert_true(stream_config_parse(&now, buf_slice(&a), &e));
		assert_true(stream_config_parse(&next, buf_slice(&b), &e));
		assert_int_equal(stream_config_can_update(&now, &next, &e), cases[i].text == NULL);
		if (cases[i].text) assert_string_equal(e.text, cases[i].text);
		stream_config_deinit(&now);
		stream_config_deinit(&next);
		buf_deinit(&a);
		buf_deinit(&b);
	}
}

static void weights(void **state)
{
	struct stream_config file = { .storage = STREAM_FILE }, memory = { .storage = STREAM_MEMORY };
	(void)state;
	assert_int_equal(stream_msg_bytes(&file, 3, 0, 3), 36); /* as measured on the original (spec §9.2) */
	assert_int_equal(stream_msg_bytes(&file, 3, 20, 3), 60);
	assert_int_equal(stream_msg_bytes(&memory, 3, 20, 3), 42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused),
		cmocka_unit_test(long_names_and_texts),
		cmocka_unit_test(defaults_and_round_trip),
		cmocka_unit_test(placement_is_kept),
		cmocka_unit_test(updates),
		cmocka_unit_test(weights),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
