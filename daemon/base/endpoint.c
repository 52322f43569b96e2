// SPDX-License-Identifier: MIT
#include "endpoint.h"

#include <netinet/in.h>

bool ip_addr_mask(struct ip_addr *addr, unsigned cidr)
{
	unsigned whole = cidr / 8, i;

	if (!ip_addr_len(addr) || cidr > ip_addr_len(addr) * 8)
		return false;
	for (i = whole; i < sizeof(addr->bytes); i++) {
		if (i == whole)
			addr->bytes[i] &= (uint8_t)(0xff00 >> cidr % 8);
		else
			addr->bytes[i] = 0;
	}
	return true;
}

bool ip_addr_in(const struct ip_addr *addr, const struct ip_addr *prefix, unsigned cidr)
{
	struct ip_addr masked = *addr;

	return addr->family == prefix->family && ip_addr_mask(&masked, cidr) &&
	       ip_addr_equal(&masked, prefix);
}

void endpoint_to_sockaddr(const struct endpoint *ep, struct sockaddr_storage *to,
			  socklen_t *len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)to;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;

	memset(to, 0, sizeof(*to));
	if (ep->addr.family == IP_V4) {
		in->sin_family = AF_INET;
		in->sin_port = htons(ep->port);
		memcpy(&in->sin_addr, ep->addr.bytes, 4);
		*len = sizeof(*in);
	} else {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(ep->port);
		in6->sin6_scope_id = ep->scope_id;
		memcpy(&in6->sin6_addr, ep->addr.bytes, 16);
		*len = sizeof(*in6);
	}
}

void endpoint_from_sockaddr(const struct sockaddr_storage *from, struct endpoint *ep)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)from;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;

	memset(ep, 0, sizeof(*ep));
	if (from->ss_family == AF_INET) {
		ep->addr.family = IP_V4;
		memcpy(ep->addr.bytes, &in->sin_addr, 4);
		ep->port = ntohs(in->sin_port);
	} else if (from->ss_family == AF_INET6) {
		ep->addr.family = IP_V6;
		memcpy(ep->addr.bytes, &in6->sin6_addr, 16);
		ep->port = ntohs(in6->sin6_port);
		if (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
			ep->scope_id = in6->sin6_scope_id;
	}
}
