/* SPDX-License-Identifier: MIT */
/* A packet, and the ICMP error about it: for tests of its content and of sending it. */
#ifndef ICMP_PACKET_H
#define ICMP_PACKET_H

#include "testutil.h"

#include "icmp.h"
#include "packet.h"

static const struct spec udp4 = {.udp = true};
static const struct spec udp6 = {.udp = true, .v6 = true};

static uint8_t packet[65536];

static size_t build_udp(const struct spec *s, size_t payload)
{
	static uint8_t bytes[65000];

	memset(packet, 0, sizeof(packet));
	for (size_t i = 0; i < payload; i++)
		bytes[i] = (uint8_t)random32();
	return build(packet, s, bytes, payload);
}

static struct icmp_error answer(size_t len)
{
	struct icmp_error e;

	memset(&e, 0xa5, sizeof(e));
	assert_true(icmp_unreachable(&e, packet, len));
	return e;
}

#endif
