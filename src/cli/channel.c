/* SPDX-License-Identifier: Apache-2.0 */
/* A socket that never waits past a deadline: it is non-blocking, and whoever reads or writes waits for it with poll. TLS on top of it takes
 * the same way, with OpenSSL saying what it waits for. */
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli_inside.h"

enum { POLL_MS_MAX = 3600 * 1000 };

uint64_t clock_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* True when the socket is ready, or has an error to tell. */
static bool wait_for(int fd, short events, uint64_t until_ns)
{
	for (;;) {
		uint64_t now = clock_ns();
		uint64_t wait_ms = until_ns > now ? (until_ns - now + NS_PER_MS - 1) / NS_PER_MS : 0;
		struct pollfd p = { .fd = fd, .events = events };
		int rv = poll(&p, 1, (int)u64_min(wait_ms, POLL_MS_MAX));
		if (rv > 0) return true;
		if (rv < 0 && errno != EINTR) return true; /* what is done next finds out */
		if (until_ns <= clock_ns()) return false;
	}
}

/* ---- dialling ---- */

/* 0, or errno. */
static int connect_within(int fd, const struct addrinfo *a, uint64_t until_ns)
{
	int error = 0;
	socklen_t n = sizeof error;
	if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) return 0;
	if (errno != EINPROGRESS) return errno;
	if (!wait_for(fd, POLLOUT, until_ns)) return ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 ? error : errno;
}

bool channel_dial(struct channel *c, const struct target *t, uint64_t until_ns, char *why)
{
	struct addrinfo want = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	int rv = getaddrinfo(t->host, t->port, &want, &found), last = 0, one = 1;
	if (rv != 0) {
		(void)snprintf(why, WHY_BYTES, "host %s is not known (%s): give the server with --server or THEBES_URL",
			t->host, gai_strerror(rv));
		return false;
	}
	for (struct addrinfo *a = found; a && c->fd < 0; a = a->ai_next) {
		c->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		last = c->fd < 0 ? errno : connect_within(c->fd, a, until_ns);
		if (last != 0) channel_close(c);
	}
	freeaddrinfo(found);
	if (c->fd < 0) {
		(void)snprintf(why, WHY_BYTES,
			"no server at %s:%s (%s): start one with `thebes server -js`, or give its address with "
			"--server",
			t->host, t->port, strerror(last));
		return false;
	}
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return true;
}

void channel_close(struct channel *c)
{
	secure_free(c->ssl);
	if (c->fd >= 0) (void)close(c->fd);
	*c = (struct channel) { .fd = -1 };
}

/* ---- TLS ---- */

/* What OpenSSL waits for, or 0 when it is no waiting. */
static short wanted_events(const struct channel *c, int rv)
{
	switch (SSL_get_error(c->ssl, rv)) {
	case SSL_ERROR_WANT_READ: return POLLIN;
	case SSL_ERROR_WANT_WRITE: return POLLOUT;
	default: return 0;
	}
}

bool channel_secure(struct channel *c, const struct options *o, const struct target *t, uint64_t until_ns, char *why)
{
	c->ssl = secure_new(o, t->host, why);
	if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1) return false;
	for (;;) {
		ERR_clear_error();
		int rv = SSL_connect(c->ssl);
		if (rv == 1) return true;
		short events = wanted_events(c, rv);
		if (events == 0) {
			secure_explain(c->ssl, t->host, why);
			return false;
		}
		if (!wait_for(c->fd, events, until_ns)) {
			(void)snprintf(why, WHY_BYTES, "%s:%s does not go on with the TLS handshake in time", t->host,
				t->port);
			return false;
		}
	}
}

/* ---- bytes ---- */

/* As send and recv, with errno EAGAIN and *events set where one has to wait. */
static ssize_t write_some(struct channel *c, const uint8_t *p, size_t n, short *events)
{
	size_t done = 0;
	*events = POLLOUT;
	if (!c->ssl) return send(c->fd, p, n, MSG_NOSIGNAL);
	ERR_clear_error();
	int rv = SSL_write_ex(c->ssl, p, n, &done);
	if (rv == 1) return (ssize_t)done;
	*events = wanted_events(c, rv);
	errno = *events ? EAGAIN : EPIPE;
	return -1;
}

static ssize_t read_some(struct channel *c, uint8_t *to, size_t room, short *events)
{
	size_t done = 0;
	*events = POLLIN;
	if (!c->ssl) return recv(c->fd, to, room, 0);
	ERR_clear_error();
	int rv = SSL_read_ex(c->ssl, to, room, &done);
	if (rv == 1) return (ssize_t)done;
	*events = wanted_events(c, rv);
	errno = *events ? EAGAIN : EPIPE;
	return -1;
}

static void say_closed(struct channel *c, char *why)
{
	if (why[0]) return; /* whoever knows more has said it */
	if (c->ssl && ERR_peek_error()) {
		secure_explain(c->ssl, "", why);
		return;
	}
	(void)snprintf(why, WHY_BYTES, "the server closed the connection");
}

bool channel_write(struct channel *c, const uint8_t *p, size_t n, uint64_t until_ns, char *why)
{
	while (n > 0) {
		short events;
		ssize_t done = write_some(c, p, n, &events);
		if (done > 0) {
			p += done;
			n -= (size_t)done;
		} else if (done < 0 && errno == EAGAIN) {
			if (wait_for(c->fd, events, until_ns)) continue;
			(void)snprintf(why, WHY_BYTES, "the server takes no more bytes in time");
			return false;
		} else if (done == 0 || errno != EINTR) {
			say_closed(c, why);
			return false;
		}
	}
	return true;
}

int channel_read(struct channel *c, uint8_t *to, size_t room, uint64_t until_ns, char *why)
{
	for (;;) {
		short events;
		ssize_t n = read_some(c, to, room, &events);
		if (n > 0) return (int)n;
		if (n < 0 && errno == EAGAIN) {
			if (!wait_for(c->fd, events, until_ns)) return 0;
		} else if (n == 0 || errno != EINTR) {
			say_closed(c, why);
			return -1;
		}
	}
}
