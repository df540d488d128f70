/* SPDX-License-Identifier: Apache-2.0 */
/* fixture — see fixture.h. */
#include "fixture.h"

enum { GROUP = 1 };

struct flight {
	struct fixture *f;
	unsigned from, to;
	struct buf bytes;
};

static void flight_lands(void *arg)
{
	struct flight *fl = arg;
	struct fixture *f = fl->f;
	struct replica *to = &f->node[fl->to];
	if (to->up && !f->cut[fl->from][fl->to]) {
		enum err e = raft_frame_in(&to->groups, fl->from + 1, buf_slice(&fl->bytes));
		if (e != OK && e != ERR_NOT_FOUND) f->refused = e;
		if (e != OK && e != ERR_NOT_FOUND && !f->quiet_refusals) fail_msg("frame refused: %s", err_name(e));
	}
	buf_deinit(&fl->bytes);
	mem_free(fl);
}

static bool links_send(void *arg, uint64_t peer, const struct slice *parts, unsigned count, enum raft_lane lane)
{
	struct replica *r = arg;
	struct fixture *f = r->f;
	struct frame frame;
	const char *why;
	unsigned to = (unsigned)peer - 1;
	(void)lane;
	if (to >= f->count || !f->node[to].up || f->cut[r->index][to]) return false;
	struct flight *fl = NEW(struct flight);
	*fl = (struct flight) { .f = f, .from = r->index, .to = to };
	for (unsigned i = 0; i < count; i++) buf_append_slice(&fl->bytes, parts[i]);
	assert_int_equal(frame_decode(buf_slice(&fl->bytes), &frame, &why), OK);
	f->frames++;
	if (f->drop && f->drop(f, &frame, r->index, to)) {
		buf_deinit(&fl->bytes);
		mem_free(fl);
		return true;
	}
	sim_after(f->s, f->delay_ns, flight_lands, fl);
	return true;
}

static void node_line(void *arg, enum diag_level level, const char *line, size_t n)
{
	const struct replica *r = arg;
	(void)level;
	if (getenv("RAFT_TRACE"))
		(void)fprintf(
			stderr, "%10.4f node %u %.*s\n", (double)sim_now_ns(r->f->s) / 1e9, r->index + 1, (int)n, line);
}

static void turn_end(struct io_turn_hook *h) { log_turn_end(CONTAINER_OF(h, struct replica, hook)->log); }
static uint64_t now(void *arg) { return sim_now_ns(arg); }

static void replica_boot(struct replica *r)
{
	struct fixture *f = r->f;
	char why[100];
	struct log_options lo = { .fatal_arg = &r->disk };
	struct raft_links links = { links_send, r };
	struct raft_options o = f->options;
	sim_node_boot(r->n, NULL, NULL);
	r->io = sim_node_io(r->n);
	diag_init(&r->diag, DIAG_DEBUG, node_line, r);
	if (f->bug) assert_int_equal(diag_fault_set(&r->diag, slice_of_str(f->bug), SLICE("always")), OK);
	assert_int_equal(log_open(r->io, &r->diag, &lo, &r->log, why, sizeof why), OK);
	o.self = r->index + 1;
	raft_groups_init(&r->groups, r->io, r->log, &r->diag, &o, &links);
	r->hook = (struct io_turn_hook) { .turn_end = turn_end };
	io_turn_hook_add(r->io, &r->hook);
	r->chain = (struct chain) { .oracle = &f->oracle, .node = r->index };
	r->up = true;
}

void fixture_open_with(
	struct fixture *f, unsigned count, unsigned voters, const char *bug, const struct raft_options *options)
{
	*f = (struct fixture) {
		.s = sim_new(7), .count = count, .delay_ns = MILLIS(1), .bug = bug, .options = *options
	};
	oracle_init(&f->oracle, now, f->s);
	if (!f->options.heartbeat_ms) f->options.heartbeat_ms = 100;
	if (!f->options.election_ms) f->options.election_ms = 1000;
	if (!f->options.tick_ms) f->options.tick_ms = 20;
	struct group_member first[FIXTURE_NODES_MAX];
	for (unsigned i = 0; i < voters; i++) first[i] = (struct group_member) { i + 1, GROUP_VOTER };
	for (unsigned i = 0; i < count; i++) {
		struct replica *r = &f->node[i];
		*r = (struct replica) {
			.f = f, .index = i, .n = sim_node_new(f->s), .disk = mem_disk_new(i + 1, 100 + i)
		};
		mem_disk_delay(r->disk, MILLIS(1), MILLIS(1));
		mem_disk_settle_every(r->disk, 1 << 30);
	}
	for (unsigned i = 0; i < count; i++) {
		struct replica *r = &f->node[i];
		replica_boot(r);
		assert_int_equal(group_make(&r->groups, GROUP, first, i < voters ? voters : 0, &chain_ops, &r->chain,
					 &r->chain.group),
			OK);
		log_turn_end(r->log);
	}
}

void fixture_open(struct fixture *f, unsigned count, unsigned voters, const char *bug)
{
	fixture_open_with(f, count, voters, bug, &(struct raft_options) { .sleep_beats = 1000000 });
}

static void replica_down(struct replica *r)
{
	if (!r->up) return;
	r->up = false;
	raft_groups_deinit(&r->groups);
	log_free(r->log);
	diag_deinit(&r->diag);
	r->chain.group = NULL;
	r->chain.leading = false;
}

void fixture_stop(struct fixture *f, unsigned node)
{
	struct replica *r = &f->node[node];
	io_turn_hook_remove(r->io, &r->hook);
	sim_node_crash(r->n, SIM_KILL);
	replica_down(r);
}

void fixture_start(struct fixture *f, unsigned node)
{
	struct replica *r = &f->node[node];
	replica_boot(r);
	assert_int_equal(group_open(&r->groups, GROUP, &chain_ops, &r->chain, &r->chain.group), OK);
}

void fixture_close(struct fixture *f)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->node[i].up) fixture_stop(f, i);
	fixture_run(f, 1000); /* what is on its way lands */
	sim_free(f->s);
	for (unsigned i = 0; i < f->count; i++) mem_disk_free(f->node[i].disk);
	oracle_deinit(&f->oracle);
}

void fixture_run(struct fixture *f, uint64_t ms) { sim_run_for(f->s, MILLIS(ms)); }

bool fixture_until(struct fixture *f, fixture_cond *cond, uint64_t ms)
{
	for (uint64_t i = 0; i < ms && !cond(f); i++) fixture_run(f, 1);
	return cond(f);
}

struct replica *fixture_leader(struct fixture *f)
{
	struct replica *best = NULL; /* a deposed one may not know yet */
	for (unsigned i = 0; i < f->count; i++) {
		struct replica *r = &f->node[i];
		if (r->up && r->chain.group && r->chain.leading &&
			(!best || r->chain.leading_term > best->chain.leading_term))
			best = r;
	}
	return best;
}

bool fixture_is_led(struct fixture *f) { return fixture_leader(f) != NULL; }

struct replica *fixture_elect(struct fixture *f)
{
	assert_true(fixture_until(f, fixture_is_led, 20000));
	return fixture_leader(f);
}

void fixture_isolate(struct fixture *f, unsigned node, bool on)
{
	for (unsigned i = 0; i < f->count; i++)
		if (i != node) f->cut[node][i] = f->cut[i][node] = on;
}

bool fixture_campaign(struct fixture *f, unsigned node)
{
	for (unsigned i = 0; i < f->count; i++) {
		struct replica *r = &f->node[i];
		uint64_t leader = r->up ? fixture_status(r).leader : 0;
		if (r->up) r->chain.group->raft.election_timer_start = r->chain.group->io.time(&r->chain.group->io);
		if (!leader || leader == i + 1) continue;
		raft_peer_down(&r->groups, leader); /* its vote goes to whoever asks */
		r->chain.group->hurry_at_ms = 0;
	}
	struct group *g = f->node[node].chain.group;
	g->ahead_ms += 3 * (uint64_t)f->options.election_ms;
	bool leads = false;
	for (unsigned i = 0; i < 1000 && !leads; i++) {
		fixture_run(f, 1);
		leads = g->live && g->raft.state == RAFT_LEADER;
	}
	for (unsigned i = 0; i < f->count; i++)
		for (unsigned k = 0; k < f->count; k++)
			if (f->node[i].up) raft_peer_up(&f->node[i].groups, k + 1);
	return leads;
}

static void asked_done(struct proposal *p)
{
	struct asked *a = CONTAINER_OF(p, struct asked, p);
	assert_false(a->done);
	a->done = true;
	if (p->result == OK) oracle_acked(&a->f->oracle, 0, p->index, a->number);
}

enum err fixture_propose(struct fixture *f, struct replica *r, struct asked **out)
{
	struct buf body = { 0 };
	struct asked *a = &f->asked[f->asked_count++ % FIXTURE_ASKED_MAX];
	*a = (struct asked) { .f = f, .number = f->oracle.next_number, .p = { .done = asked_done } };
	r->seq = u64_max(r->seq, r->chain.seq) + 1;
	chain_body(&body, a->number, r->seq, 100);
	enum err e = group_propose(r->chain.group, &a->p, &body, LOG_ADMIT_GROWS);
	if (e == OK)
		f->oracle.next_number++;
	else
		buf_deinit(&body);
	log_turn_end(r->log);
	if (out) *out = a;
	return e;
}

void fixture_fill(struct fixture *f, struct replica *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct asked *a;
		assert_int_equal(fixture_propose(f, r, &a), OK);
		for (unsigned ms = 0; ms < 5000 && !a->done; ms++) fixture_run(f, 1);
		assert_true(a->done);
		assert_int_equal(a->p.result, OK);
	}
}

struct group_status fixture_status(const struct replica *r)
{
	struct group_status s;
	group_status(r->chain.group, &s);
	return s;
}

bool fixture_all_applied(struct fixture *f)
{
	struct replica *l = fixture_leader(f);
	if (!l) return false;
	struct group_status s = fixture_status(l);
	for (unsigned i = 0; i < s.member_count; i++) {
		struct replica *r = &f->node[s.member[i].id - 1];
		if (r->up && fixture_status(r).applied != s.last) return false;
	}
	return true;
}

enum err fixture_inject(struct fixture *f, struct replica *to, uint64_t from, struct frame_out *o)
{
	struct buf bytes = { 0 };
	(void)f;
	frame_end(o);
	for (unsigned i = 0; i < o->count; i++) buf_append_slice(&bytes, o->parts[i]);
	enum err e = raft_frame_in(&to->groups, from, buf_slice(&bytes));
	buf_deinit(&bytes);
	return e;
}

void fixture_copy_entry(struct fixture *f, const struct replica *r, uint64_t index, struct frame_out *o)
{
	struct log_read_req q = { .from = index, .to = index, .bytes_max = 1 };
	struct entry_head head;
	struct slice in, body;
	(void)f;
	assert_int_equal(log_read_now(group_log(r->chain.group), &q), OK);
	in = buf_slice(&q.entries);
	assert_int_equal(entry_next(&in, &head, &body), OK);
	frame_append_entry(o, head.term, (enum entry_kind)head.kind,
		slice_of(mem_dup(body.p, body.n), body.n)); /* given up to the child's end */
	buf_deinit(&q.entries);
}

uint64_t fixture_term_at(const struct replica *r, uint64_t index) { return group_term_at(r->chain.group, index); }

static void change_done(struct group_change *c) { CONTAINER_OF(c, struct fixture, change)->changed = true; }

static void second_done(struct group_change *c) { ASSERT(c->result != OK); }

void fixture_begin_change(struct fixture *f, struct replica *r, enum group_change_kind kind, uint64_t member)
{
	f->changed = false;
	f->change = (struct group_change) { .kind = kind, .member = member, .done = change_done };
	group_change(r->chain.group, &f->change);
}

void fixture_begin_second(struct fixture *f, struct replica *r, struct group_change *second)
{
	(void)f;
	second->done = second_done;
	group_change(r->chain.group, second);
}

bool fixture_has_changed(struct fixture *f) { return f->changed; }

void fixture_change(struct fixture *f, struct replica *r, enum group_change_kind kind, uint64_t member)
{
	fixture_begin_change(f, r, kind, member);
	(void)fixture_until(f, fixture_has_changed, 15000);
}
