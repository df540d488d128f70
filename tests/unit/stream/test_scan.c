/* SPDX-License-Identifier: Apache-2.0 */
/* A look for what a filter wants costs no more than it may, says how far it came, and goes on from there. */
#include "check.h"

#include "stream_internal.h"

enum { BLOCKS = 20, LAST = BLOCKS * SEQ_BLOCK_SEQS - 1 };

static void fill(struct stream *s)
{
	static const struct stream_config config = { 0 };
	*s = (struct stream) { 0 };
	machine_init(&s->machine, &config, 1);
	for (uint64_t seq = 1; seq <= LAST; seq++) {
		char subject[32];
		struct machine_event ev;
		(void)snprintf(subject, sizeof subject, seq == LAST ? "b.%llu" : "a.%llu", (unsigned long long)seq);
		struct record r = { .kind = RECORD_MSG, .seq = seq, .time_ns = 1, .subject = slice_of_str(subject) };
		assert_int_equal(machine_apply(&s->machine, 1, &r, &ev), OK);
	}
}

/* How many looks it takes until one ends with work left over. */
static unsigned looks(const struct stream *s, const char *filter, uint64_t given, uint64_t *found)
{
	struct slice filters = slice_of_str(filter);
	uint64_t from = 1, work;
	for (unsigned n = 1;; n++) {
		work = given;
		*found = stream_next_candidate(s, &filters, 1, from, &work);
		assert_true(work <= given);
		if (*found == 0 || work) return n;
		assert_true(*found > from && *found <= LAST);
		from = *found;
	}
}

static void a_look_costs_what_it_may(void **state)
{
	struct stream s;
	uint64_t found;
	(void)state;
	fill(&s);
	assert_int_equal(looks(&s, "b.*", UINT64_MAX, &found), 1);
	assert_in_range(found, LAST - SEQ_BLOCK_SEQS + 1, LAST); /* somewhere in its block */
	assert_int_equal(looks(&s, "c.*", UINT64_MAX, &found), 1);
	assert_int_equal(found, 0);
	unsigned few = looks(&s, "c.*", 200 * 1000, &found);
	assert_int_equal(found, 0);
	assert_in_range(few, BLOCKS / 4, BLOCKS);
	char literal[32];
	(void)snprintf(literal, sizeof literal, "b.%d", LAST);
	assert_in_range(looks(&s, literal, 10 * 1000, &found), BLOCKS / 8, BLOCKS);
	assert_in_range(found, LAST - SEQ_BLOCK_SEQS + 1, LAST);
	machine_deinit(&s.machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_look_costs_what_it_may) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
