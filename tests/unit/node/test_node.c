/* SPDX-License-Identifier: Apache-2.0 */
/* A node over virtual time, without a store: how it goes as a lame duck, how it stops, what it takes over of a new configuration, where its
 * lines go. */
#include "check.h"
#include "sim/sim.h"
#include "thebes/node.h"

enum { PORT = 4222, PEERS = 24 };

struct bed {
	struct sim *sim;
	struct sim_node *machine;
	struct node_host host;
	struct node node;
	struct conf_report report;
	const char *text; /* the configuration file */
	struct sim_client *peer[PEERS];
	struct buf printed, system;
	bool is_stopped;
	int exit_code;
	unsigned reads; /* of the configuration */
	unsigned given; /* times that memory was given back */
};

/* ---- what the process lends ---- */

static void host_print(void *arg, const char *p, size_t n) { buf_append(&((struct bed *)arg)->printed, p, n); }

static void host_syslog(void *arg, enum diag_level level, const char *line, size_t n)
{
	struct bed *b = arg;
	buf_printf(&b->system, "%d %.*s\n", (int)level, (int)n, line);
}

static void host_give_back(void *arg) { ((struct bed *)arg)->given++; }

static void host_stopped(void *arg, int exit_code)
{
	struct bed *b = arg;
	b->is_stopped = true;
	b->exit_code = exit_code;
	sim_node_crash(b->machine, SIM_KILL);
}

static enum err read_text(void *arg, const char *path, struct buf *out)
{
	struct bed *b = arg;
	(void)path;
	b->reads++;
	buf_append_str(out, b->text);
	return OK;
}

/* ---- the program ---- */

static void program_teardown(void *software)
{
	struct bed *b = software;
	if (!b->is_stopped) return;
	node_deinit(&b->node);
	conf_report_deinit(&b->report);
}

static enum err program_start(void *arg, struct sim_node *m, struct io *io, void **software)
{
	struct bed *b = arg;
	struct conf conf = { 0 };
	struct conf_source source = { .read_file = read_text, .arg = b };
	(void)m;
	*software = b;
	/* A reload reads the file from the disk. */
	struct io_file *f;
	struct slice text = slice_of_str(b->text);
	assert_int_equal(io_file_open(io, "node.conf", IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_TRUNCATE, &f), OK);
	assert_int_equal(io_file_write(f, 0, &text, 1), OK);
	io_file_close(f);
	assert_int_equal(conf_load(&conf, "node.conf", NULL, &source, &b->report), OK);
	assert_int_equal(node_start(&b->node, io, &b->host, NULL, &conf, &b->report), OK);
	return OK;
}

static const struct sim_program program = { program_start, program_teardown };

static bool is_serving(void *arg)
{
	const struct bed *b = arg;
	return sim_node_state(b->machine) == SIM_UP && b->node.state == NODE_SERVING;
}
static bool is_stopped(void *arg) { return ((struct bed *)arg)->is_stopped; }

static void boot(struct bed *b, const char *text)
{
	b->text = text;
	sim_node_boot(b->machine, &program, b);
	assert_true(sim_run_until(b->sim, is_serving, b, SECONDS(5)));
}

static int setup(void **state)
{
	struct bed *b = NEW(struct bed);
	b->sim = sim_new(23);
	b->machine = sim_node_new(b->sim);
	b->host = (struct node_host) { .pid = 7,
		.program = "nats-server",
		.memory_bytes = GIB,
		.print = host_print,
		.syslog = host_syslog,
		.give_back = host_give_back,
		.stopped = host_stopped,
		.arg = b };
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;
	if (!b->is_stopped) {
		node_stop(&b->node, true);
		assert_true(sim_run_until(b->sim, is_stopped, b, SECONDS(10)));
	}
	for (int i = 0; i < PEERS; i++)
		if (b->peer[i]) sim_client_free(b->peer[i]);
	sim_free(b->sim);
	buf_deinit(&b->printed);
	buf_deinit(&b->system);
	mem_free(b);
	return 0;
}

/* ---- helpers ---- */

static bool buf_holds(const struct buf *b, const char *text)
{
	return b->n && memmem(b->p, b->n, text, strlen(text)) != NULL;
}

static bool has_ended(const struct bed *b, int peer)
{
	enum err e = sim_client_status(b->peer[peer]);
	return e != OK && e != ERR_AGAIN;
}

static unsigned open_count(const struct bed *b)
{
	unsigned count = 0;
	for (int i = 0; i < PEERS; i++) count += b->peer[i] && !has_ended(b, i);
	return count;
}

static bool heard(const struct bed *b, int peer, const char *text)
{
	struct slice got = sim_client_received(b->peer[peer]);
	return got.n && memmem(got.p, got.n, text, strlen(text)) != NULL;
}

static void join(struct bed *b, int count)
{
	for (int i = 0; i < count; i++) {
		b->peer[i] = sim_client_new(b->sim, sim_node_host(b->machine), PORT);
		sim_client_send(b->peer[i], SLICE("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n"));
	}
	sim_run_for(b->sim, MILLIS(500));
	for (int i = 0; i < count; i++) assert_true(heard(b, i, "PONG\r\n"));
}

/* ---- lame duck (spec §1.7) ---- */

static void a_lame_duck_sends_clients_away_one_by_one(void **state)
{
	struct bed *b = *state;
	boot(b, "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"10s\"\n");
	join(b, PEERS);
	uint64_t from = sim_now_ns(b->sim);
	node_lame_duck(&b->node);
	node_lame_duck(&b->node); /* once is enough */
	sim_run_for(b->sim, SECONDS(1));
	assert_true(buf_holds(&b->printed, "Entering lame duck mode, stop accepting new clients"));
	for (int i = 0; i < PEERS; i++) assert_true(heard(b, i, "\"ldm\":true"));
	struct sim_client *late = sim_client_new(b->sim, sim_node_host(b->machine), PORT);
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(sim_client_status(late), ERR_REFUSED);
	sim_client_free(late);
	node_stop(&b->node, false); /* SIGTERM changes nothing */
	sim_run_for(b->sim, SECONDS(7));
	assert_int_equal(open_count(b), PEERS); /* the grace period */
	unsigned before = PEERS;
	while (!b->is_stopped) {
		sim_run_for(b->sim, SECONDS(1));
		unsigned now = open_count(b);
		assert_true(before - now <= 3); /* never a storm; 24 in 20 seconds, at most one second between two */
		before = now;
		assert_true(sim_now_ns(b->sim) - from < SECONDS(32));
	}
	assert_true(sim_now_ns(b->sim) - from > SECONDS(25));
	assert_int_equal(open_count(b), 0);
	assert_int_equal(b->exit_code, 0);
}

static void a_lame_duck_with_few_clients_does_not_dawdle(void **state)
{
	struct bed *b = *state;
	boot(b, "lame_duck_duration: \"10m\"\nlame_duck_grace_period: \"1s\"\n");
	join(b, 3);
	uint64_t from = sim_now_ns(b->sim);
	node_lame_duck(&b->node);
	assert_true(sim_run_until(b->sim, is_stopped, b, SECONDS(20)));
	assert_true(sim_now_ns(b->sim) - from < SECONDS(6));
	assert_int_equal(b->exit_code, 0);
}

static void a_lame_duck_ends_when_all_have_gone(void **state)
{
	struct bed *b = *state;
	boot(b, "lame_duck_duration: \"10m\"\nlame_duck_grace_period: \"5m\"\n");
	join(b, 3);
	node_lame_duck(&b->node);
	sim_run_for(b->sim, SECONDS(1));
	assert_false(b->is_stopped);
	for (int i = 0; i < 3; i++) {
		sim_client_free(b->peer[i]);
		b->peer[i] = NULL;
	}
	assert_true(sim_run_until(b->sim, is_stopped, b, SECONDS(2)));
	assert_int_equal(b->exit_code, 0);
}

/* ---- the end ---- */

static void who_does_not_read_holds_up_the_end_for_a_moment_only(void **state)
{
	struct bed *b = *state;
	boot(b, "debug: false\n");
	join(b, 2);
	sim_client_send(b->peer[0], SLICE("SUB x 1\r\n"));
	sim_run_for(b->sim, MILLIS(100));
	sim_client_read(b->peer[0], false);
	struct buf much = { 0 };
	buf_printf(&much, "PUB x 1000000\r\n%01000000d\r\n", 0);
	sim_client_send(b->peer[1], buf_slice(&much));
	sim_run_for(b->sim, SECONDS(5));
	uint64_t from = sim_now_ns(b->sim);
	node_stop(&b->node, true);
	assert_true(sim_run_until(b->sim, is_stopped, b, SECONDS(10)));
	assert_in_range(sim_now_ns(b->sim) - from, MILLIS(1900), MILLIS(2200));
	assert_int_equal(b->exit_code, 0);
	buf_deinit(&much);
}

/* ---- lines ---- */

static void lines_go_to_the_system_log(void **state)
{
	struct bed *b = *state;
	boot(b, "syslog: true\n");
	assert_int_equal(b->printed.n, 0);
	assert_true(buf_holds(&b->system, "Server is ready\n"));
	assert_false(buf_holds(&b->system, "[INF]")); /* time, pid and level are its own affair */
}

static void a_log_file_that_cannot_be_written_is_said_elsewhere(void **state)
{
	struct bed *b = *state;
	boot(b, "log_file: \"log\"\ndebug: true\n");
	size_t before = b->printed.n;
	sim_disk_fail(b->machine, SIM_CALL_WRITE, "log", 0, 1, ERR_FULL);
	join(b, 1);
	assert_true(b->printed.n > before);
	assert_true(buf_holds(&b->printed, "log file log could not be written"));
}

/* ---- memory ---- */

static void memory_is_given_back_when_a_busy_time_is_over(void **state)
{
	struct bed *b = *state;
	boot(b, "max_payload: 1000\n");
	join(b, 1);
	assert_int_equal(b->given, 0);
	sim_run_for(b->sim, SECONDS(2));
	assert_int_equal(b->given, 1); /* what starting left behind */
	sim_run_for(b->sim, SECONDS(60));
	assert_int_equal(b->given, 1);   /* idle: nothing came since */
	for (int i = 0; i < 4000; i++) { /* four busy seconds */
		sim_client_send(b->peer[0], SLICE("PING\r\n"));
		sim_run_for(b->sim, MILLIS(1));
	}
	assert_int_equal(b->given, 1);
	sim_run_for(b->sim, SECONDS(3));
	assert_int_equal(b->given, 2);
}

/* ---- reload ---- */

static void reloads_that_come_together_are_two(void **state)
{
	struct bed *b = *state;
	boot(b, "max_payload: 1000\n");
	for (int i = 0; i < 5; i++) node_reload(&b->node);
	sim_run_for(b->sim, SECONDS(1));
	unsigned said = 0;
	for (const char *at = buf_str(&b->printed); (at = strstr(at, "Reloaded server configuration")) != NULL; at++)
		said++;
	assert_int_equal(said, 2); /* the one under way, and one for all who asked meanwhile */
}

static void a_reload_under_way_does_not_outlive_the_node(void **state)
{
	struct bed *b = *state;
	boot(b, "max_payload: 1000\n");
	node_reload(&b->node);
	node_stop(&b->node, true);
	assert_true(sim_run_until(b->sim, is_stopped, b, SECONDS(5)));
	assert_false(buf_holds(&b->printed, "Reloaded"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_lame_duck_sends_clients_away_one_by_one, setup, teardown),
		cmocka_unit_test_setup_teardown(a_lame_duck_with_few_clients_does_not_dawdle, setup, teardown),
		cmocka_unit_test_setup_teardown(a_lame_duck_ends_when_all_have_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(who_does_not_read_holds_up_the_end_for_a_moment_only, setup, teardown),
		cmocka_unit_test_setup_teardown(lines_go_to_the_system_log, setup, teardown),
		cmocka_unit_test_setup_teardown(a_log_file_that_cannot_be_written_is_said_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_is_given_back_when_a_busy_time_is_over, setup, teardown),
		cmocka_unit_test_setup_teardown(reloads_that_come_together_are_two, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reload_under_way_does_not_outlive_the_node, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
