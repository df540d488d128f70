/* SPDX-License-Identifier: Apache-2.0 */
/* The world: one queue of events ordered by time and then by who came first, one source of chance, one hash of all that was
 * observable. Everything else in the twin is events on this queue. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/sim_impl.h"

struct sim_counter {
	char *name; /* owned */
	uint64_t count;
};

struct sim_act {
	struct list link; /* on sim.acts */
	struct sim *s;
	struct sim_event event;
	sim_act_fn *act;
	void *arg; /* borrowed */
};

static struct slice counter_key(const void *item) { return slice_of_str(((const struct sim_counter *)item)->name); }

/* ---- life ---- */

struct sim *sim_new(uint64_t seed)
{
	struct sim *s = NEW(struct sim);
	s->seed = s->hash = seed;
	prng_init(&s->chance, seed);
	prng_init(&s->chance_of_test, ~seed);
	map_init(&s->counts, seed, counter_key);
	list_init(&s->client_list);
	list_init(&s->crashed);
	list_init(&s->acts);
	list_init(&s->stacks_free);
	sim_net_init(s);
	return s;
}

void sim_free(struct sim *s)
{
	if (!s) return;
	for (unsigned i = 0; i < s->node_count; i++) sim_node_crash(s->nodes[i], SIM_KILL);
	if (s->clients) sim_node_crash(s->clients, SIM_KILL);
	sim_crashes_finish(s);
	for (unsigned i = 0; i < s->node_count; i++) sim_node_free(s->nodes[i]);
	sim_node_free(s->clients);
	sim_clients_deinit(s);
	sim_net_deinit(s);
	struct list *node;
	while ((node = list_pop_front(&s->acts)) != NULL) {
		struct sim_act *a = CONTAINER_OF(node, struct sim_act, link);
		sim_event_cancel(s, &a->event);
		mem_free(a);
	}
	ASSERT(s->queue.count == 0);
	sim_stacks_free(s);
	struct sim_counter *c;
	for (size_t i = 0; (c = map_next(&s->counts, &i)) != NULL;) {
		mem_free(c->name);
		mem_free(c);
	}
	map_deinit(&s->counts);
	mem_free(s);
}

struct sim_seeds sim_seeds(uint64_t usual)
{
	const char *times = getenv("THEBES_SIM_TIMES"), *seed = getenv("THEBES_SIM_SEED"),
		   *trace = getenv("THEBES_SIM_TRACE");
	uint64_t n = 0;
	struct sim_seeds seeds = { .end = usual };
	if (times && slice_to_u64(slice_of_str(times), &n) == OK && n > 0) seeds.end = usual * n;
	if (seed && slice_to_u64(slice_of_str(seed), &n) == OK) {
		seeds = (struct sim_seeds) { .first = n, .end = n + 1, .is_single = true };
		if (trace && strcmp(trace, "0") != 0) seeds.trace = stderr;
	}
	return seeds;
}

uint64_t sim_seed(const struct sim *s) { return s->seed; }
uint64_t sim_now_ns(const struct sim *s) { return s->now_ns; }
uint64_t sim_events(const struct sim *s) { return s->events; }
uint64_t sim_hash(const struct sim *s) { return s->hash; }
void sim_trace(struct sim *s, FILE *to) { s->trace = to; }

/* ---- chance and hash ---- */

uint64_t sim_draw(struct sim *s, uint64_t bound) { return bound > 1 ? prng_below(&s->chance, bound) : 0; }
bool sim_happens(struct sim *s, uint64_t ppm) { return ppm > 0 && prng_below(&s->chance, PPM) < ppm; }

uint64_t sim_between(struct sim *s, uint64_t min, uint64_t max)
{
	ASSERT(min <= max);
	return min + sim_draw(s, max - min + 1);
}

uint64_t sim_below(struct sim *s, uint64_t bound) { return prng_below(&s->chance_of_test, bound); }
bool sim_chance(struct sim *s, uint64_t ppm) { return prng_below(&s->chance_of_test, PPM) < ppm; }

void sim_mix_u64(struct sim *s, uint64_t v)
{
	const uint64_t h = (s->hash ^ v) * 0x9e3779b97f4a7c15u;
	s->hash = (h << 29) ^ (h >> 35) ^ h;
}

void sim_mix(struct sim *s, const void *p, size_t n) { sim_mix_u64(s, hash_bytes(p, n, s->hash)); }

void sim_say(struct sim *s, const struct sim_node *n, const char *fmt, ...)
{
	if (!s->trace) return;
	va_list ap;
	(void)fprintf(s->trace, "%14.6f ms %-10s ", (double)s->now_ns / 1e6, n ? n->host : "world");
	va_start(ap, fmt);
	(void)vfprintf(s->trace, fmt, ap);
	va_end(ap);
	(void)fputc('\n', s->trace);
}

/* ---- events ---- */

void sim_event_at(struct sim *s, struct sim_event *e, uint64_t at_ns)
{
	ASSERT(e->fire);
	heap_insert(&s->queue, &e->link_by_time, u64_max(at_ns, s->now_ns));
}

void sim_event_cancel(struct sim *s, struct sim_event *e)
{
	if (sim_event_is_armed(e)) heap_remove(&s->queue, &e->link_by_time);
}

static void sim_print_context(void *arg)
{
	const struct sim *s = arg;
	(void)fprintf(stderr, "sim: seed %" PRIu64 ", %.6f ms, event %" PRIu64 "%s%s\n", s->seed,
		(double)s->now_ns / 1e6, s->events, s->node_current ? ", machine " : "",
		s->node_current ? s->node_current->host : "");
}

static void sim_fire(struct sim *s, struct sim_event *e)
{
	s->now_ns = e->link_by_time.key;
	heap_remove(&s->queue, &e->link_by_time);
	s->events++;
	sim_mix_u64(s, s->now_ns);
	assert_context_set(sim_print_context, s);
	e->fire(e);
	ASSERT(s->fiber_current == NULL && s->node_current == NULL);
	sim_crashes_finish(s);
	assert_context_set(NULL, NULL);
}

static struct sim_event *sim_first(const struct sim *s)
{
	struct heap_node *first = heap_min(&s->queue);
	return first ? CONTAINER_OF(first, struct sim_event, link_by_time) : NULL;
}

bool sim_step(struct sim *s)
{
	sim_crashes_finish(s);
	struct sim_event *e = sim_first(s);
	if (!e) return false;
	s->limit_ns = e->link_by_time.key;
	sim_fire(s, e);
	return true;
}

/* Fires the next event unless it is later than the limit of this run. */
static bool sim_step_within(struct sim *s, uint64_t limit_ns)
{
	struct sim_event *e = sim_first(s);
	if (!e || e->link_by_time.key > limit_ns) return false;
	s->limit_ns = limit_ns;
	sim_fire(s, e);
	return true;
}

void sim_run_for(struct sim *s, uint64_t ns)
{
	const uint64_t limit = s->now_ns + ns;
	sim_crashes_finish(s);
	while (sim_step_within(s, limit)) {}
	s->now_ns = limit;
}

bool sim_run_until(struct sim *s, sim_done_fn *is_done, void *arg, uint64_t limit_ns)
{
	const uint64_t limit = limit_ns < UINT64_MAX - s->now_ns ? s->now_ns + limit_ns : UINT64_MAX;
	sim_crashes_finish(s);
	for (;;) {
		if (is_done(arg)) return true;
		if (!sim_step_within(s, limit)) break;
	}
	if (sim_first(s)) s->now_ns = limit;
	return false;
}

static void act_fire(struct sim_event *e)
{
	struct sim_act *a = CONTAINER_OF(e, struct sim_act, event);
	list_remove(&a->link);
	sim_act_fn *act = a->act;
	void *arg = a->arg;
	mem_free(a);
	act(arg);
}

void sim_after(struct sim *s, uint64_t delay_ns, sim_act_fn *act, void *arg)
{
	struct sim_act *a = NEW(struct sim_act);
	*a = (struct sim_act) { .s = s, .act = act, .arg = arg, .event.fire = act_fire };
	list_push_back(&s->acts, &a->link);
	sim_event_at(s, &a->event, s->now_ns + delay_ns);
}

/* ---- counts ---- */

void sim_count(struct sim *s, const char *name)
{
	struct sim_counter *c = map_get(&s->counts, slice_of_str(name));
	if (!c) {
		c = NEW(struct sim_counter);
		c->name = mem_strdup(name);
		ASSERT(map_put(&s->counts, c) == NULL);
	}
	c->count++;
}

uint64_t sim_counted(const struct sim *s, const char *name)
{
	const struct sim_counter *c = map_get(&s->counts, slice_of_str(name));
	return c ? c->count : 0;
}

static int tally_row_cmp(const void *a, const void *b)
{
	return strcmp(((const struct sim_tally_row *)a)->name, ((const struct sim_tally_row *)b)->name);
}

void sim_counts(const struct sim *s, sim_count_fn *each, void *arg)
{
	struct sim_tally sorted = { 0 };
	sim_tally_add(&sorted, s);
	for (size_t i = 0; i < sorted.count; i++) each(arg, sorted.rows[i].name, sorted.rows[i].count);
	sim_tally_deinit(&sorted);
}

static struct sim_tally_row *tally_find(const struct sim_tally *t, const char *name)
{
	const struct sim_tally_row key = { .name = (char *)(uintptr_t)name };
	return t->count ? bsearch(&key, t->rows, t->count, sizeof *t->rows, tally_row_cmp) : NULL;
}

void sim_tally_add(struct sim_tally *t, const struct sim *s)
{
	const struct sim_counter *c;
	const size_t sorted = t->count;
	for (size_t i = 0; (c = map_next(&s->counts, &i)) != NULL;) {
		const struct sim_tally known = { t->rows, sorted };
		struct sim_tally_row *row = tally_find(&known, c->name);
		if (row) {
			row->count += c->count;
			continue;
		}
		t->rows = mem_realloc(t->rows, (t->count + 1) * sizeof *t->rows);
		t->rows[t->count++] = (struct sim_tally_row) { mem_strdup(c->name), c->count };
	}
	if (t->count > sorted) qsort(t->rows, t->count, sizeof *t->rows, tally_row_cmp);
}

uint64_t sim_tally_of(const struct sim_tally *t, const char *name)
{
	const struct sim_tally_row *row = tally_find(t, name);
	return row ? row->count : 0;
}

void sim_tally_print(const struct sim_tally *t, FILE *to)
{
	for (size_t i = 0; i < t->count; i++)
		(void)fprintf(to, "%12" PRIu64 "  %s\n", t->rows[i].count, t->rows[i].name);
}

void sim_tally_deinit(struct sim_tally *t)
{
	for (size_t i = 0; i < t->count; i++) mem_free(t->rows[i].name);
	mem_free(t->rows);
	*t = (struct sim_tally) { 0 };
}
