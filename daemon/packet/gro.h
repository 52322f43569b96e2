/* SPDX-License-Identifier: MIT */
/*
 * Coalescing of decrypted packets before they are written to wg0 (a TAP with
 * IFF_VNET_HDR): consecutive segments of one TCP flow of one peer cross into the
 * kernel as a single packet of up to 64 KB. What comes out of the kernel's own
 * segmentation of such a packet is what came in; where that would not hold, or the
 * checksum is wrong, packets are passed on one by one, as they are.
 *
 * A struct gro belongs to one thread. It allocates nothing.
 */
#ifndef GRO_H
#define GRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <linux/virtio_net.h>

/* Flows held at a time, and packets that one super-packet is made of at most. */
#define GRO_FLOWS	8
#define GRO_MAX_PACKETS 64
/* Bytes of the link header that the emit function puts into iov[0]; the offsets in the
 * virtio-net header count from its begin (an Ethernet header, no VLAN tag). */
#define GRO_LINK_LEN 14

/*
 * Takes one packet to be written to wg0. iov[0] is empty and left for the link header;
 * iov[1] is the packet, or the headers and first payload of a super-packet, with the
 * other payloads behind it: `iovcnt` entries, at most 1 + GRO_MAX_PACKETS. The array may
 * be changed. It and vh are valid during the call; the bytes are in the memory that was
 * given to gro_receive(), and gro.c does not touch them again. `packets` is the number of
 * packets inside, `wire` the sum of theirs. vh is in host byte order. Must not call into the
 * same struct gro.
 */
typedef void (*gro_emit_fn)(void *ctx, uint32_t peer_slot,
			    const struct virtio_net_hdr *vh, struct iovec *iov,
			    int iovcnt, unsigned packets, uint32_t wire);

/* What gro.c knows of a packet after parsing it. */
struct gro_packet {
	uint8_t *data;
	uint32_t len;
	uint32_t peer_slot;
	uint32_t wire;	/* bytes of the message that it came in */
	uint32_t ports; /* source and destination, as they lie in memory */
	uint32_t payload_len;
	uint16_t l4;	     /* offset of the L4 header; 0: not parsed */
	uint16_t header_len; /* IP and L4 headers; 0: no ports to tell flows by */
	uint8_t version;
	uint8_t proto;
	bool verified; /* IPv4 header and L4 checksum are right */
};

struct gro_flow {
	struct gro_packet first;
	uint64_t born; /* to find the oldest; 0: nothing held here */
	uint32_t len;  /* of all that is held, as one packet */
	uint32_t packets;
	uint32_t wire;
	struct iovec iov[1 + GRO_MAX_PACKETS];
};

struct gro {
	gro_emit_fn emit;
	void *ctx;
	/* Coalesce UDP datagrams too (VIRTIO_NET_HDR_GSO_UDP_L4). Off after gro_init();
	 * the owner may set it where the TAP takes USO (TUN_F_USO4, Linux 6.2). */
	bool udp_gso;
	uint64_t births;
	struct gro_flow flows[GRO_FLOWS];
};

/* Nothing held, udp_gso off. There is nothing to free. */
void gro_init(struct gro *gro, gro_emit_fn emit, void *ctx);

/*
 * Takes one decrypted IP packet, trimmed to the length that its header states, of the
 * peer in `peer_slot`, out of a message of `wire` bytes; it is emitted at once or held. The
 * memory must stay valid and unchanged until the next gro_flush() returns, and for as long as
 * the emit function needs it; headers in it may be modified. Packets of one peer and 5-tuple
 * are emitted in the order in which they came, fragments and other packets without ports in
 * order with all that is held of their addresses.
 *
 * A packet that is emitted alone is untouched, its vh all zero but for
 * VIRTIO_NET_HDR_F_DATA_VALID where its checksum has been verified (TCP; UDP only with
 * udp_gso). Malformed packets are emitted that way, too.
 */
void gro_receive(struct gro *gro, uint32_t peer_slot, uint8_t *packet, size_t len,
		 uint32_t wire);

/* Emits all that is held, the oldest first. */
void gro_flush(struct gro *gro);

#endif
