/* SPDX-License-Identifier: Apache-2.0 */
/* Machines and their processes. A process is a struct io with a loop and lanes of workers:
 *
 *   event for it ─> ready list ─> turn (up to turn_delay later): ready callbacks, timers, tasks and hooks
 *   io_job_submit ─> lane queue ─> fiber: run … file calls wait … ─> ready list: done
 *
 * A process dies in two steps, because its own code may be running: at once its io is dead, so that nothing it asks for happens;
 * when the event has ended, its fibers run to their ends (every file call answers ERR_CRASHED), its sockets end or vanish, its
 * memory is freed by sim_program.teardown, and with the power goes what was not synced. */
#include <stdio.h>
#include <stdlib.h>

#include "sim/sim_impl.h"

enum {
	WALL_START_S = 1750000000, /* 2025 */
};
#define JOB_START_MAX_NS (50 * NS_PER_US)
#define JOB_CPU_MAX_NS MILLIS(3)
#define BOOT_MAX_NS MILLIS(2)
#define TURN_DELAY_MAX_NS (20 * NS_PER_US)

static const unsigned lane_width[IO_LANE_COUNT] = {
	[IO_LANE_JOURNAL] = 1,
	[IO_LANE_SETTLE] = 1,
	[IO_LANE_DISK] = 2,
	[IO_LANE_CPU] = 2,
};

/* ---- clock and chance ---- */

static uint64_t process_now(struct io *io)
{
	const struct sim_node *n = sim_io_of(io)->node;
	return n->s->now_ns + n->clock_offset_ns;
}

static int64_t process_wall(struct io *io)
{
	const struct sim_node *n = sim_io_of(io)->node;
	return (int64_t)WALL_START_S * (int64_t)NS_PER_S + (int64_t)n->s->now_ns + n->wall_offset_ns;
}

static void process_random(struct io *io, void *p, size_t n)
{
	struct sim *s = sim_io_of(io)->node->s;
	uint8_t *out = p;
	while (n > 0) {
		uint8_t eight[8];
		le64_put(eight, prng_next(&s->chance));
		const size_t part = size_min(n, sizeof eight);
		memcpy(out, eight, part);
		out += part;
		n -= part;
	}
}

/* ---- turns ---- */

static void process_wake_io(struct io *io) { sim_process_wake(sim_io_of(io)); }

static void turn_at(struct sim_io *p, uint64_t at_ns)
{
	struct sim *s = p->node->s;
	if (sim_event_is_armed(&p->turn)) {
		if (p->turn.link_by_time.key <= at_ns) return;
		sim_event_cancel(s, &p->turn);
	}
	sim_event_at(s, &p->turn, at_ns);
}

void sim_process_wake(struct sim_io *p)
{
	struct sim *s = p->node->s;
	if (!p->is_up || p->io.is_dead || p->io.is_in_turn) return;
	turn_at(p, s->now_ns + sim_draw(s, p->node->turn_delay_max_ns + 1));
}

void sim_process_ready(struct sim_io *p, struct sim_ready *r)
{
	if (p->io.is_dead || list_is_linked(&r->link)) return;
	list_push_back(&p->ready, &r->link);
	sim_process_wake(p);
}

static void turn_schedule(struct sim_io *p)
{
	struct sim_node *n = p->node;
	uint64_t deadline;
	if (!list_is_empty(&p->ready))
		sim_process_wake(p);
	else if (io_timer_next(&p->io, &deadline) && deadline < UINT64_MAX / 2)
		turn_at(p, deadline - n->clock_offset_ns + sim_draw(n->s, n->turn_delay_max_ns + 1));
}

static void turn_fire(struct sim_event *e)
{
	struct sim_io *p = CONTAINER_OF(e, struct sim_io, turn);
	struct sim_node *n = p->node;
	struct sim *s = n->s;
	if (s->now_ns < n->paused_until_ns) {
		turn_at(p, n->paused_until_ns);
		return;
	}
	struct list batch;
	list_init(&batch);
	list_splice_back(&batch, &p->ready);
	s->node_current = n;
	p->io.is_in_turn = true;
	struct list *node;
	while ((node = list_pop_front(&batch)) != NULL) {
		struct sim_ready *r = CONTAINER_OF(node, struct sim_ready, link);
		if (!p->io.is_dead) r->run(r);
	}
	io_timers_fire(&p->io, process_now(&p->io));
	io_turn_end(&p->io);
	p->io.is_in_turn = false;
	s->node_current = NULL;
	if (!p->io.is_dead) turn_schedule(p);
}

/* ---- fibers: jobs and the boot ---- */

static void fiber_run_on(struct sim_fiber *f);

static void fiber_wake_fire(struct sim_event *e)
{
	struct sim_fiber *f = CONTAINER_OF(e, struct sim_fiber, wake);
	struct sim *s = f->s;
	if (s->now_ns < f->process->node->paused_until_ns)
		sim_event_at(s, e, f->process->node->paused_until_ns);
	else
		fiber_run_on(f);
}

static struct sim_fiber *fiber_new(struct sim_io *p, void (*run)(struct sim_fiber *f), uint64_t delay_ns)
{
	struct sim *s = p->node->s;
	struct sim_fiber *f = NEW(struct sim_fiber);
	*f = (struct sim_fiber) { .s = s, .process = p, .run = run, .wake.fire = fiber_wake_fire };
	list_push_back(&p->fibers, &f->link);
	sim_event_at(s, &f->wake, s->now_ns + delay_ns);
	return f;
}

void sim_process_wait(struct sim_io *p, uint64_t ns)
{
	struct sim *s = p->node->s;
	struct sim_fiber *f = s->fiber_current;
	if (!f) {
		/* Loop code of real software never gets here; a process that is the test itself calls from outside of time. */
		ASSERT(p->program == NULL);
		return;
	}
	ASSERT(f->process == p);
	const uint64_t at = u64_max(s->now_ns + ns, p->node->paused_until_ns);
	const struct heap_node *first = heap_min(&s->queue);
	if (at <= s->limit_ns && (!first || first->key > at)) {
		/* Nobody else has anything to do before: the switch to the scheduler and back would only cost time. */
		s->now_ns = at;
		s->events++;
		sim_mix_u64(s, at);
		return;
	}
	sim_event_at(s, &f->wake, at);
	sim_fiber_leave(f);
}

static void lane_pump(struct sim_io *p, enum io_lane lane);

static void job_done_run(struct sim_ready *r)
{
	struct sim_fiber *f = CONTAINER_OF(r, struct sim_fiber, done);
	struct io_job *j = f->job;
	list_remove(&f->link);
	mem_free(f);
	j->done(j);
}

static void boot_ended(struct sim_io *p);

/* Goes on until the fiber waits for time, or has ended. */
static void fiber_run_on(struct sim_fiber *f)
{
	struct sim_io *p = f->process;
	struct sim *s = f->s;
	struct sim_node *outer = s->node_current;
	s->node_current = p->node;
	sim_fiber_enter(f);
	s->node_current = outer;
	if (!f->is_finished) return;
	list_remove(&f->link);
	list_push_back(&p->finished, &f->link);
	if (p->io.is_dead) return;
	if (f == p->boot) {
		boot_ended(p);
		return;
	}
	p->lanes[f->lane].busy_count--;
	lane_pump(p, f->lane);
	sim_process_ready(p, &f->done);
}

static void job_run(struct sim_fiber *f) { f->job->run(f->job); }

static void lane_pump(struct sim_io *p, enum io_lane lane_id)
{
	struct sim *s = p->node->s;
	struct sim_lane *lane = &p->lanes[lane_id];
	while (lane->busy_count < lane_width[lane_id] && !list_is_empty(&lane->queue)) {
		struct io_job *j = CONTAINER_OF(list_pop_front(&lane->queue), struct io_job, link);
		const uint64_t delay = sim_draw(s, lane_id == IO_LANE_CPU ? JOB_CPU_MAX_NS : JOB_START_MAX_NS);
		lane->busy_count++;
		struct sim_fiber *f = fiber_new(p, job_run, delay);
		f->job = j;
		f->lane = lane_id;
		f->done.run = job_done_run;
	}
}

void sim_job_submit(struct io *io, enum io_lane lane, struct io_job *j)
{
	struct sim_io *p = sim_io_of(io);
	/* Only the loop submits. A dead process's job is forgotten: its memory is freed by teardown. */
	ASSERT(p->node->s->fiber_current == NULL);
	if (io->is_dead) return;
	list_push_back(&p->lanes[lane].queue, &j->link);
	lane_pump(p, lane);
}

/* ---- life of a process ---- */

static const struct io_ops process_ops = {
	.now_ns = process_now,
	.now_precise_ns = process_now,
	.wall_ns = process_wall,
	.random = process_random,
	.wake = process_wake_io,
	.connect = sim_net_connect,
	.stream_read = sim_net_stream_read,
	.stream_write = sim_net_stream_write,
	.stream_pending_bytes = sim_net_stream_pending,
	.stream_close = sim_net_stream_close,
	.stream_addr = sim_net_stream_addr,
	.listen = sim_net_listen,
	.listener_addr = sim_net_listener_addr,
	.listener_close = sim_net_listener_close,
	.job_submit = sim_job_submit,
	.file_open = sim_call_open,
	.file_close = sim_call_close,
	.file_write = sim_call_write,
	.file_read = sim_call_read,
	.file_sync = sim_call_sync,
	.file_size = sim_call_size,
	.file_truncate = sim_call_truncate,
	.file_allocate = sim_call_allocate,
	.file_drop_cache = sim_call_drop_cache,
	.path_unlink = sim_call_unlink,
	.path_rename = sim_call_rename,
	.dir_make = sim_call_dir_make,
	.dir_remove = sim_call_dir_remove,
	.dir_sync = sim_call_dir_sync,
	.tree_sync = sim_call_tree_sync,
	.dir_list = sim_call_dir_list,
	.space = sim_call_space,
};

static struct sim_io *process_new(struct sim_node *n, const struct sim_program *program, void *arg)
{
	struct sim_io *p = NEW(struct sim_io);
	*p = (struct sim_io) { .node = n, .program = program, .program_arg = arg, .turn.fire = turn_fire };
	io_init(&p->io, &process_ops);
	list_init(&p->ready);
	list_init(&p->fibers);
	list_init(&p->finished);
	list_init(&p->streams);
	list_init(&p->listeners);
	list_init(&p->files);
	for (unsigned i = 0; i < IO_LANE_COUNT; i++) list_init(&p->lanes[i].queue);
	return p;
}

static void boot_run(struct sim_fiber *f)
{
	struct sim_io *p = f->process;
	void *software = NULL;
	const enum err e = p->program->start(p->program_arg, p->node, &p->io, &software);
	p->node->start_result = e;
	p->software = e == OK ? software : NULL;
}

static void process_end(struct sim_io *p, enum sim_crash how);

static void boot_ended(struct sim_io *p)
{
	struct sim_node *n = p->node;
	sim_mix_u64(n->s, n->start_result);
	sim_say(n->s, n, "start: %s", err_text(n->start_result));
	if (n->start_result != OK) {
		sim_count(n->s, "node start refused");
		io_kill(&p->io);
		process_end(p, SIM_KILL);
		return;
	}
	n->state = SIM_UP;
	p->is_up = true;
	sim_process_wake(p);
}

void sim_node_boot(struct sim_node *n, const struct sim_program *program, void *arg)
{
	struct sim *s = n->s;
	sim_crashes_finish(s);
	ASSERT(n->process == NULL);
	sim_say(s, n, "boot");
	sim_count(s, "node boot");
	const bool was_off = n->state == SIM_OFF;
	n->start_result = OK;
	n->process = process_new(n, program, arg);
	if (program) {
		n->state = SIM_BOOTING;
		n->process->boot = fiber_new(n->process, boot_run, sim_draw(s, BOOT_MAX_NS));
	} else {
		n->state = SIM_UP;
		n->process->is_up = true;
	}
	if (was_off) sim_net_node_on(n);
}

static void node_power_off(struct sim_node *n)
{
	n->state = SIM_OFF;
	sim_net_power_off(n);
	sim_tree_power_loss(n);
}

/* Second step of dying: none of the software's code is on a stack but that of its waiting fibers. */
static void process_end(struct sim_io *p, enum sim_crash how)
{
	struct sim_node *n = p->node;
	struct sim *s = n->s;
	struct list *node;
	ASSERT(p->io.is_dead && s->fiber_current == NULL);
	s->node_current = n;
	sim_event_cancel(s, &p->turn);
	while (list_pop_front(&p->ready)) {}
	for (unsigned i = 0; i < IO_LANE_COUNT; i++)
		while (list_pop_front(&p->lanes[i].queue)) {}
	/* A fiber that has started runs to its end; one that has not never does. */
	while ((node = list_first(&p->fibers)) != NULL) {
		struct sim_fiber *f = CONTAINER_OF(node, struct sim_fiber, link);
		sim_event_cancel(s, &f->wake);
		if (f->is_started) {
			fiber_run_on(f);
			ASSERT(f->is_finished);
		} else {
			list_remove(&f->link);
			list_push_back(&p->finished, &f->link);
		}
	}
	sim_net_process_died(p, how);
	if (p->software) p->program->teardown(p->software);
	while ((node = list_pop_front(&p->finished)) != NULL) mem_free(CONTAINER_OF(node, struct sim_fiber, link));
	sim_net_process_free(p);
	sim_disk_process_free(p);
	s->node_current = NULL;
	mem_free(p);
	n->process = NULL;
	n->state = SIM_DOWN;
	if (how == SIM_POWER) node_power_off(n);
}

void sim_crashes_finish(struct sim *s)
{
	struct list *node;
	if (s->node_current) return;
	while ((node = list_pop_front(&s->crashed)) != NULL) {
		struct sim_node *n = CONTAINER_OF(node, struct sim_node, link_by_crash);
		process_end(n->process, n->crash_how);
	}
}

void sim_node_crash(struct sim_node *n, enum sim_crash how)
{
	struct sim *s = n->s;
	sim_say(s, n, "%s", how == SIM_POWER ? "loses power" : "is killed");
	sim_count(s, how == SIM_POWER ? "node power loss" : "node kill");
	sim_mix_u64(s, how);
	if (!n->process) {
		if (how == SIM_POWER && n->state != SIM_OFF) node_power_off(n);
		return;
	}
	if (list_is_linked(&n->link_by_crash)) {
		/* Dying already; the power may still go before it has. */
		if (how == SIM_POWER) n->crash_how = how;
		return;
	}
	io_kill(&n->process->io);
	n->crash_how = how;
	list_push_back(&s->crashed, &n->link_by_crash);
	sim_crashes_finish(s);
}

/* ---- machines ---- */

struct sim_node *sim_node_make(struct sim *s, unsigned index)
{
	struct sim_node *n = NEW(struct sim_node);
	*n = (struct sim_node) {
		.s = s, .index = index, .state = SIM_OFF, .port_next = 40000, .turn_delay_max_ns = TURN_DELAY_MAX_NS
	};
	(void)snprintf(n->host, sizeof n->host, index < SIM_NODES_MAX ? "10.0.0.%u" : "10.0.1.1", index + 1);
	n->clock_offset_ns = sim_draw(s, SECONDS(100000));
	n->wall_offset_ns = (int64_t)sim_draw(s, SECONDS(2)) - (int64_t)SECONDS(1);
	sim_disk_init(n);
	return n;
}

void sim_node_free(struct sim_node *n)
{
	if (!n) return;
	ASSERT(n->process == NULL);
	sim_disk_deinit(n);
	mem_free(n);
}

struct sim_node *sim_node_new(struct sim *s)
{
	ASSERT(s->node_count < SIM_NODES_MAX);
	struct sim_node *n = sim_node_make(s, s->node_count);
	s->nodes[s->node_count++] = n;
	return n;
}

struct sim_node *sim_clients_node(struct sim *s)
{
	if (!s->clients) {
		s->clients = sim_node_make(s, SIM_NODES_MAX);
		sim_node_boot(s->clients, NULL, NULL);
	}
	return s->clients;
}

const char *sim_node_host(const struct sim_node *n) { return n->host; }
unsigned sim_node_index(const struct sim_node *n) { return n->index; }
struct sim *sim_node_sim(const struct sim_node *n) { return n->s; }
enum err sim_node_start_result(const struct sim_node *n) { return n->start_result; }

struct sim_node *sim_node_at(const struct sim *s, unsigned index)
{
	return index < s->node_count ? s->nodes[index] : NULL;
}

static bool node_is_dying(const struct sim_node *n) { return n->process && n->process->io.is_dead; }

enum sim_state sim_node_state(const struct sim_node *n)
{
	if (node_is_dying(n)) return n->crash_how == SIM_POWER ? SIM_OFF : SIM_DOWN;
	return n->state;
}

struct io *sim_node_io(struct sim_node *n) { return n->process && !node_is_dying(n) ? &n->process->io : NULL; }
void *sim_node_software(struct sim_node *n) { return n->process && !node_is_dying(n) ? n->process->software : NULL; }

void sim_node_pause(struct sim_node *n, uint64_t ns)
{
	n->paused_until_ns = u64_max(n->paused_until_ns, n->s->now_ns + ns);
	sim_say(n->s, n, "stands still for %.3f ms", (double)ns / 1e6);
	sim_count(n->s, "node pause");
}

void sim_node_wall_jump(struct sim_node *n, int64_t by_ns)
{
	n->wall_offset_ns += by_ns;
	sim_say(n->s, n, "wall clock jumps by %.3f ms", (double)by_ns / 1e6);
	sim_count(n->s, "node wall jump");
}

void sim_node_turn_delay(struct sim_node *n, uint64_t max_ns) { n->turn_delay_max_ns = max_ns; }
