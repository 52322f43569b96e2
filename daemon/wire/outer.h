/* SPDX-License-Identifier: MIT */
#ifndef OUTER_H
#define OUTER_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"
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

/* Returns the 6 bytes of the sender's address in the Ethernet header in front of a message that
 * outer_parse() returned. */
const uint8_t *outer_sender_mac(const uint8_t *message, enum ip_family family);

/* Returns the ECN (ecn.h) of the outer header of a frame that outer_parse() accepts. */
uint8_t outer_ecn(const struct nic_frame *frame);

#endif
