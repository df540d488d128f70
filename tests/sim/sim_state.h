/* SPDX-License-Identifier: Apache-2.0 */
/* sim_state — the twin of the state store (state.h) over the simulated disk: what LMDB does with pages, it does with two images.
 *
 *   PATH.0, PATH.1   each a whole image: head with a checksum | rows, sorted; the one with the higher number counts
 *
 * A commit writes the other image and syncs it: a crash leaves the new one or the old one whole. If the newer one is damaged the older one
 * is one round back, as LMDB's older meta page is; if both are, or both are gone, that is damage, or a store that vanished. */
#ifndef THEBES_TESTS_SIM_STATE_H
#define THEBES_TESTS_SIM_STATE_H

#include "thebes/state.h"

extern const struct state_ops state_sim;

/* "PATH.0" and "PATH.1": for tests that damage them. */
enum { SIM_STATE_IMAGES = 2 };
/* Are these the bytes of a whole image? */
bool sim_state_image_is_whole(struct slice bytes);

#endif
