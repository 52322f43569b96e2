// SPDX-License-Identifier: MIT
#include "testutil.h"

#include <errno.h>
#include <sodium.h>

#include "blake2s.h"
#include "cookie.h"
#include "transcript.h"

/* Printed by noise_transcript.py cookie. */
static const uint8_t mac1[16] = {
	0xa7, 0x8c, 0xc8, 0x06, 0x6e, 0xaa, 0x9b, 0x4c,
	0x8a, 0x79, 0x92, 0x89, 0x2f, 0xfc, 0xba, 0xcf,
};

static const uint8_t cookie_reply[64] = {
	0x03, 0x00, 0x00, 0x00, 0x11, 0x22, 0x33, 0x44, 0x30, 0x31, 0x32, 0x33, 0x34,
	0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x40, 0x41,
	0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x2c, 0x91, 0xce, 0xdf, 0xcc, 0x9f, 0x66,
	0xa2, 0x2b, 0x21, 0x24, 0xb2, 0xac, 0xbe, 0x31, 0x97, 0xc0, 0x67, 0xb2, 0x13,
	0x47, 0x64, 0x04, 0xac, 0x9a, 0xd2, 0xd7, 0xf3, 0x04, 0xa5, 0xd9, 0xf6,
};

static const uint8_t mac2[16] = {
	0xba, 0x17, 0x19, 0x65, 0x66, 0x4c, 0x8c, 0x46,
	0x66, 0x52, 0xf0, 0x5e, 0x2c, 0xa9, 0x8b, 0x1a,
};

static const struct ip_addr v4 = {.family = IP_V4, .bytes = {192, 0, 2, 1}};
static const struct ip_addr v6 = {
	.family = IP_V6,
	.bytes = {0x20, 0x01, 0x0d, 0xb8, [15] = 1},
};

#define PORT  51820
#define INDEX 0x44332211

struct ends {
	struct cookie_checker checker;
	struct cookie_maker maker;
	struct wg_initiation msg;
};

static void ends_init(struct ends *e)
{
	memset(e, 0xa5, sizeof(*e)); /* init must not rely on zeros */
	cookie_checker_init(&e->checker, responder_public);
	cookie_maker_init(&e->maker, responder_public);
	memcpy(&e->msg, initiation, sizeof(e->msg));
}

static enum cookie_verdict check_from(struct ends *e, const struct ip_addr *src,
				      uint16_t port, uint64_t now)
{
	return cookie_check(&e->checker, &e->msg, sizeof(e->msg), src, port, now);
}

/* Makes a cookie reply for the message, and gives it to the sender. */
static void exchange_cookie(struct ends *e, const struct ip_addr *src, uint16_t port,
			    uint64_t now)
{
	struct wg_cookie_reply reply;

	assert_int_equal(cookie_reply_create(&e->checker, &e->msg, sizeof(e->msg), INDEX,
					     src, port, now, &reply),
			 0);
	assert_int_equal(cookie_maker_consume_reply(&e->maker, &reply, now), 0);
}

static void test_known_macs(void **state)
{
	struct wg_cookie_reply reply;
	struct ends e;

	ends_init(&e);
	memset(e.msg.mac2, 0xff, sizeof(e.msg.mac2));
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), 0);
	assert_memory_equal(e.msg.mac1, mac1, 16);
	assert_true(is_zero(e.msg.mac2, 16));

	memcpy(&reply, cookie_reply, sizeof(reply));
	assert_int_equal(cookie_maker_consume_reply(&e.maker, &reply, 0), 0);
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), 0);
	assert_memory_equal(e.msg.mac1, mac1, 16);
	assert_memory_equal(e.msg.mac2, mac2, 16);
}

static void test_mac1(void **state)
{
	struct wg_response response = {.type = 2};
	struct ends e;
	size_t i;

	ends_init(&e);
	assert_int_equal(check_from(&e, &v4, PORT, 0), COOKIE_BAD_MAC1);
	memcpy(e.msg.mac1, mac1, 16);
	assert_int_equal(check_from(&e, &v4, PORT, 0), COOKIE_MAC1_OK);

	for (i = 0; i < offsetof(struct wg_initiation, mac2); i++) {
		((uint8_t *)&e.msg)[i] ^= 1 << i % 8;
		assert_int_equal(check_from(&e, &v4, PORT, 0), COOKIE_BAD_MAC1);
		((uint8_t *)&e.msg)[i] ^= 1 << i % 8;
	}
	for (i = 0; i < 32; i++)
		assert_int_equal(cookie_check(&e.checker, &e.msg, i, &v4, PORT, 0),
				 COOKIE_BAD_MAC1);

	cookie_maker_add_macs(&e.maker, &response, sizeof(response), 0);
	assert_int_equal(
		cookie_check(&e.checker, &response, sizeof(response), &v4, PORT, 0),
		COOKIE_MAC1_OK);
}

static void check_mac2_from(const struct ip_addr *src)
{
	struct ip_addr other = *src;
	struct ends e;
	size_t i;

	ends_init(&e);
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), 0);
	exchange_cookie(&e, src, PORT, 0);
	assert_int_equal(check_from(&e, src, PORT, 0), COOKIE_MAC1_OK);
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), 0);
	assert_int_equal(check_from(&e, src, PORT, 0), COOKIE_MAC2_OK);

	assert_int_equal(check_from(&e, src, PORT ^ 1, 0), COOKIE_MAC1_OK);
	assert_int_equal(check_from(&e, src, PORT ^ 0x100, 0), COOKIE_MAC1_OK);
	for (i = 0; i < ip_addr_len(src); i++) {
		other.bytes[i] ^= 1;
		assert_int_equal(check_from(&e, &other, PORT, 0), COOKIE_MAC1_OK);
		other.bytes[i] ^= 1;
	}
	for (i = 0; i < 16; i++) {
		e.msg.mac2[i] ^= 0x80;
		assert_int_equal(check_from(&e, src, PORT, 0), COOKIE_MAC1_OK);
		e.msg.mac2[i] ^= 0x80;
	}
	e.msg.encrypted_timestamp[3] ^= 1;
	assert_int_equal(check_from(&e, src, PORT, 0), COOKIE_BAD_MAC1);
}

static void test_mac2(void **state)
{
	check_mac2_from(&v4);
	check_mac2_from(&v6);
}

/* Without a secret no cookie is valid, not even one of zeros. */
static void test_no_secret_no_mac2(void **state)
{
	static const uint8_t no_secret[32];
	const uint8_t source[] = {192, 0, 2, 1, PORT >> 8, PORT & 0xff};
	uint8_t cookie[16];
	struct ends e;

	ends_init(&e);
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), 0);
	blake2s(cookie, sizeof(cookie), source, sizeof(source), no_secret, 32);
	blake2s(e.msg.mac2, 16, &e.msg, offsetof(struct wg_initiation, mac2), cookie, 16);
	assert_int_equal(check_from(&e, &v4, PORT, 0), COOKIE_MAC1_OK);
}

/* For two interfaces, or for one before and after its key is set again. */
static void test_secrets_differ(void **state)
{
	struct ends a, b;

	ends_init(&a);
	ends_init(&b);
	cookie_maker_add_macs(&a.maker, &a.msg, sizeof(a.msg), 0);
	exchange_cookie(&a, &v4, PORT, 0);
	cookie_maker_add_macs(&b.maker, &b.msg, sizeof(b.msg), 0);
	exchange_cookie(&b, &v4, PORT, 0);
	cookie_maker_add_macs(&a.maker, &a.msg, sizeof(a.msg), 0);
	assert_int_equal(check_from(&a, &v4, PORT, 0), COOKIE_MAC2_OK);
	b.msg = a.msg;
	assert_int_equal(check_from(&b, &v4, PORT, 0), COOKIE_MAC1_OK);
	cookie_checker_init(&a.checker, responder_public);
	assert_int_equal(check_from(&a, &v4, PORT, 0), COOKIE_MAC1_OK);
}

static void test_secret_changes(void **state)
{
	const uint64_t start = 7 * SEC_NS, end = start + 120 * SEC_NS;
	struct wg_cookie_reply reply;
	uint8_t secret[32];
	struct ends e;

	ends_init(&e);
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), start);
	exchange_cookie(&e, &v4, PORT, start);
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), start);
	assert_int_equal(check_from(&e, &v4, PORT, end - 1), COOKIE_MAC2_OK);
	assert_int_equal(check_from(&e, &v4, PORT, end), COOKIE_MAC1_OK);

	memcpy(secret, e.checker.secret, 32);
	cookie_reply_create(&e.checker, &e.msg, sizeof(e.msg), INDEX, &v4, PORT, end - 1,
			    &reply);
	assert_memory_equal(secret, e.checker.secret, 32);
	cookie_reply_create(&e.checker, &e.msg, sizeof(e.msg), INDEX, &v4, PORT, end,
			    &reply);
	assert_memory_not_equal(secret, e.checker.secret, 32);
	assert_int_equal(check_from(&e, &v4, PORT, end), COOKIE_MAC1_OK);
}

static void test_cookie_expires(void **state)
{
	const uint64_t start = 7 * SEC_NS, end = start + 120 * SEC_NS;
	struct ends e;

	ends_init(&e);
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), start);
	exchange_cookie(&e, &v4, PORT, start);
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), end - 1);
	assert_false(is_zero(e.msg.mac2, 16));
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), end);
	assert_true(is_zero(e.msg.mac2, 16));
	assert_true(is_zero(e.maker.cookie, 16));
}

static void test_reply_not_awaited(void **state)
{
	struct wg_cookie_reply reply;
	struct ends e;

	ends_init(&e);
	memcpy(&reply, cookie_reply, sizeof(reply));
	assert_int_equal(cookie_maker_consume_reply(&e.maker, &reply, 0), -ENOENT);
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), 0);
	assert_int_equal(cookie_maker_consume_reply(&e.maker, &reply, 0), 0);
	assert_int_equal(cookie_maker_consume_reply(&e.maker, &reply, 0), -ENOENT);
}

/* Changes each byte of nonce and encrypted cookie; then takes another message's reply. */
static void test_bad_reply(void **state)
{
	struct wg_cookie_reply reply;
	struct ends e;
	size_t i;

	ends_init(&e);
	memcpy(&reply, cookie_reply, sizeof(reply));
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), 0);
	for (i = 8; i < sizeof(reply); i++) {
		((uint8_t *)&reply)[i] ^= 1 << i % 8;
		assert_int_equal(cookie_maker_consume_reply(&e.maker, &reply, 0),
				 -EBADMSG);
		((uint8_t *)&reply)[i] ^= 1 << i % 8;
	}
	assert_false(e.maker.have_cookie);
	assert_true(is_zero(e.maker.cookie, 16));

	e.msg.sender ^= 1;
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), 0);
	assert_int_equal(cookie_maker_consume_reply(&e.maker, &reply, 0), -EBADMSG);
	e.msg.sender ^= 1;
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), 0);
	assert_int_equal(cookie_maker_consume_reply(&e.maker, &reply, 0), 0);
}

static void test_reply_header(void **state)
{
	static const uint8_t type[4] = {3, 0, 0, 0};
	struct wg_cookie_reply a, b;
	struct ends e;

	ends_init(&e);
	cookie_maker_add_macs(&e.maker, &e.msg, sizeof(e.msg), 0);
	assert_int_equal(
		cookie_reply_create(&e.checker, &e.msg, 31, INDEX, &v4, PORT, 0, &a),
		-EINVAL);
	cookie_reply_create(&e.checker, &e.msg, sizeof(e.msg), INDEX, &v4, PORT, 0, &a);
	cookie_reply_create(&e.checker, &e.msg, sizeof(e.msg), INDEX, &v4, PORT, 0, &b);
	assert_memory_equal(&a.type, type, 4);
	assert_int_equal(a.receiver, INDEX);
	assert_memory_not_equal(a.nonce, b.nonce, 24);
}

static int setup(void **state)
{
	return sodium_init() < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_macs),
		cmocka_unit_test(test_mac1),
		cmocka_unit_test(test_mac2),
		cmocka_unit_test(test_no_secret_no_mac2),
		cmocka_unit_test(test_secrets_differ),
		cmocka_unit_test(test_secret_changes),
		cmocka_unit_test(test_cookie_expires),
		cmocka_unit_test(test_reply_not_awaited),
		cmocka_unit_test(test_bad_reply),
		cmocka_unit_test(test_reply_header),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
