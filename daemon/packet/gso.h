/* SPDX-License-Identifier: MIT */
/*
 * Segmentation of what is read from wg0 (a TAP with IFF_VNET_HDR): a packet of up
 * to 64 KB, for which the kernel left checksums and the split into segments to us,
 * becomes the packets that go into the tunnel.
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

/* Linux 6.2; older headers lack it. */
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
	uint32_t header_len;  /* what every segment repeats */
	uint32_t payload_len; /* what is divided among them */
	uint32_t size;	      /* payload of each segment but the last */
	uint32_t segments;
	uint32_t next;
	uint64_t ip_sum; /* of those header fields that all segments share */
	uint64_t l4_sum; /* the same, pseudo-header included */
};

/*
 * Prepares the split of an IP packet of `len` bytes (no Ethernet header; its address
 * may be odd) by the virtio-net header that came with it, in host byte order and the
 * 10-byte legacy layout (virtio 1.2 section 5.1.6). `link_len` is the length of the
 * link header that vh->csum_start counts from before the packet. Bytes behind the
 * length that the IP header states are left out; vh->hdr_len is a hint and not used.
 *
 * Returns the number of segments, at least 1; -EBADMSG where headers, lengths and vh
 * contradict one another; -EPROTONOSUPPORT for GSO types other than TCPV4, TCPV6 and
 * UDP_L4. `packet` is never written to, must stay as it is until the last gso_next(),
 * and remains the caller's.
 */
int gso_begin(struct gso *gso, const struct virtio_net_hdr *vh, const uint8_t *packet,
	      size_t len, size_t link_len);

/* The length in bytes of segment i (from 0) with its IP and L4 headers; 0 for an i that
 * there is not. */
size_t gso_segment_len(const struct gso *gso, unsigned i);

/* Writes the next segment, all its checksums filled in, to `dst`, which has room for
 * gso_segment_len() of it and does not overlap the packet. Returns its length, 0 after
 * the last one. */
size_t gso_next(struct gso *gso, uint8_t *dst);

#endif
