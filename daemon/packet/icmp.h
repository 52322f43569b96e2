/* SPDX-License-Identifier: MIT */
/*
 * ICMP "destination unreachable" messages: which packets are answered with one, and what it
 * says. IPv4 host unreachable (RFC 792), IPv6 address unreachable (RFC 4443). Keeps no state:
 * any thread. wg0/unreachable.h sends the message.
 */
#ifndef ICMP_H
#define ICMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"

#define ICMP_HEADER_LEN 8
/* How many bytes of the packet are quoted at most: with them the IP packet that carries the
 * message is as long as what every host accepts, 576 bytes for IPv4 (RFC 1812 section 4.3.2.3)
 * and 1280 for IPv6 (RFC 4443 section 2.4). */
#define ICMP_QUOTE_V4 (576 - 20 - ICMP_HEADER_LEN)
#define ICMP_QUOTE_V6 (1280 - 40 - ICMP_HEADER_LEN)

struct icmp_error {
	struct ip_addr to;    /* the sender of the packet */
	struct ip_addr about; /* the destination of the packet */
	uint8_t message[ICMP_HEADER_LEN + ICMP_QUOTE_V6];
	size_t len; /* of message, in bytes */
};

/*
 * Fills *e with the answer to a packet of `len` bytes, from its IP header on; bytes behind the
 * length that the header states are ignored. The IPv4 message is complete; the ICMPv6
 * checksum is left zero for the kernel. Returns false, with *e undefined, if no answer may be
 * sent (RFC 1122 section 3.2.2, RFC 4443 section 2.4): the packet is malformed, is an ICMP
 * error itself or a fragment other than the first, or its source or destination is not a
 * single host.
 */
bool icmp_unreachable(struct icmp_error *e, const uint8_t *packet, size_t len);

/*
 * Returns the offset in the message of the quoted packet's L4 header if that follows its IP header
 * directly and `len` bytes of it are quoted, else 0.
 */
size_t icmp_quoted_l4(const struct icmp_error *e, size_t len);

/*
 * Makes `from` the sender of the quoted packet, so the receiver of the message, and `port` (network
 * byte order) what is at offset `port_at` of the message, unless that is 0. The quoted IPv4 header
 * and the ICMP message have right checksums afterwards; the quoted L4 checksum stays as it was,
 * because nobody checks it: the packet may be quoted in part.
 */
void icmp_set_sender(struct icmp_error *e, const struct ip_addr *from, size_t port_at,
		     uint16_t port);

#endif
