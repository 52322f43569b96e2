/* SPDX-License-Identifier: MIT */
/*
 * The AEAD of transport data: ChaCha20-Poly1305 (RFC 8439) without associated data. The nonce
 * is four zero bytes and the counter, little-endian (whitepaper section 5.4.6).
 *
 * The interface takes batches, because some engines are faster with several packets at a time.
 * pick.h chooses an engine at start; engines.h tells how to add one.
 */
#ifndef AEAD_H
#define AEAD_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "wg_proto.h"

/*
 * One packet. `len` is the plaintext's length in bytes, which may be 0. `dst` equals `src`, or
 * they do not overlap.
 *   seal: `len` bytes at `src` become `len` + 16 bytes at `dst`; `ok` is left alone. An engine
 *         that fails writes zeros to `dst`, which no peer accepts as authentic.
 *   open: `len` + 16 bytes at `src` become `len` bytes at `dst`, and `ok` is true if the packet
 *         is authentic. If it is not, the `len` bytes at `dst` are zeroed.
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
 * usable: returns true if the CPU can run the engine.
 * begin, end: allocate and free the engine's state, one per thread; both are NULL if the engine
 *       has no state.
 * seal, open: take n operations that do not depend on each other, in any mix of keys. They
 *       neither allocate nor keep a pointer after they return.
 */
struct aead_engine {
	const char *name;
	bool (*usable)(void);
	int (*begin)(void **state); /* -ENOMEM, -ENOTSUP */
	void (*end)(void *state);
	void (*seal)(void *state, struct aead_op *ops, unsigned n);
	void (*open)(void *state, struct aead_op *ops, unsigned n);
};

/* An engine with the state of one thread. */
struct aead {
	const struct aead_engine *engine;
	void *state;
};

/* Returns 0, -ENOMEM or -ENOTSUP. After an error there is nothing to end. */
int aead_begin(struct aead *aead, const struct aead_engine *engine);
void aead_end(struct aead *aead);

#define AEAD_NONCE_LEN 12

/* For engines: writes the nonce of a counter (whitepaper section 5.4.6). */
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
