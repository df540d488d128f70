/* SPDX-License-Identifier: Apache-2.0 */
/* TLS as a client: the server's name and authority are always verified, there is no way to leave that out. Most of this is sentences: what
 * OpenSSL has to say about a handshake that failed, in words that say what to do. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <errno.h>

#include "cli_inside.h"

/* ---- making a session ---- */

/* Keys with a password would make OpenSSL ask the terminal. */
static int no_password(char *to, int size, int for_writing, void *arg)
{
	(void)to;
	(void)size;
	(void)for_writing;
	(void)arg;
	return 0;
}

static bool fail(char *why, const char *what, const char *file)
{
	unsigned long e = ERR_peek_error();
	const char *reason = ERR_reason_error_string(e);
	if (ERR_GET_LIB(e) == ERR_LIB_SYS) reason = strerror(ERR_GET_REASON(e));
	(void)snprintf(why, WHY_BYTES, "%s %.200s: %s", what, file, reason ? reason : "unknown error");
	ERR_clear_error();
	return false;
}

static bool use_certificate(SSL_CTX *ctx, const struct options *o, char *why)
{
	if (!*o->tls_cert != !*o->tls_key) {
		(void)snprintf(why, WHY_BYTES, "--tlscert and --tlskey go together: --%s is missing",
			*o->tls_cert ? "tlskey" : "tlscert");
		return false;
	}
	if (!*o->tls_cert) return true;
	SSL_CTX_set_default_passwd_cb(ctx, no_password);
	if (SSL_CTX_use_certificate_chain_file(ctx, o->tls_cert) != 1)
		return fail(why, "--tlscert: no certificate can be read from", o->tls_cert);
	if (SSL_CTX_use_PrivateKey_file(ctx, o->tls_key, SSL_FILETYPE_PEM) == 1) return true;
	unsigned long e = ERR_peek_last_error();
	if (ERR_GET_LIB(e) != ERR_LIB_X509 || ERR_GET_REASON(e) != X509_R_KEY_VALUES_MISMATCH)
		return fail(why, "--tlskey: no private key without a password can be read from", o->tls_key);
	ERR_clear_error();
	(void)snprintf(
		why, WHY_BYTES, "--tlskey: %.200s is not the key of the certificate %.200s", o->tls_key, o->tls_cert);
	return false;
}

/* Keeps the certificate that is found wanting, for the sentence: OpenSSL itself forgets it. */
static int remember_refused(int is_good, X509_STORE_CTX *chain)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
	X509 *cert = X509_STORE_CTX_get_current_cert(chain);
	if (!is_good && cert && !SSL_get_app_data(ssl) && X509_up_ref(cert) == 1) SSL_set_app_data(ssl, cert);
	return is_good;
}

static bool fill(SSL_CTX *ctx, const struct options *o, char *why)
{
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, remember_refused);
	if (*o->tls_ca) {
		if (SSL_CTX_load_verify_file(ctx, o->tls_ca) != 1)
			return fail(why, "--tlscacert: no certificates can be read from", o->tls_ca);
	} else if (SSL_CTX_set_default_verify_paths(ctx) != 1) {
		return fail(why, "the system's authorities can not be read:", "give --tlscacert");
	}
	return use_certificate(ctx, o, why);
}

/* Whom the certificate must be made out to: a name (which is also told to the server) or an address. */
static bool expect_host(SSL *ssl, const char *host)
{
	struct in6_addr any;
	if (inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	/* SSL_set_tlsext_host_name, whose cast drops a const */
	void *name = (void *)(uintptr_t)host;
	return SSL_set1_host(ssl, host) == 1 &&
	       SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name) == 1;
}

SSL *secure_new(const struct options *o, const char *host, char *why)
{
	SSL *ssl = NULL;
	ERR_clear_error();
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	if (!ctx) {
		(void)fail(why, "no TLS on this machine:", "OpenSSL");
		return NULL;
	}
	if (fill(ctx, o, why)) {
		ssl = SSL_new(ctx); /* keeps the context */
		if (!ssl || !expect_host(ssl, host)) {
			(void)fail(why, "TLS to this host is not possible:", host);
			SSL_free(ssl);
			ssl = NULL;
		}
	}
	SSL_CTX_free(ctx);
	return ssl;
}

void secure_free(SSL *ssl)
{
	if (!ssl) return;
	if (SSL_is_init_finished(ssl)) (void)SSL_shutdown(ssl);
	X509_free(SSL_get_app_data(ssl));
	SSL_free(ssl);
	ERR_clear_error();
}

/* ---- what went wrong: the server's certificate ---- */

static void name_names(struct buf *out, X509 *cert)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		char text[INET6_ADDRSTRLEN] = "";
		if (name->type == GEN_DNS) {
			if (out->n) buf_append_str(out, ", ");
			buf_append_clean(out, slice_of(ASN1_STRING_get0_data(name->d.dNSName),
						      (size_t)ASN1_STRING_length(name->d.dNSName)));
		} else if (name->type == GEN_IPADD) {
			int family = ASN1_STRING_length(name->d.iPAddress) == 4 ? AF_INET : AF_INET6;
			if (family == AF_INET6 && ASN1_STRING_length(name->d.iPAddress) != 16) continue;
			(void)inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof text);
			buf_printf(out, "%s%s", out->n ? ", " : "", text);
		}
	}
	GENERAL_NAMES_free(names);
}

static void name_time(struct buf *out, const ASN1_TIME *time)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *text = NULL;
	if (b && ASN1_TIME_print(b, time) == 1) {
		long n = BIO_get_mem_data(b, &text);
		buf_append(out, text, (size_t)n);
	}
	BIO_free(b);
}

static void name_whose(struct buf *out, const X509_NAME *name)
{
	char text[160] = "";
	(void)X509_NAME_oneline(name, text, sizeof text);
	buf_append_clean(out, slice_of_str(text));
}

static void explain_certificate(X509 *cert, long verdict, const char *host, struct buf *out)
{
	struct buf detail = { 0 };
	switch (verdict) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		name_whose(&detail, X509_get_subject_name(cert));
		buf_printf(out, "the server's certificate (%s) has expired: it must be renewed there, it ended ",
			buf_str(&detail));
		name_time(out, X509_get0_notAfter(cert));
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		name_whose(&detail, X509_get_subject_name(cert));
		buf_printf(out,
			"the server's certificate (%s) is not valid yet: is the clock of this machine right? It "
			"begins ",
			buf_str(&detail));
		name_time(out, X509_get0_notBefore(cert));
		break;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		name_names(&detail, cert);
		buf_printf(out,
			"the server's certificate is not for %.100s but for %.300s: name the server so in --server",
			host, detail.n ? buf_str(&detail) : "no host at all");
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		name_whose(&detail, X509_get_issuer_name(cert));
		buf_printf(out,
			"the server's certificate is signed by somebody who is not trusted here (%s): give the "
			"certificate of "
			"that authority with --tlscacert FILE",
			buf_str(&detail));
		break;
	default: buf_printf(out, "the server's certificate is not valid: %s", X509_verify_cert_error_string(verdict));
	}
	buf_deinit(&detail);
}

/* ---- what went wrong: anything else ---- */

static const char no_certificate[] = "the server wants a certificate from us: give --tlscert and --tlskey";
static const char bad_certificate[] = "the server does not accept our certificate (--tlscert)";

/* Sentences for what OpenSSL calls it; where we showed no certificate, the first of two. */
static const struct {
	int reason;
	const char *without, *with;
} reasons[] = {
	{ SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, no_certificate, bad_certificate },
	{ SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, no_certificate, bad_certificate },
	{ SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, no_certificate, bad_certificate },
	{ SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, no_certificate, bad_certificate },
	{ SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, no_certificate, bad_certificate },
	{ SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, no_certificate, bad_certificate },
	{ SSL_R_TLSV1_ALERT_UNKNOWN_CA, no_certificate, bad_certificate },
	{ SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,
		"the server refuses the handshake: it may want a certificate from us (--tlscert, --tlskey)",
		"the server refuses the handshake" },
	{ SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the server wants another version of TLS than 1.2 or 1.3",
		"the server wants another version of TLS than 1.2 or 1.3" },
	{ SSL_R_UNSUPPORTED_PROTOCOL, "the server speaks neither TLS 1.2 nor 1.3",
		"the server speaks neither TLS 1.2 nor 1.3" },
	{ SSL_R_WRONG_VERSION_NUMBER, "what answers there does not begin with TLS: leave out --tlsfirst",
		"what answers there does not begin with TLS: leave out --tlsfirst" },
};

void secure_explain(SSL *ssl, const char *host, char *why)
{
	unsigned long e = ERR_peek_error();
	long verdict = SSL_get_verify_result(ssl);
	const char *text = e ? ERR_reason_error_string(e) : NULL;
	bool has_own = SSL_get_certificate(ssl) != NULL;
	X509 *refused = SSL_get_app_data(ssl);
	if (ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED && refused) {
		struct buf sentence = { 0 };
		explain_certificate(refused, verdict, host, &sentence);
		(void)snprintf(why, WHY_BYTES, "%s", buf_str(&sentence));
		buf_deinit(&sentence);
		ERR_clear_error();
		return;
	}
	(void)snprintf(why, WHY_BYTES, "TLS failed: %s", text ? text : "the server closed the connection");
	for (size_t i = 0; e && i < COUNT_OF(reasons); i++)
		if (ERR_GET_REASON(e) == reasons[i].reason)
			(void)snprintf(why, WHY_BYTES, "%s", has_own ? reasons[i].with : reasons[i].without);
	ERR_clear_error();
}
