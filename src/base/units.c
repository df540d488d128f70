/* SPDX-License-Identifier: Apache-2.0 */
/* units — durations and times in the syntax that NATS clients and configuration files use (Go's), and the seeded
 * generator. */
#include "thebes/base/units.h"

enum { DAYS_PER_400_YEARS = 146097, SECONDS_PER_DAY = 86400 };

/* ---- durations ---- */

static const struct duration_unit {
	const char *name;
	uint64_t ns;
} duration_units[] = {
	{ "ns", 1 },
	{ "us", NS_PER_US },
	{ "\xc2\xb5s", NS_PER_US }, /* U+00B5 micro sign */
	{ "\xce\xbcs", NS_PER_US }, /* U+03BC Greek mu */
	{ "ms", NS_PER_MS },
	{ "s", NS_PER_S },
	{ "m", 60 * NS_PER_S },
	{ "h", 3600 * NS_PER_S },
};

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* The digits at the front of *s as a whole number. False above INT64_MAX + 1. */
static bool duration_take_whole(struct slice *s, uint64_t *whole)
{
	const uint64_t max = (uint64_t)INT64_MAX + 1;
	*whole = 0;
	for (; s->n && is_digit(s->p[0]); *s = slice_from(*s, 1)) {
		uint64_t digit = (uint64_t)(s->p[0] - '0');
		if (*whole > max / 10) return false;
		*whole = *whole * 10 + digit;
		if (*whole > max) return false;
	}
	return true;
}

/* The digits behind the point. Those that no longer fit are too small to matter and only skipped. */
static void duration_take_fraction(struct slice *s, uint64_t *fraction, double *scale)
{
	*fraction = 0;
	*scale = 1;
	for (; s->n && is_digit(s->p[0]); *s = slice_from(*s, 1)) {
		if (*fraction > (INT64_MAX - 9) / 10) continue;
		*fraction = *fraction * 10 + (uint64_t)(s->p[0] - '0');
		*scale *= 10;
	}
}

static const struct duration_unit *duration_take_unit(struct slice *s)
{
	size_t n = 0;
	while (n < s->n && s->p[n] != '.' && !is_digit(s->p[n])) n++;
	struct slice name = slice_first(*s, n);
	*s = slice_from(*s, n);
	for (size_t i = 0; i < COUNT_OF(duration_units); i++)
		if (slice_eq_str(name, duration_units[i].name)) return &duration_units[i];
	return NULL;
}

/* One "12.5s" from the front of *s, added to *total. */
static enum err duration_take_term(struct slice *s, uint64_t *total)
{
	const uint64_t max = (uint64_t)INT64_MAX + 1;
	uint64_t whole, fraction = 0;
	double scale = 1;
	size_t before = s->n;
	if (!duration_take_whole(s, &whole)) return ERR_TOO_LARGE;
	bool has_digits = s->n != before;
	if (s->n && s->p[0] == '.') {
		*s = slice_from(*s, 1);
		before = s->n;
		duration_take_fraction(s, &fraction, &scale);
		has_digits |= s->n != before;
	}
	if (!has_digits) return ERR_PARSE;
	const struct duration_unit *unit = duration_take_unit(s);
	if (!unit) return ERR_PARSE;
	if (whole > max / unit->ns) return ERR_TOO_LARGE;
	uint64_t ns = whole * unit->ns;
	ns += (uint64_t)((double)fraction * ((double)unit->ns / scale));
	if (ns > max || *total > max - ns) return ERR_TOO_LARGE;
	*total += ns;
	return OK;
}

enum err duration_parse(struct slice text, int64_t *ns)
{
	bool is_negative = text.n && text.p[0] == '-';
	if (text.n && (text.p[0] == '-' || text.p[0] == '+')) text = slice_from(text, 1);
	if (slice_eq(text, SLICE("0"))) {
		*ns = 0;
		return OK;
	}
	if (text.n == 0) return ERR_PARSE;
	uint64_t total = 0;
	while (text.n) {
		enum err e = duration_take_term(&text, &total);
		if (e != OK) return e;
	}
	if (!is_negative && total > INT64_MAX) return ERR_TOO_LARGE;
	*ns = is_negative ? (int64_t)(0 - total) : (int64_t)total;
	return OK;
}

/* "whole.fraction" of v units of 10^digits, without trailing zeros. */
static void duration_print_decimal(struct buf *b, uint64_t v, unsigned digits)
{
	uint64_t unit = 1;
	for (unsigned i = 0; i < digits; i++) unit *= 10;
	buf_append_u64(b, v / unit);
	uint64_t fraction = v % unit;
	if (fraction == 0) return;
	for (; fraction % 10 == 0; fraction /= 10) digits--;
	buf_printf(b, ".%0*llu", (int)digits, (unsigned long long)fraction);
}

void duration_print(struct buf *b, int64_t ns)
{
	uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
	if (ns < 0) buf_append_byte(b, '-');
	if (v == 0) {
		buf_append_str(b, "0s");
	} else if (v < NS_PER_US) {
		buf_append_u64(b, v);
		buf_append_str(b, "ns");
	} else if (v < NS_PER_MS) {
		duration_print_decimal(b, v, 3);
		buf_append_str(b, "\xc2\xb5s");
	} else if (v < NS_PER_S) {
		duration_print_decimal(b, v, 6);
		buf_append_str(b, "ms");
	} else {
		uint64_t minutes = v / (60 * NS_PER_S);
		if (minutes >= 60) buf_printf(b, "%lluh", (unsigned long long)(minutes / 60));
		if (minutes) buf_printf(b, "%llum", (unsigned long long)(minutes % 60));
		duration_print_decimal(b, v % (60 * NS_PER_S), 9);
		buf_append_byte(b, 's');
	}
}

/* ---- time ---- */

struct civil {
	int64_t year;
	unsigned month, day; /* from 1 */
};

/* Years are counted from March here, so that the leap day is the last of a year and the months before it have a
 * formula. */
static struct civil civil_of_days(int64_t days)
{
	days += 719468; /* from 0000-03-01 to 1970-01-01 */
	int64_t era = (days >= 0 ? days : days - (DAYS_PER_400_YEARS - 1)) / DAYS_PER_400_YEARS;
	int64_t day = days - era * DAYS_PER_400_YEARS;
	int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	int64_t day_of_year = day - (365 * year + year / 4 - year / 100);
	int64_t month = (5 * day_of_year + 2) / 153;
	return (struct civil) {
		.year = year + era * 400 + (month >= 10),
		.month = (unsigned)(month < 10 ? month + 3 : month - 9),
		.day = (unsigned)(day_of_year - (153 * month + 2) / 5 + 1),
	};
}

static int64_t days_of_civil(struct civil c)
{
	int64_t year = c.month <= 2 ? c.year - 1 : c.year;
	int64_t era = (year >= 0 ? year : year - 399) / 400;
	int64_t of_era = year - era * 400;
	int64_t month = c.month > 2 ? (int64_t)c.month - 3 : (int64_t)c.month + 9;
	int64_t day_of_year = (153 * month + 2) / 5 + (int64_t)c.day - 1;
	return era * DAYS_PER_400_YEARS + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719468;
}

static unsigned days_of_month(int64_t year, unsigned month)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return days[month - 1] + (month == 2 && is_leap ? 1U : 0U);
}

void time_print(struct buf *b, int64_t unix_ns)
{
	int64_t seconds = unix_ns / (int64_t)NS_PER_S, ns = unix_ns % (int64_t)NS_PER_S;
	if (ns < 0) {
		ns += (int64_t)NS_PER_S;
		seconds--;
	}
	int64_t days = seconds / SECONDS_PER_DAY, of_day = seconds % SECONDS_PER_DAY;
	if (of_day < 0) {
		of_day += SECONDS_PER_DAY;
		days--;
	}
	struct civil c = civil_of_days(days);
	buf_printf(b, "%04d-%02u-%02uT%02d:%02d:%02d", (int)c.year, c.month, c.day, (int)(of_day / 3600),
		(int)(of_day / 60 % 60), (int)(of_day % 60));
	if (ns) {
		int digits = 9;
		for (; ns % 10 == 0; ns /= 10) digits--;
		buf_printf(b, ".%0*d", digits, (int)ns);
	}
	buf_append_byte(b, 'Z');
}

/* Exactly `digits` digits from the front of *s, at most max. */
static bool time_take_number(struct slice *s, size_t digits, unsigned max, unsigned *out)
{
	if (s->n < digits) return false;
	*out = 0;
	for (size_t i = 0; i < digits; i++) {
		if (!is_digit(s->p[i])) return false;
		*out = *out * 10 + (unsigned)(s->p[i] - '0');
	}
	*s = slice_from(*s, digits);
	return *out <= max;
}

static bool time_take_byte(struct slice *s, uint8_t byte)
{
	if (s->n == 0 || s->p[0] != byte) return false;
	*s = slice_from(*s, 1);
	return true;
}

/* ".123456789": at least one digit when there is a point; digits behind the ninth are cut off. */
static bool time_take_fraction(struct slice *s, unsigned *ns)
{
	*ns = 0;
	if (!time_take_byte(s, '.')) return true;
	unsigned unit = NS_PER_S / 10;
	size_t before = s->n;
	for (; s->n && is_digit(s->p[0]); *s = slice_from(*s, 1), unit /= 10) *ns += unit * (unsigned)(s->p[0] - '0');
	return s->n != before;
}

/* "Z", "+01:00", "-08:30", to the end of the text. */
static bool time_take_zone(struct slice *s, int64_t *offset_seconds)
{
	*offset_seconds = 0;
	if (time_take_byte(s, 'Z')) return s->n == 0;
	bool is_west = s->n && s->p[0] == '-';
	unsigned hours, minutes;
	if (!time_take_byte(s, is_west ? '-' : '+')) return false;
	if (!time_take_number(s, 2, 23, &hours) || !time_take_byte(s, ':') || !time_take_number(s, 2, 59, &minutes))
		return false;
	*offset_seconds = ((int64_t)hours * 60 + minutes) * (is_west ? -60 : 60);
	return s->n == 0;
}

enum err time_parse(struct slice text, int64_t *unix_ns)
{
	struct slice s = text;
	unsigned year, month, day, hour, minute, second, ns;
	int64_t offset;
	if (!time_take_number(&s, 4, 9999, &year) || !time_take_byte(&s, '-') || !time_take_number(&s, 2, 12, &month) ||
		!time_take_byte(&s, '-') || !time_take_number(&s, 2, 31, &day) || !time_take_byte(&s, 'T') ||
		!time_take_number(&s, 2, 23, &hour) || !time_take_byte(&s, ':') ||
		!time_take_number(&s, 2, 59, &minute) || !time_take_byte(&s, ':') ||
		!time_take_number(&s, 2, 59, &second) || !time_take_fraction(&s, &ns) || !time_take_zone(&s, &offset))
		return ERR_PARSE;
	if (month == 0 || day == 0 || day > days_of_month(year, month)) return ERR_PARSE;
	int64_t days = days_of_civil((struct civil) { year, month, day });
	int64_t seconds = days * SECONDS_PER_DAY + (int64_t)hour * 3600 + (int64_t)minute * 60 + second - offset;
	/* The last second that fits starts below the limit by less than one: multiply and add with checks. */
	int64_t whole;
	if (__builtin_mul_overflow(seconds < 0 && ns ? seconds + 1 : seconds, (int64_t)NS_PER_S, &whole))
		return ERR_TOO_LARGE;
	int64_t rest = seconds < 0 && ns ? (int64_t)ns - (int64_t)NS_PER_S : (int64_t)ns;
	if (__builtin_add_overflow(whole, rest, unix_ns)) return ERR_TOO_LARGE;
	return OK;
}

/* ---- prng: xoshiro256** (Blackman, Vigna), its state filled by splitmix64 ---- */

static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static uint64_t rotate_left(uint64_t v, unsigned by) { return v << by | v >> (64 - by); }

void prng_init(struct prng *r, uint64_t seed)
{
	for (size_t i = 0; i < COUNT_OF(r->s); i++) r->s[i] = splitmix64(&seed);
}

uint64_t prng_next(struct prng *r)
{
	uint64_t *s = r->s, result = rotate_left(s[1] * 5, 7) * 9, shifted = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = rotate_left(s[3], 45);
	return result;
}

uint64_t prng_below(struct prng *r, uint64_t bound)
{
	ASSERT(bound > 0);
	/* Multiply and take the high half; the few low halves that would favour some results are drawn again. */
	unsigned __int128 product = (unsigned __int128)prng_next(r) * bound;
	uint64_t unfair = (0 - bound) % bound;
	while ((uint64_t)product < unfair) product = (unsigned __int128)prng_next(r) * bound;
	return (uint64_t)(product >> 64);
}

bool prng_chance(struct prng *r, uint64_t num, uint64_t den)
{
	ASSERT(den > 0);
	return prng_below(r, den) < num;
}
