/* SPDX-License-Identifier: MIT */
/*
 * What route_resolve() looks up routes in: rtnetlink, and tables that its events keep.
 *
 * Theory of operation: only the route itself is asked of the kernel, because policy rules,
 * multipath hashes and learnt path MTUs cannot be repeated here. Links and next hops come from
 * tables. The host's default TTL and the IPv6 hop limit and MTU of links are sysctls, which
 * change without an event: routing_refresh() reads them again when they are older than
 * ROUTING_MAX_AGE_NS, so they cost nothing per packet, per handshake or per path.
 */
#ifndef ROUTING_H
#define ROUTING_H

#include <stdint.h>

#include "links.h"
#include "nanoseconds.h"
#include "neighbours.h"

#define ROUTING_MAX_AGE_NS (60 * NS_PER_SEC)

/* Control thread only. A zeroed struct may be closed. */
struct routing {
	struct rtnl *rtnl;
	struct links links;
	struct neighbours neighbours;
	uint8_t default_ttl; /* of IPv4 */
	uint64_t read_at;    /* ns */
};

/* Reads the links and the default TTL. 0 or -errno. */
int routing_open(struct routing *t, struct rtnl *r, uint64_t now);
void routing_close(struct routing *t);
/* Events were lost: reads the links again and forgets next hops. 0 or -errno; on error the
 * links are as before. `now` in ns. */
int routing_read(struct routing *t, uint64_t now);
/* The same for links and the default TTL, if they are too old. Next hops stay. */
void routing_refresh(struct routing *t, uint64_t now);

#endif
