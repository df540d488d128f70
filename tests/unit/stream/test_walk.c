/* SPDX-License-Identifier: Apache-2.0 */
/* A walk over subjects rests when it has cost what a turn may, sees once what is there all the while, and ends with its stream. */
#include "check.h"
#include "sim/sim.h"

#include "stream_internal.h"

enum { SUBJECTS = 60 * 1000, KINDS = 5 };

struct bed {
	struct sim *sim;
	struct stream s;
	uint64_t last;
	uint8_t seen[SUBJECTS];
	unsigned count, dones, count_max; /* count_max: the walk is told to stop there; 0: never */
	enum err result;
	struct slice filter;
	struct stream_walk walk;
};

static void store(struct bed *b, unsigned subject)
{
	char text[32];
	struct machine_event ev;
	(void)snprintf(text, sizeof text, "s.%u.%u", subject % KINDS, subject);
	struct record r = { .kind = RECORD_MSG, .seq = ++b->last, .time_ns = 1, .subject = slice_of_str(text) };
	assert_int_equal(machine_apply(&b->s.machine, 1, &r, &ev), OK);
}

static void drop_first(struct bed *b, unsigned subject)
{
	char text[32];
	(void)snprintf(text, sizeof text, "s.%u.%u", subject % KINDS, subject);
	struct slice name = slice_of_str(text);
	uint64_t seq = subjects_find(&b->s.machine.subjects, name)->last_seq;
	machine_remove(&b->s.machine, seq, name, stream_msg_bytes(&b->s.machine.config, name.n, 0, 0));
}

static bool each(void *arg, struct slice subject, uint64_t count, uint64_t first_hint, uint64_t last)
{
	struct bed *b = arg;
	uint64_t n = 0;
	(void)first_hint, (void)last;
	size_t dot = subject.n;
	while (subject.p[dot - 1] != '.') dot--;
	assert_int_equal(slice_to_u64(slice_from(subject, dot), &n), OK);
	assert_true(n < SUBJECTS && count > 0);
	assert_int_equal(b->seen[n]++, 0);
	return ++b->count != b->count_max;
}

static void done(struct stream_walk *w)
{
	struct bed *b = CONTAINER_OF(w, struct bed, walk);
	b->dones++;
	b->result = w->result;
}

static struct bed *bed_new(const char *filter)
{
	static const struct stream_config config = { 0 };
	struct bed *b = NEW(struct bed);
	b->sim = sim_new(1);
	struct sim_node *n = sim_node_new(b->sim);
	sim_node_boot(n, NULL, NULL);
	b->s.options.io = sim_node_io(n);
	list_init(&b->s.walks);
	machine_init(&b->s.machine, &config, 1);
	for (unsigned i = 0; i < SUBJECTS; i++) store(b, i);
	b->filter = slice_of_str(filter);
	b->walk =
		(struct stream_walk) { .filters = &b->filter, .filter_count = 1, .each = each, .arg = b, .done = done };
	return b;
}

static void bed_free(struct bed *b)
{
	machine_deinit(&b->s.machine);
	sim_free(b->sim);
	mem_free(b);
}

static void a_walk_takes_turns(void **state)
{
	struct bed *b = bed_new("s.3.*");
	unsigned steps = 1, front = 0;
	(void)state;
	assert_false(stream_walk_start(&b->s, &b->walk));
	assert_in_range(b->walk.next, 1000, 3000); /* what may be done at once */
	while (!b->dones) {
		uint32_t before = b->walk.next;
		drop_first(b, front++); /* behind it */
		store(b, SUBJECTS - 1); /* before it, and known */
		while (!b->dones && b->walk.next == before) assert_true(sim_step(b->sim));
		assert_true(b->walk.next - before <= 10 * 1000);
		assert_true(++steps < 100);
	}
	assert_in_range(steps, 5, 30);
	assert_int_equal(b->dones, 1);
	assert_int_equal(b->result, OK);
	assert_int_equal(b->count, SUBJECTS / KINDS);
	bed_free(b);
}

static void what_is_small_or_literal_is_done_at_once(void **state)
{
	struct bed *b = bed_new("s.4.59999");
	(void)state;
	assert_true(stream_walk_start(&b->s, &b->walk));
	assert_int_equal(b->count, 1);
	b->filter = SLICE("s.4.1"); /* there is none */
	assert_true(stream_walk_start(&b->s, &b->walk));
	assert_int_equal(b->count, 1);
	b->filter = SLICE("s.0.>");
	b->count_max = 5;
	assert_true(stream_walk_start(&b->s, &b->walk)); /* it wants no more */
	assert_int_equal(b->count, 5);
	b->count_max = 0;
	memset(b->seen, 0, sizeof b->seen);
	b->filter = SLICE("s.>");
	stream_subjects(&b->s, &b->filter, 1, each, b);
	assert_int_equal(b->count, 5 + SUBJECTS);
	assert_int_equal(b->dones, 0);
	bed_free(b);
}

static void a_walk_ends_with_its_stream(void **state)
{
	struct bed *b = bed_new("s.*.*");
	(void)state;
	assert_false(stream_walk_start(&b->s, &b->walk));
	walks_cancel_all(&b->s);
	assert_int_equal(b->dones, 1);
	assert_int_equal(b->result, ERR_CLOSED);
	unsigned count = b->count;
	sim_run_for(b->sim, SECONDS(1));
	assert_int_equal(b->count, count);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_walk_takes_turns),
		cmocka_unit_test(what_is_small_or_literal_is_done_at_once),
		cmocka_unit_test(a_walk_ends_with_its_stream),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
