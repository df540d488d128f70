/* SPDX-License-Identifier: Apache-2.0 */
/* The small files by which others find a server: its pid, and the ports that it was given (spec §3.5). */
#include "node_inside.h"

enum err node_read_file(void *arg, const char *path, struct buf *out)
{
	struct io_file *f;
	enum err e = io_file_open(arg, path, IO_OPEN_READ, &f);
	if (e != OK) return e;
	uint64_t at = 0;
	size_t got = 0;
	do {
		enum { PIECE = 16 * 1024 };
		uint8_t *to = buf_reserve(out, PIECE);
		e = io_file_read(f, at, to, PIECE, &got);
		if (e == OK) out->n += got;
		at += got;
	} while (e == OK && got > 0);
	io_file_close(f);
	return e;
}

static enum err files_write(struct node *n, const char *path, struct slice text)
{
	struct io_file *f;
	enum err e = io_file_open(n->io, path, IO_OPEN_WRITE | IO_OPEN_CREATE | IO_OPEN_TRUNCATE, &f);
	if (e == OK) {
		e = io_file_write(f, 0, &text, 1);
		io_file_close(f);
	}
	if (e != OK) diag_line(&n->diag, DIAG_ERROR, "Could not write %s: %s", path, err_text(e));
	return e;
}

enum err files_write_pid(struct node *n)
{
	if (!n->conf.pid_file) return OK;
	struct buf text = { 0 };
	buf_printf(&text, "%d", n->host->pid); /* no newline: readers take every byte for a digit */
	enum err e = files_write(n, n->conf.pid_file, buf_slice(&text));
	buf_deinit(&text);
	return e;
}

/* One address of each kind, as somebody on this machine can use it: a wildcard is no place to go to. */
static void ports_print(struct buf *text, const char *kind, const char *scheme, const struct io_addr *addr)
{
	bool is_any = strcmp(addr->host, "0.0.0.0") == 0 || strcmp(addr->host, "::") == 0;
	buf_printf(text, "\"%s\":[\"%s://", kind, scheme);
	node_addr_print(text, is_any ? "127.0.0.1" : addr->host, addr->port);
	buf_append_str(text, "\"]");
}

enum err files_write_ports(struct node *n)
{
	if (!n->conf.ports_file_dir) return OK;
	struct buf text = { 0 }, path = { 0 };
	struct io_addr addr;
	listener_addr(&n->listener, &addr);
	buf_append_byte(&text, '{');
	ports_print(&text, "nats", n->conf.tls.is_on && !n->conf.allow_non_tls ? "tls" : "nats", &addr);
	if (listener_is_open(&n->http.listener)) {
		buf_append_byte(&text, ',');
		ports_print(&text, "monitoring", "http", &n->http.view.http_addr);
	}
	buf_append_byte(&text, '}');
	buf_printf(&path, "%s/%s_%d.ports", n->conf.ports_file_dir, n->host->program ? n->host->program : "nats-server",
		n->host->pid);
	enum err e = files_write(n, buf_str(&path), buf_slice(&text));
	if (e == OK) n->ports_file = mem_strdup(buf_str(&path));
	buf_deinit(&path);
	buf_deinit(&text);
	return e;
}

void files_remove_ports(struct node *n)
{
	if (!n->ports_file) return;
	enum err e = io_path_unlink(n->io, n->ports_file);
	if (e != OK && e != ERR_NOT_FOUND)
		diag_line(&n->diag, DIAG_WARN, "Could not remove %s: %s", n->ports_file, err_text(e));
	mem_free(n->ports_file);
	n->ports_file = NULL;
}
