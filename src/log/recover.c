/* SPDX-License-Identifier: Apache-2.0 */
/* recover — start (docs/STORAGE.md#start): bears a store in an empty directory, or makes a running log of what one holds.
 *
 *   lock ─> identity ─> slots: synced, dropped from the cache (S5) ─> state store checked (S10) ─> journal replayed ─> do they agree (S13)?
 *        ─> segments looked at ─> doubts recorded ─> installs finished (S19) ─> ready
 *
 * Nothing that grows with what is stored is read but the names of the segments. Blocking. */
#include <stdio.h>

#include "replay.h"

struct start {
	struct log *log;
	struct io *io;
	const char *dir;
	char *why;
	size_t why_bytes;
	struct buf path; /* owned */
	struct replay replay;
	struct state_head head;
	bool state_is_lost;
};

static const char *start_path(struct start *s, const char *name)
{
	buf_clear(&s->path);
	buf_printf(&s->path, "%s/%s", s->dir, name);
	return buf_str(&s->path);
}

static const char *slot_path(struct start *s, uint32_t k)
{
	buf_clear(&s->path);
	buf_printf(&s->path, "%s/journal/%02u", s->dir, k);
	return buf_str(&s->path);
}

/* The one sentence. */
static enum err refuse(struct start *s, enum err e, const char *fmt, ...) printf_like(3, 4);
static enum err refuse(struct start *s, enum err e, const char *fmt, ...)
{
	if (e == OK || s->why[0]) return e;
	int n = snprintf(s->why, s->why_bytes, "store %s: ", s->dir);
	if (n < 0 || (size_t)n >= s->why_bytes) return e;
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(s->why + n, s->why_bytes - (size_t)n, fmt, ap);
	va_end(ap);
	return e;
}

static enum err ok_if(enum err e, enum err also) { return e == also ? OK : e; }

/* ---- birth (S4) ---- */

struct found {
	bool has_birth, has_other, has_state;
	unsigned groups;
};

static void found_each(void *arg, const char *name, bool is_dir)
{
	struct found *f = arg;
	(void)is_dir;
	if (strcmp(name, "birth") == 0)
		f->has_birth = true;
	else if (strncmp(name, "state.lmdb", 10) == 0)
		f->has_state = true;
	else if (strcmp(name, "lock") != 0)
		f->has_other = true;
}

static void found_group(void *arg, const char *name, bool is_dir)
{
	struct found *f = arg;
	(void)name;
	(void)is_dir;
	f->groups++;
}

static enum err birth_mark(struct start *s)
{
	struct io_file *f = NULL;
	enum err e = io_file_open(s->io, start_path(s, "birth"), IO_OPEN_WRITE | IO_OPEN_CREATE, &f);
	if (e == OK) e = io_file_sync(f);
	io_file_close(f);
	return e == OK ? io_dir_sync(s->io, s->dir) : e;
}

struct leftovers {
	struct buf names; /* owned: NUL-terminated, one behind the other */
};

static void leftovers_each(void *arg, const char *name, bool is_dir)
{
	struct leftovers *w = arg;
	if (!is_dir) buf_append(&w->names, name, strlen(name) + 1);
}

/* What an interrupted birth left behind. */
static enum err birth_wipe(struct start *s)
{
	struct leftovers w = { 0 };
	enum err e = ok_if(io_dir_list(s->io, start_path(s, "journal"), leftovers_each, &w), ERR_NOT_FOUND);
	struct buf path = { 0 };
	for (size_t at = 0; e == OK && at < w.names.n; at += strlen((char *)w.names.p + at) + 1) {
		buf_clear(&path);
		buf_printf(&path, "%s/journal/%s", s->dir, (char *)w.names.p + at);
		e = io_path_unlink(s->io, buf_str(&path));
	}
	static const char *const names[] = { "identity.0", "identity.1" };
	for (size_t i = 0; e == OK && i < COUNT_OF(names); i++)
		e = ok_if(io_path_unlink(s->io, start_path(s, names[i])), ERR_NOT_FOUND);
	buf_deinit(&path);
	buf_deinit(&w.names);
	return e;
}

static enum err birth_slots(struct start *s)
{
	struct journal *j = &s->log->journal;
	enum err e = ok_if(io_dir_make(s->io, start_path(s, "journal")), ERR_EXISTS);
	if (e == OK) e = ok_if(io_dir_make(s->io, start_path(s, "groups")), ERR_EXISTS);
	for (uint32_t k = 0; e == OK && k < j->slot_count; k++) {
		e = io_file_open(
			s->io, slot_path(s, k), IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE, &j->slots[k].file);
		if (e == OK) e = io_file_allocate(j->slots[k].file, 0, j->slot_bytes);
	}
	/* After all of them were made: so the first sync is the only one that has much to do. */
	for (uint32_t k = 0; e == OK && k < j->slot_count; k++) e = io_file_sync(j->slots[k].file);
	if (e == OK) e = io_dir_sync(s->io, start_path(s, "journal"));
	return e == OK ? io_dir_sync(s->io, s->dir) : e;
}

static void birth_identity(struct log *l)
{
	struct identity *i = &l->identity;
	*i = (struct identity) {
		.counter = 1, .slot_bytes = l->options.slot_bytes, .slot_count = l->options.slot_count
	};
	io_random(l->io, i->id.store_uuid, sizeof i->id.store_uuid);
	io_random(l->io, i->secret, sizeof i->secret);
	while (i->id.raft_id == 0) i->id.raft_id = io_random_u64(l->io);
}

/* The directory's name must outlive a loss of power too, whoever made it. A parent that we may not read was not ours to make. */
static enum err birth_name(struct start *s)
{
	const char *slash = strrchr(s->dir, '/');
	buf_clear(&s->path);
	if (slash == s->dir)
		buf_append_str(&s->path, "/");
	else if (slash)
		buf_append(&s->path, s->dir, (size_t)(slash - s->dir));
	else
		buf_append_str(&s->path, ".");
	enum err e = io_dir_sync(s->io, buf_str(&s->path));
	return e == ERR_IO || e == ERR_CRASHED ? e : OK;
}

/* A store that has an identity has a first block too: so a journal without any is damage, never youth. */
static enum err birth(struct start *s)
{
	struct log *l = s->log;
	enum err e = birth_name(s);
	if (e == OK) e = birth_mark(s);
	if (e == OK) e = birth_wipe(s);
	if (e != OK) return refuse(s, e, "cannot be made: %s", err_text(e));
	birth_identity(l);
	memcpy(l->key.secret, l->identity.secret, sizeof l->key.secret);
	journal_init(l);
	e = birth_slots(s);
	if (e == OK) e = journal_write_now(l);
	if (e == OK) e = identity_store(l->io, s->dir, &l->identity);
	if (e == OK) e = io_path_unlink(s->io, start_path(s, "birth"));
	if (e == OK) e = io_dir_sync(s->io, s->dir);
	journal_deinit(l);
	l->journal = (struct journal) { 0 };
	list_init(&l->journal.ready);
	if (e == OK)
		diag_line(l->diag, DIAG_INFO, "log store %s is new: %u slots of %llu KiB", s->dir,
			l->identity.slot_count, (unsigned long long)(l->identity.slot_bytes / KIB));
	return refuse(s, e, "cannot be made: %s", err_text(e));
}

static enum err start_identity(struct start *s)
{
	struct log *l = s->log;
	struct found f = { 0 };
	enum err e = io_dir_list(s->io, s->dir, found_each, &f);
	if (e != OK) return refuse(s, e, "cannot be read: %s", err_text(e));
	if (f.has_birth) {
		e = ok_if(io_dir_list(s->io, start_path(s, "groups"), found_group, &f), ERR_NOT_FOUND);
		if (e != OK) return refuse(s, e, "cannot be read: %s", err_text(e));
		if (f.has_state || f.groups)
			return refuse(s, ERR_CORRUPT,
				"holds data beside the file `birth`, which only a store without any has; "
				"restore it from a copy, or wipe it and let its peers refill it");
		e = birth(s);
	} else if (!f.has_other && !f.has_state) {
		e = birth(s);
	}
	if (e != OK) return e;
	bool repaired = false;
	e = identity_load(s->io, s->dir, &l->identity, &repaired);
	if (repaired && e == OK)
		diag_line(l->diag, DIAG_WARN, "log store %s: one copy of the identity was bad and has been rewritten",
			s->dir);
	if (e == ERR_NOT_FOUND)
		return refuse(s, ERR_INVALID,
			"is not empty and has no identity: not a store of ours, or one that was damaged");
	if (e == ERR_FORMAT) return refuse(s, e, "is of a higher format level than this binary knows");
	if (e == ERR_CORRUPT)
		return refuse(s, e,
			"both copies of the identity are damaged; restore them from a copy, or wipe the store and "
			"let its peers refill it");
	memcpy(l->key.secret, l->identity.secret, sizeof l->key.secret);
	l->key.is_unseeded = log_fault(l, FAULT_bug_s3_unseeded);
	return refuse(s, e, "the identity cannot be read: %s", err_text(e));
}

static enum err start_lock(struct start *s)
{
	enum err e = ok_if(io_dir_make(s->io, s->dir), ERR_EXISTS);
	if (e != OK) return refuse(s, e, "the directory cannot be made: %s", err_text(e));
	e = io_file_open(s->io, start_path(s, "lock"), IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_LOCK, &s->log->lock);
	if (e == ERR_LOCKED) return refuse(s, e, "is in use by another process");
	return refuse(s, e, "cannot be locked: %s", err_text(e));
}

/* ---- slots (S4, S5) ---- */

static enum err slot_open(struct start *s, uint32_t k)
{
	struct log *l = s->log;
	struct slot *slot = &l->journal.slots[k];
	struct slot_state *state = &s->replay.slots[k];
	enum err e = io_file_open(s->io, slot_path(s, k), IO_OPEN_READ | IO_OPEN_WRITE, &slot->file);
	if (e == ERR_NOT_FOUND) {
		diag_line(l->diag, DIAG_ERROR, "log journal slot %u is missing", k);
		state->is_missing = true;
		return io_file_open(s->io, slot_path(s, k), IO_OPEN_READ | IO_OPEN_WRITE | IO_OPEN_CREATE, &slot->file);
	}
	if (e == OK) e = io_file_size(slot->file, &state->bytes);
	if (e == OK && state->bytes < l->journal.slot_bytes) {
		diag_line(l->diag, DIAG_ERROR, "log journal slot %u is too short: %llu of %llu bytes", k,
			(unsigned long long)state->bytes, (unsigned long long)l->journal.slot_bytes);
		state->is_short = true;
	}
	if (e == OK && !log_fault(l, FAULT_bug_s5_believe_cache)) {
		e = io_file_sync(slot->file);
		if (e == OK) e = io_file_drop_cache(slot->file);
	}
	return e == OK ? io_file_data_end(slot->file, &state->data_end) : e;
}

static enum err start_slots(struct start *s)
{
	struct log *l = s->log;
	enum err e = ok_if(io_dir_make(s->io, start_path(s, "journal")), ERR_EXISTS);
	if (e == OK) e = ok_if(io_dir_make(s->io, start_path(s, "groups")), ERR_EXISTS);
	/* S5 holds for names as well: what an earlier process made and did not live to sync counts only now. */
	if (e == OK) e = io_dir_sync(s->io, start_path(s, "journal"));
	if (e == OK) e = io_dir_sync(s->io, s->dir);
	for (uint32_t k = 0; e == OK && k < l->journal.slot_count; k++) e = slot_open(s, k);
	return refuse(s, e, "the journal cannot be opened: %s", err_text(e));
}

/* After replay, which wants to see what was cut, and after the doubts are recorded: a crash in between must not leave a slot that looks
 * whole. */
static enum err start_mend_slots(struct start *s)
{
	struct log *l = s->log;
	enum err e = OK;
	bool any = false;
	for (uint32_t k = 0; e == OK && k < l->journal.slot_count; k++) {
		const struct slot_state *state = &s->replay.slots[k];
		if (!state->is_missing && !state->is_short) continue;
		struct io_file *f = l->journal.slots[k].file;
		uint64_t have; /* with what was recorded now: that must stay */
		e = io_file_size(f, &have);
		if (e == OK && have < l->journal.slot_bytes)
			e = io_file_allocate(f, have, l->journal.slot_bytes - have);
		if (e == OK) e = io_file_sync(f);
		any = true;
	}
	if (e == OK && any) e = io_dir_sync(s->io, start_path(s, "journal"));
	return refuse(s, e, "a slot of the journal cannot be made anew: %s", err_text(e));
}

/* ---- state store (S10) ---- */

bool recover_group(struct log *l, uint64_t id, struct slice meta)
{
	struct group_meta m;
	bool is_good = id > 0 && group_meta_decode(meta, &m) == OK;
	if (is_good) {
		struct log_group *g = group_new(l, id);
		g->is_stored = true;
		g->generation = m.generation;
		g->state_index = m.state_index;
		g->state_term = m.state_term;
		g->conf_index = m.conf_index;
		g->contiguous_from = m.contiguous_from;
		g->settled_index = g->last_index = m.settled_index;
		g->settled_seq = g->last_seq = m.settled_seq;
		g->last_term = runs_term(&m.runs, m.settled_index);
		g->refs.first = m.settled_index + 1;
		g->conf = m.conf;
		g->runs = m.runs;
		g->segments = m.segments;
		if (group_meta_has_lost_state(&m)) {
			g->doubt |= DOUBT_STATE;
			g->doubt_from = 1;
			g->doubt_why = mem_strdup("its state is lost");
		}
		if (log_fault(l, FAULT_bug_s9_state_index))
			g->state_index = u64_max(g->state_index, g->settled_index + 1);
		m = (struct group_meta) { 0 };
		group_insert(l, g);
	}
	if (id > 0) group_meta_deinit(&m);
	return is_good;
}

static bool group_load(void *arg, uint64_t id, struct slice meta)
{
	struct start *s = arg;
	bool is_good = recover_group(s->log, id, meta);
	if (!is_good) s->state_is_lost = true;
	return is_good;
}

/* What cannot be read is ERR_CORRUPT too; ERR_IO is a failed sync: nothing is known then, and the start is refused (S17). */
static bool is_state_damage(enum err e) { return e == ERR_CORRUPT || e == ERR_FORMAT; }

bool recover_lose_state(struct slice meta, struct buf *out)
{
	struct group_meta m;
	bool is_good = group_meta_decode(meta, &m) == OK;
	if (is_good) {
		group_meta_lose_state(&m);
		group_meta_encode(&m, out);
	}
	group_meta_deinit(&m);
	return is_good;
}

static bool state_lose(void *arg, uint64_t id, struct slice meta, struct buf *out)
{
	const struct start *s = arg;
	bool is_good = recover_lose_state(meta, out);
	if (is_good)
		diag_line(s->log->diag, DIAG_ERROR,
			"log group=%llu values of its state are damaged; the states of the other groups are whole",
			(unsigned long long)id);
	return is_good;
}

/* S10; damage to single values costs their groups the state, and nobody else. */
static enum err state_check(struct start *s, const char *path)
{
	const struct state_ops *ops = s->log->options.state;
	enum err e = ops->check(s->io, path, &s->head);
	if (e != ERR_CORRUPT || !ops->mend) return e;
	enum err mended = ops->mend(s->io, path, state_lose, s);
	if (mended == ERR_NO_SPACE)
		return mended; /* it is not lost, it cannot be written: refused, like any start without room */
	return mended == OK ? ops->check(s->io, path, &s->head) : e;
}

/* Opens what `check` let pass and loads the groups. The state store is damaged: OK, and state_is_lost. */
static enum err start_state(struct start *s)
{
	struct log *l = s->log;
	const struct state_ops *ops = l->options.state;
	struct buf path = { 0 };
	buf_printf(&path, "%s/state.lmdb", s->dir);
	enum err e = OK;
	if (!log_fault(l, FAULT_bug_s10_state_unchecked)) e = state_check(s, buf_str(&path));
	if (e == ERR_NOT_FOUND) e = OK;
	if (e == OK) e = ops->open(s->io, buf_str(&path), &l->state);
	if (e == OK) e = ops->head(l->state, &s->head);
	if (e == OK) e = ops->groups(l->state, group_load, s);
	buf_deinit(&path);
	if (is_state_damage(e)) {
		diag_line(l->diag, DIAG_ERROR, "log state store is damaged: %s", err_text(e));
		s->state_is_lost = true;
		e = OK;
	}
	return refuse(s, e, "the state store cannot be opened: %s", err_text(e));
}

static void groups_clear(struct log *l)
{
	for (uint32_t i = 0; i < l->groups_count; i++) group_free(l->groups[i]);
	l->groups_count = 0;
}

static enum err state_set_aside(struct start *s)
{
	struct log *l = s->log;
	const struct state_ops *ops = l->options.state;
	struct buf path = { 0 };
	buf_printf(&path, "%s/state.lmdb", s->dir);
	if (l->state) ops->close(l->state);
	l->state = NULL;
	enum err e = ok_if(ops->set_aside(s->io, buf_str(&path)), ERR_NOT_FOUND);
	if (e == OK) e = ops->open(s->io, buf_str(&path), &l->state);
	buf_deinit(&path);
	s->head = (struct state_head) { 0 };
	groups_clear(l);
	return refuse(s, e, "the damaged state store cannot be set aside: %s", err_text(e));
}

/* S13: the state store may be at the last SETTLED round, one further (a crash before SETTLED) or one back (its last commit is lost, and
 * its slots are still there). */
bool recover_state_agrees(const struct replay *r, const struct state_head *h)
{
	const struct settled *t = &r->settled;
	if (log_fault(r->log, FAULT_bug_s10_state_unchecked)) return true;
	if (h->round == t->round) return h->sum == t->sum;
	if (h->round == t->round + 1) return true;
	if (h->round == t->round_before) return h->sum == t->sum_before;
	return r->store_is_touched && h->round > t->round;
}

static enum err start_replay(struct start *s)
{
	enum err e = replay_run(&s->replay);
	return refuse(s, e, "%s", s->replay.why[0] ? s->replay.why : err_text(e));
}

static enum err start_journal(struct start *s)
{
	struct log *l = s->log;
	enum err e = replay_survey(&s->replay);
	if (e != OK) return refuse(s, e, "%s", s->replay.why[0] ? s->replay.why : err_text(e));
	if (!s->state_is_lost) {
		e = start_replay(s);
		if (e != OK) return e;
		s->state_is_lost = !recover_state_agrees(&s->replay, &s->head);
		if (!s->state_is_lost) return OK;
		diag_line(l->diag, DIAG_ERROR, "log state store holds round %llu, the journal says %llu",
			(unsigned long long)s->head.round, (unsigned long long)s->replay.settled.round);
	}
	settle_forget_graves(l);
	e = state_set_aside(s);
	if (e == OK) e = start_replay(s);
	if (e != OK) return e;
	/* Nothing had been settled: nothing is lost with it. */
	if (recover_state_agrees(&s->replay, &s->head)) s->state_is_lost = false;
	if (!s->state_is_lost) return OK;
	diag_line(l->diag, DIAG_ERROR, "log state store was set aside; every group is in doubt");
	for (uint32_t i = 0; i < l->groups_count; i++) {
		struct log_group *g = l->groups[i];
		g->is_known = true;
		g->doubt |= DOUBT_STATE;
		if (!g->doubt_why) g->doubt_why = mem_strdup("the state store is damaged and was set aside");
		g->doubt_from = 1;
	}
	return OK;
}

/* ---- groups ---- */

static void group_lost_segment(void *arg, const struct segment_info *info, const char *what)
{
	struct log_group *g = arg;
	if (log_fault(g->log, FAULT_bug_s7_no_doubt)) return;
	g->damaged.from = g->damaged.from ? u64_min(g->damaged.from, info->first_index) : info->first_index;
	g->damaged.to = u64_max(g->damaged.to, info->last_index);
	g->contiguous_from = u64_max(g->contiguous_from, info->last_index + 1);
	if (!g->doubt) g->doubt_from = info->first_index;
	g->doubt |= DOUBT_ENTRIES;
	if (g->doubt_why) return;
	struct buf text = { 0 };
	buf_printf(&text, "the segment of entries %llu..%llu %s", (unsigned long long)info->first_index,
		(unsigned long long)info->last_index, what);
	g->doubt_why = mem_strdup(buf_str(&text));
	buf_deinit(&text);
}

static void group_count(struct log_group *g)
{
	for (uint32_t i = 0; i < g->refs.count; i++) {
		const struct log_ref *ref = refs_at(&g->refs, g->refs.first + i);
		g->refs_bytes += ref_bytes(ref);
		if (g->refs.first + i > g->state_index) group_float(g, ref);
	}
	for (uint32_t i = 0; i < g->stranded.count; i++) {
		const struct log_ref *ref = refs_at(&g->stranded, g->stranded.first + i);
		group_float(g, ref);
		g->stranded_bytes += ref_frame_bytes(ref);
	}
	g->log->refs_bytes += g->refs_bytes;
}

static enum err start_groups(struct start *s)
{
	struct log *l = s->log;
	replay_finish(&s->replay);
	enum err e = OK;
	for (uint32_t i = 0; e == OK && i < l->groups_count; i++) {
		struct log_group *g = l->groups[i];
		struct segment_place place;
		group_place(g, &place);
		if (g->segments.count) e = segment_dir_compare(l->io, &place, &g->segments, group_lost_segment, g);
		g->applied_index = g->state_index;
		g->applied_term = g->state_term;
		g->applied_conf_index = g->conf_index;
		buf_append_slice(&g->applied_conf, buf_slice(&g->conf));
		group_count(g);
	}
	return refuse(s, e, "segments cannot be looked at: %s", err_text(e));
}

/* ---- directories that nobody names ---- */

/* After a loss that touches all groups nothing is unlinked: somebody may want to look. */
static enum err start_strays(struct start *s)
{
	if (s->replay.all_are_doubted || s->state_is_lost) return OK;
	enum err e = stray_bury(s->log);
	return refuse(s, e, "the directory of groups cannot be read: %s", err_text(e));
}

/* ---- where the journal goes on, and what it is told first ---- */

static enum err start_position(struct start *s)
{
	struct log *l = s->log;
	struct journal *j = &l->journal;
	const struct replay *r = &s->replay;
	j->use = u64_max(r->end_use, 1);
	j->next_at = r->end_use ? r->end_at : 0;
	uint64_t lowest = j->use >= j->slot_count ? j->use - j->slot_count + 1 : 1;
	j->oldest_use = u64_max(u64_min(r->settled.use_before + 1, j->use > 1 ? j->use - 1 : 1), lowest);
	j->next_number = u64_max(r->next_number, 1);
	j->durable_number = j->next_number - 1;
	j->durable_pos = journal_pos(l, j->use, j->next_at);
	j->chain = r->chain;
	j->previous_count = r->next_number ? r->last_count : BLOCK_GROUPS_ALL;
	if (block_list_bytes(j->previous_count) == r->last_ids.n && r->last_ids.n) {
		j->previous_ids = mem_alloc(r->last_ids.n);
		for (uint32_t i = 0; i < j->previous_count; i++)
			j->previous_ids[i] = le64_get(r->last_ids.p + (size_t)i * 8);
	} else if (j->previous_count) {
		j->previous_count = BLOCK_GROUPS_ALL;
	}
	j->is_closing_last = (r->last_flags & BLOCK_CLOSING) != 0;
	for (uint32_t k = 0; k < j->slot_count; k++)
		j->slots[k].written_to = u64_min(round_up(r->slots[k].data_end, BLOCK_ALIGN), j->slot_bytes);
	return OK;
}

static enum err start_settled(struct start *s)
{
	struct log *l = s->log;
	struct settle *t = &l->settle;
	t->recorded = s->replay.settled;
	t->held_round = s->head.round;
	t->held_sum = s->head.sum;
	bool is_back = s->head.round < t->recorded.round;
	t->held_use = is_back ? t->recorded.use_before : t->recorded.use;
	t->round_next = u64_max(t->recorded.round, t->held_round) + 1;
	return OK;
}

/* The state store is ahead of the journal: the journal is told, or one more crash would make them two apart. */
static void start_adopt_round(struct log *l)
{
	struct settle *t = &l->settle;
	if (t->held_round <= t->recorded.round) return;
	struct settled next = {
		.round = t->held_round,
		.sum = t->held_sum,
		.round_before = t->recorded.round,
		.sum_before = t->recorded.sum,
		.use = t->recorded.use,
		.use_before = t->recorded.use_before,
	};
	settle_record(l, &next);
}

/* An empty state store has taken the place of the one that was set aside: to the next start that is no new loss. */
static void start_record_loss(struct start *s)
{
	struct settle *t = &s->log->settle;
	if (!s->state_is_lost) return;
	struct settled next = {
		.round = t->round_next++,
		.sum = 0, /* no commit has this number */
		.round_before = t->held_round,
		.sum_before = t->held_sum,
		.use = t->recorded.use,
		.use_before = t->recorded.use_before,
	};
	settle_record(s->log, &next);
}

/* S4: the table of the use before the current one stands in for the current one's. When that slot has lost its end or all of it, a new use
 * begins now, for which the current one stands in. */
static bool start_replaces_stand_in(struct start *s)
{
	struct log *l = s->log;
	uint64_t use = l->journal.use;
	if (use < 2) return false;
	const struct slot_state *before = &s->replay.slots[(use - 2) % l->journal.slot_count];
	return (before->is_missing || before->is_short) && journal_rotate(l);
}

static enum err start_record(struct start *s)
{
	struct log *l = s->log;
	struct journal *j = &l->journal;
	for (uint32_t i = 0; i < l->groups_count; i++) {
		struct log_group *g = l->groups[i];
		if (!g->doubt) continue;
		diag_line(l->diag, DIAG_ERROR, "log group=%s is in doubt from index %llu on: %s", g->label,
			(unsigned long long)g->doubt_from, g->doubt_why ? g->doubt_why : "it was in doubt before");
		if (!g->doubt_why) g->doubt_why = mem_strdup("it was in doubt before");
		diag_count(l->diag, COUNTER_log_groups_doubted);
		if (group_doubt_is_untold(g)) group_record_doubt(g);
	}
	l->lacks_groups = s->replay.lacks_groups;
	if (l->lacks_groups) {
		diag_line(l->diag, DIAG_ERROR, "log groups may be missing: what is made now is in doubt");
		if (!s->replay.lacks_recorded) group_record_lack(l);
	}
	start_record_loss(s);
	start_adopt_round(l);
	bool is_anew = start_replaces_stand_in(s);
	if (!is_anew && !j->gathering && list_is_empty(&j->waiting)) return OK;
	enum err e = journal_write_now(l);
	return refuse(s, e, "the journal cannot be written: %s", err_text(e));
}

/* ---- installs that the crash interrupted behind their commit point (S19) ---- */

struct move {
	struct state_change *changes; /* owned array; metas and batches are in bufs */
	struct buf *metas, *batches;  /* owned arrays */
	struct log_group **groups;    /* owned array */
	unsigned count;
};

static enum err move_read(struct start *s, struct move *m, struct log_group *g)
{
	struct segment_place place;
	group_place(g, &place);
	unsigned i = m->count++;
	m->groups[i] = g;
	enum err e =
		install_read_state(s->io, &place, g->installed_state_bytes, g->installed_state_crc, &m->batches[i]);
	struct group_meta meta;
	settle_meta(g, &meta);
	if (e == ERR_CORRUPT || e == ERR_NOT_FOUND || e == ERR_IO) {
		buf_clear(&m->batches[i]);
		group_doubt(g, DOUBT_STATE, 1, "the state that came with an install is damaged");
		group_meta_lose_state(&meta);
		g->state_index = g->state_term = g->conf_index = 0;
		buf_clear(&g->conf);
		e = OK;
	}
	group_meta_encode(&meta, &m->metas[i]);
	group_meta_deinit(&meta);
	m->changes[i] = (struct state_change) {
		.group = g->id,
		.drop = true,
		.meta = buf_slice(&m->metas[i]),
		.batch = buf_slice(&m->batches[i]),
	};
	return e;
}

static enum err move_commit(struct start *s, struct move *m)
{
	struct log *l = s->log;
	struct settle *t = &l->settle;
	struct state_head head = { .round = t->round_next };
	enum err e = l->options.state->commit(l->state, m->changes, m->count, &head);
	if (e != OK) return e;
	struct settled next = {
		.round = head.round,
		.sum = head.sum,
		.round_before = t->held_round,
		.sum_before = t->held_sum,
		.use = t->held_use,
		.use_before = t->held_use,
	};
	for (unsigned i = 0; i < m->count; i++) {
		m->groups[i]->is_installed = false;
		settle_bury_state(l, m->groups[i], head.round);
		m->groups[i]->is_stored = true;
		if (m->groups[i]->doubt && !(m->groups[i]->doubt & DOUBT_RECORDED)) group_record_doubt(m->groups[i]);
	}
	t->held_round = head.round;
	t->held_sum = head.sum;
	t->round_next++;
	settle_record(l, &next);
	return journal_write_now(l);
}

static enum err start_installs(struct start *s)
{
	struct log *l = s->log;
	unsigned count = 0;
	for (uint32_t i = 0; i < l->groups_count; i++) count += l->groups[i]->is_installed;
	if (count == 0) return OK;
	struct move m = {
		.changes = mem_zalloc(count * sizeof *m.changes),
		.metas = mem_zalloc(count * sizeof *m.metas),
		.batches = mem_zalloc(count * sizeof *m.batches),
		.groups = mem_zalloc(count * sizeof(struct log_group *)),
	};
	enum err e = OK;
	for (uint32_t i = 0; e == OK && i < l->groups_count; i++)
		if (l->groups[i]->is_installed) e = move_read(s, &m, l->groups[i]);
	if (e == OK) e = move_commit(s, &m);
	for (unsigned i = 0; i < count; i++) {
		buf_deinit(&m.metas[i]);
		buf_deinit(&m.batches[i]);
	}
	mem_free(m.changes);
	mem_free(m.metas);
	mem_free(m.batches);
	mem_free(m.groups);
	return refuse(s, e, "an install cannot be finished: %s", err_text(e));
}

/* ---- the order of things ---- */

static enum err start_options(struct start *s)
{
	struct log *l = s->log;
	struct log_options *o = &l->options;
	uint64_t most = l->identity.slot_bytes / 4;
	if (o->entry_bytes_max == 0) o->entry_bytes_max = most;
	if (o->entry_bytes_max <= most) return OK;
	return refuse(s, ERR_INVALID, "the largest entry may have a quarter of a journal slot (%llu bytes), not %llu",
		(unsigned long long)most, (unsigned long long)o->entry_bytes_max);
}

static enum err start_init(struct start *s)
{
	journal_init(s->log);
	s->replay.log = s->log;
	s->replay.slots = mem_zalloc(s->log->journal.slot_count * sizeof *s->replay.slots);
	return OK;
}

static enum err start_space(struct start *s)
{
	struct space *p = &s->log->space;
	uint64_t total;
	enum err e = io_space(s->io, s->dir, &p->free_bytes, &total);
	p->is_known = e == OK;
	return e == ERR_CRASHED ? e : OK;
}

enum err recover(struct log *l, char *why, size_t why_bytes)
{
	static enum err (*const steps[])(struct start * s) = { start_lock, start_identity, start_options, start_init,
		start_slots, start_state, start_journal, start_groups, start_position, start_settled, start_record,
		start_mend_slots, start_installs, start_strays, start_space };
	struct start s = { .log = l, .io = l->io, .dir = l->options.dir, .why = why, .why_bytes = why_bytes };
	enum err e = OK;
	for (size_t i = 0; e == OK && i < COUNT_OF(steps); i++) e = steps[i](&s);
	replay_deinit(&s.replay);
	buf_deinit(&s.path);
	return e;
}
