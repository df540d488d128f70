/* SPDX-License-Identifier: Apache-2.0 */
/* units — sizes and durations as people write them, random numbers from a seed. */
#ifndef THEBES_BASE_UNITS_H
#define THEBES_BASE_UNITS_H

#include "thebes/base/slice.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define NS_PER_US ((uint64_t)1000)
#define NS_PER_MS (1000 * NS_PER_US)
#define NS_PER_S (1000 * NS_PER_MS)
#define SECONDS(n) ((uint64_t)(n)*NS_PER_S)
#define MILLIS(n) ((uint64_t)(n)*NS_PER_MS)

static inline uint64_t u64_min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t u64_max(uint64_t a, uint64_t b) { return a > b ? a : b; }
static inline size_t size_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t size_max(size_t a, size_t b) { return a > b ? a : b; }
static inline uint64_t round_up(uint64_t n, uint64_t to /* power of two */) { return (n + to - 1) & ~(to - 1); }

/* Go's duration syntax ("1h30m", "100ms", "2.5s", "-1s"), in nanoseconds. ERR_PARSE, ERR_TOO_LARGE. */
must_check enum err duration_parse(struct slice text, int64_t *ns);
/* Go's Duration.String() ("1m30s", "1.5ms", "0s"). Appends. */
void duration_print(struct buf *b, int64_t ns);
/* RFC 3339 with up to nine fractional digits, UTC, as Go prints time.Time; ns since 1970. Appends. */
void time_print(struct buf *b, int64_t unix_ns);
/* Parses RFC 3339 with any offset. */
must_check enum err time_parse(struct slice text, int64_t *unix_ns);

/* xoshiro256**: for the simulator and for jitter; never for secrets. */
struct prng {
	uint64_t s[4];
};
void prng_init(struct prng *r, uint64_t seed);
uint64_t prng_next(struct prng *r);
uint64_t prng_below(struct prng *r, uint64_t bound /* > 0 */);
/* True in `num` of `den` cases. */
bool prng_chance(struct prng *r, uint64_t num, uint64_t den);

#endif
