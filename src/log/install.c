/* SPDX-License-Identifier: Apache-2.0 */
/* install — a group refilled from a peer (S19): entries and state into a directory of a new generation, one record that makes it count.
 *
 *   begin ──> entries, state … (settle lane, chunk by chunk) ──> commit: files synced ──> INSTALL in the journal: from here on it counts
 *        ──> the next round moves the state into the state store ──> done
 *
 * A crash before INSTALL leaves a directory that nobody names; a crash behind it is finished by start (recover.c). `done` waits for the
 * round, so that the owner finds the installed state in log_state. */
#include "log_internal.h"

struct log_install {
	struct list link; /* log.installs */
	struct log *log;
	struct log_group *g;         /* borrowed; NULL when it went */
	struct log_install_req *req; /* borrowed, while one is under way */
	bool is_working, is_aborted, is_recorded;
	bool is_waiting; /* all is durable, INSTALL is to find room in the journal */
	struct io_job job;
	char *dir; /* owned: the place's */
	/* the worker's, while a job runs */
	struct segment_place place;
	struct segment_writer writer;
	struct io_file *state; /* owned, or NULL before the first */
	uint64_t state_bytes;
	uint32_t state_crc;
	struct term_runs runs;
	uint64_t seq_last;
	struct buf chunk; /* owned: what the job is to add */
	bool is_made, is_unsynced;
	enum err result;
	/* of the commit */
	uint64_t index, term, conf_index, contiguous_from;
	struct buf conf; /* owned */
};

const char *install_state_path(const struct segment_place *p, struct buf *path)
{
	(void)segment_dir_path(p, path);
	buf_append_str(path, "/state");
	return buf_str(path);
}

enum err install_read_state(
	struct io *io, const struct segment_place *place, uint64_t bytes, uint32_t crc, struct buf *out)
{
	if (bytes == 0) return OK;
	struct buf path = { 0 };
	struct io_file *f = NULL;
	size_t got = 0;
	enum err e = io_file_open(io, install_state_path(place, &path), IO_OPEN_READ, &f);
	if (e == OK) e = io_file_read(f, 0, buf_reserve(out, bytes), bytes, &got);
	if (e == OK && (got != bytes || crc32c(0, out->p + out->n, bytes) != crc)) e = ERR_CORRUPT;
	if (e == OK) out->n += bytes;
	io_file_close(f);
	buf_deinit(&path);
	return e;
}

/* ---- on the worker ---- */

static enum err install_make(struct log_install *i, struct io *io)
{
	if (i->is_made) return OK;
	/* Of an attempt before, or one that a crash ended. */
	enum err e = segment_dir_remove(io, &i->place);
	if (e == OK) e = segment_dir_make(io, &i->place);
	i->is_made = e == OK;
	return e;
}

/* Terms of what is left out between two entries are not known, but for the one right before the second. */
static void install_run(struct log_install *i, const struct entry_head *h, uint64_t last)
{
	if (h->index > last + 1) {
		runs_insert(&i->runs, last + 1, 0);
		if (h->index > 1) runs_insert(&i->runs, h->index - 1, h->prev_term);
	}
	runs_insert(&i->runs, h->index, h->term);
}

static void entries_run(struct io_job *job)
{
	struct log_install *i = CONTAINER_OF(job, struct log_install, job);
	i->result = install_make(i, job->io);
	struct slice in = buf_slice(&i->chunk);
	while (i->result == OK && in.n) {
		struct entry_head h;
		struct slice body, entry = in;
		enum err e = entry_next(&in, &h, &body);
		const struct segment_list *l = &i->writer.list;
		uint64_t last = l->count ? l->rows[l->count - 1].last_index : 0;
		if (e != OK || h.group != i->place.group || h.index <= last || h.kind == 0 || h.kind >= ENTRY_VOTE) {
			i->result = ERR_CORRUPT;
			return;
		}
		install_run(i, &h, last);
		i->seq_last = u64_max(i->seq_last, h.seq_last);
		i->result = segment_writer_add(&i->writer, &h, slice_first(entry, entry_bytes(h.body_bytes)));
	}
}

static void state_run(struct io_job *job)
{
	struct log_install *i = CONTAINER_OF(job, struct log_install, job);
	struct slice in = buf_slice(&i->chunk), key, value;
	bool put;
	enum err e;
	while ((e = state_batch_next(&in, &put, &key, &value)) == OK) continue;
	i->result = e == ERR_EOF ? install_make(i, job->io) : ERR_CORRUPT;
	if (i->result == OK && !i->state) {
		struct buf path = { 0 };
		i->result = io_file_open(job->io, install_state_path(&i->place, &path),
			IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_TRUNCATE, &i->state);
		buf_deinit(&path);
	}
	if (i->result != OK || i->chunk.n == 0) return;
	struct slice v = buf_slice(&i->chunk);
	i->result = io_file_write(i->state, i->state_bytes, &v, 1);
	i->state_bytes += v.n;
	i->state_crc = crc32c(i->state_crc, v.p, v.n);
}

static void commit_run(struct io_job *job)
{
	struct log_install *i = CONTAINER_OF(job, struct log_install, job);
	struct buf path = { 0 };
	i->result = install_make(i, job->io);
	if (!i->is_unsynced) {
		if (i->result == OK) i->result = segment_writer_sync(&i->writer);
		if (i->result == OK && i->state) i->result = io_file_sync(i->state);
		if (i->result == OK) i->result = io_dir_sync(job->io, segment_dir_path(&i->place, &path));
	}
	buf_deinit(&path);
}

/* ---- on the loop ---- */

static void install_free(struct log_install *i)
{
	list_remove_if_linked(&i->link);
	if (i->g) {
		i->g->install = NULL;
		i->g->is_committing = false;
	}
	segment_writer_deinit(&i->writer);
	runs_deinit(&i->runs);
	io_file_close(i->state);
	buf_deinit(&i->chunk);
	buf_deinit(&i->conf);
	mem_free(i->dir);
	mem_free(i);
}

/* Files that nobody will name go. */
static void install_discard(struct log_install *i)
{
	if (!i->is_recorded) settle_bury(i->log, i->place.group, i->place.generation, 0);
	install_free(i);
}

static void install_answer(struct log_install *i, enum err e)
{
	struct log_install_req *req = i->req;
	i->req = NULL;
	bool has_ended = e != OK || i->is_recorded;
	if (has_ended && i->is_recorded)
		install_free(i);
	else if (has_ended)
		install_discard(i);
	if (!req) return;
	req->result = e;
	req->done(req);
}

enum err log_install_begin(struct log_group *g, struct log_install **out)
{
	struct log *l = g->log;
	*out = NULL;
	ASSERT(!l->is_closing);
	if (g->install || g->is_installed) return ERR_BUSY;
	struct log_install *i = NEW(struct log_install);
	i->log = l;
	i->g = g;
	i->dir = mem_strdup(l->options.dir);
	group_place(g, &i->place);
	i->place.dir = i->dir;
	g->generation_tried = u64_max(g->generation_tried, g->generation) + 1;
	i->place.generation = g->generation_tried;
	struct segment_list none = { 0 };
	segment_writer_init(&i->writer, l->io, &i->place, l->options.segment_bytes_max, &none);
	list_push_back(&l->installs, &i->link);
	g->install = i;
	*out = i;
	return OK;
}

static void install_done(struct io_job *job);

static void install_work(struct log_install *i, struct log_install_req *req, void (*run)(struct io_job *j))
{
	ASSERT(!i->req && !i->is_working && !i->is_aborted && req->done);
	i->req = req;
	i->is_working = true;
	i->job = (struct io_job) { .run = run, .done = install_done };
	log_job(i->log, IO_LANE_SETTLE, &i->job);
}

void log_install_entries(struct log_install *i, struct slice entries, struct log_install_req *r)
{
	buf_clear(&i->chunk);
	buf_append_slice(&i->chunk, entries);
	install_work(i, r, entries_run);
}

void log_install_state(struct log_install *i, struct slice batch, struct log_install_req *r)
{
	buf_clear(&i->chunk);
	buf_append_slice(&i->chunk, batch);
	install_work(i, r, state_run);
}

void log_install_commit(struct log_install *i, uint64_t index, uint64_t term, struct slice conf, uint64_t conf_index,
	uint64_t contiguous_from, struct log_install_req *r)
{
	ASSERT(index > 0 && term > 0 && contiguous_from <= index + 1);
	i->index = index;
	i->term = term;
	i->conf_index = conf_index;
	i->contiguous_from = contiguous_from;
	buf_append_slice(&i->conf, conf);
	if (i->g) i->g->is_committing = true;
	i->is_unsynced = log_fault(i->log, FAULT_bug_s19_install_unsynced);
	install_work(i, r, commit_run);
}

static void install_encode(const struct log_install *i, struct buf *body)
{
	struct install_body b = {
		.generation = i->place.generation,
		.contiguous_from = i->contiguous_from,
		.conf_index = i->conf_index,
		.seq_last = i->seq_last,
		.state_bytes = i->state_bytes,
		.state_crc = i->state_crc,
		.conf = buf_slice(&i->conf),
	};
	segment_list_copy(&b.segments, &i->writer.list);
	runs_copy(&b.runs, &i->runs);
	install_body_encode(&b, body);
	install_body_deinit(&b);
}

static void install_record(struct log_install *i, struct slice body)
{
	struct entry_head h = { .kind = ENTRY_INSTALL, .group = i->g->id, .index = i->index, .term = i->term };
	(void)journal_add(i->log, i->g, &h, body);
	i->is_recorded = true;
	diag_count(i->log->diag, COUNTER_log_installs);
	diag_trace(i->log->diag, "log install", i->g->id, i->place.generation, i->index);
}

/* What the group had is void: memory says what INSTALL says. */
static void install_switch(struct log_install *i)
{
	struct log_group *g = i->g;
	struct log *l = i->log;
	group_sink_all(g);
	l->refs_bytes -= g->refs_bytes;
	g->refs_bytes = 0;
	settle_bury(l, g->id, g->generation, journal_last_number(l));
	settle_forget_group(l, g);
	g->generation = i->place.generation;
	g->is_installed = true;
	g->installed_state_bytes = i->state_bytes;
	g->installed_state_crc = i->state_crc;
	refs_deinit(&g->refs);
	refs_deinit(&g->stranded);
	g->refs.first = i->index + 1;
	g->settled_index = g->last_index = g->durable_index = i->index;
	g->settled_seq = g->last_seq = i->seq_last;
	g->last_term = i->term;
	g->state_index = g->applied_index = i->index;
	g->state_term = g->applied_term = i->term;
	g->commit_index = u64_max(g->commit_index, i->index);
	g->contiguous_from = u64_max(i->contiguous_from, 1);
	g->conf_index = g->applied_conf_index = i->conf_index;
	buf_clear(&g->conf);
	buf_append_slice(&g->conf, buf_slice(&i->conf));
	buf_clear(&g->applied_conf);
	buf_append_slice(&g->applied_conf, buf_slice(&i->conf));
	segment_list_deinit(&g->segments);
	segment_list_copy(&g->segments, &i->writer.list);
	runs_deinit(&g->runs);
	runs_copy(&g->runs, &i->runs);
	g->damaged = (struct segment_range) { 0 };
	g->loses_end = false;
	g->told_to = 0;
	if (g->doubt) g->doubt_from = i->index + 1; /* until it ends: nothing that is here */
	g->trim_index = 0;
	g->epoch++;
	g->cuts++;
}

/* S8: INSTALL may use the reserve, but not the room of what gives the next slot back; until a round has made some it waits. */
static void install_try(struct log_install *i)
{
	struct buf body = { 0 };
	install_encode(i, &body);
	i->is_waiting = log_admit(i->log, LOG_ADMIT_RESERVED, entry_bytes(body.n)) != OK;
	if (i->is_waiting) i->log->settle.moves_in_row = 0; /* somebody has a use for what rounds win */
	if (i->is_waiting && i->log->is_closing) install_abort_group(i->g);
	if (!i->is_waiting) {
		install_record(i, buf_slice(&body));
		install_switch(i);
	}
	buf_deinit(&body);
	/* The next round answers (install_settled). */
}

static void install_written(struct log_install *i)
{
	const struct segment_list *l = &i->writer.list;
	uint64_t last = l->count ? l->rows[l->count - 1].last_index : 0;
	if (last > i->index) {
		install_answer(i, ERR_CORRUPT); /* entries beyond the state that came with them */
		return;
	}
	if (last < i->index) {
		if (last + 1 < i->index) runs_insert(&i->runs, last + 1, 0);
		runs_insert(&i->runs, i->index, i->term);
	}
	install_try(i);
}

static bool is_install_error(enum err e)
{
	return e == OK || e == ERR_CORRUPT || e == ERR_NO_SPACE || e == ERR_FILES || e == ERR_NO_MEMORY;
}

static void install_done(struct io_job *job)
{
	struct log_install *i = CONTAINER_OF(job, struct log_install, job);
	struct log *l = i->log;
	bool is_commit = job->run == commit_run;
	i->is_working = false;
	if (!l->is_dead) {
		if (is_commit && !is_install_error(i->result))
			log_die(l, "install: files were not made durable: %s", err_text(i->result)); /* S17 */
		else if (i->is_aborted)
			install_discard(i);
		else if (!i->g)
			install_answer(i, ERR_CLOSED);
		else if (i->result == OK && is_commit)
			install_written(i);
		else
			install_answer(i, i->result);
	}
	log_job_done(l);
}

/* The state store holds it, and SETTLED says so. */
void install_settled(struct log_group *g, enum err e)
{
	if (g->install && g->install->is_recorded) install_answer(g->install, e);
}

void log_install_abort(struct log_install *i)
{
	ASSERT(!i->is_aborted);
	i->req = NULL;
	if (i->is_working) {
		i->is_aborted = true;
		if (i->g) {
			i->g->install = NULL;
			i->g->is_committing = false;
			i->g = NULL;
		}
		return;
	}
	/* Behind its commit point there is nothing to abort: the round finishes it, and nobody is told. */
	if (i->is_recorded && i->g) return;
	install_discard(i);
}

void install_abort_group(struct log_group *g)
{
	struct log_install *i = g->install;
	if (!i) return;
	i->g = NULL;
	g->install = NULL;
	g->is_committing = false;
}

void install_give_up(struct log *l)
{
	LIST_EACH (node, &l->installs) {
		struct log_install *i = CONTAINER_OF(node, struct log_install, link);
		if (i->g) install_abort_group(i->g);
	}
}

void install_step(struct log *l)
{
	LIST_EACH_SAFE (node, &l->installs) {
		struct log_install *i = CONTAINER_OF(node, struct log_install, link);
		if (i->g && i->is_waiting) install_try(i);
		/* Those of groups that went are answered outside the call that made them go. */
		if (i->g || i->is_working || !i->req) continue;
		install_answer(i, ERR_CLOSED);
		return; /* the callback may have changed the list */
	}
}

void install_deinit(struct log *l)
{
	while (!list_is_empty(&l->installs))
		install_free(CONTAINER_OF(list_first(&l->installs), struct log_install, link));
}
