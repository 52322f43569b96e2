/* SPDX-License-Identifier: MIT */
/*
 * Asks the kernel's connection tracking who sent a packet whose source was translated (NAT), as
 * by a rule that masquerades what leaves by wg0. Any thread.
 */
#ifndef CONNTRACK_H
#define CONNTRACK_H

#include <stdint.h>

#include "endpoint.h"

/* What conntrack tells packets apart by. Ports are in network byte order; of an ICMP echo request
 * both are the identifier. */
struct conntrack_flow {
	uint8_t proto; /* TCP, UDP, ICMP or ICMPv6 */
	struct ip_addr src, dst;
	uint16_t src_port, dst_port;
};

/*
 * Replaces source and source port of a packet that has left by those that it came with. Asks in the
 * network namespace that the thread is in, by one netlink exchange. Returns 0, also if nothing was
 * translated; -ENOENT if the kernel does not track the packet; -EPROTONOSUPPORT for another
 * protocol; or another -errno. After an error the flow is unchanged.
 */
int conntrack_undo_source(struct conntrack_flow *flow);

#endif
