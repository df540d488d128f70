/* SPDX-License-Identifier: Apache-2.0 */
/* A count in steps is exact at its end, whatever is stored and removed between them, and no step costs more than it may. */
#include "check.h"

#include "stream_internal.h"

enum { SEQS_MAX = 40 * 1000, KINDS = 7 };

struct bed {
	struct stream s;
	uint64_t random;
	uint32_t subject_of[SEQS_MAX]; /* by sequence */
	uint64_t last, from;
	struct stream_counter counter;
	bool is_counting;
	int64_t besides; /* what came and went behind the counter */
	unsigned changes;
};

static uint32_t below(struct bed *b, uint32_t n)
{
	b->random = b->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(b->random >> 33) % n;
}

static struct slice subject_text(char text[32], uint32_t subject)
{
	(void)snprintf(text, 32, "s.%u.%u", subject % KINDS, subject);
	return slice_of_str(text);
}

static bool matches(const struct bed *b, struct slice subject)
{
	return filters_match(b->counter.filters, b->counter.filter_count, subject);
}

/* ---- as the consumer room does ---- */

static void note(struct bed *b, bool is_past, int by)
{
	b->besides += is_past ? by : 0;
	b->changes += is_past;
}

static void on_stored(void *arg, uint64_t seq, struct slice subject)
{
	struct bed *b = arg;
	if (b->is_counting && seq >= b->from && matches(b, subject))
		note(b, stream_count_is_past(&b->s, &b->counter, seq, subject), 1);
}

static void on_removed(void *arg, uint64_t seq, struct slice subject)
{
	struct bed *b = arg;
	if (b->is_counting && seq >= b->from && matches(b, subject))
		note(b, stream_count_is_past(&b->s, &b->counter, seq, subject), -1);
}

static const struct stream_consumer_ops ops = { .stored = on_stored, .removed = on_removed };

static void store(struct bed *b, uint32_t subject)
{
	char text[32];
	struct machine_event ev;
	struct record r = {
		.kind = RECORD_MSG, .seq = ++b->last, .time_ns = 1, .subject = subject_text(text, subject)
	};
	assert_true(b->last < SEQS_MAX);
	b->subject_of[b->last] = subject;
	assert_int_equal(machine_apply(&b->s.machine, 1, &r, &ev), OK);
}

static void drop(struct bed *b, uint64_t seq)
{
	char text[32];
	struct slice subject = subject_text(text, b->subject_of[seq]);
	machine_remove(&b->s.machine, seq, subject, stream_msg_bytes(&b->s.machine.config, subject.n, 0, 0));
}

static void bed_begin(struct bed *b, uint64_t seed)
{
	static const struct stream_config config = { 0 };
	*b = (struct bed) { .random = seed };
	machine_init(&b->s.machine, &config, 1);
	b->s.machine.consumers = &ops;
	b->s.machine.consumers_arg = b;
}

static uint64_t there(const struct bed *b, const struct slice *filters, size_t n)
{
	uint64_t count = 0;
	char text[32];
	for (uint64_t seq = b->from; seq <= b->last; seq++)
		count += seq_index_is_live(&b->s.machine.seqs, seq) &&
			 filters_match(filters, n, subject_text(text, b->subject_of[seq]));
	return count;
}

/* Subjects come and go, so that their ids pass to others. */
static void change(struct bed *b, uint32_t subjects, uint32_t times)
{
	for (uint32_t i = 0; i < times; i++) {
		if (below(b, 2) && b->last + 1 < SEQS_MAX) store(b, below(b, subjects));
		for (unsigned n = below(b, 3); n > 0; n--) drop(b, 1 + below(b, (uint32_t)b->last));
	}
}

static void count_through(struct bed *b, const struct slice *filters, size_t n, uint64_t step)
{
	b->besides = 0;
	enum err e = stream_count_begin(&b->s, &b->counter, filters, n, b->from);
	bool is_inside = e == ERR_AGAIN;
	b->is_counting = true;
	uint64_t inside = 0, at = b->from;
	if (is_inside) { /* the block is read at once */
		uint64_t last = b->last;
		b->last = u64_min(last, at | (SEQ_BLOCK_SEQS - 1));
		inside = there(b, filters, n);
		b->last = last;
	}
	for (uint64_t work = step; !stream_count_more(&b->s, &b->counter, &work); work = step) {
		assert_int_equal(work, 0);
		change(b, 3000, 20);
	}
	b->is_counting = false;
	assert_int_equal((int64_t)(inside + b->counter.n) + b->besides, there(b, filters, n));
	assert_true(inside + b->counter.n <= b->counter.bound + SEQS_MAX);
	stream_count_end(&b->counter);
}

static void a_count_is_exact_whatever_changes(void **state)
{
	static const char *const texts[][2] = { { "s.3.*", NULL }, { "s.>", NULL }, { "s.*.7", "s.5.>" },
		{ "s.0.21", "s.1.1" }, { "t.*", NULL }, { NULL, NULL } };
	unsigned changes = 0;
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct bed *b = NEW(struct bed);
		bed_begin(b, seed);
		struct slice filters[2];
		size_t n = 0;
		const char *const *text = texts[seed % COUNT_OF(texts)];
		for (; n < 2 && text[n]; n++) filters[n] = slice_of_str(text[n]);
		for (uint32_t i = 0; i < 8000; i++) store(b, below(b, seed % 2 ? 3000 : 30));
		change(b, 3000, 2000);
		const uint64_t from[] = { 1, b->s.machine.seqs.first_seq, 2 * SEQ_BLOCK_SEQS, 3000, b->last,
			b->last + 1 };
		for (size_t i = 0; i < COUNT_OF(from); i++) {
			b->from = from[i];
			count_through(b, filters, n, 2000 + below(b, 20 * 1000));
		}
		changes += b->changes;
		machine_deinit(&b->s.machine);
		mem_free(b);
	}
	assert_true(changes > 1000);
}

static void a_step_costs_what_it_may(void **state)
{
	struct bed *b = NEW(struct bed);
	struct slice filter = SLICE("s.3.*");
	unsigned steps = 1;
	(void)state;
	bed_begin(b, 1);
	for (uint32_t i = 0; i < 20000; i++) store(b, i);
	assert_int_equal(stream_count_begin(&b->s, &b->counter, &filter, 1, 1), OK);
	for (uint64_t work = 100 * 1000; !stream_count_more(&b->s, &b->counter, &work); work = 100 * 1000) steps++;
	assert_in_range(steps, 20, 40); /* 20,000 subjects at about 120 ns each */
	assert_int_equal(b->counter.n, 20000 / KINDS);
	stream_count_end(&b->counter);
	machine_deinit(&b->s.machine);
	mem_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_count_is_exact_whatever_changes),
		cmocka_unit_test(a_step_costs_what_it_may),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
