/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's software is the whole node: parser to disk, with the twin of the state store. */
#include "sim/node_world.h"

#include <stdarg.h>
#include <stdio.h>

#include "sim/sim_state.h"

struct server {
	struct world *w;
	struct node node;
	struct conf_report report;
};

void world_trace(struct world *w, const char *fmt, ...)
{
	va_list ap;
	if (!w->is_traced) return;
	(void)printf("%12.6f ", (double)world_now(w) / 1e9);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	(void)printf("\n");
}

/* ---- what the node is lent ---- */

static void host_print(void *arg, const char *p, size_t n)
{
	struct world *w = arg;
	if (w->is_traced) (void)printf("%12.6f server %.*s", (double)world_now(w) / 1e9, (int)n, p);
	if (w->words_n + n >= sizeof w->words) return; /* the first words count */
	memcpy(w->words + w->words_n, p, n);
	w->words_n += n;
	w->words[w->words_n] = '\0';
}

static void host_stopped(void *arg, int exit_code)
{
	struct world *w = arg;
	w->was_stopped = true;
	if (exit_code != 0) book_violated(&w->book, "STOP: the node ended with exit code %d", exit_code);
	sim_node_crash(w->n, SIM_KILL);
}

static void host_die(void *arg, const char *why)
{
	struct world *w = arg;
	world_trace(w, "server gives up: %s", why);
	w->deaths++;
	sim_count(w->s, "server died by itself");
	sim_node_crash(w->n, SIM_KILL);
}

static enum err read_conf(void *arg, const char *path, struct buf *out)
{
	const struct world *w = arg;
	(void)path;
	buf_printf(out,
		"port: 4222\nserver_name: sim\nlogtime: false\ndebug: %s\nping_interval: \"30s\"\n"
		"jetstream { store_dir: \"data\" }\njournal { slot_size: %llu, slot_count: %u }\n",
		w->is_traced ? "true" : "false", (unsigned long long)w->slot_bytes, w->slot_count);
	return OK;
}

bool server_is_up(const struct world *w) { return sim_node_state(w->n) == SIM_UP; }

struct node *server_node(const struct world *w)
{
	return server_is_up(w) ? &((struct server *)sim_node_software(w->n))->node : NULL;
}

/* ---- looking inside ---- */

static struct station *station_of(const struct world *w, const struct node *n, unsigned stream)
{
	if (!n || n->vault.state != VAULT_OPEN) return NULL;
	return stations_find(&n->vault.stations, SLICE("$G"), slice_of_str(w->book.stream[stream].name));
}

static bool add_subject(void *arg, struct slice subject, uint64_t count, uint64_t first_hint, uint64_t last_seq)
{
	(void)first_hint, (void)last_seq;
	*(uint64_t *)arg += hash_bytes(subject.p, subject.n, count); /* in any order */
	return true;
}

/* The chain of records is stored with the state, so it says nothing of what was restored beside it. */
static uint64_t state_hash(struct station *st)
{
	struct stream *s = station_stream(st);
	struct stream_state is;
	uint64_t subjects = 0, live = 0;
	stream_state(s, &is);
	stream_subjects(s, NULL, 0, add_subject, &subjects);
	for (uint64_t seq = is.first_seq ? is.first_seq : 1; seq <= is.last_seq; seq++)
		if (stream_is_live(s, seq)) live += seq * 0x9e3779b97f4a7c15u;
	const uint64_t words[] = { stream_hash(s), is.msgs, is.bytes, is.first_seq, is.last_seq, is.deleted_count,
		is.subject_count, (uint64_t)is.last_time_ns, is.consumer_count, subjects, live };
	return hash_bytes(words, sizeof words, 0);
}

void server_hashes(const struct world *w, uint64_t hash[BOOK_STREAMS_MAX])
{
	for (unsigned i = 0; i < w->book.stream_count; i++) {
		struct station *s = station_of(w, server_node(w), i);
		hash[i] = s ? state_hash(s) : 0;
	}
}

uint64_t server_group_of(const struct world *w, unsigned stream)
{
	struct node *n = server_node(w);
	if (!n || n->vault.state != VAULT_OPEN) return 0;
	const struct meta_stream *row =
		meta_find(n->vault.meta, SLICE("$G"), slice_of_str(w->book.stream[stream].name));
	return row ? row->group : 0;
}

static void take_prints(struct world *w, const struct node *n)
{
	struct group_status is;
	for (unsigned i = 0; i < w->book.stream_count; i++) {
		struct station *s = station_of(w, n, i);
		w->print[i] = (struct state_print) { 0 };
		if (!s || !stream_is_leader(station_stream(s))) continue;
		group_status(stream_group(station_stream(s)), &is);
		const struct meta_stream *row =
			meta_find(n->vault.meta, SLICE("$G"), slice_of_str(w->book.stream[i].name));
		w->print[i] = (struct state_print) { row ? row->group : 0, is.applied, state_hash(s) };
	}
}

static void compare_one(struct world *w, unsigned stream, struct station *s)
{
	struct state_print *p = &w->print[stream];
	struct group_status is;
	group_status(stream_group(station_stream(s)), &is);
	uint64_t applied = p->applied, hash = p->hash, group = p->group;
	p->group = 0;
	if (group != server_group_of(w, stream)) return;
	if (is.applied < applied)
		book_violated(&w->book, "LOST: %s had applied %llu, after a restart it has %llu",
			w->book.stream[stream].name, (unsigned long long)applied, (unsigned long long)is.applied);
	if (is.applied != applied + 1) return; /* the entry with which a leader begins, and nothing else */
	sim_count(w->s, "hash compared after a death");
	if (state_hash(s) != hash)
		book_violated(&w->book, "HASH of %s at %llu is another one after a restart",
			w->book.stream[stream].name, (unsigned long long)applied);
}

void server_compare(struct world *w)
{
	for (unsigned i = 0; i < w->book.stream_count; i++) {
		struct station *s = w->print[i].group ? station_of(w, server_node(w), i) : NULL;
		if (s && stream_is_leader(station_stream(s))) compare_one(w, i, s);
	}
}

/* ---- life ---- */

/* A process that ends by itself frees everything. One that is killed frees nothing, as in life: what it had is lost to the process of
 * this seed (node_sim.c), which ends soon. */
static void server_free(struct server *v)
{
	if (!v->w->was_stopped) return;
	node_deinit(&v->node);
	conf_report_deinit(&v->report);
	mem_free(v);
}

static void server_teardown(void *software)
{
	struct server *v = software;
	take_prints(v->w, &v->node);
	server_free(v);
}

static enum err server_start(void *arg, struct sim_node *n, struct io *io, void **software)
{
	struct world *w = arg;
	struct conf conf = { 0 };
	struct conf_source source = { .read_file = read_conf, .arg = w };
	struct server *v = NEW(struct server);
	(void)n;
	v->w = w;
	w->was_stopped = false;
	w->words_n = 0;
	w->words[0] = '\0';
	w->boots++;
	w->host = (struct node_host) { .pid = 1,
		.program = "sim",
		.memory_bytes = GIB,
		.print = host_print,
		.stopped = host_stopped,
		.die = host_die,
		.state = &state_sim,
		.failpoint = w->bug,
		.arg = w };
	enum err e = conf_load(&conf, "sim.conf", NULL, &source, &v->report);
	if (e != OK) book_violated(&w->book, "CONF: %s", buf_str(&v->report.errors));
	if (e == OK) e = node_start(&v->node, io, &w->host, NULL, &conf, &v->report);
	if (e != OK) {
		w->was_stopped = e != ERR_CRASHED;
		server_free(v);
		return e;
	}
	*software = v;
	return OK;
}

const struct sim_program node_server_program = { server_start, server_teardown };

void server_boot(struct world *w)
{
	enum sim_state st = sim_node_state(w->n);
	if (st == SIM_OFF || st == SIM_DOWN) sim_node_boot(w->n, &node_server_program, w);
}

/* Deliveries are logged a moment later, or before an ordinary end. While the disk is slow or full nobody knows how much later. */
static uint64_t sure_until_ns(const struct world *w)
{
	uint64_t now = world_now(w);
	if (w->was_stopped) return UINT64_MAX;
	return w->is_calm ? now - u64_min(now, SECONDS(1)) : 0;
}

void server_died(struct world *w)
{
	w->dead_ns = world_now(w);
	for (unsigned i = 0; i < w->book.stream_count; i++) {
		struct stream_care *c = &w->care[i];
		book_may_forget(&w->book.stream[i], sure_until_ns(w));
		if (c->care != CARE_CREATE && c->care != CARE_DONE && c->care != CARE_LOST)
			care_audit(c, 0, world_chance(w, 25));
	}
}

/* "… group=3 (S1) is in doubt …", of whichever room */
static bool said_in_doubt(const struct world *w, uint64_t group)
{
	char head[32];
	(void)snprintf(head, sizeof head, "group=%llu ", (unsigned long long)group);
	for (const char *at = w->words; (at = strstr(at, head)) != NULL; at++) {
		const char *end = strchr(at, '\n'), *said = strstr(at, "is in doubt");
		if (said && (!end || said < end)) return true;
	}
	return false;
}

bool server_said_in_doubt(const struct world *w, unsigned stream)
{
	uint64_t group = server_group_of(w, stream);
	return strstr(w->words, "every group is in doubt") || (group && said_in_doubt(w, group));
}

bool server_said_damaged(const struct world *w, unsigned stream)
{
	struct buf line = { 0 };
	uint64_t group = server_group_of(w, stream);
	bool said = server_said_in_doubt(w, stream) || said_in_doubt(w, META_GROUP) ||
		    strstr(w->words, "catalogue of streams");
	buf_printf(&line, "station %s group %llu: can not be opened", w->book.stream[stream].name,
		(unsigned long long)group);
	said |= group && strstr(w->words, buf_str(&line));
	buf_deinit(&line);
	return said;
}
