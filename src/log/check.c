/* SPDX-License-Identifier: Apache-2.0 */
/* check — a store is verified while nobody has it open (`thebes check`). It reads what a start reads, in the same order and with the same
 * code, and then what no start reads: every segment. It writes nothing, not even what a start would mend.
 *
 *   lock ─> identity copies ─> slots ─> state store ─> journal replayed into a log that is thrown away ─> segments ─> findings
 *
 * So a group is told as damaged exactly when a start would put it in doubt, and the places of the damage beside it. */
#include <stdio.h>
#include <stdlib.h>

#include "replay.h"

struct check {
	struct io *io;
	const char *dir;
	const struct state_ops *ops;
	log_finding_fn *each;
	void *arg;
	struct log_check_report *report;
	char *why;
	size_t why_bytes;
	struct log *log;
	struct diag diag; /* says nothing */
	struct replay replay;
	struct state_verdict state;
	bool has_state;     /* the file is there … */
	bool state_is_lost; /* … and a start would set it aside */
	struct buf path;    /* owned */
};

/* ---- telling ---- */

static enum err refuse(struct check *c, enum err e, const char *fmt, ...) printf_like(3, 4);
static enum err refuse(struct check *c, enum err e, const char *fmt, ...)
{
	if (e == OK || c->why[0]) return e;
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(c->why, c->why_bytes, fmt, ap);
	va_end(ap);
	return e;
}

static void tell(struct check *c, const struct log_finding *f)
{
	if (f->is_damage)
		c->report->damages++;
	else
		c->report->notes++;
	c->each(c->arg, f);
}

static void tell_file(struct check *c, bool is_damage, const char *file, uint64_t offset, const char *what)
{
	tell(c, &(struct log_finding) { .is_damage = is_damage, .file = file, .offset = offset, .what = what });
}

static const char *check_path(struct check *c, const char *name)
{
	buf_clear(&c->path);
	buf_printf(&c->path, "%s/%s", c->dir, name);
	return buf_str(&c->path);
}

/* ---- the directory ---- */

struct found {
	bool has_birth, has_identity, has_any;
};

static void found_each(void *arg, const char *name, bool is_dir)
{
	struct found *f = arg;
	(void)is_dir;
	if (strcmp(name, "birth") == 0) f->has_birth = true;
	if (strncmp(name, "identity.", 9) == 0) f->has_identity = true;
	if (strcmp(name, "lock") != 0) f->has_any = true;
}

static enum err check_dir(struct check *c)
{
	struct found f = { 0 };
	enum err e = io_dir_list(c->io, c->dir, found_each, &f);
	if (e != OK) return refuse(c, e, "%s cannot be read: %s", c->dir, err_text(e));
	if (!f.has_any) return refuse(c, ERR_INVALID, "%s is empty: there is nothing to check", c->dir);
	if (f.has_birth)
		return refuse(c, ERR_INVALID,
			"the birth of the store %s was interrupted: it holds nothing, the next start begins anew",
			c->dir);
	if (!f.has_identity)
		return refuse(c, ERR_INVALID,
			"%s has no identity: not a store of ours, or one that lost both copies of it", c->dir);
	/* A copy of a store may lack the file. */
	e = io_file_open(c->io, check_path(c, "lock"), IO_OPEN_READ | IO_OPEN_LOCK, &c->log->lock);
	if (e == ERR_NOT_FOUND) return OK;
	if (e == ERR_LOCKED) return refuse(c, e, "the store %s is in use: stop its server, or check a copy", c->dir);
	return refuse(c, e, "the store %s cannot be locked: %s", c->dir, err_text(e));
}

/* ---- identity ---- */

static enum err identity_look(struct check *c, const char *name, struct identity *out)
{
	struct io_file *f = NULL;
	uint8_t bytes[IDENTITY_FILE_BYTES];
	size_t got = 0;
	enum err e = io_file_open(c->io, check_path(c, name), IO_OPEN_READ, &f);
	if (e == OK) e = io_file_sync(f);
	if (e == OK) e = io_file_drop_cache(f);
	if (e == OK) e = io_file_read(f, 0, bytes, sizeof bytes, &got);
	io_file_close(f);
	if (e == ERR_NOT_FOUND) {
		tell_file(c, true, name, 0, "a copy of the identity is missing");
		return ERR_CORRUPT;
	}
	if (e == OK) e = got >= IDENTITY_BYTES ? identity_decode(bytes, out) : ERR_CORRUPT;
	if (e == ERR_FORMAT) return refuse(c, e, "the store is of a higher format level than this binary knows");
	if (e == ERR_CORRUPT || e == ERR_IO) {
		tell_file(c, true, name, 0, "a copy of the identity is damaged");
		return ERR_CORRUPT;
	}
	if (e != OK) return refuse(c, e, "%s/%s cannot be read: %s", c->dir, name, err_text(e));
	c->report->bytes += IDENTITY_BYTES;
	uint8_t whole[IDENTITY_FILE_BYTES] = { 0 };
	identity_encode(out, whole);
	if (got < sizeof whole || memcmp(whole, bytes, sizeof whole) != 0)
		tell_file(c, false, name, IDENTITY_BYTES, "the zeros behind the identity are damaged");
	return OK;
}

static enum err check_identity(struct check *c)
{
	static const char *const names[] = { "identity.0", "identity.1" };
	struct identity copy[2] = { 0 };
	enum err e[2];
	for (unsigned i = 0; i < 2; i++) {
		e[i] = identity_look(c, names[i], &copy[i]);
		if (e[i] != OK && e[i] != ERR_CORRUPT) return e[i];
	}
	if (e[0] != OK && e[1] != OK) {
		tell_file(c, true, NULL, 0, "without an identity neither the journal nor the segments can be read");
		return ERR_CORRUPT;
	}
	unsigned good = e[0] != OK || (e[1] == OK && copy[1].counter > copy[0].counter);
	if (e[0] == OK && e[1] == OK && copy[0].counter != copy[1].counter)
		tell_file(c, false, names[!good], 0, "a copy of the identity is older than the other");
	struct log *l = c->log;
	l->identity = copy[good];
	memcpy(l->key.secret, l->identity.secret, sizeof l->key.secret);
	return OK;
}

/* ---- slots ---- */

struct slot_name {
	char text[24];
};
static struct slot_name slot_name(uint32_t k)
{
	struct slot_name n;
	(void)snprintf(n.text, sizeof n.text, "journal/%02u", k);
	return n;
}

static enum err slot_look(struct check *c, uint32_t k)
{
	struct log *l = c->log;
	struct slot_state *state = &c->replay.slots[k];
	struct slot_name name = slot_name(k);
	enum err e = io_file_open(c->io, check_path(c, name.text), IO_OPEN_READ, &l->journal.slots[k].file);
	if (e == ERR_NOT_FOUND) {
		state->is_missing = true;
		return OK;
	}
	if (e == OK) e = io_file_size(l->journal.slots[k].file, &state->bytes);
	if (e == OK) e = io_file_sync(l->journal.slots[k].file);
	if (e == OK) e = io_file_drop_cache(l->journal.slots[k].file);
	if (e == OK) e = io_file_data_end(l->journal.slots[k].file, &state->data_end);
	state->is_short = e == OK && state->bytes < l->journal.slot_bytes;
	return refuse(c, e, "%s/%s cannot be read: %s", c->dir, name.text, err_text(e));
}

static enum err check_slots(struct check *c)
{
	c->log->options.entry_bytes_max = c->log->identity.slot_bytes / 4;
	journal_init(c->log);
	c->replay.log = c->log;
	c->replay.slots = mem_zalloc(c->log->journal.slot_count * sizeof *c->replay.slots);
	enum err e = OK;
	for (uint32_t k = 0; e == OK && k < c->log->journal.slot_count; k++) e = slot_look(c, k);
	return e;
}

/* After replay: what a start needs of a slot that is not whole, its groups tell. */
static void tell_slots(struct check *c)
{
	for (uint32_t k = 0; k < c->log->journal.slot_count; k++) {
		const struct slot_state *state = &c->replay.slots[k];
		struct slot_name name = slot_name(k);
		if (!state->is_missing && !state->is_short) continue;
		tell_file(c, c->replay.all_are_doubted, name.text, state->bytes,
			state->is_missing ? "the slot is missing" : "the slot is too short");
	}
}

/* ---- state store ---- */

static bool group_look(void *arg, uint64_t id, struct slice meta)
{
	struct check *c = arg;
	if (recover_group(c->log, id, meta)) return true;
	c->state_is_lost = true;
	return false;
}

static bool group_lose(void *arg, uint64_t id, struct slice meta, struct buf *out)
{
	(void)arg, (void)id;
	return recover_lose_state(meta, out);
}

static enum err check_state(struct check *c)
{
	enum err e = c->ops->verify(c->io, check_path(c, "state.lmdb"), group_look, group_lose, c, &c->state);
	if (e == ERR_NOT_FOUND) return OK;
	if (e != OK) return refuse(c, e, "%s/state.lmdb cannot be read: %s", c->dir, err_text(e));
	c->has_state = true;
	c->report->bytes += c->state.bytes;
	c->report->values = c->state.values;
	if (c->state.is_unreadable) c->state_is_lost = true;
	if (c->state_is_lost) c->state.head = (struct state_head) { 0 };
	if (c->state.is_damaged) tell_file(c, true, "state.lmdb", c->state.offset, c->state.why);
	return OK;
}

static void groups_forget(struct log *l)
{
	for (uint32_t i = 0; i < l->groups_count; i++) group_free(l->groups[i]);
	l->groups_count = 0;
}

/* ---- journal ---- */

static void journal_damaged(void *arg, uint64_t use, uint64_t from, uint64_t to)
{
	struct check *c = arg;
	struct slot_name name = slot_name((uint32_t)((use - 1) % c->log->journal.slot_count));
	tell_file(c, true, name.text, from, from == to ? "blocks before this one are lost" : "blocks are damaged");
}

static enum err replay(struct check *c)
{
	enum err e = replay_run(&c->replay);
	return refuse(
		c, e, "the journal of %s cannot be read: %s", c->dir, c->replay.why[0] ? c->replay.why : err_text(e));
}

static enum err check_journal(struct check *c)
{
	struct replay *r = &c->replay;
	enum err e = replay_survey(r);
	if (e != OK)
		return refuse(c, e, "the journal of %s cannot be read: %s", c->dir, r->why[0] ? r->why : err_text(e));
	r->damaged = journal_damaged;
	r->damaged_arg = c;
	if (c->state_is_lost) groups_forget(c->log);
	e = replay(c);
	if (e != OK) return e;
	bool agrees = recover_state_agrees(r, &c->state.head);
	if (c->state_is_lost || agrees) {
		/* Nothing had been settled: nothing is lost with it. */
		if (agrees) c->state_is_lost = false;
		if (agrees && c->state.head.round < r->settled.round)
			tell_file(c, false, "state.lmdb", 0,
				"the state store is one round back; the journal has the rest");
		return OK;
	}
	/* Of another time than the journal, or gone: as a start does it, once more without it. */
	c->state_is_lost = true;
	tell_file(c, true, "state.lmdb", 0,
		c->has_state ? "the state store is not of the round that the journal names"
			     : "the state store is missing");
	groups_forget(c->log);
	settle_forget_graves(c->log);
	r->damaged = NULL;
	return replay(c);
}

/* A block that was being written when the process ended looks like this, and so does damage to the very last one. */
static void tell_torn(struct check *c)
{
	const struct replay *r = &c->replay;
	if (!r->end_use || r->end_at + BLOCK_HEAD_BYTES > c->log->journal.slot_bytes) return;
	uint32_t k = (uint32_t)((r->end_use - 1) % c->log->journal.slot_count);
	struct io_file *f = c->log->journal.slots[k].file;
	uint8_t head[BLOCK_HEAD_BYTES];
	size_t got = 0;
	if (!f || io_file_read(f, r->end_at, head, sizeof head, &got) != OK || got < sizeof head) return;
	struct block_key key = c->log->key;
	struct block_head h;
	struct slot_name name = slot_name(k);
	key.use = r->end_use;
	bool is_torn = block_head_decode(&key, r->end_at, head, &h) == OK || block_head_use(head) == r->end_use;
	if (is_torn)
		tell_file(c, false, name.text, r->end_at, "the journal ends in a torn block, as a crash leaves it");
}

static void tell_gaps(struct check *c, const struct log_group *g, const struct log_refs *refs)
{
	uint64_t from = 0;
	for (uint32_t i = 0; i <= refs->count; i++) {
		uint64_t index = refs->first + i;
		bool is_gap = i < refs->count && refs_at(refs, index)->use == 0;
		if (is_gap && !from) from = index;
		if (is_gap || !from) continue;
		tell(c, &(struct log_finding) { .is_damage = true,
				.group = g->id,
				.from = from,
				.to = index - 1,
				.what = "entries are missing in the journal" });
		from = 0;
	}
}

static void tell_doubts(struct check *c)
{
	struct log *l = c->log;
	if (c->replay.all_are_doubted) tell_file(c, true, NULL, 0, "damage of the journal may concern any group");
	for (uint32_t i = 0; i < l->groups_count; i++) {
		const struct log_group *g = l->groups[i];
		tell_gaps(c, g, &g->refs);
		tell_gaps(c, g, &g->stranded);
		bool is_lost = g->doubt || c->state_is_lost;
		if (!is_lost) continue;
		tell(c, &(struct log_finding) { .is_damage = true,
				.group = g->id,
				.from = g->doubt ? g->doubt_from : 1,
				.to = UINT64_MAX,
				.what = g->doubt_why ? g->doubt_why
					: g->doubt   ? "it was in doubt before"
						     : "its state is lost with the state store" });
	}
}

/* ---- segments ---- */

struct segment_look {
	struct check *c;
	const struct log_group *g;
	const struct segment_place *place;
	const struct segment_info *info;
};

static void tell_segment(const struct segment_look *s, const struct segment_damage *d)
{
	struct buf path = { 0 };
	const char *full = segment_path(s->place, s->info, d->file, &path);
	tell(s->c, &(struct log_finding) { .is_damage = d->range.from != 0,
			   .group = s->g->id,
			   .from = d->range.from,
			   .to = d->range.to,
			   .file = full + strlen(s->c->dir) + 1,
			   .offset = d->offset,
			   .what = d->what });
	buf_deinit(&path);
}

static void segment_damaged(void *arg, const struct segment_damage *d) { tell_segment(arg, d); }

static enum err segment_look(
	struct check *c, const struct log_group *g, const struct segment_place *place, const struct segment_info *info)
{
	struct segment_look s = { c, g, place, info };
	struct segment_reader r;
	enum err e = segment_open(&r, c->io, place, info);
	if (e == OK) e = segment_verify(&r, segment_damaged, &s);
	if (e == ERR_CORRUPT || e == ERR_NOT_FOUND) {
		const char *what = e == ERR_NOT_FOUND ? "the segment is missing" : "the file is another segment's";
		tell_segment(&s, &(struct segment_damage) { r.bad, SEGMENT_FILE_SEG, 0, what });
		e = OK;
	}
	segment_close(&r);
	c->report->segments++;
	c->report->bytes += info->bytes;
	return refuse(c, e, "a segment of group %llu cannot be read: %s", (unsigned long long)g->id, err_text(e));
}

/* What came with an install that no round has moved yet (S19). */
static enum err installed_look(struct check *c, const struct log_group *g, const struct segment_place *place)
{
	struct buf bytes = { 0 }, path = { 0 };
	enum err e = install_read_state(c->io, place, g->installed_state_bytes, g->installed_state_crc, &bytes);
	c->report->bytes += bytes.n;
	if (e == ERR_CORRUPT || e == ERR_NOT_FOUND || e == ERR_IO) {
		tell(c, &(struct log_finding) { .is_damage = true,
				.group = g->id,
				.file = install_state_path(place, &path) + strlen(c->dir) + 1,
				.what = "the state that came with an install is damaged" });
		e = OK;
	}
	buf_deinit(&bytes);
	buf_deinit(&path);
	return refuse(c, e, "an install of group %llu cannot be read: %s", (unsigned long long)g->id, err_text(e));
}

static enum err check_groups(struct check *c)
{
	struct log *l = c->log;
	enum err e = OK;
	replay_finish(&c->replay);
	c->report->bytes += c->replay.good_bytes;
	tell_slots(c);
	tell_doubts(c);
	tell_torn(c);
	for (uint32_t i = 0; e == OK && i < l->groups_count; i++) {
		const struct log_group *g = l->groups[i];
		struct segment_place place;
		group_place(g, &place);
		if (g->is_installed) e = installed_look(c, g, &place);
		for (uint32_t k = 0; e == OK && k < g->segments.count; k++)
			e = segment_look(c, g, &place, &g->segments.rows[k]);
	}
	c->report->groups = l->groups_count;
	return e;
}

/* ---- the order of things ---- */

static struct log *log_to_throw_away(struct check *c)
{
	struct log *l = NEW(struct log);
	l->io = c->io;
	l->diag = &c->diag;
	l->options.dir = mem_strdup(c->dir);
	l->options.state = c->ops;
	list_init(&l->reads);
	list_init(&l->installs);
	list_init(&l->journal.ready);
	settle_init(l);
	return l;
}

enum err log_check(struct io *io, const char *dir, const struct state_ops *state, log_finding_fn *each, void *arg,
	struct log_check_report *report, char *why, size_t why_bytes)
{
	static enum err (*const steps[])(struct check * c) = { check_dir, check_identity, check_slots, check_state,
		check_journal, check_groups };
	ASSERT(why_bytes > 0 && state->verify);
	*report = (struct log_check_report) { 0 };
	why[0] = '\0';
	struct check *c = NEW(struct check);
	*c = (struct check) { .io = io,
		.dir = dir,
		.ops = state,
		.each = each,
		.arg = arg,
		.report = report,
		.why = why,
		.why_bytes = why_bytes };
	diag_init(&c->diag, DIAG_FATAL, NULL, NULL);
	c->log = log_to_throw_away(c);
	enum err e = OK;
	for (size_t i = 0; e == OK && i < COUNT_OF(steps); i++) e = steps[i](c);
	if (e == OK && report->damages) e = ERR_CORRUPT;
	replay_deinit(&c->replay);
	log_free(c->log);
	diag_deinit(&c->diag);
	buf_deinit(&c->path);
	mem_free(c);
	return e;
}
