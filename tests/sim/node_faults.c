/* SPDX-License-Identifier: Apache-2.0 */
/* What the world does to the machine: kills it, takes its power at any file call, fills, slows and breaks its disk, breaks its connections;
 * and, when all is said and done, flips bits in its files. */
#include "sim/node_world.h"

#include <stdio.h>

#include "log_internal.h"

/* ---- dying ---- */

static bool is_settling(const struct world *w)
{
	const struct node *n = server_node(w);
	return n && n->vault.log && n->vault.log->settle.round;
}

static void crash(struct world *w, enum sim_crash how)
{
	if (!server_is_up(w)) return;
	sim_count(w->s, how == SIM_POWER ? "fault power" : "fault kill");
	if (is_settling(w))
		sim_count(w->s,
			how == SIM_POWER ? "fault power inside a settle round" : "fault kill inside a settle round");
	sim_node_crash(w->n, how);
}

static void fault_kill(struct world *w) { crash(w, SIM_KILL); }
static void fault_power(struct world *w) { crash(w, SIM_POWER); }

/* Between any two steps, of a start too. */
static void fault_crash_at(struct world *w)
{
	sim_count(w->s, "fault crash at a file call");
	sim_disk_crash_at(w->n, world_between(w, 1, 400), SIM_SOMETIME, world_chance(w, 60) ? SIM_POWER : SIM_KILL);
}

/* Asked every turn: rounds are short. */
static void fault_settle(struct world *w)
{
	const struct node *n = server_node(w);
	if (!n || n->state != NODE_SERVING || !is_settling(w) || sim_below(w->s, 1000) >= w->settle_permille) return;
	if (world_chance(w, 30)) {
		crash(w, SIM_POWER);
		return;
	}
	sim_count(w->s, "fault crash at a file call of a settle round");
	sim_disk_crash_at(w->n, world_between(w, 1, 25), SIM_SOMETIME, SIM_POWER);
}

/* ---- the disk ---- */

static void fault_full(struct world *w)
{
	if (w->full_until_ns) return;
	sim_count(w->s, "fault disk full");
	sim_disk(w->n)->capacity_bytes =
		sim_disk_used_bytes(w->n) + sim_below(w->s, world_chance(w, 50) ? 64 * KIB : 256 * MIB);
	w->full_until_ns = world_now(w) + MILLIS(world_between(w, 100, 2500));
}

static void full_ends(struct world *w)
{
	if (!w->full_until_ns || world_now(w) < w->full_until_ns) return;
	sim_disk(w->n)->capacity_bytes = w->capacity_bytes;
}

static void fault_slow(struct world *w)
{
	struct sim_disk *d = sim_disk(w->n);
	sim_count(w->s, "fault slow disk");
	d->stall_ppm = d->stall_ppm > 1000 ? 200 : (uint32_t)world_between(w, 5000, 50000);
	d->stall_max_ns = MILLIS(world_between(w, 10, 300));
}

static void fault_error(struct world *w)
{
	static const enum sim_call calls[] = { SIM_CALL_WRITE, SIM_CALL_SYNC, SIM_CALL_READ, SIM_CALL_OPEN,
		SIM_CALL_RENAME };
	if (world_chance(w, 60)) return;
	sim_count(w->s, "fault disk error");
	sim_disk_fail_clear(w->n); /* one at a time: what fails twice in a row is damaged */
	w->io_error_until_ns = world_now(w) + SECONDS(4);
	enum sim_call call = calls[sim_below(w->s, COUNT_OF(calls))];
	/* Not reads of the state store: its twin would take the round before for the newest, which log_sim plays. */
	const char *where = call != SIM_CALL_READ ? NULL : world_chance(w, 50) ? "groups/" : "journal/";
	sim_disk_fail(w->n, call, where, (unsigned)sim_below(w->s, 60), 1, ERR_IO);
}

/* ---- the rest ---- */

static void fault_pause(struct world *w)
{
	sim_count(w->s, "fault pause");
	sim_node_pause(w->n, MILLIS(world_between(w, 5, 250)));
}

static void fault_resets(struct world *w)
{
	struct sim_net *net = sim_net(w->s);
	sim_count(w->s, "fault resets");
	net->reset_ppm = net->reset_ppm ? 0 : 1500;
}

typedef void fault_fn(struct world *w);
static const struct {
	fault_fn *begin;
	unsigned weight;
} faults[] = { { fault_kill, 5 }, { fault_power, 6 }, { fault_crash_at, 8 }, { fault_full, 4 }, { fault_slow, 4 },
	{ fault_error, 3 }, { fault_pause, 4 }, { fault_resets, 4 } };

void faults_step(struct world *w)
{
	full_ends(w);
	if (w->is_calm) return;
	fault_settle(w);
	if (world_now(w) < w->next_fault_ns) return;
	w->next_fault_ns = world_now(w) + MILLIS(world_between(w, 20, w->fault_pace_ms));
	unsigned sum = 0;
	for (size_t i = 0; i < COUNT_OF(faults); i++) sum += faults[i].weight;
	uint64_t dice = sim_below(w->s, sum);
	for (size_t i = 0; i < COUNT_OF(faults); i++) {
		if (dice < faults[i].weight) {
			faults[i].begin(w);
			return;
		}
		dice -= faults[i].weight;
	}
}

void faults_end(struct world *w)
{
	struct sim_disk *d = sim_disk(w->n);
	w->is_calm = true;
	d->capacity_bytes = w->capacity_bytes;
	d->stall_ppm = 200;
	d->stall_max_ns = MILLIS(20);
	sim_disk_fail_clear(w->n);
	sim_disk_crash_clear(w->n);
	sim_net(w->s)->reset_ppm = 0;
}

/* ---- rot ---- */

struct victim {
	uint64_t left;
	char path[256];
	uint64_t bytes;
};

static void count_file(void *arg, const char *path, uint64_t bytes)
{
	(void)path;
	*(uint64_t *)arg += bytes > 0;
}

static void choose_file(void *arg, const char *path, uint64_t bytes)
{
	struct victim *v = arg;
	if (bytes == 0 || v->left-- != 0) return;
	(void)snprintf(v->path, sizeof v->path, "%s", path);
	v->bytes = bytes;
}

/* One bit somewhere in one file, mostly where something was written. */
bool faults_flip(struct world *w, char *where, size_t room)
{
	uint64_t files = 0, at;
	uint8_t around[512];
	size_t got = 0;
	sim_disk_each(w->n, ".", count_file, &files);
	if (files == 0) return false;
	struct victim v = { .left = sim_below(w->s, files) };
	sim_disk_each(w->n, ".", choose_file, &v);
	for (unsigned tries = 0; tries < 20; tries++) {
		at = sim_below(w->s, v.bytes);
		bool is_used = false;
		if (sim_disk_read(w->n, v.path, at & ~(uint64_t)511, around, sizeof around, true, &got) != OK)
			return false;
		for (size_t i = 0; i < got; i++) is_used |= around[i] != 0;
		if (is_used) break;
	}
	unsigned bit = (unsigned)sim_below(w->s, 8);
	(void)snprintf(where, room, "%s at %llu bit %u", v.path, (unsigned long long)at, bit);
	return sim_disk_flip(w->n, v.path, at, bit) == OK;
}

/* ---- rot of a message ---- */

enum { NEEDLE_BYTES = 24, HIT_ENTRY_BYTES_MAX = 256 * 1024 };
struct hit {
	struct world *w;
	struct stream_care *c;
	struct buf needle, file;
	unsigned copies;
	bool is_known; /* each copy was found inside an entry */
	char where[200];
};

static void note_lost(struct stream_care *c, uint64_t seq)
{
	if (seq > c->lost_last || !c->lost) {
		uint64_t last = u64_max(seq, c->w->book.stream[c->index].last);
		uint64_t had = c->lost ? c->lost_last + 1 : 0;
		c->lost = mem_realloc(c->lost, last + 1);
		memset(c->lost + had, 0, last + 1 - had);
		c->lost_last = last;
	}
	c->lost[seq] = BOOK_BYTES_GONE;
}

/* The whole entry in `file` that holds what is at `at`: nothing in it can be believed any more. */
static bool note_entry(struct hit *h, size_t at)
{
	size_t from = at > HIT_ENTRY_BYTES_MAX ? at - HIT_ENTRY_BYTES_MAX : 0;
	struct entry_head head;
	struct batch_head batch;
	struct record r;
	for (size_t i = at; i-- > from;) {
		struct slice in = slice_from(buf_slice(&h->file), i), body, records;
		if (entry_next(&in, &head, &body) != OK || head.kind != ENTRY_COMMAND) continue;
		if (i + entry_bytes(head.body_bytes) <= at) return false;
		if (batch_open(body, &batch, &records) != OK) return false;
		while (record_next(&records, &r) == OK)
			if (r.seq && r.subject.n) note_lost(h->c, r.seq);
		return true;
	}
	return false;
}

static void hit_file(void *arg, const char *path, uint64_t bytes)
{
	struct hit *h = arg;
	size_t got = 0;
	buf_clear(&h->file);
	if (sim_disk_read(h->w->n, path, 0, buf_reserve(&h->file, bytes + 1), bytes, false, &got) != OK) return;
	h->file.n = got;
	for (const uint8_t *p = h->file.p;
		(p = memmem(p, got - (size_t)(p - h->file.p), h->needle.p, h->needle.n)) != NULL; p++) {
		size_t at = (size_t)(p - h->file.p);
		unsigned bit = (unsigned)sim_below(h->w->s, 8);
		h->is_known &= note_entry(h, at);
		if (sim_disk_flip(h->w->n, path, at + sim_below(h->w->s, NEEDLE_BYTES), bit) != OK) h->is_known = false;
		h->copies++;
		(void)snprintf(h->where, sizeof h->where, "%s at %zu", path, at);
		world_trace(h->w, "hit %s", h->where);
	}
}

bool faults_note_groups(struct world *w)
{
	/* Damage to the very last block looks torn (docs/STORAGE.md): at the end of a slot no closing block comes behind it. */
	if (!server_node(w)->vault.log->journal.is_closing_last) return false;
	for (unsigned i = 0; i < w->book.stream_count; i++) w->care[i].group = server_group_of(w, i);
	return true;
}

static void note_entry_of(struct stream_care *c, uint64_t seq, uint64_t index)
{
	if (seq >= c->entry_of_count) {
		c->entry_of = mem_realloc(c->entry_of, 2 * (seq + 1) * sizeof *c->entry_of);
		memset(c->entry_of + c->entry_of_count, 0, (2 * (seq + 1) - c->entry_of_count) * sizeof *c->entry_of);
		c->entry_of_count = 2 * (seq + 1);
	}
	c->entry_of[seq] = index;
}

static void note_entries(struct world *w, const struct entry_head *h, struct slice body)
{
	struct batch_head batch;
	struct slice records;
	struct record r;
	struct stream_care *c = NULL;
	for (unsigned i = 0; i < w->book.stream_count; i++)
		if (w->care[i].group == h->group) c = &w->care[i];
	if (!c || batch_open(body, &batch, &records) != OK) return;
	while (record_next(&records, &r) == OK)
		if (r.seq && r.subject.n && r.seq <= w->book.stream[c->index].last) note_entry_of(c, r.seq, h->index);
}

static void note_file(void *arg, const char *path, uint64_t bytes)
{
	struct world *w = arg;
	struct buf file = { 0 };
	struct entry_head head;
	struct slice body;
	size_t got = 0;
	if (sim_disk_read(w->n, path, 0, buf_reserve(&file, bytes + 1), bytes, false, &got) == OK) file.n = got;
	for (size_t i = 0; i + ENTRY_HEAD_BYTES <= file.n; i += 8) {
		struct slice in = slice_from(buf_slice(&file), i);
		if (entry_next(&in, &head, &body) == OK && head.kind == ENTRY_COMMAND) note_entries(w, &head, body);
	}
	buf_deinit(&file);
}

/* ---- rot of the catalogue ---- */

struct catalogue_hit {
	struct world *w;
	uint64_t newest, index; /* index 0: looks for the newest */
	char where[200];
};

static void catalogue_file(void *arg, const char *path, uint64_t bytes)
{
	struct catalogue_hit *h = arg;
	struct buf file = { 0 };
	struct entry_head head;
	struct slice body;
	size_t got = 0;
	if (sim_disk_read(h->w->n, path, 0, buf_reserve(&file, bytes + 1), bytes, false, &got) == OK) file.n = got;
	for (size_t i = 0; i + ENTRY_HEAD_BYTES <= file.n; i += 8) {
		struct slice in = slice_from(buf_slice(&file), i);
		bool is_its = entry_next(&in, &head, &body) == OK && head.group == META_GROUP &&
			      head.kind >= ENTRY_COMMAND && head.kind <= ENTRY_CHANGE;
		if (is_its) h->newest = u64_max(h->newest, head.index);
		if (!is_its || head.index != h->index) continue;
		(void)snprintf(
			h->where, sizeof h->where, "catalogue %llu, %s at %zu", (unsigned long long)h->index, path, i);
		(void)!sim_disk_flip(h->w->n, path, i + sim_below(h->w->s, ENTRY_HEAD_BYTES), 0);
	}
	buf_deinit(&file);
}

bool faults_hit_catalogue(struct world *w, char *where, size_t room)
{
	struct catalogue_hit h = { .w = w };
	sim_disk_each(w->n, ".", catalogue_file, &h);
	if (!h.newest) return false;
	h.index = h.newest - sim_below(w->s, u64_min(h.newest, world_chance(w, 60) ? 3 : h.newest));
	sim_disk_each(w->n, ".", catalogue_file, &h);
	(void)snprintf(where, room, "%s", h.where);
	return h.where[0] != '\0';
}

void faults_note_entries(struct world *w) { sim_disk_each(w->n, ".", note_file, w); }

/* A message that is there, with letters that no other has. */
static const struct book_pub *choose_message(struct world *w)
{
	for (unsigned tries = 0; tries < 40; tries++) {
		const struct book_stream *s = &w->book.stream[sim_below(w->s, w->book.stream_count)];
		if (s->last == 0) continue;
		uint64_t newest = world_chance(w, 50) ? 1 : 40;
		uint64_t seq = s->last - sim_below(w->s, u64_min(s->last, world_chance(w, 60) ? newest : s->last));
		const struct book_pub *p = s->slots[seq].pub;
		if (p && p->payload_bytes >= 2 * NEEDLE_BYTES && book_presence(s, seq) == BOOK_LIVE) return p;
	}
	return NULL;
}

bool faults_hit(struct world *w, char *where, size_t room)
{
	const struct book_pub *p = choose_message(w);
	if (!p) return false;
	struct hit h = { .w = w, .c = &w->care[p->stream], .is_known = true };
	struct buf payload = { 0 };
	book_payload(p, &payload);
	buf_append(&h.needle, payload.p + payload.n - NEEDLE_BYTES, NEEDLE_BYTES);
	sim_disk_each(w->n, ".", hit_file, &h);
	if (!h.is_known) w->knows_damage = false;
	(void)snprintf(where, room, "%s %llu, %u times, %s", w->book.stream[p->stream].name, (unsigned long long)p->seq,
		h.copies, h.where);
	buf_deinit(&payload);
	buf_deinit(&h.needle);
	buf_deinit(&h.file);
	return h.copies > 0;
}
