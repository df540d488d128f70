/* SPDX-License-Identifier: Apache-2.0 */
/* A connection that speaks just enough of the NATS protocol: CONNECT, PUB, SUB, MSG, HMSG, PING. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024, LINKS_WAIT_MAX = 64 };

void die(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("loadgen: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *grow(void *old, size_t n)
{
	void *p = realloc(old, n);
	if (!p) die("out of memory for %zu bytes", n);
	return p;
}

/* ---- out ---- */

void link_put(struct link *l, const void *bytes, size_t n)
{
	if (l->out_at == l->out_n) l->out_at = l->out_n = 0;
	if (l->out_n + n > l->out_cap) {
		l->out_cap = (l->out_n + n) * 2;
		l->out = grow(l->out, l->out_cap);
	}
	memcpy(l->out + l->out_n, bytes, n);
	l->out_n += n;
}

void link_putf(struct link *l, const char *format, ...)
{
	char line[4096];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof line) die("a line of %d bytes is longer than this program sends", n);
	link_put(l, line, (size_t)n);
}

bool link_flush(struct link *l)
{
	while (l->out_at < l->out_n) {
		ssize_t n = send(l->fd, l->out + l->out_at, l->out_n - l->out_at, MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
		if (n < 0) die("send: %s", strerror(errno));
		l->out_at += (size_t)n;
	}
	l->out_at = l->out_n = 0;
	return true;
}

/* ---- in ---- */

size_t link_read(struct link *l)
{
	if (l->in_at) {
		memmove(l->in, l->in + l->in_at, l->in_n - l->in_at);
		l->in_n -= l->in_at;
		l->in_at = 0;
	}
	if (l->in_cap - l->in_n < READ_BYTES) {
		l->in_cap = l->in_n + 2 * READ_BYTES;
		l->in = grow(l->in, l->in_cap);
	}
	ssize_t n = recv(l->fd, l->in + l->in_n, l->in_cap - l->in_n, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
	if (n < 0) die("receive: %s", strerror(errno));
	if (n == 0) die("the server closed the connection");
	l->in_n += (size_t)n;
	return (size_t)n;
}

/* The line at the front of the input without its CR LF, or NULL when it is not whole yet. */
static char *line_at(struct link *l, size_t *n)
{
	if (l->in_at == l->in_n) return NULL;
	char *start = l->in + l->in_at, *end = memchr(start, '\n', l->in_n - l->in_at);
	if (!end) return NULL;
	*n = (size_t)(end - start);
	if (*n && start[*n - 1] == '\r') --*n;
	return start;
}

static size_t number_of(const char *p, size_t n)
{
	size_t v = 0;
	for (size_t i = 0; i < n; i++) v = v * 10 + (size_t)(p[i] - '0');
	return v;
}

/* MSG subject sid [reply] bytes, HMSG subject sid [reply] header-bytes bytes. Returns the length of line and payload. */
static size_t msg_parse(char *line, size_t line_n, bool headers, struct msg *m)
{
	const char *word[6];
	size_t word_n[6];
	unsigned words = 0;
	for (char *p = line, *end = line + line_n; p < end && words < 6;) {
		char *space = memchr(p, ' ', (size_t)(end - p));
		word[words] = p;
		word_n[words] = (size_t)((space ? space : end) - p);
		p += word_n[words++] + 1;
	}
	unsigned numbers = headers ? 2 : 1;
	if (words != 3 + numbers && words != 4 + numbers)
		die("cannot read what the server sent: %.*s", (int)line_n, line);
	bool has_reply = words == 4 + numbers;
	*m = (struct msg) { .subject = word[1], .subject_n = word_n[1] };
	if (has_reply) m->reply = word[3], m->reply_n = word_n[3];
	m->payload_n = number_of(word[words - 1], word_n[words - 1]);
	m->headers_n = headers ? number_of(word[words - 2], word_n[words - 2]) : 0;
	m->payload = line + line_n + 2;
	return line_n + 2 + m->payload_n + 2;
}

bool link_next(struct link *l, struct msg *m)
{
	size_t n;
	for (char *line; (line = line_at(l, &n));) {
		if (line[0] == 'M' || line[0] == 'H') {
			size_t total = msg_parse(line, n, line[0] == 'H', m);
			if (l->in_n - l->in_at < total) return false;
			l->in_at += total;
			return true;
		}
		if (line[0] == '-') die("the server says %.*s", (int)n, line);
		if (n == 4 && !memcmp(line, "PING", 4)) link_put(l, "PONG\r\n", 6);
		l->in_at += n + 2;
	}
	return false;
}

void links_wait(struct link *links, unsigned count, int timeout_ms)
{
	struct pollfd p[LINKS_WAIT_MAX];
	if (count > LINKS_WAIT_MAX) die("at most %d connections at once", LINKS_WAIT_MAX);
	for (unsigned i = 0; i < count; i++) {
		short events = links[i].out_at < links[i].out_n ? POLLIN | POLLOUT : POLLIN;
		p[i] = (struct pollfd) { .fd = links[i].fd, .events = events };
	}
	if (poll(p, count, timeout_ms) < 0 && errno != EINTR) die("poll: %s", strerror(errno));
}

/* ---- handshake ---- */

static bool wait_for_line(struct link *l, const char *start, int timeout_ms, size_t *n, char **line)
{
	for (uint64_t end = now_ns() + (uint64_t)timeout_ms * 1000000u; now_ns() < end;) {
		while ((*line = line_at(l, n))) {
			if (!strncmp(*line, start, strlen(start))) return true;
			if ((*line)[0] == '-') die("the server says %.*s", (int)*n, *line);
			l->in_at += *n + 2;
		}
		struct pollfd p = { .fd = l->fd, .events = POLLIN };
		if (poll(&p, 1, 100) > 0) link_read(l);
	}
	return false;
}

void link_sync(struct link *l)
{
	size_t n;
	char *line;
	link_put(l, "PING\r\n", 6);
	link_flush(l);
	if (!wait_for_line(l, "PONG", 10000, &n, &line)) die("no PONG within 10 s");
	l->in_at += n + 2;
}

bool link_try(struct link *l, const struct options *o, int timeout_ms)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)o->port) };
	if (inet_pton(AF_INET, o->host, &a.sin_addr) != 1) die("%s is not an IPv4 address", o->host);
	*l = (struct link) { .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	if (l->fd < 0) die("socket: %s", strerror(errno));
	if (connect(l->fd, (struct sockaddr *)&a, sizeof a)) {
		close(l->fd);
		return false;
	}
	int one = 1;
	setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	size_t n;
	char *line;
	if (!wait_for_line(l, "INFO ", timeout_ms, &n, &line)) {
		link_close(l);
		return false;
	}
	l->jetstream = memmem(line, n, "\"jetstream\":true", 16) != NULL;
	l->in_at += n + 2;
	link_putf(l, "CONNECT "
		     "{\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\",\"name\":\"loadgen\","
		     "\"protocol\":1,"
		     "\"headers\":true,\"echo\":true}\r\n");
	link_sync(l);
	return true;
}

void link_open(struct link *l, const struct options *o)
{
	if (!link_try(l, o, 10000)) die("nobody listens on %s:%d", o->host, o->port);
	int flags = fcntl(l->fd, F_GETFL);
	if (flags < 0 || fcntl(l->fd, F_SETFL, flags | O_NONBLOCK)) die("fcntl: %s", strerror(errno));
}

void link_close(struct link *l)
{
	close(l->fd);
	free(l->in);
	free(l->out);
	*l = (struct link) { .fd = -1 };
}

const char *link_request(struct link *l, const char *subject, const char *payload, int timeout_ms)
{
	link_putf(l, "SUB _INBOX.load.q q\r\nUNSUB q 1\r\nPUB %s _INBOX.load.q %zu\r\n%s\r\n", subject, strlen(payload),
		payload);
	for (uint64_t end = now_ns() + (uint64_t)timeout_ms * 1000000u; now_ns() < end;) {
		link_flush(l);
		struct msg m;
		if (link_next(l, &m)) {
			if (m.subject_n != 13 || memcmp(m.subject, "_INBOX.load.q", 13)) continue;
			if (m.headers_n) return NULL; /* no responders */
			m.payload[m.payload_n] = 0;
			return m.payload;
		}
		links_wait(l, 1, 100);
		link_read(l);
	}
	link_putf(l, "UNSUB q\r\n");
	return NULL;
}

uint64_t json_number(const char *json, const char *key, uint64_t missing)
{
	char quoted[64];
	snprintf(quoted, sizeof quoted, "\"%s\":", key);
	const char *at = strstr(json, quoted);
	return at ? strtoull(at + strlen(quoted), NULL, 10) : missing;
}
