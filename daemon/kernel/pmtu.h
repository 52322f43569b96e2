/* SPDX-License-Identifier: MIT */
/*
 * Notices when the MTU of an IPv6 path shrinks. Control thread only.
 *
 * Theory of operation: routers do not fragment IPv6 packets. A router that cannot forward a
 * packet sends "packet too big" to its source (RFC 4443 section 3.2). The kernel finds the UDP
 * socket by the ports, even if a worker sent the packet by AF_XDP, and stores the path's MTU
 * in its routing table, but sends no rtnetlink event. A raw socket therefore receives these
 * messages, too. After one, the path of the peer that the quoted packet was for is resolved again;
 * packets longer than the new MTU then leave by the UDP socket, which fragments them. A message
 * that quotes a packet to nobody's endpoint, or from another address than the path's, is
 * ignored.
 */
#ifndef PMTU_H
#define PMTU_H

#include <stdint.h>

struct endpoint;

struct pmtu {
	int fd; /* -1: the host has no IPv6 */
};

/* Gets what the quoted packet says: where it was going, and in `source` our address. */
typedef void pmtu_heard_fn(void *ctx, const struct endpoint *quoted);

/* Returns 0 or -errno; on error fd is -1. Needs CAP_NET_RAW. */
int pmtu_open(struct pmtu *p);
void pmtu_close(struct pmtu *p);
/* Reads messages without blocking, and calls `heard` for each that is about a UDP packet from this
 * port (host byte order). Reads a bounded number; the socket stays readable if there are
 * more. */
void pmtu_read(struct pmtu *p, uint16_t port, pmtu_heard_fn *heard, void *ctx);
/* To be called for each message about a peer. Returns when its path is to be resolved: now, or up
 * to one second later. The rate is limited because anybody who knows the peer's endpoint can
 * send such messages. *due keeps that time for the next call; it begins with 0. Times are in
 * nanoseconds of a monotonic clock. */
uint64_t pmtu_schedule(uint64_t *due, uint64_t now);

#endif
