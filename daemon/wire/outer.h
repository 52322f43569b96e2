/* SPDX-License-Identifier: MIT */
#ifndef OUTER_H
#define OUTER_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"
#include "inet.h"
#include "nic.h"

/*
 * The WireGuard message in a frame that the XDP program redirected (bpf/nic.bpf.c has
 * checked all lengths): where it is, its length, and who sent it from where to where.
 * Any thread that holds the frame.
 */
uint8_t *outer_parse(const struct nic *nic, const struct nic_frame *frame,
		     struct endpoint *from, uint32_t *len);

/*
 * Whether the UDP checksum of that frame is right, or there is none (IPv4). Right is also that
 * of the pseudo-header alone: a packet from this host by a veth has no other one, because its
 * kernel leaves the rest to a device that never comes.
 */
bool outer_checksum_right(const struct nic_frame *frame);

/*
 * ECN, the low two bits of the IPv4 TOS or the IPv6 traffic class (RFC 3168): outside it
 * says what inside does, and what the way did to it is taken in (RFC 6040).
 */
enum ecn {
	ECN_NOT_ECT = 0,
	ECN_ECT1 = 1,
	ECN_ECT0 = 2,
	ECN_CE = 3,
	ECN_MASK = 3,
};

/* Of a packet that has an IP header. */
static inline uint8_t ip_ecn(const uint8_t *packet)
{
	return (ip_version(packet) == 4 ? packet[IPV4_TOS] : packet[1] >> 4) & ECN_MASK;
}

/* Of the frame that outer_parse() takes. */
uint8_t outer_ecn(const struct nic_frame *frame);

/* Writes into the inner packet, which inner_packet_len() accepted, what the outer header
 * says. False: the packet is to be dropped. */
bool outer_ecn_to_inner(uint8_t outer, uint8_t *packet);

#endif
