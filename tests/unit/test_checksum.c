/* SPDX-License-Identifier: MIT */
/* The Internet checksum against RFC 1071's example and a byte-wise sum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "checksum.h"
#include "inet.h"

static uint32_t random_state = 0x2545f491;

static uint32_t random32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

/* RFC 1071 word by word, as a number in host order. */
static uint16_t reference(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : p[i] << 8;
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return sum;
}

static uint16_t fold_be(uint64_t sum)
{
	return be16toh(csum_fold(sum));
}

static void rfc1071_example(void **state)
{
	static const uint8_t data[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	assert_int_equal(fold_be(csum_add(0, data, sizeof(data))), 0xddf2);
	assert_int_equal(be16toh(csum_finish(csum_add(0, data, sizeof(data)))), 0x220d);
}

static void ipv4_header_example(void **state)
{
	static const uint8_t header[] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40,
					 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
					 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
	uint64_t sum = csum_add(0, header, sizeof(header));

	assert_int_equal(csum_fold(sum), 0xffff);
	sum = csum_sub16(sum, load16(header + 10));
	assert_int_equal(be16toh(csum_finish(sum)), 0xb861);
}

static void every_length_and_alignment(void **state)
{
	uint8_t data[512 + 16], copy[512 + 16];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = random32();
	for (size_t len = 0; len <= 512; len++) {
		size_t from = random32() % 16, to = random32() % 15;

		memset(copy, 0xa5, sizeof(copy));
		assert_int_equal(fold_be(csum_add(0, data + from, len)),
				 reference(data + from, len));
		assert_int_equal(fold_be(csum_copy(0, copy + to, data + from, len)),
				 reference(data + from, len));
		assert_memory_equal(copy + to, data + from, len);
		assert_int_equal(copy[to + len], 0xa5);
		if (to)
			assert_int_equal(copy[to - 1], 0xa5);
	}
}

static void carries_are_kept(void **state)
{
	size_t len = 65535;
	uint8_t *ones = malloc(len);

	assert_non_null(ones);
	memset(ones, 0xff, len);
	/* 32767 words of 0xffff, which are zero, and 0xff00. */
	assert_int_equal(fold_be(csum_add(0, ones, len)), 0xff00);
	assert_int_equal(fold_be(csum_add(0, ones, len - 1)), 0xffff);
	assert_int_equal(fold_be(csum_add(csum_add(0, ones, len - 1), ones, len)),
			 0xff00);
	free(ones);
}

static void sums_of_ranges_add_up(void **state)
{
	uint8_t data[301];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = random32();
	for (size_t cut = 0; cut <= 300; cut += 2) {
		uint64_t sum = csum_add(0, data, cut);

		sum += csum_add(0, data + cut, sizeof(data) - cut);
		assert_int_equal(fold_be(sum), reference(data, sizeof(data)));
	}
}

static void fold_of_extremes(void **state)
{
	assert_int_equal(csum_fold(0), 0);
	assert_int_equal(csum_fold(0xffff), 0xffff);
	assert_int_equal(csum_fold(0x10000), 1);
	assert_int_equal(csum_fold(0x1fffe), 0xffff);
	assert_int_equal(csum_fold(0xffffffffffffffff), 0xffff);
	assert_int_equal(csum_fold(0xffffffff00000001), 1);
	assert_int_equal(csum_fold(0x8000000000000000), 0x8000);
}

static void fields_in_and_out(void **state)
{
	uint64_t sum = csum_add_be32(csum_add_be16(0, 0x1234), 0xfffe0003);

	assert_int_equal(fold_be(sum), 0x1236);
	assert_int_equal(fold_be(csum_sub16(sum, htobe16(0x1000))), 0x0236);
}

static void udp_never_zero(void **state)
{
	static const uint8_t data[] = {0x12, 0x34, 0xed, 0xcb};
	uint64_t sum = csum_add(0, data, sizeof(data));

	assert_int_equal(csum_finish(sum), 0);
	assert_int_equal(csum_finish_nonzero(sum), 0xffff);
	assert_int_equal(be16toh(csum_finish_nonzero(csum_add(0, data, 2))), 0xedcb);
}

static void pseudo_headers(void **state)
{
	static const uint8_t addrs4[] = {10, 1, 2, 3, 192, 168, 7, 9};
	static const uint8_t addrs6[32] = {
		[0] = 0x20,  [1] = 0x01,  [2] = 0x0d,  [3] = 0xb8,  [15] = 1,
		[16] = 0xfd, [27] = 0xab, [28] = 0xcd, [29] = 0xef, [31] = 2,
	};

	assert_int_equal(fold_be(csum_pseudo4(addrs4, 17, 0x1234)), 0xe5fa);
	/* The length has 32 bits in IPv6. */
	assert_int_equal(fold_be(csum_pseudo6(addrs6, 6, 0x10028)), 0xf986);
}

static void inner_length_v4(void **state)
{
	uint8_t packet[64] = {0x45, 0, 0, 40};

	assert_int_equal(inner_packet_len(packet, 64), 40);
	assert_int_equal(inner_packet_len(packet, 40), 40);
	assert_int_equal(inner_packet_len(packet, 39), -EBADMSG);
	assert_int_equal(inner_packet_len(packet, 19), -EBADMSG);
	assert_int_equal(inner_packet_len(packet, 0), -EBADMSG);
	packet[0] = 0x4a;
	assert_int_equal(inner_packet_len(packet, 64), 40);
	packet[0] = 0x4b;
	assert_int_equal(inner_packet_len(packet, 64), -EBADMSG);
	packet[0] = 0x44;
	assert_int_equal(inner_packet_len(packet, 64), -EBADMSG);
	packet[0] = 0x45;
	packet[3] = 19;
	assert_int_equal(inner_packet_len(packet, 64), -EBADMSG);
	packet[2] = 0x80;
	assert_int_equal(inner_packet_len(packet, 64), -EBADMSG);
	packet[0] = 0x55;
	assert_int_equal(inner_packet_len(packet, 64), -EBADMSG);
}

static void inner_length_v6(void **state)
{
	uint8_t packet[64] = {0x60, 0, 0, 0, 0, 8};

	assert_int_equal(inner_packet_len(packet, 64), 48);
	assert_int_equal(inner_packet_len(packet, 48), 48);
	assert_int_equal(inner_packet_len(packet, 47), -EBADMSG);
	assert_int_equal(inner_packet_len(packet, 39), -EBADMSG);
	packet[5] = 0;
	assert_int_equal(inner_packet_len(packet, 40), 40);
	packet[4] = 0xff;
	packet[5] = 0xff;
	assert_int_equal(inner_packet_len(packet, 64), -EBADMSG);
	assert_int_equal(inner_packet_len(packet, 1), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc1071_example),
		cmocka_unit_test(ipv4_header_example),
		cmocka_unit_test(every_length_and_alignment),
		cmocka_unit_test(carries_are_kept),
		cmocka_unit_test(sums_of_ranges_add_up),
		cmocka_unit_test(fold_of_extremes),
		cmocka_unit_test(fields_in_and_out),
		cmocka_unit_test(udp_never_zero),
		cmocka_unit_test(pseudo_headers),
		cmocka_unit_test(inner_length_v4),
		cmocka_unit_test(inner_length_v6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
