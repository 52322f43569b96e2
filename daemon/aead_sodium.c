// SPDX-License-Identifier: MIT
/* The AEAD by libsodium, a packet at a time. */
#include <endian.h>
#include <sodium.h>
#include <string.h>

#include "aead.h"

struct nonce {
	uint8_t bytes[crypto_aead_chacha20poly1305_IETF_NPUBBYTES];
};

static struct nonce make_nonce(uint64_t counter)
{
	const uint64_t le = htole64(counter);
	struct nonce nonce = {{0}};

	memcpy(nonce.bytes + sizeof(nonce.bytes) - sizeof(le), &le, sizeof(le));
	return nonce;
}

static bool usable(void)
{
	return true;
}

static void seal(void *state, struct aead_op *ops, unsigned n)
{
	struct aead_op *op;

	for (op = ops; n; n--, op++) {
		const struct nonce nonce = make_nonce(op->counter);

		crypto_aead_chacha20poly1305_ietf_encrypt(op->dst, NULL, op->src, op->len,
							  NULL, 0, NULL, nonce.bytes,
							  op->key);
	}
}

static void open_(void *state, struct aead_op *ops, unsigned n)
{
	struct aead_op *op;

	for (op = ops; n; n--, op++) {
		const struct nonce nonce = make_nonce(op->counter);

		op->ok = !crypto_aead_chacha20poly1305_ietf_decrypt(
			op->dst, NULL, NULL, op->src, op->len + WG_TAG_LEN, NULL, 0,
			nonce.bytes, op->key);
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
