/* SPDX-License-Identifier: Apache-2.0 */
/* segment — the files in which a group's settled entries rest: DIR/groups/<id>/<generation>/<first index>.seg, and an .idx beside each
 * (docs/STORAGE.md#segment). Everything here blocks and runs in jobs (or before the loop): the settle lane writes, the disk lane reads.
 *
 *   settle:  segment_writer_init(list of the meta) -> _add … -> _sync -> commit w.list with the state -> _deinit
 *   read:    segment_open(row of the meta) -> segment_read | segment_read_seq | segment_each -> segment_close
 *
 * Nothing is kept between jobs: a job gets copies of what the loop knows (struct segment_info, the group's meta). The files say nothing
 * that the meta does not say better; only `bytes` of a segment count, what lies behind them is left over from rounds that failed.
 *
 * A round's bytes are padded with zeros to a multiple of 4096, and the next round starts there: no sector that holds settled bytes is
 * ever written again (S2). The .idx has a row per entry and is never believed: what it leads to is checked against the segment, and if
 * that fails the segment is scanned and `index_is_bad` is set, so that the settle lane rebuilds it.
 *
 * Errors: ERR_CORRUPT = damage, `bad` says which indexes; ERR_NO_SPACE, ERR_IO, ERR_FILES, ERR_CRASHED as from io. */
#ifndef THEBES_LOG_SEGMENT_H
#define THEBES_LOG_SEGMENT_H

#include "thebes/io.h"
#include "thebes/record.h"

enum { SEGMENT_HEAD_BYTES = 64, SEGMENT_INFO_BYTES = 64, SEGMENT_ROW_BYTES = 32, SEGMENT_ALIGN = 4096 };

/* Where the segments of one generation of a group lie. */
struct segment_place {
	const char *dir; /* of the store; borrowed as long as the place is used */
	uint64_t group, generation;
	uint64_t store; /* low half of the store uuid: first 8 bytes, little-endian */
};

enum { SEGMENT_SEALED = 1 };
/* One segment as the group's meta has it. */
struct segment_info {
	uint64_t first_index, last_index; /* of entries that are there; others between them may be missing (S14) */
	uint64_t bytes;                   /* end of the last entry */
	uint64_t seq_last;
	uint32_t flags; /* SEGMENT_SEALED: nothing is appended any more */
	uint32_t entry_count;
	uint64_t live_bytes; /* estimate; at first all entries' bytes */
	uint64_t term_last;
	uint32_t rewrite; /* how often it was rewritten: part of its name */
};
void segment_info_encode(const struct segment_info *s, uint8_t out[SEGMENT_INFO_BYTES]);
/* ERR_CORRUPT when the numbers cannot be those of a segment. */
must_check enum err segment_info_decode(const uint8_t in[SEGMENT_INFO_BYTES], struct segment_info *out);

/* Segments in order of index. A zeroed one is empty. */
struct segment_list {
	struct segment_info *rows; /* owned */
	uint32_t count, cap;
};
void segment_list_push(struct segment_list *l, const struct segment_info *s);
void segment_list_copy(struct segment_list *to /* zeroed */, const struct segment_list *from);
void segment_list_deinit(struct segment_list *l);
/* Position of the first segment whose last index is at least `index`; count when there is none. The same by seq_last. */
uint32_t segment_list_find(const struct segment_list *l, uint64_t index);
uint32_t segment_list_find_seq(const struct segment_list *l, uint64_t seq);

/* Indexes; from 0 = none. */
struct segment_range {
	uint64_t from, to;
};

/* ---- directories and names ---- */

/* "DIR/groups/<id>/<generation>", without the generation when it is 0 (generations count from 1). Clears `out`; NUL-terminated. */
const char *segment_dir_path(const struct segment_place *p, struct buf *out);
enum segment_file { SEGMENT_FILE_SEG, SEGMENT_FILE_IDX };
const char *segment_path(
	const struct segment_place *p, const struct segment_info *s, enum segment_file f, struct buf *out);
/* Makes groups/<id>/<generation> durable; those that are there are left alone. DIR/groups must exist. */
must_check enum err segment_dir_make(struct io *io, const struct segment_place *p);
/* The same without making it durable. */
must_check enum err segment_dir_make_unsynced(struct io *io, const struct segment_place *p);
/* Unlinks the generation's files and directory, and the group's if that was the last. What is not there is no error. */
must_check enum err segment_dir_remove(struct io *io, const struct segment_place *p);
/* Unlinks .seg and .idx of one segment. What is not there is no error. Not durable before io_dir_sync. */
must_check enum err segment_unlink(struct io *io, const struct segment_place *p, const struct segment_info *s);

/* One look at the directory against the meta: every segment that is missing or shorter than `bytes` is told to `each`. Bodies are not
 * read. An absent directory misses all. */
typedef void segment_lost_fn(
	void *arg, const struct segment_info *s, const char *what /* static: "is missing", "is too short" */);
must_check enum err segment_dir_compare(
	struct io *io, const struct segment_place *p, const struct segment_list *l, segment_lost_fn *each, void *arg);
/* Unlinks every file of the directory that none of the lists names (leftovers of failed rounds, of rewrites, of drops). */
must_check enum err segment_dir_clean(
	struct io *io, const struct segment_place *p, const struct segment_list *const *lists, unsigned count);

/* ---- writing (settle lane) ---- */

/* Appends entries behind those of a list, seals a segment that has reached bytes_max and starts the next. */
struct segment_writer {
	struct io *io;
	struct segment_place place;
	uint64_t bytes_max;
	bool defers_sync;         /* set after _init: the caller makes all of it durable at once, with io_tree_sync */
	struct segment_list list; /* what the meta is to say once _sync has returned OK */
	struct segment_range bad; /* found while sealing: the segment was sealed all the same, the group is in doubt */
	uint64_t written_bytes;   /* statistics */
	/* private: */
	struct io_file *seg, *idx;  /* of the last row, or NULL */
	uint64_t seg_at;            /* where `out` goes */
	uint32_t rows_at;           /* rows that are in the .idx */
	uint64_t unsynced_bytes;    /* given to the segment's file since the last sync */
	struct buf out, rows, path; /* owned */
	bool is_dirty, dir_is_dirty;
};
/* Copies the list. Nothing is opened before the first _add. */
void segment_writer_init(struct segment_writer *w, struct io *io, const struct segment_place *place, uint64_t bytes_max,
	const struct segment_list *from);
/* Appends one whole entry (head, body, padding), verified by the caller, of this group and above the last index. After an error of any call
 * here only _deinit may follow: the round is given up. */
must_check enum err segment_writer_add(struct segment_writer *w, const struct entry_head *h, struct slice entry);
/* All that was added is durable: files, names, sealed indexes. */
must_check enum err segment_writer_sync(struct segment_writer *w);
/* Seals the last segment now (after _sync): S15, or a tail that is due for a rewrite. */
must_check enum err segment_writer_seal(struct segment_writer *w);
/* Frees; also after an error, when what was written is left over (the next writer goes over it). Take `list` before. */
void segment_writer_deinit(struct segment_writer *w);

/* Writes the segment anew without the entries that `keep` refuses, and with what it makes of the others (it may point *entry, and fill *h
 * accordingly, at a copy of the same size that is valid until its next call), as a sealed one under a new name, durable when it returns; the old
 * one stays. out->entry_count 0: none was kept and no file was made. ERR_CORRUPT: *bad, and no file is left. */
typedef bool segment_keep_fn(void *arg, struct entry_head *h, struct slice *entry);
must_check enum err segment_rewrite(struct io *io, const struct segment_place *p, const struct segment_info *s,
	segment_keep_fn *keep, void *arg, struct segment_info *out, struct segment_range *bad);

/* Scans the segment and writes its .idx anew, synced, under its name in one step. ERR_CORRUPT: *bad; the old .idx stays. */
must_check enum err segment_index_rebuild(
	struct io *io, const struct segment_place *p, const struct segment_info *s, struct segment_range *bad);

/* ---- reading (disk lane) ---- */

struct segment_reader {
	struct io *io;
	struct segment_place place;
	struct segment_info info;
	bool is_whole;            /* all entries have been counted, and there are as many as the meta says */
	bool index_is_bad;        /* found while looking something up: ask for segment_index_rebuild */
	bool head_is_bad;         /* the file's first 64 bytes are damaged: harmless, the meta says all that they say */
	struct segment_range bad; /* of the last ERR_CORRUPT */
	/* private: */
	struct io_file *seg, *idx; /* idx NULL when there is none */
	struct buf page;           /* owned: of the .idx */
	uint32_t page_number;      /* from 1; 0: none */
};
/* One that is too short opens: what is left of it can be read. ERR_CORRUPT: it is another segment's file; ERR_NOT_FOUND: it is not there, which is damage too unless the segment was dropped
 * or rewritten since `s` was copied. bad = all of it. ERR_FORMAT (S20). A sector that cannot be read counts as damage here and below.
 * Close in every case. */
must_check enum err segment_open(
	struct segment_reader *r, struct io *io, const struct segment_place *p, const struct segment_info *s);
void segment_close(struct segment_reader *r);

/* Appends whole verified entries of [from, to] to `out`: at most bytes_max, but at least one, none behind a hole unless `holes`.
 * *next: where to go on. No entry was appended and *next == from: `from` is in a hole (without `holes`). With `holes` *next is behind
 * every hole that was passed, info.last_index + 1 at the end. ERR_CORRUPT: entries before the damage were appended, *next is the first
 * damaged one; damage is reported only when no entry could be appended. */
must_check enum err segment_read(struct segment_reader *r, uint64_t from, uint64_t to, uint64_t bytes_max, bool holes,
	struct buf *out, uint64_t *next);
/* Appends the first entry whose seq_last is at least `seq`. ERR_NOT_FOUND when info.seq_last is lower. */
must_check enum err segment_read_seq(struct segment_reader *r, uint64_t seq, struct buf *out);
/* Every entry with an index of at least `from`, verified, in order, until `each` says false. Damage ends the walk: ERR_CORRUPT. */
typedef bool segment_each_fn(void *arg, const struct entry_head *h, struct slice entry);
must_check enum err segment_each(struct segment_reader *r, uint64_t from, segment_each_fn *each, void *arg);
/* What segment_verify found. */
struct segment_damage {
	struct segment_range range; /* from 0: no entry is lost */
	enum segment_file file;
	uint64_t offset;  /* in that file: where it begins */
	const char *what; /* borrowed */
};
/* Reads everything, tells every damaged range and goes on behind it: for log_check. Also the .idx, row by row, and both heads. */
typedef void segment_damage_fn(void *arg, const struct segment_damage *d);
must_check enum err segment_verify(struct segment_reader *r, segment_damage_fn *each, void *arg);

#endif
