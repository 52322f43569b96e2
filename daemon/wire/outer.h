/* SPDX-License-Identifier: MIT */
#ifndef OUTER_H
#define OUTER_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"
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

/* Returns the ECN (ecn.h) of the outer header of a frame that outer_parse() accepts. */
uint8_t outer_ecn(const struct nic_frame *frame);

#endif
