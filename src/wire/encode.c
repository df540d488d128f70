/* SPDX-License-Identifier: Apache-2.0 */
/* encode — lines out. The hot ones (MSG, HMSG, PUB, HPUB) write straight into the caller's outbound buffer, without printf; the rare
 * ones append to a struct buf. */
#include "thebes/wire.h"

static const char digit_pairs[] =
	"0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
	"5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static const uint8_t msg_word[4] = { 'M', 'S', 'G', ' ' }, pub_word[4] = { 'P', 'U', 'B', ' ' };

static unsigned digits_count(uint64_t v)
{
	unsigned n = 1;
	for (; v >= 10000; v /= 10000) n += 4;
	return n + (v >= 10) + (v >= 100) + (v >= 1000);
}

size_t wire_u64_print(uint8_t *to, uint64_t v)
{
	unsigned n = digits_count(v);
	uint8_t *p = to + n;
	for (; v >= 100; v /= 100) memcpy(p -= 2, digit_pairs + v % 100 * 2, 2);
	if (v >= 10)
		memcpy(p - 2, digit_pairs + v * 2, 2);
	else
		p[-1] = (uint8_t)('0' + v);
	return n;
}

/* Most words of a line have fewer than 32 bytes; two overlapping moves are half the price of a call. */
static uint8_t *put(uint8_t *to, struct slice s)
{
	size_t n = s.n;
	if (n >= 8 && n <= 16) {
		memcpy(to, s.p, 8);
		memcpy(to + n - 8, s.p + n - 8, 8);
	} else if (n > 16 && n <= 32) {
		memcpy(to, s.p, 16);
		memcpy(to + n - 16, s.p + n - 16, 16);
	} else if (n < 8) {
		for (size_t i = 0; i < n; i++) to[i] = s.p[i];
	} else {
		memcpy(to, s.p, n);
	}
	return to + n;
}

static uint8_t *put_word(uint8_t *to, struct slice s)
{
	to = put(to, s);
	*to++ = ' ';
	return to;
}

static uint8_t *put_sizes(uint8_t *to, const struct wire_msg *m)
{
	if (m->header.n) {
		to += wire_u64_print(to, m->header.n);
		*to++ = ' ';
	}
	to += wire_u64_print(to, m->header.n + m->payload.n);
	*to++ = '\r';
	*to++ = '\n';
	return to;
}

static uint8_t *put_head(uint8_t *to, const struct wire_msg *m)
{
	if (m->header.n) *to++ = 'H';
	memcpy(to, msg_word, sizeof msg_word);
	to = put_word(put_word(to + 4, m->subject), m->sid);
	return m->reply.n ? put_word(to, m->reply) : to;
}

static size_t put_body(uint8_t *to, const struct wire_msg *m)
{
	uint8_t *p = put(put(to, m->header), m->payload);
	*p++ = '\r';
	*p++ = '\n';
	return (size_t)(p - to);
}

size_t wire_msg_line(uint8_t *to, const struct wire_msg *m) { return (size_t)(put_sizes(put_head(to, m), m) - to); }

size_t wire_msg_encode(uint8_t *to, const struct wire_msg *m)
{
	if (m->tail.n) return (size_t)(put(put_head(to, m), m->tail) - to);
	size_t n = wire_msg_line(to, m);
	return n + put_body(to + n, m);
}

size_t wire_pub_line(uint8_t *to, const struct wire_msg *m)
{
	uint8_t *p = to;
	if (m->header.n) *p++ = 'H';
	memcpy(p, pub_word, sizeof pub_word);
	p = put_word(p + 4, m->subject);
	if (m->reply.n) p = put_word(p, m->reply);
	return (size_t)(put_sizes(p, m) - to);
}

size_t wire_pub_encode(uint8_t *to, const struct wire_msg *m)
{
	size_t n = wire_pub_line(to, m);
	return n + put_body(to + n, m);
}

void wire_sub_append(struct buf *to, struct slice subject, struct slice queue, struct slice sid)
{
	buf_append_str(to, "SUB ");
	buf_append_slice(to, subject);
	if (queue.n) {
		buf_append_byte(to, ' ');
		buf_append_slice(to, queue);
	}
	buf_append_byte(to, ' ');
	buf_append_slice(to, sid);
	buf_append_str(to, "\r\n");
}

void wire_unsub_append(struct buf *to, struct slice sid, uint64_t max)
{
	buf_append_str(to, "UNSUB ");
	buf_append_slice(to, sid);
	if (max) {
		buf_append_byte(to, ' ');
		buf_append_u64(to, max);
	}
	buf_append_str(to, "\r\n");
}
