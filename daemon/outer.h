/* SPDX-License-Identifier: MIT */
#ifndef OUTER_H
#define OUTER_H

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

#endif
