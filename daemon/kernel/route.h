/* SPDX-License-Identifier: MIT */
/*
 * From an endpoint to what a worker needs to send to it without asking the kernel:
 * device, Ethernet header, source address. Made by the control thread; a plain
 * value, which holds for as long as no event of rtnl.h says otherwise.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include <stdbool.h>
#include <stdint.h>
#include "endpoint.h"

struct rtnl;

#define ROUTE_L2_LEN 14

struct route {
	uint32_t ifindex;
	struct ip_addr source;	  /* IP_NONE: the kernel names none */
	struct ip_addr nexthop;	  /* may be IPv6 under an IPv4 endpoint (RFC 5549) */
	uint8_t l2[ROUTE_L2_LEN]; /* Ethernet: destination, source, type */
	/*
	 * False: l2 is zero, send by the UDP socket. The neighbour is not resolved
	 * yet, the device is not Ethernet, the destination is this host, a broadcast
	 * or multicast address, there is no source address, or the route adds a header
	 * of its own.
	 */
	bool l2_ok;
	bool source_gone; /* endpoint->source was not usable, source is another one */
	uint8_t ttl;	  /* TTL or hop limit */
	uint32_t mtu;	  /* bytes of IP packet: the least of device, route and path */
};

/*
 * Where a neighbour is not resolved the kernel is asked to see to it, so that an event
 * follows. 0 or -errno: -ENETUNREACH, -EHOSTUNREACH and others of
 * rtnl_route_get(); -EINVAL for a link-local address without its scope;
 * -EAFNOSUPPORT for an endpoint without address. *out is zeroed on error.
 *
 * A learnt path MTU comes and expires without an event: ask again now and then.
 * Whether ifindex is wg0 itself, a loop, is for the caller to see.
 */
int route_resolve(struct rtnl *r, const struct endpoint *ep, uint16_t listen_port,
		  uint32_t fwmark, struct route *out);

/*
 * Tells the kernel that the next hop is in use. It does not see what workers send by
 * themselves, and would let the neighbour grow stale and forget it. To be called
 * every few seconds for a route that is sent by. 0 or -errno.
 */
int route_keep_neigh(struct rtnl *r, const struct route *route);

/*
 * Whether the event calls for route_resolve() again, as any but this one does; parameters
 * as in rtnl.h. The failure of a neighbour that was not resolved anyhow does not, or a
 * dead one would be asked for for ever: the next packet by the UDP socket asks.
 */
bool route_affected_by_neigh(const struct route *route, uint32_t ifindex,
			     const struct ip_addr *addr, uint16_t state,
			     const uint8_t *mac);

/*
 * Whether the sticky source has to be forgotten because the way that it belonged to is
 * gone: the same endpoint was reached by device `before`, which has that address, and
 * now is by `after` (0: by none). An address of another device, lo perhaps, is as good
 * on the new way.
 */
bool route_left_source(struct rtnl *r, const struct endpoint *ep, uint32_t before,
		       uint32_t after);

#endif
