// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * XDP programs that share the NIC with wgxdp's: they count UDP datagrams over IPv4 and pass
 * everything. The name of the section tells libxdp whether a program takes frames in several
 * buffers.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} neighbour_seen SEC(".maps");

static __always_inline int count(struct xdp_md *ctx)
{
	const void *end = (const void *)(long)ctx->data_end;
	const struct ethhdr *eth = (const void *)(long)ctx->data;
	const struct iphdr *ip = (const void *)(eth + 1);
	__u32 zero = 0;
	__u64 *seen = bpf_map_lookup_elem(&neighbour_seen, &zero);

	if (seen && (const void *)(ip + 1) <= end &&
	    eth->h_proto == bpf_htons(ETH_P_IP) && ip->protocol == IPPROTO_UDP)
		__sync_fetch_and_add(seen, 1);
	return XDP_PASS;
}

SEC("xdp")
int neighbour(struct xdp_md *ctx)
{
	return count(ctx);
}

SEC("xdp.frags")
int neighbour_frags(struct xdp_md *ctx)
{
	return count(ctx);
}
