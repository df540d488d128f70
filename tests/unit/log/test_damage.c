/* SPDX-License-Identifier: Apache-2.0 */
/* A small store that has a file of every kind is damaged at one place at a time: a bit flipped in every byte of the headers and in bodies, and
 * every file cut every 512 bytes (THEBES_TEST_FULL: every byte, every cut; THEBES_DAMAGE_PART=k/n: the k-th of n parts of that, from 0). Each
 * time the offline check and a start must agree on it:
 *
 *   - nothing is ever served that was not stored, and the process lives;
 *   - who lost anything is in doubt, and log_check says so; who lost nothing is not disturbed;
 *   - entries whose own bytes are whole are served.
 *
 * What is not detected, by name: `window_of_the_last_block`. The very last block has no successor that proves that it was durable; damaged,
 * it looks torn (docs/STORAGE.md). A closing block narrows the window to nothing; this store was killed before it. */
#include <fcntl.h>
#include <sys/stat.h>

#include "log_fixture.h"
#include "state_lmdb.h"

enum { FILES_MAX = 32, GROUPS = 3, INDEX_MAX = 110, COPIES_MAX = 1024, SLOT_BYTES = 32 * 1024 };

/* ---- the store, whole, in memory ---- */

enum kind { KIND_IDENTITY, KIND_SLOT, KIND_SEG, KIND_IDX, KIND_INSTALL_STATE, KIND_STATE, KIND_LOCK };
struct image_file {
	char name[96]; /* below the directory */
	enum kind kind;
	struct buf bytes;
	bool header[64 * 1024]; /* bytes that are part of a header */
};
/* Where the bytes of an entry lie; one entry may lie in several places. */
struct copy {
	unsigned file;
	uint64_t at, end, group, index;
	uint64_t block_end; /* in a slot: of its block */
};
struct truth {
	struct log_group_info info;
	struct buf entry[INDEX_MAX + 1]; /* by index; empty: it is not there */
	uint64_t entries;
	struct buf sum; /* a value of its state */
};
struct sweep {
	struct fixture f;
	struct image_file *files; /* owned, FILES_MAX */
	unsigned file_count;
	struct copy copies[COPIES_MAX];
	unsigned copy_count;
	struct truth truth[GROUPS + 1]; /* by id */
	unsigned last_slot;             /* the window: this file … */
	uint64_t last_from, last_to;    /* … from here to there */
	struct state_ops quick;         /* LMDB without a child, where its file is not what is damaged */
	bool is_full;
	unsigned part, parts, number; /* of the cases, every parts-th */
	unsigned cases, found, notes, silent, in_window;
};

/* ---- making it ---- */

static void peer_entries(struct buf *out, uint64_t group, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i <= to; i++) {
		struct buf b = { 0 };
		body_of(&b, group, i, 200);
		struct entry_head h = { .kind = ENTRY_COMMAND,
			.group = group,
			.index = i,
			.term = 6,
			.seq_last = i,
			.record_count = 1,
			.prev_term = 6 };
		uint8_t *p = buf_reserve(out, entry_bytes(b.n));
		memset(p, 0, entry_bytes(b.n));
		memcpy(p + ENTRY_HEAD_BYTES, b.p, b.n);
		entry_head_encode(&h, buf_slice(&b), p);
		out->n += entry_bytes(b.n);
		buf_deinit(&b);
	}
}

static void vote(struct fixture *f, struct owner *o, uint64_t term)
{
	struct waiter w;
	log_vote(o->g, term, 42, wait_on(&w, f));
	run(f);
}

/* An install behind its commit point, which no round has moved yet. */
static void install_pending(struct fixture *f, struct owner *o)
{
	struct log_install *i;
	struct install_waiter w, commit;
	struct buf b = { 0 };
	struct state_batch s = { 0 };
	uint8_t value[16] = { 0 };
	assert_int_equal(log_install_begin(o->g, &i), OK);
	peer_entries(&b, 3, 90, 100);
	log_install_entries(i, buf_slice(&b), installing(&w, f));
	run(f);
	state_batch_put(&s, SLICE("sum"), slice_of(value, sizeof value));
	log_install_state(i, buf_slice(&s.ops), installing(&w, f));
	run(f);
	log_install_commit(i, 100, 6, SLICE("peers"), 95, 90, installing(&commit, f));
	log_turn_end(f->log);
	for (uint64_t term = 7; !o->g->is_installed; term++) vote(f, o, term);
	buf_deinit(&b);
	state_batch_deinit(&s);
}

/* False: a round came meanwhile and moved the install, as it may on a loaded machine; then the store is not the one that is wanted. */
static bool store_try(struct sweep *s)
{
	struct fixture *f = &s->f;
	struct owner a, b, c;
	fixture_init(f);
	f->options.slot_bytes = SLOT_BYTES;
	f->options.slot_count = 4;
	f->options.segment_bytes_max = 4 * 1024;
	f->options.entry_bytes_max = 4 * 1024;
	fixture_open(f);
	owner_make(&a, f, 1);
	owner_make(&c, f, 3);
	owner_append_now(&a, 12, 300);
	owner_append_now(&c, 5, 100);
	owner_apply(&a);
	owner_apply(&c);
	settle(f);
	settle(f);
	uint64_t rounds = f->diag.counter[COUNTER_log_rounds];
	owner_make(&b, f, 2);
	vote(f, &b, 1);
	for (unsigned i = 0; i < 3; i++) {
		owner_append_now(&b, 1, 100);
		owner_append_now(&a, 1, 500);
	}
	install_pending(f, &c);
	bool is_wanted = c.g->is_installed && f->log->settle.phase < ROUND_WORK;
	fixture_kill(f);
	f->is_quiet = true;
	return is_wanted && f->diag.counter[COUNTER_log_rounds] <= rounds + 1; /* the second half of the last one */
}

static void store_make(struct sweep *s)
{
	for (unsigned tries = 0; !store_try(s); tries++) {
		assert_true(tries < 100);
		fixture_deinit(&s->f);
	}
}

/* ---- the image ---- */

static void path_of(const struct sweep *s, const char *name, char out[200])
{
	(void)snprintf(out, 200, "%s/%s", s->f.dir, name);
}

static enum kind kind_of(const char *name)
{
	size_t n = strlen(name);
	if (strncmp(name, "identity", 8) == 0) return KIND_IDENTITY;
	if (strncmp(name, "journal/", 8) == 0) return KIND_SLOT;
	if (strcmp(name, "state.lmdb") == 0) return KIND_STATE;
	if (strcmp(name, "lock") == 0) return KIND_LOCK;
	if (strcmp(name + n - 4, ".seg") == 0) return KIND_SEG;
	if (strcmp(name + n - 4, ".idx") == 0) return KIND_IDX;
	assert_string_equal(name + n - 6, "/state");
	return KIND_INSTALL_STATE;
}

static void file_read(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(read(fd, buf_reserve(out, (size_t)st.st_size + 1), (size_t)st.st_size), st.st_size);
	out->n = (size_t)st.st_size;
	assert_int_equal(close(fd), 0);
}

static void image_add(struct sweep *s, const char *dir);
struct image_walk {
	struct sweep *s;
	const char *dir; /* below the store's; "" for itself */
};
static void image_each(void *arg, const char *name, bool is_dir)
{
	const struct image_walk *w = arg;
	char below[96], path[200];
	(void)snprintf(below, sizeof below, "%s%s%s", w->dir, *w->dir ? "/" : "", name);
	if (is_dir) {
		image_add(w->s, below);
		return;
	}
	assert_true(w->s->file_count < FILES_MAX);
	struct image_file *file = &w->s->files[w->s->file_count++];
	memcpy(file->name, below, sizeof below);
	file->kind = kind_of(below);
	path_of(w->s, below, path);
	file_read(path, &file->bytes);
}
static void image_add(struct sweep *s, const char *dir)
{
	char path[200];
	path_of(s, dir, path);
	struct image_walk w = { s, dir };
	assert_int_equal(io_dir_list(s->f.io, path, image_each, &w), OK);
}

static void header_mark(struct image_file *file, uint64_t at, uint64_t n)
{
	for (uint64_t i = at; i < at + n && i < file->bytes.n && i < sizeof file->header; i++) file->header[i] = true;
}

static struct block_head block_lengths(const uint8_t *p)
{
	return (struct block_head) {
		.groups_count = le32_get(p + 40), .previous_count = le32_get(p + 44), .body_bytes = le32_get(p + 48)
	};
}

/* Every entry of a replicated kind, wherever it lies; heads of entries are headers. */
static void image_scan_entries(struct sweep *s, unsigned k)
{
	struct image_file *file = &s->files[k];
	uint64_t block_end = 0;
	unsigned heads = 0;
	for (uint64_t at = 0; at + ENTRY_HEAD_BYTES <= file->bytes.n; at += 8) {
		bool is_block = file->kind == KIND_SLOT && at % BLOCK_ALIGN == 0 &&
				block_head_use(file->bytes.p + at) && le64_get(file->bytes.p + at + 24) == at;
		if (is_block) {
			struct block_head b = block_lengths(file->bytes.p + at);
			block_end = at + block_bytes(&b);
		}
		struct slice in = slice_from(buf_slice(&file->bytes), at), body;
		struct entry_head h;
		if (entry_next(&in, &h, &body) != OK || !h.kind) continue;
		/* All heads are alike: of a segment the first ones. */
		if (file->kind == KIND_SLOT)
			header_mark(file, at - FRAME_HEAD_BYTES, ENTRY_HEAD_BYTES + FRAME_HEAD_BYTES);
		if (file->kind == KIND_SEG && heads++ < 2) header_mark(file, at, ENTRY_HEAD_BYTES);
		if (h.kind > ENTRY_CHANGE) continue;
		assert_true(s->copy_count < COPIES_MAX);
		uint64_t end = at + entry_bytes(h.body_bytes);
		/* In a slot its frame is what proves that it belongs there. */
		uint64_t from = file->kind == KIND_SLOT ? at - FRAME_HEAD_BYTES : at;
		s->copies[s->copy_count++] = (struct copy) { k, from, end, h.group, h.index, block_end };
	}
}

/* Blocks of the present use of each slot; the one with the highest number is the last. */
static void image_scan_blocks(struct sweep *s, unsigned k, uint64_t *newest)
{
	struct image_file *file = &s->files[k];
	for (uint64_t at = 0; at + BLOCK_ALIGN <= file->bytes.n; at += BLOCK_ALIGN) {
		const uint8_t *p = file->bytes.p + at;
		if (block_head_use(p) == 0 || le64_get(p + 24) != at) continue;
		header_mark(file, at, BLOCK_HEAD_BYTES);
		struct block_head h = block_lengths(p);
		header_mark(file, at + BLOCK_HEAD_BYTES + h.body_bytes, 16); /* the lists */
		if (le64_get(p + 16) <= *newest) continue;
		*newest = le64_get(p + 16);
		s->last_slot = k;
		s->last_from = at;
		s->last_to = at + block_bytes(&h);
	}
}

static void image_take(struct sweep *s)
{
	uint64_t newest = 0;
	image_add(s, "");
	for (unsigned k = 0; k < s->file_count; k++) {
		struct image_file *file = &s->files[k];
		if (file->kind == KIND_SLOT) image_scan_blocks(s, k, &newest);
		if (file->kind == KIND_SLOT || file->kind == KIND_SEG) image_scan_entries(s, k);
		if (file->kind == KIND_IDENTITY) header_mark(file, 0, IDENTITY_BYTES);
		if (file->kind == KIND_SEG || file->kind == KIND_IDX)
			header_mark(file, 0, SEGMENT_HEAD_BYTES + 2 * SEGMENT_ROW_BYTES);
		/* LMDB reserves space behind its last page. */
		if (file->kind == KIND_STATE && file->bytes.n > 64 * KIB) file->bytes.n = 64 * KIB;
		for (uint64_t at = 0; file->kind == KIND_STATE && at < file->bytes.n; at += 4096)
			header_mark(file, at, at < 8192 ? 152 : 24);
	}
	assert_true(newest > 0);
}

static void image_write(const struct sweep *s, const struct image_file *file, struct slice bytes)
{
	char path[200];
	path_of(s, file->name, path);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes.p, bytes.n), bytes.n);
	assert_int_equal(close(fd), 0);
}

static int restore_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	return flag == FTW_F ? remove(path) : 0;
}

/* The whole store again; directories are left, a start makes no new ones. */
static void image_restore(const struct sweep *s)
{
	assert_int_equal(nftw(s->f.dir, restore_unlink, 16, FTW_PHYS), 0);
	for (unsigned k = 0; k < s->file_count; k++) image_write(s, &s->files[k], buf_slice(&s->files[k].bytes));
}

/* ---- what is there ---- */

static enum err quick_check(struct io *io, const char *path, struct state_head *head)
{
	struct state_walk walked;
	(void)io;
	int fd = open(path, O_RDONLY);
	if (fd < 0) return ERR_NOT_FOUND;
	state_walk_file(fd, &walked);
	assert_int_equal(close(fd), 0);
	*head = walked.head;
	return walked.result;
}

static enum err quick_verify(struct io *io, const char *path, state_group_fn *each, state_lose_fn *lose, void *arg,
	struct state_verdict *out)
{
	struct state_walk walked;
	struct buf metas = { 0 };
	(void)io, (void)lose;
	int fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	state_walk_file_metas(fd, &walked, &metas);
	assert_int_equal(close(fd), 0);
	assert_int_equal(walked.result, OK);
	*out = (struct state_verdict) { .head = walked.head, .values = walked.values };
	for (struct slice in = buf_slice(&metas); in.n;) {
		size_t n = le32_get(in.p + 8);
		assert_true(each(arg, le64_get(in.p), slice_first(slice_from(in, 12), n)));
		in = slice_from(in, 12 + n);
	}
	buf_deinit(&metas);
	return OK;
}

static void store_open(struct sweep *s, bool is_quick)
{
	struct fixture *f = &s->f;
	f->options.state = is_quick ? &s->quick : &state_lmdb;
	f->why[0] = '\0';
	enum err e = log_open(f->io, &f->diag, &f->options, &f->log, f->why, sizeof f->why);
	if (e != OK) (void)fprintf(stderr, "# %s: %s\n", err_text(e), f->why);
	assert_int_equal(e, OK);
}

static void store_close(struct sweep *s)
{
	assert_false(s->f.has_died);
	s->f.log->is_dead = true;
	while (s->f.log->jobs) io_uv_run(s->f.io); /* an .idx is being written anew */
	log_free(s->f.log);
	s->f.log = NULL;
}

typedef void entry_fn(void *arg, uint64_t index, struct slice entry);

/* All entries of the group that can be read, one by one where a read fails. */
static void entries_each(struct log_group *g, entry_fn *each, void *arg)
{
	for (uint64_t from = 1; from <= INDEX_MAX;) {
		struct log_read_req r = { .from = from, .to = INDEX_MAX, .bytes_max = 1 << 20, .holes = true };
		enum err e = log_read_now(g, &r);
		struct slice in = buf_slice(&r.entries), body;
		struct entry_head h;
		for (const uint8_t *at = in.p; e == OK && entry_next(&in, &h, &body) == OK; at = in.p)
			each(arg, h.index, slice_of(at, (size_t)(in.p - at)));
		from = e == OK && r.next > from ? r.next : from + 1;
		buf_deinit(&r.entries);
	}
}

static void truth_entry(void *arg, uint64_t index, struct slice entry)
{
	struct truth *t = arg;
	assert_true(index <= INDEX_MAX && t->entry[index].n == 0);
	buf_append_slice(&t->entry[index], entry);
	t->entries++;
}

static void truth_take(struct sweep *s)
{
	store_open(s, false);
	for (uint64_t id = 1; id <= GROUPS; id++) {
		struct truth *t = &s->truth[id];
		struct log_group *g = log_group_find(s->f.log, id);
		assert_non_null(g);
		log_group_info(g, &t->info);
		assert_false(t->info.in_doubt);
		entries_each(g, truth_entry, t);
		enum err e = state_get(log_state(s->f.log), id, SLICE("sum"), &t->sum);
		assert_true(e == OK || e == ERR_NOT_FOUND);
	}
	assert_int_equal(s->truth[1].entries, 15);
	assert_int_equal(s->truth[2].entries, 3);
	assert_int_equal(s->truth[3].entries, 11);
	store_close(s);
}

/* ---- one damage ---- */

struct damage {
	unsigned file;
	uint64_t at;
	bool is_cut; /* else bit `at % 8` of byte `at` */
};
struct verdict {
	struct sweep *s;
	struct damage d;
	const struct truth *t;
	bool seen[INDEX_MAX + 1];
	bool is_wrong; /* something was served that was not stored */
	enum err check;
	bool is_told[GROUPS + 1]; /* [0]: of the store itself, or of all */
	unsigned notes;
};

static bool is_touched(const struct damage *d, const struct copy *c)
{
	if (c->file != d->file) return false;
	/* What a cut leaves of the last block of a slot is not told from a torn one, and goes with it. */
	uint64_t end = d->is_cut && c->block_end ? c->block_end : c->end;
	return d->is_cut ? end > d->at : d->at >= c->at && d->at < c->end;
}

/* Are the entry's bytes whole wherever it lies? */
static bool is_intact(const struct verdict *v, uint64_t group, uint64_t index)
{
	for (unsigned i = 0; i < v->s->copy_count; i++) {
		const struct copy *c = &v->s->copies[i];
		if (c->group == group && c->index == index && is_touched(&v->d, c)) return false;
	}
	return true;
}

static void check_told(void *arg, const struct log_finding *f)
{
	struct verdict *v = arg;
	assert_true(f->group <= GROUPS && f->what && *f->what);
	if (f->is_damage)
		v->is_told[f->group] = true;
	else
		v->notes++;
}

/* Entries of the generation before an install: stored once, and what is left when INSTALL is lost. */
static bool was_stored(const struct sweep *s, uint64_t group, uint64_t index, struct slice entry)
{
	for (unsigned i = 0; i < s->copy_count; i++) {
		const struct copy *c = &s->copies[i];
		if (c->group != group || c->index != index || c->end < entry.n) continue;
		const struct buf *bytes = &s->files[c->file].bytes;
		if (slice_eq(entry, slice_of(bytes->p + c->end - entry.n, entry.n))) return true;
	}
	return false;
}

static void entry_compare(void *arg, uint64_t index, struct slice entry)
{
	struct verdict *v = arg;
	bool is_known = index <= INDEX_MAX && slice_eq(entry, buf_slice(&v->t->entry[index]));
	if (is_known)
		v->seen[index] = true;
	else if (!was_stored(v->s, (uint64_t)(v->t - v->s->truth), index, entry))
		v->is_wrong = true;
}

static void complain(const struct verdict *v, uint64_t group, const char *what)
{
	const struct image_file *file = &v->s->files[v->d.file];
	fail_msg("%s %s at %llu (block or page %llu + %llu): group %llu: %s", file->name,
		v->d.is_cut ? "cut" : "with a bit flipped", (unsigned long long)v->d.at,
		(unsigned long long)v->d.at / 4096 * 4096, (unsigned long long)v->d.at % 4096,
		(unsigned long long)group, what);
}

/* The very last block of the journal: what is damaged in it looks torn. */
static bool window_of_the_last_block(const struct verdict *v)
{
	const struct sweep *s = v->s;
	if (v->d.file != s->last_slot) return false;
	return v->d.at >= s->last_from && v->d.at < s->last_to;
}

static bool info_is_same(const struct log_group_info *a, const struct log_group_info *b)
{
	return a->term == b->term && a->vote == b->vote && a->state_index == b->state_index &&
	       a->state_term == b->state_term && a->conf_index == b->conf_index && a->last_index == b->last_index &&
	       a->last_term == b->last_term && a->generation == b->generation;
}

/* How the group came out of it. True: it lost something, or may have. */
static bool group_judge(struct verdict *v, uint64_t id)
{
	struct sweep *s = v->s;
	const struct image_file *file = &s->files[v->d.file];
	struct log_group *g = log_group_find(s->f.log, id);
	struct log_group_info before, after;
	v->t = &s->truth[id];
	if (!g) {
		/* A slot that was cut took its MAKE with it, and no table is left that names it. */
		if (file->kind != KIND_SLOT || !v->d.is_cut) complain(v, id, "is not there any more");
		return true;
	}
	memset(v->seen, 0, sizeof v->seen);
	log_group_info(g, &before);
	entries_each(g, entry_compare, v);
	log_group_info(g, &after);
	if (v->is_wrong) complain(v, id, "served something that was not stored");
	bool is_doubtful = after.in_doubt, is_lost = false;
	for (uint64_t i = 1; i <= INDEX_MAX; i++) {
		if (v->t->entry[i].n == 0 || v->seen[i]) continue;
		is_lost = true;
		/* Which segments a group has stands in the state store: without it nobody can tell them from left-overs. */
		/* Those of an install are named by its INSTALL alone. */
		if (before.generation != v->t->info.generation) continue;
		if (is_intact(v, id, i) && file->kind != KIND_STATE && !window_of_the_last_block(v))
			complain(v, id, "does not serve an entry that is whole");
	}
	struct buf sum = { 0 };
	bool has_state = state_get(log_state(s->f.log), id, SLICE("sum"), &sum) == OK;
	bool is_same_state = has_state == (v->t->sum.n > 0) && slice_eq(buf_slice(&sum), buf_slice(&v->t->sum));
	buf_deinit(&sum);
	if (is_doubtful || window_of_the_last_block(v)) return true;
	if (is_lost) complain(v, id, "lost entries and is not in doubt");
	/* One round back the state is an older one, and the journal has the rest (S13). */
	bool is_back = file->kind == KIND_STATE && (v->is_told[0] || v->notes);
	if (is_back) before.state_index = v->t->info.state_index;
	if (!is_same_state && !is_back) complain(v, id, "has another state and is not in doubt");
	if (!info_is_same(&before, &v->t->info)) complain(v, id, "says other things of itself and is not in doubt");
	return false;
}

static void damage_apply(const struct sweep *s, const struct damage *d)
{
	const struct image_file *file = &s->files[d->file];
	if (d->is_cut) {
		image_write(s, file, slice_first(buf_slice(&file->bytes), d->at));
		return;
	}
	char path[200];
	path_of(s, file->name, path);
	uint8_t byte = file->bytes.p[d->at] ^ (uint8_t)(1U << d->at % 8);
	int fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)d->at), 1);
	assert_int_equal(close(fd), 0);
}

static void damage_try(struct sweep *s, struct damage d)
{
	struct verdict v = { .s = s, .d = d };
	struct log_check_report report;
	char why[300];
	bool is_quick = s->files[d.file].kind != KIND_STATE;
	if (s->number++ % s->parts != s->part) return;
	image_restore(s);
	damage_apply(s, &d);
	v.check = log_check(
		s->f.io, s->f.dir, is_quick ? &s->quick : &state_lmdb, check_told, &v, &report, why, sizeof why);
	if (v.check != OK && v.check != ERR_CORRUPT) complain(&v, 0, why);
	store_open(s, is_quick);
	for (uint64_t id = 1; id <= GROUPS; id++) {
		bool is_hurt = group_judge(&v, id);
		if (is_hurt && !window_of_the_last_block(&v) && !v.is_told[id] && !v.is_told[0])
			complain(&v, id, "is in doubt, and the check did not say so");
		if (!is_hurt && v.is_told[id]) complain(&v, id, "is whole, and the check says that it is not");
	}
	store_close(s);
	s->cases++;
	s->in_window += window_of_the_last_block(&v);
	s->found += v.check == ERR_CORRUPT;
	s->notes += v.check == OK && v.notes;
	s->silent += v.check == OK && !v.notes;
}

/* ---- the sweeps ---- */

static void image_forget(struct sweep *s)
{
	for (unsigned k = 0; k < s->file_count; k++) buf_deinit(&s->files[k].bytes);
	memset(s->files, 0, FILES_MAX * sizeof *s->files);
	s->file_count = s->copy_count = 0;
	for (unsigned id = 1; id <= GROUPS; id++) {
		for (unsigned i = 0; i <= INDEX_MAX; i++) buf_deinit(&s->truth[id].entry[i]);
		buf_deinit(&s->truth[id].sum);
		s->truth[id] = (struct truth) { 0 };
	}
}

static int setup(void **state)
{
	struct sweep *s = NEW(struct sweep);
	s->is_full = getenv("THEBES_TEST_FULL") != NULL;
	const char *part = getenv("THEBES_DAMAGE_PART");
	s->parts = 1;
	if (s->is_full && part) assert_int_equal(sscanf(part, "%u/%u", &s->part, &s->parts), 2);
	assert_true(s->part < s->parts);
	s->files = mem_zalloc(FILES_MAX * sizeof *s->files);
	store_make(s);
	assert_int_equal(io_uv_new(&s->f.io), OK);
	s->quick = state_lmdb;
	s->quick.check = quick_check;
	s->quick.verify = quick_verify;
	image_take(s);
	truth_take(s);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct sweep *s = *state;
	image_forget(s);
	io_uv_free(s->f.io);
	fixture_deinit(&s->f);
	mem_free(s->files);
	mem_free(s);
	return 0;
}

static void sweep_say(struct sweep *s, const char *what)
{
	(void)fprintf(stderr,
		"# %s: %u cases, %u told as damage, %u as notes, %u of no consequence, %u in the window\n", what,
		s->cases, s->found, s->notes, s->silent, s->in_window);
	s->cases = s->found = s->notes = s->silent = s->in_window = 0;
}

/* Every byte of the headers below `all_to` in one file of the kind; every so many in the others and behind it, and so in bodies. */
static void kind_flip(struct sweep *s, enum kind kind, uint64_t all_to, unsigned header_step, unsigned body_step)
{
	unsigned first = 0;
	while (s->files[first].kind != kind) first++;
	if (kind == KIND_SLOT) first = s->last_slot;
	for (unsigned k = 0; k < s->file_count; k++) {
		const struct image_file *file = &s->files[k];
		if (file->kind != kind) continue;
		unsigned headers = 0;
		for (uint64_t at = 0; at < file->bytes.n; at++) {
			bool is_header = at < sizeof file->header && file->header[at];
			headers += is_header;
			bool is_due =
				s->is_full || (is_header ? (k == first && at < all_to) || headers % header_step == 0
							 : at % body_step == 0);
			if (is_due) damage_try(s, (struct damage) { k, at, false });
		}
	}
}

static void kind_cut(struct sweep *s, enum kind kind, unsigned step)
{
	for (unsigned k = 0; k < s->file_count; k++) {
		if (s->files[k].kind != kind) continue;
		for (uint64_t at = 0; at < s->files[k].bytes.n; at += s->is_full ? 64 : step)
			damage_try(s, (struct damage) { k, at, true });
	}
}

static void identities(void **state)
{
	struct sweep *s = *state;
	kind_flip(s, KIND_IDENTITY, IDENTITY_BYTES, 5, 509);
	kind_cut(s, KIND_IDENTITY, 512);
	assert_true(s->found * s->parts >= 88 + 10);
	sweep_say(s, "identity");
}

static void slots(void **state)
{
	struct sweep *s = *state;
	kind_flip(s, KIND_SLOT, 2 * BLOCK_ALIGN, 17, 1021);
	unsigned found = s->found, in_window = s->in_window;
	sweep_say(s, "slots, flips");
	assert_true(found * s->parts > 100);
	kind_cut(s, KIND_SLOT, 512);
	assert_true(s->found > 0 && in_window + s->in_window > 0);
	sweep_say(s, "slots, cuts");
}

static void segments(void **state)
{
	struct sweep *s = *state;
	kind_flip(s, KIND_SEG, 64 * KIB, 5, 127);
	kind_cut(s, KIND_SEG, 512);
	assert_true(s->found * s->parts > 100);
	sweep_say(s, "segments");
	kind_flip(s, KIND_IDX, 64 * KIB, 7, 61);
	kind_cut(s, KIND_IDX, 512);
	assert_int_equal(s->found, 0); /* made anew from the segment */
	assert_true(s->notes * s->parts > 50);
	sweep_say(s, "index files");
}

static void state_of_an_install(void **state)
{
	struct sweep *s = *state;
	kind_flip(s, KIND_INSTALL_STATE, 64 * KIB, 1, 1);
	kind_cut(s, KIND_INSTALL_STATE, 1);
	assert_int_equal(s->found, s->cases);
	sweep_say(s, "state of an install");
}

/* From here on the store is the one that a start makes of it: the install's state is in the state store. */
static void an_install_that_is_moved(void **state)
{
	struct sweep *s = *state;
	kind_flip(s, KIND_SLOT, 0, 61, 2039);
	sweep_say(s, "slots, before it is moved");
	image_restore(s);
	store_open(s, false);
	store_close(s);
	image_forget(s);
	image_take(s);
	truth_take(s);
	assert_true(s->truth[3].info.state_index == 100 && s->truth[3].sum.n > 0);
}

/* Its own sweep, every byte of it, is test_state_damage.c; here is what the whole makes of it. */
static void state_store(void **state)
{
	struct sweep *s = *state;
	kind_flip(s, KIND_STATE, 0, 19, 2039);
	kind_cut(s, KIND_STATE, s->is_full ? 512 : 2560);
	assert_true(s->found * s->parts > 10);
	sweep_say(s, "state store");
}

static void a_lock_is_no_content(void **state)
{
	struct sweep *s = *state;
	unsigned k = 0;
	while (s->files[k].kind != KIND_LOCK) k++;
	damage_try(s, (struct damage) { k, 0, true });
	assert_int_equal(s->silent, s->parts > 1 ? s->cases : 1);
	sweep_say(s, "lock");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lock_is_no_content),
		cmocka_unit_test(state_of_an_install),
		cmocka_unit_test(an_install_that_is_moved),
		cmocka_unit_test(identities),
		cmocka_unit_test(slots),
		cmocka_unit_test(segments),
		cmocka_unit_test(state_store),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
