/* SPDX-License-Identifier: Apache-2.0 */
/* The file of entries that ended the process: what is noted is there after any end, what is damaged or another store's is not believed. */
#include "poison.h"

#include "check.h"
#include "sim/sim.h"

static const uint8_t store_a[16] = { 1, 2, 3 }, store_b[16] = { 4, 5, 6 };

struct bed {
	struct sim *sim;
	struct sim_node *machine;
	struct diag diag;
	struct buf said;
	struct poison *poison;
};

static void say(void *arg, enum diag_level level, const char *line, size_t n)
{
	(void)level;
	buf_append(&((struct bed *)arg)->said, line, n);
	buf_append_byte(&((struct bed *)arg)->said, '\n');
}

static void start(struct bed *b, const uint8_t *store)
{
	buf_clear(&b->said);
	b->poison = poison_open(sim_node_io(b->machine), &b->diag, ".", store);
}

static void open_bed(struct bed *b)
{
	*b = (struct bed) { .sim = sim_new(1) };
	b->machine = sim_node_new(b->sim);
	sim_disk(b->machine)->ruin_ppm = 0;
	sim_node_boot(b->machine, NULL, NULL);
	diag_init(&b->diag, DIAG_WARN, say, b);
	start(b, store_a);
}

static void again(struct bed *b, enum sim_crash how)
{
	poison_free(b->poison);
	sim_node_crash(b->machine, how);
	sim_node_boot(b->machine, NULL, NULL);
	start(b, store_a);
}

static void close_bed(struct bed *b)
{
	poison_free(b->poison);
	buf_deinit(&b->said);
	diag_deinit(&b->diag);
	sim_free(b->sim);
}

static void note(struct bed *b, uint64_t group, uint64_t index)
{
	poison_note(b->poison, &(struct raft_index_of) { group, index });
}

static unsigned entries(const struct bed *b)
{
	unsigned count;
	(void)poison_entries(b->poison, &count);
	return count;
}

static void assert_only(const struct bed *b, uint64_t group, uint64_t index)
{
	unsigned count;
	const struct raft_index_of *e = poison_entries(b->poison, &count);
	assert_int_equal(count, 1);
	assert_int_equal(e[0].group, group);
	assert_int_equal(e[0].index, index);
}

static void assert_said(struct bed *b, const char *text)
{
	if (text)
		assert_non_null(strstr(buf_str(&b->said), text));
	else
		assert_int_equal(b->said.n, 0);
}

/* Twice, and across a loss of power each time; what ended the process once is said and no poison yet. */
static void twice_is_poison(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b);
	assert_said(&b, NULL);
	assert_int_equal(entries(&b), 0);
	note(&b, 7, 120);
	again(&b, SIM_POWER);
	assert_said(&b, "entry 120 of group 7; if it does so again");
	assert_int_equal(entries(&b), 0);
	note(&b, 7, 121);
	note(&b, 8, 120);
	again(&b, SIM_POWER);
	assert_int_equal(entries(&b), 0);
	note(&b, 7, 120);
	again(&b, SIM_POWER);
	assert_only(&b, 7, 120);
	again(&b, SIM_KILL);
	assert_only(&b, 7, 120);
	close_bed(&b);
}

/* Group 7 has not reached its entry, the others have. */
static const char *place_7(void *arg, const struct raft_index_of *at)
{
	(void)arg;
	return at->group == 7 ? "7 (ORDERS)" : NULL;
}

static void what_is_applied_is_forgotten(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b);
	for (unsigned i = 0; i < 2; i++) note(&b, 7, 120), note(&b, 8, 9);
	note(&b, 9, 10);
	again(&b, SIM_POWER);
	assert_int_equal(entries(&b), 2);
	buf_clear(&b.said);
	poison_tidy(b.poison, place_7, NULL);
	assert_said(&b, "group=7 (ORDERS) is stopped before entry 120, which ended the process 2 times");
	assert_null(strstr(buf_str(&b.said), "group=8"));
	again(&b, SIM_POWER);
	assert_only(&b, 7, 120);
	note(&b, 8, 9);
	again(&b, SIM_POWER);
	assert_only(&b, 7, 120); /* it began to count anew */
	close_bed(&b);
}

static void damage_is_not_believed(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b);
	for (unsigned i = 0; i < 2; i++) note(&b, 7, 120), note(&b, 8, 9);
	for (uint64_t at = 0; at < POISON_ROW_BYTES; at++) { /* every byte of a row counts */
		assert_int_equal(sim_disk_flip(b.machine, "poison", at, at % 8), OK);
		again(&b, SIM_KILL);
		assert_said(&b, "poison is damaged in 1 of 128 places");
		assert_only(&b, 8, 9);
		for (unsigned i = 0; i < 2; i++) note(&b, 7, 120);
		again(&b, SIM_KILL);
		assert_said(&b, NULL);
		assert_int_equal(entries(&b), 2);
	}
	assert_int_equal(sim_disk_truncate(b.machine, "poison", 40), OK);
	again(&b, SIM_KILL);
	assert_said(&b, "poison is damaged in 1 of 128 places");
	assert_only(&b, 7, 120);
	poison_free(b.poison);
	start(&b, store_b);
	assert_said(&b, "poison is damaged in 1 of 128 places");
	assert_int_equal(entries(&b), 0);
	close_bed(&b);
}

/* Poison stays, whatever else comes; what ended the process once makes room. */
static void a_full_table_keeps_the_poison(void **state)
{
	struct bed b;
	(void)state;
	open_bed(&b);
	for (unsigned i = 0; i < 2; i++) note(&b, 7, 120);
	for (uint64_t i = 1; i <= 3 * POISON_ROWS; i++) note(&b, 9, i);
	note(&b, 9, 3 * POISON_ROWS);
	again(&b, SIM_POWER);
	assert_int_equal(entries(&b), 2);
	for (uint64_t i = 1; i <= POISON_ROWS; i++) note(&b, 10, i), note(&b, 10, i);
	again(&b, SIM_POWER);
	assert_int_equal(entries(&b), POISON_ROWS);
	assert_int_equal(poison_entries(b.poison, &(unsigned) { 0 })[0].group, 7);
	close_bed(&b);
}

/* A disk that fails costs the note, not the start. */
static void a_bad_disk_is_lived_with(void **state)
{
	static const enum sim_call calls[] = { SIM_CALL_OPEN, SIM_CALL_READ, SIM_CALL_WRITE, SIM_CALL_SYNC };
	(void)state;
	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		struct bed b;
		open_bed(&b);
		poison_free(b.poison);
		assert_int_equal(sim_disk_truncate(b.machine, "poison", 0), OK);
		sim_disk_fail(b.machine, calls[i], NULL, 0, 1, ERR_IO);
		start(&b, store_a);
		assert_said(&b, "cannot be used");
		note(&b, 7, 120);
		note(&b, 7, 120);
		poison_tidy(b.poison, place_7, NULL);
		again(&b, SIM_POWER);
		assert_int_equal(entries(&b), 0);
		close_bed(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(twice_is_poison),
		cmocka_unit_test(what_is_applied_is_forgotten),
		cmocka_unit_test(damage_is_not_believed),
		cmocka_unit_test(a_full_table_keeps_the_poison),
		cmocka_unit_test(a_bad_disk_is_lived_with),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
