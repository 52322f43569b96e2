/* SPDX-License-Identifier: MIT */
/*
 * Addresses as the protocol and the data path pass them around: plain values,
 * compared byte by byte, without a socket header.
 */
#ifndef ENDPOINT_H
#define ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

enum ip_family { IP_NONE = 0, IP_V4 = 4, IP_V6 = 6 };

/* An IPv4 address uses the first four bytes, the others are zero. Network order. */
struct ip_addr {
	uint8_t family; /* enum ip_family */
	uint8_t bytes[16];
};

/*
 * Where a peer is: its address and port (host order), an interface index for a link-local
 * address, and the address of ours that it last wrote to ("sticky source"; IP_NONE lets the
 * routing table choose). Zero the whole struct before filling it: it is compared by memcmp.
 */
struct endpoint {
	struct ip_addr addr;
	struct ip_addr source;
	uint16_t port;
	uint32_t scope_id;
};

static inline bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static inline bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return ip_addr_equal(&a->addr, &b->addr) &&
	       ip_addr_equal(&a->source, &b->source) && a->port == b->port &&
	       a->scope_id == b->scope_id;
}

/* Returns true for fe80::/10, whose addresses need an interface (RFC 4291 2.5.6). */
static inline bool ip_addr_link_local(const struct ip_addr *a)
{
	return a->family == IP_V6 && a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

static inline unsigned ip_addr_len(const struct ip_addr *a)
{
	return a->family == IP_V4 ? 4 : a->family == IP_V6 ? 16 : 0;
}

/* Clears the host bits of a prefix of `cidr` bits, and the bytes that the family does not use.
 * Returns false, with the address unchanged, if the family or the length is not valid. */
bool ip_addr_mask(struct ip_addr *addr, unsigned cidr);

/* Returns true if the address lies in the prefix of `cidr` bits, whose host bits are zero. */
bool ip_addr_in(const struct ip_addr *addr, const struct ip_addr *prefix, unsigned cidr);

/* The endpoint's address, port and scope as a socket address; *len is the size of its family's
 * struct. */
void endpoint_to_sockaddr(const struct endpoint *ep, struct sockaddr_storage *to,
			  socklen_t *len);
/* The reverse, without a source address. ep->addr.family is IP_NONE if the socket address is
 * neither IPv4 nor IPv6. The scope is kept for link-local addresses only. */
void endpoint_from_sockaddr(const struct sockaddr_storage *from, struct endpoint *ep);

#endif
