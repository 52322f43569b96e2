/* SPDX-License-Identifier: MIT */
/*
 * The bulk AEAD of transport data: ChaCha20-Poly1305 (RFC 8439) with no associated
 * data and a nonce of four zero bytes and the counter, little-endian (whitepaper
 * section 5.4.6), behind an interface that takes batches, so that a faster engine
 * can be chosen at start.
 *
 * To add an engine: one file daemon/aead_<name>.c, a line below and one in aead.c;
 * the unit test runs all that are usable.
 */
#ifndef AEAD_H
#define AEAD_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "wg_proto.h"

/*
 * One packet. len is the plaintext's length in bytes, which may be 0. dst equals
 * src, or they do not overlap.
 *   seal: len bytes at src -> len + 16 at dst; leaves ok alone. An engine that fails
 *         leaves zeros: nobody can open these.
 *   open: len + 16 bytes at src -> len at dst, and ok says whether it is authentic.
 *         If not, the len bytes at dst are zeroed.
 */
struct aead_op {
	const uint8_t *key; /* WG_KEY_LEN bytes */
	uint64_t counter;
	uint8_t *dst;
	const uint8_t *src;
	uint32_t len;
	bool ok;
};

/*
 * seal and open take n operations, independent of each other and in any mix of
 * keys. They keep nothing afterwards and do not allocate. What an engine has to
 * allocate is its state, one a thread, from begin to end; both are NULL where it has
 * none. usable says whether the CPU allows it.
 */
struct aead_engine {
	const char *name;
	bool (*usable)(void);
	int (*begin)(void **state); /* -ENOMEM, -ENOTSUP */
	void (*end)(void *state);
	void (*seal)(void *state, struct aead_op *ops, unsigned n);
	void (*open)(void *state, struct aead_op *ops, unsigned n);
};

/* An engine in the hands of one thread. */
struct aead {
	const struct aead_engine *engine;
	void *state;
};

extern const struct aead_engine aead_sodium; /* always there */
/* These two, where they were there to build with. */
extern const struct aead_engine aead_ipsec_mb; /* on x86 */
extern const struct aead_engine aead_boringssl;
/* What that of ipsec-mb is on a CPU without AVX-512: in no table. */
extern const struct aead_engine aead_ipsec_mb_avx2;

/* All that were built in; NULL ends the table. */
extern const struct aead_engine *const aead_engines[];

/* The usable engine that is the fastest just now with packets of full size: takes
 * some milliseconds. Needs sodium_init() before; cannot fail. */
const struct aead_engine *aead_pick(void);

/* 0, -ENOMEM or -ENOTSUP; then there is nothing to end. */
int aead_begin(struct aead *aead, const struct aead_engine *engine);
void aead_end(struct aead *aead);

#define AEAD_NONCE_LEN 12

/* For engines: the nonce of a counter (whitepaper section 5.4.6). */
static inline void aead_nonce(uint8_t nonce[AEAD_NONCE_LEN], uint64_t counter)
{
	counter = htole64(counter);
	memset(nonce, 0, AEAD_NONCE_LEN - sizeof(counter));
	memcpy(nonce + AEAD_NONCE_LEN - sizeof(counter), &counter, sizeof(counter));
}

static inline void aead_seal(struct aead *aead, struct aead_op *ops, unsigned n)
{
	aead->engine->seal(aead->state, ops, n);
}

static inline void aead_open(struct aead *aead, struct aead_op *ops, unsigned n)
{
	aead->engine->open(aead->state, ops, n);
}

#endif
