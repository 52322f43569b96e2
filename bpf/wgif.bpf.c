// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * TC on wg0: cryptokey routing (whitepaper section 2), both ways; and the TAP's filter,
 * which lets nothing leave that TC egress has not tagged.
 *
 * Theory of operation. The Ethernet addresses on wg0 mean nothing to the kernel,
 * so they carry the peer's slot (the tag) between these programs and the workers.
 * Egress looks the destination up in the allowed IPs and writes the peer's tag
 * into the destination address, over whatever is there. Where no peer has the
 * destination, it writes a slot that none has: the worker then tells the sender by
 * ICMP. What has been in too many tunnels of this host already goes round in a loop
 * and ends here.
 *
 * A frame can leave without TC egress (PACKET_QDISC_BYPASS, AF_XDP, the program was
 * removed), with any tag that its sender wrote. So egress marks what it has tagged in
 * skb->tc_index. Only TC writes this field; clones and segments keep it. The TAP runs
 * the filter on every frame that it is given, and the filter drops those without the
 * mark.
 *
 * Ingress finds in the source address the tag of the peer whose key opened the packet,
 * and lets it in only if the inner source address belongs to that same peer. The worker
 * addresses such frames to nobody, for which the kernel drops them (PACKET_OTHERHOST)
 * unless ingress has made them PACKET_HOST: without it no packet gets into the stack.
 */
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "maps.h"
#include "parse.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/*
 * What egress writes into skb->tc_index. The GRED queueing discipline keeps a number of its
 * own in the low four bits, so they are zero here and the filter ignores them.
 */
#define TAGGED	      0x5740
#define TAGGED_IGNORE 0x000f

/* What the allowed IPs say of an address. */
enum owner { OWNED, NOBODYS, NOT_IP };

enum inner_address { SOURCE, DESTINATION };

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, WG_MAX_ALLOWED_IPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lpm4_key);
	__type(value, struct allowed_ip);
} allowed_ips4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, WG_MAX_ALLOWED_IPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lpm6_key);
	__type(value, struct allowed_ip);
} allowed_ips6 SEC(".maps");

static __always_inline int drop(enum drop_reason reason)
{
	count_drop(reason);
	return TC_ACT_SHOT;
}

/*
 * Makes the headers linear, which they are already for nearly every packet: then
 * a clone stays shared. Invalidates all pointers into the packet.
 */
static __always_inline void pull_headers(struct __sk_buff *skb)
{
	__u32 want = sizeof(struct ethhdr) + sizeof(struct ipv6hdr);

	if (want > skb->len)
		want = skb->len;
	if ((long)skb->data_end - (long)skb->data < want)
		bpf_skb_pull_data(skb, want);
}

static __always_inline const struct allowed_ip *lookup4(const struct iphdr *ip,
							enum inner_address which)
{
	struct lpm4_key key = {.prefixlen = 32};

	__builtin_memcpy(key.addr, which == SOURCE ? &ip->saddr : &ip->daddr, 4);
	return bpf_map_lookup_elem(&allowed_ips4, &key);
}

static __always_inline const struct allowed_ip *lookup6(const struct ipv6hdr *ip,
							enum inner_address which)
{
	struct lpm6_key key = {.prefixlen = 128};

	__builtin_memcpy(key.addr, which == SOURCE ? &ip->saddr : &ip->daddr, 16);
	return bpf_map_lookup_elem(&allowed_ips6, &key);
}

/* Sets *peer to the slot of the peer that has the address, if it is OWNED. */
static __always_inline enum owner find_owner(const struct __sk_buff *skb,
					     enum inner_address which, __u32 *peer)
{
	const void *data = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;
	const struct ethhdr *eth = eth_header(data, end);
	const struct allowed_ip *allowed;
	const struct ipv6hdr *ip6;
	const struct iphdr *ip4;

	/* The kernel may hold a VLAN tag next to the packet instead of in it. */
	if (!eth || skb->vlan_present)
		return NOT_IP;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		ip4 = ipv4_header(eth + 1, end);
		if (!ip4)
			return NOT_IP;
		allowed = lookup4(ip4, which);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		ip6 = ipv6_header(eth + 1, end);
		if (!ip6)
			return NOT_IP;
		allowed = lookup6(ip6, which);
	} else {
		return NOT_IP;
	}
	if (!allowed)
		return NOBODYS;
	*peer = allowed->peer;
	return OWNED;
}

static __always_inline bool write_tags(struct __sk_buff *skb, __u32 peer, __u8 ttl)
{
	const __u8 flags = skb->ingress_ifindex ? WG_FORWARDED : 0;
	const __u8 tags[2 * ETH_ALEN] = {
		WG_TAG_0, WG_TAG_1, WG_TAG_2, peer >> 16, peer >> 8, peer,
		WG_TAG_0, WG_TAG_1, WG_TAG_2, flags,	  0,	     ttl,
	};

	return !bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), tags,
				    sizeof(tags), 0);
}

/* Whether the UDP socket of a wgxdp of this host sent the packet. */
static __always_inline bool is_tunnel(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	return sk && sk->priority == WG_SOCKET_PRIORITY;
}

/* Sets *ttl to what the outer packet must have, 0: does not matter. False: too often. */
static __always_inline bool outer_ttl(struct __sk_buff *skb, __u8 *ttl)
{
	const void *data = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;
	const struct ethhdr *eth = eth_header(data, end);
	const struct ipv6hdr *ip6;
	const struct iphdr *ip4;
	__u8 inner = 0;

	*ttl = 0;
	if (!is_tunnel(skb) || !eth)
		return true;
	if (eth->h_proto == bpf_htons(ETH_P_IP) && (ip4 = ipv4_header(eth + 1, end)))
		inner = ip4->ttl;
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6) &&
		 (ip6 = ipv6_header(eth + 1, end)))
		inner = ip6->hop_limit;
	if (inner <= WG_TTL_OF_A_TUNNEL)
		return false;
	*ttl = inner - WG_TTL_OF_A_TUNNEL;
	return true;
}

/* The bytes of the messages that a frame of a worker's came in. */
static __always_inline __u32 read_wire(const struct __sk_buff *skb)
{
	const void *data = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;
	const struct ethhdr *eth = eth_header(data, end);

	return eth ? eth->h_dest[3] << 16 | eth->h_dest[4] << 8 | eth->h_dest[5] : 0;
}

/* Sets *peer to the slot in the source address, if that is a tag. */
static __always_inline bool read_tag(const struct __sk_buff *skb, __u32 *peer)
{
	const void *data = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;
	const struct ethhdr *eth = eth_header(data, end);
	const __u8 *tag;

	if (!eth)
		return false;
	tag = eth->h_source;
	*peer = tag[3] << 16 | tag[4] << 8 | tag[5];
	return tag[0] == WG_TAG_0 && tag[1] == WG_TAG_1 && tag[2] == WG_TAG_2;
}

/* tun leaves gso_segs at zero: what comes from a worker counts as one packet. */
static __always_inline __u32 packets_in(const struct __sk_buff *skb)
{
	return skb->gso_segs > 1 ? skb->gso_segs : 1;
}

/*
 * Marks the packet as tagged, for the filter. After TC_ACT_OK the kernel sets tc_index to
 * the class, so the class has the same value.
 */
static __always_inline int pass_tagged(struct __sk_buff *skb)
{
	skb->tc_classid = TAGGED;
	skb->tc_index = TAGGED;
	return TC_ACT_OK;
}

/* Dropping it here would be an error of the device (ENOBUFS) to the application. */
static __always_inline int refuse(struct __sk_buff *skb)
{
	count_drop(DROP_egress_no_peer);
	return write_tags(skb, WG_SLOT_NONE, 0) ? pass_tagged(skb) : TC_ACT_SHOT;
}

SEC("tc")
int wg_egress(struct __sk_buff *skb)
{
	struct peer_stats *stats;
	enum owner owner;
	__u32 peer = WG_SLOT_NONE;
	__u8 ttl;

	pull_headers(skb);
	owner = find_owner(skb, DESTINATION, &peer);
	if (owner == NOT_IP)
		return drop(DROP_egress_not_ip);
	if (!outer_ttl(skb, &ttl))
		return drop(DROP_egress_loop);
	/* A packet that cannot be tagged must not leave with the tag that it has. */
	if (owner != OWNED || !write_tags(skb, peer, ttl))
		return refuse(skb);
	stats = stats_of(peer);
	if (stats) {
		stats->to_peer_packets += packets_in(skb);
		stats->to_peer_bytes += skb->len - ETH_HLEN;
	}
	return pass_tagged(skb);
}

/* The TAP's filter (TUNSETFILTEREBPF). Returns how many bytes of the frame to keep. */
SEC("socket")
int wg_filter(struct __sk_buff *skb)
{
	if ((skb->tc_index & ~TAGGED_IGNORE) == TAGGED)
		return skb->len;
	count_drop(DROP_egress_bypass);
	return 0;
}

SEC("tc")
int wg_ingress(struct __sk_buff *skb)
{
	__u32 tagged = WG_SLOT_NONE, peer = WG_SLOT_NONE;
	struct peer_stats *stats;
	enum owner owner;

	pull_headers(skb);
	if (!read_tag(skb, &tagged))
		return drop(DROP_ingress_no_tag);
	owner = find_owner(skb, SOURCE, &peer);
	if (owner == NOT_IP)
		return drop(DROP_ingress_not_ip);
	stats = stats_of(tagged);
	if (owner != OWNED || peer != tagged) {
		if (stats) {
			stats->from_peer_bad_source++;
			stats->from_peer_refused_bytes += read_wire(skb);
		}
		return drop(DROP_ingress_bad_source);
	}
	if (stats) {
		stats->from_peer_packets += packets_in(skb);
		stats->from_peer_bytes += skb->len - ETH_HLEN;
	}
	bpf_skb_change_type(skb, PACKET_HOST);
	return TC_ACT_OK;
}
