/* SPDX-License-Identifier: Apache-2.0 */
/* log_oracle — what a start found, held against the model.
 *
 * A group that is not in doubt must be what base and some prefix of the ops make it: for all groups the same prefix (one journal), at least
 * up to the last acknowledgement. Its entries must be that prefix's, none missing but dead ones; its state that of its index. A group that is
 * in doubt must have a cause; what it holds must once have been written, what it has committed must be right. */
#include <stdio.h>

#include "log_sim.h"

/* One group as the start found it. */
struct seen {
	struct owner *o;
	bool exists, is_checked, is_anew;
	struct log_group_info info;
	uint64_t *terms; /* owned: by index, 0: missing */
	struct slice conf;
	bool *matches; /* owned: by number of ops applied */
	uint32_t ops_min;
};

typedef unsigned long long ull;

/* ---- entries as they are read ---- */

void oracle_entry(struct owner *o, const struct entry_head *h, struct slice body, const char *where)
{
	struct world *w = o->actor->world;
	const struct model_group *m = owner_model(o);
	const struct model_entry *e = model_version(m, h->index, h->term);
	if (!e) {
		accuse(w, VERDICT_WRONG, "group %u: %s gave an entry (index %llu term %llu) that was never written",
			o->at, where, (ull)h->index, (ull)h->term);
		return;
	}
	const char *differs = model_compare_entry(e, m->id, h, body);
	if (differs)
		accuse(w, VERDICT_WRONG, "group %u: %s gave index %llu term %llu with another %s", o->at, where,
			(ull)h->index, (ull)h->term, differs);
	const struct model_entry *committed = model_log_at(&m->truth, h->index);
	if (committed && committed != e && h->index <= m->commit_now && !w->is_doubted[o->at])
		accuse(w, VERDICT_RESURRECTED, "group %u: %s gave index %llu of term %llu, but term %llu is committed",
			o->at, where, (ull)h->index, (ull)h->term, (ull)committed->term);
}

bool oracle_may_be_missing(const struct owner *o, uint64_t index)
{
	const struct world *w = o->actor->world;
	const struct model_group *m = owner_model(o);
	const struct model_entry *e = model_log_at(&m->truth, index);
	if (index < m->trim_told || damage_excuses(w, o->at) || o->is_lost) return true;
	if (m->lost_from && index >= m->lost_from && index <= m->lost_to) return true;
	if (!e || index > o->machine.index || e->kind != ENTRY_COMMAND) return false;
	return machine_is_dead(&o->machine, e->seq_before, e->seq_last);
}

void oracle_doubted(struct owner *o, const char *where)
{
	struct world *w = o->actor->world;
	/* What was not refilled is found damaged again and again. */
	bool is_known = owner_model(o)->lost_from != 0;
	if (!damage_excuses(w, o->at) && !is_known)
		accuse(w, VERDICT_FALSE_DAMAGE, "group %u is in doubt %s without cause: %s", o->at, where,
			o->g ? log_group_doubt(o->g) : "");
	if (!w->is_doubted[o->at]) world_count(w, "log doubt entered");
	w->is_doubted[o->at] = true;
}

/* ---- looking ---- */

/* Reads all entries there are; notes the terms. False: the machine died. */
static bool seen_read(struct seen *s)
{
	struct owner *o = s->o;
	struct world *w = o->actor->world;
	s->terms = mem_zalloc((s->info.last_index + 1) * sizeof *s->terms);
	uint64_t at = 1;
	while (at <= s->info.last_index) {
		struct log_read_req r = {
			.from = at, .to = s->info.last_index, .bytes_max = 1 + world_below(w, 64 * KIB), .holes = true
		};
		enum err e = log_read_now(o->g, &r);
		struct slice in = buf_slice(&r.entries), body;
		struct entry_head h;
		bool is_good = true;
		while (e == OK && in.n && (is_good = entry_next(&in, &h, &body) == OK)) {
			is_good = h.index >= at && h.index <= s->info.last_index;
			if (!is_good) break;
			oracle_entry(o, &h, body, "a read at start");
			s->terms[h.index] = h.term;
			at = h.index + 1;
		}
		if (!is_good) accuse(w, VERDICT_WRONG, "group %u: a read at start gave bytes out of order", o->at);
		at = e == OK ? u64_max(at, r.next) : at;
		buf_deinit(&r.entries);
		if (e == ERR_CRASHED) return false;
		if (w->verdict) return true;
		if (e == ERR_CORRUPT) {
			struct log_group_info i;
			log_group_info(o->g, &i);
			oracle_doubted(o, "after a read at start");
			at = u64_max(at, i.damaged_to) + 1;
		} else if (e != OK && e != ERR_NOT_FOUND) {
			accuse(w, VERDICT_LOST, "group %u: a read at start from %llu says %s", o->at, (ull)at,
				err_text(e));
			return true;
		} else if (e == ERR_NOT_FOUND || (r.next <= r.from && at == r.from)) {
			break;
		}
	}
	return true;
}

/* ---- which prefix ---- */

static bool view_matches(const struct model_group *m, const struct model_view *v, const struct seen *s)
{
	const struct log_group_info *i = &s->info;
	if (v->exists != s->exists) return false;
	if (!v->exists) return true;
	if (v->term != i->term || v->vote != i->vote || v->log.last != i->last_index) return false;
	if (model_log_term(&v->log, v->log.last) != i->last_term) return false;
	if ((v->installs > m->base.installs) != (i->generation > m->base_generation)) return false;
	for (uint64_t k = 1; k <= v->log.last; k++)
		if (s->terms[k] && s->terms[k] != v->log.at[k]->term) return false;
	return true;
}

/* How many of the group's ops the cut holds. An install that is not done has no place in the order yet. */
static uint32_t ops_before(const struct model_group *m, uint64_t cut, bool *is_open)
{
	uint32_t n = 0;
	while (n < m->ops_count && m->ops[n].id <= cut) n++;
	const struct model_op *last = m->ops_count ? &m->ops[m->ops_count - 1] : NULL;
	*is_open = last && last->kind == OP_INSTALL && !last->is_acked;
	if (*is_open && n == m->ops_count) n--;
	return n;
}

/* Marks after how many ops the model is as the group was seen. */
static void seen_match(struct seen *s)
{
	struct model_group *m = owner_model(s->o);
	struct model_view v = { 0 };
	bool is_open;
	s->ops_min = ops_before(m, s->o->actor->world->acked_op, &is_open);
	s->matches = mem_zalloc((m->ops_count + 1) * sizeof *s->matches);
	model_view_copy(&v, &m->base);
	for (uint32_t k = 0; k <= m->ops_count; k++) {
		if (k) model_op_apply(&v, m, &m->ops[k - 1]);
		s->matches[k] = view_matches(m, &v, s);
	}
	model_view_deinit(&v);
}

static void view_after(const struct model_group *m, uint32_t ops, struct model_view *v)
{
	model_view_copy(v, &m->base);
	for (uint32_t k = 0; k < ops; k++) model_op_apply(v, m, &m->ops[k]);
}

static void view_print(struct buf *b, const struct model_view *v)
{
	if (!v->exists)
		buf_append_str(b, "no group");
	else
		buf_printf(b, "term %llu vote %llu last %llu(%llu) installs %llu", (ull)v->term, (ull)v->vote,
			(ull)v->log.last, (ull)model_log_term(&v->log, v->log.last), (ull)v->installs);
}

/* No prefix fits: what is it that went wrong? */
static void accuse_no_match(struct seen *s)
{
	struct owner *o = s->o;
	struct world *w = o->actor->world;
	const struct model_group *m = owner_model(o);
	struct model_view least = { 0 }, most = { 0 };
	struct buf text = { 0 };
	view_after(m, s->ops_min, &least);
	view_after(m, m->ops_count, &most);
	enum verdict v = VERDICT_LOST;
	if (s->exists && !least.exists && m->gone_op) v = VERDICT_RESURRECTED;
	if (s->exists && least.exists && s->info.last_index > u64_max(least.log.last, most.log.last))
		v = VERDICT_RESURRECTED;
	for (uint64_t i = 1; s->exists && i <= s->info.last_index; i++) {
		uint64_t term = s->terms[i];
		if (term && term < model_log_term(&least.log, i)) v = VERDICT_RESURRECTED;
	}
	buf_append_str(&text, "at least ");
	view_print(&text, &least);
	buf_append_str(&text, "; at most ");
	view_print(&text, &most);
	buf_append_str(&text, "; found ");
	if (s->exists)
		buf_printf(&text, "term %llu vote %llu last %llu(%llu) generation %llu after %llu, state %llu",
			(ull)s->info.term, (ull)s->info.vote, (ull)s->info.last_index, (ull)s->info.last_term,
			(ull)s->info.generation, (ull)m->base_generation, (ull)s->info.state_index);
	else
		buf_append_str(&text, "no group");
	accuse(w, v, "group %u is not what was acknowledged: %s", o->at, buf_str(&text));
	buf_deinit(&text);
	model_view_deinit(&least);
	model_view_deinit(&most);
}

/* One cut for all groups. False: there is none. */
static bool seen_cut(struct world *w, struct seen *all, uint64_t *cut)
{
	for (uint64_t c = w->op_id;; c--) {
		bool fits = true;
		for (unsigned i = 0; i < w->groups_count && fits; i++) {
			bool is_open;
			uint32_t n = ops_before(&w->groups[i], c, &is_open);
			if (!all[i].is_checked) continue;
			fits = all[i].matches[n] ||
			       (is_open && n + 1 == w->groups[i].ops_count && all[i].matches[n + 1]);
		}
		*cut = c;
		if (fits) return true;
		if (c <= w->acked_op) return false;
	}
}

/* ---- one group that is not in doubt ---- */

static void check_holes(struct seen *s)
{
	struct owner *o = s->o;
	struct world *w = o->actor->world;
	const struct model_group *m = owner_model(o);
	const struct log_group_info *i = &s->info;
	uint64_t missing_last = 0;
	for (uint64_t k = 1; k <= i->last_index && !w->verdict; k++) {
		if (s->terms[k]) continue;
		missing_last = k;
		if (!oracle_may_be_missing(o, k))
			accuse(w, VERDICT_LOST,
				"group %u: index %llu is missing (state %llu, committed %llu, trimmed below %llu)",
				o->at, (ull)k, (ull)i->state_index, (ull)m->truth.last, (ull)m->trim_told);
		else if (k >= i->contiguous_from && k >= i->first_index)
			accuse(w, VERDICT_WRONG,
				"group %u: index %llu is missing, and it is said to be contiguous from %llu on", o->at,
				(ull)k, (ull)i->contiguous_from);
	}
	for (uint64_t k = i->contiguous_from; k <= i->last_index && !w->verdict; k++)
		if (log_term_at(o->g, k) != s->terms[k])
			accuse(w, VERDICT_WRONG,
				"group %u: the term of index %llu is said to be %llu, its entry says %llu (first %llu, "
				"contiguous from %llu, state %llu)",
				o->at, (ull)k, (ull)log_term_at(o->g, k), (ull)s->terms[k], (ull)i->first_index,
				(ull)i->contiguous_from, (ull)i->state_index);
	if (missing_last && i->contiguous_from <= missing_last && !w->verdict)
		accuse(w, VERDICT_WRONG, "group %u: contiguous from %llu, but %llu is missing", o->at,
			(ull)i->contiguous_from, (ull)missing_last);
}

static void check_numbers(struct seen *s, const struct model_view *v)
{
	struct owner *o = s->o;
	struct world *w = o->actor->world;
	const struct model_group *m = owner_model(o);
	const struct log_group_info *i = &s->info;
	/* A damaged table may take what it knew of commits with it; that costs nothing. */
	bool is_forgotten = i->commit_index < v->commit_min && !damage_takes_commits(w, o->at);
	if (i->commit_index > m->commit_told || is_forgotten)
		accuse(w, i->commit_index < v->commit_min ? VERDICT_LOST : VERDICT_WRONG,
			"group %u: commit index %llu; %llu is known on disk, %llu was told", o->at,
			(ull)i->commit_index, (ull)v->commit_min, (ull)m->commit_told);
	if (i->state_index > i->commit_index || i->state_index > m->truth.last)
		accuse(w, VERDICT_WRONG, "group %u: a state of index %llu, which is not committed", o->at,
			(ull)i->state_index);
	if (i->state_index < m->settled_state && !w->damage.is_latent)
		accuse(w, VERDICT_LOST, "group %u: a state of index %llu was settled, %llu is found", o->at,
			(ull)m->settled_state, (ull)i->state_index);
	if (i->state_term != model_log_term(&m->truth, i->state_index))
		accuse(w, VERDICT_WRONG, "group %u: the state of index %llu has term %llu", o->at, (ull)i->state_index,
			(ull)i->state_term);
	if (i->durable_index != i->last_index)
		accuse(w, VERDICT_WRONG, "group %u: after a start %llu of %llu are durable", o->at,
			(ull)i->durable_index, (ull)i->last_index);
}

/* Is the configuration the one that was committed up to the state? */
static bool conf_is_right(struct seen *s)
{
	struct owner *o = s->o;
	const struct model_entry *e = model_log_at(&owner_model(o)->truth, s->info.conf_index);
	struct buf want = { 0 };
	if (e)
		model_body(e, &want);
	else
		buf_append_slice(&want, buf_slice(&o->actor->world->conf_first[o->at]));
	bool is_change = e ? e->kind == ENTRY_CHANGE : s->info.conf_index == 0;
	bool is_right =
		is_change && s->info.conf_index == o->machine.conf_index && slice_eq(s->info.conf, buf_slice(&want));
	buf_deinit(&want);
	return is_right;
}

static void check_conf(struct seen *s)
{
	struct owner *o = s->o;
	if (!conf_is_right(s))
		accuse(o->actor->world, VERDICT_WRONG,
			"group %u: the configuration of index %llu is not the committed one (%llu) of state %llu",
			o->at, (ull)s->info.conf_index, (ull)o->machine.conf_index, (ull)s->info.state_index);
}

/* The machine as the state store has it; is it that of its index? */
static void check_state(struct seen *s)
{
	struct owner *o = s->o;
	struct world *w = o->actor->world;
	const struct model_group *m = owner_model(o);
	struct machine want = { 0 };
	o->is_lost = !machine_load(&o->machine, log_state(o->actor->log), m->id, s->info.state_index);
	if (!o->is_lost && s->info.state_index <= m->truth.last) {
		machine_run(&want, &m->truth, s->info.state_index);
		o->is_lost = !machine_equals(&want, &o->machine);
	}
	machine_deinit(&want);
	o->confirmed = s->info.state_index;
	if (o->is_lost && !w->is_doubted[o->at])
		accuse(w, VERDICT_LOST, "group %u: the state of index %llu is not what was captured", o->at,
			(ull)s->info.state_index);
}

static void check_whole(struct seen *s, uint32_t ops)
{
	struct owner *o = s->o;
	struct world *w = o->actor->world;
	struct model_group *m = owner_model(o);
	struct model_view v = { 0 };
	/* Another prefix may fit as well (an entry that was appended and truncated): what the shortest knew is known. */
	uint32_t least = s->ops_min;
	while (!s->matches[least]) least++;
	view_after(m, least, &v);
	uint64_t commit_min = v.commit_min;
	view_after(m, ops, &v);
	v.commit_min = commit_min;
	if (s->exists) {
		check_numbers(s, &v);
		check_state(s);
		check_conf(s);
		check_holes(s);
		/* What a damaged table took with it is not on disk any more. */
		if (damage_takes_commits(w, o->at))
			v.commit_min = s->info.commit_index;
		else
			v.commit_min = u64_max(v.commit_min, s->info.commit_index);
	}
	model_view_copy(&m->base, &v);
	model_view_copy(&m->now, &v);
	model_view_deinit(&v);
}

/* ---- one group that is in doubt ---- */

/* What is there becomes the base: versions that were read, and where nothing is, what a leader has. */
static void check_doubted(struct seen *s)
{
	struct owner *o = s->o;
	struct world *w = o->actor->world;
	struct model_group *m = owner_model(o);
	const struct log_group_info *i = &s->info;
	if (i->term > m->term_max) accuse(w, VERDICT_WRONG, "group %u: term %llu never was", o->at, (ull)i->term);
	if (i->state_index > m->truth.last)
		accuse(w, VERDICT_WRONG, "group %u: a state of index %llu, which is not committed", o->at,
			(ull)i->state_index);
	struct model_view v = {
		.exists = true,
		.term = i->term,
		.vote = i->vote,
		.installs = m->base.installs,
	};
	m->lost_from = m->lost_to = 0;
	for (uint64_t k = 1; k <= i->last_index; k++) {
		struct model_entry *e = s->terms[k] ? model_version(m, k, s->terms[k]) : model_log_at(&m->truth, k);
		if (!e) e = model_log_at(&m->now.log, k);
		if (!e) e = k < m->version_cap ? m->version[k] : NULL;
		if (!e) {
			accuse(w, VERDICT_WRONG, "group %u: index %llu never was", o->at, (ull)k);
			break;
		}
		model_log_set(&v.log, e);
		if (s->terms[k]) continue;
		m->lost_from = m->lost_from ? m->lost_from : k;
		m->lost_to = k;
	}
	check_state(s);
	/* What is not applied cannot be read any more. */
	if ((m->lost_from && m->lost_to > i->state_index) || !conf_is_right(s)) o->is_lost = true;
	model_view_copy(&m->base, &v);
	model_view_copy(&m->now, &v);
	model_view_deinit(&v);
}

/* ---- the whole ---- */

static void seen_deinit(struct world *w, struct seen *all)
{
	for (unsigned i = 0; i < w->groups_count; i++) {
		mem_free(all[i].terms);
		mem_free(all[i].matches);
	}
}

static bool seen_look(struct actor *a, struct seen *all)
{
	struct world *w = a->world;
	for (struct log_group *g = log_group_after(a->log, 0); g; g = log_group_after(a->log, log_group_id(g))) {
		unsigned at = 0;
		while (at < w->groups_count && w->groups[at].id != log_group_id(g)) at++;
		if (at == w->groups_count) {
			accuse(w, VERDICT_RESURRECTED, "there is a group %llu, which was never made",
				(ull)log_group_id(g));
			return true;
		}
		a->owners[at].g = g;
	}
	for (unsigned i = 0; i < w->groups_count; i++) {
		struct seen *s = &all[i];
		s->o = &a->owners[i];
		s->exists = s->o->g != NULL;
		if (!s->exists) continue;
		log_group_info(s->o->g, &s->info);
		/* The end of the doubt was not acknowledged. */
		if (s->info.in_doubt && model_ends_doubt(&w->groups[i], w->acked_op)) w->is_doubted[i] = true;
		if (s->info.in_doubt) oracle_doubted(s->o, "at start");
		/* It is recorded before the start ends; what is found by reading is recorded later. */
		if (s->info.in_doubt) w->doubt_is_durable[i] = true;
		if (!s->info.in_doubt && w->is_doubted[i] && w->doubt_is_durable[i] &&
			!model_ends_doubt(&w->groups[i], 0))
			accuse(w, VERDICT_LOST, "group %u was in doubt, and this start has forgotten it", i);
		if (!s->info.in_doubt) w->is_doubted[i] = w->doubt_is_durable[i] = false;
		if (!seen_read(s)) return false;
		/* A read may have found damage. */
		log_group_info(s->o->g, &s->info);
		if (w->verdict) return true;
	}
	return true;
}

/* A group whose MAKE went with a slot: the log says that groups may be missing, and what is made again must be in doubt, because it may have
 * voted and acknowledged before. */
static void make_anew(struct actor *a, struct seen *s)
{
	struct world *w = a->world;
	unsigned at = s->o->at;
	struct model_group *m = &w->groups[at];
	struct model_view empty = { .exists = true, .installs = m->base.installs };
	enum err e = log_group_make(a->log, m->id, buf_slice(&w->conf_first[at]), NULL, &s->o->g);
	if (e == ERR_FULL) {
		/* No room now: it stays away for good. */
		m->base.exists = m->now.exists = false;
		m->gone_op = m->gone_op ? m->gone_op : w->op_id;
		return;
	}
	if (e != OK) {
		accuse(w, VERDICT_WEDGE, "group %u cannot be made again: %s", at, err_text(e));
		return;
	}
	log_group_info(s->o->g, &s->info);
	if (!s->info.in_doubt) accuse(w, VERDICT_LOST, "group %u is made again as if it had never been", at);
	world_count(w, "log group vanished with a slot");
	s->is_anew = s->o->is_lost = true;
	w->is_doubted[at] = true;
	w->doubt_is_durable[at] = false;
	model_view_copy(&m->base, &empty);
	model_view_copy(&m->now, &empty);
	m->lost_from = m->truth.last ? 1 : 0;
	m->lost_to = m->truth.last;
}

static void seen_check(struct actor *a, struct seen *all)
{
	struct world *w = a->world;
	uint64_t cut = w->op_id;
	bool lacks = log_lacks_groups(a->log);
	if (lacks && !w->damage.touches_all && !w->lacks_groups)
		accuse(w, VERDICT_FALSE_DAMAGE, "groups are said to be missing without cause");
	w->lacks_groups = lacks;
	for (unsigned i = 0; i < w->groups_count && !w->verdict; i++) {
		struct seen *s = &all[i];
		s->is_checked = !(s->exists && w->is_doubted[i]);
		if (!s->is_checked) continue;
		seen_match(s);
		bool any = false;
		for (uint32_t k = s->ops_min; k <= w->groups[i].ops_count; k++) any |= s->matches[k];
		if (!any && !s->exists && w->groups[i].now.exists && log_lacks_groups(a->log)) {
			s->is_checked = false;
			make_anew(a, s);
		} else if (!any) {
			accuse_no_match(s);
		}
	}
	if (w->verdict) return;
	if (!w->damage.is_latent && !seen_cut(w, all, &cut)) {
		accuse(w, VERDICT_LOST, "no single end of the journal explains all groups");
		return;
	}
	for (unsigned i = 0; i < w->groups_count && !w->verdict; i++) {
		struct seen *s = &all[i];
		struct model_group *m = &w->groups[i];
		bool is_open;
		if (!s->is_checked) {
			if (s->exists) check_doubted(s);
			continue;
		}
		uint32_t n = ops_before(m, cut, &is_open);
		if (!s->matches[n] && is_open && n + 1 == m->ops_count) n++;
		/* With damage about each group has a cut of its own. */
		for (uint32_t k = s->ops_min; !s->matches[n]; k++) n = k;
		check_whole(s, n);
	}
}

/* The model goes on from what was found. */
static void seen_adopt(struct actor *a, struct seen *all)
{
	struct world *w = a->world;
	for (unsigned i = 0; i < w->groups_count; i++) {
		struct owner *o = &a->owners[i];
		struct model_group *m = &w->groups[i];
		m->ops_count = 0;
		if (!m->now.exists) {
			/* Its MAKE was lost with the crash, or its GONE was not: it never comes back. */
			m->gone_op = m->gone_op ? m->gone_op : w->op_id;
			m->base.log.last = m->now.log.last = 0;
			w->is_doubted[i] = w->doubt_is_durable[i] = false;
			continue;
		}
		if (!w->is_doubted[i]) m->gone_op = 0;
		m->generation = m->base_generation = all[i].info.generation;
		m->commit_now = all[i].info.commit_index;
		m->settled_state = all[i].info.state_index;
		o->needs_term = true;
		log_group_attach(o->g, &owner_ops, o);
	}
	w->acked_op = w->op_id;
}

bool oracle_start(struct actor *a)
{
	struct world *w = a->world;
	struct seen all[WORLD_GROUPS_MAX] = { 0 };
	/* What was told before the crash is not known to this process. */
	for (unsigned i = 0; i < w->groups_count; i++) w->groups[i].commit_now = 0;
	bool is_alive = seen_look(a, all);
	if (is_alive && !w->verdict) seen_check(a, all);
	if (is_alive && !w->verdict) seen_adopt(a, all);
	seen_deinit(w, all);
	if (is_alive && !w->verdict) damage_was_looked_for(w);
	return is_alive;
}
