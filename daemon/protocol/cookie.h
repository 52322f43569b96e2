/* SPDX-License-Identifier: MIT */
/*
 * The two macs of handshake messages and cookie replies (whitepaper sections 5.3,
 * 5.4.4, 5.4.7).
 *
 * A message is a struct wg_initiation or wg_response, whose last 32 bytes are the
 * macs, and len its size in bytes. Times are nanoseconds of a monotonic clock,
 * passed in. A struct belongs to one thread; sodium_init() must have succeeded.
 */
#ifndef COOKIE_H
#define COOKIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"
#include "wg_proto.h"

/* How we check others' messages: one for an interface. */
struct cookie_checker {
	uint8_t mac1_key[WG_KEY_LEN];
	uint8_t cookie_key[WG_KEY_LEN];
	uint8_t secret[WG_KEY_LEN];
	uint64_t secret_time;
	bool have_secret;
};

/* How we make macs for a peer: one for each peer. */
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
	COOKIE_BAD_MAC1, /* drop it */
	COOKIE_MAC1_OK,	 /* the sender knows our public key; mac2 is absent or wrong */
	COOKIE_MAC2_OK,	 /* and it receives at the address that it writes from */
};

/* Also after our key changed; cookies given before then are void. */
void cookie_checker_init(struct cookie_checker *checker,
			 const uint8_t our_public_key[WG_KEY_LEN]);
void cookie_checker_wipe(struct cookie_checker *checker);

/* Whether the sender knows the public key that mac1_key was made of. False if len is too short
 * for macs. Any thread. */
bool cookie_mac1_right(const uint8_t mac1_key[WG_KEY_LEN], const void *msg, size_t len);

/* src_port in host order. A length too short for macs is COOKIE_BAD_MAC1. */
enum cookie_verdict cookie_check(const struct cookie_checker *checker, const void *msg,
				 size_t len, const struct ip_addr *src, uint16_t src_port,
				 uint64_t now);

/*
 * Answer a message whose mac1 is right with a cookie for its source. sender_index
 * is the message's, as on the wire. The secret that cookies are made of changes
 * when it is two minutes old. Returns 0, or -EINVAL if len is too short for macs.
 */
int cookie_reply_create(struct cookie_checker *checker, const void *msg, size_t len,
			uint32_t sender_index, const struct ip_addr *src,
			uint16_t src_port, uint64_t now, struct wg_cookie_reply *out);

void cookie_maker_init(struct cookie_maker *maker,
		       const uint8_t peer_public_key[WG_KEY_LEN]);
void cookie_maker_wipe(struct cookie_maker *maker);

/*
 * Fill in the macs of a message that is otherwise complete: mac1, and mac2 while
 * there is a cookie younger than two minutes, else zeros. len must be that of a
 * handshake message.
 */
void cookie_maker_add_macs(struct cookie_maker *maker, void *msg, size_t len,
			   uint64_t now);

/*
 * Take a cookie reply that carries an index of ours for this peer. Returns 0,
 * -ENOENT if no message of ours awaits one (each gets at most one), -EBADMSG if it
 * is not authentic or not for the latest message; then it changes nothing.
 */
int cookie_maker_consume_reply(struct cookie_maker *maker,
			       const struct wg_cookie_reply *reply, uint64_t now);

#endif
