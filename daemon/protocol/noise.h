/* SPDX-License-Identifier: MIT */
/*
 * The handshake of WireGuard: Noise_IKpsk2 with X25519, ChaCha20-Poly1305 and
 * BLAKE2s (whitepaper section 5.4). Bytes in, bytes out: no socket, no clock, no
 * peer table, no macs (those are in cookie.h).
 *
 * Keys are 32 bytes. Times are nanoseconds of a monotonic clock, passed in. Message
 * structs are those of wg_proto.h; sender and receiver indices are copied as they
 * are on the wire. The caller has checked a message's type, length and macs.
 *
 * Nothing here is shared between threads or allocates memory; sodium_init() must
 * have succeeded before. Functions that fail change none of their structs but
 * outputs, which are then zeroed.
 */
#ifndef NOISE_H
#define NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wg_proto.h"

/* More than this many initiations a second of one peer are a flood. */
#define NOISE_INITIATIONS_PER_SECOND 50

/* Our static key pair. */
struct noise_identity {
	uint8_t private_key[WG_KEY_LEN];
	uint8_t public_key[WG_KEY_LEN];
	bool set;
};

/*
 * A peer as the handshake sees it. static_static is DH of both static keys; valid
 * says that it could be computed: it could not if we have no key, or if the peer's
 * public key is a point of low order.
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
 * One handshake with one peer, in either role; the later message wins. (A caller
 * may keep two of these for a peer, one for each role: then initiations that cross
 * on the wire do not cancel each other.) A zeroed struct is ready for use.
 */
struct noise_handshake {
	enum noise_state state;
	uint32_t local_index;
	uint32_t remote_index;
	uint8_t ephemeral_private[WG_KEY_LEN];
	uint8_t remote_ephemeral[WG_KEY_LEN];
	uint8_t hash[WG_KEY_LEN];
	uint8_t chaining_key[WG_KEY_LEN];

	/* Of the initiations consumed so far; these survive noise_handshake_clear(). */
	uint8_t latest_timestamp[WG_TIMESTAMP_LEN];
	uint64_t last_initiation; /* 0: none yet */
};

/* What an initiation says before it is known who the sender is. */
struct noise_peek {
	uint8_t remote_static[WG_KEY_LEN];
	uint8_t hash[WG_KEY_LEN];
	uint8_t chaining_key[WG_KEY_LEN];
};

/* The two keys of a session (section 5.4.5). The owner wipes it. */
struct noise_keys {
	uint8_t send[WG_KEY_LEN];
	uint8_t receive[WG_KEY_LEN];
	uint32_t local_index;
	uint32_t remote_index;
	bool initiator;
};

/*
 * Take a private key, clamp it and compute the public key. An all-zero key unsets
 * the identity. Returns 0. Every remote must be precomputed again and every
 * handshake cleared afterwards.
 */
int noise_identity_set(struct noise_identity *id, const uint8_t private_key[WG_KEY_LEN]);
void noise_identity_wipe(struct noise_identity *id);

/* A peer by its public key, without PSK and not yet valid. */
void noise_remote_init(struct noise_remote *remote, const uint8_t public_key[WG_KEY_LEN]);

/*
 * Compute static_static. Returns 0, -ENOKEY if the identity is unset, -EBADMSG if
 * the result is all zero; with an error the remote is no longer valid.
 */
int noise_remote_precompute(struct noise_remote *remote, const struct noise_identity *id);
void noise_remote_wipe(struct noise_remote *remote);

/* Wipe all but latest_timestamp and last_initiation. */
void noise_handshake_clear(struct noise_handshake *hs);

/*
 * First message, initiator to responder (section 5.4.2), which starts the handshake
 * anew. timestamp must be greater than that of any initiation sent to this peer
 * before. The macs in *out stay zero. Returns 0, -ENOKEY without identity or valid
 * remote, -EBADMSG if the peer's key gives an all-zero DH result.
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
 * Find out which static key an initiation claims to come from; the caller looks
 * the peer up. Until noise_consume_initiation() agrees it is only a claim: anybody
 * who knows our public key can make one. Returns 0, -ENOKEY without identity,
 * -EBADMSG if the message is malformed. The caller wipes *out.
 */
int noise_open_initiation(const struct noise_identity *id,
			  const struct wg_initiation *msg, struct noise_peek *out);

/*
 * Take an initiation of the peer that noise_open_initiation() found. Returns
 *   0         authentic and new: a response may be created,
 *   -ENOKEY   remote not valid,
 *   -EBADMSG  not authentic,
 *   -ESTALE   timestamp not greater than the greatest seen: a replay (section 5.1),
 *   -EBUSY    sooner than 1/50 s after the one before.
 */
int noise_consume_initiation(struct noise_handshake *hs,
			     const struct noise_remote *remote,
			     const struct noise_peek *peek,
			     const struct wg_initiation *msg, uint64_t now);

/*
 * Second message, responder to initiator (section 5.4.3). The macs in *out stay
 * zero. Returns 0, -EINVAL if no initiation was consumed, -EBADMSG if the
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
 * Take a response to our initiation. Returns 0, -ENOENT if none is awaited or the
 * receiver index is not that of our initiation, -ENOKEY without identity, -EBADMSG
 * if it is not authentic. After an error the right response is still welcome.
 */
int noise_consume_response(struct noise_handshake *hs, const struct noise_identity *id,
			   const struct noise_remote *remote,
			   const struct wg_response *msg);

/*
 * The session keys, once a response was created or consumed; clears the handshake,
 * so that they are handed out once. Returns 0, or -EINVAL in any other state.
 */
int noise_derive_keys(struct noise_handshake *hs, struct noise_keys *out);

/*
 * A TAI64N label: seconds since 1970 plus 2^62 + 10, then nanoseconds, big-endian.
 * Nanoseconds are rounded down to a multiple of 2^24 (17 ms), so that initiations
 * do not publish a fine clock.
 */
void tai64n_format(uint64_t unix_seconds, uint32_t nanoseconds,
		   uint8_t out[WG_TIMESTAMP_LEN]);

/* HMAC (RFC 2104) over BLAKE2s; any key length. out may overlap key and data. */
void noise_hmac(uint8_t out[WG_KEY_LEN], const void *key, size_t keylen, const void *data,
		size_t len);

/*
 * KDF1, KDF2, KDF3 of section 5.4: as many outputs as are not NULL, from the first
 * on. Outputs may be the key or the input.
 */
void noise_kdf(uint8_t *first, uint8_t *second, uint8_t *third,
	       const uint8_t key[WG_KEY_LEN], const void *input, size_t len);

#endif
