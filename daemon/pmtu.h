/* SPDX-License-Identifier: MIT */
/*
 * Word of an IPv6 path's MTU.
 *
 * Theory of operation: nobody on the way cuts an IPv6 packet. Who cannot pass it on tells
 * its source so (RFC 4443 section 3.2), and the kernel, which finds our UDP socket by the
 * ports even though a worker sent the packet by AF_XDP, notes the path's MTU. But it makes
 * no event of that. So a raw socket hears what it hears; then the paths have to be looked
 * up anew, and what is too long goes by the UDP socket, in fragments.
 */
#ifndef PMTU_H
#define PMTU_H

#include <stdbool.h>
#include <stdint.h>

/* The socket, not blocking, or -errno. Needs CAP_NET_RAW. */
int pmtu_open(void);
/* Whether any of what came in is about a UDP packet from this port. Reads a bounded number;
 * the socket stays readable where there are more. */
bool pmtu_heard(int fd, uint16_t port);

#endif
