/* SPDX-License-Identifier: Apache-2.0 */
/* state_lmdb_check — LMDB's file is walked before LMDB may map it (S10). LMDB has no checksums and trusts its file: most truncations end
 * in SIGBUS, a flipped page number reads anything, a damaged list of free pages breaks a commit much later.
 *
 * Happy path: fork; the child walks the file by its own reading of the format (LMDB 0.9, 64 bits, little-endian) with pread and bounds,
 * then lets LMDB walk it too; the parent gets the head through a pipe. A child that dies means damage.
 *
 *   page 0, 1   two meta pages, written in turn: roots of two trees, last page, transaction id
 *   free tree   transaction id -> list of pages that it freed        main tree   our keys -> our values, large ones on overflow pages
 *
 * Everything must add up: each page is met at most once, in range, with the right number on it; nodes fill their page without overlap;
 * keys rise; counts agree with the meta page. What differs from that could hurt later, and what does not cannot.
 * If the newer meta page or its trees are damaged the older ones are what the last round left behind, whole: one round back, which the
 * journal can replay (S13). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state_lmdb.h"

enum { META_COUNT = 2, PAGE_HEAD_BYTES = 16, NODE_HEAD_BYTES = 8, DEPTH_MAX = 32 };
enum { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_OVERFLOW = 4, PAGE_META = 8 };
enum { NODE_BIG = 1 };
enum {
	TREE_INTEGER_KEYS = 0x8,
	TREE_FLAGS_OF_ENV = 0x4000 /* MDB_NOSUBDIR lands here */,
	TREE_PAGE_BYTES_MIN = 512,
	TREE_PAGE_BYTES_MAX = 32768
};
#define META_MAGIC 0xBEEFC0DEU
#define NO_PAGE UINT64_MAX

struct tree {
	uint32_t pad;
	uint16_t flags, depth;
	uint64_t branches, leaves, overflows, entries, root;
};
struct meta {
	bool is_good;
	struct tree free, main;
	uint64_t last_page, txn;
	uint32_t page_bytes;
};
struct walk {
	int fd;
	struct meta meta;
	uint8_t *seen;           /* owned: a bit per page */
	const struct tree *tree; /* the one being walked */
	struct tree counted;
	bool is_main;
	uint64_t sum, values;
	struct state_head head;
	bool has_head;
	struct buf key_last; /* owned: of the leaf entry before */
	struct buf *metas;   /* borrowed, or NULL */
	struct buf *bad;     /* borrowed: damaged values of owners are noted there; NULL: they end the walk */
	uint64_t at;         /* in the file: of the page that is looked at */
	const char *why;
};

static bool walk_fail(struct walk *w, const char *why)
{
	if (!w->why) w->why = why;
	return false;
}

static bool pread_all(int fd, void *p, size_t n, uint64_t at)
{
	for (uint8_t *to = p; n;) {
		ssize_t got = pread(fd, to, n, (off_t)at);
		if (got < 0 && errno == EINTR) continue;
		if (got <= 0) return false;
		to += got;
		at += (size_t)got;
		n -= (size_t)got;
	}
	return true;
}

/* Marks pages as met; false when one is out of range or was met before. */
static bool pages_take(struct walk *w, uint64_t page, uint64_t count)
{
	if (page < META_COUNT || page > w->meta.last_page || count > w->meta.last_page - page + 1)
		return walk_fail(w, "a page number is out of range");
	for (; count; count--, page++) {
		uint8_t bit = (uint8_t)(1U << page % 8);
		if (w->seen[page / 8] & bit) return walk_fail(w, "a page is used twice");
		w->seen[page / 8] |= bit;
	}
	return true;
}

/* ---- meta pages ---- */

static void tree_decode(const uint8_t *p, struct tree *out)
{
	*out = (struct tree) { le32_get(p), le16_get(p + 4), le16_get(p + 6), le64_get(p + 8), le64_get(p + 16),
		le64_get(p + 24), le64_get(p + 32), le64_get(p + 40) };
}

static void meta_read(int fd, unsigned which, uint32_t page_bytes, uint64_t file_bytes, struct meta *out)
{
	uint8_t p[PAGE_HEAD_BYTES + 136];
	*out = (struct meta) { 0 };
	if (!pread_all(fd, p, sizeof p, (uint64_t)which * page_bytes)) return;
	const uint8_t *m = p + PAGE_HEAD_BYTES;
	tree_decode(m + 24, &out->free);
	tree_decode(m + 72, &out->main);
	out->last_page = le64_get(m + 120);
	out->txn = le64_get(m + 128);
	out->page_bytes = out->free.pad;
	bool is_meta = le64_get(p) == which && le16_get(p + 10) == PAGE_META && le32_get(m) == META_MAGIC &&
		       le32_get(m + 4) == 1 && le64_get(m + 8) == 0;
	bool is_ours = (out->free.flags & ~TREE_FLAGS_OF_ENV) == TREE_INTEGER_KEYS && out->main.flags == 0 &&
		       out->main.pad == 0;
	bool is_possible = out->page_bytes == page_bytes && out->last_page >= 1 &&
			   out->last_page < INT64_MAX / page_bytes && (out->last_page + 1) * page_bytes <= file_bytes;
	out->is_good = is_meta && is_ours && is_possible;
}

/* The page size stands in the meta pages themselves; the second lies behind one page, whatever that is. */
static uint32_t page_bytes_find(int fd)
{
	uint8_t p[PAGE_HEAD_BYTES + 28];
	for (uint32_t n = 0; n <= TREE_PAGE_BYTES_MAX; n = n ? n * 2 : TREE_PAGE_BYTES_MIN) {
		if (!pread_all(fd, p, sizeof p, n)) continue;
		uint32_t bytes = le32_get(p + PAGE_HEAD_BYTES + 24);
		bool is_power =
			bytes >= TREE_PAGE_BYTES_MIN && bytes <= TREE_PAGE_BYTES_MAX && (bytes & (bytes - 1)) == 0;
		if (le32_get(p + PAGE_HEAD_BYTES) == META_MAGIC && is_power && (n == 0 || n == bytes)) return bytes;
	}
	return 0;
}

/* ---- pages ---- */

struct node {
	uint16_t at, bytes;
};

static int node_compare(const void *a, const void *b)
{
	return ((const struct node *)a)->at - ((const struct node *)b)->at;
}

static uint32_t node_data_bytes(const uint8_t *node)
{
	return (uint32_t)le16_get(node) | (uint32_t)le16_get(node + 2) << 16;
}
static uint64_t node_child(const uint8_t *node) { return node_data_bytes(node) | (uint64_t)le16_get(node + 4) << 32; }
static struct slice node_key(const uint8_t *node) { return slice_of(node + NODE_HEAD_BYTES, le16_get(node + 6)); }

/* Keys as LMDB orders them: bytes, or in the free tree numbers. */
static int key_compare(const struct walk *w, struct slice a, struct slice b)
{
	if (w->is_main) return slice_cmp(a, b);
	uint64_t x = a.n == 8 ? le64_get(a.p) : 0, y = b.n == 8 ? le64_get(b.p) : 0;
	return x < y ? -1 : x > y;
}

/* Nodes lie from `upper` to the page's end, without gaps and without overlap; the offsets to them from the head to `lower`. */
static bool page_nodes_check(struct walk *w, const uint8_t *page, bool is_leaf, unsigned *count)
{
	uint32_t size = w->meta.page_bytes, lower = le16_get(page + 12), upper = le16_get(page + 14);
	if (lower < PAGE_HEAD_BYTES || lower % 2 || lower > upper || upper > size)
		return walk_fail(w, "a page's bounds are damaged");
	*count = (lower - PAGE_HEAD_BYTES) / 2;
	struct node nodes[TREE_PAGE_BYTES_MAX / (NODE_HEAD_BYTES + 2)];
	if (*count == 0 || *count > COUNT_OF(nodes)) return walk_fail(w, "a page's number of entries is damaged");
	for (unsigned i = 0; i < *count; i++) {
		uint32_t at = le16_get(page + PAGE_HEAD_BYTES + 2 * (size_t)i);
		if (at < upper || at % 2 || at + NODE_HEAD_BYTES > size)
			return walk_fail(w, "an entry lies outside of its page");
		const uint8_t *node = page + at;
		uint64_t data = !is_leaf ? 0 : le16_get(node + 4) & NODE_BIG ? 8 : node_data_bytes(node);
		uint64_t bytes = round_up(NODE_HEAD_BYTES + (uint64_t)le16_get(node + 6) + data, 2);
		if (bytes > size - at) return walk_fail(w, "an entry is longer than its page");
		nodes[i] = (struct node) { (uint16_t)at, (uint16_t)bytes };
	}
	qsort(nodes, *count, sizeof *nodes, node_compare);
	uint32_t next = upper;
	for (unsigned i = 0; i < *count; next += nodes[i].bytes, i++)
		if (nodes[i].at != next) return walk_fail(w, "entries of a page overlap");
	return next == size || walk_fail(w, "a page's entries do not fill it");
}

/* ---- what the leaves hold ---- */

static void meta_append(struct buf *metas, struct slice key, struct slice value)
{
	uint64_t group = 0;
	for (int i = 0; i < 8; i++) group = group << 8 | key.p[i];
	buf_append_le64(metas, group);
	buf_append_le32(metas, (uint32_t)value.n);
	buf_append_slice(metas, value);
}

static bool value_check(struct walk *w, struct slice key, struct slice stored)
{
	struct slice value;
	uint32_t crc;
	if (!state_value_open(key, stored, &value, &crc)) {
		bool is_owners = key.n > STATE_PREFIX_BYTES && key.p[8] == STATE_TAG_OWNER;
		if (!w->bad || !is_owners || stored.n < STATE_CRC_BYTES)
			return walk_fail(w, "a value's checksum is wrong");
		buf_append_le32(w->bad, (uint32_t)key.n);
		buf_append_slice(w->bad, key);
		crc = le32_get(stored.p);
		value = slice_from(stored, STATE_CRC_BYTES);
	}
	w->values++;
	if (!state_key_is_head(key)) {
		w->sum += crc;
		if (w->metas && key.p[8] == STATE_TAG_META && key.n == STATE_PREFIX_BYTES)
			meta_append(w->metas, key, value);
		return true;
	}
	if (value.n != STATE_HEAD_BYTES) return walk_fail(w, "the head has another length");
	w->head = (struct state_head) { le64_get(value.p), le64_get(value.p + 8) };
	w->has_head = true;
	return true;
}

/* A list of freed pages: count, then page numbers falling. */
static bool free_list_check(struct walk *w, struct slice key, struct slice list)
{
	if (key.n != 8 || list.n < 8 || list.n % 8) return walk_fail(w, "a list of free pages is damaged");
	uint64_t count = le64_get(list.p), before = UINT64_MAX;
	if (count > list.n / 8 - 1 || le64_get(key.p) > w->meta.txn)
		return walk_fail(w, "a list of free pages is damaged");
	for (uint64_t i = 1; i <= count; i++) {
		uint64_t page = le64_get(list.p + 8 * i);
		if (page >= before) return walk_fail(w, "a list of free pages is out of order");
		before = page;
		if (!pages_take(w, page, 1)) return false;
	}
	return true;
}

/* A value on pages of its own. They may be more than it needs: a value that shrank in the transaction that wrote it keeps its pages. */
static bool big_check(struct walk *w, struct slice key, uint64_t first, uint32_t bytes)
{
	uint8_t head[PAGE_HEAD_BYTES];
	uint64_t size = w->meta.page_bytes, pages_min = (PAGE_HEAD_BYTES + (uint64_t)bytes + size - 1) / size;
	if (first < META_COUNT || first > w->meta.last_page) return walk_fail(w, "a page number is out of range");
	w->at = first * size;
	if (!pread_all(w->fd, head, sizeof head, first * size)) return walk_fail(w, "a page cannot be read");
	uint64_t pages = le32_get(head + 12);
	if (le64_get(head) != first || le16_get(head + 10) != PAGE_OVERFLOW || pages < pages_min)
		return walk_fail(w, "the head of an overflow page is damaged");
	if (!pages_take(w, first, pages)) return false;
	w->counted.overflows += pages;
	struct buf b = { 0 };
	bool is_good = pread_all(w->fd, buf_reserve(&b, bytes), bytes, first * size + PAGE_HEAD_BYTES);
	struct slice data = slice_of(b.p, bytes);
	if (!is_good)
		walk_fail(w, "a page cannot be read");
	else
		is_good = w->is_main ? value_check(w, key, data) : free_list_check(w, key, data);
	buf_deinit(&b);
	return is_good;
}

static bool leaf_check(struct walk *w, const uint8_t *page, unsigned count, struct slice low)
{
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *node = page + le16_get(page + PAGE_HEAD_BYTES + 2 * (size_t)i);
		struct slice key = node_key(node);
		if (w->counted.entries && key_compare(w, buf_slice(&w->key_last), key) >= 0)
			return walk_fail(w, "keys are out of order");
		if (i == 0 && low.p && key_compare(w, key, low) < 0)
			return walk_fail(w, "a key lies outside of its branch");
		w->counted.entries++;
		buf_clear(&w->key_last);
		buf_append_slice(&w->key_last, key);
		const uint8_t *data = key.p + key.n;
		uint32_t bytes = node_data_bytes(node);
		uint16_t flags = le16_get(node + 4);
		if (flags & ~NODE_BIG) return walk_fail(w, "an entry's flags are damaged");
		bool is_good = flags & NODE_BIG ? big_check(w, key, le64_get(data), bytes)
			       : w->is_main     ? value_check(w, key, slice_of(data, bytes))
						: free_list_check(w, key, slice_of(data, bytes));
		if (!is_good) return false;
	}
	return true;
}

/* `low`: no key below lies before it; p NULL at a tree's left edge. */
static bool page_walk(struct walk *w, uint64_t number, unsigned depth, struct slice low);

/* Every key below child i lies in [key i, key i + 1); the first key of the page stands for what its parent says. */
static bool branch_walk(struct walk *w, const uint8_t *page, unsigned count, unsigned depth, struct slice low)
{
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *node = page + le16_get(page + PAGE_HEAD_BYTES + 2 * (size_t)i);
		struct slice key = i ? node_key(node) : low;
		if (i && w->counted.entries && key_compare(w, buf_slice(&w->key_last), key) >= 0)
			return walk_fail(w, "keys of a branch are out of order");
		if (!page_walk(w, node_child(node), depth + 1, key)) return false;
	}
	return true;
}

static bool page_walk(struct walk *w, uint64_t number, unsigned depth, struct slice low)
{
	if (depth > w->tree->depth || depth > DEPTH_MAX) return walk_fail(w, "a tree is deeper than it says");
	if (!pages_take(w, number, 1)) return false;
	w->at = number * w->meta.page_bytes;
	uint8_t *page = mem_alloc(w->meta.page_bytes);
	unsigned count = 0;
	bool is_leaf = depth == w->tree->depth;
	bool is_good = pread_all(w->fd, page, w->meta.page_bytes, number * w->meta.page_bytes);
	if (!is_good) walk_fail(w, "a page cannot be read");
	if (is_good && (le64_get(page) != number || le16_get(page + 10) != (is_leaf ? PAGE_LEAF : PAGE_BRANCH)))
		is_good = walk_fail(w, "the head of a page is damaged");
	if (is_good) is_good = page_nodes_check(w, page, is_leaf, &count);
	if (is_good) is_good = is_leaf ? leaf_check(w, page, count, low) : branch_walk(w, page, count, depth, low);
	if (is_leaf)
		w->counted.leaves++;
	else
		w->counted.branches++;
	mem_free(page);
	return is_good;
}

/* ---- the whole ---- */

static bool tree_walk(struct walk *w, const struct tree *t, bool is_main)
{
	w->tree = t;
	w->is_main = is_main;
	w->counted = (struct tree) { 0 };
	if (t->root == NO_PAGE) {
		bool is_empty = t->depth == 0 && t->entries == 0;
		return is_empty || walk_fail(w, "an empty tree says that it is not");
	}
	if (t->depth == 0) return walk_fail(w, "a tree's depth is damaged");
	if (!page_walk(w, t->root, 1, SLICE_NULL)) return false;
	const struct tree *c = &w->counted;
	bool adds_up = c->branches == t->branches && c->leaves == t->leaves && c->overflows == t->overflows &&
		       c->entries == t->entries;
	return adds_up || walk_fail(w, "a tree does not hold what the meta page says");
}

/* Walks what one meta page leads to. */
static bool meta_walk(int fd, const struct meta *m, struct state_walk *out, struct buf *metas, struct buf *bad)
{
	struct walk w = { .fd = fd, .meta = *m, .metas = metas, .bad = bad };
	size_t metas_before = metas ? metas->n : 0;
	w.seen = mem_zalloc(m->last_page / 8 + 1);
	bool is_good = tree_walk(&w, &m->free, false) && tree_walk(&w, &m->main, true);
	if (is_good && !w.has_head) is_good = walk_fail(&w, "the head is missing");
	if (is_good && w.sum != w.head.sum) is_good = walk_fail(&w, "the sum of all checksums is wrong");
	out->head = w.head;
	out->values = w.values;
	out->pages = m->last_page + 1;
	if (!is_good) {
		(void)snprintf(out->why, sizeof out->why, "%s", w.why);
		out->bad_at = w.at;
		if (metas) metas->n = metas_before;
	}
	mem_free(w.seen);
	buf_deinit(&w.key_last);
	return is_good;
}

void state_walk_file(int fd, struct state_walk *out) { state_walk_file_metas(fd, out, NULL); }

static void walk_file(int fd, struct state_walk *out, struct buf *metas, struct buf *bad)
{
	struct meta pages[META_COUNT];
	struct stat st;
	*out = (struct state_walk) { .result = ERR_CORRUPT, .why = "both meta pages are damaged, or the file is cut" };
	uint32_t page_bytes = page_bytes_find(fd);
	if (page_bytes == 0 || fstat(fd, &st) != 0) return;
	for (unsigned i = 0; i < META_COUNT; i++) meta_read(fd, i, page_bytes, (uint64_t)st.st_size, &pages[i]);
	/* As LMDB chooses: the newer one. */
	int newer = pages[1].is_good && (!pages[0].is_good || pages[0].txn < pages[1].txn);
	for (int k = 0; k < META_COUNT; k++) {
		int which = k ? !newer : newer;
		if (!pages[which].is_good || !meta_walk(fd, &pages[which], out, metas, bad)) continue;
		out->result = OK;
		out->page_bytes = page_bytes;
		out->good_meta = which;
		out->is_other_meta_bad = k || !pages[!which].is_good;
		return;
	}
}

void state_walk_file_metas(int fd, struct state_walk *out, struct buf *metas) { walk_file(fd, out, metas, NULL); }

void state_walk_file_mendable(int fd, struct state_walk *out, struct buf *metas, struct buf *bad)
{
	walk_file(fd, out, metas, bad);
	/* What the newer meta page leads to, or nothing: what was noted on the way to the older one is not of it. */
	if (out->is_other_meta_bad) out->result = ERR_CORRUPT;
}

/* The other meta page becomes a copy of the good one. */
static enum err meta_repair(int fd, const struct state_walk *walked)
{
	uint8_t *page = mem_alloc(walked->page_bytes);
	uint64_t from = (uint64_t)walked->good_meta * walked->page_bytes,
		 to = (uint64_t)!walked->good_meta * walked->page_bytes;
	bool is_good = pread_all(fd, page, walked->page_bytes, from);
	le64_put(page, (uint64_t)!walked->good_meta);
	is_good = is_good && pwrite(fd, page, walked->page_bytes, (off_t)to) == (ssize_t)walked->page_bytes &&
		  fdatasync(fd) == 0;
	mem_free(page);
	return is_good ? OK : ERR_IO;
}

/* ---- the child ---- */

static void child_run(const char *path, int to)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };
	for (size_t i = 0; i < COUNT_OF(fatal); i++) (void)signal(fatal[i], SIG_DFL);
	(void)setrlimit(RLIMIT_CORE, &(struct rlimit) { 0, 0 });
	struct state_walk walked;
	struct state_head head = { 0 };
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) _exit(1);
	/* S5: what is believed must be on the device, not in a cache that a crash left behind. */
	bool is_synced = fdatasync(fd) == 0;
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (is_synced)
		state_walk_file(fd, &walked);
	else
		walked = (struct state_walk) { .result = ERR_IO };
	if (walked.result == OK && walked.is_other_meta_bad) walked.result = meta_repair(fd, &walked);
	(void)close(fd);
	if (walked.result == OK) walked.result = state_lmdb_walk(path, &head);
	if (walked.result == OK && (head.round != walked.head.round || head.sum != walked.head.sum))
		walked.result = ERR_CORRUPT;
	ssize_t n = write(to, &walked, sizeof walked); /* less than PIPE_BUF: whole or not at all */
	_exit(n == (ssize_t)sizeof walked ? 0 : 1);
}

static bool child_wait(pid_t pid, int from, struct state_walk *walked)
{
	ssize_t n;
	int status = 0;
	pid_t gone;
	while ((n = read(from, walked, sizeof *walked)) < 0 && errno == EINTR) {}
	while ((gone = waitpid(pid, &status, 0)) < 0 && errno == EINTR) {}
	return n == (ssize_t)sizeof *walked && gone == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

enum err state_lmdb_check(struct io *io, const char *path, struct state_head *head)
{
	struct io_file *f = NULL;
	enum err e = io_file_open(io, path, IO_OPEN_READ, &f);
	io_file_close(f);
	if (e != OK) return e;
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0) return ERR_FILES;
	pid_t pid = fork();
	if (pid == 0) child_run(path, ends[1]);
	(void)close(ends[1]);
	struct state_walk walked;
	bool has_ended_well = pid > 0 && child_wait(pid, ends[0], &walked);
	(void)close(ends[0]);
	if (pid < 0) return ERR_NO_MEMORY;
	if (!has_ended_well) return ERR_CORRUPT;
	if (walked.result == OK) *head = walked.head;
	return walked.result;
}

/* ---- offline, for people: nothing is repaired ---- */

static void lmdb_walk_run(const char *path, int to)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };
	for (size_t i = 0; i < COUNT_OF(fatal); i++) (void)signal(fatal[i], SIG_DFL);
	(void)setrlimit(RLIMIT_CORE, &(struct rlimit) { 0, 0 });
	struct state_walk walked = { 0 };
	walked.result = state_lmdb_walk(path, &walked.head);
	ssize_t n = write(to, &walked, sizeof walked);
	_exit(n == (ssize_t)sizeof walked ? 0 : 1);
}

/* Does LMDB see the same in the file, and live? */
static enum err lmdb_agrees(const char *path, const struct state_head *head, bool *agrees)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0) return ERR_FILES;
	pid_t pid = fork();
	if (pid == 0) lmdb_walk_run(path, ends[1]);
	(void)close(ends[1]);
	struct state_walk walked;
	*agrees = pid > 0 && child_wait(pid, ends[0], &walked) && walked.result == OK &&
		  walked.head.round == head->round && walked.head.sum == head->sum;
	(void)close(ends[0]);
	return pid < 0 ? ERR_NO_MEMORY : OK;
}

static enum err metas_tell(struct slice metas, state_group_fn *each, void *arg)
{
	while (metas.n) {
		uint32_t bytes = le32_get(metas.p + 8);
		if (!each(arg, le64_get(metas.p), slice_first(slice_from(metas, 12), bytes))) return ERR_CORRUPT;
		metas = slice_from(metas, 12 + (size_t)bytes);
	}
	return OK;
}

static void verdict_of(const struct state_walk *walked, struct state_verdict *out)
{
	out->head = walked->head;
	out->values = walked->values;
	out->bytes = walked->pages * walked->page_bytes;
	out->is_unreadable = walked->result != OK;
	out->is_damaged = out->is_unreadable || walked->is_other_meta_bad;
	out->offset = walked->bad_at;
	(void)snprintf(out->why, sizeof out->why, "%s", walked->why);
	if (out->is_unreadable || walked->bad_at) return;
	out->offset = walked->good_meta ? 0 : walked->page_bytes;
	(void)snprintf(out->why, sizeof out->why, "%s", walked->is_other_meta_bad ? "a meta page is damaged" : "");
}

/* Damage that costs single groups their state leaves the rest. */
static void preview_mend(int fd, struct buf *metas, state_lose_fn *lose, void *arg, struct state_verdict *out)
{
	struct state_walk walked;
	if (state_mend_preview(fd, &walked, metas, lose, arg) != OK) return;
	out->head = walked.head;
	out->values = walked.values;
	out->bytes = walked.pages * walked.page_bytes;
	out->is_unreadable = false;
}

enum err state_lmdb_verify(struct io *io, const char *path, state_group_fn *each, state_lose_fn *lose, void *arg,
	struct state_verdict *out)
{
	struct io_file *f = NULL;
	*out = (struct state_verdict) { 0 };
	/* As start does it (S5): what is judged is what the device holds. */
	enum err e = io_file_open(io, path, IO_OPEN_READ, &f);
	if (e == OK) e = io_file_sync(f);
	if (e == OK) e = io_file_drop_cache(f);
	io_file_close(f);
	if (e != OK) return e;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return ERR_FILES;
	struct state_walk walked;
	struct buf metas = { 0 };
	bool agrees = true;
	state_walk_file_metas(fd, &walked, &metas);
	verdict_of(&walked, out);
	if (out->is_unreadable) preview_mend(fd, &metas, lose, arg, out);
	(void)close(fd);
	if (!out->is_damaged) e = lmdb_agrees(path, &out->head, &agrees);
	if (!agrees) {
		out->is_damaged = true;
		(void)snprintf(out->why, sizeof out->why, "LMDB cannot walk the file");
	}
	if (e == OK && !out->is_unreadable && metas_tell(buf_slice(&metas), each, arg) != OK) {
		out->is_damaged = true;
		(void)snprintf(out->why, sizeof out->why, "what it holds of a group makes no sense");
	}
	buf_deinit(&metas);
	return e;
}
