// SPDX-License-Identifier: MIT
#include "testutil.h"

#include <errno.h>
#include <sodium.h>

#include "blake2s.h"
#include "noise.h"
#include "transcript.h"

/* Printed by noise_transcript.py noise. */
static const uint8_t initiator_public[32] = {
	0x07, 0xa3, 0x7c, 0xbc, 0x14, 0x20, 0x93, 0xc8, 0xb7, 0x55, 0xdc,
	0x1b, 0x10, 0xe8, 0x6c, 0xb4, 0x26, 0x37, 0x4a, 0xd1, 0x6a, 0xa8,
	0x53, 0xed, 0x0b, 0xdf, 0xc0, 0xb2, 0xb8, 0x6d, 0x1c, 0x7c,
};

static const uint8_t plain_response[92] = {
	0x02, 0x00, 0x00, 0x00, 0x55, 0x66, 0x77, 0x88, 0x11, 0x22, 0x33, 0x44,
	0x3a, 0x55, 0x3d, 0x74, 0x79, 0x2d, 0x72, 0x7e, 0xfa, 0x9b, 0x9a, 0x4c,
	0xde, 0x3d, 0xa1, 0xad, 0x93, 0xf1, 0xa2, 0xd0, 0xc0, 0x9c, 0xb6, 0x39,
	0xb1, 0xa3, 0xc0, 0xfd, 0xa1, 0x4c, 0xbe, 0x24, 0xf6, 0x63, 0x9a, 0x5c,
	0x54, 0x3d, 0xc1, 0xba, 0xa0, 0xf2, 0x20, 0x3a, 0x9b, 0x68, 0xa0, 0xba,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};

static const uint8_t plain_first_key[32] = {
	0x68, 0xd9, 0xa7, 0x87, 0x7b, 0x38, 0x70, 0x87, 0xae, 0x50, 0xd6,
	0xba, 0x04, 0xdb, 0xd0, 0xf8, 0x06, 0x3e, 0xf1, 0x71, 0x04, 0xcb,
	0xe1, 0x81, 0xae, 0x30, 0x40, 0x7e, 0x32, 0xd8, 0x3d, 0xee,
};

static const uint8_t plain_second_key[32] = {
	0x81, 0xfa, 0xf1, 0x5f, 0x4c, 0x7b, 0xaf, 0xee, 0xac, 0x93, 0xed,
	0xf3, 0xa0, 0x74, 0x6b, 0x1c, 0x15, 0xbd, 0x06, 0xbf, 0xca, 0x5e,
	0xa9, 0x11, 0xd3, 0xab, 0xca, 0xf7, 0xc5, 0xb6, 0x36, 0x2a,
};

static const uint8_t psk_response[92] = {
	0x02, 0x00, 0x00, 0x00, 0x55, 0x66, 0x77, 0x88, 0x11, 0x22, 0x33, 0x44,
	0x3a, 0x55, 0x3d, 0x74, 0x79, 0x2d, 0x72, 0x7e, 0xfa, 0x9b, 0x9a, 0x4c,
	0xde, 0x3d, 0xa1, 0xad, 0x93, 0xf1, 0xa2, 0xd0, 0xc0, 0x9c, 0xb6, 0x39,
	0xb1, 0xa3, 0xc0, 0xfd, 0xa1, 0x4c, 0xbe, 0x24, 0x2b, 0xf6, 0xf2, 0x80,
	0x7e, 0x6a, 0xa8, 0xcf, 0x82, 0xc6, 0x38, 0x04, 0xa7, 0x89, 0xfd, 0x78,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};

static const uint8_t psk_first_key[32] = {
	0xaf, 0x08, 0x9b, 0xc0, 0x49, 0xcf, 0x78, 0x2a, 0x43, 0x7c, 0x0a,
	0x39, 0xad, 0x1f, 0x2d, 0xa9, 0x61, 0xe5, 0xed, 0xb6, 0x98, 0xc9,
	0x8b, 0x7a, 0x60, 0xca, 0x9e, 0x03, 0xed, 0x38, 0x78, 0x2f,
};

static const uint8_t psk_second_key[32] = {
	0x66, 0x68, 0x3a, 0x14, 0x03, 0x80, 0x5d, 0x00, 0xd3, 0x1a, 0xbf,
	0x0f, 0xe0, 0xa9, 0x87, 0x1d, 0x13, 0xfe, 0xcf, 0xe7, 0x4f, 0xc1,
	0xc2, 0x01, 0xb1, 0x26, 0x0c, 0xc2, 0x47, 0x4d, 0xec, 0x90,
};

static const uint8_t hmac_short_key[32] = {
	0xbb, 0xa8, 0xfa, 0x28, 0x70, 0x8a, 0xe8, 0x0d, 0x24, 0x9e, 0x31,
	0x73, 0x18, 0xc9, 0x5c, 0x85, 0x9f, 0x3f, 0x77, 0x51, 0x2b, 0xe2,
	0x39, 0x10, 0xd5, 0x09, 0x4d, 0x91, 0x10, 0x45, 0x4d, 0x6f,
};

static const uint8_t hmac_long_key[32] = {
	0xc4, 0xc9, 0x52, 0x71, 0x90, 0x5c, 0x6f, 0x69, 0xc1, 0xdd, 0x7c,
	0x6f, 0xbc, 0x0c, 0xb3, 0x73, 0x54, 0x57, 0xa6, 0x60, 0xcc, 0xc2,
	0xc4, 0x37, 0x0f, 0x28, 0x82, 0x5e, 0x7a, 0xbe, 0xf5, 0xaf,
};

static const uint8_t kdf_first[32] = {
	0x87, 0xb7, 0xf7, 0x0b, 0x24, 0x18, 0x3c, 0x6d, 0xb5, 0xdc, 0x4f,
	0x6d, 0x9f, 0x4c, 0x47, 0xcd, 0xb2, 0x03, 0x32, 0x1a, 0xa2, 0xa0,
	0xbe, 0xf7, 0x14, 0x89, 0x6a, 0xdb, 0x31, 0x07, 0xa0, 0x40,
};

static const uint8_t kdf_second[32] = {
	0x53, 0x8a, 0x02, 0xe1, 0xeb, 0x2e, 0x31, 0xb7, 0xe4, 0xd4, 0xb8,
	0x24, 0x76, 0xd1, 0xfe, 0x2a, 0xcf, 0x50, 0x08, 0x5d, 0x3f, 0xb5,
	0x84, 0x53, 0x72, 0x79, 0x19, 0x5f, 0x5d, 0x1f, 0x58, 0x24,
};

static const uint8_t kdf_third[32] = {
	0x9a, 0xd8, 0x58, 0x02, 0x55, 0x93, 0xbe, 0x88, 0xde, 0x0f, 0x94,
	0x42, 0xa5, 0x89, 0xcf, 0xe8, 0x4a, 0x88, 0xdc, 0x19, 0xe4, 0x75,
	0x3d, 0x93, 0x68, 0x4d, 0x1c, 0x5e, 0xfc, 0x48, 0x37, 0xf9,
};

static const uint8_t timestamp[12] = {
	0x40, 0x00, 0x00, 0x00, 0x5f, 0x5e, 0x10, 0xff, 0x12, 0x00, 0x00, 0x00,
};

/* Indices are opaque; only their bytes on the wire matter. */
#define INITIATOR_INDEX wire_index(0x11, 0x22, 0x33, 0x44)
#define RESPONDER_INDEX wire_index(0x55, 0x66, 0x77, 0x88)

static uint32_t wire_index(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	const uint8_t bytes[4] = {a, b, c, d};
	uint32_t index;

	memcpy(&index, bytes, sizeof(index));
	return index;
}

/* One end: its identity, its peer, and their handshake. */
struct side {
	struct noise_identity id;
	struct noise_remote remote;
	struct noise_handshake hs;
};

struct pair {
	struct side i, r;
};

static void side_init(struct side *s, uint8_t first_key_byte, const uint8_t peer[32],
		      bool with_psk)
{
	uint8_t key[32];

	memset(s, 0, sizeof(*s));
	fill_sequence(key, sizeof(key), first_key_byte);
	assert_int_equal(noise_identity_set(&s->id, key), 0);
	noise_remote_init(&s->remote, peer);
	if (with_psk)
		fill_sequence(s->remote.psk, sizeof(s->remote.psk), 0xe0);
	assert_int_equal(noise_remote_precompute(&s->remote, &s->id), 0);
}

/* The keys of the transcript. */
static void pair_init(struct pair *p, bool with_psk)
{
	side_init(&p->i, 0x01, responder_public, with_psk);
	side_init(&p->r, 0x41, initiator_public, with_psk);
}

static void create_initiation(struct pair *p, struct wg_initiation *msg)
{
	uint8_t ephemeral[32];

	fill_sequence(ephemeral, sizeof(ephemeral), 0x81);
	assert_int_equal(noise_create_initiation_with(&p->i.hs, &p->i.id, &p->i.remote,
						      timestamp, INITIATOR_INDEX,
						      ephemeral, msg),
			 0);
}

/* Does what a responder does: peeks, then consumes. */
static int receive_initiation(struct side *r, const struct wg_initiation *msg,
			      uint64_t now)
{
	struct noise_peek peek;
	int err = noise_open_initiation(&r->id, msg, &peek);

	return err ? err : noise_consume_initiation(&r->hs, &r->remote, &peek, msg, now);
}

static void create_response(struct pair *p, struct wg_response *msg)
{
	uint8_t ephemeral[32];

	fill_sequence(ephemeral, sizeof(ephemeral), 0xc1);
	assert_int_equal(noise_create_response_with(&p->r.hs, &p->r.remote,
						    RESPONDER_INDEX, ephemeral, msg),
			 0);
}

static void test_identity(void **state)
{
	static const uint8_t zero[32];
	struct noise_identity id;
	uint8_t key[32];

	fill_sequence(key, sizeof(key), 0x01);
	assert_int_equal(noise_identity_set(&id, key), 0);
	assert_true(id.set);
	assert_memory_equal(id.public_key, initiator_public, 32);
	assert_int_equal(id.private_key[0], 0x00);  /* 0x01 clamped */
	assert_int_equal(id.private_key[31], 0x60); /* 0x20 clamped */

	assert_int_equal(noise_identity_set(&id, zero), 0);
	assert_false(id.set);
	assert_true(is_zero(&id, sizeof(id)));
}

/* Zero, one, the two points of order 8 (in RFC 7748's encoding), p - 1, and the other
 * encodings of zero and one, p and p + 1. */
#define ENCODINGS 7
/* Each with the highest bit, which is ignored, clear and set. */
#define LOW_ORDER (2 * ENCODINGS)

static const uint8_t low_order_points[ENCODINGS][32] = {
	{0},
	{1},
	{0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
	 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
	 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
	{0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1,
	 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c,
	 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
	{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	{0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	{0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
};

static const uint8_t *low_order(unsigned i)
{
	static uint8_t point[32];

	memcpy(point, low_order_points[i / 2], 32);
	point[31] |= i % 2 << 7;
	return point;
}

static void test_remote(void **state)
{
	struct noise_identity unset = {.set = false};
	struct noise_remote remote;
	struct pair p;
	size_t i;

	pair_init(&p, false);
	assert_true(p.i.remote.valid);
	assert_memory_equal(p.i.remote.static_static, p.r.remote.static_static, 32);

	assert_int_equal(noise_remote_precompute(&p.i.remote, &unset), -ENOKEY);
	assert_false(p.i.remote.valid);
	assert_true(is_zero(p.i.remote.static_static, 32));

	for (i = 0; i < LOW_ORDER; i++) {
		noise_remote_init(&remote, low_order(i));
		assert_int_equal(noise_remote_precompute(&remote, &p.r.id), -EBADMSG);
		assert_false(remote.valid);
		assert_true(is_zero(remote.static_static, 32));
	}
}

static void check_transcript(bool with_psk, const uint8_t response[92],
			     const uint8_t first[32], const uint8_t second[32])
{
	struct wg_initiation init_msg;
	struct wg_response resp_msg;
	struct noise_keys ki, kr;
	struct noise_peek peek;
	struct pair p;

	pair_init(&p, with_psk);
	create_initiation(&p, &init_msg);
	assert_memory_equal(&init_msg, initiation, sizeof(initiation));

	assert_int_equal(noise_open_initiation(&p.r.id, &init_msg, &peek), 0);
	assert_memory_equal(peek.remote_static, initiator_public, 32);
	assert_int_equal(
		noise_consume_initiation(&p.r.hs, &p.r.remote, &peek, &init_msg, 1), 0);
	assert_memory_equal(p.r.hs.latest_timestamp, timestamp, 12);
	assert_int_equal(p.r.hs.last_initiation, 1);

	create_response(&p, &resp_msg);
	assert_memory_equal(&resp_msg, response, 92);
	assert_int_equal(noise_consume_response(&p.i.hs, &p.i.id, &p.i.remote, &resp_msg),
			 0);

	assert_int_equal(noise_derive_keys(&p.i.hs, &ki), 0);
	assert_int_equal(noise_derive_keys(&p.r.hs, &kr), 0);
	assert_memory_equal(ki.send, first, 32);
	assert_memory_equal(ki.receive, second, 32);
	assert_memory_equal(kr.send, second, 32);
	assert_memory_equal(kr.receive, first, 32);
	assert_true(ki.initiator);
	assert_false(kr.initiator);
	assert_int_equal(ki.local_index, INITIATOR_INDEX);
	assert_int_equal(ki.remote_index, RESPONDER_INDEX);
	assert_int_equal(kr.local_index, RESPONDER_INDEX);
	assert_int_equal(kr.remote_index, INITIATOR_INDEX);
	assert_true(is_zero(&p.i.hs, sizeof(p.i.hs)));
	assert_true(is_zero(&p.r.hs, offsetof(struct noise_handshake, latest_timestamp)));
	assert_memory_equal(p.r.hs.latest_timestamp, timestamp, 12);
}

static void test_transcript(void **state)
{
	check_transcript(false, plain_response, plain_first_key, plain_second_key);
}

static void test_transcript_psk(void **state)
{
	check_transcript(true, psk_response, psk_first_key, psk_second_key);
}

static void test_fresh_ephemerals(void **state)
{
	struct wg_initiation a, b;
	struct wg_response c, d;
	struct pair p;

	pair_init(&p, false);
	assert_int_equal(
		noise_create_initiation(&p.i.hs, &p.i.id, &p.i.remote, timestamp, 1, &a),
		0);
	assert_int_equal(
		noise_create_initiation(&p.i.hs, &p.i.id, &p.i.remote, timestamp, 1, &b),
		0);
	assert_memory_not_equal(a.ephemeral, b.ephemeral, 32);

	assert_int_equal(receive_initiation(&p.r, &b, 1), 0);
	p.i.hs.latest_timestamp[0] = 1; /* an initiator's own history is left alone */
	assert_int_equal(noise_create_response(&p.r.hs, &p.r.remote, 2, &c), 0);
	assert_int_equal(noise_consume_response(&p.i.hs, &p.i.id, &p.i.remote, &c), 0);
	assert_int_equal(p.i.hs.latest_timestamp[0], 1);
	assert_int_equal(noise_create_response(&p.r.hs, &p.r.remote, 2, &d), -EINVAL);
	assert_true(is_zero(&d, sizeof(d)));
}

/* Changes one bit in each byte, except the macs, which noise.c does not check. */
static void test_tampered_initiation(void **state)
{
	struct wg_initiation msg;
	struct side before;
	struct pair p;
	size_t i;

	pair_init(&p, false);
	create_initiation(&p, &msg);
	before = p.r;
	for (i = 8; i < offsetof(struct wg_initiation, mac1); i++) {
		((uint8_t *)&msg)[i] ^= 1 << i % 8;
		assert_int_equal(receive_initiation(&p.r, &msg, 1), -EBADMSG);
		assert_memory_equal(&p.r, &before, sizeof(before));
		((uint8_t *)&msg)[i] ^= 1 << i % 8;
	}
	assert_int_equal(receive_initiation(&p.r, &msg, 1), 0);
}

static void test_tampered_response(void **state)
{
	struct wg_initiation init_msg;
	struct wg_response msg;
	struct side before;
	struct pair p;
	size_t i;

	pair_init(&p, true);
	create_initiation(&p, &init_msg);
	assert_int_equal(receive_initiation(&p.r, &init_msg, 1), 0);
	create_response(&p, &msg);
	before = p.i;
	for (i = 8; i < offsetof(struct wg_response, mac1); i++) {
		int expected = i < 12 ? -ENOENT : -EBADMSG;

		((uint8_t *)&msg)[i] ^= 1 << i % 8;
		assert_int_equal(
			noise_consume_response(&p.i.hs, &p.i.id, &p.i.remote, &msg),
			expected);
		assert_memory_equal(&p.i, &before, sizeof(before));
		((uint8_t *)&msg)[i] ^= 1 << i % 8;
	}
	assert_int_equal(noise_consume_response(&p.i.hs, &p.i.id, &p.i.remote, &msg), 0);
	/* The same response is accepted only once. */
	assert_int_equal(noise_consume_response(&p.i.hs, &p.i.id, &p.i.remote, &msg),
			 -ENOENT);
}

static void test_wrong_psk(void **state)
{
	struct wg_initiation init_msg;
	struct wg_response msg;
	struct pair p;

	pair_init(&p, true);
	p.i.remote.psk[31] ^= 1;
	create_initiation(&p, &init_msg);
	assert_int_equal(receive_initiation(&p.r, &init_msg, 1), 0);
	create_response(&p, &msg);
	assert_int_equal(noise_consume_response(&p.i.hs, &p.i.id, &p.i.remote, &msg),
			 -EBADMSG);
	p.i.remote.psk[31] ^= 1;
	assert_int_equal(noise_consume_response(&p.i.hs, &p.i.id, &p.i.remote, &msg), 0);
}

/* An attacker who knows the public keys must not pass as a peer. */
static void test_impostor(void **state)
{
	struct wg_initiation msg;
	struct noise_peek peek;
	struct pair p;

	pair_init(&p, false);
	p.i.remote.static_static[0] ^= 1;
	create_initiation(&p, &msg);
	assert_int_equal(noise_open_initiation(&p.r.id, &msg, &peek), 0);
	assert_memory_equal(peek.remote_static, initiator_public, 32);
	assert_int_equal(noise_consume_initiation(&p.r.hs, &p.r.remote, &peek, &msg, 1),
			 -EBADMSG);
}

static void test_wrong_peer(void **state)
{
	struct wg_initiation msg;
	struct noise_peek peek;
	struct pair p;

	pair_init(&p, false);
	create_initiation(&p, &msg);
	assert_int_equal(noise_open_initiation(&p.r.id, &msg, &peek), 0);
	p.r.remote.public_key[5] ^= 1;
	assert_int_equal(noise_consume_initiation(&p.r.hs, &p.r.remote, &peek, &msg, 1),
			 -EBADMSG);
}

static int initiate_at(struct pair *p, uint8_t stamp, uint64_t now)
{
	struct wg_initiation msg;
	uint8_t t[12] = {0x40};

	t[11] = stamp;
	assert_int_equal(
		noise_create_initiation(&p->i.hs, &p->i.id, &p->i.remote, t, 7, &msg), 0);
	return receive_initiation(&p->r, &msg, now);
}

static void test_timestamps(void **state)
{
	struct noise_handshake before;
	struct pair p;

	pair_init(&p, false);
	assert_int_equal(initiate_at(&p, 5, 1 * SEC_NS), 0);
	before = p.r.hs;
	assert_int_equal(initiate_at(&p, 5, 2 * SEC_NS), -ESTALE);
	assert_int_equal(initiate_at(&p, 4, 2 * SEC_NS), -ESTALE);
	assert_memory_equal(&p.r.hs, &before, sizeof(before));
	assert_int_equal(initiate_at(&p, 6, 2 * SEC_NS), 0);

	/* Clearing the handshake must not allow replays. */
	noise_handshake_clear(&p.r.hs);
	assert_int_equal(initiate_at(&p, 6, 3 * SEC_NS), -ESTALE);
	assert_int_equal(initiate_at(&p, 7, 3 * SEC_NS), 0);
}

static void test_flood(void **state)
{
	struct noise_handshake before;
	struct pair p;

	pair_init(&p, false);
	assert_int_equal(initiate_at(&p, 1, SEC_NS), 0);
	before = p.r.hs;
	assert_int_equal(initiate_at(&p, 2, SEC_NS), -EBUSY);
	assert_int_equal(initiate_at(&p, 2, SEC_NS + 20 * MSEC_NS - 1), -EBUSY);
	assert_memory_equal(&p.r.hs, &before, sizeof(before));
	assert_int_equal(initiate_at(&p, 2, SEC_NS + 20 * MSEC_NS), 0);
}

static void hash_in(uint8_t h[32], const void *data, size_t len)
{
	struct blake2s_state s;

	blake2s_init(&s, 32);
	blake2s_update(&s, h, 32);
	blake2s_update(&s, data, len);
	blake2s_final(&s, h);
}

/*
 * What an attacker could do if a DH result of zero were accepted: without any private
 * key, make an initiation with a low-order ephemeral that decrypts.
 */
static void forge_initiation(const uint8_t ephemeral[32], struct wg_initiation *msg)
{
	static const char name[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
	static const char prologue[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
	static const uint8_t zero[32];
	uint8_t ck[32], h[32], k[32];

	memset(msg, 0, sizeof(*msg));
	memcpy(msg->ephemeral, ephemeral, 32);
	blake2s(ck, 32, name, sizeof(name) - 1, NULL, 0);
	memcpy(h, ck, 32);
	hash_in(h, prologue, sizeof(prologue) - 1);
	hash_in(h, responder_public, 32);
	noise_kdf(ck, NULL, NULL, ck, ephemeral, 32);
	hash_in(h, ephemeral, 32);
	noise_kdf(ck, k, NULL, ck, zero, 32);
	crypto_aead_chacha20poly1305_ietf_encrypt(
		msg->encrypted_static, NULL, initiator_public, 32, h, 32, NULL, zero, k);
}

/* The same for a response, by an attacker who knows the transcript so far. */
static void forge_response(const struct noise_handshake *hs, const uint8_t ephemeral[32],
			   struct wg_response *msg)
{
	static const uint8_t zero[32];
	uint8_t ck[32], h[32], k[32], tau[32];

	memset(msg, 0, sizeof(*msg));
	msg->receiver = hs->local_index;
	memcpy(msg->ephemeral, ephemeral, 32);
	memcpy(h, hs->hash, 32);
	noise_kdf(ck, NULL, NULL, hs->chaining_key, ephemeral, 32);
	hash_in(h, ephemeral, 32);
	noise_kdf(ck, NULL, NULL, ck, zero, 32);
	noise_kdf(ck, NULL, NULL, ck, zero, 32);
	noise_kdf(ck, tau, k, ck, zero, 32);
	hash_in(h, tau, 32);
	crypto_aead_chacha20poly1305_ietf_encrypt(msg->encrypted_nothing, NULL, NULL, 0,
						  h, 32, NULL, zero, k);
}

static void test_low_order_ephemerals(void **state)
{
	struct wg_initiation init_msg;
	struct wg_response msg;
	struct noise_peek peek;
	struct pair p;
	size_t i;

	for (i = 0; i < LOW_ORDER; i++) {
		pair_init(&p, false);
		forge_initiation(low_order(i), &init_msg);
		assert_int_equal(noise_open_initiation(&p.r.id, &init_msg, &peek),
				 -EBADMSG);
		assert_true(is_zero(&peek, sizeof(peek)));

		create_initiation(&p, &init_msg);
		assert_int_equal(receive_initiation(&p.r, &init_msg, 1), 0);
		memcpy(p.r.hs.remote_ephemeral, low_order(i), 32);
		assert_int_equal(noise_create_response(&p.r.hs, &p.r.remote, 2, &msg),
				 -EBADMSG);
		assert_true(is_zero(&msg, sizeof(msg)));
		assert_int_equal(p.r.hs.state, NOISE_INITIATION_CONSUMED);

		forge_response(&p.i.hs, low_order(i), &msg);
		assert_int_equal(
			noise_consume_response(&p.i.hs, &p.i.id, &p.i.remote, &msg),
			-EBADMSG);
		assert_int_equal(p.i.hs.state, NOISE_INITIATION_CREATED);
	}
}

static void test_low_order_peer(void **state)
{
	struct noise_handshake zero = {.state = NOISE_IDLE};
	struct wg_initiation msg;
	struct pair p;

	pair_init(&p, false);
	memcpy(p.i.remote.public_key, low_order(4), 32); /* still marked as valid */
	assert_int_equal(noise_create_initiation(&p.i.hs, &p.i.id, &p.i.remote, timestamp,
						 1, &msg),
			 -EBADMSG);
	assert_true(is_zero(&msg, sizeof(msg)));
	assert_memory_equal(&p.i.hs, &zero, sizeof(zero));
}

/*
 * What an attacker could send as a peer whose public key has a low order, if the DH of
 * the static keys were taken as zero instead of being refused.
 */
static void forge_initiation_of(const uint8_t public_key[32], struct wg_initiation *msg)
{
	static const char name[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
	static const char prologue[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
	static const uint8_t zero[32], ephemeral[32] = {9, 9};
	uint8_t ck[32], h[32], k[32], shared[32];

	memset(msg, 0, sizeof(*msg));
	crypto_scalarmult_base(msg->ephemeral, ephemeral);
	assert_int_equal(crypto_scalarmult(shared, ephemeral, responder_public), 0);
	blake2s(ck, 32, name, sizeof(name) - 1, NULL, 0);
	memcpy(h, ck, 32);
	hash_in(h, prologue, sizeof(prologue) - 1);
	hash_in(h, responder_public, 32);
	noise_kdf(ck, NULL, NULL, ck, msg->ephemeral, 32);
	hash_in(h, msg->ephemeral, 32);
	noise_kdf(ck, k, NULL, ck, shared, 32);
	crypto_aead_chacha20poly1305_ietf_encrypt(msg->encrypted_static, NULL, public_key,
						  32, h, 32, NULL, zero, k);
	hash_in(h, msg->encrypted_static, sizeof(msg->encrypted_static));
	noise_kdf(ck, k, NULL, ck, zero, 32);
	crypto_aead_chacha20poly1305_ietf_encrypt(msg->encrypted_timestamp, NULL,
						  timestamp, sizeof(timestamp), h, 32,
						  NULL, zero, k);
}

static void test_initiation_by_low_order_peer(void **state)
{
	struct wg_initiation msg;
	struct noise_remote remote;
	struct noise_peek peek;
	struct pair p;

	for (unsigned i = 0; i < LOW_ORDER; i++) {
		pair_init(&p, false);
		noise_remote_init(&remote, low_order(i));
		noise_remote_precompute(&remote, &p.r.id);
		forge_initiation_of(low_order(i), &msg);
		assert_int_equal(noise_open_initiation(&p.r.id, &msg, &peek), 0);
		assert_memory_equal(peek.remote_static, low_order(i), 32);
		assert_int_equal(
			noise_consume_initiation(&p.r.hs, &remote, &peek, &msg, 1),
			-ENOKEY);
		assert_int_equal(p.r.hs.state, NOISE_IDLE);
	}
}

static void test_missing_keys(void **state)
{
	struct wg_initiation msg;
	struct noise_peek peek;
	struct wg_response response = {.receiver = INITIATOR_INDEX};
	struct pair p;

	pair_init(&p, false);
	create_initiation(&p, &msg);
	assert_int_equal(noise_open_initiation(&p.r.id, &msg, &peek), 0);
	p.r.remote.valid = false;
	assert_int_equal(noise_consume_initiation(&p.r.hs, &p.r.remote, &peek, &msg, 1),
			 -ENOKEY);
	noise_identity_wipe(&p.r.id);
	assert_int_equal(noise_open_initiation(&p.r.id, &msg, &peek), -ENOKEY);
	assert_true(is_zero(&peek, sizeof(peek)));

	noise_identity_wipe(&p.i.id);
	assert_int_equal(noise_consume_response(&p.i.hs, &p.i.id, &p.i.remote, &response),
			 -ENOKEY);
	assert_int_equal(noise_create_initiation(&p.i.hs, &p.i.id, &p.i.remote, timestamp,
						 1, &msg),
			 -ENOKEY);
	assert_true(is_zero(&msg, sizeof(msg)));
}

/* Each call is allowed in one state only, derive in two. */
static void test_states(void **state)
{
	struct wg_initiation init_msg;
	struct wg_response msg;
	struct noise_keys keys;
	struct pair p;

	pair_init(&p, false);
	assert_int_equal(noise_derive_keys(&p.i.hs, &keys), -EINVAL);
	assert_int_equal(noise_create_response(&p.r.hs, &p.r.remote, 2, &msg), -EINVAL);
	assert_int_equal(noise_consume_response(&p.i.hs, &p.i.id, &p.i.remote, &msg),
			 -ENOENT);

	create_initiation(&p, &init_msg);
	assert_int_equal(noise_derive_keys(&p.i.hs, &keys), -EINVAL);
	assert_int_equal(noise_create_response(&p.i.hs, &p.i.remote, 2, &msg), -EINVAL);

	assert_int_equal(receive_initiation(&p.r, &init_msg, 1), 0);
	assert_int_equal(noise_derive_keys(&p.r.hs, &keys), -EINVAL);
	msg.receiver = p.r.hs.local_index;
	assert_int_equal(noise_consume_response(&p.r.hs, &p.r.id, &p.r.remote, &msg),
			 -ENOENT);

	create_response(&p, &msg);
	noise_handshake_clear(&p.i.hs);
	msg.receiver = 0; /* a cleared handshake has index 0, and awaits nothing */
	assert_int_equal(noise_consume_response(&p.i.hs, &p.i.id, &p.i.remote, &msg),
			 -ENOENT);
	assert_int_equal(noise_derive_keys(&p.r.hs, &keys), 0);
	assert_int_equal(noise_derive_keys(&p.r.hs, &keys), -EINVAL);
	assert_true(is_zero(&keys, sizeof(keys)));
}

static void test_hmac_and_kdf(void **state)
{
	uint8_t key[100], data[200], one[32], two[32], three[32], out[32];

	noise_hmac(out, "key", 3, "message", 7);
	assert_memory_equal(out, hmac_short_key, 32);
	fill_sequence(key, sizeof(key), 0);
	fill_sequence(data, sizeof(data), 0);
	noise_hmac(out, key, sizeof(key), data, sizeof(data));
	assert_memory_equal(out, hmac_long_key, 32);

	noise_kdf(one, two, three, key, "input", 5);
	assert_memory_equal(one, kdf_first, 32);
	assert_memory_equal(two, kdf_second, 32);
	assert_memory_equal(three, kdf_third, 32);
	noise_kdf(key, out, NULL, key, "input", 5); /* overwrites its key */
	assert_memory_equal(key, kdf_first, 32);
	assert_memory_equal(out, kdf_second, 32);
}

static void test_tai64n(void **state)
{
	static const uint8_t epoch[12] = {0x40, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0};
	/* 2001-09-09 01:46:40 UTC; 999999999 ns is 0x3b9ac9ff. */
	static const uint8_t later[12] = {
		0x40, 0, 0, 0, 0x3b, 0x9a, 0xca, 0x0a, 0x3b, 0, 0, 0,
	};
	uint8_t out[12];

	tai64n_format(0, 0, out);
	assert_memory_equal(out, epoch, 12);
	tai64n_format(0, 0x00ffffff, out);
	assert_memory_equal(out, epoch, 12);
	tai64n_format(1000000000, 999999999, out);
	assert_memory_equal(out, later, 12);
}

static int setup(void **state)
{
	return sodium_init() < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_remote),
		cmocka_unit_test(test_transcript),
		cmocka_unit_test(test_transcript_psk),
		cmocka_unit_test(test_fresh_ephemerals),
		cmocka_unit_test(test_tampered_initiation),
		cmocka_unit_test(test_tampered_response),
		cmocka_unit_test(test_wrong_psk),
		cmocka_unit_test(test_impostor),
		cmocka_unit_test(test_wrong_peer),
		cmocka_unit_test(test_timestamps),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_low_order_ephemerals),
		cmocka_unit_test(test_low_order_peer),
		cmocka_unit_test(test_initiation_by_low_order_peer),
		cmocka_unit_test(test_missing_keys),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_hmac_and_kdf),
		cmocka_unit_test(test_tai64n),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
