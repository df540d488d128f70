/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue: its rows as bytes, hostile ones too; who gets a name; ids that are never given out twice; the same catalogue after a start,
 * whether it is read from the log or from the state store. */
#include "check.h"

#include "meta.c"
#include "sim/mem_log.h"
#include "sim/sim.h"

/* ---- rows as bytes ---- */

static void encode_one(struct buf *b)
{
	row_encode(b, 7, -5, SLICE("$G"), SLICE("ORDERS"), SLICE("{\"name\":\"ORDERS\"}"));
}

static void rows_go_round(void **state)
{
	struct buf b = { 0 };
	struct meta_stream r;
	(void)state;
	encode_one(&b);
	assert_int_equal(row_decode(buf_slice(&b), &r), OK);
	assert_int_equal(r.group, 7);
	assert_int_equal(r.created_ns, -5);
	assert_true(slice_eq(r.account, SLICE("$G")));
	assert_true(slice_eq(r.name, SLICE("ORDERS")));
	assert_true(slice_eq(r.config, SLICE("{\"name\":\"ORDERS\"}")));
	buf_deinit(&b);
}

static void hostile_rows_are_refused(void **state)
{
	struct buf b = { 0 };
	struct meta_stream r;
	(void)state;
	encode_one(&b);
	for (size_t n = 0; n < b.n; n++) assert_int_equal(row_decode(slice_first(buf_slice(&b), n), &r), ERR_CORRUPT);
	buf_append_byte(&b, 0);
	assert_int_equal(row_decode(buf_slice(&b), &r), ERR_CORRUPT);
	b.n--;
	for (size_t at = 16; at < ROW_HEAD_BYTES; at++) { /* each byte of the three lengths */
		b.p[at] ^= 0xff;
		assert_int_equal(row_decode(buf_slice(&b), &r), ERR_CORRUPT);
		b.p[at] ^= 0xff;
	}
	buf_deinit(&b);
}

/* ---- a catalogue of one replica ---- */

struct bed {
	struct sim *sim;
	struct sim_node *n;
	struct io *io;
	struct mem_disk *disk;
	struct diag diag;
	struct log *log;
	struct raft_groups groups;
	struct io_turn_hook hook;
	struct meta *meta;
	struct buf heard; /* what ops were told */
	bool closed, led;
};

static void on_line(void *arg, enum diag_level level, const char *line, size_t n)
{
	(void)arg, (void)level, (void)line, (void)n;
}
static bool no_link(void *arg, uint64_t peer, const struct slice *parts, unsigned count, enum raft_lane lane)
{
	(void)arg, (void)peer, (void)parts, (void)count, (void)lane;
	return false;
}
static void turn_end(struct io_turn_hook *h) { log_turn_end(CONTAINER_OF(h, struct bed, hook)->log); }
static void on_fatal(void *arg, const char *why)
{
	(void)arg;
	fail_msg("%s", why);
}

static void tell(struct bed *b, char what, const struct meta_stream *row)
{
	buf_printf(&b->heard, "%c%llu ", what, (unsigned long long)row->group);
}
static void on_added(void *arg, const struct meta_stream *row) { tell(arg, '+', row); }
static void on_changed(void *arg, const struct meta_stream *row) { tell(arg, '~', row); }
static void on_removed(void *arg, const struct meta_stream *row) { tell(arg, '-', row); }
static void on_renewed(void *arg, const struct meta_stream *row, uint64_t old)
{
	tell(arg, '=', row);
	buf_printf(&((struct bed *)arg)->heard, "was%llu ", (unsigned long long)old);
}
static void on_led(void *arg, bool leading) { ((struct bed *)arg)->led = leading; }
static const struct meta_ops ops = { on_added, on_changed, on_removed, on_renewed, on_led };

static bool is_led(void *arg) { return meta_is_leader(((struct bed *)arg)->meta); }
static bool is_closed(void *arg) { return ((struct bed *)arg)->closed; }
static void on_closed(void *arg) { ((struct bed *)arg)->closed = true; }

static void start(struct bed *b)
{
	char why[200];
	struct log_options lo = { .dir = "store", .fatal = on_fatal, .fatal_arg = &b->disk };
	sim_node_boot(b->n, NULL, NULL);
	b->io = sim_node_io(b->n);
	diag_init(&b->diag, DIAG_FATAL, on_line, NULL);
	assert_int_equal(log_open(b->io, &b->diag, &lo, &b->log, why, sizeof why), OK);
	raft_groups_init(&b->groups, b->io, b->log, &b->diag, &(struct raft_options) { .self = 1 },
		&(struct raft_links) { .send = no_link });
	b->hook = (struct io_turn_hook) { .turn_end = turn_end };
	io_turn_hook_add(b->io, &b->hook);
	assert_int_equal(meta_open(&b->groups, b->io, &b->diag, 1, &ops, b, &b->meta), OK);
	log_turn_end(b->log); /* the test is not an event of the loop, which ends a turn by itself */
	assert_true(sim_run_until(b->sim, is_led, b, SECONDS(20)));
}

static void stop(struct bed *b)
{
	b->closed = false;
	meta_close(b->meta, on_closed, b);
	assert_true(sim_run_until(b->sim, is_closed, b, SECONDS(5)));
	meta_free(b->meta);
	b->closed = false;
	raft_groups_close(&b->groups, on_closed, b);
	assert_true(sim_run_until(b->sim, is_closed, b, SECONDS(5)));
	io_turn_hook_remove(b->io, &b->hook);
	sim_node_crash(b->n, SIM_KILL);
	raft_groups_deinit(&b->groups);
	log_free(b->log);
	diag_deinit(&b->diag);
}

static void open_bed(struct bed *b, uint64_t settle_every)
{
	*b = (struct bed) { .sim = sim_new(7) };
	b->n = sim_node_new(b->sim);
	b->disk = mem_disk_new(1, 7);
	mem_disk_settle_every(b->disk, settle_every);
	start(b);
}

static void close_bed(struct bed *b)
{
	stop(b);
	sim_free(b->sim);
	mem_disk_free(b->disk);
	buf_deinit(&b->heard);
}

/* ---- requests ---- */

struct ask {
	struct meta_req req;
	bool is_done;
};
static void done(struct meta_req *r) { CONTAINER_OF(r, struct ask, req)->is_done = true; }
static bool is_done(void *arg) { return ((struct ask *)arg)->is_done; }

static void begin(struct ask *a) { *a = (struct ask) { .req = { .done = done } }; }

static enum err finish(struct bed *b, struct ask *a)
{
	log_turn_end(b->log);
	assert_true(sim_run_until(b->sim, is_done, a, SECONDS(5)));
	return a->req.result;
}

static struct stream_config config_of(const char *name, const char *rest)
{
	struct stream_config c;
	struct js_error e;
	char json[200];
	int n = snprintf(json, sizeof json, "{\"name\":\"%s\"%s}", name, rest);
	if (!stream_config_parse(&c, slice_of(json, (size_t)n), &e)) fail_msg("%s: %s", json, e.text);
	return c;
}

static void create_begin(struct bed *b, struct ask *a, const char *account, const char *name)
{
	struct stream_config c = config_of(name, "");
	begin(a);
	meta_stream_create(b->meta, slice_of_str(account), &c, &a->req);
	assert_false(a->is_done); /* never from inside the call */
	stream_config_deinit(&c);
}

static enum err create(struct bed *b, const char *account, const char *name)
{
	struct ask a;
	create_begin(b, &a, account, name);
	return finish(b, &a);
}

static void update_begin(struct bed *b, struct ask *a, const char *name)
{
	struct stream_config c = config_of(name, ",\"max_msgs\":5");
	begin(a);
	meta_stream_update(b->meta, SLICE("$G"), &c, &a->req);
	stream_config_deinit(&c);
}

static void remove_begin(struct bed *b, struct ask *a, const char *name)
{
	begin(a);
	meta_stream_delete(b->meta, SLICE("$G"), slice_of_str(name), &a->req);
}

static enum err update(struct bed *b, const char *name)
{
	struct ask a;
	update_begin(b, &a, name);
	return finish(b, &a);
}

static enum err remove_one(struct bed *b, const char *name)
{
	struct ask a;
	remove_begin(b, &a, name);
	return finish(b, &a);
}

static enum err renew(struct bed *b, const char *name)
{
	struct ask a;
	begin(&a);
	meta_stream_renew(b->meta, SLICE("$G"), slice_of_str(name), &a.req);
	return finish(b, &a);
}

static bool print_row(void *arg, const struct meta_stream *row)
{
	buf_printf(
		arg, "%.*s/%.*s:%llu ", SLICE_FMT(row->account), SLICE_FMT(row->name), (unsigned long long)row->group);
	return true;
}

static void check_rows(const struct bed *b, const char *want)
{
	struct buf rows = { 0 };
	meta_each(b->meta, print_row, &rows);
	CHECK_BUF(&rows, want);
	buf_deinit(&rows);
}

/* ---- stories ---- */

static void names_belong_to_accounts(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, 1 << 30);
	assert_int_equal(create(&b, "$G", "B"), OK);
	assert_int_equal(create(&b, "$G", "A"), OK);
	assert_int_equal(create(&b, "X", "A"), OK);
	assert_int_equal(create(&b, "$G", "A"), ERR_EXISTS);
	check_rows(&b, "$G/A:3 $G/B:2 X/A:4 ");
	CHECK_BUF(&b.heard, "+2 +3 +4 ");
	assert_non_null(meta_find(b.meta, SLICE("X"), SLICE("A")));
	assert_null(meta_find(b.meta, SLICE("X"), SLICE("B")));
	assert_null(meta_find(b.meta, SLICE("$"), SLICE("GA"))); /* names and accounts do not run together */
	assert_int_equal(update(&b, "NONE"), ERR_NOT_FOUND);
	assert_int_equal(remove_one(&b, "NONE"), ERR_NOT_FOUND);
	assert_int_equal(renew(&b, "NONE"), ERR_NOT_FOUND);
	CHECK_BUF(&b.heard, "");
	close_bed(&b);
}

/* Who was first is decided when it is applied. */
static void races_have_one_winner(void **state)
{
	struct bed b;
	struct ask one, two, three;
	(void)state;
	open_bed(&b, 1 << 30);
	create_begin(&b, &one, "$G", "A");
	create_begin(&b, &two, "$G", "A");
	create_begin(&b, &three, "$G", "B");
	assert_int_equal(finish(&b, &one), OK);
	assert_int_equal(finish(&b, &two), ERR_EXISTS);
	assert_int_equal(finish(&b, &three), OK);
	check_rows(&b, "$G/A:2 $G/B:4 "); /* the id of the loser is not given out again */
	remove_begin(&b, &one, "A");
	update_begin(&b, &two, "A");
	remove_begin(&b, &three, "A");
	assert_int_equal(finish(&b, &one), OK);
	assert_int_equal(finish(&b, &two), ERR_NOT_FOUND);
	assert_int_equal(finish(&b, &three), ERR_NOT_FOUND);
	check_rows(&b, "$G/B:4 ");
	CHECK_BUF(&b.heard, "+2 +4 -2 ");
	close_bed(&b);
}

static void refusals_are_told(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, 1 << 30);
	assert_int_equal(create(&b, "$G", "A"), OK);
	mem_disk_admits(b.disk, ERR_NO_SPACE, OK, OK);
	assert_int_equal(create(&b, "$G", "B"), ERR_NO_SPACE);
	assert_int_equal(update(&b, "A"), ERR_NO_SPACE);
	assert_int_equal(remove_one(&b, "A"), OK); /* it frees */
	check_rows(&b, "");
	close_bed(&b);
}

/* The same after a start, from the log (nothing settles) or from the state store (everything does). */
static void a_start_finds_it_again(void **state)
{
	static const uint64_t settle_every[] = { 1 << 30, 512, 1 };
	(void)state;
	for (size_t i = 0; i < COUNT_OF(settle_every); i++) {
		struct bed b;
		char name[16];
		open_bed(&b, settle_every[i]);
		for (int k = 0; k < 20; k++) {
			(void)snprintf(name, sizeof name, "S%02d", k);
			assert_int_equal(create(&b, "$G", name), OK);
			if (k % 3 == 0) assert_int_equal(remove_one(&b, name), OK);
			if (k % 3 == 1) assert_int_equal(update(&b, name), OK);
			if (k % 5 == 2) assert_int_equal(renew(&b, name), k % 3 == 0 ? ERR_NOT_FOUND : OK);
		}
		uint64_t hash = meta_hash(b.meta), next = meta_next_group(b.meta);
		struct buf rows = { 0 };
		meta_each(b.meta, print_row, &rows);
		for (int starts = 0; starts < 3; starts++) {
			buf_clear(&b.heard);
			stop(&b);
			start(&b);
			assert_int_equal(meta_hash(b.meta), hash);
			assert_int_equal(meta_next_group(b.meta), next);
			check_rows(&b, buf_str(&rows));
			CHECK_BUF(&b.heard, ""); /* what is there is shown by meta_each, not told */
		}
		const struct meta_stream *row = meta_find(b.meta, SLICE("$G"), SLICE("S01"));
		assert_non_null(row);
		assert_non_null(memmem(row->config.p, row->config.n, "\"max_msgs\":5", 12));
		assert_int_equal(create(&b, "$G", "S00"), OK);
		assert_int_equal(meta_find(b.meta, SLICE("$G"), SLICE("S00"))->group, next); /* S18: never twice */
		buf_deinit(&rows);
		close_bed(&b);
	}
}

static void renewing_changes_the_group(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b, 1 << 30);
	assert_int_equal(create(&b, "$G", "A"), OK);
	assert_int_equal(renew(&b, "A"), OK);
	check_rows(&b, "$G/A:3 ");
	CHECK_BUF(&b.heard, "+2 =3 was2 ");
	assert_int_equal(create(&b, "$G", "B"), OK);
	check_rows(&b, "$G/A:3 $G/B:4 ");
	close_bed(&b);
}

/* ---- entries that no leader of ours has written ---- */

static bool apply(struct bed *b, uint8_t kind, struct slice payload)
{
	struct buf body = { 0 };
	batch_begin(&body);
	batch_add(&body, &(struct record) { .kind = kind, .payload = payload });
	batch_end(&body, 0);
	bool good = on_apply(b->meta, 99, 1, buf_slice(&body));
	buf_deinit(&body);
	return good;
}

static void hostile_entries_are_not_applied(void **state)
{
	struct bed b;
	struct buf row = { 0 };
	(void)state;
	open_bed(&b, 1 << 30);
	assert_int_equal(create(&b, "$G", "A"), OK);
	uint64_t hash = meta_hash(b.meta);
	encode_one(&row);
	assert_false(on_apply(b.meta, 99, 1, SLICE_NULL));
	assert_false(on_apply(b.meta, 99, 1, SLICE("no batch at all, but long enough for one")));
	assert_false(apply(&b, META_SET, SLICE("short")));
	assert_false(apply(&b, META_SET, slice_first(buf_slice(&row), row.n - 1)));
	assert_false(apply(&b, 0, buf_slice(&row)));
	assert_false(apply(&b, META_RENEW + 1, buf_slice(&row)));
	assert_int_equal(meta_hash(b.meta), hash);
	/* what can be read and makes no sense changes nothing: a group that is not the row's, an id that was given out */
	row.n = 0;
	row_encode(&row, 77, 0, SLICE("$G"), SLICE("A"), SLICE("{}"));
	assert_true(apply(&b, META_UPDATE, buf_slice(&row)));
	assert_true(apply(&b, META_DELETE, buf_slice(&row)));
	assert_true(apply(&b, META_RENEW, buf_slice(&row)));
	row.n = 0;
	row_encode(&row, 1, 0, SLICE("$G"), SLICE("B"), SLICE("{}"));
	assert_true(apply(&b, META_SET, buf_slice(&row)));
	check_rows(&b, "$G/A:2 ");
	CHECK_BUF(&b.heard, "+2 ");
	buf_deinit(&row);
	close_bed(&b);
}

static void hostile_state_is_refused(void **state)
{
	static const struct {
		struct slice key, value;
	} cases[] = {
		{ { (const uint8_t *)"h", 1 }, { (const uint8_t *)"", 0 } },
		{ { (const uint8_t *)"h", 1 },
			{ (const uint8_t *)"\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24 } }, /* version 2 */
		{ { (const uint8_t *)"g12345678", 9 }, { (const uint8_t *)"row", 3 } },
		{ { (const uint8_t *)"g1", 2 }, { (const uint8_t *)"", 0 } },
		{ { (const uint8_t *)"x", 1 }, { (const uint8_t *)"", 0 } },
	};
	struct bed b;
	struct buf row = { 0 };
	(void)state;
	open_bed(&b, 1 << 30);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct group_load l = { .seed = 1 };
		assert_int_equal(on_load(&l), OK);
		struct rows_load *r = l.loaded;
		assert_false(load_value(r, cases[i].key, cases[i].value));
		assert_int_equal(r->result, ERR_CORRUPT);
		on_drop(&l);
	}
	struct group_load l = { .seed = 1 };
	assert_int_equal(on_load(&l), OK);
	encode_one(&row);
	assert_true(load_value(l.loaded, SLICE("g\0\0\0\0\0\0\0\7"), buf_slice(&row)));
	assert_false(load_value(l.loaded, SLICE("g\0\0\0\0\0\0\0\x8"), buf_slice(&row))); /* one name twice */
	assert_int_equal(on_take(b.meta, &l), OK);
	on_drop(&l);
	assert_int_equal(meta_next_group(b.meta), 8);
	buf_deinit(&row);
	close_bed(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_go_round),
		cmocka_unit_test(hostile_rows_are_refused),
		cmocka_unit_test(names_belong_to_accounts),
		cmocka_unit_test(races_have_one_winner),
		cmocka_unit_test(refusals_are_told),
		cmocka_unit_test(a_start_finds_it_again),
		cmocka_unit_test(renewing_changes_the_group),
		cmocka_unit_test(hostile_entries_are_not_applied),
		cmocka_unit_test(hostile_state_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
