/* SPDX-License-Identifier: MIT */
/*
 * Tells the sender of a packet that no peer can take it, by an ICMP message (packet/icmp.h),
 * and limits how many such messages are sent. Workers count against the limit; the control thread
 * sends (icmp_queue.h).
 */
#ifndef UNREACHABLE_H
#define UNREACHABLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"
#include "icmp.h"
#include "ratelimit.h"

/*
 * Makes the kernel send the message, from an address that the kernel chooses, in the network
 * namespace of the TAP device of which tap_fd is a queue. If NAT in that namespace has changed the
 * packet's source, *e becomes a message to the host that sent the packet. The calling thread enters that
 * namespace and returns to `home`, a descriptor of the namespace that it is in (netns.h). Returns
 * 0 or -errno; -EACCES if the packet was addressed to a subnet's broadcast address;
 * -ENOTRECOVERABLE as netns_visit().
 */
int icmp_send(struct icmp_error *e, int tap_fd, int home);

/* How many messages are sent to all hosts together, and to each other host. Shared by all
 * threads. */
struct icmp_limit {
	pthread_mutex_t lock;
	uint64_t full_at; /* ns: when the bucket of all is full again, or was */
	struct ratelimit hosts;
};

void icmp_limit_init(struct icmp_limit *l);
void icmp_limit_destroy(struct icmp_limit *l);
/*
 * Returns true if a message may be sent to `to`, and counts it then. `forwarded`: the sender is
 * another host; only such senders have a limit each. now: nanoseconds of a monotonic clock.
 */
bool icmp_limit_take(struct icmp_limit *l, const struct ip_addr *to, bool forwarded,
		     uint64_t now);

#endif
