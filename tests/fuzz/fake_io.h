/* SPDX-License-Identifier: Apache-2.0 */
/* fake_io — the least io that a conn lives on, for fuzzing what stands above it: streams that are fed by hand and keep what was written,
 * a clock that is set by hand. Nothing else works. */
#ifndef THEBES_TESTS_FUZZ_FAKE_IO_H
#define THEBES_TESTS_FUZZ_FAKE_IO_H

#include "thebes/io_impl.h"

struct fake_io {
	struct io io;
	uint64_t now_ns, chance;
};
struct fake_stream {
	struct io_stream base;
	struct buf out; /* owned: all that was written */
	size_t pending; /* borrowed by a write that is not taken yet */
	bool reads, is_closed, takes_late;
};

static inline struct fake_io *fake_of(struct io *io) { return CONTAINER_OF(io, struct fake_io, io); }
static inline struct fake_stream *fake_stream_of(const struct io_stream *s)
{
	return CONTAINER_OF((struct io_stream *)(uintptr_t)s, struct fake_stream, base);
}

static inline uint64_t fake_now(struct io *io) { return fake_of(io)->now_ns; }
static inline int64_t fake_wall(struct io *io) { return (int64_t)fake_of(io)->now_ns; }
static inline void fake_random(struct io *io, void *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t *chance = &fake_of(io)->chance;
		*chance = *chance * 6364136223846793005ULL + 1442695040888963407ULL;
		((uint8_t *)p)[i] = (uint8_t)(*chance >> 56);
	}
}
static inline void fake_stream_read(struct io_stream *s, bool on) { fake_stream_of(s)->reads = on; }
static inline enum io_write fake_stream_write(struct io_stream *s, const struct slice *v, unsigned count)
{
	struct fake_stream *f = fake_stream_of(s);
	ASSERT(f->pending == 0 && !f->is_closed);
	size_t bytes = 0;
	for (unsigned i = 0; i < count; i++) {
		buf_append_slice(&f->out, v[i]);
		bytes += v[i].n;
	}
	if (!f->takes_late) return IO_WRITTEN;
	f->pending = bytes;
	return IO_PENDING;
}
static inline size_t fake_stream_pending(const struct io_stream *s) { return fake_stream_of(s)->pending; }
static inline void fake_stream_close(struct io_stream *s) { fake_stream_of(s)->is_closed = true; }
static inline void fake_stream_addr(const struct io_stream *s, bool is_peer, struct io_addr *out)
{
	(void)s;
	*out = (struct io_addr) { .host = "127.0.0.1", .port = is_peer ? 50000 : 4222 };
}

static const struct io_ops fake_ops = {
	.now_ns = fake_now,
	.now_precise_ns = fake_now,
	.wall_ns = fake_wall,
	.random = fake_random,
	.stream_read = fake_stream_read,
	.stream_write = fake_stream_write,
	.stream_pending_bytes = fake_stream_pending,
	.stream_close = fake_stream_close,
	.stream_addr = fake_stream_addr,
};

static inline void fake_init(struct fake_io *f)
{
	*f = (struct fake_io) { .now_ns = SECONDS(1000), .chance = 1 };
	io_init(&f->io, &fake_ops);
}

/* Lets `ns` pass and ends the turn. */
static inline void fake_pass(struct fake_io *f, uint64_t ns)
{
	f->now_ns += ns;
	io_timers_fire(&f->io, f->now_ns);
	io_turn_end(&f->io);
}

/* The kernel takes what was written late. */
static inline void fake_stream_drain(struct fake_stream *s)
{
	while (s->pending && !s->is_closed) {
		s->pending = 0;
		s->base.ops->on_drain(s->base.owner);
	}
}

/* Bytes arrive as far as they are read; each piece lies in memory of exactly its size. */
static inline void fake_stream_feed(struct fake_stream *s, struct slice bytes)
{
	while (bytes.n && s->reads && !s->is_closed) {
		size_t room = bytes.n;
		uint8_t *to = s->base.ops->on_alloc(s->base.owner, &room);
		size_t n = size_min(room, bytes.n);
		memcpy(to, bytes.p, n);
		s->base.ops->on_read(s->base.owner, to, n);
		bytes = slice_from(bytes, n);
	}
}

/* The stream is gone: tells its owner, frees what it kept. */
static inline void fake_stream_end(struct fake_stream *s)
{
	if (!s->is_closed) s->base.ops->on_end(s->base.owner, ERR_EOF);
	fake_stream_drain(s);
	ASSERT(s->is_closed);
	s->base.ops->on_close(s->base.owner);
	buf_deinit(&s->out);
}

#endif
