/* SPDX-License-Identifier: Apache-2.0 */
/* node_world — one history of node_sim: a machine with the real node on it, clients that publish, pull and acknowledge, faults that come and
 * go, and the books of what was promised.
 *
 *   node_server.c  boots the node, lets it die, knows its last words
 *   node_ops.c     what clients do at random
 *   node_audit.c   stream by stream: creating, lone operations (purge, delete), audits against the books
 *   node_faults.c  what happens to the machine
 *   node_recover.c an operator gives up what damage took
 *   node_sim.c     seeds, phases, floors */
#ifndef THEBES_TESTS_SIM_NODE_WORLD_H
#define THEBES_TESTS_SIM_NODE_WORLD_H

#include "sim/node_book.h"
#include "sim/node_peer.h"
#include "thebes/node.h"

enum { WORLD_PEERS = 5 }; /* the first one looks after streams, the others are the clients */
enum { WORLD_WORDS = 64 * 1024 };

/* Where a stream is in its life with the world. Clients use it only while it is OPEN. */
enum care {
	CARE_CREATE, /* until stream and consumers are there */
	CARE_OPEN,
	CARE_DRAIN,   /* a lone operation waits until nothing is on its way */
	CARE_OPERATE, /* it is on its way */
	CARE_SETTLE,  /* an audit waits until nothing is on its way */
	CARE_AUDIT,
	CARE_DONE, /* audited, and nobody may use it any more */
	CARE_LOST, /* after damage: it is not served, or can only be read, and the server said so */
};
struct world;
struct stream_care {
	struct world *w;
	unsigned index;
	enum care care;
	uint64_t not_before_ns; /* of the audit */
	uint64_t busy_ns;       /* something was on its way until then */
	uint64_t care_since_ns;
	unsigned publishes, pulls, acks; /* on their way */
	unsigned consumers_made;
	bool is_made;         /* the stream is there */
	bool wants_full;      /* of the audit */
	bool is_damaged;      /* bits have rotted: it may be refused, or only be read, if that is said */
	bool is_in_doubt;     /* the audit has seen that it can only be read */
	bool is_given_up;     /* what is lost of it: the next audit shows what is true from then on */
	bool has_forgotten;   /* so have its consumers: their numbers are not known */
	unsigned refused;     /* times that it was, then */
	bool stays_closed;    /* after the audit: DONE */
	bool perhaps_deleted; /* its deletion was not answered */
	/* the audit under way */
	unsigned run; /* answers to an older one do not count */
	unsigned asked;
	uint64_t at, until;
	char *found; /* owned, by sequence up to `until` */
	/* damage: what was found while it was in doubt, and which sequences are no more; owned, NULL: none, not known */
	char *shown;
	uint64_t shown_last;
	uint8_t *lost;
	uint64_t lost_last;
	uint64_t group;     /* as of when it was damaged */
	uint64_t *entry_of; /* owned: the index that holds a sequence; 0: not known */
	uint64_t entry_of_count;
	uint64_t told_from, told_to; /* entries that the server said are lost, perhaps among others; to 0: no end */
	uint64_t skipped_from, skipped_to; /* sequences between them nobody was given */
	struct book_info info;
	unsigned consumers_asked;
	uint64_t last_full;
	/* ids used lately */
	uint64_t ids[8];
	/* draining at the end */
	bool is_draining, is_drained[BOOK_CONSUMERS_MAX];
	uint64_t drain_from_ns;
};

struct world {
	struct sim *s;
	struct sim_node *n;
	struct book book;
	struct peer peer[WORLD_PEERS];
	struct stream_care care[BOOK_STREAMS_MAX];
	/* the server */
	struct node_host host;
	const char *bug; /* failpoint; NULL: none */
	uint64_t slot_bytes;
	unsigned slot_count;
	unsigned boots, deaths, tried_boots;
	bool was_up, stays_down, may_refuse, boot_is_calm;
	uint64_t boot_at_ns;
	struct io_timer nudge;
	bool recovers; /* after the damage an operator gives up what it took */
	bool is_traced, was_stopped, is_refusing;
	char words[WORLD_WORDS]; /* what it logged since the last boot */
	size_t words_n;
	uint64_t dead_ns;
	/* the applied states of the process that died last, until its successor has shown the same; group 0: nothing to compare */
	struct state_print {
		uint64_t group, applied, hash;
	} print[BOOK_STREAMS_MAX];
	/* clients and faults */
	bool is_calm;   /* no faults any more */
	bool is_silent; /* clients begin nothing new */
	uint64_t full_until_ns, io_error_until_ns, capacity_bytes;
	uint64_t next_fault_ns, fault_pace_ms, settle_permille;
	bool knows_damage; /* every byte that rotted belongs to a message that is noted as lost */
	struct recovery {
		bool is_asked;
		enum { RECOVERY_SILENT, RECOVERY_DONE, RECOVERY_REFUSED, RECOVERY_NOT_IN_DOUBT } answer;
		char words[300];
	} recovery;
	uint64_t next_id;
	unsigned load; /* percent: how eager clients are */
	uint64_t slow_until_ns[WORLD_PEERS];
	/* acks that are sent later, perhaps to another process than the one that delivered */
	struct late_ack {
		char reply[200];
		unsigned stream, consumer, generation;
		uint64_t seq;
	} late[16];
};

static inline uint64_t world_now(const struct world *w) { return sim_now_ns(w->s); }
static inline bool world_chance(struct world *w, unsigned percent) { return sim_below(w->s, 100) < percent; }
static inline uint64_t world_between(struct world *w, uint64_t low, uint64_t high)
{
	return low + sim_below(w->s, high - low + 1);
}
void world_trace(struct world *w, const char *fmt, ...) printf_like(2, 3);

/* ---- node_server.c ---- */

extern const struct sim_program node_server_program; /* arg: struct world */
struct node *server_node(const struct world *w);     /* NULL unless it runs */
bool server_is_up(const struct world *w);
void server_boot(struct world *w);
/* The process is gone, by whatever: everything on its way is unknown, every stream is audited when it is back. */
void server_died(struct world *w);
/* Compares the applied states with those at the death of the process before, where nothing was applied since. */
void server_compare(struct world *w);
/* Hashes of the applied states, by stream: of the records that led to it and of what is shown; 0 where one is not served. */
void server_hashes(const struct world *w, uint64_t hash[BOOK_STREAMS_MAX]);
/* Has it logged that the stream's group is in doubt, by name or as one of all? */
bool server_said_in_doubt(const struct world *w, unsigned stream);
/* That, or that the stream is not served for damage elsewhere (the catalogue's)? */
bool server_said_damaged(const struct world *w, unsigned stream);
uint64_t server_group_of(const struct world *w, unsigned stream); /* 0: not served */

/* ---- node_ops.c ---- */

/* One client's turn. */
void ops_step(struct world *w, struct peer *p);
/* One message to that stream, if the client and the stream are there. */
void ops_publish(struct world *w, struct peer *p, struct stream_care *c);
/* At the end: pulls everything of every consumer and acknowledges it. */
void ops_drain(struct world *w, struct peer *p);

/* ---- node_faults.c ---- */

void faults_step(struct world *w);
void faults_end(struct world *w); /* all of them, for good */
/* Flips a bit of a file, the machine being down; `where` says which. */
must_check bool faults_flip(struct world *w, char *where, size_t room);
/* The same in a message, wherever it is stored: everything in the entry that holds it is noted as lost. */
must_check bool faults_hit(struct world *w, char *where, size_t room);
/* In some entry of the catalogue, wherever it is stored. */
must_check bool faults_hit_catalogue(struct world *w, char *where, size_t room);
/* Before that: which entry holds which message. The server must be up when the groups are noted, and down when the entries are. False: not now,
 * some damage could not be told. */
must_check bool faults_note_groups(struct world *w);
void faults_note_entries(struct world *w);

/* ---- node_recover.c ---- */

/* Gives up what is lost of each stream that is in doubt, while the machine crashes and its disk fails; audits what is left, lets clients go
 * on with it. */
void recover_all(struct world *w);

/* ---- node_sim.c ---- */

void world_wait_for(struct world *w, sim_done_fn *is_done, uint64_t limit_ns, const char *what);
void world_run_for(struct world *w, uint64_t ns);
bool world_is_violated(void *arg);
bool world_is_serving(void *arg); /* or violated */
bool world_is_settled(void *arg); /* all streams are open, done or lost; or violated */

/* ---- node_audit.c ---- */

void care_init(struct world *w, unsigned stream);
void care_deinit(struct stream_care *c);
/* Everything of the stream that waits for its audit. */
void care_audit(struct stream_care *c, uint64_t not_before_ns, bool full);
void care_step(struct stream_care *c);
void care_name(struct buf *b, const char *verb, const struct stream_care *c); /* "$JS.API.STREAM.<verb>.<name>" */
bool care_is_usable(const struct stream_care *c);
/* Deletes some message, if the stream is one of which that can be said for sure. Nothing of it may be on its way. */
void care_delete(struct stream_care *c);

#endif
