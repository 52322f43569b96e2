// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The TC programs on wg0, which do cryptokey routing (whitepaper section 2) in both directions,
 * and the socket filter of the TAP device, which drops frames that TC egress has not tagged.
 *
 * Theory of operation
 *
 * The kernel does not use the Ethernet addresses on wg0, so they carry the peer slot (the tag)
 * between these programs and the workers.
 *
 * Egress looks up the destination in the allowed IPs and overwrites the destination MAC
 * address with the peer's tag. If no peer has the destination, it writes the slot
 * WG_SLOT_NONE, and the worker answers the sender by ICMP. A packet that has been in too many
 * tunnels of this host is in a routing loop; egress drops it.
 *
 * A frame can leave without passing TC egress (PACKET_QDISC_BYPASS, AF_XDP, or the program was
 * removed), with any tag that its sender wrote. Filters of the user's run after egress, and may
 * change the destination. Therefore the TAP device runs wg_filter on every frame. Egress marks
 * the frames that it has tagged in skb->tc_index, and writes the destination that it looked up
 * into the source MAC address. Only TC writes tc_index; clones and segments keep it. If the
 * mark is there and the destination is still the same, the frame passes. Otherwise the filter
 * looks the destination up and drops the frame if the tag is not that of its peer. That
 * happens to frames that a user's filter has accepted (TC_ACT_OK overwrites tc_index).
 *
 * Workers write decrypted packets to wg0 with the tag of the peer whose key decrypted the
 * packet in the source MAC address. Their destination MAC address is not wg0's, so the kernel
 * drops them (PACKET_OTHERHOST) unless ingress finds that the inner source address belongs to
 * that peer and makes them PACKET_HOST. If ingress is missing, no packet reaches the stack.
 *
 * Both programs come first in their direction (daemon/kernel/tc.c), so that no other one can end
 * the chain before them. They let the user's filters run after them.
 */
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "maps.h"
#include "parse.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/*
 * The mark that egress writes into skb->tc_index. The queueing discipline GRED stores a number
 * in the low four bits, so they are zero here and the filter ignores them.
 */
#define TAGGED	      0x5740
#define TAGGED_IGNORE 0x000f

#define FOLD_FACTOR 0x9e3779b1U

/* The result of a look-up in the allowed IPs. */
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
 * Makes the headers linear. Does nothing if they are linear already, as in nearly every packet,
 * because pulling would copy the headers of a clone. Invalidates all pointers into the packet.
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

/* Looks up the inner source or destination address. Sets *peer to the slot of its peer if the
 * result is OWNED. */
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

/* Returns 32 bits of an IPv6 address that nearly always differ if the address does. */
static __always_inline __u32 fold6(const struct in6_addr *addr)
{
	__u32 words[4], sum = 0;

	__builtin_memcpy(words, addr, sizeof(words));
	for (int i = 0; i < 4; i++)
		sum = sum * FOLD_FACTOR + words[i];
	return sum;
}

/* Returns what write_tags() notes of the destination: an IPv4 address itself. */
static __always_inline __u32 fold_destination(const struct __sk_buff *skb)
{
	const void *data = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;
	const struct ethhdr *eth = eth_header(data, end);
	const struct ipv6hdr *ip6;
	const struct iphdr *ip4;

	if (!eth)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP) && (ip4 = ipv4_header(eth + 1, end)))
		return ip4->daddr;
	if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (ip6 = ipv6_header(eth + 1, end)))
		return fold6(&ip6->daddr);
	return 0;
}

/* Overwrites both MAC addresses: the peer slot; flags and TTL for the worker, and the destination
 * for the filter. Returns false if the frame cannot be written. */
static __always_inline bool write_tags(struct __sk_buff *skb, __u32 peer, __u8 ttl)
{
	const __u8 first = WG_TAG_0 | (skb->ingress_ifindex ? WG_FORWARDED : 0);
	const __u32 to = fold_destination(skb);
	const __u8 tags[2 * ETH_ALEN] = {
		WG_TAG_0, WG_TAG_1, WG_TAG_2, peer >> 16, peer >> 8, peer,
		first,	  to,	    to >> 8,  to >> 16,	  to >> 24,  ttl,
	};

	return !bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), tags,
				    sizeof(tags), 0);
}

/* Returns true if the UDP socket of a wgxdp of this host sent the packet. */
static __always_inline bool is_tunnel(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	return sk && sk->priority == WG_SOCKET_PRIORITY;
}

/* Sets *ttl to the TTL that the outer packet must have, or 0 for the default. Returns false if
 * the packet has been in too many tunnels. */
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

/* Returns how many bytes the data messages had in which the packets of this frame came; the
 * worker wrote the number into the destination MAC address. */
static __always_inline __u32 read_wire(const struct __sk_buff *skb)
{
	const void *data = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;
	const struct ethhdr *eth = eth_header(data, end);

	return eth ? eth->h_dest[3] << 16 | eth->h_dest[4] << 8 | eth->h_dest[5] : 0;
}

/* Sets *peer to the slot in the source MAC address. Returns false if that is not a tag. */
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

/* tun leaves gso_segs at zero, so a GSO packet from a worker counts as one packet. */
static __always_inline __u32 packets_in(const struct __sk_buff *skb)
{
	return skb->gso_segs > 1 ? skb->gso_segs : 1;
}

/*
 * Marks the packet as tagged, for the filter, and lets other filters run. If a tcx program after
 * this one ends with TCX_PASS, the kernel copies the class to tc_index, so both get the same
 * value.
 */
static __always_inline int pass_tagged(struct __sk_buff *skb)
{
	skb->tc_classid = TAGGED;
	skb->tc_index = TAGGED;
	return TC_ACT_UNSPEC;
}

/* Hands the packet to the worker, which answers its sender by ICMP. If TC dropped it, the
 * application would get ENOBUFS, as for a device error. */
static __always_inline int pass_without_peer(struct __sk_buff *skb)
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
	/* A packet that cannot be tagged must not leave with the MAC addresses that it has. */
	if (owner != OWNED || !write_tags(skb, peer, ttl))
		return pass_without_peer(skb);
	stats = stats_of(peer);
	if (stats) {
		stats->to_peer_packets += packets_in(skb);
		stats->to_peer_bytes += skb->len - ETH_HLEN;
	}
	return pass_tagged(skb);
}

/* The headers of a frame that the filter reads: a socket filter gets no pointers into the
 * packet. */
struct headers {
	struct ethhdr eth;
	union {
		struct iphdr ip4;
		struct ipv6hdr ip6;
	} __attribute__((aligned(8)));
};

/* Returns false if the frame is not IP. */
static __always_inline bool read_headers(const struct __sk_buff *skb, struct headers *h)
{
	if (skb->vlan_present || bpf_skb_load_bytes(skb, 0, &h->eth, sizeof(h->eth)))
		return false;
	if (h->eth.h_proto == bpf_htons(ETH_P_IP))
		return !bpf_skb_load_bytes(skb, ETH_HLEN, &h->ip4, sizeof(h->ip4)) &&
		       h->ip4.version == 4;
	if (h->eth.h_proto == bpf_htons(ETH_P_IPV6))
		return !bpf_skb_load_bytes(skb, ETH_HLEN, &h->ip6, sizeof(h->ip6)) &&
		       h->ip6.version == 6;
	return false;
}

/* Returns true if egress has tagged the frame, and its destination is still the same. */
static __always_inline bool is_unchanged(const struct __sk_buff *skb,
					 const struct headers *h)
{
	const __u8 *noted = h->eth.h_source + 1;
	__u32 to = h->eth.h_proto == bpf_htons(ETH_P_IP) ? h->ip4.daddr
							 : fold6(&h->ip6.daddr);

	return (skb->tc_index & ~TAGGED_IGNORE) == TAGGED &&
	       to == (noted[0] | noted[1] << 8 | noted[2] << 16 | (__u32)noted[3] << 24);
}

/* Returns true if the tag is that of the destination's peer, or of "no peer". */
static __always_inline bool has_right_tag(const struct headers *h)
{
	const struct allowed_ip *allowed = h->eth.h_proto == bpf_htons(ETH_P_IP)
						   ? lookup4(&h->ip4, DESTINATION)
						   : lookup6(&h->ip6, DESTINATION);
	const __u8 *tag = h->eth.h_dest;
	__u32 peer = tag[3] << 16 | tag[4] << 8 | tag[5];

	if (tag[0] != WG_TAG_0 || tag[1] != WG_TAG_1 || tag[2] != WG_TAG_2)
		return false;
	return peer == WG_SLOT_NONE || (allowed && allowed->peer == peer);
}

/* The filter of the TAP device (TUNSETFILTEREBPF). Returns how many bytes of the frame to keep. */
SEC("socket")
int wg_filter(struct __sk_buff *skb)
{
	struct headers h = {0};

	if (read_headers(skb, &h) && (is_unchanged(skb, &h) || has_right_tag(&h)))
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
	return TC_ACT_UNSPEC;
}
