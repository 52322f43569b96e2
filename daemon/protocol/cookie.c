// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * mac1 is keyed with a hash of the receiver's public key. A sender that does not know
 * that key gets no answer, and costs the receiver one hash.
 *
 * Under load the receiver answers with a cookie: a MAC of the sender's address under
 * a secret that the receiver changes every two minutes. So the receiver stores
 * nothing per sender. The cookie is encrypted under another hash of the receiver's
 * public key, with the message's mac1 as associated data. So only somebody who sent
 * or saw the message can read the cookie. The sender keys the mac2 of its next
 * message with the cookie, which proves that it received the cookie.
 *
 * After a cookie reply that does not decrypt, the maker still waits for one. So forged
 * replies cannot lock out the right one.
 */
#include "cookie.h"

#include <errno.h>
#include <sodium.h>

#include "blake2s.h"
#include "nanoseconds.h"

#define LABEL_MAC1   "mac1----"
#define LABEL_COOKIE "cookie--"

#define COOKIE_LIFETIME (WG_COOKIE_LIFETIME * NS_PER_SEC)
#define MACS_LEN	(2 * WG_MAC_LEN)

_Static_assert(WG_COOKIE_NONCE_LEN == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
	       "cookie nonce is XChaCha20's");

static void label_key(uint8_t out[WG_KEY_LEN], const char *label,
		      const uint8_t public_key[WG_KEY_LEN])
{
	struct blake2s_state s;

	blake2s_init(&s, WG_KEY_LEN);
	blake2s_update(&s, label, strlen(label));
	blake2s_update(&s, public_key, WG_KEY_LEN);
	blake2s_final(&s, out);
}

static void mac(uint8_t out[WG_MAC_LEN], const void *key, size_t keylen, const void *data,
		size_t len)
{
	blake2s(out, WG_MAC_LEN, data, len, key, keylen);
}

static bool is_fresh(uint64_t since, uint64_t now)
{
	return now < since + COOKIE_LIFETIME;
}

static void make_cookie(const struct cookie_checker *checker, const struct ip_addr *src,
			uint16_t src_port, uint8_t out[WG_MAC_LEN])
{
	const uint8_t port[] = {src_port >> 8, src_port & 0xff};
	struct blake2s_state s;

	blake2s_init_key(&s, WG_MAC_LEN, checker->secret, sizeof(checker->secret));
	blake2s_update(&s, src->bytes, ip_addr_len(src));
	blake2s_update(&s, port, sizeof(port));
	blake2s_final(&s, out);
}

void cookie_checker_init(struct cookie_checker *checker,
			 const uint8_t our_public_key[WG_KEY_LEN])
{
	cookie_checker_wipe(checker);
	label_key(checker->mac1_key, LABEL_MAC1, our_public_key);
	label_key(checker->cookie_key, LABEL_COOKIE, our_public_key);
}

void cookie_checker_wipe(struct cookie_checker *checker)
{
	sodium_memzero(checker, sizeof(*checker));
}

bool cookie_mac1_right(const uint8_t mac1_key[WG_KEY_LEN], const void *msg, size_t len)
{
	const size_t covered = len - MACS_LEN;
	uint8_t mac1[WG_MAC_LEN];

	if (len < MACS_LEN)
		return false;
	mac(mac1, mac1_key, WG_KEY_LEN, msg, covered);
	return !sodium_memcmp(mac1, (const uint8_t *)msg + covered, WG_MAC_LEN);
}

static bool mac2_matches(const struct cookie_checker *checker, const uint8_t *msg,
			 size_t len, const struct ip_addr *src, uint16_t src_port)
{
	const size_t covered = len - WG_MAC_LEN;
	uint8_t cookie[WG_MAC_LEN], mac2[WG_MAC_LEN];
	bool match;

	make_cookie(checker, src, src_port, cookie);
	mac(mac2, cookie, sizeof(cookie), msg, covered);
	match = !sodium_memcmp(mac2, msg + covered, WG_MAC_LEN);
	sodium_memzero(cookie, sizeof(cookie));
	sodium_memzero(mac2, sizeof(mac2));
	return match;
}

enum cookie_verdict cookie_check(const struct cookie_checker *checker, const void *msg,
				 size_t len, const struct ip_addr *src, uint16_t src_port,
				 uint64_t now)
{
	if (!cookie_mac1_right(checker->mac1_key, msg, len))
		return COOKIE_BAD_MAC1;
	if (!checker->have_secret || !is_fresh(checker->secret_time, now))
		return COOKIE_MAC1_OK;
	return mac2_matches(checker, msg, len, src, src_port) ? COOKIE_MAC2_OK
							      : COOKIE_MAC1_OK;
}

static void renew_secret(struct cookie_checker *checker, uint64_t now)
{
	if (checker->have_secret && is_fresh(checker->secret_time, now))
		return;
	randombytes_buf(checker->secret, sizeof(checker->secret));
	checker->secret_time = now;
	checker->have_secret = true;
}

int cookie_reply_create(struct cookie_checker *checker, const void *msg, size_t len,
			uint32_t sender_index, const struct ip_addr *src,
			uint16_t src_port, uint64_t now, struct wg_cookie_reply *out)
{
	uint8_t cookie[WG_MAC_LEN];
	const uint8_t *mac1;

	if (len < MACS_LEN)
		return -EINVAL;
	mac1 = (const uint8_t *)msg + len - MACS_LEN;
	renew_secret(checker, now);
	make_cookie(checker, src, src_port, cookie);

	out->type = blake2s_le32(WG_COOKIE_REPLY);
	out->receiver = sender_index;
	randombytes_buf(out->nonce, sizeof(out->nonce));
	crypto_aead_xchacha20poly1305_ietf_encrypt(out->encrypted_cookie, NULL, cookie,
						   sizeof(cookie), mac1, WG_MAC_LEN, NULL,
						   out->nonce, checker->cookie_key);
	sodium_memzero(cookie, sizeof(cookie));
	return 0;
}

void cookie_maker_init(struct cookie_maker *maker,
		       const uint8_t peer_public_key[WG_KEY_LEN])
{
	cookie_maker_wipe(maker);
	label_key(maker->mac1_key, LABEL_MAC1, peer_public_key);
	label_key(maker->cookie_key, LABEL_COOKIE, peer_public_key);
}

void cookie_maker_wipe(struct cookie_maker *maker)
{
	sodium_memzero(maker, sizeof(*maker));
}

static void expire_cookie(struct cookie_maker *maker, uint64_t now)
{
	if (!maker->have_cookie || is_fresh(maker->cookie_time, now))
		return;
	sodium_memzero(maker->cookie, sizeof(maker->cookie));
	maker->have_cookie = false;
}

void cookie_maker_add_macs(struct cookie_maker *maker, void *msg, size_t len,
			   uint64_t now)
{
	uint8_t *mac1 = (uint8_t *)msg + len - MACS_LEN;
	uint8_t *mac2 = mac1 + WG_MAC_LEN;

	mac(mac1, maker->mac1_key, sizeof(maker->mac1_key), msg, len - MACS_LEN);
	memcpy(maker->last_mac1, mac1, WG_MAC_LEN);
	maker->awaiting_reply = true;

	expire_cookie(maker, now);
	if (maker->have_cookie)
		mac(mac2, maker->cookie, sizeof(maker->cookie), msg, len - WG_MAC_LEN);
	else
		memset(mac2, 0, WG_MAC_LEN);
}

int cookie_maker_consume_reply(struct cookie_maker *maker,
			       const struct wg_cookie_reply *reply, uint64_t now)
{
	uint8_t cookie[WG_MAC_LEN];
	int err = 0;

	if (!maker->awaiting_reply)
		return -ENOENT;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(
		    cookie, NULL, NULL, reply->encrypted_cookie,
		    sizeof(reply->encrypted_cookie), maker->last_mac1, WG_MAC_LEN,
		    reply->nonce, maker->cookie_key)) {
		err = -EBADMSG;
		goto wipe;
	}
	memcpy(maker->cookie, cookie, sizeof(cookie));
	maker->cookie_time = now;
	maker->have_cookie = true;
	maker->awaiting_reply = false;
wipe:
	sodium_memzero(cookie, sizeof(cookie));
	return err;
}
