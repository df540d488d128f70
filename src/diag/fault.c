/* SPDX-License-Identifier: Apache-2.0 */
/* fault — failpoints by name: ordered by a test or, where the configuration allows it, by the environment. */
#include "thebes/diag.h"

static const char *const fault_names[] = {
#define FAULT(name, text) #name,
#include "thebes/fault.def"
#undef FAULT
};

const char *diag_fault_name(enum fault f)
{
	ASSERT((unsigned)f < COUNT_OF(fault_names));
	return fault_names[f];
}

bool diag_fault_slow(struct diag *d, enum fault f)
{
	struct failpoint *point = &d->fault[f];
	ASSERT(point->every > 0);
	if (point->once) {
		*point = (struct failpoint) { 0 };
		return true;
	}
	return ++point->seen % point->every == 0;
}

static enum err failpoint_parse(struct slice how, struct failpoint *out)
{
	static const struct {
		const char *name;
		struct failpoint point;
	} fixed[] = { { "off", { 0 } }, { "once", { .every = 1, .once = true } }, { "always", { .every = 1 } } };
	for (size_t i = 0; i < COUNT_OF(fixed); i++) {
		if (!slice_eq_str(how, fixed[i].name)) continue;
		*out = fixed[i].point;
		return OK;
	}
	uint64_t every;
	if (!slice_has_prefix(how, SLICE("every:"))) return ERR_PARSE;
	enum err e = slice_to_u64(slice_from(how, sizeof "every:" - 1), &every);
	if (e != OK || every == 0 || every > UINT32_MAX) return ERR_PARSE;
	*out = (struct failpoint) { .every = (uint32_t)every };
	return OK;
}

enum err diag_fault_set(struct diag *d, struct slice name, struct slice how)
{
	for (size_t i = 0; i < COUNT_OF(fault_names); i++)
		if (slice_eq_str(name, fault_names[i])) return failpoint_parse(how, &d->fault[i]);
	return ERR_NOT_FOUND;
}
