// SPDX-License-Identifier: MIT
/*
 * The AEAD by BoringSSL, one packet at a time: the fastest engine on a CPU with AVX2 but without
 * AVX-512.
 *
 * Theory of operation: a context is initialised for each run of packets with the same key. That
 * costs little more than copying one, so the engine keeps no state that would have to follow the
 * keypairs. BoringSSL allocates only its list of errors, which is short, once per thread, at the
 * first forged packet.
 */
#include <openssl/aead.h>
#include <sodium.h>
#include <string.h>

#include "aead.h"
#include "engines.h"

struct keyed {
	EVP_AEAD_CTX ctx;
	const uint8_t *key; /* the key of ctx; NULL: none */
};

static bool usable(void)
{
	return true;
}

static bool take_key(struct keyed *k, const uint8_t *key)
{
	if (k->key == key)
		return true;
	k->key = EVP_AEAD_CTX_init(&k->ctx, EVP_aead_chacha20_poly1305(), key, WG_KEY_LEN,
				   WG_TAG_LEN, NULL)
			 ? key
			 : NULL;
	return k->key;
}

static bool seal_one(struct keyed *k, const struct aead_op *op)
{
	uint8_t nonce[AEAD_NONCE_LEN];
	size_t len;

	aead_nonce(nonce, op->counter);
	return take_key(k, op->key) &&
	       EVP_AEAD_CTX_seal(&k->ctx, op->dst, &len, op->len + WG_TAG_LEN, nonce,
				 AEAD_NONCE_LEN, op->src, op->len, NULL, 0);
}

static bool open_one(struct keyed *k, const struct aead_op *op)
{
	uint8_t nonce[AEAD_NONCE_LEN];
	size_t len;

	aead_nonce(nonce, op->counter);
	return take_key(k, op->key) &&
	       EVP_AEAD_CTX_open(&k->ctx, op->dst, &len, op->len, nonce, AEAD_NONCE_LEN,
				 op->src, op->len + WG_TAG_LEN, NULL, 0);
}

static void seal(void *state, struct aead_op *ops, unsigned n)
{
	struct keyed k = {0};

	for (unsigned i = 0; i < n; i++)
		if (!seal_one(&k, &ops[i]))
			memset(ops[i].dst, 0, ops[i].len + WG_TAG_LEN);
	sodium_memzero(&k, sizeof(k));
}

static void open_(void *state, struct aead_op *ops, unsigned n)
{
	struct keyed k = {0};

	for (unsigned i = 0; i < n; i++) {
		ops[i].ok = open_one(&k, &ops[i]);
		if (!ops[i].ok && ops[i].len)
			memset(ops[i].dst, 0, ops[i].len);
	}
	sodium_memzero(&k, sizeof(k));
}

const struct aead_engine aead_boringssl = {
	.name = "boringssl",
	.usable = usable,
	.seal = seal,
	.open = open_,
};
