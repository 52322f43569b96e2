// SPDX-License-Identifier: MIT
/* The replay window against a list of all counters that it accepted (whitepaper section 5.4.6). */
#include "fuzz.h"
#include "replay.h"
#include "wg_proto.h"

#define MOST 512 /* counters of an input */

struct model {
	uint64_t accepted[MOST];
	size_t count;
	uint64_t greatest;
};

static bool model_accepts(struct model *m, uint64_t counter)
{
	if (counter >= WG_REJECT_AFTER_MESSAGES)
		return false;
	if (m->count && m->greatest >= WG_REPLAY_WINDOW &&
	    counter <= m->greatest - WG_REPLAY_WINDOW)
		return false;
	for (size_t i = 0; i < m->count; i++)
		if (m->accepted[i] == counter)
			return false;
	m->accepted[m->count++] = counter;
	if (counter > m->greatest)
		m->greatest = counter;
	return true;
}

/* Near the greatest counter so far, a window away from it, or anywhere. */
static uint64_t next_counter(struct input *in, const struct model *m)
{
	uint8_t how = take8(in);
	int16_t step = take16(in);
	uint64_t any;

	switch (how % 4) {
	case 0:
		return m->greatest + step % 128;
	case 1:
		return m->greatest - WG_REPLAY_WINDOW + step % 128;
	case 2:
		return m->greatest + step;
	default:
		take(in, &any, sizeof(any));
		return any;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	struct replay window = {0};
	struct model model = {0};

	for (unsigned i = 0; i < MOST && in.left; i++) {
		uint64_t counter = next_counter(&in, &model);

		CHECK(replay_check_and_update(&window, counter) ==
		      model_accepts(&model, counter));
	}
	return 0;
}
