// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * gso_begin() checks all headers once and sums those parts of them that are the same in all
 * segments. Each segment then costs a copy of the headers, one pass over its payload, which
 * copies and sums at the same time, and a few additions for the fields that differ.
 *
 * With NEEDS_CSUM, the kernel has put the sum of the pseudo-header, with the length of the
 * whole packet, into the L4 checksum field. That sum is used instead of one over the IP
 * header's addresses, because with an IPv6 routing header the final destination is not the
 * one in the IP header.
 */
#include "gso.h"

#include "checksum.h"
#include "inet.h"

enum gso_kind {
	GSO_PLAIN,    /* one packet, copied unchanged */
	GSO_CHECKSUM, /* one packet, L4 checksum to be completed */
	GSO_TCP,
	GSO_UDP,
};

static bool needs_csum(const struct virtio_net_hdr *vh)
{
	return vh->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
}

static int begin_single(struct gso *gso, const struct virtio_net_hdr *vh, size_t total)
{
	gso->kind = needs_csum(vh) ? GSO_CHECKSUM : GSO_PLAIN;
	gso->header_len = gso->l4;
	gso->payload_len = gso->size = total - gso->l4;
	gso->segments = 1;
	return 1;
}

/* Returns true if the L4 header is of this protocol. If it follows the IP header directly, the
 * IP header must say so; behind IPv6 extension headers the kernel is believed. */
static bool l4_is(const struct gso *gso, uint8_t proto)
{
	bool follows = gso->l4 == ip_header_len(gso->packet);

	if (!gso->v6 && get_be16(gso->packet + IPV4_FRAG) & (IPV4_MF | IPV4_OFFSET_MASK))
		return false;
	return follows ? ip_proto(gso->packet) == proto : gso->v6;
}

/* Returns the sum of the L4 header and the pseudo-header, without the length field of the
 * latter. */
static uint64_t l4_sum(const struct gso *gso, const struct virtio_net_hdr *vh,
		       uint8_t proto)
{
	const uint8_t *l4 = gso->packet + gso->l4;
	uint64_t sum = csum_add(0, l4, gso->header_len - gso->l4);
	size_t l4_len = gso->header_len - gso->l4 + gso->payload_len;

	if (needs_csum(vh))
		return csum_sub16(sum, htobe16((uint16_t)l4_len));
	sum = csum_sub16(sum, load16(gso->packet + gso->check));
	return sum + (gso->v6 ? csum_pseudo6(gso->packet + IPV6_ADDRS, proto, 0)
			      : csum_pseudo4(gso->packet + IPV4_ADDRS, proto, 0));
}

/* Returns the sum of the IPv4 header, without the fields that differ between segments. */
static uint64_t ipv4_sum(const uint8_t *packet)
{
	uint64_t sum = csum_add(0, packet, ip_header_len(packet));

	sum = csum_sub16(sum, load16(packet + IPV4_TOTAL_LEN));
	sum = csum_sub16(sum, load16(packet + IPV4_ID));
	return csum_sub16(sum, load16(packet + IPV4_CHECK));
}

/* The part of begin_tcp() and begin_udp() that is common; header_len and check must be set. */
static int begin_split(struct gso *gso, const struct virtio_net_hdr *vh, size_t total,
		       uint8_t proto)
{
	/* Without these flags the packet may have a wrong checksum, which segmentation would
	 * replace by right ones. */
	if (!(vh->flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID)))
		return -EBADMSG;
	if (needs_csum(vh) && vh->csum_offset != gso->check - gso->l4)
		return -EBADMSG;
	if (!vh->gso_size || gso->header_len > total || !l4_is(gso, proto))
		return -EBADMSG;
	gso->size = vh->gso_size;
	gso->payload_len = total - gso->header_len;
	gso->segments = (gso->payload_len + gso->size - 1) / gso->size;
	if (!gso->segments)
		gso->segments = 1;
	if (!gso->v6)
		gso->ip_sum = ipv4_sum(gso->packet);
	gso->l4_sum = l4_sum(gso, vh, proto);
	return gso->segments;
}

static int begin_tcp(struct gso *gso, const struct virtio_net_hdr *vh, size_t total,
		     bool v6)
{
	const uint8_t *tcp = gso->packet + gso->l4;
	size_t tcp_len;
	int segments;

	if (gso->v6 != v6 || total < gso->l4 + (size_t)TCP_HEADER_LEN)
		return -EBADMSG;
	tcp_len = (tcp[TCP_DATA_OFFSET] >> 4) * 4U;
	if (tcp_len < TCP_HEADER_LEN)
		return -EBADMSG;
	gso->kind = GSO_TCP;
	gso->header_len = gso->l4 + tcp_len;
	gso->check = gso->l4 + TCP_CHECK;
	segments = begin_split(gso, vh, total, IP_PROTO_TCP);
	if (segments < 0)
		return segments;
	gso->l4_sum = csum_sub16(gso->l4_sum, load16(tcp + TCP_SEQ));
	gso->l4_sum = csum_sub16(gso->l4_sum, load16(tcp + TCP_SEQ + 2));
	gso->l4_sum = csum_sub16(gso->l4_sum, load16(tcp + TCP_DATA_OFFSET));
	return segments;
}

static int begin_udp(struct gso *gso, const struct virtio_net_hdr *vh, size_t total)
{
	int segments;

	gso->kind = GSO_UDP;
	gso->header_len = gso->l4 + UDP_HEADER_LEN;
	gso->check = gso->l4 + UDP_CHECK;
	segments = begin_split(gso, vh, total, IP_PROTO_UDP);
	if (segments < 0)
		return segments;
	gso->l4_sum = csum_sub16(gso->l4_sum, load16(gso->packet + gso->l4 + UDP_LEN));
	return segments;
}

/* Takes the offsets of the L4 header and of its checksum from vh. Returns 0 or -EBADMSG. */
static int find_l4(struct gso *gso, const struct virtio_net_hdr *vh, size_t total,
		   size_t link_len)
{
	size_t start = vh->csum_start, check;

	if (start < link_len + ip_header_len(gso->packet))
		return -EBADMSG;
	start -= link_len;
	check = start + vh->csum_offset;
	if (check + sizeof(uint16_t) > total)
		return -EBADMSG;
	gso->l4 = start;
	gso->check = check;
	return 0;
}

int gso_begin(struct gso *gso, const struct virtio_net_hdr *vh, const uint8_t *packet,
	      size_t len, size_t link_len)
{
	int total = inner_packet_len(packet, len), err;

	*gso = (struct gso){.packet = packet};
	if (total < 0)
		return total;
	gso->v6 = ip_version(packet) == 6;
	gso->l4 = ip_header_len(packet);
	if (needs_csum(vh)) {
		err = find_l4(gso, vh, total, link_len);
		if (err)
			return err;
	}
	switch (vh->gso_type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return begin_single(gso, vh, total);
	case VIRTIO_NET_HDR_GSO_TCPV4:
	case VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN:
		return begin_tcp(gso, vh, total, false);
	case VIRTIO_NET_HDR_GSO_TCPV6:
	case VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN:
		return begin_tcp(gso, vh, total, true);
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return begin_udp(gso, vh, total);
	default:
		return -EPROTONOSUPPORT;
	}
}

size_t gso_segment_len(const struct gso *gso, unsigned i)
{
	if (i >= gso->segments)
		return 0;
	if (i < gso->segments - 1)
		return gso->header_len + gso->size;
	return gso->header_len + gso->payload_len - i * gso->size;
}

static void finish_ip(const struct gso *gso, uint8_t *ip, unsigned i, size_t len)
{
	uint16_t id = get_be16(gso->packet + IPV4_ID) + i;
	uint64_t sum = gso->ip_sum;

	if (gso->v6) {
		put_be16(ip + IPV6_PAYLOAD_LEN, len - IPV6_HEADER_LEN);
		return;
	}
	put_be16(ip + IPV4_TOTAL_LEN, len);
	put_be16(ip + IPV4_ID, id);
	sum = csum_add_be16(csum_add_be16(sum, len), id);
	store16(ip + IPV4_CHECK, csum_finish(sum));
}

static void finish_tcp(const struct gso *gso, uint8_t *tcp, unsigned i, size_t len,
		       uint64_t payload_sum)
{
	uint32_t seq = get_be32(gso->packet + gso->l4 + TCP_SEQ) + i * gso->size;
	uint64_t sum = gso->l4_sum + payload_sum;

	/* CWR must be in one segment only (RFC 3168 section 6.1.2): the first. */
	if (i > 0)
		tcp[TCP_FLAGS] &= ~TCP_FLAG_CWR;
	if (i < gso->segments - 1)
		tcp[TCP_FLAGS] &= ~(TCP_FLAG_FIN | TCP_FLAG_PSH);
	put_be32(tcp + TCP_SEQ, seq);
	sum = csum_add_be16(csum_add_be32(sum, seq), len);
	store16(tcp + TCP_CHECK, csum_finish(sum + load16(tcp + TCP_DATA_OFFSET)));
}

static void finish_udp(const struct gso *gso, uint8_t *udp, size_t len,
		       uint64_t payload_sum)
{
	uint64_t sum = gso->l4_sum + payload_sum;

	put_be16(udp + UDP_LEN, len);
	/* The length is in the UDP header and in the pseudo-header. */
	sum = csum_add_be16(csum_add_be16(sum, len), len);
	store16(udp + UDP_CHECK, csum_finish_nonzero(sum));
}

size_t gso_next(struct gso *gso, uint8_t *dst)
{
	unsigned i = gso->next;
	size_t len = gso_segment_len(gso, i);
	const uint8_t *payload;
	uint64_t sum;

	if (!len)
		return 0;
	payload = gso->packet + gso->header_len + (size_t)i * gso->size;
	gso->next++;
	if (gso->kind == GSO_PLAIN) {
		memcpy(dst, gso->packet, len);
		return len;
	}
	memcpy(dst, gso->packet, gso->header_len);
	sum = csum_copy(0, dst + gso->header_len, payload, len - gso->header_len);
	if (gso->kind == GSO_CHECKSUM) {
		store16(dst + gso->check, csum_finish_nonzero(sum));
		return len;
	}
	finish_ip(gso, dst, i, len);
	if (gso->kind == GSO_TCP)
		finish_tcp(gso, dst + gso->l4, i, len - gso->l4, sum);
	else
		finish_udp(gso, dst + gso->l4, len - gso->l4, sum);
	return len;
}
