// SPDX-License-Identifier: MIT
#include "pick.h"

#include <string.h>
#include <time.h>

#include "engines.h"

/* Each engine seals and opens a worker's full batch of packets several times. Each packet has its
 * own memory. The engine's best round counts. */
#define TRIAL_ROUNDS  5
#define TRIAL_PACKETS 64
#define TRIAL_LEN     1420

struct trial {
	uint8_t key[WG_KEY_LEN];
	struct aead_op ops[TRIAL_PACKETS];
	uint8_t packets[TRIAL_PACKETS][TRIAL_LEN + WG_TAG_LEN];
};

const struct aead_engine *const aead_engines[] = {
	&aead_sodium,
#ifdef HAVE_IPSEC_MB
	&aead_ipsec_mb,
#endif
#ifdef HAVE_BORINGSSL
	&aead_boringssl,
#endif
	NULL,
};

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void trial_init(struct trial *t)
{
	memset(t, 0, sizeof(*t));
	for (unsigned i = 0; i < TRIAL_PACKETS; i++)
		t->ops[i] = (struct aead_op){.key = t->key,
					     .counter = i,
					     .dst = t->packets[i],
					     .src = t->packets[i],
					     .len = TRIAL_LEN};
}

/* Returns the CPU time in ns, or UINT64_MAX if the engine could not open what it sealed. */
static uint64_t trial_round(struct aead *aead, struct trial *t)
{
	uint64_t began = cpu_ns(), took;

	aead_seal(aead, t->ops, TRIAL_PACKETS);
	aead_open(aead, t->ops, TRIAL_PACKETS);
	took = cpu_ns() - began;
	for (unsigned i = 0; i < TRIAL_PACKETS; i++)
		if (!t->ops[i].ok)
			return UINT64_MAX;
	return took;
}

static uint64_t trial_best(struct aead *aead)
{
	uint64_t best = UINT64_MAX;
	struct trial t;

	trial_init(&t);
	for (unsigned i = 0; i < TRIAL_ROUNDS; i++) {
		uint64_t took = trial_round(aead, &t);

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
		took = trial_best(&aead);
		aead_end(&aead);
		if (took < least) {
			least = took;
			fastest = *e;
		}
	}
	return fastest;
}
