// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * XDP on a NIC: which frames bypass the kernel's stack.
 *
 * Theory of operation. XDP takes only what the kernel would also have delivered to the
 * daemon's UDP socket, and drops nothing: it passes all else (XDP_PASS), and the kernel judges
 * and counts it. XDP cannot know what the kernel would do: that depends on routes, rp_filter,
 * netfilter and conntrack. So it takes only frames of a flow of which the kernel has lately
 * delivered something authentic: the daemon admits that flow to the map `flows`. While a
 * flow is in use the daemon gives the kernel a frame of it every few seconds, as if the NIC had
 * received it (wg_probe below). If those no longer arrive at the socket, the flow lapses: XDP
 * passes it.
 *
 * Of an admitted flow XDP takes a frame that is addressed to the NIC, is a plain UDP datagram
 * to our port, and is provably for us: a data message of a session that exists, or an
 * initiation or response whose mac1 is right (whitepaper section 5.4.4). Other frames of the
 * flow may be somebody else's, for instance a masqueraded client's. Whatever takes work to
 * find out (VLAN tags, IP options, extension headers, fragments) passes, too: the UDP socket
 * receives it if it is WireGuard.
 *
 * Handshake messages go to the queue's handshake socket, data messages to its data socket.
 * If there is no socket, the frame passes, so that the death of the daemon costs nobody
 * packets.
 */
#include <stddef.h>

#include "blake2s.h"
#include "wg_proto.h"
#include "maps.h"
#include "parse.h"

#define MAX_CPUS 8192

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wg_config);
} config SEC(".maps");

/* By receiver index: its four bytes as on the wire. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WG_MAX_SESSIONS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct session);
} sessions SEC(".maps");

/* At most one per peer, so that the peers bound them. The control thread writes the entries. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WG_MAX_FLOWS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

/* By interface index. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WG_MAX_NICS);
	__type(key, __u32);
	__type(value, struct nic_entry);
} nics SEC(".maps");

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

/* No program uses this map; it is here so that it has BTF. The daemon maps and writes it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WG_MAX_WORKERS + 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct worker_stats);
} worker_stats SEC(".maps");

static __always_inline bool is_to_port(const struct wg_config *c,
				       const struct udp_datagram *d)
{
	return c->listen_port && bpf_ntohs(d->udp->dest) == c->listen_port;
}

/* The age may be below zero: the clock that BPF reads cheaply lags by some milliseconds. */
static __always_inline bool has_lapsed(const struct flow *f)
{
	return (__s64)(bpf_ktime_get_coarse_ns() - f->admitted) >=
	       (__s64)WG_FLOW_LAPSED_NS;
}

/* Returns the bytes of UDP payload, or less than zero if the headers contradict each other.
 * The frame may be longer than the packet: Ethernet pads it to 60 bytes. */
static __always_inline __s32 message_length(const struct udp_datagram *d)
{
	__s32 udp_length = bpf_ntohs(d->udp->len);

	if (udp_length != d->ip_payload || udp_length > d->in_frame)
		return -1;
	return udp_length - (__s32)sizeof(struct udphdr);
}

/* Returns true if the sender of the message, which is `covered` bytes and its macs, knows our
 * public key. `covered` is a constant of at most two blocks. */
static __always_inline bool mac1_right(const struct wg_config *c, const __u8 *message,
				       __u32 covered)
{
	__u32 h[8], m[16], mac1[4];
	__u32 first = covered > BLAKE2S_BLOCK_LEN ? BLAKE2S_BLOCK_LEN : 0;

	__builtin_memcpy(h, c->mac1_state, sizeof(h));
	if (first) {
		blake2s_load(m, message, BLAKE2S_BLOCK_LEN);
		blake2s_compress(h, m, 2 * BLAKE2S_BLOCK_LEN, 0);
	}
	blake2s_load(m, message + first, covered - first);
	blake2s_compress(h, m, BLAKE2S_BLOCK_LEN + covered, 1);
	__builtin_memcpy(mac1, message + covered, sizeof(mac1));
	return !((h[0] ^ blake2s_le32(mac1[0])) | (h[1] ^ blake2s_le32(mac1[1])) |
		 (h[2] ^ blake2s_le32(mac1[2])) | (h[3] ^ blake2s_le32(mac1[3])));
}

static __always_inline bool is_for_us(const struct wg_config *c, const void *message,
				      __u32 type, __u32 length, const void *end)
{
	if (!c->has_mac1)
		return false;
	if (type == WG_INITIATION && length == sizeof(struct wg_initiation) &&
	    message + sizeof(struct wg_initiation) <= end)
		return mac1_right(c, message, offsetof(struct wg_initiation, mac1));
	if (type == WG_RESPONSE && length == sizeof(struct wg_response) &&
	    message + sizeof(struct wg_response) <= end)
		return mac1_right(c, message, offsetof(struct wg_response, mac1));
	return false;
}

/* Returns false for broadcast, multicast and the frames of a macvlan on the NIC. */
static __always_inline bool is_to(const struct nic_entry *nic, const struct ethhdr *eth)
{
	const __u16 *ours = (const void *)nic->mac, *to = (const void *)eth->h_dest;

	return !((ours[0] ^ to[0]) | (ours[1] ^ to[1]) | (ours[2] ^ to[2]));
}

/* Returns false for a frame in several buffers, which the sockets do not take. */
static __always_inline bool is_in_one_buffer(struct xdp_md *ctx)
{
	return bpf_xdp_get_buff_len(ctx) == ctx->data_end - ctx->data;
}

/* xskmap: the map of data or of handshake sockets. */
static __always_inline int redirect(struct xdp_md *ctx, const struct nic_entry *nic,
				    void *xskmap)
{
	__u32 queue = ctx->rx_queue_index;

	if (queue >= nic->count || ctx->data_end - ctx->data > nic->max_frame ||
	    !is_in_one_buffer(ctx))
		return XDP_PASS;
	return bpf_redirect_map(xskmap, nic->first_key + queue, XDP_PASS);
}

static __always_inline int steer_data(struct xdp_md *ctx, const struct nic_entry *nic,
				      const struct wg_data *message, __u32 length)
{
	__u32 receiver = message->receiver;
	const struct session *s = bpf_map_lookup_elem(&sessions, &receiver);
	struct peer_stats *stats;
	int verdict;

	if (!s || message->counter == WG_PROBE_COUNTER)
		return XDP_PASS;
	verdict = redirect(ctx, nic, &xsk_data);
	if (verdict != XDP_REDIRECT)
		return verdict;
	stats = stats_of(s->peer);
	if (stats) {
		stats->nic_packets++;
		stats->nic_bytes += length;
	}
	return verdict;
}

static __always_inline int steer(struct xdp_md *ctx, const struct wg_config *c,
				 const struct nic_entry *nic,
				 const struct udp_datagram *d, const void *end)
{
	const struct wg_data *message = (const void *)(d->udp + 1);
	__s32 length = message_length(d);
	__u32 type;

	if (length < (__s32)WG_DATA_OVERHEAD || (const void *)(message + 1) > end)
		return XDP_PASS;
	type = le32(message->type);
	if (type == WG_DATA)
		return steer_data(ctx, nic, message, length);
	return is_for_us(c, message, type, length, end)
		       ? redirect(ctx, nic, &xsk_handshake)
		       : XDP_PASS;
}

static __always_inline int judge(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	__u32 zero = 0, ifindex = ctx->ingress_ifindex;
	const struct wg_config *c = bpf_map_lookup_elem(&config, &zero);
	const struct nic_entry *nic;
	struct udp_datagram datagram;
	const struct flow *flow;

	if (!c || !parse_udp(data, end, &datagram) || !is_to_port(c, &datagram))
		return XDP_PASS;
	datagram.flow.ifindex = ifindex;
	flow = bpf_map_lookup_elem(&flows, &datagram.flow);
	if (!flow || has_lapsed(flow))
		return XDP_PASS;
	nic = bpf_map_lookup_elem(&nics, &ifindex);
	if (!nic || !is_to(nic, datagram.eth))
		return XDP_PASS;
	return steer(ctx, c, nic, &datagram, end);
}

/* This one lets the administrator raise the MTU to where the driver needs several buffers. */
SEC("xdp.frags")
int wg_nic(struct xdp_md *ctx)
{
	return judge(ctx);
}

/* For drivers that refuse that one. */
SEC("xdp")
int wg_nic_plain(struct xdp_md *ctx)
{
	return judge(ctx);
}

/* Attached nowhere: the daemon runs it on frames that it made (BPF_F_TEST_XDP_LIVE_FRAMES), which
 * the kernel then treats as received by a NIC. Generic XDP sees them again. */
SEC("xdp")
int wg_probe(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* --- reading counters --- */

struct peer_stats_view view;

/* For bpf_loop(): adds what that CPU counted of view.slots[*of]. */
static long add_cpu(__u32 cpu, void *of)
{
	__u32 i = *(__u32 *)of;
	struct peer_stats *s, *sum;

	if (i >= WG_STATS_AT_ONCE)
		return 1;
	s = bpf_map_lookup_percpu_elem(&peer_stats, &view.slots[i], cpu);
	if (!s)
		return 1;
	sum = &view.stats[i];
	sum->to_peer_packets += s->to_peer_packets;
	sum->to_peer_bytes += s->to_peer_bytes;
	sum->from_peer_packets += s->from_peer_packets;
	sum->from_peer_bytes += s->from_peer_bytes;
	sum->from_peer_bad_source += s->from_peer_bad_source;
	sum->from_peer_refused_bytes += s->from_peer_refused_bytes;
	sum->nic_packets += s->nic_packets;
	sum->nic_bytes += s->nic_bytes;
	view.found[i]++;
	return 0;
}

static long add_peer(__u32 i, void *unused)
{
	/* There is no such CPU: the look-up fails before. */
	bpf_loop(MAX_CPUS, add_cpu, &i, 0);
	return 0;
}

/* Attached nowhere: the daemon runs it to read the counters of many peers by one system call. It
 * has zeroed the answer. */
SEC("xdp")
int wg_read_stats(struct xdp_md *ctx)
{
	bpf_loop(view.count, add_peer, NULL, 0);
	return XDP_PASS;
}
