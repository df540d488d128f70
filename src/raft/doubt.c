/* SPDX-License-Identifier: Apache-2.0 */
/* doubt — a replica that may have forgotten what it once promised (S7): damage on its disk touched a vote, an entry, or its state.
 *
 * It presents its log up to the first gap, takes and acknowledges entries, and neither votes nor campaigns nor serves. It is whole
 * again when a leader has brought it to a commit index that is that leader's own: of an entry of the leader's term, because only
 * then the leader knows itself what is committed. Then the log records term and leader as this replica's vote. */
#include <stdio.h>

#include "group.h"

/* Settled entries that are damaged come back with everything else only, from a peer. */
void doubt_look(struct group *g)
{
	struct log_group_info info;
	log_group_info(g->log, &info);
	g->in_doubt = info.in_doubt;
	g->refill_needed = g->has_hole || (info.in_doubt && info.damaged_from != 0);
}

void doubt_open(struct group *g)
{
	doubt_look(g);
	if (!g->in_doubt) return;
	/* A leader that this replica helped to depose, in a term that it forgot, may not know yet. It must not get the acknowledgements
	 * that made another leader's entries committed: such a leader has noticed after twice the election timeout. */
	g->doubt_quiet_until_ms =
		set_now_ms(g->set) + 2 * (uint64_t)g->set->options.election_ms + 4 * (uint64_t)g->set->options.tick_ms;
	diag_line(g->set->diag, DIAG_WARN, "raft group=%s is in doubt: %s", log_group_label(g->log),
		log_group_doubt(g->log));
}

void doubt_stop(struct group *g)
{
	struct log_group_info info;
	char range[64] = "";
	log_group_info(g->log, &info);
	/* The owner begins empty: that must not take the place of what is left of its state. */
	if (info.state_lost) log_group_detach(g->log);
	if (info.lost_from && info.lost_to)
		(void)snprintf(range, sizeof range, " about entries %llu to %llu", (unsigned long long)info.lost_from,
			(unsigned long long)info.lost_to);
	else if (info.lost_from)
		(void)snprintf(range, sizeof range, " about entries from %llu on", (unsigned long long)info.lost_from);
	group_stop(g, GROUP_READ_ONLY, "group %llu is in doubt%s, it can only be read: %s", (unsigned long long)g->id,
		range, log_group_doubt(g->log));
}

bool group_may_vote(const struct group *g)
{
	if (g->set->muted) return false;
	return !g->in_doubt || is_off(g, FAULT_bug_s7_doubtful_vote);
}

bool doubt_refuses_append(struct group *g, const struct frame_append *a)
{
	if (!g->in_doubt) return false;
	if (set_now_ms(g->set) < g->doubt_quiet_until_ms && !is_off(g, FAULT_bug_s7_doubtful_vote)) return true;
	if (a->term > g->heard_term) g->heard_commit = 0;
	g->heard_term = u64_max(g->heard_term, a->term);
	if (a->term == g->heard_term) g->heard_commit = u64_max(g->heard_commit, a->commit);
	return false;
}

void doubt_ended(struct group *g, uint64_t term, uint64_t leader)
{
	g->ending_doubt = false;
	doubt_look(g);
	if (g->in_doubt) { /* new damage was found meanwhile */
		if (g->accept) accept_ended(g);
		return;
	}
	if (g->term == term) g->vote = leader;
	diag_count(g->set->diag, COUNTER_raft_doubts_ended);
	if (g->accept) {
		accept_ended(g);
		return;
	}
	diag_line(g->set->diag, DIAG_INFO, "raft group=%s is whole again, brought up by %llx in term %llu",
		log_group_label(g->log), (unsigned long long)leader, (unsigned long long)term);
}

void doubt_step(struct group *g)
{
	if (!g->in_doubt || g->ending_doubt || g->refill_needed || raft_state(&g->raft) != RAFT_FOLLOWER) return;
	uint64_t leader = group_leader(g);
	if (!leader || g->heard_term != g->raft.current_term || g->heard_commit == 0) return;
	if (g->raft.commit_index < g->heard_commit || g->applied < g->heard_commit) return;
	if (group_term_at(g, g->heard_commit) != g->heard_term) return;
	struct write *w = write_new(g, WRITE_DOUBT_END);
	w->seq = g->heard_term;
	w->last = leader;
	g->ending_doubt = true;
	log_doubt_end(g->log, g->heard_term, leader, &w->req);
}
