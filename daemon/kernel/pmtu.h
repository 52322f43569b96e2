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

struct pmtu {
	int fd;	      /* -1: none, on a host without IPv6 */
	uint64_t due; /* ns: when paths are, or last were, to be looked up */
};

/* 0 or -errno, and then fd is -1. Needs CAP_NET_RAW. */
int pmtu_open(struct pmtu *p);
void pmtu_close(struct pmtu *p);
/* Whether any of what came in is about a UDP packet from this port. Reads a bounded number;
 * the socket stays readable where there are more. */
bool pmtu_heard(struct pmtu *p, uint16_t port);
/* When to look up paths, that being so: now, or within a second, for anybody can say that a
 * path is too small. */
uint64_t pmtu_schedule(struct pmtu *p, uint64_t now);

#endif
