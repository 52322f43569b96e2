// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * XDP on a NIC: which frames bypass the kernel's stack.
 *
 * Theory of operation. XDP takes only what the kernel would also have delivered to the
 * daemon's UDP socket. It drops only junk and floods of initiations (flood.h). It passes all else
 * (XDP_PASS), and the kernel judges and counts it. XDP cannot know what the kernel would do:
 * that depends on routes, rp_filter, netfilter and conntrack. So it takes only frames of a flow of
 * which the kernel has lately delivered something authentic: the daemon admits that flow to the
 * map `flows`. While a flow is in use the daemon gives the kernel a frame of it every few seconds,
 * as if the NIC had received it (wg_probe below). If those no longer arrive at the socket, the
 * flow lapses: XDP passes it.
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

#include "wg_proto.h"
#include "maps.h"
#include "parse.h"
#include "macs.h"
#include "flood.h"

#define MAX_CPUS 8192

char LICENSE[] SEC("license") = "Dual MIT/GPL";

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
				      const struct session *s, __u32 length)
{
	int verdict = redirect(ctx, nic, &xsk_data);
	struct peer_stats *stats;

	if (verdict != XDP_REDIRECT)
		return verdict;
	stats = stats_of(s->peer);
	if (stats) {
		stats->nic_packets++;
		stats->nic_bytes += length;
	}
	return verdict;
}

static __always_inline int drop_message(enum drop_reason reason)
{
	count_drop(reason);
	return XDP_DROP;
}

/* Decides about a message that is not data of a session. Drops junk of a flow whose junk the kernel
 * delivers, and initiations for this interface that exceed the limits. `taken`: XDP takes messages
 * of this flow, so a good initiation or response goes to the handshake socket. */
static __always_inline int steer_other(struct xdp_md *ctx, const struct wg_config *c,
				       const struct nic_entry *nic,
				       const struct udp_datagram *d, __u32 length,
				       bool taken)
{
	struct message m = {
		.ctx = ctx,
		.at = sizeof(struct ethhdr) + sizeof(struct udphdr) +
		      (d->flow.proto == bpf_htons(ETH_P_IP) ? sizeof(struct iphdr)
							    : sizeof(struct ipv6hdr)),
		.length = length,
		.is_xdp = true,
	};
	bool junk = is_junk_flow(&d->flow);
	enum drop_reason reason;
	__u32 type;

	if (!taken && !junk && !is_loaded())
		return XDP_PASS;
	reason = refuse_junk(c, &m, &type);
	if (reason != DROP_REASONS)
		return junk ? drop_message(reason) : XDP_PASS;
	if (type != WG_INITIATION && type != WG_RESPONSE)
		return XDP_PASS;
	if (type == WG_INITIATION)
		reason = refuse_initiation(&m, &d->flow, taken);
	if (reason != DROP_REASONS)
		return drop_message(reason);
	return taken && c->has_mac1 ? redirect(ctx, nic, &xsk_handshake) : XDP_PASS;
}

static __always_inline int steer(struct xdp_md *ctx, const struct wg_config *c,
				 const struct nic_entry *nic,
				 const struct udp_datagram *d, const void *end,
				 bool taken)
{
	const struct wg_data *message = (const void *)(d->udp + 1);
	__s32 length = message_length(d);
	const struct session *s;

	if (length < 0)
		return XDP_PASS;
	if (length >= (__s32)WG_DATA_OVERHEAD && (const void *)(message + 1) <= end &&
	    le32(message->type) == WG_DATA) {
		__u32 receiver = message->receiver;

		s = bpf_map_lookup_elem(&sessions, &receiver);
		if (s && taken && message->counter != WG_PROBE_COUNTER)
			return steer_data(ctx, nic, s, length);
		if (s)
			return XDP_PASS;
	}
	return steer_other(ctx, c, nic, d, length, taken);
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
	nic = bpf_map_lookup_elem(&nics, &ifindex);
	if (!nic || !is_to(nic, datagram.eth))
		return XDP_PASS;
	return steer(ctx, c, nic, &datagram, end, flow && !has_lapsed(flow));
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

/* --- the filter of the UDP sockets --- */

/* More than fit into the 64 KiB of a packet. */
#define SEGMENTS_MAX 2048

/* A packet that the kernel delivers to a socket: a UDP header, and one message or several that GRO
 * has merged. These have one length, except the last, which may be shorter. */
struct delivery {
	struct __sk_buff *skb;
	struct flow_key flow;
	__u32 segment; /* of each message but the last */
	__u32 length;  /* of all messages */
	__u32 kept;    /* the bytes that the socket receives */
	/* Refused messages behind `kept`, by reason. */
	__u32 bad_type, bad_length, unknown_receiver, bad_mac;
	__u32 rate_limited, no_cookie;
	bool limited; /* an initiation was one too many */
};

static __always_inline void tally(struct delivery *d, enum drop_reason reason)
{
	d->bad_type += reason == DROP_bad_type;
	d->bad_length += reason == DROP_bad_length;
	d->unknown_receiver += reason == DROP_unknown_receiver;
	d->bad_mac += reason == DROP_bad_mac;
	d->rate_limited += reason == DROP_rate_limited;
	d->no_cookie += reason == DROP_no_cookie;
}

static __always_inline void count_drops(const struct delivery *d)
{
	__u32 zero = 0;
	struct drops *counters = bpf_map_lookup_elem(&drops, &zero);

	if (!counters)
		return;
	counters->bad_type += d->bad_type;
	counters->bad_length += d->bad_length;
	counters->unknown_receiver += d->unknown_receiver;
	counters->bad_mac += d->bad_mac;
	counters->rate_limited += d->rate_limited;
	counters->no_cookie += d->no_cookie;
}

static __always_inline void forget_tally(struct delivery *d)
{
	d->bad_type = d->bad_length = d->unknown_receiver = d->bad_mac = 0;
	d->rate_limited = d->no_cookie = 0;
}

/* Judges message `i`, as a callback of bpf_loop(). Returns 1 after the last one, or after good
 * data, because then the socket receives all the rest.
 *
 * The socket receives what is before a good message, too, because only the end of a packet can be
 * cut off. So a cookie reply, which anybody can make, does not count as good behind a refused
 * message, and no handshake message does behind an initiation too many. */
static long filter_message(__u32 i, void *delivery)
{
	const struct wg_config *c;
	struct delivery *d = delivery;
	__u32 at = i * d->segment, zero = 0, type;
	enum drop_reason reason;
	struct message m = {.ctx = d->skb, .at = sizeof(struct udphdr) + at};

	c = bpf_map_lookup_elem(&config, &zero);
	if (!c || (i && at >= d->length))
		return 1;
	m.length = d->length - at < d->segment ? d->length - at : d->segment;
	reason = refuse_junk(c, &m, &type);
	if (reason == DROP_REASONS && type == WG_INITIATION) {
		reason = refuse_initiation(&m, &d->flow, true);
		d->limited |= reason != DROP_REASONS;
	}
	if (reason != DROP_REASONS) {
		tally(d, reason);
		return 0;
	}
	if (type != WG_DATA && d->kept != at && (d->limited || type == WG_COOKIE_REPLY))
		return 0;
	/* A worker counts the refused messages before a good one. */
	forget_tally(d);
	d->kept = at + m.length;
	if (type != WG_DATA)
		return 0;
	d->kept = d->length;
	return 1;
}

static __always_inline bool delivery_flow(struct __sk_buff *skb, struct flow_key *flow)
{
	flow->ifindex = skb->ifindex;
	flow->proto = skb->protocol;
	if (bpf_skb_load_bytes(skb, 0, &flow->port, sizeof(flow->port)))
		return false;
	if (flow->proto == bpf_htons(ETH_P_IPV6))
		return !bpf_skb_load_bytes_relative(skb, offsetof(struct ipv6hdr, saddr),
						    flow->source, 32, BPF_HDR_START_NET);
	__builtin_memset(flow->source, 0, 32);
	flow->source[10] = flow->source[11] = 0xff;
	flow->destination[10] = flow->destination[11] = 0xff;
	return !bpf_skb_load_bytes_relative(skb, offsetof(struct iphdr, saddr),
					    flow->source + 12, 4, BPF_HDR_START_NET) &&
	       !bpf_skb_load_bytes_relative(skb, offsetof(struct iphdr, daddr),
					    flow->destination + 12, 4, BPF_HDR_START_NET);
}

/* Returns how many bytes of the packet, which begins with the UDP header, the socket receives; 0
 * drops it. */
SEC("socket")
int wg_judge_datagram(struct __sk_buff *skb)
{
	struct delivery d = {.skb = skb};

	if (skb->len < sizeof(struct udphdr) || !delivery_flow(skb, &d.flow))
		return skb->len;
	d.length = skb->len - sizeof(struct udphdr);
	/* No message is as short as that, and each is a round. */
	d.segment = skb->gso_size >= WG_DATA_OVERHEAD ? skb->gso_size : d.length;
	bpf_loop(SEGMENTS_MAX, filter_message, &d, 0);
	if (d.kept == d.length && d.length)
		return skb->len;
	count_drops(&d);
	if (bpf_map_lookup_elem(&nics, &d.flow.ifindex))
		note_junk_flow(&d.flow);
	return d.kept ? d.kept + sizeof(struct udphdr) : 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} socket_filter SEC(".maps");

/* The filter that is attached to a socket. It only calls wg_judge_datagram, which the daemon puts
 * into the array, because the kernel charges a socket for the size of its filter, and before Linux
 * 6.7 refuses one above 20 KiB (net.core.optmem_max). */
SEC("socket")
int wg_socket(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &socket_filter, 0);
	return skb->len;
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
