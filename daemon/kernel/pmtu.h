/* SPDX-License-Identifier: MIT */
/*
 * Notices when the MTU of an IPv6 path shrinks. Control thread only.
 *
 * Theory of operation: routers do not fragment IPv6 packets. A router that cannot forward a
 * packet sends "packet too big" to its source (RFC 4443 section 3.2). The kernel finds the UDP
 * socket by the ports, even if a worker sent the packet by AF_XDP, and stores the path's MTU
 * in its routing table, but sends no rtnetlink event. A raw socket therefore receives these
 * messages, too. After one, the paths are resolved again; packets longer than the new MTU then
 * leave by the UDP socket, which fragments them.
 */
#ifndef PMTU_H
#define PMTU_H

#include <stdbool.h>
#include <stdint.h>

struct pmtu {
	int fd;	      /* -1: the host has no IPv6 */
	uint64_t due; /* ns: when the paths are resolved again, or last were */
};

/* Returns 0 or -errno; on error fd is -1. Needs CAP_NET_RAW. */
int pmtu_open(struct pmtu *p);
void pmtu_close(struct pmtu *p);
/* Reads messages without blocking. Returns true if any of them is about a UDP packet from this
 * port (host byte order). Reads a bounded number; the socket stays readable if there are
 * more. */
bool pmtu_heard(struct pmtu *p, uint16_t port);
/* To be called after pmtu_heard() returned true. Returns when the paths are to be resolved: now,
 * or up to one second later. The rate is limited because anybody can send such messages.
 * Times are in nanoseconds of a monotonic clock. */
uint64_t pmtu_schedule(struct pmtu *p, uint64_t now);

#endif
