// SPDX-License-Identifier: MIT
#include "aead.h"

#include <stddef.h>
#include <time.h>

/* What a choice is made by: the least of some rounds, each of a batch that has the size
 * of a worker's. */
#define TRIAL_ROUNDS  5
#define TRIAL_PACKETS 16
#define TRIAL_LEN     1420

const struct aead_engine *const aead_engines[] = {
	&aead_sodium,
#ifdef HAVE_IPSEC_MB
	&aead_ipsec_mb,
#endif
	NULL,
};

int aead_begin(struct aead *aead, const struct aead_engine *engine)
{
	*aead = (struct aead){.engine = engine};
	return engine->begin ? engine->begin(&aead->state) : 0;
}

void aead_end(struct aead *aead)
{
	if (aead->engine && aead->engine->end)
		aead->engine->end(aead->state);
	*aead = (struct aead){0};
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t trial(struct aead *aead)
{
	static const uint8_t key[WG_KEY_LEN];
	uint8_t packet[TRIAL_LEN + WG_TAG_LEN] = {0};
	struct aead_op ops[TRIAL_PACKETS];
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < TRIAL_PACKETS; i++)
		ops[i] = (struct aead_op){
			.key = key, .dst = packet, .src = packet, .len = TRIAL_LEN};
	for (unsigned i = 0; i < TRIAL_ROUNDS; i++) {
		uint64_t began = cpu_ns(), took;

		aead_seal(aead, ops, TRIAL_PACKETS);
		took = cpu_ns() - began;
		if (took < best)
			best = took;
	}
	return best;
}

const struct aead_engine *aead_pick(void)
{
	const struct aead_engine *fastest = &aead_sodium;
	uint64_t least = UINT64_MAX;

	for (const struct aead_engine *const *e = aead_engines; *e; e++) {
		struct aead aead;
		uint64_t took;

		if (!(*e)->usable() || aead_begin(&aead, *e))
			continue;
		took = trial(&aead);
		aead_end(&aead);
		if (took < least) {
			least = took;
			fastest = *e;
		}
	}
	return fastest;
}
