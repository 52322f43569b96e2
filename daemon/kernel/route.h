/* SPDX-License-Identifier: MIT */
/*
 * From an endpoint to what a worker needs to send to it without asking the kernel: device,
 * Ethernet header, source address. The control thread makes a route. It is a plain value, which
 * is right until an event of rtnl.h says otherwise.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"
#include "neighbours.h"

struct routing;

#define ROUTE_L2_LEN 14

struct route {
	uint32_t ifindex;
	struct ip_addr source;	  /* IP_NONE: the kernel names none */
	struct ip_addr nexthop;	  /* may be IPv6 under an IPv4 endpoint (RFC 5549) */
	uint8_t l2[ROUTE_L2_LEN]; /* Ethernet: destination, source, type */
	/*
	 * False: l2 is zero, send by the UDP socket. The neighbour is not resolved yet, the
	 * device is not Ethernet, the destination is this host or a broadcast or multicast
	 * address, there is no source address, or the route adds a header.
	 */
	bool l2_ok;
	/* The next hop's neighbour entry decides about l2_ok: its events concern this route. */
	bool by_neighbour;
	bool source_gone; /* endpoint->source was not usable, source is another one */
	/* The kernel chooses endpoint->source and this way also if it is not told the source. */
	bool source_default;
	uint8_t ttl;  /* TTL or hop limit */
	uint32_t mtu; /* bytes of IP packet: the least of device, route and path */
};

/*
 * Looks up the route to an endpoint: one netlink exchange, with a sticky source two (three if IPv6
 * would choose another source; a next hop that is not in the table: one to four more). If the neighbour is not
 * resolved, asks the kernel to resolve it, so that an event follows. 0 or -errno: -ENETUNREACH,
 * -EHOSTUNREACH and others of rtnl_route_get(); -EINVAL for a link-local address without its
 * scope; -EAFNOSUPPORT for an endpoint without address; -ENODEV if the link is not in the table,
 * whose event is about to come. *out is zeroed on error.
 *
 * A learnt path MTU comes and expires without an event: ask again now and then. The caller
 * checks whether ifindex is wg0 itself, which would be a loop.
 */
int route_resolve(struct routing *t, const struct endpoint *ep, uint16_t listen_port,
		  uint32_t fwmark, struct route *out);

/*
 * Tells the kernel that the next hop is in use. The kernel does not see what workers send by
 * AF_XDP, and would let the neighbour grow stale and forget it. To be called every few seconds
 * for a route that is in use. 0 or -errno.
 */
int route_keep_neigh(struct routing *t, const struct route *route);

/* Returns what the route took its next hop for. */
struct neighbour route_neighbour(const struct route *route);

/*
 * Returns true if the sticky source has to be forgotten because the route that it belonged to is
 * gone: the same endpoint was reached by device `before`, which has that address, and now is
 * reached by `after` (0: by none). An address of another device, for example lo, stays as good
 * on the new route.
 */
bool route_left_source(struct routing *t, const struct endpoint *ep, uint32_t before,
		       uint32_t after);

#endif
