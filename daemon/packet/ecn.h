/* SPDX-License-Identifier: MIT */
/*
 * Explicit congestion notification: the low two bits of the IPv4 TOS or of the IPv6 traffic
 * class (RFC 3168), and how a tunnel carries it (RFC 6040). The outer header of a sent packet
 * gets the ECN of the inner one; the inner header of a received packet gets what the network
 * did to the outer one. Keeps no state: any thread.
 */
#ifndef ECN_H
#define ECN_H

#include <stdbool.h>
#include <stdint.h>

#include "inet.h"

enum ecn {
	ECN_NOT_ECT = 0,
	ECN_ECT1 = 1,
	ECN_ECT0 = 2,
	ECN_CE = 3,
	ECN_MASK = 3,
};

/* Returns the enum ecn of a packet that starts with a complete IP header. */
static inline uint8_t ip_ecn(const uint8_t *packet)
{
	return (ip_version(packet) == 4 ? packet[IPV4_TOS] : packet[1] >> 4) & ECN_MASK;
}

/*
 * Combines the ECN of the outer header with that of the inner packet, which
 * inner_packet_len() accepted, and writes the result into the inner packet. Returns false if
 * the packet must be dropped.
 */
bool outer_ecn_to_inner(uint8_t outer, uint8_t *packet);

#endif
