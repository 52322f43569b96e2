// SPDX-License-Identifier: MIT
/* Probes: the frame that the kernel gets, and how wgxdp recognizes it. */
#include <stdlib.h>

#include "nic.h"
#include "outer.h"
#include "probe.h"
#include "testutil.h"

static struct nic nic = {
	.ifindex = 5,
	.mac = {2, 0, 0, 0, 0, 1},
	.frame_size = 2048,
};
static const uint8_t sender[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t tag[WG_TAG_LEN] = "fifteen letters";

static void frame_of(const struct endpoint *from)
{
	uint8_t bytes[PROBE_FRAME_MAX];
	uint32_t len = probe_write(bytes, from, &nic, sender, 51820, 0x04030201, tag);
	struct nic_frame frame = {.data = bytes, .len = len};
	struct endpoint seen;
	uint32_t message_len;
	uint8_t *message = outer_parse(&nic, &frame, &seen, &message_len);

	assert_memory_equal(bytes, nic.mac, 6);
	assert_memory_equal(bytes + 6, sender, 6);
	assert_int_equal(bytes[12] << 8 | bytes[13],
			 from->addr.family == IP_V4 ? 0x0800 : 0x86dd);
	assert_true(endpoint_equal(&seen, from));
	assert_int_equal(message[-6] << 8 | message[-5], 51820);
	assert_true(outer_checksum_right(&frame));
	assert_int_equal(message_len, 32);
	assert_int_equal(message + message_len - bytes, len);
	assert_memory_equal(message, "\4\0\0\0\1\2\3\4\xff\xff\xff\xff\xff\xff\xff\xff",
			    16);
	assert_true(probe_is(message, message_len));
	assert_memory_equal(probe_tag(message), tag, sizeof(tag));
}

static void test_frame_v4(void **state)
{
	static const struct endpoint from = {
		.addr = {IP_V4, {192, 0, 2, 2}},
		.source = {IP_V4, {192, 0, 2, 1}},
		.port = 4711,
	};

	frame_of(&from);
}

static void test_frame_v6(void **state)
{
	static const struct endpoint from = {
		.addr = {IP_V6, {0xfe, 0x80, [15] = 2}},
		.source = {IP_V6, {0xfe, 0x80, [15] = 1}},
		.port = 4711,
		.scope_id = 5,
	};

	frame_of(&from);
}

/* No message of a session is taken for a probe: they are longer or have smaller
 * counters. */
static void test_what_is_none(void **state)
{
	uint8_t message[64] = {4};

	memset(message + 8, 0xff, 8);
	assert_true(probe_is(message, 32));
	assert_false(probe_is(message, 48));
	for (int i = 8; i < 16; i++) {
		message[i] = 0xfe;
		assert_false(probe_is(message, 32));
		message[i] = 0xff;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame_v4),
		cmocka_unit_test(test_frame_v6),
		cmocka_unit_test(test_what_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
