// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * Both sides run the same computation over the same messages. It keeps a hash of all
 * messages so far (the transcript, h in struct symmetric) and a chaining key into
 * which every DH result is mixed (ck). The steps are the functions mix_hash(),
 * mix_key() and so on. Creating and consuming a message take the same steps in the
 * same order, except that creating encrypts and consuming decrypts.
 *
 * Each function works on a struct symmetric on its stack. It copies the struct into
 * the handshake only when nothing can fail any more, so that a forged message changes
 * nothing. Each function wipes its secrets from the stack before it returns, also
 * after an error.
 *
 * An initiation is read in two steps. The first step needs only our own key, and
 * yields the static key that the sender claims. The second step needs the peer with
 * that key. It costs no X25519, because the DH of that key and our static key is
 * precomputed.
 */
#include "noise.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "blake2s.h"
#include "nanoseconds.h"

#define CONSTRUCTION "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
#define IDENTIFIER   "WireGuard v1 zx2c4 Jason@zx2c4.com"

#define INITIATION_INTERVAL (NS_PER_SEC / NOISE_INITIATIONS_PER_SECOND)
#define TAI64N_COARSE	    (1U << 24)

struct symmetric {
	uint8_t ck[WG_KEY_LEN];
	uint8_t h[WG_KEY_LEN];
	uint8_t k[WG_KEY_LEN];
};

void noise_hmac(uint8_t out[WG_KEY_LEN], const void *key, size_t keylen, const void *data,
		size_t len)
{
	uint8_t pad[BLAKE2S_BLOCK_LEN] = {0};
	uint8_t inner[BLAKE2S_HASH_LEN];
	struct blake2s_state s;
	size_t i;

	if (keylen > sizeof(pad))
		blake2s(pad, BLAKE2S_HASH_LEN, key, keylen, NULL, 0);
	else if (keylen)
		memcpy(pad, key, keylen);

	for (i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	blake2s_init(&s, sizeof(inner));
	blake2s_update(&s, pad, sizeof(pad));
	blake2s_update(&s, data, len);
	blake2s_final(&s, inner);

	for (i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	blake2s_init(&s, sizeof(inner));
	blake2s_update(&s, pad, sizeof(pad));
	blake2s_update(&s, inner, sizeof(inner));
	blake2s_final(&s, out);

	sodium_memzero(pad, sizeof(pad));
	sodium_memzero(inner, sizeof(inner));
}

void noise_kdf(uint8_t *first, uint8_t *second, uint8_t *third,
	       const uint8_t key[WG_KEY_LEN], const void *input, size_t len)
{
	uint8_t *const out[] = {first, second, third};
	uint8_t secret[WG_KEY_LEN];
	uint8_t block[WG_KEY_LEN + 1];
	size_t used = 0, i;

	noise_hmac(secret, key, WG_KEY_LEN, input, len);
	for (i = 0; i < 3 && out[i]; i++) {
		block[used] = i + 1;
		noise_hmac(block, secret, sizeof(secret), block, used + 1);
		used = WG_KEY_LEN;
		memcpy(out[i], block, WG_KEY_LEN);
	}
	sodium_memzero(secret, sizeof(secret));
	sodium_memzero(block, sizeof(block));
}

static void mix_hash(struct symmetric *s, const void *data, size_t len)
{
	struct blake2s_state b;

	blake2s_init(&b, sizeof(s->h));
	blake2s_update(&b, s->h, sizeof(s->h));
	blake2s_update(&b, data, len);
	blake2s_final(&b, s->h);
}

/* Mixes an ephemeral public key into h and ck. Handshakes with a PSK need it in ck. */
static void mix_ephemeral(struct symmetric *s, const uint8_t public_key[WG_KEY_LEN])
{
	noise_kdf(s->ck, NULL, NULL, s->ck, public_key, WG_KEY_LEN);
	mix_hash(s, public_key, WG_KEY_LEN);
}

static void mix_key(struct symmetric *s, const uint8_t dh[WG_KEY_LEN])
{
	noise_kdf(s->ck, s->k, NULL, s->ck, dh, WG_KEY_LEN);
}

/* Returns 0, or -EBADMSG if the shared secret would be all zero: crypto_scalarmult()
 * fails exactly then. */
static int dh(uint8_t out[WG_KEY_LEN], const uint8_t private_key[WG_KEY_LEN],
	      const uint8_t public_key[WG_KEY_LEN])
{
	return crypto_scalarmult(out, private_key, public_key) ? -EBADMSG : 0;
}

static int mix_dh_with_key(struct symmetric *s, const uint8_t private_key[WG_KEY_LEN],
			   const uint8_t public_key[WG_KEY_LEN])
{
	uint8_t shared[WG_KEY_LEN];
	int err = dh(shared, private_key, public_key);

	if (!err)
		mix_key(s, shared);
	sodium_memzero(shared, sizeof(shared));
	return err;
}

/* Uses KDF1, which yields no k, because nothing is encrypted before the next secret is
 * mixed in. */
static int mix_dh(struct symmetric *s, const uint8_t private_key[WG_KEY_LEN],
		  const uint8_t public_key[WG_KEY_LEN])
{
	uint8_t shared[WG_KEY_LEN];
	int err = dh(shared, private_key, public_key);

	if (!err)
		noise_kdf(s->ck, NULL, NULL, s->ck, shared, sizeof(shared));
	sodium_memzero(shared, sizeof(shared));
	return err;
}

static void mix_psk(struct symmetric *s, const uint8_t psk[WG_KEY_LEN])
{
	uint8_t tau[WG_KEY_LEN];

	noise_kdf(s->ck, tau, s->k, s->ck, psk, WG_KEY_LEN);
	mix_hash(s, tau, sizeof(tau));
	sodium_memzero(tau, sizeof(tau));
}

static const uint8_t zero_nonce[crypto_aead_chacha20poly1305_IETF_NPUBBYTES];

/* Writes len bytes and the tag to out. The nonce is zero because each k encrypts once. */
static void encrypt_and_hash(struct symmetric *s, uint8_t *out, const uint8_t *data,
			     size_t len)
{
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, data, len, s->h,
						  sizeof(s->h), NULL, zero_nonce, s->k);
	mix_hash(s, out, len + WG_TAG_LEN);
}

/* data is len bytes and the tag. */
static int decrypt_and_hash(struct symmetric *s, uint8_t *out, const uint8_t *data,
			    size_t len)
{
	if (crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, data,
						      len + WG_TAG_LEN, s->h,
						      sizeof(s->h), zero_nonce, s->k))
		return -EBADMSG;
	mix_hash(s, data, len + WG_TAG_LEN);
	return 0;
}

static void symmetric_init(struct symmetric *s, const uint8_t responder[WG_KEY_LEN])
{
	blake2s(s->ck, sizeof(s->ck), CONSTRUCTION, strlen(CONSTRUCTION), NULL, 0);
	memcpy(s->h, s->ck, sizeof(s->h));
	memset(s->k, 0, sizeof(s->k));
	mix_hash(s, IDENTIFIER, strlen(IDENTIFIER));
	mix_hash(s, responder, WG_KEY_LEN);
}

static void symmetric_load(struct symmetric *s, const struct noise_handshake *hs)
{
	memcpy(s->ck, hs->chaining_key, sizeof(s->ck));
	memcpy(s->h, hs->hash, sizeof(s->h));
	memset(s->k, 0, sizeof(s->k));
}

static void symmetric_store(const struct symmetric *s, struct noise_handshake *hs)
{
	memcpy(hs->chaining_key, s->ck, sizeof(s->ck));
	memcpy(hs->hash, s->h, sizeof(s->h));
}

int noise_identity_set(struct noise_identity *id, const uint8_t private_key[WG_KEY_LEN])
{
	memcpy(id->private_key, private_key, WG_KEY_LEN);
	id->set = !sodium_is_zero(id->private_key, WG_KEY_LEN);
	if (!id->set) {
		noise_identity_wipe(id);
		return 0;
	}
	id->private_key[0] &= 248;
	id->private_key[31] = (id->private_key[31] & 127) | 64;
	crypto_scalarmult_base(id->public_key, id->private_key);
	return 0;
}

void noise_identity_wipe(struct noise_identity *id)
{
	sodium_memzero(id, sizeof(*id));
}

void noise_remote_init(struct noise_remote *remote, const uint8_t public_key[WG_KEY_LEN])
{
	memset(remote, 0, sizeof(*remote));
	memcpy(remote->public_key, public_key, WG_KEY_LEN);
}

int noise_remote_precompute(struct noise_remote *remote, const struct noise_identity *id)
{
	int err = -ENOKEY;

	if (id->set)
		err = dh(remote->static_static, id->private_key, remote->public_key);
	remote->valid = !err;
	if (err)
		sodium_memzero(remote->static_static, sizeof(remote->static_static));
	return err;
}

void noise_remote_wipe(struct noise_remote *remote)
{
	sodium_memzero(remote, sizeof(*remote));
}

void noise_handshake_clear(struct noise_handshake *hs)
{
	sodium_memzero(hs, offsetof(struct noise_handshake, latest_timestamp));
}

/* The steps of section 5.4.2. Writes *msg, and sets *s to the state after the message. */
static int write_initiation(struct symmetric *s, const struct noise_identity *id,
			    const struct noise_remote *remote,
			    const uint8_t timestamp[WG_TIMESTAMP_LEN],
			    const uint8_t ephemeral[WG_KEY_LEN],
			    struct wg_initiation *msg)
{
	int err;

	symmetric_init(s, remote->public_key);
	crypto_scalarmult_base(msg->ephemeral, ephemeral);
	mix_ephemeral(s, msg->ephemeral);
	err = mix_dh_with_key(s, ephemeral, remote->public_key);
	if (err)
		return err;
	encrypt_and_hash(s, msg->encrypted_static, id->public_key, WG_KEY_LEN);
	mix_key(s, remote->static_static);
	encrypt_and_hash(s, msg->encrypted_timestamp, timestamp, WG_TIMESTAMP_LEN);
	return 0;
}

int noise_create_initiation_with(struct noise_handshake *hs,
				 const struct noise_identity *id,
				 const struct noise_remote *remote,
				 const uint8_t timestamp[WG_TIMESTAMP_LEN],
				 uint32_t local_index,
				 const uint8_t ephemeral[WG_KEY_LEN],
				 struct wg_initiation *out)
{
	struct symmetric s;
	int err = -ENOKEY;

	memset(out, 0, sizeof(*out));
	if (id->set && remote->valid)
		err = write_initiation(&s, id, remote, timestamp, ephemeral, out);
	if (err) {
		memset(out, 0, sizeof(*out));
		goto wipe;
	}
	out->type = blake2s_le32(WG_INITIATION);
	out->sender = local_index;

	noise_handshake_clear(hs);
	symmetric_store(&s, hs);
	memcpy(hs->ephemeral_private, ephemeral, WG_KEY_LEN);
	hs->local_index = local_index;
	hs->state = NOISE_INITIATION_CREATED;
wipe:
	sodium_memzero(&s, sizeof(s));
	return err;
}

int noise_create_initiation(struct noise_handshake *hs, const struct noise_identity *id,
			    const struct noise_remote *remote,
			    const uint8_t timestamp[WG_TIMESTAMP_LEN],
			    uint32_t local_index, struct wg_initiation *out)
{
	uint8_t ephemeral[WG_KEY_LEN];
	int err;

	randombytes_buf(ephemeral, sizeof(ephemeral));
	err = noise_create_initiation_with(hs, id, remote, timestamp, local_index,
					   ephemeral, out);
	sodium_memzero(ephemeral, sizeof(ephemeral));
	return err;
}

int noise_open_initiation(const struct noise_identity *id,
			  const struct wg_initiation *msg, struct noise_peek *out)
{
	struct symmetric s;
	int err = -ENOKEY;

	if (!id->set)
		goto wipe;
	symmetric_init(&s, id->public_key);
	mix_ephemeral(&s, msg->ephemeral);
	err = mix_dh_with_key(&s, id->private_key, msg->ephemeral);
	if (err)
		goto wipe;
	err = decrypt_and_hash(&s, out->remote_static, msg->encrypted_static, WG_KEY_LEN);
	if (err)
		goto wipe;
	memcpy(out->hash, s.h, sizeof(out->hash));
	memcpy(out->chaining_key, s.ck, sizeof(out->chaining_key));
wipe:
	if (err)
		sodium_memzero(out, sizeof(*out));
	sodium_memzero(&s, sizeof(s));
	return err;
}

/* Returns 0 if an initiation with this authentic timestamp may be answered, -ESTALE
 * if it is a replay, -EBUSY if it came too soon after the one before. The first one
 * is never too soon. */
static int check_freshness(const struct noise_handshake *hs,
			   const uint8_t timestamp[WG_TIMESTAMP_LEN], uint64_t now)
{
	if (memcmp(timestamp, hs->latest_timestamp, WG_TIMESTAMP_LEN) <= 0)
		return -ESTALE;
	if (hs->last_initiation && now < hs->last_initiation + INITIATION_INTERVAL)
		return -EBUSY;
	return 0;
}

int noise_consume_initiation(struct noise_handshake *hs,
			     const struct noise_remote *remote,
			     const struct noise_peek *peek,
			     const struct wg_initiation *msg, uint64_t now)
{
	uint8_t timestamp[WG_TIMESTAMP_LEN];
	struct symmetric s;
	int err = -ENOKEY;

	if (!remote->valid)
		goto wipe;
	err = -EBADMSG;
	if (sodium_memcmp(peek->remote_static, remote->public_key, WG_KEY_LEN))
		goto wipe;
	memcpy(s.ck, peek->chaining_key, sizeof(s.ck));
	memcpy(s.h, peek->hash, sizeof(s.h));
	mix_key(&s, remote->static_static);
	err = decrypt_and_hash(&s, timestamp, msg->encrypted_timestamp, WG_TIMESTAMP_LEN);
	if (err)
		goto wipe;
	err = check_freshness(hs, timestamp, now);
	if (err)
		goto wipe;

	noise_handshake_clear(hs);
	symmetric_store(&s, hs);
	memcpy(hs->remote_ephemeral, msg->ephemeral, WG_KEY_LEN);
	memcpy(hs->latest_timestamp, timestamp, WG_TIMESTAMP_LEN);
	hs->last_initiation = now;
	hs->remote_index = msg->sender;
	hs->state = NOISE_INITIATION_CONSUMED;
wipe:
	sodium_memzero(&s, sizeof(s));
	sodium_memzero(timestamp, sizeof(timestamp));
	return err;
}

/* The steps of section 5.4.3. Writes *msg, and sets *s to the state after the message. */
static int write_response(struct symmetric *s, const struct noise_handshake *hs,
			  const struct noise_remote *remote,
			  const uint8_t ephemeral[WG_KEY_LEN], struct wg_response *msg)
{
	int err;

	symmetric_load(s, hs);
	crypto_scalarmult_base(msg->ephemeral, ephemeral);
	mix_ephemeral(s, msg->ephemeral);
	err = mix_dh(s, ephemeral, hs->remote_ephemeral);
	if (err)
		return err;
	err = mix_dh(s, ephemeral, remote->public_key);
	if (err)
		return err;
	mix_psk(s, remote->psk);
	encrypt_and_hash(s, msg->encrypted_nothing, NULL, 0);
	return 0;
}

int noise_create_response_with(struct noise_handshake *hs,
			       const struct noise_remote *remote, uint32_t local_index,
			       const uint8_t ephemeral[WG_KEY_LEN],
			       struct wg_response *out)
{
	struct symmetric s;
	int err = -EINVAL;

	memset(out, 0, sizeof(*out));
	if (hs->state == NOISE_INITIATION_CONSUMED)
		err = write_response(&s, hs, remote, ephemeral, out);
	if (err) {
		memset(out, 0, sizeof(*out));
		goto wipe;
	}
	out->type = blake2s_le32(WG_RESPONSE);
	out->sender = local_index;
	out->receiver = hs->remote_index;

	symmetric_store(&s, hs);
	hs->local_index = local_index;
	hs->state = NOISE_RESPONSE_CREATED;
wipe:
	sodium_memzero(&s, sizeof(s));
	return err;
}

int noise_create_response(struct noise_handshake *hs, const struct noise_remote *remote,
			  uint32_t local_index, struct wg_response *out)
{
	uint8_t ephemeral[WG_KEY_LEN];
	int err;

	randombytes_buf(ephemeral, sizeof(ephemeral));
	err = noise_create_response_with(hs, remote, local_index, ephemeral, out);
	sodium_memzero(ephemeral, sizeof(ephemeral));
	return err;
}

static int read_response(struct symmetric *s, const struct noise_handshake *hs,
			 const struct noise_identity *id,
			 const struct noise_remote *remote, const struct wg_response *msg)
{
	uint8_t nothing[1]; /* the AEAD needs an address even for zero bytes */
	int err;

	symmetric_load(s, hs);
	mix_ephemeral(s, msg->ephemeral);
	err = mix_dh(s, hs->ephemeral_private, msg->ephemeral);
	if (err)
		return err;
	err = mix_dh(s, id->private_key, msg->ephemeral);
	if (err)
		return err;
	mix_psk(s, remote->psk);
	return decrypt_and_hash(s, nothing, msg->encrypted_nothing, 0);
}

int noise_consume_response(struct noise_handshake *hs, const struct noise_identity *id,
			   const struct noise_remote *remote,
			   const struct wg_response *msg)
{
	struct symmetric s;
	int err;

	if (hs->state != NOISE_INITIATION_CREATED || msg->receiver != hs->local_index)
		return -ENOENT;
	if (!id->set)
		return -ENOKEY;
	err = read_response(&s, hs, id, remote, msg);
	if (err)
		goto wipe;

	symmetric_store(&s, hs);
	memcpy(hs->remote_ephemeral, msg->ephemeral, WG_KEY_LEN);
	hs->remote_index = msg->sender;
	hs->state = NOISE_RESPONSE_CONSUMED;
wipe:
	sodium_memzero(&s, sizeof(s));
	return err;
}

int noise_derive_keys(struct noise_handshake *hs, struct noise_keys *out)
{
	memset(out, 0, sizeof(*out));
	if (hs->state == NOISE_RESPONSE_CONSUMED) {
		out->initiator = true;
		noise_kdf(out->send, out->receive, NULL, hs->chaining_key, NULL, 0);
	} else if (hs->state == NOISE_RESPONSE_CREATED) {
		noise_kdf(out->receive, out->send, NULL, hs->chaining_key, NULL, 0);
	} else {
		return -EINVAL;
	}
	out->local_index = hs->local_index;
	out->remote_index = hs->remote_index;
	noise_handshake_clear(hs);
	return 0;
}

void tai64n_format(uint64_t unix_seconds, uint32_t nanoseconds,
		   uint8_t out[WG_TIMESTAMP_LEN])
{
	uint64_t seconds = (1ULL << 62) + 10 + unix_seconds;
	uint32_t coarse = nanoseconds & ~(TAI64N_COARSE - 1);
	int i;

	for (i = 0; i < 8; i++)
		out[i] = seconds >> (56 - 8 * i);
	for (i = 0; i < 4; i++)
		out[8 + i] = coarse >> (24 - 8 * i);
}
