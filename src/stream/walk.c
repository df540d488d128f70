/* SPDX-License-Identifier: Apache-2.0 */
/* Looking through the subjects of a stream, by id: there may be millions, so a walk rests when it has cost what a turn may cost. A subject is
 * seen once at the most; one that is there all the while is seen. */
#include "stream_internal.h"

#include "thebes/wire.h"

enum { LOOK_WORK = 60, PATTERN_WORK = 60, EACH_WORK = 100, NONE_WORK = 2 };
enum { FIRST_WORK = 250 * 1000, TURN_WORK = 1000 * 1000 }; /* about nanoseconds: at once; of a walk in a turn */

static bool visit(struct stream_walk *w, const struct subject_entry *e)
{
	return w->each(w->arg, subject_name(e), e->count, e->first_seq_hint, e->last_seq);
}

static bool walk_literal(struct stream_walk *w)
{
	if (w->filter_count != 1 || !subject_is_literal(w->filters[0])) return false;
	const struct subject_entry *e = subjects_find(&w->stream->machine.subjects, w->filters[0]);
	if (e) (void)visit(w, e);
	return true;
}

/* True when it is done. */
static bool walk_on(struct stream_walk *w, uint64_t work)
{
	const struct subjects *t = &w->stream->machine.subjects;
	for (; w->next < t->id_next; w->next++) {
		const struct subject_entry *e = t->by_id[w->next];
		if (work == 0) return false;
		work -= u64_min(work, e ? LOOK_WORK + w->filter_count * PATTERN_WORK : NONE_WORK);
		if (!e || e->born > w->births || !filters_match(w->filters, w->filter_count, subject_name(e))) continue;
		work -= u64_min(work, EACH_WORK);
		if (!visit(w, e)) return true;
	}
	return true;
}

static void walk_end(struct stream_walk *w, enum err result)
{
	list_remove(&w->link);
	io_timer_stop(w->stream->options.io, &w->rest);
	w->result = result;
	w->done(w);
}

static void rested(struct io_timer *t)
{
	struct stream_walk *w = CONTAINER_OF(t, struct stream_walk, rest);
	if (walk_on(w, TURN_WORK))
		walk_end(w, OK);
	else
		io_timer_start(w->stream->options.io, &w->rest, 0);
}

static void walk_begin(struct stream *s, struct stream_walk *w)
{
	w->stream = s;
	w->next = 0;
	w->births = s->machine.subjects.births;
	w->rest = (struct io_timer) { .fire = rested };
	w->result = OK;
}

bool stream_walk_start(struct stream *s, struct stream_walk *w)
{
	walk_begin(s, w);
	if (walk_literal(w) || walk_on(w, FIRST_WORK)) return true;
	list_push_back(&s->walks, &w->link);
	io_timer_start(s->options.io, &w->rest, 0);
	return false;
}

void walks_cancel_all(struct stream *s)
{
	while (!list_is_empty(&s->walks)) walk_end(CONTAINER_OF(s->walks.next, struct stream_walk, link), ERR_CLOSED);
}

void stream_subjects(
	const struct stream *s, const struct slice *filters, size_t filter_count, stream_subject_fn *each, void *arg)
{
	struct stream_walk w = { .filters = filters, .filter_count = filter_count, .each = each, .arg = arg };
	walk_begin((struct stream *)(uintptr_t)s, &w);
	bool is_done = walk_literal(&w) || walk_on(&w, UINT64_MAX);
	ASSERT(is_done);
}
