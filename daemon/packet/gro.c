// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * A flow (peer, addresses, ports, protocol) is held in one of a few slots if its latest
 * segment may be continued by others. A packet of a held flow either continues it, or the
 * flow is emitted first and the packet starts a new one or is emitted alone. This keeps the
 * order within a flow. Flows are found by a linear search, because there are few.
 *
 * A segment continues a flow only if the kernel's segmentation of the GSO packet gives back
 * the same segment: its sequence number is the next one; its payload is as long as the
 * first one's, or shorter, which ends the flow, as PSH does; all other header fields and
 * options are equal; IPv4 IDs count up, or have no meaning because DF is set (RFC 6864
 * section 4). Segmentation makes new checksums. Each segment's checksum is therefore verified
 * first: a packet with a wrong one must reach the stack as it came and be counted there.
 *
 * Nothing is copied. The headers of the first packet become those of the GSO packet. They
 * are modified only when it is emitted with more than one packet.
 */
#include "gro.h"

#include "checksum.h"
#include "gso.h"
#include "inet.h"

/* The largest GSO packet in bytes, with its IP header: the limit of IPv4, kept for IPv6. */
#define GRO_MAX_LEN 65535

static const struct virtio_net_hdr no_offload;
static const struct virtio_net_hdr data_valid = {.flags = VIRTIO_NET_HDR_F_DATA_VALID};

void gro_init(struct gro *gro, gro_emit_fn emit, void *ctx)
{
	memset(gro, 0, sizeof(*gro));
	gro->emit = emit;
	gro->ctx = ctx;
}

static const uint8_t *addrs(const struct gro_packet *p)
{
	return p->data + (p->version == 4 ? (int)IPV4_ADDRS : (int)IPV6_ADDRS);
}

static bool same_addrs(const struct gro_packet *a, const struct gro_packet *b)
{
	if (a->peer_slot != b->peer_slot || a->version != b->version)
		return false;
	return !memcmp(addrs(a), addrs(b), a->version == 4 ? 8 : 32);
}

static bool same_flow(const struct gro_packet *a, const struct gro_packet *b)
{
	return a->ports == b->ports && a->proto == b->proto && same_addrs(a, b);
}

/* Returns 0 if there is no complete TCP or UDP header. */
static size_t l4_header_len(const struct gro_packet *p)
{
	const uint8_t *l4 = p->data + p->l4;
	size_t room = p->len - p->l4, len = 0;

	if (p->version == 4 &&
	    get_be16(p->data + IPV4_FRAG) & (IPV4_MF | IPV4_OFFSET_MASK))
		return 0;
	if (p->proto == IP_PROTO_TCP && room >= TCP_HEADER_LEN) {
		len = (l4[TCP_DATA_OFFSET] >> 4) * 4U;
		if (len < TCP_HEADER_LEN)
			return 0;
	} else if (p->proto == IP_PROTO_UDP && room >= UDP_HEADER_LEN) {
		len = UDP_HEADER_LEN;
	}
	return len <= room ? len : 0;
}

/* Fills in what the headers say. Leaves l4 zero if the packet is malformed, and header_len zero
 * if it has no ports. */
static void parse(struct gro_packet *p)
{
	int total = inner_packet_len(p->data, p->len);
	size_t l4_len;

	if (total < 0 || (uint32_t)total != p->len)
		return;
	p->version = ip_version(p->data);
	p->proto = ip_proto(p->data);
	p->l4 = ip_header_len(p->data);
	l4_len = l4_header_len(p);
	if (!l4_len)
		return;
	p->header_len = p->l4 + l4_len;
	p->payload_len = p->len - p->header_len;
	p->ports = load32(p->data + p->l4);
}

static uint64_t pseudo_sum(const struct gro_packet *p, size_t l4_len)
{
	return p->version == 4 ? csum_pseudo4(addrs(p), p->proto, l4_len)
			       : csum_pseudo6(addrs(p), p->proto, l4_len);
}

/* Returns true if the checksums of the IPv4 and the L4 header are right. */
static bool verify(const struct gro *gro, const struct gro_packet *p)
{
	const uint8_t *l4 = p->data + p->l4;
	size_t l4_len = p->len - p->l4;

	if (p->version == 4 && csum_fold(csum_add(0, p->data, p->l4)) != 0xffff)
		return false;
	if (p->proto == IP_PROTO_UDP) {
		/* Without udp_gso the result would not be used. */
		if (!gro->udp_gso || get_be16(l4 + UDP_LEN) != l4_len ||
		    !load16(l4 + UDP_CHECK))
			return false;
	}
	return csum_fold(csum_add(pseudo_sum(p, l4_len), l4, l4_len)) == 0xffff;
}

static bool has_push(const struct gro_packet *p)
{
	return p->proto == IP_PROTO_TCP && p->data[p->l4 + TCP_FLAGS] & TCP_FLAG_PSH;
}

/* Returns true if the packet may be part of a GSO packet at all. */
static bool is_mergeable(const struct gro_packet *p)
{
	const uint8_t *l4 = p->data + p->l4;

	if (!p->verified || !p->payload_len)
		return false;
	if (p->version == 4 && p->l4 != IPV4_HEADER_LEN)
		return false;
	if (p->proto == IP_PROTO_UDP)
		return true;
	return (l4[TCP_FLAGS] & ~TCP_FLAG_PSH) == TCP_FLAG_ACK &&
	       !(l4[TCP_DATA_OFFSET] & 0x0f);
}

/* Returns true if segmentation would give back the IP header of p. */
static bool continues_ip(const struct gro_flow *flow, const struct gro_packet *p)
{
	const uint8_t *a = flow->first.data, *b = p->data;
	uint16_t id;

	if (p->version == 6)
		/* Version, traffic class, flow label. */
		return load32(a) == load32(b) && a[IPV6_HOP_LIMIT] == b[IPV6_HOP_LIMIT];
	if (a[IPV4_TOS] != b[IPV4_TOS] || a[IPV4_TTL] != b[IPV4_TTL] ||
	    load16(a + IPV4_FRAG) != load16(b + IPV4_FRAG))
		return false;
	id = get_be16(a + IPV4_ID) + flow->packets;
	return get_be16(a + IPV4_FRAG) & IPV4_DF || get_be16(b + IPV4_ID) == id;
}

/* The same for the TCP header. Its flags are ACK and perhaps PSH; no held segment has PSH. */
static bool continues_tcp(const struct gro_flow *flow, const struct gro_packet *p)
{
	const uint8_t *a = flow->first.data + flow->first.l4, *b = p->data + p->l4;
	uint32_t sent = flow->len - flow->first.header_len;

	return flow->first.header_len == p->header_len &&
	       get_be32(b + TCP_SEQ) == get_be32(a + TCP_SEQ) + sent &&
	       load32(a + TCP_ACK_SEQ) == load32(b + TCP_ACK_SEQ) &&
	       load16(a + TCP_WINDOW) == load16(b + TCP_WINDOW) &&
	       load16(a + TCP_URGENT) == load16(b + TCP_URGENT) &&
	       !memcmp(a + TCP_HEADER_LEN, b + TCP_HEADER_LEN,
		       p->header_len - p->l4 - TCP_HEADER_LEN);
}

/* Returns true if p, which is mergeable, continues the flow. */
static bool continues(const struct gro_flow *flow, const struct gro_packet *p)
{
	return flow->packets < GRO_MAX_PACKETS &&
	       p->payload_len <= flow->first.payload_len &&
	       flow->len + p->payload_len <= GRO_MAX_LEN && continues_ip(flow, p) &&
	       (p->proto == IP_PROTO_UDP || continues_tcp(flow, p));
}

static void emit_alone(struct gro *gro, const struct gro_packet *p)
{
	struct iovec iov[2] = {{0}, {.iov_base = p->data, .iov_len = p->len}};

	gro->emit(gro->ctx, p->peer_slot, p->verified ? &data_valid : &no_offload, iov, 2,
		  1, p->wire);
}

/* Sets the lengths and checksums in the first packet to those of the GSO packet. */
static void finish_headers(const struct gro_flow *flow)
{
	const struct gro_packet *p = &flow->first;
	uint8_t *ip = p->data, *l4 = p->data + p->l4;
	size_t l4_len = flow->len - p->l4;
	uint16_t pseudo = csum_fold(pseudo_sum(p, l4_len));

	if (p->version == 4) {
		put_be16(ip + IPV4_TOTAL_LEN, flow->len);
		store16(ip + IPV4_CHECK, 0);
		store16(ip + IPV4_CHECK, csum_finish(csum_add(0, ip, p->l4)));
	} else {
		put_be16(ip + IPV6_PAYLOAD_LEN, l4_len);
	}
	if (p->proto == IP_PROTO_UDP) {
		put_be16(l4 + UDP_LEN, l4_len);
		store16(l4 + UDP_CHECK, pseudo);
	} else {
		store16(l4 + TCP_CHECK, pseudo);
	}
}

static uint8_t gso_type(const struct gro_packet *p)
{
	if (p->proto == IP_PROTO_UDP)
		return VIRTIO_NET_HDR_GSO_UDP_L4;
	return p->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
}

/* Emits what the flow holds and frees its slot. */
static void emit_flow(struct gro *gro, struct gro_flow *flow)
{
	const struct gro_packet *p = &flow->first;
	struct virtio_net_hdr vh = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = gso_type(p),
		.hdr_len = GRO_LINK_LEN + p->header_len,
		.gso_size = p->payload_len,
		.csum_start = GRO_LINK_LEN + p->l4,
		.csum_offset = p->proto == IP_PROTO_UDP ? (int)UDP_CHECK : (int)TCP_CHECK,
	};

	flow->order = 0;
	if (flow->packets == 1) {
		emit_alone(gro, p);
		return;
	}
	finish_headers(flow);
	gro->emit(gro->ctx, p->peer_slot, &vh, flow->iov, 1 + flow->packets,
		  flow->packets, flow->wire);
}

static void append_to_flow(struct gro *gro, struct gro_flow *flow,
			   const struct gro_packet *p)
{
	struct iovec *iov = &flow->iov[1 + flow->packets++];

	iov->iov_base = p->data + p->header_len;
	iov->iov_len = p->payload_len;
	flow->len += p->payload_len;
	flow->wire += p->wire;
	if (has_push(p))
		flow->first.data[flow->first.l4 + TCP_FLAGS] |= TCP_FLAG_PSH;
	if (has_push(p) || p->payload_len < flow->first.payload_len)
		emit_flow(gro, flow);
}

static struct gro_flow *find_flow(struct gro *gro, const struct gro_packet *p)
{
	for (unsigned i = 0; i < GRO_FLOWS; i++) {
		struct gro_flow *flow = &gro->flows[i];

		if (flow->order && same_flow(&flow->first, p))
			return flow;
	}
	return NULL;
}

/* Returns NULL if nothing is held. */
static struct gro_flow *oldest_flow(struct gro *gro)
{
	struct gro_flow *oldest = NULL;

	for (unsigned i = 0; i < GRO_FLOWS; i++) {
		struct gro_flow *flow = &gro->flows[i];

		if (flow->order && (!oldest || flow->order < oldest->order))
			oldest = flow;
	}
	return oldest;
}

/* Returns a free slot; if there is none, emits the oldest flow. */
static struct gro_flow *free_slot(struct gro *gro)
{
	struct gro_flow *flow;

	for (unsigned i = 0; i < GRO_FLOWS; i++)
		if (!gro->flows[i].order)
			return &gro->flows[i];
	flow = oldest_flow(gro);
	emit_flow(gro, flow);
	return flow;
}

static void hold(struct gro *gro, const struct gro_packet *p)
{
	struct gro_flow *flow = free_slot(gro);

	flow->first = *p;
	flow->order = ++gro->last_order;
	flow->len = p->len;
	flow->packets = 1;
	flow->wire = p->wire;
	flow->iov[0] = (struct iovec){0};
	flow->iov[1] = (struct iovec){.iov_base = p->data, .iov_len = p->len};
}

static void emit_same_addrs(struct gro *gro, const struct gro_packet *p)
{
	for (unsigned i = 0; i < GRO_FLOWS; i++) {
		struct gro_flow *flow = &gro->flows[i];

		if (flow->order && same_addrs(&flow->first, p))
			emit_flow(gro, flow);
	}
}

static void receive_in_flow(struct gro *gro, struct gro_packet *p)
{
	struct gro_flow *flow = find_flow(gro, p);
	bool mergeable;

	p->verified = verify(gro, p);
	mergeable = is_mergeable(p);
	if (flow && mergeable && continues(flow, p)) {
		append_to_flow(gro, flow, p);
		return;
	}
	if (flow)
		emit_flow(gro, flow);
	if (mergeable && !has_push(p))
		hold(gro, p);
	else
		emit_alone(gro, p);
}

void gro_receive(struct gro *gro, uint32_t peer_slot, uint8_t *packet, size_t len,
		 uint32_t wire)
{
	struct gro_packet p = {
		.data = packet, .len = len, .peer_slot = peer_slot, .wire = wire};

	parse(&p);
	if (p.header_len) {
		receive_in_flow(gro, &p);
		return;
	}
	if (p.l4)
		emit_same_addrs(gro, &p);
	emit_alone(gro, &p);
}

void gro_flush(struct gro *gro)
{
	struct gro_flow *flow;

	while ((flow = oldest_flow(gro)))
		emit_flow(gro, flow);
}
