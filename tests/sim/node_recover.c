/* SPDX-License-Identifier: Apache-2.0 */
/* S24: damage has put streams in doubt, and an operator gives up what it took, one stream after the other (THEBES.STREAM.RECOVER), while the
 * machine is killed or loses power between any two file calls, and its disk refuses some. Each is asked for until it is in service.
 *
 * What is there then must be what was intact, under its own sequences; it is audited against what could be read in doubt and, where the damage
 * was done by faults_hit, against exactly what is damaged (book_recovered). From there on the ordinary rules hold: clients go on, the
 * machine crashes, everything is audited and compared again. */
#include "sim/node_world.h"

#include <stdio.h>

enum { ASKS_MAX = 12 };

/* ---- asking ---- */

static void answered(struct peer_call *call, const struct wire_op *op)
{
	struct recovery *r = call->a;
	uint64_t code = 0;
	r->is_asked = false;
	if (!op || op->header.n) return;
	(void)snprintf(r->words, sizeof r->words, "%.*s", SLICE_FMT(op->payload));
	(void)!json_number(op->payload, "err_code", &code);
	if (memmem(op->payload.p, op->payload.n, "\"success\":true", 14))
		r->answer = RECOVERY_DONE;
	else if (memmem(op->payload.p, op->payload.n, "it is not in doubt", 18))
		r->answer = RECOVERY_NOT_IN_DOUBT;
	else if (code)
		r->answer = RECOVERY_REFUSED;
}

static bool is_answered(void *arg)
{
	const struct world *w = arg;
	return world_is_violated(arg) || !w->recovery.is_asked;
}

static bool is_kept(void *arg)
{
	const struct world *w = arg;
	return world_is_violated(arg) || (w->peer[0].is_open && w->peer[0].has_greeted);
}

/* Something happens to the machine meanwhile, mostly. */
static bool trouble_begins(struct world *w)
{
	uint64_t dice = sim_below(w->s, 100);
	if (dice < 50)
		sim_disk_crash_at(
			w->n, world_between(w, 1, 40), SIM_SOMETIME, world_chance(w, 60) ? SIM_POWER : SIM_KILL);
	else if (dice < 65)
		sim_disk_fail(w->n, SIM_CALL_WRITE, "groups/", (unsigned)sim_below(w->s, 4), 1, ERR_NO_SPACE);
	return dice >= 50 && dice < 65;
}

static void trouble_ends(struct world *w)
{
	sim_disk_crash_clear(w->n);
	sim_disk_fail_clear(w->n);
}

static void ask(struct world *w, const char *what, const char *name)
{
	struct buf subject = { 0 };
	w->recovery = (struct recovery) { .is_asked = true };
	buf_printf(&subject, "$JS.API.THEBES.%s%s", what, name);
	peer_call(
		&w->peer[0], buf_slice(&subject), SLICE_NULL, SLICE("{\"accept_loss\":true}"), SECONDS(10), answered, 0)
		->a = &w->recovery;
	buf_deinit(&subject);
}

static void serve_again(struct world *w, const char *what)
{
	world_run_for(w, MILLIS(10));
	world_wait_for(w, world_is_serving, SECONDS(30), what);
	world_wait_for(w, is_kept, SECONDS(30), what);
}

/* True: it is in service, or violated. */
static bool recover_one(struct world *w, const char *what, const char *name)
{
	bool is_told = false;
	for (unsigned asks = 0; asks < ASKS_MAX && !world_is_violated(w); asks++) {
		serve_again(w, "a start while recovering");
		bool fails = asks + 1 < ASKS_MAX && trouble_begins(w);
		ask(w, what, name);
		world_wait_for(w, is_answered, SECONDS(20), "the answer to a recovery");
		trouble_ends(w);
		world_trace(w, "recovery of %s: %d %s", name, w->recovery.answer, w->recovery.words);
		if (world_is_violated(w)) return true;
		switch (w->recovery.answer) {
		case RECOVERY_DONE: sim_count(w->s, "recovery"); return true;
		case RECOVERY_NOT_IN_DOUBT: /* an earlier one counts, and was not answered */
			if (!is_told)
				book_violated(&w->book, "RECOVERY of %s: it is not in doubt, and nobody has ended that",
					name);
			sim_count(w->s, "recovery");
			return true;
		case RECOVERY_SILENT:
			is_told = true;
			sim_count(w->s, "recovery interrupted");
			break;
		case RECOVERY_REFUSED:
			if (fails) sim_count(w->s, "recovery failed");
			if (!fails && w->knows_damage)
				book_violated(&w->book, "RECOVERY of %s refused: %s", name, w->recovery.words);
			if (!fails) return world_is_violated(w);
			break;
		}
	}
	if (!world_is_violated(w)) book_violated(&w->book, "RECOVERY of %s does not come to an end", name);
	return true;
}

/* ---- what is there then ---- */

static void audit(struct world *w, struct stream_care *c)
{
	c->stays_closed = false;
	c->is_damaged = !w->knows_damage;
	c->refused = 0;
	care_audit(c, 0, true);
}

/* What was answered is durable. */
static void crash(struct world *w)
{
	if (world_is_violated(w)) return;
	sim_node_crash(w->n, world_chance(w, 60) ? SIM_POWER : SIM_KILL);
	sim_count(w->s, "crash after a recovery");
	serve_again(w, "a start after a recovery");
}

static void no_loss(struct stream_care *c)
{
	c->lost_last = c->w->book.stream[c->index].last;
	c->lost = mem_alloc(c->lost_last + 1);
	memset(c->lost, 0, c->lost_last + 1);
}

/* It has named entries: not only those that are damaged, also those in whose place something that is lost may have stood. */
static void note_told(struct stream_care *c)
{
	for (uint64_t seq = 1; c->told_to && seq <= c->lost_last && seq < c->entry_of_count; seq++) {
		uint64_t at = c->entry_of[seq];
		if (!c->lost[seq] && at >= c->told_from && at <= c->told_to) c->lost[seq] = BOOK_TOLD_LOST;
	}
}

static void give_up(struct world *w, struct stream_care *c)
{
	mem_free(c->shown);
	c->shown = c->found;
	c->shown_last = c->until;
	c->found = NULL;
	if (!w->knows_damage) mem_free(c->lost), c->lost = NULL;
	if (w->knows_damage) {
		if (!c->lost) no_loss(c);
		note_told(c);
	}
	if (!recover_one(w, "STREAM.RECOVER.", w->book.stream[c->index].name) || world_is_violated(w)) return;
	sim_count(w->s, "stream recovered");
	if (world_chance(w, 50)) crash(w);
	c->is_given_up = true;
}

/* One more, which the catalogue has to make room for. */
static void make_stream(struct world *w)
{
	unsigned i = w->book.stream_count;
	if (i == BOOK_STREAMS_MAX) return;
	struct book_stream *s = &w->book.stream[i];
	(void)snprintf(s->name, sizeof s->name, "S%u", i);
	s->window_ns = SECONDS(120);
	care_init(w, i);
	w->book.stream_count++;
	world_wait_for(w, world_is_settled, SECONDS(60), "a stream that is made after the catalogue was recovered");
}

/* Streams that it lost sight of stay where they are; it can be changed again. */
static void recover_catalogue(struct world *w)
{
	serve_again(w, "before the catalogue is asked");
	ask(w, "CATALOGUE.INFO", "");
	world_wait_for(w, is_answered, SECONDS(20), "what the catalogue says of itself");
	if (world_is_violated(w) || !strstr(w->recovery.words, "\"doubt\":{")) return;
	if (!recover_one(w, "CATALOGUE.RECOVER", "") || world_is_violated(w)) return;
	sim_count(w->s, "catalogue recovered");
	crash(w);
	make_stream(w);
}

static void settle_all(struct world *w, const char *what)
{
	for (unsigned i = 0; i < w->book.stream_count; i++)
		if (w->care[i].care == CARE_OPEN || w->care[i].is_given_up) audit(w, &w->care[i]);
	world_wait_for(w, world_is_settled, SECONDS(60), what);
}

/* Clients use all of them for a while. */
static void go_on(struct world *w)
{
	for (unsigned i = 0; i < w->book.stream_count; i++)
		if (w->care[i].care == CARE_DONE) audit(w, &w->care[i]);
	world_wait_for(w, world_is_settled, SECONDS(60), "the audit of what was not damaged");
	w->is_silent = false;
	world_run_for(w, MILLIS(world_between(w, 300, 1500)));
	w->is_silent = true;
	settle_all(w, "the audit after clients went on");
}

void recover_all(struct world *w)
{
	bool any = false;
	recover_catalogue(w);
	for (unsigned i = 0; i < w->book.stream_count && !world_is_violated(w); i++) {
		struct stream_care *c = &w->care[i];
		if (c->care == CARE_LOST && !c->is_in_doubt && w->knows_damage)
			book_violated(&w->book, "UNREADABLE: %s is not served, of what damage took one message",
				w->book.stream[i].name);
		if (c->care == CARE_LOST && c->is_in_doubt) give_up(w, c);
		any |= c->is_given_up;
	}
	if (world_is_violated(w) || !any) return;
	settle_all(w, "the audit after a recovery");
	if (w->knows_damage) go_on(w);
	crash(w);
	settle_all(w, "the last audit after a recovery");
}
