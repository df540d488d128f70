/* SPDX-License-Identifier: Apache-2.0 */
/* log_machine — a group's machine as rows of the state store: its head, and a row for each word that lives. */
#include "log_sim.h"

static void machine_capture_head(const struct machine *m, struct state_batch *batch)
{
	uint8_t head[32];
	le64_put(head, m->index);
	le64_put(head + 8, m->hash);
	le64_put(head + 16, m->purged);
	le64_put(head + 24, m->conf_index);
	state_batch_put(batch, SLICE("h"), slice_of(head, sizeof head));
}

static void machine_capture_word(const struct machine *m, uint64_t word, struct state_batch *batch)
{
	uint8_t key[9] = { 'w' }, value[8];
	for (int i = 0; i < 8; i++) key[1 + i] = (uint8_t)(word >> (56 - 8 * i));
	le64_put(value, m->live[word]);
	if (m->live[word])
		state_batch_put(batch, slice_of(key, sizeof key), slice_of(value, sizeof value));
	else
		state_batch_del(batch, slice_of(key, sizeof key));
}

void machine_capture_changed(const struct machine *m, uint64_t since, struct state_batch *batch)
{
	machine_capture_head(m, batch);
	for (uint64_t i = 0; i < m->words; i++)
		if (m->changed_at[i] > since) machine_capture_word(m, i, batch);
}

void machine_capture_all(const struct machine *m, struct state_batch *batch)
{
	machine_capture_head(m, batch);
	for (uint64_t i = 0; i < m->words; i++)
		if (m->live[i]) machine_capture_word(m, i, batch);
}

struct machine_loading {
	struct machine *m;
	uint64_t state_index;
	bool has_head, is_bad;
};

static bool machine_load_row(void *arg, struct slice key, struct slice value)
{
	struct machine_loading *l = arg;
	struct machine *m = l->m;
	if (slice_eq_str(key, "h") && value.n == 32) {
		m->index = le64_get(value.p);
		m->hash = le64_get(value.p + 8);
		m->purged = le64_get(value.p + 16);
		m->conf_index = le64_get(value.p + 24);
		l->has_head = true;
	} else if (key.n == 9 && key.p[0] == 'w' && value.n == 8) {
		uint64_t word = 0;
		for (int i = 0; i < 8; i++) word = word << 8 | key.p[1 + i];
		if (word > 1 << 20) return !(l->is_bad = true);
		machine_set_word(m, word, le64_get(value.p), l->state_index);
	} else {
		l->is_bad = true;
	}
	return !l->is_bad;
}

bool machine_load(struct machine *m, struct state *s, uint64_t group, uint64_t state_index)
{
	struct machine_loading l = { .m = m, .state_index = state_index };
	machine_deinit(m);
	if (state_group_each(s, group, SLICE_NULL, SLICE_NULL, machine_load_row, &l) != OK) return false;
	if (!l.has_head) return state_index == 0 && m->words == 0;
	return !l.is_bad && m->index == state_index;
}
