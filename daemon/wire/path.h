/* SPDX-License-Identifier: MIT */
/*
 * The way to a peer, ready to be used by a worker.
 *
 * Theory of operation: the control thread builds a path from an endpoint and the routing,
 * neighbour and link tables. If the device has AF_XDP sockets and the neighbour's address is
 * known, the path holds the Ethernet, IP and UDP headers as a template; else its nic is NULL and
 * messages leave by the UDP sockets (carrier.h). A path is immutable except for the two atomics,
 * and is replaced as a whole under RCU.
 */
#ifndef PATH_H
#define PATH_H

#include <stdatomic.h>
#include <stdint.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <urcu-qsbr.h>

#include "endpoint.h"
#include "route.h"

struct nic;

#define PATH_HEADER_MAX (14 + 40 + 8)
#define PATH_CMSG_MAX	CMSG_SPACE(sizeof(struct in6_pktinfo))

struct path {
	struct endpoint endpoint;
	struct route route; /* that the path was built from; ifindex 0: no route */

	struct nic
		*nic; /* if nic_may_send() is false: packets leave by the UDP sockets */
	uint8_t header[PATH_HEADER_MAX];
	uint8_t header_len;
	uint16_t max_message;  /* UDP payload that fits the NIC and the route's MTU */
	uint16_t max_datagram; /* UDP payload that the route's MTU does not fragment */

	struct sockaddr_storage to;
	socklen_t to_len;
	uint8_t cmsg[PATH_CMSG_MAX] __attribute__((aligned(8))); /* source address */
	size_t cmsg_len;					 /* 0: any */
	atomic_bool no_segment; /* a worker found that the device refuses UDP_SEGMENT */
	_Atomic uint16_t ip_id; /* of the next IPv4 packet by AF_XDP */
	struct rcu_head rcu;
};

/* Makes a path by the UDP sockets. */
void path_init(struct path *p, const struct endpoint *ep);
/* The same, allocated; NULL without memory. Freed by path_free_deferred(). Any thread. */
struct path *path_new(const struct endpoint *ep);
/* Sets the route, and so the datagram size, of a path that is not published yet. */
void path_set_route(struct path *p, const struct route *route);
/* Makes messages that fit leave by the NIC: builds their headers from the route, with the source
 * port `listen_port` (host order). Does nothing if the route's MTU is below what IPv4 demands of
 * every link. The path has a route and is not published yet. */
void path_use_nic(struct path *p, struct nic *nic, uint16_t listen_port);
/* Frees the path after a grace period. NULL is allowed. Any RCU thread. */
void path_free_deferred(struct path *p);

/* Takes `n` consecutive IPv4 IDs and returns the first of them. They are counted per path, from
 * a random start, because one counter for all peers would tell each peer how much is sent to the
 * others. Any thread. */
uint16_t path_take_ids(struct path *p, unsigned n);

/* Writes path->header_len bytes of headers to `out`, which the UDP payload of `len`
 * bytes follows in memory: lengths and checksums filled in. `tos` is the IPv4 TOS or the
 * IPv6 traffic class. */
void path_write_headers(const struct path *p, uint8_t *out, uint32_t len, uint16_t ip_id,
			uint8_t tos);

#endif
