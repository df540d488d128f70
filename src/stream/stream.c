/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a stream and its side of the group: load, apply, capture, lead. */
#include "stream_internal.h"

/* ---- erasing (S15) ---- */

static void erase_counted(struct stream *s)
{
	uint64_t now = erasures_total(&s->machine.erasures);
	diag_add(s->options.diag, COUNTER_stream_erasures, now - u64_min(now, s->erasures_told));
	s->erasures_told = now;
}

static void erase_noted(struct stream *s)
{
	erase_counted(s);
	chunks_clear(s); /* what was read may hold it */
}

static uint64_t on_erase_next(void *owner, uint64_t from, uint64_t to)
{
	const struct stream *s = owner;
	return machine_erase_next(&s->machine, from, to);
}

static void on_erasing(void *owner)
{
	struct stream *s = owner;
	erasures_copy(&s->erasing, &s->machine.erasures);
}

static void on_erased(void *owner)
{
	struct stream *s = owner;
	uint64_t before = erasures_total(&s->machine.erasures);
	chunks_clear(s);
	machine_erased(&s->machine, &s->erasing);
	s->erasures_told = erasures_total(&s->machine.erasures);
	diag_add(s->options.diag, COUNTER_stream_erased, before - s->erasures_told);
	erasures_deinit(&s->erasing);
	if (s->machine.erasures.count) group_erase(s->group);
}

/* ---- what the group asks ---- */

/* The stored state on its way: made on a worker, of nothing that the loop knows. */
struct stream_load {
	struct machine machine;
	bool has_config;
	struct state_batch consumers; /* the consumer room's values, for the loop to hand out */
	enum err result;
};

static bool load_value(void *arg, struct slice key, struct slice value)
{
	struct stream_load *t = arg;
	if (key.n && key.p[0] == 'k') {
		state_batch_put(&t->consumers, key, value);
		return true;
	}
	t->has_config |= key.n && key.p[0] == 'c';
	t->result = machine_restore(&t->machine, key, value);
	return t->result == OK;
}

static enum err on_load(struct group_load *l)
{
	if (l->index == 0) return OK;
	struct stream_load *t = NEW(struct stream_load);
	l->loaded = t;
	machine_init(&t->machine, &(struct stream_config) { 0 }, l->seed);
	t->machine.index = l->index;
	enum err e = state_group_each(l->state, l->group, SLICE_NULL, SLICE_NULL, load_value, t);
	if (e == OK) e = t->result;
	return e == OK ? machine_restored(&t->machine) : e;
}

static void take_consumers(struct stream *s, struct slice changes)
{
	struct slice key, value;
	bool put;
	while (s->machine.consumers && state_batch_next(&changes, &put, &key, &value) == OK)
		s->machine.consumers->restored(s->machine.consumers_arg, key, value);
}

static enum err on_take(void *owner, struct group_load *l)
{
	struct stream *s = owner;
	struct stream_load *t = l->loaded;
	const struct stream_consumer_ops *consumers = s->machine.consumers;
	void *arg = s->machine.consumers_arg;
	if (consumers) consumers->reset(arg);
	salvage_free(s); /* what was given up is taken back: a failure */
	s->is_accepting = false;
	machine_deinit(&s->machine);
	if (t)
		machine_move(&s->machine, &t->machine);
	else
		machine_init(&s->machine, &s->wanted, l->seed);
	if (t && !t->has_config) {
		stream_config_deinit(&s->machine.config);
		stream_config_copy(&s->machine.config, &s->wanted);
	}
	s->machine.consumers = consumers;
	s->machine.consumers_arg = arg;
	s->recent_count = 0;
	if (t) take_consumers(s, buf_slice(&t->consumers.ops));
	if (diag_fault(s->options.diag, FAULT_bug_s15_list_forgotten)) erasures_deinit(&s->machine.erasures);
	erasures_deinit(&s->erasing);
	erase_counted(s);
	if (diag_fault(s->options.diag, FAULT_bug_dedup_forgotten)) msg_ids_expire(&s->machine.ids, INT64_MAX);
	return OK;
}

static void on_drop(struct group_load *l)
{
	struct stream_load *t = l->loaded;
	if (!t) return;
	machine_deinit(&t->machine);
	state_batch_deinit(&t->consumers);
	mem_free(t);
	l->loaded = NULL;
}

/* Planted: a kind of record that a start leaves out. */
static bool is_left_out(const struct stream *s, const struct record *r)
{
	static const struct {
		enum stream_record_kind kind;
		enum fault bug;
	} bugs[] = { { RECORD_DROP, FAULT_bug_drop_not_replayed }, { RECORD_CLEAR, FAULT_bug_purge_not_replayed },
		{ RECORD_CONSUMER, FAULT_bug_acks_not_replayed } };
	for (size_t i = 0; !s->leading && i < COUNT_OF(bugs); i++)
		if (r->kind == bugs[i].kind && diag_fault(s->options.diag, bugs[i].bug)) return true;
	return false;
}

enum { RECORDS_FEW = 16 };

/* Decodes and checks a whole entry. False: it is poison (S11), and nothing of it is applied: a group that stops shows, captures and hashes the
 * state before it. */
static bool entry_check(const struct stream *s, struct slice records, uint32_t count, struct record *out)
{
	uint64_t last_seq = s->machine.seqs.last_seq;
	for (uint32_t i = 0; i < count; i++) {
		if (record_next(&records, &out[i]) != OK) return false;
		if (!is_left_out(s, &out[i]) && machine_check(&out[i], &last_seq) != OK) return false;
	}
	return true;
}

/* ---- ordered by a test: what is applied ends the process (S11) ---- */

static void die_by_assertion(void)
{
	const bool this_was_ordered = true;
	ASSERT(!this_was_ordered);
}
static void die_by_trap(void) { __builtin_trap(); }

static void die_by_reading(void)
{
	volatile uintptr_t nowhere = 8; /* not constant, or it would be seen through */
	(void)*(volatile uint8_t *)nowhere;
}

static unsigned deeper(unsigned depth)
{
	volatile uint8_t room[4096];
	room[0] = (uint8_t)depth;
	return depth == UINT32_MAX ? 0 : deeper(depth + 1) + room[0];
}
static void die_by_depth(void) { (void)deeper(0); }

static void die_if_ordered(const struct stream *s, const struct record *r)
{
	static const struct {
		enum fault fault;
		void (*die)(void);
	} ways[] = { { FAULT_apply_asserts, die_by_assertion }, { FAULT_apply_traps, die_by_trap },
		{ FAULT_apply_reads_nowhere, die_by_reading }, { FAULT_apply_overflows, die_by_depth } };
	static const char end[] = ".poison";
	const size_t n = sizeof end - 1;
	for (size_t i = 0; i < COUNT_OF(ways); i++) {
		if (!diag_fault(s->options.diag, ways[i].fault) || r->kind != RECORD_MSG || r->subject.n < n) continue;
		if (slice_eq_str(slice_from(r->subject, r->subject.n - n), end)) ways[i].die();
	}
}

/* ---- applying ---- */

static void apply_record(struct stream *s, uint64_t index, const struct record *r)
{
	struct machine_event ev;
	if (is_left_out(s, r)) return;
	die_if_ordered(s, r);
	enum err e = machine_apply(&s->machine, index, r, &ev);
	ASSERT(e == OK); /* machine_check has looked at it */
	if (ev.kind == RECORD_DROP && r->flags & MACHINE_DROP_ERASES) erase_noted(s);
	if (!s->leading) return;
	if (ev.kind == RECORD_MSG || ev.kind == RECORD_SKIP) stream_ahead_applied(s, r);
	if (ev.kind == RECORD_MSG) tidy_msg(s, r);
	if (ev.kind == RECORD_CONFIG) tidy_all(s);
}

static bool on_apply(void *owner, uint64_t index, uint64_t term, struct slice body)
{
	struct stream *s = owner;
	struct batch_head head;
	struct slice records;
	(void)term;
	if (s->is_accepting) return salvage_apply(s, index, body);
	if (batch_open(body, &head, &records) != OK) return false;
	uint64_t seq_before = s->machine.seqs.last_seq;
	struct record few[RECORDS_FEW], *r = few;
	if (head.record_count > RECORDS_FEW) r = mem_alloc(head.record_count * sizeof *r);
	bool good = entry_check(s, records, head.record_count, r);
	for (uint32_t i = 0; good && i < head.record_count; i++) apply_record(s, index, &r[i]);
	if (r != few) mem_free(r);
	if (!good) return false;
	s->machine.index = index;
	if (s->machine.seqs.last_seq != seq_before) reads_note_entry(s, index, seq_before, s->machine.seqs.last_seq);
	if (s->leading) stream_batch_applied(s, index);
	if (s->applied) s->applied(s->applied_arg);
	return true;
}

static bool on_entry_is_dead(void *owner, const struct entry_head *e, uint64_t seq_before)
{
	struct stream *s = owner;
	if (e->seq_last <= seq_before) return true; /* no message in it: the state covers the rest */
	uint64_t next = seq_index_next(&s->machine.seqs, seq_before + 1, NULL, NULL);
	return next == 0 || next > e->seq_last;
}

static void on_capture(void *owner, struct state_batch *batch)
{
	struct stream *s = owner;
	machine_capture(&s->machine, batch, false);
}

static void on_settled(void *owner, uint64_t index)
{
	struct stream *s = owner;
	(void)index;
	machine_settled(&s->machine);
}

static unsigned on_live_permille(void *owner, uint64_t first, uint64_t last)
{
	/* The log asks per range of entries; sequences are spread evenly enough over them for an estimate. */
	struct stream *s = owner;
	(void)first;
	(void)last;
	const struct seq_index *ix = &s->machine.seqs;
	uint64_t span = ix->live ? ix->last_seq - ix->first_seq + 1 : 0;
	return span ? (unsigned)(ix->live * 1000 / span) : 1000;
}

static void propose_wanted_config(struct stream *s);

static void on_lead(void *owner, bool leading, uint64_t term)
{
	struct stream *s = owner;
	s->term = term;
	s->leading = leading && !s->closing;
	stream_ahead_reset(s);
	tidy_reset(s);
	if (s->machine.consumers) s->machine.consumers->lead(s->machine.consumers_arg, s->leading);
	if (s->leading) {
		retain_reset(s);
		propose_wanted_config(s);
		retain_run(s);
		tidy_all(s);
	}
	if (s->applied) s->applied(s->applied_arg);
}

static uint64_t on_state_hash(void *owner)
{
	struct stream *s = owner;
	return stream_hash(s);
}

static void on_salvage(void *owner, uint64_t index, struct slice body)
{
	(void)index;
	salvage_entry(owner, body);
}

static void on_salvaged(void *owner) { salvage_over(owner); }

static void on_accepted(void *owner, uint64_t index, uint64_t seq_bound, struct state_batch *batch)
{
	salvage_accepted(owner, index, seq_bound, batch);
}

static const struct group_ops stream_group_ops = {
	.load = on_load,
	.take = on_take,
	.drop = on_drop,
	.apply = on_apply,
	.entry_is_dead = on_entry_is_dead,
	.capture = on_capture,
	.settled = on_settled,
	.live_permille = on_live_permille,
	.erase_next = on_erase_next,
	.erasing = on_erasing,
	.erased = on_erased,
	.lead = on_lead,
	.state_hash = on_state_hash,
	.salvage = on_salvage,
	.salvaged = on_salvaged,
	.accepted = on_accepted,
};

/* ---- the catalogue's configuration, when it is newer than the group's ---- */

static void propose_wanted_config(struct stream *s);

static void config_done(struct stream_req *r)
{
	struct stream *s = CONTAINER_OF(r, struct stream, config_req);
	s->config_proposed = false;
	if (r->result == OK && s->leading) propose_wanted_config(s);
}

static void propose_wanted_config(struct stream *s)
{
	if (s->options.keeps_config) return;
	if (s->config_proposed || stream_config_equal(&s->machine.config, &s->wanted)) return;
	s->config_req = (struct stream_req) { .done = config_done };
	s->config_proposed = stream_propose_config(s, &s->wanted, &s->config_req) == OK;
}

void stream_want_config(struct stream *s, const struct stream_config *c)
{
	stream_config_deinit(&s->wanted);
	stream_config_copy(&s->wanted, c);
	s->options.keeps_config = false;
	if (s->leading) propose_wanted_config(s);
}

bool stream_config_is_settled(const struct stream *s) { return stream_config_equal(&s->machine.config, &s->wanted); }

bool stream_take_config_changed(struct stream *s)
{
	bool changed = s->machine.config_changed;
	s->machine.config_changed = false;
	return changed;
}

void stream_on_applied(struct stream *s, void (*applied)(void *arg), void *arg)
{
	s->applied = applied;
	s->applied_arg = arg;
}

/* ---- life ---- */

static struct slice ahead_subject_key(const void *item)
{
	const struct ahead_subject *a = item;
	return slice_of(a->name, a->n);
}

static struct slice ahead_id_key(const void *item)
{
	const struct ahead_id *a = item;
	return slice_of(a->id, a->n);
}

enum err stream_open(const struct stream_options *o, const struct stream_config *config, struct stream **out)
{
	struct stream *s = NEW(struct stream);
	s->options = *o;
	stream_config_copy(&s->wanted, config);
	ledger_init(&s->memory, o->memory, 0);
	machine_init(&s->machine, config, io_random_u64(o->io));
	list_init(&s->flight);
	map_init(&s->ahead_subjects, io_random_u64(o->io), ahead_subject_key);
	map_init(&s->ahead_ids, io_random_u64(o->io), ahead_id_key);
	list_init(&s->finds);
	list_init(&s->walks);
	list_init(&s->tidy);
	list_init(&s->syncs);
	stream_held_init(s);
	retain_init(s);
	reads_init(s);
	*out = s;
	if (o->attach) o->attach(o->user, s);
	enum err e;
	if (o->make_members) {
		e = group_make(
			o->groups, o->group, o->make_members, o->make_member_count, &stream_group_ops, s, &s->group);
	} else {
		e = group_open(o->groups, o->group, &stream_group_ops, s, &s->group);
	}
	if (e != OK) {
		s->group = NULL;
		stream_free(s);
		*out = NULL;
	}
	return e;
}

static void group_closed(void *owner)
{
	struct stream *s = owner;
	s->group = NULL;
	if (s->closed) s->closed(s->closed_arg);
}

void stream_close(struct stream *s, bool gone, void (*closed)(void *arg), void *arg)
{
	ASSERT(!s->closing);
	s->closing = true;
	s->closed = closed;
	s->closed_arg = arg;
	on_lead(s, false, s->term);
	syncs_run(s);
	reads_cancel_all(s, ERR_CLOSED);
	finds_cancel_all(s);
	walks_cancel_all(s);
	group_close(s->group, gone, group_closed);
}

void stream_free(struct stream *s)
{
	if (!s) return;
	stream_ahead_reset(s);
	tidy_reset(s);
	salvage_free(s);
	io_timer_stop(s->options.io, &s->held_timer);
	retain_deinit(s);
	reads_deinit(s);
	map_deinit(&s->ahead_subjects);
	map_deinit(&s->ahead_ids);
	buf_deinit(&s->ahead_last_id);
	machine_deinit(&s->machine);
	erasures_deinit(&s->erasing);
	stream_config_deinit(&s->wanted);
	mem_free(s->recent);
	ledger_release(&s->memory, s->memory.used_bytes); /* of a machine that crashed: nobody answers */
	mem_free(s);
}

void stream_consumers_set(struct stream *s, const struct stream_consumer_ops *ops, void *arg)
{
	s->machine.consumers = ops;
	s->machine.consumers_arg = arg;
}

/* ---- looking ---- */

const struct stream_config *stream_config(const struct stream *s) { return &s->machine.config; }
int64_t stream_created_ns(const struct stream *s) { return s->options.created_ns; }
void *stream_user(const struct stream *s) { return s->options.user; }
struct group *stream_group(const struct stream *s) { return s->group; }
bool stream_is_leader(const struct stream *s) { return s->leading; }

const char *stream_doubt(const struct stream *s)
{
	return s->group && !s->closing && group_is_read_only(s->group) ? group_trouble(s->group) : NULL;
}

/* What came behind a gap, or may have come, is not applied: which message is the newest is not known then. */
const char *stream_doubt_about(const struct stream *s, uint64_t seq)
{
	const char *doubt = stream_doubt(s);
	struct group_status g;
	if (!doubt || (seq && seq <= s->machine.seqs.last_seq)) return NULL;
	group_status(s->group, &g);
	return g.lost_to == 0 || g.lost_to > g.applied ? doubt : NULL;
}

uint64_t stream_hash(const struct stream *s)
{
	const struct machine *m = &s->machine;
	return m->consumers ? m->hash ^ m->consumers->hash(m->consumers_arg) : m->hash;
}

void stream_state(const struct stream *s, struct stream_state *out)
{
	const struct machine *m = &s->machine;
	*out = (struct stream_state) {
		.msgs = m->seqs.live,
		.bytes = m->seqs.bytes,
		.first_seq = m->seqs.first_seq,
		.last_seq = m->seqs.last_seq,
		.deleted_count = seq_index_gone_count(&m->seqs),
		.subject_count = m->subjects.by_name.count,
		.first_time_ns = m->seqs.live == 0  ? 0
				 : m->first_time_ns ? m->first_time_ns
						    : retain_first_time(s),
		.last_time_ns = m->last_time_ns,
		.consumer_count = m->consumers ? m->consumers->count(m->consumers_arg) : 0,
	};
}

bool stream_is_live(const struct stream *s, uint64_t seq) { return seq_index_is_live(&s->machine.seqs, seq); }

void stream_apply_remove(struct stream *s, uint64_t seq, struct slice subject, uint64_t bytes)
{
	machine_remove(&s->machine, seq, subject, bytes);
}

void stream_turn_end(struct stream *s)
{
	if (s->leading) retain_run(s);
	tidy_run(s);
	syncs_run(s);
	stream_held_run(s);
	if (!retain_waits(s)) stream_flush(s);
	if (s->closing) return;
	reads_first_time(s);
	if (s->machine.erasures.count) group_erase(s->group);
	/* Not while applying: the log hears of a whole run of entries at its end. */
	if (s->machine.seqs.live == 0) group_trim(s->group, s->machine.index);
}
