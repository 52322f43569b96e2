/* SPDX-License-Identifier: MIT */
#ifndef OUTER_H
#define OUTER_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"
#include "inet.h"
#include "nic.h"

/*
 * Returns the WireGuard message in a frame that the XDP program redirected (bpf/nic.bpf.c has
 * checked all lengths). Sets *from to its sender, with our address as the source, and *len to
 * its length in bytes. Any thread that holds the frame.
 */
uint8_t *outer_parse(const struct nic *nic, const struct nic_frame *frame,
		     struct endpoint *from, uint32_t *len);

/*
 * Returns true if the UDP checksum of such a frame is right, or absent (IPv4). The checksum of the
 * pseudo-header alone is accepted, too: packets that this host sends over a veth carry it, because
 * the kernel leaves the rest to hardware.
 */
bool outer_checksum_right(const struct nic_frame *frame);

/*
 * ECN, the low two bits of the IPv4 TOS or the IPv6 traffic class (RFC 3168). The outer header
 * gets the inner one's, and what the underlay changed in it is written to the inner one (RFC
 * 6040).
 */
enum ecn {
	ECN_NOT_ECT = 0,
	ECN_ECT1 = 1,
	ECN_ECT0 = 2,
	ECN_CE = 3,
	ECN_MASK = 3,
};

/* The ECN of a packet that has an IP header. */
static inline uint8_t ip_ecn(const uint8_t *packet)
{
	return (ip_version(packet) == 4 ? packet[IPV4_TOS] : packet[1] >> 4) & ECN_MASK;
}

/* The ECN of a frame that outer_parse() takes. */
uint8_t outer_ecn(const struct nic_frame *frame);

/* Writes the outer header's ECN into the inner packet, which inner_packet_len() accepted. Returns
 * false if the packet must be dropped. */
bool outer_ecn_to_inner(uint8_t outer, uint8_t *packet);

#endif
