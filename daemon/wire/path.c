// SPDX-License-Identifier: MIT
#include "path.h"

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdlib.h>

#include <sodium.h>

#include "checksum.h"
#include "inet.h"
#include "nic.h"
#include "wg_proto.h"

#define IP_MAX 65535
/* Every Internet link carries more than this (RFC 791): what is less is left to the kernel. */
#define MTU_MIN 576

static void *put_cmsg(struct path *p, int level, int type, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)p->cmsg;

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	p->cmsg_len = CMSG_SPACE(len);
	return CMSG_DATA(c);
}

static void put_source(struct path *p)
{
	const struct endpoint *ep = &p->endpoint;

	if (ep->source.family != ep->addr.family)
		return;
	if (ep->source.family == IP_V4) {
		struct in_pktinfo info = {0};

		memcpy(&info.ipi_spec_dst, ep->source.bytes, 4);
		memcpy(put_cmsg(p, IPPROTO_IP, IP_PKTINFO, sizeof(info)), &info,
		       sizeof(info));
	} else {
		struct in6_pktinfo info = {.ipi6_ifindex = ep->scope_id};

		memcpy(&info.ipi6_addr, ep->source.bytes, 16);
		memcpy(put_cmsg(p, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(info)), &info,
		       sizeof(info));
	}
}

void path_init(struct path *p, const struct endpoint *ep)
{
	memset(p, 0, sizeof(*p));
	p->endpoint = *ep;
	endpoint_to_sockaddr(ep, &p->to, &p->to_len);
	put_source(p);
}

struct path *path_new(const struct endpoint *ep)
{
	struct path *p = malloc(sizeof(*p));

	if (p)
		path_init(p, ep);
	return p;
}

static void template_v4(struct path *p, const struct route *r)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.ttl = r->ttl,
		.protocol = IPPROTO_UDP,
	};

	memcpy(&ip.saddr, r->source.bytes, 4);
	memcpy(&ip.daddr, p->endpoint.addr.bytes, 4);
	memcpy(p->header + ETH_HLEN, &ip, sizeof(ip));
	p->header_len = ETH_HLEN + sizeof(ip) + sizeof(struct udphdr);
}

static void template_v6(struct path *p, const struct route *r)
{
	struct ipv6hdr ip = {
		.version = 6,
		.hop_limit = r->ttl,
		.nexthdr = IPPROTO_UDP,
	};

	memcpy(&ip.saddr, r->source.bytes, 16);
	memcpy(&ip.daddr, p->endpoint.addr.bytes, 16);
	memcpy(p->header + ETH_HLEN, &ip, sizeof(ip));
	p->header_len = ETH_HLEN + sizeof(ip) + sizeof(struct udphdr);
}

void path_set_route(struct path *p, const struct route *route)
{
	uint32_t ip_len =
		p->endpoint.addr.family == IP_V4 ? IPV4_HEADER_LEN : IPV6_HEADER_LEN;
	uint32_t mtu = route->mtu < IP_MAX ? route->mtu : IP_MAX;

	p->route = *route;
	if (mtu > ip_len + UDP_HEADER_LEN)
		p->max_datagram = (uint16_t)(mtu - ip_len - UDP_HEADER_LEN);
}

void path_use_nic(struct path *p, struct nic *nic, uint16_t listen_port)
{
	struct udphdr udp = {.source = htons(listen_port),
			     .dest = htons(p->endpoint.port)};
	uint32_t room;

	if (p->route.mtu < MTU_MIN)
		return;
	memcpy(p->header, p->route.l2, ETH_HLEN);
	if (p->endpoint.addr.family == IP_V4)
		template_v4(p, &p->route);
	else
		template_v6(p, &p->route);
	memcpy(p->header + p->header_len - sizeof(udp), &udp, sizeof(udp));
	room = nic_frame_room(nic) - p->header_len;
	p->max_message = (uint16_t)(p->max_datagram < room ? p->max_datagram : room);
	atomic_init(&p->ip_id, (uint16_t)randombytes_random());
	p->nic = nic;
}

uint16_t path_take_ids(struct path *p, unsigned n)
{
	return atomic_fetch_add_explicit(&p->ip_id, (uint16_t)n, memory_order_relaxed);
}

static void path_free(struct rcu_head *head)
{
	free(caa_container_of(head, struct path, rcu));
}

void path_free_deferred(struct path *p)
{
	if (p)
		urcu_qsbr_call_rcu(&p->rcu, path_free);
}

static void finish_v4(uint8_t *ip, uint16_t total_len, uint16_t id, uint8_t tos)
{
	ip[IPV4_TOS] = tos;
	put_be16(ip + IPV4_TOTAL_LEN, total_len);
	put_be16(ip + IPV4_ID, id);
	store16(ip + IPV4_CHECK, csum_finish(csum_add(0, ip, IPV4_HEADER_LEN)));
}

static void finish_v6(uint8_t *ip, uint16_t payload_len, uint8_t tos)
{
	ip[0] |= tos >> 4;
	ip[1] = (uint8_t)(tos << 4); /* no flow label */
	put_be16(ip + IPV6_PAYLOAD_LEN, payload_len);
}

void path_write_headers(const struct path *p, uint8_t *out, uint32_t len, uint16_t ip_id,
			uint8_t tos)
{
	uint8_t *ip = out + ETH_HLEN, *udp = out + p->header_len - UDP_HEADER_LEN;
	uint16_t udp_len = (uint16_t)(len + UDP_HEADER_LEN);
	uint64_t sum;

	memcpy(out, p->header, p->header_len);
	put_be16(udp + UDP_LEN, udp_len);
	if (p->endpoint.addr.family == IP_V4) {
		finish_v4(ip, (uint16_t)(udp_len + IPV4_HEADER_LEN), ip_id, tos);
		sum = csum_pseudo4(ip + IPV4_ADDRS, IP_PROTO_UDP, udp_len);
	} else {
		finish_v6(ip, udp_len, tos);
		sum = csum_pseudo6(ip + IPV6_ADDRS, IP_PROTO_UDP, udp_len);
	}
	store16(udp + UDP_CHECK, csum_finish_nonzero(csum_add(sum, udp, udp_len)));
}
