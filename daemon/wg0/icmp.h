/* SPDX-License-Identifier: MIT */
/*
 * ICMP "destination unreachable" to the sender of a packet that no peer can take: IPv4
 * host unreachable (RFC 792), IPv6 address unreachable (RFC 4443). Any thread.
 */
#ifndef ICMP_H
#define ICMP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"
#include "ratelimit.h"

#define ICMP_HEADER_LEN 8
/* So much of the packet is quoted that the whole is no longer than what every host
 * takes: 576 bytes (RFC 1812 section 4.3.2.3), 1280 (RFC 4443 section 2.4). */
#define ICMP_QUOTE_V4 (576 - 20 - ICMP_HEADER_LEN)
#define ICMP_QUOTE_V6 (1280 - 40 - ICMP_HEADER_LEN)

/* What the kernel allows itself, its sysctls icmp_msgs_per_sec, icmp_msgs_burst and
 * icmp_ratelimit left alone; it does not limit what leaves by a raw socket. */
#define ICMP_PER_SECOND	     1000
#define ICMP_BURST	     50
#define ICMP_HOST_PER_SECOND 1
#define ICMP_HOST_BURST	     6

struct icmp_error {
	struct ip_addr to;    /* who sent the packet */
	struct ip_addr about; /* where it was to go */
	uint8_t message[ICMP_HEADER_LEN + ICMP_QUOTE_V6];
	size_t len;
};

/* False where nothing is to be sent: about what is no sane IP packet, an ICMP error, a
 * fragment but the first, to or from what is not one host (RFC 1122 section 3.2.2). */
bool icmp_unreachable(struct icmp_error *e, const uint8_t *packet, size_t len);

/*
 * Has the kernel send it, from an address of its choice, in the network namespace where
 * the interface of that TAP queue is: for a moment the calling thread is there, too. 0
 * or -errno; -EACCES where the packet was to a subnet's broadcast address.
 */
int icmp_send(const struct icmp_error *e, int tap_fd);

/* How many messages in all, and how many to each host but our own. */
struct icmp_limit {
	pthread_mutex_t lock;
	uint64_t full_at; /* ns: when the bucket of all will be, or was, full again */
	struct ratelimit hosts;
};

void icmp_limit_init(struct icmp_limit *l);
void icmp_limit_destroy(struct icmp_limit *l);
/* Whether one may be sent about a packet from there; it is counted then. `forwarded`: the
 * sender is another host. now is in nanoseconds of a monotonic clock. */
bool icmp_limit_take(struct icmp_limit *l, const struct ip_addr *to, bool forwarded,
		     uint64_t now);

#endif
