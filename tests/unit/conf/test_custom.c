/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

static void listen_takes_a_port_or_host_and_port(void **state)
{
	(void)state;
	static const struct {
		const char *text, *host;
		uint16_t port;
	} cases[] = {
		{ "listen: 4333", "0.0.0.0", 4333 },
		{ "listen: -1", "0.0.0.0", 0 },
		{ "listen: 0", "0.0.0.0", 4222 },
		{ "listen: \":4333\"", "0.0.0.0", 4333 },
		{ "listen: \":-1\"", "0.0.0.0", 0 },
		{ "listen: localhost:4333", "localhost", 4333 },
		{ "listen: 127.0.0.1:-1", "127.0.0.1", 0 },
		{ "listen: \"[::1]:4333\"", "::1", 4333 },
		{ "listen: \"[::]:0\"", "::", 4222 },
		{ "port: 1\nlisten: h:2", "h", 2 },
		{ "listen: h:2\nport: 1", "h", 1 },
		{ "listen: h:2\nhost: i", "i", 2 },
		{ "host: \"\"", "0.0.0.0", 4222 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf c = load_fine(cases[i].text);
		assert_string_equal(c.client.host, cases[i].host);
		assert_int_equal(c.client.port, cases[i].port);
		conf_deinit(&c);
	}
}

static void monitoring_listens_where_it_is_told(void **state)
{
	(void)state;
	static const struct {
		const char *text, *host;
		uint16_t port;
	} cases[] = {
		{ "http: 8222", "0.0.0.0", 8222 },
		{ "http_port: 8222", "0.0.0.0", 8222 },
		{ "monitor_port: -1", "0.0.0.0", 0 },
		{ "http: \"127.0.0.1:-1\"", "127.0.0.1", 0 },
		{ "http: \":8222\"\nhost: h", "h", 8222 },
		{ "host: h\nhttp: 8222", "h", 8222 },
		{ "http: x:1\nhttp_port: 2", "x", 2 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf c = load_fine(cases[i].text);
		assert_true(c.http.is_on);
		assert_string_equal(c.http.host, cases[i].host);
		assert_int_equal(c.http.port, cases[i].port);
		conf_deinit(&c);
	}
}

static void metadata_is_pairs_of_strings(void **state)
{
	(void)state;
	struct conf c = load_fine("server_metadata { Rack: r1, 'a b': \"x y\" }");
	assert_int_equal(c.server_metadata_count, 2);
	assert_string_equal(c.server_metadata[0].key, "Rack");
	assert_string_equal(c.server_metadata[0].value, "r1");
	assert_string_equal(c.server_metadata[1].key, "a b");
	assert_string_equal(c.server_metadata[1].value, "x y");
	conf_deinit(&c);
}

static void jetstream_is_switched_in_many_ways(void **state)
{
	(void)state;
	static const struct {
		const char *text, *store_dir;
		bool enabled;
	} cases[] = {
		{ "jetstream: true", "thebes-data", true },
		{ "jetstream: enabled", "thebes-data", true },
		{ "jetstream: ENABLED", "thebes-data", true },
		{ "jetstream: on", "thebes-data", true },
		{ "jetstream {}", "thebes-data", true },
		{ "jetstream: {}", "thebes-data", true },
		{ "jetstream { enabled: false }", "thebes-data", false },
		{ "jetstream { enable: true, store: /a }", "/a", true },
		{ "jetstream { store_dir: \"/a b\" }", "/a b", true },
		{ "store_dir: /a\njetstream {}", "/a", true },
		{ "jetstream {}\nstoredir: /a", "/a", true },
		{ "store_dir: /a\nstore_dir: /b", "/b", false },
		{ "jetstream: false", "thebes-data", false },
		{ "jetstream: disabled", "thebes-data", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf c = load_fine(cases[i].text);
		assert_int_equal(c.jetstream.enabled, cases[i].enabled);
		assert_int_equal(c.accounts[0].jetstream.enabled, cases[i].enabled);
		assert_string_equal(c.jetstream.store_dir, cases[i].store_dir);
		conf_deinit(&c);
	}
}

/* What nats-server's files say about syncing is understood. Nothing of it weakens the promise. */
static void syncing_is_understood(void **state)
{
	(void)state;
	static const char *const cases[] = { "jetstream { sync_interval: always }",
		"jetstream { sync_interval: \"2m\" }", "jetstream { sync_interval: 120 }",
		"jetstream { sync: \"10s\" }", "jetstream { sync: Always }" };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct conf c = load_fine(cases[i]);
		assert_true(c.jetstream.enabled);
		conf_deinit(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listen_takes_a_port_or_host_and_port),
		cmocka_unit_test(monitoring_listens_where_it_is_told),
		cmocka_unit_test(metadata_is_pairs_of_strings),
		cmocka_unit_test(jetstream_is_switched_in_many_ways),
		cmocka_unit_test(syncing_is_understood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
