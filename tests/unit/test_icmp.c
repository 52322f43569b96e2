// SPDX-License-Identifier: MIT
/*
 * ICMP errors: what they quote, where they are sent, and for which packets none is sent.
 */
#include "testutil.h"

#include <endian.h>
#include <stdlib.h>

#include "icmp_packet.h"

#define FROM4 0x0a010203 /* what build() writes */
#define TO4   0xc0a80709

static void refused(size_t len)
{
	struct icmp_error e;

	assert_false(icmp_unreachable(&e, packet, len));
}

/* --- what --- */

static void check_v4(size_t payload, size_t quoted)
{
	size_t len = build_udp(&udp4, payload);
	struct icmp_error e = answer(len);
	uint8_t addr[4];

	assert_int_equal(e.len, 8 + quoted);
	assert_int_equal(e.message[0], 3); /* destination unreachable */
	assert_int_equal(e.message[1], 1); /* host unreachable */
	assert_int_equal(reference_sum(0, e.message, e.len), 0xffff);
	assert_true(is_zero(e.message + 4, 4));
	assert_memory_equal(e.message + 8, packet, quoted);
	assert_int_equal(e.to.family, IP_V4);
	put(addr, FROM4, 4);
	assert_memory_equal(e.to.bytes, addr, 4);
	put(addr, TO4, 4);
	assert_memory_equal(e.about.bytes, addr, 4);
	assert_true(is_zero(e.to.bytes + 4, 12));
}

static void test_v4(void **state)
{
	check_v4(0, 28);
	check_v4(1, 29);
	check_v4(520, 548);
	check_v4(521, 548);
	check_v4(60000, 548);
}

static void check_v6(size_t payload, size_t quoted)
{
	size_t len = build_udp(&udp6, payload);
	struct icmp_error e = answer(len);

	assert_int_equal(e.len, 8 + quoted);
	assert_int_equal(e.message[0], 1); /* destination unreachable */
	assert_int_equal(e.message[1], 3); /* address unreachable */
	assert_true(is_zero(e.message + 2, 6));
	assert_memory_equal(e.message + 8, packet, quoted);
	assert_int_equal(e.to.family, IP_V6);
	assert_memory_equal(e.to.bytes, packet + 8, 16);
	assert_memory_equal(e.about.bytes, packet + 24, 16);
}

static void test_v6(void **state)
{
	check_v6(0, 48);
	check_v6(1184, 1232);
	check_v6(1185, 1232);
	check_v6(60000, 1232);
}

/* Another sender and port: all checksums are right again, except the quoted L4 one. */
static void test_sender_v4(void **state)
{
	struct ip_addr from = {IP_V4, {10, 9, 8, 7}};
	struct icmp_error e = answer(build_udp(&udp4, 100));
	size_t l4 = icmp_quoted_l4(&e, 8);

	assert_int_equal(l4, 8 + 20);
	assert_int_equal(icmp_quoted_l4(&e, 109), 0); /* as long is not quoted */
	icmp_set_sender(&e, &from, l4, htobe16(1234));
	assert_memory_equal(&e.to, &from, sizeof(from));
	assert_memory_equal(e.message + 8 + 12, from.bytes, 4);
	assert_memory_equal(e.message + l4, "\x04\xd2", 2);
	assert_int_equal(reference_sum(0, e.message + 8, 20), 0xffff);
	assert_int_equal(reference_sum(0, e.message, e.len), 0xffff);
}

static void test_sender_v6(void **state)
{
	struct ip_addr from = {IP_V6, {0xfd, 9}};
	struct icmp_error e = answer(build_udp(&udp6, 100));

	assert_int_equal(icmp_quoted_l4(&e, 8), 8 + 40);
	icmp_set_sender(&e, &from, 0, 1);
	assert_memory_equal(&e.to, &from, sizeof(from));
	assert_memory_equal(e.message + 8 + 8, from.bytes, 16);
	assert_memory_equal(e.message + 8 + 40, packet + 40, 60);
	assert_true(is_zero(e.message + 2, 6));
}

/* Bytes after the packet are not quoted. */
static void test_padding(void **state)
{
	size_t len = build_udp(&udp4, 10);

	assert_int_equal(answer(len + 6).len, 8 + len);
}

/* --- whether --- */

static void test_malformed(void **state)
{
	size_t len = build_udp(&udp4, 10);

	for (size_t i = 0; i < len; i++)
		refused(i);
	answer(len);
	packet[0] = 0x44;
	refused(len);
	len = build_udp(&udp6, 10);
	for (size_t i = 0; i < len; i++)
		refused(i);
	answer(len);
	packet[0] = 0x50;
	refused(len);
}

static bool answered_v4(uint32_t from, uint32_t to)
{
	size_t len = build_udp(&udp4, 10);
	struct icmp_error e;

	put(packet + 12, from, 4);
	put(packet + 16, to, 4);
	return icmp_unreachable(&e, packet, len);
}

static void test_addresses_v4(void **state)
{
	static const uint32_t never_from[] = {0, 0x7f000001, 0xe0000001, 0xefffffff,
					      0xffffffff};
	static const uint32_t never_to[] = {0xe0000001, 0xefffffff, 0xffffffff};

	assert_true(answered_v4(FROM4, TO4));
	assert_true(answered_v4(0xdfffffff, 0xdfffffff));
	for (size_t i = 0; i < 5; i++)
		assert_false(answered_v4(never_from[i], TO4));
	for (size_t i = 0; i < 3; i++)
		assert_false(answered_v4(FROM4, never_to[i]));
}

static void test_addresses_v6(void **state)
{
	size_t len = build_udp(&udp6, 10);

	packet[24] = 0xff;
	refused(len);
	packet[24] = 0xfe;
	answer(len);
	packet[8] = 0xff;
	refused(len);
	memset(packet + 8, 0, 16);
	refused(len);
	packet[23] = 9;
	answer(len);
}

static void test_fragments_v4(void **state)
{
	size_t len = build_udp(&udp4, 10);

	put(packet + 6, 0x2000, 2); /* the first fragment */
	answer(len);
	put(packet + 6, 0x4000, 2);
	answer(len);
	for (unsigned offset = 1; offset < 0x2000; offset <<= 1) {
		put(packet + 6, 0x2000 | offset, 2);
		refused(len);
		put(packet + 6, offset, 2);
		refused(len);
	}
}

static void test_icmp_v4(void **state)
{
	static const uint8_t errors[] = {3, 4, 5, 11, 12, 19, 42, 255};
	static const uint8_t queries[] = {0, 8, 9, 10, 13, 14, 17, 18};
	static const struct spec with_options = {.udp = true, .ip_extra = 8};
	size_t len;

	for (size_t i = 0; i < 8; i++) {
		len = build_udp(&udp4, 10);
		packet[9] = 1;
		packet[20] = errors[i];
		refused(len);
		packet[20] = queries[i];
		answer(len);
	}
	len = build_udp(&with_options, 10);
	packet[9] = 1;
	packet[20] = 8;
	packet[28] = 3;
	refused(len);
	packet[20] = 3;
	packet[28] = 8;
	answer(len);
	put(packet + 2, 28, 2); /* no ICMP header follows */
	refused(28);
}

static void check_icmp_v6(size_t at, size_t len)
{
	for (unsigned type = 0; type < 256; type++) {
		packet[at] = (uint8_t)type;
		if (type < 128 || type == 137)
			refused(len);
		else
			answer(len);
	}
}

static void test_icmp_v6(void **state)
{
	size_t len = build_udp(&udp6, 10);

	packet[6] = 58;
	check_icmp_v6(40, len);
	put(packet + 4, 0, 2);
	refused(40);
}

/* Hop-by-hop, routing, destination options, AH, fragment, one after the other. */
static size_t build_chain(uint8_t last)
{
	static const uint8_t kinds[] = {0, 43, 60, 51, 44};
	size_t len = build_udp(&udp6, 200), at = 40;

	packet[6] = kinds[0];
	for (size_t i = 0; i < 5; i++) {
		memset(packet + at, 0, 24);
		packet[at] = i < 4 ? kinds[i + 1] : last;
		packet[at + 1] = kinds[i] == 51 ? 4 : kinds[i] == 44 ? 0 : i % 2;
		at += kinds[i] == 51 ? 24 : kinds[i] == 44 ? 8 : 8 + 8 * (i % 2);
	}
	assert_int_equal(at, 40 + 8 + 16 + 8 + 24 + 8);
	return len;
}

static void test_extension_headers(void **state)
{
	const size_t icmp = 104, fragment = 96;
	size_t len = build_chain(58);

	check_icmp_v6(icmp, len);
	len = build_chain(17);
	packet[icmp] = 3;
	answer(len);
	put(packet + fragment + 2, 1, 2); /* more fragments follow */
	answer(len);
	put(packet + fragment + 2, 8, 2);
	refused(len);
}

/* A truncated packet must not be read beyond its end. */
static void test_extension_headers_cut_short(void **state)
{
	size_t len = build_chain(17);

	for (size_t i = 40; i <= len; i++) {
		uint8_t *copy = malloc(i);
		struct icmp_error e;

		assert_non_null(copy);
		put(packet + 4, (uint32_t)(i - 40), 2);
		memcpy(copy, packet, i);
		assert_int_equal(icmp_unreachable(&e, copy, i), i >= 104);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v4),
		cmocka_unit_test(test_v6),
		cmocka_unit_test(test_sender_v4),
		cmocka_unit_test(test_sender_v6),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_addresses_v4),
		cmocka_unit_test(test_addresses_v6),
		cmocka_unit_test(test_fragments_v4),
		cmocka_unit_test(test_icmp_v4),
		cmocka_unit_test(test_icmp_v6),
		cmocka_unit_test(test_extension_headers),
		cmocka_unit_test(test_extension_headers_cut_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
