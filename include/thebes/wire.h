/* SPDX-License-Identifier: Apache-2.0 */
/* wire — the NATS grammar as pure functions over slices: lines in, lines out, header blocks, subjects, CONNECT and INFO. It keeps no
 * connection, does no io and decides nothing about permission. Contract: spec §1.1-1.6.
 *
 *   bytes ──> wire_parse ──> WIRE_OP    a whole operation, slices into the bytes, nothing copied
 *                       ├──> WIRE_BODY  the argument line is good, the payload is not all there yet
 *                       ├──> WIRE_MORE  the line is not all there yet
 *                       └──> WIRE_BAD   op.error says which -ERR, and wire_error_closes whether it ends the connection
 *
 * Both sides use it: the server with WIRE_FROM_CLIENT, the CLI and links to other servers with WIRE_FROM_SERVER. */
#ifndef THEBES_WIRE_H
#define THEBES_WIRE_H

#include "thebes/base.h"

/* ---- errors of the protocol ---- */

enum wire_error {
#define WIRE_ERROR(name, closes, text) WIRE_ERROR_##name,
#include "thebes/wire_errors.def"
#undef WIRE_ERROR
	WIRE_ERROR_COUNT
};
/* The text between the quotes of -ERR, placeholders unexpanded; "" where the connection is closed without one. Static memory. */
const char *wire_error_text(enum wire_error e);
bool wire_error_closes(enum wire_error e);
/* Appends `-ERR '<text>'\r\n` with the text's %q replaced by a and b, Go-quoted. Appends nothing where the text is empty. */
void wire_error_append(struct buf *to, enum wire_error e, struct slice a, struct slice b);
/* Appends s in double quotes, as Go's %q writes it. */
void wire_quoted_append(struct buf *to, struct slice s);

/* ---- parser ---- */

enum wire_verb {
	WIRE_CONNECT, /* args */
	WIRE_PUB,     /* subject, reply, payload */
	WIRE_HPUB,    /* subject, reply, header, payload */
	WIRE_SUB,     /* subject, queue, sid */
	WIRE_UNSUB,   /* sid, max */
	WIRE_PING,
	WIRE_PONG,
	WIRE_INFO, /* args */
	WIRE_OK,
	WIRE_ERR,  /* args: the text without its quotes */
	WIRE_MSG,  /* subject, sid, reply, payload */
	WIRE_HMSG, /* subject, sid, reply, header, payload */
	WIRE_VERB_COUNT
};
const char *wire_verb_name(enum wire_verb v); /* "PUB"; static memory */

#define WIRE_BIT(verb) ((uint32_t)1 << (verb))
#define WIRE_FROM_CLIENT                                                                                               \
	(WIRE_BIT(WIRE_CONNECT) | WIRE_BIT(WIRE_PUB) | WIRE_BIT(WIRE_HPUB) | WIRE_BIT(WIRE_SUB) |                      \
		WIRE_BIT(WIRE_UNSUB) | WIRE_BIT(WIRE_PING) | WIRE_BIT(WIRE_PONG) | WIRE_BIT(WIRE_INFO) |               \
		WIRE_BIT(WIRE_OK) | WIRE_BIT(WIRE_ERR))
#define WIRE_FROM_SERVER                                                                                               \
	(WIRE_BIT(WIRE_MSG) | WIRE_BIT(WIRE_HMSG) | WIRE_BIT(WIRE_PING) | WIRE_BIT(WIRE_PONG) | WIRE_BIT(WIRE_INFO) |  \
		WIRE_BIT(WIRE_OK) | WIRE_BIT(WIRE_ERR))

enum {
	WIRE_CONTROL_LINE_MAX = 4096,   /* default of max_control_line: bytes of arguments */
	WIRE_PAYLOAD_MAX = 1024 * 1024, /* default of max_payload: header and body */
};

/* One per direction of a connection. Set the first four by hand (at any time between two calls), zero the rest. */
struct wire_parser {
	uint32_t verbs; /* mask of WIRE_BIT: what may come now */
	enum wire_error
		forbidden; /* what any other verb is answered: WIRE_ERROR_AUTHORIZATION before login, else WIRE_ERROR_UNKNOWN_OP */
	uint32_t
		control_line_max; /* bytes of arguments, counted also while the line is incomplete; the whole line may have 64 more */
	uint32_t payload_max; /* header and payload; UINT32_MAX: no limit but the grammar's nine digits */
	size_t scanned;       /* private: bytes of the incomplete line that hold no LF */
};

struct wire_op {
	enum wire_verb verb;
	enum wire_error error; /* WIRE_BAD only */
	struct slice subject, reply, queue,
		sid;                  /* empty where absent; no letter of them is checked (subject_check does that) */
	struct slice header, payload; /* header: the whole block with its blank line, as it came */
	/* WIRE_OP of a message in plain form: all from its first size to its last CRLF, fit to end another message as it stands. Empty
	 * when the message came in another form: then it is made of header and payload. */
	struct slice tail;
	struct slice args;                  /* CONNECT, INFO: the JSON; -ERR: the text */
	uint64_t max;                       /* UNSUB: 0 = now */
	uint32_t header_bytes, total_bytes; /* of the body: header, header and payload together */
	size_t used;                        /* bytes of `in` that are done with */
};

enum wire_result { WIRE_MORE, WIRE_OP, WIRE_BODY, WIRE_BAD };

/* Parses the first operation of `in`; op's slices point into it.
 * WIRE_OP:   op is complete; drop op->used bytes and come again.
 * WIRE_MORE: nothing is used. Come again with the same bytes at the front and more behind them; they are not searched twice.
 * WIRE_BODY: the argument line is complete and within the limits, the body (op->total_bytes and CRLF) is not all there. Either keep
 *            everything and come again when op->used + op->total_bytes + 2 bytes are there (the line is parsed again), or copy what
 *            is needed of the slices, drop op->used bytes (the line), gather op->total_bytes + 2 bytes and call wire_body.
 * WIRE_BAD:  op->error; the stream cannot be parsed any further.
 * Quirks kept (spec §1.1, §9.8): verbs in any case, a bare LF ends a line, tabs separate, PING may carry words. */
enum wire_result wire_parse(struct wire_parser *p, struct slice in, struct wire_op *op);
/* Completes an operation that came as WIRE_BODY: body.n == op->total_bytes + 2. False when it does not end in CRLF
 * (WIRE_ERROR_UNKNOWN_OP); else header and payload point into body. */
must_check bool wire_body(struct wire_op *op, struct slice body);

/* ---- encoders ---- */

#define WIRE_PING_LINE SLICE("PING\r\n")
#define WIRE_PONG_LINE SLICE("PONG\r\n")
#define WIRE_OK_LINE SLICE("+OK\r\n")
#define WIRE_CRLF SLICE("\r\n")

struct wire_msg {
	struct slice subject, sid, reply; /* sid: only for MSG/HMSG; reply: empty for none */
	struct slice header, payload;     /* header.n > 0 makes it HMSG or HPUB */
	struct slice tail; /* wire_op.tail of the same header and payload, or empty: _encode copies it as it is */
};
/* Upper bound of wire_msg_line and wire_pub_line; add header.n + payload.n + 2 for the _encode forms. */
static inline size_t wire_line_bytes_max(const struct wire_msg *m) { return m->subject.n + m->sid.n + m->reply.n + 32; }
static inline size_t wire_encode_bytes_max(const struct wire_msg *m)
{
	return wire_line_bytes_max(m) + (m->tail.n ? m->tail.n : m->header.n + m->payload.n + 2);
}
/* Writes `MSG subject sid [reply] n\r\n` (HMSG with a header) for a body that is sent separately; returns the bytes written. */
size_t wire_msg_line(uint8_t *to, const struct wire_msg *m);
/* The whole message: line, header, payload, CRLF. */
size_t wire_msg_encode(uint8_t *to, const struct wire_msg *m);
/* The same for `PUB subject [reply] n\r\n` and HPUB. */
size_t wire_pub_line(uint8_t *to, const struct wire_msg *m);
size_t wire_pub_encode(uint8_t *to, const struct wire_msg *m);
void wire_sub_append(struct buf *to, struct slice subject, struct slice queue, struct slice sid);
void wire_unsub_append(struct buf *to, struct slice sid, uint64_t max /* 0 = now */);
/* Decimal digits of v at `to` (room for 20); returns their number. */
size_t wire_u64_print(uint8_t *to, uint64_t v);

/* ---- CONNECT and INFO (spec §1.2, §1.3) ---- */

struct wire_connect {
	bool verbose, pedantic, tls_required, echo, headers, no_responders, new_account;
	int64_t protocol;
	struct slice nkey, jwt, sig, auth_token, user, pass, name, lang, version,
		account; /* into text, each NUL-terminated */
	char *text;      /* owned, NULL before the first parse; wiped when freed */
	size_t text_bytes;
};
/* The defaults of a connection that never sends CONNECT: verbose, pedantic, echo. */
void wire_connect_init(struct wire_connect *c);
void wire_connect_deinit(struct wire_connect *c); /* wipes the secrets, frees, zeroes */
/* Merges the JSON into c, as a repeated CONNECT does. Types must match as Go's decoder wants them (null changes nothing, names of
 * fields in any case, unknown fields ignored). WIRE_ERROR_NONE or _CONNECT_JSON, which leaves c unchanged. */
must_check enum wire_error wire_connect_parse(struct wire_connect *c, struct slice json);
/* What a client asks for and nobody has, looked at when it is known who it is: WIRE_ERROR_NONE, _CONNECT_PROTOCOL, _NO_RESPONDERS. */
must_check enum wire_error wire_connect_check(const struct wire_connect *c);
/* Appends the whole `CONNECT {…}\r\n` line. */
void wire_connect_append(struct buf *to, const struct wire_connect *c);

struct wire_info {
	struct slice server_id, server_name, version, git_commit, go,
		host; /* borrowed, or into text after wire_info_parse */
	struct slice ip, client_ip, nonce, cluster, domain, remote_account;
	struct slice thebes; /* our own version, a member that other servers do not have */
	int64_t proto, port, max_payload, api_level;
	uint64_t client_id; /* 0: left out */
	bool headers, auth_required, tls_required, tls_verify, tls_available, jetstream, cluster_dynamic, ldm,
		connect_info, acc_is_sys;
	const struct slice *connect_urls; /* borrowed, or owned after wire_info_parse */
	size_t connect_url_count;
	char *text; /* owned, only after wire_info_parse */
	size_t text_bytes;
};
/* Appends the whole `INFO {…} \r\n` line: members always present first, the rest only when not empty, in nats-server's order. */
void wire_info_append(struct buf *to, const struct wire_info *i);
/* For the client side: *i is overwritten. ERR_PARSE. */
must_check enum err wire_info_parse(struct wire_info *i, struct slice json);
void wire_info_deinit(struct wire_info *i); /* only after wire_info_parse */

/* ---- header blocks: "NATS/1.0[ code[ text]]\r\n" ("Key: value\r\n")* "\r\n" ---- */

/* True when the block is well-formed from the first line to the blank one, and nothing follows. */
bool header_is_valid(struct slice block);
/* The status code of the first line and its text (may be NULL); 0 when there is none. */
unsigned header_status(struct slice block, struct slice *text);
/* Walk: `for (size_t at = 0; header_next(block, &at, &key, &value);)`. Lines without a key are passed over; the blank
 * line ends the walk. */
bool header_next(struct slice block, size_t *at, struct slice *key, struct slice *value);
/* Value of the first line whose key is exactly `key`, without surrounding blanks; p == NULL when absent. */
struct slice header_get(struct slice block, struct slice key);

/* Edges at which headers that only the server may set are taken out of what a client sent (design §8). */
enum header_edge {
	HEADER_EDGE_PUBLISH = 1, /* a client publishes: Nats-Request-Info */
	HEADER_EDGE_STORE = 2,   /* a stream stores: also what is added when a stored message is handed out */
};
/* True when header_strip would change something: ask first, it costs no copy. */
bool header_has_owned(struct slice block, enum header_edge edge);
/* Copies the block without the owned headers to `to` (room for block.n); returns the bytes written, 0 when no header and no status
 * would be left. */
size_t header_strip(uint8_t *to, struct slice block, enum header_edge edge);
/* Appends to a block in `b` that is empty (starts it) or ends with its blank line (kept last). code 0: no status. */
void header_start(struct buf *b, unsigned code, const char *text /* may be NULL */);
/* False, and nothing appended, when key or value would break the line (CR, LF, a colon or blank in the key, an empty key). */
bool header_append(struct buf *b, struct slice key, struct slice value);

/* ---- subjects (spec §1.5) ---- */

enum subject_kind {
	SUBJECT_BAD,
	SUBJECT_LITERAL,
	SUBJECT_WILDCARD, /* has a token '*' or a last token '>' */
};
/* Non-empty tokens, '>' alone only last, no space, tab, CR, LF, FF. Any other byte passes; foo* and a>b are literal. */
enum subject_kind subject_check(struct slice s);
static inline bool subject_is_valid(struct slice s) { return subject_check(s) != SUBJECT_BAD; }
static inline bool subject_is_literal(struct slice s) { return subject_check(s) == SUBJECT_LITERAL; }
/* Walk: `for (size_t at = 0; subject_next(s, &at, &token);)`; yields empty tokens of malformed subjects too. */
bool subject_next(struct slice s, size_t *at, struct slice *token);
size_t subject_token_count(struct slice s);
/* True when the valid pattern covers the subject. Wildcards in `literal` are ordinary text; one with an empty token matches nothing. */
bool subject_match(struct slice pattern, struct slice literal);
/* True when every subject that a covers is covered by b (both valid, both may have wildcards). */
bool subject_is_subset(struct slice a, struct slice b);
/* True when at least one subject is covered by both. */
bool subject_overlaps(struct slice a, struct slice b);

#endif
