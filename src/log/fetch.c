/* SPDX-License-Identifier: Apache-2.0 */
/* fetch — entries out of the journal's slots, on a worker. Entries of a group lie scattered over the slots; those that lie close to each
 * other are fetched with one read. */
#include "log_internal.h"

enum { SPAN_BYTES_MAX = 1024 * 1024, SPAN_GAP_MAX = 16 * 1024 };

void fetch_items_push(struct fetch_items *l, uint64_t index, const struct log_ref *ref)
{
	if (l->count == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->p = mem_realloc(l->p, l->cap * sizeof *l->p);
	}
	ASSERT(ref->use > 0);
	l->p[l->count++] = (struct fetch_item) { index, ref->use, ref->at8, ref->body_bytes };
}

static uint64_t item_end(const struct fetch_item *i) { return (uint64_t)i->at8 * 8 + entry_bytes(i->body_bytes); }

/* How far one read goes that begins with the first of the items. */
static uint64_t span_end(const struct fetch_item *items, uint32_t count)
{
	uint64_t from = (uint64_t)items[0].at8 * 8, end = item_end(&items[0]);
	for (uint32_t i = 1; i < count; i++) {
		uint64_t at = (uint64_t)items[i].at8 * 8;
		if (items[i].use != items[0].use || at < end || at - end > SPAN_GAP_MAX) break;
		if (item_end(&items[i]) - from > SPAN_BYTES_MAX) break;
		end = item_end(&items[i]);
	}
	return end;
}

enum err fetch_entry(struct fetch *f, uint64_t group, const struct fetch_item *items, uint32_t count,
	struct entry_head *h, struct slice *entry)
{
	ASSERT(count > 0);
	uint64_t at = (uint64_t)items[0].at8 * 8, n = entry_bytes(items[0].body_bytes);
	bool is_inside = f->use == items[0].use && at >= f->from && at + n <= f->from + f->bytes.n;
	if (!is_inside) {
		uint64_t want = span_end(items, count) - at;
		size_t got = 0;
		buf_clear(&f->bytes);
		f->use = 0;
		struct io_file *file = f->files[(items[0].use - 1) % f->slot_count];
		enum err e = io_file_read(file, at, buf_reserve(&f->bytes, want), want, &got);
		if (e == ERR_IO) {
			/* Once more, and no neighbours: what cannot be read then is damaged. */
			got = 0;
			e = io_file_read(file, at, buf_reserve(&f->bytes, n), n, &got);
		}
		if (e == ERR_IO) e = ERR_CORRUPT;
		if (e != OK) return e;
		f->bytes.n = got;
		f->use = items[0].use;
		f->from = at;
	}
	*entry = slice_first(slice_from(buf_slice(&f->bytes), at - f->from), n);
	struct slice in = *entry, body;
	enum err e = entry_next(&in, h, &body);
	if (e != OK || in.n || h->group != group || h->index != items[0].index) return ERR_CORRUPT;
	return OK;
}

struct io_file **fetch_files(const struct log *l)
{
	struct io_file **files = mem_alloc(l->journal.slot_count * sizeof(struct io_file *));
	for (uint32_t k = 0; k < l->journal.slot_count; k++) files[k] = l->journal.slots[k].file;
	return files;
}
