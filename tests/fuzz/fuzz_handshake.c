// SPDX-License-Identifier: MIT
/*
 * Handshakes between two hosts that know each other (whitepaper section 5.4), with messages that
 * somebody changes on the way, changes and makes the macs right again, replays and reorders. What is
 * accepted was sent, and both ends then have the same keys.
 */
#include <endian.h>
#include <sodium.h>

#include "cookie.h"
#include "fuzz.h"
#include "noise.h"

#define STEPS 24 /* each is up to three Diffie-Hellman operations */

struct host {
	struct noise_identity identity;
	struct noise_remote remote; /* the other */
	struct noise_handshake handshake;
	struct cookie_checker checker;
	struct cookie_maker maker;
};

struct scene {
	struct host a, b;
	struct wg_initiation initiation, sent_initiation;
	struct wg_response response, sent_response;
	struct wg_cookie_reply reply;
	uint8_t ephemeral; /* the last one, which none may repeat */
	uint64_t now;
};

static void host_init(struct host *h, const struct noise_identity *identity,
		      const struct noise_identity *other)
{
	memset(h, 0, sizeof(*h));
	h->identity = *identity;
	noise_remote_init(&h->remote, other->public_key);
	CHECK(!noise_remote_precompute(&h->remote, &h->identity));
	cookie_checker_init(&h->checker, identity->public_key);
	cookie_maker_init(&h->maker, other->public_key);
}

static void scene_init(struct scene *s)
{
	static struct noise_identity ids[2];
	uint8_t key[WG_KEY_LEN];

	if (!ids[0].set) {
		CHECK(sodium_init() >= 0);
		for (int i = 0; i < 2; i++) {
			memset(key, i + 1, sizeof(key));
			CHECK(!noise_identity_set(&ids[i], key));
		}
	}
	memset(s, 0, sizeof(*s));
	s->now = 1000000000;
	host_init(&s->a, &ids[0], &ids[1]);
	host_init(&s->b, &ids[1], &ids[0]);
}

static void next_ephemeral(struct scene *s, uint8_t key[WG_KEY_LEN])
{
	memset(key, 0x42, WG_KEY_LEN);
	key[1] = s->ephemeral++;
}

static void a_initiates(struct scene *s)
{
	uint8_t timestamp[WG_TIMESTAMP_LEN], ephemeral[WG_KEY_LEN];

	next_ephemeral(s, ephemeral);
	tai64n_format(s->now / 1000000000, 0, timestamp);
	CHECK(!noise_create_initiation_with(&s->a.handshake, &s->a.identity, &s->a.remote,
					    timestamp, s->ephemeral, ephemeral,
					    &s->initiation));
	cookie_maker_add_macs(&s->a.maker, &s->initiation, sizeof(s->initiation), s->now);
	s->sent_initiation = s->initiation;
}

/* Returns true if what the handshake authenticates is what was sent: all but type, index, macs. */
static bool initiation_is_true(const struct scene *s)
{
	size_t from = offsetof(struct wg_initiation, ephemeral),
	       to = offsetof(struct wg_initiation, mac1);

	return !memcmp((const uint8_t *)&s->initiation + from,
		       (const uint8_t *)&s->sent_initiation + from, to - from);
}

static void b_consumes(struct scene *s)
{
	struct noise_peek peek;
	int ret = noise_open_initiation(&s->b.identity, &s->initiation, &peek);

	if (!ret)
		ret = noise_consume_initiation(&s->b.handshake, &s->b.remote, &peek,
					       &s->initiation, s->now);
	if (!ret)
		CHECK(initiation_is_true(s));
	sodium_memzero(&peek, sizeof(peek));
}

static void b_responds(struct scene *s)
{
	uint8_t ephemeral[WG_KEY_LEN];

	next_ephemeral(s, ephemeral);
	if (noise_create_response_with(&s->b.handshake, &s->b.remote, s->ephemeral,
				       ephemeral, &s->response))
		return;
	cookie_maker_add_macs(&s->b.maker, &s->response, sizeof(s->response), s->now);
	s->sent_response = s->response;
}

static bool response_is_true(const struct scene *s)
{
	size_t from = offsetof(struct wg_response, receiver),
	       to = offsetof(struct wg_response, mac1);

	return !memcmp((const uint8_t *)&s->response + from,
		       (const uint8_t *)&s->sent_response + from, to - from);
}

/* Both ends derive keys: what one sends by, the other receives by. */
static void a_consumes(struct scene *s)
{
	struct noise_keys a, b;

	if (noise_consume_response(&s->a.handshake, &s->a.identity, &s->a.remote,
				   &s->response))
		return;
	CHECK(response_is_true(s));
	CHECK(!noise_derive_keys(&s->a.handshake, &a));
	if (noise_derive_keys(&s->b.handshake, &b))
		return; /* B began another handshake since */
	if (b.local_index == s->response.sender)
		CHECK(!memcmp(a.send, b.receive, WG_KEY_LEN) &&
		      !memcmp(a.receive, b.send, WG_KEY_LEN));
}

static void b_sends_cookie(struct scene *s)
{
	struct ip_addr src = {IP_V4, {192, 0, 2, 1}};

	if (cookie_check(&s->b.checker, &s->initiation, sizeof(s->initiation), &src, 1,
			 s->now) != COOKIE_BAD_MAC1)
		CHECK(!cookie_reply_create(&s->b.checker, &s->initiation,
					   sizeof(s->initiation), s->initiation.sender,
					   &src, 1, s->now, &s->reply));
}

static void change(struct input *in, void *message, size_t len)
{
	size_t at = take8(in) % len;

	((uint8_t *)message)[at] ^= take8(in);
}

static void step(struct scene *s, struct input *in)
{
	struct cookie_maker macs;

	switch (take8(in) % 12) {
	case 0:
		a_initiates(s);
		break;
	case 1:
		b_consumes(s);
		break;
	case 2:
		b_responds(s);
		break;
	case 3:
		a_consumes(s);
		break;
	case 4:
		b_sends_cookie(s);
		break;
	case 5:
		cookie_maker_consume_reply(&s->a.maker, &s->reply, s->now);
		break;
	case 6:
		change(in, &s->initiation, sizeof(s->initiation));
		break;
	case 7:
		change(in, &s->response, sizeof(s->response));
		break;
	case 8:
		change(in, &s->reply, sizeof(s->reply));
		break;
	case 9: /* anybody who knows the public key can */
		cookie_maker_init(&macs, s->b.identity.public_key);
		cookie_maker_add_macs(&macs, &s->initiation, sizeof(s->initiation),
				      s->now);
		break;
	case 10:
		take(in, &s->initiation, sizeof(s->initiation));
		break;
	default:
		s->now += (uint64_t)take8(in) * 1000000000;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	struct scene s;

	scene_init(&s);
	for (unsigned i = 0; i < STEPS && in.left; i++)
		step(&s, &in);
	return 0;
}
