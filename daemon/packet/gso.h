/* SPDX-License-Identifier: MIT */
/*
 * Segmentation of packets read from wg0, a TAP device with IFF_VNET_HDR (generic segmentation
 * offload). The kernel hands over packets of up to 64 KB, and leaves checksums and the split
 * into segments to the reader. The segments are the packets that go into the tunnel. A struct
 * gso belongs to one thread.
 *
 *	n = gso_begin(&gso, &vh, packet, len, ETH_HLEN);
 *	while ((len = gso_next(&gso, room_for_a_segment)))
 *		...
 */
#ifndef GSO_H
#define GSO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/virtio_net.h>

/* Added in Linux 6.2; older headers lack it. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* Private to gso.c. Plain values and a pointer to the packet: nothing to free. */
struct gso {
	const uint8_t *packet;
	uint8_t kind; /* enum gso_kind */
	bool v6;
	uint32_t l4;	      /* offset of the L4 header from the IP header */
	uint32_t check;	      /* offset of the L4 checksum, likewise */
	uint32_t header_len;  /* IP and L4 headers, which every segment repeats */
	uint32_t payload_len; /* of all segments together */
	uint32_t size;	      /* payload of each segment except the last */
	uint32_t segments;
	uint32_t next;
	uint64_t ip_sum; /* of the IPv4 header fields that are the same in all segments */
	uint64_t l4_sum; /* of such L4 header fields and the pseudo-header */
};

/*
 * Prepares the split of an IP packet of `len` bytes (no Ethernet header; any alignment) by the
 * virtio-net header that came with it, which is in host byte order and in the 10-byte legacy
 * layout (virtio 1.2 section 5.1.6). `link_len` is the length in bytes of the link header from
 * whose start vh->csum_start counts. Bytes behind the length that the IP header states are left
 * out. vh->hdr_len is only a hint and is not used.
 *
 * Returns the number of segments, at least 1; -EBADMSG if headers, lengths and vh contradict
 * one another; -EPROTONOSUPPORT for GSO types other than TCPV4, TCPV6 and UDP_L4. `packet`
 * remains the caller's, is never written to, and must stay unchanged until the last
 * gso_next().
 */
int gso_begin(struct gso *gso, const struct virtio_net_hdr *vh, const uint8_t *packet,
	      size_t len, size_t link_len);

/* Returns the length in bytes of segment i (from 0) with its IP and L4 headers; 0 if there is
 * no such segment. */
size_t gso_segment_len(const struct gso *gso, unsigned i);

/* Writes the next segment with all checksums to `dst`, which must have room for its
 * gso_segment_len() and must not overlap the packet. Returns the segment's length in bytes, or
 * 0 after the last one. */
size_t gso_next(struct gso *gso, uint8_t *dst);

#endif
