/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "thebes/wire.h"

/* Members and order of a capture of nats-server 2.9.10 (spec §9.7). */
static void encoding(void **state)
{
	(void)state;
	struct wire_info i = {
		.server_id = SLICE("NB7"),
		.server_name = SLICE("n1"),
		.version = SLICE("2.9.10"),
		.go = SLICE("go1.19.8"),
		.proto = 1,
		.host = SLICE("127.0.0.1"),
		.port = 14999,
		.headers = true,
		.max_payload = 1048576,
		.client_id = 4,
		.client_ip = SLICE("127.0.0.1"),
	};
	struct buf b = { 0 };
	wire_info_append(&b, &i);
	CHECK_BUF(&b,
		"INFO "
		"{\"server_id\":\"NB7\",\"server_name\":\"n1\",\"version\":\"2.9.10\",\"proto\":1,\"go\":\"go1.19.8\","
		"\"host\":\"127.0.0.1\",\"port\":14999,\"headers\":true,\"max_payload\":1048576,\"client_id\":4,"
		"\"client_ip\":\"127.0.0.1\"} \r\n");
	struct slice urls[] = { SLICE("a:1"), SLICE("b:2") };
	i = (struct wire_info) { .auth_required = true,
		.jetstream = true,
		.connect_urls = urls,
		.connect_url_count = 2,
		.ldm = true,
		.thebes = SLICE("0.1.0") };
	wire_info_append(&b, &i);
	CHECK_BUF(&b, "INFO "
		      "{\"server_id\":\"\",\"server_name\":\"\",\"version\":\"\",\"proto\":0,\"go\":\"\",\"host\":\"\","
		      "\"port\":0,"
		      "\"headers\":false,\"auth_required\":true,\"max_payload\":0,\"jetstream\":true,\"connect_urls\":["
		      "\"a:1\",\"b:2\"],"
		      "\"ldm\":true,\"thebes\":\"0.1.0\"} \r\n");
	buf_deinit(&b);
}

static void decoding(void **state)
{
	(void)state;
	struct wire_info i;
	assert_int_equal(
		wire_info_parse(&i,
			SLICE("{\"server_id\":\"X\",\"max_payload\":5,\"client_id\":18,\"headers\":true,\"api_lvl\":2,"
			      "\"connect_urls\":[\"a:1\",\"\",\"b:22\"],\"nonce\":\"n\",\"ws_connect_urls\":[1]}")),
		OK);
	assert_true(slice_eq_str(i.server_id, "X") && slice_eq_str(i.nonce, "n") && i.headers);
	assert_true(i.max_payload == 5 && i.client_id == 18 && i.api_level == 2 && i.connect_url_count == 3);
	assert_true(slice_eq_str(i.connect_urls[0], "a:1") && i.connect_urls[1].n == 0 &&
		    slice_eq_str(i.connect_urls[2], "b:22"));
	wire_info_deinit(&i);

	assert_int_equal(wire_info_parse(&i, SLICE("{\"connect_urls\":[]}")), OK);
	assert_int_equal(i.connect_url_count, 0);
	wire_info_deinit(&i);

	static const char *const bad[] = { "", "{", "[]", "{\"client_id\":-1}", "{\"connect_urls\":[\"a\",1]}",
		"{\"connect_urls\":\"a\"}", "{\"port\":\"4222\"}" };
	for (size_t k = 0; k < COUNT_OF(bad); k++) {
		assert_int_equal(wire_info_parse(&i, slice_of_str(bad[k])), ERR_PARSE);
		assert_null(i.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(encoding), cmocka_unit_test(decoding) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
