/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Headers in a frame by direct packet access. A function returns NULL or false if the
 * header is cut short or not what the function's name says; it never counts or decides.
 */
#ifndef BPF_PARSE_H
#define BPF_PARSE_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "wg_maps.h"

/* RFC 791 section 3.1: "more fragments" and the fragment offset. */
#define IPV4_FRAGMENT 0x3fff

/* A UDP datagram. The lengths that its headers state are not checked yet. */
struct udp_datagram {
	const struct ethhdr *eth;
	const struct udphdr *udp;
	struct flow_key flow; /* its ifindex is the caller's to set */
	__s32 ip_payload; /* as the IP header states; below zero if that is nonsense */
	__s32 in_frame;	  /* bytes of the frame behind the IP header */
};

static __always_inline __u32 le32(__u32 wire)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return wire;
#else
	return __builtin_bswap32(wire);
#endif
}

static __always_inline const struct ethhdr *eth_header(const void *data, const void *end)
{
	const struct ethhdr *eth = data;

	return (const void *)(eth + 1) > end ? NULL : eth;
}

static __always_inline const struct iphdr *ipv4_header(const void *data, const void *end)
{
	const struct iphdr *ip = data;

	if ((const void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return NULL;
	return ip;
}

static __always_inline const struct ipv6hdr *ipv6_header(const void *data,
							 const void *end)
{
	const struct ipv6hdr *ip = data;

	if ((const void *)(ip + 1) > end || ip->version != 6)
		return NULL;
	return ip;
}

static __always_inline bool udp_header(const void *data, const void *end,
				       struct udp_datagram *d)
{
	const struct udphdr *udp = data;

	if ((const void *)(udp + 1) > end)
		return false;
	d->udp = udp;
	d->flow.port = udp->source;
	d->in_frame = (__s32)(end - data);
	return true;
}

/* RFC 1071: a header with its checksum in place sums up to 0xffff. */
static __always_inline bool ipv4_checksum_right(const struct iphdr *ip)
{
	const __u16 *words = (const void *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16) == 0xffff;
}

static __always_inline void map_v4(__u8 out[16], __be32 addr)
{
	__builtin_memset(out, 0, 10);
	__builtin_memset(out + 10, 0xff, 2);
	__builtin_memcpy(out + 12, &addr, 4);
}

/* Returns false for fragments and options: the kernel puts such packets together. */
static __always_inline bool udp_over_ipv4(const void *data, const void *end,
					  struct udp_datagram *d)
{
	const struct iphdr *ip = ipv4_header(data, end);

	if (!ip || ip->ihl != 5 || ip->protocol != IPPROTO_UDP)
		return false;
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT) || !ipv4_checksum_right(ip))
		return false;
	map_v4(d->flow.source, ip->saddr);
	map_v4(d->flow.destination, ip->daddr);
	d->ip_payload = (__s32)bpf_ntohs(ip->tot_len) - (__s32)sizeof(*ip);
	return udp_header(ip + 1, end, d);
}

static __always_inline bool udp_over_ipv6(const void *data, const void *end,
					  struct udp_datagram *d)
{
	const struct ipv6hdr *ip = ipv6_header(data, end);

	if (!ip || ip->nexthdr != IPPROTO_UDP)
		return false;
	__builtin_memcpy(d->flow.source, &ip->saddr, 16);
	__builtin_memcpy(d->flow.destination, &ip->daddr, 16);
	d->ip_payload = bpf_ntohs(ip->payload_len);
	/* IPv6 allows no UDP datagram without a checksum (RFC 8200 section 8.1). */
	return udp_header(ip + 1, end, d) && d->udp->check;
}

static __always_inline bool parse_udp(const void *data, const void *end,
				      struct udp_datagram *d)
{
	const struct ethhdr *eth = eth_header(data, end);

	if (!eth)
		return false;
	d->eth = eth;
	d->flow.proto = eth->h_proto;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return udp_over_ipv4(eth + 1, end, d);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return udp_over_ipv6(eth + 1, end, d);
	return false;
}

#endif
