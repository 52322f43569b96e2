// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * XDP on a NIC: which frames go around the kernel's stack.
 *
 * Theory of operation. A frame is ours if it is a plain UDP datagram to our port
 * at an address of this host. Whatever is not, or takes work to find out (tags,
 * options, extension headers, fragments), is passed untouched and uncounted: the
 * daemon's UDP socket receives it if it is WireGuard. A frame that is ours either
 * has the form of a WireGuard message (whitepaper section 5.4), or it is dropped
 * and counted. Handshake messages go to the queue's handshake socket, data
 * messages of a session that exists to its data socket. Where no socket is, the
 * frame passes too: a daemon that is gone costs nobody packets.
 */
#include "wg_proto.h"
#include "maps.h"
#include "parse.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wg_config);
} config SEC(".maps");

/* By receiver index, the four bytes as they are on the wire. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WG_MAX_SESSIONS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct session);
} sessions SEC(".maps");

/* A set; the value means nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WG_MAX_LOCAL_ADDRS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct local_addr);
	__type(value, __u8);
} local_addrs SEC(".maps");

/* By interface index. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WG_MAX_NICS);
	__type(key, __u32);
	__type(value, struct nic_queues);
} nic_queues SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, WG_MAX_XSKS);
	__type(key, __u32);
	__type(value, __u32);
} xsk_data SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, WG_MAX_XSKS);
	__type(key, __u32);
	__type(value, __u32);
} xsk_handshake SEC(".maps");

/* No program uses it: it is here to be made with BTF. The daemon maps and writes it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WG_MAX_WORKERS + 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct worker_stats);
} worker_stats SEC(".maps");

static __always_inline int drop(enum drop_reason reason)
{
	count_drop(reason);
	return XDP_DROP;
}

/* Without the address, frames that this host only forwards would be taken, too. */
static __always_inline bool is_ours(const struct udp_datagram *d)
{
	__u32 zero = 0;
	const struct wg_config *c = bpf_map_lookup_elem(&config, &zero);

	if (!c || !c->listen_port || bpf_ntohs(d->udp->dest) != c->listen_port)
		return false;
	return bpf_map_lookup_elem(&local_addrs, &d->destination);
}

/* Bytes of UDP payload, or below zero where the headers contradict each other. The
 * frame may be longer than the packet: Ethernet pads to 60 bytes. */
static __always_inline __s32 message_length(const struct udp_datagram *d)
{
	__s32 udp_length = bpf_ntohs(d->udp->len);

	if (udp_length != d->ip_payload || udp_length > d->in_frame)
		return -1;
	return udp_length - (__s32)sizeof(struct udphdr);
}

static __always_inline bool length_fits(__u32 type, __u32 length)
{
	switch (type) {
	case WG_INITIATION:
		return length == sizeof(struct wg_initiation);
	case WG_RESPONSE:
		return length == sizeof(struct wg_response);
	case WG_COOKIE_REPLY:
		return length == sizeof(struct wg_cookie_reply);
	default:
		return length >= WG_DATA_OVERHEAD;
	}
}

/* xskmap: the map of data or of handshake sockets. */
static __always_inline int redirect(const struct xdp_md *ctx, void *xskmap)
{
	__u32 ifindex = ctx->ingress_ifindex, queue = ctx->rx_queue_index;
	const struct nic_queues *nic = bpf_map_lookup_elem(&nic_queues, &ifindex);

	if (!nic || queue >= nic->count || ctx->data_end - ctx->data > nic->max_frame)
		return XDP_PASS;
	return bpf_redirect_map(xskmap, nic->first_key + queue, XDP_PASS);
}

static __always_inline int steer_data(const struct xdp_md *ctx, __u32 receiver,
				      __u32 length)
{
	const struct session *s = bpf_map_lookup_elem(&sessions, &receiver);
	struct peer_stats *stats;
	int verdict;

	if (!s)
		return drop(DROP_xdp_unknown_receiver);
	verdict = redirect(ctx, &xsk_data);
	if (verdict != XDP_REDIRECT)
		return verdict;
	stats = stats_of(s->peer);
	if (stats) {
		stats->nic_packets++;
		stats->nic_bytes += length;
	}
	return verdict;
}

static __always_inline int steer(const struct xdp_md *ctx, const struct udp_datagram *d,
				 const void *end)
{
	const struct wg_data *message = (const void *)(d->udp + 1);
	__s32 length = message_length(d);
	__u32 type;

	if (length < (__s32)sizeof(message->type) ||
	    (const void *)message + sizeof(message->type) > end)
		return drop(DROP_xdp_bad_length);
	type = le32(message->type);
	if (type < WG_INITIATION || type > WG_DATA)
		return drop(DROP_xdp_bad_type);
	if (!length_fits(type, length) || (const void *)(message + 1) > end)
		return drop(DROP_xdp_bad_length);
	if (type == WG_DATA)
		return steer_data(ctx, message->receiver, length);
	return redirect(ctx, &xsk_handshake);
}

SEC("xdp")
int wg_nic(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	struct udp_datagram datagram;

	if (!parse_udp(data, end, &datagram) || !is_ours(&datagram))
		return XDP_PASS;
	return steer(ctx, &datagram, end);
}
