/* SPDX-License-Identifier: MIT */
/*
 * The handshake of WireGuard: Noise_IKpsk2 with X25519, ChaCha20-Poly1305 and
 * BLAKE2s (whitepaper section 5.4). These functions turn bytes into bytes. They use no
 * socket, no clock and no peer table, and they leave the macs to cookie.h.
 *
 * Keys are 32 bytes. Times are in nanoseconds of a monotonic clock. Message structs
 * are those of wg_proto.h; sender and receiver indices are copied as they are on the
 * wire. The caller has checked the type, length and macs of a message.
 *
 * Nothing here is shared between threads, and nothing allocates memory. sodium_init()
 * must have succeeded. A function that fails zeroes its outputs and changes nothing
 * else.
 */
#ifndef NOISE_H
#define NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wg_proto.h"

/* More initiations per second than this from one peer are a flood. */
#define NOISE_INITIATIONS_PER_SECOND 50

/* Our static key pair. */
struct noise_identity {
	uint8_t private_key[WG_KEY_LEN];
	uint8_t public_key[WG_KEY_LEN];
	bool set;
};

/*
 * A peer as the handshake sees it. static_static is the DH of both static keys. valid
 * is true if it could be computed. It cannot be computed if we have no key, or if the
 * peer's public key is a point of low order.
 */
struct noise_remote {
	uint8_t public_key[WG_KEY_LEN];
	uint8_t psk[WG_KEY_LEN]; /* all zero: none */
	uint8_t static_static[WG_KEY_LEN];
	bool valid;
};

enum noise_state {
	NOISE_IDLE = 0,
	NOISE_INITIATION_CREATED,
	NOISE_INITIATION_CONSUMED,
	NOISE_RESPONSE_CREATED,
	NOISE_RESPONSE_CONSUMED,
};

/*
 * One handshake with one peer, in either role. A later message replaces the handshake
 * of an earlier one. A caller may keep two of these per peer, one per role, so that
 * initiations that cross on the wire do not cancel each other. A zeroed struct is
 * ready for use.
 */
struct noise_handshake {
	enum noise_state state;
	uint32_t local_index;
	uint32_t remote_index;
	uint8_t ephemeral_private[WG_KEY_LEN];
	uint8_t remote_ephemeral[WG_KEY_LEN];
	uint8_t hash[WG_KEY_LEN];
	uint8_t chaining_key[WG_KEY_LEN];

	/* About the initiations consumed so far; noise_handshake_clear() keeps these. */
	uint8_t latest_timestamp[WG_TIMESTAMP_LEN];
	uint64_t last_initiation; /* 0: none yet */
};

/* What our own key can read from an initiation, before the peer is looked up. */
struct noise_peek {
	uint8_t remote_static[WG_KEY_LEN];
	uint8_t hash[WG_KEY_LEN];
	uint8_t chaining_key[WG_KEY_LEN];
};

/* The two keys of a session (section 5.4.5). The caller wipes the struct. */
struct noise_keys {
	uint8_t send[WG_KEY_LEN];
	uint8_t receive[WG_KEY_LEN];
	uint32_t local_index;
	uint32_t remote_index;
	bool initiator;
};

/*
 * Copies and clamps a private key, and computes the public key. An all-zero key unsets
 * the identity. Returns 0. Afterwards the caller must precompute every remote again
 * and clear every handshake.
 */
int noise_identity_set(struct noise_identity *id, const uint8_t private_key[WG_KEY_LEN]);
void noise_identity_wipe(struct noise_identity *id);

/* Sets the public key. The remote has no PSK and is not valid yet. */
void noise_remote_init(struct noise_remote *remote, const uint8_t public_key[WG_KEY_LEN]);

/*
 * Computes static_static. Returns 0, -ENOKEY if the identity is unset, or -EBADMSG if
 * the result is all zero. After an error the remote is not valid.
 */
int noise_remote_precompute(struct noise_remote *remote, const struct noise_identity *id);
void noise_remote_wipe(struct noise_remote *remote);

/* Wipes everything except latest_timestamp and last_initiation. */
void noise_handshake_clear(struct noise_handshake *hs);

/*
 * Creates the first message, from initiator to responder (section 5.4.2), and restarts
 * the handshake. timestamp must be greater than that of any initiation sent to this
 * peer before. The macs in *out stay zero. Returns 0, -ENOKEY if the identity is unset
 * or the remote is not valid, or -EBADMSG if the peer's key gives an all-zero DH
 * result.
 */
int noise_create_initiation(struct noise_handshake *hs, const struct noise_identity *id,
			    const struct noise_remote *remote,
			    const uint8_t timestamp[WG_TIMESTAMP_LEN],
			    uint32_t local_index, struct wg_initiation *out);

/* The same with a given ephemeral private key, which must be used only once. */
int noise_create_initiation_with(struct noise_handshake *hs,
				 const struct noise_identity *id,
				 const struct noise_remote *remote,
				 const uint8_t timestamp[WG_TIMESTAMP_LEN],
				 uint32_t local_index,
				 const uint8_t ephemeral[WG_KEY_LEN],
				 struct wg_initiation *out);

/*
 * Reads the static key that an initiation claims to come from, so that the caller can
 * look up the peer. The claim is not proven until noise_consume_initiation() returns
 * 0: anybody who knows our public key can make it. Returns 0, -ENOKEY if the identity
 * is unset, or -EBADMSG if the message is malformed. The caller wipes *out.
 */
int noise_open_initiation(const struct noise_identity *id,
			  const struct wg_initiation *msg, struct noise_peek *out);

/*
 * Consumes an initiation of the peer that noise_open_initiation() found. Returns
 *   0         if it is authentic and new: a response may be created,
 *   -ENOKEY   if the remote is not valid,
 *   -EBADMSG  if it is not authentic,
 *   -ESTALE   if its timestamp is not greater than the greatest seen: it is a replay
 *             (section 5.1),
 *   -EBUSY    if it came sooner than 1/50 s after the one before.
 */
int noise_consume_initiation(struct noise_handshake *hs,
			     const struct noise_remote *remote,
			     const struct noise_peek *peek,
			     const struct wg_initiation *msg, uint64_t now);

/*
 * Creates the second message, from responder to initiator (section 5.4.3). The macs in
 * *out stay zero. Returns 0, -EINVAL if no initiation was consumed, or -EBADMSG if the
 * initiator's keys give an all-zero DH result.
 */
int noise_create_response(struct noise_handshake *hs, const struct noise_remote *remote,
			  uint32_t local_index, struct wg_response *out);

/* The same with a given ephemeral private key, which must be used only once. */
int noise_create_response_with(struct noise_handshake *hs,
			       const struct noise_remote *remote, uint32_t local_index,
			       const uint8_t ephemeral[WG_KEY_LEN],
			       struct wg_response *out);

/*
 * Consumes a response to our initiation. Returns 0, -ENOENT if no response is awaited
 * or the receiver index is not that of our initiation, -ENOKEY if the identity is
 * unset, or -EBADMSG if it is not authentic. After an error the right response is
 * still accepted.
 */
int noise_consume_response(struct noise_handshake *hs, const struct noise_identity *id,
			   const struct noise_remote *remote,
			   const struct wg_response *msg);

/*
 * Derives the session keys after a response was created or consumed. Clears the
 * handshake, so that it hands out the keys only once. Returns 0, or -EINVAL in any
 * other state.
 */
int noise_derive_keys(struct noise_handshake *hs, struct noise_keys *out);

/*
 * Writes a TAI64N label: seconds since 1970 plus 2^62 + 10, then nanoseconds, both
 * big-endian. Nanoseconds are rounded down to a multiple of 2^24 (17 ms), so that
 * initiations do not reveal a precise clock.
 */
void tai64n_format(uint64_t unix_seconds, uint32_t nanoseconds,
		   uint8_t out[WG_TIMESTAMP_LEN]);

/* HMAC (RFC 2104) with BLAKE2s, for any key length. out may overlap key and data. */
void noise_hmac(uint8_t out[WG_KEY_LEN], const void *key, size_t keylen, const void *data,
		size_t len);

/*
 * KDF1, KDF2 and KDF3 of section 5.4. Computes the outputs before the first one that is
 * NULL. An output may be the same buffer as the key or the input.
 */
void noise_kdf(uint8_t *first, uint8_t *second, uint8_t *third,
	       const uint8_t key[WG_KEY_LEN], const void *input, size_t len);

#endif
