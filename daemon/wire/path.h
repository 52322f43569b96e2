/* SPDX-License-Identifier: MIT */
/*
 * The way to a peer, ready to use by a worker: immutable except for what
 * it turns out to refuse and for the IPv4 ID, replaced under RCU.
 *
 * Theory of operation: the control thread builds a path from an endpoint and the
 * routing, neighbour and link tables. Where the device has AF_XDP sockets and the
 * neighbour's address is known, it holds the Ethernet, IP and UDP headers as a
 * template; else nic is NULL and packets go by the UDP socket.
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
	struct route route; /* what it was built from; ifindex 0: no route */

	struct nic *nic;
	uint8_t header[PATH_HEADER_MAX];
	uint8_t header_len;
	uint16_t max_message;  /* UDP payload that fits the NIC and the route's MTU */
	uint16_t max_datagram; /* UDP payload that the route's MTU does not fragment */

	struct sockaddr_storage to;
	socklen_t to_len;
	uint8_t cmsg[PATH_CMSG_MAX] __attribute__((aligned(8))); /* source address */
	size_t cmsg_len;					 /* 0: any */
	atomic_bool no_segment; /* the device refused UDP_SEGMENT: a worker found out */
	_Atomic uint16_t ip_id; /* of the next IPv4 packet by AF_XDP */
	struct rcu_head rcu;
};

/* A path by the UDP socket; path_use_nic() adds the way by AF_XDP. */
void path_init(struct path *p, const struct endpoint *ep);
/* The same, allocated; NULL without memory. */
struct path *path_new(const struct endpoint *ep);
void path_set_route(struct path *p, const struct route *route);
void path_use_nic(struct path *p, struct nic *nic, uint16_t listen_port);
/* After a grace period. NULL is allowed. */
void path_free_deferred(struct path *p);

/* The first of `n` consecutive IPv4 IDs, which the caller alone has. Any thread. They are
 * counted per path, from a random start: a counter for all peers would tell each of them how
 * much the others are sent. */
uint16_t path_take_ids(struct path *p, unsigned n);

/* Writes path->header_len bytes of headers to `out`, which the UDP payload of `len`
 * bytes follows in memory: lengths and checksums filled in. `tos` is the IPv4 TOS or the
 * IPv6 traffic class. */
void path_write_headers(const struct path *p, uint8_t *out, uint32_t len, uint16_t ip_id,
			uint8_t tos);

#endif
