/* SPDX-License-Identifier: Apache-2.0 */
/* Names of stations and what streams they become (spec memphis §2). */
#include "check.h"

#include "thebes/station.h"

static void which_names_may_be(void **state)
{
	static const char *const good[] = { "a", "A1", "orders.eu", "a_b-c.d", "0" };
	static const char *const bad[] = { "", ".a", "a.", "-a", "a_", "a b", "a$1", "a#b", "a>b", "\xc3\xa9" };
	char edge[STATION_NAME_MAX + 2];
	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) assert_null(station_name_problem(slice_of_str(good[i])));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (!station_name_problem(slice_of_str(bad[i]))) fail_msg("accepted: %s", bad[i]);
	memset(edge, 'a', sizeof edge);
	assert_null(station_name_problem(slice_of(edge, STATION_NAME_MAX)));
	assert_non_null(station_name_problem(slice_of(edge, STATION_NAME_MAX + 1)));
}

static void there_and_back(void **state)
{
	static const struct {
		const char *external, *stream, *back;
		unsigned partition;
	} cases[] = {
		{ "Orders.EU", "orders#eu$1", "orders.eu", 1 },
		{ "a", "a$10000", "a", 10000 },
		{ "a.b.c", "a#b#c", "a.b.c", 0 },
	};
	struct buf b = { 0 };
	unsigned partition;
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		station_name_internal(&b, slice_of_str(cases[i].external), cases[i].partition);
		CHECK_BUF(&b, cases[i].stream);
		station_name_external(&b, slice_of_str(cases[i].stream), &partition);
		CHECK_BUF(&b, cases[i].back);
		assert_int_equal(partition, cases[i].partition);
	}
	/* streams of the JetStream API are stations too; what only looks like a partition is none */
	static const char *const plain[] = { "ORDERS", "a$", "a$0", "a$x", "a$10001", "$1" };
	for (size_t i = 0; i < COUNT_OF(plain); i++) {
		station_name_external(&b, slice_of_str(plain[i]), &partition);
		CHECK_BUF(&b, plain[i]);
		assert_int_equal(partition, 0);
	}
	buf_deinit(&b);
}

static void configurations(void **state)
{
	struct slice more[] = { SLICE("in.*") };
	struct station_options o = { .name = SLICE("Orders.EU"), .partition = 1, .subjects = more, .subject_count = 1 };
	struct stream_config c;
	struct js_error e;
	(void)state;
	assert_true(station_config(&c, &o, &e));
	assert_string_equal(c.name, "orders#eu$1");
	assert_int_equal(c.subject_count, 2);
	assert_string_equal(c.subjects[0], "orders#eu$1.>");
	assert_string_equal(c.subjects[1], "in.*");
	assert_int_equal(c.max_age_ns, (int64_t)SECONDS(3600));
	assert_int_equal(c.duplicate_window_ns, (int64_t)SECONDS(120));
	stream_config_deinit(&c);
	o.retention_value = 60; /* shorter than the window: the window gives way */
	assert_true(station_config(&c, &o, &e));
	assert_int_equal(c.max_age_ns, (int64_t)SECONDS(60));
	assert_int_equal(c.duplicate_window_ns, (int64_t)SECONDS(60));
	stream_config_deinit(&c);
	o.retention_value = INT64_MAX; /* as long as can be said */
	assert_true(station_config(&c, &o, &e));
	assert_true(c.max_age_ns > (int64_t)SECONDS(1000000000));
	stream_config_deinit(&c);
	o.retention = STATION_ACK_BASED;
	assert_true(station_config(&c, &o, &e));
	assert_int_equal(c.retention, STREAM_INTEREST);
	stream_config_deinit(&c);
	o.retention = STATION_MESSAGES;
	o.retention_value = 5;
	assert_true(station_config(&c, &o, &e));
	assert_int_equal(c.max_msgs, 5);
	stream_config_deinit(&c);
	o.partition = STATION_PARTITIONS_MAX + 1;
	assert_false(station_config(&c, &o, &e));
	o.partition = 1;
	o.name = SLICE("a b");
	assert_false(station_config(&c, &o, &e));
	o.name = SLICE("a");
	o.idempotency_window_ms = 86400001;
	assert_false(station_config(&c, &o, &e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(which_names_may_be),
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(configurations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
