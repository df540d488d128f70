/* SPDX-License-Identifier: Apache-2.0 */
/* TLS over memory BIOs, so that the sockets stay io's: what comes is poured into one BIO, what is to go is taken out of the other, and
 * OpenSSL never waits for anything. The handshake has no deadline here: that is the owner's affair. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "chunk.h"
#include "conn.h"
#include "tls.h"

struct tls_context {
	SSL_CTX *ctx; /* owned */
	unsigned refs;
};

struct tls {
	struct tls_context *context; /* shared (ref) */
	SSL *ssl;                    /* owned, with both BIOs */
	BIO *from_peer, *to_peer;
	size_t charged_bytes; /* to the conn */
	bool is_done, has_failed, said_goodbye;
	char error[160];
};

/* ---- context ---- */

static void say_openssl(struct buf *why)
{
	char text[160] = "unknown error";
	unsigned long e = ERR_get_error();
	if (e) ERR_error_string_n(e, text, sizeof text);
	buf_append_str(why, text);
	ERR_clear_error();
}

/* Keys with a password would make OpenSSL ask the terminal. */
static int no_password(char *to, int size, int for_writing, void *arg)
{
	(void)to;
	(void)size;
	(void)for_writing;
	(void)arg;
	return 0;
}

static BIO *bio_of(struct slice pem) { return BIO_new_mem_buf(pem.p, (int)size_min(pem.n, INT32_MAX)); }

/* Why the reading of certificates came to its end: no more of them, which is told as an error too, or one that cannot be read. */
static bool pem_is_over(void)
{
	unsigned long e = ERR_peek_last_error();
	if (ERR_GET_LIB(e) != ERR_LIB_PEM || ERR_GET_REASON(e) != PEM_R_NO_START_LINE) return false;
	ERR_clear_error();
	return true;
}

static bool context_use_chain(SSL_CTX *ctx, struct slice pem)
{
	BIO *in = bio_of(pem);
	X509 *cert = PEM_read_bio_X509_AUX(in, NULL, no_password, NULL);
	bool ok = cert && SSL_CTX_use_certificate(ctx, cert) == 1;
	X509_free(cert);
	while (ok && (cert = PEM_read_bio_X509(in, NULL, no_password, NULL)) != NULL) {
		ok = SSL_CTX_add0_chain_cert(ctx, cert) == 1;
		if (!ok) X509_free(cert);
	}
	BIO_free(in);
	return ok && pem_is_over();
}

static bool context_use_key(SSL_CTX *ctx, struct slice pem)
{
	BIO *in = bio_of(pem);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, no_password, NULL);
	bool ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;
	EVP_PKEY_free(key);
	BIO_free(in);
	return ok;
}

/* Whom client certificates may be signed by. */
static bool context_use_authorities(SSL_CTX *ctx, struct slice pem)
{
	BIO *in = bio_of(pem);
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	X509 *cert;
	size_t count = 0;
	bool ok = true;
	while (ok && (cert = PEM_read_bio_X509(in, NULL, no_password, NULL)) != NULL) {
		ok = X509_STORE_add_cert(store, cert) == 1 && SSL_CTX_add_client_CA(ctx, cert) == 1;
		X509_free(cert);
		count++;
	}
	BIO_free(in);
	return ok && count > 0 && pem_is_over();
}

static enum err context_fill(SSL_CTX *ctx, const struct tls_options *o, enum tls_part *part)
{
	static const uint8_t session_id[] = "thebes";
	SSL_CTX_set_min_proto_version(ctx, o->is_1_3_only ? TLS1_3_VERSION : TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF |
					 SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_session_id_context(ctx, session_id, sizeof session_id - 1);
	if (o->verify) SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	*part = TLS_CERT;
	if (!context_use_chain(ctx, o->cert)) return ERR_INVALID;
	*part = TLS_KEY;
	if (!context_use_key(ctx, o->key)) return ERR_INVALID;
	*part = TLS_CA;
	if (o->ca.n && !context_use_authorities(ctx, o->ca)) return ERR_INVALID;
	if (o->verify && !o->ca.n && SSL_CTX_set_default_verify_paths(ctx) != 1) return ERR_INVALID;
	return OK;
}

enum err tls_context_new(struct tls_context **out, const struct tls_options *o, enum tls_part *part, struct buf *why)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	*part = TLS_CERT;
	enum err e = ctx ? context_fill(ctx, o, part) : ERR_NO_MEMORY;
	if (e != OK) {
		say_openssl(why);
		SSL_CTX_free(ctx);
		return e;
	}
	*out = NEW(struct tls_context);
	(*out)->ctx = ctx;
	(*out)->refs = 1;
	return OK;
}

struct tls_context *tls_context_ref(struct tls_context *t)
{
	t->refs++;
	return t;
}

void tls_context_unref(struct tls_context *t)
{
	if (!t || --t->refs > 0) return;
	SSL_CTX_free(t->ctx);
	mem_free(t);
}

/* ---- a conn's ---- */

/* Charges what it costs now; what has come and nobody has read yet counts too. */
static void tls_charge(struct conn *c)
{
	struct tls *t = c->tls;
	ledger_release(&c->ledger, t->charged_bytes);
	t->charged_bytes = (size_t)(t->is_done ? TLS_CONN_BYTES : TLS_SHAKE_BYTES) + BIO_ctrl_pending(t->from_peer);
	ledger_force(&c->ledger, t->charged_bytes);
}

void tls_begin(struct conn *c, struct tls_context *context)
{
	struct tls *t = NEW(struct tls);
	t->context = tls_context_ref(context);
	t->ssl = SSL_new(context->ctx);
	t->from_peer = BIO_new(BIO_s_mem());
	t->to_peer = BIO_new(BIO_s_mem());
	ASSERT(t->ssl && t->from_peer && t->to_peer);
	BIO_set_mem_eof_return(t->from_peer, -1);
	SSL_set_bio(t->ssl, t->from_peer, t->to_peer);
	SSL_set_accept_state(t->ssl);
	c->tls = t;
	tls_charge(c);
}

void tls_free(struct tls *t)
{
	if (!t) return;
	SSL_free(t->ssl);
	tls_context_unref(t->context);
	mem_free(t);
}

size_t tls_charged_bytes(const struct tls *t) { return t->charged_bytes; }

const char *conn_tls_error(const struct conn *c) { return c->tls ? c->tls->error : ""; }
bool conn_is_secure(const struct conn *c) { return c->tls && c->tls->is_done; }

/* A BIO's buffer only grows, to what went through it at a time: an idle conn would keep that for ever. */
static void bio_trim(BIO *b)
{
	BUF_MEM *old = NULL;
	BIO_get_mem_ptr(b, &old);
	if (BIO_ctrl_pending(b) > 0 || old->max <= TLS_BIO_BYTES_KEPT) return;
	BUF_MEM *fresh = BUF_MEM_new();
	ASSERT(fresh);
	BIO_set_mem_buf(b, fresh, BIO_CLOSE); /* frees the old one */
}

/* The handshake or a record is not what it should be. What OpenSSL wants to tell the peer still goes out. */
static void tls_fail(struct conn *c)
{
	struct tls *t = c->tls;
	unsigned long e = ERR_get_error();
	t->has_failed = true;
	const char *reason = e ? ERR_reason_error_string(e) : NULL;
	(void)snprintf(t->error, sizeof t->error, "%s", reason ? reason : "unknown error");
	ERR_clear_error();
	conn_flush(c);
	conn_end(c, CONN_END_TLS);
}

/* True when the handshake is over. */
static bool tls_shake(struct conn *c)
{
	struct tls *t = c->tls;
	if (t->is_done) return true;
	ERR_clear_error();
	int r = SSL_do_handshake(t->ssl);
	if (r == 1) {
		t->is_done = true;
		conn_touch(c);
		if (c->ops->on_secure) c->ops->on_secure(c);
		return c->state == CONN_OPEN;
	}
	if (SSL_get_error(t->ssl, r) != SSL_ERROR_WANT_READ) tls_fail(c);
	return false;
}

static void tls_read(struct conn *c)
{
	struct tls *t = c->tls;
	if (t->has_failed || !tls_shake(c)) return;
	while (c->state == CONN_OPEN && c->paused == 0) {
		size_t room, n = 0;
		uint8_t *to = conn_room(c, &room);
		ERR_clear_error();
		int r = SSL_read_ex(t->ssl, to, room, &n);
		if (r != 1) {
			int why = SSL_get_error(t->ssl, r);
			if (why == SSL_ERROR_ZERO_RETURN)
				conn_end(c, CONN_END_EOF);
			else if (why != SSL_ERROR_WANT_READ)
				tls_fail(c);
			break;
		}
		conn_take(c, to, n);
	}
}

void tls_pump(struct conn *c)
{
	struct tls *t = c->tls;
	if (c->state != CONN_OPEN) return;
	tls_read(c);
	bio_trim(t->from_peer);
	tls_charge(c);
	if (c->state == CONN_OPEN) conn_touch(c); /* the handshake or a record may have asked for an answer */
}

void tls_pour(struct conn *c, const uint8_t *p, size_t n)
{
	if (c->tls->has_failed) return;
	size_t done = 0;
	int ok = n ? BIO_write_ex(c->tls->from_peer, p, n, &done) : 1;
	ASSERT(ok == 1 && done == n);
}

/* ---- output ---- */

bool tls_has_output(const struct conn *c)
{
	return BIO_ctrl_pending(c->tls->to_peer) > 0 || (c->tls->is_done && !c->tls->has_failed && c->out_head);
}

/* Takes all that OpenSSL has ready, behind what was taken before; returns where the next goes. */
static struct chunk **tls_collect(struct conn *c, struct chunk **link)
{
	size_t left;
	while ((left = BIO_ctrl_pending(c->tls->to_peer)) > 0) {
		struct chunk *k = chunk_new(c->net, left, true);
		size_t n = 0;
		int ok = BIO_read_ex(c->tls->to_peer, k->data, size_min(left, k->cap), &n);
		ASSERT(ok == 1);
		k->count = (uint32_t)n;
		ledger_force(&c->ledger, chunk_bytes(k));
		*link = k;
		link = &k->next;
	}
	return link;
}

struct chunk *tls_seal(struct conn *c)
{
	struct tls *t = c->tls;
	struct chunk *head = NULL, **link = tls_collect(c, &head);
	size_t sealed = 0;
	for (unsigned i = 0; t->is_done && c->out_head && sealed < TLS_SEAL_BYTES && i < TLS_SEAL_CHUNKS; i++) {
		struct chunk *k = conn_pop_chunk(c);
		size_t done = 0;
		ERR_clear_error();
		/* A memory BIO takes everything; what fails is the connection's state, and then the peer has heard enough. */
		if (k->count && !t->has_failed && SSL_write_ex(t->ssl, k->data, k->count, &done) != 1)
			t->has_failed = true;
		sealed += k->count;
		ledger_release(&c->ledger, chunk_free_all(c->net, k));
		link = tls_collect(c, link); /* at once, so that the BIO never holds more than a chunk's worth */
	}
	bio_trim(t->to_peer);
	return head;
}

bool tls_goodbye(struct conn *c)
{
	struct tls *t = c->tls;
	if (t->said_goodbye || !t->is_done || t->has_failed) return false;
	t->said_goodbye = true;
	ERR_clear_error();
	(void)SSL_shutdown(t->ssl);
	return BIO_ctrl_pending(t->to_peer) > 0;
}
