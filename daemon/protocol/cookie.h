/* SPDX-License-Identifier: MIT */
/*
 * The two macs of handshake messages, and cookie replies (whitepaper sections 5.3,
 * 5.4.4, 5.4.7).
 *
 * `msg` is a struct wg_initiation or wg_response, whose last 32 bytes are the macs;
 * `len` is its size in bytes. `now` is in nanoseconds of a monotonic clock. A struct
 * belongs to one thread. sodium_init() must have succeeded.
 */
#ifndef COOKIE_H
#define COOKIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"
#include "wg_proto.h"

/* Checks the macs of messages that we receive: one per interface. */
struct cookie_checker {
	uint8_t mac1_key[WG_KEY_LEN];
	uint8_t cookie_key[WG_KEY_LEN];
	uint8_t secret[WG_KEY_LEN];
	uint64_t secret_time;
	bool have_secret;
};

/* Makes the macs of messages that we send: one per peer. */
struct cookie_maker {
	uint8_t mac1_key[WG_KEY_LEN];
	uint8_t cookie_key[WG_KEY_LEN];
	uint8_t cookie[WG_MAC_LEN];
	uint64_t cookie_time;
	bool have_cookie;
	uint8_t last_mac1[WG_MAC_LEN];
	bool awaiting_reply;
};

enum cookie_verdict {
	COOKIE_BAD_MAC1, /* drop the message */
	COOKIE_MAC1_OK,	 /* the sender knows our public key; mac2 is absent or wrong */
	COOKIE_MAC2_OK,	 /* the sender also receives at its source address */
};

/* Call it again after our key changed. It makes all cookies given before void. */
void cookie_checker_init(struct cookie_checker *checker,
			 const uint8_t our_public_key[WG_KEY_LEN]);
void cookie_checker_wipe(struct cookie_checker *checker);

/* Returns true if the sender knows the public key that mac1_key was made of, false if
 * not or if len is too short for macs. Any thread. */
bool cookie_mac1_right(const uint8_t mac1_key[WG_KEY_LEN], const void *msg, size_t len);

/* Returns COOKIE_BAD_MAC1 also if len is too short. src_port is in host order. */
enum cookie_verdict cookie_check(const struct cookie_checker *checker, const void *msg,
				 size_t len, const struct ip_addr *src, uint16_t src_port,
				 uint64_t now);

/*
 * Makes the cookie reply to a message whose mac1 is right, with a cookie for its
 * source. Replaces the secret that cookies are made of if it is two minutes old.
 * sender_index is the message's, as on the wire; src_port is in host order. Returns
 * 0, or -EINVAL if len is too short for macs.
 */
int cookie_reply_create(struct cookie_checker *checker, const void *msg, size_t len,
			uint32_t sender_index, const struct ip_addr *src,
			uint16_t src_port, uint64_t now, struct wg_cookie_reply *out);

void cookie_maker_init(struct cookie_maker *maker,
		       const uint8_t peer_public_key[WG_KEY_LEN]);
void cookie_maker_wipe(struct cookie_maker *maker);

/*
 * Fills in the macs of a message that is otherwise complete. mac2 is zero unless the
 * maker has a cookie younger than two minutes. len must be that of a handshake
 * message.
 */
void cookie_maker_add_macs(struct cookie_maker *maker, void *msg, size_t len,
			   uint64_t now);

/*
 * Takes the cookie out of a reply whose receiver index is one of ours for this peer.
 * Returns 0, -ENOENT if no message of ours awaits a reply (each message gets at most
 * one), or -EBADMSG if the reply is not authentic or does not answer the latest
 * message. After an error the maker is unchanged.
 */
int cookie_maker_consume_reply(struct cookie_maker *maker,
			       const struct wg_cookie_reply *reply, uint64_t now);

#endif
