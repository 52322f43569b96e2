// SPDX-License-Identifier: MIT
/*
 * bypass DEVICE SLOT FROM TO COUNT [gso]: sends COUNT UDP packets with the tag of the
 * peer slot, by a packet socket that bypasses TC egress (PACKET_QDISC_BYPASS). With gso
 * each is a GSO packet of SEGMENTS datagrams. Exits with 1 if the device refused one; it
 * may drop others silently.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "wg_maps.h"

#define SEGMENT	 1000
#define SEGMENTS 5

/* Kernel 6.2; the headers of Debian 12 are older. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

struct packet {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	uint8_t data[SEGMENT * SEGMENTS];
} __attribute__((packed));

static int die(const char *what)
{
	perror(what);
	exit(1);
}

static int open_socket(bool gso)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) ||
	    (gso && setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on))))
		die("packet socket");
	return fd;
}

static uint16_t sum16(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static size_t make_packet(struct packet *p, char **argv, size_t data_len)
{
	uint32_t slot = (uint32_t)strtoul(argv[2], NULL, 0);
	const uint8_t tag[] = {WG_TAG_0,
			       WG_TAG_1,
			       WG_TAG_2,
			       (uint8_t)(slot >> 16),
			       (uint8_t)(slot >> 8),
			       (uint8_t)slot};
	const uint8_t source[] = {WG_TAG_0, WG_TAG_1, WG_TAG_2, 0, 0, 0};

	memset(p, 0, sizeof(*p));
	memcpy(p->eth.h_dest, tag, sizeof(tag));
	memcpy(p->eth.h_source, source, sizeof(source));
	p->eth.h_proto = htons(ETH_P_IP);
	p->ip.version = 4;
	p->ip.ihl = 5;
	p->ip.tot_len = htons((uint16_t)(sizeof(p->ip) + sizeof(p->udp) + data_len));
	p->ip.ttl = 64;
	p->ip.protocol = IPPROTO_UDP;
	if (inet_pton(AF_INET, argv[3], &p->ip.saddr) != 1 ||
	    inet_pton(AF_INET, argv[4], &p->ip.daddr) != 1)
		die("address");
	p->ip.check = htons((uint16_t)~sum16(&p->ip, sizeof(p->ip)));
	p->udp.source = p->udp.dest = htons(9);
	p->udp.len = htons((uint16_t)(sizeof(p->udp) + data_len));
	return sizeof(*p) - sizeof(p->data) + data_len;
}

int main(int argc, char **argv)
{
	struct virtio_net_hdr vh = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
		.hdr_len = sizeof(struct packet) - SEGMENT * SEGMENTS,
		.gso_size = SEGMENT,
		.csum_start = sizeof(struct ethhdr) + sizeof(struct iphdr),
		.csum_offset = offsetof(struct udphdr, check),
	};
	bool gso = argc == 7;
	static struct packet packet;
	struct iovec iov[] = {{&vh, sizeof(vh)}, {&packet, 0}};
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_IP)};
	struct msghdr msg = {.msg_name = &to,
			     .msg_namelen = sizeof(to),
			     .msg_iov = gso ? iov : iov + 1,
			     .msg_iovlen = gso ? 2 : 1};
	int fd;

	if (argc < 6 || argc > 7)
		return 2;
	fd = open_socket(gso);
	to.sll_ifindex = (int)if_nametoindex(argv[1]);
	iov[1].iov_len = make_packet(&packet, argv, gso ? SEGMENT * SEGMENTS : 100);
	for (int i = atoi(argv[5]); i > 0; i--)
		if (sendmsg(fd, &msg, 0) < 0 && errno != ENOBUFS)
			die("sendmsg");
	return 0;
}
