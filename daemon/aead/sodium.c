// SPDX-License-Identifier: MIT
/* The AEAD by libsodium, one packet at a time. */
#include <sodium.h>
#include <string.h>

#include "aead.h"
#include "engines.h"

static bool usable(void)
{
	return true;
}

static void seal(void *state, struct aead_op *ops, unsigned n)
{
	struct aead_op *op;

	for (op = ops; n; n--, op++) {
		uint8_t nonce[AEAD_NONCE_LEN];

		aead_nonce(nonce, op->counter);
		crypto_aead_chacha20poly1305_ietf_encrypt(op->dst, NULL, op->src, op->len,
							  NULL, 0, NULL, nonce, op->key);
	}
}

static void open_(void *state, struct aead_op *ops, unsigned n)
{
	struct aead_op *op;

	for (op = ops; n; n--, op++) {
		uint8_t nonce[AEAD_NONCE_LEN];

		aead_nonce(nonce, op->counter);
		op->ok = !crypto_aead_chacha20poly1305_ietf_decrypt(
			op->dst, NULL, NULL, op->src, op->len + WG_TAG_LEN, NULL, 0,
			nonce, op->key);
		if (!op->ok && op->len)
			memset(op->dst, 0, op->len);
	}
}

const struct aead_engine aead_sodium = {
	.name = "libsodium",
	.usable = usable,
	.seal = seal,
	.open = open_,
};
