/* SPDX-License-Identifier: MIT */
/*
 * Coalescing of decrypted packets (generic receive offload) before they are written to wg0, a
 * TAP device with IFF_VNET_HDR. Consecutive segments of one TCP flow of one peer are handed to
 * the kernel as a single GSO packet of up to 64 KB. If the kernel segments it again, the
 * result is the packets that came in. Packets for which that would not hold, or whose checksum
 * is wrong, are passed on one by one, unchanged.
 *
 * A struct gro belongs to one thread. Nothing is allocated.
 */
#ifndef GRO_H
#define GRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <linux/virtio_net.h>

/* How many flows are held at a time, and how many packets a GSO packet consists of at most. */
#define GRO_FLOWS	8
#define GRO_MAX_PACKETS 64
/* Length in bytes of the link header that the emit function puts into iov[0]: an Ethernet
 * header without VLAN tag. The offsets in the virtio-net header count from its start. */
#define GRO_LINK_LEN 14

/*
 * Writes one packet or GSO packet to wg0. iov[0] is empty, for the link header. iov[1] is the
 * packet, or the headers and the first payload of a GSO packet, whose other payloads follow:
 * `iovcnt` entries, at most 1 + GRO_MAX_PACKETS. The function may change the array. The array
 * and vh (host byte order) are valid during the call. The bytes are in the memory that was
 * given to gro_receive(); gro.c does not use them again. `packets` is the number of packets
 * inside, `wire` the sum of their `wire`. Must not call into the same struct gro.
 */
typedef void (*gro_emit_fn)(void *ctx, uint32_t peer_slot,
			    const struct virtio_net_hdr *vh, struct iovec *iov,
			    int iovcnt, unsigned packets, uint32_t wire);

/* Private to gro.c: a packet after parsing. */
struct gro_packet {
	uint8_t *data;
	uint32_t len;
	uint32_t peer_slot;
	uint32_t wire;	/* bytes of the data message that it came in */
	uint32_t ports; /* source and destination, as they lie in memory */
	uint32_t payload_len;
	uint16_t l4;	     /* offset of the L4 header; 0: not parsed */
	uint16_t header_len; /* IP and L4 headers; 0: the packet has no ports */
	uint8_t version;
	uint8_t proto;
	bool verified; /* IPv4 header and L4 checksum are right */
};

struct gro_flow {
	struct gro_packet first;
	uint64_t order; /* lower is older; 0: the slot is free */
	uint32_t len;	/* bytes, as one packet with headers */
	uint32_t packets;
	uint32_t wire;
	struct iovec iov[1 + GRO_MAX_PACKETS];
};

struct gro {
	gro_emit_fn emit;
	void *ctx;
	/* Coalesce UDP datagrams too (VIRTIO_NET_HDR_GSO_UDP_L4). Off after gro_init();
	 * the owner may set it if the TAP device supports USO (TUN_F_USO4, Linux 6.2). */
	bool udp_gso;
	uint64_t last_order; /* of the flow that was held last */
	struct gro_flow flows[GRO_FLOWS];
};

/* Starts with nothing held and udp_gso off. There is nothing to free. */
void gro_init(struct gro *gro, gro_emit_fn emit, void *ctx);

/*
 * Takes one decrypted IP packet of the peer in `peer_slot`, trimmed to the length that its
 * header states, and emits or holds it. `wire`: bytes of the data message that it came
 * in. The memory must stay valid and unchanged until the next gro_flush() returns, and for as
 * long as the emit function needs it; gro.c may modify headers in it. Packets of one peer and
 * 5-tuple are emitted in the order in which they came. Fragments and other packets without
 * ports are emitted after all held packets with the same addresses.
 *
 * A packet that is emitted alone is unchanged. Its vh is zero, except for
 * VIRTIO_NET_HDR_F_DATA_VALID if its checksum has been verified (TCP; UDP only with
 * udp_gso). Malformed packets are emitted alone, too.
 */
void gro_receive(struct gro *gro, uint32_t peer_slot, uint8_t *packet, size_t len,
		 uint32_t wire);

/* Emits everything that is held, the oldest flow first. */
void gro_flush(struct gro *gro);

#endif
